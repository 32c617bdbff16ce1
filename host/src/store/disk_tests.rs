//! A disk in memory, on which anything may happen that happens to disks: it is full, it fails, or the
//! power fails, and what was not synchronised is there, or not, or in parts.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fastrand::Rng;
use rusqlite::ffi;

/// What a disk writes in one piece.
const SECTOR: usize = 512;

/// How many locks the shared memory of a database has.
const SHM_LOCKS: usize = 8;

/// A code of SQLite's for what went wrong.
pub(super) type SimCode = i32;

/// Something that happens to a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SimFault {
    /// The power fails: nothing works any more, and what was not synchronised may be lost.
    Power,
    /// There is no room for as many writes.
    Full(u32),
    /// As many calls fail; what a `sync` that fails should have kept may be lost.
    Broken(u32),
}

/// The disk. Its files have names; everything that has opened one may use it.
pub(super) struct SimDisk(Mutex<SimState>);

struct SimState {
    rng: Rng,
    files: BTreeMap<String, SimFile>,
    /// Files whose removal is not certain to last.
    removed: BTreeMap<String, SimFile>,
    /// How many calls remain until something happens, and what that is.
    due: Option<(u64, SimFault)>,
    has_fired: bool,
    has_power: bool,
}

#[derive(Default)]
struct SimFile {
    /// As every reader sees it.
    now: Vec<u8>,
    /// As it certainly is after the power has failed; `None` if there may be no such file.
    lasting: Option<Vec<u8>>,
    /// What may or may not have been written since.
    pending: Vec<SimWrite>,
    /// Who has which of SQLite's locks.
    locks: BTreeMap<u64, i32>,
    /// Memory that its users share, in pieces that stay where they are.
    shared: Vec<Box<[u8]>>,
    /// Who has the locks of that memory: as many readers, or one writer.
    shared_locks: [SimShared; SHM_LOCKS],
}

#[derive(Default, Clone, PartialEq, Eq)]
struct SimShared {
    readers: Vec<u64>,
    writer: Option<u64>,
}

#[derive(Clone)]
enum SimWrite {
    Bytes(usize, Vec<u8>),
    Size(usize),
}

/// What a call does, as far as faults differ.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SimCall {
    Read,
    Write,
    Sync,
}

impl SimDisk {
    /// Returns an empty disk. What is lost of it follows from the seed.
    pub(super) fn new(seed: u64) -> Self {
        Self(Mutex::new(SimState {
            rng: Rng::with_seed(seed),
            files: BTreeMap::new(),
            removed: BTreeMap::new(),
            due: None,
            has_fired: false,
            has_power: true,
        }))
    }

    /// Has something happen after as many calls.
    pub(super) fn plan(&self, after: u64, fault: SimFault) {
        let mut state = self.state();
        state.due = Some((after, fault));
        state.has_fired = false;
    }

    /// Looks at the disk while nothing happens to it.
    pub(super) fn in_peace<R>(&self, look: impl FnOnce() -> R) -> R {
        let due = self.state().due.take();
        let found = look();
        self.state().due = due;
        found
    }

    /// Returns whether what was planned has happened, at least once.
    pub(super) fn has_fired(&self) -> bool {
        self.state().has_fired
    }

    /// Returns whether the power is still there.
    pub(super) fn has_power(&self) -> bool {
        self.state().has_power
    }

    /// Lets the power fail now, if it has not yet, and come back: what was not synchronised is there,
    /// or not, or in parts. Nobody may use a file any more that was opened before.
    pub(super) fn restart(&self) {
        let mut state = self.state();
        let SimState {
            rng,
            files,
            removed,
            ..
        } = &mut *state;
        let names = files.keys().chain(removed.keys()).cloned();
        let names: Vec<String> = names.collect();
        for name in names {
            let new = files.remove(&name);
            let old = removed.remove(&name);
            let new = new.and_then(|file| file.survived(rng));
            let old = old.filter(|_| rng.bool());
            let old = old.and_then(|file| file.survived(rng));
            if let Some(content) = new.or(old) {
                let file = SimFile {
                    now: content.clone(),
                    lasting: Some(content),
                    ..SimFile::default()
                };
                files.insert(name, file);
            }
        }
        state.due = None;
        state.has_power = true;
    }

