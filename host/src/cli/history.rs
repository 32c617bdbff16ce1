//! `assigner history`: what happened to a task, and why.

use super::exit::{CommandFailure, Exit};
use super::{Context, ui};
use crate::model::ids::TaskId;

/// Shows every state change of a task with its cause, the oldest first.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The task's number
    id: TaskId,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let mut store = context.store()?;
    let rows = store.history(args.id)?;
    if rows.is_empty() {
        // A task that was cleared still has its history.
        store.task(args.id)?;
    }
    if context.ui.json {
        context.ui.json(&rows)?;
        return Ok(Exit::Done);
    }
    let rows = rows
        .iter()
        .map(|row| {
            vec![
                format!("{:.3}", row.at),
                ui::clean(&row.action),
                ui::clean(row.session.as_deref().unwrap_or("-")),
                ui::clean(&row.details),
            ]
        })
        .collect();
    context
        .ui
        .table(&["TIME", "EVENT", "SESSION", "CAUSE"], rows)?;
    Ok(Exit::Done)
}
