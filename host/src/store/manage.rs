//! What people ask of tasks: to try them again, elsewhere, otherwise, or not at all.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::db::{Db, values};
use super::moves::{follow, move_task};
use super::queue::{meaning_of, read_task};
use super::rows::{json, kind_name};
use super::{End, Store, StoreError, history, lanes, replies};
use crate::model::ids::TaskId;
use crate::model::naming::{Meaning, SessionRef};
use crate::model::task::{Event, IfParentFails, NewTask, Outcome, Parent, Status, Task};

/// The number of tasks that are looked at for deletion while others wait.
const SLICE: usize = 100;

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

impl Store {
    /// Queues a failed or cancelled task again and starts counting its tries anew. `secrets` names
    /// where the values of its secret variables are stored now. With `release`, it runs even if a
    /// task that it follows did not complete.
    ///
    /// # Errors
    /// There is no such task, it is in another state, it is to fail with a parent that has failed,
    /// or it has secret variables whose values are no longer stored.
    pub fn retry(
        &mut self,
        id: TaskId,
        secrets: Option<&str>,
        release: bool,
        now: Timestamp,
    ) -> Result<Status, StoreError> {
        self.atomically(|db| {
            if release {
                let released = db.execute(
                    "UPDATE dependencies SET if_fails = 'release'
                     WHERE task_id = $1 AND if_fails <> 'release'",
                    values![id],
                )?;
                if released > 0 {
                    let details = "runs even if the tasks that it follows did not complete";
                    history::write(db, id, None, "released", details, now)?;
                }
            }
            requeue(db, id, secrets, now)
        })
    }

    /// Gives a task to a session (`None`: to any), even one that is running or has ended badly.
    ///
    /// # Errors
    /// There is no such task, or it has completed or is uncertain.
    pub fn reassign(
        &mut self,
        id: TaskId,
        to: Option<&SessionRef>,
        now: Timestamp,
    ) -> Result<Status, StoreError> {
        self.atomically(|db| {
            let status = read_task(db, id)?.status;
            let place = to.map_or_else(|| "any session".to_owned(), |to| format!("session {to}"));
            let details = format!("to {place}, by a person");
            if matches!(status, Status::Failed | Status::Cancelled) {
                requeue(db, id, None, now)?;
            }
            let status = move_task(db, id, Event::Reassign, None, &details, now)?;
            if status == Status::Pending {
                db.execute(
                    "UPDATE tasks SET revision = revision + 1, wait_reason = NULL,
                        wait_rankings = NULL WHERE id = $1",
                    values![id],
                )?;
                retarget(db, id, to)?;
            } else {
                let (name, meaning) = columns_of(to);
                db.execute(
                    "UPDATE tasks SET reassign_requested = $4, reassign_to = $2,
                        reassign_meaning = $3 WHERE id = $1",
                    values![id, name, meaning, now],
                )?;
            }
            Ok(status)
        })
    }

