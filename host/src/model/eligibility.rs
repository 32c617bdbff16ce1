//! The hard constraints: which sessions may run which tasks, regardless of the policy.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::naming::{SessionRef, Who};
use super::session::Shell;
use super::task::Kind;

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

/// What a task, or every task of a lane, demands of a session.
#[derive(Debug, Clone, Copy)]
pub struct Demand<'a> {
    /// What is to be run.
    pub kind: Kind,
    /// The session that it is for.
    pub target_session: Option<&'a SessionRef>,
    /// Whether another one may run it, too.
    pub target_fallback: bool,
    /// The providers that may run it; empty: any that suits the kind.
    pub providers: &'a [String],
    /// The branch that the session must be on.
    pub branch: Option<&'a str>,
    /// The labels that it must have.
    pub labels: &'a BTreeMap<String, String>,
    /// The agent that is asked without a terminal, by a command in a shell.
    pub asks: Option<&'a str>,
    /// The shell in whose language a command is written.
    pub shell: Option<Shell>,
    /// The repository or directory that an agent must work in or above.
    pub within: Option<&'a str>,
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

impl Demand<'_> {
    /// Returns why this session must not run it, as both are now, or `None` if it may.
    pub fn excludes(&self, place: &Place<'_>) -> Option<String> {
        let is_target = self
            .target_session
            .is_some_and(|target| place.who.answers(target));
        match (self.target_session, place.admission) {
            (_, Admission::Excluded) => {
                return Some("the configuration excludes the session".to_owned());
            }
            (_, Admission::Protected) if !is_target => {
                return Some(
                    "the session is protected: only tasks that name it with --target go there"
                        .to_owned(),
                );
            }
            (Some(target), _) if !is_target && !self.target_fallback => {
                // If another session now has this name, the message distinguishes the two.
                let target = if place.who.is_called(&target.name) {
                    target.in_full()
                } else {
                    target.name.clone()
                };
                return Some(format!("the task is for session {target}"));
            }
            _ => {}
        }
        let provider = place.provider;
        match self.kind {
            Kind::Command if provider != SHELL => {
                return Some(format!("a command goes to shells, but this is {provider}"));
            }
            Kind::Prompt if provider == SHELL => {
                return Some("a prompt goes to agents, but this is a shell".to_owned());
            }
            Kind::Command | Kind::Prompt => {}
        }
        if !self.providers.is_empty() && !self.providers.iter().any(|wanted| wanted == provider) {
            return Some(format!(
                "the task asks for {}, but this is {provider}",
                self.providers.join(" or ")
            ));
        }
        if let (Kind::Command, Some(wanted)) = (self.kind, self.shell)
            && place.shell != Some(wanted)
        {
            let wanted = wanted.name();
            return Some(match place.shell {
                Some(other) => format!("the command is for {wanted}, this is {}", other.name()),
                None => {
                    format!("the command is for {wanted}, and which shell this is is not known")
                }
            });
        }
        if let Some(branch) = self.branch
            && place.branch != Some(branch)
        {
            return Some(match place.branch {
                Some(other) => format!("the task requires branch {branch}, but this is on {other}"),
                None => format!("the task requires branch {branch}, but this is on none"),
            });
        }
        let missing = self
            .labels
            .iter()
            .find(|(name, value)| place.labels.get(*name) != Some(value));
        if let Some((name, value)) = missing {
            return Some(format!("the task requires the label {name}={value}"));
        }
        // A command is moved to its directory, but an agent is not. A sender who names a session
        // has chosen it.
        let within = self
            .within
            .filter(|_| self.kind == Kind::Prompt && !is_target);
        let root = within.filter(|root| !place.is_within(root))?;
        Some(match place.directory {
            Some(directory) => format!("the prompt is for {root}, but this works in {directory}"),
            None => format!("the prompt is for {root}, and it is not known where this works"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::{Identity, PaneId};
    use crate::model::naming::Meaning;

    static NONE: BTreeMap<String, String> = BTreeMap::new();

    fn demand(kind: Kind) -> Demand<'static> {
        Demand {
            kind,
            target_session: None,
            target_fallback: false,
            providers: &[],
            branch: None,
            labels: &NONE,
            asks: None,
            shell: None,
            within: None,
        }
    }

    fn place<'a>(name: &'a str, provider: &'a str) -> Place<'a> {
        Place {
            who: Who::named(name),
            provider,
            branch: None,
            labels: &NONE,
            admission: Admission::Open,
            directory: None,
            repository: None,
            shell: None,
        }
    }

    fn may(demand: &Demand<'_>, place: &Place<'_>) -> bool {
        demand.excludes(place).is_none()
    }

    #[test]
    fn a_prompt_never_goes_into_a_shell() {
        assert!(!may(&demand(Kind::Prompt), &place("api", SHELL)));
        assert!(may(&demand(Kind::Prompt), &place("api", "claude")));
    }

    #[test]
    fn a_command_may_be_written_for_one_shell() {
        let command = Demand {
            shell: Some(Shell::Zsh),
            ..demand(Kind::Command)
        };
        let runs = |shell| Place {
            shell,
            ..place("x", SHELL)
        };
        assert!(may(&command, &runs(Some(Shell::Zsh))));
        assert!(!may(&command, &runs(Some(Shell::Bash))));
        assert!(!may(&command, &runs(None)));
        assert!(may(&demand(Kind::Command), &runs(None)));
    }

    #[test]
    fn a_prompt_goes_to_the_agents_of_its_repository() {
        let prompt = Demand {
            within: Some("/src/api"),
            ..demand(Kind::Prompt)
        };
        let at = |directory, repository| Place {
            directory,
            repository,
            ..place("x", "claude")
        };
        for (directory, repository, fits) in [
            (Some("/src/api"), None, true),
            (Some("/src/api/lib"), None, true),
            // Above it, where an agent of several repositories works.
            (Some("/src"), None, true),
            (Some("/"), None, true),
            // A worktree of it.
            (Some("/trees/1"), Some("/src/api"), true),
            (Some("/trees/1"), Some("/src/web"), false),
            (Some("/src/api2"), None, false),
            (Some("/src/web"), Some("/src/web"), false),
            (None, None, false),
        ] {
            let place = at(directory, repository);
            assert_eq!(may(&prompt, &place), fits, "{directory:?} {repository:?}");
        }
        let elsewhere = at(Some("/src/web"), None);
        // A sender who names a session has chosen it, and a command is moved to its directory.
        let named = SessionRef::from("x");
        let target = Demand {
            target_session: Some(&named),
            ..prompt
        };
        assert!(may(&target, &elsewhere));
        let command = Demand {
            kind: Kind::Command,
            ..prompt
        };
        assert!(may(
            &command,
            &Place {
                provider: SHELL,
                ..elsewhere
            }
        ));
    }

    #[test]
    fn a_command_goes_to_shells_alone() {
        assert!(may(&demand(Kind::Command), &place("api", SHELL)));
        assert!(!may(&demand(Kind::Command), &place("api", "claude")));
    }

    #[test]
    fn targets_and_providers_are_exact() {
        let api = SessionRef::from("api");
        let target = Demand {
            target_session: Some(&api),
            ..demand(Kind::Command)
        };
        assert!(may(&target, &place("api", SHELL)));
        assert!(!may(&target, &place("api2", SHELL)));
        let wanted = ["codex".to_owned()];
        let provider = Demand {
            providers: &wanted,
            ..demand(Kind::Prompt)
        };
        assert!(may(&provider, &place("x", "codex")));
        assert!(!may(&provider, &place("x", "claude")));
    }

    #[test]
    fn a_session_with_several_panes_is_called_by_its_name() {
        let api = SessionRef::from("api");
        let target = Demand {
            target_session: Some(&api),
            ..demand(Kind::Command)
        };
        assert!(may(&target, &place("api:0.1", SHELL)));
        assert!(!may(&target, &place("api2:0.1", SHELL)));
    }

    #[test]
    fn a_target_with_fallback_is_a_preference() {
        let api = SessionRef::from("api");
        let target = Demand {
            target_session: Some(&api),
            target_fallback: true,
            ..demand(Kind::Command)
        };
        assert!(may(&target, &place("api2", SHELL)));
    }

    #[test]
    fn a_target_is_the_pane_that_was_meant_and_not_its_name() {
        let pane = |number: u32| Identity {
            node: Default::default(),
            server_pid: 1,
            server_start: 1,
            pane: PaneId::parse(&format!("%{number}")).expect("a pane"),
            pane_pid: number,
        };
        let (meant, other) = (pane(1), pane(2));
        let target = SessionRef {
            name: "m:0.1".to_owned(),
            meaning: Some(Meaning::Pane(meant.clone())),
        };
        let wanted = Demand {
            target_session: Some(&target),
            ..demand(Kind::Command)
        };
        let called = |name, identity| Place {
            who: Who {
                identity,
                ..Who::named(name)
            },
            ..place(name, SHELL)
        };
        assert!(may(&wanted, &called("m:0.0", Some(&meant))));
        assert!(!may(&wanted, &called("m:0.1", Some(&other))));
        // Nor may one that would be started under that name.
        assert!(!may(&wanted, &called("m:0.1", None)));
    }

    #[test]
    fn protected_sessions_take_what_names_them_and_excluded_ones_nothing() {
        let api = SessionRef::from("api");
        let named = Demand {
            target_session: Some(&api),
            target_fallback: true,
            ..demand(Kind::Command)
        };
        let open = place("api", SHELL);
        let protected = Place {
            admission: Admission::Protected,
            ..open
        };
        assert!(may(&named, &protected));
        assert!(!may(&demand(Kind::Command), &protected));
        let other = Place {
            who: Who::named("web"),
            ..protected
        };
        assert!(!may(&named, &other));
        let excluded = Place {
            admission: Admission::Excluded,
            ..open
        };
        assert!(!may(&named, &excluded));
    }

    #[test]
    fn branches_and_labels_are_conditions() {
        let labels = BTreeMap::from([("team".to_owned(), "web".to_owned())]);
        let wanted = Demand {
            branch: Some("dev"),
            labels: &labels,
            ..demand(Kind::Command)
        };
        let fits = Place {
            branch: Some("dev"),
            labels: &labels,
            ..place("x", SHELL)
        };
        assert!(may(&wanted, &fits));
        for place in [
            Place {
                branch: Some("main"),
                ..fits
            },
            Place {
                branch: None,
                ..fits
            },
            Place {
                labels: &NONE,
                ..fits
            },
        ] {
            assert!(!may(&wanted, &place));
        }
    }
}
