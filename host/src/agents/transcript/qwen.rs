//! The sessions of Qwen Code: one JSON object per line, with a time.
//!
//! ```text
//! user  (assistant (text, functionCall)  tool_result)*  assistant (text)
//!     (system (ui_telemetry: api_error))*
//! ```
//!
//! A message that calls no tool is the last one of its turn. An error of the model's server may be
//! followed by another try, which only the screen shows; nor is a person's Esc recorded.

use jiff::Timestamp;
use serde::Deserialize;

use super::tolerant::{Content, Flag, Number, Object, Word};
use super::{Entry, How, limited};

/// The answer of a server that is asked too often.
const TOO_MANY: f64 = 429.0;

#[derive(Debug, Default)]
pub(super) struct QwenParser;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct QwenLine {
    timestamp: Word,
    #[serde(rename = "type")]
    kind: Word,
    subtype: Word,
    /// Who said it: a person, or the program itself.
    provenance: Word,
    message: Object<QwenMessage>,
    #[serde(rename = "systemPayload")]
    payload: Object<QwenPayload>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct QwenMessage {
    parts: Content<QwenPart>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct QwenPart {
    text: Word,
    thought: Flag,
    #[serde(rename = "functionCall")]
    call: Object<QwenCall>,
}

#[derive(Debug, Default, Deserialize)]
struct QwenCall {}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct QwenPayload {
    #[serde(rename = "uiEvent")]
    event: Object<QwenEvent>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct QwenEvent {
    #[serde(rename = "event.name")]
    name: Word,
    error_message: Word,
    status_code: Number,
}

impl QwenParser {
    pub(super) fn line(&mut self, line: &str, entries: &mut Vec<Entry>) -> Option<Timestamp> {
        let line: QwenLine = serde_json::from_str(line).ok()?;
        let at = line.timestamp.as_str().parse().ok();
        match line.kind.as_str() {
            "user" if matches!(line.provenance.as_str(), "" | "real_user") => {
                let said = said(line.message);
                if !said.text.trim().is_empty() {
                    let (text, id) = (said.text, None);
                    entries.extend([Entry::Began { at }, Entry::Prompt { at, text, id }]);
                }
            }
            "assistant" => {
                let said = said(line.message);
                let text = said.text;
                let is_last = !said.calls && !text.trim().is_empty();
                if !text.trim().is_empty() {
                    let text = text.clone();
                    entries.push(Entry::Said { at, text });
                }
                if is_last {
                    let (how, text) = (How::Done, Some(text));
                    entries.push(Entry::Ended { at, how, text });
                }
            }
            "tool_result" => entries.push(Entry::Answered { at }),
            "system" if line.subtype.as_str() == "ui_telemetry" => {
                let event = line.payload.0.and_then(|payload| payload.event.0);
                let event = event.filter(|event| event.name.as_str() == "qwen-code.api_error");
                if let Some(event) = event {
                    let code = event.status_code.0;
                    let message = event.error_message.said();
                    let message = message.unwrap_or_else(|| "it does not say why".to_owned());
                    let how = match code == Some(TOO_MANY) {
                        true => limited(message, at),
                        false => How::Failed { message },
                    };
                    entries.push(Entry::Paused {
                        at,
                        how,
                        text: None,
                    });
                }
            }
            _ => {}
        }
        at
    }
}

/// What a message consists of.
struct QwenSaid {
    text: String,
    /// Whether it calls a tool.
    calls: bool,
}

fn said(message: Object<QwenMessage>) -> QwenSaid {
    let parts = message.0.map(|message| message.parts).unwrap_or_default();
    match parts {
        Content::Text(text) => QwenSaid { text, calls: false },
        Content::Pieces(parts) => QwenSaid {
            calls: parts.iter().any(|part| part.call.0.is_some()),
            text: parts
                .into_iter()
                .filter(|part| !part.thought.0)
                .filter_map(|part| part.text.0)
                .collect(),
        },
    }
}
