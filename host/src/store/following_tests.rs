//! Tasks that follow others: when they may run, and what the end of a parent does to them.

use proptest::prelude::*;

use super::tests::*;
use super::*;
use crate::model::task::Parent;

#[test]
fn a_task_runs_when_all_that_it_follows_has_ended() {
    let (_directory, mut store) = store();
    let parents = queue(&mut store, &[NewTask::command("a"), NewTask::command("b")]);
    let child = queue(&mut store, &[following(&parents, IfParentFails::Fail)])[0];
    assert!(!may_run(&mut store, child));
    finish(&mut store, parents[0], Outcome::Completed, Event::Complete);
    assert!(!may_run(&mut store, child));
    finish(&mut store, parents[1], Outcome::Completed, Event::Complete);
    assert!(may_run(&mut store, child));
    let read = store.task(child).expect("the child");
    assert_eq!(read.follows, Some(identity(1)));
    // A parent that has already ended is not waited for.
    let late = queue(&mut store, &[following(&parents, IfParentFails::Fail)])[0];
    assert!(may_run(&mut store, late));
}

/// Ends an attempt at this second.
fn ends(store: &mut Store, attempt: AttemptId, outcome: Outcome, event: Event, second: i64) {
    let end = end(attempt, outcome, event);
    store.end(&end, later(second)).expect("ended");
}

#[test]
fn a_task_follows_where_the_last_of_its_parents_ended() {
    let done = (Outcome::Completed, Event::Complete);
    // Claimed in this order, in panes 1 and 2.
    for (ended, pane) in [((1, 5), 2), ((5, 1), 1), ((5, 5), 2)] {
        let (_directory, mut store) = store();
        let tasks = queue(&mut store, &vec![NewTask::command("x"); 3]);
        let child = queue(&mut store, &[following(&tasks[..2], IfParentFails::Fail)])[0];
        let one = claimed(&mut store, tasks[0], 1);
        let two = claimed(&mut store, tasks[1], 2);
        let foreign = claimed(&mut store, tasks[2], 7);
        ends(&mut store, one, done.0, done.1, ended.0);
        ends(&mut store, two, done.0, done.1, ended.1);
        // This one it does not follow.
        ends(&mut store, foreign, done.0, done.1, 30);
        let read = store.task(child).expect("the child");
        assert_eq!(read.follows, Some(identity(pane)), "{ended:?}");
    }
    // Where nothing of it ran, there is nothing to follow.
    for (outcome, event) in [
        (Outcome::Refused, Event::Refuse),
        (Outcome::Withdrawn, Event::Withdraw),
        (Outcome::Limited, Event::Hold),
    ] {
        let (_directory, mut store) = store();
        let parent = queue(&mut store, &[NewTask::command("x")]);
        let child = queue(&mut store, &[following(&parent, IfParentFails::Fail)])[0];
        let none = claimed(&mut store, parent[0], 3);
        ends(&mut store, none, outcome, event, 20);
        assert_eq!(store.task(child).expect("the child").follows, None);
        let attempt = claimed(&mut store, parent[0], 1);
        ends(&mut store, attempt, done.0, done.1, 5);
        let follows = store.task(child).expect("the child").follows;
        assert_eq!(follows, Some(identity(1)), "{outcome:?}");
    }
}

#[test]
fn the_tasks_that_a_task_follows_are_told_with_their_states() {
    let (_directory, mut store) = store();
    let tasks = queue(&mut store, &vec![NewTask::command("x"); 3]);
    let fails = queue(&mut store, &[following(&tasks[..2], IfParentFails::Fail)])[0];
    let runs = queue(
        &mut store,
        &[following(&tasks[1..2], IfParentFails::Release)],
    )[0];
    finish(&mut store, tasks[0], Outcome::Completed, Event::Complete);
    let row = |index: usize, status, if_fails| ParentRow {
        id: tasks[index],
        status,
        if_fails,
    };
    let mut parents = |task| store.parents(task).expect("parents");
    assert_eq!(
        parents(fails),
        [
            row(0, Status::Completed, IfParentFails::Fail),
            row(1, Status::Pending, IfParentFails::Fail),
        ]
    );
    let released = [row(1, Status::Pending, IfParentFails::Release)];
    assert_eq!(parents(runs), released);
    assert_eq!(parents(tasks[0]), []);
}

#[test]
fn a_task_follows_to_the_node_on_which_its_parent_ended() {
    let (_directory, mut store) = store();
    let parent = queue(&mut store, &[NewTask::command("x")]);
    let child = queue(&mut store, &[following(&parent, IfParentFails::Fail)])[0];
    let there = Identity {
        node: crate::model::ids::NodeName::parse("there").expect("a name"),
        ..identity(1)
    };
    let claim = Claim {
        identity: there.clone(),
        ..claim(parent[0], 1)
    };
    let attempt = store.claim(&[claim], now()).expect("claimed")[0];
    let attempt = attempt.expect("an attempt");
    ends(&mut store, attempt, Outcome::Completed, Event::Complete, 1);
    assert_eq!(store.task(child).expect("the child").follows, Some(there));
}

