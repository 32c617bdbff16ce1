//! One matching round as the host sees it: what a policy is asked and what it answers.
//!
//! These types mirror `wit/policy.wit` without wasmtime, so that the engine, the store and the
//! command line can handle decisions while the component model stays inside `policy`. Positions
//! (`usize`) are zero-based indices into the list that they refer to.

use serde::{Deserialize, Serialize};

use super::task::Kind;

/// A name with a value: an environment variable, a label, or a fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// Its value; may be any text.
    pub value: String,
}

/// Everything that a policy is to decide on, and what holds for the whole round.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Seconds since 1970-01-01 UTC.
    pub now: u64,
    /// The most rankings that are wanted per task.
    pub explain: u32,
    /// Facts that hold for the whole round.
    pub facts: Vec<Attribute>,
    /// The tasks to decide on: highest priority first, then oldest.
    pub tasks: Vec<Candidate>,
    /// The existing sessions.
    pub sessions: Vec<Resource>,
}

impl Question {
    /// Returns the same question without the sessions that are not ready, and the position here of
    /// each session that remains. Returns `None` if all are ready.
    pub fn only_ready(&self) -> Option<(Self, Vec<usize>)> {
        let ready = |position: &usize| self.sessions[*position].ready;
        let kept: Vec<usize> = (0..self.sessions.len()).filter(ready).collect();
        if kept.len() == self.sessions.len() {
            return None;
        }
        let moved = |position: &usize| kept.binary_search(position).ok();
        let narrow = |task: &Candidate| {
            let all = |positions: &Vec<usize>| positions.iter().filter_map(moved).collect();
            // If all ready sessions are left, that is written as `None`.
            let eligible = task.eligible.as_ref().map(all);
            let whole = |some: &Vec<usize>| {
                some.len() == kept.len() && some.is_sorted_by(|one, other| one < other)
            };
            let eligible = eligible.filter(|some| !whole(some));
            Candidate {
                eligible,
                avoid: all(&task.avoid),
                follows: task.follows.as_ref().and_then(moved),
                ..task.clone()
            }
        };
        let sessions = kept.iter().map(|&position| self.sessions[position].clone());
        let question = Self {
            now: self.now,
            explain: self.explain,
            facts: self.facts.clone(),
            tasks: self.tasks.iter().map(narrow).collect(),
            sessions: sessions.collect(),
        };
        Some((question, kept))
    }
}

/// A task as a policy sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The task's number.
    pub id: i64,
    /// What may run it.
    pub kind: Kind,
    /// The first line, cut at 200 characters.
    pub summary: String,
    /// Higher goes first.
    pub priority: i32,
    /// Seconds since it was queued.
    pub waiting: u32,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// False if the sender accepts any session.
    pub match_context: bool,
    /// Absolute and normalised.
    pub working_dir: Option<String>,
    /// The branch it asks for.
    pub git_branch: Option<String>,
    /// The variables it asks for; never a secret one.
    pub env: Vec<Attribute>,
    /// In the sender's order of preference.
    pub providers: Vec<String>,
    /// The sessions that its hard constraints allow; `None`: every ready one.
    pub eligible: Option<Vec<usize>>,
    /// The session that ran the task this one follows.
    pub follows: Option<usize>,
    /// Sessions in which earlier attempts failed.
    pub avoid: Vec<usize>,
    /// The task's labels.
    pub labels: Vec<Attribute>,
}

/// A session as a policy sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Its label for people.
    pub name: String,
    /// The machine it is on.
    pub host: String,
    /// What runs in it.
    pub provider: String,
    /// Absolute and normalised.
    pub current_dir: Option<String>,
    /// The branch of the repository in that directory.
    pub git_branch: Option<String>,
    /// Only variables that a task of this round names.
    pub env: Vec<Attribute>,
    /// Whether it can be assigned.
    pub ready: bool,
    /// Seconds since it became ready, or ceased to be.
    pub since: u32,
    /// Tasks that completed in it.
    pub completed: u32,
    /// Tasks that failed in it.
    pub failed: u32,
    /// The session's labels.
    pub labels: Vec<Attribute>,
}

/// One named part of a score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    /// What earned (or cost) the points.
    pub name: String,
    /// How many; may be negative.
    pub points: i32,
}

/// How well one session suits one task; `points` is the sum of the terms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranking {
    /// Position of the session.
    pub session: usize,
    /// The sum of the terms.
    pub points: i32,
    /// What the points consist of.
    pub terms: Vec<Term>,
}

/// What a policy decided for one task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Run it in `take`.
    Assign {
        /// The session to take.
        take: Ranking,
        /// Runners-up, the best first.
        others: Vec<Ranking>,
    },
    /// Leave it pending.
    Wait {
        /// Why, for people.
        reason: String,
        /// How far off the best sessions are, the best first.
        others: Vec<Ranking>,
    },
}

/// Which policy decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyId {
    /// As it describes itself.
    pub name: String,
    /// As it describes itself.
    pub version: String,
    /// Of the component's bytes as loaded, in lowercase hexadecimal.
    pub sha256: String,
}
