//! What another policy makes of decided rounds: replay, and the report on it.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;

use crate::model::matching::{Decision, PolicyId, Question, Ranking};

use super::archive::{self, Round};
use super::{LoadError, Policy};

/// What became of a task, or would have become of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fate {
    /// Where it went; `None` if it waited.
    pub session: Option<String>,
    /// The points, as counted by the policy that decided.
    pub points: Option<i32>,
    /// Why it waited.
    pub reason: Option<String>,
}

impl Fate {
    fn of(question: &Question, decision: &Decision) -> Self {
        match decision {
            Decision::Assign { take, .. } => Self {
                session: question
                    .sessions
                    .get(take.session)
                    .map(|session| session.name.clone()),
                points: Some(take.points),
                reason: None,
            },
            Decision::Wait { reason, .. } => Self {
                session: None,
                points: None,
                reason: Some(reason.clone()),
            },
        }
    }
}

/// A task that would have gone elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The round, counted from 1.
    pub round: u64,
    /// When the round took place.
    pub at: Timestamp,
    /// The task.
    pub task: i64,
    /// Its first line.
    pub summary: String,
    /// What became of it.
    pub was: Fate,
    /// What would have become of it.
    pub would_be: Fate,
    /// How many more points this session has than the one that was taken, as the other policy
    /// counts; `None` if it did not rank both.
    pub gain: Option<i64>,
}

/// Which policy decided the rounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recorded {
    /// The policy.
    #[serde(flatten)]
    pub policy: PolicyId,
    /// The number of rounds.
    pub rounds: u64,
}

/// Median times of a round, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RoundTimes {
    /// The recorded time.
    pub recorded_us: u64,
    /// The time of the other policy.
    pub replayed_us: u64,
}

/// What would have changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ComparisonReport {
    /// The number of rounds compared.
    pub rounds: u64,
    /// The number of decisions in them: one for each task of each round.
    pub tasks: u64,
    /// The number of decisions that would have been the same.
    pub same: u64,
    /// The number of tasks that would have gone to another session.
    pub moved: u64,
    /// The number of tasks that would have waited.
    pub now_waiting: u64,
    /// The number of tasks that waited but would have been assigned.
    pub now_assigned: u64,
    /// The number of rounds in which the other policy failed; their tasks count nowhere else.
    pub failed_rounds: u64,
    /// The last failure.
    pub last_failure: Option<String>,
    /// What the moved tasks would have gained, as the other policy counts.
    pub points_gained: i64,
    /// The other policy.
    pub policy: Option<PolicyId>,
    /// The policies that decided the rounds.
    pub recorded: Vec<Recorded>,
    /// How long the rounds took.
    pub time: RoundTimes,
    /// The first differences.
    pub differences: Vec<Difference>,
    /// Parts of the record that could not be read.
    pub damages: Vec<String>,
}

/// Collects a report.
pub(super) struct Comparison {
    report: ComparisonReport,
    most: usize,
    recorded_times: Vec<u64>,
    replayed_times: Vec<u64>,
}

impl Comparison {
    /// Starts a report that lists at most `most` differences.
    pub(super) fn new(most: usize) -> Self {
        Self {
            report: ComparisonReport::default(),
            most,
            recorded_times: Vec::new(),
            replayed_times: Vec::new(),
        }
    }

    /// Returns the report.
    pub(super) fn finish(mut self, damages: Vec<String>) -> ComparisonReport {
        self.report.time = RoundTimes {
            recorded_us: median(&mut self.recorded_times),
            replayed_us: median(&mut self.replayed_times),
        };
        self.report.damages = damages;
        self.report
    }

    fn begin(&mut self, round: &Round, other: &PolicyId) {
        self.report.rounds += 1;
        if self.report.policy.as_ref() != Some(other) {
            self.report.policy = Some(other.clone());
        }
        let recorded = &mut self.report.recorded;
        match recorded
            .iter_mut()
            .find(|recorded| recorded.policy == round.policy)
        {
            Some(recorded) => recorded.rounds += 1,
            None => recorded.push(Recorded {
                policy: round.policy.clone(),
                rounds: 1,
            }),
        }
    }

    /// Adds a round in which the other policy failed.
    pub(super) fn add_failure(&mut self, round: &Round, other: &PolicyId, failure: String) {
        self.begin(round, other);
        self.report.failed_rounds += 1;
        self.report.last_failure = Some(failure);
    }

