//! What the engine remembers of sessions from one scan to the next.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::agents::AgentSeen;
use super::empty::{CursorRow, Drawn};
use super::prompt::Line;
use super::settling::Settling;
use super::sight::Memory;
use crate::model::ids::{AttemptId, Identity};
use crate::model::session::{Activity, Shell};
use crate::probe;
use crate::store::SessionRow;
use crate::tmux::Pane;

/// What is remembered of sessions.
#[derive(Debug, Default)]
pub(in crate::node) struct Tracker {
    sessions: HashMap<Identity, Known>,
    /// Rows as they are in the store, by name; only changes are written.
    pub(in crate::node) written: BTreeMap<String, SessionRow>,
    settling: Settling,
}

/// What is known about one session.
#[derive(Debug, Clone)]
pub(in crate::node) struct Known {
    pub(in crate::node) activity: Activity,
    pub(in crate::node) since: Timestamp,
    /// Variables that it was given through us, and those that a task asked about.
    pub(in crate::node) env: BTreeMap<String, String>,
    /// Everything that it exported by its last report. It stays in memory.
    pub(in crate::node) live: Option<Arc<BTreeMap<String, String>>>,
    /// Whether `live` still holds.
    pub(in crate::node) fresh: Freshness,
    /// It has ended a job, and has reported its variables by the time that it is back at its
    /// prompt.
    pub(in crate::node) telling: Option<Telling>,
    /// It was asked and has not returned to its prompt.
    pub(in crate::node) asked: Option<Asked>,
    /// When it was last asked, and for how long it must not be asked again.
    pub(in crate::node) rest: Option<(Instant, Duration)>,
    /// Variables that tasks have made of secret values. Nobody is told about them.
    pub(in crate::node) tainted: BTreeSet<String>,
    /// An interrupted task has left variables there that must be undone.
    pub(in crate::node) unclean: bool,
    /// The secret values of such a task.
    pub(in crate::node) left: BTreeMap<String, String>,
    pub(in crate::node) completed: u32,
    pub(in crate::node) failed: u32,
    /// Not to be assigned before this time, and why.
    pub(in crate::node) hold: Option<(Instant, String)>,
    /// The cursor's line, as last read.
    pub(in crate::node) line: Option<ReadLine>,
    /// The prompt that its shell draws, as far as it was seen.
    pub(in crate::node) drawn: Option<Drawn>,
    /// Whether a client was attached to it since it became known: panes move between sessions.
    pub(in crate::node) attached: bool,
    /// Since when its shell's signals have said the same.
    pub(in crate::node) memory: Memory,
    /// The number of the prompt at which its shell last reported that it reads a new line.
    pub(in crate::node) prompts: Option<u64>,
    /// Its shell was asked to take a job up and declined.
    pub(in crate::node) declined: Option<Declined>,
}

/// A shell that was asked and took nothing. It is asked again when something has changed, and less
/// and less often.
#[derive(Debug, Clone, Copy)]
pub(in crate::node) struct Declined {
    /// Why.
    pub(in crate::node) why: &'static str,
    /// The number of the prompt; `None`: it has not reported since.
    prompts: Option<u64>,
    /// Its state at the next look; `None`: there was no look. This does not show what was typed or
    /// deleted between the key and that look.
    stamp: Option<Stamp>,
    /// Whether it has declined at the same prompt before.
    again: bool,
    at: Instant,
    rest: Duration,
}

impl Declined {
    /// Returns a refusal made now, after an earlier one at the same prompt. `prompts` is the number
    /// of the prompt at which it was asked.
    pub(in crate::node) fn now(
        why: &'static str,
        before: Option<Self>,
        prompts: Option<u64>,
    ) -> Self {
        let rest = before.map_or(REST, |before| (before.rest * 2).min(LONGEST_REST));
        Self {
            why,
            prompts,
            stamp: None,
            again: before.is_some(),
            at: Instant::now(),
            rest,
        }
    }

