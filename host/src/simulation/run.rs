//! One run: one daemon after another over one store, looks at the sessions, and tasks given to
//! those that are ready.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};

use fastrand::Rng;
use jiff::Timestamp;

use super::agents::{AgentPane, Habits, LateReports};
use super::rounds;
use super::shells::Terminal;
use super::world::{Simulated, WorldEvent, WorldState, counts};
use super::{AGENTS, COMMANDS, EPOCH, LAST, PROMPTS, RESTS, SCAN, SHELLS, rules};
use crate::agents::{Catalog, Profile};
use crate::matcher::Matcher;
use crate::model::clock::{Clock, Now, Tick};
use crate::model::ids::{Identity, PaneId, TaskId};
use crate::model::task::{Kind, Metadata, NewTask, Status};
use crate::node::attempt::driver::{Driver, News};
use crate::node::attempt::job::Job;
use crate::node::attempt::turn::Turn;
use crate::node::attempt::{Machine, Note, PaneSight, Refusals, Scan};
use crate::store::{Ledger, Store};

/// A limit for looks and acts at one moment, far above what anything needs that lets time pass.
const AT_ONCE: u32 = 5_000;

/// The profiles of the agents, and whether they keep records.
const PROFILES: [(&str, bool); 4] = [
    ("claude", true),
    ("codex", true),
    ("gemini", false),
    (READS_LINES, false),
];

/// An agent that draws no screen of its own and reads lines.
pub(super) const READS_LINES: &str = "lines";

/// Its profile.
const LINES: &str = r#"
name = "lines"
summary = "An agent that reads lines"

[recognise]
programs = ["lines"]

[state]
busy-screen = ['^working']
waiting-screen = ['^may I ']
idle-screen = ['^> ?$']
tail = 1

[paste]
mode = "line"
pause = "0ms"
submit = "Enter"

[turn]
settle = "1s"
answer = '^answer: (?P<text>.*)$'
errors = ['^error: (?P<message>.*)$']
limits = ['^limit: (?P<message>.*)$']
"#;

/// A look at the sessions, on its way to the attempts.
pub(super) struct SimulatedScan {
    /// The daemon that looked.
    daemon: u32,
    at: Tick,
    sessions: BTreeMap<Identity, Arc<PaneSight>>,
}

/// One daemon after another over one store.
pub(super) struct Run {
    pub(super) state: Rc<RefCell<WorldState>>,
    pub(super) store: Store,
    pub(super) driver: Option<Driver<Simulated>>,
    /// The matcher of the same daemon.
    pub(super) matcher: Option<Matcher>,
    pub(super) tasks: Vec<TaskId>,
    left: Arc<AtomicU32>,
    asked: Rc<Cell<u64>>,
    /// Whether it goes on forever without letting time pass.
    stuck: Cell<bool>,
    directory: tempfile::TempDir,
    /// The number of the current daemon.
    daemon: u32,
    /// Until when sessions are skipped.
    pub(super) held: BTreeMap<Identity, u64>,
    pub(super) refusals: BTreeMap<TaskId, Refusals>,
    scanned: u64,
    /// How often the sessions were looked at since it became calm.
    rounds: u64,
    pub(super) is_calm: bool,
}

/// Returns a directory whose files need no disk, if there is one.
fn shared_memory() -> std::path::PathBuf {
    let memory = std::path::PathBuf::from("/dev/shm");
    if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    }
}

fn identity(index: usize) -> Identity {
    Identity {
        node: Default::default(),
        server_pid: 10,
        server_start: 1,
        pane: PaneId::parse(&format!("%{index}")).expect("a pane"),
        pane_pid: 100 + u32::try_from(index).expect("small"),
    }
}

