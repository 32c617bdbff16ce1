//! Which policy decides if the live one fails: the last that worked, or else the embedded default.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::model::matching::{Decision, PolicyId, Question};

use super::Policy;
use super::archive::{Archive, Round};
use super::compare::microseconds;
use super::shadow::{Shadow, Tally};

/// How long a policy is skipped after its first failure; each further failure doubles it.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(300);

/// The policies that the engine asks. There is always a decision.
pub struct PolicyHost {
    live: PolicyCandidate,
    /// The previous live policy, if it worked.
    previous: Option<PolicyCandidate>,
    /// Never skipped, because it is the last one.
    fallback: PolicyCandidate,
    failures: u64,
    last_failure: Option<String>,
    fallen_back_to: Option<PolicyId>,
    archive: Option<Archive>,
    shadow: Option<Shadow>,
    standstill: Standstill,
}

/// A round's decisions, and which policy made them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// One for each task.
    pub decisions: Vec<Decision>,
    /// The policy that made them.
    pub by: PolicyId,
    /// Its settings.
    pub settings: Value,
    /// What went wrong in this round, in one line.
    pub failure: Option<String>,
}

/// How the policies are doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The live policy.
    pub policy: PolicyId,
    /// The number of failures since the live policy became live, whichever policy failed.
    pub failures: u64,
    /// The last failure of the live policy or of one that replaced it in a round, in one line.
    pub last_failure: Option<String>,
    /// The policy that decided the last round, if that was not the live one.
    pub fallen_back_to: Option<PolicyId>,
}

impl PolicyHost {
    /// Returns a host of a policy. `fallback` decides when no other policy does: the embedded one,
    /// with its default settings.
    pub fn new(live: Policy, fallback: Policy) -> Self {
        Self {
            live: PolicyCandidate::new(live),
            previous: None,
            fallback: PolicyCandidate::new(fallback),
            failures: 0,
            last_failure: None,
            fallen_back_to: None,
            archive: None,
            shadow: None,
            standstill: Standstill::default(),
        }
    }

    /// Records every round from now on, or none.
    pub fn record(&mut self, archive: Option<Archive>) {
        self.archive = archive;
    }

    /// Asks another policy beside the live one from now on.
    pub fn beside(&mut self, shadow: Shadow) {
        self.shadow = Some(shadow);
    }

    /// True if a round should also list sessions that are not ready: a policy that may be asked wants
    /// to see them, or the round is recorded for a later policy that may want to.
    pub fn lists_busy(&self) -> bool {
        let candidates = [Some(&self.live), self.previous.as_ref()];
        let mut candidates = candidates.into_iter().flatten();
        candidates.any(|candidate| candidate.policy.wants_busy())
            || self.archive.is_some()
            || self.shadow.as_ref().is_some_and(Shadow::wants_busy)
    }

    /// Returns the number of recorded rounds and the bytes of all of them; `None` if nothing is
    /// recorded.
    pub fn recorded(&self) -> Option<(u64, u64)> {
        self.archive.as_ref().map(Archive::extent)
    }

    /// Returns how the policy beside the live one has done.
    pub fn shadow(&self) -> Option<Tally> {
        self.shadow.as_ref().map(Shadow::tally)
    }

    /// The live policy.
    pub fn live(&self) -> &Policy {
        &self.live.policy
    }

    /// Makes another policy the live one. The previous one becomes the first fallback, if its last
    /// round went well.
    pub fn replace(&mut self, live: Policy) {
        let before = std::mem::replace(&mut self.live, PolicyCandidate::new(live));
        if before.works {
            self.previous = Some(before);
        }
        self.standstill.ends();
        self.failures = 0;
        self.last_failure = None;
        self.fallen_back_to = None;
    }

    /// Returns the decisions of the first policy that gives any. If none does, every task waits.
    ///
    /// Blocks for at most the sum of the policies' time limits. A policy that failed is skipped for
    /// a while, longer after each failure.
    pub fn decide(&mut self, question: &Question, now: Instant) -> Decided {
        let start = Instant::now();
        let verdict = self.verdict(question, now);
        self.keep(question, &verdict, start.elapsed());
        verdict
    }

