//! Switching the policy while the daemon runs: by a changed file, by `policy use`, a thousand
//! times.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::context::{configure, time};
use crate::harness::{Shell, World, assert_calm, eventually, stays, text};
use crate::queue::each_once;
use crate::wat_policies::healthy;

/// How often the policy changes under load.
const SWAPS: usize = 1_000;
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
    let host = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = host.parent().expect("the workspace");
    let file = root.join("policies/default/default.wasm");
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

#[test]
fn a_changed_file_is_taken() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let file = world.path("live.wasm");
    let [first, second, third] = ["first", "second", "third"].map(variant);
    fs::write(&file, &first.bytes).expect("a file");
    let daemon = world.daemon_with(&["--policy", &text(&file)]);
    is_live(&world, &first);
    runs_by(&world, &first);

    // A task that runs meanwhile continues, and keeps the policy that assigned it.
    let running = world.shell(&format!("{HOLD}; echo end >> log"));
    world.until(running, "in_progress");
    replace(&file, &second.bytes);
    let live = is_live(&world, &second);
    assert_eq!(live["name"], "default", "{live:#}");
    assert_eq!(live["failures"], 0, "{live:#}");
    assert_eq!(world.show(running)["status"], "in_progress");
    world.touch("go");
    was_by(&world.completed(running), &first);
    assert_eq!(world.lines("log"), ["end"]);
    runs_by(&world, &second);

    // Overwritten, as `cp` does it.
    fs::write(&file, &third.bytes).expect("a file");
    is_live(&world, &third);
    runs_by(&world, &third);

    // A completely different policy.
    let other = Component::from(healthy("newcomer", "2.5.0"));
    replace(&file, &other.bytes);
    let live = is_live(&world, &other);
    assert_eq!(live["name"], "newcomer", "{live:#}");
    assert_eq!(live["version"], "2.5.0", "{live:#}");
    runs_by(&world, &other);

    let rows = history(&world);
    let hashes = [&first, &second, &third, &other].map(|component| component.sha256.as_str());
    assert_eq!(lives(&rows), hashes, "{rows:#?}");
    assert_eq!(rows[0]["cause"], "start", "{rows:#?}");
    assert!(rows[1..].iter().all(|row| row["cause"] == "file"));
    assert_calm(&daemon.log());
}

#[test]
fn a_half_written_file_is_taken_when_it_is_whole() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let file = world.path("live.wasm");
    let [first, second, third] = ["first", "second", "third"].map(variant);
    fs::write(&file, &first.bytes).expect("a file");
    let daemon = world.daemon_with(&["--policy", &text(&file)]);
    is_live(&world, &first);

    let (head, tail) = second.bytes.split_at(second.bytes.len() / 2);
    let mut writer = File::create(&file).expect("a file");
    writer.write_all(head).expect("the first half");
    is_refused(&world, "damaged or only half written");
    daemon.logs("half written");
    runs_by(&world, &first);
    let live = policy(&world);
    assert_eq!(live["sha256"], first.sha256.as_str(), "{live:#}");
    assert_eq!(live["failures"], 0, "{live:#}");
    assert!(live["in_use"].is_null(), "{live:#}");
    writer.write_all(tail).expect("the second half");
    drop(writer);
    is_live(&world, &second);
    runs_by(&world, &second);

    // Piece by piece: whatever happens with the pieces, the complete file is used.
    let mut writer = File::create(&file).expect("a file");
    for piece in third.bytes.chunks(third.bytes.len() / 16) {
        writer.write_all(piece).expect("a piece");
        // The pauses are the test's input.
        thread::sleep(Duration::from_millis(30));
    }
    is_live(&world, &third);
    runs_by(&world, &third);
    assert_eq!(policy(&world)["failures"], 0);
    assert_calm(&daemon.log());
}

