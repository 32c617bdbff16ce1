//! What the last daemon reports about itself.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::db::values;
use super::rows::json;
use super::{Store, StoreError};
use crate::model::matching::PolicyId;

/// What a daemon reports about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DaemonFacts {
    /// Its process id.
    pub pid: u32,
    /// Its version; empty for one that did not tell.
    #[serde(default)]
    pub version: String,
    /// When it was started.
    pub started_at: Timestamp,
    /// The tmux server that it watches, for people.
    pub tmux: String,
    /// What it waits for if it cannot work, for people.
    pub waiting_for: Option<String>,
    /// The policy that it was told to use.
    pub policy: PolicyId,
    /// How that policy was named, so that others can load it as well.
    pub policy_source: String,
    /// The settings that the policy was given, as a JSON object.
    pub policy_settings: serde_json::Value,
    /// How long it took to load the policy, in milliseconds.
    pub policy_load_ms: f64,
    /// Whether the policy had been compiled at an earlier start.
    pub policy_cached: bool,
    /// How often that policy, or one that replaced it, has failed since.
    pub policy_failures: u64,
    /// The last failure.
    pub policy_last_failure: Option<String>,
    /// The policy that is used in its place, if any.
    pub policy_in_use: Option<PolicyId>,
    /// How many rounds are recorded.
    pub recording: Option<Recording>,
    /// The policy that runs as a shadow beside the live one.
    pub shadow: Option<ShadowFacts>,
    /// What has become of the configuration since the daemon was started. Earlier versions did not tell.
    #[serde(default)]
    pub configuration: ConfigFacts,
}

/// How a daemon has taken up changes of its configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigFacts {
    /// When it was changed last; `None` if it is as it was at the start.
    pub changed_at: Option<Timestamp>,
    /// What has changed then, in words; only so many.
    pub changes: Vec<String>,
    /// Why the file as it is now is not used.
    pub error: Option<String>,
}

/// How much is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// The number of rounds that this daemon has recorded.
    pub rounds: u64,
    /// The size of all recorded rounds, in bytes.
    pub bytes: u64,
}

/// What a shadow policy would have decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowFacts {
    /// The policy.
    pub policy: PolicyId,
    /// The number of rounds that it decided.
    pub rounds: u64,
    /// The number of tasks in them.
    pub tasks: u64,
    /// The number of tasks for which it decided differently from the live policy.
    pub different: u64,
    /// The number of rounds in which it failed.
    pub failures: u64,
    /// The number of rounds that it was not given because it was still busy with another.
    pub skipped: u64,
    /// The last failure.
    pub last_failure: Option<String>,
}

impl Store {
    /// Stores what the daemon reports about itself.
    ///
    /// # Errors
    /// The database refused.
    pub fn record_daemon(&mut self, facts: &DaemonFacts) -> Result<(), StoreError> {
        self.atomically(|db| {
            db.execute(
                "INSERT INTO daemon (id, facts) VALUES (1, $1)
                 ON CONFLICT (id) DO UPDATE SET facts = excluded.facts",
                values![json(facts)],
            )?;
            Ok(())
        })
    }

    /// Returns what the last daemon reported about itself.
    ///
    /// # Errors
    /// The database refused.
    pub fn daemon(&mut self) -> Result<Option<DaemonFacts>, StoreError> {
        let row = self
            .db
            .query_one("SELECT facts FROM daemon WHERE id = 1", &[])?;
        let facts: Option<String> = row.map(|row| row.get("facts")).transpose()?;
        // A daemon of another version may have stored different facts: then nothing is known.
        Ok(facts.and_then(|facts| serde_json::from_str(&facts).ok()))
    }
}
