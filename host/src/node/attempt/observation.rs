//! What a machine asks to know before its next step, and what it is told.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::super::script::ScriptStep;
use super::super::shell::ShellAnswer;
use super::super::spool::Taken;
use super::Done;
use crate::agents::Profile;
use crate::agents::fuse::{Says, Signal, Verdict};
use crate::agents::report::Report;
use crate::agents::told::ToldTurns;
use crate::agents::transcript::{How, Wanted};
use crate::model::clock::Tick;
use crate::model::session::Shell;
use crate::store::{Reply, Request};

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
    pub(super) fn pane(&self) -> Option<&PaneSight> {
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
    pub(super) fn says(
        &self,
        source: crate::agents::fuse::SignalSource,
        says: Says,
    ) -> Option<&Signal> {
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
    /// Whether the mark that follows the command was read from its output.
    pub(crate) marked: bool,
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
    pub(super) fn reason(&self) -> &str {
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
