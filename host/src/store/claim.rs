//! Claims: a session is reserved for a task, once.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::db::{Db, values};
use super::moves::move_task;
use super::rows::json;
use super::{DbError, PauseRow, SessionLabel, Store, StoreError, labels_of, wishes};
use crate::model::ids::{AttemptId, Identity, TaskId};
use crate::model::matching::PolicyId;
use crate::model::naming::{Home, Who};
use crate::model::task::{Event, NamedRanking, RuledOut};

/// A session to reserve for a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The task.
    pub task: TaskId,
    /// Its revision when the decision was made; see
    /// [`Task::revision`](crate::model::task::Task::revision).
    pub revision: i64,
    /// The session's label.
    pub session: String,
    /// The session.
    pub identity: Identity,
    /// The tmux sessions that show it.
    pub homes: Vec<Home>,
    /// The provider that runs in it.
    pub provider: String,
    /// The agent that is asked there without a terminal.
    pub asks: Option<String>,
    /// Its labels when the decision was made.
    pub labels: BTreeMap<String, String>,
    /// The policy that decided.
    pub policy: PolicyId,
    /// The chosen session, then the runners-up.
    pub rankings: Vec<NamedRanking>,
    /// The sessions that could not be taken, and why.
    pub ruled_out: Vec<RuledOut>,
}

impl Claim {
    /// Whether what people have set for its session still allows it: no pause covers the session,
    /// and its labels are the ones that the decision was based on.
    pub fn is_allowed(&self, pauses: &[PauseRow], labels: &[SessionLabel], now: Timestamp) -> bool {
        let who = Who {
            name: &self.session,
            identity: Some(&self.identity),
            homes: &self.homes,
        };
        let mut holding = pauses
            .iter()
            .filter(|pause| pause.until.is_none_or(|until| until > now));
        let runs = std::iter::once(&self.provider).chain(&self.asks);
        !holding.any(|pause| runs.clone().any(|name| pause.what.covers(who, name)))
            && labels_of(labels, who) == self.labels
    }
}

impl Store {
    /// Reserves sessions for tasks in one transaction and returns an attempt for each claim. A
    /// claim yields `None` if the task may no longer run, if it was changed after the decision, or
    /// if the session is taken.
    ///
    /// # Errors
    /// The database refused: nothing is claimed.
    pub fn claim(
        &mut self,
        claims: &[Claim],
        now: Timestamp,
    ) -> Result<Vec<Option<AttemptId>>, StoreError> {
        self.atomically(|db| {
            // Read here rather than at the start of the round: what a person set before sending the
            // task applies to it, even if the round had already looked at the session.
            let pauses = wishes::pauses(db)?;
            let labels = wishes::labels(db)?;
            let mut claimed = Vec::with_capacity(claims.len());
            for claim in claims {
                claimed.push(if claim.is_allowed(&pauses, &labels, now) {
                    take(db, claim, now)?
                } else {
                    None
                });
            }
            Ok(claimed)
        })
    }
}

fn take(db: &mut dyn Db, claim: &Claim, now: Timestamp) -> Result<Option<AttemptId>, StoreError> {
    let Identity {
        node,
        server_pid,
        server_start,
        pane,
        pane_pid,
    } = &claim.identity;
    let taken = db.exists(
        "SELECT 1 FROM attempts WHERE phase <> 'ended' AND node = $1
            AND server_pid = $2 AND server_start = $3 AND pane = $4 AND pane_pid = $5",
        values![
            node.as_str(),
            *server_pid,
            *server_start,
            pane.as_str(),
            *pane_pid
        ],
    )?;
    // If a person has changed the task since, the decision was about a different task.
    let same = db.exists(
        "SELECT 1 FROM tasks WHERE id = $1 AND revision = $2 AND blocked = 0
            AND not_before IS NULL",
        values![claim.task, claim.revision],
    )?;
    if taken || !same {
        return Ok(None);
    }
    let details = format!(
        "by policy {} {} with {} points",
        claim.policy.name,
        claim.policy.version,
        claim.rankings.first().map_or(0, |ranking| ranking.points),
    );
    let session = Some(&*claim.session);
    match move_task(db, claim.task, Event::Claim, session, &details, now) {
        Ok(_) => {}
        // Cancelled, edited or taken since the round began.
        Err(StoreError::Illegal { .. } | StoreError::NoTask(_)) => return Ok(None),
        Err(error) => return Err(error),
    }
    db.execute(
        "UPDATE tasks SET session = $2, assigned_at = $3, wait_reason = NULL,
            revision = revision + 1, wait_rankings = NULL, not_before = NULL WHERE id = $1",
        values![claim.task, session, now],
    )?;
    let row = db.query_one(
        "INSERT INTO attempts (task_id, number, session, node, server_pid, server_start, pane, pane_pid,
            phase, claimed_at, policy_name, policy_version, policy_sha256, rankings, ruled_out)
         VALUES ($1, (SELECT attempts + 1 FROM tasks WHERE id = $1), $2, $3, $4, $5, $6, $7, 'claimed',
            $8, $9, $10, $11, $12, $13)
         RETURNING id",
        values![
            claim.task,
            session,
            node.as_str(),
            *server_pid,
            *server_start,
            pane.as_str(),
            *pane_pid,
            now,
            &claim.policy.name,
            &claim.policy.version,
            &claim.policy.sha256,
            json(&claim.rankings),
            json(&claim.ruled_out),
        ],
    )?;
    db.execute(
        "UPDATE sessions SET current_task_id = $3, status = 'busy', reason = $4
         WHERE node = $1 AND name = $2",
        values![
            node.as_str(),
            session,
            claim.task,
            format!("runs task {}", claim.task)
        ],
    )?;
    Ok(Some(row.ok_or_else(DbError::no_row)?.get("id")?))
}