#[test]
fn a_failed_parent_fails_or_releases_its_children() {
    let (_directory, mut store) = store();
    let parent = queue(&mut store, &[NewTask::command("a")])[0];
    let fails = queue(&mut store, &[following(&[parent], IfParentFails::Fail)])[0];
    let grandchild = queue(&mut store, &[following(&[fails], IfParentFails::Fail)])[0];
    let runs = queue(&mut store, &[following(&[parent], IfParentFails::Release)])[0];
    finish(&mut store, parent, Outcome::Failed, Event::Fail);
    for task in [fails, grandchild] {
        assert_eq!(status(&mut store, task), Status::Failed);
    }
    let error = store.task(grandchild).expect("read").error.expect("why");
    assert!(error.contains(&format!("task {fails}")), "{error}");
    assert_eq!(actions(&mut store, fails), ["queued", "abandoned"]);
    assert!(may_run(&mut store, runs));
    // Queued after its parent has failed, a task fails at once.
    let late = queue(&mut store, &[following(&[parent], IfParentFails::Fail)])[0];
    assert_eq!(status(&mut store, late), Status::Failed);
    // A child is not queued again before its parent is.
    assert!(matches!(
        store.retry(fails, None, false, now()),
        Err(StoreError::ParentFailed { .. })
    ));
    let (queued, left) = retry_all_failed(&mut store, now());
    assert!(left.is_empty());
    assert_eq!(queued, [parent, fails, grandchild, late]);
    assert!(may_run(&mut store, parent) && !may_run(&mut store, fails));
    assert!(!may_run(&mut store, runs), "its parent is tried again");
    finish(&mut store, parent, Outcome::Completed, Event::Complete);
    assert!(may_run(&mut store, fails) && !may_run(&mut store, grandchild));
    assert!(may_run(&mut store, runs));
}

#[test]
fn a_long_chain_ends_with_its_first_task() {
    let (_directory, mut store) = store();
    let mut tasks = vec![NewTask::command("first")];
    tasks.extend((0..3000).map(|parent| NewTask {
        after: vec![Parent::Earlier(parent)],
        ..NewTask::command("x")
    }));
    let ids = queue(&mut store, &tasks);
    store.cancel(ids[0], now()).expect("cancelled");
    assert_eq!(status(&mut store, ids[3000]), Status::Failed);
}

#[test]
fn no_task_waits_for_itself_or_for_one_that_is_not_there() {
    let (_directory, mut store) = store();
    let nobody = following(&[TaskId(7)], IfParentFails::Fail);
    assert!(
        store
            .queue(&[NewTask::command("a"), nobody], now())
            .is_err()
    );
    assert!(store.tasks(&[], 9).expect("none").is_empty(), "all or none");
    let ids = queue(&mut store, &[NewTask::command("a"), NewTask::command("b")]);
    let edit = Edit {
        task: following(&[ids[1]], IfParentFails::Fail),
        revision: 0,
        unfollow: false,
        if_parent_fails: None,
        what: "after".to_owned(),
    };
    for task in ids {
        let refused = store.edit(task, &edit, now());
        assert!(matches!(refused, Err(StoreError::FollowsLater { .. })));
    }
}

#[derive(Debug, Clone, Copy)]
enum LedgerAct {
    Complete(usize),
    Fail(usize),
    Cancel(usize),
    Retry(usize),
    RetryAll,
}

fn acts() -> impl Strategy<Value = Vec<LedgerAct>> {
    let act = prop_oneof![
        (0..6_usize).prop_map(LedgerAct::Complete),
        (0..6_usize).prop_map(LedgerAct::Fail),
        (0..6_usize).prop_map(LedgerAct::Cancel),
        (0..6_usize).prop_map(LedgerAct::Retry),
        Just(LedgerAct::RetryAll),
    ];
    proptest::collection::vec(act, 0..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever happens in whatever order: the counter of open parents equals their actual number,
    /// and no task stays pending that was to fail with its parent.
    #[test]
    fn what_a_task_waits_for_is_always_what_is_open(
        edges in proptest::collection::vec((0..6_usize, 0..6_usize, any::<bool>()), 0..12),
        acts in acts(),
    ) {
        let (directory, mut store) = store();
        let tasks: Vec<NewTask> = (0..6)
            .map(|child| {
                let own = edges.iter().filter(|(_, to, _)| *to == child);
                NewTask {
                    after: own
                        .clone()
                        .filter(|(from, to, _)| from < to)
                        .map(|(from, _, _)| Parent::Earlier(*from))
                        .collect(),
                    if_parent_fails: if own.clone().any(|(_, _, release)| *release) {
                        IfParentFails::Release
                    } else {
                        IfParentFails::Fail
                    },
                    ..NewTask::command("x")
                }
            })
            .collect();
        let ids = queue(&mut store, &tasks);
        for act in acts {
            match act {
                LedgerAct::Complete(task) if may_run(&mut store, ids[task]) => {
                    finish(&mut store, ids[task], Outcome::Completed, Event::Complete);
                }
                LedgerAct::Fail(task) if may_run(&mut store, ids[task]) => {
                    finish(&mut store, ids[task], Outcome::Failed, Event::Fail);
                }
                LedgerAct::Cancel(task) => drop(store.cancel(ids[task], now())),
                LedgerAct::Retry(task) => drop(store.retry(ids[task], None, false, now())),
                LedgerAct::RetryAll => drop(retry_all_failed(&mut store, now())),
                LedgerAct::Complete(_) | LedgerAct::Fail(_) => {}
            }
        }
        let connection = other(&directory);
        let wrong: i64 = connection
            .query_row(
                "SELECT count(*) FROM tasks WHERE blocked <> (
                    SELECT count(*) FROM dependencies JOIN tasks AS parents
                        ON parents.id = parent_id WHERE task_id = tasks.id
                        AND parents.status NOT IN ('completed', 'failed', 'cancelled'))",
                [],
                |row| row.get(0),
            )
            .expect("counted");
        prop_assert_eq!(wrong, 0);
        let left_behind: i64 = connection
            .query_row(
                "SELECT count(*) FROM tasks JOIN dependencies ON task_id = tasks.id
                    JOIN tasks AS parents ON parents.id = parent_id
                    WHERE tasks.status = 'pending' AND if_fails = 'fail'
                    AND parents.status IN ('failed', 'cancelled')",
                [],
                |row| row.get(0),
            )
            .expect("counted");
        prop_assert_eq!(left_behind, 0);
    }
}

