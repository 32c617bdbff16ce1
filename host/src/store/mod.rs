//! The durable queue: what is stored, and the narrow trait in front of the storage.
//!
//! ```text
//! cli ----------------> Store (one connection, blocking)
//! engine --> Ledger --> Store (a thread of its own, group commit)
//! ```
//!
//! Every change of a task is one transaction that also writes a row of `assignment_history`.
//! rusqlite's types stay inside this module.

#[cfg(test)]
mod history_tests;
#[cfg(test)]
mod kept_tests;
mod ledger;
mod manage;
mod moves;
mod original;
#[cfg(test)]
mod original_tests;
#[cfg(test)]
mod people_tests;
mod policies;
#[cfg(test)]
mod queue_tests;
#[cfg(test)]
mod rest_tests;
mod rows;
mod schema;
mod secrets;
#[cfg(test)]
mod sessions_tests;
mod sqlite;
#[cfg(test)]
mod tests;
mod wishes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use ledger::Ledger;
pub use manage::{Edit, Manage};
pub use policies::{PolicyCause, PolicyEvent, PolicyLog, PolicyOrder, PolicyOutcome};
pub use schema::VERSION;
pub use secrets::{SHORTEST_SECRET, Secrets, mask};
pub use sqlite::Sqlite;

use crate::model::eligibility::{Admission, Demand, Place};
use crate::model::ids::{AttemptId, Identity, TaskId};
use crate::model::matching::PolicyId;
use crate::model::naming::{Home, Meaning, SessionRef, Who};
use crate::model::session::{AT_PROMPT, Activity};
use crate::model::task::{
    Attempt, Event, IfParentFails, IllegalTransition, Kind, NamedRanking, NewTask, Outcome, Phase,
    RuledOut, Status, Task, TurnFacts,
};
use crate::model::verdict::Obstacle;

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
        /// SQLite's error.
        source: rusqlite::Error,
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
    /// SQLite refused.
    #[error("the database refused: {0}")]
    Sql(#[from] rusqlite::Error),
    /// The disk is full or failing.
    #[error("the change could not be committed to the database: is the disk full?")]
    NotCommitted,
    /// The thread that writes has ended.
    #[error("the store has stopped")]
    Stopped,
}

/// What a store can do. A method that changes something is one transaction, or part of the one that
/// [`Store::group`] holds open.
pub trait Store: PolicyLog {
    /// Runs `work` in one transaction. Its changes are kept unless the commit fails.
    ///
    /// # Errors
    /// The transaction could not be started or committed: none of `work`'s changes are kept.
    fn group(&mut self, work: &mut dyn FnMut(&mut dyn Store)) -> Result<(), StoreError>;

    /// Queues tasks, either all or none, and returns their ids in order.
    ///
    /// # Errors
    /// The database refused.
    fn queue(&mut self, tasks: &[NewTask], now: Timestamp) -> Result<Vec<TaskId>, StoreError>;

    /// Returns a task.
    ///
    /// # Errors
    /// There is no task with that id.
    fn task(&mut self, id: TaskId) -> Result<Task, StoreError>;

    /// Returns the newest `limit` tasks whose state is one of `statuses` (any state if it is
    /// empty), oldest first.
    ///
    /// # Errors
    /// The database refused.
    fn tasks(&mut self, statuses: &[Status], limit: usize) -> Result<Vec<Task>, StoreError>;

    /// Returns a task's attempts, oldest first, leaving out those that do not count.
    ///
    /// # Errors
    /// The database refused.
    fn attempts(&mut self, id: TaskId) -> Result<Vec<Attempt>, StoreError>;

    /// Returns what happened to a task, oldest first.
    ///
    /// # Errors
    /// The database refused.
    fn history(&mut self, id: TaskId) -> Result<Vec<HistoryRow>, StoreError>;

    /// Returns the output of the last attempt of a task that has any.
    ///
    /// # Errors
    /// The database refused.
    fn output(&mut self, id: TaskId) -> Result<Option<Output>, StoreError>;

    /// Returns the number of tasks in each state.
    ///
    /// # Errors
    /// The database refused.
    fn counts(&mut self) -> Result<BTreeMap<Status, u64>, StoreError>;

