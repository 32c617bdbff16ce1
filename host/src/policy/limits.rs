//! What a policy may use, and what happens to one that exceeds it.

use std::time::Duration;

use serde::Serialize;
use wasmtime::{Cache, Config, Engine, ResourceLimiter, Trap};

use super::check::{self, Violation};

/// What a policy may use. Every number is a setting of the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The time limit of a round, including creating and configuring the instance.
    pub time: Duration,
    /// The time limit of each step of loading: describing itself, and the self-test.
    pub load_time: Duration,
    /// Bytes of memory in one round, for all its memories together.
    pub memory: usize,
    /// Bytes of stack, clamped to 64 KiB to 64 MiB.
    pub stack: usize,
    /// Bytes that one answer, or one line for the log, may take in the host.
    pub answer: usize,
    /// Lines for the log in one round; further lines are dropped, and counted.
    pub log_lines: usize,
    /// Bytes of a policy's file.
    pub file: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self::of(LimitProfile::Small)
    }
}

impl Limits {
    /// Returns the limits for policies of this profile.
    pub fn of(profile: LimitProfile) -> Self {
        let small = Self {
            time: Duration::from_millis(100),
            load_time: Duration::from_secs(5),
            memory: 64 << 20,
            stack: 512 << 10,
            answer: 16 << 20,
            log_lines: 50,
            file: 64 << 20,
        };
        match profile {
            LimitProfile::Small => small,
            LimitProfile::Large => Self {
                time: Duration::from_secs(1),
                load_time: Duration::from_secs(20),
                memory: 256 << 20,
                stack: 2 << 20,
                ..small
            },
        }
    }
}

/// Which limits apply to a policy if the user has set none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitProfile {
    /// Compiled to WebAssembly directly, as from Rust, C or Zig.
    Small,
    /// Contains an interpreter, as from Python or JavaScript.
    Large,
}

impl LimitProfile {
    /// The file size in bytes from which a file contains an interpreter: the smallest interpreter
    /// takes twice that, and a compiled policy a tenth.
    const INTERPRETER: usize = 512 << 10;

    /// Returns the profile for a file of this size.
    pub fn for_size(bytes: usize) -> Self {
        if bytes < Self::INTERPRETER {
            Self::Small
        } else {
            Self::Large
        }
    }
}

/// The limits that the user has set; the others depend on the policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Instead of [`Limits::time`].
    pub time: Option<Duration>,
    /// Instead of [`Limits::load_time`].
    pub load_time: Option<Duration>,
    /// Instead of [`Limits::memory`].
    pub memory: Option<usize>,
    /// Instead of [`Limits::stack`].
    pub stack: Option<usize>,
    /// Instead of [`Limits::answer`].
    pub answer: Option<usize>,
    /// Instead of [`Limits::log_lines`].
    pub log_lines: Option<usize>,
    /// Instead of [`Limits::file`].
    pub file: Option<u64>,
}

impl Overrides {
    /// Returns the limits of a policy whose file has this size.
    pub fn limits(&self, bytes: usize) -> Limits {
        let suiting = Limits::of(LimitProfile::for_size(bytes));
        Limits {
            time: self.time.unwrap_or(suiting.time),
            load_time: self.load_time.unwrap_or(suiting.load_time),
            memory: self.memory.unwrap_or(suiting.memory),
            stack: self.stack.unwrap_or(suiting.stack),
            answer: self.answer.unwrap_or(suiting.answer),
            log_lines: self.log_lines.unwrap_or(suiting.log_lines),
            file: self.file.unwrap_or(suiting.file),
        }
    }
}

