//! What agents record themselves: the turns and the exact responses.
//!
//! ```text
//! find:  a profile's place, the agent's variables and directory --> files that may be the one
//! Follower:  a database --> messages of a conversation --> opencode --> entries --> turns
//! Follower:  a file that grows --> whole lines --> codex | claude | aider --> entries --> turns
//! ```
//!
//! Transcripts belong to other programs, which change the format as they like. Anything unknown is
//! skipped, and the worst that any content of a file can cause is a wrong reading.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

mod aider;
mod claude;
mod codex;
mod find;
mod follow;
#[cfg(any(test, fuzzing))]
#[path = "../../../../tests/fuzz/targets/transcripts.rs"]
pub(crate) mod fuzz;
mod gemini;
mod lines;
mod linked;
mod opencode;
mod prompt;
mod qwen;
mod tolerant;
mod turns;

pub use find::{TranscriptHome, TranscriptSpec, belongs, candidates, expected_in};
pub use follow::Follower;
#[cfg(test)]
pub(crate) use turns::MOST_BEFORE;
pub use turns::{Interjection, TranscriptTurn};

/// The format of a transcript.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The rollouts of Codex: one JSON object per line.
    Codex,
    /// The sessions of Claude Code: one JSON object per line.
    Claude,
    /// The chat history of Aider: Markdown, without times.
    Aider,
    /// The sessions of Gemini CLI: one JSON object per line, without the ends of turns.
    Gemini,
    /// The sessions of Qwen Code: one JSON object per line.
    Qwen,
    /// The database of opencode. A conversation in it is named like a file below the database.
    Opencode,
}

/// How the lines of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineFormat {
    Codex,
    Claude,
    Aider,
    Gemini,
    Qwen,
}

impl Format {
    /// Whether a record is a conversation in a database.
    pub fn is_database(self) -> bool {
        self.lines().is_none()
    }

    /// Returns the directory of the file in which a record is kept.
    pub fn directory(self, record: &Path) -> Option<&Path> {
        let file = match self.is_database() {
            // A conversation is named like a file below its database.
            true => record.parent()?,
            false => record,
        };
        file.parent()
    }

    /// Whether a record shows the ends of turns.
    pub fn shows_ends(self) -> bool {
        self != Self::Gemini
    }

    /// Returns how the lines are written; `None`: it is a database.
    fn lines(self) -> Option<LineFormat> {
        match self {
            Self::Codex => Some(LineFormat::Codex),
            Self::Claude => Some(LineFormat::Claude),
            Self::Aider => Some(LineFormat::Aider),
            Self::Gemini => Some(LineFormat::Gemini),
            Self::Qwen => Some(LineFormat::Qwen),
            Self::Opencode => None,
        }
    }
}

/// What a transcript says, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A turn began.
    Began {
        /// When it happened.
        at: Option<Timestamp>,
    },
    /// Somebody spoke to the agent. If the turn already has a prompt, this was while the agent
    /// worked.
    Prompt {
        /// When it happened.
        at: Option<Timestamp>,
        /// What was said, without what the agent adds around it.
        text: String,
        /// The agent's name for it, which its hooks report as well.
        id: Option<String>,
    },
    /// A complete message of the agent. If it comes after an end, the turn continues.
    Said {
        /// When it happened.
        at: Option<Timestamp>,
        /// The message.
        text: String,
    },
    /// A file was changed.
    Touched {
        /// Its path, as the transcript names it.
        path: String,
    },
    /// The agent may be waiting for an approval or an answer.
    ///
    /// A transcript does not show whether a rule has already approved it. If one has,
    /// [`Entry::Answered`] follows only when the command is done.
    Asked {
        /// When it happened.
        at: Option<Timestamp>,
        /// What it asks.
        text: String,
    },
    /// The agent no longer waits.
    Answered {
        /// When it happened.
        at: Option<Timestamp>,
    },
    /// Nothing more may follow: an agent that is idle from here on has ended its turn in this way, which
    /// its record does not tell by itself.
    Paused {
        /// When it happened.
        at: Option<Timestamp>,
        /// How the turn would have ended.
        how: How,
        /// Its final message.
        text: Option<String>,
    },
    /// A turn ended. A second end corrects the first.
    Ended {
        /// When it happened.
        at: Option<Timestamp>,
        /// How it ended.
        how: How,
        /// The complete final message.
        text: Option<String>,
    },
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// Normally.
    Done,
    /// By a person, or because the agent itself ended.
    Interrupted,
    /// By an error.
    Failed {
        /// What the agent says about it.
        message: String,
    },
    /// By a rate limit.
    Limited {
        /// What the agent says about it.
        message: String,
        /// When the limit ends, if the message says so and was understood.
        until: Option<Timestamp>,
    },
}

