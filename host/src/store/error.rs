//! What can go wrong in the store, in the words that people see.

use std::path::PathBuf;

use thiserror::Error;

use super::{DbError, Displaced};
use crate::files::private::NotPrivate;
use crate::model::ids::{AttemptId, TaskId};
use crate::model::task::{IllegalTransition, Status};

/// Why the store could not do what it was asked to.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The data directory cannot be created or written.
    #[error(
        "cannot use the data directory `{path}`: {source}; choose another with --data-dir",
        path = path.display()
    )]
    Directory {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The database cannot be opened, or the file is not a database.
    #[error("cannot open the database `{path}`: {source}", path = path.display())]
    Open {
        /// Its path.
        path: PathBuf,
        /// The database's error.
        source: DbError,
    },
    /// A newer assigner has changed the schema.
    #[error(
        "the database `{path}` has version {found}, but this assigner supports versions up to {known}: install a newer assigner",
        path = path.display()
    )]
    Newer {
        /// Its path.
        path: PathBuf,
        /// Its `user_version`.
        found: i64,
        /// The newest version that this assigner knows.
        known: i64,
    },
    /// Others could change the queue.
    #[error("the data directory is not yours alone: {0}")]
    NotPrivate(NotPrivate),
    /// A daemon of an earlier assigner serves the database.
    #[error(
        "`{path}` is served by a daemon of an earlier assigner: stop it with `assigner stop`, start the new one, and try again",
        path = path.display()
    )]
    Served {
        /// Its path.
        path: PathBuf,
    },
    /// There was a queue, and its database is missing or empty.
    #[error(
        "`{path}` is {how}, but a queue has been here: put its database back, or a backup with `assigner \
         restore`; to begin a new queue, remove `{made}`",
        path = path.display(),
        made = made.display()
    )]
    Lost {
        /// Its path.
        path: PathBuf,
        /// Whether it is missing or empty.
        how: &'static str,
        /// The file that says so.
        made: PathBuf,
    },
    /// There has never been a queue.
    #[error("there is no queue yet: `{path}` does not exist", path = path.display())]
    NoQueue {
        /// The path that its database would have.
        path: PathBuf,
    },
    /// What happened to the files of the database while it was open.
    #[error(
        "`{path}` {what} while it was in use, so the daemon ends: what it wrote, nobody would read. \
         Commands that run go on; put the file back, or a backup with `assigner restore`, and start the daemon again",
        path = path.display(),
        what = what.words()
    )]
    Displaced {
        /// Its path.
        path: PathBuf,
        /// What happened.
        what: Displaced,
    },
    /// The files of the database changed while a command was using it.
    #[error("`{path}` {what} in the meantime, so nothing was changed: try again", path = path.display(), what = what.words())]
    Moved {
        /// Its path.
        path: PathBuf,
        /// What happened.
        what: Displaced,
    },
    /// The database belongs to another program.
    #[error(
        "`{path}` belongs to another program (it has no `tasks` table): choose another data directory with --data-dir",
        path = path.display()
    )]
    Foreign {
        /// Its path.
        path: PathBuf,
    },
    /// The database cannot be copied before it is changed.
    #[error("cannot copy the database to `{path}`: {source}", path = path.display())]
    Copy {
        /// The path of the copy.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is not one that `import` accepts.
    #[error(
        "`{path}` is not a database of the Python worker (its `prompts` table is missing or different)",
        path = path.display()
    )]
    NotOriginal {
        /// Its path.
        path: PathBuf,
    },
    /// Secret values cannot be written.
    #[error("cannot keep secret values in `{path}`: {source}", path = path.display())]
    Secrets {
        /// Their directory.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A task can only follow tasks that were queued before it.
    #[error("task {id} cannot follow task {parent}, which was queued later")]
    FollowsLater {
        /// The task.
        id: TaskId,
        /// The task it was to follow.
        parent: TaskId,
    },
    /// A task that fails with its parent cannot be queued again before its parent is.
    #[error(
        "task {id} follows task {parent}, which is {status}: run `assigner retry {parent}` first, or `assigner retry --release {id}` to run it anyway"
    )]
    ParentFailed {
        /// The task.
        id: TaskId,
        /// The task it follows.
        parent: TaskId,
        /// The state of that task.
        status: Status,
    },
    /// The secret values of a task are no longer stored.
    #[error(
        "the secret values of task {id} were deleted when it ended: export {names} and run `assigner retry {id}`",
        names = names.join(", ")
    )]
    SecretsGone {
        /// The task.
        id: TaskId,
        /// The names of the variables.
        names: Vec<String>,
    },
    /// All tasks are queued, though not all may be in the queue yet.
    #[error(
        "all {of} tasks are queued, so do not send them again: `assigner list` shows those that are in the \
         queue, and the daemon adds the others ({source})"
    )]
    Queued {
        /// How many there are.
        of: usize,
        /// Why it stopped.
        source: Box<StoreError>,
    },
    /// Who queued tasks did not want to any more.
    #[error("nothing was queued")]
    GivenUp,
    /// The tasks that were being queued were dropped.
    #[error(
        "nothing was queued: these tasks were dropped, because nothing had been done at them for an hour or \
         the queue was replaced"
    )]
    BatchDropped,
    /// The tasks that came into the queue are not there any more.
    #[error(
        "the queue was replaced while these tasks came into it: see with `assigner list` which of them are there"
    )]
    BatchGone,
    /// Somebody else changed the task first.
    #[error("task {0} was changed in the meantime: check it and try again")]
    Changed(TaskId),
    /// Only a pending task can be changed.
    #[error("task {id} is {status}: only a pending task can be changed")]
    NotPending {
        /// The task.
        id: TaskId,
        /// Its state.
        status: Status,
    },
    /// The task was already answered, and its agent has not continued yet.
    #[error("task {0} has already been answered, but its agent has not continued yet")]
    Answered(TaskId),
    /// The agent of the task is not asking anything.
    #[error("task {id} is {status}: its agent is not waiting for an answer")]
    NotAsking {
        /// The task.
        id: TaskId,
        /// Its state.
        status: Status,
    },
    /// No session with that name was ever seen.
    #[error("there is no session `{0}`: `assigner sessions` lists all sessions")]
    NoSession(String),
    /// The state of the task does not allow it.
    #[error("task {id}: {source}")]
    Illegal {
        /// The task.
        id: TaskId,
        /// The transition that is not allowed.
        source: IllegalTransition,
    },
    /// There is no such task.
    #[error("there is no task {0}: `assigner list` lists all tasks")]
    NoTask(TaskId),
    /// There is no such attempt, or it has already ended.
    #[error("attempt {0} has ended or never existed")]
    NoAttempt(AttemptId),
    /// The database refused.
    #[error("the database refused: {0}")]
    Sql(#[from] DbError),
    /// The disk is full or failing.
    #[error("the change could not be committed to the database: is the disk full?")]
    NotCommitted,
    /// The thread that writes has ended.
    #[error("the store has stopped")]
    Stopped,
}
