//! Everything in the queue: followers, times, retries, changes, batches, and the end.

use std::fs;
use std::thread;

use serde_json::{Map, Value, json};

use crate::context::{failed, reason_says, time};
use crate::harness::{
    Output, Shell, World, assert_calm, eventually, finish, in_each_shell, stays, text,
};
use crate::queue::database;

/// Asserts that a text contains the number of a task.
#[track_caller]
fn names_task(said: &Value, id: u64) {
    let id = id.to_string();
    let text = said.as_str().unwrap_or_default();
    let named = text
        .split(|c: char| !c.is_ascii_digit())
        .any(|word| word == id);
    assert!(named, "task {id} is not named: {said}");
}

/// Returns the position of a line in a file of `work`; it must occur exactly once.
#[track_caller]
fn place(lines: &[String], line: &str) -> usize {
    let places: Vec<usize> = (0..lines.len())
        .filter(|place| lines[*place] == line)
        .collect();
    assert_eq!(places.len(), 1, "{line} in {lines:?}");
    places[0]
}

/// Returns the numbers of all tasks.
fn queued(world: &World) -> Vec<u64> {
    world
        .json(&["list", "--limit", "0"])
        .as_array()
        .expect("an array")
        .iter()
        .map(|task| task["id"].as_u64().expect("a number"))
        .collect()
}

/// Asserts that a command was refused as wrong, without a panic.
#[track_caller]
fn wrong(output: &Output) {
    assert_eq!(output.code, Some(2), "{output:?}");
    assert_calm(&output.stderr);
    assert!(!output.stderr.is_empty() && output.stdout.is_empty());
}

#[test]
fn a_task_waits_for_those_before_it() {
    let world = World::new();
    for name in ["one", "two", "three"] {
        world.session(name, Shell::Bash);
    }
    // So that no number is in a text by chance.
    for _ in 0..6 {
        let id = world.shell("touch never").to_string();
        world.assigner(&["cancel", &id]).succeeded();
    }
    let hold = "while test ! -e go; do sleep 0.02; done";
    let first = world.shell(&format!("{hold}; echo first >> log"));
    let second = world.shell("echo second >> log");
    let (a, b) = (first.to_string(), second.to_string());
    let together = format!("{first},{second}");
    let comma = world.shell_with(&["--after", &together, "-p", "9"], "echo comma >> log");
    let twice = world.shell_with(&["--after", &a, "--after", &b], "echo twice >> log");
    let last = world.shell_with(&["--after", &comma.to_string()], "echo last >> log");
    for unknown in ["99", "0", "x", "", "8,99"] {
        let output = world.assigner(&["send", "--shell", "--after", unknown, "true"]);
        assert!(
            matches!(output.code, Some(1 | 2)),
            "{unknown:?}: {output:?}"
        );
        assert_calm(&output.stderr);
    }
    assert_eq!(queued(&world).last(), Some(&last));

    let _daemon = world.daemon();
    world.completed(second);
    world.until(first, "in_progress");
    for (id, parent) in [(comma, first), (twice, first), (last, comma)] {
        let reason = reason_says(&world, id, &[&parent.to_string()]);
        names_task(&json!(reason), parent);
        let task = world.show(id);
        names_task(&task["wait_reason"], parent);
        assert_eq!(task["status"], "pending", "{task:#}");
    }
    for id in [comma, twice] {
        let after = &world.show(id)["after"];
        assert_eq!(after.as_array().map(Vec::len), Some(2), "{after}");
        assert_eq!(after[0]["id"], first, "{after}");
        assert_eq!(after[0]["status"], "in_progress", "{after}");
        assert_eq!(after[0]["if_fails"], "fail", "{after}");
        assert_eq!(after[1]["id"], second, "{after}");
        assert_eq!(after[1]["status"], "completed", "{after}");
    }
    // Two sessions are free the whole time.
    assert_eq!(world.run("echo next"), "next\n");
    stays(|| world.lines("log"));
    assert_eq!(world.lines("log"), ["second"]);

    world.touch("go");
    for id in [comma, twice, last] {
        world.completed(id);
    }
    let lines = world.lines("log");
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert!(place(&lines, "first") < place(&lines, "comma"), "{lines:?}");
    assert!(place(&lines, "first") < place(&lines, "twice"), "{lines:?}");
    assert!(place(&lines, "comma") < place(&lines, "last"), "{lines:?}");
    // A parent that has ended delays nobody.
    world.completed(world.shell_with(&["--after", &a], "true"));
    assert!(!world.path("work/never").exists());
}

