//! Who decides when the policy does not: the live one, the last that worked, the embedded default.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::model::matching::{Decision, PolicyId, Question};

use super::Policy;
use super::archive::{Archive, Round};
use super::compare::microseconds;
use super::shadow::{Shadow, Tally};

/// How long a policy rests after its first failure; each further one doubles it.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(300);

/// The policies that the engine asks. There is always a decision.
pub struct PolicyHost {
    live: Candidate,
    /// The one before the live one, where it worked.
    previous: Option<Candidate>,
    /// Never rests: there is nobody else.
    fallback: Candidate,
    failures: u64,
    last_failure: Option<String>,
    fallen_back_to: Option<PolicyId>,
    archive: Option<Archive>,
    shadow: Option<Shadow>,
    /// The last round that was recorded, where nothing came of it.
    kept: Option<Question>,
}

/// What a round's decisions are, and whose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// One for each task.
    pub decisions: Vec<Decision>,
    /// Who made them.
    pub by: PolicyId,
    /// With which settings.
    pub settings: Value,
    /// What went wrong in this round, in a line.
    pub failure: Option<String>,
}

/// How the policies are doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The live one.
    pub policy: PolicyId,
    /// Failures since the live one is that, whoever failed.
    pub failures: u64,
    /// The last failure of the live policy or of one that stood in for it, in a line.
    pub last_failure: Option<String>,
    /// Who decided the last round, where the live one did not.
    pub fallen_back_to: Option<PolicyId>,
}

impl PolicyHost {
    /// Returns a host of a policy, with the one that decides where nobody else does: the embedded
    /// one, with its default settings.
    pub fn new(live: Policy, fallback: Policy) -> Self {
        Self {
            live: Candidate::new(live),
            previous: None,
            fallback: Candidate::new(fallback),
            failures: 0,
            last_failure: None,
            fallen_back_to: None,
            archive: None,
            shadow: None,
            kept: None,
        }
    }

    /// Records every round from now on.
    pub fn record(&mut self, archive: Archive) {
        self.archive = Some(archive);
    }

    /// Lets another policy decide beside the live one from now on.
    pub fn beside(&mut self, shadow: Shadow) {
        self.shadow = Some(shadow);
    }

    /// Whether a round should list sessions that are not ready, too: some policy that may be asked
    /// wants to see them, or it is recorded for one that does.
    pub fn lists_busy(&self) -> bool {
        let candidates = [Some(&self.live), self.previous.as_ref()];
        let mut candidates = candidates.into_iter().flatten();
        candidates.any(|candidate| candidate.policy.wants_busy())
            || self.archive.is_some()
            || self.shadow.as_ref().is_some_and(Shadow::wants_busy)
    }

    /// Rounds that were recorded, and bytes that all of them take; none where nothing records.
    pub fn recorded(&self) -> Option<(u64, u64)> {
        self.archive.as_ref().map(Archive::extent)
    }

    /// How the policy beside the live one has done.
    pub fn shadow(&self) -> Option<Tally> {
        self.shadow.as_ref().map(Shadow::tally)
    }

    /// The live policy.
    pub fn live(&self) -> &Policy {
        &self.live.policy
    }

    /// Makes another policy the live one. The one before becomes the first to fall back to, where
    /// its last round went well.
    pub fn replace(&mut self, live: Policy) {
        let before = std::mem::replace(&mut self.live, Candidate::new(live));
        if before.works {
            self.previous = Some(before);
        }
        self.failures = 0;
        self.last_failure = None;
        self.fallen_back_to = None;
    }

    /// Returns the decisions of the first policy that gives any. Where none does, every task
    /// waits.
    ///
    /// Blocks for at most the time that the policies have together. A policy that failed rests
    /// for a while, longer each time, and is not asked meanwhile.
    pub fn decide(&mut self, question: &Question, now: Instant) -> Verdict {
        let start = Instant::now();
        let verdict = self.verdict(question, now);
        self.keep(question, &verdict, start.elapsed());
        verdict
    }

