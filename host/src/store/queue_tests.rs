//! Queued tasks are read as they were written, and served in order, page by page, each once.

use std::cmp::Reverse;

use proptest::prelude::*;

use super::tests::*;
use super::*;
use crate::model::task::{Metadata, Parent};

/// A task in which no field has its default.
fn full() -> NewTask {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    NewTask {
        kind: Kind::Prompt,
        content: "fix\nit".to_owned(),
        priority: -7,
        source: "api".to_owned(),
        metadata: Metadata {
            working_dir: Some("/srv".to_owned()),
            preferred_providers: names(&["codex"]),
            fallback_providers: names(&["claude"]),
            ..Metadata::default()
        },
        target_session: Some("web".into()),
        target_provider: Some("aider".to_owned()),
        max_retries: 3,
        timeout_seconds: Some(90),
        not_before: Some(later(30)),
        after: Vec::new(),
        if_parent_fails: IfParentFails::Release,
        secrets: Some("values-a".to_owned()),
    }
}

#[test]
fn what_is_queued_is_read_as_it_was_written() {
    let (_directory, mut store) = store();
    let small = NewTask {
        metadata: Metadata::default(),
        ..NewTask::command("x")
    };
    let ids = store
        .queue(&[full(), small.clone()], now())
        .expect("queued");
    assert_eq!(ids, [TaskId(1), TaskId(2)]);
    for (id, new) in ids.iter().zip([full(), small]) {
        let expected = Task::queued(*id, &new, now());
        assert_eq!(store.task(*id).expect("a task"), expected);
    }
    assert!(matches!(
        store.task(TaskId(3)),
        Err(StoreError::NoTask(TaskId(3)))
    ));
    let longest = NewTask {
        timeout_seconds: Some(u64::MAX),
        ..NewTask::command("x")
    };
    let id = queue(&mut store, &[longest])[0];
    let kept = store.task(id).expect("a task").timeout_seconds;
    assert_eq!(kept, Some(i64::MAX.unsigned_abs()));
}

#[test]
fn an_edit_is_read_as_it_was_written() {
    let (_directory, mut store) = store();
    let parent = queue(&mut store, &[NewTask::command("p")])[0];
    let id = queue(&mut store, &[following(&[parent], IfParentFails::Fail)])[0];
    let waits = Waiting {
        task: id,
        reason: "for it".to_owned(),
        rankings: Vec::new(),
    };
    store.note_waiting(&[waits]).expect("noted");
    let edit = Edit {
        task: full(),
        revision: 0,
        unfollow: false,
        if_parent_fails: Some(IfParentFails::Release),
        what: "all".to_owned(),
    };
    store.edit(id, &edit, later(1)).expect("edited");
    let mut expected = Task::queued(id, &full(), now());
    expected.revision = 1;
    expected.blocked = 1;
    assert_eq!(store.task(id).expect("a task"), expected);
    let row = |if_fails| ParentRow {
        id: parent,
        status: Status::Pending,
        if_fails,
    };
    let parents = |store: &mut Store| store.parents(id).expect("parents");
    assert_eq!(parents(&mut store), [row(IfParentFails::Release)]);
    let again = Edit {
        revision: 1,
        if_parent_fails: None,
        ..edit.clone()
    };
    store.edit(id, &again, later(1)).expect("edited");
    assert_eq!(parents(&mut store), [row(IfParentFails::Release)]);
    // It no longer follows any task except the one that is named now.
    let other = Edit {
        task: NewTask {
            after: vec![Parent::Task(parent)],
            if_parent_fails: IfParentFails::Fail,
            ..full()
        },
        revision: 2,
        unfollow: true,
        ..again.clone()
    };
    store.edit(id, &other, later(1)).expect("edited");
    assert_eq!(parents(&mut store), [row(IfParentFails::Fail)]);
    assert_eq!(store.task(id).expect("a task").blocked, 1);
    let free = Edit {
        revision: 3,
        unfollow: true,
        ..again
    };
    store.edit(id, &free, later(1)).expect("edited");
    assert_eq!(parents(&mut store), []);
    assert_eq!(store.task(id).expect("a task").blocked, 0);
    // An edited task has no earlier task in its batch to follow.
    let nobody = Edit {
        task: NewTask {
            after: vec![Parent::Earlier(0)],
            ..full()
        },
        revision: 4,
        ..edit
    };
    assert!(matches!(
        store.edit(id, &nobody, now()),
        Err(StoreError::NoTask(TaskId(0)))
    ));
}