    fn keep(&mut self, question: &Question, verdict: &Decided, took: Duration) {
        if self.archive.is_none() && self.shadow.is_none() {
            return;
        }
        if !self.standstill.is_news(question, verdict) {
            return;
        }
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

    fn verdict(&mut self, question: &Question, now: Instant) -> Decided {
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
        Decided {
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

/// Rounds in which every task waits. They are asked about again and again, and hardly ever show
/// anything new. A policy may wait for time to pass, so each such round is kept at growing
/// intervals.
#[derive(Default)]
struct Standstill {
    /// Maps a hash of the question and the policy to the time when the round was last kept and the
    /// time when it is to be kept again, in seconds since 1970-01-01 UTC.
    kept: HashMap<u64, (u64, u64)>,
}

impl Standstill {
    /// Beyond this number, rounds without change are no longer told apart.
    const MOST: usize = 1_000;
    /// The longest interval, in seconds, however long nothing happens.
    const LONGEST: u64 = 600;

    fn ends(&mut self) {
        self.kept.clear();
    }

    fn is_news(&mut self, question: &Question, verdict: &Decided) -> bool {
        let waits = |decision: &Decision| matches!(decision, Decision::Wait { .. });
        if verdict.failure.is_some() || !verdict.decisions.iter().all(waits) {
            self.ends();
            return true;
        }
        let key = key(question, verdict);
        let now = question.now;
        let next = match self.kept.get(&key) {
            Some(&(_, due)) if now < due => return false,
            Some(&(last, _)) => now.saturating_sub(last).saturating_mul(2),
            None => 2,
        };
        if self.kept.len() >= Self::MOST {
            self.ends();
        }
        let due = now.saturating_add(next.clamp(2, Self::LONGEST));
        self.kept.insert(key, (now, due));
        true
    }
}

/// Hashes a round without the parts that change by themselves as time passes.
fn key(question: &Question, verdict: &Decided) -> u64 {
    let mut still = question.clone();
    still.now = 0;
    for task in &mut still.tasks {
        task.waiting = 0;
    }
    for session in &mut still.sessions {
        session.since = 0;
    }
    let mut hasher = DefaultHasher::new();
    // The hash stays in memory: nothing depends on this format.
    format!("{still:?}").hash(&mut hasher);
    verdict.by.sha256.hash(&mut hasher);
    verdict.settings.to_string().hash(&mut hasher);
    hasher.finish()
}

fn wait_all(question: &Question, failure: Option<&str>) -> Vec<Decision> {
    let failure = failure.unwrap_or("none is left");
    let wait = Decision::Wait {
        reason: format!("no policy could decide: {failure}"),
        others: Vec::new(),
    };
    vec![wait; question.tasks.len()]
}

/// How long a policy is skipped after failures: longer each time, until it works again.
#[derive(Debug, Default)]
pub(super) struct PolicyRest {
    failures: u32,
    until: Option<Instant>,
}

impl PolicyRest {
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
struct PolicyCandidate {
    policy: Policy,
    /// True if its last round went well.
    works: bool,
    rest: PolicyRest,
}

impl PolicyCandidate {
    fn new(policy: Policy) -> Self {
        Self {
            policy,
            works: false,
            rest: PolicyRest::default(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::rounds;

    fn verdict(decision: &Decision) -> Decided {
        Decided {
            decisions: vec![decision.clone(); 2],
            by: PolicyId {
                name: "p".to_owned(),
                version: "1".to_owned(),
                sha256: "00".to_owned(),
            },
            settings: Value::Null,
            failure: None,
        }
    }

    #[test]
    fn a_rest_doubles_with_each_failure_and_ends_with_the_first_success() {
        let start = Instant::now();
        let mut rest = PolicyRest::default();
        assert!(!rest.lasts(start));
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            rest.begins(start);
            let after = |millis| start + Duration::from_millis(millis);
            assert!(rest.lasts(start) && rest.lasts(after(seconds * 1_000 - 1)));
            assert!(!rest.lasts(after(seconds * 1_000)), "{seconds}");
        }
        for _ in 0..100 {
            rest.begins(start);
        }
        assert!(rest.lasts(start + Duration::from_secs(299)));
        assert!(!rest.lasts(start + Duration::from_secs(300)));
        rest.is_over();
        assert!(!rest.lasts(start));
        rest.begins(start);
        assert!(!rest.lasts(start + Duration::from_secs(1)));
    }

    #[test]
    fn a_standstill_is_kept_at_growing_distances() {
        let wait = verdict(&Decision::Wait {
            reason: "so".to_owned(),
            others: Vec::new(),
        });
        // Two pages of a long queue, in turn.
        let mut pages = [rounds::workload(2, 1), rounds::workload(2, 2)];
        let mut standstill = Standstill::default();
        let mut kept = [0, 0];
        for second in 0..7_200 {
            for (page, question) in pages.iter_mut().enumerate() {
                question.now = 1_000 + second;
                question.tasks[0].waiting = u32::try_from(second).expect("small");
                kept[page] += u32::from(standstill.is_news(question, &wait));
            }
        }
        for count in kept {
            assert!((10..40).contains(&count), "{kept:?}");
        }
        // Any other change is kept at once: another policy, a failure, another task.
        let other = Decided {
            settings: Value::Bool(true),
            ..wait.clone()
        };
        assert!(standstill.is_news(&pages[0], &other));
        let failed = Decided {
            failure: Some("it failed".to_owned()),
            ..wait.clone()
        };
        assert!(standstill.is_news(&pages[0], &failed));
        assert!(standstill.is_news(&pages[0], &wait));
        pages[0].tasks[0].id = 77;
        assert!(standstill.is_news(&pages[0], &wait));
        assert!(!standstill.is_news(&pages[0], &wait));
    }
}
