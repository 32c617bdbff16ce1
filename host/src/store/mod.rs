//! The durable queue: what is kept, and the narrow trait behind which it is kept.
//!
//! ```text
//! cli ----------------> Store (one connection, blocking)
//! engine --> Ledger --> Store (a thread of its own, group commit)
//! ```
//!
//! Every change of a task is one transaction that also writes a row of `assignment_history`.
//! rusqlite's types stay in here.

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

/// Why the store could not do what it was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The directory of the data cannot be made or written.
    #[error(
        "cannot use the data directory `{path}`: {source}; name another with --data-dir",
        path = path.display()
    )]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database cannot be opened, or is no database.
    #[error("cannot open the database `{path}`: {source}", path = path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// A later assigner has changed the schema.
    #[error(
        "the database `{path}` has version {found}, and this assigner knows versions up to {known}: install the newer assigner again",
        path = path.display()
    )]
    Newer {
        /// Which.
        path: PathBuf,
        /// Its `user_version`.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The database belongs to another program.
    #[error(
        "`{path}` is a database of another program (it has no table of tasks): name another data directory with --data-dir",
        path = path.display()
    )]
    Foreign {
        /// Which.
        path: PathBuf,
    },
    /// The database cannot be copied before it is changed.
    #[error("cannot copy the database to `{path}`: {source}", path = path.display())]
    Copy {
        /// Where to.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not what `import` takes.
    #[error(
        "`{path}` is no database of the Python worker (it has no table `prompts` of its kind)",
        path = path.display()
    )]
    NotOriginal {
        /// Which.
        path: PathBuf,
    },
    /// Values that are kept apart cannot be written.
    #[error("cannot keep secret values in `{path}`: {source}", path = path.display())]
    Secrets {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A task may follow those that were queued before it.
    #[error("task {id} cannot follow task {parent}, which was queued later")]
    FollowsLater {
        /// The task.
        id: TaskId,
        /// What it was to follow.
        parent: TaskId,
    },
    /// A task that is to fail with its parent cannot be queued again before that.
    #[error(
        "task {id} follows task {parent}, which is {status}: `assigner retry {parent}` first, or `assigner retry --release {id}` to run it all the same"
    )]
    ParentFailed {
        /// The task.
        id: TaskId,
        /// What it follows.
        parent: TaskId,
        /// How that stands.
        status: Status,
    },
    /// The secret values of a task are not kept any more.
    #[error(
        "the secret values of task {id} were deleted when it ended: export {names} and `assigner retry {id}`",
        names = names.join(", ")
    )]
    SecretsGone {
        /// Which task.
        id: TaskId,
        /// The variables.
        names: Vec<String>,
    },
    /// Somebody else was faster.
    #[error("task {0} was changed by somebody else in between: look at it and try again")]
    Changed(TaskId),
    /// Only a task that waits can be changed.
    #[error("task {id} is {status}: only a pending task can be changed")]
    NotPending {
        /// Which.
        id: TaskId,
        /// How it stands.
        status: Status,
    },
    /// An answer is on its way.
    #[error("task {0} was answered already, and its agent has not gone on yet")]
    Answered(TaskId),
    /// Nobody asks anything.
    #[error("task {id} is {status}: its agent waits for no answer")]
    NotAsking {
        /// Which.
        id: TaskId,
        /// How it stands.
        status: Status,
    },
    /// No session of that name was ever seen.
    #[error("there is no session `{0}`: `assigner sessions` shows those there are")]
    NoSession(String),
    /// The task is in a state in which that cannot happen.
    #[error("task {id}: {source}")]
    Illegal {
        /// Which task.
        id: TaskId,
        /// Why.
        source: IllegalTransition,
    },
    /// There is no such task.
    #[error("there is no task {0}: `assigner list` shows those there are")]
    NoTask(TaskId),
    /// There is no such attempt, or it has ended.
    #[error("attempt {0} has ended or never was")]
    NoAttempt(AttemptId),
    /// SQLite refused.
    #[error("the database refused: {0}")]
    Sql(#[from] rusqlite::Error),
    /// The disk is full, or fails.
    #[error("the change could not be committed to the database: is the disk full?")]
    NotCommitted,
    /// The thread that writes is gone.
    #[error("the store has stopped")]
    Stopped,
}

