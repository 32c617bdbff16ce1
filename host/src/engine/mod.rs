//! The engine: one round after another, each a pass in one direction.
//!
//! ```text
//! scan -> match and claim -> attempts, which run beside the rounds
//! ```
//!
//! Each stage stands in a file of its own and takes what the one before it returned. What the
//! engine remembers between rounds is what it last saw of each session; everything that must survive
//! it is in the store before it is acted on. What becomes of a task that was claimed is up to its
//! attempt: see [`crate::node`].

mod agents;
mod ask;
mod changes;
mod empty;
pub mod explain;
mod flying;
pub mod inspect;
mod matching;
mod orders;
mod pool;
mod pools;
mod prompt;
#[cfg(test)]
mod recovery_tests;
mod scan;
mod sight;
mod steps;
pub mod suit;
mod tracker;
mod worktree;

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use globset::GlobSet;
use jiff::Timestamp;
use thiserror::Error;

pub use orders::{aim, said};
pub use pool::{Launch, Pool, PoolSettings, Stand};

use crate::agents::Catalog;
use crate::agents::report::Reports;
use crate::matcher::{self, Matcher};
use crate::model::clock::Clock;
use crate::model::ids::TaskId;
use crate::node::attempt::Refusals;
use crate::node::attempt::driver::Driver;
use crate::node::attempt::hands::{Local, Setup};
use crate::node::shell::Shells;
use crate::node::spool::Spool;
use crate::policy::{Health, Policy, PolicyHost, Tally};
use crate::probe::look::Watch;
use crate::store::{Ledger, Secrets, StoreError};
use crate::tmux::{Shared, Tmux};
use tracker::Tracker;

/// What the engine is told once.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name of this machine, as policies see it.
    pub host: String,
    /// The program that reads a pane's output: this one, called with `capture`.
    pub program: PathBuf,
    /// The last so many bytes of a task's output are kept.
    pub output_limit: u64,
    /// How many rankings of a decision are kept as its explanation.
    pub explain: u32,
    /// How long a shell may take to take up a job that was typed, before the job is withdrawn.
    pub start_within: Duration,
    /// For how long a session is left alone after a key was pressed in it.
    pub attended_for: Duration,
    /// After how long a prerequisite is ended, where its task does not say.
    pub prerequisite_within: Duration,
    /// Whether a shell may be asked for variables that a task names.
    pub ask_variables: bool,
    /// Whether a shell loads what tells of its line with its first job.
    pub shell_integration: bool,
    /// Run by `sh -c` when an agent begins to wait for a person.
    pub notify: Option<String>,
    /// Whether the terminals that show tmux ring their bell then.
    pub bell: bool,
    /// Names of sessions that take no tasks.
    pub exclude: GlobSet,
    /// Names of sessions that take only tasks that name them.
    pub protect: GlobSet,
    /// Sessions that are started where tasks wait for them.
    pub pools: PoolSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            host: String::new(),
            program: PathBuf::from("assigner"),
            output_limit: 16 << 20,
            explain: 10,
            start_within: Duration::from_secs(10),
            attended_for: Duration::from_secs(3),
            prerequisite_within: Duration::from_secs(600),
            ask_variables: true,
            shell_integration: true,
            notify: None,
            bell: false,
            exclude: GlobSet::empty(),
            protect: GlobSet::empty(),
            pools: PoolSettings::default(),
        }
    }
}

/// Why a round could not be finished. The next one starts afresh.
#[derive(Debug, Error)]
pub enum RoundError {
    /// tmux did not do as asked.
    #[error("failed to read the sessions: {0}")]
    Tmux(crate::tmux::Error),
    /// The store did not.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The policy's thread ended.
    #[error("the policy's thread has ended")]
    Policy,
}

/// When the next round is due, if nothing happens before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlook {
    /// After how long.
    pub again_in: Duration,
}

/// Polling is the floor, not the way: everything that can wakes the engine earlier.
const POLL: Duration = Duration::from_millis(250);

/// Without a server each look is a process that tmux starts and that fails.
const WITHOUT_SERVER: Duration = Duration::from_secs(1);

/// How long a stop waits for acts that were begun.
const SETTLE_WITHIN: Duration = Duration::from_secs(2);

/// A session that was not as the scan saw it is skipped for a moment.
const HOLD: Duration = Duration::from_millis(500);

/// The engine.
pub struct Engine<T: Tmux + 'static> {
    tmux: Shared<T>,
    world: Rc<Local<T>>,
    driver: Driver<Local<T>>,
    ledger: Ledger,
    policy: Arc<Mutex<PolicyHost>>,
    spool: Spool,
    shells: Shells,
    secrets: Secrets,
    settings: Settings,
    tracker: Tracker,
    orders: orders::Orders,
    contexts: Watch<scan::Context>,
    directories: Watch<Option<String>>,
    /// How often sessions did not take a prompt.
    refusals: HashMap<TaskId, Refusals>,
    pools: pools::Pools,
    agents: agents::Agents,
    catalog: Catalog,
    reports: Reports,
    matcher: Matcher,
    server_runs: bool,
    /// The last round ended half-way: what is in flight is read from the store again.
    out_of_step: bool,
}

