//! `assigner clear`: deletes tasks that have ended.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::exit::{CommandFailure, Exit};
use super::{Context, ui, when};
use crate::model::task::Status;
use crate::store::Sharing;

/// Deletes tasks that have ended, with their output; what happened to them stays in the history.
///
/// A task stays as long as an unfinished task follows it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only tasks that ended longer ago than this, such as `7d` or `12h`; `0s` means of any age
    #[arg(long, value_name = "AGE", value_parser = when::age)]
    older_than: Option<Duration>,
    /// Only tasks that ended this way: completed, failed or cancelled; may be repeated [default:
    /// completed and cancelled]
    #[arg(long = "status", value_name = "STATUS", value_parser = status)]
    statuses: Vec<Status>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let statuses = if args.statuses.is_empty() {
        vec![Status::Completed, Status::Cancelled]
    } else {
        args.statuses.clone()
    };
    let now = Timestamp::now();
    let before = args.older_than.map_or(Ok(now), |age| now.checked_sub(age));
    let before = before.unwrap_or(Timestamp::MIN);
    let mut store = context.store()?;
    context.forget_secrets(&mut store)?;
    let counts = store.counts()?;
    let total = statuses.iter().filter_map(|status| counts.get(status));
    let progress = ui::progress("deleting");
    progress.set_length(total.sum());
    let mut sharing = Sharing::begin();
    let cleared = store.clear(&statuses, before, now, |looked_at| {
        progress.set_position(looked_at as u64);
        sharing.give_way();
    });
    progress.finish_and_clear();
    let cleared = cleared?;
    if context.ui.json {
        context.ui.json(&json!({"cleared": cleared.len()}))?;
    } else {
        let tasks = if cleared.len() == 1 { "task" } else { "tasks" };
        context
            .ui
            .line(&format!("{} {tasks} deleted", cleared.len()))?;
    }
    Ok(Exit::Done)
}

fn status(name: &str) -> Result<Status, String> {
    Status::from_name(name)
        .filter(|status| status.has_ended())
        .ok_or_else(|| "it may be completed, failed or cancelled".to_owned())
}
