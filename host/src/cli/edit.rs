//! `assigner edit`: changes a pending task.

use clap::ValueEnum;
use jiff::Timestamp;
use serde_json::json;

use super::exit::{CommandFailure, Exit};
use super::send::TaskOptions;
use super::wish::{self, AgentOptions, Wish};
use super::{Context, ui};
use crate::model::ids::TaskId;
use crate::model::task::{IfParentFails, NewTask, Status, Task};
use crate::node::aim;
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
    options: TaskOptions,
    /// Unsets something that was asked for; may be repeated
    #[arg(long, value_name = "WHAT", value_enum, value_delimiter = ',')]
    unset: Vec<Unset>,
}

/// What can be unset.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Unset {
    WorkingDir,
    Anywhere,
    Branch,
    RequireBranch,
    Env,
    SecretEnv,
    IsolateEnv,
    Prereq,
    PrereqTimeout,
    Target,
    TargetFallback,
    Provider,
    NoContextMatch,
    Label,
    RequireLabel,
    Retries,
    Timeout,
    Delay,
    After,
}

pub(super) fn run(context: &Context, args: Args) -> Result<Exit, CommandFailure> {
    let mut store = context.store()?;
    let secrets = Secrets::of(&context.config.data_dir);
    let wish = Wish {
        content: args.content,
        ..args
            .options
            .wish(AgentOptions::configured(&context.config))?
    };
    let task = store.task(args.id)?;
    if let Some(problem) = &task.metadata_error {
        return Err(CommandFailure::new(
            Exit::Failed,
            format!("task {}: its metadata cannot be read: {problem}", args.id),
        ));
    }
    let kept = task.secrets.clone();
    let revision = task.revision;
    let if_parent_fails = wish.if_parent_fails;
    let mut edited = as_new(task);
    for &what in &args.unset {
        unset(&mut edited, what);
    }
    let is_placed = wish.working_dir.is_some()
        || wish.anywhere
        || wish.no_context_match
        || args.unset.iter().any(|what| {
            matches!(
                what,
                Unset::WorkingDir | Unset::Anywhere | Unset::NoContextMatch
            )
        });
    let kind = edited.kind;
    let said = wish.apply(&mut edited, &secrets)?;
    // Only a prompt is bound to its repository: a command that becomes one has not been looked at.
    let is_placed = is_placed || edited.kind != kind;
    if is_placed && let Err(failure) = wish::look_at_place(&mut edited) {
        if edited.secrets != kept {
            wish::forget([&edited], &secrets);
        }
        return Err(failure);
    }
    aim(std::slice::from_mut(&mut edited), &mut store)?;
    let names: Vec<String> = args
        .unset
        .iter()
        .filter_map(|unset| Some(format!("without {}", unset.to_possible_value()?.get_name())))
        .collect();
    let what: Vec<String> = said.into_iter().map(str::to_owned).chain(names).collect();
    if what.is_empty() {
        return Err(CommandFailure::usage(
            "nothing to change: name an option of `assigner send`, --content or --unset",
        ));
    }
    let edit = Edit {
        revision,
        if_parent_fails,
        unfollow: args.unset.iter().any(|what| matches!(what, Unset::After)),
        task: edited,
        what: what.join(", "),
    };
    let done = store.edit(args.id, &edit, Timestamp::now());
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
    let status = store.task(args.id)?.status;
    if status == Status::Failed {
        ui::warn(&format!(
            "task {} has failed with a task that it follows: `assigner show {}` tells why",
            args.id, args.id
        ));
    }
    if context.ui.json {
        context
            .ui
            .json(&json!({"id": args.id, "status": status, "changed": what}))?;
    } else {
        context
            .ui
            .line(&format!("task {} changed: {}", args.id, edit.what))?;
    }
    Ok(Exit::Done)
}

/// The task as if it were sent now, with the same parents.
pub(super) fn as_new(task: Task) -> NewTask {
    NewTask {
        kind: task.kind,
        content: task.content,
        priority: task.priority,
        source: String::new(),
        metadata: task.metadata,
        target_session: task.target_session,
        target_provider: task.target_provider,
        max_retries: task.max_retries,
        timeout_seconds: task.timeout_seconds,
        not_before: task.not_before,
        after: Vec::new(),
        if_parent_fails: IfParentFails::default(),
        secrets: task.secrets,
    }
}

fn unset(task: &mut NewTask, what: Unset) {
    let metadata = &mut task.metadata;
    match what {
        Unset::WorkingDir => metadata.working_dir = None,
        Unset::Anywhere => metadata.anywhere = false,
        Unset::Branch => {
            metadata.git_branch = None;
            metadata.require_branch = false;
        }
        Unset::RequireBranch => metadata.require_branch = false,
        Unset::Env => metadata.env_vars.clear(),
        Unset::SecretEnv => {
            metadata.secret_env.clear();
            task.secrets = None;
        }
        Unset::IsolateEnv => metadata.isolate_env = false,
        Unset::Prereq => metadata.prerequisites.clear(),
        Unset::PrereqTimeout => metadata.prerequisite_timeout = None,
        Unset::Target => {
            task.target_session = None;
            metadata.target_fallback = false;
        }
        Unset::TargetFallback => metadata.target_fallback = false,
        Unset::Provider => {
            task.target_provider = None;
            metadata.preferred_providers.clear();
            metadata.fallback_providers.clear();
            metadata.allow_fallback = false;
        }
        Unset::NoContextMatch => metadata.prefer_context_match = true,
        Unset::Label => metadata.labels.clear(),
        Unset::RequireLabel => metadata.require_labels.clear(),
        Unset::Retries => task.max_retries = 0,
        Unset::Timeout => task.timeout_seconds = None,
        Unset::Delay => task.not_before = None,
        // Its rows are removed when the task is written.
        Unset::After => {}
    }
}