#[test]
fn what_fails_takes_its_followers_along_unless_they_are_released() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let after = |parents: &[u64], options: &[&str], command: &str| {
        let parents: Vec<String> = parents.iter().map(u64::to_string).collect();
        let parents = parents.join(",");
        world.shell_with(&[&["--after", &parents][..], options].concat(), command)
    };
    let release = ["--if-parent-fails", "release"];
    let good = world.shell("true");
    let bad = world.shell("sh -c 'exit 3'");
    let gone = world.shell_with(&["--target", "nowhere"], "true");
    let child = after(&[bad], &[], "touch ran");
    let said = after(&[bad], &["--if-parent-fails", "fail"], "touch ran");
    let grandchild = after(&[child], &[], "touch ran");
    let heir = after(&[child], &release, "echo heir");
    let mixed = after(&[good, bad], &[], "touch ran");
    let released = after(&[good, bad], &release, "echo released");
    let of_gone = after(&[gone], &[], "touch ran");
    let freed = after(&[gone], &release, "echo freed");
    wrong(&world.assigner(&[
        "send",
        "--shell",
        "--after",
        "1",
        "--if-parent-fails",
        "perhaps",
        "true",
    ]));

    let _daemon = world.daemon();
    for (id, parent) in [(child, bad), (said, bad), (grandchild, child), (mixed, bad)] {
        let task = failed(&world, id, &[]);
        names_task(&task["error"], parent);
        assert_eq!(task["attempts"], json!([]), "{task:#}");
        assert!(
            world
                .history(id)
                .iter()
                .any(|row| row.starts_with("\"abandoned\"")),
            "{:?}",
            world.history(id)
        );
    }
    assert_eq!(world.completed(released)["output"], "released\n");
    assert_eq!(world.completed(heir)["output"], "heir\n");
    let parents = world.show(released)["after"].clone();
    assert_eq!(parents[1]["id"], bad, "{parents}");
    assert_eq!(parents[1]["status"], "failed", "{parents}");
    assert_eq!(parents[1]["if_fails"], "release", "{parents}");

    for id in [of_gone, freed] {
        let task = world.show(id);
        assert_eq!(task["status"], "pending", "{task:#}");
    }
    world.assigner(&["cancel", &gone.to_string()]).succeeded();
    names_task(&failed(&world, of_gone, &[])["error"], gone);
    assert_eq!(world.completed(freed)["output"], "freed\n");

    // The same if it had failed before.
    let late = ["send", "--shell", "--after", &bad.to_string(), "touch ran"];
    let answer = world.json(&late);
    assert_eq!(answer["status"], "failed", "{answer}");
    let late = answer["id"].as_u64().expect("a task's number");
    names_task(&failed(&world, late, &[])["error"], bad);
    world.completed(after(&[bad], &release, "true"));
    assert!(!world.path("work/ran").exists());
}

