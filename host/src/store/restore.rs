//! A backup in the place of the queue, and what is left of a damaged queue.
//!
//! ```text
//! file -- rows --> a new database -- what may have run is doubted --> in the place of the present one
//! ```
//!
//! No task runs twice because of it. A task that waits in a backup may have run since. It goes on waiting
//! only if the present database shows that it still waits there, or if a person says that nothing has run.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use tempfile::TempDir;
use thiserror::Error;

use super::StoreError;
use super::backup::Copied;
use super::files::{self, DATABASE};
use super::fresh::{Doubts, Fresh, SeenTask, counters_of};
use super::pages::Pages;
use super::present::{Imprint, Present};
use super::salvage::{Care, SalvageError, salvage, unsound};
use super::schema::VERSION;
use crate::files::private;
use crate::model::ids::{AttemptId, TaskId};

/// How often it is tried again because somebody has written to the queue in the meantime.
const TRIES: usize = 5;

/// How many numbers of tasks are told one by one.
pub(super) const TOLD: usize = 1000;

/// The endings of what is kept.
const BEFORE: &str = "before-restore";
const DAMAGED: &str = "damaged";

/// Where new databases are made, in the directory of the queue.
const WORKSHOP: &str = "restore.";

/// Why the queue is as it was.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] SalvageError),
    /// The file is the queue.
    #[error("`{path}` is the queue itself", path = path.display())]
    Itself {
        /// Its path.
        path: PathBuf,
    },
    /// Nothing is left.
    #[error("nothing of `{path}` can be read: `assigner restore FILE` puts a backup in its place", path = path.display())]
    Nothing {
        /// Its path.
        path: PathBuf,
    },
    /// Others write to the queue without a pause.
    #[error("others write to `{path}`, so nothing was changed: end them and try again", path = path.display())]
    Busy {
        /// Its path.
        path: PathBuf,
    },
    /// The present database cannot be kept, so it is not replaced.
    #[error("cannot write `{path}`: {source}", path = path.display())]
    Keep {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The new database cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for RestoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// What a person says of a restoration, and what is known beside the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Knowledge {
    /// Whether tasks that wait have certainly not run.
    pub trusts_pending: bool,
    /// The last attempt that left anything outside of the database.
    pub last_attempt: Option<AttemptId>,
    /// The time.
    pub now: Timestamp,
}

/// Numbers of tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TaskNumbers {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub ids: Vec<TaskId>,
}

impl TaskNumbers {
    pub(super) fn add(&mut self, id: TaskId) {
        self.count += 1;
        if self.ids.len() < TOLD {
            self.ids.push(id);
        }
    }
}

/// What became of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// The time of the last entry in its history.
    pub last_entry: Option<Timestamp>,
    /// How many tasks there are.
    pub tasks: u64,
    /// How many of them wait.
    pub pending: u64,
    /// Those that may have run, and now wait for a person.
    pub uncertain: TaskNumbers,
    /// Those that are not there: they came after the backup, or could not be read.
    pub missing: TaskNumbers,
    /// The last task that is known of, if it is not known whether others came after it.
    pub unknown_after: Option<TaskId>,
    /// Where the database of before is.
    #[serde(serialize_with = "as_text")]
    pub kept: Option<PathBuf>,
    /// Whether that could be read, so that tasks could be compared.
    pub compared: bool,
    /// What could not be read, in words.
    pub lost: Option<String>,
    /// What others had added to the database, which is not in the new one.
    pub left_out: Vec<String>,
}

/// Writes a path as text: JSON has no place for other bytes.
fn as_text<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    path.as_ref()
        .map(|path| path.to_string_lossy())
        .serialize(to)
}

/// Puts a backup in the place of the queue of a directory. The caller holds the lock of the daemon.
///
/// # Errors
/// The file is no whole backup, others write to the queue, or the disk is full: the queue is as it was.
pub fn restore(
    directory: &Path,
    file: &Path,
    knowledge: Knowledge,
    mut told: impl FnMut(Copied) -> bool,
) -> Result<Restored, RestoreError> {
    private::directory(directory).map_err(StoreError::NotPrivate)?;
    if is_queue(directory, file) {
        let path = file.to_owned();
        return Err(RestoreError::Itself { path });
    }
    let gave_numbers = files::lost(directory).is_some();
    for _ in 0..TRIES {
        let workshop = workshop(directory)?;
        let present = Present::open(directory)?;
        let mut read = |copied| {
            told(copied);
        };
        let size = present.page_size();
        let salvaged = salvage(file, workshop.path(), Care::All, size, &mut read)?;
        let reader = present.reader();
        let witness = present.witness(knowledge.last_attempt);
        // It may be of an earlier assigner that kept less.
        let witness = witness.filter(|witness| SeenTask::of(witness, TaskId(0)).is_ok());
        let compared = witness.is_some();
        let mut fresh = Fresh::open(&workshop, &salvaged)?;
        let doubts = Doubts {
            knowledge,
            witness,
            is_known: false,
            because: fresh.because_of_backup(),
        };
        let is_new = !present.is_there && !gave_numbers;
        let counters = reader.and_then(|reader| counters_of(reader).ok());
        fresh.end_batches(counters.as_deref())?;
        fresh.judge(&doubts)?;
        fresh.count_missing(reader)?;
        let details = format!("from `{}`", file.display());
        let sealed = fresh.seal("restored", &details, counters, is_new, knowledge)?;
        let kept = present.keep(BEFORE, workshop.path())?;
        if present.replace(&workshop.path().join(DATABASE), &mut told)? {
            return Ok(Restored {
                kept: kept.forget(),
                compared,
                ..sealed
            });
        }
    }
    let path = directory.join(DATABASE);
    Err(RestoreError::Busy { path })
}

