//! `assigner send`: queues tasks, with or without a daemon.

use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;

use clap::ValueEnum;
use jiff::{Timestamp, Zoned};
use serde_json::json;

use super::exit::{CommandFailure, Exit};
use super::wish::{self, AgentOptions, Wish};
use super::{Context, batch, ui, when};
use crate::model::ids::TaskId;
use crate::model::session::Shell;
use crate::model::task::{IfParentFails, MAX_CONTENT, NewTask, Parent, Status};
use crate::node::aim;
use crate::store::{Secrets, StoreError};

/// Queues a task.
///
/// With --shell, it is a command line that runs in a shell. Without it, it is a prompt for an agent, and
/// is never run as a command.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The command or prompt; `-` reads it from standard input
    #[arg(required_unless_present = "batch")]
    content: Option<String>,
    #[command(flatten)]
    options: TaskOptions,
    /// Queues a task for each line of this file, a JSON object with the names of these options; all
    /// of them or none. `-` reads standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["content", "Options"])]
    batch: Option<PathBuf>,
}

/// What can be asked of a task.
#[derive(Debug, Default, clap::Args)]
#[group(id = "Options", multiple = true)]
pub(super) struct TaskOptions {
    /// Runs it as a command in a shell: in any, or with `=bash`, `=zsh`, `=fish` or `=dash` in one of
    /// that kind
    #[arg(long, value_name = "SHELL", num_args = 0..=1, require_equals = true, value_parser = wish::shell)]
    pub(super) shell: Option<Option<Shell>>,
    /// Asks the agent of --provider in a shell, without a terminal of its own: for agents whose
    /// profile says how
    #[arg(long, overrides_with = "no_headless")]
    headless: bool,
    /// Asks the agent in its session, even if the configuration lists it under `headless`
    #[arg(long, overrides_with = "headless")]
    no_headless: bool,

    /// The directory it is for; the session changes to it
    #[arg(
        short = 'w',
        long,
        value_name = "DIR",
        visible_alias = "workdir",
        help_heading = "Context"
    )]
    working_dir: Option<PathBuf>,
    /// Lets an agent in another repository take the prompt, with a note that names the directory.
    /// Without -w, the prompt is for no directory
    #[arg(long, help_heading = "Context")]
    anywhere: bool,
    /// The git branch it prefers
    #[arg(
        short = 'b',
        long = "branch",
        value_name = "BRANCH",
        visible_alias = "git-branch",
        help_heading = "Context"
    )]
    branch: Option<String>,
    /// Makes the branch a condition: it is checked before the task starts
    #[arg(long, help_heading = "Context")]
    require_branch: bool,
    /// A variable to export before it runs; may be repeated
    #[arg(
        short = 'e',
        long = "env",
        value_name = "NAME=VALUE",
        help_heading = "Context"
    )]
    env: Vec<String>,
    /// A variable whose value is taken from this environment and shown nowhere; undone after the
    /// task
    #[arg(long, value_name = "NAME", help_heading = "Context")]
    secret_env: Vec<String>,
    /// Undoes the task's changes to the environment when it ends
    #[arg(long, help_heading = "Context")]
    isolate_env: bool,
    /// A command that must succeed first; may be repeated, and they run in order
    #[arg(long = "prereq", value_name = "COMMAND", help_heading = "Context")]
    prerequisites: Vec<String>,
    /// Ends a prerequisite after this time, in whole seconds [default: 10m, see the configuration]
    #[arg(
        long = "prereq-timeout",
        value_name = "DURATION",
        value_parser = when::seconds,
        help_heading = "Context"
    )]
    prerequisite_timeout: Option<u64>,

    /// The only session that may run it
    #[arg(long, value_name = "SESSION", help_heading = "Selection")]
    target: Option<String>,
    /// Lets other sessions run it while that one cannot
    #[arg(long, help_heading = "Selection")]
    target_fallback: bool,
    /// The kind of session that may run it: `shell`, or an agent's name
    #[arg(long, value_name = "NAME", help_heading = "Selection")]
    provider: Option<String>,
    /// The kinds of session that may run it, the preferred ones first
    #[arg(
        long,
        value_name = "NAME,...",
        value_delimiter = ',',
        help_heading = "Selection"
    )]
    providers: Vec<String>,
    /// The kinds to try after those
    #[arg(
        long,
        value_name = "NAME,...",
        value_delimiter = ',',
        help_heading = "Selection"
    )]
    fallback: Vec<String>,
    /// Lets every kind run it, after the named ones
    #[arg(long, help_heading = "Selection")]
    allow_fallback: bool,
    /// Lets any session run it, whatever its directory, branch and environment
    #[arg(long, help_heading = "Selection")]
    no_context_match: bool,
    /// A label for policies and people; may be repeated
    #[arg(
        short = 'l',
        long = "label",
        value_name = "NAME=VALUE",
        help_heading = "Selection"
    )]
    labels: Vec<String>,
    /// A label that the session must have; may be repeated
    #[arg(
        long = "require-label",
        value_name = "NAME=VALUE",
        help_heading = "Selection"
    )]
    require_labels: Vec<String>,

    /// Higher goes first [default: 0]
    #[arg(
        short,
        long,
        value_name = "N",
        allow_negative_numbers = true,
        help_heading = "Order and time"
    )]
    priority: Option<i32>,
    /// A task that must have ended first; may be repeated
    #[arg(
        long,
        value_name = "ID,...",
        value_delimiter = ',',
        help_heading = "Order and time"
    )]
    after: Vec<TaskId>,
    /// What happens to it when such a task fails or is cancelled [default: fail]
    #[arg(long, value_name = "WHAT", value_enum, help_heading = "Order and time")]
    if_parent_fails: Option<IfFails>,
    /// Waits this long before it may start, such as `90s`; a bare number is minutes
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = delay,
        conflicts_with = "at",
        help_heading = "Order and time"
    )]
    delay: Option<Timestamp>,
    /// Waits until this time: `18:30`, `2030-01-31 18:30`, or RFC 3339
    #[arg(
        long,
        value_name = "TIME",
        value_parser = at,
        help_heading = "Order and time"
    )]
    at: Option<Timestamp>,
    /// How often it is tried again after it fails [default: 0]
    #[arg(long, value_name = "N", help_heading = "Order and time")]
    retries: Option<u32>,
    /// Ends its command after this time, such as `90s` or `1h 30m`, in whole seconds; a bare number
    /// is minutes [default: never]
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = when::seconds,
        help_heading = "Order and time"
    )]
    timeout: Option<u64>,
}

