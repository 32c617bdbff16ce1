//! An attempt: one try to run a task in a session, as a machine that decides and never acts.
//!
//! ```text
//!            +---------------------------------------------------+
//!            v                                                   |
//! wants -> look (driver) -> Observation -> step -> state, acts -> perform (driver) -> Done
//! ```
//!
//! `step` is a pure function of the state, an observation and the time: no I/O, no clock, no await.
//! [`job`] is the machine for a command in a shell, [`turn`] the one for a prompt at an agent. Only
//! the [`driver`] commits an attempt's rows and touches its pane; it does so through a [`World`](driver::World),
//! of which there are two: the real one ([`hands`]) and the simulated one of the tests.
//!
//! After a restart a machine is built again from its row and steps on from there.

mod describe;
pub(crate) mod driver;
pub(crate) mod hands;
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

use super::script::Step;
use super::shell::Said;
use super::spool::Taken;
use crate::agents::fuse::{Says, Signal, Verdict};
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
/// stands still does not become a busy loop.
const HOLD: Duration = Duration::from_millis(500);

/// A session that gave no sign of life is skipped for longer.
const UNRESPONSIVE: Duration = Duration::from_secs(30);

/// What an attempt is about. It never changes.
#[derive(Debug, Clone)]
pub(crate) struct Brief {
    /// Which attempt.
    pub(crate) attempt: AttemptId,
    /// The task that it is a try of.
    pub(crate) task: Task,
    /// What the session was called when the task was given to it.
    pub(crate) session: String,
    /// The session.
    pub(crate) identity: Identity,
}

/// The limits that every attempt keeps to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// How long a session may take to take up what it was given.
    pub(crate) start_within: Duration,
    /// After how long a prerequisite is ended, where its task does not say.
    pub(crate) prerequisite_within: Duration,
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
    /// Returns what it is about.
    pub(crate) fn brief(&self) -> &Brief {
        match self {
            Self::Job(job) => job.brief(),
            Self::Turn(turn) => turn.brief(),
        }
    }

    /// Returns what is to be looked at before the next step.
    pub(crate) fn wants(&self) -> Wants {
        match self {
            Self::Job(job) => job.wants(),
            Self::Turn(turn) => turn.wants(),
        }
    }

    /// Takes the attempt a step further.
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
    /// What is to be done, in order. The first act that does not succeed is the last.
    pub(crate) acts: Vec<Act>,
    /// After how long to look again at the latest; `None`: when the sessions are next looked at.
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
    /// The files that a job leaves.
    pub(crate) files: bool,
    /// The screen of the pane, read against this profile and this text.
    pub(crate) screen: bool,
    /// What the agent has written down since about this text.
    pub(crate) record: Option<Query>,
    /// Whether this process still runs the same program.
    pub(crate) process: Option<(u32, u64)>,
    /// What stands in the composer is held against this text.
    pub(crate) text: Option<Arc<str>>,
    /// By which profile a screen is read.
    pub(crate) profile: Option<SameProfile>,
}

/// A profile, the same one only where it is the very same.
#[derive(Debug, Clone)]
pub(crate) struct SameProfile(pub(crate) Arc<Profile>);

impl PartialEq for SameProfile {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for SameProfile {}

/// A question for an agent's own record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    /// The agent's process.
    pub(crate) pid: u32,
    /// The prompt.
    pub(crate) text: Arc<str>,
    /// Nothing older is about it.
    pub(crate) since: Timestamp,
    /// Whether an earlier daemon has given the prompt.
    pub(crate) resumed: bool,
    /// What the agent calls the turn, where that is known.
    pub(crate) turn: Option<Arc<str>>,
    /// The record that the agent says it writes.
    pub(crate) transcript: Option<Arc<PathBuf>>,
}

impl Query {
    /// Returns what the turn is looked for by.
    pub(crate) fn wanted(&self) -> Wanted<'_> {
        Wanted {
            id: self.turn.as_deref(),
            text: &self.text,
            since: self.since,
        }
    }
}

/// What was seen of an attempt at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observation {
    /// Its session, as the sessions were last looked at; `None`: they were not yet.
    pub(crate) sight: Option<Sight>,
    /// What its job has left.
    pub(crate) files: Option<Files>,
    /// The pane's screen, read this moment; `None`: it was not asked for, or cannot be read.
    pub(crate) screen: Option<Shown>,
    /// What the agent has written down.
    pub(crate) record: Record,
    /// Whether the process that was asked about is there.
    pub(crate) process_lives: bool,
    /// What a person asks.
    pub(crate) request: Option<Request>,
    /// What people have answered, oldest first.
    pub(crate) replies: Vec<Reply>,
    /// What became of the last act that was performed since the last step.
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

