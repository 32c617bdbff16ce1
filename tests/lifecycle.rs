//! A task's life: cancelled, timed out, retried, waited for, settled by a person.

use serde_json::Value;

use crate::harness::{Shell, World, in_each_shell};

#[test]
fn a_pending_task_is_cancelled_at_once() {
    let world = World::new();
    let id = world.shell("touch ran");
    world.assigner(&["cancel", &id.to_string()]).succeeded();
    let task = world.show(id);
    assert_eq!(task["status"], "cancelled", "{task:#}");
    assert_eq!(task["attempts"], Value::Array(Vec::new()));
    assert!(world.history(id).iter().any(|row| row.contains("cancel")));
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    assert_eq!(world.run("echo next"), "next\n");
    assert!(!world.path("work/ran").exists());
    // It has ended, so there is nothing to cancel.
    world.assigner(&["cancel", &id.to_string()]).refused(1);
    world.assigner(&["cancel", "99"]).refused(1);
}

#[test]
fn a_running_task_is_interrupted() {
    in_each_shell(|seat| {
        let world = seat.world;
        let id = seat.shell("touch started; sleep 300; touch after");
        world.file_appears(&format!("{}/started", seat.name()));
        world.until(id, "in_progress");
        world.assigner(&["cancel", &id.to_string()]).succeeded();
        let task = world.until(id, "cancelled");
        assert_eq!(task["attempts"].as_array().map(Vec::len), Some(1));
        assert_eq!(seat.run("echo next"), "next\n");
        assert!(!seat.path("after").exists());
    });
}

#[test]
fn a_time_out_ends_the_attempt() {
    in_each_shell(|seat| {
        let world = seat.world;
        let id = seat.shell_with(&["--timeout", "1s"], "echo begun; sleep 300; touch after");
        let task = world.settled(id);
        assert_eq!(task["status"], "failed", "{task:#}");
        let error = task["error"].as_str().expect("an error");
        assert!(error.contains("1 s"), "{error}");
        // The terminal may echo the interrupt; what the shell prints afterwards is not part of the
        // task's output.
        let output = task["output"].as_str().expect("text");
        assert!(
            ["begun\n", "begun\n^C", "begun\n^C\n"].contains(&output),
            "{output:?}"
        );
        assert_eq!(seat.run("echo next"), "next\n");
        assert!(!seat.path("after").exists());
        seat.pane.has("#{pane_dead}", "0");
    });
}

#[test]
fn a_failed_task_runs_again_only_where_asked() {
    let world = World::new();
    world.session("one", Shell::Bash);
    world.session("two", Shell::Bash);
    let _daemon = world.daemon();
    let never = world.shell("echo never >> log; false");
    let good = world.shell_with(
        &["--retries", "3"],
        "echo x >> tries; test $(wc -l < tries) -ge 2",
    );
    let bad = world.shell_with(
        &["--retries", "1"],
        "echo bad >> bad; exit_code() { return 5; }; exit_code",
    );

    let task = world.settled(never);
    assert_eq!(task["status"], "failed");
    assert_eq!(task["attempts"].as_array().map(Vec::len), Some(1));

    let task = world.completed(good);
    assert_eq!(task["exit_code"], 0, "{task:#}");
    let attempts = task["attempts"].as_array().expect("attempts");
    assert_eq!(attempts.len(), 2, "{task:#}");
    assert_eq!(attempts[0]["number"], 1);
    assert_eq!(attempts[0]["status"], "failed");
    assert_eq!(attempts[0]["exit_code"], 1);
    assert_eq!(attempts[1]["number"], 2);
    assert_eq!(attempts[1]["status"], "completed");
    assert_eq!(world.lines("tries").len(), 2);

    let task = world.settled(bad);
    assert_eq!(task["status"], "failed", "{task:#}");
    assert_eq!(task["exit_code"], 5, "{task:#}");
    assert_eq!(task["attempts"].as_array().map(Vec::len), Some(2));
    assert_eq!(world.lines("bad").len(), 2);
    assert_eq!(world.lines("log"), ["never"]);
}