#[test]
fn a_parent_that_is_tried_again_is_waited_for() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    // By itself: the task has not failed before its last try.
    let parent = world.shell_with(
        &["--retries", "3"],
        "echo try >> log; test $(grep -c try log) -ge 3",
    );
    let child = world.shell_with(&["--after", &parent.to_string()], "echo child >> log");
    world.completed(child);
    assert_eq!(world.lines("log"), ["try", "try", "try", "child"]);

    // By a person. The parent does not end before the child is queued.
    let parent = world.shell(
        "until test -e queued; do sleep 0.02; done; test -e mended && sleep 0.3 && touch made",
    );
    let p = parent.to_string();
    let child = world.shell_with(&["--after", &p], "test -e made");
    let c = child.to_string();
    world.touch("queued");
    failed(&world, parent, &[]);
    names_task(&failed(&world, child, &[])["error"], parent);
    // The child cannot be retried without its parent.
    let alone = world.assigner(&["retry", &c]).refused(1);
    names_task(&json!(alone.stderr), parent);
    assert_eq!(world.show(child)["status"], "failed");
    world.touch("mended");
    // In whatever order they are named.
    let answer = world.json(&["retry", &c, &p]);
    let mut ids: Vec<Option<u64>> = answer
        .as_array()
        .expect("an array")
        .iter()
        .map(|task| task["id"].as_u64())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, [Some(parent), Some(child)]);
    world.completed(child);
    assert_eq!(world.show(parent)["status"], "completed");
}

#[test]
fn a_task_may_wait_for_its_time() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    let never = ["--at", "2099-01-01T00:00:00Z", "-p", "9"];
    let never = world.shell_with(&never, "touch never");
    let before = jiff::Timestamp::now().as_millisecond();
    let delayed = world.shell_with(&["--delay", "2s", "-p", "9"], "echo late");
    let not_before = time(world.show(delayed)["not_before"].as_str().expect("a time"));
    let after = jiff::Timestamp::now().as_millisecond();
    let delay = not_before.as_millisecond() - before;
    assert!((1_000..=after - before + 2_000).contains(&delay), "{delay}");
    // The session is not reserved for them.
    assert_eq!(world.run("echo next"), "next\n");
    let task = world.completed(delayed);
    assert_eq!(task["output"], "late\n");
    let started = time(task["attempts"][0]["started_at"].as_str().expect("a time"));
    assert!(started >= not_before, "{task:#}");
    world.completed(world.shell_with(&["--at", "2001-01-01 00:00"], "true"));
    world.completed(world.shell_with(&["--delay", "1s"], "true"));

    let reason = reason_says(&world, never, &["2099"]);
    assert!(!reason.is_empty());
    let task = world.show(never);
    assert_eq!(task["status"], "pending", "{task:#}");
    assert_eq!(task["attempts"], json!([]), "{task:#}");
    assert!(!world.path("work/never").exists());
}

#[test]
fn times_are_understood_as_a_person_means_them() {
    let world = World::new();
    let not_before = |zone: &str, at: &str| {
        let mut binary = world.binary();
        binary.env("TZ", zone).args(["--json", "send", "--shell"]);
        let answer = finish(binary.args(["--at", at, "--", "true"]), b"");
        let id = answer.succeeded().json()["id"].as_u64().expect("a number");
        time(world.show(id)["not_before"].as_str().expect("a time"))
    };
    for (zone, at, expected) in [
        ("UTC0", "2099-06-01T12:30:00Z", "2099-06-01T12:30:00Z"),
        ("JST-9", "2099-06-01T12:30:00Z", "2099-06-01T12:30:00Z"),
        ("UTC0", "2099-06-01T12:30:00+02:00", "2099-06-01T10:30:00Z"),
        ("UTC0", "2099-06-01 12:30:15", "2099-06-01T12:30:15Z"),
        ("JST-9", "2099-06-01 12:30", "2099-06-01T03:30:00Z"),
    ] {
        assert_eq!(not_before(zone, at), time(expected), "{at} in {zone}");
    }
    for (zone, at, ends) in [
        ("UTC0", "03:07", "T03:07:00Z"),
        ("JST-9", "03:07", "T18:07:00Z"),
    ] {
        let earliest = jiff::Timestamp::now().as_second();
        let next = not_before(zone, at);
        let latest = jiff::Timestamp::now().as_second() + 24 * 60 * 60;
        assert!((earliest..=latest).contains(&next.as_second()), "{next}");
        assert!(next.to_string().ends_with(ends), "{next}");
    }
    let count = queued(&world).len();
    for options in [
        ["--at", "yesterday"],
        ["--at", "25:00"],
        ["--at", "2099-13-01 00:00"],
        ["--at", ""],
        ["--delay", "soon"],
        ["--delay", ""],
    ] {
        let args = [&["send", "--shell"][..], &options, &["true"]].concat();
        wrong(&world.assigner(&args));
    }
    assert_eq!(queued(&world).len(), count);
}

