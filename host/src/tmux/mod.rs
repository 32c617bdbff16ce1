//! The tmux driver: what the project reads from panes and does to them.
//!
//! [`Tmux`] is all that the rest of the project knows. [`Server`] implements it: it speaks to a server
//! itself if that is of a version that this was tried with, and runs one `tmux` process per request
//! elsewhere. In both ways the client is attached to nothing, so nobody notices it, and both are sent
//! the same text: `script` writes it, `quote` quotes what goes into it, `wire` puts it into messages,
//! and `parse` reads what comes back. These four are pure.

mod command;
mod direct;
#[cfg(any(test, fuzzing))]
#[path = "../../../tests/fuzz/targets/tmux.rs"]
pub(crate) mod fuzz;
#[cfg(test)]
mod guard_tests;
#[cfg(test)]
mod lost_tests;
mod parse;
#[cfg(test)]
mod parse_tests;
mod quote;
mod script;
#[cfg(test)]
mod script_tests;
mod server;
mod shared;
mod spawn;
#[cfg(test)]
mod tests;
mod version;
mod wire;
#[cfg(test)]
mod world;
mod writer;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::model::ids::{Identity, PaneId, TmuxSession};

pub use command::{Program, Socket};
pub use script::{MAX_LINE, MAX_PIPE};
pub use server::Server;
pub use shared::Shared;
pub use version::{Version, version};
pub use writer::PaneLock;

/// What can be asked of a tmux server. Every request ends within seconds, whatever tmux does.
#[expect(
    async_fn_in_trait,
    reason = "the engine is generic and runs on one thread: no Send bound is wanted"
)]
pub trait Tmux {
    /// Returns all panes of the server, each once.
    ///
    /// # Errors
    ///
    /// [`Error::NoServer`] if no server runs.
    async fn panes(&mut self) -> Result<Vec<Pane>, Error>;

    /// Returns the line that each pane's cursor is in, in the order of `panes`. It is `None` if the
    /// cursor has moved since the pane was listed, or if the pane is gone.
    async fn cursor_lines(&mut self, panes: &[&Pane]) -> Result<Vec<Option<CursorLine>>, Error>;

    /// Types one short line into each pane and submits it, and returns the outcomes in order. tmux
    /// itself checks, in the same step as the typing, that the pane has not changed since it was
    /// listed. Nothing is ever tried twice.
    async fn type_lines(&mut self, lines: &[TypedLine]) -> Vec<Typed>;

    /// Returns the screen of each pane, in the order of `panes`. `None` if the pane is gone.
    ///
    /// # Errors
    ///
    /// tmux could not be asked.
    async fn screens(&mut self, panes: &[&Identity]) -> Result<Vec<Option<Capture>>, Error>;

    /// Pastes a text into a pane, bracketed if its program asked for that, with the same guard as
    /// [`Tmux::type_lines`]. Nothing is submitted, and nothing is ever tried twice.
    async fn paste(&mut self, paste: &Paste) -> Typed;

    /// Presses keys in a pane, with the same guard.
    async fn press(&mut self, keys: &Keys) -> Typed;

    /// Sends Ctrl-C to a pane, with the guard of [`Tmux::type_lines`], but wherever its cursor is.
    async fn interrupt(&mut self, identity: &Identity) -> Typed;

    /// Ends the pipe of a pane's output. Does nothing if the pane is gone.
    async fn close_pipe(&mut self, identity: &Identity) -> Result<(), Error>;

    /// Returns the last `lines` lines of a pane that are not blank, for messages: plain text, with
    /// wrapped lines joined, without control characters other than the newline.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`] if this pane no longer exists.
    async fn tail(&mut self, identity: &Identity, lines: u32) -> Result<String, Error>;

    /// Returns the last `lines` lines of a pane's history and its screen as plain text, with
    /// wrapped lines joined.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`] if this pane no longer exists.
    async fn history(&mut self, identity: &Identity, lines: u32) -> Result<String, Error>;

