//! The queue and its sessions, for Rust programs: what the command line does, as a library.
//!
//! A [`Client`] works on a data directory, with or without a daemon: `assigner run` runs the tasks
//! that it queues.
//!
//! ```
//! use assigner::client::{Client, Selection};
//! use assigner::model::session::SessionContext;
//! use assigner::model::task::{Metadata, NewTask};
//!
//! # fn main() -> Result<(), assigner::client::ClientError> {
//! # let directory = tempfile::tempdir().expect("a directory");
//! # let data = directory.path();
//! let mut client = Client::open(data)?;
//!
//! // A command that belongs in a directory, on a branch, and in an environment.
//! let task = NewTask {
//!     metadata: Metadata {
//!         working_dir: Some("/srv/shop".to_owned()),
//!         git_branch: Some("dev".to_owned()),
//!         env_vars: [("DEBUG".to_owned(), "1".to_owned())].into(),
//!         ..Metadata::default()
//!     },
//!     ..NewTask::command("make test")
//! };
//!
//! // How well does a session suit it? The policy decides, as it would for the daemon.
//! let there = SessionContext {
//!     current_dir: Some("/srv/shop".to_owned()),
//!     git_branch: Some("dev".to_owned()),
//!     ..SessionContext::shell("shop")
//! };
//! let above = SessionContext {
//!     current_dir: Some("/srv".to_owned()),
//!     env: [("DEBUG".to_owned(), "1".to_owned())].into(),
//!     ..SessionContext::shell("desk")
//! };
//! assert_eq!(client.score(&task, &there)?.points, 130);
//! assert_eq!(client.score(&task, &above)?.points, 70);
//!
//! // And which of them would the task take?
//! match client.select(&task, &[above, there])? {
//!     Selection::Take { session, score } => {
//!         assert_eq!((session, score.points), (1, 130));
//!     }
//!     Selection::Wait { reason } => panic!("{reason}"),
//! }
//!
//! let id = client.queue(&task)?;
//! assert_eq!(client.task(id)?.content, "make test");
//! # Ok(())
//! # }
//! ```

mod request;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use thiserror::Error;

pub use request::TaskRequest;

use crate::matcher::suit;
use crate::model::ids::TaskId;
use crate::model::matching::{Decision, Ranking, Term};
use crate::model::naming::AmbiguousName;
use crate::model::session::{Activity, SessionContext};
use crate::model::task::{ContentError, NewTask, Status, Task, check_content, check_task};
use crate::node::Spool;
use crate::node::{AimError, aim, variables};
use crate::options::OptionError;
use crate::policy::{Failure, Limits, LoadError, Policy};
use crate::probe::look;
use crate::store::{Output, Secrets, SessionRow, Sharing, Store, StoreError};

/// Checking the database's version costs microseconds.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Why something could not be done.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The data directory or its database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The target of a task is not one session.
    #[error(transparent)]
    Ambiguous(AmbiguousName),
    /// The policy cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The policy failed.
    #[error("the policy failed: {0}")]
    Policy(#[from] Failure),
    /// The content of a task is not valid.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A task cannot be asked for in this way.
    #[error(transparent)]
    Option(#[from] OptionError),
}

impl From<AimError> for ClientError {
    fn from(error: AimError) -> Self {
        match error {
            AimError::Ambiguous(error) => Self::Ambiguous(error),
            AimError::Store(error) => Self::Store(error),
        }
    }
}

/// A client of a data directory, with a policy.
pub struct Client {
    store: Store,
    spool: Spool,
    policy: Policy,
    secrets: Secrets,
    profiles: PathBuf,
}

/// How well a session suits a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Score {
    /// The sum of the terms.
    pub points: i32,
    /// The terms that add up to the points.
    pub terms: Vec<Term>,
}

impl From<Ranking> for Score {
    fn from(ranking: Ranking) -> Self {
        Self {
            points: ranking.points,
            terms: ranking.terms,
        }
    }
}

