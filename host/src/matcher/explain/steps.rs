//! What could be changed about a task or a session to let the task run: how much effort it is, its
//! hypothetical effect on both, and how people are told.

use jiff::SignedDuration;
use shell_quote::Sh;

use super::changes::WaitingTask;
use super::named;
use crate::matcher::seconds;
use crate::model::eligibility::{Admission, Less, Undo};
use crate::model::naming::{Meaning, SessionRef, Whereabouts, whereabouts};
use crate::model::session::Activity;
use crate::model::task::Task;
use crate::options;
use crate::store::{Pause, SessionRow};

/// A change that can be made hypothetically.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TrialStep {
    /// The session returns to its prompt by itself.
    Wait,
    /// The pauses that hold it back are ended.
    Resume(Vec<Pause>),
    /// It changes to a directory.
    Directory(String),
    /// It exports variables.
    Export(Vec<String>),
    /// A hard constraint, or what the policy looks at, no longer keeps the task from it.
    Undo(Undo),
}

impl TrialStep {
    /// Returns the effort of the step; the least comes first.
    pub(super) fn effort(&self) -> usize {
        match self {
            Self::Wait => 0,
            Self::Resume(_) => 1,
            Self::Undo(Undo::Label(..) | Undo::Name) => 2,
            Self::Directory(_) | Self::Export(_) | Self::Undo(Undo::Branch(_)) => 3,
            Self::Undo(Undo::Less(less)) => match less.option {
                "working-dir" => 5,
                "no-context-match" => 6,
                _ => 4,
            },
            Self::Undo(Undo::Include) => 7,
        }
    }

    /// Returns the option of the task that it concerns: two steps for the same option would undo
    /// each other.
    pub(super) fn part(&self) -> Option<&'static str> {
        match self {
            Self::Directory(_) => Some("working-dir"),
            Self::Export(_) => Some("env"),
            Self::Undo(Undo::Name) => Some("target"),
            Self::Undo(Undo::Branch(_)) => Some("branch"),
            Self::Undo(Undo::Less(less)) => Some(less.option),
            Self::Undo(Undo::Label(..) | Undo::Include) | Self::Wait | Self::Resume(_) => None,
        }
    }

    /// Whether it changes the task alone, so that the policy may choose any session.
    pub(super) fn is_of_task(&self) -> bool {
        matches!(self, Self::Undo(Undo::Less(_)))
    }
}

/// Lets a task ask for less, as `assigner edit` would.
fn ask_less(task: &mut Task, less: &Less) {
    let Some(option) = options::find(less.option) else {
        return;
    };
    let mut asked = task.as_new();
    match option.unset.filter(|_| less.unset) {
        Some(unset) => unset(&mut asked),
        None => option.say(&mut asked),
    }
    // Whoever asks less of the place is no longer bound to it.
    if options::is_of_place(less.option) {
        asked.metadata.repository = None;
    }
    task.take(asked);
}

/// Applies a step to copies of the task and of its session.
pub(super) fn do_in_thought(
    step: &TrialStep,
    stage: &WaitingTask<'_>,
    task: &mut Task,
    row: Option<&mut SessionRow>,
) {
    if let TrialStep::Undo(Undo::Less(less)) = step {
        ask_less(task, less);
        return;
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
        TrialStep::Undo(Undo::Label(name, value)) => {
            row.labels.insert(name.clone(), value.clone());
        }
        TrialStep::Undo(Undo::Name) => {
            task.target_session = Some(SessionRef {
                name: row.name.clone(),
                meaning: Some(Meaning::Pane(row.identity.clone())),
            });
        }
        TrialStep::Directory(directory) => {
            row.git_branch = stage.place.and_then(|place| place.branch.clone());
            row.current_dir = named(Some(directory), stage.place);
        }
        TrialStep::Undo(Undo::Branch(branch)) => row.git_branch = Some(branch.clone()),
        TrialStep::Export(names) => {
            for name in names {
                if let Some(value) = task.metadata.env_vars.get(name) {
                    row.env.insert(name.clone(), value.clone());
                }
            }
        }
        TrialStep::Undo(Undo::Include) => {
            row.admission = Admission::Open;
            if row.activity == Activity::Idle {
                row.reason = None;
            }
        }
        TrialStep::Undo(Undo::Less(_)) => {}
    }
}

