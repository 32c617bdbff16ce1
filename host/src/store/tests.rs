//! The store against its own promises: every change is a row, nothing is claimed twice, what cannot
//! run is not read, and other tools may write.

use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;
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
fn what_a_session_has_taken_up_is_counted() {
    let (_directory, mut store) = store();
    let tasks = queue(&mut store, &vec![NewTask::command("true"); 8]);
    let mut first = None;
    let attempts = tasks.into_iter().zip([
        (Outcome::Completed, Event::Complete, true),
        (Outcome::Failed, Event::Fail, false),
        (Outcome::Cancelled, Event::Cancel, true),
        (Outcome::Limited, Event::Hold, true),
        (Outcome::Uncertain, Event::Lose, true),
        // These have left nothing in the session.
        (Outcome::Cancelled, Event::Cancel, false),
        (Outcome::Refused, Event::Refuse, true),
        (Outcome::Withdrawn, Event::Withdraw, true),
    ]);
    for (task, (outcome, event, delivered)) in attempts {
        let attempt = claimed(&mut store, task, 1);
        first.get_or_insert(attempt);
        if delivered {
            let delivering = store.advance(attempt, Phase::Delivering, "", now());
            delivering.expect("delivering");
        }
        store
            .end(&end(attempt, outcome, event), later(1))
            .expect("ended");
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
                lane.kind,
                lane.target_session
                    .as_ref()
                    .map(|target| target.name.as_str()),
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

#[test]
fn a_limit_of_another_tool_is_never_rounded_down_to_none() {
    let (directory, mut store) = store();
    let other = other(&directory);
    let limits = [
        ("0.001", Some(1)),
        ("0.5", Some(30)),
        ("1.001", Some(61)),
        ("45", Some(2700)),
        ("0", None),
        ("-1", None),
        ("NULL", None),
    ];
    for (number, (minutes, limit)) in (1..).zip(limits) {
        let insert =
            format!("INSERT INTO prompts (content, timeout_minutes) VALUES ('x', {minutes})");
        other.execute_batch(&insert).expect("inserted");
        let task = store.task(TaskId(number)).expect("a task");
        assert_eq!(task.timeout_seconds, limit, "{minutes}");
    }
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
    assert_eq!(store.pending(&lanes, 9, None).expect("all").len(), 3);
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
    let mut store = Store::open(&data).expect("a store");
    queue(&mut store, &[NewTask::command("x")]);
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    for name in ["assigner.db", "assigner.db-wal", "assigner.db-shm"] {
        assert_eq!(mode(&data.join(name)), 0o600, "{name}");
    }
}

#[test]
fn newer_and_foreign_databases_are_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    drop(Store::open(directory.path()).expect("a store"));
    let connection = other(&directory);
    connection
        .pragma_update(None, "user_version", 9999)
        .expect("set");
    assert!(matches!(
        Store::open(directory.path()),
        Err(StoreError::Newer { found: 9999, .. })
    ));

    let directory = tempfile::tempdir().expect("a directory");
    other(&directory)
        .execute_batch("CREATE TABLE songs (id)")
        .expect("made");
    assert!(matches!(
        Store::open(directory.path()),
        Err(StoreError::Foreign { .. })
    ));

    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("assigner.db"), "x".repeat(5000)).expect("written");
    assert!(matches!(
        Store::open(directory.path()),
        Err(StoreError::Open { .. })
    ));
}

