//! An attempt: one try to run a task in a session, as a machine that decides but never acts.
//!
//! ```text
//!            +---------------------------------------------------+
//!            v                                                   |
//! wants -> look (driver) -> Observation -> step -> state, acts -> perform (driver) -> Done
//! ```
//!
//! `step` is a pure function of the state, an observation and the time: no I/O, no clock, no await.
//! [`job`] is the machine for a command in a shell, [`turn`] the one for a prompt at an agent. Only
//! the [`driver`] commits an attempt's rows and touches its pane. It does so through a
//! [`World`](driver::World), of which there are two: the real one ([`hands`]) and the simulated one
//! of the tests.
//!
//! After a restart, a machine is rebuilt from its row and steps on from there.

mod describe;
pub(crate) mod driver;
#[cfg(test)]
mod driver_tests;
pub(crate) mod hands;
mod headless;
pub(crate) mod job;
#[cfg(test)]
mod job_tests;
mod observation;
pub(crate) mod record;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod turn;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::spool::Taken;
use crate::agents::nonce::NonceKey;
use crate::agents::screen;
use crate::model::clock::{Now, Tick};
use crate::model::ids::{AttemptId, Identity, TaskId};
use crate::model::session::Shell;
use crate::model::task::{Event, Outcome, Phase, Task, TurnFacts, backoff};
use crate::probe;
use crate::store::{Limit, Reply, Request};
use crate::tmux::{Typed, TypedLine};

pub(crate) use observation::{
    AgentSight, Files, Observation, PaneSight, Presence, Query, Record, SameProfile, Shown, Sight,
    Wants, Written,
};

/// A session that did not take a task is skipped for a moment, so that a pane whose cursor never
/// stays still does not cause a busy loop.
const HOLD: Duration = Duration::from_millis(500);

/// A session that gave no sign of life is skipped for longer.
const UNRESPONSIVE: Duration = Duration::from_secs(30);

/// What an attempt is about. This never changes.
#[derive(Debug, Clone)]
pub(crate) struct Brief {
    /// The attempt's id.
    pub(crate) attempt: AttemptId,
    /// The task that it tries to run.
    pub(crate) task: Task,
    /// What the session was called when the task was given to it.
    pub(crate) session: String,
    /// The session.
    pub(crate) identity: Identity,
}

/// What every attempt keeps to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// How long a session may take to take up what it was given.
    pub(crate) start_within: Duration,
    /// How long a prerequisite may take if its task does not say.
    pub(crate) prerequisite_within: Duration,
    /// What the signs of prompts follow from.
    pub(crate) nonces: NonceKey,
}

/// The machine of an attempt.
#[derive(Debug, Clone)]
pub(crate) enum Machine {
    /// A command in a shell.
    Job(Box<job::Job>),
    /// A prompt at an agent.
    Turn(Box<turn::Turn>),
}

impl Machine {
    /// Returns what the attempt is about.
    pub(crate) fn brief(&self) -> &Brief {
        match self {
            Self::Job(job) => job.brief(),
            Self::Turn(turn) => turn.brief(),
        }
    }

    /// Returns what must be looked at before the next step.
    pub(crate) fn wants(&self) -> Wants {
        match self {
            Self::Job(job) => job.wants(),
            Self::Turn(turn) => turn.wants(),
        }
    }

    /// Takes the attempt one step further.
    pub(crate) fn step(self, seen: &Observation, now: Now) -> (Self, Next) {
        match self {
            Self::Job(job) => {
                let (job, next) = job.step(seen, now);
                (Self::Job(Box::new(job)), next)
            }
            Self::Turn(turn) => {
                let (turn, next) = turn.step(seen, now);
                (Self::Turn(Box::new(turn)), next)
            }
        }
    }

    /// Whether nothing more happens.
    pub(crate) fn has_ended(&self) -> bool {
        match self {
            Self::Job(job) => job.has_ended(),
            Self::Turn(turn) => turn.has_ended(),
        }
    }
}

/// What a step has decided.
#[derive(Debug, Clone, Default)]
pub(crate) struct Next {
    /// What to do, in order. The first act that fails is the last.
    pub(crate) acts: Vec<Act>,
    /// After how long to look again at the latest; `None`: at the next look at the sessions.
    pub(crate) again: Option<Duration>,
    /// Whether the sessions are to be looked at anew for it; otherwise only what belongs to the attempt.
    pub(crate) anew: bool,
}

impl Next {
    fn wait() -> Self {
        Self::default()
    }

