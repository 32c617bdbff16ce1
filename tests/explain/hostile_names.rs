//! Names and texts that have a meaning for a shell or a terminal.

use super::{WAIT, comes_true, do_it, first, told};
use crate::harness::{Shell, World};
use crate::policy_switching::{Component, put};
use crate::wat_policies::control;

/// Asserts that a terminal would obey nothing in a text.
#[track_caller]
fn is_harmless(text: &str) {
    let wild: Vec<char> = text
        .chars()
        .filter(|c| {
            (c.is_control() && *c != '\n' && *c != '\t')
                || ('\u{202a}'..='\u{202e}').contains(c)
                || ('\u{2066}'..='\u{2069}').contains(c)
        })
        .collect();
    assert!(wild.is_empty(), "{wild:?} in {text:?}");
    let forged = text.lines().any(|line| line.starts_with("FORGED"));
    assert!(!forged, "{text}");
}

#[test]
fn any_name_is_named() {
    let world = World::new();
    let names = [
        "quo'te\"s ünï 日本",
        "$(touch leaked)",
        "a; touch leaked",
        "-x",
    ];
    for name in names {
        world.session("plain", Shell::Bash);
        world.tmux(&["rename-session", "-t", "=plain", "--", name]);
    }
    let daemon = world.daemon();
    for name in names {
        world.session_is(name, "idle");
    }
    for name in names {
        eprintln!("{name}");
        world.assigner(&["pause", "--", name]).succeeded();
        let target = format!("--target={name}");
        let waits = world.shell_with(&[&target], "true");
        let change = first(&world, waits, &["resume"]);
        assert_eq!(change["session"], name, "{change:#}");
        let text = told(&world, waits);
        assert!(text.contains(name), "no {name}: {text}");
        is_harmless(&text);
        // The command can be copied into a shell.
        do_it(&world, &change, &["resume", "--", name]);
        comes_true(&world, waits, &change);
    }
    assert!(!world.path("work/leaked").exists());
    is_harmless(&daemon.log());
}

#[test]
fn nothing_that_is_shown_is_obeyed() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let daemon = world.daemon_with(&WAIT);
    world.session_is("one", "idle");
    let wild = "a\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\r\u{8}\u{202e}\u{2066}\u{7f}b";
    let label = format!("k={wild}");
    let branch = format!("b{wild}");
    let target = format!("--target=no{wild}");
    let dir = format!("/no/x\nFORGED{wild}");
    let cases: [&[&str]; 5] = [
        &["--require-label", &label],
        &["-b", &branch],
        &["-b", &branch, "--require-branch"],
        &[&target],
        &["-w", &dir],
    ];
    let harmless = |id: u64| {
        let reason = world.reason(id);
        assert!(!reason.is_empty());
        is_harmless(&told(&world, id));
        let output = world.assigner(&["--json", "explain", &id.to_string()]);
        let json = output.succeeded().text();
        assert!(!json.contains(['\u{1b}', '\u{7}', '\r']), "{json}");
    };
    let ids: Vec<u64> = cases
        .iter()
        .map(|options| world.shell_with(options, "touch ran"))
        .collect();
    for id in &ids {
        first(&world, *id, &[]);
        harmless(*id);
    }
    // A policy has words of its own, and the task's are just as wild.
    put(&world, "wild", &Component::from(control("wild", false)));
    drop(daemon);
    let daemon = world.daemon_with(&["--policy", "wild"]);
    let waits = world.shell_with(&["--label", &label], "touch ran");
    world.reason(waits);
    assert_eq!(world.show(waits)["status"], "pending");
    for id in ids.iter().chain([&waits]) {
        harmless(*id);
    }
    is_harmless(&daemon.log());
    assert!(!world.path("work/ran").exists());
}