#[test]
fn the_newest_tasks_of_a_state_are_listed_oldest_first() {
    let (_directory, mut store) = store();
    let ids = queue(&mut store, &vec![NewTask::command("x"); 5]);
    store.cancel(ids[1], now()).expect("cancelled");
    store.cancel(ids[3], now()).expect("cancelled");
    finish(&mut store, ids[4], Outcome::Failed, Event::Fail);
    let listed = |store: &mut Store, statuses: &[Status], limit| -> Vec<i64> {
        let tasks = store.tasks(statuses, limit).expect("tasks");
        tasks.iter().map(|task| task.id.0).collect()
    };
    assert_eq!(listed(&mut store, &[], 9), [1, 2, 3, 4, 5]);
    assert_eq!(listed(&mut store, &[], 2), [4, 5]);
    assert!(listed(&mut store, &[], 0).is_empty());
    assert_eq!(listed(&mut store, &[Status::Cancelled], 9), [2, 4]);
    assert_eq!(listed(&mut store, &[Status::Cancelled], 1), [4]);
    let ended = [Status::Cancelled, Status::Failed];
    assert_eq!(listed(&mut store, &ended, 9), [2, 4, 5]);
    let counts = BTreeMap::from([
        (Status::Pending, 2),
        (Status::Cancelled, 2),
        (Status::Failed, 1),
    ]);
    assert_eq!(store.counts().expect("counts"), counts);
}

#[test]
fn something_is_left_while_a_task_is_pending_or_in_flight() {
    let left = |store: &mut Store| store.anything_left().expect("an answer");
    let (_directory, mut store) = store();
    assert!(!left(&mut store));
    let task = queue(&mut store, &[NewTask::prompt("x")])[0];
    assert!(left(&mut store));
    let attempt = claimed(&mut store, task, 1);
    assert!(left(&mut store));
    store
        .advance(attempt, Phase::Running, "", now())
        .expect("running");
    assert!(left(&mut store));
    store.ask(attempt, "?", None, now()).expect("asked");
    assert!(left(&mut store));
    store
        .end(&end(attempt, Outcome::Uncertain, Event::Lose), now())
        .expect("lost");
    assert!(!left(&mut store));
    for event in [Event::MarkDone, Event::MarkFailed] {
        let task = queue(&mut store, &[NewTask::prompt("x")])[0];
        finish(&mut store, task, Outcome::Uncertain, Event::Lose);
        store.resolve(task, event, now()).expect("resolved");
        assert!(!left(&mut store));
    }
}

#[test]
fn a_lane_is_read_with_all_that_its_tasks_demand() {
    let (_directory, mut store) = store();
    let labels = BTreeMap::from([("team".to_owned(), "web".to_owned())]);
    let task = NewTask {
        kind: Kind::Prompt,
        target_session: Some("api".into()),
        target_provider: Some("aider".to_owned()),
        metadata: Metadata {
            git_branch: Some("dev".to_owned()),
            require_branch: true,
            target_fallback: true,
            preferred_providers: vec!["codex".to_owned()],
            fallback_providers: vec!["claude".to_owned()],
            require_labels: labels.clone(),
            ..Metadata::default()
        },
        ..NewTask::command("x")
    };
    let any = NewTask {
        metadata: Metadata {
            allow_fallback: true,
            target_fallback: false,
            ..task.metadata.clone()
        },
        ..task.clone()
    };
    let elsewhere = NewTask {
        metadata: Metadata {
            working_dir: Some("/srv".to_owned()),
            ..any.metadata.clone()
        },
        ..any.clone()
    };
    let built = NewTask {
        metadata: Metadata {
            prerequisites: vec!["true".to_owned()],
            ..any.metadata.clone()
        },
        ..any.clone()
    };
    let anywhere = NewTask {
        metadata: Metadata {
            require_branch: false,
            ..any.metadata.clone()
        },
        ..any.clone()
    };
    for new in [
        task,
        any,
        elsewhere,
        built,
        anywhere,
        full(),
        NewTask::command("x"),
    ] {
        let new = NewTask {
            not_before: None,
            ..new
        };
        let id = queue(&mut store, std::slice::from_ref(&new))[0];
        let lanes = store.lanes().expect("lanes");
        assert_eq!(lanes.len(), 1);
        let (lane, task) = (&lanes[0], store.task(id).expect("a task"));
        let wanted = task.demand();
        let read = lane.demand();
        assert_eq!(format!("{read:?}"), format!("{wanted:?}"));
        store.cancel(id, now()).expect("cancelled");
    }
    assert!(store.lanes().expect("none").is_empty());
}

