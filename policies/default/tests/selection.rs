//! The rules of the default policy: its scores by example, and its whole choice against a naive
//! model that follows the rules word for word.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::path::Path;

use assigner_default_policy::DefaultPolicy;
use assigner_policy::testing::{attribute, round, session, task};
use assigner_policy::{
    Attribute, Choice, Context, Decision, Policy as _, Postponement, Ranking, Round, Session, Task,
};
use proptest::prelude::*;

/// A context as (directory, branch, variables).
type Place<'a> = (Option<&'a str>, Option<&'a str>, &'a [(&'a str, &'a str)]);

/// What a task wants, where a session is, and the resulting terms.
type Row<'a> = (Place<'a>, Place<'a>, &'a [(&'a str, i32)]);

const NOWHERE: Place<'_> = (None, None, &[]);

fn wants(id: u64, (directory, branch, variables): Place<'_>) -> Task {
    let env = variables.iter().map(|(name, value)| attribute(name, value));
    Task {
        context: Context {
            working_dir: directory.map(str::to_owned),
            git_branch: branch.map(str::to_owned),
            env: env.collect(),
        },
        ..task(id)
    }
}

fn stands(name: &str, (directory, branch, variables): Place<'_>) -> Session {
    let env = variables.iter().map(|(name, value)| attribute(name, value));
    Session {
        current_dir: directory.map(str::to_owned),
        git_branch: branch.map(str::to_owned),
        env: env.collect(),
        ..session(name)
    }
}

fn decide(settings: &str, tasks: &[Task], sessions: &[Session]) -> Vec<Decision> {
    let policy = DefaultPolicy::configure(settings).expect("the settings are right");
    policy.assign(&round(), tasks, sessions)
}

fn choice(decision: &Decision) -> &Choice {
    match decision {
        Decision::Assign(choice) => choice,
        Decision::Wait(wait) => panic!("waits: {}", wait.reason),
    }
}

fn postponement(decision: &Decision) -> &Postponement {
    match decision {
        Decision::Wait(wait) => wait,
        Decision::Assign(choice) => panic!("takes {:?}", choice.take),
    }
}

fn take(decision: &Decision) -> Option<usize> {
    match decision {
        Decision::Assign(choice) => Some(choice.take.session as usize),
        Decision::Wait(_) => None,
    }
}

#[test]
fn scores() {
    let app = Some("/srv/app");
    let table: &[Row<'_>] = &[
        (NOWHERE, NOWHERE, &[]),
        ((app, None, &[]), NOWHERE, &[]),
        (NOWHERE, (app, Some("main"), &[("A", "1")]), &[]),
        (
            (app, None, &[]),
            (app, None, &[]),
            &[("same directory", 100)],
        ),
        (
            (app, None, &[]),
            (Some("/srv"), None, &[]),
            &[("parent directory", 50)],
        ),
        (
            (app, None, &[]),
            (Some("/"), None, &[]),
            &[("parent directory", 50)],
        ),
        (
            (app, None, &[]),
            (Some("/srv/app/src/x"), None, &[]),
            &[("child directory", 25)],
        ),
        (
            (Some("/"), None, &[]),
            (app, None, &[]),
            &[("child directory", 25)],
        ),
        ((app, None, &[]), (Some("/srv/app2"), None, &[]), &[]),
        ((Some("/srv/app2"), None, &[]), (app, None, &[]), &[]),
        ((app, None, &[]), (Some("/srv/lib"), None, &[]), &[]),
        (
            (None, Some("main"), &[]),
            (app, Some("main"), &[]),
            &[("branch main", 30)],
        ),
        ((None, Some("main"), &[]), (app, Some("Main"), &[]), &[]),
        (
            (None, None, &[("A", "1"), ("B", "2"), ("C", "3")]),
            (
                None,
                None,
                &[("C", "3"), ("B", "3"), ("A", "1"), ("D", "4")],
            ),
            &[("variable A", 20), ("variable C", 20)],
        ),
        (
            (app, Some("main"), &[("A", "1")]),
            (app, Some("main"), &[("A", "1")]),
            &[
                ("same directory", 100),
                ("branch main", 30),
                ("variable A", 20),
            ],
        ),
    ];
    for (wanted, offered, expected) in table {
        let decisions = decide("{}", &[wants(1, *wanted)], &[stands("s", *offered)]);
        let take = &choice(&decisions[0]).take;
        let terms: Vec<_> = take
            .terms
            .iter()
            .map(|term| (&*term.name, term.points))
            .collect();
        assert_eq!(terms, *expected, "{wanted:?} in {offered:?}");
        let sum: i32 = expected.iter().map(|(_, points)| points).sum();
        assert_eq!(take.points, sum, "{wanted:?} in {offered:?}");
    }
}

#[test]
fn weights_come_from_the_settings_and_what_is_worth_nothing_is_not_shown() {
    let place: Place<'_> = (Some("/a"), Some("main"), &[("A", "1")]);
    let settings = r#"{"same-directory": 7, "branch": 0, "variable": 1000000}"#;
    let decisions = decide(settings, &[wants(1, place)], &[stands("s", place)]);
    let take = &choice(&decisions[0]).take;
    let terms: Vec<_> = take
        .terms
        .iter()
        .map(|term| (&*term.name, term.points))
        .collect();
    assert_eq!(terms, [("same directory", 7), ("variable A", 1_000_000)]);
}

#[test]
fn a_providers_place_comes_before_points_but_not_before_matching() {
    let app: Place<'_> = (Some("/srv/app"), None, &[]);
    let provided = |name: &str, provider: &str, place| Session {
        provider: provider.to_owned(),
        ..stands(name, place)
    };
    let preferring = |id| Task {
        providers: vec!["codex".to_owned(), "claude".to_owned()],
        ..wants(id, app)
    };
    let sessions = [
        provided("elsewhere", "codex", (Some("/srv/lib"), None, &[])),
        provided("exact", "claude", app),
        provided("parent", "codex", (Some("/srv"), None, &[])),
        provided("unnamed", "gemini", app),
    ];
    let tasks = [1, 2, 3, 4, 5].map(preferring);
    let decisions = decide("{}", &tasks, &sessions);
    let taken: Vec<_> = decisions.iter().map(take).collect();
    assert_eq!(taken, [Some(2), Some(1), Some(3), Some(0), None]);
}

#[test]
fn a_session_where_it_failed_is_taken_only_when_no_other_would_do() {
    let app: Place<'_> = (Some("/srv/app"), None, &[]);
    let avoiding = Task {
        avoid: vec![0],
        ..wants(1, app)
    };
    let sessions = [stands("failed", app), stands("other", NOWHERE)];
    let first = |settings, sessions: &[Session]| {
        take(&decide(settings, std::slice::from_ref(&avoiding), sessions)[0])
    };
    assert_eq!(first("{}", &sessions), Some(1));
    assert_eq!(first("{}", &sessions[..1]), Some(0));
    assert_eq!(first(r#"{"when-no-match": "wait"}"#, &sessions), Some(0));
}

#[test]
fn without_a_match_it_waits_where_told_and_says_how_far_off_the_best_is() {
    let task = wants(1, (Some("/srv/app"), None, &[("A", "1")]));
    let sessions = [
        stands("none", NOWHERE),
        stands("some", (None, None, &[("A", "1")])),
    ];
    let settings = r#"{"when-no-match": "wait", "min-score": 21}"#;
    let decisions = decide(settings, &[task], &sessions);
    let wait = postponement(&decisions[0]);
    assert_eq!(
        wait.reason,
        "no free session fits well enough: the best has 20 of the 21 points that it takes"
    );
    let others: Vec<_> = wait
        .others
        .iter()
        .map(|other| (other.session, other.points))
        .collect();
    assert_eq!(others, [(1, 20), (0, 0)]);
}

#[test]
fn waits_need_no_match_where_none_was_asked_for() {
    let any = Task {
        match_context: false,
        ..wants(1, (Some("/srv/app"), None, &[]))
    };
    let settings = r#"{"when-no-match": "wait"}"#;
    let decisions = decide(settings, &[any, task(2)], &[session("a"), session("b")]);
    let taken: Vec<_> = decisions.iter().map(take).collect();
    assert_eq!(taken, [Some(0), Some(1)]);
}

#[test]
fn a_thousand_variables_neither_overflow_nor_flood_the_explanation() {
    let env: Vec<Attribute> = (0..3_000)
        .map(|i| attribute(&format!("V{i}"), ""))
        .collect();
    let mut task = task(1);
    task.context.env.clone_from(&env);
    let session = Session {
        env,
        ..session("s")
    };
    let settings = r#"{"variable": 1000000}"#;
    let decisions = decide(settings, &[task], &[session]);
    let take = &choice(&decisions[0]).take;
    assert_eq!(take.points, 1_000_000_000);
    assert_eq!(take.terms.len(), 9);
    assert_eq!(take.terms[8].name, "992 more variables");
}

#[test]
fn names_are_shown_clean_and_cut_and_values_never() {
    let long = "b".repeat(500);
    let place: Place<'_> = (None, Some(&long), &[("TOKEN\x1b[2J", "secret")]);
    let decisions = decide("{}", &[wants(1, place)], &[stands("s", place)]);
    let take = &choice(&decisions[0]).take;
    assert!(take.terms[0].name.chars().count() < 80);
    assert_eq!(take.terms[1].name, "variable TOKEN?[2J");
}

/// Applies the rules pair by pair and string by string.
struct Model {
    min_score: i32,
    wait: bool,
    weights: [i32; 5],
}

impl Model {
    fn settings(&self) -> String {
        let [same, parent, child, variable, branch] = self.weights;
        let when = if self.wait { "wait" } else { "any" };
        format!(
            r#"{{"same-directory": {same}, "parent-directory": {parent}, "child-directory": {child},
                "variable": {variable}, "branch": {branch}, "min-score": {}, "when-no-match": "{when}"}}"#,
            self.min_score
        )
    }

    fn by_context(task: &Task) -> bool {
        let context = &task.context;
        let names = context.working_dir.is_some() || context.git_branch.is_some();
        task.match_context && (names || !context.env.is_empty())
    }

    fn score(&self, task: &Task, session: &Session) -> i32 {
        let [same, parent, child, variable, branch] = self.weights;
        let mut points = 0;
        if let (Some(wanted), Some(there)) = (&task.context.working_dir, &session.current_dir) {
            let (wanted, there) = (Path::new(wanted), Path::new(there));
            points += if wanted == there {
                same
            } else if wanted.starts_with(there) {
                parent
            } else if there.starts_with(wanted) {
                child
            } else {
                0
            };
        }
        for wanted in &task.context.env {
            if session.env.contains(wanted) {
                points += variable;
            }
        }
        if task.context.git_branch.is_some() && task.context.git_branch == session.git_branch {
            points += branch;
        }
        points
    }

    fn pick(&self, task: &Task, sessions: &[Session], pool: &[usize]) -> Option<usize> {
        let (avoided, others): (Vec<usize>, Vec<usize>) = pool
            .iter()
            .partition(|&&session| task.avoid.contains(&u32::try_from(session).expect("small")));
        [others, avoided]
            .iter()
            .find_map(|pool| self.pick_of(task, sessions, pool))
    }

    fn pick_of(&self, task: &Task, sessions: &[Session], pool: &[usize]) -> Option<usize> {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for provider in &task.providers {
            let of = pool
                .iter()
                .filter(|&&session| sessions[session].provider == *provider);
            groups.push(of.copied().collect());
        }
        let unnamed = pool
            .iter()
            .filter(|&&session| !task.providers.contains(&sessions[session].provider));
        groups.push(unnamed.copied().collect());

        let tie = |session: usize| {
            let Session { since, name, .. } = &sessions[session];
            (*since, Reverse(name.clone()), Reverse(session))
        };
        let score = |session: usize| self.score(task, &sessions[session]);
        if Self::by_context(task) {
            for group in &groups {
                let matching = group
                    .iter()
                    .copied()
                    .filter(|&session| score(session) >= self.min_score);
                if let Some(best) = matching.max_by_key(|&session| (score(session), tie(session))) {
                    return Some(best);
                }
            }
            if self.wait {
                return None;
            }
        }
        groups
            .iter()
            .find_map(|group| group.iter().copied().max_by_key(|&session| tie(session)))
    }
}

fn one_of<T: Clone + std::fmt::Debug + 'static>(values: &[T]) -> impl Strategy<Value = T> + use<T> {
    prop::sample::select(values.to_vec())
}

fn directory() -> impl Strategy<Value = Option<String>> {
    let paths = [
        "/",
        "/srv",
        "/srv/app",
        "/srv/app2",
        "/srv/app/src",
        "/srv/ap",
        "/home/u",
    ];
    prop::option::of(one_of(&paths.map(str::to_owned)))
}

fn branch() -> impl Strategy<Value = Option<String>> {
    prop::option::of(one_of(&["main", "dev"].map(str::to_owned)))
}

fn env() -> impl Strategy<Value = Vec<Attribute>> {
    let pairs = [("A", "1"), ("A", "2"), ("B", "1"), ("C", "")];
    prop::collection::vec(
        one_of(&pairs.map(|(name, value)| attribute(name, value))),
        0..3,
    )
}

fn provider() -> impl Strategy<Value = String> {
    one_of(&["claude", "codex", "shell"].map(str::to_owned))
}

fn positions() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(0..9_u32, 0..6)
}

