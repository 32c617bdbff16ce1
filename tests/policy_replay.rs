//! Decisions are kept, and another policy shows what it would have decided.

mod differences;
mod records;
mod shadow;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::setup::repository;
use crate::harness::tasks::time;
use crate::harness::{Daemon, Shell, World, assert_calm};
use crate::policy_switching::Component;
use crate::wat_policies;

/// The default policy, with points only for branches and variables.
const BY_BRANCH: [&str; 5] = [
    "default",
    "--policy-set",
    "same-directory=0",
    "--policy-set",
    "branch=100",
];

/// Makes a session in the directory that [`torn`] tasks ask for, and one on their branch.
fn sessions(world: &World) -> String {
    let app = world.mkdir("srv/app");
    let repo = repository(world, "srv/repo", "topic");
    world.session_in("dir", Shell::Bash, &app);
    world.session_in("branch", Shell::Bash, &repo);
    app
}

/// Starts the daemon, and waits until it has found both sessions ready.
fn started(world: &World, args: &[&str]) -> Daemon {
    let daemon = world.daemon_with(args);
    // What an earlier daemon said about them may be out of date, so run tasks there now.
    for name in ["dir", "branch"] {
        world.completed(world.shell_with(&["--target", name], "true"));
    }
    daemon
}

/// Waits until both sessions are idle, each in its place.
fn both_are_free(world: &World) {
    world.session_is("dir", "idle");
    world.eventually(|| match world.session_entry("branch") {
        Some(entry) if entry["status"] == "idle" && entry["git_branch"] == "topic" => Ok(()),
        other => Err(format!("not idle on its branch: {other:?}")),
    });
}

/// Runs a task that fits both sessions: one with 100 points, the other with 30.
fn torn(world: &World, app: &str, command: &str) -> u64 {
    both_are_free(world);
    let id = world.shell_with(&["-w", app, "-b", "topic"], command);
    let task = world.completed(id);
    assert_eq!(task["session"], "dir", "{task:#}");
    let rankings = task["attempts"][0]["rankings"].as_array();
    assert_eq!(rankings.map(Vec::len), Some(2), "{task:#}");
    id
}

/// Stops the daemon, so that everything that it keeps is on disk.
fn stop(world: &World, mut daemon: Daemon) {
    world.assigner(&["stop"]).succeeded();
    assert_eq!(daemon.ends(), Some(0), "{}", daemon.log());
    assert_calm(&daemon.log());
}

/// Returns the files of the record, the oldest first.
fn record(world: &World) -> Vec<PathBuf> {
    files(&world.data().join("rounds"))
}

/// Returns the files in a directory that are not empty, the oldest first.
fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut files: Vec<(std::time::SystemTime, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.expect("an entry").path();
            // A file may have been deleted meanwhile.
            let metadata = fs::metadata(&path).ok()?;
            let modified = metadata.modified().expect("a time");
            (metadata.is_file() && metadata.len() > 0).then_some((modified, path))
        })
        .collect();
    files.sort();
    files.into_iter().map(|(_, path)| path).collect()
}

/// Returns the size of the record in bytes.
fn size(world: &World) -> u64 {
    record(world)
        .iter()
        .filter_map(|path| fs::metadata(path).ok())
        .map(|metadata| metadata.len())
        .sum()
}

