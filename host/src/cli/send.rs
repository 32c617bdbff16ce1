//! `assigner send`: queues tasks, with or without a daemon.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use serde_json::{Value, json};
use shell_quote::Sh;

use super::exit::{CommandFailure, Exit};
use super::flags::TaskFlags;
use super::follow::interrupted;
use super::{Context, batch, follow, look, ui};
use crate::agents::Catalog;
use crate::model::ids::TaskId;
use crate::model::task::{MAX_CONTENT, NewTask, Status};
use crate::node::aim;
use crate::options::{self, Sender, Wishes};
use crate::store::{Secrets, Sharing, StoreError};

/// Queues a task.
///
/// With --shell, it is a command line that runs in a shell. Without it, it is a prompt for an agent, and
/// is never run as a command.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The command or prompt; `-` reads it from standard input. Several words are one command line, or
    /// one prompt
    #[arg(required_unless_present = "batch")]
    content: Vec<String>,
    #[command(flatten)]
    pub(super) flags: TaskFlags,
    /// Queues a task for each line of this file, a JSON object with the names of these options; all
    /// of them or none. `-` reads standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["content", "Options"])]
    batch: Option<PathBuf>,
    /// Waits until it has ended, prints what it printed, or the agent's response, and exits with its
    /// exit code
    #[arg(long, conflicts_with = "batch")]
    wait: bool,
    /// Like --wait, and prints what it prints as it grows
    #[arg(short, long, conflicts_with_all = ["batch", "wait"])]
    follow: bool,
}

pub(super) fn run(context: &Context, args: Args) -> Result<Exit, CommandFailure> {
    let secrets = Secrets::of(&context.config.data_dir);
    let sender = context.sender(&secrets);
    let is_batch = args.batch.is_some();
    let mut here = None;
    let mut tasks = match args.batch {
        Some(file) => {
            let mut store = context.store()?;
            batch::read(&file, &sender, |id| match store.task(id) {
                Ok(_) => Ok(true),
                Err(StoreError::NoTask(_)) => Ok(false),
                Err(error) => Err(error.into()),
            })?
        }
        None => vec![one(
            context,
            args.content,
            args.flags.0,
            &sender,
            &mut here,
        )?],
    };
    warn_of_unknown_agents(&context.config.profiles_dir, &tasks);
    warn_of_headless(context);
    let aimed = context
        .store()
        .and_then(|mut store| Ok(aim(&mut tasks, &mut store)?));
    aimed
        .and_then(|()| tasks.iter_mut().try_for_each(look_at_place))
        .inspect_err(|_| options::forget(&tasks, &secrets))?;
    let rows = queue(context, &tasks)?;
    if let ([(id, _)], true) = (rows.as_slice(), args.wait || args.follow) {
        let until = match args.follow {
            true => follow::Until::Printed,
            false => follow::Until::Ended,
        };
        ui::warn(&format!("task {id} queued"));
        return follow::run(context, *id, until, false);
    }
    let written = show_queued(context, &rows, is_batch, here.as_deref());
    written.map_err(|error| {
        let failure = CommandFailure::from(error);
        // Who takes this for a failure and repeats it would have the work done twice.
        let ids: Vec<String> = rows.iter().map(|(id, _)| id.to_string()).collect();
        let what = match ids.as_slice() {
            [id] => format!("task {id} is queued"),
            [first, .., last] => format!("{} tasks are queued, {first} to {last}", ids.len()),
            [] => "nothing was queued".to_owned(),
        };
        CommandFailure::new(failure.exit, format!("{what}, but {}", failure.message))
    })?;
    Ok(Exit::Done)
}

/// Prints the numbers and states of what was queued.
fn show_queued(
    context: &Context,
    rows: &[(TaskId, Status)],
    is_batch: bool,
    here: Option<&Path>,
) -> io::Result<()> {
    if context.ui.json {
        let json: Vec<_> = rows
            .iter()
            .map(|(id, status)| json!({"id": id, "status": status}))
            .collect();
        match json.as_slice() {
            [one] if !is_batch => context.ui.json(one)?,
            _ => context.ui.json(&json)?,
        }
        return Ok(());
    }
    for &(id, status) in rows {
        if status == Status::Pending {
            let place = here.map_or_else(String::new, |here| {
                format!(" for {}", ui::clean(&here.display().to_string()))
            });
            context.ui.line(&format!("task {id} queued{place}"))?;
        } else {
            context.ui.line(&format!(
                "task {id} {status}: `assigner show {id}` tells why"
            ))?;
        }
    }
    Ok(())
}

/// Reads one task. `here` is the current directory, if the task is meant for it.
fn one(
    context: &Context,
    words: Vec<String>,
    mut wishes: Wishes,
    sender: &Sender<'_>,
    here: &mut Option<PathBuf>,
) -> Result<NewTask, CommandFailure> {
    let is_command = wishes
        .get("shell")
        .is_some_and(|shell| *shell != Value::Bool(false));
    let content = match words.as_slice() {
        [only] if only == "-" => read_standard_input()?,
        _ => joined(words, is_command),
    };
    // A task that is typed on a terminal is meant for the current directory.
    let placing = ["working-dir", "anywhere", "no-context-match", "target"];
    let is_placed = placing.iter().any(|option| wishes.says(option));
    if !is_placed && io::stdin().is_terminal() && !continues(context, &wishes, sender)? {
        *here = std::env::current_dir().ok();
        if let Some(here) = &here {
            wishes.say("working-dir", options::absolute(here, look::sight)?.into())?;
        }
    }
    let mut task = NewTask::prompt("");
    wishes.apply(Some(&content), &mut task, sender)?;
    Ok(task)
}