    /// Whether a task is pending or in flight.
    ///
    /// # Errors
    /// The database refused.
    fn anything_left(&mut self) -> Result<bool, StoreError>;

    /// Returns the tasks that a task follows.
    ///
    /// # Errors
    /// The database refused.
    fn parents(&mut self, id: TaskId) -> Result<Vec<ParentRow>, StoreError>;

    /// Releases the tasks whose time, as named by their sender, has come.
    ///
    /// # Errors
    /// The database refused.
    fn release_due(&mut self, now: Timestamp) -> Result<(), StoreError>;

    /// Returns at most `limit` failed tasks that rest before their next try, the oldest first. The
    /// caller decides when a rest is over, because a rest is measured as elapsed time, independent
    /// of the wall clock.
    ///
    /// # Errors
    /// The database refused.
    fn resting(&mut self, limit: usize) -> Result<Vec<Rest>, StoreError>;

    /// Ends rests that have not changed since they were read.
    ///
    /// # Errors
    /// The database refused.
    fn release(&mut self, rested: &[Rest]) -> Result<(), StoreError>;

    /// Returns the groups of pending tasks that share the same hard constraints.
    ///
    /// # Errors
    /// The database refused.
    fn lanes(&mut self) -> Result<Vec<Lane>, StoreError>;

    /// Returns at most `limit` tasks of `lanes` that may run now, starting after `after`, in the
    /// order in which they are to be served.
    ///
    /// # Errors
    /// The database refused.
    fn pending(
        &mut self,
        lanes: &[Lane],
        limit: usize,
        after: Option<(i32, TaskId)>,
    ) -> Result<Vec<Task>, StoreError>;

    /// Returns when the next pending task is due for which the sender named a time.
    ///
    /// # Errors
    /// The database refused.
    fn next_due(&mut self, now: Timestamp) -> Result<Option<Timestamp>, StoreError>;

    /// Reserves sessions for tasks in one transaction and returns an attempt for each claim. A
    /// claim yields `None` if the task may no longer run, if it was changed after the decision, or
    /// if the session is taken.
    ///
    /// # Errors
    /// The database refused: nothing is claimed.
    fn claim(
        &mut self,
        claims: &[Claim],
        now: Timestamp,
    ) -> Result<Vec<Option<AttemptId>>, StoreError>;

