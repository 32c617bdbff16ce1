//! What tests ask and assert about tasks: why they failed or wait, where their points come from,
//! and which of them are named.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Output, World, assert_calm};

/// Waits until a task has failed with an error that contains all these words.
#[track_caller]
pub(crate) fn failed(world: &World, id: u64, words: &[&str]) -> Value {
    let task = world.settled(id);
    assert_eq!(task["status"], "failed", "{task:#}");
    let error = task["error"].as_str().unwrap_or_default();
    for word in words {
        assert!(error.contains(*word), "no {word:?} in {error:?}: {task:#}");
    }
    task
}

/// Waits until `explain` gives a reason with all these words for a pending task.
#[track_caller]
pub(crate) fn reason_says(world: &World, id: u64, words: &[&str]) -> String {
    world.eventually(|| {
        let said = world.json(&["explain", &id.to_string()]);
        let reason = said["reason"].as_str().unwrap_or_default();
        if !reason.is_empty() && words.iter().all(|word| reason.contains(*word)) {
            Ok(reason.to_owned())
        } else {
            Err(format!("the reason does not say {words:?}: {said}"))
        }
    })
}

/// Returns the terms of a session's points in a task's last attempt.
pub(crate) fn terms(task: &Value, session: &str) -> BTreeMap<String, i64> {
    let attempt = task["attempts"]
        .as_array()
        .and_then(|attempts| attempts.last())
        .expect("an attempt");
    let ranking = attempt["rankings"]
        .as_array()
        .expect("rankings")
        .iter()
        .find(|ranking| ranking["session"] == session)
        .unwrap_or_else(|| panic!("{session} was not looked at: {task:#}"));
    ranking["terms"]
        .as_array()
        .expect("terms")
        .iter()
        .map(|term| {
            let name = term["name"].as_str().expect("a name").to_owned();
            (name, term["points"].as_i64().expect("points"))
        })
        .collect()
}

/// Parses a point in time, as it appears in the database and in JSON.
#[track_caller]
pub(crate) fn time(text: &str) -> jiff::Timestamp {
    text.parse()
        .unwrap_or_else(|error| panic!("{text:?} is no time in UTC: {error}"))
}

/// Asserts that a text contains the number of a task.
#[track_caller]
pub(crate) fn names_task(said: &Value, id: u64) {
    let id = id.to_string();
    let text = said.as_str().unwrap_or_default();
    let named = text
        .split(|c: char| !c.is_ascii_digit())
        .any(|word| word == id);
    assert!(named, "task {id} is not named: {said}");
}

/// Returns the position of a line in a file of `work`; it must occur exactly once.
#[track_caller]
pub(crate) fn place(lines: &[String], line: &str) -> usize {
    let places: Vec<usize> = (0..lines.len())
        .filter(|place| lines[*place] == line)
        .collect();
    assert_eq!(places.len(), 1, "{line} in {lines:?}");
    places[0]
}

/// Returns the numbers of all tasks.
pub(crate) fn queued(world: &World) -> Vec<u64> {
    world
        .json(&["list", "--limit", "0"])
        .as_array()
        .expect("an array")
        .iter()
        .map(|task| task["id"].as_u64().expect("a number"))
        .collect()
}

/// Asserts that a command was refused as wrong, without a panic.
#[track_caller]
pub(crate) fn wrong(output: &Output) {
    assert_eq!(output.code, Some(2), "{output:?}");
    assert_calm(&output.stderr);
    assert!(!output.stderr.is_empty() && output.stdout.is_empty());
}
