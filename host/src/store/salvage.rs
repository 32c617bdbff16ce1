//! Rows out of a database's file into a new database with our own schema.
//!
//! Only rows are taken, never what the file says to do: no trigger, view or index of it exists in the new
//! one, and SQLite never opens it. So a file that was made to harm is as good as any other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, params_from_iter};
use thiserror::Error;

use super::backup::Copied;
use super::db::Value;
use super::files::DATABASE;
use super::layout::{TableLayout, columns_in, layouts};
use super::pages::Pages;
use super::schema::{MIGRATIONS, VERSION};
use super::trees::{StoredRow, TreeKind, TreeLoss, Trees};
use super::{StoreError, sqlite};
use crate::files::named::FileError;
use crate::files::private;
use crate::model::task::{Phase, Status};

/// The tables that tell whether a task has run.
const TELLING: [&str; 4] = ["tasks", "attempts", "assignment_history", "dependencies"];

/// A number that a counter can have reached: SQLite's own limit would leave no room for the next.
const HIGHEST: i64 = 1 << 53;

/// How much may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Care {
    /// Nothing: the file is a backup.
    All,
    /// Anything: the file is what is left.
    WhatIsLeft,
}

/// Why nothing was taken out of a file.
#[derive(Debug, Error)]
pub enum SalvageError {
    /// It cannot be read.
    #[error("cannot read `{path}`: {source}", path = path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: FileError,
    },
    /// It holds something else.
    #[error("`{path}` is no queue of assigner (`assigner import` takes one of the Python worker)", path = path.display())]
    NoQueue {
        /// Its path.
        path: PathBuf,
    },
    /// A part of it cannot be read.
    #[error("`{path}` is damaged: {what}", path = path.display())]
    Damaged {
        /// Its path.
        path: PathBuf,
        /// What cannot be read.
        what: String,
    },
    /// It is of a newer assigner, or the new database cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What was taken out of a file.
#[derive(Debug, Clone, Default)]
pub(super) struct Salvaged {
    /// How many rows of each table.
    pub(super) rows: BTreeMap<String, u64>,
    /// What could not be read of each table.
    pub(super) loss: BTreeMap<String, TreeLoss>,
    /// Values that could not be what they were, and were replaced.
    pub(super) replaced: u64,
    /// Rows of each table that were found outside of it. They may be older than what was lost.
    pub(super) strays: BTreeMap<String, u64>,
    /// What others had added to the file, by its name.
    pub(super) others: Vec<String>,
    /// Whether the file's header or its log were damaged.
    pub(super) is_cut: bool,
    /// Whether it is known which numbers were given to tasks.
    pub(super) is_counted: bool,
}

impl Salvaged {
    /// Whether everything was read that tells which tasks have run.
    pub(super) fn is_telling(&self) -> bool {
        let is_whole =
            |table: &str| !self.loss.contains_key(table) && !self.strays.contains_key(table);
        !self.is_cut && self.replaced == 0 && TELLING.iter().all(|table| is_whole(table))
    }

    fn lose(&mut self, table: &str, loss: TreeLoss) {
        if !loss.is_none() {
            let all = self.loss.entry(table.to_owned()).or_default();
            all.pages += loss.pages;
            all.rows += loss.rows;
        }
    }

    /// Returns what was lost, in words. `None` if nothing was.
    pub(super) fn lost(&self) -> Option<String> {
        let mut lost: Vec<String> = Vec::new();
        if self.is_cut {
            lost.push("its header or its log".to_owned());
        }
        for (table, loss) in &self.loss {
            let what = match loss {
                TreeLoss { pages: 0, rows } => format!("{rows} rows"),
                TreeLoss { pages, rows: 0 } => format!("{pages} pages"),
                TreeLoss { pages, rows } => format!("{pages} pages and {rows} rows"),
            };
            lost.push(format!("{what} of `{table}`"));
        }
        for (table, rows) in &self.strays {
            lost.push(format!("the place of {rows} rows of `{table}`"));
        }
        if self.replaced > 0 {
            lost.push(format!("{} values", self.replaced));
        }
        (!lost.is_empty()).then(|| lost.join(", "))
    }
}

