//! Many tasks, queued all or none without holding up others: they are staged in slices, apart from the
//! queue; one small commit says that all are there; then they move into the queue in slices. Whoever stops
//! before that commit has queued nothing; after it, the daemon goes on if the sender does not.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use strum::{EnumString, IntoStaticStr};

use super::db::{Db, DbError, Row, Value, values};
use super::moves::follow;
use super::queue::{COLUMNS, values_of};
use super::rows::{json, stamp};
use super::{Store, StoreError, history};
use crate::model::ids::TaskId;
use crate::model::task::{IfParentFails, NewTask, Parent};

/// How many tasks make a slice, and after how many bytes of text it is full: others wait while one is
/// written.
pub(super) const SLICE: usize = 200;
const SLICE_BYTES: usize = 1 << 18;

/// What a task that is followed counts for, in bytes: it costs about as much time.
const PARENT: usize = 200;

/// A whole batch whose sender has not written for so long is moved on by others.
pub(super) const LEFT: Duration = Duration::from_secs(10);

/// A batch that is not whole, or whose tasks are all in the queue, is forgotten after so long.
pub(super) const FORGOTTEN: Duration = Duration::from_secs(3600);

/// What became of batches that were left.
#[derive(Debug, Default)]
pub struct TakenOver {
    /// Whether there is more to do at once.
    pub more: bool,
    /// What is wrong with one of them. It holds up no other.
    pub trouble: Option<StoreError>,
}

/// The number of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct BatchId(i64);

impl From<BatchId> for Value {
    fn from(batch: BatchId) -> Self {
        batch.0.into()
    }
}

/// How far a batch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
enum BatchState {
    /// Its tasks are being staged.
    Staged,
    /// All are there: they are queued, and move into the queue.
    Whole,
    /// It is not to be, and its tasks are deleted.
    Dropped,
}

impl BatchState {
    fn name(self) -> &'static str {
        self.into()
    }

    fn of(row: &Row) -> Result<Self, StoreError> {
        let name: String = row.get("state")?;
        // One of another version is left alone.
        Ok(name.parse().unwrap_or(Self::Staged))
    }
}

impl Store {
    /// Queues any number of tasks, either all or none, and returns their ids in order. Others can write
    /// between its slices; after each it calls `goes_on` with the share of the work that is done, from 0 to 1.
    /// If that is false before all are there, none is queued.
    ///
    /// # Errors
    /// [`StoreError::Queued`]: all of them are queued, though their numbers are not known;
    /// [`StoreError::BatchGone`]: the queue was replaced meanwhile. After any other error, none is queued.
    pub fn queue_all(
        &mut self,
        tasks: &[NewTask],
        now: Timestamp,
        mut goes_on: impl FnMut(f64) -> bool,
    ) -> Result<Vec<TaskId>, StoreError> {
        if end_of_slice(tasks, 0) == tasks.len() {
            return self.queue(tasks, now);
        }
        let batch = self.begin_batch(now)?;
        let part = |done: usize| done as f64 / tasks.len() as f64 / 2.0;
        let mut staged = 0;
        let complete = loop {
            let end = end_of_slice(tasks, staged);
            if let Err(error) = self.stage(batch, staged, &tasks[staged..end], now) {
                break Err(error);
            }
            staged = end;
            if !goes_on(part(staged)) {
                break Err(StoreError::GivenUp);
            }
            if staged == tasks.len() {
                break self.complete(batch, tasks.len());
            }
        };
        if let Err(error) = complete {
            // If this fails as well, the daemon does it later: nobody was told of any task.
            let _ = self.abandon(batch, || {
                goes_on(0.0);
            });
            return Err(error);
        }
        let moved = self.move_all(batch, now, |queued| {
            goes_on(part(tasks.len() + queued));
        });
        let ids = moved.and_then(|()| self.ids_of(batch));
        match ids {
            Ok(ids) if ids.len() == tasks.len() => {
                // The daemon does it later if this fails.
                let _ = self.forget(batch);
                Ok(ids)
            }
            Ok(_) | Err(StoreError::BatchGone) => Err(StoreError::BatchGone),
            Err(source) => Err(StoreError::Queued {
                of: tasks.len(),
                source: Box::new(source),
            }),
        }
    }

    /// Moves a whole batch into the queue, for its sender.
    fn move_all(
        &mut self,
        batch: BatchId,
        now: Timestamp,
        mut pause: impl FnMut(usize),
    ) -> Result<(), StoreError> {
        let mut queued = 0;
        loop {
            self.atomically(|db| match touch(db, batch, BatchState::Whole)? {
                true => Ok(()),
                false => Err(StoreError::BatchGone),
            })?;
            match self.move_slice(batch, now)? {
                0 => return Ok(()),
                moved => queued += moved,
            }
            pause(queued);
        }
    }

