//! What the tests of the machines share: tasks, sessions, and moments.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Act, Brief, Ending, Next, Note, Observation, PaneSight, Presence, Rules, Sight};
use crate::agents::nonce::NonceKey;
use crate::model::clock::{Now, Tick};
use crate::model::ids::{AttemptId, Identity, PaneId, TaskId};
use crate::model::session::Shell;
use crate::model::task::{Event, NewTask, Outcome, Phase, Task};
use crate::store::OpenAttempt;
use crate::tmux::{PaneOutput, TypedLine};

/// The wall clock at the origin, in seconds.
pub(crate) const EPOCH: i64 = 1_800_000_000;

/// Returns the moment this many milliseconds after the origin.
pub(super) fn at(ms: u64) -> Now {
    Now {
        wall: wall(ms),
        tick: Tick::after_origin(Duration::from_millis(ms)),
    }
}

/// Returns the same moment by the wall clock.
pub(super) fn wall(ms: u64) -> Timestamp {
    let origin = Timestamp::from_second(EPOCH).expect("a time");
    origin + Duration::from_millis(ms)
}

pub(super) fn identity() -> Identity {
    Identity {
        node: Default::default(),
        server_pid: 10,
        server_start: 1,
        pane: PaneId::parse("%1").expect("a pane"),
        pane_pid: 11,
    }
}

/// A task for a shell.
pub(super) fn command(content: &str) -> Task {
    Task::queued(TaskId(1), &NewTask::command(content), wall(0))
}

/// A task for an agent.
pub(super) fn prompt(content: &str) -> Task {
    Task::queued(TaskId(1), &NewTask::prompt(content), wall(0))
}

pub(super) fn brief(task: Task) -> Brief {
    Brief {
        attempt: AttemptId(5),
        task,
        session: "api".to_owned(),
        identity: identity(),
    }
}

/// Returns an attempt as its row describes it.
pub(super) fn open(phase: Phase) -> OpenAttempt {
    OpenAttempt {
        id: AttemptId(5),
        session: "api".to_owned(),
        identity: identity(),
        phase,
        delivered_at: Some(wall(0)),
        started_at: (phase == Phase::Running).then(|| wall(0)),
        submitted_at: None,
        answered: false,
        has_said: false,
        task: command("true"),
    }
}

pub(crate) fn rules() -> Rules {
    Rules {
        start_within: Duration::from_secs(10),
        prerequisite_within: Duration::from_secs(600),
        nonces: NonceKey::default(),
    }
}

pub(super) fn typed_line() -> TypedLine {
    TypedLine {
        key: None,
        identity: identity(),
        cursor: (2, 0),
        text: " . /spool/5.run".to_owned(),
        output: PaneOutput::AsItIs,
    }
}

/// Returns a shell at its prompt, with the changes that `change` makes.
pub(super) fn pane(change: impl FnOnce(&mut PaneSight)) -> Presence {
    let mut pane = PaneSight {
        idle: true,
        at_prompt: true,
        tells: false,
        foreground: None,
        cursor: (2, 0),
        piped: false,
        directory: Some("/w".to_owned()),
        shell: Some(Shell::Bash),
        untold: false,
        agent: None,
    };
    change(&mut pane);
    Presence::Here(Arc::new(pane))
}

/// A shell at its prompt.
pub(super) fn shell() -> Presence {
    pane(|_| {})
}

/// A look at the origin.
pub(super) fn seen(pane: Presence) -> Observation {
    seen_at(pane, 0)
}

/// Returns a look that began at this many milliseconds.
pub(super) fn seen_at(pane: Presence, ms: u64) -> Observation {
    Observation {
        sight: Some(Sight {
            at: at(ms).tick,
            pane,
        }),
        ..Observation::default()
    }
}

/// Returns the end that was decided.
pub(super) fn end(next: &Next) -> &Ending {
    let end = next.acts.iter().find_map(|act| match act {
        Act::End(end) => Some(&**end),
        _ => None,
    });
    end.unwrap_or_else(|| panic!("an end: {next:?}"))
}

pub(super) fn outcome(next: &Next) -> (Outcome, Event) {
    let end = end(next);
    (end.outcome, end.event)
}

/// Returns how long the session is to be skipped.
pub(super) fn held(next: &Next) -> Option<Duration> {
    next.acts.iter().find_map(|act| match act {
        Act::Tell(Note::Hold(rest, _)) => Some(*rest),
        _ => None,
    })
}

/// Returns what is done to the process.
pub(super) fn acts(next: &Next) -> Vec<Act> {
    let acts = next.acts.iter();
    acts.filter(|act| matches!(act, Act::Interrupt | Act::Signal(..)))
        .cloned()
        .collect()
}
