//! What only this user may write: the data directory and what is in it, the configuration, the
//! profiles of agents. Whoever else can write there decides what runs in this user's sessions.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::{getegid, geteuid};
use thiserror::Error;

use super::is_null;

const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

/// Why something is not this user's alone.
#[derive(Debug, Error)]
pub enum NotPrivate {
    /// Somebody else owns it.
    #[error(
        "`{path}` belongs to another user (number {owner}): use it as that user, or name another",
        path = path.display()
    )]
    Owner {
        /// Its path.
        path: PathBuf,
        /// The number of its owner.
        owner: u32,
    },
    /// Others may write it.
    #[error(
        "others can write to `{path}`: `chmod go-w {quoted}` ends that",
        path = path.display(),
        quoted = quoted(path)
    )]
    Writable {
        /// Its path.
        path: PathBuf,
    },
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<NotPrivate> for io::Error {
    fn from(error: NotPrivate) -> Self {
        match error {
            NotPrivate::Io(error) => error,
            other => Self::other(other.to_string()),
        }
    }
}

/// Creates a directory for this user alone, with those above it, if it does not exist.
///
/// # Errors
/// It belongs to somebody else, others can write to it, or the system refused.
pub fn directory(path: &Path) -> Result<(), NotPrivate> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    own(path, &path.metadata()?)
}

/// Creates a directory for this user alone in a place where everybody may create one.
///
/// # Errors
/// As [`directory`], or it is a link.
pub fn directory_among_others(path: &Path) -> Result<(), NotPrivate> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let found = path.symlink_metadata()?;
    if !found.is_dir() {
        return Err(NotPrivate::Io(io::Error::other(format!(
            "`{}` is not a directory",
            path.display()
        ))));
    }
    own(path, &found)
}

fn own(path: &Path, found: &Metadata) -> Result<(), NotPrivate> {
    if found.uid() != geteuid().as_raw() {
        return Err(NotPrivate::Owner {
            path: path.to_owned(),
            owner: found.uid(),
        });
    }
    if found.mode() & (GROUP_WRITES | OTHERS_WRITE) != 0 {
        return Err(NotPrivate::Writable {
            path: path.to_owned(),
        });
    }
    Ok(())
}

/// Checks a file that a person wrote and that is obeyed: it is this user's or the administrator's,
/// and nobody else can write it. A group counts as nobody else if it is this user's own, as systems
/// make one for each user.
///
/// # Errors
/// Somebody else can write it, or the system refused.
pub fn obeyed(path: &Path) -> Result<(), NotPrivate> {
    let found = path.metadata()?;
    if is_null(&found) {
        return Ok(());
    }
    judge(path, &found)
}

fn judge(path: &Path, found: &Metadata) -> Result<(), NotPrivate> {
    let user = geteuid().as_raw();
    let owner = found.uid();
    if owner != user && owner != 0 {
        return Err(NotPrivate::Owner {
            path: path.to_owned(),
            owner,
        });
    }
    let is_own_group = found.gid() == getegid().as_raw() && found.gid() == user;
    let forbidden = if is_own_group {
        OTHERS_WRITE
    } else {
        GROUP_WRITES | OTHERS_WRITE
    };
    if found.mode() & forbidden != 0 {
        return Err(NotPrivate::Writable {
            path: path.to_owned(),
        });
    }
    Ok(())
}

/// Opens a file of ours as `options` say, readable and writable by this user alone. A link in its
/// place is not followed.
///
/// # Errors
/// The system refused.
pub fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    options.mode(0o600).custom_flags(flags).open(path)
}

/// Quotes a path as a shell reads it.
fn quoted(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;

    use shell_quote::QuoteRefExt;
    let text: Vec<u8> = path.as_os_str().as_bytes().quoted(shell_quote::Sh);
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn with_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("changed");
    }

    #[test]
    fn a_directory_is_this_users_alone() {
        let place = tempfile::tempdir().expect("a directory");
        let data = place.path().join("a b/data");
        directory(&data).expect("created");
        assert_eq!(data.metadata().expect("it").mode() & 0o777, 0o700);
        for mode in [0o700, 0o750, 0o755] {
            with_mode(&data, mode);
            directory(&data).expect("nobody else writes there");
        }
        for mode in [0o770, 0o777, 0o1777, 0o702] {
            with_mode(&data, mode);
            let refused = directory(&data)
                .expect_err("others write there")
                .to_string();
            let mend = refused.split('`').nth(3).expect("a command").to_owned();
            let done = std::process::Command::new("sh")
                .args(["-c", &mend])
                .status();
            assert!(done.expect("a shell").success(), "{mend}");
            directory(&data).expect("mended");
        }
    }

    #[test]
    fn what_is_obeyed_is_this_users_or_the_administrators() {
        let place = tempfile::tempdir().expect("a directory");
        let file = place.path().join("config.toml");
        fs::write(&file, "").expect("written");
        with_mode(&file, 0o644);
        obeyed(&file).expect("nobody else writes it");
        obeyed(Path::new("/dev/null")).expect("it is always empty");
        with_mode(&file, 0o646);
        assert!(matches!(obeyed(&file), Err(NotPrivate::Writable { .. })));
        if geteuid().is_root() {
            with_mode(&file, 0o644);
            std::os::unix::fs::chown(&file, Some(12_345), None).expect("given away");
            let refused = obeyed(&file).expect_err("somebody else's").to_string();
            assert!(refused.contains("number 12345"), "{refused}");
        }
    }

    #[test]
    fn a_link_in_the_place_of_a_file_is_not_followed() {
        let place = tempfile::tempdir().expect("a directory");
        let victim = place.path().join("victim");
        fs::write(&victim, "precious").expect("written");
        let link = place.path().join("nudge");
        std::os::unix::fs::symlink(&victim, &link).expect("a link");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        assert!(open(&mut options, &link).is_err());
        assert_eq!(fs::read(&victim).expect("it"), b"precious");
    }
}
