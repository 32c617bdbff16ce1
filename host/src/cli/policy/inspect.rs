//! `assigner policy inspect`: what a policy is, without asking it to decide anything.

use serde_json::json;

use super::super::exit::{CommandFailure, Exit};
use super::super::{Context, ui};
use super::{Which, milliseconds, size, time};
use crate::policy::LimitProfile;

/// Shows what a policy says about itself, what it asks for, and what it may use.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let policy = args.which.load(context)?;
    let (id, anatomy, limits) = (policy.id(), policy.anatomy(), policy.limits());
    let profile = LimitProfile::for_size(policy.size());
    let loading = policy.loading();
    let ui = context.ui;
    if ui.json {
        ui.json(&json!({
            "name": id.name,
            "version": id.version,
            "summary": policy.summary(),
            "file": args.which.file,
            "size": policy.size(),
            "sha256": id.sha256,
            "encoding": anatomy.encoding,
            "contract": anatomy.contract,
            "imports": anatomy.imports,
            "exports": anatomy.exports,
            "wants_busy": policy.wants_busy(),
            "default_settings": policy.default_settings(),
            "settings": policy.settings(),
            "limits": {
                "profile": profile,
                "time_ms": limits.time.as_millis(),
                "load_time_ms": limits.load_time.as_millis(),
                "memory": limits.memory,
                "stack": limits.stack,
                "answer": limits.answer,
                "log_lines": limits.log_lines,
            },
            "load_ms": milliseconds(loading.took),
            "cached": loading.cached,
        }))?;
        return Ok(Exit::Done);
    }
    ui.line(&format!("{} {}: {}", id.name, id.version, policy.summary()))?;
    let from = if loading.cached {
        "from the cache"
    } else {
        "compiled"
    };
    let sessions = if policy.wants_busy() {
        "all sessions"
    } else {
        "the ready ones"
    };
    let profile = match profile {
        LimitProfile::Small => "small",
        LimitProfile::Large => "large",
    };
    for (title, text) in [
        (
            "file",
            format!("{}, {}", ui::clean(&args.which.file), size(policy.size())),
        ),
        ("sha256", id.sha256.clone()),
        ("encoding", anatomy.encoding.to_owned()),
        ("contract", format!("assigner:policy {}", anatomy.contract)),
        ("imports", listed(&anatomy.imports)),
        ("exports", listed(&anatomy.exports)),
        ("sessions", sessions.to_owned()),
        (
            "limits",
            format!(
                "{} a round, {} MiB of memory, {} KiB of stack (as suits a {profile} policy, and as \
                 configured)",
                time(limits.time),
                limits.memory >> 20,
                limits.stack >> 10,
            ),
        ),
        ("loaded", format!("in {}, {from}", time(loading.took))),
    ] {
        ui.line(&format!("{title:<10}{text}"))?;
    }
    let defaults = policy.default_settings().as_object();
    let rows: Vec<Vec<String>> = defaults
        .into_iter()
        .flatten()
        .map(|(name, default)| {
            let given = policy.settings().get(name);
            vec![
                ui::clean(name),
                ui::clean(&default.to_string()),
                given.map_or_else(|| "-".to_owned(), |given| ui::clean(&given.to_string())),
            ]
        })
        .collect();
    if rows.is_empty() {
        ui.line("It has no settings.")?;
    } else {
        ui.line("")?;
        ui.table(&["SETTING", "DEFAULT", "SET TO"], rows)?;
    }
    Ok(Exit::Done)
}

fn listed(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| ui::clean(name)).collect();
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}
