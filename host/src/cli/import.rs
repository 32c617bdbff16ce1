//! `assigner import`: merges a database of the Python worker.

use std::path::PathBuf;

use jiff::Timestamp;

use super::Context;
use super::exit::{CommandFailure, Exit};

/// Merges a database of the Python worker into this queue; the file stays as it is.
///
/// Its tasks get new numbers. Tasks that were merged before are skipped. A task that was in flight
/// becomes uncertain. Stop the worker first, or it will run the pending tasks too.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The database, such as `data/assigner/assigner.db`
    file: PathBuf,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let imported = context.store()?.import(&args.file, Timestamp::now())?;
    context.spool()?.nudge();
    if context.ui.json {
        context.ui.json(&imported)?;
        return Ok(Exit::Done);
    }
    context.ui.line(&format!(
        "{} tasks, {} sessions and {} rows of history imported; {} tasks were already here",
        imported.tasks, imported.sessions, imported.history, imported.skipped
    ))?;
    if imported.uncertain > 0 {
        context.ui.line(&format!(
            "{} were in flight and are uncertain: `assigner list --status uncertain` shows them, `assigner resolve` settles them",
            imported.uncertain
        ))?;
    }
    Ok(Exit::Done)
}