#[test]
fn time_alone_lets_go_what_waits_for_it() {
    let (_directory, mut store) = store();
    let at = |seconds| NewTask {
        not_before: Some(later(seconds)),
        ..NewTask::command("x")
    };
    let ids = queue(&mut store, &[at(20), at(10), at(30), NewTask::command("x")]);
    let due = |store: &mut Store, seconds| store.next_due(later(seconds)).expect("due");
    assert_eq!(due(&mut store, 0), Some(later(10)));
    assert_eq!(due(&mut store, 10), Some(later(20)));
    assert_eq!(due(&mut store, 30), None);
    let refused = store.claim(&[claim(ids[1], 1)], later(10)).expect("asked");
    assert_eq!(refused, [None], "nobody has let it go yet");
    store.cancel(ids[0], now()).expect("cancelled");
    assert_eq!(
        due(&mut store, 10),
        Some(later(30)),
        "it does not wait any more"
    );
    store.release_due(later(10)).expect("released");
    assert_eq!(store.task(ids[1]).expect("a task").not_before, None);
    assert_eq!(
        store.task(ids[2]).expect("a task").not_before,
        Some(later(30))
    );
    assert!(may_run(&mut store, ids[1]) && !may_run(&mut store, ids[2]));
    let granted = store.claim(&[claim(ids[1], 1)], later(10)).expect("asked");
    assert!(granted[0].is_some());
}

#[test]
fn one_that_follows_others_is_not_claimed_before() {
    let (_directory, mut store) = store();
    let parent = queue(&mut store, &[NewTask::command("a")])[0];
    let child = queue(
        &mut store,
        &[following(&[parent, parent], IfParentFails::Fail)],
    )[0];
    assert_eq!(store.task(child).expect("the child").blocked, 1);
    let refused = store.claim(&[claim(child, 1)], now()).expect("asked");
    assert_eq!(refused, [None]);
    // Its parent is uncertain: nobody knows how it ended.
    finish(&mut store, parent, Outcome::Uncertain, Event::Lose);
    assert_eq!(store.task(child).expect("the child").blocked, 1);
    store.resolve(parent, Event::MarkDone, now()).expect("done");
    assert!(may_run(&mut store, child));
}

