//! `assigner resolve`: a person decides about an uncertain task.

use jiff::Timestamp;
use serde_json::json;

use super::exit::{CommandFailure, Exit};
use super::{Context, ui};
use crate::daemon::Lock;
use crate::model::ids::TaskId;
use crate::model::task::{Event, Status};
use crate::store::{Answer, Store};

/// Settles a task whose delivery could not be established, or accepts what a waiting agent said as
/// the response (`--done`).
///
/// Such a task is never sent again automatically: it might run twice.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("verdict").required(true))]
pub(super) struct Args {
    /// The task's number
    id: TaskId,
    /// It did not run: send it again
    #[arg(long, group = "verdict")]
    resend: bool,
    /// It ran and is done
    #[arg(long, group = "verdict")]
    done: bool,
    /// It failed
    #[arg(long, group = "verdict")]
    fail: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let event = match (args.resend, args.done) {
        (true, _) => Event::Resend,
        (_, true) => Event::MarkDone,
        _ => Event::MarkFailed,
    };
    let mut store = context.store()?;
    if args.done && store.task(args.id)?.status == Status::WaitingInput {
        return accept(context, &mut store, args.id);
    }
    let status = store.resolve(args.id, event, Timestamp::now())?;
    context.forget_secrets(&mut store)?;
    context.spool()?.nudge();
    if context.ui.json {
        context.ui.json(&json!({"id": args.id, "status": status}))?;
    } else {
        context.ui.line(&format!("task {} is {status}", args.id))?;
    }
    Ok(Exit::Done)
}

/// Accepts what the waiting agent said as the response; the daemon has the text.
fn accept(context: &Context, store: &mut Store, id: TaskId) -> Result<Exit, CommandFailure> {
    store.reply(id, &Answer::Accept, Timestamp::now())?;
    context.spool()?.nudge();
    if Lock::holder(&context.config.data_dir).is_none() {
        ui::warn("no daemon is running: it is settled once one is, see `assigner run`");
    }
    if context.ui.json {
        context
            .ui
            .json(&json!({"id": id, "status": Status::WaitingInput}))?;
    } else {
        context.ui.line(&format!(
            "task {id}: its agent's answer is accepted as the response"
        ))?;
    }
    Ok(Exit::Done)
}
