//! The matcher over a real store, with a policy and surroundings that a test dictates.

mod deciding;
mod presenting;
mod rounds;
mod variables;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use jiff::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::model::clock::Tick;
use crate::model::eligibility::SHELL;
use crate::model::ids::PaneId;
use crate::model::matching::Term;
use crate::model::session::Activity;
use crate::model::task::{Metadata, NewTask, Status};

/// The wall clock when the test begins, in seconds.
const EPOCH: i64 = 1_800_000_000;

/// Returns the time by the wall clock this many milliseconds after the test has begun.
pub(super) fn wall(ms: u64) -> Timestamp {
    Timestamp::from_second(EPOCH).expect("a time") + Duration::from_millis(ms)
}

/// A clock that stands until a test moves it.
#[derive(Clone, Default)]
struct SetClock(Rc<Cell<u64>>);

impl Clock for SetClock {
    fn now(&self) -> Now {
        Now {
            wall: wall(self.0.get()),
            tick: Tick::after_origin(Duration::from_millis(self.0.get())),
        }
    }
}

/// What is known about the machine, by the names of sessions.
#[derive(Default)]
struct KnownMachine {
    exports: BTreeMap<String, BTreeMap<String, String>>,
    stale: BTreeSet<String>,
    directories: HashMap<PathBuf, Option<String>>,
}

impl Surroundings for KnownMachine {
    fn variables(
        &self,
        session: &SessionRow,
        names: &BTreeSet<String>,
    ) -> BTreeMap<String, String> {
        let mut exports = self.exports.get(&session.name).cloned().unwrap_or_default();
        exports.retain(|name, _| names.contains(name));
        exports
    }

    fn is_stale(&self, session: &SessionRow) -> bool {
        self.stale.contains(&session.name)
    }

    async fn resolve(&mut self, _: Vec<PathBuf>) -> HashMap<PathBuf, Option<String>> {
        self.directories.clone()
    }
}

type Answering = Box<dyn Fn(&Question) -> Vec<Decision>>;

/// A policy that answers as a test says, and remembers what it was asked.
struct ScriptedPolicy {
    answers: Answering,
    asked: RefCell<Vec<Question>>,
    lists_busy: bool,
    failed: bool,
    gone: bool,
}

impl Decide for ScriptedPolicy {
    fn lists_busy(&self) -> bool {
        self.lists_busy
    }

    async fn decide(&self, question: Question) -> Option<MatcherAnswer> {
        let decisions = (self.answers)(&question);
        self.asked.borrow_mut().push(question);
        (!self.gone).then(|| MatcherAnswer {
            decisions,
            by: PolicyId {
                name: "scripted".to_owned(),
                version: "1".to_owned(),
                sha256: String::new(),
            },
            failed: self.failed,
        })
    }
}

fn ranking(session: usize, points: i32) -> Ranking {
    Ranking {
        session,
        points,
        terms: vec![Term {
            name: "a term".to_owned(),
            points,
        }],
    }
}

fn take(session: usize) -> Decision {
    Decision::Assign {
        take: ranking(session, 7),
        others: Vec::new(),
    }
}

fn waits() -> Decision {
    Decision::Wait {
        reason: "it waits".to_owned(),
        others: Vec::new(),
    }
}

/// Gives each task the first session that it may go to and that is left. Tasks that begin with
/// "wait" wait.
fn first_come(question: &Question) -> Vec<Decision> {
    let mut taken = BTreeSet::new();
    let decisions = question.tasks.iter().map(|task| {
        let ready = |&session: &usize| question.sessions[session].ready;
        let all = || (0..question.sessions.len()).filter(ready).collect();
        let may: Vec<usize> = task.eligible.clone().unwrap_or_else(all);
        let free = may.into_iter().find(|session| !taken.contains(session));
        match free {
            Some(session) if !task.summary.starts_with("wait") => {
                taken.insert(session);
                take(session)
            }
            _ => waits(),
        }
    });
    decisions.collect()
}

pub(super) fn identity(pane: u32) -> Identity {
    Identity {
        node: Default::default(),
        server_pid: 1,
        server_start: 2,
        pane: PaneId::parse(&format!("%{pane}")).expect("a pane"),
        pane_pid: 1000 + pane,
    }
}

