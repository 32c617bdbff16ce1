//! The store against its own promises: every change is a row, nothing is claimed twice, what
//! cannot run is not read, and other tools may write.

use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::model::ids::PaneId;
use crate::model::task::Metadata;

fn now() -> Timestamp {
    "2026-01-02T03:04:05.678Z".parse().expect("a time")
}

fn later(seconds: i64) -> Timestamp {
    now() + jiff::SignedDuration::from_secs(seconds)
}

fn store() -> (TempDir, Sqlite) {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Sqlite::open(directory.path()).expect("a store");
    (directory, store)
}

fn other(directory: &TempDir) -> Connection {
    Connection::open(directory.path().join("assigner.db")).expect("another connection")
}

fn queue(store: &mut Sqlite, tasks: &[NewTask]) -> Vec<TaskId> {
    store.queue(tasks, now()).expect("queued")
}

fn identity(pane: u32) -> Identity {
    Identity {
        server_pid: 1,
        server_start: 2,
        pane: PaneId::parse(&format!("%{pane}")).expect("a pane"),
        pane_pid: 1000 + pane,
    }
}

fn claim(task: TaskId, pane: u32) -> Claim {
    Claim {
        task,
        session: format!("s{pane}"),
        identity: identity(pane),
        policy: PolicyId {
            name: "test".to_owned(),
            version: "1".to_owned(),
            sha256: "00".to_owned(),
        },
        rankings: vec![NamedRanking {
            session: format!("s{pane}"),
            points: 100,
            terms: Vec::new(),
        }],
    }
}

fn claimed(store: &mut Sqlite, task: TaskId, pane: u32) -> AttemptId {
    let attempts = store.claim(&[claim(task, pane)], now()).expect("claimed");
    attempts[0].expect("a free session and a pending task")
}

fn end(attempt: AttemptId, outcome: Outcome, event: Event) -> End {
    End {
        attempt,
        outcome,
        event,
        exit_code: (outcome == Outcome::Completed).then_some(0),
        error: (outcome != Outcome::Completed).then(|| "why".to_owned()),
        output: None,
        not_before: None,
    }
}

fn actions(store: &mut Sqlite, task: TaskId) -> Vec<String> {
    let rows = store.history(task).expect("history");
    rows.into_iter().map(|row| row.action).collect()
}

#[test]
fn a_life_leaves_a_row_for_every_step() {
    let (_directory, mut store) = store();
    let task = queue(&mut store, &[NewTask::command("true")])[0];
    let attempt = claimed(&mut store, task, 1);
    store
        .advance(attempt, Phase::Delivering, "into pane %1", now())
        .expect("delivering");
    store
        .advance(attempt, Phase::Running, "taken up", now())
        .expect("running");
    let output = Output {
        bytes: b"a\0b\xff".to_vec(),
        total: 4,
    };
    let done = End {
        output: Some(output.clone()),
        ..end(attempt, Outcome::Completed, Event::Complete)
    };
    store.end(&done, later(1)).expect("ended");

    assert_eq!(
        actions(&mut store, task),
        ["queued", "claimed", "delivering", "started", "completed"]
    );
    let read = store.task(task).expect("the task");
    assert_eq!(read.status, Status::Completed);
    assert_eq!(read.completed_at, Some(later(1)));
    assert_eq!((read.attempts, read.exit_code), (1, Some(0)));
    assert_eq!(store.output(task).expect("read"), Some(output));
    let attempts = store.attempts(task).expect("attempts");
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0].outcome, Some(Outcome::Completed));
    assert_eq!(attempts[0].rankings[0].points, 100);
    assert!(store.open_attempts().expect("open").is_empty());
}

#[test]
fn what_was_refused_is_no_attempt_of_the_task() {
    let (_directory, mut store) = store();
    let task = queue(&mut store, &[NewTask::command("true")])[0];
    let first = claimed(&mut store, task, 1);
    store
        .end(&end(first, Outcome::Refused, Event::Refuse), now())
        .expect("refused");
    let read = store.task(task).expect("the task");
    assert_eq!((read.status, read.attempts), (Status::Pending, 0));
    assert_eq!((read.error, read.session), (None, None));
    assert_eq!(read.wait_reason.as_deref(), Some("why"));
    assert!(store.attempts(task).expect("attempts").is_empty());

    claimed(&mut store, task, 2);
    let attempts = store.attempts(task).expect("attempts");
    assert_eq!((attempts.len(), attempts[0].number), (1, 1));
}

#[test]
fn nothing_is_claimed_twice() {
    let (_directory, mut store) = store();
    let ids = queue(&mut store, &[NewTask::command("a"), NewTask::command("b")]);
    let attempts = store
        .claim(
            &[
                claim(ids[0], 1),
                claim(ids[0], 2),
                claim(ids[1], 1),
                claim(TaskId(99), 3),
            ],
            now(),
        )
        .expect("claimed");
    let granted: Vec<bool> = attempts.iter().map(Option::is_some).collect();
    assert_eq!(granted, [true, false, false, false]);
    assert_eq!(store.task(ids[1]).expect("b").status, Status::Pending);
}

