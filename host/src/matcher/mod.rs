//! The matcher: gives the tasks that may run now to ready sessions, as the policy decides.
//!
//! ```text
//! sessions, pending tasks -> what the policy is asked -> decisions -> claims, reasons to wait
//! ```
//!
//! It reads and writes rows, and looks at nothing itself: no file, no process, no tmux. It asks its
//! `Surroundings` for what it needs to know about the machine; a `Decide` makes the decisions.

mod batches;
pub mod explain;
mod inquiry;
#[cfg(test)]
mod long_queue_tests;
mod pages;
mod progress;
mod question;
mod rests;
pub mod suit;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::model::clock::{Clock, Now};
use crate::model::eligibility::Admission;
use crate::model::ids::{AttemptId, Identity, TaskId};
use crate::model::matching::{Decision, PolicyId, Question, Ranking};
use crate::model::task::{NamedRanking, Task};
use crate::store::{Claim, Lane, Ledger, SessionRow, Store, StoreError, Waiting};

use batches::LeftBatches;
pub(crate) use inquiry::Inquiry;
use progress::{OfferProgress, SessionFacts};
pub use question::has_failed;
pub(crate) use question::{attributes, avoid, candidate, obstacle, resource, seconds};
use rests::Rests;

/// The rests of at most this many tasks are timed at once, the oldest tasks first. The next ones
/// follow when some of these are over.
const MOST_RESTING: usize = 10_000;

/// The largest number of tasks that a policy is asked about at once.
const LARGEST_PAGE: usize = 256;

/// After this time a round is over, even if tasks are left: the next one goes on where it stopped.
const ROUND: Duration = Duration::from_millis(100);

/// What the matcher is told once, when it starts.
#[derive(Debug, Clone)]
pub struct MatcherSettings {
    /// The name of this machine, as policies see it.
    pub host: String,
    /// How many rankings of a decision are kept to explain it.
    pub explain: u32,
    /// Whether a shell may be asked for variables that a task names.
    pub ask_variables: bool,
}

impl Default for MatcherSettings {
    fn default() -> Self {
        Self {
            host: String::new(),
            explain: 10,
            ask_variables: true,
        }
    }
}

/// A session on offer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offer<'a> {
    /// Its row, as last seen.
    pub(crate) row: &'a SessionRow,
    /// Whether nothing keeps it from taking a task.
    pub(crate) ready: bool,
    /// Whether it was asked for its variables and has not answered yet.
    pub(crate) asked: bool,
}

/// What is known about the machine that the sessions are on.
pub(crate) trait Surroundings {
    /// Returns those of the variables `names` that a session exports, as far as is known.
    fn variables(&self, session: &SessionRow, names: &BTreeSet<String>)
    -> BTreeMap<String, String>;

    /// Whether what is known about a session's variables may be out of date, and its shell can be
    /// asked.
    fn is_stale(&self, session: &SessionRow) -> bool;

    /// Resolves links in directories' paths, as the system does. Directories that do not answer are
    /// left out.
    async fn resolve(&mut self, directories: Vec<PathBuf>) -> HashMap<PathBuf, Option<String>>;
}

/// Decides which task goes where.
pub(crate) trait Decide {
    /// Whether sessions that are not ready are to be listed as well.
    fn lists_busy(&self) -> bool;

    /// Answers a question; `None`: nobody answers any more.
    async fn decide(&self, question: Question) -> Option<MatcherAnswer>;
}

/// What was decided.
#[derive(Debug, Clone)]
pub(crate) struct MatcherAnswer {
    /// One for each task.
    pub(crate) decisions: Vec<Decision>,
    /// The policy that made them.
    pub(crate) by: PolicyId,
    /// Whether the policy that should have decided has failed.
    pub(crate) failed: bool,
}

/// Why a round could not be finished.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MatchError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nobody decides any more.
    #[error("nobody decides")]
    Nobody,
}

/// A task that was given to a session, and whose claim is on disk.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    /// The attempt that begins.
    pub(crate) attempt: AttemptId,
    /// The task as it was when it was decided on.
    pub(crate) task: Task,
    /// The session's name.
    pub(crate) session: String,
    /// The session.
    pub(crate) identity: Identity,
}

/// The outcome of a round.
#[derive(Debug, Default)]
pub(crate) struct Matched {
    /// The tasks that were given away.
    pub(crate) given: Vec<Given>,
    /// The sessions whose shells must be asked before the tasks that wait for their answers are
    /// decided on.
    pub(crate) inquiries: Vec<Inquiry>,
    /// Whether tasks name sessions that exist but to which they were not bound yet.
    pub(crate) unbound: bool,
}

/// A task and the session that it goes to.
#[derive(Debug)]
struct Assignment {
    task: Task,
    claim: Claim,
}