    /// Records that an attempt has reached `phase`, before the act that the phase names.
    ///
    /// # Errors
    /// The attempt has ended, or the database refused: the act must not happen.
    fn advance(
        &mut self,
        attempt: AttemptId,
        phase: Phase,
        details: &str,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Records how an attempt ended and what becomes of its task.
    ///
    /// # Errors
    /// The attempt has ended already, or the database refused.
    fn end(&mut self, end: &End, now: Timestamp) -> Result<(), StoreError>;

    /// Records that the agent of an attempt waits for a person, and for what. `said` is everything
    /// that the agent has said.
    ///
    /// # Errors
    /// The attempt has ended, or the database refused.
    fn ask(
        &mut self,
        attempt: AttemptId,
        question: &str,
        said: Option<&Output>,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Records that the agent of an attempt continues.
    ///
    /// # Errors
    /// The attempt has ended, or the database refused.
    fn go_on(
        &mut self,
        attempt: AttemptId,
        details: &str,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Returns the answers that people have given and no agent has received yet, oldest first.
    ///
    /// # Errors
    /// The database refused.
    fn replies(&mut self) -> Result<Vec<Reply>, StoreError>;

    /// Takes a reply and records what becomes of it, before it is typed, so that no reply is typed
    /// twice. No other reply is accepted until the agent continues or [`Store::drop_replies`] is
    /// called.
    ///
    /// # Errors
    /// The database refused: the reply must not be typed.
    fn take_reply(
        &mut self,
        reply: &Reply,
        details: &str,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Deletes the replies to a task that were not delivered, and records why. With `None`, deletes
    /// the replies to all tasks that an earlier daemon was delivering when it ended.
    ///
    /// # Errors
    /// The database refused.
    fn drop_replies(
        &mut self,
        task: Option<TaskId>,
        why: &str,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Returns the attempts that have not ended.
    ///
    /// # Errors
    /// The database refused.
    fn open_attempts(&mut self) -> Result<Vec<OpenAttempt>, StoreError>;

    /// Returns how many tasks a session has taken, counting the attempts from `from` on that have
    /// ended. Tasks that it refused or was not given after all do not count.
    ///
    /// # Errors
    /// The database refused.
    fn taken_up(&mut self, identity: &Identity, from: AttemptId) -> Result<u32, StoreError>;

    /// Returns what people have requested for tasks in flight.
    ///
    /// # Errors
    /// The database refused.
    fn requests(&mut self) -> Result<BTreeMap<TaskId, Request>, StoreError>;

    /// Stores why tasks wait, for those whose reason has changed.
    ///
    /// # Errors
    /// The database refused.
    fn note_waiting(&mut self, reasons: &[Waiting]) -> Result<(), StoreError>;

    /// Cancels a pending or uncertain task, or records that a running one is to be cancelled.
    ///
    /// # Errors
    /// There is no such task, or it has already ended.
    fn cancel(&mut self, id: TaskId, now: Timestamp) -> Result<Status, StoreError>;

    /// Moves an uncertain task on, as a person decided.
    ///
    /// # Errors
    /// There is no such task, or it is not uncertain.
    fn resolve(&mut self, id: TaskId, event: Event, now: Timestamp) -> Result<Status, StoreError>;

    /// Stores what has changed about sessions.
    ///
    /// # Errors
    /// The database refused.
    fn record_sessions(&mut self, rows: &[SessionRow], now: Timestamp) -> Result<(), StoreError>;

    /// Returns the sessions as last seen, by name.
    ///
    /// # Errors
    /// The database refused.
    fn sessions(&mut self) -> Result<Vec<SessionRow>, StoreError>;

    /// Marks as gone the sessions that only the Python worker has ever seen.
    ///
    /// # Errors
    /// The database refused.
    fn retire_unseen(&mut self, now: Timestamp) -> Result<(), StoreError>;

    /// Returns the pauses that are in force.
    ///
    /// # Errors
    /// The database refused.
    fn pauses(&mut self) -> Result<Vec<PauseRow>, StoreError>;

    /// Ends the pauses whose time is over.
    ///
    /// # Errors
    /// The database refused.
    fn end_pauses(&mut self, now: Timestamp) -> Result<(), StoreError>;

    /// Returns the labels that were given to sessions.
    ///
    /// # Errors
    /// The database refused.
    fn session_labels(&mut self) -> Result<Vec<SessionLabel>, StoreError>;

    /// Returns the session names that pending tasks target and that no session has had yet.
    ///
    /// # Errors
    /// The database refused.
    fn awaited_targets(&mut self) -> Result<Vec<String>, StoreError>;

    /// Stores what names mean now, for the pauses, labels and pending tasks that waited for it.
    ///
    /// # Errors
    /// The database refused.
    fn bind(&mut self, meanings: &[(String, Meaning)]) -> Result<(), StoreError>;

    /// Ends the pauses and labels of sessions that are gone, and records that in the history.
    ///
    /// # Errors
    /// The database refused.
    fn end_wishes(&mut self, gone: &[Meaning], now: Timestamp) -> Result<(), StoreError>;

    /// Returns what programs have reported about sessions since the last call.
    ///
    /// # Errors
    /// The database refused.
    fn take_context_updates(&mut self) -> Result<Vec<ContextUpdate>, StoreError>;

    /// Writes a history row that is about a session and not about a task.
    ///
    /// # Errors
    /// The database refused.
    fn note_session(
        &mut self,
        session: &str,
        action: &str,
        details: &str,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Returns the secrets that tasks may still need.
    ///
    /// # Errors
    /// The database refused.
    fn secrets_in_use(&mut self) -> Result<BTreeSet<String>, StoreError>;

    /// Returns the secrets of tasks that have ended, which can be deleted.
    ///
    /// # Errors
    /// The database refused.
    fn settled_secrets(&mut self) -> Result<Vec<String>, StoreError>;

    /// Records that secrets were deleted.
    ///
    /// # Errors
    /// The database refused.
    fn forget_secrets(&mut self, names: &[String]) -> Result<(), StoreError>;

    /// Stores what the daemon reports about itself.
    ///
    /// # Errors
    /// The database refused.
    fn record_daemon(&mut self, facts: &DaemonFacts) -> Result<(), StoreError>;

    /// Returns what the last daemon reported about itself.
    ///
    /// # Errors
    /// The database refused.
    fn daemon(&mut self) -> Result<Option<DaemonFacts>, StoreError>;

    /// Returns a number that changes whenever another connection has changed something.
    ///
    /// # Errors
    /// The database refused.
    fn data_version(&mut self) -> Result<i64, StoreError>;
}

/// A task that another task follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParentRow {
    /// Its id.
    pub id: TaskId,
    /// Its state.
    pub status: Status,
    /// What becomes of the follower if this task does not complete.
    pub if_fails: IfParentFails,
}

/// What a person requests for a task in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// To end it.
    Cancel,
    /// To give it to this session, or to any session if `None`.
    Reassign(Option<String>),
}

/// Which sessions take no new tasks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pause {
    /// Every session.
    All,
    /// All sessions of a provider.
    Provider(String),
    /// One session.
    Session(SessionRef),
}

impl Pause {
    fn row(&self) -> (&'static str, &str, Option<&Meaning>) {
        match self {
            Self::All => ("all", "", None),
            Self::Provider(name) => ("provider", name, None),
            Self::Session(said) => ("session", &said.name, said.meaning.as_ref()),
        }
    }

    fn from_row(scope: &str, said: SessionRef) -> Self {
        match scope {
            "all" => Self::All,
            "provider" => Self::Provider(said.name),
            _ => Self::Session(said),
        }
    }

    /// Whether it applies to a session that runs that provider.
    pub fn covers(&self, who: Who<'_>, provider: &str) -> bool {
        match self {
            Self::All => true,
            Self::Provider(name) => name == provider,
            Self::Session(said) => who.answers(said),
        }
    }
}

impl std::fmt::Display for PauseRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.what.fmt(f)?;
        if let Some(until) = self.until {
            write!(f, " until {}", until.strftime("%Y-%m-%d %H:%M:%SZ"))?;
        }
        match &self.reason {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}

impl std::fmt::Display for Pause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("all sessions"),
            Self::Provider(name) => write!(f, "provider {name}"),
            Self::Session(said) => write!(f, "session {said}"),
        }
    }
}

