//! The daemon: one per data directory, one round after another, woken by events.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use notify::Watcher;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc};

use crate::agents::nonce::NonceKey;
use crate::agents::report::Reports;
use crate::config::Config;
use crate::files::private;
use crate::model::task::Status;
use crate::node::changes;
use crate::node::spool::{QUESTION, Spool};
use crate::policy::{Loader, Policy};
use crate::store::{DaemonFacts, Ledger, Recording, Secrets, Store, StoreError};
use crate::tmux::{self, Server, Socket};
pub use configuration::CommandLine;
use configuration::{Configuration, engine_settings};
use engine::Engine;
use notifier::Notifier;
use policies::{Policies, policy_host, shadow_facts, write_down};
pub use policies::{PolicyChoice, rounds_directory, shadow_directory};

mod configuration;
pub mod engine;
mod followed;
mod matching;
mod notifier;
mod policies;
mod profiles;
#[cfg(test)]
mod recovery_tests;

/// The version of this program, with the commit that it was built from if that is known.
pub const VERSION: &str = env!("ASSIGNER_VERSION");

/// The daemon that holds a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Since when.
    pub since: Timestamp,
}

/// The right to be the daemon of a data directory. It is released when this is dropped, or by the
/// system however the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why the lock cannot be taken.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another daemon has it.
    #[error("a daemon is already running for `{path}`: pid {pid}; stop it with `assigner stop`", path = path.display())]
    Held {
        /// The data directory.
        path: PathBuf,
        /// The process id of the other daemon.
        pid: u32,
    },
    /// The lock file cannot be used.
    #[error("cannot use the lock `{path}`: {source}", path = path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// How long a starting daemon keeps trying: anyone who looks at the lock holds it for an instant.
const LOCK_WITHIN: Duration = Duration::from_secs(1);

impl Lock {
    /// Takes the lock of a data directory.
    ///
    /// # Errors
    /// Another daemon has it, or the file cannot be written.
    pub fn take(data: &Path) -> Result<Self, LockError> {
        let path = data.join("daemon.lock");
        let failed = |source| LockError::File {
            path: path.clone(),
            source,
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = private::open(&mut options, &path).map_err(failed)?;
        let deadline = Instant::now() + LOCK_WITHIN;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(failed(error)),
                Err(TryLockError::WouldBlock) => {}
            }
            if let Some(holder) = Self::holder(data)
                && Instant::now() >= deadline
            {
                return Err(LockError::Held {
                    path: data.to_owned(),
                    pid: holder.pid,
                });
            }
            thread::sleep(Duration::from_millis(20));
        }
        let holder = Holder {
            pid: std::process::id(),
            since: Timestamp::now(),
        };
        let text = serde_json::to_vec(&holder).map_err(|error| failed(error.into()))?;
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        file.write_all(&text).map_err(failed)?;
        Ok(Self { _file: file })
    }

    /// Returns the daemon that holds a data directory. `None` if no daemon is running.
    pub fn holder(data: &Path) -> Option<Holder> {
        let mut file = File::open(data.join("daemon.lock")).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => {}
            Ok(()) | Err(TryLockError::Error(_)) => return None,
        }
        let mut text = String::new();
        Read::by_ref(&mut file)
            .take(4096)
            .read_to_string(&mut text)
            .ok()?;
        // Held but not written yet: a daemon is starting.
        Some(serde_json::from_str(&text).unwrap_or(Holder {
            pid: 0,
            since: Timestamp::UNIX_EPOCH,
        }))
    }
}

