//! `assigner status`: the state of the daemon, the tasks and the sessions.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::doctor::newer_daemon;
use super::exit::{CommandFailure, Exit};
use super::pause::{in_words, paused_json, retain_lasting};
use super::show::task_json;
use super::status_line::{self, Template};
use super::{Context, ui};
use crate::daemon::{Lock, VERSION};
use crate::model::session::Activity;
use crate::model::task::Status;
use crate::store::{ConfigFacts, DaemonFacts, PolicyOutcome, ShadowFacts};

/// Shows the daemon, its policy, and how many tasks and sessions are in which state.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = status_line::help())]
pub(super) struct Args {
    /// Print this line instead, filled in: `{pending} wait{waiting_input?, {waiting_input} for you}`.
    #[arg(long, value_name = "TEMPLATE", value_parser = Template::parse)]
    format: Option<Template>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    if let Some(template) = &args.format {
        if context.ui.json {
            return Err(CommandFailure::usage(
                "--format is a line for people: leave it out, or leave out --json",
            ));
        }
        let line = status_line::filled(context, &mut context.store()?, template)?;
        context.ui.line(&ui::clean(&line))?;
        return Ok(Exit::Done);
    }
    let mut store = context.store()?;
    let counts = store.counts()?;
    let mut sessions: BTreeMap<&str, u64> = BTreeMap::new();
    let rows = store.sessions()?;
    for row in &rows {
        if row.activity != Activity::Gone {
            *sessions.entry(row.activity.name()).or_default() += 1;
        }
    }
    let mut pauses = store.pauses()?;
    retain_lasting(&mut pauses);
    let holder = Lock::holder(&context.config.data_dir);
    let facts = store.daemon()?.filter(|facts| {
        holder
            .as_ref()
            .is_some_and(|holder| holder.pid == facts.pid)
    });
    // Why the policy that should decide does not.
    let last = store.policy_log(1)?.pop();
    let refused = last.filter(|event| event.outcome == PolicyOutcome::Refused);
    let refused = refused.and_then(|event| event.reason);
    let now = Timestamp::now();
    let asking = store.tasks(&[Status::WaitingInput], 20)?;
    if context.ui.json {
        let tasks: Map<String, Value> = Status::ALL
            .iter()
            .map(|status| {
                let count = counts.get(status).copied().unwrap_or_default();
                (status.name().to_owned(), json!(count))
            })
            .collect();
        context.ui.json(&json!({
            "daemon": daemon_json(holder.map(|holder| holder.pid), facts.as_ref(), refused.as_deref(), now),
            "tasks": tasks,
            "sessions": sessions,
            "paused": paused_json(&pauses, &rows),
            "waiting_input": asking.iter().map(|task| task_json(task, &rows, None)).collect::<Vec<Value>>(),
        }))?;
        return Ok(Exit::Done);
    }
    match (&holder, &facts) {
        (Some(holder), Some(facts)) => {
            context.ui.line(&format!(
                "daemon    running for {}, pid {}, on {}",
                ui::ago(facts.started_at, now),
                holder.pid,
                ui::clean(&facts.tmux)
            ))?;
            if facts.version != VERSION {
                context
                    .ui
                    .line(&format!("          of another version: {}", newer_daemon()))?;
            }
            if let Some(what) = &facts.waiting_for {
                context
                    .ui
                    .line(&format!("          waits for {}", ui::clean(what)))?;
            }
            print_policy(context, facts, refused.as_deref())?;
            print_configuration(context, &facts.configuration, now)?;
        }
        (Some(holder), None) => {
            context
                .ui
                .line(&format!("daemon    starting, pid {}", holder.pid))?;
        }
        (None, _) => {
            context
                .ui
                .line("daemon    not running: start one with `assigner run`")?;
        }
    }
    let tasks = counts.iter().map(|(status, count)| (status.name(), *count));
    context.ui.line(&format!("tasks     {}", listed(tasks)))?;
    for task in &asking {
        context.ui.line(&format!(
            "waiting   task {} in {} {}: `assigner reply {}`",
            task.id,
            ui::clean(task.session.as_deref().unwrap_or("-")),
            ui::cut(
                &ui::clean(task.asks.as_deref().unwrap_or("for a person")),
                60
            ),
            task.id
        ))?;
    }
    let sessions = sessions.iter().map(|(name, count)| (*name, *count));
    context
        .ui
        .line(&format!("sessions  {}", listed(sessions)))?;
    if !pauses.is_empty() {
        let names: Vec<String> = pauses.iter().map(|pause| in_words(pause, &rows)).collect();
        context
            .ui
            .line(&format!("paused    {}", ui::clean(&names.join(", "))))?;
    }
    Ok(Exit::Done)
}

/// Shows the same to somebody who asked for nothing, and what to do next.
pub(super) fn overview(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let exit = run(context, args)?;
    if !context.ui.json {
        let runs = Lock::holder(&context.config.data_dir).is_some();
        let first = match runs {
            true => (
                "assigner sessions",
                "what each session does, and why it takes no task",
            ),
            false => (
                "assigner run",
                "watches your tmux sessions and gives them tasks",
            ),
        };
        let next = [
            first,
            (
                "assigner send --wait --shell 'echo hello'",
                "queues a command and prints what it prints",
            ),
            ("assigner help", "all commands"),
        ];
        context.ui.line("")?;
        for (command, does) in next {
            context.ui.line(&format!("{command:<44} {does}"))?;
        }
    }
    Ok(exit)
}

