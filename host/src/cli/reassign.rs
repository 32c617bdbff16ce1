//! `assigner reassign`: gives a task to another session.

use jiff::Timestamp;
use serde_json::json;

use super::exit::{CommandFailure, Exit};
use super::{Context, ui};
use crate::model::ids::TaskId;
use crate::model::task::{Kind, Status};
use crate::node::said;

/// Gives a task to another session: one that waits, one that runs (its command is interrupted; an
/// agent is left alone and may continue), or one that failed or was cancelled (it is queued again).
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The task's number
    id: TaskId,
    /// The session that is to run it [default: any]
    #[arg(long, value_name = "SESSION", value_parser = ui::session_name)]
    to: Option<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    if args.to.as_ref().is_some_and(|to| to.trim().is_empty()) {
        return Err(CommandFailure::usage(
            "--to is empty: leave it out or name a session",
        ));
    }
    let now = Timestamp::now();
    let mut store = context.store()?;
    let to = match &args.to {
        Some(to) => Some(said(&store.sessions()?, to.as_str()).map_err(CommandFailure::usage)?),
        None => None,
    };
    let status = store.reassign(args.id, to.as_ref(), now)?;
    context.spool()?.nudge();
    if context.ui.json {
        context.ui.json(&json!({"id": args.id, "status": status}))?;
        return Ok(Exit::Done);
    }
    let place = match &args.to {
        Some(to) => format!("session {}", ui::clean(to)),
        None => "any session".to_owned(),
    };
    let line = if status == Status::Pending {
        format!("task {} is for {place}", args.id)
    } else if store.task(args.id)?.kind == Kind::Prompt {
        format!(
            "task {} is taken from its agent, which may continue, and is then for {place}",
            args.id
        )
    } else {
        format!(
            "task {} is being interrupted, and is then for {place}",
            args.id
        )
    };
    context.ui.line(&line)?;
    Ok(Exit::Done)
}
