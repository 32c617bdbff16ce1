//! The daemon, a session or the tmux server dies: no task is lost, none runs twice.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::harness::{Shell, World, eventually, in_each_shell, is_settled};
use crate::queue::each_once;

/// Asserts that a task whose session is gone ended, in one attempt, with a reason.
fn lost_in_the_middle(world: &World, id: u64) {
    let task = world.settled(id);
    assert!(
        task["status"] == "failed" || task["status"] == "uncertain",
        "{task:#}"
    );
    assert!(
        task["error"].as_str().is_some_and(|why| !why.is_empty()),
        "{task:#}"
    );
    assert_eq!(task["attempts"].as_array().map(Vec::len), Some(1));
}

/// Kills the daemon again and again while forty tasks run.
#[test]
fn killed_at_random_moments() {
    let world = World::new();
    let shells = Shell::installed();
    for number in 0..4 {
        world.session(&format!("s{number}"), shells[number % shells.len()]);
    }
    let ids: Vec<u64> = (0..40)
        .map(|number| world.shell(&format!("sleep 0.1; echo {number} >> log; sleep 0.1")))
        .collect();
    // Constants make the moments differ from round to round but not from run to run.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let daemon = world.daemon();
        // This does not wait for anything: the moment of the crash is the test's input.
        thread::sleep(Duration::from_millis(state % 400));
        daemon.kill();
        let status = world.json(&["status"]);
        assert_eq!(status["daemon"]["running"], false, "{status}");
        if status["tasks"]["completed"] == 40 {
            break;
        }
    }
    let _daemon = world.daemon();
    for id in &ids {
        world.settled(*id);
    }
    each_once(&world, &ids, "log");
}

/// Daemons come and go while sessions do, which once ended the server, and with it everything that
/// people have open. `ASSIGNER_STARTS` starts more of them.
#[test]
fn the_tmux_server_survives_daemons_that_come_and_go() {
    let starts = std::env::var("ASSIGNER_STARTS").map_or(Ok(200), |text| text.parse());
    let starts: u64 = starts.expect("a number");
    let world = World::new();
    world.session("one", Shell::Bash);
    let server = world.tmux(&["display-message", "-p", "#{pid}"]);
    let over = AtomicBool::new(false);
    let churned = AtomicU64::new(0);
    thread::scope(|scope| {
        for name in ["left", "right"] {
            let (world, over, churned) = (&world, &over, &churned);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let started = world
                        .tmux_command()
                        .args(["new-session", "-d", "-s", name, "cat"])
                        .args([";", "kill-session", "-t", name])
                        .output();
                    let well = started.is_ok_and(|output| output.status.success());
                    churned.fetch_add(u64::from(well), Ordering::Relaxed);
                    // Enough for several during each start; more would only take the processor.
                    thread::sleep(Duration::from_millis(30));
                }
            });
        }
        for round in 0..starts {
            let mut daemon = world.spawn_daemon(&[]);
            daemon.logs("watching");
            // Each dies at another point of its first looks.
            thread::sleep(Duration::from_millis(round % 7));
            match round % 2 {
                0 => daemon.kill(),
                _ => {
                    daemon.terminate();
                    daemon.ends();
                }
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(world.tmux(&["display-message", "-p", "#{pid}"]), server);
    let churned = churned.load(Ordering::Relaxed);
    println!("{starts} starts beside {churned} sessions that came and went");
    assert!(churned > starts, "{churned} sessions came and went");
}

/// Kills the daemon as soon as each task is seen in a state that random moments may miss.
#[test]
fn killed_while_a_job_starts() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let mut ids = Vec::new();
    for number in 0..4 {
        let daemon = world.daemon();
        let id = world.shell(&format!("echo {number} >> log"));
        ids.push(id);
        world.eventually(|| {
            let task = world.show(id);
            if task["status"] == "assigned" || task["status"] == "in_progress" || is_settled(&task)
            {
                Ok(())
            } else {
                Err(task.to_string())
            }
        });
        daemon.kill();
    }
    let _daemon = world.daemon();
    for id in &ids {
        world.settled(*id);
    }
    each_once(&world, &ids, "log");
}

