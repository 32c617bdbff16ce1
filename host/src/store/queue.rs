//! Tasks: how they are queued and read, and what a person's word makes of one.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use super::db::{Db, Value, values};
use super::moves::{follow, move_task};
use super::rows::{TASK, json, kind_name, whole_task};
use super::{Store, StoreError, history, lanes};
use crate::model::ids::TaskId;
use crate::model::naming::Meaning;
use crate::model::task::{Event, IfParentFails, NewTask, Parent, Status, Task};

/// A task that another task follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParentRow {
    /// Its id.
    pub id: TaskId,
    /// Its state.
    pub status: Status,
    /// What becomes of the follower if this task does not complete.
    pub if_fails: IfParentFails,
}

impl Store {
    /// Queues tasks, either all or none, and returns their ids in order. Others wait meanwhile: for many
    /// tasks there is [`Self::queue_all`].
    ///
    /// # Errors
    /// The database refused.
    pub fn queue(&mut self, tasks: &[NewTask], now: Timestamp) -> Result<Vec<TaskId>, StoreError> {
        self.atomically(|db| {
            let mut ids: Vec<TaskId> = Vec::with_capacity(tasks.len());
            for task in tasks {
                let row = db.query_one(
                    &format!(
                        "INSERT INTO tasks ({COLUMNS})
                         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
                         RETURNING id"
                    ),
                    &values_of(task, now),
                )?;
                let id = row.ok_or_else(super::DbError::no_row)?.get("id")?;
                let details = format!("by {}", task.source);
                history::write(db, id, None, "queued", &details, now)?;
                let parents = task.after.iter().map(|parent| match parent {
                    Parent::Task(id) => *id,
                    // A parent that comes after its follower is not a task yet.
                    Parent::Earlier(index) => ids.get(*index).copied().unwrap_or(TaskId(0)),
                });
                let parents: Vec<TaskId> = parents.collect();
                follow(db, id, &parents, task.if_parent_fails, now)?;
                ids.push(id);
            }
            Ok(ids)
        })
    }

    /// Returns a task.
    ///
    /// # Errors
    /// There is no task with that id.
    pub fn task(&mut self, id: TaskId) -> Result<Task, StoreError> {
        read_task(&mut *self.db, id)
    }

    /// Returns the newest `limit` tasks whose state is one of `statuses` (any state if it is
    /// empty), oldest first.
    ///
    /// # Errors
    /// The database refused.
    pub fn tasks(&mut self, statuses: &[Status], limit: usize) -> Result<Vec<Task>, StoreError> {
        // Without a filter, the primary key alone finds the newest, however many tasks there are.
        let filter = if statuses.is_empty() {
            String::new()
        } else {
            let numbers = (2..).take(statuses.len());
            let numbers: Vec<String> = numbers.map(|number: usize| format!("${number}")).collect();
            format!("WHERE status IN ({})", numbers.join(", "))
        };
        let names = statuses.iter().map(|status| Value::from(status.name()));
        let values: Vec<Value> = std::iter::once(limit.into()).chain(names).collect();
        let rows = self.db.query(
            &format!("SELECT {TASK} FROM tasks {filter} ORDER BY id DESC LIMIT $1"),
            &values,
        )?;
        let tasks = rows.iter().rev();
        tasks.map(|row| whole_task(&mut *self.db, row)).collect()
    }

    /// Returns the oldest `limit` tasks in a state, oldest first.
    ///
    /// # Errors
    /// The database refused.
    pub fn oldest(&mut self, status: Status, limit: usize) -> Result<Vec<Task>, StoreError> {
        let rows = self.db.query(
            &format!("SELECT {TASK} FROM tasks WHERE status = $1 ORDER BY id LIMIT $2"),
            &[status.name().into(), limit.into()],
        )?;
        let tasks = rows.iter();
        tasks.map(|row| whole_task(&mut *self.db, row)).collect()
    }

    /// Returns the numbers of the tasks from one to another whose state is one of `statuses`, in order.
    ///
    /// # Errors
    /// The database refused.
    pub fn ids_between(
        &mut self,
        first: TaskId,
        last: TaskId,
        statuses: &[Status],
    ) -> Result<Vec<TaskId>, StoreError> {
        let numbers = (3..).take(statuses.len());
        let numbers: Vec<String> = numbers.map(|number: usize| format!("${number}")).collect();
        let names = statuses.iter().map(|status| Value::from(status.name()));
        let values: Vec<Value> = [first.into(), last.into()]
            .into_iter()
            .chain(names)
            .collect();
        let rows = self.db.query(
            &format!(
                "SELECT id FROM tasks WHERE id BETWEEN $1 AND $2 AND status IN ({}) ORDER BY id",
                numbers.join(", ")
            ),
            &values,
        )?;
        rows.iter().map(|row| Ok(row.get("id")?)).collect()
    }

    /// Returns the number of tasks in each state.
    ///
    /// # Errors
    /// The database refused.
    pub fn counts(&mut self) -> Result<BTreeMap<Status, u64>, StoreError> {
        let rows = self.db.query(
            "SELECT status, count(*) AS number FROM tasks GROUP BY status",
            &[],
        )?;
        let counts = rows
            .iter()
            .map(|row| Ok((row.status()?, row.get("number")?)));
        counts.collect()
    }

    /// Returns the number of tasks in one state.
    ///
    /// # Errors
    /// The database refused.
    pub fn count(&mut self, status: Status) -> Result<u64, StoreError> {
        let rows = self.db.query(
            "SELECT count(*) AS number FROM tasks WHERE status = $1",
            values![status.name()],
        )?;
        let number = rows.first().map(|row| row.get("number")).transpose()?;
        Ok(number.unwrap_or_default())
    }

