//! Explains where a task would go and why it waits: every session, its terms, or what rules it
//! out. It changes nothing, and asks the policy as a round would.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;

use super::matching::{candidate, resource, seconds};
use crate::model::matching::{Decision, Question, Ranking, Term};
use crate::model::session::Activity;
use crate::model::task::{Kind, Task};
use crate::policy::Policy;
use crate::store::SessionRow;

/// How one session stands to a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The session.
    pub session: String,
    /// What it does.
    pub status: Activity,
    /// What keeps it from taking the task now; `None`: nothing.
    pub obstacle: Option<String>,
    /// Whether it may never run the task, whatever it does.
    pub excluded: bool,
    /// Its points, where the policy gave any.
    pub points: Option<i32>,
    /// What they are made of.
    pub terms: Vec<Term>,
}

/// The explanation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// One line: why it waits, and what would let it run.
    pub reason: String,
    /// Every session, the one that suits best first.
    pub sessions: Vec<Standing>,
}

/// Explains a pending task against the sessions as last seen.
pub fn explain(task: &Task, rows: &[SessionRow], policy: &Policy, now: Timestamp) -> Explanation {
    let rows: Vec<&SessionRow> = rows
        .iter()
        .filter(|row| row.activity != Activity::Gone)
        .collect();
    let names = rows
        .iter()
        .map(|row| (row.name.as_str(), row.provider.as_str()));
    let candidate = candidate(task, names, now);
    let eligible = candidate.eligible.clone();
    let named: BTreeSet<String> = task.metadata.env_vars.keys().cloned().collect();
    // As if every session were ready: that shows which one would be worth waiting for.
    let question = Question {
        now: u64::try_from(now.as_second()).unwrap_or_default(),
        explain: u32::try_from(rows.len()).unwrap_or(u32::MAX),
        facts: Vec::new(),
        tasks: vec![candidate],
        sessions: rows
            .iter()
            .map(|row| resource(row, "", &named, now))
            .collect(),
    };
    let decision = policy
        .decide(&question)
        .map(|mut decisions| decisions.pop());
    let (rankings, policy_says) = match decision {
        Ok(Some(Decision::Assign { take, others })) => {
            (std::iter::once(take).chain(others).collect(), None)
        }
        Ok(Some(Decision::Wait { reason, others })) => (others, Some(reason)),
        Ok(None) => (Vec::new(), None),
        Err(failure) => (Vec::new(), Some(format!("the policy failed: {failure}"))),
    };
    let mut sessions: Vec<Standing> = rows
        .iter()
        .enumerate()
        .map(|(index, row)| {
            let excluded = eligible.as_ref().is_some_and(|list| !list.contains(&index));
            standing(task, row, index, excluded, &rankings)
        })
        .collect();
    sessions.sort_by_key(|standing| {
        (
            standing.excluded,
            std::cmp::Reverse(standing.points),
            standing.obstacle.is_some(),
        )
    });
    Explanation {
        reason: reason(task, &sessions, policy_says, now),
        sessions,
    }
}

fn standing(
    task: &Task,
    row: &SessionRow,
    index: usize,
    excluded: bool,
    rankings: &[Ranking],
) -> Standing {
    let ranking = rankings.iter().find(|ranking| ranking.session == index);
    let obstacle = if excluded {
        let allowed = task.allowed_providers();
        let demand = crate::model::eligibility::Demand {
            kind: task.kind,
            target_session: task.target_session.as_deref(),
            providers: &allowed,
        };
        Some(
            demand
                .excludes(&row.name, &row.provider)
                .unwrap_or_else(|| "ruled out by the task".to_owned()),
        )
    } else if row.activity == Activity::Idle {
        None
    } else {
        Some(format!("{}: {}", row.activity, row.reason))
    };
    Standing {
        session: row.name.clone(),
        status: row.activity,
        obstacle,
        excluded,
        points: ranking.map(|ranking| ranking.points),
        terms: ranking
            .map(|ranking| ranking.terms.clone())
            .unwrap_or_default(),
    }
}

fn reason(
    task: &Task,
    sessions: &[Standing],
    policy_says: Option<String>,
    now: Timestamp,
) -> String {
    if let Some(due) = task.not_before.filter(|due| *due > now) {
        let after = task.error.as_deref().unwrap_or("its last attempt failed");
        return format!(
            "it is tried again in {} s, because: {after}",
            seconds(now, due).max(1)
        );
    }
    let possible: Vec<&Standing> = sessions
        .iter()
        .filter(|session| !session.excluded)
        .collect();
    if sessions.is_empty() {
        return "there are no sessions: start one with `tmux new-session`".to_owned();
    }
    if possible.is_empty() {
        return match (&task.target_session, task.kind) {
            (Some(target), _) if sessions.iter().all(|session| session.session != *target) => {
                format!("it is for session {target}, and there is none of that name")
            }
            (Some(target), _) => format!("it is for session {target}, which cannot run it"),
            (None, Kind::Prompt) => format!(
                "a prompt goes to agents, never into a shell, and none of the {} sessions is an agent; a command for a shell is sent with --shell",
                sessions.len()
            ),
            (None, Kind::Command) => {
                "a command goes to shells, and no session is a shell that it may use".to_owned()
            }
        };
    }
    if possible.iter().all(|session| session.obstacle.is_some()) {
        let best: Vec<String> = possible
            .iter()
            .take(3)
            .map(|session| {
                let obstacle = session.obstacle.as_deref().unwrap_or_default();
                format!("{} is {obstacle}", session.session)
            })
            .collect();
        return format!("no session that may run it is idle: {}", best.join("; "));
    }
    policy_says
        .or_else(|| task.wait_reason.clone())
        .unwrap_or_else(|| "a session is free: the next round takes it".to_owned())
}
