//! A ledger that was cut off at every point of an attempt, and resumed by a new engine.

use std::collections::BTreeMap;
use std::fs;

use jiff::Timestamp;
use tempfile::TempDir;

use super::engine::{Engine, Settings};
use crate::agents::Catalog;
use crate::agents::report::Reports;
use crate::matcher::MatcherSettings;
use crate::model::ids::{AttemptId, Identity, PaneId, TaskId};
use crate::model::matching::PolicyId;
use crate::model::session::Shell;
use crate::model::task::{NewTask, Phase, Status};
use crate::node::NodeSettings;
use crate::node::script::{Keep, ScriptPlan};
use crate::node::spool::{Spool, Taken};
use crate::policy::{Limits, Policy, PolicyHost};
use crate::store::{Claim, Ledger, Secrets, Store};
use crate::tmux::{
    Capture, CursorLine, Error, Keys, NewSession, Pane, Paste, Session, Tmux, Typed, TypedLine,
};

/// A tmux without sessions, so typing anything would be a mistake.
struct NoSessions;

impl Tmux for NoSessions {
    async fn panes(&mut self) -> Result<Vec<Pane>, Error> {
        Err(Error::NoServer)
    }

    async fn cursor_lines(&mut self, _: &[&Pane]) -> Result<Vec<Option<CursorLine>>, Error> {
        panic!("there is no pane to read")
    }

    async fn type_lines(&mut self, lines: &[TypedLine]) -> Vec<Typed> {
        panic!("nothing may be typed: {lines:?}")
    }

    async fn screens(&mut self, _: &[&Identity]) -> Result<Vec<Option<Capture>>, Error> {
        panic!("there is no pane to read")
    }

    async fn paste(&mut self, paste: &Paste) -> Typed {
        panic!("nothing may be pasted: {paste:?}")
    }

    async fn press(&mut self, keys: &Keys) -> Typed {
        panic!("nothing may be pressed: {keys:?}")
    }

    async fn interrupt(&mut self, identity: &Identity) -> Typed {
        panic!("nothing may be interrupted: {identity:?}")
    }

    async fn close_pipe(&mut self, _: &Identity) -> Result<(), Error> {
        Ok(())
    }

    async fn tail(&mut self, _: &Identity, _: u32) -> Result<String, Error> {
        Ok(String::new())
    }

    async fn history(&mut self, _: &Identity, _: u32) -> Result<String, Error> {
        Ok(String::new())
    }

    async fn tell_terminals(&mut self, _: &[u8]) -> Result<(), Error> {
        Ok(())
    }

    async fn sessions(&mut self) -> Result<Vec<Session>, Error> {
        Err(Error::NoServer)
    }

    async fn start_session(&mut self, new: &NewSession) -> Result<(), Error> {
        panic!("nothing may be started: {new:?}")
    }

    async fn mark_up(&mut self, session: &Session) -> Result<bool, Error> {
        panic!("there is no session to mark: {session:?}")
    }

    async fn end_session(&mut self, session: &Session) -> Result<bool, Error> {
        panic!("nothing may be ended: {session:?}")
    }
}

/// A data directory with one task and one attempt, as a daemon left it.
struct LeftBehind {
    directory: TempDir,
    store: Store,
    spool: Spool,
    task: TaskId,
    attempt: AttemptId,
}

/// An id that no process has.
const NOBODY: u32 = i32::MAX.unsigned_abs();

fn now() -> Timestamp {
    Timestamp::now()
}