    /// Goes on with batches that were left: a slice of each.
    ///
    /// # Errors
    /// The database refused.
    pub fn take_over_batches(&mut self, now: Timestamp) -> Result<TakenOver, StoreError> {
        let mut taken = TakenOver::default();
        for (batch, state) in self.batches_left(now, LEFT)? {
            let done = match state {
                BatchState::Whole => self.move_slice(batch, now),
                BatchState::Dropped => self.unstage(batch),
                BatchState::Staged => Ok(0),
            };
            match done {
                Ok(done) => taken.more |= done > 0,
                Err(error) => taken.trouble = Some(error),
            }
        }
        for (batch, state) in self.batches_left(now, FORGOTTEN)? {
            if state == BatchState::Staged {
                // Nobody goes on with it from here on.
                self.atomically(|db| set_state(db, batch, BatchState::Dropped))?;
                taken.more = true;
            } else if !self.has_staged(batch)? {
                self.forget(batch)?;
            }
        }
        Ok(taken)
    }

    /// Moves all tasks of whole batches into the queue, and deletes the others. Only for a database that
    /// nobody else uses.
    ///
    /// # Errors
    /// The database refused.
    pub(super) fn end_batches(&mut self, now: Timestamp) -> Result<(), StoreError> {
        for row in self
            .db
            .query("SELECT id, state FROM batches ORDER BY id", &[])?
        {
            let batch = BatchId(row.get("id")?);
            let is_whole = BatchState::of(&row)? == BatchState::Whole;
            while is_whole && self.move_slice(batch, now)? > 0 {}
        }
        // Of a damaged database, there may be parts of batches that are not there.
        self.atomically(|db| {
            for table in ["staged_parents", "staged_tasks", "batch_slices", "batches"] {
                db.execute(&format!("DELETE FROM {table}"), &[])?;
            }
            Ok(())
        })
    }

    /// Whether all tasks of a batch are there and some of them are not in the queue yet.
    ///
    /// # Errors
    /// The database refused.
    pub(super) fn is_moving(&mut self) -> Result<bool, StoreError> {
        Ok(self.db.exists(
            "SELECT 1 FROM batch_slices JOIN batches ON batches.id = batch_id
             WHERE state = 'whole' AND ids IS NULL LIMIT 1",
            &[],
        )?)
    }

    fn begin_batch(&mut self, now: Timestamp) -> Result<BatchId, StoreError> {
        self.atomically(|db| {
            let row = db.query_one(
                "INSERT INTO batches (touched_at) VALUES ($1) RETURNING id",
                values![now],
            )?;
            Ok(BatchId(row.ok_or_else(DbError::no_row)?.get("id")?))
        })
    }

    /// Stages the tasks from this place in the batch on.
    fn stage(
        &mut self,
        batch: BatchId,
        first: usize,
        tasks: &[NewTask],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.atomically(|db| {
            if !touch(db, batch, BatchState::Staged)? {
                return Err(StoreError::BatchDropped);
            }
            for (number, task) in (first..).zip(tasks) {
                let mut values = Vec::from(values_of(task, now));
                values.extend([batch.into(), number.into()]);
                db.execute(
                    &format!(
                        "INSERT INTO staged_tasks ({COLUMNS}, batch_id, number)
                         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
                    ),
                    &values,
                )?;
                for parent in &task.after {
                    // Once they are queued, it is too late to refuse one.
                    let (id, earlier, is_there) = match *parent {
                        Parent::Task(id) => {
                            let there = "SELECT 1 FROM tasks WHERE id = $1";
                            (Some(id), None, db.exists(there, values![id])?)
                        }
                        Parent::Earlier(index) => (None, Some(index), index < number),
                    };
                    if !is_there {
                        return Err(StoreError::NoTask(id.unwrap_or(TaskId(0))));
                    }
                    db.execute(
                        "INSERT INTO staged_parents (batch_id, number, parent_id, earlier, if_fails)
                         VALUES ($1, $2, $3, $4, $5)",
                        values![batch, number, id, earlier, task.if_parent_fails.name()],
                    )?;
                }
            }
            db.execute(
                "INSERT INTO batch_slices (batch_id, first, size) VALUES ($1, $2, $3)",
                values![batch, first, tasks.len()],
            )?;
            Ok(())
        })
    }

    /// Says that all tasks of a batch are there: from here on, they are queued.
    fn complete(&mut self, batch: BatchId, size: usize) -> Result<(), StoreError> {
        self.atomically(|db| {
            let is_staged = touch(db, batch, BatchState::Staged)?
                && db.exists(
                    "SELECT 1 FROM (SELECT sum(size) AS total FROM batch_slices WHERE batch_id = $1) AS slices
                     WHERE total = $2",
                    values![batch, size],
                )?;
            match is_staged {
                true => set_state(db, batch, BatchState::Whole),
                false => Err(StoreError::BatchDropped),
            }
        })
    }

