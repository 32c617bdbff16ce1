//! Many tasks at once: whatever stops their sender, all of them are queued once, or none is.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::batches::{FORGOTTEN, LEFT, SLICE};
use super::tests::*;
use super::*;
use crate::model::task::Parent;

/// Five slices of tasks; each follows the one before it and the first of all.
fn many() -> Vec<NewTask> {
    let of = |number: usize| NewTask {
        after: match number {
            0 => Vec::new(),
            _ => vec![Parent::Earlier(number - 1), Parent::Earlier(0)],
        },
        if_parent_fails: match number % 2 {
            0 => IfParentFails::Fail,
            _ => IfParentFails::Release,
        },
        ..NewTask::command(format!("echo {number}"))
    };
    (0..4 * SLICE + 1).map(of).collect()
}

/// Queues them, and calls `pause` between two slices.
fn all(
    store: &mut Store,
    tasks: &[NewTask],
    mut pause: impl FnMut(f64),
) -> Result<Vec<TaskId>, StoreError> {
    store.queue_all(tasks, now(), |share| {
        pause(share);
        true
    })
}

/// Asserts that these tasks are in the queue, each once and in order, with all that belongs to them.
#[track_caller]
fn are_queued(store: &mut Store, tasks: &[NewTask]) -> Vec<TaskId> {
    let queued = store.tasks(&[], usize::MAX >> 1).expect("tasks");
    let contents = |task: &Task| task.content.clone();
    let all: Vec<String> = queued.iter().map(contents).collect();
    let expected: Vec<String> = tasks.iter().map(|task| task.content.clone()).collect();
    assert_eq!(all, expected);
    let ids: Vec<TaskId> = queued.iter().map(|task| task.id).collect();
    for (number, task) in queued.iter().enumerate() {
        let parents = store.parents(task.id).expect("parents");
        let mut follows: Vec<TaskId> = parents.iter().map(|row| row.id).collect();
        let mut after: Vec<TaskId> = tasks[number]
            .after
            .iter()
            .map(|parent| match parent {
                Parent::Earlier(index) => ids[*index],
                Parent::Task(id) => *id,
            })
            .collect();
        follows.sort();
        after.sort();
        after.dedup();
        assert_eq!(follows, after, "{number}");
        assert_eq!(task.blocked as usize, after.len(), "{number}");
        let if_fails = tasks[number].if_parent_fails;
        assert!(parents.iter().all(|row| row.if_fails == if_fails));
        let history = store.history(task.id).expect("history");
        let actions: Vec<&str> = history.iter().map(|row| &*row.action).collect();
        assert_eq!(actions, ["queued"], "{number}");
    }
    ids
}

/// Asserts that nothing is left of any batch.
#[track_caller]
fn nothing_is_left(directory: &TempDir) {
    for table in ["batches", "batch_slices", "staged_tasks", "staged_parents"] {
        let count = format!("SELECT count(*) FROM {table}");
        let rows: i64 = other(directory)
            .query_row(&count, [], |row| row.get(0))
            .expect("a number");
        assert_eq!(rows, 0, "{table}");
    }
}

/// Does what a daemon does about batches that were left, as of a time that much later.
fn go_on(store: &mut Store, after: std::time::Duration) {
    let later = Timestamp::now() + after + std::time::Duration::from_secs(60);
    for _ in 0..1_000 {
        if !store.take_over_batches(later).expect("taken over").more {
            return;
        }
    }
    panic!("it does not end");
}

#[test]
fn many_tasks_are_queued_in_order() {
    let (directory, mut store) = store();
    queue(&mut store, &[NewTask::command("before")]);
    let tasks = many();
    let mut done = Vec::new();
    let mut another = Store::open(directory.path()).expect("another");
    let mut seen = Vec::new();
    let ids = all(&mut store, &tasks, |share| {
        done.push(share);
        // Others see what is in the queue, and may write.
        seen.push(another.tasks(&[], 9_999).expect("tasks").len());
        another.release_due(now()).expect("written");
    })
    .expect("queued");
    assert!(done.is_sorted() && done.last() == Some(&1.0), "{done:?}");
    assert_eq!(done.len(), 10);
    assert_eq!(seen[..5], [1; 5], "nothing is queued before all are there");
    let all: Vec<NewTask> = [NewTask::command("before")].into_iter().collect();
    let all: Vec<NewTask> = all.into_iter().chain(shifted(&tasks)).collect();
    assert_eq!(are_queued(&mut store, &all)[1..], ids);
    nothing_is_left(&directory);
}

