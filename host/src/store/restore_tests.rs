//! A backup in the place of the queue: nothing runs twice, nothing is lost without a word.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fastrand::Rng;
use rusqlite::Connection;

use super::disk_tests::{SimDisk, SimFault};
use super::present::overwrite_with;
use super::salvage_tests::fill;
use super::tests::*;
use super::vfs_tests::{SimPlace, connect};
use super::*;

const UNKNOWING: Knowledge = Knowledge {
    trusts_pending: false,
    last_attempt: None,
    now: Timestamp::UNIX_EPOCH,
};

fn knowledge() -> Knowledge {
    Knowledge {
        now: later(100),
        ..UNKNOWING
    }
}

fn backup_of(directory: &TempDir, place: &TempDir) -> PathBuf {
    let path = place.path().join("backup.db");
    back_up(directory.path(), &path, true, |_| true).expect("a backup");
    path
}

fn restored(directory: &TempDir, file: &Path, knowledge: Knowledge) -> Restored {
    restore(directory.path(), file, knowledge, |_| true).expect("restored")
}

fn place() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn states(store: &mut Store) -> Vec<(i64, Status)> {
    let tasks = store.tasks(&[], 9_999).expect("tasks");
    tasks.iter().map(|task| (task.id.0, task.status)).collect()
}

fn names(directory: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(directory.path()).expect("a directory");
    let names = entries.map(|entry| {
        entry
            .expect("an entry")
            .file_name()
            .into_string()
            .expect("text")
    });
    let mut names: Vec<String> = names
        .filter(|name| !name.ends_with("-shm") && !name.ends_with("-wal"))
        .collect();
    names.sort();
    names
}

#[test]
fn a_task_that_may_have_run_since_does_not_run_again() {
    use Status::*;
    let (directory, mut store) = store();
    let place = place();
    let tasks = queue(
        &mut store,
        &vec![
            NewTask {
                max_retries: 1,
                ..NewTask::command("x")
            };
            10
        ],
    );
    let [waits, ran, failed, cancelled, edited, retried, refused, ..] = tasks[..] else {
        panic!()
    };
    finish(&mut store, tasks[7], Outcome::Completed, Event::Complete);
    let running = claimed(&mut store, tasks[8], 5);
    store
        .advance(running, Phase::Running, "", now())
        .expect("started");
    let lost = claimed(&mut store, tasks[9], 6);
    store
        .end(&end(lost, Outcome::Uncertain, Event::Lose), now())
        .expect("lost");
    let file = backup_of(&directory, &place);
    finish(&mut store, ran, Outcome::Completed, Event::Complete);
    finish(&mut store, failed, Outcome::Failed, Event::Fail);
    store.cancel(cancelled, now()).expect("cancelled");
    let edit = Edit {
        task: NewTask::command("rm"),
        revision: 0,
        unfollow: false,
        if_parent_fails: None,
        what: "content".to_owned(),
    };
    store.edit(edited, &edit, now()).expect("edited");
    finish(&mut store, retried, Outcome::Failed, Event::Retry);
    finish(&mut store, refused, Outcome::Refused, Event::Refuse);
    store
        .end(&end(running, Outcome::Completed, Event::Complete), now())
        .expect("ended");
    let late = queue(&mut store, &[NewTask::command("late")])[0];
    let late_attempt = claimed(&mut store, late, 9);
    let told = restored(&directory, &file, knowledge());
    // A connection from before goes on with what is there now.
    assert_eq!(
        states(&mut store),
        [
            (1, Pending),
            (2, Uncertain),
            (3, Uncertain),
            (4, Uncertain),
            (5, Uncertain),
            (6, Uncertain),
            (7, Uncertain),
            (8, Completed),
            (9, Uncertain),
            (10, Uncertain),
        ]
    );
    assert_eq!((told.tasks, told.pending, told.compared), (10, 1, true));
    assert_eq!(told.uncertain.ids, [2, 3, 4, 5, 6, 7, 9].map(TaskId));
    assert_eq!(told.missing.ids, [late]);
    assert_eq!(told.last_entry, Some(now()));
    for (id, why) in [
        (ran, "it was completed in the queue before"),
        (cancelled, "it was cancelled in the queue before"),
        (edited, "it was otherwise in the queue before"),
        (tasks[8], "it was completed in the queue before"),
    ] {
        let task = store.task(id).expect("it");
        let error = task.error.unwrap_or_default();
        assert!(
            error.starts_with("restored from a backup of 2026-01-02T03:04:05.678Z: ")
                && error.contains(why),
            "{error}"
        );
        let row = store.history(id).expect("history").pop().expect("a row");
        assert_eq!(
            (row.action.as_str(), row.at, row.details),
            ("doubted", later(100), error)
        );
    }
    assert!(store.open_attempts().expect("none").is_empty());
    // Numbers are not given again, neither of tasks nor of attempts.
    let new = queue(&mut store, &[NewTask::command("new")])[0];
    assert_eq!(new.0, late.0 + 1);
    assert!(claimed(&mut store, waits, 1) > late_attempt);
    let kept = told.kept.expect("it is kept");
    assert_eq!(
        names(&directory),
        ["assigner.db", "assigner.db.before-restore", "queue.made"]
    );
    assert_eq!(fs::metadata(&kept).expect("it").mode() & 0o777, 0o600);
    drop(store);
    // What was kept can be restored in turn, and is not replaced.
    let told = restored(
        &directory,
        &kept,
        Knowledge {
            trusts_pending: true,
            ..knowledge()
        },
    );
    assert_eq!(told.missing.ids, [new]);
    let mut store = Store::open(directory.path()).expect("a store");
    assert_eq!(store.task(ran).expect("it").status, Completed);
    assert_eq!(
        store.task(late).expect("it").status,
        Uncertain,
        "it was assigned"
    );
    assert_eq!(
        names(&directory)[1..3],
        ["assigner.db.before-restore", "assigner.db.before-restore2"]
    );
}