/// A label set on a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionLabel {
    /// The session.
    pub session: SessionRef,
    /// The label's name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Picks the labels of one session out of all labels. A label set for one pane takes precedence
/// over one set for all panes of its tmux session.
pub fn labels_of(given: &[SessionLabel], who: Who<'_>) -> BTreeMap<String, String> {
    let of_one = |said: &SessionRef| match &said.meaning {
        Some(meaning) => matches!(meaning, Meaning::Pane(_)),
        None => who.labels().any(|label| label == said.name),
    };
    let (one, all): (Vec<_>, Vec<_>) = given
        .iter()
        .filter(|label| who.answers(&label.session))
        .partition(|label| of_one(&label.session));
    let labels = all.into_iter().chain(one);
    labels
        .map(|label| (label.name.clone(), label.value.clone()))
        .collect()
}

/// What a program reports about a session's variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextUpdate {
    /// The session.
    pub session: SessionRef,
    /// Variables with their new values. `None` means that the variable is no longer set.
    pub env: BTreeMap<String, Option<String>>,
}

/// What was merged from another database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Tasks.
    pub tasks: usize,
    /// Sessions that were not known to this database.
    pub sessions: usize,
    /// History rows.
    pub history: usize,
    /// How many of the tasks were in flight in the other database.
    pub uncertain: usize,
    /// Tasks that had already been merged.
    pub skipped: usize,
}

/// The action of a history row that says why an answer did not reach its agent.
pub const REPLY_DROPPED: &str = "reply_dropped";

