//! `doctor` without a session: what is missing or broken is found, with what mends it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use crate::harness::setup::configure;
use crate::harness::{Output, Shell, World, finish, text};

/// What was found about each thing: its weight, and what was said with what mends it.
fn of(output: &Output, about: &str) -> Vec<(String, String)> {
    let all = output.json();
    let findings = all["findings"].as_array().expect("a list");
    let those = findings.iter().filter(|finding| finding["about"] == about);
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    those
        .map(|finding| {
            let said = format!("{} | {}", word(&finding["what"]), word(&finding["mend"]));
            (word(&finding["weight"]), said)
        })
        .collect()
}

#[track_caller]
fn found(output: &Output, about: &str, weight: &str, words: &[&str]) {
    let those = of(output, about);
    let is = |(found, said): &&(String, String)| {
        found == weight && words.iter().all(|word| said.contains(word))
    };
    assert!(
        those.iter().any(|finding| is(&finding)),
        "{about} is not {weight} with {words:?}: {those:#?}"
    );
}

/// Runs `doctor` after `change`, and expects this exit code.
#[track_caller]
fn examined(world: &World, code: i32, change: impl FnOnce(&mut Command)) -> Output {
    let mut doctor = world.binary();
    doctor.args(["--json", "doctor"]);
    change(&mut doctor);
    let output = finish(&mut doctor, b"");
    assert_eq!(output.code, Some(code), "{output:?}");
    output
}

#[test]
fn what_works_is_said_to_work() {
    let world = World::new();
    // Before anything was done there is nothing, and that is no fault.
    let none = examined(&world, 0, |_| ());
    found(&none, "tmux", "ok", &["tmux "]);
    found(&none, "tmux server", "note", &["tmux new-session"]);
    found(&none, "directory", "note", &["assigner send"]);
    found(&none, "database", "note", &["assigner send"]);
    found(&none, "daemon", "note", &["assigner run"]);
    found(&none, "policy", "ok", &["default.wasm"]);
    assert!(!world.data().exists());
    world.session("only", Shell::Bash);
    let daemon = world.daemon();
    world.run("true");
    let all = examined(&world, 0, |_| ());
    assert_eq!(all.json()["works"], true);
    for about in [
        "tmux",
        "tmux server",
        "characters",
        "directory",
        "space",
        "limits",
    ] {
        found(&all, about, "ok", &[]);
    }
    found(&all, "database", "ok", &["1 task, ", "sound"]);
    found(&all, "daemon", "ok", &[&daemon.pid().to_string()]);
    found(&all, "clock", "ok", &[]);
    found(
        &all,
        "shell",
        "ok",
        &["bash", "assigner shell install bash"],
    );
    assert_eq!(all.json()["sessions"][0]["name"], "only");
    world
        .assigner(&["shell", "install", "bash", "--yes"])
        .succeeded();
    let installed = examined(&world, 0, |_| ());
    found(&installed, "shell", "ok", &[".bashrc"]);
    let table = world.assigner(&["doctor"]).succeeded().text();
    assert!(
        table.starts_with("tmux           ok       tmux "),
        "{table}"
    );
    assert!(table.contains("\nSESSION "), "{table}");
}

