//! What there is for pools to decide on: the tasks that wait for them, and what they could offer.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::PathBuf;

use jiff::Timestamp;

use super::MOST_TASKS;
use super::Sessions;
use super::awaited;
use super::plan::MemberSight;
use super::plan::Pool;
use super::plan::PoolOffer;
use super::plan::Stand;
use super::plan::View;
use crate::model::eligibility::Admission;
use crate::model::eligibility::Place;
use crate::model::naming::Who;
use crate::model::session::Activity;
use crate::model::session::names;
use crate::model::task::Task;
use crate::node::Node;
use crate::node::NodeError;
use crate::node::watch::scan::SeenSessions;
use crate::node::watch::tracker::Seen;
use crate::node::watch::tracker::What;
use crate::store::Lane;
use crate::tmux::Session;
use crate::tmux::Tmux;

impl<T: Tmux + 'static> Node<T> {
    /// Returns the waiting tasks that an existing or a new session of a pool could be given.
    pub(super) async fn tasks_for_pools(
        &mut self,
        lanes: &[Lane],
        branches: &BTreeMap<String, String>,
        snapshot: &SeenSessions,
        sessions: &Sessions,
        now: Timestamp,
    ) -> Result<Vec<Task>, NodeError> {
        if lanes.is_empty() {
            return Ok(Vec::new());
        }
        let targets = lanes
            .iter()
            .filter_map(|lane| awaited(lane.demand.target_session.as_ref()));
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
            let demand = &lane.demand;
            let offered = views.iter().any(|view| view.serves(demand));
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
    pub(super) fn pool_views<'a>(
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
    pub(super) fn offer(
        &self,
        pool: &Pool,
        name: String,
        branches: &BTreeMap<String, String>,
    ) -> PoolOffer {
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
    pub(super) async fn pool_branches(&mut self, lanes: &[Lane]) -> BTreeMap<String, String> {
        if lanes.iter().all(|lane| lane.demand.branch.is_none()) {
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
    pub(super) fn is_taken(&self, pool: &Pool, name: &str, sessions: &Sessions) -> bool {
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

    pub(super) fn sight(
        &self,
        pool: &Pool,
        session: Option<&Session>,
        seen: Option<&Seen>,
    ) -> MemberSight {
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
}
