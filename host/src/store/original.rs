//! The Python worker's database: recognised at each stage of its schema, taken over in place after
//! copying it, or read by `import`. No row is lost.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params_from_iter};

use super::db::Value;
use super::sqlite::data_version;
use super::{DbError, StoreError};

/// The prefix of its tables while their rows are copied.
const ASIDE: &str = "original_";

/// The suffix that the copy adds to the name of the database.
const BACKUP: &str = "before-migration";

/// When an unfinished copy counts as abandoned. Making one takes seconds.
const LEFT_BEHIND: Duration = Duration::from_secs(3600);

/// Why a task that was in flight there is uncertain here.
pub(super) const IN_FLIGHT: &str = "it was in flight when its database was taken over, so it is not known whether it ran: decide with `assigner resolve`";

/// Our columns, in the order in which [`Source`] selects the values for them.
pub(super) const TASK: &str = "kind, content, source, priority, status, session, error, created_at, \
    assigned_at, completed_at, metadata, target_session, target_provider, attempts, tries, \
    max_retries, timeout_seconds, response";
pub(super) const HISTORY: &str = "session_name, action, created_at, details";
pub(super) const SESSION: &str = "status, last_activity, working_dir, is_claude, provider, last_output, \
    updated_at, current_dir, git_branch, last_context_update, env_vars";

/// A copy of the database, made before anything is changed. Deleted when dropped, unless kept.
pub(super) struct Backup {
    aside: PathBuf,
    path: PathBuf,
    /// SQLite's counter of changes by other connections when the copy was made.
    data_version: i64,
}

impl Backup {
    /// Copies the database at `path` into its own directory.
    ///
    /// # Errors
    /// The disk is full, or SQLite refused: nothing has changed.
    pub(super) fn make(connection: &Connection, path: &Path) -> Result<Self, StoreError> {
        sweep(path);
        let backup = Self {
            aside: with_end(path, &format!("{BACKUP}.{}", unique())),
            path: with_end(path, BACKUP),
            data_version: data_version(connection)?,
        };
        copy_into(connection, &backup.aside)?;
        Ok(backup)
    }

    /// Whether the database has not changed since the copy was made.
    pub(super) fn is_current(&self, connection: &Connection) -> Result<bool, StoreError> {
        Ok(data_version(connection)? == self.data_version)
    }

    /// Gives the copy its final name, with a number added if an earlier copy has that name.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub(super) fn keep(&self) -> Result<(), StoreError> {
        let mut path = self.path.clone();
        let mut number = 1;
        while path.exists() {
            number += 1;
            path = with_end(&self.path, &number.to_string());
        }
        fs::rename(&self.aside, &path).map_err(|source| StoreError::Copy { path, source })
    }
}

impl Drop for Backup {
    fn drop(&mut self) {
        // If it was kept, it no longer has this name.
        let _ = fs::remove_file(&self.aside);
    }
}

/// Whether this is a database of the Python worker.
pub(super) fn is_one(connection: &Connection) -> Result<bool, rusqlite::Error> {
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let kind: Option<String> = connection
        .query_row(
            "SELECT type FROM sqlite_schema WHERE name = 'prompts'",
            [],
            |row| row.get(0),
        )
        .optional()?;
    let columns = columns(connection, "main", "prompts")?;
    Ok(version == 0
        && kind.as_deref() == Some("table")
        && ["id", "content", "status"]
            .iter()
            .all(|name| columns.contains(*name)))
}

/// Renames its tables, so that ours can have their names.
pub(super) fn set_aside(connection: &Connection) -> Result<(), StoreError> {
    for table in ["prompts", "sessions", "assignment_history"] {
        if !columns(connection, "main", table)?.is_empty() {
            connection.execute_batch(&format!("ALTER TABLE {table} RENAME TO {ASIDE}{table}"))?;
        }
    }
    Ok(())
}

