//! Which files may be an agent's transcript.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};

use super::{Format, opencode};

/// The maximum number of files that are returned, newest first.
const MOST: usize = 64;
/// The maximum number of directory entries that are looked at.
const BUDGET: usize = 100_000;
/// The maximum depth of nested directories.
const DEEPEST: usize = 16;
/// The maximum number of parent directories in which a repository is looked for.
const HIGHEST: usize = 64;
/// Claude Code shortens longer directory names and appends a hash.
const LONGEST_SLUG: usize = 200;

/// Where an agent keeps its transcripts, according to its profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TranscriptSpec {
    /// Their format.
    pub format: Format,
    /// The directory that contains them.
    pub home: TranscriptHome,
    /// A glob below `home`. `{cwd}` is the agent's directory, `{slug}` the same with everything
    /// except letters and digits replaced by `-`, `{root}` the root of the repository that contains
    /// it, or the directory itself if there is none.
    pub files: String,
}

/// A directory that a variable of the agent's process may name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TranscriptHome {
    /// The variable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variable: Option<String>,
    /// The directory if the variable is not set. `~` is the agent's `HOME`; `{cwd}` and `{root}` as
    /// in `files`.
    pub default: String,
}

/// Returns at most 64 transcripts that were changed at or after `since`, newest first.
///
/// `env` are variables of the agent's process, `cwd` is its directory. Links are followed, but each
/// directory is visited once. At most 100,000 entries are looked at.
pub fn candidates(
    spec: &TranscriptSpec,
    env: &BTreeMap<String, String>,
    cwd: &Path,
    since: SystemTime,
) -> Vec<PathBuf> {
    let Some(place) = SearchPlace::new(spec, env, cwd) else {
        return Vec::new();
    };
    let mut found = place.walk(match spec.format {
        // New rows are in a second file until they are merged, so this one's time says nothing.
        Format::Opencode => SystemTime::UNIX_EPOCH,
        _ => since,
    });
    found.sort_unstable_by(|one, other| other.cmp(one));
    found.truncate(MOST);
    let files = found.into_iter().map(|(_, path)| path);
    match spec.format {
        Format::Opencode => {
            let conversations = |path: PathBuf| opencode::conversations(&path, cwd, since);
            files.flat_map(conversations).flatten().take(MOST).collect()
        }
        _ => files.collect(),
    }
}

/// Returns the directory in which transcripts will be, as far as that is known before there is any.
pub fn expected_in(
    spec: &TranscriptSpec,
    env: &BTreeMap<String, String>,
    cwd: &Path,
) -> Option<PathBuf> {
    let place = SearchPlace::new(spec, env, cwd)?;
    match place.below {
        Some(_) => Some(place.base),
        None => place.base.parent().map(Path::to_owned),
    }
}

/// Whether `path` could be a transcript according to `spec`, judging by its name. A database never is:
/// it holds the conversations of many agents, so an agent that has it open says nothing about its own.
pub fn belongs(
    spec: &TranscriptSpec,
    env: &BTreeMap<String, String>,
    cwd: &Path,
    path: &Path,
) -> bool {
    if spec.format.lines().is_none() {
        return false;
    }
    let Some(place) = SearchPlace::new(spec, env, cwd) else {
        return false;
    };
    // The system reports paths with links resolved.
    let real = fs::canonicalize(&place.base).unwrap_or_default();
    [place.base.as_path(), real.as_path()]
        .into_iter()
        .filter(|base| base.is_absolute())
        .filter_map(|base| path.strip_prefix(base).ok())
        .any(|below| place.matches(below))
}

/// Where to look, and what for.
struct SearchPlace {
    /// The directory, or the single file.
    base: PathBuf,
    /// The names of files below it. `None` if `base` is the file.
    below: Option<GlobMatcher>,
    /// How many directories deep a match may be.
    depth: usize,
}

