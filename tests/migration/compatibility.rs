//! What still works after a migration: old scripts, other tools, and odd values.

use std::collections::BTreeMap;
use std::fs;

use rusqlite::Connection;
use serde_json::{Value, json};

use super::{
    FAILED, IN_FLIGHT, READY, STAGES, WITH_CONTEXT, assert_same, backups, dump, id, ids,
    is_for_a_shell, last_number_given, old_file, old_prompts, old_world, open, prompts, read_only,
    rows, with_content,
};
use crate::harness::{Shell, World};
use crate::queue::database;

/// The queries of scripts for the earlier program, word for word.
#[test]
fn old_scripts_find_what_they_ask_for() {
    let questions = [
        "SELECT name, status, current_dir, git_branch, last_context_update FROM sessions",
        "SELECT id, status, metadata FROM prompts WHERE metadata LIKE '%working_dir%'",
        "SELECT id, metadata FROM prompts ORDER BY created_at DESC LIMIT 1",
        "SELECT git_branch FROM sessions WHERE name='architect'",
        "SELECT name FROM sessions WHERE current_dir LIKE '%architect%'",
        "SELECT name FROM sessions WHERE git_branch = 'dev'",
    ];
    for stage in STAGES {
        let old = read_only(&old_file(stage));
        let world = old_world(stage);
        open(&world);
        let new = database(&world);
        let answers = questions.map(|question| rows(&new, question));

        let sessions = rows(&old, "SELECT name FROM sessions");
        assert_eq!(answers[0].len(), sessions.len());
        let about = rows(&old, questions[1]);
        assert!(!about.is_empty());
        assert_eq!(ids(&answers[1]), ids(&about));
        for (was, is) in about.iter().zip(&answers[1]) {
            assert_same(&["metadata"], was, is);
        }
        assert_eq!(answers[2].len(), 1);
        // In the last stage, one row has a time that is not valid.
        if stage < 4 {
            assert_eq!(answers[2], rows(&old, questions[2]));
        }
        if WITH_CONTEXT.contains(&stage) {
            for (question, answer) in questions.iter().zip(&answers).skip(3) {
                assert_eq!(answer.len(), 1, "{question}: {answer:?}");
                assert_eq!(answer, &rows(&old, question), "{question}");
            }
        } else {
            // The branches were not known.
            assert_eq!(answers[3].len(), 1);
            assert_eq!(answers[3][0]["git_branch"], Value::Null);
            assert!(answers[5].is_empty());
        }
    }
}

#[test]
fn old_scripts_still_queue() {
    for stage in STAGES {
        let world = old_world(stage);
        open(&world);
        let metadata = r#"{"working_dir": "/srv/app",  "project_type": "rust"}"#;
        database(&world)
            .execute(
                "INSERT INTO prompts (content, source, priority, metadata, target_session, \
                 target_provider, timeout_minutes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                ("make it", "api", 8, metadata, "architect", "claude", 45),
            )
            .expect("an insert");
        let prompts = prompts(&database(&world));
        let row = with_content(&prompts, "make it");
        assert!(id(row) > last_number_given(stage));
        for (column, value) in [
            ("source", json!("api")),
            ("priority", json!(8)),
            ("status", json!("pending")),
            ("metadata", json!(metadata)),
            ("target_session", json!("architect")),
            ("target_provider", json!("claude")),
            ("retry_count", json!(0)),
            ("timeout_minutes", json!(45)),
        ] {
            assert_eq!(row[column], value, "{column}");
        }
        let task = world.show(id(row));
        assert_eq!(task["kind"], "prompt", "{task:#}");
        assert_eq!(task["context"]["working_dir"], "/srv/app", "{task:#}");
    }
}

#[test]
fn every_command_reads_what_was_taken_over() {
    let world = old_world(4);
    for prompt in old_prompts(4) {
        let id = id(&prompt).to_string();
        for command in ["show", "explain", "history"] {
            world.assigner(&[command, &id]).succeeded();
            world.json(&[command, &id]);
        }
    }
    for command in [&["list"][..], &["status"], &["sessions", "--all"]] {
        world.assigner(command).succeeded();
        world.json(command);
    }
}

#[test]
fn other_tools_find_their_tables_and_views() {
    let world = old_world(4);
    open(&world);
    let notes = "SELECT id, text FROM team_notes ORDER BY id";
    let notes_were = rows(&read_only(&old_file(4)), notes);
    assert_eq!(notes_were.len(), 3);
    assert_eq!(rows(&database(&world), notes), notes_were);

    let depth = || -> BTreeMap<String, u64> {
        let counts = rows(&database(&world), "SELECT status, n FROM queue_depth");
        let counts = counts.iter().map(|row| {
            let status = row["status"].as_str().expect("a status");
            (status.to_owned(), row["n"].as_u64().expect("a number"))
        });
        counts.collect()
    };
    let before = depth();
    let count = |status: &str| -> u64 {
        let listed = world.json(&["list", "--limit", "0", "--status", status]);
        listed.as_array().map_or(0, Vec::len) as u64
    };
    for status in ["pending", "completed", "failed", "cancelled", "uncertain"] {
        assert_eq!(before.get(status), Some(&count(status)), "{status}");
    }
    assert_eq!(before.len(), 5, "{before:?}");

    // The view shows the queue as it is now, not as it was.
    world.shell("true");
    assert_eq!(depth()["pending"], before["pending"] + 1);
}