    /// Opens a file, and returns whether it is there now.
    pub(super) fn open(&self, name: &str, creates: bool) -> Result<bool, SimCode> {
        let mut state = self.state();
        state.call(SimCall::Read, ffi::SQLITE_CANTOPEN)?;
        if !state.files.contains_key(name) && creates {
            state.files.insert(name.to_owned(), SimFile::default());
        }
        Ok(state.files.contains_key(name))
    }

    /// Removes a file; `lasts` if that is certain at once.
    pub(super) fn remove(&self, name: &str, lasts: bool) -> Result<(), SimCode> {
        let mut state = self.state();
        state.call(SimCall::Read, ffi::SQLITE_IOERR_DELETE)?;
        let file = state.files.remove(name);
        let file = file.ok_or(ffi::SQLITE_IOERR_DELETE_NOENT)?;
        if !lasts && file.lasting.is_some() {
            state.removed.insert(name.to_owned(), file);
        }
        Ok(())
    }

    /// Returns whether there is such a file.
    pub(super) fn exists(&self, name: &str) -> bool {
        self.state().files.contains_key(name)
    }

    /// Reads into `bytes` from a position, and returns how many there were.
    pub(super) fn read(&self, name: &str, at: usize, bytes: &mut [u8]) -> Result<usize, SimCode> {
        let mut state = self.state();
        state.call(SimCall::Read, ffi::SQLITE_IOERR_READ)?;
        let file = &state.file(name)?.now;
        let found = file.get(at..).unwrap_or_default();
        let count = found.len().min(bytes.len());
        bytes[..count].copy_from_slice(&found[..count]);
        Ok(count)
    }

    /// Writes at a position. If it fails, a part may be written.
    pub(super) fn write(&self, name: &str, at: usize, bytes: &[u8]) -> Result<(), SimCode> {
        let mut state = self.state();
        if !state.has_power {
            return Err(ffi::SQLITE_IOERR_WRITE);
        }
        let called = state.call(SimCall::Write, ffi::SQLITE_IOERR_WRITE);
        let count = match called {
            Ok(()) => bytes.len(),
            Err(_) => state.rng.usize(..=bytes.len()),
        };
        if count > 0 {
            let write = SimWrite::Bytes(at, bytes[..count].to_vec());
            state.file(name)?.change(write);
        }
        called
    }

    /// Cuts a file.
    pub(super) fn truncate(&self, name: &str, size: usize) -> Result<(), SimCode> {
        let mut state = self.state();
        state.call(SimCall::Read, ffi::SQLITE_IOERR_TRUNCATE)?;
        state.file(name)?.change(SimWrite::Size(size));
        Ok(())
    }

    /// Makes everything last that was written to a file, and the file itself.
    pub(super) fn sync(&self, name: &str) -> Result<(), SimCode> {
        let mut state = self.state();
        let called = state.call(SimCall::Sync, ffi::SQLITE_IOERR_FSYNC);
        let SimState {
            rng,
            files,
            has_power,
            ..
        } = &mut *state;
        let file = files.get_mut(name).ok_or(ffi::SQLITE_IOERR)?;
        if called.is_ok() {
            let lasting = file.lasting.get_or_insert_default();
            let pending = file.pending.drain(..);
            pending.for_each(|write| write.to(lasting));
        } else if *has_power {
            // As on Linux: what could not be written is not tried again.
            file.pending.retain(|_| rng.bool());
        }
        called
    }

    /// Makes it last which files there are.
    pub(super) fn sync_directory(&self) {
        let mut state = self.state();
        if state.has_power {
            state.removed.clear();
            for file in state.files.values_mut() {
                file.lasting.get_or_insert_default();
            }
        }
    }

