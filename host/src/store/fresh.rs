//! A new database that is not in its place yet: which of its tasks may have run, and what it lacks.

use std::fs;
use std::path::PathBuf;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use tempfile::TempDir;

use super::db::values;
use super::files::DATABASE;
use super::restore::{Knowledge, RestoreError, Restored, TOLD, TaskNumbers};
use super::rows::stamp;
use super::salvage::{SalvageError, Salvaged, count_from, last_counted, unsound};
use super::{Store, StoreError, history};
use crate::model::ids::{AttemptId, TaskId};
use crate::model::task::Status;

/// How many numbers are left out where it is not known which were given.
const GAP: i64 = 10_000;

/// How many tasks are looked at in one query.
const PAGE: usize = 100;

/// The states of tasks of which something may happen by itself.
const OPEN: &str = "'pending', 'assigned', 'in_progress', 'waiting_input'";

/// What there is to say about tasks that are open.
pub(super) struct Doubts<'a> {
    pub(super) knowledge: Knowledge,
    /// The present database, to compare with, if it is sound.
    pub(super) witness: Option<&'a Connection>,
    /// Whether tasks that wait are known not to have run.
    pub(super) is_known: bool,
    pub(super) because: String,
}

/// What a database says of a task by which it is known that nothing has happened to it.
#[derive(Debug, PartialEq)]
pub(super) struct SeenTask {
    status: String,
    created_at: String,
    content: Vec<u8>,
    revision: i64,
    last_attempt: Option<i64>,
}

impl SeenTask {
    pub(super) fn of(database: &Connection, id: TaskId) -> Result<Option<Self>, rusqlite::Error> {
        let mut query = database.prepare_cached(
            "SELECT status, created_at, CAST(content AS BLOB), revision,
                (SELECT max(id) FROM attempts WHERE task_id = tasks.id)
             FROM tasks WHERE id = ?1",
        )?;
        let seen = query.query_row([id.0], |row| {
            Ok(Self {
                status: row.get(0)?,
                created_at: row.get(1)?,
                content: row.get(2)?,
                revision: row.get(3)?,
                last_attempt: row.get(4)?,
            })
        });
        seen.optional()
    }
}

impl Doubts<'_> {
    /// Returns why a task that is in this state here may have run; `None` if it cannot have.
    fn of(&self, mine: &Connection, id: TaskId, status: Status) -> Option<String> {
        let is_pending = status == Status::Pending;
        if is_pending && (self.knowledge.trusts_pending || self.is_known) {
            return None;
        }
        let there = self.witness.map(|witness| SeenTask::of(witness, id));
        let what = match there {
            Some(Ok(Some(there))) if there.status != status.name() => {
                format!("it was {} in the queue before", there.status)
            }
            Some(Ok(Some(there))) if is_pending => {
                if SeenTask::of(mine, id) == Ok(Some(there)) {
                    return None;
                }
                "it was otherwise in the queue before".to_owned()
            }
            Some(Ok(None)) => "it was not in the queue before".to_owned(),
            _ => "it may have run".to_owned(),
        };
        let because = &self.because;
        Some(format!("{because}: {what}; decide with `assigner resolve`"))
    }
}

/// A new database, which is not in its place yet.
pub(super) struct Fresh {
    store: Store,
    /// Reads the same database.
    reader: Connection,
    path: PathBuf,
    told: Restored,
}

impl Fresh {
    /// Opens it, and so brings it to the current schema.
    pub(super) fn open(workshop: &TempDir, salvaged: &Salvaged) -> Result<Self, RestoreError> {
        let store = Store::open(workshop.path())?;
        let path = workshop.path().join(DATABASE);
        let reader = Connection::open(&path)?;
        let last = "SELECT max(created_at) FROM assignment_history";
        let last: Option<String> = reader.query_row(last, [], |row| row.get(0))?;
        let told = Restored {
            last_entry: last.and_then(|time| time.parse().ok()),
            tasks: 0,
            pending: 0,
            uncertain: TaskNumbers::default(),
            missing: TaskNumbers::default(),
            unknown_after: None,
            kept: None,
            compared: false,
            lost: None,
            left_out: salvaged.others.clone(),
        };
        Ok(Self {
            store,
            reader,
            path,
            told,
        })
    }

    /// Moves what was being queued into the queue, so that it is judged like the rest. Its numbers were
    /// given to no other task of the present database, as far as it is known which were given.
    pub(super) fn end_batches(
        &mut self,
        counters: Option<&[(String, i64)]>,
    ) -> Result<(), RestoreError> {
        if !self.store.is_moving()? {
            return Ok(self.store.end_batches(Timestamp::now())?);
        }
        let given = match counters {
            Some(counters) => {
                let of_tasks = counters.iter().filter(|(table, _)| table == "tasks");
                of_tasks.map(|(_, number)| *number).max()
            }
            None => Some(last_counted(&self.reader, "tasks")? + GAP),
        };
        if let Some(given) = given {
            count_from(&self.reader, "tasks", given)?;
        }
        Ok(self.store.end_batches(Timestamp::now())?)
    }

    pub(super) fn because_of_backup(&self) -> String {
        let time = self
            .told
            .last_entry
            .map_or("unknown time".to_owned(), stamp);
        format!("restored from a backup of {time}")
    }

    /// Whether no later attempt has left anything.
    pub(super) fn knows(&self, attempt: Option<AttemptId>) -> Result<bool, RestoreError> {
        let last = last_counted(&self.reader, "attempts")?;
        Ok(attempt.is_none_or(|attempt| attempt.0 <= last))
    }

