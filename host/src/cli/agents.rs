//! `assigner agents`: the profiles by which agents are recognised.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::exit::{CommandFailure, Exit};
use super::{Context, ui};
use crate::agents::Catalog;
use crate::agents::catalog::{self, CatalogEntry, CatalogError};

/// Shows the profiles of agents, and checks your own.
///
/// A profile describes how an agent is recognised, how its state is seen, and how it is given a
/// prompt.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: AgentsCommand,
}

#[derive(Debug, clap::Subcommand)]
enum AgentsCommand {
    /// Lists the profiles, in the order in which they are tried
    List,
    /// Prints a profile; save it to a file to start your own
    Show(AgentsShowArgs),
    /// Checks a profile; exits with 1 if something is wrong
    Check(CheckArgs),
}

#[derive(Debug, clap::Args)]
struct AgentsShowArgs {
    /// The agent's name
    name: String,
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// The profile
    file: PathBuf,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    match &args.command {
        AgentsCommand::List => list(context),
        AgentsCommand::Show(args) => show(context, &args.name),
        AgentsCommand::Check(args) => check(context, &args.file),
    }
}

/// Returns the available profiles, and warns about files that are not valid profiles.
pub(super) fn load(context: &Context) -> Catalog {
    let (catalog, problems) = Catalog::load(&context.config.profiles_dir);
    for problem in problems {
        ui::warn(&format!("warning: {problem}"));
    }
    catalog
}

fn list(context: &Context) -> Result<Exit, CommandFailure> {
    let directory = &context.config.profiles_dir;
    let (catalog, problems) = Catalog::load(directory);
    for problem in &problems {
        ui::warn(&format!("warning: {problem}"));
    }
    let ui = context.ui;
    if ui.json {
        let wrong = problems.iter().map(|problem| {
            let file = file_of(problem);
            json!({
                "name": stem(file),
                "from": "file",
                "file": ui::path(file),
                "summary": null,
                "asked": null,
                "error": problem.to_string(),
            })
        });
        let entries: Vec<Value> = catalog
            .entries()
            .iter()
            .map(|entry| entry_json(context, entry))
            .chain(wrong)
            .collect();
        ui.json(&entries)?;
        return Ok(Exit::Done);
    }
    let rows = catalog
        .entries()
        .iter()
        .map(|entry| {
            vec![
                entry.profile.name.clone(),
                from(entry).to_owned(),
                asked(context, entry).unwrap_or("-").to_owned(),
                ui::clean(&entry.profile.summary),
            ]
        })
        .collect();
    ui.table(&["NAME", "FROM", "ASKED", "SUMMARY"], rows)?;
    let directory = directory.display().to_string();
    ui.line(&format!(
        "profiles of your own are read from {}/NAME.toml",
        ui::clean(&directory)
    ))?;
    Ok(Exit::Done)
}

fn show(context: &Context, name: &str) -> Result<Exit, CommandFailure> {
    let (catalog, problems) = Catalog::load(&context.config.profiles_dir);
    let wrong = problems
        .iter()
        .find(|problem| stem(file_of(problem)).as_deref() == Some(name));
    let Some(entry) = catalog.get(name) else {
        if let Some(problem) = wrong {
            return Err(CommandFailure::new(Exit::Failed, problem));
        }
        let names = catalog.entries().iter().map(|entry| &entry.profile.name);
        let mut names: Vec<&str> = names.map(String::as_str).collect();
        names.sort_unstable();
        let names = names.join(", ");
        return Err(CommandFailure::new(
            Exit::Failed,
            format!("there is no profile `{name}`; there are {names}"),
        ));
    };
    if let Some(problem) = wrong {
        ui::warn(&format!("warning: {problem}; the built-in one is used"));
    }
    if context.ui.json {
        let mut value = entry_json(context, entry);
        value["text"] = json!(entry.text);
        context.ui.json(&value)?;
        return Ok(Exit::Done);
    }
    let mut out = io::stdout().lock();
    if out.is_terminal() {
        out.write_all(ui::clean_lines(&entry.text).as_bytes())?;
    } else {
        out.write_all(entry.text.as_bytes())?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn check(context: &Context, file: &Path) -> Result<Exit, CommandFailure> {
    let name = file.display().to_string();
    // Opening a pipe would block until there is a writer.
    let entry = match std::fs::metadata(file) {
        Ok(metadata) if !metadata.is_file() => Err(format!("`{name}` is not a file")),
        _ => catalog::read(file).map_err(|error| error.to_string()),
    };
    let ui = context.ui;
    if ui.json {
        ui.json(&json!({
            "file": ui::path(file),
            "ok": entry.is_ok(),
            "name": entry.as_ref().ok().map(|entry| &entry.profile.name),
            "error": entry.as_ref().err(),
        }))?;
        return Ok(if entry.is_ok() {
            Exit::Done
        } else {
            Exit::Failed
        });
    }
    let profile = entry
        .map_err(|error| CommandFailure::new(Exit::Failed, error))?
        .profile;
    let known = ui::clean(&profile.summary);
    let comma = if known.is_empty() { "" } else { ", " };
    ui.line(&format!(
        "{} is valid: {}{comma}{known}",
        ui::clean(&name),
        profile.name
    ))?;
    if Catalog::built_in().get(&profile.name).is_some() {
        ui.line(&format!(
            "  it replaces the built-in profile `{}`",
            profile.name
        ))?;
    }
    if file.parent() != Some(&context.config.profiles_dir) {
        let directory = context.config.profiles_dir.display().to_string();
        ui.line(&format!(
            "  it is used once you put it into {}, as {}.toml",
            ui::clean(&directory),
            profile.name
        ))?;
    }
    Ok(Exit::Done)
}

fn from(entry: &CatalogEntry) -> &'static str {
    if entry.path.is_some() {
        "file"
    } else {
        "built-in"
    }
}

/// Returns how an agent is asked unless a prompt says otherwise: in its `session`, or `headless`. `None`
/// if it is given no prompts.
fn asked(context: &Context, entry: &CatalogEntry) -> Option<&'static str> {
    let profile = &entry.profile;
    let usual = &context.config.file.agents.headless;
    if usual.contains(&profile.name) && profile.headless.is_some() {
        return Some("headless");
    }
    (!profile.is_shell() && !profile.only_recognises()).then_some("session")
}

fn entry_json(context: &Context, entry: &CatalogEntry) -> Value {
    json!({
        "name": entry.profile.name,
        "from": from(entry),
        "file": entry.path.as_deref().map(ui::path),
        "summary": entry.profile.summary,
        "asked": asked(context, entry),
        "error": null,
    })
}

fn file_of(problem: &CatalogError) -> &Path {
    match problem {
        CatalogError::Read { path, .. } | CatalogError::Wrong { path, .. } => path,
    }
}

fn stem(file: &Path) -> Option<String> {
    Some(file.file_stem()?.to_string_lossy().into_owned())
}
