//! Made-up rounds for trying policies out.

use std::ops::Range;

use crate::model::matching::{Attribute, Candidate, Question, Resource};
use crate::model::task::Kind;

/// The time at which generated rounds take place, so that they never depend on the day.
pub(super) const NOW: u64 = 1_700_000_000;

/// A task that asks for nothing.
pub fn task(id: i64) -> Candidate {
    Candidate {
        id,
        kind: Kind::Prompt,
        summary: format!("task {id}"),
        priority: 0,
        waiting: 1,
        attempt: 1,
        match_context: true,
        working_dir: None,
        git_branch: None,
        env: Vec::new(),
        providers: Vec::new(),
        eligible: None,
        follows: None,
        avoid: Vec::new(),
        labels: Vec::new(),
    }
}

/// A ready session about which little is known.
pub fn session(name: &str) -> Resource {
    Resource {
        name: name.to_owned(),
        host: "localhost".to_owned(),
        provider: "shell".to_owned(),
        current_dir: None,
        git_branch: None,
        env: Vec::new(),
        ready: true,
        since: 1,
        completed: 0,
        failed: 0,
        labels: Vec::new(),
    }
}

/// The round on which every policy is tried when it is loaded. It has a bit of everything: two
/// tasks, one of which asks for nothing, and two sessions.
pub(super) fn self_test() -> Question {
    let variable = || attribute("SELF_TEST", "1");
    let session = |name: &str| Resource {
        current_dir: Some("/".to_owned()),
        git_branch: Some("main".to_owned()),
        env: vec![variable()],
        completed: 1,
        failed: 1,
        ..session(name)
    };
    Question {
        now: NOW,
        explain: 2,
        facts: Vec::new(),
        tasks: vec![
            Candidate {
                kind: Kind::Command,
                working_dir: Some("/srv".to_owned()),
                git_branch: Some("main".to_owned()),
                env: vec![variable()],
                providers: vec!["shell".to_owned()],
                eligible: Some(vec![0]),
                follows: Some(0),
                avoid: vec![1],
                ..task(1)
            },
            task(2),
        ],
        sessions: vec![session("one"), session("two")],
    }
}

/// A round of a given size, as a team might have: a tree of projects, some branches, two variables.
pub fn workload(tasks: usize, sessions: usize) -> Question {
    let directory = |i: usize| match i % 4 {
        0 => format!("/srv/team{}/project{}", i % 7, i % 50),
        1 => format!("/srv/team{}/project{}/src", i % 7, i % 50),
        2 => format!("/srv/team{}", i % 7),
        _ => format!("/home/user{}/work", i % 13),
    };
    let branch = |i: usize| format!("feature-{}", i % 11);
    let env = |i: usize| {
        vec![
            attribute("STAGE", &format!("{}", i % 3)),
            attribute("REGION", &format!("{}", i % 5)),
        ]
    };
    let provider = |i: usize| ["claude", "codex", "shell"][i % 3].to_owned();
    let a_task = |i: usize| Candidate {
        summary: format!("do the thing number {i} and say how it went"),
        waiting: 60,
        working_dir: Some(directory(i * 31)),
        git_branch: Some(branch(i * 17)),
        env: env(i * 13),
        providers: vec![provider(i), provider(i + 1)],
        ..task(i64::try_from(i + 1).unwrap_or(i64::MAX))
    };
    let a_session = |i: usize| Resource {
        provider: provider(i),
        current_dir: Some(directory(i)),
        git_branch: Some(branch(i)),
        env: env(i),
        since: u32::try_from(i % 97).unwrap_or_default(),
        completed: 3,
        failed: 1,
        ..session(&format!("session-{i}"))
    };
    Question {
        now: NOW,
        explain: 5,
        facts: Vec::new(),
        tasks: (0..tasks).map(a_task).collect(),
        sessions: (0..sessions).map(a_session).collect(),
    }
}