/// The tasks with places that count one task before them.
fn shifted(tasks: &[NewTask]) -> Vec<NewTask> {
    let shift = |task: &NewTask| NewTask {
        after: task
            .after
            .iter()
            .map(|parent| match parent {
                Parent::Earlier(index) => Parent::Earlier(index + 1),
                Parent::Task(id) => Parent::Task(*id),
            })
            .collect(),
        ..task.clone()
    };
    tasks.iter().map(shift).collect()
}

#[test]
fn large_tasks_make_small_slices() {
    let (_directory, mut store) = store();
    let tasks = vec![NewTask::command("x".repeat(1 << 17)); 9];
    let mut slices = 0;
    let ids = all(&mut store, &tasks, |_| slices += 1);
    assert_eq!(ids.expect("queued").len(), 9);
    assert_eq!(slices, 10, "two tasks fill a slice");
    assert_eq!(are_queued(&mut store, &tasks).len(), 9);
}

#[test]
fn whenever_the_sender_is_killed_all_are_queued_or_none() {
    let tasks = many();
    for last in 1..=10 {
        let (directory, mut store) = store();
        let mut slices = 0;
        let killed = catch_unwind(AssertUnwindSafe(|| {
            all(&mut store, &tasks, |_| {
                slices += 1;
                assert!(slices < last, "killed");
            })
        }));
        assert!(killed.is_err());
        drop(store);
        let mut store = Store::open(directory.path()).expect("opened");
        // Nobody goes on while the sender may still be at it.
        let taken = store.take_over_batches(Timestamp::now()).expect("looked");
        assert!(!taken.more);
        go_on(&mut store, LEFT);
        // The sixth pause is the first after all were there.
        if last <= 5 {
            assert_eq!(are_queued(&mut store, &[]), []);
        } else {
            are_queued(&mut store, &tasks);
        }
        go_on(&mut store, FORGOTTEN);
        nothing_is_left(&directory);
    }
}

#[test]
fn what_the_database_refuses_is_not_queued_or_said_to_be() {
    let tasks = many();
    let (directory, mut store) = store();
    let spoil = |table: &str| {
        let last = &tasks[tasks.len() - 2].content;
        let trigger = format!(
            "CREATE TRIGGER spoil BEFORE INSERT ON {table} WHEN NEW.content = '{last}'
             BEGIN SELECT raise(ABORT, 'no'); END"
        );
        other(&directory).execute_batch(&trigger).expect("spoiled");
    };
    let mend = || {
        other(&directory)
            .execute_batch("DROP TRIGGER spoil")
            .expect("mended");
    };
    spoil("staged_tasks");
    let refused = all(&mut store, &tasks, |_| ()).expect_err("refused");
    assert_eq!(refused.to_string(), "the database refused: no");
    assert_eq!(are_queued(&mut store, &[]), []);
    nothing_is_left(&directory);
    mend();

    spoil("tasks");
    let partly = all(&mut store, &tasks, |_| ()).expect_err("partly");
    let expected = format!(
        "all {} tasks are queued, so do not send them again: `assigner list` shows those that are in the \
         queue, and the daemon adds the others (the database refused: no)",
        tasks.len(),
    );
    assert_eq!(partly.to_string(), expected);
    mend();
    go_on(&mut store, LEFT);
    are_queued(&mut store, &tasks);
}

#[test]
fn a_sender_may_give_up_until_all_are_there() {
    for last in [1, 3, 5, 6, 8] {
        let (directory, mut store) = store();
        let mut slices = 0;
        let queued = store.queue_all(&many(), now(), |_| {
            slices += 1;
            slices < last
        });
        if last <= 5 {
            let refused = queued.expect_err("given up");
            assert!(matches!(refused, StoreError::GivenUp), "{refused}");
            assert_eq!(are_queued(&mut store, &[]), []);
        } else {
            assert_eq!(queued.expect("queued"), are_queued(&mut store, &many()));
        }
        nothing_is_left(&directory);
    }
}

