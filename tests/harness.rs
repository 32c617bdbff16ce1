//! The harness: a temporary world with a tmux server, the binary, and daemons, each of which ends
//! when its guard is dropped, even if a test panics.

pub(crate) mod agents;
mod asking;
mod daemon;
mod output;
mod sessions;
pub(crate) mod setup;
pub(crate) mod tasks;

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

pub(crate) use daemon::Daemon;
use daemon::signal;
pub(crate) use output::{Output, ends_within, finish};
pub(crate) use sessions::{Pane, Seat, Shell, in_each_shell, in_shells};

/// How long anything may take: far more than it should, on a machine that does other things too.
const DEADLINE: Duration = Duration::from_secs(30);

/// How soon and how late it is asked again whether something has happened.
const SOONEST: Duration = Duration::from_millis(20);
const LATEST: Duration = Duration::from_millis(200);

/// The states in which a task has ended.
const ENDS: [&str; 4] = ["completed", "failed", "cancelled", "uncertain"];

/// A directory with a home, a data directory and a tmux server of its own.
pub(crate) struct World {
    root: TempDir,
    data: PathBuf,
    /// When a command was last asked for a status.
    asked: Mutex<Instant>,
}

/// Where the policies of tests are compiled once for all; `None` where others could write.
static COMPILED: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled");
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&place);
    made.expect("a directory");
    let mut above = place
        .ancestors()
        .map(|place| fs::metadata(place).expect("it"));
    let is_safe = above.all(|found| found.mode() & 0o022 == 0 || found.mode() & 0o1000 != 0);
    is_safe.then_some(place)
});

impl World {
    /// Makes the directories; the tmux server starts with the first session.
    pub(crate) fn new() -> Self {
        let root = tempfile::Builder::new()
            .prefix("e2e-")
            .tempdir()
            .expect("a temporary directory");
        for name in ["home", "work", "tmp"] {
            fs::create_dir(root.path().join(name)).expect("a directory");
        }
        // Most tests use the same policies, and each would compile them again.
        if let Some(shared) = &*COMPILED {
            let place = root.path().join("home/.cache/assigner");
            fs::create_dir_all(&place).expect("a directory");
            symlink(shared, place.join("compiled")).expect("a link");
        }
        let data = root.path().join("data");
        Self {
            root,
            data,
            asked: Mutex::new(Instant::now()),
        }
    }

    /// Like [`Self::new`], without policies that were compiled before.
    pub(crate) fn with_own_cache() -> Self {
        let world = Self::new();
        // The link goes, and not what it leads to.
        let _ = fs::remove_dir_all(world.path("home/.cache"));
        world
    }

    /// Like [`Self::new`], with another data directory, given by its name below the world's.
    pub(crate) fn with_data_dir(name: &str) -> Self {
        let mut world = Self::new();
        world.data = world.root.path().join(name);
        world
    }