#[test]
fn an_operation_that_fails_in_a_group_leaves_the_others() {
    let (_directory, mut store) = store();
    let mut results = Vec::new();
    store
        .group(|store| {
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
    drop(Store::open(directory.path()).expect("a store"));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut store = Store::open(directory.path()).expect("a store");
                for _ in 0..10 {
                    queue(&mut store, &[NewTask::command("x")]);
                }
            });
        }
    });
    let mut store = Store::open(directory.path()).expect("a store");
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
    /// flight, a task is in flight exactly when its state says so, and every change of state is in
    /// the history.
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
fn a_task_runs_when_all_that_it_follows_has_ended() {
    let (_directory, mut store) = store();
    let parents = queue(&mut store, &[NewTask::command("a"), NewTask::command("b")]);
    let child = queue(&mut store, &[following(&parents, IfParentFails::Fail)])[0];
    assert!(!may_run(&mut store, child));
    finish(&mut store, parents[0], Outcome::Completed, Event::Complete);
    assert!(!may_run(&mut store, child));
    finish(&mut store, parents[1], Outcome::Completed, Event::Complete);
    assert!(may_run(&mut store, child));
    let read = store.task(child).expect("the child");
    assert_eq!(read.follows, Some(identity(1)));
    // A parent that has already ended is not waited for.
    let late = queue(&mut store, &[following(&parents, IfParentFails::Fail)])[0];
    assert!(may_run(&mut store, late));
}

#[test]
fn a_failed_parent_fails_or_releases_its_children() {
    let (_directory, mut store) = store();
    let parent = queue(&mut store, &[NewTask::command("a")])[0];
    let fails = queue(&mut store, &[following(&[parent], IfParentFails::Fail)])[0];
    let grandchild = queue(&mut store, &[following(&[fails], IfParentFails::Fail)])[0];
    let runs = queue(&mut store, &[following(&[parent], IfParentFails::Release)])[0];
    finish(&mut store, parent, Outcome::Failed, Event::Fail);
    for task in [fails, grandchild] {
        assert_eq!(status(&mut store, task), Status::Failed);
    }
    let error = store.task(grandchild).expect("read").error.expect("why");
    assert!(error.contains(&format!("task {fails}")), "{error}");
    assert_eq!(actions(&mut store, fails), ["queued", "abandoned"]);
    assert!(may_run(&mut store, runs));
    // Queued after its parent has failed, a task fails at once.
    let late = queue(&mut store, &[following(&[parent], IfParentFails::Fail)])[0];
    assert_eq!(status(&mut store, late), Status::Failed);
    // A child is not queued again before its parent is.
    assert!(matches!(
        store.retry(fails, None, false, now()),
        Err(StoreError::ParentFailed { .. })
    ));
    let (queued, left) = store.retry_all_failed(now()).expect("queued");
    assert!(left.is_empty());
    assert_eq!(queued, [parent, fails, grandchild, late]);
    assert!(may_run(&mut store, parent) && !may_run(&mut store, fails));
    assert!(!may_run(&mut store, runs), "its parent is tried again");
    finish(&mut store, parent, Outcome::Completed, Event::Complete);
    assert!(may_run(&mut store, fails) && !may_run(&mut store, grandchild));
    assert!(may_run(&mut store, runs));
}

#[test]
fn a_long_chain_ends_with_its_first_task() {
    let (_directory, mut store) = store();
    let mut tasks = vec![NewTask::command("first")];
    tasks.extend((0..3000).map(|parent| NewTask {
        after: vec![Parent::Earlier(parent)],
        ..NewTask::command("x")
    }));
    let ids = queue(&mut store, &tasks);
    store.cancel(ids[0], now()).expect("cancelled");
    assert_eq!(status(&mut store, ids[3000]), Status::Failed);
}

#[test]
fn no_task_waits_for_itself_or_for_one_that_is_not_there() {
    let (_directory, mut store) = store();
    let nobody = following(&[TaskId(7)], IfParentFails::Fail);
    assert!(
        store
            .queue(&[NewTask::command("a"), nobody], now())
            .is_err()
    );
    assert!(store.tasks(&[], 9).expect("none").is_empty(), "all or none");
    let ids = queue(&mut store, &[NewTask::command("a"), NewTask::command("b")]);
    let edit = Edit {
        task: following(&[ids[1]], IfParentFails::Fail),
        revision: 0,
        unfollow: false,
        if_parent_fails: None,
        what: "after".to_owned(),
    };
    for task in ids {
        let refused = store.edit(task, &edit, now());
        assert!(matches!(refused, Err(StoreError::FollowsLater { .. })));
    }
}

