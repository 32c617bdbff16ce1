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
pub(crate) mod hands;
mod headless;
pub(crate) mod job;
#[cfg(test)]
mod job_tests;
pub(crate) mod record;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod turn;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::script::ScriptStep;
use super::shell::ShellAnswer;
use super::spool::Taken;
use crate::agents::fuse::{Says, Signal, Verdict};
use crate::agents::nonce::NonceKey;
use crate::agents::report::Report;
use crate::agents::told::ToldTurns;
use crate::agents::transcript::{How, Wanted};
use crate::agents::{Profile, screen};
use crate::model::clock::{Now, Tick};
use crate::model::ids::{AttemptId, Identity, TaskId};
use crate::model::session::Shell;
use crate::model::task::{Event, Outcome, Phase, Task, TurnFacts, backoff};
use crate::probe;
use crate::store::{Limit, Reply, Request};
use crate::tmux::{Typed, TypedLine};

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
}

impl Next {
    fn wait() -> Self {
        Self::default()
    }

    fn again(after: Duration) -> Self {
        Self {
            acts: Vec::new(),
            again: Some(after),
        }
    }

    fn act(acts: impl Into<Vec<Act>>) -> Self {
        Self {
            acts: acts.into(),
            again: None,
        }
    }
}

/// What a machine needs to know before its next step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wants {
    /// Whether the files that a job leaves are read.
    pub(crate) files: bool,
    /// Whether the pane's screen is read, against the profile and the text below.
    pub(crate) screen: bool,
    /// What to look for in the agent's own record.
    pub(crate) record: Option<Query>,
    /// Whether this process still runs the same program.
    pub(crate) process: Option<(u32, u64)>,
    /// The text that the content of the composer is compared with.
    pub(crate) text: Option<Arc<str>>,
    /// The profile by which the screen is read.
    pub(crate) profile: Option<SameProfile>,
}

/// A profile that equals another only if it is the very same one.
#[derive(Debug, Clone)]
pub(crate) struct SameProfile(pub(crate) Arc<Profile>);

impl PartialEq for SameProfile {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for SameProfile {}

/// A question to an agent's own record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    /// The agent's process.
    pub(crate) pid: u32,
    /// The prompt.
    pub(crate) text: Arc<str>,
    /// Its sign, if the agent's profile asks for one.
    pub(crate) nonce: Option<Arc<str>>,
    /// When the prompt was given; nothing older is about it.
    pub(crate) since: Timestamp,
    /// Whether an earlier daemon gave the prompt.
    pub(crate) resumed: bool,
    /// What the agent calls the turn, if known.
    pub(crate) turn: Option<Arc<str>>,
    /// The record that the agent says it writes to.
    pub(crate) transcript: Option<Arc<PathBuf>>,
}

impl Query {
    /// Returns what identifies the turn.
    pub(crate) fn wanted(&self) -> Wanted<'_> {
        Wanted {
            id: self.turn.as_deref(),
            text: &self.text,
            nonce: self.nonce.as_deref(),
            since: self.since,
        }
    }
}

/// What was seen of an attempt at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observation {
    /// Its session at the last look at all sessions; `None`: there was no look yet.
    pub(crate) sight: Option<Sight>,
    /// What its job has left.
    pub(crate) files: Option<Files>,
    /// The pane's screen, read just now; `None`: it was not asked for, or cannot be read.
    pub(crate) screen: Option<Shown>,
    /// What the agent has written down.
    pub(crate) record: Record,
    /// Whether the process that was asked about still runs.
    pub(crate) process_lives: bool,
    /// What a person has requested.
    pub(crate) request: Option<Request>,
    /// What people have answered, oldest first.
    pub(crate) replies: Vec<Reply>,
    /// The result of the last act since the last step.
    pub(crate) done: Option<Done>,
}

/// A session at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Sight {
    /// When the look at it began.
    pub(crate) at: Tick,
    /// What was seen.
    pub(crate) pane: Presence,
}

impl Sight {
    fn pane(&self) -> Option<&PaneSight> {
        match &self.pane {
            Presence::Here(pane) => Some(pane),
            Presence::Missing { .. } => None,
        }
    }
}

/// Whether a session was found.
#[derive(Debug, Clone)]
pub(crate) enum Presence {
    /// It is.
    Here(Arc<PaneSight>),
    /// It is not among the sessions.
    Missing {
        /// Whether the pane's process and its tmux server still run; if so, it is only not seen.
        lives: bool,
    },
}

/// What a look shows of a session.
#[derive(Debug, Clone)]
pub(crate) struct PaneSight {
    /// Whether nothing runs there and nobody is using it.
    pub(crate) idle: bool,
    /// Whether its shell waits for a line, so whatever it was given has ended.
    pub(crate) at_prompt: bool,
    /// Whether its shell itself reports on its line, and takes a job up by a key.
    pub(crate) tells: bool,
    /// The process group in the foreground, unless it is the shell's own.
    pub(crate) foreground: Option<u32>,
    /// The cursor's column and row.
    pub(crate) cursor: (u32, u32),
    /// Whether its output is piped somewhere.
    pub(crate) piped: bool,
    /// Its working directory.
    pub(crate) directory: Option<String>,
    /// The shell, if it is one.
    pub(crate) shell: Option<Shell>,
    /// Whether the shell must report what it exports before a job, because that is not known.
    pub(crate) untold: bool,
    /// The agent, if it is one.
    pub(crate) agent: Option<AgentSight>,
}

