//! Changed settings of a policy, and the history of all changes.

use serde_json::json;

use super::{
    built_in, history, is_left_waiting, is_live, lives, outcomes, policy, put_variants, replace,
};
use crate::harness::setup::configure;
use crate::harness::tasks::time;
use crate::harness::{Shell, World, assert_calm, eventually};

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
