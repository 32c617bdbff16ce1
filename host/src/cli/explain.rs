//! `assigner explain`: why a task is where it is.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::exit::{Exit, Failure};
use super::show::{points, ranking_line};
use super::{Context, ui};
use crate::daemon::Lock;
use crate::engine::explain::{Explanation, explain};
use crate::model::ids::TaskId;
use crate::model::task::{Outcome, Status, Task};
use crate::store::{DaemonFacts, Store};

/// Explains why a task went to its session, or why it waits and what would let it run.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The task's number
    id: TaskId,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, Failure> {
    let mut store = context.store()?;
    let task = store.task(args.id)?;
    if task.status != Status::Pending {
        return explain_past(context, &mut store, &task);
    }
    let daemon = store.daemon()?;
    let rows = store.sessions()?;
    let parents = store.parents(args.id)?;
    let policy = context.config.policy(
        daemon
            .as_ref()
            .map(|facts| facts.policy_source.as_str())
            .filter(|_| context.config.policy_is_default()),
    )?;
    let mut explanation = explain(&task, &parents, &rows, &policy, Timestamp::now());
    let running = Lock::holder(&context.config.data_dir).is_some();
    if let Some(obstacle) = daemon_obstacle(running, daemon.as_ref()) {
        explanation.reason = obstacle;
    }
    print_waiting(context, &task, &explanation)?;
    Ok(Exit::Done)
}

/// What keeps every task from running.
fn daemon_obstacle(running: bool, daemon: Option<&DaemonFacts>) -> Option<String> {
    if !running {
        return Some("no daemon is running: start one with `assigner run`".to_owned());
    }
    daemon?
        .waiting_for
        .as_ref()
        .map(|what| format!("the daemon waits for {what}"))
}

fn print_waiting(context: &Context, task: &Task, explanation: &Explanation) -> Result<(), Failure> {
    let ui = context.ui;
    if ui.json {
        ui.json(&json!({
            "id": task.id,
            "status": task.status,
            "reason": explanation.reason,
            "sessions": explanation.sessions,
        }))?;
        return Ok(());
    }
    ui.line(&format!(
        "task {} {}: {}",
        task.id,
        ui::status(task.status),
        ui::clean(&explanation.reason)
    ))?;
    let rows: Vec<Vec<String>> = explanation
        .sessions
        .iter()
        .map(|session| {
            vec![
                ui::clean(&session.session),
                ui::activity(session.status),
                session.points.map_or_else(
                    || "-".to_owned(),
                    |sum| points(sum, &session.terms).trim().to_owned(),
                ),
                ui::clean(session.obstacle.as_deref().unwrap_or("could take it now")),
            ]
        })
        .collect();
    if !rows.is_empty() {
        ui.table(&["SESSION", "STATUS", "POINTS", "WHY"], rows)?;
    }
    Ok(())
}

fn explain_past(context: &Context, store: &mut dyn Store, task: &Task) -> Result<Exit, Failure> {
    let attempts = store.attempts(task.id)?;
    let last = attempts.last();
    let reason = match (task.status, &task.error, &task.session) {
        (Status::InProgress | Status::Assigned, _, Some(session)) => {
            format!("it runs in {session}")
        }
        (Status::Uncertain, error, _) => format!(
            "{}; say what became of it with `assigner resolve {}`",
            error
                .as_deref()
                .unwrap_or("whether it ran cannot be established"),
            task.id
        ),
        (_, Some(error), _) => error.clone(),
        (Status::Completed, None, Some(session)) => format!("it ran in {session}"),
        _ => "nothing is known of it".to_owned(),
    };
    let ui = context.ui;
    if ui.json {
        let sessions: Vec<Value> = last.map_or_else(Vec::new, |attempt| {
            attempt
                .rankings
                .iter()
                .map(|ranking| {
                    json!({
                        "session": ranking.session,
                        "points": ranking.points,
                        "terms": ranking.terms,
                    })
                })
                .collect()
        });
        ui.json(&json!({
            "id": task.id,
            "status": task.status,
            "reason": reason,
            "sessions": sessions,
        }))?;
        return Ok(Exit::Done);
    }
    ui.line(&format!(
        "task {} {}: {}",
        task.id,
        ui::status(task.status),
        ui::clean(&reason)
    ))?;
    for attempt in &attempts {
        ui.line(&format!(
            "attempt {} went to {} by policy {} {} ({})",
            attempt.number,
            ui::clean(&attempt.session),
            ui::clean(&attempt.policy.name),
            ui::clean(&attempt.policy.version),
            attempt.outcome.map_or(attempt.phase.name(), Outcome::name),
        ))?;
        for ranking in &attempt.rankings {
            ui.line(&format!("  {}", ranking_line(ranking)))?;
        }
    }
    Ok(Exit::Done)
}
