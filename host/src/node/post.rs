//! The post of a pane's reader: where the reader of one job's output waits for the pane's next job, so that
//! not every job starts a process of its own.
//!
//! A reader that waits has left a file there. Whoever takes the file away decides: the engine, which then
//! tells it the next job in another file, or the reader itself, which then leaves. So no job is given to a
//! reader that is about to leave.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files::private;
use crate::model::ids::Identity;
use crate::probe;

/// More than any of these files has, in bytes.
const LONGEST: u64 = 64 << 10;

/// Where the reader of a pane waits.
#[derive(Debug, Clone)]
pub(crate) struct ReaderPost {
    waits: PathBuf,
    booked: PathBuf,
}

/// What stands in the file of a reader that waits, and in that of its next job.
#[derive(Debug, Serialize, Deserialize)]
struct PostedReader {
    pid: u32,
    began: u64,
    #[serde(default)]
    job: Option<BookedJob>,
}

/// A job that a reader is to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BookedJob {
    /// What its marks hold.
    pub(crate) nonce: String,
    /// How many bytes of its output are kept, the last ones.
    pub(crate) limit: u64,
    /// Where.
    pub(crate) output: PathBuf,
}

impl ReaderPost {
    /// Returns the post of a pane's reader in a spool directory.
    pub(crate) fn of(directory: &Path, identity: &Identity) -> Self {
        let pane = identity.pane.to_string();
        let name = format!(
            "reader-{}-{}",
            identity.server_pid,
            pane.trim_start_matches('%')
        );
        Self::at(directory.join(name))
    }

    /// Returns the post at this path.
    pub(crate) fn at(waits: PathBuf) -> Self {
        Self {
            booked: waits.with_extension("job"),
            waits,
        }
    }

    /// The path by which a reader is told where to wait.
    pub(crate) fn path(&self) -> &Path {
        &self.waits
    }

    /// Whether a reader waits.
    pub(crate) fn has_reader(&self) -> bool {
        self.waits.exists()
    }

    /// Has the reader that waits read this job next. Returns false if none waits.
    pub(crate) fn book(&self, job: BookedJob) -> bool {
        let booked = self.try_book(job);
        if let Err(error) = &booked
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!("cannot book the reader of a pane: {error}");
        }
        booked.unwrap_or(false)
    }

    fn try_book(&self, job: BookedJob) -> io::Result<bool> {
        fs::rename(&self.waits, &self.booked)?;
        let reader =
            read(&self.booked).filter(|reader| probe::began(reader.pid) == Some(reader.began));
        let Some(reader) = reader else {
            fs::remove_file(&self.booked)?;
            return Ok(false);
        };
        let booked = PostedReader {
            job: Some(job),
            ..reader
        };
        write(&self.booked, &booked)?;
        Ok(true)
    }

    /// Lets the reader wait on if it was booked for a job with this output and has not seen it begin.
    pub(crate) fn unbook(&self, output: &Path) {
        if self.job().is_some_and(|job| job.output == output) {
            // It may just have left.
            let _ = fs::rename(&self.booked, &self.waits);
        }
    }

    /// Takes the reader that waits away, so that no job is given to it any more; returns whether one waited.
    /// Its pipe is to be closed then.
    pub(crate) fn dismiss(&self) -> bool {
        fs::remove_file(&self.waits).is_ok()
    }

    /// The reader waits from now on.
    ///
    /// # Errors
    /// The directory is gone or cannot be written.
    pub(crate) fn wait(&self) -> io::Result<()> {
        let pid = std::process::id();
        let reader = PostedReader {
            pid,
            began: probe::began(pid).ok_or(io::ErrorKind::NotFound)?,
            job: None,
        };
        write(&self.waits, &reader)
    }

    /// The reader leaves, unless it was booked; returns whether it may.
    pub(crate) fn leave(&self) -> bool {
        self.dismiss()
    }

    /// Returns the job for which the reader was booked.
    pub(crate) fn job(&self) -> Option<BookedJob> {
        read(&self.booked)?.job
    }

    /// The reader has begun with that job, or gives it up.
    pub(crate) fn accept(&self) {
        // If it is not there, the engine has taken it back.
        let _ = fs::remove_file(&self.booked);
    }
}

/// Removes what readers have left that no longer run.
pub(crate) fn sweep(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if !name
            .to_str()
            .is_some_and(|name| name.starts_with("reader-"))
        {
            continue;
        }
        let lives = |reader: PostedReader| probe::began(reader.pid) == Some(reader.began);
        if !read(&entry.path()).is_some_and(lives) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn read(path: &Path) -> Option<PostedReader> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(LONGEST).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Writes it as a whole: nobody sees a half of it.
fn write(path: &Path, reader: &PostedReader) -> io::Result<()> {
    let aside = path.with_extension(format!("{}.new", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    private::open(&mut options, &aside)?.write_all(&serde_json::to_vec(reader)?)?;
    fs::rename(&aside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post() -> (tempfile::TempDir, ReaderPost) {
        let directory = tempfile::tempdir().expect("a directory");
        let post = ReaderPost::at(directory.path().join("reader-1-3"));
        (directory, post)
    }

    fn job(number: u32) -> BookedJob {
        BookedJob {
            nonce: format!("7-{number}"),
            limit: 100,
            output: PathBuf::from(format!("/spool/{number}.out")),
        }
    }

    #[test]
    fn a_reader_is_booked_or_leaves_and_never_both() {
        let (_directory, post) = post();
        assert!(!post.has_reader() && !post.book(job(1)) && !post.leave());
        post.wait().expect("waits");
        assert!(post.has_reader() && post.job().is_none());
        assert!(post.book(job(1)));
        // It cannot leave, and nobody else can book it.
        assert!(!post.leave() && !post.book(job(2)));
        assert_eq!(post.job(), Some(job(1)));
        post.accept();
        assert_eq!(post.job(), None);
        post.wait().expect("waits");
        assert!(post.leave());
        assert!(!post.book(job(2)));
    }

    #[test]
    fn a_job_that_does_not_begin_gives_its_reader_back() {
        let (_directory, post) = post();
        post.wait().expect("waits");
        assert!(post.book(job(1)));
        // That of another job is not touched.
        post.unbook(&job(2).output);
        assert!(!post.has_reader());
        post.unbook(&job(1).output);
        assert!(post.has_reader() && post.job().is_none());
        assert!(post.book(job(2)));
        assert_eq!(post.job(), Some(job(2)));
    }

    #[test]
    fn a_reader_that_has_died_is_booked_for_nothing() {
        let (directory, post) = post();
        let mut child = std::process::Command::new("/bin/true")
            .spawn()
            .expect("a child");
        child.wait().expect("its end");
        let dead = PostedReader {
            pid: child.id(),
            began: 1,
            job: None,
        };
        write(&post.waits, &dead).expect("written");
        assert!(!post.book(job(1)) && post.job().is_none() && !post.has_reader());
        write(&post.waits, &dead).expect("written");
        let other = ReaderPost::at(directory.path().join("reader-1-4"));
        other.wait().expect("waits");
        sweep(directory.path());
        assert!(!post.has_reader() && other.has_reader());
        // What is not ours to read is nobody.
        fs::write(&post.waits, "x").expect("written");
        assert!(!post.book(job(1)));
    }
}
