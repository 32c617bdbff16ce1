//! Tasks that wait for other tasks, or for a time.

use serde_json::json;

use crate::harness::tasks::{failed, names_task, place, queued, reason_says, time, wrong};
use crate::harness::{Shell, World, assert_calm, finish, stays};

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
