//! Hundreds of changes of the policy under load, and a daemon that is killed during them.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::{SWAPS, TASKS, history, is_live, lives, put_variants, runs_by};
use crate::harness::{Shell, World, assert_calm, eventually};
use crate::queue::each_once;

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
fn hundreds_of_swaps_under_load() {
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
        (ids, swapper.join().expect("its swaps"))
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