    /// Whether a task is pending or in flight.
    ///
    /// # Errors
    /// The database refused.
    pub fn anything_left(&mut self) -> Result<bool, StoreError> {
        Ok(self.db.exists(
            "SELECT 1 FROM tasks
             WHERE status IN ('pending', 'assigned', 'in_progress', 'waiting_input') LIMIT 1",
            &[],
        )? || self.is_moving()?)
    }

    /// Returns the tasks that a task follows.
    ///
    /// # Errors
    /// The database refused.
    pub fn parents(&mut self, id: TaskId) -> Result<Vec<ParentRow>, StoreError> {
        let rows = self.db.query(
            "SELECT parent_id, status, if_fails FROM dependencies
             JOIN tasks ON tasks.id = parent_id WHERE task_id = $1 ORDER BY parent_id",
            values![id],
        )?;
        let parents = rows.iter().map(|row| {
            Ok(ParentRow {
                id: row.get("parent_id")?,
                status: row.status()?,
                if_fails: if row.get::<String>("if_fails")? == IfParentFails::Release.name() {
                    IfParentFails::Release
                } else {
                    IfParentFails::Fail
                },
            })
        });
        parents.collect()
    }

    /// Cancels a pending or uncertain task, or records that a running one is to be cancelled.
    ///
    /// # Errors
    /// There is no such task, or it has already ended.
    pub fn cancel(&mut self, id: TaskId, now: Timestamp) -> Result<Status, StoreError> {
        self.atomically(|db| {
            let event = match read_task(db, id)?.status {
                Status::Assigned | Status::InProgress | Status::WaitingInput => {
                    Event::RequestCancel
                }
                _ => Event::Cancel,
            };
            let status = move_task(db, id, event, None, "by a person", now)?;
            if event == Event::RequestCancel {
                db.execute(
                    "UPDATE tasks SET cancel_requested = coalesce(cancel_requested, $2)
                     WHERE id = $1",
                    values![id, now],
                )?;
            }
            Ok(status)
        })
    }

    /// Moves an uncertain task on, as a person decided.
    ///
    /// # Errors
    /// There is no such task, or it is not uncertain.
    pub fn resolve(
        &mut self,
        id: TaskId,
        event: Event,
        now: Timestamp,
    ) -> Result<Status, StoreError> {
        self.atomically(|db| {
            let status = move_task(db, id, event, None, "by a person", now)?;
            if status == Status::Pending {
                db.execute(
                    "UPDATE tasks SET error = NULL, exit_code = NULL, session = NULL, tries = 0
                     WHERE id = $1",
                    values![id],
                )?;
            }
            Ok(status)
        })
    }

    /// Returns the secrets that tasks may still need.
    ///
    /// # Errors
    /// The database refused.
    pub fn secrets_in_use(&mut self) -> Result<BTreeSet<String>, StoreError> {
        let rows = self.db.query(SECRETS, &[])?;
        let names = rows.iter().map(|row| row.get("secrets"));
        Ok(names.collect::<Result<_, _>>()?)
    }

    /// Returns the secrets of tasks that have ended, which can be deleted.
    ///
    /// # Errors
    /// The database refused.
    pub fn settled_secrets(&mut self) -> Result<Vec<String>, StoreError> {
        let mut names = Vec::new();
        for row in self.db.query(SECRETS, &[])? {
            if row.status()?.has_ended() {
                names.push(row.get("secrets")?);
            }
        }
        Ok(names)
    }

    /// Records that secrets were deleted.
    ///
    /// # Errors
    /// The database refused.
    pub fn forget_secrets(&mut self, names: &[String]) -> Result<(), StoreError> {
        self.atomically(|db| {
            for name in names {
                db.execute(
                    "UPDATE tasks SET secrets = NULL WHERE secrets = $1",
                    values![name],
                )?;
            }
            Ok(())
        })
    }
}

/// The columns of a new task; see [`values_of`].
pub(super) const COLUMNS: &str = "kind, content, source, priority, created_at, metadata, target_session, \
     target_provider, max_retries, timeout_seconds, not_before, secrets, target_meaning, lane";

/// Returns what [`COLUMNS`] hold of a new task.
pub(super) fn values_of(task: &NewTask, now: Timestamp) -> [Value; 14] {
    [
        kind_name(task.kind).into(),
        (&task.content).into(),
        (&task.source).into(),
        task.priority.into(),
        now.into(),
        json(&task.metadata).into(),
        task.target_session
            .as_ref()
            .map(|target| &target.name)
            .into(),
        task.target_provider.as_ref().into(),
        task.max_retries.into(),
        task.timeout_seconds.into(),
        task.not_before.into(),
        task.secrets.as_ref().into(),
        meaning_of(task).into(),
        lanes::key_of(&Task::queued(TaskId(0), task, now)).into(),
    ]
}

/// Selects all secrets. The states of their tasks are compared in Rust: a condition on them would
/// make a database read the tasks by state, and the ended ones with them.
pub(super) const SECRETS: &str = "SELECT secrets, status FROM tasks WHERE secrets IS NOT NULL
     UNION ALL SELECT secrets, 'pending' FROM staged_tasks WHERE secrets IS NOT NULL";

/// Returns how the meaning of a task's target is stored.
pub(super) fn meaning_of(task: &NewTask) -> Option<String> {
    let target = task.target_session.as_ref()?;
    target.meaning.as_ref().map(Meaning::to_string)
}

pub(super) fn read_task(db: &mut dyn Db, id: TaskId) -> Result<Task, StoreError> {
    let row = db.query_one(
        &format!("SELECT {TASK} FROM tasks WHERE id = $1"),
        values![id],
    )?;
    whole_task(db, &row.ok_or(StoreError::NoTask(id))?)
}
