//! Every operation that changes something leaves its row: action, session, cause and time.

use super::tests::*;
use super::*;

/// A history row: action, session, cause, and time in seconds.
type HistoryLine = (String, Option<String>, String, i64);

fn row(action: &str, session: Option<&str>, details: &str, seconds: i64) -> HistoryLine {
    (
        action.to_owned(),
        session.map(str::to_owned),
        details.to_owned(),
        seconds,
    )
}

fn rows(store: &mut Store, task: TaskId) -> Vec<HistoryLine> {
    let told = |found: HistoryRow| {
        assert_eq!(found.task, Some(task));
        let seconds = found.at.duration_since(now()).as_secs();
        (found.action, found.session, found.details, seconds)
    };
    let history = store.history(task).expect("history");
    history.into_iter().map(told).collect()
}

/// The rows that are not about a task.
fn rows_of_none(directory: &TempDir) -> Vec<HistoryLine> {
    let connection = other(directory);
    let mut query = connection
        .prepare(
            "SELECT action, session_name, details, created_at FROM assignment_history
             WHERE prompt_id IS NULL ORDER BY id",
        )
        .expect("a query");
    let rows = query.query_map([], |row| {
        let at: String = row.get(3)?;
        let at: Timestamp = at.parse().expect("a time");
        let seconds = at.duration_since(now()).as_secs();
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, seconds))
    });
    rows.expect("rows").map(|row| row.expect("a row")).collect()
}

/// Brings a queued task to a state and returns the attempt that is open then.
fn bring(store: &mut Store, task: TaskId, to: Status) -> Option<AttemptId> {
    if to == Status::Pending {
        return None;
    }
    if to == Status::Cancelled {
        store.cancel(task, now()).expect("cancelled");
        return None;
    }
    let attempt = claimed(store, task, 1);
    let ended = match to {
        Status::Assigned => return Some(attempt),
        Status::InProgress => {
            let running = store.advance(attempt, Phase::Running, "", now());
            running.expect("running");
            return Some(attempt);
        }
        Status::WaitingInput => {
            store.ask(attempt, "may I?", None, now()).expect("asked");
            return Some(attempt);
        }
        Status::Completed => end(attempt, Outcome::Completed, Event::Complete),
        Status::Failed => end(attempt, Outcome::Failed, Event::Fail),
        _ => end(attempt, Outcome::Uncertain, Event::Lose),
    };
    store.end(&ended, now()).expect("ended");
    None
}

/// A store with one task in the given state, and the number of its rows.
fn standing(status: Status) -> (TempDir, Store, TaskId, Option<AttemptId>, usize) {
    let (directory, mut store) = store();
    let task = queue(&mut store, &[NewTask::prompt("x")])[0];
    let attempt = bring(&mut store, task, status);
    assert_eq!(store.task(task).expect("a task").status, status);
    let count = rows(&mut store, task).len();
    (directory, store, task, attempt, count)
}

#[test]
fn a_task_that_is_queued_says_by_whom() {
    let (_directory, mut store) = store();
    let task = NewTask {
        source: "api".to_owned(),
        ..NewTask::command("x")
    };
    let id = store.queue(&[task], later(3)).expect("queued")[0];
    assert_eq!(rows(&mut store, id), [row("queued", None, "by api", 3)]);
}

#[test]
fn a_claim_says_who_decided_and_each_phase_is_a_row() {
    let (_directory, mut store) = store();
    let ids = queue(&mut store, &[NewTask::command("a"), NewTask::command("b")]);
    let unranked = Claim {
        rankings: Vec::new(),
        ..claim(ids[1], 2)
    };
    let attempts = store.claim(&[claim(ids[0], 1), unranked], later(1));
    let attempt = attempts.expect("claimed")[0].expect("an attempt");
    for (phase, details, seconds) in [
        (Phase::Delivering, "into %1", 2),
        (Phase::Submitted, "it stands there", 3),
        (Phase::Running, "taken up", 4),
    ] {
        let advanced = store.advance(attempt, phase, details, later(seconds));
        advanced.expect("advanced");
        let open = store.open_attempts().expect("open").remove(0);
        assert_eq!(open.phase, phase);
        let reached = |at: i64| (at <= seconds).then(|| later(at));
        assert_eq!(open.delivered_at, reached(2));
        assert_eq!(open.submitted_at, reached(3));
        assert_eq!(open.started_at, reached(4));
    }
    // The claim sets the first phase, and the end the last.
    for phase in [Phase::Claimed, Phase::Ended] {
        let refused = store.advance(attempt, phase, "", later(5));
        assert!(matches!(refused, Err(StoreError::NoAttempt(id)) if id == attempt));
    }
    let s1 = Some("s1");
    assert_eq!(
        rows(&mut store, ids[0]),
        [
            row("queued", None, "by cli", 0),
            row("claimed", s1, "by policy test 1 with 100 points", 1),
            row("delivering", s1, "into %1", 2),
            row("submitted", s1, "it stands there", 3),
            row("started", s1, "taken up", 4),
        ]
    );
    let other = rows(&mut store, ids[1]).remove(1);
    assert_eq!(
        other,
        row("claimed", Some("s2"), "by policy test 1 with 0 points", 1)
    );
    let task = store.task(ids[0]).expect("a task");
    assert_eq!(task.assigned_at, Some(later(1)));
    assert_eq!((task.session.as_deref(), task.revision), (s1, 1));
    let found = store.attempts(ids[0]).expect("attempts").remove(0);
    assert_eq!(
        (found.claimed_at, found.started_at),
        (later(1), Some(later(4)))
    );
    assert_eq!((found.ended_at, found.outcome), (None, None));
}

