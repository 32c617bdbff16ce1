//! `assigner explain`: why a task is where it is.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::exit::{CommandFailure, Exit};
use super::show::{points, ranking_line};
use super::{Context, doctor, look, run, ui};
use crate::daemon::Lock;
use crate::matcher::explain::{Change, Explanation, Foreign, Scene, Standing, explain, has_failed};
use crate::model::eligibility::SHELL;
use crate::model::ids::{Identity, TaskId};
use crate::model::session::Activity;
use crate::model::task::{Kind, Outcome, RuledOut, Status, Task};
use crate::node::inspect::{Inspection, LineSeen};
use crate::node::variables;
use crate::policy::{Loader, Policy, PolicySource};
use crate::store::{DaemonFacts, PauseRow, SessionRow, Store};

/// Explains why a task went to its session, or why it waits and what would let it run.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The task's number
    id: TaskId,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let mut store = context.store()?;
    let task = store.task(args.id)?;
    if task.status != Status::Pending {
        return explain_past(context, &mut store, &task);
    }
    let running = Lock::holder(&context.config.data_dir).is_some();
    let daemon = context.live_daemon(&mut store)?;
    let mut rows = store.sessions()?;
    let parents = store.parents(args.id)?;
    let pauses = store.pauses()?;
    // The daemon's rows show a pause only one round after it was set.
    for row in rows.iter_mut().filter(|row| !row.paused) {
        if let Some(pause) = PauseRow::over(&pauses, row.who(), &row.provider) {
            row.paused = true;
            row.reason
                .get_or_insert_with(|| pause.obstacle().to_string());
        }
    }
    let loader = context.loader();
    let policy = match &daemon {
        Some(facts) => live_policy(&loader, facts),
        None => run::usual(context).and_then(|start| {
            let policy = loader.load(&start.source, &start.settings);
            Ok(policy?)
        }),
    };
    let policy = policy.map_err(|failure| failure.message);
    // Most of what rules sessions out can be explained without the policy.
    let stand_in = match &policy {
        Ok(_) => None,
        Err(_) => Some(loader.fallback()?),
    };
    let attempts = store.attempts(args.id)?;
    let failed = attempts.iter().filter(|attempt| has_failed(attempt));
    let failed_in: BTreeSet<Identity> = failed.map(|attempt| attempt.identity.clone()).collect();
    let host = rustix::system::uname();
    // Like the daemon, this leaves the path of an unresponsive directory as it was written.
    let directory = task.metadata.working_dir.as_deref();
    let place = directory.and_then(|directory| {
        let place = look::place(Path::new(directory));
        place.map_err(|failure| ui::warn(&failure.message)).ok()
    });
    let live = live(context, &task, &rows);
    let unknown = live.iter().filter(|found| found.provider.is_none());
    let foreign: Vec<Foreign> = unknown
        .flat_map(|found| {
            let names = std::iter::once(&found.name).chain(&found.aliases);
            names.map(|name| Foreign {
                name: name.clone(),
                runs: found.pane.command.clone(),
            })
        })
        .collect();
    let scene = Scene {
        foreign: &foreign,
        place: place.as_ref(),
        exports: &variables,
        failed_in: &failed_in,
        host: &host.nodename().to_string_lossy(),
        stand_in: stand_in.as_ref(),
        task: &task,
        parents: &parents,
        rows: &rows,
        pauses: &pauses,
        policy: policy.as_ref().map_err(String::as_str),
        now: Timestamp::now(),
    };
    let mut explanation = explain(&scene);
    if let Some((obstacle, change)) = daemon_obstacle(running, daemon.as_ref()) {
        explanation.reason = format!("{obstacle}: {}", change.change);
        explanation.changes = vec![change];
    }
    print_waiting(context, &task, &explanation, &live)?;
    Ok(Exit::Done)
}

/// Looks at the panes if that shows more than what the daemon has recorded: the text in a line that
/// blocks a session is in no database. Empty if tmux cannot be asked.
fn live(context: &Context, task: &Task, rows: &[SessionRow]) -> Vec<Inspection> {
    let target = task.target_session.as_ref();
    let is_missing = target.is_some_and(|target| !rows.iter().any(|row| row.who().answers(target)));
    if !is_missing && !rows.iter().any(holds_its_line) {
        return Vec::new();
    }
    doctor::look(context).unwrap_or_default()
}

/// True if the text in a shell's line may be the reason that it takes no tasks.
fn holds_its_line(row: &SessionRow) -> bool {
    row.provider == SHELL && matches!(row.activity, Activity::Attended | Activity::Unknown)
}

/// The line of a session that could run the task but does not.
fn line_of<'a>(session: &Standing, live: &'a [Inspection]) -> Option<&'a LineSeen> {
    let holds = matches!(session.status, Activity::Attended | Activity::Unknown);
    let found = live.iter().find(|found| found.name == session.session)?;
    found.held_line().filter(|_| holds && !session.excluded)
}

