//! A policy in the shadow of another: it decides, and nothing comes of it.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use super::{
    are_moved, differences, different, files, fits_together, is_private, is_the_same, number,
    record, replay, saboteur, sessions, started, stop, torn,
};
use crate::harness::{Shell, World, eventually, text};
use crate::policy_switching::{built_in, is_live, policy, put, put_variants, variant};
use crate::queue::each_once;

/// Returns what `status` says about the shadow.
fn shadow(world: &World) -> Value {
    world.json(&["status"])["daemon"]["shadow"].clone()
}

/// Waits until a number of the shadow is at least this large.
#[track_caller]
fn shadow_has(world: &World, name: &str, least: u64) -> Value {
    eventually(|| {
        let shadow = shadow(world);
        match shadow[name].as_u64() {
            Some(count) if count >= least => Ok(shadow),
            _ => Err(format!("not {least} {name}: {shadow:#}")),
        }
    })
}

#[test]
fn a_shadow_decides_and_nothing_comes_of_it() {
    let world = World::new();
    let app = sessions(&world);
    let copy = variant("shadow");
    let path = world.path("shadow.wasm");
    fs::write(&path, &copy.bytes).expect("a file");
    let path = text(&path);
    let daemon = started(
        &world,
        &[
            "--shadow",
            &path,
            "--shadow-set",
            "same-directory=0",
            "--shadow-set",
            "branch=100",
        ],
    );
    let branch = || world.session_entry("branch").expect("a session")["completed"].clone();
    let completed = branch();
    let at_first = shadow(&world);
    assert_eq!(at_first["different"], 0, "{at_first:#}");
    let mut ids = Vec::new();
    for number in 1..=3 {
        // The session that the shadow would take is never taken.
        let id = torn(&world, &app, "true");
        let task = world.show(id);
        let sha256 = &task["attempts"][0]["policy"]["sha256"];
        assert_eq!(*sha256, built_in().sha256.as_str(), "{task:#}");
        ids.push(id);
        let seen = shadow_has(&world, "different", number);
        assert_eq!(seen["policy"]["sha256"], copy.sha256.as_str(), "{seen:#}");
        assert_eq!(seen["failures"], 0, "{seen:#}");
        assert!(seen["last_failure"].is_null(), "{seen:#}");
        assert!(seen["skipped"].is_u64(), "{seen:#}");
        assert!(number <= seen["rounds"].as_u64().expect("a number"));
        assert!(number <= seen["tasks"].as_u64().expect("a number"));
    }
    let live = is_live(&world, &built_in());
    assert_eq!(live["failures"], 0, "{live:#}");
    assert!(live["in_use"].is_null(), "{live:#}");
    assert_eq!(branch(), completed);

    let report = eventually(|| {
        let output = world.assigner(&["--json", "policy", "shadow"]);
        match output.code {
            Some(0) if different(&output.json()).len() == 3 => Ok(output.json()),
            _ => Err(format!("not three: {output:?}")),
        }
    });
    are_moved(&report, &ids);
    fits_together(&report);
    assert_eq!(report["policy"]["sha256"], copy.sha256.as_str());
    let recorded = &report["recorded"][0]["sha256"];
    assert_eq!(*recorded, built_in().sha256.as_str(), "{report:#}");
    let report = world.json(&["policy", "shadow", "--limit", "1"]);
    assert!(differences(&report).len() <= 1, "{report:#}");
    let text = world.assigner(&["policy", "shadow"]).succeeded().text();
    for word in ["dir", "branch"] {
        assert!(text.contains(word), "no {word}: {text}");
    }
    let text = world.assigner(&["status"]).succeeded().text();
    assert!(text.contains("shadow"), "{text}");
    // Rounds were kept only because the decisions differ.
    assert!(!files(&world.data().join("shadow")).is_empty());
    is_private(&world.data().join("shadow"));
    assert!(record(&world).is_empty());
    stop(&world, daemon);
    // What it said can be read afterwards.
    are_moved(&world.json(&["policy", "shadow"]), &ids);
    let daemon = started(&world, &[]);
    assert!(shadow(&world).is_null());
    stop(&world, daemon);
}

#[test]
fn a_shadow_that_agrees_has_nothing_to_say() {
    let world = World::new();
    let app = sessions(&world);
    let daemon = started(&world, &["--shadow", "default"]);
    for number in 1..=3 {
        torn(&world, &app, "true");
        let seen = shadow_has(&world, "tasks", number);
        assert_eq!(seen["different"], 0, "{seen:#}");
        assert_eq!(seen["failures"], 0, "{seen:#}");
    }
    // The live policy may change; the shadow stays the same.
    let [copy] = put_variants(&world, ["copy"]);
    world.json(&["policy", "use", "copy"]);
    torn(&world, &app, "true");
    let seen = shadow_has(&world, "tasks", 4);
    assert_eq!(seen["different"], 0, "{seen:#}");
    let default = built_in().sha256;
    assert_eq!(seen["policy"]["sha256"], default.as_str(), "{seen:#}");
    is_live(&world, &copy);
    stop(&world, daemon);

    let refused: [(&[&str], &str); 2] = [
        (&["--shadow", "/no/such.wasm"], "/no/such.wasm"),
        (
            &["--shadow", "default", "--shadow-set", "no-such=1"],
            "no-such",
        ),
    ];
    for (args, words) in refused {
        let output = world.assigner(&[&["run"][..], args].concat()).refused(6);
        assert!(output.stderr.contains(words), "{args:?}: {output:?}");
    }
}

