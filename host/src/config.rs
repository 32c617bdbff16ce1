//! The configuration: flags override the environment, which overrides the file, which overrides the
//! defaults.

mod pools;
pub mod settings;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcetera::BaseStrategy;
use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use similar::get_close_matches;
use thiserror::Error;

use crate::files::{named, private};
use crate::matcher::MatcherSettings;
use crate::model::duration;
use crate::model::notice::NotifySettings;
use crate::node::{NodeSettings, PoolSettings};
use crate::policy::{Loader, Overrides};
use crate::tmux::Socket;

pub use pools::PoolTables;

/// What is wrong with the configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The named file, or the one in the usual place, cannot be read.
    #[error("cannot read the configuration `{path}`: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not TOML, or contains something unknown.
    #[error("the configuration `{path}` is invalid{place}: {message}", path = path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The place in the file, in words.
        place: String,
        /// What is wrong.
        message: String,
    },
    /// There is no place to keep anything.
    #[error("there is no home directory: set HOME, or name a data directory with --data-dir")]
    NoHome,
    /// Shells and tmux must be given the paths of the jobs' files.
    #[error(
        "the data directory {0:?} has a name that cannot be passed to a shell: use UTF-8 without control characters"
    )]
    DataDirectory(PathBuf),
}

/// The configuration of one call.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the queue is kept; an absolute path.
    pub data_dir: PathBuf,
    /// The tmux server.
    pub socket: Socket,
    /// Where policies are that are named without a path.
    pub policies_dir: PathBuf,
    /// Where a user's own profiles of agents are.
    pub profiles_dir: PathBuf,
    /// Where compiled policies are kept; `None` if they are not kept.
    pub cache_dir: Option<PathBuf>,
    /// The file that was read, or would be if it were there; `None` without a home directory.
    pub path: Option<PathBuf>,
    /// Whether the call named it, so that it must be there.
    pub is_named: bool,
    /// The text of the file; empty if there is none.
    pub text: String,
    /// The content of the file.
    pub file: File,
}

/// The configuration file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct File {
    /// Where the queue is kept.
    pub data_dir: Option<PathBuf>,
    /// The tmux server.
    pub tmux_socket: Option<String>,
    /// The policy.
    pub policy: PolicySection,
    /// Which sessions take which tasks.
    pub sessions: SessionsSection,
    /// The engine.
    pub engine: EngineSection,
    /// How agents are asked.
    pub agents: AgentsSection,
    /// What a person is told of, and how.
    pub notify: NotifySettings,
    /// Sessions that are started when tasks wait for them.
    #[serde(rename = "pool")]
    pub pools: PoolTables,
}

/// The name of the file in the usual place.
const FILE: &str = "config.toml";

/// No configuration is this long, in bytes.
const LARGEST: u64 = 1 << 20;

/// `[agents]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AgentsSection {
    /// The agents that are asked without a terminal where a prompt names them, unless its sender says
    /// otherwise.
    pub headless: Vec<String>,
}

/// `[sessions]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SessionsSection {
    /// Patterns of names; such sessions take no tasks.
    pub exclude: NamePatterns,
    /// Patterns of names; such sessions take only tasks that name them.
    pub protect: NamePatterns,
}

/// Shell patterns for names: `*`, `?`, `[a-z]`, `{one,other}`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NamePatterns(Vec<Glob>);

impl NamePatterns {
    /// Returns a set that matches every name that one of the patterns matches.
    pub fn set(&self) -> GlobSet {
        let mut set = GlobSetBuilder::new();
        for pattern in &self.0 {
            set.add(pattern.clone());
        }
        // Each pattern was parsed, so the set is valid too.
        set.build().unwrap_or_else(|_| GlobSet::empty())
    }
}

impl<'de> Deserialize<'de> for NamePatterns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let patterns = texts.iter().map(|text| Glob::new(text));
        patterns
            .collect::<Result<_, _>>()
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

/// `[policy]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PolicySection {
    /// A path, a name in the directory of policies, or `default.wasm`; `None` means `default.wasm`.
    #[serde(rename = "use")]
    pub source: Option<String>,
    /// The settings for the policy's `configure`.
    pub settings: toml::Table,
    /// Settings for policies by name, used instead of `settings`.
    pub settings_of: BTreeMap<String, toml::Table>,
    /// The time limit of one round.
    #[serde(deserialize_with = "time")]
    pub time: Option<Duration>,
    /// The time limit of each step of loading.
    #[serde(deserialize_with = "load_time")]
    pub load_time: Option<Duration>,
    /// The limit of memory, in MiB.
    pub memory: Option<usize>,
    /// The limit of stack, in KiB.
    pub stack: Option<usize>,
    /// The largest answer, in KiB.
    pub answer: Option<usize>,
    /// The most lines for the log in one round.
    pub log_lines: Option<usize>,
    /// The largest file, in MiB.
    pub file_size: Option<u64>,
    /// Whether rounds are recorded.
    pub record: bool,
    /// The most space for recorded rounds, in MiB.
    pub record_limit: u64,
}