/// What would happen to a task, given certain sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// It would go to the session at this position.
    Take {
        /// The position in the list of sessions.
        session: usize,
        /// How well it suits.
        score: Score,
    },
    /// It would wait.
    Wait {
        /// The reason, for people.
        reason: String,
    },
}

impl Client {
    /// Opens a data directory, which is created if it does not exist, with the built-in policy for
    /// [`Self::score`] and [`Self::select`].
    ///
    /// # Errors
    /// The directory cannot be used, or its database is another program's or a newer one.
    pub fn open(data: impl AsRef<Path>) -> Result<Self, ClientError> {
        let none = serde_json::Value::Object(serde_json::Map::new());
        let limits = Limits::default();
        // A caller has no rounds to keep up with.
        let patient = Limits {
            time: limits.load_time,
            ..limits
        };
        let data = data.as_ref();
        Ok(Self {
            store: Store::open(data)?,
            spool: Spool::open(data).map_err(|source| StoreError::Directory {
                path: data.to_owned(),
                source,
            })?,
            policy: Policy::embedded(&patient, &none)?,
            secrets: Secrets::of(data),
            profiles: PathBuf::new(),
        })
    }

    /// Uses another policy for scores and selections from now on.
    #[must_use]
    pub fn with_policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// Knows the profiles of agents in this directory from now on, not only the built-in ones.
    #[must_use]
    pub fn with_profiles(self, profiles: impl Into<PathBuf>) -> Self {
        Self {
            profiles: profiles.into(),
            ..self
        }
    }

    /// Queues a task and wakes the daemon, if one runs.
    ///
    /// # Errors
    /// The content is empty, too long or contains a NUL; or the task follows one that does not
    /// exist; or the database failed.
    pub fn queue(&mut self, task: &NewTask) -> Result<TaskId, ClientError> {
        let ids = self.queue_all(std::slice::from_ref(task))?;
        Ok(ids.first().copied().unwrap_or(TaskId(0)))
    }

    /// Queues tasks, all or none, and returns their numbers in order.
    ///
    /// ```
    /// # use assigner::client::Client;
    /// use assigner::model::task::{NewTask, Parent};
    /// # fn main() -> Result<(), assigner::client::ClientError> {
    /// # let directory = tempfile::tempdir().expect("a directory");
    /// # let mut client = Client::open(directory.path())?;
    /// let build = NewTask::command("make");
    /// let test = NewTask {
    ///     after: vec![Parent::Earlier(0)],
    ///     ..NewTask::command("make test")
    /// };
    /// let ids = client.queue_all(&[build, test])?;
    /// assert_eq!(client.task(ids[1])?.blocked, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Self::queue`].
    pub fn queue_all(&mut self, tasks: &[NewTask]) -> Result<Vec<TaskId>, ClientError> {
        for task in tasks {
            check_task(task.kind, &task.content)?;
            for prerequisite in &task.metadata.prerequisites {
                check_content(prerequisite)?;
            }
        }
        let mut tasks = tasks.to_vec();
        aim(&mut tasks, &mut self.store)?;
        let mut sharing = Sharing::begin();
        let ids = self.store.queue_all(&tasks, Timestamp::now(), |_| {
            sharing.give_way();
            true
        });
        self.spool.nudge();
        Ok(ids?)
    }

    /// Returns a task.
    ///
    /// # Errors
    /// There is no task with that number.
    pub fn task(&mut self, id: TaskId) -> Result<Task, ClientError> {
        Ok(self.store.task(id)?)
    }

    /// Returns what a task printed, once an attempt of it has ended.
    ///
    /// # Errors
    /// The database failed.
    pub fn output(&mut self, id: TaskId) -> Result<Option<Output>, ClientError> {
        Ok(self.store.output(id)?)
    }

