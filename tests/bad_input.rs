//! Mistakes that people make: one clear line, the right exit code, and nothing lost.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::harness::{Shell, World, assert_calm, finish, text};

/// Asserts that nothing was queued.
fn nothing_queued(world: &World) {
    let listed = world.json(&["list"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(0), "{listed}");
}

#[test]
fn a_directory_that_does_not_exist() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let missing = text(&world.path("no/such"));
    let output = world.assigner(&["--json", "send", "--shell", "-w", &missing, "touch ran"]);
    if output.code == Some(0) {
        // The task is accepted, because the directory may be created before it runs; if it is not,
        // the task fails.
        let id = output.json()["id"].as_u64().expect("a number");
        let _daemon = world.daemon();
        let task = world.settled(id);
        assert_eq!(task["status"], "failed", "{task:#}");
        assert!(task["error"].to_string().contains("no/such"), "{task:#}");
        assert!(world.history(id).iter().any(|row| row.contains("no/such")));
        assert_eq!(world.run("echo next"), "next\n");
    } else {
        let output = output.refused(2);
        assert!(output.stderr.contains(&missing), "{}", output.stderr);
        nothing_queued(&world);
    }
    assert!(!world.path("work/ran").exists());
}

#[test]
fn a_directory_is_meant_from_where_the_sender_stands() {
    let world = World::new();
    world.mkdir("work/below");
    let id = world.shell_with(&["-w", "below/../below/."], "pwd");
    let below = text(&world.path("work/below"));
    assert_eq!(world.show(id)["context"]["working_dir"], below.as_str());
    // A file is not a directory.
    world.touch("file");
    let output = world.assigner(&["send", "--shell", "-w", "file", "true"]);
    if output.code == Some(0) {
        world.session("one", Shell::Bash);
        let _daemon = world.daemon();
        let task = world.settled(2);
        assert_eq!(task["status"], "failed", "{task:#}");
    } else {
        output.refused(2);
    }
}

#[test]
fn a_policy_that_is_none() {
    let world = World::new();
    let cases: [(&str, &[u8]); 5] = [
        ("text.wasm", b"this is not wasm"),
        ("empty.wasm", b""),
        ("core.wasm", b"\0asm\x01\0\0\0"),
        ("component.wasm", b"\0asm\x0d\0\x01\0"),
        ("cut.wasm", b"\0asm\x0d\0\x01\0\x01\xff\xff"),
    ];
    for (name, bytes) in cases {
        let path = world.path(name);
        fs::write(&path, bytes).expect("a file");
        let output = world
            .assigner(&["run", "--policy", &text(&path)])
            .refused(6);
        assert!(output.stderr.contains(name), "{}", output.stderr);
    }
    let output = world
        .assigner(&["run", "--policy", "/no/such.wasm"])
        .refused(6);
    assert!(output.stderr.contains("/no/such.wasm"), "{}", output.stderr);
    world
        .assigner(&["run", "--policy", "no-such-name"])
        .refused(6);
    let directory = world.mkdir("directory.wasm");
    world.assigner(&["run", "--policy", &directory]).refused(6);
    world.assigner(&["run", "--policy", ""]).refused(6);
}

#[test]
fn variables_that_are_none() {
    let world = World::new();
    for value in [
        "NOTHING",
        "=x",
        "1A=x",
        "A B=x",
        "A-B=x",
        "",
        "A;touch leaked=x",
        "ä=x",
    ] {
        let output = world.assigner(&["send", "--shell", "-e", value, "true"]);
        assert_eq!(output.code, Some(2), "{value:?}: {output:?}");
        assert_calm(&output.stderr);
        assert!(!output.stderr.is_empty());
    }
    nothing_queued(&world);
}