/// Serves all tasks in pages of at most `limit` tasks.
fn served(store: &mut Store, lanes: &[Lane], limit: usize) -> Vec<TaskId> {
    let (mut served, mut after) = (Vec::new(), None);
    loop {
        let page = store.pending(lanes, limit, after).expect("a page");
        assert!(page.len() <= limit);
        let full = page.len() == limit;
        after = page.last().map(|task| (task.priority, task.id));
        served.extend(page.iter().map(|task| task.id));
        assert!(served.len() <= 200, "it never ends");
        if !full || limit == 0 {
            return served;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Compared with a plain sort, with many tasks of the same priority, in several lanes.
    #[test]
    fn pages_serve_each_task_once_and_in_order(
        tasks in prop::collection::vec(
            (prop::sample::select(vec![0, 0, 1, -1, i32::MAX, i32::MIN]), 0..3_usize, 0..6_u8),
            0..40,
        ),
        left_out in 0..4_usize,
    ) {
        let (_directory, mut store) = store();
        let target = |lane: usize| SessionRef::from(["api", "web", "db"][lane]);
        let new: Vec<NewTask> = tasks
            .iter()
            .map(|&(priority, lane, waits)| NewTask {
                priority,
                target_session: Some(target(lane)),
                not_before: (waits == 0).then(|| later(9)),
                ..NewTask::command("x")
            })
            .collect();
        let ids = queue(&mut store, &new);
        let mut lanes = store.lanes().expect("lanes");
        lanes.retain(|lane| (0..3).any(|at| at != left_out && lane.demand.target_session == Some(target(at))));
        let mut expected: Vec<(Reverse<i32>, TaskId)> = tasks
            .iter()
            .zip(&ids)
            .filter(|((_, lane, waits), _)| *lane != left_out && *waits != 0)
            .map(|((priority, ..), id)| (Reverse(*priority), *id))
            .collect();
        expected.sort();
        let expected: Vec<TaskId> = expected.into_iter().map(|(_, id)| id).collect();
        for limit in [1, 2, 3, 5, 7, 16, 64, usize::MAX] {
            prop_assert_eq!(&served(&mut store, &lanes, limit), &expected, "pages of {}", limit);
        }
        prop_assert!(served(&mut store, &lanes, 0).is_empty());
    }
}

/// Other tools write what they like: none of it makes a page repeat tasks or leaves one out.
#[test]
fn odd_priorities_of_other_tools_are_served_once_each() {
    let (directory, mut store) = store();
    let id = queue(&mut store, &[NewTask::command("x")])[0];
    let odd = [
        "-5000000000",
        "5000000000",
        "-1.5",
        "1.5",
        "'high'",
        "'7'",
        "1e300",
        "x'ff'",
        "NULL",
    ];
    let connection = other(&directory);
    for priority in odd.iter().chain(&odd) {
        connection
            .execute_batch(&format!(
                "INSERT INTO prompts (content, priority, target_provider)
                    VALUES ('x', {priority}, 'shell')"
            ))
            .expect("inserted");
    }
    connection
        .execute_batch("UPDATE tasks SET priority = 'low' WHERE id = 1")
        .expect("changed");
    assert_eq!(store.task(id).expect("a task").priority, 0);
    // They are read alike before they are written as whole numbers.
    for (id, priority) in [(2, i32::MIN), (3, i32::MAX)] {
        assert_eq!(store.task(TaskId(id)).expect("a task").priority, priority);
    }
    let lanes = store.lanes().expect("lanes");
    let all: Vec<TaskId> = (1..=19).map(TaskId).collect();
    let priority = |store: &mut Store, id| store.task(id).expect("a task").priority;
    for limit in [1, 2, 5, 64] {
        let order = served(&mut store, &lanes, limit);
        let keys: Vec<_> = order
            .iter()
            .map(|&id| (Reverse(priority(&mut store, id)), id))
            .collect();
        assert!(keys.is_sorted(), "{keys:?}");
        let mut each = order;
        each.sort();
        assert_eq!(each, all, "pages of {limit}");
    }
    let read: Vec<i32> = (2..=10)
        .map(|id| priority(&mut store, TaskId(id)))
        .collect();
    assert_eq!(read, [i32::MIN, i32::MAX, -1, 1, 0, 7, i32::MAX, 0, 0]);
}

#[test]
fn the_oldest_come_first() {
    let (_directory, mut store) = store();
    let commands = ["a", "b", "c"].map(NewTask::command);
    let tasks: Vec<TaskId> = queue(&mut store, &commands);
    claimed(&mut store, tasks[0], 1);
    let ids = |store: &mut Store, limit| -> Vec<TaskId> {
        let tasks = store.oldest(Status::Pending, limit).expect("tasks");
        tasks.iter().map(|task| task.id).collect()
    };
    assert_eq!(ids(&mut store, 9), tasks[1..]);
    assert_eq!(ids(&mut store, 1), tasks[1..2]);
}
