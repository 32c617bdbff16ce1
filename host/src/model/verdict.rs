//! What a session is doing: signals, each from one source and with its age, folded into one verdict.
//!
//! No signal is always right: hooks are not called on Esc, screens scroll, titles stay, transcripts
//! come late, and a shell that reads a line looks the same with and without a draft. So a session
//! is idle only if its screen shows an empty input line and nothing newer contradicts that. If
//! signals contradict each other, it is unknown, which is never idle.

use std::cmp::Reverse;
use std::fmt;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::ids::TaskId;
use super::session::{AT_PROMPT, Activity};

/// An open turn in a transcript contradicts a free screen if nothing was written to it for this
/// long, in seconds.
const QUIET: i64 = 10;

/// A turn that is still open after being silent for this long, in seconds, was forgotten by its
/// agent.
const FORGOTTEN: i64 = 300;

/// How long, in seconds, a report of work is believed although the screen is free: Esc is not
/// reported.
const BELIEVED: i64 = 30;

/// Where a signal comes from, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[derive(strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum SignalSource {
    /// What the shell itself has reported about its line.
    Shell,
    /// What the agent itself has reported.
    Report,
    /// Its own record.
    Transcript,
    /// The pane's title.
    Title,
    /// The pane's screen.
    Screen,
    /// What tmux says about the pane.
    Pane,
    /// Its processes.
    Process,
}

/// What a signal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::Display)]
#[strum(serialize_all = "snake_case")]
pub enum Says {
    /// It is free.
    Idle,
    /// It is working.
    Busy,
    /// It is waiting for a person.
    Waiting,
    /// A person is using it.
    Attended,
    /// Nothing that is known to have a meaning.
    Nothing,
    /// It has ended.
    Gone,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detail {
    /// In words: a line of a screen, a title, a message.
    Words(String),
    /// The obstacle that this would be by itself.
    Obstacle(Obstacle),
}

/// One signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Signal {
    /// Where it comes from.
    pub source: SignalSource,
    /// What it says.
    pub says: Says,
    /// Since when it has said so.
    pub since: Timestamp,
    /// What was seen.
    pub detail: Detail,
}

/// Why a session takes no task now. Its `Display` is what people read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Obstacle {
    /// Its program has ended.
    Gone,
    /// Its pane is in copy mode or another mode, where keys do not reach the program.
    Mode,
    /// Input to its pane is switched off.
    InputOff,
    /// Whatever is typed into its pane also goes to other panes.
    Synchronized,
    /// A person is typing there.
    PersonTyping,
    /// Something was typed there but not submitted.
    Draft {
        /// What was seen of it.
        seen: String,
    },
    /// Its shell runs something.
    Runs {
        /// The program; `None`: the shell itself is working.
        program: Option<String>,
    },
    /// Its agent is working.
    Works {
        /// The source that shows this.
        by: SignalSource,
        /// What was seen.
        seen: String,
    },
    /// Its agent asks a person.
    WaitsForPerson {
        /// What it asks.
        question: String,
    },
    /// Signals contradict each other.
    Contradiction {
        /// What contradicts the screen.
        by: SignalSource,
        /// What it says.
        seen: String,
        /// How many seconds ago it said so.
        ago: i64,
    },
    /// It cannot be determined what it is doing.
    Unread {
        /// Why.
        why: String,
    },
    /// It has a task.
    Task(TaskId),
    /// The configuration excludes it.
    Excluded,
    /// It is paused.
    Paused {
        /// Until when its provider is paused; `None`: until a person resumes it.
        until: Option<Timestamp>,
        /// Why.
        reason: Option<String>,
    },
    /// Its pool gives it no more tasks.
    Spent {
        /// Why.
        why: String,
    },
    /// It is left alone for a moment.
    Held {
        /// Why.
        why: String,
    },
    /// It was asked for its variables.
    Asked,
    /// It must undo what an interrupted task has left.
    Unclean,
}

/// What a session is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Its state, which is idle exactly if there is no obstacle.
    pub activity: Activity,
    /// For people: how this is known, or why it is not idle.
    pub reason: String,
    /// Why it is not idle; `None`: it is idle.
    pub obstacle: Option<Obstacle>,
}

impl From<String> for Detail {
    fn from(words: String) -> Self {
        Self::Words(words)
    }
}

