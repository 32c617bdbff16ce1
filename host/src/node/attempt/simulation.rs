//! Attempts in a simulated world: the real machines, their real driver and the real store, beside
//! shells, tmux and people that are made up, in virtual time, from one seed.
//!
//! People type and take back drafts, run commands of their own, press Ctrl-C, cancel tasks and close
//! panes; directories are slow or dead; answers of tmux are lost; a session is not seen for a while; the
//! wall clock jumps; the daemon is killed before, in and after each act. A seed that fails is one number:
//! `ASSIGNER_SIMULATION=SEED` runs it alone, and `ASSIGNER_SIMULATIONS=N` runs as many as that.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fastrand::Rng;
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::driver::{Collected, Driver, Look, News, Work, World};
use super::job::Job;
use super::testing::{EPOCH, rules};
use super::{Act, Brief, Done, Ending, Files, Machine, PaneSight, Scan, Wants};
use crate::model::clock::{Clock, Now, Tick};
use crate::model::ids::{AttemptId, Identity, PaneId, TaskId};
use crate::model::matching::PolicyId;
use crate::model::session::Shell;
use crate::model::task::{NewTask, Outcome, Status};
use crate::node::script::Step;
use crate::node::spool::Taken;
use crate::store::{Claim, Ledger, Sqlite, Store};
use crate::tmux::{Error, Refusal, Typed, TypedLine};

/// How many seeds every run of the tests tries.
const SEEDS: u64 = 100;

/// Sessions and tasks of one run.
const PANES: usize = 3;
const TASKS: usize = 6;

/// After this nobody disturbs anything any more, in milliseconds.
const CALM: u64 = 60_000;

/// By then everything must have come to its end.
const LAST: u64 = 4_000_000;

/// How often the sessions are looked at, in milliseconds.
const SCAN: u64 = 100;

/// A job in the spool.
#[derive(Debug, Default)]
struct Spooled {
    taken: Option<bool>,
    exit: Option<i32>,
    runs: u32,
    written: bool,
    succeeds: bool,
}

/// A pane with a shell.
#[derive(Debug)]
struct Terminal {
    identity: Identity,
    lives: bool,
    /// Not seen before this.
    hidden: u64,
    draft: String,
    /// What was typed and not read yet.
    lines: VecDeque<AttemptId>,
    /// What runs: a job, or a command of a person's.
    runs: Option<Option<AttemptId>>,
    column: u32,
}

impl Terminal {
    fn cursor(&self) -> (u32, u32) {
        (
            2 + u32::try_from(self.draft.len()).unwrap_or(0),
            self.column,
        )
    }

    fn is_idle(&self) -> bool {
        self.lives && self.draft.is_empty() && self.runs.is_none() && self.lines.is_empty()
    }
}

/// What is going to happen.
#[derive(Debug)]
enum Event {
    Wake(oneshot::Sender<()>),
    Read(usize),
    Over(usize),
    Person,
}

struct State {
    rng: Rng,
    now: u64,
    skew: i64,
    next: u64,
    events: BTreeMap<(u64, u64), Event>,
    panes: Vec<Terminal>,
    jobs: BTreeMap<AttemptId, Spooled>,
    faults: Vec<String>,
}

impl State {
    fn at(&mut self, after: u64, event: Event) {
        self.next += 1;
        self.events.insert((self.now + after, self.next), event);
    }

    fn is_calm(&self) -> bool {
        self.now >= CALM
    }

    fn chance(&mut self, of: u64) -> bool {
        !self.is_calm() && self.rng.u64(0..of) == 0
    }

    fn pane(&self, identity: &Identity) -> Option<usize> {
        self.panes
            .iter()
            .position(|pane| pane.identity == *identity)
    }

