//! `assigner policy list`: the policies that can be used by name.

use serde_json::{Value, json};

use super::super::exit::{CommandFailure, Exit};
use super::super::{Context, ui};
use super::size;
use crate::policy::{Policy, resolve};

/// Shows the policies that can be named without a path: the built-in one, and the files in the
/// policies directory.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// A policy that could be used.
struct PolicyEntry {
    name: String,
    file: Option<std::path::PathBuf>,
    policy: Result<Policy, String>,
}

pub(super) fn run(context: &Context, _: &Args) -> Result<Exit, CommandFailure> {
    let live = context.live_daemon(&mut context.store()?)?;
    let live = live.map(|facts| facts.policy.sha256);
    let mut names: Vec<String> = std::fs::read_dir(&context.config.policies_dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".wasm").map(str::to_owned))
        .collect();
    names.sort_unstable();
    // The built-in one, unless a file overrides it.
    if !names.iter().any(|name| name == "default") {
        names.insert(0, "default".to_owned());
    }
    // One loader for all: each would open the cache, and warn if it cannot be used.
    let loader = context.loader();
    let directory = &context.config.policies_dir;
    let progress = ui::progress("loading");
    progress.set_length(names.len() as u64);
    let entries: Vec<PolicyEntry> = names
        .into_iter()
        .map(|name| {
            progress.inc(1);
            let file = directory.join(format!("{name}.wasm"));
            let settings = context.config.settings(&name, &[]);
            PolicyEntry {
                policy: resolve(&name, directory)
                    .and_then(|source| loader.load(&source, &settings))
                    .map_err(|error| error.to_string()),
                file: file.exists().then_some(file),
                name,
            }
        })
        .collect();
    progress.finish_and_clear();
    let is_live = |policy: &Policy| live.as_ref() == Some(&policy.id().sha256);
    let ui = context.ui;
    if ui.json {
        let entries: Vec<Value> = entries
            .iter()
            .map(|entry| {
                let policy = entry.policy.as_ref().ok();
                json!({
                    "name": entry.name,
                    "policy": policy.map(|policy| &policy.id().name),
                    "version": policy.map(|policy| &policy.id().version),
                    "summary": policy.map(Policy::summary),
                    "file": entry.file.as_deref().map(ui::path),
                    "size": policy.map(Policy::size),
                    "sha256": policy.map(|policy| &policy.id().sha256),
                    "live": policy.is_some_and(is_live),
                    "error": entry.policy.as_ref().err(),
                })
            })
            .collect();
        ui.json(&entries)?;
        return Ok(Exit::Done);
    }
    let rows = entries
        .iter()
        .map(|entry| match &entry.policy {
            Ok(policy) => vec![
                ui::clean(&entry.name),
                policy.id().version.clone(),
                size(policy.size()),
                if is_live(policy) { "live" } else { "" }.to_owned(),
                policy.summary().to_owned(),
            ],
            Err(error) => vec![
                ui::clean(&entry.name),
                "-".to_owned(),
                "-".to_owned(),
                "broken".to_owned(),
                ui::clean(error),
            ],
        })
        .collect();
    ui.table(&["NAME", "VERSION", "SIZE", "", "DOES"], rows)?;
    Ok(Exit::Done)
}
