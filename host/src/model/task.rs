//! A task's life: what a sender asks for, the states that it passes through, and the one function
//! that holds every transition.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};
use thiserror::Error;

pub(crate) use super::attempt::backoff;
pub use super::attempt::{Attempt, NamedRanking, Outcome, Phase, Response, RuledOut, TurnFacts};
pub use super::content::{
    ContentError, LONGEST_VARIABLE, MAX_CONTENT, VariableError, check_content, check_task,
    check_variable, control, is_variable_name, summary,
};
use super::eligibility::Demand;
use super::headless::HeadlessConversation;
use super::ids::{Identity, TaskId};
pub use super::metadata::Metadata;
use super::naming::SessionRef;

/// What a task consists of, and therefore what may run it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A text for an agent.
    Prompt,
    /// A command line for a shell.
    Command,
}

/// The state of a task: the names that users see and the database stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::Display, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Status {
    /// Waits for a session.
    Pending,
    /// A session is claimed for it; nothing of it has run yet.
    Assigned,
    /// It runs.
    InProgress,
    /// Its agent waits for a person: it asks something, or shows a dialog.
    WaitingInput,
    /// It succeeded.
    Completed,
    /// It failed; `error` says why.
    Failed,
    /// A person withdrew it.
    Cancelled,
    /// Whether it ran cannot be established; only a person can move it on.
    Uncertain,
}

/// What happens to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A round gave it to a session.
    Claim,
    /// Its session is about to be typed into.
    Deliver,
    /// Its prompt is in the agent's composer and about to be submitted.
    Submit,
    /// Its session took it up.
    Start,
    /// Its agent waits for a person.
    Ask,
    /// Its agent continues.
    GoOn,
    /// Its agent has reached a limit of its provider, which is not the task's fault.
    Hold,
    /// Its session did not take it: nothing was typed, or nothing that was typed ran.
    Refuse,
    /// The daemon that had claimed it ended before anything was typed.
    Withdraw,
    /// It succeeded.
    Complete,
    /// It failed for good.
    Fail,
    /// It failed, and tries are left.
    Retry,
    /// A person asks for it to be ended.
    RequestCancel,
    /// It was cancelled.
    Cancel,
    /// Its outcome cannot be established.
    Lose,
    /// A person decides that an uncertain task is sent again.
    Resend,
    /// A person decides that an uncertain task was done.
    MarkDone,
    /// A person decides that an uncertain task failed.
    MarkFailed,
    /// A person wants a task that did not succeed to be tried again.
    Requeue,
    /// A person gives it to another session: at once, or after it has been interrupted.
    Reassign,
    /// It was interrupted to go to another session.
    Return,
    /// A task that it follows did not succeed.
    Abandon,
    /// Its database was restored from a backup or repaired: it may have run without a trace in it.
    Doubt,
}

/// An event that cannot happen to a task in this state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a task that is {from} cannot {event}")]
pub struct IllegalTransition {
    /// The state of the task.
    pub from: Status,
    /// The event that was to happen to it.
    pub event: Event,
}

impl Status {
    /// Every state, in the order of a task's life.
    pub const ALL: [Self; Self::VARIANTS.len()] = *Self::VARIANTS.as_array().expect("its length");

