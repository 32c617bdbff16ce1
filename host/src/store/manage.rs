//! What people ask of the queue and of sessions, apart from the operations of the engine.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::moves::{follow, move_task, write_history};
use super::rows::{history_of, json, kind_name, saturating, stamp, status_of};
use super::sqlite::{meaning_of, read_sessions, read_task};
use super::{
    Answer, HistoryRow, Imported, Pause, SessionRow, Sqlite, Store, StoreError, original, wishes,
};
use crate::model::ids::TaskId;
use crate::model::naming::{Meaning, SessionRef};
use crate::model::session::Activity;
use crate::model::task::{Event, IfParentFails, NewTask, Parent, Status, Task};

/// What people ask for. Each method is one transaction.
pub trait Manage: Store {
    /// Queues a failed or cancelled task again and starts counting its tries anew. `secrets` names
    /// where the values of its secret variables are stored now. With `release`, it runs even if a
    /// task that it follows did not complete.
    ///
    /// # Errors
    /// There is no such task, it is in another state, it is to fail with a parent that has failed,
    /// or it has secret variables whose values are no longer stored.
    fn retry(
        &mut self,
        id: TaskId,
        secrets: Option<&str>,
        release: bool,
        now: Timestamp,
    ) -> Result<Status, StoreError>;

    /// Does the same for every failed task. Returns those that were queued, and why others were
    /// not.
    ///
    /// # Errors
    /// The database refused: no task is queued.
    fn retry_all_failed(
        &mut self,
        now: Timestamp,
    ) -> Result<(Vec<TaskId>, Vec<StoreError>), StoreError>;

    /// Gives a task to a session (`None`: to any), even one that is running or has ended badly.
    ///
    /// # Errors
    /// There is no such task, or it has completed or is uncertain.
    fn reassign(
        &mut self,
        id: TaskId,
        to: Option<&SessionRef>,
        now: Timestamp,
    ) -> Result<Status, StoreError>;

    /// Changes a pending task.
    ///
    /// # Errors
    /// There is no such task, or it is not pending.
    fn edit(&mut self, id: TaskId, edit: &Edit, now: Timestamp) -> Result<(), StoreError>;

