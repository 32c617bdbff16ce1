//! Pools: sessions that are started for tasks, and end when nobody needs them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{World, assert_calm, eventually, finish, stays, text};

/// An agent that reads lines. It notes its directory and its input. If a line begins with `hold`,
/// it works until there is a file `go`.
const TOY: &str = r#"#!/bin/bash
printf '%s|%s|%s|%s\n' "$PWD" "$COLOUR" "$ASSIGNER_DATA_DIR" "$ASSIGNER_TMUX_SOCKET" >> "$TOY_LOG"
while IFS= read -r -p '> ' line; do
    case $line in
        hold*) echo working; until [ -e "$HOME/go" ]; do sleep 0.1; done ;;
        ask*) echo 'answer: which one?'; continue ;;
        dirty*) echo changed > new-file ;;
        commit*) git -c user.name=a -c user.email=a@b commit -q --allow-empty -m more ;;
    esac
    echo "answer: ${#line} letters"
done
"#;

const PROFILE: &str = r"
name = 'toy'
summary = 'an agent that reads lines'
[recognise]
programs = ['toy']
[state]
idle-screen = ['^>\s*$']
busy-screen = ['^working$']
tail = 1
[paste]
mode = 'line'
pause = '50ms'
[turn]
settle = '300ms'
answer = '^answer: (?P<text>.*)$'
trailer = ['^>\s*$']
questions = false
";

/// Returns a world with the toy, its profile and a pool with this configuration.
fn world(pool: &str) -> World {
    let world = World::new();
    world.mkdir("bin");
    let toy = world.path("bin/toy");
    fs::write(&toy, TOY).expect("a file");
    fs::set_permissions(&toy, fs::Permissions::from_mode(0o755)).expect("a mode");
    world.mkdir("home/.config/assigner/agents");
    let config = world.path("home/.config/assigner");
    fs::write(config.join("agents/toy.toml"), PROFILE).expect("a profile");
    // The configuration may already have a command and variables.
    let command = format!("command = ['{}']\n", toy.display());
    let command = if pool.contains("command") {
        ""
    } else {
        &command
    };
    let log = world.path("log");
    let text = format!(
        "[[pool]]\nname = 'toy'\n{pool}{command}\
         env = {{ TOY_LOG = '{}', COLOUR = 'a;b #{{pid}}' }}\n",
        log.display()
    );
    fs::write(config.join("config.toml"), text).expect("a configuration");
    world
}

impl World {
    fn prompt(&self, text: &str) -> u64 {
        self.send(&["--provider", "toy", "--", text])
    }

    /// Returns the session of a task's last attempt.
    fn seat(&self, id: u64) -> String {
        let task = self.show(id);
        let attempts = task["attempts"].as_array().expect("attempts");
        let last = attempts.last().expect("an attempt");
        last["session"].as_str().expect("a name").to_owned()
    }

    /// Returns the history of a session as `action: cause` lines, the oldest first.
    fn session_history(&self, name: &str) -> Vec<String> {
        let session = self.json(&["session", name, "-n", "100"]);
        let rows = session["history"].as_array().expect("rows");
        let line = |row: &Value| {
            let part = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
            format!("{}: {}", part("action"), part("details"))
        };
        let mut rows: Vec<(String, String)> = rows
            .iter()
            .map(|row| (row["at"].as_str().unwrap_or_default().to_owned(), line(row)))
            .collect();
        rows.sort_by(|one, other| one.0.cmp(&other.0));
        rows.into_iter().map(|(_, line)| line).collect()
    }

    /// Waits until the history of a session contains a text, and returns that line.
    fn session_says(&self, name: &str, what: &str) -> String {
        eventually(|| {
            let known = self.json(&["sessions", "--all"]);
            if !known.to_string().contains(&format!("\"{name}\"")) {
                return Err(format!("no session {name}: {known}"));
            }
            let said = self.session_history(name);
            let found = said.iter().rev().find(|line| line.contains(what));
            found.cloned().ok_or_else(|| format!("{what}: {said:#?}"))
        })
    }

    /// Returns the names of the existing sessions.
    fn tmux_sessions(&self) -> Vec<String> {
        let listed = finish(
            self.tmux_command()
                .args(["list-sessions", "-F", "#{session_name}"]),
            b"",
        );
        let listed = String::from_utf8(listed.stdout).expect("text");
        let names = listed.lines().filter(|name| !name.is_empty());
        names.map(str::to_owned).collect()
    }