    /// Returns the state that follows `event`. This is the only place that knows.
    ///
    /// # Errors
    /// The event cannot happen in this state.
    pub fn after(self, event: Event) -> Result<Self, IllegalTransition> {
        use Event::*;
        use Status::*;
        match (self, event) {
            (Pending, Claim) => Ok(Assigned),
            (Assigned, Deliver | Submit) => Ok(Assigned),
            (Assigned, Start) => Ok(InProgress),
            (Assigned, Refuse | Withdraw) => Ok(Pending),
            (Assigned | InProgress | WaitingInput, Ask) => Ok(WaitingInput),
            (WaitingInput, GoOn) => Ok(InProgress),
            // A job may be over before its start is noticed.
            (Assigned | InProgress | WaitingInput, Complete) => Ok(Completed),
            (Assigned | InProgress | WaitingInput, Fail) => Ok(Failed),
            (Assigned | InProgress | WaitingInput, Retry | Hold) => Ok(Pending),
            (Assigned | InProgress | WaitingInput, Lose) => Ok(Uncertain),
            (Assigned | InProgress | WaitingInput, RequestCancel) => Ok(self),
            (Pending | Assigned | InProgress | WaitingInput | Uncertain, Cancel) => Ok(Cancelled),
            (Uncertain, Resend) => Ok(Pending),
            (Uncertain, MarkDone) => Ok(Completed),
            (Uncertain, MarkFailed) => Ok(Failed),
            (Failed | Cancelled, Requeue) => Ok(Pending),
            (Pending | Assigned | InProgress | WaitingInput, Reassign) => Ok(self),
            (Assigned | InProgress | WaitingInput, Return) => Ok(Pending),
            (Pending, Abandon) => Ok(Failed),
            (Pending | Assigned | InProgress | WaitingInput, Doubt) => Ok(Uncertain),
            (from, event) => Err(IllegalTransition { from, event }),
        }
    }

    /// Whether nothing more happens to the task by itself.
    pub fn is_settled(self) -> bool {
        matches!(
            self,
            Self::Completed | Self::Failed | Self::Cancelled | Self::Uncertain
        )
    }

    /// Whether it is known how the task ended, so that the tasks that follow it may start.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// Returns the name that users see and the database stores.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Returns the state with that name.
    pub fn from_name(name: &str) -> Option<Self> {
        name.parse().ok()
    }
}

impl Event {
    /// Returns the name under which `assignment_history` keeps it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Claim => "claimed",
            Self::Deliver => "delivering",
            Self::Submit => "submitted",
            Self::Start => "started",
            Self::Ask => "waiting_input",
            Self::GoOn => "resumed",
            Self::Hold => "held",
            Self::Refuse => "refused",
            Self::Withdraw => "withdrawn",
            Self::Complete => "completed",
            Self::Fail => "failed",
            Self::Retry => "retrying",
            Self::RequestCancel => "cancel_requested",
            Self::Cancel => "cancelled",
            Self::Lose => "uncertain",
            Self::Resend => "resent",
            Self::MarkDone => "marked_done",
            Self::MarkFailed => "marked_failed",
            Self::Requeue => "requeued",
            Self::Reassign => "reassigned",
            Self::Return => "returned",
            Self::Abandon => "abandoned",
            Self::Doubt => "doubted",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Claim => "be claimed",
            Self::Deliver => "be delivered",
            Self::Submit => "be submitted",
            Self::Start => "start",
            Self::Ask => "wait for an answer",
            Self::GoOn => "continue",
            Self::Hold => "be held",
            Self::Refuse => "be refused",
            Self::Withdraw => "be withdrawn",
            Self::Complete => "complete",
            Self::Fail => "fail",
            Self::Retry => "be tried again",
            Self::RequestCancel | Self::Cancel => "be cancelled",
            Self::Lose => "be lost",
            Self::Resend => "be sent again",
            Self::MarkDone => "be marked as done",
            Self::MarkFailed => "be marked as failed",
            Self::Requeue => "be queued again",
            Self::Reassign => "be given to another session",
            Self::Return => "be returned",
            Self::Abandon => "be abandoned",
            Self::Doubt => "be doubted",
        })
    }
}

/// What a sender asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTask {
    /// What may run it.
    pub kind: Kind,
    /// The command line or the prompt; see [`check_content`].
    pub content: String,
    /// Higher goes first.
    pub priority: i32,
    /// Who queued it, for people: `cli`, `api`.
    pub source: String,
    /// Context, prerequisites and preferences.
    pub metadata: Metadata,
    /// The one session that may run it.
    pub target_session: Option<SessionRef>,
    /// The one provider that may run it.
    pub target_provider: Option<String>,
    /// How often a failed attempt is followed by another.
    pub max_retries: u32,
    /// After how many seconds an attempt is ended; `None` or 0: never.
    pub timeout_seconds: Option<u64>,
    /// Not to be given to a session before this time.
    pub not_before: Option<Timestamp>,
    /// The tasks that must have ended first.
    pub after: Vec<Parent>,
    /// What happens to this task if one of them does not complete.
    pub if_parent_fails: IfParentFails,
    /// Where the values of [`Metadata::secret_env`] are kept.
    pub secrets: Option<String>,
}

