//! Simulated people: at agents in their panes, and as those who cancel and answer tasks.

use std::sync::Arc;

use super::agents::{Doing, SimulatedTurn, Typing};
use super::run::Run;
use super::world::{WorldEvent, WorldState};
use crate::model::ids::{Identity, TaskId};
use crate::model::task::Status;
use crate::store::Answer;

/// How many letters of a prompt a person types at most: less than what names a task.
const PIECE: usize = 5;

impl WorldState {
    /// Lets a person do something at an agent.
    pub(super) fn person_at_agent(&mut self, index: usize) {
        let what = self.rng.u32(0..22);
        let lasts = self.rng.u64(1..4_000);
        let rarely = self.rng.u8(0..5) == 0;
        let now = self.now;
        let pane = &mut self.agents[index];
        if what < 14 || what == 19 {
            pane.touched = Some(now);
        }
        match what {
            0 | 1 => self.type_at(index, Typing::Submit(None)),
            2 | 3 if pane.composer.is_empty() => self.type_own(index),
            4 => self.type_at(index, Typing::Escape),
            5 | 6 => self.type_at(index, Typing::Words("x".to_owned())),
            7 => self.type_at(index, Typing::Clear),
            8..=13 => self.answer_in_pane(index, true),
            14 => pane.hidden = now + lasts / 2,
            15 => pane.mode = now + lasts,
            16 => pane.behind = now + lasts,
            19 => self.type_piece(index),
            17 if rarely && pane.runs => self.die(index),
            18 if rarely && index > 0 => pane.lives = false,
            _ => {}
        }
    }

    /// Lets a person submit a prompt of their own.
    pub(super) fn type_own(&mut self, index: usize) {
        let number = self.rng.u32(0..1_000_000);
        self.type_at(index, Typing::Words(format!("own prompt {number}")));
        self.type_at(index, Typing::Submit(None));
    }

    /// Lets a person type a few letters that are also in the text that was pasted there last, or at
    /// its end.
    pub(super) fn type_piece(&mut self, index: usize) {
        let pasted = self.agents[index].pasted_by;
        let Some(text) = pasted.and_then(|by| self.pasted.get(&by)).map(Arc::clone) else {
            return;
        };
        let letters: Vec<char> = text.chars().collect();
        let many = self.rng.usize(1..=PIECE).min(letters.len());
        let last = letters.len() - many;
        let start = if self.rng.bool() {
            last
        } else {
            self.rng.usize(0..=last)
        };
        let piece: String = letters[start..start + many].iter().collect();
        // Blanks cannot be seen.
        let piece = piece.trim();
        if piece.is_empty() {
            return;
        }
        self.type_at(index, Typing::Words(piece.to_owned()));
        if self.rng.bool() {
            self.type_at(index, Typing::Submit(None));
        }
    }

    /// Lets a person answer what an agent asks, if it asks anything; if `said`, also a question
    /// that ended its turn.
    pub(super) fn answer_in_pane(&mut self, index: usize, said: bool) {
        let pane = &self.agents[index];
        let asked = pane.turns.last().is_some_and(SimulatedTurn::asks);
        match pane.doing {
            _ if !pane.typed.is_empty() => {}
            Doing::Asking(_) => self.type_at(index, Typing::Answer("y".to_owned(), false)),
            Doing::Nothing if said && asked && pane.composer.is_empty() && pane.runs => {
                self.type_at(index, Typing::Words("yes, go on".to_owned()));
                self.type_at(index, Typing::Submit(None));
            }
            _ => {}
        }
    }

    /// Makes people leave an agent.
    pub(super) fn calm_agent(&mut self, index: usize) {
        let ignored = index > 0 && self.rng.bool();
        let pane = &mut self.agents[index];
        pane.ignored = ignored;
        pane.mode = 0;
        pane.behind = 0;
    }
}

impl Run {
    /// Lets a person do something, cancel a task or answer one.
    pub(super) fn person(&mut self) {
        let (cancels, answers, which) = {
            let mut state = self.state.borrow_mut();
            if state.is_calm() {
                // Nobody would clear away what is typed now.
                return;
            }
            state.person();
            let after = state.rng.u64(1..3_000);
            state.at(after, WorldEvent::Person);
            let cancels = state.rng.u8(0..20) == 0;
            let answers = state.rng.u8(0..3) == 0;
            (cancels, answers, state.rng.usize(0..self.tasks.len()))
        };
        let task = self.tasks[which];
        if cancels {
            let wall = self.now().wall;
            // A task that has ended cannot be cancelled.
            let _ = self.store.cancel(task, wall);
        }
        if answers {
            self.answer(task);
        }
    }

    /// Lets a person answer what the agent of a task asks, in its pane or from elsewhere.
    fn answer(&mut self, id: TaskId) {
        let task = self.store.task(id).expect("a task");
        let Some(asks) = task.asks.filter(|_| task.status == Status::WaitingInput) else {
            return;
        };
        let mut state = self.state.borrow_mut();
        let mut panes = state.agents.iter();
        let pane = panes.position(|pane| {
            pane.waits(id) && Some(format!("s{}", pane.identity.pane)) == task.session
        });
        if let Some(pane) = pane.filter(|_| state.rng.u8(0..3) == 0) {
            state.answer_in_pane(pane, true);
            return;
        }
        let answer = match state.rng.u8(0..4) {
            0 => Answer::Accept,
            1 => Answer::Keys(vec!["1".to_owned()]),
            2 => Answer::Words("y".to_owned()),
            _ => Answer::Words("yes, do it".to_owned()),
        };
        let wall = state.wall();
        // Another answer may be on its way.
        if self.store.reply(id, &answer, wall).is_ok() {
            state.answered.insert(id, asks);
        }
    }

    /// It is calm: people have left, except for one who answers and who clears what was left in
    /// composers.
    pub(super) fn calm(&mut self) {
        if !std::mem::replace(&mut self.is_calm, true) {
            self.state.borrow_mut().calm();
        }
        let flying: Vec<(Identity, TaskId)> = self
            .driver
            .iter()
            .flat_map(|driver| driver.flying().values())
            .map(|flying| (flying.identity.clone(), flying.task))
            .collect();
        let count = self.state.borrow().agents.len();
        for index in 0..count {
            let mut state = self.state.borrow_mut();
            let pane = &mut state.agents[index];
            let task = flying.iter().find(|(it, _)| *it == pane.identity);
            let task = task.map(|(_, task)| *task);
            // Someone removes whatever was left in a composer, unless it is just being given.
            let foreign = pane.has_words();
            let known = task.map(|task| self.store.task(task).expect("a task").status);
            let runs = matches!(known, Some(Status::WaitingInput | Status::InProgress));
            let waits = runs && pane.doing == Doing::Nothing;
            let rarely = state.rng.u8(0..100) == 0;
            let pane = &mut state.agents[index];
            if task.is_none() || foreign || (waits && rarely) {
                pane.composer.clear();
            }
            let asks =
                matches!(pane.doing, Doing::Asking(_)) || task.is_some_and(|task| pane.waits(task));
            if pane.ignored || !asks || state.rng.u8(0..20) > 0 {
                continue;
            }
            if state.rng.bool() {
                state.answer_in_pane(index, known == Some(Status::WaitingInput));
            } else {
                drop(state);
                if let Some(task) = task {
                    self.answer(task);
                }
            }
        }
    }
}
