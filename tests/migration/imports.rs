//! A database that is imported into a queue that exists.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use serde_json::json;

use super::{
    FAILED, IN_FLIGHT, READY, STAGES, TIMED_OUT, WITH_TARGETS, assert_among, assert_prompt_kept,
    copy_to_import, dump, history, id, ids, insert_as_the_earlier_program, listing, old_file,
    old_prompts, prompts, read_only, refused_for_a_reason, rows, said_of, was_in_flight,
    with_content, written_by_the_earlier_program,
};
use crate::harness::{Shell, World, text};
use crate::queue::database;

#[test]
fn an_import_merges_beside_the_tasks_that_are_there() {
    for stage in STAGES {
        let world = World::new();
        let file = copy_to_import(&world, stage);
        let was = old_prompts(stage);
        let old_history = history(&read_only(&file));
        let own = [
            world.shell("echo own"),
            world.send(&["--", "an own prompt"]),
        ];
        let own_are = || own.map(|id| (world.show(id), world.history(id)));
        let own_were = own_are();

        let counts = world.json(&["import", &text(&file)]);
        assert_eq!(counts["tasks"], was.len(), "{counts}");
        assert_eq!(counts["skipped"], 0, "{counts}");
        let in_flight = was.iter().filter(|was| was_in_flight(was)).count();
        assert_eq!(counts["uncertain"], in_flight, "{counts}");
        let sessions = rows(&read_only(&file), "SELECT name FROM sessions ORDER BY name");
        assert_eq!(counts["sessions"], sessions.len(), "{counts}");
        // The history of deleted prompts may be included, but belongs to no task.
        let there = ids(&was);
        let of_prompts = old_history
            .iter()
            .filter(|row| there.contains(&row["prompt_id"].as_u64().expect("a number")))
            .count();
        let imported = counts["history"].as_u64().expect("a number") as usize;
        assert!(
            (of_prompts..=old_history.len()).contains(&imported),
            "{counts}"
        );

        assert_eq!(own_are(), own_were);
        let is = prompts(&database(&world));
        let (kept, new) = is.split_at(own.len());
        assert_eq!(ids(kept), own);
        // In the order in which they were queued, as far as the earlier program knew.
        assert_eq!(new.len(), was.len());
        for (was, is) in was.iter().zip(new) {
            assert_prompt_kept(was, is);
        }
        assert_eq!(
            rows(&database(&world), "SELECT name FROM sessions ORDER BY name"),
            sessions
        );

        let new_history = history(&database(&world));
        for (was, is) in was.iter().zip(new) {
            let said_then = said_of(&old_history, id(was));
            assert_among(&said_then, &said_of(&new_history, id(is)));
        }
    }
}

#[test]
fn an_imported_failure_brings_its_history() {
    for stage in WITH_TARGETS {
        let world = World::new();
        for _ in 0..3 {
            world.shell("true");
        }
        let file = copy_to_import(&world, stage);
        world.json(&["import", &text(&file)]);
        let old = old_prompts(stage);
        let was = id(with_content(&old, FAILED));
        let new = prompts(&database(&world));
        let is = id(with_content(&new, FAILED));
        assert_ne!(is, was);
        let task = world.show(is);
        assert_eq!(task["status"], "failed", "{task:#}");
        assert_eq!(task["error"], TIMED_OUT, "{task:#}");
        let told: Vec<String> = (0..4)
            .map(|retry| format!("\"timeout\": \"{TIMED_OUT} (retry {retry}/3)\""))
            .collect();
        assert_among(&told, &world.history(is));
    }
}

#[test]
fn a_second_import_brings_nothing() {
    for stage in STAGES {
        let world = World::new();
        world.shell("true");
        let file = text(&copy_to_import(&world, stage));
        let first = world.json(&["import", &file]);
        let merged = dump(&database(&world));
        let second = world.json(&["import", &file]);
        assert_eq!(
            second,
            json!({"tasks": 0, "sessions": 0, "history": 0, "uncertain": 0,
                "skipped": first["tasks"]})
        );
        assert_eq!(dump(&database(&world)), merged);
    }
}

#[test]
fn an_import_does_not_touch_the_file() {
    for stage in STAGES {
        let world = World::new();
        let file = copy_to_import(&world, stage);
        let directory = file.parent().expect("a directory");
        let was = (fs::read(&file).expect("the file"), listing(directory));
        world.assigner(&["import", &text(&file)]).succeeded();
        world.assigner(&["import", &text(&file)]).succeeded();
        let is = (fs::read(&file).expect("the file"), listing(directory));
        assert!(is.0 == was.0, "the file has changed");
        assert_eq!(is.1, was.1);
    }
}