    /// Changes a pending task.
    ///
    /// # Errors
    /// There is no such task, or it is not pending.
    pub fn edit(&mut self, id: TaskId, edit: &Edit, now: Timestamp) -> Result<(), StoreError> {
        self.atomically(|db| {
            let found = read_task(db, id)?;
            if found.status != Status::Pending {
                let status = found.status;
                return Err(StoreError::NotPending { id, status });
            }
            if found.revision != edit.revision {
                return Err(StoreError::Changed(id));
            }
            let task = &edit.task;
            db.execute(
                "UPDATE tasks SET kind = $2, content = $3, priority = $4, metadata = $5,
                    target_session = $6, target_provider = $7, max_retries = $8,
                    timeout_seconds = $9, not_before = $10,
                    rests = CASE WHEN not_before IS NOT DISTINCT FROM $10 THEN rests ELSE 0 END,
                    secrets = $11, target_meaning = $12, revision = revision + 1,
                    wait_reason = NULL, wait_rankings = NULL WHERE id = $1",
                values![
                    id,
                    kind_name(task.kind),
                    &task.content,
                    task.priority,
                    json(&task.metadata),
                    task.target_session.as_ref().map(|target| &target.name),
                    task.target_provider.as_ref(),
                    task.max_retries,
                    task.timeout_seconds,
                    task.not_before,
                    task.secrets.as_ref(),
                    meaning_of(task),
                ],
            )?;
            lanes::set_lane(db, &Task::queued(id, task, now))?;
            if edit.unfollow {
                db.execute("DELETE FROM dependencies WHERE task_id = $1", values![id])?;
                db.execute("UPDATE tasks SET blocked = 0 WHERE id = $1", values![id])?;
            }
            if let Some(if_fails) = edit.if_parent_fails {
                db.execute(
                    "UPDATE dependencies SET if_fails = $2 WHERE task_id = $1",
                    values![id, if_fails.name()],
                )?;
            }
            history::write(db, id, None, "edited", &edit.what, now)?;
            let parents = task.after.iter().map(|parent| match parent {
                Parent::Task(id) => *id,
                Parent::Earlier(_) => TaskId(0),
            });
            let mut parents: Vec<TaskId> = parents.collect();
            if edit.if_parent_fails == Some(IfParentFails::Fail) {
                // One that it already follows may have failed before it was to fail with it.
                parents.extend(parents_of(db, id)?);
            }
            follow(db, id, &parents, task.if_parent_fails, now)
        })
    }

    /// Deletes the tasks in one of `statuses` that ended before `before`, and returns them. Their
    /// history stays. A task is kept if a task that has not ended, or that is being queued, follows it.
    ///
    /// It does so in slices, because others wait while one is written; after each it calls `pause` with
    /// the number of tasks that it has looked at.
    ///
    /// # Errors
    /// The database refused. The slices before stay deleted.
    pub fn clear(
        &mut self,
        statuses: &[Status],
        before: Timestamp,
        now: Timestamp,
        mut pause: impl FnMut(usize),
    ) -> Result<Vec<TaskId>, StoreError> {
        let mut cleared = Vec::new();
        let mut looked_at = 0;
        for &status in statuses.iter().filter(|status| status.has_ended()) {
            let mut after = TaskId(0);
            loop {
                let (looked, last) = self.clear_slice(status, before, after, now, &mut cleared)?;
                looked_at += looked;
                pause(looked_at);
                if looked < SLICE {
                    break;
                }
                after = last;
            }
        }
        Ok(cleared)
    }

    /// Clears among the first [`SLICE`] tasks with that status and a higher id than `after`. Returns
    /// how many it looked at, and the last of them.
    fn clear_slice(
        &mut self,
        status: Status,
        before: Timestamp,
        after: TaskId,
        now: Timestamp,
        cleared: &mut Vec<TaskId>,
    ) -> Result<(usize, TaskId), StoreError> {
        let (looked, last, ids) = self.atomically(|db| {
            let rows = db.query(
                "SELECT id, coalesce(completed_at, created_at) <= $2
                    AND NOT EXISTS (SELECT 1 FROM dependencies JOIN tasks AS followers
                        ON followers.id = dependencies.task_id
                        WHERE dependencies.parent_id = tasks.id AND followers.status NOT IN
                            ('completed', 'failed', 'cancelled'))
                    AND NOT EXISTS (SELECT 1 FROM staged_parents WHERE parent_id = tasks.id)
                    AND NOT EXISTS (SELECT 1 FROM batches WHERE first_id <= tasks.id) AS is_over
                 FROM tasks WHERE status = $1 AND id > $3 ORDER BY id LIMIT $4",
                values![status.name(), before, after, SLICE],
            )?;
            let (mut last, mut ids) = (after, Vec::new());
            for row in &rows {
                last = row.get("id")?;
                if row.get("is_over")? {
                    history::write(db, last, None, "cleared", "by a person", now)?;
                    db.execute("DELETE FROM tasks WHERE id = $1", values![last])?;
                    ids.push(last);
                }
            }
            Ok((rows.len(), last, ids))
        })?;
        cleared.extend(ids);
        Ok((looked, last))
    }
}

