//! When an agent really wrote what its record says: the times in its lines are its own, and earlier.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

/// How often it is looked: what is noted is late by no more.
const EVERY: Duration = Duration::from_millis(10);
/// After how many looks it is looked for new records.
const LISTED: usize = 20;

/// Notes when each line of the records below a directory was there, until it is dropped.
pub(crate) struct Records {
    written: Arc<Mutex<HashMap<Timestamp, Timestamp>>>,
    over: Arc<AtomicBool>,
}

impl Records {
    pub(crate) fn below(directory: &Path) -> Self {
        let records = Self {
            written: Arc::default(),
            over: Arc::default(),
        };
        let (written, over) = (records.written.clone(), records.over.clone());
        let directory = directory.to_owned();
        thread::spawn(move || {
            let mut read: HashMap<PathBuf, Reader> = HashMap::new();
            for look in 0.. {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                if look % LISTED == 0 {
                    for path in records_in(&directory) {
                        read.entry(path).or_default();
                    }
                }
                for (path, reader) in &mut read {
                    let now = Timestamp::now();
                    let times = reader.times(path);
                    let mut written = written.lock().expect("a lock");
                    written.extend(times.into_iter().map(|time| (time, now)));
                }
                thread::sleep(EVERY);
            }
        });
        records
    }

    /// Returns when the line of this time was there.
    pub(crate) fn written(&self, time: Timestamp) -> Option<Timestamp> {
        self.written.lock().expect("a lock").get(&time).copied()
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// How far a record was read, and the line that is not whole yet.
#[derive(Default)]
struct Reader {
    offset: u64,
    line: Vec<u8>,
}

impl Reader {
    /// Returns the times of the lines that are new.
    fn times(&mut self, path: &Path) -> Vec<Timestamp> {
        let mut new = Vec::new();
        let grown = fs::metadata(path).is_ok_and(|found| found.len() > self.offset);
        if !grown || self.append_to(&mut new, path).is_err() {
            return Vec::new();
        }
        self.offset += new.len() as u64;
        let mut times = Vec::new();
        for byte in new {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let line: Option<Value> = serde_json::from_slice(&self.line).ok();
            let time = line.as_ref().and_then(|line| line["timestamp"].as_str());
            times.extend(time.and_then(|time| time.parse::<Timestamp>().ok()));
            self.line.clear();
        }
        times
    }

    fn append_to(&self, new: &mut Vec<u8>, path: &Path) -> std::io::Result<()> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        file.read_to_end(new).map(|_| ())
    }
}

/// Returns the records in a directory and in those below it.
fn records_in(directory: &Path) -> Vec<PathBuf> {
    let mut records = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => records.extend(records_in(&path)),
            Ok(kind) if kind.is_file() && path.extension().is_some_and(|end| end == "jsonl") => {
                records.push(path);
            }
            _ => {}
        }
    }
    records
}
