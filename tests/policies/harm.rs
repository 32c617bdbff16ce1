//! Harmful policies stop neither the daemon nor the queue.

use std::fs;

use serde_json::Value;

use super::{decider, fails, install, is_plain, live, sha256, slowly};
use crate::harness::setup::configure;
use crate::harness::{Shell, World, assert_calm, eventually, stays};
use crate::wat_policies::{self, Plan, Round, When};

/// Returns the memory that a process uses, in KiB; `None` if the system does not say.
fn resident(pid: u32) -> Option<u64> {
    fs::read_to_string(format!("/proc/{pid}/status"))
        .ok()?
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?
        .trim()
        .strip_suffix(" kB")?
        .parse()
        .ok()
}

/// Sends what provokes a policy, and returns the tasks.
fn provoke(world: &World, round: Round) -> Vec<u64> {
    match round {
        Round::Task | Round::Busy => vec![world.shell("true")],
        Round::TwoTasks => vec![world.shell("true"), world.shell("true")],
        Round::Target => vec![world.shell_with(&["--target", "second"], "true")],
    }
}

#[test]
fn no_saboteur_stops_the_daemon() {
    let world = World::new();
    // The harmless ones among them answer in time, also on a busy machine.
    configure(&world, "[policy]\ntime = '1s'\n");
    let first = world.session("first", Shell::Bash);
    world.session("second", Shell::Bash);
    let healthy = wat_policies::healthy("healthy", "1.0.0");
    install(&world, "healthy", &healthy);
    let all = wat_policies::harmful::all();
    for saboteur in &all {
        install(&world, saboteur.name, &saboteur.bytes);
    }
    let daemon = world.daemon_with(&["--policy", "healthy"]);
    let both_idle = || {
        world.session_is("first", "idle");
        world.session_is("second", "idle");
    };
    both_idle();
    assert_eq!(decider(&world.completed(world.shell("true"))), "healthy");
    let before = resident(daemon.pid());

    let (mut refused, mut used) = (0, 0);
    for saboteur in &all {
        let name = saboteur.name;
        both_idle();
        if let When::AtLoad(words) = saboteur.when {
            refused += 1;
            let was = live(&world);
            let output = world.assigner(&["policy", "use", name]).refused(6);
            assert!(output.stderr.contains(words), "{name}: {}", output.stderr);
            let policy = eventually(|| {
                let policy = live(&world);
                match policy["refused"].as_str() {
                    Some(line) if line.contains(words) => Ok(policy),
                    _ => Err(format!("{name}: refused without {words:?}: {policy:#}")),
                }
            });
            for field in ["name", "sha256", "failures"] {
                assert_eq!(policy[field], was[field], "{name}: {policy:#}");
            }
            let task = world.completed(world.shell("true"));
            assert_eq!(decider(&task), "healthy", "{name}: {task:#}");
            continue;
        }

        used += 1;
        let busy = matches!(saboteur.when, When::InARound(Round::Busy, _));
        if busy {
            first.line("cat");
            world.session_is("first", "busy");
        }
        let said = world.json(&["policy", "use", name]);
        assert_eq!(said["policy"]["name"], name, "{said:#}");
        assert_eq!(
            said["policy"]["sha256"],
            sha256(&saboteur.bytes),
            "{said:#}"
        );
        assert_eq!(said["live"], true, "{said:#}");
        let policy = live(&world);
        assert_eq!(policy["name"], name, "{policy:#}");
        assert_eq!(policy["refused"], Value::Null, "{policy:#}");

        match saboteur.when {
            When::AtLoad(_) => unreachable!("it was refused"),
            When::InARound(round, words) => {
                let ids = provoke(&world, round);
                let words = if name == "stray" {
                    format!("{words}{}, where there are 2", ids[0])
                } else {
                    words.to_owned()
                };
                for id in ids {
                    let task = world.completed(id);
                    assert_ne!(decider(&task), name, "{task:#}");
                    assert_eq!(task["attempts"].as_array().map(Vec::len), Some(1));
                }
                eventually(|| {
                    let policy = live(&world);
                    match policy["last_failure"].as_str() {
                        Some(line) if line.contains(&words) && line.lines().count() == 1 => Ok(()),
                        _ => Err(format!("{name}: no failure {words:?}: {policy:#}")),
                    }
                });
                let log = daemon.log();
                let beginning = format!("the policy `{name}");
                let lines: Vec<&str> = log
                    .lines()
                    .filter(|line| line.contains(&beginning) && line.contains(&words))
                    .collect();
                assert_eq!(lines.len(), 1, "{name}: {lines:#?}");
            }
            When::Harmless => {
                let id = world.shell("true");
                let task = world.completed(id);
                assert_eq!(decider(&task), name, "{task:#}");
                let policy = live(&world);
                assert_eq!(policy["failures"], 0, "{name}: {policy:#}");
                assert_eq!(policy["last_failure"], Value::Null, "{name}: {policy:#}");
                let id = id.to_string();
                for args in [&["show", &id][..], &["explain", &id], &["status"]] {
                    is_plain(&world.assigner(args).succeeded().text());
                }
            }
        }
        if busy {
            first.keys(&["C-c"]);
        }
    }

    world.assigner(&["policy", "use", "healthy"]).succeeded();
    both_idle();
    assert_eq!(decider(&world.completed(world.shell("true"))), "healthy");
    // Nothing is left of the harmful policies: neither their memory nor their compiled code.
    if let Some(before) = before {
        eventually(|| match resident(daemon.pid()) {
            Some(now) if now <= before + 48 * 1024 => Ok(()),
            now => Err(format!("{now:?} KiB, and {before} KiB before")),
        });
    }
    let log = daemon.log();
    assert_calm(&log);
    is_plain(&log);
    assert!(log.contains("flood 00000"), "{log}");
    assert!(!log.contains("flood 04999"), "the flood was let through");

    let rows = world.json(&["policy", "history"]);
    let count = |outcome: &str| {
        rows.as_array()
            .expect("rows")
            .iter()
            .filter(|row| row["cause"] == "use" && row["outcome"] == outcome)
            .count()
    };
    assert_eq!(count("refused"), refused, "{rows:#}");
    assert_eq!(count("live"), used + 1, "{rows:#}");
}

