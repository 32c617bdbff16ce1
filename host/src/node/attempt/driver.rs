//! The driver: commits what attempts decide, and has it carried out. It decides nothing itself.
//!
//! Each attempt runs as an async task of its own, so that none waits for another: a directory that
//! does not answer, a slow prerequisite or a reader that does not end holds up only its own
//! attempt. All attempts learn of the sessions from one shared look ([`Scan`]), and report back by
//! notes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;

use super::{
    Act, Brief, Done, Ending, Files, Machine, Note, Observation, Presence, Record, Scan, Shown,
    Sight, Wants,
};
use crate::model::clock::{Clock, Now, Tick};
use crate::model::ids::{AttemptId, Identity, TaskId};
use crate::model::task::{Kind, Outcome, Phase};
use crate::model::text::clean;
use crate::store::{End, Ledger, Output, Store, StoreError};

/// How often to check whether attempts have finished their acts.
const SETTLE_LOOK: Duration = Duration::from_millis(5);

/// Work that takes a while, and that may be dropped before it is done.
pub(crate) type Work = Pin<Box<dyn Future<Output = Done>>>;

/// The surroundings of an attempt: panes, files, processes.
pub(crate) trait World: Clock + 'static {
    /// What one attempt keeps from step to step.
    type Hands: Default;

    /// Completes after this time.
    async fn sleep(&self, duration: Duration);

    /// Completes when something has happened that a look would show. Dropping the future loses nothing.
    async fn news(&self, hands: &mut Self::Hands);

    /// Looks at what a machine wants to know. Every look ends within seconds.
    async fn look(
        &self,
        brief: &Brief,
        hands: &mut Self::Hands,
        wants: &Wants,
        scan: &Scan,
    ) -> Look;

    /// Starts an act that takes a while; `None`: this act does not.
    fn start(&self, brief: &Brief, act: &Act) -> Option<Work>;

    /// Performs an act that is no commit. Every act ends within seconds.
    async fn perform(&self, brief: &Brief, hands: &mut Self::Hands, act: &Act) -> Done;

    /// Collects what is kept of an attempt that is about to end.
    async fn collect(&self, brief: &Brief, ending: Ending) -> Collected;

    /// Removes the files of an attempt whose end is on disk, and the secrets that nobody needs.
    fn clean_up(&self, brief: &Brief, hands: &mut Self::Hands, ending: &Ending, secrets: &[String]);
}

/// What a look has found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Look {
    pub(crate) files: Option<Files>,
    pub(crate) screen: Option<Shown>,
    pub(crate) record: Record,
    /// Whether the process that was asked about still runs.
    pub(crate) process_lives: bool,
    /// Whether the pane's process and its tmux server still run.
    pub(crate) pane_lives: bool,
}

/// What is kept of an attempt.
#[derive(Debug, Clone)]
pub(crate) struct Collected {
    /// How it ends, without secret values. What a headless agent has told may change it.
    pub(crate) ending: Ending,
    /// What it printed, without secret values.
    pub(crate) output: Option<Output>,
    /// What was known of its shell's variables before it.
    pub(crate) before: Option<BTreeMap<String, String>>,
    /// Its secret values.
    pub(crate) secrets: BTreeMap<String, String>,
}

/// A report from an attempt.
#[derive(Debug)]
pub(crate) struct AttemptReport {
    pub(crate) attempt: AttemptId,
    pub(crate) task: TaskId,
    pub(crate) identity: Identity,
    pub(crate) what: News,
}

/// What an attempt reports.
#[derive(Debug)]
pub(crate) enum News {
    /// A note from its machine.
    Note(Note),
    /// Its end is on disk.
    Ended(Box<Over>),
    /// A commit was refused. Nothing more was done; the attempt's row shows its state.
    Broken,
}

/// An attempt that is over.
#[derive(Debug)]
pub(crate) struct Over {
    pub(crate) outcome: Outcome,
    /// What it leaves in its session.
    pub(crate) leaves: super::Leaves,
    /// The variables that it has set in its session.
    pub(crate) given: BTreeMap<String, String>,
    /// What was known of the session's variables before it.
    pub(crate) before: Option<BTreeMap<String, String>>,
    /// Its secret values.
    pub(crate) secrets: BTreeMap<String, String>,
}