#[test]
fn a_broken_file_changes_nothing() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let file = world.path("live.wasm");
    let mut live = variant("0");
    let start = live.bytes[..100].to_vec();
    fs::write(&file, &live.bytes).expect("a file");
    let daemon = world.daemon_with(&["--policy", &text(&file)]);
    is_live(&world, &live);
    // The last two are valid WebAssembly files, but not policies.
    let broken: [&[u8]; 5] = [
        b"this is not wasm",
        b"",
        &start,
        b"\0asm\x01\0\0\0",
        b"\0asm\x0d\0\x01\0",
    ];
    for (number, bytes) in broken.into_iter().enumerate() {
        replace(&file, bytes);
        let line = is_refused(&world, "");
        let warned = eventually(|| {
            let log = daemon.log();
            let warned = log
                .lines()
                .filter(|line| line.contains("WARN") && line.contains("live.wasm"))
                .count();
            if warned > number {
                Ok(warned)
            } else {
                Err(format!("no warning for {line:?}:\n{log}"))
            }
        });
        assert!(warned < 20, "{warned} warnings:\n{}", daemon.log());
        let seen = policy(&world);
        assert_eq!(seen["sha256"], live.sha256.as_str(), "{seen:#}");
        assert_eq!(seen["failures"], 0, "{seen:#}");
        runs_by(&world, &live);
        let text = world.assigner(&["status"]).succeeded().text();
        assert!(text.contains(line.as_str()), "no {line:?}: {text}");

        // A repaired file is used.
        live = variant(&format!("mended {number}"));
        replace(&file, &live.bytes);
        is_live(&world, &live);
        runs_by(&world, &live);
    }
    let rows = history(&world);
    let refused: Vec<&Value> = rows
        .iter()
        .filter(|row| row["outcome"] == "refused")
        .collect();
    assert!(refused.len() >= broken.len(), "{rows:#?}");
    for row in refused {
        assert_eq!(row["cause"], "file", "{row:#}");
        let reason = row["reason"].as_str().unwrap_or_default();
        assert!(!reason.is_empty() && !reason.contains('\n'), "{row:#}");
    }
    assert_eq!(lives(&rows).len(), 1 + broken.len(), "{rows:#?}");
    assert_calm(&daemon.log());
}

/// A file that does not accept the current settings cannot be used either.
#[test]
fn settings_outlive_a_changed_file() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let file = world.path("live.wasm");
    let [first, second] = ["first", "second"].map(variant);
    fs::write(&file, &first.bytes).expect("a file");
    let path = text(&file);
    let _daemon = world.daemon_with(&["--policy", &path, "--policy-set", "when-no-match=wait"]);
    let live = is_live(&world, &first);
    assert_eq!(live["settings"]["when-no-match"], "wait", "{live:#}");

    replace(&file, &healthy("plain", "1.0.0"));
    is_refused(&world, "no settings");
    replace(&file, &second.bytes);
    let live = is_live(&world, &second);
    assert_eq!(live["settings"]["when-no-match"], "wait", "{live:#}");
    let far = world.mkdir("far");
    let waits = world.shell_with(&["-w", &far], "true");
    is_left_waiting(&world, waits);
    runs_by(&world, &second);
}

#[test]
fn a_deleted_file_is_no_loss() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let file = world.path("live.wasm");
    let [first, second] = ["first", "second"].map(variant);
    fs::write(&file, &first.bytes).expect("a file");
    let daemon = world.daemon_with(&["--policy", &text(&file)]);
    is_live(&world, &first);
    fs::remove_file(&file).expect("a file");
    stays(|| policy(&world)["sha256"].clone());
    runs_by(&world, &first);
    let live = policy(&world);
    assert_eq!(live["sha256"], first.sha256.as_str(), "{live:#}");
    assert_eq!(live["failures"], 0, "{live:#}");
    assert!(live["in_use"].is_null(), "{live:#}");
    fs::write(&file, &second.bytes).expect("a file");
    is_live(&world, &second);
    runs_by(&world, &second);
    assert_calm(&daemon.log());
}