impl LeftBehind {
    fn claimed() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut store = Store::open(directory.path()).expect("a store");
        let spool = Spool::open(directory.path()).expect("a spool");
        let task = store
            .queue(&[NewTask::command("true")], now())
            .expect("queued")[0];
        let claim = Claim {
            task,
            revision: 0,
            session: "api".to_owned(),
            identity: Identity {
                node: Default::default(),
                server_pid: NOBODY,
                server_start: 1,
                pane: PaneId::parse("%1").expect("a pane"),
                pane_pid: NOBODY,
            },
            homes: Vec::new(),
            provider: "shell".to_owned(),
            asks: None,
            labels: BTreeMap::new(),
            policy: PolicyId {
                name: "test".to_owned(),
                version: "1".to_owned(),
                sha256: String::new(),
            },
            ruled_out: Vec::new(),
            rankings: Vec::new(),
        };
        let attempt = store.claim(&[claim], now()).expect("claimed")[0].expect("free");
        Self {
            directory,
            store,
            spool,
            task,
            attempt,
        }
    }

    /// The job's files exist and the ledger says so.
    fn delivering() -> Self {
        let mut left = Self::claimed();
        let task = left.store.task(left.task).expect("the task");
        left.spool
            .write_job(
                left.attempt,
                &ScriptPlan {
                    prompt: None,
                    command: &task.content,
                    integration: None,
                    shell: Shell::Bash,
                    task: &task,
                    secrets: &BTreeMap::new(),
                    keep: Keep::File,
                    tell_before: true,
                },
            )
            .expect("written");
        left.store
            .advance(left.attempt, Phase::Delivering, "", now())
            .expect("advanced");
        left
    }

    /// A shell has taken the job up.
    fn taken() -> Self {
        let left = Self::delivering();
        fs::write(left.spool.files(left.attempt).claim(), "").expect("claimed");
        left
    }

    fn running() -> Self {
        let mut left = Self::taken();
        left.store
            .advance(left.attempt, Phase::Running, "", now())
            .expect("advanced");
        left
    }

    fn exited(code: &str) -> Self {
        let left = Self::running();
        let files = left.spool.files(left.attempt);
        fs::write(files.step(), "command\n").expect("written");
        fs::write(files.raw_output(), "printed\n").expect("written");
        fs::write(files.exit(), code).expect("written");
        left
    }

    /// Starts an engine over it, runs rounds until nothing is in flight, and returns the task's
    /// status.
    fn take_up(&mut self) -> Status {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            let none = serde_json::json!({});
            let policy = Policy::embedded(&Limits::default(), &none).expect("a policy");
            let store = Store::open(self.directory.path()).expect("a store");
            let mut engine = Engine::start(
                NoSessions,
                Ledger::start(store).expect("a ledger"),
                PolicyHost::new(policy.clone(), policy),
                self.spool.clone(),
                Secrets::of(self.directory.path()),
                (Catalog::built_in(), Reports::of(self.directory.path())),
                Settings {
                    node: NodeSettings {
                        output_limit: 1000,
                        start_within: std::time::Duration::from_secs(10),
                        attended_for: std::time::Duration::ZERO,
                        ..NodeSettings::default()
                    },
                    matcher: MatcherSettings {
                        explain: 1,
                        ..MatcherSettings::default()
                    },
                },
            )
            .await
            .expect("an engine");
            let until_idle = async {
                loop {
                    engine.round(now()).await.expect("a round");
                    if engine.is_idle() {
                        break;
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
            };
            let limit = std::time::Duration::from_secs(30);
            let settled = tokio::time::timeout(limit, until_idle).await;
            settled.expect("every attempt comes to an end");
        });
        self.store.task(self.task).expect("the task").status
    }

    fn tries(&mut self) -> usize {
        self.store.attempts(self.task).expect("attempts").len()
    }
}

#[test]
fn claimed_and_nothing_typed_goes_back() {
    let mut left = LeftBehind::claimed();
    assert_eq!(left.take_up(), Status::Pending);
    assert_eq!(left.tries(), 0);
}

#[test]
fn typed_and_not_taken_up_goes_back_and_can_never_run() {
    let mut left = LeftBehind::delivering();
    assert_eq!(left.take_up(), Status::Pending);
    assert_eq!(left.tries(), 0);
    let files = left.spool.files(left.attempt);
    assert_eq!(files.taken(), Taken::Withdrawn);
    assert!(!files.script().exists());
}

#[test]
fn taken_up_and_not_noted_is_never_sent_again() {
    // Its pane is gone, and what it did is not known.
    let mut left = LeftBehind::taken();
    assert_eq!(left.take_up(), Status::Uncertain);
    assert_eq!(left.tries(), 1);
}

#[test]
fn what_ran_in_a_pane_that_is_gone_may_have_done_anything() {
    let mut left = LeftBehind::running();
    assert_eq!(left.take_up(), Status::Uncertain);
    let error = left.store.task(left.task).expect("the task").error;
    assert!(error.is_some_and(|error| error.contains("shell is gone")));
}

#[test]
fn an_end_that_came_while_nobody_looked_counts() {
    let mut left = LeftBehind::exited("0\n");
    assert_eq!(left.take_up(), Status::Completed);
    let output = left.store.output(left.task).expect("read").expect("kept");
    assert_eq!(output.bytes, b"printed\n");

    let mut left = LeftBehind::exited("3\n");
    assert_eq!(left.take_up(), Status::Failed);
    assert_eq!(
        left.store.task(left.task).expect("the task").exit_code,
        Some(3)
    );
}

#[test]
fn an_exit_code_that_is_half_written_tells_nothing() {
    let mut left = LeftBehind::exited("1");
    assert_eq!(left.take_up(), Status::Uncertain);
    assert_eq!(
        left.store.task(left.task).expect("the task").exit_code,
        None
    );
}

#[test]
fn where_the_files_are_gone_only_a_person_knows() {
    let mut left = LeftBehind::delivering();
    fs::remove_dir_all(left.spool.directory()).expect("removed");
    fs::create_dir(left.spool.directory()).expect("made");
    assert_eq!(left.take_up(), Status::Uncertain);
    assert_eq!(left.take_up(), Status::Uncertain, "and stays so");
}

#[test]
fn a_cancelled_task_is_not_taken_up_again() {
    let mut left = LeftBehind::delivering();
    left.store.cancel(left.task, now()).expect("asked");
    assert_eq!(left.take_up(), Status::Cancelled);
}