    /// Waits until exactly these sessions exist.
    fn has_sessions(&self, expected: &[&str]) {
        eventually(|| {
            let mut sessions = self.tmux_sessions();
            sessions.sort();
            if sessions == expected {
                Ok(())
            } else {
                Err(format!("{sessions:?}, not {expected:?}"))
            }
        });
    }

    /// Attaches a control client to a session.
    fn attached(&self, name: &str) -> Client {
        let target = format!("={name}:");
        let mut command = self.tmux_command();
        let client = command
            .args(["-C", "attach-session", "-f", "ignore-size", "-t", &target])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .map(Client)
            .expect("a client");
        eventually(|| {
            let shown = ["display-message", "-p", "-t", &target];
            let attached = self.tmux(&[shown.as_slice(), &["#{session_attached}"]].concat());
            if attached == "1" {
                Ok(())
            } else {
                Err(attached)
            }
        });
        client
    }

    fn git(&self, directory: &Path, args: &[&str]) -> String {
        let mut command = self.command("git");
        command.arg("-C").arg(directory);
        command.args(["-c", "user.name=a", "-c", "user.email=a@b"]);
        let output = finish(command.args(args), b"").succeeded();
        output.text().trim().to_owned()
    }

    /// Makes a repository with a commit on `main`, and one more on `dev`.
    fn repository(&self) -> std::path::PathBuf {
        let repository = self.path("work/api");
        fs::create_dir_all(&repository).expect("a directory");
        self.git(&repository, &["init", "-q", "-b", "main"]);
        self.git(&repository, &["commit", "-q", "--allow-empty", "-m", "one"]);
        self.git(&repository, &["checkout", "-q", "-b", "dev"]);
        self.git(&repository, &["commit", "-q", "--allow-empty", "-m", "two"]);
        self.git(&repository, &["checkout", "-q", "main"]);
        repository
    }
}

#[test]
fn a_prompt_starts_a_session_that_ends_when_nothing_is_left() {
    let world = world("directory = '~/place'\nmax = 3\nidle = '1s'\n");
    let place = world.mkdir("home/place");
    // Not even a tmux server runs.
    let daemon = world.daemon();
    let id = world.prompt("hello there");
    world.completed(id);
    let output = String::from_utf8(world.output(id)).expect("text");
    assert_eq!(output.trim(), "11 letters");
    assert_eq!(world.seat(id), "toy-1");
    let log = fs::read_to_string(world.path("log")).expect("a log");
    let data = text(&world.data().canonicalize().expect("a directory"));
    let told = format!("{place}|a;b #{{pid}}|{data}|{}\n", text(&world.socket()));
    assert_eq!(log, told);
    world.has_sessions(&[]);
    let history = world.session_history("toy-1");
    let started = history.first().expect("a row");
    assert!(
        started.starts_with(&format!("started: pool toy, for task {id}, in {place}: ")),
        "{history:#?}"
    );
    world.session_says("toy-1", "ended: it had no task for ");
    assert_calm(&daemon.log());
}

#[test]
fn a_task_starts_one_session_and_a_pool_has_a_size() {
    let world = world("max = 2\nidle = '10m'\n");
    let _daemon = world.daemon();
    let ids: Vec<u64> = (0..5).map(|n| world.prompt(&format!("hold {n}"))).collect();
    let running = || {
        let tasks = world.json(&["list", "--status", "in_progress"]);
        tasks.as_array().map_or(0, Vec::len)
    };
    eventually(|| match running() {
        2 => Ok(()),
        other => Err(format!("{other} run")),
    });
    stays(|| (world.tmux_sessions().len(), running()));
    world.has_sessions(&["toy-1", "toy-2"]);
    fs::write(world.path("home/go"), "").expect("a file");
    for id in ids {
        world.completed(id);
    }
    world.has_sessions(&["toy-1", "toy-2"]);
    // The sessions stay for the next task.
    let id = world.prompt("one more");
    world.completed(id);
    world.has_sessions(&["toy-1", "toy-2"]);
}

