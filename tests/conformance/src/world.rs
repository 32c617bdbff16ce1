//! The place of the deliveries: a directory, a tmux server and a daemon of their own.
//!
//! All of it ends with the [`World`]. If this process is ended in the middle, by Ctrl-C or worse, a
//! second process cleans up: it holds the other end of a pipe and sees it close.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, Read as _, Seek as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long one command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);

/// How long the daemon may take to start: it compiles its policy first.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long a process may take to end when it is asked to.
const END_LIMIT: Duration = Duration::from_secs(10);

/// The flag with which this program watches over another running one.
pub const GUARD_FLAG: &str = "--guard";

/// The result of a command.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// Returns its standard output as JSON.
    ///
    /// # Errors
    ///
    /// The command failed, or printed something else.
    pub fn json(&self) -> io::Result<Value> {
        if !self.status.success() {
            let said = self.stderr.trim();
            return Err(io::Error::other(format!("{}: {said}", self.status)));
        }
        serde_json::from_str(&self.stdout).map_err(io::Error::from)
    }
}

/// A pane of the world's tmux server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pane {
    /// Its id.
    pub id: String,
    /// True if its process has ended.
    pub is_dead: bool,
    /// True if it is in copy mode.
    pub is_in_mode: bool,
}

/// Where the files of a world are, and the commands that work there. Each thread may have its own.
#[derive(Debug, Clone)]
pub struct Place {
    root: PathBuf,
    data: PathBuf,
    assigner: PathBuf,
    is_closed: bool,
}

