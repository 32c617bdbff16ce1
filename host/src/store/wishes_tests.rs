//! Pauses and labels follow what was meant, and end with it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::model::ids::{Identity, TaskId};
use crate::model::naming::{Meaning, SessionRef, Who};
use crate::model::task::NewTask;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn store() -> (TempDir, Store) {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).expect("a store");
    (directory, store)
}

fn of(name: &str, pane: u32) -> SessionRef {
    SessionRef {
        name: name.to_owned(),
        meaning: Some(Meaning::Pane(Identity::of_pane(pane))),
    }
}

fn set(store: &mut Store, said: &SessionRef, paused: bool) {
    let pause = [Pause::Session(said.clone())];
    store.pause(&pause, paused, NOW).expect("paused");
}

fn paused(store: &mut Store) -> Vec<String> {
    let pauses = store.pauses().expect("pauses").into_iter();
    pauses
        .map(|pause| match pause.what {
            Pause::Session(said) => said.in_full(),
            other => other.to_string(),
        })
        .collect()
}

fn target(store: &mut Store, id: TaskId) -> Option<SessionRef> {
    store.task(id).expect("a task").target_session
}

#[test]
fn panes_that_bore_one_name_are_paused_and_resumed_each() {
    let (_directory, mut store) = store();
    set(&mut store, &of("m:0.1", 1), true);
    // The pane is renumbered and paused again under its new name.
    set(&mut store, &of("m:0.0", 1), true);
    set(&mut store, &of("m:0.1", 2), true);
    assert_eq!(paused(&mut store), ["m:0.1 (pane %1)", "m:0.1 (pane %2)"]);
    set(&mut store, &of("m:0.1", 2), false);
    assert_eq!(paused(&mut store), ["m:0.1 (pane %1)"]);
    // The pane that now has this name is not paused: the name leads to the one that was meant.
    set(&mut store, &of("m:0.1", 2), false);
    assert_eq!(paused(&mut store), [""; 0]);
    // A provider is resumed by its name.
    let provider = [Pause::Provider("claude".to_owned())];
    store.pause(&provider, true, NOW).expect("paused");
    store.pause(&provider, true, NOW).expect("paused again");
    assert_eq!(paused(&mut store), ["provider claude"]);
    store.pause(&provider, false, NOW).expect("resumed");
    assert_eq!(paused(&mut store), [""; 0]);
}

#[test]
fn a_name_that_was_awaited_is_bound_once() {
    let (_directory, mut store) = store();
    set(&mut store, &SessionRef::from("api"), true);
    set(&mut store, &of("old", 1), true);
    let labels = BTreeMap::from([("a".to_owned(), "new".to_owned())]);
    store
        .label(&"api".into(), &labels, &[], NOW)
        .expect("a label");
    let before = [("a", "old"), ("b", "old")];
    let before = before.map(|(name, value)| (name.to_owned(), value.to_owned()));
    store
        .label(&of("old", 1), &BTreeMap::from(before), &[], NOW)
        .expect("labels");
    let task = NewTask {
        target_session: Some("api".into()),
        ..NewTask::command("x")
    };
    let ids = store.queue(&[task.clone(), task], NOW).expect("queued");
    assert_eq!(store.awaited_targets().expect("names"), ["api"]);
    let bound = [("api".to_owned(), Meaning::Pane(Identity::of_pane(1)))];
    store.bind(&bound).expect("bound");
    assert_eq!(paused(&mut store), ["api (pane %1)"]);
    assert_eq!(target(&mut store, ids[0]), Some(of("api", 1)));
    assert_eq!(store.awaited_targets().expect("names"), [""; 0]);
    // The last setting applies.
    let who = Identity::of_pane(1);
    let who = Who {
        identity: Some(&who),
        ..Who::named("renamed")
    };
    let given = store.session_labels().expect("labels");
    let labels = labels_of(&given, who);
    let labels: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (&**n, &**v)).collect();
    assert_eq!(labels, [("a", "new"), ("b", "old")]);
    // The next session with that name is a different one.
    let next = [("api".to_owned(), Meaning::Pane(Identity::of_pane(2)))];
    store.bind(&next).expect("nothing");
    assert_eq!(target(&mut store, ids[1]), Some(of("api", 1)));
    let lanes = store.lanes().expect("lanes");
    assert_eq!(lanes.len(), 1);
    assert_eq!(lanes[0].demand.target_session, Some(of("api", 1)));
    let tasks = store.pending(&lanes, 9, None).expect("a page");
    assert_eq!(tasks.len(), 2);
}