    /// Writes this to each terminal that shows tmux: a bell, or what it shows outside of its screen.
    ///
    /// # Errors
    ///
    /// tmux could not be asked.
    async fn tell_terminals(&mut self, bytes: &[u8]) -> Result<(), Error>;

    /// Returns the sessions of the server.
    ///
    /// # Errors
    ///
    /// [`Error::NoServer`] if no server runs.
    async fn sessions(&mut self) -> Result<Vec<Session>, Error>;

    /// Starts a session with its mark, and a server if none runs. Nothing is ever tried twice:
    /// after [`Error::TimedOut`], [`Error::Closed`] or [`Error::Protocol`], the next list shows
    /// whether it was started.
    ///
    /// # Errors
    ///
    /// tmux could not be asked, or it refused.
    async fn start_session(&mut self, new: &NewSession) -> Result<(), Error>;

    /// Adds to the mark of a session that it has come up. Returns whether the session still exists.
    ///
    /// # Errors
    ///
    /// tmux could not be asked.
    async fn mark_up(&mut self, session: &Session) -> Result<bool, Error>;

    /// Ends a session with everything that runs in it, if tmux finds in the same step that it has
    /// not changed since it was listed: nobody attached, one window, one pane, the same program,
    /// the cursor in the same place. Returns whether it was ended.
    ///
    /// # Errors
    ///
    /// tmux could not be asked.
    async fn end_session(&mut self, session: &Session) -> Result<bool, Error>;
}

/// A pane as it was when it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pane {
    /// The pane, its server, and its first process.
    pub identity: Identity,
    /// The name of its session as tmux shows it: a label, never an address. If several sessions
    /// show the pane, as in a session group, this is the oldest of them.
    pub session: String,
    /// tmux's number for that session.
    pub session_id: TmuxSession,
    /// The number of its window in the session.
    pub window_index: u32,
    /// The number of the pane in its window.
    pub pane_index: u32,
    /// The other sessions that show it, oldest first.
    pub further: Vec<FurtherSession>,
    /// Its terminal.
    pub tty: PathBuf,
    /// Whether its program has ended while the pane remains.
    pub dead: bool,
    /// Whether it is in copy mode or another mode, where keys do not reach the program.
    pub in_mode: bool,
    /// Whether input to it is switched off (`select-pane -d`).
    pub input_off: bool,
    /// Whether what is typed in it goes to other panes as well (`synchronize-panes`).
    pub synchronized: bool,
    /// Whether its output is piped somewhere.
    pub piped: bool,
    /// Whether the program shows the alternate screen.
    pub alternate: bool,
    /// Its width in columns.
    pub width: u32,
    /// Whether a client was ever attached to a session that shows it.
    pub attached: bool,
    /// The column and row of its cursor, counted from 0.
    pub cursor: (u32, u32),
    /// When a person last did something in a client that shows this very pane as the active one, in
    /// seconds since 1970-01-01 UTC. `None` if no client shows it.
    pub watched_until: Option<i64>,
    /// When something last appeared in its window, in seconds since 1970-01-01 UTC.
    pub activity: i64,
    /// The exit status of its program, if tmux knows it. tmux 3.3a may know it late or never.
    pub dead_status: Option<i32>,
    /// The program in the foreground, by the name that it gives itself: any text.
    pub command: String,
    /// The title that the program set: any text without a newline.
    pub title: String,
}

/// Another session that shows a pane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FurtherSession {
    /// Its name.
    pub session: String,
    /// tmux's number for it.
    pub session_id: TmuxSession,
    /// The number of the pane's window there.
    pub window_index: u32,
}