#[test]
fn a_claimed_attempt_cannot_skip_the_ledger() {
    let (_directory, mut store) = store();
    let task = queue(&mut store, &[NewTask::command("a")])[0];
    let attempt = claimed(&mut store, task, 1);
    store
        .end(&end(attempt, Outcome::Failed, Event::Fail), now())
        .expect("ended");
    for phase in [Phase::Delivering, Phase::Running] {
        assert!(store.advance(attempt, phase, "", now()).is_err());
    }
    let again = store.end(&end(attempt, Outcome::Completed, Event::Complete), now());
    assert!(matches!(again, Err(StoreError::NoAttempt(_))));
    assert_eq!(store.task(task).expect("a").status, Status::Failed);
}

#[test]
fn tasks_are_served_by_priority_then_age_page_by_page() {
    let (_directory, mut store) = store();
    let tasks: Vec<NewTask> = [0, 5, 0, 5, -1]
        .iter()
        .map(|&priority| NewTask {
            priority,
            ..NewTask::command("x")
        })
        .collect();
    let ids = queue(&mut store, &tasks);
    let lanes = store.lanes().expect("lanes");
    assert_eq!(lanes.len(), 1);
    let mut served = Vec::new();
    let mut after = None;
    loop {
        let page = store.pending(&lanes, now(), 2, after).expect("a page");
        let Some(last) = page.last() else { break };
        after = Some((last.priority, last.id));
        served.extend(page.iter().map(|task| task.id));
    }
    assert_eq!(served, [ids[1], ids[3], ids[0], ids[2], ids[4]]);
}

#[test]
fn tasks_that_no_session_can_run_stand_in_lanes_of_their_own() {
    let (_directory, mut store) = store();
    let prompt = NewTask {
        kind: Kind::Prompt,
        ..NewTask::command("fix it")
    };
    let target = NewTask {
        target_session: Some("api".to_owned()),
        ..NewTask::command("x")
    };
    let providers = NewTask {
        kind: Kind::Prompt,
        metadata: Metadata {
            preferred_providers: vec!["codex".to_owned()],
            fallback_providers: vec!["claude".to_owned()],
            ..Metadata::default()
        },
        ..NewTask::command("x")
    };
    queue(
        &mut store,
        &[
            prompt.clone(),
            prompt,
            target,
            providers,
            NewTask::command("x"),
        ],
    );
    let lanes = store.lanes().expect("lanes");
    let constraints: Vec<_> = lanes
        .iter()
        .map(|lane| {
            (
                lane.kind,
                lane.target_session.as_deref(),
                lane.providers.clone(),
            )
        })
        .collect();
    assert_eq!(constraints.len(), 4);
    for expected in [
        (Kind::Prompt, None, vec![]),
        (Kind::Command, None, vec![]),
        (Kind::Command, Some("api"), vec![]),
        (
            Kind::Prompt,
            None,
            vec!["codex".to_owned(), "claude".to_owned()],
        ),
    ] {
        assert!(
            constraints.contains(&expected),
            "{expected:?} in {constraints:?}"
        );
    }
}

#[test]
fn a_task_waits_for_its_time() {
    let (_directory, mut store) = store();
    let task = queue(&mut store, &[NewTask::command("x")])[0];
    let attempt = claimed(&mut store, task, 1);
    let retry = End {
        not_before: Some(later(10)),
        ..end(attempt, Outcome::Failed, Event::Retry)
    };
    store.end(&retry, now()).expect("retried");
    let lanes = store.lanes().expect("lanes");
    assert!(
        store
            .pending(&lanes, later(9), 9, None)
            .expect("none")
            .is_empty()
    );
    assert_eq!(store.next_due(later(9)).expect("due"), Some(later(10)));
    assert_eq!(
        store
            .pending(&lanes, later(10), 9, None)
            .expect("one")
            .len(),
        1
    );
    let read = store.task(task).expect("the task");
    assert_eq!((read.attempts, read.error.as_deref()), (1, Some("why")));
}

#[test]
fn cancelling_depends_on_where_the_task_stands() {
    let (_directory, mut store) = store();
    let ids = queue(&mut store, &[NewTask::command("a"), NewTask::command("b")]);
    assert_eq!(
        store.cancel(ids[0], now()).expect("pending"),
        Status::Cancelled
    );
    assert!(store.cancel(ids[0], now()).is_err());
    claimed(&mut store, ids[1], 1);
    assert_eq!(
        store.cancel(ids[1], now()).expect("assigned"),
        Status::Assigned
    );
    assert!(store.cancel_requests().expect("asked").contains(&ids[1]));
    assert!(matches!(
        store.cancel(TaskId(7), now()),
        Err(StoreError::NoTask(_))
    ));
}

