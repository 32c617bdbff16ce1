//! Rounds of the real matcher over the sessions as they were seen, with a policy that takes what it
//! can and occasionally lets a task wait.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use jiff::Timestamp;

use super::run::Run;
use super::{EPOCH, rules};
use crate::matcher::{Decide, Given, Matcher, MatcherAnswer, MatcherSettings, Offer, Surroundings};
use crate::model::eligibility::{Admission, SHELL};
use crate::model::ids::Identity;
use crate::model::matching::{Decision, PolicyId, Question, Ranking};
use crate::model::session::Activity;
use crate::model::task::Kind;
use crate::node::attempt::job::Job;
use crate::node::attempt::turn::Turn;
use crate::node::attempt::{Brief, Machine, PaneSight};
use crate::store::{Ledger, Pause, SessionRow};

/// Returns a daemon's matcher.
pub(super) fn matcher(ledger: Ledger) -> Matcher {
    let settings = MatcherSettings {
        host: "simulated".to_owned(),
        explain: 3,
        ask_variables: true,
    };
    Matcher::new(ledger, settings)
}

/// A machine about which nothing needs to be known: no task names a directory or a variable.
struct Nothing;

impl Surroundings for Nothing {
    fn variables(&self, _: &SessionRow, _: &BTreeSet<String>) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    fn is_stale(&self, _: &SessionRow) -> bool {
        false
    }

    async fn resolve(&mut self, _: Vec<PathBuf>) -> HashMap<PathBuf, Option<String>> {
        HashMap::new()
    }
}

/// A policy that gives each task the first session that it may go to, and occasionally lets one
/// wait.
struct FirstCome {
    /// How many tasks are decided on up to and including the next one that waits; 0: none waits.
    until: Cell<u32>,
}

impl Decide for FirstCome {
    fn lists_busy(&self) -> bool {
        false
    }

    async fn decide(&self, question: Question) -> Option<MatcherAnswer> {
        let mut taken = BTreeSet::new();
        let decisions = question.tasks.iter().map(|task| {
            let left = self.until.get();
            self.until.set(left.saturating_sub(1));
            let all: Vec<usize> = (0..question.sessions.len()).collect();
            let may = task.eligible.as_ref().unwrap_or(&all);
            match may.iter().find(|session| !taken.contains(*session)) {
                Some(&session) if left != 1 => {
                    taken.insert(session);
                    Decision::Assign {
                        take: Ranking {
                            session,
                            points: 0,
                            terms: Vec::new(),
                        },
                        others: Vec::new(),
                    }
                }
                _ => Decision::Wait {
                    reason: "it waits".to_owned(),
                    others: Vec::new(),
                },
            }
        });
        Some(MatcherAnswer {
            decisions: decisions.collect(),
            by: PolicyId {
                name: "simulated".to_owned(),
                version: "1".to_owned(),
                sha256: String::new(),
            },
            failed: false,
        })
    }
}

impl Run {
    /// Has tasks given to the ready sessions, and starts their attempts. The daemon may be killed
    /// at each step of it.
    pub(super) fn give(&mut self, sessions: &BTreeMap<Identity, Arc<PaneSight>>) {
        let rows = self.rows(sessions);
        let offers = rows.iter().map(|(row, ready)| Offer {
            row,
            ready: *ready,
            asked: false,
        });
        let offers: Vec<Offer<'_>> = offers.collect();
        let waits = {
            let mut state = self.state.borrow_mut();
            if state.chance(6) {
                state.rng.u32(1..4)
            } else {
                0
            }
        };
        let policy = FirstCome {
            until: Cell::new(waits),
        };
        let clock = self.world();
        let Some(matcher) = &mut self.matcher else {
            return;
        };
        let mut surroundings = Nothing;
        let matched = {
            let round = matcher.round(&offers, &policy, &mut surroundings, &clock);
            // Nothing in it takes any time, so only the round of a killed daemon stops.
            match pin!(round).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(matched) => matched.expect("a round"),
                Poll::Pending => return,
            }
        };
        for given in matched.given {
            self.begin(given);
        }
    }

    /// Returns the sessions as rows, each with whether it can be given a task.
    fn rows(&mut self, sessions: &BTreeMap<Identity, Arc<PaneSight>>) -> Vec<(SessionRow, bool)> {
        let state = self.state.borrow();
        let pauses = self.store.pauses().expect("pauses");
        let driver = self.driver.as_ref();
        let taken: BTreeSet<&Identity> = driver
            .iter()
            .flat_map(|driver| driver.flying().values())
            .map(|flying| &flying.identity)
            .collect();
        let rows = sessions.iter().map(|(identity, sight)| {
            let agent = sight.agent.as_ref();
            let provider = agent.map_or(SHELL, |agent| &agent.profile.name).to_owned();
            let is_over = |pause: &Pause| *pause == Pause::Provider(provider.clone());
            let paused = pauses.iter().any(|pause| is_over(&pause.what));
            let held = self.held.get(identity);
            let ready = sight.idle
                && !paused
                && !taken.contains(identity)
                && held.is_none_or(|&until| until <= state.now);
            let row = SessionRow {
                name: format!("s{}", identity.pane),
                identity: identity.clone(),
                activity: if sight.idle {
                    Activity::Idle
                } else {
                    Activity::Busy
                },
                reason: None,
                since: Timestamp::from_second(EPOCH).expect("a time"),
                provider,
                current_dir: sight.directory.clone(),
                git_branch: None,
                repository: None,
                shell: None,
                env: BTreeMap::new(),
                current_task: None,
                completed: 0,
                failed: 0,
                context_at: Timestamp::from_second(EPOCH).expect("a time"),
                admission: Admission::Open,
                paused,
                labels: BTreeMap::new(),
                homes: Vec::new(),
            };
            (row, ready)
        });
        rows.collect()
    }

    fn begin(&mut self, given: Given) {
        {
            let mut state = self.state.borrow_mut();
            if let Some(index) = state.agent(&given.identity) {
                state.agents[index].claimed = Some(given.attempt);
            }
        }
        let refusals = self.refusals.get(&given.task.id).copied();
        let kind = given.task.kind;
        let brief = Brief {
            attempt: given.attempt,
            session: given.session,
            identity: given.identity,
            task: given.task,
        };
        let machine = match kind {
            Kind::Command => Machine::Job(Box::new(Job::new(brief, rules()))),
            Kind::Prompt => {
                let turn = Turn::new(brief, rules(), refusals.unwrap_or_default());
                Machine::Turn(Box::new(turn))
            }
        };
        if let Some(driver) = &mut self.driver {
            driver.start(machine);
        }
    }
}
