//! Databases: our own of any age, and those of the Python worker.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use jiff::Timestamp;

use super::{Knowledge, Store, StoreError};
use crate::fuzz::{FuzzTarget, is_one_line, steered};
use crate::model::ids::TaskId;
use crate::model::task::NewTask;

/// The targets of this module.
pub(crate) const TARGETS: &[FuzzTarget] = &[
    FuzzTarget {
        name: "database",
        seeds: WORKERS,
        run: database,
    },
    FuzzTarget {
        name: "original",
        seeds: WORKERS,
        run: original,
    },
    FuzzTarget {
        name: "repair",
        seeds: WORKERS,
        run: repair,
    },
];

/// Databases of the Python worker.
const WORKERS: &[&str] = &[
    "tests/data/stage1.db",
    "tests/data/stage2.db",
    "tests/data/stage3.db",
    "tests/data/stage4.db",
];

fn in_directory(then: impl FnOnce(&Path)) {
    let place = tempfile::tempdir().expect("a directory");
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o700)).expect("permissions");
    then(place.path());
}

/// Any file in the place of the database is opened, or refused in one line. What is open can be read
/// and added to, or says in one line why not.
fn database(data: &[u8]) {
    in_directory(|place| {
        let file = place.join("assigner.db");
        fs::write(&file, data).expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("permissions");
        if let Err(error) = Store::open(place).and_then(|mut store| read(&mut store)) {
            is_one_line(&error.to_string());
        }
    });
}

/// Reads what commands and the daemon read, and queues a task.
fn read(store: &mut Store) -> Result<(), StoreError> {
    let now = Timestamp::from_second(1_760_000_000).expect("a time");
    let tasks = store.tasks(&[], 100)?;
    for task in &tasks {
        assert_eq!(store.task(task.id)?.status, task.status);
        let _ = (store.history(task.id), store.attempts(task.id));
        let _ = (store.output(task.id), store.parents(task.id));
    }
    store.release_due(now)?;
    let lanes = store.lanes()?;
    let _ = (store.pending(&lanes, 9, None), store.open_attempts());
    let _ = (
        store.sessions(),
        store.pauses(),
        store.session_labels(),
        store.daemon(),
    );
    let queued = store.queue(&[NewTask::prompt("one more")], now)?;
    let [id] = queued.as_slice() else {
        panic!("{queued:?}");
    };
    assert_eq!(store.task(*id)?.content, "one more");
    store.cancel(*id, now)?;
    Ok(())
}

/// A database of the worker is imported, or refused in one line and the queue is what it was.
fn original(data: &[u8]) {
    in_directory(|place| {
        let theirs = place.join("prompts.db");
        fs::write(&theirs, data).expect("a file");
        let mut store = Store::open(place).expect("a new store");
        let now = Timestamp::from_second(1_760_000_000).expect("a time");
        store
            .queue(&[NewTask::prompt("ours")], now)
            .expect("queued");
        if let Err(error) = store.import(&theirs, now, |_, _| ()) {
            is_one_line(&error.to_string());
            let tasks = store.tasks(&[], 100).expect("the queue");
            assert_eq!(tasks.len(), 1, "a part of it was imported");
        }
        assert_eq!(store.task(TaskId(1)).expect("our task").content, "ours");
    });
}

/// Any file in the place of the database, and any log beside it, is repaired, or refused in one line. What
/// was repaired is sound, has no task in flight, and can be restored like a backup.
fn repair(data: &[u8]) {
    // The first byte says how many blocks of the smallest page come before the log. 0: there is none.
    let (blocks, data) = steered(data);
    let (file, log) = match blocks {
        0 => (data, &[][..]),
        blocks => data.split_at((blocks * 512).min(data.len())),
    };
    let knowledge = Knowledge {
        trusts_pending: false,
        last_attempt: None,
        now: Timestamp::from_second(1_760_000_000).expect("a time"),
    };
    in_directory(|place| {
        fs::write(place.join("assigner.db"), file).expect("a file");
        if !log.is_empty() {
            fs::write(place.join("assigner.db-wal"), log).expect("a log");
        }
        match super::repair(place, knowledge, |_| true) {
            Err(error) => is_one_line(&error.to_string()),
            Ok(None) => {}
            Ok(Some(repaired)) => {
                let again = super::repair(place, knowledge, |_| true);
                assert_eq!(again.expect("it is sound"), None);
                let mut store = Store::open(place).expect("a store");
                assert!(store.open_attempts().expect("attempts").is_empty());
                read(&mut store).expect("it can be read");
                let copy = place.join("copy/backup");
                fs::create_dir(place.join("copy")).expect("a directory");
                fs::copy(place.join("assigner.db"), &copy).expect("a copy");
                if let Ok(log) = fs::read(place.join("assigner.db-wal")) {
                    fs::write(place.join("copy/backup-wal"), log).expect("its log");
                }
                let restored = super::restore(place, &copy, knowledge, |_| true);
                // One more was queued and cancelled.
                assert_eq!(restored.expect("restored").tasks, repaired.tasks + 1);
            }
        }
    });
}
