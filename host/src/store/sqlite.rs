//! The store in one SQLite file: WAL, full synchronisation, every change with its history row.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OptionalExtension, params, params_from_iter};

use super::moves::{follow, move_task, write_history};
use super::rows::{
    SESSION, TASK, from_json, from_json_or_default, history_of, identity_of, identity_params,
    integer, json, kind_name, lane_of, outcome_of, phase_of, said, saturating, session_of, stamp,
    status_of, task_of, text, time,
};
use super::{
    Answer, Claim, ContextUpdate, DaemonFacts, End, HistoryRow, Lane, Limit, OpenAttempt, Output,
    ParentRow, PauseRow, REPLY_DROPPED, Reply, Request, Rest, SessionLabel, SessionRow, Store,
    StoreError, Waiting, schema, wishes,
};
use crate::model::ids::{AttemptId, Identity, TaskId};
use crate::model::matching::PolicyId;
use crate::model::naming::{Meaning, SessionRef};
use crate::model::task::{
    Attempt, Event, IfParentFails, NewTask, Outcome, Parent, Phase, Response, Status, Task,
    TurnFacts,
};

/// How long an operation waits for a busy database. Writers hold it for milliseconds; a minute
/// means that something is badly stuck.
const BUSY: Duration = Duration::from_secs(60);

/// One connection to the database of a data directory.
pub struct Sqlite {
    pub(super) connection: Connection,
    pub(super) directory: PathBuf,
}

impl Sqlite {
    /// Opens the database `assigner.db` in `directory` and brings it to the current schema. Creates
    /// both if they are missing, readable only by their owner.
    ///
    /// # Errors
    /// The directory cannot be used, or the file is not one of our databases, or is a newer one.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let unusable = |source| StoreError::Directory {
            path: directory.to_owned(),
            source,
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(unusable)?;
        let path = directory.join("assigner.db");
        // SQLite gives its -wal and -shm files the mode of the database.
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(unusable)?;
        let open = || -> Result<Connection, rusqlite::Error> {
            let connection = Connection::open(&path)?;
            connection.busy_timeout(BUSY)?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.set_prepared_statement_cache_capacity(64);
            Ok(connection)
        };
        let mut connection = patiently(open).map_err(|source| StoreError::Open {
            path: path.clone(),
            source,
        })?;
        schema::migrate(&mut connection, &path)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        Ok(Self {
            connection,
            directory: directory.to_owned(),
        })
    }

    /// Runs `work` in a transaction, or in a savepoint of the one that [`Store::group`] holds.
    pub(super) fn atomically<R>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let (begin, commit, undo) = if self.connection.is_autocommit() {
            ("BEGIN IMMEDIATE", "COMMIT", "ROLLBACK")
        } else {
            (
                "SAVEPOINT step",
                "RELEASE step",
                "ROLLBACK TO step; RELEASE step",
            )
        };
        self.connection.execute_batch(begin)?;
        let result = work(&self.connection)
            .and_then(|done| Ok(self.connection.execute_batch(commit).map(|()| done)?));
        if result.is_err() {
            // Report the error that led here, not one of the rollback.
            let _ = self.connection.execute_batch(undo);
        }
        result
    }
}

/// Tries again while another connection is creating the file: SQLite itself does not wait when two
/// connections change the journal mode.
fn patiently<R>(
    mut open: impl FnMut() -> Result<R, rusqlite::Error>,
) -> Result<R, rusqlite::Error> {
    let deadline = Instant::now() + BUSY;
    loop {
        match open() {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < deadline =>
            {
                thread::sleep(Duration::from_millis(2));
            }
            result => return result,
        }
    }
}