/// What happens to a task whose parent does not complete.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum IfFails {
    /// It fails as well
    Fail,
    /// It runs anyway
    Release,
}

impl TaskOptions {
    /// Returns what the options ask for.
    ///
    /// # Errors
    /// A variable or a label is malformed, or the agent cannot be asked this way.
    pub(super) fn wish(self, agents: AgentOptions<'_>) -> Result<Wish, CommandFailure> {
        let headless = (self.headless || self.no_headless).then_some(self.headless);
        let way = agents.way(headless, self.provider.as_deref())?;
        let variables = self.env.iter().map(|text| wish::variable("-e", text));
        let labels = self.labels.iter().map(|text| wish::label("--label", text));
        let required = self.require_labels.iter();
        Ok(Wish {
            content: None,
            shell: self.shell,
            way,
            working_dir: self.working_dir,
            anywhere: self.anywhere,
            branch: self.branch,
            require_branch: self.require_branch,
            env: variables.collect::<Result<_, _>>()?,
            secret_env: self.secret_env,
            isolate_env: self.isolate_env,
            prerequisites: self.prerequisites,
            prerequisite_timeout: self.prerequisite_timeout,
            priority: self.priority,
            provider: self.provider,
            providers: self.providers,
            fallback: self.fallback,
            allow_fallback: self.allow_fallback,
            target: self.target,
            target_fallback: self.target_fallback,
            no_context_match: self.no_context_match,
            labels: labels.collect::<Result<_, _>>()?,
            require_labels: required
                .map(|text| wish::label("--require-label", text))
                .collect::<Result<_, _>>()?,
            retries: self.retries,
            timeout: self.timeout,
            after: self.after.into_iter().map(Parent::Task).collect(),
            if_parent_fails: self.if_parent_fails.map(|what| match what {
                IfFails::Fail => IfParentFails::Fail,
                IfFails::Release => IfParentFails::Release,
            }),
            not_before: self.delay.or(self.at),
        })
    }
}

fn delay(text: &str) -> Result<Timestamp, String> {
    let delay = when::delay(text)?;
    Timestamp::now()
        .checked_add(delay)
        .map_err(|_| "this is too far in the future".to_owned())
}

fn at(text: &str) -> Result<Timestamp, String> {
    when::time(text, &Zoned::now())
}

