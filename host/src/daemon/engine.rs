//! The engine: a node and a matcher in one process, one round after another.
//!
//! ```text
//! the node looks -> the matcher gives tasks away -> the node starts attempts, beside the rounds
//! ```
//!
//! What passes between the two are rows: the sessions as the node has written them, and the claims.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;

use super::matching::{self, AskedPolicy, LocalSurroundings};
use crate::agents::Catalog;
use crate::agents::report::Reports;
use crate::matcher::{MatchError, Matched, Matcher, MatcherSettings, Offer};
use crate::model::clock::Clock;
use crate::node::attempt::Brief;
use crate::node::{Node, NodeError, NodeSettings, SeenSessions, Spool};
use crate::policy::{Archive, Health, Policy, PolicyHost, Tally};
use crate::probe::look::Watch;
use crate::store::{Ledger, Secrets, StoreError};
use crate::tmux::Tmux;

/// What the engine is told when it starts, and when its configuration changes.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// What its node is told.
    pub node: NodeSettings,
    /// What its matcher is told.
    pub matcher: MatcherSettings,
}

/// Why a round could not be finished. The next round starts afresh.
#[derive(Debug, Error)]
pub enum RoundError {
    /// The sessions could not be watched.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The policy's thread ended.
    #[error("the policy's thread has ended")]
    Policy,
}

impl From<MatchError> for RoundError {
    fn from(error: MatchError) -> Self {
        match error {
            MatchError::Store(error) => Self::Store(error),
            MatchError::Nobody => Self::Policy,
        }
    }
}

/// When the next round is due, if nothing happens earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlook {
    /// After how long.
    pub again_in: Duration,
}

/// The longest time between two rounds. Polling is only the fallback: whatever can wake the engine
/// earlier does.
const POLL: Duration = Duration::from_millis(250);

/// Without a server, each look is a process that tmux starts and that fails.
const WITHOUT_SERVER: Duration = Duration::from_secs(1);

/// The engine.
pub struct Engine<T: Tmux + 'static> {
    node: Node<T>,
    matcher: Matcher,
    policy: Arc<Mutex<PolicyHost>>,
    directories: Watch<Option<String>>,
}

