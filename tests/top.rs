//! `assigner top` in a real terminal, driven by keys.

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Pane, Shell, World, eventually, finish, program, text};

/// Starts it in a session of this size, which is no task's.
pub(crate) fn top<'w>(world: &'w World, size: (&str, &str), further: &[&str]) -> Pane<'w> {
    top_of(world, world, size, further)
}

/// Starts one that shows `of` in a session on the server of `world`.
fn top_of<'w>(world: &'w World, of: &World, size: (&str, &str), further: &[&str]) -> Pane<'w> {
    let data = text(of.data());
    let socket = text(&of.socket());
    let session = [
        "new-session",
        "-d",
        "-P",
        "-F",
        "#{pane_id}",
        "-s",
        "top",
        "-x",
        size.0,
        "-y",
        size.1,
    ];
    let own = [
        program(),
        "--data-dir",
        &data,
        "--tmux-socket",
        &socket,
        "top",
    ];
    Pane::new(world, world.tmux(&[&session[..], &own, further].concat()))
}

/// Waits until it has ended, and its session with it.
fn has_ended(world: &World) {
    eventually(|| {
        let sessions = world.tmux(&["list-sessions", "-F", "#{session_name}"]);
        match sessions.lines().any(|name| name == "top") {
            true => Err("it goes on".to_owned()),
            false => Ok(()),
        }
    });
}

