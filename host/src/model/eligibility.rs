//! The hard constraints: which sessions may run which tasks, regardless of the policy.
//!
//! What a task demands is a [`Demand`], what is known of a session a [`Place`]. Each of the
//! [`CONSTRAINTS`] says which places it excludes, in which words, and what would undo that:
//! matching, `explain` and pools read this list and nothing else.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::naming::{SessionRef, Who};
use super::session::Shell;
use super::task::{Kind, Task};

/// The provider of plain shells.
pub const SHELL: &str = "shell";

/// Which tasks a session takes at all, as configured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Admission {
    /// Every task that suits it.
    #[default]
    Open,
    /// Only tasks that name it as their target.
    Protected,
    /// None.
    Excluded,
}

impl Admission {
    /// Returns the name that users see and the database stores.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Returns the admission with that name. An unknown name counts as excluded.
    pub fn from_name(name: &str) -> Self {
        name.parse().unwrap_or(Self::Excluded)
    }
}

/// What a task demands of a session.
///
/// Tasks with the same demand are of one lane: what is stored of it, as JSON, is the key of the lane.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Demand {
    /// What is to be run.
    pub kind: Kind,
    /// The session that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_session: Option<SessionRef>,
    /// Whether another one may run it, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub target_fallback: bool,
    /// The providers that may run it, preferred ones first; empty: any that suits the kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<String>,
    /// The branch that the session must be on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The labels that it must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The agent that is asked without a terminal, by a command in a shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks: Option<String>,
    /// The shell in whose language a command is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Shell>,
    /// The repository or directory that an agent must work in or above. It belongs to each task: in
    /// the key, it would make a separate lane for each repository.
    #[serde(skip)]
    pub within: Option<String>,
}

/// A session, as far as a demand looks at it.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Its name and its identity.
    pub who: Who<'a>,
    /// What runs in it.
    pub provider: &'a str,
    /// The branch that it is on.
    pub branch: Option<&'a str>,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// Which tasks it takes.
    pub admission: Admission,
    /// Its directory.
    pub directory: Option<&'a str>,
    /// The repository that this directory is in.
    pub repository: Option<&'a str>,
    /// The shell that runs in it, if that is known.
    pub shell: Option<Shell>,
}

impl Place<'_> {
    /// Whether it is in `root`, in a worktree of it, or above it. A session without a known
    /// directory is not.
    pub fn is_within(&self, root: &str) -> bool {
        let is_near = |directory: &str| {
            let (directory, root) = (Path::new(directory), Path::new(root));
            directory.starts_with(root) || root.starts_with(directory)
        };
        self.repository == Some(root) || self.directory.is_some_and(is_near)
    }
}

impl Demand {
    /// Returns the demand of a task of which only the kind is known.
    pub fn of_kind(kind: Kind) -> Self {
        Self {
            kind,
            target_session: None,
            target_fallback: false,
            providers: Vec::new(),
            branch: None,
            labels: BTreeMap::new(),
            asks: None,
            shell: None,
            within: None,
        }
    }

    /// Returns what a task demands.
    pub fn of(task: &Task) -> Self {
        let metadata = &task.metadata;
        let asked = metadata.headless.as_ref();
        Self {
            kind: task.kind,
            target_session: task.target_session.clone(),
            target_fallback: metadata.target_fallback,
            providers: task.allowed_providers(),
            branch: metadata.session_branch().map(str::to_owned),
            labels: metadata.require_labels.clone(),
            asks: asked.map(|headless| headless.provider.clone()),
            shell: metadata.shell,
            within: metadata.repository.clone(),
        }
    }

    /// Returns why this session must not run it, as both are now, or `None` if it may.
    pub fn excludes(&self, place: &Place<'_>) -> Option<String> {
        let mut constraints = CONSTRAINTS.iter();
        constraints.find_map(|constraint| (constraint.excludes)(self, place))
    }

    /// Returns, for each constraint that excludes this session, the ways to undo that.
    pub fn ways(&self, place: &Place<'_>) -> Vec<Vec<Undo>> {
        let constraints = CONSTRAINTS.iter();
        constraints
            .filter(|constraint| (constraint.excludes)(self, place).is_some())
            .map(|constraint| (constraint.undo)(self, place))
            .collect()
    }