#[test]
fn commands_that_are_none() {
    let world = World::new();
    for content in ["", "   ", "\n\t\n"] {
        for kind in [&["send", "--shell", "--"][..], &["send", "--"]] {
            world.assigner(&[kind, &[content]].concat()).refused(2);
        }
    }
    world.assigner_with_input(&["send", "-"], b"").refused(2);
    world
        .assigner_with_input(&["send", "-"], b"bad \xff\xfe bytes")
        .refused(2);
    world
        .assigner_with_input(&["send", "--shell", "-"], b"nul \0 byte")
        .refused(2);
    let huge = vec![b'x'; 10 * 1024 * 1024 + 1];
    for args in [&["send", "-"][..], &["send", "--shell", "-"]] {
        let output = world.assigner_with_input(args, &huge).refused(2);
        assert!(output.stderr.len() < 1_000, "{}", output.stderr.len());
    }
    let output = finish(
        world
            .binary()
            .args(["send", "--shell"])
            .arg(OsStr::from_bytes(b"echo \xff")),
        b"",
    );
    assert_eq!(output.code, Some(2), "{output:?}");
    assert_calm(&output.stderr);
    let output = finish(
        world
            .binary()
            .args(["send", "--shell", "true", "-w"])
            .arg(OsStr::from_bytes(b"/tmp/\xff")),
        b"",
    );
    assert_eq!(output.code, Some(2), "{output:?}");
    assert_calm(&output.stderr);
    nothing_queued(&world);
}

/// JSON has no place for the bytes of such a path, but every path has a name in it.
#[test]
fn a_path_that_is_not_utf_8_is_named_in_json() {
    let world = World::new();
    world.mkdir("home/.config/assigner/agents");
    let directory = world.path("home/.config/assigner/agents");
    let odd = directory.join(OsStr::from_bytes(b"odd\xff.toml"));
    fs::write(&odd, "name = 1").expect("a profile");
    for args in [&["agents", "check"][..], &["agents", "list"]] {
        let mut command = world.binary();
        command.arg("--json").args(args);
        if args.contains(&"check") {
            command.arg(&odd);
        }
        let output = finish(&mut command, b"");
        assert!(output.text().contains("odd\u{fffd}.toml"), "{output:?}");
        assert_calm(&output.stderr);
    }
}

#[test]
fn numbers_that_are_none() {
    let world = World::new();
    world.shell("true");
    let wrong: [&[&str]; 15] = [
        &["show", "x"],
        &["show", "-1"],
        &["show", "99999999999999999999"],
        &["show"],
        &["output", "1.5"],
        &["wait", "one"],
        &["wait", "1", "--timeout", "soon"],
        &["send", "--shell", "-p", "high", "true"],
        &["send", "--shell", "-p", "99999999999", "true"],
        &["send", "--shell", "--retries", "-1", "true"],
        &["send", "--shell", "--timeout", "-1", "true"],
        &["send", "--shell", "--timeout", "0", "true"],
        &["resolve", "1"],
        &["resolve", "1", "--done", "--fail"],
        &["no-such-command"],
    ];
    for args in wrong {
        let output = world.assigner(args);
        assert_eq!(output.code, Some(2), "{args:?}: {output:?}");
        assert_calm(&output.stderr);
        assert!(output.stdout.is_empty(), "{output:?}");
    }
    for (args, words) in [
        (&["show", "x"][..], "it is not a number such as `12`"),
        (
            &["show", "9223372036854775808"],
            "there is none with such a number",
        ),
        (
            &["send", "--shell", "--after", "9223372036854775808", "true"],
            "there is none with such a number",
        ),
        (
            &["send", "--shell", "-p", "99999999999", "true"],
            "it is a whole number from -2147483648 to 2147483647",
        ),
        (
            &["send", "--shell", "--retries", "99999999999", "true"],
            "it is a whole number from 0 to 4294967295",
        ),
    ] {
        let said = world.assigner(args).refused(2).stderr;
        assert!(said.contains(words), "{said}");
    }
    for command in ["show", "output", "explain", "history", "cancel", "wait"] {
        for id in ["99", "0", "9223372036854775807", "18446744073709551615"] {
            let output = world.assigner(&[command, id]);
            assert!(
                matches!(output.code, Some(1 | 2)),
                "{command} {id}: {output:?}"
            );
            assert_calm(&output.stderr);
            assert!(!output.stderr.is_empty());
        }
    }
    world.assigner(&["resolve", "--done", "99"]).refused(1);
    assert_eq!(world.json(&["list"]).as_array().map(Vec::len), Some(1));
}

#[test]
fn a_data_directory_that_cannot_be() {
    let world = World::new();
    world.touch("file");
    let below = text(&world.path("work/file/data"));
    for dir in [below.as_str(), "/proc/no/such", "/dev/null"] {
        let commands: [&[&str]; 5] = [
            &["send", "--shell", "true"],
            &["list"],
            &["run"],
            &["status"],
            &["wait", "1"],
        ];
        for args in commands {
            let output = world
                .assigner(&[&["--data-dir", dir], args].concat())
                .refused(5);
            assert!(output.stderr.contains(dir), "{}", output.stderr);
        }
    }
}

