//! Decided rounds on disk: compressed, bounded, and read again for replay.
//!
//! A directory holds segments, `00000001.jsonl.zst` and so on, each a stream with one round a line.
//! A block of the stream ends with each round, so that after a crash a segment can be read up to
//! its last round. Each daemon starts a new segment; when all segments together exceed the limit,
//! the oldest are deleted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use zstd::stream::{read::Decoder, write::Encoder};

use crate::files::private;
use crate::model::matching::{Decision, PolicyId, Question};

use super::check;

/// One decided round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// The policy that decided.
    pub policy: PolicyId,
    /// Its settings.
    pub settings: Value,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// What went wrong in it, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The question.
    pub question: Question,
    /// The decisions, one for each task.
    pub decisions: Vec<Decision>,
    /// What another policy would have decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadowed>,
}

/// What the shadow, the policy beside the live one, would have decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shadowed {
    /// The shadow.
    pub policy: PolicyId,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// One for each task; empty if it failed.
    pub decisions: Vec<Decision>,
    /// How it failed, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// The number of segments that the limit is divided into: one is dropped at a time.
const SEGMENTS: u64 = 8;
/// The most bytes of one recorded round, uncompressed; a longer one was not written by this
/// program.
const LONGEST_ROUND: u64 = 256 << 20;
const LEVEL: i32 = 3;
const ENDING: &str = ".jsonl.zst";

/// Writes rounds into a directory.
pub struct Archive {
    directory: PathBuf,
    limit: u64,
    next: u64,
    segment: Option<Segment>,
    /// Bytes of all earlier segments.
    before: u64,
    rounds: u64,
}

struct Segment {
    path: PathBuf,
    stream: Encoder<'static, File>,
    bytes: u64,
    rounds: u64,
}

impl Archive {
    /// Opens a directory, readable only by its owner, whose segments take at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// The directory cannot be made or read.
    pub fn open(directory: &Path, limit: u64) -> io::Result<Self> {
        private::directory(directory)?;
        let segments = segments(directory)?;
        let mut archive = Self {
            directory: directory.to_owned(),
            limit: limit.max(1),
            next: segments.last().map_or(1, |(number, _)| number + 1),
            segment: None,
            before: 0,
            rounds: 0,
        };
        archive.make_room(None)?;
        Ok(archive)
    }

    /// The number of rounds written since it was opened, and the bytes of all segments.
    pub fn extent(&self) -> (u64, u64) {
        let current = self.segment.as_ref().map_or(0, |segment| segment.bytes);
        (self.rounds, self.before + current)
    }

    /// Writes a round.
    ///
    /// # Errors
    ///
    /// The system refused to write; the next round starts a new segment.
    pub fn write(&mut self, round: &Round) -> io::Result<()> {
        let mut segment = match self.segment.take() {
            Some(segment) => segment,
            None => self.start()?,
        };
        if let Err(error) = segment.append(round) {
            if segment.rounds == 0 {
                // It contains nothing useful, and empty segments must not pile up while the next
                // tries fail too.
                let _ = fs::remove_file(&segment.path);
            }
            let _ = self.make_room(None);
            return Err(error);
        }
        self.rounds += 1;
        if segment.bytes < self.limit / SEGMENTS {
            self.segment = Some(segment);
            return Ok(());
        }
        segment.stream.finish()?;
        if segment.bytes > self.limit {
            // A single round exceeds the limit for everything.
            fs::remove_file(&segment.path)?;
        }
        self.make_room(Some(&segment.path))
    }

    fn start(&mut self) -> io::Result<Segment> {
        // Somebody may have removed the directory.
        private::directory(&self.directory)?;
        let path = self.directory.join(format!("{:08}{ENDING}", self.next));
        self.next += 1;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Segment {
            stream: Encoder::new(file, LEVEL)?,
            path,
            bytes: 0,
            rounds: 0,
        })
    }

    /// Deletes the oldest segments until there is room for another one; never deletes the `newest`.
    fn make_room(&mut self, newest: Option<&Path>) -> io::Result<()> {
        let allowed = self.limit - self.limit / SEGMENTS;
        let mut sizes = Vec::new();
        for (_, path) in segments(&self.directory)? {
            sizes.push((path.metadata()?.len(), path));
        }
        let mut total: u64 = sizes.iter().map(|(size, _)| size).sum();
        for (size, path) in sizes {
            if total <= allowed || Some(path.as_path()) == newest {
                break;
            }
            fs::remove_file(path)?;
            total -= size;
        }
        self.before = total;
        Ok(())
    }
}

