//! One call: a fresh store and instance, `configure`, then one `assign` with everything.
//!
//! A call runs on a thread of its own, so that neither a policy that never ends nor a fault in the
//! runtime can block or break the engine. The caller is the watchdog: when the time is up, it moves
//! the epoch, which stops a policy that computes; a policy that sleeps in the host is stopped by
//! the thread's own timer.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime::{Engine, Store, UpdateDeadline};
use wasmtime_wasi::clocks::{HostMonotonicClock, HostWallClock};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::random::Deterministic;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::model::matching::{Attribute, Candidate, Decision, Question, Ranking, Resource, Term};
use crate::model::task::Kind;

use super::check;
use super::limits::{Expired, Failure, Limits, Meter};

use bindings::assigner::policy::{logging, types};
pub(super) use bindings::exports::assigner::policy::matching::Description;
pub(super) use bindings::{Policy as Instance, PolicyPre};

mod bindings {
    wasmtime::component::bindgen!({
        path: "assets/wit",
        world: "policy",
        exports: { default: async },
    });
}

/// The longest time that a setting can give a call.
const LONGEST_CALL: Duration = Duration::from_secs(3600);
/// How long a thread may take to notice that its time is up, before it is abandoned.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is reminded meanwhile, because it may not have been listening yet.
const REMINDER: Duration = Duration::from_millis(10);

/// Bytes of standard output and error that are kept; after that, the stream is closed for the
/// policy.
const CAPTURED: usize = 64 << 10;
/// How much of a line of the log is kept, in characters.
const LONGEST_LINE: usize = 500;
/// How many handles a policy may hold in the host.
const MOST_HANDLES: usize = 1_000;
/// How many random bytes a policy may ask for at once.
const MOST_RANDOM: u64 = 64 << 10;

/// A compiled policy with its settings.
pub(super) struct CompiledPolicy {
    engine: Engine,
    pre: PolicyPre<InstanceState>,
    /// The settings, a JSON object.
    settings: String,
    limits: Limits,
    usage: Mutex<Usage>,
}

/// What a policy has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// The most memory that an instance has had, in bytes.
    pub memory: usize,
    /// The number of lines for the log that were dropped.
    pub dropped_lines: usize,
}

impl CompiledPolicy {
    pub(super) fn new(
        engine: Engine,
        pre: PolicyPre<InstanceState>,
        settings: &Value,
        limits: &Limits,
    ) -> Self {
        let settings = match settings {
            Value::Null => "{}".to_owned(),
            settings => settings.to_string(),
        };
        Self {
            engine,
            pre,
            settings,
            limits: limits.clone(),
            usage: Mutex::default(),
        }
    }