#[test]
fn each_end_is_a_row_and_moves_the_task_where_it_belongs() {
    use Event::{Cancel, Complete, Fail, Hold, Lose, Refuse, Retry, Return, Withdraw};
    use Outcome::{
        Cancelled, Completed, Failed, Limited, Reassigned, Refused, TimedOut, Uncertain, Withdrawn,
    };
    for (outcome, event, status, attempts, tries, tally) in [
        (Completed, Complete, Status::Completed, 1, 0, (1, 0)),
        (Failed, Fail, Status::Failed, 1, 1, (0, 1)),
        (TimedOut, Fail, Status::Failed, 1, 1, (0, 1)),
        (Failed, Retry, Status::Pending, 1, 1, (0, 1)),
        (Cancelled, Cancel, Status::Cancelled, 1, 0, (0, 0)),
        (Refused, Refuse, Status::Pending, 0, 0, (0, 0)),
        (Withdrawn, Withdraw, Status::Pending, 0, 0, (0, 0)),
        (Reassigned, Return, Status::Pending, 1, 0, (0, 0)),
        (Limited, Hold, Status::Pending, 0, 0, (0, 0)),
        (Uncertain, Lose, Status::Uncertain, 1, 0, (0, 0)),
    ] {
        let (_directory, mut store) = store();
        let task = queue(&mut store, &[NewTask::command("x")])[0];
        let session = session_row("s1");
        store.record_sessions(&[session], now()).expect("recorded");
        let attempt = claimed(&mut store, task, 1);
        let end = End {
            exit_code: Some(3),
            error: (outcome != Completed).then(|| "why".to_owned()),
            ..End::new(attempt, outcome, event)
        };
        store.end(&end, later(7)).expect("ended");
        let details = if outcome == Completed {
            "exit code 3"
        } else {
            "why"
        };
        let last = rows(&mut store, task).pop().expect("a row");
        assert_eq!(last, row(event.name(), Some("s1"), details, 7));
        let read = store.task(task).expect("a task");
        let pending = status == Status::Pending;
        assert_eq!(read.status, status, "{outcome:?}");
        assert_eq!(
            (read.attempts, read.tries),
            (attempts, tries),
            "{outcome:?}"
        );
        let counts = attempts == 1;
        assert_eq!(read.exit_code, counts.then_some(3), "{outcome:?}");
        assert_eq!(
            read.error,
            end.error.clone().filter(|_| counts),
            "{outcome:?}"
        );
        assert_eq!(read.wait_reason, end.error.clone().filter(|_| pending));
        assert_eq!(read.session.is_none(), pending, "{outcome:?}");
        assert_eq!(
            read.completed_at,
            (!pending).then(|| later(7)),
            "{outcome:?}"
        );
        let session = store.session("s1").expect("a session");
        assert_eq!((session.completed, session.failed), tally, "{outcome:?}");
        let listed = store.attempts(task).expect("attempts");
        assert_eq!(listed.len(), usize::from(counts));
        for found in listed {
            assert_eq!(found.outcome, Some(outcome));
            assert_eq!(
                (found.phase, found.ended_at),
                (Phase::Ended, Some(later(7)))
            );
            assert_eq!((found.exit_code, &found.error), (Some(3), &end.error));
        }
    }
}

