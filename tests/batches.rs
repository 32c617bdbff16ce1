//! Batches: many tasks that are queued as one, or not at all.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::tasks::{failed, names_task, place, queued};
use crate::harness::{Shell, World, assert_calm, finish, text};

/// JSON lines, one object each.
fn lines(objects: &[Value]) -> String {
    objects.iter().map(|object| format!("{object}\n")).collect()
}

#[test]
fn a_batch_is_queued_as_one() {
    let world = World::new();
    let dir = world.mkdir("batch");
    let old = world.shell("echo old >> log");
    let value = "it's \"$(touch leaked)\"\nnew \u{1f980}";
    let write = |what: &str| format!("echo {what} >> '{}'", text(&world.path("work/log")));
    let batch = lines(&[
        json!({"name": "build", "content": write("build"), "shell": true, "working_dir": dir,
            "env": {"VALUE": value}, "prereq": ["printenv VALUE > value", write("prereq")],
            "timeout": "5m", "retries": 1, "labels": {"team": "red"}, "after": [old]}),
        json!({"name": "check", "content": write("check"), "shell": true, "priority": 9,
            "after": ["build"]}),
        json!({"name": "docs", "content": write("docs"), "shell": true, "after": ["build", old]}),
        json!({"content": write("publish"), "shell": true, "after": ["check", "docs"],
            "timeout": 5}),
        json!({"name": "fails", "content": "false", "shell": true}),
        json!({"content": "echo freed", "shell": true, "after": ["fails"],
            "if_parent_fails": "release"}),
        json!({"content": "touch ran", "shell": true, "after": ["fails"]}),
        json!({"content": "printenv TOKEN; printenv A", "shell": true, "target": "one",
            "target_fallback": true, "no_context_match": true, "isolate_env": true,
            "env": {"A": "a"}, "secret_env": ["TOKEN"], "prereq_timeout": "30s", "prereq": ["true"],
            "delay": "1s"}),
        json!({"content": "touch ran", "shell": true, "at": "2099-01-01T00:00:00Z"}),
        json!({"content": "touch ran", "provider": "claude", "fallback": ["codex"],
            "allow_fallback": true, "branch": "main", "require_branch": true,
            "require_labels": {"a": "b"}}),
        json!({"content": "touch ran", "providers": ["claude", "codex"]}),
    ]);
    // Blank lines are ignored.
    let file = world.path("batch.jsonl");
    fs::write(&file, format!("\n{}\n  \n", batch.replace('\n', "\n\n"))).expect("a file");
    let mut binary = world.binary();
    binary.env("TOKEN", "hush-in-a-batch");
    binary.args(["--json", "send", "--batch"]).arg(&file);
    let answer = finish(&mut binary, b"").succeeded().json();
    let expected: Vec<Value> = (2..=12)
        .map(|id| json!({"id": id, "status": "pending"}))
        .collect();
    assert_eq!(answer, Value::Array(expected));
    let task = world.show(2);
    assert_eq!(task["context"]["working_dir"], dir.as_str(), "{task:#}");
    assert_eq!(task["context"]["env"], json!({"VALUE": value}));
    assert_eq!(task["labels"], json!({"team": "red"}), "{task:#}");
    assert_eq!(task["prerequisites"][1], write("prereq"), "{task:#}");
    assert_eq!(world.show(3)["priority"], 9);
    let after = world.show(4)["after"].clone();
    let mut parents = [after[0]["id"].as_u64(), after[1]["id"].as_u64()];
    parents.sort_unstable();
    assert_eq!(parents, [Some(old), Some(2)], "{after}");
    for id in [11, 12] {
        assert_eq!(world.show(id)["kind"], "prompt");
    }

    world.session("one", Shell::Bash);
    world.session("two", Shell::Bash);
    let _daemon = world.daemon();
    for id in 2..=5 {
        world.completed(id);
    }
    let log = world.lines("log");
    assert_eq!(log[..3], ["old", "prereq", "build"]);
    assert_eq!(log[5..], ["publish"]);
    assert!(place(&log, "check").max(place(&log, "docs")) < 5);
    assert_eq!(
        fs::read_to_string(format!("{dir}/value")).expect("a file"),
        format!("{value}\n")
    );
    assert_eq!(world.completed(7)["output"], "freed\n");
    names_task(&failed(&world, 8, &[])["error"], 6);
    assert_eq!(world.completed(9)["output"], "***\na\n");
    for id in [10, 11, 12] {
        assert_eq!(world.show(id)["status"], "pending");
    }
    for name in ["work/ran", "batch/ran", "batch/leaked", "work/leaked"] {
        assert!(!world.path(name).exists(), "{name}");
    }

    // From standard input, with output for people.
    let batch = lines(&[
        json!({"content": "echo a", "shell": true}),
        json!({"content": "echo b", "shell": true}),
    ]);
    let output = world.assigner_with_input(&["send", "--batch", "-"], batch.as_bytes());
    assert_eq!(
        output.succeeded().text(),
        "task 13 queued\ntask 14 queued\n"
    );
    assert_eq!(world.completed(14)["output"], "b\n");
}