/// Takes the rows of a file into a new database in `directory`, which is then of the file's own version
/// and has pages of this size.
///
/// # Errors
/// The file holds no queue, or less than `care` asks for, or the new database cannot be written.
pub(super) fn salvage(
    path: &Path,
    directory: &Path,
    care: Care,
    page_size: i64,
    told: &mut dyn FnMut(Copied),
) -> Result<Salvaged, SalvageError> {
    let owned = || path.to_owned();
    let no_queue = || SalvageError::NoQueue { path: owned() };
    let pages = Pages::open(path).map_err(|source| SalvageError::File {
        path: owned(),
        source,
    })?;
    let found = pages.header().map(|header| header.version);
    let version = match (found, care) {
        (Some(found), _) if found > VERSION => {
            let path = owned();
            let known = VERSION;
            return Err(StoreError::Newer { path, found, known }.into());
        }
        (Some(found), _) if found >= 1 => found,
        (_, Care::All) => return Err(no_queue()),
        _ => VERSION,
    };
    let is_cut = found.is_none() || pages.has_broken_log();
    let salvaged = Salvaged {
        is_cut: is_cut && care == Care::WhatIsLeft,
        ..Salvaged::default()
    };
    let target = new_database(directory, version, page_size).map_err(StoreError::from)?;
    let mut work = Salvaging {
        trees: Trees::of(pages, told),
        layouts: layouts(version).map_err(StoreError::from)?,
        target,
        care,
        salvaged,
        refused: None,
    };
    work.take_all().map_err(StoreError::from)?;
    let Salvaging {
        target,
        salvaged,
        refused,
        ..
    } = work;
    let is_empty = salvaged.rows.is_empty();
    if is_empty && salvaged.lost().is_none() {
        return Err(no_queue());
    }
    if let (Care::All, Some(what)) = (care, refused.or_else(|| salvaged.lost())) {
        return Err(SalvageError::Damaged {
            path: owned(),
            what,
        });
    }
    finish(&target, version).map_err(StoreError::from)?;
    target
        .close()
        .map_err(|(_, error)| StoreError::from(error))?;
    Ok(salvaged)
}

/// Makes a database of a version. What is half done is not kept: it needs no journal.
fn new_database(
    directory: &Path,
    version: i64,
    page_size: i64,
) -> Result<Connection, rusqlite::Error> {
    let path = directory.join(DATABASE);
    let mut options = std::fs::OpenOptions::new();
    // SQLite says why it cannot open it.
    let _ = private::open(options.write(true).create_new(true), &path);
    let target = Connection::open(&path)?;
    target.pragma_update(None, "page_size", page_size)?;
    target.execute_batch(
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
         PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON; BEGIN",
    )?;
    let steps = usize::try_from(version).unwrap_or_default();
    for step in &MIGRATIONS[..steps] {
        target.execute_batch(step)?;
    }
    Ok(target)
}

/// Completes a new database: rows that belong to none, and counters.
fn finish(target: &Connection, version: i64) -> Result<(), rusqlite::Error> {
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table'";
    let mut tables = target.prepare(tables)?;
    let tables: Vec<String> = tables
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for (table, orphans) in [
        ("attempts", "task_id NOT IN (SELECT id FROM tasks)"),
        ("outputs", "attempt_id NOT IN (SELECT id FROM attempts)"),
        (
            "dependencies",
            "task_id NOT IN (SELECT id FROM tasks) OR parent_id NOT IN (SELECT id FROM tasks)",
        ),
        ("replies", "task_id NOT IN (SELECT id FROM tasks)"),
    ] {
        if tables.iter().any(|name| name == table) {
            target.execute_batch(&format!("DELETE FROM {table} WHERE {orphans}"))?;
        }
    }
    // What happened to a task is kept longer than the task: its number is not given again.
    target.execute_batch(
        "INSERT INTO sqlite_sequence (name, seq) SELECT 'tasks', 0
            WHERE 'tasks' NOT IN (SELECT name FROM sqlite_sequence);
         UPDATE sqlite_sequence SET seq = max(seq,
            coalesce((SELECT max(prompt_id) FROM assignment_history
                WHERE prompt_id < 9007199254740992), 0)) WHERE name = 'tasks'",
    )?;
    target.pragma_update(None, "user_version", version)?;
    target.execute_batch("COMMIT")
}

