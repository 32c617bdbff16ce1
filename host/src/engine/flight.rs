//! An attempt in flight: what the engine remembers of it between rounds.

use std::time::Instant;

use jiff::Timestamp;

use super::job::Step;
use crate::model::ids::{AttemptId, Identity};
use crate::model::task::{Phase, Task};
use crate::store::OpenAttempt;

/// An attempt that has not ended.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    pub(super) attempt: AttemptId,
    pub(super) task: Task,
    pub(super) session: String,
    pub(super) identity: Identity,
    pub(super) phase: Phase,
    /// When its session took it up, or else was typed into.
    pub(super) since: Timestamp,
    /// When its shell was first seen at its prompt without an exit code.
    pub(super) prompt_seen: Option<Instant>,
    /// When the exit code was first seen.
    pub(super) exit_seen: Option<Instant>,
    /// Its end was asked for.
    pub(super) ending: Option<Ending>,
    /// When a prompt may first have been typed or submitted.
    pub(super) given: Option<Timestamp>,
    /// Whether its agent has asked something that was answered.
    pub(super) answered: bool,
    /// When a daemon took it up that an earlier one had begun.
    pub(super) resumed: Option<Timestamp>,
}

/// How often sessions did not take a prompt.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Refusals {
    /// In all.
    pub(super) all: u32,
    /// After it was pasted.
    pub(super) pasted: u32,
}

/// An end that was asked for and has not come yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    pub(super) cause: Cause,
    /// How often its job was told to end, and when last.
    pub(super) told: u32,
    pub(super) last: Option<Instant>,
}

/// Why an attempt is being ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Cancel,
    /// For another session.
    Reassign,
    /// Its time is over: the command's own, or that of a step before it.
    TimeOut {
        step: Step,
        seconds: u64,
    },
}

impl Flight {
    /// Takes up an attempt that the store knows.
    pub(super) fn resume(open: OpenAttempt, now: Timestamp) -> Self {
        Self {
            attempt: open.id,
            task: open.task,
            session: open.session,
            identity: open.identity,
            phase: open.phase,
            since: open.started_at.or(open.delivered_at).unwrap_or(now),
            given: open.delivered_at.or(open.submitted_at),
            answered: open.answered,
            resumed: Some(now),
            prompt_seen: None,
            exit_seen: None,
            ending: None,
        }
    }
}