/// Returns the tasks: commands, and prompts that each contain their number.
fn tasks(rng: &mut Rng, prompts: usize) -> Vec<NewTask> {
    let mut task = |new: NewTask| NewTask {
        max_retries: rng.u32(0..3),
        timeout_seconds: (rng.u8(0..3) == 0).then(|| rng.u64(1..6)),
        ..new
    };
    let commands: Vec<NewTask> = (0..COMMANDS)
        .map(|index| task(NewTask::command(format!("command {index}"))))
        .collect();
    // Task numbers begin at 1, and those of the commands come first.
    let prompts = (0..prompts).map(|index| {
        let number = COMMANDS + index + 1;
        let prepared = index == 0;
        let mut prompt = task(NewTask::prompt(format!("Do what task {number} says.")));
        prompt.metadata = Metadata {
            prerequisites: prepared.then(|| "true".to_owned()).into_iter().collect(),
            ..prompt.metadata
        };
        prompt
    });
    let prompts: Vec<NewTask> = prompts.collect();
    commands.into_iter().chain(prompts).collect()
}

fn agents(rng: &mut Rng, count: usize) -> Vec<AgentPane> {
    // All patterns of all profiles are parsed only once.
    static CATALOG: LazyLock<Catalog> = LazyLock::new(Catalog::built_in);
    static READER: LazyLock<Arc<Profile>> =
        LazyLock::new(|| Arc::new(Profile::read(LINES).expect("a profile")));
    let agent = |index: usize| {
        let (name, keeps) = PROFILES[rng.usize(0..PROFILES.len())];
        let habits = Habits {
            records: keeps && rng.u8(0..6) > 0,
            open: rng.bool(),
            reports: match rng.u8(0..4) {
                0 => None,
                1 => Some(LateReports(true)),
                _ => Some(LateReports(false)),
            },
            messages: rng.bool(),
            titles: keeps,
            names: keeps && rng.bool(),
        };
        let known = match name {
            READS_LINES => &READER,
            name => &CATALOG.get(name).expect("a profile").profile,
        };
        let transcript = known.transcript.clone().filter(|_| keeps);
        let profile = Arc::new(Profile {
            transcript,
            ..Profile::clone(known)
        });
        AgentPane::new(identity(SHELLS + index), profile, habits)
    };
    (0..count).map(agent).collect()
}

