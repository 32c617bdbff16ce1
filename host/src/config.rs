//! What the program is told: flags over environment over the configuration file over defaults.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcetera::BaseStrategy;
use globset::{Glob, GlobSet, GlobSetBuilder};
use jiff::SignedDuration;
use serde::{Deserialize, Deserializer};
use thiserror::Error;

use crate::engine::Settings;
use crate::policy::{Limits, LoadError, Policy, Source, resolve};
use crate::tmux::Socket;

/// What is wrong with the configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A file that was named, or the one that is there, cannot be read.
    #[error("cannot read the configuration `{path}`: {source}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not TOML, or holds something unknown.
    #[error("the configuration `{path}` is wrong{place}: {message}", path = path.display())]
    Wrong {
        /// Which.
        path: PathBuf,
        /// Where, in words.
        place: String,
        /// What.
        message: String,
    },
    /// There is nowhere to keep anything.
    #[error("there is no home directory: set HOME, or name a data directory with --data-dir")]
    NoHome,
    /// The jobs' files are named to shells and to tmux.
    #[error(
        "the data directory {0:?} has a name that no shell can be told: use UTF-8 without control characters"
    )]
    DataDirectory(PathBuf),
}

/// The configuration of one call.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the queue is kept; absolute.
    pub data_dir: PathBuf,
    /// The tmux server.
    pub socket: Socket,
    /// Where policies stand that are named without a path.
    pub policies_dir: PathBuf,
    /// What the file says.
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
}

/// `[sessions]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SessionsSection {
    /// Patterns of names; such sessions take no tasks.
    pub exclude: Patterns,
    /// Patterns of names; such sessions take only tasks that name them.
    pub protect: Patterns,
}

/// Shell patterns for names: `*`, `?`, `[a-z]`, `{one,other}`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Patterns(Vec<Glob>);

impl Patterns {
    /// Returns what matches a name that any of them matches.
    pub fn set(&self) -> GlobSet {
        let mut set = GlobSetBuilder::new();
        for pattern in &self.0 {
            set.add(pattern.clone());
        }
        // Each of them was parsed: together they are as good.
        set.build().unwrap_or_else(|_| GlobSet::empty())
    }
}

impl<'de> Deserialize<'de> for Patterns {
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
    /// A path, a name in the policies directory, or `default.wasm`.
    #[serde(rename = "use")]
    pub source: String,
    /// What the policy's `configure` takes.
    pub settings: toml::Table,
    /// For how long it may decide in one round.
    #[serde(deserialize_with = "duration")]
    pub time: Duration,
    /// How much memory it may have, in MiB.
    pub memory: usize,
}

/// `[engine]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct EngineSection {
    /// The last so many bytes of a task's output are kept.
    pub output_limit: u64,
    /// How many rankings of a decision are kept.
    pub explain: u32,
    /// How long a shell may take to take up a job.
    #[serde(deserialize_with = "duration")]
    pub start_within: Duration,
    /// For how long a session is left alone after a key was pressed in it.
    #[serde(deserialize_with = "duration")]
    pub attended_for: Duration,
    /// After how long a prerequisite is ended, where its task does not say.
    #[serde(deserialize_with = "duration")]
    pub prerequisite_timeout: Duration,
    /// Whether a shell is asked for variables that a task names.
    pub ask_variables: bool,
}

impl Default for PolicySection {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            source: "default.wasm".to_owned(),
            settings: toml::Table::new(),
            time: limits.time,
            memory: limits.memory >> 20,
        }
    }
}

impl Default for EngineSection {
    fn default() -> Self {
        let settings = Settings::default();
        Self {
            output_limit: settings.output_limit,
            explain: settings.explain,
            start_within: settings.start_within,
            attended_for: settings.attended_for,
            prerequisite_timeout: settings.prerequisite_within,
            ask_variables: settings.ask_variables,
        }
    }
}

impl Config {
    /// Reads the file (`path`, or the one in the usual place if it is there) and lays what was
    /// given on the command line over it.
    ///
    /// # Errors
    /// The file is wrong, or there is nowhere to keep the data.
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
            policies_dir: usual.unwrap_or_default().join("policies"),
            file,
        })
    }

    /// Whether neither the file nor the command line names a policy.
    pub fn policy_is_default(&self) -> bool {
        self.file.policy.source == PolicySection::default().source
    }

    /// Loads the policy: `source` where one is given, else the configured one.
    ///
    /// # Errors
    /// It cannot be found or used; see [`LoadError`].
    pub fn policy(&self, source: Option<&str>) -> Result<Policy, LoadError> {
        let name = source.unwrap_or(&self.file.policy.source);
        let section = &self.file.policy;
        let settings = serde_json::to_value(&section.settings).unwrap_or_default();
        match resolve(name, &self.policies_dir)? {
            Source::Embedded => Policy::embedded(&self.limits(), &settings),
            Source::File(path) => Policy::from_file(&path, &self.limits(), &settings),
        }
    }

    /// Loads the embedded policy with its default settings: what stands in where the configured
    /// one fails, whose settings are not for this one.
    ///
    /// # Errors
    /// The system has no memory for it.
    pub fn fallback_policy(&self) -> Result<Policy, LoadError> {
        let none = serde_json::Value::Object(serde_json::Map::new());
        let limits = self.limits();
        // There is nobody behind it: on a machine that is busy it may rather be slow.
        let patient = Limits {
            time: limits.time.max(limits.load_time),
            ..limits
        };
        Policy::embedded(&patient, &none)
    }

    fn limits(&self) -> Limits {
        Limits {
            time: self.file.policy.time,
            memory: self.file.policy.memory << 20,
            ..Limits::default()
        }
    }
}

