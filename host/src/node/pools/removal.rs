//! The worktrees of sessions that have ended: removed beside the rounds, unless they hold something.

use std::path::PathBuf;

use jiff::Timestamp;

use super::MOST_WORKTREES;
use super::Removal;
use super::Sessions;
use super::plan::Pool;
use super::plan::Stand;
use super::worktree;
use crate::node::Node;
use crate::node::NodeError;
use crate::probe;
use crate::tmux::Tmux;

impl<T: Tmux + 'static> Node<T> {
    /// Returns the path of a session's worktree, or `None` if its pool has none.
    pub(super) fn worktree_of(&self, pool: &Pool, name: &str) -> Option<PathBuf> {
        match pool.stand {
            Stand::Worktree(_) => Some(self.worktrees().join(name)),
            Stand::Directory(_) => None,
        }
    }

    /// Returns the directory of all pools' worktrees.
    pub(super) fn worktrees(&self) -> PathBuf {
        self.settings.pools.data_dir.join("worktrees")
    }

    /// Removes the worktree of a session that has ended, alongside the rounds. `pid` is the process
    /// that ran there.
    pub(super) fn remove_worktree(&mut self, name: &str, pid: Option<u32>) {
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

    pub(super) fn begin_removal(
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
    pub(super) fn sweep_worktrees(&mut self, sessions: &Sessions) {
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
    pub(super) async fn tell_of_removals(&mut self, now: Timestamp) -> Result<(), NodeError> {
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
