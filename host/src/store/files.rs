//! The files of a queue in its directory: whether there was one before, and whether they are still
//! those that were opened.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The file that holds the queue.
pub(super) const DATABASE: &str = "assigner.db";

/// The file that says that there is a queue. Without it, a database that is missing or
/// empty would be taken for a new one.
const MADE: &str = "queue.made";

/// What has happened to the files of a database that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Displaced {
    /// There is no file of that name any more.
    Gone,
    /// Another file has that name.
    Replaced,
    /// It was emptied.
    Emptied,
    /// Its log is gone, or another file: what is written next would not be read by others.
    Log,
}

impl Displaced {
    /// Returns what has happened, after the name of the database.
    pub fn words(self) -> &'static str {
        match self {
            Self::Gone => "is no longer there: it was moved or removed",
            Self::Replaced => "is another file than before: it was replaced",
            Self::Emptied => "was emptied",
            Self::Log => "has lost its log, the file of that name with `-wal`",
        }
    }
}

/// A file by its device and its number.
type Inode = (u64, u64);

/// The files of a database that is open.
#[derive(Debug, Clone)]
pub struct DatabaseFiles {
    path: PathBuf,
    database: Inode,
    /// SQLite makes it when it first needs it, and keeps it as long as a connection is open.
    log: Option<Inode>,
}

impl DatabaseFiles {
    /// Notes which file is the database of a directory.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn of(directory: &Path) -> io::Result<Self> {
        let path = directory.join(DATABASE);
        let (database, _) = identity(&path)?;
        Ok(Self {
            path,
            database,
            log: None,
        })
    }

    /// Whether the database is the same file.
    pub(super) fn are_those(&self, others: Option<&Self>) -> bool {
        others.is_some_and(|others| others.database == self.database)
    }

    /// Returns the path of the database.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what has happened to the files since they were opened, or `None` if nothing has. A file
    /// that cannot be looked at proves nothing.
    pub fn displaced(&mut self) -> Option<Displaced> {
        let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        match identity(&self.path) {
            Err(error) => return is_missing(&error).then_some(Displaced::Gone),
            Ok((found, _)) if found != self.database => return Some(Displaced::Replaced),
            Ok((_, 0)) => return Some(Displaced::Emptied),
            Ok(_) => {}
        }
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        match (identity(Path::new(&log)), self.log) {
            (Ok((found, _)), None) => self.log = Some(found),
            (Ok((found, _)), Some(known)) if found != known => return Some(Displaced::Log),
            (Err(error), Some(_)) if is_missing(&error) => return Some(Displaced::Log),
            _ => {}
        }
        None
    }
}

fn identity(path: &Path) -> io::Result<(Inode, u64)> {
    let file = fs::metadata(path)?;
    Ok(((file.dev(), file.ino()), file.size()))
}

/// Returns how the database of a directory is, missing or empty, if there has been a queue; `None` if all
/// is well, or if there has been none.
pub(super) fn lost(directory: &Path) -> Option<&'static str> {
    let how = match fs::metadata(directory.join(DATABASE)) {
        Ok(file) if file.len() == 0 => "empty",
        Err(error) if error.kind() == io::ErrorKind::NotFound => "missing",
        _ => return None,
    };
    fs::symlink_metadata(made(directory)).is_ok().then_some(how)
}

/// Returns the path of the file that says that there is a queue.
pub(super) fn made(directory: &Path) -> PathBuf {
    directory.join(MADE)
}

