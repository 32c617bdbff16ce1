//! What a task asks for is prepared before it runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::setup::configure;
use crate::harness::tasks::failed;
use crate::harness::{Seat, Shell, World, assert_calm, in_each_shell, text};

/// Makes what `python -m venv` makes, as far as shells can tell.
fn virtual_environment(seat: &Seat<'_>) -> String {
    let venv = seat.mkdir("venv");
    seat.mkdir("venv/bin");
    let files = [
        (
            "activate",
            format!(
                "deactivate() {{\n    PATH=$_OLD_PATH\n    export PATH\n    unset VIRTUAL_ENV\n}}\n\
                 _OLD_PATH=$PATH\nVIRTUAL_ENV='{venv}'\nexport VIRTUAL_ENV\n\
                 PATH=\"$VIRTUAL_ENV/bin:$PATH\"\nexport PATH\nhash -r 2>/dev/null\n"
            ),
        ),
        (
            "activate.fish",
            format!(
                "function deactivate\n    set -gx PATH $_OLD_PATH\n    set -e VIRTUAL_ENV\nend\n\
                 set -g _OLD_PATH $PATH\nset -gx VIRTUAL_ENV '{venv}'\n\
                 set -gx PATH $VIRTUAL_ENV/bin $PATH\n"
            ),
        ),
        (
            "tool-of-venv",
            "#!/bin/sh\necho \"tool of $VIRTUAL_ENV\"\n".to_owned(),
        ),
    ];
    for (name, content) in files {
        let path = format!("{venv}/bin/{name}");
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    venv
}

#[test]
fn prerequisites_prepare_the_session_in_order() {
    in_each_shell(|seat| {
        let world = seat.world;
        let dir = text(&world.path("work").join(seat.name()));
        let venv = virtual_environment(seat);
        let quoted = "printf '%s\\n' 'a \"quoted\" $(touch leaked)' >> order\necho lines >> order";
        let prerequisites = match seat.shell {
            Shell::Fish => [
                "function greet\n    echo \"hello $argv[1], it's $WORD\"\nend",
                "set -g not_exported shared",
                "greet first >> order",
                quoted,
                "source venv/bin/activate.fish",
                "set -gx STAGE \"built here\"; echo $not_exported >> order",
            ],
            _ => [
                "greet() {\n    echo \"hello $1, it's $WORD\"\n}",
                "not_exported=shared",
                "greet first >> order",
                quoted,
                match seat.shell {
                    Shell::Dash => ". venv/bin/activate",
                    _ => "source venv/bin/activate",
                },
                "export STAGE=\"built here\"; echo $not_exported >> order",
            ],
        };
        let mut options = vec!["-w", &dir, "-e", "WORD=kept"];
        for prerequisite in prerequisites {
            options.extend(["--prereq", prerequisite]);
        }
        let id = seat.shell_with(
            &options,
            "greet second >> order; tool-of-venv; printenv VIRTUAL_ENV; printenv STAGE",
        );
        world.completed(id);
        let seen = String::from_utf8(world.output(id)).expect("text");
        assert!(
            seen.ends_with(&format!("tool of {venv}\n{venv}\nbuilt here\n")),
            "{seen:?}"
        );
        assert_eq!(
            world.lines(&format!("{}/order", seat.name())),
            [
                "hello first, it's kept",
                "a \"quoted\" $(touch leaked)",
                "lines",
                "shared",
                "hello second, it's kept",
            ]
        );
        assert!(!seat.path("leaked").exists());
        assert_eq!(
            world.show(id)["prerequisites"],
            serde_json::json!(prerequisites)
        );
        // It was the session's own shell, so a person can use the definitions too.
        assert_eq!(
            seat.run("deactivate; sh -c 'echo ${VIRTUAL_ENV-none}'"),
            "none\n"
        );
    });
}

#[test]
fn a_prerequisite_that_fails_says_how() {
    in_each_shell(|seat| {
        let world = seat.world;
        let talks = "echo the-beginning | tr a-z A-Z; seq 1 300 | sed 's/$/-of-300/'; \
                     sh -c 'exit 41'";
        let id = seat.shell_with(
            &["--prereq", "echo x >> tries", "--prereq", talks],
            "touch ran",
        );
        let task = failed(world, id, &["echo the-beginning", "41", "300-of-300"]);
        let error = task["error"].as_str().unwrap_or_default();
        // Only the last lines, not all of them.
        assert!(!error.contains("THE-BEGINNING"), "{error}");
        assert!(
            world
                .history(id)
                .iter()
                .any(|row| row.starts_with("\"failed\"") && row.contains("41")),
            "{:?}",
            world.history(id)
        );
        assert!(!seat.path("ran").exists());

        // Another attempt runs all of them again.
        let id = seat.shell_with(
            &[
                "--retries",
                "1",
                "--prereq",
                "echo x >> tries",
                "--prereq",
                "sh -c 'test -e marker || { touch marker; exit 1; }'",
            ],
            "echo ran >> ran",
        );
        let task = world.completed(id);
        assert_eq!(task["attempts"].as_array().map(Vec::len), Some(2));
        assert_eq!(task["attempts"][0]["status"], "failed", "{task:#}");
        let lines = |file: &str| world.lines(&format!("{}/{file}", seat.name()));
        assert_eq!(lines("tries"), ["x", "x", "x"]);
        assert_eq!(lines("ran"), ["ran"]);
    });
}

#[test]
fn each_prerequisite_has_its_time_and_the_command_its_own() {
    in_each_shell(|seat| {
        let world = seat.world;
        let id = seat.shell_with(
            &[
                "--prereq-timeout",
                "1s",
                "--prereq",
                "echo first >> order",
                "--prereq",
                "sleep 300",
                "--prereq",
                "echo after >> order",
            ],
            "echo command >> order",
        );
        failed(world, id, &["sleep 300", "longer"]);
        assert_eq!(world.lines(&format!("{}/order", seat.name())), ["first"]);
        assert_eq!(seat.run("echo next"), "next\n");

        // Together they take longer than each may, and longer than the command may.
        let id = seat.shell_with(
            &[
                "--prereq-timeout",
                "4s",
                "--timeout",
                "4s",
                "--prereq",
                "sleep 2.5",
                "--prereq",
                "sleep 2.5",
            ],
            "echo ran",
        );
        let task = world.completed(id);
        let output = task["output"].as_str().unwrap_or_default();
        assert!(output.ends_with("ran\n"), "{task:#}");
    });
}

#[test]
fn the_time_of_prerequisites_is_a_setting() {
    let world = World::new();
    configure(&world, "[engine]\nprerequisite-timeout = \"1s\"\n");
    for value in ["soon", "0", "-1s", ""] {
        let option = format!("--prereq-timeout={value}");
        let output = world.assigner(&["send", "--shell", &option, "--prereq", "true", "true"]);
        assert_eq!(output.code, Some(2), "{value:?}: {output:?}");
        assert_calm(&output.stderr);
    }
    assert_eq!(world.json(&["list"]), serde_json::json!([]));

    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    let id = world.shell_with(&["--prereq", "sleep 300"], "touch ran");
    failed(&world, id, &["sleep 300", "longer"]);
    assert!(!world.path("work/ran").exists());
    // The task's own value wins.
    let options = ["--prereq-timeout", "30s", "--prereq", "sleep 1.5"];
    world.completed(world.shell_with(&options, "touch ran"));
    assert!(world.path("work/ran").exists());
}
