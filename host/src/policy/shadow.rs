//! A second policy that is asked beside the live one, on a thread of its own. Nothing that it says
//! is acted on: where it differs, that is kept.

use std::io;
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::model::matching::PolicyId;

use super::Policy;
use super::archive::{Archive, Round, Shadowed};
use super::compare::{different, microseconds};

/// Rounds that may wait for it; where it is slower than that, it is not asked about the next.
const BEHIND: usize = 16;

/// How the shadow has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Which policy.
    pub policy: PolicyId,
    /// Rounds that it decided.
    pub rounds: u64,
    /// Tasks in them.
    pub tasks: u64,
    /// Tasks that it decided otherwise than the live one.
    pub different: u64,
    /// Rounds in which it failed.
    pub failures: u64,
    /// Rounds that it was not asked about, because it was still at others.
    pub skipped: u64,
    /// How it failed last.
    pub last_failure: Option<String>,
}

/// The policy beside the live one.
pub struct Shadow {
    rounds: Option<SyncSender<Arc<Round>>>,
    tally: Arc<Mutex<Tally>>,
    thread: Option<JoinHandle<()>>,
}

impl Shadow {
    /// Starts its thread; rounds that it would have decided otherwise go into the archive.
    ///
    /// # Errors
    ///
    /// The system starts no more threads.
    pub fn start(policy: Policy, archive: Archive) -> io::Result<Self> {
        let tally = Arc::new(Mutex::new(Tally {
            policy: policy.id().clone(),
            rounds: 0,
            tasks: 0,
            different: 0,
            failures: 0,
            skipped: 0,
            last_failure: None,
        }));
        let (rounds, queue) = mpsc::sync_channel::<Arc<Round>>(BEHIND);
        let kept = Arc::clone(&tally);
        let thread = thread::Builder::new()
            .name("shadow".to_owned())
            .spawn(move || {
                let mut archive = archive;
                for round in queue {
                    decide(&policy, &round, &mut archive, &kept);
                }
            })?;
        Ok(Self {
            rounds: Some(rounds),
            tally,
            thread: Some(thread),
        })
    }

    /// Lets it decide a round, if it has time.
    pub(super) fn ask(&self, round: &Arc<Round>) {
        let Some(rounds) = &self.rounds else { return };
        match rounds.try_send(Arc::clone(round)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                lock(&self.tally).skipped += 1;
            }
        }
    }

    /// How it has done so far.
    pub fn tally(&self) -> Tally {
        lock(&self.tally).clone()
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        // The thread ends with the queue; what is in it is still decided and kept.
        self.rounds = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn decide(policy: &Policy, round: &Round, archive: &mut Archive, tally: &Mutex<Tally>) {
    let start = Instant::now();
    let result = policy.decide(&round.question);
    let took_us = microseconds(start.elapsed());
    let decisions = match result {
        Ok(decisions) => decisions,
        Err(failure) => {
            let failure = format!("the shadow `{}` {failure}", policy.id().name);
            let mut tally = lock(tally);
            tally.failures += 1;
            if tally.last_failure.as_ref() != Some(&failure) {
                tracing::warn!("{failure}");
            }
            tally.last_failure = Some(failure);
            return;
        }
    };
    let different = different(&round.decisions, &decisions);
    {
        let mut tally = lock(tally);
        tally.rounds += 1;
        tally.tasks += decisions.len() as u64;
        tally.different += different;
    }
    if different > 0 {
        let kept = Round {
            shadow: Some(Shadowed {
                policy: policy.id().clone(),
                took_us,
                decisions,
            }),
            ..round.clone()
        };
        if let Err(error) = archive.write(&kept) {
            tracing::warn!("what the shadow would have done cannot be kept: {error}");
        }
    }
}

fn lock(tally: &Mutex<Tally>) -> std::sync::MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