#[test]
fn without_the_queue_of_before_nothing_is_known_unless_a_person_says_so() {
    let (directory, mut store) = store();
    let place = place();
    queue(&mut store, &vec![NewTask::command("x"); 3]);
    let file = backup_of(&directory, &place);
    drop(store);
    let database = directory.path().join("assigner.db");
    type Mishap = fn(&Path);
    let damages: [Mishap; 4] = [
        |path| fs::remove_file(path).expect("removed"),
        |path| fs::write(path, "").expect("emptied"),
        |path| fs::write(path, "x".repeat(9_999)).expect("written"),
        |path| {
            fs::remove_file(path).expect("removed");
            fs::remove_file(path.with_file_name("queue.made")).expect("removed");
        },
    ];
    for (at, damage) in damages.iter().enumerate() {
        for trusts_pending in [false, true] {
            damage(&database);
            let told = restored(
                &directory,
                &file,
                Knowledge {
                    trusts_pending,
                    last_attempt: Some(AttemptId(77)),
                    ..knowledge()
                },
            );
            assert_eq!(
                (told.tasks, told.pending),
                (3, if trusts_pending { 3 } else { 0 })
            );
            assert!(!told.compared && told.missing.count == 0);
            let mut store = Store::open(directory.path()).expect("a store");
            let id = queue(&mut store, &[NewTask::command("x")])[0];
            // A new queue begins where the backup ends; which numbers a lost one gave is not known.
            assert_eq!(id.0, if at == 3 { 4 } else { 10_004 });
            assert!(claimed(&mut store, id, 1) > AttemptId(77));
        }
    }
    let kept = names(&directory)
        .into_iter()
        .filter(|name| name.contains("before"));
    assert_eq!(kept.count(), 2, "what held nothing is not kept");
    let kept = fs::read(directory.path().join("assigner.db.before-restore")).expect("it");
    assert_eq!(kept, "x".repeat(9_999).as_bytes());
}