impl Place {
    /// Returns a path below the world's directory.
    #[must_use]
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Returns the data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Returns a command with this world's environment.
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        if self.is_closed {
            command
                .env_clear()
                .env("PATH", std::env::var_os("PATH").unwrap_or_default())
                .env("HOME", self.path("home"))
                .env("TMPDIR", self.path("tmp"))
                .env("TMUX_TMPDIR", self.path("tmp"))
                .env("XDG_RUNTIME_DIR", self.path("tmp"))
                .env("LANG", "C.UTF-8")
                .env("TERM", "xterm-256color")
                .env("FAKE_AGENT_HOME", self.path("agents"));
        } else {
            command.env_remove("TMUX").env_remove("TMUX_PANE");
        }
        command.current_dir(self.path("work"));
        command
    }

    /// Returns the binary, configured with the places of this world.
    #[must_use]
    pub fn binary(&self) -> Command {
        let mut command = self.command(&self.assigner);
        command
            .env("ASSIGNER_DATA_DIR", &self.data)
            .env("ASSIGNER_TMUX_SOCKET", self.path("s"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env_remove("ASSIGNER_CONFIG");
        command
    }

    /// Runs the binary with `--json`.
    ///
    /// # Errors
    ///
    /// It cannot be run, or does not end.
    pub fn assigner(&self, args: &[&str], input: &[u8]) -> io::Result<Output> {
        finish(self.binary().arg("--json").args(args), input)
    }

    /// Runs a tmux command.
    ///
    /// # Errors
    ///
    /// It fails.
    pub fn tmux(&self, args: &[&str]) -> io::Result<String> {
        let mut command = self.command("tmux");
        command
            .args(["-u", "-f", "/dev/null", "-S"])
            .arg(self.path("s"));
        let output = finish(command.args(args), b"")?;
        if output.status.success() {
            Ok(output.stdout)
        } else {
            let said = output.stderr.trim();
            Err(io::Error::other(format!("tmux: {said}")))
        }
    }
}

/// The directory, the tmux server and the daemon.
#[derive(Debug)]
pub struct World {
    place: Place,
    /// Removes the directory.
    _root: TempDir,
    has_server: bool,
    daemon: Option<Child>,
    guard: Guard,
}

impl World {
    /// Makes the directories. A closed world hides the caller's environment from everything that
    /// runs in it.
    ///
    /// # Errors
    ///
    /// They cannot be made, or the second process cannot be started.
    pub fn new(assigner: &Path, is_closed: bool) -> io::Result<Self> {
        let root = tempfile::Builder::new().prefix("conf-").tempdir()?;
        for name in [
            "home",
            "tmp",
            "log",
            "work",
            "bin",
            "config/assigner/agents",
        ] {
            fs::create_dir_all(root.path().join(name))?;
        }
        let mut guard = Guard::start()?;
        guard.say("dir", &root.path().to_string_lossy())?;
        let place = Place {
            root: root.path().to_owned(),
            data: root.path().join("data"),
            assigner: assigner.to_owned(),
            is_closed,
        };
        Ok(Self {
            place,
            _root: root,
            has_server: false,
            daemon: None,
            guard,
        })
    }

    /// Returns where its files are.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Returns a path below the world's directory.
    #[must_use]
    pub fn path(&self, relative: &str) -> PathBuf {
        self.place.path(relative)
    }

    /// Has the data in another directory; no daemon may run yet.
    pub fn put_data_in(&mut self, directory: &Path) {
        directory.clone_into(&mut self.place.data);
    }

    /// Adds a profile of an agent.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn add_profile(&self, name: &str, text: &str) -> io::Result<()> {
        let file = format!("config/assigner/agents/{name}.toml");
        fs::write(self.path(&file), text)
    }

    /// Runs the binary with `--json`.
    ///
    /// # Errors
    ///
    /// It cannot be run, or does not end.
    pub fn assigner(&self, args: &[&str], input: &[u8]) -> io::Result<Output> {
        self.place.assigner(args, input)
    }

    /// Runs a tmux command.
    ///
    /// # Errors
    ///
    /// It fails.
    pub fn tmux(&self, args: &[&str]) -> io::Result<String> {
        self.place.tmux(args)
    }

    /// Starts a session that runs these words, or, if there is only one word, a command line.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn session(&mut self, name: &str, words: &[String]) -> io::Result<()> {
        let place = self.path("work").join(name);
        fs::create_dir_all(&place)?;
        let place = place.to_string_lossy().into_owned();
        let mut args = vec![
            "new-session",
            "-d",
            "-x",
            "100",
            "-y",
            "30",
            "-s",
            name,
            "-c",
            &place,
            "--",
        ];
        args.extend(words.iter().map(String::as_str));
        if !self.has_server {
            self.guard.say("tmux", &self.path("s").to_string_lossy())?;
            // In one step: if an agent dies at once, its pane must stay.
            args.extend([";", "set-option", "-g", "remain-on-exit", "on"]);
            self.has_server = true;
        }
        self.tmux(&args).map(drop)
    }

    /// Returns the agents' panes.
    ///
    /// # Errors
    ///
    /// The server does not answer; it may have crashed.
    pub fn panes(&self) -> io::Result<Vec<Pane>> {
        let format = "#{pane_id} #{pane_dead} #{pane_in_mode} #{session_name}";
        let text = self.tmux(&["list-panes", "-a", "-F", format])?;
        let panes = text.lines().filter_map(|line| {
            let mut words = line.split(' ');
            let pane = Pane {
                id: words.next()?.to_owned(),
                is_dead: words.next()? == "1",
                is_in_mode: words.next()? != "0",
            };
            // The other panes are the daemon's.
            words.next()?.starts_with("agent-").then_some(pane)
        });
        Ok(panes.collect())
    }

    /// Starts the daemon, and waits until it runs.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub fn start_daemon(&mut self) -> io::Result<()> {
        self.spawn_daemon()?;
        let begun = Instant::now();
        loop {
            self.check_daemon()?;
            let status = self.assigner(&["status"], b"")?.json()?;
            if status["daemon"]["running"] == true {
                return Ok(());
            }
            if begun.elapsed() > START_LIMIT {
                return Err(io::Error::other("the daemon does not start"));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Starts the daemon without waiting.
    ///
    /// # Errors
    ///
    /// Its process cannot be started.
    pub fn spawn_daemon(&mut self) -> io::Result<()> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("log/daemon.log"))?;
        let child = self
            .place
            .binary()
            .arg("run")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C is for this program, which then ends everything in order.
            .process_group(0)
            .spawn()?;
        self.guard.say("pid", &child.id().to_string())?;
        self.daemon = Some(child);
        Ok(())
    }

    /// Checks that the daemon still runs.
    ///
    /// # Errors
    ///
    /// It has ended; the error has the end of its log.
    pub fn check_daemon(&mut self) -> io::Result<()> {
        let Some(status) = self.daemon.as_mut().map(Child::try_wait).transpose()? else {
            return Err(io::Error::other("the daemon was not started"));
        };
        let Some(status) = status else {
            return Ok(());
        };
        let log = fs::read(self.path("log/daemon.log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let from = log.trim_end().rfind('\n').map_or(0, |at| at + 1);
        let last = log[from..].trim();
        Err(io::Error::other(format!(
            "the daemon ended ({status}): {last}"
        )))
    }

    /// Kills the daemon, wherever it stands.
    ///
    /// # Errors
    ///
    /// It does not end.
    pub fn kill_daemon(&mut self) -> io::Result<()> {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill()?;
            daemon.wait()?;
            self.guard.say("ended", &daemon.id().to_string())?;
        }
        Ok(())
    }

    /// Ends the daemon; the states of its tasks no longer change.
    pub fn stop_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let pid = Pid::from_child(&daemon);
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::TERM);
            let begun = Instant::now();
            while begun.elapsed() < END_LIMIT {
                if !matches!(daemon.try_wait(), Ok(None)) {
                    let _ = self.guard.say("ended", &daemon.id().to_string());
                    return;
                }
                thread::sleep(Duration::from_millis(10));
            }
            let _ = daemon.kill();
            let _ = daemon.wait();
            let _ = self.guard.say("ended", &daemon.id().to_string());
        }
    }

    /// Copies the records to a directory, so that they can be examined later.
    ///
    /// # Errors
    ///
    /// They cannot be copied.
    pub fn keep(&self, place: &Path) -> io::Result<()> {
        for name in ["log", "agents"] {
            copy(&self.path(name), &place.join(name))?;
        }
        copy(self.place.data(), &place.join("data"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop_daemon();
        if self.has_server {
            // It may have crashed.
            let _ = self.tmux(&["kill-server"]);
        }
        self.guard.dismiss();
    }
}

/// The process that ends whatever this one leaves running.
#[derive(Debug)]
struct Guard {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Guard {
    fn start() -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(GUARD_FLAG)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let pipe = child.stdin.take();
        Ok(Self { child, pipe })
    }

    fn say(&mut self, what: &str, value: &str) -> io::Result<()> {
        match &mut self.pipe {
            Some(pipe) => writeln!(pipe, "{what} {value}"),
            None => Ok(()),
        }
    }

    /// Tells the guard that there is nothing left to do.
    fn dismiss(&mut self) {
        let _ = self.say("done", "");
        self.pipe = None;
        let _ = self.child.wait();
    }
}

/// Watches the process at the other end of standard input, and ends whatever it has left running.
///
/// # Errors
///
/// Standard input cannot be read.
pub fn guard() -> io::Result<()> {
    let mut dir = None;
    let mut socket = None;
    let mut pids = Vec::new();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (what, value) = line.split_once(' ').unwrap_or((&line, ""));
        match what {
            "dir" => dir = Some(PathBuf::from(value)),
            "tmux" => socket = Some(value.to_owned()),
            "pid" => pids.extend(value.parse::<i32>().ok().and_then(Pid::from_raw)),
            "ended" => pids.clear(),
            "done" => return Ok(()),
            _ => {}
        }
    }
    for &pid in &pids {
        // Each of them may have ended by itself.
        let _ = kill_process(pid, Signal::TERM);
    }
    if let Some(socket) = socket {
        let mut command = Command::new("tmux");
        command.args(["-f", "/dev/null", "-S", &socket, "kill-server"]);
        let _ = finish(&mut command, b"");
    }
    let begun = Instant::now();
    for &pid in &pids {
        while test_kill_process(pid).is_ok() {
            if begun.elapsed() > END_LIMIT {
                let _ = kill_process(pid, Signal::KILL);
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
    match dir {
        Some(dir) => fs::remove_dir_all(dir),
        None => Ok(()),
    }
}

/// Runs a command to its end. Input and output are files, so that neither can block the other.
fn finish(command: &mut Command, input: &[u8]) -> io::Result<Output> {
    let mut stdin = tempfile::tempfile()?;
    stdin.write_all(input)?;
    stdin.rewind()?;
    let mut stdout = tempfile::tempfile()?;
    let mut stderr = tempfile::tempfile()?;
    let mut child = command
        .stdin(stdin)
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?)
        .spawn()
        .map_err(|error| {
            let program = Path::new(command.get_program()).display().to_string();
            io::Error::new(error.kind(), format!("`{program}`: {error}"))
        })?;
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if begun.elapsed() > COMMAND_LIMIT {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::other(format!(
                "a command did not end: {command:?}"
            )));
        }
        thread::sleep(Duration::from_millis(1));
    };
    Ok(Output {
        status,
        stdout: text(&mut stdout)?,
        stderr: text(&mut stderr)?,
    })
}

fn text(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Copies a directory, except for anything that is neither a file nor a directory.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Finds a program: the named one, or one beside this program, or one in a directory above.
///
/// # Errors
///
/// There is none.
pub fn find(name: &str, named: Option<&Path>) -> io::Result<PathBuf> {
    if let Some(path) = named {
        let path = fs::canonicalize(path)
            .map_err(|error| io::Error::other(format!("`{}`: {error}", path.display())))?;
        return Ok(path);
    }
    let own = std::env::current_exe()?;
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            io::Error::other(format!(
                "there is no `{name}` beside this program: build the workspace, or name it"
            ))
        })
}
