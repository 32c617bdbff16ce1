//! Compiled policies are cached, where only their owner can write.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::Value;

use super::{decider, files, install, live, stop};
use crate::harness::{Shell, World};
use crate::wat_policies;

/// The directory of compiled policies.
fn compiled(world: &World) -> PathBuf {
    world.path("home/.cache/assigner/compiled")
}

/// Starts a daemon with a policy, and returns what `status` says about it, and the daemon's log
/// after it has run a task.
fn started(world: &World, name: &str) -> (Value, String) {
    let daemon = world.daemon_with(&["--policy", name]);
    world.session_is("one", "idle");
    let task = world.completed(world.shell("true"));
    assert_eq!(decider(&task), name, "{task:#}");
    let policy = live(world);
    let log = daemon.log();
    stop(daemon);
    (policy, log)
}

#[test]
fn a_compiled_policy_is_kept() {
    let world = World::with_own_cache();
    world.session("one", Shell::Bash);
    install(&world, "tiny", &wat_policies::healthy("tiny", "1.0.0"));
    let (policy, _) = started(&world, "tiny");
    assert_eq!(policy["cached"], false, "{policy:#}");
    assert!(policy["load_ms"].as_f64().is_some_and(|took| took > 0.0));
    let mode = fs::metadata(compiled(&world))
        .expect("a cache")
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o700);
    let (policy, _) = started(&world, "tiny");
    assert_eq!(policy["cached"], true, "{policy:#}");
    let said = world.json(&["policy", "inspect", "tiny"]);
    assert_eq!(said["cached"], true, "{said:#}");

    // Another file is another policy, even with the same name.
    install(&world, "tiny", &wat_policies::healthy("tiny", "2.0.0"));
    let (policy, _) = started(&world, "tiny");
    assert_eq!(policy["cached"], false, "{policy:#}");
    assert_eq!(policy["version"], "2.0.0", "{policy:#}");

    // Damaged entries of the cache are compiled again.
    let kept = files(&compiled(&world));
    assert!(!kept.is_empty());
    for file in &kept {
        fs::write(compiled(&world).join(file), b"\x7fELF this is none").expect("a file");
    }
    let (policy, _) = started(&world, "tiny");
    assert_eq!(policy["cached"], false, "{policy:#}");
    assert_eq!(policy["failures"], 0, "{policy:#}");
    // Without a place for the cache, everything still works.
    fs::remove_dir_all(world.path("home/.cache")).expect("a directory");
    File::create(world.path("home/.cache")).expect("a file in the way");
    let (policy, _) = started(&world, "tiny");
    assert_eq!(policy["cached"], false, "{policy:#}");
}

#[test]
fn a_cache_that_others_can_write_is_not_used() {
    let world = World::with_own_cache();
    world.session("one", Shell::Bash);
    install(&world, "tiny", &wat_policies::healthy("tiny", "1.0.0"));
    let (_, log) = started(&world, "tiny");
    let warned = |log: &str| {
        log.lines()
            .any(|line| line.contains("WARN") && line.contains("assigner/compiled"))
    };
    assert!(!warned(&log), "{log}");
    let kept = files(&compiled(&world));
    for mode in [0o777, 0o770] {
        fs::set_permissions(compiled(&world), fs::Permissions::from_mode(mode)).expect("a mode");
        let (policy, log) = started(&world, "tiny");
        assert_eq!(policy["cached"], false, "{mode:o}: {policy:#}");
        assert!(warned(&log), "{mode:o}: {log}");
        // Nothing is written there either, and its mode is its owner's business.
        install(&world, "other", &wat_policies::healthy("other", "1.0.0"));
        started(&world, "other");
        assert_eq!(files(&compiled(&world)), kept, "{mode:o}");
    }
    fs::set_permissions(compiled(&world), fs::Permissions::from_mode(0o700)).expect("a mode");
    let (policy, log) = started(&world, "tiny");
    assert_eq!(policy["cached"], true, "{policy:#}");
    assert!(!warned(&log), "{log}");
}
