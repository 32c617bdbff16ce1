//! Transcripts as they are, as they are when cut off, and as nobody would write them.

mod any_input;
mod files;
mod formats;
mod places;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use super::turns::Turns;
use super::*;

const CODEX: &str = include_str!("samples/codex.jsonl");
const CLAUDE: &str = include_str!("samples/claude.jsonl");
const AIDER: &str = include_str!("samples/aider.md");
const GEMINI: &str = include_str!("samples/gemini.jsonl");
const QWEN: &str = include_str!("samples/qwen.jsonl");
const SAMPLES: [(Format, &str); 3] = [
    (Format::Codex, CODEX),
    (Format::Claude, CLAUDE),
    (Format::Aider, AIDER),
];

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// Returns all turns, as a reader that forgets none would see them.
fn turns(format: Format, text: &str) -> Vec<TranscriptTurn> {
    let mut parser = Parser::new(format.lines().expect("lines"), false);
    let mut entries = Vec::new();
    let mut all: Vec<TranscriptTurn> = Vec::new();
    let mut kept = Turns::default();
    let lines = text.lines().map(Some).chain([None]);
    for line in lines {
        let at = match line {
            Some(line) => parser.line(line, &mut entries),
            None => {
                parser.still(&mut entries);
                None
            }
        };
        for entry in entries.drain(..) {
            if matches!(entry, Entry::Began { .. }) {
                all.extend(kept.latest().cloned());
            }
            kept.take(&entry, Timestamp::MAX);
        }
        if let Some(at) = at {
            kept.noted(at);
        }
    }
    all.extend(kept.latest().cloned());
    all
}

fn prompts(turns: &[TranscriptTurn]) -> Vec<&str> {
    turns
        .iter()
        .filter_map(|turn| turn.prompt.as_deref())
        .collect()
}

/// Removes the times that depend on when an entry was read.
fn timeless(mut entries: Vec<Entry>) -> Vec<Entry> {
    for entry in &mut entries {
        if let Entry::Ended {
            how: How::Limited { until, .. },
            ..
        } = entry
        {
            *until = None;
        }
    }
    entries
}

struct Scratch {
    directory: tempfile::TempDir,
}

impl Scratch {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self { directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("transcript")
    }

    fn write(&self, text: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(), text).expect("written");
        self.path()
    }

    fn append(&self, text: impl AsRef<[u8]>) {
        let mut file = OpenOptions::new()
            .append(true)
            .open(self.path())
            .expect("there");
        file.write_all(text.as_ref()).expect("written");
    }
}

fn read_all(follower: &mut Follower) -> Vec<Entry> {
    let mut entries = Vec::new();
    for _ in 0..20 {
        entries.extend(follower.read().expect("readable"));
    }
    entries.extend(follower.settle_now());
    timeless(entries)
}

fn wanted(text: &str, since: Timestamp) -> Wanted<'_> {
    Wanted {
        id: None,
        text,
        nonce: None,
        since,
    }
}