/// Whether a session is there.
#[derive(Debug, Clone)]
pub(crate) enum Presence {
    /// It is.
    Here(Arc<PaneSight>),
    /// It is not among the sessions.
    Missing {
        /// Whether the pane's process and its tmux server are still there: then it is only not seen.
        lives: bool,
    },
}

/// What a look tells of a session.
#[derive(Debug, Clone)]
pub(crate) struct PaneSight {
    /// Whether nothing runs there and nobody is at it.
    pub(crate) idle: bool,
    /// Whether its shell waits for a line: whatever it was given has ended.
    pub(crate) at_prompt: bool,
    /// Whether its shell tells of its line itself, and takes a job up by a key.
    pub(crate) tells: bool,
    /// The process group in the foreground, where it is not the shell's own.
    pub(crate) foreground: Option<u32>,
    /// Column and row of the cursor.
    pub(crate) cursor: (u32, u32),
    /// Whether its output is piped somewhere.
    pub(crate) piped: bool,
    /// Where it stands.
    pub(crate) directory: Option<String>,
    /// The shell, where it is one.
    pub(crate) shell: Option<Shell>,
    /// Whether what the shell exports is to be told before a job: it is not known.
    pub(crate) untold: bool,
    /// The agent, where it is one.
    pub(crate) agent: Option<AgentSight>,
}

/// What a look tells of an agent.
#[derive(Debug, Clone)]
pub(crate) struct AgentSight {
    pub(crate) profile: Arc<Profile>,
    /// Its process.
    pub(crate) pid: u32,
    /// With the id it names the process for good.
    pub(crate) began: u64,
    /// When that process began.
    pub(crate) started: Option<Timestamp>,
    /// The program in the foreground, as tmux calls it.
    pub(crate) command: String,
    /// What it has told itself, last.
    pub(crate) report: Option<Report>,
    /// The turns that it has told of by their names.
    pub(crate) told: ToldTurns,
    pub(crate) signals: Vec<Signal>,
    pub(crate) verdict: Verdict,
    /// It is known to keep no record, whatever its profile says.
    pub(crate) keeps_none: bool,
    /// For how long at least nothing has appeared there.
    pub(crate) quiet: Duration,
    /// The record that it writes, where that is known.
    pub(crate) record: Option<PathBuf>,
    /// It shows the alternate screen.
    pub(crate) alternate: bool,
}

impl AgentSight {
    fn says(&self, source: crate::agents::fuse::Source, says: Says) -> Option<&Signal> {
        let mut signals = self.signals.iter();
        signals.find(|signal| signal.source == source && signal.says == says)
    }
}

/// The files of a job.
#[derive(Debug, Clone, Default)]
pub(crate) struct Files {
    /// Who has the job.
    pub(crate) taken: Option<Taken>,
    /// Whether the script is there.
    pub(crate) script: bool,
    /// The exit code, once it is there and whole.
    pub(crate) exit: Option<i32>,
    /// Whether something of the job stands stopped, or the exit code says that it was.
    pub(crate) stopped: bool,
    /// Whether the file of the exit code is there and nothing stands in it.
    pub(crate) exit_empty: bool,
    /// What the line has ended with by which the shell ran the job, once it is back at its prompt and
    /// the job has left no code.
    pub(crate) back: Option<i32>,
    /// What the shell has said to the key.
    pub(crate) said: Option<Said>,
    /// The step that was noted last, and how long ago by the clock of the file system.
    pub(crate) step: Option<(Step, Duration)>,
    /// Whether its output is whole: the reader has ended, or there is none.
    pub(crate) output_whole: bool,
}

/// A screen of an agent, read.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) says: Says,
    /// What was seen, for people.
    pub(crate) detail: String,
    /// Whether our text, and nothing else, stands in the composer.
    pub(crate) holds_text: bool,
    /// Whether our text, or a part of it, and nothing else stands in the composer.
    pub(crate) part_of_text: bool,
    /// Whether what stands in the composer has to do with our text.
    pub(crate) near_text: bool,
    /// Whether our text is the last that is shown, of a program that has no composer.
    pub(crate) ends_with_text: bool,
    /// How often our text is to be seen as one that was given.
    pub(crate) given: usize,
    /// What stands in the composer.
    pub(crate) draft: Option<String>,
    /// The pane is in copy mode or another one.
    pub(crate) in_mode: bool,
    /// Where the cursor stands, shown or not.
    pub(crate) cursor: (u32, u32),
}