    fn again(after: Duration) -> Self {
        Self {
            again: Some(after),
            anew: true,
            ..Self::default()
        }
    }

    /// Looks again at what belongs to the attempt: its files, and what it was told last of the sessions.
    fn at_own(after: Duration) -> Self {
        Self {
            again: Some(after),
            ..Self::default()
        }
    }

    fn act(acts: impl Into<Vec<Act>>) -> Self {
        Self {
            acts: acts.into(),
            ..Self::default()
        }
    }
}

/// What a machine wants done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Act {
    /// Check whether the task's directory can be entered, and the branch there if one is required.
    /// This may take a while; a person's request ends it.
    LookAtPlace {
        /// The session's working directory.
        stands: Option<String>,
    },
    /// Write the files of a job.
    WriteJob {
        /// The shell for which they are written.
        shell: Shell,
        /// The position of its cursor.
        cursor: (u32, u32),
        /// Whether the pane is piped to someone else.
        piped: bool,
        /// Whether the shell is to report what it exports before the job.
        untold: bool,
        /// Whether the shell takes the job up by a key.
        tells: bool,
    },
    /// Run the task's prerequisites alongside the agent. This may take a while.
    RunPrerequisites {
        /// The session's working directory.
        stands: Option<String>,
    },
    /// Commit that the attempt has reached a phase.
    Advance {
        /// The phase.
        phase: Phase,
        /// The cause, for people.
        details: String,
    },
    /// Type the line of a job.
    Type(TypedLine),
    /// Withdraw a job, unless its shell has it.
    Withdraw,
    /// End the reader of the pane's output, and wait for it briefly.
    CloseReader,
    /// Cut off what an interrupted job did not print itself.
    CutPrompt,
    /// Read what a failed preparation has printed.
    ReadPreparation,
    /// Press Ctrl-C.
    Interrupt,
    /// Signal a process group.
    Signal(u32, probe::EndSignal),
    /// Take the right to write into the pane.
    TakePane,
    /// Give up that right.
    LeavePane,
    /// Follow an agent's record from now on, if its entries have no times.
    FollowFromNow {
        /// The agent's process.
        pid: u32,
    },
    /// Treat everything that is in the record by now as old.
    AgeRecord,
    /// Paste a text.
    Paste {
        /// The text.
        text: Arc<str>,
        /// The required position of the cursor.
        cursor: (u32, u32),
        /// The required program in the foreground.
        command: String,
    },
    /// Press keys.
    Press {
        /// Literal text, typed first.
        literal: String,
        /// Keys by tmux's names.
        names: Vec<String>,
        /// The required position of the cursor.
        cursor: (u32, u32),
        /// The required program in the foreground.
        command: String,
    },
    /// Read the answer that the pane shows below the prompt.
    ReadAnswer {
        /// The prompt.
        text: Arc<str>,
        /// Whether the pane shows the alternate screen.
        alternate: bool,
    },
    /// Read which prompts the pane shows as given.
    ReadGiven {
        /// The prompt below which others are looked for.
        text: Arc<str>,
        /// Whether the pane shows the alternate screen.
        alternate: bool,
    },
    /// Commit that the agent waits for a person.
    Ask {
        /// What it asks.
        question: String,
        /// Everything that it has said.
        said: Option<String>,
    },
    /// Commit that the agent continues.
    GoOn {
        /// The cause, for people.
        details: String,
    },
    /// Commit that a reply is being given.
    TakeReply {
        /// The reply.
        reply: Reply,
        /// How it is given, for people.
        details: String,
    },
    /// Commit that the replies to the task are discarded.
    DropReplies {
        /// Why, for people.
        why: String,
    },
    /// Commit a row about the session.
    NoteSession {
        /// The row's action.
        action: &'static str,
        /// Details, for people.
        details: String,
    },
    /// Inform the part that chooses sessions.
    Tell(Note),
    /// Commit the end.
    End(Box<Ending>),
}

/// How an attempt ends.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ending {
    pub(crate) outcome: Outcome,
    pub(crate) event: Event,
    pub(crate) exit_code: Option<i32>,
    /// Why, for people; `None`: it succeeded.
    pub(crate) reason: Option<String>,
    /// How long the task rests before its next try.
    pub(crate) backoff: Option<Duration>,
    /// Where its output is.
    pub(crate) output: OutputSource,
    /// What is known about an agent's turn.
    pub(crate) turn: Option<TurnFacts>,
    /// A limit that the agent has reached.
    pub(crate) limit: Option<Limit>,
    /// What the job leaves in the session.
    pub(crate) leaves: Leaves,
}

