//! What agents write of their turns, in each format.

use super::lines::Lines;
use super::turns::MOST_BEFORE;
use super::{Entry, Format, LineFormat, Wanted, opencode};
use crate::fuzz::{FuzzTarget, steered};

/// The targets of this module.
pub(crate) const TARGETS: &[FuzzTarget] = &[
    FuzzTarget {
        name: "codex",
        seeds: &[
            "host/src/agents/transcript/samples/codex.jsonl",
            "host/src/agents/transcript/samples/codex-further.jsonl",
            "host/src/agents/transcript/samples/codex-older.jsonl",
            "host/src/agents/transcript/samples/codex-unasked.jsonl",
        ],
        run: |data| lines(Format::Codex, LineFormat::Codex, data),
    },
    FuzzTarget {
        name: "claude",
        seeds: &[
            "host/src/agents/transcript/samples/claude.jsonl",
            "host/src/agents/transcript/samples/claude-without-ends.jsonl",
        ],
        run: |data| lines(Format::Claude, LineFormat::Claude, data),
    },
    FuzzTarget {
        name: "aider",
        seeds: &["host/src/agents/transcript/samples/aider.md"],
        run: |data| lines(Format::Aider, LineFormat::Aider, data),
    },
    FuzzTarget {
        name: "gemini",
        seeds: &["host/src/agents/transcript/samples/gemini.jsonl"],
        run: |data| lines(Format::Gemini, LineFormat::Gemini, data),
    },
    FuzzTarget {
        name: "qwen",
        seeds: &["host/src/agents/transcript/samples/qwen.jsonl"],
        run: |data| lines(Format::Qwen, LineFormat::Qwen, data),
    },
    FuzzTarget {
        name: "opencode",
        seeds: &[],
        run: opencode::fuzz::opencode,
    },
];

/// It does not matter in which pieces a file grows. What is kept is bounded, and the latest turn is
/// found by what it says of itself.
fn lines(format: Format, written: LineFormat, data: &[u8]) {
    let (size, _) = steered(data);
    let (mut whole, mut grown) = (Vec::new(), Vec::new());
    let mut once = Lines::new(written, "/nonexistent".into());
    once.feed(data, &mut whole);
    let mut pieces = Lines::new(written, "/nonexistent".into());
    for piece in data.chunks(size.max(1)) {
        pieces.feed(piece, &mut grown);
    }
    assert_eq!(untimed(&grown), untimed(&whole));
    once.settle(&mut whole);
    assert!(once.turns().before.len() <= MOST_BEFORE);
    let Some(turn) = once.turns().latest() else {
        return;
    };
    let text: usize = whole.iter().map(said).sum();
    assert!(text <= 8 * data.len() + 64, "more text than there was");
    let Some(prompt) = turn.prompt.as_deref() else {
        return;
    };
    let wanted = Wanted {
        id: turn.id.as_deref(),
        text: prompt,
        nonce: None,
        since: jiff::Timestamp::MIN,
    };
    // One that began in the future is from before the clock was set back.
    if super::same(format, prompt, prompt) && !turn.ahead {
        assert!(once.turns().of(format, wanted).is_some(), "{prompt:?}");
    }
}

/// Returns entries without what is read from the clock: the end of a limit may be a span from now.
fn untimed(entries: &[Entry]) -> Vec<Entry> {
    let untimed = |entry: &Entry| {
        let mut entry = entry.clone();
        if let Entry::Ended { how, .. } | Entry::Paused { how, .. } = &mut entry
            && let super::How::Limited { until, .. } = how
        {
            *until = None;
        }
        entry
    };
    entries.iter().map(untimed).collect()
}

/// Returns how much text an entry holds.
pub(super) fn said(entry: &Entry) -> usize {
    match entry {
        Entry::Prompt { text, .. } | Entry::Said { text, .. } | Entry::Asked { text, .. } => {
            text.len()
        }
        Entry::Touched { path } => path.len(),
        Entry::Paused { text, .. } | Entry::Ended { text, .. } => {
            text.as_ref().map_or(0, String::len)
        }
        Entry::Began { .. } | Entry::Answered { .. } => 0,
    }
}