/// What a store can do. A method that changes something is one transaction, or part of the one
/// that [`Store::group`] holds open.
pub trait Store: PolicyLog {
    /// Runs `work` in one transaction; what it does is kept unless committing fails.
    ///
    /// # Errors
    /// The transaction could not be begun or committed: nothing of `work` is kept.
    fn group(&mut self, work: &mut dyn FnMut(&mut dyn Store)) -> Result<(), StoreError>;

    /// Queues tasks, all or none, and returns their numbers in order.
    ///
    /// # Errors
    /// The database refused.
    fn queue(&mut self, tasks: &[NewTask], now: Timestamp) -> Result<Vec<TaskId>, StoreError>;

    /// Returns a task.
    ///
    /// # Errors
    /// There is none of that number.
    fn task(&mut self, id: TaskId) -> Result<Task, StoreError>;

    /// Returns the tasks in one of `statuses` (all where empty), the newest `limit` of them,
    /// oldest first.
    ///
    /// # Errors
    /// The database refused.
    fn tasks(&mut self, statuses: &[Status], limit: usize) -> Result<Vec<Task>, StoreError>;

    /// Returns a task's attempts, those that count, oldest first.
    ///
    /// # Errors
    /// The database refused.
    fn attempts(&mut self, id: TaskId) -> Result<Vec<Attempt>, StoreError>;

    /// Returns what happened to a task, oldest first.
    ///
    /// # Errors
    /// The database refused.
    fn history(&mut self, id: TaskId) -> Result<Vec<HistoryRow>, StoreError>;

    /// Returns the output of a task's last attempt that has one.
    ///
    /// # Errors
    /// The database refused.
    fn output(&mut self, id: TaskId) -> Result<Option<Output>, StoreError>;

    /// Returns how many tasks stand in each state.
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

    /// Lets tasks run whose time has come: the time that their sender named.
    ///
    /// # Errors
    /// The database refused.
    fn release_due(&mut self, now: Timestamp) -> Result<(), StoreError>;

    /// Returns the failed tasks that rest before their next try. When a rest is over is for the
    /// caller to say: it is a time that passes, whatever the clock of the machine is set to. At most
    /// so many are returned, the oldest tasks first.
    ///
    /// # Errors
    /// The database refused.
    fn resting(&mut self, limit: usize) -> Result<Vec<Rest>, StoreError>;

    /// Ends rests, of tasks that still rest as they did.
    ///
    /// # Errors
    /// The database refused.
    fn release(&mut self, rested: &[Rest]) -> Result<(), StoreError>;

    /// Returns the groups into which hard constraints divide the tasks that are pending.
    ///
    /// # Errors
    /// The database refused.
    fn lanes(&mut self) -> Result<Vec<Lane>, StoreError>;

    /// Returns at most `limit` tasks of `lanes` that may run now, behind `after`, in the order in
    /// which they are to be served.
    ///
    /// # Errors
    /// The database refused.
    fn pending(
        &mut self,
        lanes: &[Lane],
        limit: usize,
        after: Option<(i32, TaskId)>,
    ) -> Result<Vec<Task>, StoreError>;

    /// Returns when the next pending task is due whose sender has named a time.
    ///
    /// # Errors
    /// The database refused.
    fn next_due(&mut self, now: Timestamp) -> Result<Option<Timestamp>, StoreError>;

    /// Reserves sessions for tasks in one transaction and returns an attempt for each claim;
    /// `None` where the task may not run any more or was changed since it was decided on, or the
    /// session is taken.
    ///
    /// # Errors
    /// The database refused: nothing is claimed.
    fn claim(
        &mut self,
        claims: &[Claim],
        now: Timestamp,
    ) -> Result<Vec<Option<AttemptId>>, StoreError>;

    /// Records that an attempt has come to `phase`, before the act that it names.
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