/// Copies the rows of the tables that were set aside into ours, keeping their ids, and removes
/// those tables.
pub(super) fn take_over(connection: &Connection) -> Result<(), StoreError> {
    let source = Source::of(connection, "main", ASIDE)?;
    connection.execute_batch(&format!(
        "INSERT INTO tasks (id, {TASK}) SELECT id, {} FROM main.{ASIDE}prompts",
        source.task()
    ))?;
    if !source.history.is_empty() {
        connection.execute_batch(&format!(
            "INSERT INTO assignment_history (id, prompt_id, {HISTORY})
                SELECT id, prompt_id, {} FROM main.{ASIDE}assignment_history",
            source.history()
        ))?;
    }
    if !source.sessions.is_empty() {
        connection.execute_batch(&format!(
            "INSERT INTO sessions (name, current_task_id, {SESSION})
                SELECT name, {}, {} FROM main.{ASIDE}sessions WHERE name IS NOT NULL",
            source.of_session("current_task_id", "NULL"),
            source.session()
        ))?;
    }
    // Ids that were used once are not used again.
    for (table, old) in [
        ("tasks", "prompts"),
        ("assignment_history", "assignment_history"),
    ] {
        connection.execute(
            "INSERT INTO sqlite_sequence (name, seq)
                SELECT ?1, 0 WHERE ?1 NOT IN (SELECT name FROM sqlite_sequence)",
            [table],
        )?;
        connection.execute(
            "UPDATE sqlite_sequence SET seq = max(seq, coalesce(
                (SELECT old.seq FROM sqlite_sequence AS old WHERE old.name = ?2), 0))
             WHERE name = ?1",
            [table, &format!("{ASIDE}{old}")],
        )?;
    }
    connection.execute(
        "INSERT INTO assignment_history (prompt_id, session_name, action, details)
            SELECT id, session, 'uncertain', ?1 FROM tasks WHERE status = 'uncertain'",
        [IN_FLIGHT],
    )?;
    // Tables that refer to prompts go first.
    for table in ["sessions", "assignment_history", "prompts"] {
        connection.execute_batch(&format!("DROP TABLE IF EXISTS main.{ASIDE}{table}"))?;
    }
    Ok(())
}

/// A copy of a database of the worker, from which another installation takes rows.
pub(super) struct Original {
    connection: Connection,
    source: Source,
    /// Deleted when this is dropped.
    _file: Snapshot,
}