/// Replaces the mode of a file or directory.
fn with_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
}

#[test]
fn a_data_directory_that_others_can_write() {
    let world = World::new();
    world.shell("true");
    for mode in [0o777, 0o770, 0o1777] {
        with_mode(world.data(), mode);
        for args in [&["list"][..], &["send", "--shell", "true"], &["run"]] {
            let said = world.assigner(args).refused(5).stderr;
            assert!(said.contains("chmod go-w"), "{said}");
            assert!(said.contains(&text(world.data())), "{said}");
        }
    }
    with_mode(world.data(), 0o700);
    assert_eq!(world.json(&["list"]).as_array().map(Vec::len), Some(1));
}

#[test]
fn a_configuration_that_others_can_write() {
    let world = World::new();
    let config = world.path("shared.toml");
    fs::write(&config, "").expect("written");
    let args = ["--config", &*text(&config), "list"];
    with_mode(&config, 0o644);
    world.assigner(&args).succeeded();
    with_mode(&config, 0o646);
    let said = world.assigner(&args).refused(2).stderr;
    assert!(said.contains("chmod go-w"), "{said}");
}

#[test]
fn links_in_the_place_of_our_files_are_not_followed() {
    let world = World::new();
    world.session("one", Shell::Bash);
    world.shell("true");
    let victim = world.path("victim");
    fs::write(&victim, "precious").expect("written");
    let spool = world.data().join("spool");
    for name in ["nudge", "1.run", "2.run", "2.exit", "2.out"] {
        let link = spool.join(name);
        let _ = fs::remove_file(&link);
        symlink(&victim, &link).expect("a link");
    }
    let id = world.shell("true");
    {
        let _daemon = world.daemon();
        world.settled(id);
    }
    let lock = world.data().join("daemon.lock");
    fs::remove_file(&lock).expect("no daemon has it");
    symlink(&victim, &lock).expect("a link");
    let said = world.assigner(&["run", "--once"]).refused(5).stderr;
    assert!(said.contains("daemon.lock"), "{said}");
    assert_eq!(fs::read(&victim).expect("it"), b"precious");
}