/// Runs attempts side by side.
pub(crate) struct Driver<W: World> {
    world: Rc<W>,
    ledger: Ledger,
    scan: watch::Sender<Rc<Scan>>,
    wakes: watch::Sender<()>,
    tell: mpsc::UnboundedSender<AttemptReport>,
    told: mpsc::UnboundedReceiver<AttemptReport>,
    flying: BTreeMap<AttemptId, Flying>,
    /// When attempts want the sessions to be looked at again.
    due: Rc<RefCell<BTreeMap<AttemptId, Tick>>>,
    /// Notified when an attempt has ended.
    ended: Rc<Notify>,
    /// How many attempts are performing acts.
    acting: Rc<Cell<usize>>,
}

/// An attempt that is running.
pub(crate) struct Flying {
    pub(crate) task: TaskId,
    /// What its session was called when the task was given to it.
    pub(crate) session: String,
    pub(crate) identity: Identity,
    /// Whether a shell runs it.
    pub(crate) is_job: bool,
    handle: JoinHandle<()>,
}

impl Drop for Flying {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl<W: World> Driver<W> {
    /// Returns a driver without attempts.
    pub(crate) fn new(world: Rc<W>, ledger: Ledger) -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        Self {
            world,
            ledger,
            scan: watch::Sender::new(Rc::default()),
            wakes: watch::Sender::new(()),
            tell,
            told,
            flying: BTreeMap::new(),
            due: Rc::default(),
            ended: Rc::default(),
            acting: Rc::default(),
        }
    }

    /// Starts running an attempt. Must be called on a thread that runs local tasks.
    pub(crate) fn start(&mut self, machine: Machine) {
        let brief = machine.brief().clone();
        let attempt = brief.attempt;
        let is_job = brief.task.kind == Kind::Command;
        let (task, session, identity) =
            (brief.task.id, brief.session.clone(), brief.identity.clone());
        let errand = Errand {
            world: Rc::clone(&self.world),
            ledger: self.ledger.clone(),
            brief,
            tell: self.tell.clone(),
            due: Rc::clone(&self.due),
            ended: Rc::clone(&self.ended),
            acting: Rc::clone(&self.acting),
            hands: W::Hands::default(),
        };
        let handle = tokio::task::spawn_local(errand.run(
            machine,
            self.scan.subscribe(),
            self.wakes.subscribe(),
        ));
        let flying = Flying {
            is_job,
            task,
            session,
            identity,
            handle,
        };
        self.flying.insert(attempt, flying);
    }

    /// Tells all attempts what the sessions look like.
    pub(crate) fn publish(&self, scan: Scan) {
        self.scan.send_replace(Rc::new(scan));
    }

    /// Makes all attempts look again, because something has happened.
    pub(crate) fn wake(&self) {
        self.wakes.send_replace(());
    }

    /// Returns the attempts that are running.
    pub(crate) fn flying(&self) -> &BTreeMap<AttemptId, Flying> {
        &self.flying
    }

    /// Returns the time until the first attempt wants the sessions to be looked at again.
    pub(crate) fn due_in(&self) -> Option<Duration> {
        let earliest = self.due.borrow().values().min().copied()?;
        Some(earliest.since(self.world.now().tick))
    }

    /// Returns what attempts have reported since the last call, oldest first, and forgets those
    /// that have ended.
    pub(crate) fn take_told(&mut self) -> Vec<AttemptReport> {
        let mut all = Vec::new();
        while let Ok(told) = self.told.try_recv() {
            if !matches!(told.what, News::Note(_)) {
                self.flying.remove(&told.attempt);
            }
            all.push(told);
        }
        // An attempt that ended without a report has hit a bug of ours; its row shows its state.
        self.flying.retain(|&attempt, flying| {
            let silent = flying.handle.is_finished();
            if silent {
                all.push(AttemptReport {
                    attempt,
                    task: flying.task,
                    identity: flying.identity.clone(),
                    what: News::Broken,
                });
            }
            !silent
        });
        all
    }

    /// Waits until no attempt is performing acts, but no longer than `limit`. Stopping then leaves
    /// nothing half done.
    pub(crate) async fn settle(&self, limit: Duration) {
        let settled = async {
            while self.acting.get() > 0 {
                tokio::time::sleep(SETTLE_LOOK).await;
            }
        };
        // The next daemon finds what is not done by then.
        let _ = tokio::time::timeout(limit, settled).await;
    }

    /// Completes when an attempt has ended. Dropping the future loses nothing.
    pub(crate) async fn news(&self) {
        self.ended.notified().await;
    }
}