impl Store for Sqlite {
    fn group(&mut self, work: &mut dyn FnMut(&mut dyn Store)) -> Result<(), StoreError> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        work(self);
        if let Err(error) = self.connection.execute_batch("COMMIT") {
            let _ = self.connection.execute_batch("ROLLBACK");
            return Err(error.into());
        }
        Ok(())
    }

    fn queue(&mut self, tasks: &[NewTask], now: Timestamp) -> Result<Vec<TaskId>, StoreError> {
        self.atomically(|connection| {
            let mut insert = connection.prepare_cached(
                "INSERT INTO tasks (kind, content, source, priority, created_at, metadata,
                    target_session, target_provider, max_retries, timeout_seconds, not_before,
                    secrets, target_meaning)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?;
            let mut ids: Vec<TaskId> = Vec::with_capacity(tasks.len());
            for task in tasks {
                insert.execute(params![
                    kind_name(task.kind),
                    task.content,
                    task.source,
                    task.priority,
                    stamp(now),
                    json(&task.metadata),
                    task.target_session.as_ref().map(|target| &target.name),
                    task.target_provider,
                    task.max_retries,
                    task.timeout_seconds.map(saturating),
                    task.not_before.map(stamp),
                    task.secrets,
                    meaning_of(task),
                ])?;
                let id = TaskId(connection.last_insert_rowid());
                let details = format!("by {}", task.source);
                write_history(connection, id, None, "queued", &details, now)?;
                let parents = task.after.iter().map(|parent| match parent {
                    Parent::Task(id) => *id,
                    // A parent that comes after its follower is not a task yet.
                    Parent::Earlier(index) => ids.get(*index).copied().unwrap_or(TaskId(0)),
                });
                let parents: Vec<TaskId> = parents.collect();
                follow(connection, id, &parents, task.if_parent_fails, now)?;
                ids.push(id);
            }
            Ok(ids)
        })
    }

    fn task(&mut self, id: TaskId) -> Result<Task, StoreError> {
        read_task(&self.connection, id)
    }

    fn tasks(&mut self, statuses: &[Status], limit: usize) -> Result<Vec<Task>, StoreError> {
        // Without a filter, the primary key alone finds the newest, however many tasks there are.
        let filter = if statuses.is_empty() {
            String::new()
        } else {
            format!("WHERE status IN ({})", vec!["?"; statuses.len()].join(", "))
        };
        let mut query = self.connection.prepare(&format!(
            "SELECT {TASK} FROM tasks {filter} ORDER BY id DESC LIMIT {limit}"
        ))?;
        let names = statuses.iter().map(|status| status.name());
        let mut tasks: Vec<Task> = query
            .query_map(params_from_iter(names), task_of)?
            .collect::<Result<_, _>>()?;
        tasks.reverse();
        Ok(tasks)
    }

    fn attempts(&mut self, id: TaskId) -> Result<Vec<Attempt>, StoreError> {
        let mut query = self.connection.prepare_cached(
            "SELECT id, number, session, phase, outcome, exit_code, error, claimed_at, started_at,
                ended_at, policy_name, policy_version, policy_sha256, rankings,
                ruled_out, turn, server_pid, server_start, pane, pane_pid
             FROM attempts WHERE task_id = ?1 ORDER BY id",
        )?;
        let attempts = query.query_map([id.0], |row| {
            Ok(Attempt {
                id: AttemptId(row.get(0)?),
                number: row.get(1)?,
                session: row.get(2)?,
                identity: identity_of(row, 16)?,
                phase: phase_of(row, 3)?,
                outcome: outcome_of(row, 4)?,
                exit_code: row.get(5)?,
                error: row.get(6)?,
                claimed_at: time(row, 7)?.unwrap_or_default(),
                started_at: time(row, 8)?,
                ended_at: time(row, 9)?,
                policy: PolicyId {
                    name: row.get(10)?,
                    version: row.get(11)?,
                    sha256: row.get(12)?,
                },
                rankings: from_json(row, 13)?,
                ruled_out: from_json(row, 14)?,
                turn: text(row, 15)?.and_then(|turn| serde_json::from_str(&turn).ok()),
            })
        })?;
        let attempts: Vec<Attempt> = attempts.collect::<Result<_, _>>()?;
        Ok(attempts
            .into_iter()
            .filter(|attempt| attempt.outcome.is_none_or(Outcome::counts))
            .collect())
    }

    fn history(&mut self, id: TaskId) -> Result<Vec<HistoryRow>, StoreError> {
        let mut query = self.connection.prepare_cached(
            "SELECT created_at, action, session_name, details, prompt_id FROM assignment_history
             WHERE prompt_id = ?1 ORDER BY id",
        )?;
        let rows = query.query_map([id.0], history_of)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn output(&mut self, id: TaskId) -> Result<Option<Output>, StoreError> {
        let output = self
            .connection
            .query_row(
                "SELECT bytes, total FROM outputs JOIN attempts ON attempts.id = attempt_id
                 WHERE task_id = ?1 ORDER BY attempts.id DESC LIMIT 1",
                [id.0],
                |row| {
                    Ok(Output {
                        bytes: row.get(0)?,
                        total: u64::try_from(row.get::<_, i64>(1)?).unwrap_or_default(),
                    })
                },
            )
            .optional()?;
        if output.is_some() {
            return Ok(output);
        }
        // The response that the Python worker had stored.
        let response = self
            .connection
            .query_row("SELECT response FROM tasks WHERE id = ?1", [id.0], |row| {
                text(row, 0)
            })
            .optional()?
            .flatten();
        Ok(response.map(|text| Output {
            total: text.len() as u64,
            bytes: text.into_bytes(),
        }))
    }

    fn counts(&mut self) -> Result<BTreeMap<Status, u64>, StoreError> {
        let mut query = self
            .connection
            .prepare_cached("SELECT status, count(*) FROM tasks GROUP BY status")?;
        let rows = query.query_map([], |row| {
            Ok((
                status_of(row, 0)?,
                u64::try_from(row.get::<_, i64>(1)?).unwrap_or_default(),
            ))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn anything_left(&mut self) -> Result<bool, StoreError> {
        let mut query = self.connection.prepare_cached(
            "SELECT 1 FROM tasks WHERE status IN ('pending', 'assigned', 'in_progress', 'waiting_input')",
        )?;
        Ok(query.exists([])?)
    }

    fn parents(&mut self, id: TaskId) -> Result<Vec<ParentRow>, StoreError> {
        let mut query = self.connection.prepare_cached(
            "SELECT parent_id, status, if_fails FROM dependencies
             JOIN tasks ON tasks.id = parent_id WHERE task_id = ?1 ORDER BY parent_id",
        )?;
        let rows = query.query_map([id.0], |row| {
            Ok(ParentRow {
                id: TaskId(row.get(0)?),
                status: status_of(row, 1)?,
                if_fails: if row.get::<_, String>(2)? == IfParentFails::Release.name() {
                    IfParentFails::Release
                } else {
                    IfParentFails::Fail
                },
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn release_due(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE tasks INDEXED BY tasks_due SET not_before = NULL
                 WHERE status = 'pending' AND not_before <= ?1 AND rests <> 1",
            )?
            .execute([stamp(now)])?;
        Ok(())
    }

    fn resting(&mut self, limit: usize) -> Result<Vec<Rest>, StoreError> {
        let mut query = self.connection.prepare_cached(
            "SELECT id, CAST(not_before AS TEXT), tries FROM tasks INDEXED BY tasks_resting
             WHERE status = 'pending' AND rests = 1 AND not_before IS NOT NULL ORDER BY id LIMIT ?1",
        )?;
        let rests = query.query_map([saturating(limit as u64)], |row| {
            let tries = integer(row, 2)?.unwrap_or_default();
            Ok(Rest {
                task: TaskId(row.get(0)?),
                until: time(row, 1)?.unwrap_or_default(),
                written: row.get_ref(1)?.as_bytes().unwrap_or_default().to_vec(),
                tries: u32::try_from(tries.max(0)).unwrap_or(u32::MAX),
            })
        })?;
        Ok(rests.collect::<Result<_, _>>()?)
    }

    fn release(&mut self, rested: &[Rest]) -> Result<(), StoreError> {
        self.atomically(|connection| {
            let mut release = connection.prepare_cached(
                "UPDATE tasks SET not_before = NULL
                 WHERE id = ?1 AND status = 'pending' AND rests = 1
                 AND CAST(CAST(not_before AS TEXT) AS BLOB) = ?2",
            )?;
            for rest in rested {
                release.execute(params![rest.task.0, rest.written])?;
            }
            Ok(())
        })
    }

    fn lanes(&mut self) -> Result<Vec<Lane>, StoreError> {
        let mut query = self.connection.prepare_cached(LANES)?;
        // Other tools may have written something other than text: the key stays as it is.
        let keys = query.query_map([], |row| {
            let key = row.get_ref(0)?;
            Ok(key.as_bytes().unwrap_or_default().to_vec())
        })?;
        keys.map(|key| Ok(lane_of(key?))).collect()
    }

    fn pending(
        &mut self,
        lanes: &[Lane],
        limit: usize,
        after: Option<(i32, TaskId)>,
    ) -> Result<Vec<Task>, StoreError> {
        let mut tasks = Vec::new();
        let (priority, id) = after.map_or((i64::MAX, TaskId(0)), |(priority, id)| {
            (priority.into(), id)
        });
        // One bounded index range per lane, so that the cost depends only on what may run now.
        let mut query = self.connection.prepare_cached(&format!(
            "SELECT {TASK} FROM tasks INDEXED BY tasks_pending
             WHERE status = 'pending' AND not_before IS NULL AND blocked = 0
                AND lane = CAST(?1 AS TEXT)
                AND (priority < ?2 OR (priority = ?2 AND id > ?3))
             ORDER BY priority DESC, id LIMIT ?4"
        ))?;
        for lane in lanes {
            let rows = query.query_map(
                params![
                    lane.key,
                    priority,
                    id.0,
                    i64::try_from(limit).unwrap_or(i64::MAX)
                ],
                task_of,
            )?;
            for task in rows {
                tasks.push(task?);
            }
        }
        tasks.sort_by_key(|task| (std::cmp::Reverse(task.priority), task.id));
        tasks.truncate(limit);
        Ok(tasks)
    }

    fn next_due(&mut self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let due = self.connection.query_row(
            "SELECT min(not_before) FROM tasks INDEXED BY tasks_due
             WHERE status = 'pending' AND not_before > ?1 AND rests <> 1",
            [stamp(now)],
            |row| time(row, 0),
        )?;
        Ok(due)
    }

    fn claim(
        &mut self,
        claims: &[Claim],
        now: Timestamp,
    ) -> Result<Vec<Option<AttemptId>>, StoreError> {
        self.atomically(|connection| {
            let mut claimed = Vec::with_capacity(claims.len());
            // Read here rather than at the start of the round: what a person set before sending the
            // task applies to it, even if the round had already looked at the session.
            let pauses = wishes::pauses(connection)?;
            let labels = wishes::labels(connection)?;
            for claim in claims {
                if !claim.is_allowed(&pauses, &labels, now) {
                    claimed.push(None);
                    continue;
                }
                let free = !connection
                    .prepare_cached(
                        "SELECT 1 FROM attempts WHERE phase <> 'ended' AND server_pid = ?1
                            AND server_start = ?2 AND pane = ?3 AND pane_pid = ?4",
                    )?
                    .exists(identity_params(&claim.identity))?;
                // A person has changed the task since, so the decision was about a different task.
                let same = connection
                    .prepare_cached(
                        "SELECT 1 FROM tasks WHERE id = ?1 AND revision = ?2 AND blocked = 0
                            AND not_before IS NULL",
                    )?
                    .exists(params![claim.task.0, claim.revision])?;
                if !free || !same {
                    claimed.push(None);
                    continue;
                }
                let details = format!(
                    "by policy {} {} with {} points",
                    claim.policy.name,
                    claim.policy.version,
                    claim.rankings.first().map_or(0, |ranking| ranking.points),
                );
                match move_task(
                    connection,
                    claim.task,
                    Event::Claim,
                    Some(&claim.session),
                    &details,
                    now,
                ) {
                    Ok(_) => {}
                    // Cancelled, edited or taken since the round began.
                    Err(StoreError::Illegal { .. } | StoreError::NoTask(_)) => {
                        claimed.push(None);
                        continue;
                    }
                    Err(error) => return Err(error),
                }
                connection.execute(
                    "UPDATE tasks SET session = ?2, assigned_at = ?3, wait_reason = NULL,
                        revision = revision + 1,
                        wait_rankings = NULL, not_before = NULL WHERE id = ?1",
                    params![claim.task.0, claim.session, stamp(now)],
                )?;
                connection
                    .prepare_cached(
                        "INSERT INTO attempts (task_id, number, session, server_pid, server_start,
                            pane, pane_pid, phase, claimed_at, policy_name, policy_version,
                            policy_sha256, rankings, ruled_out)
                         VALUES (?1, (SELECT attempts + 1 FROM tasks WHERE id = ?1), ?2, ?3, ?4,
                            ?5, ?6, 'claimed', ?7, ?8, ?9, ?10, ?11, ?12)",
                    )?
                    .execute(params![
                        claim.task.0,
                        claim.session,
                        claim.identity.server_pid,
                        claim.identity.server_start,
                        claim.identity.pane.as_str(),
                        claim.identity.pane_pid,
                        stamp(now),
                        claim.policy.name,
                        claim.policy.version,
                        claim.policy.sha256,
                        json(&claim.rankings),
                        json(&claim.ruled_out),
                    ])?;
                let attempt = AttemptId(connection.last_insert_rowid());
                connection
                    .prepare_cached(
                        "UPDATE sessions SET current_task_id = ?2, status = 'busy', reason = ?3
                         WHERE name = ?1",
                    )?
                    .execute(params![
                        claim.session,
                        claim.task.0,
                        format!("runs task {}", claim.task)
                    ])?;
                claimed.push(Some(attempt));
            }
            Ok(claimed)
        })
    }

    fn advance(
        &mut self,
        attempt: AttemptId,
        phase: Phase,
        details: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.atomically(|connection| {
            let (task, session) = open_attempt(connection, attempt)?;
            let (column, event) = match phase {
                Phase::Delivering => ("delivered_at", Event::Deliver),
                Phase::Submitted => ("submitted_at", Event::Submit),
                Phase::Running => ("started_at", Event::Start),
                // The claim sets the first phase, and the end the last.
                Phase::Claimed | Phase::Ended => return Err(StoreError::NoAttempt(attempt)),
            };
            connection
                .prepare_cached(&format!(
                    "UPDATE attempts SET phase = ?2, {column} = ?3 WHERE id = ?1"
                ))?
                .execute(params![attempt.0, phase.name(), stamp(now)])?;
            move_task(connection, task, event, Some(&session), details, now)?;
            Ok(())
        })
    }

    fn end(&mut self, end: &End, now: Timestamp) -> Result<(), StoreError> {
        self.atomically(|connection| {
            let (task, session) = open_attempt(connection, end.attempt)?;
            let response = end.turn.as_ref().map(TurnFacts::response);
            let details = end.error.clone().unwrap_or_else(|| match (end.exit_code, response) {
                (Some(code), _) => format!("exit code {code}"),
                (None, Some(kept @ Response::Partial)) => format!("response: {}", kept.name()),
                (None, _) => String::new(),
            });
            // Whatever became of the attempt, a task that a person cancelled is not tried again.
            let again = matches!(
                end.event,
                Event::Retry | Event::Refuse | Event::Withdraw | Event::Return | Event::Hold
            );
            let event = if again && is_cancel_requested(connection, task)? {
                Event::Cancel
            } else {
                end.event
            };
            let status = move_task(connection, task, event, Some(&session), &details, now)?;
            connection.execute(
                "UPDATE attempts SET phase = 'ended', outcome = ?2, exit_code = ?3, error = ?4,
                    ended_at = ?5, turn = ?6 WHERE id = ?1",
                params![
                    end.attempt.0,
                    end.outcome.name(),
                    end.exit_code,
                    end.error,
                    stamp(now),
                    end.turn.as_ref().map(json),
                ],
            )?;
            if let Some(output) = &end.output {
                keep_output(connection, end.attempt, output)?;
            }
            connection.execute(
                "UPDATE tasks SET not_before = ?4, rests = ?4 IS NOT NULL,
                    exit_code = CASE WHEN ?5 THEN ?2 ELSE exit_code END,
                    error = CASE WHEN ?5 THEN ?3 ELSE error END,
                    wait_reason = CASE WHEN ?6 THEN ?3 END,
                    attempts = attempts + ?5,
                    tries = tries + ?7,
                    target_session = CASE WHEN ?6 AND reassign_requested IS NOT NULL
                        THEN reassign_to ELSE target_session END,
                    target_meaning = CASE WHEN ?6 AND reassign_requested IS NOT NULL
                        THEN reassign_meaning ELSE target_meaning END,
                    metadata = CASE WHEN ?6 AND reassign_requested IS NOT NULL AND json_valid(metadata)
                        THEN json_remove(metadata, '$.target_fallback') ELSE metadata END,
                    reassign_requested = NULL, reassign_to = NULL, reassign_meaning = NULL,
                    asks = NULL,
                    cancel_requested = CASE WHEN ?6 THEN cancel_requested END,
                    session = CASE WHEN ?6 THEN NULL ELSE session END
                 WHERE id = ?1",
                params![
                    task.0,
                    end.exit_code,
                    end.error,
                    end.not_before.map(stamp),
                    i64::from(end.outcome.counts()),
                    status == Status::Pending,
                    i64::from(end.outcome.is_failure()),
                ],
            )?;
            let tally = match end.outcome {
                Outcome::Completed => Some("completed"),
                Outcome::Failed | Outcome::TimedOut => Some("failed"),
                Outcome::Cancelled
                | Outcome::Refused
                | Outcome::Withdrawn
                | Outcome::Reassigned
                | Outcome::Limited
                | Outcome::Uncertain => None,
            };
            drop_replies(connection, task, "the turn has ended", now)?;
            if let Some(limit) = &end.limit {
                hold_provider(connection, limit, now)?;
            }
            if let Some(column) = tally {
                connection.execute(
                    &format!(
                        "UPDATE sessions SET {column} = {column} + 1
                         WHERE (server_pid, server_start, pane, pane_pid) IN
                            (SELECT server_pid, server_start, pane, pane_pid FROM attempts
                             WHERE id = ?1)"
                    ),
                    [end.attempt.0],
                )?;
            }
            Ok(())
        })
    }

    fn ask(
        &mut self,
        attempt: AttemptId,
        question: &str,
        said: Option<&Output>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.atomically(|connection| {
            let (task, session) = open_attempt(connection, attempt)?;
            move_task(connection, task, Event::Ask, Some(&session), question, now)?;
            drop_replies(connection, task, "it now asks something else", now)?;
            if let Some(said) = said {
                keep_output(connection, attempt, said)?;
            }
            connection.execute(
                "UPDATE tasks SET asks = ?2 WHERE id = ?1",
                params![task.0, question],
            )?;
            Ok(())
        })
    }

    fn go_on(
        &mut self,
        attempt: AttemptId,
        details: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.atomically(|connection| {
            let (task, session) = open_attempt(connection, attempt)?;
            move_task(connection, task, Event::GoOn, Some(&session), details, now)?;
            connection.execute("UPDATE tasks SET asks = NULL WHERE id = ?1", [task.0])?;
            connection.execute(
                "UPDATE attempts SET resumed_at = ?2 WHERE id = ?1",
                params![attempt.0, stamp(now)],
            )?;
            drop_replies(connection, task, "the agent continued by itself", now)
        })
    }

    fn replies(&mut self) -> Result<Vec<Reply>, StoreError> {
        let mut query = self.connection.prepare_cached(
            "SELECT id, task_id, kind, text, asks FROM replies WHERE NOT taken ORDER BY id",
        )?;
        let rows = query.query_map([], |row| {
            Ok(Reply {
                id: row.get(0)?,
                task: TaskId(row.get(1)?),
                answer: Answer::from_row(
                    &row.get::<_, String>(2)?,
                    text(row, 3)?.unwrap_or_default(),
                ),
                asks: text(row, 4)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn take_reply(
        &mut self,
        reply: &Reply,
        details: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.atomically(|connection| {
            connection.execute("UPDATE replies SET taken = 1 WHERE id = ?1", [reply.id])?;
            write_history(connection, reply.task, None, "replied", details, now)
        })
    }

    fn drop_replies(
        &mut self,
        task: Option<TaskId>,
        why: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.atomically(|connection| {
            let tasks: Vec<TaskId> = match task {
                Some(task) => vec![task],
                None => {
                    let mut query =
                        connection.prepare_cached("SELECT task_id FROM replies WHERE taken")?;
                    let rows = query.query_map([], |row| Ok(TaskId(row.get(0)?)))?;
                    rows.collect::<Result<_, _>>()?
                }
            };
            for task in tasks {
                connection.execute("DELETE FROM replies WHERE task_id = ?1", [task.0])?;
                let details = format!("not delivered: {why}");
                write_history(connection, task, None, REPLY_DROPPED, &details, now)?;
            }
            Ok(())
        })
    }

    fn open_attempts(&mut self) -> Result<Vec<OpenAttempt>, StoreError> {
        let mut query = self.connection.prepare_cached(
            "SELECT id, session, server_pid, server_start, pane, pane_pid, phase, delivered_at,
                coalesce(resumed_at, started_at), submitted_at, task_id,
                resumed_at IS NOT NULL,
                EXISTS (SELECT 1 FROM outputs WHERE attempt_id = attempts.id)
             FROM attempts WHERE phase <> 'ended' ORDER BY id",
        )?;
        let rows = query.query_map([], |row| {
            Ok((
                AttemptId(row.get(0)?),
                row.get::<_, String>(1)?,
                identity_of(row, 2)?,
                phase_of(row, 6)?,
                time(row, 7)?,
                time(row, 8)?,
                time(row, 9)?,
                TaskId(row.get(10)?),
                row.get::<_, bool>(11)?,
                row.get::<_, bool>(12)?,
            ))
        })?;
        rows.map(|row| {
            let (
                id,
                session,
                identity,
                phase,
                delivered_at,
                started_at,
                submitted_at,
                task,
                answered,
                has_said,
            ) = row?;
            Ok(OpenAttempt {
                id,
                session,
                identity,
                phase,
                delivered_at,
                started_at,
                submitted_at,
                answered,
                has_said,
                task: read_task(&self.connection, task)?,
            })
        })
        .collect()
    }

    fn taken_up(&mut self, identity: &Identity, from: AttemptId) -> Result<u32, StoreError> {
        let [server_pid, server_start, pane, pane_pid] = identity_params(identity);
        // A task that a person took back before it was typed has left nothing in the session. A
        // preparation that failed may have, even though no prompt or command was typed after it.
        let count = self
            .connection
            .prepare_cached(
                "SELECT count(*) FROM attempts WHERE id >= ?1 AND server_pid = ?2
                    AND server_start = ?3 AND pane = ?4 AND pane_pid = ?5 AND phase = 'ended'
                    AND outcome NOT IN ('refused', 'withdrawn')
                    AND (delivered_at IS NOT NULL OR outcome NOT IN ('cancelled', 'reassigned'))",
            )?
            .query_row(
                params![from.0, server_pid, server_start, pane, pane_pid],
                |row| row.get(0),
            )?;
        Ok(count)
    }

    fn requests(&mut self) -> Result<BTreeMap<TaskId, Request>, StoreError> {
        let mut query = self.connection.prepare_cached(
            "SELECT task_id, cancel_requested IS NOT NULL, reassign_to
             FROM attempts JOIN tasks ON tasks.id = task_id
             WHERE phase <> 'ended'
                AND (cancel_requested IS NOT NULL OR reassign_requested IS NOT NULL)",
        )?;
        let rows = query.query_map([], |row| {
            let request = if row.get(1)? {
                Request::Cancel
            } else {
                Request::Reassign(row.get(2)?)
            };
            Ok((TaskId(row.get(0)?), request))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn note_waiting(&mut self, reasons: &[Waiting]) -> Result<(), StoreError> {
        self.atomically(|connection| {
            let mut update = connection.prepare_cached(
                "UPDATE tasks SET wait_reason = ?2, wait_rankings = ?3
                 WHERE id = ?1 AND status = 'pending'",
            )?;
            for waiting in reasons {
                update.execute(params![
                    waiting.task.0,
                    waiting.reason,
                    json(&waiting.rankings)
                ])?;
            }
            Ok(())
        })
    }

    fn cancel(&mut self, id: TaskId, now: Timestamp) -> Result<Status, StoreError> {
        self.atomically(|connection| {
            let status = read_task(connection, id)?.status;
            let event = match status {
                Status::Assigned | Status::InProgress | Status::WaitingInput => {
                    Event::RequestCancel
                }
                _ => Event::Cancel,
            };
            let status = move_task(connection, id, event, None, "by a person", now)?;
            if event == Event::RequestCancel {
                connection.execute(
                    "UPDATE tasks SET cancel_requested = coalesce(cancel_requested, ?2) WHERE id = ?1",
                    params![id.0, stamp(now)],
                )?;
            }
            Ok(status)
        })
    }

    fn resolve(&mut self, id: TaskId, event: Event, now: Timestamp) -> Result<Status, StoreError> {
        self.atomically(|connection| {
            let status = move_task(connection, id, event, None, "by a person", now)?;
            if status == Status::Pending {
                connection.execute(
                    "UPDATE tasks SET error = NULL, exit_code = NULL, session = NULL, tries = 0
                     WHERE id = ?1",
                    [id.0],
                )?;
            }
            Ok(status)
        })
    }

    fn record_sessions(&mut self, rows: &[SessionRow], now: Timestamp) -> Result<(), StoreError> {
        self.atomically(|connection| {
            let mut write = connection.prepare_cached(
                "INSERT INTO sessions (name, status, reason, since, provider, is_claude,
                    current_dir, working_dir, git_branch, env_vars, current_task_id,
                    last_context_update, last_activity, updated_at, server_pid, server_start,
                    pane, pane_pid, admission, paused, labels, homes, repository)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?5 = 'claude', ?6, ?6, ?7, ?8, ?9, ?10, ?4, ?11, ?12,
                    ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)
                 ON CONFLICT (name) DO UPDATE SET status = excluded.status,
                    reason = excluded.reason, since = excluded.since,
                    provider = excluded.provider, is_claude = excluded.is_claude,
                    current_dir = excluded.current_dir, working_dir = excluded.working_dir,
                    git_branch = excluded.git_branch, env_vars = excluded.env_vars,
                    current_task_id = excluded.current_task_id,
                    completed = CASE WHEN pane_pid = excluded.pane_pid THEN completed ELSE 0 END,
                    failed = CASE WHEN pane_pid = excluded.pane_pid THEN failed ELSE 0 END,
                    last_context_update = excluded.last_context_update,
                    last_activity = excluded.last_activity, updated_at = excluded.updated_at,
                    server_pid = excluded.server_pid, server_start = excluded.server_start,
                    pane = excluded.pane, pane_pid = excluded.pane_pid,
                    admission = excluded.admission, paused = excluded.paused,
                    labels = excluded.labels, homes = excluded.homes,
                    repository = excluded.repository",
            )?;
            for row in rows {
                write.execute(params![
                    row.name,
                    row.activity.name(),
                    row.reason.as_deref().unwrap_or_default(),
                    stamp(row.since),
                    row.provider,
                    row.current_dir,
                    row.git_branch,
                    json(&row.env),
                    row.current_task.map(|task| task.0),
                    stamp(row.context_at),
                    stamp(now),
                    row.identity.server_pid,
                    row.identity.server_start,
                    row.identity.pane.as_str(),
                    row.identity.pane_pid,
                    row.admission.name(),
                    row.paused,
                    json(&row.labels),
                    json(&row.homes),
                    row.repository,
                ])?;
            }
            Ok(())
        })
    }

    fn sessions(&mut self) -> Result<Vec<SessionRow>, StoreError> {
        read_sessions(&self.connection)
    }

    fn retire_unseen(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.connection.execute(
            "UPDATE sessions SET status = 'gone', updated_at = ?1,
                reason = 'not seen since its database was taken over'
             WHERE pane IS NULL AND status <> 'gone'",
            [stamp(now)],
        )?;
        Ok(())
    }

    fn pauses(&mut self) -> Result<Vec<PauseRow>, StoreError> {
        wishes::pauses(&self.connection)
    }

    fn end_pauses(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.atomically(|connection| {
            connection
                .prepare_cached(
                    "INSERT INTO assignment_history (action, created_at, details)
                     SELECT 'resumed', ?1, scope || ' ' || name || ': its limit has ended'
                     FROM pauses WHERE until <= ?1",
                )?
                .execute([stamp(now)])?;
            connection
                .prepare_cached("DELETE FROM pauses WHERE until <= ?1")?
                .execute([stamp(now)])?;
            Ok(())
        })
    }

    fn session_labels(&mut self) -> Result<Vec<SessionLabel>, StoreError> {
        wishes::labels(&self.connection)
    }

    fn awaited_targets(&mut self) -> Result<Vec<String>, StoreError> {
        wishes::awaited_targets(&self.connection)
    }

    fn bind(&mut self, meanings: &[(String, Meaning)]) -> Result<(), StoreError> {
        self.atomically(|connection| {
            let mut meanings = meanings.iter();
            meanings.try_for_each(|(name, meaning)| wishes::bind(connection, name, meaning))
        })
    }

    fn end_wishes(&mut self, gone: &[Meaning], now: Timestamp) -> Result<(), StoreError> {
        self.atomically(|connection| {
            let mut gone = gone.iter();
            gone.try_for_each(|meaning| wishes::end(connection, meaning, now))
        })
    }

    fn take_context_updates(&mut self) -> Result<Vec<ContextUpdate>, StoreError> {
        self.atomically(|connection| {
            let mut query = connection
                .prepare_cached("SELECT session, meaning, env FROM context_updates ORDER BY id")?;
            let rows = query.query_map([], |row| {
                let session = said(text(row, 0)?, text(row, 1)?);
                Ok(ContextUpdate {
                    session: session.unwrap_or_else(|| SessionRef::from("")),
                    env: from_json_or_default(row, 2)?,
                })
            })?;
            let updates: Vec<ContextUpdate> = rows.collect::<Result<_, _>>()?;
            if !updates.is_empty() {
                connection.execute("DELETE FROM context_updates", [])?;
            }
            Ok(updates)
        })
    }

    fn note_session(
        &mut self,
        session: &str,
        action: &str,
        details: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO assignment_history (session_name, action, created_at, details)
                 VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![session, action, stamp(now), details])?;
        Ok(())
    }

    fn secrets_in_use(&mut self) -> Result<BTreeSet<String>, StoreError> {
        let mut query = self.connection.prepare_cached(
            "SELECT secrets FROM tasks INDEXED BY tasks_with_secrets
             WHERE secrets IS NOT NULL",
        )?;
        let rows = query.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn settled_secrets(&mut self) -> Result<Vec<String>, StoreError> {
        let mut query = self.connection.prepare_cached(
            "SELECT secrets FROM tasks INDEXED BY tasks_with_secrets
             WHERE secrets IS NOT NULL AND status IN ('completed', 'failed', 'cancelled')",
        )?;
        let rows = query.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn forget_secrets(&mut self, names: &[String]) -> Result<(), StoreError> {
        self.atomically(|connection| {
            for name in names {
                connection
                    .prepare_cached("UPDATE tasks SET secrets = NULL WHERE secrets = ?1")?
                    .execute([name])?;
            }
            Ok(())
        })
    }

    fn record_daemon(&mut self, facts: &DaemonFacts) -> Result<(), StoreError> {
        self.connection.execute(
            "INSERT INTO daemon (id, facts) VALUES (1, ?1)
             ON CONFLICT (id) DO UPDATE SET facts = excluded.facts",
            [json(facts)],
        )?;
        Ok(())
    }

    fn daemon(&mut self) -> Result<Option<DaemonFacts>, StoreError> {
        let facts = self
            .connection
            .query_row("SELECT facts FROM daemon WHERE id = 1", [], |row| {
                row.get::<_, String>(0)
            })
            .optional()?;
        // A daemon of another version may have stored different facts: then nothing is known.
        Ok(facts.and_then(|facts| serde_json::from_str(&facts).ok()))
    }

    fn data_version(&mut self) -> Result<i64, StoreError> {
        Ok(self
            .connection
            .query_row("PRAGMA data_version", [], |row| row.get(0))?)
    }
}

/// Selects the lanes of pending tasks with a loose index scan: one look-up per lane, however many
/// tasks are in each. Without `INDEXED BY`, SQLite would read every pending task instead.
const LANES: &str = "WITH RECURSIVE lanes (lane) AS (
        SELECT min(lane) FROM tasks INDEXED BY tasks_pending
            WHERE status = 'pending' AND not_before IS NULL AND blocked = 0
        UNION ALL
        SELECT (SELECT min(lane) FROM tasks INDEXED BY tasks_pending
            WHERE status = 'pending' AND not_before IS NULL AND blocked = 0
                AND lane > lanes.lane)
        FROM lanes WHERE lanes.lane IS NOT NULL
    )
    SELECT lane FROM lanes WHERE lane IS NOT NULL";

/// Returns how the meaning of a task's target is stored.
pub(super) fn meaning_of(task: &NewTask) -> Option<String> {
    let target = task.target_session.as_ref()?;
    target.meaning.as_ref().map(Meaning::to_string)
}

pub(super) fn read_task(connection: &Connection, id: TaskId) -> Result<Task, StoreError> {
    connection
        .prepare_cached(&format!("SELECT {TASK} FROM tasks WHERE id = ?1"))?
        .query_row([id.0], task_of)
        .optional()?
        .ok_or(StoreError::NoTask(id))
}

fn keep_output(
    connection: &Connection,
    attempt: AttemptId,
    output: &Output,
) -> Result<(), StoreError> {
    connection.execute(
        "INSERT OR REPLACE INTO outputs (attempt_id, total, bytes) VALUES (?1, ?2, ?3)",
        params![attempt.0, saturating(output.total), output.bytes],
    )?;
    Ok(())
}

/// Deletes answers that come too late, and records that.
fn drop_replies(
    connection: &Connection,
    task: TaskId,
    why: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let dropped = connection
        .prepare_cached("DELETE FROM replies WHERE task_id = ?1 AND NOT taken")?
        .execute([task.0])?;
    connection
        .prepare_cached("DELETE FROM replies WHERE task_id = ?1")?
        .execute([task.0])?;
    if dropped > 0 {
        let details = format!("not delivered: {why}");
        write_history(connection, task, None, REPLY_DROPPED, &details, now)?;
    }
    Ok(())
}

/// Pauses a provider until its limit ends. A pause set by a person stays as it is.
fn hold_provider(connection: &Connection, limit: &Limit, now: Timestamp) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO pauses (scope, name, since, until, reason)
         VALUES ('provider', ?1, ?2, ?3, ?4)
         ON CONFLICT (scope, name, meaning) DO UPDATE SET until = max(until, excluded.until),
            reason = excluded.reason WHERE until IS NOT NULL",
        params![limit.provider, stamp(now), stamp(limit.until), limit.reason],
    )?;
    connection.execute(
        "INSERT INTO assignment_history (action, created_at, details) VALUES ('paused', ?1, ?2)",
        params![
            stamp(now),
            format!(
                "provider {} until {}: {}",
                limit.provider,
                stamp(limit.until),
                limit.reason
            )
        ],
    )?;
    Ok(())
}

fn is_cancel_requested(connection: &Connection, task: TaskId) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM tasks WHERE id = ?1 AND cancel_requested IS NOT NULL")?
        .exists([task.0])?)
}

/// Returns the task and the session of an attempt that has not ended.
fn open_attempt(
    connection: &Connection,
    attempt: AttemptId,
) -> Result<(TaskId, String), StoreError> {
    connection
        .prepare_cached("SELECT task_id, session FROM attempts WHERE id = ?1 AND phase <> 'ended'")?
        .query_row([attempt.0], |row| Ok((TaskId(row.get(0)?), row.get(1)?)))
        .optional()?
        .ok_or(StoreError::NoAttempt(attempt))
}

/// Returns the sessions as last seen, by name.
pub(super) fn read_sessions(connection: &Connection) -> Result<Vec<SessionRow>, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT {SESSION} FROM sessions WHERE pane IS NOT NULL ORDER BY name"
    ))?;
    let rows = query.query_map([], session_of)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;
    use crate::model::task::Kind;

    /// How many steps SQLite takes to find the lanes of `prompts` prompts and one command.
    fn steps_for_lanes(prompts: usize) -> i32 {
        let directory = tempfile::tempdir().expect("a directory");
        let mut store = Sqlite::open(directory.path()).expect("a store");
        let prompt = NewTask {
            kind: Kind::Prompt,
            ..NewTask::command("x")
        };
        let mut tasks = vec![prompt; prompts];
        tasks.push(NewTask::command("x"));
        store.queue(&tasks, Timestamp::UNIX_EPOCH).expect("queued");
        let mut query = store.connection.prepare(LANES).expect("a query");
        let lanes = query.query_map([], |_| Ok(())).expect("lanes").count();
        assert_eq!(lanes, 2);
        query.get_status(StatementStatus::VmStep)
    }

    #[test]
    fn tasks_that_cannot_run_cost_nothing() {
        assert_eq!(steps_for_lanes(5), steps_for_lanes(5000));
    }

    #[test]
    fn a_file_that_is_being_made_is_tried_again_and_no_other() {
        let failure = |code| rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
        let mut tries = 0;
        let opened = patiently(|| {
            tries += 1;
            if tries < 3 {
                Err(failure(rusqlite::ffi::SQLITE_BUSY))
            } else {
                Ok(tries)
            }
        });
        assert_eq!(opened.expect("opened in the end"), 3);
        let mut tries = 0;
        let broken = patiently(|| {
            tries += 1;
            assert_eq!(tries, 1, "it does not become a database");
            Err::<(), _>(failure(rusqlite::ffi::SQLITE_NOTADB))
        });
        assert!(broken.is_err());
    }
}
