//! The library that the binary consists of: scoring and selection according to the rules, through
//! the policy, and the example program against a real session.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::sync::Mutex;

use assigner::client::{Client, Score, Selection};
use assigner::model::eligibility::Admission;
use assigner::model::session::SessionContext;
use assigner::model::task::{Kind, Metadata, NewTask};
use proptest::prelude::*;

use crate::harness::{Shell, World, finish, program};

/// A context as (directory, branch, variables).
type Place<'a> = (Option<&'a str>, Option<&'a str>, &'a [(&'a str, &'a str)]);

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn wants((directory, branch, variables): Place<'_>) -> NewTask {
    NewTask {
        metadata: Metadata {
            working_dir: directory.map(str::to_owned),
            git_branch: branch.map(str::to_owned),
            env_vars: pairs(variables),
            ..Metadata::default()
        },
        ..NewTask::command("x")
    }
}

fn stands((directory, branch, variables): Place<'_>) -> SessionContext {
    SessionContext {
        current_dir: directory.map(str::to_owned),
        git_branch: branch.map(str::to_owned),
        env: pairs(variables),
        ..SessionContext::shell("s")
    }
}

/// Uses a shared client: its answers do not depend on earlier questions.
fn ask<R>(question: impl FnOnce(&Client) -> R) -> R {
    static CLIENT: LazyLock<Mutex<(Client, tempfile::TempDir)>> = LazyLock::new(|| {
        let data = tempfile::tempdir().expect("a directory");
        let client = Client::open(data.path()).expect("a client");
        Mutex::new((client, data))
    });
    let client = CLIENT
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    question(&client.0)
}

#[test]
fn points_are_given_as_the_table_says() {
    let table: &[(Place<'_>, Place<'_>, i32)] = &[
        // Directories, by whole components.
        (
            (Some("/t/app"), None, &[]),
            (Some("/t/app"), None, &[]),
            100,
        ),
        ((Some("/t/app"), None, &[]), (Some("/t"), None, &[]), 50),
        ((Some("/t/app"), None, &[]), (Some("/"), None, &[]), 50),
        (
            (Some("/t/app"), None, &[]),
            (Some("/t/app/x/y"), None, &[]),
            25,
        ),
        ((Some("/"), None, &[]), (Some("/t"), None, &[]), 25),
        ((Some("/t/app"), None, &[]), (Some("/t/app2"), None, &[]), 0),
        ((Some("/t/app2"), None, &[]), (Some("/t/app"), None, &[]), 0),
        ((Some("/t/app"), None, &[]), (None, None, &[]), 0),
        ((None, None, &[]), (Some("/t/app"), None, &[]), 0),
        // Branches.
        ((None, Some("dev"), &[]), (None, Some("dev"), &[]), 30),
        ((None, Some("dev"), &[]), (None, Some("devel"), &[]), 0),
        ((None, Some("dev"), &[]), (None, None, &[]), 0),
        // Variables: name and value.
        ((None, None, &[("A", "1")]), (None, None, &[("A", "1")]), 20),
        ((None, None, &[("A", "1")]), (None, None, &[("A", "2")]), 0),
        ((None, None, &[("A", "1")]), (None, None, &[("a", "1")]), 0),
        ((None, None, &[("A", "")]), (None, None, &[("A", "")]), 20),
        (
            (None, None, &[("A", "1"), ("B", "2")]),
            (None, None, &[("A", "1"), ("B", "2"), ("C", "3")]),
            40,
        ),
        // Everything together.
        (
            (Some("/t/app"), Some("dev"), &[("A", "1"), ("B", "2")]),
            (Some("/t/app"), Some("dev"), &[("A", "1"), ("B", "x")]),
            150,
        ),
    ];
    for (task, session, points) in table {
        let score = ask(|client| client.score(&wants(*task), &stands(*session)));
        let Score {
            points: given,
            terms,
        } = score.expect("a score");
        assert_eq!(given, *points, "{task:?} in {session:?}");
        let sum: i32 = terms.iter().map(|term| term.points).sum();
        assert_eq!(given, sum, "{terms:?}");
    }
}

