//! opencode keeps its conversations in an SQLite database, seen with 1.18:
//!
//! ```text
//! session   a conversation: its directory, and when it last changed
//! message   of a session: {role, time: {created, completed}, parentID, finish, error}
//! part      of a message: {type: text, text} | {type: tool, tool, state} | ...
//! ```
//!
//! The messages of the agent name the prompt that they answer. The last of them has a `finish` other than
//! `tool-calls`, or an `error`. Each new prompt changes the time of its session; every other change, only
//! that of its message or part.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, params};
use serde::Deserialize;

use super::tolerant::{Flag, Number, Object, Word};
use super::turns::Turns;
use super::{Entry, How, limited};

/// How long to wait for a lock that opencode holds.
const BUSY: Duration = Duration::from_millis(200);
/// A conversation that changed less than this many milliseconds ago may change again without a sign.
const RECENT: i64 = 1_000;
/// The latest messages of a conversation that are read. Each call of a tool is one.
const MOST_MESSAGES: u32 = 2_000;
/// The longest message or part that is read, in bytes.
const LONGEST: u32 = 16 << 20;
/// The parts of the agent's messages that are read at once, in bytes, the latest first.
const AT_ONCE: usize = 64 << 20;
/// The conversations of one database that are looked at: those that changed last.
const MOST_CONVERSATIONS: u32 = 64;
/// The status of an answer that says that a limit was reached.
const TOO_MANY: f64 = 429.0;
/// Tools that change the file that they are given.
const CHANGING: [&str; 3] = ["write", "edit", "multiedit"];

/// One conversation in a database, followed while it grows.
#[derive(Debug)]
pub(super) struct Conversation {
    /// The database, and below it the name of the conversation.
    path: PathBuf,
    open: Option<Open>,
    turns: Turns,
}

/// A database that is open.
#[derive(Debug)]
struct Open {
    connection: Connection,
    /// The device and the number of the file.
    identity: (u64, u64),
    /// What the connection last knew of changes by others.
    version: Option<i64>,
    /// How the conversation was when it was read.
    mark: Option<Extent>,
}

/// The number of messages and of parts of a conversation, and when each last changed.
type Extent = (i64, Option<i64>, i64, Option<i64>);

/// A message with its parts.
#[derive(Debug)]
struct OpencodeMessage {
    /// What opencode calls it.
    id: String,
    data: MessageData,
    parts: Vec<PartData>,
}

/// The fields of a message that are used.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MessageData {
    role: Word,
    time: Object<MessageTimes>,
    finish: Word,
    error: Object<OpencodeFailure>,
}

