//! `policy use`, with and without a daemon.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{
    Component, built_in, history, is_live, is_refused, outcomes, policy, put, put_variants,
    replace, runs_by, variant,
};
use crate::harness::setup::configure;
use crate::harness::{Shell, World, assert_calm, eventually, stays, text};
use crate::wat_policies::healthy;

#[test]
fn a_policy_is_used_when_the_command_says_so() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let [first, second] = put_variants(&world, ["first", "second"]);
    let third = variant("third");
    let path = Path::new(&world.mkdir("elsewhere")).join("third.wasm");
    fs::write(&path, &third.bytes).expect("a file");
    let path = text(&path);
    let daemon = world.daemon();
    is_live(&world, &built_in());

    let output = world.assigner(&["policy", "use", "first"]).succeeded();
    let said = output.text();
    assert!(said.contains("the daemon uses first now"), "{said}");
    // Nothing is left to wait for.
    assert_eq!(policy(&world)["sha256"], first.sha256.as_str());
    runs_by(&world, &first);
    for (name, component) in [
        ("second.wasm", &second),
        ("first", &first),
        (path.as_str(), &third),
    ] {
        let answer = world.json(&["policy", "use", name]);
        assert_eq!(answer["live"], true, "{answer:#}");
        assert_eq!(answer["policy"]["name"], "default", "{answer:#}");
        let version = answer["policy"]["version"].as_str();
        assert!(version.is_some_and(|it| !it.is_empty()), "{answer:#}");
        let sha256 = &answer["policy"]["sha256"];
        assert_eq!(*sha256, component.sha256.as_str(), "{answer:#}");
        let stem = name.strip_suffix(".wasm").unwrap_or(name);
        let source = answer["source"].as_str().expect("a source");
        assert!(source.contains(stem), "{answer:#}");
        let live = policy(&world);
        assert_eq!(live["sha256"], component.sha256.as_str(), "{live:#}");
        assert_eq!(live["source"], answer["source"], "{live:#}");
        assert_eq!(live["failures"], 0, "{live:#}");
        assert!(live["refused"].is_null(), "{live:#}");
        runs_by(&world, component);
    }
    // From now on its file is watched, and the previous one's no longer.
    put(&world, "first", &variant("nobody's"));
    let fourth = variant("fourth");
    replace(Path::new(&path), &fourth.bytes);
    is_live(&world, &fourth);
    stays(|| policy(&world)["sha256"].clone());
    assert_eq!(policy(&world)["sha256"], fourth.sha256.as_str());

    let answer = world.json(&["policy", "use", "second"]);
    assert_eq!(answer["live"], true, "{answer:#}");
    let listed = world.json(&["policy", "list"]);
    let listed = listed.as_array().expect("an array");
    assert_eq!(listed[0]["name"], "default", "{listed:#?}");
    let live: Vec<&Value> = listed.iter().filter(|it| it["live"] == true).collect();
    assert_eq!(live.len(), 1, "{listed:#?}");
    assert_eq!(live[0]["sha256"], second.sha256.as_str(), "{listed:#?}");

    let answer = world.json(&["policy", "use", "default"]);
    assert_eq!(answer["policy"]["sha256"], built_in().sha256.as_str());
    runs_by(&world, &built_in());
    assert_calm(&daemon.log());
}

#[test]
fn what_cannot_be_used_changes_nothing() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let [first, second] = put_variants(&world, ["first", "second"]);
    let half = Component::from(first.bytes[..first.bytes.len() / 2].to_vec());
    put(&world, "half", &half);
    put(&world, "plain", &Component::from(healthy("plain", "1.0.0")));
    let refusals: [(&[&str], &str); 10] = [
        (&["no-such-policy"], "no-such-policy"),
        (&["./no-such-policy.wasm"], "no-such-policy"),
        (&["half"], "damaged or only half written"),
        (&["second", "--policy-set", "min-score=high"], "min-score"),
        (&["second", "--policy-set", "min-score=\"50\""], "min-score"),
        (&["second", "--policy-set", "min-score=-1"], "min-score"),
        (&["second", "--policy-set", "min-score=1000001"], "1000000"),
        (
            &["default", "--policy-set", "when-no-match=never"],
            "when-no-match",
        ),
        (&["second", "--policy-set", "no-such=1"], "no-such"),
        (&["plain", "--policy-set", "a=1"], "no settings"),
    ];
    let refused = |args: &[&str], words: &str| {
        let args = [&["policy", "use"][..], args].concat();
        let output = world.assigner(&args).refused(6);
        assert!(output.stderr.contains(words), "{args:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{args:?}: {output:?}");
    };
    let is_still = |component: &Component| {
        let live = eventually(|| match policy(&world) {
            live if live["sha256"] == component.sha256.as_str() => Ok(live),
            live => Err(format!("another one is live: {live:#}")),
        });
        assert_eq!(live["failures"], 0, "{live:#}");
        runs_by(&world, component);
    };
    for (args, words) in refusals {
        refused(args, words);
    }
    let wrong: [&[&str]; 3] = [
        &["second", "--policy-set", "min-score"],
        &["second", "--policy-set", "=5"],
        &[],
    ];
    for args in wrong {
        let output = world.assigner(&[&["policy", "use"][..], args].concat());
        assert_eq!(output.code, Some(2), "{args:?}: {output:?}");
        assert_calm(&output.stderr);
    }
    let daemon = world.daemon();
    is_still(&built_in());
    world.json(&["policy", "use", "first"]);
    is_live(&world, &first);
    for (args, words) in refusals {
        refused(args, words);
        assert_eq!(policy(&world)["sha256"], first.sha256.as_str());
        is_refused(&world, "");
        is_still(&first);
    }
    // None of it is remembered either.
    daemon.kill();
    let daemon = world.daemon();
    is_still(&first);
    world.json(&["policy", "use", "second"]);
    is_live(&world, &second);
    assert_calm(&daemon.log());
}

