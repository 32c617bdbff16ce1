//! The driver of tmux: what the project reads from panes and does to them.
//!
//! [`Tmux`] is all that the rest of the project knows. [`Server`] implements it over one control
//! client, and over one `tmux` process a request where that client is missing or fails. Both are
//! sent the same text: `script` writes it, `quote` quotes what goes into it, and `parse` reads
//! what comes back; these three are pure.

mod command;
mod control;
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
    /// Returns all panes of the server, each once; holder sessions of assigner are left out.
    ///
    /// # Errors
    ///
    /// [`Error::NoServer`] where none runs.
    async fn panes(&mut self) -> Result<Vec<Pane>, Error>;

    /// Returns the line that each pane's cursor stands in, in the order of `panes`. It is `None`
    /// where the cursor has moved since the pane was listed, or the pane is gone.
    async fn cursor_lines(&mut self, panes: &[&Pane]) -> Result<Vec<Option<CursorLine>>, Error>;

    /// Types one short line into each pane and submits it, and returns what became of each, in
    /// order. tmux itself compares, in one step with the typing, that the pane is still as it was
    /// listed. Nothing is ever tried twice.
    async fn type_lines(&mut self, lines: &[TypedLine]) -> Vec<Typed>;

    /// Returns the screen of each pane, in the order of `panes`; `None` where the pane is gone.
    ///
    /// # Errors
    ///
    /// tmux could not be asked.
    async fn screens(&mut self, panes: &[&Identity]) -> Result<Vec<Option<Capture>>, Error>;

    /// Pastes a text into a pane, in brackets where its program asked for them, guarded as
    /// [`Tmux::type_lines`] is. Nothing is submitted, and nothing is ever tried twice.
    async fn paste(&mut self, paste: &Paste) -> Typed;

    /// Presses keys in a pane, guarded in the same way.
    async fn press(&mut self, keys: &Keys) -> Typed;

    /// Sends Ctrl-C to a pane, guarded as [`Tmux::type_lines`] is, but wherever its cursor stands.
    async fn interrupt(&mut self, identity: &Identity) -> Typed;

    /// Ends what a pane's output is piped to; nothing happens where the pane is gone.
    async fn close_pipe(&mut self, identity: &Identity) -> Result<(), Error>;

    /// Returns the last `lines` lines of a pane that are not blank, for messages: plain text,
    /// wrapped lines joined, without control characters other than the newline.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`] where this pane is not there any more.
    async fn tail(&mut self, identity: &Identity, lines: u32) -> Result<String, Error>;

    /// Returns the last `lines` lines of a pane's history and its screen, wrapped lines joined: plain
    /// text.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`] where this pane is not there any more.
    async fn history(&mut self, identity: &Identity, lines: u32) -> Result<String, Error>;

    /// Rings the bell of each terminal that shows tmux.
    ///
    /// # Errors
    ///
    /// tmux could not be asked.
    async fn bell(&mut self) -> Result<(), Error>;

    /// Returns the sessions of the server; holder sessions of assigner are left out.
    ///
    /// # Errors
    ///
    /// [`Error::NoServer`] where none runs.
    async fn sessions(&mut self) -> Result<Vec<Session>, Error>;

    /// Starts a session with its mark, and a server where none runs. Nothing is ever tried twice:
    /// after [`Error::TimedOut`], [`Error::Closed`] or [`Error::Protocol`] the next list tells
    /// whether it was started.
    ///
    /// # Errors
    ///
    /// tmux could not be asked, or said no.
    async fn start_session(&mut self, new: &NewSession) -> Result<(), Error>;

    /// Adds to the mark of a session that it has come up; returns whether it is still there.
    ///
    /// # Errors
    ///
    /// tmux could not be asked.
    async fn mark_up(&mut self, session: &Session) -> Result<bool, Error>;

    /// Ends a session with all that runs in it, where tmux finds it in the same step as it was listed:
    /// nobody attached, one window, one pane, the same program, the cursor where it was. Returns
    /// whether it did.
    ///
    /// # Errors
    ///
    /// tmux could not be asked.
    async fn end_session(&mut self, session: &Session) -> Result<bool, Error>;

    /// Completes when tmux says that sessions, windows or panes may have changed since the last
    /// [`Tmux::panes`]. It may never complete: a notification only makes the next look earlier.
    /// Dropping the future loses nothing.
    async fn changed(&mut self);
}