#[test]
fn the_last_policy_that_worked_stands_in() {
    let world = World::new();
    world.session("one", Shell::Bash);
    install(
        &world,
        "healthy",
        &wat_policies::healthy("healthy", "1.0.0"),
    );
    install(
        &world,
        "trap",
        &Plan::first("trap", "(unreachable)").component(),
    );
    let _daemon = world.daemon_with(&["--policy", "healthy"]);
    world.session_is("one", "idle");
    assert_eq!(decider(&world.completed(world.shell("true"))), "healthy");
    world.assigner(&["policy", "use", "trap"]).succeeded();
    let task = world.completed(world.shell("true"));
    assert_eq!(decider(&task), "healthy", "{task:#}");
    // Tasks continue while it is skipped, and whenever it is tried again.
    for _ in 0..3 {
        let task = world.completed(world.shell("true"));
        assert_eq!(decider(&task), "healthy", "{task:#}");
    }
    let policy = live(&world);
    assert_eq!(policy["name"], "trap", "{policy:#}");
    assert!(
        policy["failures"].as_u64().is_some_and(|count| count >= 1),
        "{policy:#}"
    );
}

/// If no policy worked before, the embedded one decides, from the first task on.
#[test]
fn a_saboteur_from_the_start() {
    let trap = Plan::first("trap", "(unreachable)").component();
    fails("", "trap", &trap, "stopped with an error");
}

#[test]
fn what_a_policy_writes_cannot_move_a_terminal() {
    let world = World::new();
    world.session("one", Shell::Bash);
    install(&world, "escape", &wat_policies::control("escape", false));
    for command in ["inspect", "check"] {
        is_plain(&slowly(&world, &["policy", command, "escape"]).text());
    }
    is_plain(&world.assigner(&["policy", "list"]).succeeded().text());

    let daemon = world.daemon_with(&["--policy", "escape"]);
    world.session_is("one", "idle");
    let id = world.shell("true");
    let reason = world.reason(id);
    assert!(reason.contains("red"), "{reason}");
    let task = id.to_string();
    let commands = [
        &["explain", &task][..],
        &["show", &task],
        &["history", &task],
        &["list"],
        &["status"],
        &["policy", "history"],
    ];
    for args in commands {
        is_plain(&world.assigner(args).succeeded().text());
    }
    is_plain(&daemon.log());
    stays(|| world.show(id)["status"] == "pending");
    world.assigner(&["policy", "use", "default"]).succeeded();
    world.completed(id);
}
