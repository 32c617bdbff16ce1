//! The hard constraints: each by itself, and all in every combination, compared with a plain
//! reading of them.

mod unmet;

use std::collections::BTreeMap;

use super::eligibility::{Admission, CONSTRAINTS, Constraint, Demand, Place, SHELL, Undo};
use super::ids::{Identity, PaneId};
use super::matching::{Candidate, Question, Resource};
use super::naming::{Meaning, SessionRef, Who};
use super::session::Shell;
use super::task::Kind;

static NONE: BTreeMap<String, String> = BTreeMap::new();

fn place<'a>(name: &'a str, provider: &'a str) -> Place<'a> {
    Place {
        who: Who::named(name),
        provider,
        branch: None,
        labels: &NONE,
        admission: Admission::Open,
        directory: None,
        repository: None,
        shell: None,
    }
}

fn may(demand: &Demand, place: &Place<'_>) -> bool {
    demand.excludes(place).is_none()
}

#[test]
fn a_prompt_never_goes_into_a_shell() {
    assert!(!may(&Demand::of_kind(Kind::Prompt), &place("api", SHELL)));
    assert!(may(&Demand::of_kind(Kind::Prompt), &place("api", "claude")));
}

#[test]
fn a_command_may_be_written_for_one_shell() {
    let command = Demand {
        shell: Some(Shell::Zsh),
        ..Demand::of_kind(Kind::Command)
    };
    let runs = |shell| Place {
        shell,
        ..place("x", SHELL)
    };
    assert!(may(&command, &runs(Some(Shell::Zsh))));
    assert!(!may(&command, &runs(Some(Shell::Bash))));
    assert!(!may(&command, &runs(None)));
    assert!(may(&Demand::of_kind(Kind::Command), &runs(None)));
}

#[test]
fn a_prompt_goes_to_the_agents_of_its_repository() {
    let prompt = Demand {
        within: Some("/src/api".to_owned()),
        ..Demand::of_kind(Kind::Prompt)
    };
    let at = |directory, repository| Place {
        directory,
        repository,
        ..place("x", "claude")
    };
    for (directory, repository, fits) in [
        (Some("/src/api"), None, true),
        (Some("/src/api/lib"), None, true),
        // Above it, where an agent of several repositories works.
        (Some("/src"), None, true),
        (Some("/"), None, true),
        // A worktree of it.
        (Some("/trees/1"), Some("/src/api"), true),
        (Some("/trees/1"), Some("/src/web"), false),
        (Some("/src/api2"), None, false),
        (Some("/src/web"), Some("/src/web"), false),
        (None, None, false),
    ] {
        let place = at(directory, repository);
        assert_eq!(may(&prompt, &place), fits, "{directory:?} {repository:?}");
    }
    let elsewhere = at(Some("/src/web"), None);
    // A sender who names a session has chosen it, and a command is moved to its directory.
    let named = SessionRef::from("x");
    let target = Demand {
        target_session: Some(named),
        ..prompt.clone()
    };
    assert!(may(&target, &elsewhere));
    let command = Demand {
        kind: Kind::Command,
        ..prompt.clone()
    };
    assert!(may(
        &command,
        &Place {
            provider: SHELL,
            ..elsewhere
        }
    ));
}

#[test]
fn a_command_goes_to_shells_alone() {
    assert!(may(&Demand::of_kind(Kind::Command), &place("api", SHELL)));
    assert!(!may(
        &Demand::of_kind(Kind::Command),
        &place("api", "claude")
    ));
}

#[test]
fn targets_and_providers_are_exact() {
    let api = SessionRef::from("api");
    let target = Demand {
        target_session: Some(api),
        ..Demand::of_kind(Kind::Command)
    };
    assert!(may(&target, &place("api", SHELL)));
    assert!(!may(&target, &place("api2", SHELL)));
    let wanted = ["codex".to_owned()];
    let provider = Demand {
        providers: wanted.to_vec(),
        ..Demand::of_kind(Kind::Prompt)
    };
    assert!(may(&provider, &place("x", "codex")));
    assert!(!may(&provider, &place("x", "claude")));
}