/// As in a build that begins with an empty directory.
#[test]
fn a_directory_that_is_made_anew_is_looked_into() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let dir = world.mkdir("dist");
    let file = Path::new(&dir).join("live.wasm");
    let [first, second, third] = ["first", "second", "third"].map(variant);
    fs::write(&file, &first.bytes).expect("a file");
    let _daemon = world.daemon_with(&["--policy", &text(&file)]);
    is_live(&world, &first);
    for next in [&second, &third] {
        fs::remove_dir_all(&dir).expect("a directory");
        runs_by_one_of(&world, &[&first, &second]);
        fs::create_dir(&dir).expect("a directory");
        fs::write(&file, &next.bytes).expect("a file");
        is_live(&world, next);
        runs_by(&world, next);
    }
}

/// Runs a task, and asserts that one of these policies decided it.
#[track_caller]
fn runs_by_one_of(world: &World, components: &[&Component]) {
    let task = world.completed(world.shell("true"));
    let sha256 = &task["attempts"][0]["policy"]["sha256"];
    let known = components
        .iter()
        .any(|component| *sha256 == component.sha256.as_str());
    assert!(known, "{task:#}");
}

#[test]
fn a_file_behind_a_link_is_followed() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let [first, second, third] = ["first", "second", "third"].map(variant);
    let here = Path::new(&world.mkdir("here")).join("policy.wasm");
    let there = Path::new(&world.mkdir("there")).join("policy.wasm");
    fs::write(&here, &first.bytes).expect("a file");
    fs::write(&there, &third.bytes).expect("a file");
    let link = Path::new(&world.mkdir("links")).join("live.wasm");
    symlink(&here, &link).expect("a link");
    let _daemon = world.daemon_with(&["--policy", &text(&link)]);
    is_live(&world, &first);
    runs_by(&world, &first);

    // The target of the link has changed.
    replace(&here, &second.bytes);
    is_live(&world, &second);
    runs_by(&world, &second);

    // The link leads to another file.
    let beside = link.with_extension("new");
    symlink(&there, &beside).expect("a link");
    fs::rename(&beside, &link).expect("a name");
    is_live(&world, &third);
    runs_by(&world, &third);
    // The link leads nowhere.
    fs::remove_file(&there).expect("a file");
    stays(|| policy(&world)["sha256"].clone());
    runs_by(&world, &third);
}

/// Releases are side by side, and one link names the current one.
#[test]
fn a_link_to_a_directory_is_followed() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let releases = ["first", "second"].map(variant);
    for (number, release) in releases.iter().enumerate() {
        let dir = world.mkdir(&format!("releases/{number}"));
        fs::write(format!("{dir}/live.wasm"), &release.bytes).expect("a file");
    }
    let current = world.path("current");
    symlink("releases/0", &current).expect("a link");
    let _daemon = world.daemon_with(&["--policy", &text(&current.join("live.wasm"))]);
    is_live(&world, &releases[0]);
    let beside = world.path("next");
    symlink("releases/1", &beside).expect("a link");
    fs::rename(&beside, &current).expect("a name");
    is_live(&world, &releases[1]);
    runs_by(&world, &releases[1]);
}

/// However fast it changes, the last content counts.
#[test]
fn a_file_that_does_not_rest() {
    let world = World::new();
    for name in ["one", "two"] {
        world.session(name, Shell::Bash);
    }
    let file = world.path("live.wasm");
    let mut last = variant("at first");
    fs::write(&file, &last.bytes).expect("a file");
    let daemon = world.daemon_with(&["--policy", &text(&file)]);
    is_live(&world, &last);
    let ids: Vec<u64> = (0..20)
        .map(|number| world.shell(&format!("echo {number} >> log")))
        .collect();
    for number in 0..60 {
        last = variant(&number.to_string());
        if number % 2 == 0 {
            replace(&file, &last.bytes);
        } else {
            fs::write(&file, &last.bytes).expect("a file");
        }
        // Some get the time to become live.
        thread::sleep(Duration::from_millis(number % 7 * 40));
    }
    let live = is_live(&world, &last);
    assert_eq!(live["failures"], 0, "{live:#}");
    runs_by(&world, &last);
    for id in &ids {
        world.completed(*id);
    }
    each_once(&world, &ids, "log");
    let rows = history(&world);
    assert_eq!(lives(&rows).last(), Some(&last.sha256), "{rows:#?}");
    assert_calm(&daemon.log());
}

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

