//! One look at a session: what was read of its pane and its program becomes signals, and they are
//! folded into a verdict. The scan and `doctor` both see by this, and by nothing else.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use super::prompt::Line;
use crate::model::verdict::{Detail, Obstacle, Says, Signal, Source, Verdict, fuse};
use crate::probe::Standing;
use crate::tmux::Pane;

/// What was read of the program in a pane.
#[derive(Debug)]
pub(super) enum Evidence<'a> {
    /// It is a shell.
    Shell {
        /// How its process stands.
        standing: &'a Standing,
        /// The cursor's line, where it was read.
        line: Option<Line>,
    },
    /// It is an agent.
    Agent {
        /// What it has told.
        report: Option<Signal>,
        /// What its record says.
        transcript: Option<Signal>,
        /// What its title says.
        title: (Says, String),
        /// What its screen says, where it was read.
        screen: Option<(Says, String)>,
    },
}

/// What is to be seen of a session.
#[derive(Debug, Clone)]
pub(super) struct Sighting {
    /// The signals, best first.
    pub(super) signals: Vec<Signal>,
    /// What they add up to.
    pub(super) verdict: Verdict,
}

/// Since when signals say what they say, from one look to the next: what a pane shows bears no time of
/// its own.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    since: HashMap<Kind, Timestamp>,
}

/// What stays the same while only the words of a signal change.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    source: Source,
    says: Says,
    /// The pane may tell of several at once.
    barrier: Option<Obstacle>,
}

impl Kind {
    fn of(source: Source, says: Says, detail: &Detail) -> Self {
        let barrier = match detail {
            Detail::Obstacle(obstacle) if source == Source::Pane => Some(obstacle.clone()),
            Detail::Obstacle(_) | Detail::Words(_) => None,
        };
        Self {
            source,
            says,
            barrier,
        }
    }
}

impl Memory {
    /// Returns the memory of who looks only once: all that bears no time of its own is as of now.
    pub(super) fn for_one_look() -> Self {
        Self::default()
    }

    /// Dates what one look has seen, and forgets what it has not.
    fn date(&mut self, seen: Vec<(Source, Says, Detail)>, now: Timestamp) -> Vec<Signal> {
        let before = std::mem::take(&mut self.since);
        let date = |(source, says, detail): (Source, Says, Detail)| {
            let kind = Kind::of(source, says, &detail);
            let since = before.get(&kind).copied().unwrap_or(now);
            self.since.insert(kind, since);
            Signal {
                source,
                says,
                since,
                detail,
            }
        };
        seen.into_iter().map(date).collect()
    }
}

/// Folds what one look has read of a session.
pub(super) fn observe(
    memory: &mut Memory,
    pane: &Pane,
    evidence: Evidence<'_>,
    attended_for: Duration,
    now: Timestamp,
) -> Sighting {
    let mut seen = Vec::new();
    let mut signals = Vec::new();
    match evidence {
        Evidence::Shell { standing, line } => {
            seen.push(process(standing));
            let (says, detail) = match line {
                Some(line) => line.says(),
                None => (Says::Nothing, "its prompt could not be read"),
            };
            seen.push((Source::Screen, says, detail.into()));
        }
        Evidence::Agent {
            report,
            transcript,
            title: (says, title),
            screen,
        } => {
            signals.extend(report.into_iter().chain(transcript));
            seen.push((Source::Title, says, title.into()));
            seen.extend(screen.map(|(says, detail)| (Source::Screen, says, detail.into())));
        }
    }
    seen.extend(barriers(pane, attended_for, now));
    signals.extend(memory.date(seen, now));
    let verdict = fuse(&signals, now);
    Sighting { signals, verdict }
}

/// What the process of a shell says.
fn process(standing: &Standing) -> (Source, Says, Detail) {
    let (says, detail) = match standing {
        Standing::Prompt => (Says::Idle, "the shell edits a line".into()),
        Standing::Running { foreground, .. } => {
            let program = foreground.clone();
            (Says::Busy, Detail::Obstacle(Obstacle::Runs { program }))
        }
        Standing::Unknown(why) => (Says::Nothing, why.as_str().into()),
        Standing::Gone => (Says::Gone, Detail::Obstacle(Obstacle::Gone)),
    };
    (Source::Process, says, detail)
}

/// What tmux tells of a person at a pane, and of what keeps typed text from reaching its program alone:
/// all that holds, or one signal that nothing does.
fn barriers(
    pane: &Pane,
    attended_for: Duration,
    now: Timestamp,
) -> impl Iterator<Item = (Source, Says, Detail)> {
    let grace = i64::try_from(attended_for.as_secs()).unwrap_or(i64::MAX);
    let typed = |last: i64| now.as_second().saturating_sub(last) < grace;
    let all = [
        (pane.in_mode, Obstacle::Mode),
        (pane.input_off, Obstacle::InputOff),
        (pane.synchronized, Obstacle::Synchronized),
        (
            pane.watched_until.is_some_and(typed),
            Obstacle::PersonTyping,
        ),
    ];
    let none = all.iter().all(|(holds, _)| !holds);
    let there = all.into_iter().filter(|(holds, _)| *holds);
    there
        .map(|(_, barrier)| (Source::Pane, Says::Attended, Detail::Obstacle(barrier)))
        .chain(none.then(|| (Source::Pane, Says::Nothing, "".into())))
}
