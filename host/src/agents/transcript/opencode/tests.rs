//! Conversations as opencode 1.18.33 kept them, and as it never would.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::{Follower, Format, TranscriptTurn, Wanted};
use super::*;

/// When the conversations begin, in milliseconds.
const START: i64 = 1_795_980_762_000;

/// A database of opencode, open as opencode itself has it.
struct OpenDatabase {
    directory: TempDir,
    connection: Connection,
    messages: i64,
}

impl OpenDatabase {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let connection =
            Connection::open(directory.path().join("opencode.db")).expect("a database");
        connection
            .execute_batch(
                "PRAGMA journal_mode = wal;
                 CREATE TABLE session (id text PRIMARY KEY, parent_id text, directory text NOT NULL,
                    time_updated integer NOT NULL);
                 CREATE TABLE message (id text PRIMARY KEY, session_id text NOT NULL,
                    time_created integer NOT NULL, time_updated integer NOT NULL, data text NOT NULL);
                 CREATE TABLE part (id text PRIMARY KEY, message_id text NOT NULL,
                    session_id text NOT NULL, time_updated integer NOT NULL, data text NOT NULL);",
            )
            .expect("tables");
        let mut kept = Self {
            directory,
            connection,
            messages: 0,
        };
        kept.session("ses_1", None);
        kept
    }

    fn database(&self) -> PathBuf {
        self.directory.path().join("opencode.db")
    }

    fn session(&mut self, id: &str, parent: Option<&str>) {
        let here = fs::canonicalize(self.directory.path()).expect("the directory");
        self.connection
            .execute(
                "INSERT INTO session VALUES (?1, ?2, ?3, ?4)",
                params![id, parent, here.to_str(), START],
            )
            .expect("a session");
    }

    /// Adds a message with its parts, `text` parts being given by their text alone.
    fn message(&mut self, data: &Value, parts: &[Value]) -> String {
        self.raw(&data.to_string(), parts)
    }

    fn raw(&mut self, data: &str, parts: &[Value]) -> String {
        let number = self.messages;
        self.messages += 1;
        let id = format!("msg_{number:04}");
        self.connection
            .execute(
                "INSERT INTO message VALUES (?1, 'ses_1', ?2, ?2, ?3)",
                params![id, START + number, data],
            )
            .expect("a message");
        for (position, part) in parts.iter().enumerate() {
            let part = match part {
                Value::String(text) => json!({"type": "text", "text": text}),
                other => other.clone(),
            };
            self.connection
                .execute(
                    "INSERT INTO part VALUES (?1, ?2, 'ses_1', 0, ?3)",
                    params![
                        format!("prt_{number:04}_{position:04}"),
                        id,
                        part.to_string()
                    ],
                )
                .expect("a part");
        }
        id
    }

    fn prompt(&mut self, text: &str) -> String {
        let created = START + self.messages;
        let data = json!({"role": "user", "time": {"created": created}});
        self.message(&data, &[json!(text)])
    }

    fn answer(&mut self, finish: &str, parts: &[Value]) -> String {
        let created = START + self.messages;
        let data = json!({
            "role": "assistant", "time": {"created": created, "completed": created}, "finish": finish,
        });
        self.message(&data, parts)
    }

    fn fails(&mut self, error: &Value) {
        let created = START + self.messages;
        self.message(
            &json!({
                "role": "assistant", "time": {"created": created, "completed": created}, "error": error,
            }),
            &[],
        );
    }

    fn follow(&self) -> Follower {
        Follower::new(Format::Opencode, self.database().join("ses_1"))
    }

    fn latest(&self) -> TranscriptTurn {
        let mut follower = self.follow();
        follower.read().expect("read");
        follower.turn().cloned().expect("a turn")
    }
}

fn wanted(text: &str) -> Wanted<'_> {
    Wanted {
        id: None,
        text,
        nonce: None,
        since: Timestamp::from_millisecond(START).expect("a time"),
    }
}

#[test]
fn a_plain_turn() {
    let mut kept = OpenDatabase::new();
    let id = kept.prompt("one\nplain ");
    kept.answer(
        "stop",
        &[
            json!({"type": "step-start"}),
            json!("the answer\n"),
            json!(" and more"),
        ],
    );
    let mut follower = kept.follow();
    assert!(!follower.read().expect("read").is_empty());
    let turn = follower.turn_of(wanted("one\nplain")).expect("the turn");
    assert_eq!(turn.id, Some(id));
    assert_eq!(turn.how, Some(How::Done));
    assert_eq!(turn.response.as_deref(), Some("the answer\n\n\n and more"));
    assert!(follower.turn_of(wanted("another")).is_none());
    assert!(follower.read().expect("read").is_empty(), "nothing is new");
}

