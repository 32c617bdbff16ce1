//! The driver against a real tmux, each test on a server of its own.

mod client;
mod reading;
mod sessions;
mod typing;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::*;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Writes a program. Another process does it: a concurrent test that starts a process briefly
/// inherits every file that is open here, and a file that is open for writing cannot be run.
pub(super) fn write_program(path: &Path, text: &str) {
    let written = Command::new("sh")
        .args(["-c", "printf %s \"$2\" > \"$1\" && chmod +x \"$1\"", "sh"])
        .arg(path)
        .arg(text)
        .status()
        .expect("sh runs");
    assert!(written.success(), "{}", path.display());
}

/// A private tmux server that ends with this value.
struct Sandbox {
    dir: TempDir,
    socket: PathBuf,
}

impl Sandbox {
    /// Without a server yet.
    fn empty() -> Self {
        let dir = TempDir::new().expect("a directory");
        // The socket's path is short: socket paths are limited to 108 bytes.
        Self {
            socket: dir.path().join("s"),
            dir,
        }
    }

    fn with(session: &str, argv: &[&str]) -> Self {
        let sandbox = Self::empty();
        sandbox.session(session, argv);
        sandbox
    }

    fn session(&self, session: &str, argv: &[&str]) {
        let start = ["new-session", "-d", "-x", "80", "-y", "24", "-s", session];
        self.tmux(&[&start, argv].concat());
    }

    fn tmux(&self, args: &[&str]) -> String {
        let output = self.command().args(args).output().expect("tmux runs");
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout)
            .expect("UTF-8")
            .trim_end()
            .to_owned()
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command
            .args(["-u", "-f", "/dev/null", "-S"])
            .arg(&self.socket);
        command
            .env_remove("TMUX")
            .env_remove("TMUX_PANE")
            .current_dir(self.dir.path());
        command
    }

    fn program(&self) -> Program {
        Program::new("tmux", Socket::Path(self.socket.clone()))
    }

    /// Returns a driver for each of the two ways.
    async fn drivers(&self) -> [Server; 2] {
        [self.direct().await, Server::spawning(self.program())]
    }

    /// Returns a driver that speaks to the server itself, if that is of a version that was tried.
    async fn direct(&self) -> Server {
        let mut server = Server::new(self.program());
        server.panes().await.expect("a list");
        let version = self.tmux(&["display-message", "-p", "#{version}"]);
        assert_eq!(server.is_direct(), direct::speaks_with(&version));
        server
    }

    /// Returns a path that is hard to quote.
    fn hostile(&self, name: &str) -> PathBuf {
        let dir = self
            .dir
            .path()
            .join(r#"a b'c"d#{pid}##[x]#%H;$HOME~`id`\é🚀 {}"#);
        std::fs::create_dir_all(&dir).expect("a directory");
        dir.join(name)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.command().arg("kill-server").output();
    }
}

/// Polls until `look` finds something.
async fn wait_for<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn only(server: &mut Server) -> Pane {
    let mut panes = server.panes().await.expect("a list");
    assert_eq!(panes.len(), 1, "{panes:?}");
    panes.remove(0)
}

/// Returns the pane as soon as its program shows something.
async fn awake(server: &mut Server) -> Pane {
    wait_for("the program to show something", async || {
        let pane = only(server).await;
        (pane.cursor != (0, 0)).then_some(pane)
    })
    .await
}

/// Returns the pane once its shell has drawn its prompt.
async fn at_prompt(server: &mut Server, prompt: &str) -> Pane {
    wait_for("the prompt", async || {
        let pane = only(server).await;
        let line = server
            .cursor_lines(&[&pane])
            .await
            .expect("lines")
            .remove(0)?;
        (line.before.ends_with(prompt) && line.after.is_empty()).then_some(pane)
    })
    .await
}

fn line(pane: &Pane, text: impl Into<String>) -> TypedLine {
    TypedLine {
        key: None,
        identity: pane.identity.clone(),
        cursor: pane.cursor,
        text: text.into(),
        output: PaneOutput::AsItIs,
    }
}

async fn type_one(server: &mut Server, line: TypedLine) -> Typed {
    let mut typed = server.type_lines(&[line]).await;
    assert_eq!(typed.len(), 1);
    typed.remove(0)
}

async fn refusal(server: &mut Server, line: TypedLine) -> Refusal {
    match type_one(server, line).await {
        Typed::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

/// Reads a file once it has at least `length` bytes.
async fn file(path: &Path, length: usize) -> Vec<u8> {
    wait_for(&path.display().to_string(), async || {
        std::fs::read(path)
            .ok()
            .filter(|bytes| bytes.len() >= length)
    })
    .await
}
