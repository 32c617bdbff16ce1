//! `assigner edit`: changes a pending task.

use clap::builder::PossibleValuesParser;
use jiff::Timestamp;
use serde_json::json;

use super::exit::{CommandFailure, Exit};
use super::flags::TaskFlags;
use super::{Context, send, ui};
use crate::model::ids::TaskId;
use crate::model::task::Status;
use crate::node::aim;
use crate::options;
use crate::store::{Edit, Secrets};

/// Changes a waiting task: only what you name here.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The task's number
    id: TaskId,
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

pub(super) fn run(context: &Context, args: Args) -> Result<Exit, CommandFailure> {
    let mut store = context.store()?;
    let secrets = Secrets::of(&context.config.data_dir);
    let Args {
        id,
        content,
        flags: TaskFlags(wishes),
        unset,
    } = args;
    let task = store.task(id)?;
    if let Some(problem) = &task.metadata_error {
        return Err(CommandFailure::new(
            Exit::Failed,
            format!("task {}: its metadata cannot be read: {problem}", id),
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
    let said = wishes.apply(content.as_deref(), &mut edited, &context.sender(&secrets))?;
    let if_parent_fails = wishes
        .says("if-parent-fails")
        .then_some(edited.if_parent_fails);
    // Only a prompt is bound to its repository: a command that becomes one has not been looked at.
    let mut changed = said.iter().chain(&unset);
    let is_placed = changed.any(|name| options::is_of_place(name)) || edited.kind != task.kind;
    let placed = match is_placed {
        true => send::look_at_place(&mut edited),
        false => Ok(()),
    };
    let aimed = placed.and_then(|()| Ok(aim(std::slice::from_mut(&mut edited), &mut store)?));
    if let Err(failure) = aimed {
        if edited.secrets != kept {
            options::forget([&edited], &secrets);
        }
        return Err(failure);
    }
    let without = unset.iter().map(|name| format!("without {name}"));
    let what: Vec<String> = said.into_iter().chain(without).collect();
    if what.is_empty() {
        return Err(CommandFailure::usage(
            "nothing to change: name an option of `assigner send`, --content or --unset",
        ));
    }
    let edit = Edit {
        revision,
        if_parent_fails,
        // The rows of its parents are removed together with the change.
        unfollow: unset.iter().any(|name| name == "after"),
        task: edited,
        what: what.join(", "),
    };
    let done = store.edit(id, &edit, Timestamp::now());
    // Of the two files of secret values, delete the one that is no longer named.
    let (old, new) = (kept.as_deref(), edit.task.secrets.as_deref());
    if old != new {
        let unused = if done.is_ok() { old } else { new };
        if let Some(unused) = unused {
            secrets.forget(unused);
        }
    }
    done?;
    context.spool()?.nudge();
    context.forget_secrets(&mut store)?;
    let status = store.task(id)?.status;
    if status == Status::Failed {
        ui::warn(&format!(
            "task {} has failed with a task that it follows: `assigner show {}` tells why",
            id, id
        ));
    }
    if context.ui.json {
        context
            .ui
            .json(&json!({"id": id, "status": status, "changed": what}))?;
    } else {
        context
            .ui
            .line(&format!("task {} changed: {}", id, edit.what))?;
    }
    Ok(Exit::Done)
}