/// What a file's schema says of a table.
struct Found {
    root: u32,
    columns: Option<Vec<String>>,
}

struct Salvaging<'a> {
    trees: Trees<'a>,
    layouts: BTreeMap<String, TableLayout>,
    target: Connection,
    care: Care,
    salvaged: Salvaged,
    /// Why the first row was refused that was.
    refused: Option<String>,
}

impl Salvaging<'_> {
    fn take_all(&mut self) -> Result<(), rusqlite::Error> {
        let (mut tables, mut rest) = (BTreeMap::new(), Vec::new());
        let layouts = &self.layouts;
        let others = &mut self.salvaged.others;
        let loss = self.trees.walk(1, TreeKind::Table, |row| {
            let [Value::Text(kind), Value::Text(name), _, root, sql] = row.values.as_slice() else {
                return false;
            };
            let sql = if let Value::Text(sql) = sql { sql } else { "" };
            let root = match root {
                Value::Integer(root) => u32::try_from(*root).unwrap_or_default(),
                _ => 0,
            };
            let is_keyed = kind == "index" || sql.to_ascii_uppercase().contains("WITHOUT ROWID");
            if kind == "table" && root > 1 && (layouts.contains_key(name) || name == COUNTERS) {
                let columns = columns_in(sql);
                tables.insert(name.clone(), Found { root, columns });
            } else {
                if root > 1 {
                    let tree = if is_keyed {
                        TreeKind::Index
                    } else {
                        TreeKind::Table
                    };
                    rest.push((root, tree));
                }
                let is_known = layouts.values().any(|layout| layout.made.contains(name));
                // SQLite's own are made anew when they are needed.
                if !is_known && !sql.is_empty() && !name.starts_with("sqlite_") {
                    others.push(name.clone());
                }
            }
            true
        });
        self.salvaged.lose("sqlite_schema", loss);
        let names: Vec<String> = self.layouts.keys().cloned().collect();
        for name in &names {
            match tables.remove(name) {
                Some(found) => self.take(name, &found)?,
                None => self.salvaged.lose(name, TreeLoss { pages: 1, rows: 0 }),
            }
        }
        if let Some(found) = tables.remove(COUNTERS) {
            self.take_counters(found.root)?;
        }
        for (root, kind) in rest {
            // It is made anew, or is not ours. Its pages are no strays.
            self.trees.walk(root, kind, |_| true);
        }
        self.take_strays()
    }

    /// Takes the rows of a table.
    fn take(&mut self, table: &str, found: &Found) -> Result<(), rusqlite::Error> {
        let Self {
            trees,
            layouts,
            target,
            care,
            salvaged,
            refused,
        } = self;
        let layout = &layouts[table];
        let columns = found.columns.as_ref().unwrap_or(&layout.columns);
        let (mut rows, mut replaced, mut failure) = (0, 0, None);
        let loss = trees.walk(found.root, layout.kind, |row| {
            if !layout.may_hold(columns, &row) || failure.is_some() {
                return false;
            }
            let mut pairs = layout.pairs(columns, row);
            if *care == Care::WhatIsLeft {
                replaced += tidy(&mut pairs);
            }
            let mut done = insert(target, "INSERT", table, &pairs);
            if *care == Care::WhatIsLeft && done.as_ref().is_err_and(is_of_row) {
                let mended = mend(table, &mut pairs);
                replaced += mended;
                if mended > 0 {
                    done = insert(target, "INSERT", table, &pairs);
                }
            }
            match done {
                Ok(_) => rows += 1,
                Err(error) if is_of_row(&error) => {
                    refused.get_or_insert_with(|| format!("a row of `{table}`: {error}"));
                    return false;
                }
                Err(error) => failure = Some(error),
            }
            true
        });
        if rows > 0 {
            salvaged.rows.insert(table.to_owned(), rows);
        }
        salvaged.replaced += replaced;
        salvaged.lose(table, loss);
        failure.map_or(Ok(()), Err)
    }

    /// Takes the highest numbers that were given, so that none is given again.
    fn take_counters(&mut self, root: u32) -> Result<(), rusqlite::Error> {
        let mut counters = Vec::new();
        let loss = self.trees.walk(root, TreeKind::Table, |row| {
            let [Value::Text(name), Value::Integer(number)] = row.values.as_slice() else {
                return false;
            };
            counters.push((name.clone(), *number));
            true
        });
        self.salvaged.lose(COUNTERS, loss);
        for (name, number) in counters {
            if self.layouts.contains_key(&name) && number <= HIGHEST {
                self.salvaged.is_counted |= name == "tasks";
                count_from(&self.target, &name, number)?;
            }
        }
        Ok(())
    }

    /// Takes rows of the tables that tell whether a task has run, from pages that belong to nothing.
    fn take_strays(&mut self) -> Result<(), rusqlite::Error> {
        let Self {
            trees,
            layouts,
            target,
            salvaged,
            ..
        } = self;
        let mut failure = None;
        trees.strays(|kind, row| {
            let tables = TELLING.iter().chain(&["outputs"]);
            let mut tables = tables.filter_map(|table| layouts.get_key_value(*table));
            let table =
                tables.find(|(name, layout)| layout.kind == kind && is_surely(name, layout, &row));
            let Some((table, layout)) = table else {
                return;
            };
            let mut pairs = layout.pairs(&layout.columns, row);
            tidy(&mut pairs);
            match insert(target, "INSERT OR IGNORE", table, &pairs) {
                Ok(0) => {}
                Ok(_) => {
                    *salvaged.strays.entry(table.clone()).or_default() += 1;
                    *salvaged.rows.entry(table.clone()).or_default() += 1;
                }
                Err(error) if is_of_row(&error) => {}
                Err(error) => failure = Some(error),
            }
        });
        // What was cleared may still stand in a page.
        if salvaged.strays.contains_key("tasks") {
            target.execute_batch(
                "DELETE FROM tasks WHERE id IN
                    (SELECT prompt_id FROM assignment_history WHERE action = 'cleared')",
            )?;
        }
        failure.map_or(Ok(()), Err)
    }
}

