//! The node: what one machine does for the queue. It watches the sessions of its machine, runs
//! attempts in them, starts and ends those of pools, and keeps the files through which jobs report.
//!
//! It never decides which task a session takes: the rows of its sessions say what they can take, and
//! a claim says what they were given.

pub(crate) mod attempt;
pub(crate) mod capture;
pub(crate) mod changes;
pub(crate) mod dialect;
mod flying;
#[cfg(any(test, fuzzing))]
#[path = "../../../tests/fuzz/targets/node.rs"]
pub(crate) mod fuzz;
mod orders;
mod pools;
pub(crate) mod post;
mod prerequisites;
pub(crate) mod script;
#[cfg(test)]
mod script_tests;
pub mod shell;
pub(crate) mod spool;
mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use globset::GlobSet;
use jiff::Timestamp;
use thiserror::Error;

pub use orders::{AimError, aim, said};
pub use pools::{Launch, Pool, PoolSettings, Stand};
pub use spool::Spool;
#[cfg(any(test, fuzzing))]
pub(crate) use watch::fuzz as watch_fuzz;
pub use watch::inspect;
pub(crate) use watch::scan::SeenSessions;
pub use watch::variables::variables;

use crate::agents::Catalog;
use crate::agents::nonce::NonceKey;
use crate::agents::report::Reports;
use crate::model::clock::Clock;
use crate::model::ids::{AttemptId, Identity, NodeName, TaskId};
use crate::model::session::Activity;
use crate::probe::look::Watch;
use crate::store::{Ledger, Secrets, SessionRow, Store, StoreError};
use crate::tmux::{PaneLock, Shared, Tmux};
use attempt::driver::Driver;
use attempt::hands::{Local, Setup};
use attempt::{Brief, Refusals};
use shell::Shells;
use watch::{agents, scan, tracker};

/// What the node is told when it starts, and when its configuration changes.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    /// Its name.
    pub node: NodeName,
    /// The program that reads a pane's output: this one, called with `capture`.
    pub program: PathBuf,
    /// How many of the last bytes of a task's output are kept.
    pub output_limit: u64,
    /// How long a shell may take to take up a job that was typed, before the job is withdrawn.
    pub start_within: Duration,
    /// How long a session is left alone after a key was pressed in it.
    pub attended_for: Duration,
    /// How long a prerequisite may take if its task does not say.
    pub prerequisite_within: Duration,
    /// What the signs of prompts follow from.
    pub nonces: NonceKey,
    /// Whether a shell loads the integration with its first job.
    pub shell_integration: bool,
    /// Names of sessions that take no tasks.
    pub exclude: GlobSet,
    /// Names of sessions that take only tasks that are addressed to them.
    pub protect: GlobSet,
    /// Sessions that are started when tasks wait for them.
    pub pools: PoolSettings,
}

impl Default for NodeSettings {
    fn default() -> Self {
        Self {
            node: NodeName::default(),
            program: PathBuf::from("assigner"),
            output_limit: 16 << 20,
            start_within: Duration::from_secs(10),
            attended_for: Duration::from_secs(3),
            prerequisite_within: Duration::from_secs(600),
            nonces: NonceKey::default(),
            shell_integration: true,
            exclude: GlobSet::empty(),
            protect: GlobSet::empty(),
            pools: PoolSettings::default(),
        }
    }
}

