//! Rows as values: how to read what the database holds, even if another tool wrote it, and the
//! formats in which it is written.

use std::collections::BTreeMap;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use rusqlite::Row;
use rusqlite::types::{Value, ValueRef};

use super::{HistoryRow, Lane, SessionRow};
use crate::model::eligibility::Admission;
use crate::model::ids::{Identity, PaneId, TaskId};
use crate::model::naming::{Meaning, SessionRef};
use crate::model::session::Activity;
use crate::model::task::{Kind, Metadata, Outcome, Phase, Status, Task, TurnFacts};

/// The columns of a task, in the order in which [`task_of`] reads them.
pub(super) const TASK: &str = "id, kind, content, status, priority, session, exit_code, error, created_at, \
    assigned_at, completed_at, metadata, target_session, target_provider, attempts, max_retries, \
    timeout_seconds, not_before, wait_reason, cancel_requested, tries, blocked, secrets, \
    (SELECT 'pane ' || server_pid || ' ' || server_start || ' ' || pane || ' ' || pane_pid \
        FROM dependencies JOIN attempts ON attempts.task_id = dependencies.parent_id \
        WHERE dependencies.task_id = tasks.id \
            AND outcome NOT IN ('refused', 'withdrawn', 'limited') \
        ORDER BY attempts.ended_at DESC, attempts.id DESC LIMIT 1), revision, asks, target_meaning, \
    (SELECT turn FROM attempts WHERE task_id = tasks.id AND turn IS NOT NULL ORDER BY id DESC LIMIT 1), \
    (SELECT turn FROM dependencies JOIN attempts ON attempts.task_id = dependencies.parent_id \
        WHERE dependencies.task_id = tasks.id AND turn IS NOT NULL \
        ORDER BY attempts.ended_at DESC, attempts.id DESC LIMIT 1)";

/// Reads a task, even if another tool wrote values of unexpected types: one such row must not stop
/// the queue.
pub(super) fn task_of(row: &Row<'_>) -> Result<Task, rusqlite::Error> {
    let metadata = text(row, 11)?.unwrap_or_else(|| "{}".to_owned());
    let (metadata, metadata_error) = Metadata::read(&metadata);
    let kind = text(row, 1)?.unwrap_or_default();
    let narrow = |value: i64| u32::try_from(value).unwrap_or_default();
    Ok(Task {
        id: TaskId(row.get(0)?),
        kind: if kind == "command" {
            Kind::Command
        } else {
            Kind::Prompt
        },
        content: text(row, 2)?.unwrap_or_default(),
        status: status_of(row, 3)?,
        priority: integer(row, 4)?.map_or(0, |priority| {
            i32::try_from(priority).unwrap_or(if priority < 0 { i32::MIN } else { i32::MAX })
        }),
        session: text(row, 5)?,
        exit_code: integer(row, 6)?.and_then(|code| i32::try_from(code).ok()),
        error: text(row, 7)?,
        created_at: time(row, 8)?.unwrap_or_default(),
        assigned_at: time(row, 9)?,
        completed_at: time(row, 10)?,
        metadata,
        metadata_error,
        target_session: said(text(row, 12)?, text(row, 26)?),
        target_provider: text(row, 13)?,
        attempts: integer(row, 14)?.map_or(0, narrow),
        max_retries: integer(row, 15)?.map_or(0, narrow),
        timeout_seconds: limit(row, 16)?,
        not_before: time(row, 17)?,
        wait_reason: text(row, 18)?,
        cancel_requested: time(row, 19)?,
        tries: integer(row, 20)?.map_or(0, narrow),
        blocked: integer(row, 21)?.map_or(0, narrow),
        secrets: text(row, 22)?,
        follows: text(row, 23)?.and_then(|pane| pane_of(&pane)),
        revision: integer(row, 24)?.unwrap_or_default(),
        asks: text(row, 25)?,
        response: text(row, 27)?
            .and_then(|turn| serde_json::from_str::<TurnFacts>(&turn).ok())
            .map(|turn| turn.response()),
        conversation: text(row, 28)?
            .and_then(|turn| serde_json::from_str::<TurnFacts>(&turn).ok())
            .and_then(|turn| turn.conversation),
    })
}

/// Returns the pane that a [`Meaning`] names, if it names one.
fn pane_of(meaning: &str) -> Option<Identity> {
    match meaning.parse() {
        Ok(Meaning::Pane(identity)) => Some(identity),
        Ok(Meaning::Session { .. }) | Err(_) => None,
    }
}