#[test]
fn what_failed_or_was_cancelled_gets_another_chance() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let daemon = world.daemon();
    let good = world.shell("true");
    let bad = world.shell_with(&["--retries", "1"], "echo x >> tries; test -e mended");
    let worse = world.shell("test -e mended");
    let cancelled = world.shell_with(&["--target", "nowhere"], "echo back");
    world.completed(good);
    failed(&world, bad, &[]);
    failed(&world, worse, &[]);
    assert_eq!(world.lines("tries").len(), 2);
    let retry = |ids: &[u64]| {
        let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        world.assigner(&[&["--json", "retry"][..], &ids].concat())
    };
    // Only tasks that have ended badly.
    retry(&[good]).refused(1);
    retry(&[cancelled]).refused(1);
    retry(&[99]).refused(1);
    let running = world.shell("while test ! -e go; do sleep 0.02; done");
    world.until(running, "in_progress");
    retry(&[running]).refused(1);
    world.touch("go");
    world.completed(running);
    assert_eq!(world.show(good)["status"], "completed");
    wrong(&world.assigner(&["retry"]));

    // The count of tries starts again.
    let answer = retry(&[bad]).succeeded().json();
    assert_eq!(answer, json!([{"id": bad, "status": "pending"}]));
    failed(&world, bad, &[]);
    assert_eq!(world.lines("tries").len(), 4);

    // All that failed, and nothing else; without a daemon they are pending as well.
    let id = cancelled.to_string();
    world.assigner(&["cancel", &id]).succeeded();
    drop(daemon);
    let answer = world.json(&["retry", "--all-failed"]);
    assert_eq!(
        answer,
        json!([{"id": bad, "status": "pending"}, {"id": worse, "status": "pending"}])
    );
    assert_eq!(world.show(cancelled)["status"], "cancelled");
    world.touch("mended");
    let _daemon = world.daemon();
    world.completed(bad);
    world.completed(worse);
    assert_eq!(world.lines("tries").len(), 5);
    retry(&[cancelled]).succeeded();
    world
        .assigner(&["edit", &id, "--unset", "target"])
        .succeeded();
    assert_eq!(world.completed(cancelled)["output"], "back\n");
}

#[test]
fn a_running_task_goes_to_another_session() {
    in_each_shell(|seat| {
        let (world, name) = (seat.world, seat.name());
        let other = format!("{name}-other");
        let dir = text(&world.path("work").join(name));
        world.session_in(&other, seat.shell, &dir);
        world.session_is(&other, "idle");
        let id = seat.shell(
            "sh -c 'echo started >> log; test $(wc -l < log) -ge 2 || sleep 300; echo there'",
        );
        world.file_appears(&format!("{name}/log"));
        world.until(id, "in_progress");
        let answer = world.json(&["reassign", &id.to_string(), "--to", &other]);
        assert_eq!(answer["id"], id, "{answer}");
        let task = world.completed(id);
        assert_eq!(task["session"], other.as_str(), "{task:#}");
        assert_eq!(task["output"], "there\n", "{task:#}");
        let attempts = task["attempts"].as_array().expect("attempts");
        assert_eq!(attempts.len(), 2, "{task:#}");
        assert_eq!(attempts[0]["session"], name, "{task:#}");
        assert_ne!(attempts[0]["status"], "completed", "{task:#}");
        assert_eq!(attempts[1]["session"], other.as_str(), "{task:#}");
        assert_eq!(world.lines(&format!("{name}/log")).len(), 2);
        assert_eq!(seat.run("echo next"), "next\n");
    });
}

