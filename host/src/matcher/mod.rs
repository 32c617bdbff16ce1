//! The matcher: gives the tasks that may run now to the sessions that are ready, as the policy decides.
//!
//! ```text
//! sessions, pending tasks -> what the policy is asked -> decisions -> claims, reasons to wait
//! ```
//!
//! It reads and writes rows, and looks at nothing itself: no file, no process, no tmux. What it
//! needs to know of the machine it asks its [`Surroundings`]; who decides is a [`Decide`].

mod inquiry;
mod question;
mod rests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::model::clock::{Clock, Now, Tick};
use crate::model::eligibility::Admission;
use crate::model::ids::{AttemptId, Identity, TaskId};
use crate::model::matching::{Decision, PolicyId, Question, Ranking};
use crate::model::task::{NamedRanking, Task};
use crate::store::{Claim, Lane, Ledger, SessionRow, Store, StoreError, Waiting};

pub(crate) use inquiry::Inquiry;
pub use question::has_failed;
pub(crate) use question::{attributes, avoid, candidate, obstacle, resource, seconds};
use rests::Rests;

/// The rests of so many tasks are timed at once, of the oldest first: the next ones are looked at when
/// some of these are over.
const MOST_RESTING: usize = 10_000;

/// What the matcher is told once.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The name of this machine, as policies see it.
    pub(crate) host: String,
    /// How many rankings of a decision are kept as its explanation.
    pub(crate) explain: u32,
    /// Whether a shell may be asked for variables that a task names.
    pub(crate) ask_variables: bool,
}

/// A session as it is offered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offer<'a> {
    /// As it was seen last.
    pub(crate) row: &'a SessionRow,
    /// Whether nothing keeps it from a task.
    pub(crate) ready: bool,
    /// Whether it was asked for its variables and has not answered yet.
    pub(crate) asked: bool,
}

/// What is known of the machine on which the sessions are.
pub(crate) trait Surroundings {
    /// Returns those of the variables `names` that a session exports, as far as is known.
    fn variables(&self, session: &SessionRow, names: &BTreeSet<String>)
    -> BTreeMap<String, String>;

    /// Whether what is known of a session's variables may have changed, and its shell can be asked.
    fn is_stale(&self, session: &SessionRow) -> bool;

    /// Names directories as the system does, links resolved; what gives no answer is left out.
    async fn resolve(&mut self, directories: Vec<PathBuf>) -> HashMap<PathBuf, Option<String>>;
}

/// Who decides which task goes where.
pub(crate) trait Decide {
    /// Whether sessions that are not ready are to be listed, too.
    fn lists_busy(&self) -> bool;

    /// Answers a question; `None`: nobody answers any more.
    async fn decide(&self, question: Question) -> Option<Answer>;
}

/// What was decided.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// One for each task.
    pub(crate) decisions: Vec<Decision>,
    /// Who made them.
    pub(crate) by: PolicyId,
    /// Whether the policy that should have decided has failed.
    pub(crate) failed: bool,
}

/// Why a round could not be finished.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MatchError {
    /// The store did not do as asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nobody decides any more.
    #[error("nobody decides")]
    Nobody,
}

/// A task that was given to a session: the claim is on disk.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    /// The try that begins.
    pub(crate) attempt: AttemptId,
    /// As it stood when it was decided on.
    pub(crate) task: Task,
    /// What the session is called.
    pub(crate) session: String,
    /// The session.
    pub(crate) identity: Identity,
}

/// What came of a round.
#[derive(Debug, Default)]
pub(crate) struct Matched {
    /// The tasks that were given away.
    pub(crate) given: Vec<Given>,
    /// The sessions whose shells are to be asked before tasks that wait for it are decided on.
    pub(crate) inquiries: Vec<Inquiry>,
    /// Whether tasks name sessions that are there and that they were not bound to yet.
    pub(crate) unbound: bool,
}

/// A task with the session that it goes to.
#[derive(Debug)]
struct Assignment {
    task: Task,
    claim: Claim,
}