/// A pane as it was when it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pane {
    /// Which pane of which server, and its first process.
    pub identity: Identity,
    /// Name of its session as tmux shows it: a label, never an address. Where several show it, as in
    /// a session group, the oldest of them.
    pub session: String,
    /// tmux's number of that session.
    pub session_id: TmuxSession,
    /// Number of its window in the session.
    pub window_index: u32,
    /// Number of the pane in its window.
    pub pane_index: u32,
    /// The further sessions that show it, the oldest first.
    pub further: Vec<Further>,
    /// Its terminal.
    pub tty: PathBuf,
    /// Whether its program has ended while the pane remains.
    pub dead: bool,
    /// Whether it is in copy mode or another mode, where keys do not reach the program.
    pub in_mode: bool,
    /// Whether input to it is switched off (`select-pane -d`).
    pub input_off: bool,
    /// Whether what is typed there goes to other panes as well (`synchronize-panes`).
    pub synchronized: bool,
    /// Whether its output is piped somewhere.
    pub piped: bool,
    /// Whether the program shows the alternate screen.
    pub alternate: bool,
    /// How many columns it has.
    pub width: u32,
    /// Whether a client was ever attached to a session that shows it.
    pub attached: bool,
    /// Column and row of its cursor, from 0.
    pub cursor: (u32, u32),
    /// When a person last did something in a client that shows this very pane as the active one,
    /// in seconds since 1970-01-01 UTC; `None` where no client shows it.
    pub watched_until: Option<i64>,
    /// When something last appeared in its window, in seconds since 1970-01-01 UTC.
    pub activity: i64,
    /// Exit status of its program, where tmux knows one. tmux 3.3a may know it late or never.
    pub dead_status: Option<i32>,
    /// The program in the foreground, by the name it gives itself: any text.
    pub command: String,
    /// The title that the program set: any text without a newline.
    pub title: String,
}

/// A further session that shows a pane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Further {
    /// Its name.
    pub session: String,
    /// tmux's number of it.
    pub session_id: TmuxSession,
    /// Number of the pane's window there.
    pub window_index: u32,
}

/// A session as it was when it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// tmux's own name of it, such as `$3`: unique in the life of one server.
    pub id: SessionId,
    /// Its name as tmux shows it: a label, never an address.
    pub name: String,
    /// How many clients are attached to it, control clients among them.
    pub clients: u32,
    /// How many windows it has.
    pub windows: u32,
    /// How many panes its current window has.
    pub panes: u32,
    /// Whether others show its windows, too: it is in a group, or its window is linked.
    pub shared: bool,
    /// Its active pane.
    pub pane: Identity,
    /// Column and row of the cursor there, from 0.
    pub cursor: (u32, u32),
    /// Whether the program there has ended while the pane remains.
    pub dead: bool,
    /// The exit status of that program, where tmux knows one.
    pub dead_status: Option<i32>,
    /// When it was made, in seconds since 1970-01-01 UTC.
    pub created: i64,
    /// Its mark, where assigner has started it.
    pub mark: Option<Mark>,
    /// Whether it was marked as one that has come up.
    pub up: bool,
}

impl Session {
    /// Whether nobody is attached to it, and nobody has added a window or a pane.
    pub fn is_alone(&self) -> bool {
        self.clients == 0 && !self.shared && self.windows == 1 && self.panes == 1
    }
}

/// tmux's own name of a session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionId(String);

/// What tells that assigner has started a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// For which pool: letters, digits, `-` and `_`.
    pub pool: String,
    /// Which assigner, by its data directory.
    pub owner: String,
}

/// A session to be started. None of its texts has a control character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    /// Its name: letters, digits, `-` and `_`.
    pub name: String,
    /// Where its program starts: an absolute path that exists, for tmux takes another one silently.
    pub directory: String,
    /// What runs in it: one text is a line for the user's shell, several are a program with its
    /// arguments.
    pub command: Vec<String>,
    /// Variables that it is given.
    pub variables: BTreeMap<String, String>,
    /// How it is marked.
    pub mark: Mark,
}

/// The line that a pane's cursor stands in, split at the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorLine {
    /// What stands left of the cursor, padded with spaces up to it.
    pub before: String,
    /// What stands from the cursor on, without trailing spaces.
    pub after: String,
    /// The lines above it, the nearest last, without trailing spaces: at most [`CursorLine::ABOVE`].
    /// Of the spaces some are a draft's and some are what fish and zsh clear a row with: tmux does not tell.
    pub above: Vec<String>,
    /// The lines below it, without trailing spaces: at most [`CursorLine::BELOW`]. A shell shows there
    /// what it searches for.
    pub below: Vec<String>,
}