    /// Cancels a task: a waiting one at once, a running one by interrupting its command.
    ///
    /// # Errors
    /// There is no such task, or it is settled.
    pub fn cancel(&mut self, id: TaskId) -> Result<Status, ClientError> {
        let status = self.store.cancel(id, Timestamp::now())?;
        self.spool.nudge();
        Ok(status)
    }

    /// Waits until a task is settled and returns it; `None` if it is not settled in time.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use assigner::client::Client;
    /// # use assigner::model::task::{NewTask, Status};
    /// # fn main() -> Result<(), assigner::client::ClientError> {
    /// # let directory = tempfile::tempdir().expect("a directory");
    /// # let mut client = Client::open(directory.path())?;
    /// let id = client.queue(&NewTask::command("make test"))?;
    /// // No daemon runs here, so nothing happens to it.
    /// assert_eq!(client.wait(id, Some(Duration::from_millis(20)))?, None);
    /// client.cancel(id)?;
    /// let task = client.wait(id, None)?.expect("it is settled");
    /// assert_eq!(task.status, Status::Cancelled);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// There is no such task, or the database failed.
    pub fn wait(
        &mut self,
        id: TaskId,
        within: Option<Duration>,
    ) -> Result<Option<Task>, ClientError> {
        let deadline = within.and_then(|within| Instant::now().checked_add(within));
        let mut seen = None;
        loop {
            // Changes by other connections show in the version; our own do not.
            let version = self.store.data_version()?;
            if seen != Some(version) {
                seen = Some(version);
                let task = self.store.task(id)?;
                if task.status.is_settled() {
                    return Ok(Some(task));
                }
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(None);
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Returns the sessions that the daemon last saw, without those that have ended, sorted by
    /// name.
    ///
    /// # Errors
    /// The database failed.
    pub fn sessions(&mut self) -> Result<Vec<SessionRow>, ClientError> {
        let mut rows = self.store.sessions()?;
        rows.retain(|row| row.activity != Activity::Gone);
        Ok(rows)
    }

    /// Returns the session with that name: its state and its context.
    ///
    /// # Errors
    /// No session with that name was ever seen.
    pub fn session(&mut self, name: &str) -> Result<SessionRow, ClientError> {
        Ok(self.store.session(name)?)
    }

    /// Returns the sessions that are known to have a variable, with this value if one is given:
    /// from their start, from [`Self::update_session`], or from tasks.
    ///
    /// ```
    /// # use std::collections::BTreeMap;
    /// # use assigner::client::Client;
    /// # use assigner::model::eligibility::Admission;
    /// # use assigner::model::ids::{Identity, NodeName, PaneId};
    /// # use assigner::model::session::Activity;
    /// # use assigner::store::{SessionRow, Store};
    /// # fn main() -> Result<(), assigner::client::ClientError> {
    /// # let directory = tempfile::tempdir().expect("a directory");
    /// # let mut client = Client::open(directory.path())?;
    /// # let now = jiff::Timestamp::now();
    /// # let row = SessionRow {
    /// #     name: "api".to_owned(),
    /// #     identity: Identity {
    /// #         node: NodeName::default(),
    /// #         server_pid: 1,
    /// #         server_start: 1,
    /// #         pane: PaneId::parse("%1").expect("a pane"),
    /// #         // No process has this number, so that none is asked.
    /// #         pane_pid: u32::MAX,
    /// #     },
    /// #     activity: Activity::Idle,
    /// #     reason: None,
    /// #     since: now,
    /// #     provider: "shell".to_owned(),
    /// #     shell: None,
    /// #     current_dir: Some("/srv/api".to_owned()),
    /// #     git_branch: Some("main".to_owned()),
    /// #     repository: None,
    /// #     env: BTreeMap::new(),
    /// #     current_task: None,
    /// #     completed: 0,
    /// #     failed: 0,
    /// #     context_at: now,
    /// #     admission: Admission::Open,
    /// #     paused: false,
    /// #     labels: BTreeMap::new(),
    /// #     homes: Vec::new(),
    /// # };
    /// # Store::open(directory.path())?.record_sessions(&[row], now)?;
    /// // A program has exported a variable in a session's shell, and reports it.
    /// let debug = [("DEBUG".to_owned(), Some("1".to_owned()))].into();
    /// client.update_session("api", &debug)?;
    /// assert_eq!(client.session("api")?.env["DEBUG"], "1");
    ///
    /// let found = client.sessions_with("DEBUG", Some("1"))?;
    /// assert_eq!(found[0].name, "api");
    /// assert_eq!(found[0].current_dir.as_deref(), Some("/srv/api"));
    /// assert!(client.sessions_with("DEBUG", Some("0"))?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The database failed.
    pub fn sessions_with(
        &mut self,
        name: &str,
        value: Option<&str>,
    ) -> Result<Vec<SessionRow>, ClientError> {
        let names = BTreeSet::from([name.to_owned()]);
        let mut rows = self.sessions()?;
        rows.retain(|row| {
            let has = variables(row, &names).remove(name);
            match (has, value) {
                (Some(has), Some(value)) => has == value,
                (has, None) => has.is_some(),
                (None, Some(_)) => false,
            }
        });
        Ok(rows)
    }

    /// Reports the new values of variables of a session (`None`: it no longer has the variable),
    /// for a program that has set them itself. A running daemon takes them over; it sees the
    /// directory and the branch by itself.
    ///
    /// # Errors
    /// No such session was ever seen.
    pub fn update_session(
        &mut self,
        name: &str,
        env: &BTreeMap<String, Option<String>>,
    ) -> Result<(), ClientError> {
        self.store.update_env(name, env, Timestamp::now())?;
        self.spool.nudge();
        Ok(())
    }

    /// Returns how well a session suits a task, according to the policy; no points if the task must
    /// not go there.
    ///
    /// # Errors
    /// The policy failed.
    pub fn score(&self, task: &NewTask, session: &SessionContext) -> Result<Score, ClientError> {
        let sessions = std::slice::from_ref(session);
        let ranking = match self.decide(task, sessions)? {
            Some(Decision::Assign { take, .. }) => Some(take),
            Some(Decision::Wait { others, .. }) => others.into_iter().next(),
            None => None,
        };
        Ok(ranking.map_or_else(
            || Score {
                points: 0,
                terms: Vec::new(),
            },
            Score::from,
        ))
    }

    /// Returns which of these sessions a task would go to if all of them were ready, by the host's
    /// rules and the policy.
    ///
    /// # Errors
    /// The policy failed.
    pub fn select(
        &self,
        task: &NewTask,
        sessions: &[SessionContext],
    ) -> Result<Selection, ClientError> {
        let decision = self.decide(task, sessions)?;
        Ok(match decision {
            Some(Decision::Assign { take, .. }) => Selection::Take {
                session: take.session,
                score: take.into(),
            },
            Some(Decision::Wait { reason, .. }) => Selection::Wait { reason },
            None => Selection::Wait {
                reason: "the policy decided nothing".to_owned(),
            },
        })
    }

    fn decide(
        &self,
        task: &NewTask,
        sessions: &[SessionContext],
    ) -> Result<Option<Decision>, ClientError> {
        let now = Timestamp::now();
        let task = Task::queued(TaskId(0), task, now);
        let directory = task.metadata.working_dir.as_deref().map(resolved);
        Ok(suit::decide(&task, directory, sessions, &self.policy, now)?)
    }
}
/// How long a look at the directory that a task names may take; after that, its path is used as
/// written.
const RESOLVED_WITHIN: Duration = Duration::from_secs(2);

/// Returns a directory as the system calls it, or as it is written if that is not known.
fn resolved(directory: &str) -> String {
    let path = PathBuf::from(directory);
    let looked = path.clone();
    let look = move || look::resolved(&looked);
    let resolved = look::within_blocking(&path, RESOLVED_WITHIN, look);
    resolved.flatten().unwrap_or_else(|| directory.to_owned())
}