    /// Returns the same program with other settings.
    pub(super) fn with_settings(&self, settings: &Value) -> Self {
        Self::new(
            self.engine.clone(),
            self.pre.clone(),
            settings,
            &self.limits,
        )
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn usage(&self) -> Usage {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the policy for its name, its settings and so on.
    pub(super) fn describe(self: &Arc<Self>) -> Result<Description, Failure> {
        self.run(0, self.limits.load_time, async |_, store, instance| {
            let policy = instance.assigner_policy_matching();
            Ok(Ok(policy.call_describe(store).await?))
        })
    }

    /// Asks for decisions; the result is not checked yet.
    pub(super) fn decide(self: &Arc<Self>, question: &Question) -> Result<Vec<Decision>, Failure> {
        self.decide_within(self.limits.time, question)
    }

    /// Like [`Self::decide`], with the time limit for loading.
    pub(super) fn decide_leisurely(
        self: &Arc<Self>,
        question: &Question,
    ) -> Result<Vec<Decision>, Failure> {
        self.decide_within(self.limits.load_time, question)
    }

    fn decide_within(
        self: &Arc<Self>,
        time: Duration,
        question: &Question,
    ) -> Result<Vec<Decision>, Failure> {
        let round = types::Round {
            now: question.now,
            explain: question.explain,
            facts: attributes(&question.facts),
        };
        let tasks: Vec<types::Task> = question.tasks.iter().map(task).collect();
        let sessions: Vec<types::Session> = question.sessions.iter().map(session).collect();
        let decisions = self.run(question.now, time, async move |program, store, instance| {
            let policy = instance.assigner_policy_matching();
            if let Err(message) = policy
                .call_configure(&mut *store, &program.settings)
                .await?
            {
                return Ok(Err(message));
            }
            let decisions = policy.call_assign(store, &round, &tasks, &sessions).await?;
            Ok(Ok(decisions))
        })?;
        Ok(decisions.into_iter().map(decision).collect())
    }

    /// Runs a job with a fresh instance on a thread of its own. The job's inner error is the
    /// policy's objection to its settings.
    fn run<T: Send + 'static>(
        self: &Arc<Self>,
        now: u64,
        time: Duration,
        job: impl AsyncFnOnce(
            &Self,
            &mut Store<InstanceState>,
            Instance,
        ) -> wasmtime::Result<Result<T, String>>
        + Send
        + 'static,
    ) -> Result<T, Failure> {
        let time = time.min(LONGEST_CALL);
        let (sender, receiver) = mpsc::sync_channel(1);
        let program = Arc::clone(self);
        let deadline = Instant::now() + time;
        thread::Builder::new()
            .name("policy".to_owned())
            .spawn(move || {
                // If the caller's patience has run out, nobody receives this.
                let _ = sender.send(program.run_here(now, time, deadline, job));
            })
            .map_err(|error| host(&error))?;

        let mut wait = time;
        while deadline.elapsed() < PATIENCE {
            match receiver.recv_timeout(wait) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Disconnected) => return Err(host(&"its thread broke down")),
                Err(RecvTimeoutError::Timeout) => self.engine.increment_epoch(),
            }
            wait = REMINDER;
        }
        Err(Failure::Stuck { limit: time })
    }

    fn run_here<T>(
        &self,
        now: u64,
        limit: Duration,
        deadline: Instant,
        job: impl AsyncFnOnce(
            &Self,
            &mut Store<InstanceState>,
            Instance,
        ) -> wasmtime::Result<Result<T, String>>,
    ) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| host(&error))?;
        let mut store = self.store(now, limit, deadline);
        let work = async {
            let instance = self.pre.instantiate_async(&mut store).await?;
            job(self, &mut store, instance).await
        };
        let result = runtime.block_on(async {
            tokio::time::timeout_at(deadline.into(), work)
                .await
                .unwrap_or_else(|_| Err(wasmtime::Error::new(Expired(limit))))
        });
        let mut state = store.into_data();
        let said_last = state.close();
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        usage.memory = usage.memory.max(state.meter.memory());
        usage.dropped_lines += state.log.dropped;
        drop(usage);
        match result {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(message)) => Err(Failure::Refused {
                message: check::line(&message, LONGEST_LINE),
            }),
            Err(error) => Err(Failure::from_wasm(&error, said_last)),
        }
    }

    fn store(&self, now: u64, limit: Duration, deadline: Instant) -> Store<InstanceState> {
        let mut store = Store::new(&self.engine, InstanceState::new(now, &self.limits));
        store.limiter(|state| &mut state.meter);
        store.set_hostcall_fuel(self.limits.answer);
        store.set_epoch_deadline(1);
        // Another call of the same policy may have moved the epoch, so the clock decides.
        store.epoch_deadline_callback(move |_| {
            if Instant::now() >= deadline {
                Err(wasmtime::Error::new(Expired(limit)))
            } else {
                Ok(UpdateDeadline::Continue(1))
            }
        });
        store
    }
}

fn host(reason: &dyn ToString) -> Failure {
    Failure::Host {
        reason: check::line(&reason.to_string(), LONGEST_LINE),
    }
}

