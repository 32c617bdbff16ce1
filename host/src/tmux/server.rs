//! The implementation of [`Tmux`]: directly where the server is known, else by a process a request.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

use super::command::Program;
use super::parse::{self, ReplyRecord, TmuxReply};
use super::script::{RequiredPane, Script};
use super::{
    Capture, CursorLine, Error, Keys, NewSession, Pane, Paste, Refusal, Session, Tmux, Typed,
    TypedLine, direct, spawn,
};
use crate::model::ids::Identity;

/// The first pause after a server was not understood, and the longest one that doubling leads to.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A tmux server that is driven.
pub struct Server {
    program: Program,
    /// The socket of a server that is spoken to directly. `None` at first, after a failure, and if it
    /// is of another version.
    direct: Option<PathBuf>,
    pause: Duration,
    resume: Option<Instant>,
}

/// What to do when a request fails after it was sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Retry {
    /// It reads, or does something that can be done twice: ask again by a process.
    Yes,
    /// It types.
    Never,
}

impl Server {
    /// Returns a driver that learns which server it speaks to when it is first asked for panes.
    pub fn new(program: Program) -> Self {
        Self {
            program,
            direct: None,
            pause: PAUSE.0,
            resume: None,
        }
    }

    /// Returns a driver that runs a process for each request.
    #[cfg(test)]
    pub(super) fn spawning(program: Program) -> Self {
        let far = Instant::now() + Duration::from_secs(86_400);
        Self {
            resume: Some(far),
            ..Self::new(program)
        }
    }

    /// Whether the server is spoken to directly.
    #[cfg(test)]
    pub(super) fn is_direct(&self) -> bool {
        self.direct.is_some()
    }

    async fn ask(&mut self, script: &Script, retry: Retry) -> TmuxReply {
        if let Some(socket) = &self.direct {
            let reply = direct::ask(socket, script).await;
            let Some(failure) = &reply.failure else {
                return reply;
            };
            debug!(%failure, "the tmux server was not understood");
            self.direct = None;
            self.resume = Some(Instant::now() + self.pause);
            self.pause = (self.pause * 2).min(PAUSE.1);
            if reply.sent && retry == Retry::Never {
                return reply;
            }
        }
        spawn::ask(&self.program, script).await
    }

    /// Notes which server has answered.
    fn meet(&mut self, records: &[ReplyRecord]) {
        if self.direct.is_some() {
            self.pause = PAUSE.0;
        } else if self.resume.is_none_or(|resume| resume <= Instant::now())
            && let Some((version, socket)) = parse::server(records)
            && direct::speaks_with(version)
        {
            self.direct = Some(socket.to_owned());
        }
    }

    fn forget_failures(&mut self) {
        self.pause = PAUSE.0;
        self.resume = None;
    }
}

impl Tmux for Server {
    async fn panes(&mut self) -> Result<Vec<Pane>, Error> {
        let mut script = Script::new();
        script.panes();
        let reply = self.ask(&script, Retry::Yes).await;
        if let Some(Error::NoServer) = reply.failure {
            // It failed because it has ended: the next server starts afresh.
            self.forget_failures();
        }
        let records = reply.complete()?;
        self.meet(&records);
        parse::panes(&records, script.nonce())
    }

    async fn cursor_lines(&mut self, panes: &[&Pane]) -> Result<Vec<Option<CursorLine>>, Error> {
        if panes.is_empty() {
            return Ok(Vec::new());
        }
        let mut script = Script::new();
        for (index, pane) in panes.iter().enumerate() {
            script.cursor_line(index, pane);
        }
        let records = self.ask(&script, Retry::Yes).await.complete()?;
        Ok(parse::cursor_lines(&records, panes))
    }

    async fn type_lines(&mut self, lines: &[TypedLine]) -> Vec<Typed> {
        let mut script = Script::new();
        let unfit: Vec<_> = lines
            .iter()
            .enumerate()
            .map(|(index, line)| script.type_line(index, line).err())
            .collect();
        if unfit.iter().all(Option::is_some) {
            return unfit.into_iter().flatten().map(Typed::Refused).collect();
        }
        let reply = self.ask(&script, Retry::Never).await;
        let outcome = |(index, unfit): (usize, Option<_>)| match unfit {
            Some(refusal) => Typed::Refused(refusal),
            None => parse::typed(&reply, index, &RequiredPane::typing(&lines[index])),
        };
        unfit.into_iter().enumerate().map(outcome).collect()
    }