/// A task that another one follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// A task that is queued already.
    Task(TaskId),
    /// The task at this position among those that are queued together; it comes before the
    /// follower.
    Earlier(usize),
}

/// What happens to a task whose parent failed or was cancelled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(IntoStaticStr, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum IfParentFails {
    /// It fails, too.
    #[default]
    Fail,
    /// It runs anyway.
    Release,
}

impl IfParentFails {
    /// Returns the name that users see and the database stores.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl NewTask {
    /// Returns a command for a shell that asks nothing of its surroundings.
    pub fn command(content: impl Into<String>) -> Self {
        Self {
            kind: Kind::Command,
            content: content.into(),
            priority: 0,
            source: "cli".to_owned(),
            metadata: Metadata::default(),
            target_session: None,
            target_provider: None,
            max_retries: 0,
            timeout_seconds: None,
            not_before: None,
            after: Vec::new(),
            if_parent_fails: IfParentFails::default(),
            secrets: None,
        }
    }

    /// Returns a prompt for an agent that asks nothing of its surroundings.
    pub fn prompt(content: impl Into<String>) -> Self {
        Self {
            kind: Kind::Prompt,
            ..Self::command(content)
        }
    }
}

/// A task as the store keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Its number.
    pub id: TaskId,
    /// What may run it.
    pub kind: Kind,
    /// The command line or the prompt.
    pub content: String,
    /// Its state.
    pub status: Status,
    /// Higher goes first.
    pub priority: i32,
    /// The session that has it, or had it last.
    pub session: Option<String>,
    /// The exit code of the last attempt.
    pub exit_code: Option<i32>,
    /// Why it failed, or why its last attempt failed.
    pub error: Option<String>,
    /// When it was queued.
    pub created_at: Timestamp,
    /// When it was last given to a session.
    pub assigned_at: Option<Timestamp>,
    /// When it was settled.
    pub completed_at: Option<Timestamp>,
    /// Context, prerequisites and preferences.
    pub metadata: Metadata,
    /// What is wrong with the stored metadata, which then counts as empty. Such a task must not run
    /// as if nothing had been asked.
    pub metadata_error: Option<String>,
    /// The one session that may run it.
    pub target_session: Option<SessionRef>,
    /// The one provider that may run it.
    pub target_provider: Option<String>,
    /// How many attempts have ended, not counting refused ones.
    pub attempts: u32,
    /// How many of them failed since a person last queued the task.
    pub tries: u32,
    /// How often a failed attempt is followed by another.
    pub max_retries: u32,
    /// After how many seconds an attempt is ended; `None` or 0: never.
    pub timeout_seconds: Option<u64>,
    /// Not to be claimed before this time.
    pub not_before: Option<Timestamp>,
    /// How many of the tasks that it follows have not ended.
    pub blocked: u32,
    /// Increases whenever a person changes what is asked.
    pub revision: i64,
    /// The session that ran the task that it follows; of several, the one that ended last.
    pub follows: Option<Identity>,
    /// Where the values of [`Metadata::secret_env`] are kept.
    pub secrets: Option<String>,
    /// The latest reason to wait.
    pub wait_reason: Option<String>,
    /// What its agent asks, while it waits for a person.
    pub asks: Option<String>,
    /// How much of an agent's response is kept; `None`: no agent has ended a turn for it.
    pub response: Option<Response>,
    /// The conversation that a headless prompt continues: that of the tasks that it follows in which the
    /// same agent was asked; of several, the one that ended last.
    pub conversation: Option<HeadlessConversation>,
    /// When a person asked to cancel it.
    pub cancel_requested: Option<Timestamp>,
}

impl Task {
    /// Returns what its sender asked for: a headless prompt is run by a shell, but it is a prompt.
    pub fn asked(&self) -> Kind {
        match self.metadata.headless {
            Some(_) => Kind::Prompt,
            None => self.kind,
        }
    }

