//! What the pools of sessions want: which sessions to start for the tasks that wait, and which to
//! end because nothing is left for them. Pure.
//!
//! ```text
//! pending tasks -- matched with --> ready sessions, and those on their way
//!       | the rest                        | those that nobody has needed for long
//!     start                              end
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::model::duration::shown;
use crate::model::eligibility::{Admission, Demand, Place};
use crate::model::naming::Who;
use crate::model::session::{Activity, Shell};
use crate::probe;

/// What the engine is told about pools.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolSettings {
    /// The pools. If there are none, no session is ever started or ended.
    pub pools: Vec<Pool>,
    /// The data directory. It marks the sessions as belonging to this queue, and holds the
    /// worktrees.
    pub data_dir: PathBuf,
    /// The tmux server, as given to `--tmux-socket`.
    pub socket: String,
}

/// Sessions that are started when tasks wait for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Its name. Its sessions have the same name with a number after it: `codex-1`.
    pub name: String,
    /// What runs in them.
    pub command: Launch,
    /// The provider that is expected to be recognized there.
    pub provider: String,
    /// Where they are started.
    pub stand: Stand,
    /// The most sessions that it has at a time.
    pub max: u32,
    /// They are ended after this long without a task.
    pub idle: Duration,
    /// How many tasks each session is for; after the last of them it is ended. 0: any number.
    pub tasks: u32,
    /// The variables that they are given.
    pub env: BTreeMap<String, String>,
    /// They must be seen idle within this time.
    pub start_within: Duration,
}

/// What a new session runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Launch {
    /// A line for the user's shell.
    Line(String),
    /// A program and its arguments.
    Words(Vec<String>),
}

impl fmt::Display for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => f.write_str(line),
            Self::Words(words) => f.write_str(&words.join(" ")),
        }
    }
}

/// Where a pool's sessions are started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stand {
    /// All of them in this directory.
    Directory(PathBuf),
    /// Each in a worktree of its own of this repository.
    Worktree(PathBuf),
}

impl Stand {
    /// Returns the directory, or the repository.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Directory(path) | Self::Worktree(path) => path,
        }
    }
}

/// The highest number of a session. Worktrees that stay keep their session's number in use.
const HIGHEST: u32 = 9_999;

impl Pool {
    /// Whether a session of the pool may have this name.
    pub(super) fn could_call(&self, name: &str) -> bool {
        let rest = name.strip_prefix(self.name.as_str());
        let number = rest.and_then(|rest| rest.strip_prefix('-'));
        number.is_some_and(|number| {
            let digits = number.bytes().all(|byte| byte.is_ascii_digit());
            let parsed = number.parse::<u32>();
            digits
                && !number.starts_with('0')
                && parsed.is_ok_and(|number| (1..=HIGHEST).contains(&number))
        })
    }

    /// Whether a session that was given this many tasks takes no more.
    pub(super) fn is_spent(&self, given: u32) -> bool {
        self.tasks > 0 && given >= self.tasks
    }

    /// Returns in words how many tasks each session is for.
    pub(super) fn share(&self) -> String {
        match self.tasks {
            1 => "one task".to_owned(),
            tasks => format!("{tasks} tasks"),
        }
    }

    /// Returns the first free name.
    pub(super) fn free_name(&self, taken: impl Fn(&str) -> bool) -> Option<String> {
        let mut names = (1..=HIGHEST).map(|number| format!("{}-{number}", self.name));
        names.find(|name| !taken(name))
    }
}

/// What is known when the decision is made.
#[derive(Debug)]
pub(super) struct PoolScene<'a> {
    pub(super) pools: &'a [View<'a>],
    /// The sessions of pools.
    pub(super) members: &'a [Member<'a>],
    /// What the tasks that may run now demand, in the order in which they are served.
    pub(super) tasks: &'a [Demand<'a>],
    /// Every session that can be given a task now, whether it belongs to a pool or not.
    pub(super) ready: &'a [Place<'a>],
    pub(super) now: Timestamp,
}

/// A pool, and what it can offer now.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) pool: &'a Pool,
    /// Whether it is neither resting nor paused.
    pub(super) open: bool,
    /// The sessions that it could start; it starts at most one of them.
    pub(super) offers: Vec<PoolOffer>,
}

