//! Past decisions, told as they were made.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{HOLD, entry, explained, is_in_the_way, told};
use crate::harness::setup::configure;
use crate::harness::tasks::failed;
use crate::harness::{Shell, World};

/// Returns the sessions of a task that was assigned, as `explain` lists them.
fn considered(explained: &Value) -> BTreeMap<String, Value> {
    let sessions = explained["sessions"].as_array().expect("sessions");
    sessions
        .iter()
        .map(|entry| {
            let name = entry["session"].as_str().expect("a name").to_owned();
            let kept = ["points", "terms", "obstacle"].map(|key| entry[key].clone());
            (name, Value::from(kept.to_vec()))
        })
        .collect()
}

/// Asserts that `explain` shows the rankings of a task's last attempt.
#[track_caller]
fn agrees(explained: &Value, task: &Value) {
    let attempts = task["attempts"].as_array().expect("attempts");
    let rankings = attempts.last().expect("an attempt")["rankings"].as_array();
    for ranking in rankings.expect("rankings") {
        let entry = entry(explained, ranking["session"].as_str().expect("a name"));
        assert_eq!(entry["points"], ranking["points"], "{explained:#}");
        assert_eq!(entry["terms"], ranking["terms"], "{explained:#}");
        assert!(entry["obstacle"].is_null(), "{explained:#}");
    }
    let changes = &explained["changes"];
    let none = changes.is_null() || *changes == json!([]);
    assert!(none, "nothing is to be changed any more: {explained:#}");
}

#[test]
fn what_was_decided_is_told_as_it_was_then() {
    let world = World::new();
    configure(
        &world,
        "[sessions]\nexclude = [\"mgr-*\"]\nprotect = [\"prod-*\"]\n",
    );
    let app = world.mkdir("srv/app");
    let srv = world.mkdir("srv");
    world.session_in("exact", Shell::Bash, &app);
    let parent = world.session_in("parent", Shell::Bash, &srv);
    let own = world.session_in("own", Shell::Bash, &app);
    for name in ["corner", "mgr-1", "prod-1"] {
        world.session_in(name, Shell::Bash, &app);
    }
    let daemon = world.daemon();
    for name in ["exact", "parent", "own", "corner", "prod-1"] {
        world.session_is(name, "idle");
    }
    own.line("cat");
    world.session_is("own", "busy");
    world.assigner(&["pause", "corner"]).succeeded();
    world.eventually(|| match world.session_entry("corner") {
        Some(entry) if entry["paused"] == true => Ok(()),
        other => Err(format!("not paused: {other:?}")),
    });
    let id = world.shell_with(&["-w", &app], HOLD);
    let task = world.until(id, "in_progress");
    assert_eq!(task["session"], "exact", "{task:#}");

    let check = |status: &str| {
        let said = explained(&world, id);
        assert_eq!(said["status"], status, "{said:#}");
        let same = json!([{"name": "same directory", "points": 100}]);
        assert_eq!(entry(&said, "exact")["points"], 100, "{said:#}");
        assert_eq!(entry(&said, "exact")["terms"], same, "{said:#}");
        let above = json!([{"name": "parent directory", "points": 50}]);
        assert_eq!(entry(&said, "parent")["points"], 50, "{said:#}");
        assert_eq!(entry(&said, "parent")["terms"], above, "{said:#}");
        is_in_the_way(&said, "own", &["cat"]);
        is_in_the_way(&said, "corner", &["paused"]);
        is_in_the_way(&said, "mgr-1", &["exclude"]);
        is_in_the_way(&said, "prod-1", &["protected"]);
        agrees(&said, &world.show(id));
        let text = told(&world, id);
        for word in [
            "exact",
            "same directory",
            "parent",
            "own",
            "cat",
            "corner",
            "paused",
            "mgr-1",
        ] {
            assert!(text.contains(word), "no {word}: {text}");
        }
        considered(&said)
    };
    let then = check("in_progress");
    // Things change, but what was recorded stays.
    parent.line("cd /");
    own.keys(&["C-c"]);
    world.assigner(&["resume", "corner"]).succeeded();
    world.session_is("own", "idle");
    world.eventually(|| match world.session_entry("parent") {
        Some(entry) if entry["current_dir"] == "/" => Ok(()),
        other => Err(format!("not in /: {other:?}")),
    });
    assert_eq!(check("in_progress"), then);
    std::fs::write(format!("{app}/go"), "").expect("a file");
    world.completed(id);
    assert_eq!(check("completed"), then);
    world.tmux(&["kill-session", "-t", "=exact"]);
    world.eventually(|| match world.session_entry("exact") {
        None => Ok(()),
        Some(entry) => Err(format!("still there: {entry}")),
    });
    assert_eq!(check("completed"), then);
    drop(daemon);
    assert_eq!(check("completed"), then);
}

#[test]
fn the_last_of_several_tries_is_told() {
    let world = World::new();
    let app = world.mkdir("srv/app");
    world.session_in("app", Shell::Bash, &app);
    world.session("other", Shell::Bash);
    let _daemon = world.daemon();
    for name in ["app", "other"] {
        world.session_is(name, "idle");
    }
    let bad = ["-w", app.as_str(), "--retries", "1"];
    let id = world.shell_with(&bad, "sh -c 'exit 9'");
    let task = failed(&world, id, &[]);
    let attempts = task["attempts"].as_array().expect("attempts");
    assert_eq!(attempts.len(), 2, "{task:#}");
    let said = explained(&world, id);
    assert_eq!(said["status"], "failed", "{said:#}");
    let reason = said["reason"].as_str().unwrap_or_default();
    assert!(reason.contains('9'), "{said:#}");
    agrees(&said, &task);

    // A task with a target: the other sessions were ruled out.
    let id = world.shell_with(&["--target", "other"], "true");
    let task = world.completed(id);
    let said = explained(&world, id);
    agrees(&said, &task);
    is_in_the_way(&said, "app", &["other"]);
    assert!(entry(&said, "other")["obstacle"].is_null(), "{said:#}");
    // A task that was never assigned has no sessions to show, which is not an error.
    let id = world.shell_with(&["--target", "nowhere"], "true");
    world.assigner(&["cancel", &id.to_string()]).succeeded();
    let said = explained(&world, id);
    assert_eq!(said["status"], "cancelled", "{said:#}");
    assert!(!told(&world, id).is_empty());
}
