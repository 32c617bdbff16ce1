//! `assigner session`: everything that is known about one session.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::exit::{CommandFailure, Exit};
use super::sessions::session_json;
use super::{Context, ui};

/// Shows a session: its state, its context, its labels, and what happened in it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The session's name
    name: String,
    /// At most this many rows of its history, the newest
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    limit: usize,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let mut store = context.store()?;
    let row = store.session(&args.name)?;
    let mut history = store.session_history(&row.name, args.limit)?;
    if row.name != args.name {
        history.extend(store.session_history(&args.name, args.limit)?);
        history.sort_by_key(|row| row.at);
        history.drain(..history.len().saturating_sub(args.limit));
    }
    if context.ui.json {
        let mut value = session_json(&row);
        value["history"] = json!(history);
        value["pane"] = json!(row.identity.pane);
        value["last_context_update"] = json!(row.context_at);
        context.ui.json(&Value::Object(
            value.as_object().cloned().unwrap_or_default(),
        ))?;
        return Ok(Exit::Done);
    }
    let ui = context.ui;
    let now = Timestamp::now();
    let line = |name: &str, value: &str| ui.line(&format!("{name:<10} {value}"));
    line("session", &ui::clean(&row.name))?;
    for name in row.who().labels().skip(1) {
        line("also", &ui::clean(name))?;
    }
    line(
        "status",
        &format!(
            "{} for {}: {}",
            ui::activity(row.activity),
            ui::ago(row.since, now),
            ui::clean(row.reason())
        ),
    )?;
    line("provider", &ui::clean(&row.provider))?;
    line(
        "takes",
        match (row.admission.name(), row.paused) {
            (_, true) => "no new tasks: paused",
            ("protected", _) => "only tasks that name it with --target: protected",
            ("excluded", _) => "no tasks: excluded by the configuration",
            _ => "every task that suits it",
        },
    )?;
    if let Some(directory) = &row.current_dir {
        line("directory", &ui::clean(directory))?;
    }
    if let Some(branch) = &row.git_branch {
        line("branch", &ui::clean(branch))?;
    }
    for (name, value) in &row.env {
        line("env", &ui::clean(&format!("{name}={value}")))?;
    }
    for (name, value) in &row.labels {
        line("label", &ui::clean(&format!("{name}={value}")))?;
    }
    line(
        "tasks",
        &format!("{} completed, {} failed", row.completed, row.failed),
    )?;
    if history.is_empty() {
        return Ok(Exit::Done);
    }
    ui.line("")?;
    let rows = history
        .iter()
        .map(|row| {
            vec![
                format!("{:.0}", row.at),
                row.task
                    .map_or_else(|| "-".to_owned(), |task| task.to_string()),
                ui::clean(&row.action),
                ui::clean(&row.details),
            ]
        })
        .collect();
    ui.table(&["TIME", "TASK", "EVENT", "CAUSE"], rows)?;
    Ok(Exit::Done)
}