    /// Doubts each open task, unless it waits and is known not to have run.
    pub(super) fn judge(&mut self, doubts: &Doubts<'_>) -> Result<(), RestoreError> {
        let Self {
            store,
            reader,
            told,
            ..
        } = self;
        let now = doubts.knowledge.now;
        let mut result = Ok(());
        store.group(|store| result = judge_all(store, reader, doubts, told, now))?;
        result
    }

    /// Counts the tasks of the present database that are not in this one.
    pub(super) fn count_missing(
        &mut self,
        present: Option<&Connection>,
    ) -> Result<(), RestoreError> {
        let Some(present) = present else {
            return Ok(());
        };
        // One that cannot be read whole was kept, and its owner was told.
        let Ok(mut ids) = present.prepare("SELECT id FROM tasks ORDER BY id") else {
            return Ok(());
        };
        let mut here = self.reader.prepare("SELECT 1 FROM tasks WHERE id = ?1")?;
        let ids = ids.query_map([], |row| row.get(0))?;
        for id in ids.map_while(Result::ok) {
            if !here.exists([id])? {
                self.told.missing.add(TaskId(id));
            }
        }
        Ok(())
    }

    /// Counts the numbers that were given to tasks that are not here and were not cleared, as far as it is
    /// known which were given.
    pub(super) fn count_gaps(&mut self, is_counted: bool) -> Result<(), RestoreError> {
        let highest = last_counted(&self.reader, "tasks")?;
        self.told.unknown_after = (!is_counted).then_some(TaskId(highest));
        let mut known = self.reader.prepare(
            "SELECT id FROM tasks UNION
             SELECT prompt_id FROM assignment_history WHERE action = 'cleared' AND prompt_id IS NOT NULL
             ORDER BY 1",
        )?;
        let mut next = 1;
        let known = known.query_map([], |row| row.get(0))?.map_while(Result::ok);
        for id in known.chain([highest + 1]) {
            let id: i64 = id;
            for missing in (next..id).take(TOLD) {
                self.told.missing.add(TaskId(missing));
            }
            let more = (id - next).saturating_sub(TOLD as i64).max(0);
            self.told.missing.count += u64::try_from(more).unwrap_or_default();
            next = next.max(id + 1);
        }
        Ok(())
    }

    /// Counts anew how many parents tasks wait for: some may not have been read.
    pub(super) fn unblock(&mut self) -> Result<(), RestoreError> {
        self.store.atomically(|db| {
            db.execute(
                "UPDATE tasks SET blocked = (SELECT count(*) FROM dependencies
                    JOIN tasks AS parents ON parents.id = parent_id
                    WHERE dependencies.task_id = tasks.id
                        AND parents.status NOT IN ('completed', 'failed', 'cancelled'))",
                &[],
            )?;
            Ok(())
        })?;
        Ok(())
    }

    /// Writes down what happened, and completes the file: it is checked, on disk, and needs no other.
    pub(super) fn seal(
        self,
        action: &str,
        details: &str,
        counters: Option<Vec<(String, i64)>>,
        is_new: bool,
        knowledge: Knowledge,
    ) -> Result<Restored, RestoreError> {
        let Self {
            mut store,
            reader,
            path,
            mut told,
        } = self;
        store.atomically(|db| history::note(db, None, action, details, knowledge.now))?;
        let count = |statuses: &str| {
            let count = format!("SELECT count(*) FROM tasks {statuses}");
            reader.query_row(&count, [], |row| row.get::<_, i64>(0))
        };
        let number = |count: i64| u64::try_from(count).unwrap_or_default();
        told.tasks = number(count("")?);
        told.pending = number(count("WHERE status = 'pending'")?);
        drop((store, reader));
        let file = Connection::open(&path)?;
        if let Some(attempt) = knowledge.last_attempt {
            count_from(&file, "attempts", attempt.0)?;
        }
        let gap = if is_new || counters.is_some() { 0 } else { GAP };
        for (table, number) in counters.into_iter().flatten() {
            count_from(&file, &table, number)?;
        }
        file.execute(
            "UPDATE sqlite_sequence SET seq = seq + ?1 WHERE name IN ('tasks', 'attempts')",
            [gap],
        )?;
        file.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
        if let Some(what) = unsound(&file) {
            return Err(SalvageError::Damaged { path, what }.into());
        }
        file.close().map_err(|(_, error)| error)?;
        let synced = fs::File::open(&path).and_then(|file| file.sync_all());
        synced.map_err(|source| RestoreError::Keep { path, source })?;
        Ok(told)
    }
}

fn judge_all(
    store: &mut Store,
    reader: &Connection,
    doubts: &Doubts<'_>,
    told: &mut Restored,
    now: Timestamp,
) -> Result<(), RestoreError> {
    let mut after = TaskId(i64::MIN);
    loop {
        let rows = store.db.query(
            &format!("SELECT id, status FROM tasks WHERE status IN ({OPEN}) AND id > $1 ORDER BY id LIMIT $2"),
            values![after, PAGE],
        );
        let rows = rows.map_err(StoreError::from)?;
        for row in &rows {
            let id: TaskId = row.get("id").map_err(StoreError::from)?;
            let status = row.status().map_err(StoreError::from)?;
            if let Some(why) = doubts.of(reader, id, status) {
                store.doubt(id, &why, now)?;
                told.uncertain.add(id);
            }
            after = id;
        }
        if rows.len() < PAGE {
            return Ok(());
        }
    }
}

/// Returns the highest numbers that were given.
pub(super) fn counters_of(database: &Connection) -> Result<Vec<(String, i64)>, rusqlite::Error> {
    let mut query =
        database.prepare("SELECT name, seq FROM sqlite_sequence WHERE typeof(seq) = 'integer'")?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}