fn daemon_json(
    pid: Option<u32>,
    facts: Option<&DaemonFacts>,
    refused: Option<&str>,
    now: Timestamp,
) -> Value {
    json!({
        "running": pid.is_some(),
        "pid": pid,
        "version": facts.map(|facts| &facts.version),
        "uptime": facts.map(|facts| now.duration_since(facts.started_at).as_secs().max(0)),
        "tmux": facts.map(|facts| &facts.tmux),
        "waiting_for": facts.and_then(|facts| facts.waiting_for.as_ref()),
        "policy": facts.map(|facts| json!({
            "name": facts.policy.name,
            "version": facts.policy.version,
            "sha256": facts.policy.sha256,
            "source": facts.policy_source,
            "settings": facts.policy_settings,
            "load_ms": facts.policy_load_ms,
            "cached": facts.policy_cached,
            "refused": refused,
            "failures": facts.policy_failures,
            "last_failure": facts.policy_last_failure,
            "in_use": facts.policy_in_use,
        })),
        "recording": facts.and_then(|facts| facts.recording.as_ref()),
        "shadow": facts.and_then(|facts| facts.shadow.as_ref()),
        "configuration": facts.map(|facts| &facts.configuration),
    })
}

fn print_policy(
    context: &Context,
    facts: &DaemonFacts,
    refused: Option<&str>,
) -> Result<(), CommandFailure> {
    let failures = match facts.policy_failures {
        0 => "no failures".to_owned(),
        1 => "1 failure".to_owned(),
        many => format!("{many} failures"),
    };
    context.ui.line(&format!(
        "policy    {} {} ({}), loaded in {} ms{}, {failures}",
        ui::clean(&facts.policy.name),
        ui::clean(&facts.policy.version),
        facts.policy.sha256.get(..12).unwrap_or_default(),
        facts.policy_load_ms.ceil(),
        if facts.policy_cached {
            " from the cache"
        } else {
            ""
        },
    ))?;
    if let Some(settings) = facts
        .policy_settings
        .as_object()
        .filter(|all| !all.is_empty())
    {
        let settings = settings
            .iter()
            .map(|(name, value)| format!("{name} = {value}"));
        let settings: Vec<String> = settings.collect();
        context.ui.line(&format!(
            "          with {}",
            ui::clean(&settings.join(", "))
        ))?;
    }
    if let Some(why) = refused {
        context
            .ui
            .line(&format!("          not replaced: {}", ui::clean(why)))?;
    }
    if let Some(failure) = &facts.policy_last_failure {
        context
            .ui
            .line(&format!("          last: {}", ui::clean(failure)))?;
    }
    if let Some(other) = &facts.policy_in_use {
        context.ui.line(&format!(
            "          {} {} decides instead",
            ui::clean(&other.name),
            ui::clean(&other.version)
        ))?;
    }
    if let Some(recording) = &facts.recording {
        context.ui.line(&format!(
            "          {} rounds recorded, {} KB in all",
            recording.rounds,
            recording.bytes.div_ceil(1_000)
        ))?;
    }
    if let Some(shadow) = &facts.shadow {
        print_shadow(context, shadow)?;
    }
    Ok(())
}

fn print_configuration(
    context: &Context,
    facts: &ConfigFacts,
    now: Timestamp,
) -> Result<(), CommandFailure> {
    let ui = context.ui;
    if let Some(error) = &facts.error {
        ui.line(&format!("config    not followed: {}", ui::clean(error)))?;
    }
    if let Some(at) = facts.changed_at {
        let lead = match facts.error {
            Some(_) => "          ",
            None => "config    ",
        };
        let changes = facts.changes.join("; ");
        ui.line(&format!(
            "{lead}changed {} ago: {}",
            ui::ago(at, now),
            ui::clean(&changes)
        ))?;
    }
    Ok(())
}

fn print_shadow(context: &Context, shadow: &ShadowFacts) -> Result<(), CommandFailure> {
    let ui = context.ui;
    ui.line(&format!(
        "shadow    {} {}: {} of {} decisions differ, in {} rounds",
        ui::clean(&shadow.policy.name),
        ui::clean(&shadow.policy.version),
        shadow.different,
        shadow.tasks,
        shadow.rounds,
    ))?;
    if shadow.skipped > 0 {
        ui.line(&format!(
            "          too slow for {} more rounds",
            shadow.skipped
        ))?;
    }
    if let Some(failure) = &shadow.last_failure {
        let (failures, failure) = (shadow.failures, ui::clean(failure));
        ui.line(&format!("          {failures} failures, last: {failure}"))?;
    }
    Ok(())
}

fn listed<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> String {
    let parts: Vec<String> = counts
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    if parts.is_empty() {
        "none".to_owned()
    } else {
        parts.join(", ")
    }
}