/// The matcher: what it remembers from one round to the next.
pub(crate) struct Matcher {
    ledger: Ledger,
    settings: Settings,
    rests: Rests,
    seen: Option<Stand>,
    /// When the next task is due whose sender has named a time.
    due: Option<Timestamp>,
    /// When what the policy lets wait is to be asked about again: it may wait for time to pass.
    again: Option<Tick>,
    /// What was decided may not hold any more, though neither tasks nor sessions have changed.
    changed: bool,
}

/// How tasks and sessions stood when they were last decided on.
#[derive(Debug, PartialEq, Eq)]
struct Stand {
    data_version: i64,
    ready: Vec<(Identity, String, Option<String>, Option<String>)>,
}

impl Matcher {
    /// Returns a matcher over the rows of `ledger`.
    pub(crate) fn new(ledger: Ledger, settings: Settings) -> Self {
        Self {
            ledger,
            settings,
            rests: Rests::default(),
            seen: None,
            due: None,
            again: None,
            changed: false,
        }
    }

    /// Has the next round decide anew, also where no other process has changed anything.
    pub(crate) fn touch(&mut self) {
        self.changed = true;
    }

    /// Returns after how long a task is to be tried again.
    pub(crate) fn due_in(&self, now: Now) -> Option<Duration> {
        self.rests.due_in(now.tick)
    }