#[test]
fn settings_decide() {
    let world = World::new();
    world.session("web", Shell::Bash);
    let far = world.mkdir("far");
    let deep = world.mkdir("far/deep");
    let daemon = world.daemon_with(&["--policy-set", "when-no-match=wait"]);
    world.session_is("web", "idle");
    let using = |settings: &[&str]| {
        let mut args = vec!["policy", "use", "default"];
        for &setting in settings {
            args.extend(["--policy-set", setting]);
        }
        let answer = world.json(&args);
        assert_eq!(answer["live"], true, "{answer:#}");
        policy(&world)["settings"].clone()
    };
    let waits = world.shell_with(&["-w", &far], "pwd");
    is_left_waiting(&world, waits);
    // The same policy with another setting, and nothing else changes.
    let settings = using(&["when-no-match=any"]);
    assert_eq!(settings["when-no-match"], "any", "{settings}");
    assert_eq!(world.completed(waits)["output"], format!("{far}\n"));

    let settings = using(&["when-no-match=wait", "min-score=60"]);
    assert_eq!(settings["min-score"], 60, "{settings}");
    let waits = world.shell_with(&["-w", &deep], "pwd");
    is_left_waiting(&world, waits);
    let settings = using(&["when-no-match=wait", "min-score=50"]);
    assert_eq!(settings["min-score"], 50, "{settings}");
    let task = world.completed(waits);
    assert_eq!(task["attempts"][0]["rankings"][0]["points"], 50, "{task:#}");

    // They are remembered, like the policy.
    daemon.kill();
    let _daemon = world.daemon();
    let live = is_live(&world, &built_in());
    assert_eq!(live["settings"]["min-score"], 50, "{live:#}");
    let waits = world.shell_with(&["-w", "/"], "true");
    is_left_waiting(&world, waits);
    using(&[]);
    world.completed(waits);
}

#[test]
fn settings_come_from_the_configuration_and_from_flags() {
    let world = World::new();
    let [_, second] = put_variants(&world, ["first", "second"]);
    configure(
        &world,
        "[policy.settings]\nmin-score = 70\nvariable = 3\n\
         [policy.settings-of.first]\nbranch = 5\n",
    );
    let using = |name: &str, more: &[&str]| {
        world.json(&[&["policy", "use", name][..], more].concat());
        policy(&world)["settings"].clone()
    };
    let daemon = world.daemon_with(&["--policy", "second", "--policy-set", "variable=4"]);
    let settings = is_live(&world, &second)["settings"].clone();
    assert_eq!(settings["min-score"], 70, "{settings}");
    assert_eq!(settings["variable"], 4, "{settings}");
    // Its own table replaces the common one.
    let settings = using("first", &[]);
    assert_eq!(settings["branch"], 5, "{settings}");
    assert_ne!(settings["min-score"], 70, "{settings}");
    assert_ne!(settings["variable"], 3, "{settings}");
    let settings = using("first", &["--policy-set", "branch=6"]);
    assert_eq!(settings["branch"], 6, "{settings}");
    let settings = using("second", &["--policy-set", "branch=6"]);
    assert_eq!(settings["branch"], 6, "{settings}");
    assert_eq!(settings["min-score"], 70, "{settings}");
    drop(daemon);

    for (setting, words) in [
        ("min-score=high", "`min-score` must be a whole number"),
        ("when-no-match=1", "`when-no-match` must be"),
        ("no-such=1", "no-such"),
    ] {
        let output = world
            .assigner(&["run", "--policy", "first", "--policy-set", setting])
            .refused(6);
        assert!(output.stderr.contains(words), "{setting}: {output:?}");
    }
    let output = world.assigner(&["run", "--policy-set", "min-score"]);
    assert_eq!(output.code, Some(2), "{output:?}");
    assert_calm(&output.stderr);
}

