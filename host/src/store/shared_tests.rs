//! Databases that other programs and processes use at the same time.

use std::os::unix::fs::PermissionsExt;

use super::tests::*;
use super::*;

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