impl Run {
    /// Returns the run of a seed, in which nothing has happened.
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let directory = tempfile::tempdir_in(shared_memory()).expect("a directory");
        let mut store = Store::open(directory.path()).expect("a store");
        let origin = Timestamp::from_second(EPOCH).expect("a time");
        let has_agents = rng.u8(0..5) > 0;
        let (prompts, count) = if has_agents {
            (PROMPTS, AGENTS)
        } else {
            (0, 0)
        };
        let tasks = tasks(&mut rng, prompts);
        let tasks = store.queue(&tasks, origin).expect("queued");
        let shells = (0..SHELLS).map(|index| Terminal::new(identity(index)));
        let agents = agents(&mut rng, count);
        let mut state = WorldState::new(rng, shells.collect(), agents);
        state.at(1, WorldEvent::Person);
        Self {
            state: Rc::new(RefCell::new(state)),
            store,
            driver: None,
            matcher: None,
            tasks,
            left: Arc::new(AtomicU32::new(0)),
            asked: Rc::default(),
            stuck: Cell::default(),
            directory,
            daemon: 0,
            held: BTreeMap::new(),
            refusals: BTreeMap::new(),
            scanned: 0,
            rounds: 0,
            is_calm: false,
        }
    }

    pub(super) fn world(&self) -> Simulated {
        Simulated {
            state: Rc::clone(&self.state),
            left: Arc::clone(&self.left),
            asked: Rc::clone(&self.asked),
        }
    }

    pub(super) fn now(&self) -> Now {
        self.world().now()
    }

    /// Starts a daemon, which resumes what the last one left.
    fn start(&mut self) {
        let left = {
            let mut state = self.state.borrow_mut();
            for pane in &mut state.agents {
                pane.memory = Default::default();
            }
            if state.is_calm() {
                u32::MAX
            } else {
                state.rng.u32(1..160)
            }
        };
        self.daemon += 1;
        self.state
            .borrow_mut()
            .record(|| "a daemon starts".to_owned());
        self.held.clear();
        self.refusals.clear();
        self.left.store(left, Ordering::Relaxed);
        let store = Store::open(self.directory.path()).expect("a store");
        let left = Arc::clone(&self.left);
        let ledger = Ledger::here(store, move || counts(&left));
        self.matcher = Some(rounds::matcher(ledger.clone()));
        let mut driver = Driver::new(Rc::new(self.world()), ledger);
        let now = self.now();
        let why = "the daemon ended while it gave the answer";
        self.store
            .drop_replies(None, why, now.wall)
            .expect("dropped");
        for open in self.store.open_attempts().expect("attempts") {
            driver.start(match open.task.kind {
                Kind::Command => Machine::Job(Box::new(Job::resume(open, rules(), now))),
                Kind::Prompt => {
                    let turn = Turn::resume(open, rules(), Refusals::default(), now);
                    Machine::Turn(Box::new(turn))
                }
            });
        }
        self.driver = Some(driver);
    }

    /// Looks at the sessions. What is seen is reported now, or a moment later.
    fn look(&mut self) {
        let at = self.now().tick;
        let mut state = self.state.borrow_mut();
        let (now, wall) = (state.now, state.wall());
        let shells = state.shells.iter();
        let shells = shells.filter(|pane| pane.lives && pane.hidden <= now);
        let mut sessions: BTreeMap<Identity, Arc<PaneSight>> = shells
            .map(|pane| (pane.identity.clone(), Arc::new(pane.sight())))
            .collect();
        let agents = state.agents.iter_mut();
        for pane in agents.filter(|pane| pane.lives && pane.hidden <= now) {
            let sight = pane.sight(now, wall);
            sessions.insert(pane.identity.clone(), Arc::new(sight));
        }
        let round = SimulatedScan {
            daemon: self.daemon,
            at,
            sessions,
        };
        let late = if state.chance(4) {
            state.rng.u64(1..90)
        } else {
            0
        };
        state.at(late, WorldEvent::Seen(Box::new(round)));
    }

    /// Reports what was seen, and gives tasks to the sessions that are ready.
    fn tell(&mut self, round: SimulatedScan) {
        let now = self.now();
        if round.daemon != self.daemon || self.driver.is_none() {
            return;
        }
        self.hear();
        self.store.end_pauses(now.wall).expect("ended");
        let sessions = round.sessions.clone();
        let scan = Scan {
            at: Some(round.at),
            sessions: round.sessions,
            requests: self.store.requests().expect("requests"),
            replies: self.store.replies().expect("replies"),
        };
        if let Some(driver) = &self.driver {
            driver.publish(scan);
        }
        self.give(&sessions);
    }

    /// Takes what attempts have reported since the last time.
    fn hear(&mut self) {
        let told = self.driver.as_mut().map(Driver::take_told);
        let mut state = self.state.borrow_mut();
        let now = state.now;
        for told in told.unwrap_or_default() {
            match told.what {
                News::Broken => state.fault(&format!("a commit of {} failed", told.attempt)),
                News::Note(Note::Hold(rest, _)) => {
                    let rest = u64::try_from(rest.as_millis()).expect("not long");
                    self.held.insert(told.identity, now + rest);
                }
                News::Note(Note::Refused { pasted }) => {
                    let refusals = self.refusals.entry(told.task).or_default();
                    refusals.all += 1;
                    refusals.pasted += u32::from(pasted);
                }
                News::Note(Note::Declined(_)) => {
                    self.held.insert(told.identity, now + 1_000);
                }
                News::Note(Note::Begun) => {
                    self.refusals.remove(&told.task);
                }
                News::Note(Note::NoRecord) => {
                    if let Some(index) = state.agent(&told.identity) {
                        state.agents[index].memory.keeps_none = true;
                    }
                }
                News::Note(Note::Typed | Note::Orders) => {}
                News::Ended(_) => {
                    if let Some(matcher) = &mut self.matcher {
                        matcher.touch();
                    }
                }
            }
        }
    }

    /// Runs everything that can run.
    pub(super) async fn settle(&self) {
        for count in 0.. {
            if count > AT_ONCE {
                let mut state = self.state.borrow_mut();
                state.fault("it goes on without letting time pass");
                self.stuck.set(true);
                return;
            }
            let asked = self.asked.get();
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            if self.asked.get() != asked {
                continue;
            }
            let first = self.state.borrow_mut().looking.pop_first();
            match first {
                // An attempt of a killed daemon no longer waits.
                Some((_, look)) => drop(look.send(())),
                None => return,
            }
        }
    }

    /// Runs until everything has ended.
    pub(super) async fn run(&mut self) {
        self.start();
        loop {
            self.settle().await;
            if self.stuck.get() {
                return;
            }
            if self.left.load(Ordering::Relaxed) == 0 {
                // Killed: what it was doing stays as it is.
                self.driver = None;
                self.matcher = None;
                self.settle().await;
                self.start();
            }
            let next = self.state.borrow().events.keys().next().copied();
            let due = self.scanned + SCAN;
            if next.is_some_and(|(at, _)| at <= due) {
                self.next_event();
                continue;
            }
            self.state.borrow_mut().now = due;
            self.scanned = due;
            self.look();
            if self.state.borrow().is_calm() {
                self.calm();
                self.rounds += 1;
                // Asking the store takes a while.
                if !self.rounds.is_multiple_of(RESTS) {
                    continue;
                }
                if self.is_over() || self.rounds > LAST {
                    return;
                }
                self.skip();
            }
        }
    }

    fn next_event(&mut self) {
        let mut state = self.state.borrow_mut();
        let Some(((at, _), event)) = state.events.pop_first() else {
            return;
        };
        state.now = state.now.max(at);
        match event {
            WorldEvent::Wake(wake) => {
                // The receiver may have been dropped.
                let _ = wake.send(());
            }
            WorldEvent::Read(pane) => state.read(pane),
            WorldEvent::Over(pane) => state.over(pane),
            WorldEvent::Input(pane) => state.take_input(pane),
            WorldEvent::Agent(pane, step, what) => state.agent_goes_on(pane, step, what),
            WorldEvent::Told(pane, report) => state.told(pane, report),
            WorldEvent::Person => {
                drop(state);
                self.person();
            }
            WorldEvent::Seen(round) => {
                drop(state);
                self.tell(*round);
            }
        }
    }

    /// If nothing is running, skips to the time that everything left is waiting for.
    fn skip(&mut self) {
        let open = self.store.open_attempts().expect("attempts");
        if open.into_iter().any(|open| !self.is_settled(open.task.id)) {
            return;
        }
        let wall = self.now().wall;
        let pauses = self.store.pauses().expect("pauses").into_iter();
        let ends = pauses.filter_map(|pause| pause.until);
        let rest = self.matcher.as_ref();
        let rest = rest.and_then(|matcher| matcher.due_in(self.now()));
        let mut state = self.state.borrow_mut();
        let now = state.now;
        let ends = ends.map(|at| {
            let ms = at.as_millisecond() - wall.as_millisecond();
            now + u64::try_from(ms).unwrap_or_default()
        });
        let rest = rest.map(|rest| now + u64::try_from(rest.as_millis()).unwrap_or_default());
        let next = ends.chain(self.held.values().copied()).chain(rest);
        let next = next.filter(|&at| at > now + SCAN).min();
        if let Some(next) = next {
            state.now = next;
            self.scanned = next;
        }
    }

    fn is_over(&mut self) -> bool {
        let tasks = self.tasks.clone();
        tasks.into_iter().all(|id| self.is_settled(id))
    }

    /// Whether nothing more happens to a task by itself: it has ended, or its agent really is
    /// waiting and nobody answers.
    pub(super) fn is_settled(&mut self, id: TaskId) -> bool {
        let task = self.store.task(id).expect("a task");
        let open = self.store.open_attempts().expect("attempts");
        let open = open.iter().find(|open| open.task.id == id);
        match (task.status, open) {
            (Status::WaitingInput, Some(open)) => {
                let state = self.state.borrow();
                let pane = state
                    .agent(&open.identity)
                    .map(|index| &state.agents[index]);
                task.asks.is_some() && pane.is_some_and(|pane| pane.ignored && pane.waits(id))
            }
            (status, open) => status.is_settled() && open.is_none(),
        }
    }
}
