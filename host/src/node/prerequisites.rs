//! Prerequisites of a prompt. They run alongside the agent in a shell of their own, because
//! commands are never typed into an agent.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::model::task::Task;
use crate::store::mask;

/// How much of what a prerequisite prints is kept, in bytes.
const KEPT: u64 = 64 << 10;

/// How long the output of a program is still read after it has ended.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// How many of the last lines an error quotes.
const LAST_LINES: usize = 5;

/// Returns a future that runs a task's prerequisites in order, in its directory and with its
/// variables. The first that fails ends it, with the command, its exit code and its last lines.
pub(super) fn run(
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
            let ended = run_one(&mut shell, within).await.map_err(|reason| {
                let reason = mask(format!("{name} {reason}").into_bytes(), &secrets);
                String::from_utf8_lossy(&reason).into_owned()
            });
            ended?;
        }
        Ok(())
    }
}

async fn run_one(command: &mut Command, within: Duration) -> Result<(), String> {
    let mut child = command
        .spawn()
        .map_err(|error| format!("cannot be run: {error}"))?;
    let mut group = ProcessGroup(child.id());
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let kept = [(); 2].map(|()| Arc::new(Mutex::new(Vec::new())));
    // Read concurrently: what the command leaves in the background may keep the pipes open.
    let readers = [
        tokio::spawn(keep_last(output, Arc::clone(&kept[0]))),
        tokio::spawn(keep_last(errors, Arc::clone(&kept[1]))),
    ];
    let Ok(status) = tokio::time::timeout(within, child.wait()).await else {
        return Err(format!(
            "took longer than {} s and was ended",
            within.as_secs()
        ));
    };
    let status = status.map_err(|error| format!("cannot be waited for: {error}"))?;
    if status.success() {
        // Processes that it started for the task may go on.
        group.0 = None;
        return Ok(());
    }
    for reader in readers {
        let _ = tokio::time::timeout(LAST_WORDS, reader).await;
    }
    let how = match status.code() {
        Some(code) => format!("exited with code {code}"),
        None => "was ended by a signal".to_owned(),
    };
    let text: String = kept.iter().map(|kept| plain(kept)).collect();
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

/// The processes of a prerequisite. They end with it, unless it succeeded.
struct ProcessGroup(Option<u32>);

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            crate::probe::signal_group(group, crate::probe::EndSignal::Kill);
        }
    }
}

/// Reads everything and keeps the end: a program whose output nobody reads would block.
async fn keep_last(pipe: Option<impl tokio::io::AsyncRead + Unpin>, kept: Arc<Mutex<Vec<u8>>>) {
    let Some(mut pipe) = pipe else {
        return;
    };
    let mut chunk = [0; 8 << 10];
    while let Ok(read @ 1..) = pipe.read(&mut chunk).await {
        let mut kept = lock(&kept);
        kept.extend_from_slice(&chunk[..read]);
        let limit = usize::try_from(KEPT).unwrap_or(usize::MAX);
        if kept.len() > 2 * limit {
            let more = kept.len() - limit;
            kept.drain(..more);
        }
    }
}

fn plain(kept: &Mutex<Vec<u8>>) -> String {
    let plain = strip_ansi_escapes::strip(lock(kept).as_slice());
    String::from_utf8_lossy(&plain).into_owned()
}

/// What was read is kept even if its reader panicked.
fn lock(kept: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
