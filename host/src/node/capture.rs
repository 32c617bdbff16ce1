//! The reader at the other end of `pipe-pane`: takes a pane's bytes and keeps those between a job's
//! marks.
//!
//! It runs as a process of its own (`assigner capture`), a child of the tmux server. It outlives
//! the daemon, always drains the pipe so that the server's buffers never grow, and ends with the
//! job.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use memchr::memmem;

use super::script::mark;
use super::spool::{CaptureEnd, Captured};

use crate::files::private;

/// How much of the preparation's output is kept for messages, in bytes.
const PREPARATION: usize = 8 * 1024;

/// Reads `input` up to the job's end and writes what the command printed to `output`.
///
/// `output` holds the last `limit` bytes. Beside it, `.prepare` holds the end of what the
/// preparation printed, and `.done` appears, complete, when everything is written.
///
/// # Errors
/// The files cannot be written.
pub fn run(mut input: impl Read, output: &Path, nonce: &str, limit: u64) -> io::Result<()> {
    let mut splitter = Splitter::new(nonce);
    let mut sink = FileSink::create(output, limit)?;
    let mut chunk = vec![0; 64 * 1024];
    while !splitter.is_done() {
        let size = match input.read(&mut chunk) {
            Ok(0) => break,
            Ok(size) => size,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        splitter.feed(chunk.get(..size).unwrap_or_default(), &mut sink)?;
    }
    let end = match splitter.is_done() {
        true => CaptureEnd::Job,
        false => CaptureEnd::Pipe,
    };
    splitter.finish(&mut sink)?;
    sink.finish(end)
}

/// Takes the two parts of a job's output.
trait Sink {
    fn preparation(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn output(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// The part of a job that the stream has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Before,
    Preparation,
    Output,
    Done,
}

/// Finds a job's marks in a stream that arrives in pieces of any size.
struct Splitter {
    section: Section,
    marks: [(Vec<u8>, Section); 3],
    /// Bytes that may be the beginning of a mark, or a carriage return without its line feed.
    held: Vec<u8>,
}

impl Splitter {
    fn new(nonce: &str) -> Self {
        Self {
            section: Section::Before,
            marks: [
                (mark('A', nonce).into_bytes(), Section::Preparation),
                (mark('C', nonce).into_bytes(), Section::Output),
                (mark('D', nonce).into_bytes(), Section::Done),
            ],
            held: Vec::new(),
        }
    }

    fn is_done(&self) -> bool {
        self.section == Section::Done
    }

    fn feed(&mut self, bytes: &[u8], sink: &mut impl Sink) -> io::Result<()> {
        self.held.extend_from_slice(bytes);
        let held = std::mem::take(&mut self.held);
        let mut rest = held.as_slice();
        while let Some((at, length, next)) = self.next_mark(rest) {
            let (before, behind) = rest.split_at(at);
            self.emit(before, sink)?;
            self.section = next;
            rest = behind.get(length..).unwrap_or_default();
        }
        // The end of the chunk may cut a mark or a line ending.
        let keep = self.unfinished(rest);
        let (whole, tail) = rest.split_at(rest.len() - keep);
        self.emit(whole, sink)?;
        self.held = tail.to_vec();
        Ok(())
    }

    fn finish(&mut self, sink: &mut impl Sink) -> io::Result<()> {
        let held = std::mem::take(&mut self.held);
        self.emit(&held, sink)
    }

    fn next_mark(&self, bytes: &[u8]) -> Option<(usize, usize, Section)> {
        self.marks
            .iter()
            .filter_map(|(mark, next)| memmem::find(bytes, mark).map(|at| (at, mark.len(), *next)))
            .min_by_key(|(at, ..)| *at)
    }

    /// Returns how many bytes at the end may be continued by the next chunk.
    fn unfinished(&self, bytes: &[u8]) -> usize {
        let longest = self.marks.iter().map(|(mark, _)| mark.len()).max();
        let window = bytes.len().min(longest.unwrap_or(1) - 1);
        let tail = bytes.get(bytes.len() - window..).unwrap_or_default();
        let cut_mark = (0..tail.len())
            .find(|&at| {
                self.marks
                    .iter()
                    .any(|(mark, _)| tail.get(at..).is_some_and(|end| mark.starts_with(end)))
            })
            .map_or(0, |at| tail.len() - at);
        // A carriage return right before a cut mark is complete as it stands.
        cut_mark.max(usize::from(bytes.ends_with(b"\r")))
    }

    /// Passes bytes on, with the terminal's line endings turned back into the program's.
    fn emit(&mut self, bytes: &[u8], sink: &mut impl Sink) -> io::Result<()> {
        if matches!(self.section, Section::Before | Section::Done) || bytes.is_empty() {
            return Ok(());
        }
        let mut plain = Vec::with_capacity(bytes.len());
        let mut copied = 0;
        for at in memmem::find_iter(bytes, b"\r\n") {
            plain.extend_from_slice(bytes.get(copied..at).unwrap_or_default());
            copied = at + 1;
        }
        plain.extend_from_slice(bytes.get(copied..).unwrap_or_default());
        match self.section {
            Section::Preparation => sink.preparation(&plain),
            Section::Output => sink.output(&plain),
            Section::Before | Section::Done => Ok(()),
        }
    }
}

/// Writes the output as it arrives, so that it can be read while the job runs, to at most two files
/// of `limit` bytes: when the current one is full, it replaces the older one.
struct FileSink {
    path: PathBuf,
    current: File,
    written: u64,
    total: u64,
    limit: u64,
    preparation: Vec<u8>,
}

impl FileSink {
    fn create(path: &Path, limit: u64) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            current: create_private(path)?,
            written: 0,
            total: 0,
            limit: limit.max(1),
            preparation: Vec::new(),
        })
    }

    fn older(&self) -> PathBuf {
        self.path.with_extension("old")
    }

    fn finish(mut self, end: CaptureEnd) -> io::Result<()> {
        fs::write(self.path.with_extension("prepare"), &self.preparation)?;
        if self.total > self.limit {
            let mut kept = Vec::new();
            if let Ok(mut older) = File::open(self.older()) {
                let skip = self.written.min(self.limit);
                older.seek(SeekFrom::Start(skip))?;
                older.read_to_end(&mut kept)?;
            }
            self.current.flush()?;
            File::open(&self.path)?.read_to_end(&mut kept)?;
            let merged = self.path.with_extension("merged");
            create_private(&merged)?.write_all(&kept)?;
            fs::rename(&merged, &self.path)?;
        }
        let aside = self.path.with_extension("captured");
        let captured = Captured {
            total: self.total,
            end,
        };
        fs::write(&aside, serde_json::to_vec(&captured)?)?;
        fs::rename(&aside, self.path.with_extension("done"))
    }
}

