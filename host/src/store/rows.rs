//! Rows as values: how to read what the database holds, even if another tool wrote it, and the
//! formats in which it is written.

use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;
use super::db::{Db, DbError, Row, Value, values};
use crate::model::headless::HeadlessConversation;
use crate::model::ids::{Identity, NodeName, PaneId, TaskId};
use crate::model::naming::{Meaning, SessionRef};
use crate::model::task::{Kind, Metadata, Outcome, Phase, Status, Task, TurnFacts};

/// The columns of a task that [`task_of`] reads.
pub(super) const TASK: &str = "id, kind, content, status, priority, session, exit_code, error, created_at, \
    assigned_at, completed_at, metadata, target_session, target_provider, attempts, max_retries, \
    timeout_seconds, not_before, wait_reason, cancel_requested, tries, blocked, secrets, revision, \
    asks, target_meaning, \
    (SELECT 'pane ' || server_pid || ' ' || server_start || ' ' || pane || ' ' || pane_pid \
        || CASE WHEN node = '' THEN '' ELSE ' @' || node END \
        FROM dependencies JOIN attempts ON attempts.task_id = dependencies.parent_id \
        WHERE dependencies.task_id = tasks.id \
            AND outcome NOT IN ('refused', 'withdrawn', 'rate_limited') \
        ORDER BY attempts.ended_at DESC NULLS LAST, attempts.id DESC LIMIT 1) AS follows, \
    (SELECT turn FROM attempts WHERE task_id = tasks.id AND turn IS NOT NULL \
        ORDER BY id DESC LIMIT 1) AS turn";

/// Reads a task, even if another tool wrote values of unexpected types: one such row must not stop
/// the queue.
pub(super) fn task_of(row: &Row) -> Result<Task, DbError> {
    let metadata = row.text("metadata")?.unwrap_or_else(|| "{}".to_owned());
    let (metadata, metadata_error) = Metadata::read(&metadata);
    let number = |column| {
        let number = row.integer(column)?;
        Ok::<u32, DbError>(number.map_or(0, |number| u32::try_from(number).unwrap_or_default()))
    };
    let turn = |column| {
        let turn = row.text(column)?;
        Ok::<_, DbError>(turn.and_then(|turn| serde_json::from_str::<TurnFacts>(&turn).ok()))
    };
    let status = row.status()?;
    Ok(Task {
        id: row.get("id")?,
        kind: if row.text("kind")?.as_deref() == Some("command") {
            Kind::Command
        } else {
            Kind::Prompt
        },
        content: row.text("content")?.unwrap_or_default(),
        status,
        priority: row.integer("priority")?.map_or(0, |priority| {
            let bounded = priority.clamp(i32::MIN.into(), i32::MAX.into());
            i32::try_from(bounded).unwrap_or_default()
        }),
        session: row.text("session")?,
        exit_code: row
            .integer("exit_code")?
            .and_then(|code| i32::try_from(code).ok()),
        error: row.text("error")?,
        created_at: row.time("created_at")?.unwrap_or_default(),
        assigned_at: row.time("assigned_at")?,
        completed_at: row.time("completed_at")?,
        metadata,
        metadata_error,
        target_session: said(row.text("target_session")?, row.text("target_meaning")?),
        target_provider: row.text("target_provider")?,
        attempts: number("attempts")?,
        max_retries: number("max_retries")?,
        timeout_seconds: limit(row, "timeout_seconds")?,
        not_before: row.time("not_before")?,
        wait_reason: row.text("wait_reason")?,
        cancel_requested: row.time("cancel_requested")?,
        tries: number("tries")?,
        blocked: number("blocked")?,
        secrets: row.text("secrets")?,
        follows: row.text("follows")?.and_then(|pane| pane_of(&pane)),
        revision: row.integer("revision")?.unwrap_or_default(),
        asks: row.text("asks")?,
        // A task that is pending again has none: what an earlier try left says nothing of the next.
        response: turn("turn")?
            .filter(|_| status != Status::Pending)
            .map(|turn| turn.response()),
        conversation: None,
    })
}

/// Reads a task, and what only the rows of its parents tell: the conversation that it continues.
pub(super) fn whole_task(db: &mut dyn Db, row: &Row) -> Result<Task, StoreError> {
    let mut task = task_of(row)?;
    if let Some(asked) = &task.metadata.headless
        && !asked.spec.resume.is_empty()
        && task.follows.is_some()
    {
        task.conversation = conversation(db, task.id, &asked.provider)?;
    }
    Ok(task)
}

/// Returns the conversation of those tasks that a task follows in which `provider` was asked without a
/// terminal: of several, the one that ended last. Another agent's cannot be continued.
fn conversation(
    db: &mut dyn Db,
    id: TaskId,
    provider: &str,
) -> Result<Option<HeadlessConversation>, StoreError> {
    let rows = db.query(
        "SELECT turn FROM dependencies JOIN attempts ON attempts.task_id = dependencies.parent_id
         WHERE dependencies.task_id = $1 AND turn LIKE '%\"conversation\":%'
         ORDER BY attempts.ended_at DESC NULLS LAST, attempts.id DESC",
        values![id],
    )?;
    for row in rows {
        let turn = row.text("turn")?.unwrap_or_default();
        let Ok(turn) = serde_json::from_str::<TurnFacts>(&turn) else {
            continue;
        };
        let is_its = turn
            .provider
            .as_deref()
            .is_none_or(|asked| asked == provider);
        if let Some(name) = turn.conversation.filter(|_| is_its) {
            let directory = turn.directory.filter(|path| path.starts_with('/'));
            return Ok(Some(HeadlessConversation { name, directory }));
        }
    }
    Ok(None)
}