#[test]
fn a_task_is_given_to_a_session_by_hand() {
    let world = World::new();
    world.session("one", Shell::Bash);
    world.session("two", Shell::Bash);
    let nowhere = ["--target", "nowhere"];
    let reassign = |id: u64, to: &[&str]| {
        let id = id.to_string();
        world.assigner(&[&["--json", "reassign", &id][..], to].concat())
    };
    let to_two = ["--to", "two"];
    // This works without a daemon, too.
    let pending = world.shell_with(&nowhere, "true");
    let answer = reassign(pending, &to_two).succeeded().json();
    assert_eq!(answer, json!({"id": pending, "status": "pending"}));
    let any = world.shell_with(&nowhere, "true");
    let answer = reassign(any, &[]).succeeded().json();
    assert_eq!(answer, json!({"id": any, "status": "pending"}));

    let _daemon = world.daemon();
    assert_eq!(world.completed(pending)["session"], "two");
    world.completed(any);
    let bad = world.shell_with(
        &["--target", "one"],
        "echo x >> tries; test $(wc -l < tries) -ge 2",
    );
    failed(&world, bad, &[]);
    reassign(bad, &to_two).succeeded();
    let task = world.completed(bad);
    assert_eq!(task["session"], "two", "{task:#}");
    assert_eq!(world.lines("tries").len(), 2);
    let cancelled = world.shell_with(&nowhere, "true");
    world
        .assigner(&["cancel", &cancelled.to_string()])
        .succeeded();
    reassign(cancelled, &to_two).succeeded();
    assert_eq!(world.completed(cancelled)["session"], "two");
    // A completed task stays completed.
    reassign(bad, &["--to", "one"]).refused(1);
    reassign(99, &to_two).refused(1);
    assert_eq!(world.show(bad)["session"], "two");
}