/// The policy if none is named.
pub const DEFAULT_POLICY: &str = "default.wasm";

/// `[engine]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct EngineSection {
    /// How many bytes of a task's output are kept, counted from its end.
    pub output_limit: u64,
    /// How many rankings of a decision are kept.
    pub explain: u32,
    /// How long a shell may take to pick up a job.
    #[serde(deserialize_with = "start_within")]
    pub start_within: Duration,
    /// For how long a session is left alone after a key was pressed in it; zero means not at all.
    #[serde(deserialize_with = "attended_for")]
    pub attended_for: Duration,
    /// The time limit of a prerequisite, if its task sets none.
    #[serde(deserialize_with = "prerequisite_timeout")]
    pub prerequisite_timeout: Duration,
    /// Whether a shell is asked for variables that a task names.
    pub ask_variables: bool,
    /// Whether a shell loads the shell integration with its first job.
    pub shell_integration: bool,
}

impl Default for PolicySection {
    fn default() -> Self {
        Self {
            source: None,
            settings: toml::Table::new(),
            settings_of: BTreeMap::new(),
            time: None,
            load_time: None,
            memory: None,
            stack: None,
            answer: None,
            log_lines: None,
            file_size: None,
            record: false,
            record_limit: 64,
        }
    }
}

impl Default for EngineSection {
    fn default() -> Self {
        let (node, matcher) = (NodeSettings::default(), MatcherSettings::default());
        Self {
            output_limit: node.output_limit,
            explain: matcher.explain,
            start_within: node.start_within,
            attended_for: node.attended_for,
            prerequisite_timeout: node.prerequisite_within,
            ask_variables: matcher.ask_variables,
            shell_integration: node.shell_integration,
        }
    }
}

impl Config {
    /// Reads the file (`path`, or the one in the usual place if it exists) and applies the options
    /// of the command line on top.
    ///
    /// # Errors
    /// The file is wrong, or there is no place to keep the data.
    pub fn load(
        path: Option<&Path>,
        data_dir: Option<PathBuf>,
        socket: Option<String>,
    ) -> Result<Self, ConfigError> {
        Self::load_from(path, data_dir, socket, Self::read_if_there)
    }

    /// As [`Config::load`], for what only looks at the queue or stops: a file that is wrong is told to
    /// `warn`, and only the place of the queue and the tmux server are taken from it.
    ///
    /// # Errors
    /// The file cannot be read, what is wrong may be the place of the queue and no option says it, or there
    /// is no place to keep the data.
    pub fn load_if_wrong(
        path: Option<&Path>,
        data_dir: Option<PathBuf>,
        socket: Option<String>,
        warn: impl FnOnce(&ConfigError),
    ) -> Result<Self, ConfigError> {
        let is_placed = data_dir.is_some();
        Self::load_from(path, data_dir, socket, |path, is_named| {
            let wrong = match Self::read_if_there(path, is_named) {
                Err(error @ ConfigError::Wrong { .. }) => error,
                read => return read,
            };
            let text = path.map(Self::text).transpose()?.unwrap_or_default();
            let place = settings::place(&text);
            if place.is_none() && !is_placed {
                return Err(wrong);
            }
            warn(&wrong);
            let (data_dir, tmux_socket) = place.unwrap_or_default();
            let file = File {
                data_dir: data_dir.map(PathBuf::from),
                tmux_socket,
                ..File::default()
            };
            Ok((file, text))
        })
    }

    /// As [`Config::load`] without a file: for what looks at whether the file is right.
    ///
    /// # Errors
    /// There is no place to keep the data.
    pub fn load_without(
        path: Option<&Path>,
        data_dir: Option<PathBuf>,
        socket: Option<String>,
    ) -> Result<Self, ConfigError> {
        let nothing = |_: Option<&Path>, _| Ok(<(File, String)>::default());
        Self::load_from(path, data_dir, socket, nothing)
    }

