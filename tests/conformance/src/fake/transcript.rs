//! The transcript of the agent's turns, in Codex's format.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};

/// A transcript that is written while the agent works; without a file, nothing is written.
#[derive(Debug)]
pub(super) struct Transcript {
    file: Option<File>,
    ordinal: u64,
    turn: u64,
}

impl Transcript {
    /// Opens the file, and creates its directories.
    pub(super) fn open(path: Option<&Path>) -> io::Result<Self> {
        let mut transcript = Self {
            file: None,
            ordinal: 0,
            turn: 0,
        };
        let Some(path) = path else {
            return Ok(transcript);
        };
        let name = path.to_string_lossy();
        let path = PathBuf::from(name.replace("{pid}", &std::process::id().to_string()));
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let is_new = file.metadata()?.len() == 0;
        transcript.file = Some(file);
        if is_new {
            let meta = json!({
                "id": format!("{:08x}-fake", std::process::id()),
                "cwd": std::env::current_dir().unwrap_or_default(),
                "originator": "fake-agent",
            });
            transcript.write("session_meta", &meta)?;
        }
        Ok(transcript)
    }

    /// Records the beginning of a turn with its prompt.
    pub(super) fn began(&mut self, prompt: &str) -> io::Result<()> {
        if self.file.is_none() {
            return Ok(());
        }
        self.turn += 1;
        let id = self.turn_id();
        self.event(&json!({"type": "task_started", "turn_id": id}))?;
        let content = json!([{"type": "text", "text": prompt}]);
        self.item(&json!({"type": "UserMessage", "content": content}))
    }

    /// Records the end of a turn with its answer.
    pub(super) fn done(&mut self, answer: &str) -> io::Result<()> {
        let content = json!([{"type": "Text", "text": answer}]);
        self.item(&json!({"type": "AgentMessage", "content": content}))?;
        let id = self.turn_id();
        self.event(&json!({"type": "task_complete", "turn_id": id, "last_agent_message": answer}))
    }

    /// Records the end of a turn in an error, which may be a rate limit.
    pub(super) fn failed(&mut self, message: &str, is_limit: bool) -> io::Result<()> {
        let info = if is_limit {
            "usage_limit_exceeded"
        } else {
            "other"
        };
        let id = self.turn_id();
        self.event(&json!({
            "type": "task_complete",
            "turn_id": id,
            "last_agent_message": null,
            "error": {"message": message, "codex_error_info": info},
        }))
    }

    /// Records that a person cancelled a turn.
    pub(super) fn aborted(&mut self) -> io::Result<()> {
        let id = self.turn_id();
        self.event(&json!({"type": "turn_aborted", "turn_id": id, "reason": "interrupted"}))
    }

    fn turn_id(&self) -> String {
        format!("{:08x}-{}", std::process::id(), self.turn)
    }

    fn item(&mut self, item: &Value) -> io::Result<()> {
        let id = self.turn_id();
        self.event(&json!({"type": "item_completed", "turn_id": id, "item": item}))
    }

    fn event(&mut self, payload: &Value) -> io::Result<()> {
        self.write("event_msg", payload)
    }

    fn write(&mut self, kind: &str, payload: &Value) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let line = json!({
            "timestamp": format!("{:.3}", Timestamp::now()),
            "ordinal": self.ordinal,
            "type": kind,
            "payload": payload,
        });
        self.ordinal += 1;
        let mut bytes = serde_json::to_vec(&line)?;
        bytes.push(b'\n');
        file.write_all(&bytes)
    }
}
