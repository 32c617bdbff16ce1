//! Decisions are kept, and another policy shows what it would have decided.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::context::{configure, repository, time};
use crate::harness::{Daemon, Shell, World, assert_calm, eventually, finish, text};
use crate::policy_switching::{Component, built_in, is_live, policy, put, put_variants, variant};
use crate::queue::each_once;
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
    eventually(|| match world.session_entry("branch") {
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
    eventually(|| {
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
fn a_record_goes_on_after_a_restart_and_a_crash() {
    let world = World::new();
    let app = sessions(&world);
    let daemon = started(&world, &["--record"]);
    let before = torn(&world, &app, "true");
    stop(&world, daemon);
    let daemon = started(&world, &["--record"]);
    torn(&world, &app, "true");
    has_recorded(&world, 1);
    daemon.kill();
    // Whatever a crash has left of the last segment does not matter.
    let report = replay(&world, &["default"]);
    is_the_same(&report);
    let kept = number(&report, "rounds");
    let daemon = started(&world, &["--record"]);
    let after = torn(&world, &app, "true");
    stop(&world, daemon);
    let report = replay(&world, &["default"]);
    is_the_same(&report);
    assert!(number(&report, "rounds") > kept, "{kept}: {report:#}");
    let moved = different(&replay(&world, &BY_BRANCH));
    assert!(
        moved.contains(&before) && moved.contains(&after),
        "{moved:?}"
    );

    // The last segment is cut in the middle.
    let newest = record(&world).pop().expect("a record");
    let length = fs::metadata(&newest).expect("a file").len();
    let file = File::options()
        .write(true)
        .open(&newest)
        .expect("a record to write to");
    file.set_len(length - 7).expect("a shorter file");
    drop(file);
    is_the_same(&replay(&world, &["default"]));
    assert!(different(&replay(&world, &BY_BRANCH)).contains(&before));
    let daemon = started(&world, &["--record"]);
    let last = torn(&world, &app, "true");
    stop(&world, daemon);
    is_the_same(&replay(&world, &["default"]));
    let moved = different(&replay(&world, &BY_BRANCH));
    assert!(
        moved.contains(&before) && moved.contains(&last),
        "{moved:?}"
    );
    is_private(&world.data().join("rounds"));

    // A daemon without `--record` leaves the record as it is.
    let rounds = replay(&world, &["default"])["rounds"].clone();
    let daemon = started(&world, &[]);
    torn(&world, &app, "true");
    stop(&world, daemon);
    assert_eq!(replay(&world, &["default"])["rounds"], rounds);
}

/// Text that cannot be compressed to less than three quarters, different for each seed.
fn noise(seed: u64, length: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut state = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed + 1);
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(LETTERS[(state >> 58) as usize])
        })
        .collect()
}

#[test]
fn a_record_is_bounded() {
    const LIMIT: u64 = 1024 * 1024;
    let world = World::new();
    configure(&world, "[policy]\nrecord-limit = 1\n");
    let app = sessions(&world);
    let daemon = started(&world, &["--record"]);
    let first = torn(&world, &app, "true");
    // Each task adds 12 KiB that no other has: together more than a megabyte and a half.
    let mut largest = 0;
    for number in 0..150 {
        let label = format!("noise={}", noise(number, 16 * 1024));
        world.completed(world.shell_with(&["--label", &label, "--no-context-match"], "true"));
        largest = largest.max(size(&world));
    }
    let last = torn(&world, &app, "true");
    let recording = world.json(&["status"])["daemon"]["recording"].clone();
    let bytes = recording["bytes"].as_u64().expect("a number");
    assert!(bytes <= LIMIT, "{recording}");
    stop(&world, daemon);
    largest = largest.max(size(&world));
    assert!(largest <= LIMIT, "{largest} bytes");
    // The space is used, too.
    assert!(largest > LIMIT / 4, "{largest} bytes");

    let report = replay(&world, &["default"]);
    is_the_same(&report);
    assert!(number(&report, "rounds") >= 10, "{report:#}");
    // The oldest rounds are dropped, and nothing else.
    let moved = different(&replay(&world, &BY_BRANCH));
    assert!(moved.contains(&last), "{moved:?}");
    assert!(!moved.contains(&first), "{moved:?}");
    is_private(&world.data().join("rounds"));
}

/// Returns whether bytes contain others.
fn holds(bytes: &[u8], secret: &str) -> bool {
    bytes
        .windows(secret.len())
        .any(|window| window == secret.as_bytes())
}

#[test]
fn secrets_are_not_recorded() {
    let world = World::new();
    let app = sessions(&world);
    let secret = "correct-horse-battery-staple";
    let daemon = started(&world, &["--record", "--shadow", "default"]);
    both_are_free(&world);
    let mut binary = world.binary();
    binary.env("API_TOKEN", secret);
    binary.args(["--json", "send", "--shell", "-w", &app, "-b", "topic"]);
    binary.args(["--secret-env", "API_TOKEN", "--"]);
    let command = format!("test ${{#API_TOKEN}} = {}", secret.len());
    let answer = finish(binary.arg(&command), b"").succeeded().json();
    let id = answer["id"].as_u64().expect("a number");
    world.completed(id);
    // A session that still has it from before does not reveal it either.
    torn(&world, &app, "true");
    has_recorded(&world, 1);
    stop(&world, daemon);

    let mut seen = 0;
    for dir in ["rounds", "shadow"] {
        for path in files(&world.data().join(dir)) {
            seen += 1;
            let bytes = fs::read(&path).expect("a file");
            assert!(!holds(&bytes, secret), "{}", path.display());
        }
    }
    assert!(seen > 0);
    let args = [&["policy", "replay"][..], &BY_BRANCH].concat();
    let forms: [&[&str]; 2] = [&["--json"], &[]];
    for form in forms {
        let output = world.assigner(&[form, &args].concat()).succeeded();
        let said = output.text() + &output.stderr;
        assert!(said.contains("API_TOKEN"), "{said}");
        assert!(!said.contains(secret), "{said}");
    }
    let report = replay(&world, &BY_BRANCH);
    assert!(different(&report).contains(&id), "{report:#}");
}

#[test]
fn a_damaged_record_is_no_disaster() {
    let world = World::new();
    let app = sessions(&world);
    let daemon = started(&world, &["--record"]);
    torn(&world, &app, "true");
    stop(&world, daemon);
    let rounds = number(&replay(&world, &["default"]), "rounds");

    // A file that is not a record.
    let strange = world.data().join("rounds/notes.txt");
    fs::write(&strange, "remember the milk\n").expect("a file");
    if let Some(report) = replay_of_the_damaged(&world) {
        is_the_same(&report);
        assert_eq!(number(&report, "rounds"), rounds, "{report:#}");
    }
    fs::remove_file(&strange).expect("a file");

    let whole = record(&world).pop().expect("a record");
    let good = fs::read(&whole).expect("a record");
    let middle = good.len() / 3..good.len() * 2 / 3;
    let mut overwritten = good.clone();
    overwritten[middle.clone()].fill(0xff);
    let mut cut = good.clone();
    cut.drain(middle);
    let noise = noise(7, good.len()).into_bytes();
    let zeros = vec![0; good.len()];
    let mut longer = good.clone();
    longer.extend([0xff; 9]);
    let mut header = good.clone();
    for byte in header.iter_mut().take(16) {
        *byte ^= 0xff;
    }
    for (what, bytes) in [
        ("overwritten", overwritten),
        ("cut", cut),
        ("noise", noise),
        ("zeros", zeros),
        ("longer", longer),
        ("another header", header),
        ("a byte", vec![0x28]),
        ("nothing", Vec::new()),
    ] {
        eprintln!("{what}");
        fs::write(&whole, &bytes).expect("a file");
        replay_of_the_damaged(&world);
        let args = ["policy", "replay", "default", "--limit", "1"];
        assert_calm(&world.assigner(&args).stderr);
    }
    // The daemon does not mind it either, and what it adds can be read.
    fs::write(&whole, vec![0xff; 1000]).expect("a file");
    let daemon = started(&world, &["--record"]);
    let id = torn(&world, &app, "true");
    stop(&world, daemon);
    let output = world.assigner(&[&["--json", "policy", "replay"][..], &BY_BRANCH].concat());
    assert_calm(&output.stderr);
    let report = output.succeeded().json();
    assert!(different(&report).contains(&id), "{report:#}");
}

#[test]
fn a_record_may_lie_elsewhere_and_be_looked_at_in_part() {
    let world = World::new();
    let app = sessions(&world);
    let daemon = started(&world, &["--record"]);
    let ids: Vec<u64> = (0..3).map(|_| torn(&world, &app, "true")).collect();
    stop(&world, daemon);
    let elsewhere = world.path("elsewhere");
    fs::rename(world.data().join("rounds"), &elsewhere).expect("a directory");
    let dir = text(&elsewhere);
    world.assigner(&["policy", "replay", "default"]).refused(1);
    let here = [&BY_BRANCH[..], &["--rounds", dir.as_str()]].concat();
    are_moved(&replay(&world, &here), &ids);

    let limited = [&here[..], &["--limit", "1"]].concat();
    let report = world.json(&[&["policy", "replay"][..], &limited].concat());
    assert_eq!(number(&report, "failed_rounds"), 0, "{report:#}");
    assert!(number(&report, "rounds") >= 1, "{report:#}");
    assert!(differences(&report).len() <= 1, "{report:#}");
    let many = [&here[..], &["--limit", "1000"]].concat();
    are_moved(&replay(&world, &many), &ids);

    let empty = world.mkdir("empty");
    for dir in [empty.as_str(), "/no/such/directory"] {
        let args = ["policy", "replay", "default", "--rounds", dir];
        let output = world.assigner(&args).refused(1);
        assert!(output.stdout.is_empty(), "{output:?}");
    }
    let refused: [(&[&str], &str); 3] = [
        (&["no-such-policy"], "no-such-policy"),
        (&["default", "--policy-set", "no-such=1"], "no-such"),
        (&["default", "--policy-set", "branch=many"], "branch"),
    ];
    for (args, words) in refused {
        let args = [&["policy", "replay"][..], args, &["--rounds", dir.as_str()]].concat();
        let output = world.assigner(&args).refused(6);
        assert!(output.stderr.contains(words), "{args:?}: {output:?}");
    }
    for wrong in ["-1", "many", ""] {
        let args = ["policy", "replay", "default", "--limit", wrong];
        let output = world.assigner(&args);
        assert_eq!(output.code, Some(2), "{wrong:?}: {output:?}");
        assert_calm(&output.stderr);
    }
}

/// Returns the bytes of a harmful policy.
fn saboteur(name: &str) -> Component {
    let all = wat_policies::all();
    let found = all.into_iter().find(|it| it.name == name);
    found.expect("a saboteur of that name").bytes.into()
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
