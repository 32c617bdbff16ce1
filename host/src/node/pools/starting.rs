//! How a session of a pool is started: its directory or worktree first, then the session itself.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;

use jiff::Timestamp;

use super::DIRECTORY_WITHIN;
use super::Kept;
use super::KeptState;
use super::Ready;
use super::Sessions;
use super::plan::Launch;
use super::plan::MemberStage;
use super::plan::Pool;
use super::plan::Stand;
use super::worktree;
use crate::model::ids::TaskId;
use crate::node::Node;
use crate::node::NodeError;
use crate::probe::look;
use crate::tmux::Error;
use crate::tmux::Mark;
use crate::tmux::NewSession;
use crate::tmux::Tmux;

impl<T: Tmux + 'static> Node<T> {
    /// Prepares the place of a new session, alongside the rounds.
    pub(super) fn prepare_session(
        &mut self,
        pool: Pool,
        name: String,
        task: TaskId,
        branch: Option<String>,
    ) {
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
    pub(super) async fn start_prepared(&mut self, now: Timestamp) -> Result<(), NodeError> {
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

    pub(super) async fn start_session(
        &mut self,
        pool: &Pool,
        name: &str,
        task: TaskId,
        ready: Ready,
        now: Timestamp,
    ) -> Result<Result<(), String>, NodeError> {
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
    pub(super) fn command_of(&self, pool: &Pool) -> Vec<String> {
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
    pub(super) async fn welcome(&mut self, name: &str, sessions: &Sessions) {
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

fn text(path: &Path) -> Result<String, String> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| format!("`{}` is not UTF-8", path.display()))
}