    /// Records that the agent of an attempt waits for a person, and for what; `said`: all that it has
    /// said.
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

    /// Records that the agent of an attempt goes on.
    ///
    /// # Errors
    /// The attempt has ended, or the database refused.
    fn go_on(
        &mut self,
        attempt: AttemptId,
        details: &str,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Returns what people have answered and was not given to an agent yet, oldest first.
    ///
    /// # Errors
    /// The database refused.
    fn replies(&mut self) -> Result<Vec<Reply>, StoreError>;

    /// Takes up a reply, with what becomes of it: before it is typed, so that none is typed twice. Until
    /// its agent goes on, or [`Store::drop_replies`], no other is accepted.
    ///
    /// # Errors
    /// The database refused: the reply must not be typed.
    fn take_reply(
        &mut self,
        reply: &Reply,
        details: &str,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Deletes the replies to a task that were not given, and says why; `None`: of all tasks those that
    /// an earlier daemon was just giving.
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

    /// Returns how many tasks a session has taken up, of the attempts that have ended, from `from`
    /// on. Those that it refused or was not given after all are none.
    ///
    /// # Errors
    /// The database refused.
    fn taken_up(&mut self, identity: &Identity, from: AttemptId) -> Result<u32, StoreError>;

    /// Returns what people ask for tasks in flight.
    ///
    /// # Errors
    /// The database refused.
    fn requests(&mut self) -> Result<BTreeMap<TaskId, Request>, StoreError>;

    /// Keeps why tasks wait, where it changed.
    ///
    /// # Errors
    /// The database refused.
    fn note_waiting(&mut self, reasons: &[Waiting]) -> Result<(), StoreError>;

    /// Cancels a pending or uncertain task; of one that runs, records that it is to be.
    ///
    /// # Errors
    /// There is no such task, or it is settled.
    fn cancel(&mut self, id: TaskId, now: Timestamp) -> Result<Status, StoreError>;

    /// Moves an uncertain task on by a person's word.
    ///
    /// # Errors
    /// There is no such task, or it is not uncertain.
    fn resolve(&mut self, id: TaskId, event: Event, now: Timestamp) -> Result<Status, StoreError>;

    /// Keeps what changed of sessions.
    ///
    /// # Errors
    /// The database refused.
    fn record_sessions(&mut self, rows: &[SessionRow], now: Timestamp) -> Result<(), StoreError>;

    /// Returns the sessions as last seen, by name.
    ///
    /// # Errors
    /// The database refused.
    fn sessions(&mut self) -> Result<Vec<SessionRow>, StoreError>;

    /// Marks sessions as gone that only the Python worker has ever seen.
    ///
    /// # Errors
    /// The database refused.
    fn retire_unseen(&mut self, now: Timestamp) -> Result<(), StoreError>;

    /// Returns what is paused.
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

    /// Returns the names of sessions that pending tasks are for and that have meant nothing yet.
    ///
    /// # Errors
    /// The database refused.
    fn awaited_targets(&mut self) -> Result<Vec<String>, StoreError>;

    /// Keeps what names have come to mean that pauses, labels and pending tasks have waited for.
    ///
    /// # Errors
    /// The database refused.
    fn bind(&mut self, meanings: &[(String, Meaning)]) -> Result<(), StoreError>;

    /// Ends the pauses and the labels of what is gone, and says so in the history.
    ///
    /// # Errors
    /// The database refused.
    fn end_wishes(&mut self, gone: &[Meaning], now: Timestamp) -> Result<(), StoreError>;

    /// Returns what programs have told of sessions since this was asked last.
    ///
    /// # Errors
    /// The database refused.
    fn take_context_updates(&mut self) -> Result<Vec<ContextUpdate>, StoreError>;

    /// Writes a history row of a session that is about no task.
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

    /// Returns the secrets of tasks that have ended, to be deleted.
    ///
    /// # Errors
    /// The database refused.
    fn settled_secrets(&mut self) -> Result<Vec<String>, StoreError>;

    /// Notes that secrets were deleted.
    ///
    /// # Errors
    /// The database refused.
    fn forget_secrets(&mut self, names: &[String]) -> Result<(), StoreError>;

    /// Keeps what the daemon tells of itself.
    ///
    /// # Errors
    /// The database refused.
    fn record_daemon(&mut self, facts: &DaemonFacts) -> Result<(), StoreError>;

    /// Returns what the last daemon told of itself.
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

/// A task that another one follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParentRow {
    /// Which.
    pub id: TaskId,
    /// How it stands.
    pub status: Status,
    /// What becomes of the follower where it does not complete.
    pub if_fails: IfParentFails,
}

/// What a person asks for a task in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// To end it.
    Cancel,
    /// To give it to this session, or to any.
    Reassign(Option<String>),
}

/// What takes no new tasks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pause {
    /// Every session.
    All,
    /// Those of a provider.
    Provider(String),
    /// A session.
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