    fn load_from(
        path: Option<&Path>,
        data_dir: Option<PathBuf>,
        socket: Option<String>,
        read: impl FnOnce(Option<&Path>, bool) -> Result<(File, String), ConfigError>,
    ) -> Result<Self, ConfigError> {
        let base = base();
        let usual = match &base {
            Ok(base) => Some(base.config_dir().join("assigner")),
            Err(_) => None,
        };
        let is_named = path.is_some();
        let path = path
            .map(Path::to_owned)
            .or_else(|| Some(usual.as_ref()?.join(FILE)));
        let (file, text) = read(path.as_deref(), is_named)?;
        let cache_dir = match &base {
            Ok(base) => Some(base.cache_dir().join("assigner").join("compiled")),
            Err(_) => None,
        };
        let data_dir = match data_dir.or_else(|| file.data_dir.clone()) {
            Some(directory) => directory,
            None => base?.data_dir().join("assigner"),
        };
        let data_dir = std::path::absolute(&data_dir)
            .map_err(|_| ConfigError::DataDirectory(data_dir.clone()))?;
        let nameable = data_dir
            .to_str()
            .is_some_and(|name| !name.chars().any(char::is_control));
        if !nameable {
            return Err(ConfigError::DataDirectory(data_dir));
        }
        let socket = match socket.or_else(|| file.tmux_socket.clone()) {
            Some(name) => name.parse().unwrap_or_default(),
            None => enclosing_server(std::env::var("TMUX").ok().as_deref()),
        };
        Ok(Self {
            data_dir,
            socket,
            profiles_dir: usual.clone().unwrap_or_default().join("agents"),
            policies_dir: usual.unwrap_or_default().join("policies"),
            cache_dir,
            path,
            is_named,
            text,
            file,
        })
    }

    /// Reads the file again. The place of the queue and the tmux server stay: a process keeps both.
    ///
    /// # Errors
    /// The file is wrong, or a named one is gone.
    pub fn read_again(&self) -> Result<Self, ConfigError> {
        let (file, text) = Self::read_if_there(self.path.as_deref(), self.is_named)?;
        Ok(Self {
            file,
            text,
            ..self.clone()
        })
    }

    fn read_if_there(path: Option<&Path>, is_named: bool) -> Result<(File, String), ConfigError> {
        let Some(path) = path else {
            return Ok(<(File, String)>::default());
        };
        // Only one that is known not to be there sets nothing.
        let is_absent = |error: &io::Error| {
            matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            )
        };
        match path.metadata() {
            Err(error) if !is_named && is_absent(&error) => Ok(<(File, String)>::default()),
            _ => Self::read(path),
        }
    }

    /// Returns the file that is read if none is named.
    ///
    /// # Errors
    /// There is no home directory.
    pub fn usual_file() -> Result<PathBuf, ConfigError> {
        Ok(base()?.config_dir().join("assigner").join(FILE))
    }

    /// Reads a file, and returns its text as well.
    ///
    /// # Errors
    /// It cannot be read, or is wrong.
    pub fn read(path: &Path) -> Result<(File, String), ConfigError> {
        let text = Self::text(path)?;
        Ok((parse(&text, path)?, text))
    }

    fn text(path: &Path) -> Result<String, ConfigError> {
        let unreadable = |source| ConfigError::Read {
            path: path.to_owned(),
            source,
        };
        let text = named::text(path, LARGEST).map_err(|error| unreadable(error.into()))?;
        private::obeyed(path).map_err(|error| unreadable(error.into()))?;
        Ok(text)
    }

    /// Returns the name of the configured policy.
    pub fn policy_name(&self) -> &str {
        let named = self.file.policy.source.as_deref();
        named.unwrap_or(DEFAULT_POLICY)
    }

    /// Returns the pools of sessions, with the place where they find this queue.
    pub fn pools(&self) -> PoolSettings {
        let data_dir = self.data_dir.canonicalize();
        PoolSettings {
            pools: self.file.pools.0.clone(),
            data_dir: data_dir.unwrap_or_else(|_| self.data_dir.clone()),
            socket: self.socket.option(),
        }
    }

    /// Returns the loader of policies, with the configured limits and the cache; `warn` is called
    /// with the reason if the cache is not used.
    pub fn loader(&self, warn: impl FnOnce(&str)) -> Loader {
        let loader = Loader::new(self.overrides());
        match &self.cache_dir {
            Some(directory) => loader.with_cache(directory, warn),
            None => loader,
        }
    }

    /// Returns the settings of the policy that decides: its own table if there is one, otherwise
    /// the general one, with `set` on top.
    pub fn live_settings(&self, name: &str, set: &[(String, Value)]) -> Value {
        let table = self.table_of(name).unwrap_or(&self.file.policy.settings);
        overlaid(table, set)
    }

    /// Returns the settings of a policy that is only examined: the general table applies to it only
    /// if it is the configured policy.
    pub fn settings(&self, name: &str, set: &[(String, Value)]) -> Value {
        let none = toml::Table::new();
        let general =
            (stem(name) == stem(self.policy_name())).then_some(&self.file.policy.settings);
        let table = self.table_of(name).or(general).unwrap_or(&none);
        overlaid(table, set)
    }

    fn table_of(&self, name: &str) -> Option<&toml::Table> {
        self.file.policy.settings_of.get(stem(name))
    }

    /// Returns the limits of policies that the file sets.
    pub fn overrides(&self) -> Overrides {
        let PolicySection {
            time,
            load_time,
            memory,
            stack,
            answer,
            log_lines,
            file_size,
            ..
        } = self.file.policy;
        Overrides {
            time,
            load_time,
            memory: memory.map(|mebibytes| mebibytes.saturating_mul(1 << 20)),
            stack: stack.map(|kibibytes| kibibytes.saturating_mul(1 << 10)),
            answer: answer.map(|kibibytes| kibibytes.saturating_mul(1 << 10)),
            log_lines,
            file: file_size.map(|mebibytes| mebibytes.saturating_mul(1 << 20)),
        }
    }
}

