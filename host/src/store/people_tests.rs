//! What people ask of the queue, in cases that its history rows do not cover.

use super::tests::*;
use super::*;
use crate::model::task::Metadata;

#[test]
fn what_is_tried_again_keeps_its_targets() {
    let (directory, mut store) = store();
    let new = NewTask {
        target_session: Some("api".into()),
        metadata: Metadata {
            target_fallback: true,
            ..Metadata::default()
        },
        ..NewTask::command("x")
    };
    let task = queue(&mut store, &[new])[0];
    let attempt = claimed(&mut store, task, 1);
    let retry = End {
        not_before: Some(later(5)),
        ..end(attempt, Outcome::Failed, Event::Retry)
    };
    store.end(&retry, now()).expect("ended");
    let read = store.task(task).expect("a task");
    assert_eq!(read.target_session, Some("api".into()));
    assert!(read.metadata.target_fallback);
    assert_eq!(read.not_before, Some(later(5)));
    // A person's choice replaces the target and drops its fallback.
    store
        .reassign(task, Some(&"web".into()), now())
        .expect("given");
    let read = store.task(task).expect("a task");
    assert_eq!(read.target_session, Some("web".into()));
    assert!(!read.metadata.target_fallback);
    // Metadata that is not JSON stays as it is.
    other(&directory)
        .execute_batch("UPDATE tasks SET metadata = 'x'")
        .expect("spoiled");
    store.reassign(task, None, now()).expect("given");
    let attempt = claimed(&mut store, task, 1);
    store
        .reassign(task, Some(&"db".into()), now())
        .expect("asked");
    let returned = end(attempt, Outcome::Reassigned, Event::Return);
    store.end(&returned, now()).expect("returned");
    let read = store.task(task).expect("a task");
    assert_eq!(read.target_session, Some("db".into()));
    assert!(read.metadata_error.is_some());
}

#[test]
fn a_request_ends_with_its_attempt() {
    let (_directory, mut store) = store();
    let new = NewTask {
        metadata: Metadata {
            target_fallback: true,
            ..Metadata::default()
        },
        ..NewTask::command("x")
    };
    let task = queue(&mut store, &[new])[0];
    let attempt = claimed(&mut store, task, 1);
    store
        .reassign(task, Some(&"web".into()), now())
        .expect("asked");
    // The task completed first.
    let done = end(attempt, Outcome::Completed, Event::Complete);
    store.end(&done, now()).expect("ended");
    let read = store.task(task).expect("a task");
    assert_eq!(
        (read.status, read.target_session),
        (Status::Completed, None)
    );
    assert!(read.metadata.target_fallback);
    assert!(store.requests().expect("requests").is_empty());
    // A cancellation outweighs a reassignment.
    let task = queue(&mut store, &[NewTask::command("x")])[0];
    let attempt = claimed(&mut store, task, 1);
    store
        .reassign(task, Some(&"web".into()), now())
        .expect("asked");
    store.cancel(task, now()).expect("asked");
    let requests = store.requests().expect("requests");
    assert_eq!(requests, BTreeMap::from([(task, Request::Cancel)]));
    let returned = end(attempt, Outcome::Reassigned, Event::Return);
    store.end(&returned, now()).expect("ended");
    let read = store.task(task).expect("a task");
    assert_eq!(
        (read.status, read.cancel_requested),
        (Status::Cancelled, None)
    );
    for event in [Event::Retry, Event::Hold, Event::Return, Event::Refuse] {
        let task = queue(&mut store, &[NewTask::command("x")])[0];
        let attempt = claimed(&mut store, task, 1);
        store.cancel(task, now()).expect("asked");
        let ended = end(attempt, Outcome::Failed, event);
        store.end(&ended, now()).expect("ended");
        assert_eq!(status(&mut store, task), Status::Cancelled, "{event:?}");
    }
    // A task that ended otherwise keeps its end.
    for (event, to) in [
        (Event::Complete, Status::Completed),
        (Event::Fail, Status::Failed),
        (Event::Lose, Status::Uncertain),
    ] {
        let task = queue(&mut store, &[NewTask::command("x")])[0];
        let attempt = claimed(&mut store, task, 1);
        store.cancel(task, now()).expect("asked");
        let ended = end(attempt, Outcome::Failed, event);
        store.end(&ended, now()).expect("ended");
        assert_eq!(status(&mut store, task), to, "{event:?}");
    }
}

