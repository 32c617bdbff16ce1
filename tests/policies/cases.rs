//! `policy test`: cases that pass, cases that fail, and files that contain none.

use std::fs;

use serde_json::json;

use super::install;
use crate::harness::{Output, World, assert_calm};
use crate::wat_policies::Plan;

/// Writes cases into `work`, and runs them on a policy.
fn try_cases(world: &World, policy: &str, file: &str, cases: &str, options: &[&str]) -> Output {
    let path = world.path("work").join(file);
    fs::write(&path, cases).expect("cases");
    let args = ["--json", "policy", "test", policy, file];
    world.assigner(&[&args[..], options].concat())
}

/// A session in a directory, a task that asks for that directory, and one more session.
const TWO_DIRECTORIES: &str = r#"
[[case]]
name = "the same directory"
[[case.session]]
name = "web"
current-dir = "/srv/web"
[[case.session]]
name = "api"
current-dir = "/srv/api"
[[case.task]]
working-dir = "/srv/api"
"#;

#[test]
fn cases_that_pass() {
    let world = World::new();
    let cases = format!(
        r#"settings = {{ same-directory = 77, variable = 33 }}
{TWO_DIRECTORIES}
expect = "api"
expect-points = 77

[[case]]
name = "settings of one case stand over those of all"
settings = {{ same-directory = 78 }}
now = 1800000000
explain = 3
[[case.session]]
name = "one"
host = "far"
provider = "shell"
current-dir = "/srv"
git-branch = "dev"
env = {{ STAGE = "live" }}
ready = true
since = 5
completed = 1
failed = 2
labels = {{ tier = "1" }}
[[case.task]]
id = 41
kind = "command"
summary = "all that a task may have"
priority = 3
waiting = 7
attempt = 2
match-context = true
working-dir = "/srv"
git-branch = "dev"
env = {{ STAGE = "live" }}
providers = ["shell"]
eligible = ["one"]
follows = "one"
avoid = []
labels = {{ a = "b" }}
expect = "one"
expect-points = 141

[[case]]
name = "rather wait"
settings = {{ when-no-match = "wait" }}
[[case.session]]
name = "one"
current-dir = "/srv/api"
[[case.task]]
working-dir = "/elsewhere"
expect-wait = ""

[[case]]
name = "only one is looked at"
[[case.session]]
name = "one"
[[case.task]]
[[case.task]]
expect-wait = ""

[[case]]
name = "another is allowed"
[[case.session]]
name = "best"
current-dir = "/srv/api"
[[case.session]]
name = "allowed"
[[case.task]]
working-dir = "/srv/api"
eligible = ["allowed"]
expect = "allowed"
"#
    );
    let said = try_cases(&world, "default", "cases.toml", &cases, &[])
        .succeeded()
        .json();
    assert_eq!(said["passed"], 5, "{said:#}");
    assert_eq!(said["failed"], 0, "{said:#}");
    let names: Vec<&str> = said["cases"]
        .as_array()
        .expect("cases")
        .iter()
        .map(|case| {
            assert_eq!(case["ok"], true, "{said:#}");
            assert_eq!(case["problems"], json!([]), "{said:#}");
            case["name"].as_str().expect("a name")
        })
        .collect();
    assert_eq!(
        names,
        [
            "the same directory",
            "settings of one case stand over those of all",
            "rather wait",
            "only one is looked at",
            "another is allowed",
        ]
    );

    // The same as JSON.
    let case = json!({"case": [{
        "name": "the same directory",
        "session": [{"name": "web"}, {"name": "api", "current-dir": "/srv/api"}],
        "task": [{"working-dir": "/srv/api", "expect": "api", "expect-points": 100}],
    }]});
    let said = try_cases(&world, "default", "cases.json", &case.to_string(), &[])
        .succeeded()
        .json();
    assert_eq!(said["passed"], 1, "{said:#}");
}