/// SQLite's own table of the highest numbers that were given.
const COUNTERS: &str = "sqlite_sequence";

/// Returns the last number that a table has given.
pub(super) fn last_counted(database: &Connection, table: &str) -> Result<i64, rusqlite::Error> {
    let last = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = ?1";
    database.query_row(last, [table], |row| row.get(0))
}

/// Has a table give only numbers above this one.
pub(super) fn count_from(
    target: &Connection,
    table: &str,
    number: i64,
) -> Result<(), rusqlite::Error> {
    target.execute(
        "INSERT INTO sqlite_sequence (name, seq)
            SELECT ?1, 0 WHERE ?1 NOT IN (SELECT name FROM sqlite_sequence)",
        [table],
    )?;
    target.execute(
        "UPDATE sqlite_sequence SET seq = max(seq, ?2) WHERE name = ?1",
        rusqlite::params![table, number],
    )?;
    Ok(())
}

fn insert(
    target: &Connection,
    how: &str,
    table: &str,
    pairs: &[(&str, Value)],
) -> Result<usize, rusqlite::Error> {
    let names: Vec<String> = pairs
        .iter()
        .map(|(name, _)| format!("\"{name}\""))
        .collect();
    let places = vec!["?"; pairs.len()].join(", ");
    let names = names.join(", ");
    let mut statement =
        target.prepare_cached(&format!("{how} INTO {table} ({names}) VALUES ({places})"))?;
    statement.execute(params_from_iter(pairs.iter().map(|(_, value)| value)))
}

