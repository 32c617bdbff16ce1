//! What could be changed about a task or a session to let the task run: how much effort it is, its
//! hypothetical effect on both, and how people are told.

use jiff::SignedDuration;
use shell_quote::Sh;

use super::changes::WaitingTask;
use super::named;
use crate::matcher::seconds;
use crate::model::eligibility::Admission;
use crate::model::naming::{Meaning, SessionRef, Whereabouts, whereabouts};
use crate::model::session::Activity;
use crate::model::task::Task;
use crate::store::{Pause, SessionRow};

/// A change that can be made hypothetically.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TrialStep {
    /// The session returns to its prompt by itself.
    Wait,
    /// The pauses that hold it back are ended.
    Resume(Vec<Pause>),
    /// It is given a label.
    Label(String, String),
    /// The task names it: a protected session takes no other tasks.
    Name,
    /// It changes to a directory.
    Directory(String),
    /// It changes to a branch.
    Branch(String),
    /// It exports variables.
    Export(Vec<String>),
    /// The task asks for less.
    Drop(Requirement),
    /// The task takes any session.
    Any,
    /// The configuration no longer excludes it.
    Include,
}

/// What a task may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Requirement {
    Target,
    Provider,
    Branch,
    Labels,
    Wishes,
    Variables,
    Directory,
    Repository,
    Shell,
}

impl TrialStep {
    /// Returns the effort of the step; the least comes first.
    pub(super) fn effort(&self) -> usize {
        match self {
            Self::Wait => 0,
            Self::Resume(_) => 1,
            Self::Label(..) | Self::Name => 2,
            Self::Directory(_) | Self::Branch(_) | Self::Export(_) => 3,
            Self::Drop(Requirement::Directory) => 5,
            Self::Drop(_) => 4,
            Self::Any => 6,
            Self::Include => 7,
        }
    }

    /// Returns the part of the task that it concerns: two steps for the same part would undo each
    /// other.
    pub(super) fn part(&self) -> Option<Requirement> {
        match self {
            Self::Name => Some(Requirement::Target),
            Self::Branch(_) => Some(Requirement::Branch),
            Self::Directory(_) => Some(Requirement::Directory),
            Self::Export(_) => Some(Requirement::Variables),
            Self::Drop(part) => Some(*part),
            Self::Label(..) | Self::Wait | Self::Resume(_) | Self::Any | Self::Include => None,
        }
    }

    /// Whether it changes the task alone, so that the policy may choose any session.
    pub(super) fn is_of_task(&self) -> bool {
        matches!(self, Self::Drop(_) | Self::Any)
    }
}

/// Applies a step to copies of the task and of its session.
pub(super) fn do_in_thought(
    step: &TrialStep,
    stage: &WaitingTask<'_>,
    task: &mut Task,
    row: Option<&mut SessionRow>,
) {
    match step {
        TrialStep::Drop(part) => {
            let metadata = &mut task.metadata;
            match part {
                Requirement::Target => {
                    task.target_session = None;
                    metadata.target_fallback = false;
                }
                Requirement::Provider => {
                    task.target_provider = None;
                    metadata.preferred_providers.clear();
                    metadata.fallback_providers.clear();
                    metadata.allow_fallback = false;
                }
                Requirement::Branch => {
                    metadata.git_branch = None;
                    metadata.require_branch = false;
                }
                Requirement::Labels => metadata.require_labels.clear(),
                Requirement::Wishes => metadata.labels.clear(),
                Requirement::Variables => metadata.env_vars.clear(),
                Requirement::Directory => {
                    metadata.working_dir = None;
                    metadata.repository = None;
                }
                Requirement::Repository => metadata.repository = None,
                Requirement::Shell => metadata.shell = None,
            }
            return;
        }
        TrialStep::Any => {
            task.metadata.prefer_context_match = false;
            task.metadata.repository = None;
            return;
        }
        _ => {}
    }
    let Some(row) = row else { return };
    match step {
        TrialStep::Wait => {
            row.activity = Activity::Idle;
            row.since = stage.now;
            row.reason = None;
        }
        TrialStep::Resume(_) => {
            row.paused = false;
            if row.activity == Activity::Idle {
                row.reason = None;
            }
        }
        TrialStep::Label(name, value) => {
            row.labels.insert(name.clone(), value.clone());
        }
        TrialStep::Name => {
            task.target_session = Some(SessionRef {
                name: row.name.clone(),
                meaning: Some(Meaning::Pane(row.identity.clone())),
            });
        }
        TrialStep::Directory(directory) => {
            row.git_branch = stage.place.and_then(|place| place.branch.clone());
            row.current_dir = named(Some(directory), stage.place);
        }
        TrialStep::Branch(branch) => row.git_branch = Some(branch.clone()),
        TrialStep::Export(names) => {
            for name in names {
                if let Some(value) = task.metadata.env_vars.get(name) {
                    row.env.insert(name.clone(), value.clone());
                }
            }
        }
        TrialStep::Include => {
            row.admission = Admission::Open;
            if row.activity == Activity::Idle {
                row.reason = None;
            }
        }
        TrialStep::Drop(_) | TrialStep::Any => {}
    }
}