/// One row of `assignment_history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HistoryRow {
    /// The task that it is about. `None` if it is about a session.
    pub task: Option<TaskId>,
    /// When it happened.
    pub at: Timestamp,
    /// What happened; see [`Event::name`].
    pub action: String,
    /// The session that had the task, if any.
    pub session: Option<String>,
    /// The cause, for people.
    pub details: String,
}

/// What a task printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The bytes as printed; only the newest ones if there were too many.
    pub bytes: Vec<u8>,
    /// How many bytes there were in all.
    pub total: u64,
}

/// The hard constraints that a group of pending tasks shares.
///
/// The engine asks only for lanes that a ready session can serve, so that a hundred thousand
/// prompts cost nothing while there is no agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lane {
    /// The store's own key.
    pub(crate) key: Vec<u8>,
    /// What may run the tasks.
    pub kind: Kind,
    /// The session that the tasks target.
    pub target_session: Option<SessionRef>,
    /// Whether other sessions may run them, too.
    pub target_fallback: bool,
    /// The providers that may run them, preferred ones first. Empty means any that suits the kind.
    pub providers: Vec<String>,
    /// The branch that a session must be on.
    pub branch: Option<String>,
    /// The labels that a session must have.
    pub labels: BTreeMap<String, String>,
}

impl Lane {
    /// Returns what the tasks of this lane require of a session.
    pub fn demand(&self) -> Demand<'_> {
        Demand {
            kind: self.kind,
            target_session: self.target_session.as_ref(),
            target_fallback: self.target_fallback,
            providers: &self.providers,
            branch: self.branch.as_deref(),
            labels: &self.labels,
            // This belongs to each task: in the key, it would make a separate lane for each
            // repository.
            within: None,
        }
    }
}

/// A session to reserve for a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The task.
    pub task: TaskId,
    /// Its revision when the decision was made; see [`Task::revision`].
    pub revision: i64,
    /// The session's label.
    pub session: String,
    /// The session.
    pub identity: Identity,
    /// The tmux sessions that show it.
    pub homes: Vec<Home>,
    /// The provider that runs in it.
    pub provider: String,
    /// The agent that is asked there without a terminal.
    pub asks: Option<String>,
    /// Its labels when the decision was made.
    pub labels: BTreeMap<String, String>,
    /// The policy that decided.
    pub policy: PolicyId,
    /// The chosen session, then the runners-up.
    pub rankings: Vec<NamedRanking>,
    /// The sessions that could not be taken, and why.
    pub ruled_out: Vec<RuledOut>,
}

impl Claim {
    /// Whether what people have set for its session still allows it: no pause covers the session,
    /// and its labels are the ones that the decision was based on.
    pub fn is_allowed(&self, pauses: &[PauseRow], labels: &[SessionLabel], now: Timestamp) -> bool {
        let who = Who {
            name: &self.session,
            identity: Some(&self.identity),
            homes: &self.homes,
        };
        let mut holding = pauses
            .iter()
            .filter(|pause| pause.until.is_none_or(|until| until > now));
        let runs = std::iter::once(&self.provider).chain(&self.asks);
        !holding.any(|pause| runs.clone().any(|name| pause.what.covers(who, name)))
            && labels_of(labels, who) == self.labels
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// The attempt.
    pub attempt: AttemptId,
    /// How it ended.
    pub outcome: Outcome,
    /// What becomes of the task.
    pub event: Event,
    /// The exit code of the command.
    pub exit_code: Option<i32>,
    /// The reason, for people. `None` if it went well.
    pub error: Option<String>,
    /// What the attempt printed.
    pub output: Option<Output>,
    /// The earliest time of the next try.
    pub not_before: Option<Timestamp>,
    /// What is known about the agent's turn.
    pub turn: Option<TurnFacts>,
    /// A limit that the agent reached. Its provider is paused in the same transaction.
    pub limit: Option<Limit>,
}

impl End {
    /// Returns an end that has only a reason.
    pub fn new(attempt: AttemptId, outcome: Outcome, event: Event) -> Self {
        Self {
            attempt,
            outcome,
            event,
            exit_code: None,
            error: None,
            output: None,
            not_before: None,
            turn: None,
            limit: None,
        }
    }