prop_compose! {
    fn a_task()(
        id in 1..1000_u64,
        match_context in prop::bool::weighted(0.8),
        working_dir in directory(),
        git_branch in branch(),
        env in env(),
        // No provider twice, because then the sender's order would not be an order.
        providers in prop::collection::hash_set(provider(), 0..3),
        eligible in prop::option::of(positions()),
        avoid in prop::collection::vec(0..9_u32, 0..3),
    ) -> Task {
        Task {
            match_context,
            context: Context { working_dir, git_branch, env },
            providers: providers.into_iter().collect(),
            eligible,
            avoid,
            ..task(id)
        }
    }
}

prop_compose! {
    fn a_session()(
        name in one_of(&["a", "b", "c"]),
        provider in provider(),
        current_dir in directory(),
        git_branch in branch(),
        env in env(),
        ready in prop::bool::weighted(0.8),
        since in 0..3_u32,
    ) -> Session {
        Session { provider, current_dir, git_branch, env, ready, since, ..session(name) }
    }
}

prop_compose! {
    fn a_model()(
        min_score in one_of(&[0, 20, 21, 50, 130]),
        wait: bool,
        weights in one_of(&[[100, 50, 25, 20, 30], [1, 2, 3, 4, 5], [0, 0, 0, 20, 0], [9, 9, 9, 9, 9]]),
    ) -> Model {
        Model { min_score, wait, weights }
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.settings())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_whole_choice_is_what_the_rules_say(
        model in a_model(),
        explain in 0..5_u32,
        tasks in prop::collection::vec(a_task(), 0..6),
        sessions in prop::collection::vec(a_session(), 0..8),
    ) {
        let policy = DefaultPolicy::configure(&model.settings()).expect("the settings are right");
        let round = Round { explain, ..round() };
        let decisions = policy.assign(&round, &tasks, &sessions);
        prop_assert_eq!(decisions.len(), tasks.len());

        let mut taken = HashSet::new();
        for (task, decision) in tasks.iter().zip(&decisions) {
            let usable = |session: usize| {
                let allowed = |positions: &Vec<u32>| positions.iter().any(|&at| at as usize == session);
                sessions[session].ready && task.eligible.as_ref().is_none_or(allowed)
            };
            let usable: Vec<usize> = (0..sessions.len()).filter(|&session| usable(session)).collect();
            let mut pool = usable.clone();
            pool.retain(|session| !taken.contains(session));

            let others = match decision {
                Decision::Assign(choice) => &choice.others,
                Decision::Wait(wait) => &wait.others,
            };
            let room = explain as usize;
            let expected = model.pick(task, &sessions, &pool);
            prop_assert_eq!(take(decision), expected);
            if let Some(chosen) = expected {
                prop_assert!(taken.insert(chosen), "taken twice");
                pool.retain(|&session| session != chosen);
                prop_assert_eq!(others.len(), pool.len().min(room.saturating_sub(1)));
                // The runners-up are those that would have been taken next, one after the other.
                for other in others {
                    let Some(next) = model.pick(task, &sessions, &pool) else { break };
                    prop_assert_eq!(other.session as usize, next);
                    pool.retain(|&session| session != next);
                }
            } else {
                pool = usable;
                prop_assert_eq!(others.len(), pool.len().min(room));
            }
            let shown: HashSet<u32> = others.iter().map(|other| other.session).collect();
            prop_assert_eq!(shown.len(), others.len(), "shown twice");

            let take = match decision {
                Decision::Assign(choice) => Some(&choice.take),
                Decision::Wait(_) => None,
            };
            for Ranking { session, points, terms } in take.into_iter().chain(others) {
                let expected = if Model::by_context(task) {
                    model.score(task, &sessions[*session as usize])
                } else {
                    0
                };
                prop_assert_eq!(*points, expected);
                prop_assert_eq!(terms.iter().map(|term| term.points).sum::<i32>(), expected);
                prop_assert!(terms.iter().all(|term| term.points != 0));
            }
        }
    }

    #[test]
    fn directories_relate_by_whole_components(
        one in prop::collection::vec("[ab]{1,2}", 0..4),
        other in prop::collection::vec("[ab]{1,2}", 0..4),
    ) {
        let path = |parts: &[String]| format!("/{}", parts.join("/"));
        let expected = if one == other {
            100
        } else if other.starts_with(&one) {
            50
        } else if one.starts_with(&other) {
            25
        } else {
            0
        };
        let (one, other) = (path(&one), path(&other));
        let tasks = [wants(1, (Some(&other), None, &[]))];
        let decisions = decide("{}", &tasks, &[stands("s", (Some(&one), None, &[]))]);
        prop_assert_eq!(choice(&decisions[0]).take.points, expected, "{} for {}", one, other);
    }
}