impl View<'_> {
    /// Whether it could start a session for such a task if there were room.
    pub(super) fn serves(&self, demand: &Demand<'_>) -> bool {
        self.open && self.offer_for(demand).is_some()
    }

    fn offer_for(&self, demand: &Demand<'_>) -> Option<usize> {
        let suits = |offer: &PoolOffer| {
            let place = offer.place(&self.pool.provider);
            demand.excludes(&place).is_none()
        };
        self.offers.iter().position(suits)
    }
}

/// A session that could be started.
#[derive(Debug)]
pub(super) struct PoolOffer {
    pub(super) name: String,
    pub(super) branch: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) admission: Admission,
    /// Its directory; for a worktree, the repository.
    pub(super) directory: Option<String>,
    /// The shell that its command starts, if that is one.
    pub(super) shell: Option<Shell>,
}

impl Launch {
    /// Returns the shell that it starts, if its first word is the name of one and nothing is run in it.
    pub(super) fn shell(&self) -> Option<Shell> {
        let words: Vec<String> = match self {
            Self::Line(line) => line.split_whitespace().map(str::to_owned).collect(),
            Self::Words(words) => words.clone(),
        };
        let shell = probe::shell_of(words.first()?.rsplit('/').next()?)?;
        probe::is_interactive(&words).then_some(shell)
    }
}

impl PoolOffer {
    /// Returns the place that a task's demand would look at, if the session is started.
    pub(super) fn place<'a>(&'a self, provider: &'a str) -> Place<'a> {
        Place {
            who: Who::named(&self.name),
            provider,
            branch: self.branch.as_deref(),
            labels: &self.labels,
            admission: self.admission,
            directory: self.directory.as_deref(),
            repository: None,
            shell: self.shell,
        }
    }
}

/// A session of a pool.
#[derive(Debug)]
pub(super) struct Member<'a> {
    /// The index of its pool.
    pub(super) pool: usize,
    /// The place that it was started as, or that it is seen as.
    pub(super) place: Place<'a>,
    pub(super) stage: MemberStage,
    pub(super) sight: MemberSight,
    /// Whether nobody is attached and nobody has added anything to it.
    pub(super) alone: bool,
    /// When a task or a person was last seen there.
    pub(super) used: Option<Timestamp>,
    /// Whether it has been given all the tasks that it is for.
    pub(super) spent: bool,
    /// Whether it was recently to be ended and could not be.
    pub(super) held: bool,
}

/// The stage that a session of a pool has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MemberStage {
    /// Its place is being prepared.
    Preparing,
    /// It was started at this time, and has not been seen idle yet.
    Starting(Timestamp),
    /// It was not idle in time, and runs an agent that a person may want to look at.
    Stuck,
    /// It was seen idle.
    Up,
    /// It was told to end.
    Ending,
}

/// What is seen of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MemberSight {
    /// Nothing.
    Gone,
    /// Its program has ended.
    Dead,
    /// A program that no profile knows.
    Stranger,
    /// A shell or an agent.
    Seen {
        /// Whether it is what the pool expects.
        expected: bool,
        /// Whether it is an agent.
        agent: bool,
        activity: Activity,
        since: Timestamp,
        /// Whether it has a task, or still has to report or undo something.
        engaged: bool,
        /// Whether it takes no tasks for now.
        paused: bool,
    },
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PoolStep {
    /// Start a session for a task.
    Start {
        pool: usize,
        offer: usize,
        task: usize,
    },
    /// A session has come up.
    Arrived { member: usize },
    /// End a session, or note that it has ended.
    End { member: usize, why: String },
    /// The same for a session that never came up; its pool rests.
    Fail { member: usize, why: String },
    /// A session did not come up in time but stays; its pool rests.
    Stuck { member: usize, why: String },
}

/// Returns what is to be done.
pub(super) fn decide(scene: &PoolScene<'_>) -> Vec<PoolStep> {
    let mut steps: Vec<PoolStep> = Vec::new();
    let mut coming: Vec<Place<'_>> = Vec::new();
    let mut counts = vec![0_u32; scene.pools.len()];
    for member in scene.members {
        if let Some(count) = counts.get_mut(member.pool) {
            *count += 1;
        }
        if is_coming(scene, member) {
            coming.push(member.place);
        }
    }
    let Served { seats, unserved } = served(scene, &coming);
    for (index, member) in scene.members.iter().enumerate() {
        let mut ready = scene.ready.iter().zip(&seats);
        let wanted = ready.any(|(place, taken)| *taken && place.who.name == member.place.who.name);
        steps.extend(fate(scene, member, index, wanted));
    }
    let mut begun = vec![false; scene.pools.len()];
    for task in unserved {
        let Some(demand) = scene.tasks.get(task) else {
            continue;
        };
        let pools = scene.pools.iter().enumerate();
        let found = pools
            .filter(|(index, view)| view.open && counts[*index] < view.pool.max)
            .find_map(|(index, view)| Some((index, view.offer_for(demand)?)));
        // Each pool starts at most one session per round. A task for which this pool already starts
        // one does not go on to the next pool.
        if let Some((pool, offer)) = found
            && !begun[pool]
        {
            begun[pool] = true;
            counts[pool] += 1;
            steps.push(PoolStep::Start { pool, offer, task });
        }
    }
    steps
}