    /// Whether it holds for a session in which that provider runs.
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

/// A label that was given to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionLabel {
    /// Which one.
    pub session: SessionRef,
    /// The label's name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Returns the labels of a session among all that were given: what is set for one pane counts more
/// than what is set for all panes of its tmux session.
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

/// What a program tells of a session's variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextUpdate {
    /// The session.
    pub session: SessionRef,
    /// Variables with their new values; `None`: it does not have them any more.
    pub env: BTreeMap<String, Option<String>>,
}

/// What was merged from another database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Tasks.
    pub tasks: usize,
    /// Sessions that were not known here.
    pub sessions: usize,
    /// Rows of history.
    pub history: usize,
    /// Those of the tasks that were in flight there.
    pub uncertain: usize,
    /// Tasks that were merged before.
    pub skipped: usize,
}

/// The action of a row that tells why an answer did not reach its agent.
pub const REPLY_DROPPED: &str = "reply_dropped";

/// One row of `assignment_history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HistoryRow {
    /// The task that it is about; `None`: it is about a session.
    pub task: Option<TaskId>,
    /// When.
    pub at: Timestamp,
    /// What happened; see [`Event::name`].
    pub action: String,
    /// Where, if a session had the task.
    pub session: Option<String>,
    /// The cause, for people.
    pub details: String,
}

/// What a task printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The bytes as printed, the newest where there were too many.
    pub bytes: Vec<u8>,
    /// How many there were.
    pub total: u64,
}

/// The hard constraints that a group of pending tasks shares.
///
/// The engine asks only for lanes that a ready session can serve, so that a hundred thousand
/// prompts without an agent cost nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lane {
    /// The store's own key.
    pub(crate) key: Vec<u8>,
    /// What may run the tasks.
    pub kind: Kind,
    /// The session that they are for.
    pub target_session: Option<SessionRef>,
    /// Whether others may run them, too.
    pub target_fallback: bool,
    /// The providers that may, preferred ones first; empty: any that suits the kind.
    pub providers: Vec<String>,
    /// The branch that a session must stand on.
    pub branch: Option<String>,
    /// The labels that a session must have.
    pub labels: BTreeMap<String, String>,
}

impl Lane {
    /// Returns what its tasks demand of a session.
    pub fn demand(&self) -> Demand<'_> {
        Demand {
            kind: self.kind,
            target_session: self.target_session.as_ref(),
            target_fallback: self.target_fallback,
            providers: &self.providers,
            branch: self.branch.as_deref(),
            labels: &self.labels,
            // A task's own: it would make a lane of each repository.
            within: None,
        }
    }
}

/// A session to reserve for a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The task.
    pub task: TaskId,
    /// As it was decided on; see [`Task::revision`].
    pub revision: i64,
    /// The session's label.
    pub session: String,
    /// The session.
    pub identity: Identity,
    /// The tmux sessions that show it.
    pub homes: Vec<Home>,
    /// What runs in it.
    pub provider: String,
    /// Its labels, as they were when it was decided on.
    pub labels: BTreeMap<String, String>,
    /// Who decided.
    pub policy: PolicyId,
    /// The session taken, then the runners-up.
    pub rankings: Vec<NamedRanking>,
    /// The sessions that could not be taken, and why.
    pub ruled_out: Vec<RuledOut>,
}

