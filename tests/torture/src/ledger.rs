//! What the ledger says, by `list`, `show` and `history`.

use std::collections::HashMap;
use std::io;

use assigner_conformance::world::Place;
use jiff::Timestamp;
use serde_json::Value;

use crate::tasks::number_in;

/// A task as the ledger has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// Its number in the ledger.
    pub id: u64,
    /// Its state.
    pub status: String,
    /// Its exit code.
    pub exit_code: Option<i64>,
    /// Why it failed or is uncertain.
    pub error: Option<String>,
    /// Why it waits.
    pub wait_reason: Option<String>,
    /// What was kept of its output, and why that is not all.
    pub output: Option<String>,
    /// Why the output is not whole.
    pub output_cut: Option<String>,
    /// Its attempts, without those that were never delivered.
    pub attempts: Vec<Attempt>,
    /// The actions in its history, the oldest first.
    pub actions: Vec<String>,
    /// When it was queued, in milliseconds since 1970.
    pub from: u64,
    /// When it ended.
    pub until: Option<u64>,
}

/// One attempt; times are in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Its state.
    pub status: String,
    /// The name of its session.
    pub session: String,
    /// When its session was reserved.
    pub from: u64,
    /// When it ended.
    pub until: Option<u64>,
}

/// Reads all tasks, by their numbers here. Several tasks of one number are several rows.
///
/// # Errors
///
/// A command fails.
pub fn read(place: &Place) -> io::Result<HashMap<u64, Vec<Row>>> {
    let listed = place.assigner(&["list", "--limit", "0"], b"")?.json()?;
    let mut rows: HashMap<u64, Vec<Row>> = HashMap::new();
    for task in listed.as_array().into_iter().flatten() {
        let number = number_in(text(&task["content"]));
        let (Some(number), Some(id)) = (number, task["id"].as_u64()) else {
            return Err(io::Error::other(format!("a foreign task: {task}")));
        };
        let id = id.to_string();
        let shown = place.assigner(&["show", &id], b"")?.json()?;
        let history = place.assigner(&["history", &id], b"")?.json()?;
        rows.entry(number).or_default().push(row(&shown, &history));
    }
    Ok(rows)
}

fn row(shown: &Value, history: &Value) -> Row {
    let maybe = |key: &str| shown[key].as_str().map(str::to_owned);
    let attempts = shown["attempts"].as_array().into_iter().flatten();
    let actions = history.as_array().into_iter().flatten();
    Row {
        id: shown["id"].as_u64().unwrap_or_default(),
        status: text(&shown["status"]).to_owned(),
        exit_code: shown["exit_code"].as_i64(),
        error: maybe("error"),
        wait_reason: maybe("wait_reason"),
        output: maybe("output"),
        output_cut: maybe("output_cut"),
        attempts: attempts
            .map(|attempt| Attempt {
                status: text(&attempt["status"]).to_owned(),
                session: text(&attempt["session"]).to_owned(),
                from: time(&attempt["claimed_at"]).unwrap_or_default(),
                until: time(&attempt["ended_at"]),
            })
            .collect(),
        actions: actions.map(|row| text(&row["action"]).to_owned()).collect(),
        from: time(&shown["created_at"]).unwrap_or_default(),
        until: time(&shown["completed_at"]),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn time(value: &Value) -> Option<u64> {
    let time: Timestamp = value.as_str()?.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_is_read_from_what_is_shown() {
        let shown = json!({
            "id": 4, "status": "failed", "exit_code": 3, "error": "why", "output": "1\n",
            "output_cut": "its pipe was closed", "created_at": "1970-01-01T00:00:01Z",
            "completed_at": "1970-01-01T00:00:02Z",
            "attempts": [{
                "status": "failed", "session": "zsh",
                "claimed_at": "1970-01-01T00:00:01Z", "ended_at": null,
            }],
        });
        let history = json!([{"action": "queued"}, {"action": "claimed"}]);
        let expected = Row {
            id: 4,
            status: "failed".to_owned(),
            exit_code: Some(3),
            error: Some("why".to_owned()),
            wait_reason: None,
            output: Some("1\n".to_owned()),
            output_cut: Some("its pipe was closed".to_owned()),
            attempts: vec![Attempt {
                status: "failed".to_owned(),
                session: "zsh".to_owned(),
                from: 1000,
                until: None,
            }],
            actions: vec!["queued".to_owned(), "claimed".to_owned()],
            from: 1000,
            until: Some(2000),
        };
        assert_eq!(row(&shown, &history), expected);
    }
}
