//! The reader at the other end of `pipe-pane`: takes a pane's bytes and keeps those between a job's
//! marks.
//!
//! It runs as a process of its own (`assigner capture`), a child of the tmux server. It outlives
//! the daemon, always drains the pipe so that the server's buffers never grow, and ends with the
//! job, or waits at its post for the pane's next one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use memchr::memmem;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::post::{BookedJob, ReaderPost};
use super::script::mark;
use super::spool::{CaptureEnd, Captured};

use crate::files::private;

/// How much of the preparation's output is kept for messages, in bytes.
const PREPARATION: usize = 8 * 1024;

/// How long a reader waits for the next job: the engine dismisses it earlier, by closing its pipe, unless it
/// has ended.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How long one that was booked waits for its job to begin: far longer than the engine does.
const LONGEST_BOOKED: Duration = Duration::from_secs(600);

/// How often one that was booked looks whether it still is.
const BOOKED_LOOK: Duration = Duration::from_secs(1);

/// A pane's bytes, as they come.
pub(crate) trait PaneBytes: Read {
    /// Waits until there are some, or until they have ended; returns false if it took too long.
    ///
    /// # Errors
    /// The system's own.
    fn comes(&mut self, within: Duration) -> io::Result<bool>;
}

impl PaneBytes for io::StdinLock<'_> {
    fn comes(&mut self, within: Duration) -> io::Result<bool> {
        let most = Timespec::try_from(within).map_err(io::Error::other)?;
        let fd = self.as_fd();
        let mut watched = [PollFd::new(&fd, PollFlags::IN)];
        match poll(&mut watched, Some(&most)) {
            Ok(found) => Ok(found > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Reads `input` up to the end of a job and writes what its command printed; then waits at its post, if it
/// has one, and does the same for each job for which it is booked.
///
/// A job's output holds the last `limit` bytes. Beside it, `.prepare` holds the end of what the
/// preparation printed, and `.done` appears, complete, when everything is written.
///
/// # Errors
/// The files cannot be written.
pub(crate) fn run(
    mut input: impl PaneBytes,
    first: &BookedJob,
    post: Option<&ReaderPost>,
) -> io::Result<()> {
    let mut chunk = vec![0; 64 * 1024];
    let mut current = Some(JobReading::begin(first)?);
    let mut booked: Option<Instant> = None;
    loop {
        if let (None, Some(post)) = (&current, post) {
            let wait = booked.map_or(LONGEST_WAIT, |_| BOOKED_LOOK);
            if !input.comes(wait)? {
                if post.leave() {
                    return Ok(());
                }
                if booked.get_or_insert_with(Instant::now).elapsed() > LONGEST_BOOKED {
                    post.accept();
                    return Ok(());
                }
                continue;
            }
        }
        let size = match input.read(&mut chunk) {
            Ok(size) => size,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let mut reading = match (current.take(), post) {
            (Some(reading), _) => reading,
            (None, None) => return Ok(()),
            (None, Some(post)) => match post.job() {
                Some(job) => {
                    let reading = JobReading::begin(&job)?;
                    post.accept();
                    reading
                }
                // What a pane prints between two jobs is nobody's.
                None if size > 0 => continue,
                None => {
                    post.leave();
                    return Ok(());
                }
            },
        };
        if size == 0 {
            return reading.finish(CaptureEnd::Pipe);
        }
        reading.feed(chunk.get(..size).unwrap_or_default())?;
        if !reading.splitter.is_done() {
            current = Some(reading);
            continue;
        }
        // Whoever sees that the job is done finds its reader free.
        let waits = post.is_some_and(|post| post.wait().is_ok());
        reading.finish(CaptureEnd::Job)?;
        if !waits {
            return Ok(());
        }
        booked = None;
    }
}

/// A job that is being read.
struct JobReading {
    splitter: Splitter,
    sink: FileSink,
}

impl JobReading {
    fn begin(job: &BookedJob) -> io::Result<Self> {
        Ok(Self {
            splitter: Splitter::new(&job.nonce),
            sink: FileSink::create(&job.output, job.limit)?,
        })
    }

    fn feed(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.splitter.feed(bytes, &mut self.sink)
    }

    fn finish(mut self, end: CaptureEnd) -> io::Result<()> {
        self.splitter.finish(&mut self.sink)?;
        self.sink.finish(end)
    }
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
            run(Pieces(&stream, size), &job(&path, "n", limit), None).expect("written");
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
        run(Pieces(stream.as_bytes(), 9), &job(&path, "n", 1_000), None).expect("written");
        assert_eq!(fs::read(&path).expect("the output"), b"a line\nand a ha");
        let done = fs::read(directory.path().join("7.done")).expect("done");
        let done: Captured = serde_json::from_slice(&done).expect("json");
        assert_eq!(done.end, CaptureEnd::Pipe);
        let earlier: Captured = serde_json::from_str(r#"{"total":3}"#).expect("json");
        assert_eq!(earlier.end, CaptureEnd::Job);
    }

    fn job(output: &Path, nonce: &str, limit: u64) -> BookedJob {
        BookedJob {
            nonce: nonce.to_owned(),
            limit,
            output: output.to_owned(),
        }
    }

    struct Pieces<'a>(&'a [u8], usize);

    impl PaneBytes for Pieces<'_> {
        fn comes(&mut self, _: Duration) -> io::Result<bool> {
            Ok(true)
        }
    }

    /// What a pane prints, and what the engine does, one after another.
    enum PaneEvent<'a> {
        Prints(String),
        Does(&'a dyn Fn()),
        Nothing,
    }

    struct PaneScene<'a>(std::collections::VecDeque<PaneEvent<'a>>);

    impl Read for PaneScene<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            while let Some(PaneEvent::Does(act)) = self.0.front() {
                act();
                self.0.pop_front();
            }
            match self.0.pop_front() {
                Some(PaneEvent::Prints(text)) => {
                    buffer[..text.len()].copy_from_slice(text.as_bytes());
                    Ok(text.len())
                }
                _ => Ok(0),
            }
        }
    }

    impl PaneBytes for PaneScene<'_> {
        fn comes(&mut self, _: Duration) -> io::Result<bool> {
            while let Some(PaneEvent::Does(act)) = self.0.front() {
                act();
                self.0.pop_front();
            }
            let waits_in_vain = matches!(self.0.front(), Some(PaneEvent::Nothing));
            if waits_in_vain {
                self.0.pop_front();
            }
            Ok(!waits_in_vain)
        }
    }

    fn whole_job(nonce: &str, printed: &str) -> String {
        [
            &mark('A', nonce),
            &mark('C', nonce),
            printed,
            &mark('D', nonce),
        ]
        .concat()
    }

    fn captured(output: &Path) -> Option<Captured> {
        let done = fs::read(output.with_extension("done")).ok()?;
        serde_json::from_slice(&done).ok()
    }

    #[test]
    fn a_reader_reads_one_job_after_another() {
        let directory = tempfile::tempdir().expect("a directory");
        let post = ReaderPost::at(directory.path().join("reader-1-3"));
        let path = |number: u32| directory.path().join(format!("{number}.out"));
        let book = |number: u32| {
            let next = job(&path(number), &format!("n{number}"), 100);
            assert!(post.book(next), "{number}");
        };
        let (second, third) = (|| book(2), || book(3));
        let is_gone = || {
            post.unbook(&path(3));
            assert!(post.has_reader());
        };
        let fourth = || book(4);
        let scene = PaneScene(
            [
                PaneEvent::Prints(whole_job("n1", "one")),
                // A prompt, and what a person writes there; a mark of nobody.
                PaneEvent::Prints("$ ls".to_owned() + &whole_job("n9", "nobody's")),
                PaneEvent::Does(&second),
                PaneEvent::Nothing,
                PaneEvent::Prints(whole_job("n2", "two") + "$ "),
                PaneEvent::Does(&third),
                PaneEvent::Nothing,
                // That one was never begun.
                PaneEvent::Does(&is_gone),
                PaneEvent::Does(&fourth),
                PaneEvent::Prints(mark('A', "n4") + &mark('C', "n4") + "fo"),
                PaneEvent::Prints("ur".to_owned() + &mark('D', "n4")),
                PaneEvent::Nothing,
            ]
            .into(),
        );
        run(scene, &job(&path(1), "n1", 100), Some(&post)).expect("read");
        for (number, printed) in [(1, "one"), (2, "two"), (4, "four")] {
            assert_eq!(
                fs::read_to_string(path(number)).expect("the output"),
                printed
            );
            let end = captured(&path(number)).expect("an end").end;
            assert_eq!(end, CaptureEnd::Job);
        }
        assert!(!path(3).exists() && !post.has_reader());
    }

    #[test]
    fn a_reader_whose_pipe_is_closed_says_so_of_the_job_for_which_it_was_booked() {
        let directory = tempfile::tempdir().expect("a directory");
        let post = ReaderPost::at(directory.path().join("reader-1-3"));
        let output = directory.path().join("2.out");
        let book = || assert!(post.book(job(&output, "n2", 100)));
        let first = directory.path().join("1.out");
        let scene = PaneScene(
            [
                PaneEvent::Prints(whole_job("n1", "one")),
                PaneEvent::Does(&book),
            ]
            .into(),
        );
        run(scene, &job(&first, "n1", 100), Some(&post)).expect("read");
        assert_eq!(captured(&output).expect("an end").end, CaptureEnd::Pipe);
        // One that waits for nothing leaves nothing.
        let scene = PaneScene([PaneEvent::Prints(whole_job("n1", "one"))].into());
        run(scene, &job(&first, "n1", 100), Some(&post)).expect("read");
        assert!(!post.has_reader());
    }

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