impl SearchPlace {
    fn new(spec: &TranscriptSpec, env: &BTreeMap<String, String>, cwd: &Path) -> Option<Self> {
        let home = home(&spec.home, env, cwd)?;
        let files = fill(&spec.files, cwd, true)?;
        let mut base = match files.starts_with('/') {
            true => PathBuf::from("/"),
            false => home,
        };
        let parts: Vec<&str> = files
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".")
            .collect();
        let plain = parts
            .iter()
            .take_while(|part| literal(part).is_some())
            .count();
        let (before, below) = parts.split_at_checked(plain)?;
        base.extend(before.iter().filter_map(|part| literal(part)));
        let depth = match below.contains(&"**") {
            true => DEEPEST,
            false => below.len(),
        };
        let below = match below.is_empty() {
            true => None,
            false => Some(
                GlobBuilder::new(&below.join("/"))
                    .literal_separator(true)
                    .backslash_escape(false)
                    .build()
                    .ok()?
                    .compile_matcher(),
            ),
        };
        Some(Self { base, below, depth })
    }

    fn matches(&self, below: &Path) -> bool {
        let within = below
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        match &self.below {
            Some(glob) => within && glob.is_match(below),
            None => below.as_os_str().is_empty(),
        }
    }

    fn walk(&self, since: SystemTime) -> Vec<(SystemTime, PathBuf)> {
        let mut found = Vec::new();
        let mut budget = BUDGET;
        let mut seen = HashSet::new();
        let mut places = vec![(PathBuf::new(), 0)];
        while let Some((below, depth)) = places.pop() {
            let path = match below.as_os_str().is_empty() {
                true => self.base.clone(),
                false => self.base.join(&below),
            };
            let Ok(metadata) = fs::metadata(&path) else {
                continue;
            };
            if metadata.is_file() {
                if self.matches(&below)
                    && let Ok(changed) = metadata.modified()
                    && changed >= since
                {
                    found.push((changed, path));
                }
                continue;
            }
            if !metadata.is_dir()
                || depth >= self.depth
                || !seen.insert((metadata.dev(), metadata.ino()))
            {
                continue;
            }
            let Ok(entries) = fs::read_dir(&path) else {
                continue;
            };
            let mut names: Vec<OsString> = entries
                .take(budget)
                .flatten()
                .map(|entry| entry.file_name())
                .collect();
            budget = budget.saturating_sub(names.len());
            // The last is visited first: if the names are dates, the newest are never missed.
            names.sort_unstable();
            places.extend(names.into_iter().map(|name| (below.join(name), depth + 1)));
        }
        found
    }
}

fn home(home: &TranscriptHome, env: &BTreeMap<String, String>, cwd: &Path) -> Option<PathBuf> {
    let value = home
        .variable
        .as_ref()
        .and_then(|name| env.get(name))
        .filter(|value| !value.is_empty());
    let named = match value {
        Some(value) => value.clone(),
        None => fill(&home.default, cwd, false)?,
    };
    let path = match named.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            let own = env.get("HOME").filter(|own| !own.is_empty())?;
            Path::new(own).join(rest.trim_start_matches('/'))
        }
        _ => PathBuf::from(named),
    };
    Some(cwd.join(path))
}

/// Replaces the placeholders that depend on an agent's directory.
fn fill(text: &str, cwd: &Path, glob: bool) -> Option<String> {
    let put = |path: &Path| {
        let name = path.to_str()?;
        Some(match glob {
            true => globset::escape(name),
            false => name.to_owned(),
        })
    };
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, behind) = rest.split_at_checked(at)?;
        filled.push_str(before);
        let known = ["{cwd}", "{root}", "{slug}"]
            .into_iter()
            .find(|name| behind.starts_with(name));
        let name = known.unwrap_or("{");
        filled.push_str(&match name {
            "{cwd}" => put(cwd)?,
            "{root}" => put(root(cwd))?,
            "{slug}" => slug(cwd.to_str()?),
            other => other.to_owned(),
        });
        rest = behind.get(name.len()..)?;
    }
    filled.push_str(rest);
    Some(filled)
}

/// Returns the root of the repository that `cwd` is in, or else `cwd`.
fn root(cwd: &Path) -> &Path {
    cwd.ancestors()
        .take(HIGHEST)
        .find(|directory| directory.join(".git").exists())
        .unwrap_or(cwd)
}

fn slug(cwd: &str) -> String {
    // Claude Code counts in UTF-16 units.
    let slug: String = cwd
        .encode_utf16()
        .map(|unit| match u8::try_from(unit).map(char::from) {
            Ok(letter) if letter.is_ascii_alphanumeric() => letter,
            _ => '-',
        })
        .collect();
    match slug.get(..LONGEST_SLUG) {
        Some(short) if slug.len() > LONGEST_SLUG => format!("{short}-*"),
        _ => slug,
    }
}

/// Returns the only name that a part of a glob can match, if there is just one.
fn literal(part: &str) -> Option<String> {
    let mut name = String::with_capacity(part.len());
    let mut rest = part;
    while let Some(letter) = rest.chars().next() {
        // The form that `globset::escape` writes.
        let bracketed = rest
            .strip_prefix('[')
            .and_then(|behind| {
                let letter = behind.chars().next()?;
                Some((letter, behind.get(letter.len_utf8()..)?.strip_prefix(']')?))
            })
            .filter(|(letter, _)| !matches!(letter, '!' | '^'));
        if let Some((letter, behind)) = bracketed {
            name.push(letter);
            rest = behind;
            continue;
        }
        if "*?[]{}".contains(letter) {
            return None;
        }
        name.push(letter);
        rest = rest.get(letter.len_utf8()..)?;
    }
    Some(name)
}
