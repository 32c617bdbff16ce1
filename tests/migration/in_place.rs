//! A database that is migrated in place: everything in it is kept, and the old file as a copy.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread;

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use super::{
    FAILED, Row, STAGES, TIMED_OUT, WITH_TARGETS, assert_prompts_kept, assert_same,
    assert_same_time, backup, backups, copy_to_import, dump, history, id, ids, is_for_a_shell,
    last_number_given, old_file, old_prompts, old_world, open, prompts, read_only, rows, said_of,
    was_in_flight, with_content, written_by_the_earlier_program,
};
use crate::harness::World;
use crate::queue::database;

#[test]
fn every_prompt_is_kept_with_its_number() {
    for stage in STAGES {
        let was = old_prompts(stage);
        let world = old_world(stage);
        let listed = open(&world);
        assert_prompts_kept(&was, &prompts(&database(&world)));

        assert_eq!(ids(&listed), ids(&was));
        for (was, task) in was.iter().zip(&listed) {
            assert_same(&["content", "priority"], was, task);
        }
    }
}

#[test]
fn prompts_wait_for_agents_and_those_for_a_shell_are_commands() {
    for stage in STAGES {
        let was = old_prompts(stage);
        let world = old_world(stage);
        let mut pending = 0;
        for (was, task) in was.iter().zip(&open(&world)) {
            let kind = if is_for_a_shell(was) {
                "command"
            } else {
                "prompt"
            };
            assert_eq!(task["kind"], kind, "{task:#?}");
            if was["status"] == "pending" {
                assert_eq!(task["status"], "pending", "{task:#?}");
                pending += 1;
            }
        }
        assert!(pending > 0);
    }
}

#[test]
fn what_was_in_flight_is_uncertain_and_its_history_says_why() {
    for stage in STAGES {
        let old = read_only(&old_file(stage));
        let world = old_world(stage);
        open(&world);
        let now = history(&database(&world));
        let in_flight: Vec<u64> = prompts(&old)
            .iter()
            .filter(|was| was_in_flight(was))
            .map(id)
            .collect();
        assert!(in_flight.len() >= 2);
        for id in in_flight {
            let task = world.show(id);
            assert_eq!(task["status"], "uncertain", "{task:#}");
            assert!(task["error"].is_string(), "{task:#}");
            let was = said_of(&history(&old), id);
            let is = said_of(&now, id);
            assert_eq!(is.len(), was.len() + 1, "{is:#?}");
            let [_, _, why] = &is[was.len()];
            assert!(why.as_str().is_some_and(|why| !why.is_empty()), "{is:#?}");
        }
    }
}

#[test]
fn every_session_is_kept() {
    let by_name = "SELECT * FROM sessions ORDER BY name";
    for stage in STAGES {
        let was = rows(&read_only(&old_file(stage)), by_name);
        let world = old_world(stage);
        open(&world);
        let is = rows(&database(&world), by_name);
        let names = |rows: &[Row]| -> Vec<Value> {
            rows.iter().map(|session| session["name"].clone()).collect()
        };
        assert_eq!(names(&is), names(&was));
        for (was, is) in was.iter().zip(&is) {
            let kept = [
                "working_dir",
                "is_claude",
                "last_output",
                "current_dir",
                "git_branch",
            ];
            assert_same(&kept, was, is);
            if was.get("provider").is_some_and(Value::is_string) {
                assert_same(&["provider"], was, is);
            }
            for time in ["last_activity", "updated_at", "last_context_update"] {
                if let Some(was) = was.get(time) {
                    assert_same_time(was, &is[time]);
                }
            }
            let variables = |session: &Row| -> Option<Row> {
                serde_json::from_str(session.get("env_vars")?.as_str()?).ok()
            };
            if let Some(variables_were) = variables(was) {
                assert_eq!(variables(is), Some(variables_were));
            }
        }
    }
}

#[test]
fn history_is_kept_also_of_prompts_that_were_deleted() {
    for stage in STAGES {
        let old = read_only(&old_file(stage));
        let was = history(&old);
        let world = old_world(stage);
        open(&world);
        let is: BTreeMap<u64, Row> = history(&database(&world))
            .into_iter()
            .map(|row| (id(&row), row))
            .collect();
        for was in &was {
            let is = is.get(&id(was)).unwrap_or_else(|| panic!("no {was:?}"));
            assert_same(&["prompt_id", "session_name", "action", "details"], was, is);
            assert_same_time(&was["created_at"], &is["created_at"]);
        }

        let there = ids(&prompts(&old));
        let deleted: BTreeSet<u64> = was
            .iter()
            .map(|row| row["prompt_id"].as_u64().expect("a number"))
            .filter(|prompt| !there.contains(prompt))
            .collect();
        assert!(deleted.len() >= 3);
        for prompt in deleted {
            let told = world.history(prompt);
            assert_eq!(told.len(), said_of(&was, prompt).len(), "{told:?}");
        }
    }
}

