//! A failed task rests for an elapsed time, not until a time of the wall clock; and what is known
//! about a session belongs to its pane, whatever the pane is called.

use super::rows::stamp;
use super::tests::*;
use super::*;

/// A task that has failed once and rests until `until`.
fn resting(store: &mut Store, until: Timestamp) -> TaskId {
    let task = NewTask {
        max_retries: 3,
        ..NewTask::command("x")
    };
    let id = queue(store, &[task])[0];
    let attempt = claimed(store, id, 1);
    let failed = End {
        not_before: Some(until),
        ..end(attempt, Outcome::Failed, Event::Retry)
    };
    store.end(&failed, now()).expect("ended");
    id
}

fn edited(store: &mut Store, id: TaskId, not_before: Option<Timestamp>) {
    let edit = Edit {
        revision: store.task(id).expect("the task").revision,
        task: NewTask {
            not_before,
            ..NewTask::command("y")
        },
        unfollow: false,
        if_parent_fails: None,
        what: "the command".to_owned(),
    };
    store.edit(id, &edit, now()).expect("edited");
}

#[test]
fn a_rest_ends_when_it_is_said_to_and_never_by_the_wall_clock() {
    let (_directory, mut store) = store();
    let id = resting(&mut store, later(4));
    let rest = Rest {
        task: id,
        until: later(4),
        written: stamp(later(4)).into_bytes(),
        tries: 1,
    };
    assert_eq!(store.next_due(now()).expect("read"), None);
    store.release_due(later(1_000_000)).expect("released");
    assert!(!may_run(&mut store, id));
    assert_eq!(
        store.resting(100).expect("rests"),
        std::slice::from_ref(&rest)
    );
    let other = Rest {
        written: stamp(later(5)).into_bytes(),
        ..rest.clone()
    };
    store.release(&[other]).expect("released");
    assert!(!may_run(&mut store, id), "it rests until another time");
    store.release(&[rest]).expect("released");
    assert!(may_run(&mut store, id));
    assert!(store.resting(100).expect("rests").is_empty());
    let read = store.task(id).expect("the task");
    assert_eq!((read.attempts, read.error.as_deref()), (1, Some("why")));
}

#[test]
fn a_time_that_a_person_names_is_no_rest() {
    let (_directory, mut store) = store();
    let id = resting(&mut store, later(4));
    // Another change leaves the rest as it is.
    edited(&mut store, id, Some(later(4)));
    assert_eq!(store.resting(100).expect("rests").len(), 1);
    edited(&mut store, id, Some(later(60)));
    assert!(store.resting(100).expect("rests").is_empty());
    assert_eq!(store.next_due(now()).expect("read"), Some(later(60)));
    store.release_due(later(60)).expect("released");
    assert!(may_run(&mut store, id));
    // A time that is named for a task that was tried is not a rest either.
    edited(&mut store, id, Some(later(90)));
    assert!(store.resting(100).expect("rests").is_empty());
    assert_eq!(store.next_due(now()).expect("read"), Some(later(90)));
}

#[test]
fn a_rest_that_another_tool_has_written_ends_too() {
    // Forms of a time, and values that are not a time; numbers of tries that are not a number.
    let forms = [
        "'2026-01-01 12:00:04'",
        "'2026-01-01T12:00:04+00:00'",
        "'tomorrow'",
        "''",
        "1767268804",
        "1767268804.5",
        "x'ff00fe'",
    ];
    for form in forms {
        let (directory, mut store) = store();
        let id = resting(&mut store, later(4));
        for written in [
            format!("UPDATE tasks SET not_before = {form}, tries = 'many'"),
            format!("UPDATE tasks SET not_before = {form}, tries = -1"),
        ] {
            other(&directory).execute_batch(&written).expect(form);
            let rests = store.resting(100).expect(form);
            assert_eq!(rests.len(), 1, "{form}");
            let changed = Rest {
                written: b"otherwise".to_vec(),
                ..rests[0].clone()
            };
            store.release(&[changed]).expect(form);
            assert!(!may_run(&mut store, id), "{form}");
        }
        let rests = store.resting(100).expect(form);
        store.release(&rests).expect(form);
        assert!(may_run(&mut store, id), "{form}");
    }
}

#[test]
fn what_is_no_rest_waits_for_its_time_whatever_was_written() {
    for form in ["2", "-1", "'yes'", "0.5", "x'01'"] {
        let (directory, mut store) = store();
        let id = resting(&mut store, later(4));
        let written = format!("UPDATE tasks SET rests = {form}");
        other(&directory).execute_batch(&written).expect(form);
        assert!(store.resting(100).expect(form).is_empty(), "{form}");
        assert_eq!(store.next_due(now()).expect(form), Some(later(4)), "{form}");
        store.release_due(later(3)).expect(form);
        assert!(!may_run(&mut store, id), "{form}");
        store.release_due(later(4)).expect(form);
        assert!(may_run(&mut store, id), "{form}");
    }
}