#[test]
fn an_end_without_a_reason_or_a_code_says_nothing() {
    let (_directory, mut store, task, attempt, _) = standing(Status::InProgress);
    let attempt = attempt.expect("an attempt");
    let done = End::new(attempt, Outcome::Completed, Event::Complete);
    store.end(&done, later(1)).expect("ended");
    let last = rows(&mut store, task).pop();
    assert_eq!(last, Some(row("completed", Some("s1"), "", 1)));
    let because = End::new(attempt, Outcome::Failed, Event::Fail).because("so");
    assert_eq!(because.error.as_deref(), Some("so"));
}

#[test]
fn a_question_and_what_follows_are_rows() {
    let (_directory, mut store, task, attempt, before) = standing(Status::InProgress);
    let attempt = attempt.expect("an attempt");
    let s1 = Some("s1");
    store.ask(attempt, "may I?", None, later(1)).expect("asked");
    let read = store.task(task).expect("a task");
    assert_eq!(read.status, Status::WaitingInput);
    assert_eq!(read.asks.as_deref(), Some("may I?"));
    store
        .go_on(attempt, "it went on", later(2))
        .expect("gone on");
    let read = store.task(task).expect("a task");
    assert_eq!((read.status, read.asks), (Status::InProgress, None));
    let open = store.open_attempts().expect("open").remove(0);
    // A dialog is part of the turn.
    assert!(open.answered && !open.has_said);
    assert_eq!(open.started_at, Some(later(2)));
    assert_eq!(
        rows(&mut store, task)[before..],
        [
            row("waiting_input", s1, "may I?", 1),
            row("resumed", s1, "it went on", 2)
        ]
    );
    // What it said at the end of its turn is kept, whatever it asks later.
    let said = Output::of(b"Shall I?".to_vec());
    for said in [Some(&said), None] {
        store.ask(attempt, "what?", said, now()).expect("asked");
        store.go_on(attempt, "it went on", now()).expect("gone on");
        let open = store.open_attempts().expect("open").remove(0);
        assert!(open.answered && open.has_said);
    }
    for gone in [AttemptId(99), attempt] {
        if gone == attempt {
            let done = End::new(attempt, Outcome::Completed, Event::Complete);
            store.end(&done, now()).expect("ended");
        }
        assert!(matches!(
            store.ask(gone, "", None, now()),
            Err(StoreError::NoAttempt(_))
        ));
        assert!(matches!(
            store.go_on(gone, "", now()),
            Err(StoreError::NoAttempt(_))
        ));
    }
}

#[test]
fn a_cancellation_is_a_row_wherever_the_task_stands() {
    for status in Status::ALL {
        let (_directory, mut store, task, _, before) = standing(status);
        let cancelled = store.cancel(task, later(4));
        let new = rows(&mut store, task).split_off(before);
        let read = store.task(task).expect("a task");
        match status {
            Status::Pending | Status::Uncertain => {
                assert_eq!(cancelled.expect("cancelled"), Status::Cancelled);
                assert_eq!(new, [row("cancelled", None, "by a person", 4)]);
                assert_eq!(read.cancel_requested, None);
                assert_eq!(read.completed_at, Some(later(4)));
            }
            Status::Assigned | Status::InProgress | Status::WaitingInput => {
                assert_eq!(cancelled.expect("asked"), status);
                assert_eq!(new, [row("cancel_requested", None, "by a person", 4)]);
                assert_eq!(read.cancel_requested, Some(later(4)));
                // A second request does not move the first.
                store.cancel(task, later(9)).expect("asked again");
                let read = store.task(task).expect("a task");
                assert_eq!(read.cancel_requested, Some(later(4)));
                let requests = store.requests().expect("requests");
                assert_eq!(requests, BTreeMap::from([(task, Request::Cancel)]));
            }
            Status::Completed | Status::Failed | Status::Cancelled => {
                assert!(matches!(cancelled, Err(StoreError::Illegal { .. })));
                assert_eq!((new, read.status), (Vec::new(), status));
            }
        }
    }
}

#[test]
fn a_persons_word_on_an_uncertain_task_is_a_row() {
    for (event, to, action) in [
        (Event::Resend, Status::Pending, "resent"),
        (Event::MarkDone, Status::Completed, "marked_done"),
        (Event::MarkFailed, Status::Failed, "marked_failed"),
    ] {
        for status in Status::ALL {
            let (_directory, mut store, task, _, before) = standing(status);
            let resolved = store.resolve(task, event, later(5));
            let new = rows(&mut store, task).split_off(before);
            let read = store.task(task).expect("a task");
            if status != Status::Uncertain {
                assert!(matches!(resolved, Err(StoreError::Illegal { .. })));
                assert_eq!((new, read.status), (Vec::new(), status));
                continue;
            }
            assert_eq!(resolved.expect("resolved"), to);
            assert_eq!(new, [row(action, None, "by a person", 5)]);
            assert_eq!(read.status, to);
            let again = to == Status::Pending;
            assert_eq!(read.completed_at, (!again).then(|| later(5)));
            // A task that is sent again starts anew; the others keep what is known about them.
            assert_eq!(read.error.is_none(), again);
            assert_eq!(read.session.is_none(), again);
        }
        let (_directory, mut store) = store();
        let nobody = store.resolve(TaskId(9), event, now());
        assert!(matches!(nobody, Err(StoreError::NoTask(TaskId(9)))));
    }
}