/// A session as it was when it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// tmux's own name for it, such as `$3`: unique during the life of a server.
    pub id: SessionId,
    /// Its name as tmux shows it: a label, never an address.
    pub name: String,
    /// The number of clients attached to it, including control clients.
    pub clients: u32,
    /// The number of its windows.
    pub windows: u32,
    /// The number of panes in its current window.
    pub panes: u32,
    /// Whether other sessions show its windows, too: it is in a group, or its window is linked.
    pub shared: bool,
    /// Its active pane.
    pub pane: Identity,
    /// The column and row of the cursor there, counted from 0.
    pub cursor: (u32, u32),
    /// Whether the program there has ended while the pane remains.
    pub dead: bool,
    /// The exit status of that program, if tmux knows it.
    pub dead_status: Option<i32>,
    /// When it was created, in seconds since 1970-01-01 UTC.
    pub created: i64,
    /// Its mark, if assigner started it.
    pub mark: Option<Mark>,
    /// Whether it was marked as having come up.
    pub up: bool,
}

impl Session {
    /// Whether nobody is attached to it and nobody has added a window or a pane.
    pub fn is_alone(&self) -> bool {
        self.clients == 0 && !self.shared && self.windows == 1 && self.panes == 1
    }
}

/// tmux's own name for a session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionId(String);

/// The mark of a session that assigner has started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The pool that it belongs to: letters, digits, `-` and `_`.
    pub pool: String,
    /// The assigner that started it, identified by its data directory.
    pub owner: String,
}

/// A session to be started. None of its texts contains a control character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    /// Its name: letters, digits, `-` and `_`.
    pub name: String,
    /// The directory in which its program starts: an absolute path that exists, because otherwise
    /// tmux silently uses another one.
    pub directory: String,
    /// What runs in it: a single text is a line for the user's shell, several are a program and its
    /// arguments.
    pub command: Vec<String>,
    /// Variables to set for it.
    pub variables: BTreeMap<String, String>,
    /// Its mark.
    pub mark: Mark,
}

/// The line that a pane's cursor is in, split at the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorLine {
    /// The text to the left of the cursor, padded with spaces up to it.
    pub before: String,
    /// The text from the cursor on, without trailing spaces.
    pub after: String,
    /// The lines above it, nearest last, without trailing spaces: at most [`CursorLine::ABOVE`].
    /// Some of the trailing spaces belong to a draft, and others are what fish and zsh clear a row
    /// with: tmux does not tell them apart.
    pub above: Vec<String>,
    /// The lines below it, without trailing spaces: at most [`CursorLine::BELOW`]. A shell shows
    /// there what it searches for.
    pub below: Vec<String>,
}

impl CursorLine {
    /// The number of lines above it that are read.
    pub const ABOVE: u32 = 8;
    /// The number of lines below it that are read.
    pub const BELOW: u32 = 4;
}

/// One line to type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypedLine {
    /// The pane that it goes to.
    pub identity: Identity,
    /// Where the cursor must still be.
    pub cursor: (u32, u32),
    /// The line: 1 to [`MAX_LINE`] bytes without control characters.
    pub text: String,
    /// A key that is pressed instead of typing, if the program in the pane already knows the line.
    pub key: Option<&'static [u8]>,
    /// Where the pane's output goes from this line on.
    pub output: PaneOutput,
}

/// Where a pane's output goes beside its screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaneOutput {
    /// Wherever it goes now.
    AsItIs,
    /// To this program from now on. The pane must not be piped already.
    To(Pipe),
    /// Into the pipe that is open, which must not have been closed.
    Piped,
}

/// A pane's screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// Its lines, with escape sequences for their colours.
    pub text: String,
    /// The column and row of its cursor, counted from 0.
    pub cursor: (u32, u32),
    /// Whether the cursor is visible.
    pub cursor_shown: bool,
    /// Whether the pane is in copy mode or another mode, where keys do not reach the program.
    pub in_mode: bool,
}

/// A pane as it was when it was looked at, and as it must still be when something is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aim {
    /// The pane.
    pub identity: Identity,
    /// Where its cursor must be.
    pub cursor: (u32, u32),
    /// The program that must be in the foreground, by the name that tmux shows. `None` means any.
    pub command: Option<String>,
}