    fn keep(&mut self, question: &Question, verdict: &Verdict, took: Duration) {
        if self.archive.is_none() && self.shadow.is_none() {
            return;
        }
        // While tasks wait, they are asked about again and again: once is enough to know.
        let still = still(question, &verdict.decisions);
        if still.is_some() && still == self.kept {
            return;
        }
        self.kept = still;
        let round = Arc::new(Round {
            policy: verdict.by.clone(),
            settings: verdict.settings.clone(),
            took_us: microseconds(took),
            failure: verdict.failure.clone(),
            question: question.clone(),
            decisions: verdict.decisions.clone(),
            shadow: None,
        });
        if let Some(shadow) = &self.shadow {
            shadow.ask(&round);
        }
        if let Some(archive) = &mut self.archive
            && let Err(error) = archive.write(&round)
        {
            tracing::warn!("a round cannot be recorded: {error}");
        }
    }

    fn verdict(&mut self, question: &Question, now: Instant) -> Verdict {
        let mut failures = Vec::new();
        let order = [
            Some(&mut self.live),
            self.previous.as_mut(),
            Some(&mut self.fallback),
        ];
        let last = order.len() - 1;
        let mut verdict = None;
        for (place, candidate) in order.into_iter().enumerate() {
            let Some(candidate) = candidate else { continue };
            if candidate.rest.lasts(now) && place != last {
                continue;
            }
            match candidate.decide(question, now) {
                Ok(decisions) => {
                    let by = candidate.policy.id().clone();
                    self.fallen_back_to = (place != 0).then(|| by.clone());
                    verdict = Some((decisions, by, candidate.policy.settings().clone()));
                    break;
                }
                Err(failure) => failures.push(failure),
            }
        }

        self.failures += failures.len() as u64;
        let failure = (!failures.is_empty()).then(|| failures.join("; "));
        if let Some(failure) = &failure {
            tracing::warn!("{failure}");
            self.last_failure = Some(failure.clone());
        }
        let (decisions, by, settings) = verdict.unwrap_or_else(|| {
            let by = self.fallback.policy.id().clone();
            self.fallen_back_to = Some(by.clone());
            (wait_all(question, failure.as_deref()), by, Value::Null)
        });
        Verdict {
            decisions,
            by,
            settings,
            failure,
        }
    }

    /// Returns how the policies are doing.
    pub fn health(&self) -> Health {
        Health {
            policy: self.live.policy.id().clone(),
            failures: self.failures,
            last_failure: self.last_failure.clone(),
            fallen_back_to: self.fallen_back_to.clone(),
        }
    }
}

/// Returns a round in which every task waits, without what changes by itself as time passes.
fn still(question: &Question, decisions: &[Decision]) -> Option<Question> {
    let waits = |decision: &Decision| matches!(decision, Decision::Wait { .. });
    if !decisions.iter().all(waits) {
        return None;
    }
    let mut still = question.clone();
    still.now = 0;
    for task in &mut still.tasks {
        task.waiting = 0;
    }
    for session in &mut still.sessions {
        session.since = 0;
    }
    Some(still)
}

fn wait_all(question: &Question, failure: Option<&str>) -> Vec<Decision> {
    let failure = failure.unwrap_or("none is left");
    let wait = Decision::Wait {
        reason: format!("no policy could decide: {failure}"),
        others: Vec::new(),
    };
    vec![wait; question.tasks.len()]
}

/// How long a policy is left alone after failures: longer each time, until it works again.
#[derive(Debug, Default)]
pub(super) struct Rest {
    failures: u32,
    until: Option<Instant>,
}

impl Rest {
    pub(super) fn lasts(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    pub(super) fn begins(&mut self, now: Instant) {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let rest = FIRST_REST.saturating_mul(factor).min(LONGEST_REST);
        self.until = now.checked_add(rest);
        self.failures = self.failures.saturating_add(1);
    }

    pub(super) fn is_over(&mut self) {
        *self = Self::default();
    }
}

/// A policy and how it has done lately.
struct Candidate {
    policy: Policy,
    /// Whether its last round went well.
    works: bool,
    rest: Rest,
}

impl Candidate {
    fn new(policy: Policy) -> Self {
        Self {
            policy,
            works: false,
            rest: Rest::default(),
        }
    }

    fn decide(&mut self, question: &Question, now: Instant) -> Result<Vec<Decision>, String> {
        let result = self.policy.decide(question);
        self.works = result.is_ok();
        match result {
            Ok(decisions) => {
                self.rest.is_over();
                Ok(decisions)
            }
            Err(failure) => {
                self.rest.begins(now);
                Err(format!("the policy `{}` {failure}", self.policy.id().name))
            }
        }
    }
}
