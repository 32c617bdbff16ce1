//! What happened: the rows of `assignment_history`.

use jiff::Timestamp;
use serde::Serialize;

use super::db::{Db, DbError, Row, values};
use super::{Store, StoreError};
use crate::model::ids::TaskId;

/// One row of `assignment_history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HistoryRow {
    /// The task that it is about. `None` if it is about a session.
    pub task: Option<TaskId>,
    /// When it happened.
    pub at: Timestamp,
    /// What happened; see [`Event::name`](crate::model::task::Event::name).
    pub action: String,
    /// The session that had the task, if any.
    pub session: Option<String>,
    /// The cause, for people.
    pub details: String,
}

const COLUMNS: &str = "created_at, action, session_name, details, prompt_id";

impl Store {
    /// Returns what happened to a task, oldest first.
    ///
    /// # Errors
    /// The database refused.
    pub fn history(&mut self, id: TaskId) -> Result<Vec<HistoryRow>, StoreError> {
        let rows = self.db.query(
            &format!("SELECT {COLUMNS} FROM assignment_history WHERE prompt_id = $1 ORDER BY id"),
            values![id],
        )?;
        Ok(rows.iter().map(history_of).collect::<Result<_, _>>()?)
    }

    /// Returns the rows among the `limit` that follow a row, oldest first, and the number of the last of
    /// them. What came with an import is left out: it is no news.
    ///
    /// # Errors
    /// The database refused.
    pub fn history_since(
        &mut self,
        row: i64,
        limit: usize,
    ) -> Result<(Vec<HistoryRow>, i64), StoreError> {
        let rows = self.db.query(
            &format!(
                "SELECT id, {COLUMNS}, (SELECT max(id) FROM assignment_history AS later
                    WHERE later.prompt_id = history.prompt_id AND later.action = 'imported') AS imported
                 FROM assignment_history AS history WHERE id > $1 ORDER BY id LIMIT $2"
            ),
            values![row, limit],
        )?;
        let mut last = row;
        let mut news = Vec::new();
        for row in &rows {
            last = row.get("id")?;
            if row
                .integer("imported")?
                .is_none_or(|imported| imported < last)
            {
                news.push(history_of(row)?);
            }
        }
        Ok((news, last))
    }

    /// Returns the number of the last row of the history; 0: there is none.
    ///
    /// # Errors
    /// The database refused.
    pub fn last_row_of_history(&mut self) -> Result<i64, StoreError> {
        let row = self.db.query_one(
            "SELECT coalesce(max(id), 0) AS id FROM assignment_history",
            &[],
        )?;
        Ok(row.map_or(Ok(0), |row| row.get("id"))?)
    }

    /// Returns the row up to which a person was told what has happened; `None`: nobody was to be told.
    ///
    /// # Errors
    /// The database refused.
    pub fn was_told_until(&mut self) -> Result<Option<i64>, StoreError> {
        let row = self
            .db
            .query_one("SELECT history FROM notified WHERE id = 1", &[])?;
        Ok(row.map(|row| row.get("history")).transpose()?)
    }

    /// Notes up to which row a person was told; `None`: nobody is to be told.
    ///
    /// # Errors
    /// The database refused.
    pub fn told_until(&mut self, row: Option<i64>) -> Result<(), StoreError> {
        if row.is_none() && self.was_told_until()?.is_none() {
            return Ok(());
        }
        self.atomically(|db| {
            match row {
                Some(row) => db.execute(
                    "INSERT INTO notified (id, history) VALUES (1, $1)
                     ON CONFLICT (id) DO UPDATE SET history = excluded.history",
                    values![row],
                )?,
                None => db.execute("DELETE FROM notified", &[])?,
            };
            Ok(())
        })
    }

    /// Returns the last `limit` rows of a session's history, oldest first.
    ///
    /// # Errors
    /// The database refused.
    pub fn session_history(
        &mut self,
        name: &str,
        limit: usize,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        let rows = self.db.query(
            &format!(
                "SELECT {COLUMNS} FROM assignment_history
                 WHERE session_name = $1 ORDER BY id DESC LIMIT $2"
            ),
            values![name, limit],
        )?;
        let rows = rows.iter().rev().map(history_of);
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Writes a history row that is about a session and not about a task.
    ///
    /// # Errors
    /// The database refused.
    pub fn note_session(
        &mut self,
        session: &str,
        action: &str,
        details: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.atomically(|db| note(db, Some(session), action, details, now))
    }
}

fn history_of(row: &Row) -> Result<HistoryRow, DbError> {
    Ok(HistoryRow {
        at: row.time("created_at")?.unwrap_or_default(),
        action: row.text("action")?.unwrap_or_default(),
        session: row.text("session_name")?,
        details: row.text("details")?.unwrap_or_default(),
        task: row.integer("prompt_id")?.map(TaskId),
    })
}

/// Writes a row about a task.
pub(super) fn write(
    db: &mut dyn Db,
    id: TaskId,
    session: Option<&str>,
    action: &str,
    details: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO assignment_history (prompt_id, session_name, action, created_at, details)
         VALUES ($1, $2, $3, $4, $5)",
        values![id, session, action, now, details],
    )?;
    Ok(())
}

/// Writes a row about a session, or about several.
pub(super) fn note(
    db: &mut dyn Db,
    session: Option<&str>,
    action: &str,
    details: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO assignment_history (session_name, action, created_at, details)
         VALUES ($1, $2, $3, $4)",
        values![session, action, now, details],
    )?;
    Ok(())
}
