//! The store against its own promises: every change is a row, nothing is claimed twice, what cannot
//! run is not read, and other tools may write.

use rusqlite::Connection;

use super::*;
use crate::model::ids::PaneId;
use crate::model::task::{Metadata, Parent};

// What nearly every test of the store names.
pub(super) use std::collections::{BTreeMap, BTreeSet};

pub(super) use jiff::Timestamp;
pub(super) use tempfile::TempDir;

pub(super) use crate::model::eligibility::Admission;
pub(super) use crate::model::ids::{AttemptId, Identity, TaskId};
pub(super) use crate::model::matching::PolicyId;
pub(super) use crate::model::naming::{Meaning, SessionRef, Who};
pub(super) use crate::model::session::{AT_PROMPT, Activity};
pub(super) use crate::model::task::{
    Event, IfParentFails, Kind, NamedRanking, NewTask, Outcome, Phase, Status, Task, TurnFacts,
};

/// Queues every failed task again, and returns those that were queued and why others were not.
pub(super) fn retry_all_failed(store: &mut Store, at: Timestamp) -> (Vec<TaskId>, Vec<StoreError>) {
    let (first, last) = (TaskId(i64::MIN), TaskId(i64::MAX));
    let ids = store
        .ids_between(first, last, &[Status::Failed])
        .expect("listed");
    let (mut queued, mut left) = (Vec::new(), Vec::new());
    for id in ids {
        match store.retry(id, None, false, at) {
            Ok(_) => queued.push(id),
            Err(error) => left.push(error),
        }
    }
    (queued, left)
}

pub(super) fn now() -> Timestamp {
    "2026-01-02T03:04:05.678Z".parse().expect("a time")
}

pub(super) fn later(seconds: i64) -> Timestamp {
    now() + jiff::SignedDuration::from_secs(seconds)
}

pub(super) fn store() -> (TempDir, Store) {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).expect("a store");
    (directory, store)
}

pub(super) fn other(directory: &TempDir) -> Connection {
    Connection::open(directory.path().join("assigner.db")).expect("another connection")
}

pub(super) fn queue(store: &mut Store, tasks: &[NewTask]) -> Vec<TaskId> {
    store.queue(tasks, now()).expect("queued")
}

pub(super) fn identity(pane: u32) -> Identity {
    Identity {
        node: Default::default(),
        server_pid: 1,
        server_start: 2,
        pane: PaneId::parse(&format!("%{pane}")).expect("a pane"),
        pane_pid: 1000 + pane,
    }
}

/// A shell that waits at its prompt.
pub(super) fn session_row(name: &str) -> SessionRow {
    SessionRow {
        name: name.to_owned(),
        identity: identity(1),
        activity: Activity::Idle,
        reason: None,
        since: now(),
        provider: "shell".to_owned(),
        current_dir: None,
        git_branch: None,
        repository: None,
        shell: None,
        env: BTreeMap::new(),
        current_task: None,
        completed: 0,
        failed: 0,
        context_at: now(),
        admission: Admission::Open,
        paused: false,
        labels: BTreeMap::new(),
        homes: Vec::new(),
    }
}

pub(super) fn claim(task: TaskId, pane: u32) -> Claim {
    Claim {
        task,
        revision: 0,
        session: format!("s{pane}"),
        identity: identity(pane),
        homes: Vec::new(),
        provider: "shell".to_owned(),
        asks: None,
        labels: BTreeMap::new(),
        policy: PolicyId {
            name: "test".to_owned(),
            version: "1".to_owned(),
            sha256: "00".to_owned(),
        },
        ruled_out: Vec::new(),
        rankings: vec![NamedRanking {
            session: format!("s{pane}"),
            points: 100,
            terms: Vec::new(),
        }],
    }
}