impl Shown {
    /// Why nothing may be typed there.
    fn reason(&self) -> &str {
        if self.in_mode {
            "the pane is in copy mode"
        } else {
            &self.detail
        }
    }
}

/// What an agent's own record tells.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    /// The turn of the text that was asked about.
    pub(crate) own: Option<Written>,
    /// The latest turn that began since.
    pub(crate) latest: Option<Written>,
    /// Where it stands.
    pub(crate) path: Option<PathBuf>,
    /// Whether the text was ever found in it.
    pub(crate) found: bool,
    /// Several records tell of the text, and none is believed.
    pub(crate) several: bool,
}

/// A turn as an agent's own record tells of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// What the agent calls it.
    pub(crate) id: Option<String>,
    /// How it ended; `None`: it is still open.
    pub(crate) how: Option<How>,
    /// Once it has ended: its final message, else all that it said.
    pub(crate) response: Option<String>,
    pub(crate) began: Option<Timestamp>,
    pub(crate) ended: Option<Timestamp>,
    /// When something of it was written last.
    pub(crate) last: Option<Timestamp>,
    /// The files that it changed.
    pub(crate) files: Vec<String>,
    /// All that it said, of one that nobody has written to for minutes.
    pub(crate) said: Option<String>,
}

/// What a machine wants done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Act {
    /// Look whether the task's directory can be entered, and at the branch there where it is required.
    /// May take its time: a request of a person's ends it.
    LookAtPlace {
        /// Where the session stands.
        stands: Option<String>,
    },
    /// Write the files of a job.
    WriteJob {
        /// For which shell.
        shell: Shell,
        /// Where its cursor stands.
        cursor: (u32, u32),
        /// Whether the pane is piped to somebody else.
        piped: bool,
        /// Whether the shell is to tell what it exports before.
        untold: bool,
        /// Whether the shell takes the job up by a key.
        tells: bool,
    },
    /// Run the task's prerequisites beside the agent. May take its time.
    RunPrerequisites {
        /// Where the session stands.
        stands: Option<String>,
    },
    /// Commit that the attempt has come to a phase.
    Advance {
        /// Which.
        phase: Phase,
        /// The cause, for people.
        details: String,
    },
    /// Type the line of a job.
    Type(TypedLine),
    /// Take a job back, unless its shell has it.
    Withdraw,
    /// End the reader of the pane's output, and wait for it a moment.
    CloseReader,
    /// Cut off what an interrupted job did not print.
    CutPrompt,
    /// Read what a failed preparation has said.
    ReadPreparation,
    /// Press Ctrl-C.
    Interrupt,
    /// Signal a process group.
    Signal(u32, probe::Signal),
    /// Take the right to write into the pane.
    TakePane,
    /// Give that back.
    LeavePane,
    /// Follow an agent's record from now on, where it tells no times.
    FollowFromNow {
        /// The agent's process.
        pid: u32,
    },
    /// What stands in the record by now is old.
    AgeRecord,
    /// Paste a text.
    Paste {
        /// The text.
        text: Arc<str>,
        /// Where the cursor must stand.
        cursor: (u32, u32),
        /// The program that must be in the foreground.
        command: String,
    },
    /// Press keys.
    Press {
        /// What is typed as it is, first.
        literal: String,
        /// tmux's names of keys.
        names: Vec<String>,
        /// Where the cursor must stand.
        cursor: (u32, u32),
        /// The program that must be in the foreground.
        command: String,
    },
    /// Read the answer that the pane shows below the prompt.
    ReadAnswer {
        /// The prompt.
        text: Arc<str>,
        /// Whether the pane shows the alternate screen.
        alternate: bool,
    },
    /// Read the prompts that the pane shows as given.
    ReadGiven {
        /// The one below which others are looked for.
        text: Arc<str>,
        /// Whether the pane shows the alternate screen.
        alternate: bool,
    },
    /// Commit that the agent waits for a person.
    Ask {
        /// For what.
        question: String,
        /// All that it has said.
        said: Option<String>,
    },
    /// Let a person know of it, in the ways that were configured.
    TellPerson {
        /// What is asked.
        question: String,
    },
    /// Commit that the agent goes on.
    GoOn {
        /// The cause, for people.
        details: String,
    },
    /// Commit that a reply is being given.
    TakeReply {
        /// Which.
        reply: Reply,
        /// How, for people.
        details: String,
    },
    /// Commit that the replies to the task are not given.
    DropReplies {
        /// Why, for people.
        why: String,
    },
    /// Commit a row about the session.
    NoteSession {
        /// What happens.
        action: &'static str,
        /// For people.
        details: String,
    },
    /// Tell what chooses sessions.
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
    /// Why, for people; `None`: it went well.
    pub(crate) reason: Option<String>,
    /// How long the task is left alone before its next try.
    pub(crate) backoff: Option<Duration>,
    /// Where its output is.
    pub(crate) output: Output,
    /// What is known of an agent's turn.
    pub(crate) turn: Option<TurnFacts>,
    /// A limit that the agent came to.
    pub(crate) limit: Option<Limit>,
    /// What the session is left with.
    pub(crate) leaves: Leaves,
}

