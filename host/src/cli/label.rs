//! `assigner label`: labels of sessions.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use super::exit::{CommandFailure, Exit};
use super::{Context, ui};
use crate::model::naming::found;
use crate::node::said;
use crate::options;
use crate::store::present;

/// Sets, removes or shows the labels of a session.
///
/// Labels belong to the session's pane: they stay when the session is renamed, and end with the
/// pane. A name that no session has yet will mean the first tmux session with that name, with all its
/// panes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The session's name
    #[arg(value_parser = ui::session_name)]
    session: String,
    /// Labels to set; without any, the labels are shown
    #[arg(value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// A label to remove; may be repeated
    #[arg(long, value_name = "NAME")]
    remove: Vec<String>,
}

/// Reads `NAME=VALUE` of a label, which an option of this name was given.
pub(super) fn label(option: &str, text: &str) -> Result<(String, String), CommandFailure> {
    options::pair(text, options::check_label)
        .map_err(|why| CommandFailure::usage(format!("{option} `{text}`: {why}, such as team=web")))
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let set = args.set.iter().map(|text| label("label", text));
    let set: BTreeMap<String, String> = set.collect::<Result<_, _>>()?;
    let mut store = context.store()?;
    let rows = store.sessions()?;
    let session = said(&rows, args.session.as_str()).map_err(CommandFailure::usage)?;
    if !set.is_empty() || !args.remove.is_empty() {
        store.label(&session, &set, &args.remove, Timestamp::now())?;
        context.spool()?.nudge();
    }
    let given = store.session_labels()?;
    let wishes = given.iter().map(|label| &label.session);
    let found = found(wishes, &session, &present(&rows));
    let labels = given.iter().filter(|label| found.contains(&&label.session));
    let labels: BTreeMap<&str, &str> = labels
        .map(|label| (label.name.as_str(), label.value.as_str()))
        .collect();
    if context.ui.json {
        context
            .ui
            .json(&json!({"session": args.session, "labels": labels}))?;
        return Ok(Exit::Done);
    }
    if labels.is_empty() {
        context
            .ui
            .line(&format!("{} has no labels", ui::clean(&args.session)))?;
    }
    for (name, value) in labels {
        context.ui.line(&ui::clean(&format!("{name}={value}")))?;
    }
    Ok(Exit::Done)
}
