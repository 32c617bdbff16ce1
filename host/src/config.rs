//! The configuration: flags override the environment, which overrides the file, which overrides the
//! defaults.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcetera::BaseStrategy;
use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use thiserror::Error;

use crate::files::{named, private};
use crate::matcher::MatcherSettings;
use crate::model::duration;
use crate::model::task::check_variable;
use crate::node::{Launch, NodeSettings, Pool, PoolSettings, Stand};
use crate::policy::{Loader, Overrides};
use crate::tmux::Socket;

/// What is wrong with the configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The named file, or the one in the usual place, cannot be read.
    #[error("cannot read the configuration `{path}`: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
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
    /// How a person is notified of an agent that waits.
    pub notify: NotifySection,
    /// Sessions that are started when tasks wait for them.
    #[serde(rename = "pool")]
    pub pools: PoolTables,
}

/// The tables `[[pool]]`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PoolTables(Vec<Pool>);

impl<'de> Deserialize<'de> for PoolTables {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let sections = Vec::<PoolSection>::deserialize(deserializer)?;
        let pools = sections.into_iter().map(PoolSection::checked);
        let pools: Vec<Pool> = pools
            .collect::<Result<_, _>>()
            .map_err(serde::de::Error::custom)?;
        if pools.len() > MOST_POOLS {
            let message = format!("there can be at most {MOST_POOLS} pools");
            return Err(serde::de::Error::custom(message));
        }
        for (index, pool) in pools.iter().enumerate() {
            if pools[..index].iter().any(|other| other.name == pool.name) {
                let message = format!("two pools are called {}", pool.name);
                return Err(serde::de::Error::custom(message));
            }
        }
        Ok(Self(pools))
    }
}

/// No configuration is this long, in bytes.
const LARGEST: u64 = 1 << 20;

/// More pools than this are a mistake, and so are more sessions in one pool.
const MOST_POOLS: usize = 64;
const LARGEST_POOL: u32 = 64;

/// The longest command of a pool, in bytes.
const LONGEST_COMMAND: usize = 16 << 10;

/// `[[pool]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PoolSection {
    name: String,
    command: CommandSection,
    provider: Option<String>,
    directory: Option<PathBuf>,
    worktree: Option<PathBuf>,
    #[serde(default = "one")]
    max: u32,
    #[serde(default = "ten_minutes", deserialize_with = "idle")]
    idle: Duration,
    tasks: Option<u32>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default = "one_minute", deserialize_with = "start_within")]
    start_within: Duration,
}

/// A line for a shell, or a program with its arguments.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum CommandSection {
    Line(String),
    Words(Vec<String>),
}

fn one() -> u32 {
    1
}

fn ten_minutes() -> Duration {
    Duration::from_secs(600)
}

fn one_minute() -> Duration {
    Duration::from_secs(60)
}

impl PoolSection {
    /// Returns the pool, or what is wrong with it.
    fn checked(self) -> Result<Pool, String> {
        let plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
        let is_name = |name: &str| (1..=64).contains(&name.len()) && name.chars().all(plain);
        let name = self.name;
        if !is_name(&name) {
            return Err(format!(
                "the pool's name {name:?} is not 1 to 64 letters, digits, `-` and `_`"
            ));
        }
        let wrong = |what: &str| Err(format!("the pool {name}: {what}"));
        let provider = self.provider.unwrap_or_else(|| name.clone());
        if !is_name(&provider) {
            return wrong("its provider is not 1 to 64 letters, digits, `-` and `_`");
        }
        let words = match &self.command {
            CommandSection::Line(line) => std::slice::from_ref(line),
            CommandSection::Words(words) => words.as_slice(),
        };
        let length: usize = words.iter().map(String::len).sum();
        if words.first().is_none_or(|first| first.trim().is_empty()) || length > LONGEST_COMMAND {
            return wrong("its command is empty or too long");
        }
        let values = words.iter().chain(self.env.values());
        if values
            .chain(self.env.keys())
            .any(|text| text.contains(char::is_control))
        {
            return wrong("its command or its variables have a control character");
        }
        for (name, value) in &self.env {
            if let Err(why) = check_variable(name, value) {
                return wrong(&format!("the variable {name:?}: {why}"));
            }
        }
        if !(1..=LARGEST_POOL).contains(&self.max) {
            return wrong(&format!("`max` must be from 1 to {LARGEST_POOL}"));
        }
        let stand = match (self.directory, self.worktree) {
            (Some(_), Some(_)) => return wrong("it can have a directory or a worktree, not both"),
            (Some(directory), None) => Stand::Directory(directory),
            (None, Some(repository)) => Stand::Worktree(repository),
            (None, None) => Stand::Directory("~".into()),
        };
        let (Stand::Directory(path) | Stand::Worktree(path)) = &stand;
        let Some(path) = at_home(path) else {
            return wrong("its directory is not absolute and does not begin with `~/`");
        };
        let nameable = path
            .to_str()
            .is_some_and(|path| !path.contains(char::is_control));
        if !nameable {
            return wrong("its directory is not UTF-8 without control characters");
        }
        Ok(Pool {
            tasks: self.tasks.unwrap_or(match stand {
                Stand::Directory(_) => 0,
                // Each task has a worktree of its own.
                Stand::Worktree(_) => 1,
            }),
            stand: match stand {
                Stand::Directory(_) => Stand::Directory(path),
                Stand::Worktree(_) => Stand::Worktree(path),
            },
            command: match self.command {
                CommandSection::Line(line) => Launch::Line(line),
                CommandSection::Words(words) => Launch::Words(words),
            },
            name,
            provider,
            max: self.max,
            idle: self.idle,
            env: self.env,
            start_within: self.start_within,
        })
    }
}