/// The matcher, with what it remembers from one round to the next.
pub(crate) struct Matcher {
    ledger: Ledger,
    settings: MatcherSettings,
    rests: Rests,
    seen: Option<DecidedState>,
    /// When the next task with a time set by its sender is due.
    due: Option<Timestamp>,
    /// What was offered to whom in vain.
    progress: OfferProgress,
    /// The tasks whose rest has ended since the last decision.
    released: Vec<TaskId>,
    /// Whether the last round left tasks to the next one.
    unfinished: bool,
    batches: LeftBatches,
    /// Whether earlier decisions may no longer hold, although neither tasks nor sessions have
    /// changed.
    changed: bool,
}

/// The state of tasks and sessions when they were last decided on.
#[derive(Debug, PartialEq, Eq)]
struct DecidedState {
    data_version: i64,
    ready: Vec<(Identity, SessionFacts)>,
}

impl Matcher {
    /// Returns a matcher over the rows of `ledger`.
    pub(crate) fn new(ledger: Ledger, settings: MatcherSettings) -> Self {
        Self {
            ledger,
            settings,
            rests: Rests::default(),
            seen: None,
            due: None,
            progress: OfferProgress::default(),
            released: Vec::new(),
            unfinished: false,
            batches: LeftBatches::default(),
            changed: false,
        }
    }

    /// Makes the next round decide again, even if no other process has changed anything.
    pub(crate) fn touch(&mut self) {
        self.changed = true;
    }

    /// Goes by these settings from now on, and decides about every task anew.
    pub(crate) fn use_settings(&mut self, settings: MatcherSettings) {
        self.settings = settings;
        self.start_over();
    }

    /// Makes the next round decide about every task anew.
    pub(crate) fn start_over(&mut self) {
        self.progress.reset();
        self.touch();
    }

    /// Returns how long it is until a task is to be tried again.
    pub(crate) fn due_in(&self, now: Now) -> Option<Duration> {
        match self.unfinished || self.batches.is_busy() {
            true => Some(Duration::ZERO),
            false => self.rests.due_in(now.tick),
        }
    }

