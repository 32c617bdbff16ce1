//! Content, names and output that have a meaning for a shell, for tmux or for a terminal.

use crate::harness::{Pane, Shell, World, in_each_shell};

/// What no listing may print unchanged, because a terminal would obey it.
fn assert_tame(what: &str, bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
    let wild: Vec<char> = text
        .chars()
        .filter(|c| {
            (c.is_control() && *c != '\n' && *c != '\t')
                || ('\u{202a}'..='\u{202e}').contains(c)
                || ('\u{2066}'..='\u{2069}').contains(c)
        })
        .collect();
    assert!(wild.is_empty(), "{what} prints {wild:?}:\n{text:?}");
}

#[test]
fn commands_arrive_as_they_are() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    let cases = [
        ("-n", None),
        ("echo semicolon\\;", Some("semicolon;\n")),
        ("echo end;", Some("end\n")),
        (
            "echo '%s %d %%' '#{pane_id}' '#(touch leaked)' \"$((1 + 1))\"",
            Some("%s %d %% #{pane_id} #(touch leaked) 2\n"),
        ),
        (
            "printf '%s' '\u{1b}[201~\u{1b}[31m\u{7}\u{9b}x'",
            Some("\u{1b}[201~\u{1b}[31m\u{7}\u{9b}x"),
        ),
        ("echo 'a\rb'", Some("a\rb\n")),
        ("echo 'tab\there'", Some("tab\there\n")),
        (
            "echo '\u{3}\u{4}\u{1a}\u{8}\u{7f}'",
            Some("\u{3}\u{4}\u{1a}\u{8}\u{7f}\n"),
        ),
        ("echo grüße 日本 \u{1f980}", Some("grüße 日本 \u{1f980}\n")),
        ("  echo indented", Some("indented\n")),
        ("echo !! !x", Some("!! !x\n")),
        ("~/no-such-program; echo $?", None),
    ];
    for (command, expected) in cases {
        let id = world.shell(command);
        let task = world.settled(id);
        assert_eq!(task["content"], command);
        if let Some(expected) = expected {
            assert_eq!(task["status"], "completed", "{task:#}");
            assert_eq!(
                String::from_utf8_lossy(&world.output(id)),
                expected,
                "{command:?}"
            );
        }
    }
    assert!(!world.path("work/leaked").exists());
    assert_eq!(world.run("echo next"), "next\n");
}

#[test]
fn long_commands_arrive_whole() {
    in_each_shell(|seat| {
        let world = seat.world;
        // One line of 100 KB, and a megabyte of lines.
        let line = format!("echo '{}' | wc -c", "x".repeat(100_000));
        let many = format!(
            "{}echo the-end",
            ": 0123456789012345678901234567890123456789\n".repeat(24_000)
        );
        for (command, expected) in [(line, "100001"), (many, "the-end")] {
            let output = world.assigner_with_input(
                &["--json", "send", "--shell", "--target", seat.name(), "-"],
                command.as_bytes(),
            );
            let id = output.succeeded().json()["id"].as_u64().expect("a number");
            let task = world.settled(id);
            assert_eq!(task["status"], "completed", "{}", task["error"]);
            let seen = String::from_utf8(world.output(id)).expect("text");
            assert_eq!(seen.trim(), expected);
            assert!(task["content"] == command.trim_end(), "the content differs");
        }
    });
}

#[test]
fn a_command_may_come_from_standard_input() {
    let world = World::new();
    let output = world.assigner_with_input(&["send", "--shell", "-"], b"echo one\necho two\n");
    assert_eq!(output.succeeded().text(), "task 1 queued\n");
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    assert_eq!(world.completed(1)["output"], "one\ntwo\n");
}

#[test]
fn sessions_may_have_any_name() {
    let world = World::new();
    let first = world.session("first", Shell::Bash);
    let names = [
        "sp ace",
        "do.t",
        "co:lon",
        "quo'te\"s",
        "##{pane_id}",
        "ünï 日本",
        "$HOME",
        "-dash",
        "semi;",
        "a;b",
        "%1",
        "=equal",
        "@at",
        "~",
        "per%cent",
        "##S",
        "##(touch leaked)",
        "*",
        "[a]",
        "{b}",
        "!",
        "first-2",
        "fir",
    ];
    let mut panes = vec![first];
    for name in names {
        let id = world.tmux(&[
            "new-session",
            "-d",
            "-x",
            "100",
            "-y",
            "30",
            "-P",
            "-F",
            "#{pane_id}",
            "exec env 'PS1=$ ' bash --noprofile --norc",
        ]);
        let pane = Pane::new(&world, id);
        pane.prompt();
        // `rename-session` expands formats, and accepts a name that looks like an option after
        // `--`.
        let _ = world
            .tmux_command()
            .args(["rename-session", "-t", &pane.id, "--", name])
            .output();
        panes.push(pane);
    }
    let _daemon = world.daemon();
    let before: Vec<String> = panes.iter().map(Pane::screen).collect();
    for pane in &panes {
        let name = pane.format("#{session_name}");
        eprintln!("in {name:?}");
        let id = world.shell_with(&[&format!("--target={name}")], "echo $TMUX_PANE");
        let task = world.completed(id);
        assert_eq!(task["output"], format!("{}\n", pane.id), "{name}");
        assert_eq!(task["session"], name.as_str());
    }
    for (pane, before) in panes.iter().zip(before) {
        assert_ne!(pane.screen(), before);
    }
    let sessions = world.json(&["sessions"]);
    assert_eq!(
        sessions.as_array().map(Vec::len),
        Some(panes.len()),
        "{sessions:#}"
    );
    assert_tame(
        "sessions",
        &world.assigner(&["sessions"]).succeeded().stdout,
    );
    assert!(!world.path("work/leaked").exists());
}

