//! Sessions as last seen, and what programs report about them.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::db::{Db, DbError, Row, values};
use super::rows::{json, said};
use super::{Store, StoreError};
use crate::model::eligibility::{Admission, Place};
use crate::model::ids::{Identity, TaskId};
use crate::model::naming::{Home, Meaning, SessionRef, Who};
use crate::model::session::{AT_PROMPT, Activity, Shell};

/// A session as last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// Its label.
    pub name: String,
    /// Its identity.
    pub identity: Identity,
    /// What it is doing.
    pub activity: Activity,
    /// Why it takes no task now. `None` if nothing prevents it.
    pub reason: Option<String>,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// The provider that runs in it.
    pub provider: String,
    /// Its current directory.
    pub current_dir: Option<String>,
    /// The branch of that directory.
    pub git_branch: Option<String>,
    /// The repository of that directory; the same for all of its worktrees.
    pub repository: Option<String>,
    /// The shell that runs in it; `None`: an agent does, or it is not known.
    pub shell: Option<Shell>,
    /// Variables that were set through us.
    pub env: BTreeMap<String, String>,
    /// The task that it is running.
    pub current_task: Option<TaskId>,
    /// Tasks that completed in it.
    pub completed: u32,
    /// Tasks that failed in it.
    pub failed: u32,
    /// When its directory or branch last changed.
    pub context_at: Timestamp,
    /// Which tasks it accepts, as configured.
    pub admission: Admission,
    /// Whether a person has paused it.
    pub paused: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The tmux sessions that show it, starting with the one that it is named after.
    pub homes: Vec<Home>,
}

impl SessionRow {
    /// Returns why it takes no task now, or that it is waiting for one.
    pub fn reason(&self) -> &str {
        match (&self.reason, self.activity) {
            (Some(reason), _) => reason,
            (None, Activity::Idle) => AT_PROMPT,
            (None, _) => "",
        }
    }

    /// Returns its names and identity.
    pub fn who(&self) -> Who<'_> {
        Who {
            name: &self.name,
            identity: Some(&self.identity),
            homes: &self.homes,
        }
    }

    /// Returns what a task's requirements are compared with.
    pub fn place(&self) -> Place<'_> {
        Place {
            who: self.who(),
            provider: &self.provider,
            branch: self.git_branch.as_deref(),
            labels: &self.labels,
            admission: self.admission,
            directory: self.current_dir.as_deref(),
            repository: self.repository.as_deref(),
            shell: self.shell,
        }
    }
}

/// Returns the names and identities of the sessions that have not ended.
pub fn present(rows: &[SessionRow]) -> impl Iterator<Item = Who<'_>> + Clone {
    rows.iter()
        .filter(|row| row.activity != Activity::Gone)
        .map(SessionRow::who)
}

/// What a program reports about a session's variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextUpdate {
    /// The session.
    pub session: SessionRef,
    /// Variables with their new values. `None` means that the variable is no longer set.
    pub env: BTreeMap<String, Option<String>>,
}

impl Store {
    /// Stores what has changed about sessions.
    ///
    /// # Errors
    /// The database refused.
    pub fn record_sessions(
        &mut self,
        rows: &[SessionRow],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.atomically(|db| {
            for row in rows {
                db.execute(
                    RECORD,
                    values![
                        row.identity.node.as_str(),
                        &row.name,
                        row.activity.name(),
                        row.reason.as_deref().unwrap_or_default(),
                        row.since,
                        &row.provider,
                        row.provider == "claude",
                        row.current_dir.as_ref(),
                        row.git_branch.as_ref(),
                        json(&row.env),
                        row.current_task,
                        row.context_at,
                        now,
                        row.identity.server_pid,
                        row.identity.server_start,
                        row.identity.pane.as_str(),
                        row.identity.pane_pid,
                        row.admission.name(),
                        row.paused,
                        json(&row.labels),
                        json(&row.homes),
                        row.repository.as_ref(),
                        row.shell.map(Shell::name),
                    ],
                )?;
            }
            Ok(())
        })
    }

    /// Returns the sessions as last seen, by name and node.
    ///
    /// # Errors
    /// The database refused.
    pub fn sessions(&mut self) -> Result<Vec<SessionRow>, StoreError> {
        read_all(&mut *self.db)
    }

    /// Returns the session with that name, or with that name as one of its others. If there is no
    /// such session any more, returns the last one that had the name.
    ///
    /// # Errors
    /// No session with that name was ever seen.
    pub fn session(&mut self, name: &str) -> Result<SessionRow, StoreError> {
        read_session(&mut *self.db, name)
    }

    /// Marks as gone the sessions that only the Python worker has ever seen.
    ///
    /// # Errors
    /// The database refused.
    pub fn retire_unseen(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.atomically(|db| {
            db.execute(
                "UPDATE sessions SET status = 'gone', updated_at = $1,
                    reason = 'not seen since its database was taken over'
                 WHERE pane IS NULL AND status <> 'gone'",
                values![now],
            )?;
            Ok(())
        })
    }

    /// Reports the current values of a session's variables to the running daemon.
    ///
    /// # Errors
    /// No session with that name was ever seen.
    pub fn update_env(
        &mut self,
        session: &str,
        env: &BTreeMap<String, Option<String>>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.atomically(|db| {
            let mut row = read_session(db, session)?;
            let meaning = Meaning::Pane(row.identity.clone());
            for (name, value) in env {
                match value {
                    Some(value) => row.env.insert(name.clone(), value.clone()),
                    None => row.env.remove(name),
                };
            }
            db.execute(
                "UPDATE sessions SET env_vars = $3, updated_at = $4, last_context_update = $4
                 WHERE node = $1 AND name = $2",
                values![row.identity.node.as_str(), &row.name, json(&row.env), now],
            )?;
            db.execute(
                "INSERT INTO context_updates (session, meaning, env) VALUES ($1, $2, $3)",
                values![session, meaning.to_string(), json(env)],
            )?;
            Ok(())
        })
    }

