use proptest::prelude::*;

use super::*;
use crate::model::eligibility::SHELL;
use crate::model::naming::SessionRef;
use crate::model::task::Kind;

static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();
const START: i64 = 1_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(START + second).expect("a time")
}

fn pool(name: &str, max: u32) -> Pool {
    Pool {
        name: name.to_owned(),
        command: Launch::Line(name.to_owned()),
        provider: name.to_owned(),
        stand: Stand::Directory("/srv".into()),
        max,
        idle: Duration::from_secs(60),
        tasks: 0,
        env: BTreeMap::new(),
        start_within: Duration::from_secs(30),
    }
}

fn offer(name: &str) -> PoolOffer {
    PoolOffer {
        name: name.to_owned(),
        branch: None,
        labels: BTreeMap::new(),
        admission: Admission::Open,
        directory: None,
        shell: None,
    }
}

fn view<'a>(pool: &'a Pool, offer_name: &str) -> View<'a> {
    View {
        pool,
        open: true,
        offers: vec![offer(offer_name)],
    }
}

fn place<'a>(name: &'a str, provider: &'a str) -> Place<'a> {
    Place {
        who: Who::named(name),
        provider,
        branch: None,
        labels: &NO_LABELS,
        admission: Admission::Open,
        directory: None,
        repository: None,
        shell: None,
    }
}

fn prompt(providers: &[String]) -> Demand {
    Demand {
        providers: providers.to_vec(),
        ..Demand::of_kind(Kind::Prompt)
    }
}

fn idle(since: i64) -> MemberSight {
    MemberSight::Seen {
        expected: true,
        agent: true,
        activity: Activity::Idle,
        since: at(since),
        engaged: false,
        paused: false,
    }
}

fn member<'a>(pool: &'a Pool, name: &'a str, stage: MemberStage, sight: MemberSight) -> Member<'a> {
    Member {
        pool: 0,
        place: place(name, &pool.provider),
        stage,
        sight,
        alone: true,
        used: None,
        spent: false,
        held: false,
    }
}

fn one(pool: &Pool, member: Member<'_>, now: i64) -> Vec<PoolStep> {
    decide(&PoolScene {
        pools: &[view(pool, "codex-9")],
        members: &[member],
        tasks: &[],
        ready: &[],
        now: at(now),
    })
}

#[test]
fn a_task_that_nobody_can_take_starts_a_session_and_waits_for_it() {
    let codex = pool("codex", 3);
    let views = [view(&codex, "codex-1")];
    let task = [prompt(&[])];
    let scene = PoolScene {
        pools: &views,
        members: &[],
        tasks: &task,
        ready: &[],
        now: at(0),
    };
    let start = PoolStep::Start {
        pool: 0,
        offer: 0,
        task: 0,
    };
    assert_eq!(decide(&scene), [start]);
    for (stage, sight) in [
        (MemberStage::Preparing, MemberSight::Gone),
        (MemberStage::Starting(at(-3)), MemberSight::Stranger),
    ] {
        let members = [member(&codex, "codex-1", stage, sight)];
        let waiting = PoolScene {
            members: &members,
            ..scene
        };
        assert_eq!(decide(&waiting), []);
    }
    // Any ready session is enough, whoever started it.
    let ready = PoolScene {
        ready: &[place("mine", "codex")],
        ..scene
    };
    assert_eq!(decide(&ready), []);
    let shell = PoolScene {
        ready: &[place("mine", SHELL)],
        ..scene
    };
    assert_eq!(decide(&shell).len(), 1);
}

#[test]
fn what_a_pool_does_not_have_starts_nothing() {
    let codex = pool("codex", 3);
    let other = ["claude".to_owned()];
    for demand in [
        prompt(&other),
        Demand {
            kind: Kind::Command,
            ..prompt(&[])
        },
        Demand {
            target_session: Some(SessionRef::from("api")),
            ..prompt(&[])
        },
        Demand {
            branch: Some("dev".to_owned()),
            ..prompt(&[])
        },
    ] {
        let scene = PoolScene {
            pools: &[view(&codex, "codex-1")],
            members: &[],
            tasks: std::slice::from_ref(&demand),
            ready: &[],
            now: at(0),
        };
        assert_eq!(decide(&scene), [], "{demand:?}");
    }
}

