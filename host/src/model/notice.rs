//! What a person is told of: taken from the history, and gathered, so that much at once is told once.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use super::ids::TaskId;
use super::task::Event;

/// How far apart a person is told. The first of several is told at once, the others together.
const APART: Duration = Duration::from_secs(3);

/// How many are told one by one; the others are counted.
const MOST: usize = 100;

/// How many tasks a line names.
const NAMED: usize = 5;

/// Something that a person may want to be told of.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    VariantArray,
    IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Occasion {
    /// An agent waits for an answer.
    Waiting,
    /// A task has failed and is not tried again.
    Failed,
    /// Whether a task has run is not known, and a person must look.
    Uncertain,
    /// The policy failed, and another decides in its place.
    PolicyFailed,
    /// A task has completed.
    Completed,
    /// Nothing is pending or in flight any more.
    QueueEmpty,
}

/// How a terminal is told in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TerminalNotice {
    /// By `OSC 9`, as iTerm2, kitty, WezTerm and Windows Terminal know it.
    Osc9,
    /// By `OSC 777`, as urxvt, foot, Ghostty and VTE know it.
    Osc777,
}

/// What a person is told of, and how: `[notify]` of the configuration.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct NotifySettings {
    /// What of.
    pub on: BTreeSet<Occasion>,
    /// Run by `sh -c` then. `ASSIGNER_EVENT` says what it is, `ASSIGNER_TEXT` in words;
    /// `ASSIGNER_TASK`, `ASSIGNER_SESSION` and `ASSIGNER_QUESTION` are those of the first of several.
    /// Each is a line of JSON on its standard input.
    pub command: Option<String>,
    /// Whether the terminals that show tmux ring their bell.
    pub bell: bool,
    /// How those terminals are told in words.
    pub terminal: Option<TerminalNotice>,
}

impl Default for NotifySettings {
    fn default() -> Self {
        Self {
            on: BTreeSet::from([Occasion::Waiting]),
            command: None,
            bell: false,
            terminal: None,
        }
    }
}

impl NotifySettings {
    /// Whether nobody is told anything.
    pub fn is_silent(&self) -> bool {
        self.on.is_empty() || (self.command.is_none() && !self.bell && self.terminal.is_none())
    }
}

impl Occasion {
    /// Returns the name that the configuration and commands know.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Returns the occasion that a row of a task's history is; see [`Event::name`].
    pub fn of(action: &str) -> Option<Self> {
        let occasions = [
            (Event::Ask, Self::Waiting),
            (Event::Fail, Self::Failed),
            (Event::Abandon, Self::Failed),
            (Event::Lose, Self::Uncertain),
            (Event::Complete, Self::Completed),
        ];
        let mut occasions = occasions.into_iter();
        let found = occasions.find(|(event, _)| event.name() == action);
        found.map(|(_, occasion)| occasion)
    }

    /// Says what has become of so many tasks.
    fn of_many(self, count: usize) -> String {
        let waits = if count == 1 { "waits" } else { "wait" };
        match self {
            Self::Waiting => format!("{count} {waits} for you"),
            Self::Failed => format!("{count} failed"),
            Self::Uncertain => format!("{count} uncertain"),
            Self::PolicyFailed => "the policy failed".to_owned(),
            Self::Completed => format!("{count} completed"),
            Self::QueueEmpty => "nothing is left to do".to_owned(),
        }
    }
}

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What it is.
    pub occasion: Occasion,
    /// The task that it is about, if it is about one.
    pub task: Option<TaskId>,
    /// The session that has the task, or had it.
    pub session: Option<String>,
    /// The question or the cause, for people.
    pub details: String,
}

impl fmt::Display for Notice {
    /// Writes one line for people, as long as its details are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(task) = self.task {
            write!(f, "task {task} ")?;
        }
        f.write_str(match self.occasion {
            Occasion::Waiting => "waits for you",
            Occasion::Failed => "failed",
            Occasion::Uncertain => "is uncertain",
            Occasion::PolicyFailed => "the policy failed",
            Occasion::Completed => "completed",
            Occasion::QueueEmpty => "nothing is left to do",
        })?;
        if let Some(session) = &self.session {
            write!(f, " in {session}")?;
        }
        if !self.details.is_empty() {
            write!(f, ": {}", self.details)?;
        }
        Ok(())
    }
}

/// What a person is told at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeDigest {
    /// What has happened, oldest first; at least one.
    pub notices: Vec<Notice>,
    /// How much more there was.
    pub more: usize,
}

impl NoticeDigest {
    /// Returns the occasion, if it is a single one.
    pub fn single(&self) -> Option<&Notice> {
        match self.notices.as_slice() {
            [notice] if self.more == 0 => Some(notice),
            _ => None,
        }
    }
}