#[test]
fn a_parent_that_is_not_there_is_known_before_any_is_queued() {
    let (directory, mut store) = store();
    for parent in [Parent::Task(TaskId(99)), Parent::Earlier(4 * SLICE)] {
        let mut tasks = many();
        tasks.last_mut().expect("a task").after = vec![parent];
        let refused = all(&mut store, &tasks, |_| ()).expect_err("refused");
        assert!(matches!(refused, StoreError::NoTask(_)), "{refused}");
        assert_eq!(are_queued(&mut store, &[]), []);
        nothing_is_left(&directory);
    }
}

#[test]
fn a_parent_is_not_cleared_while_its_followers_are_being_queued() {
    let (directory, mut store) = store();
    let parent = queue(&mut store, &[NewTask::command("parent")])[0];
    store.cancel(parent, now()).expect("cancelled");
    let mut another = Store::open(directory.path()).expect("another");
    let tasks: Vec<NewTask> = many()
        .into_iter()
        .map(|task| NewTask {
            after: vec![Parent::Task(parent)],
            if_parent_fails: IfParentFails::Release,
            ..task
        })
        .collect();
    let mut cleared = Vec::new();
    let ids = all(&mut store, &tasks, |_| {
        let clear = another.clear(&[Status::Cancelled], later(1), later(1), |_| ());
        cleared.extend(clear.expect("cleared"));
    });
    assert_eq!(ids.expect("queued").len(), tasks.len());
    assert_eq!(cleared, []);
}

#[test]
fn a_daemon_may_go_on_beside_a_slow_sender() {
    let (directory, mut store) = store();
    let mut another = Store::open(directory.path()).expect("another");
    let tasks = many();
    let ids = all(&mut store, &tasks, |_| {
        let later = Timestamp::now() + LEFT * 2;
        another.take_over_batches(later).expect("taken over");
    });
    assert_eq!(are_queued(&mut store, &tasks), ids.expect("queued"));
    nothing_is_left(&directory);
}

#[test]
fn a_sender_that_slept_too_long_is_told() {
    let (directory, mut store) = store();
    let mut another = Store::open(directory.path()).expect("another");
    let mut slices = 0;
    let refused = all(&mut store, &many(), |_| {
        slices += 1;
        if slices == 2 {
            go_on(&mut another, FORGOTTEN);
        }
    });
    let refused = refused.expect_err("refused");
    assert!(matches!(refused, StoreError::BatchDropped), "{refused}");
    assert_eq!(are_queued(&mut store, &[]), []);
    nothing_is_left(&directory);
}

/// One slice at a time, as a daemon does it between its rounds.
#[test]
fn a_sender_that_wakes_while_its_batch_is_dropped_queues_nothing() {
    for last in 1..=4 {
        let (directory, mut store) = store();
        let mut another = Store::open(directory.path()).expect("another");
        let much_later = Timestamp::now() + FORGOTTEN * 2;
        let mut slices = 0;
        let refused = all(&mut store, &many(), |_| {
            slices += 1;
            if slices == last {
                another.take_over_batches(much_later).expect("taken over");
            }
        });
        let refused = refused.expect_err("refused");
        assert!(matches!(refused, StoreError::BatchDropped), "{refused}");
        assert_eq!(are_queued(&mut store, &[]), []);
        go_on(&mut store, FORGOTTEN);
        nothing_is_left(&directory);
    }
}

#[test]
fn tasks_are_not_cleared_while_others_of_their_batch_are_being_queued() {
    let (directory, mut store) = store();
    let mut another = Store::open(directory.path()).expect("another");
    let tasks = many();
    let mut cleared = Vec::new();
    let ids = all(&mut store, &tasks, |share| {
        if share > 0.5 && share < 1.0 {
            let _ = another.cancel(TaskId(1), now());
            let clear = another.clear(&[Status::Cancelled], later(1), later(1), |_| ());
            cleared.extend(clear.expect("cleared"));
        }
    });
    let ids = ids.expect("queued");
    assert_eq!((ids.len(), cleared), (tasks.len(), Vec::new()));
    assert!(another.anything_left().expect("looked"));
    // All follow the first, and half of them fail with it.
    let last = store.task(ids[4 * SLICE]).expect("the last");
    assert_eq!(last.status, Status::Failed);
    assert_eq!(store.parents(last.id).expect("parents").len(), 2);
}

