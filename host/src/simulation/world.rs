//! The simulated world: its time, its future events, and what the driver sees and does.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fastrand::Rng;
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::agents::{AgentPane, Happens, Submission};
use super::looks::SimulatedHands;
use super::run::SimulatedScan;
use super::shells::{Spooled, Terminal};
use super::{CALM, EPOCH};
use crate::agents::report::Report;
use crate::model::clock::{Clock, Now, Tick};
use crate::model::ids::{AttemptId, Identity, TaskId};
use crate::model::task::Outcome;
use crate::node::attempt::driver::{Collected, Look, Work, World};
use crate::node::attempt::{Act, Brief, Done, Ending, Files, OutputSource, Scan, Wants};
use crate::node::script::ScriptStep;
use crate::node::spool::Taken;
use crate::store;
use crate::tmux::{PaneOutput, Typed, TypedLine};

/// A future event.
pub(super) enum WorldEvent {
    /// Something has slept long enough.
    Wake(oneshot::Sender<()>),
    /// A shell reads a line.
    Read(usize),
    /// What a shell runs has ended.
    Over(usize),
    /// An agent reads what was typed.
    Input(usize),
    /// An agent goes on, unless it has done something else in the meantime.
    Agent(usize, u64, Happens),
    /// A report from an agent arrives.
    Told(usize, Report),
    /// A person does something.
    Person,
    /// Attempts are told what was seen of the sessions.
    Seen(Box<SimulatedScan>),
}

/// Everything outside the daemon.
pub(super) struct WorldState {
    pub(super) rng: Rng,
    pub(super) now: u64,
    /// How far the wall clock was set forward, in seconds.
    pub(super) skew: i64,
    next: u64,
    pub(super) events: BTreeMap<(u64, u64), WorldEvent>,
    pub(super) shells: Vec<Terminal>,
    pub(super) jobs: BTreeMap<AttemptId, Spooled>,
    pub(super) agents: Vec<AgentPane>,
    /// All prompts that were submitted, in order.
    pub(super) submissions: Vec<Submission>,
    /// The last text that each attempt pasted.
    pub(super) pasted: BTreeMap<AttemptId, Arc<str>>,
    /// The question when a person last answered, by task.
    pub(super) answered: BTreeMap<TaskId, String>,
    /// How each attempt ended, and when.
    pub(super) ends: BTreeMap<AttemptId, (Outcome, u64)>,
    pub(super) faults: Vec<String>,
    /// What daemons have done, if that is to be printed.
    pub(super) acts: Option<Vec<String>>,
    /// The attempts that are about to look.
    pub(super) looking: BTreeMap<AttemptId, oneshot::Sender<()>>,
}

impl WorldState {
    /// Returns a world in which nothing has happened.
    pub(super) fn new(rng: Rng, shells: Vec<Terminal>, agents: Vec<AgentPane>) -> Self {
        Self {
            rng,
            now: 0,
            skew: 0,
            next: 0,
            events: BTreeMap::new(),
            shells,
            jobs: BTreeMap::new(),
            agents,
            submissions: Vec::new(),
            pasted: BTreeMap::new(),
            answered: BTreeMap::new(),
            ends: BTreeMap::new(),
            faults: Vec::new(),
            acts: super::number("ASSIGNER_SIMULATION").map(|_| Vec::new()),
            looking: BTreeMap::new(),
        }
    }

    /// Schedules an event after this many milliseconds.
    pub(super) fn at(&mut self, after: u64, event: WorldEvent) {
        self.next += 1;
        self.events.insert((self.now + after, self.next), event);
    }

    /// Whether nobody disturbs anything any more.
    pub(super) fn is_calm(&self) -> bool {
        self.now >= CALM
    }

    /// Returns true by chance, once in `of` times, while it is not calm.
    pub(super) fn chance(&mut self, of: u64) -> bool {
        !self.is_calm() && self.rng.u64(0..of) == 0
    }

    /// Records what has happened, if that is to be printed.
    pub(super) fn record(&mut self, what: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(acts) = &mut self.acts {
            acts.push(format!("{now} ms: {}", what()));
        }
    }

    /// Records that something forbidden was done.
    pub(super) fn fault(&mut self, fault: &str) {
        self.faults.push(format!("{} ms: {fault}", self.now));
    }

    /// Returns the time on the wall clock.
    pub(super) fn wall(&self) -> Timestamp {
        let origin = Timestamp::from_second(EPOCH + self.skew).expect("a time");
        origin + Duration::from_millis(self.now)
    }

