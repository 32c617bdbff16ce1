//! `assigner show`: everything that is known about one task.

use serde_json::{Value, json};

use super::exit::{CommandFailure, Exit};
use super::waiting::tell_why;
use super::{Context, ui};
use crate::matcher::explain::lost_target;
use crate::model::ids::TaskId;
use crate::model::naming::{Meaning, SessionRef, Whereabouts, whereabouts};
use crate::model::task::{Attempt, NamedRanking, Outcome, Task, TurnFacts};
use crate::options::{self, TaskView};
use crate::store::{ParentRow, SessionRow, present};

/// Shows a task: its state, context, attempts, and why each went to its session.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The task's number
    id: TaskId,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let mut store = context.store()?;
    let mut task = store.task(args.id)?;
    let parents = store.parents(args.id)?;
    let rows = store.sessions()?;
    tell_why(context, &mut store, &rows, std::slice::from_mut(&mut task))?;
    let attempts = store.attempts(args.id)?;
    let output = store.output(args.id)?;
    if context.ui.json {
        let mut value = task_json(&task, &rows, Some(&parents));
        value["output_cut"] = json!(output.as_ref().and_then(|output| output.cut.as_ref()));
        value["output"] = output.map_or(Value::Null, |output| {
            Value::String(String::from_utf8_lossy(&output.bytes).into_owned())
        });
        value["attempts"] = attempts.iter().map(attempt_json).collect();
        context.ui.json(&value)?;
        return Ok(Exit::Done);
    }
    print(context, &task, &parents, &attempts, &rows)?;
    if let Some(output) = output {
        let lines = String::from_utf8_lossy(&output.bytes).lines().count();
        let lines = match lines {
            1 => "1 line".to_owned(),
            lines => format!("{lines} lines"),
        };
        context.ui.line(&format!(
            "output    {} bytes, {lines}: `assigner output {}`",
            output.total, task.id
        ))?;
        if let Some(why) = &output.cut {
            context.ui.line(&format!("          not whole: {why}"))?;
        }
    }
    Ok(Exit::Done)
}

fn print(
    context: &Context,
    task: &Task,
    parents: &[ParentRow],
    attempts: &[Attempt],
    rows: &[SessionRow],
) -> Result<(), CommandFailure> {
    let ui = context.ui;
    let line = |name: &str, value: &str| ui.line(&format!("{name:<9} {value}"));
    line(&format!("task {}", task.id), &ui::status(task.status))?;
    line(
        "content",
        &ui::clean_lines(&task.content).replace('\n', "\n          "),
    )?;
    let view = TaskView::of(task, rows, Some(parents));
    for (name, text) in options::all().flat_map(|option| (option.lines)(&view)) {
        line(name, &ui::clean(&text))?;
    }
    if let Some(session) = &task.session {
        line("session", &ui::clean(session))?;
    }
    if let Some(code) = task.exit_code {
        line("exit code", &code.to_string())?;
    }
    if let Some(error) = &task.error {
        line("error", &ui::clean(error))?;
    }
    if let Some(response) = task.response {
        line("response", response.name())?;
    }
    if let Some(reason) = &task.wait_reason {
        line("waits", &ui::clean(reason))?;
    }
    if let Some(asks) = &task.asks {
        line("asks", &ui::clean(asks))?;
        line("", &format!("answer with `assigner reply {}`", task.id))?;
    }
    for (name, time) in [
        ("queued", Some(task.created_at)),
        ("assigned", task.assigned_at),
        ("ended", task.completed_at),
    ] {
        if let Some(time) = time {
            line(name, &format!("{time:.0}"))?;
        }
    }
    for attempt in attempts {
        let state = attempt.outcome.map_or(attempt.phase.name(), Outcome::name);
        ui.line(&format!(
            "attempt {} in {}: {state}, by policy {} {}",
            attempt.number,
            ui::clean(&attempt.session),
            ui::clean(&attempt.policy.name),
            ui::clean(&attempt.policy.version),
        ))?;
        for ranking in &attempt.rankings {
            ui.line(&format!("  {}", ranking_line(ranking)))?;
        }
        if let Some(turn) = &attempt.turn {
            print_turn(context, turn)?;
        }
    }
    Ok(())
}

