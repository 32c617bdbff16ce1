//! How tasks and sessions are presented to a policy, and why a session is out of the question.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::Timestamp;

use crate::model::eligibility::Place;
use crate::model::ids::Identity;
use crate::model::matching::{Attribute, Candidate, Resource};
use crate::model::session::Activity;
use crate::model::task::{Attempt, NamedRanking, Outcome, RuledOut, Task};
use crate::store::{Claim, SessionRow};

/// How many sessions that were ruled out an attempt remembers.
const MOST_RULED_OUT: usize = 50;

/// Returns the sessions that a task could not be given, and why: those given to earlier tasks,
/// those that its constraints exclude, and those that were not ready. Ranked sessions are not among
/// them.
pub(super) fn ruled_out<'a>(
    task: &Task,
    rankings: &[NamedRanking],
    given: impl Iterator<Item = &'a Claim>,
    ready: &[&SessionRow],
    rest: &[&SessionRow],
) -> Vec<RuledOut> {
    let demand = task.demand();
    let ruled_out = |session: &str, reason: String| RuledOut {
        session: session.to_owned(),
        reason,
    };
    let given = given.map(|claim| {
        let reason = format!("it was given to task {}, which came before", claim.task);
        ruled_out(&claim.session, reason)
    });
    let excluded = |row: &&SessionRow| {
        let reason = demand.excludes(&row.place())?;
        Some(ruled_out(&row.name, reason))
    };
    let unready = |row: &&SessionRow| {
        excluded(row).unwrap_or_else(|| {
            let reason = obstacle(row);
            let reason = reason.unwrap_or_else(|| "it was asked for its variables".to_owned());
            ruled_out(&row.name, reason)
        })
    };
    let mut named: HashSet<String> = rankings
        .iter()
        .map(|ranking| ranking.session.clone())
        .collect();
    given
        .chain(ready.iter().filter_map(excluded))
        .chain(rest.iter().map(unready))
        .filter(|ruled_out| named.insert(ruled_out.session.clone()))
        .take(MOST_RULED_OUT)
        .collect()
}

/// Returns what keeps a session from taking any task now, or `None` if nothing does.
pub(crate) fn obstacle(row: &SessionRow) -> Option<String> {
    match row.activity {
        // Idle but held back: paused, asked, or left alone for a moment.
        Activity::Idle => row.reason.clone(),
        activity => Some(match &row.reason {
            Some(reason) => format!("{activity}: {reason}"),
            None => activity.to_string(),
        }),
    }
}

/// Whether this attempt is a reason to avoid its session when the task is tried again.
pub fn has_failed(attempt: &Attempt) -> bool {
    matches!(
        attempt.outcome,
        Some(Outcome::Failed | Outcome::TimedOut | Outcome::Reassigned)
    )
}

/// Returns the positions of the sessions in which a task has failed.
pub(crate) fn avoid<'a>(
    listed: impl Iterator<Item = &'a SessionRow>,
    failed_in: &BTreeSet<Identity>,
) -> Vec<usize> {
    let failed = listed
        .enumerate()
        .filter(|(_, row)| failed_in.contains(&row.identity));
    failed.map(|(position, _)| position).collect()
}

/// Presents a session as a policy sees it, as if it were ready. `env` holds those of the variables
/// named by tasks that it exports.
pub(crate) fn resource(
    row: &SessionRow,
    env: &BTreeMap<String, String>,
    host: &str,
    now: Timestamp,
) -> Resource {
    Resource {
        name: row.name.clone(),
        host: match row.identity.node.as_str() {
            "" => host.to_owned(),
            node => node.to_owned(),
        },
        provider: row.provider.clone(),
        current_dir: row.current_dir.clone(),
        git_branch: row.git_branch.clone(),
        env: attributes(env),
        ready: true,
        since: seconds(row.since, now),
        completed: row.completed,
        failed: row.failed,
        labels: attributes(&row.labels),
    }
}

/// Presents a task as a policy sees it, together with the round's sessions, of which the first
/// `ready` can be given a task.
pub(crate) fn candidate<'a>(
    task: &Task,
    places: impl Iterator<Item = Place<'a>>,
    ready: usize,
    now: Timestamp,
) -> Candidate {
    let metadata = &task.metadata;
    let demand = task.demand();
    let mut all = true;
    let mut eligible = Vec::new();
    let mut targets = Vec::new();
    let mut follows = None;
    for (position, place) in places.enumerate() {
        if task.follows.is_some() && task.follows.as_ref() == place.who.identity {
            follows = Some(position);
        }
        if demand.excludes(&place).is_some() {
            all = false;
            continue;
        }
        eligible.push(position);
        let target = task.target_session.as_ref();
        let is_target = target.is_some_and(|target| place.who.answers(target));
        // A busy target is there, but others may stand in for it.
        if is_target && (position < ready || !demand.target_fallback) {
            targets.push(position);
        }
    }
    // If others may stand in for the target, the target still comes first while it is there.
    if !targets.is_empty() {
        all &= eligible == targets;
        eligible = targets;
    }
    Candidate {
        id: task.id.0,
        kind: task.kind,
        summary: task.summary(),
        priority: task.priority,
        waiting: seconds(task.created_at, now),
        attempt: task.attempts + 1,
        match_context: metadata.prefer_context_match,
        working_dir: metadata.working_dir.clone(),
        git_branch: metadata.git_branch.clone(),
        env: attributes(&metadata.env_vars),
        providers: task.preferred_providers(),
        eligible: (!all).then_some(eligible),
        follows,
        avoid: Vec::new(),
        labels: attributes(&metadata.labels),
    }
}

pub(crate) fn attributes(values: &BTreeMap<String, String>) -> Vec<Attribute> {
    values
        .iter()
        .map(|(name, value)| Attribute {
            name: name.clone(),
            value: value.clone(),
        })
        .collect()
}

pub(crate) fn seconds(from: Timestamp, to: Timestamp) -> u32 {
    u32::try_from((to.as_second() - from.as_second()).max(0)).unwrap_or(u32::MAX)
}