/// Gives a policy the log, and an empty WASI.
pub(super) fn link(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    Instance::add_to_linker::<_, HasSelf<InstanceState>>(linker, |state| state)
}

/// What the host keeps for one instance.
pub(super) struct InstanceState {
    wasi: WasiCtx,
    handles: ResourceTable,
    meter: Meter,
    output: MemoryOutputPipe,
    log: Log,
}

impl InstanceState {
    fn new(now: u64, limits: &Limits) -> Self {
        // Rounds can be replayed only if clocks and random numbers are always the same.
        const RANDOM: [u8; 16] = *b"assigner 4 ever!";

        let output = MemoryOutputPipe::new(CAPTURED);
        let wasi = WasiCtx::builder()
            .stdout(output.clone())
            .stderr(output.clone())
            .wall_clock(Stopped(now))
            .monotonic_clock(Stopped(now))
            .secure_random(Deterministic::new(RANDOM.to_vec()))
            .insecure_random(Deterministic::new(RANDOM.to_vec()))
            .insecure_random_seed(u128::from_le_bytes(RANDOM))
            .max_random_size(MOST_RANDOM)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .build();
        let mut handles = ResourceTable::new();
        handles.set_max_capacity(MOST_HANDLES);
        Self {
            wasi,
            handles,
            meter: Meter::new(limits.memory),
            output,
            log: Log::new(limits.log_lines),
        }
    }

    /// Logs what was written to standard output and error, and returns the policy's last words.
    fn close(&mut self) -> Option<String> {
        let output = self.output.contents();
        let output = String::from_utf8_lossy(&output);
        let mut last = None;
        for line in output.lines().filter(|line| !line.trim().is_empty()) {
            self.log.write(logging::Level::Debug, line);
            if !is_noise(line) {
                last = Some(check::line(line, LONGEST_LINE));
            }
        }
        self.log.close();
        // If the policy logged an error, that is meant for people.
        self.log.last_words.take().or(last)
    }
}

impl WasiView for InstanceState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.handles,
        }
    }
}

impl types::Host for InstanceState {}

impl logging::Host for InstanceState {
    fn log(&mut self, level: logging::Level, message: String) {
        if level == logging::Level::Error {
            self.log.last_words = Some(check::line(&message, LONGEST_LINE));
        }
        self.log.write(level, &message);
    }
}

/// True for lines that language runtimes print around the message that matters.
fn is_noise(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("note: run with `RUST_BACKTRACE")
        || line.starts_with("Python function threw an unexpected exception")
        || (line.starts_with("thread '") && line.contains(" panicked at "))
}

/// The lines that one instance may still write.
struct Log {
    left: usize,
    dropped: usize,
    /// The last line at the level `error`.
    last_words: Option<String>,
}

impl Log {
    fn new(lines: usize) -> Self {
        Self {
            left: lines,
            dropped: 0,
            last_words: None,
        }
    }

    fn write(&mut self, level: logging::Level, message: &str) {
        let Some(left) = self.left.checked_sub(1) else {
            self.dropped += 1;
            return;
        };
        self.left = left;
        let message = check::line(message, LONGEST_LINE);
        match level {
            logging::Level::Debug => tracing::debug!(target: "policy", "{message}"),
            logging::Level::Info => tracing::info!(target: "policy", "{message}"),
            logging::Level::Warn => tracing::warn!(target: "policy", "{message}"),
            logging::Level::Error => tracing::error!(target: "policy", "{message}"),
        }
    }

    fn close(&self) {
        if self.dropped > 0 {
            tracing::warn!(target: "policy", "{} more lines were dropped", self.dropped);
        }
    }
}

/// A clock that stands still, at seconds since 1970-01-01 UTC.
struct Stopped(u64);

impl HostWallClock for Stopped {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl HostMonotonicClock for Stopped {
    fn resolution(&self) -> u64 {
        1_000_000_000
    }