/// Values that other tools may have written into columns that accept anything.
#[test]
fn values_that_make_no_sense_cost_no_row() {
    let bent = [
        "source = NULL",
        "priority = NULL",
        "priority = 'high'",
        "priority = 9223372036854775807",
        "status = NULL",
        "status = 'paused'",
        "status = ''",
        "created_at = NULL",
        "created_at = x'ff00'",
        "created_at = -1",
        "assigned_at = 'never'",
        "completed_at = ''",
        "max_retries = NULL",
        "max_retries = 'many'",
        "retry_count = NULL",
        "retry_count = -1",
        "timeout_minutes = NULL",
        "timeout_minutes = 'soon'",
        "timeout_minutes = 9223372036854775807",
        "metadata = x'fffe'",
        "metadata = 7",
        "target_provider = ''",
        "response = x'00ff'",
        "error = 5",
    ];
    let world = old_world(4);
    let old = Connection::open(world.data().join("assigner.db")).expect("the database");
    let was = prompts(&old);
    assert!(was.len() >= bent.len());
    for (row, change) in was.iter().zip(bent) {
        let update = format!("UPDATE prompts SET {change} WHERE id = {}", id(row));
        assert_eq!(old.execute(&update, ()).expect("an update"), 1, "{update}");
    }
    old.execute("UPDATE sessions SET status = NULL, is_claude = NULL", ())
        .expect("an update");
    drop(old);

    let listed = open(&world);
    assert_eq!(ids(&listed), ids(&was));
    for (was, task) in was.iter().zip(&listed) {
        assert_same(&["content"], was, task);
        let id = id(was).to_string();
        world.assigner(&["show", &id]).succeeded();
    }
    world.assigner(&["sessions", "--all"]).succeeded();
    world.assigner(&["status"]).succeeded();
}

#[test]
fn a_database_of_another_program_is_left_alone() {
    for schema in [
        "CREATE TABLE prompts (title TEXT); INSERT INTO prompts VALUES ('mine')",
        "CREATE TABLE sessions (name TEXT PRIMARY KEY); INSERT INTO sessions VALUES ('mine')",
        "CREATE VIEW prompts AS SELECT 1 AS id, 'mine' AS content, 'pending' AS status",
    ] {
        let world = World::new();
        fs::create_dir(world.data()).expect("a data directory");
        let other = database(&world);
        other.execute_batch(schema).expect("a schema");
        let was = dump(&other);
        drop(other);
        for args in [&["list"][..], &["send", "--shell", "true"], &["run"]] {
            world.assigner(args).refused(5);
        }
        assert_eq!(dump(&database(&world)), was);
        assert!(backups(&world).is_empty());
    }
}

/// Commands run, prompts wait for an agent, and tasks that were in flight wait for a person.
#[test]
fn the_old_queue_goes_on() {
    for stage in [2, 4] {
        let was = old_prompts(stage);
        let number = |content: &str| id(with_content(&was, content));
        let world = old_world(stage);
        // A session that the earlier program knew, too.
        let pane = world.session("worker-1", Shell::Bash);
        let _daemon = world.daemon();
        for (content, output) in READY {
            let task = world.completed(number(content));
            assert_eq!(task["kind"], "command", "{task:#}");
            assert_eq!(task["output"], output, "{task:#}");
        }

        let in_flight = number(IN_FLIGHT);
        assert_eq!(world.show(in_flight)["status"], "uncertain");
        assert!(world.lines("resent").is_empty());
        world
            .assigner(&["resolve", "--resend", &in_flight.to_string()])
            .succeeded();
        world.completed(in_flight);
        assert_eq!(world.lines("resent"), ["ran"]);

        let failed = number(FAILED);
        assert!(world.lines("retried").is_empty());
        assert_eq!(
            world.json(&["retry", &failed.to_string()]),
            json!([{"id": failed, "status": "pending"}])
        );
        world.completed(failed);
        assert_eq!(world.lines("retried"), ["ran"]);

        let mut waiting = 0;
        for prompt in was.iter().filter(|was| was["status"] == "pending") {
            if !is_for_a_shell(prompt) {
                assert_eq!(world.show(id(prompt))["status"], "pending");
                world.reason(id(prompt));
                waiting += 1;
            }
        }
        assert!(waiting >= 5);
        for file in ["typed-into-a-shell", "must-not-run"] {
            assert!(!world.path("work").join(file).exists(), "{file}");
        }
        assert!(!pane.screen().contains("typed-into"), "{}", pane.screen());
        let session = world.session_is("worker-1", "idle");
        assert!(session["env"].is_object(), "{session}");
        assert_eq!(world.run("echo next"), "next\n");
    }
}