#[test]
fn tasks_are_matched_and_not_only_counted() {
    let codex = pool("codex", 3);
    let target = SessionRef::from("a");
    let tasks = [
        prompt(&[]),
        Demand {
            target_session: Some(target),
            ..prompt(&[])
        },
    ];
    let scene = PoolScene {
        pools: &[view(&codex, "codex-1")],
        members: &[],
        tasks: &tasks,
        // The first task must not take `a`, which is the only one that suits the second.
        ready: &[place("a", "codex"), place("b", "codex")],
        now: at(0),
    };
    assert_eq!(decide(&scene), []);
}

#[test]
fn an_idle_session_ends_when_nobody_needs_it() {
    let codex = pool("codex", 3);
    let up = |sight| member(&codex, "codex-1", MemberStage::Up, sight);
    let ended = |member, now| !one(&codex, member, now).is_empty();
    assert!(!ended(up(idle(0)), 59));
    assert!(ended(up(idle(0)), 60));
    let used = Member {
        used: Some(at(50)),
        ..up(idle(0))
    };
    assert!(!ended(used, 100));
    let attached = Member {
        alone: false,
        ..up(idle(0))
    };
    assert!(!ended(attached, 1_000));
    // A person's clock was set back.
    assert!(!ended(up(idle(500)), 0));
    let ready = [place("codex-1", "codex")];
    let wanted = PoolScene {
        pools: &[view(&codex, "codex-2")],
        members: &[up(idle(0))],
        tasks: &[prompt(&[])],
        ready: &ready,
        now: at(1_000),
    };
    assert_eq!(decide(&wanted), []);
}

#[test]
fn a_session_that_has_had_its_tasks_ends_at_once() {
    let codex = Pool {
        tasks: 2,
        ..pool("codex", 3)
    };
    assert!(!codex.is_spent(1) && codex.is_spent(2) && codex.is_spent(3));
    assert!(!pool("codex", 3).is_spent(u32::MAX));
    let spent = |sight| Member {
        spent: true,
        ..member(&codex, "codex-1", MemberStage::Up, sight)
    };
    let why = "it was for 2 tasks, which it has had".to_owned();
    let end = PoolStep::End { member: 0, why };
    let used = Member {
        used: Some(at(0)),
        ..spent(idle(0))
    };
    assert_eq!(one(&codex, used, 0), [end]);
    let attached = Member {
        alone: false,
        ..spent(idle(0))
    };
    assert_eq!(one(&codex, attached, 1_000), []);
    let held = Member {
        held: true,
        ..spent(idle(0))
    };
    assert_eq!(one(&codex, held, 1_000), []);
    for activity in [
        Activity::Busy,
        Activity::WaitingInput,
        Activity::Attended,
        Activity::Unknown,
    ] {
        let at_it = MemberSight::Seen {
            expected: true,
            agent: true,
            activity,
            since: at(0),
            engaged: false,
            paused: false,
        };
        assert_eq!(one(&codex, spent(at_it), 1_000), [], "{activity}");
    }
    let engaged = MemberSight::Seen {
        expected: true,
        agent: true,
        activity: Activity::Idle,
        since: at(0),
        engaged: true,
        paused: false,
    };
    assert_eq!(one(&codex, spent(engaged), 1_000), []);
    // This is no reason for its pool to rest.
    let early = Member {
        stage: MemberStage::Starting(at(0)),
        ..spent(MemberSight::Seen {
            expected: true,
            agent: true,
            activity: Activity::Busy,
            since: at(0),
            engaged: false,
            paused: false,
        })
    };
    assert_eq!(one(&codex, early, 1_000), [PoolStep::Arrived { member: 0 }]);
}