    /// Whether the shell would still decline, judging by its current state. A new prompt contains
    /// nothing that was there before. If something was typed or deleted, the shell is asked again
    /// after a while; otherwise, after a long time. The first time, a change is assumed, because it
    /// is not always seen.
    pub(in crate::node) fn holds(&mut self, prompts: u64, stamp: Stamp) -> bool {
        let seen = *self.prompts.get_or_insert(prompts);
        let stood = *self.stamp.get_or_insert(stamp);
        let left = self.at.elapsed();
        let within = if self.again && stood == stamp {
            UNCHANGED
        } else {
            self.rest
        };
        seen == prompts && left < within
    }

    /// Whether the refusal was at a different prompt from this one.
    pub(in crate::node) fn is_before(&self, prompts: u64) -> bool {
        self.prompts.is_some_and(|seen| seen != prompts)
    }
}

/// How long a shell that took nothing is left alone: twice as long each time.
const REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);

/// How long a shell is left alone if nothing in its line has changed.
const UNCHANGED: Duration = Duration::from_secs(600);

/// The cursor's line of a shell, and the state of its pane when it was read.
#[derive(Debug, Clone)]
pub(in crate::node) struct ReadLine {
    pub(in crate::node) line: Line,
    /// The row as it is on the screen.
    pub(in crate::node) row: CursorRow,
    /// Taken before the line was read.
    pub(in crate::node) stamp: Stamp,
    /// When it was read, in seconds.
    pub(in crate::node) at: i64,
}

impl ReadLine {
    /// Whether the line is still the same. tmux reports activity only by the second; within that
    /// second, only the shell's own count shows that it has done nothing since. A search in the
    /// history, for example, leaves the cursor in place.
    pub(in crate::node) fn holds(&self, pane: &Pane) -> bool {
        let before = self.stamp;
        before.cursor == pane.cursor
            && before.activity == pane.activity
            && (self.at > pane.activity
                || (before.waits.is_some() && before.waits == probe::waits(pane.identity.pane_pid)))
    }
}

/// How long a shell's variables are as it reported them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node) enum Freshness {
    /// Something may have changed them, or they were never reported.
    Stale,
    /// Until something changes after it is next seen at its prompt.
    FromNextPrompt,
    /// While the state of its shell is this one.
    While(Stamp),
}

/// The state of a shell. While it is the same, the shell has done nothing.
#[derive(Debug, Clone, Copy)]
pub(in crate::node) struct Stamp {
    /// How often the shell has waited for something so far; exact, if the system provides it.
    pub(in crate::node) waits: Option<u64>,
    pub(in crate::node) cursor: (u32, u32),
    /// When something last appeared in its window, in seconds.
    pub(in crate::node) activity: i64,
}

impl PartialEq for Stamp {
    fn eq(&self, other: &Self) -> bool {
        match (self.waits, other.waits) {
            (Some(one), Some(other)) => one == other,
            _ => self.cursor == other.cursor && self.activity == other.activity,
        }
    }
}

impl Eq for Stamp {}

/// What a shell reports about its variables after a job.
#[derive(Debug, Clone)]
pub(in crate::node) struct Telling {
    /// The attempt whose files hold it.
    pub(in crate::node) attempt: AttemptId,
    /// Everything that it exported before the job, if known.
    pub(in crate::node) before: Option<Arc<BTreeMap<String, String>>>,
    /// Values that are not kept, nor any value that contains one of them.
    pub(in crate::node) secrets: BTreeMap<String, String>,
}

/// A question about a shell's variables.
#[derive(Debug, Clone)]
pub(in crate::node) struct Asked {
    /// Its number in the spool.
    pub(in crate::node) question: u64,
    /// When it was asked.
    pub(in crate::node) at: Instant,
    /// What it was asked for.
    pub(in crate::node) names: BTreeSet<String>,
    /// After this time, the answer is no longer waited for.
    pub(in crate::node) until: Instant,
}

