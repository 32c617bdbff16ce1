//! How the database of a directory is, without changing anything in it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode};

use super::StoreError;
use super::backup::open_queue;
use super::files::DATABASE;
use super::schema::VERSION;

/// After how many of SQLite's steps it is asked whether to go on: a millisecond at most.
const STEPS: i32 = 10_000;

/// How a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseHealth {
    /// Its size on disk in bytes, with what is written beside it.
    pub bytes: u64,
    /// How many tasks are in it, if there was time to count them.
    pub tasks: Option<u64>,
    /// The version of its schema.
    pub version: i64,
    /// What is damaged in it; `None` if nothing is.
    pub damage: Option<String>,
    /// Whether there was not enough time to read all of it.
    pub is_partly_read: bool,
    /// When the last entry of its history was written, by the clock of that time.
    pub last_entry: Option<Timestamp>,
}

impl DatabaseHealth {
    /// Whether an earlier assigner has written it: the next daemon or `send` brings it to this version.
    pub fn is_earlier(&self) -> bool {
        self.version < VERSION
    }

    /// Whether a later assigner has written it, so that this one cannot use it.
    pub fn is_later(&self) -> bool {
        self.version > VERSION
    }
}

/// Reads all of the database of a directory, for at most `within`. Nothing is created or migrated.
///
/// # Errors
/// There is none, it cannot be opened, or it is another program's.
pub fn examine(directory: &Path, within: Duration) -> Result<DatabaseHealth, StoreError> {
    let connection = open_queue(directory)?;
    let path = directory.join(DATABASE);
    let files = ["", "-wal"].map(|end| directory.join(format!("{DATABASE}{end}")));
    let sizes = files
        .iter()
        .filter_map(|file| Some(fs::metadata(file).ok()?.size()));
    let bytes = sizes.sum();
    let failed = |error: rusqlite::Error| StoreError::Open {
        path: path.clone(),
        source: error.into(),
    };
    let version = number(&connection, "PRAGMA user_version").map_err(failed)?;
    let began = Instant::now();
    connection
        .progress_handler(STEPS, Some(move || began.elapsed() > within))
        .map_err(failed)?;
    let check = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    let (damage, is_partly_read) = match check {
        Ok(said) if said == "ok" => (None, false),
        Ok(said) => (
            Some(said.split_whitespace().collect::<Vec<_>>().join(" ")),
            false,
        ),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
            (None, true)
        }
        Err(error) => (Some(error.to_string()), false),
    };
    let tasks = number(&connection, "SELECT count(*) FROM tasks").ok();
    let last = "SELECT max(created_at) FROM (SELECT created_at FROM assignment_history ORDER BY id DESC LIMIT 100)";
    let last = connection.query_row(last, [], |row| row.get::<_, Option<String>>(0));
    let last_entry = last.ok().flatten().and_then(|text| text.parse().ok());
    Ok(DatabaseHealth {
        bytes,
        tasks: tasks.and_then(|tasks| u64::try_from(tasks).ok()),
        version,
        damage,
        is_partly_read,
        last_entry,
    })
}

/// Whether there is a database of the current schema, so that to open it changes nothing.
pub fn is_current(directory: &Path) -> bool {
    let version = |connection: Connection| number(&connection, "PRAGMA user_version").ok();
    open_queue(directory).ok().and_then(version) == Some(VERSION)
}

fn number(connection: &Connection, sql: &str) -> Result<i64, rusqlite::Error> {
    connection.query_row(sql, [], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::store::Store;

    const WITHIN: Duration = Duration::from_secs(60);

    #[test]
    fn a_sound_database_is_left_as_it_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        assert!(matches!(
            examine(path, WITHIN),
            Err(StoreError::NoQueue { .. })
        ));
        assert_eq!(fs::read_dir(path).expect("readable").count(), 0);
        drop(Store::open(path).expect("a store"));
        let health = examine(path, WITHIN).expect("a database");
        assert_eq!((health.tasks, health.damage.as_deref()), (Some(0), None));
        assert!(!health.is_earlier() && !health.is_later() && !health.is_partly_read);
        assert!(health.bytes > 0);
        let connection = Connection::open(path.join(DATABASE)).expect("open");
        for (version, earlier, later) in [(VERSION - 1, true, false), (VERSION + 1, false, true)] {
            connection
                .pragma_update(None, "user_version", version)
                .expect("written");
            let health = examine(path, WITHIN).expect("a database");
            assert_eq!((health.is_earlier(), health.is_later()), (earlier, later));
            assert_eq!(health.version, version);
        }
    }

    #[test]
    fn what_is_damaged_is_told_and_a_deadline_is_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        drop(Store::open(path).expect("a store"));
        let connection = Connection::open(path.join(DATABASE)).expect("open");
        connection
            .execute_batch(
                "CREATE TABLE filling (number INTEGER PRIMARY KEY, text TEXT);
                 INSERT INTO filling (text) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)
                 SELECT hex(randomblob(50)) FROM n; PRAGMA wal_checkpoint(TRUNCATE);",
            )
            .expect("filled");
        drop(connection);
        let health = examine(path, Duration::ZERO).expect("a database");
        assert!(
            health.is_partly_read && health.damage.is_none(),
            "{health:?}"
        );
        let file = fs::OpenOptions::new()
            .write(true)
            .open(path.join(DATABASE))
            .expect("a file");
        let half = file.metadata().expect("a file").len() / 2;
        let page = half / 4096 * 4096;
        file.write_all_at(&[0xa5; 4096], page).expect("written");
        let health = examine(path, WITHIN).expect("a database");
        assert!(health.damage.is_some(), "{health:?}");
    }
}
