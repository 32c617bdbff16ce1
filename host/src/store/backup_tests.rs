//! Backups: what is in them, what beside them, and what they refuse.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rusqlite::Connection;

use super::tests::*;
use super::*;
use crate::model::task::NewTask;

/// Makes one of a whole queue, without being interrupted.
fn backed_up(queue: &Path, to: &Path, force: bool) -> Result<BackupMade, BackupError> {
    back_up(queue, to, force, |_| true)
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names
        .map(|name| name.into_string().expect("text"))
        .collect();
    names.sort();
    names
}

#[test]
fn a_backup_is_one_file_that_holds_what_was_committed() {
    let (queue, place) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("one"),
    );
    let mut store = Store::open(queue.path()).expect("a store");
    let long = NewTask::command("x".repeat(20_000));
    store.queue(&vec![long; 100], now()).expect("queued");
    let to = place.path().join("queue.db");
    let mut slices = 0;
    let made = back_up(queue.path(), &to, false, |copied| {
        slices += 1;
        assert!(copied.pages <= copied.of && copied.of > 400, "{copied:?}");
        // It is not in it: the copy is of the moment at which it began.
        store
            .queue(&[NewTask::command("later")], now())
            .expect("queued beside it");
        true
    });
    let made = made.expect("made");
    assert!(slices > 1, "in one go");
    assert_eq!(made.tasks, 100);
    assert_eq!(names(place.path()), ["queue.db"]);
    let found = fs::metadata(&to).expect("it");
    assert_eq!(
        (found.len(), found.permissions().mode() & 0o777),
        (made.bytes, 0o600)
    );
    let bytes = fs::read(&to).expect("it");
    assert_eq!(bytes[18..20], [1, 1], "it needs no log");
    let copy = Connection::open(&to).expect("a database");
    let count = copy.query_row("SELECT count(*) FROM tasks", [], |row| row.get::<_, i64>(0));
    assert_eq!(count.expect("a number"), 100);
}

#[test]
fn what_is_no_place_for_a_backup_is_refused_and_stays() {
    let (queue, place) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("one"),
    );
    let none = backed_up(queue.path(), &place.path().join("x"), false).expect_err("no queue");
    assert!(
        matches!(none, BackupError::Store(StoreError::NoQueue { .. })),
        "{none}"
    );
    assert!(names(queue.path()).is_empty() && names(place.path()).is_empty());
    let mut store = Store::open(queue.path()).expect("a store");
    let large = NewTask::command("x".repeat(900_000));
    store.queue(&[large.clone(), large], now()).expect("queued");
    drop(store);
    let before = names(queue.path());
    let at = |name: &str| place.path().join(name);
    fs::write(at("file"), "precious").expect("written");
    fs::create_dir(at("directory")).expect("made");
    std::os::unix::fs::symlink(at("file"), at("link")).expect("a link");
    std::os::unix::fs::symlink(queue.path(), at("queue")).expect("a link");
    let there = names(place.path());
    for (path, force, why) in [
        (at("file"), false, "exists already"),
        (at("directory"), true, "is no regular file"),
        (at("link"), true, "is no regular file"),
        ("/dev/full".into(), true, "is no regular file"),
        ("/".into(), true, "is no regular file"),
        (at(".."), true, "is no regular file"),
        (at("none/x"), false, "No such file"),
        (at("file/x"), false, "Not a directory"),
        (
            queue.path().join("assigner.db"),
            true,
            "is in the directory of the queue",
        ),
        (at("queue/copy"), true, "is in the directory of the queue"),
    ] {
        let refused = backed_up(queue.path(), &path, force)
            .expect_err("refused")
            .to_string();
        assert!(refused.contains(why), "{}: {refused}", path.display());
    }
    let stopped = back_up(queue.path(), &at("file"), true, |_| false);
    assert!(matches!(stopped, Err(BackupError::Interrupted)));
    assert_eq!(fs::read(at("file")).expect("it"), b"precious");
    assert_eq!((names(place.path()), names(queue.path())), (there, before));
    backed_up(queue.path(), &at("file"), true).expect("replaced");
    assert!(
        fs::read(at("file"))
            .expect("it")
            .starts_with(b"SQLite format 3\0")
    );
}

#[test]
fn a_queue_of_an_earlier_assigner_is_copied_as_it_is_and_a_damaged_one_is_not() {
    let (queue, place) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("one"),
    );
    let path = queue.path().join("assigner.db");
    let old = Connection::open(&path).expect("a file");
    old.execute_batch(schema::MIGRATIONS[0])
        .expect("the first schema");
    let row = "INSERT INTO tasks (content, created_at) VALUES (hex(zeroblob(30000)), ''); PRAGMA user_version = 1";
    old.execute_batch(row).expect("a row");
    drop(old);
    let to = place.path().join("x");
    assert_eq!(backed_up(queue.path(), &to, false).expect("made").tasks, 1);
    let version = |path: &Path| -> i64 {
        let database = Connection::open(path).expect("a database");
        database
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .expect("a number")
    };
    assert_eq!((version(&path), version(&to)), (1, 1));
    let mut bytes = fs::read(&path).expect("it");
    bytes[5000..9000].fill(0xee);
    fs::write(&path, bytes).expect("damaged");
    let refused = backed_up(queue.path(), &place.path().join("y"), false).expect_err("damaged");
    assert!(refused.to_string().contains("assigner repair"), "{refused}");
    assert_eq!(names(place.path()), ["x"]);
}
