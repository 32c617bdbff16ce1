//! `policy check`: failures, wrong answers, and what it only remarks on.

use serde_json::{Value, json};

use super::{UNHURRIED, findings, install, slowly};
use crate::harness::setup::configure;
use crate::harness::{World, assert_calm};
use crate::wat_policies::{self, Plan, When};

/// Returns the exit code of `policy check`, and what it said.
fn checked(world: &World, name: &str, bytes: &[u8]) -> (Option<i32>, Value) {
    let path = install(world, name, bytes);
    let output = slowly(world, &["--json", "policy", "check", &path]);
    assert_calm(&output.stderr);
    let said = output.json();
    assert!(
        said["rounds"].as_u64().is_some_and(|rounds| rounds >= 1),
        "{said:#}"
    );
    assert_eq!(said["ok"], output.code == Some(0), "{said:#}");
    (output.code, said)
}

/// Asserts that `policy check` fails for a harmful policy with an error of this code.
fn check_finds(names: &[&str], code: &str) {
    let world = World::new();
    let mut left = names.to_vec();
    for saboteur in wat_policies::harmful::all() {
        if !names.contains(&saboteur.name) {
            continue;
        }
        left.retain(|name| *name != saboteur.name);
        let (exit, said) = checked(&world, saboteur.name, &saboteur.bytes);
        assert_eq!(exit, Some(1), "{}: {said:#}", saboteur.name);
        assert!(
            findings(&said).contains(&("error".to_owned(), code.to_owned())),
            "{}: {said:#}",
            saboteur.name
        );
        if let When::InARound(_, words) = saboteur.when {
            // The same words as in the log: there, `session 7 for task #` is followed by a number.
            assert!(said.to_string().contains(words), "{said:#}");
        }
    }
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_check_finds_failures() {
    check_finds(&["endless", "hog", "deep", "trap", "boundless"], "failure");
}

#[test]
fn a_check_finds_wrong_answers() {
    check_finds(
        &["stray", "twice", "forbidden", "unready", "miscount"],
        "violation",
    );
    // The check may choose the round in which the policy first gives no reason.
    let world = World::new();
    let silent = Plan::answers("silent", "(i32.const 96)").component();
    let (exit, said) = checked(&world, "silent", &silent);
    assert_eq!(exit, Some(1), "{said:#}");
    let found = findings(&said);
    assert!(
        found.iter().any(|(_, code)| code == "violation"),
        "{said:#}"
    );
    assert!(said.to_string().contains("0 decisions for"), "{said:#}");
}

#[test]
fn a_check_finds_nothing_where_there_is_nothing() {
    let world = World::new();
    configure(&world, &format!("[policy]\n{UNHURRIED}"));
    let healthy = wat_policies::healthy("healthy", "1.0.0");
    let (exit, said) = checked(&world, "healthy", &healthy);
    assert_eq!(exit, Some(0), "{said:#}");
    assert_eq!(said["findings"], json!([]), "{said:#}");
    assert!(said["rounds"].as_u64().is_some_and(|rounds| rounds >= 8));
    let said = slowly(&world, &["--json", "policy", "check", "default"])
        .succeeded()
        .json();
    assert_eq!(said["findings"], json!([]), "{said:#}");
    world
        .assigner(&["policy", "check", "healthy", "--policy-set", "depth=1"])
        .refused(6);
}

#[test]
fn a_check_finds_manners() {
    let world = World::new();
    configure(&world, &format!("[policy]\n{UNHURRIED}log-lines = 20\n"));
    let plans = [
        (
            Plan {
                default_config: r#"{"depth":1}"#,
                ..Plan::new("stubborn")
            },
            "error",
            "settings-default",
        ),
        (
            Plan {
                configure: "(i32.const 64)",
                ..Plan::new("lenient")
            },
            "warning",
            "unknown-setting",
        ),
        (
            Plan {
                version: "",
                summary: "",
                ..Plan::new("blank")
            },
            "warning",
            "empty-metadata",
        ),
        (
            Plan {
                reason: "",
                ..Plan::new("curt")
            },
            "warning",
            "no-reason",
        ),
        (
            Plan::first("chatty", &wat_policies::logging(40)),
            "warning",
            "chatty",
        ),
        (
            Plan::answers("idle", "(call $all_wait (local.get $count))"),
            "note",
            "ignores-ready-sessions",
        ),
    ];
    for (plan, severity, code) in plans {
        let (exit, said) = checked(&world, plan.name, &plan.component());
        let expected = (severity.to_owned(), code.to_owned());
        let found = findings(&said);
        assert!(found.contains(&expected), "{}: {said:#}", plan.name);
        // Nothing else is wrong with it.
        assert!(
            found.iter().all(|(_, other)| other == code),
            "{}: {said:#}",
            plan.name
        );
        assert_eq!(exit, Some(i32::from(severity == "error")), "{said:#}");
    }
    let outside = wat_policies::harmful::all()
        .into_iter()
        .find(|saboteur| saboteur.name == "outside")
        .expect("a policy that looks outside");
    let (exit, said) = checked(&world, outside.name, &outside.bytes);
    assert_eq!(exit, Some(0), "{said:#}");
    let found = findings(&said);
    assert!(!found.is_empty(), "{said:#}");
    let note = ("note".to_owned(), "wasi-import".to_owned());
    assert!(found.iter().all(|one| *one == note), "{said:#}");
    let said = world.json(&["policy", "inspect", outside.name]);
    let imports = said["imports"].to_string();
    assert!(imports.contains("wasi:filesystem/preopens@0.2"), "{said:#}");
}
