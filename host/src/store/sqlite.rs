//! The dialect of SQLite: one file in WAL mode with full synchronisation.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, Statement, ToSql};

use super::db::{Db, DbError, Durability, Row, Value};
use super::files::{self, DATABASE};
use super::{StoreError, migrate};

use crate::files::private::{self, NotPrivate};

/// How long an operation waits for a busy database. Writers hold it for milliseconds; a minute
/// means that something is badly stuck.
pub(super) const BUSY: Duration = Duration::from_secs(60);

/// What to do about a file that SQLite cannot read.
const DAMAGED: &str = "`assigner repair` keeps what can be read of a queue, `assigner restore` puts a backup in its place";

/// How many statements stay prepared: more than a daemon uses.
const PREPARED: usize = 128;

/// One connection to a file.
pub(super) struct Sqlite {
    connection: Connection,
    /// How many transactions are open, one inside the other.
    depth: usize,
    kept: Durability,
}

impl Sqlite {
    /// Opens the database `assigner.db` in `directory` and brings it to the current schema. Creates
    /// both if they are missing, readable only by their owner.
    ///
    /// # Errors
    /// The directory cannot be used, or the file is not one of our databases, or is a newer one.
    pub(super) fn open(
        directory: &Path,
        is_served: impl FnOnce() -> bool,
    ) -> Result<Self, StoreError> {
        if let Some(how) = files::lost(directory) {
            return Err(StoreError::Lost {
                path: directory.join(DATABASE),
                how,
                made: files::made(directory),
            });
        }
        let opened = Self::open_with(directory, is_served, |path| Connection::open(path))?;
        files::make(directory);
        Ok(opened)
    }

    /// The same, with `connect` opening the file: tests have disks of their own.
    pub(super) fn open_with(
        directory: &Path,
        is_served: impl FnOnce() -> bool,
        connect: impl Fn(&Path) -> Result<Connection, rusqlite::Error>,
    ) -> Result<Self, StoreError> {
        let unusable = |source| StoreError::Directory {
            path: directory.to_owned(),
            source,
        };
        private::directory(directory).map_err(|error| match error {
            NotPrivate::Io(source) => unusable(source),
            other => StoreError::NotPrivate(other),
        })?;
        let path = directory.join(DATABASE);
        // SQLite gives its -wal and -shm files the mode of the database.
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(unusable)?;
        let open = || -> Result<Connection, rusqlite::Error> {
            let connection = connect(&path)?;
            connection.busy_timeout(BUSY)?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.set_prepared_statement_cache_capacity(PREPARED);
            Ok(connection)
        };
        let mut connection = patiently(open).map_err(|error| StoreError::Open {
            path: path.clone(),
            source: error.into(),
        })?;
        migrate::migrate(&mut connection, &path, is_served)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        Ok(Self {
            connection,
            depth: 0,
            kept: Durability::AtOnce,
        })
    }

    fn run(&self, sql: &str) -> Result<(), DbError> {
        self.connection.prepare_cached(sql)?.raw_execute()?;
        Ok(())
    }
}

impl Db for Sqlite {
    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<usize, DbError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        bind(&mut statement, values)?;
        Ok(statement.raw_execute()?)
    }

    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, DbError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        bind(&mut statement, values)?;
        let columns = statement.column_names().into_iter();
        let columns: Rc<[String]> = columns.map(str::to_owned).collect();
        let mut rows = statement.raw_query();
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let values = (0..columns.len()).map(|index| Ok(row.get_ref(index)?.into()));
            let values: Result<_, rusqlite::Error> = values.collect();
            found.push(Row::new(Rc::clone(&columns), values?));
        }
        Ok(found)
    }

    fn begin(&mut self) -> Result<(), DbError> {
        match self.depth {
            0 => self.run("BEGIN IMMEDIATE")?,
            // Some errors (a full disk) make SQLite roll everything back. What follows must not be
            // kept without what came before it.
            _ if self.connection.is_autocommit() => {
                return Err(DbError::new("the transaction was rolled back"));
            }
            _ => self.run("SAVEPOINT step")?,
        }
        self.depth += 1;
        Ok(())
    }

    fn commit(&mut self) -> Result<(), DbError> {
        self.run(if self.depth > 1 {
            "RELEASE step"
        } else {
            "COMMIT"
        })?;
        self.depth -= 1;
        Ok(())
    }

    fn roll_back(&mut self) -> Result<(), DbError> {
        self.depth -= 1;
        if self.connection.is_autocommit() {
            return Ok(());
        }
        if self.depth > 0 {
            self.run("ROLLBACK TO step")?;
            self.run("RELEASE step")
        } else {
            self.run("ROLLBACK")
        }
    }

    fn keep(&mut self, kept: Durability) -> Result<(), DbError> {
        if self.kept != kept {
            // All commits go to one log, in their order.
            self.run(match kept {
                Durability::Soon => "PRAGMA synchronous = NORMAL",
                Durability::AtOnce => "PRAGMA synchronous = FULL",
            })?;
            self.kept = kept;
        }
        Ok(())
    }

    fn version(&mut self) -> Result<i64, DbError> {
        Ok(data_version(&self.connection)?)
    }

    fn by_index(&self, index: &'static str) -> String {
        by_index(index)
    }
}

/// Whoever collects statistics of an unusual queue would let SQLite read all of a later one.
pub(super) fn by_index(index: &str) -> String {
    format!("INDEXED BY {index}")
}

/// Returns SQLite's counter of changes by other connections.
pub(super) fn data_version(connection: &Connection) -> Result<i64, rusqlite::Error> {
    connection.query_row("PRAGMA data_version", [], |row| row.get(0))
}

