//! What the engine gives the matcher: the sessions as they were seen, what they export, the
//! resolved paths of directories, and a policy on a thread of its own. Also handles the outcome of
//! a round.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::scan::SeenSessions;
use super::tracker::Tracker;
use super::{Engine, RoundError, lock};
use crate::matcher::{Decide, MatchError, Matched, MatcherAnswer, Offer, Surroundings};
use crate::model::matching::Question;
use crate::model::session::Activity;
use crate::node::attempt::Brief;
use crate::policy::PolicyHost;
use crate::probe;
use crate::probe::look::{self, DirectorySight as Looked, Watch};
use crate::store::SessionRow;
use crate::tmux::Tmux;

/// What was seen on this machine.
struct LocalSurroundings<'a> {
    snapshot: &'a SeenSessions,
    tracker: &'a Tracker,
    directories: &'a mut Watch<Option<String>>,
}

impl Surroundings for LocalSurroundings<'_> {
    fn variables(
        &self,
        session: &SessionRow,
        names: &BTreeSet<String>,
    ) -> BTreeMap<String, String> {
        let seen = self.snapshot.get(&session.identity);
        exported(session, seen.and_then(|seen| seen.live.as_deref()), names)
    }

    fn is_stale(&self, session: &SessionRow) -> bool {
        let seen = self.snapshot.get(&session.identity);
        seen.is_some_and(|seen| self.tracker.may_be_asked(seen) && !self.tracker.is_fresh(seen))
    }

    async fn resolve(&mut self, directories: Vec<PathBuf>) -> HashMap<PathBuf, Option<String>> {
        self.directories.all(directories).await
    }
}

/// A policy that is asked on a thread where it may take its time.
struct AskedPolicy<'a>(&'a Arc<Mutex<PolicyHost>>);

impl Decide for AskedPolicy<'_> {
    fn lists_busy(&self) -> bool {
        lock(self.0).lists_busy()
    }

    async fn decide(&self, question: Question) -> Option<MatcherAnswer> {
        let policy = Arc::clone(self.0);
        let decide = move || lock(&policy).decide(&question, Instant::now());
        let verdict = tokio::task::spawn_blocking(decide).await.ok()?;
        Some(MatcherAnswer {
            decisions: verdict.decisions,
            by: verdict.by,
            failed: verdict.failure.is_some(),
        })
    }
}

impl From<MatchError> for RoundError {
    fn from(error: MatchError) -> Self {
        match error {
            MatchError::Store(error) => Self::Store(error),
            MatchError::Nobody => Self::Policy,
        }
    }
}

impl<T: Tmux + 'static> Engine<T> {
    /// Has tasks given to the sessions that were seen, and starts their attempts.
    pub(super) async fn match_tasks(
        &mut self,
        snapshot: &SeenSessions,
        now: Timestamp,
    ) -> Result<(), RoundError> {
        let offers = snapshot.sessions.iter().map(|seen| Offer {
            row: &seen.row,
            ready: seen.ready,
            asked: seen.asked,
        });
        let offers: Vec<Offer<'_>> = offers.collect();
        let mut here = LocalSurroundings {
            snapshot,
            tracker: &self.tracker,
            directories: &mut self.directories,
        };
        let matched = self
            .matcher
            .round(&offers, &AskedPolicy(&self.policy), &mut here, &*self.world)
            .await?;
        let Matched {
            given,
            inquiries,
            unbound,
        } = matched;
        self.orders.stale |= unbound;
        for given in &given {
            // The rows as the claim has written them; the next scan writes what differs.
            if let Some(row) = self.tracker.written.get_mut(&given.session) {
                row.current_task = Some(given.task.id);
                row.activity = Activity::Busy;
                row.reason = Some(format!("runs task {}", given.task.id));
            }
            self.note_given(&given.session, given.attempt);
        }
        for given in given {
            tracing::info!(task = %given.task.id, session = ?given.session, "claimed");
            self.begin(Brief {
                attempt: given.attempt,
                task: given.task,
                session: given.session,
                identity: given.identity,
            });
        }
        for inquiry in inquiries {
            self.ask(&inquiry, snapshot, now).await?;
        }
        Ok(())
    }
}

/// Returns those of the variables `names` that a session exports, as far as is known: what it has
/// reported (`live`), or else what it was started with and what it was given since.
pub(super) fn exported(
    row: &SessionRow,
    live: Option<&BTreeMap<String, String>>,
    names: &BTreeSet<String>,
) -> BTreeMap<String, String> {
    if names.is_empty() {
        return BTreeMap::new();
    }
    if let Some(live) = live {
        let told = names.iter();
        return told
            .filter_map(|name| Some((name.clone(), live.get(name)?.clone())))
            .collect();
    }
    let mut env = probe::environment(row.identity.pane_pid, names);
    let given = row.env.iter().filter(|(name, _)| names.contains(*name));
    env.extend(given.map(|(name, value)| (name.clone(), value.clone())));
    env
}

/// How long a round waits for a directory that a task names.
const RESOLVED_WITHIN: Duration = Duration::from_millis(100);

/// Returns what resolves links in the paths of tasks' directories, because the system names the
/// directory of a process by its resolved path.
pub(super) fn directories() -> Watch<Option<String>> {
    Watch::new(RESOLVED_WITHIN, look::resolved)
}

/// Returns the resolved path of a directory that a task names, if it was looked at.
pub(super) fn named(directory: Option<&str>, place: Option<&Looked>) -> Option<String> {
    let resolved = place.and_then(|place| place.path.as_deref());
    directory.map(|directory| resolved.unwrap_or(directory).to_owned())
}
