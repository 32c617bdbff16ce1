//! Follows one file of lines while it grows.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::fs::OFlags;

use super::turns::Turns;
use super::{Entry, LineFormat, Parser};

/// How much one call reads, in bytes: a long file takes several calls, so that nobody has to wait.
const AT_ONCE: usize = 4 << 20;
/// The longest line that is read. No line that matters comes near it.
const LONGEST_LINE: usize = 16 << 20;
/// How far back the state of a turn is looked for, in bytes; further only if that shows nothing.
const TAILS: [usize; 3] = [256 << 10, 1 << 20, 4 << 20];
/// After nothing was written for this long, the writer has finished what it wrote in one go.
const STILL: Duration = Duration::from_secs(1);
/// The number of bytes before the offset that are compared with the file again, so that a file that
/// was rewritten in place is not mistaken for one that grew.
const MARK: usize = 64;

/// Follows one file while it grows.
///
/// Reads only whole lines: an unfinished last line is kept for later. A file that was truncated or
/// replaced is read from its start.
#[derive(Debug)]
pub(super) struct Lines {
    format: LineFormat,
    path: PathBuf,
    parser: Parser,
    turns: Turns,
    /// The device and inode of the file.
    identity: Option<(u64, u64)>,
    /// Where the next read begins.
    offset: u64,
    /// The bytes before `offset`, at most `MARK` of them.
    mark: Vec<u8>,
    /// A line whose end has not been read yet.
    partial: Vec<u8>,
    /// In the middle of a line that is skipped.
    skipping: bool,
    /// When it was last seen to grow.
    grew: Instant,
    settled: bool,
}

impl Lines {
    /// Follows a file from its beginning. The file need not exist yet.
    pub(super) fn new(format: LineFormat, path: PathBuf) -> Self {
        Self {
            format,
            path,
            parser: Parser::new(format, false),
            turns: Turns::default(),
            identity: None,
            offset: 0,
            mark: Vec::new(),
            partial: Vec::new(),
            skipping: false,
            grew: Instant::now(),
            settled: false,
        }
    }

    /// Follows a file from its end: [`Lines::read`] returns only what is added.
    ///
    /// [`Lines::turns`] still has the turn that is open or was the last one, read from the end of the
    /// file.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub(super) fn at_end(format: LineFormat, path: PathBuf) -> io::Result<Self> {
        let mut follower = Self::new(format, path);
        let (file, identity, length) = open(&follower.path)?;
        follower.identity = Some(identity);
        for tail in TAILS {
            follower.parser = Parser::new(format, true);
            follower.turns = Turns::default();
            if follower.look_back(&file, length, tail)? {
                break;
            }
        }
        follower.turns.age();
        follower.remember_mark(&file)?;
        Ok(follower)
    }

    /// Returns the path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what is new, at most 4 MiB of it.
    ///
    /// # Errors
    ///
    /// The file does not exist, is not a regular file, or cannot be read. A later call may succeed.
    pub(super) fn read(&mut self) -> io::Result<Vec<Entry>> {
        let (file, identity, length) = open(&self.path)?;
        let other = self.identity.is_some_and(|known| known != identity);
        if other || length < self.offset || !self.mark_holds(&file)? {
            *self = Self::new(self.format, std::mem::take(&mut self.path));
        }
        self.identity = Some(identity);
        let mut entries = Vec::new();
        let wanted = usize::try_from(length - self.offset).map_or(AT_ONCE, |new| new.min(AT_ONCE));
        let new = read_at(&file, self.offset, wanted)?;
        if new.is_empty() {
            if !self.settled && self.grew.elapsed() >= STILL {
                self.settle(&mut entries);
            }
            return Ok(entries);
        }
        self.grew = Instant::now();
        self.settled = false;
        self.offset += new.len() as u64;
        self.feed(&new, &mut entries);
        self.remember_mark(&file)?;
        Ok(entries)
    }

    /// Marks all turns so far as older than what follows.
    pub(super) fn age(&mut self) {
        self.turns.age();
    }

    /// Returns the turns that were read.
    pub(super) fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Acts as if nothing had been written for a while.
    #[cfg(test)]
    pub(super) fn settle_now(&mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        self.settle(&mut entries);
        entries
    }

    pub(super) fn settle(&mut self, entries: &mut Vec<Entry>) {
        self.settled = true;
        let known = entries.len();
        self.parser.still(entries);
        for entry in entries.iter().skip(known) {
            self.turns.take(entry, Timestamp::now());
        }
    }

    pub(super) fn feed(&mut self, bytes: &[u8], entries: &mut Vec<Entry>) {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, behind) = rest.split_at(end);
            rest = behind.get(1..).unwrap_or_default();
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            if self.partial.is_empty() {
                self.line(line, entries);
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(line);
                if whole.len() <= LONGEST_LINE {
                    self.line(&whole, entries);
                }
            }
        }
        if self.skipping {
            return;
        }
        self.partial.extend_from_slice(rest);
        if self.partial.len() > LONGEST_LINE {
            self.partial = Vec::new();
            self.skipping = true;
        }
    }

    fn line(&mut self, line: &[u8], entries: &mut Vec<Entry>) {
        let known = entries.len();
        let at = self.parser.line(&String::from_utf8_lossy(line), entries);
        for entry in entries.iter().skip(known) {
            self.turns.take(entry, Timestamp::now());
        }
        if let Some(at) = at {
            self.turns.noted(at);
        }
    }

    /// Reads the last `tail` bytes and returns whether they are enough.
    fn look_back(&mut self, file: &File, length: u64, tail: usize) -> io::Result<bool> {
        let start = length.saturating_sub(tail as u64);
        let bytes = read_at(file, start, tail)?;
        let first = match start {
            0 => 0,
            _ => memchr::memchr(b'\n', &bytes).map_or(bytes.len(), |end| end + 1),
        };
        let last = memchr::memrchr(b'\n', &bytes).map_or(0, |end| end + 1);
        self.offset = start + last as u64;
        self.skipping = start > 0 && last == 0;
        if self.skipping {
            // They do not contain even one line end: the line is skipped.
            self.offset = start + bytes.len() as u64;
        }
        let mut entries = Vec::new();
        self.feed(bytes.get(first..last).unwrap_or_default(), &mut entries);
        self.skipping = start > 0 && last == 0;
        self.settle(&mut entries);
        self.settled = false;
        Ok(start == 0 || !entries.is_empty())
    }

    fn mark_holds(&self, file: &File) -> io::Result<bool> {
        let start = self.offset.saturating_sub(self.mark.len() as u64);
        Ok(read_at(file, start, self.mark.len())? == self.mark)
    }

    fn remember_mark(&mut self, file: &File) -> io::Result<()> {
        let start = self.offset.saturating_sub(MARK as u64);
        let size = usize::try_from(self.offset - start).unwrap_or(MARK);
        self.mark = read_at(file, start, size)?;
        Ok(())
    }
}

/// Opens a file. Anything but a regular file is refused (a pipe has no end).
fn open(path: &Path) -> io::Result<(File, (u64, u64), u64)> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a transcript must be a regular file",
        ));
    }
    let identity = (metadata.dev(), metadata.ino());
    Ok((file, identity, metadata.len()))
}

/// Reads at most `size` bytes.
fn read_at(file: &File, offset: u64, size: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; size];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
