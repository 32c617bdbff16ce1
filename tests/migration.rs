//! The earlier program's database: migrated in place or merged, and nothing in it is lost.
//!
//! `data/stage1.db` to `data/stage4.db` are such databases, each from another version of that
//! program; `data/build.py` makes them and says what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Map, Value, json};

use crate::harness::{Output, Shell, World, text};
use crate::queue::database;

/// A row of a table or a view: its columns by name.
type Row = Map<String, Value>;

const STAGES: [u8; 4] = [1, 2, 3, 4];

/// The stages whose prompts name a session or a provider.
const WITH_TARGETS: [u8; 3] = [2, 3, 4];

/// The stages whose sessions have a directory and a branch.
const WITH_CONTEXT: [u8; 2] = [3, 4];

/// Pending prompts for a shell, and what they print.
const READY: [(&str, &str); 2] = [
    (
        "printf '%s\\n' \"deployed to $DEPLOY_TO ✅\"",
        "deployed to staging ✅\n",
    ),
    (
        "echo \"it's ready\"\necho 'zwei Zeilen'",
        "it's ready\nzwei Zeilen\n",
    ),
];

/// A prompt for a shell that was in flight.
const IN_FLIGHT: &str = "echo ran >> resent";

/// A prompt for a shell that failed.
const FAILED: &str = "echo ran >> retried";

const TIMED_OUT: &str = "Assignment timed out";

/// Returns the path of a database of the earlier program, as kept with the tests.
fn old_file(stage: u8) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .join(format!("tests/data/stage{stage}.db"))
}

/// Returns a world whose data directory is the earlier program's.
fn old_world(stage: u8) -> World {
    eprintln!("stage {stage}");
    let world = World::new();
    fs::create_dir(world.data()).expect("a data directory");
    let path = world.data().join("assigner.db");
    fs::copy(old_file(stage), &path).expect("a copy");
    // As that program made it: readable by everybody.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("a mode");
    world
}

/// Copies a database of the earlier program to a place outside the data directory.
fn copy_to_import(world: &World, stage: u8) -> PathBuf {
    eprintln!("stage {stage}");
    let path = Path::new(&world.mkdir("old")).join(format!("stage{stage}.db"));
    fs::copy(old_file(stage), &path).expect("a copy");
    path
}

/// Has the data directory's database migrated, by a command that only reads.
fn open(world: &World) -> Vec<Row> {
    let listed = world.json(&["list", "--limit", "0"]);
    let tasks = listed.as_array().expect("an array").iter();
    tasks
        .map(|task| task.as_object().expect("an object").clone())
        .collect()
}

/// Opens a database to look at it.
fn read_only(path: &Path) -> Connection {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the rows that a query finds.
fn rows(database: &Connection, query: &str) -> Vec<Row> {
    let mut statement = database
        .prepare(query)
        .unwrap_or_else(|error| panic!("{query}: {error}"));
    let names: Vec<String> = statement
        .column_names()
        .into_iter()
        .map(str::to_owned)
        .collect();
    let found = statement.query_map((), |row| {
        let columns = names.iter().enumerate();
        columns
            .map(|(index, name)| Ok((name.clone(), value_of(row.get_ref(index)?))))
            .collect::<Result<Row, rusqlite::Error>>()
    });
    found
        .and_then(Iterator::collect)
        .unwrap_or_else(|error| panic!("{query}: {error}"))
}

fn value_of(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(bytes) => String::from_utf8_lossy(bytes).into(),
        ValueRef::Blob(bytes) => bytes.into(),
    }
}

fn prompts(database: &Connection) -> Vec<Row> {
    rows(database, "SELECT * FROM prompts ORDER BY id")
}

fn history(database: &Connection) -> Vec<Row> {
    rows(database, "SELECT * FROM assignment_history ORDER BY id")
}

/// Returns the prompts of a database of the earlier program.
fn old_prompts(stage: u8) -> Vec<Row> {
    prompts(&read_only(&old_file(stage)))
}

/// Returns the highest number that the earlier program had given to a prompt.
fn last_number_given(stage: u8) -> u64 {
    let old = read_only(&old_file(stage));
    let given = rows(
        &old,
        "SELECT seq FROM sqlite_sequence WHERE name = 'prompts'",
    );
    let given = given[0]["seq"].as_u64().expect("a number");
    let highest = ids(&prompts(&old)).into_iter().max();
    assert!(highest.is_some_and(|id| id < given), "{highest:?}, {given}");
    given
}

fn id(row: &Row) -> u64 {
    row["id"].as_u64().expect("a number")
}

fn ids(rows: &[Row]) -> Vec<u64> {
    rows.iter().map(id).collect()
}

/// Returns the one row with this content.
fn with_content<'a>(rows: &'a [Row], content: &str) -> &'a Row {
    let mut found = rows.iter().filter(|row| row["content"] == content);
    let row = found.next().unwrap_or_else(|| panic!("no {content:?}"));
    assert!(found.next().is_none(), "more than one {content:?}");
    row
}

/// Returns whether a prompt had been given to a session when the earlier program ended.
fn was_in_flight(prompt: &Row) -> bool {
    prompt["status"] == "assigned" || prompt["status"] == "in_progress"
}

fn is_for_a_shell(prompt: &Row) -> bool {
    prompt
        .get("target_provider")
        .is_some_and(|provider| provider == "shell")
}

/// Returns a time as SQLite reads it, to the second; `None` if it is not a time.
fn moment(time: &Value) -> Option<String> {
    let time = time.as_str()?;
    Connection::open_in_memory()
        .and_then(|database| database.query_row("SELECT datetime(?1)", [time], |row| row.get(0)))
        .expect("an answer")
}

