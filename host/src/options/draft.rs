//! Writes what is asked into a task, and checks that it makes sense together.

use std::collections::HashMap;
use std::path::Path;

use super::way::Way;
use super::{OptionError, TaskView, Wishes, all, secrets};
use crate::model::directory::DirectorySight;
use crate::model::headless::HeadlessSpec;
use crate::model::task::{Kind, NewTask, check_task};
use crate::store::Secrets;

/// Who asks, and what they know of their machine.
#[derive(Debug, Clone, Copy)]
pub struct Sender<'a> {
    /// Where a user's own profiles of agents are.
    pub profiles: &'a Path,
    /// Returns how the agent of this name, with a profile built in or there, is asked without a
    /// terminal. An error is one line that says why it cannot be.
    pub headless: fn(&Path, &str) -> Result<HeadlessSpec, String>,
    /// The agents that are asked without a terminal unless the task says otherwise.
    pub usually_headless: &'a [String],
    /// Where the values of secret variables are kept.
    pub secrets: &'a Secrets,
    /// Looks at a directory, within a bounded time. An error is one line that names the directory.
    pub look: fn(&Path) -> Result<DirectorySight, String>,
    /// The lines of a batch that have a name, by their positions; `None`: it is no batch.
    pub lines: Option<&'a HashMap<String, usize>>,
}

impl Sender<'_> {
    /// Whether the agent of this name is asked without a terminal unless the task says otherwise.
    pub fn is_usual(&self, name: &str) -> bool {
        self.usually_headless.iter().any(|usual| usual == name)
    }

    /// Returns the position of the line with this name.
    pub(super) fn line(&self, name: &str) -> Result<usize, OptionError> {
        let line = self.lines.and_then(|lines| lines.get(name).copied());
        line.ok_or_else(|| {
            OptionError::Wrong(format!("after `{name}`: no earlier line has that name"))
        })
    }
}

/// A task that is being written.
#[derive(Debug)]
pub struct TaskDraft<'a> {
    pub(super) task: &'a mut NewTask,
    pub(super) sender: &'a Sender<'a>,
    /// How its agent is to be asked.
    pub(super) way: Option<Way>,
    /// The variables whose values are to be kept apart.
    pub(super) secret_env: Vec<String>,
}

impl Wishes {
    /// Writes what is asked into `task`, with this content if there is one, and returns the names of
    /// what was said, for the history. Whatever is not said stays as it is.
    ///
    /// # Errors
    /// One line that says what is wrong and what to do. No secret value is kept then.
    pub fn apply(
        &self,
        content: Option<&str>,
        task: &mut NewTask,
        sender: &Sender<'_>,
    ) -> Result<Vec<String>, OptionError> {
        let way = Way::of(self, sender)?;
        self.check_together(way.as_ref())?;
        if let Some(content) = content {
            content.clone_into(&mut task.content);
        }
        let mut draft = TaskDraft {
            task,
            sender,
            way,
            secret_env: Vec::new(),
        };
        draft.take_way(self);
        for (option, value) in self.iter() {
            option.takes.set(&mut draft, value)?;
        }
        draft.finish(content.is_some())?;
        let way = draft.way.as_ref().map(Way::name);
        let said = self.iter().map(|(option, _)| option.name);
        let said = said.filter(|name| *name != Way::OPTION).chain(way);
        let content = content.map(|_| "content");
        Ok(content.into_iter().chain(said).map(str::to_owned).collect())
    }

    /// Checks what cannot be said together.
    fn check_together(&self, way: Option<&Way>) -> Result<(), OptionError> {
        let says_any = |names: &[&str]| names.iter().any(|name| self.says(name));
        let problem = if matches!(way, Some(Way::Headless(_)))
            && says_any(&["shell", "providers", "fallback"])
        {
            "--headless asks one agent: it takes no --shell, --providers or --fallback"
        } else if self.says("shell") && says_any(&["provider", "providers", "fallback"]) {
            "a command goes to shells: --shell takes no --provider, --providers or --fallback"
        } else if self.says("delay") && self.says("at") {
            "`delay` and `at`: leave one of them out"
        } else {
            return Ok(());
        };
        Err(OptionError::wrong(problem))
    }
}

impl TaskDraft<'_> {
    /// Checks the task as a whole.
    fn finish(&mut self, is_new: bool) -> Result<(), OptionError> {
        let task = &mut *self.task;
        if task.kind == Kind::Prompt {
            task.metadata.shell = None;
        }
        if is_new {
            // Its kind is known only now.
            let kind = match &task.metadata.headless {
                Some(_) => Kind::Prompt,
                None => task.kind,
            };
            check_task(kind, &task.content)
                .map_err(|error| OptionError::wrong(error.to_string()))?;
        }
        let view = TaskView {
            task: task.clone(),
            conversation: None,
            rows: &[],
            parents: None,
        };
        for option in all().filter(|option| option.is_asked(&view)) {
            let Some((needed, words)) = option.needs else {
                continue;
            };
            let is_asked = |name: &str| all().any(|one| one.name == name && one.is_asked(&view));
            if !needed.iter().any(|name| is_asked(name)) {
                return Err(OptionError::Wrong(format!("--{} {words}", option.name)));
            }
        }
        secrets::keep(self)
    }
}
