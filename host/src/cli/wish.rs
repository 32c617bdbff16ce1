//! What a person asks of a task, whichever way they say it: checked, and written into the task.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;

use super::exit::{CommandFailure, Exit};
use super::{look, ui};
use crate::agents::Catalog;
use crate::config::Config;
use crate::model::eligibility::SHELL;
use crate::model::headless::Headless;
use crate::model::session::Shell;
use crate::model::task::{
    IfParentFails, Kind, NewTask, Parent, check_content, check_task, check_variable,
    is_variable_name,
};
use crate::node::dialect;
use crate::store::Secrets;

/// How the agent of a prompt is asked.
#[derive(Debug, Clone)]
pub(super) enum Way {
    /// Without a terminal: by a command in a shell.
    Headless(Box<Headless>),
    /// In the session in which it runs.
    Session,
}

/// What is configured about agents for those who queue tasks.
#[derive(Debug, Clone, Copy)]
pub(super) struct AgentOptions<'a> {
    /// Where a user's own profiles are.
    pub(super) profiles: &'a Path,
    /// The agents that are asked without a terminal unless the task says otherwise.
    pub(super) headless: &'a [String],
}

impl<'a> AgentOptions<'a> {
    /// Returns what is configured.
    pub(super) fn configured(config: &'a Config) -> Self {
        Self {
            profiles: &config.profiles_dir,
            headless: &config.file.agents.headless,
        }
    }

    /// Returns how the agent `provider` is asked: as the task says (`headless`), else as configured.
    ///
    /// # Errors
    /// It is to be asked without a terminal, and no agent is named, or it is unknown, or cannot be asked
    /// this way.
    pub(super) fn way(
        &self,
        headless: Option<bool>,
        provider: Option<&str>,
    ) -> Result<Option<Way>, CommandFailure> {
        let is_usual = provider.is_some_and(|name| self.headless.iter().any(|usual| usual == name));
        match headless {
            Some(false) => Ok(Some(Way::Session)),
            None if !is_usual => Ok(None),
            Some(true) | None => {
                let headless = self.headless(provider)?;
                Ok(Some(Way::Headless(Box::new(headless))))
            }
        }
    }

    fn headless(&self, provider: Option<&str>) -> Result<Headless, CommandFailure> {
        let Some(provider) = provider else {
            return Err(CommandFailure::usage(
                "--headless needs the agent that is asked: name it with --provider",
            ));
        };
        let (catalog, problems) = Catalog::load(self.profiles);
        let Some(entry) = catalog.get(provider) else {
            // It may be one of those that cannot be read.
            let why = problems.first().map_or_else(
                || "`assigner agents list` shows all".to_owned(),
                ToString::to_string,
            );
            return Err(CommandFailure::usage(format!(
                "there is no profile `{provider}`: {why}"
            )));
        };
        let Some(spec) = entry.profile.headless.clone() else {
            return Err(CommandFailure::usage(format!(
                "`{provider}` cannot be asked without a terminal: its profile has no [headless]"
            )));
        };
        Ok(Headless {
            provider: provider.to_owned(),
            spec,
        })
    }
}

/// Warns of each agent that tasks ask for and that no profile describes.
pub(super) fn warn_of_unknown_agents(profiles: &Path, tasks: &[NewTask]) {
    let asked = tasks.iter().flat_map(|task| {
        let metadata = &task.metadata;
        let further = metadata.preferred_providers.iter();
        task.target_provider
            .iter()
            .chain(further.chain(&metadata.fallback_providers))
    });
    let asked: BTreeSet<&String> = asked.collect();
    for name in asked {
        let is_plain = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !is_plain || !Catalog::is_known(profiles, name) {
            ui::warn(&format!(
                "warning: there is no profile `{name}`, so no session is such an agent: \
                 `assigner agents list` shows all"
            ));
        }
    }
}