#[test]
fn what_is_cleared_has_ended_and_is_waited_for_by_nobody() {
    let (directory, mut store) = store();
    let ids = queue(&mut store, &[NewTask::command("a"), NewTask::command("b")]);
    let child = queue(&mut store, &[following(&[ids[0]], IfParentFails::Fail)])[0];
    for task in &ids {
        finish(&mut store, *task, Outcome::Completed, Event::Complete);
    }
    let statuses = [Status::Completed, Status::Pending, Status::Uncertain];
    assert!(
        store
            .clear(&statuses, later(-1), now(), |_| {})
            .expect("none")
            .is_empty()
    );
    let cleared = store
        .clear(&statuses, later(1), now(), |_| {})
        .expect("one");
    assert_eq!(cleared, [ids[1]]);
    assert!(store.task(ids[1]).is_err());
    assert_eq!(
        actions(&mut store, ids[1]).last().map(String::as_str),
        Some("cleared")
    );
    let attempts: i64 = other(&directory)
        .query_row("SELECT count(*) FROM attempts", [], |row| row.get(0))
        .expect("counted");
    assert_eq!(attempts, 1);
    finish(&mut store, child, Outcome::Completed, Event::Complete);
    assert_eq!(
        store
            .clear(&statuses, later(1), now(), |_| {})
            .expect("both")
            .len(),
        2
    );
}

#[test]
fn an_edit_that_ends_a_task_reaches_its_followers() {
    let (_directory, mut store) = store();
    let bad = queue(&mut store, &[NewTask::command("a")])[0];
    let middle = queue(&mut store, &[NewTask::command("b")])[0];
    let last = queue(&mut store, &[following(&[middle], IfParentFails::Fail)])[0];
    finish(&mut store, bad, Outcome::Failed, Event::Fail);
    let edit = Edit {
        task: following(&[bad], IfParentFails::Fail),
        revision: 0,
        unfollow: false,
        if_parent_fails: None,
        what: "after".to_owned(),
    };
    store.edit(middle, &edit, now()).expect("edited");
    for task in [middle, last] {
        assert_eq!(status(&mut store, task), Status::Failed);
    }
    // Somebody else has changed it since.
    let other = queue(&mut store, &[NewTask::command("c")])[0];
    store
        .reassign(other, Some(&"web".into()), now())
        .expect("given");
    let late = store.edit(other, &edit, now());
    assert!(matches!(late, Err(StoreError::Changed(_))));
    // A released child stays released.
    assert!(store.retry(last, None, false, now()).is_err());
    store.retry(last, None, true, now()).expect("queued");
    let history = store.history(last).expect("history");
    assert!(
        history.iter().any(|row| row.action == "released"),
        "{history:?}"
    );
    // A task that cannot be queued is not released either.
    assert!(store.retry(last, None, true, now()).is_err());
    assert!(may_run(&mut store, last));
}

#[test]
fn an_edit_may_end_a_task_with_one_that_failed_before() {
    let (_directory, mut store) = store();
    let bad = queue(&mut store, &[NewTask::command("a")])[0];
    let child = queue(&mut store, &[following(&[bad], IfParentFails::Release)])[0];
    finish(&mut store, bad, Outcome::Failed, Event::Fail);
    for (revision, fails, becomes) in [
        (0, IfParentFails::Release, Status::Pending),
        (1, IfParentFails::Fail, Status::Failed),
    ] {
        let edit = Edit {
            task: following(&[], fails),
            revision,
            unfollow: false,
            if_parent_fails: Some(fails),
            what: "if-parent-fails".to_owned(),
        };
        store.edit(child, &edit, now()).expect("edited");
        assert_eq!(status(&mut store, child), becomes);
    }
}