/// Returns the text that several words stand for: a shell reads each of them as the word that it was.
fn joined(words: Vec<String>, is_command: bool) -> String {
    match words.len() {
        0 | 1 => words.into_iter().next().unwrap_or_default(),
        _ if is_command => {
            let quoted = words.iter().map(|word| {
                let quoted = Sh::quote_vec(word);
                String::from_utf8_lossy(&quoted).into_owned()
            });
            quoted.collect::<Vec<String>>().join(" ")
        }
        _ => words.join(" "),
    }
}

/// Whether a headless prompt continues the conversation of a task that it follows, and so runs in the
/// directory of that one.
fn continues(
    context: &Context,
    wishes: &Wishes,
    sender: &Sender<'_>,
) -> Result<bool, CommandFailure> {
    let Some(provider) = wishes.get("provider").and_then(Value::as_str) else {
        return Ok(false);
    };
    let is_headless = wishes.get("headless").and_then(Value::as_bool);
    let parents = wishes.get("after").and_then(Value::as_array);
    let (true, Some(parents)) = (
        is_headless.unwrap_or_else(|| sender.is_usual(provider)),
        parents,
    ) else {
        return Ok(false);
    };
    let spec = (sender.headless)(sender.profiles, provider);
    if spec.is_ok_and(|spec| spec.resume.is_empty()) {
        return Ok(false);
    }
    let mut store = context.store()?;
    let number = |parent: &Value| parent.as_i64().or_else(|| parent.as_str()?.parse().ok());
    for parent in parents.iter().filter_map(number) {
        let asked = match store.task(TaskId(parent)) {
            Ok(task) => task.metadata.headless.map(|asked| asked.provider),
            // It is refused when the task is queued.
            Err(StoreError::NoTask(_)) => None,
            Err(error) => return Err(error.into()),
        };
        if asked.as_deref() == Some(provider) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Warns of each agent that is configured to be asked without a terminal and cannot be.
pub(super) fn warn_of_headless(context: &Context) {
    for name in &context.config.file.agents.headless {
        if let Err(why) = Catalog::headless(&context.config.profiles_dir, name) {
            ui::warn(&format!(
                "warning: `headless` in [agents] of the configuration: {why}"
            ));
        }
    }
}

/// Looks at the directory of a task before it is queued, and warns if it does not exist.
pub(super) fn look_at_place(task: &mut NewTask) -> Result<(), CommandFailure> {
    if let Some(warning) = options::look_at_place(task, look::sight)? {
        ui::warn(&warning);
    }
    Ok(())
}

/// Warns of each agent that tasks ask for and that no profile describes.
fn warn_of_unknown_agents(profiles: &Path, tasks: &[NewTask]) {
    let asked = tasks.iter().flat_map(NewTask::preferred_providers);
    let asked: BTreeSet<String> = asked.collect();
    for name in asked {
        let is_plain = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !is_plain || !Catalog::is_known(profiles, &name) {
            ui::warn(&format!(
                "warning: there is no profile `{name}`, so no session is such an agent: \
                 `assigner agents list` shows all"
            ));
        }
    }
}

/// Queues tasks and returns their numbers and states: one may have failed already, together with
/// its parent. If they are not queued, their secrets are forgotten.
pub(super) fn queue(
    context: &Context,
    tasks: &[NewTask],
) -> Result<Vec<(TaskId, Status)>, CommandFailure> {
    let secrets = Secrets::of(&context.config.data_dir);
    let opened = context
        .store()
        .and_then(|store| Ok((store, context.spool()?)));
    let (mut store, spool) = opened.inspect_err(|_| options::forget(tasks, &secrets))?;
    let progress = ui::progress("queueing");
    progress.set_length(tasks.len() as u64);
    let mut sharing = Sharing::begin();
    // One task is queued before anybody could interrupt it.
    let interrupted = (tasks.len() > 1).then(interrupted);
    let queued = store.queue_all(tasks, Timestamp::now(), |done| {
        progress.set_position((done * tasks.len() as f64) as u64);
        sharing.give_way();
        let told = interrupted
            .as_ref()
            .map(|told| told.load(Ordering::Relaxed));
        told != Some(true)
    });
    progress.finish_and_clear();
    let ids = match queued {
        Ok(ids) => ids,
        Err(error) => {
            // Or may be.
            let is_queued = matches!(error, StoreError::Queued { .. } | StoreError::BatchGone);
            if is_queued {
                spool.nudge();
            } else {
                options::forget(tasks, &secrets);
            }
            return Err(error.into());
        }
    };
    let mut rows = Vec::with_capacity(ids.len());
    for (id, task) in ids.into_iter().zip(tasks) {
        let has_failed = !task.after.is_empty()
            // It was queued and may already be running: whatever goes wrong from here on, it must
            // not be sent again.
            && store.task(id).is_ok_and(|task| task.status == Status::Failed);
        let status = if has_failed {
            Status::Failed
        } else {
            Status::Pending
        };
        rows.push((id, status));
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