impl fmt::Display for NoticeDigest {
    /// Writes one line for people: what is most urgent comes first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(notice) = self.single() {
            return notice.fmt(f);
        }
        let mut parts = Vec::new();
        for &occasion in Occasion::VARIANTS {
            let those = self
                .notices
                .iter()
                .filter(|notice| notice.occasion == occasion);
            let tasks: Vec<Option<TaskId>> = those.map(|notice| notice.task).collect();
            if tasks.is_empty() {
                continue;
            }
            let mut part = occasion.of_many(tasks.len());
            let named: Vec<String> = tasks
                .iter()
                .flatten()
                .take(NAMED)
                .map(TaskId::to_string)
                .collect();
            if !named.is_empty() {
                let rest = if tasks.len() > NAMED { ", …" } else { "" };
                part += &format!(" ({}{rest})", named.join(", "));
            }
            parts.push(part);
        }
        if self.more > 0 {
            parts.push(format!("and {} more", self.more));
        }
        f.write_str(&parts.join(", "))
    }
}

/// What was not told yet.
#[derive(Debug, Default)]
pub struct Gathered {
    notices: Vec<Notice>,
    more: usize,
    told: Option<Instant>,
}

impl Gathered {
    /// Adds something that has happened.
    pub fn add(&mut self, notice: Notice) {
        if self.notices.len() < MOST {
            self.notices.push(notice);
        } else {
            self.more += 1;
        }
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.notices.is_empty()
    }

    /// Returns after how long a person is to be told; `None`: there is nothing to tell.
    pub fn due_in(&self, now: Instant) -> Option<Duration> {
        if self.is_empty() {
            return None;
        }
        let due = self.told.map_or(now, |told| told + APART);
        Some(due.saturating_duration_since(now))
    }

    /// Returns what a person is to be told now, if anything.
    pub fn take(&mut self, now: Instant) -> Option<NoticeDigest> {
        if self.due_in(now)? > Duration::ZERO {
            return None;
        }
        self.told = Some(now);
        Some(NoticeDigest {
            notices: std::mem::take(&mut self.notices),
            more: std::mem::take(&mut self.more),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(occasion: Occasion, task: i64) -> Notice {
        Notice {
            occasion,
            task: Some(TaskId(task)),
            session: Some("api".to_owned()),
            details: String::new(),
        }
    }

    #[test]
    fn one_is_said_with_its_cause_and_many_are_counted() {
        let digest = |notices: Vec<Notice>, more| NoticeDigest { notices, more }.to_string();
        let asks = Notice {
            details: "may I?".to_owned(),
            ..notice(Occasion::Waiting, 3)
        };
        assert_eq!(
            digest(vec![asks.clone()], 0),
            "task 3 waits for you in api: may I?"
        );
        let empty = Notice {
            task: None,
            session: None,
            ..notice(Occasion::QueueEmpty, 0)
        };
        assert_eq!(digest(vec![empty.clone()], 0), "nothing is left to do");
        let mut many: Vec<Notice> = (10..17).map(|id| notice(Occasion::Completed, id)).collect();
        many.extend([notice(Occasion::Failed, 9), asks, empty]);
        assert_eq!(
            digest(many, 4),
            "1 waits for you (3), 1 failed (9), 7 completed (10, 11, 12, 13, 14, …), \
             nothing is left to do, and 4 more"
        );
    }

    #[test]
    fn each_occasion_has_its_row() {
        let of_tasks = [
            "waiting_input",
            "failed",
            "abandoned",
            "uncertain",
            "completed",
        ];
        for action in of_tasks {
            assert!(Occasion::of(action).is_some(), "{action}");
        }
        // A failed try that is followed by another, and what a person does, is no news.
        for action in [
            "queued",
            "retrying",
            "marked_failed",
            "marked_done",
            "cancelled",
            "",
        ] {
            assert_eq!(Occasion::of(action), None, "{action}");
        }
    }

    #[test]
    fn the_first_is_told_at_once_and_those_after_it_together() {
        let start = Instant::now();
        let mut gathered = Gathered::default();
        assert_eq!((gathered.due_in(start), gathered.take(start)), (None, None));
        gathered.add(notice(Occasion::Failed, 1));
        assert_eq!(gathered.due_in(start), Some(Duration::ZERO));
        assert_eq!(gathered.take(start).expect("told").notices.len(), 1);
        for id in 0..150 {
            gathered.add(notice(Occasion::Failed, id));
        }
        let soon = start + Duration::from_secs(1);
        assert_eq!(gathered.due_in(soon), Some(Duration::from_secs(2)));
        assert_eq!(gathered.take(soon), None);
        let digest = gathered.take(start + APART).expect("told");
        assert_eq!((digest.notices.len(), digest.more), (100, 50));
        assert_eq!(gathered.due_in(start + APART), None);
    }
}
