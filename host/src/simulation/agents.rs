//! Simulated agents: what was typed reaches them after a while; their turns take time, ask, fail
//! and end; they die; and people use them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::looks::SimulatedMemory;
use super::world::{WorldEvent, WorldState};
use crate::agents::Profile;
use crate::agents::report::{Report, ReportedState as Told};
use crate::agents::told::ToldTurns;
use crate::agents::transcript::How;
use crate::model::ids::{AttemptId, Identity, TaskId};

/// What kind of agent it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Habits {
    /// Whether it keeps a record.
    pub(super) records: bool,
    /// Whether it has its record open all the time.
    pub(super) open: bool,
    /// Whether it reports, and whether its reports are sometimes late.
    pub(super) reports: Option<LateReports>,
    /// Whether its reports contain its messages.
    pub(super) messages: bool,
    /// Whether its title shows its state.
    pub(super) titles: bool,
    /// Whether its reports and its record name each turn.
    pub(super) names: bool,
}

/// Whether reports are sometimes late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LateReports(pub(super) bool);

/// What an agent is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Doing {
    /// It waits for a prompt.
    Nothing,
    /// It has taken this prompt, but does not show any work yet.
    Beginning(String),
    /// It is working.
    Working,
    /// It shows a dialog with this question.
    Asking(String),
}

/// How an agent goes on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Happens {
    /// Its turn begins.
    Begin,
    /// Its turn continues.
    Go,
    /// A person restarts it.
    Restart,
}

/// Something that was typed and has not reached the program yet.
#[derive(Debug)]
pub(super) enum Typing {
    /// A paste.
    Paste(Arc<str>),
    /// A person's words.
    Words(String),
    /// Everything in the composer is deleted.
    Clear,
    /// The key that submits, by an attempt or a person.
    Submit(Option<AttemptId>),
    /// An answer to a dialog: the literal text, and whether Enter follows.
    Answer(String, bool),
    /// A person interrupts.
    Escape,
}

/// A prompt that was submitted.
#[derive(Debug, Clone)]
pub(super) struct Submission {
    pub(super) text: String,
    /// The attempt that its text belongs to, if that was in flight.
    pub(super) attempt: Option<AttemptId>,
    /// Whether it was taken back before the agent began.
    pub(super) annulled: bool,
}

/// The truth about a turn.
#[derive(Debug, Clone)]
pub(super) struct SimulatedTurn {
    pub(super) pid: u32,
    /// What the agent calls it.
    pub(super) id: Option<String>,
    pub(super) text: String,
    /// The task that it is about.
    pub(super) task: Option<TaskId>,
    pub(super) began: Timestamp,
    pub(super) last: Timestamp,
    /// From when on its prompt is in the record.
    pub(super) written: u64,
    pub(super) ended: Option<(How, Timestamp)>,
    /// When it began, whatever the clock said.
    pub(super) entered: u64,
    /// From when on its end is in the record.
    pub(super) closed: u64,
    pub(super) answer: String,
    /// How many dialogs are still to come.
    dialogs: u32,
}

/// A pane with an agent.
#[derive(Debug)]
pub(super) struct AgentPane {
    pub(super) identity: Identity,
    pub(super) lives: bool,
    /// It is not seen before this time.
    pub(super) hidden: u64,
    pub(super) profile: Arc<Profile>,
    pub(super) habits: Habits,
    /// Whether its process is running.
    pub(super) runs: bool,
    pub(super) pid: u32,
    /// When its process started.
    pub(super) since: u64,
    /// From when on its input line is drawn.
    pub(super) drawn: u64,
    /// Until when an editor hides it.
    pub(super) behind: u64,
    /// The pane is in copy mode until then.
    pub(super) mode: u64,
    /// When a person last pressed a key there.
    pub(super) touched: Option<u64>,
    pub(super) composer: String,
    /// Whether a person has typed there since a text was pasted into the empty composer.
    words: bool,
    pub(super) doing: Doing,
    pub(super) turns: Vec<SimulatedTurn>,
    /// Its last report.
    pub(super) report: Option<Report>,
    /// The turns that it has reported by their names.
    pub(super) told: ToldTurns,
    /// The last attempt that it was given to.
    pub(super) claimed: Option<AttemptId>,
    /// The last attempt that pressed the key that submits.
    pub(super) pressed: Option<AttemptId>,
    /// The last attempt that pasted there, and for which task.
    pub(super) pasted_by: Option<AttemptId>,
    pub(super) pasted_for: Option<TaskId>,
    /// Whether nobody answers there any more once it is calm.
    pub(super) ignored: bool,
    /// What the daemon remembers of it.
    pub(super) memory: SimulatedMemory,
    pub(super) typed: VecDeque<Typing>,
    /// When the last of what was typed reaches the program.
    arrives: u64,
    /// Prompts that were submitted while it worked.
    queued: VecDeque<String>,
    /// Counts what it does.
    step: u64,
    row: u32,
}

