//! The engine: runs one round after another, each a pass in one direction.
//!
//! ```text
//! scan -> match and claim -> attempts, which run alongside the rounds
//! ```
//!
//! Each stage has a file of its own and takes what the previous one returned. Between rounds, the
//! engine remembers what it last saw of each session; everything that must survive it is in the
//! store before it is acted on. What happens to a claimed task is up to its attempt: see
//! [`crate::node`].

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

/// What the engine is told once, when it starts.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name of this machine, as policies see it.
    pub host: String,
    /// The program that reads a pane's output: this one, called with `capture`.
    pub program: PathBuf,
    /// How many of the last bytes of a task's output are kept.
    pub output_limit: u64,
    /// How many rankings of a decision are kept to explain it.
    pub explain: u32,
    /// How long a shell may take to take up a job that was typed, before the job is withdrawn.
    pub start_within: Duration,
    /// How long a session is left alone after a key was pressed in it.
    pub attended_for: Duration,
    /// How long a prerequisite may take if its task does not say.
    pub prerequisite_within: Duration,
    /// Whether a shell may be asked for variables that a task names.
    pub ask_variables: bool,
    /// Whether a shell loads the integration with its first job.
    pub shell_integration: bool,
    /// The command that `sh -c` runs when an agent begins to wait for a person.
    pub notify: Option<String>,
    /// Whether the terminals that show tmux ring their bell then.
    pub bell: bool,
    /// Names of sessions that take no tasks.
    pub exclude: GlobSet,
    /// Names of sessions that take only tasks that are addressed to them.
    pub protect: GlobSet,
    /// Sessions that are started when tasks wait for them.
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

/// Why a round could not be finished. The next round starts afresh.
#[derive(Debug, Error)]
pub enum RoundError {
    /// tmux failed.
    #[error("failed to read the sessions: {0}")]
    Tmux(crate::tmux::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The policy's thread ended.
    #[error("the policy's thread has ended")]
    Policy,
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

/// How long a stop waits for acts that have begun.
const SETTLE_WITHIN: Duration = Duration::from_secs(2);

/// How long a session is skipped that was not as the scan saw it.
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
    contexts: Watch<scan::Location>,
    directories: Watch<Option<String>>,
    /// How often sessions refused a prompt.
    refusals: HashMap<TaskId, Refusals>,
    pools: pools::Pools,
    agents: agents::Agents,
    catalog: Catalog,
    reports: Reports,
    matcher: Matcher,
    server_runs: bool,
    /// The last round did not finish, so what is in flight is read from the store again.
    out_of_step: bool,
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
        let (catalog, reports) = agents;
        let now = Timestamp::now();
        let (known, in_use) = ledger
            .run(move |store| {
                store.retire_unseen(now)?;
                let why = "the daemon ended while the answer was being delivered: check whether it arrived";
                store.drop_replies(None, why, now)?;
                Ok((store.sessions()?, store.secrets_in_use()?))
            })
            .await?;
        secrets.sweep(&in_use);
        spool.forget_questions();
        let shells = Shells::open().unwrap_or_else(|error| {
            tracing::warn!("shells cannot report on their lines: {error}");
            Shells::default()
        });
        shells.sweep(crate::probe::is_alive);
        // Reports from panes of servers that have ended do not matter.
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
        world.use_catalog(catalog.clone());
        Ok(Self {
            tmux,
            driver: Driver::new(Rc::clone(&world), ledger.clone()),
            matcher: Matcher::new(
                ledger.clone(),
                matcher::MatcherSettings {
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

    /// Recognizes agents by these profiles from now on. Attempts that are running keep their own.
    pub fn use_catalog(&mut self, catalog: Catalog) {
        self.world.use_catalog(catalog.clone());
        self.catalog = catalog;
        self.agents.recognise_anew();
    }

    /// Runs one round. Everything in it is judged by the time `now`.
    ///
    /// # Errors
    /// tmux or the store failed. What was committed remains, and the next round continues from it.
    pub async fn round(&mut self, now: Timestamp) -> Result<Outlook, RoundError> {
        // What woke us may concern an attempt, which looks at its own files alongside the round.
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

    /// Lets attempts finish the acts that they are performing, before the engine is dropped.
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

    /// Makes another policy the live one from the next round on. Waiting tasks are decided again.
    pub fn replace_policy(&mut self, policy: Policy) {
        lock(&self.policy).replace(policy);
        self.matcher.touch();
    }

    /// Returns how many rounds were recorded, and how many bytes they take in total.
    pub fn recorded(&self) -> Option<(u64, u64)> {
        lock(&self.policy).recorded()
    }

    /// Returns how the shadow policy is doing.
    pub fn shadow(&self) -> Option<Tally> {
        lock(&self.policy).shadow()
    }

    /// Returns how the live policy is doing.
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

/// A panic in a policy call must not take the engine with it. The data is only ever replaced as a
/// whole, so it is still valid.
fn lock<V>(mutex: &Mutex<V>) -> std::sync::MutexGuard<'_, V> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