#[test]
fn only_what_waited_for_that_name_is_bound() {
    let (_directory, mut store) = store();
    let labels = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
    for name in ["one", "two"] {
        let session = SessionRef::from(name);
        set(&mut store, &session, true);
        let label = store.label(&session, &labels, &[], NOW);
        label.expect("a label");
    }
    let target = |target: SessionRef| NewTask {
        target_session: Some(target),
        ..NewTask::command("x")
    };
    let tasks = [
        target("a".into()),
        target(of("b", 2)),
        target("c".into()),
        target("one".into()),
    ];
    store.queue(&tasks, NOW).expect("queued");
    assert_eq!(store.awaited_targets().expect("names"), ["a", "c", "one"]);
    let meaning = Meaning::Pane(Identity::of_pane(1));
    let bound = [("one".to_owned(), meaning.clone())];
    store.bind(&bound).expect("bound");
    let labels = store.session_labels().expect("labels");
    let meant: Vec<_> = labels
        .into_iter()
        .map(|label| (label.session.name, label.session.meaning))
        .collect();
    let both = [("one".to_owned(), Some(meaning)), ("two".to_owned(), None)];
    assert_eq!(meant, both);
    assert_eq!(paused(&mut store), ["one (pane %1)", "two"]);
    assert_eq!(store.awaited_targets().expect("names"), ["a", "c"]);
}

/// What was set for a pane is replaced only by what awaited the name that it now has.
#[test]
fn what_waits_for_another_name_replaces_nothing() {
    let (_directory, mut store) = store();
    let mut label = |session: &SessionRef, value: &str| {
        let labels = BTreeMap::from([("a".to_owned(), value.to_owned())]);
        let label = store.label(session, &labels, &[], NOW);
        label.expect("a label");
    };
    // The pane has changed its name since: its label is replaced.
    label(&of("m:0.1", 1), "1");
    label(&of("m:0.0", 1), "2");
    label(&of("m:0.1", 2), "3");
    for name in ["two", "three"] {
        label(&name.into(), name);
    }
    set(&mut store, &of("m:0.0", 1), true);
    set(&mut store, &"two".into(), true);
    let meaning = Meaning::Pane(Identity::of_pane(1));
    store.bind(&[("one".to_owned(), meaning)]).expect("bound");
    let labels = store.session_labels().expect("labels");
    let values: Vec<String> = labels
        .into_iter()
        .map(|label| format!("{}: {}", label.session.in_full(), label.value))
        .collect();
    let all = [
        "m:0.0 (pane %1): 2",
        "m:0.1 (pane %2): 3",
        "three: three",
        "two: two",
    ];
    assert_eq!(values, all);
    assert_eq!(paused(&mut store), ["m:0.0 (pane %1)", "two"]);
}

#[test]
fn pauses_and_labels_end_with_their_pane_and_targets_stay() {
    let (_directory, mut store) = store();
    for pane in [1, 2] {
        set(&mut store, &of("m:0.1", pane), true);
        let labels = BTreeMap::from([("a".to_owned(), pane.to_string())]);
        let label = store.label(&of("m:0.1", pane), &labels, &[], NOW);
        label.expect("a label");
    }
    let task = NewTask {
        target_session: Some(of("m:0.1", 1)),
        ..NewTask::command("x")
    };
    let ids = store.queue(&[task], NOW).expect("queued");
    let gone = [Meaning::Pane(Identity::of_pane(1))];
    store.end_wishes(&gone, NOW).expect("ended");
    assert_eq!(paused(&mut store), ["m:0.1 (pane %2)"]);
    let labels = store.session_labels().expect("labels");
    assert_eq!(labels.len(), 1);
    assert_eq!(labels[0].session, of("m:0.1", 2));
    assert_eq!(target(&mut store, ids[0]), Some(of("m:0.1", 1)));
    let history = store.session_history("m:0.1", 9).expect("history");
    let said: Vec<String> = history
        .iter()
        .map(|row| format!("{}: {}", row.action, row.details))
        .collect();
    assert_eq!(
        said[4..],
        [
            "resumed: session m:0.1: its pane %1 has ended",
            "labelled: without a: its pane %1 has ended",
        ]
    );
}

#[test]
fn a_task_is_given_to_the_session_that_was_meant() {
    let (_directory, mut store) = store();
    let ids = store.queue(&[NewTask::command("x")], NOW).expect("queued");
    let to = of("web", 3);
    store.reassign(ids[0], Some(&to), NOW).expect("given");
    assert_eq!(target(&mut store, ids[0]), Some(to));
    store.reassign(ids[0], None, NOW).expect("given to any");
    assert_eq!(target(&mut store, ids[0]), None);
    let to_be = SessionRef::from("web");
    store.reassign(ids[0], Some(&to_be), NOW).expect("given");
    assert_eq!(store.awaited_targets().expect("names"), ["web"]);
}

#[test]
fn labels_of_one_pane_count_more_than_those_of_all() {
    let label = |session: SessionRef, value: &str| SessionLabel {
        session,
        name: "a".to_owned(),
        value: value.to_owned(),
    };
    let one = Identity::of_pane(1);
    let who = Who {
        identity: Some(&one),
        ..Who::named("m:0.1")
    };
    for given in [
        [label("m:0.1".into(), "one"), label("m".into(), "all")],
        [label("m".into(), "all"), label("m:0.1".into(), "one")],
        [label(of("x", 1), "one"), label("m".into(), "all")],
        [label("m".into(), "all"), label(of("x", 1), "one")],
    ] {
        assert_eq!(labels_of(&given, who)["a"], "one", "{given:?}");
    }
}