impl Sink for FileSink {
    fn preparation(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.preparation.extend_from_slice(bytes);
        let excess = self.preparation.len().saturating_sub(PREPARATION);
        self.preparation.drain(..excess);
        Ok(())
    }

    fn output(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.total += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.written == self.limit {
                fs::rename(&self.path, self.older())?;
                self.current = create_private(&self.path)?;
                self.written = 0;
            }
            let room = usize::try_from(self.limit - self.written).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.current.write_all(now)?;
            self.written += now.len() as u64;
            bytes = later;
        }
        Ok(())
    }
}

fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true);
    private::open(&mut options, path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct KeptOutput {
        preparation: Vec<u8>,
        output: Vec<u8>,
    }

    impl Sink for KeptOutput {
        fn preparation(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.preparation.extend_from_slice(bytes);
            Ok(())
        }

        fn output(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.output.extend_from_slice(bytes);
            Ok(())
        }
    }

    /// Returns what a terminal makes of a program's line endings.
    fn through_a_terminal(bytes: &[u8]) -> Vec<u8> {
        let mut sent = Vec::new();
        for &byte in bytes {
            if byte == b'\n' {
                sent.push(b'\r');
            }
            sent.push(byte);
        }
        sent
    }

    proptest! {
        /// However the stream is cut, exactly the command's bytes come out.
        #[test]
        fn output_is_exact(
            noise in prop::collection::vec(any::<u8>(), 0..50),
            preparation in "[a-z\r\n\u{1b}\\]]{0,60}",
            output in prop::collection::vec(prop::sample::select(b"ab\r\n\x1b]133;CD\x07".to_vec()), 0..200),
            behind in "[ -~]{0,40}",
            size in 1_usize..40,
        ) {
            let mut stream = noise;
            stream.extend(mark('A', "n1").bytes());
            stream.extend(through_a_terminal(preparation.as_bytes()));
            stream.extend(mark('C', "n1").bytes());
            stream.extend(through_a_terminal(&output));
            stream.extend(mark('D', "n1").bytes());
            stream.extend(behind.bytes());
            let mut splitter = Splitter::new("n1");
            let mut kept = KeptOutput::default();
            for piece in stream.chunks(size) {
                splitter.feed(piece, &mut kept).expect("kept in memory");
            }
            splitter.finish(&mut kept).expect("kept in memory");
            prop_assert!(splitter.is_done());
            prop_assert_eq!(kept.output, output);
            prop_assert_eq!(kept.preparation, preparation.into_bytes());
        }

        /// If there is too much output, exactly the last bytes are kept, and all bytes are counted.
        #[test]
        fn the_newest_output_is_kept(
            output in "[a-z]{0,300}",
            limit in 1_u64..80,
            size in 1_usize..50,
        ) {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("7.out");
            let mut stream = mark('C', "n").into_bytes();
            stream.extend(output.bytes());
            stream.extend(mark('D', "n").bytes());
            run(Pieces(&stream, size), &path, "n", limit).expect("written");
            let kept = fs::read(&path).expect("the output");
            let expected = output.len().saturating_sub(usize::try_from(limit).expect("small"));
            prop_assert_eq!(kept, &output.as_bytes()[expected..]);
            let done: Captured =
                serde_json::from_slice(&fs::read(directory.path().join("7.done")).expect("done"))
                    .expect("json");
            prop_assert_eq!(done.total, output.len() as u64);
            prop_assert_eq!(done.end, CaptureEnd::Job);
        }
    }

    #[test]
    fn a_stream_that_ends_before_its_job_says_so() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("7.out");
        let stream = mark('C', "n") + "a line\r\nand a ha";
        run(Pieces(stream.as_bytes(), 9), &path, "n", 1_000).expect("written");
        assert_eq!(fs::read(&path).expect("the output"), b"a line\nand a ha");
        let done = fs::read(directory.path().join("7.done")).expect("done");
        let done: Captured = serde_json::from_slice(&done).expect("json");
        assert_eq!(done.end, CaptureEnd::Pipe);
        let earlier: Captured = serde_json::from_str(r#"{"total":3}"#).expect("json");
        assert_eq!(earlier.end, CaptureEnd::Job);
    }

    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let size = self.1.min(buffer.len()).min(self.0.len());
            let (now, later) = self.0.split_at(size);
            buffer[..size].copy_from_slice(now);
            self.0 = later;
            Ok(size)
        }
    }

    #[test]
    fn marks_of_another_job_are_output() {
        let mut splitter = Splitter::new("mine");
        let mut kept = KeptOutput::default();
        let stream = [mark('C', "mine"), mark('D', "theirs"), mark('D', "mine")].concat();
        splitter
            .feed(stream.as_bytes(), &mut kept)
            .expect("kept in memory");
        assert_eq!(kept.output, mark('D', "theirs").into_bytes());
    }
}