    /// Adds a round that the other policy decided, differently or not.
    pub(super) fn add(
        &mut self,
        round: &Round,
        other: &PolicyId,
        decisions: &[Decision],
        took_us: u64,
    ) {
        self.begin(round, other);
        self.recorded_times.push(round.took_us);
        self.replayed_times.push(took_us);
        let Round { question, .. } = round;
        let pairs = round.decisions.iter().zip(decisions);
        for (task, (was, would_be)) in question.tasks.iter().zip(pairs) {
            self.report.tasks += 1;
            let gain = match (was, would_be) {
                (Decision::Assign { take: was, .. }, Decision::Assign { take, others }) => {
                    if was.session == take.session {
                        self.report.same += 1;
                        continue;
                    }
                    self.report.moved += 1;
                    gain(was, take, others)
                }
                (Decision::Assign { .. }, Decision::Wait { .. }) => {
                    self.report.now_waiting += 1;
                    None
                }
                (Decision::Wait { .. }, Decision::Assign { .. }) => {
                    self.report.now_assigned += 1;
                    None
                }
                // The reasons are for people; the task waits in both.
                (Decision::Wait { .. }, Decision::Wait { .. }) => {
                    self.report.same += 1;
                    continue;
                }
            };
            self.report.points_gained += gain.unwrap_or_default();
            if self.report.differences.len() < self.most {
                self.report.differences.push(Difference {
                    round: self.report.rounds,
                    at: moment(question.now),
                    task: task.id,
                    summary: task.summary.clone(),
                    was: Fate::of(question, was),
                    would_be: Fate::of(question, would_be),
                    gain,
                });
            }
        }
    }
}

fn moment(seconds: u64) -> Timestamp {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

fn gain(was: &Ranking, take: &Ranking, others: &[Ranking]) -> Option<i64> {
    let before = others.iter().find(|other| other.session == was.session)?;
    Some(i64::from(take.points) - i64::from(before.points))
}

/// Returns how many tasks two sets of decisions treat differently.
pub(super) fn different(ours: &[Decision], theirs: &[Decision]) -> u64 {
    let taken = |decision: &Decision| match decision {
        Decision::Assign { take, .. } => Some(take.session),
        Decision::Wait { .. } => None,
    };
    let pairs = ours.iter().zip(theirs);
    pairs
        .filter(|(ours, theirs)| taken(ours) != taken(theirs))
        .count() as u64
}

fn median(times: &mut [u64]) -> u64 {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Why rounds could not be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The directory of rounds cannot be read.
    #[error(transparent)]
    Read(#[from] std::io::Error),
    /// The policy does not accept the settings with which a round was decided.
    #[error(transparent)]
    Policy(#[from] LoadError),
}

/// Asks a policy about all rounds that are recorded in a directory.
///
/// With `as_recorded`, rounds that the same component decided are decided with the settings that it
/// had then. The report lists at most `most` differences. `tell` is called with the number of
/// rounds done so far.
///
/// # Errors
///
/// The directory cannot be read, or the policy refuses settings that it once accepted.
pub fn replay(
    policy: &Policy,
    directory: &Path,
    as_recorded: bool,
    most: usize,
    mut tell: impl FnMut(u64),
) -> Result<ComparisonReport, ReplayError> {
    let mut comparison = Comparison::new(most);
    let mut with_settings: HashMap<String, Policy> = HashMap::new();
    let damages = archive::read(directory, |round| {
        let own = as_recorded && round.policy.sha256 == policy.id().sha256;
        let policy = if own && round.settings != *policy.settings() {
            let key = round.settings.to_string();
            if !with_settings.contains_key(&key) {
                with_settings.insert(key.clone(), policy.with_settings(&round.settings)?);
            }
            with_settings.get(&key).unwrap_or(policy)
        } else {
            policy
        };
        replay_round(policy, &round, &mut comparison);
        tell(comparison.report.rounds);
        Ok::<_, ReplayError>(())
    })?;
    let mut report = comparison.finish(damages);
    report.policy = Some(policy.id().clone());
    Ok(report)
}

fn replay_round(policy: &Policy, round: &Round, comparison: &mut Comparison) {
    let start = Instant::now();
    let decisions = match policy.decide_leisurely(&round.question) {
        Ok(decisions) => decisions,
        Err(failure) => {
            comparison.add_failure(round, policy.id(), failure.to_string());
            return;
        }
    };
    let took = microseconds(start.elapsed());
    let decisions = if different(&round.decisions, &decisions) == 0 {
        decisions
    } else {
        with_all_rankings(policy, &round.question, decisions)
    };
    comparison.add(round, policy.id(), &decisions, took);
}

/// Asks again for every ranking, so that gains can be computed; if the policy decides differently
/// then, its first answer counts.
fn with_all_rankings(
    policy: &Policy,
    question: &Question,
    decisions: Vec<Decision>,
) -> Vec<Decision> {
    let question = Question {
        explain: u32::try_from(question.sessions.len()).unwrap_or(u32::MAX),
        ..question.clone()
    };
    match policy.decide_leisurely(&question) {
        Ok(full) if different(&full, &decisions) == 0 => full,
        _ => decisions,
    }
}

pub(super) fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Returns the report on what the shadow would have done.
///
/// # Errors
///
/// The directory cannot be read.
pub fn shadowed(directory: &Path, most: usize) -> Result<ComparisonReport, std::io::Error> {
    let mut comparison = Comparison::new(most);
    let damages = archive::read(directory, |round| {
        if let Some(shadow) = &round.shadow {
            match &shadow.failure {
                Some(failure) => {
                    comparison.add_failure(&round, &shadow.policy, failure.clone());
                }
                None => comparison.add(&round, &shadow.policy, &shadow.decisions, shadow.took_us),
            }
        }
        Ok::<_, std::io::Error>(())
    })?;
    Ok(comparison.finish(damages))
}
