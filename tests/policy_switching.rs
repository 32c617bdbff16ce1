//! Switching the policy while the daemon runs: by a changed file, by `policy use`, hundreds of
//! times.

mod commands;
mod files;
mod load;
mod settings;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{World, eventually, root};

/// How often the policy changes under load.
const SWAPS: usize = 300;
/// How many tasks are queued meanwhile.
const TASKS: usize = 150;

/// A command line that ends when there is a file `go` in `work`.
const HOLD: &str = "while test ! -e go; do sleep 0.02; done";

/// A policy's file and its hash.
pub(crate) struct Component {
    pub(crate) bytes: Vec<u8>,
    pub(crate) sha256: String,
}

impl From<Vec<u8>> for Component {
    fn from(bytes: Vec<u8>) -> Self {
        let digest = Sha256::digest(&bytes);
        let sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { bytes, sha256 }
    }
}

/// Returns the default policy, as built in.
pub(crate) fn built_in() -> Component {
    let file = root().join("policies/default/default.wasm");
    fs::read(file).expect("the default policy").into()
}

/// Returns the same component with an additional section, which means nothing but changes the hash.
fn marked(bytes: &[u8], mark: &str) -> Vec<u8> {
    let name = "mark";
    let short = |length: usize| -> u8 {
        assert!(length < 128, "the length of {mark} would take two bytes");
        u8::try_from(length).expect("a short length")
    };
    let mut marked = bytes.to_vec();
    marked.extend([0, short(1 + name.len() + mark.len()), short(name.len())]);
    marked.extend(name.as_bytes());
    marked.extend(mark.as_bytes());
    marked
}

/// Returns the default policy with another hash.
pub(crate) fn variant(mark: &str) -> Component {
    marked(&built_in().bytes, mark).into()
}

/// Writes a policy to the directory of policies, under a name.
pub(crate) fn put(world: &World, name: &str, component: &Component) {
    let dir = world.mkdir("home/.config/assigner/policies");
    fs::write(format!("{dir}/{name}.wasm"), &component.bytes).expect("a file");
}

/// Writes variants of the default policy to the directory of policies, each under its mark.
pub(crate) fn put_variants<const N: usize>(world: &World, names: [&str; N]) -> [Component; N] {
    names.map(|name| {
        let component = variant(name);
        put(world, name, &component);
        component
    })
}

/// Returns what `status` says about the policy.
pub(crate) fn policy(world: &World) -> Value {
    world.json(&["status"])["daemon"]["policy"].clone()
}

/// Waits until the daemon uses a policy and reports nothing against it, and returns what `status`
/// says.
#[track_caller]
pub(crate) fn is_live(world: &World, component: &Component) -> Value {
    eventually(|| {
        let policy = policy(world);
        if policy["sha256"] == component.sha256.as_str() && policy["refused"].is_null() {
            Ok(policy)
        } else {
            Err(format!("{} is not live: {policy:#}", component.sha256))
        }
    })
}

/// Asserts that a policy decided a task's only attempt.
#[track_caller]
fn was_by(task: &Value, component: &Component) {
    let attempts = task["attempts"].as_array().expect("attempts");
    assert_eq!(attempts.len(), 1, "{task:#}");
    let sha256 = &attempts[0]["policy"]["sha256"];
    assert_eq!(*sha256, component.sha256.as_str(), "{task:#}");
}

/// Runs a task, and asserts that a policy decided it.
#[track_caller]
fn runs_by(world: &World, component: &Component) {
    was_by(&world.completed(world.shell("true")), component);
}

/// Waits until `status` says in one line why a policy is not used, and returns that line.
#[track_caller]
fn is_refused(world: &World, words: &str) -> String {
    eventually(|| {
        let policy = policy(world);
        match policy["refused"].as_str() {
            Some(line) if line.contains(words) && !line.trim().is_empty() => {
                assert!(!line.contains('\n'), "more than a line: {line:?}");
                Ok(line.to_owned())
            }
            _ => Err(format!("nothing is refused with {words:?}: {policy:#}")),
        }
    })
}

/// Asserts that a task waits although its session had time for another one.
#[track_caller]
fn is_left_waiting(world: &World, id: u64) {
    world.reason(id);
    assert_eq!(world.run("echo next"), "next\n");
    let task = world.show(id);
    assert_eq!(task["status"], "pending", "{task:#}");
    assert_eq!(task["attempts"], json!([]), "{task:#}");
}

/// Returns what has happened to the policy so far, the oldest first.
fn history(world: &World) -> Vec<Value> {
    let rows = world.json(&["policy", "history"]);
    rows.as_array().expect("rows").clone()
}

/// Formats rows as `cause outcome`.
fn outcomes(rows: &[Value]) -> Vec<String> {
    let word = |row: &Value, name: &str| row[name].as_str().expect("a word").to_owned();
    rows.iter()
        .map(|row| format!("{} {}", word(row, "cause"), word(row, "outcome")))
        .collect()
}

/// Returns the hashes of the policies that became live, in that order.
fn lives(rows: &[Value]) -> Vec<String> {
    rows.iter()
        .filter(|row| row["outcome"] == "live")
        .map(|row| row["policy"]["sha256"].as_str().expect("a hash").to_owned())
        .collect()
}

/// Replaces a file's content at once: a new file is written beside it and takes its name.
fn replace(file: &Path, bytes: &[u8]) {
    let beside = file.with_extension("new");
    fs::write(&beside, bytes).expect("a file");
    fs::rename(&beside, file).expect("a name");
}
