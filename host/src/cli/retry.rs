//! `assigner retry`: queues failed tasks again.

use jiff::Timestamp;
use serde_json::json;

use super::chosen::{self, Chosen};
use super::exit::{CommandFailure, Exit};
use super::{Context, ui};
use crate::model::ids::TaskId;
use crate::model::task::Status;
use crate::options;
use crate::store::{Secrets, Store};

/// Queues failed or cancelled tasks again; their count of tries starts again.
///
/// The values of secret variables are taken from the environment again: they were deleted when the
/// task ended.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The tasks' numbers; `5-9` are those of them that have failed or were cancelled
    #[arg(required_unless_present = "all_failed")]
    tasks: Vec<Chosen>,
    /// Every task that has failed
    #[arg(long, conflicts_with = "tasks")]
    all_failed: bool,
    /// Runs them even if a task that they follow did not complete
    #[arg(long, conflicts_with = "all_failed")]
    release: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let mut store = context.store()?;
    let spool = context.spool()?;
    let secrets = Secrets::of(&context.config.data_dir);
    let mut exit = Exit::Done;
    let mut queued = Vec::new();
    let every = [Chosen::Range(TaskId(i64::MIN), TaskId(i64::MAX))];
    let every = if args.all_failed { &every[..] } else { &[] };
    let named = [Status::Failed, Status::Cancelled];
    let mut ids = chosen::tasks(&mut store, &args.tasks, &named)?;
    ids.extend(chosen::tasks(&mut store, every, &[Status::Failed])?);
    // A parent comes before the tasks that follow it.
    ids.sort_unstable();
    ids.dedup();
    let keep = |store: &mut Store, id| kept(store, &secrets, id);
    let again = |store: &mut Store, id, kept: Result<Option<String>, CommandFailure>| {
        let kept = kept?;
        let done = store.retry(id, kept.as_deref(), args.release, Timestamp::now());
        if done.is_err() {
            secrets.forget_all(kept.as_slice());
        }
        Ok::<_, CommandFailure>(done.map(drop)?)
    };
    let told = chosen::each(&mut store, &ids, keep, again, |_, id, done| {
        match done {
            Ok(()) => queued.push(id),
            Err(failure) => {
                // The others are queued anyway.
                ui::warn(&failure.message);
                exit = failure.exit;
            }
        }
        Ok(())
    });
    spool.nudge();
    told?;
    if context.ui.json {
        let rows: Vec<_> = queued
            .iter()
            .map(|id| json!({"id": id, "status": Status::Pending}))
            .collect();
        context.ui.json(&rows)?;
        return Ok(exit);
    }
    for id in &queued {
        context.ui.line(&format!("task {id} queued again"))?;
    }
    if args.all_failed && queued.is_empty() {
        context.ui.line("no task has failed")?;
    }
    Ok(exit)
}

/// Keeps the values of a task's secret variables, and returns where. Only if all are present; otherwise the store
/// says what is missing.
fn kept(
    store: &mut Store,
    secrets: &Secrets,
    id: TaskId,
) -> Result<Option<String>, CommandFailure> {
    let names = store.task(id)?.metadata.secret_env;
    Ok(match options::secret_values(&names) {
        Ok(values) if !values.is_empty() => Some(secrets.keep(&values)?),
        _ => None,
    })
}