#[test]
fn a_task_with_secret_values_is_queued_again_only_with_them() {
    let (_directory, mut store) = store();
    let new = NewTask {
        metadata: Metadata {
            secret_env: vec!["TOKEN".to_owned()],
            ..Metadata::default()
        },
        secrets: Some("values-a".to_owned()),
        ..NewTask::command("x")
    };
    let task = queue(&mut store, &[new])[0];
    let used = |store: &mut Store| store.secrets_in_use().expect("names");
    let settled = |store: &mut Store| store.settled_secrets().expect("names");
    assert_eq!(used(&mut store), BTreeSet::from(["values-a".to_owned()]));
    assert!(settled(&mut store).is_empty());
    finish(&mut store, task, Outcome::Uncertain, Event::Lose);
    assert!(settled(&mut store).is_empty(), "it may be sent again");
    store
        .resolve(task, Event::MarkFailed, now())
        .expect("failed");
    assert_eq!(settled(&mut store), ["values-a"]);
    store
        .forget_secrets(&["values-a".to_owned(), "values-b".to_owned()])
        .expect("forgotten");
    assert!(settled(&mut store).is_empty() && used(&mut store).is_empty());
    for again in [
        store.retry(task, None, false, now()).err(),
        store.reassign(task, None, now()).err(),
        retry_all_failed(&mut store, now()).1.pop(),
    ] {
        let gone = again.expect("refused");
        assert!(
            matches!(&gone, StoreError::SecretsGone { id, names } if *id == task && names == &["TOKEN"]),
            "{gone}"
        );
    }
    assert_eq!(status(&mut store, task), Status::Failed);
    store
        .retry(task, Some("values-c"), false, now())
        .expect("queued");
    let read = store.task(task).expect("a task");
    assert_eq!(read.secrets.as_deref(), Some("values-c"));
    // A task that cannot be queued again anyway reports that instead.
    let illegal = store.retry(task, None, false, now());
    assert!(matches!(illegal, Err(StoreError::Illegal { .. })));
}

#[test]
fn all_failed_tasks_are_queued_again_but_those_behind_a_cancelled_one() {
    let (_directory, mut store) = store();
    let cancelled = queue(&mut store, &[NewTask::command("a")])[0];
    let child = queue(&mut store, &[following(&[cancelled], IfParentFails::Fail)])[0];
    let failed = queue(&mut store, &[NewTask::command("b")])[0];
    store.cancel(cancelled, now()).expect("cancelled");
    finish(&mut store, failed, Outcome::Failed, Event::Fail);
    assert_eq!(status(&mut store, child), Status::Failed);
    let (queued, left) = retry_all_failed(&mut store, later(1));
    assert_eq!(queued, [failed]);
    let [
        StoreError::ParentFailed {
            id,
            parent,
            status: at,
        },
    ] = left.as_slice()
    else {
        panic!("{left:?}");
    };
    assert_eq!((*id, *parent, *at), (child, cancelled, Status::Cancelled));
    // A task that is not to fail with its parent needs no release; a released one stays released.
    let released = store.retry(child, None, true, later(2)).expect("queued");
    assert_eq!(released, Status::Pending);
    let if_fails = store.parents(child).expect("parents")[0].if_fails;
    assert_eq!(if_fails, IfParentFails::Release);
    finish(&mut store, child, Outcome::Failed, Event::Fail);
    store.retry(child, None, true, later(3)).expect("queued");
    let released = actions(&mut store, child);
    let released = released.iter().filter(|&action| action == "released");
    assert_eq!(released.count(), 1);
}

#[test]
fn a_parent_that_is_tried_again_holds_its_followers_back() {
    let (_directory, mut store) = store();
    let parent = queue(&mut store, &[NewTask::command("a")])[0];
    finish(&mut store, parent, Outcome::Failed, Event::Fail);
    let child = queue(&mut store, &[following(&[parent], IfParentFails::Release)])[0];
    assert!(may_run(&mut store, child));
    store.retry(parent, None, false, now()).expect("queued");
    assert!(!may_run(&mut store, child));
    store.cancel(parent, now()).expect("cancelled");
    assert!(may_run(&mut store, child));
}

