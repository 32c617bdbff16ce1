//! Reading files of databases without SQLite: it finds what SQLite finds.

use std::fs;
use std::path::Path;

use fastrand::Rng;
use rusqlite::Connection;

use super::salvage::{Care, salvage};
use super::tests::*;
use super::*;

/// Fills a queue with tasks in every state, of every size.
pub(super) fn fill(store: &mut Store, rng: &mut Rng, count: u32) -> Vec<TaskId> {
    let mut ids = Vec::new();
    for pane in 0..count {
        // Each in a commit of its own, and not each step of each.
        let filled = store.group(|store| fill_one(store, rng, pane, &mut ids));
        filled.expect("committed");
    }
    ids
}

fn fill_one(store: &mut Store, rng: &mut Rng, pane: u32, ids: &mut Vec<TaskId>) {
    let size = [10, 300, 5_000, 60_000][rng.usize(..4)];
    let length = rng.usize(1..size);
    let text: String = (0..length).map(|_| rng.char('a'..='é')).collect();
    let after: Vec<TaskId> = rng.choice(&*ids).into_iter().copied().collect();
    let task = NewTask {
        max_retries: 3,
        ..following(
            if rng.u8(0..4) == 0 { &after } else { &[] },
            IfParentFails::Release,
        )
    };
    let task = NewTask {
        content: text,
        ..task
    };
    let id = queue(store, &[task])[0];
    ids.push(id);
    if rng.bool() || store.task(id).expect("it").blocked > 0 {
        return;
    }
    let attempt = claimed(store, id, pane);
    let phases = [Phase::Delivering, Phase::Running];
    for phase in &phases[..rng.usize(0..3)] {
        store.advance(attempt, *phase, "", now()).expect("advanced");
    }
    let (outcome, event) = match rng.u8(0..6) {
        0 => return,
        1 => (Outcome::Failed, Event::Fail),
        2 => (Outcome::Failed, Event::Retry),
        _ => (Outcome::Completed, Event::Complete),
    };
    let length = rng.usize(0..size);
    let bytes: Vec<u8> = (0..length).map(|_| rng.u8(..)).collect();
    let end = End {
        output: Some(Output::of(bytes)),
        ..end(attempt, outcome, event)
    };
    store.end(&end, later(1)).expect("ended");
}

/// Every row of every table that is ours, but what is computed anew.
fn rows(path: &Path) -> Vec<String> {
    let database = Connection::open(path).expect("a database");
    let names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_stat%' AND name <> 'theirs'";
    let mut names = database.prepare(names).expect("names");
    let names = names.query_map([], |row| row.get(0)).expect("names");
    let names: Vec<String> = names.collect::<Result<_, _>>().expect("names");
    let mut lines = Vec::new();
    for table in names {
        let mut query = database
            .prepare(&format!("SELECT * FROM {table}"))
            .expect("a query");
        let count = query.column_count();
        let mut rows = query.query([]).expect("rows");
        while let Some(row) = rows.next().expect("a row") {
            let values = (0..count).map(|at| format!("{:?}", row.get_ref(at).expect("a value")));
            lines.push(format!("{table}: {}", values.collect::<Vec<_>>().join(" ")));
        }
    }
    lines.sort();
    lines
}