pub(super) fn claimed(store: &mut Store, task: TaskId, pane: u32) -> AttemptId {
    store.release_due(later(100_000)).expect("released");
    let rests = store.resting(100).expect("rests");
    store.release(&rests).expect("released");
    let claim = Claim {
        revision: store.task(task).expect("the task").revision,
        ..claim(task, pane)
    };
    let attempts = store.claim(&[claim], now()).expect("claimed");
    attempts[0].expect("a free session and a pending task")
}

pub(super) fn end(attempt: AttemptId, outcome: Outcome, event: Event) -> End {
    End {
        attempt,
        outcome,
        event,
        exit_code: (outcome == Outcome::Completed).then_some(0),
        error: (outcome != Outcome::Completed).then(|| "why".to_owned()),
        output: None,
        not_before: None,
        turn: None,
        limit: None,
    }
}

pub(super) fn actions(store: &mut Store, task: TaskId) -> Vec<String> {
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
        cut: Some("its pipe was closed".to_owned()),
        ..Output::of(b"a\0b\xff".to_vec())
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
fn what_a_session_has_taken_up_is_counted() {
    let (_directory, mut store) = store();
    let tasks = queue(&mut store, &vec![NewTask::command("true"); 8]);
    let mut first = None;
    let mut taken = 0;
    let attempts = tasks.into_iter().zip([
        (Outcome::Completed, Event::Complete, true, true),
        (Outcome::Failed, Event::Fail, false, true),
        (Outcome::Cancelled, Event::Cancel, true, true),
        (Outcome::Limited, Event::Hold, true, true),
        (Outcome::Uncertain, Event::Lose, true, true),
        // These have left nothing in the session.
        (Outcome::Cancelled, Event::Cancel, false, false),
        (Outcome::Refused, Event::Refuse, true, false),
        (Outcome::Withdrawn, Event::Withdraw, true, false),
    ]);
    for (task, (outcome, event, delivered, counts)) in attempts {
        let attempt = claimed(&mut store, task, 1);
        first.get_or_insert(attempt);
        if delivered {
            let delivering = store.advance(attempt, Phase::Delivering, "", now());
            delivering.expect("delivering");
        }
        let count = |store: &mut Store| {
            let counted = store.taken_up(&identity(1), AttemptId(0));
            counted.expect("a number")
        };
        assert_eq!(count(&mut store), taken, "one in flight does not count");
        store
            .end(&end(attempt, outcome, event), later(1))
            .expect("ended");
        taken += u32::from(counts);
        assert_eq!(count(&mut store), taken, "{outcome:?} {delivered}");
    }
    let first = first.expect("an attempt");
    let mut count = |pane, from| store.taken_up(&identity(pane), from).expect("a number");
    assert_eq!(count(1, AttemptId(0)), 5);
    assert_eq!(count(1, first), 5);
    assert_eq!(count(1, AttemptId(first.0 + 1)), 4);
    assert_eq!(count(2, AttemptId(0)), 0);
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
        let page = store.pending(&lanes, 2, after).expect("a page");
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
        target_session: Some("api".into()),
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
                lane.demand.kind,
                lane.demand
                    .target_session
                    .as_ref()
                    .map(|target| target.name.as_str()),
                lane.demand.providers.clone(),
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
    let task = NewTask {
        not_before: Some(later(10)),
        ..NewTask::command("x")
    };
    queue(&mut store, &[task]);
    let runnable = |store: &mut Store, at: Timestamp| {
        store.release_due(at).expect("released");
        let lanes = store.lanes().expect("lanes");
        store.pending(&lanes, 9, None).expect("a page").len()
    };
    assert_eq!(runnable(&mut store, later(9)), 0);
    assert_eq!(store.next_due(later(9)).expect("due"), Some(later(10)));
    assert_eq!(runnable(&mut store, later(10)), 1);
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
    assert_eq!(
        store.requests().expect("asked").get(&ids[1]),
        Some(&Request::Cancel)
    );
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
    assert!(store.pending(&lanes, 9, None).expect("none").is_empty());
    assert_eq!(
        store.resolve(task, Event::Resend, now()).expect("resent"),
        Status::Pending
    );
    assert!(store.resolve(task, Event::MarkDone, now()).is_err());
}

/// Whether a task would be given to a session now.
pub(super) fn may_run(store: &mut Store, task: TaskId) -> bool {
    let lanes = store.lanes().expect("lanes");
    let pending = store.pending(&lanes, 999, None).expect("a page");
    pending.iter().any(|found| found.id == task)
}

pub(super) fn following(parents: &[TaskId], if_parent_fails: IfParentFails) -> NewTask {
    NewTask {
        after: parents.iter().copied().map(Parent::Task).collect(),
        if_parent_fails,
        ..NewTask::command("x")
    }
}

pub(super) fn finish(store: &mut Store, task: TaskId, outcome: Outcome, event: Event) {
    let attempt = claimed(store, task, 1);
    store
        .end(&end(attempt, outcome, event), now())
        .expect("ended");
}

pub(super) fn status(store: &mut Store, task: TaskId) -> Status {
    store.task(task).expect("the task").status
}

#[test]
fn a_task_is_given_to_another_session_wherever_it_stands() {
    let (_directory, mut store) = store();
    let ids = queue(&mut store, &[NewTask::command("a"), NewTask::command("b")]);
    store
        .reassign(ids[0], Some(&"web".into()), now())
        .expect("pending");
    let task = store.task(ids[0]).expect("read");
    assert_eq!(task.target_session, Some("web".into()));
    // A task in flight is asked to end, and then targets the other session.
    let attempt = claimed(&mut store, ids[1], 1);
    let status = store
        .reassign(ids[1], Some(&"web".into()), now())
        .expect("assigned");
    assert_eq!(status, Status::Assigned);
    assert_eq!(
        store.requests().expect("asked").get(&ids[1]),
        Some(&Request::Reassign(Some("web".to_owned())))
    );
    let returned = end(attempt, Outcome::Reassigned, Event::Return);
    store.end(&returned, now()).expect("returned");
    let task = store.task(ids[1]).expect("read");
    assert_eq!(task.status, Status::Pending);
    assert_eq!(task.target_session, Some("web".into()));
    assert_eq!((task.attempts, task.tries), (1, 0));
    assert!(store.requests().expect("none").is_empty());
    // A task that ended badly is queued again; one that is done is not.
    finish(&mut store, ids[1], Outcome::Failed, Event::Fail);
    store.reassign(ids[1], None, now()).expect("failed");
    let task = store.task(ids[1]).expect("read");
    assert_eq!((task.status, task.target_session), (Status::Pending, None));
    finish(&mut store, ids[1], Outcome::Completed, Event::Complete);
    assert!(store.reassign(ids[1], None, now()).is_err());
}

#[test]
fn what_a_person_changed_since_the_decision_is_not_claimed() {
    let (_directory, mut store) = store();
    let ids = queue(
        &mut store,
        &[
            NewTask::command("a"),
            NewTask::command("b"),
            NewTask::command("c"),
        ],
    );
    let decided: Vec<Claim> = (1..).zip(&ids).map(|(pane, id)| claim(*id, pane)).collect();
    let edit = Edit {
        task: NewTask::command("another"),
        revision: 0,
        unfollow: false,
        if_parent_fails: None,
        what: "content".to_owned(),
    };
    store.edit(ids[0], &edit, now()).expect("edited");
    store
        .reassign(ids[1], Some(&"web".into()), now())
        .expect("given");
    let attempts = store.claim(&decided, now()).expect("claimed");
    let taken: Vec<bool> = attempts.iter().map(Option::is_some).collect();
    assert_eq!(taken, [false, false, true]);
    // With the current revision, it can be claimed.
    assert!(may_run(&mut store, ids[0]));
    claimed(&mut store, ids[0], 1);
}