/// Loads the live policy. Its file may have changed since without being loaded: then the file does
/// not show what the daemon does.
fn live_policy(loader: &Loader, facts: &DaemonFacts) -> Result<Policy, CommandFailure> {
    if let Some(other) = &facts.policy_in_use {
        let fallback = loader.fallback()?;
        if fallback.id() == other {
            return Ok(fallback);
        }
    }
    let source = PolicySource::named(&facts.policy_source);
    let policy = loader.load(&source, &facts.policy_settings)?;
    if policy.id().sha256 == facts.policy.sha256 {
        return Ok(policy);
    }
    Err(CommandFailure::new(
        Exit::Policy,
        "its file has changed since it was loaded",
    ))
}

/// What keeps every task from running.
fn daemon_obstacle(running: bool, daemon: Option<&DaemonFacts>) -> Option<(String, Change)> {
    let change = |words: &str| Change {
        change: words.to_owned(),
        session: None,
        points: None,
    };
    if !running {
        let what = "no daemon is running".to_owned();
        return Some((what, change("start one with `assigner run`")));
    }
    // There is only one thing that the daemon can wait for.
    let daemon = daemon.filter(|daemon| daemon.waiting_for.is_some())?;
    Some((
        format!("the daemon waits for a tmux server on {}", daemon.tmux),
        change("start a session with `tmux new-session`"),
    ))
}

fn print_waiting(
    context: &Context,
    task: &Task,
    explanation: &Explanation,
    live: &[Inspection],
) -> Result<(), CommandFailure> {
    let ui = context.ui;
    if ui.json {
        let sessions = explanation.sessions.iter().map(|session| {
            let mut json = json!(session);
            json["line"] = json!(line_of(session, live));
            json
        });
        let sessions: Vec<Value> = sessions.collect();
        ui.json(&json!({
            "id": task.id,
            "status": task.status,
            "reason": explanation.reason,
            "way": way(task),
            "changes": explanation.changes,
            "sessions": sessions,
        }))?;
        return Ok(());
    }
    ui.line(&format!(
        "task {} {}: {}",
        task.id,
        ui::status(task.status),
        ui::clean(&explanation.reason)
    ))?;
    tell_way(context, task)?;
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
    for session in &explanation.sessions {
        if let Some(line) = line_of(session, live) {
            let (name, row) = (
                ui::clean(&session.session),
                ui::cut(&ui::clean(&line.row), 100),
            );
            ui.line(&format!("the row of {name} is {row}, by {}", line.by))?;
            ui.line(&format!("it takes tasks again: {}", line.freed_by))?;
        }
    }
    // The first one is part of the reason.
    for change in explanation.changes.iter().skip(1) {
        ui.line(&format!("or {}", ui::clean(&change.change)))?;
    }
    Ok(())
}

/// Returns how the agent of a prompt is asked: `headless` or in its `session`.
fn way(task: &Task) -> Option<&'static str> {
    let is_prompt = task.asked() == Kind::Prompt;
    is_prompt.then_some(match task.metadata.headless {
        Some(_) => "headless",
        None => "session",
    })
}

/// Says how a headless agent is asked. Every other prompt is pasted into the session that it goes to.
fn tell_way(context: &Context, task: &Task) -> Result<(), CommandFailure> {
    let (Some(headless), Some(words)) = (&task.metadata.headless, task.headless_words()) else {
        return Ok(());
    };
    let place = task.directory();
    let place = place.map_or_else(String::new, |directory| format!(", in {directory}"));
    context.ui.line(&ui::clean(&format!(
        "{} is asked without a terminal, by `{}` in a shell{place}",
        headless.provider,
        words.join(" ")
    )))?;
    Ok(())
}

fn explain_past(context: &Context, store: &mut Store, task: &Task) -> Result<Exit, CommandFailure> {
    let attempts = store.attempts(task.id)?;
    let last = attempts.last();
    let reason = match (task.status, &task.error, &task.session) {
        (Status::InProgress | Status::Assigned, _, Some(session)) => {
            format!("it runs in {session}")
        }
        (Status::WaitingInput, _, Some(session)) => format!(
            "its agent in {session} {}: `assigner reply {} ...`",
            task.asks.as_deref().unwrap_or("waits for a person"),
            task.id
        ),
        (Status::Uncertain, error, _) => format!(
            "{}; say what became of it with `assigner resolve {}`",
            error
                .as_deref()
                .unwrap_or("whether it ran cannot be established"),
            task.id
        ),
        (_, Some(error), _) => error.clone(),
        (Status::Completed, None, Some(session)) => format!("it ran in {session}"),
        _ => "nothing is known about it".to_owned(),
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
                        "obstacle": null,
                    })
                })
                .chain(attempt.ruled_out.iter().map(|ruled_out| {
                    json!({
                        "session": ruled_out.session,
                        "points": null,
                        "terms": [],
                        "obstacle": ruled_out.reason,
                    })
                }))
                .collect()
        });
        ui.json(&json!({
            "id": task.id,
            "status": task.status,
            "reason": reason,
            "way": way(task),
            "changes": [],
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
    tell_way(context, task)?;
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
        for RuledOut { session, reason } in &attempt.ruled_out {
            let (session, reason) = (ui::clean(session), ui::clean(reason));
            ui.line(&format!("  {session:<16}    - {reason}"))?;
        }
    }
    Ok(Exit::Done)
}
