//! The tables `[[pool]]` of the configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::start_within;
use crate::model::duration;
use crate::model::task::check_variable;
use crate::node::{Launch, Pool, Stand};

/// The tables `[[pool]]`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PoolTables(pub(super) Vec<Pool>);

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

fn idle<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    duration::deserialize(deserializer, "idle", duration::SETTING)
}