/// Describes a step to a person.
pub(super) fn in_words(stage: &WaitingTask<'_>, session: usize, step: &TrialStep) -> String {
    let row = stage.rows[session];
    let name = &row.name;
    let id = stage.task.id.to_string();
    let by =
        |args: &[&str]| command(args).map_or_else(String::new, |command| format!(": {command}"));
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
        TrialStep::Undo(Undo::Label(label, value)) => {
            let pair = format!("{label}={value}");
            let how = by(&["assigner", "label", "--", name, &pair]);
            format!("give session {name} the label {pair}{how}")
        }
        TrialStep::Undo(Undo::Name) => {
            let target = format!("--target={name}");
            let how = by(&["assigner", "edit", &id, &target]);
            format!("name session {name} with --target{how}")
        }
        TrialStep::Directory(directory) => format!("bring session {name} to {directory}"),
        TrialStep::Undo(Undo::Branch(branch)) => format!("bring session {name} to branch {branch}"),
        TrialStep::Export(names) => {
            let names = names.join(", ");
            format!("export what it asks for in session {name}: {names}")
        }
        TrialStep::Undo(Undo::Less(Less {
            option,
            unset,
            words,
        })) => {
            let how = if *unset {
                by(&["assigner", "edit", &id, "--unset", option])
            } else {
                by(&["assigner", "edit", &id, &format!("--{option}")])
            };
            format!("{words}{how}")
        }
        TrialStep::Undo(Undo::Include) => format!(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::eligibility::{CONSTRAINTS, Demand, Place, SHELL};
    use crate::model::ids::TaskId;
    use crate::model::naming::Who;
    use crate::model::session::Shell;
    use crate::model::task::{Kind, NewTask};

    #[test]
    fn what_is_less_effort_comes_first() {
        let less = |option| TrialStep::Undo(Undo::unset(option, ""));
        let one = || "x".to_owned();
        let steps = [
            vec![TrialStep::Wait],
            vec![TrialStep::Resume(Vec::new())],
            vec![
                TrialStep::Undo(Undo::Label(one(), one())),
                TrialStep::Undo(Undo::Name),
            ],
            vec![
                TrialStep::Directory(one()),
                TrialStep::Export(Vec::new()),
                TrialStep::Undo(Undo::Branch(one())),
            ],
            vec![less("branch"), less("env"), less("target")],
            vec![less("working-dir")],
            vec![less("no-context-match")],
            vec![TrialStep::Undo(Undo::Include)],
        ];
        for (effort, alike) in steps.iter().enumerate() {
            assert!(
                alike.iter().all(|step| step.effort() == effort),
                "{alike:?}"
            );
        }
        // Only what the task asks less for is of the task alone.
        let of_task = steps.concat().into_iter().filter(TrialStep::is_of_task);
        assert_eq!(of_task.count(), 5);
    }

    #[test]
    fn steps_about_one_option_are_known_as_such() {
        let less = |option| TrialStep::Undo(Undo::unset(option, ""));
        for (step, option) in [
            (TrialStep::Directory("/v".to_owned()), "working-dir"),
            (TrialStep::Export(Vec::new()), "env"),
            (TrialStep::Undo(Undo::Branch("dev".to_owned())), "branch"),
            (TrialStep::Undo(Undo::Name), "target"),
        ] {
            assert_eq!(step.part(), less(option).part(), "{step:?}");
        }
        assert_ne!(less("env").part(), less("branch").part());
        for step in [TrialStep::Wait, TrialStep::Resume(Vec::new())] {
            assert_eq!(step.part(), None);
        }
    }

    /// What `explain` suggests for a hard constraint is an option of the command line, and undoes the
    /// constraint.
    #[test]
    fn a_task_that_asks_less_is_no_longer_excluded() {
        let labels = [("team".to_owned(), "web".to_owned())].into();
        let mut new = NewTask {
            target_session: Some("api".into()),
            target_provider: Some("codex".to_owned()),
            ..NewTask::prompt("x")
        };
        new.metadata.git_branch = Some("dev".to_owned());
        new.metadata.require_branch = true;
        new.metadata.require_labels = labels;
        new.metadata.repository = Some("/src/api".to_owned());
        let command = NewTask {
            kind: Kind::Command,
            ..new.clone()
        };
        let none = std::collections::BTreeMap::new();
        let place = |provider| Place {
            who: Who::named("web"),
            provider,
            branch: None,
            labels: &none,
            admission: Admission::Open,
            directory: None,
            repository: None,
            shell: Some(Shell::Bash),
        };
        let mut undone = Vec::new();
        for (new, provider) in [(new, "claude"), (command, SHELL)] {
            let mut task = Task::queued(TaskId(1), &new, jiff::Timestamp::UNIX_EPOCH);
            if task.kind == Kind::Command {
                task.metadata.shell = Some(Shell::Zsh);
            }
            let (demand, place) = (Demand::of(&task), place(provider));
            for constraint in CONSTRAINTS {
                if (constraint.excludes)(&demand, &place).is_none() {
                    continue;
                }
                for undo in (constraint.undo)(&demand, &place) {
                    let Undo::Less(less) = undo else { continue };
                    assert!(options::find(less.option).is_some(), "{less:?}");
                    let mut task = task.clone();
                    ask_less(&mut task, &less);
                    let demand = Demand::of(&task);
                    assert_eq!((constraint.excludes)(&demand, &place), None, "{less:?}");
                    undone.push(less.option);
                }
            }
        }
        undone.sort_unstable();
        undone.dedup();
        assert_eq!(
            undone,
            [
                "anywhere",
                "branch",
                "provider",
                "require-label",
                "shell",
                "target"
            ]
        );
    }
}