/// A control client, which stands for a person's terminal.
struct Client(Child);

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_a_person_looks_at_or_has_made_is_not_ended() {
    let world = world("idle = '1s'\n");
    // Its name is one that the pool would choose.
    let toy = text(&world.path("bin/toy"));
    let log = format!("TOY_LOG={}", text(&world.path("mine")));
    world.tmux(&["new-session", "-d", "-s", "toy-1", "env", &log, &toy]);
    let _daemon = world.daemon();
    world.session_is("toy-1", "idle");
    let own = world.prompt("hold the one that is there");
    world.until(own, "in_progress");
    let id = world.prompt("hold the other");
    world.until(id, "in_progress");
    assert_eq!(
        (world.seat(own), world.seat(id)),
        ("toy-1".into(), "toy-2".into())
    );
    let client = world.attached("toy-2");
    fs::write(world.path("home/go"), "").expect("a file");
    world.completed(own);
    world.completed(id);
    world.session_is("toy-2", "idle");
    thread::sleep(Duration::from_secs(3));
    world.has_sessions(&["toy-1", "toy-2"]);
    drop(client);
    world.has_sessions(&["toy-1"]);
    stays(|| world.tmux_sessions());
}

#[test]
fn a_worktree_comes_and_goes_with_its_session() {
    let world = world("worktree = '~/../work/api'\nidle = '1s'\n");
    let repository = world.repository();
    let dev = world.git(&repository, &["rev-parse", "dev"]);
    let daemon = world.daemon();
    let id = world.send(&["--provider", "toy", "-b", "dev", "--", "hold this"]);
    world.until(id, "in_progress");
    let worktree = world
        .data()
        .canonicalize()
        .expect("a path")
        .join("worktrees/toy-1");
    assert_eq!(world.git(&worktree, &["rev-parse", "HEAD"]), dev);
    assert_eq!(world.git(&worktree, &["branch", "--show-current"]), "");
    let log = fs::read_to_string(world.path("log")).expect("a log");
    assert!(log.starts_with(&format!("{}|", text(&worktree))), "{log}");
    fs::write(world.path("home/go"), "").expect("a file");
    world.completed(id);
    world.session_says("toy-1", "worktree_removed: ");
    assert!(!worktree.exists());
    let listed = world.git(&repository, &["worktree", "list"]);
    assert_eq!(listed.lines().count(), 1, "{listed}");

    // Uncommitted files stay, and so do commits on no branch; the name is not used again.
    for (prompt, name, why) in [
        ("dirty now", "toy-1", "that are not committed"),
        (
            "commit now",
            "toy-2",
            "it has commits that are on no branch",
        ),
    ] {
        let id = world.prompt(prompt);
        world.completed(id);
        assert_eq!(world.seat(id), name);
        let said = world.session_says(name, "worktree_kept: ");
        assert!(said.ends_with(why), "{said}");
        world.has_sessions(&[]);
        assert!(worktree.with_file_name(name).exists());
    }
    let id = world.prompt("a third");
    world.completed(id);
    assert_eq!(world.seat(id), "toy-3");
    assert_calm(&daemon.log());
}

#[test]
fn each_task_has_a_worktree_of_its_own() {
    let world = world("worktree = '~/../work/api'\nmax = 2\nidle = '10m'\n");
    let repository = world.repository();
    let daemon = world.daemon();
    // The third must wait for room.
    let ids: Vec<u64> = (0..3).map(|n| world.prompt(&format!("hold {n}"))).collect();
    for id in &ids[..2] {
        world.until(*id, "in_progress");
    }
    stays(|| world.tmux_sessions().len());
    assert_eq!(world.show(ids[2])["status"], "pending");
    fs::write(world.path("home/go"), "").expect("a file");
    for id in &ids {
        world.completed(*id);
    }
    world.has_sessions(&[]);
    let mut seats: Vec<String> = ids.iter().map(|id| world.seat(*id)).collect();
    for seat in &seats {
        world.session_says(seat, "ended: it was for one task, which it has had");
        world.session_says(seat, "worktree_removed: ");
    }
    let log = fs::read_to_string(world.path("log")).expect("a log");
    assert_eq!(log.lines().count(), 3, "{log}");
    // A name is free again when its worktree is gone.
    seats[..2].sort();
    assert_eq!(seats[..2], ["toy-1", "toy-2"]);
    let listed = world.git(&repository, &["worktree", "list"]);
    assert_eq!(listed.lines().count(), 1, "{listed}");
    assert_calm(&daemon.log());
}