/// Whether a session is on its way, so that a task can count on it.
fn is_coming(scene: &PoolScene<'_>, member: &Member<'_>) -> bool {
    if member.spent {
        return false;
    }
    match member.stage {
        MemberStage::Preparing => true,
        MemberStage::Starting(since) => {
            let within = scene.pools.get(member.pool).map(|view| view.pool);
            let within = within.map_or(Duration::ZERO, |pool| pool.start_within);
            let there = match member.sight {
                MemberSight::Gone | MemberSight::Dead => false,
                MemberSight::Stranger => true,
                // A ready session is already in the list of ready ones.
                MemberSight::Seen {
                    expected,
                    activity,
                    engaged,
                    ..
                } => !(engaged || expected && activity == Activity::Idle),
            };
            there && elapsed(since, scene.now) < within
        }
        MemberStage::Stuck | MemberStage::Up | MemberStage::Ending => false,
    }
}

/// Returns what happens to a session. `wanted` means that a task waits that it can be given.
fn fate(
    scene: &PoolScene<'_>,
    member: &Member<'_>,
    index: usize,
    wanted: bool,
) -> Option<PoolStep> {
    let pool = scene.pools.get(member.pool)?.pool;
    let early = matches!(member.stage, MemberStage::Starting(_));
    let over = |why: &str| {
        let (member, why) = (index, why.to_owned());
        Some(if early {
            PoolStep::Fail { member, why }
        } else {
            PoolStep::End { member, why }
        })
    };
    match (member.stage, member.sight) {
        (MemberStage::Preparing | MemberStage::Ending, _) => return None,
        (_, MemberSight::Gone) => return over("its session has ended"),
        // A person who is attached may still be reading what it has printed.
        (_, MemberSight::Dead) if member.alone => return over("its program has ended"),
        (_, MemberSight::Dead) => return None,
        _ => {}
    }
    if let MemberSight::Seen {
        expected: true,
        activity,
        engaged,
        ..
    } = member.sight
        && member.stage != MemberStage::Up
        && (activity == Activity::Idle || engaged || member.spent)
    {
        return Some(PoolStep::Arrived { member: index });
    }
    match member.stage {
        MemberStage::Starting(since) => late(pool, member, index, since, scene.now),
        MemberStage::Up => {
            let MemberSight::Seen {
                activity: Activity::Idle,
                since,
                engaged: false,
                paused: false,
                ..
            } = member.sight
            else {
                return None;
            };
            if !member.alone {
                return None;
            }
            if member.spent {
                let why = format!("it was for {}, which it has had", pool.share());
                return (!member.held).then_some(PoolStep::End { member: index, why });
            }
            let since = member.used.map_or(since, |used| used.max(since));
            let rested = elapsed(since, scene.now);
            if wanted || rested < pool.idle {
                return None;
            }
            let why = format!("it had no task for {}", shown(pool.idle));
            Some(PoolStep::End { member: index, why })
        }
        MemberStage::Preparing | MemberStage::Stuck | MemberStage::Ending => None,
    }
}

/// Returns what happens to a session that should have come up.
fn late(
    pool: &Pool,
    member: &Member<'_>,
    index: usize,
    since: Timestamp,
    now: Timestamp,
) -> Option<PoolStep> {
    if elapsed(since, now) < pool.start_within {
        return None;
    }
    let within = shown(pool.start_within);
    let (what, alive) = match member.sight {
        MemberSight::Seen {
            agent, activity, ..
        } => {
            let what = match (agent, activity) {
                (false, Activity::Idle) => "a shell waits at its prompt".to_owned(),
                (false, _) => "a shell runs something".to_owned(),
                (true, activity) => format!("an agent is {activity}"),
            };
            // It may be working, or asking something that a person is to answer.
            (what, agent && activity != Activity::Idle)
        }
        MemberSight::Stranger => ("it runs a program that no profile knows".to_owned(), false),
        MemberSight::Gone | MemberSight::Dead => return None,
    };
    let why = format!(
        "{} was not seen idle there within {within}: {what}",
        pool.provider
    );
    let stays = alive || !member.alone;
    let member = index;
    Some(if stays {
        PoolStep::Stuck { member, why }
    } else {
        PoolStep::Fail { member, why }
    })
}