impl Segment {
    fn append(&mut self, round: &Round) -> io::Result<()> {
        serde_json::to_writer(&mut self.stream, round)?;
        self.stream.write_all(b"\n")?;
        // This ends a block: up to here it can be read, whatever happens.
        self.stream.flush()?;
        self.bytes = self.stream.get_ref().metadata()?.len();
        self.rounds += 1;
        Ok(())
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        if let Some(segment) = self.segment.take() {
            // What was flushed can be read even without the end.
            let _ = segment.stream.finish();
        }
    }
}

/// Reads all rounds of a directory, oldest first, and returns what could not be read, one line for
/// each segment.
///
/// # Errors
///
/// There is no such directory, or `take` returned an error.
pub(super) fn read<E: From<io::Error>>(
    directory: &Path,
    mut take: impl FnMut(Round) -> Result<(), E>,
) -> Result<Vec<String>, E> {
    let mut damages = Vec::new();
    for (_, path) in segments(directory)? {
        let shown = super::source::shown(&path);
        match read_segment(&path, &mut take)? {
            None => {}
            Some((rounds, why)) => damages.push(format!(
                "{shown} cannot be read after its round {rounds}: {why}"
            )),
        }
    }
    Ok(damages)
}

/// Returns how many rounds could be read, and why the rest could not.
fn read_segment<E: From<io::Error>>(
    path: &Path,
    take: &mut impl FnMut(Round) -> Result<(), E>,
) -> Result<Option<(u64, String)>, E> {
    let mut rounds = 0;
    let stream = File::open(path).and_then(Decoder::new);
    let mut lines = match stream {
        Ok(stream) => BufReader::new(stream),
        // A recording daemon has just deleted it to make room.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Ok(Some((rounds, error.to_string()))),
    };
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = Read::by_ref(&mut lines).take(LONGEST_ROUND);
        match bounded.read_until(b'\n', &mut line) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            // The daemon was killed or is still writing: all complete rounds were read.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Ok(Some((rounds, error.to_string()))),
        }
        match parse(&line) {
            Ok(round) => take(round)?,
            Err(why) => return Ok(Some((rounds, why))),
        }
        rounds += 1;
    }
}

/// Reads one round and checks that its positions are all within its lists.
fn parse(line: &[u8]) -> Result<Round, String> {
    let round: Round = serde_json::from_slice(line)
        .map_err(|error| check::line(&format!("it is not a round: {error}"), 200))?;
    let sessions = round.question.sessions.len();
    let tasks = &round.question.tasks;
    let positions = tasks.iter().flat_map(|task| {
        let eligible = task.eligible.iter().flatten();
        eligible.chain(&task.avoid).chain(&task.follows)
    });
    if let Some(position) = positions.copied().find(|position| *position >= sessions) {
        return Err(format!("it names session {position} of {sessions}"));
    }
    let shadowed = round.shadow.as_ref();
    let shadowed = shadowed.filter(|shadow| shadow.failure.is_none());
    let shadowed = shadowed.map(|shadow| shadow.decisions.clone());
    for decisions in [Some(round.decisions.clone()), shadowed]
        .into_iter()
        .flatten()
    {
        check::check(&round.question, decisions).map_err(|violation| violation.to_string())?;
    }
    Ok(round)
}

