//! The sessions of Gemini CLI: one JSON object per line, with a time.
//!
//! ```text
//! user  (gemini  [gemini, with its toolCalls, once they are done]  user (functionResponse))*  gemini
//!     | error | info (Request cancelled.)
//! ```
//!
//! A message that will call a tool looks like the last one of a turn: the call is added when it is
//! done. So the record shows no end, and whether a turn has ended is seen from the agent's line, or
//! reported by its hooks.

use jiff::Timestamp;
use serde::Deserialize;

use super::tolerant::{Content, List, Object, Word};
use super::{Entry, How, limited};

#[derive(Debug, Default)]
pub(super) struct GeminiParser {
    /// The latest message: it is written again when its calls are done.
    message: String,
    /// Whether a turn has begun: a prompt that was cancelled at once is not recorded.
    open: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GeminiLine {
    id: Word,
    timestamp: Word,
    #[serde(rename = "type")]
    kind: Word,
    content: Content<GeminiPart>,
    #[serde(rename = "toolCalls")]
    calls: List<GeminiCall>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GeminiPart {
    text: Word,
    #[serde(rename = "functionResponse")]
    response: Object<GeminiCall>,
}

#[derive(Debug, Default, Deserialize)]
struct GeminiCall {}

impl GeminiParser {
    pub(super) fn line(&mut self, line: &str, entries: &mut Vec<Entry>) -> Option<Timestamp> {
        let line: GeminiLine = serde_json::from_str(line).ok()?;
        let at = line.timestamp.as_str().parse().ok();
        let answers = match &line.content {
            Content::Pieces(parts) => parts.iter().any(|part| part.response.0.is_some()),
            Content::Text(_) => false,
        };
        let text = match line.content {
            Content::Text(text) => text,
            Content::Pieces(parts) => parts.into_iter().filter_map(|part| part.text.0).collect(),
        };
        match line.kind.as_str() {
            "user" if answers => entries.push(Entry::Answered { at }),
            "user" if !text.trim().is_empty() => {
                self.open = true;
                let id = None;
                entries.extend([Entry::Began { at }, Entry::Prompt { at, text, id }]);
            }
            "gemini" if !line.calls.0.is_empty() => entries.push(Entry::Answered { at }),
            "gemini" if line.id.as_str() != self.message && !text.trim().is_empty() => {
                line.id.as_str().clone_into(&mut self.message);
                let said = Entry::Said {
                    at,
                    text: text.clone(),
                };
                let (how, text) = (How::Done, Some(text));
                entries.extend([said, Entry::Paused { at, how, text }]);
            }
            "error" if self.open => {
                self.open = false;
                let is_limit = ["429", "RESOURCE_EXHAUSTED", "quota"]
                    .iter()
                    .any(|words| text.contains(words));
                let how = match is_limit {
                    true => limited(text, at),
                    false => How::Failed { message: text },
                };
                entries.push(Entry::Ended {
                    at,
                    how,
                    text: None,
                });
            }
            "info" if self.open && text.starts_with("Request cancelled") => {
                self.open = false;
                let how = How::Interrupted;
                entries.push(Entry::Ended {
                    at,
                    how,
                    text: None,
                });
            }
            _ => {}
        }
        at
    }
}
