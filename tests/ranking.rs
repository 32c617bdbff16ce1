//! Which session a task goes to, and which reasons are kept.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::harness::{Shell, World, eventually};

/// Returns the points of each session in a task's first attempt, and asserts that the terms add up.
fn points(task: &Value) -> BTreeMap<String, i64> {
    task["attempts"][0]["rankings"]
        .as_array()
        .expect("rankings")
        .iter()
        .map(|ranking| {
            let total = ranking["points"].as_i64().expect("points");
            let terms: i64 = ranking["terms"]
                .as_array()
                .expect("terms")
                .iter()
                .map(|term| {
                    assert!(term["name"].as_str().is_some_and(|name| !name.is_empty()));
                    term["points"].as_i64().expect("points")
                })
                .sum();
            assert_eq!(total, terms, "{task:#}");
            let name = ranking["session"].as_str().expect("a session").to_owned();
            (name, total)
        })
        .collect()
}

/// Makes a git repository with a branch checked out.
fn repository(world: &World, dir: &str, branch: &str) -> String {
    let dir = world.mkdir(dir);
    let made = world
        .command("git")
        .args(["init", "-q", "-b", branch, &dir])
        .status()
        .expect("git");
    assert!(made.success());
    dir
}

#[test]
fn directories_count_by_whole_components() {
    let world = World::new();
    let exact = world.mkdir("srv/app");
    let busy = world.session_in("exact", Shell::Bash, &exact);
    world.session_in("child", Shell::Bash, &world.mkdir("srv/app/deep/er"));
    world.session_in("parent", Shell::Bash, &world.mkdir("srv"));
    world.session_in("sibling", Shell::Bash, &world.mkdir("srv/app2"));
    let _daemon = world.daemon();
    for name in ["exact", "child", "parent", "sibling"] {
        world.session_is(name, "idle");
    }

    let task = world.completed(world.shell_with(&["-w", &exact], "pwd"));
    assert_eq!(task["session"], "exact", "{task:#}");
    let seen = points(&task);
    assert_eq!(seen["exact"], 100, "{task:#}");
    assert_eq!(seen.get("parent"), Some(&50), "{task:#}");
    assert_eq!(seen.get("child"), Some(&25), "{task:#}");
    assert_eq!(*seen.get("sibling").unwrap_or(&0), 0, "{task:#}");
    let policy = &task["attempts"][0]["policy"];
    assert_eq!(policy["name"], "default");
    assert!(
        policy["version"]
            .as_str()
            .is_some_and(|version| !version.is_empty())
    );
    assert_eq!(policy["sha256"].as_str().map(str::len), Some(64));

    busy.line("cat");
    world.session_is("exact", "busy");
    let task = world.completed(world.shell_with(&["-w", &exact], "cd /"));
    assert_eq!(task["session"], "parent", "{task:#}");
    world.eventually(|| match world.session_entry("parent") {
        Some(session) if session["current_dir"] == "/" && session["status"] == "idle" => Ok(()),
        other => Err(format!("parent is not in /: {other:?}")),
    });
    // The former parent is now in the root directory, which is an ancestor of everything.
    let task = world.completed(world.shell_with(&["-w", &exact], "true"));
    assert_eq!(task["session"], "parent", "{task:#}");
    assert_eq!(points(&task)["parent"], 50, "{task:#}");
}

#[test]
fn branch_and_variables_count() {
    let world = World::new();
    let main = repository(&world, "main", "main");
    let topic = repository(&world, "topic", "topic/x");
    world.session_in("main", Shell::Bash, &main);
    world.session_in("topic", Shell::Bash, &topic);
    world.session("plain", Shell::Bash);
    let _daemon = world.daemon();
    for name in ["main", "topic", "plain"] {
        world.session_is(name, "idle");
    }

    let task = world.completed(world.shell_with(&["-b", "topic/x"], "true"));
    assert_eq!(task["session"], "topic", "{task:#}");
    assert_eq!(points(&task)["topic"], 30, "{task:#}");

    let task = world.completed(world.shell_with(
        &["--target", "plain", "-e", "STAGE=test", "-e", "COLOUR=red"],
        "true",
    ));
    assert_eq!(task["session"], "plain");
    let task = world.completed(world.shell_with(
        &["-e", "STAGE=test", "-e", "COLOUR=red", "-e", "OTHER=x"],
        "true",
    ));
    assert_eq!(task["session"], "plain", "{task:#}");
    assert_eq!(points(&task)["plain"], 40, "{task:#}");
    // Another value does not match.
    let task = world.completed(world.shell_with(&["-e", "STAGE=live", "-b", "main"], "true"));
    assert_eq!(task["session"], "main", "{task:#}");
    assert_eq!(points(&task)["main"], 30, "{task:#}");

    // It has just ended a task.
    world.session_is("main", "idle");
    // All together: 100 + 30 + 20.
    let task =
        world.completed(world.shell_with(&["-e", "STAGE=live", "-b", "main", "-w", &main], "true"));
    assert_eq!(points(&task)["main"], 150, "{task:#}");
}