    /// Deletes the tasks in one of `statuses` that ended before `before`, and returns them. Their
    /// history stays. A task is kept if a task that has not ended follows it.
    ///
    /// # Errors
    /// The database refused.
    fn clear(
        &mut self,
        statuses: &[Status],
        before: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Task>, StoreError>;

    /// Answers an agent that waits for a person. The running daemon delivers the answer.
    ///
    /// # Errors
    /// There is no such task, its agent is not waiting, or it was already answered.
    fn reply(&mut self, id: TaskId, answer: &Answer, now: Timestamp) -> Result<(), StoreError>;

    /// Pauses or resumes sessions.
    ///
    /// # Errors
    /// The database refused.
    fn pause(&mut self, what: &[Pause], paused: bool, now: Timestamp) -> Result<(), StoreError>;

    /// Sets and removes labels of a session, whether or not the session exists.
    ///
    /// # Errors
    /// The database refused.
    fn label(
        &mut self,
        session: &SessionRef,
        set: &BTreeMap<String, String>,
        remove: &[String],
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Returns the session with that name, or with that name as one of its others. If there is no
    /// such session any more, returns the last one that had the name.
    ///
    /// # Errors
    /// No session with that name was ever seen.
    fn session(&mut self, name: &str) -> Result<SessionRow, StoreError>;

    /// Returns the last `limit` rows of a session's history, oldest first.
    ///
    /// # Errors
    /// The database refused.
    fn session_history(&mut self, name: &str, limit: usize) -> Result<Vec<HistoryRow>, StoreError>;

    /// Reports the current values of a session's variables to the running daemon.
    ///
    /// # Errors
    /// No session with that name was ever seen.
    fn update_env(
        &mut self,
        session: &str,
        env: &BTreeMap<String, Option<String>>,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Merges a database of the Python worker into this one.
    ///
    /// # Errors
    /// It is not one, or it cannot be read: nothing has changed.
    fn import(&mut self, path: &Path, now: Timestamp) -> Result<Imported, StoreError>;
}

/// The changes to a pending task.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// The complete task. [`NewTask::after`] holds the tasks that it follows in addition.
    pub task: NewTask,
    /// Its revision when it was read; see [`Task::revision`].
    pub revision: i64,
    /// Whether it stops following the tasks that it follows so far.
    pub unfollow: bool,
    /// What becomes of it if a task that it already follows does not complete. `None`: as before.
    pub if_parent_fails: Option<IfParentFails>,
    /// A description of the changes, for the history.
    pub what: String,
}

impl Manage for Sqlite {
    fn retry(
        &mut self,
        id: TaskId,
        secrets: Option<&str>,
        release: bool,
        now: Timestamp,
    ) -> Result<Status, StoreError> {
        self.atomically(|connection| {
            let released = connection.execute(
                "UPDATE dependencies SET if_fails = 'release'
                 WHERE ?2 AND task_id = ?1 AND if_fails != 'release'",
                params![id.0, release],
            )?;
            if released > 0 {
                let details = "runs even if the tasks that it follows did not complete";
                write_history(connection, id, None, "released", details, now)?;
            }
            requeue(connection, id, secrets, now)
        })
    }

    fn retry_all_failed(
        &mut self,
        now: Timestamp,
    ) -> Result<(Vec<TaskId>, Vec<StoreError>), StoreError> {
        self.atomically(|connection| {
            let mut query =
                connection.prepare("SELECT id FROM tasks WHERE status = 'failed' ORDER BY id")?;
            let ids: Vec<i64> = query
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            let (mut queued, mut left) = (Vec::new(), Vec::new());
            // Ids are in ascending order, so a parent comes before its followers.
            for id in ids.into_iter().map(TaskId) {
                match requeue(connection, id, None, now) {
                    Ok(_) => queued.push(id),
                    Err(
                        error @ (StoreError::ParentFailed { .. } | StoreError::SecretsGone { .. }),
                    ) => left.push(error),
                    Err(error) => return Err(error),
                }
            }
            Ok((queued, left))
        })
    }

    fn reassign(
        &mut self,
        id: TaskId,
        to: Option<&SessionRef>,
        now: Timestamp,
    ) -> Result<Status, StoreError> {
        self.atomically(|connection| {
            let status = read_task(connection, id)?.status;
            let place = to.map_or_else(|| "any session".to_owned(), |to| format!("session {to}"));
            let details = format!("to {place}, by a person");
            let name = to.map(|to| &to.name);
            let meaning = to.and_then(|to| to.meaning.as_ref());
            let meaning = meaning.map(Meaning::to_string);
            if matches!(status, Status::Failed | Status::Cancelled) {
                requeue(connection, id, None, now)?;
            }
            let status = move_task(connection, id, Event::Reassign, None, &details, now)?;
            if status == Status::Pending {
                connection.execute(
                    "UPDATE tasks SET target_session = ?2, target_meaning = ?3,
                        revision = revision + 1,
                        wait_reason = NULL, wait_rankings = NULL, metadata = CASE WHEN json_valid(metadata)
                            THEN json_remove(metadata, '$.target_fallback') ELSE metadata END
                     WHERE id = ?1",
                    params![id.0, name, meaning],
                )?;
            } else {
                connection.execute(
                    "UPDATE tasks SET reassign_requested = ?4, reassign_to = ?2,
                        reassign_meaning = ?3 WHERE id = ?1",
                    params![id.0, name, meaning, stamp(now)],
                )?;
            }
            Ok(status)
        })
    }

    fn edit(&mut self, id: TaskId, edit: &Edit, now: Timestamp) -> Result<(), StoreError> {
        self.atomically(|connection| {
            let found = read_task(connection, id)?;
            if found.status != Status::Pending {
                let status = found.status;
                return Err(StoreError::NotPending { id, status });
            }
            if found.revision != edit.revision {
                return Err(StoreError::Changed(id));
            }
            let task = &edit.task;
            connection.execute(
                "UPDATE tasks SET kind = ?2, content = ?3, priority = ?4, metadata = ?5,
                    target_session = ?6, target_provider = ?7, max_retries = ?8,
                    timeout_seconds = ?9, not_before = ?10,
                    rests = CASE WHEN not_before IS ?10 THEN rests ELSE 0 END, secrets = ?11, target_meaning = ?12,
                    revision = revision + 1, wait_reason = NULL,
                    wait_rankings = NULL WHERE id = ?1",
                params![
                    id.0,
                    kind_name(task.kind),
                    task.content,
                    task.priority,
                    json(&task.metadata),
                    task.target_session.as_ref().map(|target| &target.name),
                    task.target_provider,
                    task.max_retries,
                    task.timeout_seconds.map(saturating),
                    task.not_before.map(stamp),
                    task.secrets,
                    meaning_of(task),
                ],
            )?;
            if edit.unfollow {
                connection.execute("DELETE FROM dependencies WHERE task_id = ?1", [id.0])?;
                connection.execute("UPDATE tasks SET blocked = 0 WHERE id = ?1", [id.0])?;
            }
            if let Some(if_fails) = edit.if_parent_fails {
                connection.execute(
                    "UPDATE dependencies SET if_fails = ?2 WHERE task_id = ?1",
                    params![id.0, if_fails.name()],
                )?;
            }
            write_history(connection, id, None, "edited", &edit.what, now)?;
            let parents = task.after.iter().map(|parent| match parent {
                Parent::Task(id) => *id,
                Parent::Earlier(_) => TaskId(0),
            });
            let parents: Vec<TaskId> = parents.collect();
            follow(connection, id, &parents, task.if_parent_fails, now)
        })
    }

    fn clear(
        &mut self,
        statuses: &[Status],
        before: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Task>, StoreError> {
        self.atomically(|connection| {
            let mut cleared = Vec::new();
            for status in statuses.iter().filter(|status| status.has_ended()) {
                let mut query = connection.prepare(
                    "SELECT id FROM tasks WHERE status = ?1
                        AND coalesce(completed_at, created_at) <= ?2
                        AND NOT EXISTS (SELECT 1 FROM dependencies JOIN tasks AS followers
                            ON followers.id = dependencies.task_id
                            WHERE dependencies.parent_id = tasks.id AND followers.status NOT IN
                                ('completed', 'failed', 'cancelled'))
                     ORDER BY id",
                )?;
                let ids: Vec<i64> = query
                    .query_map(params![status.name(), stamp(before)], |row| row.get(0))?
                    .collect::<Result<_, _>>()?;
                for id in ids.into_iter().map(TaskId) {
                    cleared.push(read_task(connection, id)?);
                    write_history(connection, id, None, "cleared", "by a person", now)?;
                    connection
                        .prepare_cached("DELETE FROM tasks WHERE id = ?1")?
                        .execute([id.0])?;
                }
            }
            Ok(cleared)
        })
    }

    fn reply(&mut self, id: TaskId, answer: &Answer, now: Timestamp) -> Result<(), StoreError> {
        self.atomically(|connection| {
            let task = read_task(connection, id)?;
            let status = task.status;
            if status != Status::WaitingInput {
                return Err(StoreError::NotAsking { id, status });
            }
            // A second answer would go to the next question, which nobody has seen.
            if connection
                .prepare_cached("SELECT 1 FROM replies WHERE task_id = ?1")?
                .exists([id.0])?
            {
                return Err(StoreError::Answered(id));
            }
            let (kind, text) = answer.row();
            connection.execute(
                "INSERT INTO replies (task_id, kind, text, asks, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![id.0, kind, text, task.asks, stamp(now)],
            )?;
            Ok(())
        })
    }

    fn pause(&mut self, what: &[Pause], paused: bool, now: Timestamp) -> Result<(), StoreError> {
        self.atomically(|connection| {
            for pause in what {
                let (changed, action) = if paused {
                    wishes::pause(connection, pause, now)?;
                    (true, "paused")
                } else {
                    (wishes::resume(connection, pause)?, "resumed")
                };
                if changed {
                    let session = match pause {
                        Pause::Session(said) => Some(&said.name),
                        Pause::All | Pause::Provider(_) => None,
                    };
                    connection.execute(
                        "INSERT INTO assignment_history
                            (session_name, action, created_at, details) VALUES (?1, ?2, ?3, ?4)",
                        params![session, action, stamp(now), format!("{pause}, by a person"),],
                    )?;
                }
            }
            Ok(())
        })
    }

    fn label(
        &mut self,
        session: &SessionRef,
        set: &BTreeMap<String, String>,
        remove: &[String],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.atomically(|connection| {
            let mut changes = Vec::new();
            for (name, value) in set {
                wishes::set_label(connection, session, name, value)?;
                changes.push(format!("{name}={value}"));
            }
            for name in remove {
                if wishes::remove_label(connection, session, name)? {
                    changes.push(format!("without {name}"));
                }
            }
            wishes::show_labels(connection)?;
            if !changes.is_empty() {
                wishes::note(connection, session, "labelled", &changes.join(", "), now)?;
            }
            Ok(())
        })
    }

    fn session(&mut self, name: &str) -> Result<SessionRow, StoreError> {
        read_session(&self.connection, name)
    }

    fn session_history(&mut self, name: &str, limit: usize) -> Result<Vec<HistoryRow>, StoreError> {
        let mut query = self.connection.prepare_cached(
            "SELECT created_at, action, session_name, details, prompt_id FROM assignment_history
             WHERE session_name = ?1 ORDER BY id DESC LIMIT ?2",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows: Vec<HistoryRow> = query
            .query_map(params![name, limit], history_of)?
            .collect::<Result<_, _>>()?;
        rows.reverse();
        Ok(rows)
    }

    fn update_env(
        &mut self,
        session: &str,
        env: &BTreeMap<String, Option<String>>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.atomically(|connection| {
            let mut row = read_session(connection, session)?;
            let meaning = Meaning::Pane(row.identity.clone());
            for (name, value) in env {
                match value {
                    Some(value) => row.env.insert(name.clone(), value.clone()),
                    None => row.env.remove(name),
                };
            }
            connection.execute(
                "UPDATE sessions SET env_vars = ?2, updated_at = ?3, last_context_update = ?3
                 WHERE name = ?1",
                params![row.name, json(&row.env), stamp(now)],
            )?;
            connection.execute(
                "INSERT INTO context_updates (session, meaning, env) VALUES (?1, ?2, ?3)",
                params![session, meaning.to_string(), json(env)],
            )?;
            Ok(())
        })
    }

    fn import(&mut self, path: &Path, now: Timestamp) -> Result<Imported, StoreError> {
        let directory = self.directory.clone();
        original::import(&mut self.connection, path, &directory, now)
    }
}

/// Returns the session with that name, current or former.
fn read_session(connection: &rusqlite::Connection, name: &str) -> Result<SessionRow, StoreError> {
    let rows = read_sessions(connection)?;
    let there = |row: &&SessionRow| row.activity != Activity::Gone;
    let labelled = |row: &&SessionRow| row.who().labels().any(|label| label == name);
    let last = rows.iter().find(|row| row.name == name);
    let now = rows.iter().filter(there).find(labelled);
    // The last one may still exist under another name.
    let renamed = last.and_then(|last| {
        let mut there = rows.iter().filter(there);
        there.find(|row| row.identity == last.identity)
    });
    now.or(renamed)
        .or(last)
        .cloned()
        .ok_or_else(|| StoreError::NoSession(name.to_owned()))
}

fn requeue(
    connection: &rusqlite::Connection,
    id: TaskId,
    secrets: Option<&str>,
    now: Timestamp,
) -> Result<Status, StoreError> {
    let failed = connection
        .prepare_cached(
            "SELECT parent_id, status FROM dependencies JOIN tasks ON tasks.id = parent_id
             WHERE task_id = ?1 AND if_fails = ?2 AND status IN ('failed', 'cancelled')",
        )?
        .query_row(params![id.0, IfParentFails::Fail.name()], |row| {
            Ok((TaskId(row.get(0)?), status_of(row, 1)?))
        })
        .optional()?;
    let task = read_task(connection, id)?;
    if let Some((parent, status)) = failed
        && task.status.after(Event::Requeue).is_ok()
    {
        return Err(StoreError::ParentFailed { id, parent, status });
    }
    if task.status.after(Event::Requeue).is_ok()
        && !task.metadata.secret_env.is_empty()
        && secrets.is_none()
    {
        let names = task.metadata.secret_env;
        return Err(StoreError::SecretsGone { id, names });
    }
    let status = move_task(connection, id, Event::Requeue, None, "by a person", now)?;
    connection.execute(
        "UPDATE tasks SET error = NULL, exit_code = NULL, session = NULL, tries = 0,
            not_before = NULL, cancel_requested = NULL, wait_reason = NULL, secrets = ?2,
            revision = revision + 1
         WHERE id = ?1",
        params![id.0, secrets],
    )?;
    Ok(status)
}