/// The segments of a directory, oldest first.
fn segments(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.strip_suffix(ENDING)?.parse().ok());
        if let Some(number) = number {
            segments.push((number, path));
        }
    }
    segments.sort_unstable();
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::rounds;

    fn round(number: u64) -> Round {
        let mut question = rounds::workload(3, 3);
        question.now += number;
        Round {
            policy: PolicyId {
                name: "p".to_owned(),
                version: "1".to_owned(),
                sha256: "00".to_owned(),
            },
            settings: serde_json::json!({"a": 1}),
            took_us: number,
            failure: None,
            decisions: vec![
                Decision::Wait {
                    reason: "so".to_owned(),
                    others: Vec::new(),
                };
                3
            ],
            question,
            shadow: None,
        }
    }

    fn numbers(directory: &Path) -> (Vec<u64>, Vec<String>) {
        let mut numbers = Vec::new();
        let damages = read(directory, |round| {
            numbers.push(round.took_us);
            Ok::<_, io::Error>(())
        });
        (numbers, damages.expect("it can be read"))
    }

    #[test]
    fn what_was_written_is_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut archive = Archive::open(directory.path(), 1 << 20).expect("an archive");
        for number in 0..100 {
            archive.write(&round(number)).expect("written");
        }
        // The stream has no end, as after a crash.
        assert_eq!(numbers(directory.path()), ((0..100).collect(), Vec::new()));
        drop(archive);
        let mut archive = Archive::open(directory.path(), 1 << 20).expect("an archive");
        archive.write(&round(100)).expect("written");
        drop(archive);
        let (read, damages) = numbers(directory.path());
        assert_eq!(read, (0..=100).collect::<Vec<_>>());
        assert!(damages.is_empty(), "{damages:?}");
        let mut first = None;
        let _ = super::read(directory.path(), |round| {
            first.get_or_insert(round);
            Ok::<_, io::Error>(())
        });
        assert_eq!(first, Some(round(0)));
    }

    #[test]
    fn the_oldest_make_room() {
        let directory = tempfile::tempdir().expect("a directory");
        let limit = 16 << 10;
        let mut archive = Archive::open(directory.path(), limit).expect("an archive");
        for number in 0..2_000 {
            archive.write(&round(number)).expect("written");
            let sizes = segments(directory.path()).expect("segments");
            let total: u64 = sizes
                .iter()
                .map(|(_, path)| path.metadata().map_or(0, |m| m.len()))
                .sum();
            assert!(total <= limit, "{total} bytes after {number}");
            assert_eq!(archive.extent(), (number + 1, total));
        }
        drop(archive);
        let (read, damages) = numbers(directory.path());
        assert!(damages.is_empty(), "{damages:?}");
        assert!(read.len() > 50 && read.len() < 2_000, "{}", read.len());
        assert_eq!(read, (2_000 - read.len() as u64..2_000).collect::<Vec<_>>());
    }

    #[test]
    fn a_round_that_is_larger_than_everything_may_be_is_not_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut archive = Archive::open(directory.path(), 100).expect("an archive");
        archive.write(&round(1)).expect("written");
        assert_eq!(archive.extent().1, 0);
        assert!(segments(directory.path()).expect("segments").is_empty());
    }

    #[test]
    fn damage_is_told_and_the_rest_is_read() {
        let directory = tempfile::tempdir().expect("a directory");
        for number in 0..3 {
            let mut archive = Archive::open(directory.path(), 1 << 20).expect("an archive");
            archive.write(&round(number)).expect("written");
        }
        let first = directory.path().join("00000001.jsonl.zst");
        let bytes = fs::read(&first).expect("it");
        for damaged in [
            b"nonsense".to_vec(),
            bytes[..bytes.len() / 2].to_vec(),
            zstd::encode_all(&b"{}\n"[..], 1).expect("it"),
            zstd::encode_all(&b"[[[[["[..], 1).expect("it"),
        ] {
            fs::write(&first, &damaged).expect("written");
            let (read, damages) = numbers(directory.path());
            assert_eq!(read, [1, 2]);
            assert!(damages.len() <= 1, "{damages:?}");
            for damage in damages {
                assert!(damage.contains("00000001"), "{damage}");
            }
        }
    }

    #[test]
    fn positions_that_lead_nowhere_are_damage() {
        let mut hostile = round(1);
        hostile.question.tasks[0].avoid = vec![3];
        let line = serde_json::to_vec(&hostile).expect("it");
        assert!(parse(&line).is_err());
        let mut hostile = round(1);
        hostile.decisions.pop();
        let line = serde_json::to_vec(&hostile).expect("it");
        assert!(parse(&line).is_err());
    }
}