/// How the existing sessions serve the tasks.
struct Served {
    /// Which of the ready sessions serve a task, followed by those on their way.
    seats: Vec<bool>,
    /// The tasks for which no session is left, in order.
    unserved: Vec<usize>,
}

/// Gives as many tasks as possible a session each, from the ready ones and those on their way. A
/// task that was given a session keeps one, though perhaps a different one.
fn served(scene: &PoolScene<'_>, coming: &[Place<'_>]) -> Served {
    let seats: Vec<&Place<'_>> = scene.ready.iter().chain(coming).collect();
    let suits = |demand: &Demand<'_>| -> Vec<usize> {
        let places = seats.iter().enumerate();
        let fitting = places.filter(|(_, place)| demand.excludes(place).is_none());
        fitting.map(|(seat, _)| seat).collect()
    };
    let choices: Vec<Vec<usize>> = scene.tasks.iter().map(suits).collect();
    let mut holders: Vec<Option<usize>> = vec![None; seats.len()];
    let mut unserved = Vec::new();
    for task in 0..choices.len() {
        if !seat(task, &choices, &mut holders) {
            unserved.push(task);
        }
    }
    Served {
        seats: holders.iter().map(Option::is_some).collect(),
        unserved,
    }
}

/// Finds a seat for a task, moving others if necessary: breadth first, looking at each seat once.
fn seat(task: usize, choices: &[Vec<usize>], holders: &mut [Option<usize>]) -> bool {
    let mut came_from: Vec<Option<usize>> = vec![None; holders.len()];
    let mut next = std::collections::VecDeque::from([task]);
    while let Some(asking) = next.pop_front() {
        for &seat in choices.get(asking).into_iter().flatten() {
            if came_from[seat].is_some() {
                continue;
            }
            came_from[seat] = Some(asking);
            let Some(holder) = holders[seat] else {
                hand_on(seat, task, &came_from, holders);
                return true;
            };
            next.push_back(holder);
        }
    }
    false
}

/// Gives the free seat to the task that asked for it, and that task's old seat to the one that
/// asked for that, and so on.
fn hand_on(
    mut free: usize,
    task: usize,
    came_from: &[Option<usize>],
    holders: &mut [Option<usize>],
) {
    while let Some(asking) = came_from[free] {
        let given_up = holders.iter().position(|holder| *holder == Some(asking));
        holders[free] = Some(asking);
        match given_up {
            Some(seat) if asking != task => {
                holders[seat] = None;
                free = seat;
            }
            _ => return,
        }
    }
}

/// Returns the time since then, by a clock that may have been set back.
fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

/// How long a pool rests after a session did not come up: the first time, and at most.
const REST: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(600));

/// Returns how long a pool rests after this many sessions in a row did not come up.
pub(super) fn rest_after(failures: u32) -> Duration {
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1));
    REST.0
        .saturating_mul(doubled.unwrap_or(u32::MAX))
        .min(REST.1)
}

#[cfg(test)]
mod tests {
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

    fn prompt(providers: &[String]) -> Demand<'_> {
        Demand {
            shell: None,
            kind: Kind::Prompt,
            target_session: None,
            target_fallback: false,
            providers,
            branch: None,
            labels: &NO_LABELS,
            asks: None,
            within: None,
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

    fn member<'a>(
        pool: &'a Pool,
        name: &'a str,
        stage: MemberStage,
        sight: MemberSight,
    ) -> Member<'a> {
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
                target_session: Some(&SessionRef::from("api")),
                ..prompt(&[])
            },
            Demand {
                branch: Some("dev"),
                ..prompt(&[])
            },
        ] {
            let scene = PoolScene {
                pools: &[view(&codex, "codex-1")],
                members: &[],
                tasks: &[demand],
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
                target_session: Some(&target),
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
            let tasks: Vec<Demand<'_>> = asked.iter().map(|&(provider, target)| Demand {
                target_session: target.map(|target| &targets[target]),
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
}
