//! How far the tasks have been offered to each session, so that a long queue of tasks that the policy
//! lets wait is not asked about again and again.
//!
//! Tasks have an order: by priority, the highest first, then by number. A session's *reach* is the part
//! of this order that was offered to it in vain: every task before it had the session to choose and was
//! left to wait. Only what comes after the reach is asked about, until something changes on which the
//! answers may depend: the session, a task, a pause, the policy, or the time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::model::clock::Tick;
use crate::model::eligibility::Admission;
use crate::model::ids::{Identity, TaskId};
use crate::model::naming::Home;
use crate::model::session::Shell;
use crate::store::{PauseRow, SessionRow};

/// A queue is asked about as a whole, each time, as long as it has no more tasks than this: a policy may
/// compare them with each other.
const SHORT: usize = 1_024;

/// So many variables are taken note of. Of further ones it is only noticed with time that they change.
const MOST_NAMED: usize = 1_000;

/// A place in the order of tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// Before all tasks.
    #[default]
    Start,
    /// After this task, and after every task before it.
    After(Reverse<i32>, TaskId),
    /// After all tasks.
    End,
}

impl Reach {
    /// Right after a task.
    pub(super) fn after(priority: i32, task: TaskId) -> Self {
        Self::After(Reverse(priority), task)
    }

    /// Right before a task.
    pub(super) fn before(priority: i32, task: TaskId) -> Self {
        // Another tool may have given a task any number.
        Self::After(Reverse(priority), TaskId(task.0.saturating_sub(1)))
    }

    /// Returns the task after which to read on; `None`: there is none.
    pub(super) fn task(self) -> Option<(i32, TaskId)> {
        match self {
            Self::Start => None,
            Self::After(Reverse(priority), task) => Some((priority, task)),
            Self::End => Some((i32::MIN, TaskId(i64::MAX))),
        }
    }
}

/// What a task's requirements and a policy may judge a session by, except for what always changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SessionFacts {
    name: String,
    homes: Vec<Home>,
    provider: String,
    directory: Option<String>,
    branch: Option<String>,
    repository: Option<String>,
    shell: Option<Shell>,
    env: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    admission: Admission,
    paused: bool,
    /// Those of its variables that tasks name.
    variables: BTreeMap<String, String>,
}

impl SessionFacts {
    /// Takes those of a row, and these of its variables.
    pub(super) fn of(row: &SessionRow, variables: BTreeMap<String, String>) -> Self {
        // Whole, so that a further fact is not forgotten here: tasks would wait although they could run.
        let SessionRow {
            name,
            identity: _,
            activity: _,
            reason: _,
            since: _,
            provider,
            current_dir,
            git_branch,
            repository,
            shell,
            env,
            current_task: _,
            completed: _,
            failed: _,
            context_at: _,
            admission,
            paused,
            labels,
            homes,
        } = row;
        Self {
            name: name.clone(),
            homes: homes.clone(),
            provider: provider.clone(),
            directory: current_dir.clone(),
            branch: git_branch.clone(),
            repository: repository.clone(),
            shell: *shell,
            env: env.clone(),
            labels: labels.clone(),
            admission: *admission,
            paused: *paused,
            variables,
        }
    }
}

/// How far tasks have been offered.
#[derive(Debug, Default)]
pub(super) struct OfferProgress {
    reaches: HashMap<Identity, Reach>,
    sessions: HashMap<Identity, SessionFacts>,
    /// Variables that tasks have named.
    named: BTreeSet<String>,
    pauses: Vec<PauseRow>,
    /// The last row of the history that was taken note of.
    pub(super) history: i64,
    /// How many tasks lie before the furthest reach, at least.
    walked: usize,
    /// How long it took to ask about them.
    spent: Duration,
    /// When everything is to be asked about again: a policy may wait for time to pass.
    again: Option<Tick>,
}

impl OfferProgress {
    /// Forgets everything, so that every task is offered again.
    pub(super) fn reset(&mut self) {
        self.reaches.clear();
        self.walked = 0;
        self.spent = Duration::ZERO;
        self.again = None;
    }

    /// Whether the time has come to ask about everything again.
    pub(super) fn is_due(&self, now: Tick) -> bool {
        self.again.is_some_and(|again| again <= now)
    }

    /// Takes note of the sessions and pauses as they are now. `together`: the policy sees all sessions, so
    /// a change of one may matter to all.
    pub(super) fn see<'a>(
        &mut self,
        sessions: impl Iterator<Item = &'a SessionRow>,
        variables: impl Fn(&SessionRow, &BTreeSet<String>) -> BTreeMap<String, String>,
        pauses: &[PauseRow],
        together: bool,
    ) {
        let seen: HashMap<Identity, SessionFacts> = sessions
            .map(|row| {
                let variables = match self.named.is_empty() {
                    true => BTreeMap::new(),
                    false => variables(row, &self.named),
                };
                (row.identity.clone(), SessionFacts::of(row, variables))
            })
            .collect();
        if self.pauses != pauses {
            self.pauses = pauses.to_vec();
            self.reset();
        }
        if together && self.sessions != seen {
            self.reset();
        }
        let before = std::mem::replace(&mut self.sessions, seen);
        self.reaches
            .retain(|identity, _| before.get(identity) == self.sessions.get(identity));
    }

    /// Takes note of the first task, in order, that has changed or is new.
    pub(super) fn lower(&mut self, priority: i32, task: TaskId) {
        let before = Reach::before(priority, task);
        for reach in self.reaches.values_mut() {
            *reach = (*reach).min(before);
        }
    }

    /// Takes note of the variables that a task names.
    pub(super) fn name<'a>(&mut self, names: impl Iterator<Item = &'a String>) {
        for name in names {
            if self.named.len() < MOST_NAMED && !self.named.contains(name) {
                self.named.insert(name.clone());
            }
        }
    }

    /// Returns where to begin, so that each of these sessions is offered all that it was not offered yet.
    /// `goes_on`: the last round left tasks to this one.
    pub(super) fn start<'a>(
        &self,
        ready: impl Iterator<Item = &'a Identity>,
        goes_on: bool,
    ) -> Reach {
        if self.walked <= SHORT && !goes_on {
            return Reach::Start;
        }
        let reach = |identity| self.reaches.get(identity).copied().unwrap_or_default();
        ready.map(reach).min().unwrap_or_default()
    }

    /// Notes that everything before `to`, from `from` on, was offered to these sessions in vain: `asked` more
    /// tasks.
    pub(super) fn advance<'a>(
        &mut self,
        left: impl Iterator<Item = &'a Identity>,
        (from, to): (Reach, Reach),
        asked: usize,
    ) {
        for identity in left {
            let reach = self.reaches.entry(identity.clone()).or_default();
            if *reach >= from {
                *reach = (*reach).max(to);
            }
        }
        if from == Reach::Start {
            self.walked = 0;
        }
        self.walked += asked;
    }

    /// Notes how long a round has taken, and when to ask about everything again.
    pub(super) fn took(&mut self, took: Duration, now: Tick) {
        self.spent += took;
        self.again = Some(now + ask_again_after(self.spent));
    }
}

/// Returns how long after a decision to ask again about tasks that the policy lets wait, if nothing
/// else happens: rarely enough that it costs little, however long a decision takes.
fn ask_again_after(took: Duration) -> Duration {
    (took * 20).max(Duration::from_secs(2))
}
