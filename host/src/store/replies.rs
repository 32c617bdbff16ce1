//! Answers of people to agents that ask.

use jiff::Timestamp;

use super::db::{Db, values};
use super::queue::read_task;
use super::{Store, StoreError, history};
use crate::model::ids::TaskId;
use crate::model::task::Status;

/// The action of a history row that says why an answer did not reach its agent.
pub const REPLY_DROPPED: &str = "reply_dropped";

/// A person's answer to an agent that asks, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Its number.
    pub id: i64,
    /// The task whose agent asks.
    pub task: TaskId,
    /// The answer.
    pub answer: Answer,
    /// The question that was open when the answer was given.
    pub asks: Option<String>,
}

/// What a person says to an agent that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Text. In a dialog it is typed, followed by Enter if it is longer than one character.
    Words(String),
    /// Keys, by their tmux names.
    Keys(Vec<String>),
    /// Nothing: the agent's last message is accepted as the response.
    Accept,
}

impl Answer {
    fn row(&self) -> (&'static str, String) {
        match self {
            Self::Words(text) => ("words", text.clone()),
            Self::Keys(names) => ("keys", names.join(" ")),
            Self::Accept => ("accept", String::new()),
        }
    }

    fn from_row(kind: &str, text: String) -> Self {
        match kind {
            "keys" => Self::Keys(text.split_whitespace().map(str::to_owned).collect()),
            "accept" => Self::Accept,
            _ => Self::Words(text),
        }
    }
}

impl Store {
    /// Answers an agent that waits for a person. The running daemon delivers the answer.
    ///
    /// # Errors
    /// There is no such task, its agent is not waiting, or it was already answered.
    pub fn reply(&mut self, id: TaskId, answer: &Answer, now: Timestamp) -> Result<(), StoreError> {
        self.atomically(|db| {
            let task = read_task(db, id)?;
            let status = task.status;
            if status != Status::WaitingInput {
                return Err(StoreError::NotAsking { id, status });
            }
            // A second answer would go to the next question, which nobody has seen.
            if db.exists("SELECT 1 FROM replies WHERE task_id = $1", values![id])? {
                return Err(StoreError::Answered(id));
            }
            let (kind, text) = answer.row();
            db.execute(
                "INSERT INTO replies (task_id, kind, text, asks, created_at)
                 VALUES ($1, $2, $3, $4, $5)",
                values![id, kind, text, task.asks, now],
            )?;
            Ok(())
        })
    }

    /// Returns the answers that people have given and no agent has received yet, oldest first.
    ///
    /// # Errors
    /// The database refused.
    pub fn replies(&mut self) -> Result<Vec<Reply>, StoreError> {
        let rows = self.db.query(
            "SELECT id, task_id, kind, text, asks FROM replies WHERE taken = 0 ORDER BY id",
            &[],
        )?;
        let replies = rows.iter().map(|row| {
            let text = row.text("text")?.unwrap_or_default();
            Ok(Reply {
                id: row.get("id")?,
                task: row.get("task_id")?,
                answer: Answer::from_row(&row.get::<String>("kind")?, text),
                asks: row.text("asks")?,
            })
        });
        replies.collect()
    }

    /// Takes a reply and records what becomes of it, before it is typed, so that no reply is typed
    /// twice. No other reply is accepted until the agent continues or [`Store::drop_replies`] is
    /// called.
    ///
    /// # Errors
    /// The database refused: the reply must not be typed.
    pub fn take_reply(
        &mut self,
        reply: &Reply,
        details: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.atomically(|db| {
            db.execute(
                "UPDATE replies SET taken = 1 WHERE id = $1",
                values![reply.id],
            )?;
            history::write(db, reply.task, None, "replied", details, now)
        })
    }

    /// Deletes the replies to a task that were not delivered, and records why. With `None`, deletes
    /// the replies to all tasks that an earlier daemon was delivering when it ended.
    ///
    /// # Errors
    /// The database refused.
    pub fn drop_replies(
        &mut self,
        task: Option<TaskId>,
        why: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.atomically(|db| {
            let tasks: Vec<TaskId> = match task {
                Some(task) => vec![task],
                None => {
                    let rows = db.query("SELECT task_id FROM replies WHERE taken <> 0", &[])?;
                    let tasks = rows.iter().map(|row| row.get("task_id"));
                    tasks.collect::<Result<_, _>>()?
                }
            };
            for task in tasks {
                db.execute("DELETE FROM replies WHERE task_id = $1", values![task])?;
                let details = format!("not delivered: {why}");
                history::write(db, task, None, REPLY_DROPPED, &details, now)?;
            }
            Ok(())
        })
    }
}

/// Deletes answers that come too late, and records that.
pub(super) fn come_too_late(
    db: &mut dyn Db,
    task: TaskId,
    why: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let dropped = db.execute(
        "DELETE FROM replies WHERE task_id = $1 AND taken = 0",
        values![task],
    )?;
    db.execute("DELETE FROM replies WHERE task_id = $1", values![task])?;
    if dropped > 0 {
        let details = format!("not delivered: {why}");
        history::write(db, task, None, REPLY_DROPPED, &details, now)?;
    }
    Ok(())
}