/// Others write while many tasks are deleted.
#[test]
fn much_is_cleared_in_slices() {
    let (directory, mut store) = store();
    let ids = queue(&mut store, &vec![NewTask::command("x"); 450]);
    for id in &ids {
        store.cancel(*id, later(1)).expect("cancelled");
    }
    // One in the middle is kept.
    let kept = ids[220];
    store.retry(kept, None, false, later(1)).expect("queued");
    let mut looked_at = Vec::new();
    let cleared = store.clear(&[Status::Cancelled], later(9), now(), |so_far| {
        looked_at.push(so_far);
        let mut other = Store::open(directory.path()).expect("a store");
        queue(&mut other, &[NewTask::command("meanwhile")]);
    });
    let expected: Vec<TaskId> = ids.iter().copied().filter(|&id| id != kept).collect();
    assert_eq!(cleared.expect("cleared"), expected);
    let most = looked_at.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(most.is_some_and(|most| most <= 100), "{looked_at:?}");
    assert_eq!(looked_at.last(), Some(&449));
    assert!(store.task(kept).is_ok());
}

#[test]
fn what_ended_when_it_was_to_be_cleared_is_cleared_and_nothing_later() {
    let (_directory, mut store) = store();
    let ids = queue(&mut store, &vec![NewTask::command("x"); 3]);
    for (id, seconds) in ids.iter().zip([1, 2, 3]) {
        store.cancel(*id, later(seconds)).expect("cancelled");
    }
    let clear = |store: &mut Store, statuses: &[Status], seconds| -> Vec<TaskId> {
        let cleared = store.clear(statuses, later(seconds), now(), |_| {});
        cleared.expect("cleared")
    };
    assert!(clear(&mut store, &[Status::Failed], 9).is_empty());
    assert!(clear(&mut store, &[], 9).is_empty());
    assert_eq!(clear(&mut store, &[Status::Cancelled], 2), ids[..2]);
    assert_eq!(clear(&mut store, &[Status::Cancelled], 2), []);
    assert_eq!(clear(&mut store, &[Status::Cancelled], 3), ids[2..]);
    // Their ids are never used again.
    let next = queue(&mut store, &[NewTask::command("x")])[0];
    assert_eq!(next, TaskId(4));
}

#[test]
fn one_answer_is_given_to_one_question() {
    let (_directory, mut store) = store();
    let task = queue(&mut store, &[NewTask::prompt("x")])[0];
    let attempt = claimed(&mut store, task, 1);
    let words = |text: &str| Answer::Words(text.to_owned());
    let early = store.reply(task, &words("yes"), now());
    assert!(
        matches!(early, Err(StoreError::NotAsking { id, status: Status::Assigned }) if id == task)
    );
    store.ask(attempt, "which?", None, now()).expect("asked");
    let keys = Answer::Keys(vec!["Down".to_owned(), "Enter".to_owned()]);
    for answer in [words(" a  b\n"), keys, Answer::Accept] {
        store.reply(task, &answer, now()).expect("answered");
        let twice = store.reply(task, &words("no"), now());
        assert!(matches!(twice, Err(StoreError::Answered(id)) if id == task));
        let replies = store.replies().expect("replies");
        let [reply] = replies.as_slice() else {
            panic!("{replies:?}");
        };
        assert_eq!((&reply.answer, reply.task), (&answer, task));
        assert_eq!(reply.asks.as_deref(), Some("which?"));
        store.take_reply(reply, "typed", later(1)).expect("taken");
        assert!(
            store.replies().expect("none").is_empty(),
            "never typed twice"
        );
        let twice = store.reply(task, &words("no"), now());
        assert!(
            matches!(twice, Err(StoreError::Answered(_))),
            "it is on its way"
        );
        // A daemon ended while it was delivering the reply.
        store
            .drop_replies(None, "the daemon ended", later(2))
            .expect("dropped");
        let history = store.history(task).expect("history");
        let last: Vec<_> = history.iter().rev().take(2).collect();
        assert_eq!(last[0].action, REPLY_DROPPED);
        assert_eq!(last[0].details, "not delivered: the daemon ended");
        assert_eq!(last[0].at, later(2));
        assert_eq!((last[1].details.as_str(), last[1].at), ("typed", later(1)));
    }
}

