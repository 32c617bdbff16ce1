//! The control client: one long-lived `tmux -C`, attached to a small holder session of its own.

use std::cell::Cell;
use std::process::Stdio;
use std::time::Duration;

use memchr::memchr;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::timeout;

use super::Error;
use super::command::Program;
use super::parse::{self, ControlEvent, Framing, MAX_ANSWER, TmuxReply};
use super::script::{HOLDER, Script};

/// How long an answer may take. A healthy server takes milliseconds, even for a thousand panes.
const LIMIT: Duration = Duration::from_secs(2);

/// A working connection. Dropping it ends the client, and with it the holder session.
pub(super) struct Control {
    child: Child,
    input: ChildStdin,
    output: StreamLines,
    framing: Framing,
    changed: bool,
}

impl Control {
    /// Connects to a running server. Returns once the client has answered.
    pub(super) async fn connect(program: &Program) -> Result<Self, Error> {
        // The holder keeps the client away from people's sessions: attaching to one of those would
        // count as looking at it, and detaching could destroy it.
        let hello = Script::new();
        let holder = hello.short_name();
        let mut child = program
            .relayed()
            .args(["-C", "new-session", "-s", holder])
            // Nobody looks at it.
            .args(["-x", "10", "-y", "3"])
            // It must not keep a directory in use or inherit variables from assigner.
            .args(["-c", "/", "-E"])
            // A client that is sent output and does not read it freezes the programs of its
            // session; and its size does not matter to anybody.
            .args(["-f", "no-output,ignore-size"])
            // Two words, so that tmux starts no shell. It waits for input that never comes.
            .args(["cat", "-"])
            // The same step marks the holder, so that no list ever shows it as a session.
            .args([";", "set-option", HOLDER, "1"])
            // It ends with the client, however the client ends. `destroy-unattached` would do the
            // same, but crashes the server of tmux 3.3a, with all sessions, when a control client
            // ends while answers are outstanding: so it is off here, whatever people set it to.
            .args([
                ";",
                "set-hook",
                "client-detached",
                &format!("kill-session -t ={holder}:"),
            ])
            .args([";", "set-option", "destroy-unattached", "off"])
            // If somebody kills it, the client must not move on to one of their sessions.
            .args([";", "set-option", "detach-on-destroy", "on"])
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| Error::run(program.path(), error))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::Closed);
        };
        let mut control = Self {
            child,
            input,
            output: StreamLines::new(output),
            framing: Framing::default(),
            changed: false,
        };
        control.ask(&hello).await.complete()?;
        Ok(control)
    }

    /// Sends a request in one write and returns the reply. After a failure, or if the future was
    /// dropped, the connection cannot be used any more.
    pub(super) async fn ask(&mut self, script: &Script) -> TmuxReply {
        let Self {
            input,
            output,
            framing,
            changed,
            ..
        } = self;
        let sent = Cell::new(false);
        let mut reply = TmuxReply::default();
        let mut printed = Vec::new();
        let text = script.finish();
        let write = async {
            let mut rest = text.as_bytes();
            while !rest.is_empty() {
                let written = input.write(rest).await.map_err(|_| Error::Closed)?;
                sent.set(true);
                rest = &rest[written..];
            }
            Ok(())
        };
        let read = async {
            loop {
                match framing.line(output.next().await?)? {
                    ControlEvent::Output(body) => {
                        printed.extend_from_slice(&body);
                        if printed.len() > MAX_ANSWER {
                            return Err(Error::Protocol("an answer is too long"));
                        }
                        if parse::is_end(&body, script.nonce()) {
                            return Ok(());
                        }
                    }
                    ControlEvent::Failed(body) => reply.add_error(&String::from_utf8_lossy(&body)),
                    ControlEvent::Changed => *changed = true,
                    ControlEvent::Exit => return Err(Error::Closed),
                    ControlEvent::Nothing => {}
                }
            }
        };
        // Both at once: tmux stops reading when nobody reads what it writes.
        let outcome = timeout(LIMIT, async { tokio::try_join!(write, read) }).await;
        reply.failure = match outcome {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(Error::TimedOut(LIMIT)),
        };
        reply.sent = sent.get();
        reply.records = parse::records(&printed, script.nonce()).0;
        reply
    }

    /// Forgets the changes announced so far, because the list that was just read includes them.
    pub(super) fn settle(&mut self) {
        self.changed = false;
    }

    /// Completes when a change is announced.
    ///
    /// # Errors
    ///
    /// The connection has ended.
    pub(super) async fn changed(&mut self) -> Result<(), Error> {
        while !self.changed {
            match self.framing.line(self.output.next().await?)? {
                ControlEvent::Changed => self.changed = true,
                ControlEvent::Exit => return Err(Error::Closed),
                ControlEvent::Nothing | ControlEvent::Output(_) | ControlEvent::Failed(_) => {}
            }
        }
        self.changed = false;
        Ok(())
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // At once, and even if tmux does not react: the client and its relay are one group.
        let group = self
            .child
            .id()
            .and_then(|pid| Pid::from_raw(pid.cast_signed()));
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Lines of a stream. What was read is kept when a future is dropped.
struct StreamLines {
    stream: ChildStdout,
    buffer: Vec<u8>,
    /// Where the next line begins.
    start: usize,
    /// The end of the part in which there is no newline.
    searched: usize,
}

impl StreamLines {
    fn new(stream: ChildStdout) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            start: 0,
            searched: 0,
        }
    }

    /// Returns the next line without its newline.
    async fn next(&mut self) -> Result<&[u8], Error> {
        let end = loop {
            if let Some(found) = memchr(b'\n', &self.buffer[self.searched..]) {
                break self.searched + found;
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            self.searched = self.buffer.len();
            if self.buffer.len() > MAX_ANSWER {
                return Err(Error::Protocol("a line is too long"));
            }
            self.buffer.reserve(16 << 10);
            if self
                .stream
                .read_buf(&mut self.buffer)
                .await
                .map_err(|_| Error::Closed)?
                == 0
            {
                return Err(Error::Closed);
            }
        };
        let line = self.start..end;
        self.start = end + 1;
        self.searched = self.start;
        Ok(&self.buffer[line])
    }
}
