//! A task's life: what a sender asks for, the states that it passes through, and the one function
//! that holds every transition.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};
use thiserror::Error;

use super::eligibility::Demand;
use super::headless::HeadlessConversation;
use super::ids::{AttemptId, Identity, TaskId};
use super::matching::{PolicyId, Term};
pub use super::metadata::Metadata;
use super::naming::SessionRef;

/// The largest content of a task, in bytes. Anything longer belongs in a file that the task names.
pub const MAX_CONTENT: usize = 1 << 20;

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
#[derive(IntoStaticStr)]
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

/// What is wrong with the content of a task.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ContentError {
    /// There is nothing to do.
    #[error("the task is empty: say what is to be done")]
    Empty,
    /// See [`MAX_CONTENT`].
    #[error(
        "the task has {0} bytes, but at most {MAX_CONTENT} are accepted: put it into a file and send a command that reads it"
    )]
    TooLong(usize),
    /// No shell and no terminal accepts a NUL.
    #[error("the task contains a NUL byte at offset {0}: remove it")]
    Nul(usize),
    /// An agent is given its prompt as a paste, which a control character could end.
    #[error("the prompt contains the control character {0} at offset {1}: remove it")]
    Control(String, usize),
}

/// Checks that `content` can be a task: not blank, at most [`MAX_CONTENT`] bytes, no NUL.
///
/// # Errors
/// The first of these conditions that does not hold.
pub fn check_content(content: &str) -> Result<(), ContentError> {
    if content.trim().is_empty() {
        return Err(ContentError::Empty);
    }
    if content.len() > MAX_CONTENT {
        return Err(ContentError::TooLong(content.len()));
    }
    match content.find('\0') {
        Some(offset) => Err(ContentError::Nul(offset)),
        None => Ok(()),
    }
}

/// Checks that `content` can be a task of that kind: like [`check_content`], and a prompt must
/// contain no control characters except tabs and line endings.
///
/// # Errors
/// The first of these conditions that does not hold.
pub fn check_task(kind: Kind, content: &str) -> Result<(), ContentError> {
    check_content(content)?;
    match control(content).filter(|_| kind == Kind::Prompt) {
        None => Ok(()),
        Some((offset, char)) => {
            let name = format!("U+{:04X}", u32::from(char));
            Err(ContentError::Control(name, offset))
        }
    }
}

/// Returns the first control character of a text that is neither a tab nor a line ending.
pub fn control(text: &str) -> Option<(usize, char)> {
    let mut chars = text.char_indices().peekable();
    while let Some((offset, char)) = chars.next() {
        let ends_line = char == '\r' && chars.peek().is_some_and(|(_, next)| *next == '\n');
        if char.is_control() && !matches!(char, '\t' | '\n') && !ends_line {
            return Some((offset, char));
        }
    }
    None
}

/// Whether `name` can be a variable in every shell: letters, digits and `_`, with no digit first.
pub fn is_variable_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// How long a variable may be, including its name, the `=` and the final NUL. With a longer one,
/// Linux starts no program (`MAX_ARG_STRLEN`, see `execve(2)`).
pub const LONGEST_VARIABLE: usize = 128 << 10;

/// Why a variable is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VariableError {
    /// See [`is_variable_name`].
    #[error("the name must consist of letters, digits and `_`, and not begin with a digit")]
    Name,
    /// It could not be passed to a program.
    #[error("a value must not contain a NUL byte")]
    Nul,
    /// No program could be started with it.
    #[error(
        "with its name it has {0} bytes, but a shell that exports more than {LONGEST_VARIABLE} can no longer start programs: put it into a file"
    )]
    TooLong(usize),
}