/// Reads text, whatever type the value has. `None` if the value is null.
pub(super) fn text(row: &Row<'_>, index: usize) -> Result<Option<String>, rusqlite::Error> {
    Ok(match row.get_ref(index)? {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            Some(String::from_utf8_lossy(bytes).into_owned())
        }
    })
}

/// Combines the name that a person used for a session with what it meant.
pub(super) fn said(name: Option<String>, meaning: Option<String>) -> Option<SessionRef> {
    let meaning = meaning.and_then(|meaning| meaning.parse().ok());
    name.map(|name| SessionRef { name, meaning })
}

/// Reads a whole number, whatever type the value has. `None` if it is not a number.
pub(super) fn integer(row: &Row<'_>, index: usize) -> Result<Option<i64>, rusqlite::Error> {
    Ok(match row.get_ref(index)? {
        ValueRef::Null | ValueRef::Blob(_) => None,
        ValueRef::Integer(number) => Some(number),
        // A cast saturates, which is right for a number out of range.
        ValueRef::Real(number) => Some(number as i64),
        ValueRef::Text(_) => text(row, index)?.and_then(|text| text.trim().parse().ok()),
    })
}

/// Reads a limit in seconds, rounded up. `None` if there is none.
fn limit(row: &Row<'_>, index: usize) -> Result<Option<u64>, rusqlite::Error> {
    let seconds = match row.get_ref(index)? {
        // Other tools may have stored a fraction. The cast saturates.
        ValueRef::Real(seconds) => Some(seconds.ceil() as i64),
        _ => integer(row, index)?,
    };
    Ok(seconds.and_then(|seconds| u64::try_from(seconds).ok()))
}

/// Reads a lane's constraints back from the key that the generated column built from them.
pub(super) fn lane_of(key: Vec<u8>) -> Lane {
    let readable = String::from_utf8_lossy(&key);
    let parts: Vec<serde_json::Value> = serde_json::from_str(&readable).unwrap_or_default();
    let text = |index: usize| {
        parts
            .get(index)
            .and_then(|part| part.as_str())
            .map(str::to_owned)
    };
    // json_extract embeds an array as text inside the outer array.
    let list = |index: usize| -> Vec<String> {
        match parts.get(index) {
            Some(serde_json::Value::Array(items)) => items
                .iter()
                .filter_map(|item| item.as_str().map(str::to_owned))
                .collect(),
            Some(serde_json::Value::String(text)) => serde_json::from_str(text).unwrap_or_default(),
            _ => Vec::new(),
        }
    };
    let is_set = |index: usize| {
        parts
            .get(index)
            .is_some_and(|part| part.as_i64() == Some(1) || part.as_bool() == Some(true))
    };
    let mut providers: Vec<String> = Vec::new();
    if !is_set(5) {
        providers.extend(text(2));
        providers.extend(list(3));
        providers.extend(list(4));
    }
    let labels = match parts.get(8) {
        Some(serde_json::Value::String(text)) => serde_json::from_str(text).unwrap_or_default(),
        Some(object) => serde_json::from_value(object.clone()).unwrap_or_default(),
        None => BTreeMap::new(),
    };
    Lane {
        kind: if text(0).as_deref() == Some("command") {
            Kind::Command
        } else {
            Kind::Prompt
        },
        target_session: said(text(1), text(9)),
        target_fallback: is_set(6),
        providers,
        branch: text(7),
        labels,
        key,
    }
}

/// The columns of a session, in the order in which [`session_of`] reads them.
pub(super) const SESSION: &str = "name, status, reason, since, provider, current_dir, git_branch, \
    env_vars, current_task_id, completed, failed, last_context_update, admission, paused, labels, \
    server_pid, server_start, pane, pane_pid, homes, repository";

