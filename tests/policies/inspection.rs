//! What the commands tell about a policy: its description, its names, its speed, and why a file
//! cannot be loaded.

use std::fs;

use serde_json::{Value, json};

use super::{DEFAULT, has, install, live, sha256, slowly};
use crate::harness::setup::configure;
use crate::harness::{Shell, World};
use crate::wat_policies::{self, Plan, When};

#[test]
fn the_default_policy_is_inspected() {
    let world = World::new();
    let said = world.json(&["policy", "inspect", "default"]);
    has(
        &said,
        &[
            "name",
            "version",
            "summary",
            "file",
            "size",
            "sha256",
            "encoding",
            "contract",
            "imports",
            "exports",
            "wants_busy",
            "default_settings",
            "limits",
            "load_ms",
            "cached",
        ],
    );
    has(
        &said["limits"],
        &[
            "profile",
            "time_ms",
            "load_time_ms",
            "memory",
            "stack",
            "answer",
            "log_lines",
        ],
    );
    let bytes = fs::read(DEFAULT).expect("the default policy");
    assert_eq!(said["name"], "default", "{said:#}");
    assert_eq!(said["contract"], "0.1.0", "{said:#}");
    assert_eq!(said["size"], bytes.len(), "{said:#}");
    assert_eq!(said["sha256"], sha256(&bytes), "{said:#}");
    assert_eq!(said["encoding"], "component", "{said:#}");
    assert_eq!(said["exports"], json!(["assigner:policy/matching@0.1.0"]));
    assert_eq!(
        said["default_settings"],
        json!({"same-directory": 100, "parent-directory": 50, "child-directory": 25,
            "variable": 20, "branch": 30, "min-score": 20, "when-no-match": "any"})
    );
    assert_eq!(said["limits"]["profile"], "small", "{said:#}");
    assert_eq!(said["limits"]["time_ms"], 100, "{said:#}");
    assert!(said["load_ms"].as_f64().is_some_and(|took| took > 0.0));

    let words = world
        .assigner(&["policy", "inspect", "default"])
        .succeeded()
        .text();
    for word in ["default", &sha256(&bytes), "same-directory", "0.1.0"] {
        assert!(words.contains(word), "no {word}: {words}");
    }
}

#[test]
fn a_policy_is_found_by_all_its_names() {
    let world = World::new();
    let bytes = wat_policies::healthy("tiny", "3.2.1");
    let path = install(&world, "small", &bytes);
    fs::write(world.path("work/here.wasm"), &bytes).expect("a policy");
    for name in [
        path.as_str(),
        "small",
        "small.wasm",
        "here.wasm",
        "./here.wasm",
    ] {
        let said = world.json(&["policy", "inspect", name]);
        assert_eq!(said["name"], "tiny", "{name}: {said:#}");
        assert_eq!(said["version"], "3.2.1", "{name}: {said:#}");
        assert_eq!(said["size"], bytes.len(), "{name}: {said:#}");
        assert_eq!(said["sha256"], sha256(&bytes), "{name}: {said:#}");
        assert_eq!(said["wants_busy"], false, "{name}: {said:#}");
        assert_eq!(said["default_settings"], json!({}), "{name}: {said:#}");
        assert_eq!(said["imports"], json!(["assigner:policy/logging@0.1.0"]));
        assert_eq!(said["exports"], json!(["assigner:policy/matching@0.1.0"]));
    }
    for name in ["no-such", "no-such.wasm", "/no/such.wasm", "./no-such.wasm"] {
        for command in ["inspect", "check", "bench"] {
            let output = world.assigner(&["policy", command, name]).refused(6);
            assert!(output.stderr.contains("no-such") || output.stderr.contains("/no/such"));
        }
    }
}

#[test]
fn what_kind_of_file_a_policy_is() {
    let world = World::new();
    let plan = Plan::new("tiny");
    install(&world, "component", &plan.component());
    install(&world, "core", &plan.core());
    let large = wat_policies::padded(plan.component(), 600 * 1024);
    install(&world, "large", &large);
    let busy = Plan {
        wants_busy: true,
        default_config: r#"{"depth":{"least":1}}"#,
        configure: "(i32.const 64)",
        ..Plan::new("busy")
    };
    install(&world, "busy", &busy.component());

    let said = world.json(&["policy", "inspect", "component"]);
    assert_eq!(said["encoding"], "component", "{said:#}");
    assert_eq!(said["limits"]["profile"], "small", "{said:#}");
    assert_eq!(said["limits"]["time_ms"], 100, "{said:#}");
    let said = world.json(&["policy", "inspect", "core"]);
    assert_eq!(said["encoding"], "core module", "{said:#}");
    assert_eq!(said["sha256"], sha256(&plan.core()), "{said:#}");
    assert_eq!(said["exports"], json!(["assigner:policy/matching@0.1.0"]));
    let said = world.json(&["policy", "inspect", "large"]);
    assert_eq!(said["limits"]["profile"], "large", "{said:#}");
    assert_eq!(said["limits"]["time_ms"], 1000, "{said:#}");
    assert_eq!(said["size"], large.len(), "{said:#}");
    let said = world.json(&["policy", "inspect", "busy"]);
    assert_eq!(said["wants_busy"], true, "{said:#}");
    assert_eq!(said["default_settings"], json!({"depth": {"least": 1}}));

    // A configured limit applies to every kind of policy.
    configure(
        &world,
        "[policy]\ntime = \"250ms\"\nload-time = \"7s\"\nlog-lines = 9\n",
    );
    for name in ["component", "large"] {
        let limits = world.json(&["policy", "inspect", name])["limits"].clone();
        assert_eq!(limits["time_ms"], 250, "{limits:#}");
        assert_eq!(limits["load_time_ms"], 7000, "{limits:#}");
        assert_eq!(limits["log_lines"], 9, "{limits:#}");
    }
}

