//! The earlier program's database: migrated in place or merged, and nothing in it is lost.
//!
//! `data/stage1.db` to `data/stage4.db` are such databases, each from another version of that
//! program; `data/build.py` makes them and says what is in them.

mod compatibility;
mod imports;
mod in_place;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Map, Value};

use crate::harness::{Output, World, root};

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
    root().join(format!("tests/data/stage{stage}.db"))
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
