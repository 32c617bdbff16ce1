//! Attempts: each phase is written before the act that it names, and an end once.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::db::{Db, Row, values};
use super::manage::retarget;
use super::moves::move_task;
use super::queue::read_task;
use super::rows::{json, said};
use super::{Store, StoreError, replies, wishes};
use crate::model::ids::{AttemptId, Identity, TaskId};
use crate::model::matching::PolicyId;
use crate::model::task::{Attempt, Event, Outcome, Phase, Status, Task, TurnFacts};

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// The attempt.
    pub attempt: AttemptId,
    /// How it ended.
    pub outcome: Outcome,
    /// What becomes of the task.
    pub event: Event,
    /// The exit code of the command.
    pub exit_code: Option<i32>,
    /// The reason, for people. `None` if it went well.
    pub error: Option<String>,
    /// What the attempt printed.
    pub output: Option<Output>,
    /// The earliest time of the next try.
    pub not_before: Option<Timestamp>,
    /// What is known about the agent's turn.
    pub turn: Option<TurnFacts>,
    /// A limit that the agent reached. Its provider is paused in the same transaction.
    pub limit: Option<Limit>,
}

impl End {
    /// Returns an end that has only a reason.
    pub fn new(attempt: AttemptId, outcome: Outcome, event: Event) -> Self {
        Self {
            attempt,
            outcome,
            event,
            exit_code: None,
            error: None,
            output: None,
            not_before: None,
            turn: None,
            limit: None,
        }
    }

    /// Adds the reason, for people.
    pub fn because(self, reason: impl Into<String>) -> Self {
        Self {
            error: Some(reason.into()),
            ..self
        }
    }
}

/// A usage limit of a provider that an agent reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The provider.
    pub provider: String,
    /// When it ends.
    pub until: Timestamp,
    /// The reason, as the agent states it.
    pub reason: String,
}

/// An attempt that has not ended, with its task. Recovery starts from this.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenAttempt {
    /// Its id.
    pub id: AttemptId,
    /// The session's label.
    pub session: String,
    /// The session.
    pub identity: Identity,
    /// The phase it has reached.
    pub phase: Phase,
    /// When the first bytes may have reached the pane.
    pub delivered_at: Option<Timestamp>,
    /// When its session started on it.
    pub started_at: Option<Timestamp>,
    /// When a prompt may first have been submitted.
    pub submitted_at: Option<Timestamp>,
    /// Whether its agent asked something that was answered.
    pub answered: bool,
    /// Whether a turn of its agent ended in a question: then what follows the answer is another
    /// turn.
    pub has_said: bool,
    /// The task that it is a try of.
    pub task: Task,
}

/// What a person requests for a task in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// To end it.
    Cancel,
    /// To give it to this session, or to any session if `None`.
    Reassign(Option<String>),
}

/// What a task printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The bytes as printed; only the newest ones if there were too many.
    pub bytes: Vec<u8>,
    /// How many bytes there were in all.
    pub total: u64,
    /// Why a part of it was lost before it could be kept. `None`: nothing was.
    pub cut: Option<String>,
}

impl Output {
    /// Returns the newest bytes of an output of which nothing was lost on the way.
    pub fn whole(bytes: Vec<u8>, total: u64) -> Self {
        Self {
            bytes,
            total,
            cut: None,
        }
    }

    /// Returns an output of which every byte was kept.
    pub fn of(bytes: Vec<u8>) -> Self {
        let total = bytes.len() as u64;
        Self::whole(bytes, total)
    }
}

impl Store {
    /// Returns a task's attempts, oldest first, leaving out those that do not count.
    ///
    /// # Errors
    /// The database refused.
    pub fn attempts(&mut self, id: TaskId) -> Result<Vec<Attempt>, StoreError> {
        let rows = self.db.query(
            "SELECT id, number, session, phase, outcome, exit_code, error, claimed_at, started_at,
                ended_at, policy_name, policy_version, policy_sha256, rankings,
                ruled_out, turn, node, server_pid, server_start, pane, pane_pid
             FROM attempts WHERE task_id = $1 ORDER BY id",
            values![id],
        )?;
        let mut attempts = Vec::with_capacity(rows.len());
        for row in rows {
            attempts.push(Attempt {
                id: row.get("id")?,
                number: row.get("number")?,
                session: row.get("session")?,
                identity: row.identity()?,
                phase: row.phase()?,
                outcome: row.outcome()?,
                exit_code: row.get("exit_code")?,
                error: row.get("error")?,
                claimed_at: row.time("claimed_at")?.unwrap_or_default(),
                started_at: row.time("started_at")?,
                ended_at: row.time("ended_at")?,
                policy: PolicyId {
                    name: row.get("policy_name")?,
                    version: row.get("policy_version")?,
                    sha256: row.get("policy_sha256")?,
                },
                rankings: row.json("rankings")?,
                ruled_out: row.json("ruled_out")?,
                turn: row
                    .text("turn")?
                    .and_then(|turn| serde_json::from_str(&turn).ok()),
            });
        }
        attempts.retain(|attempt| attempt.outcome.is_none_or(Outcome::counts));
        Ok(attempts)
    }

