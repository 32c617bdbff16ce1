//! What `top` shows: the sessions, the head of the queue and the newest ends, as they are now.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use crate::cli::exit::CommandFailure;
use crate::cli::waiting::tell_why;
use crate::cli::{Context, output};
use crate::daemon::Lock;
use crate::model::attempt::Attempt;
use crate::model::ids::{Identity, TaskId};
use crate::model::session::Activity;
use crate::model::task::{Kind, Status, Task};
use crate::node::Spool;
use crate::store::{DaemonFacts, HistoryRow, ParentRow, SessionRow, Store};

/// So many tasks of the queue are read: more than a person looks through.
const QUEUED: usize = 300;
/// So many of the tasks that have ended.
const ENDED: usize = 40;
/// So much of the beginning of an output, in bytes.
const BEGINNING: u64 = 400;
/// So much of the end of an output, in bytes.
const END: usize = 64 * 1024;

/// Everything that the first page shows.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    /// When it was read.
    pub(super) at: Timestamp,
    /// The daemon, if one runs; what it has recorded about itself, if it has.
    pub(super) daemon: Option<Option<DaemonFacts>>,
    /// How many tasks are in which of the states that have not ended.
    pub(super) open: BTreeMap<Status, u64>,
    /// Tasks that wait for a person.
    pub(super) asking: Vec<Task>,
    /// The sessions that have not ended.
    pub(super) sessions: Vec<SessionRow>,
    /// What runs, then what waits, in the order in which it is served.
    pub(super) queue: Vec<Task>,
    /// What has ended, the newest first, with the first line of its output.
    pub(super) ended: Vec<(Task, String)>,
}

impl Fleet {
    /// Reads it. `before` spares the outputs of tasks that had ended then already.
    pub(super) fn read(
        context: &Context,
        store: &mut Store,
        before: &Self,
    ) -> Result<Self, CommandFailure> {
        let at = Timestamp::now();
        let holder = Lock::holder(&context.config.data_dir);
        let facts = store.daemon()?;
        let daemon = holder.map(|holder| facts.filter(|facts| facts.pid == holder.pid));
        let mut open = BTreeMap::new();
        for &status in Status::ALL.iter().filter(|status| !status.is_settled()) {
            open.insert(status, store.count(status)?);
        }
        let mut sessions = store.sessions()?;
        sessions.retain(|row| row.activity != Activity::Gone);
        sessions.sort_by_key(|row| row.activity != Activity::WaitingInput);
        let asking = store.tasks(&[Status::WaitingInput], QUEUED)?;
        let mut queue = store.tasks(&[Status::InProgress, Status::Assigned], QUEUED)?;
        queue.extend(pending(store)?);
        tell_why(context, store, &sessions, &mut queue)?;
        // A task that is tried again ends again, with another output.
        let known: HashMap<_, _> = before
            .ended
            .iter()
            .map(|(task, line)| ((task.id, task.completed_at), line))
            .collect();
        let mut ended = Vec::new();
        for task in newest_ended(store)? {
            let line = match known.get(&(task.id, task.completed_at)) {
                Some(line) => (*line).clone(),
                None => first_line(&store.output_beginning(task.id, BEGINNING)?),
            };
            ended.push((task, line));
        }
        Ok(Self {
            at,
            daemon,
            open,
            asking,
            sessions,
            queue,
            ended,
        })
    }

    /// Returns a task that is shown.
    pub(super) fn task(&self, id: TaskId) -> Option<&Task> {
        let ended = self.ended.iter().map(|(task, _)| task);
        let mut all = self.asking.iter().chain(&self.queue).chain(ended);
        all.find(|task| task.id == id)
    }

    /// Returns a session that is shown.
    pub(super) fn session(&self, identity: &Identity) -> Option<&SessionRow> {
        self.sessions.iter().find(|row| row.identity == *identity)
    }

    /// Whether there are more tasks in the queue than were read.
    pub(super) fn queue_goes_on(&self) -> bool {
        let waiting = self.open.get(&Status::Pending).copied().unwrap_or_default();
        let read = self
            .queue
            .iter()
            .filter(|task| task.status == Status::Pending);
        waiting > read.count() as u64
    }

    /// Returns how many tasks have not ended.
    pub(super) fn open_tasks(&self) -> u64 {
        self.open.values().sum()
    }
}

/// Reads the head of what waits: the oldest, and those with the highest priority.
fn pending(store: &mut Store) -> Result<Vec<Task>, CommandFailure> {
    let lanes = store.lanes()?;
    let mut tasks = store.pending(&lanes, QUEUED, None)?;
    // Some of these may not run yet: they follow others, or wait for their time.
    for task in store.oldest(Status::Pending, QUEUED)? {
        if tasks.iter().all(|known| known.id != task.id) {
            tasks.push(task);
        }
    }
    tasks.sort_by_key(|task| (Reverse(task.priority), task.id));
    tasks.truncate(QUEUED);
    Ok(tasks)
}

/// Reads the newest of what has ended.
fn newest_ended(store: &mut Store) -> Result<Vec<Task>, CommandFailure> {
    let mut tasks = Vec::new();
    // Each state by itself, so that an index has the newest, however many there are.
    for &status in Status::ALL.iter().filter(|status| status.is_settled()) {
        tasks.extend(store.tasks(&[status], ENDED)?);
    }
    tasks.sort_by_key(|task| (Reverse(task.completed_at), Reverse(task.id)));
    tasks.truncate(ENDED);
    Ok(tasks)
}

/// Returns the first line of an output that says something.
fn first_line(bytes: &[u8]) -> String {
    let text = output::harmless(bytes);
    let line = text.lines().find(|line| !line.trim().is_empty());
    line.unwrap_or_default().trim().to_owned()
}

/// Everything that the page of a task shows.
#[derive(Debug)]
pub(super) struct TaskFacts {
    pub(super) task: Task,
    pub(super) parents: Vec<ParentRow>,
    pub(super) attempts: Vec<Attempt>,
    pub(super) history: Vec<HistoryRow>,
    /// The end of what it printed, or has printed so far.
    pub(super) output: String,
    /// Whether that is less than the whole.
    pub(super) is_cut: bool,
}

impl TaskFacts {
    /// Reads them.
    pub(super) fn read(
        context: &Context,
        store: &mut Store,
        id: TaskId,
    ) -> Result<Self, CommandFailure> {
        let task = store.task(id)?;
        let attempts = store.attempts(id)?;
        let kept = match task.status.is_settled() {
            true => store.output(id)?.map(|output| output.bytes),
            false => printed(context, &task, &attempts)?,
        };
        let kept = kept.unwrap_or_default();
        let from = kept.len().saturating_sub(END);
        Ok(Self {
            parents: store.parents(id)?,
            history: store.history(id)?,
            output: output::harmless(&kept[from..]),
            is_cut: from > 0,
            task,
            attempts,
        })
    }
}

/// Returns what a task has printed so far; not if it has secrets, which a piece may hold half of, and not
/// of an agent, whose answer is known at its end.
fn printed(
    context: &Context,
    task: &Task,
    attempts: &[Attempt],
) -> Result<Option<Vec<u8>>, CommandFailure> {
    let runs = attempts.last().filter(|attempt| attempt.outcome.is_none());
    let Some(attempt) = runs.filter(|_| task.secrets.is_none() && task.kind == Kind::Command)
    else {
        return Ok(None);
    };
    let spool: Spool = context.spool()?;
    Ok(spool.live_output(attempt.id))
}

/// Returns how long ago that was, with no seconds after the first minute, so that few lines change.
pub(super) fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}