impl From<&str> for Detail {
    fn from(words: &str) -> Self {
        Self::Words(words.to_owned())
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(words) => f.write_str(words),
            Self::Obstacle(obstacle) => obstacle.fmt(f),
        }
    }
}

impl Serialize for Detail {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Self::Gone => "its process has ended",
            Self::Mode => "the pane is in copy mode or another mode",
            Self::InputOff => "input to the pane is switched off",
            Self::Synchronized => "the pane is synchronised with others (synchronize-panes)",
            Self::PersonTyping => "a person is typing there",
            Self::Draft { seen } => seen,
            Self::Runs { program } => {
                let program = program.as_deref().unwrap_or("a command of its own");
                return write!(f, "runs {program}");
            }
            Self::Works {
                by: SignalSource::Report,
                seen,
            } => seen,
            Self::Works { seen, .. } => return write!(f, "works: {seen}"),
            Self::WaitsForPerson { question } => {
                return write!(f, "waits for a person: {question}");
            }
            Self::Contradiction { by, seen, ago } => {
                return write!(f, "its {by} contradicts its screen: {seen}, {ago} s ago");
            }
            Self::Unread { why } | Self::Spent { why } | Self::Held { why } => why,
            Self::Task(task) => return write!(f, "runs task {task}"),
            Self::Excluded => "excluded by the configuration",
            Self::Paused {
                until: Some(until),
                reason,
            } => {
                let until = until.strftime("%Y-%m-%d %H:%M:%SZ");
                let reason = reason.as_deref().unwrap_or("a rate limit");
                return write!(f, "its provider is paused until {until}: {reason}");
            }
            Self::Paused { until: None, .. } => "paused: takes no new tasks",
            Self::Asked => "is asked for its variables",
            Self::Unclean => "must first undo what an interrupted task has left",
        };
        f.write_str(words)
    }
}

impl Obstacle {
    /// Returns what a session with this obstacle is doing. It is idle only if the obstacle is that
    /// we give it no task.
    pub fn activity(&self) -> Activity {
        match self {
            Self::Gone => Activity::Gone,
            Self::Mode
            | Self::InputOff
            | Self::Synchronized
            | Self::PersonTyping
            | Self::Draft { .. } => Activity::Attended,
            Self::Runs { .. } | Self::Works { .. } | Self::Task(_) => Activity::Busy,
            Self::WaitsForPerson { .. } => Activity::WaitingInput,
            Self::Contradiction { .. } | Self::Unread { .. } => Activity::Unknown,
            Self::Excluded
            | Self::Paused { .. }
            | Self::Spent { .. }
            | Self::Held { .. }
            | Self::Asked
            | Self::Unclean => Activity::Idle,
        }
    }
}

impl Verdict {
    /// Returns the verdict for an obstacle, or for an idle session if there is none.
    pub fn of(obstacle: Option<Obstacle>) -> Self {
        let seen = obstacle.as_ref();
        Self {
            activity: seen.map_or(Activity::Idle, Obstacle::activity),
            reason: seen.map_or_else(|| AT_PROMPT.to_owned(), Obstacle::to_string),
            obstacle,
        }
    }
}

impl Signal {
    /// Returns how many seconds ago it began to say so. What is dated in the future was said before the
    /// clock was set back, so it is at least not new.
    fn age(&self, now: Timestamp) -> i64 {
        (now.as_second() - self.since.as_second()).abs()
    }

    /// Returns the obstacle in its detail, or the one that `otherwise` makes of its words.
    fn obstacle(&self, otherwise: impl FnOnce(String) -> Obstacle) -> Obstacle {
        match &self.detail {
            Detail::Obstacle(obstacle) if obstacle.activity() != Activity::Idle => obstacle.clone(),
            detail => otherwise(detail.to_string()),
        }
    }

    fn works(&self) -> Obstacle {
        self.obstacle(|seen| Obstacle::Works {
            by: self.source,
            seen,
        })
    }

    fn waits(&self) -> Obstacle {
        self.obstacle(|question| Obstacle::WaitsForPerson { question })
    }

    fn contradicts(&self, now: Timestamp) -> Obstacle {
        Obstacle::Contradiction {
            by: self.source,
            seen: self.detail.to_string(),
            ago: self.age(now),
        }
    }
}

/// Folds the given signals into a verdict, for shells and agents alike, in whatever order they are
/// given.
pub fn fuse(signals: &[Signal], now: Timestamp) -> Verdict {
    Verdict::of(obstacle(signals, now))
}

