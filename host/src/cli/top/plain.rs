//! `top --plain`: what changes, in plain lines, one after another: for screen readers, and for pipes.

use std::collections::HashMap;

use super::fleet::Fleet;
use crate::cli::ui;
use crate::model::session::Activity;
use crate::model::task::{Status, Task};

/// Returns what there is to say at the beginning.
pub(super) fn beginning(fleet: &Fleet) -> Vec<String> {
    let mut lines = vec![summary(fleet)];
    lines.extend(fleet.asking.iter().map(said_of_task));
    lines.extend(
        fleet
            .sessions
            .iter()
            .map(|row| said_of_session(row.name.as_str(), row.activity, row.reason())),
    );
    lines
}

/// Returns what has changed between two looks.
pub(super) fn changes(before: &Fleet, now: &Fleet) -> Vec<String> {
    let mut lines = Vec::new();
    if before.daemon.is_some() != now.daemon.is_some() {
        lines.push(daemon(now));
    }
    let was: HashMap<_, _> = tasks(before).map(|task| (task.id, task.status)).collect();
    let mut all: Vec<&Task> = tasks(now).collect();
    all.sort_by_key(|task| task.id);
    all.dedup_by_key(|task| task.id);
    for task in all {
        let old = was.get(&task.id).copied();
        // Only a part of the queue and of what has ended is read: what comes into it later is no news.
        let is_old = old.is_none()
            && match task.status.is_settled() {
                true => !is_newest(before, task),
                false => task.status == Status::Pending && task.created_at < before.at,
            };
        if old != Some(task.status) && !is_old {
            lines.push(said_of_task(task));
        }
    }
    for row in &now.sessions {
        let old = before.session(&row.identity);
        let same = old.is_some_and(|old| {
            (old.activity, &old.name, old.paused) == (row.activity, &row.name, row.paused)
        });
        if !same {
            lines.push(said_of_session(&row.name, row.activity, row.reason()));
        }
    }
    for row in &before.sessions {
        if now.session(&row.identity).is_none() {
            lines.push(said_of_session(&row.name, Activity::Gone, ""));
        }
    }
    lines
}

/// Whether a task ended after every task of a look.
fn is_newest(before: &Fleet, task: &Task) -> bool {
    let last = before
        .ended
        .iter()
        .filter_map(|(task, _)| task.completed_at)
        .max();
    task.completed_at > last
}

fn tasks(fleet: &Fleet) -> impl Iterator<Item = &Task> {
    let ended = fleet.ended.iter().map(|(task, _)| task);
    fleet.asking.iter().chain(&fleet.queue).chain(ended)
}

/// Returns the state of everything in a line.
pub(super) fn summary(fleet: &Fleet) -> String {
    let waits = fleet.asking.len();
    let for_you = match waits {
        0 => "nothing waits for you".to_owned(),
        1 => "1 task waits for you".to_owned(),
        _ => format!("{waits} tasks wait for you"),
    };
    let open = fleet.open_tasks();
    let sessions = match fleet.sessions.len() {
        1 => "1 session".to_owned(),
        other => format!("{other} sessions"),
    };
    format!("{for_you}, {open} open, {sessions}; {}", daemon(fleet))
}

/// Returns whether a daemon runs, and with which policy.
pub(super) fn daemon(fleet: &Fleet) -> String {
    match &fleet.daemon {
        None => "no daemon runs: start one with `assigner run`".to_owned(),
        Some(None) => "the daemon starts".to_owned(),
        Some(Some(facts)) => match &facts.waiting_for {
            Some(what) => format!("the daemon waits for {}", ui::clean(what)),
            None => {
                let policy = facts.policy_in_use.as_ref().unwrap_or(&facts.policy);
                format!("policy {}", ui::clean(&policy.name))
            }
        },
    }
}

fn said_of_task(task: &Task) -> String {
    let summary = ui::cut(&ui::clean(&task.summary()), 60);
    let place = task
        .session
        .as_deref()
        .map(|name| format!(" in {}", ui::clean(name)));
    let place = place.unwrap_or_default();
    let further = match task.status {
        Status::WaitingInput => task.asks.as_deref().map(ui::clean),
        Status::Pending => task.wait_reason.as_deref().map(ui::clean),
        Status::Failed | Status::Uncertain => task.error.as_deref().map(ui::clean),
        _ => None,
    };
    let further = further.map_or_else(String::new, |text| format!(": {}", ui::cut(&text, 120)));
    let state = match task.status {
        Status::WaitingInput => "waits for you",
        Status::InProgress => "runs",
        other => other.name(),
    };
    format!("task {} {state}{place} ({summary}){further}", task.id)
}

fn said_of_session(name: &str, activity: Activity, reason: &str) -> String {
    let reason = ui::clean(reason);
    match reason.is_empty() {
        true => format!("session {} is {}", ui::clean(name), activity.name()),
        false => format!(
            "session {} is {}: {reason}",
            ui::clean(name),
            activity.name()
        ),
    }
}
