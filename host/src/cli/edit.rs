//! `assigner edit`: changes pending tasks.

use clap::builder::PossibleValuesParser;
use jiff::Timestamp;
use serde_json::json;

use super::chosen::{self, Chosen};
use super::exit::{CommandFailure, Exit};
use super::flags::TaskFlags;
use super::{Context, send, ui};
use crate::model::ids::TaskId;
use crate::model::task::Status;
use crate::node::aim;
use crate::options::{self, Wishes};
use crate::store::{Edit, Secrets, Store, StoreError};

/// Changes waiting tasks: only what you name here.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The tasks' numbers; `5-9` are those of them that wait
    #[arg(required_unless_present = "all")]
    tasks: Vec<Chosen>,
    /// Every task that waits
    #[arg(long, conflicts_with = "tasks")]
    all: bool,
    /// The new command or prompt
    #[arg(long, value_name = "TEXT")]
    content: Option<String>,
    #[command(flatten)]
    pub(super) flags: TaskFlags,
    /// Unsets something that was asked for; may be repeated
    #[arg(long, value_name = "WHAT", value_parser = unsettable(), value_delimiter = ',')]
    unset: Vec<String>,
}

/// Returns the names of what can be unset.
fn unsettable() -> PossibleValuesParser {
    let options = options::all().filter(|option| option.unset.is_some());
    PossibleValuesParser::new(options.map(|option| option.name))
}

/// What is to be changed in each task.
struct Changes {
    content: Option<String>,
    wishes: Wishes,
    unset: Vec<String>,
}

/// The change of one task, before it is written.
struct PreparedEdit {
    edit: Edit,
    /// The secret values that it had.
    kept: Option<String>,
    changed: Vec<String>,
}

pub(super) fn run(context: &Context, args: Args) -> Result<Exit, CommandFailure> {
    let mut store = context.store()?;
    let secrets = Secrets::of(&context.config.data_dir);
    let Args {
        tasks,
        all,
        content,
        flags: TaskFlags(wishes),
        unset,
    } = args;
    if content.is_none() && unset.is_empty() && wishes.is_empty() {
        return Err(CommandFailure::usage(
            "nothing to change: name an option of `assigner send`, --content or --unset",
        ));
    }
    let changes = Changes {
        content,
        wishes,
        unset,
    };
    let every = [Chosen::Range(TaskId(i64::MIN), TaskId(i64::MAX))];
    let chosen = if all { &every[..] } else { &tasks };
    let is_one = matches!(chosen, [Chosen::One(_)]);
    let ids = chosen::tasks(&mut store, chosen, &[Status::Pending])?;
    if ids.is_empty() {
        ui::warn("there is no such task that waits");
    }
    let mut exit = Exit::Done;
    let mut rows = Vec::new();
    let prepare = |store: &mut Store, id| prepared(context, store, &secrets, &changes, id);
    let change = |store: &mut Store, id, prepared: Result<PreparedEdit, CommandFailure>| {
        let prepared = prepared?;
        Ok((store.edit(id, &prepared.edit, Timestamp::now()), prepared))
    };
    let told = chosen::each(&mut store, &ids, prepare, change, |store, id, done| {
        let done = done.and_then(|(done, prepared)| finished(store, &secrets, id, done, prepared));
        let (status, changed) = match done {
            Ok(done) => done,
            Err(failure) if is_one => return Err(failure),
            Err(failure) => {
                // The others are changed anyway.
                ui::warn(&failure.message);
                exit = failure.exit;
                return Ok(());
            }
        };
        if context.ui.json {
            rows.push(json!({"id": id, "status": status, "changed": changed}));
            return Ok(());
        }
        Ok(context
            .ui
            .line(&format!("task {id} changed: {}", changed.join(", ")))?)
    });
    context.spool()?.nudge();
    context.forget_secrets(&mut store)?;
    told?;
    if context.ui.json {
        match rows.as_slice() {
            [row] if is_one => context.ui.json(row)?,
            rows => context.ui.json(&rows)?,
        }
    }
    Ok(exit)
}

/// Finds out what a task is to be. The secret values that it is given are kept.
fn prepared(
    context: &Context,
    store: &mut Store,
    secrets: &Secrets,
    changes: &Changes,
    id: TaskId,
) -> Result<PreparedEdit, CommandFailure> {
    let Changes {
        content,
        wishes,
        unset,
    } = changes;
    let task = store.task(id)?;
    if let Some(problem) = &task.metadata_error {
        return Err(CommandFailure::new(
            Exit::Failed,
            format!("task {id}: its metadata cannot be read: {problem}"),
        ));
    }
    let kept = task.secrets.clone();
    let revision = task.revision;
    let mut edited = task.as_new();
    for option in unset.iter().filter_map(|name| options::find(name)) {
        if let Some(unset) = option.unset {
            unset(&mut edited);
        }
    }
    let said = wishes.apply(content.as_deref(), &mut edited, &context.sender(secrets))?;
    let if_parent_fails = wishes
        .says("if-parent-fails")
        .then_some(edited.if_parent_fails);
    // Only a prompt is bound to its repository: a command that becomes one has not been looked at.
    let mut changed = said.iter().chain(unset);
    let is_placed = changed.any(|name| options::is_of_place(name)) || edited.kind != task.kind;
    let placed = match is_placed {
        true => send::look_at_place(&mut edited),
        false => Ok(()),
    };
    let aimed = placed.and_then(|()| Ok(aim(std::slice::from_mut(&mut edited), store)?));
    if let Err(failure) = aimed {
        if edited.secrets != kept {
            options::forget([&edited], secrets);
        }
        return Err(failure);
    }
    let without = unset.iter().map(|name| format!("without {name}"));
    let what: Vec<String> = said.into_iter().chain(without).collect();
    let edit = Edit {
        revision,
        if_parent_fails,
        // The rows of its parents are removed together with the change.
        unfollow: unset.iter().any(|name| name == "after"),
        task: edited,
        what: what.join(", "),
    };
    Ok(PreparedEdit {
        edit,
        kept,
        changed: what,
    })
}

/// Returns what has become of a task, and what has changed in it.
fn finished(
    store: &mut Store,
    secrets: &Secrets,
    id: TaskId,
    done: Result<(), StoreError>,
    prepared: PreparedEdit,
) -> Result<(Status, Vec<String>), CommandFailure> {
    let PreparedEdit {
        edit,
        kept,
        changed,
    } = prepared;
    // Of the two files of secret values, delete the one that is no longer named.
    let (old, new) = (kept.as_deref(), edit.task.secrets.as_deref());
    if old != new {
        let unused = if done.is_ok() { old } else { new };
        if let Some(unused) = unused {
            secrets.forget(unused);
        }
    }
    done?;
    let status = store.task(id)?.status;
    if status == Status::Failed {
        ui::warn(&format!(
            "task {id} has failed with a task that it follows: `assigner show {id}` tells why"
        ));
    }
    Ok((status, changed))
}