#[test]
fn a_session_with_several_panes_is_called_by_its_name() {
    let api = SessionRef::from("api");
    let target = Demand {
        target_session: Some(api),
        ..Demand::of_kind(Kind::Command)
    };
    assert!(may(&target, &place("api:0.1", SHELL)));
    assert!(!may(&target, &place("api2:0.1", SHELL)));
}

#[test]
fn a_target_with_fallback_is_a_preference() {
    let api = SessionRef::from("api");
    let target = Demand {
        target_session: Some(api),
        target_fallback: true,
        ..Demand::of_kind(Kind::Command)
    };
    assert!(may(&target, &place("api2", SHELL)));
}

#[test]
fn a_target_is_the_pane_that_was_meant_and_not_its_name() {
    let pane = |number: u32| Identity {
        node: Default::default(),
        server_pid: 1,
        server_start: 1,
        pane: PaneId::parse(&format!("%{number}")).expect("a pane"),
        pane_pid: number,
    };
    let (meant, other) = (pane(1), pane(2));
    let target = SessionRef {
        name: "m:0.1".to_owned(),
        meaning: Some(Meaning::Pane(meant.clone())),
    };
    let wanted = Demand {
        target_session: Some(target),
        ..Demand::of_kind(Kind::Command)
    };
    let called = |name, identity| Place {
        who: Who {
            identity,
            ..Who::named(name)
        },
        ..place(name, SHELL)
    };
    assert!(may(&wanted, &called("m:0.0", Some(&meant))));
    assert!(!may(&wanted, &called("m:0.1", Some(&other))));
    // Nor may one that would be started under that name.
    assert!(!may(&wanted, &called("m:0.1", None)));
}

#[test]
fn protected_sessions_take_what_names_them_and_excluded_ones_nothing() {
    let api = SessionRef::from("api");
    let named = Demand {
        target_session: Some(api),
        target_fallback: true,
        ..Demand::of_kind(Kind::Command)
    };
    let open = place("api", SHELL);
    let protected = Place {
        admission: Admission::Protected,
        ..open
    };
    assert!(may(&named, &protected));
    assert!(!may(&Demand::of_kind(Kind::Command), &protected));
    let other = Place {
        who: Who::named("web"),
        ..protected
    };
    assert!(!may(&named, &other));
    let excluded = Place {
        admission: Admission::Excluded,
        ..open
    };
    assert!(!may(&named, &excluded));
}

