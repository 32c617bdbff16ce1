//! `assigner wait`: waits until tasks are settled.

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::chosen::{self, Chosen};
use super::exit::{CommandFailure, Exit};
use super::{Context, ui};
use crate::daemon::Lock;
use crate::model::ids::TaskId;
use crate::model::task::{Status, Task};
use crate::store::Store;

/// Checking the database's version costs microseconds.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Waits until tasks are settled.
///
/// Exits with 0 if all completed (with --any: those that are settled), with 1 if one did not, and with 124 if the
/// time ran out.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The tasks' numbers; `5-9` are those of them that exist
    #[arg(required = true)]
    tasks: Vec<Chosen>,
    /// Waits for the first of them
    #[arg(long)]
    any: bool,
    /// Waits for all of them, as without it
    #[arg(long, conflicts_with = "any")]
    all: bool,
    /// Gives up after this time, such as `90s` or `1h 30m`, in whole seconds; a bare number is
    /// minutes [default: never]
    #[arg(long, value_name = "DURATION", value_parser = super::when::seconds)]
    timeout: Option<u64>,
}

impl Args {
    /// Waits for one task, however long it takes.
    pub(super) fn for_task(id: TaskId) -> Self {
        Self {
            tasks: vec![Chosen::One(id)],
            any: false,
            all: false,
            timeout: None,
        }
    }
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let mut store = context.store()?;
    let deadline = args
        .timeout
        .and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
    let ids = chosen::tasks(&mut store, &args.tasks, &Status::ALL)?;
    if ids.is_empty() {
        ui::warn("there is no such task");
    }
    warn_without_daemon(context, &read(&mut store, &ids)?);
    let progress = Progress::new(ids.len());
    let mut seen = None;
    let mut questions = Questions::default();
    loop {
        let version = store.data_version()?;
        if seen != Some(version) {
            seen = Some(version);
            let tasks = read(&mut store, &ids)?;
            progress.show(&tasks);
            for task in &tasks {
                questions.tell(task);
            }
            let settled = |task: &Task| task.status.is_settled();
            if args.any && tasks.iter().any(settled) {
                progress.end();
                let settled: Vec<Task> = tasks.into_iter().filter(settled).collect();
                return report(context, &settled);
            }
            if tasks.iter().all(settled) {
                progress.end();
                return report(context, &tasks);
            }
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            progress.end();
            report(context, &read(&mut store, &ids)?)?;
            return Ok(Exit::TimedOut);
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Says at once that nothing will happen, if there is something to wait for and no daemon runs.
pub(super) fn warn_without_daemon(context: &Context, tasks: &[Task]) {
    let waits = tasks.iter().any(|task| !task.status.is_settled());
    if waits && Lock::holder(&context.config.data_dir).is_none() {
        ui::warn("no daemon is running: nothing happens until one is, see `assigner run`");
    }
}

/// The questions of agents that were told.
#[derive(Default)]
pub(super) struct Questions(HashSet<(TaskId, Option<String>)>);

impl Questions {
    /// Tells what an agent asks, once.
    pub(super) fn tell(&mut self, task: &Task) {
        let waits = task.status == Status::WaitingInput;
        if waits && self.0.insert((task.id, task.asks.clone())) {
            ui::warn(&format!(
                "task {} waits for an answer ({}): `assigner reply {} ...`",
                task.id,
                task.asks.as_deref().unwrap_or_default(),
                task.id
            ));
        }
    }
}

/// The progress so far, only on a terminal and only if the wait takes longer than a moment.
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn new(tasks: usize) -> Self {
        let style =
            ProgressStyle::with_template("{spinner} {pos} of {len} settled, {msg} ({elapsed})");
        let bar = ProgressBar::new(u64::try_from(tasks).unwrap_or_default());
        // The template is a constant; if it did not parse, the plain bar would do.
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    pub(super) fn show(&self, tasks: &[Task]) {
        let settled = tasks.iter().filter(|task| task.status.is_settled()).count();
        self.0
            .set_position(u64::try_from(settled).unwrap_or_default());
        let open = || tasks.iter().filter(|task| !task.status.is_settled());
        let waiting = open().find(|task| task.status == Status::WaitingInput);
        if let Some(task) = waiting.or_else(|| open().next()) {
            let place = task.session.as_deref().map_or_else(String::new, |session| {
                format!(" in {}", ui::cut(&ui::clean(session), 30))
            });
            self.0
                .set_message(format!("task {} {}{place}", task.id, task.status));
        }
    }

    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}

fn read(store: &mut Store, ids: &[TaskId]) -> Result<Vec<Task>, CommandFailure> {
    ids.iter().map(|&id| Ok(store.task(id)?)).collect()
}

fn report(context: &Context, tasks: &[Task]) -> Result<Exit, CommandFailure> {
    if context.ui.json {
        let rows: Vec<_> = tasks
            .iter()
            .map(|task| {
                json!({
                    "id": task.id,
                    "status": task.status,
                    "exit_code": task.exit_code,
                    "error": task.error,
                    "response": task.response,
                })
            })
            .collect();
        context.ui.json(&rows)?;
    } else {
        for task in tasks {
            let why = task
                .error
                .as_deref()
                .filter(|_| task.status != Status::Completed);
            let why = why.map_or_else(String::new, |why| format!(": {}", ui::clean(why)));
            let partial = task.response.filter(|response| response.is_partial());
            let why = match partial {
                Some(response) => format!("{why} (response: {})", response.name()),
                None => why,
            };
            context.ui.line(&format!(
                "task {} {}{why}",
                task.id,
                ui::status(task.status)
            ))?;
        }
    }
    let completed = tasks.iter().all(|task| task.status == Status::Completed);
    Ok(if completed { Exit::Done } else { Exit::Failed })
}
