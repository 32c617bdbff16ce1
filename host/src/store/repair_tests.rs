//! Repairs: what is left of a damaged database, and that nothing of it runs that may have run.

use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;

use super::salvage_tests::fill;
use super::tests::*;
use super::*;

fn knowledge() -> Knowledge {
    Knowledge {
        trusts_pending: false,
        last_attempt: None,
        now: later(100),
    }
}

fn repaired(directory: &TempDir) -> Result<Option<Restored>, RestoreError> {
    repair(directory.path(), knowledge(), |_| true)
}

fn states(store: &mut Store) -> BTreeMap<TaskId, Status> {
    let tasks = store.tasks(&[], 9_999).expect("tasks");
    tasks.iter().map(|task| (task.id, task.status)).collect()
}

fn database(directory: &TempDir) -> PathBuf {
    directory.path().join("assigner.db")
}

/// Overwrites something of a file.
fn damage(path: &Path, rng: &mut Rng) {
    let mut bytes = fs::read(path).expect("it");
    let pages = bytes.len() / 4096;
    let page = rng.usize(..pages) * 4096;
    match rng.u8(0..7) {
        0 => bytes[page..page + 4096].fill(0),
        1 => bytes[page..page + 4096].fill_with(|| rng.u8(..)),
        2 => {
            let at = rng.usize(..bytes.len() - 600);
            let count = rng.usize(1..600);
            bytes[at..at + count].fill_with(|| rng.u8(..));
        }
        3 => {
            let other = rng.usize(..pages) * 4096;
            bytes.copy_within(other..other + 4096, page);
        }
        4 => bytes.truncate(rng.usize(1..bytes.len())),
        5 => bytes[..rng.usize(1..200)].fill(0xaa),
        _ => {
            let at = rng.usize(..bytes.len());
            bytes[at] ^= 1 << rng.u8(0..8);
        }
    }
    fs::write(path, bytes).expect("written");
}

#[test]
fn a_sound_queue_is_left_alone() {
    let (directory, mut store) = store();
    fill(&mut store, &mut Rng::with_seed(1), 20);
    let before = states(&mut store);
    drop(store);
    let bytes = fs::read(database(&directory)).expect("it");
    assert_eq!(repaired(&directory).expect("looked at"), None);
    assert_eq!(fs::read(database(&directory)).expect("it"), bytes);
    assert_eq!(
        states(&mut Store::open(directory.path()).expect("a store")),
        before
    );
}

/// `ASSIGNER_SEEDS=1000..3000` tries those.
fn seeds() -> std::ops::Range<u64> {
    let asked = std::env::var("ASSIGNER_SEEDS").ok();
    let range = asked.as_deref().and_then(|text| text.split_once(".."));
    let range = range.and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    range.unwrap_or(0..30)
}

/// Whatever is overwritten, each task is there or is told to be missing, and none waits that did not.
#[test]
fn no_task_is_lost_without_a_word_and_none_runs_that_has_run() {
    let (mut damaged, mut missing, mut waiting) = (0, 0, 0);
    for seed in seeds() {
        let mut rng = Rng::with_seed(seed);
        let (directory, mut store) = store();
        fill(&mut store, &mut rng, 40);
        store
            .clear(&[Status::Failed], later(9), now(), |_| {})
            .expect("cleared");
        let before = states(&mut store);
        drop(store);
        for _ in 0..rng.usize(1..4) {
            damage(&database(&directory), &mut rng);
        }
        let bytes = fs::read(database(&directory)).expect("it");
        let told = match repaired(&directory) {
            Ok(Some(told)) => told,
            // Nobody can see that something else was written in the middle of a text.
            Ok(None) => continue,
            Err(error @ RestoreError::Nothing { .. }) => {
                assert!(error.to_string().contains("assigner restore"), "{error}");
                continue;
            }
            Err(error) => panic!("seed {seed}: {error}"),
        };
        damaged += 1;
        let kept = told.kept.as_ref().expect("it is kept");
        assert_eq!(
            fs::read(kept).expect("it").len().div_ceil(4096),
            bytes.len().div_ceil(4096),
            "seed {seed}"
        );
        let mut store = Store::open(directory.path()).expect("a store");
        let after = states(&mut store);
        for (id, was) in &before {
            match after.get(id) {
                Some(Status::Pending) => {
                    assert_eq!(*was, Status::Pending, "seed {seed}: task {id}");
                    waiting += 1;
                }
                Some(is) if is == was || *is == Status::Uncertain => {}
                // It was found in a page that was not in use any more.
                Some(is) => assert!(
                    told.lost.is_some() && is.is_settled(),
                    "seed {seed}: task {id} was {was}, is {is}"
                ),
                None => {
                    missing += 1;
                    let is_told = told.missing.ids.contains(id)
                        || told.unknown_after.is_some_and(|last| *id > last);
                    assert!(is_told, "seed {seed}: task {id} is gone: {told:?}");
                }
            }
        }
        let queued = queue(&mut store, &[NewTask::command("x")])[0];
        assert!(
            before.keys().all(|id| *id < queued),
            "seed {seed}: {queued} was given before"
        );
        drop(store);
        assert_eq!(
            repaired(&directory).expect("looked at"),
            None,
            "seed {seed}"
        );
    }
    assert!(
        damaged > 12 && missing > 3 && waiting > 3,
        "{damaged}, {missing}, {waiting}"
    );
}