    /// Returns the attempts that have not ended.
    ///
    /// # Errors
    /// The database refused.
    pub fn open_attempts(&mut self) -> Result<Vec<OpenAttempt>, StoreError> {
        let rows = self.db.query(
            "SELECT id, session, node, server_pid, server_start, pane, pane_pid, phase, delivered_at,
                coalesce(resumed_at, started_at) AS started_at, submitted_at, task_id, resumed_at,
                EXISTS (SELECT 1 FROM outputs WHERE attempt_id = attempts.id) AS has_said
             FROM attempts WHERE phase <> 'ended' ORDER BY id",
            &[],
        )?;
        let attempts = rows.iter().map(|row| {
            Ok(OpenAttempt {
                id: row.get("id")?,
                session: row.get("session")?,
                identity: row.identity()?,
                phase: row.phase()?,
                delivered_at: row.time("delivered_at")?,
                started_at: row.time("started_at")?,
                submitted_at: row.time("submitted_at")?,
                answered: row.text("resumed_at")?.is_some(),
                has_said: row.get("has_said")?,
                task: read_task(&mut *self.db, row.get("task_id")?)?,
            })
        });
        attempts.collect()
    }

    /// Returns how many tasks a session has taken, counting the attempts from `from` on that have
    /// ended. Tasks that it refused or was not given after all do not count.
    ///
    /// # Errors
    /// The database refused.
    pub fn taken_up(&mut self, identity: &Identity, from: AttemptId) -> Result<u32, StoreError> {
        // A task that a person took back before it was typed has left nothing in the session. A
        // preparation that failed may have, even though no prompt or command was typed after it.
        let row = self.db.query_one(
            "SELECT count(*) AS number FROM attempts WHERE id >= $1 AND node = $2
                AND server_pid = $3 AND server_start = $4 AND pane = $5 AND pane_pid = $6 AND phase = 'ended'
                AND outcome NOT IN ('refused', 'withdrawn')
                AND (delivered_at IS NOT NULL OR outcome NOT IN ('cancelled', 'reassigned'))",
            values![
                from,
                identity.node.as_str(),
                identity.server_pid,
                identity.server_start,
                identity.pane.as_str(),
                identity.pane_pid
            ],
        )?;
        Ok(row.map_or(Ok(0), |row| row.get("number"))?)
    }

    /// Returns what people have requested for tasks in flight.
    ///
    /// # Errors
    /// The database refused.
    pub fn requests(&mut self) -> Result<BTreeMap<TaskId, Request>, StoreError> {
        let rows = self.db.query(
            "SELECT task_id, cancel_requested, reassign_to
             FROM attempts JOIN tasks ON tasks.id = task_id
             WHERE phase <> 'ended'
                AND (cancel_requested IS NOT NULL OR reassign_requested IS NOT NULL)",
            &[],
        )?;
        let requests = rows.iter().map(|row| {
            let request = if row.text("cancel_requested")?.is_some() {
                Request::Cancel
            } else {
                Request::Reassign(row.get("reassign_to")?)
            };
            Ok((row.get("task_id")?, request))
        });
        requests.collect()
    }

    /// Returns the output of the last attempt of a task that has any.
    ///
    /// # Errors
    /// The database refused.
    pub fn output(&mut self, id: TaskId) -> Result<Option<Output>, StoreError> {
        let row = self.db.query_one(
            "SELECT bytes, total, cut FROM outputs JOIN attempts ON attempts.id = attempt_id
             WHERE task_id = $1 ORDER BY attempts.id DESC LIMIT 1",
            values![id],
        )?;
        if let Some(row) = row {
            return Ok(Some(Output {
                bytes: row.get("bytes")?,
                total: u64::try_from(row.get::<i64>("total")?).unwrap_or_default(),
                cut: row.text("cut")?,
            }));
        }
        // The response that the Python worker had stored.
        let row = self
            .db
            .query_one("SELECT response FROM tasks WHERE id = $1", values![id])?;
        let response = row.map(|row| row.text("response")).transpose()?.flatten();
        Ok(response.map(|text| Output::of(text.into_bytes())))
    }

