//! The daemon as a process: one at a time, stopped cleanly, patient if tmux is not there.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;

use crate::harness::{Shell, World, assert_calm, eventually, finish};

#[test]
fn a_second_daemon_says_who_is_there() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let daemon = world.daemon();
    for args in [&["run"][..], &["run", "--once"]] {
        let second = world.assigner(args).refused(4);
        assert!(
            second.stderr.contains(&daemon.pid().to_string()),
            "{}",
            second.stderr
        );
    }
    assert_eq!(world.run("echo unharmed"), "unharmed\n");
    assert_eq!(world.json(&["status"])["daemon"]["pid"], daemon.pid());
}

#[test]
fn what_a_shell_exports_does_not_stay_when_the_daemon_ends() {
    let world = World::new();
    let pane = world.session("one", Shell::Bash);
    // After the job, it does not come back to its prompt, at which its variables would be read.
    pane.line("export TOKEN=s3cret PROMPT_COMMAND='test ! -e go || sleep 300'");
    let mut daemon = world.daemon();
    let id = world.shell("touch begun; while test ! -e go; do sleep 0.02; done");
    world.file_appears("begun");
    world.touch("go");
    world.completed(id);
    let told = || {
        let entries = fs::read_dir(world.data().join("spool")).expect("the spool");
        let files = entries.map(|entry| entry.expect("an entry").path());
        let mut files = files.filter_map(|file| Some((fs::read(&file).ok()?, file)));
        files.find(|(text, _)| text.windows(6).any(|part| part == b"s3cret"))
    };
    eventually(|| told().map(|_| ()).ok_or("nothing is told".to_owned()));
    daemon.terminate();
    assert_eq!(daemon.ends(), Some(0), "{}", daemon.log());
    assert!(told().is_none(), "{:?}", told().map(|(_, file)| file));
}

#[test]
fn signals_stop_it_cleanly() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let mut daemon = world.daemon();
    assert_eq!(world.run("echo a"), "a\n");
    daemon.terminate();
    assert_eq!(daemon.ends(), Some(0), "{}", daemon.log());
    assert_calm(&daemon.log());
    assert_eq!(world.json(&["status"])["daemon"]["running"], false);

    let mut daemon = world.daemon();
    let id = world.shell("while test ! -e go; do sleep 0.02; done; echo b");
    world.until(id, "in_progress");
    daemon.interrupt();
    assert_eq!(daemon.ends(), Some(0), "{}", daemon.log());
    world.touch("go");
    let mut daemon = world.daemon();
    assert_eq!(world.completed(id)["output"], "b\n");
    world.assigner(&["stop"]).succeeded();
    assert_eq!(daemon.ends(), Some(0), "{}", daemon.log());
    world.assigner(&["stop"]).refused(4);
    // Nothing of ours stays in the user's tmux.
    eventually(
        || match world.tmux(&["list-sessions", "-F", "#{session_name}"]) {
            names if names == "one" => Ok(()),
            names => Err(names),
        },
    );
    assert_eq!(world.tmux(&["list-buffers"]), "");
}

#[test]
fn it_waits_for_a_tmux_server() {
    let world = World::new();
    let id = world.shell("echo at last");
    let daemon = world.daemon();
    daemon.logs("tmux");
    let status = world.eventually(|| {
        let status = world.json(&["status"]);
        if status["daemon"]["waiting_for"].is_null() {
            Err(status.to_string())
        } else {
            Ok(status)
        }
    });
    assert!(
        status["daemon"]["waiting_for"].to_string().contains("tmux"),
        "{status}"
    );
    let text = world.assigner(&["status"]).succeeded().text();
    assert!(text.contains("tmux"), "{text}");
    let reason = world.reason(id);
    assert!(!reason.is_empty());
    world.session("one", Shell::Bash);
    assert_eq!(world.completed(id)["output"], "at last\n");
    world.eventually(|| {
        let status = world.json(&["status"]);
        if status["daemon"]["waiting_for"].is_null() {
            Ok(())
        } else {
            Err(status.to_string())
        }
    });
    // A wait is reported once, not at each look.
    assert!(daemon.log().lines().count() < 30, "{}", daemon.log());
}

/// What tidies up directories of temporary files removes the socket of a server that lives. Nothing ends
/// with it, and the way back is said.
#[test]
fn a_server_whose_socket_is_gone_is_not_taken_for_one_that_has_ended() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let server = world.tmux(&["display-message", "-p", "#{pid} #{socket_path}"]);
    let (pid, socket) = server.split_once(' ').expect("a path");
    let _daemon = world.daemon();
    let id = world.shell("until [ -e over ]; do sleep 0.1; done; echo done");
    world.until(id, "in_progress");
    fs::remove_file(socket).expect("removed");
    let says = format!("its socket is gone; `kill -USR1 {pid}` makes a new one");
    eventually(
        || match world.json(&["status"])["daemon"]["waiting_for"].to_string() {
            said if said.contains(&says) => Ok(()),
            said => Err(said),
        },
    );
    let pid = rustix::process::Pid::from_raw(pid.parse().expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::USR1).expect("signalled");
    world.touch("over");
    let task = world.completed(id);
    assert_eq!(task["output"], "done\n");
    assert_eq!(task["attempts"].as_array().map(Vec::len), Some(1));
}

/// A server may live on without sessions; its socket is there.
#[test]
fn a_server_without_sessions_is_no_server_without_a_socket() {
    let world = World::new();
    world.session("one", Shell::Bash);
    world.tmux(&["set-option", "-s", "exit-empty", "off"]);
    let daemon = world.daemon();
    daemon.logs("watching");
    world.session_is("one", "idle");
    world.tmux(&["kill-session", "-t", "one"]);
    eventually(
        || match world.json(&["status"])["daemon"]["waiting_for"].to_string() {
            said if said.contains("start one with") => Ok(()),
            said => Err(said),
        },
    );
    world.session("two", Shell::Bash);
    world.completed(world.shell("true"));
}