#[test]
fn a_batch_that_cannot_move_holds_up_no_other() {
    let (directory, mut store) = store();
    for name in ["spoiled", "sound"] {
        let tasks = vec![NewTask::command(name); 2 * SLICE];
        let mut slices = 0;
        let killed = catch_unwind(AssertUnwindSafe(|| {
            all(&mut store, &tasks, |_| {
                slices += 1;
                assert!(slices < 3, "killed");
            })
        }));
        assert!(killed.is_err());
    }
    let spoil = "CREATE TRIGGER spoil BEFORE INSERT ON tasks WHEN NEW.content = 'spoiled'
                 BEGIN SELECT raise(ABORT, 'no'); END";
    other(&directory).execute_batch(spoil).expect("spoiled");
    go_on(&mut store, LEFT);
    let later = Timestamp::now() + LEFT * 2;
    let taken = store.take_over_batches(later).expect("taken over");
    let trouble = taken.trouble.map(|error| error.to_string());
    assert_eq!(trouble.as_deref(), Some("the database refused: no"));
    let tasks = store.tasks(&[], 9_999).expect("tasks");
    let sound = tasks.iter().filter(|task| task.content == "sound");
    assert_eq!(sound.count(), 2 * SLICE);
    assert!(store.anything_left().expect("looked"));
}

#[test]
fn secrets_are_kept_while_their_tasks_are_being_queued() {
    let (directory, mut store) = store();
    let mut another = Store::open(directory.path()).expect("another");
    let mut tasks = many();
    tasks[0].secrets = Some("values-x".to_owned());
    let ids = all(&mut store, &tasks, |_| {
        let in_use = another.secrets_in_use().expect("names");
        assert_eq!(in_use, BTreeSet::from(["values-x".to_owned()]));
        assert_eq!(another.settled_secrets().expect("names"), [""; 0]);
    });
    assert_eq!(ids.expect("queued").len(), tasks.len());
}

/// Stops a sender in the middle, and returns a backup of that moment with the queue.
fn stopped(last: usize) -> (TempDir, TempDir) {
    let (directory, mut store) = store();
    let away = tempfile::tempdir().expect("a directory");
    let mut slices = 0;
    let killed = catch_unwind(AssertUnwindSafe(|| {
        all(&mut store, &many(), |_| {
            slices += 1;
            assert!(slices < last, "killed");
        })
    }));
    assert!(killed.is_err());
    let file = away.path().join("backup.db");
    back_up(directory.path(), &file, false, |_| true).expect("a backup");
    (directory, away)
}

fn knowledge() -> Knowledge {
    Knowledge {
        trusts_pending: false,
        last_attempt: None,
        now: Timestamp::now(),
    }
}

/// What was queued after the backup was made may have run.
#[test]
fn what_was_being_queued_is_uncertain_after_a_restore() {
    let (directory, away) = stopped(7);
    let mut store = Store::open(directory.path()).expect("opened");
    go_on(&mut store, LEFT);
    are_queued(&mut store, &many());
    drop(store);
    let file = away.path().join("backup.db");
    restore(directory.path(), &file, knowledge(), |_| true).expect("restored");
    let mut store = Store::open(directory.path()).expect("opened");
    let tasks = store.tasks(&[], 9_999).expect("tasks");
    assert_eq!(tasks.len(), many().len());
    let uncertain = tasks.iter().filter(|task| task.status == Status::Uncertain);
    assert_eq!(uncertain.count(), 2 * SLICE + 1);
    nothing_is_left(&directory);
}

#[test]
fn a_backup_of_a_batch_that_was_not_whole_has_none_of_it() {
    let (directory, away) = stopped(3);
    let file = away.path().join("backup.db");
    restore(directory.path(), &file, knowledge(), |_| true).expect("restored");
    let mut store = Store::open(directory.path()).expect("opened");
    assert_eq!(are_queued(&mut store, &[]), []);
    nothing_is_left(&directory);
}