/// What is asked for; whatever is not mentioned stays as it is.
#[derive(Debug, Clone, Default)]
pub(super) struct Wish {
    pub(super) content: Option<String>,
    /// It is a command, and may be written for one shell.
    pub(super) shell: Option<Option<Shell>>,
    /// How its agent is asked.
    pub(super) way: Option<Way>,
    pub(super) working_dir: Option<PathBuf>,
    pub(super) anywhere: bool,
    pub(super) branch: Option<String>,
    pub(super) require_branch: bool,
    pub(super) env: BTreeMap<String, String>,
    pub(super) secret_env: Vec<String>,
    pub(super) isolate_env: bool,
    pub(super) prerequisites: Vec<String>,
    /// In seconds.
    pub(super) prerequisite_timeout: Option<u64>,
    pub(super) priority: Option<i32>,
    pub(super) provider: Option<String>,
    pub(super) providers: Vec<String>,
    pub(super) fallback: Vec<String>,
    pub(super) allow_fallback: bool,
    pub(super) target: Option<String>,
    pub(super) target_fallback: bool,
    pub(super) no_context_match: bool,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) require_labels: BTreeMap<String, String>,
    pub(super) retries: Option<u32>,
    /// In seconds.
    pub(super) timeout: Option<u64>,
    pub(super) after: Vec<Parent>,
    pub(super) if_parent_fails: Option<IfParentFails>,
    pub(super) not_before: Option<Timestamp>,
}