#[test]
fn a_file_without_its_header_is_read() {
    let (directory, mut store) = store();
    fill(&mut store, &mut Rng::with_seed(3), 40);
    let before = states(&mut store);
    drop(store);
    let path = database(&directory);
    let mut bytes = fs::read(&path).expect("it");
    bytes[..4096].fill(0xee);
    fs::write(&path, &bytes).expect("written");
    let refused = Store::open(directory.path())
        .map(|_| ())
        .expect_err("it is damaged")
        .to_string();
    assert!(refused.contains("assigner repair"), "{refused}");
    let told = repaired(&directory).expect("repaired").expect("damaged");
    assert_eq!(
        (told.tasks, told.pending),
        (before.len() as u64, 0),
        "{told:?}"
    );
    let mut store = Store::open(directory.path()).expect("a store");
    let after = states(&mut store);
    for (id, was) in before {
        let expected = if was.is_settled() {
            was
        } else {
            Status::Uncertain
        };
        assert_eq!(after[&id], expected, "task {id}");
    }
    assert_eq!(fs::read(told.kept.expect("it is kept")).expect("it"), bytes);
}

#[test]
fn what_is_only_in_the_log_is_read_from_there() {
    let (directory, mut store) = store();
    let task = queue(&mut store, &[NewTask::command("x")])[0];
    let kept = tempfile::tempdir().expect("a directory");
    let path = database(&directory);
    let copy = kept.path().join("assigner.db");
    fs::set_permissions(
        kept.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .expect("set");
    fs::copy(path.with_extension("db-wal"), copy.with_extension("db-wal")).expect("copied");
    fs::write(&copy, "").expect("emptied");
    let told = repaired(&kept).expect("repaired").expect("damaged");
    assert_eq!((told.tasks, told.kept.is_some()), (1, true));
    let mut again = Store::open(kept.path()).expect("a store");
    assert_eq!(again.task(task).expect("it").content, "x");
    let log = kept.path().join("assigner.db.damaged-wal");
    assert!(fs::metadata(log).expect("it is kept, too").len() > 0);
}

/// A task that waits goes on only if nothing is missing that could tell that it has run.
#[test]
fn tasks_wait_on_if_only_what_tells_nothing_of_them_is_damaged() {
    for (table, goes_on) in [
        ("outputs", true),
        ("assignment_history", false),
        ("tasks_by_status", true),
    ] {
        let (directory, mut store) = store();
        fill(&mut store, &mut Rng::with_seed(5), 40);
        let pending = states(&mut store)
            .values()
            .filter(|status| **status == Status::Pending)
            .count();
        drop(store);
        let root = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
        let root: i64 = other(&directory)
            .query_row(root, [table], |row| row.get(0))
            .expect("a page");
        let root = usize::try_from(root).expect("a number");
        let mut bytes = fs::read(database(&directory)).expect("it");
        bytes[(root - 1) * 4096..root * 4096].fill(0x55);
        fs::write(database(&directory), bytes).expect("written");
        let told = repaired(&directory).expect("repaired").expect("damaged");
        assert_eq!(told.pending > 0, goes_on, "{table}: {told:?}");
        assert_eq!(told.tasks, 40, "{table}");
        if goes_on {
            assert_eq!(told.pending, pending as u64, "{table}: {told:?}");
        }
        let said = told.lost.expect("something was");
        assert!(
            !goes_on || table != "outputs" || said.contains("`outputs`"),
            "{said}"
        );
    }
    // What an attempt has left outside of the database shows that the database is older.
    let (directory, mut store) = store();
    queue(&mut store, &[NewTask::command("x")]);
    drop(store);
    other(&directory)
        .execute_batch(
            "PRAGMA writable_schema = 1; DELETE FROM sqlite_schema WHERE name = 'tasks_by_status'",
        )
        .expect("damaged");
    let last_attempt = Some(AttemptId(1));
    let told = repair(
        directory.path(),
        Knowledge {
            last_attempt,
            ..knowledge()
        },
        |_| true,
    );
    assert_eq!(told.expect("repaired").expect("damaged").pending, 0);
}