    /// Returns the size of a file.
    pub(super) fn size(&self, name: &str) -> Result<usize, SimCode> {
        Ok(self.state().file(name)?.now.len())
    }

    /// Takes one of SQLite's five locks for a user, or gives some back.
    pub(super) fn lock(&self, name: &str, user: u64, level: i32) -> Result<(), SimCode> {
        let mut state = self.state();
        let locks = &mut state.file(name)?.locks;
        let others = locks.iter().filter(|(other, _)| **other != user);
        let highest = others.map(|(_, level)| *level).max().unwrap_or_default();
        let is_free = match level {
            ffi::SQLITE_LOCK_NONE => true,
            ffi::SQLITE_LOCK_SHARED => highest < ffi::SQLITE_LOCK_PENDING,
            ffi::SQLITE_LOCK_RESERVED => highest < ffi::SQLITE_LOCK_RESERVED,
            _ => highest == ffi::SQLITE_LOCK_NONE,
        };
        if !is_free {
            return Err(ffi::SQLITE_BUSY);
        }
        locks.insert(user, level);
        Ok(())
    }

    /// Returns whether another user is about to write.
    pub(super) fn is_reserved(&self, name: &str) -> Result<bool, SimCode> {
        let mut state = self.state();
        let mut levels = state.file(name)?.locks.values();
        Ok(levels.any(|&level| level >= ffi::SQLITE_LOCK_RESERVED))
    }

    /// Returns a piece of the memory that users of a file share.
    pub(super) fn shared(
        &self,
        name: &str,
        index: usize,
        size: usize,
        extends: bool,
    ) -> Result<Option<*mut u8>, SimCode> {
        let mut state = self.state();
        if extends {
            let called = state.call(SimCall::Write, ffi::SQLITE_IOERR_SHMSIZE);
            called.map_err(|_| ffi::SQLITE_IOERR_SHMSIZE)?;
        }
        let pieces = &mut state.file(name)?.shared;
        while extends && pieces.len() <= index {
            pieces.push(vec![0; size].into());
        }
        Ok(pieces.get_mut(index).map(|piece| piece.as_mut_ptr()))
    }