impl CursorLine {
    /// So many lines above it are read.
    pub const ABOVE: u32 = 8;
    /// So many below it.
    pub const BELOW: u32 = 4;
}

/// One line to type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypedLine {
    /// Where it goes.
    pub identity: Identity,
    /// Where the cursor must still stand.
    pub cursor: (u32, u32),
    /// The line: 1 to [`MAX_LINE`] bytes without control characters.
    pub text: String,
    /// The key that is pressed instead, where the program in the pane knows the line already.
    pub key: Option<&'static [u8]>,
    /// Where the pane's output goes from this line on; the pane must not be piped already.
    pub pipe: Option<Pipe>,
}

/// A pane's screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// Its lines, with the sequences of their colours.
    pub text: String,
    /// Column and row of its cursor, from 0.
    pub cursor: (u32, u32),
    /// Whether the cursor is shown.
    pub cursor_shown: bool,
    /// Whether the pane is in copy mode or another mode, where keys do not reach the program.
    pub in_mode: bool,
}

/// A pane as it was when it was looked at, which it must still be when something is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aim {
    /// The pane.
    pub identity: Identity,
    /// Where its cursor must stand.
    pub cursor: (u32, u32),
    /// The program that must be in the foreground, by the name that tmux shows; `None`: any.
    pub command: Option<String>,
}

/// A text to paste.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paste {
    /// Where it goes.
    pub aim: Aim,
    /// The text: no control characters but tab and newline.
    pub text: String,
}

/// Keys to press.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// Where they go.
    pub aim: Aim,
    /// What is typed as it is, first: no control characters.
    pub literal: String,
    /// tmux's names of keys: letters, digits and `-`.
    pub names: Vec<String>,
}

/// A program that receives the output of a pane on its standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pipe {
    /// The program and its arguments, as they are: quoting is done here. Together at most
    /// [`MAX_PIPE`] bytes, without control characters.
    pub argv: Vec<String>,
}

/// What became of a line, or of a key.
#[derive(Debug, Clone)]
pub enum Typed {
    /// tmux gave it to the pane. What the program does with it is for others to see.
    Done,
    /// Nothing was typed.
    Refused(Refusal),
    /// It cannot be told whether it was typed.
    Unknown(Error),
}

/// Why nothing was typed into a pane: one line for people.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// No such pane on this server, or no such server.
    #[error("the pane is gone")]
    Gone,
    /// The pane's first process is another one.
    #[error("the pane was respawned")]
    Respawned,
    /// Its program has ended.
    #[error("the program in the pane has ended")]
    Dead,
    /// Copy mode, or another.
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
    /// The program in the foreground is another one.
    #[error("another program has come to the foreground of the pane")]
    OtherProgram,
    /// Another process is just writing there.
    #[error("another assigner writes into the pane")]
    Writer,
    /// Another pipe is open, and a pane has but one.
    #[error("the output of the pane is already piped elsewhere")]
    Piped,
    /// The text or the pipe breaks the rules of [`TypedLine`].
    #[error("{0}")]
    Unfit(&'static str),
    /// tmux did not carry out what precedes the typing, and said this.
    #[error("tmux refused: {0}")]
    Tmux(String),
}

/// Why tmux could not be asked, or its answer not be used.
#[derive(Debug, Clone, Error)]
pub enum Error {
    /// No server runs on the socket.
    #[error("reach a tmux server: none is running")]
    NoServer,
    /// There is no such program.
    #[error("run `{0}`: tmux is not installed (try `apt install tmux` or `brew install tmux`)")]
    Missing(PathBuf),
    /// The installed one lacks what is needed here.
    #[error("use {0}: tmux 3.2 or newer is needed")]
    TooOld(Version),
    /// The program could not be run.
    #[error("run `{0}`: {1}")]
    Run(PathBuf, #[source] Arc<io::Error>),
    /// tmux ran and said no.
    #[error("use tmux: {0}")]
    Tmux(String),
    /// No answer in time.
    #[error("hear from tmux within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The connection ended before the answer did.
    #[error("hear from tmux: the connection has ended")]
    Closed,
    /// An answer that cannot be understood, or is too long to be kept.
    #[error("understand tmux: {0}")]
    Protocol(&'static str),
    /// The pane is not there any more.
    #[error("find the pane {0}: it is gone")]
    Gone(PaneId),
}

impl Error {
    /// Returns what it means that `program` could not be started.
    fn run(program: &std::path::Path, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing(program.to_owned()),
            _ => Self::Run(program.to_owned(), Arc::new(error)),
        }
    }
}
