//! `assigner demo`: everything in one run, on a tmux server of its own, with nothing left
//! afterwards.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::exit::{CommandFailure, Exit};
use super::show::points;
use super::{Context, ui};
use crate::daemon::Stop;
use crate::model::ids::TaskId;
use crate::model::session::Activity;
use crate::model::task::{Attempt, Metadata, NewTask, Outcome, Status, Task};
use crate::node::Spool;
use crate::probe;
use crate::store::Store;
use crate::tmux;

/// How long the whole demo may take; it needs about ten seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often the queue is checked: faster than a person can see.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Shows everything in one run of about ten seconds, on a tmux server of its own.
///
/// It starts sessions in different directories, branches and environments, queues tasks with
/// context, runs the daemon with the default policy, and removes everything at the end.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(context: &Context, _: &Args) -> Result<Exit, CommandFailure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tmux::version(Path::new("tmux"))
            .await
            .map_err(|error| CommandFailure::new(Exit::Tmux, format!("failed to {error}")))?;
        let mut stop = Stop::new()?;
        let mut stage = DemoStage::set()?;
        tokio::select! {
            result = play(context, &mut stage) => result,
            () = stop.wait() => Err(CommandFailure::new(Exit::Failed, "stopped; the demo's sessions and files are removed")),
        }
    })
}

/// A session of the demo.
struct DemoSession {
    name: &'static str,
    /// Below the demo's directory; empty: the directory itself.
    directory: &'static str,
    env: &'static [(&'static str, &'static str)],
}

const SCENES: &[DemoSession] = &[
    DemoSession {
        name: "shop",
        directory: "shop",
        env: &[],
    },
    DemoSession {
        name: "checkout",
        directory: "shop/checkout",
        env: &[],
    },
    DemoSession {
        name: "site",
        directory: "site",
        env: &[("DEBUG", "1")],
    },
    DemoSession {
        name: "desk",
        directory: "",
        env: &[],
    },
];

/// The demo's repositories, with the branch that is checked out in each.
const REPOSITORIES: &[(&str, &str)] = &[("shop", "main"), ("site", "dev")];

/// A task of the demo.
struct DemoTask {
    command: &'static str,
    directory: Option<&'static str>,
    branch: Option<&'static str>,
    env: &'static [(&'static str, &'static str)],
    prerequisites: &'static [&'static str],
    priority: i32,
    retries: u32,
}

const PLAIN: DemoTask = DemoTask {
    command: "",
    directory: None,
    branch: None,
    env: &[],
    prerequisites: &[],
    priority: 0,
    retries: 0,
};

const ACTS: &[DemoTask] = &[
    DemoTask {
        command: "sleep 2; echo 'shop: 214 tests passed'",
        directory: Some("shop"),
        branch: Some("main"),
        priority: 9,
        ..PLAIN
    },
    DemoTask {
        command: "sleep 3; echo \"checked out $(basename \"$PWD\")\"",
        directory: Some("shop/checkout"),
        prerequisites: &["test -d ."],
        priority: 8,
        ..PLAIN
    },
    DemoTask {
        command: "sleep 4; echo \"site built with DEBUG=$DEBUG\"",
        branch: Some("dev"),
        env: &[("DEBUG", "1")],
        priority: 7,
        ..PLAIN
    },
    DemoTask {
        command: "sleep 1; uname -s",
        priority: 6,
        ..PLAIN
    },
    DemoTask {
        command: "sleep 1; echo \"api docs from $(basename \"$PWD\")\"",
        directory: Some("shop/checkout/api"),
        priority: 5,
        ..PLAIN
    },
    DemoTask {
        command: "sleep 1; echo \"still DEBUG=$DEBUG, set for a task before\"",
        env: &[("DEBUG", "1")],
        priority: 4,
        ..PLAIN
    },
    DemoTask {
        command: "if mkdir warm 2>/dev/null; then echo 'not warm yet'; (exit 75); else echo warm; fi",
        directory: Some("site"),
        retries: 1,
        priority: 3,
        ..PLAIN
    },
    DemoTask {
        command: "sleep 2; echo \"release notes on $(cat ../.git/HEAD | sed 's|.*/||')\"",
        directory: Some("shop/checkout"),
        branch: Some("main"),
        priority: 2,
        ..PLAIN
    },
];

