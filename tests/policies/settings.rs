//! A policy's settings, and the choice of a policy that the daemon remembers.

use std::fs;

use super::{DEFAULT, install, live, sha256, stop};
use crate::harness::setup::configure;
use crate::harness::{Shell, World, text};
use crate::wat_policies;

/// Runs a task that asks for the directory of session `one`, and returns the points that the
/// session got.
fn points_for_the_directory(world: &World) -> i64 {
    world.session_is("one", "idle");
    let dir = text(&world.path("work"));
    let task = world.completed(world.shell_with(&["-w", &dir], "true"));
    task["attempts"][0]["rankings"][0]["points"]
        .as_i64()
        .unwrap_or_else(|| panic!("no points: {task:#}"))
}

#[test]
fn settings_come_from_the_configuration_and_the_command_line() {
    let world = World::new();
    world.session("one", Shell::Bash);
    configure(
        &world,
        "[policy.settings]\nsame-directory = 77\nwhen-no-match = \"wait\"\n",
    );
    let daemon = world.daemon();
    assert_eq!(points_for_the_directory(&world), 77);
    let settings = live(&world)["settings"].clone();
    assert_eq!(settings["same-directory"], 77, "{settings:#}");
    assert_eq!(settings["when-no-match"], "wait", "{settings:#}");
    stop(daemon);

    // The command line overrides them, each setting on its own.
    let daemon = world.daemon_with(&["--policy-set", "same-directory=88"]);
    assert_eq!(points_for_the_directory(&world), 88);
    let settings = live(&world)["settings"].clone();
    assert_eq!(settings["when-no-match"], "wait", "{settings:#}");
    stop(daemon);
    for value in ["when-no-match=any", "when-no-match=\"any\""] {
        let more = ["--policy-set", "min-score=0", "--policy-set", value];
        let daemon = world.daemon_with(&more);
        let settings = live(&world)["settings"].clone();
        assert_eq!(settings["when-no-match"], "any", "{value}: {settings:#}");
        assert_eq!(settings["min-score"], 0, "{value}: {settings:#}");
        assert_eq!(points_for_the_directory(&world), 77);
        stop(daemon);
    }
}

#[test]
fn a_policy_has_settings_of_its_own() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let bytes = fs::read(DEFAULT).expect("the default policy");
    for name in ["mine", "yours"] {
        install(&world, name, &bytes);
    }
    configure(
        &world,
        "[policy.settings]\nsame-directory = 77\n[policy.settings-of.mine]\nbranch = 31\n\
         [policy.settings-of.nobodys]\nno-such-setting = 1\n",
    );
    // A policy's own table replaces the other and is not merged with it.
    for (name, points) in [("mine", 100), ("yours", 77)] {
        let daemon = world.daemon_with(&["--policy", name]);
        assert_eq!(points_for_the_directory(&world), points, "{name}");
        stop(daemon);
    }
    let daemon = world.daemon_with(&["--policy", "mine", "--policy-set", "same-directory=66"]);
    assert_eq!(points_for_the_directory(&world), 66);
    let settings = live(&world)["settings"].clone();
    assert_eq!(settings["branch"], 31, "{settings:#}");
    stop(daemon);
}

#[test]
fn settings_that_are_none() {
    let world = World::new();
    let wrong = [
        ("same-direction=1", "same-direction"),
        ("same-directory=lots", "same-directory"),
        ("same-directory=\"100\"", "same-directory"),
        ("same-directory=1.5", "same-directory"),
        ("min-score=1000001", "min-score"),
        ("min-score=-1", "min-score"),
        ("min-score={}", "min-score"),
        ("when-no-match=perhaps", "when-no-match"),
        ("when-no-match=null", "when-no-match"),
    ];
    install(&world, "tiny", &wat_policies::healthy("tiny", "1.0.0"));
    for (setting, name) in wrong {
        let commands = [
            &["run"][..],
            &["policy", "inspect", "default"],
            &["policy", "check", "default"],
            &["policy", "use", "default"],
        ];
        for args in commands {
            let output = world
                .assigner(&[args, &["--policy-set", setting]].concat())
                .refused(6);
            let said = &output.stderr;
            assert!(said.contains(name), "{args:?} {setting}: {said}");
        }
    }
    let output = world
        .assigner(&["run", "--policy-set", "when-no-match=perhaps"])
        .refused(6);
    for word in ["any", "wait"] {
        assert!(output.stderr.contains(word), "{}", output.stderr);
    }
    // In the policy's own words.
    let output = world
        .assigner(&["run", "--policy", "tiny", "--policy-set", "depth=1"])
        .refused(6);
    assert!(
        output.stderr.contains("it has no settings"),
        "{}",
        output.stderr
    );
    for setting in ["min-score", "", "=1"] {
        world.assigner(&["run", "--policy-set", setting]).refused(2);
    }

    configure(&world, "[policy.settings]\nwhen-no-match = \"perhaps\"\n");
    let output = world.assigner(&["run"]).refused(6);
    assert!(output.stderr.contains("when-no-match"), "{}", output.stderr);
    for wrong in ["time = \"soon\"", "memory = \"much\"", "log-lines = -1"] {
        configure(&world, &format!("[policy]\n{wrong}\n"));
        let output = world.assigner(&["run"]).refused(2);
        assert!(output.stderr.contains("config.toml"), "{}", output.stderr);
    }
}

// ---- Choosing

#[test]
fn a_choice_is_remembered_until_it_is_taken_back() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let bytes = wat_policies::healthy("tiny", "1.0.0");
    install(&world, "tiny", &bytes);
    install(&world, "other", &wat_policies::healthy("other", "1.0.0"));
    configure(&world, "[policy]\nuse = \"other\"\n");
    let runs = |args: &[&str]| {
        let daemon = world.daemon_with(args);
        let name = live(&world)["name"].as_str().map(str::to_owned);
        stop(daemon);
        name.expect("a name")
    };
    assert_eq!(runs(&[]), "other");
    let said = world.json(&["policy", "use", "tiny"]);
    assert_eq!(said["policy"]["name"], "tiny", "{said:#}");
    assert_eq!(said["policy"]["version"], "1.0.0", "{said:#}");
    assert_eq!(said["policy"]["sha256"], sha256(&bytes), "{said:#}");
    assert_eq!(said["live"], false, "{said:#}");
    assert_eq!(runs(&[]), "tiny");
    assert_eq!(runs(&["--policy", "default"]), "default");
    assert_eq!(runs(&[]), "tiny");
    world.assigner(&["policy", "use", "--reset"]).succeeded();
    assert_eq!(runs(&[]), "other");
    world.assigner(&["policy", "use"]).refused(2);
}