/// A running attempt.
struct Errand<W: World> {
    world: Rc<W>,
    ledger: Ledger,
    brief: Brief,
    tell: mpsc::UnboundedSender<AttemptReport>,
    due: Rc<RefCell<BTreeMap<AttemptId, Tick>>>,
    ended: Rc<Notify>,
    acting: Rc<Cell<usize>>,
    hands: W::Hands,
}

impl<W: World> Drop for Errand<W> {
    fn drop(&mut self) {
        self.due.borrow_mut().remove(&self.brief.attempt);
        self.ended.notify_one();
    }
}

impl<W: World> Errand<W> {
    async fn run(
        mut self,
        mut machine: Machine,
        mut scans: watch::Receiver<Rc<Scan>>,
        mut wakes: watch::Receiver<()>,
    ) {
        let mut done = None;
        let mut work: Option<Work> = None;
        loop {
            // The next look sees whatever arrives from here on.
            scans.mark_unchanged();
            wakes.mark_unchanged();
            let wants = machine.wants();
            let before = Rc::clone(&scans.borrow());
            let look = self
                .world
                .look(&self.brief, &mut self.hands, &wants, &before)
                .await;
            let scan = Rc::clone(&scans.borrow());
            let seen = self.observation(look, &scan, done.take());
            let (stepped, next) = machine.step(&seen, self.world.now());
            machine = stepped;
            let acted = !next.acts.is_empty();
            if acted {
                // Work in progress is no longer wanted.
                work = None;
            }
            match self.perform(next.acts).await {
                Ok(Performed::Done(last)) => done = last,
                Ok(Performed::Started(started)) => work = Some(started),
                Err(error) => {
                    tracing::error!(task = %self.brief.task.id, "{error}");
                    self.tell(News::Broken);
                    return;
                }
            }
            if machine.has_ended() {
                return;
            }
            let goes_on = next.again == Some(Duration::ZERO) && !next.anew;
            if goes_on || (acted && work.is_none() && next.again.is_none()) {
                tokio::task::yield_now().await;
                continue;
            }
            self.wait(
                &mut work,
                &mut done,
                (next.again, next.anew),
                &mut scans,
                &mut wakes,
            )
            .await;
        }
    }

    /// Waits until there is something new to see.
    async fn wait(
        &mut self,
        work: &mut Option<Work>,
        done: &mut Option<Done>,
        (again, anew): (Option<Duration>, bool),
        scans: &mut watch::Receiver<Rc<Scan>>,
        wakes: &mut watch::Receiver<()>,
    ) {
        if let Some(again) = again.filter(|_| anew) {
            let due = self.world.now().tick + again;
            self.due.borrow_mut().insert(self.brief.attempt, due);
        }
        tokio::select! {
            biased;
            finished = async {
                match work.as_mut() {
                    Some(work) => work.await,
                    None => std::future::pending().await,
                }
            } => {
                *work = None;
                *done = Some(finished);
            }
            // The sender lives as long as the driver, and this task does not outlive it.
            _ = scans.changed() => {}
            _ = wakes.changed() => {}
            () = self.world.news(&mut self.hands) => {}
            () = async {
                match again {
                    Some(again) => self.world.sleep(again).await,
                    None => std::future::pending().await,
                }
            } => {}
        }
        self.due.borrow_mut().remove(&self.brief.attempt);
    }

    fn observation(&self, look: Look, scan: &Scan, done: Option<Done>) -> Observation {
        let task = self.brief.task.id;
        let sight = scan.at.map(|at| Sight {
            at,
            pane: match scan.sessions.get(&self.brief.identity) {
                Some(pane) => Presence::Here(pane.clone()),
                None => Presence::Missing {
                    lives: look.pane_lives,
                },
            },
        });
        let replies = scan.replies.iter().filter(|reply| reply.task == task);
        Observation {
            sight,
            files: look.files,
            screen: look.screen,
            record: look.record,
            process_lives: look.process_lives,
            request: scan.requests.get(&task).cloned(),
            replies: replies.cloned().collect(),
            done,
        }
    }

    /// Performs acts in order, up to the first that fails.
    async fn perform(&mut self, acts: Vec<Act>) -> Result<Performed, StoreError> {
        let _acting = Acting::begin(&self.acting);
        let mut last = None;
        for act in acts {
            if let Some(work) = self.world.start(&self.brief, &act) {
                return Ok(Performed::Started(work));
            }
            let done = self.act(act).await?;
            let goes_on = done.is_fine();
            // An act without a result of its own does not hide an earlier result.
            if !matches!(done, Done::Fine) {
                last = Some(done);
            }
            if !goes_on {
                break;
            }
        }
        Ok(Performed::Done(last))
    }

