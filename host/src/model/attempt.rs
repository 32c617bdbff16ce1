//! A try to run a task: its phases, how it ended, and what is known about it afterwards.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr};

use super::ids::{AttemptId, Identity};
use super::matching::{PolicyId, Term};

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