    /// Takes or gives back locks of the shared memory.
    pub(super) fn lock_shared(
        &self,
        name: &str,
        user: u64,
        slots: std::ops::Range<usize>,
        flags: i32,
    ) -> Result<(), SimCode> {
        let mut state = self.state();
        let locks = &mut state.file(name)?.shared_locks[slots];
        let is_shared = flags & ffi::SQLITE_SHM_SHARED != 0;
        if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
            for lock in locks {
                lock.writer = lock.writer.filter(|writer| *writer != user);
                lock.readers.retain(|reader| *reader != user);
            }
            return Ok(());
        }
        let is_free = |lock: &SimShared| {
            lock.writer.is_none_or(|writer| writer == user)
                && (is_shared || lock.readers.iter().all(|reader| *reader == user))
        };
        if !locks.iter().all(is_free) {
            return Err(ffi::SQLITE_BUSY);
        }
        for lock in locks {
            if is_shared {
                lock.readers.push(user);
            } else {
                lock.writer = Some(user);
            }
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, SimState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SimState {
    fn file(&mut self, name: &str) -> Result<&mut SimFile, SimCode> {
        self.files.get_mut(name).ok_or(ffi::SQLITE_IOERR)
    }

    /// Counts a call, and returns the error with which it fails, if it does.
    fn call(&mut self, what: SimCall, error: SimCode) -> Result<(), SimCode> {
        if !self.has_power {
            return Err(error);
        }
        let Some((after, fault)) = self.due else {
            return Ok(());
        };
        if after > 0 {
            self.due = Some((after - 1, fault));
            return Ok(());
        }
        let (next, failed) = match fault {
            SimFault::Power => {
                self.has_power = false;
                (None, error)
            }
            SimFault::Full(_) if what != SimCall::Write => return Ok(()),
            SimFault::Full(left) => (Self::again(left, SimFault::Full), ffi::SQLITE_FULL),
            SimFault::Broken(left) => (Self::again(left, SimFault::Broken), error),
        };
        self.has_fired = true;
        self.due = next;
        Err(failed)
    }

    fn again(left: u32, fault: fn(u32) -> SimFault) -> Option<(u64, SimFault)> {
        (left > 1).then(|| (0, fault(left - 1)))
    }
}

impl SimFile {
    fn change(&mut self, write: SimWrite) {
        write.clone().to(&mut self.now);
        self.pending.push(write);
    }

    /// Returns what is left of it after the power has failed, if there is anything.
    fn survived(self, rng: &mut Rng) -> Option<Vec<u8>> {
        let is_there = self.lasting.is_some() || rng.bool();
        let mut content = self.lasting.unwrap_or_default();
        for write in self.pending {
            match rng.u8(0..3) {
                0 => {}
                1 => write.to(&mut content),
                _ => write.partly_to(&mut content, rng),
            }
        }
        is_there.then_some(content)
    }
}

impl SimWrite {
    fn to(self, content: &mut Vec<u8>) {
        match self {
            Self::Size(size) => content.resize(size, 0),
            Self::Bytes(at, bytes) => {
                let end = at + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[at..end].copy_from_slice(&bytes);
            }
        }
    }

    /// Writes some of its sectors.
    fn partly_to(self, content: &mut Vec<u8>, rng: &mut Rng) {
        let Self::Bytes(at, bytes) = self else {
            return;
        };
        for (index, sector) in bytes.chunks(SECTOR).enumerate() {
            if rng.bool() {
                Self::Bytes(at + index * SECTOR, sector.to_vec()).to(content);
            }
        }
    }
}

#[test]
fn what_was_synchronised_stays_and_nothing_else_is_certain() {
    let mut lost = 0;
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        assert!(disk.open("a", true).expect("opened"));
        disk.write("a", 0, &[1; 2048]).expect("written");
        disk.sync("a").expect("synchronised");
        disk.write("a", 512, &[2; 1024]).expect("written");
        disk.open("b", true).expect("opened");
        disk.write("b", 0, &[3]).expect("written");
        disk.plan(1, SimFault::Power);
        disk.read("a", 0, &mut [0]).expect("not yet");
        disk.sync("a").expect_err("no power");
        assert!(!disk.has_power() && disk.has_fired());
        disk.write("a", 0, &[4; 2048]).expect_err("no power");
        disk.restart();
        let mut found = [0; 2048];
        assert_eq!(disk.read("a", 0, &mut found), Ok(2048));
        assert_eq!(found[..512], [1; 512]);
        assert_eq!(found[1536..], [1; 512]);
        lost += usize::from(found[512..1024] == [1; 512]);
    }
    assert!((20..180).contains(&lost), "{lost}");
}

#[test]
fn a_full_disk_takes_a_part_and_a_broken_sync_forgets() {
    let disk = SimDisk::new(1);
    disk.open("a", true).expect("opened");
    disk.plan(0, SimFault::Full(2));
    disk.sync("a").expect("no room is needed");
    for _ in 0..2 {
        let full = disk.write("a", 0, &[1; 100]);
        assert_eq!(full, Err(ffi::SQLITE_FULL));
    }
    disk.write("a", 0, &[2; 100]).expect("there is room again");
    assert_eq!(disk.size("a"), Ok(100));
    disk.plan(0, SimFault::Broken(1));
    assert_eq!(disk.sync("a"), Err(ffi::SQLITE_IOERR_FSYNC));
    disk.sync("a").expect("synchronised");
    let mut seen = [0; 100];
    disk.read("a", 0, &mut seen).expect("read");
    assert_eq!(seen, [2; 100]);
    assert!(disk.has_fired());
}
