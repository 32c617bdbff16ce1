//! The hard constraints: which sessions may run which tasks, whatever a policy says.

use super::task::Kind;

/// The provider of plain shells.
pub const SHELL: &str = "shell";

/// What a task, or all tasks of a lane, demand of a session.
#[derive(Debug, Clone, Copy)]
pub struct Demand<'a> {
    /// What is to be run.
    pub kind: Kind,
    /// The one session that may.
    pub target_session: Option<&'a str>,
    /// The providers that may; empty: any that suits the kind.
    pub providers: &'a [String],
}

impl Demand<'_> {
    /// Returns why a session of that name and provider may never run it; `None`: it may.
    pub fn excludes(&self, name: &str, provider: &str) -> Option<String> {
        if let Some(target) = self.target_session
            && target != name
        {
            return Some(format!("the task is for session {target}"));
        }
        match self.kind {
            Kind::Command if provider != SHELL => {
                return Some(format!("a command goes to shells, this is {provider}"));
            }
            Kind::Prompt if provider == SHELL => {
                return Some("a prompt goes to agents, this is a shell".to_owned());
            }
            Kind::Command | Kind::Prompt => {}
        }
        if self.providers.is_empty() || self.providers.iter().any(|wanted| wanted == provider) {
            return None;
        }
        Some(format!(
            "the task asks for {}, this is {provider}",
            self.providers.join(" or ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(kind: Kind) -> Demand<'static> {
        Demand {
            kind,
            target_session: None,
            providers: &[],
        }
    }

    #[test]
    fn a_prompt_never_goes_into_a_shell() {
        assert!(demand(Kind::Prompt).excludes("api", SHELL).is_some());
        assert!(demand(Kind::Prompt).excludes("api", "claude").is_none());
    }

    #[test]
    fn a_command_goes_to_shells_alone() {
        assert!(demand(Kind::Command).excludes("api", SHELL).is_none());
        assert!(demand(Kind::Command).excludes("api", "claude").is_some());
    }

    #[test]
    fn targets_and_providers_are_exact() {
        let target = Demand {
            target_session: Some("api"),
            ..demand(Kind::Command)
        };
        assert!(target.excludes("api", SHELL).is_none());
        assert!(target.excludes("api2", SHELL).is_some());
        let wanted = ["codex".to_owned()];
        let provider = Demand {
            providers: &wanted,
            ..demand(Kind::Prompt)
        };
        assert!(provider.excludes("x", "codex").is_none());
        assert!(provider.excludes("x", "claude").is_some());
    }
}
