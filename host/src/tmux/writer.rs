//! One writer per pane, across processes: a lock file per pane, released when its process ends.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::files::private;
use crate::model::ids::Identity;

/// The end of a lock's name.
const ENDING: &str = ".lock";

/// The right to write into a pane. It ends when this is dropped or when the process ends.
#[derive(Debug)]
pub struct PaneLock {
    file: File,
    path: PathBuf,
}

impl Drop for PaneLock {
    /// The file ends with the lock. A process that is being started has it open as well, until it
    /// becomes another program, so closing it would not be enough.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

impl PaneLock {
    /// Takes the right to write into a pane. `None` if another process has it.
    ///
    /// # Errors
    ///
    /// The lock's directory cannot be used.
    pub fn take(identity: &Identity) -> io::Result<Option<Self>> {
        let number = identity.pane.as_str().trim_start_matches('%');
        let name = format!("{}-{number}{ENDING}", identity.server_pid);
        Self::at(directory()?.join(name))
    }

    fn at(path: PathBuf) -> io::Result<Option<Self>> {
        loop {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false);
            let file = private::open(&mut options, &path)?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path)? => return Ok(Some(Self { file, path })),
                // Whoever had it has removed the file in between: others lock another one.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    /// Removes the locks that processes left behind that were killed.
    ///
    /// # Errors
    ///
    /// The locks' directory cannot be used.
    pub fn sweep() -> io::Result<()> {
        for entry in fs::read_dir(directory()?)? {
            let path = entry?.path();
            if path.to_str().is_some_and(|path| path.ends_with(ENDING)) {
                // One that is not held ends here, and one that is held stays.
                drop(Self::at(path));
            }
        }
        Ok(())
    }
}

/// Whether this file is the one at a path.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let of = |found: fs::Metadata| (found.dev(), found.ino());
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(of(found) == of(file.metadata()?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns the directory of the locks. Every process of this user finds the same one, and nobody else
/// can write there. `XDG_RUNTIME_DIR` would not do: it differs between processes of one user (`su`,
/// `cron`), and ends when the user logs out, while tmux and its panes stay.
fn directory() -> io::Result<PathBuf> {
    let user = rustix::process::getuid().as_raw();
    let path = PathBuf::from(format!("/tmp/assigner-{user}"));
    private::directory_among_others(&path)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::PaneId;

    fn identity(server_pid: u32, pane: &str) -> Identity {
        Identity {
            node: Default::default(),
            server_pid,
            server_start: 0,
            pane: PaneId::parse(pane).expect("an id"),
            pane_pid: 1,
        }
    }

    #[test]
    fn a_pane_has_one_writer() {
        // No tmux server can have this process id.
        let server = u32::MAX - std::process::id();
        let take = |pane| PaneLock::take(&identity(server, pane)).expect("a directory");
        let first = take("%1").expect("free");
        assert!(take("%1").is_none());
        let second = take("%2").expect("free");
        let files = [&first, &second].map(|lock| lock.path.clone());
        assert!(files.iter().all(|file| file.exists()));
        drop(first);
        // Nothing of it is left, and it can be taken again.
        assert_eq!(files.each_ref().map(|file| file.exists()), [false, true]);
        assert!(take("%1").is_some());
    }

    #[test]
    fn a_lock_that_was_left_behind_is_taken_or_swept() {
        let server = u32::MAX / 2 - std::process::id();
        let file = |number| {
            directory()
                .expect("a directory")
                .join(format!("{server}-{number}.lock"))
        };
        for number in [1, 2] {
            fs::write(file(number), "").expect("written");
        }
        let held = PaneLock::take(&identity(server, "%1")).expect("a directory");
        assert!(held.is_some());
        PaneLock::sweep().expect("swept");
        assert!(file(1).exists() && !file(2).exists());
        assert!(
            PaneLock::take(&identity(server, "%1"))
                .expect("a directory")
                .is_none()
        );
    }

    #[test]
    fn of_many_that_take_a_lock_at_once_one_has_it() {
        use std::sync::atomic::{AtomicU32, Ordering};

        let server = u32::MAX / 3 - std::process::id();
        let (holders, taken) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while taken.load(Ordering::Relaxed) < 2_000 {
                        let Some(lock) =
                            PaneLock::take(&identity(server, "%1")).expect("a directory")
                        else {
                            continue;
                        };
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                        taken.fetch_add(1, Ordering::Relaxed);
                        holders.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
    }
}
