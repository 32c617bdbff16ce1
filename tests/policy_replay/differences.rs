//! What another setting, or another policy, would have decided.

use std::collections::BTreeSet;
use std::fs;

use super::{
    BY_BRANCH, are_moved, both_are_free, differences, has_recorded, is_private, is_the_same,
    number, record, replay, saboteur, sessions, started, stop, torn,
};
use crate::harness::setup::configure;
use crate::harness::{World, assert_calm, eventually};
use crate::policy_switching::{Component, built_in, put, put_variants};
use crate::wat_policies;

#[test]
fn rounds_are_kept_where_it_was_asked_for() {
    let world = World::new();
    let app = sessions(&world);
    let daemon = started(&world, &[]);
    torn(&world, &app, "true");
    let status = world.json(&["status"]);
    assert!(status["daemon"]["recording"].is_null(), "{status:#}");
    stop(&world, daemon);
    assert!(record(&world).is_empty());
    let output = world.assigner(&["policy", "replay", "default"]).refused(1);
    assert!(output.stdout.is_empty(), "{output:?}");

    let daemon = started(&world, &["--record"]);
    torn(&world, &app, "true");
    has_recorded(&world, 1);
    let rounds = world.json(&["status"])["daemon"]["recording"]["rounds"].clone();
    torn(&world, &app, "true");
    has_recorded(&world, rounds.as_u64().expect("a number") + 1);
    let text = world.assigner(&["status"]).succeeded().text();
    assert!(text.contains("record"), "{text}");
    // A replay may run while rounds are recorded.
    is_the_same(&eventually(|| {
        let output = world.assigner(&["--json", "policy", "replay", "default"]);
        match output.code {
            Some(0) => Ok(output.json()),
            _ => Err(format!("{output:?}")),
        }
    }));
    stop(&world, daemon);
    is_private(&world.data().join("rounds"));

    let report = replay(&world, &["default"]);
    is_the_same(&report);
    assert!(number(&report, "tasks") >= 2, "{report:#}");
    let default = built_in().sha256;
    assert_eq!(report["policy"]["name"], "default", "{report:#}");
    assert_eq!(report["policy"]["sha256"], default.as_str(), "{report:#}");
    assert_eq!(report["recorded"].as_array().map(Vec::len), Some(1));
    let recorded = &report["recorded"][0];
    assert_eq!(recorded["name"], "default", "{report:#}");
    assert_eq!(recorded["sha256"], default.as_str(), "{report:#}");
    assert!(recorded["version"].is_string(), "{report:#}");
    // A replay only reads: it changes neither tasks nor the record.
    let tasks = world.json(&["status"])["tasks"].clone();
    assert_eq!(replay(&world, &["default"])["rounds"], report["rounds"]);
    assert_eq!(world.json(&["status"])["tasks"], tasks);
}

#[test]
fn another_setting_moves_tasks() {
    let world = World::new();
    let app = sessions(&world);
    let daemon = started(&world, &["--record"]);
    let first = torn(&world, &app, "echo first of two");
    // This task names nothing either, so both policies agree.
    world.completed(world.shell("true"));
    let second = torn(&world, &app, "echo second of two");
    stop(&world, daemon);

    is_the_same(&replay(&world, &["default"]));
    let report = replay(&world, &BY_BRANCH);
    are_moved(&report, &[first, second]);
    assert_eq!(number(&report, "now_waiting"), 0, "{report:#}");
    assert_eq!(number(&report, "now_assigned"), 0, "{report:#}");
    assert_eq!(number(&report, "failed_rounds"), 0, "{report:#}");
    for difference in differences(&report) {
        let one = difference["task"] == first;
        let summary = if one {
            "echo first of two"
        } else {
            "echo second of two"
        };
        assert_eq!(difference["summary"], summary, "{difference:#}");
        assert_eq!(difference["would_be"]["points"], 100, "{difference:#}");
    }
    // More points for the branch, and no fewer for the directory.
    let report = replay(&world, &["default", "--policy-set", "branch=300"]);
    are_moved(&report, &[first, second]);
    assert_eq!(report["points_gained"], 400, "{report:#}");
    // Not enough to change anything.
    let report = replay(&world, &["default", "--policy-set", "branch=99"]);
    assert_eq!(number(&report, "moved"), 0, "{report:#}");

    let args = [&["policy", "replay"][..], &BY_BRANCH].concat();
    let text = world.assigner(&args).succeeded().text();
    for id in [first, second] {
        let id = id.to_string();
        let named = text
            .split(|c: char| !c.is_ascii_digit())
            .any(|word| word == id);
        assert!(named, "task {id} is not named: {text}");
    }
    for word in ["dir", "branch", "echo first of two"] {
        assert!(text.contains(word), "no {word}: {text}");
    }
    let text = world
        .assigner(&["policy", "replay", "default"])
        .succeeded()
        .text();
    assert!(!text.contains("echo first of two"), "{text}");
}

