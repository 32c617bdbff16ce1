//! The matching against greedy selection and against every other matching there is.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use assigner_policy::testing::{attribute, round, session, task};
use assigner_policy::{Context, Decision, Policy as _, Ranking, Session, Task, greedy_by_terms};
use batch::Batch;
use proptest::prelude::*;

fn decide(settings: &str, tasks: &[Task], sessions: &[Session]) -> Vec<Decision> {
    let policy = Batch::configure(settings).expect("the settings are right");
    policy.assign(&round(), tasks, sessions)
}

fn take(decision: &Decision) -> Option<&Ranking> {
    match decision {
        Decision::Assign(choice) => Some(&choice.take),
        Decision::Wait(_) => None,
    }
}

fn wants(id: u64, directory: &str) -> Task {
    Task {
        context: Context {
            working_dir: Some(directory.to_owned()),
            git_branch: None,
            env: Vec::new(),
        },
        ..task(id)
    }
}

fn stands(name: &str, directory: &str) -> Session {
    Session {
        current_dir: Some(directory.to_owned()),
        ..session(name)
    }
}

fn reason(decision: &Decision) -> &str {
    match decision {
        Decision::Wait(wait) => &wait.reason,
        Decision::Assign(choice) => panic!("takes {:?}", choice.take),
    }
}

/// What a matching is worth, the most important first: how many tasks of each priority are
/// served, the highest first, and the points of all.
fn worth<'a>(tasks: &[Task], points: impl Iterator<Item = Option<&'a Ranking>>) -> (Vec<u32>, i32) {
    let mut served: BTreeMap<Reverse<i32>, u32> = BTreeMap::new();
    let mut sum = 0;
    for (task, taken) in tasks.iter().zip(points) {
        *served.entry(Reverse(task.priority)).or_default() += u32::from(taken.is_some());
        sum += taken.map_or(0, |ranking| ranking.points);
    }
    (served.into_values().collect(), sum)
}

/// The points of every pair, found by asking about it alone.
fn alone(task: &Task, sessions: &[Session], position: usize) -> Option<Ranking> {
    let position = u32::try_from(position).expect("it is small");
    let eligible = task.eligible.as_ref();
    if eligible.is_some_and(|eligible| !eligible.contains(&position)) {
        return None;
    }
    let only = Task {
        eligible: Some(vec![position]),
        ..task.clone()
    };
    take(&decide("{}", &[only], sessions)[0]).cloned()
}

/// The worth of the best of all matchings of the tasks from `next` on.
fn best_of_all(
    tasks: &[Task],
    pairs: &[Vec<Option<Ranking>>],
    chosen: &mut Vec<Option<usize>>,
) -> (Vec<u32>, i32) {
    let next = chosen.len();
    if next == tasks.len() {
        let points = chosen.iter().enumerate();
        let points = points.map(|(task, taken)| taken.and_then(|at| pairs[task][at].as_ref()));
        return worth(tasks, points);
    }
    let free = (0..pairs[next].len())
        .filter(|position| pairs[next][*position].is_some() && !chosen.contains(&Some(*position)));
    let choices: Vec<Option<usize>> = free.map(Some).chain([None]).collect();
    let worths = choices.into_iter().map(|choice| {
        chosen.push(choice);
        let worth = best_of_all(tasks, pairs, chosen);
        chosen.pop();
        worth
    });
    worths.max().expect("waiting is always a choice")
}

#[test]
fn a_task_takes_its_second_best_where_that_is_better_for_all() {
    let tasks = [wants(1, "/srv/app"), wants(2, "/srv/app/api")];
    let sessions = [stands("app", "/srv/app"), stands("srv", "/srv")];
    // First come, first served would be 100 and 50; the other way round is 50 and 50, and less.
    let decisions = decide("{}", &tasks, &sessions);
    assert_eq!(take(&decisions[0]).map(|taken| taken.session), Some(0));

    // Here the first loses 50, and the second gains 100.
    let tasks = [wants(1, "/srv"), wants(2, "/srv/app")];
    let sessions = [stands("app", "/srv/app"), stands("other", "/opt")];
    let decisions = decide("{}", &tasks, &sessions);
    assert_eq!(take(&decisions[0]).map(|taken| taken.session), Some(1));
    assert_eq!(take(&decisions[1]).map(|taken| taken.session), Some(0));
    let Decision::Assign(choice) = &decisions[0] else {
        unreachable!()
    };
    let last = choice.others[0].terms.last().expect("it says who got it");
    assert_eq!(last.name, "goes to task #2");
}