#[test]
fn a_session_can_be_for_some_tasks() {
    let world = world("tasks = 2\nidle = '10m'\n");
    let daemon = world.daemon();
    let first = world.prompt("one");
    world.completed(first);
    world.session_is("toy-1", "idle");
    stays(|| world.tmux_sessions());
    // A new daemon counts the tasks that the last one gave.
    daemon.kill();
    let daemon = world.daemon();
    let second = world.prompt("hold two");
    world.until(second, "in_progress");
    let third = world.prompt("three");
    fs::write(world.path("home/go"), "").expect("a file");
    world.completed(second);
    world.completed(third);
    assert_eq!(world.seat(first), "toy-1");
    assert_eq!(world.seat(second), "toy-1");
    world.session_says("toy-1", "ended: it was for 2 tasks, which it has had");
    let log = fs::read_to_string(world.path("log")).expect("a log");
    assert_eq!(log.lines().count(), 2, "{log}");
    assert_eq!(world.tmux_sessions().len(), 1);
    assert_calm(&daemon.log());
}

#[test]
fn a_session_that_has_had_its_task_stays_while_it_is_looked_at() {
    let world = world("tasks = 1\nmax = 2\nidle = '10m'\n");
    let daemon = world.daemon();
    let first = world.prompt("hold this");
    world.until(first, "in_progress");
    let client = world.attached("toy-1");
    fs::write(world.path("home/go"), "").expect("a file");
    world.completed(first);
    let reason = || {
        let session = world.json(&["session", "toy-1"]);
        session["reason"].as_str().unwrap_or_default().to_owned()
    };
    eventually(|| match reason() {
        said if said == "it was for one task and will be ended" => Ok(()),
        said => Err(said),
    });
    // It gets no other task, not even from a new daemon, and another session is started.
    drop(daemon);
    let _daemon = world.daemon();
    let second = world.prompt("again");
    world.completed(second);
    assert_eq!(world.seat(second), "toy-2");
    world.has_sessions(&["toy-1"]);
    drop(client);
    world.has_sessions(&[]);
}

#[test]
fn a_session_whose_task_waits_for_an_answer_is_not_ended() {
    let world = world("tasks = 1\nmax = 2\nidle = '1s'\n");
    let profile = world.path("home/.config/assigner/agents/toy.toml");
    let asking = PROFILE.replace("questions = false", "questions = true");
    fs::write(profile, asking).expect("a profile");
    let _daemon = world.daemon();
    let id = world.prompt("ask me");
    world.until(id, "waiting_input");
    thread::sleep(Duration::from_secs(2));
    world.has_sessions(&["toy-1"]);
    world.assigner(&["cancel", &id.to_string()]).succeeded();
    world.until(id, "cancelled");
    world.has_sessions(&[]);
    world.session_says("toy-1", "ended: it was for one task, which it has had");
}

#[test]
fn a_session_stays_while_nobody_knows_what_became_of_its_task() {
    let world = world("tasks = 1\nidle = '10m'\n");
    let _daemon = world.daemon();
    let id = world.prompt("hold this");
    world.until(id, "in_progress");
    let client = world.attached("toy-1");
    fs::write(world.path("home/go"), "").expect("a file");
    world.completed(id);
    let database = world.data().join("assigner.db");
    let database = rusqlite::Connection::open(database).expect("a database");
    let patient = database.busy_timeout(Duration::from_secs(10));
    patient.expect("a time-out");
    let set = |status: &str| {
        let done = database.execute("UPDATE tasks SET status = ?1", [status]);
        assert_eq!(done.expect("written"), 1);
    };
    set("uncertain");
    drop(client);
    thread::sleep(Duration::from_secs(2));
    world.has_sessions(&["toy-1"]);
    set("completed");
    world.has_sessions(&[]);
}

