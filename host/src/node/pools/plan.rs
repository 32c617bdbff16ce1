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
    /// The most sessions that it has at a time; 0: it is no longer configured, and gets no further ones.
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
    pub(super) tasks: &'a [Demand],
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
    pub(super) fn serves(&self, demand: &Demand) -> bool {
        self.open && self.offer_for(demand).is_some()
    }

    fn offer_for(&self, demand: &Demand) -> Option<usize> {
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
    let suits = |demand: &Demand| -> Vec<usize> {
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
mod tests;