#[test]
fn an_answer_that_comes_too_late_is_dropped_and_says_why() {
    let words = Answer::Words("yes".to_owned());
    type Late = fn(&mut Store, AttemptId);
    let ends: [(&str, Late); 4] = [
        (
            "not delivered: it now asks something else",
            |store, attempt| {
                store.ask(attempt, "else?", None, later(3)).expect("asked");
            },
        ),
        (
            "not delivered: the agent continued by itself",
            |store, attempt| {
                store.go_on(attempt, "", later(3)).expect("gone on");
            },
        ),
        ("not delivered: the turn has ended", |store, attempt| {
            let done = end(attempt, Outcome::Completed, Event::Complete);
            store.end(&done, later(3)).expect("ended");
        }),
        ("not delivered: nobody is there", |store, _| {
            let task = Some(TaskId(1));
            store
                .drop_replies(task, "nobody is there", later(3))
                .expect("dropped");
        }),
    ];
    for (why, late) in ends {
        for taken in [false, true] {
            let (_directory, mut store) = store();
            let task = queue(&mut store, &[NewTask::prompt("x")])[0];
            let bystander = queue(&mut store, &[NewTask::prompt("y")])[0];
            for (task, pane) in [(bystander, 2), (task, 1)] {
                let attempt = claimed(&mut store, task, pane);
                store.ask(attempt, "?", None, now()).expect("asked");
                store.reply(task, &words, now()).expect("answered");
            }
            let attempt = store.open_attempts().expect("open").remove(1).id;
            let of_task = |reply: &Reply| reply.task == task;
            if taken {
                let replies = store.replies().expect("replies");
                let reply = replies.into_iter().find(of_task).expect("a reply");
                store.take_reply(&reply, "typed", now()).expect("taken");
            }
            late(&mut store, attempt);
            let left = store.replies().expect("replies");
            assert_eq!((left.len(), left[0].task), (1, bystander), "{why}");
            let history = store.history(task).expect("history");
            let told: Vec<_> = history.iter().filter(|row| row.details == why).collect();
            // A reply that was delivered is not reported as lost, except where that is said
            // explicitly.
            let expected = usize::from(!taken || why.ends_with("there"));
            assert_eq!(told.len(), expected, "{why} {taken}");
            assert!(
                told.iter()
                    .all(|row| row.action == REPLY_DROPPED && row.at == later(3))
            );
            let dropped = store.drop_replies(None, "again", now());
            dropped.expect("none is just being given");
            assert_eq!(store.replies().expect("replies").len(), 1);
        }
    }
}

#[test]
fn what_the_worker_has_left_is_merged_once_and_nothing_else_is() {
    let (directory, mut store) = store();
    let path = directory.path().join("theirs.db");
    assert!(
        store.import(&path, now(), |_, _| ()).is_err(),
        "there is none"
    );
    std::fs::write(&path, "no database").expect("written");
    assert!(store.import(&path, now(), |_, _| ()).is_err(), "it is none");
    std::fs::remove_file(&path).expect("removed");
    let theirs = rusqlite::Connection::open(&path).expect("a database");
    let made = theirs.execute_batch("CREATE TABLE notes (id INTEGER PRIMARY KEY)");
    made.expect("a table");
    assert!(
        store.import(&path, now(), |_, _| ()).is_err(),
        "it is another's"
    );
    let made = theirs.execute_batch(
        "CREATE TABLE prompts (id INTEGER PRIMARY KEY, content TEXT, status TEXT,
            created_at TEXT);
         INSERT INTO prompts (content, status) VALUES ('one', 'pending'), ('two', 'completed');",
    );
    made.expect("prompts");
    let merged = |tasks, skipped| Imported {
        tasks,
        skipped,
        ..Imported::default()
    };
    let import = |store: &mut Store| store.import(&path, now(), |_, _| ()).expect("merged");
    assert_eq!(import(&mut store), merged(2, 0));
    assert_eq!(import(&mut store), merged(0, 2));
    let contents = [1, 2].map(|id| store.task(TaskId(id)).expect("a task").content);
    assert_eq!(contents, ["one", "two"]);
}