impl Wish {
    /// Writes what is asked for into `task` and returns the names of the changed parts, for the
    /// history.
    ///
    /// # Errors
    /// One line that says what is wrong and what to do.
    pub(super) fn apply(
        self,
        task: &mut NewTask,
        secrets: &Secrets,
    ) -> Result<Vec<&'static str>, CommandFailure> {
        let mut said = Vec::new();
        let mut note = |name: &'static str, is_said: bool| {
            if is_said {
                said.push(name);
            }
        };
        note("content", self.content.is_some());
        note("working-dir", self.working_dir.is_some());
        note("anywhere", self.anywhere);
        note("branch", self.branch.is_some());
        note("require-branch", self.require_branch);
        note("env", !self.env.is_empty());
        note("secret-env", !self.secret_env.is_empty());
        note("isolate-env", self.isolate_env);
        note("prereq", !self.prerequisites.is_empty());
        note("prereq-timeout", self.prerequisite_timeout.is_some());
        note("priority", self.priority.is_some());
        note("provider", self.provider.is_some());
        note("providers", !self.providers.is_empty());
        note("fallback", !self.fallback.is_empty());
        note("allow-fallback", self.allow_fallback);
        note("target", self.target.is_some());
        note("target-fallback", self.target_fallback);
        note("no-context-match", self.no_context_match);
        note("label", !self.labels.is_empty());
        note("require-label", !self.require_labels.is_empty());
        note("retries", self.retries.is_some());
        note("timeout", self.timeout.is_some());
        note("after", !self.after.is_empty());
        note("if-parent-fails", self.if_parent_fails.is_some());
        note("not before", self.not_before.is_some());
        note("shell", self.shell.is_some());
        note("headless", self.is_headless());
        note("no-headless", matches!(self.way, Some(Way::Session)));

        self.apply_what(task)?;
        self.apply_context(task)?;
        self.apply_selection(task)?;
        let metadata = &mut task.metadata;
        for name in self.labels.keys().chain(self.require_labels.keys()) {
            not_blank("the name of a label", name)?;
        }
        metadata.labels.extend(self.labels.clone());
        if let Some(priority) = self.priority {
            task.priority = priority;
        }
        if let Some(retries) = self.retries {
            task.max_retries = retries;
        }
        if self.timeout.is_some() {
            task.timeout_seconds = self.timeout;
        }
        if self.not_before.is_some() {
            task.not_before = self.not_before;
        }
        task.after.extend(self.after);
        if let Some(if_parent_fails) = self.if_parent_fails {
            task.if_parent_fails = if_parent_fails;
        }
        keep_secrets(&self.secret_env, task, secrets)?;
        Ok(said)
    }

    fn is_headless(&self) -> bool {
        matches!(self.way, Some(Way::Headless(_)))
    }

    fn apply_what(&self, task: &mut NewTask) -> Result<(), CommandFailure> {
        if let Some(content) = &self.content {
            task.content.clone_from(content);
        }
        match &self.way {
            Some(Way::Headless(headless)) => {
                if self.shell.is_some() || !self.providers.is_empty() || !self.fallback.is_empty() {
                    return Err(CommandFailure::usage(
                        "--headless asks one agent: it takes no --shell, --providers or --fallback",
                    ));
                }
                // A shell is chosen, not an agent; which one does not matter.
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
                let names_another =
                    self.shell.is_some() || self.provider.is_some() || !self.providers.is_empty();
                // The shell that was to ask the agent must not run the prompt.
                if names_another && task.metadata.headless.take().is_some() {
                    task.kind = Kind::Prompt;
                }
            }
        }
        let is_headless = self.is_headless();
        let names_providers = !self.providers.is_empty() || !self.fallback.is_empty();
        if self.shell.is_some() && (names_providers || self.provider.is_some()) {
            return Err(CommandFailure::usage(
                "a command goes to shells: --shell takes no --provider, --providers or --fallback",
            ));
        }
        match self.provider.as_deref() {
            // It is a command that asks the agent.
            _ if is_headless => task.kind = Kind::Command,
            _ if self.shell.is_some() => task.kind = Kind::Command,
            Some(SHELL) => task.kind = Kind::Command,
            Some(_) => task.kind = Kind::Prompt,
            None => {}
        }
        if let Some(shell) = self.shell {
            task.metadata.shell = shell;
        }
        if task.kind == Kind::Prompt {
            task.metadata.shell = None;
        }
        if self.content.is_some() {
            // Its kind is known only now.
            let kind = match &task.metadata.headless {
                Some(_) => Kind::Prompt,
                None => task.kind,
            };
            check_task(kind, &task.content).map_err(CommandFailure::usage)?;
        }
        for (number, prerequisite) in self.prerequisites.iter().enumerate() {
            check_content(prerequisite).map_err(|error| {
                CommandFailure::usage(format!("--prereq {}: {error}", number + 1))
            })?;
        }
        Ok(())
    }

    fn apply_context(&self, task: &mut NewTask) -> Result<(), CommandFailure> {
        let metadata = &mut task.metadata;
        if let Some(directory) = &self.working_dir {
            metadata.working_dir = Some(absolute(directory)?);
        }
        metadata.anywhere |= self.anywhere;
        if let Some(branch) = &self.branch {
            metadata.git_branch = Some(not_blank("--branch", branch)?);
        }
        metadata.require_branch |= self.require_branch;
        if metadata.require_branch && metadata.git_branch.is_none() {
            return Err(CommandFailure::usage(
                "--require-branch needs the branch: name it with -b",
            ));
        }
        metadata.env_vars.extend(self.env.clone());
        metadata.isolate_env |= self.isolate_env;
        if !self.prerequisites.is_empty() {
            metadata.prerequisites.clone_from(&self.prerequisites);
        }
        if self.prerequisite_timeout.is_some() {
            metadata.prerequisite_timeout = self.prerequisite_timeout;
        }
        Ok(())
    }

    fn apply_selection(&self, task: &mut NewTask) -> Result<(), CommandFailure> {
        if let Some(target) = &self.target {
            task.target_session = Some(not_blank("--target", target)?.into());
            task.metadata.target_fallback = false;
        }
        let metadata = &mut task.metadata;
        metadata.target_fallback |= self.target_fallback;
        if metadata.target_fallback && task.target_session.is_none() {
            return Err(CommandFailure::usage(
                "--target-fallback needs a session to prefer: name it with --target",
            ));
        }
        if let Some(provider) = self.provider.as_ref().filter(|_| !self.is_headless()) {
            task.target_provider = Some(not_blank("--provider", provider)?);
        }
        if !self.providers.is_empty() {
            metadata.preferred_providers = names("--providers", &self.providers)?;
        }
        if !self.fallback.is_empty() {
            metadata.fallback_providers = names("--fallback", &self.fallback)?;
        }
        metadata.allow_fallback |= self.allow_fallback;
        if !metadata.fallback_providers.is_empty()
            && task.target_provider.is_none()
            && metadata.preferred_providers.is_empty()
        {
            return Err(CommandFailure::usage(
                "--fallback names what comes second: name what comes first with --provider or --providers",
            ));
        }
        metadata.require_labels.extend(self.require_labels.clone());
        if self.no_context_match {
            metadata.prefer_context_match = false;
        }
        Ok(())
    }
}

