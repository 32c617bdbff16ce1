//! Pools: starts sessions that tasks wait for, and ends those of its own that nobody needs. `plan`
//! decides what is wanted; this module observes and acts.
//!
//! A session is known by its mark in tmux, so that a new daemon recognizes those of the last one,
//! and only sessions of this data directory are ever ended. Each action is in the history of the
//! session before it happens. How many tasks a session has been given is counted from the attempts;
//! those of an earlier daemon are counted before anyone is given the first task.

mod ending;
mod plan;
mod removal;
mod starting;
mod views;
mod worktree;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::task::JoinHandle;

use super::watch::scan::SeenSessions;
use super::watch::tracker::Seen;
use super::{Node, NodeError};
use crate::model::eligibility::{Demand, Place};
use crate::model::ids::{AttemptId, TaskId};
use crate::model::naming::SessionRef;
use crate::model::session::names;
use crate::model::task::Task;
use crate::model::text::clean;
use crate::probe;
use crate::probe::look::Watch;
use crate::store::{Store, StoreError};
use crate::tmux::{Error, Pane, Session, Tmux};
pub use plan::{Launch, Pool, PoolSettings, Stand};
use plan::{Member, MemberStage, PoolOffer, PoolScene, PoolStep, decide};

/// Rounds may follow each other quickly, but pools need not.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How long a round waits for the branch of a pool's directory.
const BRANCH_WITHIN: Duration = Duration::from_millis(100);

/// How long a look at a directory may take.
const DIRECTORY_WITHIN: Duration = Duration::from_secs(10);

/// A session that was told to end and is still there is treated as any other after this time.
const GOES_WITHIN: Duration = Duration::from_secs(5);

/// How long until another look at a session that has had its tasks, while a person has to see what
/// became of one.
const SEEN_AGAIN: Duration = Duration::from_secs(5);

/// How many tasks are looked at, at most.
const MOST_TASKS: usize = 256;

/// How many uncertain tasks are looked at before a session ends.
const MOST_UNCERTAIN: usize = 200;

/// How many worktrees that a daemon left are looked at.
const MOST_WORKTREES: usize = 1_000;

/// How many of the last lines of a session that did not come up are quoted, and their length in
/// characters.
const LAST_LINES: u32 = 5;
const LONGEST_QUOTE: usize = 300;

/// What is remembered of pools.
#[derive(Debug, Default)]
pub(in crate::node) struct Pools {
    /// The pools whose sessions did not come up.
    rests: BTreeMap<String, PoolRest>,
    /// The sessions of pools, by name.
    kept: BTreeMap<String, Kept>,
    looked: Option<Instant>,
    /// Whether the sessions that an earlier daemon started are among `kept`.
    known: bool,
    /// Whether what an earlier daemon left has been looked for.
    swept: bool,
    /// Worktrees that are being removed, by the name of their session.
    removals: BTreeMap<String, Removal>,
    branches: Branches,
}

impl Pools {
    /// Forgets how pools did that are described differently `after` than before: what was mended is tried
    /// at once.
    pub(in crate::node) fn forget_rests(&mut self, before: &PoolSettings, after: &PoolSettings) {
        self.rests.retain(|name, _| {
            let of = |settings: &PoolSettings| {
                let mut pools = settings.pools.iter();
                pools.find(|pool| pool.name == *name).cloned()
            };
            of(before) == of(after)
        });
        self.looked = None;
    }

    /// Returns the pools that are to be kept `after` a change: those that are gone and still have sessions get no
    /// further ones, and these are counted and ended as before.
    pub(in crate::node) fn outlived(
        &self,
        before: &PoolSettings,
        after: &PoolSettings,
    ) -> Vec<Pool> {
        let is_gone = |pool: &&Pool| !after.pools.iter().any(|other| other.name == pool.name);
        let has_sessions = |pool: &&Pool| self.kept.values().any(|kept| kept.pool == pool.name);
        let gone = before.pools.iter().filter(is_gone).filter(has_sessions);
        gone.map(|pool| Pool {
            max: 0,
            ..pool.clone()
        })
        .collect()
    }
}

/// The branches that pools' directories are on.
#[derive(Debug)]
struct Branches(Watch<Option<String>>);

impl Default for Branches {
    fn default() -> Self {
        Self(Watch::new(BRANCH_WITHIN, |path| {
            probe::git_branch(path).unwrap_or_default()
        }))
    }
}

/// How a pool is doing.
#[derive(Debug, Default)]
struct PoolRest {
    /// How many sessions in a row did not come up.
    failures: u32,
    until: Option<Timestamp>,
}

/// A session of a pool.
#[derive(Debug)]
struct Kept {
    pool: String,
    state: KeptState,
    /// When a task or a person was last seen there.
    used: Option<Timestamp>,
    /// How many tasks it has been given and has taken up.
    given: u32,
    /// Attempts from this one on are not counted yet.
    uncounted: Option<AttemptId>,
    /// It could not be ended, and must not be ended before this time.
    held: Option<Instant>,
}