#[test]
fn what_does_not_work_is_told_with_what_mends_it() {
    let world = World::new();
    world.assigner(&["send", "--shell", "true"]).succeeded();
    // A place without tmux.
    let nothing = world.mkdir("nothing");
    let without = examined(&world, 1, |doctor| {
        doctor.env("PATH", &nothing);
    });
    found(&without, "tmux", "problem", &["tmux"]);
    found(&without, "shell", "note", &["bash, zsh, fish"]);
    found(&without, "agents", "note", &[]);
    let no_letters = examined(&world, 0, |doctor| {
        doctor.env("LANG", "C");
    });
    found(&no_letters, "characters", "note", &["LANG is C", "C.UTF-8"]);
    // A socket that no system can have.
    let odd = examined(&world, 1, |doctor| {
        doctor.env("ASSIGNER_TMUX_SOCKET", world.path("x".repeat(150)));
    });
    found(&odd, "tmux server", "problem", &["--tmux-socket"]);
    configure(&world, "[policy]\nuse = 'nothing-of-that-name'\n");
    let policy = examined(&world, 1, |_| ());
    found(
        &policy,
        "policy",
        "problem",
        &["nothing-of-that-name", "policy use default.wasm"],
    );
    configure(&world, "[engine]\nexplian = 1\n");
    let config = examined(&world, 1, |_| ());
    found(
        &config,
        "configuration",
        "problem",
        &["line 2", "did you mean `explain`?", "config edit"],
    );
    fs::remove_file(world.path("home/.config/assigner/config.toml")).expect("removed");
    let profiles = world.mkdir("home/.config/assigner/agents");
    fs::write(format!("{profiles}/odd.toml"), "name = 3\n").expect("written");
    let profile = examined(&world, 1, |_| ());
    found(&profile, "profiles", "problem", &["odd.toml", "line 1"]);
    fs::remove_dir_all(profiles).expect("removed");
    // Others may write to the queue.
    let mode = |mode| fs::set_permissions(world.data(), fs::Permissions::from_mode(mode));
    mode(0o777).expect("changed");
    let open = examined(&world, 1, |_| ());
    found(&open, "directory", "problem", &["chmod go-w"]);
    mode(0o700).expect("changed");
    // What is written beside the database is part of it.
    for end in ["-wal", "-shm"] {
        let _ = fs::remove_file(world.data().join(format!("assigner.db{end}")));
    }
    fs::write(world.data().join("assigner.db"), [0xa5; 8192]).expect("written");
    let damaged = examined(&world, 1, |_| ());
    found(&damaged, "database", "problem", &["assigner repair"]);
}

#[test]
fn limits_are_told() {
    let world = World::new();
    let limited = |limits: &str| {
        let mut shell = world.command("/bin/sh");
        let line = format!("{limits} && exec \"$0\" --json doctor");
        shell.args(["-c", &line, crate::harness::program()]);
        finish(&mut shell, b"").succeeded()
    };
    let few = limited("ulimit -n 100");
    found(&few, "limits", "note", &["only 100 files", "ulimit -n"]);
    let small = limited("ulimit -f 2048");
    found(
        &small,
        "limits",
        "note",
        &["no file can be larger", "ulimit -f unlimited"],
    );
}

#[test]
fn agents_are_told_with_their_versions_and_hooks() {
    let world = World::new();
    let tools = world.mkdir("tools");
    let package = world.mkdir("package/bin");
    let script = format!("{package}/claude");
    fs::write(&script, "#!/bin/sh\nexit 1\n").expect("written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("changed");
    std::os::unix::fs::symlink(&script, format!("{tools}/claude")).expect("a link");
    let is = |version: &str| {
        let text = format!(r#"{{"name": "claude", "version": "{version}"}}"#);
        fs::write(world.path("package/package.json"), text).expect("written");
        examined(&world, 0, |doctor| {
            doctor.env("PATH", format!("{tools}:/usr/bin:/bin"));
        })
    };
    found(&is("2.1.332"), "agent", "ok", &["claude 2.1.332"]);
    let later = is("99.0.0");
    found(
        &later,
        "agent",
        "note",
        &["claude 99.0.0", "2.1.332", "more strictly"],
    );
    found(&later, "hooks", "note", &["assigner hooks install claude"]);
    world
        .assigner(&["hooks", "install", "claude", "--yes"])
        .succeeded();
    found(&is("2.1.332"), "hooks", "ok", &["claude"]);
    // Those of a program in another place.
    let settings = world.path("home/.claude/settings.json");
    let moved = fs::read_to_string(&settings).expect("settings");
    let moved = moved.replace(crate::harness::program(), "/elsewhere/assigner");
    fs::write(&settings, moved).expect("written");
    found(&is("2.1.332"), "hooks", "note", &["replaces them"]);
    fs::write(&settings, "{ no settings").expect("written");
    let broken = {
        let text = text(&settings);
        examined(&world, 1, |doctor| {
            doctor.env("PATH", format!("{tools}:/usr/bin:/bin"));
        })
        .json()["findings"]
            .to_string()
            .contains(&text)
    };
    assert!(broken);
}
