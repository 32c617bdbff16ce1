//! The durable queue and ledger.
//!
//! ```text
//! cli ----------------> Store (one connection, blocking)
//! engine --> Ledger --> Store (a thread of its own, group commit)
//!                       Store --> Db (one statement, or a transaction) --> sqlite
//! ```
//!
//! Every change of a task is one transaction that also writes a row of `assignment_history`. The
//! operations are written once, in portable SQL over the narrow trait `Db`; rules are Rust. What
//! only SQLite can do stays in the files `sqlite`, `schema`, `migrate` and `original`.

#[cfg(test)]
mod any_history_tests;
mod attempts;
mod backup;
#[cfg(test)]
mod backup_tests;
mod batches;
#[cfg(test)]
mod batches_tests;
mod claim;
#[cfg(test)]
mod claim_tests;
#[cfg(test)]
mod crash_tests;
mod db;
#[cfg(test)]
mod disk_tests;
mod error;
mod facts;
#[cfg(test)]
mod failing_tests;
mod files;
#[cfg(test)]
mod following_tests;
mod fresh;
#[cfg(any(test, fuzzing))]
#[path = "../../../tests/fuzz/targets/store.rs"]
pub(crate) mod fuzz;
#[cfg(test)]
mod headless_tests;
mod health;
mod history;
#[cfg(test)]
mod history_tests;
mod import;
#[cfg(test)]
mod kept_tests;
mod lanes;
#[cfg(test)]
mod lanes_tests;
mod layout;
mod ledger;
mod manage;
mod migrate;
mod moves;
#[cfg(test)]
mod odd_tests;
mod original;
#[cfg(test)]
mod original_tests;
#[cfg(test)]
mod outputs_tests;
mod pages;
#[cfg(test)]
mod people_tests;
mod policies;
#[cfg(test)]
mod portable_tests;
mod present;
mod queue;
#[cfg(test)]
mod queue_tests;
#[cfg(test)]
mod repair_tests;
mod replies;
#[cfg(test)]
mod rest_tests;
mod restore;
#[cfg(test)]
mod restore_tests;
mod rows;
mod salvage;
#[cfg(test)]
mod salvage_tests;
mod schema;
mod secrets;
mod sessions;
#[cfg(test)]
mod sessions_tests;
#[cfg(test)]
mod shared_tests;
mod sharing;
mod sqlite;
#[cfg(test)]
mod tests;
mod trees;
#[cfg(test)]
mod vfs_tests;
mod wishes;
#[cfg(test)]
mod wishes_tests;

use std::path::{Path, PathBuf};

pub use attempts::{End, Limit, OpenAttempt, Output, Request};
pub use backup::{BackupError, BackupMade, Copied, back_up};
pub use batches::TakenOver;
pub use claim::Claim;
pub use db::DbError;
pub use error::StoreError;
pub use facts::{ConfigFacts, DaemonFacts, Recording, ShadowFacts};
pub use files::{DatabaseFiles, Displaced};
pub use health::{DatabaseHealth, examine, is_current};
pub use history::HistoryRow;
pub use import::Imported;
pub use lanes::{Lane, Rest, Waiting};
pub use ledger::Ledger;
pub use manage::Edit;
pub use policies::{PolicyCause, PolicyEvent, PolicyOrder, PolicyOutcome};
pub use queue::ParentRow;
pub use replies::{Answer, REPLY_DROPPED, Reply};
pub use restore::{Knowledge, RestoreError, Restored, TaskNumbers, repair, restore};
pub use salvage::SalvageError;
pub use schema::VERSION;
pub use secrets::{SHORTEST_SECRET, Secrets, mask};
pub use sessions::{ContextUpdate, SessionRow, present};
pub(crate) use sharing::Sharing;
pub use wishes::{Pause, PauseRow, SessionLabel, labels_of};

use db::{Db, Durability};

/// One connection to the database of a data directory.
///
/// A method that changes something is one transaction, or part of the one that [`Store::group`]
/// holds open. If it fails, it has changed nothing, and the store remains usable.
pub struct Store {
    db: Box<dyn Db>,
    directory: PathBuf,
    files: Option<DatabaseFiles>,
}

impl Store {
    /// Opens the database of a data directory and brings it to the current schema. Creates both if
    /// they are missing, readable only by their owner.
    ///
    /// # Errors
    /// The directory cannot be used, or the file is not one of our databases, or is a newer one.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        Self::open_beside(directory, || false)
    }

    /// The same beside a daemon, which serves the database if `is_served`: a database of an earlier
    /// assigner is then left as it is, because its daemon knows nothing of the current schema.
    ///
    /// # Errors
    /// As for [`Store::open`], or a daemon of an earlier assigner serves the database.
    pub fn open_beside(directory: &Path, is_served: impl Fn() -> bool) -> Result<Self, StoreError> {
        loop {
            let before = DatabaseFiles::of(directory).ok();
            let db = sqlite::Sqlite::open(directory, &is_served)?;
            let files = DatabaseFiles::of(directory).ok();
            // A file that was replaced while it was being opened may not be the one that is open.
            if before.is_none_or(|before| before.are_those(files.as_ref())) {
                return Ok(Self {
                    db: Box::new(db),
                    directory: directory.to_owned(),
                    files,
                });
            }
        }
    }

    /// Returns the files of the database as they were opened; `None` if it is not in files.
    pub fn files(&self) -> Option<DatabaseFiles> {
        self.files.clone()
    }

    /// Runs `work` in one transaction. Its changes are kept unless the commit fails.
    ///
    /// # Errors
    /// The transaction could not be started or committed: none of `work`'s changes are kept.
    pub fn group(&mut self, work: impl FnOnce(&mut Self)) -> Result<(), StoreError> {
        self.begin()?;
        work(self);
        self.finish(Ok(()))
    }

    /// The same, kept in this way, and what is committed afterwards as well.
    fn group_kept(
        &mut self,
        kept: Durability,
        work: impl FnOnce(&mut Self),
    ) -> Result<(), StoreError> {
        self.db.keep(kept)?;
        self.group(work)
    }

    /// Returns a number that changes whenever another connection has changed something.
    ///
    /// # Errors
    /// The database refused.
    pub fn data_version(&mut self) -> Result<i64, StoreError> {
        Ok(self.db.version()?)
    }

    /// Runs `work` in a transaction of its own. If it fails, nothing of it is kept.
    fn atomically<R>(
        &mut self,
        work: impl FnOnce(&mut dyn Db) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        self.begin()?;
        let result = work(&mut *self.db);
        self.finish(result)
    }

    /// Starts a transaction, unless the database is no longer the one of its directory: nobody would
    /// read what is written. Whoever replaces a database holds its lock, so that it is looked at here.
    fn begin(&mut self) -> Result<(), StoreError> {
        self.db.begin()?;
        let Some(what) = self.files.as_mut().and_then(DatabaseFiles::displaced) else {
            return Ok(());
        };
        let _ = self.db.roll_back();
        Err(StoreError::Moved {
            path: self.directory.join(files::DATABASE),
            what,
        })
    }

    /// Commits the innermost transaction, or rolls it back if something failed.
    fn finish<R>(&mut self, result: Result<R, StoreError>) -> Result<R, StoreError> {
        let result = result.and_then(|done| Ok(self.db.commit().map(|()| done)?));
        if result.is_err() {
            // Report the error that led here, not one of the rollback.
            let _ = self.db.roll_back();
        }
        result
    }
}
