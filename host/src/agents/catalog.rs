//! The available profiles: the built-in ones and a person's own, which take precedence.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use include_dir::{Dir, include_dir};
use thiserror::Error;

use super::profile::{Profile, ProfileError};
use crate::files::{named, private};
use crate::model::headless::HeadlessSpec;

static BUILT_IN: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/src/agents/profiles");

/// The largest file that is read as a profile.
const LARGEST: u64 = 1 << 20;

/// Why a profile cannot be used: one line, with the file and the place.
#[derive(Debug, Error)]
pub enum CatalogError {
    /// The file cannot be read.
    #[error("cannot read the profile `{path}`: {source}", path = path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// It is invalid.
    #[error("the profile `{path}` is invalid: {source}", path = path.display())]
    Wrong {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        source: ProfileError,
    },
}

/// A profile and where it comes from.
#[derive(Debug, Clone)]
pub struct CatalogEntry {
    /// The profile.
    pub profile: Arc<Profile>,
    /// Its text.
    pub text: String,
    /// Its file. `None` if it is built in.
    pub path: Option<PathBuf>,
}

/// The profiles, a person's own before the built-in ones.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    entries: Vec<CatalogEntry>,
}

impl Catalog {
    /// Returns the built-in profiles and those in `directory`, which replace built-in ones of the
    /// same name. An invalid file is left out and returned as an error.
    pub fn load(directory: &Path) -> (Self, Vec<CatalogError>) {
        let mut catalog = Self::built_in();
        let mut problems = Vec::new();
        let mut own = Vec::new();
        let mut files: Vec<PathBuf> = match fs::read_dir(directory) {
            Ok(files) => files.flatten().map(|file| file.path()).collect(),
            Err(_) => Vec::new(),
        };
        files.retain(|path| path.extension().is_some_and(|ending| ending == "toml"));
        files.sort();
        for path in files {
            match read(&path) {
                Ok(entry) if path.file_stem() != Some(entry.profile.name.as_ref()) => {
                    let message = format!(
                        "its name is {:?}: rename the file to {}.toml",
                        entry.profile.name, entry.profile.name
                    );
                    problems.push(CatalogError::Wrong {
                        path,
                        source: ProfileError {
                            place: String::new(),
                            message,
                        },
                    });
                }
                Ok(entry) => own.push(entry),
                Err(problem) => problems.push(problem),
            }
        }
        let name = |entry: &CatalogEntry| entry.profile.name.clone();
        let names: Vec<String> = own.iter().map(name).collect();
        catalog
            .entries
            .retain(|entry| !names.contains(&entry.profile.name));
        own.append(&mut catalog.entries);
        (Self { entries: own }, problems)
    }

    /// Whether there is a profile of that name, built-in or a file in `directory`. Reads none.
    pub fn is_known(directory: &Path, name: &str) -> bool {
        let file = format!("{name}.toml");
        BUILT_IN.get_file(&file).is_some() || directory.join(file).is_file()
    }

    /// Returns how the agent `name` is asked without a terminal, by its profile in `directory` or the
    /// built-in one.
    ///
    /// # Errors
    /// Why it cannot be asked, in one line.
    pub fn headless(directory: &Path, name: &str) -> Result<HeadlessSpec, String> {
        let (catalog, problems) = Self::load(directory);
        let Some(entry) = catalog.get(name) else {
            // It may be one of those that cannot be read.
            let why = problems.first().map_or_else(
                || "`assigner agents list` shows all".to_owned(),
                ToString::to_string,
            );
            return Err(format!("there is no profile `{name}`: {why}"));
        };
        entry.profile.headless.clone().ok_or_else(|| {
            format!("`{name}` cannot be asked without a terminal: its profile has no [headless]")
        })
    }

    /// Returns the built-in profiles.
    pub fn built_in() -> Self {
        let files = BUILT_IN.files().filter_map(|file| file.contents_utf8());
        // A test reads all of them.
        let entries = files.filter_map(|text| {
            Some(CatalogEntry {
                profile: Arc::new(Profile::read(text).ok()?),
                text: text.to_owned(),
                path: None,
            })
        });
        Self {
            entries: entries.collect(),
        }
    }

    /// Returns the profiles in the order in which they are tried.
    pub fn entries(&self) -> &[CatalogEntry] {
        &self.entries
    }

    /// Returns the profile with that name.
    pub fn get(&self, name: &str) -> Option<&CatalogEntry> {
        let mut entries = self.entries.iter();
        entries.find(|entry| entry.profile.name == name)
    }

    /// Whether any profile recognises its program by the screen.
    pub(crate) fn knows_screens(&self) -> bool {
        let mut profiles = self.agents();
        profiles.any(|profile| !profile.recognise.screen.is_empty())
    }

    /// Returns the profiles of agents, without that of shells.
    pub(crate) fn agents(&self) -> impl Iterator<Item = &Arc<Profile>> + Clone {
        let profiles = self.entries.iter().map(|entry| &entry.profile);
        profiles.filter(|profile| !profile.is_shell())
    }
}

/// Reads a profile from a file.
///
/// # Errors
/// It cannot be read or is invalid.
pub fn read(path: &Path) -> Result<CatalogEntry, CatalogError> {
    let unreadable = |source| CatalogError::Read {
        path: path.to_owned(),
        source,
    };
    let text = named::text(path, LARGEST).map_err(|error| unreadable(error.into()))?;
    private::obeyed(path).map_err(|error| unreadable(error.into()))?;
    let profile = Profile::read(&text).map_err(|source| CatalogError::Wrong {
        path: path.to_owned(),
        source,
    })?;
    Ok(CatalogEntry {
        profile: Arc::new(profile),
        text,
        path: Some(path.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_profile_can_be_read_and_is_called_as_its_file() {
        let mut names = Vec::new();
        for file in BUILT_IN.files() {
            let text = file.contents_utf8().expect("UTF-8");
            let profile = Profile::read(text)
                .unwrap_or_else(|error| panic!("{}: {error}", file.path().display()));
            let stem = file.path().file_stem().and_then(|stem| stem.to_str());
            assert_eq!(stem, Some(profile.name.as_str()));
            names.push(profile.name);
        }
        names.sort();
        let expected = [
            "aider",
            "amp",
            "claude",
            "cline",
            "codex",
            "comet",
            "copilot",
            "crush",
            "cursor-agent",
            "gemini",
            "goose",
            "kimi",
            "ollama",
            "opencode",
            "qwen",
            "shell",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_persons_own_comes_first_and_a_wrong_one_is_told_of() {
        let directory = tempfile::tempdir().expect("a directory");
        let own = "name = 'codex'\n[recognise]\nprograms = ['my-codex']\n\
            [composer]\nline = '^> (?P<draft>.*)$'\n";
        fs::write(directory.path().join("codex.toml"), own).expect("written");
        fs::write(directory.path().join("odd.toml"), "name = 3").expect("written");
        fs::write(directory.path().join("notes.txt"), "none").expect("written");
        let (catalog, problems) = Catalog::load(directory.path());
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0]
                .to_string()
                .contains("odd.toml` is invalid: line 1")
        );
        let codex = catalog.get("codex").expect("there");
        assert!(codex.path.is_some());
        assert_eq!(codex.profile.recognise.programs, ["my-codex"]);
        assert!(catalog.get("claude").expect("there").path.is_none());
        assert!(catalog.agents().all(|profile| profile.name != "shell"));
    }
}