/// Rounds that each have one oddity, under the name of the oddity.
pub(super) fn odd() -> Vec<(String, Question)> {
    let plain = |tasks: i64, sessions: usize| Question {
        now: NOW,
        explain: 5,
        facts: Vec::new(),
        tasks: (1..=tasks).map(task).collect(),
        sessions: (0..sessions).map(|i| session(&format!("s{i}"))).collect(),
    };
    let tasks_with = |change: &dyn Fn(usize, &mut Candidate)| {
        let mut question = plain(3, 3);
        for (i, task) in question.tasks.iter_mut().enumerate() {
            change(i, task);
        }
        question
    };
    let sessions_with = |change: &dyn Fn(usize, &mut Resource)| {
        let mut question = plain(3, 3);
        for (i, session) in question.sessions.iter_mut().enumerate() {
            change(i, session);
        }
        question
    };
    let named: Vec<(&str, Question)> = vec![
        ("no tasks and no sessions", plain(0, 0)),
        ("no tasks", plain(0, 3)),
        ("no sessions", plain(3, 0)),
        ("more tasks than sessions", plain(7, 2)),
        ("more sessions than tasks", plain(2, 7)),
        (
            "no session that is ready",
            sessions_with(&|_, session| session.ready = false),
        ),
        (
            "one session that is ready",
            sessions_with(&|i, session| session.ready = i == 1),
        ),
        (
            "tasks that only the last session may run",
            tasks_with(&|_, task| task.eligible = Some(vec![2])),
        ),
        (
            "tasks that no session may run",
            tasks_with(&|_, task| task.eligible = Some(Vec::new())),
        ),
        (
            "tasks to which only a session that is not ready is allowed",
            {
                let mut question = tasks_with(&|_, task| task.eligible = Some(vec![0]));
                question.sessions[0].ready = false;
                question
            },
        ),
        (
            "tasks that have failed everywhere",
            tasks_with(&|_, task| {
                task.attempt = 4;
                task.avoid = vec![0, 1, 2];
            }),
        ),
        ("tasks that follow one in a session that is not ready", {
            let mut question = tasks_with(&|_, task| task.follows = Some(1));
            question.sessions[1].ready = false;
            question
        }),
        (
            "tasks for any session",
            tasks_with(&|_, task| {
                task.match_context = false;
                task.working_dir = Some("/srv".to_owned());
            }),
        ),
        ("no rankings asked for", {
            let mut question = workload(3, 3);
            question.explain = 0;
            question
        }),
        ("one ranking asked for", {
            let mut question = workload(3, 3);
            question.explain = 1;
            question
        }),
        ("the largest and the smallest numbers", {
            let mut question = tasks_with(&|i, task| {
                task.id = i64::MAX;
                task.priority = if i == 0 { i32::MAX } else { i32::MIN };
                task.waiting = u32::MAX;
                task.attempt = u32::MAX;
            });
            for session in &mut question.sessions {
                session.since = u32::MAX;
                session.completed = u32::MAX;
                session.failed = u32::MAX;
            }
            question.now = u64::MAX;
            question
        }),
        (
            "sessions of one name",
            sessions_with(&|_, session| {
                "same".clone_into(&mut session.name);
            }),
        ),
        ("hostile texts", {
            let mut question = plain(6, 6);
            for (i, text) in HOSTILE.iter().enumerate() {
                let label = || {
                    vec![
                        attribute(text, text),
                        attribute("", ""),
                        attribute(text, ""),
                    ]
                };
                let task = &mut question.tasks[i];
                (*text).clone_into(&mut task.summary);
                task.working_dir = Some((*text).to_owned());
                task.git_branch = Some((*text).to_owned());
                task.env = label();
                task.labels = label();
                task.providers = vec![(*text).to_owned()];
                let session = &mut question.sessions[i];
                (*text).clone_into(&mut session.name);
                session.current_dir = Some((*text).to_owned());
                session.git_branch = Some((*text).to_owned());
                session.env = label();
                session.labels = label();
                (*text).clone_into(&mut session.host);
                (*text).clone_into(&mut session.provider);
            }
            question
        }),
        ("a text of 100,000 characters", {
            let mut question = workload(2, 2);
            let long = "/x".repeat(50_000);
            question.tasks[0].working_dir = Some(long.clone());
            question.sessions[0].current_dir = Some(long);
            question
        }),
        ("facts and attributes that it does not know", {
            let mut question = workload(3, 3);
            question.facts = vec![attribute("a-later-fact", "1")];
            for task in &mut question.tasks {
                task.labels = vec![attribute("a-later-label", "1")];
            }
            question
        }),
    ];
    let named = named
        .into_iter()
        .map(|(name, round)| (name.to_owned(), round));
    let seeds: Range<u64> = 0..30;
    let drawn = seeds.map(|seed| (format!("the drawn round {seed}"), drawn(seed)));
    named.chain(drawn).collect()
}

const HOSTILE: [&str; 6] = [
    "\u{1b}[2J\u{7}\r\n\t\0",
    "\"'`$(touch x); rm -rf /",
    "\u{202e}\u{200b}\u{e0041}漢字🎉",
    "",
    "//./../",
    // A cut by UTF-16 units at a round number would leave half of a character.
    "0123456789012345678901234567890123456789🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉",
];

/// A random round, always the same for the same seed.
fn drawn(seed: u64) -> Question {
    let mut dice = fastrand::Rng::with_seed(seed);
    let tasks = dice.usize(1..30);
    let sessions = dice.usize(1..30);
    let mut question = workload(tasks, sessions);
    question.explain = dice.u32(0..8);
    for session in &mut question.sessions {
        session.ready = dice.u8(0..4) != 0;
        session.since = dice.u32(0..1_000);
        session.completed = dice.u32(0..50);
        session.failed = dice.u32(0..50);
        session.host = format!("host{}", dice.u8(0..4));
        if dice.bool() {
            session.labels = vec![attribute("team", ["web", "api"][dice.usize(0..2)])];
        }
    }
    for task in &mut question.tasks {
        task.priority = dice.i32(-3..4);
        task.match_context = dice.u8(0..4) != 0;
        let some = |dice: &mut fastrand::Rng| -> Vec<usize> {
            (0..sessions).filter(|_| dice.bool()).collect()
        };
        if dice.bool() {
            task.eligible = Some(some(&mut dice));
        }
        if dice.bool() {
            task.avoid = some(&mut dice);
            task.attempt = 2;
        }
        if dice.bool() {
            task.follows = Some(dice.usize(0..sessions));
        }
        if dice.bool() {
            task.labels = vec![attribute("team", ["web", "api"][dice.usize(0..2)])];
        }
    }
    question
        .tasks
        .sort_by_key(|task| std::cmp::Reverse(task.priority));
    question
}

fn attribute(name: &str, value: &str) -> Attribute {
    Attribute {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}
