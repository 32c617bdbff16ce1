//! How a command can end in each shell: the code is kept, a person's trap is called, and a command
//! that has not ended is not run a second time.

use std::fs;
use std::thread;

use assigner_needs::needs;

use crate::harness::{Seat, Shell, World, eventually, in_shells, text};

const POSIX: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Dash];

/// Returns the lines that a task and a trap have written in their session's directory.
fn notes(seat: &Seat<'_>) -> Vec<String> {
    let text = fs::read_to_string(seat.path("notes")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Sends a command that notes that it runs, with retries allowed, and returns how it ended.
fn ended(seat: &Seat<'_>, command: &str) -> (String, serde_json::Value) {
    let id = seat.shell_with(
        &["--retries", "2"],
        &format!("echo ran >> notes; {command}"),
    );
    let task = seat.world.settled(id);
    let status = task["status"].as_str().unwrap_or_default().to_owned();
    (status, task["exit_code"].clone())
}

/// Waits until the command that is to be stopped has begun.
fn runs(seat: &Seat<'_>) {
    eventually(|| match notes(seat).as_slice() {
        [] => Err("nothing runs".to_owned()),
        _ => Ok(()),
    });
}

#[test]
fn exit_keeps_its_code_and_calls_a_persons_trap() {
    in_shells(&POSIX, |seat| {
        seat.pane.line("trap 'echo bye $? >> notes' EXIT; clear");
        seat.pane.prompt();
        let id = seat.shell("true");
        seat.world.completed(id);
        assert_eq!(
            ended(seat, "f() { exit 0; }; f"),
            ("completed".to_owned(), 0.into())
        );
        eventually(|| match notes(seat).as_slice() {
            [ran, bye] if ran == "ran" && bye == "bye 0" => Ok(()),
            other => Err(format!("{other:?}")),
        });
    });
}

#[test]
fn exit_in_a_sourced_file_and_in_a_subshell() {
    in_shells(&POSIX, |seat| {
        fs::write(seat.path("six"), "exit 6\n").expect("written");
        // The end of a subshell is not that of the command: nothing tells of an end while it goes on.
        let told = "if [ -e \"${__assigner_job-}.exit\" ]; then echo ended; else echo on; fi";
        let id = seat.shell(&format!("(exit 4); echo \"code $?\"; x=$(exit 5); {told}"));
        seat.world.completed(id);
        assert_eq!(seat.world.output(id), b"code 4\non\n");
        let id = seat.shell(". ./six; echo on");
        let task = seat.world.settled(id);
        assert_eq!(
            (&task["status"], &task["exit_code"]),
            (&"failed".into(), &6.into()),
            "{task:#}"
        );
    });
}

/// Ctrl-Z stops a command without ending it: a retry would run it twice.
#[test]
fn a_command_that_is_stopped_is_not_run_again() {
    in_shells(&POSIX, |seat| {
        let id = seat.shell_with(
            &["--retries", "2"],
            "sh -c 'echo ran >> notes; exec sleep 600'",
        );
        seat.world.until(id, "in_progress");
        runs(seat);
        seat.pane.keys(&["C-z"]);
        let task = seat.world.settled(id);
        assert_eq!(task["status"], "uncertain", "{task:#}");
        assert!(
            task["error"]
                .as_str()
                .is_some_and(|why| why.contains("Ctrl-Z")),
            "{task:#}"
        );
        assert_eq!(notes(seat), ["ran"]);
        // The session continues.
        let id = seat.shell("kill %1; true");
        seat.world.completed(id);
    });
}

/// The rest of the command continues, and has an exit code of its own.
#[test]
fn a_part_of_a_command_that_is_stopped_is_no_end_either() {
    in_shells(&POSIX, |seat| {
        for behind in ["false", "true"] {
            let ran = notes(seat).len();
            let command = format!("sh -c 'echo ran >> notes; exec sleep 600'; {behind}");
            let id = seat.shell_with(&["--retries", "2"], &command);
            eventually(|| match notes(seat).len() {
                now if now > ran => Ok(()),
                _ => Err("nothing runs".to_owned()),
            });
            seat.pane.keys(&["C-z"]);
            let task = seat.world.settled(id);
            assert_eq!(task["status"], "uncertain", "{task:#}");
            let id = seat.shell("kill %1 || kill %2; true");
            seat.world.completed(id);
            assert_eq!(notes(seat).len(), ran + 1);
        }
    });
}

/// fish waits for a stopped command in a file that it sources, and so does the task.
#[needs(fish)]
#[test]
fn a_command_that_is_stopped_in_fish_goes_on() {
    in_shells(&[Shell::Fish], |seat| {
        let id = seat.shell("sh -c 'echo ran >> notes; exec sleep 2'; echo done >> notes");
        runs(seat);
        seat.pane.keys(&["C-z"]);
        seat.world.completed(id);
        assert_eq!(notes(seat), ["ran", "done"]);
    });
}

/// Ctrl-\ ends the command, as Ctrl-C does; it is retried only if that was asked for.
#[test]
fn a_command_that_is_quit_has_failed() {
    in_shells(&Shell::ALL, |seat| {
        let id = seat.shell("sh -c 'echo ran >> notes; exec sleep 600'");
        runs(seat);
        seat.pane.keys(&["C-\\"]);
        let task = seat.world.settled(id);
        assert_eq!(task["status"], "failed", "{task:#}");
        let why = task["error"].as_str().unwrap_or_default();
        assert!(why.contains("code 131"), "{why}");
        assert_eq!(notes(seat), ["ran"]);
    });
}

/// The files of a job that are gone, or that cannot be written, prove nothing about its command: it
/// is not run again.
#[test]
fn a_command_that_breaks_what_tells_of_its_end_is_not_run_again() {
    thread::scope(|scope| {
        for shell in Shell::installed() {
            scope.spawn(move || is_run_once(shell, |spool| format!("rm -rf {spool}")));
        }
        // It can open no file any more, and goes on.
        if Shell::Dash.is_installed() {
            scope.spawn(|| is_run_once(Shell::Dash, |_| "ulimit -n 3".to_owned()));
        }
    });
}

fn is_run_once(shell: Shell, breaks: impl Fn(&str) -> String) {
    let world = World::new();
    world.session("one", shell);
    let _daemon = world.daemon();
    world.session_is("one", "idle");
    let ran = text(&world.path("work/ran"));
    let breaks = breaks(&text(&world.data().join("spool")));
    let command = format!("echo ran >> {ran}; {breaks}; true");
    let id = world.shell_with(&["--retries", "2"], &command);
    let task = world.settled(id);
    // If somebody makes the directory again in time, its code is known after all.
    let status = task["status"].as_str().unwrap_or_default();
    assert!(
        matches!(status, "uncertain" | "completed"),
        "{shell:?}: {task:#}"
    );
    assert_eq!(world.lines("ran"), ["ran"], "{shell:?}: {task:#}");
}