impl AgentPane {
    /// Returns a pane whose agent waits for its first prompt.
    pub(super) fn new(identity: Identity, profile: Arc<Profile>, habits: Habits) -> Self {
        Self {
            pid: identity.pane_pid * 10,
            identity,
            lives: true,
            hidden: 0,
            profile,
            habits,
            runs: true,
            since: 0,
            drawn: 0,
            behind: 0,
            mode: 0,
            touched: None,
            composer: String::new(),
            words: false,
            doing: Doing::Nothing,
            turns: Vec::new(),
            report: None,
            told: ToldTurns::default(),
            claimed: None,
            pressed: None,
            pasted_by: None,
            pasted_for: None,
            ignored: false,
            memory: SimulatedMemory::default(),
            typed: VecDeque::new(),
            arrives: 0,
            queued: VecDeque::new(),
            step: 0,
            row: 0,
        }
    }

    /// Returns the position of the cursor, which changes whenever the agent does something else or
    /// something is typed.
    pub(super) fn cursor(&self) -> (u32, u32) {
        let typed = u32::try_from(self.composer.len()).unwrap_or(0);
        (2 + typed, self.row)
    }

    /// Whether a person's words are in the composer.
    pub(super) fn has_words(&self) -> bool {
        self.words && !self.composer.is_empty()
    }

    /// Whether its agent is waiting for a person: it shows a dialog, or its last answer ends in a
    /// question.
    pub(super) fn waits(&self, task: TaskId) -> bool {
        if !self.runs || !self.lives {
            return false;
        }
        match self.doing {
            Doing::Asking(_) => true,
            Doing::Nothing => {
                let last = self.turns.last();
                last.is_some_and(|turn| turn.task == Some(task) && turn.asks())
            }
            Doing::Beginning(_) | Doing::Working => false,
        }
    }
}

impl SimulatedTurn {
    /// Whether it has ended in a question.
    pub(super) fn asks(&self) -> bool {
        self.answer.ends_with('?') && matches!(self.ended, Some((How::Done, _)))
    }
}

impl WorldState {
    /// Types something at an agent. It arrives after everything that was typed before.
    pub(super) fn type_at(&mut self, index: usize, typing: Typing) {
        let after = if self.chance(15) {
            self.rng.u64(1..3_000)
        } else {
            self.rng.u64(1..30)
        };
        let now = self.now;
        let pane = &mut self.agents[index];
        pane.arrives = pane.arrives.max(now + after);
        pane.typed.push_back(typing);
        let after = pane.arrives - now;
        self.at(after, WorldEvent::Input(index));
    }

    /// Delivers what was typed to the agent.
    pub(super) fn take_input(&mut self, index: usize) {
        let swallowed = self.chance(20);
        let now = self.now;
        let pane = &mut self.agents[index];
        let Some(typing) = pane.typed.pop_front() else {
            return;
        };
        // Otherwise, another program receives it.
        if !pane.runs || !pane.lives || pane.behind > now {
            return;
        }
        let asks = matches!(pane.doing, Doing::Asking(_));
        match typing {
            Typing::Paste(text) if !asks && !swallowed => {
                pane.words = pane.has_words();
                pane.composer.push_str(&text);
            }
            Typing::Words(text) if !asks => {
                pane.words = true;
                pane.composer.push_str(&text);
            }
            // Somebody has the same in mind, or something else.
            Typing::Paste(_) if swallowed => match self.rng.u8(0..4) {
                0 => self.type_piece(index),
                1 => self.type_own(index),
                _ => {}
            },
            Typing::Clear => pane.composer.clear(),
            Typing::Submit(_) | Typing::Answer(..) if asks => self.go_on(index),
            Typing::Submit(by) if by.is_none() || !swallowed => self.submit(index, by),
            Typing::Answer(literal, enters) => {
                pane.composer.push_str(&literal);
                if enters {
                    self.submit(index, None);
                }
            }
            Typing::Escape => self.escape(index),
            Typing::Paste(_) | Typing::Words(_) | Typing::Submit(_) => {}
        }
    }

