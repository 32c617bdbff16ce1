//! The Python worker's database: taken over in place, merged from elsewhere, and copied before
//! either.

use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::original::Backup;
use super::tests::*;
use super::*;

/// What the last version of the worker stores: a prompt with every field known, one in flight with
/// nothing known, and history that includes a deleted prompt.
const WORKER: &str = r#"
    CREATE TABLE prompts (id INTEGER PRIMARY KEY AUTOINCREMENT, content TEXT, status TEXT,
        source TEXT, priority INTEGER, assigned_session TEXT, error TEXT, created_at TEXT,
        assigned_at TEXT, completed_at TEXT, metadata TEXT, target_session TEXT,
        target_provider TEXT, retry_count INTEGER, max_retries INTEGER, timeout_minutes INTEGER,
        response TEXT);
    INSERT INTO prompts VALUES (3, 'make', 'failed', 'web', 7, 's1', 'it broke',
        '2025-01-01 10:00:00', '2025-01-01 10:00:01', '2025-01-01 10:00:02.5', '{"note": "x"}',
        's1', 'shell', 1, 2, 5, 'said');
    INSERT INTO prompts (id, content, status) VALUES (4, 'ask', 'in_progress'), (8, 'x', 'pending');
    DELETE FROM prompts WHERE id = 8;
    CREATE TABLE sessions (name TEXT PRIMARY KEY, status TEXT, last_activity TEXT,
        working_dir TEXT, is_claude BOOLEAN, provider TEXT, last_output TEXT, updated_at TEXT,
        current_dir TEXT, git_branch TEXT, last_context_update TEXT, env_vars TEXT,
        current_task_id INTEGER);
    INSERT INTO sessions VALUES ('s1', 'busy', '2025-01-01 10:00:03', '/w', 1, 'claude', 'out',
        '2025-01-01 10:00:04', '/d', 'dev', '2025-01-01 10:00:05', '{"A": "1"}', 3);
    INSERT INTO sessions (name) VALUES ('s2'), (NULL);
    CREATE TABLE assignment_history (id INTEGER PRIMARY KEY AUTOINCREMENT, prompt_id INTEGER,
        session_name TEXT, action TEXT, created_at TEXT, details TEXT);
    INSERT INTO assignment_history VALUES
        (1, 8, 's1', 'assigned', '2025-01-01 09:00:00', 'one that was deleted'),
        (2, 3, 's1', 'assigned', '2025-01-01 10:00:01', 'taken'),
        (3, 3, 's1', 'failed', '2025-01-01 10:00:02', 'broken'),
        (4, 4, 's2', 'assigned', 'soon', NULL),
        (5, NULL, 's2', 'noted', '2025-01-01 11:00:00', 'of no prompt');
"#;

/// Creates a database of the worker.
fn worker(path: &Path, tables: &str) -> Connection {
    let theirs = Connection::open(path).expect("a database");
    theirs.execute_batch(tables).expect("tables");
    theirs
}

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// Another connection to the file of a store.
fn file(store: &Store) -> Connection {
    Connection::open(store.directory.join("assigner.db")).expect("a connection")
}

/// The values of a column, one per line.
fn column(connection: &Connection, query: &str) -> Vec<String> {
    let mut query = connection.prepare(query).expect("a query");
    let rows = query.query_map([], |row| {
        Ok(row.get::<_, Option<_>>(0)?.unwrap_or_default())
    });
    let rows = rows.expect("rows").collect::<Result<_, _>>();
    rows.expect("text")
}

/// Compares the prompts of [`WORKER`] with what they have become.
fn is_all_there(store: &mut Store, failed: TaskId, in_flight: TaskId) {
    let task = store.task(failed).expect("a task");
    assert_eq!((task.kind, task.status), (Kind::Command, Status::Failed));
    assert_eq!((task.content.as_str(), task.priority), ("make", 7));
    assert_eq!(task.session.as_deref(), Some("s1"));
    assert_eq!(task.error.as_deref(), Some("it broke"));
    assert_eq!(task.created_at, time("2025-01-01T10:00:00Z"));
    assert_eq!(task.assigned_at, Some(time("2025-01-01T10:00:01Z")));
    assert_eq!(task.completed_at, Some(time("2025-01-01T10:00:02.5Z")));
    assert_eq!(task.target_session, Some("s1".into()));
    assert_eq!(task.target_provider.as_deref(), Some("shell"));
    assert_eq!((task.attempts, task.tries, task.max_retries), (2, 2, 2));
    assert_eq!(task.timeout_seconds, Some(300));
    let said = store.output(failed).expect("read").expect("a response");
    assert_eq!((&*said.bytes, said.total), (&b"said"[..], 4));
    let written = column(&file(store), "SELECT source || metadata FROM tasks");
    assert_eq!(written, ["web{\"note\": \"x\"}", "api{}"]);

    let task = store.task(in_flight).expect("a task");
    assert_eq!((task.kind, task.status), (Kind::Prompt, Status::Uncertain));
    assert_eq!((task.priority, task.attempts, task.max_retries), (0, 1, 0));
    assert_eq!((task.timeout_seconds, task.session), (None, None));
    let why = task.error.expect("why it is uncertain");
    assert!(why.contains("it is not known whether it ran"), "{why}");
    assert_eq!(store.output(in_flight).expect("read"), None);
}