impl Claim {
    /// Whether what people have said of its session still allows it: no pause covers the session, and
    /// its labels are those that were decided on.
    pub fn is_allowed(&self, pauses: &[PauseRow], labels: &[SessionLabel], now: Timestamp) -> bool {
        let who = Who {
            name: &self.session,
            identity: Some(&self.identity),
            homes: &self.homes,
        };
        let mut holding = pauses
            .iter()
            .filter(|pause| pause.until.is_none_or(|until| until > now));
        !holding.any(|pause| pause.what.covers(who, &self.provider))
            && labels_of(labels, who) == self.labels
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// Which.
    pub attempt: AttemptId,
    /// How.
    pub outcome: Outcome,
    /// What becomes of the task.
    pub event: Event,
    /// What the command returned.
    pub exit_code: Option<i32>,
    /// Why, for people; `None` where it went well.
    pub error: Option<String>,
    /// What it printed.
    pub output: Option<Output>,
    /// Not to be tried again before.
    pub not_before: Option<Timestamp>,
    /// What is known of the agent's turn.
    pub turn: Option<TurnFacts>,
    /// A limit that the agent came to: its provider is paused in the same transaction.
    pub limit: Option<Limit>,
}

impl End {
    /// Returns an end that leaves nothing but its reason.
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

    /// The same with why it ended so, for people.
    pub fn because(self, reason: impl Into<String>) -> Self {
        Self {
            error: Some(reason.into()),
            ..self
        }
    }
}

/// A limit of a provider that an agent came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Whose.
    pub provider: String,
    /// When it ends.
    pub until: Timestamp,
    /// As the agent says.
    pub reason: String,
}

/// What a person answers to an agent that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Its number.
    pub id: i64,
    /// The task whose agent asks.
    pub task: TaskId,
    /// What.
    pub answer: Answer,
    /// What was asked when it was said.
    pub asks: Option<String>,
}

/// What a person says to an agent that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Words: for a dialog they are typed, and entered where they are more than one sign.
    Words(String),
    /// Keys, by tmux's names of them.
    Keys(Vec<String>),
    /// Nothing: what it said last is the response.
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

/// A pause as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PauseRow {
    /// What takes no new tasks.
    pub what: Pause,
    /// When it ends by itself; `None`: by a person's word.
    pub until: Option<Timestamp>,
    /// Why, where no person asked for it.
    pub reason: Option<String>,
}

impl PauseRow {
    /// Returns the pause that holds for a session in which that provider runs: one that a person has
    /// asked for before one that ends by itself.
    pub fn over<'a>(pauses: &'a [Self], who: Who<'_>, provider: &str) -> Option<&'a Self> {
        pauses
            .iter()
            .filter(|pause| pause.what.covers(who, provider))
            .min_by_key(|pause| pause.until.is_some())
    }

    /// Returns what it is to a session that it covers.
    pub fn obstacle(&self) -> Obstacle {
        Obstacle::Paused {
            until: self.until,
            reason: self.reason.clone(),
        }
    }
}

/// An attempt that has not ended, with its task: what recovery starts from.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenAttempt {
    /// Which.
    pub id: AttemptId,
    /// The session's label.
    pub session: String,
    /// The session.
    pub identity: Identity,
    /// How far it has come.
    pub phase: Phase,
    /// When bytes may first have reached the pane.
    pub delivered_at: Option<Timestamp>,
    /// When its session took it up.
    pub started_at: Option<Timestamp>,
    /// When a prompt may first have been submitted.
    pub submitted_at: Option<Timestamp>,
    /// Whether its agent has asked something that was answered.
    pub answered: bool,
    /// Whether a turn of its agent's has ended in a question: what follows the answer is another turn.
    pub has_said: bool,
    /// What it is a try of.
    pub task: Task,
}

/// A failed task that is left alone before its next try.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rest {
    /// Which task.
    pub task: TaskId,
    /// Until when, by the clock of the moment at which it failed; the origin of time where what is
    /// written is no time.
    pub until: Timestamp,
    /// The same as it stands in its row: other tools may write a time in another form.
    pub written: Vec<u8>,
    /// How often it was tried.
    pub tries: u32,
}

