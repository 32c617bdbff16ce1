//! `assigner output`: what a task printed.

use std::io::{self, IsTerminal, Write};

use serde_json::json;

use super::exit::{CommandFailure, Exit};
use super::{Context, ui};
use crate::model::ids::TaskId;
use crate::model::task::{Kind, Response};
use crate::store::{Output, Secrets, mask};

/// Prints what a task printed: every byte in a pipe, without control sequences on a terminal.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The task's number
    id: TaskId,
    /// Prints every byte, even on a terminal, which will obey control sequences
    #[arg(long)]
    raw: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
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
        context.ui.json(&json!({
            "id": task.id,
            "status": task.status,
            "output": String::from_utf8_lossy(&output.bytes),
            "bytes": output.total,
            "cut": output.cut,
            "response": task.response,
        }))?;
        return Ok(Exit::Done);
    }
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
    let mut out = io::stdout().lock();
    if out.is_terminal() && !args.raw {
        let plain = strip_ansi_escapes::strip(&output.bytes);
        let text = ui::clean_lines(&String::from_utf8_lossy(&plain));
        out.write_all(text.as_bytes())?;
    } else {
        out.write_all(&output.bytes)?;
    }
    out.flush()?;
    Ok(Exit::Done)
}