    /// Runs one round: decides, and claims what was decided.
    ///
    /// # Errors
    /// The store failed, or nobody decides; what was committed stands.
    pub(crate) async fn round(
        &mut self,
        sessions: &[Offer<'_>],
        policy: &impl Decide,
        surroundings: &mut impl Surroundings,
        clock: &impl Clock,
    ) -> Result<Matched, MatchError> {
        let mut matched = Matched::default();
        let began = clock.now();
        let mut ready: Vec<&SessionRow> = sessions
            .iter()
            .filter(|session| session.ready)
            .map(|session| session.row)
            .collect();
        if !self.is_worth_deciding(&ready, began).await? || ready.is_empty() {
            return Ok(matched);
        }
        let wall = began.wall;
        let lanes = self
            .ledger
            .run(move |store| {
                store.release_due(wall)?;
                store.lanes()
            })
            .await?;
        // A name that a session has is bound first: what is claimed is what was meant, and stays so.
        let (unbound, lanes): (Vec<Lane>, Vec<Lane>) = lanes
            .into_iter()
            .partition(|lane| is_unbound(lane, sessions));
        if !unbound.is_empty() {
            matched.unbound = true;
            self.touch();
        }
        let lanes: Vec<Lane> = lanes
            .into_iter()
            .filter(|lane| {
                let demand = lane.demand();
                let mut places = ready.iter().map(|row| row.place());
                places.any(|place| demand.excludes(&place).is_none())
            })
            .collect();
        let mut asked: Vec<&SessionRow> = sessions
            .iter()
            .filter(|session| session.asked)
            .map(|session| session.row)
            .collect();
        let mut assignments: Vec<Assignment> = Vec::new();
        let mut waits = false;
        let mut after = None;
        // Tasks that the policy makes wait must not hide those after them: page by page, until the
        // sessions or the tasks are used up.
        while !ready.is_empty() && !lanes.is_empty() {
            let page = (ready.len() * 4).clamp(16, 256);
            let read = lanes.clone();
            let mut tasks = self
                .ledger
                .run(move |store| store.pending(&read, page, after))
                .await?;
            let mut decidable = tasks.len();
            if self.settings.ask_variables {
                let (until, inquiry) =
                    inquiry::needed(&tasks, &ready, &asked, |row| surroundings.is_stale(row));
                decidable = until;
                if let Some(inquiry) = inquiry {
                    let is_asked = |row: &&SessionRow| inquiry.sessions.contains(&row.identity);
                    asked.extend(ready.extract_if(.., |row| is_asked(&*row)));
                    matched.inquiries.push(inquiry);
                }
            }
            if decidable < tasks.len() {
                self.touch();
            }
            // What comes after a task that waits for an answer must not overtake it.
            let full = tasks.len() == page && decidable == page;
            tasks.truncate(decidable);
            after = tasks.last().map(|task| (task.priority, task.id));
            let decided = tasks.len();
            let round = Round {
                ready: &ready,
                rest: &rest_of(sessions, &ready),
                before: &assignments,
                now: wall,
            };
            let taken = self.decide(tasks, &round, policy, surroundings).await?;
            waits |= taken.len() < decided;
            let gone = taken.iter().map(|assignment| &assignment.claim.identity);
            let gone: HashSet<&Identity> = gone.collect();
            ready.retain(|row| !gone.contains(&row.identity));
            assignments.extend(taken);
            if !full {
                break;
            }
        }
        if waits && !ready.is_empty() {
            let now = clock.now().tick;
            self.again = Some(now + ask_again_after(now.since(began.tick)));
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
            self.ledger.run(move |store| store.release(&rested)).await?;
            self.touch();
        }
        let ready = ready.iter().map(|row| {
            (
                row.identity.clone(),
                row.name.clone(),
                row.current_dir.clone(),
                row.git_branch.clone(),
            )
        });
        let stand = Stand {
            data_version,
            ready: ready.collect(),
        };
        let was_due = self.due.is_some_and(|due| due <= wall)
            || self.again.is_some_and(|again| again <= now.tick);
        let changed = std::mem::take(&mut self.changed) || was_due;
        let changed = changed || self.seen.as_ref() != Some(&stand);
        self.seen = Some(stand);
        self.due = due;
        if changed {
            self.again = None;
        }
        Ok(changed)
    }

    /// Asks the policy about one page of tasks and keeps why the others wait.
    async fn decide(
        &mut self,
        tasks: Vec<Task>,
        round: &Round<'_>,
        policy: &impl Decide,
        surroundings: &mut impl Surroundings,
    ) -> Result<Vec<Assignment>, MatchError> {
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        let mut listed = round.ready.to_vec();
        if policy.lists_busy() {
            // What the configuration excludes is no session as far as policies are concerned.
            let may_be_ready = |row: &&SessionRow| row.admission != Admission::Excluded;
            listed.extend(round.rest.iter().copied().filter(may_be_ready));
        }
        let mut question = self.question(&tasks, &listed, round, surroundings).await?;
        resolve(&mut question, surroundings).await;
        let answer = policy.decide(question).await.ok_or(MatchError::Nobody)?;
        if answer.failed {
            // What a policy that failed left undecided is asked again.
            self.touch();
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
                .run(move |store| store.note_waiting(&waiting))
                .await?;
        }
        Ok(assignments)
    }

    /// Puts tasks and sessions as a policy sees them.
    async fn question(
        &self,
        tasks: &[Task],
        listed: &[&SessionRow],
        round: &Round<'_>,
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
            .run(move |store| Ok((store.claim(&claims, now)?, claims)))
            .await?;
        if attempts.iter().any(Option::is_none) {
            // Something has changed since it was decided on: decided again as it stands now.
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

/// What one page of a round is decided by.
struct Round<'a> {
    /// The sessions that can be given a task.
    ready: &'a [&'a SessionRow],
    /// Those that cannot.
    rest: &'a [&'a SessionRow],
    /// What was decided on the pages before.
    before: &'a [Assignment],
    now: Timestamp,
}

/// Whether tasks are for a session that is there, and were not bound to it yet.
fn is_unbound(lane: &Lane, sessions: &[Offer<'_>]) -> bool {
    let target = lane.target_session.as_ref();
    target.is_some_and(|target| {
        let mut sessions = sessions.iter();
        target.meaning.is_none() && sessions.any(|session| session.row.who().answers(target))
    })
}

/// How long after a decision what the policy lets wait is asked about again, where nothing else
/// happens: seldom enough that it costs little, however long it takes.
fn ask_again_after(took: Duration) -> Duration {
    (took * 20).max(Duration::from_secs(2))
}

/// The sessions that cannot be given a task now.
fn rest_of<'a>(sessions: &[Offer<'a>], ready: &[&SessionRow]) -> Vec<&'a SessionRow> {
    let ready: HashSet<&Identity> = ready.iter().map(|row| &row.identity).collect();
    let rows = sessions.iter().map(|session| session.row);
    rows.filter(|row| !ready.contains(&row.identity)).collect()
}

/// Names the tasks' directories as the system does; one that gives no answer stays as it is.
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
    store: &mut dyn Store,
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
