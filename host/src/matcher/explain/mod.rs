//! Explains where a task would go and why it waits: for every session, its terms or what rules it
//! out. Changes nothing, and asks the policy as a round would.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use serde::Serialize;

mod changes;
mod steps;
#[cfg(test)]
mod tests;

pub use crate::matcher::has_failed;
use crate::matcher::{avoid, candidate, obstacle, resource, seconds};
use crate::model::directory::DirectorySight;
use crate::model::eligibility::{Demand, Place};
use crate::model::ids::Identity;
use crate::model::matching::{Decision, Question, Ranking, Term};
use crate::model::naming::{Whereabouts, Who, whereabouts};
use crate::model::session::Activity;
use crate::model::task::{Status, Task};
use crate::policy::Policy;
use crate::store::{ParentRow, PauseRow, SessionRow};
pub use changes::{Change, Foreign};
use changes::{WaitingTask, changes};
use steps::command;

/// How one session relates to a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The session.
    pub session: String,
    /// What runs in it.
    pub provider: String,
    /// Its status.
    pub status: Activity,
    /// What keeps it from taking the task now; `None`: nothing.
    pub obstacle: Option<String>,
    /// Whether it can never run the task, whatever its status.
    pub excluded: bool,
    /// Its points, if the policy gave any.
    pub points: Option<i32>,
    /// What the points consist of.
    pub terms: Vec<Term>,
}

/// The explanation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// One line: why it waits, and the smallest change that would let it run.
    pub reason: String,
    /// What would let it run, the smallest change first.
    pub changes: Vec<Change>,
    /// Every session, the most suitable first.
    pub sessions: Vec<Standing>,
}

/// Tells which of some variables a session exports, as far as is known.
pub type Exports<'a> = &'a dyn Fn(&SessionRow, &BTreeSet<String>) -> BTreeMap<String, String>;

/// What is known about a pending task and about the sessions, as last seen.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The task.
    pub task: &'a Task,
    /// The tasks that it follows.
    pub parents: &'a [ParentRow],
    /// The sessions.
    pub rows: &'a [SessionRow],
    /// The pauses that hold sessions back.
    pub pauses: &'a [PauseRow],
    /// The live policy, or why it cannot be asked, in one line.
    pub policy: Result<&'a Policy, &'a str>,
    /// The policy to ask about changes if the live one cannot be asked.
    pub stand_in: Option<&'a Policy>,
    /// The sessions in which earlier tries of the task failed.
    pub failed_in: &'a BTreeSet<Identity>,
    /// The directory that the task names, if it was checked and has answered.
    pub place: Option<&'a DirectorySight>,
    /// What a session exports of the variables with these names, as far as is known.
    pub exports: Exports<'a>,
    /// The machine's name.
    pub host: &'a str,
    /// The sessions that are given nothing, because the program in them is unknown.
    pub foreign: &'a [Foreign],
    /// The current time.
    pub now: Timestamp,
}

