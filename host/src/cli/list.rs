//! `assigner list`: the tasks.

use jiff::Timestamp;
use serde_json::json;

use super::exit::{CommandFailure, Exit};
use super::show::task_json;
use super::waiting::tell_why;
use super::{Context, label, ui};
use crate::model::task::Status;

/// Lists tasks, the newest last; those whose agent waits for a person come first.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only tasks in this state; may be repeated
    #[arg(long = "status", value_name = "STATUS", value_parser = status)]
    statuses: Vec<Status>,
    /// Only tasks with this label; may be repeated
    #[arg(short = 'l', long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// At most this many, the newest; 0 means all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let limit = if args.limit == 0 {
        i64::MAX as usize
    } else {
        args.limit
    };
    let labels = args.labels.iter().map(|text| label::label("--label", text));
    let labels: Vec<(String, String)> = labels.collect::<Result<_, _>>()?;
    // Labels are inside the metadata, so the tasks must be read to find those that have them.
    let read = if labels.is_empty() {
        limit
    } else {
        i64::MAX as usize
    };
    let mut store = context.store()?;
    let mut tasks = store.tasks(&args.statuses, read)?;
    if args.statuses.is_empty() {
        // However old they are, because they wait for a person.
        for task in store.tasks(&[Status::WaitingInput], read)? {
            if tasks.iter().all(|known| known.id != task.id) {
                tasks.push(task);
            }
        }
        tasks.sort_by_key(|task| task.id);
    }
    tasks.retain(|task| {
        let has = &task.metadata.labels;
        labels
            .iter()
            .all(|(name, value)| has.get(name) == Some(value))
    });
    // Tasks that wait for a person come first.
    let (mut waiting, mut others): (Vec<_>, Vec<_>) = tasks
        .into_iter()
        .partition(|task| task.status == Status::WaitingInput);
    others.drain(
        ..others
            .len()
            .saturating_sub(limit.saturating_sub(waiting.len())),
    );
    waiting.append(&mut others);
    let mut tasks = waiting;
    let sessions = store.sessions()?;
    tell_why(context, &mut store, &sessions, &mut tasks)?;
    if context.ui.json {
        let rows = tasks.iter().map(|task| task_json(task, &sessions, None));
        let rows: Vec<_> = rows.collect();
        context.ui.json(&json!(rows))?;
        return Ok(Exit::Done);
    }
    if tasks.is_empty() {
        context
            .ui
            .line(if labels.is_empty() && args.statuses.is_empty() {
                "no tasks: queue one with `assigner send \"make test\" --shell`"
            } else {
                "no task matches: `assigner list` shows all"
            })?;
        return Ok(Exit::Done);
    }
    let now = Timestamp::now();
    // A column that says something.
    let tells = tasks.iter().any(|task| task.wait_reason.is_some());
    let rows = tasks
        .iter()
        .map(|task| {
            let why = task.wait_reason.as_deref().unwrap_or_default();
            let why = tells.then(|| ui::cut(&ui::clean(why), 60));
            let row = vec![
                task.id.to_string(),
                ui::status(task.status),
                task.priority.to_string(),
                ui::clean(task.session.as_deref().unwrap_or("-")),
                task.exit_code
                    .map_or_else(|| "-".to_owned(), |code| code.to_string()),
                ui::ago(task.created_at, now),
                match &task.asks {
                    Some(asks) => ui::cut(&ui::clean(asks), 60),
                    None => {
                        let summary = ui::cut(&ui::clean(&task.summary()), 60);
                        let partial = task.response.filter(|response| response.is_partial());
                        match partial {
                            Some(response) => format!("{summary} (response: {})", response.name()),
                            None => summary,
                        }
                    }
                },
            ];
            row.into_iter().chain(why).collect()
        })
        .collect();
    let header = ["ID", "STATUS", "PRIORITY", "SESSION", "EXIT", "AGE", "TASK"];
    let header = header.into_iter().chain(tells.then_some("WHY"));
    context.ui.table(&header.collect::<Vec<_>>(), rows)?;
    Ok(Exit::Done)
}

fn status(name: &str) -> Result<Status, String> {
    Status::from_name(name).ok_or_else(|| {
        let names: Vec<_> = Status::ALL.iter().map(|status| status.name()).collect();
        format!("it may be {}", names.join(", "))
    })
}