#[test]
fn a_retry_is_a_row_and_starts_anew() {
    for status in Status::ALL {
        let (_directory, mut store, task, _, before) = standing(status);
        let revision = store.task(task).expect("a task").revision;
        let retried = store.retry(task, None, false, later(6));
        let new = rows(&mut store, task).split_off(before);
        let read = store.task(task).expect("a task");
        if !matches!(status, Status::Failed | Status::Cancelled) {
            assert!(
                matches!(retried, Err(StoreError::Illegal { .. })),
                "{status}"
            );
            assert_eq!((new, read.status), (Vec::new(), status));
            continue;
        }
        assert_eq!(retried.expect("queued"), Status::Pending);
        assert_eq!(new, [row("requeued", None, "by a person", 6)]);
        assert_eq!(
            (read.error, read.exit_code, read.session),
            (None, None, None)
        );
        assert_eq!((read.tries, read.completed_at), (0, None));
        assert_eq!(read.revision, revision + 1);
    }
}

#[test]
fn a_task_that_is_given_to_another_session_has_a_row() {
    for status in Status::ALL {
        for (to, details) in [
            (Some("web"), "to session web, by a person"),
            (None, "to any session, by a person"),
        ] {
            let (_directory, mut store, task, _, before) = standing(status);
            let revision = store.task(task).expect("a task").revision;
            let given = store.reassign(task, to.map(SessionRef::from).as_ref(), later(8));
            let new = rows(&mut store, task).split_off(before);
            let read = store.task(task).expect("a task");
            let reassigned = row("reassigned", None, details, 8);
            match status {
                Status::Completed | Status::Uncertain => {
                    assert!(matches!(given, Err(StoreError::Illegal { .. })));
                    assert_eq!((new, read.status), (Vec::new(), status));
                }
                Status::Assigned | Status::InProgress | Status::WaitingInput => {
                    assert_eq!(given.expect("asked"), status);
                    assert_eq!(new, [reassigned]);
                    let asked = Request::Reassign(to.map(str::to_owned));
                    let requests = store.requests().expect("requests");
                    assert_eq!(requests, BTreeMap::from([(task, asked)]));
                    assert_eq!((read.target_session, read.revision), (None, revision));
                }
                Status::Pending | Status::Failed | Status::Cancelled => {
                    assert_eq!(given.expect("given"), Status::Pending);
                    let again = row("requeued", None, "by a person", 8);
                    if status == Status::Pending {
                        assert_eq!(new, [reassigned]);
                        assert_eq!(read.revision, revision + 1);
                    } else {
                        assert_eq!(new, [again, reassigned]);
                        assert_eq!(read.revision, revision + 2);
                    }
                    assert_eq!(read.target_session, to.map(SessionRef::from));
                    assert!(store.requests().expect("requests").is_empty());
                }
            }
        }
    }
}

#[test]
fn an_edit_is_a_row_and_of_pending_tasks_alone() {
    for status in Status::ALL {
        let (_directory, mut store, task, _, before) = standing(status);
        let edit = Edit {
            task: NewTask::command("another"),
            revision: store.task(task).expect("a task").revision,
            unfollow: false,
            if_parent_fails: None,
            what: "content, kind".to_owned(),
        };
        let edited = store.edit(task, &edit, later(2));
        let new = rows(&mut store, task).split_off(before);
        if status == Status::Pending {
            edited.expect("edited");
            assert_eq!(new, [row("edited", None, "content, kind", 2)]);
        } else {
            let stands = |found| matches!(found, Err(StoreError::NotPending { status: at, .. }) if at == status);
            assert!(stands(edited), "{status}");
            assert!(new.is_empty());
        }
    }
}

#[test]
fn what_is_cleared_keeps_its_rows() {
    for status in Status::ALL {
        let (_directory, mut store, task, _, before) = standing(status);
        let cleared = store.clear(&Status::ALL, later(1), later(3), |_| {});
        let ids: Vec<TaskId> = cleared.expect("cleared");
        let new = rows(&mut store, task).split_off(before);
        if status.has_ended() {
            assert_eq!(ids, [task]);
            assert_eq!(new, [row("cleared", None, "by a person", 3)]);
            assert!(matches!(store.task(task), Err(StoreError::NoTask(_))));
        } else {
            assert!(ids.is_empty() && new.is_empty(), "{status}");
        }
    }
}

