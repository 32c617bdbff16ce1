//! A daemon without a terminal: it starts, tells, is replaced and ended, and loses nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::harness::setup::configure;
use crate::harness::{Shell, World, eventually, finish, program, text};

/// Ends the daemon of a world that has no [`crate::harness::Daemon`].
struct Ends<'a>(&'a World);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        let _ = self.0.binary().arg("stop").output();
    }
}

#[test]
fn it_runs_in_the_background_until_it_is_stopped() {
    let world = World::new();
    let _ends = Ends(&world);
    world.session("only", Shell::Bash);
    // Nobody is told of a log before there is one.
    let none = world.assigner(&["logs"]).refused(1);
    assert!(
        none.stderr.contains("no daemon has written a log yet"),
        "{none:?}"
    );
    // It outlives the terminal that it was started from.
    let other = world.session("other", Shell::Bash);
    let binary = format!(
        "{} --data-dir '{}' --tmux-socket '{}'",
        program(),
        text(world.data()),
        text(&world.socket())
    );
    other.line(&format!("{binary} run --daemon"));
    other.shows("the daemon runs, pid ");
    let pid = world.json(&["status"])["daemon"]["pid"]
        .as_u64()
        .expect("a process");
    world.tmux(&["kill-session", "-t", "other"]);
    assert_eq!(world.run("echo $((6 * 7))"), "42\n");
    assert_eq!(world.json(&["status"])["daemon"]["pid"], pid);
    // A second one is refused, as in the foreground.
    let second = world.assigner(&["run", "--daemon"]).refused(4);
    assert!(second.stderr.contains("already running"), "{second:?}");
    let log = world.assigner(&["logs"]).succeeded().text();
    assert!(log.contains(" INFO watching "), "{log}");
    let lines = world.json(&["logs", "-n", "1"]);
    assert_eq!(lines.as_array().map(Vec::len), Some(1), "{lines:#}");
    let file = world.data().join("logs/daemon.log");
    let mode = file.metadata().expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // What is written is shown as it comes.
    let pane = world.session("viewer", Shell::Bash);
    pane.line(&format!("clear; {binary} logs --follow -n 1"));
    pane.shows(" INFO ");
    let id = world.shell("true");
    pane.shows(&format!("claimed task={id}"));
    pane.keys(&["C-c"]);
    pane.prompt();
    world.assigner(&["stop"]).succeeded();
    assert!(world.json(&["status"])["daemon"]["pid"].is_null());
}

#[test]
fn why_it_has_ended_stands_in_its_log() {
    let world = World::new();
    let _ends = Ends(&world);
    world.session("only", Shell::Bash);
    world.assigner(&["run", "--daemon"]).succeeded();
    let database = world.data().join("assigner.db");
    fs::rename(&database, world.path("moved.db")).expect("moved");
    eventually(|| {
        let log = fs::read_to_string(world.data().join("logs/daemon.log")).unwrap_or_default();
        match log.contains(" ERROR ") && log.contains("is no longer there") {
            true => Ok(()),
            false => Err(log),
        }
    });
    fs::rename(world.path("moved.db"), &database).expect("moved back");
}

#[test]
fn one_that_cannot_start_says_why() {
    let world = World::new();
    let _ends = Ends(&world);
    let wrong = world
        .assigner(&["run", "--daemon", "--policy", "nothing-of-that-name"])
        .refused(6);
    assert!(wrong.stderr.contains("nothing-of-that-name"), "{wrong:?}");
    configure(&world, "[agents]\nheadless = ['nobody']\n");
    // What it warns of before it has a log is told here.
    let warned = world.assigner(&["run", "--daemon"]).succeeded();
    assert!(warned.stderr.contains("nobody"), "{warned:?}");
    let json: Value = world
        .assigner(&["--json", "run", "--daemon", "--replace"])
        .json();
    assert!(json["pid"].is_u64(), "{json:#}");
    assert!(
        json["log"]
            .as_str()
            .is_some_and(|log| log.ends_with("daemon.log"))
    );
}

#[test]
fn a_running_daemon_is_replaced_and_its_tasks_go_on() {
    let world = World::new();
    let _ends = Ends(&world);
    world.session("only", Shell::Bash);
    let mut first = world.daemon();
    let id = world.shell("while ! [ -e go ]; do sleep 0.05; done; echo done");
    world.until(id, "in_progress");
    world
        .assigner(&["run", "--daemon", "--replace"])
        .succeeded();
    assert_eq!(first.ends(), Some(0));
    world.touch("go");
    world.completed(id);
    assert_eq!(world.output(id), b"done\n");
    // What would end the new one at once does not end the old one.
    let pid = || world.json(&["status"])["daemon"]["pid"].clone();
    let before = pid();
    world
        .assigner(&["run", "--daemon", "--replace", "--policy", "nonsense"])
        .refused(6);
    let mut without = world.binary();
    without.env("PATH", world.mkdir("nothing"));
    without.args(["run", "--daemon", "--replace"]);
    finish(&mut without, b"").refused(3);
    assert_eq!(pid(), before);
    // Where none runs, nothing has to be replaced.
    world.assigner(&["stop"]).succeeded();
    world
        .assigner(&["run", "--daemon", "--replace"])
        .succeeded();
}

#[test]
fn another_version_is_told_from_this_one() {
    let world = World::new();
    world.session("only", Shell::Bash);
    let _daemon = world.daemon();
    let version = finish(world.binary().arg("--version"), b"")
        .succeeded()
        .text();
    let told = eventually(|| {
        let status = world.json(&["status"]);
        let told = status["daemon"]["version"].as_str().unwrap_or_default();
        match told.is_empty() {
            true => Err(status.to_string()),
            false => Ok(told.to_owned()),
        }
    });
    assert!(
        version.starts_with(&format!("assigner {told}, ")),
        "{version}"
    );
    let database =
        rusqlite::Connection::open(world.data().join("assigner.db")).expect("a database");
    // As a daemon of an earlier version has written it.
    database
        .execute(
            "UPDATE daemon SET facts = json_remove(json_set(facts, '$.policy_failures', 0), '$.version', '$.configuration')",
            [],
        )
        .expect("changed");
    let status = world.assigner(&["status"]).succeeded().text();
    assert!(
        status.contains("of another version: `assigner run --daemon --replace`"),
        "{status}"
    );
    let doctor = world.assigner(&["doctor"]).succeeded().text();
    assert!(
        doctor.contains("it is an earlier version, and this is "),
        "{doctor}"
    );
    let log = fs::read_to_string(world.data().join("logs/daemon.log")).expect("a log");
    assert!(log.contains("watching"), "{log}");
}