#[test]
fn wait_tells_how_tasks_ended() {
    let world = World::new();
    let good = world.shell("true").to_string();
    let pending = world.assigner(&["wait", "--timeout", "1s", &good]);
    assert_eq!(pending.code, Some(124), "{pending:?}");
    world.session("one", Shell::Bash);
    let bad = world.shell("false").to_string();
    let _daemon = world.daemon();
    world.assigner(&["wait", &good]).succeeded();
    assert_eq!(world.assigner(&["wait", &bad]).code, Some(1));
    assert_eq!(world.assigner(&["wait", &good, &bad]).code, Some(1));
    let cancelled = world
        .shell_with(&["--target", "nowhere"], "true")
        .to_string();
    world.assigner(&["cancel", &cancelled]).succeeded();
    assert_eq!(world.assigner(&["wait", &cancelled]).code, Some(1));
    world.assigner(&["wait", "99"]).refused(1);
    world.assigner(&["wait", &good, "99"]).refused(1);
    assert_eq!(world.assigner(&["wait"]).code, Some(2));
    let answer = world.assigner(&["--json", "wait", &good, &bad]);
    assert_eq!(answer.code, Some(1));
    answer.json();
}

/// The daemon ends while somebody waits: the wait continues until the next one.
#[test]
fn a_wait_outlives_the_daemon() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let daemon = world.daemon();
    let id = world.shell("while test ! -e go; do sleep 0.02; done");
    world.until(id, "in_progress");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| world.assigner(&["wait", &id.to_string()]));
        daemon.kill();
        let _daemon = world.daemon();
        world.touch("go");
        waiting.join().expect("a thread").succeeded();
    });
}

#[test]
fn history_tells_every_change() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    let good = world.shell("true");
    let bad = world.shell("false");
    world.completed(good);
    world.settled(bad);
    let rows = world.json(&["history", &good.to_string()]);
    let actions: Vec<&str> = rows
        .as_array()
        .expect("an array")
        .iter()
        .filter_map(|row| row["action"].as_str())
        .collect();
    assert_eq!(actions.first(), Some(&"queued"), "{rows:#}");
    assert_eq!(actions.last(), Some(&"completed"), "{rows:#}");
    for row in rows.as_array().expect("an array") {
        assert!(
            row["at"].as_str().is_some_and(|at| at.ends_with('Z')),
            "{row}"
        );
        assert!(
            row["details"].as_str().is_some_and(|why| !why.is_empty()),
            "{row}"
        );
    }
    assert!(
        world
            .history(bad)
            .iter()
            .any(|row| row.starts_with("\"failed\""))
    );
    world.assigner(&["history", "99"]).refused(1);
}

#[test]
fn a_person_settles_what_is_uncertain() {
    let world = World::new();
    world.session("one", Shell::Bash);
    for (flag, status) in [
        ("--done", "completed"),
        ("--fail", "failed"),
        ("--resend", "pending"),
    ] {
        let id = world.shell("echo ran >> log");
        // It is not uncertain, so there is nothing to resolve.
        world
            .assigner(&["resolve", flag, &id.to_string()])
            .refused(1);
        crate::queue::database(&world)
            .execute(
                "UPDATE tasks SET status = 'uncertain' WHERE id = ?1",
                [id.to_string()],
            )
            .expect("an update");
        {
            let _daemon = world.daemon();
            assert_eq!(world.run("echo next"), "next\n");
            assert_eq!(world.show(id)["status"], "uncertain");
        }
        world
            .assigner(&["resolve", flag, &id.to_string()])
            .succeeded();
        assert_eq!(world.show(id)["status"], status);
        if flag == "--resend" {
            let _daemon = world.daemon();
            world.completed(id);
        }
    }
    assert_eq!(world.lines("log"), ["ran"]);
}

/// What is typed after a job has ended belongs to the person.
#[test]
fn a_session_is_handed_back() {
    in_each_shell(|seat| {
        seat.run("true");
        seat.pane.line("echo typed by hand");
        seat.pane.shows("\ntyped by hand");
        seat.pane.prompt();
        seat.pane.has("#{pane_pipe}", "0");
        seat.world.session_is(seat.name(), "idle");
        assert_eq!(seat.run("echo next"), "next\n");
    });
}