#[test]
fn a_task_that_was_cancelled_is_not_tried_again() {
    for (outcome, event) in [
        (Outcome::Failed, Event::Retry),
        (Outcome::Refused, Event::Refuse),
        (Outcome::Withdrawn, Event::Withdraw),
    ] {
        let (_directory, mut store) = store();
        let task = queue(&mut store, &[NewTask::command("a")])[0];
        let attempt = claimed(&mut store, task, 1);
        store.cancel(task, now()).expect("asked");
        store
            .end(&end(attempt, outcome, event), now())
            .expect("ended");
        assert_eq!(store.task(task).expect("a").status, Status::Cancelled);
    }
}

#[test]
fn an_uncertain_task_moves_by_a_persons_word_alone() {
    let (_directory, mut store) = store();
    let task = queue(&mut store, &[NewTask::command("a")])[0];
    let attempt = claimed(&mut store, task, 1);
    store
        .end(&end(attempt, Outcome::Uncertain, Event::Lose), now())
        .expect("lost");
    let lanes = store.lanes().expect("lanes");
    assert!(
        store
            .pending(&lanes, now(), 9, None)
            .expect("none")
            .is_empty()
    );
    assert_eq!(
        store.resolve(task, Event::Resend, now()).expect("resent"),
        Status::Pending
    );
    assert!(store.resolve(task, Event::MarkDone, now()).is_err());
}

#[test]
fn other_tools_insert_into_prompts() {
    let (directory, mut store) = store();
    let connection = other(&directory);
    connection
        .execute_batch(
            "INSERT INTO prompts (content, priority, metadata, timeout_minutes)
                VALUES ('one', 3, '{\"working_dir\": \"/srv\", \"extra\": 1}', 2);
             INSERT INTO prompts (content, metadata) VALUES ('two', 'not json');
             INSERT INTO prompts (content, created_at) VALUES ('three', '2025-05-06 07:08:09');",
        )
        .expect("inserted");
    let tasks = store.tasks(&[], 10).expect("tasks");
    assert_eq!(tasks.len(), 3);
    assert_eq!(tasks[0].metadata.working_dir.as_deref(), Some("/srv"));
    assert_eq!(
        (tasks[0].priority, tasks[0].timeout_seconds),
        (3, Some(120))
    );
    assert_eq!(
        tasks[2].created_at,
        "2025-05-06T07:08:09Z".parse().expect("a time")
    );
    let lanes = store.lanes().expect("lanes");
    assert_eq!(
        store
            .pending(&lanes, Timestamp::now(), 9, None)
            .expect("all")
            .len(),
        3
    );
    assert_eq!(actions(&mut store, tasks[1].id), ["queued"]);
    let kept: String = connection
        .query_row(
            "SELECT metadata FROM prompts WHERE content = 'one'",
            [],
            |row| row.get(0),
        )
        .expect("metadata");
    assert!(kept.contains("extra"));
}

#[test]
fn the_files_are_their_owners_alone() {
    let root = tempfile::tempdir().expect("a directory");
    let data = root.path().join("a/b");
    let mut store = Sqlite::open(&data).expect("a store");
    queue(&mut store, &[NewTask::command("x")]);
    let mode = |path: &std::path::Path| {
        std::fs::metadata(path).expect("there").permissions().mode() & 0o777
    };
    assert_eq!(mode(&data), 0o700);
    for name in ["assigner.db", "assigner.db-wal", "assigner.db-shm"] {
        assert_eq!(mode(&data.join(name)), 0o600, "{name}");
    }
}

#[test]
fn newer_and_foreign_databases_are_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    drop(Sqlite::open(directory.path()).expect("a store"));
    let connection = other(&directory);
    connection
        .pragma_update(None, "user_version", 9999)
        .expect("set");
    assert!(matches!(
        Sqlite::open(directory.path()),
        Err(StoreError::Newer { found: 9999, .. })
    ));

    let directory = tempfile::tempdir().expect("a directory");
    other(&directory)
        .execute_batch("CREATE TABLE songs (id)")
        .expect("made");
    assert!(matches!(
        Sqlite::open(directory.path()),
        Err(StoreError::Foreign { .. })
    ));

    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("assigner.db"), "x".repeat(5000)).expect("written");
    assert!(matches!(
        Sqlite::open(directory.path()),
        Err(StoreError::Open { .. })
    ));
}

