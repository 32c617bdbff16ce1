//! The policy: the WebAssembly component that decides which session gets which task.
//!
//! This is the only place where wasmtime appears. From a name to a checked decision:
//!
//! ```text
//! source    a name or path           -> bytes, of a bounded size
//! load      bytes                    -> a compiled component of our world, or why not
//! call      a question               -> a raw answer, from a fresh instance
//! limits    time, memory, stack, answer; what breaks them is a `Failure`
//! check     the raw answer           -> decisions that break no rule
//! failover  the live policy, the last that worked, the embedded default
//! ```
//!
//! A policy is given nothing but the question: no clock, no files, no network, no environment.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::model::matching::{Attribute, Candidate, Decision, PolicyId, Question, Resource};
use crate::model::task::Kind;

use call::Program;
pub use check::Violation;
pub use failover::{Health, PolicyHost, Verdict};
pub use limits::{Failure, Limits};
pub use load::LoadError;
pub use source::{Source, resolve};

mod call;
mod check;
#[cfg(test)]
mod equivalence;
mod failover;
mod limits;
mod load;
#[cfg(test)]
mod sabotage;
mod source;

/// The default policy as it is built by `policies/default/build`.
const EMBEDDED: &[u8] = include_bytes!("../../../policies/default/default.wasm");

/// When the self-test takes place, so that it never depends on the day.
const SELF_TEST_NOW: u64 = 1_700_000_000;

/// How much of what a policy says of itself is kept, in characters.
const LONGEST_NAME: usize = 64;
const LONGEST_SUMMARY: usize = 200;

/// A policy that is compiled, configured and self-tested. Cheap to clone; never changes.
#[derive(Clone)]
pub struct Policy {
    program: Arc<Program>,
    id: PolicyId,
    summary: String,
    default_settings: Value,
    wants_busy: bool,
}

impl Policy {
    /// Returns the default policy, which is part of this binary.
    ///
    /// # Errors
    ///
    /// In practice only where it refuses the settings.
    pub fn embedded(limits: &Limits, settings: &Value) -> Result<Self, LoadError> {
        Self::from_bytes("the embedded policy", EMBEDDED, limits, settings)
    }

    /// Loads a component, or a core module with embedded WIT.
    ///
    /// Blocks while it compiles: milliseconds for a policy in Rust, seconds for one in Python.
    ///
    /// # Errors
    ///
    /// One line that says what is wrong with the file and what to do about it.
    pub fn from_file(path: &Path, limits: &Limits, settings: &Value) -> Result<Self, LoadError> {
        let origin = source::shown(path);
        Self::from_bytes(&origin, &source::read(path, limits)?, limits, settings)
    }

    /// Loads the bytes of a component, or of a core module with embedded WIT, and tries it on a
    /// small round. `origin` is what error messages call it, as it stands.
    ///
    /// # Errors
    ///
    /// Like [`Self::from_file`].
    pub fn from_bytes(
        origin: &str,
        bytes: &[u8],
        limits: &Limits,
        settings: &Value,
    ) -> Result<Self, LoadError> {
        let failed = |doing| {
            move |failure| {
                let origin = origin.to_owned();
                match failure {
                    Failure::OtherTypes { why } => LoadError::OtherWorld { origin, why },
                    Failure::Refused { message } => LoadError::Settings { origin, message },
                    failure => LoadError::Failed {
                        origin,
                        doing,
                        failure,
                    },
                }
            }
        };
        let (engine, pre) = load::compile(origin, bytes, limits)?;
        let program = Arc::new(Program::new(engine, pre, settings, limits));

        let description = program.describe().map_err(failed("describe itself"))?;
        let default_settings = serde_json::from_str(&description.default_config)
            .ok()
            .filter(Value::is_object)
            .ok_or_else(|| LoadError::DefaultConfig {
                origin: origin.to_owned(),
            })?;
        let policy = Self {
            program,
            id: PolicyId {
                name: check::line(&description.name, LONGEST_NAME),
                version: check::line(&description.version, LONGEST_NAME),
                sha256: hexadecimal(&Sha256::digest(bytes)),
            },
            summary: check::line(&description.summary, LONGEST_SUMMARY),
            default_settings,
            wants_busy: description.wants_busy,
        };
        policy
            .try_out()
            .map_err(failed("decide on a round of two tasks"))?;
        Ok(policy)
    }

    /// Name and version as it says itself, and the SHA-256 of the file as it was read.
    pub fn id(&self) -> &PolicyId {
        &self.id
    }

    /// What it does, in a line.
    pub fn summary(&self) -> &str {
        &self.summary
    }

    /// A JSON object with every setting at its default.
    pub fn default_settings(&self) -> &Value {
        &self.default_settings
    }

    /// Whether a question should list sessions that are not ready, too.
    pub fn wants_busy(&self) -> bool {
        self.wants_busy
    }

    /// Asks for one decision for each task of the question, in a fresh instance.
    ///
    /// The answer breaks no rule of the contract, and its words are fit for a terminal. Blocks
    /// for at most `Limits::time` and a moment more.
    ///
    /// # Errors
    ///
    /// Where the policy breaks a limit, fails, or answers what it may not.
    pub fn decide(&self, question: &Question) -> Result<Vec<Decision>, Failure> {
        let answer = self.program.decide(question)?;
        check::check(question, answer).map_err(Failure::Wrong)
    }

    fn try_out(&self) -> Result<(), Failure> {
        let question = self_test();
        let answer = self.program.decide_leisurely(&question)?;
        check::check(&question, answer).map_err(Failure::Wrong)?;
        Ok(())
    }
}

/// A round with a bit of everything: two tasks, one of which says nothing, and two sessions.
fn self_test() -> Question {
    let variable = || Attribute {
        name: "SELF_TEST".to_owned(),
        value: "1".to_owned(),
    };
    let plain = |id| Candidate {
        id,
        kind: Kind::Prompt,
        summary: "self-test".to_owned(),
        priority: 0,
        waiting: 1,
        attempt: 1,
        match_context: true,
        working_dir: None,
        git_branch: None,
        env: Vec::new(),
        providers: Vec::new(),
        eligible: None,
        follows: None,
        avoid: Vec::new(),
        labels: Vec::new(),
    };
    let session = |name: &str| Resource {
        name: name.to_owned(),
        host: "localhost".to_owned(),
        provider: "shell".to_owned(),
        current_dir: Some("/".to_owned()),
        git_branch: Some("main".to_owned()),
        env: vec![variable()],
        ready: true,
        since: 1,
        completed: 1,
        failed: 1,
        labels: Vec::new(),
    };
    Question {
        now: SELF_TEST_NOW,
        explain: 2,
        facts: Vec::new(),
        tasks: vec![
            Candidate {
                kind: Kind::Command,
                working_dir: Some("/srv".to_owned()),
                git_branch: Some("main".to_owned()),
                env: vec![variable()],
                providers: vec!["shell".to_owned()],
                eligible: Some(vec![0]),
                follows: Some(0),
                avoid: vec![1],
                ..plain(1)
            },
            plain(2),
        ],
        sessions: vec![session("one"), session("two")],
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