    /// Adds the reason, for people.
    pub fn because(self, reason: impl Into<String>) -> Self {
        Self {
            error: Some(reason.into()),
            ..self
        }
    }
}

/// A usage limit of a provider that an agent reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The provider.
    pub provider: String,
    /// When it ends.
    pub until: Timestamp,
    /// The reason, as the agent states it.
    pub reason: String,
}

/// A person's answer to an agent that asks, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Its number.
    pub id: i64,
    /// The task whose agent asks.
    pub task: TaskId,
    /// The answer.
    pub answer: Answer,
    /// The question that was open when the answer was given.
    pub asks: Option<String>,
}

/// What a person says to an agent that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Text. In a dialog it is typed, followed by Enter if it is longer than one character.
    Words(String),
    /// Keys, by their tmux names.
    Keys(Vec<String>),
    /// Nothing: the agent's last message is accepted as the response.
    Accept,
}

impl Answer {
    fn row(&self) -> (&'static str, String) {
        match self {
            Self::Words(text) => ("words", text.clone()),
            Self::Keys(names) => ("keys", names.join(" ")),
            Self::Accept => ("accept", String::new()),
        }
    }

    fn from_row(kind: &str, text: String) -> Self {
        match kind {
            "keys" => Self::Keys(text.split_whitespace().map(str::to_owned).collect()),
            "accept" => Self::Accept,
            _ => Self::Words(text),
        }
    }
}

/// A pause that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PauseRow {
    /// What takes no new tasks.
    pub what: Pause,
    /// When it ends by itself. `None` if only a person can end it.
    pub until: Option<Timestamp>,
    /// The reason, if no person asked for it.
    pub reason: Option<String>,
}

impl PauseRow {
    /// Returns the pause that applies to a session that runs that provider. One that a person asked
    /// for takes precedence over one that ends by itself.
    pub fn over<'a>(pauses: &'a [Self], who: Who<'_>, provider: &str) -> Option<&'a Self> {
        pauses
            .iter()
            .filter(|pause| pause.what.covers(who, provider))
            .min_by_key(|pause| pause.until.is_some())
    }

    /// Returns the pause of the agent that a headless prompt asks, in whichever shell that is.
    pub fn over_asked<'a>(pauses: &'a [Self], task: &Task) -> Option<&'a Self> {
        let asked = &task.metadata.headless.as_ref()?.provider;
        let mut pauses = pauses.iter();
        pauses.find(|pause| matches!(&pause.what, Pause::Provider(name) if name == asked))
    }

    /// Returns the obstacle that it is for a session it covers.
    pub fn obstacle(&self) -> Obstacle {
        Obstacle::Paused {
            until: self.until,
            reason: self.reason.clone(),
        }
    }
}

/// An attempt that has not ended, with its task. Recovery starts from this.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenAttempt {
    /// Its id.
    pub id: AttemptId,
    /// The session's label.
    pub session: String,
    /// The session.
    pub identity: Identity,
    /// The phase it has reached.
    pub phase: Phase,
    /// When the first bytes may have reached the pane.
    pub delivered_at: Option<Timestamp>,
    /// When its session started on it.
    pub started_at: Option<Timestamp>,
    /// When a prompt may first have been submitted.
    pub submitted_at: Option<Timestamp>,
    /// Whether its agent asked something that was answered.
    pub answered: bool,
    /// Whether a turn of its agent ended in a question: then what follows the answer is another
    /// turn.
    pub has_said: bool,
    /// The task that it is a try of.
    pub task: Task,
}

/// A failed task that rests before its next try.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rest {
    /// The task.
    pub task: TaskId,
    /// When the rest ends, by the wall clock at the time of the failure. The Unix epoch if the
    /// stored value is not a time.
    pub until: Timestamp,
    /// The same as it is written in its row, because other tools may write a time in another form.
    pub written: Vec<u8>,
    /// How often the task was tried.
    pub tries: u32,
}

/// Why a task waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// The task.
    pub task: TaskId,
    /// The reason, for people.
    pub reason: String,
    /// How close the best sessions come.
    pub rankings: Vec<NamedRanking>,
}