pub(super) fn run(context: &Context, args: Args) -> Result<Exit, CommandFailure> {
    let secrets = Secrets::of(&context.config.data_dir);
    let is_batch = args.batch.is_some();
    let mut here = None;
    let mut tasks = match args.batch {
        Some(file) => {
            let mut store = context.store()?;
            batch::read(
                &file,
                &secrets,
                AgentOptions::configured(&context.config),
                |id| match store.task(id) {
                    Ok(_) => Ok(true),
                    Err(StoreError::NoTask(_)) => Ok(false),
                    Err(error) => Err(error.into()),
                },
            )?
        }
        None => vec![one(
            args.content.unwrap_or_default(),
            args.options,
            &secrets,
            AgentOptions::configured(&context.config),
            &mut here,
        )?],
    };
    wish::warn_of_unknown_agents(&context.config.profiles_dir, &tasks);
    aim(&mut tasks, &mut context.store()?)?;
    let looked = tasks.iter_mut().try_for_each(wish::look_at_place);
    let queued = looked.and_then(|()| queue(context, &tasks));
    if queued.is_err() {
        wish::forget(&tasks, &secrets);
    }
    let rows = queued?;
    if context.ui.json {
        let json: Vec<_> = rows
            .iter()
            .map(|(id, status)| json!({"id": id, "status": status}))
            .collect();
        match json.as_slice() {
            [one] if !is_batch => context.ui.json(one)?,
            _ => context.ui.json(&json)?,
        }
        return Ok(Exit::Done);
    }
    for (id, status) in rows {
        if status == Status::Pending {
            let place = here.as_ref().map_or_else(String::new, |here| {
                format!(" for {}", ui::clean(&here.display().to_string()))
            });
            context.ui.line(&format!("task {id} queued{place}"))?;
        } else {
            context.ui.line(&format!(
                "task {id} {status}: `assigner show {id}` tells why"
            ))?;
        }
    }
    Ok(Exit::Done)
}

/// Reads one task. `here` is the current directory, if the task is meant for it.
fn one(
    content: String,
    options: TaskOptions,
    secrets: &Secrets,
    agents: AgentOptions<'_>,
    here: &mut Option<PathBuf>,
) -> Result<NewTask, CommandFailure> {
    let content = if content == "-" {
        read_standard_input()?
    } else {
        content
    };
    let mut wish = Wish {
        content: Some(content),
        ..options.wish(agents)?
    };
    // A task that is typed on a terminal is meant for the current directory.
    let is_placed = wish.anywhere || wish.no_context_match || wish.target.is_some();
    if wish.working_dir.is_none() && !is_placed && io::stdin().is_terminal() {
        *here = std::env::current_dir().ok();
        wish.working_dir.clone_from(here);
    }
    let mut task = NewTask::prompt("");
    wish.apply(&mut task, secrets)?;
    Ok(task)
}

/// Queues tasks and returns their numbers and states: one may have failed already, together with
/// its parent.
pub(super) fn queue(
    context: &Context,
    tasks: &[NewTask],
) -> Result<Vec<(TaskId, Status)>, CommandFailure> {
    let mut store = context.store()?;
    let spool = context.spool()?;
    let ids = store.queue(tasks, Timestamp::now())?;
    let mut rows = Vec::with_capacity(ids.len());
    for (id, task) in ids.into_iter().zip(tasks) {
        let status = match store.task(id) {
            Ok(task) if task.status == Status::Failed => Status::Failed,
            // It was queued and may already be running: whatever goes wrong from here on, it must
            // not be sent again.
            _ => Status::Pending,
        };
        let failed_with_parent = status == Status::Failed && !task.after.is_empty();
        rows.push((
            id,
            if failed_with_parent {
                status
            } else {
                Status::Pending
            },
        ));
    }
    if let Err(failure) = context.forget_secrets(&mut store) {
        ui::warn(&failure.message);
    }
    spool.nudge();
    Ok(rows)
}

fn read_standard_input() -> Result<String, CommandFailure> {
    let mut bytes = Vec::new();
    // Reading one byte more than allowed shows that there is too much.
    io::stdin()
        .lock()
        .take(MAX_CONTENT as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| {
            CommandFailure::new(Exit::Failed, format!("cannot read standard input: {error}"))
        })?;
    if bytes.len() > MAX_CONTENT {
        return Err(CommandFailure::usage(format!(
            "standard input has more than the {MAX_CONTENT} bytes that a task may have: put it into a file and send a command that reads it"
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        CommandFailure::usage(format!(
            "standard input is not UTF-8 at byte {}: convert it first",
            error.utf8_error().valid_up_to()
        ))
    })
}