    async fn act(&mut self, act: Act) -> Result<Done, StoreError> {
        let Now { wall: now, .. } = self.world.now();
        let (attempt, task) = (self.brief.attempt, self.brief.task.id);
        match act {
            Act::Advance { phase, details } => {
                tracing::info!(%task, session = ?self.brief.session, "{}", phase.name());
                let advance = move |store: &mut Store| store.advance(attempt, phase, &details, now);
                // That a job runs is told by its own files; that it may run stands on disk before it can.
                let is_told = phase == Phase::Running && self.brief.task.kind == Kind::Command;
                match is_told {
                    true => self.ledger.run_lightly(advance).await?,
                    false => self.ledger.run(advance).await?,
                }
            }
            Act::Ask { question, said } => {
                let said = said.map(|said| Output::of(said.into_bytes()));
                self.ledger
                    .run(move |store| store.ask(attempt, &question, said.as_ref(), now))
                    .await?;
            }
            Act::GoOn { details } => {
                self.ledger
                    .run(move |store| store.go_on(attempt, &details, now))
                    .await?;
            }
            Act::TakeReply { reply, details } => {
                self.ledger
                    .run(move |store| store.take_reply(&reply, &details, now))
                    .await?;
            }
            Act::DropReplies { why } => {
                self.ledger
                    .run(move |store| store.drop_replies(Some(task), &why, now))
                    .await?;
            }
            Act::NoteSession { action, details } => {
                let session = self.brief.session.clone();
                self.ledger
                    .run(move |store| store.note_session(&session, action, &details, now))
                    .await?;
            }
            Act::Tell(note) => self.tell(News::Note(note)),
            Act::End(ending) => self.end(*ending).await?,
            other => {
                return Ok(self
                    .world
                    .perform(&self.brief, &mut self.hands, &other)
                    .await);
            }
        }
        Ok(Done::Fine)
    }

    /// Commits the end. Until it is on disk, nothing of the attempt is touched.
    async fn end(&mut self, ending: Ending) -> Result<(), StoreError> {
        let attempt = self.brief.attempt;
        let collected = self.world.collect(&self.brief, ending).await;
        let ending = collected.ending;
        let reason = ending.reason.clone();
        tracing::info!(
            task = %self.brief.task.id,
            session = ?self.brief.session,
            "{}: {}",
            ending.outcome.name(),
            clean(reason.as_deref().unwrap_or("done"))
        );
        let now = self.world.now().wall;
        let end = End {
            attempt,
            outcome: ending.outcome,
            event: ending.event,
            exit_code: ending.exit_code,
            error: reason,
            output: collected.output,
            not_before: ending.backoff.map(|backoff| now + backoff),
            turn: ending.turn.clone(),
            limit: ending.limit.clone(),
        };
        let unneeded = self
            .ledger
            .run(move |store| {
                store.end(&end, now)?;
                store.settled_secrets()
            })
            .await?;
        self.world
            .clean_up(&self.brief, &mut self.hands, &ending, &unneeded);
        if !unneeded.is_empty() {
            self.ledger
                .run(move |store| store.forget_secrets(&unneeded))
                .await?;
        }
        let metadata = &self.brief.task.metadata;
        let given = if metadata.isolate_env {
            BTreeMap::new()
        } else {
            metadata.env_vars.clone()
        };
        self.tell(News::Ended(Box::new(Over {
            outcome: ending.outcome,
            leaves: ending.leaves,
            given,
            before: collected.before,
            secrets: collected.secrets,
        })));
        Ok(())
    }

    fn tell(&self, what: News) {
        // If nobody listens any more, nobody wants to know.
        let _ = self.tell.send(AttemptReport {
            attempt: self.brief.attempt,
            task: self.brief.task.id,
            identity: self.brief.identity.clone(),
            what,
        });
    }
}

/// Counts an attempt as performing acts.
struct Acting(Rc<Cell<usize>>);

impl Acting {
    fn begin(acting: &Rc<Cell<usize>>) -> Self {
        acting.set(acting.get() + 1);
        Self(Rc::clone(acting))
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// The result of performing acts.
enum Performed {
    /// They were performed, and this is the last result.
    Done(Option<Done>),
    /// The last act takes a while.
    Started(Work),
}
