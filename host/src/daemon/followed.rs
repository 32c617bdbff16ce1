//! Files that a person changes while the daemon runs, and what is read from them again then.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;

/// How often files are looked at. A file that was written a moment ago is read at the next look, because
/// many programs write a file in pieces.
const LOOK: Duration = Duration::from_millis(500);

/// What identifies the state of a file without reading it: its size, when it and its permissions were
/// changed, its inode and its device.
type Stamp = [i128; 5];

/// The state of files at one moment; one that is not there has no stamp.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct FilesSeen(Vec<(PathBuf, Option<Stamp>)>);

impl FilesSeen {
    /// Looks at `files`.
    pub(super) fn now(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let nanoseconds =
            |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        let stamped = files.into_iter().map(|path| {
            let stamp = fs::metadata(&path).ok().map(|file| {
                [
                    i128::from(file.len()),
                    nanoseconds(file.mtime(), file.mtime_nsec()),
                    nanoseconds(file.ctime(), file.ctime_nsec()),
                    i128::from(file.ino()),
                    i128::from(file.dev()),
                ]
            });
            (path, stamp)
        });
        let mut seen: Vec<_> = stamped.collect();
        seen.sort();
        Self(seen)
    }
}

/// When files are to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// When they have changed.
    WhenChanged,
    /// At the next look: they could not be read.
    Soon,
}

/// Looks at files on a thread of its own, which ends when this is dropped: a file system that hangs holds
/// up nothing else.
pub(super) struct Followed<T> {
    changed: Receiver<T>,
    _alive: Arc<()>,
}

impl<T: Send + 'static> Followed<T> {
    /// Calls `load` when the files are not as they were `read` and stand still, and wakes the daemon. If it
    /// also says that it may find something else soon, it is called again. `name` is that of the thread.
    pub(super) fn start(
        name: &str,
        read: FilesSeen,
        files: impl Fn() -> FilesSeen + Send + 'static,
        load: impl Fn() -> (T, Again) + Send + 'static,
        wake: Arc<Notify>,
    ) -> Self {
        let (tell, changed) = mpsc::channel();
        let alive = Arc::new(());
        let guard = Arc::downgrade(&alive);
        let look = move || {
            follow(&guard, read, files, || {
                let (loaded, again) = load();
                let heard = tell.send(loaded).is_ok();
                wake.notify_one();
                heard.then_some(again)
            });
        };
        if let Err(error) = thread::Builder::new().name(name.to_owned()).spawn(look) {
            tracing::warn!("changes of files ({name}) are not noticed: {error}");
        }
        Self {
            changed,
            _alive: alive,
        }
    }

    /// Returns what was loaded last, if anything was since the last call.
    pub(super) fn changed(&self) -> Option<T> {
        self.changed.try_iter().last()
    }
}

/// Reports each change until nobody listens any more.
fn follow(
    alive: &Weak<()>,
    mut read: FilesSeen,
    files: impl Fn() -> FilesSeen,
    tell: impl Fn() -> Option<Again>,
) {
    let mut seen = read.clone();
    while alive.strong_count() > 0 {
        thread::sleep(LOOK);
        let now = files();
        let stands_still = now == seen;
        seen = now;
        if stands_still && seen != read {
            match tell() {
                Some(Again::WhenChanged) => read.clone_from(&seen),
                Some(Again::Soon) => {}
                None => return,
            }
        }
    }
}