    /// Returns what programs have reported about sessions since the last call.
    ///
    /// # Errors
    /// The database refused.
    pub fn take_context_updates(&mut self) -> Result<Vec<ContextUpdate>, StoreError> {
        self.atomically(|db| {
            let rows = db.query(
                "SELECT session, meaning, env FROM context_updates ORDER BY id",
                &[],
            )?;
            let updates = rows.iter().map(|row| {
                let session = said(row.text("session")?, row.text("meaning")?);
                Ok(ContextUpdate {
                    session: session.unwrap_or_else(|| SessionRef::from("")),
                    env: row.json_or_default("env")?,
                })
            });
            let updates: Vec<ContextUpdate> = updates.collect::<Result<_, DbError>>()?;
            if !updates.is_empty() {
                db.execute("DELETE FROM context_updates", &[])?;
            }
            Ok(updates)
        })
    }
}

/// Stores a session. What it has completed is counted anew if its name has passed to another pane.
const RECORD: &str = "INSERT INTO sessions (node, name, status, reason, since, provider, is_claude,
        current_dir, working_dir, git_branch, env_vars, current_task_id,
        last_context_update, last_activity, updated_at, server_pid, server_start,
        pane, pane_pid, admission, paused, labels, homes, repository, shell)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9, $10, $11, $12, $5, $13, $14, $15, $16, $17,
        $18, $19, $20, $21, $22, $23)
    ON CONFLICT (node, name) DO UPDATE SET status = excluded.status,
        reason = excluded.reason, since = excluded.since,
        provider = excluded.provider, is_claude = excluded.is_claude,
        current_dir = excluded.current_dir, working_dir = excluded.working_dir,
        git_branch = excluded.git_branch, env_vars = excluded.env_vars,
        current_task_id = excluded.current_task_id,
        completed = CASE WHEN sessions.pane_pid = excluded.pane_pid
            THEN sessions.completed ELSE 0 END,
        failed = CASE WHEN sessions.pane_pid = excluded.pane_pid THEN sessions.failed ELSE 0 END,
        last_context_update = excluded.last_context_update,
        last_activity = excluded.last_activity, updated_at = excluded.updated_at,
        server_pid = excluded.server_pid, server_start = excluded.server_start,
        pane = excluded.pane, pane_pid = excluded.pane_pid,
        admission = excluded.admission, paused = excluded.paused,
        labels = excluded.labels, homes = excluded.homes,
        repository = excluded.repository, shell = excluded.shell";

/// The columns of a session that [`session_of`] reads.
const SESSION: &str = "name, status, reason, since, provider, current_dir, git_branch, \
    env_vars, current_task_id, completed, failed, last_context_update, admission, paused, labels, \
    node, server_pid, server_start, pane, pane_pid, homes, repository, shell";

/// Reads a session that we have seen ourselves.
fn session_of(row: &Row) -> Result<SessionRow, DbError> {
    let activity: String = row.get("status")?;
    Ok(SessionRow {
        name: row.get("name")?,
        activity: Activity::from_name(&activity).unwrap_or(Activity::Unknown),
        // The absence of a reason is stored as empty text.
        reason: row.text("reason")?.filter(|reason| !reason.is_empty()),
        since: row.time("since")?.unwrap_or_default(),
        provider: row.text("provider")?.unwrap_or_default(),
        current_dir: row.text("current_dir")?,
        git_branch: row.text("git_branch")?,
        env: row.json_or_default("env_vars")?,
        current_task: row.get("current_task_id")?,
        completed: row.get("completed")?,
        failed: row.get("failed")?,
        context_at: row.time("last_context_update")?.unwrap_or_default(),
        admission: Admission::from_name(&row.get::<String>("admission")?),
        paused: row.get("paused")?,
        labels: row.json_or_default("labels")?,
        identity: row.identity()?,
        homes: row.json_or_default("homes")?,
        repository: row.text("repository")?,
        shell: row.text("shell")?.as_deref().and_then(Shell::from_program),
    })
}

/// Returns the sessions as last seen, by name and node.
fn read_all(db: &mut dyn Db) -> Result<Vec<SessionRow>, StoreError> {
    let rows = db.query(
        &format!("SELECT {SESSION} FROM sessions WHERE pane IS NOT NULL ORDER BY name, node"),
        &[],
    )?;
    Ok(rows.iter().map(session_of).collect::<Result<_, _>>()?)
}

/// Returns the sessions that exist.
pub(super) fn read_present(db: &mut dyn Db) -> Result<Vec<SessionRow>, StoreError> {
    let rows = db.query(
        &format!("SELECT {SESSION} FROM sessions WHERE pane IS NOT NULL AND status <> $1"),
        values![Activity::Gone.name()],
    )?;
    Ok(rows.iter().map(session_of).collect::<Result<_, _>>()?)
}

/// Returns the session with that name, current or former.
fn read_session(db: &mut dyn Db, name: &str) -> Result<SessionRow, StoreError> {
    let rows = read_all(db)?;
    let there = |row: &&SessionRow| row.activity != Activity::Gone;
    let labelled = |row: &&SessionRow| row.who().is_labelled(name);
    let last = rows.iter().find(|row| row.name == name);
    let now = rows.iter().filter(there).find(labelled);
    // The last one may still exist under another name.
    let renamed = last.and_then(|last| {
        let mut there = rows.iter().filter(there);
        there.find(|row| row.identity == last.identity)
    });
    now.or(renamed)
        .or(last)
        .cloned()
        .ok_or_else(|| StoreError::NoSession(name.to_owned()))
}