/// The end of a turn may be written in the millisecond in which its last words were.
#[test]
fn changes_of_one_millisecond_are_all_seen() {
    let mut kept = OpenDatabase::new();
    kept.prompt("plain");
    let id = kept.answer("", &[json!("the answer")]);
    let now = Timestamp::now().as_millisecond();
    let write = |kept: &OpenDatabase, finish: &str| {
        let data = json!({
            "role": "assistant", "time": {"created": START, "completed": START}, "finish": finish,
        });
        let update = "UPDATE message SET data = ?1, time_updated = ?2 WHERE id = ?3";
        let values = params![data.to_string(), now, id];
        kept.connection.execute(update, values).expect("written");
    };
    write(&kept, "");
    let mut follower = kept.follow();
    follower.read().expect("read");
    assert_eq!(follower.turn().expect("a turn").how, None);
    write(&kept, "stop");
    follower.read().expect("read");
    assert_eq!(follower.turn().expect("a turn").how, Some(How::Done));
}

#[test]
fn calls_of_tools_end_no_turn() {
    let mut kept = OpenDatabase::new();
    kept.prompt("change it");
    let write = json!({"type": "tool", "tool": "write", "state": {
        "status": "completed", "input": {"filePath": "/w/new.txt", "content": "x"}, "output": "done"}});
    let failed = json!({"type": "tool", "tool": "edit", "state": {
        "status": "error", "input": {"filePath": "/w/old.txt"}}});
    kept.answer("tool-calls", &[json!("I will do it."), write, failed]);
    let turn = kept.latest();
    assert_eq!(turn.how, None);
    assert_eq!(turn.files, ["/w/new.txt"]);
    kept.answer("stop", &[json!("It is done.")]);
    let turn = kept.latest();
    assert_eq!(turn.how, Some(How::Done));
    assert_eq!(turn.response.as_deref(), Some("It is done."));
    assert_eq!(turn.said, ["I will do it.", "It is done."]);
}

#[test]
fn a_prompt_that_is_given_meanwhile_is_told_of() {
    let mut kept = OpenDatabase::new();
    kept.prompt("first");
    kept.answer("tool-calls", &[json!("working")]);
    let second = kept.prompt("second");
    let mut follower = kept.follow();
    follower.read().expect("read");
    let turn = follower
        .turn_of(wanted("second"))
        .expect("the turn")
        .clone();
    assert_eq!(turn.prompt.as_deref(), Some("first"));
    assert_eq!(
        turn.further.first().and_then(|further| further.id.clone()),
        Some(second)
    );
    kept.answer("stop", &[json!("both")]);
    follower.read().expect("read");
    let turn = follower.turn_of(wanted("second")).expect("the turn");
    assert_eq!(turn.response.as_deref(), Some("both"));
    kept.prompt("third");
    follower.read().expect("read");
    assert_eq!(follower.turn().expect("a turn").how, None);
    assert_eq!(
        follower
            .turn_of(wanted("second"))
            .and_then(|turn| turn.how.clone()),
        Some(How::Done)
    );
}

#[test]
fn a_turn_goes_on_until_its_answer_is_complete() {
    let mut kept = OpenDatabase::new();
    kept.prompt("slow");
    let data = json!({"role": "assistant", "time": {"created": START + 1}});
    kept.message(&data, &[json!("so far")]);
    let turn = kept.latest();
    assert_eq!((turn.how, turn.response), (None, None));
    assert_eq!(turn.said, ["so far"]);
}

#[test]
fn ends_that_are_none_of_the_best() {
    let cases = [
        (
            json!({"name": "MessageAbortedError", "data": {"message": "Aborted"}}),
            How::Interrupted,
        ),
        (
            json!({"name": "APIError", "data": {"message": "no such key", "statusCode": 401}}),
            How::Failed {
                message: "no such key".to_owned(),
            },
        ),
        (
            json!({"name": "UnknownError"}),
            How::Failed {
                message: "UnknownError".to_owned(),
            },
        ),
        (
            json!({"name": "Odd", "data": [1, 2]}),
            How::Failed {
                message: "Odd".to_owned(),
            },
        ),
    ];
    for (error, how) in cases {
        let mut kept = OpenDatabase::new();
        kept.prompt("it");
        kept.fails(&error);
        assert_eq!(kept.latest().how, Some(how), "{error}");
    }
    let mut kept = OpenDatabase::new();
    kept.prompt("it");
    kept.fails(&json!({"name": "APIError", "data": {"message": "slow down", "statusCode": 429}}));
    let how = kept.latest().how;
    assert!(
        matches!(&how, Some(How::Limited { message, .. }) if message == "slow down"),
        "{how:?}"
    );
}

#[test]
fn what_nobody_said_is_no_prompt() {
    let mut kept = OpenDatabase::new();
    let data = json!({"role": "user", "time": {"created": START}});
    let parts = [
        json!("said"),
        json!({"type": "text", "text": "a file's content", "synthetic": true}),
        json!({"type": "file", "mime": "image/png", "url": "data:"}),
    ];
    kept.message(&data, &parts);
    assert_eq!(kept.latest().prompt.as_deref(), Some("said"));
}

