//! The rollouts of Codex: one JSON object per line, with a time.
//!
//! ```text
//! task_started  UserMessage  (AgentMessage | function_call | FileChange ...)*  task_complete
//!                                                                            | turn_aborted
//! ```
//!
//! Messages are recorded twice: as they were sent to the model (among what the program itself told
//! it), and as items. Only items count. Older versions wrote `user_message` and `agent_message`
//! instead of items.

use jiff::Timestamp;
use serde::Deserialize;

use super::tolerant::{Content, FieldNames, Flag, List, Named, Number, Object, Word};
use super::{Entry, How, limited};

/// The usage of a window that has reached its limit, in percent.
const FULL: f64 = 100.0;
/// The longest limit that is believed, in seconds.
const FURTHEST: i64 = 8 * 24 * 3600;

#[derive(Debug, Default)]
pub(super) struct CodexParser {
    /// The name of the open turn; empty if it is not known.
    open: Option<String>,
    /// The first lines come from the middle of a file, and may come from the middle of a turn.
    middle: bool,
    /// Whether messages of this turn are written as items. The other form is then ignored.
    items: Option<bool>,
    /// The call that waits for an approval or an answer.
    asked: Option<String>,
    /// The agent never asks anybody.
    never_asks: bool,
    /// When the full window starts anew.
    reset: Option<i64>,
    /// An error that may be the reason for the end.
    error: Option<How>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CodexLine {
    timestamp: Word,
    #[serde(rename = "type")]
    kind: Word,
    payload: Object<Payload>,
}

/// The fields of all kinds of lines.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Payload {
    #[serde(rename = "type")]
    kind: Word,
    turn_id: Word,
    item: Object<Item>,
    message: Word,
    last_agent_message: Word,
    error: Object<CodexFailure>,
    codex_error_info: Named<CodexStatus>,
    reason: Word,
    name: Word,
    arguments: Word,
    call_id: Word,
    approval_policy: Word,
    changes: FieldNames,
    success: Flag,
    rate_limits: Object<CodexLimits>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Item {
    #[serde(rename = "type")]
    kind: Word,
    content: Content<CodexPiece>,
    changes: FieldNames,
    status: Word,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CodexPiece {
    #[serde(rename = "type")]
    kind: Word,
    text: Word,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CodexFailure {
    message: Word,
    codex_error_info: Named<CodexStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CodexStatus {
    http_status_code: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CodexLimits {
    primary: Object<Window>,
    secondary: Object<Window>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Window {
    used_percent: Number,
    resets_at: Number,
    resets_in_seconds: Number,
}

/// The arguments of a call that asks for something.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Arguments {
    sandbox_permissions: Word,
    with_escalated_permissions: Flag,
    justification: Word,
    cmd: Word,
    command: Content<CodexPiece>,
    questions: List<CodexQuestion>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CodexQuestion {
    question: Word,
}

impl CodexParser {
    pub(super) fn new(middle: bool) -> Self {
        Self {
            middle,
            ..Self::default()
        }
    }

    pub(super) fn line(&mut self, line: &str, entries: &mut Vec<Entry>) -> Option<Timestamp> {
        let line: CodexLine = serde_json::from_str(line).ok()?;
        let at = line.timestamp.as_str().parse().ok();
        let payload = line.payload.0?;
        match line.kind.as_str() {
            "event_msg" => self.event(payload, at, entries),
            "response_item" => self.response(&payload, at, entries),
            "turn_context" => {
                self.never_asks = payload.approval_policy.as_str() == "never";
            }
            _ => {}
        }
        at
    }

    fn event(&mut self, payload: Payload, at: Option<Timestamp>, entries: &mut Vec<Entry>) {
        match payload.kind.as_str() {
            "task_started" | "turn_started" => self.begin(payload.turn_id, at, entries),
            "item_completed" => {
                if let Some(item) = payload.item.0 {
                    self.item(item, at, entries);
                }
            }
            "user_message" if self.writes(false) => {
                self.prompt(payload.message.said(), at, entries);
            }
            "agent_message" if self.writes(false) => {
                self.said(payload.message.said(), at, entries);
            }
            "patch_apply_end" if payload.success.0 => touched(payload.changes, entries),
            "token_count" => {
                if let Some(limits) = payload.rate_limits.0 {
                    self.reset = limits.reset(at);
                }
            }
            "error" => {
                let failure = CodexFailure {
                    message: payload.message,
                    codex_error_info: payload.codex_error_info,
                };
                self.error = Some(self.failed(failure, at));
            }
            "exec_approval_request"
            | "apply_patch_approval_request"
            | "request_permissions"
            | "request_user_input"
            | "elicitation_request" => {
                let text = payload.reason.said().or(payload.message.said());
                self.ask(payload.call_id, text, at, entries);
            }
            "task_complete" | "turn_complete" => {
                if self.is_of_another(&payload.turn_id) {
                    return;
                }
                let text = payload.last_agent_message.said();
                let error = self.error.take();
                let how = match payload.error.0 {
                    Some(failure) => self.failed(failure, at),
                    // Older versions reported the error on a line of its own.
                    None => error.filter(|_| text.is_none()).unwrap_or(How::Done),
                };
                self.end(how, text, at, entries);
            }
            "turn_aborted" => {
                if self.is_of_another(&payload.turn_id) {
                    return;
                }
                let how = match payload.reason.as_str() {
                    "review_ended" => How::Done,
                    "budget_limited" => How::Failed {
                        message: "its budget is used up".to_owned(),
                    },
                    _ => How::Interrupted,
                };
                self.end(how, None, at, entries);
            }
            _ => {}
        }
    }

    fn item(&mut self, item: Item, at: Option<Timestamp>, entries: &mut Vec<Entry>) {
        match item.kind.as_str() {
            "UserMessage" if self.writes(true) => {
                self.prompt(text(item.content), at, entries);
            }
            "AgentMessage" if self.writes(true) => {
                self.said(text(item.content), at, entries);
            }
            "FileChange" if item.status.as_str() == "completed" => {
                self.in_a_turn(entries);
                touched(item.changes, entries);
            }
            _ => {}
        }
    }

    /// Reads what was sent to the model and came from it. Only the calls are of interest.
    fn response(&mut self, payload: &Payload, at: Option<Timestamp>, entries: &mut Vec<Entry>) {
        match payload.kind.as_str() {
            "function_call" => {
                self.in_a_turn(entries);
                let arguments: Arguments =
                    serde_json::from_str(payload.arguments.as_str()).unwrap_or_default();
                let name = payload.name.as_str();
                if name == "request_user_input" || (!self.never_asks && arguments.escalate()) {
                    let text = arguments.asks();
                    self.ask(payload.call_id.clone(), text, at, entries);
                }
            }
            "function_call_output" => {
                self.in_a_turn(entries);
                if self.asked.as_deref() == payload.call_id.0.as_deref() {
                    self.answered(at, entries);
                }
            }
            "custom_tool_call" | "custom_tool_call_output" | "reasoning" => {
                self.in_a_turn(entries);
            }
            _ => {}
        }
    }

    /// Whether messages are written here as items or, if `items` is false, as events.
    fn writes(&mut self, items: bool) -> bool {
        *self.items.get_or_insert(items) == items
    }

    /// Opens a turn if what happens shows that one began before the first line that was read.
    fn in_a_turn(&mut self, entries: &mut Vec<Entry>) {
        if std::mem::take(&mut self.middle) {
            self.open = Some(String::new());
            entries.push(Entry::Began { at: None });
        }
    }

    fn is_of_another(&self, turn: &Word) -> bool {
        match self.open.as_deref() {
            Some(open) => !open.is_empty() && !turn.as_str().is_empty() && open != turn.as_str(),
            // The end of a turn that began before the first line that was read is reported.
            None => !self.middle,
        }
    }

    fn begin(&mut self, turn: Word, at: Option<Timestamp>, entries: &mut Vec<Entry>) {
        if self.open.is_some() {
            // The turn ended together with the program.
            self.end(How::Interrupted, None, None, entries);
        }
        self.middle = false;
        self.open = Some(turn.0.unwrap_or_default());
        self.items = None;
        self.reset = None;
        self.error = None;
        entries.push(Entry::Began { at });
    }

    fn prompt(&mut self, text: Option<String>, at: Option<Timestamp>, entries: &mut Vec<Entry>) {
        let Some(text) = text else {
            return;
        };
        if self.open.is_none() {
            let items = self.items;
            self.begin(Word::default(), at, entries);
            self.items = items;
        }
        self.answered(at, entries);
        let id = self.open.clone().filter(|turn| !turn.is_empty());
        entries.push(Entry::Prompt { at, text, id });
    }

    fn said(&mut self, text: Option<String>, at: Option<Timestamp>, entries: &mut Vec<Entry>) {
        self.in_a_turn(entries);
        if let Some(text) = text
            && self.open.is_some()
        {
            self.answered(at, entries);
            entries.push(Entry::Said { at, text });
        }
    }

    fn ask(
        &mut self,
        call: Word,
        text: Option<String>,
        at: Option<Timestamp>,
        entries: &mut Vec<Entry>,
    ) {
        if self.open.is_none() {
            return;
        }
        self.asked = Some(call.0.unwrap_or_default());
        let text = text.unwrap_or_else(|| "it asks for approval".to_owned());
        entries.push(Entry::Asked { at, text });
    }

    fn answered(&mut self, at: Option<Timestamp>, entries: &mut Vec<Entry>) {
        if self.asked.take().is_some() {
            entries.push(Entry::Answered { at });
        }
    }

    fn end(
        &mut self,
        how: How,
        text: Option<String>,
        at: Option<Timestamp>,
        entries: &mut Vec<Entry>,
    ) {
        self.middle = false;
        self.open = None;
        self.asked = None;
        entries.push(Entry::Ended { at, how, text });
    }

    fn failed(&self, failure: CodexFailure, at: Option<Timestamp>) -> How {
        let CodexFailure {
            message,
            codex_error_info: info,
        } = failure;
        let message = readable(message.said());
        // Both spellings are in use.
        let name = info.name.replace('_', "").to_ascii_lowercase();
        let refused = info
            .holds
            .and_then(|status| status.http_status_code.0)
            .is_some_and(|code| code == 429.0);
        let is_limit = matches!(
            name.as_str(),
            "usagelimitexceeded" | "ratelimitexceeded" | "usagelimitreached" | "ratelimitreached"
        );
        if !is_limit && !refused && !message.contains("429 Too Many Requests") {
            return How::Failed { message };
        }
        match (limited(message, at), self.reset) {
            (How::Limited { message, .. }, Some(reset)) => How::Limited {
                message,
                until: Timestamp::from_second(reset).ok(),
            },
            (how, _) => how,
        }
    }
}

impl CodexLimits {
    /// Returns when the last of the full windows starts anew.
    fn reset(self, at: Option<Timestamp>) -> Option<i64> {
        let now = at.unwrap_or_else(Timestamp::now).as_second();
        [self.primary.0, self.secondary.0]
            .into_iter()
            .flatten()
            .filter(|window| window.used_percent.0.is_some_and(|used| used >= FULL))
            .filter_map(|window| {
                let seconds = |number: f64| number as i64;
                let after = window.resets_in_seconds.0.map(seconds);
                let moment = window.resets_at.0.map(seconds);
                moment.or_else(|| now.checked_add(after?))
            })
            .filter(|moment| (0..=FURTHEST).contains(&moment.saturating_sub(now)))
            .max()
    }
}

impl Arguments {
    fn escalate(&self) -> bool {
        self.sandbox_permissions.as_str() == "require_escalated"
            || self.with_escalated_permissions.0
    }

    fn asks(self) -> Option<String> {
        let questions: Vec<String> = self
            .questions
            .0
            .into_iter()
            .filter_map(|question| question.question.said())
            .collect();
        if !questions.is_empty() {
            return Some(questions.join("\n"));
        }
        let command = self.cmd.said().or(match self.command {
            Content::Text(command) => Some(command),
            Content::Pieces(_) => None,
        });
        match (self.justification.said(), command) {
            (Some(why), Some(command)) => Some(format!("{why}\n{command}")),
            (why, command) => why.or(command),
        }
    }
}

/// Returns the text of a message.
fn text(content: Content<CodexPiece>) -> Option<String> {
    let text = match content {
        Content::Text(text) => text,
        Content::Pieces(pieces) => {
            let texts: Vec<String> = pieces
                .into_iter()
                .filter(|piece| piece.kind.as_str().eq_ignore_ascii_case("text"))
                .filter_map(|piece| piece.text.0)
                .collect();
            texts.join("\n")
        }
    };
    Word(Some(text)).said()
}

fn touched(changes: FieldNames, entries: &mut Vec<Entry>) {
    entries.extend(changes.0.into_iter().map(|path| Entry::Touched { path }));
}

/// Returns a message for people: some messages are the body of a server's response.
fn readable(message: Option<String>) -> String {
    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Body {
        error: Object<CodexFailure>,
    }
    let Some(message) = message else {
        return "it does not say why".to_owned();
    };
    serde_json::from_str::<Body>(&message)
        .ok()
        .and_then(|body| body.error.0?.message.said())
        .unwrap_or(message)
}