    /// Submits the content of the composer.
    fn submit(&mut self, index: usize, by: Option<AttemptId>) {
        let pane = &mut self.agents[index];
        if pane.composer.is_empty() {
            return;
        }
        let text = std::mem::take(&mut pane.composer);
        let flying = |attempt: &AttemptId| {
            let pasted = self.pasted.get(attempt);
            pasted.is_some_and(|pasted| text.contains(&**pasted))
                && !self.ends.contains_key(attempt)
        };
        // With a person's additions, it is a prompt of theirs.
        let as_pasted = |attempt: &AttemptId| {
            by.is_some()
                || self
                    .pasted
                    .get(attempt)
                    .is_some_and(|pasted| **pasted == *text)
        };
        let attempt = by.or(pane.pasted_by).filter(flying).filter(as_pasted);
        self.submissions.push(Submission {
            text: text.clone(),
            attempt,
            annulled: false,
        });
        if pane.doing == Doing::Nothing {
            self.take_prompt(index, text);
        } else {
            pane.queued.push_back(text);
        }
    }

    fn take_prompt(&mut self, index: usize, text: String) {
        let pane = &mut self.agents[index];
        pane.doing = Doing::Beginning(text);
        pane.row += 1;
        let after = if self.chance(12) {
            self.rng.u64(1..600)
        } else {
            self.rng.u64(5..100)
        };
        self.happens(index, after, Happens::Begin);
    }

    /// Schedules an agent's next step after this many milliseconds, unless it does something else
    /// before.
    fn happens(&mut self, index: usize, after: u64, what: Happens) {
        let pane = &mut self.agents[index];
        pane.step += 1;
        let step = pane.step;
        self.at(after, WorldEvent::Agent(index, step, what));
    }

    /// Takes an agent's next step.
    pub(super) fn agent_goes_on(&mut self, index: usize, step: u64, what: Happens) {
        let pane = &self.agents[index];
        if pane.step != step || !pane.lives {
            return;
        }
        match what {
            Happens::Begin => self.begin(index),
            Happens::Go => self.work(index),
            Happens::Restart => self.restart(index),
        }
    }

    fn begin(&mut self, index: usize) {
        if self.chance(30) {
            self.die(index);
            return;
        }
        let (now, wall) = (self.now, self.wall());
        let late = self.chance(12);
        let dialogs = if self.chance(3) {
            self.rng.u32(1..3)
        } else {
            0
        };
        let written = now
            + if late {
                self.rng.u64(1..6_000)
            } else {
                self.rng.u64(1..200)
            };
        let pane = &mut self.agents[index];
        let Doing::Beginning(text) = std::mem::replace(&mut pane.doing, Doing::Working) else {
            return;
        };
        let task = text.split("task ").nth(1).and_then(|rest| {
            let digits = rest.split(|sign: char| !sign.is_ascii_digit()).next();
            digits.and_then(|digits| digits.parse().ok()).map(TaskId)
        });
        // A reply is about the task that it was given for, and what follows a question is about the
        // same task.
        let pasted = pane.pasted_by.and_then(|by| self.pasted.get(&by));
        let replied = pane
            .pasted_for
            .filter(|_| pasted.is_some_and(|pasted| **pasted == *text));
        let before = pane.turns.last().filter(|turn| turn.asks());
        let task = task.or(replied).or(before.and_then(|turn| turn.task));
        // A record grows at its end: no prompt is in it before those of the same process before it.
        let earlier = pane.turns.iter().filter(|turn| turn.pid == pane.pid);
        let written = earlier.map(|turn| turn.written).fold(written, u64::max);
        let names = pane.habits.names;
        let id = names.then(|| format!("turn {} of {}", pane.turns.len(), pane.pid));
        let message = names.then(|| text.clone());
        pane.turns.push(SimulatedTurn {
            pid: pane.pid,
            id,
            text,
            task,
            began: wall,
            entered: now,
            last: wall,
            written: if pane.habits.records {
                written
            } else {
                u64::MAX
            },
            ended: None,
            closed: u64::MAX,
            answer: String::new(),
            dialogs,
        });
        self.tell(index, Told::Busy, message);
        self.go_on(index);
    }

    /// Lets it work for a while.
    fn go_on(&mut self, index: usize) {
        let lasts = if self.chance(10) {
            self.rng.u64(1..20_000)
        } else {
            self.rng.u64(1..3_000)
        };
        let pane = &mut self.agents[index];
        pane.doing = Doing::Working;
        pane.row += 1;
        self.happens(index, lasts, Happens::Go);
    }

