//! Prerequisites of a prompt: run beside the agent, in a shell of their own, since an agent is never
//! typed commands into.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::model::task::Task;
use crate::store::mask;

/// So much of what a prerequisite prints is kept, in bytes.
const KEPT: u64 = 64 << 10;

/// The last lines that an error quotes.
const LAST_LINES: usize = 5;

/// Returns what runs a task's prerequisites in order, in its directory and with its variables; one
/// that fails ends it, with the command, its exit code and its last lines.
pub(super) fn prerequisites(
    task: &Task,
    secrets: &BTreeMap<String, String>,
    stands: Option<PathBuf>,
    within: Duration,
) -> impl Future<Output = Result<(), String>> + use<> {
    let metadata = &task.metadata;
    let commands = metadata.prerequisites.clone();
    let directory = metadata.working_dir.clone().map(PathBuf::from).or(stands);
    let variables = metadata.env_vars.clone();
    let secrets = secrets.clone();
    let within = metadata
        .prerequisite_timeout
        .map_or(within, Duration::from_secs);
    async move {
        for (index, command) in commands.iter().enumerate() {
            let name = format!(
                "prerequisite {} of {} (`{command}`)",
                index + 1,
                commands.len()
            );
            let mut shell = Command::new("sh");
            shell
                .args(["-c", command])
                .envs(&variables)
                .envs(&secrets)
                .env_remove("TMUX")
                .env_remove("TMUX_PANE")
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .process_group(0)
                .kill_on_drop(true);
            if let Some(directory) = &directory {
                shell.current_dir(directory);
            }
            let ended = run(&mut shell, within).await.map_err(|reason| {
                let reason = mask(format!("{name} {reason}").into_bytes(), &secrets);
                String::from_utf8_lossy(&reason).into_owned()
            });
            ended?;
        }
        Ok(())
    }
}

async fn run(command: &mut Command, within: Duration) -> Result<(), String> {
    let mut child = command
        .spawn()
        .map_err(|error| format!("cannot be run: {error}"))?;
    let group = child.id();
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let printed = tokio::join!(last_of(output), last_of(errors));
        (child.wait().await, printed)
    };
    let Ok((status, (printed, complained))) = tokio::time::timeout(within, work).await else {
        if let Some(group) = group {
            crate::probe::signal_group(group, crate::probe::Signal::Kill);
        }
        return Err(format!(
            "took longer than {} s, it was ended",
            within.as_secs()
        ));
    };
    let status = status.map_err(|error| format!("cannot be waited for: {error}"))?;
    if status.success() {
        return Ok(());
    }
    let how = match status.code() {
        Some(code) => format!("exited with code {code}"),
        None => "was ended by a signal".to_owned(),
    };
    let text = printed + &complained;
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
    if last.is_empty() {
        Err(how)
    } else {
        Err(format!("{how}: {}", last.join(" | ")))
    }
}

/// Reads all, and keeps the end: a program that nobody reads would stand still.
async fn last_of(pipe: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let Some(mut pipe) = pipe else {
        return String::new();
    };
    let mut kept: Vec<u8> = Vec::new();
    let mut chunk = [0; 8 << 10];
    while let Ok(read @ 1..) = pipe.read(&mut chunk).await {
        kept.extend_from_slice(&chunk[..read]);
        let limit = usize::try_from(KEPT).unwrap_or(usize::MAX);
        if kept.len() > 2 * limit {
            kept.drain(..kept.len() - limit);
        }
    }
    let plain = strip_ansi_escapes::strip(kept);
    String::from_utf8_lossy(&plain).into_owned()
}
