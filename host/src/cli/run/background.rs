//! `assigner run --daemon`: starts the daemon in the background, and says whether it runs.

use std::env;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::cli::exit::{CommandFailure, Exit};
use crate::cli::{Context, logging, ui};
use crate::daemon::Lock;

/// How long a daemon may take until it runs: a large policy is compiled first.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// How much of its last words is read, in bytes.
const LAST_WORDS: u64 = 64 << 10;

/// Starts this program again without its terminal, with the same options.
pub(super) fn start(context: &Context) -> Result<Exit, CommandFailure> {
    let failed = |error: io::Error| {
        let why = format!("cannot start the daemon in the background: {error}");
        CommandFailure::new(Exit::Failed, why)
    };
    let mut words = tempfile::tempfile().map_err(failed)?;
    let options = env::args_os().skip(1).filter(|option| option != "--daemon");
    let mut daemon = Command::new(env::current_exe().map_err(failed)?)
        .args(options)
        .arg("--detached")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(words.try_clone().map_err(failed)?)
        .spawn()
        .map_err(failed)?;
    let log = logging::file(&context.config.data_dir);
    let began = Instant::now();
    while !is_ready(context, |pid| pid == daemon.id())? {
        if let Some(ended) = daemon.try_wait().map_err(failed)? {
            let mut said = said(&mut words).map_err(failed)?;
            let last = said.pop().unwrap_or_else(|| {
                format!("the daemon has ended at once ({ended}): `assigner logs` may say why")
            });
            said.iter().for_each(|line| ui::warn(line));
            let code = ended.code().and_then(|code| u8::try_from(code).ok());
            let exit = code
                .filter(|&code| code > 0)
                .map_or(Exit::Failed, Exit::Task);
            return Err(CommandFailure::new(exit, last));
        }
        if began.elapsed() > READY_WITHIN {
            let why = format!(
                "the daemon (pid {}) does not run after {} s: `assigner logs` may say why",
                daemon.id(),
                READY_WITHIN.as_secs()
            );
            return Err(CommandFailure::new(Exit::Failed, why));
        }
        thread::sleep(LOOK);
    }
    // What it had to say before it had a log.
    let said = said(&mut words).map_err(failed)?;
    said.iter().for_each(|line| ui::warn(line));
    let pid = daemon.id();
    if context.ui.json {
        context
            .ui
            .json(&json!({"pid": pid, "log": ui::path(&log)}))?;
    } else {
        context.ui.line(&format!(
            "the daemon runs, pid {pid}: `assigner logs` shows what it does, `assigner stop` ends it"
        ))?;
    }
    Ok(Exit::Done)
}

/// Whether a daemon that is meant has the lock and has written down what it is.
pub(in crate::cli) fn is_ready(
    context: &Context,
    is_meant: impl Fn(u32) -> bool,
) -> Result<bool, CommandFailure> {
    let holder = Lock::holder(&context.config.data_dir);
    let Some(holder) = holder.filter(|holder| is_meant(holder.pid)) else {
        return Ok(false);
    };
    let facts = context.store()?.daemon()?;
    Ok(facts.is_some_and(|facts| facts.pid == holder.pid))
}

/// Returns the messages that it wrote.
fn said(words: &mut File) -> io::Result<Vec<String>> {
    let mut text = Vec::new();
    words.rewind()?;
    words.take(LAST_WORDS).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let lines = text
        .lines()
        .map(|line| line.trim_start_matches("assigner: ").to_owned());
    Ok(lines.collect())
}
