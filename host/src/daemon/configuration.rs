//! What a daemon takes from its configuration, when it starts and when the file has changed.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Notify;

use super::engine::Settings;
use super::followed::{Again, FilesSeen, Followed};
use crate::agents::nonce::NonceKey;
use crate::config::settings::{self, SettingChange};
use crate::config::{Config, ConfigError};
use crate::matcher::MatcherSettings;
use crate::model::ids::NodeName;
use crate::node::NodeSettings;
use crate::store::ConfigFacts;

/// What the command line of a daemon says. It overrides the configuration, which may change meanwhile.
#[derive(Debug, Clone, Default)]
pub struct CommandLine {
    /// This program, which also reads the output of panes.
    pub program: PathBuf,
    /// The policy that it names.
    pub policy: Option<String>,
    /// Settings of the policy.
    pub policy_set: Vec<(String, Value)>,
    /// Whether rounds are recorded, whatever the configuration says.
    pub record: bool,
}

/// How many changes are told, and shown by `assigner status`.
const TOLD: usize = 20;

/// The settings that a process keeps until it ends.
const KEPT: [&str; 2] = ["data-dir", "tmux-socket"];

/// Returns what the engine is told by a configuration.
pub(super) fn engine_settings(config: &Config, line: &CommandLine, nonces: NonceKey) -> Settings {
    let engine = &config.file.engine;
    let sessions = &config.file.sessions;
    Settings {
        node: NodeSettings {
            node: NodeName::default(),
            program: line.program.clone(),
            output_limit: engine.output_limit,
            start_within: engine.start_within,
            attended_for: engine.attended_for,
            prerequisite_within: engine.prerequisite_timeout,
            nonces,
            shell_integration: engine.shell_integration,
            exclude: sessions.exclude.set(),
            protect: sessions.protect.set(),
            pools: config.pools(),
        },
        matcher: MatcherSettings {
            host: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            explain: engine.explain,
            ask_variables: engine.ask_variables,
        },
    }
}

/// The configuration of a daemon, read again when its file has changed.
pub(super) struct Configuration {
    live: Config,
    /// The one that is followed so far, if that is an earlier one.
    followed: Option<Config>,
    file: Option<Followed<Result<Config, ConfigError>>>,
    facts: ConfigFacts,
}

impl Configuration {
    /// Looks at the file from now on, and wakes the daemon when it has changed since it was read.
    pub(super) fn follow(config: Config, wake: Arc<Notify>) -> Self {
        let read = config.clone();
        let file = config.path.clone().map(|path| {
            Followed::start(
                "configuration",
                // When it was read is not known, so it is read again and compared.
                FilesSeen::default(),
                move || FilesSeen::now([path.clone()]),
                move || {
                    let read = read.read_again();
                    let again = match &read {
                        Err(ConfigError::Read { .. }) => Again::Soon,
                        _ => Again::WhenChanged,
                    };
                    (read, again)
                },
                wake,
            )
        });
        Self {
            live: config,
            followed: None,
            file,
            facts: ConfigFacts::default(),
        }
    }

    /// Returns what the daemon reports about it.
    pub(super) fn facts(&self) -> ConfigFacts {
        self.facts.clone()
    }

    /// Takes up a change of the file, which is to be followed then. A file that is wrong changes nothing, and it
    /// is said why.
    pub(super) fn take_up(&mut self) {
        let changed = self.file.as_ref().and_then(Followed::changed);
        let config = match changed {
            None => return,
            Some(Ok(config)) => config,
            Some(Err(error)) => {
                let error = error.to_string();
                if self.facts.error.as_ref() != Some(&error) {
                    tracing::warn!("{error}; the configuration stays as it was");
                    self.facts.error = Some(error);
                }
                return;
            }
        };
        let was_wrong = self.facts.error.take().is_some();
        if config.file == self.live.file {
            if was_wrong {
                tracing::info!("the configuration is valid again, and says what it said before");
            }
            return;
        }
        let changes = settings::changes(&self.live.text, &config.text);
        self.facts.changes = told(&changes);
        self.facts.changed_at = Some(Timestamp::now());
        for change in &self.facts.changes {
            tracing::info!("the configuration has changed: {change}");
        }
        let before = std::mem::replace(&mut self.live, config);
        self.followed.get_or_insert(before);
    }

    /// Returns the configuration that is followed so far, and the one that is to be; `None` if they are the same.
    pub(super) fn to_follow(&self) -> Option<[Config; 2]> {
        let before = self.followed.clone()?;
        Some([before, self.live.clone()])
    }

    /// Notes that the configuration is followed.
    pub(super) fn is_followed(&mut self) {
        self.followed = None;
    }
}

fn told(changes: &[SettingChange]) -> Vec<String> {
    let shown =
        changes
            .iter()
            .take(TOLD)
            .map(|change| match KEPT.contains(&change.name.as_str()) {
                true => format!("{change}, from the next start of the daemon on"),
                false => change.to_string(),
            });
    let more = changes.len().saturating_sub(TOLD);
    let rest = (more > 0).then(|| format!("{more} more"));
    let unnamed = changes
        .is_empty()
        .then(|| "what a policy or a pool is told has changed".to_owned());
    shown.chain(rest).chain(unnamed).collect()
}