/// A session as seen in one scan.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Its row for the store.
    pub(crate) row: SessionRow,
    pub(in crate::node) what: What,
    /// Whether the signals say that it is idle, regardless of what we have in flight there.
    pub(in crate::node) idle: bool,
    pub(in crate::node) cursor: (u32, u32),
    /// Whether the pane is piped to someone else.
    pub(in crate::node) piped: bool,
    /// Whether the shell waits for a line, so whatever it was given has ended.
    pub(in crate::node) at_prompt: bool,
    /// Whether the shell itself reports on its line, and takes jobs up by a key.
    pub(in crate::node) tells: bool,
    /// The process group in the foreground, unless it is the shell's own.
    pub(in crate::node) foreground: Option<u32>,
    /// Everything that it exports, by its last report.
    pub(in crate::node) live: Option<Arc<BTreeMap<String, String>>>,
    /// When something last appeared in its window.
    pub(in crate::node) active: i64,
    /// Whether it was asked for its variables and the answer is still awaited.
    pub(crate) asked: bool,
    /// Whether it is idle, without a task, and not held back.
    pub(crate) ready: bool,
}

/// What runs in a session.
#[derive(Debug, Clone)]
pub(in crate::node) enum What {
    /// A shell, for commands.
    Shell(Shell),
    /// An agent, for prompts.
    Agent(Box<AgentSeen>),
}

impl Stamp {
    /// Returns the current state of a pane's shell.
    pub(in crate::node) fn of(pane: &Pane) -> Self {
        Self {
            waits: probe::waits(pane.identity.pane_pid),
            cursor: pane.cursor,
            activity: pane.activity,
        }
    }
}

impl Seen {
    /// Returns the current state of its shell.
    pub(in crate::node) fn stamp(&self) -> Stamp {
        Stamp {
            waits: probe::waits(self.row.identity.pane_pid),
            cursor: self.cursor,
            activity: self.active,
        }
    }
}

impl Tracker {
    /// Starts from what the store knows.
    pub(in crate::node) fn new(rows: Vec<SessionRow>) -> Self {
        let mut tracker = Self::default();
        for row in rows {
            if row.activity != Activity::Gone {
                let known = Known {
                    activity: row.activity,
                    since: row.since,
                    env: row.env.clone(),
                    live: None,
                    fresh: Freshness::Stale,
                    telling: None,
                    asked: None,
                    rest: None,
                    tainted: BTreeSet::new(),
                    unclean: false,
                    left: BTreeMap::new(),
                    completed: row.completed,
                    failed: row.failed,
                    hold: None,
                    line: None,
                    drawn: None,
                    attached: false,
                    memory: Memory::default(),
                    prompts: None,
                    declined: None,
                };
                tracker.sessions.insert(row.identity.clone(), known);
            }
            tracker.written.insert(row.name.clone(), row);
        }
        tracker
    }

    /// Returns what is known about a session, adding it if it is new.
    pub(in crate::node) fn entry(
        &mut self,
        identity: &Identity,
        fresh: impl FnOnce() -> Known,
    ) -> &mut Known {
        self.sessions.entry(identity.clone()).or_insert_with(fresh)
    }

    /// Returns what is known about a session.
    pub(in crate::node) fn get_mut(&mut self, identity: &Identity) -> Option<&mut Known> {
        self.sessions.get_mut(identity)
    }

    /// Whether a session was asked and has not returned to its prompt.
    pub(in crate::node) fn is_asked(&self, identity: &Identity) -> bool {
        let known = self.sessions.get(identity);
        known.is_some_and(|known| known.asked.is_some())
    }

    /// Whether an interrupted task has left something in a session that must be undone.
    pub(in crate::node) fn is_unclean(&self, identity: &Identity) -> bool {
        let known = self.sessions.get(identity);
        known.is_some_and(|known| known.unclean && known.hold.is_none())
    }

    /// Whether what is known about a session's variables still holds, even if only that it could
    /// not report them.
    pub(in crate::node) fn is_fresh(&self, seen: &Seen) -> bool {
        self.sessions.get(&seen.row.identity).is_some_and(
            |known| matches!(known.fresh, Freshness::While(stamp) if stamp == seen.stamp()),
        )
    }