/// Reads the name of a shell.
pub(super) fn shell(name: &str) -> Result<Shell, String> {
    Shell::from_program(name).ok_or_else(|| format!("it may be {}", dialect::names(|_| true)))
}

/// Takes the values of secret variables from the environment and keeps them separately.
fn keep_secrets(
    names: &[String],
    task: &mut NewTask,
    secrets: &Secrets,
) -> Result<(), CommandFailure> {
    let wanted: BTreeSet<&String> = names.iter().chain(&task.metadata.secret_env).collect();
    if let Some(name) = wanted
        .iter()
        .find(|name| task.metadata.env_vars.contains_key(**name))
    {
        return Err(CommandFailure::usage(format!(
            "{name} is given with -e and with --secret-env: leave one of them out"
        )));
    }
    if names.is_empty() {
        return Ok(());
    }
    let mut values = match task.secrets.as_deref() {
        None => BTreeMap::new(),
        Some(kept) => secrets.values(kept).ok_or_else(|| {
            CommandFailure::new(
                Exit::Failed,
                "the task's secret values are no longer kept: check it and try again",
            )
        })?,
    };
    values.extend(secret_values(names)?);
    task.secrets = Some(secrets.keep(&values)?);
    task.metadata.secret_env = values.into_keys().collect();
    Ok(())
}

/// Returns the values of secret variables, from the environment of this process.
pub(super) fn secret_values(names: &[String]) -> Result<BTreeMap<String, String>, CommandFailure> {
    let mut values = BTreeMap::new();
    for name in names {
        if !is_variable_name(name) {
            return Err(CommandFailure::usage(format!(
                "--secret-env `{name}`: this is not the name of a variable; the value is taken from your environment and is not written here"
            )));
        }
        let value = std::env::var_os(name).ok_or_else(|| {
            CommandFailure::usage(format!(
                "--secret-env {name}: there is no such variable in your environment; export it first"
            ))
        })?;
        let value = value.into_string().map_err(|_| {
            CommandFailure::usage(format!("--secret-env {name}: its value is not UTF-8"))
        })?;
        check_variable(name, &value)
            .map_err(|why| CommandFailure::usage(format!("--secret-env {name}: {why}")))?;
        values.insert(name.clone(), value);
    }
    Ok(values)
}

/// Deletes the secret values of tasks that could not be queued.
pub(super) fn forget<'a>(tasks: impl IntoIterator<Item = &'a NewTask>, secrets: &Secrets) {
    for kept in tasks.into_iter().filter_map(|task| task.secrets.as_deref()) {
        secrets.forget(kept);
    }
}

/// Reads `NAME=VALUE` of a variable.
pub(super) fn variable(option: &str, assignment: &str) -> Result<(String, String), CommandFailure> {
    let wrong = |why: &str| {
        CommandFailure::usage(format!(
            "{option} `{assignment}`: {why}; write NAME=VALUE, such as {option} DEBUG=1"
        ))
    };
    let (name, value) = assignment
        .split_once('=')
        .ok_or_else(|| wrong("there is no `=`"))?;
    check_variable(name, value).map_err(|why| wrong(&why.to_string()))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Reads `NAME=VALUE` of a label.
pub(super) fn label(option: &str, assignment: &str) -> Result<(String, String), CommandFailure> {
    match assignment.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(CommandFailure::usage(format!(
            "{option} `{assignment}`: write NAME=VALUE, such as team=web"
        ))),
    }
}