#[test]
fn without_a_daemon_the_next_one_uses_it() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let [first, _] = put_variants(&world, ["first", "second"]);
    let answer = world.json(&["policy", "use", "second"]);
    assert_eq!(answer["live"], false, "{answer:#}");
    let said = world
        .assigner(&["policy", "use", "no-such-policy"])
        .refused(6);
    assert!(said.stderr.contains("no-such-policy"), "{said:?}");
    let answer = world.json(&[
        "policy",
        "use",
        "first",
        "--policy-set",
        "min-score=33",
        "--policy-set",
        "when-no-match=\"wait\"",
    ]);
    assert_eq!(answer["live"], false, "{answer:#}");
    assert_eq!(answer["policy"]["sha256"], first.sha256.as_str());

    let rows = history(&world);
    let expected = ["use waiting", "use refused", "use waiting"];
    assert_eq!(outcomes(&rows), expected, "{rows:#?}");
    let daemon = world.daemon();
    let live = is_live(&world, &first);
    assert_eq!(live["settings"]["min-score"], 33, "{live:#}");
    assert_eq!(live["settings"]["when-no-match"], "wait", "{live:#}");
    runs_by(&world, &first);
    let rows = history(&world);
    assert_eq!(outcomes(&rows)[3..], ["start live"], "{rows:#?}");

    // A crash forgets nothing.
    daemon.kill();
    let mut daemon = world.daemon();
    let live = is_live(&world, &first);
    assert_eq!(live["settings"]["min-score"], 33, "{live:#}");
    world.assigner(&["stop"]).succeeded();
    assert_eq!(daemon.ends(), Some(0), "{}", daemon.log());
    let answer = world.json(&["policy", "use", "--reset"]);
    assert_eq!(answer["live"], false, "{answer:#}");
    let _daemon = world.daemon();
    let live = is_live(&world, &built_in());
    assert_ne!(live["settings"]["min-score"], 33, "{live:#}");
    runs_by(&world, &built_in());
}

/// A choice that no daemon has tried yet must not keep the next one from starting.
#[test]
fn a_choice_that_breaks_before_it_is_tried_is_refused() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let [first, _] = put_variants(&world, ["first", "second"]);
    let daemon = world.daemon();
    world.json(&["policy", "use", "first"]);
    is_live(&world, &first);
    drop(daemon);
    world.json(&["policy", "use", "second"]);
    let file = world.path("home/.config/assigner/policies/second.wasm");
    replace(&file, b"broken");
    let daemon = world.daemon();
    is_live(&world, &first);
    runs_by(&world, &first);
    let rows = history(&world);
    let outcomes = outcomes(&rows);
    assert!(outcomes.contains(&"use refused".to_owned()), "{rows:#?}");
    daemon.logs("cannot be used");
    drop(daemon);
    // A policy that has already decided is different: nobody wants another one without being told.
    let file = world.path("home/.config/assigner/policies/first.wasm");
    replace(&file, b"broken");
    let refused = world.assigner(&["run"]);
    assert_eq!(refused.code, Some(6), "{refused:?}");
}

/// `run --policy`, then `policy use`, then the configuration, then the one that is built in.
#[test]
fn who_says_which_policy_it_is() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let [first, second, third] = put_variants(&world, ["first", "second", "third"]);
    configure(&world, "[policy]\nuse = \"first\"\n");
    let daemon = world.daemon();
    is_live(&world, &first);
    world.json(&["policy", "use", "second"]);
    is_live(&world, &second);
    daemon.kill();
    let daemon = world.daemon();
    is_live(&world, &second);
    runs_by(&world, &second);
    drop(daemon);
    let daemon = world.daemon_with(&["--policy", "third"]);
    is_live(&world, &third);
    runs_by(&world, &third);
    drop(daemon);
    // That applied to one run.
    let daemon = world.daemon();
    is_live(&world, &second);

    let answer = world.json(&["policy", "use", "--reset"]);
    assert_eq!(answer["live"], true, "{answer:#}");
    assert_eq!(answer["policy"]["sha256"], first.sha256.as_str());
    assert_eq!(policy(&world)["sha256"], first.sha256.as_str());
    runs_by(&world, &first);
    drop(daemon);
    let daemon = world.daemon();
    is_live(&world, &first);
    drop(daemon);
    configure(&world, "");
    let daemon = world.daemon();
    is_live(&world, &built_in());
    drop(daemon);
    let _daemon = world.daemon_with(&["--policy", "default"]);
    is_live(&world, &built_in());
    // A daemon with a policy from a flag also obeys `policy use`.
    world.json(&["policy", "use", "second"]);
    assert_eq!(policy(&world)["sha256"], second.sha256.as_str());
}