/// What is wrong with the present database may be what would tell that a task has run.
#[test]
fn a_present_queue_that_is_damaged_or_older_confirms_nothing() {
    let (directory, mut store) = store();
    let place = place();
    queue(&mut store, &vec![NewTask::command("x"); 3]);
    let file = backup_of(&directory, &place);
    let last_attempt = Some(AttemptId(1));
    let told = restored(
        &directory,
        &file,
        Knowledge {
            last_attempt,
            ..knowledge()
        },
    );
    assert_eq!((told.pending, told.compared), (0, false));
    let told = restored(&directory, &file, knowledge());
    assert_eq!(
        (told.pending, told.compared),
        (0, true),
        "they are uncertain there"
    );
    for damage in [
        "PRAGMA writable_schema = 1; DELETE FROM sqlite_schema WHERE name = 'tasks_by_status'",
        "DROP TABLE attempts",
        "PRAGMA user_version = 999",
    ] {
        let trusting = Knowledge {
            trusts_pending: true,
            ..knowledge()
        };
        assert_eq!(restored(&directory, &file, trusting).pending, 3);
        other(&directory).execute_batch(damage).expect("damaged");
        let told = restored(&directory, &file, knowledge());
        assert_eq!((told.pending, told.compared), (0, false), "{damage}");
    }
}

#[test]
fn a_backup_of_another_queue_is_nothing_to_compare_with() {
    let (directory, mut ours) = store();
    let (elsewhere, mut theirs) = store();
    let place = place();
    queue(&mut ours, &[NewTask::command("ours")]);
    queue(&mut theirs, &[NewTask::command("theirs")]);
    restored(&directory, &backup_of(&elsewhere, &place), knowledge());
    let task = ours.task(TaskId(1)).expect("it");
    assert_eq!(
        (task.content.as_str(), task.status),
        ("theirs", Status::Uncertain)
    );
}

/// SQLite cannot change the size of pages in a database that others may have open.
#[test]
fn a_queue_with_pages_of_another_size_is_replaced() {
    let (elsewhere, mut theirs) = store();
    let place = place();
    fill(&mut theirs, &mut Rng::with_seed(1), 20);
    let file = backup_of(&elsewhere, &place);
    let directory = tempfile::tempdir().expect("a directory");
    let sized = other(&directory);
    let made = "PRAGMA page_size = 1024; VACUUM";
    sized.execute_batch(made).expect("made");
    let mut ours = Store::open(directory.path()).expect("a store");
    restored(&directory, &file, knowledge());
    assert_eq!(states(&mut ours).len(), states(&mut theirs).len());
}

#[test]
fn what_a_file_is_made_to_do_is_not_done() {
    let (directory, mut store) = store();
    let place = place();
    queue(&mut store, &[NewTask::command("x")]);
    let file = backup_of(&directory, &place);
    let planted = Connection::open(&file).expect("a database");
    planted
        .execute_batch(
            "CREATE TRIGGER harm AFTER INSERT ON assignment_history BEGIN
                INSERT INTO tasks (kind, content, created_at) VALUES ('command', 'rm -rf', ''); END;
             CREATE VIEW endless AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x FROM n) SELECT * FROM n;
             CREATE TRIGGER again AFTER UPDATE ON tasks BEGIN DELETE FROM tasks; END;
             CREATE INDEX slow ON tasks (hex(randomblob(1000000)) COLLATE NOCASE) WHERE 0;",
        )
        .expect_err("not all of it is allowed");
    drop(planted);
    let told = restored(&directory, &file, knowledge());
    assert_eq!(told.left_out, ["harm", "endless", "again"]);
    store.cancel(TaskId(1), now()).expect("cancelled");
    assert_eq!(states(&mut store), [(1, Status::Cancelled)]);
}