/// In milliseconds since 1970.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct MessageTimes {
    created: Number,
    completed: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OpencodeFailure {
    name: Word,
    data: Object<FailureData>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct FailureData {
    message: Word,
    status_code: Number,
}

/// The fields of a part that are used.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PartData {
    #[serde(rename = "type")]
    kind: Word,
    text: Word,
    /// Put there by opencode, and said by nobody.
    synthetic: Flag,
    ignored: Flag,
    tool: Word,
    state: Object<ToolState>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ToolState {
    status: Word,
    input: Object<ToolInput>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ToolInput {
    file_path: Word,
}

impl PartData {
    /// Returns the text that was said with it.
    fn said(&self) -> Option<&str> {
        let is_said = self.kind.as_str() == "text" && !self.synthetic.0 && !self.ignored.0;
        is_said.then(|| self.text.as_str())
    }

    /// Returns the file that was changed with it.
    fn touched(&self) -> Option<&str> {
        let state = self.state.0.as_ref()?;
        let is_done = self.kind.as_str() == "tool" && state.status.as_str() == "completed";
        let changes = is_done && CHANGING.contains(&self.tool.as_str());
        let path = state.input.0.as_ref()?.file_path.0.as_deref();
        path.filter(|_| changes)
    }
}

/// Returns the conversations of a database that were held in the directory `cwd` and changed at or after
/// `since`, the latest first. Those that an agent holds with itself are left out.
///
/// The directory is what tells one agent's conversations from another's: the database does not say which
/// process holds one.
pub(super) fn conversations(
    database: &Path,
    cwd: &Path,
    since: SystemTime,
) -> io::Result<Vec<PathBuf>> {
    let open = Open::new(database)?;
    let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
    let since = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    let found = || -> rusqlite::Result<Vec<(String, String)>> {
        let mut query = open.connection.prepare(
            "SELECT id, directory FROM session WHERE parent_id IS NULL AND time_updated >= ?1
             ORDER BY time_updated DESC LIMIT ?2",
        )?;
        let rows = query.query_map(params![since, MOST_CONVERSATIONS], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        rows.collect()
    };
    let found = found().map_err(io::Error::other)?;
    let here = fs::canonicalize(cwd)?;
    let is_here = |directory: &str| {
        Path::new(directory) == here || fs::canonicalize(directory).is_ok_and(|real| real == here)
    };
    Ok(found
        .into_iter()
        .filter(|(id, directory)| !id.is_empty() && !id.contains('/') && is_here(directory))
        .map(|(id, _)| database.join(id))
        .collect())
}

impl Open {
    /// Opens a database for reading. Refuses anything but a regular file.
    fn new(path: &Path) -> io::Result<Self> {
        let identity = identity(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(io::Error::other)?;
        connection.busy_timeout(BUSY).map_err(io::Error::other)?;
        Ok(Self {
            connection,
            identity,
            version: None,
            mark: None,
        })
    }

    /// Whether the conversation has changed since this was asked last. Others write to the database all
    /// the time.
    fn has_changed(&mut self, conversation: &str) -> rusqlite::Result<bool> {
        let version = self
            .connection
            .query_row("PRAGMA data_version", [], |row| row.get(0))?;
        if self.version.replace(version) == Some(version) {
            return Ok(false);
        }
        let mut query = self.connection.prepare_cached(
            "SELECT m.*, p.* FROM
                (SELECT count(*), max(time_updated) FROM message WHERE session_id = ?1) AS m,
                (SELECT count(*), max(time_updated) FROM part WHERE session_id = ?1) AS p",
        )?;
        let mark: Extent = query.query_row([conversation], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?;
        // Two changes in the same millisecond leave the same mark.
        let recent = Timestamp::now().as_millisecond() - RECENT;
        let is_recent = mark.1.max(mark.3).is_some_and(|last| last >= recent);
        Ok(self.mark.replace(mark) != Some(mark) || is_recent)
    }

    /// Returns the latest messages of a conversation, the oldest first.
    fn messages(&self, conversation: &str) -> rusqlite::Result<Vec<OpencodeMessage>> {
        // One transaction, so that everything is read from the same state.
        let transaction = self.connection.unchecked_transaction()?;
        let mut query = self.connection.prepare_cached(
            "SELECT id, data FROM message WHERE session_id = ?1 AND length(data) <= ?2
             ORDER BY time_created DESC, id DESC LIMIT ?3",
        )?;
        let mut rows = query.query(params![conversation, LONGEST, MOST_MESSAGES])?;
        let mut messages = Vec::new();
        let mut left = AT_ONCE;
        while let Some(row) = rows.next()? {
            let id: String = row.get(0)?;
            let Ok(data) = serde_json::from_slice::<MessageData>(row.get_ref(1)?.as_bytes()?)
            else {
                continue;
            };
            // The prompts are always read: a turn is known by its prompt.
            let parts = match data.is_prompt() || left > 0 {
                true => self.parts(&id, &mut left)?,
                false => Vec::new(),
            };
            messages.push(OpencodeMessage { id, data, parts });
        }
        drop(rows);
        drop(query);
        transaction.finish()?;
        messages.reverse();
        Ok(messages)
    }

    /// Returns the parts of a message, and takes their size from what is `left`.
    fn parts(&self, message: &str, left: &mut usize) -> rusqlite::Result<Vec<PartData>> {
        let mut query = self.connection.prepare_cached(
            "SELECT data FROM part WHERE message_id = ?1 AND length(data) <= ?2 ORDER BY id",
        )?;
        let mut rows = query.query(params![message, LONGEST])?;
        let mut parts = Vec::new();
        while let Some(row) = rows.next()? {
            let data = row.get_ref(0)?.as_bytes()?;
            *left = left.saturating_sub(data.len());
            parts.extend(serde_json::from_slice(data).ok());
        }
        Ok(parts)
    }
}

impl Conversation {
    /// Follows the conversation that `path` names.
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            open: None,
            turns: Turns::default(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn turns(&self) -> &Turns {
        &self.turns
    }

    pub(super) fn age(&mut self) {
        self.turns.age();
    }

    /// Reads the conversation again if the database has changed.
    ///
    /// # Errors
    ///
    /// The database is not there, cannot be read, or is not of the kind that is known.
    pub(super) fn read(&mut self) -> io::Result<Vec<Entry>> {
        let open = self.open.take();
        let (database, name) = self.place()?;
        let identity = identity(database)?;
        let mut open = match open {
            Some(open) if open.identity == identity => open,
            Some(_) | None => Open::new(database)?,
        };
        let entries = match open.has_changed(name).map_err(io::Error::other)? {
            true => entries(open.messages(name).map_err(io::Error::other)?),
            false => Vec::new(),
        };
        if !entries.is_empty() {
            let now = Timestamp::now();
            let known = std::mem::take(&mut self.turns);
            for entry in &entries {
                self.turns.take(entry, now);
            }
            self.turns.inherit(&known);
        }
        self.open = Some(open);
        Ok(entries)
    }

    fn place(&self) -> io::Result<(&Path, &str)> {
        let name = self.path.file_name().and_then(|name| name.to_str());
        self.path
            .parent()
            .zip(name)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
    }
}

/// Returns what messages tell, the oldest first.
fn entries(messages: Vec<OpencodeMessage>) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut open = false;
    for message in messages {
        let created = message.data.created();
        let said: Vec<&str> = message.parts.iter().filter_map(PartData::said).collect();
        if message.data.is_prompt() {
            // A prompt that was given while the agent worked is answered in the turn that is open.
            if !open {
                entries.push(Entry::Began { at: created });
                open = true;
            }
            if !said.is_empty() {
                entries.push(Entry::Prompt {
                    at: created,
                    text: said.join("\n"),
                    id: Some(message.id),
                });
            }
            continue;
        }
        let at = message.data.completed().or(created);
        let said: Vec<&str> = said
            .into_iter()
            .filter(|text| !text.trim().is_empty())
            .collect();
        entries.extend(said.iter().map(|text| Entry::Said {
            at,
            text: (*text).to_owned(),
        }));
        let touched = message.parts.iter().filter_map(PartData::touched);
        entries.extend(touched.map(|path| Entry::Touched {
            path: path.to_owned(),
        }));
        if let Some(how) = message.data.ended() {
            let text = (!said.is_empty()).then(|| said.join("\n\n"));
            entries.push(Entry::Ended { at, how, text });
            open = false;
        }
    }
    entries
}

impl MessageData {
    fn is_prompt(&self) -> bool {
        self.role.as_str() == "user"
    }

    fn created(&self) -> Option<Timestamp> {
        time(self.time.0?.created)
    }

    fn completed(&self) -> Option<Timestamp> {
        time(self.time.0?.completed)
    }

    /// Returns how the turn ended with this message, if it did.
    fn ended(&self) -> Option<How> {
        if let Some(error) = &self.error.0 {
            let name = error.name.as_str().to_owned();
            let data = error.data.0.as_ref();
            let message = data.and_then(|data| data.message.clone().said());
            let message = message.unwrap_or_else(|| name.clone());
            let status = data.and_then(|data| data.status_code.0);
            return Some(match name.as_str() {
                "MessageAbortedError" => How::Interrupted,
                _ if status == Some(TOO_MANY) => limited(message, self.completed()),
                _ => How::Failed { message },
            });
        }
        let has_ended = !["", "tool-calls"].contains(&self.finish.as_str());
        (has_ended && self.completed().is_some()).then_some(How::Done)
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::metadata(path)?;
    match metadata.is_file() {
        true => Ok((metadata.dev(), metadata.ino())),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a database must be a regular file",
        )),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "from_millisecond refuses numbers out of range"
)]
fn time(milliseconds: Number) -> Option<Timestamp> {
    Timestamp::from_millisecond(milliseconds.0? as i64).ok()
}

#[cfg(any(test, fuzzing))]
#[path = "../../../../tests/fuzz/targets/opencode.rs"]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;
