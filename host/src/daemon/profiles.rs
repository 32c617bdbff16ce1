//! Profiles of agents that a person changes while the daemon runs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;

use crate::agents::Catalog;
use crate::agents::catalog::CatalogError;

/// How often their files are looked at. A file that was written a moment ago is read at the next
/// look, because many programs write a file in pieces.
const LOOK: Duration = Duration::from_millis(500);

/// The maximum number of files that are looked at.
const MOST: usize = 1_000;

/// The profiles, and the errors of those that were left out.
type LoadedProfiles = (Catalog, Vec<CatalogError>);

/// What identifies the state of a file without reading it: its name, its size, when it was written,
/// and its inode.
type ProfileStamp = (PathBuf, u64, (i64, i64), u64);

/// Looks at a person's profiles on a thread of its own, which ends when this is dropped.
pub(super) struct Profiles {
    changed: Receiver<LoadedProfiles>,
    _alive: Arc<()>,
}

impl Profiles {
    /// Looks at `directory` from now on, and wakes the daemon when something has changed there.
    pub(super) fn watch(directory: PathBuf, wake: Arc<Notify>) -> Self {
        let (tell, changed) = mpsc::channel();
        let alive = Arc::new(());
        let guard = Arc::downgrade(&alive);
        let look = move || {
            let heard = |loaded| {
                let heard = tell.send(loaded).is_ok();
                wake.notify_one();
                heard
            };
            follow(&directory, &guard, heard);
        };
        let thread = thread::Builder::new().name("profiles".to_owned());
        if let Err(error) = thread.spawn(look) {
            tracing::warn!("changes to profiles are not noticed: {error}");
        }
        Self {
            changed,
            _alive: alive,
        }
    }

    /// Returns the current profiles if they have changed since the last call.
    pub(super) fn changed(&self) -> Option<LoadedProfiles> {
        self.changed.try_iter().last()
    }
}

/// Reports each change until nobody listens any more.
fn follow(directory: &Path, alive: &Weak<()>, tell: impl Fn(LoadedProfiles) -> bool) {
    let mut read = stamps(directory);
    let mut seen = read.clone();
    while alive.strong_count() > 0 {
        thread::sleep(LOOK);
        let now = stamps(directory);
        let stands_still = now == seen;
        seen = now;
        if stands_still && seen != read {
            read.clone_from(&seen);
            if !tell(Catalog::load(directory)) {
                return;
            }
        }
    }
}

fn stamps(directory: &Path) -> Vec<ProfileStamp> {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    let stamped = files.take(MOST).filter_map(|file| {
        let path = file.path();
        let metadata = fs::metadata(&path).ok()?;
        let written = (metadata.mtime(), metadata.mtime_nsec());
        Some((path, metadata.len(), written, metadata.ino()))
    });
    let mut stamps: Vec<ProfileStamp> = stamped.collect();
    stamps.sort();
    stamps
}
