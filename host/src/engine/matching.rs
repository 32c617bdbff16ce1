//! match: the pending tasks that may run now, the ready sessions, and what the policy decides.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::scan::Snapshot;
use super::tracker::Seen;
use super::{Engine, RoundError, lock};
use crate::model::eligibility::{Admission, Place};
use crate::model::ids::{Identity, TaskId};
use crate::model::matching::{Attribute, Candidate, Decision, Question, Ranking, Resource};
use crate::model::session::Activity;
use crate::model::task::{Attempt, NamedRanking, Outcome, RuledOut, Task};
use crate::probe;
use crate::probe::look::{self, Place as Looked, Watch};
use crate::store::{Claim, Lane, SessionRow, Store, StoreError, Waiting};
use crate::tmux::Tmux;

/// A task with the session that it goes to.
#[derive(Debug, Clone)]
pub(super) struct Assignment {
    pub(super) task: Task,
    pub(super) session: Seen,
    pub(super) claim: Claim,
}

/// Tells whether there is anything new to decide.
#[derive(Debug, Default)]
pub(super) struct QueueWatch {
    data_version: Option<i64>,
    ready: Vec<(Identity, String, Option<String>, Option<String>)>,
    due: Option<Timestamp>,
    /// When what the policy lets wait is to be asked about again: it may wait for time to pass.
    again: Option<Timestamp>,
    changed: bool,
}

impl QueueWatch {
    /// Notes that the engine itself has put a task back.
    pub(super) fn touch(&mut self) {
        self.changed = true;
    }
}

