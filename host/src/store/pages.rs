//! The pages of a database's file, and the newer ones in its log, as the file format of SQLite describes
//! them. SQLite itself is not asked: the file may be damaged, or made to harm.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::files::named::{self, FileError};

/// What a file begins with.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// The number of bytes before the first page's own: the header of the file.
pub(super) const FILE_HEADER: usize = 100;

/// The size of pages that SQLite chooses by default.
const USUAL_SIZE: usize = 4096;

/// The headers of a log and of each page in it.
const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// What the header of a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileHeader {
    /// The size of a page, and how much at its end is not used.
    size: usize,
    reserved: usize,
    /// How many pages there are, if the header says so.
    count: Option<u32>,
    /// The first page of the list of free ones.
    pub(super) free: u32,
    /// SQLite's `user_version`.
    pub(super) version: i64,
}

impl FileHeader {
    fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..FILE_HEADER)?;
        let size = match u16::from_be_bytes([bytes[16], bytes[17]]) {
            1 => 65_536,
            size => usize::from(size),
        };
        let is_utf8 = number(bytes, 56)? == 1;
        let is_one = bytes.starts_with(MAGIC) && is_utf8 && is_size(size) && bytes[20] <= 32;
        let is_counted = number(bytes, 24) == number(bytes, 92);
        is_one.then_some(Self {
            size,
            reserved: bytes[20].into(),
            count: number(bytes, 28).filter(|_| is_counted),
            free: number(bytes, 32)?,
            version: number(bytes, 60)?.cast_signed().into(),
        })
    }
}

fn is_size(size: usize) -> bool {
    size.is_power_of_two() && (512..=65_536).contains(&size)
}

/// Returns the four bytes at a place as a number.
pub(super) fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// The pages of a database.
pub(super) struct Pages {
    file: File,
    log: PageLog,
    size: usize,
    header: Option<FileHeader>,
    count: u32,
}

impl Pages {
    /// Opens a file, and its log if there is one beside it.
    ///
    /// # Errors
    /// It is no regular file, or cannot be opened.
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        let file = named::open(path)?;
        let bytes = file.metadata()?.len();
        let mut beside = path.as_os_str().to_owned();
        beside.push("-wal");
        let log = match named::open(Path::new(&beside)) {
            Ok(log) => PageLog::read(log),
            Err(error) if error.is_missing() => PageLog::default(),
            Err(_) => PageLog::broken(),
        };
        let mut begin = vec![0; FILE_HEADER];
        let in_log = log.first_page().and_then(|page| FileHeader::read(&page));
        let in_file = file.read_exact_at(&mut begin, 0).ok();
        let header = in_log.or_else(|| in_file.and_then(|()| FileHeader::read(&begin)));
        let known = header.map(|header| header.size).or(log.size);
        let size = known.unwrap_or(USUAL_SIZE);
        let log = if log.size.is_some_and(|other| other != size) {
            PageLog::broken()
        } else {
            log
        };
        let in_file = u32::try_from(bytes / size as u64).unwrap_or(u32::MAX);
        let told = header.and_then(|header| header.count);
        let count = log.count.or(told).unwrap_or_default().max(in_file);
        Ok(Self {
            file,
            log,
            size,
            header,
            count,
        })
    }

    /// Returns what the header of the file says; `None` if it is damaged.
    pub(super) fn header(&self) -> Option<FileHeader> {
        self.header
    }

    /// Whether a part of the log that was in use cannot be read.
    pub(super) fn has_broken_log(&self) -> bool {
        self.log.is_broken
    }

    /// Returns how many bytes of each page are used.
    pub(super) fn usable(&self) -> usize {
        self.size - self.header.map_or(0, |header| header.reserved)
    }

    /// Returns the number of the last page.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Returns a page; the first has the number 1. `None` if it is not there.
    pub(super) fn page(&self, number: u32) -> Option<Vec<u8>> {
        if number == 0 || number > self.count {
            return None;
        }
        if let Some((log, at)) = self.log.place(number) {
            return read_at(log, at, self.size);
        }
        read_at(
            &self.file,
            u64::from(number - 1) * self.size as u64,
            self.size,
        )
    }
}

