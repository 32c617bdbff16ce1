//! `assigner output`: what a task printed.

use std::io::{self, IsTerminal, Write};

use serde_json::json;

use super::exit::{CommandFailure, Exit};
use super::{Context, follow, ui};
use crate::model::ids::TaskId;
use crate::model::task::{Kind, Response, Task};
use crate::store::{Output, Secrets, mask};

/// Prints what a task printed: every byte in a pipe, without control sequences on a terminal.
///
/// With --follow, it prints what is printed until the task is settled, and exits as the task does.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The task's number
    id: TaskId,
    /// Prints every byte, even on a terminal, which will obey control sequences
    #[arg(long)]
    raw: bool,
    /// Prints it as it grows, until the task is settled; exits with the task's exit code
    #[arg(short, long)]
    follow: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    if args.follow {
        return follow::run(context, args.id, follow::Until::Printed, args.raw);
    }
    let mut store = context.store()?;
    let task = store.task(args.id)?;
    let running = store
        .open_attempts()?
        .into_iter()
        .find(|attempt| attempt.task.id == args.id);
    let output = match running {
        Some(_) if task.kind == Kind::Prompt => {
            let said = store.output(args.id)?;
            if said.is_none() {
                ui::warn(&format!(
                    "its agent has not ended its turn: `assigner watch {}` shows its screen",
                    task.id
                ));
            }
            said
        }
        Some(attempt) => {
            let secrets = Secrets::of(&context.config.data_dir);
            let kept = task.secrets.as_deref();
            let values = kept.and_then(|kept| secrets.values(kept));
            let live = context.spool()?.live_output(attempt.id);
            live.map(|bytes| {
                let total = bytes.len() as u64;
                Output::whole(mask(bytes, &values.unwrap_or_default()), total)
            })
        }
        None => store.output(args.id)?,
    };
    let output = output.unwrap_or(Output::of(Vec::new()));
    if context.ui.json {
        print_json(context, &task, &output)?;
        return Ok(Exit::Done);
    }
    warn_of_losses(&task, &output);
    let mut out = io::stdout().lock();
    if out.is_terminal() && !args.raw {
        out.write_all(plain(&output.bytes).as_bytes())?;
    } else {
        out.write_all(&output.bytes)?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

/// Prints what is known of an output as JSON.
pub(super) fn print_json(context: &Context, task: &Task, output: &Output) -> io::Result<()> {
    context.ui.json(&json!({
        "id": task.id,
        "status": task.status,
        "exit_code": task.exit_code,
        "error": task.error,
        "output": String::from_utf8_lossy(&output.bytes),
        "bytes": output.total,
        "cut": output.cut,
        "response": task.response,
    }))
}

/// Returns an output without what a terminal would obey, and with no line too long for one.
pub(super) fn plain(bytes: &[u8]) -> String {
    ui::fitting(&harmless(bytes)).into_owned()
}

/// Returns an output without what a terminal would obey.
pub(super) fn harmless(bytes: &[u8]) -> String {
    let plain = strip_ansi_escapes::strip(bytes);
    ui::clean_lines(&String::from_utf8_lossy(&plain))
}

/// Warns of what is not there of an output.
pub(super) fn warn_of_losses(task: &Task, output: &Output) {
    if let Some(response) = task.response.filter(|response| response.is_partial()) {
        let why = match response {
            Response::Printed => "the agent printed no whole answer that its profile reads",
            Response::Seen | Response::Whole => "the agent's own record of it was not found",
        };
        ui::warn(&format!("response: {}: {why}", response.name()));
    }
    let missing = output.total.saturating_sub(output.bytes.len() as u64);
    if missing > 0 {
        ui::warn(&format!("the first {missing} bytes were not kept"));
    }
    if let Some(why) = &output.cut {
        ui::warn(&format!("the output is not whole: {why}"));
    }
}