/// Why the sessions could not be watched. The next look starts afresh.
#[derive(Debug, Error)]
pub enum NodeError {
    /// tmux failed.
    #[error("failed to read the sessions: {0}")]
    Tmux(crate::tmux::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Returns what jobs are prepared by.
fn setup(settings: &NodeSettings) -> Setup {
    Setup {
        integrate: settings.shell_integration,
        program: settings.program.clone(),
        output_limit: settings.output_limit,
        prerequisite_within: settings.prerequisite_within,
    }
}

/// How long a stop waits for acts that have begun.
const SETTLE_WITHIN: Duration = Duration::from_secs(2);

/// How long a session is skipped that was not as the scan saw it.
const HOLD: Duration = Duration::from_millis(500);

/// The node, with what it remembers of its sessions from one look to the next. Whatever must survive
/// it is in the store before it is acted on.
pub(crate) struct Node<T: Tmux + 'static> {
    tmux: Shared<T>,
    world: Rc<Local<T>>,
    driver: Driver<Local<T>>,
    ledger: Ledger,
    spool: Spool,
    shells: Shells,
    secrets: Secrets,
    settings: NodeSettings,
    tracker: tracker::Tracker,
    orders: orders::Orders,
    contexts: Watch<scan::Location>,
    /// How often sessions refused a prompt.
    refusals: HashMap<TaskId, Refusals>,
    pools: pools::Pools,
    agents: agents::Agents,
    catalog: Catalog,
    reports: Reports,
    server_runs: bool,
    /// The process of the tmux server that was seen last, and when it began.
    last_server: Option<(u32, u64)>,
    /// The last round did not finish, so what is in flight is read from the store again.
    out_of_step: bool,
    /// Something has changed that a decision may depend on, and that the version of the database
    /// does not show.
    news: bool,
}

impl<T: Tmux + 'static> Node<T> {
    /// Returns a node whose first look resumes what the last one left. It runs its attempts as local
    /// tasks, so it must be started and used within a `LocalSet`.
    ///
    /// # Errors
    /// The store failed.
    pub(crate) async fn start(
        tmux: T,
        ledger: Ledger,
        spool: Spool,
        secrets: Secrets,
        agents: (Catalog, Reports),
        settings: NodeSettings,
    ) -> Result<Self, StoreError> {
        let (catalog, reports) = agents;
        let now = Timestamp::now();
        let node = settings.node.clone();
        let (known, in_use) = ledger
            .run(move |store| {
                store.retire_unseen(now)?;
                let why = "the daemon ended while the answer was being delivered: check whether it arrived";
                store.drop_replies(None, why, now)?;
                let mut known = store.sessions()?;
                known.retain(|row| row.identity.node == node);
                Ok((known, store.secrets_in_use()?))
            })
            .await?;
        secrets.sweep(&in_use);
        spool.forget_questions();
        spool.forget_readers();
        let shells = Shells::open().unwrap_or_else(|error| {
            tracing::warn!("shells cannot report on their lines: {error}");
            Shells::default()
        });
        shells.sweep(crate::probe::is_alive);
        if let Err(error) = PaneLock::sweep() {
            tracing::warn!("no pane can be written to: {error}");
        }
        // Reports from panes of servers that have ended do not matter.
        reports.sweep(|report| crate::probe::is_alive(report.server_pid));
        let tmux = Shared::new(tmux);
        let world = Rc::new(Local::new(
            tmux.clone(),
            spool.clone(),
            shells.clone(),
            secrets.clone(),
            setup(&settings),
        ));
        world.use_catalog(catalog.clone());
        Ok(Self {
            tmux,
            driver: Driver::new(Rc::clone(&world), ledger.clone()),
            world,
            ledger,
            spool,
            shells,
            secrets,
            settings,
            tracker: tracker::Tracker::new(known),
            orders: orders::Orders::default(),
            contexts: scan::contexts(),
            refusals: HashMap::new(),
            pools: pools::Pools::default(),
            agents: agents::Agents::default(),
            catalog,
            reports,
            server_runs: false,
            last_server: None,
            out_of_step: true,
            news: false,
        })
    }

    /// Looks at all sessions, writes what has changed into their rows, and tells the attempts what
    /// was seen.
    ///
    /// # Errors
    /// tmux or the store failed. What was committed remains.
    pub(crate) async fn look(&mut self, now: Timestamp) -> Result<SeenSessions, NodeError> {
        // What woke us may concern an attempt, which looks at its own files alongside the round.
        self.driver.wake();
        self.hear_attempts();
        if self.out_of_step {
            self.take_up(now).await?;
        }
        self.out_of_step = true;
        self.hear_orders(now).await?;
        let flying = self.driver.flying();
        let is_used = |identity: &Identity| flying.values().any(|it| it.identity == *identity);
        self.world.dismiss_readers(false, is_used).await;
        let began = self.world.now().tick;
        let snapshot = self.scan(now).await?;
        self.clean_up(&snapshot, now).await?;
        self.tell_attempts(&snapshot, began).await?;
        Ok(snapshot)
    }

    /// Notes that all of a round was done: nothing has to be read from the store again.
    pub(crate) fn is_in_step(&mut self) {
        self.out_of_step = false;
    }

    /// Notes that targets of tasks can be bound to sessions now.
    pub(crate) fn hear_of_unbound(&mut self) {
        self.orders.stale = true;
    }

    /// Starts the attempt of a task that was claimed just now.
    pub(crate) fn give(&mut self, brief: Brief) {
        // The row as the claim has written it; the next scan writes what differs.
        if let Some(row) = self.tracker.written.get_mut(&brief.session) {
            row.current_task = Some(brief.task.id);
            row.activity = Activity::Busy;
            row.reason = Some(format!("runs task {}", brief.task.id));
        }
        self.note_given(&brief.session, brief.attempt);
        tracing::info!(task = %brief.task.id, session = ?brief.session, "claimed");
        self.begin(brief);
    }