#[test]
fn a_task_does_not_count_on_a_session_that_has_had_its_own() {
    let codex = Pool {
        tasks: 1,
        ..pool("codex", 2)
    };
    let busy = MemberSight::Seen {
        expected: true,
        agent: true,
        activity: Activity::Busy,
        since: at(0),
        engaged: false,
        paused: false,
    };
    for (stage, sight) in [
        (MemberStage::Up, busy),
        (MemberStage::Starting(at(0)), busy),
        (MemberStage::Ending, idle(0)),
    ] {
        let spent = |name| Member {
            spent: true,
            ..member(&codex, name, stage, sight)
        };
        let starts = |members: &[Member<'_>]| {
            let steps = decide(&PoolScene {
                pools: &[view(&codex, "codex-9")],
                members,
                tasks: &[prompt(&[])],
                ready: &[],
                now: at(1),
            });
            let starts = |step: &&PoolStep| matches!(step, PoolStep::Start { .. });
            steps.iter().filter(starts).count()
        };
        assert_eq!(starts(&[spent("codex-1")]), 1, "{stage:?}");
        // They still count towards the pool's size.
        assert_eq!(starts(&[spent("codex-1"), spent("codex-2")]), 0);
    }
}

#[test]
fn a_session_that_does_not_come_up_rests_its_pool() {
    let codex = pool("codex", 3);
    let starting = |sight| member(&codex, "codex-1", MemberStage::Starting(at(0)), sight);
    for sight in [MemberSight::Gone, MemberSight::Dead] {
        let steps = one(&codex, starting(sight), 1);
        assert!(matches!(&*steps, [PoolStep::Fail { member: 0, .. }]));
    }
    assert_eq!(one(&codex, starting(MemberSight::Stranger), 29), []);
    let steps = one(&codex, starting(MemberSight::Stranger), 30);
    assert!(matches!(&*steps, [PoolStep::Fail { member: 0, .. }]));
    // An agent that a person may have to answer is never ended.
    let asks = MemberSight::Seen {
        expected: true,
        agent: true,
        activity: Activity::WaitingInput,
        since: at(0),
        engaged: false,
        paused: false,
    };
    let steps = one(&codex, starting(asks), 1_000);
    assert!(matches!(&*steps, [PoolStep::Stuck { member: 0, .. }]));
    let stuck = member(&codex, "codex-1", MemberStage::Stuck, asks);
    assert_eq!(one(&codex, stuck, 5_000), []);
    let answered = member(&codex, "codex-1", MemberStage::Stuck, idle(5_000));
    assert_eq!(
        one(&codex, answered, 5_001),
        [PoolStep::Arrived { member: 0 }]
    );
}

#[test]
fn names_have_a_number_and_those_taken_are_skipped() {
    let codex = pool("codex", 3);
    for (name, could) in [
        ("codex-1", true),
        ("codex-12", true),
        ("codex-0", false),
        ("codex-01", false),
        ("codex-", false),
        ("codex", false),
        ("codex-1-1", false),
        ("codex-99999999999", false),
        ("codex-+1", false),
        ("claude-1", false),
    ] {
        assert_eq!(codex.could_call(name), could, "{name}");
    }
    let free = codex.free_name(|name| name == "codex-1" || name == "codex-2");
    assert_eq!(free.as_deref(), Some("codex-3"));
    assert_eq!(codex.free_name(|_| true), None);
}

#[test]
fn a_rest_doubles_up_to_ten_minutes() {
    let rests: Vec<u64> = (1..9).map(|n| rest_after(n).as_secs()).collect();
    assert_eq!(rests, [5, 10, 20, 40, 80, 160, 320, 600]);
    assert_eq!(rest_after(u32::MAX).as_secs(), 600);
}

