//! `assigner import`: merges a database of the Python worker.

use std::path::PathBuf;

use jiff::Timestamp;

use super::exit::{CommandFailure, Exit};
use super::{Context, ui};
use crate::store::Sharing;

/// Merges a database of the Python worker into this queue; the file stays as it is.
///
/// Its tasks get new numbers. Tasks that were merged before are skipped, so that an import that stopped
/// can be repeated. A task that was in flight becomes uncertain. Stop the worker first, or it will run
/// the pending tasks too.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The database, such as `data/assigner/assigner.db`
    file: PathBuf,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let progress = ui::progress("importing");
    let mut sharing = Sharing::begin();
    let now = Timestamp::now();
    let imported = context.store()?.import(&args.file, now, |looked_at, all| {
        progress.set_length(all as u64);
        progress.set_position(looked_at as u64);
        sharing.give_way();
    });
    progress.finish_and_clear();
    let imported = imported?;
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