#[test]
fn a_session_whose_task_was_cancelled_is_for_no_other_one() {
    let world = world("tasks = 1\nmax = 1\nidle = '10m'\n");
    let _daemon = world.daemon();
    let id = world.prompt("hold this");
    world.until(id, "in_progress");
    world.assigner(&["cancel", &id.to_string()]).succeeded();
    world.until(id, "cancelled");
    // The agent is left alone, and the session is not ended while it works.
    stays(|| world.tmux_sessions());
    world.has_sessions(&["toy-1"]);
    let next = world.prompt("next");
    stays(|| world.show(next)["status"].clone());
    fs::write(world.path("home/go"), "").expect("a file");
    world.completed(next);
    let log = fs::read_to_string(world.path("log")).expect("a log");
    assert_eq!(log.lines().count(), 2, "{log}");
}

#[test]
fn a_command_that_ends_at_once_rests_its_pool() {
    // tmux may lose what a program prints in its last moment.
    let world = world("command = 'echo there is no such agent; sleep 0.3; exit 3'\n");
    let daemon = world.daemon();
    let id = world.prompt("hello");
    let said = world.session_says("toy-1", "ended: ");
    assert!(said.contains("there is no such agent"), "{said}");
    assert!(said.ends_with("; pool toy rests for 5 s"), "{said}");
    world.has_sessions(&[]);
    thread::sleep(Duration::from_secs(3));
    let history = world.session_history("toy-1");
    let started = history.iter().filter(|line| line.starts_with("started"));
    assert_eq!(started.count(), 1, "{history:#?}");
    assert_eq!(world.show(id)["status"], "pending");
    // It is tried again, and then rests for longer.
    let said = world.session_says("toy-1", "rests for 10 s");
    assert!(said.starts_with("ended: "), "{said}");
    assert_calm(&daemon.log());
}

#[test]
fn a_program_that_is_not_what_was_expected_is_ended_in_time() {
    let world = world("command = ['sleep', '1000']\nstart-within = '1s'\n");
    let _daemon = world.daemon();
    world.prompt("hello");
    let said = world.session_says("toy-1", "ended: ");
    assert!(
        said.contains("toy was not seen idle there within 1 s"),
        "{said}"
    );
    world.has_sessions(&[]);
}

#[test]
fn a_directory_that_is_not_there_starts_nothing() {
    let world = world("directory = '/no/such/place'\n");
    let daemon = world.daemon();
    world.prompt("hello");
    daemon.logs("the directory `/no/such/place` cannot be used");
    daemon.logs("pool toy rests for 5 s");
    assert!(world.tmux_sessions().is_empty());
}

#[test]
fn a_new_daemon_knows_the_sessions_of_the_last_one() {
    let world = world("max = 1\nidle = '2s'\n");
    let daemon = world.daemon();
    let first = world.prompt("hold on");
    world.until(first, "in_progress");
    daemon.kill();
    let _daemon = world.daemon();
    fs::write(world.path("home/go"), "").expect("a file");
    world.completed(first);
    let second = world.prompt("again");
    world.completed(second);
    assert_eq!(world.seat(second), "toy-1");
    let log = fs::read_to_string(world.path("log")).expect("a log");
    assert_eq!(log.lines().count(), 1, "{log}");
    world.has_sessions(&[]);
    world.session_says("toy-1", "ended: it had no task for ");
}

/// Another queue on the same tmux server keeps its own sessions.
#[test]
fn sessions_of_another_queue_are_left_alone() {
    let world = world("idle = '1s'\n");
    let first = world.daemon();
    let id = world.prompt("hello");
    world.completed(id);
    drop(first);
    world.has_sessions(&["toy-1"]);
    let other = world.path("other");
    let mut command = world.binary();
    command.env("ASSIGNER_DATA_DIR", &other).arg("run");
    let second = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(Client)
        .expect("a daemon");
    thread::sleep(Duration::from_secs(3));
    world.has_sessions(&["toy-1"]);
    drop(second);
    let _first = world.daemon();
    world.has_sessions(&[]);
}

#[test]
fn mistakes_of_a_pool_are_told() {
    for (pool, what) in [
        ("max = 0\n", "`max` must be from 1 to 64"),
        ("tasks = 'one'\n", "expected u32"),
        ("directory = 'here'\n", "absolute"),
        ("directory = '/a'\nworktree = '/b'\n", "not both"),
        ("command = ''\n", "command is empty"),
        ("colour = 1\n", "colour"),
    ] {
        let world = world(pool);
        let refused = world.assigner(&["run"]).refused(2);
        assert!(refused.stderr.contains(what), "{}", refused.stderr);
    }
}