async fn play(context: &Context, stage: &mut DemoStage) -> Result<Exit, CommandFailure> {
    let ui = context.ui;
    let say = |text: &str| if ui.json { Ok(()) } else { ui.line(text) };
    say("Four shells on a tmux server of their own:\n")?;
    stage.start_sessions()?;
    let mut store = Store::open(&stage.data())?;
    stage.start_daemon()?;
    stage.until_sessions_wait(&mut store).await?;
    if !ui.json {
        show_sessions(context, stage, &mut store)?;
    }
    let tasks: Vec<NewTask> = ACTS.iter().map(|act| stage.task(act)).collect();
    let ids = store.queue(&tasks, Timestamp::now())?;
    Spool::open(&stage.data())?.nudge();
    say(&format!(
        "\n{} tasks, each to the session that suits it best, by policy default.wasm:\n",
        ids.len()
    ))?;
    let mut told: BTreeMap<(TaskId, u32), ToldAttempt> = BTreeMap::new();
    loop {
        stage.check_daemon()?;
        let mut settled = 0;
        for &id in &ids {
            let task = store.task(id)?;
            settled += usize::from(task.status.is_settled());
            for attempt in store.attempts(id)? {
                let told = told.entry((id, attempt.number)).or_default();
                if !told.start && attempt.started_at.is_some() {
                    told.start = true;
                    say(&start_line(&task, &attempt))?;
                }
                if !told.end && attempt.outcome.is_some() {
                    told.end = true;
                    say(&end_line(&mut store, &task, &attempt)?)?;
                }
            }
        }
        if settled == ids.len() {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    report(context, &mut store, &ids)
}

/// What has already been said about an attempt.
#[derive(Default)]
struct ToldAttempt {
    start: bool,
    end: bool,
}

fn show_sessions(
    context: &Context,
    stage: &DemoStage,
    store: &mut Store,
) -> Result<(), CommandFailure> {
    let rows = store.sessions()?;
    let table = SCENES
        .iter()
        .filter_map(|scene| {
            let row = rows.iter().find(|row| row.name == scene.name)?;
            let env: Vec<String> = scene
                .env
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            Some(vec![
                paint_session(scene.name),
                stage.shorten(row.current_dir.as_deref().unwrap_or("-")),
                row.git_branch.clone().unwrap_or_else(|| "-".to_owned()),
                if env.is_empty() {
                    "-".to_owned()
                } else {
                    env.join(" ")
                },
            ])
        })
        .collect();
    context
        .ui
        .table(&["SESSION", "DIRECTORY", "BRANCH", "ENVIRONMENT"], table)?;
    Ok(())
}

fn start_line(task: &Task, attempt: &Attempt) -> String {
    let taken = attempt.rankings.first();
    let why = taken.map_or_else(String::new, |ranking| {
        if ranking.terms.is_empty() {
            "   0   no match asked or found: the longest idle".to_owned()
        } else {
            points(ranking.points, &ranking.terms)
        }
    });
    let again = if attempt.number > 1 {
        format!(", try {}", attempt.number)
    } else {
        String::new()
    };
    format!(
        "  {} task {} → {}{again} {why}",
        paint(AnsiColor::Cyan, "▶"),
        task.id,
        pad(&attempt.session, 9 - again.chars().count().min(8)),
    )
}

fn end_line(store: &mut Store, task: &Task, attempt: &Attempt) -> Result<String, CommandFailure> {
    let took = attempt
        .ended_at
        .zip(attempt.started_at)
        .map_or(0.0, |(end, start)| end.duration_since(start).as_secs_f64());
    let (color, sign, what) = if attempt.outcome == Some(Outcome::Completed) {
        (AnsiColor::Green, "✔", printed(store, task)?)
    } else if task.status.is_settled() {
        (
            AnsiColor::Red,
            "✘",
            attempt.error.clone().unwrap_or_default(),
        )
    } else {
        let error = attempt.error.clone().unwrap_or_default();
        (
            AnsiColor::Yellow,
            "↻",
            format!("{error}; it is tried again"),
        )
    };
    Ok(format!(
        "  {} task {} in {} after {took:.1} s: {}",
        paint(color, sign),
        task.id,
        attempt.session,
        ui::clean(&what),
    ))
}

fn printed(store: &mut Store, task: &Task) -> Result<String, CommandFailure> {
    let output = store
        .output(task.id)?
        .map(|output| output.bytes)
        .unwrap_or_default();
    Ok(String::from_utf8_lossy(&output).trim_end().to_owned())
}

fn report(context: &Context, store: &mut Store, ids: &[TaskId]) -> Result<Exit, CommandFailure> {
    let mut rows = Vec::new();
    let mut values = Vec::new();
    let mut failed = 0;
    for &id in ids {
        let task = store.task(id)?;
        let tries = store.attempts(id)?.len();
        failed += usize::from(task.status != Status::Completed);
        let output = printed(store, &task)?;
        let session = task.session.clone().unwrap_or_default();
        values.push(json!({
            "id": id,
            "status": task.status,
            "session": session,
            "exit_code": task.exit_code,
            "attempts": tries,
            "output": output,
        }));
        rows.push(vec![
            id.to_string(),
            ui::status(task.status),
            paint_session(&session),
            task.exit_code
                .map_or_else(|| "-".to_owned(), |code| code.to_string()),
            tries.to_string(),
            ui::cut(&ui::clean(&output), 60),
        ]);
    }
    if context.ui.json {
        context.ui.json(&values)?;
    } else {
        context.ui.line("")?;
        context.ui.table(
            &["TASK", "STATUS", "SESSION", "EXIT", "TRIES", "OUTPUT"],
            rows,
        )?;
        context.ui.line("\nYours: `assigner run` beside your own tmux, and `assigner send \"make test\" --shell -w DIR`.")?;
    }
    Ok(if failed == 0 {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn paint(color: AnsiColor, text: &str) -> String {
    ui::paint(color.on_default(), text)
}

fn paint_session(name: &str) -> String {
    ui::paint(Style::new().bold(), &ui::clean(name))
}

fn pad(name: &str, width: usize) -> String {
    let blanks = width.saturating_sub(name.chars().count());
    format!("{}{}", paint_session(name), " ".repeat(blanks))
}

/// The demo's directory, server and daemon; dropping it ends the processes and removes the
/// directory.
struct DemoStage {
    root: tempfile::TempDir,
    daemon: Option<Child>,
    deadline: Instant,
}

impl DemoStage {
    fn set() -> Result<Self, CommandFailure> {
        let root = tempfile::Builder::new()
            .prefix("assigner-demo-")
            .tempdir()?;
        let stage = Self {
            root,
            daemon: None,
            deadline: Instant::now() + PATIENCE,
        };
        for (name, branch) in REPOSITORIES {
            // Imitates a checkout of a branch; git itself is not needed.
            let git = stage.work().join(name).join(".git");
            fs::create_dir_all(git.join("refs/heads"))?;
            fs::create_dir_all(git.join("objects"))?;
            fs::write(git.join("HEAD"), format!("ref: refs/heads/{branch}\n"))?;
        }
        fs::create_dir_all(stage.work().join("shop/checkout/api"))?;
        Ok(stage)
    }

    fn work(&self) -> PathBuf {
        self.root.path().join("work")
    }

    fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    fn socket(&self) -> PathBuf {
        self.root.path().join("tmux.sock")
    }

    fn log(&self) -> PathBuf {
        self.root.path().join("daemon.log")
    }

    fn shorten(&self, directory: &str) -> String {
        let work = self.work().canonicalize().unwrap_or_else(|_| self.work());
        match Path::new(directory).strip_prefix(work) {
            Ok(rest) => {
                let place: PathBuf = Path::new("work").join(rest).components().collect();
                place.display().to_string()
            }
            Err(_) => ui::clean(directory),
        }
    }

    fn tmux(&self) -> Command {
        let mut command = Command::new("tmux");
        command
            .arg("-u")
            .arg("-S")
            .arg(self.socket())
            // The demo looks the same whatever the user's configuration says.
            .args(["-f", "/dev/null"])
            .env_remove("TMUX")
            .env_remove("TMUX_PANE")
            .env("HISTFILE", "/dev/null")
            .stdin(Stdio::null());
        command
    }

    /// The server and the shells in its panes.
    fn processes(&self) -> Vec<u32> {
        let told = self
            .tmux()
            .args(["list-panes", "-a", "-F", "#{pid} #{pane_pid}"])
            .output();
        let told = told.map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&told)
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect()
    }

    fn start_sessions(&self) -> Result<(), CommandFailure> {
        let shell: &[&str] = if on_path("bash") {
            &["bash", "--noprofile", "--norc"]
        } else {
            &["sh", "-i"]
        };
        for scene in SCENES {
            let directory = self.work().join(scene.directory);
            // tmux expands formats in the directory's name.
            let directory = directory.display().to_string().replace('#', "##");
            let mut command = self.tmux();
            command.args([
                "new-session",
                "-d",
                "-s",
                scene.name,
                "-x",
                "100",
                "-y",
                "30",
                "-c",
            ]);
            command.arg(directory);
            for (name, value) in scene.env {
                command.args(["-e", &format!("{name}={value}")]);
            }
            command.arg("--").args(shell);
            let output = command.output()?;
            if !output.status.success() {
                return Err(CommandFailure::new(
                    Exit::Tmux,
                    format!(
                        "tmux cannot start a session: {}",
                        ui::clean(String::from_utf8_lossy(&output.stderr).trim())
                    ),
                ));
            }
        }
        Ok(())
    }

    fn start_daemon(&mut self) -> Result<(), CommandFailure> {
        let log = File::create(self.log())?;
        let child = Command::new(std::env::current_exe()?)
            .args([
                "run",
                "--policy",
                "default.wasm",
                "--config",
                "/dev/null",
                "--color",
                "never",
            ])
            .arg("--data-dir")
            .arg(self.data())
            .arg("--tmux-socket")
            .arg(self.socket())
            // Nothing is left after the demo, not even compiled policies.
            .env("XDG_CACHE_HOME", self.data())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        self.daemon = Some(child);
        Ok(())
    }

    async fn until_sessions_wait(&mut self, store: &mut Store) -> Result<(), CommandFailure> {
        loop {
            self.check_daemon()?;
            let rows = store.sessions()?;
            let waiting = |scene: &DemoSession| {
                rows.iter()
                    .any(|row| row.name == scene.name && row.activity == Activity::Idle)
            };
            if SCENES.iter().all(waiting) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Fails if the daemon has ended, or the demo takes too long.
    fn check_daemon(&mut self) -> Result<(), CommandFailure> {
        let ended = match &mut self.daemon {
            Some(child) => child.try_wait()?,
            None => None,
        };
        let what = if let Some(status) = ended {
            format!("the daemon ended ({status})")
        } else if Instant::now() >= self.deadline {
            format!("the demo was not done within {} s", PATIENCE.as_secs())
        } else {
            return Ok(());
        };
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let last: Vec<String> = log.lines().rev().take(5).map(ui::clean).collect();
        let last: Vec<&str> = last.iter().rev().map(String::as_str).collect();
        Err(CommandFailure::new(
            Exit::Failed,
            format!("{what}; its last words: {}", last.join(" | ")),
        ))
    }

    fn task(&self, act: &DemoTask) -> NewTask {
        let env = act
            .env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        NewTask {
            priority: act.priority,
            source: "demo".to_owned(),
            max_retries: act.retries,
            metadata: Metadata {
                working_dir: act
                    .directory
                    .map(|directory| self.work().join(directory).display().to_string()),
                git_branch: act.branch.map(str::to_owned),
                env_vars: env.collect(),
                prerequisites: act
                    .prerequisites
                    .iter()
                    .map(|&command| command.to_owned())
                    .collect(),
                ..Metadata::default()
            },
            ..NewTask::command(act.command)
        }
    }
}

impl Drop for DemoStage {
    fn drop(&mut self) {
        if let Some(child) = &mut self.daemon {
            if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::TERM);
            }
            let deadline = Instant::now() + Duration::from_secs(3);
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        // The server answers before it and its shells have ended.
        let processes = self.processes();
        let _ = self.tmux().arg("kill-server").output();
        let deadline = Instant::now() + Duration::from_secs(5);
        while processes.iter().any(|&pid| probe::is_alive(pid)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
    })
}