/// Explains why a task waits, and what would let it run.
pub fn explain(scene: &Scene<'_>) -> Explanation {
    let &Scene {
        task,
        parents,
        rows,
        pauses,
        policy,
        stand_in,
        failed_in,
        place,
        exports,
        host,
        foreign,
        now,
    } = scene;
    let rows: Vec<&SessionRow> = rows
        .iter()
        .filter(|row| row.activity != Activity::Gone)
        .collect();
    let mut candidate = candidate(task, rows.iter().map(|row| row.place()), rows.len(), now);
    candidate.working_dir = named(candidate.working_dir.as_deref(), place);
    candidate.avoid = avoid(rows.iter().copied(), failed_in);
    let demand = task.demand();
    let excluded: Vec<Option<String>> = rows
        .iter()
        .map(|row| demand.excludes(&row.place()))
        .collect();
    // Not only a target with others after it: all sessions that may run the task.
    candidate.eligible = excluded.iter().any(Option::is_some).then(|| {
        (0..rows.len())
            .filter(|&index| excluded[index].is_none())
            .collect()
    });
    let variables: BTreeSet<String> = task.metadata.env_vars.keys().cloned().collect();
    let wants_busy = policy.is_ok_and(Policy::wants_busy);
    // Asks as if every session were ready, to see which one would be worth waiting for.
    let question = Question {
        now: u64::try_from(now.as_second()).unwrap_or_default(),
        explain: u32::try_from(rows.len()).unwrap_or(u32::MAX),
        facts: Vec::new(),
        tasks: vec![candidate],
        sessions: rows
            .iter()
            .map(|row| {
                let mut resource = resource(row, &exports(row, &variables), host, now);
                // A policy that looks at busy sessions would then see a different world.
                resource.ready = !wants_busy || obstacle(row).is_none();
                resource
            })
            .collect(),
    };
    let decision = match policy {
        Ok(policy) => policy
            .decide(&question)
            .map(|mut decisions| decisions.pop())
            .map_err(|failure| format!("the policy {failure}")),
        Err(why) => Err(format!("the policy cannot be asked: {why}")),
    };
    let (rankings, policy_says) = match decision {
        Ok(Some(Decision::Assign { take, others })) => {
            (std::iter::once(take).chain(others).collect(), None)
        }
        Ok(Some(Decision::Wait { reason, others })) => (others, Some(reason)),
        Ok(None) => (Vec::new(), None),
        Err(why) => (Vec::new(), Some(why)),
    };
    let mut sessions: Vec<Standing> = rows
        .iter()
        .zip(excluded)
        .enumerate()
        .map(|(index, (row, excluded))| standing(row, index, excluded, &rankings))
        .collect();
    sessions.sort_by_key(|standing| {
        (
            standing.excluded,
            std::cmp::Reverse(standing.points),
            standing.obstacle.is_some(),
        )
    });
    // A target that is gone does not come back, whatever else the task waits for.
    let is_lost = lost_target(task, rows.iter().map(|row| row.who())).is_some();
    let waits = waits_for(task, parents, now).filter(|_| !is_lost);
    let waits = waits.map(|reason| (reason, Change::new(until(task, parents))));
    let waits = waits.or_else(|| paused_agent(task, pauses));
    let (reason, changes) = match waits {
        Some((reason, change)) => (reason, vec![change]),
        None => {
            let stage = |policy| WaitingTask {
                task,
                rows: &rows,
                pauses,
                policy,
                failed_in,
                place,
                exports,
                host,
                foreign,
                now,
            };
            let changes = match (policy, stand_in) {
                (Ok(policy), _) => changes(&stage(policy)),
                // Another policy would give other points.
                (Err(_), Some(other)) => changes(&stage(other))
                    .into_iter()
                    .map(|change| Change {
                        points: None,
                        ..change
                    })
                    .collect(),
                (Err(_), None) => Vec::new(),
            };
            (
                reason(task, &rows, &sessions, foreign, policy_says),
                changes,
            )
        }
    };
    Explanation {
        reason: match changes.first() {
            Some(first) => format!("{reason}; {}", first.change),
            None => reason,
        },
        changes,
        sessions,
    }
}

/// Returns why a headless prompt waits whose agent is paused, and what ends that.
fn paused_agent(task: &Task, pauses: &[PauseRow]) -> Option<(String, Change)> {
    let pause = PauseRow::over_asked(pauses, task)?;
    let provider = &task.metadata.headless.as_ref()?.provider;
    let how = command(&["assigner", "resume", "--provider", provider]);
    let how = how.map_or_else(String::new, |how| format!(": {how}"));
    Some((
        pause.obstacle().to_string(),
        Change::new(format!("resume provider {provider}{how}")),
    ))
}

