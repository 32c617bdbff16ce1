//! The driver, with the machine of a job, a real store and a world that a test dictates.

mod waiting;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::super::script::ScriptStep;
use super::super::spool::Taken;
use super::driver::{AttemptReport, Collected, Driver, Look, News, Over, Work, World};
use super::testing::{at, identity, pane, rules, shell, typed_line};
use super::turn::Turn;
use super::*;
use crate::model::clock::Clock;
use crate::model::matching::PolicyId;
use crate::model::task::{Attempt, Kind, NewTask, Status};
use crate::store::{Claim, Ledger, Store};
use crate::tmux::{Error, Refusal};

/// What a test dictates, and what was done.
struct DictatedWorld {
    ms: Cell<u64>,
    files: RefCell<Files>,
    /// The result of a look at a directory; `None`: it does not answer yet.
    place: Rc<RefCell<Option<Done>>>,
    looks: Cell<u32>,
    typed: RefCell<Typed>,
    /// Whether acts take their time.
    stuck: Cell<bool>,
    /// Whether a look hits a bug of ours.
    broken: Cell<bool>,
    acts: RefCell<Vec<Act>>,
    secrets: RefCell<Vec<String>>,
    cleaned_up: Cell<bool>,
}

impl Clock for DictatedWorld {
    fn now(&self) -> Now {
        at(self.ms.get())
    }
}

impl World for DictatedWorld {
    type Hands = ();

    /// Time stands still, so only what takes none is ever over.
    async fn sleep(&self, duration: Duration) {
        if !duration.is_zero() {
            std::future::pending::<()>().await;
        }
    }

    async fn news(&self, (): &mut ()) {
        std::future::pending::<()>().await;
    }

    async fn look(&self, _: &Brief, (): &mut (), wants: &Wants, _: &Scan) -> Look {
        assert!(!self.broken.get(), "a bug of ours");
        self.looks.set(self.looks.get() + 1);
        Look {
            files: wants.files.then(|| self.files.borrow().clone()),
            process_lives: true,
            pane_lives: true,
            ..Look::default()
        }
    }