/// The earlier program has ended, and its files are in WAL mode, as it leaves them.
#[test]
fn an_import_does_not_change_a_file_that_stands_in_wal_mode() {
    let world = World::new();
    let file = copy_to_import(&world, 4);
    drop(written_by_the_earlier_program(&file, "written last"));
    let bytes = fs::read(&file).expect("the file");
    let counts = world.json(&["import", &text(&file)]);
    assert_eq!(counts["tasks"], old_prompts(4).len() + 1, "{counts}");
    assert!(
        fs::read(&file).expect("the file") == bytes,
        "the file has changed"
    );
}

/// The earlier program goes on for a while, and what it queues then is imported later.
#[test]
fn an_import_sees_what_the_earlier_program_is_writing() {
    let world = World::new();
    let file = copy_to_import(&world, 4);
    let program = written_by_the_earlier_program(&file, "written just now");
    let bytes = fs::read(&file).expect("the file");
    let count = prompts(&program).len();
    let first = world.json(&["import", &text(&file)]);
    assert_eq!(first["tasks"], count, "{first}");
    with_content(&prompts(&database(&world)), "written just now");

    insert_as_the_earlier_program(&program, "written later");
    let second = world.json(&["import", &text(&file)]);
    assert_eq!(second["tasks"], 1, "{second}");
    assert_eq!(second["skipped"], count, "{second}");
    with_content(&prompts(&database(&world)), "written later");
    assert!(fs::read(&file).expect("the file") == bytes);
    assert_eq!(prompts(&program).len(), count + 1);
}

#[test]
fn imported_commands_run_under_a_daemon_that_is_there() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    assert_eq!(world.run("echo own"), "own\n");
    let file = copy_to_import(&world, 3);
    world.json(&["import", &text(&file)]);
    let imported = prompts(&database(&world));
    for (content, output) in READY {
        let task = world.completed(id(with_content(&imported, content)));
        assert_eq!(task["output"], output, "{task:#}");
    }
    let in_flight = id(with_content(&imported, IN_FLIGHT));
    assert_eq!(world.show(in_flight)["status"], "uncertain");
    for file in ["resent", "retried", "typed-into-a-shell", "must-not-run"] {
        assert!(!world.path("work").join(file).exists(), "{file}");
    }
    world.session_is("one", "idle");
}

#[test]
fn files_that_cannot_be_imported_are_refused() {
    let world = World::new();
    world.shell("true");
    let directory = world.mkdir("bad");
    let path = |name: &str| Path::new(&directory).join(name);
    fs::create_dir(path("directory.db")).expect("a directory");
    fs::write(path("empty.db"), "").expect("a file");
    fs::write(path("text.db"), "this is no database\n".repeat(500)).expect("a file");
    let whole = fs::read(old_file(4)).expect("the old file");
    fs::write(path("cut.db"), &whole[..whole.len() / 3]).expect("a file");
    Connection::open(path("other.db"))
        .and_then(|other| other.execute_batch("CREATE TABLE prompts (title TEXT)"))
        .expect("a database");
    // A database of ours, from another installation.
    let other = World::new();
    other.shell("true");
    database(&other)
        .execute("VACUUM INTO ?1", [text(&path("ours.db"))])
        .expect("a copy");

    let was = dump(&database(&world));
    for name in [
        "missing.db",
        "directory.db",
        "empty.db",
        "text.db",
        "cut.db",
        "other.db",
        "ours.db",
    ] {
        eprintln!("{name}");
        let before = fs::read(path(name)).ok();
        let output = refused_for_a_reason(world.assigner(&["import", &text(&path(name))]));
        assert!(output.stderr.contains(name), "{}", output.stderr);
        assert!(fs::read(path(name)).ok() == before, "{name} has changed");
        assert_eq!(dump(&database(&world)), was, "{name}");
    }
    assert!(!path("missing.db").exists());

    // This installation's own database.
    let own = text(&world.data().join("assigner.db"));
    refused_for_a_reason(world.assigner(&["import", &own]));
    assert_eq!(dump(&database(&world)), was);
    assert_eq!(world.assigner(&["import"]).code, Some(2));
}