#[test]
fn one_that_fails_with_another_says_with_which() {
    for (outcome, how) in [(Some(Outcome::Failed), "failed"), (None, "was cancelled")] {
        let (_directory, mut store) = store();
        let parent = queue(&mut store, &[NewTask::command("a")])[0];
        let child = queue(&mut store, &[following(&[parent], IfParentFails::Fail)])[0];
        match outcome {
            Some(outcome) => {
                let attempt = claimed(&mut store, parent, 1);
                let end = end(attempt, outcome, Event::Fail);
                store.end(&end, later(2)).expect("ended");
            }
            None => drop(store.cancel(parent, later(2)).expect("cancelled")),
        }
        let reason = format!("task {parent}, which it follows, {how}");
        let last = rows(&mut store, child).pop();
        assert_eq!(last, Some(row("abandoned", None, &reason, 2)));
        let read = store.task(child).expect("the child");
        assert_eq!(read.error, Some(reason));
        assert_eq!(read.completed_at, Some(later(2)));
    }
}

#[test]
fn pauses_and_labels_are_rows_of_their_session() {
    let (directory, mut store) = store();
    let pauses = [
        Pause::All,
        Pause::Provider("codex".to_owned()),
        Pause::Session("s1".into()),
    ];
    store.pause(&pauses, true, later(1)).expect("paused");
    store.pause(&pauses, false, later(2)).expect("resumed");
    // Nothing was paused any more.
    store.pause(&pauses, false, later(3)).expect("nothing");
    let set = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
    store
        .label(&"s1".into(), &set, &["gone".to_owned()], later(4))
        .expect("labelled");
    let remove = ["a".to_owned(), "b".to_owned()];
    store
        .label(&"s1".into(), &BTreeMap::new(), &remove, later(5))
        .expect("labelled");
    store
        .label(&"s1".into(), &BTreeMap::new(), &remove, later(6))
        .expect("nothing");
    store
        .note_session("s1", "asked", "for A", later(7))
        .expect("noted");
    let s1 = Some("s1");
    let own = [
        row("paused", s1, "session s1, by a person", 1),
        row("resumed", s1, "session s1, by a person", 2),
        row("labelled", s1, "a=1", 4),
        row("labelled", s1, "without a", 5),
        row("asked", s1, "for A", 7),
    ];
    let all = [
        row("paused", None, "all sessions, by a person", 1),
        row("paused", None, "provider codex, by a person", 1),
        own[0].clone(),
        row("resumed", None, "all sessions, by a person", 2),
        row("resumed", None, "provider codex, by a person", 2),
    ];
    let found = rows_of_none(&directory);
    assert_eq!(found, [&all[..], &own[1..]].concat());
    let history = store.session_history("s1", 9).expect("history");
    let actions: Vec<String> = history.into_iter().map(|row| row.action).collect();
    assert_eq!(
        actions,
        ["paused", "resumed", "labelled", "labelled", "asked"]
    );
    let history = store.session_history("s1", 2).expect("history");
    assert_eq!((history.len(), history[1].action.as_str()), (2, "asked"));
    assert_eq!(history[1].task, None);
}

#[test]
fn a_limit_pauses_its_provider_and_says_until_when() {
    let (directory, mut store, _task, attempt, _) = standing(Status::InProgress);
    let end = End {
        limit: Some(Limit {
            provider: "claude".to_owned(),
            until: later(60),
            reason: "5-hour limit".to_owned(),
        }),
        ..End::new(attempt.expect("an attempt"), Outcome::Limited, Event::Hold)
    };
    store.end(&end, later(1)).expect("ended");
    let claude = PauseRow {
        what: Pause::Provider("claude".to_owned()),
        until: Some(later(60)),
        reason: Some("5-hour limit".to_owned()),
    };
    assert_eq!(store.pauses().expect("pauses"), [claude]);
    store.end_pauses(later(59)).expect("none");
    assert_eq!(store.pauses().expect("pauses").len(), 1);
    store.end_pauses(later(60)).expect("one");
    assert_eq!(store.pauses().expect("pauses"), []);
    let until = rows::stamp(later(60));
    assert_eq!(
        rows_of_none(&directory),
        [
            row(
                "paused",
                None,
                &format!("provider claude until {until}: 5-hour limit"),
                1
            ),
            row("resumed", None, "provider claude: its limit has ended", 60),
        ]
    );
}
