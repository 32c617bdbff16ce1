//! `assigner cancel`: withdraws tasks.

use jiff::Timestamp;
use serde_json::json;

use super::chosen::{self, Chosen};
use super::exit::{CommandFailure, Exit};
use super::{Context, ui};
use crate::daemon::Lock;
use crate::model::ids::TaskId;
use crate::model::task::{Kind, Status};
use crate::store::Store;

/// Cancels tasks: a pending one at once, a running one by interrupting its command. If the task is
/// a prompt, its agent is left alone and may continue.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The tasks' numbers; `5-9` are those of them that have not ended
    #[arg(required_unless_present = "all")]
    tasks: Vec<Chosen>,
    /// Every task that has not ended
    #[arg(long, conflicts_with = "tasks")]
    all: bool,
}

/// The states in which a task can be cancelled.
const OPEN: [Status; 4] = [
    Status::Pending,
    Status::Assigned,
    Status::InProgress,
    Status::WaitingInput,
];

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let mut store = context.store()?;
    let spool = context.spool()?;
    let daemon = Lock::holder(&context.config.data_dir).is_some();
    let mut exit = Exit::Done;
    let mut rows = Vec::new();
    let every = [Chosen::Range(TaskId(i64::MIN), TaskId(i64::MAX))];
    let chosen = if args.all { &every[..] } else { &args.tasks };
    let ids = chosen::tasks(&mut store, chosen, &OPEN)?;
    if ids.is_empty() {
        ui::warn("there is no such task that has not ended");
    }
    let cancel = |store: &mut Store, id, ()| store.cancel(id, Timestamp::now());
    let told = chosen::each(
        &mut store,
        &ids,
        |_, _| (),
        cancel,
        |store, id, done| {
            let status = match done {
                Ok(status) => status,
                Err(error) => {
                    // The others are cancelled anyway.
                    ui::warn(&error.to_string());
                    exit = Exit::Failed;
                    return Ok(());
                }
            };
            if context.ui.json {
                rows.push(json!({"id": id, "status": status, "cancel_requested": true}));
                return Ok(());
            }
            let said = if status == Status::Cancelled {
                format!("task {id} cancelled")
            } else if store.task(id)?.kind == Kind::Prompt {
                format!(
                    "task {id} is taken from its agent, which may continue: end its turn in the pane \
                 (`assigner attach {id}`)"
                )
            } else if daemon {
                format!("task {id} is being interrupted")
            } else {
                format!(
                    "task {id} will be interrupted when a daemon runs: start one with `assigner run`"
                )
            };
            Ok(context.ui.line(&said)?)
        },
    );
    context.forget_secrets(&mut store)?;
    spool.nudge();
    told?;
    if context.ui.json {
        context.ui.json(&rows)?;
    }
    Ok(exit)
}
