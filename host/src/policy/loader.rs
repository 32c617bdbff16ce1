//! Loads policies, each with the limits that suit it, and with a cache of compiled policies.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use wasmtime::Cache;

use super::limits::{Limits, Overrides};
use super::{EMBEDDED, LoadError, Policy, PolicySource, cache, source};

/// Loads policies. Cheap to clone.
#[derive(Clone, Default)]
pub struct Loader {
    overrides: Overrides,
    cache: Option<Cache>,
}

impl Loader {
    /// Returns a loader without a cache. Limits that `overrides` does not set depend on the policy.
    pub fn new(overrides: Overrides) -> Self {
        Self {
            overrides,
            cache: None,
        }
    }

    /// Keeps compiled policies in a directory if that is safe. Otherwise `warn` is called with the
    /// reason, and each policy is compiled when it is loaded.
    #[must_use]
    pub fn with_cache(mut self, directory: &Path, warn: impl FnOnce(&str)) -> Self {
        match cache::open(directory) {
            Ok(cache) => self.cache = Some(cache),
            Err(why) => warn(&why),
        }
        self
    }

    /// Loads a policy and tries it on a small round.
    ///
    /// Blocks while it compiles: milliseconds for a policy in Rust, seconds for one in Python, and
    /// milliseconds for either if it is in the cache.
    ///
    /// # Errors
    ///
    /// One line that says what is wrong with the file and what to do about it.
    pub fn load(&self, source: &PolicySource, settings: &Value) -> Result<Policy, LoadError> {
        match source {
            PolicySource::Embedded => self.bytes("the embedded policy", EMBEDDED, settings),
            PolicySource::File(path) => {
                let bytes = source::read(path, self.largest_file())?;
                self.bytes(&source::shown(path), &bytes, settings)
            }
        }
    }

    /// Like [`Self::load`], for the bytes of a file; messages use `origin` unchanged.
    ///
    /// # Errors
    ///
    /// Like [`Self::load`].
    pub fn bytes(&self, origin: &str, bytes: &[u8], settings: &Value) -> Result<Policy, LoadError> {
        let limits = self.overrides.limits(bytes.len());
        Policy::new(origin, bytes, &limits, settings, self.cache.as_ref())
    }

    pub(super) fn largest_file(&self) -> u64 {
        self.overrides.file.unwrap_or(Limits::default().file)
    }

    /// Loads the embedded policy with its default settings, which decides if the others fail.
    ///
    /// # Errors
    ///
    /// The system has no memory for it.
    pub fn fallback(&self) -> Result<Policy, LoadError> {
        let limits = self.overrides.limits(EMBEDDED.len());
        // It is the last resort, so on a busy machine it is better slow than stopped.
        let patient = Limits {
            time: limits.time.max(Duration::from_secs(5)),
            memory: limits.memory.max(Limits::default().memory),
            stack: limits.stack.max(Limits::default().stack),
            answer: limits.answer.max(Limits::default().answer),
            load_time: limits.load_time.max(Limits::default().load_time),
            ..limits
        };
        let none = Value::Object(serde_json::Map::new());
        Policy::new(
            "the embedded policy",
            EMBEDDED,
            &patient,
            &none,
            self.cache.as_ref(),
        )
    }
}