    /// Returns a path below the world's directory.
    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root
            .path()
            .canonicalize()
            .expect("the world's directory")
            .join(relative)
    }

    /// Makes a new directory below the world's, and returns its path as text.
    pub(crate) fn mkdir(&self, relative: &str) -> String {
        let path = self.path(relative);
        fs::create_dir_all(&path).expect("a directory");
        text(&path)
    }

    /// Returns the data directory.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Returns the tmux server's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path("s")
    }

    /// Returns a command with this world's environment and nothing of the caller's.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .env("TMUX_TMPDIR", self.path("tmp"))
            .env("XDG_CONFIG_HOME", self.path("home/.config"))
            .env("XDG_DATA_HOME", self.path("home/.local/share"))
            .env("XDG_STATE_HOME", self.path("home/.local/state"))
            .env("XDG_CACHE_HOME", self.path("home/.cache"))
            .env("XDG_RUNTIME_DIR", self.path("tmp"))
            .env("LANG", "C.UTF-8")
            .env("TERM", "xterm-256color")
            .current_dir(self.path("work"));
        command
    }

    /// Returns the binary, configured with this world's data and tmux server.
    pub(crate) fn binary(&self) -> Command {
        let mut command = self.command(program());
        command
            .env("ASSIGNER_DATA_DIR", &self.data)
            .env("ASSIGNER_TMUX_SOCKET", self.socket());
        command
    }

    /// Runs the binary.
    pub(crate) fn assigner(&self, args: &[&str]) -> Output {
        finish(self.binary().args(args), b"")
    }

    /// Runs the binary with something on its standard input.
    pub(crate) fn assigner_with_input(&self, args: &[&str], input: &[u8]) -> Output {
        finish(self.binary().args(args), input)
    }

    /// Runs the binary with `--json`, which must succeed.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        self.assigner(&[&["--json"], args].concat())
            .succeeded()
            .json()
    }

    /// Queues a task and returns its number.
    pub(crate) fn send(&self, args: &[&str]) -> u64 {
        let answer = self.json(&[&["send"], args].concat());
        assert_eq!(answer["status"], "pending", "{answer}");
        answer["id"].as_u64().expect("a task's number")
    }

    /// Queues a command line and returns its number.
    pub(crate) fn shell(&self, command: &str) -> u64 {
        self.send(&["--shell", "--", command])
    }

    /// Queues a command line with options, and returns its number.
    pub(crate) fn shell_with(&self, options: &[&str], command: &str) -> u64 {
        self.send(&[&["--shell"], options, &["--", command]].concat())
    }

    /// `show ID --json`.
    pub(crate) fn show(&self, id: u64) -> Value {
        self.json(&["show", &id.to_string()])
    }

    /// Returns every byte that a task printed.
    pub(crate) fn output(&self, id: u64) -> Vec<u8> {
        self.assigner(&["output", &id.to_string()])
            .succeeded()
            .stdout
    }

    /// Waits until a task has a status, and returns it.
    #[track_caller]
    pub(crate) fn until(&self, id: u64, status: &str) -> Value {
        self.until_within(DEADLINE, id, status)
    }

    /// Like [`Self::until`], with another deadline.
    #[track_caller]
    pub(crate) fn until_within(&self, limit: Duration, id: u64, status: &str) -> Value {
        if ENDS.contains(&status) {
            let task = self.settled_within(limit, id);
            assert_eq!(task["status"], status, "not {status}: {task:#}");
            return task;
        }
        self.within(limit, || {
            self.is_stored("prompts WHERE id", id as i64, |stored| {
                stored == status || ENDS.contains(&stored)
            })?;
            let task = self.show(id);
            if task["status"] == status {
                return Ok(task);
            }
            // A final state will not change any more.
            assert!(!is_settled(&task), "not {status}: {task:#}");
            Err(format!("task {id} is not {status}: {task:#}"))
        })
    }

    /// Waits until a task has ended in any way, and returns it.
    #[track_caller]
    pub(crate) fn settled(&self, id: u64) -> Value {
        self.settled_within(DEADLINE, id)
    }

    /// Like [`Self::settled`], with another deadline.
    #[track_caller]
    pub(crate) fn settled_within(&self, limit: Duration, id: u64) -> Value {
        self.within(limit, || {
            self.is_stored("prompts WHERE id", id as i64, |stored| {
                ENDS.contains(&stored)
            })?;
            let task = self.show(id);
            if is_settled(&task) {
                Ok(task)
            } else {
                Err(format!("task {id} goes on: {task:#}"))
            }
        })
    }

    /// Waits until a task completed, and returns it.
    #[track_caller]
    pub(crate) fn completed(&self, id: u64) -> Value {
        self.until(id, "completed")
    }

    /// Runs a command line, which must succeed, and returns what it printed.
    pub(crate) fn run(&self, command: &str) -> String {
        let id = self.shell(command);
        self.completed(id);
        String::from_utf8(self.output(id)).expect("text")
    }

    /// Returns the history of a task as `action: cause` lines.
    pub(crate) fn history(&self, id: u64) -> Vec<String> {
        let rows = self.json(&["history", &id.to_string()]);
        rows.as_array()
            .expect("an array")
            .iter()
            .map(|row| format!("{}: {}", row["action"], row["details"]))
            .collect()
    }

    /// Returns what `explain` says about a task, once it says something.
    pub(crate) fn reason(&self, id: u64) -> String {
        self.eventually(|| {
            let said = self.json(&["explain", &id.to_string()]);
            match said["reason"].as_str() {
                Some(reason) if !reason.is_empty() => Ok(reason.to_owned()),
                _ => Err(format!("no reason: {said}")),
            }
        })
    }

    /// Returns the entry of a session in `sessions --json`.
    pub(crate) fn session_entry(&self, name: &str) -> Option<Value> {
        self.json(&["sessions"])
            .as_array()
            .expect("an array")
            .iter()
            .find(|session| session["name"] == name)
            .cloned()
    }

    /// Waits until a session has a status.
    pub(crate) fn session_is(&self, name: &str, status: &str) -> Value {
        self.session_is_within(DEADLINE, name, status)
    }

    /// Like [`Self::session_is`], with another deadline.
    #[track_caller]
    pub(crate) fn session_is_within(&self, limit: Duration, name: &str, status: &str) -> Value {
        self.within(limit, || {
            self.is_stored("sessions WHERE name", name, |stored| stored == status)?;
            match self.session_entry(name) {
                Some(session) if session["status"] == status => Ok(session),
                other => Err(format!("session {name} is not {status}: {other:?}")),
            }
        })
    }

    /// Starts the daemon, and waits until it says that it runs.
    pub(crate) fn daemon(&self) -> Daemon {
        self.daemon_with(&[])
    }

    /// Like [`Self::daemon`], with more arguments.
    pub(crate) fn daemon_with(&self, args: &[&str]) -> Daemon {
        let daemon = self.spawn_daemon(args);
        self.eventually(|| {
            let status = self.json(&["status"]);
            if status["daemon"]["running"] == true && status["daemon"]["pid"] == daemon.pid() {
                Ok(())
            } else {
                Err(format!("the daemon does not run: {status}"))
            }
        });
        daemon
    }

    /// Starts the daemon without waiting.
    pub(crate) fn spawn_daemon(&self, args: &[&str]) -> Daemon {
        let log = tempfile::Builder::new()
            .prefix("log-")
            .tempfile_in(self.root.path())
            .expect("a log")
            .keep()
            .expect("a log that stays")
            .1;
        let file = File::create(&log).expect("a log");
        let child = self
            .binary()
            .arg("run")
            .args(args)
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a second handle"))
            .stderr(file)
            .spawn()
            .expect("the daemon");
        Daemon { child, log }
    }

    /// Returns a tmux command for this world's server.
    pub(crate) fn tmux_command(&self) -> Command {
        let mut command = self.command("tmux");
        command
            .args(["-u", "-f", "/dev/null", "-S"])
            .arg(self.socket());
        command
    }

    /// Runs a tmux command, which must succeed, and returns what it printed without the last
    /// newline.
    pub(crate) fn tmux(&self, args: &[&str]) -> String {
        let output = finish(self.tmux_command().args(args), b"").succeeded();
        let text = String::from_utf8(output.stdout).expect("text");
        text.strip_suffix('\n').unwrap_or(&text).to_owned()
    }

    /// Starts a session in `work`, waits for its prompt, and returns its pane.
    pub(crate) fn session(&self, name: &str, shell: Shell) -> Pane<'_> {
        self.session_in(name, shell, &text(&self.path("work")))
    }

    /// Starts a session in a directory, waits for its prompt, and returns its pane.
    pub(crate) fn session_in(&self, name: &str, shell: Shell, dir: &str) -> Pane<'_> {
        let id = self.tmux(&[
            "new-session",
            "-d",
            "-x",
            "100",
            "-y",
            "30",
            "-P",
            "-F",
            "#{pane_id}",
            "-s",
            name,
            "-c",
            dir,
            shell.command_line(),
        ]);
        let pane = Pane::new(self, id);
        pane.prompt();
        pane
    }

    /// Returns the lines of a file in `work`; empty if there is no such file.
    pub(crate) fn lines(&self, file: &str) -> Vec<String> {
        fs::read_to_string(self.path("work").join(file))
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Makes an empty file in `work`.
    pub(crate) fn touch(&self, file: &str) {
        File::create(self.path("work").join(file)).expect("a file");
    }

    /// Waits until there is a file in `work`.
    pub(crate) fn file_appears(&self, file: &str) {
        let path = self.path("work").join(file);
        eventually(|| {
            if path.exists() {
                Ok(())
            } else {
                Err(format!("no file {file}"))
            }
        });
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if thread::panicking() {
            for what in [&["sessions"][..], &["doctor", "--sessions"]] {
                let shown = self.binary().args(what).output();
                let shown = shown.map(|output| output.stdout).unwrap_or_default();
                eprintln!("--- {what:?}\n{}---", String::from_utf8_lossy(&shown));
            }
        }
        let pid = self
            .tmux_command()
            .args(["display-message", "-p", "#{pid}"])
            .output()
            .ok()
            .and_then(|output| String::from_utf8_lossy(&output.stdout).trim().parse().ok());
        let _ = self.tmux_command().arg("kill-server").output();
        if let Some(pid) = pid {
            let end = Instant::now() + Duration::from_secs(5);
            while signal(pid, None) && Instant::now() < end {
                thread::sleep(Duration::from_millis(5));
            }
            signal(pid, Some(Signal::KILL));
        }
    }
}

