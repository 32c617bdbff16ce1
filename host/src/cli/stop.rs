//! `assigner stop`: ends the daemon.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::Context;
use super::exit::{CommandFailure, Exit};
use crate::daemon::{Holder, Lock};

/// A daemon ends within one round, which takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(15);

/// Stops the daemon. Running jobs continue, and the next daemon picks them up.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(context: &Context, _: &Args) -> Result<Exit, CommandFailure> {
    let data = &context.config.data_dir;
    let Some(holder) = Lock::holder(data) else {
        return Err(CommandFailure::new(
            Exit::Daemon,
            format!("no daemon is running for `{}`", data.display()),
        ));
    };
    end(context, &holder)?;
    if context.ui.json {
        context.ui.json(&json!({"stopped": holder.pid}))?;
    } else {
        context.ui.line(&format!("daemon {} stopped", holder.pid))?;
    }
    Ok(Exit::Done)
}

/// Stops a daemon, and waits until it has ended.
pub(super) fn end(context: &Context, holder: &Holder) -> Result<(), CommandFailure> {
    let data = &context.config.data_dir;
    let pid = i32::try_from(holder.pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| CommandFailure::new(Exit::Failed, "the lock names no process"))?;
    kill_process(pid, Signal::TERM).map_err(|error| {
        CommandFailure::new(
            Exit::Failed,
            format!("cannot stop process {}: {error}", holder.pid),
        )
    })?;
    let deadline = Instant::now() + PATIENCE;
    while Lock::holder(data).is_some_and(|now| now.pid == holder.pid) {
        if Instant::now() >= deadline {
            return Err(CommandFailure::new(
                Exit::Failed,
                format!(
                    "the daemon (pid {}) was told to stop but is still running",
                    holder.pid
                ),
            ));
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