fn read_at(file: &File, at: u64, size: usize) -> Option<Vec<u8>> {
    let mut page = vec![0; size];
    file.read_exact_at(&mut page, at).ok().map(|()| page)
}

/// The log of a database: pages that were committed and are not in its file yet.
#[derive(Default)]
struct PageLog {
    file: Option<File>,
    size: Option<usize>,
    /// Where each page begins.
    pages: HashMap<u32, u64>,
    /// How many pages the database has after the last commit.
    count: Option<u32>,
    is_broken: bool,
}

impl PageLog {
    fn broken() -> Self {
        Self {
            is_broken: true,
            ..Self::default()
        }
    }

    /// Reads which pages are in a log, as SQLite does: up to the last commit before the first page that
    /// is not as it was written. One that belongs to the same generation and is damaged says that what
    /// follows was lost; it may also be what was being written when the power failed.
    fn read(file: File) -> Self {
        let mut log = Self::default();
        let mut reader = BufReader::with_capacity(1 << 20, &file);
        if log.fill(&mut reader).is_err() {
            log.is_broken = true;
        }
        drop(reader);
        log.file = Some(file);
        log
    }

    fn fill(&mut self, reader: &mut impl Read) -> io::Result<()> {
        let mut header = [0; LOG_HEADER];
        if let Err(error) = reader.read_exact(&mut header) {
            let is_short = error.kind() == io::ErrorKind::UnexpectedEof;
            return if is_short { Ok(()) } else { Err(error) };
        }
        let word = |at| number(&header, at).unwrap_or_default();
        let (magic, size) = (word(0), word(8) as usize);
        let is_big = magic & 1 == 1;
        let mut sums = sum(&header[..24], (0, 0), is_big);
        if magic & !1 != 0x377f_0682 || !is_size(size) || sums != (word(24), word(28)) {
            self.is_broken = header != [0; LOG_HEADER];
            return Ok(());
        }
        self.size = Some(size);
        let mut uncommitted = Vec::new();
        let mut frame = vec![0; FRAME_HEADER + size];
        let mut at = LOG_HEADER as u64;
        while reader.read_exact(&mut frame).is_ok() {
            let word = |at| number(&frame, at).unwrap_or_default();
            if frame[8..16] != header[16..24] {
                // It is of an earlier generation.
                break;
            }
            sums = sum(
                &frame[FRAME_HEADER..],
                sum(&frame[..8], sums, is_big),
                is_big,
            );
            if sums != (word(16), word(20)) {
                self.is_broken = true;
                break;
            }
            uncommitted.push((word(0), at + FRAME_HEADER as u64));
            if word(4) != 0 {
                self.pages.extend(uncommitted.drain(..));
                self.count = Some(word(4));
            }
            at += frame.len() as u64;
        }
        Ok(())
    }

    fn place(&self, number: u32) -> Option<(&File, u64)> {
        let at = self.pages.get(&number)?;
        Some((self.file.as_ref()?, *at))
    }

    fn first_page(&self) -> Option<Vec<u8>> {
        let (file, at) = self.place(1)?;
        read_at(file, at, self.size?)
    }
}

/// Goes on with the sums of a log, over pairs of words.
fn sum(bytes: &[u8], (mut first, mut second): (u32, u32), is_big: bool) -> (u32, u32) {
    let word = |bytes: &[u8]| {
        let bytes = bytes.try_into().unwrap_or_default();
        if is_big {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    };
    for pair in bytes.chunks_exact(8) {
        first = first.wrapping_add(word(&pair[..4])).wrapping_add(second);
        second = second.wrapping_add(word(&pair[4..])).wrapping_add(first);
    }
    (first, second)
}
