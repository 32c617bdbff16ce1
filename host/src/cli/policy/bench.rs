//! `assigner policy bench`: how long a policy takes, beside the default one.

use std::time::{Duration, Instant};

use serde_json::json;

use super::super::Context;
use super::super::exit::{CommandFailure, Exit};
use super::super::ui;
use super::{Which, size, time};
use crate::policy::{Limits, Loader, Overrides, Policy, PolicySource, rounds};

/// Times a policy on rounds of several sizes, alternating with the default one.
///
/// Each time is the median of some rounds, including creating and configuring the instance.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
}

/// Tasks and sessions; the largest is the most that the engine asks about with a thousand sessions.
const SIZES: [(usize, usize); 3] = [(10, 10), (100, 100), (256, 1_000)];

/// How long one size may take, and the least and greatest number of calls.
const LONGEST: Duration = Duration::from_secs(2);
const LEAST: usize = 5;
const MOST: usize = 50;

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let policy = args.which.load(context)?;
    let limits = Limits::default();
    let patient = Overrides {
        time: Some(Duration::from_secs(60)),
        load_time: Some(Duration::from_secs(60)),
        memory: Some(limits.memory * 4),
        ..Overrides::default()
    };
    let settings = serde_json::json!({});
    let default = Loader::new(patient).load(&PolicySource::Embedded, &settings)?;

    let progress = ui::progress("timing");
    progress.set_length((SIZES.len() * MOST) as u64);
    let mut rows = Vec::new();
    let mut json_rows = Vec::new();
    for (number, (tasks, sessions)) in SIZES.into_iter().enumerate() {
        let question = rounds::workload(tasks, sessions);
        let start = Instant::now();
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        while ours.len() < LEAST || (ours.len() < MOST && start.elapsed() < LONGEST) {
            progress.set_position((number * MOST + ours.len()) as u64);
            for (policy, times) in [(&policy, &mut ours), (&default, &mut theirs)] {
                times.push(measure(policy, &question)?);
            }
        }
        let (ours, theirs) = (median(&mut ours), median(&mut theirs));
        let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
        rows.push(vec![
            format!("{tasks} x {sessions}"),
            time(ours),
            time(theirs),
            format!("{ratio:.1}"),
        ]);
        json_rows.push(json!({
            "tasks": tasks,
            "sessions": sessions,
            "policy_us": u64::try_from(ours.as_micros()).unwrap_or(u64::MAX),
            "default_us": u64::try_from(theirs.as_micros()).unwrap_or(u64::MAX),
            "ratio": (ratio * 100.0).round() / 100.0,
        }));
    }
    progress.finish_and_clear();
    let memory = policy.usage().memory;
    let ui = context.ui;
    if ui.json {
        ui.json(&json!({
            "name": policy.id().name,
            "rounds": json_rows,
            "memory": memory,
        }))?;
        return Ok(Exit::Done);
    }
    let name = policy.id().name.to_uppercase();
    ui.table(&["TASKS x SESSIONS", &name, "DEFAULT", "RATIO"], rows)?;
    let (limit, most) = (policy.limits().time, size(memory));
    ui.line(&format!(
        "at most {most} of memory; a round may take {}, as configured",
        time(limit)
    ))?;
    Ok(Exit::Done)
}

fn measure(
    policy: &Policy,
    question: &crate::model::matching::Question,
) -> Result<Duration, CommandFailure> {
    let start = Instant::now();
    policy.decide_leisurely(question).map_err(|failure| {
        let name = &policy.id().name;
        let (tasks, sessions) = (question.tasks.len(), question.sessions.len());
        CommandFailure::new(
            Exit::Failed,
            format!(
                "asked about {tasks} tasks and {sessions} sessions, the policy `{name}` {failure}"
            ),
        )
    })?;
    Ok(start.elapsed())
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
