//! The one place where a `tmux` command line is built, with the reason of each flag.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::str::FromStr;

use tokio::process::Command;

/// Which tmux server is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Socket {
    /// The one that plain `tmux` reaches.
    #[default]
    Default,
    /// The one that `tmux -L NAME` reaches.
    Name(String),
    /// The one that `tmux -S PATH` reaches.
    Path(PathBuf),
}

/// Reads a socket as people give it: a text with a slash is a path, any other a name; nothing at
/// all is the default.
impl FromStr for Socket {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text.is_empty() {
            Self::Default
        } else if text.contains('/') {
            Self::Path(text.into())
        } else {
            Self::Name(text.to_owned())
        })
    }
}

impl std::fmt::Display for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("the default socket"),
            Self::Name(name) => write!(f, "socket {name}"),
            Self::Path(path) => write!(f, "socket {}", path.display()),
        }
    }
}

/// The `tmux` program and the server it is to reach.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    socket: Socket,
}

impl Program {
    /// Returns the program at `path` (a bare name is looked up in `PATH`), bound to `socket`.
    pub fn new(path: impl Into<PathBuf>, socket: Socket) -> Self {
        Self {
            path: path.into(),
            socket,
        }
    }

    /// The program's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a command that asks the server; the caller adds what. `-f` is never among the
    /// flags: the server that is reached has its configuration.
    pub(super) fn command(&self) -> Command {
        let mut command = plain(&self.path);
        command
            // Without it, and without a UTF-8 locale, every non-ASCII byte comes back as `_`.
            .arg("-u")
            // A server must never come into being because assigner looked for one.
            .arg("-N");
        match &self.socket {
            Socket::Default => {}
            Socket::Name(name) => {
                command.arg("-L").arg(name);
            }
            Socket::Path(path) => {
                command.arg("-S").arg(path);
            }
        }
        command
    }
}

/// Returns a bare command with pipes on all three streams.
pub(super) fn plain(path: &Path) -> Command {
    let mut command = Command::new(path);
    command
        // They would name another server and pane than the ones meant, and make tmux refuse to
        // nest.
        .env_remove("TMUX")
        .env_remove("TMUX_PANE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C in the terminal of assigner is for assigner alone: it still has to say goodbye.
        .process_group(0)
        // A request that is given up leaves no process behind.
        .kill_on_drop(true);
    command
}