#[test]
fn the_history_has_a_row_for_each_change() {
    let world = World::new();
    let [first, second] = put_variants(&world, ["first", "second"]);
    assert_eq!(world.json(&["policy", "history"]), json!([]));
    let daemon = world.daemon();
    is_live(&world, &built_in());
    world.json(&["policy", "use", "first"]);
    world
        .assigner(&["policy", "use", "no-such-policy"])
        .refused(6);
    let file = world.path("home/.config/assigner/policies/first.wasm");
    replace(&file, b"broken");
    eventually(|| match outcomes(&history(&world)) {
        rows if rows.last().is_some_and(|row| row == "file refused") => Ok(()),
        rows => Err(format!("nothing is refused: {rows:?}")),
    });
    replace(&file, &second.bytes);
    is_live(&world, &second);
    world.json(&["policy", "use", "--reset"]);
    daemon.kill();
    let _daemon = world.daemon();
    is_live(&world, &built_in());

    let rows = history(&world);
    assert_eq!(
        outcomes(&rows),
        [
            "start live",
            "use live",
            "use refused",
            "file refused",
            "file live",
            "reset live",
            "start live"
        ],
        "{rows:#?}"
    );
    let default = built_in().sha256;
    assert_eq!(
        lives(&rows),
        [&default, &first.sha256, &second.sha256, &default, &default].map(String::as_str),
        "{rows:#?}"
    );
    let times: Vec<jiff::Timestamp> = rows
        .iter()
        .map(|row| time(row["at"].as_str().expect("a time")))
        .collect();
    assert!(times.is_sorted(), "{rows:#?}");
    for row in &rows {
        let live = row["outcome"] == "live";
        assert_eq!(row["reason"].is_null(), live, "{row:#}");
        assert!(row["source"].is_string(), "{row:#}");
        if live {
            assert_eq!(row["policy"]["name"], "default", "{row:#}");
        }
    }
    let reason = rows[2]["reason"].as_str().expect("a reason");
    assert!(reason.contains("no-such-policy"), "{reason}");
    let text = world.assigner(&["policy", "history"]).succeeded().text();
    for word in ["refused", "no-such-policy", "first", "reset"] {
        assert!(text.contains(word), "no {word}: {text}");
    }
}

/// Returns what a daemon uses: memory in KiB, and open files. `None` if the system does not say.
fn footprint(pid: u32) -> Option<(u64, usize)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let memory = line.split_whitespace().nth(1)?.parse().ok()?;
    let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    Some((memory, files))
}