    /// Returns the index of the shell with this identity.
    pub(super) fn shell(&self, identity: &Identity) -> Option<usize> {
        let mut panes = self.shells.iter();
        panes.position(|pane| pane.identity == *identity)
    }

    /// Returns the index of the agent's pane with this identity.
    pub(super) fn agent(&self, identity: &Identity) -> Option<usize> {
        let mut panes = self.agents.iter();
        panes.position(|pane| pane.identity == *identity)
    }

    /// Lets a person do something somewhere.
    pub(super) fn person(&mut self) {
        let shells = self.shells.len();
        let index = self.rng.usize(0..shells + self.agents.len());
        // Everything that agents report and record is dated by this clock, so with them it is set less
        // often: most runs are about something else.
        let jumps = if self.agents.is_empty() { 12 } else { 60 };
        if self.rng.u8(0..jumps) == 0 {
            self.skew += self.rng.i64(-3..4) * 3_600;
            let skew = self.skew;
            self.record(|| format!("the clock is {skew} s ahead"));
        } else if index < shells {
            self.person_at_shell(index);
        } else {
            self.person_at_agent(index - shells);
        }
    }

    /// Makes everyone leave.
    pub(super) fn calm(&mut self) {
        for pane in &mut self.shells {
            pane.calm();
        }
        for index in 0..self.agents.len() {
            self.calm_agent(index);
        }
    }

    fn lives(&self, identity: &Identity) -> bool {
        let shell = self.shell(identity).map(|index| self.shells[index].lives);
        let agent = self.agent(identity).map(|index| self.agents[index].lives);
        shell.or(agent).unwrap_or(false)
    }

    fn files(&self, attempt: AttemptId) -> Files {
        let job = self.jobs.get(&attempt);
        job.map_or_else(Files::default, |job| Files {
            taken: Some(match job.taken {
                None => Taken::No,
                Some(true) => Taken::ByShell,
                Some(false) => Taken::Withdrawn,
            }),
            script: job.written,
            exit: job.exit,
            step: (job.taken == Some(true)).then_some((ScriptStep::Command, Duration::ZERO)),
            output_whole: job.exit.is_some(),
            ..Files::default()
        })
    }
}

/// The world as the driver sees it.
pub(super) struct Simulated {
    pub(super) state: Rc<RefCell<WorldState>>,
    /// How many acts and commits are left before the daemon is killed.
    pub(super) left: Arc<AtomicU32>,
    /// How often anything was asked of it. If this does not change, everything is waiting.
    pub(super) asked: Rc<Cell<u64>>,
}

impl Simulated {
    /// Counts an act, and returns whether the daemon is still alive.
    fn lives(&self) -> bool {
        counts(&self.left)
    }

    fn note(&self) {
        self.asked.set(self.asked.get() + 1);
    }

    /// Completes after this many milliseconds, possibly zero.
    async fn pass(&self, ms: u64) {
        if ms > 0 {
            self.sleep(Duration::from_millis(ms)).await;
        }
    }
}

/// Counts an act or a commit, and returns whether the daemon is still alive.
pub(super) fn counts(left: &AtomicU32) -> bool {
    let now = left.load(Ordering::Relaxed).saturating_sub(1);
    left.store(now, Ordering::Relaxed);
    now > 0
}

impl Clock for Simulated {
    fn now(&self) -> Now {
        self.note();
        let state = self.state.borrow();
        Now {
            wall: state.wall(),
            tick: Tick::after_origin(Duration::from_millis(state.now)),
        }
    }
}

impl World for Simulated {
    type Hands = SimulatedHands;

    async fn sleep(&self, duration: Duration) {
        self.note();
        let (wake, woken) = oneshot::channel();
        let after = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        // Every sleep takes some time.
        self.state
            .borrow_mut()
            .at(after.max(1), WorldEvent::Wake(wake));
        let _ = woken.await;
    }

    async fn news(&self, _: &mut SimulatedHands) {
        std::future::pending::<()>().await;
    }

