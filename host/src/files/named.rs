//! How a file is read that a person names. It may be anything: a device without an end, a pipe that
//! nobody writes into, a file on a file system that does not answer.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, BufRead, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;
use thiserror::Error;

use super::is_null;

/// How long to wait for a file system.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a file was not read.
#[derive(Debug, Error)]
pub enum FileError {
    /// It is something else than a file.
    #[error("it is {0}, not a regular file")]
    Kind(&'static str),
    /// It has more than this number of bytes.
    #[error("it is larger than {}", size(*.0))]
    TooLarge(u64),
    /// Its file system did not answer in time.
    #[error("its file system did not answer within {} s", PATIENCE.as_secs())]
    Silent,
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl FileError {
    /// Whether there is no such file.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

impl From<FileError> for io::Error {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Io(error) => error,
            other => Self::other(other.to_string()),
        }
    }
}

/// Reads a regular file of at most `most` bytes. What a file claims to hold counts: one of the system,
/// which has no size, is read as empty.
///
/// # Errors
/// It is something else, larger, does not answer, or cannot be read.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, FileError> {
    within(path, move |path| {
        let (file, metadata) = open_now(path)?;
        if metadata.len() > most {
            return Err(FileError::TooLarge(most));
        }
        let mut bytes = Vec::new();
        file.take(metadata.len()).read_to_end(&mut bytes)?;
        Ok(bytes)
    })
}

/// Reads a regular file of at most `most` bytes as text.
///
/// # Errors
/// As [`read`], or it is not UTF-8.
pub fn text(path: &Path, most: u64) -> Result<String, FileError> {
    String::from_utf8(read(path, most)?).map_err(|_| {
        FileError::Io(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is not UTF-8",
        ))
    })
}

/// Opens a regular file, to read it piece by piece.
///
/// # Errors
/// It is something else, does not answer, or cannot be opened.
pub fn open(path: &Path) -> Result<File, FileError> {
    within(path, |path| Ok(open_now(path)?.0))
}

/// Returns the lines of what is read, without their ends. After a line of more than `longest` bytes,
/// or one that is not UTF-8, no further one is read.
pub fn lines(mut read: impl BufRead, longest: usize) -> impl Iterator<Item = io::Result<String>> {
    let mut is_over = false;
    std::iter::from_fn(move || {
        if is_over {
            return None;
        }
        // The line may end in two bytes.
        let most = u64::try_from(longest).unwrap_or(u64::MAX).saturating_add(2);
        let mut line = Vec::new();
        let read = read.by_ref().take(most).read_until(b'\n', &mut line);
        let line = match read {
            Ok(0) => return None,
            Ok(_) => {
                if line.pop_if(|byte| *byte == b'\n').is_some() {
                    line.pop_if(|byte| *byte == b'\r');
                }
                let what = if line.len() > longest {
                    Err(format!("it is longer than {}", size(most - 2)))
                } else {
                    String::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())
                };
                what.map_err(|what| io::Error::new(io::ErrorKind::InvalidData, what))
            }
            Err(error) => Err(error),
        };
        is_over = line.is_err();
        Some(line)
    })
}

fn open_now(path: &Path) -> Result<(File, Metadata), FileError> {
    // Asked first: to open some devices does something.
    regular(&path.metadata()?)?;
    // Something else may stand there now, and to open a pipe would wait for somebody who writes.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    let metadata = file.metadata()?;
    regular(&metadata)?;
    Ok((file, metadata))
}

fn regular(metadata: &Metadata) -> Result<(), FileError> {
    let kind = metadata.file_type();
    let what = if kind.is_file() || is_null(metadata) {
        return Ok(());
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Err(FileError::Kind(what))
}

/// Looks on a thread of its own, which is left behind if it hangs.
fn within<R: Send + 'static>(
    path: &Path,
    look: impl FnOnce(&Path) -> Result<R, FileError> + Send + 'static,
) -> Result<R, FileError> {
    let (tell, told) = mpsc::channel();
    let path: PathBuf = path.to_owned();
    thread::Builder::new()
        .name("file".to_owned())
        .spawn(move || tell.send(look(&path)))?;
    told.recv_timeout(PATIENCE)
        .unwrap_or(Err(FileError::Silent))
}

/// Writes a size in words.
fn size(bytes: u64) -> String {
    match (bytes >> 20, bytes >> 10) {
        (0, 0) => format!("{bytes} bytes"),
        (0, kib) => format!("{kib} KiB"),
        (mib, _) => format!("{mib} MiB"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::BufReader;

    use super::*;

    #[test]
    fn only_regular_files_of_a_size_are_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let said = |path: &Path| read(path, 4).map_err(|error| error.to_string());
        let file = directory.path().join("file");
        fs::write(&file, "four").expect("written");
        assert_eq!(said(&file), Ok(b"four".to_vec()));
        assert_eq!(said(Path::new("/dev/null")), Ok(Vec::new()));
        fs::write(&file, "five!").expect("written");
        assert_eq!(said(&file), Err("it is larger than 4 bytes".to_owned()));
        let pipe = directory.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .expect("a pipe");
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("/dev/zero", &link).expect("a link");
        for (path, what) in [
            (pipe.as_path(), "a pipe"),
            (directory.path(), "a directory"),
            (Path::new("/dev/zero"), "a device"),
            (&link, "a device"),
        ] {
            let why = format!("it is {what}, not a regular file");
            assert_eq!(said(path), Err(why.clone()));
            assert_eq!(open(path).expect_err("no file").to_string(), why);
        }
        assert!(
            open(&directory.path().join("none"))
                .expect_err("none")
                .is_missing()
        );
        fs::write(&file, [0xff]).expect("written");
        assert_eq!(
            text(&file, 4).expect_err("no text").to_string(),
            "it is not UTF-8"
        );
    }

    #[test]
    fn lines_have_an_end() {
        let said = |text: &[u8]| -> Vec<String> {
            let lines = lines(text, 4);
            lines
                .map(|line| line.unwrap_or_else(|error| error.to_string()))
                .collect()
        };
        assert_eq!(said(b""), [""; 0]);
        assert_eq!(said(b"a\n\nfour\r\nb"), ["a", "", "four", "b"]);
        assert_eq!(said(b"four\n"), ["four"]);
        assert_eq!(said(b"a\nfive!\nb"), ["a", "it is longer than 4 bytes"]);
        assert_eq!(said(b"\xff\nb"), ["it is not UTF-8"]);
        // It has no end at all.
        let mut endless = lines(BufReader::new(io::repeat(0)), 1 << 20);
        let error = endless.next().expect("a line").expect_err("no end");
        assert_eq!(error.to_string(), "it is longer than 1 MiB");
        assert!(endless.next().is_none());
    }

    #[test]
    fn sizes_are_in_words() {
        let sizes = [5, 5 << 10, 5 << 20].map(size);
        assert_eq!(sizes, ["5 bytes", "5 KiB", "5 MiB"]);
    }
}