#[test]
fn what_is_no_message_is_passed_over() {
    let mut kept = OpenDatabase::new();
    kept.raw("{", &[]);
    kept.raw("[]", &[]);
    kept.raw(r#"{"role": 7, "time": "noon"}"#, &[json!(null), json!([1])]);
    kept.prompt("still read");
    kept.raw(
        r#"{"role": "assistant", "time": {"created": 1e300, "completed": -1e300}}"#,
        &[],
    );
    kept.answer("stop", &[json!("yes")]);
    let turn = kept.latest();
    assert_eq!(turn.prompt.as_deref(), Some("still read"));
    assert_eq!(turn.response.as_deref(), Some("yes"));
}

#[test]
fn conversations_are_those_held_in_the_directory() {
    let mut kept = OpenDatabase::new();
    kept.session("ses_child", Some("ses_1"));
    kept.session("ses_2", None);
    let elsewhere = tempfile::tempdir().expect("a directory");
    kept.connection
        .execute(
            "INSERT INTO session VALUES ('ses_3', NULL, ?1, ?2), ('x/../y', NULL, ?3, ?2)",
            params![
                elsewhere.path().to_str(),
                START,
                kept.directory.path().to_str()
            ],
        )
        .expect("sessions");
    let since = |milliseconds: i64| {
        SystemTime::from(Timestamp::from_millisecond(milliseconds).expect("a time"))
    };
    let names = |cwd: &Path, at: i64| {
        let found = conversations(&kept.database(), cwd, since(at)).expect("conversations");
        let names = found
            .iter()
            .map(|path| path.file_name().expect("a name").to_owned());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    };
    assert_eq!(names(kept.directory.path(), START), ["ses_1", "ses_2"]);
    assert_eq!(names(elsewhere.path(), START), ["ses_3"]);
    assert!(names(kept.directory.path(), START + 1).is_empty());
    let link = elsewhere.path().join("link");
    std::os::unix::fs::symlink(kept.directory.path(), &link).expect("a link");
    assert_eq!(names(&link, START), ["ses_1", "ses_2"]);
}

#[test]
fn a_database_of_another_kind_is_an_error() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("opencode.db");
    let mut follower = Follower::new(Format::Opencode, path.join("ses_1"));
    follower.read().expect_err("there is none");
    fs::write(&path, "no database").expect("a file");
    follower.read().expect_err("no database");
    fs::remove_file(&path).expect("removed");
    let connection = Connection::open(&path).expect("a database");
    connection
        .execute_batch("CREATE TABLE other (id)")
        .expect("a table");
    follower.read().expect_err("no such table");
    conversations(&path, directory.path(), UNIX_EPOCH).expect_err("no such table");
    conversations(directory.path(), directory.path(), UNIX_EPOCH).expect_err("a directory");
}

#[test]
fn a_database_that_is_put_in_its_place_is_read() {
    let mut kept = OpenDatabase::new();
    kept.prompt("old");
    let mut follower = kept.follow();
    follower.read().expect("read");
    let mut other = OpenDatabase::new();
    other.prompt("new");
    other
        .connection
        .execute_batch("PRAGMA wal_checkpoint(truncate)")
        .expect("merged");
    for suffix in ["-wal", "-shm"] {
        let name = format!("opencode.db{suffix}");
        fs::remove_file(kept.directory.path().join(name)).expect("removed");
    }
    fs::rename(other.database(), kept.database()).expect("renamed");
    follower.read().expect("read");
    assert!(follower.turn_of(wanted("new")).is_some());
}

#[test]
fn a_prompt_is_found_however_much_was_said_since() {
    let mut kept = OpenDatabase::new();
    kept.prompt("long ago");
    let large = "x".repeat(8 << 20);
    for _ in 0..10 {
        let output = json!({"type": "tool", "tool": "bash", "state": {"status": "completed", "output": large}});
        kept.answer("tool-calls", &[output]);
    }
    kept.answer("stop", &[json!("the end")]);
    let turn = kept.latest();
    assert_eq!(turn.prompt.as_deref(), Some("long ago"));
    assert_eq!(turn.response.as_deref(), Some("the end"));
}

/// A part that grows is all that changes while an answer is written.
#[test]
fn a_part_that_grows_is_read_again_and_what_others_write_is_not() {
    let mut kept = OpenDatabase::new();
    kept.prompt("slow");
    let data = json!({"role": "assistant", "time": {"created": START + 1}});
    kept.message(&data, &[json!("so")]);
    let mut follower = kept.follow();
    follower.read().expect("read");
    let part = json!({"type": "text", "text": "so far"}).to_string();
    kept.connection
        .execute(
            "UPDATE part SET data = ?1, time_updated = 1 WHERE message_id = 'msg_0001'",
            params![part],
        )
        .expect("a change");
    assert!(!follower.read().expect("read").is_empty());
    assert_eq!(follower.turn().expect("a turn").said, ["so far"]);
    kept.session("ses_other", None);
    assert!(follower.read().expect("read").is_empty());
}