impl<T: Tmux + 'static> Engine<T> {
    /// Returns an engine whose first round resumes what the last one left. It runs its attempts as
    /// local tasks, so it must be started and used within a `LocalSet`.
    ///
    /// # Errors
    /// The store failed.
    pub async fn start(
        tmux: T,
        ledger: Ledger,
        policy: PolicyHost,
        spool: Spool,
        secrets: Secrets,
        agents: (Catalog, Reports),
        settings: Settings,
    ) -> Result<Self, StoreError> {
        let matcher = Matcher::new(ledger.clone(), settings.matcher);
        Ok(Self {
            node: Node::start(tmux, ledger, spool, secrets, agents, settings.node).await?,
            matcher,
            policy: Arc::new(Mutex::new(policy)),
            directories: matching::directories(),
        })
    }

    /// Recognizes agents by these profiles from now on. Attempts that are running keep their own.
    pub fn use_catalog(&mut self, catalog: Catalog) {
        self.node.use_catalog(catalog);
    }

    /// Goes by these settings from now on; attempts that are running keep theirs.
    pub fn use_settings(&mut self, settings: Settings) {
        self.node.use_settings(settings.node);
        self.matcher.use_settings(settings.matcher);
    }

    /// Runs one round. Everything in it is judged by the time `now`.
    ///
    /// # Errors
    /// tmux or the store failed. What was committed remains, and the next round continues from it.
    pub async fn round(&mut self, now: Timestamp) -> Result<Outlook, RoundError> {
        let looked = self.node.look(now).await;
        if self.node.take_news() {
            self.matcher.touch();
        }
        let snapshot = looked?;
        self.match_tasks(&snapshot, now).await?;
        self.node.keep_pools(&snapshot, now).await?;
        self.node.is_in_step();
        Ok(self.outlook())
    }

    /// Has tasks given to the sessions that were seen, and starts their attempts.
    async fn match_tasks(
        &mut self,
        snapshot: &SeenSessions,
        now: Timestamp,
    ) -> Result<(), RoundError> {
        let offers = snapshot.sessions.iter().map(|seen| Offer {
            row: &seen.row,
            ready: seen.ready,
            asked: seen.asked,
        });
        let offers: Vec<Offer<'_>> = offers.collect();
        let clock = self.node.clock();
        let mut here = LocalSurroundings {
            node: &self.node,
            snapshot,
            directories: &mut self.directories,
        };
        let matched = self
            .matcher
            .round(&offers, &AskedPolicy(&self.policy), &mut here, &*clock)
            .await?;
        let Matched {
            given,
            inquiries,
            unbound,
        } = matched;
        if unbound {
            self.node.hear_of_unbound();
        }
        for given in given {
            self.node.give(Brief {
                attempt: given.attempt,
                task: given.task,
                session: given.session,
                identity: given.identity,
            });
        }
        for inquiry in inquiries {
            self.node
                .ask(&inquiry.sessions, &inquiry.names, snapshot, now)
                .await?;
        }
        Ok(())
    }

    /// Lets attempts finish the acts that they are performing, before the engine is dropped.
    pub async fn settle(&self) {
        self.node.settle().await;
    }

    /// Has the attempts look at what belongs to them: a job has begun or ended.
    pub fn wake_attempts(&self) {
        self.node.wake_attempts();
    }

    /// Whether a shell that has told of its prompt is waited for: an attempt has ended in its pane.
    pub fn expects_idle(&self, pane_pid: u32) -> bool {
        self.node.expects_idle(pane_pid)
    }

    /// Where shells tell of their prompts, if they can.
    pub fn told_by_shells(&self) -> Option<&Path> {
        self.node.told_by_shells()
    }

    /// Completes when something may have changed: tmux says so, or an attempt has ended.
    pub async fn changed(&mut self) {
        self.node.changed().await;
    }

    /// Makes another policy the live one from the next round on. Waiting tasks are decided again.
    pub fn replace_policy(&mut self, policy: Policy) {
        matching::lock(&self.policy).replace(policy);
        self.matcher.start_over();
    }

    /// Records every round from now on, or none.
    pub fn record(&self, archive: Option<Archive>) {
        matching::lock(&self.policy).record(archive);
    }

    /// Returns how many rounds were recorded, and how many bytes they take in total.
    pub fn recorded(&self) -> Option<(u64, u64)> {
        matching::lock(&self.policy).recorded()
    }

    /// Returns how the shadow policy is doing.
    pub fn shadow(&self) -> Option<Tally> {
        matching::lock(&self.policy).shadow()
    }

    /// Returns how the live policy is doing.
    pub fn policy_health(&self) -> Health {
        matching::lock(&self.policy).health()
    }

    /// Whether the last round found a tmux server with sessions.
    pub fn server_runs(&self) -> bool {
        self.node.server_runs()
    }

    /// Returns the process of a tmux server that lives and cannot be reached.
    pub fn unreachable_server(&self) -> Option<u32> {
        self.node.unreachable_server()
    }

    /// Sends this to the terminals that show tmux, and waits for nothing.
    pub(crate) fn tell_terminals(&self, bytes: Vec<u8>) {
        self.node.tell_terminals(bytes);
    }

    /// Whether nothing is in flight.
    pub fn is_idle(&self) -> bool {
        self.node.is_idle()
    }

    fn outlook(&self) -> Outlook {
        if !self.node.server_runs() && self.node.is_idle() {
            return Outlook {
                again_in: WITHOUT_SERVER,
            };
        }
        let rested = self.matcher.due_in(self.node.clock().now());
        let due = [self.node.due_in(), rested, Some(POLL)];
        let again_in = due.into_iter().flatten().min().unwrap_or(POLL);
        Outlook { again_in }
    }
}