/// Returns what keeps a session from being idle.
fn obstacle(signals: &[Signal], now: Timestamp) -> Option<Obstacle> {
    // What was seen in this look: each such signal counts, the weightiest first.
    let seen = |source: SignalSource, says: Says| {
        let fits = move |signal: &&Signal| signal.source == source && signal.says == says;
        signals.iter().filter(fits).min_by_key(|signal| {
            let kind = match &signal.detail {
                Detail::Obstacle(obstacle) => Some(obstacle),
                Detail::Words(_) => None,
            };
            (kind, Reverse(signal.since), signal.detail.to_string())
        })
    };
    let any = |sources: &[SignalSource], says: Says| {
        let mut sources = sources.iter();
        sources.find_map(|&source| seen(source, says))
    };
    // What was reported or written: the latest counts.
    let last = |source: SignalSource| {
        let fits = move |signal: &&Signal| signal.source == source && signal.says != Says::Nothing;
        signals.iter().filter(fits).max_by_key(|signal| {
            (
                signal.since,
                signal.says != Says::Idle,
                signal.says != Says::Busy,
                signal.says == Says::Waiting,
                Reverse(signal.detail.to_string()),
            )
        })
    };
    let unread = |signal: &Signal| signal.obstacle(|why| Obstacle::Unread { why });

    if let Some(ended) = seen(SignalSource::Process, Says::Gone) {
        return Some(ended.obstacle(|_| Obstacle::Gone));
    }
    if let Some(process) = seen(SignalSource::Process, Says::Nothing) {
        return Some(unread(process));
    }
    if let Some(dialog) = any(&[SignalSource::Screen, SignalSource::Title], Says::Waiting) {
        return Some(dialog.waits());
    }
    let works = any(
        &[
            SignalSource::Process,
            SignalSource::Screen,
            SignalSource::Title,
        ],
        Says::Busy,
    );
    let free = any(&[SignalSource::Shell, SignalSource::Screen], Says::Idle);
    let told = last(SignalSource::Report);
    let wrote = last(SignalSource::Transcript);
    let ended = wrote.filter(|signal| signal.says == Says::Idle);
    if let Some(blocked) = told.filter(|told| told.says == Says::Waiting) {
        let later =
            |signal: Option<&Signal>| signal.is_some_and(|signal| signal.since > blocked.since);
        // The question was answered if something newer says that the agent works or has ended, or
        // if a newer empty line has been there for a while.
        let free_since = free.is_some_and(|free| {
            blocked.age(now).min(free.age(now)) > BELIEVED
                && (free.since >= blocked.since || blocked.age(now) > FORGOTTEN)
        });
        if !(later(works) || later(ended) || free_since) {
            return Some(blocked.waits());
        }
    }
    if let Some(signal) = works {
        return Some(signal.works());
    }
    if let Some(person) = any(
        &[
            SignalSource::Pane,
            SignalSource::Shell,
            SignalSource::Screen,
        ],
        Says::Attended,
    ) {
        return Some(person.obstacle(|seen| Obstacle::Draft { seen }));
    }
    let open = wrote.filter(|signal| signal.says != Says::Idle);
    // If something ended after the report, that was the reported work.
    let told = told.filter(|told| {
        told.says == Says::Busy && ended.is_none_or(|ended| ended.since < told.since)
    });
    let Some(free) = free else {
        if let Some(told) = told.filter(|told| told.age(now) <= FORGOTTEN) {
            return Some(told.works());
        }
        if let Some(open) = open.filter(|open| open.age(now) <= QUIET) {
            return Some(open.works());
        }
        let unseen = || Obstacle::Unread {
            why: "its screen was not read".to_owned(),
        };
        let why = any(&[SignalSource::Shell, SignalSource::Screen], Says::Nothing);
        return Some(why.map_or_else(unseen, unread));
    };
    if let Some(open) = open {
        let quiet = open.age(now);
        if quiet <= QUIET {
            return Some(open.works());
        }
        if quiet <= FORGOTTEN {
            return Some(open.contradicts(now));
        }
    }
    if let Some(told) = told {
        if told.age(now).min(free.age(now)) <= BELIEVED {
            return Some(told.works());
        }
        // It has reported work since the line appeared, and nothing has shown the end of that work.
        if told.since > free.since && told.age(now) <= FORGOTTEN {
            return Some(told.contradicts(now));
        }
    }
    None
}

#[cfg(test)]
mod tests;
