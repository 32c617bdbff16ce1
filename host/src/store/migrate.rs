//! Brings a file to the current schema, whoever wrote it: an older assigner or the Python worker.

use std::path::Path;

use rusqlite::Connection;

use super::StoreError;
use super::original::{self, Backup};
use super::schema::{MIGRATIONS, VERSION};

/// Brings the database of `connection` to [`VERSION`]. A database of the Python worker is first
/// copied and then taken over.
///
/// # Errors
/// It is newer than this assigner or belongs to another program, it is older and `is_served` by a
/// daemon, or SQLite refused: nothing has changed.
pub(super) fn migrate(
    connection: &mut Connection,
    path: &Path,
    is_served: impl FnOnce() -> bool,
) -> Result<(), StoreError> {
    let found = version(connection)?;
    if found == VERSION {
        return Ok(());
    }
    if (1..VERSION).contains(&found) && is_served() {
        return Err(StoreError::Served {
            path: path.to_owned(),
        });
    }
    // Tables are renamed, and views of other tools may refer to something that does not exist yet.
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update(None, "legacy_alter_table", true)?;
    while !step(connection, path)? {}
    connection.pragma_update(None, "legacy_alter_table", false)?;
    Ok(())
}

/// Migrates and returns true, or returns false if another process came in between: then try again.
fn step(connection: &mut Connection, path: &Path) -> Result<bool, StoreError> {
    let backup = original::is_one(connection)?
        .then(|| Backup::make(connection, path))
        .transpose()?;
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Exclusive)?;
    // Checked again once the lock is held: another process may have migrated in between.
    let found = version(&transaction)?;
    if found > VERSION {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known: VERSION,
        });
    }
    let others = take_down(&transaction)?;
    if original::is_one(&transaction)? {
        let Some(backup) = backup else {
            return Ok(false);
        };
        if !backup.is_current(&transaction)? {
            return Ok(false);
        }
        original::set_aside(&transaction)?;
        apply(&transaction, 0)?;
        original::take_over(&transaction)?;
        backup.keep()?;
    } else {
        let tables: i64 =
            transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if found == 0 && tables > 0 {
            return Err(StoreError::Foreign {
                path: path.to_owned(),
            });
        }
        apply(&transaction, found)?;
    }
    put_up(&transaction, &others)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(true)
}

/// The SQL that creates a view or a trigger of another tool.
struct Other(String);

/// Removes views and triggers that are not ours: SQLite does not change a table while one of them
/// refers to something that does not exist at the moment.
fn take_down(transaction: &Connection) -> Result<Vec<Other>, StoreError> {
    let mut query = transaction.prepare(
        "SELECT type, name, sql FROM sqlite_schema WHERE type IN ('view', 'trigger')
            AND name NOT IN ('prompts', 'prompts_insert') ORDER BY type DESC, rowid",
    )?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let rows: Vec<(String, String, String)> = rows.collect::<Result<_, _>>()?;
    let mut others = Vec::new();
    for (kind, name, sql) in rows {
        let name = name.replace('"', "\"\"");
        transaction.execute_batch(&format!("DROP {kind} IF EXISTS \"{name}\""))?;
        others.push(Other(sql));
    }
    Ok(others)
}

/// Creates them again. A trigger on a table that is now a view cannot be: it remains in the copy.
fn put_up(transaction: &Connection, others: &[Other]) -> Result<(), StoreError> {
    // Views come before the triggers on them.
    for Other(sql) in others {
        if let Err(error) = transaction.execute_batch(sql) {
            tracing::warn!("a trigger of another tool could not be kept: {error}");
        }
    }
    Ok(())
}

fn apply(transaction: &Connection, found: i64) -> Result<(), StoreError> {
    let done = usize::try_from(found).unwrap_or_default();
    for step in MIGRATIONS.iter().skip(done) {
        transaction.execute_batch(step)?;
    }
    Ok(())
}