/// A session as last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// Its label.
    pub name: String,
    /// Its identity.
    pub identity: Identity,
    /// What it is doing.
    pub activity: Activity,
    /// Why it takes no task now. `None` if nothing prevents it.
    pub reason: Option<String>,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// The provider that runs in it.
    pub provider: String,
    /// Its current directory.
    pub current_dir: Option<String>,
    /// The branch of that directory.
    pub git_branch: Option<String>,
    /// The repository of that directory; the same for all of its worktrees.
    pub repository: Option<String>,
    /// Variables that were set through us.
    pub env: BTreeMap<String, String>,
    /// The task that it is running.
    pub current_task: Option<TaskId>,
    /// Tasks that completed in it.
    pub completed: u32,
    /// Tasks that failed in it.
    pub failed: u32,
    /// When its directory or branch last changed.
    pub context_at: Timestamp,
    /// Which tasks it accepts, as configured.
    pub admission: Admission,
    /// Whether a person has paused it.
    pub paused: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The tmux sessions that show it, starting with the one that it is named after.
    pub homes: Vec<Home>,
}

impl SessionRow {
    /// Returns why it takes no task now, or that it is waiting for one.
    pub fn reason(&self) -> &str {
        match (&self.reason, self.activity) {
            (Some(reason), _) => reason,
            (None, Activity::Idle) => AT_PROMPT,
            (None, _) => "",
        }
    }

    /// Returns its names and identity.
    pub fn who(&self) -> Who<'_> {
        Who {
            name: &self.name,
            identity: Some(&self.identity),
            homes: &self.homes,
        }
    }

    /// Returns what a task's requirements are compared with.
    pub fn place(&self) -> Place<'_> {
        Place {
            who: self.who(),
            provider: &self.provider,
            branch: self.git_branch.as_deref(),
            labels: &self.labels,
            admission: self.admission,
            directory: self.current_dir.as_deref(),
            repository: self.repository.as_deref(),
        }
    }
}

/// Returns the names and identities of the sessions that have not ended.
pub fn present(rows: &[SessionRow]) -> impl Iterator<Item = Who<'_>> + Clone {
    rows.iter()
        .filter(|row| row.activity != Activity::Gone)
        .map(SessionRow::who)
}

/// What a daemon reports about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DaemonFacts {
    /// Its process id.
    pub pid: u32,
    /// When it was started.
    pub started_at: Timestamp,
    /// The tmux server that it watches, for people.
    pub tmux: String,
    /// What it waits for if it cannot work, for people.
    pub waiting_for: Option<String>,
    /// The policy that it was told to use.
    pub policy: PolicyId,
    /// How that policy was named, so that others can load it as well.
    pub policy_source: String,
    /// The settings that the policy was given, as a JSON object.
    pub policy_settings: serde_json::Value,
    /// How long it took to load the policy, in milliseconds.
    pub policy_load_ms: f64,
    /// Whether the policy had been compiled at an earlier start.
    pub policy_cached: bool,
    /// How often that policy, or one that replaced it, has failed since.
    pub policy_failures: u64,
    /// The last failure.
    pub policy_last_failure: Option<String>,
    /// The policy that is used in its place, if any.
    pub policy_in_use: Option<PolicyId>,
    /// How many rounds are recorded.
    pub recording: Option<Recording>,
    /// The policy that runs as a shadow beside the live one.
    pub shadow: Option<ShadowFacts>,
}

/// How much is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// The number of rounds that this daemon has recorded.
    pub rounds: u64,
    /// The size of all recorded rounds, in bytes.
    pub bytes: u64,
}

/// What a shadow policy would have decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowFacts {
    /// The policy.
    pub policy: PolicyId,
    /// The number of rounds that it decided.
    pub rounds: u64,
    /// The number of tasks in them.
    pub tasks: u64,
    /// The number of tasks for which it decided differently from the live policy.
    pub different: u64,
    /// The number of rounds in which it failed.
    pub failures: u64,
    /// The number of rounds that it was not given because it was still busy with another.
    pub skipped: u64,
    /// The last failure.
    pub last_failure: Option<String>,
}