/// Reads a session that we have seen ourselves.
pub(super) fn session_of(row: &Row<'_>) -> Result<SessionRow, rusqlite::Error> {
    let activity: String = row.get(1)?;
    Ok(SessionRow {
        name: row.get(0)?,
        activity: Activity::from_name(&activity).unwrap_or(Activity::Unknown),
        // The absence of a reason is stored as empty text.
        reason: text(row, 2)?.filter(|reason| !reason.is_empty()),
        since: time(row, 3)?.unwrap_or_default(),
        provider: text(row, 4)?.unwrap_or_default(),
        current_dir: text(row, 5)?,
        git_branch: text(row, 6)?,
        env: from_json_or_default(row, 7)?,
        current_task: row.get::<_, Option<i64>>(8)?.map(TaskId),
        completed: row.get(9)?,
        failed: row.get(10)?,
        context_at: time(row, 11)?.unwrap_or_default(),
        admission: Admission::from_name(&row.get::<_, String>(12)?),
        paused: row.get(13)?,
        labels: from_json_or_default(row, 14)?,
        identity: identity_of(row, 15)?,
        homes: from_json_or_default(row, 19)?,
        repository: text(row, 20)?,
    })
}

/// Reads a history row: time, action, session, details and task, in this order.
pub(super) fn history_of(row: &Row<'_>) -> Result<HistoryRow, rusqlite::Error> {
    Ok(HistoryRow {
        at: time(row, 0)?.unwrap_or_default(),
        action: text(row, 1)?.unwrap_or_default(),
        session: text(row, 2)?,
        details: text(row, 3)?.unwrap_or_default(),
        task: integer(row, 4)?.map(TaskId),
    })
}

pub(super) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Prompt => "prompt",
        Kind::Command => "command",
    }
}

pub(super) fn status_of(row: &Row<'_>, index: usize) -> Result<Status, rusqlite::Error> {
    let name: String = row.get(index)?;
    Status::from_name(&name).ok_or_else(|| unknown(index, "status", &name))
}

pub(super) fn phase_of(row: &Row<'_>, index: usize) -> Result<Phase, rusqlite::Error> {
    let name: String = row.get(index)?;
    Phase::from_name(&name).ok_or_else(|| unknown(index, "phase", &name))
}

pub(super) fn outcome_of(row: &Row<'_>, index: usize) -> Result<Option<Outcome>, rusqlite::Error> {
    let name: Option<String> = row.get(index)?;
    name.map(|name| Outcome::from_name(&name).ok_or_else(|| unknown(index, "outcome", &name)))
        .transpose()
}

pub(super) fn identity_of(row: &Row<'_>, first: usize) -> Result<Identity, rusqlite::Error> {
    let pane: String = row.get(first + 2)?;
    Ok(Identity {
        server_pid: row.get(first)?,
        server_start: row.get(first + 1)?,
        pane: PaneId::parse(&pane).ok_or_else(|| unknown(first + 2, "pane", &pane))?,
        pane_pid: row.get(first + 3)?,
    })
}

pub(super) fn identity_params(identity: &Identity) -> [Value; 4] {
    [
        Value::from(identity.server_pid),
        Value::from(identity.server_start),
        Value::from(identity.pane.as_str().to_owned()),
        Value::from(identity.pane_pid),
    ]
}

pub(super) fn from_json<T: serde::de::DeserializeOwned>(
    row: &Row<'_>,
    index: usize,
) -> Result<T, rusqlite::Error> {
    let text: String = row.get(index)?;
    serde_json::from_str(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, error.into())
    })
}

/// Reads JSON that other tools may have written. Anything else counts as the default.
pub(super) fn from_json_or_default<T: serde::de::DeserializeOwned + Default>(
    row: &Row<'_>,
    index: usize,
) -> Result<T, rusqlite::Error> {
    let text = text(row, index)?.unwrap_or_default();
    Ok(serde_json::from_str(&text).unwrap_or_default())
}

fn unknown(index: usize, what: &str, value: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(
        index,
        rusqlite::types::Type::Text,
        format!("unknown {what} {value:?}").into(),
    )
}

/// Serialises values of our own types. This cannot fail: their maps have only strings as keys.
pub(super) fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

pub(super) fn saturating(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Writes a time as the database stores it: RFC 3339 in UTC with milliseconds, so that sorting the
/// text sorts by time.
pub(super) fn stamp(time: Timestamp) -> String {
    format!("{time:.3}")
}

/// Reads a time, including the formats that other tools write (no zone means UTC).
pub(super) fn time(row: &Row<'_>, index: usize) -> Result<Option<Timestamp>, rusqlite::Error> {
    Ok(text(row, index)?.and_then(|text| {
        Timestamp::from_str(&text).ok().or_else(|| {
            let civil = DateTime::from_str(&text).ok()?;
            Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
        })
    }))
}