fn any_sight() -> impl Strategy<Value = MemberSight> {
    let activity = prop::sample::select(vec![
        Activity::Idle,
        Activity::Busy,
        Activity::WaitingInput,
        Activity::Attended,
        Activity::Unknown,
    ]);
    let seen = (activity, 0..200_i64, any::<[bool; 4]>()).prop_map(
        |(activity, since, [expected, agent, engaged, paused])| MemberSight::Seen {
            expected,
            agent,
            activity,
            since: at(since),
            engaged,
            paused,
        },
    );
    prop_oneof![
        Just(MemberSight::Gone),
        Just(MemberSight::Dead),
        Just(MemberSight::Stranger),
        seen
    ]
}

fn any_stage() -> impl Strategy<Value = MemberStage> {
    prop_oneof![
        Just(MemberStage::Preparing),
        (0..200_i64).prop_map(|since| MemberStage::Starting(at(since))),
        Just(MemberStage::Stuck),
        Just(MemberStage::Up),
        Just(MemberStage::Ending),
    ]
}

type DrawnMember = (usize, MemberStage, MemberSight, [bool; 3], Option<i64>);

fn any_member() -> impl Strategy<Value = DrawnMember> {
    (
        0..2_usize,
        any_stage(),
        any_sight(),
        any::<[bool; 3]>(),
        prop::option::of(0..200_i64),
    )
}

/// The provider and the session that a task asks for.
fn any_task() -> impl Strategy<Value = (Option<usize>, Option<usize>)> {
    (prop::option::of(0..3_usize), prop::option::of(0..6_usize))
}

const NAMES: [&str; 6] = ["a-1", "a-2", "a-3", "b-1", "b-2", "mine"];