#[test]
fn a_pending_task_is_changed() {
    let world = World::new();
    let dir = world.mkdir("elsewhere");
    let parent = world.shell_with(&["--target", "nowhere"], "true");
    let task = world.shell("echo before");
    let prompt = world.send(&["touch typed"]);
    let edit = |id: u64, options: &[&str]| {
        let id = id.to_string();
        world.assigner(&[&["--json", "edit", &id][..], options].concat())
    };
    let row = |id: u64| -> (Option<String>, i64, i64) {
        database(&world)
            .query_row(
                "SELECT coalesce(target_session, target_provider), priority, max_retries \
                 FROM prompts WHERE id = ?1",
                [id.to_string()],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .expect("a row")
    };
    let parent = parent.to_string();
    let changes: [&[&str]; 12] = [
        &["--content", "pwd; sh -c 'echo ${A-none}'"],
        &["-p", "7"],
        &["--workdir", &dir],
        &["--git-branch", "release/2"],
        &["-e", "A=it's"],
        &["--prereq", "false", "--prereq", "true"],
        &["--retries", "3", "--timeout", "1s"],
        &["--label", "team=red"],
        &["--require-label", "gpu=yes"],
        &["--at", "2099-01-01T00:00:00Z"],
        &["--after", &parent],
        &["--target", "nowhere"],
    ];
    for options in changes {
        edit(task, options).succeeded().json();
    }
    let shown = world.show(task);
    assert_eq!(shown["content"], "pwd; sh -c 'echo ${A-none}'");
    assert_eq!(shown["kind"], "command", "{shown:#}");
    assert_eq!(shown["priority"], 7, "{shown:#}");
    assert_eq!(
        shown["context"],
        json!({"working_dir": dir, "git_branch": "release/2", "env": {"A": "it's"}})
    );
    assert_eq!(shown["prerequisites"], json!(["false", "true"]));
    assert_eq!(shown["labels"], json!({"team": "red"}), "{shown:#}");
    assert_eq!(
        time(shown["not_before"].as_str().expect("a time")),
        time("2099-01-01T00:00:00Z")
    );
    assert_eq!(shown["after"][0]["id"].to_string(), parent, "{shown:#}");
    assert_eq!(row(task), (Some("nowhere".to_owned()), 7, 3));
    let anybody = row(prompt).0;
    edit(prompt, &["--provider", "claude"]).succeeded();
    assert_eq!(row(prompt).0, Some("claude".to_owned()));
    edit(prompt, &["--unset", "provider"]).succeeded();
    assert_eq!(row(prompt).0, anybody);

    // An invalid edit changes nothing.
    let wrongs: [&[&str]; 7] = [
        &[],
        &["--content", "  "],
        &["-p", "high"],
        &["-e", "A B=x"],
        &["--timeout", "soon", "-p", "1"],
        &["--unset", "nonsense"],
        &["--unset", "content"],
    ];
    for options in wrongs {
        wrong(&edit(task, options));
    }
    edit(99, &["-p", "1"]).refused(1);
    let still = world.show(task);
    for field in ["content", "priority", "context", "not_before", "after"] {
        assert_eq!(still[field], shown[field], "{field}");
    }
    assert_eq!(row(task), (Some("nowhere".to_owned()), 7, 3));

    // Each field can be unset, after which nothing blocks the task.
    let fields = [
        "working-dir",
        "branch",
        "env",
        "prereq",
        "target",
        "label",
        "require-label",
        "timeout",
        "retries",
        "delay",
    ];
    for field in fields {
        edit(task, &["--unset", field]).succeeded();
    }
    let shown = world.show(task);
    let context = &shown["context"];
    assert_eq!(context["working_dir"], Value::Null, "{shown:#}");
    assert_eq!(context["git_branch"], Value::Null, "{shown:#}");
    assert_eq!(context["env"].as_object().map_or(0, Map::len), 0);
    assert_eq!(shown["prerequisites"], json!([]), "{shown:#}");
    assert_eq!(shown["labels"], json!({}), "{shown:#}");
    assert_eq!(shown["not_before"], Value::Null, "{shown:#}");
    assert_eq!(row(task).2, 0);

    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    reason_says(&world, task, &[&parent]);
    // A running daemon notices it, too.
    edit(
        task,
        &[
            "--unset",
            "after",
            "--content",
            "sleep 1.5; pwd; echo ${A-none}",
        ],
    )
    .succeeded();
    let work = text(&world.path("work"));
    assert_eq!(world.completed(task)["output"], format!("{work}\nnone\n"));
    edit(task, &["-p", "1"]).refused(1);
    let running = world.shell("while test ! -e go; do sleep 0.02; done");
    world.until(running, "in_progress");
    edit(running, &["-p", "1"]).refused(1);
    world.touch("go");
    world.completed(running);
    assert!(!world.path("work/typed").exists());
}

#[test]
fn what_is_settled_is_cleared_and_its_history_stays() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let nowhere = ["--target", "nowhere"];
    let uncertain = world.shell_with(&nowhere, "true");
    database(&world)
        .execute(
            "UPDATE tasks SET status = 'uncertain' WHERE id = ?1",
            [uncertain.to_string()],
        )
        .expect("an update");
    let _daemon = world.daemon();
    let clear = |options: &[&str]| -> u64 {
        let answer = world.json(&[&["clear"][..], options].concat());
        answer["cleared"].as_u64().expect("a number")
    };
    let good = world.shell("echo out");
    let parent = world.shell("true");
    let bad = world.shell("false");
    let cancelled = world.shell_with(&nowhere, "true");
    let parent_id = parent.to_string();
    let after = [&nowhere[..], &["--after", &parent_id]].concat();
    let waiting = world.shell_with(&after, "true");
    for id in [good, parent] {
        world.completed(id);
    }
    failed(&world, bad, &[]);
    world
        .assigner(&["cancel", &cancelled.to_string()])
        .succeeded();
    let running = world.shell("while test ! -e go; do sleep 0.02; done");
    world.until(running, "in_progress");

    assert_eq!(clear(&["--older-than", "1h"]), 0);
    assert_eq!(clear(&["--older-than", "7d", "--status", "failed"]), 0);
    // Neither failed tasks nor those that another task still waits for.
    assert_eq!(clear(&[]), 2);
    assert_eq!(
        queued(&world),
        [uncertain, parent, bad, waiting, running],
        "{good} {cancelled}"
    );
    assert_eq!(clear(&[]), 0);
    for command in ["show", "output", "retry"] {
        world.assigner(&[command, &good.to_string()]).refused(1);
    }
    for (id, end) in [(good, "completed"), (cancelled, "cancelled")] {
        let rows = world.json(&["history", &id.to_string()]);
        let ended = rows
            .as_array()
            .is_some_and(|rows| rows.iter().any(|row| row["action"] == end));
        assert!(ended, "no {end}: {rows:#}");
    }
    assert_eq!(
        clear(&["--status", "completed", "--status", "cancelled"]),
        0
    );
    assert_eq!(clear(&["--status", "failed"]), 1);
    world
        .assigner(&["cancel", &waiting.to_string()])
        .succeeded();
    assert_eq!(clear(&[]), 2);
    for status in ["pending", "in_progress", "uncertain", "nonsense"] {
        wrong(&world.assigner(&["clear", "--status", status]));
    }
    wrong(&world.assigner(&["clear", "--older-than", "long"]));

    world.touch("go");
    world.completed(running);
    eventually(|| match clear(&["--older-than", "1s"]) {
        1 => Ok(()),
        count => Err(format!("{count} cleared")),
    });
    assert_eq!(queued(&world), [uncertain]);
    // Its number is not used again: the history would be another task's.
    assert!(world.shell("true") > running);
    let status = world.json(&["status"]);
    assert_eq!(status["tasks"]["failed"], 0, "{status}");
    assert_eq!(status["tasks"]["uncertain"], 1, "{status}");
}

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
    assert_eq!(answers[0], (1..=1_000).collect::<Vec<u64>>());
    assert_eq!(answers[1], (1_001..=2_000).collect::<Vec<u64>>());
    let listed = world.json(&["list", "--limit", "0"]);
    let listed = listed.as_array().expect("an array");
    assert_eq!(listed.len(), 2_000);
    for (number, task) in listed.iter().enumerate() {
        let content = format!("echo {} >> log", number % 1_000);
        assert_eq!(task["content"], content, "{task}");
        assert_eq!(task["status"], "pending", "{task}");
    }
    for (id, parent) in [(1_000, 999), (2_000, 1_999), (1_002, 1_001)] {
        assert_eq!(world.show(id)["after"][0]["id"], parent);
    }
    assert_eq!(world.show(1_001)["after"], json!([]));
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