#[test]
fn another_setting_lets_tasks_wait_or_run() {
    let world = World::new();
    let app = sessions(&world);
    let far = world.mkdir("far/away");
    let daemon = started(&world, &["--record"]);
    both_are_free(&world);
    world.completed(world.shell_with(&["-w", &app], "true"));
    let far_off = world.shell_with(&["-w", &far, "--target", "dir"], "true");
    let task = world.completed(far_off);
    assert_eq!(task["attempts"][0]["rankings"][0]["points"], 0, "{task:#}");
    stop(&world, daemon);
    let waiting = ["default", "--policy-set", "when-no-match=wait"];
    let report = replay(&world, &waiting);
    assert_eq!(number(&report, "now_waiting"), 1, "{report:#}");
    assert_eq!(number(&report, "moved"), 0, "{report:#}");
    assert_eq!(number(&report, "now_assigned"), 0, "{report:#}");
    let difference = &differences(&report)[0];
    assert_eq!(difference["task"], far_off, "{difference:#}");
    assert_eq!(difference["was"]["session"], "dir", "{difference:#}");
    assert_eq!(difference["was"]["points"], 0, "{difference:#}");
    let would_be = &difference["would_be"];
    assert!(would_be["session"].is_null(), "{difference:#}");
    let reason = would_be["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("0 of the 20 points"), "{difference:#}");

    // The other way round.
    fs::remove_dir_all(world.data().join("rounds")).expect("a record");
    let daemon = started(&world, &["--record", "--policy-set", "when-no-match=wait"]);
    both_are_free(&world);
    let nowhere = world.mkdir("no/where");
    let waits = world.shell_with(&["-w", &nowhere], "true");
    world.reason(waits);
    assert_eq!(world.run("echo next"), "next\n");
    assert_eq!(world.show(waits)["status"], "pending");
    stop(&world, daemon);
    is_the_same(&replay(&world, &["default"]));
    let any = ["default", "--policy-set", "when-no-match=any"];
    let report = replay(&world, &any);
    assert!(number(&report, "now_assigned") >= 1, "{report:#}");
    let mut seen = 0;
    for difference in differences(&report) {
        if difference["task"] != waits {
            // The other policy may have given its session away.
            continue;
        }
        seen += 1;
        let was = &difference["was"];
        assert!(was["session"].is_null(), "{difference:#}");
        let reason = was["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("0 of the 20 points"), "{difference:#}");
        let session = &difference["would_be"]["session"];
        assert!(*session == "dir" || *session == "branch", "{difference:#}");
    }
    assert_eq!(seen, number(&report, "now_assigned"), "{report:#}");
}

#[test]
fn settings_are_recorded() {
    let world = World::new();
    let app = sessions(&world);
    let mut args = vec!["--record"];
    args.extend(&BY_BRANCH[1..]);
    let daemon = started(&world, &args);
    both_are_free(&world);
    let id = world.shell_with(&["-w", &app, "-b", "topic"], "true");
    let task = world.completed(id);
    assert_eq!(task["session"], "branch", "{task:#}");
    stop(&world, daemon);
    // The configured settings are for the next run.
    configure(&world, "[policy.settings]\nbranch = 1\n");
    is_the_same(&replay(&world, &["default"]));

    let report = replay(
        &world,
        &[
            "default",
            "--policy-set",
            "same-directory=100",
            "--policy-set",
            "branch=30",
        ],
    );
    assert_eq!(number(&report, "moved"), 1, "{report:#}");
    let difference = &differences(&report)[0];
    assert_eq!(difference["task"], id, "{difference:#}");
    assert_eq!(difference["was"]["session"], "branch", "{difference:#}");
    assert_eq!(difference["was"]["points"], 100, "{difference:#}");
    assert_eq!(difference["would_be"]["session"], "dir", "{difference:#}");
    assert_eq!(difference["would_be"]["points"], 100, "{difference:#}");
}

#[test]
fn each_policy_is_recorded_by_its_name() {
    let world = World::new();
    let app = sessions(&world);
    let [copy] = put_variants(&world, ["copy"]);
    put(
        &world,
        "plain",
        &Component::from(wat_policies::healthy("plain", "3.1.4")),
    );
    let daemon = started(&world, &["--record"]);
    let first = torn(&world, &app, "true");
    world.json(&["policy", "use", "copy"]);
    let second = torn(&world, &app, "true");
    stop(&world, daemon);

    let default = built_in().sha256;
    for (name, sha256) in [("default", &default), ("copy", &copy.sha256)] {
        let report = replay(&world, &[name]);
        is_the_same(&report);
        assert_eq!(report["policy"]["sha256"], sha256.as_str(), "{report:#}");
        let recorded = report["recorded"].as_array().expect("policies");
        let hashes: BTreeSet<&str> = recorded
            .iter()
            .filter_map(|it| it["sha256"].as_str())
            .collect();
        let expected = BTreeSet::from([default.as_str(), copy.sha256.as_str()]);
        assert_eq!(hashes, expected, "{report:#}");
        assert_eq!(recorded.len(), 2, "{report:#}");
    }
    are_moved(&replay(&world, &BY_BRANCH), &[first, second]);

    // The other policy takes the first session that is free.
    let report = replay(&world, &["plain"]);
    assert_eq!(report["policy"]["name"], "plain", "{report:#}");
    assert_eq!(report["policy"]["version"], "3.1.4", "{report:#}");
    assert_eq!(number(&report, "failed_rounds"), 0, "{report:#}");
    assert_eq!(number(&report, "now_waiting"), 0, "{report:#}");
}

#[test]
fn a_policy_that_fails_is_replayed_to_the_end() {
    let world = World::new();
    let app = sessions(&world);
    put(&world, "trap", &saboteur("trap"));
    let daemon = started(&world, &["--record"]);
    torn(&world, &app, "true");
    torn(&world, &app, "true");
    stop(&world, daemon);
    let output = world.assigner(&["--json", "policy", "replay", "trap"]);
    assert_calm(&output.stderr);
    assert!(matches!(output.code, Some(0 | 1)), "{output:?}");
    let report = output.json();
    assert_eq!(
        number(&report, "failed_rounds"),
        number(&report, "rounds"),
        "{report:#}"
    );
    assert!(number(&report, "rounds") >= 2, "{report:#}");
    assert_eq!(number(&report, "moved"), 0, "{report:#}");
}