impl Store {
    /// Leaves an open task to a person, because its database does not tell whether it has run: the
    /// attempt that it may have ends with it.
    ///
    /// # Errors
    /// There is no such task, or it is settled.
    pub(super) fn doubt(
        &mut self,
        id: TaskId,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let open = self.db.query_one(
            "SELECT id FROM attempts WHERE task_id = $1 AND phase <> 'ended'",
            values![id],
        )?;
        if let Some(row) = open {
            let end = End::new(row.get("id")?, Outcome::Uncertain, Event::Doubt);
            return self.end(&end.because(reason), now);
        }
        self.atomically(|db| {
            move_task(db, id, Event::Doubt, None, reason, now)?;
            replies::come_too_late(db, id, reason, now)?;
            db.execute(
                "UPDATE tasks SET error = $2, wait_reason = NULL, wait_rankings = NULL,
                    asks = NULL, cancel_requested = NULL, reassign_requested = NULL,
                    reassign_to = NULL, reassign_meaning = NULL WHERE id = $1",
                values![id, reason],
            )?;
            Ok(())
        })
    }
}

/// Returns the tasks that a task follows.
fn parents_of(db: &mut dyn Db, id: TaskId) -> Result<Vec<TaskId>, StoreError> {
    let rows = db.query(
        "SELECT parent_id FROM dependencies WHERE task_id = $1 ORDER BY parent_id",
        values![id],
    )?;
    let parents = rows.iter().map(|row| Ok(row.get("parent_id")?));
    parents.collect()
}

/// Returns how a target is stored: its name and its meaning.
fn columns_of(to: Option<&SessionRef>) -> (Option<&String>, Option<String>) {
    let meaning = to.and_then(|to| to.meaning.as_ref());
    (to.map(|to| &to.name), meaning.map(Meaning::to_string))
}

/// Gives a task another target. A person has chosen it: no other session may take the task instead.
pub(super) fn retarget(
    db: &mut dyn Db,
    id: TaskId,
    to: Option<&SessionRef>,
) -> Result<(), StoreError> {
    let (name, meaning) = columns_of(to);
    db.execute(
        "UPDATE tasks SET target_session = $2, target_meaning = $3 WHERE id = $1",
        values![id, name, meaning],
    )?;
    let row = db.query_one("SELECT metadata FROM tasks WHERE id = $1", values![id])?;
    let row = row.ok_or(StoreError::NoTask(id))?;
    // Only this key is removed, also if another one cannot be read as what it is meant to be.
    let metadata = row.text("metadata")?.unwrap_or_default();
    if let Ok(mut metadata) = serde_json::from_str::<Map<String, Value>>(&metadata)
        && metadata.shift_remove("target_fallback").is_some()
    {
        db.execute(
            "UPDATE tasks SET metadata = $2 WHERE id = $1",
            values![id, json(&metadata)],
        )?;
    }
    let task = read_task(db, id)?;
    lanes::set_lane(db, &task)
}

fn requeue(
    db: &mut dyn Db,
    id: TaskId,
    secrets: Option<&str>,
    now: Timestamp,
) -> Result<Status, StoreError> {
    let failed = db.query_one(
        "SELECT parent_id, status FROM dependencies JOIN tasks ON tasks.id = parent_id
         WHERE task_id = $1 AND if_fails = $2 AND status IN ('failed', 'cancelled')
         ORDER BY parent_id LIMIT 1",
        values![id, IfParentFails::Fail.name()],
    )?;
    let task = read_task(db, id)?;
    if task.status.after(Event::Requeue).is_ok() {
        if let Some(row) = failed {
            let (parent, status) = (row.get("parent_id")?, row.status()?);
            return Err(StoreError::ParentFailed { id, parent, status });
        }
        if !task.metadata.secret_env.is_empty() && secrets.is_none() {
            let names = task.metadata.secret_env;
            return Err(StoreError::SecretsGone { id, names });
        }
    }
    let status = move_task(db, id, Event::Requeue, None, "by a person", now)?;
    db.execute(
        "UPDATE tasks SET error = NULL, exit_code = NULL, session = NULL, tries = 0,
            not_before = NULL, cancel_requested = NULL, wait_reason = NULL, secrets = $2,
            revision = revision + 1
         WHERE id = $1",
        values![id, secrets],
    )?;
    Ok(status)
}
