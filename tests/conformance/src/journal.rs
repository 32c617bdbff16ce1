//! What an agent of the suite records while it works: the truth with which tasks are compared.
//!
//! Each event is one line of JSON, written by one call to a file that is opened for appending, so
//! that several processes can write one after the other and a line is never torn.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How much of a text is recorded; its digest stands for the rest.
pub const TEXT_LIMIT: usize = 1024;

/// The kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The process began, or started again.
    Start,
    /// A bracketed paste ended.
    Paste,
    /// A prompt was taken.
    Submit,
    /// A dialog opened.
    Dialog,
    /// Something was typed or pasted into a dialog.
    DialogKey,
    /// A person typed a draft, or deleted it.
    Draft,
    /// Enter was pressed, and no prompt was taken.
    Enter,
    /// A turn was cancelled by Esc.
    Escape,
    /// The process died in the middle of its work.
    Died,
    /// A turn ended.
    End,
    /// A turn failed, or will never end.
    Failed,
    /// The process was asked to end, and did.
    Quit,
}

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What happened.
    pub event: What,
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// The process id.
    pub pid: u32,
    /// The length of the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The digest of the whole text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The digest of the text without the newlines at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core: Option<String>,
    /// The text itself, or its beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The number of the dialog, in its process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<u64>,
    /// A remark, in a word or two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Event {
    /// Returns an event of this process, now.
    #[must_use]
    pub fn now(event: What) -> Self {
        Self {
            event,
            at: now(),
            pid: std::process::id(),
            bytes: None,
            sha256: None,
            core: None,
            text: None,
            serial: None,
            note: None,
        }
    }

    /// Adds a text.
    #[must_use]
    pub fn with_text(mut self, text: &[u8]) -> Self {
        self.bytes = Some(text.len() as u64);
        self.sha256 = Some(digest(text));
        self.core = Some(digest(core(text)));
        let cut = &text[..text.len().min(TEXT_LIMIT)];
        self.text = Some(String::from_utf8_lossy(cut).into_owned());
        self
    }

    /// Adds the number of a dialog.
    #[must_use]
    pub fn with_serial(mut self, serial: u64) -> Self {
        self.serial = Some(serial);
        self
    }

    /// Adds a remark.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

/// A journal for events; without a file, they go nowhere.
#[derive(Debug)]
pub struct Journal {
    file: Option<File>,
}

impl Journal {
    /// Opens a journal, which may already contain lines.
    ///
    /// # Errors
    ///
    /// The file cannot be opened.
    pub fn open(path: Option<&Path>) -> io::Result<Self> {
        let file = path
            .map(|path| OpenOptions::new().create(true).append(true).open(path))
            .transpose()?;
        Ok(Self { file })
    }

    /// Writes an event.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write(&mut self, event: &Event) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        file.write_all(&line)
    }
}

/// Reads a journal; an unfinished last line is left out. If there is no file, there are no events.
///
/// # Errors
///
/// The file cannot be read, or contains a line that is not an event.
pub fn read(path: &Path) -> io::Result<Vec<Event>> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let Some(end) = bytes.iter().rposition(|&byte| byte == b'\n') else {
        return Ok(Vec::new());
    };
    bytes[..end]
        .split(|&byte| byte == b'\n')
        .map(|line| serde_json::from_slice(line).map_err(io::Error::from))
        .collect()
}

/// Returns the milliseconds since 1970.
#[must_use]
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Returns the SHA-256 as hexadecimal digits.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Returns a text without the newlines at its end: they are not part of the message, and may be
/// dropped.
#[must_use]
pub fn core(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|&byte| byte != b'\n');
    &text[..end.map_or(0, |last| last + 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_others() {
        assert_eq!(
            digest(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(core(b"a\n\nb\n\n"), b"a\n\nb");
        assert_eq!(core(b"\n\n"), b"");
    }

    #[test]
    fn what_is_written_is_read_again_but_for_a_torn_line() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        assert_eq!(read(&path).expect("no events"), []);
        let mut journal = Journal::open(Some(&path)).expect("a journal");
        let long = "x".repeat(5000);
        let event = Event::now(What::Submit).with_text(long.as_bytes());
        journal.write(&event).expect("a line");
        let key = Event::now(What::DialogKey)
            .with_serial(2)
            .with_note("paste");
        journal.write(&key).expect("a line");
        let mut file = OpenOptions::new()
            .append(true)
            .open(&path)
            .expect("the file");
        file.write_all(b"{\"event\":").expect("half a line");
        let events = read(&path).expect("events");
        assert_eq!(events, [event, key]);
        assert_eq!(events[0].bytes, Some(5000));
        assert_eq!(events[0].text.as_ref().map(String::len), Some(TEXT_LIMIT));
    }
}
