//! Prompts that are asked without a terminal: the pauses of their agents, and the conversations that
//! they continue.

use super::tests::*;
use super::*;
use crate::model::headless::{Headless, HeadlessConversation, HeadlessSpec};
use crate::model::task::{Metadata, Parent};

/// Returns a prompt for that agent.
fn asks(provider: &str, resumes: bool) -> NewTask {
    let resume = if resumes {
        "resume = ['x', '{conversation}']\n"
    } else {
        ""
    };
    let spec = format!("command = ['x']\n{resume}response = {{ at = '/r' }}");
    NewTask {
        metadata: Metadata {
            headless: Some(Headless {
                provider: provider.to_owned(),
                spec: toml::from_str::<HeadlessSpec>(&spec).expect("a way to ask"),
            }),
            ..Metadata::default()
        },
        ..NewTask::command("x")
    }
}

fn reason(store: &mut Store, task: TaskId) -> Option<String> {
    store.task(task).expect("a task").wait_reason
}

/// Notes for each lane of a store which agent is waited for.
fn note(store: &mut Store, limit: usize) {
    let lanes = store.lanes().expect("lanes").into_iter();
    let reasons = lanes.map(|lane| {
        let agent = lane.demand().asks.clone().expect("an agent");
        (lane, format!("waits for {agent}"))
    });
    let reasons: Vec<(Lane, String)> = reasons.collect();
    store.note_lanes_waiting(&reasons, limit).expect("noted");
}

fn pause(provider: &str, until: Option<Timestamp>) -> PauseRow {
    PauseRow {
        what: Pause::Provider(provider.to_owned()),
        until,
        reason: None,
    }
}

#[test]
fn the_first_tasks_of_a_lane_are_told_why_they_wait() {
    let (_directory, mut store) = store();
    let tasks = [
        asks("codex", false),
        asks("codex", false),
        asks("codex", false),
    ];
    let ids = queue(&mut store, &tasks);
    note(&mut store, 2);
    let why = || Some("waits for codex".to_owned());
    let reasons: Vec<_> = ids.iter().map(|&id| reason(&mut store, id)).collect();
    assert_eq!(reasons, [why(), why(), None]);
    // The first ones are those that are served first.
    let urgent = NewTask {
        priority: 1,
        ..asks("codex", false)
    };
    let urgent = queue(&mut store, &[urgent])[0];
    note(&mut store, 1);
    assert_eq!(reason(&mut store, urgent), why());
    // What it waited for before is of no interest any more.
    let before = Waiting {
        task: ids[0],
        reason: "something else".to_owned(),
        rankings: Vec::new(),
    };
    store.note_waiting(&[before]).expect("noted");
    note(&mut store, 3);
    assert_eq!(reason(&mut store, ids[0]), why());
}

#[test]
fn why_a_prompt_waits_is_forgotten_when_the_pause_of_its_agent_ends() {
    let limit = Limit {
        provider: "codex".to_owned(),
        until: later(60),
        reason: "a limit".to_owned(),
    };
    // By itself, at its time and not before; and by a person's word.
    for (by_person, at, is_forgotten) in [
        (false, later(59), false),
        (false, later(60), true),
        (false, later(61), true),
        (true, later(1), true),
    ] {
        let (_directory, mut store) = store();
        let ids = queue(&mut store, &[asks("codex", false), asks("claude", false)]);
        wishes::hold_provider(&mut *store.db, &limit, now()).expect("held");
        note(&mut store, 9);
        if by_person {
            let codex = [Pause::Provider("codex".to_owned())];
            store.pause(&codex, false, at).expect("resumed");
        } else {
            store.end_pauses(at).expect("ended");
        }
        assert_eq!(store.pauses().expect("pauses").is_empty(), is_forgotten);
        let codex = reason(&mut store, ids[0]);
        assert_eq!(codex.is_none(), is_forgotten, "{by_person} {at}");
        let claude = reason(&mut store, ids[1]);
        assert_eq!(claude.as_deref(), Some("waits for claude"));
    }
}