fn said(store: &mut Store, id: TaskId) -> Vec<String> {
    let rows = store.history(id).expect("history").into_iter();
    rows.map(|row| format!("{} {}", row.action, row.details))
        .collect()
}

const SESSIONS: &str = "SELECT concat_ws(' ', name, status, last_activity, working_dir, is_claude,
    provider, last_output, updated_at, current_dir, git_branch, last_context_update, env_vars,
    current_task_id) FROM sessions ORDER BY name";

#[test]
fn the_workers_database_is_taken_over_where_it_stands() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("assigner.db");
    drop(worker(&path, WORKER));
    let mut store = Store::open(directory.path()).expect("taken over");
    is_all_there(&mut store, TaskId(3), TaskId(4));
    assert_eq!(
        said(&mut store, TaskId(3)),
        ["assigned taken", "failed broken"]
    );
    let told = said(&mut store, TaskId(4));
    assert_eq!((told.len(), &*told[0]), (2, "assigned "));
    assert!(
        told[1].starts_with("uncertain it was in flight"),
        "{told:?}"
    );
    assert_eq!(
        said(&mut store, TaskId(8)),
        ["assigned one that was deleted"]
    );
    assert_eq!(
        column(&file(&store), SESSIONS),
        [
            "s1 busy 2025-01-01T10:00:03.000Z /w 1 claude out 2025-01-01T10:00:04.000Z /d dev \
             2025-01-01T10:00:05.000Z {\"A\": \"1\"} 3",
            "s2 unknown 0 {}",
        ]
    );
    // An id that was used once is not used again.
    assert_eq!(queue(&mut store, &[NewTask::command("x")]), [TaskId(9)]);
    // Nothing of the worker is left except the copy.
    let left = "SELECT name FROM sqlite_schema WHERE name LIKE 'original%'";
    assert_eq!(column(&file(&store), left), [""; 0]);
    let copy = Connection::open(directory.path().join("assigner.db.before-migration"));
    let contents = column(&copy.expect("a copy"), "SELECT content FROM prompts");
    assert_eq!(contents, ["make", "ask"]);
}

#[test]
fn prompts_alone_are_a_database_of_the_worker() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("assigner.db");
    let first = "CREATE TABLE prompts (id INTEGER PRIMARY KEY, content TEXT, status TEXT);
        INSERT INTO prompts VALUES (5, 'x', 'pending');";
    drop(worker(&path, first));
    let mut store = Store::open(directory.path()).expect("taken over");
    let task = store.task(TaskId(5)).expect("a task");
    assert_eq!((task.content.as_str(), task.tries), ("x", 0));
    // What the worker did if nothing else was specified.
    assert_eq!((task.max_retries, task.timeout_seconds), (3, Some(1800)));
    let age = Timestamp::now().duration_since(task.created_at);
    assert!(age.as_secs().abs() < 3600, "{}", task.created_at);
    assert_eq!(said(&mut store, TaskId(5)), [""; 0]);
    assert_eq!(column(&file(&store), SESSIONS), [""; 0]);
    for (number, other) in [
        "CREATE TABLE prompts (id INTEGER PRIMARY KEY, content TEXT)",
        "CREATE TABLE notes (id INTEGER, content TEXT, status TEXT)",
        "CREATE TABLE notes (id INTEGER, content TEXT, status TEXT);
            CREATE VIEW prompts AS SELECT * FROM notes",
    ]
    .iter()
    .enumerate()
    {
        let directory = directory.path().join(number.to_string());
        std::fs::create_dir(&directory).expect("made");
        drop(worker(&directory.join("assigner.db"), other));
        let opened = Store::open(&directory);
        assert!(matches!(opened, Err(StoreError::Foreign { .. })), "{other}");
    }
}

