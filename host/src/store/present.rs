//! The database that is in its place now: kept aside, and replaced by another.
//!
//! Others may have it open. So one that SQLite can open stays the same file: all its pages are written
//! anew in one transaction, which a crash undoes or leaves done. Only one that nobody can open is replaced
//! by another file.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::backup::{copy_pages, sync_directory};
use super::files::{self, DATABASE};
use super::restore::RestoreError;
use super::salvage::{last_counted, unsound};
use super::schema::VERSION;
use super::sqlite::data_version;
use crate::model::ids::AttemptId;

/// How long to wait for somebody who writes.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pages that are written at once.
const SLICE: i32 = 1024;

/// The database of a directory.
pub(super) struct Present {
    path: PathBuf,
    /// `None` if SQLite cannot open it.
    open: Option<Opened>,
    /// Whether it holds anything.
    pub(super) is_there: bool,
}

struct Opened {
    reader: Connection,
    /// Notices what others commit.
    watcher: Connection,
    seen: i64,
}

/// Where the present database is kept. A copy is removed again if this is dropped, because the database
/// stays; where there is only a second name for it, that stays, too: its log may have that name alone.
pub(super) struct KeptAside(Option<(PathBuf, bool)>);

impl KeptAside {
    /// Keeps it.
    pub(super) fn forget(mut self) -> Option<PathBuf> {
        self.0.take().map(|(path, _)| path)
    }
}

impl Drop for KeptAside {
    fn drop(&mut self) {
        if let Some((path, true)) = &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

/// What changes with each commit to the files of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Imprint(Vec<(u64, i64, i64)>);

impl Imprint {
    /// Takes that of the database in a directory. Files are only looked at: to open and close one would
    /// end the locks that SQLite holds on it.
    pub(super) fn of(directory: &Path) -> Self {
        let files = [DATABASE.to_owned(), format!("{DATABASE}-wal")];
        let found = files
            .iter()
            .filter_map(|name| fs::metadata(directory.join(name)).ok());
        let found = found.filter(|file| file.size() > 0);
        Self(
            found
                .map(|file| (file.size(), file.mtime(), file.mtime_nsec()))
                .collect(),
        )
    }
}

impl Present {
    /// Opens the database of a directory as it is. One that is missing is made, with nothing in it.
    pub(super) fn open(directory: &Path) -> Result<Self, RestoreError> {
        let path = directory.join(DATABASE);
        let holds = |path: &Path| fs::metadata(path).is_ok_and(|file| file.size() > 0);
        let is_there = holds(&path) || holds(&beside(&path, "-wal"));
        let unusable = |source| RestoreError::Keep {
            path: path.clone(),
            source,
        };
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(unusable)?;
        let open = || -> Result<Opened, rusqlite::Error> {
            let connect = || -> Result<Connection, rusqlite::Error> {
                let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let connection = Connection::open_with_flags(&path, flags)?;
                connection.busy_timeout(PATIENCE)?;
                // Otherwise, nobody could look at it while it is written.
                connection.pragma_update(None, "journal_mode", "WAL")?;
                connection.pragma_update(None, "synchronous", "FULL")?;
                Ok(connection)
            };
            let (reader, watcher) = (connect()?, connect()?);
            let seen = data_version(&watcher)?;
            // It reads this moment from here on.
            reader.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema;")?;
            Ok(Opened {
                reader,
                watcher,
                seen,
            })
        };
        // SQLite would remove the log of an empty database, and with it all that is left.
        let is_log_alone = is_there && !holds(&path);
        let open = match (!is_log_alone).then(open) {
            None => None,
            Some(Ok(open)) => Some(open),
            Some(Err(error)) if is_busy(&error) => return Err(RestoreError::Busy { path }),
            Some(Err(error)) => {
                tracing::debug!("the present database cannot be opened: {error}");
                None
            }
        };
        Ok(Self {
            path,
            open,
            is_there,
        })
    }

    /// Returns a connection that reads one moment of it; `None` if SQLite cannot open it.
    pub(super) fn reader(&self) -> Option<&Connection> {
        self.open
            .as_ref()
            .map(|open| &open.reader)
            .filter(|_| self.is_there)
    }

    /// Returns the size of its pages: what replaces it must have the same.
    pub(super) fn page_size(&self) -> i64 {
        let size = self.reader().and_then(|reader| {
            let size = reader.query_row("PRAGMA page_size", [], |row| row.get(0));
            size.ok()
        });
        size.unwrap_or(4096)
    }

    /// Keeps it under another name, with this ending, and returns that name. An earlier one is not
    /// replaced. `None` if there is nothing to keep. A copy is first made in `workshop`.
    pub(super) fn keep(&self, ending: &str, workshop: &Path) -> Result<KeptAside, RestoreError> {
        if !self.is_there {
            return Ok(KeptAside(None));
        }
        let failed = |source: io::Error| RestoreError::Keep {
            path: named(&self.path, ending, 1),
            source,
        };
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let kept = match &self.open {
            Some(open) => {
                let aside = tempfile::NamedTempFile::new_in(workshop).map_err(failed)?;
                let copy = copy_pages(&open.reader, aside.path(), |_| true);
                copy.map_err(|error| failed(io::Error::other(error)))?;
                aside.as_file().sync_all().map_err(failed)?;
                free_name(&self.path, ending, |to| fs::hard_link(aside.path(), to))
            }
            None => {
                let kept = free_name(&self.path, ending, |to| fs::hard_link(&self.path, to));
                let log = beside(&self.path, "-wal");
                if let Ok(kept) = &kept
                    && log.exists()
                {
                    fs::hard_link(log, beside(kept, "-wal")).map_err(failed)?;
                }
                kept
            }
        };
        let kept = kept.map_err(failed)?;
        sync_directory(directory).map_err(failed)?;
        Ok(KeptAside(Some((kept, self.open.is_some()))))
    }

    /// Returns a connection that says what has run: nothing is wrong with the database, this assigner
    /// understands it, and no later attempt has left anything outside of it.
    pub(super) fn witness(&self, last_attempt: Option<AttemptId>) -> Option<&Connection> {
        let reader = self.reader()?;
        let version = reader.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0));
        version
            .ok()
            .filter(|version| (1..=VERSION).contains(version))?;
        let is_older = last_attempt
            .is_some_and(|last| last_counted(reader, "attempts").is_ok_and(|known| known < last.0));
        (!is_older && unsound(reader).is_none()).then_some(reader)
    }

