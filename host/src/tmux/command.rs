//! The one place where a `tmux` command line is built, with the reason for each flag.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::str::FromStr;

use tokio::process::Command;

/// Which tmux server to use.
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

/// Reads a socket as people give it: a text with a slash is a path, any other is a name, and an
/// empty one is the default.
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

impl Socket {
    /// Returns it as a person would name it to a program in another directory.
    pub fn option(&self) -> String {
        match self {
            Self::Default => String::new(),
            Self::Name(name) => name.clone(),
            Self::Path(path) => {
                let absolute = std::path::absolute(path);
                let path = absolute.as_ref().unwrap_or(path);
                path.display().to_string()
            }
        }
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

/// The `tmux` program and the server to use.
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

    /// Returns the program's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a command that talks to the server. The caller adds the request.
    pub(super) fn command(&self) -> Command {
        let mut command = plain(&self.path);
        command.args(self.flags());
        command
    }

    /// Returns a command like [`Program::command`] that also starts a server if none runs: only for
    /// sessions that assigner is to start.
    pub(super) fn starting(&self) -> Command {
        let mut command = plain(&self.path);
        command.arg("-u").args(self.server());
        command
    }

    /// Returns the flags that every request begins with. `-f` is never one of them: the server
    /// already has its configuration.
    fn flags(&self) -> Vec<&OsStr> {
        // -u: without it, and without a UTF-8 locale, every non-ASCII byte comes back as `_`.
        //
        // -N: a server must never be started just because assigner looked for one.
        let mut flags = vec![OsStr::new("-u"), OsStr::new("-N")];
        flags.extend(self.server());
        flags
    }

    fn server(&self) -> Vec<&OsStr> {
        match &self.socket {
            Socket::Default => Vec::new(),
            Socket::Name(name) => vec![OsStr::new("-L"), OsStr::new(name)],
            Socket::Path(path) => vec![OsStr::new("-S"), path.as_os_str()],
        }
    }
}

/// Returns a bare command with pipes on all three streams.
pub(super) fn plain(path: &Path) -> Command {
    let mut command = Command::new(path);
    command
        // They would name a different server and pane, and make tmux refuse to nest.
        .env_remove("TMUX")
        .env_remove("TMUX_PANE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C in the terminal of assigner is only for assigner, which still has to say goodbye.
        .process_group(0)
        // A request that is given up leaves no process behind.
        .kill_on_drop(true);
    command
}
