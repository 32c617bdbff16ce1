//! Files of policies that change: replaced, half written, broken, deleted, or reached through a
//! link.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::{
    Component, HOLD, history, is_left_waiting, is_live, is_refused, lives, policy, replace,
    runs_by, variant, was_by,
};
use crate::harness::{Shell, World, assert_calm, eventually, stays, text};
use crate::queue::each_once;
use crate::wat_policies::healthy;

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
