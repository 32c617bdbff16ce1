//! One writer per pane, across processes: a lock file per pane, released when its process ends.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;

use crate::files::private;
use crate::model::ids::Identity;

/// The right to write into a pane. It ends when this is dropped or when the process ends.
#[derive(Debug)]
pub struct PaneLock {
    file: File,
}

impl Drop for PaneLock {
    /// A process that is being started has the file as well, until it becomes another program.
    fn drop(&mut self) {
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
        let directory = directory()?;
        let number = identity.pane.as_str().trim_start_matches('%');
        let path = directory.join(format!("{}-{number}.lock", identity.server_pid));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let file = private::open(&mut options, &path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { file })),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Returns the directory of the locks. Every process of this user finds the same one, whatever its
/// environment, and nobody else can write there.
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

    #[test]
    fn a_pane_has_one_writer() {
        let identity = |pane: &str| Identity {
            node: Default::default(),
            // No tmux server can have this process id.
            server_pid: u32::MAX - std::process::id(),
            server_start: 0,
            pane: PaneId::parse(pane).expect("an id"),
            pane_pid: 1,
        };
        let first = PaneLock::take(&identity("%1")).expect("a directory");
        assert!(first.is_some());
        assert!(
            PaneLock::take(&identity("%1"))
                .expect("a directory")
                .is_none()
        );
        assert!(
            PaneLock::take(&identity("%2"))
                .expect("a directory")
                .is_some()
        );
        drop(first);
        assert!(
            PaneLock::take(&identity("%1"))
                .expect("a directory")
                .is_some()
        );
        for number in [1, 2] {
            let name = format!("{}-{number}.lock", identity("%1").server_pid);
            let _ = std::fs::remove_file(directory().expect("a directory").join(name));
        }
    }
}