#[test]
fn signals_stop_it_while_it_waits_for_tmux() {
    let world = World::new();
    let mut daemon = world.daemon();
    daemon.terminate();
    assert_eq!(daemon.ends(), Some(0), "{}", daemon.log());
    assert_calm(&daemon.log());
}

#[test]
fn values_of_variables_are_not_logged() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let daemon = world.daemon_with(&["-vv"]);
    let value = "correct-horse-battery";
    let variable = format!("TOKEN={value}");
    let good = world.shell_with(&["-e", &variable], "true");
    let bad = world.shell_with(&["-e", &variable], "false");
    let refused = world.shell_with(&["-e", &variable, "--prereq", "false"], "true");
    world.completed(good);
    world.settled(bad);
    world.settled(refused);
    world.json(&["sessions"]);
    let log = daemon.log();
    assert!(log.contains("task=1"), "{log}");
    assert!(!log.contains(value), "{log}");
    let history = world.assigner(&["history", "1"]).succeeded().text();
    assert!(!history.contains(value), "{history}");
}

#[test]
fn the_data_directory_is_private() {
    let world = World::with_data_dir("a/new/directory");
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    world.run("echo x");
    let mode =
        |path: &std::path::Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    assert_eq!(mode(world.data()), 0o700);
    let mut seen = 0;
    for entry in fs::read_dir(world.data()).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            seen += 1;
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        } else {
            assert_eq!(mode(&path), 0o700, "{}", path.display());
        }
    }
    assert!(seen > 0);
}

/// A name is looked up where `tmux -L` looks.
#[test]
fn a_server_is_named_as_with_tmux_l() {
    let world = World::new();
    let tmux = |args: &[&str]| {
        finish(
            world
                .command("tmux")
                .args(["-f", "/dev/null", "-L", "named"])
                .args(args),
            b"",
        )
    };
    tmux(&[
        "new-session",
        "-d",
        "-s",
        "there",
        "exec env 'PS1=$ ' bash --noprofile --norc",
    ])
    .succeeded();
    let id = world.shell("echo by name");
    let output = world.assigner(&["--tmux-socket", "named", "run", "--once"]);
    tmux(&["kill-server"]).succeeded();
    output.succeeded();
    let task = world.show(id);
    assert_eq!(task["session"], "there", "{task:#}");
    assert_eq!(task["output"], "by name\n");
}

/// The paths in the job's script are the user's choice.
#[test]
fn data_directories_may_have_any_name() {
    {
        let name = "we ird'\"#{pane_id}%s;$HOME`x`\\é*?[a]&|()!!~";
        let world = World::with_data_dir(name);
        for shell in Shell::installed() {
            world.session(shell.program(), shell);
        }
        let _daemon = world.daemon();
        for shell in Shell::installed() {
            let id = world.shell_with(&["--target", shell.program()], "echo fine");
            let task = world.settled(id);
            assert_eq!(task["output"], "fine\n", "{name:?}: {task:#}");
            assert_eq!(task["status"], "completed");
        }
        assert!(world.data().join("assigner.db").exists());
    }
    // No typed line can contain such a name: it is refused, and nothing is created.
    let world = World::with_data_dir("new\nline");
    world.assigner(&["send", "--shell", "true"]).refused(2);
    assert!(!world.data().exists());
}

/// The options mean the same as the environment variables, and override them.
#[test]
fn options_win_over_the_environment() {
    let world = World::new();
    let other = world.mkdir("other data");
    world
        .assigner(&["--data-dir", &other, "send", "--shell", "true"])
        .succeeded();
    world
        .assigner(&["send", "--shell", "true", "--data-dir", &other])
        .succeeded();
    assert!(world.path("other data/assigner.db").exists());
    assert!(!world.data().join("assigner.db").exists());
    let listed = world.json(&["--data-dir", &other, "list"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
}

#[test]
fn a_queue_whose_files_are_moved_is_neither_served_nor_begun_anew() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let mut daemon = world.daemon();
    world.session_is("one", "idle");
    let done = world.completed(world.shell("echo before"));
    let waits = world.shell_with(&["--delay", "10h"], "echo later");
    let (database, moved) = (world.data().join("assigner.db"), world.data().join("moved"));
    fs::rename(&database, &moved).expect("moved");
    assert_eq!(daemon.ends(), Some(5));
    let log = daemon.log();
    assert!(log.contains("is no longer there"), "{log}");
    // Nothing is queued where nobody would look for it.
    for args in [&["send", "--shell", "true"][..], &["list"], &["run"]] {
        let said = world.assigner(args).refused(5).stderr;
        assert!(
            said.contains("is missing, but a queue has been here"),
            "{args:?}: {said}"
        );
    }
    assert!(!database.exists());
    // Put back, it is as it was.
    fs::rename(&moved, &database).expect("put back");
    assert_eq!(world.show(done_id(&done))["output"], "before\n");
    assert_eq!(world.show(waits)["status"], "pending");
    let mut daemon = world.daemon();
    world.completed(world.shell("echo after"));
    // Emptied, it is not a new one either.
    File::options()
        .write(true)
        .open(&database)
        .and_then(|file| file.set_len(0))
        .expect("emptied");
    assert_eq!(daemon.ends(), Some(5));
    assert!(daemon.log().contains("was emptied"), "{}", daemon.log());
    world.assigner(&["send", "--shell", "true"]).refused(5);
}

fn done_id(task: &serde_json::Value) -> u64 {
    task["id"].as_u64().expect("an id")
}