    /// Returns the directory in which it runs, if that is not the session's own: the one that was asked
    /// for, or else that of the conversation that it continues.
    pub fn directory(&self) -> Option<&str> {
        let asked = self.metadata.working_dir.as_deref();
        asked.or_else(|| self.conversation.as_ref()?.directory.as_deref())
    }

    /// Returns the command by which its agent is asked without a terminal, word by word.
    pub fn headless_words(&self) -> Option<Vec<String>> {
        let headless = self.metadata.headless.as_ref()?;
        let conversation = self.conversation.as_ref();
        let name = conversation.map(|conversation| conversation.name.as_str());
        Some(headless.spec.words(name))
    }

    /// Returns the task that `new` becomes when it is queued at `now` under this number.
    pub fn queued(id: TaskId, new: &NewTask, now: Timestamp) -> Self {
        Self {
            id,
            kind: new.kind,
            content: new.content.clone(),
            status: Status::Pending,
            priority: new.priority,
            session: None,
            exit_code: None,
            error: None,
            created_at: now,
            assigned_at: None,
            completed_at: None,
            metadata: new.metadata.clone(),
            metadata_error: None,
            target_session: new.target_session.clone(),
            target_provider: new.target_provider.clone(),
            attempts: 0,
            tries: 0,
            max_retries: new.max_retries,
            timeout_seconds: new.timeout_seconds,
            not_before: new.not_before,
            blocked: 0,
            revision: 0,
            follows: None,
            secrets: new.secrets.clone(),
            wait_reason: None,
            asks: None,
            response: None,
            conversation: None,
            cancel_requested: None,
        }
    }

    /// Returns the first line of the content, cut at 200 characters.
    pub fn summary(&self) -> String {
        summary(&self.content)
    }

    /// Returns the providers that the task asks for, in order of preference.
    pub fn preferred_providers(&self) -> Vec<String> {
        preferred(self.target_provider.as_ref(), &self.metadata)
    }

    /// Returns the providers that may run the task; empty: any that suits its kind.
    pub fn allowed_providers(&self) -> Vec<String> {
        if self.metadata.allow_fallback {
            Vec::new()
        } else {
            self.preferred_providers()
        }
    }

    /// Returns what the task demands of a session.
    pub fn demand(&self) -> Demand {
        Demand::of(self)
    }

    /// Returns the task as if it were sent now. The tasks that it follows are not part of it.
    pub fn as_new(&self) -> NewTask {
        NewTask {
            kind: self.kind,
            content: self.content.clone(),
            priority: self.priority,
            source: String::new(),
            metadata: self.metadata.clone(),
            target_session: self.target_session.clone(),
            target_provider: self.target_provider.clone(),
            max_retries: self.max_retries,
            timeout_seconds: self.timeout_seconds,
            not_before: self.not_before,
            after: Vec::new(),
            if_parent_fails: IfParentFails::default(),
            secrets: self.secrets.clone(),
        }
    }
}

impl Task {
    /// Lets the task ask for what `new` asks.
    pub fn take(&mut self, new: NewTask) {
        self.kind = new.kind;
        self.content = new.content;
        self.priority = new.priority;
        self.metadata = new.metadata;
        self.target_session = new.target_session;
        self.target_provider = new.target_provider;
        self.max_retries = new.max_retries;
        self.timeout_seconds = new.timeout_seconds;
        self.not_before = new.not_before;
        self.secrets = new.secrets;
    }
}

impl NewTask {
    /// Returns the providers that the task asks for, in order of preference.
    pub fn preferred_providers(&self) -> Vec<String> {
        preferred(self.target_provider.as_ref(), &self.metadata)
    }
}

/// Returns the providers that are asked for, in order of preference, each once.
fn preferred(target: Option<&String>, metadata: &Metadata) -> Vec<String> {
    let mut providers = Vec::new();
    for provider in target
        .into_iter()
        .chain(&metadata.preferred_providers)
        .chain(&metadata.fallback_providers)
    {
        if !providers.contains(provider) {
            providers.push(provider.clone());
        }
    }
    providers
}

#[cfg(test)]
mod tests;