/// Whether a row was refused because of what is in it.
fn is_of_row(error: &rusqlite::Error) -> bool {
    let codes = [ErrorCode::ConstraintViolation, ErrorCode::TypeMismatch];
    error
        .sqlite_error_code()
        .is_some_and(|code| codes.contains(&code))
}

/// Makes text of bytes where they can only have been text, and counts what cannot have been so.
fn tidy(pairs: &mut [(&str, Value)]) -> u64 {
    let mut replaced = 0;
    for (_, value) in pairs.iter_mut().filter(|(name, _)| *name != "bytes") {
        match value {
            Value::Bytes(bytes) => {
                *value = Value::Text(String::from_utf8_lossy(bytes).into_owned());
                replaced += 1;
            }
            Value::Text(text) if text.contains('\0') => replaced += 1,
            _ => {}
        }
    }
    replaced
}

/// Replaces what a table does not allow by what is never wrong. Returns how many values that were.
fn mend(table: &str, pairs: &mut [(&str, Value)]) -> u64 {
    let mut replaced = 0;
    let mut set = |pairs: &mut [(&str, Value)], name: &str, to: Value| {
        if let Some((_, value)) = pairs.iter_mut().find(|(column, _)| *column == name) {
            *value = to;
            replaced += 1;
        }
    };
    let text = |pairs: &[(&str, Value)], name: &str| match pairs
        .iter()
        .find(|(column, _)| *column == name)
    {
        Some((_, Value::Text(text))) => text.clone(),
        _ => String::new(),
    };
    match table {
        "tasks" => {
            if Status::from_name(&text(pairs, "status")).is_none() {
                set(pairs, "status", Status::Uncertain.name().into());
            }
            if !["prompt", "command"].contains(&text(pairs, "kind").as_str()) {
                set(pairs, "kind", "prompt".into());
            }
            for (name, to) in [
                ("content", ""),
                ("source", "sql"),
                ("created_at", ""),
                ("metadata", "{}"),
            ] {
                if text(pairs, name).is_empty() {
                    set(pairs, name, to.into());
                }
            }
        }
        "attempts" => {
            set(pairs, "phase", Phase::Ended.name().into());
            set(pairs, "outcome", "uncertain".into());
        }
        _ => {}
    }
    replaced
}

/// Whether a row that was found anywhere can only be one of this table.
fn is_surely(table: &str, layout: &TableLayout, row: &StoredRow) -> bool {
    let value = |name: &str| {
        let index = layout.columns.iter().position(|column| column == name)?;
        row.values.get(index)
    };
    let text = |name| match value(name) {
        Some(Value::Text(text)) => text.as_str(),
        _ => "",
    };
    let is_number = |name| matches!(value(name), Some(Value::Integer(_)));
    layout.may_hold(&layout.columns, row)
        && match table {
            "tasks" => {
                ["prompt", "command"].contains(&text("kind"))
                    && Status::from_name(text("status")).is_some()
            }
            "attempts" => is_number("task_id") && Phase::from_name(text("phase")).is_some(),
            "assignment_history" => {
                row.values.len() == 6
                    && is_number("prompt_id")
                    && text("created_at").starts_with("20")
            }
            "dependencies" => {
                ["fail", "release"].contains(&text("if_fails")) && is_number("parent_id")
            }
            "outputs" => is_number("total") && matches!(value("bytes"), Some(Value::Bytes(_))),
            _ => false,
        }
}

/// Returns what SQLite says of a database that it can open: nothing if it is sound.
pub(super) fn unsound(connection: &Connection) -> Option<String> {
    let check = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0));
    let said: String = check.unwrap_or_else(|error| sqlite::plainly(&error));
    if said != "ok" {
        return Some(said.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    let table = connection.query_row("PRAGMA foreign_key_check", [], |row| row.get(0));
    match table {
        Err(rusqlite::Error::QueryReturnedNoRows) => None,
        Err(error) => Some(sqlite::plainly(&error)),
        Ok(table) => {
            let table: String = table;
            Some(format!(
                "a row of `{table}` belongs to one that is not there"
            ))
        }
    }
}