    async fn look(
        &self,
        brief: &Brief,
        hands: &mut SimulatedHands,
        wants: &Wants,
        _: &Scan,
    ) -> Look {
        self.note();
        // The order in which a channel wakes its receivers is random, so attempts step in the order
        // of their numbers, one after another.
        let (look, turn) = oneshot::channel();
        self.state.borrow_mut().looking.insert(brief.attempt, look);
        let _ = turn.await;
        self.note();
        let (look, late) = {
            let mut state = self.state.borrow_mut();
            let mut look = Look {
                files: wants.files.then(|| state.files(brief.attempt)),
                pane_lives: state.lives(&brief.identity),
                ..Look::default()
            };
            let agent = state.agent(&brief.identity);
            if let Some(index) = agent.filter(|_| wants.profile.is_some()) {
                state.look_at_agent(index, hands, wants, &mut look);
            }
            // The result of a look may arrive a moment later.
            let late = if wants.screen && state.chance(20) {
                state.rng.u64(1..400)
            } else {
                0
            };
            (look, late)
        };
        self.pass(late).await;
        look
    }

    fn start(&self, _: &Brief, act: &Act) -> Option<Work> {
        self.note();
        let mut state = self.state.borrow_mut();
        let is_place = match act {
            Act::LookAtPlace { .. } => true,
            Act::RunPrerequisites { .. } => false,
            _ => return None,
        };
        let fails = state.chance(8);
        let after = if fails && is_place {
            3_000
        } else {
            state.rng.u64(1..30)
        };
        let (wake, woken) = oneshot::channel();
        state.at(after, WorldEvent::Wake(wake));
        Some(Box::pin(async move {
            let _ = woken.await;
            if is_place {
                Done::Place(if fails {
                    Err("the directory does not answer".to_owned())
                } else {
                    Ok(None)
                })
            } else {
                Done::Prerequisites(if fails {
                    Err("it exited with code 1".to_owned())
                } else {
                    Ok(())
                })
            }
        }))
    }

    async fn perform(&self, brief: &Brief, hands: &mut SimulatedHands, act: &Act) -> Done {
        self.note();
        if !self.lives() {
            return std::future::pending().await;
        }
        if matches!(act, Act::Paste { .. } | Act::Press { .. }) {
            // tmux takes a moment, and compares only then.
            let takes = {
                let mut state = self.state.borrow_mut();
                let most = if state.chance(10) { 500 } else { 10 };
                state.rng.u64(0..most)
            };
            self.pass(takes).await;
        }
        self.state
            .borrow_mut()
            .record(|| format!("{}: {act:?}", brief.attempt));
        let (done, waits) = {
            let mut state = self.state.borrow_mut();
            let attempt = brief.attempt;
            let shell = state.shell(&brief.identity);
            let done = match act {
                Act::WriteJob { cursor, .. } => {
                    let line = TypedLine {
                        key: None,
                        identity: brief.identity.clone(),
                        cursor: *cursor,
                        text: format!(" . {attempt}.run"),
                        output: PaneOutput::AsItIs,
                    };
                    state.write_job(attempt, line)
                }
                Act::Type(line) => Done::Typed(state.type_line(line, attempt)),
                Act::Withdraw => state.withdraw(attempt),
                Act::Interrupt => {
                    if let Some(shell) = shell {
                        state.interrupt(shell);
                    }
                    Done::Typed(Typed::Done)
                }
                act => state.act_on_agent(brief, hands, act),
            };
            // A lost answer is waited for.
            let waits = if matches!(done, Done::Typed(Typed::Unknown(_))) {
                state.rng.u64(1..3_000)
            } else {
                0
            };
            (done, waits)
        };
        self.pass(waits).await;
        if !self.lives() {
            return std::future::pending().await;
        }
        done
    }

    async fn collect(&self, brief: &Brief, ending: Ending) -> Collected {
        self.note();
        let mut state = self.state.borrow_mut();
        let now = state.now;
        state.ends.insert(brief.attempt, (ending.outcome, now));
        Collected {
            output: match &ending.output {
                OutputSource::Text(text) => Some(store::Output::of(text.clone().into_bytes())),
                OutputSource::None | OutputSource::Files => None,
            },
            before: None,
            secrets: BTreeMap::new(),
            ending,
        }
    }

    fn clean_up(&self, brief: &Brief, hands: &mut SimulatedHands, _: &Ending, _: &[String]) {
        let mut state = self.state.borrow_mut();
        // The claim stays; the script does not.
        if let Some(job) = state.jobs.get_mut(&brief.attempt) {
            job.written = false;
        }
        if let Some(index) = state.agent(&brief.identity) {
            // The engine continues to follow the record that was found.
            state.agents[index].memory.follows |= hands.has_found();
        }
    }
}