/// Returns what must happen for a task that follows others, or whose time has not come.
fn until(task: &Task, parents: &[ParentRow]) -> String {
    let of = |uncertain: bool| -> Vec<String> {
        parents
            .iter()
            .filter(|parent| !parent.status.has_ended())
            .filter(|parent| (parent.status == Status::Uncertain) == uncertain)
            .map(|parent| parent.id.to_string())
            .collect()
    };
    let (uncertain, open) = (of(true), of(false));
    // An uncertain task does not end by itself.
    if let Some(id) = uncertain.first() {
        return format!("say what became of task {id} with `assigner resolve`");
    }
    let asking = |parent: &&ParentRow| parent.status == Status::WaitingInput;
    if let Some(parent) = parents.iter().find(asking) {
        return format!(
            "answer the agent of task {} with `assigner reply`",
            parent.id
        );
    }
    match open.as_slice() {
        [] => task
            .not_before
            .map_or_else(String::new, |due| format!("wait until {due:.0}")),
        [id] => format!("wait until task {id} has ended"),
        [one, two] => format!("wait until tasks {one} and {two} have ended"),
        [one, two, more @ ..] => {
            let more = more.len();
            format!("wait until tasks {one}, {two} and {more} more have ended")
        }
    }
}

fn standing(
    row: &SessionRow,
    index: usize,
    excluded: Option<String>,
    rankings: &[Ranking],
) -> Standing {
    let ranking = rankings.iter().find(|ranking| ranking.session == index);
    let is_excluded = excluded.is_some();
    let obstacle = excluded.or_else(|| obstacle(row));
    Standing {
        session: row.name.clone(),
        provider: row.provider.clone(),
        status: row.activity,
        obstacle,
        excluded: is_excluded,
        points: ranking.map(|ranking| ranking.points),
        terms: ranking
            .map(|ranking| ranking.terms.clone())
            .unwrap_or_default(),
    }
}

/// Returns the resolved path of a directory that a task names, if it was looked at.
fn named(directory: Option<&str>, place: Option<&DirectorySight>) -> Option<String> {
    let resolved = place.and_then(|place| place.path.as_deref());
    directory.map(|directory| resolved.unwrap_or(directory).to_owned())
}

/// Returns why a task waits regardless of the sessions: for other tasks, or for its time.
pub fn waits_for(task: &Task, parents: &[ParentRow], now: Timestamp) -> Option<String> {
    let open: Vec<String> = parents
        .iter()
        .filter(|parent| !parent.status.has_ended())
        .map(|parent| format!("task {}, which is {}", parent.id, parent.status))
        .collect();
    if !open.is_empty() {
        let more = open.len().saturating_sub(3);
        let shown = open.iter().take(3).cloned().collect::<Vec<_>>().join("; ");
        let more = match more {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        return Some(format!("it waits for {shown}{more}"));
    }
    let due = task.not_before.filter(|due| *due > now)?;
    Some(match &task.error {
        Some(error) => format!(
            "it is tried again in {} s, because: {error}",
            seconds(now, due).max(1)
        ),
        None => format!("it is not to start before {due:.0}"),
    })
}

/// Returns why a task cannot run whose target session is gone.
pub fn lost_target<'a>(
    task: &Task,
    sessions: impl Iterator<Item = Who<'a>> + Clone,
) -> Option<String> {
    let target = task.target_session.as_ref()?;
    let waits = task.status == Status::Pending && !task.metadata.target_fallback;
    let gone = waits && whereabouts(sessions, target) == Whereabouts::Gone;
    gone.then(|| {
        format!(
            "its target session {} is gone: `assigner reassign {} --to ...`",
            target.in_full(),
            task.id
        )
    })
}

/// Tells why tasks wait, from the same rows and without asking a policy: for other tasks, for their time, or
/// because no session that may run them is idle.
pub struct WaitReasons<'a> {
    rows: Vec<&'a SessionRow>,
    pauses: &'a [PauseRow],
    now: Timestamp,
    /// Tasks that demand the same wait for the same sessions; `None`: one of these is free.
    known: HashMap<Demand, Option<String>>,
}

impl<'a> WaitReasons<'a> {
    /// Looks at these sessions and pauses.
    pub fn new(rows: &'a [SessionRow], pauses: &'a [PauseRow], now: Timestamp) -> Self {
        let is_there = |row: &&SessionRow| row.activity != Activity::Gone;
        Self {
            rows: rows.iter().filter(is_there).collect(),
            pauses,
            now,
            known: HashMap::new(),
        }
    }