/// What a turn is identified by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// The agent's name for it, if known. For turns that have a name, only the name counts.
    pub id: Option<&'a str>,
    /// Its prompt, as [`same`] compares.
    pub text: &'a str,
    /// The sign of the prompt, if it has one: by it, the prompt is known whatever else it says.
    pub nonce: Option<&'a str>,
    /// The prompt was given at or after this time. If there are no times, it was given while the
    /// transcript was being followed.
    pub since: Timestamp,
}

/// Whether a transcript's prompt is the text that was delivered.
///
/// White space at the ends and the kind of line ends do not count. Claude Code turns tabs into
/// blanks, and puts tags around what was pasted. Aider puts two blanks at the end of each line, and
/// also splits lines at other characters.
pub fn same(format: Format, prompt: &str, delivered: &str) -> bool {
    let (prompt, delivered) = (prompt::plain(prompt), prompt::plain(delivered));
    match format {
        Format::Codex | Format::Opencode | Format::Gemini | Format::Qwen => {
            prompt.trim() == delivered.trim()
        }
        Format::Claude => {
            // A prompt may itself contain such tags.
            let plain = prompt::unescaped(&prompt::unwrapped(&prompt));
            prompt::lines(&prompt).eq(prompt::lines(&delivered))
                || prompt::lines(&plain).eq(prompt::lines(&delivered))
        }
        Format::Aider => aider::lines(&prompt).eq(aider::lines(&delivered)),
    }
}

/// Turns lines into entries.
#[derive(Debug)]
enum Parser {
    Codex(codex::CodexParser),
    Claude(claude::ClaudeParser),
    Aider(aider::AiderParser),
    Gemini(gemini::GeminiParser),
    Qwen(qwen::QwenParser),
}

impl Parser {
    /// Returns a parser for the lines of a file from its start, or from somewhere in its `middle`.
    fn new(format: LineFormat, middle: bool) -> Self {
        match format {
            LineFormat::Codex => Self::Codex(codex::CodexParser::new(middle)),
            LineFormat::Claude => Self::Claude(claude::ClaudeParser::new(middle)),
            LineFormat::Aider => Self::Aider(aider::AiderParser::new(middle)),
            LineFormat::Gemini => Self::Gemini(gemini::GeminiParser::default()),
            LineFormat::Qwen => Self::Qwen(qwen::QwenParser),
        }
    }

    /// Reads a line without its line end, and returns the time that it contains.
    fn line(&mut self, line: &str, entries: &mut Vec<Entry>) -> Option<Timestamp> {
        match self {
            Self::Codex(parser) => parser.line(line, entries),
            Self::Claude(parser) => parser.line(line, entries),
            Self::Gemini(parser) => parser.line(line, entries),
            Self::Qwen(parser) => parser.line(line, entries),
            Self::Aider(parser) => {
                parser.line(line, entries);
                None
            }
        }
    }

    /// Nothing has followed for a while: settles what otherwise only the next line would show.
    fn still(&mut self, entries: &mut Vec<Entry>) {
        match self {
            Self::Codex(_) | Self::Gemini(_) | Self::Qwen(_) => {}
            Self::Claude(parser) => parser.still(entries),
            Self::Aider(parser) => parser.still(entries),
        }
    }
}

/// Returns the end of a turn that reached a limit at the time `at`.
fn limited(message: String, at: Option<Timestamp>) -> How {
    let now = at
        .unwrap_or_else(Timestamp::now)
        .to_zoned(jiff::tz::TimeZone::system());
    let until = super::reset(&message, &now);
    How::Limited { message, until }
}

#[cfg(test)]
mod tests;