    /// Returns what it demands that none of all sessions has at all.
    pub fn unmet(&self, places: &[Place<'_>]) -> Option<String> {
        let mut constraints = CONSTRAINTS.iter();
        constraints.find_map(|constraint| (constraint.unmet)(self, places))
    }

    /// Whether it names this session.
    fn is_for(&self, place: &Place<'_>) -> bool {
        let target = self.target_session.as_ref();
        target.is_some_and(|target| place.who.answers(target))
    }

    /// Returns the labels that this session lacks.
    fn missing_labels<'a>(
        &'a self,
        place: &Place<'a>,
    ) -> impl Iterator<Item = (&'a String, &'a String)> {
        let has = place.labels;
        let labels = self.labels.iter();
        labels.filter(|(name, value)| has.get(*name) != Some(value))
    }
}

/// A reason for which a session must not run a task, whatever the policy says.
#[derive(Debug)]
pub struct Constraint {
    /// Returns why the session must not run it, or `None` if it may as far as this goes.
    pub excludes: fn(&Demand, &Place<'_>) -> Option<String>,
    /// Returns the ways to undo that, if it excludes; empty: there is none.
    pub undo: fn(&Demand, &Place<'_>) -> Vec<Undo>,
    /// Returns what is said where none of all sessions meets it, or `None` if one does or if nothing
    /// more can be said than of each session.
    pub unmet: fn(&Demand, &[Place<'_>]) -> Option<String>,
}

/// Something that undoes what excludes a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undo {
    /// The configuration no longer excludes the session.
    Include,
    /// The task names the session.
    Name,
    /// The session is given a label.
    Label(String, String),
    /// The session changes to a branch.
    Branch(String),
    /// The task asks for less.
    Less(Less),
}

/// A way for a task to ask for less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Less {
    /// The option that changes, by its name.
    pub option: &'static str,
    /// Whether the option is unset; if not, it is said.
    pub unset: bool,
    /// What this means, for people, before the command.
    pub words: String,
}

impl Undo {
    /// Unsets an option of the task.
    pub fn unset(option: &'static str, words: impl Into<String>) -> Self {
        Self::Less(Less {
            option,
            unset: true,
            words: words.into(),
        })
    }

    /// Says an option of the task that takes no value.
    pub fn say(option: &'static str, words: impl Into<String>) -> Self {
        Self::Less(Less {
            option,
            unset: false,
            words: words.into(),
        })
    }
}

/// The hard constraints, in the order in which their words are shown.
pub const CONSTRAINTS: &[Constraint] = &[
    // The configuration excludes sessions.
    Constraint {
        excludes: |_, place| {
            let is_excluded = place.admission == Admission::Excluded;
            is_excluded.then(|| "the configuration excludes the session".to_owned())
        },
        undo: |_, _| vec![Undo::Include],
        unmet: |_, _| None,
    },
    // The configuration protects sessions, and a task has a target.
    Constraint {
        excludes: |demand, place| {
            if demand.is_for(place) {
                return None;
            }
            if place.admission == Admission::Protected {
                return Some(
                    "the session is protected: only tasks that name it with --target go there"
                        .to_owned(),
                );
            }
            let target = demand.target_session.as_ref();
            let target = target.filter(|_| !demand.target_fallback)?;
            // If another session now has this name, the message distinguishes the two.
            let target = match place.who.is_called(&target.name) {
                true => target.in_full(),
                false => target.name.clone(),
            };
            Some(format!("the task is for session {target}"))
        },
        undo: |demand, place| match &demand.target_session {
            Some(target) if place.admission != Admission::Protected => {
                vec![Undo::unset("target", format!("drop the target {target}"))]
            }
            _ => vec![Undo::Name],
        },
        unmet: |_, _| None,
    },
    // A command goes to shells, a prompt to agents.
    Constraint {
        excludes: |demand, place| match (demand.kind, place.provider) {
            (Kind::Command, SHELL) => None,
            (Kind::Command, agent) => {
                Some(format!("a command goes to shells, but this is {agent}"))
            }
            (Kind::Prompt, SHELL) => {
                Some("a prompt goes to agents, but this is a shell".to_owned())
            }
            (Kind::Prompt, _) => None,
        },
        undo: |_, _| Vec::new(),
        unmet: |demand, places| {
            // Providers that are named say more.
            let is_shell = |place: &Place<'_>| place.provider == SHELL;
            match demand.kind {
                _ if !demand.providers.is_empty() => None,
                Kind::Command if !places.iter().any(is_shell) => {
                    Some("a command goes to shells, and no session is one".to_owned())
                }
                Kind::Prompt if places.iter().all(is_shell) => Some(format!(
                    "a prompt goes to agents, never into a shell, and none of the {} sessions is an agent",
                    places.len()
                )),
                _ => None,
            }
        },
    },
    // The task names providers.
    Constraint {
        excludes: |demand, place| {
            let wanted = &demand.providers;
            let may = wanted.is_empty() || wanted.iter().any(|wanted| wanted == place.provider);
            (!may).then(|| {
                let wanted = wanted.join(" or ");
                format!("the task asks for {wanted}, but this is {}", place.provider)
            })
        },
        undo: |_, _| vec![Undo::unset("provider", "drop the providers")],
        unmet: |demand, places| {
            let wanted = &demand.providers;
            let is_wanted = |place: &Place<'_>| wanted.iter().any(|name| name == place.provider);
            if wanted.is_empty() || places.iter().any(is_wanted) {
                return None;
            }
            let names: Vec<String> = wanted.iter().map(|name| format!("`{name}`")).collect();
            Some(format!("no session is {}", names.join(" or ")))
        },
    },
    // A command is written for one shell.
    Constraint {
        excludes: |demand, place| {
            let wanted = demand.shell.filter(|_| demand.kind == Kind::Command)?;
            let wanted = wanted.name();
            match place.shell {
                Some(shell) if shell.name() == wanted => None,
                Some(other) => Some(format!(
                    "the command is for {wanted}, this is {}",
                    other.name()
                )),
                None => Some(format!(
                    "the command is for {wanted}, and which shell this is is not known"
                )),
            }
        },
        undo: |_, _| vec![Undo::say("shell", "let any shell do")],
        unmet: |demand, places| {
            let shell = demand.shell?;
            let known = places.iter().any(|place| place.shell == Some(shell));
            (!known).then(|| format!("no session is known to be {}", shell.name()))
        },
    },
    // The task requires a branch.
    Constraint {
        excludes: |demand, place| {
            let branch = demand.branch.as_deref();
            let branch = branch.filter(|branch| place.branch != Some(branch))?;
            let other = place.branch.unwrap_or("none");
            Some(format!(
                "the task requires branch {branch}, but this is on {other}"
            ))
        },
        undo: |demand, _| {
            let branch = demand.branch.clone().unwrap_or_default();
            let drop = Undo::unset("branch", format!("drop the branch {branch}"));
            vec![Undo::Branch(branch), drop]
        },
        unmet: |demand, places| {
            let branch = demand.branch.as_deref()?;
            let is_there = places.iter().any(|place| place.branch == Some(branch));
            (!is_there).then(|| format!("no session is on branch {branch}"))
        },
    },
    // The task requires labels.
    Constraint {
        excludes: |demand, place| {
            let (name, value) = demand.missing_labels(place).next()?;
            Some(format!("the task requires the label {name}={value}"))
        },
        undo: |demand, place| {
            let labels = demand.labels.iter();
            let labels: Vec<String> = labels
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let words = format!("drop the required label {}", labels.join(", "));
            let drop = Undo::unset("require-label", words);
            let missing: Vec<_> = demand.missing_labels(place).collect();
            match missing.as_slice() {
                [(name, value)] => vec![Undo::Label((*name).clone(), (*value).clone()), drop],
                _ => vec![drop],
            }
        },
        unmet: |demand, places| {
            let has = |name: &String, value| {
                let mut labels = places.iter().map(|place| place.labels.get(name));
                labels.any(|label| label == Some(value))
            };
            let mut labels = demand.labels.iter();
            let (name, value) = labels.find(|(name, value)| !has(name, value))?;
            Some(format!("no session has the label {name}={value}"))
        },
    },
    // A command is moved to its directory, but an agent is not. A sender who names a session has
    // chosen it.
    Constraint {
        excludes: |demand, place| {
            let is_bound = demand.kind == Kind::Prompt && !demand.is_for(place);
            let root = demand.within.as_deref().filter(|_| is_bound)?;
            let root = Some(root).filter(|root| !place.is_within(root))?;
            Some(match place.directory {
                Some(directory) => {
                    format!("the prompt is for {root}, but this works in {directory}")
                }
                None => format!("the prompt is for {root}, and it is not known where this works"),
            })
        },
        undo: |_, _| vec![Undo::say("anywhere", "let an agent elsewhere do")],
        unmet: |demand, places| {
            let root = demand.within.as_deref();
            let root = root.filter(|_| demand.kind == Kind::Prompt)?;
            let mut agents = places.iter().filter(|place| place.provider != SHELL);
            let is_nowhere = agents.all(|place| !place.is_within(root));
            is_nowhere.then(|| {
                format!(
                    "no agent works in {root} or above it: start one there, or have a pool start it (`[[pool]]` in the configuration)"
                )
            })
        },
    },
];
