//! A copy of the queue, made while others write to it.
//!
//! The pages are copied in slices from one moment of the database: a reader of a WAL holds up nobody.
//! After each slice, others get the disk for as long as it took.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use serde::Serialize;
use tempfile::NamedTempFile;
use thiserror::Error;

use super::files::{self, DATABASE};
use super::{StoreError, sqlite};

/// The pages of a slice: a megabyte.
const SLICE: i32 = 256;

/// After how many slices they are brought to the disk. Whoever commits meanwhile waits for all that is not.
const SYNCED: usize = 16;

/// How long others get the disk after a slice, at least and at most.
const LEAST_PAUSE: Duration = Duration::from_millis(1);
const MOST_PAUSE: Duration = Duration::from_millis(100);

/// How far a copy is, in pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// How many are copied.
    pub pages: u64,
    /// How many there are.
    pub of: u64,
}

/// What is in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackupMade {
    /// How many tasks.
    pub tasks: u64,
    /// Its size.
    pub bytes: u64,
}

/// Why no backup was made.
#[derive(Debug, Error)]
pub enum BackupError {
    /// There is a file of that name.
    #[error("`{path}` exists already: choose another name, or replace it with --force", path = path.display())]
    Exists {
        /// Its path.
        path: PathBuf,
    },
    /// There is something else of that name.
    #[error("`{path}` is no regular file, and is not replaced: choose another name", path = path.display())]
    NoFile {
        /// Its path.
        path: PathBuf,
    },
    /// It would be beside the queue.
    #[error("`{path}` is in the directory of the queue, and would be lost with it: choose another place", path = path.display())]
    Beside {
        /// Its path.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("cannot write the backup `{path}`: {source}", path = path.display())]
    Write {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The database cannot be read, or the copy cannot be written.
    #[error("cannot copy `{database}` to `{path}`: {source}", database = database.display(), path = path.display())]
    Copy {
        /// The database.
        database: PathBuf,
        /// The path of the backup.
        path: PathBuf,
        /// The database's error.
        source: super::DbError,
    },
    /// The database is damaged, so the copy is.
    #[error("`{path}` is damaged ({what}), so no backup was made: `assigner repair` keeps what can be read", path = path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        what: String,
    },
    /// A person ended it.
    #[error("interrupted: no backup was made")]
    Interrupted,
    /// There is no queue that can be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Copies the queue of a directory into a file of its own, for this user alone, and returns once that is
/// on disk. An existing file is replaced only by `force`. After each slice it asks `goes_on`.
///
/// The queue may be of an earlier assigner, and is not migrated.
///
/// # Errors
/// The file is refused, the queue cannot be read, the disk is full, or `goes_on` said no: there is no new
/// file, and an existing one is as it was.
pub fn back_up(
    directory: &Path,
    path: &Path,
    force: bool,
    goes_on: impl FnMut(Copied) -> bool,
) -> Result<BackupMade, BackupError> {
    let failed = |source| BackupError::Write {
        path: path.to_owned(),
        source,
    };
    let place = place(directory, path, force)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let prefix: String = name.chars().take(40).collect();
    let aside = tempfile::Builder::new()
        .prefix(&format!(".{prefix}."))
        .suffix(".part")
        .tempfile_in(&place)
        .map_err(failed)?;
    let tasks = copy(directory, path, &aside, goes_on)?;
    let file = aside.as_file();
    file.sync_all().map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.size();
    if force {
        aside.persist(path).map_err(|error| failed(error.error))?;
    } else {
        aside.persist_noclobber(path).map_err(|error| {
            if error.error.kind() == io::ErrorKind::AlreadyExists {
                let path = path.to_owned();
                return BackupError::Exists { path };
            }
            failed(error.error)
        })?;
    }
    sync_directory(&place).map_err(failed)?;
    Ok(BackupMade { tasks, bytes })
}

/// Returns the directory of a backup, if a file of this name may be made in it.
fn place(directory: &Path, path: &Path, force: bool) -> Result<PathBuf, BackupError> {
    let owned = || path.to_owned();
    let failed = |source| BackupError::Write {
        path: owned(),
        source,
    };
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(BackupError::NoFile { path: owned() }),
    };
    let place = parent.canonicalize().map_err(failed)?;
    if directory
        .canonicalize()
        .is_ok_and(|queue| place.starts_with(queue))
    {
        return Err(BackupError::Beside { path: owned() });
    }
    match path.symlink_metadata() {
        Ok(found) if !found.is_file() => Err(BackupError::NoFile { path: owned() }),
        Ok(_) if !force => Err(BackupError::Exists { path: owned() }),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ if path.file_name().is_none() => Err(BackupError::NoFile { path: owned() }),
        _ => Ok(place),
    }
}

/// Copies the database into an empty file, checks the copy, and returns how many tasks are in it.
fn copy(
    directory: &Path,
    path: &Path,
    aside: &NamedTempFile,
    mut goes_on: impl FnMut(Copied) -> bool,
) -> Result<u64, BackupError> {
    let database = directory.join(DATABASE);
    let failed = |source: rusqlite::Error| BackupError::Copy {
        database: database.clone(),
        path: path.to_owned(),
        source: source.into(),
    };
    let source = open_queue(directory)?;
    let (mut began, mut slices, mut synced) = (Instant::now(), 0_usize, Ok(()));
    let goes_on = |copied| {
        slices += 1;
        if slices.is_multiple_of(SYNCED) {
            synced = aside.as_file().sync_data();
        }
        thread::sleep(began.elapsed().clamp(LEAST_PAUSE, MOST_PAUSE));
        began = Instant::now();
        synced.is_ok() && goes_on(copied)
    };
    let target = copy_pages(&source, aside.path(), goes_on).map_err(failed)?;
    synced.map_err(|source| BackupError::Write {
        path: path.to_owned(),
        source,
    })?;
    let target = target.ok_or(BackupError::Interrupted)?;
    let check = target.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0));
    let what: String = check.unwrap_or_else(|error| error.to_string());
    if what != "ok" {
        let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
        return Err(BackupError::Damaged {
            path: database,
            what,
        });
    }
    let count = "SELECT count(*) FROM tasks";
    let tasks = target.query_row(count, [], |row| row.get::<_, i64>(0));
    let tasks = tasks.map_err(failed)?;
    target.close().map_err(|(_, error)| failed(error))?;
    Ok(u64::try_from(tasks).unwrap_or_default())
}