/// A text to paste.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paste {
    /// The pane that it goes to.
    pub aim: Aim,
    /// The text: no control characters except tab and newline.
    pub text: String,
}

/// Keys to press.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The pane that they go to.
    pub aim: Aim,
    /// Text that is typed literally, first: no control characters.
    pub literal: String,
    /// Keys by their tmux names: letters, digits and `-`.
    pub names: Vec<String>,
}

/// A program that receives the output of a pane on its standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pipe {
    /// The program and its arguments, unquoted: they are quoted here. Together at most [`MAX_PIPE`]
    /// bytes, without control characters.
    pub argv: Vec<String>,
}

/// The outcome of typing a line or pressing a key.
#[derive(Debug, Clone)]
pub enum Typed {
    /// tmux gave it to the pane. What the program does with it is not known here.
    Done,
    /// Nothing was typed.
    Refused(Refusal),
    /// It is not known whether it was typed.
    Unknown(Error),
}

/// Why nothing was typed into a pane: one line for people.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// There is no such pane on this server, or no such server.
    #[error("the pane is gone")]
    Gone,
    /// The pane's first process is a different one.
    #[error("the pane was respawned")]
    Respawned,
    /// Its program has ended.
    #[error("the program in the pane has ended")]
    Dead,
    /// It is in copy mode or another mode.
    #[error("the pane is in copy mode or another tmux mode")]
    Mode,
    /// `select-pane -d`.
    #[error("input to the pane is switched off")]
    InputOff,
    /// `synchronize-panes`.
    #[error("the pane is synchronized with others")]
    Synchronized,
    /// Somebody typed there, or the program wrote something.
    #[error("the cursor has moved since the pane was read")]
    CursorMoved,
    /// A different program is in the foreground.
    #[error("another program is in the foreground of the pane")]
    OtherProgram,
    /// Another process is writing to it.
    #[error("another assigner is writing to the pane")]
    Writer,
    /// Another pipe is open, and a pane can have only one.
    #[error("the output of the pane is already piped elsewhere")]
    Piped,
    /// The pipe that was open is not any more.
    #[error("the pipe of the pane's output was closed")]
    Unpiped,
    /// The text or the pipe breaks the rules of [`TypedLine`].
    #[error("{0}")]
    Unfit(&'static str),
    /// tmux did not carry out what comes before the typing, and printed this.
    #[error("tmux refused: {0}")]
    Tmux(String),
}

/// Why tmux could not be asked, or why its answer could not be used.
#[derive(Debug, Clone, Error)]
pub enum Error {
    /// No server runs on the socket.
    #[error("reach a tmux server: none is running")]
    NoServer,
    /// There is no such program.
    #[error("run `{0}`: tmux is not installed (try `apt install tmux` or `brew install tmux`)")]
    Missing(PathBuf),
    /// The installed version lacks something that is needed here.
    #[error("use {0}: tmux 3.2 or newer is needed")]
    TooOld(Version),
    /// The program could not be run.
    #[error("run `{0}`: {1}")]
    Run(PathBuf, #[source] Arc<io::Error>),
    /// tmux ran and refused.
    #[error("use tmux: {0}")]
    Tmux(String),
    /// There was no answer in time.
    #[error("get an answer from tmux within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The connection ended before the answer did.
    #[error("get an answer from tmux: the connection has ended")]
    Closed,
    /// The answer cannot be understood, or is too long to be kept.
    #[error("understand tmux: {0}")]
    Protocol(&'static str),
    /// The pane no longer exists.
    #[error("find the pane {0}: it is gone")]
    Gone(PaneId),
}

impl Error {
    /// Returns the error for a `program` that could not be started.
    fn run(program: &std::path::Path, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing(program.to_owned()),
            _ => Self::Run(program.to_owned(), Arc::new(error)),
        }
    }
}