#[test]
fn history_of_an_old_failure_is_told() {
    for stage in WITH_TARGETS {
        let was = old_prompts(stage);
        let failed = with_content(&was, FAILED);
        let world = old_world(stage);
        let task = world.show(id(failed));
        assert_eq!(task["status"], "failed", "{task:#}");
        assert_eq!(task["error"], TIMED_OUT, "{task:#}");
        let told = world.history(id(failed));
        assert_eq!(told.len(), 8, "{told:?}");
        let last = format!("\"timeout\": \"{TIMED_OUT} (retry 3/3)\"");
        assert_eq!(told[7], last, "{told:?}");
    }
}

#[test]
fn old_responses_are_outputs() {
    let was = old_prompts(4);
    let world = old_world(4);
    let mut answered = 0;
    for prompt in &was {
        let response = prompt["response"].as_str().unwrap_or_default();
        assert_eq!(
            String::from_utf8_lossy(&world.output(id(prompt))),
            response,
            "{prompt:#?}"
        );
        answered += usize::from(!response.is_empty());
    }
    assert!(answered >= 7);
}

#[test]
fn the_old_file_is_kept_as_a_copy_for_its_owner_alone() {
    for stage in STAGES {
        let world = old_world(stage);
        open(&world);
        let mode = fs::metadata(backup(&world)).expect("a copy").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        assert_eq!(backups(&world), [backup(&world)]);
        assert_eq!(
            dump(&read_only(&backup(&world))),
            dump(&read_only(&old_file(stage)))
        );
    }
}

#[test]
fn the_next_command_changes_nothing_more() {
    for stage in STAGES {
        let world = old_world(stage);
        let listed = open(&world);
        let taken_over = dump(&database(&world));
        let copy = fs::read(backup(&world)).expect("a copy");
        assert_eq!(open(&world), listed);
        world.json(&["status"]);
        assert_eq!(dump(&database(&world)), taken_over);
        assert!(fs::read(backup(&world)).expect("a copy") == copy);
        assert_eq!(backups(&world).len(), 1);
    }
}

/// The earlier program was killed: its last changes are not yet in the database's file.
#[test]
fn what_was_written_last_before_a_crash_is_kept() {
    for stage in STAGES {
        let world = old_world(stage);
        let scene = copy_to_import(&world, stage);
        let program = written_by_the_earlier_program(&scene, "written last");
        let was = prompts(&program);
        for end in ["", "-wal"] {
            fs::copy(
                format!("{}{end}", scene.display()),
                world.data().join(format!("assigner.db{end}")),
            )
            .expect("a copy");
        }
        open(&world);
        with_content(&was, "written last");
        assert_prompts_kept(&was, &prompts(&database(&world)));
        assert_eq!(prompts(&read_only(&backup(&world))), was);
    }
}

/// The machine crashed while the copy was made, or right after: the next command makes it again.
#[test]
fn a_crash_while_the_copy_was_made_does_no_harm() {
    let whole = fs::read(old_file(4)).expect("the old file");
    for length in [0, 100, whole.len() / 2, whole.len()] {
        eprintln!("{length} bytes");
        let world = old_world(4);
        fs::write(backup(&world), &whole[..length]).expect("a copy that was cut short");
        open(&world);
        assert_prompts_kept(&old_prompts(4), &prompts(&database(&world)));
        let is_whole = |path: &PathBuf| {
            let copy = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
            let intact = copy.and_then(|copy| {
                copy.query_row("SELECT count(*) FROM prompts", (), |row| {
                    row.get::<_, i64>(0)
                })
            });
            intact.is_ok() && prompts(&read_only(path)) == old_prompts(4)
        };
        assert!(
            backups(&world).iter().any(is_whole),
            "{:?}",
            backups(&world)
        );
    }
}

#[test]
fn eight_commands_at_once_take_it_over_once() {
    let alone = old_world(4);
    let listed = open(&alone);
    let facts = |world: &World| {
        let columns = "prompt_id, session_name, action, details";
        let query = format!("SELECT {columns} FROM assignment_history ORDER BY id");
        rows(&database(world), &query)
    };
    let without_times = |tasks: &[Row]| -> Vec<Row> {
        let mut tasks = tasks.to_vec();
        for task in &mut tasks {
            task.retain(|name, _| !name.ends_with("_at"));
        }
        tasks
    };

    let world = old_world(4);
    let answers: Vec<Vec<Row>> = thread::scope(|scope| {
        let world = &world;
        let commands: Vec<_> = (0..8).map(|_| scope.spawn(move || open(world))).collect();
        commands
            .into_iter()
            .map(|command| command.join().expect("a command"))
            .collect()
    });
    for answer in &answers {
        assert_eq!(answer, &answers[0]);
        assert_eq!(without_times(answer), without_times(&listed));
    }
    assert_prompts_kept(&old_prompts(4), &prompts(&database(&world)));
    assert_eq!(facts(&world), facts(&alone));
    assert_eq!(backups(&world), [backup(&world)]);
    assert_eq!(
        dump(&read_only(&backup(&world))),
        dump(&read_only(&old_file(4)))
    );
}

#[test]
fn numbers_that_were_given_once_are_not_given_again() {
    for stage in STAGES {
        let last = last_number_given(stage);
        let world = old_world(stage);
        // The first command may be one that queues.
        let first = world.shell("true");
        let second = world.shell("true");
        assert!(first > last && second > first, "{last}, {first}, {second}");
    }
}
