//! What agents write down themselves: the turns, and the exact responses.
//!
//! ```text
//! find:  a profile's place, the agent's variables and directory --> files that may be the one
//! Follower:  a file that grows --> whole lines --> codex | claude | aider --> entries --> turns
//! ```
//!
//! Transcripts belong to other programs, which change them as they like. What is not known is
//! passed over, and nothing that stands in a file can do more harm than to be read wrongly.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

mod aider;
mod claude;
mod codex;
mod find;
mod follow;
mod lines;
mod linked;
mod opencode;
mod prompt;
mod tolerant;
mod turns;

pub use find::{Home, Spec, belongs, candidates};
pub use follow::Follower;
#[cfg(test)]
pub(crate) use turns::MOST_BEFORE;
pub use turns::{Further, Turn};

/// How a transcript is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The rollouts of Codex: a JSON object a line.
    Codex,
    /// The sessions of Claude Code: a JSON object a line.
    Claude,
    /// The chat history of Aider: Markdown, without times.
    Aider,
    /// The database of opencode. A conversation in it is named like a file below the database.
    Opencode,
}

/// How the lines of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineFormat {
    Codex,
    Claude,
    Aider,
}

impl Format {
    /// Returns how the lines are written; `None`: it is a database.
    fn lines(self) -> Option<LineFormat> {
        match self {
            Self::Codex => Some(LineFormat::Codex),
            Self::Claude => Some(LineFormat::Claude),
            Self::Aider => Some(LineFormat::Aider),
            Self::Opencode => None,
        }
    }
}

/// What a transcript says, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A turn began.
    Began {
        /// When.
        at: Option<Timestamp>,
    },
    /// Somebody spoke to the agent. In a turn that has a prompt already: while it worked.
    Prompt {
        /// When.
        at: Option<Timestamp>,
        /// What was said, without what the agent puts around it.
        text: String,
        /// What the agent calls it, which its hooks tell as well.
        id: Option<String>,
    },
    /// A whole message of the agent. Behind an end, the turn goes on.
    Said {
        /// When.
        at: Option<Timestamp>,
        /// The message.
        text: String,
    },
    /// A file was changed.
    Touched {
        /// As the transcript names it.
        path: String,
    },
    /// The agent may be waiting for an approval or an answer.
    ///
    /// A transcript does not tell whether a rule has approved it already: [`Entry::Answered`]
    /// follows then only when the command is done.
    Asked {
        /// When.
        at: Option<Timestamp>,
        /// What it asks.
        text: String,
    },
    /// It waits no more.
    Answered {
        /// When.
        at: Option<Timestamp>,
    },
    /// A turn ended. A second one corrects the first.
    Ended {
        /// When.
        at: Option<Timestamp>,
        /// How.
        how: How,
        /// The final message, whole.
        text: Option<String>,
    },
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// As it should.
    Done,
    /// By a person, or because the agent itself was ended.
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
        /// When the limit ends, where that is told and understood.
        until: Option<Timestamp>,
    },
}

/// What a turn is looked for by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// What its agent calls it, where that is known: then it counts alone for turns that bear a name.
    pub id: Option<&'a str>,
    /// Its prompt, as [`same`] compares.
    pub text: &'a str,
    /// It was said at or after this; where no times are known, while the transcript was followed.
    pub since: Timestamp,
}

/// Whether a transcript's prompt is the text that was delivered.
///
/// White space at the ends does not count, and neither do the kinds of line ends. Claude Code makes
/// blanks of tabs, and puts tags around what was pasted. Aider puts two blanks at the end of each line,
/// and divides more than lines.
pub fn same(format: Format, prompt: &str, delivered: &str) -> bool {
    let (prompt, delivered) = (prompt::plain(prompt), prompt::plain(delivered));
    match format {
        Format::Codex | Format::Opencode => prompt.trim() == delivered.trim(),
        Format::Claude => {
            // A prompt may have such tags itself.
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
    Codex(codex::Parser),
    Claude(claude::Parser),
    Aider(aider::Parser),
}

impl Parser {
    /// Returns one for the lines of a file, or for those from somewhere in its `middle`.
    fn new(format: LineFormat, middle: bool) -> Self {
        match format {
            LineFormat::Codex => Self::Codex(codex::Parser::new(middle)),
            LineFormat::Claude => Self::Claude(claude::Parser::new(middle)),
            LineFormat::Aider => Self::Aider(aider::Parser::new(middle)),
        }
    }

    /// Reads a line, without its end; returns the time that it bears.
    fn line(&mut self, line: &str, entries: &mut Vec<Entry>) -> Option<Timestamp> {
        match self {
            Self::Codex(parser) => parser.line(line, entries),
            Self::Claude(parser) => parser.line(line, entries),
            Self::Aider(parser) => {
                parser.line(line, entries);
                None
            }
        }
    }

    /// Nothing has followed for a while: what only the next line would have shown is so.
    fn still(&mut self, entries: &mut Vec<Entry>) {
        match self {
            Self::Codex(_) => {}
            Self::Claude(parser) => parser.still(entries),
            Self::Aider(parser) => parser.still(entries),
        }
    }
}

/// Returns how a turn ended that came to a limit, `at` that time.
fn limited(message: String, at: Option<Timestamp>) -> How {
    let now = at
        .unwrap_or_else(Timestamp::now)
        .to_zoned(jiff::tz::TimeZone::system());
    let until = super::reset(&message, &now);
    How::Limited { message, until }
}

#[cfg(test)]
mod tests;