impl<T: Tmux + 'static> Engine<T> {
    /// Returns an engine whose first round takes up what the last one left. It runs its attempts as
    /// local tasks, and so must be started and used within a `LocalSet`.
    ///
    /// # Errors
    /// The store refused.
    pub async fn start(
        tmux: T,
        ledger: Ledger,
        policy: PolicyHost,
        spool: Spool,
        secrets: Secrets,
        agents: (Catalog, Reports),
        settings: Settings,
    ) -> Result<Self, StoreError> {
        let (catalog, reports) = agents;
        let now = Timestamp::now();
        let (known, in_use) = ledger
            .run(move |store| {
                store.retire_unseen(now)?;
                let why = "the daemon ended while it was given: look whether it was";
                store.drop_replies(None, why, now)?;
                Ok((store.sessions()?, store.secrets_in_use()?))
            })
            .await?;
        secrets.sweep(&in_use);
        spool.forget_questions();
        let shells = Shells::open().unwrap_or_else(|error| {
            tracing::warn!("shells cannot tell of their lines: {error}");
            Shells::default()
        });
        shells.sweep(crate::probe::is_alive);
        // Reports of panes of servers that have ended are of no account.
        reports.sweep(|report| crate::probe::is_alive(report.server_pid));
        let tmux = Shared::new(tmux);
        let world = Rc::new(Local::new(
            tmux.clone(),
            spool.clone(),
            shells.clone(),
            secrets.clone(),
            Setup {
                integrate: settings.shell_integration,
                program: settings.program.clone(),
                output_limit: settings.output_limit,
                prerequisite_within: settings.prerequisite_within,
                notify: settings.notify.clone(),
                bell: settings.bell,
            },
        ));
        Ok(Self {
            tmux,
            driver: Driver::new(Rc::clone(&world), ledger.clone()),
            matcher: Matcher::new(
                ledger.clone(),
                matcher::Settings {
                    host: settings.host.clone(),
                    explain: settings.explain,
                    ask_variables: settings.ask_variables,
                },
            ),
            world,
            ledger,
            policy: Arc::new(Mutex::new(policy)),
            spool,
            shells,
            secrets,
            settings,
            tracker: Tracker::new(known),
            orders: orders::Orders::default(),
            contexts: scan::contexts(),
            directories: matching::directories(),
            refusals: HashMap::new(),
            pools: pools::Pools::default(),
            agents: agents::Agents::default(),
            catalog,
            reports,
            server_runs: false,
            out_of_step: true,
        })
    }

    /// Recognises agents by other profiles from now on. What an attempt is at keeps its own.
    pub fn use_catalog(&mut self, catalog: Catalog) {
        self.catalog = catalog;
        self.agents.recognise_anew();
    }

    /// Runs one round. `now` is the time that everything in it is judged by.
    ///
    /// # Errors
    /// tmux or the store failed; what was committed stands, and the next round goes on from it.
    pub async fn round(&mut self, now: Timestamp) -> Result<Outlook, RoundError> {
        // What woke us may be about an attempt: it looks at its own files beside the round.
        self.driver.wake();
        self.hear_attempts();
        if self.out_of_step {
            self.take_up(now).await?;
        }
        self.out_of_step = true;
        self.hear_orders(now).await?;
        let began = self.world.now().tick;
        let snapshot = self.scan(now).await?;
        self.clean_up(&snapshot, now).await?;
        self.tell_attempts(&snapshot, began).await?;
        self.match_tasks(&snapshot, now).await?;
        self.keep_pools(&snapshot, now).await?;
        self.out_of_step = false;
        Ok(self.outlook())
    }

    /// Lets attempts finish the acts that they are in the middle of, before the engine is dropped.
    pub async fn settle(&self) {
        self.driver.settle(SETTLE_WITHIN).await;
    }

    /// Completes when something may have changed: tmux says so, or an attempt has ended.
    pub async fn changed(&mut self) {
        tokio::select! {
            () = self.tmux.changed() => {}
            () = self.driver.news() => {}
        }
    }

    /// Makes another policy the live one, from the next round on. What waits is decided on anew.
    pub fn replace_policy(&mut self, policy: Policy) {
        lock(&self.policy).replace(policy);
        self.matcher.touch();
    }

    /// Rounds that were recorded, and bytes that all of them take.
    pub fn recorded(&self) -> Option<(u64, u64)> {
        lock(&self.policy).recorded()
    }

    /// How the policy beside the live one does.
    pub fn shadow(&self) -> Option<Tally> {
        lock(&self.policy).shadow()
    }

    /// Returns how the policy does.
    pub fn policy_health(&self) -> Health {
        lock(&self.policy).health()
    }

    /// Whether the last round found a tmux server with sessions.
    pub fn server_runs(&self) -> bool {
        self.server_runs
    }

    /// Whether nothing is in flight.
    pub fn is_idle(&self) -> bool {
        self.driver.flying().is_empty()
    }

    fn outlook(&self) -> Outlook {
        if !self.server_runs && self.is_idle() {
            return Outlook {
                again_in: WITHOUT_SERVER,
            };
        }
        let settling = self.tracker.settling();
        let rested = self.matcher.due_in(self.world.now());
        let again_in = [self.driver.due_in(), settling, rested, Some(POLL)]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(POLL);
        Outlook { again_in }
    }
}

/// A panic in a policy call must not take the engine with it: the data is replaced as a whole.
fn lock<V>(mutex: &Mutex<V>) -> std::sync::MutexGuard<'_, V> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