/// Says that there is a queue in a directory, unless that is said already. Where that cannot be written,
/// because the disk is full, the queue can be used all the same, and the next one who opens it says so.
pub(super) fn make(directory: &Path) {
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(made(directory));
    if let Err(error) = made
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        tracing::debug!("cannot note that there is a queue: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::*;

    #[test]
    fn files_that_do_not_stay_what_they_were_are_noticed() {
        let at = |file: &str, directory: &tempfile::TempDir| directory.path().join(file);
        type Damage = fn(&Path);
        let damages: [(Damage, Displaced); 5] = [
            (
                |path| fs::rename(path, path.with_extension("moved")).expect("moved"),
                Displaced::Gone,
            ),
            (
                |path| {
                    fs::rename(path, path.with_extension("moved")).expect("moved");
                    fs::copy(path.with_extension("moved"), path).expect("copied");
                },
                Displaced::Replaced,
            ),
            (
                |path| {
                    fs::File::options()
                        .write(true)
                        .open(path)
                        .and_then(|file| file.set_len(0))
                        .expect("cut");
                },
                Displaced::Emptied,
            ),
            (
                |path| fs::remove_file(path.with_extension("db-wal")).expect("removed"),
                Displaced::Log,
            ),
            (
                |path| {
                    let log = path.with_extension("db-wal");
                    fs::rename(&log, path.with_extension("moved")).expect("moved");
                    fs::write(log, "").expect("written");
                },
                Displaced::Log,
            ),
        ];
        for (damage, expected) in damages {
            let directory = tempfile::tempdir().expect("a directory");
            let mut store = Store::open(directory.path()).expect("a store");
            store.data_version().expect("read");
            let mut files = store.files().expect("a file");
            assert_eq!(files.displaced(), None);
            assert_eq!(files.displaced(), None);
            damage(&at(DATABASE, &directory));
            assert_eq!(files.displaced(), Some(expected));
        }
    }

    /// Every way to write ends in one of these transactions.
    #[test]
    fn nothing_is_written_into_a_file_that_nobody_reads() {
        let directory = tempfile::tempdir().expect("a directory");
        let task = crate::model::task::NewTask::command("x");
        let now = jiff::Timestamp::UNIX_EPOCH;
        let mut store = Store::open(directory.path()).expect("a store");
        store
            .queue(std::slice::from_ref(&task), now)
            .expect("queued");
        let path = directory.path().join(DATABASE);
        fs::rename(&path, path.with_extension("moved")).expect("moved");
        fs::copy(path.with_extension("moved"), &path).expect("copied");
        let refused = store.queue(&[task], now).expect_err("refused").to_string();
        assert!(
            refused.contains("was replaced in the meantime"),
            "{refused}"
        );
        let refused = store
            .group(|_| panic!("nothing is done"))
            .expect_err("refused");
        assert!(matches!(refused, crate::store::StoreError::Moved { .. }));
        assert_eq!(store.tasks(&[], 9).expect("it can be read").len(), 1);
    }

    #[test]
    fn each_change_of_the_files_has_words_of_its_own() {
        let all = [
            Displaced::Gone,
            Displaced::Replaced,
            Displaced::Emptied,
            Displaced::Log,
        ];
        for (how, told) in all.into_iter().zip(["moved", "replaced", "emptied", "log"]) {
            let words = how.words();
            assert!(words.contains(told), "{words}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_looked_at_proves_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut store = Store::open(directory.path()).expect("a store");
        store.data_version().expect("read");
        let mut files = store.files().expect("a file");
        assert_eq!(files.displaced(), None);
        // A link to itself leads nowhere, and the system says that it is not missing either.
        let path = directory.path().join(DATABASE);
        let log = path.with_extension("db-wal");
        for file in [&log, &path] {
            fs::rename(file, file.with_extension("moved")).expect("moved");
            std::os::unix::fs::symlink(file, file).expect("a link");
            assert_eq!(files.displaced(), None, "{}", file.display());
        }
        assert_eq!(lost(directory.path()), None);
    }

    #[test]
    fn a_queue_that_is_gone_is_not_taken_for_a_new_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(DATABASE);
        // An empty file where no queue was is one that is being made.
        fs::write(&path, "").expect("written");
        drop(Store::open(directory.path()).expect("a new one"));
        let moved = directory.path().join("moved");
        fs::rename(&path, &moved).expect("moved");
        for empty in [false, true] {
            if empty {
                fs::write(&path, "").expect("written");
            }
            let refused = Store::open(directory.path())
                .map(|_| ())
                .expect_err("refused")
                .to_string();
            let how = if empty { "is empty" } else { "is missing" };
            assert!(
                refused.contains(how) && refused.contains("queue.made"),
                "{refused}"
            );
            assert_eq!(path.exists(), empty, "nothing is made");
        }
        fs::rename(&moved, &path).expect("put back");
        drop(Store::open(directory.path()).expect("the one from before"));
        // As the message says.
        fs::remove_file(&path).expect("removed");
        fs::remove_file(made(directory.path())).expect("removed");
        drop(Store::open(directory.path()).expect("another one"));
    }
}