#[test]
fn a_task_that_is_cancelled_while_it_moves_goes_nowhere() {
    let world = World::new();
    world.session("one", Shell::Bash);
    world.session("two", Shell::Bash);
    let _daemon = world.daemon();
    // It takes a while to end, so that the second request comes before the end.
    let id = world.shell_with(
        &["--target", "one"],
        "echo start >> log; bash -c 'trap \"sleep 1; exit 1\" INT; sleep 300 & wait; wait'",
    );
    world.until(id, "in_progress");
    eventually(|| match world.lines("log").len() {
        1 => Ok(()),
        lines => Err(lines.to_string()),
    });
    let number = id.to_string();
    world
        .assigner(&["reassign", &number, "--to", "two"])
        .succeeded();
    world.assigner(&["cancel", &number]).succeeded();
    world.until(id, "cancelled");
    assert_eq!(world.lines("log"), ["start"]);
    assert_eq!(world.show(id)["attempts"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_task_without_a_new_place_goes_elsewhere() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    let id = world.shell("echo start >> log; test -e go || sleep 300");
    world.until(id, "in_progress");
    world.session("two", Shell::Bash);
    world.session_is("two", "idle");
    world.touch("go");
    world.assigner(&["reassign", &id.to_string()]).succeeded();
    let task = world.completed(id);
    assert_eq!(task["session"], "two", "{task:#}");
}