/// Where the output of an attempt is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OutputSource {
    /// There is none.
    None,
    /// In the files of the job.
    Files,
    /// This text.
    Text(String),
}

/// What a job leaves in its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaves {
    /// Nothing that matters.
    Nothing,
    /// The shell will report its variables when it is back at its prompt.
    Variables,
    /// Something that must be undone.
    Unclean,
}

/// The shortest time for which a provider is paused.
const LEAST_PAUSE: Duration = Duration::from_secs(30);

impl Ending {
    fn new(outcome: Outcome, event: Event) -> Self {
        Self {
            outcome,
            event,
            exit_code: None,
            reason: None,
            backoff: None,
            output: OutputSource::None,
            turn: None,
            limit: None,
            leaves: Leaves::Nothing,
        }
    }

    fn because(self, reason: impl Into<String>) -> Self {
        Self {
            reason: Some(reason.into()),
            ..self
        }
    }

    /// Ends a failed try: the task is tried again if tries are left, and otherwise fails for good.
    fn failed(brief: &Brief, outcome: Outcome) -> Self {
        let tries = brief.task.tries + 1;
        let retry = tries <= brief.task.max_retries;
        let event = if retry { Event::Retry } else { Event::Fail };
        Self {
            backoff: retry.then(|| backoff(tries)),
            ..Self::new(outcome, event)
        }
    }
}

/// What an attempt reports to the part that chooses sessions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Note {
    /// Its session was typed into; what runs there may change the session's variables.
    Typed,
    /// Its session must be skipped for this long, for this reason.
    Hold(Duration, String),
    /// Its shell was asked to take the job up and declined, for this reason.
    Declined(&'static str),
    /// Its session did not take the prompt.
    Refused {
        /// Whether it was pasted already.
        pasted: bool,
    },
    /// Its turn has begun.
    Begun,
    /// No record contained its turn.
    NoRecord,
    /// The settings of sessions have changed: a provider was paused.
    Orders,
}

/// The result of an act.
#[derive(Debug, Clone)]
pub(crate) enum Done {
    /// It was carried out.
    Fine,
    /// The resolved path of the directory, or why the task cannot run there.
    Place(Result<Option<String>, String>),
    /// The line to type, now that the job is written.
    Written(Result<TypedLine, Unwritten>),
    /// The prerequisites have ended.
    Prerequisites(Result<(), String>),
    /// Whether the line, the text or the keys were typed.
    Typed(Typed),
    /// Who has the job.
    Withdrawn(Result<Taken, String>),
    /// What a failed preparation has printed, and where its shell is.
    Preparation {
        /// Its last lines.
        lines: Vec<String>,
        /// The shell's directory.
        stands: PathBuf,
        /// The branch there, or why it is not known.
        branch: Result<Option<String>, String>,
    },
    /// Whether the right to write into the pane was obtained.
    Pane(Result<bool, String>),
    /// The answer, and everything below the prompt; `None`: it cannot be read.
    Answer(Option<(String, String)>),
    /// The prompts that are shown; `None`: they cannot be read.
    Given(Option<screen::GivenPrompts>),
}

impl Done {
    /// Whether the acts after it are to be performed.
    fn is_fine(&self) -> bool {
        match self {
            Self::Fine | Self::Answer(_) | Self::Given(_) => true,
            Self::Place(result) => result.is_ok(),
            Self::Written(result) => result.is_ok(),
            Self::Prerequisites(result) => result.is_ok(),
            Self::Typed(typed) => !matches!(typed, Typed::Refused(_)),
            Self::Withdrawn(result) => result.is_ok(),
            Self::Preparation { .. } => true,
            Self::Pane(result) => matches!(result, Ok(true)),
        }
    }
}

/// Why a job was not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unwritten {
    /// Its secret values are missing; the task cannot run.
    Secrets(String),
    /// The spool cannot be written; this is not the task's fault.
    Spool(String),
}

/// How often sessions did not take a prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Refusals {
    /// In total.
    pub(crate) all: u32,
    /// After it was pasted.
    pub(crate) pasted: u32,
}

/// What all attempts are told after a look at the sessions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scan {
    /// When the look began; `None`: there was none yet.
    pub(crate) at: Option<Tick>,
    /// The sessions that exist.
    pub(crate) sessions: BTreeMap<Identity, Arc<PaneSight>>,
    /// What people request for tasks in flight.
    pub(crate) requests: BTreeMap<TaskId, Request>,
    /// What people have answered, oldest first.
    pub(crate) replies: Vec<Reply>,
}
