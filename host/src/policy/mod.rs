//! The policy: the WebAssembly component that decides which session gets which task.
//!
//! This is the only place where wasmtime appears. From a name to a checked decision:
//!
//! ```text
//! source    a name or path           -> bytes, of a bounded size
//! loader    bytes                    -> a policy with the limits that suit it
//! load      bytes                    -> a compiled component of our world, or why not
//! cache     a compiled component     -> the same at the next start, without compiling
//! call      a question               -> a raw answer, from a fresh instance
//! limits    time, memory, stack, answer; what breaks them is a `Failure`
//! check     the raw answer           -> decisions that break no rule
//! failover  the live policy, the last that worked, the embedded default
//! ```
//!
//! A policy is given nothing but the question: no clock, no files, no network, no environment.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest, Sha256};
use wasmtime::Cache;

use crate::model::matching::{Decision, PolicyId, Question};

pub use archive::{Archive, Round};
pub use audit::{Audit, Finding, Severity, audit};
use call::CompiledPolicy;
pub use call::Usage;
pub use cases::{Cases, Problem, Tried};
pub use check::Violation;
pub use compare::{ComparisonReport, Difference, Fate, ReplayError, replay, shadowed};
pub use failover::{Decided, Health, PolicyHost};
pub use limits::{Failure, LimitProfile, Limits, Overrides};
pub use load::{Anatomy, LoadError, componentize};
pub use loader::Loader;
pub use reload::{Loaded, Order, PolicyNews, PolicyNewsAbout, Reloader};
pub use shadow::{Shadow, Tally};
pub use source::{PolicySource, resolve};

mod archive;
mod audit;
mod cache;
mod call;
mod cases;
mod check;
mod compare;
#[cfg(test)]
mod equivalence;
mod failover;
#[cfg(any(test, fuzzing))]
#[path = "../../../tests/fuzz/targets/policy.rs"]
pub(crate) mod fuzz;
mod limits;
#[cfg(test)]
mod limits_tests;
mod load;
mod loader;
mod reload;
pub mod rounds;
#[cfg(test)]
mod sabotage;
mod shadow;
mod source;

/// The default policy as built by `policies/default/build`.
const EMBEDDED: &[u8] = include_bytes!("../../assets/default.wasm");

/// How much of what a policy says about itself is kept, in characters.
const LONGEST_NAME: usize = 64;
const LONGEST_SUMMARY: usize = 200;

/// A policy that is compiled, configured and self-tested. Cheap to clone; never changes.
#[derive(Clone)]
pub struct Policy {
    program: Arc<CompiledPolicy>,
    id: PolicyId,
    summary: String,
    default_settings: Value,
    settings: Value,
    wants_busy: bool,
    anatomy: Arc<Anatomy>,
    size: usize,
    loading: Loading,
}

/// How a policy was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loading {
    /// How long it took, including the self-test.
    pub took: Duration,
    /// True if it had been compiled at an earlier start.
    pub cached: bool,
}

impl Policy {
    /// Returns the default policy, which is part of this binary.
    ///
    /// # Errors
    ///
    /// In practice only if it refuses the settings.
    pub fn embedded(limits: &Limits, settings: &Value) -> Result<Self, LoadError> {
        Self::new("the embedded policy", EMBEDDED, limits, settings, None)
    }

    /// Loads the bytes of a component, or of a core module with embedded WIT, and tries it on a
    /// small round. Error messages use `origin` unchanged. [`Loader`] does the same with files, and
    /// keeps what it compiles.
    ///
    /// # Errors
    ///
    /// One line that says what is wrong with the file and what to do about it.
    pub fn from_bytes(
        origin: &str,
        bytes: &[u8],
        limits: &Limits,
        settings: &Value,
    ) -> Result<Self, LoadError> {
        Self::new(origin, bytes, limits, settings, None)
    }

