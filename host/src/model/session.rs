//! A session: a tmux pane that can take tasks, and what is known about it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

use super::eligibility::{Admission, Place, SHELL};
use super::naming::Who;

/// Returns the names of a session: its label and, if its tmux session has several panes
/// (`name:window.pane`), that session's name. tmux allows no colon in a name.
pub fn names(label: &str) -> impl Iterator<Item = &str> {
    let session = label.split_once(':').map(|(session, _)| session);
    std::iter::once(label).chain(session)
}

/// A session, as far as this determines which tasks suit it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionContext {
    /// Its name.
    pub name: String,
    /// What runs in it.
    pub provider: String,
    /// Its directory: absolute and normalised.
    pub current_dir: Option<String>,
    /// The branch of the repository there.
    pub git_branch: Option<String>,
    /// Its variables.
    pub env: BTreeMap<String, String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Which tasks it takes at all.
    pub admission: Admission,
    /// How many seconds it has been idle.
    pub idle: u32,
}

impl SessionContext {
    /// Returns a shell with this name, about which nothing else is known.
    pub fn shell(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            provider: SHELL.to_owned(),
            current_dir: None,
            git_branch: None,
            env: BTreeMap::new(),
            labels: BTreeMap::new(),
            admission: Admission::Open,
            idle: 0,
        }
    }

    /// Returns the place that a task's demand looks at.
    pub fn place(&self) -> Place<'_> {
        Place {
            shell: None,
            who: Who::named(&self.name),
            provider: &self.provider,
            branch: self.git_branch.as_deref(),
            labels: &self.labels,
            admission: self.admission,
            directory: self.current_dir.as_deref(),
            repository: None,
        }
    }
}

/// The shells that assigner can give a job to; each has a syntax of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Shell {
    /// GNU bash.
    Bash,
    /// zsh.
    Zsh,
    /// fish.
    Fish,
    /// dash, and other plain POSIX shells that read their line in canonical mode.
    #[strum(to_string = "dash", serialize = "ash", serialize = "sh")]
    Dash,
}

impl Shell {
    /// All of them.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// Returns the shell whose program has this file name.
    pub fn from_program(name: &str) -> Option<Self> {
        name.parse().ok()
    }

    /// Returns the program's usual name.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The reason of a session that is idle and that nothing holds back.
pub const AT_PROMPT: &str = "waits at its prompt";

/// What a session is doing, as far as the signals show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::Display, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Activity {
    /// Waits at an empty prompt: the only state in which a session is given tasks.
    Idle,
    /// Runs something.
    Busy,
    /// Its agent waits for a person: it asks something, or shows a dialog.
    WaitingInput,
    /// A person is typing there, or has left a half-typed line.
    Attended,
    /// The signals disagree, are missing or are stale.
    Unknown,
    /// The pane has ended.
    Gone,
}

impl Activity {
    /// All of them.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// Returns the name that users see and the database stores.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Returns the activity with that name.
    pub fn from_name(name: &str) -> Option<Self> {
        name.parse().ok()
    }
}