fn version(connection: &Connection) -> Result<i64, rusqlite::Error> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::ids::{Identity, PaneId, TaskId, TmuxSession};
    use crate::model::matching::PolicyId;
    use crate::model::naming::{Meaning, SessionRef};
    use crate::model::task::{Status, Task};
    use crate::store::{Claim, Pause, Store};

    /// A database as the first release wrote it. Every later release must open it.
    #[test]
    fn a_database_of_the_first_version_is_brought_up() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("assigner.db");
        let old = Connection::open(&path).expect("a file");
        old.execute_batch(MIGRATIONS[0]).expect("the first schema");
        old.execute_batch(
            "INSERT INTO tasks (kind, content, created_at, attempts, max_retries, metadata)
                VALUES ('command', 'again', '2026-01-01T00:00:00.000Z', 2, 3, '{\"x\": 1}');
             INSERT INTO tasks (kind, content, created_at, status, completed_at)
                VALUES ('command', 'done', '2026-01-01T00:00:00.000Z', 'completed',
                    '2026-01-01T00:00:01.000Z');
             INSERT INTO tasks (kind, content, created_at, not_before, priority)
                VALUES ('command', 'later', '2026-01-01T00:00:00.000Z', '2999-01-01T00:00:00.000Z',
                    5000000000);
             INSERT INTO attempts (task_id, number, session, server_pid, server_start, pane,
                pane_pid, phase, outcome, claimed_at, policy_name, policy_version, policy_sha256,
                rankings) VALUES (2, 1, 'api', 1, 1, '%1', 1, 'ended', 'completed',
                '2026-01-01T00:00:00.000Z', 'default', '0.1.0', '00', '[]');
             INSERT INTO outputs (attempt_id, total, bytes) VALUES (1, 2, x'6f6b');
             INSERT INTO assignment_history (prompt_id, action) VALUES (2, 'completed');
             INSERT INTO sessions (name, status, server_pid, server_start, pane, pane_pid)
                VALUES ('api', 'idle', 1, 1, '%1', 1);
             CREATE VIEW depth AS SELECT status, count(*) AS n FROM prompts GROUP BY status;
             CREATE TRIGGER told AFTER INSERT ON tasks BEGIN SELECT 1; END;
             PRAGMA user_version = 1;",
        )
        .expect("rows");
        drop(old);
        let mut store = Store::open(directory.path()).expect("brought up");
        let again = store.task(TaskId(1)).expect("the first task");
        assert_eq!((again.attempts, again.tries), (2, 2));
        assert!(again.metadata.rest.contains_key("x"));
        assert_eq!(
            store.task(TaskId(2)).expect("the second").status,
            Status::Completed
        );
        let output = store.output(TaskId(2)).expect("read").expect("there");
        assert_eq!(output.bytes, b"ok");
        assert_eq!(store.attempts(TaskId(2)).expect("attempts").len(), 1);
        assert_eq!(store.history(TaskId(2)).expect("history").len(), 1);
        assert_eq!(store.sessions().expect("sessions").len(), 1);
        let lanes = store.lanes().expect("lanes");
        let runnable = store.pending(&lanes, 9, None).expect("a page");
        assert_eq!(runnable.len(), 1, "one waits for its time");
        let others = Connection::open(&path).expect("another connection");
        let kept: i64 = others
            .query_row(
                "SELECT (SELECT count(*) FROM depth) + (SELECT count(*) FROM sqlite_schema
                    WHERE name = 'told')",
                [],
                |row| row.get(0),
            )
            .expect("what others made");
        assert_eq!(kept, 3);
        let priority: i64 = others
            .query_row("SELECT priority FROM tasks WHERE id = 3", [], |row| {
                row.get(0)
            })
            .expect("a priority");
        assert_eq!(priority, i64::from(i32::MAX));
    }

    /// What was set by name alone is kept, and waits for a session with that name.
    #[test]
    fn what_was_said_by_name_is_kept_and_bound_later() {
        let directory = tempfile::tempdir().expect("a directory");
        let old = Connection::open(directory.path().join("assigner.db")).expect("a file");
        for step in &MIGRATIONS[..4] {
            old.execute_batch(step).expect("the schema of then");
        }
        old.execute_batch(
            "INSERT INTO tasks (kind, content, created_at, target_session)
                VALUES ('command', 'x', '2026-01-01T00:00:00.000Z', 'api');
             INSERT INTO pauses (scope, name, since) VALUES
                ('session', 'api', '2026-01-01T00:00:00.000Z'),
                ('all', '', '2026-01-01T00:00:00.000Z');
             INSERT INTO pauses (scope, name, since, until, reason) VALUES
                ('provider', 'claude', '2026-01-01T00:00:00.000Z', '2999-01-01T00:00:00.000Z', 'x');
             INSERT INTO session_labels (session, name, value) VALUES ('api', 'gpu', 'yes');
             INSERT INTO context_updates (session, env) VALUES ('api', '{}');
             PRAGMA user_version = 4;",
        )
        .expect("rows");
        drop(old);
        let mut store = Store::open(directory.path()).expect("brought up");
        let said = SessionRef::from("api");
        let pauses = store.pauses().expect("pauses");
        assert_eq!(pauses.len(), 3);
        assert!(
            pauses
                .iter()
                .any(|pause| pause.what == Pause::Session(said.clone()))
        );
        let limit = pauses.iter().find(|pause| pause.until.is_some());
        assert_eq!(limit.and_then(|pause| pause.reason.as_deref()), Some("x"));
        assert_eq!(store.session_labels().expect("labels")[0].session, said);
        let updates = store.take_context_updates().expect("updates");
        assert_eq!(updates[0].session, said);
        assert_eq!(store.awaited_targets().expect("names"), ["api"]);
        let meaning = Meaning::Session {
            node: Default::default(),
            server_pid: 1,
            server_start: 1,
            id: TmuxSession(0),
        };
        let bound = [("api".to_owned(), meaning.clone())];
        store.bind(&bound).expect("bound");
        let task = store.task(TaskId(1)).expect("the task");
        assert_eq!(
            task.target_session.and_then(|target| target.meaning),
            Some(meaning)
        );
        let lanes = store.lanes().expect("lanes");
        assert_eq!(store.pending(&lanes, 9, None).expect("a page").len(), 1);
    }

    /// A database in which SQLite computed the lanes: every pending task can still be claimed.
    #[test]
    fn pending_tasks_of_the_version_before_keep_what_they_demand() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("assigner.db");
        let old = Connection::open(&path).expect("a file");
        for step in &MIGRATIONS[..8] {
            old.execute_batch(step).expect("the schema of then");
        }
        old.execute_batch(
            r#"INSERT INTO tasks (kind, content, created_at) VALUES ('command', 'any', '');
             INSERT INTO tasks (kind, content, created_at, target_session, target_meaning)
                VALUES ('command', 'target', '', 'api', 'pane 1 2 %3 4');
             INSERT INTO tasks (kind, content, created_at, target_provider, metadata)
                VALUES ('prompt', 'demands', '', 'aider', '{"preferred_providers": ["codex"],
                    "git_branch": "dev", "require_branch": true, "target_fallback": true,
                    "require_labels": {"team": "web"}}');
             INSERT INTO tasks (kind, content, created_at, metadata)
                VALUES ('prompt', 'spoilt', '', 'no JSON');
             INSERT INTO prompts (content, target_provider) VALUES ('through the view', 'shell');
             INSERT INTO tasks (kind, content, created_at, not_before)
                VALUES ('command', 'later', '', '2026-01-02T00:00:00.000Z');
             INSERT INTO tasks (kind, content, created_at, not_before, rests, tries)
                VALUES ('command', 'rests', '', '2026-01-02T00:00:00.000Z', 1, 1);
             INSERT INTO tasks (kind, content, created_at, status) VALUES
                ('command', 'failed', '', 'failed'), ('command', 'done', '', 'completed');
             CREATE VIEW queue AS SELECT id, content FROM tasks WHERE status = 'pending';
             CREATE TRIGGER told AFTER INSERT ON tasks BEGIN SELECT 1; END;
             PRAGMA user_version = 8;"#,
        )
        .expect("rows");
        drop(old);
        // The daemon of then knows nothing of the lanes of now.
        let served = Store::open_beside(directory.path(), || true);
        assert!(matches!(served, Err(StoreError::Served { .. })));
        let mut store = Store::open(directory.path()).expect("brought up");
        assert!(Store::open_beside(directory.path(), || true).is_ok());
        let now: jiff::Timestamp = "2026-01-03T00:00:00Z".parse().expect("a time");
        assert_eq!(store.lanes().expect("lanes").len(), 5);
        store.release_due(now).expect("released");
        let rests = store.resting(9).expect("rests");
        store.release(&rests).expect("released");
        store.retry(TaskId(8), None, false, now).expect("retried");
        let lanes = store.lanes().expect("lanes");
        let pending = store.pending(&lanes, 99, None).expect("a page");
        let ids: Vec<i64> = pending.iter().map(|task| task.id.0).collect();
        assert_eq!(ids, [1, 2, 3, 4, 5, 6, 7, 8]);
        for task in &pending {
            let demand = format!("{:?}", task.demand());
            let mut lanes = lanes.iter();
            let found = lanes.any(|lane| format!("{:?}", lane.demand()) == demand);
            assert!(found, "{demand}");
        }
        let claims: Vec<Claim> = (1..).zip(&pending).map(claim).collect();
        let attempts = store.claim(&claims, now).expect("claimed");
        assert!(attempts.iter().all(Option::is_some), "{attempts:?}");
        assert!(store.lanes().expect("none").is_empty());
        let left: i64 = Connection::open(&path)
            .expect("another connection")
            .query_row(
                "SELECT (SELECT count(*) FROM queue) + (SELECT count(*) FROM sqlite_schema
                    WHERE name IN ('told', 'priority_of_task', 'lane_of_task'))",
                [],
                |row| row.get(0),
            )
            .expect("what others made");
        assert_eq!(left, 3);
    }

    fn claim((pane, task): (u32, &Task)) -> Claim {
        Claim {
            task: task.id,
            revision: task.revision,
            session: format!("s{pane}"),
            identity: Identity {
                node: Default::default(),
                server_pid: 1,
                server_start: 1,
                pane: PaneId::parse(&format!("%{pane}")).expect("a pane"),
                pane_pid: pane,
            },
            homes: Vec::new(),
            asks: None,
            provider: "shell".to_owned(),
            labels: BTreeMap::new(),
            policy: PolicyId {
                name: "test".to_owned(),
                version: "1".to_owned(),
                sha256: "00".to_owned(),
            },
            rankings: Vec::new(),
            ruled_out: Vec::new(),
        }
    }
}