/// Why a daemon could not run.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// Another daemon is running.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The queue cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// tmux is missing or too old.
    #[error("failed to {0}")]
    Tmux(#[from] tmux::Error),
    /// There is no directory for jobs.
    #[error("cannot use the spool directory: {0}")]
    Spool(io::Error),
    /// There is no directory for recorded rounds.
    #[error("cannot use the directory of recorded rounds `{path}`: {source}", path = path.display())]
    Archive {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The system refused something else.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// How a daemon is to run.
pub struct Options {
    /// The configuration that it begins with.
    pub config: Config,
    /// What its command line says beside it.
    pub command_line: CommandLine,
    /// Which policy decides, and why.
    pub choice: PolicyChoice,
    /// The policy that decides.
    pub policy: Policy,
    /// The policy that is used if that one fails.
    pub fallback: Policy,
    /// Loads other policies.
    pub loader: Loader,
    /// A policy that decides beside the live one, without any effect.
    pub shadow: Option<Policy>,
    /// Whether to end when nothing is pending or in flight.
    pub once: bool,
}

/// How a daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop.
    Stopped,
    /// With `once`: everything is done.
    Finished {
        /// How many tasks failed or became uncertain.
        failed: u64,
    },
}

/// Runs the daemon until it is told to stop or, with `once`, until everything is done.
///
/// # Errors
/// It could not start. Later errors are logged, and the operation is tried again.
pub async fn run(options: Options) -> Result<Ended, DaemonError> {
    // Attempts run beside the rounds, on this thread.
    tokio::task::LocalSet::new()
        .run_until(watch_over(options))
        .await
}

async fn watch_over(options: Options) -> Result<Ended, DaemonError> {
    let config = &options.config;
    let (data_dir, socket) = (&config.data_dir, &config.socket);
    let program = tmux::Program::new("tmux", socket.clone());
    tmux::version(program.path()).await?;
    let store = Store::open(data_dir)?;
    // Anyone who sees the lock may send a signal.
    let mut stop = Stop::new()?;
    let _lock = Lock::take(data_dir)?;
    let mut files = store.files();
    let ledger = Ledger::start(store)?;
    let spool = Spool::open(data_dir).map_err(DaemonError::Spool)?;
    let nonces = NonceKey::of(data_dir)?;
    let line = &options.command_line;
    let wake = Arc::new(Notify::new());
    let jobs = Arc::new(Notify::new());
    let _watcher = watch(spool.directory(), [Arc::clone(&wake), Arc::clone(&jobs)]);
    let started_at = Timestamp::now();
    let failed_before = failed(&ledger).await?;
    let server = Server::new(program);
    let policy = policy_host(&options)?;
    let secrets = Secrets::of(data_dir);
    let ((catalog, problems), profiles) =
        profiles::follow(config.profiles_dir.clone(), Arc::clone(&wake));
    for problem in problems {
        tracing::warn!("{problem}; it is ignored");
    }
    let mut configuration = Configuration::follow(config.clone(), Arc::clone(&wake));
    let reports = Reports::of(data_dir);
    reports.open().map_err(DaemonError::Spool)?;
    let _reporter = watch(reports.directory(), [Arc::clone(&wake), Arc::clone(&wake)]);
    let mut engine = Engine::start(
        server,
        ledger.clone(),
        policy,
        spool,
        secrets,
        (catalog, reports),
        engine_settings(config, line, nonces),
    )
    .await?;
    let (tell, mut shells) = mpsc::unbounded_channel();
    let _prompts = engine
        .told_by_shells()
        .and_then(|directory| watch_shells(directory, tell));
    let mut policies = Policies::start(&options, &ledger, Arc::clone(&wake)).await?;
    tracing::info!(
        data = %data_dir.display(),
        tmux = %socket,
        policy = %options.choice.source.name(),
        "watching"
    );
    let notify = config.file.notify.clone();
    let mut notifier = Notifier::start(notify, &ledger, Arc::clone(&wake)).await?;
    let mut told = None;
    loop {
        if let Some(files) = &mut files
            && let Some(what) = files.displaced()
        {
            engine.settle().await;
            let path = files.path().to_owned();
            return Err(StoreError::Displaced { path, what }.into());
        }
        if let Err(error) = policies.take_up(&mut engine, &ledger).await {
            tracing::error!("{error}");
        }
        if let Some((catalog, problems)) = profiles.changed() {
            for problem in problems {
                tracing::warn!("{problem}; it is ignored");
            }
            tracing::info!("the profiles of agents have changed");
            engine.use_catalog(catalog);
        }
        configuration.take_up();
        if let Some(both) = configuration.to_follow() {
            let [_, config] = &both;
            engine.use_settings(engine_settings(config, line, nonces));
            let notify = config.file.notify.clone();
            let told = notifier::follow_configuration(&mut notifier, notify, &ledger, &wake).await;
            let decided = policies
                .follow_configuration(&both, line, &engine, &ledger)
                .await;
            match told.and(decided) {
                Ok(()) => configuration.is_followed(),
                // It is tried again in the next round.
                Err(error) => tracing::error!("{error}"),
            }
        }
        let facts = |engine: &Engine<Server>, policies: &Policies| {
            daemon_facts(engine, socket, policies, &configuration, started_at)
        };
        if !policies.unwritten.is_empty() {
            let facts = facts(&engine, &policies);
            // What could not be written is tried again in the next round.
            match write_down(&ledger, policies.unwritten.clone(), facts).await {
                Ok(()) => policies.written(),
                Err(error) => tracing::error!("{error}"),
            }
        }
        let mut wait = match engine.round(Timestamp::now()).await {
            Ok(outlook) => outlook.again_in,
            Err(error) => {
                tracing::error!("{error}");
                Duration::from_secs(1)
            }
        };
        let facts = facts(&engine, &policies);
        if told.as_ref() != Some(&facts) {
            if let Some(what) = &facts.waiting_for {
                tracing::info!("waiting for {what}");
            }
            told = Some(facts.clone());
            if let Err(error) = ledger.run(move |store| store.record_daemon(&facts)).await {
                tracing::error!("{error}");
            }
        }
        if let Some(notifier) = &mut notifier {
            if let Err(error) = notifier.follow(&engine, &ledger).await {
                tracing::error!("{error}");
            }
            wait = notifier.due_in().map_or(wait, |due| wait.min(due));
        }
        if options.once && engine.is_idle() && nothing_left(&ledger).await? {
            let failed = failed(&ledger).await?.saturating_sub(failed_before);
            engine.settle().await;
            if let Some(notifier) = &mut notifier {
                tokio::select! {
                    () = stop.wait() => {}
                    () = notifier.finish(&engine, &ledger) => {}
                }
            }
            return Ok(Ended::Finished { failed });
        }
        let mut due = tokio::time::Instant::now() + wait;
        loop {
            tokio::select! {
                () = stop.wait() => {
                    engine.settle().await;
                    tracing::info!("stopping; running tasks continue, and the next daemon resumes them");
                    return Ok(Ended::Stopped);
                }
                () = wake.notified() => break,
                () = engine.changed() => break,
                () = tokio::time::sleep_until(due) => break,
                // Only attempts have to know, and look at their files.
                () = jobs.notified() => engine.wake_attempts(),
                Some(shell) = shells.recv() => if engine.expects_idle(shell) {
                    due = due.min(tokio::time::Instant::now() + DRAWS);
                }
            }
        }
    }
}

fn daemon_facts(
    engine: &Engine<Server>,
    socket: &Socket,
    policies: &Policies,
    configuration: &Configuration,
    started_at: Timestamp,
) -> DaemonFacts {
    let health = engine.policy_health();
    let live = &policies.live;
    DaemonFacts {
        pid: std::process::id(),
        version: VERSION.to_owned(),
        started_at,
        tmux: socket.to_string(),
        waiting_for: (!engine.server_runs()).then(|| match engine.unreachable_server() {
            Some(pid) => format!(
                "the tmux server on {socket}: it lives, but its socket is gone; `kill -USR1 {pid}` makes a new one"
            ),
            None => format!("a tmux server on {socket}: start one with `tmux new-session`"),
        }),
        policy: health.policy,
        policy_source: live.order.source.clone(),
        policy_settings: live.order.settings.clone(),
        policy_load_ms: live.load_ms,
        policy_cached: live.cached,
        policy_failures: health.failures,
        policy_last_failure: health.last_failure,
        policy_in_use: health.fallen_back_to,
        recording: engine
            .recorded()
            .map(|(rounds, bytes)| Recording { rounds, bytes }),
        shadow: engine.shadow().map(shadow_facts),
        configuration: configuration.facts(),
    }
}

async fn failed(ledger: &Ledger) -> Result<u64, StoreError> {
    let counts = ledger.run(Store::counts).await?;
    let count = |status| counts.get(&status).copied().unwrap_or_default();
    Ok(count(Status::Failed) + count(Status::Uncertain))
}

async fn nothing_left(ledger: &Ledger) -> Result<bool, StoreError> {
    Ok(!ledger.run(Store::anything_left).await?)
}

/// How long a shell takes to draw its prompt after it has told of it.
const DRAWS: Duration = Duration::from_millis(2);

/// Tells the number of each process whose shell has reported on its line. Others look at them now and then.
fn watch_shells(
    directory: &Path,
    tell: mpsc::UnboundedSender<u32>,
) -> Option<notify::RecommendedWatcher> {
    let watcher = changes::watcher(move |path| {
        let name = path
            .and_then(Path::file_name)
            .and_then(|name| name.to_str());
        if let Some(shell) = name.and_then(|name| name.parse().ok()) {
            // Nobody hears of it once the daemon stops.
            let _ = tell.send(shell);
        }
    });
    let watched = watcher.and_then(|mut watcher| {
        watcher.watch(directory, notify::RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    watched
        .inspect_err(|error| tracing::debug!("shells are not heard at once: {error}"))
        .ok()
}

/// Notifies the first one when a task was queued, or something else has happened, and the second one when
/// a job has begun or ended.
fn watch(spool: &Path, [wake, jobs]: [Arc<Notify>; 2]) -> Option<notify::RecommendedWatcher> {
    let watcher = changes::watcher(move |path| match path.map(told_by) {
        // Anything unusual is also a reason to look.
        None | Some(Some(SpoolNews::Queue)) => wake.notify_one(),
        Some(Some(SpoolNews::Job)) => jobs.notify_one(),
        Some(None) => {}
    });
    let watched = watcher.and_then(|mut watcher| {
        watcher.watch(spool, notify::RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    watched
        .inspect_err(|error| {
            tracing::warn!("cannot watch the spool directory, so it is polled: {error}");
        })
        .ok()
}

/// What the appearance of a file tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SpoolNews {
    /// Something was queued or asked for, or a shell has answered a question.
    Queue,
    /// A job has begun, or ended.
    Job,
}

/// Returns what a file tells, if it tells anything.
fn told_by(path: &Path) -> Option<SpoolNews> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let of_job = [".claim", ".exit", ".done"];
    if name == "nudge" {
        return Some(SpoolNews::Queue);
    }
    let is_of_job = of_job.iter().any(|end| name.ends_with(end));
    is_of_job.then(|| match name.starts_with(QUESTION) {
        true => SpoolNews::Queue,
        false => SpoolNews::Job,
    })
}

/// The signals that stop a daemon.
pub(crate) struct Stop {
    signals: [Signal; 3],
}

impl Stop {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            signals: [
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
                signal(SignalKind::hangup())?,
            ],
        })
    }

    pub(crate) async fn wait(&mut self) {
        let [terminate, interrupt, hangup] = &mut self.signals;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