    /// Returns those of the variables `names` that a session exports, as far as is known.
    pub(crate) fn exports(
        &self,
        snapshot: &SeenSessions,
        session: &SessionRow,
        names: &BTreeSet<String>,
    ) -> BTreeMap<String, String> {
        let seen = snapshot.get(&session.identity);
        watch::variables::exported(session, seen.and_then(|seen| seen.live.as_deref()), names)
    }

    /// Whether what is known about a session's variables may be out of date, and its shell can be
    /// asked.
    pub(crate) fn is_stale(&self, snapshot: &SeenSessions, session: &SessionRow) -> bool {
        let seen = snapshot.get(&session.identity);
        seen.is_some_and(|seen| self.tracker.may_be_asked(seen) && !self.tracker.is_fresh(seen))
    }

    /// Recognizes agents by these profiles from now on. Attempts that are running keep their own.
    pub(crate) fn use_catalog(&mut self, catalog: Catalog) {
        self.world.use_catalog(catalog.clone());
        self.catalog = catalog;
        self.agents.recognise_anew();
    }

    /// Goes by these settings from now on. Attempts that are running keep theirs, as far as they were
    /// told before. The node's name, the program and the signs of prompts stay.
    pub(crate) fn use_settings(&mut self, mut settings: NodeSettings) {
        let pools = &mut self.pools;
        pools.forget_rests(&self.settings.pools, &settings.pools);
        let outlived = pools.outlived(&self.settings.pools, &settings.pools);
        settings.pools.pools.extend(outlived);
        self.settings = NodeSettings {
            node: self.settings.node.clone(),
            program: self.settings.program.clone(),
            nonces: self.settings.nonces,
            ..settings
        };
        self.world.use_setup(setup(&self.settings));
        self.news = true;
    }

    /// Whether something has changed since the last call that a decision may depend on, and that the
    /// version of the database does not show.
    pub(crate) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Returns the clocks that its attempts go by.
    pub(crate) fn clock(&self) -> Rc<impl Clock + use<T>> {
        Rc::clone(&self.world)
    }

    /// Lets attempts finish the acts that they are performing, before the node is dropped. What shells have
    /// told of their variables is of no use to another node, and does not stay.
    pub(crate) async fn settle(&self) {
        self.driver.settle(SETTLE_WITHIN).await;
        self.world.dismiss_readers(true, |_| false).await;
        self.spool.forget_questions();
        match self.ledger.run(Store::open_attempts).await {
            Ok(open) => {
                let needed: Vec<AttemptId> = open.iter().map(|attempt| attempt.id).collect();
                self.spool.sweep(&needed);
            }
            Err(error) => tracing::debug!("the spool is swept at the next start: {error}"),
        }
    }

    /// Has the attempts look at their files.
    pub(crate) fn wake_attempts(&self) {
        self.driver.wake();
    }

    /// Whether a shell that has told of its prompt is waited for.
    pub(crate) fn expects_idle(&self, pane_pid: u32) -> bool {
        self.tracker.expects_idle(pane_pid)
    }

    /// Where shells tell of their prompts, if they can.
    pub(crate) fn told_by_shells(&self) -> Option<&Path> {
        self.shells.directory()
    }

    /// Completes when an attempt has something to tell.
    pub(crate) async fn changed(&mut self) {
        self.driver.news().await;
    }

    /// Whether the last look found a tmux server with sessions.
    pub(crate) fn server_runs(&self) -> bool {
        self.server_runs
    }

    /// Returns the process of a tmux server that was seen and still lives, but cannot be reached: its
    /// socket has been removed, as what tidies up directories of temporary files does.
    pub(crate) fn unreachable_server(&self) -> Option<u32> {
        let (pid, began) = self.last_server.filter(|_| !self.server_runs)?;
        (crate::probe::began(pid) == Some(began)).then_some(pid)
    }

    /// Sends this to the terminals that show tmux, and waits for nothing.
    pub(crate) fn tell_terminals(&self, bytes: Vec<u8>) {
        let mut tmux = self.tmux.clone();
        tokio::task::spawn_local(async move {
            if let Err(error) = tmux.tell_terminals(&bytes).await {
                tracing::debug!("cannot tell the terminals: {error}");
            }
        });
    }

    /// Whether nothing is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        self.driver.flying().is_empty()
    }

    /// Returns after how long the next look is due, if nothing happens earlier.
    pub(crate) fn due_in(&self) -> Option<Duration> {
        let due = [self.driver.due_in(), self.tracker.settling()];
        due.into_iter().flatten().min()
    }
}