/// Asserts that a time is the same as before, and is now written as RFC 3339 in UTC.
#[track_caller]
fn assert_same_time(was: &Value, is: &Value) {
    if was.is_null() {
        assert_eq!(is, &Value::Null);
    }
    // What was not a time cannot be the same time.
    if let Some(moment_was) = moment(was) {
        assert_eq!(moment(is), Some(moment_was), "{was} became {is}");
        let time = is.as_str().expect("text");
        assert!(time.ends_with('Z'), "{time}");
        time.parse::<jiff::Timestamp>().expect("RFC 3339");
    }
}

/// Asserts that the existing columns have not changed.
#[track_caller]
fn assert_same(columns: &[&str], was: &Row, is: &Row) {
    for column in columns {
        if let Some(value) = was.get(*column) {
            assert_eq!(&is[*column], value, "{column} of {was:#?}");
        }
    }
}

/// Asserts that a prompt has not changed, except for its number.
#[track_caller]
fn assert_prompt_kept(was: &Row, is: &Row) {
    assert_same(
        &[
            "content",
            "source",
            "priority",
            "assigned_session",
            "response",
            "target_session",
            "target_provider",
            "retry_count",
            "max_retries",
            "timeout_minutes",
        ],
        was,
        is,
    );
    let metadata = was["metadata"].as_str().unwrap_or("{}");
    assert_eq!(is["metadata"], metadata, "metadata of {was:#?}");
    assert_same_time(&was["created_at"], &is["created_at"]);
    assert_same_time(&was["assigned_at"], &is["assigned_at"]);
    if was_in_flight(was) {
        assert_eq!(is["status"], "uncertain", "{was:#?}");
        let why = is["error"].as_str().expect("why it is uncertain");
        assert!(!why.trim().is_empty());
    } else {
        assert_same(&["status", "error"], was, is);
        assert_same_time(&was["completed_at"], &is["completed_at"]);
    }
}

/// Asserts that every prompt is there under its number, and no others are.
#[track_caller]
fn assert_prompts_kept(was: &[Row], is: &[Row]) {
    assert_eq!(ids(is), ids(was));
    for (was, is) in was.iter().zip(is) {
        assert_prompt_kept(was, is);
    }
}

/// Returns what a row of the history says.
fn said(row: &Row) -> [Value; 3] {
    ["session_name", "action", "details"].map(|column| row[column].clone())
}

/// Returns what the history says about a prompt, in order.
fn said_of(history: &[Row], prompt: u64) -> Vec<[Value; 3]> {
    let of_prompt = history.iter().filter(|row| row["prompt_id"] == prompt);
    of_prompt.map(said).collect()
}

/// Asserts that all rows are among others, in the same order.
#[track_caller]
fn assert_among<T: PartialEq + std::fmt::Debug>(rows: &[T], all: &[T]) {
    let mut rest = all.iter();
    for row in rows {
        assert!(
            rest.any(|other| other == row),
            "{row:?} is not in {all:#?} where it belongs"
        );
    }
}

/// Returns every row of every table, and the definitions of the tables, indices and views.
fn dump(database: &Connection) -> BTreeMap<String, Vec<String>> {
    let schema = rows(database, "SELECT type, name, sql FROM sqlite_schema");
    let mut dump: BTreeMap<String, Vec<String>> = schema
        .iter()
        .filter(|made| made["type"] == "table")
        .map(|table| {
            let name = table["name"].as_str().expect("a name");
            (name.to_owned(), rows(database, &select_all(name)))
        })
        .map(|(name, rows)| (name, sorted(&rows)))
        .collect();
    dump.insert("the schema".to_owned(), sorted(&schema));
    dump
}

fn select_all(table: &str) -> String {
    format!("SELECT * FROM \"{table}\"")
}

fn sorted(rows: &[Row]) -> Vec<String> {
    let mut rows: Vec<String> = rows.iter().map(|row| format!("{row:?}")).collect();
    rows.sort_unstable();
    rows
}

/// Returns the files of a directory.
fn listing(directory: &Path) -> BTreeSet<String> {
    fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| {
            let name = entry.expect("an entry").file_name();
            name.into_string().expect("text")
        })
        .collect()
}

/// Returns where the copy from before the migration is.
fn backup(world: &World) -> PathBuf {
    world.data().join("assigner.db.before-migration")
}

/// Returns the copies from before the migration, under whatever name.
fn backups(world: &World) -> Vec<PathBuf> {
    let files = listing(world.data()).into_iter();
    files
        .filter(|name| name.starts_with("assigner.db.before"))
        .filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm"))
        .map(|name| world.data().join(name))
        .collect()
}

/// Lets the earlier program write a prompt into one of its databases, as it did: with WAL. As long
/// as the connection is open, the prompt is in the WAL file beside the database.
fn written_by_the_earlier_program(path: &Path, content: &str) -> Connection {
    let program = Connection::open(path).expect("the database");
    program
        .pragma_update(None, "journal_mode", "WAL")
        .expect("WAL");
    insert_as_the_earlier_program(&program, content);
    let beside = PathBuf::from(format!("{}-wal", path.display()));
    let beside = fs::metadata(beside).expect("a file beside it");
    assert!(beside.len() > 0);
    program
}

fn insert_as_the_earlier_program(program: &Connection, content: &str) {
    program
        .execute(
            "INSERT INTO prompts (content, created_at) VALUES (?1, '2025-05-05 05:05:05')",
            [content],
        )
        .expect("an insert");
}

/// Asserts that a command refused with one line, and with the exit code for the reason.
#[track_caller]
fn refused_for_a_reason(output: Output) -> Output {
    let code = output.code.expect("an exit code");
    assert!([1, 2, 5].contains(&code), "{output:?}");
    let output = output.refused(code);
    assert!(output.stdout.is_empty(), "{output:?}");
    output
}

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