#[derive(Debug, Clone, Copy)]
enum LedgerAct {
    Complete(usize),
    Fail(usize),
    Cancel(usize),
    Retry(usize),
    RetryAll,
}

fn acts() -> impl Strategy<Value = Vec<LedgerAct>> {
    let act = prop_oneof![
        (0..6_usize).prop_map(LedgerAct::Complete),
        (0..6_usize).prop_map(LedgerAct::Fail),
        (0..6_usize).prop_map(LedgerAct::Cancel),
        (0..6_usize).prop_map(LedgerAct::Retry),
        Just(LedgerAct::RetryAll),
    ];
    proptest::collection::vec(act, 0..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever happens in whatever order: the counter of open parents equals their actual number,
    /// and no task stays pending that was to fail with its parent.
    #[test]
    fn what_a_task_waits_for_is_always_what_is_open(
        edges in proptest::collection::vec((0..6_usize, 0..6_usize, any::<bool>()), 0..12),
        acts in acts(),
    ) {
        let (directory, mut store) = store();
        let tasks: Vec<NewTask> = (0..6)
            .map(|child| {
                let own = edges.iter().filter(|(_, to, _)| *to == child);
                NewTask {
                    after: own
                        .clone()
                        .filter(|(from, to, _)| from < to)
                        .map(|(from, _, _)| Parent::Earlier(*from))
                        .collect(),
                    if_parent_fails: if own.clone().any(|(_, _, release)| *release) {
                        IfParentFails::Release
                    } else {
                        IfParentFails::Fail
                    },
                    ..NewTask::command("x")
                }
            })
            .collect();
        let ids = queue(&mut store, &tasks);
        for act in acts {
            match act {
                LedgerAct::Complete(task) if may_run(&mut store, ids[task]) => {
                    finish(&mut store, ids[task], Outcome::Completed, Event::Complete);
                }
                LedgerAct::Fail(task) if may_run(&mut store, ids[task]) => {
                    finish(&mut store, ids[task], Outcome::Failed, Event::Fail);
                }
                LedgerAct::Cancel(task) => drop(store.cancel(ids[task], now())),
                LedgerAct::Retry(task) => drop(store.retry(ids[task], None, false, now())),
                LedgerAct::RetryAll => drop(store.retry_all_failed(now()).expect("queued")),
                LedgerAct::Complete(_) | LedgerAct::Fail(_) => {}
            }
        }
        let connection = other(&directory);
        let wrong: i64 = connection
            .query_row(
                "SELECT count(*) FROM tasks WHERE blocked <> (
                    SELECT count(*) FROM dependencies JOIN tasks AS parents
                        ON parents.id = parent_id WHERE task_id = tasks.id
                        AND parents.status NOT IN ('completed', 'failed', 'cancelled'))",
                [],
                |row| row.get(0),
            )
            .expect("counted");
        prop_assert_eq!(wrong, 0);
        let left_behind: i64 = connection
            .query_row(
                "SELECT count(*) FROM tasks JOIN dependencies ON task_id = tasks.id
                    JOIN tasks AS parents ON parents.id = parent_id
                    WHERE tasks.status = 'pending' AND if_fails = 'fail'
                    AND parents.status IN ('failed', 'cancelled')",
                [],
                |row| row.get(0),
            )
            .expect("counted");
        prop_assert_eq!(left_behind, 0);
    }
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
fn what_is_cleared_has_ended_and_is_waited_for_by_nobody() {
    let (directory, mut store) = store();
    let ids = queue(&mut store, &[NewTask::command("a"), NewTask::command("b")]);
    let child = queue(&mut store, &[following(&[ids[0]], IfParentFails::Fail)])[0];
    for task in &ids {
        finish(&mut store, *task, Outcome::Completed, Event::Complete);
    }
    let statuses = [Status::Completed, Status::Pending, Status::Uncertain];
    assert!(
        store
            .clear(&statuses, later(-1), now())
            .expect("none")
            .is_empty()
    );
    let cleared = store.clear(&statuses, later(1), now()).expect("one");
    assert_eq!(
        cleared.iter().map(|task| task.id).collect::<Vec<_>>(),
        [ids[1]]
    );
    assert!(store.task(ids[1]).is_err());
    assert_eq!(
        actions(&mut store, ids[1]).last().map(String::as_str),
        Some("cleared")
    );
    let attempts: i64 = other(&directory)
        .query_row("SELECT count(*) FROM attempts", [], |row| row.get(0))
        .expect("counted");
    assert_eq!(attempts, 1);
    finish(&mut store, child, Outcome::Completed, Event::Complete);
    assert_eq!(
        store.clear(&statuses, later(1), now()).expect("both").len(),
        2
    );
}

#[test]
fn an_edit_that_ends_a_task_reaches_its_followers() {
    let (_directory, mut store) = store();
    let bad = queue(&mut store, &[NewTask::command("a")])[0];
    let middle = queue(&mut store, &[NewTask::command("b")])[0];
    let last = queue(&mut store, &[following(&[middle], IfParentFails::Fail)])[0];
    finish(&mut store, bad, Outcome::Failed, Event::Fail);
    let edit = Edit {
        task: following(&[bad], IfParentFails::Fail),
        revision: 0,
        unfollow: false,
        if_parent_fails: None,
        what: "after".to_owned(),
    };
    store.edit(middle, &edit, now()).expect("edited");
    for task in [middle, last] {
        assert_eq!(status(&mut store, task), Status::Failed);
    }
    // Somebody else has changed it since.
    let other = queue(&mut store, &[NewTask::command("c")])[0];
    store
        .reassign(other, Some(&"web".into()), now())
        .expect("given");
    let late = store.edit(other, &edit, now());
    assert!(matches!(late, Err(StoreError::Changed(_))));
    // A released child stays released.
    assert!(store.retry(last, None, false, now()).is_err());
    store.retry(last, None, true, now()).expect("queued");
    let history = store.history(last).expect("history");
    assert!(
        history.iter().any(|row| row.action == "released"),
        "{history:?}"
    );
    // A task that cannot be queued is not released either.
    assert!(store.retry(last, None, true, now()).is_err());
    assert!(may_run(&mut store, last));
}

#[test]
fn rows_that_other_tools_spoil_stop_nothing() {
    let (directory, mut store) = store();
    let good = queue(&mut store, &[NewTask::command("a")])[0];
    let session = session_row("s1");
    store.record_sessions(&[session], now()).expect("recorded");
    other(&directory)
        .execute_batch(
            "INSERT INTO prompts (content, target_session, target_provider)
                VALUES ('x', CAST(x'fffe61' AS TEXT), 'shell');
             INSERT INTO prompts (content, target_session) VALUES ('x', x'fffe');
             UPDATE sessions SET env_vars = '{\"A\": 1', labels = 'x', reason = x'ff';
             INSERT INTO context_updates (session, env) VALUES ('s1', 'x');",
        )
        .expect("spoiled");
    assert!(may_run(&mut store, good));
    assert_eq!(store.lanes().expect("lanes").len(), 3);
    assert_eq!(store.sessions().expect("sessions").len(), 1);
    assert_eq!(store.take_context_updates().expect("updates").len(), 1);
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

#[test]
fn many_may_make_the_database_at_once() {
    for _ in 0..10 {
        let directory = tempfile::tempdir().expect("a directory");
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    let mut store = Store::open(directory.path()).expect("a store");
                    queue(&mut store, &[NewTask::command("x")]);
                });
            }
        });
        let mut store = Store::open(directory.path()).expect("a store");
        assert_eq!(store.tasks(&[], 99).expect("tasks").len(), 16);
    }
}