    /// Returns why a pending task waits that follows these, in one line. `None`: a session is free, and it was
    /// not decided about yet.
    pub fn of(&mut self, task: &Task, parents: &[ParentRow]) -> Option<String> {
        let who = self.rows.iter().map(|row| row.who());
        let first = lost_target(task, who)
            .or_else(|| waits_for(task, parents, self.now))
            .or_else(|| Some(paused_agent(task, self.pauses)?.0));
        if first.is_some() {
            return first;
        }
        let rows = &self.rows;
        // What runs there, if anything, only a look at tmux would tell.
        if let Some(target) = task
            .target_session
            .as_ref()
            .filter(|_| !task.metadata.target_fallback)
            && !rows.iter().any(|row| row.who().answers(target))
        {
            let id = task.id;
            return Some(format!(
                "it is for session {target}: `assigner explain {id}` tells what is there"
            ));
        }
        let known =
            self.known
                .entry(task.demand())
                .or_insert_with_key(|demand| {
                    let standings = rows.iter().enumerate().map(|(index, row)| {
                        standing(row, index, demand.excludes(&row.place()), &[])
                    });
                    let standings: Vec<Standing> = standings.collect();
                    let is_free = |standing: &Standing| standing.obstacle.is_none();
                    let is_one_free = standings.iter().any(is_free);
                    (!is_one_free).then(|| reason(task, rows, &standings, &[], None))
                });
        // What was written down says more: what the policy said, or the limit that an agent has reached.
        task.wait_reason.clone().or_else(|| known.clone())
    }
}

fn reason(
    task: &Task,
    rows: &[&SessionRow],
    sessions: &[Standing],
    foreign: &[Foreign],
    policy_says: Option<String>,
) -> String {
    let possible: Vec<&Standing> = sessions
        .iter()
        .filter(|session| !session.excluded)
        .collect();
    let who = rows.iter().map(|row| row.who());
    if let Some(lost) = lost_target(task, who.clone()) {
        return lost;
    }
    if sessions.is_empty() {
        return "there are no sessions".to_owned();
    }
    if possible.is_empty() {
        let places: Vec<Place<'_>> = rows.iter().map(|row| row.place()).collect();
        if task.target_session.is_none()
            && let Some(unmet) = task.demand().unmet(&places)
        {
            return unmet;
        }
        return match &task.target_session {
            Some(target) => {
                let mut there = rows.iter().filter(|row| row.who().answers(target));
                match (there.next(), whereabouts(who, target)) {
                    (Some(row), Whereabouts::Here(name)) => {
                        let why = sessions.iter().find(|session| session.session == row.name);
                        let why = why.and_then(|session| session.obstacle.as_deref());
                        format!(
                            "it is for session {name}, which cannot run it: {}",
                            why.unwrap_or_default()
                        )
                    }
                    _ => match foreign.iter().find(|other| other.name == target.name) {
                        Some(Foreign { runs, .. }) => format!(
                            "it is for session {target}, which runs `{runs}`: neither a shell nor an agent that is known here"
                        ),
                        None => {
                            format!(
                                "it is for session {target}, but there is no session with that name"
                            )
                        }
                    },
                }
            }
            None => format!("no session may run it: {}", obstacles(sessions.iter())),
        };
    }
    if possible.iter().all(|session| session.obstacle.is_some()) {
        return format!(
            "no session that may run it is idle: {}",
            obstacles(possible.iter().copied())
        );
    }
    policy_says
        .or_else(|| task.wait_reason.clone())
        .unwrap_or_else(|| "a session is free: the next round takes it".to_owned())
}

/// Returns the obstacles of the first few sessions.
fn obstacles<'a>(sessions: impl Iterator<Item = &'a Standing>) -> String {
    let shown: Vec<String> = sessions
        .take(3)
        .map(|session| {
            let obstacle = session.obstacle.as_deref().unwrap_or_default();
            format!("{}: {obstacle}", session.session)
        })
        .collect();
    shown.join("; ")
}