/// Why a task waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// Which task.
    pub task: TaskId,
    /// For people.
    pub reason: String,
    /// How far off the best sessions are.
    pub rankings: Vec<NamedRanking>,
}

/// A session as last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// Its label.
    pub name: String,
    /// What it is.
    pub identity: Identity,
    /// What it does.
    pub activity: Activity,
    /// Why it takes no task now; `None`: nothing keeps it from one.
    pub reason: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// What runs in it.
    pub provider: String,
    /// Where it stands.
    pub current_dir: Option<String>,
    /// The branch there.
    pub git_branch: Option<String>,
    /// The repository that this is in: the same in each of its worktrees.
    pub repository: Option<String>,
    /// Variables that it was given through us.
    pub env: BTreeMap<String, String>,
    /// The task that it has.
    pub current_task: Option<TaskId>,
    /// Tasks that completed in it.
    pub completed: u32,
    /// Tasks that failed in it.
    pub failed: u32,
    /// When its directory or branch last changed.
    pub context_at: Timestamp,
    /// Which tasks it takes, as configured.
    pub admission: Admission,
    /// Whether a person has it take no new tasks for now.
    pub paused: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The tmux sessions that show it, the one that names it first.
    pub homes: Vec<Home>,
}

impl SessionRow {
    /// Returns why it takes no task now, or that it waits for one.
    pub fn reason(&self) -> &str {
        match (&self.reason, self.activity) {
            (Some(reason), _) => reason,
            (None, Activity::Idle) => AT_PROMPT,
            (None, _) => "",
        }
    }

    /// Returns what it is called, and what it is.
    pub fn who(&self) -> Who<'_> {
        Who {
            name: &self.name,
            identity: Some(&self.identity),
            homes: &self.homes,
        }
    }

    /// Returns what a task's demand looks at.
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

/// Returns the sessions that have not ended, as far as their names go.
pub fn present(rows: &[SessionRow]) -> impl Iterator<Item = Who<'_>> + Clone {
    rows.iter()
        .filter(|row| row.activity != Activity::Gone)
        .map(SessionRow::who)
}

/// What a daemon tells of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DaemonFacts {
    /// Its process.
    pub pid: u32,
    /// Since when it runs.
    pub started_at: Timestamp,
    /// The tmux server that it watches, for people.
    pub tmux: String,
    /// What it waits for, where it cannot work; for people.
    pub waiting_for: Option<String>,
    /// The policy it was told to use.
    pub policy: PolicyId,
    /// How that policy was named, for others to load it again.
    pub policy_source: String,
    /// The settings that it was given, a JSON object.
    pub policy_settings: serde_json::Value,
    /// How long it took to load it, in milliseconds.
    pub policy_load_ms: f64,
    /// Whether it was compiled at an earlier start.
    pub policy_cached: bool,
    /// How often it, or one that stood in, has failed since.
    pub policy_failures: u64,
    /// How it failed last.
    pub policy_last_failure: Option<String>,
    /// The policy that stands in.
    pub policy_in_use: Option<PolicyId>,
    /// The rounds that are recorded.
    pub recording: Option<Recording>,
    /// The policy that decides beside the live one.
    pub shadow: Option<ShadowFacts>,
}

/// How much is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// Rounds that this daemon has recorded.
    pub rounds: u64,
    /// Bytes that all recorded rounds take.
    pub bytes: u64,
}

/// What a policy would have done that decides beside the live one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowFacts {
    /// Which.
    pub policy: PolicyId,
    /// Rounds that it decided.
    pub rounds: u64,
    /// Tasks in them.
    pub tasks: u64,
    /// Tasks that it decided otherwise than the live one.
    pub different: u64,
    /// Rounds in which it failed.
    pub failures: u64,
    /// Rounds that it was not asked about, because it was still at another.
    pub skipped: u64,
    /// How it failed last.
    pub last_failure: Option<String>,
}