/// Binds `$1` to the first value, and so on. To SQLite these are names, which it numbers in the
/// order in which they occur.
fn bind(statement: &mut Statement<'_>, values: &[Value]) -> Result<(), DbError> {
    for index in 1..=statement.parameter_count() {
        let name = statement.parameter_name(index).unwrap_or_default();
        let number: Option<usize> = name.strip_prefix('$').and_then(|name| name.parse().ok());
        let value = number.and_then(|number| values.get(number.checked_sub(1)?));
        let value =
            value.ok_or_else(|| DbError::new(format!("the parameter `{name}` has no value")))?;
        statement.raw_bind_parameter(index, value)?;
    }
    Ok(())
}

impl ToSql for Value {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>, rusqlite::Error> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl From<ValueRef<'_>> for Value {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(number) => Self::Integer(number),
            ValueRef::Real(number) => Self::Real(number),
            ValueRef::Text(bytes) => match str::from_utf8(bytes) {
                Ok(text) => Self::Text(text.to_owned()),
                Err(_) => Self::Bytes(bytes.to_vec()),
            },
            ValueRef::Blob(bytes) => Self::Bytes(bytes.to_vec()),
        }
    }
}

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> Self {
        let code = error.sqlite_error().map(|error| error.extended_code);
        // Without room for the memory that its connections share, SQLite tells of the error alone.
        if code == Some(rusqlite::ffi::SQLITE_IOERR_SHMSIZE) {
            return Self::new(format!("{error}: is the disk full?"));
        }
        let is_damaged = [ErrorCode::DatabaseCorrupt, ErrorCode::NotADatabase];
        if error
            .sqlite_error_code()
            .is_some_and(|code| is_damaged.contains(&code))
        {
            return Self::new(format!("{error}: {DAMAGED}"));
        }
        Self::new(error)
    }
}

/// Returns what SQLite says, in one line and without advice.
pub(super) fn plainly(error: &rusqlite::Error) -> String {
    error
        .to_string()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error.into())
    }
}

/// Tries again while another connection is creating the file: SQLite itself does not wait when two
/// connections change the journal mode.
fn patiently<R>(
    mut open: impl FnMut() -> Result<R, rusqlite::Error>,
) -> Result<R, rusqlite::Error> {
    let deadline = Instant::now() + BUSY;
    loop {
        match open() {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < deadline =>
            {
                thread::sleep(Duration::from_millis(2));
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::db::values;
    use super::*;

    fn database() -> (tempfile::TempDir, Sqlite) {
        let directory = tempfile::tempdir().expect("a directory");
        let database = Sqlite::open(directory.path(), || false).expect("a database");
        (directory, database)
    }

    #[test]
    fn parameters_are_bound_by_their_numbers() {
        let (_directory, mut database) = database();
        let row = database.query_one(
            "SELECT $2 || $1 || $2 AS text, $3 AS bytes",
            values!["a", "b", [255_u8].as_slice()],
        );
        let row = row.expect("a row").expect("one");
        assert_eq!(row.get::<String>("text").expect("text"), "bab");
        assert_eq!(row.get::<Vec<u8>>("bytes").expect("bytes"), [255]);
        let missing = database.query("SELECT $2", values!["a"]);
        let missing = missing.expect_err("no second value").to_string();
        assert!(missing.contains("`$2`"), "{missing}");
    }

    fn insert(database: &mut Sqlite, number: i64) -> Result<(), DbError> {
        database.begin()?;
        let done = database.execute("INSERT INTO t VALUES ($1)", values![number]);
        match done.and_then(|_| database.commit()) {
            Ok(()) => Ok(()),
            Err(error) => database.roll_back().and(Err(error)),
        }
    }

    /// If SQLite gives up a whole transaction, nothing that follows is kept by itself.
    #[test]
    fn a_transaction_that_was_lost_is_lost_as_a_whole() {
        let (_directory, mut database) = database();
        database
            .connection
            .execute_batch(
                "CREATE TABLE t (n INTEGER UNIQUE);
                 CREATE TRIGGER spoil BEFORE INSERT ON t WHEN NEW.n = 7
                    BEGIN SELECT raise(ROLLBACK, 'no'); END",
            )
            .expect("made");
        insert(&mut database, 1).expect("inserted");
        insert(&mut database, 1).expect_err("not unique");
        insert(&mut database, 2).expect("the database is still usable");
        database.begin().expect("begun");
        insert(&mut database, 3).expect("inserted");
        insert(&mut database, 3).expect_err("not unique");
        insert(&mut database, 7).expect_err("rolled back");
        insert(&mut database, 4).expect_err("the transaction was lost");
        database.commit().expect_err("there is nothing to commit");
        database.roll_back().expect("nothing to roll back");
        let rows = database.query("SELECT n FROM t ORDER BY n", &[]);
        assert_eq!(rows.expect("rows").len(), 2);
        database.begin().expect("begun");
        database.commit().expect("committed");
    }

    #[test]
    fn a_file_that_is_being_made_is_tried_again_and_no_other() {
        let failure = |code| rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
        let mut tries = 0;
        let opened = patiently(|| {
            tries += 1;
            if tries < 3 {
                Err(failure(rusqlite::ffi::SQLITE_BUSY))
            } else {
                Ok(tries)
            }
        });
        assert_eq!(opened.expect("opened in the end"), 3);
        let mut tries = 0;
        let broken = patiently(|| {
            tries += 1;
            assert_eq!(tries, 1, "it does not become a database");
            Err::<(), _>(failure(rusqlite::ffi::SQLITE_NOTADB))
        });
        assert!(broken.is_err());
    }
}
