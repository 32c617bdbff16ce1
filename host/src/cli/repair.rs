//! `assigner repair`: keeps what can be read of a damaged queue.

use serde_json::json;

use super::Context;
use super::backup::{Bar, tasks};
use super::exit::{CommandFailure, Exit};
use super::restore::{Trust, alone, numbers, tell};
use crate::store;

/// Makes a new database of what can be read of a damaged one, if no daemon runs. The damaged one is kept
/// beside it.
///
/// It tells what is lost. A task that was running, or waits and may have run, is `uncertain` (see
/// `assigner resolve`). If nothing is wrong, nothing is changed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    trust: Trust,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let (_lock, knowledge) = alone(context, &args.trust)?;
    let mut bar = Bar::new("repairing");
    let repaired = store::repair(&context.config.data_dir, knowledge, |copied| {
        bar.show(copied);
        true
    })?;
    drop(bar);
    let ui = context.ui;
    if ui.json {
        match &repaired {
            Some(repaired) => ui.json(repaired)?,
            None => ui.json(&json!({"sound": true}))?,
        }
        return Ok(Exit::Done);
    }
    let Some(repaired) = repaired else {
        ui.line("nothing is wrong with the database, and nothing was changed")?;
        return Ok(Exit::Done);
    };
    ui.line(&format!("{} read", tasks(repaired.tasks)))?;
    let lost = repaired.lost.as_deref().unwrap_or("nothing");
    ui.line(&format!("lost: {lost}"))?;
    if repaired.missing.count > 0 {
        ui.line(&format!(
            "{} missing: {}",
            tasks(repaired.missing.count),
            numbers(&repaired.missing)
        ))?;
    }
    if let Some(last) = repaired.unknown_after {
        ui.line(&format!(
            "whether there were tasks after {last} is not known"
        ))?;
    }
    tell(context, &repaired)?;
    Ok(Exit::Done)
}