impl Kept {
    /// Returns a session that was never seen with a task.
    fn new(pool: String, state: KeptState) -> Self {
        Self {
            pool,
            state,
            used: None,
            given: 0,
            uncounted: None,
            held: None,
        }
    }
}

#[derive(Debug)]
enum KeptState {
    /// Its directory is being prepared, for this task.
    Preparing(JoinHandle<Result<Ready, String>>, TaskId),
    /// It exists, or existed.
    There(MemberStage),
    /// It was told to end.
    Ending(Instant),
}

/// A place that a session can be started in.
#[derive(Debug)]
struct Ready {
    directory: String,
    /// What to say about it.
    note: String,
}

#[derive(Debug)]
struct Removal {
    ends: JoinHandle<Result<(), String>>,
    path: PathBuf,
    /// Whether the session ended under an earlier daemon.
    old: bool,
}

/// The sessions of the tmux server, by name.
type Sessions = HashMap<String, Session>;

/// What is to be done, by name.
#[derive(Debug)]
enum Todo {
    Start {
        pool: Pool,
        name: String,
        task: TaskId,
        branch: Option<String>,
    },
    Arrived(String),
    End(String, String),
    Fail(String, String),
    Stuck(String, String),
}

impl<T: Tmux + 'static> Node<T> {
    /// Starts and ends sessions of pools as the waiting tasks require. A problem with a pool is
    /// recorded, and does not end the round.
    ///
    /// # Errors
    /// The store failed.
    pub(crate) async fn keep_pools(
        &mut self,
        snapshot: &SeenSessions,
        now: Timestamp,
    ) -> Result<(), NodeError> {
        let looked = self.pools.looked;
        if self.settings.pools.pools.is_empty()
            || looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY)
        {
            return Ok(());
        }
        self.pools.looked = Some(Instant::now());
        let Some(sessions) = self.list_sessions().await else {
            return Ok(());
        };
        self.adopt(&sessions, snapshot, now);
        self.finish_ended(&sessions);
        self.sweep_worktrees(&sessions);
        self.tell_of_removals(now).await?;
        let lanes = self.ledger.run(Store::lanes).await?;
        let branches = self.pool_branches(&lanes).await;
        let tasks = self
            .tasks_for_pools(&lanes, &branches, snapshot, &sessions, now)
            .await?;
        for todo in self.plan_pools(&tasks, &branches, snapshot, &sessions, now) {
            match todo {
                Todo::Start {
                    pool,
                    name,
                    task,
                    branch,
                } => self.prepare_session(pool, name, task, branch),
                Todo::Arrived(name) => self.welcome(&name, &sessions).await,
                Todo::End(name, why) => self.end_session(&name, &why, &sessions, now).await?,
                Todo::Fail(name, why) => self.give_up(&name, &why, &sessions, now).await?,
                Todo::Stuck(name, why) => self.leave_alone(&name, &why, now).await?,
            }
        }
        // Last, because a new session is not in this round's list.
        self.start_prepared(now).await
    }

    /// Returns the sessions of the tmux server, or `None` if they are not known.
    async fn list_sessions(&mut self) -> Option<Sessions> {
        let sessions = match self.tmux.sessions().await {
            Ok(sessions) => sessions,
            Err(Error::NoServer) => Vec::new(),
            Err(error) => {
                tracing::debug!("the sessions of pools are not known: {error}");
                return None;
            }
        };
        let sessions = sessions.into_iter();
        let named = sessions.map(|session| (session.name.clone(), session));
        Some(named.collect())
    }

    /// Counts the tasks that sessions of pools have been given, where that may have changed.
    /// `panes` are those that may be given one in this round.
    ///
    /// # Errors
    /// The store failed.
    pub(in crate::node) async fn count_given(
        &mut self,
        panes: &[&Pane],
        now: Timestamp,
    ) -> Result<(), NodeError> {
        let mut pools = self.settings.pools.pools.iter();
        if panes.is_empty() || pools.all(|pool| pool.tasks == 0) {
            return Ok(());
        }
        if !self.pools.known
            && let Some(sessions) = self.list_sessions().await
        {
            self.adopt(&sessions, &SeenSessions::default(), now);
            self.pools.known = true;
        }
        let flies = |session: &str| {
            let mut flying = self.driver.flying().values();
            flying.any(|flying| names(&flying.session).any(|name| name == session))
        };
        let mut counting = Vec::new();
        for pane in panes {
            if let Some(kept) = self.pools.kept.get(&pane.session)
                && let Some(from) = kept.uncounted
                && self.pool(&kept.pool).is_some_and(|pool| pool.tasks > 0)
                && !flies(&pane.session)
            {
                counting.push((pane.session.clone(), pane.identity.clone(), from));
            }
        }
        if counting.is_empty() {
            return Ok(());
        }
        let count = move |store: &mut Store| {
            let counting = counting.into_iter();
            let counted = counting.map(|(session, identity, from)| {
                let taken = store.taken_up(&identity, from)?;
                Ok((session, identity, taken))
            });
            counted.collect::<Result<Vec<_>, StoreError>>()
        };
        for (session, identity, taken) in self.ledger.run(count).await? {
            let Some(kept) = self.pools.kept.get_mut(&session) else {
                continue;
            };
            kept.uncounted = None;
            kept.given = kept.given.saturating_add(taken);
            // Attempts may have been deleted since.
            if let Some(known) = self.tracker.get_mut(&identity) {
                let ended = known.completed.saturating_add(known.failed);
                kept.given = kept.given.max(ended);
            }
        }
        Ok(())
    }

    /// Notes that a session, of a pool or not, has been given a task.
    pub(in crate::node) fn note_given(&mut self, session: &str, attempt: AttemptId) {
        let kept = &mut self.pools.kept;
        if let Some(name) = names(session).find(|name| kept.contains_key(*name))
            && let Some(kept) = kept.get_mut(name)
        {
            kept.uncounted.get_or_insert(attempt);
        }
    }

    /// Returns why a session can be given no task, if it has had those that it is for.
    pub(in crate::node) fn spent(&self, session: &str) -> Option<String> {
        let Some(kept) = self.pools.kept.get(session) else {
            let mut pools = self.settings.pools.pools.iter();
            let may_be =
                !self.pools.known && pools.any(|pool| pool.tasks > 0 && pool.could_call(session));
            return may_be.then(|| "it is not known yet whether it belongs to a pool".to_owned());
        };
        let pool = self.pool(&kept.pool)?;
        let spent = pool.is_spent(kept.given);
        spent.then(|| format!("it was for {} and will be ended", pool.share()))
    }

    /// Returns the pool of this data directory that a session belongs to.
    fn pool_of(&self, session: &Session) -> Option<&Pool> {
        let settings = &self.settings.pools;
        let mark = session.mark.as_ref()?;
        let ours = settings.data_dir.to_str() == Some(mark.owner.as_str());
        let pool = ours.then(|| self.pool(&mark.pool)).flatten()?;
        pool.could_call(&session.name).then_some(pool)
    }

    fn pool(&self, name: &str) -> Option<&Pool> {
        let mut pools = self.settings.pools.pools.iter();
        pools.find(|pool| pool.name == name)
    }

    /// Returns the session of a pool as it is listed. A session that someone else has given this
    /// name does not count.
    fn listed<'a>(&self, name: &str, sessions: &'a Sessions) -> Option<&'a Session> {
        let session = sessions.get(name)?;
        self.pool_of(session).is_some().then_some(session)
    }

    /// Adopts sessions that bear the mark, and notes which of them are used.
    fn adopt(&mut self, sessions: &Sessions, snapshot: &SeenSessions, now: Timestamp) {
        for (name, session) in sessions {
            let Some(pool) = self.pool_of(session).map(|pool| pool.name.clone()) else {
                continue;
            };
            let made = Timestamp::from_second(session.created).map_or(now, |made| made.min(now));
            let stage = if session.up {
                MemberStage::Up
            } else {
                MemberStage::Starting(made)
            };
            let seen = snapshot.get(&session.pane);
            let at_work = seen.is_some_and(|seen| self.is_engaged(seen));
            let kept = self.pools.kept.entry(name.clone()).or_insert_with(|| {
                tracing::info!(session = ?name, %pool, "resumed");
                Kept {
                    uncounted: Some(AttemptId(0)),
                    ..Kept::new(pool, KeptState::There(stage))
                }
            });
            if session.clients > 0 || at_work {
                kept.used = Some(now);
            }
            if matches!(kept.state, KeptState::Ending(since) if since.elapsed() > GOES_WITHIN) {
                kept.state = KeptState::There(MemberStage::Up);
            }
        }
    }

    /// Whether a session has a task, including one given in this round, or has to report or undo
    /// something.
    fn is_engaged(&self, seen: &Seen) -> bool {
        let row = &seen.row;
        let written = self.tracker.written.get(&row.name);
        row.current_task.is_some()
            || written.is_some_and(|row| row.current_task.is_some())
            || seen.asked
            || self.tracker.is_unclean(&row.identity)
    }

    /// Returns the sessions that can be given a task now or in a moment.
    fn free_sessions<'a>(&'a self, snapshot: &'a SeenSessions) -> impl Iterator<Item = &'a Seen> {
        let given = |seen: &Seen| {
            let written = self.tracker.written.get(&seen.row.name);
            written.is_some_and(|row| row.current_task.is_some())
        };
        let sessions = snapshot.sessions.iter();
        sessions.filter(move |seen| seen.asked || (seen.ready && !given(seen)))
    }

    /// Decides what is to be done.
    fn plan_pools(
        &self,
        tasks: &[Task],
        branches: &BTreeMap<String, String>,
        snapshot: &SeenSessions,
        sessions: &Sessions,
        now: Timestamp,
    ) -> Vec<Todo> {
        let targets = tasks
            .iter()
            .filter_map(|task| awaited(task.target_session.as_ref()));
        let views = self.pool_views(targets, branches, sessions, now);
        let demands: Vec<Demand> = tasks.iter().map(Task::demand).collect();
        let ready: Vec<Place<'_>> = self
            .free_sessions(snapshot)
            .map(|seen| seen.row.place())
            .collect();
        let kept: Vec<(usize, &str, &Kept, PoolOffer)> = self
            .pools
            .kept
            .iter()
            .filter_map(|(name, kept)| {
                let mut pools = views.iter();
                let index = pools.position(|view| view.pool.name == kept.pool)?;
                let offer = self.offer(views.get(index)?.pool, name.clone(), branches);
                Some((index, name.as_str(), kept, offer))
            })
            .collect();
        let members: Vec<Member<'_>> = kept
            .iter()
            .filter_map(|(index, name, kept, offer)| {
                let pool = views.get(*index)?.pool;
                let session = self.listed(name, sessions);
                let seen = session.and_then(|session| snapshot.get(&session.pane));
                let place = offer.place(&pool.provider);
                Some(Member {
                    pool: *index,
                    place: seen.map_or(place, |seen| seen.row.place()),
                    stage: match kept.state {
                        KeptState::Preparing(..) => MemberStage::Preparing,
                        KeptState::There(stage) => stage,
                        KeptState::Ending(_) => MemberStage::Ending,
                    },
                    sight: self.sight(pool, session, seen),
                    alone: session.is_some_and(Session::is_alone),
                    used: kept.used,
                    spent: pool.is_spent(kept.given),
                    held: kept.held.is_some_and(|until| Instant::now() < until),
                })
            })
            .collect();
        let steps = decide(&PoolScene {
            pools: &views,
            members: &members,
            tasks: &demands,
            ready: &ready,
            now,
        });
        let named = |member: usize| kept.get(member).map(|(_, name, ..)| (*name).to_owned());
        steps
            .into_iter()
            .filter_map(|step| {
                Some(match step {
                    PoolStep::Start { pool, offer, task } => {
                        let (view, task) = (views.get(pool)?, tasks.get(task)?);
                        Todo::Start {
                            pool: view.pool.clone(),
                            name: view.offers.get(offer)?.name.clone(),
                            task: task.id,
                            branch: task.metadata.git_branch.clone(),
                        }
                    }
                    PoolStep::Arrived { member } => Todo::Arrived(named(member)?),
                    PoolStep::End { member, why } => Todo::End(named(member)?, why),
                    PoolStep::Fail { member, why } => Todo::Fail(named(member)?, why),
                    PoolStep::Stuck { member, why } => Todo::Stuck(named(member)?, why),
                })
            })
            .collect()
    }

    /// Counts a session as used, so that it is not ended before it has been idle again. If it has
    /// had its tasks, it is not ended before `pause` is over either.
    fn use_now(&mut self, name: &str, now: Timestamp, pause: Duration) {
        if let Some(kept) = self.pools.kept.get_mut(name) {
            kept.used = Some(now);
            kept.held = Instant::now().checked_add(pause);
            if matches!(kept.state, KeptState::There(MemberStage::Starting(_))) {
                kept.state = KeptState::There(MemberStage::Stuck);
            }
        }
    }

    async fn note_pool(
        &mut self,
        name: &str,
        action: &'static str,
        details: String,
        now: Timestamp,
    ) -> Result<(), NodeError> {
        tracing::info!(session = ?name, "{action}: {}", clean(&details));
        let name = name.to_owned();
        let noted = self
            .ledger
            .run(move |store| store.note_session(&name, action, &details, now));
        Ok(noted.await?)
    }

    fn listed_pool(&self, name: &str) -> Option<&Pool> {
        let kept = self.pools.kept.get(name)?;
        self.pool(&kept.pool)
    }

    fn forget_session(&mut self, name: &str, pid: Option<u32>) {
        self.remove_worktree(name, pid);
        self.pools.kept.remove(name);
    }
}

/// Returns the name that a task waits for. If the name already meant a session once, that one is
/// not started again.
fn awaited(target: Option<&SessionRef>) -> Option<&str> {
    let target = target.filter(|target| target.meaning.is_none())?;
    Some(&target.name)
}
