//! The hard constraints in every combination, compared with a plain reading of them.

use std::collections::BTreeMap;

use super::eligibility::{Admission, Demand, Place, SHELL};
use super::matching::{Candidate, Question, Resource};
use super::naming::{SessionRef, Who};
use super::task::Kind;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Whether each of the constraints, read by itself, lets the session run the task.
fn allows(demand: &Demand<'_>, place: &Place<'_>) -> bool {
    let named = demand.target_session.is_some_and(|target| {
        place.who.name == target.name || place.who.name.starts_with(&format!("{target}:"))
    });
    let admitted = match place.admission {
        Admission::Open => true,
        Admission::Protected => named,
        Admission::Excluded => false,
    };
    let meant = named || demand.target_session.is_none() || demand.target_fallback;
    let suits = (demand.kind == Kind::Command) == (place.provider == SHELL);
    let wanted =
        demand.providers.is_empty() || demand.providers.iter().any(|it| it == place.provider);
    let branch = demand.branch.is_none() || demand.branch == place.branch;
    let labelled = demand
        .labels
        .iter()
        .all(|(name, value)| place.labels.get(name) == Some(value));
    admitted && meant && suits && wanted && branch && labelled
}

#[test]
fn every_constraint_holds_in_every_combination() {
    let providers: [&[String]; 4] = [
        &[],
        &["codex".to_owned()],
        &["claude".to_owned(), "codex".to_owned()],
        &[SHELL.to_owned()],
    ];
    let wanted = [
        labels(&[]),
        labels(&[("a", "1")]),
        labels(&[("a", "1"), ("b", "2")]),
    ];
    let had = [
        labels(&[]),
        labels(&[("a", "1")]),
        labels(&[("a", "2"), ("b", "2")]),
        labels(&[("a", "1"), ("b", "2"), ("c", "3")]),
    ];
    let api = SessionRef::from("api");
    let mut demands = Vec::new();
    for kind in [Kind::Command, Kind::Prompt] {
        for target_session in [None, Some(&api)] {
            for target_fallback in [false, true] {
                for providers in providers {
                    for branch in [None, Some("dev")] {
                        for labels in &wanted {
                            demands.push(Demand {
                                shell: None,
                                kind,
                                target_session,
                                target_fallback,
                                providers,
                                branch,
                                labels,
                                asks: None,
                                within: None,
                            });
                        }
                    }
                }
            }
        }
    }
    let (mut yes, mut no) = (0, 0);
    for name in ["api", "api:0.1", "web"] {
        for provider in [SHELL, "codex", "claude"] {
            for branch in [None, Some("dev"), Some("main")] {
                for labels in &had {
                    for admission in [Admission::Open, Admission::Protected, Admission::Excluded] {
                        let place = Place {
                            shell: None,
                            who: Who::named(name),
                            provider,
                            branch,
                            labels,
                            admission,
                            directory: None,
                            repository: None,
                        };
                        for demand in &demands {
                            let allowed = allows(demand, &place);
                            let excluded = demand.excludes(&place);
                            assert_eq!(
                                excluded.is_none(),
                                allowed,
                                "{demand:?} {place:?}: {excluded:?}"
                            );
                            *(if allowed { &mut yes } else { &mut no }) += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(yes > 1_000 && no > 1_000, "{yes} {no}");
}

#[test]
fn each_reason_says_what_is_missing() {
    let none = labels(&[]);
    let team = labels(&[("team", "web")]);
    let names = ["codex".to_owned(), "claude".to_owned()];
    let command = Demand {
        shell: None,
        kind: Kind::Command,
        target_session: None,
        target_fallback: false,
        providers: &[],
        branch: None,
        labels: &none,
        asks: None,
        within: None,
    };
    let prompt = Demand {
        shell: None,
        kind: Kind::Prompt,
        ..command
    };
    let shell = Place {
        shell: None,
        who: Who::named("x"),
        provider: SHELL,
        branch: None,
        labels: &none,
        admission: Admission::Open,
        directory: None,
        repository: None,
    };
    let aider = Place {
        shell: None,
        provider: "aider",
        ..shell
    };
    let closed = |admission| Place { admission, ..shell };
    let api = SessionRef::from("api");
    let target = Demand {
        shell: None,
        target_session: Some(&api),
        ..command
    };
    let branch = Demand {
        shell: None,
        branch: Some("dev"),
        ..command
    };
    let main = Place {
        shell: None,
        branch: Some("main"),
        ..shell
    };
    let asks = Demand {
        shell: None,
        providers: &names,
        ..prompt
    };
    let labelled = Demand {
        shell: None,
        labels: &team,
        ..command
    };
    for (demand, place, expected) in [
        (
            command,
            closed(Admission::Excluded),
            "the configuration excludes the session",
        ),
        (
            command,
            closed(Admission::Protected),
            "the session is protected: only tasks that name it with --target go there",
        ),
        (target, shell, "the task is for session api"),
        (
            command,
            aider,
            "a command goes to shells, but this is aider",
        ),
        (
            prompt,
            shell,
            "a prompt goes to agents, but this is a shell",
        ),
        (
            asks,
            aider,
            "the task asks for codex or claude, but this is aider",
        ),
        (
            branch,
            main,
            "the task requires branch dev, but this is on main",
        ),
        (
            branch,
            shell,
            "the task requires branch dev, but this is on none",
        ),
        (labelled, shell, "the task requires the label team=web"),
    ] {
        assert_eq!(demand.excludes(&place).as_deref(), Some(expected));
    }
}

#[test]
fn an_admission_that_nobody_knows_is_closed() {
    for admission in [Admission::Open, Admission::Protected, Admission::Excluded] {
        assert_eq!(Admission::from_name(admission.name()), admission);
    }
    for name in ["", "Open", "ajar"] {
        assert_eq!(Admission::from_name(name), Admission::Excluded, "{name}");
    }
    let names = [Admission::Open, Admission::Protected, Admission::Excluded].map(Admission::name);
    assert_eq!(names, ["open", "protected", "excluded"]);
}

fn question(ready: &[bool], eligible: Option<&[usize]>) -> Question {
    let session = |&ready: &bool| Resource {
        name: "s".to_owned(),
        host: String::new(),
        provider: SHELL.to_owned(),
        current_dir: None,
        git_branch: None,
        env: Vec::new(),
        ready,
        since: 0,
        completed: 0,
        failed: 0,
        labels: Vec::new(),
    };
    Question {
        now: 7,
        explain: 3,
        facts: Vec::new(),
        tasks: vec![Candidate {
            id: 1,
            kind: Kind::Command,
            summary: "x".to_owned(),
            priority: 0,
            waiting: 0,
            attempt: 1,
            match_context: true,
            working_dir: None,
            git_branch: None,
            env: Vec::new(),
            providers: Vec::new(),
            eligible: eligible.map(<[usize]>::to_vec),
            follows: Some(1),
            avoid: vec![0, 1, 3],
            labels: Vec::new(),
        }],
        sessions: ready.iter().map(session).collect(),
    }
}

#[test]
fn a_question_without_what_is_not_ready_names_the_same_sessions() {
    assert!(
        question(&[true, true, true, true], None)
            .only_ready()
            .is_none()
    );
    let ready = [true, false, true, true];
    let (narrow, kept) = question(&ready, Some(&[0, 1, 3]))
        .only_ready()
        .expect("narrower");
    assert_eq!(kept, [0, 2, 3]);
    assert_eq!(
        (narrow.now, narrow.explain, narrow.sessions.len()),
        (7, 3, 3)
    );
    assert!(narrow.sessions.iter().all(|session| session.ready));
    let task = &narrow.tasks[0];
    assert_eq!(task.eligible.as_deref(), Some(&[0, 2][..]));
    assert_eq!((task.follows, task.avoid.as_slice()), (None, &[0, 2][..]));
    for (eligible, expected) in [
        (None, None),
        (Some(&[0, 1, 2, 3][..]), None),
        (Some(&[0, 2, 3]), None),
        (Some(&[1]), Some(vec![])),
        // Naming one session twice does not make it all of them.
        (Some(&[0, 0, 2]), Some(vec![0, 0, 1])),
        (Some(&[3, 2, 0]), Some(vec![2, 1, 0])),
    ] {
        let (narrow, _) = question(&ready, eligible).only_ready().expect("narrower");
        assert_eq!(narrow.tasks[0].eligible, expected, "{eligible:?}");
    }
    let (narrow, kept) = question(&[false, true], None)
        .only_ready()
        .expect("narrower");
    assert_eq!((kept, narrow.tasks[0].follows), (vec![1], Some(0)));
}
