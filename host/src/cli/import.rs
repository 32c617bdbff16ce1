//! `assigner import`: merges a database of the Python worker.

use std::path::PathBuf;

use jiff::Timestamp;

use super::Context;
use super::exit::{Exit, Failure};
use crate::store::Manage;

/// Merges a database of the Python worker into this queue; the file stays as it is.
///
/// Its tasks get new numbers. What was merged before is left out. One that was in flight there is
/// uncertain here. Stop the worker first: else it goes on with the tasks that are pending.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The database, such as `data/assigner/assigner.db`
    file: PathBuf,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, Failure> {
    let imported = context.store()?.import(&args.file, Timestamp::now())?;
    context.spool()?.nudge();
    if context.ui.json {
        context.ui.json(&imported)?;
        return Ok(Exit::Done);
    }
    context.ui.line(&format!(
        "{} tasks, {} sessions and {} rows of history imported; {} tasks were here already",
        imported.tasks, imported.sessions, imported.history, imported.skipped
    ))?;
    if imported.uncertain > 0 {
        context.ui.line(&format!(
            "{} were in flight and are uncertain: `assigner list --status uncertain` shows them, `assigner resolve` moves them on",
            imported.uncertain
        ))?;
    }
    Ok(Exit::Done)
}
