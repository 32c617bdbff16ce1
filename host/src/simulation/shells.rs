//! Simulated shells: they read the lines that were typed, run jobs, and are used by people.

use std::collections::VecDeque;

use super::world::{WorldEvent, WorldState};
use crate::model::ids::{AttemptId, Identity};
use crate::model::session::Shell;
use crate::node::attempt::{Done, PaneSight};
use crate::node::spool::Taken;
use crate::tmux::{Error, Refusal, Typed, TypedLine};

/// A job in the spool.
#[derive(Debug, Default)]
pub(super) struct Spooled {
    pub(super) taken: Option<bool>,
    pub(super) exit: Option<i32>,
    /// When the exit code was written.
    pub(super) exited: Option<u64>,
    pub(super) runs: u32,
    pub(super) written: bool,
    succeeds: bool,
}

/// A pane with a shell.
#[derive(Debug)]
pub(super) struct Terminal {
    pub(super) identity: Identity,
    pub(super) lives: bool,
    /// It is not seen before this time.
    pub(super) hidden: u64,
    draft: String,
    /// What was typed and has not been read yet.
    lines: VecDeque<AttemptId>,
    /// What runs: a job, or a person's command.
    pub(super) runs: Option<Option<AttemptId>>,
    column: u32,
}

impl Terminal {
    /// Returns a pane whose shell waits at its prompt.
    pub(super) fn new(identity: Identity) -> Self {
        Self {
            identity,
            lives: true,
            hidden: 0,
            draft: String::new(),
            lines: VecDeque::new(),
            runs: None,
            column: 0,
        }
    }

    fn cursor(&self) -> (u32, u32) {
        (
            2 + u32::try_from(self.draft.len()).unwrap_or(0),
            self.column,
        )
    }

    fn is_idle(&self) -> bool {
        self.lives && self.draft.is_empty() && self.runs.is_none() && self.lines.is_empty()
    }

    /// Returns what a look shows of it.
    pub(super) fn sight(&self) -> PaneSight {
        PaneSight {
            idle: self.is_idle(),
            at_prompt: self.runs.is_none() && self.draft.is_empty(),

            tells: false,
            foreground: None,
            cursor: self.cursor(),
            piped: true,
            directory: Some("/w".to_owned()),
            shell: Some(Shell::Bash),
            untold: false,
            agent: None,
        }
    }

    /// People leave, and delete their drafts.
    pub(super) fn calm(&mut self) {
        self.draft.clear();
    }
}

impl WorldState {
    /// Lets a shell read its next line.
    pub(super) fn read(&mut self, index: usize) {
        let pane = &mut self.shells[index];
        if !pane.lives || pane.runs.is_some() {
            return;
        }
        let Some(attempt) = pane.lines.pop_front() else {
            return;
        };
        pane.column += 1;
        let Some(job) = self.jobs.get_mut(&attempt).filter(|job| job.written) else {
            // There is no such file, so nothing happens.
            return;
        };
        if job.taken.is_some() {
            return;
        }
        job.taken = Some(true);
        job.runs += 1;
        pane.runs = Some(Some(attempt));
        let lasts = self.rng.u64(1..3_000);
        self.at(lasts, WorldEvent::Over(index));
    }

    /// Ends what runs in a pane.
    pub(super) fn over(&mut self, index: usize) {
        let pane = &mut self.shells[index];
        let Some(ran) = pane.runs.take().filter(|_| pane.lives) else {
            return;
        };
        pane.column += 1;
        if let Some(job) = ran.and_then(|attempt| self.jobs.get_mut(&attempt)) {
            job.exit = Some(i32::from(!job.succeeds));
            job.exited = Some(self.now);
        }
        self.at(1, WorldEvent::Read(index));
    }

    /// Presses Ctrl-C: what runs is dropped and leaves no code; at the prompt, the line is dropped.
    pub(super) fn interrupt(&mut self, index: usize) {
        let pane = &mut self.shells[index];
        if pane.runs.is_none() {
            pane.draft.clear();
        }
        if pane.runs.take().is_some() {
            pane.column += 1;
            self.at(1, WorldEvent::Read(index));
        }
    }

    /// Lets a person do something at a shell.
    pub(super) fn person_at_shell(&mut self, index: usize) {
        let what = self.rng.u32(0..12);
        let pane = &mut self.shells[index];
        match what {
            0..=2 if pane.runs.is_none() => pane.draft.push('x'),
            3..=5 => pane.draft.clear(),
            6 if pane.runs.is_none() && !pane.draft.is_empty() => {
                pane.draft.clear();
                pane.column += 1;
                pane.runs = Some(None);
                let lasts = self.rng.u64(1..2_000);
                self.at(lasts, WorldEvent::Over(index));
            }
            7 | 8 => self.interrupt(index),
            9 => pane.hidden = self.now + self.rng.u64(1..2_000),
            11 if index > 0 && self.rng.u8(0..4) == 0 => pane.lives = false,
            _ => {}
        }
    }

    /// Writes a job into the spool.
    pub(super) fn write_job(&mut self, attempt: AttemptId, line: TypedLine) -> Done {
        let succeeds = self.rng.u8(0..4) > 0;
        let job = self.jobs.entry(attempt).or_default();
        job.written = true;
        job.succeeds = succeeds;
        Done::Written(Ok(line))
    }

    /// Withdraws a job, unless its shell has it.
    pub(super) fn withdraw(&mut self, attempt: AttemptId) -> Done {
        let job = self.jobs.entry(attempt).or_default();
        let by_shell = *job.taken.get_or_insert(false);
        Done::Withdrawn(Ok(if by_shell {
            Taken::ByShell
        } else {
            Taken::Withdrawn
        }))
    }

    /// tmux types a line, if the pane is still as it was seen.
    pub(super) fn type_line(&mut self, line: &TypedLine, attempt: AttemptId) -> Typed {
        let index = self.shell(&line.identity);
        let Some(index) = index.filter(|&index| self.shells[index].lives) else {
            return Typed::Refused(Refusal::Gone);
        };
        if self.shells[index].cursor() != line.cursor {
            return Typed::Refused(Refusal::CursorMoved);
        }
        if !self.shells[index].draft.is_empty() {
            self.fault(&format!("{attempt} was typed over a draft"));
        }
        let lost = self.chance(12);
        if lost && self.rng.bool() {
            return Typed::Unknown(Error::Closed);
        }
        self.shells[index].lines.push_back(attempt);
        let after = if self.chance(10) {
            self.rng.u64(1..15_000)
        } else {
            self.rng.u64(1..40)
        };
        self.at(after, WorldEvent::Read(index));
        if lost {
            Typed::Unknown(Error::Closed)
        } else {
            Typed::Done
        }
    }
}