    /// Moves the next slice of a whole batch into the queue. Returns how many tasks that were.
    fn move_slice(&mut self, batch: BatchId, now: Timestamp) -> Result<usize, StoreError> {
        self.atomically(|db| {
            let slice = db.query_one(
                "SELECT first, size FROM batch_slices WHERE batch_id = $1 AND ids IS NULL
                 ORDER BY first LIMIT 1",
                values![batch],
            )?;
            let Some(slice) = slice else {
                return Ok(0);
            };
            let (first, size): (i64, i64) = (slice.get("first")?, slice.get("size")?);
            let parents = db.query(
                "SELECT number, parent_id, earlier, if_fails FROM staged_parents
                 WHERE batch_id = $1 AND number >= $2 AND number < $3",
                values![batch, first, first + size],
            )?;
            let mut ids: Vec<Option<TaskId>> = Vec::new();
            for number in first..first + size {
                let row = db.query_one(
                    &format!(
                        "INSERT INTO tasks ({COLUMNS}) SELECT {COLUMNS} FROM staged_tasks
                         WHERE batch_id = $1 AND number = $2 RETURNING id, source"
                    ),
                    values![batch, number],
                )?;
                let Some(row) = row else {
                    // As in what is left of a damaged database.
                    ids.push(None);
                    continue;
                };
                let id: TaskId = row.get("id")?;
                let source: String = row.get("source")?;
                history::write(db, id, None, "queued", &format!("by {source}"), now)?;
                ids.push(Some(id));
                let mut followed = Vec::new();
                let mut if_fails = IfParentFails::default();
                for parent in &parents {
                    if parent.get::<i64>("number")? != number {
                        continue;
                    }
                    let name: String = parent.get("if_fails")?;
                    if_fails = name.parse().unwrap_or_default();
                    followed.extend(parent_of(db, batch, parent, (first, &ids))?);
                }
                follow(db, id, &followed, if_fails, now)?;
            }
            clear_slice(db, batch, first, size)?;
            db.execute(
                "UPDATE batches SET first_id = $2 WHERE id = $1 AND first_id IS NULL",
                values![batch, ids.iter().flatten().next().copied()],
            )?;
            db.execute(
                "UPDATE batch_slices SET ids = $3 WHERE batch_id = $1 AND first = $2",
                values![batch, first, json(&ids)],
            )?;
            Ok(ids.len())
        })
    }

    /// Returns the numbers of the tasks of a batch that is in the queue.
    fn ids_of(&mut self, batch: BatchId) -> Result<Vec<TaskId>, StoreError> {
        let rows = self.db.query(
            "SELECT ids FROM batch_slices WHERE batch_id = $1 ORDER BY first",
            values![batch],
        )?;
        let mut ids = Vec::new();
        for row in &rows {
            ids.extend(ids_in(row)?.into_iter().flatten());
        }
        Ok(ids)
    }

    /// Deletes what is staged of a batch, and the batch.
    fn abandon(&mut self, batch: BatchId, mut pause: impl FnMut()) -> Result<(), StoreError> {
        // Whatever fails from here on, others go on with this.
        self.atomically(|db| set_state(db, batch, BatchState::Dropped))?;
        while self.unstage(batch)? > 0 {
            pause();
        }
        self.forget(batch)
    }

    /// Deletes a slice of what is staged of a batch. Returns how many tasks that were.
    fn unstage(&mut self, batch: BatchId) -> Result<usize, StoreError> {
        self.atomically(|db| {
            let slice = db.query_one(
                "SELECT first, size FROM batch_slices WHERE batch_id = $1 AND ids IS NULL
                 ORDER BY first DESC LIMIT 1",
                values![batch],
            )?;
            let Some(slice) = slice else {
                return Ok(0);
            };
            let (first, size): (i64, i64) = (slice.get("first")?, slice.get("size")?);
            let deleted = clear_slice(db, batch, first, size)?;
            db.execute(
                "DELETE FROM batch_slices WHERE batch_id = $1 AND first = $2",
                values![batch, first],
            )?;
            Ok(deleted.max(1))
        })
    }

    /// Deletes a batch of which nothing is staged any more.
    fn forget(&mut self, batch: BatchId) -> Result<(), StoreError> {
        self.atomically(|db| {
            db.execute(
                "DELETE FROM batch_slices WHERE batch_id = $1",
                values![batch],
            )?;
            db.execute("DELETE FROM batches WHERE id = $1", values![batch])?;
            Ok(())
        })
    }