#[test]
fn without_context_match_nothing_counts() {
    let mut task = wants((Some("/t"), Some("dev"), &[]));
    task.metadata.prefer_context_match = false;
    let there = stands((Some("/t"), Some("dev"), &[]));
    let score = ask(|client| client.score(&task, &there)).expect("a score");
    assert_eq!(score.points, 0);
}

fn names(task: &NewTask, session: &SessionContext) -> bool {
    let target = task.target_session.as_ref();
    target.is_some_and(|target| target.name == session.name)
}

/// The rules again, word for word and slowly.
fn expected(task: &NewTask, sessions: &[SessionContext]) -> Option<usize> {
    let metadata = &task.metadata;
    let mut order: Vec<&String> = task.target_provider.iter().collect();
    order.extend(&metadata.preferred_providers);
    order.extend(&metadata.fallback_providers);
    let may = |session: &SessionContext| {
        let is_target = names(task, session);
        let admitted = match session.admission {
            Admission::Open => true,
            Admission::Protected => is_target,
            Admission::Excluded => false,
        };
        let is_shell = session.provider == "shell";
        admitted
            && (task.target_session.is_none() || is_target || metadata.target_fallback)
            && (task.kind == Kind::Command) == is_shell
            && (metadata.allow_fallback || order.is_empty() || order.contains(&&session.provider))
            && (!metadata.require_branch
                || metadata.working_dir.is_some()
                || session.git_branch == metadata.git_branch)
            && metadata
                .require_labels
                .iter()
                .all(|(name, value)| session.labels.get(name) == Some(value))
    };
    let mut pool: Vec<usize> = (0..sessions.len())
        .filter(|&at| may(&sessions[at]))
        .collect();
    let target = pool.iter().find(|&&at| names(task, &sessions[at]));
    if let Some(&target) = target {
        pool = vec![target];
    }
    let names_context = metadata.working_dir.is_some()
        || metadata.git_branch.is_some()
        || !metadata.env_vars.is_empty();
    let by_context = names_context && metadata.prefer_context_match;
    let points = |session: &SessionContext| {
        if by_context { score(task, session) } else { 0 }
    };
    let place = |session: &SessionContext| {
        let place = order.iter().position(|name| **name == session.provider);
        place.unwrap_or(order.len())
    };
    let reached = |session: &SessionContext| by_context && points(session) >= 20;
    // Sessions that reach it come first; then by the order of providers; then by points.
    pool.into_iter().min_by_key(|&at| {
        let session = &sessions[at];
        let counts = if reached(session) { points(session) } else { 0 };
        (
            !reached(session),
            place(session),
            Reverse(counts),
            Reverse(session.idle),
            session.name.clone(),
        )
    })
}

fn score(task: &NewTask, session: &SessionContext) -> i32 {
    let metadata = &task.metadata;
    let mut points = 0;
    if let (Some(wanted), Some(there)) = (&metadata.working_dir, &session.current_dir) {
        let (wanted, there) = (Path::new(wanted), Path::new(there));
        points += match (wanted.starts_with(there), there.starts_with(wanted)) {
            (true, true) => 100,
            (true, false) => 50,
            (false, true) => 25,
            (false, false) => 0,
        };
    }
    for variable in &metadata.env_vars {
        if session.env.get_key_value(variable.0) == Some(variable) {
            points += 20;
        }
    }
    if metadata.git_branch.is_some() && metadata.git_branch == session.git_branch {
        points += 30;
    }
    points
}

fn directory() -> impl Strategy<Value = Option<String>> {
    let path = prop::sample::select(vec![
        "/t",
        "/t/app",
        "/t/app2",
        "/t/app/x",
        "/t/app/x/y",
        "/u",
    ]);
    prop::option::of(path.prop_map(str::to_owned))
}

fn branch() -> impl Strategy<Value = Option<String>> {
    let name = prop::sample::select(vec!["main", "dev"]);
    prop::option::of(name.prop_map(str::to_owned))
}

fn variables() -> impl Strategy<Value = BTreeMap<String, String>> {
    let name = prop::sample::select(vec!["A", "B"]).prop_map(str::to_owned);
    let value = prop::sample::select(vec!["1", "2"]).prop_map(str::to_owned);
    prop::collection::btree_map(name, value, 0..3)
}