/// What a look shows of an agent.
#[derive(Debug, Clone)]
pub(crate) struct AgentSight {
    pub(crate) profile: Arc<Profile>,
    /// The id of its process.
    pub(crate) pid: u32,
    /// Together with the id, this identifies the process for good.
    pub(crate) began: u64,
    /// When that process started.
    pub(crate) started: Option<Timestamp>,
    /// The program in the foreground, as tmux calls it.
    pub(crate) command: String,
    /// What it has last reported itself.
    pub(crate) report: Option<Report>,
    /// The turns that it has reported by their names.
    pub(crate) told: ToldTurns,
    pub(crate) signals: Vec<Signal>,
    pub(crate) verdict: Verdict,
    /// Whether it is known to keep no record, whatever its profile says.
    pub(crate) keeps_none: bool,
    /// How long nothing has appeared there, at least.
    pub(crate) quiet: Duration,
    /// The record that it writes to, if known.
    pub(crate) record: Option<PathBuf>,
    /// Whether it shows the alternate screen.
    pub(crate) alternate: bool,
}

impl AgentSight {
    fn says(&self, source: crate::agents::fuse::SignalSource, says: Says) -> Option<&Signal> {
        let mut signals = self.signals.iter();
        signals.find(|signal| signal.source == source && signal.says == says)
    }
}

/// The files of a job.
#[derive(Debug, Clone, Default)]
pub(crate) struct Files {
    /// Who has the job.
    pub(crate) taken: Option<Taken>,
    /// Whether the script exists.
    pub(crate) script: bool,
    /// The exit code, once it is completely written.
    pub(crate) exit: Option<i32>,
    /// Whether a process of the job is stopped, or the exit code says that it was.
    pub(crate) stopped: bool,
    /// Whether the file of the exit code exists but is empty.
    pub(crate) exit_empty: bool,
    /// The status of the line by which the shell ran the job, if the shell is back at its prompt
    /// and the job has left no code.
    pub(crate) back: Option<i32>,
    /// How the shell has responded to the key.
    pub(crate) said: Option<ShellAnswer>,
    /// The step that was last recorded, and how long ago by the clock of the file system.
    pub(crate) step: Option<(ScriptStep, Duration)>,
    /// Whether its output is complete: the reader has ended, or there is none.
    pub(crate) output_whole: bool,
}

/// An agent's screen, interpreted.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) says: Says,
    /// What was seen, for people.
    pub(crate) detail: String,
    /// Whether the composer holds our text and nothing else.
    pub(crate) holds_text: bool,
    /// Whether the composer holds our text or a part of it, and nothing else.
    pub(crate) part_of_text: bool,
    /// Whether the content of the composer has to do with our text.
    pub(crate) near_text: bool,
    /// Whether the cursor's line is an idle one with our text and nothing else, for a program that has no
    /// composer.
    pub(crate) line_holds_text: bool,
    /// How often our text is shown as one that was given.
    pub(crate) given: usize,
    /// The content of the composer.
    pub(crate) draft: Option<String>,
    /// Whether the pane is in copy mode or another mode.
    pub(crate) in_mode: bool,
    /// The cursor's position, whether it is shown or not.
    pub(crate) cursor: (u32, u32),
}

impl Shown {
    /// Returns why nothing may be typed there.
    fn reason(&self) -> &str {
        if self.in_mode {
            "the pane is in copy mode"
        } else {
            &self.detail
        }
    }
}

/// What an agent's own record says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    /// The turn of the text that was asked about.
    pub(crate) own: Option<Written>,
    /// The latest turn that began since then.
    pub(crate) latest: Option<Written>,
    /// The path of the record.
    pub(crate) path: Option<PathBuf>,
    /// Whether the text was ever found in it.
    pub(crate) found: bool,
    /// Whether several records contain the text, so that none is believed.
    pub(crate) several: bool,
}

/// A turn as an agent's own record describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// What the agent calls it.
    pub(crate) id: Option<String>,
    /// How it ended; `None`: it has not ended.
    pub(crate) how: Option<How>,
    /// After it has ended, its final message, or everything that it said.
    pub(crate) response: Option<String>,
    pub(crate) began: Option<Timestamp>,
    pub(crate) ended: Option<Timestamp>,
    /// When anything about it was last written.
    pub(crate) last: Option<Timestamp>,
    /// The files that it changed.
    pub(crate) files: Vec<String>,
    /// How it has ended, with its final message, if the agent is idle: the record alone does not tell.
    pub(crate) paused: Option<(How, Option<String>)>,
    /// Everything that it said, if nothing has been written to it for minutes.
    pub(crate) said: Option<String>,
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
    /// Notify a person of it, in the ways that are configured.
    TellPerson {
        /// What it asks.
        question: String,
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