#[test]
fn listings_print_no_control_characters() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let wild = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\r\u{8}\u{202e}\u{2066}\u{0b}\u{7f}";
    let daemon = world.daemon();
    let bad = world.shell_with(
        &[
            "-e",
            &format!("WILD={wild}"),
            "--prereq",
            &format!("printf '%s\\n' '{wild}'; false"),
            "-b",
            &format!("b{wild}"),
        ],
        &format!(": '{wild}'"),
    );
    // An agent gets a paste, which such a text could end.
    world.assigner(&["send", "--", wild]).refused(2);
    let text: String = wild.chars().filter(|char| !char.is_control()).collect();
    let prompt = world.send(&["--", &format!("a{text}")]);
    let target = world.shell_with(&[&format!("--target=no{wild}")], "true");
    let task = world.settled(bad);
    assert_eq!(task["status"], "failed", "{task:#}");
    let printing = world.shell(&format!("printf '%s' '{wild}'; false"));
    world.settled(printing);
    world.reason(prompt);
    world.reason(target);
    for id in [bad, prompt, target, printing] {
        let id = id.to_string();
        for command in ["show", "explain", "history"] {
            let output = world.assigner(&[command, &id]).succeeded();
            assert_tame(command, &output.stdout);
        }
        // JSON escapes them.
        for command in ["show", "explain", "history"] {
            let output = world.assigner(&["--json", command, &id]).succeeded();
            let text = String::from_utf8(output.stdout).expect("text");
            assert!(
                !text.contains('\u{1b}') && !text.contains('\u{7}'),
                "{command}"
            );
        }
    }
    for command in ["list", "sessions", "status"] {
        assert_tame(command, &world.assigner(&[command]).succeeded().stdout);
    }
    let wait = world.assigner(&["wait", &bad.to_string()]);
    assert_tame("wait", wait.stderr.as_bytes());
    assert_tame("wait", &wait.stdout);
    assert_tame("log", daemon.log().as_bytes());
}

/// Every line in the log is the daemon's: no content can fake one.
#[test]
fn log_lines_cannot_be_forged() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let daemon = world.daemon();
    let forged = "x\nFORGED completed task=99";
    let ids = [
        world.shell_with(&["--prereq", &format!("false # {forged}")], "true"),
        world.shell_with(&["--prereq", &format!("echo '{forged}'; false")], "true"),
        world.shell_with(&["-w", &format!("/no/{forged}")], "true"),
        world.shell(&format!("echo '{forged}'; false")),
    ];
    for id in ids {
        world.settled(id);
    }
    let log = daemon.log();
    assert!(!log.lines().any(|line| line.starts_with("FORGED")), "{log}");
    let listed = world.assigner(&["list"]).succeeded().text();
    assert!(
        !listed.lines().any(|line| line.starts_with("FORGED")),
        "{listed}"
    );
    let history = world.assigner(&["history", "1"]).succeeded().text();
    assert!(
        !history.lines().any(|line| line.starts_with("FORGED")),
        "{history}"
    );
}

/// Errors repeat what a person typed, and a terminal must not obey them either.
#[test]
fn errors_print_no_control_characters() {
    let world = World::new();
    let wild = "x\u{1b}]0;owned\u{7}\u{9b}31m";
    let cases: [&[&str]; 5] = [
        &["send", "--shell", "-w", &format!("/{wild}"), "true"],
        &["send", "--shell", "-e", wild, "true"],
        &["run", "--policy", &format!("/{wild}.wasm")],
        &["--config", &format!("/{wild}"), "list"],
        &["--data-dir", &format!("/proc/{wild}"), "list"],
    ];
    for args in cases {
        let output = world.assigner(args);
        assert_tame("stderr", output.stderr.as_bytes());
        assert_tame("stdout", &output.stdout);
    }
}