/// Puts what can be read of the queue of a directory in its place. The caller holds the lock of the daemon.
/// `None` if nothing is wrong with it.
///
/// # Errors
/// Nothing can be read, others write to the queue, or the disk is full: the queue is as it was.
pub fn repair(
    directory: &Path,
    knowledge: Knowledge,
    mut told: impl FnMut(Copied) -> bool,
) -> Result<Option<Restored>, RestoreError> {
    private::directory(directory).map_err(StoreError::NotPrivate)?;
    let path = directory.join(DATABASE);
    if !path.exists() {
        return Err(match files::lost(directory) {
            Some(_) => RestoreError::Nothing { path },
            None => StoreError::NoQueue { path }.into(),
        });
    }
    // SQLite clears a log as soon as it opens it, and says nothing of what it left out.
    let is_cut = Pages::open(&path).is_ok_and(|pages| pages.has_broken_log());
    for _ in 0..TRIES {
        let present = Present::open(directory)?;
        let page_size = present.page_size();
        let damage = match present.reader() {
            Some(reader) => {
                let version: i64 = reader.query_row("PRAGMA user_version", [], |row| row.get(0))?;
                if version > VERSION {
                    let known = VERSION;
                    return Err(StoreError::Newer {
                        path,
                        found: version,
                        known,
                    }
                    .into());
                }
                match unsound(reader) {
                    None if version == 0 => return Err(StoreError::Foreign { path }.into()),
                    None => return Ok(None),
                    damage => damage,
                }
            }
            None => None,
        };
        // To close a file that SQLite has open would end its locks.
        drop(present);
        let imprint = Imprint::of(directory);
        let workshop = workshop(directory)?;
        let mut read = |copied| {
            told(copied);
        };
        let place = workshop.path();
        let left = salvage(&path, place, Care::WhatIsLeft, page_size, &mut read);
        let mut salvaged = match left {
            Err(SalvageError::NoQueue { .. }) => return Err(RestoreError::Nothing { path }),
            salvaged => salvaged?,
        };
        salvaged.is_cut |= is_cut;
        if salvaged.rows.is_empty() {
            return Err(RestoreError::Nothing { path });
        }
        let mut fresh = Fresh::open(&workshop, &salvaged)?;
        let is_known = salvaged.is_telling() && fresh.knows(knowledge.last_attempt)?;
        let doubts = Doubts {
            knowledge,
            witness: None,
            is_known,
            because: "its database was damaged and repaired".to_owned(),
        };
        fresh.end_batches(None)?;
        fresh.unblock()?;
        fresh.judge(&doubts)?;
        fresh.count_gaps(salvaged.is_counted)?;
        let lost = salvaged
            .lost()
            .or(damage.map(|what| format!("nothing ({what})")));
        let details = format!("not read: {}", lost.as_deref().unwrap_or("nothing"));
        let counters = salvaged.is_counted.then(Vec::new);
        let sealed = fresh.seal("repaired", &details, counters, false, knowledge)?;
        let present = Present::open(directory)?;
        if Imprint::of(directory) != imprint {
            continue;
        }
        let kept = present.keep(DAMAGED, workshop.path())?;
        if present.replace(&workshop.path().join(DATABASE), &mut told)? {
            return Ok(Some(Restored {
                kept: kept.forget(),
                lost,
                ..sealed
            }));
        }
    }
    Err(RestoreError::Busy { path })
}

/// Whether a file is the database of a directory, under whatever name.
fn is_queue(directory: &Path, file: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino()));
    let queue = identity(&directory.join(DATABASE));
    matches!((queue, identity(file)), (Ok(queue), Ok(file)) if queue == file)
}

/// Makes a directory for a new database, and removes those that were left behind.
fn workshop(directory: &Path) -> Result<TempDir, RestoreError> {
    let failed = |source| RestoreError::Keep {
        path: directory.join(WORKSHOP),
        source,
    };
    for entry in fs::read_dir(directory).map_err(failed)?.flatten() {
        let name = entry.file_name();
        let is_ours = name.to_str().is_some_and(|name| name.starts_with(WORKSHOP));
        if is_ours && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    tempfile::Builder::new()
        .prefix(WORKSHOP)
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(directory)
        .map_err(failed)
}