impl Original {
    /// Copies the database at `path` into `directory`: the worker may still write to its file, and
    /// must not be locked out.
    ///
    /// # Errors
    /// It cannot be read, or is not a database of the Python worker.
    pub(super) fn copy(path: &Path, directory: &Path) -> Result<Self, StoreError> {
        let unusable = |error: rusqlite::Error| StoreError::Open {
            path: path.to_owned(),
            source: error.into(),
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let theirs = Connection::open_with_flags(path, flags).map_err(unusable)?;
        if !is_one(&theirs).map_err(unusable)? {
            return Err(StoreError::NotOriginal {
                path: path.to_owned(),
            });
        }
        let file = Snapshot(directory.join(format!("import.{}", unique())));
        copy_into(&theirs, &file.0)?;
        let connection = Connection::open_with_flags(&file.0, flags)?;
        Ok(Self {
            source: Source::of(&connection, "main", "")?,
            connection,
            _file: file,
        })
    }

    /// Returns the ids of the prompts, each with a text by which its row is known again.
    pub(super) fn prompts(&self) -> Result<Vec<(i64, String)>, StoreError> {
        self.known_by(&format!(
            "SELECT id, hex({}) || '/' || hex(content) FROM prompts ORDER BY id",
            self.source.of_prompt("created_at", "''")
        ))
    }

    /// Returns a prompt, as values of [`TASK`].
    pub(super) fn prompt(&self, id: i64) -> Result<Vec<Value>, StoreError> {
        let select = format!("SELECT {} FROM prompts WHERE id = ?1", self.source.task());
        let rows = self.rows(&select, &[id])?;
        rows.into_iter()
            .next()
            .ok_or_else(|| DbError::no_row().into())
    }

    /// Returns what happened to a prompt, as values of [`HISTORY`].
    pub(super) fn history_of(&self, id: i64) -> Result<Vec<Vec<Value>>, StoreError> {
        if self.source.history.is_empty() {
            return Ok(Vec::new());
        }
        let select = format!(
            "SELECT {} FROM assignment_history WHERE prompt_id = ?1 ORDER BY id",
            self.source.history()
        );
        self.rows(&select, &[id])
    }

    /// Returns the history rows of prompts that were deleted, as [`Self::prompts`] returns those.
    pub(super) fn orphans(&self) -> Result<Vec<(i64, String)>, StoreError> {
        if self.source.history.is_empty() {
            return Ok(Vec::new());
        }
        self.known_by(
            "SELECT id, hex(created_at) || '/' || hex(action) FROM assignment_history
             WHERE prompt_id IS NULL OR prompt_id NOT IN (SELECT id FROM prompts) ORDER BY id",
        )
    }

    /// Returns a history row, as values of [`HISTORY`].
    pub(super) fn orphan(&self, id: i64) -> Result<Vec<Vec<Value>>, StoreError> {
        let select = format!(
            "SELECT {} FROM assignment_history WHERE id = ?1",
            self.source.history()
        );
        self.rows(&select, &[id])
    }

    /// Returns the sessions, as their names and values of [`SESSION`].
    pub(super) fn sessions(&self) -> Result<Vec<Vec<Value>>, StoreError> {
        if self.source.sessions.is_empty() {
            return Ok(Vec::new());
        }
        let select = format!(
            "SELECT name, {} FROM sessions WHERE name IS NOT NULL",
            self.source.session()
        );
        self.rows(&select, &[])
    }

    fn known_by(&self, select: &str) -> Result<Vec<(i64, String)>, StoreError> {
        let mut query = self.connection.prepare(select)?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn rows(&self, select: &str, id: &[i64]) -> Result<Vec<Vec<Value>>, StoreError> {
        let mut query = self.connection.prepare_cached(select)?;
        let columns = query.column_count();
        let rows = query.query_map(params_from_iter(id), |row| {
            (0..columns)
                .map(|index| Ok(row.get_ref(index)?.into()))
                .collect()
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// A file that is deleted when this is dropped.
struct Snapshot(PathBuf);

impl Drop for Snapshot {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Where rows come from, with the columns that exist at its stage of the schema.
struct Source {
    prompts: BTreeSet<String>,
    sessions: BTreeSet<String>,
    history: BTreeSet<String>,
}

impl Source {
    fn of(connection: &Connection, schema: &str, prefix: &str) -> Result<Self, rusqlite::Error> {
        let columns = |table: &str| columns(connection, schema, &format!("{prefix}{table}"));
        Ok(Self {
            prompts: columns("prompts")?,
            sessions: columns("sessions")?,
            history: columns("assignment_history")?,
        })
    }

    fn of_prompt(&self, column: &str, missing: &str) -> String {
        pick(&self.prompts, column, missing)
    }

    fn of_session(&self, column: &str, missing: &str) -> String {
        pick(&self.sessions, column, missing)
    }

    /// Returns the values of [`TASK`].
    fn task(&self) -> String {
        let column = |name, missing| self.of_prompt(name, missing);
        let known = "status IN ('pending', 'completed', 'failed', 'cancelled')";
        let retries = format!(
            "CAST(coalesce({}, 0) AS INTEGER)",
            column("retry_count", "0")
        );
        [
            format!(
                "CASE {} WHEN 'shell' THEN 'command' ELSE 'prompt' END",
                column("target_provider", "NULL")
            ),
            "coalesce(content, '')".to_owned(),
            format!("coalesce({}, 'api')", column("source", "NULL")),
            format!("coalesce({}, 0)", column("priority", "NULL")),
            format!("CASE WHEN {known} THEN status ELSE 'uncertain' END"),
            column("assigned_session", "NULL"),
            format!(
                "CASE WHEN {known} THEN {error} ELSE coalesce({error}, '{IN_FLIGHT}') END",
                error = column("error", "NULL")
            ),
            some_time(&column("created_at", "NULL")),
            time(&column("assigned_at", "NULL")),
            time(&column("completed_at", "NULL")),
            format!("coalesce({}, '{{}}')", column("metadata", "NULL")),
            format!("CAST({} AS TEXT)", column("target_session", "NULL")),
            format!("CAST({} AS TEXT)", column("target_provider", "NULL")),
            // The number of tries: a pending task was tried as often as it was put back.
            format!("{retries} + (status IS NOT 'pending')"),
            format!("{retries} + (status IS NOT 'pending')"),
            format!("coalesce({}, 0)", column("max_retries", "3")),
            // The worker wrote 0 for no limit.
            format!(
                "CASE WHEN {minutes} > 0 THEN {minutes} * 60 END",
                minutes = column("timeout_minutes", "30")
            ),
            column("response", "NULL"),
        ]
        .join(", ")
    }

    /// Returns the values of [`HISTORY`].
    fn history(&self) -> String {
        let column = |name, missing| pick(&self.history, name, missing);
        [
            column("session_name", "NULL"),
            format!("coalesce({}, '')", column("action", "NULL")),
            some_time(&column("created_at", "NULL")),
            column("details", "NULL"),
        ]
        .join(", ")
    }

    /// Returns the values of [`SESSION`].
    fn session(&self) -> String {
        let column = |name| self.of_session(name, "NULL");
        [
            format!("coalesce({}, 'unknown')", column("status")),
            time(&column("last_activity")),
            column("working_dir"),
            format!("coalesce({}, 0)", column("is_claude")),
            column("provider"),
            column("last_output"),
            time(&column("updated_at")),
            column("current_dir"),
            column("git_branch"),
            time(&column("last_context_update")),
            format!("coalesce({}, '{{}}')", column("env_vars")),
        ]
        .join(", ")
    }
}

fn pick(columns: &BTreeSet<String>, column: &str, missing: &str) -> String {
    if columns.contains(column) {
        column.to_owned()
    } else {
        missing.to_owned()
    }
}

/// Its times have no zone and mean UTC; ours are RFC 3339. A value that is not a time is kept.
fn time(column: &str) -> String {
    format!("coalesce(strftime('%Y-%m-%dT%H:%M:%fZ', {column}), {column})")
}

fn some_time(column: &str) -> String {
    format!(
        "coalesce(strftime('%Y-%m-%dT%H:%M:%fZ', {column}), {column}, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))"
    )
}

/// Returns the columns of a table; none if there is no such table.
fn columns(
    connection: &Connection,
    schema: &str,
    table: &str,
) -> Result<BTreeSet<String>, rusqlite::Error> {
    let mut query = connection.prepare("SELECT name FROM pragma_table_info(?1, ?2)")?;
    let names = query.query_map([table, schema], |row| row.get(0))?;
    names.collect()
}

/// Deletes copies that a killed process left unfinished an hour ago or more.
fn sweep(path: &Path) {
    let start = with_end(path, BACKUP);
    let start = start.file_name().unwrap_or_default().to_string_lossy();
    let entries = path
        .parent()
        .and_then(|directory| fs::read_dir(directory).ok());
    for entry in entries.into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let old = entry
            .metadata()
            .and_then(|file| file.modified())
            .is_ok_and(|then| then.elapsed().is_ok_and(|age| age > LEFT_BEHIND));
        if old && name.starts_with(start.as_ref()) && name.ends_with(".tmp") {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Writes a complete and consistent copy of a database, readable only by its owner.
fn copy_into(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Copy {
        path: path.to_owned(),
        source,
    };
    let name = path.to_string_lossy();
    connection.execute("VACUUM INTO ?1", [name.as_ref()])?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    fs::File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(failed)
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(end);
    PathBuf::from(name)
}

/// Returns a name that nobody else uses, even if process ids are reused after a restart.
fn unique() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let now = Timestamp::now().as_nanosecond();
    format!("{}-{now}-{number}.tmp", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_written_copies_do_not_pile_up() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("assigner.db");
        let old = with_end(&path, &format!("{BACKUP}.1-2-3.tmp"));
        let new = with_end(&path, &format!("{BACKUP}.4-5-6.tmp"));
        let kept = with_end(&path, BACKUP);
        for file in [&path, &old, &new, &kept] {
            fs::write(file, "x").expect("written");
        }
        let long_ago = std::time::SystemTime::now() - LEFT_BEHIND * 2;
        for file in [&path, &old, &kept] {
            let file = fs::File::options().write(true).open(file).expect("there");
            file.set_modified(long_ago).expect("set");
        }
        sweep(&path);
        let there = [&path, &old, &new, &kept].map(|file| file.exists());
        assert_eq!(there, [true, false, true, true]);
    }
}