#[test]
fn an_operation_that_fails_in_a_group_leaves_the_others() {
    let (_directory, mut store) = store();
    let mut results = Vec::new();
    store
        .group(&mut |store| {
            results.push(store.queue(&[NewTask::command("a")], now()).is_ok());
            results.push(store.cancel(TaskId(99), now()).is_ok());
            results.push(store.queue(&[NewTask::command("b")], now()).is_ok());
        })
        .expect("committed");
    assert_eq!(results, [true, false, true]);
    assert_eq!(store.tasks(&[], 9).expect("tasks").len(), 2);
}

#[test]
fn many_writers_lose_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    drop(Sqlite::open(directory.path()).expect("a store"));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut store = Sqlite::open(directory.path()).expect("a store");
                for _ in 0..10 {
                    queue(&mut store, &[NewTask::command("x")]);
                }
            });
        }
    });
    let mut store = Sqlite::open(directory.path()).expect("a store");
    assert_eq!(store.tasks(&[], 1000).expect("tasks").len(), 80);
}

/// What a random history does next.
#[derive(Debug, Clone)]
enum Step {
    Queue,
    Claim(usize, u32),
    Advance(usize, Phase),
    End(usize, Outcome, Event),
    Cancel(usize),
    Resolve(usize, Event),
}

fn step() -> impl Strategy<Value = Step> {
    let endings = prop::sample::select(vec![
        (Outcome::Completed, Event::Complete),
        (Outcome::Failed, Event::Fail),
        (Outcome::Failed, Event::Retry),
        (Outcome::Refused, Event::Refuse),
        (Outcome::Withdrawn, Event::Withdraw),
        (Outcome::Uncertain, Event::Lose),
        (Outcome::Cancelled, Event::Cancel),
    ]);
    prop_oneof![
        2 => Just(Step::Queue),
        4 => (0..6_usize, 0..3_u32).prop_map(|(task, pane)| Step::Claim(task, pane)),
        4 => (0..12_usize, prop::sample::select(vec![Phase::Delivering, Phase::Running]))
            .prop_map(|(attempt, phase)| Step::Advance(attempt, phase)),
        4 => (0..12_usize, endings).prop_map(|(attempt, (outcome, event))| {
            Step::End(attempt, outcome, event)
        }),
        1 => (0..6_usize).prop_map(Step::Cancel),
        1 => (0..6_usize, prop::sample::select(vec![Event::Resend, Event::MarkDone]))
            .prop_map(|(task, event)| Step::Resolve(task, event)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whatever is asked in whatever order: a session and a task have at most one attempt in
    /// flight, a task is in flight exactly when its state says so, and every change of state
    /// stands in the history.
    #[test]
    fn the_ledger_holds_under_any_history(steps in prop::collection::vec(step(), 1..40)) {
        let (directory, mut store) = store();
        let mut tasks = Vec::new();
        let mut attempts = Vec::new();
        for step in steps {
            let before: Vec<_> = tasks.iter().map(|&id| store.task(id).expect("a task").status).collect();
            match step {
                Step::Queue => tasks.extend(queue(&mut store, &[NewTask::command("x")])),
                Step::Claim(task, pane) => {
                    if let Some(&task) = tasks.get(task) {
                        attempts.extend(store.claim(&[claim(task, pane)], now()).expect("asked").into_iter().flatten());
                    }
                }
                Step::Advance(attempt, phase) => {
                    if let Some(&attempt) = attempts.get(attempt) {
                        let _ = store.advance(attempt, phase, "", now());
                    }
                }
                Step::End(attempt, outcome, event) => {
                    if let Some(&attempt) = attempts.get(attempt) {
                        let _ = store.end(&end(attempt, outcome, event), now());
                    }
                }
                Step::Cancel(task) => {
                    if let Some(&task) = tasks.get(task) {
                        let _ = store.cancel(task, now());
                    }
                }
                Step::Resolve(task, event) => {
                    if let Some(&task) = tasks.get(task) {
                        let _ = store.resolve(task, event, now());
                    }
                }
            }
            let open = store.open_attempts().expect("open");
            for (index, attempt) in open.iter().enumerate() {
                for other in &open[index + 1..] {
                    prop_assert_ne!(attempt.task.id, other.task.id);
                    prop_assert_ne!(&attempt.identity, &other.identity);
                }
            }
            for (&id, before) in tasks.iter().zip(before) {
                let task = store.task(id).expect("a task");
                let in_flight = open.iter().any(|attempt| attempt.task.id == id);
                let says = matches!(task.status, Status::Assigned | Status::InProgress);
                prop_assert_eq!(in_flight, says, "{} is {}", id, task.status);
                if task.status != before {
                    let last = store.history(id).expect("history").pop().expect("a row");
                    let event = last.action;
                    prop_assert!(event != "queued", "{} became {} without a row", id, task.status);
                }
            }
        }
        let connection = other(&directory);
        let problems: i64 = connection
            .query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0))
            .expect("checked");
        prop_assert_eq!(problems, 0);
    }
}
