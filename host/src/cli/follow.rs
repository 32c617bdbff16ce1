//! Follows one task to its end: what it prints, as it grows, and how it ended.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::signal::unix::SignalKind;

use super::exit::{CommandFailure, Exit};
use super::output;
use super::wait::{Progress, Questions, warn_without_daemon};
use super::{Context, signals, ui};
use crate::model::ids::{AttemptId, TaskId};
use crate::model::task::{Kind, Status, Task};
use crate::node::Spool;
use crate::store::{Output, Store};

/// Checking the database's version costs microseconds, and so does a look at the end of a file.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How much of an output is read at once, in bytes.
const PIECE: u64 = 1 << 20;

/// What is printed while the task runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Nothing: its output follows as a whole.
    Ended,
    /// What it prints, as it prints it.
    Printed,
}

/// Waits until a task is settled, prints what it printed, and exits as it did.
///
/// A person who interrupts this leaves the task as it is.
pub(super) fn run(
    context: &Context,
    id: TaskId,
    until: Until,
    raw: bool,
) -> Result<Exit, CommandFailure> {
    let mut store = context.store()?;
    let task = store.task(id)?;
    warn_without_daemon(context, &[task]);
    let interrupted = interrupted();
    let progress = (until == Until::Ended).then(|| Progress::new(1));
    let mut printed = FollowedOutput::new(raw);
    let mut questions = Questions::default();
    let mut seen = None;
    let settled = loop {
        let version = store.data_version()?;
        if seen != Some(version) {
            seen = Some(version);
            let task = store.task(id)?;
            questions.tell(&task);
            if task.status.is_settled() {
                break task;
            }
            if let Some(progress) = &progress {
                progress.show(std::slice::from_ref(&task));
            }
            if until == Until::Printed {
                printed.follows(context, &mut store, &task)?;
            }
        }
        if until == Until::Printed && !context.ui.json {
            printed.grows()?;
        }
        if interrupted.load(Ordering::Relaxed) {
            if let Some(progress) = &progress {
                progress.end();
            }
            ui::warn(&format!(
                "task {id} goes on: `assigner output --follow {id}` comes back to it, \
                 `assigner cancel {id}` ends it"
            ));
            return Ok(Exit::Interrupted);
        }
        thread::sleep(LOOK_EVERY);
    };
    if let Some(progress) = &progress {
        progress.end();
    }
    let output = store.output(id)?.unwrap_or(Output::of(Vec::new()));
    if context.ui.json {
        output::print_json(context, &settled, &output)?;
    } else {
        // What is kept is of the last one.
        if let Some(last) = store.attempts(id)?.last() {
            printed.turns_to(last.id, id)?;
        }
        printed.rest(&settled, &output)?;
    }
    if settled.status != Status::Completed {
        let why = settled.error.as_deref().unwrap_or_default();
        ui::warn(&format!("task {id} {}: {}", settled.status, ui::clean(why)));
    }
    Ok(exit_of(&settled))
}

/// Returns how a program ends that stands for this task.
fn exit_of(task: &Task) -> Exit {
    match (task.status, task.exit_code) {
        (Status::Completed, _) => Exit::Done,
        (_, Some(code)) => Exit::Task(
            u8::try_from(code)
                .ok()
                .filter(|&code| code != 0)
                .unwrap_or(1),
        ),
        _ => Exit::Failed,
    }
}

/// Returns what becomes true when a person presses Ctrl-C.
pub(super) fn interrupted() -> Arc<AtomicBool> {
    signals::noticed(&[SignalKind::interrupt()], || ())
}

/// What was printed of a task's output.
struct FollowedOutput {
    raw: bool,
    on_terminal: bool,
    spool: Option<Spool>,
    /// The attempt that is being followed.
    attempt: Option<AttemptId>,
    /// How much of the file was read, in bytes.
    read: u64,
    /// How much of the attempt's output was printed, in bytes.
    bytes: u64,
    /// Whether more was printed between two looks than is kept.
    has_gap: bool,
    /// The beginning of a line that is not complete yet: a terminal gets whole lines.
    line: Vec<u8>,
}

impl FollowedOutput {
    fn new(raw: bool) -> Self {
        Self {
            raw,
            on_terminal: io::stdout().is_terminal() && !raw,
            spool: None,
            attempt: None,
            read: 0,
            bytes: 0,
            has_gap: false,
            line: Vec::new(),
        }
    }

    /// Finds the attempt that runs now.
    fn follows(
        &mut self,
        context: &Context,
        store: &mut Store,
        task: &Task,
    ) -> Result<(), CommandFailure> {
        // A secret value may be cut in two, and what an agent answers is known at its end.
        if task.secrets.is_some() || task.kind == Kind::Prompt {
            return Ok(());
        }
        let open = store.open_attempts()?;
        let running = open.into_iter().find(|attempt| attempt.task.id == task.id);
        if let Some(attempt) = running {
            self.turns_to(attempt.id, task.id)?;
            if self.spool.is_none() {
                self.spool = Some(context.spool()?);
            }
        }
        Ok(())
    }

    /// Follows this attempt from its beginning, if it is another one than before.
    fn turns_to(&mut self, attempt: AttemptId, task: TaskId) -> io::Result<()> {
        if self.attempt == Some(attempt) {
            return Ok(());
        }
        if self.attempt.is_some() {
            self.flush()?;
            ui::warn(&format!("task {task} is tried again"));
        }
        *self = Self {
            spool: self.spool.take(),
            attempt: Some(attempt),
            ..Self::new(self.raw)
        };
        Ok(())
    }

    /// Prints what has been printed since.
    fn grows(&mut self) -> io::Result<()> {
        let (Some(spool), Some(attempt)) = (&self.spool, self.attempt) else {
            return Ok(());
        };
        let piece = spool.printed_since(attempt, self.read, PIECE);
        let Some((from, piece)) = piece.filter(|(_, piece)| !piece.is_empty()) else {
            return Ok(());
        };
        self.has_gap |= from < self.read;
        self.read = from + piece.len() as u64;
        self.bytes += piece.len() as u64;
        self.print(&piece)
    }

    /// Prints what was not printed yet, now that the whole is known.
    fn rest(&mut self, task: &Task, output: &Output) -> Result<(), CommandFailure> {
        if self.has_gap {
            self.flush()?;
            ui::warn(&format!(
                "it prints faster than it can be followed: `assigner output {}` has what was kept",
                task.id
            ));
            return Ok(());
        }
        output::warn_of_losses(task, output);
        let kept_from = output.total.saturating_sub(output.bytes.len() as u64);
        let skip = usize::try_from(self.bytes.saturating_sub(kept_from)).unwrap_or(usize::MAX);
        let rest = output.bytes.get(skip..).unwrap_or_default();
        self.print(rest)?;
        self.flush()?;
        Ok(())
    }

    fn print(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.on_terminal {
            let mut out = io::stdout().lock();
            out.write_all(bytes)?;
            return out.flush();
        }
        self.line.extend_from_slice(bytes);
        let Some(end) = memchr::memrchr(b'\n', &self.line) else {
            return Ok(());
        };
        let rest = self.line.split_off(end + 1);
        let whole = std::mem::replace(&mut self.line, rest);
        print_plain(&whole)
    }

    /// Prints a line that will not be completed.
    fn flush(&mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.line);
        print_plain(&rest)
    }
}

fn print_plain(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(output::plain(bytes).as_bytes())?;
    out.flush()
}