    fn has_staged(&mut self, batch: BatchId) -> Result<bool, StoreError> {
        Ok(self.db.exists(
            "SELECT 1 FROM batch_slices WHERE batch_id = $1 AND ids IS NULL",
            values![batch],
        )?)
    }

    /// Returns the batches that nobody has touched for so long. A time in the future is of a clock that was
    /// set back.
    fn batches_left(
        &mut self,
        now: Timestamp,
        since: Duration,
    ) -> Result<Vec<(BatchId, BatchState)>, StoreError> {
        let since = SignedDuration::try_from(since).unwrap_or_default();
        let (from, to) = (now.saturating_sub(since), now.saturating_add(since));
        let (Ok(from), Ok(to)) = (from, to) else {
            return Ok(Vec::new());
        };
        let rows = self.db.query(
            "SELECT id, state FROM batches WHERE touched_at < $1 OR touched_at > $2 ORDER BY id",
            values![stamp(from), stamp(to)],
        )?;
        let batches = rows.iter();
        batches
            .map(|row| Ok((BatchId(row.get("id")?), BatchState::of(row)?)))
            .collect()
    }
}

/// Returns where the slice ends that begins here: it has at least one task.
fn end_of_slice(tasks: &[NewTask], first: usize) -> usize {
    let mut bytes = 0;
    let fits = |task: &&NewTask| {
        let fits = bytes < SLICE_BYTES;
        bytes += task.content.len() + json(&task.metadata).len() + PARENT * task.after.len();
        fits
    };
    first + tasks[first..].iter().take(SLICE).take_while(fits).count()
}

/// Notes that the sender is at a batch, by the clock, since a batch takes a while. Returns whether it is
/// there, and in this state.
fn touch(db: &mut dyn Db, batch: BatchId, state: BatchState) -> Result<bool, StoreError> {
    let touched = db.execute(
        "UPDATE batches SET touched_at = $2 WHERE id = $1 AND state = $3",
        values![batch, Timestamp::now(), state.name()],
    )?;
    Ok(touched > 0)
}

fn set_state(db: &mut dyn Db, batch: BatchId, state: BatchState) -> Result<(), StoreError> {
    db.execute(
        "UPDATE batches SET state = $2 WHERE id = $1",
        values![batch, state.name()],
    )?;
    Ok(())
}

/// Returns a parent of a task that moves, by its number in the queue. `moving` is the place of the first
/// task of the slice, and the numbers so far. `None`: it is not there, as in what is left of a damaged
/// database.
fn parent_of(
    db: &mut dyn Db,
    batch: BatchId,
    parent: &Row,
    moving: (i64, &[Option<TaskId>]),
) -> Result<Option<TaskId>, StoreError> {
    let id = match parent.integer("earlier")? {
        Some(earlier) => id_of(db, batch, earlier, moving)?,
        None => Some(parent.get("parent_id")?),
    };
    let there = db.exists("SELECT 1 FROM tasks WHERE id = $1", values![id])?;
    Ok(id.filter(|_| there))
}

/// Returns the number that the task at this place of a batch has in the queue.
fn id_of(
    db: &mut dyn Db,
    batch: BatchId,
    earlier: i64,
    moving: (i64, &[Option<TaskId>]),
) -> Result<Option<TaskId>, StoreError> {
    let place = |from: i64| usize::try_from(earlier - from).unwrap_or(usize::MAX);
    let (first, ids) = moving;
    if earlier >= first {
        return Ok(ids.get(place(first)).copied().flatten());
    }
    let slice = db.query_one(
        "SELECT first, ids FROM batch_slices WHERE batch_id = $1 AND first <= $2
         ORDER BY first DESC LIMIT 1",
        values![batch, earlier],
    )?;
    let Some(slice) = slice else {
        return Ok(None);
    };
    let from = slice.get("first")?;
    Ok(ids_in(&slice)?.get(place(from)).copied().flatten())
}

fn ids_in(slice: &Row) -> Result<Vec<Option<TaskId>>, StoreError> {
    let text = slice.text("ids")?.unwrap_or_default();
    Ok(serde_json::from_str(&text).unwrap_or_default())
}

/// Deletes a slice of the staged tasks, and returns how many.
fn clear_slice(
    db: &mut dyn Db,
    batch: BatchId,
    first: i64,
    size: i64,
) -> Result<usize, StoreError> {
    let slice = "batch_id = $1 AND number >= $2 AND number < $3";
    let values = values![batch, first, first + size];
    db.execute(&format!("DELETE FROM staged_parents WHERE {slice}"), values)?;
    Ok(db.execute(&format!("DELETE FROM staged_tasks WHERE {slice}"), values)?)
}