/// Returns an absolute path, with a leading `~` replaced.
fn at_home(path: &Path) -> Option<PathBuf> {
    let below = match path.strip_prefix("~") {
        Ok(below) => below,
        Err(_) => return path.is_absolute().then(|| path.to_owned()),
    };
    let home = PathBuf::from(std::env::var_os("HOME")?);
    let path = if below.as_os_str().is_empty() {
        home
    } else {
        home.join(below)
    };
    path.is_absolute().then_some(path)
}

/// `[notify]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct NotifySection {
    /// Run by `sh -c` when an agent starts to wait for a person. The task is in `ASSIGNER_TASK`,
    /// the session in `ASSIGNER_SESSION` and the question in `ASSIGNER_QUESTION`.
    pub command: Option<String>,
    /// Whether the terminals that show tmux ring their bell.
    pub bell: bool,
}

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
        let base = etcetera::base_strategy::Xdg::new().map_err(|_| ConfigError::NoHome);
        let usual = match &base {
            Ok(base) => Some(base.config_dir().join("assigner")),
            Err(_) => None,
        };
        let file = match (path, &usual) {
            (Some(path), _) => read(path)?,
            (None, Some(usual)) if usual.join("config.toml").exists() => {
                read(&usual.join("config.toml"))?
            }
            (None, _) => File::default(),
        };
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
            file,
        })
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

    fn overrides(&self) -> Overrides {
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

fn read(path: &Path) -> Result<File, ConfigError> {
    let unreadable = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let text = named::text(path, LARGEST).map_err(|error| unreadable(error.into()))?;
    private::obeyed(path).map_err(|error| unreadable(error.into()))?;
    parse(&text, path)
}

/// Reads the text of the file at `path`.
fn parse(text: &str, path: &Path) -> Result<File, ConfigError> {
    toml::from_str(text).map_err(|error| ConfigError::Wrong {
        path: path.to_owned(),
        place: error
            .span()
            .and_then(|span| text.get(..span.start))
            .map(|before| format!(" in line {}", before.matches('\n').count() + 1))
            .unwrap_or_default(),
        message: error.message().replace('\n', " "),
    })
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration::deserialize(deserializer, "time", duration::POLICY).map(Some)
}

fn load_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration::deserialize(deserializer, "load-time", duration::POLICY).map(Some)
}

fn start_within<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    duration::deserialize(deserializer, "start-within", duration::SETTING)
}

fn attended_for<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    duration::deserialize(deserializer, "attended-for", duration::ATTENDED)
}

fn prerequisite_timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    duration::deserialize(deserializer, "prerequisite-timeout", duration::PREREQUISITE)
}

fn idle<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    duration::deserialize(deserializer, "idle", duration::SETTING)
}

#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/targets/config.rs"]
pub(crate) mod fuzz;

#[cfg(test)]
#[path = "config_tests.rs"]
mod precedence;

#[cfg(test)]
mod tests;
