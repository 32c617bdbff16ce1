//! `assigner sessions`: the sessions and their context.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::exit::{Exit, Failure};
use super::{Context, ui};
use crate::daemon::Lock;
use crate::model::session::Activity;
use crate::store::{SessionRow, Store};

/// Lists the sessions: what they do, where they stand, and what they run.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Those that have ended as well
    #[arg(short, long)]
    all: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, Failure> {
    let mut rows = context.store()?.sessions()?;
    rows.retain(|row| args.all || row.activity != Activity::Gone);
    if Lock::holder(&context.config.data_dir).is_none() {
        ui::warn("no daemon is running: the sessions are shown as they were last seen");
    }
    if context.ui.json {
        let rows: Vec<_> = rows.iter().map(session_json).collect();
        context.ui.json(&rows)?;
        return Ok(Exit::Done);
    }
    if rows.is_empty() {
        context.ui.line(
            "no sessions: start one with `tmux new-session`, and `assigner run` to watch it",
        )?;
        return Ok(Exit::Done);
    }
    let now = Timestamp::now();
    let rows = rows
        .iter()
        .map(|row| {
            vec![
                ui::clean(&row.name),
                row.provider.clone(),
                ui::activity(row.activity),
                ui::ago(row.since, now),
                ui::clean(row.current_dir.as_deref().unwrap_or("-")),
                ui::clean(row.git_branch.as_deref().unwrap_or("-")),
                ui::clean(&row.reason),
            ]
        })
        .collect();
    context.ui.table(
        &[
            "SESSION",
            "PROVIDER",
            "STATUS",
            "FOR",
            "DIRECTORY",
            "BRANCH",
            "WHY",
        ],
        rows,
    )?;
    Ok(Exit::Done)
}

fn session_json(row: &SessionRow) -> Value {
    json!({
        "name": row.name,
        "provider": row.provider,
        "status": row.activity,
        "reason": row.reason,
        "since": row.since,
        "current_dir": row.current_dir,
        "git_branch": row.git_branch,
        "env": row.env,
        "current_task": row.current_task,
        "completed": row.completed,
        "failed": row.failed,
    })
}