    /// Runs one round: decides, and claims what was decided.
    ///
    /// # Errors
    /// The store failed, or nobody decides. What was committed remains.
    pub(crate) async fn round(
        &mut self,
        sessions: &[Offer<'_>],
        policy: &impl Decide,
        surroundings: &mut impl Surroundings,
        clock: &impl Clock,
    ) -> Result<Matched, MatchError> {
        let mut matched = Matched::default();
        let began = clock.now();
        if self.batches.go_on(&self.ledger, began).await {
            self.touch();
        }
        let mut ready: Vec<&SessionRow> = sessions
            .iter()
            .filter(|session| session.ready)
            .map(|session| session.row)
            .collect();
        if !self.is_worth_deciding(&ready, began).await? || ready.is_empty() {
            return Ok(matched);
        }
        let goes_on = std::mem::take(&mut self.unfinished);
        let wall = began.wall;
        let lanes = self
            .open_lanes(sessions, wall, policy, surroundings)
            .await?;
        matched.unbound = lanes.unbound;
        let may_take = |lane: &Lane| {
            let mut places = ready.iter().map(|row| row.place());
            places.any(|place| lane.demand.excludes(&place).is_none())
        };
        let mut lanes = lanes.open;
        lanes.retain(may_take);
        let asked = sessions.iter().filter(|session| session.asked);
        let mut asked: Vec<&SessionRow> = asked.map(|session| session.row).collect();
        let mut assignments: Vec<Assignment> = Vec::new();
        let mut waits = false;
        let mut at = self
            .progress
            .start(ready.iter().map(|row| &row.identity), goes_on);
        let mut size = (ready.len() * 4).clamp(16, LARGEST_PAGE);
        // Tasks that the policy makes wait must not hide those after them, so the tasks are read
        // page by page until no sessions or no tasks are left.
        while !ready.is_empty() && !lanes.is_empty() {
            if clock.now().tick.since(began.tick) >= ROUND {
                self.unfinished = true;
                self.touch();
                break;
            }
            let mut page = self.read_page(&lanes, at, size).await?;
            if self.settings.ask_variables {
                let (decidable, inquiry) = inquiry::needed(&page.tasks, &ready, &asked, |row| {
                    surroundings.is_stale(row)
                });
                if let Some(inquiry) = inquiry {
                    let is_asked = |row: &&SessionRow| inquiry.sessions.contains(&row.identity);
                    asked.extend(ready.extract_if(.., |row| is_asked(&*row)));
                    matched.inquiries.push(inquiry);
                }
                if page.cut(decidable) {
                    self.touch();
                }
            }
            let decided = page.tasks.len();
            let names = page.tasks.iter();
            let names = names.flat_map(|task| task.metadata.env_vars.keys());
            self.progress.name(names);
            let round = RoundPage {
                ready: &ready,
                rest: &rest_of(sessions, &ready),
                before: &assignments,
                now: wall,
            };
            let taken = self
                .decide(page.tasks, &round, policy, surroundings)
                .await?;
            let gone = taken.iter().map(|assignment| &assignment.claim.identity);
            let gone: HashSet<&Identity> = gone.collect();
            ready.retain(|row| !gone.contains(&row.identity));
            let waiting = decided - taken.len();
            waits |= waiting > 0;
            if taken.is_empty() {
                size = (size * 2).min(LARGEST_PAGE);
            }
            assignments.extend(taken);
            let left = ready.iter().map(|row| &row.identity);
            self.progress.advance(left, (at, page.next), waiting);
            at = page.next;
            if page.is_last {
                break;
            }
        }
        if waits && !ready.is_empty() {
            let now = clock.now().tick;
            self.progress.took(now.since(began.tick), now);
        }
        matched.given = self.claim(assignments, wall).await?;
        Ok(matched)
    }

    /// Whether tasks, ready sessions or the time have changed since the last decision.
    async fn is_worth_deciding(
        &mut self,
        ready: &[&SessionRow],
        now: Now,
    ) -> Result<bool, StoreError> {
        let wall = now.wall;
        let (data_version, due, resting) = self
            .ledger
            .run(move |store| {
                let version = store.data_version()?;
                Ok((version, store.next_due(wall)?, store.resting(MOST_RESTING)?))
            })
            .await?;
        let rested = self.rests.over(resting, now);
        if !rested.is_empty() {
            self.released.extend(rested.iter().map(|rest| rest.task));
            self.ledger.run(move |store| store.release(&rested)).await?;
            self.touch();
        }
        let ready = ready.iter().map(|row| {
            let facts = SessionFacts::of(row, BTreeMap::new());
            (row.identity.clone(), facts)
        });
        let stand = DecidedState {
            data_version,
            ready: ready.collect(),
        };
        let was_due = self.due.is_some_and(|due| due <= wall) || self.progress.is_due(now.tick);
        if was_due {
            self.progress.reset();
        }
        let changed = std::mem::take(&mut self.changed) || was_due;
        let changed = changed || self.seen.as_ref() != Some(&stand);
        self.seen = Some(stand);
        self.due = due;
        Ok(changed)
    }

    /// Asks the policy about one page of tasks, and records why the others wait.
    async fn decide(
        &mut self,
        tasks: Vec<Task>,
        round: &RoundPage<'_>,
        policy: &impl Decide,
        surroundings: &mut impl Surroundings,
    ) -> Result<Vec<Assignment>, MatchError> {
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        let mut listed = round.ready.to_vec();
        if policy.lists_busy() {
            // To policies, a session that the configuration excludes does not exist.
            let may_be_ready = |row: &&SessionRow| row.admission != Admission::Excluded;
            listed.extend(round.rest.iter().copied().filter(may_be_ready));
        }
        let mut question = self.question(&tasks, &listed, round, surroundings).await?;
        resolve(&mut question, surroundings).await;
        let answer = policy.decide(question).await.ok_or(MatchError::Nobody)?;
        if answer.failed {
            // What a failed policy left undecided is asked again.
            self.start_over();
        }
        let name = |ranking: &Ranking| {
            listed.get(ranking.session).map(|row| NamedRanking {
                session: row.name.clone(),
                points: ranking.points,
                terms: ranking.terms.clone(),
            })
        };
        let mut assignments: Vec<Assignment> = Vec::new();
        let mut waiting = Vec::new();
        for (task, decision) in tasks.into_iter().zip(answer.decisions) {
            match decision {
                Decision::Assign { take, others } => {
                    let Some(session) = round.ready.get(take.session) else {
                        continue;
                    };
                    let rankings = std::iter::once(&take).chain(&others).filter_map(name);
                    let rankings: Vec<NamedRanking> = rankings.collect();
                    let given = round.before.iter().chain(&assignments);
                    let given = given.map(|assignment| &assignment.claim);
                    let ruled_out =
                        question::ruled_out(&task, &rankings, given, round.ready, round.rest);
                    assignments.push(Assignment {
                        claim: Claim {
                            task: task.id,
                            revision: task.revision,
                            session: session.name.clone(),
                            identity: session.identity.clone(),
                            homes: session.homes.clone(),
                            provider: session.provider.clone(),
                            asks: task
                                .metadata
                                .headless
                                .as_ref()
                                .map(|asked| asked.provider.clone()),
                            labels: session.labels.clone(),
                            policy: answer.by.clone(),
                            rankings,
                            ruled_out,
                        },
                        task,
                    });
                }
                Decision::Wait { reason, others } => {
                    if task.wait_reason.as_deref() != Some(reason.as_str()) {
                        waiting.push(Waiting {
                            task: task.id,
                            reason,
                            rankings: others.iter().filter_map(name).collect(),
                        });
                    }
                }
            }
        }
        if !waiting.is_empty() {
            self.ledger
                .run_lightly(move |store| store.note_waiting(&waiting))
                .await?;
        }
        Ok(assignments)
    }

    /// Presents tasks and sessions as a policy sees them.
    async fn question(
        &self,
        tasks: &[Task],
        listed: &[&SessionRow],
        round: &RoundPage<'_>,
        surroundings: &impl Surroundings,
    ) -> Result<Question, StoreError> {
        let tried = tasks.iter().filter(|task| task.attempts > 0);
        let tried: Vec<TaskId> = tried.map(|task| task.id).collect();
        let failed_in = if tried.is_empty() {
            BTreeMap::new()
        } else {
            self.ledger
                .run(move |store| failed_in(store, &tried))
                .await?
        };
        let ready = round.ready.len();
        let named = tasks.iter().flat_map(|task| task.metadata.env_vars.keys());
        let named: BTreeSet<String> = named.cloned().collect();
        let sessions = listed.iter().enumerate().map(|(position, row)| {
            let env = if named.is_empty() {
                BTreeMap::new()
            } else {
                surroundings.variables(row, &named)
            };
            let mut resource = resource(row, &env, &self.settings.host, round.now);
            resource.ready = position < ready;
            resource
        });
        let candidates = tasks.iter().map(|task| {
            let places = listed.iter().map(|row| row.place());
            let mut candidate = candidate(task, places, ready, round.now);
            if let Some(failed) = failed_in.get(&task.id) {
                candidate.avoid = avoid(listed.iter().copied(), failed);
            }
            candidate
        });
        Ok(Question {
            now: u64::try_from(round.now.as_second()).unwrap_or_default(),
            explain: self.settings.explain,
            facts: Vec::new(),
            tasks: candidates.collect(),
            sessions: sessions.collect(),
        })
    }

    /// Claims what was decided in one transaction.
    async fn claim(
        &mut self,
        assignments: Vec<Assignment>,
        now: Timestamp,
    ) -> Result<Vec<Given>, StoreError> {
        if assignments.is_empty() {
            return Ok(Vec::new());
        }
        let (tasks, claims): (Vec<Task>, Vec<Claim>) = assignments
            .into_iter()
            .map(|assignment| (assignment.task, assignment.claim))
            .unzip();
        let (attempts, claims) = self
            .ledger
            .run_lightly(move |store| Ok((store.claim(&claims, now)?, claims)))
            .await?;
        if attempts.iter().any(Option::is_none) {
            // Something has changed since the decision, so it is made again.
            self.touch();
        }
        let given = tasks.into_iter().zip(claims).zip(attempts);
        let given = given.filter_map(|((task, claim), attempt)| {
            Some(Given {
                attempt: attempt?,
                task,
                session: claim.session,
                identity: claim.identity,
            })
        });
        Ok(given.collect())
    }
}

/// What one page of a round is decided on.
struct RoundPage<'a> {
    /// The sessions that can be given a task.
    ready: &'a [&'a SessionRow],
    /// Those that cannot.
    rest: &'a [&'a SessionRow],
    /// What was decided on the earlier pages.
    before: &'a [Assignment],
    now: Timestamp,
}

