//! pools: starts sessions that tasks wait for, and ends those of its own that nobody needs. `pool`
//! decides what is wanted; this module observes and acts.
//!
//! A session is known by its mark in tmux, so that a new daemon recognizes those of the last one,
//! and only sessions of this data directory are ever ended. Each action is in the history of the
//! session before it happens. How many tasks a session has been given is counted from the attempts;
//! those of an earlier daemon are counted before anyone is given the first task.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::task::JoinHandle;

use super::pool::{
    Launch, Member, MemberSight, MemberStage, Pool, PoolOffer, PoolScene, PoolStep, Stand, View,
    decide, rest_after,
};
use super::scan::SeenSessions;
use super::tracker::{Seen, What};
use super::{Engine, RoundError, worktree};
use crate::model::eligibility::{Admission, Demand, Place};
use crate::model::ids::{AttemptId, TaskId};
use crate::model::naming::{SessionRef, Who};
use crate::model::session::{Activity, names};
use crate::model::task::{Status, Task};
use crate::model::text::clean;
use crate::probe;
use crate::probe::look::{self, Watch};
use crate::store::{Lane, SessionRow, Store, StoreError};
use crate::tmux::{Error, Mark, NewSession, Pane, Session, Tmux};

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
pub(super) struct Pools {
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

impl<T: Tmux + 'static> Engine<T> {
    /// Starts and ends sessions of pools as the waiting tasks require. A problem with a pool is
    /// recorded, and does not end the round.
    ///
    /// # Errors
    /// The store failed.
    pub(super) async fn keep_pools(
        &mut self,
        snapshot: &SeenSessions,
        now: Timestamp,
    ) -> Result<(), RoundError> {
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
    pub(super) async fn count_given(
        &mut self,
        panes: &[&Pane],
        now: Timestamp,
    ) -> Result<(), RoundError> {
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
    pub(super) fn note_given(&mut self, session: &str, attempt: AttemptId) {
        let kept = &mut self.pools.kept;
        if let Some(name) = names(session).find(|name| kept.contains_key(*name))
            && let Some(kept) = kept.get_mut(name)
        {
            kept.uncounted.get_or_insert(attempt);
        }
    }

    /// Returns why a session can be given no task, if it has had those that it is for.
    pub(super) fn spent(&self, session: &str) -> Option<String> {
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

    /// Returns the waiting tasks that an existing or a new session of a pool could be given.
    async fn tasks_for_pools(
        &mut self,
        lanes: &[Lane],
        branches: &BTreeMap<String, String>,
        snapshot: &SeenSessions,
        sessions: &Sessions,
        now: Timestamp,
    ) -> Result<Vec<Task>, RoundError> {
        if lanes.is_empty() {
            return Ok(Vec::new());
        }
        let targets = lanes
            .iter()
            .filter_map(|lane| awaited(lane.target_session.as_ref()));
        let views = self.pool_views(targets, branches, sessions, now);
        let free: Vec<Place<'_>> = self
            .free_sessions(snapshot)
            .filter(|seen| self.pools.kept.contains_key(&seen.row.name))
            .map(|seen| seen.row.place())
            .collect();
        let suits = |lane: &&Lane| {
            if self.orders.is_agent_paused(lane) {
                return false;
            }
            let demand = lane.demand();
            let offered = views.iter().any(|view| view.serves(&demand));
            offered || free.iter().any(|place| demand.excludes(place).is_none())
        };
        let lanes: Vec<Lane> = lanes.iter().filter(suits).cloned().collect();
        if lanes.is_empty() {
            return Ok(Vec::new());
        }
        let seats = snapshot.sessions.len() + self.pools.kept.len();
        let limit = (seats + 16).min(MOST_TASKS);
        Ok(self
            .ledger
            .run(move |store| store.pending(&lanes, limit, None))
            .await?)
    }

    /// Returns each pool with the sessions that it could start, including those that tasks ask for
    /// by name.
    fn pool_views<'a>(
        &self,
        targets: impl Iterator<Item = &'a str>,
        branches: &BTreeMap<String, String>,
        sessions: &Sessions,
        now: Timestamp,
    ) -> Vec<View<'_>> {
        let targets: BTreeSet<&str> = targets.collect();
        let mut views = Vec::new();
        for pool in &self.settings.pools.pools {
            let rest = self.pools.rests.get(&pool.name);
            let rests = rest.and_then(|rest| rest.until);
            let taken = |name: &str| self.is_taken(pool, name, sessions);
            let named = targets
                .iter()
                .filter(|target| pool.could_call(target) && !taken(target));
            let named: Vec<String> = named.map(|target| (*target).to_owned()).collect();
            let names = pool.free_name(taken).into_iter().chain(named);
            let offers = names
                .filter(|name| {
                    self.orders
                        .pause(Who::named(name), &pool.provider)
                        .is_none()
                })
                .map(|name| self.offer(pool, name, branches));
            views.push(View {
                pool,
                open: rests.is_none_or(|until| until <= now),
                offers: offers.collect(),
            });
        }
        views
    }

    /// Returns what a session with this name would be.
    fn offer(&self, pool: &Pool, name: String, branches: &BTreeMap<String, String>) -> PoolOffer {
        let settings = &self.settings;
        let admission = if names(&name).any(|name| settings.exclude.is_match(name)) {
            Admission::Excluded
        } else if names(&name).any(|name| settings.protect.is_match(name)) {
            Admission::Protected
        } else {
            Admission::Open
        };
        PoolOffer {
            // A pool's worktree is on a commit, and therefore on no branch.
            branch: branches.get(&pool.name).cloned(),
            directory: pool.stand.path().to_str().map(str::to_owned),
            labels: self.orders.labels(Who::named(&name)),
            admission,
            shell: pool.command.shell(),
            name,
        }
    }

    /// Returns the branch that each pool's directory is on, if a task asks for a branch.
    async fn pool_branches(&mut self, lanes: &[Lane]) -> BTreeMap<String, String> {
        if lanes.iter().all(|lane| lane.branch.is_none()) {
            return BTreeMap::new();
        }
        let pools = self.settings.pools.pools.iter();
        let directories: Vec<(String, PathBuf)> = pools
            .filter_map(|pool| match &pool.stand {
                Stand::Directory(directory) => Some((pool.name.clone(), directory.clone())),
                Stand::Worktree(_) => None,
            })
            .collect();
        let paths = directories.iter().map(|(_, directory)| directory.clone());
        let seen = self.pools.branches.0.all(paths).await;
        let directories = directories.into_iter();
        directories
            .filter_map(|(name, directory)| Some((name, seen.get(&directory)?.clone()?)))
            .collect()
    }

    /// Whether no new session of a pool can have this name: there is one, or its worktree has
    /// stayed.
    fn is_taken(&self, pool: &Pool, name: &str, sessions: &Sessions) -> bool {
        let pools = &self.pools;
        let stays = || {
            self.worktree_of(pool, name)
                .is_some_and(|path| path.symlink_metadata().is_ok())
        };
        sessions.contains_key(name)
            || pools.kept.contains_key(name)
            || pools.removals.contains_key(name)
            || stays()
    }

    /// Returns the directory of all pools' worktrees.
    fn worktrees(&self) -> PathBuf {
        self.settings.pools.data_dir.join("worktrees")
    }

    /// Returns the path of a session's worktree, or `None` if its pool has none.
    fn worktree_of(&self, pool: &Pool, name: &str) -> Option<PathBuf> {
        match pool.stand {
            Stand::Worktree(_) => Some(self.worktrees().join(name)),
            Stand::Directory(_) => None,
        }
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
        let providers: Vec<Vec<String>> = tasks.iter().map(Task::allowed_providers).collect();
        let demands: Vec<Demand<'_>> = tasks
            .iter()
            .zip(&providers)
            .map(|(task, providers)| task.demand(providers))
            .collect();
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

    fn sight(&self, pool: &Pool, session: Option<&Session>, seen: Option<&Seen>) -> MemberSight {
        let Some(session) = session else {
            return MemberSight::Gone;
        };
        if session.dead {
            return MemberSight::Dead;
        }
        let Some(seen) = seen else {
            return MemberSight::Stranger;
        };
        let row = &seen.row;
        // Something has happened there since the scan.
        let moved = row.activity == Activity::Idle && session.cursor != seen.cursor;
        MemberSight::Seen {
            expected: row.provider == pool.provider,
            agent: matches!(seen.what, What::Agent(_)),
            activity: if moved {
                Activity::Unknown
            } else {
                row.activity
            },
            since: row.since,
            engaged: self.is_engaged(seen),
            paused: row.paused,
        }
    }

    /// Prepares the place of a new session, alongside the rounds.
    fn prepare_session(&mut self, pool: Pool, name: String, task: TaskId, branch: Option<String>) {
        tracing::info!(session = ?name, pool = %pool.name, %task, "starting");
        let path = self.worktrees().join(&name);
        let stand = pool.stand;
        let ready = tokio::spawn(async move {
            match stand {
                Stand::Directory(directory) => directory_ready(directory).await,
                Stand::Worktree(repository) => {
                    worktree_ready(&repository, &path, branch.as_deref()).await
                }
            }
        });
        let kept = Kept::new(pool.name, KeptState::Preparing(ready, task));
        self.pools.kept.insert(name, kept);
    }

    /// Starts the sessions whose place is prepared.
    async fn start_prepared(&mut self, now: Timestamp) -> Result<(), RoundError> {
        let kept = self.pools.kept.iter();
        let prepared = kept.filter_map(|(name, kept)| match &kept.state {
            KeptState::Preparing(ready, _) if ready.is_finished() => Some(name.clone()),
            KeptState::Preparing(..) | KeptState::There(_) | KeptState::Ending(_) => None,
        });
        let prepared: Vec<String> = prepared.collect();
        for name in prepared {
            let Some(kept) = self.pools.kept.get_mut(&name) else {
                continue;
            };
            let starting = KeptState::There(MemberStage::Starting(now));
            let KeptState::Preparing(ready, task) = std::mem::replace(&mut kept.state, starting)
            else {
                continue;
            };
            let Some(pool) = self
                .pools
                .kept
                .get(&name)
                .and_then(|kept| self.pool(&kept.pool))
            else {
                continue;
            };
            let pool = pool.clone();
            let ready = ready
                .await
                .unwrap_or_else(|_| Err("its directory could not be prepared".to_owned()));
            let started = match ready {
                Ok(ready) => self.start_session(&pool, &name, task, ready, now).await?,
                Err(why) => Err(why),
            };
            if let Err(why) = started {
                let rest = self.rest_pool(&pool.name, now);
                let details = format!("{why}; {rest}");
                self.note_pool(&name, "not_started", details, now).await?;
                self.forget_session(&name, None);
            }
        }
        Ok(())
    }

    async fn start_session(
        &mut self,
        pool: &Pool,
        name: &str,
        task: TaskId,
        ready: Ready,
        now: Timestamp,
    ) -> Result<Result<(), String>, RoundError> {
        let settings = &self.settings.pools;
        let owner = settings.data_dir.to_string_lossy().into_owned();
        let mut variables = pool.env.clone();
        // For the reports of an agent there.
        variables.insert("ASSIGNER_DATA_DIR".to_owned(), owner.clone());
        variables.insert("ASSIGNER_TMUX_SOCKET".to_owned(), settings.socket.clone());
        let details = format!(
            "pool {}, for task {task}, in {}: {}{}",
            pool.name, ready.directory, pool.command, ready.note
        );
        let new = NewSession {
            name: name.to_owned(),
            directory: ready.directory,
            command: self.command_of(pool),
            variables,
            mark: Mark {
                pool: pool.name.clone(),
                owner,
            },
        };
        self.note_pool(name, "started", details, now).await?;
        Ok(match self.tmux.start_session(&new).await {
            Ok(()) => Ok(()),
            // The next list shows whether it was started.
            Err(error @ (Error::TimedOut(_) | Error::Closed | Error::Protocol(_))) => {
                tracing::warn!(session = ?name, "its start is not confirmed: {error}");
                Ok(())
            }
            Err(error) => Err(format!("failed to {error}")),
        })
    }

    /// Returns the command of a new session. A shell has its integration from the beginning.
    fn command_of(&self, pool: &Pool) -> Vec<String> {
        // A line of plain words means the same without a shell that reads it.
        let is_plain = |char: char| char.is_ascii_alphanumeric() || " ./_-".contains(char);
        let (words, line) = match &pool.command {
            Launch::Words(words) => (words.clone(), None),
            Launch::Line(line) if line.chars().all(is_plain) => (
                line.split_whitespace().map(str::to_owned).collect(),
                Some(line),
            ),
            Launch::Line(line) => return vec![line.clone()],
        };
        let launched = if self.settings.shell_integration {
            self.shells.launch(words.clone())
        } else {
            words.clone()
        };
        match line {
            Some(line) if launched == words => vec![line.clone()],
            // tmux would take a single word for a shell line.
            None if launched.len() == 1 => [&["env".to_owned()], launched.as_slice()].concat(),
            _ => launched,
        }
    }

    /// Notes that a session has come up.
    async fn welcome(&mut self, name: &str, sessions: &Sessions) {
        let (Some(session), Some(kept)) = (sessions.get(name), self.pools.kept.get_mut(name))
        else {
            return;
        };
        kept.state = KeptState::There(MemberStage::Up);
        self.pools.rests.remove(&kept.pool);
        tracing::info!(session = ?name, "is up");
        // A daemon that does not find this mark gives the session its time to come up again.
        if let Err(error) = self.tmux.mark_up(session).await {
            tracing::debug!(session = ?name, "failed to mark it: {error}");
        }
    }

    /// Ends a session that nobody needs, or records that one has ended.
    async fn end_session(
        &mut self,
        name: &str,
        why: &str,
        sessions: &Sessions,
        now: Timestamp,
    ) -> Result<(), RoundError> {
        let session = self.listed(name, sessions);
        if session.is_some() && self.is_evidence(name).await? {
            // A person still has to see what became of a task there.
            self.use_now(name, now, SEEN_AGAIN);
            return Ok(());
        }
        self.note_pool(name, "ended", why.to_owned(), now).await?;
        match session {
            Some(session) => self.kill_session(name, session, now).await,
            None => {
                self.forget_session(name, None);
                Ok(())
            }
        }
    }

    /// Ends a session that did not come up, and lets its pool rest.
    async fn give_up(
        &mut self,
        name: &str,
        why: &str,
        sessions: &Sessions,
        now: Timestamp,
    ) -> Result<(), RoundError> {
        let Some(pool) = self.pools.kept.get(name).map(|kept| kept.pool.clone()) else {
            return Ok(());
        };
        let session = self.listed(name, sessions);
        let mut details = why.to_owned();
        if let Some(session) = session {
            if let (true, Some(status)) = (session.dead, session.dead_status) {
                details += &format!(" with exit code {status}");
            }
            let lines = self.tmux.tail(&session.pane, LAST_LINES).await;
            details += &quote(&lines.unwrap_or_default());
        }
        let rest = self.rest_pool(&pool, now);
        let reason = format!("{details}; {rest}");
        if let Some(session) = session {
            self.record_gone(name, session, &details, now).await?;
        }
        self.note_pool(name, "ended", reason, now).await?;
        match session {
            Some(session) => self.kill_session(name, session, now).await,
            None => {
                self.forget_session(name, None);
                Ok(())
            }
        }
    }

    /// Leaves a session that did not come up to a person, and lets its pool rest.
    async fn leave_alone(
        &mut self,
        name: &str,
        why: &str,
        now: Timestamp,
    ) -> Result<(), RoundError> {
        let Some(kept) = self.pools.kept.get_mut(name) else {
            return Ok(());
        };
        kept.state = KeptState::There(MemberStage::Stuck);
        let pool = kept.pool.clone();
        let rest = self.rest_pool(&pool, now);
        let details = format!("{why}; it stays so that a person can look at it, and {rest}");
        self.note_pool(name, "not_ready", details, now).await
    }

    async fn kill_session(
        &mut self,
        name: &str,
        session: &Session,
        now: Timestamp,
    ) -> Result<(), RoundError> {
        let why = match self.tmux.end_session(session).await {
            Ok(true) => {
                self.pools.kept.entry(name.to_owned()).and_modify(|kept| {
                    kept.state = KeptState::Ending(Instant::now());
                });
                let pid = Some(session.pane.pane_pid);
                self.remove_worktree(name, pid);
                return Ok(());
            }
            Ok(false) => "someone has attached to it".to_owned(),
            Err(error) => format!("failed to {error}"),
        };
        let pause = self.listed_pool(name).map_or(SEEN_AGAIN, |pool| pool.idle);
        self.use_now(name, now, pause);
        let details = format!("it was not ended after all: {why}");
        self.note_pool(name, "not_ended", details, now).await
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

    /// Whether a task with an unknown outcome was last tried in this session.
    async fn is_evidence(&mut self, name: &str) -> Result<bool, RoundError> {
        let name = name.to_owned();
        let found = self.ledger.run(move |store| {
            for task in store.tasks(&[Status::Uncertain], MOST_UNCERTAIN)? {
                let attempts = store.attempts(task.id)?;
                if attempts.last().is_some_and(|last| last.session == name) {
                    return Ok(true);
                }
            }
            Ok(false)
        });
        Ok(found.await?)
    }

    /// Lets a pool rest, longer each time, and returns a message that says so.
    fn rest_pool(&mut self, pool: &str, now: Timestamp) -> String {
        let rest = self.pools.rests.entry(pool.to_owned()).or_default();
        rest.failures = rest.failures.saturating_add(1);
        let pause = rest_after(rest.failures);
        rest.until = now.checked_add(pause).ok();
        let said = format!("pool {pool} rests for {} s", pause.as_secs());
        tracing::warn!("{said}");
        said
    }

    async fn note_pool(
        &mut self,
        name: &str,
        action: &'static str,
        details: String,
        now: Timestamp,
    ) -> Result<(), RoundError> {
        tracing::info!(session = ?name, "{action}: {}", clean(&details));
        let name = name.to_owned();
        let noted = self
            .ledger
            .run(move |store| store.note_session(&name, action, &details, now));
        Ok(noted.await?)
    }

    /// Records a session that failed before any scan saw it, so that people find its history.
    async fn record_gone(
        &mut self,
        name: &str,
        session: &Session,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), RoundError> {
        let pool = self.listed_pool(name);
        if self.tracker.written.contains_key(name) {
            return Ok(());
        }
        let row = SessionRow {
            name: name.to_owned(),
            identity: session.pane.clone(),
            activity: Activity::Gone,
            reason: Some(reason.to_owned()),
            since: now,
            provider: pool.map_or_else(String::new, |pool| pool.provider.clone()),
            current_dir: None,
            git_branch: None,
            repository: None,
            shell: None,
            env: BTreeMap::new(),
            current_task: None,
            completed: 0,
            failed: 0,
            context_at: now,
            admission: Admission::Open,
            paused: false,
            labels: self.orders.labels(Who::named(name)),
            homes: Vec::new(),
        };
        let rows = [row.clone()];
        self.ledger
            .run(move |store| store.record_sessions(&rows, now))
            .await?;
        self.tracker.written.insert(name.to_owned(), row);
        Ok(())
    }

    fn listed_pool(&self, name: &str) -> Option<&Pool> {
        let kept = self.pools.kept.get(name)?;
        self.pool(&kept.pool)
    }

    /// Forgets sessions that were told to end and are gone.
    fn finish_ended(&mut self, sessions: &Sessions) {
        let kept = self.pools.kept.iter();
        let over = kept.filter(|(name, kept)| {
            matches!(kept.state, KeptState::Ending(_)) && self.listed(name, sessions).is_none()
        });
        let over: Vec<String> = over.map(|(name, _)| name.clone()).collect();
        for name in over {
            self.pools.kept.remove(&name);
        }
    }

    fn forget_session(&mut self, name: &str, pid: Option<u32>) {
        self.remove_worktree(name, pid);
        self.pools.kept.remove(name);
    }

    /// Removes the worktree of a session that has ended, alongside the rounds. `pid` is the process
    /// that ran there.
    fn remove_worktree(&mut self, name: &str, pid: Option<u32>) {
        let written = self.tracker.written.get(name);
        let pid = pid.or(written.map(|row| row.identity.pane_pid));
        let Some(pool) = self.listed_pool(name) else {
            return;
        };
        let Stand::Worktree(repository) = pool.stand.clone() else {
            return;
        };
        let path = self.worktrees().join(name);
        self.begin_removal(name, repository, path, pid, false);
    }

    fn begin_removal(
        &mut self,
        name: &str,
        repository: PathBuf,
        path: PathBuf,
        pid: Option<u32>,
        old: bool,
    ) {
        if path.symlink_metadata().is_err() || self.pools.removals.contains_key(name) {
            return;
        }
        let removed = path.clone();
        let ends = tokio::spawn(async move { worktree::remove(&repository, &removed, pid).await });
        let removal = Removal { ends, path, old };
        self.pools.removals.insert(name.to_owned(), removal);
    }

    /// Looks once for worktrees of sessions that ended while no daemon was watching.
    fn sweep_worktrees(&mut self, sessions: &Sessions) {
        if std::mem::replace(&mut self.pools.swept, true) {
            return;
        }
        let entries = std::fs::read_dir(self.worktrees()).into_iter().flatten();
        let names = entries
            .flatten()
            .take(MOST_WORKTREES)
            .filter_map(|entry| entry.file_name().into_string().ok());
        let left: Vec<String> = names
            .filter(|name| !sessions.contains_key(name) && !self.pools.kept.contains_key(name))
            .collect();
        for name in left {
            let mut pools = self.settings.pools.pools.iter();
            let Some(pool) = pools.find(|pool| pool.could_call(&name)) else {
                continue;
            };
            let Stand::Worktree(repository) = pool.stand.clone() else {
                continue;
            };
            // It may be running on a server other than the one that is watched now.
            let pid = self
                .tracker
                .written
                .get(&name)
                .map(|row| row.identity.pane_pid);
            if pid.is_some_and(probe::is_alive) {
                continue;
            }
            let path = self.worktrees().join(&name);
            self.begin_removal(&name, repository, path, pid, true);
        }
    }

    /// Records what became of worktrees.
    async fn tell_of_removals(&mut self, now: Timestamp) -> Result<(), RoundError> {
        let ended =
            |(name, removal): (&String, &Removal)| removal.ends.is_finished().then(|| name.clone());
        let ended: Vec<String> = self.pools.removals.iter().filter_map(ended).collect();
        for name in ended {
            let Some(Removal { ends, path, old }) = self.pools.removals.remove(&name) else {
                continue;
            };
            let outcome = ends
                .await
                .unwrap_or_else(|_| Err("it could not be looked at".to_owned()));
            let path = path.display();
            let (action, details) = match outcome {
                Ok(()) => ("worktree_removed", format!("{path}")),
                // That was reported when its session ended.
                Err(_) if old => continue,
                Err(why) => ("worktree_kept", format!("{path} stays: {why}")),
            };
            self.note_pool(&name, action, details, now).await?;
        }
        Ok(())
    }
}

/// Checks whether a directory exists.
async fn directory_ready(directory: PathBuf) -> Result<Ready, String> {
    let shown = directory.display().to_string();
    let looked = directory.clone();
    let look = move || std::fs::metadata(looked);
    let Some(found) = look::within(&directory, DIRECTORY_WITHIN, look).await else {
        return Err(format!("the directory `{shown}` does not answer"));
    };
    match found {
        Ok(found) if found.is_dir() => Ok(Ready {
            directory: text(&directory)?,
            note: String::new(),
        }),
        Ok(_) => Err(format!("`{shown}` is not a directory")),
        Err(error) => Err(format!("the directory `{shown}` cannot be used: {error}")),
    }
}

/// Creates a worktree.
async fn worktree_ready(
    repository: &Path,
    path: &Path,
    branch: Option<&str>,
) -> Result<Ready, String> {
    let directory = text(path)?;
    if let Some(parent) = path.parent() {
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent);
        made.map_err(|error| format!("cannot make `{}`: {error}", parent.display()))?;
    }
    let stands = worktree::add(repository, path, branch).await?;
    Ok(Ready {
        directory,
        note: format!(", {stands}"),
    })
}

/// Returns the name that a task waits for. If the name already meant a session once, that one is
/// not started again.
fn awaited(target: Option<&SessionRef>) -> Option<&str> {
    let target = target.filter(|target| target.meaning.is_none())?;
    Some(&target.name)
}

fn text(path: &Path) -> Result<String, String> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| format!("`{}` is not UTF-8", path.display()))
}

/// Returns the last lines of a session on one line, without what tmux itself writes there.
fn quote(lines: &str) -> String {
    let lines = lines
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("Pane is dead"));
    let joined = lines.collect::<Vec<_>>().join(" | ");
    if joined.is_empty() {
        return joined;
    }
    let shown: String = joined.chars().take(LONGEST_QUOTE).collect();
    let more = if shown.len() < joined.len() {
        "…"
    } else {
        ""
    };
    format!(": {shown}{more}")
}