/// A shell that waits at its prompt.
pub(super) fn shell(name: &str, pane: u32) -> SessionRow {
    SessionRow {
        name: name.to_owned(),
        identity: identity(pane),
        activity: Activity::Idle,
        reason: None,
        since: wall(0),
        provider: SHELL.to_owned(),
        current_dir: Some("/w".to_owned()),
        git_branch: Some("main".to_owned()),
        repository: None,
        shell: None,
        env: BTreeMap::new(),
        current_task: None,
        completed: 0,
        failed: 0,
        context_at: wall(0),
        admission: Admission::Open,
        paused: false,
        labels: BTreeMap::new(),
        homes: Vec::new(),
    }
}

/// A command that names variables.
fn with_variables(content: &str, names: &[&str]) -> NewTask {
    let values = names.iter().map(|&name| (name.to_owned(), "1".to_owned()));
    NewTask {
        metadata: Metadata {
            env_vars: values.collect(),
            ..Metadata::default()
        },
        ..NewTask::command(content)
    }
}

/// A session that is offered to the matcher.
#[derive(Clone)]
struct OfferedSession {
    row: SessionRow,
    ready: bool,
    asked: bool,
}

/// A queue, the sessions that are offered, and the policy that decides.
struct MatcherScene {
    _directory: TempDir,
    /// The queue as another process has it open.
    store: Store,
    matcher: Matcher,
    sessions: Vec<OfferedSession>,
    machine: KnownMachine,
    policy: ScriptedPolicy,
    clock: SetClock,
}

impl MatcherScene {
    /// Returns a scene with that many shells at their prompts.
    fn new(shells: u32) -> Self {
        Self::set(shells, MatcherSettings::default())
    }

    fn set(shells: u32, settings: MatcherSettings) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let open = || Store::open(directory.path()).expect("a store");
        let ledger = Ledger::here(open(), || true);
        let sessions = (0..shells).map(|pane| OfferedSession {
            row: shell(&format!("s{pane}"), pane),
            ready: true,
            asked: false,
        });
        Self {
            store: open(),
            matcher: Matcher::new(ledger, settings),
            sessions: sessions.collect(),
            machine: KnownMachine::default(),
            policy: ScriptedPolicy {
                answers: Box::new(first_come),
                asked: RefCell::default(),
                lists_busy: false,
                failed: false,
                gone: false,
            },
            clock: SetClock::default(),
            _directory: directory,
        }
    }

    fn queue(&mut self, tasks: &[NewTask]) -> Vec<TaskId> {
        self.store.queue(tasks, wall(0)).expect("queued")
    }

    fn queue_one(&mut self, task: NewTask) -> TaskId {
        self.queue(&[task])[0]
    }

    fn task(&mut self, id: TaskId) -> Task {
        self.store.task(id).expect("a task")
    }

    fn answers(&mut self, answers: impl Fn(&Question) -> Vec<Decision> + 'static) {
        self.policy.answers = Box::new(answers);
    }

    fn at(&mut self, ms: u64) -> &mut Self {
        self.clock.0.set(ms);
        self
    }

    fn try_round(&mut self) -> Result<Matched, MatchError> {
        let offers = self.sessions.iter().map(|session| Offer {
            row: &session.row,
            ready: session.ready,
            asked: session.asked,
        });
        let offers: Vec<Offer<'_>> = offers.collect();
        let round = self
            .matcher
            .round(&offers, &self.policy, &mut self.machine, &self.clock);
        match pin!(round).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(matched) => matched,
            Poll::Pending => panic!("nothing in it takes any time"),
        }
    }

    fn round(&mut self) -> Matched {
        self.try_round().expect("a round")
    }

    /// Runs a round, and returns the tasks that were given away, each with its session.
    fn given(&mut self) -> Vec<(TaskId, String)> {
        let given = self.round().given.into_iter();
        given.map(|given| (given.task.id, given.session)).collect()
    }

    /// Runs a round, and returns the tasks that the policy was asked about, question by question.
    fn asks(&mut self) -> Vec<Vec<i64>> {
        self.round();
        self.questions()
            .iter()
            .map(|question| question.tasks.iter().map(|task| task.id).collect())
            .collect()
    }

    /// Runs a round, and returns whether the policy was asked.
    fn is_asked(&mut self) -> bool {
        !self.asks().is_empty()
    }

    /// Returns the questions since the last call.
    fn questions(&mut self) -> Vec<Question> {
        self.policy.asked.take()
    }
}
