//! `assigner restore`: makes a backup the queue again.

use std::path::PathBuf;

use jiff::Timestamp;

use super::backup::{Bar, tasks};
use super::exit::{CommandFailure, Exit};
use super::{Context, ui};
use crate::daemon::Lock;
use crate::model::ids::TaskId;
use crate::store::{self, Knowledge, Restored, TaskNumbers};

/// How many numbers of tasks a line shows.
const SHOWN: usize = 20;

/// Makes a backup the queue again, if no daemon runs. The present database is kept beside it.
///
/// No task runs twice because of it: one that waits or runs in the backup may have run since, so it is
/// `uncertain` (see `assigner resolve`), unless the present database shows that it still waits.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file that `assigner backup` wrote, of this version or an earlier one
    file: PathBuf,
    #[command(flatten)]
    trust: Trust,
}

/// What a person says of tasks that wait.
#[derive(Debug, clap::Args)]
pub(super) struct Trust {
    /// No task that waits there has run: let them all run
    #[arg(long)]
    trust_pending: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let (_lock, knowledge) = alone(context, &args.trust)?;
    let mut bar = Bar::new("restoring");
    let restored = store::restore(&context.config.data_dir, &args.file, knowledge, |copied| {
        bar.show(copied);
        true
    })?;
    drop(bar);
    if context.ui.json {
        context.ui.json(&restored)?;
        return Ok(Exit::Done);
    }
    let of = restored.last_entry.map_or(String::new(), |time| {
        format!(", the last entry of {time:.0}")
    });
    context
        .ui
        .line(&format!("{} restored{of}", tasks(restored.tasks)))?;
    if restored.missing.count > 0 {
        context.ui.line(&format!(
            "{} of the queue before are not in the backup: {}",
            tasks(restored.missing.count),
            numbers(&restored.missing)
        ))?;
    }
    tell(context, &restored)?;
    Ok(Exit::Done)
}

/// Keeps daemons away, and returns what is known beside the database.
pub(super) fn alone(context: &Context, trust: &Trust) -> Result<(Lock, Knowledge), CommandFailure> {
    let spool = context.spool()?;
    let lock = Lock::take(&context.config.data_dir)?;
    let knowledge = Knowledge {
        trusts_pending: trust.trust_pending,
        last_attempt: spool.last_attempt(),
        now: Timestamp::now(),
    };
    Ok((lock, knowledge))
}

/// Tells what a person may have to do now.
pub(super) fn tell(context: &Context, restored: &Restored) -> Result<(), CommandFailure> {
    let ui = context.ui;
    if restored.pending > 0 {
        ui.line(&format!("{} waiting", tasks(restored.pending)))?;
    }
    if restored.uncertain.count > 0 {
        ui.line(&format!(
            "{} that may have run, uncertain until you decide with `assigner resolve`: {}",
            tasks(restored.uncertain.count),
            numbers(&restored.uncertain)
        ))?;
    }
    if !restored.left_out.is_empty() {
        let names = restored.left_out.iter().take(SHOWN);
        let names: Vec<_> = names.map(|name| format!("`{}`", ui::clean(name))).collect();
        ui.line(&format!(
            "left out, because other programs made them: {}{}",
            names.join(", "),
            if restored.left_out.len() > SHOWN {
                ", ..."
            } else {
                ""
            }
        ))?;
    }
    if let Some(kept) = &restored.kept {
        let kept = kept.to_string_lossy();
        ui.line(&format!("the database before is `{}`", ui::clean(&kept)))?;
    }
    Ok(())
}

/// Writes numbers of tasks, the first ones if there are many.
pub(super) fn numbers(numbers: &TaskNumbers) -> String {
    let shown = numbers.ids.iter().take(SHOWN).map(TaskId::to_string);
    let shown = shown.collect::<Vec<_>>().join(", ");
    let rest = numbers.count.saturating_sub(SHOWN as u64);
    match rest {
        0 => shown,
        rest => format!("{shown} and {rest} more"),
    }
}
