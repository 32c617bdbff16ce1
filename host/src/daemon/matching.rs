//! What the engine gives the matcher: what is known of this machine, and the policy that decides.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::matcher::{Decide, MatcherAnswer, Surroundings};
use crate::model::matching::Question;
use crate::node::{Node, SeenSessions};
use crate::policy::PolicyHost;
use crate::probe::look::{self, Watch};
use crate::store::SessionRow;
use crate::tmux::Tmux;

/// How long a round waits for a directory that a task names.
const RESOLVED_WITHIN: Duration = Duration::from_millis(100);

/// What was seen on this machine.
pub(super) struct LocalSurroundings<'a, T: Tmux + 'static> {
    pub(super) node: &'a Node<T>,
    pub(super) snapshot: &'a SeenSessions,
    pub(super) directories: &'a mut Watch<Option<String>>,
}

impl<T: Tmux + 'static> Surroundings for LocalSurroundings<'_, T> {
    fn variables(
        &self,
        session: &SessionRow,
        names: &BTreeSet<String>,
    ) -> BTreeMap<String, String> {
        self.node.exports(self.snapshot, session, names)
    }

    fn is_stale(&self, session: &SessionRow) -> bool {
        self.node.is_stale(self.snapshot, session)
    }

    async fn resolve(&mut self, directories: Vec<PathBuf>) -> HashMap<PathBuf, Option<String>> {
        self.directories.all(directories).await
    }
}

/// A policy that is asked on a thread where it may take its time.
pub(super) struct AskedPolicy<'a>(pub(super) &'a Arc<Mutex<PolicyHost>>);

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

/// Returns what resolves links in the paths of tasks' directories, because the system names the
/// directory of a process by its resolved path.
pub(super) fn directories() -> Watch<Option<String>> {
    Watch::new(RESOLVED_WITHIN, look::resolved)
}

/// A panic in a policy call must not take the engine with it. The data is only ever replaced as a
/// whole, so it is still valid.
pub(super) fn lock<V>(mutex: &Mutex<V>) -> std::sync::MutexGuard<'_, V> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
