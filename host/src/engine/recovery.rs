//! Recovery: takes up what the last daemon left, settled by evidence and never by a guess.

use jiff::Timestamp;

use super::Engine;
use super::flight::Flight;
use super::spool::Taken;
use crate::model::task::{Event, Kind, Outcome, Phase};
use crate::store::{End, OpenAttempt, StoreError};
use crate::tmux::Tmux;

impl<T: Tmux> Engine<T> {
    /// Reads what is in flight, at the start and after a round that ended half-way, and decides
    /// for each attempt that has not ended: nothing of it was typed, a shell has it, or
    /// (where its files were taken away) it cannot be known.
    pub(super) async fn recover(&mut self, now: Timestamp) -> Result<(), StoreError> {
        // What was decided and not carried out is decided anew.
        self.queue.touch();
        let open = self.ledger.run(|store| store.open_attempts()).await?;
        self.flights.clear();
        let ids: Vec<_> = open.iter().map(|attempt| attempt.id).collect();
        let told_later = self.tracker.told_later();
        let needed: Vec<_> = ids.iter().copied().chain(told_later).collect();
        self.spool.sweep(&needed);
        self.turns.retain(|attempt, _| ids.contains(attempt));
        for attempt in open {
            if attempt.task.kind == Kind::Prompt
                && (attempt.phase != Phase::Claimed || self.turns.contains_key(&attempt.id))
            {
                // What the agent shows and has written is looked at once its session is seen.
                tracing::info!(task = %attempt.task.id, session = ?attempt.session, "taken up again");
                self.flights.push(Flight::resume(attempt, now));
                continue;
            }
            let (outcome, event, reason) = match self.evidence(&attempt) {
                Evidence::Taken => {
                    tracing::info!(task = %attempt.task.id, session = ?attempt.session, "taken up again");
                    self.flights.push(Flight::resume(attempt, now));
                    continue;
                }
                Evidence::Untouched(reason) => (Outcome::Withdrawn, Event::Withdraw, reason),
                Evidence::Missing(reason) => (Outcome::Uncertain, Event::Lose, reason),
            };
            tracing::info!(task = %attempt.task.id, session = ?attempt.session, "{}: {reason}", outcome.name());
            let id = attempt.id;
            if attempt.phase == Phase::Delivering
                && let Err(error) = self.tmux.close_pipe(&attempt.identity).await
            {
                tracing::debug!(session = ?attempt.session, "cannot close the pipe: {error}");
            }
            let cancelled = attempt.task.cancel_requested.is_some() && event == Event::Withdraw;
            let end = End {
                attempt: id,
                outcome: if cancelled {
                    Outcome::Cancelled
                } else {
                    outcome
                },
                event: if cancelled { Event::Cancel } else { event },
                exit_code: None,
                error: Some(reason.to_owned()),
                output: None,
                not_before: None,
                turn: None,
                limit: None,
            };
            self.ledger.run(move |store| store.end(&end, now)).await?;
            self.spool.remove(id);
        }
        Ok(())
    }

    fn evidence(&self, attempt: &OpenAttempt) -> Evidence {
        let files = self.spool.files(attempt.id);
        match attempt.phase {
            Phase::Claimed => Evidence::Untouched("the daemon ended before anything was typed"),
            Phase::Running => Evidence::Taken,
            Phase::Delivering | Phase::Submitted | Phase::Ended => {
                if files.taken() == Taken::ByShell {
                    return Evidence::Taken;
                }
                if !files.script().exists() {
                    return Evidence::Missing(
                        "its files in the spool directory are gone: whether it ran cannot be known",
                    );
                }
                match files.withdraw() {
                    Ok(Taken::ByShell) => Evidence::Taken,
                    Ok(Taken::Withdrawn | Taken::No) => Evidence::Untouched(
                        "the daemon ended while it delivered; the shell had not taken up the job",
                    ),
                    Err(_) => Evidence::Missing(
                        "the spool directory cannot be written: whether it ran cannot be known",
                    ),
                }
            }
        }
    }
}

enum Evidence {
    /// A shell has taken the job up.
    Taken,
    /// No shell has, and none can any more.
    Untouched(&'static str),
    /// It cannot be known.
    Missing(&'static str),
}