/// A target, for scripts.
fn target_json(target: &SessionRef, rows: &[SessionRow]) -> Value {
    let found = whereabouts(present(rows), target);
    let state = match &found {
        Whereabouts::Here(_) => "there",
        Whereabouts::Awaited => "awaited",
        Whereabouts::Gone => "gone",
    };
    let meaning = target.meaning.as_ref();
    json!({
        "said": target.name,
        "address": meaning.map(Meaning::address),
        "state": state,
    })
}

/// What the agent itself has reported about its turn.
fn print_turn(context: &Context, turn: &TurnFacts) -> Result<(), CommandFailure> {
    let took = turn.began.zip(turn.ended).map(|(began, ended)| {
        let took = ended.duration_since(began).as_millis();
        format!(
            ", {}.{} s of work",
            took / 1_000,
            took.rem_euclid(1_000) / 100
        )
    });
    let took = took.unwrap_or_default();
    let from = match &turn.transcript {
        Some(path) => format!("{} {}", turn.source, ui::clean(path)),
        None => turn.source.clone(),
    };
    context.ui.line(&format!("  from the {from}{took}"))?;
    for file in &turn.files {
        context.ui.line(&format!("  changed {}", ui::clean(file)))?;
    }
    Ok(())
}

/// `api  150 = same directory 100 + branch 30 + DEBUG 20`
pub(super) fn ranking_line(ranking: &NamedRanking) -> String {
    format!(
        "{:<16} {}",
        ui::clean(&ranking.session),
        points(ranking.points, &ranking.terms)
    )
}

/// `150 = same directory 100 + branch 30 + DEBUG 20`
pub(super) fn points(points: i32, terms: &[crate::model::matching::Term]) -> String {
    let parts: Vec<String> = terms
        .iter()
        .map(|term| format!("{} {}", ui::clean(&term.name), term.points))
        .collect();
    if parts.is_empty() {
        return format!("{points:>4}");
    }
    format!("{points:>4} = {}", parts.join(" + "))
}

/// A task, for scripts; `show` adds its output and attempts. `parents` are the tasks that it
/// follows, if they were read.
pub(super) fn task_json(task: &Task, rows: &[SessionRow], parents: Option<&[ParentRow]>) -> Value {
    let target = task.target_session.as_ref();
    let lost = lost_target(task, present(rows));
    let mut json = json!({
        "id": task.id,
        "kind": task.asked(),
        "content": task.content,
        "status": task.status,
        "session": task.session,
        "exit_code": task.exit_code,
        "error": task.error,
        "created_at": task.created_at,
        "assigned_at": task.assigned_at,
        "completed_at": task.completed_at,
        "context": {},
        "repository": task.metadata.repository,
        "target": target.map(|target| target_json(target, rows)),
        "wait_reason": lost.as_ref().or(task.wait_reason.as_ref()),
        "asks": task.asks,
        "response": task.response,
    });
    let view = TaskView::of(task, rows, parents);
    for option in options::all() {
        if let Some(value) = (option.value)(&view) {
            match option.key.split_once('.') {
                Some((object, key)) => json[object][key] = value,
                None => json[option.key] = value,
            }
        }
    }
    json
}

fn attempt_json(attempt: &Attempt) -> Value {
    json!({
        "number": attempt.number,
        "session": attempt.session,
        "status": attempt.outcome.map_or(attempt.phase.name(), Outcome::name),
        "exit_code": attempt.exit_code,
        "error": attempt.error,
        "claimed_at": attempt.claimed_at,
        "started_at": attempt.started_at,
        "ended_at": attempt.ended_at,
        "policy": attempt.policy,
        "rankings": attempt.rankings,
        "turn": attempt.turn,
    })
}