/// Describes a step to a person.
pub(super) fn in_words(stage: &WaitingTask<'_>, session: usize, step: &TrialStep) -> String {
    let row = stage.rows[session];
    let name = &row.name;
    let task = stage.task;
    let id = task.id.to_string();
    let by =
        |args: &[&str]| command(args).map_or_else(String::new, |command| format!(": {command}"));
    let edit = |what: &str| by(&["assigner", "edit", &id, "--unset", what]);
    match step {
        TrialStep::Wait => {
            let since = seconds(row.since, stage.now);
            let since = SignedDuration::from_secs(i64::from(since));
            let what = match (row.current_task, row.activity) {
                (Some(task), _) => format!("it is busy with task {task}"),
                (None, activity) => format!("{activity}, {}", row.reason()),
            };
            format!("wait until session {name} is idle: {what} since {since:#}")
        }
        TrialStep::Resume(pauses) => {
            let commands: Vec<String> = pauses
                .iter()
                .filter_map(|pause| match pause {
                    Pause::All => command(&["assigner", "resume", "--all"]),
                    Pause::Provider(name) => command(&["assigner", "resume", "--provider", name]),
                    Pause::Session(said) => {
                        let name = match whereabouts(stage.rows.iter().map(|row| row.who()), said) {
                            Whereabouts::Here(name) => name,
                            Whereabouts::Awaited | Whereabouts::Gone => said.name.clone(),
                        };
                        command(&["assigner", "resume", "--", &name])
                    }
                })
                .collect();
            let how = if commands.is_empty() {
                String::new()
            } else {
                format!(": {}", commands.join(" and "))
            };
            format!("resume session {name}, which is paused{how}")
        }
        TrialStep::Label(label, value) => {
            let pair = format!("{label}={value}");
            let how = by(&["assigner", "label", "--", name, &pair]);
            format!("give session {name} the label {pair}{how}")
        }
        TrialStep::Name => {
            let target = format!("--target={name}");
            let how = by(&["assigner", "edit", &id, &target]);
            format!("name session {name} with --target{how}")
        }
        TrialStep::Directory(directory) => format!("bring session {name} to {directory}"),
        TrialStep::Branch(branch) => format!("bring session {name} to branch {branch}"),
        TrialStep::Export(names) => {
            let names = names.join(", ");
            format!("export what it asks for in session {name}: {names}")
        }
        TrialStep::Drop(Requirement::Target) => {
            let target = task.target_session.as_ref();
            let target = target.map_or("", |target| &target.name);
            format!("drop the target {target}{}", edit("target"))
        }
        TrialStep::Drop(Requirement::Provider) => format!("drop the providers{}", edit("provider")),
        TrialStep::Drop(Requirement::Branch) => {
            let branch = task.metadata.git_branch.as_deref().unwrap_or_default();
            format!("drop the branch {branch}{}", edit("branch"))
        }
        TrialStep::Drop(Requirement::Labels) => {
            let labels = task.metadata.require_labels.iter();
            let labels: Vec<String> = labels
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let (labels, how) = (labels.join(", "), edit("require-label"));
            format!("drop the required label {labels}{how}")
        }
        TrialStep::Drop(Requirement::Wishes) => format!("drop the labels{}", edit("label")),
        TrialStep::Drop(Requirement::Variables) => format!("drop the variables{}", edit("env")),
        TrialStep::Drop(Requirement::Directory) => {
            let directory = task.metadata.working_dir.as_deref().unwrap_or_default();
            format!("drop the directory {directory}{}", edit("working-dir"))
        }
        TrialStep::Drop(Requirement::Repository) => {
            let how = by(&["assigner", "edit", &id, "--anywhere"]);
            format!("let an agent elsewhere do{how}")
        }
        TrialStep::Drop(Requirement::Shell) => {
            let how = by(&["assigner", "edit", &id, "--shell"]);
            format!("let any shell do{how}")
        }
        TrialStep::Any => {
            let how = by(&["assigner", "edit", &id, "--no-context-match"]);
            format!("let any session do{how}")
        }
        TrialStep::Include => format!(
            "take session {name} out of `exclude` in the configuration, and restart the daemon"
        ),
    }
}

/// Returns a command to be copied, in backticks, or `None` if an argument could not be read that
/// way.
pub(super) fn command(args: &[&str]) -> Option<String> {
    let unfit = |text: &&str| text.chars().any(|c| c.is_control() || c == '`');
    if args.iter().any(unfit) {
        return None;
    }
    let words = args.iter().map(|arg| Sh::quote_vec(*arg));
    let words: Vec<String> = words
        .map(|word| String::from_utf8_lossy(&word).into_owned())
        .collect();
    Some(format!("`{}`", words.join(" ")))
}