    /// A shell reads its next line.
    fn read(&mut self, index: usize) {
        let pane = &mut self.panes[index];
        if !pane.lives || pane.runs.is_some() {
            return;
        }
        let Some(attempt) = pane.lines.pop_front() else {
            return;
        };
        pane.column += 1;
        let Some(job) = self.jobs.get_mut(&attempt).filter(|job| job.written) else {
            // There is no such file: nothing happens.
            return;
        };
        if job.taken.is_some() {
            return;
        }
        job.taken = Some(true);
        job.runs += 1;
        pane.runs = Some(Some(attempt));
        let lasts = self.rng.u64(1..3_000);
        self.at(lasts, Event::Over(index));
    }

    /// What runs in a pane has ended.
    fn over(&mut self, index: usize) {
        let pane = &mut self.panes[index];
        let Some(ran) = pane.runs.take().filter(|_| pane.lives) else {
            return;
        };
        pane.column += 1;
        if let Some(job) = ran.and_then(|attempt| self.jobs.get_mut(&attempt)) {
            job.exit = Some(i32::from(!job.succeeds));
        }
        self.at(1, Event::Read(index));
    }

    /// A person does something.
    fn person(&mut self) {
        let index = self.rng.usize(0..self.panes.len());
        let what = self.rng.u32(0..12);
        let pane = &mut self.panes[index];
        match what {
            0..=2 if pane.runs.is_none() => pane.draft.push('x'),
            3..=5 => pane.draft.clear(),
            6 if pane.runs.is_none() && !pane.draft.is_empty() => {
                pane.draft.clear();
                pane.column += 1;
                pane.runs = Some(None);
                let lasts = self.rng.u64(1..2_000);
                self.at(lasts, Event::Over(index));
            }
            // Ctrl-C: what runs is dropped, and leaves no code.
            7 | 8 if pane.runs.take().is_some() => {
                pane.column += 1;
                self.at(1, Event::Read(index));
            }
            9 => pane.hidden = self.now + self.rng.u64(1..2_000),
            10 => {
                let hours = self.rng.i64(-3..4);
                self.skew += hours * 3_600;
            }
            11 if index > 0 && self.rng.u8(0..4) == 0 => pane.lives = false,
            _ => {}
        }
        let after = self.rng.u64(1..4_000);
        if self.now + after < CALM {
            self.at(after, Event::Person);
        } else {
            // They leave, and take their drafts with them.
            for pane in &mut self.panes {
                pane.draft.clear();
            }
        }
    }

    /// tmux types a line, where the pane still stands as it was seen.
    fn type_line(&mut self, line: &TypedLine, attempt: AttemptId) -> Typed {
        let index = self.pane(&line.identity);
        let Some(index) = index.filter(|&index| self.panes[index].lives) else {
            return Typed::Refused(Refusal::Gone);
        };
        if self.panes[index].cursor() != line.cursor {
            return Typed::Refused(Refusal::CursorMoved);
        }
        if !self.panes[index].draft.is_empty() {
            self.faults
                .push(format!("{attempt} was typed over a draft"));
        }
        let lost = self.chance(12);
        if lost && self.rng.bool() {
            return Typed::Unknown(Error::Closed);
        }
        self.panes[index].lines.push_back(attempt);
        let after = if self.chance(10) {
            self.rng.u64(1..15_000)
        } else {
            self.rng.u64(1..40)
        };
        self.at(after, Event::Read(index));
        if lost {
            Typed::Unknown(Error::Closed)
        } else {
            Typed::Done
        }
    }
}

/// The world, as the driver sees it.
struct Simulated {
    state: Rc<RefCell<State>>,
    /// How many acts and commits there are before the daemon is killed.
    left: Arc<AtomicU32>,
}

impl Simulated {
    /// Whether the daemon is still there; counts an act.
    fn lives(&self) -> bool {
        counts(&self.left)
    }
}

fn counts(left: &AtomicU32) -> bool {
    let now = left.load(Ordering::Relaxed).saturating_sub(1);
    left.store(now, Ordering::Relaxed);
    now > 0
}