#[test]
fn a_batch_with_an_error_queues_nothing() {
    let world = World::new();
    // Thirteen good lines, one wrong line, and one more good line.
    let good = lines(&[json!({"name": "good", "content": "true", "shell": true})]);
    let head = format!(
        "{good}{}",
        "{\"content\": \"true\", \"shell\": true}\n\n".repeat(6)
    );
    let tail = lines(&[json!({"name": "later", "content": "true", "shell": true})]);
    let with = |key: &str, value: Value| {
        let mut object = json!({"content": "true", "shell": true});
        object[key] = value;
        object.to_string()
    };
    let cases = [
        "{\"content\": \"true\", \"shell\": true".to_owned(),
        "no json".to_owned(),
        "[\"true\"]".to_owned(),
        "\"true\"".to_owned(),
        "null".to_owned(),
        "{\"content\": \"true\"} {\"content\": \"true\"}".to_owned(),
        "{\"shell\": true}".to_owned(),
        "{}".to_owned(),
        with("no_such_key", json!(1)),
        with("content", json!("")),
        with("content", json!(" \n ")),
        with("content", json!("nul \u{0} byte")),
        with("content", json!(5)),
        with("content", json!(["true"])),
        with("shell", json!("yes")),
        with("working_dir", json!(5)),
        with("env", json!(["A=b"])),
        with("env", json!({"A": 5})),
        with("env", json!({"A B": "x"})),
        with("prereq", json!("true")),
        with("prereq_timeout", json!("soon")),
        with("priority", json!("high")),
        with("priority", json!(99_999_999_999_u64)),
        with("retries", json!(-1)),
        with("timeout", json!("soon")),
        with("timeout", json!(-1)),
        with("delay", json!("later")),
        with("at", json!("never")),
        with("labels", json!({"": "x"})),
        with("after", json!(["unknown"])),
        with("after", json!(["later"])),
        with("after", json!([99])),
        with("if_parent_fails", json!("perhaps")),
        with("secret_env", json!(["NO_SUCH_TOKEN"])),
        with("provider", json!("claude")),
        with("require_branch", json!(true)),
    ];
    for case in cases {
        let batch = format!("{head}{case}\n{tail}");
        assert_eq!(batch.lines().position(|line| line == case), Some(13));
        let output = world.assigner_with_input(&["send", "--batch", "-"], batch.as_bytes());
        let output = output.refused(2);
        names_task(&json!(output.stderr), 14);
        assert!(output.stdout.is_empty(), "{case}: {output:?}");
        assert_eq!(queued(&world), [0_u64; 0], "{case}");
    }
    let bytes = [head.as_bytes(), b"{\"content\": \"\xff\"}\n"].concat();
    let output = world.assigner_with_input(&["send", "--batch", "-"], &bytes);
    names_task(&json!(output.refused(2).stderr), 14);
    for file in ["/no/such/batch", "/"] {
        let output = world.assigner(&["send", "--batch", file]);
        assert!(matches!(output.code, Some(1 | 2)), "{output:?}");
        assert!(output.stderr.contains(file), "{output:?}");
        assert_calm(&output.stderr);
    }
    assert_eq!(queued(&world), [0_u64; 0]);
    // The good lines were good.
    let batch = format!("{head}{tail}");
    let output = world.assigner_with_input(&["send", "--batch", "-"], batch.as_bytes());
    output.succeeded();
    assert_eq!(queued(&world), [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn a_thousand_lines_come_in_at_once() {
    let world = World::new();
    let chain = |count: u64| -> String {
        (0..count)
            .map(|number| {
                let mut object = json!({"name": format!("n{number}"), "shell": true,
                    "content": format!("echo {number} >> log")});
                if number > 0 {
                    object["after"] = json!([format!("n{}", number - 1)]);
                }
                format!("{object}\n")
            })
            .collect()
    };
    let batch = chain(1_000);
    // Two at a time: neither is torn or lost.
    let send = || {
        world
            .assigner_with_input(&["--json", "send", "--batch", "-"], batch.as_bytes())
            .succeeded()
            .json()
    };
    let mut answers: Vec<Vec<u64>> = thread::scope(|scope| {
        let senders = [scope.spawn(send), scope.spawn(send)];
        senders
            .into_iter()
            .map(|sender| {
                let answer = sender.join().expect("a sender");
                let tasks = answer.as_array().expect("an array");
                tasks
                    .iter()
                    .filter_map(|task| task["id"].as_u64())
                    .collect::<Vec<u64>>()
            })
            .collect()
    });
    answers.sort();
    let all: BTreeSet<u64> = answers.iter().flatten().copied().collect();
    assert_eq!(all, (1..=2_000).collect());
    let listed = world.json(&["list", "--limit", "0"]);
    let listed = listed.as_array().expect("an array");
    assert_eq!(listed.len(), 2_000);
    for answer in &answers {
        assert!(answer.is_sorted());
        for (number, id) in answer.iter().enumerate() {
            let task = &listed[*id as usize - 1];
            assert_eq!(task["id"], *id);
            assert_eq!(task["content"], format!("echo {number} >> log"), "{task}");
            assert_eq!(task["status"], "pending", "{task}");
        }
        for number in [1, 500, 999] {
            let task = world.show(answer[number]);
            assert_eq!(task["after"][0]["id"], answer[number - 1], "{task:#}");
        }
        assert_eq!(world.show(answer[0])["after"], json!([]));
    }
    // With one wrong line, none of the lines count.
    let broken = format!("{batch}{{}}\n");
    let output = world.assigner_with_input(&["send", "--batch", "-"], broken.as_bytes());
    names_task(&json!(output.refused(2).stderr), 1_001);
    assert_eq!(queued(&world).len(), 2_000);

    // They run in order, and an urgent task need not wait for them.
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    world.completed(world.shell_with(&["-p", "1"], "true"));
    world.completed(3);
    assert_eq!(world.lines("log")[..3], ["0", "1", "2"]);
}

/// A daemon brings to its end what a sender has left, and nothing is queued of what it had not finished.
#[test]
fn a_batch_whose_sender_is_killed_is_queued_as_a_whole_or_not_at_all() {
    let world = World::new();
    let batch: String = (0..3_000)
        .map(|number| {
            format!(
                "{}\n",
                json!({"content": format!("touch {number}"), "shell": true})
            )
        })
        .collect();
    let _daemon = world.daemon();
    for round in 0..6 {
        let mut binary = world.binary();
        binary.args(["send", "--batch", "-"]);
        let mut sender = binary
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("a sender");
        let mut input = sender.stdin.take().expect("its input");
        input.write_all(batch.as_bytes()).expect("written");
        drop(input);
        thread::sleep(Duration::from_millis(150 * round));
        sender.kill().expect("killed");
        sender.wait().expect("its end");
    }
    let database = world.data().join("assigner.db");
    let database = rusqlite::Connection::open(database).expect("the database");
    let number = |query: &str| -> i64 {
        let number = database.query_row(query, [], |row| row.get(0));
        number.expect("a number")
    };
    // Another goes on with a batch that is whole once its sender has done nothing for ten seconds.
    world.patiently(|| {
        let whole = number("SELECT count(*) FROM batch_slices JOIN batches ON id = batch_id WHERE state = 'whole' AND ids IS NULL");
        match whole {
            0 => Ok(()),
            left => Err(format!("{left} slices are left")),
        }
    });
    // One whose sender lives is there at once.
    world
        .assigner_with_input(&["send", "--batch", "-"], batch.as_bytes())
        .succeeded();
    let batches = number("SELECT count(*) FROM tasks WHERE content = 'touch 0'");
    assert!(batches >= 1);
    let other =
        "SELECT count(*) FROM (SELECT content FROM tasks GROUP BY content HAVING count(*) <> ";
    assert_eq!(number(&format!("{other}{batches})")), 0);
    assert_eq!(number("SELECT count(*) FROM tasks"), batches * 3_000);
}