/// Asserts that a log or a message contains no panic and no backtrace.
#[track_caller]
pub(crate) fn assert_calm(text: &str) {
    for word in ["panicked", "backtrace", "RUST_BACKTRACE", "unwrap()"] {
        assert!(!text.contains(word), "{text}");
    }
}

/// Asks repeatedly until there is an answer, and panics with the last refusal at the deadline.
#[track_caller]
pub(crate) fn eventually<T>(ask: impl FnMut() -> Result<T, String>) -> T {
    within(DEADLINE, ask)
}

/// Like [`eventually`], with another deadline. The longer it waits, the more rarely it asks, so that
/// the processor is left to what it waits for.
#[track_caller]
pub(crate) fn within<T>(limit: Duration, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(why) if began.elapsed() > limit => panic!("in vain: {why}"),
            Err(_) => thread::sleep((began.elapsed() / 5).clamp(SOONEST, LATEST)),
        }
    }
}

/// Asks for a while and asserts that the answer stays the same.
#[track_caller]
pub(crate) fn stays<T: PartialEq + std::fmt::Debug>(mut ask: impl FnMut() -> T) {
    let end = Instant::now() + Duration::from_millis(800);
    let first = ask();
    while Instant::now() < end {
        assert_eq!(ask(), first);
        thread::sleep(Duration::from_millis(50));
    }
}

/// Returns where tests build policies in Rust: a single place, so that the standard library is
/// built once.
pub(crate) fn policies_target() -> PathBuf {
    let profile = Path::new(program()).parent();
    let target = profile.and_then(Path::parent);
    target.expect("a target directory").join("policies")
}

/// Returns the path of the binary.
pub(crate) fn program() -> &'static str {
    static PROGRAM: LazyLock<String> = LazyLock::new(|| text(&beside("assigner")));
    &PROGRAM
}

/// Returns the path of a program of the project. Cargo builds it into the directory above this program's,
/// for the tests of the package that it belongs to.
pub(crate) fn beside(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("this program's path");
    let built = own.parent().and_then(Path::parent);
    let program = built.expect("two directories").join(name);
    assert!(
        program.is_file(),
        "{} is missing: test the whole workspace",
        program.display()
    );
    program
}

/// Returns the root of the project.
pub(crate) fn root() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the workspace")
}

/// Returns a path as text.
pub(crate) fn text(path: &Path) -> String {
    path.to_str().expect("a path that is text").to_owned()
}

/// Returns whether a task, as `show --json` prints it, has ended.
pub(crate) fn is_settled(task: &Value) -> bool {
    ENDS.iter().any(|status| task["status"] == *status)
}