/// Returns the sessions that cannot be given a task now.
fn rest_of<'a>(sessions: &[Offer<'a>], ready: &[&SessionRow]) -> Vec<&'a SessionRow> {
    let ready: HashSet<&Identity> = ready.iter().map(|row| &row.identity).collect();
    let rows = sessions.iter().map(|session| session.row);
    rows.filter(|row| !ready.contains(&row.identity)).collect()
}

/// Resolves the paths of the tasks' directories. One that does not answer keeps its path.
async fn resolve(question: &mut Question, surroundings: &mut impl Surroundings) {
    let named = question.tasks.iter();
    let named = named.filter_map(|task| task.working_dir.as_ref().map(PathBuf::from));
    let named: Vec<PathBuf> = named.collect();
    if named.is_empty() {
        return;
    }
    let seen = surroundings.resolve(named).await;
    for task in &mut question.tasks {
        if let Some(name) = &mut task.working_dir
            && let Some(Some(resolved)) = seen.get(Path::new(name))
        {
            name.clone_from(resolved);
        }
    }
}

/// Returns the sessions in which attempts of these tasks failed.
fn failed_in(
    store: &mut Store,
    tasks: &[TaskId],
) -> Result<BTreeMap<TaskId, BTreeSet<Identity>>, StoreError> {
    tasks
        .iter()
        .map(|&id| {
            let attempts = store.attempts(id)?;
            let failed = attempts.into_iter().filter(has_failed);
            Ok((id, failed.map(|attempt| attempt.identity).collect()))
        })
        .collect()
}
