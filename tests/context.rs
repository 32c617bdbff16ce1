//! The context of sessions is followed, and what a task asks for is prepared before it runs.

mod directories;
mod prerequisites;
mod secrets;
mod variables;

use rusqlite::{Connection, OptionalExtension};
use serde_json::Value;

use crate::harness::Seat;

/// What the database says about a session; nothing is "".
#[derive(Debug, PartialEq, Eq)]
struct Row {
    status: String,
    current_dir: String,
    git_branch: String,
    env_vars: String,
    last_context_update: String,
    updated_at: String,
}

fn row(database: &Connection, session: &str) -> Option<Row> {
    database
        .query_row(
            "SELECT ifnull(status, ''), ifnull(current_dir, ''), ifnull(git_branch, ''), \
             ifnull(env_vars, ''), ifnull(last_context_update, ''), ifnull(updated_at, '') \
             FROM sessions WHERE name = ?1",
            [session],
            |row| {
                Ok(Row {
                    status: row.get(0)?,
                    current_dir: row.get(1)?,
                    git_branch: row.get(2)?,
                    env_vars: row.get(3)?,
                    last_context_update: row.get(4)?,
                    updated_at: row.get(5)?,
                })
            },
        )
        .optional()
        .expect("the table of sessions")
}

/// Waits until a session is known to have a variable with a value, or not to have it: for people,
/// for scripts and in the database.
#[track_caller]
fn tracked(seat: &Seat<'_>, database: &Connection, variable: &str, value: Option<&str>) {
    seat.world.eventually(|| {
        let entry = seat.world.session_entry(seat.name()).ok_or("no session")?;
        let row = row(database, seat.name()).ok_or("no row")?;
        let kept: Value = match row.env_vars.as_str() {
            "" => Value::Null,
            json => serde_json::from_str(json).map_err(|error| format!("{error}: {json:?}"))?,
        };
        if entry["env"][variable].as_str() == value && kept[variable].as_str() == value {
            Ok(())
        } else {
            Err(format!("{variable} is not {value:?}: {entry} {row:?}"))
        }
    });
}
