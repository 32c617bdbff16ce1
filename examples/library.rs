//! A program that uses assigner as a library: it looks for the session that suits a task best,
//! queues the task, waits for it, and prints what it printed.
//!
//! ```text
//! cargo run --example library -- DATA_DIRECTORY
//! ```
//!
//! With `assigner run` on that data directory and a shell in tmux, the task completes; without,
//! the program says so and withdraws it.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use assigner::client::{Client, Selection};
use assigner::model::session::{Activity, SessionContext};
use assigner::node::variables;
use assigner::store::SessionRow;
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let data = std::env::args_os().nth(1).map(PathBuf::from);
    let data = data.ok_or("name a data directory, such as ~/.local/share/assigner")?;
    let mut client = Client::open(&data)?;

    let here = std::env::current_dir()?.canonicalize()?;
    // The options of `assigner send`, by the same names.
    let task = client
        .ask("echo \"$GREETING from $PWD\"")
        .with("shell", true)
        .with("working-dir", here.display().to_string())
        .with("env", json!({"GREETING": "hello"}))
        .task()?;

    let names = task.metadata.env_vars.keys().cloned().collect();
    let rows = client.sessions()?;
    let idle: Vec<SessionContext> = rows
        .iter()
        .filter(|row| row.activity == Activity::Idle && !row.paused)
        .map(|row| SessionContext {
            env: variables(row, &names),
            ..context(row)
        })
        .collect();
    for session in &idle {
        let score = client.score(&task, session)?;
        println!("{}: {} points", session.name, score.points);
    }
    match client.select(&task, &idle)? {
        Selection::Take { session, .. } => println!("best: {}", idle[session].name),
        Selection::Wait { reason } => println!("none now: {reason}"),
    }

    let id = client.queue(&task)?;
    println!("task {id} queued");
    match client.wait(id, Some(Duration::from_secs(20)))? {
        Some(task) => {
            let output = client.output(id)?.map(|output| output.bytes);
            let text = String::from_utf8_lossy(&output.unwrap_or_default()).into_owned();
            print!("task {id} {}: {text}", task.status);
        }
        None => {
            client.cancel(id)?;
            println!("nobody took task {id} within 20 s: is `assigner run` running?");
        }
    }
    Ok(())
}

fn context(row: &SessionRow) -> SessionContext {
    SessionContext {
        provider: row.provider.clone(),
        current_dir: row.current_dir.clone(),
        git_branch: row.git_branch.clone(),
        labels: row.labels.clone(),
        admission: row.admission,
        ..SessionContext::shell(row.name.clone())
    }
}