#[test]
fn a_higher_priority_is_served_however_little_it_fits() {
    let urgent = Task {
        priority: 1,
        ..wants(1, "/nowhere")
    };
    let tasks = [urgent, wants(2, "/srv/app")];
    let sessions = [stands("app", "/srv/app")];
    let decisions = decide("{}", &tasks, &sessions);
    assert!(take(&decisions[0]).is_some());
    let expected =
        "every session that suits it is of more use to another task: app goes to task #1";
    assert_eq!(reason(&decisions[1]), expected);
}

#[test]
fn of_one_priority_it_is_waiting_that_helps_what_fits_badly() {
    let waited = |waiting| Task {
        waiting,
        ..wants(1, "/nowhere")
    };
    let sessions = [stands("app", "/srv/app")];
    let first_is_served = |tasks: &[Task]| take(&decide("{}", tasks, &sessions)[0]).is_some();
    assert!(!first_is_served(&[waited(19 * 60), wants(2, "/srv/app")]));
    assert!(first_is_served(&[waited(21 * 60), wants(2, "/srv/app")]));
    assert!(first_is_served(&[waited(u32::MAX), wants(2, "/srv/app")]));
}

#[test]
fn a_task_waits_for_what_fits_where_the_settings_say_so() {
    let tasks = [wants(1, "/srv/app"), task(2)];
    let sessions = [stands("srv", "/srv"), stands("opt", "/opt")];
    let decisions = decide(r#"{"min-score": 60}"#, &tasks, &sessions);
    let expected = "no ready session fits well enough: the nearest, srv, has 50 of the 60 points \
                    of `min-score`";
    assert_eq!(reason(&decisions[0]), expected);
    assert!(take(&decisions[1]).is_some(), "it names no context");
}

#[test]
fn where_it_failed_before_a_task_goes_last() {
    let tasks = [Task {
        avoid: vec![0],
        ..wants(1, "/srv/app")
    }];
    let sessions = [stands("app", "/srv/app"), stands("opt", "/opt")];
    let taken = |sessions: &[Session]| {
        let decisions = decide(r#"{"min-score": 0}"#, &tasks, sessions);
        take(&decisions[0]).cloned().expect("there is a session")
    };
    assert_eq!(taken(&sessions).session, 1);
    assert_eq!(taken(&sessions[..1]).points, 100 - 500);
}

#[test]
fn more_tasks_than_are_decided_on_together_get_what_is_left() {
    let tasks: Vec<Task> = (1..=300).map(task).collect();
    let sessions: Vec<Session> = (1..=250).map(|n| session(&format!("s{n}"))).collect();
    let decisions = decide("{}", &tasks, &sessions);
    let served = decisions.iter().filter(|decision| take(decision).is_some());
    assert_eq!(served.count(), 250);
    assert!(take(&decisions[249]).is_some());
    assert!(reason(&decisions[250]).contains("of more use to another task"));
}

#[test]
fn ties_go_to_the_longest_idle() {
    let idle = |name, since| Session {
        since,
        ..session(name)
    };
    let tasks = [task(1), task(2)];
    let sessions = [idle("c", 5), idle("a", 5), idle("b", 9), idle("d", 1)];
    let decisions = decide("{}", &tasks, &sessions);
    let mut taken: Vec<u32> = decisions
        .iter()
        .flat_map(take)
        .map(|taken| taken.session)
        .collect();
    taken.sort_unstable();
    assert_eq!(taken, [1, 2]);
}

fn directories() -> impl Strategy<Value = Option<String>> {
    let paths = ["/", "/srv", "/srv/app", "/srv/app/api", "/opt"].map(str::to_owned);
    prop::option::of(prop::sample::select(paths.to_vec()))
}

fn branches() -> impl Strategy<Value = Option<String>> {
    prop::option::of(prop::sample::select(vec![
        "main".to_owned(),
        "dev".to_owned(),
    ]))
}

fn a_task() -> impl Strategy<Value = Task> {
    let constraints = (
        prop::option::weighted(0.3, prop::collection::vec(0..7u32, 0..4)),
        prop::collection::vec(0..7u32, 0..2),
    );
    (
        directories(),
        branches(),
        any::<bool>(),
        -1..2i32,
        constraints,
    )
        .prop_map(
            |(working_dir, git_branch, variable, priority, (eligible, avoid))| Task {
                context: Context {
                    working_dir,
                    git_branch,
                    env: variable
                        .then(|| attribute("DEBUG", "1"))
                        .into_iter()
                        .collect(),
                },
                priority,
                eligible,
                avoid,
                ..task(0)
            },
        )
}

fn tasks(at_most: usize) -> impl Strategy<Value = Vec<Task>> {
    prop::collection::vec(a_task(), 0..=at_most).prop_map(|mut tasks| {
        // As the host gives them.
        tasks.sort_by_key(|task| Reverse(task.priority));
        let numbered = tasks.into_iter().zip(1..);
        numbered.map(|(task, id)| Task { id, ..task }).collect()
    })
}

fn sessions(at_most: usize) -> impl Strategy<Value = Vec<Session>> {
    let parts = (
        directories(),
        branches(),
        any::<bool>(),
        prop::bool::weighted(0.8),
        0..3u32,
    );
    let a_session = parts.prop_map(
        |(current_dir, git_branch, variable, ready, since)| Session {
            current_dir,
            git_branch,
            env: variable
                .then(|| attribute("DEBUG", "1"))
                .into_iter()
                .collect(),
            ready,
            since,
            ..session("s")
        },
    );
    prop::collection::vec(a_session, 0..=at_most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn it_is_the_best_of_all_matchings(tasks in tasks(4), sessions in sessions(5)) {
        let decisions = decide("{}", &tasks, &sessions);
        let pairs: Vec<Vec<Option<Ranking>>> = tasks
            .iter()
            .map(|task| (0..sessions.len()).map(|at| alone(task, &sessions, at)).collect())
            .collect();
        let best = best_of_all(&tasks, &pairs, &mut Vec::new());
        prop_assert_eq!(worth(&tasks, decisions.iter().map(take)), best);
    }

    #[test]
    fn it_is_never_worse_than_greedy(tasks in tasks(12), sessions in sessions(8)) {
        let decisions = decide("{}", &tasks, &sessions);
        let greedy = greedy_by_terms(&round(), &tasks, &sessions, |task, session| {
            let at = sessions.iter().position(|other| std::ptr::eq(other, session))?;
            alone(task, &sessions, at).map(|ranking| ranking.terms)
        });
        let (served, points) = worth(&tasks, decisions.iter().map(take));
        let (served_by_greedy, points_of_greedy) = worth(&tasks, greedy.iter().map(take));
        prop_assert!((&served, points) >= (&served_by_greedy, points_of_greedy));
    }

    #[test]
    fn it_breaks_no_rule(
        tasks in tasks(12),
        sessions in sessions(8),
        explain in 0..4u32,
        least in 0..120,
    ) {
        let policy = Batch::configure(&format!(r#"{{"min-score": {least}}}"#));
        let round = assigner_policy::Round { explain, ..round() };
        let decisions = policy.expect("the settings are right").assign(&round, &tasks, &sessions);
        prop_assert_eq!(decisions.len(), tasks.len());
        let mut used = vec![false; sessions.len()];
        for (task, decision) in tasks.iter().zip(&decisions) {
            let others = match decision {
                Decision::Assign(choice) => {
                    let position = choice.take.session;
                    prop_assert!(sessions[position as usize].ready);
                    let eligible = task.eligible.as_ref();
                    prop_assert!(eligible.is_none_or(|eligible| eligible.contains(&position)));
                    prop_assert!(!std::mem::replace(&mut used[position as usize], true));
                    prop_assert!(choice.others.len() < (explain as usize).max(1));
                    [std::slice::from_ref(&choice.take), &choice.others].concat()
                }
                Decision::Wait(wait) => {
                    prop_assert!(!wait.reason.is_empty());
                    prop_assert!(wait.others.len() <= explain as usize);
                    wait.others.clone()
                }
            };
            for ranking in others {
                let sum: i32 = ranking.terms.iter().map(|term| term.points).sum();
                prop_assert_eq!(ranking.points, sum);
            }
        }
    }
}