/// Asserts that only its owner can use a directory and everything in it.
#[track_caller]
fn is_private(dir: &Path) {
    let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    assert_eq!(mode(dir), 0o700, "{}", dir.display());
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

/// Returns the answer of `policy replay`, and asserts that its numbers add up.
#[track_caller]
fn replay(world: &World, args: &[&str]) -> Value {
    let report = world.json(&[&["policy", "replay"][..], args].concat());
    fits_together(&report);
    for name in ["recorded_us", "replayed_us"] {
        assert!(report["time"][name].is_number(), "{report:#}");
    }
    report
}

/// Asserts that the numbers of a report add up.
#[track_caller]
fn fits_together(report: &Value) {
    assert!(number(report, "rounds") > 0, "{report:#}");
    let parts = ["same", "moved", "now_waiting", "now_assigned"];
    let sum: u64 = parts.iter().map(|name| number(report, name)).sum();
    if number(report, "failed_rounds") == 0 {
        assert_eq!(number(report, "tasks"), sum, "{report:#}");
    }
    let recorded = report["recorded"].as_array().expect("policies");
    let rounds: u64 = recorded.iter().map(|it| number(it, "rounds")).sum();
    assert_eq!(rounds, number(report, "rounds"), "{report:#}");
    for difference in differences(report) {
        assert!(difference["round"].is_number(), "{difference:#}");
        time(difference["at"].as_str().expect("a time"));
        assert!(difference["summary"].is_string(), "{difference:#}");
        let gain = &difference["gain"];
        assert!(gain.is_null() || gain.is_i64(), "{difference:#}");
        for side in ["was", "would_be"] {
            let session = &difference[side]["session"];
            assert!(session.is_null() || session.is_string(), "{difference:#}");
        }
        assert_ne!(
            difference["was"]["session"], difference["would_be"]["session"],
            "{difference:#}"
        );
    }
}

/// Returns a number of a report.
#[track_caller]
fn number(report: &Value, name: &str) -> u64 {
    report[name]
        .as_u64()
        .unwrap_or_else(|| panic!("no number {name}: {report:#}"))
}

/// Returns the differences of a report.
fn differences(report: &Value) -> &Vec<Value> {
    report["differences"].as_array().expect("differences")
}

/// Returns the numbers of the tasks that another policy would have decided differently.
fn different(report: &Value) -> BTreeSet<u64> {
    differences(report)
        .iter()
        .map(|it| it["task"].as_u64().expect("a task's number"))
        .collect()
}

/// Asserts that a policy would have done the same.
#[track_caller]
fn is_the_same(report: &Value) {
    for name in ["moved", "now_waiting", "now_assigned", "failed_rounds"] {
        assert_eq!(number(report, name), 0, "{name}: {report:#}");
    }
    assert_eq!(report["points_gained"], 0, "{report:#}");
    assert_eq!(report["differences"], json!([]), "{report:#}");
}

/// Asserts that these tasks, and no others, would have gone to the session on the branch.
#[track_caller]
fn are_moved(report: &Value, ids: &[u64]) {
    let expected: BTreeSet<u64> = ids.iter().copied().collect();
    assert_eq!(different(report), expected, "{report:#}");
    assert_eq!(differences(report).len(), ids.len(), "{report:#}");
    assert_eq!(number(report, "moved") as usize, ids.len(), "{report:#}");
    for difference in differences(report) {
        let (was, would_be) = (&difference["was"], &difference["would_be"]);
        assert_eq!(was["session"], "dir", "{difference:#}");
        assert_eq!(was["points"], 100, "{difference:#}");
        assert_eq!(would_be["session"], "branch", "{difference:#}");
    }
    let gains: i64 = differences(report)
        .iter()
        .filter_map(|it| it["gain"].as_i64())
        .sum();
    assert_eq!(report["points_gained"], gains, "{report:#}");
}

/// Waits until the record has at least this many rounds.
#[track_caller]
fn has_recorded(world: &World, rounds: u64) {
    world.eventually(|| {
        let recording = world.json(&["status"])["daemon"]["recording"].clone();
        let bytes = recording["bytes"].as_u64();
        match recording["rounds"].as_u64() {
            Some(count) if count >= rounds && bytes > Some(0) => Ok(()),
            _ => Err(format!("not {rounds} rounds: {recording}")),
        }
    });
}

/// Replays a record that may be damaged: it answers, or says in one line why not.
#[track_caller]
fn replay_of_the_damaged(world: &World) -> Option<Value> {
    let output = world.assigner(&["--json", "policy", "replay", "default"]);
    assert_calm(&output.stderr);
    if output.code == Some(0) {
        let report = output.json();
        assert_eq!(number(&report, "failed_rounds"), 0, "{report:#}");
        return Some(report);
    }
    output.refused(1);
    None
}

/// Returns the bytes of a harmful policy.
fn saboteur(name: &str) -> Component {
    let all = wat_policies::harmful::all();
    let found = all.into_iter().find(|it| it.name == name);
    found.expect("a saboteur of that name").bytes.into()
}