    async fn screens(&mut self, panes: &[&Identity]) -> Result<Vec<Option<Capture>>, Error> {
        if panes.is_empty() {
            return Ok(Vec::new());
        }
        let mut script = Script::new();
        for (index, identity) in panes.iter().enumerate() {
            script.screen(index, identity);
        }
        let records = self.ask(&script, Retry::Yes).await.complete()?;
        Ok(parse::screens(&records, panes))
    }

    async fn paste(&mut self, paste: &Paste) -> Typed {
        let fits = |char: char| !char.is_control() || matches!(char, '\t' | '\n');
        if paste.text.is_empty() || !paste.text.chars().all(fits) {
            return Typed::Refused(Refusal::Unfit(
                "the text has a control character, or is empty",
            ));
        }
        let mut script = Script::new();
        script.paste(paste);
        let reply = self.ask(&script, Retry::Never).await;
        parse::typed(&reply, 0, &RequiredPane::aimed(&paste.aim))
    }

    async fn press(&mut self, keys: &Keys) -> Typed {
        let mut script = Script::new();
        if let Err(refusal) = script.press(keys) {
            return Typed::Refused(refusal);
        }
        let reply = self.ask(&script, Retry::Never).await;
        parse::typed(&reply, 0, &RequiredPane::aimed(&keys.aim))
    }

    async fn interrupt(&mut self, identity: &Identity) -> Typed {
        let mut script = Script::new();
        script.interrupt(0, identity);
        let reply = self.ask(&script, Retry::Never).await;
        parse::typed(&reply, 0, &RequiredPane::key(identity))
    }

    async fn close_pipe(&mut self, identity: &Identity) -> Result<(), Error> {
        let mut script = Script::new();
        script.close_pipe(identity);
        match self.ask(&script, Retry::Yes).await.complete() {
            Ok(_) | Err(Error::NoServer) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn tail(&mut self, identity: &Identity, lines: u32) -> Result<String, Error> {
        let mut script = Script::new();
        script.tail(identity, lines);
        let records = self.ask(&script, Retry::Yes).await.complete()?;
        parse::tail(&records, identity, lines)
    }

    async fn history(&mut self, identity: &Identity, lines: u32) -> Result<String, Error> {
        let mut script = Script::new();
        script.tail(identity, lines);
        let records = self.ask(&script, Retry::Yes).await.complete()?;
        parse::history(&records, identity)
    }

    async fn tell_terminals(&mut self, bytes: &[u8]) -> Result<(), Error> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut script = Script::new();
        script.terminals();
        let records = self.ask(&script, Retry::Yes).await.complete()?;
        let waits_for_nothing = rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::NONBLOCK;
        let flags = i32::try_from(waits_for_nothing.bits()).unwrap_or_default();
        for terminal in parse::terminals(&records) {
            let opened = std::fs::OpenOptions::new()
                .write(true)
                .custom_flags(flags)
                .open(terminal);
            if let Ok(mut terminal) = opened {
                let _ = terminal.write_all(bytes);
            }
        }
        Ok(())
    }

    async fn sessions(&mut self) -> Result<Vec<Session>, Error> {
        let mut script = Script::new();
        script.sessions();
        let records = self.ask(&script, Retry::Yes).await.complete()?;
        parse::sessions(&records)
    }

    async fn start_session(&mut self, new: &NewSession) -> Result<(), Error> {
        let mut script = Script::new();
        script.start_session(new)?;
        let mut reply = self.ask(&script, Retry::Never).await;
        if let (false, Some(Error::NoServer)) = (reply.sent, &reply.failure) {
            self.forget_failures();
            reply = spawn::begin(&self.program, &script).await;
        }
        parse::started(reply)
    }

    async fn mark_up(&mut self, session: &Session) -> Result<bool, Error> {
        let mut script = Script::new();
        script.mark_up(session);
        let records = self.ask(&script, Retry::Yes).await.complete()?;
        Ok(parse::is_done(&records, "done"))
    }

    async fn end_session(&mut self, session: &Session) -> Result<bool, Error> {
        // Whatever was listed, a session that somebody uses is not ended.
        if !session.is_alone() {
            return Ok(false);
        }
        let mut script = Script::new();
        script.end_session(session);
        let reply = self.ask(&script, Retry::Never).await;
        // With its last session, the server may be gone before the answer is complete.
        if parse::is_done(&reply.records, "done") {
            return Ok(true);
        }
        reply.complete().map(|_| false)
    }
}