    fn new(
        origin: &str,
        bytes: &[u8],
        limits: &Limits,
        settings: &Value,
        cache: Option<&Cache>,
    ) -> Result<Self, LoadError> {
        let start = Instant::now();
        let hits = || cache.map_or(0, Cache::cache_hits);
        let hits_before = hits();
        let failed = |doing| move |failure| LoadError::of(origin, doing, failure);
        let compiled = load::compile(origin, bytes, limits, cache.cloned())?;
        let anatomy = Arc::new(compiled.anatomy);
        let program = CompiledPolicy::new(compiled.engine, compiled.pre, settings, limits);
        let program = Arc::new(program);

        let description = program.describe().map_err(failed("describe itself"))?;
        let default_settings = serde_json::from_str(&description.default_config)
            .ok()
            .filter(Value::is_object)
            .ok_or_else(|| LoadError::DefaultConfig {
                origin: origin.to_owned(),
            })?;
        let mut policy = Self {
            program,
            id: PolicyId {
                name: check::line(&description.name, LONGEST_NAME),
                version: check::line(&description.version, LONGEST_NAME),
                sha256: sha256(bytes),
            },
            summary: check::line(&description.summary, LONGEST_SUMMARY),
            default_settings,
            settings: settings.clone(),
            wants_busy: description.wants_busy,
            anatomy,
            size: bytes.len(),
            loading: Loading {
                took: Duration::ZERO,
                cached: hits() > hits_before,
            },
        };
        policy
            .try_out()
            .map_err(failed("decide on a round of two tasks"))?;
        policy.loading.took = start.elapsed();
        Ok(policy)
    }

    /// Returns its name and version, as it states them, and the SHA-256 of the file as it was read.
    pub fn id(&self) -> &PolicyId {
        &self.id
    }

    /// Returns what it does, in one line.
    pub fn summary(&self) -> &str {
        &self.summary
    }

    /// Returns a JSON object with every setting at its default.
    pub fn default_settings(&self) -> &Value {
        &self.default_settings
    }

    /// Returns the settings that it was given: a JSON object, or null.
    pub fn settings(&self) -> &Value {
        &self.settings
    }

    /// Returns what its file consists of.
    pub fn anatomy(&self) -> &Anatomy {
        &self.anatomy
    }

    /// Returns the size of its file, in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Returns what it may use.
    pub fn limits(&self) -> &Limits {
        self.program.limits()
    }

    /// Returns how it was loaded.
    pub fn loading(&self) -> Loading {
        self.loading
    }

    /// Returns what it has used since it was loaded, in all its clones.
    pub fn usage(&self) -> Usage {
        self.program.usage()
    }

    /// True if a question should also list sessions that are not ready.
    pub fn wants_busy(&self) -> bool {
        self.wants_busy
    }

    /// Asks for one decision for each task of the question, in a fresh instance.
    ///
    /// The answer breaks no rule of the contract, and its words are safe for a terminal. Blocks for
    /// at most `Limits::time` and a moment more.
    ///
    /// # Errors
    ///
    /// The policy exceeds a limit, fails, or gives a forbidden answer.
    pub fn decide(&self, question: &Question) -> Result<Vec<Decision>, Failure> {
        self.ask(question, CompiledPolicy::decide)
    }

    /// Like [`Self::decide`], with the time limit for loading: for trying a policy out.
    ///
    /// # Errors
    ///
    /// Like [`Self::decide`].
    pub fn decide_leisurely(&self, question: &Question) -> Result<Vec<Decision>, Failure> {
        self.ask(question, CompiledPolicy::decide_leisurely)
    }

    /// A policy that does not want sessions that are not ready never sees them, even if another one
    /// does.
    fn ask(
        &self,
        question: &Question,
        decide: impl Fn(&Arc<CompiledPolicy>, &Question) -> Result<Vec<Decision>, Failure>,
    ) -> Result<Vec<Decision>, Failure> {
        let narrow = (!self.wants_busy).then(|| question.only_ready()).flatten();
        let Some((narrow, positions)) = narrow else {
            let answer = decide(&self.program, question)?;
            return check::check(question, answer).map_err(Failure::Wrong);
        };
        let answer = decide(&self.program, &narrow)?;
        let mut decisions = check::check(&narrow, answer).map_err(Failure::Wrong)?;
        for decision in &mut decisions {
            let (take, others) = match decision {
                Decision::Assign { take, others } => (Some(take), others),
                Decision::Wait { others, .. } => (None, others),
            };
            for ranking in take.into_iter().chain(others) {
                ranking.session = positions[ranking.session];
            }
        }
        Ok(decisions)
    }

    /// Returns the same policy with other settings, without compiling it again.
    ///
    /// # Errors
    ///
    /// It refuses the settings, or fails when it is tried with them.
    pub fn with_settings(&self, settings: &Value) -> Result<Self, LoadError> {
        let policy = Self {
            program: Arc::new(self.program.with_settings(settings)),
            settings: settings.clone(),
            ..self.clone()
        };
        policy.try_out().map_err(|failure| {
            LoadError::of(
                &format!("the policy `{}`", self.id.name),
                "decide on a round of two tasks",
                failure,
            )
        })?;
        Ok(policy)
    }

    fn try_out(&self) -> Result<(), Failure> {
        self.decide_leisurely(&rounds::self_test()).map(|_| ())
    }
}

/// The hash of a file, in lowercase hexadecimal.
fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
