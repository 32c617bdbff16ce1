//! Agents in sessions: where their programs are, and waiting for as long as a turn may take.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::{Pane, World, policies_target, within};

/// How long an agent may take for anything: Python and node start slowly beside other programs.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// Returns where an agent's program is: in PATH, or where CI installs it.
pub(crate) fn agent(program: &str, below_tools: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let tools = policies_target().with_file_name("tools").join(below_tools);
    std::env::split_paths(&path)
        .chain([tools])
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("{program} is not installed"))
}

/// Starts a session that runs a program, and nothing after the program ends.
pub(crate) fn session_running<'a>(
    world: &'a World,
    name: &str,
    command: &[&str],
    dir: &str,
) -> Pane<'a> {
    let session = [
        "new-session",
        "-d",
        "-x",
        "120",
        "-y",
        "40",
        "-P",
        "-F",
        "#{pane_id}",
        "-s",
        name,
        "-c",
        dir,
    ];
    Pane::new(world, world.tmux(&[&session[..], command].concat()))
}

/// Asks repeatedly until there is an answer, for as long as an agent may take.
#[track_caller]
pub(crate) fn patiently<T>(ask: impl FnMut() -> Result<T, String>) -> T {
    within(PATIENCE, ask)
}

/// Waits until a session has a status.
#[track_caller]
pub(crate) fn session_becomes(world: &World, name: &str, status: &str) -> Value {
    world.session_is_within(PATIENCE, name, status)
}

/// Waits until a task has a status, and returns it.
#[track_caller]
pub(crate) fn task_becomes(world: &World, id: u64, status: &str) -> Value {
    world.until_within(PATIENCE, id, status)
}

/// Waits until a task has ended in any way, and returns it.
#[track_caller]
pub(crate) fn task_ends(world: &World, id: u64) -> Value {
    world.settled_within(PATIENCE, id)
}