#[test]
fn a_pause_holds_until_its_time_and_one_of_a_person_comes_first() {
    for (until, holds) in [
        (None, true),
        (Some(later(-1)), false),
        (Some(now()), false),
        (Some(later(1)), true),
    ] {
        let pauses = [pause("shell", until)];
        let allowed = claim(TaskId(1), 1).is_allowed(&pauses, &[], now());
        assert_eq!(allowed, !holds, "{until:?}");
        // The agent that is asked in the shell counts as well.
        let asked = Claim {
            asks: Some("codex".to_owned()),
            ..claim(TaskId(1), 1)
        };
        let pauses = [pause("codex", until)];
        assert_eq!(asked.is_allowed(&pauses, &[], now()), !holds, "{until:?}");
        assert!(claim(TaskId(1), 1).is_allowed(&pauses, &[], now()));
    }
    let by_itself = pause("shell", Some(later(1)));
    let all = PauseRow {
        what: Pause::All,
        ..pause("", None)
    };
    let pauses = [pause("codex", None), by_itself.clone(), all.clone()];
    let who = Who::named("s1");
    assert_eq!(PauseRow::over(&pauses, who, "shell"), Some(&all));
    assert_eq!(PauseRow::over(&pauses[..2], who, "shell"), Some(&by_itself));
    assert_eq!(PauseRow::over(&pauses[..2], who, "claude"), None);
    // A prompt that is asked in a shell is held by the pause of its agent.
    let task = |new: &NewTask| Task::queued(TaskId(1), new, now());
    let codex = task(&asks("codex", false));
    assert_eq!(PauseRow::over_asked(&pauses, &codex), Some(&pauses[0]));
    assert_eq!(PauseRow::over_asked(&pauses[1..], &codex), None);
    let plain = task(&NewTask::command("x"));
    assert_eq!(PauseRow::over_asked(&pauses, &plain), None);
}

#[test]
fn a_prompt_continues_the_last_conversation_with_its_own_agent() {
    let (_directory, mut store) = store();
    let said = |provider: Option<&str>, name: Option<&str>, directory: &str| TurnFacts {
        provider: provider.map(str::to_owned),
        conversation: name.map(str::to_owned),
        directory: Some(directory.to_owned()),
        ..TurnFacts::default()
    };
    let parents = [
        said(Some("codex"), Some("c1"), "/w"),
        said(Some("codex"), Some("c2"), "no path"),
        said(Some("claude"), Some("c3"), "/w"),
        said(Some("codex"), None, "/w"),
        said(None, Some("c4"), "/w"),
    ];
    let mut ids = Vec::new();
    for (second, turn) in (0..).zip(parents) {
        let id = queue(&mut store, &[asks("codex", true)])[0];
        let attempt = claimed(&mut store, id, 1);
        let done = End {
            turn: Some(turn),
            ..end(attempt, Outcome::Completed, Event::Complete)
        };
        store.end(&done, later(second)).expect("ended");
        ids.push(id);
    }
    // Two that ended at the same time.
    for name in ["c5", "c6"] {
        let id = queue(&mut store, &[asks("codex", true)])[0];
        let attempt = claimed(&mut store, id, 1);
        let done = End {
            turn: Some(said(Some("codex"), Some(name), "/w")),
            ..end(attempt, Outcome::Completed, Event::Complete)
        };
        store.end(&done, later(90)).expect("ended");
        ids.push(id);
    }
    let mut continues = |provider: &str, resumes, parents: &[usize]| {
        let new = NewTask {
            after: parents
                .iter()
                .map(|&parent| Parent::Task(ids[parent]))
                .collect(),
            ..asks(provider, resumes)
        };
        let id = queue(&mut store, &[new])[0];
        store.task(id).expect("a task").conversation
    };
    let conversation = |name: &str, directory: Option<&str>| {
        Some(HeadlessConversation {
            name: name.to_owned(),
            directory: directory.map(str::to_owned),
        })
    };
    let first = conversation("c1", Some("/w"));
    assert_eq!(continues("codex", true, &[0]), first);
    assert_eq!(
        continues("codex", true, &[0, 1]),
        conversation("c2", None),
        "the last one, whose directory is not known"
    );
    assert_eq!(
        continues("codex", true, &[0, 2, 3]),
        first,
        "another agent's cannot be continued, and one that has no name neither"
    );
    assert_eq!(
        continues("claude", true, &[0, 2]),
        conversation("c3", Some("/w"))
    );
    assert_eq!(
        continues("claude", true, &[4]),
        conversation("c4", Some("/w")),
        "whose it is is not known"
    );
    assert_eq!(
        continues("codex", true, &[5, 6, 0]),
        conversation("c6", Some("/w")),
        "the one that began last"
    );
    assert_eq!(continues("codex", false, &[0]), None);
    assert_eq!(continues("codex", true, &[]), None);
}