/// Checks that every shell can be given this variable, and can still start programs with it.
///
/// # Errors
/// The first rule that is broken.
pub fn check_variable(name: &str, value: &str) -> Result<(), VariableError> {
    let length = name.len() + value.len() + 2;
    match value {
        _ if !is_variable_name(name) => Err(VariableError::Name),
        _ if value.contains('\0') => Err(VariableError::Nul),
        _ if length > LONGEST_VARIABLE => Err(VariableError::TooLong(length)),
        _ => Ok(()),
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

/// Returns the first line of `content` that is not blank, cut at 200 characters.
pub fn summary(content: &str) -> String {
    let line = content
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or_default();
    line.chars().take(200).collect()
}

/// The phase that an attempt has reached. Written before the act that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Phase {
    /// The session is reserved; its job is being prepared.
    Claimed,
    /// From here on bytes may have reached the pane.
    Delivering,
    /// A prompt is in its agent's composer: from here on it may have been submitted.
    Submitted,
    /// The session took the job up.
    #[strum(serialize = "in_progress")]
    Running,
    /// Nothing more happens to it.
    Ended,
}

impl Phase {
    /// Returns the name that the database stores.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Returns the phase with that name.
    pub fn from_name(name: &str) -> Option<Self> {
        name.parse().ok()
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// Exit code 0.
    Completed,
    /// Another exit code, none at all, or a failed preparation.
    Failed,
    /// It took longer than its sender allowed.
    TimedOut,
    /// A person ended it.
    Cancelled,
    /// The session did not take it; this does not count as an attempt of the task.
    Refused,
    /// Its daemon ended first; this does not count as an attempt of the task.
    Withdrawn,
    /// A person gave the task to another session.
    Reassigned,
    /// The agent has reached a limit of its provider; this does not count as an attempt of the
    /// task.
    #[strum(serialize = "rate_limited")]
    Limited,
    /// The outcome cannot be established.
    Uncertain,
}

impl Outcome {
    /// Returns the name that users see and the database stores.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Returns the outcome with that name.
    pub fn from_name(name: &str) -> Option<Self> {
        name.parse().ok()
    }

    /// Whether it counts as one of the task's tries: something of the task was typed and taken up,
    /// or its own preparation failed.
    pub fn counts(self) -> bool {
        !matches!(self, Self::Refused | Self::Withdrawn | Self::Limited)
    }

    /// Whether it uses up one of the tries that the sender allows.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::TimedOut)
    }
}

/// The longest rest before a retry; the first ones are 1 s, 2 s, 4 s and so on.
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);

/// Returns how long a task rests after this many failed tries.
pub(crate) fn backoff(tries: u32) -> Duration {
    let doublings = tries.saturating_sub(1).min(16);
    Duration::from_secs(1 << doublings).min(LONGEST_BACKOFF)
}

/// How well a session suited, kept with the attempt. It holds names instead of positions, so that
/// it can be read long after the sessions are gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedRanking {
    /// The session.
    pub session: String,
    /// The sum of the terms.
    pub points: i32,
    /// What the points consist of.
    pub terms: Vec<Term>,
}

/// One try to run a task in a session, as the store keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// Its id.
    pub id: AttemptId,
    /// 1 for the task's first try.
    pub number: u32,
    /// The session's name at the time.
    pub session: String,
    /// The session itself, whatever its name is now.
    pub identity: Identity,
    /// The phase that it has reached.
    pub phase: Phase,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The exit code of the command.
    pub exit_code: Option<i32>,
    /// Why it failed.
    pub error: Option<String>,
    /// When its session was claimed.
    pub claimed_at: Timestamp,
    /// When its session took it up.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What is known about the agent's turn.
    pub turn: Option<TurnFacts>,
    /// The policy that decided.
    pub policy: PolicyId,
    /// The session taken, then the runners-up.
    pub rankings: Vec<NamedRanking>,
    /// The sessions that could not be taken, and why.
    pub ruled_out: Vec<RuledOut>,
}

/// What is known about an agent's turn, kept with the attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnFacts {
    /// Where the response was read from: `transcript`, `report`, `headless`, or in part `screen` or
    /// `output`.
    pub source: String,
    /// The agent's own record of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transcript: Option<String>,
    /// When it began, according to the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Timestamp>,
    /// When it ended, according to the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// The agent that was asked, if that was without a terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The name of the conversation that a headless agent was asked in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<String>,
    /// The directory in which a headless agent ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// What it has used, by its own account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<serde_json::Value>,
    /// The files that the agent changed, as it names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
}

/// How much of an agent's response is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Response {
    /// All of it: the agent has reported it, or written it down.
    #[serde(rename = "whole")]
    Whole,
    /// What could be seen of it on the screen.
    #[serde(rename = "partial (screen)")]
    Seen,
    /// What a headless agent has printed, in which no whole response was found.
    #[serde(rename = "partial (output)")]
    Printed,
}

impl Response {
    /// Whether only a part of it is kept.
    pub fn is_partial(self) -> bool {
        self != Self::Whole
    }

    /// Returns the name that people see.
    pub fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Seen => "partial (screen)",
            Self::Printed => "partial (output)",
        }
    }
}

impl TurnFacts {
    /// The source that shows no more than fits on the screen.
    pub const SCREEN: &str = "screen";

    /// The source that is all that a headless agent has printed.
    pub const OUTPUT: &str = "output";

    /// Returns how much of the response is kept.
    pub fn response(&self) -> Response {
        match self.source.as_str() {
            Self::SCREEN => Response::Seen,
            Self::OUTPUT => Response::Printed,
            _ => Response::Whole,
        }
    }
}

/// A session that a decision could not take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuledOut {
    /// Its name.
    pub session: String,
    /// Why not, in one line.
    pub reason: String,
}

#[cfg(test)]
mod tests;
