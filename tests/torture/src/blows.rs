//! What was done to the daemon, the sessions and the tasks, and when.

use std::ops::Range;
use std::sync::Mutex;

use assigner_conformance::journal::now;

/// A kind of disturbance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The daemon is killed and started again.
    DaemonKilled,
    /// A `send` is killed while it works.
    SenderKilled,
    /// The reader of a pane's output is killed.
    ReaderKilled,
    /// The process of a pane is killed, whatever it runs.
    ShellKilled,
    /// A tmux session is closed.
    SessionKilled,
    /// The tmux server is killed; another one takes its place.
    ServerKilled,
    /// The tmux server is stopped for a while.
    ServerStopped,
    /// There is no room on the disk of the data directory for a while.
    DiskFull,
    /// Ctrl-C, several times in a row.
    CtrlC,
    /// An agent is killed.
    AgentKilled,
    /// An agent dies while a prompt is pasted.
    AgentDies,
    /// A task is cancelled.
    Cancel,
    /// A task is given another command or priority.
    Edit,
    /// A task is given to another session.
    Reassign,
    /// A task that has ended is queued again.
    Retry,
    /// A session is paused for a moment.
    Pause,
}

impl Fault {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 16] = [
        Self::DaemonKilled,
        Self::SenderKilled,
        Self::ReaderKilled,
        Self::ShellKilled,
        Self::SessionKilled,
        Self::ServerKilled,
        Self::ServerStopped,
        Self::DiskFull,
        Self::CtrlC,
        Self::AgentKilled,
        Self::AgentDies,
        Self::Cancel,
        Self::Edit,
        Self::Reassign,
        Self::Retry,
        Self::Pause,
    ];

    /// Returns what happens, in a few words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DaemonKilled => "daemon killed",
            Self::SenderKilled => "`send` killed",
            Self::ReaderKilled => "reader of the output killed",
            Self::ShellKilled => "shell killed",
            Self::SessionKilled => "session closed",
            Self::ServerKilled => "tmux server killed",
            Self::ServerStopped => "tmux server stopped for a while",
            Self::DiskFull => "disk full for a while",
            Self::CtrlC => "Ctrl-C, several times",
            Self::AgentKilled => "agent killed",
            Self::AgentDies => "agent dies during a paste",
            Self::Cancel => "task cancelled",
            Self::Edit => "task edited",
            Self::Reassign => "task reassigned",
            Self::Retry => "task retried",
            Self::Pause => "session paused",
        }
    }
}

/// Whom a blow hits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Victim {
    /// Every task.
    All,
    /// What runs in this session.
    Session(String),
    /// The tasks with these numbers.
    Tasks(Range<u64>),
}

impl Victim {
    /// Returns the one task with this number.
    #[must_use]
    pub fn task(number: u64) -> Self {
        Self::Tasks(number..number + 1)
    }
}

/// One disturbance; times are in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blow {
    /// Its kind.
    pub fault: Fault,
    /// Whom it hits.
    pub victim: Victim,
    /// When it began.
    pub from: u64,
    /// When it was over.
    pub until: u64,
}

/// All blows so far; each thread adds its own.
#[derive(Debug, Default)]
pub struct Blows(Mutex<Vec<Blow>>);

impl Blows {
    /// Notes a blow of this moment.
    pub fn strike(&self, fault: Fault, victim: Victim) {
        self.strike_since(fault, victim, now());
    }

    /// Notes a blow that began earlier and is over now.
    pub fn strike_since(&self, fault: Fault, victim: Victim, from: u64) {
        self.add(Blow {
            fault,
            victim,
            from,
            until: now(),
        });
    }

    /// Notes a blow.
    pub fn add(&self, blow: Blow) {
        if let Ok(mut blows) = self.0.lock() {
            blows.push(blow);
        }
    }

    /// Returns all of them.
    #[must_use]
    pub fn take(self) -> Vec<Blow> {
        self.0.into_inner().unwrap_or_default()
    }
}
