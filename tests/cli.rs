//! What the commands print: the shapes that scripts rely on, and good behaviour.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::{Shell, World, assert_calm, finish, program, text};

/// Asserts that an object has these names, whatever else it has.
#[track_caller]
fn has(object: &Value, names: &[&str]) {
    for name in names {
        assert!(object.get(name).is_some(), "no {name} in {object:#}");
    }
}

#[test]
fn json_shapes_are_stable() {
    let world = World::new();
    let dir = world.mkdir("shape");
    world.session_in("one", Shell::Bash, &dir);
    let answer = world.json(&[
        "send", "--shell", "-w", &dir, "-e", "K=v", "-b", "main", "--prereq", "true", "-p", "7",
        "--", "echo out",
    ]);
    assert_eq!(answer, json!({"id": 1, "status": "pending"}));
    let pending = world.show(1);
    assert_eq!(pending["session"], Value::Null);
    assert_eq!(pending["exit_code"], Value::Null);
    assert_eq!(pending["output"], Value::Null);
    assert_eq!(pending["assigned_at"], Value::Null);
    assert_eq!(pending["completed_at"], Value::Null);

    let daemon = world.daemon();
    let task = world.completed(1);
    has(
        &task,
        &[
            "id",
            "kind",
            "content",
            "status",
            "priority",
            "session",
            "exit_code",
            "output",
            "error",
            "created_at",
            "assigned_at",
            "completed_at",
            "context",
            "prerequisites",
            "attempts",
        ],
    );
    assert_eq!(task["kind"], "command");
    assert_eq!(task["content"], "echo out");
    assert_eq!(task["priority"], 7);
    assert_eq!(task["prerequisites"], json!(["true"]));
    assert_eq!(
        task["context"],
        json!({"working_dir": dir, "git_branch": "main", "env": {"K": "v"}})
    );
    for name in ["created_at", "assigned_at", "completed_at"] {
        let time = task[name].as_str().expect("a time");
        time.parse::<jiff::Timestamp>().expect("a time in UTC");
    }
    let attempt = &task["attempts"][0];
    has(
        attempt,
        &[
            "number",
            "session",
            "status",
            "exit_code",
            "error",
            "policy",
            "rankings",
        ],
    );
    assert_eq!(attempt["number"], 1);
    assert_eq!(attempt["session"], "one");
    assert_eq!(attempt["status"], "completed");
    assert_eq!(attempt["exit_code"], 0);
    has(&attempt["policy"], &["name", "version", "sha256"]);
    assert_eq!(
        attempt["rankings"][0]["terms"].as_array().map(Vec::len),
        Some(1),
        "{attempt:#}"
    );

    let listed = world.json(&["list"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    assert_eq!(listed[0]["id"], 1);
    assert_eq!(listed[0]["status"], "completed");
    assert_eq!(world.json(&["ls"]), listed);

    let session = world.session_is("one", "idle");
    has(
        &session,
        &[
            "name",
            "provider",
            "status",
            "current_dir",
            "git_branch",
            "env",
            "current_task",
        ],
    );
    assert_eq!(session["env"], json!({"K": "v"}));

    let status = world.json(&["status"]);
    has(&status["daemon"], &["running", "pid", "uptime", "policy"]);
    assert_eq!(status["daemon"]["pid"], daemon.pid());
    assert_eq!(status["daemon"]["policy"]["failures"], 0);
    assert_eq!(
        status["tasks"],
        json!({"pending": 0, "assigned": 0, "in_progress": 0, "waiting_input": 0,
            "completed": 1, "failed": 0, "cancelled": 0, "uncertain": 0})
    );
    assert_eq!(status["sessions"]["idle"], 1);

    // The task that a session runs is its current one.
    let running = world.shell("while test ! -e go; do sleep 0.02; done");
    world.until(running, "in_progress");
    let session = world
        .json(&["sessions"])
        .as_array()
        .and_then(|all| all.first().cloned())
        .expect("a session");
    assert_eq!(session["current_task"], running, "{session}");
    world.mkdir("shape");
    File::create(format!("{dir}/go")).expect("a file");
    world.completed(running);
}

#[test]
fn everything_answers_without_a_daemon() {
    let world = World::new();
    // Nothing is there yet: the answers are empty, not errors.
    assert_eq!(world.json(&["list"]), json!([]));
    assert_eq!(world.json(&["sessions"]), json!([]));
    let status = world.json(&["status"]);
    assert_eq!(status["daemon"]["running"], false);
    world.assigner(&["list"]).succeeded();
    world.assigner(&["status"]).succeeded();
    let id = world.shell("true").to_string();
    for command in ["show", "explain", "history", "output"] {
        world.assigner(&[command, &id]).succeeded();
        world.json(&[command, &id]);
    }
    let reason = world.json(&["explain", &id]);
    assert!(
        reason["reason"]
            .as_str()
            .is_some_and(|why| why.contains("daemon")),
        "{reason}"
    );
}

/// Of a range, a command takes the tasks with which it can do something.
#[test]
fn several_tasks_are_named_by_their_range() {
    let world = World::new();
    for number in 0..6 {
        world.shell(&format!("echo {number}"));
    }
    let of = |status: &str| -> Vec<u64> {
        let listed = world.json(&["list", "--status", status]);
        let listed = listed.as_array().expect("tasks").iter();
        listed.filter_map(|task| task["id"].as_u64()).collect()
    };
    world.assigner(&["cancel", "2-3"]).succeeded();
    assert_eq!(of("cancelled"), [2, 3]);
    // Those that have ended are left out of a range, and named they are an error.
    world.assigner(&["cancel", "1-4", "6"]).succeeded();
    assert_eq!(of("cancelled"), [1, 2, 3, 4, 6]);
    let again = world.assigner(&["cancel", "1"]);
    assert_eq!(again.code, Some(1));
    world.assigner(&["retry", "1-100"]).succeeded();
    assert_eq!(of("pending"), [1, 2, 3, 4, 5, 6]);
    world.assigner(&["cancel", "--all"]).succeeded();
    assert_eq!(of("pending"), [0; 0]);
    let waited = world.assigner(&["wait", "2-4"]);
    assert_eq!(waited.code, Some(1));
    let shown = waited.text();
    assert_eq!(shown.lines().count(), 3, "{shown}");
    let wrong = world.assigner(&["cancel", "4-2"]).refused(2);
    assert!(wrong.stderr.contains("write 2-4"), "{wrong:?}");
}

/// As the README has it.
#[test]
fn the_status_line_of_tmux_shows_what_waits() {
    let world = World::new();
    let _one = world.session("one", Shell::Bash);
    world.shell("echo one");
    world.shell("echo two");
    let readme = include_str!("../README.md");
    let line = readme
        .lines()
        .find(|line| line.contains("set -g status-right"));
    let file = world.path("status.conf");
    fs::write(&file, line.expect("the line of the README")).expect("written");
    world.tmux(&["source-file", &text(&file)]);
    // A server without a client fills in no status line, so its command runs here.
    let option = world.tmux(&["show-options", "-gv", "status-right"]);
    let command = option.strip_prefix("#(assigner ");
    let command = command.and_then(|rest| rest.strip_suffix(')'));
    let command = command.unwrap_or_else(|| panic!("a command: {option}"));
    let shown = || {
        let mut shell = world.command("sh");
        shell
            .args(["-c", &format!("\"$0\" {command}"), program()])
            .env("ASSIGNER_DATA_DIR", world.data());
        finish(&mut shell, b"").succeeded().text()
    };
    assert_eq!(shown(), "2 open\n");
    world.assigner(&["cancel", "1"]).succeeded();
    assert_eq!(shown(), "1 open\n");
}

#[test]
fn a_line_of_a_persons_own_shows_the_state() {
    let world = World::new();
    for number in 0..3 {
        world.shell(&format!("echo {number}"));
    }
    world.assigner(&["cancel", "1"]).succeeded();
    let line = |template: &str| world.assigner(&["status", "--format", template]);
    let shown = line("{pending} of {open}, {cancelled?{cancelled} gone}{failed?, {failed} failed}");
    assert_eq!(shown.succeeded().text(), "2 of 2, 1 gone\n");
    // What is named wrongly is told, with what was meant.
    let wrong = line("{pendin}").refused(2);
    assert!(
        wrong.stderr.contains("did you mean `pending`?"),
        "{wrong:?}"
    );
    let both = world.assigner(&["--json", "status", "--format", "{open}"]);
    both.refused(2);
}

#[test]
fn lists_filter_and_limit() {
    let world = World::new();
    for number in 0..5 {
        world.shell(&format!("echo {number}"));
    }
    world.assigner(&["cancel", "1", "2"]).succeeded();
    let ids = |args: &[&str]| -> Vec<u64> {
        world
            .json(args)
            .as_array()
            .expect("an array")
            .iter()
            .filter_map(|task| task["id"].as_u64())
            .collect()
    };
    assert_eq!(ids(&["list", "--status", "cancelled"]), [1, 2]);
    assert_eq!(ids(&["list", "--status", "pending"]), [3, 4, 5]);
    assert_eq!(ids(&["list", "-n", "2"]), [4, 5]);
    assert_eq!(
        ids(&["list", "--status", "cancelled", "--status", "pending"]),
        [1, 2, 3, 4, 5]
    );
    let wrong = world.assigner(&["list", "--status", "nonsense"]);
    assert_eq!(wrong.code, Some(2));
}

/// `assigner list | head` closes the pipe early.
#[test]
fn a_closed_pipe_is_no_panic() {
    let world = World::new();
    for _ in 0..20 {
        world.shell(&"x".repeat(5_000));
    }
    let commands: [&[&str]; 11] = [
        &["list"],
        &["--json", "list"],
        &["show", "1"],
        &["--json", "show", "1"],
        &["history", "1"],
        &["explain", "1"],
        &["status"],
        &["sessions"],
        &["man"],
        &["completions", "bash"],
        &["--help"],
    ];
    for args in commands {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = world
            .binary()
            .args(args)
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .expect("a program that starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_calm(&stderr);
        assert!(
            !stderr.to_lowercase().contains("pipe"),
            "{args:?}: {stderr}"
        );
        assert_ne!(output.status.code(), Some(101), "{args:?}");
    }
    // A full disk is an error, and is reported.
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    let output = world
        .binary()
        .args(["list"])
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .expect("a program that starts");
    assert_calm(&String::from_utf8_lossy(&output.stderr));
    assert_ne!(output.status.code(), Some(0));
    assert_ne!(output.status.code(), Some(101));
    assert!(!output.stderr.is_empty());
}

#[test]
fn help_version_and_pages() {
    let world = World::new();
    for args in [
        &["--help"][..],
        &["-h"],
        &["--version"],
        &["send", "--help"],
    ] {
        let output = world.assigner(args).succeeded();
        assert!(!output.stdout.is_empty());
    }
    let help = world.assigner(&["--help"]).text();
    for command in [
        "run",
        "send",
        "list",
        "show",
        "output",
        "explain",
        "history",
        "sessions",
        "status",
        "wait",
        "cancel",
        "resolve",
        "stop",
        "completions",
        "man",
        "demo",
    ] {
        assert!(help.contains(command), "{command}");
    }
    assert!(
        help.contains("Exit codes") && help.contains("124"),
        "{help}"
    );
    assert!(world.assigner(&["man"]).succeeded().text().contains(".TH"));
    assert!(
        world
            .assigner(&["man", "send"])
            .succeeded()
            .text()
            .contains(".TH")
    );
    for shell in ["bash", "zsh", "fish"] {
        let script = world.assigner(&["completions", shell]).succeeded().text();
        assert!(script.contains("assigner"));
        let program = Shell::ALL
            .into_iter()
            .find(|known| known.program() == shell)
            .expect("a shell");
        if program.is_installed() {
            finish(world.command(shell).arg("-n"), script.as_bytes()).succeeded();
        }
    }
    assert_eq!(world.assigner(&["completions", "tcsh"]).code, Some(2));
    // None of these needs a data directory.
    assert!(!world.data().exists());
}

#[test]
fn who_asks_for_nothing_sees_the_state_and_what_to_do_next() {
    let world = World::new();
    let shown = world.assigner(&[]).succeeded().text();
    for says in [
        "daemon    not running",
        "assigner run",
        "assigner send --wait",
        "assigner help",
    ] {
        assert!(shown.contains(says), "{says}: {shown}");
    }
    assert_eq!(world.json(&[])["daemon"]["running"], false);
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    let shown = world.assigner(&[]).succeeded().text();
    assert!(shown.contains("assigner sessions"), "{shown}");
}

#[test]
fn words_that_are_guessed_are_taken_or_suggested() {
    let world = World::new();
    for (typed, meant) in [
        (&["sned", "x"][..], "'send'"),
        (&["lst"], "'list'"),
        (&["send", "--prioritiy", "1", "x"], "'--priority'"),
    ] {
        let refused = world.assigner(typed).refused(2);
        assert!(refused.stderr.contains(meant), "{}", refused.stderr);
    }
    world.assigner(&["add", "--shell", "true"]).succeeded();
    assert!(world.assigner(&["ps"]).succeeded().text().contains("true"));
    assert_eq!(world.assigner(&["log", "1"]).succeeded().stdout, b"");
    world.assigner(&["kill", "1"]).succeeded();
    world.assigner(&["restart", "1"]).succeeded();
    world.assigner(&["rm", "1"]).succeeded();
}

#[test]
fn several_words_are_one_command_or_one_prompt() {
    let world = World::new();
    let content = |words: &[&str]| {
        let id = world.send(words);
        world.show(id)["content"].clone()
    };
    assert_eq!(
        content(&["--shell", "--", "ls", "-la", "src"]),
        "ls -la src"
    );
    assert_eq!(content(&["fix", "the", "bug"]), "fix the bug");
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    let words = ["printf", "<%s>", "a b", "it's", "$HOME", "*", "", "é\n"];
    let sent = world.assigner(&[&["send", "--wait", "--shell", "--"], &words[..]].concat());
    let printed = String::from_utf8(sent.stdout).expect("text");
    assert_eq!(printed, "<a b><it's><$HOME><*><><é\n>");
}

#[test]
fn colours_are_for_terminals() {
    let world = World::new();
    world.shell("true");
    for command in [&["list"][..], &["status"], &["show", "1"]] {
        let plain = world.assigner(command).succeeded();
        assert!(!plain.stdout.contains(&0x1b), "{command:?}");
        let asked = world
            .assigner(&[&["--color", "never"], command].concat())
            .succeeded();
        assert_eq!(asked.stdout, plain.stdout);
    }
    let coloured = world.assigner(&["--color", "always", "list"]).succeeded();
    assert!(coloured.stdout.contains(&0x1b));
    let json = world
        .assigner(&["--color", "always", "--json", "list"])
        .succeeded();
    assert!(!json.stdout.contains(&0x1b));
}

/// The program starts in a directory that no longer exists.
#[test]
fn a_lost_current_directory() {
    let world = World::new();
    let dir = world.mkdir("lost");
    let mut command = world.command("sh");
    command
        .env("ASSIGNER_DATA_DIR", world.data())
        .env("ASSIGNER_TMUX_SOCKET", world.socket())
        .arg0("sh")
        .args([
            "-c",
            "cd \"$1\" && rmdir \"$1\" && exec \"$2\" send --shell true",
            "sh",
            &dir,
        ])
        .arg(program());
    let output = finish(&mut command, b"").succeeded();
    assert_eq!(output.text(), "task 1 queued\n");
}

/// Without a home there is still `--data-dir`; without either there is a clear message.
#[test]
fn a_person_without_a_home() {
    let world = World::new();
    let mut command = world.binary();
    command
        .env_remove("HOME")
        .env_remove("XDG_DATA_HOME")
        .env_remove("XDG_CONFIG_HOME");
    finish(command.args(["list"]), b"").succeeded();
    // The default is below the data home.
    let mut command = world.binary();
    command.env_remove("ASSIGNER_DATA_DIR");
    finish(command.args(["send", "--shell", "true"]), b"").succeeded();
    assert!(
        world
            .path("home/.local/share/assigner/assigner.db")
            .exists()
    );
}