/// The server that plain `tmux` reaches: inside of a session it is the one of that session, by
/// what tmux puts into `TMUX` (`SOCKET,PID,SESSION`).
fn enclosing_server(tmux: Option<&str>) -> Socket {
    match tmux.and_then(|told| told.split(',').next()) {
        Some(path) if path.starts_with('/') => Socket::Path(path.into()),
        _ => Socket::Default,
    }
}

fn read(path: &Path) -> Result<File, ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    toml::from_str(&text).map_err(|error| ConfigError::Wrong {
        path: path.to_owned(),
        place: error
            .span()
            .and_then(|span| text.get(..span.start))
            .map(|before| format!(" in line {}", before.matches('\n').count() + 1))
            .unwrap_or_default(),
        message: error.message().replace('\n', " "),
    })
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let duration = SignedDuration::deserialize(deserializer)?;
    Duration::try_from(duration)
        .map_err(|_| serde::de::Error::custom("a duration is not negative: write it as \"10s\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<File, String> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("config.toml");
        fs::write(&path, text).expect("written");
        read(&path).map_err(|error| {
            error
                .to_string()
                .replace(&directory.path().display().to_string(), "")
        })
    }

    #[test]
    fn the_empty_file_is_the_default() {
        assert_eq!(parse(""), Ok(File::default()));
    }

    #[test]
    fn inside_tmux_the_server_around_is_meant() {
        let path = Socket::Path("/tmp/tmux-0/work".into());
        assert_eq!(enclosing_server(Some("/tmp/tmux-0/work,123,0")), path);
        assert_eq!(enclosing_server(Some("")), Socket::Default);
        assert_eq!(enclosing_server(None), Socket::Default);
    }

    #[test]
    fn the_example_holds_every_default() {
        let example = include_str!("../../examples/config.toml");
        let file = parse(example).expect("valid");
        let mut settings = file.policy.settings.clone();
        let without_settings = File {
            policy: PolicySection {
                settings: toml::Table::new(),
                ..file.policy
            },
            ..file
        };
        assert_eq!(without_settings, File::default());
        let none = serde_json::json!({});
        let policy = Policy::embedded(&Limits::default(), &none).expect("a policy");
        for (name, value) in policy.default_settings().as_object().expect("an object") {
            let example = settings.remove(name).expect("every setting");
            assert_eq!(
                serde_json::to_value(example).expect("json"),
                *value,
                "{name}"
            );
        }
        assert!(settings.is_empty(), "unknown: {settings:?}");
        for section in ["data-dir", "tmux-socket"] {
            assert!(example.contains(section));
        }
    }

    #[test]
    fn settings_are_read() {
        let file = parse(
            "tmux-socket = 'x'\n[policy]\nuse = 'mine.wasm'\ntime = '2s'\n[policy.settings]\nmin-score = 50\n[engine]\nattended-for = '0s'\n",
        )
        .expect("valid");
        assert_eq!(file.policy.source, "mine.wasm");
        assert_eq!(file.policy.time, Duration::from_secs(2));
        assert_eq!(file.policy.settings["min-score"].as_integer(), Some(50));
        assert_eq!(file.engine.attended_for, Duration::ZERO);
    }

    #[test]
    fn patterns_match_whole_names() {
        let file = parse("[sessions]\nexclude = ['mgr-*', 'a?c']\n").expect("valid");
        let set = file.sessions.exclude.set();
        for (name, excluded) in [
            ("mgr-1", true),
            ("abc", true),
            ("xmgr-1", false),
            ("abcd", false),
        ] {
            assert_eq!(set.is_match(name), excluded, "{name}");
        }
        let error = parse("[sessions]\nprotect = ['[']\n").expect_err("no pattern");
        assert!(error.contains("line 2"), "{error}");
    }

    #[test]
    fn mistakes_name_their_line() {
        let error = parse("\n[policy]\nuze = 'x'\n").expect_err("unknown");
        assert!(error.contains("line 3") && error.contains("uze"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}