#[test]
fn files_that_never_end_or_never_begin() {
    let world = World::new();
    let pipe = world.path("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    let pipe = text(&pipe);
    for (file, what) in [
        ("/dev/zero", "a device"),
        (pipe.as_str(), "a pipe"),
        ("/", "a directory"),
    ] {
        for args in [
            &["--config", file, "list"][..],
            &["policy", "test", "default", file],
            &["send", "--batch", file],
        ] {
            let said = world.assigner(args).refused(2).stderr;
            assert!(said.contains(what), "{args:?}: {said}");
            assert!(said.contains(file), "{args:?}: {said}");
        }
        world.assigner(&["policy", "inspect", file]).refused(6);
    }
    // What has no end on standard input is refused by its length.
    let mut command = world.command("sh");
    command.args(["-c", "exec \"$0\" send --batch - </dev/zero"]);
    command.arg(world.binary().get_program());
    let said = finish(&mut command, b"").refused(2).stderr;
    assert!(said.contains("longer than"), "{said}");
    nothing_queued(&world);
}

#[test]
fn names_of_sessions_that_are_none() {
    let world = World::new();
    let long = "x".repeat(100_000);
    for name in ["", " ", &long] {
        for args in [
            &["pause", name][..],
            &["resume", name],
            &["label", name, "team=web"],
            &["send", "--shell", "--target", name, "true"],
        ] {
            let said = world.assigner(args).refused(2).stderr;
            let why = ["name of a session", "--target is empty"];
            let is_said = why.iter().any(|why| said.contains(why));
            assert!(is_said, "{said:.300}");
            assert!(said.len() < 3_000, "{} bytes", said.len());
        }
    }
    nothing_queued(&world);
}

#[test]
fn output_that_cannot_be_written() {
    let world = World::new();
    let into_full = |args: &[&str]| {
        let mut command = world.command("sh");
        command.args(["-c", "exec \"$0\" \"$@\" >/dev/full"]);
        command.arg(world.binary().get_program()).args(args);
        command.env("ASSIGNER_DATA_DIR", world.data());
        finish(&mut command, b"").refused(7).stderr
    };
    for args in [
        &["send", "--shell", "true"][..],
        &["--json", "send", "--shell", "true"],
    ] {
        let said = into_full(args);
        // Who repeats it would do the work twice.
        assert!(said.contains("is queued"), "{said}");
    }
    assert_eq!(world.json(&["list"]).as_array().map(Vec::len), Some(2));
    into_full(&["list"]);
}

#[test]
fn a_database_that_is_none_of_ours() {
    let world = World::new();
    world.shell("true");
    let path = world.data().join("assigner.db");
    crate::queue::database(&world)
        .pragma_update(None, "user_version", 9999)
        .expect("a version");
    for args in [
        &["list"][..],
        &["send", "--shell", "true"],
        &["run"],
        &["run", "--once"],
    ] {
        let output = world.assigner(args).refused(5);
        assert!(output.stderr.contains("newer"), "{}", output.stderr);
    }
    // Nothing was changed: the newer version finds its own data.
    let database = crate::queue::database(&world);
    let version: i64 = database
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .expect("a version");
    assert_eq!(version, 9999);
    let tasks: i64 = database
        .query_row("SELECT count(*) FROM tasks", (), |row| row.get(0))
        .expect("a count");
    assert_eq!(tasks, 1);
    drop(database);

    for file in ["assigner.db-wal", "assigner.db-shm"] {
        let _ = fs::remove_file(world.data().join(file));
    }
    let garbage = b"this is no database, it only says so ".repeat(500);
    fs::write(&path, &garbage).expect("a file");
    for args in [&["list"][..], &["send", "--shell", "true"], &["run"]] {
        world.assigner(args).refused(5);
    }
    assert!(fs::read(&path).expect("a file") == garbage);
    fs::remove_file(&path).expect("a file");
    fs::create_dir(&path).expect("a directory");
    world.assigner(&["list"]).refused(5);
}

#[test]
fn a_configuration_that_is_wrong() {
    let world = World::new();
    let path = text(&world.path("config.toml"));
    for content in ["not = = toml", "[policy", "no_such_setting = 1\n", "\u{0}"] {
        fs::write(&path, content).expect("a file");
        for args in [&["send", "--shell", "true"][..], &["run"]] {
            let output = world.assigner(&[&["--config", &path], args].concat());
            assert_eq!(output.code, Some(2), "{content:?}: {output:?}");
            assert!(output.stderr.contains("config.toml"), "{}", output.stderr);
            assert_calm(&output.stderr);
        }
    }
    // What only looks at the queue goes on, and says so.
    let listed = world.assigner(&["--config", &path, "list"]).succeeded();
    assert!(listed.stderr.contains("config.toml"), "{listed:?}");
    world
        .assigner(&["--config", "/no/such.toml", "list"])
        .refused(2);
}

#[test]
fn a_tmux_that_is_not_installed() {
    let world = World::new();
    let output = finish(
        world
            .binary()
            .env("PATH", "/no/such")
            .args(["run", "--once"]),
        b"",
    )
    .refused(3);
    assert!(output.stderr.contains("tmux"), "{}", output.stderr);
    // Queueing needs no tmux.
    finish(
        world
            .binary()
            .env("PATH", "/no/such")
            .args(["send", "--shell", "true"]),
        b"",
    )
    .succeeded();
}

/// A prerequisite that never ends is stopped by the task's time-out.
#[test]
fn a_prerequisite_that_hangs() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    let id = world.shell_with(
        &["--prereq", "sleep 300", "--prereq-timeout", "1s"],
        "touch ran",
    );
    let task = world.settled(id);
    assert_eq!(task["status"], "failed", "{task:#}");
    assert!(!world.path("work/ran").exists());
    assert_eq!(world.run("echo next"), "next\n");
}

#[test]
fn a_label_has_a_value() {
    let world = World::new();
    for args in [
        &["label", "api", "team="][..],
        &["send", "--shell", "--label", "team=", "--", "true"],
        &["send", "--shell", "--require-label", "team= ", "--", "true"],
    ] {
        let refused = world.assigner(args).refused(2);
        assert!(
            refused.stderr.contains("a label has a value"),
            "{}",
            refused.stderr
        );
    }
}