#[test]
fn cases_that_fail() {
    let world = World::new();
    let expectations = [
        "expect = \"web\"",
        "expect = \"api\"\nexpect-points = 60",
        "expect-wait = \"patience\"",
        "expect = \"api\"\nexpect-points = 100",
    ];
    let cases: String = expectations
        .iter()
        .enumerate()
        .map(|(at, lines)| {
            let case = TWO_DIRECTORIES.replace("the same directory", &format!("case {at}"));
            format!("{case}{lines}\n")
        })
        .collect();
    let output = try_cases(&world, "default", "cases.toml", &cases, &[]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert_calm(&output.stderr);
    let said = output.json();
    assert_eq!(said["passed"], 1, "{said:#}");
    assert_eq!(said["failed"], 3, "{said:#}");
    let expected = [("web", "api"), ("60", "100"), ("patience", "api")];
    for (at, (expected, got)) in expected.into_iter().enumerate() {
        let case = &said["cases"][at];
        assert_eq!(case["ok"], false, "{case:#}");
        assert_eq!(case["problems"].as_array().map(Vec::len), Some(1));
        let problem = &case["problems"][0];
        assert_eq!(problem["task"], 1, "{case:#}");
        for (name, word) in [("expected", expected), ("got", got)] {
            assert!(
                problem[name]
                    .as_str()
                    .is_some_and(|text| text.contains(word)),
                "{name} {word}: {case:#}"
            );
        }
    }
    assert_eq!(said["cases"][3]["ok"], true, "{said:#}");

    // For people: which case, what was expected, what came.
    let output = world.assigner(&["policy", "test", "default", "cases.toml"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    let words = format!("{}{}", output.text(), output.stderr);
    for word in [
        "case 0", "case 1", "case 2", "web", "api", "60", "100", "patience",
    ] {
        assert!(words.contains(word), "no {word}: {words}");
    }

    // Settings on the command line count here, too.
    let cases = format!("{TWO_DIRECTORIES}expect = \"api\"\nexpect-points = 60\n");
    let set = ["--policy-set", "same-directory=60"];
    try_cases(&world, "default", "cases.toml", &cases, &set).succeeded();
    try_cases(
        &world,
        "default",
        "cases.toml",
        &cases,
        &["--policy-set", "same-direction=60"],
    )
    .refused(6);
}

#[test]
fn a_policy_that_fails_in_a_case() {
    let world = World::new();
    install(
        &world,
        "trap",
        &Plan::first("trap", "(unreachable)").component(),
    );
    let case = json!({"case": [
        {"name": "one", "session": [{"name": "a"}], "task": [{"expect": "a"}]},
        {"name": "two", "session": [{"name": "a"}], "task": [{"expect-wait": ""}]},
    ]});
    let output = try_cases(&world, "trap", "cases.json", &case.to_string(), &[]);
    assert_eq!(output.code, Some(1), "{output:?}");
    let said = output.json();
    assert_eq!(said["failed"], 2, "{said:#}");
    for case in said["cases"].as_array().expect("cases") {
        let got = case["problems"][0]["got"].as_str().unwrap_or_default();
        assert!(got.contains("stopped with an error"), "{said:#}");
    }
}

#[test]
fn cases_that_are_none() {
    let world = World::new();
    let with = |line: &str| format!("{TWO_DIRECTORIES}{line}\n");
    // Lines count from 1; the text above has 11, the first of which is empty.
    let wrong = [
        (with("wroking-dir = \"/srv\""), "wroking-dir", Some(12)),
        (with("expect-points = \"many\""), "expect-points", Some(12)),
        (with("kind = \"song\""), "song", Some(12)),
        (with("expect = = 3"), "", Some(12)),
        (with("expect = \"nobody\""), "nobody", None),
        (with("eligible = [\"nobody\"]"), "nobody", None),
        (with("avoid = [\"nobody\"]"), "nobody", None),
        (with("follows = \"nobody\""), "nobody", None),
        ("settings = {}\ncases = []\n".to_owned(), "cases", Some(2)),
        (
            "[[case]]\nname = \"a\"\n[[case.session]]\n".to_owned(),
            "name",
            None,
        ),
        ("[[case]]\nname = \"a\"\nnow = -1\n".to_owned(), "", Some(3)),
    ];
    for (cases, word, line) in wrong {
        let output = try_cases(&world, "default", "cases.toml", &cases, &[]).refused(2);
        let said = &output.stderr;
        assert!(output.stdout.is_empty(), "{}", output.text());
        assert!(said.contains("cases.toml"), "{cases}{said}");
        assert!(said.contains(word), "{cases}{said}");
        if let Some(line) = line {
            let ways = [format!("line {line}"), format!(":{line}")];
            assert!(ways.iter().any(|way| said.contains(way)), "{cases}{said}");
        }
    }
    let wrong = [
        r#"{"case": [{"name": "a", "sesion": []}]}"#,
        r#"{"case": [{"name": "a", "session": [{"name": "x", "ready": "yes"}]}]}"#,
        r#"{"case": "#,
        "[[case]]\nname = \"TOML under another name\"\n",
    ];
    for cases in wrong {
        let output = try_cases(&world, "default", "cases.json", cases, &[]).refused(2);
        assert!(output.stderr.contains("cases.json"), "{}", output.stderr);
    }
    for file in ["no-such.toml", "no-such.json"] {
        let output = world
            .assigner(&["policy", "test", "default", file])
            .refused(2);
        assert!(output.stderr.contains(file), "{}", output.stderr);
    }
    // Here the policy is what is wrong.
    fs::write(world.path("work/cases.toml"), with("expect = \"api\"")).expect("cases");
    world
        .assigner(&["policy", "test", "no-such", "cases.toml"])
        .refused(6);
}