    fn work(&mut self, index: usize) {
        if self.chance(25) {
            self.die(index);
            return;
        }
        let number: u32 = self.rng.u32(0..1_000_000);
        let wall = self.wall();
        let pane = &mut self.agents[index];
        let Some(turn) = pane.turns.last_mut() else {
            return;
        };
        turn.last = wall;
        if let Some(left) = turn.dialogs.checked_sub(1) {
            turn.dialogs = left;
            let question = format!("may I do {number}?");
            pane.doing = Doing::Asking(question.clone());
            pane.row += 1;
            pane.step += 1;
            self.tell(index, Told::Blocked, Some(question));
            return;
        }
        let message = "529 overloaded".to_owned();
        let how = match self.rng.u32(0..20) {
            _ if self.is_calm() => How::Done,
            0 | 1 => How::Failed { message },
            2 => How::Limited {
                message,
                until: Some(wall + Duration::from_secs(40)),
            },
            _ => How::Done,
        };
        self.end_turn(index, &how, number);
    }

    fn end_turn(&mut self, index: usize, how: &How, number: u32) {
        let (now, wall) = (self.now, self.wall());
        let asks = *how == How::Done && self.chance(6);
        let late = if self.chance(15) {
            self.rng.u64(1..5_000)
        } else {
            self.rng.u64(1..100)
        };
        let lost = self.chance(60);
        let pane = &mut self.agents[index];
        let Some(turn) = pane.turns.last_mut() else {
            return;
        };
        if *how == How::Done {
            let end = if asks { " and shall I go on?" } else { "." };
            let about = turn.task.map_or(0, |task| task.0);
            turn.answer = format!("Answer {number} to [{about}]{end}");
        }
        turn.last = wall;
        turn.ended = Some((how.clone(), wall));
        turn.closed = if lost || turn.written == u64::MAX {
            u64::MAX
        } else {
            turn.written.max(now + late)
        };
        let answer = turn.answer.clone();
        pane.doing = Doing::Nothing;
        pane.row += 1;
        pane.step += 1;
        let queued = pane.queued.pop_front();
        let message = pane.habits.messages.then_some(answer);
        if *how == How::Done {
            self.tell(index, Told::Done, message);
        }
        if let Some(text) = queued {
            self.take_prompt(index, text);
        }
    }

    /// A person interrupts: a prompt that was not begun returns to the composer.
    fn escape(&mut self, index: usize) {
        let pane = &mut self.agents[index];
        match std::mem::replace(&mut pane.doing, Doing::Nothing) {
            // A line that was entered does not return.
            began @ Doing::Beginning(_) if pane.reads_lines() => pane.doing = began,
            Doing::Beginning(text) => {
                let mine = |given: &&mut Submission| given.text == text;
                if let Some(given) = self.submissions.iter_mut().rev().find(mine) {
                    given.annulled = true;
                }
                pane.composer.insert_str(0, &text);
                pane.row += 1;
                pane.step += 1;
            }
            Doing::Working | Doing::Asking(_) => self.end_turn(index, &How::Interrupted, 0),
            Doing::Nothing => {}
        }
    }

    /// Ends its process.
    pub(super) fn die(&mut self, index: usize) {
        let after = self.rng.u64(300..12_000);
        let pane = &mut self.agents[index];
        pane.runs = false;
        pane.doing = Doing::Nothing;
        pane.composer.clear();
        pane.typed.clear();
        pane.queued.clear();
        pane.row = 0;
        self.happens(index, after, Happens::Restart);
    }

    fn restart(&mut self, index: usize) {
        let now = self.now;
        let drawn = now + self.rng.u64(1..1_500);
        let pane = &mut self.agents[index];
        pane.runs = true;
        pane.pid += 1;
        pane.since = now;
        pane.drawn = drawn;
        pane.memory = SimulatedMemory::default();
    }

    /// An agent reports, through a program that may take a while.
    fn tell(&mut self, index: usize, state: Told, message: Option<String>) {
        let Some(LateReports(late)) = self.agents[index].habits.reports else {
            return;
        };
        let after = if late && self.chance(3) {
            self.rng.u64(1..5_000)
        } else {
            self.rng.u64(1..40)
        };
        let lost = self.chance(15);
        let pane = &self.agents[index];
        let identity = &pane.identity;
        let report = Report {
            turn: pane.turns.last().and_then(|turn| turn.id.clone()),
            transcript: None,
            server_pid: identity.server_pid,
            pane: identity.pane.clone(),
            state,
            task: None,
            message,
            at: self.wall(),
        };
        if !lost {
            self.at(after, WorldEvent::Told(index, report));
        }
    }

    /// Delivers a report.
    pub(super) fn told(&mut self, index: usize, report: Report) {
        let wall = self.wall();
        let pane = &mut self.agents[index];
        pane.told.take(&report);
        let known = &mut pane.report;
        if known
            .as_ref()
            .is_none_or(|known| report.replaces(known, wall))
        {
            *known = Some(report);
        }
    }
}
