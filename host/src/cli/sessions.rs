//! `assigner sessions`: the sessions and their context.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::exit::{CommandFailure, Exit};
use super::{Context, label, look, ui};
use crate::daemon::Lock;
use crate::model::session::Activity;
use crate::node::variables;
use crate::options;
use crate::store::SessionRow;

/// Lists the sessions: their state, their directory, and what they run.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Also those that have ended
    #[arg(short, long)]
    all: bool,
    /// Only those with this variable, or with this value of it; may be repeated
    #[arg(short = 'e', long = "env", value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Only those in this directory
    #[arg(short = 'w', long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Or below it
    #[arg(long, requires = "dir")]
    under: bool,
    /// Only those on this git branch
    #[arg(short = 'b', long, value_name = "BRANCH")]
    branch: Option<String>,
    /// Only those in this state; may be repeated
    #[arg(long = "status", value_name = "STATUS", value_parser = activity)]
    statuses: Vec<Activity>,
    /// Only those of this kind; may be repeated
    #[arg(long = "provider", value_name = "NAME")]
    providers: Vec<String>,
    /// Only those with this label; may be repeated
    #[arg(short = 'l', long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let mut rows = context.store()?.sessions()?;
    let filter = Filter::of(args)?;
    rows.retain(|row| filter.fits(row));
    if Lock::holder(&context.config.data_dir).is_none() {
        ui::warn("no daemon is running: the sessions are shown as they were last seen");
    }
    // Sessions that wait for a person come first.
    rows.sort_by_key(|row| row.activity != Activity::WaitingInput);
    if context.ui.json {
        let rows: Vec<_> = rows.iter().map(session_json).collect();
        context.ui.json(&rows)?;
        return Ok(Exit::Done);
    }
    if rows.is_empty() {
        context.ui.line(if filter.is_open() {
            "no sessions: start one with `tmux new-session`, and `assigner run` to watch it"
        } else {
            "no session matches: `assigner sessions` shows all"
        })?;
        return Ok(Exit::Done);
    }
    let now = Timestamp::now();
    let rows = rows
        .iter()
        .map(|row| {
            let names: Vec<&str> = row.who().labels().collect();
            vec![
                ui::clean(&names.join(", ")),
                row.provider.clone(),
                ui::activity(row.activity),
                ui::ago(row.since, now),
                ui::clean(row.current_dir.as_deref().unwrap_or("-")),
                ui::clean(row.git_branch.as_deref().unwrap_or("-")),
                ui::clean(row.reason()),
            ]
        })
        .collect();
    context.ui.table(
        &[
            "SESSION",
            "PROVIDER",
            "STATUS",
            "FOR",
            "DIRECTORY",
            "BRANCH",
            "WHY",
        ],
        rows,
    )?;
    Ok(Exit::Done)
}

/// Which sessions are shown.
struct Filter<'a> {
    args: &'a Args,
    env: Vec<(String, Option<String>)>,
    names: BTreeSet<String>,
    dir: Option<PathBuf>,
    labels: Vec<(String, String)>,
}

impl<'a> Filter<'a> {
    fn of(args: &'a Args) -> Result<Self, CommandFailure> {
        let env: Vec<(String, Option<String>)> = args
            .env
            .iter()
            .map(|text| match text.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (text.clone(), None),
            })
            .collect();
        let dir = match &args.dir {
            None => None,
            Some(dir) => {
                let dir = options::absolute(dir, look::sight)?;
                // Use the system's name for it, because that is how it names the directory of a
                // process.
                let place = look::place(Path::new(&dir))?;
                Some(PathBuf::from(place.path.unwrap_or(dir)))
            }
        };
        let labels = args.labels.iter().map(|text| label::label("--label", text));
        Ok(Self {
            names: env.iter().map(|(name, _)| name.clone()).collect(),
            env,
            dir,
            labels: labels.collect::<Result<_, _>>()?,
            args,
        })
    }

    /// True if only ended sessions are left out.
    fn is_open(&self) -> bool {
        let args = self.args;
        args.statuses.is_empty()
            && args.providers.is_empty()
            && args.branch.is_none()
            && self.env.is_empty()
            && self.dir.is_none()
            && self.labels.is_empty()
    }

    fn fits(&self, row: &SessionRow) -> bool {
        let args = self.args;
        let any = args.all || args.statuses.contains(&Activity::Gone);
        (any || row.activity != Activity::Gone)
            && (args.statuses.is_empty() || args.statuses.contains(&row.activity))
            && (args.providers.is_empty() || args.providers.contains(&row.provider))
            && (args.branch.is_none() || args.branch == row.git_branch)
            && self
                .labels
                .iter()
                .all(|(name, value)| row.labels.get(name) == Some(value))
            && self.stands_there(row)
            && self.has_variables(row)
    }

    fn stands_there(&self, row: &SessionRow) -> bool {
        let Some(wanted) = &self.dir else {
            return true;
        };
        row.current_dir.as_ref().is_some_and(|dir| {
            let dir = Path::new(dir);
            dir == wanted || (self.args.under && dir.starts_with(wanted))
        })
    }

    fn has_variables(&self, row: &SessionRow) -> bool {
        if self.env.is_empty() {
            return true;
        }
        let env = variables(row, &self.names);
        self.env.iter().all(|(name, value)| match value {
            Some(value) => env.get(name) == Some(value),
            None => env.contains_key(name),
        })
    }
}

fn activity(name: &str) -> Result<Activity, String> {
    Activity::from_name(name)
        .ok_or_else(|| "it may be idle, busy, waiting_input, attended, unknown or gone".to_owned())
}

pub(super) fn session_json(row: &SessionRow) -> Value {
    json!({
        "name": row.name,
        "aliases": row.who().labels().skip(1).collect::<Vec<_>>(),
        "provider": row.provider,
        "status": row.activity,
        "reason": row.reason(),
        "since": row.since,
        "current_dir": row.current_dir,
        "git_branch": row.git_branch,
        "env": row.env,
        "current_task": row.current_task,
        "completed": row.completed,
        "failed": row.failed,
        "labels": row.labels,
        "admission": row.admission,
        "paused": row.paused,
    })
}