    /// Puts the database at `fresh` in its place, unless somebody has written to it since it was opened:
    /// then nothing happens, and it is false.
    pub(super) fn replace(
        self,
        fresh: &Path,
        mut told: impl FnMut(super::Copied) -> bool,
    ) -> Result<bool, RestoreError> {
        let Self { path, open, .. } = self;
        let directory = path.parent().unwrap_or(Path::new("."));
        let failed = |source| RestoreError::Keep {
            path: path.clone(),
            source,
        };
        let Some(open) = open else {
            // Nobody can have it open for long: SQLite refuses it. Its log must not be taken for one of
            // the new file.
            for ending in ["-wal", "-shm"] {
                let _ = fs::remove_file(beside(&path, ending));
            }
            fs::rename(fresh, &path).map_err(failed)?;
            sync_directory(directory).map_err(failed)?;
            files::make(directory);
            return Ok(true);
        };
        let is_done = overwrite(open, fresh, &mut told).map_err(|error| {
            if is_busy(&error) {
                RestoreError::Busy { path: path.clone() }
            } else {
                RestoreError::Store(error.into())
            }
        })?;
        if is_done {
            files::make(directory);
        }
        Ok(is_done)
    }
}

/// Writes all pages of the database at `fresh` into one that is open, in one transaction.
fn overwrite(
    open: Opened,
    fresh: &Path,
    told: &mut dyn FnMut(super::Copied) -> bool,
) -> Result<bool, rusqlite::Error> {
    let Opened {
        reader: mut target,
        watcher,
        seen,
    } = open;
    target.execute_batch("COMMIT")?;
    let source = Connection::open_with_flags(fresh, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    overwrite_with(
        &source,
        &mut target,
        || Ok(data_version(&watcher)? == seen),
        told,
    )
}

/// The same, if `is_untouched` once others can no longer write.
pub(super) fn overwrite_with(
    source: &Connection,
    target: &mut Connection,
    is_untouched: impl Fn() -> Result<bool, rusqlite::Error>,
    told: &mut dyn FnMut(super::Copied) -> bool,
) -> Result<bool, rusqlite::Error> {
    let slices = Backup::new(source, target)?;
    let mut size = 1;
    let mut tries = 0;
    loop {
        match slices.step(size)? {
            StepResult::Done => break,
            // Somebody else writes: SQLite does not wait here.
            StepResult::Busy | StepResult::Locked if tries < 100 => {
                tries += 1;
                thread::sleep(PATIENCE / 100);
                continue;
            }
            StepResult::More => {}
            _ => {
                let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
                return Err(rusqlite::Error::SqliteFailure(busy, None));
            }
        }
        // From the first step on, nobody else can write.
        if size == 1 && !is_untouched()? {
            return Ok(false);
        }
        size = SLICE;
        let progress = slices.progress();
        let number = |pages| u64::try_from(pages).unwrap_or_default();
        let of = number(progress.pagecount);
        let pages = of - number(progress.remaining).min(of);
        if !told(super::Copied { pages, of }) {
            return Ok(false);
        }
    }
    drop(slices);
    // Otherwise, the log stays as large as the database. It holds what was committed in any case.
    let _ = target.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    Ok(true)
}

fn is_busy(error: &rusqlite::Error) -> bool {
    let codes = [ErrorCode::DatabaseBusy, ErrorCode::DatabaseLocked];
    error
        .sqlite_error_code()
        .is_some_and(|code| codes.contains(&code))
}

/// Makes a file under the first name that is free, and returns that.
fn free_name(
    path: &Path,
    ending: &str,
    make: impl Fn(&Path) -> io::Result<()>,
) -> io::Result<PathBuf> {
    let mut number = 1;
    loop {
        let name = named(path, ending, number);
        match make(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            made => return made.map(|()| name),
        }
    }
}

/// Returns `assigner.db.ENDING`, with the number added if it is not 1.
fn named(path: &Path, ending: &str, number: usize) -> PathBuf {
    let number = if number > 1 {
        number.to_string()
    } else {
        String::new()
    };
    beside(path, &format!(".{ending}{number}"))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