#[test]
fn branches_and_labels_are_conditions() {
    let labels = BTreeMap::from([("team".to_owned(), "web".to_owned())]);
    let wanted = Demand {
        branch: Some("dev".to_owned()),
        labels: labels.clone(),
        ..Demand::of_kind(Kind::Command)
    };
    let fits = Place {
        branch: Some("dev"),
        labels: &labels,
        ..place("x", SHELL)
    };
    assert!(may(&wanted, &fits));
    for place in [
        Place {
            branch: Some("main"),
            ..fits
        },
        Place {
            branch: None,
            ..fits
        },
        Place {
            labels: &NONE,
            ..fits
        },
    ] {
        assert!(!may(&wanted, &place));
    }
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Whether each of the constraints, read by itself, lets the session run the task.
fn allows(demand: &Demand, place: &Place<'_>) -> bool {
    let named = demand.target_session.as_ref().is_some_and(|target| {
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
    let branch = demand.branch.is_none() || demand.branch.as_deref() == place.branch;
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
        for target_session in [None, Some(api.clone())] {
            for target_fallback in [false, true] {
                for providers in providers {
                    for branch in [None, Some("dev")] {
                        for labels in &wanted {
                            demands.push(Demand {
                                target_session: target_session.clone(),
                                target_fallback,
                                providers: providers.to_vec(),
                                branch: branch.map(str::to_owned),
                                labels: labels.clone(),
                                ..Demand::of_kind(kind)
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

/// A demand and a place of which nothing suits.
fn at_odds(kind: Kind, names: &[&str]) -> Demand {
    Demand {
        target_session: names.first().map(|&name| name.into()),
        providers: vec!["codex".to_owned()],
        branch: Some("dev".to_owned()),
        labels: labels(&[("team", "web")]),
        shell: Some(Shell::Zsh),
        within: Some("/src/api".to_owned()),
        ..Demand::of_kind(kind)
    }
}

#[test]
fn each_constraint_excludes_by_itself_and_says_what_would_undo_it() {
    let none = labels(&[]);
    let elsewhere = Place {
        directory: Some("/src/web"),
        ..place("web", "claude")
    };
    let mut seen = [false; CONSTRAINTS.len()];
    for demand in [at_odds(Kind::Command, &["api"]), at_odds(Kind::Prompt, &[])] {
        for admission in [Admission::Open, Admission::Protected, Admission::Excluded] {
            for place in [
                Place {
                    admission,
                    ..elsewhere
                },
                Place {
                    provider: SHELL,
                    shell: Some(Shell::Bash),
                    labels: &none,
                    admission,
                    ..elsewhere
                },
            ] {
                let all: Vec<String> = CONSTRAINTS
                    .iter()
                    .filter_map(|constraint| (constraint.excludes)(&demand, &place))
                    .collect();
                assert_eq!(demand.excludes(&place).as_ref(), all.first());
                assert_eq!(demand.ways(&place).len(), all.len());
                for (constraint, seen) in CONSTRAINTS.iter().zip(&mut seen) {
                    if (constraint.excludes)(&demand, &place).is_none() {
                        continue;
                    }
                    *seen = true;
                    for undo in (constraint.undo)(&demand, &place) {
                        assert!(undone(constraint, &undo, &demand, &place), "{undo:?}");
                    }
                }
            }
        }
    }
    assert!(seen.iter().all(|seen| *seen), "{seen:?}");
}

/// Whether a constraint no longer excludes after what is to undo it was done.
fn undone(constraint: &Constraint, undo: &Undo, demand: &Demand, place: &Place<'_>) -> bool {
    let (mut demand, mut place) = (demand.clone(), *place);
    let mut has = place.labels.clone();
    match undo {
        Undo::Include => place.admission = Admission::Open,
        Undo::Name => demand.target_session = Some(place.who.name.into()),
        Undo::Label(name, value) => {
            has.insert(name.clone(), value.clone());
        }
        Undo::Branch(branch) => place.branch = Some(branch),
        // Which option this is stands in the description of options, which the tests of `explain`
        // apply.
        Undo::Less(less) => return !less.option.is_empty() && !less.words.is_empty(),
    }
    place.labels = &has;
    (constraint.excludes)(&demand, &place).is_none()
}

#[test]
fn each_reason_says_what_is_missing() {
    let none = labels(&[]);
    let team = labels(&[("team", "web")]);
    let names = ["codex".to_owned(), "claude".to_owned()];
    let command = Demand::of_kind(Kind::Command);
    let prompt = Demand::of_kind(Kind::Prompt);
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
        target_session: Some(api),
        ..command.clone()
    };
    let branch = Demand {
        branch: Some("dev".to_owned()),
        ..command.clone()
    };
    let main = Place {
        shell: None,
        branch: Some("main"),
        ..shell
    };
    let asks = Demand {
        providers: names.to_vec(),
        ..prompt.clone()
    };
    let labelled = Demand {
        labels: team,
        ..command.clone()
    };
    for (demand, place, expected) in [
        (
            &command,
            closed(Admission::Excluded),
            "the configuration excludes the session",
        ),
        (
            &command,
            closed(Admission::Protected),
            "the session is protected: only tasks that name it with --target go there",
        ),
        (&target, shell, "the task is for session api"),
        (
            &command,
            aider,
            "a command goes to shells, but this is aider",
        ),
        (
            &prompt,
            shell,
            "a prompt goes to agents, but this is a shell",
        ),
        (
            &asks,
            aider,
            "the task asks for codex or claude, but this is aider",
        ),
        (
            &branch,
            main,
            "the task requires branch dev, but this is on main",
        ),
        (
            &branch,
            shell,
            "the task requires branch dev, but this is on none",
        ),
        (&labelled, shell, "the task requires the label team=web"),
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