#[test]
fn what_is_merged_is_counted_and_recognised() {
    let (directory, mut store) = store();
    let path = directory.path().join("theirs.db");
    let theirs = worker(&path, WORKER);
    // What is known here takes precedence.
    let here = session_row("s1");
    store.record_sessions(&[here], now()).expect("recorded");
    let first = store.import(&path, later(1), |_, _| ()).expect("merged");
    let all = Imported {
        tasks: 2,
        sessions: 1,
        history: 5,
        uncertain: 1,
        skipped: 0,
    };
    assert_eq!(first, all);
    is_all_there(&mut store, TaskId(1), TaskId(2));
    assert_eq!(
        said(&mut store, TaskId(1)),
        [
            "assigned taken",
            "failed broken",
            "imported it was prompt 3"
        ]
    );
    let told = said(&mut store, TaskId(2));
    assert_eq!((told.len(), &*told[1]), (3, "imported it was prompt 4"));
    assert!(
        told[2].starts_with("uncertain it was in flight"),
        "{told:?}"
    );
    let of_none = "SELECT concat_ws(' ', session_name, action, created_at, details)
        FROM assignment_history WHERE prompt_id IS NULL";
    assert_eq!(
        column(&file(&store), of_none),
        [
            "s1 assigned 2025-01-01T09:00:00.000Z one that was deleted",
            "s2 noted 2025-01-01T11:00:00.000Z of no prompt",
        ]
    );
    let when = "SELECT created_at FROM assignment_history WHERE prompt_id = 2 ORDER BY id";
    let imported = rows::stamp(later(1));
    assert_eq!(
        column(&file(&store), when),
        ["soon", &*imported, &*imported]
    );
    let names = "SELECT name || status FROM sessions ORDER BY name";
    assert_eq!(column(&file(&store), names), ["s1idle", "s2unknown"]);

    // The worker continues to write; new rows are merged once.
    theirs
        .execute_batch(
            "INSERT INTO prompts (content, status) VALUES ('new', 'pending');
             INSERT INTO assignment_history (action, created_at) VALUES ('noted', '')",
        )
        .expect("written");
    let second = store.import(&path, later(2), |_, _| ()).expect("merged");
    let new = Imported {
        tasks: 1,
        history: 1,
        skipped: 2,
        ..Imported::default()
    };
    assert_eq!(second, new);
    let third = store.import(&path, later(3), |_, _| ()).expect("merged");
    let nothing = Imported {
        skipped: 3,
        ..Imported::default()
    };
    assert_eq!(third, nothing);
    // No copy is left behind.
    let left = std::fs::read_dir(directory.path()).expect("a directory");
    let mut left = left.map(|entry| entry.expect("an entry").file_name());
    assert!(!left.any(|name| name.to_string_lossy().contains("import")));
}

#[test]
fn an_import_that_stopped_is_repeated() {
    let (directory, mut store) = store();
    let path = directory.path().join("theirs.db");
    let many = "CREATE TABLE prompts (id INTEGER PRIMARY KEY, content TEXT, status TEXT);
        WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 250)
        INSERT INTO prompts SELECT n, 'prompt ' || n, 'pending' FROM numbers";
    drop(worker(&path, many));
    let stopped = catch_unwind(AssertUnwindSafe(|| {
        store.import(&path, now(), |looked_at, all| {
            assert_eq!(all, 250);
            assert!(looked_at < 200, "stopped");
        })
    }));
    assert!(stopped.is_err());
    let again = store.import(&path, now(), |_, _| ()).expect("merged");
    assert_eq!((again.tasks, again.skipped), (50, 200));
    let contents = store.tasks(&[], 999).expect("tasks").into_iter();
    let contents: BTreeSet<String> = contents.map(|task| task.content).collect();
    assert_eq!(contents.len(), 250);
}

#[test]
fn each_copy_is_kept_under_a_name_of_its_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("assigner.db");
    let theirs = worker(&path, WORKER);
    let there = || {
        let entries = std::fs::read_dir(directory.path()).expect("a directory");
        let names = entries.map(|entry| entry.expect("an entry").path());
        let mut names: Vec<PathBuf> = names.filter(|name| *name != path).collect();
        names.sort();
        names
    };
    // Two copies made at the same time do not collide.
    let first = Backup::make(&theirs, &path).expect("a copy");
    let second = Backup::make(&theirs, &path).expect("another");
    let third = Backup::make(&theirs, &path).expect("a third");
    assert_eq!(there().len(), 3);
    for name in there() {
        // A process killed at this point leaves a file that the next one recognises.
        assert!(name.to_string_lossy().ends_with(".tmp"), "{name:?}");
        let mode = name.metadata().expect("a file").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }
    for backup in [&first, &second, &third] {
        backup.keep().expect("kept");
    }
    let dropped = Backup::make(&theirs, &path).expect("a fourth");
    drop([first, second, third, dropped]);
    let kept = ["", ".2", ".3"].map(|number| {
        let name = format!("assigner.db.before-migration{number}");
        directory.path().join(name)
    });
    assert_eq!(there(), kept);
}

#[test]
fn a_copy_is_current_until_somebody_else_writes() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("assigner.db");
    let theirs = worker(&path, WORKER);
    let ours = Connection::open(&path).expect("a connection");
    let backup = Backup::make(&ours, &path).expect("a copy");
    assert!(backup.is_current(&ours).expect("read"));
    theirs
        .execute_batch("UPDATE prompts SET priority = 1")
        .expect("written");
    assert!(!backup.is_current(&ours).expect("read"));
}