#[test]
fn a_fleet_is_seen_and_steered_by_keys() {
    for size in [("80", "24"), ("200", "50")] {
        let world = World::new();
        world.session("one", Shell::Bash);
        let daemon = world.daemon();
        world.session_is("one", "idle");
        let runs = world.shell("echo begun; sleep 600");
        world.until(runs, "in_progress");
        let waits = world.shell_with(&["--target", "nobody"], "echo never");
        let pane = top(&world, size, &[]);
        pane.shows("SESSIONS");
        pane.shows("echo never");
        pane.shows("in_progress");
        // Priority, and a text of its own.
        pane.keys(&["3", "Down", "+"]);
        world.eventually(|| match world.show(waits)["priority"].as_i64() {
            Some(1) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        pane.keys(&["x"]);
        pane.shows("the reasons of task 2");
        pane.shows("nobody");
        pane.keys(&["Escape"]);
        pane.shows("QUEUE");
        // What ends something is asked once.
        pane.keys(&["c"]);
        pane.shows("cancel task 2? y");
        pane.keys(&["n", "c", "y"]);
        assert_eq!(world.settled(waits)["status"], "cancelled");
        pane.shows("ENDED 1");
        // A new task by the form; its text may be anything.
        pane.keys(&["n"]);
        pane.types("echo '$HOME \"x\"' > made");
        pane.keys(&["Tab"]);
        pane.types("one");
        pane.keys(&["Enter"]);
        pane.shows("task 3 queued");
        // The page of what runs shows its output as it grows; it is ended from there.
        pane.keys(&["3", "Home", "Enter"]);
        pane.shows("begun");
        pane.keys(&["c"]);
        pane.shows("end task 1, which runs? y");
        pane.keys(&["y"]);
        assert_eq!(world.settled(runs)["status"], "cancelled");
        world.completed(3);
        assert_eq!(world.lines("made"), ["$HOME \"x\""]);
        // Without a daemon, queue and history are still there.
        drop(daemon);
        pane.shows("no daemon runs");
        pane.shows("ENDED 3");
        pane.keys(&["q"]);
        has_ended(&world);
    }
}

/// Whatever a queue holds, a key is answered at once.
#[test]
fn a_long_queue_is_shown_and_left() {
    let world = World::new();
    let lines: String = (0..20_000)
        .map(|number| format!("{{\"content\": \"echo {number} \\u001b[31m\", \"shell\": true}}\n"))
        .collect();
    world
        .assigner_with_input(&["send", "--batch", "-"], lines.as_bytes())
        .succeeded();
    world.session("one", Shell::Bash);
    let pane = top(&world, ("80", "24"), &[]);
    pane.shows("no daemon runs");
    pane.shows("QUEUE 300");
    pane.keys(&["3", "/"]);
    pane.types("echo 7 ");
    pane.shows("QUEUE 1");
    pane.shows("echo 7 \\u{1b}[31m");
    pane.keys(&["Escape"]);
    pane.shows("QUEUE 300");
    pane.keys(&["?"]);
    pane.shows("why a task waits");
    pane.keys(&["q", "q"]);
    has_ended(&world);
}

/// A tmux server that answers nothing until this is dropped.
struct StoppedServer(Pid);

impl StoppedServer {
    fn of(world: &World) -> Self {
        let pid = world.tmux(&["display-message", "-p", "#{pid}"]);
        let pid = pid.parse().ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, Signal::STOP).expect("stopped");
        Self(pid)
    }
}

impl Drop for StoppedServer {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// What hangs holds up only itself: keys are answered while a command of ours waits for tmux.
#[test]
fn keys_are_answered_while_tmux_hangs() {
    let world = World::new();
    // Its own screen stands on another server.
    let other = World::new();
    other.session("stays", Shell::Bash);
    world.session("one", Shell::Bash);
    let daemon = world.daemon();
    world.session_is("one", "idle");
    drop(daemon);
    let waits = world.shell("echo never");
    let pane = top_of(&other, &world, ("80", "40"), &[]);
    pane.shows("echo never");
    // What is seen of a session stands on its page.
    pane.keys(&["2", "Enter"]);
    pane.shows("session one: idle");
    pane.shows("WHAT WAS SEEN");
    pane.keys(&["Escape"]);
    let stopped = StoppedServer::of(&world);
    pane.keys(&["d"]);
    pane.shows("doctor one …");
    pane.keys(&["3", "+"]);
    pane.keys(&["Enter"]);
    pane.shows("task 1: pending");
    drop(stopped);
    pane.shows("what one shows");
    // Each is done in its turn.
    world.eventually(|| match world.show(waits)["priority"].as_i64() {
        Some(1) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    pane.keys(&["q", "q"]);
    has_ended(&other);
}

#[test]
fn what_changes_is_printed_in_plain_lines() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    world.session_is("one", "idle");
    let pane = top(&world, ("100", "24"), &["--plain"]);
    pane.shows("nothing waits for you, 0 open, 1 session;");
    pane.shows("session one is idle");
    let id = world.shell("echo well");
    world.completed(id);
    pane.shows("task 1 completed in one (echo well)");
}

#[test]
fn it_needs_a_terminal_and_says_what_does_not() {
    let world = World::new();
    let refused = world.assigner(&["top"]).refused(2);
    assert!(refused.stderr.contains("--plain"), "{}", refused.stderr);
    let refused = world.assigner(&["top", "--json"]).refused(2);
    assert!(
        refused.stderr.contains("status --json"),
        "{}",
        refused.stderr
    );
    let bound = world.assigner(&["popup", "bind", "F5"]).succeeded().text();
    assert!(bound.starts_with("bind-key F5 display-popup -E"), "{bound}");
    assert!(bound.contains(" top\""), "{bound}");
    // tmux takes the line.
    world.session("one", Shell::Bash);
    let file = world.path("popup.conf");
    std::fs::write(&file, bound).expect("a file");
    world.tmux(&["source-file", &text(&file)]);
    let keys = world.tmux(&["list-keys", "-T", "prefix"]);
    assert!(
        keys.contains("F5") && keys.contains("display-popup"),
        "{keys}"
    );
    world.assigner(&["popup", "bind", "a b"]).refused(2);
}

/// Whether a process goes on: a zombie has ended, though tmux does not always notice that at once.
fn goes_on(world: &World, pid: &str) -> bool {
    let state = finish(world.command("ps").args(["-o", "stat=", "-p", pid]), b"").text();
    !(state.trim().is_empty() || state.starts_with('Z'))
}

/// Whether its terminal goes or it is told to: it ends, and leaves nothing behind.
#[test]
fn it_ends_with_its_terminal_and_when_it_is_told_to() {
    for by in ["kill-session", "terminate"] {
        let world = World::new();
        world.session("one", Shell::Bash);
        let pane = top(&world, ("80", "24"), &[]);
        pane.shows("SESSIONS");
        let pid = pane.format("#{pane_pid}");
        match by {
            "terminate" => {
                finish(world.command("kill").arg(&pid), b"").succeeded();
            }
            _ => {
                world.tmux(&["kill-session", "-t", "top"]);
            }
        }
        eventually(|| match goes_on(&world, &pid) {
            true => Err(format!("it goes on after {by}")),
            false => Ok(()),
        });
    }
}
