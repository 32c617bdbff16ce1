//! Merges a database of the Python worker into a running installation, each row once.

use std::ops::AddAssign;
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::db::{Db, Value, values};
use super::original::{HISTORY, IN_FLIGHT, Original, SESSION, TASK};
use super::{DbError, Store, StoreError, history};
use crate::model::ids::TaskId;

/// What was merged from another database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Tasks.
    pub tasks: usize,
    /// Sessions that were not known to this database.
    pub sessions: usize,
    /// History rows.
    pub history: usize,
    /// How many of the tasks were in flight in the other database.
    pub uncertain: usize,
    /// Tasks that had already been merged.
    pub skipped: usize,
}

/// How many rows are merged at once, and after how much text, in hexadecimal digits: others wait meanwhile.
const SLICE: usize = 100;
const SLICE_DIGITS: usize = 1 << 19;

impl AddAssign for Imported {
    fn add_assign(&mut self, more: Self) {
        self.tasks += more.tasks;
        self.sessions += more.sessions;
        self.history += more.history;
        self.uncertain += more.uncertain;
        self.skipped += more.skipped;
    }
}

impl Store {
    /// Merges a database of the Python worker into this one, in slices; after each it calls `pause` with
    /// the number of rows that it has looked at, and with that of all. Its tasks get new ids. What was
    /// already merged is left out, so that an import that stopped can be repeated.
    ///
    /// # Errors
    /// It is not one, or it cannot be read: nothing has changed. The database refused: the slices before
    /// stay.
    pub fn import(
        &mut self,
        path: &Path,
        now: Timestamp,
        mut pause: impl FnMut(usize, usize),
    ) -> Result<Imported, StoreError> {
        let original = Original::copy(path, &self.directory)?;
        let (prompts, orphans) = (original.prompts()?, original.orphans()?);
        // Everything is read once before anything is written.
        for (id, _) in &prompts {
            original.prompt(*id)?;
            original.history_of(*id)?;
        }
        for (id, _) in &orphans {
            original.orphan(*id)?;
        }
        original.sessions()?;
        let (mut counts, mut looked_at) = (Imported::default(), 0);
        let all = prompts.len() + orphans.len();
        let mut left = prompts.as_slice();
        while !left.is_empty() {
            let (slice, rest) = left.split_at(size_of_slice(left));
            left = rest;
            counts += self.atomically(|db| merge_prompts(db, &original, slice, now))?;
            looked_at += slice.len();
            pause(looked_at, all);
        }
        for slice in orphans.chunks(SLICE) {
            counts += self.atomically(|db| merge_orphans(db, &original, slice))?;
            looked_at += slice.len();
            pause(looked_at, all);
        }
        counts += self.atomically(|db| merge_sessions(db, &original))?;
        Ok(counts)
    }
}

/// Returns how many of these rows make a slice: at least one.
fn size_of_slice(rows: &[(i64, String)]) -> usize {
    let mut digits = 0;
    let fits = |(_, content): &&(i64, String)| {
        let fits = digits < SLICE_DIGITS;
        digits += content.len();
        fits
    };
    rows.iter().take(SLICE).take_while(fits).count()
}

fn merge_prompts(
    db: &mut dyn Db,
    original: &Original,
    prompts: &[(i64, String)],
    now: Timestamp,
) -> Result<Imported, StoreError> {
    let mut counts = Imported::default();
    for (id, content) in prompts {
        let Some(fingerprint) = new_fingerprint(db, "task", *id, content)? else {
            counts.skipped += 1;
            continue;
        };
        let values = original.prompt(*id)?;
        let row = db.query_one(
            &format!(
                "INSERT INTO tasks ({TASK}) VALUES ({}) RETURNING id, status",
                numbers(values.len())
            ),
            &values,
        )?;
        let row = row.ok_or_else(DbError::no_row)?;
        let task: TaskId = row.get("id")?;
        db.execute(
            "INSERT INTO imported (fingerprint, task_id) VALUES ($1, $2)",
            values![fingerprint, task],
        )?;
        for values in original.history_of(*id)? {
            counts.history += write(db, Some(task), values)?;
        }
        let details = format!("it was prompt {id}");
        history::write(db, task, None, "imported", &details, now)?;
        if row.text("status")?.as_deref() == Some("uncertain") {
            history::write(db, task, None, "uncertain", IN_FLIGHT, now)?;
            counts.uncertain += 1;
        }
        counts.tasks += 1;
    }
    Ok(counts)
}

fn merge_orphans(
    db: &mut dyn Db,
    original: &Original,
    orphans: &[(i64, String)],
) -> Result<Imported, StoreError> {
    let mut counts = Imported::default();
    for (id, content) in orphans {
        let Some(fingerprint) = new_fingerprint(db, "history", *id, content)? else {
            continue;
        };
        for values in original.orphan(*id)? {
            counts.history += write(db, None, values)?;
        }
        db.execute(
            "INSERT INTO imported (fingerprint) VALUES ($1)",
            values![fingerprint],
        )?;
    }
    Ok(counts)
}

fn merge_sessions(db: &mut dyn Db, original: &Original) -> Result<Imported, StoreError> {
    let mut counts = Imported::default();
    for values in original.sessions()? {
        // What we know about a session takes precedence.
        counts.sessions += db.execute(
            &format!(
                "INSERT INTO sessions (name, {SESSION}) VALUES ({})
                 ON CONFLICT (node, name) DO NOTHING",
                numbers(values.len())
            ),
            &values,
        )?;
    }
    Ok(counts)
}

/// Writes a history row, and returns how many that were.
fn write(
    db: &mut dyn Db,
    task: Option<TaskId>,
    mut values: Vec<Value>,
) -> Result<usize, StoreError> {
    values.push(task.into());
    Ok(db.execute(
        &format!(
            "INSERT INTO assignment_history ({HISTORY}, prompt_id) VALUES ({})",
            numbers(values.len())
        ),
        &values,
    )?)
}

/// Returns that many parameters.
fn numbers(count: usize) -> String {
    let numbers: Vec<String> = (1..=count).map(|number| format!("${number}")).collect();
    numbers.join(", ")
}

/// Returns the fingerprint of a row. `None` if it was already merged.
fn new_fingerprint(
    db: &mut dyn Db,
    kind: &str,
    id: i64,
    content: &str,
) -> Result<Option<String>, StoreError> {
    let digest = Sha256::digest(format!("{kind}/{id}/{content}"));
    let fingerprint: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let known = db.exists(
        "SELECT 1 FROM imported WHERE fingerprint = $1",
        values![&fingerprint],
    )?;
    Ok((!known).then_some(fingerprint))
}
