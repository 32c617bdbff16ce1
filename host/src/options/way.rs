//! How the agent of a prompt is asked: in its session, or without a terminal.

use serde_json::Value;

use super::{OptionError, Sender, TaskDraft, Wishes};
use crate::model::headless::Headless;
use crate::model::task::Kind;

/// How the agent of a prompt is asked.
#[derive(Debug, Clone)]
pub(super) enum Way {
    /// Without a terminal: by a command in a shell.
    Headless(Box<Headless>),
    /// In the session in which it runs.
    Session,
}

impl Way {
    /// The option that says it.
    pub(super) const OPTION: &str = "headless";

    /// Returns how the agent is asked: as the task says, else as configured.
    ///
    /// # Errors
    /// It is to be asked without a terminal, and no agent is named, or it is unknown, or cannot be
    /// asked this way.
    pub(super) fn of(wishes: &Wishes, sender: &Sender<'_>) -> Result<Option<Self>, OptionError> {
        let provider = wishes.text("provider");
        let is_usual = provider.is_some_and(|name| sender.is_usual(name));
        match wishes.get(Self::OPTION).and_then(Value::as_bool) {
            Some(false) => Ok(Some(Self::Session)),
            None if !is_usual => Ok(None),
            Some(true) | None => {
                let headless = headless(sender, provider)?;
                Ok(Some(Self::Headless(Box::new(headless))))
            }
        }
    }

    /// Returns the word for the history.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Headless(_) => "headless",
            Self::Session => "no-headless",
        }
    }
}

fn headless(sender: &Sender<'_>, provider: Option<&str>) -> Result<Headless, OptionError> {
    let provider = provider.ok_or_else(|| {
        OptionError::wrong("--headless needs the agent that is asked: name it with --provider")
    })?;
    Ok(Headless {
        provider: provider.to_owned(),
        spec: (sender.headless)(sender.profiles, provider).map_err(OptionError::Wrong)?,
    })
}

impl TaskDraft<'_> {
    /// Whether the agent is to be asked without a terminal.
    pub(super) fn is_headless(&self) -> bool {
        matches!(self.way, Some(Way::Headless(_)))
    }

    /// Writes the way into the task, before anything else is.
    pub(super) fn take_way(&mut self, wishes: &Wishes) {
        let task = &mut *self.task;
        match &self.way {
            Some(Way::Headless(headless)) => {
                // A shell is chosen, not an agent; which one does not matter.
                task.kind = Kind::Command;
                task.metadata.shell = None;
                task.target_provider = None;
                task.metadata.preferred_providers.clear();
                task.metadata.fallback_providers.clear();
                task.metadata.headless = Some(Headless::clone(headless));
            }
            Some(Way::Session) => {
                if let Some(headless) = task.metadata.headless.take() {
                    task.kind = Kind::Prompt;
                    task.target_provider = Some(headless.provider);
                }
            }
            None => {
                let names_another = ["shell", "provider", "providers"]
                    .iter()
                    .any(|name| wishes.says(name));
                // The shell that was to ask the agent must not run the prompt.
                if names_another && task.metadata.headless.take().is_some() {
                    task.kind = Kind::Prompt;
                }
            }
        }
    }
}