fn label() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop_oneof![
        4 => Just(BTreeMap::new()),
        1 => Just(pairs(&[("team", "web")])),
    ]
}

fn provider() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["claude", "codex", "ollama"]).prop_map(str::to_owned)
}

prop_compose! {
    fn a_session()(
        provider in prop_oneof![Just("shell".to_owned()), provider()],
        current_dir in directory(),
        git_branch in branch(),
        env in variables(),
        labels in label(),
        admission in prop_oneof![
            6 => Just(Admission::Open),
            1 => Just(Admission::Protected),
            1 => Just(Admission::Excluded),
        ],
        idle in 0..3_u32,
    ) -> SessionContext {
        SessionContext {
            name: String::new(),
            provider,
            current_dir,
            git_branch,
            env,
            labels,
            admission,
            idle,
        }
    }
}

prop_compose! {
    fn a_task()(
        is_command in any::<bool>(),
        working_dir in directory(),
        git_branch in branch(),
        required in prop::bool::weighted(0.2),
        env_vars in variables(),
        prefer_context_match in prop::bool::weighted(0.9),
        target in prop::option::weighted(0.2, 0..6_usize),
        target_fallback in any::<bool>(),
        target_provider in prop::option::weighted(0.3, provider()),
        preferred in prop::collection::vec(provider(), 0..3),
        fallback in prop::collection::vec(provider(), 0..2),
        allow_fallback in prop::bool::weighted(0.3),
        require_labels in label(),
    ) -> NewTask {
        let prompts_only = |list: Vec<String>| if is_command { Vec::new() } else { list };
        NewTask {
            kind: if is_command { Kind::Command } else { Kind::Prompt },
            target_session: target.map(|number| format!("s{number}").into()),
            target_provider: target_provider.filter(|_| !is_command),
            metadata: Metadata {
                working_dir,
                require_branch: required && git_branch.is_some(),
                git_branch,
                env_vars,
                prefer_context_match,
                preferred_providers: prompts_only(preferred),
                fallback_providers: prompts_only(fallback),
                allow_fallback,
                target_fallback: target_fallback && target.is_some(),
                require_labels,
                ..Metadata::default()
            },
            ..NewTask::command("x")
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_task_goes_where_the_rules_say(
        task in a_task(),
        mut sessions in prop::collection::vec(a_session(), 0..6),
        order in any::<u64>(),
    ) {
        // The order of names differs from the order of positions.
        let count = sessions.len();
        for (at, session) in sessions.iter_mut().enumerate() {
            let turn = usize::try_from(order % 6).expect("small");
            session.name = format!("s{}", (at + turn) % count.max(1));
        }
        let selected = ask(|client| client.select(&task, &sessions)).expect("a selection");
        match (selected, expected(&task, &sessions)) {
            (Selection::Take { session, score: given }, Some(right)) => {
                prop_assert_eq!(session, right, "{:?}", sessions);
                if task.metadata.prefer_context_match {
                    prop_assert_eq!(given.points, score(&task, &sessions[session]));
                }
            }
            (Selection::Wait { reason }, None) => prop_assert!(!reason.is_empty()),
            (selected, right) => {
                prop_assert!(false, "{selected:?}, not {right:?}: {sessions:?}");
            }
        }
    }
}

/// The example is built with the tests, beside the binary.
#[test]
fn the_example_queues_and_waits() {
    let world = World::new();
    let _one = world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    world.session_is("one", "idle");
    let example = Path::new(program())
        .parent()
        .expect("the target directory")
        .join("examples/library");
    assert!(
        example.exists(),
        "`cargo build --example library` builds it, and so does `cargo test` for all tests"
    );
    let mut command: Command = world.command(example);
    let output = finish(command.arg(world.data()), b"").succeeded();
    let printed = output.text();
    let work = crate::harness::text(&world.path("work"));
    assert!(
        printed.contains("one: 100 points\nbest: one\n"),
        "{printed}"
    );
    assert!(
        printed.ends_with(&format!("completed: hello from {work}\n")),
        "{printed}"
    );
}
