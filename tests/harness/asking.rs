//! What the queue tells, asked for no more often than it can have changed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::{DEADLINE, SOONEST, World, agents, text, within};

/// How late it is asked again whether something has happened that nothing tells.
const RARELY: Duration = Duration::from_millis(800);

/// How late a command is asked for a status if a query says that it has not changed.
const SELDOM: Duration = Duration::from_secs(2);

impl World {
    /// Like [`eventually`], for what the queue tells.
    #[track_caller]
    pub(crate) fn eventually<T>(&self, ask: impl FnMut() -> Result<T, String>) -> T {
        self.within(DEADLINE, ask)
    }

    /// Like [`patiently`](agents::patiently), for what the queue tells.
    #[track_caller]
    pub(crate) fn patiently<T>(&self, ask: impl FnMut() -> Result<T, String>) -> T {
        self.within(agents::PATIENCE, ask)
    }

    /// Like [`within`], for what the queue tells: asked again once anything has been written there, since
    /// each question is a process, and after a while in any case.
    #[track_caller]
    pub(crate) fn within<T>(
        &self,
        limit: Duration,
        mut ask: impl FnMut() -> Result<T, String>,
    ) -> T {
        within(limit, || {
            let before = self.written();
            let answer = ask();
            let asked = Instant::now();
            while answer.is_err() && asked.elapsed() < RARELY && self.written() == before {
                thread::sleep(SOONEST);
            }
            answer
        })
    }

    /// Returns the files of the data directory, with their lengths and the times of their last change.
    fn written(&self) -> BTreeMap<OsString, (u64, Option<SystemTime>)> {
        let entries = fs::read_dir(&self.data).into_iter().flatten().flatten();
        entries
            // Whoever reads writes there, too.
            .filter(|entry| !text(&entry.path()).ends_with("-shm"))
            .filter_map(|entry| {
                let found = entry.metadata().ok()?;
                Some((entry.file_name(), (found.len(), found.modified().ok())))
            })
            .collect()
    }

    /// Looks whether the status that a row has may be the one that is waited for: a query costs less than
    /// a process, and whether that agrees is asked from time to time. It is an error if it is not.
    pub(super) fn is_stored(
        &self,
        row: &str,
        key: impl rusqlite::ToSql,
        is_it: impl Fn(&str) -> bool,
    ) -> Result<(), String> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let database = rusqlite::Connection::open_with_flags(self.data.join("assigner.db"), flags);
        let query = format!("SELECT status FROM {row} = ?1");
        let stored = database
            .and_then(|database| database.query_row(&query, [key], |row| row.get::<_, String>(0)));
        let mut asked = self.asked.lock().expect("a lock");
        match stored {
            Ok(stored) if !is_it(&stored) && asked.elapsed() < SELDOM => Err(stored),
            _ => {
                *asked = Instant::now();
                Ok(())
            }
        }
    }
}
