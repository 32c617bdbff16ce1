//! The commands of ours by which `top` does something: they run beside it, one after another, so that
//! keys are answered meanwhile.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::acts::{OwnCommand, TopNext};
use crate::cli::Global;

/// The most of what a command prints that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// How long a command may take that has no screen of its own.
const PATIENCE: Duration = Duration::from_secs(30);

/// So long keys wait for the command that was asked for before them, which may take them: `g Enter` gives
/// a task to the first session, however fast it is typed. After that it is said that it still runs.
const BRIEF: Duration = Duration::from_millis(300);

/// How a command of ours ended.
#[derive(Debug)]
pub(super) struct OwnEnd {
    pub(super) is_well: bool,
    /// What it printed.
    pub(super) said: Vec<u8>,
}

/// The command that runs, and those that wait for it.
#[derive(Debug, Default)]
pub(super) struct OwnRuns {
    current: Option<OwnRun>,
    waiting: VecDeque<(OwnCommand, TopNext)>,
}

impl OwnRuns {
    /// Whether nothing is to be done.
    pub(super) fn is_empty(&self) -> bool {
        self.current.is_none() && self.waiting.is_empty()
    }

    /// Has a command run after those that were asked for before.
    pub(super) fn push(&mut self, command: OwnCommand, next: TopNext) {
        self.waiting.push_back((command, next));
    }

    /// Starts what waits, and returns the end of what ran, with what it is for.
    pub(super) fn step(&mut self, global: &Global) -> Option<(TopNext, OwnEnd)> {
        if let Some(run) = &mut self.current {
            let end = run.end()?;
            let run = self.current.take()?;
            return Some((run.next, end));
        }
        let (command, next) = self.waiting.pop_front()?;
        match spawn(global, &command) {
            Ok((child, printed)) => {
                self.current = Some(OwnRun {
                    name: command.name(),
                    next,
                    child,
                    printed: Some(printed),
                    began: Instant::now(),
                });
                None
            }
            Err(error) => Some((next, failed(&error))),
        }
    }

    /// Whether what runs is likely to end before anybody notices that it runs.
    pub(super) fn is_brief(&self) -> bool {
        match &self.current {
            Some(run) => run.began.elapsed() <= BRIEF,
            None => !self.waiting.is_empty(),
        }
    }

    /// Returns what has run for so long that a person wonders.
    pub(super) fn doing(&self) -> Option<&str> {
        let run = self.current.as_ref().filter(|_| !self.is_brief())?;
        Some(&run.name)
    }
}

fn failed(error: &io::Error) -> OwnEnd {
    OwnEnd {
        is_well: false,
        said: error.to_string().into_bytes(),
    }
}

/// A command of ours that runs.
#[derive(Debug)]
struct OwnRun {
    name: String,
    next: TopNext,
    child: Child,
    printed: Option<JoinHandle<Vec<u8>>>,
    began: Instant,
}

impl OwnRun {
    /// Returns how it ended, if it has; one that takes too long is ended.
    fn end(&mut self) -> Option<OwnEnd> {
        let status = match self.child.try_wait() {
            Ok(status) => status,
            Err(error) => return Some(failed(&error)),
        };
        if let Some(status) = status {
            let printed = self.printed.take().map(JoinHandle::join);
            return Some(OwnEnd {
                is_well: status.success(),
                said: printed.and_then(Result::ok).unwrap_or_default(),
            });
        }
        if self.began.elapsed() <= PATIENCE {
            return None;
        }
        // One that has just ended needs no end.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let said = format!("it took longer than {} s and was ended", PATIENCE.as_secs());
        Some(OwnEnd {
            is_well: false,
            said: said.into_bytes(),
        })
    }
}

/// Returns a command of ours, on the same queue.
pub(super) fn own(global: &Global, command: &OwnCommand) -> Command {
    let program = std::env::current_exe().unwrap_or_else(|_| "assigner".into());
    let mut own = Command::new(program);
    if let Some(dir) = &global.data_dir {
        own.arg("--data-dir").arg(dir);
    }
    if let Some(socket) = &global.tmux_socket {
        own.arg("--tmux-socket").arg(socket);
    }
    if let Some(file) = &global.config {
        own.arg("--config").arg(file);
    }
    own.args(&command.words);
    own
}

/// Starts a command, and returns it with what reads all that it prints.
fn spawn(global: &Global, command: &OwnCommand) -> io::Result<(Child, JoinHandle<Vec<u8>>)> {
    let (reader, writer) = io::pipe()?;
    let mut own = own(global, command);
    own.env("NO_COLOR", "1")
        .stdin(Stdio::piped())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let mut child = own.spawn()?;
    // It holds the ends of the pipe on which the reader waits.
    drop(own);
    let input = command.input.clone();
    let stdin = child.stdin.take();
    thread::spawn(move || {
        if let Some(mut stdin) = stdin {
            // What it does not read is not needed.
            let _ = stdin.write_all(input.as_bytes());
        }
    });
    let printed = thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = io::Read::read_to_end(&mut io::Read::take(reader, LONGEST), &mut bytes);
        bytes
    });
    Ok((child, printed))
}