#[test]
fn without_context_the_longest_idle_is_taken() {
    let world = World::new();
    for name in ["a", "b", "c"] {
        world.session(name, Shell::Bash);
    }
    let _daemon = world.daemon();
    for name in ["a", "b", "c"] {
        world.session_is(name, "idle");
    }
    for name in ["c", "a", "b"] {
        world.completed(world.shell_with(&["--target", name], "sleep 1.1"));
    }
    let order: Vec<Value> = (0..6)
        .map(|_| world.completed(world.shell("sleep 1.1"))["session"].clone())
        .collect();
    assert_eq!(order, ["c", "a", "b", "c", "a", "b"]);
    // If no session reaches 20 points, the context does not count.
    let far = world.mkdir("far/away");
    let task = world.completed(world.shell_with(&["-w", &far], "true"));
    assert_eq!(task["session"], "c", "{task:#}");
}

#[test]
fn higher_priority_goes_first_then_the_older() {
    let world = World::new();
    world.session("one", Shell::Bash);
    for (name, priority) in [("a", "0"), ("b", "-5"), ("c", "9"), ("d", "0"), ("e", "9")] {
        world.shell_with(&["-p", priority], &format!("echo {name} >> order"));
    }
    let _daemon = world.daemon();
    eventually(|| match world.lines("order") {
        lines if lines.len() == 5 => Ok(()),
        lines => Err(format!("{lines:?}")),
    });
    assert_eq!(world.lines("order"), ["c", "e", "a", "d", "b"]);
}

#[test]
fn each_task_of_a_round_gets_its_best_session() {
    let world = World::new();
    let dirs: Vec<String> = (0..4)
        .map(|number| world.mkdir(&format!("p/{number}")))
        .collect();
    for (number, dir) in dirs.iter().enumerate() {
        world.session_in(&format!("s{number}"), Shell::Bash, dir);
    }
    let ids: Vec<u64> = dirs
        .iter()
        .rev()
        .map(|dir| world.shell_with(&["-w", dir], "sleep 0.2; pwd"))
        .collect();
    let _daemon = world.daemon();
    for (id, number) in ids.into_iter().zip([3, 2, 1, 0]) {
        let task = world.completed(id);
        assert_eq!(task["session"], format!("s{number}"), "{task:#}");
    }
}

#[test]
fn a_target_is_waited_for() {
    let world = World::new();
    world.session("here", Shell::Bash);
    let _daemon = world.daemon();
    let id = world.shell_with(&["--target", "there"], "echo there");
    let reason = world.reason(id);
    assert!(reason.contains("there"), "{reason}");
    assert_eq!(world.show(id)["status"], "pending");
    world.session("there", Shell::Bash);
    assert_eq!(world.completed(id)["session"], "there");
}

#[test]
fn any_session_where_context_does_not_matter() {
    let world = World::new();
    let dir = world.mkdir("exact");
    world.session_in("exact", Shell::Bash, &dir);
    world.session("other", Shell::Bash);
    let _daemon = world.daemon();
    world.session_is("exact", "idle");
    world.completed(world.shell_with(&["--target", "exact"], "sleep 1.1"));
    let id = world.shell_with(&["-w", &dir, "--no-context-match"], "pwd");
    let task = world.completed(id);
    assert_eq!(task["session"], "other", "{task:#}");
    assert_eq!(task["output"], format!("{dir}\n"));
}

/// A policy is a file that anybody can provide: here the built-in one under another name.
#[test]
fn a_policy_is_loaded_from_a_path() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let built = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../policies/default/default.wasm"
    );
    let copy = world.path("my policy.wasm");
    fs::copy(built, &copy).expect("a copy");
    let path = crate::harness::text(&copy);
    let daemon = world.daemon_with(&["--policy", &path]);
    assert_eq!(world.run("echo by policy"), "by policy\n");
    let status = world.json(&["status"]);
    assert_eq!(status["daemon"]["policy"]["failures"], 0, "{status}");
    // A file that becomes unusable does not affect the running policy.
    fs::write(&copy, b"not wasm").expect("a bad file");
    daemon.logs("my policy.wasm");
    assert_eq!(world.run("echo still"), "still\n");
}
