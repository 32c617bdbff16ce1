//! How a session of a pool ends, and what is recorded of it.

use std::collections::BTreeMap;
use std::time::Instant;

use jiff::Timestamp;

use super::KeptState;
use super::LAST_LINES;
use super::LONGEST_QUOTE;
use super::MOST_UNCERTAIN;
use super::SEEN_AGAIN;
use super::Sessions;
use super::plan::MemberStage;
use super::plan::rest_after;
use crate::model::eligibility::Admission;
use crate::model::naming::Who;
use crate::model::session::Activity;
use crate::model::task::Status;
use crate::node::Node;
use crate::node::NodeError;
use crate::store::SessionRow;
use crate::tmux::Session;
use crate::tmux::Tmux;

impl<T: Tmux + 'static> Node<T> {
    /// Ends a session that nobody needs, or records that one has ended.
    pub(super) async fn end_session(
        &mut self,
        name: &str,
        why: &str,
        sessions: &Sessions,
        now: Timestamp,
    ) -> Result<(), NodeError> {
        let session = self.listed(name, sessions);
        if session.is_some() && self.is_evidence(name).await? {
            // A person still has to see what became of a task there.
            self.use_now(name, now, SEEN_AGAIN);
            return Ok(());
        }
        self.note_pool(name, "ended", why.to_owned(), now).await?;
        match session {
            Some(session) => self.kill_session(name, session, now).await,
            None => {
                self.forget_session(name, None);
                Ok(())
            }
        }
    }

    /// Ends a session that did not come up, and lets its pool rest.
    pub(super) async fn give_up(
        &mut self,
        name: &str,
        why: &str,
        sessions: &Sessions,
        now: Timestamp,
    ) -> Result<(), NodeError> {
        let Some(pool) = self.pools.kept.get(name).map(|kept| kept.pool.clone()) else {
            return Ok(());
        };
        let session = self.listed(name, sessions);
        let mut details = why.to_owned();
        if let Some(session) = session {
            if let (true, Some(status)) = (session.dead, session.dead_status) {
                details += &format!(" with exit code {status}");
            }
            let lines = self.tmux.tail(&session.pane, LAST_LINES).await;
            details += &quote(&lines.unwrap_or_default());
        }
        let rest = self.rest_pool(&pool, now);
        let reason = format!("{details}; {rest}");
        if let Some(session) = session {
            self.record_gone(name, session, &details, now).await?;
        }
        self.note_pool(name, "ended", reason, now).await?;
        match session {
            Some(session) => self.kill_session(name, session, now).await,
            None => {
                self.forget_session(name, None);
                Ok(())
            }
        }
    }

    /// Leaves a session that did not come up to a person, and lets its pool rest.
    pub(super) async fn leave_alone(
        &mut self,
        name: &str,
        why: &str,
        now: Timestamp,
    ) -> Result<(), NodeError> {
        let Some(kept) = self.pools.kept.get_mut(name) else {
            return Ok(());
        };
        kept.state = KeptState::There(MemberStage::Stuck);
        let pool = kept.pool.clone();
        let rest = self.rest_pool(&pool, now);
        let details = format!("{why}; it stays so that a person can look at it, and {rest}");
        self.note_pool(name, "not_ready", details, now).await
    }

    pub(super) async fn kill_session(
        &mut self,
        name: &str,
        session: &Session,
        now: Timestamp,
    ) -> Result<(), NodeError> {
        let why = match self.tmux.end_session(session).await {
            Ok(true) => {
                self.pools.kept.entry(name.to_owned()).and_modify(|kept| {
                    kept.state = KeptState::Ending(Instant::now());
                });
                let pid = Some(session.pane.pane_pid);
                self.remove_worktree(name, pid);
                return Ok(());
            }
            Ok(false) => "someone has attached to it".to_owned(),
            Err(error) => format!("failed to {error}"),
        };
        let pause = self.listed_pool(name).map_or(SEEN_AGAIN, |pool| pool.idle);
        self.use_now(name, now, pause);
        let details = format!("it was not ended after all: {why}");
        self.note_pool(name, "not_ended", details, now).await
    }

    /// Whether a task with an unknown outcome was last tried in this session.
    pub(super) async fn is_evidence(&mut self, name: &str) -> Result<bool, NodeError> {
        let name = name.to_owned();
        let found = self.ledger.run(move |store| {
            for task in store.tasks(&[Status::Uncertain], MOST_UNCERTAIN)? {
                let attempts = store.attempts(task.id)?;
                if attempts.last().is_some_and(|last| last.session == name) {
                    return Ok(true);
                }
            }
            Ok(false)
        });
        Ok(found.await?)
    }

    /// Records a session that failed before any scan saw it, so that people find its history.
    pub(super) async fn record_gone(
        &mut self,
        name: &str,
        session: &Session,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), NodeError> {
        let pool = self.listed_pool(name);
        if self.tracker.written.contains_key(name) {
            return Ok(());
        }
        let row = SessionRow {
            name: name.to_owned(),
            identity: session.pane.clone(),
            activity: Activity::Gone,
            reason: Some(reason.to_owned()),
            since: now,
            provider: pool.map_or_else(String::new, |pool| pool.provider.clone()),
            current_dir: None,
            git_branch: None,
            repository: None,
            shell: None,
            env: BTreeMap::new(),
            current_task: None,
            completed: 0,
            failed: 0,
            context_at: now,
            admission: Admission::Open,
            paused: false,
            labels: self.orders.labels(Who::named(name)),
            homes: Vec::new(),
        };
        let rows = [row.clone()];
        self.ledger
            .run(move |store| store.record_sessions(&rows, now))
            .await?;
        self.tracker.written.insert(name.to_owned(), row);
        Ok(())
    }

    /// Forgets sessions that were told to end and are gone.
    pub(super) fn finish_ended(&mut self, sessions: &Sessions) {
        let kept = self.pools.kept.iter();
        let over = kept.filter(|(name, kept)| {
            matches!(kept.state, KeptState::Ending(_)) && self.listed(name, sessions).is_none()
        });
        let over: Vec<String> = over.map(|(name, _)| name.clone()).collect();
        for name in over {
            self.pools.kept.remove(&name);
        }
    }

    /// Lets a pool rest, longer each time, and returns a message that says so.
    pub(super) fn rest_pool(&mut self, pool: &str, now: Timestamp) -> String {
        let rest = self.pools.rests.entry(pool.to_owned()).or_default();
        rest.failures = rest.failures.saturating_add(1);
        let pause = rest_after(rest.failures);
        rest.until = now.checked_add(pause).ok();
        let said = format!("pool {pool} rests for {} s", pause.as_secs());
        tracing::warn!("{said}");
        said
    }
}

/// Returns the last lines of a session on one line, without what tmux itself writes there.
fn quote(lines: &str) -> String {
    let lines = lines
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("Pane is dead"));
    let joined = lines.collect::<Vec<_>>().join(" | ");
    if joined.is_empty() {
        return joined;
    }
    let shown: String = joined.chars().take(LONGEST_QUOTE).collect();
    let more = if shown.len() < joined.len() {
        "…"
    } else {
        ""
    };
    format!(": {shown}{more}")
}