/// Returns the name of a policy without its directory and ending.
pub(crate) fn stem(name: &str) -> &str {
    let file = name.rsplit('/').next().unwrap_or(name);
    file.strip_suffix(".wasm").unwrap_or(file)
}

fn overlaid(table: &toml::Table, set: &[(String, Value)]) -> Value {
    let mut settings = match serde_json::to_value(table) {
        Ok(Value::Object(settings)) => settings,
        _ => serde_json::Map::new(),
    };
    settings.extend(set.iter().cloned());
    Value::Object(settings)
}

/// Reads `KEY=VALUE`; the value is read as JSON if it is JSON, otherwise as text.
///
/// # Errors
/// There is no `=`, or nothing before it.
pub fn setting(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, _)| !name.trim().is_empty())
        .ok_or("write a setting as KEY=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((name.trim().to_owned(), value))
}

/// Returns the server that plain `tmux` reaches: inside a session it is that session's, which tmux
/// names in `TMUX` (`SOCKET,PID,SESSION`).
fn enclosing_server(tmux: Option<&str>) -> Socket {
    match tmux.and_then(|told| told.split(',').next()) {
        Some(path) if path.starts_with('/') => Socket::Path(path.into()),
        _ => Socket::Default,
    }
}

/// Reads the text of the file at `path`.
///
/// # Errors
/// It is wrong; where, and what was probably meant.
pub fn parse(text: &str, path: &Path) -> Result<File, ConfigError> {
    toml::from_str(text).map_err(|error| ConfigError::Wrong {
        path: path.to_owned(),
        place: error
            .span()
            .map(|span| format!(" in line {}", settings::line_of(text, span.start)))
            .unwrap_or_default(),
        message: explained(&error.message().replace('\n', " ")),
    })
}

/// Returns a message with what was probably meant, if a key is unknown.
fn explained(message: &str) -> String {
    let Some(rest) = message.strip_prefix("unknown field `") else {
        return message.to_owned();
    };
    let mut words = rest.split('`');
    let name = words.next().unwrap_or_default();
    if let Some(section) = settings::section_of(name) {
        return format!("`{name}` stands in the section [{section}]");
    }
    let known: Vec<&str> = words.skip(1).step_by(2).collect();
    match get_close_matches(name, &known, 1, 0.6).first() {
        Some(close) => format!("there is no key `{name}`: did you mean `{close}`?"),
        None => message.to_owned(),
    }
}

fn base() -> Result<etcetera::base_strategy::Xdg, ConfigError> {
    etcetera::base_strategy::Xdg::new().map_err(|_| ConfigError::NoHome)
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration::deserialize(deserializer, "time", duration::POLICY).map(Some)
}

fn load_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration::deserialize(deserializer, "load-time", duration::POLICY).map(Some)
}

fn attended_for<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    duration::deserialize(deserializer, "attended-for", duration::ATTENDED)
}

fn start_within<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    duration::deserialize(deserializer, "start-within", duration::SETTING)
}

fn prerequisite_timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    duration::deserialize(deserializer, "prerequisite-timeout", duration::PREREQUISITE)
}

#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/targets/config.rs"]
pub(crate) mod fuzz;

#[cfg(test)]
#[path = "config_tests.rs"]
mod precedence;

#[cfg(test)]
mod tests;