impl Clock for Simulated {
    fn now(&self) -> Now {
        let state = self.state.borrow();
        let origin = Timestamp::from_second(EPOCH + state.skew).expect("a time");
        Now {
            wall: origin + Duration::from_millis(state.now),
            tick: Tick::after_origin(Duration::from_millis(state.now)),
        }
    }
}

impl World for Simulated {
    type Hands = ();

    async fn sleep(&self, duration: Duration) {
        let (wake, woken) = oneshot::channel();
        let after = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        // Nothing takes no time at all.
        self.state.borrow_mut().at(after.max(1), Event::Wake(wake));
        let _ = woken.await;
    }

    async fn look(&self, brief: &Brief, (): &mut (), wants: &Wants, _: &Scan) -> Look {
        let state = self.state.borrow();
        let files = wants.files.then(|| {
            let job = state.jobs.get(&brief.attempt);
            job.map_or_else(Files::default, |job| Files {
                taken: Some(match job.taken {
                    None => Taken::No,
                    Some(true) => Taken::ByShell,
                    Some(false) => Taken::Withdrawn,
                }),
                script: job.written,
                exit: job.exit,
                step: (job.taken == Some(true)).then_some((Step::Command, Duration::ZERO)),
                output_whole: job.exit.is_some(),
            })
        });
        let pane = state.pane(&brief.identity);
        Look {
            files,
            pane_lives: pane.is_some_and(|pane| state.panes[pane].lives),
            ..Look::default()
        }
    }

    fn start(&self, _: &Brief, act: &Act) -> Option<Work> {
        let Act::LookAtPlace { .. } = act else {
            return None;
        };
        let mut state = self.state.borrow_mut();
        let dead = state.chance(8);
        let after = if dead { 3_000 } else { state.rng.u64(1..30) };
        let (wake, woken) = oneshot::channel();
        state.at(after, Event::Wake(wake));
        Some(Box::pin(async move {
            let _ = woken.await;
            Done::Place(if dead {
                Err("the directory does not answer".to_owned())
            } else {
                Ok(None)
            })
        }))
    }

    async fn perform(&self, brief: &Brief, (): &mut (), act: &Act) -> Done {
        if !self.lives() {
            return std::future::pending().await;
        }
        let done = {
            let mut state = self.state.borrow_mut();
            let attempt = brief.attempt;
            let pane = state.pane(&brief.identity);
            match act {
                Act::WriteJob { cursor, .. } => {
                    let succeeds = state.rng.u8(0..4) > 0;
                    let job = state.jobs.entry(attempt).or_default();
                    job.written = true;
                    job.succeeds = succeeds;
                    Done::Written(Ok(TypedLine {
                        identity: brief.identity.clone(),
                        cursor: *cursor,
                        text: format!(" . {attempt}.run"),
                        pipe: None,
                    }))
                }
                Act::Type(line) => Done::Typed(state.type_line(line, attempt)),
                Act::Withdraw => {
                    let job = state.jobs.entry(attempt).or_default();
                    let by_shell = *job.taken.get_or_insert(false);
                    Done::Withdrawn(Ok(if by_shell {
                        Taken::ByShell
                    } else {
                        Taken::Withdrawn
                    }))
                }
                Act::Interrupt => {
                    if let Some(pane) = pane
                        && state.panes[pane].runs.take().is_some()
                    {
                        state.panes[pane].column += 1;
                        state.at(1, Event::Read(pane));
                    }
                    Done::Typed(Typed::Done)
                }
                _ => Done::Fine,
            }
        };
        // An answer that is lost is waited for.
        let waits = matches!(done, Done::Typed(Typed::Unknown(_)));
        let waits = waits.then(|| self.state.borrow_mut().rng.u64(1..3_000));
        if let Some(waits) = waits {
            self.sleep(Duration::from_millis(waits)).await;
        }
        if !self.lives() {
            return std::future::pending().await;
        }
        done
    }

    async fn collect(&self, _: &Brief, ending: &Ending) -> Collected {
        Collected {
            reason: ending.reason.clone(),
            ..Collected::default()
        }
    }

