//! `assigner label`: labels of sessions.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use super::exit::{Exit, Failure};
use super::{Context, ui, wish};
use crate::store::{Manage, Store};

/// Sets, removes or shows labels of a session.
///
/// They belong to its name: a later session of that name has them as well.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The session's name
    session: String,
    /// Labels to set; without any they are shown
    #[arg(value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// A label to remove; may be repeated
    #[arg(long, value_name = "NAME")]
    remove: Vec<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, Failure> {
    let set = args.set.iter().map(|text| wish::label("label", text));
    let set: BTreeMap<String, String> = set.collect::<Result<_, _>>()?;
    let mut store = context.store()?;
    if !set.is_empty() || !args.remove.is_empty() {
        store.label(&args.session, &set, &args.remove, Timestamp::now())?;
        context.spool()?.nudge();
    }
    let labels = store
        .session_labels()?
        .remove(&args.session)
        .unwrap_or_default();
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