/// A stopped daemon is not there when the jobs end; after a kill, the next daemon sees them end.
#[test]
fn jobs_outlive_their_daemon() {
    for crash in [false, true] {
        let world = World::new();
        let shells = Shell::installed();
        for shell in &shells {
            world.session(shell.program(), *shell);
        }
        let mut daemon = world.daemon();
        let ids: Vec<u64> = shells
            .iter()
            .map(|shell| {
                let name = shell.program();
                let wait = match shell {
                    Shell::Fish => "while test ! -e go; sleep 0.02; end",
                    _ => "while test ! -e go; do sleep 0.02; done",
                };
                world.shell_with(
                    &["--target", name],
                    &format!("echo begun >> {name}; {wait}; echo ended >> {name}; echo out; sh -c 'exit 8'"),
                )
            })
            .collect();
        for (id, shell) in ids.iter().zip(&shells) {
            world.until(*id, "in_progress");
            world.file_appears(shell.program());
        }
        let _second = if crash {
            daemon.kill();
            let second = world.daemon();
            world.touch("go");
            second
        } else {
            world.assigner(&["stop"]).succeeded();
            assert_eq!(daemon.ends(), Some(0));
            world.touch("go");
            for (id, shell) in ids.iter().zip(&shells) {
                assert_eq!(world.show(*id)["status"], "in_progress");
                eventually(|| match world.lines(shell.program()) {
                    lines if lines.len() == 2 => Ok(()),
                    lines => Err(format!("{lines:?}")),
                });
            }
            world.daemon()
        };
        for (id, shell) in ids.iter().zip(&shells) {
            let task = world.settled(*id);
            assert_eq!(task["status"], "failed", "{task:#}");
            assert_eq!(task["exit_code"], 8, "{task:#}");
            assert_eq!(world.output(*id), b"out\n", "{task:#}");
            assert_eq!(task["attempts"].as_array().map(Vec::len), Some(1));
            assert_eq!(world.lines(shell.program()), ["begun", "ended"]);
            let next = world.shell_with(&["--target", shell.program()], "echo next");
            assert_eq!(world.completed(next)["output"], "next\n");
        }
    }
}

#[test]
fn a_session_that_dies_in_mid_job() {
    in_each_shell(|seat| {
        let world = seat.world;
        let id = seat.shell("touch ran; sleep 300; touch after");
        world.file_appears(&format!("{}/ran", seat.name()));
        world.until(id, "in_progress");
        world.tmux(&["kill-session", "-t", &format!("={}", seat.name())]);
        lost_in_the_middle(world, id);
        assert!(!seat.path("after").exists());
        assert!(world.session_entry(seat.name()).is_none());
    });
}

/// No daemon is there to see it.
#[test]
fn a_session_that_dies_while_no_daemon_runs() {
    let world = World::new();
    world.session("one", Shell::Bash);
    world.session("two", Shell::Bash);
    let daemon = world.daemon();
    let id = world.shell_with(&["--target", "one"], "echo ran >> log; sleep 300");
    world.file_appears("log");
    world.until(id, "in_progress");
    daemon.kill();
    world.tmux(&["kill-session", "-t", "=one"]);
    // A new session with that name is another session.
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    lost_in_the_middle(&world, id);
    assert_eq!(world.run("echo next"), "next\n");
    assert_eq!(world.lines("log"), ["ran"]);
}

#[test]
fn a_tmux_server_that_dies_in_mid_job() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let daemon = world.daemon();
    let id = world.shell("echo ran >> log; sleep 300");
    let next = world.shell("echo next");
    world.file_appears("log");
    world.tmux(&["kill-server"]);
    lost_in_the_middle(&world, id);
    assert_eq!(world.show(next)["status"], "pending");
    // Another server in the same place.
    world.session("one", Shell::Bash);
    assert_eq!(world.completed(next)["output"], "next\n");
    assert_eq!(world.lines("log"), ["ran"]);
    assert_eq!(world.json(&["status"])["daemon"]["pid"], daemon.pid());
    crate::harness::assert_calm(&daemon.log());
}

/// A person takes the session from a job by ending its shell.
#[test]
fn a_shell_that_is_killed_in_mid_job() {
    let world = World::new();
    let pane = world.session("one", Shell::Bash);
    world.session("two", Shell::Bash);
    world.tmux(&["set-option", "-g", "remain-on-exit", "on"]);
    let _daemon = world.daemon();
    let id = world.shell_with(&["--target", "one"], "echo ran >> log; kill -9 $$");
    lost_in_the_middle(&world, id);
    pane.has("#{pane_dead}", "1");
    // A dead pane takes no task, and pasting into it would end the server.
    let waiting = world.shell_with(&["--target", "one"], "echo never");
    world.reason(waiting);
    assert_eq!(world.run("echo next"), "next\n");
    assert_eq!(world.show(waiting)["status"], "pending");
    assert_eq!(world.lines("log"), ["ran"]);
}

#[test]
fn what_ran_in_a_session_that_dies_is_not_run_again_by_itself() {
    let world = World::new();
    world.session("one", Shell::Bash);
    world.session("two", Shell::Bash);
    let _daemon = world.daemon();
    let id = world.shell_with(
        &["--retries", "1"],
        "echo ran >> log; while test ! -e go; do sleep 0.02; done",
    );
    world.file_appears("log");
    let session = world.until(id, "in_progress")["session"].clone();
    let name = session.as_str().expect("a session");
    world.tmux(&["kill-session", "-t", &format!("={name}")]);
    world.touch("go");
    let task = world.settled(id);
    // It is not known whether the command continued: only a known failure is retried.
    assert_eq!(task["status"], "uncertain", "{task:#}");
    assert_eq!(world.lines("log").len(), 1);
    assert_eq!(task["attempts"].as_array().map(Vec::len), Some(1));
}