    fn clean_up(&self, brief: &Brief, (): &mut (), _: &Ending, _: &[String]) {
        // The claim stays; the script does not.
        if let Some(job) = self.state.borrow_mut().jobs.get_mut(&brief.attempt) {
            job.written = false;
        }
    }
}

/// One daemon after another over one store.
struct Run {
    state: Rc<RefCell<State>>,
    left: Arc<AtomicU32>,
    directory: tempfile::TempDir,
    store: Sqlite,
    driver: Option<Driver<Simulated>>,
    tasks: Vec<TaskId>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let directory = tempfile::tempdir_in(shared_memory()).expect("a directory");
        let mut store = Sqlite::open(directory.path()).expect("a store");
        let tasks: Vec<NewTask> = (0..TASKS)
            .map(|index| NewTask {
                max_retries: rng.u32(0..3),
                timeout_seconds: (rng.u8(0..3) == 0).then_some(1),
                ..NewTask::command(format!("task {index}"))
            })
            .collect();
        let origin = Timestamp::from_second(EPOCH).expect("a time");
        let tasks = store.queue(&tasks, origin).expect("queued");
        let panes = (0..PANES).map(|index| Terminal {
            identity: Identity {
                server_pid: 10,
                server_start: 1,
                pane: PaneId::parse(&format!("%{index}")).expect("a pane"),
                pane_pid: 100 + u32::try_from(index).expect("small"),
            },
            lives: true,
            hidden: 0,
            draft: String::new(),
            lines: VecDeque::new(),
            runs: None,
            column: 0,
        });
        let mut state = State {
            now: 0,
            skew: 0,
            next: 0,
            events: BTreeMap::new(),
            panes: panes.collect(),
            jobs: BTreeMap::new(),
            faults: Vec::new(),
            rng,
        };
        state.at(1, Event::Person);
        Self {
            state: Rc::new(RefCell::new(state)),
            left: Arc::new(AtomicU32::new(0)),
            directory,
            store,
            driver: None,
            tasks,
        }
    }

    fn now(&self) -> Now {
        Simulated {
            state: Rc::clone(&self.state),
            left: Arc::clone(&self.left),
        }
        .now()
    }

    /// Starts a daemon, which takes up what the last one left.
    fn start(&mut self) {
        let calm = self.state.borrow().is_calm();
        let left = if calm {
            u32::MAX
        } else {
            self.state.borrow_mut().rng.u32(1..120)
        };
        self.left.store(left, Ordering::Relaxed);
        let world = Simulated {
            state: Rc::clone(&self.state),
            left: Arc::clone(&self.left),
        };
        let store = Sqlite::open(self.directory.path()).expect("a store");
        let left = Arc::clone(&self.left);
        let ledger = Ledger::here(store, move || counts(&left));
        let mut driver = Driver::new(Rc::new(world), ledger);
        let now = self.now();
        for open in self.store.open_attempts().expect("attempts") {
            driver.start(Machine::Job(Box::new(Job::resume(open, rules(), now))));
        }
        self.driver = Some(driver);
    }

    /// Looks at the sessions, and gives tasks to those that are ready.
    fn round(&mut self) {
        let now = self.now();
        let Some(driver) = &mut self.driver else {
            return;
        };
        for told in driver.take_told() {
            if let News::Broken = told.what {
                self.state
                    .borrow_mut()
                    .faults
                    .push("a commit failed".into());
            }
        }
        let sights: Vec<(Identity, PaneSight)> = {
            let state = self.state.borrow();
            let there = |pane: &&Terminal| pane.lives && pane.hidden <= state.now;
            let panes = state.panes.iter().filter(there);
            panes
                .map(|pane| {
                    let sight = PaneSight {
                        idle: pane.is_idle(),
                        at_prompt: pane.runs.is_none() && pane.draft.is_empty(),
                        foreground: None,
                        cursor: pane.cursor(),
                        piped: true,
                        directory: Some("/w".to_owned()),
                        shell: Some(Shell::Bash),
                        untold: false,
                        agent: None,
                    };
                    (pane.identity.clone(), sight)
                })
                .collect()
        };
        let ready: Vec<Identity> = sights
            .iter()
            .filter(|(identity, sight)| {
                let taken = driver.flying().values();
                sight.idle
                    && !taken
                        .map(|flying| &flying.identity)
                        .any(|it| it == identity)
            })
            .map(|(identity, _)| identity.clone())
            .collect();
        driver.publish(Scan {
            at: Some(now.tick),
            sessions: sights
                .into_iter()
                .map(|(identity, sight)| (identity, Arc::new(sight)))
                .collect(),
            requests: self.store.requests().expect("requests"),
            replies: Vec::new(),
        });
        let rests = self.store.resting().expect("rests");
        let over = rests.into_iter().filter(|rest| rest.until <= now.wall);
        let over: Vec<_> = over.collect();
        self.store.release(&over).expect("released");
        let lanes = self.store.lanes().expect("lanes");
        let tasks = self.store.pending(&lanes, 16, None).expect("a page");
        for (task, identity) in tasks.into_iter().zip(ready) {
            let claim = Claim {
                task: task.id,
                revision: task.revision,
                session: format!("s{}", identity.pane),
                identity: identity.clone(),
                policy: PolicyId {
                    name: "simulated".to_owned(),
                    version: "1".to_owned(),
                    sha256: String::new(),
                },
                rankings: Vec::new(),
                ruled_out: Vec::new(),
            };
            let claimed = self.store.claim(&[claim], now.wall).expect("claimed");
            if let Some(attempt) = claimed[0] {
                let brief = Brief {
                    attempt,
                    session: format!("s{}", identity.pane),
                    identity,
                    task,
                };
                driver.start(Machine::Job(Box::new(Job::new(brief, rules()))));
            }
        }
    }

    /// Lets everything run that can.
    async fn settle() {
        for _ in 0..30 {
            tokio::task::yield_now().await;
        }
    }

    async fn run(&mut self) {
        self.start();
        let mut scanned = 0;
        loop {
            Self::settle().await;
            if self.left.load(Ordering::Relaxed) == 0 {
                // Killed: what it was at stays as it is.
                self.driver = None;
                Self::settle().await;
                self.start();
            }
            let next = self.state.borrow().events.keys().next().copied();
            let now = self.state.borrow().now;
            let due = scanned + SCAN;
            match next {
                Some((at, _)) if at < due => {
                    let event = {
                        let mut state = self.state.borrow_mut();
                        state.now = at.max(now);
                        state.events.pop_first().map(|(_, event)| event)
                    };
                    let mut state = self.state.borrow_mut();
                    match event {
                        Some(Event::Wake(wake)) => {
                            let _ = wake.send(());
                        }
                        Some(Event::Read(pane)) => state.read(pane),
                        Some(Event::Over(pane)) => state.over(pane),
                        Some(Event::Person) => {
                            state.person();
                            let cancels = state.rng.u8(0..12) == 0;
                            let which = state.rng.usize(0..self.tasks.len());
                            drop(state);
                            if cancels {
                                let wall = self.now().wall;
                                // One that has ended cannot be cancelled.
                                let _ = self.store.cancel(self.tasks[which], wall);
                            }
                        }
                        None => {}
                    }
                }
                _ => {
                    self.state.borrow_mut().now = due;
                    scanned = due;
                    self.round();
                    let over = self.is_over() && self.state.borrow().is_calm();
                    if over || due > LAST {
                        return;
                    }
                }
            }
        }
    }

    fn is_over(&mut self) -> bool {
        let open = self.store.open_attempts().expect("attempts");
        let settled = |run: &mut Self, id: TaskId| {
            let task = run.store.task(id).expect("a task");
            task.status.is_settled()
        };
        let tasks = self.tasks.clone();
        open.is_empty() && tasks.into_iter().all(|task| settled(self, task))
    }

    /// Holds what has happened against what is promised.
    fn check(&mut self) -> Vec<String> {
        // Shells read what stands on their lines, however late.
        for index in 0..PANES {
            for _ in 0..8 {
                let mut state = self.state.borrow_mut();
                state.panes[index].runs = None;
                state.read(index);
            }
        }
        let wall = self.now().wall;
        let state = self.state.borrow();
        let mut faults = state.faults.clone();
        for &id in &self.tasks {
            let task = self.store.task(id).expect("a task");
            let history = self.store.history(id).expect("a history");
            // The wait before a next try is a wall time in its row: where the clock was put back, it
            // is as much longer.
            let waits = task.not_before.is_some_and(|until| until > wall);
            if !task.status.is_settled() && !waits {
                faults.push(format!("task {id} is lost: it is {}", task.status));
            }
            let attempts = self.store.attempts(id).expect("attempts");
            let ran = attempts.iter().map(|attempt| {
                let job = state.jobs.get(&attempt.id);
                (attempt, job.map_or(0, |job| job.runs), job)
            });
            let (mut succeeded, mut runs) = (0, 0);
            for (attempt, times, job) in ran {
                runs += times;
                if times > 1 {
                    faults.push(format!("attempt {} ran {times} times", attempt.id));
                }
                let done = job.is_some_and(|job| job.exit == Some(0));
                succeeded += u32::from(done);
                if attempt.outcome == Some(Outcome::Completed) && !done {
                    faults.push(format!("attempt {} completed and did not run", attempt.id));
                }
            }
            let all: u32 = history
                .iter()
                .filter(|row| row.action == "claimed")
                .count()
                .try_into()
                .expect("few");
            if runs > task.max_retries + 1 {
                faults.push(format!("task {id} ran {runs} times of {all} claims"));
            }
            if succeeded > 1 {
                faults.push(format!("task {id} was done {succeeded} times"));
            }
            let last = history.last().map(|row| row.action.as_str());
            let expected = match task.status {
                Status::Completed => "completed",
                Status::Failed => "failed",
                Status::Cancelled => "cancelled",
                Status::Uncertain => "uncertain",
                _ => "retrying",
            };
            if last != Some(expected) {
                faults.push(format!("task {id} is {} after {last:?}", task.status));
            }
        }
        // What was refused or withdrawn never runs, and all that ran is known.
        let known: Vec<AttemptId> = self
            .tasks
            .iter()
            .flat_map(|&id| self.store.attempts(id).expect("attempts"))
            .map(|attempt| attempt.id)
            .collect();
        for (attempt, job) in &state.jobs {
            if job.runs > 0 && !known.contains(attempt) {
                faults.push(format!("attempt {attempt} was given back and ran"));
            }
        }
        faults
    }
}

/// A directory whose files need no disk, where there is one.
fn shared_memory() -> std::path::PathBuf {
    let memory = std::path::PathBuf::from("/dev/shm");
    if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    }
}

fn simulate(seed: u64) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let mut run = Run::new(seed);
        run.run().await;
        run.driver = None;
        Run::settle().await;
        run.check()
    })
}

#[test]
fn whatever_happens_no_task_is_lost_and_none_is_done_twice() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seeds = match number("ASSIGNER_SIMULATION") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ASSIGNER_SIMULATIONS").unwrap_or(SEEDS),
    };
    let failed: Vec<(u64, Vec<String>)> = seeds
        .map(|seed| (seed, simulate(seed)))
        .filter(|(_, faults)| !faults.is_empty())
        .take(5)
        .collect();
    assert!(failed.is_empty(), "by seed: {failed:#?}");
}

#[test]
fn a_seed_repeats() {
    for seed in [3, 17] {
        let jobs = |seed| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .expect("a runtime");
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async {
                let mut run = Run::new(seed);
                run.run().await;
                let state = run.state.borrow();
                (state.now, format!("{:?}", state.jobs))
            })
        };
        assert_eq!(jobs(seed), jobs(seed));
    }
}