/// Checks the directory of a task before it is queued, and warns if it does not exist. The agent of
/// a prompt must work in that directory's repository.
///
/// # Errors
/// The directory does not answer.
pub(super) fn look_at_place(task: &mut NewTask) -> Result<(), CommandFailure> {
    let metadata = &mut task.metadata;
    metadata.repository = None;
    let Some(directory) = &metadata.working_dir else {
        return Ok(());
    };
    let place = look::place(Path::new(directory))?;
    if task.kind == Kind::Prompt && !metadata.anywhere && metadata.prefer_context_match {
        let repository = place.repository.or(place.path);
        metadata.repository = Some(repository.unwrap_or_else(|| directory.clone()));
    }
    if !place.is_directory {
        ui::warn(&format!(
            "warning: there is no directory `{directory}` now; the task fails if there is none when it starts"
        ));
    }
    Ok(())
}

/// Makes a path absolute from the sender's directory and removes `.` and `..`.
pub(super) fn absolute(path: &Path) -> Result<String, CommandFailure> {
    let shown = path.display();
    let path = std::path::absolute(path)
        .map_err(|error| CommandFailure::usage(format!("directory `{shown}`: {error}")))?;
    let normal = if path.components().any(|part| part == Component::ParentDir) {
        // After a symbolic link, `..` is not what it looks like: only the system knows.
        let place = look::place(&path)?;
        if place.path.is_none() && place.is_directory {
            return Err(CommandFailure::usage(format!(
                "directory `{shown}`: the path is not UTF-8"
            )));
        }
        place.path.map_or_else(|| lexical(&path), PathBuf::from)
    } else {
        path.components().collect()
    };
    normal
        .into_os_string()
        .into_string()
        .map_err(|_| CommandFailure::usage(format!("directory `{shown}`: the path is not UTF-8")))
}

fn lexical(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            normal.pop();
        } else {
            normal.push(part);
        }
    }
    normal
}

fn not_blank(option: &str, value: &str) -> Result<String, CommandFailure> {
    if value.trim().is_empty() {
        return Err(CommandFailure::usage(format!(
            "{option} is empty: leave it out or name one"
        )));
    }
    Ok(value.to_owned())
}

fn names(option: &str, names: &[String]) -> Result<Vec<String>, CommandFailure> {
    names
        .iter()
        .map(|name| not_blank(option, name.trim()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_names_with_values() {
        let read = |text| variable("-e", text).map_err(|failure| failure.message);
        assert_eq!(read("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        assert_eq!(read("_x1="), Ok(("_x1".to_owned(), String::new())));
        for wrong in ["A", "=1", "1A=2", "A B=1", "A-B=1", "$(x)=1", "Ä=1"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn paths_are_made_absolute_and_normal() {
        let path = |text| absolute(Path::new(text)).map_err(|failure| failure.message);
        assert_eq!(path("/nowhere/./a//b/"), Ok("/nowhere/a/b".to_owned()));
        assert_eq!(path("/nowhere/a/../b"), Ok("/nowhere/b".to_owned()));
        assert!(path("x").is_ok_and(|path| path.starts_with('/') && path.ends_with("/x")));
    }

    #[test]
    fn what_is_asked_must_make_sense_together() {
        let data = tempfile::tempdir().expect("a directory");
        let secrets = Secrets::of(data.path());
        let refused = |wish: Wish| {
            let mut task = NewTask::command("x");
            wish.apply(&mut task, &secrets).is_err()
        };
        assert!(!refused(Wish::default()));
        let some = |text: &str| Some(text.to_owned());
        let list = |text: &str| vec![text.to_owned()];
        for wish in [
            Wish {
                content: some("  "),
                ..Wish::default()
            },
            Wish {
                require_branch: true,
                ..Wish::default()
            },
            Wish {
                target_fallback: true,
                ..Wish::default()
            },
            Wish {
                fallback: list("codex"),
                ..Wish::default()
            },
            Wish {
                shell: Some(None),
                providers: list("codex"),
                ..Wish::default()
            },
            Wish {
                secret_env: list("NO_SUCH_VARIABLE_HERE"),
                ..Wish::default()
            },
            Wish {
                secret_env: list("A=B"),
                ..Wish::default()
            },
            Wish {
                target: some(" "),
                ..Wish::default()
            },
        ] {
            assert!(refused(wish.clone()), "{wish:?}");
        }
    }
}
