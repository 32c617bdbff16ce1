//! Why a task waits or went where it went, and what would let it run: explained, and then done.

mod blockers;
mod changes;
mod decisions;
mod hostile_names;

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{World, eventually, finish, program};

/// A command line that ends when there is a file `go` in `work`.
const HOLD: &str = "while test ! -e go; do sleep 0.02; done";

/// Settings that let a task wait instead of taking any session.
const WAIT: [&str; 2] = ["--policy-set", "when-no-match=wait"];

/// Makes the numbers of tasks so large that none appears in a text by chance.
fn use_up_numbers(world: &World) {
    let line = json!({"content": "true", "shell": true});
    let batch = format!("{line}\n").repeat(70);
    let answer = world
        .assigner_with_input(&["--json", "send", "--batch", "-"], batch.as_bytes())
        .succeeded()
        .json();
    let ids: Vec<String> = answer
        .as_array()
        .expect("an array")
        .iter()
        .map(|task| task["id"].to_string())
        .collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    world
        .assigner(&[&["cancel"][..], &ids].concat())
        .succeeded();
}

/// Returns whether a text contains the number of a task.
fn names_task(said: &str, id: u64) -> bool {
    let id = id.to_string();
    said.split(|c: char| !c.is_ascii_digit())
        .any(|word| word == id)
}

/// `explain ID --json`.
fn explained(world: &World, id: u64) -> Value {
    world.json(&["explain", &id.to_string()])
}

/// Returns what `explain` says to a person.
fn told(world: &World, id: u64) -> String {
    world
        .assigner(&["explain", &id.to_string()])
        .succeeded()
        .text()
}

/// Returns the words of a change.
#[track_caller]
fn words(change: &Value) -> &str {
    change["change"].as_str().expect("words")
}

/// Returns the changes that are named for a task, each in the shape that scripts rely on.
#[track_caller]
fn changes(explained: &Value) -> Vec<Value> {
    let changes = explained["changes"]
        .as_array()
        .unwrap_or_else(|| panic!("no changes: {explained:#}"));
    for change in changes {
        assert!(!words(change).trim().is_empty(), "{explained:#}");
        let session = &change["session"];
        assert!(session.is_null() || session.is_string(), "{explained:#}");
        let points = &change["points"];
        assert!(points.is_null() || points.is_i64(), "{explained:#}");
    }
    changes.clone()
}

/// Waits until the first change for a pending task contains all these words, and the reason
/// contains that change, and returns it.
#[track_caller]
fn first(world: &World, id: u64, expected: &[&str]) -> Value {
    eventually(|| {
        let explained = explained(world, id);
        assert_eq!(explained["id"], id, "{explained:#}");
        assert_eq!(explained["status"], "pending", "{explained:#}");
        let changes = changes(&explained);
        let first = changes.first();
        let first = first.ok_or_else(|| format!("no change: {explained:#}"))?;
        let reason = explained["reason"].as_str().unwrap_or_default();
        let said = words(first);
        match expected.iter().find(|word| !said.contains(**word)) {
            Some(word) => Err(format!("no {word:?} in the first: {explained:#}")),
            None if !reason.contains(said) => {
                Err(format!("the reason does not hold it: {explained:#}"))
            }
            None => Ok(first.clone()),
        }
    })
}

/// Waits until there is a change that fits, and returns it.
#[track_caller]
fn one_of(world: &World, id: u64, fits: impl Fn(&str, &Value) -> bool) -> Value {
    eventually(|| {
        let explained = explained(world, id);
        let changes = changes(&explained);
        let found = changes.iter().find(|&change| fits(words(change), change));
        found
            .cloned()
            .ok_or_else(|| format!("no such change: {explained:#}"))
    })
}

/// Returns the commands in a change.
fn commands(change: &Value) -> Vec<String> {
    let parts = words(change).split('`').skip(1).step_by(2);
    parts
        .filter(|part| part.starts_with("assigner "))
        .map(str::to_owned)
        .collect()
}

/// Does what a change says: with its commands, as a person would copy them, or else with these
/// words.
#[track_caller]
fn do_it(world: &World, change: &Value, otherwise: &[&str]) {
    let commands = commands(change);
    if commands.is_empty() {
        world.assigner(otherwise).succeeded();
    }
    let here = Path::new(program()).parent();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = here
        .map(Path::to_owned)
        .into_iter()
        .chain(std::env::split_paths(&path));
    let path = std::env::join_paths(dirs).expect("directories");
    for line in commands {
        let mut shell = world.command("sh");
        shell
            .env("PATH", &path)
            .env("ASSIGNER_DATA_DIR", world.data())
            .env("ASSIGNER_TMUX_SOCKET", world.socket())
            .args(["-c", &line]);
        finish(&mut shell, b"").succeeded();
    }
}

/// Waits until a task completed as a change promised.
#[track_caller]
fn comes_true(world: &World, id: u64, change: &Value) -> Value {
    let task = world.completed(id);
    if let Some(session) = change["session"].as_str() {
        assert_eq!(task["session"], session, "{change} {task:#}");
    }
    if let Some(points) = change["points"].as_i64() {
        let attempts = task["attempts"].as_array().expect("attempts");
        let rankings = attempts.last().expect("an attempt")["rankings"].as_array();
        let ranking = rankings
            .expect("rankings")
            .iter()
            .find(|ranking| ranking["session"] == task["session"])
            .expect("the ranking of its session");
        assert_eq!(ranking["points"], points, "{change} {task:#}");
    }
    task
}

/// Returns what `explain` says about one session.
#[track_caller]
fn entry(explained: &Value, session: &str) -> Value {
    explained["sessions"]
        .as_array()
        .expect("sessions")
        .iter()
        .find(|entry| entry["session"] == session)
        .unwrap_or_else(|| panic!("nothing of {session}: {explained:#}"))
        .clone()
}

/// Asserts that a session is not available to a task, for a reason with all these words.
#[track_caller]
fn is_in_the_way(explained: &Value, session: &str, expected: &[&str]) {
    let entry = entry(explained, session);
    let obstacle = entry["obstacle"].as_str().unwrap_or_default();
    for word in expected {
        assert!(obstacle.contains(*word), "no {word:?} in {entry:#}");
    }
}
