//! A second policy that is asked beside the live one, on a thread of its own. Its answers have no
//! effect; differences from the live policy are kept.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::model::matching::PolicyId;

use super::Policy;
use super::archive::{Archive, Round, Shadowed};
use super::compare::{different, microseconds};
use super::failover::PolicyRest;

/// How many rounds may wait for it; if it is slower than that, further rounds are skipped.
const BEHIND: usize = 16;

/// How long the exit waits for rounds that it has not decided yet.
const AT_THE_END: Duration = Duration::from_secs(2);

/// How the shadow has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Which policy.
    pub policy: PolicyId,
    /// The number of rounds that it decided.
    pub rounds: u64,
    /// The number of tasks in them.
    pub tasks: u64,
    /// The number of tasks that it decided differently from the live policy.
    pub different: u64,
    /// The number of rounds in which it failed.
    pub failures: u64,
    /// The number of rounds that it was not asked about, because it was busy with others or was
    /// skipped after a failure.
    pub skipped: u64,
    /// The last failure.
    pub last_failure: Option<String>,
}

/// The policy beside the live one.
pub struct Shadow {
    rounds: Option<SyncSender<Arc<Round>>>,
    tally: Arc<Mutex<Tally>>,
    thread: JoinHandle<()>,
    ends: Arc<AtomicBool>,
    wants_busy: bool,
}

impl Shadow {
    /// Starts its thread; rounds that it would have decided differently go into the archive.
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
        let ends = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&ends);
        let wants_busy = policy.wants_busy();
        let thread = thread::Builder::new()
            .name("shadow".to_owned())
            .spawn(move || {
                let mut archive = archive;
                let mut rest = PolicyRest::default();
                for round in queue {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    if rest.lasts(Instant::now()) {
                        lock(&kept).skipped += 1;
                        continue;
                    }
                    if decide(&policy, &round, &mut archive, &kept) {
                        rest.is_over();
                    } else {
                        rest.begins(Instant::now());
                    }
                }
            })?;
        Ok(Self {
            rounds: Some(rounds),
            tally,
            thread,
            ends,
            wants_busy,
        })
    }

    /// True if a round should also list sessions that are not ready.
    pub(super) fn wants_busy(&self) -> bool {
        self.wants_busy
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

    /// Returns how it has done so far.
    pub fn tally(&self) -> Tally {
        lock(&self.tally).clone()
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        // The thread ends with the queue. Rounds in the queue are still decided, unless that takes
        // long: a daemon's exit does not wait for a policy that is not even live.
        self.rounds = None;
        let deadline = Instant::now() + AT_THE_END;
        while !self.thread.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        self.ends.store(true, Ordering::Relaxed);
    }
}

/// Returns whether it could decide.
fn decide(policy: &Policy, round: &Round, archive: &mut Archive, tally: &Mutex<Tally>) -> bool {
    let start = Instant::now();
    let result = policy.decide(&round.question);
    let took_us = microseconds(start.elapsed());
    let shadowed = Shadowed {
        policy: policy.id().clone(),
        took_us,
        decisions: Vec::new(),
        failure: None,
    };
    let shadowed = match result {
        Ok(decisions) => {
            let different = different(&round.decisions, &decisions);
            let mut tally = lock(tally);
            tally.rounds += 1;
            tally.tasks += decisions.len() as u64;
            tally.different += different;
            if different == 0 {
                return true;
            }
            Shadowed {
                decisions,
                ..shadowed
            }
        }
        Err(failure) => {
            let name = &policy.id().name;
            let words = format!("the shadow `{name}` {failure}");
            let mut tally = lock(tally);
            tally.failures += 1;
            if tally.last_failure.as_ref() != Some(&words) {
                tracing::warn!("{words}");
            }
            tally.last_failure = Some(words);
            Shadowed {
                failure: Some(failure.to_string()),
                ..shadowed
            }
        }
    };
    let works = shadowed.failure.is_none();
    let kept = Round {
        shadow: Some(shadowed),
        ..round.clone()
    };
    if let Err(error) = archive.write(&kept) {
        tracing::warn!("what the shadow would have done cannot be kept: {error}");
    }
    works
}

fn lock(tally: &Mutex<Tally>) -> std::sync::MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