#[test]
fn no_more_rests_are_read_than_were_asked_for() {
    let (_directory, mut store) = store();
    let task = NewTask {
        max_retries: 1,
        ..NewTask::command("x")
    };
    let ids = queue(&mut store, &[task.clone(), task.clone(), task]);
    let attempts = [1, 2, 3].map(|pane| claimed(&mut store, ids[pane as usize - 1], pane));
    for attempt in attempts {
        let failed = End {
            not_before: Some(later(4)),
            ..end(attempt, Outcome::Failed, Event::Retry)
        };
        store.end(&failed, now()).expect("ended");
    }
    let read = store.resting(2).expect("rests");
    let read: Vec<TaskId> = read.iter().map(|rest| rest.task).collect();
    assert_eq!(read, ids[..2]);
}

#[test]
fn what_a_session_has_done_follows_its_pane() {
    let (_directory, mut store) = store();
    let named = |name: &str, pane| SessionRow {
        identity: identity(pane),
        ..session_row(name)
    };
    let sessions = [named("s1", 1), named("s2", 2)];
    store.record_sessions(&sessions, now()).expect("recorded");
    let parent = queue(&mut store, &[NewTask::command("a")])[0];
    let child = queue(&mut store, &[following(&[parent], IfParentFails::Fail)])[0];
    let attempt = claimed(&mut store, parent, 1);
    // While it runs there, the sessions change their names.
    let renamed = [named("s2", 1), named("s1", 2)];
    store.record_sessions(&renamed, now()).expect("recorded");
    let before = store.session("s2").expect("a session").completed;
    store
        .end(&end(attempt, Outcome::Completed, Event::Complete), now())
        .expect("ended");
    assert_eq!(
        store.session("s2").expect("a session").completed,
        before + 1
    );
    assert_eq!(store.session("s1").expect("a session").completed, 0);
    let follows = store.task(child).expect("the child").follows;
    assert_eq!(follows, Some(identity(1)));
    let attempts = store.attempts(parent).expect("attempts");
    assert_eq!(attempts[0].identity, identity(1));
}

#[test]
fn a_session_is_found_by_the_name_that_it_had() {
    let (_directory, mut store) = store();
    let named = |name: &str, pane, activity| SessionRow {
        identity: identity(pane),
        activity,
        ..session_row(name)
    };
    let sessions = [
        named("a", 1, Activity::Gone),
        named("b", 1, Activity::Idle),
        named("c", 2, Activity::Gone),
        named("d", 3, Activity::Idle),
    ];
    store.record_sessions(&sessions, now()).expect("recorded");
    let found = |store: &mut Store, name| store.session(name).expect("a session").name;
    // The session has another name now.
    assert_eq!(found(&mut store, "a"), "b");
    assert_eq!(found(&mut store, "b"), "b");
    // A session that has ended is the only one with that name.
    assert_eq!(found(&mut store, "c"), "c");
    assert_eq!(found(&mut store, "d"), "d");
    let rows = store.sessions().expect("sessions");
    let there: Vec<&str> = present(&rows).map(|who| who.name).collect();
    assert_eq!(there, ["b", "d"]);
}

#[test]
fn a_session_says_why_it_takes_no_task() {
    let idle = session_row("a");
    assert_eq!(idle.reason(), AT_PROMPT);
    let told = SessionRow {
        reason: Some("somebody types".to_owned()),
        ..idle.clone()
    };
    assert_eq!(told.reason(), "somebody types");
    let gone = SessionRow {
        activity: Activity::Gone,
        ..idle
    };
    assert_eq!(gone.reason(), "");
}

#[test]
fn what_is_said_of_a_pane_outlives_the_others() {
    let (_directory, mut store) = store();
    let of = |name: &str, pane| SessionRef {
        name: name.to_owned(),
        meaning: Some(Meaning::Pane(identity(pane))),
    };
    for (name, pane) in [("gone", 1), ("stays", 2)] {
        let pause = [Pause::Session(of(name, pane))];
        store.pause(&pause, true, now()).expect("paused");
        let labels = BTreeMap::from([(name.to_owned(), String::new())]);
        let labelled = store.label(&of(name, pane), &labels, &[], now());
        labelled.expect("labelled");
    }
    let ended = [Meaning::Pane(identity(1))];
    store.end_wishes(&ended, later(1)).expect("ended");
    let told = |store: &mut Store, name| {
        let rows = store.session_history(name, 9).expect("history");
        let actions: Vec<String> = rows.into_iter().map(|row| row.action).collect();
        actions.join(" ")
    };
    assert_eq!(told(&mut store, "stays"), "paused labelled");
    assert_eq!(told(&mut store, "gone"), "paused labelled resumed labelled");
    assert_eq!(store.pauses().expect("pauses").len(), 1);
}

#[test]
fn a_pane_that_another_tool_has_spoilt_is_named() {
    let (directory, mut store) = store();
    let id = queue(&mut store, &[NewTask::command("x")])[0];
    claimed(&mut store, id, 1);
    other(&directory)
        .execute_batch("UPDATE attempts SET pane = 'x'")
        .expect("spoilt");
    let said = store.attempts(id).expect_err("no pane").to_string();
    assert!(said.contains("unknown pane \"x\""), "{said}");
}