    /// Whether a session that has done something may be asked again: at once if its cursor has
    /// moved, which it does when a person has entered a line.
    pub(in crate::node) fn may_be_asked(&self, seen: &Seen) -> bool {
        self.sessions.get(&seen.row.identity).is_some_and(|known| {
            let moved = match known.fresh {
                Freshness::While(stamp) => stamp.cursor != seen.cursor,
                Freshness::Stale | Freshness::FromNextPrompt => false,
            };
            moved || known.rest.is_none_or(|(at, rest)| at.elapsed() >= rest)
        })
    }

    /// Returns everything that a session exports, by its last report.
    pub(in crate::node) fn live(
        &self,
        identity: &Identity,
    ) -> Option<Arc<BTreeMap<String, String>>> {
        self.sessions.get(identity)?.live.clone()
    }

    /// Returns the attempts whose shells have yet to report.
    pub(in crate::node) fn told_later(&self) -> impl Iterator<Item = AttemptId> {
        let tellings = self.sessions.values();
        tellings.filter_map(|known| Some(known.telling.as_ref()?.attempt))
    }

    /// Forgets sessions that are not `alive`, and returns the attempts whose shells will no longer
    /// report.
    pub(in crate::node) fn retain(&mut self, alive: impl Fn(&Identity) -> bool) -> Vec<AttemptId> {
        let mut untold = Vec::new();
        self.settling.retain(&alive);
        self.sessions.retain(|identity, known| {
            let stays = alive(identity);
            if !stays {
                untold.extend(known.telling.take().map(|telling| telling.attempt));
            }
            stays
        });
        untold
    }

    /// Holds a session back for a while.
    pub(in crate::node) fn hold(&mut self, identity: &Identity, until: Instant, reason: String) {
        if let Some(known) = self.sessions.get_mut(identity) {
            known.hold = Some((until, reason));
        }
    }

    /// Expects a session to become idle in a moment.
    pub(in crate::node) fn settle(&mut self, identity: &Identity) {
        self.settling.expect(identity, Instant::now());
    }

    /// Whether the session with this process in its pane is expected to become idle.
    pub(in crate::node) fn expects_idle(&self, pane_pid: u32) -> bool {
        self.settling.expects(pane_pid)
    }

    /// Notes how a session was seen that may be expected to become idle.
    pub(in crate::node) fn settled(&mut self, seen: &Seen) {
        let identity = &seen.row.identity;
        let settled = seen.ready || seen.row.current_task.is_some();
        self.settling.seen(identity, settled, Instant::now());
    }

    /// Returns how long to wait before looking again for a session that is expected to become idle.
    pub(in crate::node) fn settling(&self) -> Option<Duration> {
        self.settling.due_in(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(waits: u64) -> Stamp {
        Stamp {
            waits: Some(waits),
            cursor: (2, 0),
            activity: 0,
        }
    }

    fn ago(declined: Declined, seconds: u64) -> Declined {
        let past = Duration::from_secs(seconds);
        let at = declined.at.checked_sub(past).expect("an earlier time");
        Declined { at, ..declined }
    }

    #[test]
    fn a_shell_that_declined_is_asked_again_after_a_new_prompt_or_a_change() {
        let mut first = Declined::now("a draft", None, Some(7));
        assert!(first.holds(7, stamp(3)));
        // What changed before the look does not show as a change, so the shell is asked once more.
        assert!(!ago(first, 1).holds(7, stamp(3)));
        // A new prompt, even one that was drawn before the look.
        assert!(!first.holds(8, stamp(3)));
        assert!(!Declined::now("a draft", None, Some(7)).holds(8, stamp(3)));
        assert!(first.is_before(8) && !first.is_before(7));
        let mut second = Declined::now("a draft", Some(first), Some(7));
        assert!(second.holds(7, stamp(4)));
        assert!(ago(second, 599).holds(7, stamp(4)));
        assert!(!ago(second, 600).holds(7, stamp(4)));
        assert!(ago(second, 1).holds(7, stamp(5)));
        assert!(!ago(second, 2).holds(7, stamp(5)));
        let rests = std::iter::successors(Some(second), |before| {
            Some(Declined::now("a draft", Some(*before), Some(7)))
        });
        let longest = rests.take(20).last().expect("the last").rest;
        assert_eq!(longest, Duration::from_secs(60));
    }
}