/// It stops with an error in every round, never answers, or wants all the memory.
#[test]
fn a_shadow_that_fails_disturbs_nothing() {
    for (name, words) in [
        ("trap", "stopped with an error"),
        ("endless", "did not answer within 100 ms"),
        ("hog", "wanted more than 64 MiB of memory"),
    ] {
        eprintln!("{name}");
        let world = World::new();
        world.session("one", Shell::Bash);
        put(&world, name, &saboteur(name));
        let daemon = world.daemon_with(&["--shadow", name]);
        let ids: Vec<u64> = (0..10)
            .map(|number| world.shell(&format!("echo {number} >> log")))
            .collect();
        for id in &ids {
            world.completed(*id);
        }
        each_once(&world, &ids, "log");
        for id in &ids {
            let task = world.show(*id);
            let attempt = &task["attempts"][0];
            let default = built_in().sha256;
            assert_eq!(attempt["policy"]["sha256"], default.as_str(), "{task:#}");
        }
        let seen = shadow_has(&world, "failures", 1);
        let failure = seen["last_failure"].as_str().unwrap_or_default();
        assert!(failure.contains(words), "{seen:#}");
        assert!(!failure.contains('\n'), "{seen:#}");
        let live = policy(&world);
        assert_eq!(live["failures"], 0, "{live:#}");
        assert!(live["in_use"].is_null(), "{live:#}");
        assert_eq!(world.run("echo next"), "next\n");
        stop(&world, daemon);
    }
}

/// Three sessions, a record and a shadow that lets everything wait.
#[test]
fn a_hundred_tasks_with_a_shadow() {
    let world = World::new();
    let names = ["one", "two", "three"];
    for name in names {
        world.session(name, Shell::Bash);
    }
    let shadow_set = ["--shadow", "default", "--shadow-set", "when-no-match=wait"];
    let daemon = world.daemon_with(&[&["--record"][..], &shadow_set].concat());
    for name in names {
        world.session_is(name, "idle");
    }
    let batch: String = (0..100)
        .map(|number| {
            let command = format!("echo {number} >> log");
            let task = json!({"content": command, "shell": true, "branch": "no-such-branch"});
            format!("{task}\n")
        })
        .collect();
    let answer = world
        .assigner_with_input(&["--json", "send", "--batch", "-"], batch.as_bytes())
        .succeeded()
        .json();
    let ids: Vec<u64> = answer
        .as_array()
        .expect("an array")
        .iter()
        .filter_map(|task| task["id"].as_u64())
        .collect();
    assert_eq!(ids.len(), 100);
    for id in &ids {
        world.completed(*id);
    }
    each_once(&world, &ids, "log");
    let mut went = BTreeMap::new();
    for id in &ids {
        let task = world.show(*id);
        let attempts = task["attempts"].as_array().expect("attempts");
        assert_eq!(attempts.len(), 1, "{task:#}");
        went.insert(*id, task["session"].clone());
    }
    let seen = shadow_has(&world, "different", 1);
    assert_eq!(seen["failures"], 0, "{seen:#}");
    let live = is_live(&world, &built_in());
    assert_eq!(live["failures"], 0, "{live:#}");
    stop(&world, daemon);

    let report = replay(&world, &["default"]);
    is_the_same(&report);
    let rounds = number(&report, "rounds");
    assert!(rounds >= 100 / 3, "{report:#}");
    let waiting = ["default", "--policy-set", "when-no-match=wait"];
    let report = replay(&world, &waiting);
    assert_eq!(number(&report, "now_waiting"), 100, "{report:#}");
    assert_eq!(number(&report, "rounds"), rounds, "{report:#}");
    let shadow = world.json(&["policy", "shadow"]);
    assert!(number(&shadow, "now_waiting") > 0, "{shadow:#}");
    assert_eq!(number(&shadow, "moved"), 0, "{shadow:#}");
    assert_eq!(number(&shadow, "now_assigned"), 0, "{shadow:#}");
    for report in [&report, &shadow] {
        assert!(!differences(report).is_empty(), "{report:#}");
        for difference in differences(report) {
            let id = difference["task"].as_u64().expect("a number");
            assert_eq!(difference["was"]["session"], went[&id], "{difference:#}");
            let session = &difference["would_be"]["session"];
            assert!(session.is_null(), "{difference:#}");
        }
    }
}