#[test]
fn every_row_is_found_that_sqlite_finds() {
    for (seed, page_size) in (0..).zip([512, 1024, 4096, 4096, 8192, 65_536]) {
        let mut rng = Rng::with_seed(seed);
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("assigner.db");
        let sized = Connection::open(&path).expect("a file");
        sized
            .pragma_update(None, "page_size", page_size)
            .expect("set");
        // Otherwise, an empty file keeps no size.
        sized.execute_batch("VACUUM").expect("made");
        drop(sized);
        let mut store = Store::open(place.path()).expect("a store");
        let ids = fill(&mut store, &mut rng, 60);
        store
            .record_sessions(&[session_row("api")], now())
            .expect("recorded");
        store.pause(&[Pause::All], true, now()).expect("paused");
        store
            .label(
                &"api".into(),
                &[("a".into(), "b".into())].into(),
                &[],
                now(),
            )
            .expect("labelled");
        store
            .clear(&[Status::Failed], later(9), now(), |_| {})
            .expect("cleared");
        let others = other(&place);
        others
            .execute_batch(
                "CREATE TABLE theirs (a, b, PRIMARY KEY (b, a)) WITHOUT ROWID;
                 INSERT INTO theirs SELECT id, content FROM tasks;
                 CREATE VIEW seen AS SELECT 1;
                 ANALYZE;
                 CREATE TRIGGER harm AFTER INSERT ON tasks BEGIN DELETE FROM tasks; END;
                 UPDATE tasks SET priority = -1.5, wait_rankings = zeroblob(9) WHERE id % 7 = 1;",
            )
            .expect("others work with it, too");
        let size = others.query_row("PRAGMA page_size", [], |row| row.get::<_, i32>(0));
        assert_eq!(size, Ok(page_size));
        // Some pages are in the log, some are free.
        let log = fs::metadata(path.with_extension("db-wal")).expect("a log");
        assert!(log.len() > 0);
        let target = tempfile::tempdir().expect("a directory");
        let mut read = 0;
        let told = &mut |copied: Copied| read = copied.pages;
        let salvaged = salvage(&path, target.path(), Care::All, 4096, told).expect("salvaged");
        assert!(page_size > 512 || read > 1000, "{read}");
        let copy = target.path().join("assigner.db");
        assert_eq!(rows(&copy), rows(&path), "seed {seed}");
        assert_eq!(salvaged.lost(), None);
        let mut left = salvaged.others.clone();
        left.sort();
        assert_eq!(left, ["harm", "seen", "theirs"]);
        assert!(salvaged.is_telling() && salvaged.rows["tasks"] <= ids.len() as u64);
        drop(others);
        drop(store);
    }
}

#[test]
fn files_of_every_version_are_read() {
    for (at, _) in schema::MIGRATIONS.iter().enumerate() {
        let version = at + 1;
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("old.db");
        let old = Connection::open(&path).expect("a file");
        old.execute_batch(
            "PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON; PRAGMA synchronous = OFF",
        )
        .expect("set");
        let add =
            "INSERT INTO tasks (kind, content, created_at) VALUES ('command', 'of then', '2026');
            INSERT INTO assignment_history (prompt_id, action) VALUES (1, 'queued');";
        for step in &schema::MIGRATIONS[..at] {
            old.execute_batch(step).expect("a step");
        }
        if at > 0 {
            // It is shorter than rows of now.
            old.execute_batch(add).expect("a row");
        }
        old.execute_batch(schema::MIGRATIONS[at])
            .expect("the last step");
        old.execute_batch(add).expect("a row");
        old.pragma_update(None, "user_version", version as i64)
            .expect("set");
        let target = tempfile::tempdir().expect("a directory");
        salvage(&path, target.path(), Care::All, 4096, &mut |_| {}).expect("salvaged");
        let copy = target.path().join("assigner.db");
        assert_eq!(rows(&copy), rows(&path), "version {version}");
        let mut store = Store::open(target.path()).expect("brought up");
        assert_eq!(store.task(TaskId(1)).expect("it").content, "of then");
    }
}

#[test]
fn what_is_no_queue_is_refused() {
    let place = tempfile::tempdir().expect("a directory");
    let at = |name: &str| place.path().join(name);
    let other = Connection::open(at("other.db")).expect("a file");
    other
        .execute_batch(
            "CREATE TABLE tasks (id INTEGER PRIMARY KEY, content); PRAGMA user_version = 3",
        )
        .expect("made");
    drop(other);
    let newer = Connection::open(at("newer.db")).expect("a file");
    newer
        .execute_batch("CREATE TABLE t (x); PRAGMA user_version = 999")
        .expect("made");
    drop(newer);
    fs::write(at("text"), "hello".repeat(9_999)).expect("written");
    fs::write(at("empty"), "").expect("written");
    let sparse = fs::File::create(at("sparse")).expect("a file");
    sparse.set_len(1 << 42).expect("as large as it likes");
    let mut header = fs::read(at("other.db")).expect("it");
    header.truncate(300);
    fs::write(at("header"), header).expect("written");
    for (path, why) in [
        (at("other.db"), "is damaged"),
        (at("newer.db"), "has version 999"),
        (at("text"), "is no queue"),
        (at("empty"), "is no queue"),
        (at("sparse"), "is no queue"),
        (at("header"), "is"),
        (at("none"), "No such file"),
        (place.path().to_owned(), "a directory"),
        ("/dev/zero".into(), "a device"),
        ("/dev/null".into(), "is no queue"),
    ] {
        let target = tempfile::tempdir().expect("a directory");
        let refused = salvage(&path, target.path(), Care::All, 4096, &mut |_| {})
            .expect_err("refused")
            .to_string();
        assert!(
            refused.contains(why) && !refused.contains('\n'),
            "{}: {refused}",
            path.display()
        );
    }
}