/// Copies the pages of one moment of a database into an empty file, unless `goes_on` says no after a
/// slice. The copy needs no files beside it.
pub(super) fn copy_pages(
    source: &Connection,
    aside: &Path,
    mut goes_on: impl FnMut(Copied) -> bool,
) -> Result<Option<Connection>, rusqlite::Error> {
    if source.is_autocommit() {
        // From here on it reads one moment of the database, whatever others write.
        source.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema;")?;
    }
    let mut target = Connection::open(aside)?;
    // What is half done is not kept: it needs no journal.
    target.execute_batch(
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;",
    )?;
    let slices = Backup::new(source, &mut target)?;
    while slices.step(SLICE)? != StepResult::Done {
        let progress = slices.progress();
        let number = |pages| u64::try_from(pages).unwrap_or_default();
        let of = number(progress.pagecount);
        let pages = of.saturating_sub(number(progress.remaining));
        if !goes_on(Copied { pages, of }) {
            return Ok(None);
        }
    }
    drop(slices);
    // A database in WAL mode would need files beside it to be read.
    target.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
    Ok(Some(target))
}

/// Opens the database of a directory as it is, to read it.
pub(super) fn open_queue(directory: &Path) -> Result<Connection, StoreError> {
    let path = directory.join(DATABASE);
    if let Some(how) = files::lost(directory) {
        let made = files::made(directory);
        return Err(StoreError::Lost { path, how, made });
    }
    if let Err(source) = fs::metadata(&path) {
        return Err(match source.kind() {
            io::ErrorKind::NotFound => StoreError::NoQueue { path },
            _ => StoreError::Directory { path, source },
        });
    }
    let open = || -> Result<(Connection, bool), rusqlite::Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags)?;
        connection.busy_timeout(sqlite::BUSY)?;
        connection.pragma_update(None, "query_only", true)?;
        let tasks =
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'tasks')";
        let is_ours = connection.query_row(tasks, [], |row| row.get(0))?;
        Ok((connection, is_ours))
    };
    match open() {
        Ok((connection, true)) => Ok(connection),
        Ok((_, false)) => Err(StoreError::Foreign { path }),
        Err(error) => {
            let source = error.into();
            Err(StoreError::Open { path, source })
        }
    }
}

/// Has the names in a directory on disk.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}