/// Three sessions work through one person's tasks while another person keeps changing the policy.
#[test]
fn a_thousand_swaps_under_load() {
    let world = World::new();
    let sessions = ["one", "two", "three"];
    for name in sessions {
        world.session(name, Shell::Bash);
    }
    let names = ["first", "second", "third"];
    let copies = put_variants(&world, names);
    let daemon = world.daemon_with(&["--policy", names[0]]);
    is_live(&world, &copies[0]);
    for name in sessions {
        world.session_is(name, "idle");
    }

    let swapped = AtomicUsize::new(0);
    let (ids, before) = thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            let mut before = None;
            for number in 1..=SWAPS {
                let place = number % names.len();
                let answer = world.json(&["policy", "use", names[place]]);
                assert_eq!(answer["live"], true, "{answer:#}");
                let sha256 = &answer["policy"]["sha256"];
                assert_eq!(*sha256, copies[place].sha256.as_str(), "{answer:#}");
                swapped.store(number, Ordering::Relaxed);
                if number == SWAPS / 10 {
                    before = footprint(daemon.pid());
                }
            }
            before
        });
        // Spread over all of the switches.
        let ids: Vec<u64> = (0..TASKS)
            .map(|number| {
                while swapped.load(Ordering::Relaxed) * TASKS < number * SWAPS
                    && !swapper.is_finished()
                {
                    thread::sleep(Duration::from_millis(1));
                }
                world.shell(&format!("echo {number} >> log"))
            })
            .collect();
        (ids, swapper.join().expect("a thousand swaps"))
    });
    let after = footprint(daemon.pid());

    for id in &ids {
        world.completed(*id);
    }
    each_once(&world, &ids, "log");
    let mut used = BTreeSet::new();
    for id in &ids {
        let task = world.show(*id);
        let attempts = task["attempts"].as_array().expect("attempts");
        assert_eq!(attempts.len(), 1, "{task:#}");
        let sha256 = attempts[0]["policy"]["sha256"].as_str().expect("a hash");
        let known = copies.iter().any(|copy| copy.sha256 == sha256);
        assert!(known, "{task:#}");
        used.insert(sha256.to_owned());
    }
    assert!(used.len() > 1, "all tasks are of one policy: {used:?}");

    let last = &copies[SWAPS % names.len()];
    let live = is_live(&world, last);
    assert_eq!(live["failures"], 0, "{live:#}");
    assert!(live["last_failure"].is_null(), "{live:#}");
    assert!(live["in_use"].is_null(), "{live:#}");
    let rows = history(&world);
    let swaps: Vec<Value> = rows
        .iter()
        .filter(|row| row["cause"] == "use" && row["outcome"] == "live")
        .cloned()
        .collect();
    assert_eq!(swaps.len(), SWAPS);
    assert_eq!(rows.len(), SWAPS + 1);
    for (number, sha256) in (1..).zip(lives(&swaps)) {
        assert_eq!(sha256, copies[number % names.len()].sha256, "swap {number}");
    }
    // What was replaced is gone: a leaked copy would count nine hundred times.
    if let (Some((memory, files)), Some((memory_after, files_after))) = (before, after) {
        assert!(
            memory_after < memory + 256 * 1024,
            "{memory} KiB, then {memory_after} KiB"
        );
        assert!(
            files_after < files + 32,
            "{files} open files, then {files_after}"
        );
    }
    assert_calm(&daemon.log());
}

/// The daemon dies while somebody changes the policy, and the next one knows the last choice.
#[test]
fn killed_while_policies_change() {
    let world = World::new();
    for name in ["one", "two"] {
        world.session(name, Shell::Bash);
    }
    let names = ["first", "second"];
    let copies = put_variants(&world, names);
    let ids: Vec<u64> = (0..30)
        .map(|number| world.shell(&format!("echo {number} >> log; sleep 0.1")))
        .collect();
    world.json(&["policy", "use", names[0]]);
    for round in 0..5 {
        let daemon = world.daemon();
        let changed = AtomicUsize::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..12 {
                    let output = world.assigner(&["policy", "use", names[number % 2]]);
                    // Its daemon may be gone while it waits for the answer.
                    let code = output.code;
                    assert!(matches!(code, Some(0 | 1 | 4)), "{output:?}");
                    assert_calm(&output.stderr);
                    changed.fetch_add(1, Ordering::Relaxed);
                }
            });
            // Earlier in one round, later in another: the moment is the test's input.
            eventually(|| match changed.load(Ordering::Relaxed) {
                count if count > round * 2 => Ok(()),
                count => Err(format!("{count} changes")),
            });
            daemon.kill();
        });
        let answer = world.json(&["policy", "use", names[round % 2]]);
        assert_eq!(answer["live"], false, "{answer:#}");
    }
    let daemon = world.daemon();
    let live = is_live(&world, &copies[0]);
    assert_eq!(live["failures"], 0, "{live:#}");
    for id in &ids {
        world.settled(*id);
    }
    each_once(&world, &ids, "log");
    runs_by(&world, &copies[0]);
    assert_calm(&daemon.log());
}