    /// Returns at most this many bytes of the beginning of what is kept of a task's output.
    ///
    /// # Errors
    /// The database refused.
    pub fn output_beginning(&mut self, id: TaskId, most: u64) -> Result<Vec<u8>, StoreError> {
        let row = self.db.query_one(
            "SELECT substr(bytes, 1, $2) AS bytes FROM outputs JOIN attempts ON attempts.id = attempt_id
             WHERE task_id = $1 ORDER BY attempts.id DESC LIMIT 1",
            values![id, most],
        )?;
        // Of nothing, SQLite's beginning is NULL.
        let bytes = row
            .map(|row| row.get::<Option<Vec<u8>>>("bytes"))
            .transpose()?;
        Ok(bytes.flatten().unwrap_or_default())
    }

    /// Records that an attempt has reached `phase`, before the act that the phase names.
    ///
    /// # Errors
    /// The attempt has ended, or the database refused: the act must not happen.
    pub fn advance(
        &mut self,
        attempt: AttemptId,
        phase: Phase,
        details: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.atomically(|db| {
            let (task, session) = open_attempt(db, attempt)?;
            let (column, event) = match phase {
                Phase::Delivering => ("delivered_at", Event::Deliver),
                Phase::Submitted => ("submitted_at", Event::Submit),
                Phase::Running => ("started_at", Event::Start),
                // The claim sets the first phase, and the end the last.
                Phase::Claimed | Phase::Ended => return Err(StoreError::NoAttempt(attempt)),
            };
            db.execute(
                &format!("UPDATE attempts SET phase = $2, {column} = $3 WHERE id = $1"),
                values![attempt, phase.name(), now],
            )?;
            move_task(db, task, event, Some(&session), details, now)?;
            Ok(())
        })
    }

    /// Records that the agent of an attempt waits for a person, and for what. `said` is everything
    /// that the agent has said.
    ///
    /// # Errors
    /// The attempt has ended, or the database refused.
    pub fn ask(
        &mut self,
        attempt: AttemptId,
        question: &str,
        said: Option<&Output>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.atomically(|db| {
            let (task, session) = open_attempt(db, attempt)?;
            move_task(db, task, Event::Ask, Some(&session), question, now)?;
            replies::come_too_late(db, task, "it now asks something else", now)?;
            if let Some(said) = said {
                keep_output(db, attempt, said)?;
            }
            db.execute(
                "UPDATE tasks SET asks = $2 WHERE id = $1",
                values![task, question],
            )?;
            Ok(())
        })
    }

    /// Records that the agent of an attempt continues.
    ///
    /// # Errors
    /// The attempt has ended, or the database refused.
    pub fn go_on(
        &mut self,
        attempt: AttemptId,
        details: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.atomically(|db| {
            let (task, session) = open_attempt(db, attempt)?;
            move_task(db, task, Event::GoOn, Some(&session), details, now)?;
            db.execute("UPDATE tasks SET asks = NULL WHERE id = $1", values![task])?;
            db.execute(
                "UPDATE attempts SET resumed_at = $2 WHERE id = $1",
                values![attempt, now],
            )?;
            replies::come_too_late(db, task, "the agent continued by itself", now)
        })
    }

    /// Records how an attempt ended and what becomes of its task.
    ///
    /// # Errors
    /// The attempt has ended already, or the database refused.
    pub fn end(&mut self, end: &End, now: Timestamp) -> Result<(), StoreError> {
        self.atomically(|db| {
            let (id, session) = open_attempt(db, end.attempt)?;
            let response = end.turn.as_ref().map(TurnFacts::response);
            let partial = response.filter(|response| response.is_partial());
            let cut = end.output.as_ref().and_then(|output| output.cut.as_ref());
            let code = end.exit_code.map(|code| format!("exit code {code}"));
            let told = [
                end.error.clone().or(code),
                partial.map(|kept| format!("response: {}", kept.name())),
                cut.map(|why| format!("output: not whole ({why})")),
            ];
            let details = told.into_iter().flatten().collect::<Vec<_>>().join(", ");
            // Whatever became of the attempt, a task that a person cancelled is not tried again.
            let again = matches!(
                end.event,
                Event::Retry | Event::Refuse | Event::Withdraw | Event::Return | Event::Hold
            );
            let event = if again && is_cancel_requested(db, id)? {
                Event::Cancel
            } else {
                end.event
            };
            let status = move_task(db, id, event, Some(&session), &details, now)?;
            db.execute(
                "UPDATE attempts SET phase = 'ended', outcome = $2, exit_code = $3, error = $4,
                    ended_at = $5, turn = $6 WHERE id = $1",
                values![
                    end.attempt,
                    end.outcome.name(),
                    end.exit_code,
                    end.error.as_ref(),
                    now,
                    end.turn.as_ref().map(json),
                ],
            )?;
            if let Some(output) = &end.output {
                keep_output(db, end.attempt, output)?;
            }
            leave(db, end, id, status)?;
            replies::come_too_late(db, id, "the turn has ended", now)?;
            if let Some(limit) = &end.limit {
                wishes::hold_provider(db, limit, now)?;
            }
            count(db, end)
        })
    }
}