/// Why a policy gave no usable decision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It exceeded its time limit.
    #[error("did not answer within {} ms", limit.as_millis())]
    TimedOut {
        /// Its time limit.
        limit: Duration,
    },
    /// It exceeded its time limit and could not be stopped: its thread was abandoned.
    #[error("did not answer within {} ms, and could not be stopped", limit.as_millis())]
    Stuck {
        /// Its time limit.
        limit: Duration,
    },
    /// It wanted more memory than its limit.
    #[error("wanted more than {} MiB of memory", limit >> 20)]
    OutOfMemory {
        /// Its limit, in bytes.
        limit: usize,
    },
    /// Its calls were nested too deeply.
    #[error("ran out of stack")]
    OutOfStack,
    /// It stopped by itself: a panic, an exception, an answer that cannot be read.
    #[error("stopped with an error: {cause}{}", said(said_last))]
    Stopped {
        /// What the runtime says, in one line.
        cause: String,
        /// The last thing that it wrote, which is often more informative.
        said_last: Option<String>,
    },
    /// Its functions take or return other types than ours.
    #[error("speaks another version of the contract: {why}")]
    OtherTypes {
        /// Where they differ, in one line.
        why: String,
    },
    /// It does not accept its settings.
    #[error("refused its settings: {message}")]
    Refused {
        /// What it said, in one line.
        message: String,
    },
    /// Its answer breaks a rule.
    #[error("gave a forbidden answer: {0}")]
    Wrong(#[from] Violation),
    /// The machine would not run it.
    #[error("could not be run: {reason}")]
    Host {
        /// Why, in one line.
        reason: String,
    },
}

fn said(last: &Option<String>) -> String {
    last.as_ref()
        .map(|words| format!("; it last said: {words}"))
        .unwrap_or_default()
}

impl Failure {
    /// Returns the failure that an error from wasmtime means.
    pub(super) fn from_wasm(error: &wasmtime::Error, said_last: Option<String>) -> Self {
        if let Some(&Expired(limit)) = error.downcast_ref() {
            Self::TimedOut { limit }
        } else if let Some(&Exhausted(limit)) = error.downcast_ref() {
            Self::OutOfMemory { limit }
        } else if error.downcast_ref() == Some(&Trap::StackOverflow) {
            Self::OutOfStack
        } else if let Some(why) = mismatch(error) {
            Self::OtherTypes {
                why: check::line(&why, LONGEST_CAUSE),
            }
        } else {
            Self::Stopped {
                cause: check::line(&error.root_cause().to_string(), LONGEST_CAUSE),
                said_last,
            }
        }
    }
}

/// Types are compared when a function is first called, and the error has no type of its own.
fn mismatch(error: &wasmtime::Error) -> Option<String> {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    let start = causes
        .iter()
        .position(|cause| cause.starts_with("type mismatch with "))?;
    Some(causes[start..].join(": "))
}

/// How much of an error message is kept, in characters.
pub(super) const LONGEST_CAUSE: usize = 400;

/// The error of a call that took too long.
#[derive(Debug, thiserror::Error)]
#[error("took longer than {} ms", .0.as_millis())]
pub(super) struct Expired(pub(super) Duration);

#[derive(Debug, thiserror::Error)]
#[error("wanted more than {0} bytes of memory")]
struct Exhausted(usize);

/// Returns the engine for one policy.
pub(super) fn engine(limits: &Limits, cache: Option<Cache>) -> wasmtime::Result<Engine> {
    /// The stack space that the host's own functions may need on top of the guest's.
    const HEADROOM: usize = 1 << 20;

    let stack = limits.stack.clamp(64 << 10, 64 << 20);
    let mut config = Config::new();
    config
        .cache(cache)
        .epoch_interruption(true)
        .max_wasm_stack(stack)
        .async_stack_size(stack + HEADROOM)
        // The same round gives the same answer on every machine.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true);
    Engine::new(&config)
}

/// Counts the memory that an instance takes, all its memories and tables together.
pub(super) struct Meter {
    limit: usize,
    memory: usize,
    table_entries: usize,
}

impl Meter {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            memory: 0,
            table_entries: 0,
        }
    }

    /// Returns the bytes of memory; the number never decreases.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let memory = self.memory.saturating_add(desired.saturating_sub(current));
        if memory > self.limit {
            // An error stops the policy here, with this reason. A mere refusal would look like a
            // panic of its allocator.
            return Err(wasmtime::Error::new(Exhausted(self.limit)));
        }
        self.memory = memory;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let entries = self
            .table_entries
            .saturating_add(desired.saturating_sub(current));
        if entries.saturating_mul(size_of::<usize>()) > self.limit {
            return Err(wasmtime::Error::new(Exhausted(self.limit)));
        }
        self.table_entries = entries;
        Ok(true)
    }

    fn instances(&self) -> usize {
        // A program of many linked libraries has dozens of them.
        500
    }

    fn memories(&self) -> usize {
        100
    }

    fn tables(&self) -> usize {
        100
    }
}
