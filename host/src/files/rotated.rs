//! A log file of bounded size: what is full becomes an older one, and the oldest is forgotten.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::private;

/// The size at which a file is full, in bytes.
const FULL: u64 = 4 << 20;

/// How many full files are kept.
const KEPT: u32 = 3;

/// A log file, which is opened when something is first written.
///
/// The crates for this bring a second library for dates and one for compression. Nothing here fails: a log
/// that cannot be written must not end what it is the log of.
#[derive(Debug, Clone)]
pub struct RotatedFile {
    path: Arc<Path>,
    full: u64,
    open: Arc<Mutex<Option<File>>>,
}

impl RotatedFile {
    /// Returns the log with this path; its directory is made when it is needed, in one that must exist.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.into(),
            full: FULL,
            open: Arc::default(),
        }
    }

    /// Returns the files of a log that there may be, the oldest first.
    pub fn files(path: &Path) -> impl Iterator<Item = PathBuf> + use<> {
        let older = (1..=KEPT).rev().map(Some).chain([None]);
        let path = path.to_owned();
        older.map(move |number| older_one(&path, number))
    }

    fn add(&self, line: &[u8]) -> io::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match open.take() {
            Some(file) if self.is_there(&file) => file,
            _ => self.reopen()?,
        };
        let mut file = match file.metadata()?.size() >= self.full {
            true => {
                drop(file);
                self.rotate()?;
                self.reopen()?
            }
            false => file,
        };
        file.write_all(line)?;
        *open = Some(file);
        Ok(())
    }

    /// Whether the file is still the one with this name: another process may have put it aside.
    fn is_there(&self, file: &File) -> bool {
        let of = |found: fs::Metadata| (found.dev(), found.ino());
        match (file.metadata(), fs::symlink_metadata(&self.path)) {
            (Ok(open), Ok(there)) => of(open) == of(there),
            _ => false,
        }
    }

    fn reopen(&self) -> io::Result<File> {
        if let Some(directory) = self.path.parent()
            && directory.parent().is_some_and(Path::is_dir)
        {
            private::directory(directory)?;
        }
        private::open(OpenOptions::new().append(true).create(true), &self.path)
    }

    fn rotate(&self) -> io::Result<()> {
        let files: Vec<PathBuf> = Self::files(&self.path).collect();
        for pair in files.windows(2) {
            if let [older, newer] = pair
                && newer.exists()
            {
                fs::rename(newer, older)?;
            }
        }
        Ok(())
    }
}

impl Write for RotatedFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // A full disk, say: the line is lost, and the next one is tried again.
        let _ = self.add(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn older_one(path: &Path, number: Option<u32>) -> PathBuf {
    match number {
        Some(number) => {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{number}"));
            name.into()
        }
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn text(directory: &Path) -> Vec<(String, String)> {
        let files = RotatedFile::files(&directory.join("logs/it.log"));
        let found = files.filter_map(|path| {
            let name = path.file_name()?.to_str()?.to_owned();
            Some((name, fs::read_to_string(path).ok()?))
        });
        found.collect()
    }

    #[test]
    fn it_is_bounded_and_keeps_the_newest() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("logs/it.log");
        let mut log = RotatedFile {
            full: 10,
            ..RotatedFile::new(&path)
        };
        for number in 0..20 {
            // Each clone writes into the same file.
            log.clone()
                .write_all(format!("line {number}\n").as_bytes())
                .expect("written");
        }
        let found: Vec<(String, String)> = text(directory.path());
        let expected = [
            ("it.log.3", "line 12\nline 13\n"),
            ("it.log.2", "line 14\nline 15\n"),
            ("it.log.1", "line 16\nline 17\n"),
            ("it.log", "line 18\nline 19\n"),
        ];
        let expected = expected.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(found, expected);
        let mode = path.metadata().expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // One that somebody else has put aside or removed is begun anew.
        fs::remove_file(&path).expect("removed");
        log.write_all(b"again\n").expect("written");
        assert_eq!(fs::read_to_string(&path).expect("a file"), "again\n");
    }

    #[test]
    fn what_cannot_be_written_is_lost_and_no_error() {
        let directory = tempfile::tempdir().expect("a directory");
        let nowhere = directory.path().join("none/logs/it.log");
        let mut log = RotatedFile::new(&nowhere);
        log.write_all(b"lost\n").expect("no error");
        assert!(!directory.path().join("none").exists());
        fs::create_dir(directory.path().join("none")).expect("made");
        log.write_all(b"kept\n").expect("written");
        assert_eq!(fs::read_to_string(&nowhere).expect("a file"), "kept\n");
        // A link in its place is not followed.
        let victim = directory.path().join("victim");
        fs::write(&victim, "mine").expect("written");
        fs::remove_file(&nowhere).expect("removed");
        std::os::unix::fs::symlink(&victim, &nowhere).expect("a link");
        log.write_all(b"not there\n").expect("no error");
        assert_eq!(fs::read_to_string(&victim).expect("a file"), "mine");
    }
}