    fn now(&self) -> u64 {
        self.0.saturating_mul(1_000_000_000)
    }
}

fn task(task: &Candidate) -> types::Task {
    types::Task {
        id: u64::try_from(task.id).unwrap_or(0),
        kind: match task.kind {
            Kind::Prompt => types::Kind::Prompt,
            Kind::Command => types::Kind::Command,
        },
        summary: task.summary.clone(),
        priority: task.priority,
        waiting: task.waiting,
        attempt: task.attempt,
        match_context: task.match_context,
        context: types::Context {
            working_dir: task.working_dir.clone(),
            git_branch: task.git_branch.clone(),
            env: attributes(&task.env),
        },
        providers: task.providers.clone(),
        eligible: task.eligible.as_deref().map(positions),
        follows: task.follows.map(position),
        avoid: positions(&task.avoid),
        labels: attributes(&task.labels),
    }
}

fn session(session: &Resource) -> types::Session {
    types::Session {
        name: session.name.clone(),
        host: session.host.clone(),
        provider: session.provider.clone(),
        current_dir: session.current_dir.clone(),
        git_branch: session.git_branch.clone(),
        env: attributes(&session.env),
        ready: session.ready,
        since: session.since,
        completed: session.completed,
        failed: session.failed,
        labels: attributes(&session.labels),
    }
}

fn attributes(attributes: &[Attribute]) -> Vec<types::Attribute> {
    let convert = |attribute: &Attribute| types::Attribute {
        name: attribute.name.clone(),
        value: attribute.value.clone(),
    };
    attributes.iter().map(convert).collect()
}

fn positions(positions: &[usize]) -> Vec<u32> {
    positions.iter().map(|&at| position(at)).collect()
}

/// No list has so many sessions that this would ever return another position.
fn position(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

fn decision(decision: types::Decision) -> Decision {
    match decision {
        types::Decision::Assign(choice) => Decision::Assign {
            take: ranking(choice.take),
            others: choice.others.into_iter().map(ranking).collect(),
        },
        types::Decision::Wait(wait) => Decision::Wait {
            reason: wait.reason,
            others: wait.others.into_iter().map(ranking).collect(),
        },
    }
}

fn ranking(ranking: types::Ranking) -> Ranking {
    let convert = |term: types::Term| Term {
        name: term.name,
        points: term.points,
    };
    Ranking {
        session: ranking.session as usize,
        points: ranking.points,
        terms: ranking.terms.into_iter().map(convert).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exceeds_the_lines_of_a_round_is_dropped_and_counted() {
        let mut log = Log::new(2);
        for _ in 0..5 {
            log.write(logging::Level::Debug, "line");
        }
        assert_eq!((log.left, log.dropped), (0, 3));
    }

    #[test]
    fn the_last_error_or_line_of_output_are_the_last_words() {
        let mut state = InstanceState::new(0, &Limits::default());
        logging::Host::log(&mut state, logging::Level::Error, "bad\u{7}".to_owned());
        logging::Host::log(&mut state, logging::Level::Info, "fine".to_owned());
        assert_eq!(state.close().as_deref(), Some("bad\\u{7}"));
        assert_eq!(state.close(), None);
    }

    #[test]
    fn what_runtimes_write_around_an_exception_is_not_the_last_word() {
        use wasmtime_wasi::p2::OutputStream as _;

        let told = "thread '<unnamed>' (1) panicked at crates/runtime.rs:51:31:\n\
                    Failed to call 'assign': boom\n\
                    note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n";
        let mut state = InstanceState::new(0, &Limits::default());
        let mut output = state.output.clone();
        output.write(told.as_bytes().into()).expect("there is room");
        assert_eq!(
            state.close().as_deref(),
            Some("Failed to call 'assign': boom")
        );

        let mut state = InstanceState::new(0, &Limits::default());
        let mut output = state.output.clone();
        output.write(told.as_bytes().into()).expect("there is room");
        logging::Host::log(&mut state, logging::Level::Error, "KeyError".to_owned());
        assert_eq!(state.close().as_deref(), Some("KeyError"));
    }
}