#[test]
fn what_cannot_be_loaded_says_why_everywhere() {
    let world = World::new();
    for saboteur in wat_policies::harmful::all() {
        let When::AtLoad(words) = saboteur.when else {
            continue;
        };
        let path = install(&world, saboteur.name, &saboteur.bytes);
        let commands: [&[&str]; 5] = [
            &["policy", "inspect", &path],
            &["policy", "check", &path],
            &["policy", "bench", &path],
            &["policy", "use", saboteur.name],
            &["run", "--policy", &path],
        ];
        for args in commands {
            let output = world.assigner(args).refused(6);
            let said = &output.stderr;
            assert!(said.contains(words), "{args:?}: {said}");
            assert!(said.contains(saboteur.name), "{args:?}: {said}");
        }
    }
    // None of it was remembered.
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    assert_eq!(live(&world)["name"], "default");
}

#[test]
fn policies_are_listed() {
    let world = World::new();
    let last = wat_policies::healthy("last", "9.0.0");
    let first = wat_policies::healthy("first", "0.1.0");
    install(&world, "z-last", &last);
    install(&world, "broken", b"\0asm this is none");
    install(&world, "a-first", &first);
    world.session("one", Shell::Bash);
    let _daemon = world.daemon_with(&["--policy", "z-last"]);

    assert_eq!(live(&world)["name"], "last");
    let rows = world.json(&["policy", "list"]);
    let rows = rows.as_array().expect("rows");
    let names: Vec<&str> = rows
        .iter()
        .map(|row| {
            let name = row["name"].as_str().expect("a name");
            name.strip_suffix(".wasm").unwrap_or(name)
        })
        .collect();
    assert_eq!(names, ["default", "a-first", "broken", "z-last"]);
    let lives: Vec<bool> = rows.iter().map(|row| row["live"] == true).collect();
    assert_eq!(lives, [false, false, false, true], "{rows:#?}");
    for (row, name) in rows.iter().zip(names) {
        has(
            row,
            &["policy", "version", "summary", "file", "sha256", "error"],
        );
        // Every command takes the name.
        let output = world.assigner(&[
            "--json",
            "policy",
            "inspect",
            row["name"].as_str().expect("a name"),
        ]);
        if name == "broken" {
            let error = row["error"].as_str().expect("an error");
            assert_eq!(error.lines().count(), 1, "{row:#}");
            output.refused(6);
        } else {
            assert_eq!(row["error"], Value::Null, "{row:#}");
            let said = output.succeeded().json();
            assert_eq!(row["policy"], said["name"], "{row:#}");
            assert_eq!(row["version"], said["version"], "{row:#}");
            assert_eq!(row["sha256"], said["sha256"], "{row:#}");
        }
    }
    assert_eq!(rows[1]["policy"], "first");
    assert_eq!(rows[3]["version"], "9.0.0");
    assert_eq!(rows[3]["sha256"], sha256(&last));
    let words = world.assigner(&["policy", "list"]).succeeded().text();
    for name in ["default", "a-first", "broken", "z-last"] {
        assert!(words.contains(name), "{words}");
    }
}

#[test]
fn a_list_without_a_directory() {
    let world = World::new();
    let rows = world.json(&["policy", "list"]);
    assert_eq!(rows.as_array().map(Vec::len), Some(1), "{rows:#}");
    assert_eq!(rows[0]["name"], "default", "{rows:#}");
    assert_eq!(rows[0]["error"], Value::Null, "{rows:#}");
}

#[test]
fn a_policy_is_timed_against_the_default_one() {
    let world = World::new();
    install(&world, "tiny", &wat_policies::healthy("tiny", "1.0.0"));
    for name in ["default", "tiny"] {
        let said = slowly(&world, &["--json", "policy", "bench", name])
            .succeeded()
            .json();
        assert_eq!(said["name"], name, "{said:#}");
        let sizes: Vec<(u64, u64)> = said["rounds"]
            .as_array()
            .expect("rounds")
            .iter()
            .map(|round| {
                for number in ["policy_us", "default_us", "ratio"] {
                    let number = round[number].as_f64();
                    assert!(number.is_some_and(|number| number > 0.0), "{round:#}");
                }
                (
                    round["tasks"].as_u64().expect("a number"),
                    round["sessions"].as_u64().expect("a number"),
                )
            })
            .collect();
        assert_eq!(sizes, [(10, 10), (100, 100), (256, 1000)], "{said:#}");
        let memory = &said["memory"];
        assert!(
            memory.is_null() || memory.as_u64().is_some_and(|bytes| bytes > 0),
            "{said:#}"
        );
    }
}