impl<T: Tmux + 'static> Engine<T> {
    pub(super) async fn match_tasks(
        &mut self,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<Vec<Assignment>, RoundError> {
        let mut ready: Vec<&Seen> = snapshot.sessions.iter().filter(|seen| seen.ready).collect();
        if !self.worth_deciding(&ready, now).await? || ready.is_empty() {
            return Ok(Vec::new());
        }
        let lanes = self
            .ledger
            .run(move |store| {
                store.release_due(now)?;
                store.lanes()
            })
            .await?;
        // A name that a session has is bound first, at the next scan: what is claimed is what was
        // meant, and stays so.
        let (unbound, lanes): (Vec<Lane>, Vec<Lane>) = lanes
            .into_iter()
            .partition(|lane| is_unbound(lane, snapshot));
        if !unbound.is_empty() {
            self.orders.stale = true;
            self.queue.touch();
        }
        let lanes: Vec<Lane> = lanes
            .into_iter()
            .filter(|lane| {
                let demand = lane.demand();
                let mut places = ready.iter().map(|seen| seen.row.place());
                places.any(|place| demand.excludes(&place).is_none())
            })
            .collect();
        let asked: Vec<&Seen> = snapshot.sessions.iter().filter(|seen| seen.asked).collect();
        let start = Instant::now();
        let mut assignments: Vec<Assignment> = Vec::new();
        let mut waits = false;
        let mut behind = None;
        // Tasks that the policy makes wait must not hide those behind them: page by page, until
        // the sessions or the tasks are used up.
        while !ready.is_empty() && !lanes.is_empty() {
            let page = (ready.len() * 4).clamp(16, 256);
            let read = lanes.clone();
            let mut tasks = self
                .ledger
                .run(move |store| store.pending(&read, page, behind))
                .await?;
            let decidable = self.ask(&tasks, &ready, &asked, now).await?;
            ready.retain(|seen| !self.tracker.is_asked(&seen.row.identity));
            // What stands behind a task that waits for an answer must not overtake it.
            let full = tasks.len() == page && decidable == page;
            tasks.truncate(decidable);
            behind = tasks.last().map(|task| (task.priority, task.id));
            let decided = tasks.len();
            let rest = not_among(snapshot, &ready);
            let taken = self.decide(tasks, &ready, &rest, &assignments, now).await?;
            waits |= taken.len() < decided;
            let gone: HashSet<_> = taken
                .iter()
                .map(|assignment| assignment.session.row.identity.clone())
                .collect();
            ready.retain(|seen| !gone.contains(&seen.row.identity));
            assignments.extend(taken);
            if !full {
                break;
            }
        }
        if waits && !ready.is_empty() {
            self.queue.again = now.checked_add(ask_again_after(start.elapsed())).ok();
        }
        Ok(assignments)
    }

    /// Whether tasks, ready sessions or the time have changed since the last decision.
    async fn worth_deciding(
        &mut self,
        ready: &[&Seen],
        now: Timestamp,
    ) -> Result<bool, RoundError> {
        let (version, due) = self
            .ledger
            .run(move |store| Ok((store.data_version()?, store.next_due(now)?)))
            .await?;
        let stand: Vec<_> = ready
            .iter()
            .map(|seen| {
                (
                    seen.row.identity.clone(),
                    seen.row.name.clone(),
                    seen.row.current_dir.clone(),
                    seen.row.git_branch.clone(),
                )
            })
            .collect();
        let watch = &mut self.queue;
        let is_past = |time: Option<Timestamp>| time.is_some_and(|time| time <= now);
        let was_due = is_past(watch.due) || is_past(watch.again);
        let changed =
            watch.changed || was_due || watch.data_version != Some(version) || watch.ready != stand;
        *watch = QueueWatch {
            data_version: Some(version),
            ready: stand,
            due,
            again: if changed { None } else { watch.again },
            changed: false,
        };
        Ok(changed)
    }

    /// Names the tasks' directories as the system does; one that gives no answer stays as it is.
    async fn resolve(&mut self, question: &mut Question) {
        let named = question.tasks.iter();
        let named = named.filter_map(|task| task.working_dir.as_ref().map(PathBuf::from));
        let named: Vec<PathBuf> = named.collect();
        if named.is_empty() {
            return;
        }
        let seen = self.directories.all(named).await;
        for task in &mut question.tasks {
            if let Some(name) = &mut task.working_dir
                && let Some(Some(resolved)) = seen.get(Path::new(name))
            {
                name.clone_from(resolved);
            }
        }
    }

    /// Asks the policy about one page of tasks and keeps why the others wait.
    async fn decide(
        &mut self,
        tasks: Vec<Task>,
        ready: &[&Seen],
        rest: &[&Seen],
        before: &[Assignment],
        now: Timestamp,
    ) -> Result<Vec<Assignment>, RoundError> {
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        let tried: Vec<TaskId> = tasks
            .iter()
            .filter(|task| task.attempts > 0)
            .map(|task| task.id)
            .collect();
        let failed_in = if tried.is_empty() {
            BTreeMap::new()
        } else {
            self.ledger
                .run(move |store| failed_in(store, &tried))
                .await?
        };
        let mut listed = ready.to_vec();
        if lock(&self.policy).lists_busy() {
            // What the configuration excludes is no session as far as policies are concerned.
            let may_be_ready = |seen: &&Seen| seen.row.admission != Admission::Excluded;
            listed.extend(rest.iter().copied().filter(may_be_ready));
        }
        let settings = &self.settings;
        let mut question = question(&tasks, &failed_in, &listed, ready.len(), settings, now);
        for busy in question.sessions.iter_mut().skip(ready.len()) {
            busy.ready = false;
        }
        self.resolve(&mut question).await;
        let policy = Arc::clone(&self.policy);
        let verdict =
            tokio::task::spawn_blocking(move || lock(&policy).decide(&question, Instant::now()))
                .await
                .map_err(|_| RoundError::Policy)?;
        if verdict.failure.is_some() {
            // What a policy that failed left undecided is asked again.
            self.queue.touch();
        }
        let name = |ranking: &Ranking| {
            listed.get(ranking.session).map(|seen| NamedRanking {
                session: seen.row.name.clone(),
                points: ranking.points,
                terms: ranking.terms.clone(),
            })
        };
        let mut assignments: Vec<Assignment> = Vec::new();
        let mut waiting = Vec::new();
        for (task, decision) in tasks.into_iter().zip(verdict.decisions) {
            match decision {
                Decision::Assign { take, others } => {
                    let Some(session) = ready.get(take.session) else {
                        continue;
                    };
                    let rankings = std::iter::once(&take).chain(&others).filter_map(name);
                    let rankings: Vec<NamedRanking> = rankings.collect();
                    let given = before.iter().chain(&assignments);
                    let ruled_out = ruled_out(&task, &rankings, given, ready, rest);
                    assignments.push(Assignment {
                        claim: Claim {
                            task: task.id,
                            revision: task.revision,
                            session: session.row.name.clone(),
                            identity: session.row.identity.clone(),
                            policy: verdict.by.clone(),
                            rankings,
                            ruled_out,
                        },
                        session: (*session).clone(),
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
}

/// Whether tasks are for a session that is there, and were not bound to it yet.
fn is_unbound(lane: &Lane, snapshot: &Snapshot) -> bool {
    let target = lane.target_session.as_ref();
    target.is_some_and(|target| {
        let mut sessions = snapshot.sessions.iter();
        target.meaning.is_none() && sessions.any(|seen| seen.row.who().answers(target))
    })
}

/// How long after a decision what the policy lets wait is asked about again, where nothing else
/// happens: seldom enough that it costs little, however long it takes.
fn ask_again_after(took: Duration) -> Duration {
    (took * 20).max(Duration::from_secs(2))
}

/// The sessions that cannot be given a task now.
fn not_among<'a>(snapshot: &'a Snapshot, ready: &[&Seen]) -> Vec<&'a Seen> {
    let ready: HashSet<_> = ready.iter().map(|seen| &seen.row.identity).collect();
    let sessions = snapshot.sessions.iter();
    sessions
        .filter(|seen| !ready.contains(&seen.row.identity))
        .collect()
}

/// How many sessions that are ruled out an attempt remembers.
const MOST_RULED_OUT: usize = 50;

/// Returns the sessions that a task could not be given, and why: those of tasks before it, those
/// that its constraints exclude, those that were not ready. What is ranked is not among them.
fn ruled_out<'a>(
    task: &Task,
    rankings: &[NamedRanking],
    given: impl Iterator<Item = &'a Assignment>,
    ready: &[&Seen],
    rest: &[&Seen],
) -> Vec<RuledOut> {
    let providers = task.allowed_providers();
    let demand = task.demand(&providers);
    let ruled_out = |session: &str, reason: String| RuledOut {
        session: session.to_owned(),
        reason,
    };
    let given = given.map(|assignment| {
        let reason = format!(
            "it was given to task {}, which came before",
            assignment.task.id
        );
        ruled_out(&assignment.claim.session, reason)
    });
    let excluded = |seen: &&Seen| {
        let reason = demand.excludes(&seen.row.place())?;
        Some(ruled_out(&seen.row.name, reason))
    };
    let unready = |seen: &&Seen| {
        excluded(seen).unwrap_or_else(|| {
            let reason = obstacle(&seen.row);
            let reason = reason.unwrap_or_else(|| "it was asked for its variables".to_owned());
            ruled_out(&seen.row.name, reason)
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

/// What keeps a session from taking any task now; `None`: nothing.
pub(super) fn obstacle(row: &SessionRow) -> Option<String> {
    match row.activity {
        // Idle, and yet held back: paused, asked, or left alone for a moment.
        Activity::Idle => row.reason.clone(),
        activity => Some(match &row.reason {
            Some(reason) => format!("{activity}: {reason}"),
            None => activity.to_string(),
        }),
    }
}

/// Whether a session should rather not be given the task again because of this attempt.
pub fn has_failed(attempt: &Attempt) -> bool {
    matches!(
        attempt.outcome,
        Some(Outcome::Failed | Outcome::TimedOut | Outcome::Reassigned)
    )
}

/// The positions of the sessions in which a task has failed.
pub(super) fn avoid<'a>(
    listed: impl Iterator<Item = &'a SessionRow>,
    failed_in: &BTreeSet<String>,
) -> Vec<usize> {
    let failed = listed
        .enumerate()
        .filter(|(_, row)| failed_in.contains(&row.name));
    failed.map(|(position, _)| position).collect()
}

/// Returns the sessions in which attempts of these tasks failed.
fn failed_in(
    store: &mut dyn Store,
    tasks: &[TaskId],
) -> Result<BTreeMap<TaskId, BTreeSet<String>>, StoreError> {
    tasks
        .iter()
        .map(|&id| {
            let attempts = store.attempts(id)?;
            let failed = attempts
                .into_iter()
                .filter(has_failed)
                .map(|attempt| attempt.session);
            Ok((id, failed.collect()))
        })
        .collect()
}

/// Puts tasks and sessions as a policy sees them.
fn question(
    tasks: &[Task],
    failed_in: &BTreeMap<TaskId, BTreeSet<String>>,
    listed: &[&Seen],
    ready: usize,
    settings: &super::Settings,
    now: Timestamp,
) -> Question {
    let named: BTreeSet<String> = tasks
        .iter()
        .flat_map(|task| task.metadata.env_vars.keys().cloned())
        .collect();
    Question {
        now: u64::try_from(now.as_second()).unwrap_or_default(),
        explain: settings.explain,
        facts: Vec::new(),
        sessions: listed
            .iter()
            .map(|seen| {
                let live = seen.live.as_deref();
                resource(&seen.row, live, &settings.host, &named, now)
            })
            .collect(),
        tasks: tasks
            .iter()
            .map(|task| {
                let places = listed.iter().map(|seen| seen.row.place());
                let mut candidate = candidate(task, places, ready, now);
                if let Some(failed) = failed_in.get(&task.id) {
                    candidate.avoid = avoid(listed.iter().map(|seen| &seen.row), failed);
                }
                candidate
            })
            .collect(),
    }
}

/// Puts a session as a policy sees it, as if it were ready: with only the variables `named`.
/// `live`: all that it exports, where it has told.
pub(super) fn resource(
    row: &SessionRow,
    live: Option<&BTreeMap<String, String>>,
    host: &str,
    named: &BTreeSet<String>,
    now: Timestamp,
) -> Resource {
    let env = match live {
        _ if named.is_empty() => BTreeMap::new(),
        Some(live) => named
            .iter()
            .filter_map(|name| Some((name.clone(), live.get(name)?.clone())))
            .collect(),
        // What it was started with, overlaid by what it was given since.
        None => {
            let mut env = probe::environment(row.identity.pane_pid, named);
            let given = row.env.iter().filter(|(name, _)| named.contains(*name));
            env.extend(given.map(|(name, value)| (name.clone(), value.clone())));
            env
        }
    };
    Resource {
        name: row.name.clone(),
        host: host.to_owned(),
        provider: row.provider.clone(),
        current_dir: row.current_dir.clone(),
        git_branch: row.git_branch.clone(),
        env: attributes(&env),
        ready: true,
        since: seconds(row.since, now),
        completed: row.completed,
        failed: row.failed,
        labels: attributes(&row.labels),
    }
}

/// Puts a task as a policy sees it, beside the sessions of the round, of which the first `ready` can
/// be given a task.
pub(super) fn candidate<'a>(
    task: &Task,
    places: impl Iterator<Item = Place<'a>>,
    ready: usize,
    now: Timestamp,
) -> Candidate {
    let metadata = &task.metadata;
    let providers = task.allowed_providers();
    let demand = task.demand(&providers);
    let mut all = true;
    let mut eligible = Vec::new();
    let mut targets = Vec::new();
    let mut follows = None;
    for (position, place) in places.enumerate() {
        if task.follows.as_deref() == Some(place.who.name) {
            follows = Some(position);
        }
        if demand.excludes(&place).is_some() {
            all = false;
            continue;
        }
        eligible.push(position);
        let target = task.target_session.as_ref();
        let is_target = target.is_some_and(|target| place.who.answers(target));
        // One that is busy is there, and yet others may stand in for it.
        if is_target && (position < ready || !demand.target_fallback) {
            targets.push(position);
        }
    }
    // Where others may stand in for the target, it comes first while it is there.
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

/// For how long a round waits for a directory that a task names.
const RESOLVED_WITHIN: Duration = Duration::from_millis(100);

/// Returns what names the tasks' directories as the system does, links resolved, since that is how it
/// names the directory of a process.
pub(super) fn directories() -> Watch<Option<String>> {
    Watch::new(RESOLVED_WITHIN, look::resolved)
}

/// Returns a directory that a task names as the system does, where it was looked at.
pub(super) fn named(directory: Option<&str>, place: Option<&Looked>) -> Option<String> {
    let resolved = place.and_then(|place| place.path.as_deref());
    directory.map(|directory| resolved.unwrap_or(directory).to_owned())
}

pub(super) fn attributes(values: &BTreeMap<String, String>) -> Vec<Attribute> {
    values
        .iter()
        .map(|(name, value)| Attribute {
            name: name.clone(),
            value: value.clone(),
        })
        .collect()
}

pub(super) fn seconds(from: Timestamp, to: Timestamp) -> u32 {
    u32::try_from((to.as_second() - from.as_second()).max(0)).unwrap_or(u32::MAX)
}