/// Returns the pane that a [`Meaning`] names, if it names one.
fn pane_of(meaning: &str) -> Option<Identity> {
    match meaning.parse() {
        Ok(Meaning::Pane(identity)) => Some(identity),
        Ok(Meaning::Session { .. }) | Err(_) => None,
    }
}

/// Combines the name that a person used for a session with what it meant.
pub(super) fn said(name: Option<String>, meaning: Option<String>) -> Option<SessionRef> {
    let meaning = meaning.and_then(|meaning| meaning.parse().ok());
    name.map(|name| SessionRef { name, meaning })
}

/// Reads a limit in seconds, rounded up. `None` if there is none.
fn limit(row: &Row, column: &str) -> Result<Option<u64>, DbError> {
    let seconds = match row.value(column)? {
        // Other tools may have stored a fraction. The cast saturates.
        Value::Real(seconds) => Some(seconds.ceil() as i64),
        _ => row.integer(column)?,
    };
    Ok(seconds.and_then(|seconds| u64::try_from(seconds).ok()))
}

/// Columns that other tools may have written, and columns of our own types.
impl Row {
    /// Reads text, whatever type the value has. `None` if the value is null.
    pub(super) fn text(&self, column: &str) -> Result<Option<String>, DbError> {
        Ok(match self.value(column)? {
            Value::Null => None,
            Value::Integer(number) => Some(number.to_string()),
            Value::Real(number) => Some(number.to_string()),
            Value::Text(text) => Some(text.clone()),
            Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        })
    }

    /// Reads a whole number, whatever type the value has. `None` if it is not a number.
    pub(super) fn integer(&self, column: &str) -> Result<Option<i64>, DbError> {
        Ok(match self.value(column)? {
            Value::Null | Value::Bytes(_) => None,
            Value::Integer(number) => Some(*number),
            // A cast saturates, which is right for a number out of range.
            Value::Real(number) => Some(*number as i64),
            Value::Text(text) => text.trim().parse().ok(),
        })
    }

    /// Reads a time, including the formats that other tools write (no zone means UTC).
    pub(super) fn time(&self, column: &str) -> Result<Option<Timestamp>, DbError> {
        Ok(self.text(column)?.and_then(|text| {
            Timestamp::from_str(&text).ok().or_else(|| {
                let civil = DateTime::from_str(&text).ok()?;
                Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
            })
        }))
    }

    /// Reads JSON that only we write.
    pub(super) fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, DbError> {
        let text: String = self.get(column)?;
        serde_json::from_str(&text).map_err(|error| DbError::of_column(column, error))
    }

    /// Reads JSON that other tools may have written. Anything else counts as the default.
    pub(super) fn json_or_default<T: DeserializeOwned + Default>(
        &self,
        column: &str,
    ) -> Result<T, DbError> {
        let text = self.text(column)?.unwrap_or_default();
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    /// Reads the column `status`.
    pub(super) fn status(&self) -> Result<Status, DbError> {
        let name: String = self.get("status")?;
        Status::from_name(&name).ok_or_else(|| unknown("status", &name))
    }

    /// Reads the column `phase`.
    pub(super) fn phase(&self) -> Result<Phase, DbError> {
        let name: String = self.get("phase")?;
        Phase::from_name(&name).ok_or_else(|| unknown("phase", &name))
    }

    /// Reads the column `outcome`.
    pub(super) fn outcome(&self) -> Result<Option<Outcome>, DbError> {
        let name: Option<String> = self.get("outcome")?;
        name.map(|name| Outcome::from_name(&name).ok_or_else(|| unknown("outcome", &name)))
            .transpose()
    }

    fn node(&self) -> Result<NodeName, DbError> {
        let name: String = self.get("node")?;
        NodeName::parse(&name).ok_or_else(|| unknown("node", &name))
    }

    /// Reads the columns of a session's identity.
    pub(super) fn identity(&self) -> Result<Identity, DbError> {
        let pane: String = self.get("pane")?;
        Ok(Identity {
            node: self.node()?,
            server_pid: self.get("server_pid")?,
            server_start: self.get("server_start")?,
            pane: PaneId::parse(&pane).ok_or_else(|| unknown("pane", &pane))?,
            pane_pid: self.get("pane_pid")?,
        })
    }
}

fn unknown(column: &str, value: &str) -> DbError {
    DbError::of_column(column, format!("unknown {column} {value:?}"))
}

pub(super) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Prompt => "prompt",
        Kind::Command => "command",
    }
}

/// Serialises values of our own types. This cannot fail: their maps have only strings as keys.
pub(super) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

/// Writes a time as the database stores it: RFC 3339 in UTC with milliseconds, so that sorting the
/// text sorts by time.
pub(super) fn stamp(time: Timestamp) -> String {
    format!("{time:.3}")
}