proptest! {
    /// In every situation: no pool exceeds its size or starts two at once, none starts while it
    /// is closed, nothing is ended that is attached, working, asking or unknown, and a session
    /// that has had its tasks makes no pool rest while it can be seen.
    #[test]
    fn pools_keep_within_their_rights(
        drawn in prop::collection::vec(any_member(), 0..6),
        asked in prop::collection::vec(any_task(), 0..8),
        ready in prop::collection::vec((0..6_usize, 0..3_usize), 0..5),
        sizes in (1..4_u32, 1..4_u32), open in any::<[bool; 2]>(), now in 0..400_i64,
    ) {
        let providers = ["a", "b", SHELL].map(|name| vec![name.to_owned()]);
        let pools = [pool("a", sizes.0), pool("b", sizes.1)];
        let views: Vec<View<'_>> = pools.iter().zip(open).map(|(pool, open)| View {
            open,
            ..view(pool, &format!("{}-9", pool.name))
        }).collect();
        let members: Vec<Member<'_>> = drawn.iter().zip(NAMES)
            .map(|(&(index, stage, sight, [alone, spent, held], used), name)| Member {
                pool: index,
                alone,
                spent,
                held,
                used: used.map(at),
                ..member(&pools[index], name, stage, sight)
            }).collect();
        let targets = NAMES.map(SessionRef::from);
        let tasks: Vec<Demand> = asked.iter().map(|&(provider, target)| Demand {
            target_session: target.map(|target| targets[target].clone()),
            ..prompt(provider.map_or(&[], |provider| providers[provider].as_slice()))
        }).collect();
        let ready: Vec<Place<'_>> = ready.iter()
            .map(|&(name, provider)| place(NAMES[name], &providers[provider][0])).collect();
        let steps = decide(&PoolScene {
            pools: &views, members: &members, tasks: &tasks, ready: &ready, now: at(now),
        });
        let mut counts = [0, 1].map(|pool| members.iter().filter(|m| m.pool == pool).count());
        let before = counts;
        let mut served = Vec::new();
        let mut touched = Vec::new();
        for step in steps {
            match step {
                PoolStep::Start { pool, task, .. } => {
                    prop_assert!(open[pool]);
                    counts[pool] += 1;
                    prop_assert!(counts[pool] <= pools[pool].max as usize);
                    prop_assert_eq!(counts[pool], before[pool] + 1, "one a round");
                    prop_assert!(!served.contains(&task), "one task, one session");
                    served.push(task);
                    // No ready session that suits it was left over.
                    let suiting = ready.iter()
                        .filter(|place| tasks[task].excludes(place).is_none()).count();
                    prop_assert!(suiting < tasks.len());
                }
                PoolStep::End { member, .. } | PoolStep::Fail { member, .. } => {
                    touched.push(member);
                    let member = &members[member];
                    if let MemberSight::Seen { since, .. } = member.sight
                        && member.stage == MemberStage::Up
                    {
                        let since = member.used.map_or(since, |used| used.max(since));
                        let rested = elapsed(since, at(now)) >= pools[member.pool].idle;
                        let due = if member.spent { !member.held } else { rested };
                        prop_assert!(due);
                    }
                    prop_assert!(!matches!(member.stage, MemberStage::Preparing | MemberStage::Ending));
                    match member.sight {
                        MemberSight::Gone => {}
                        MemberSight::Dead => prop_assert!(member.alone),
                        MemberSight::Stranger => prop_assert!(
                            member.alone && matches!(member.stage, MemberStage::Starting(_))),
                        MemberSight::Seen { activity, agent, engaged, .. } => {
                            prop_assert!(member.alone);
                            let fresh = matches!(member.stage, MemberStage::Starting(_));
                            prop_assert!(activity == Activity::Idle || (fresh && !agent));
                            prop_assert!(!engaged || fresh);
                        }
                    }
                }
                PoolStep::Arrived { member } | PoolStep::Stuck { member, .. } => touched.push(member),
            }
        }
        let all = touched.len();
        touched.sort_unstable();
        touched.dedup();
        prop_assert_eq!(all, touched.len(), "one step a session");
    }

    /// Round after round, if each session is for one task, has had it and does not go away, a
    /// waiting task starts another session while there is room.
    #[test]
    fn what_has_had_its_task_makes_room_for_none(spent in 0..6_u32, max in 1..6_u32) {
        let codex = Pool { tasks: 1, ..pool("codex", max) };
        let members: Vec<Member<'_>> = NAMES.iter().take(spent as usize)
            .map(|name| Member {
                spent: true,
                held: true,
                ..member(&codex, name, MemberStage::Up, idle(0))
            }).collect();
        let steps = decide(&PoolScene {
            pools: &[view(&codex, "codex-9")],
            members: &members,
            tasks: &[prompt(&[]), prompt(&[])],
            ready: &[],
            now: at(1_000),
        });
        prop_assert_eq!(steps.len(), usize::from(spent < max));
        let starts = steps.iter().all(|step| matches!(step, PoolStep::Start { .. }));
        prop_assert!(starts, "{:?}", steps);
    }

    /// Round after round, if sessions never come up and are never given up, there are as many
    /// as there are tasks, and no more.
    #[test]
    fn a_task_starts_one_session(tasks in 0..8_usize, max in 1..6_u32) {
        let codex = pool("codex", max);
        let demands = vec![prompt(&[]); tasks];
        let mut names: Vec<String> = Vec::new();
        for round in 0..12 {
            let members: Vec<Member<'_>> = names.iter()
                .map(|name| member(&codex, name, MemberStage::Starting(at(0)), MemberSight::Stranger))
                .collect();
            let steps = decide(&PoolScene {
                pools: &[view(&codex, "codex-9")],
                members: &members,
                tasks: &demands,
                ready: &[],
                now: at(round),
            });
            let started = steps.len();
            prop_assert!(started <= 1);
            names.extend((0..started).map(|_| format!("codex-{round}")));
        }
        prop_assert_eq!(names.len(), tasks.min(max as usize));
    }
}

#[test]
fn a_pool_knows_the_shell_that_it_starts() {
    let line = |text: &str| Launch::Line(text.to_owned()).shell();
    for text in ["bash", "bash -l", "/usr/bin/bash --norc"] {
        assert_eq!(line(text), Some(Shell::Bash), "{text}");
    }
    assert_eq!(line("zsh-5.9"), Some(Shell::Zsh));
    for text in ["codex", "bash -c 'exec zsh'", "bash -lc x", "exec bash", ""] {
        assert_eq!(line(text), None, "{text}");
    }
}