/// Writes what an attempt that has ended leaves in its task, which is now in `status`.
fn leave(db: &mut dyn Db, end: &End, id: TaskId, status: Status) -> Result<(), StoreError> {
    if end.outcome.counts() {
        db.execute(
            "UPDATE tasks SET exit_code = $2, error = $3, attempts = attempts + 1 WHERE id = $1",
            values![id, end.exit_code, end.error.as_ref()],
        )?;
    }
    if end.outcome.is_failure() {
        db.execute(
            "UPDATE tasks SET tries = tries + 1 WHERE id = $1",
            values![id],
        )?;
    }
    let requested = db.query_one(
        "SELECT reassign_to, reassign_meaning FROM tasks
         WHERE id = $1 AND reassign_requested IS NOT NULL",
        values![id],
    )?;
    db.execute(
        "UPDATE tasks SET not_before = $2, rests = $3, asks = NULL, reassign_requested = NULL,
            reassign_to = NULL, reassign_meaning = NULL WHERE id = $1",
        values![id, end.not_before, end.not_before.is_some()],
    )?;
    if status != Status::Pending {
        db.execute(
            "UPDATE tasks SET wait_reason = NULL, cancel_requested = NULL WHERE id = $1",
            values![id],
        )?;
        return Ok(());
    }
    db.execute(
        "UPDATE tasks SET wait_reason = $2, session = NULL WHERE id = $1",
        values![id, end.error.as_ref()],
    )?;
    if let Some(row) = requested {
        let to = said(row.text("reassign_to")?, row.text("reassign_meaning")?);
        retarget(db, id, to.as_ref())?;
    }
    Ok(())
}

/// Counts a task in the session that completed it, or in which it failed.
fn count(db: &mut dyn Db, end: &End) -> Result<(), StoreError> {
    let column = match end.outcome {
        Outcome::Completed => "completed",
        Outcome::Failed | Outcome::TimedOut => "failed",
        Outcome::Cancelled
        | Outcome::Refused
        | Outcome::Withdrawn
        | Outcome::Reassigned
        | Outcome::Limited
        | Outcome::Uncertain => return Ok(()),
    };
    db.execute(
        &format!(
            "UPDATE sessions SET {column} = {column} + 1
             WHERE (node, server_pid, server_start, pane, pane_pid) IN
                (SELECT node, server_pid, server_start, pane, pane_pid FROM attempts WHERE id = $1)"
        ),
        values![end.attempt],
    )?;
    Ok(())
}

fn keep_output(db: &mut dyn Db, attempt: AttemptId, output: &Output) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO outputs (attempt_id, total, bytes, cut) VALUES ($1, $2, $3, $4)
         ON CONFLICT (attempt_id) DO UPDATE
            SET total = excluded.total, bytes = excluded.bytes, cut = excluded.cut",
        values![
            attempt,
            output.total,
            output.bytes.as_slice(),
            output.cut.as_ref()
        ],
    )?;
    Ok(())
}

/// Returns the task and the session of an attempt that has not ended.
fn open_attempt(db: &mut dyn Db, attempt: AttemptId) -> Result<(TaskId, String), StoreError> {
    let row: Option<Row> = db.query_one(
        "SELECT task_id, session FROM attempts WHERE id = $1 AND phase <> 'ended'",
        values![attempt],
    )?;
    let row = row.ok_or(StoreError::NoAttempt(attempt))?;
    Ok((row.get("task_id")?, row.get("session")?))
}

fn is_cancel_requested(db: &mut dyn Db, task: TaskId) -> Result<bool, StoreError> {
    Ok(db.exists(
        "SELECT 1 FROM tasks WHERE id = $1 AND cancel_requested IS NOT NULL",
        values![task],
    )?)
}
