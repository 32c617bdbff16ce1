//! Tasks that are tried again, moved, changed, or cleared away.

use std::fs;

use serde_json::{Map, Value, json};

use crate::harness::tasks::{failed, queued, reason_says, time, wrong};
use crate::harness::{Shell, World, eventually, in_each_shell, text};
use crate::queue::database;

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

/// Many at once, with others in between: nothing is missed, and each is told.
#[test]
fn ranges_are_changed_in_slices() {
    let world = World::new();
    let lines: String = (0..150)
        .map(|number| format!("{{\"content\": \"echo {number}\", \"shell\": true}}\n"))
        .collect();
    world
        .assigner_with_input(&["send", "--batch", "-"], lines.as_bytes())
        .succeeded();
    let number = |sql: &str| -> i64 {
        database(&world)
            .query_row(sql, [], |row| row.get(0))
            .expect("a number")
    };
    let edited = world.json(&["edit", "10-140", "150", "-p", "5"]);
    assert_eq!(edited.as_array().map(Vec::len), Some(132), "{edited:#}");
    assert_eq!(edited[0]["changed"][0], "priority", "{edited:#}");
    let changed = "SELECT count(*) FROM prompts WHERE priority = 5";
    assert_eq!(number(changed), 132);
    // One that is not there does not stop the others, and no option stops all of them.
    let partly = world.assigner(&["edit", "1-3", "999", "-p", "4"]);
    assert_eq!(partly.code, Some(1), "{partly:?}");
    assert_eq!(partly.text().lines().count(), 3, "{partly:?}");
    world.assigner(&["edit", "1-150"]).refused(2);
    world.assigner(&["cancel", "1-149"]).succeeded();
    let cancelled = "SELECT count(*) FROM prompts WHERE status = 'cancelled'";
    assert_eq!(number(cancelled), 149);
    // Ranges are of those that can be changed.
    let all = world.assigner(&["edit", "--all", "-p", "3"]).succeeded();
    assert_eq!(all.text(), "task 150 changed: priority\n");
    let again = world.assigner(&["retry", "1-150"]).succeeded();
    assert_eq!(again.text().lines().count(), 149);
    assert_eq!(number(cancelled), 0);
    // What cannot be told is done nevertheless.
    let full = fs::OpenOptions::new().write(true).open("/dev/full");
    if let Ok(full) = full {
        let mut cancel = world.binary();
        cancel.args(["cancel", "--all"]).stdout(full);
        let ended = cancel.status().expect("it runs");
        assert_eq!(ended.code(), Some(7));
        assert_eq!(number(cancelled), 150);
    }
}