    fn start(&self, _: &Brief, act: &Act) -> Option<Work> {
        matches!(act, Act::LookAtPlace { .. }).then(|| -> Work {
            let place = Rc::clone(&self.place);
            Box::pin(async move {
                loop {
                    if let Some(place) = &*place.borrow() {
                        return place.clone();
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
    }

    async fn perform(&self, _: &Brief, (): &mut (), act: &Act) -> Done {
        while self.stuck.get() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.acts.borrow_mut().push(act.clone());
        match act {
            Act::WriteJob { .. } => Done::Written(Ok(typed_line())),
            Act::Type(_) => Done::Typed(self.typed.borrow().clone()),
            Act::Withdraw => Done::Withdrawn(Ok(Taken::Withdrawn)),
            Act::TakePane => Done::Pane(Ok(true)),
            _ => Done::Fine,
        }
    }

    async fn collect(&self, _: &Brief, ending: Ending) -> Collected {
        Collected {
            ending,
            output: None,
            before: None,
            secrets: BTreeMap::new(),
        }
    }

    fn clean_up(&self, _: &Brief, (): &mut (), _: &Ending, secrets: &[String]) {
        self.cleaned_up.set(true);
        self.secrets.borrow_mut().extend_from_slice(secrets);
    }
}

/// A driver with one attempt, which a store has claimed.
struct DrivenAttempt {
    _directory: TempDir,
    /// The store as another process has it open.
    store: Store,
    world: Rc<DictatedWorld>,
    driver: Driver<DictatedWorld>,
    brief: Brief,
    reports: Vec<AttemptReport>,
}

impl DrivenAttempt {
    fn of(new: NewTask) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let open = || Store::open(directory.path()).expect("a store");
        let mut store = open();
        let id = store.queue(&[new], at(0).wall).expect("queued")[0];
        let claim = Claim {
            task: id,
            revision: 0,
            session: "api".to_owned(),
            identity: identity(),
            homes: Vec::new(),
            provider: "shell".to_owned(),
            asks: None,
            labels: BTreeMap::new(),
            policy: PolicyId {
                name: "test".to_owned(),
                version: "1".to_owned(),
                sha256: String::new(),
            },
            rankings: Vec::new(),
            ruled_out: Vec::new(),
        };
        let attempts = store.claim(&[claim], at(0).wall).expect("claimed");
        let brief = Brief {
            attempt: attempts[0].expect("an attempt"),
            task: store.task(id).expect("a task"),
            session: "api".to_owned(),
            identity: identity(),
        };
        let world = Rc::new(DictatedWorld {
            ms: Cell::new(100),
            files: RefCell::default(),
            place: Rc::new(RefCell::new(Some(Done::Place(Ok(None))))),
            looks: Cell::default(),
            typed: RefCell::new(Typed::Done),
            stuck: Cell::default(),
            broken: Cell::default(),
            acts: RefCell::default(),
            secrets: RefCell::default(),
            cleaned_up: Cell::default(),
        });
        let ledger = Ledger::here(open(), || true);
        Self {
            store,
            driver: Driver::new(Rc::clone(&world), ledger),
            world,
            brief,
            reports: Vec::new(),
            _directory: directory,
        }
    }

    fn new() -> Self {
        Self::of(NewTask::command("true"))
    }

    fn start(&mut self) {
        let job = job::Job::new(self.brief.clone(), rules());
        self.driver.start(Machine::Job(Box::new(job)));
        self.publish(shell());
    }

    fn publish(&self, presence: Presence) {
        let sessions = match presence {
            Presence::Here(pane) => [(identity(), pane)].into(),
            Presence::Missing { .. } => BTreeMap::new(),
        };
        self.driver.publish(Scan {
            at: Some(self.world.now().tick),
            sessions,
            ..Scan::default()
        });
    }

    /// The files of the job are as its shell leaves them.
    fn leaves(&self, files: Files) {
        *self.world.files.borrow_mut() = files;
        self.driver.wake();
    }

    /// Lets attempts run until nothing happens any more.
    async fn rest(&mut self) {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        self.reports.extend(self.driver.take_told());
    }

    fn status(&mut self) -> Status {
        self.store.task(self.brief.task.id).expect("a task").status
    }

    fn attempt(&mut self) -> Attempt {
        let attempts = self.store.attempts(self.brief.task.id);
        attempts.expect("attempts").remove(0)
    }

    /// Returns what was reported of the end.
    fn over(&self) -> &Over {
        let ended = self.reports.iter().find_map(|report| match &report.what {
            News::Ended(over) => Some(&**over),
            News::Note(_) | News::Broken => None,
        });
        ended.unwrap_or_else(|| panic!("an end: {:?}", self.reports))
    }

    fn did(&self, wanted: impl Fn(&Act) -> bool) -> bool {
        self.world.acts.borrow().iter().any(wanted)
    }
}

fn taken() -> Files {
    Files {
        taken: Some(Taken::ByShell),
        script: true,
        ..Files::default()
    }
}

fn exited(code: i32) -> Files {
    Files {
        exit: Some(code),
        step: Some((ScriptStep::Command, Duration::ZERO)),
        output_whole: true,
        ..taken()
    }
}

/// Runs a test on a thread that runs local tasks.
fn local<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, test());
}

#[test]
fn an_attempt_is_driven_to_its_end_and_reported() {
    local(|| async {
        let mut run = DrivenAttempt::new();
        run.start();
        run.rest().await;
        assert_eq!(run.attempt().phase, Phase::Delivering);
        assert!(run.did(|act| matches!(act, Act::Type(_))));
        run.leaves(taken());
        run.rest().await;
        assert_eq!(run.status(), Status::InProgress);
        let flying = run.driver.flying();
        assert!(flying.values().all(|flying| flying.is_job) && flying.len() == 1);
        assert!(!run.world.cleaned_up.get());
        run.leaves(exited(0));
        // Whoever waits for news hears of it, once.
        let news = tokio::time::timeout(Duration::from_secs(9), run.driver.news());
        assert!(news.await.is_ok());
        run.rest().await;
        assert_eq!(run.status(), Status::Completed);
        assert_eq!(run.over().outcome, Outcome::Completed);
        let broken = |report: &AttemptReport| matches!(report.what, News::Broken);
        assert!(!run.reports.iter().any(broken), "{:?}", run.reports);
        assert!(run.world.cleaned_up.get());
        assert!(run.driver.flying().is_empty());
        let more = tokio::time::timeout(Duration::from_millis(20), run.driver.news());
        assert!(more.await.is_err());
    });
}

#[test]
fn an_attempt_that_hits_a_bug_of_ours_is_reported_and_its_row_stays() {
    local(|| async {
        let mut run = DrivenAttempt::new();
        run.start();
        run.rest().await;
        run.reports.clear();
        run.world.broken.set(true);
        run.driver.wake();
        run.rest().await;
        assert!(matches!(
            run.reports[..],
            [AttemptReport {
                what: News::Broken,
                ..
            }]
        ));
        assert!(run.driver.flying().is_empty());
        assert_eq!(run.attempt().phase, Phase::Delivering);
    });
}

#[test]
fn an_agent_s_attempt_is_none_of_a_shell() {
    local(|| async {
        let mut run = DrivenAttempt::of(NewTask::prompt("say hello"));
        assert_eq!(run.brief.task.kind, Kind::Prompt);
        let turn = Turn::new(run.brief.clone(), rules(), Refusals::default());
        run.driver.start(Machine::Turn(Box::new(turn)));
        let mut flying = run.driver.flying().values();
        assert!(flying.next().is_some_and(|flying| !flying.is_job));
        // It was claimed, but the agent is gone.
        run.publish(shell());
        run.rest().await;
        assert_eq!(run.status(), Status::Pending);
        assert!(run.driver.flying().is_empty());
    });
}

#[test]
fn a_note_is_no_end() {
    local(|| async {
        let mut run = DrivenAttempt::new();
        run.start();
        run.rest().await;
        let typed = run
            .reports
            .iter()
            .any(|report| matches!(report.what, News::Note(Note::Typed)));
        assert!(typed, "{:?}", run.reports);
        assert_eq!(run.driver.flying().len(), 1);
    });
}

#[test]
fn only_a_line_that_was_refused_gives_the_task_back() {
    local(|| async {
        for (typed, status) in [
            (Typed::Done, Status::Assigned),
            (Typed::Unknown(Error::Closed), Status::Assigned),
            (Typed::Refused(Refusal::Mode), Status::Pending),
        ] {
            let mut run = DrivenAttempt::new();
            *run.world.typed.borrow_mut() = typed.clone();
            run.start();
            run.rest().await;
            assert_eq!(run.status(), status, "{typed:?}");
        }
    });
}

#[test]
fn what_is_fine_is_said_of_each_result() {
    let error = || "why".to_owned();
    for (done, is_fine) in [
        (Done::Fine, true),
        (Done::Answer(None), true),
        (Done::Given(None), true),
        (Done::Place(Ok(None)), true),
        (Done::Place(Err(error())), false),
        (Done::Written(Ok(typed_line())), true),
        (Done::Written(Err(Unwritten::Spool(error()))), false),
        (Done::Prerequisites(Ok(())), true),
        (Done::Prerequisites(Err(error())), false),
        (Done::Typed(Typed::Done), true),
        (Done::Typed(Typed::Unknown(Error::Closed)), true),
        (Done::Typed(Typed::Refused(Refusal::Mode)), false),
        (Done::Withdrawn(Ok(Taken::No)), true),
        (Done::Withdrawn(Err(error())), false),
        (Done::Pane(Ok(true)), true),
        (Done::Pane(Ok(false)), false),
        (Done::Pane(Err(error())), false),
    ] {
        assert_eq!(done.is_fine(), is_fine, "{done:?}");
    }
}

/// A refused commit ends the attempt: its row shows its state, and nothing of it is touched.
#[test]
fn nothing_is_typed_after_a_commit_that_was_refused() {
    local(|| async {
        let mut run = DrivenAttempt::new();
        *run.world.place.borrow_mut() = None;
        run.start();
        run.rest().await;
        // Another process has ended it.
        let end = crate::store::End {
            attempt: run.brief.attempt,
            outcome: Outcome::Withdrawn,
            event: Event::Withdraw,
            exit_code: None,
            error: None,
            output: None,
            not_before: None,
            turn: None,
            limit: None,
        };
        run.store.end(&end, at(0).wall).expect("ended");
        let again = job::Job::new(run.brief.clone(), rules());
        *run.world.place.borrow_mut() = Some(Done::Place(Ok(None)));
        run.driver.start(Machine::Job(Box::new(again)));
        run.rest().await;
        let broken = run
            .reports
            .iter()
            .any(|report| matches!(report.what, News::Broken));
        assert!(broken, "{:?}", run.reports);
        assert!(!run.did(|act| matches!(act, Act::Type(_))));
        assert!(run.driver.flying().is_empty());
    });
}

#[test]
fn work_that_takes_a_while_is_dropped_when_a_person_asks_for_an_end() {
    local(|| async {
        let mut run = DrivenAttempt::new();
        *run.world.place.borrow_mut() = None;
        run.start();
        run.rest().await;
        // What happens beside it does not end it.
        run.publish(shell());
        run.driver.wake();
        run.rest().await;
        assert_eq!(run.status(), Status::Assigned);
        assert!(run.world.acts.borrow().is_empty());
        run.driver.publish(Scan {
            at: Some(run.world.now().tick),
            sessions: BTreeMap::new(),
            requests: [(run.brief.task.id, Request::Cancel)].into(),
            replies: Vec::new(),
        });
        run.rest().await;
        assert_eq!(run.status(), Status::Cancelled);
        // Nobody asks for it: it is waited for, whatever is seen meanwhile.
        let mut run = DrivenAttempt::new();
        *run.world.place.borrow_mut() = None;
        run.start();
        run.rest().await;
        run.publish(shell());
        run.rest().await;
        *run.world.place.borrow_mut() = Some(Done::Place(Ok(None)));
        run.rest().await;
        assert_eq!(run.attempt().phase, Phase::Delivering);
    });
}

/// An attempt that waits costs nothing.
#[test]
fn nothing_is_looked_at_before_there_is_something_new() {
    local(|| async {
        let mut run = DrivenAttempt::new();
        run.start();
        run.rest().await;
        // Its line was typed, and no shell has taken it yet.
        let looks = run.world.looks.get();
        run.rest().await;
        assert_eq!(run.world.looks.get(), looks);
        run.leaves(taken());
        run.rest().await;
        let looks = run.world.looks.get();
        run.rest().await;
        assert_eq!(run.world.looks.get(), looks);
        run.driver.wake();
        run.rest().await;
        assert_eq!(run.world.looks.get(), looks + 1);
        run.publish(shell());
        run.rest().await;
        assert_eq!(run.world.looks.get(), looks + 2);
    });
}