#[test]
fn what_cannot_be_restored_leaves_the_queue_as_it_was() {
    let (directory, mut store) = store();
    let place = place();
    queue(&mut store, &vec![NewTask::command("x".repeat(9_000)); 9]);
    let file = backup_of(&directory, &place);
    let before = (states(&mut store), names(&directory));
    let mut bytes = fs::read(&file).expect("it");
    let middle = bytes.len() / 2;
    bytes.truncate(middle);
    fs::write(place.path().join("half"), &bytes).expect("written");
    let link = place.path().join("link");
    std::os::unix::fs::symlink(directory.path().join("assigner.db"), &link).expect("a link");
    for (path, why) in [
        (place.path().join("half"), "is damaged"),
        (link, "is the queue itself"),
        (directory.path().join("assigner.db-wal"), "is no queue"),
    ] {
        let refused = restore(directory.path(), &path, knowledge(), |_| true)
            .expect_err("refused")
            .to_string();
        assert!(refused.contains(why), "{refused}");
    }
    let busy = other(&directory);
    let stopped = restore(directory.path(), &file, knowledge(), |_| false);
    assert!(
        matches!(stopped, Err(RestoreError::Busy { .. })),
        "{stopped:?}"
    );
    drop(busy);
    assert_eq!((states(&mut store), names(&directory)), before);
}

#[test]
fn a_task_that_is_queued_in_the_meantime_is_not_lost() {
    let (directory, mut store) = store();
    let place = place();
    queue(&mut store, &[NewTask::command("x")]);
    let file = backup_of(&directory, &place);
    let present = present::Present::open(directory.path()).expect("it");
    queue(&mut store, &[NewTask::command("in the meantime")]);
    assert!(
        !present.replace(&file, |_| true).expect("looked at"),
        "somebody has written"
    );
    assert_eq!(states(&mut store).len(), 2);
    let present = present::Present::open(directory.path()).expect("it");
    assert!(present.replace(&file, |_| true).expect("replaced"));
    assert_eq!(states(&mut store).len(), 1);
}

/// After a power failure at any call, the queue is the one from before or the new one.
#[test]
fn a_power_failure_leaves_the_old_queue_or_the_new_one() {
    let (directory, mut new) = store();
    let place = place();
    fill(&mut new, &mut Rng::with_seed(7), 40);
    let file = backup_of(&directory, &place);
    let contents = |database: &Connection| -> String {
        let sound = database.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
        assert_eq!(sound.expect("checked"), "ok");
        let all = "SELECT group_concat(content, '/') FROM (SELECT content FROM tasks ORDER BY id)";
        database.query_row(all, [], |row| row.get(0)).expect("text")
    };
    let source = Connection::open(&file).expect("a backup");
    let expected = contents(&source);
    let (mut old, mut other) = (0, 0);
    for calls in (0..).step_by(3) {
        let place = tempfile::tempdir().expect("a directory");
        let sim = SimPlace::new(place.path(), SimDisk::new(calls));
        let path = place.path().join("assigner.db");
        let mut target = connect(&path).expect("opened");
        let mode = "PRAGMA journal_mode = WAL";
        target.query_row(mode, [], |_| Ok(())).expect("set");
        target
            .execute_batch("PRAGMA synchronous = FULL; CREATE TABLE tasks (id, content); INSERT INTO tasks VALUES (1, 'old')")
            .expect("made");
        let fault = if calls % 2 == 0 {
            SimFault::Power
        } else {
            SimFault::Full(1 << 20)
        };
        sim.disk.plan(calls, fault);
        let done = overwrite_with(&source, &mut target, || Ok(true), &mut |_| true);
        let has_fired = sim.disk.has_fired();
        drop(target);
        sim.disk.restart();
        let again = connect(&path).expect("opened");
        let found = sim.disk.in_peace(|| contents(&again));
        assert!(found == expected || found == "old", "after {calls} calls");
        assert!(done.is_err() || found == expected, "it was confirmed");
        old += usize::from(found == "old");
        other += usize::from(found == expected);
        if !has_fired {
            break;
        }
    }
    assert!(old > 20 && other > 1, "{old}, {other}");
}