/// Where the output of an attempt is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    /// There is none.
    None,
    /// In the files of the job.
    Files,
    /// Here.
    Text(String),
}

/// What a job leaves in its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaves {
    /// Nothing that matters.
    Nothing,
    /// The shell will tell of its variables when it is back at its prompt.
    Variables,
    /// Something that is to be undone.
    Unclean,
}

impl Ending {
    fn new(outcome: Outcome, event: Event) -> Self {
        Self {
            outcome,
            event,
            exit_code: None,
            reason: None,
            backoff: None,
            output: Output::None,
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

    /// Ends a failed try: tried again where tries are left, else for good.
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

/// What an attempt tells the part that chooses sessions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Note {
    /// Its session was typed into: what runs there may change its variables.
    Typed,
    /// Its session is to be skipped for so long, and why.
    Hold(Duration, String),
    /// Its shell was asked to take the job up, and why it did not.
    Declined(&'static str),
    /// Its session did not take the prompt; whether it was pasted already.
    Refused {
        /// It was.
        pasted: bool,
    },
    /// Its turn has begun.
    Begun,
    /// No record told of its turn.
    NoRecord,
    /// What was set for sessions has changed: a pause of a provider.
    Orders,
}

/// What became of an act.
#[derive(Debug, Clone)]
pub(crate) enum Done {
    /// It was carried out.
    Fine,
    /// The place: the directory as the system names it, or why the task cannot run there.
    Place(Result<Option<String>, String>),
    /// The job was written; the line to type.
    Written(Result<TypedLine, Unwritten>),
    /// The prerequisites have ended.
    Prerequisites(Result<(), String>),
    /// The line, the text, the keys.
    Typed(Typed),
    /// Who has the job.
    Withdrawn(Result<Taken, String>),
    /// What a failed preparation has said, where the shell stands, and the branch there.
    Preparation {
        /// Its last lines.
        lines: Vec<String>,
        /// A directory.
        stands: PathBuf,
        /// Its branch, or why that is not known.
        branch: Result<Option<String>, String>,
    },
    /// Whether the right to write into the pane was had.
    Pane(Result<bool, String>),
    /// The answer, and all that stands below the prompt; `None`: it cannot be read.
    Answer(Option<(String, String)>),
    /// The prompts that are shown; `None`: they cannot be read.
    Given(Option<screen::Given>),
}

impl Done {
    /// Whether the acts after it are to be performed, too.
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
    /// Its secret values are not there: the task cannot run.
    Secrets(String),
    /// The spool cannot be written: no fault of the task's.
    Spool(String),
}

/// How often sessions did not take a prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Refusals {
    /// In all.
    pub(crate) all: u32,
    /// After it was pasted.
    pub(crate) pasted: u32,
}

/// What all attempts are told when the sessions were looked at.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scan {
    /// When the look began; `None`: there was none yet.
    pub(crate) at: Option<Tick>,
    /// The sessions that there are.
    pub(crate) sessions: BTreeMap<Identity, Arc<PaneSight>>,
    /// What people ask for tasks in flight.
    pub(crate) requests: BTreeMap<TaskId, Request>,
    /// What people have answered, oldest first.
    pub(crate) replies: Vec<Reply>,
}
