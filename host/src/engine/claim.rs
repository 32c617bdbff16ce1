//! claim: reserves sessions for tasks, with the explanation, before anything else happens.

use jiff::Timestamp;

use super::flight::Flight;
use super::matching::Assignment;
use super::tracker::Seen;
use super::{Engine, RoundError};
use crate::model::session::Activity;
use crate::model::task::Phase;
use crate::store::Claim;
use crate::tmux::Tmux;

/// An attempt whose session is reserved.
#[derive(Debug, Clone)]
pub(super) struct Claimed {
    pub(super) flight: Flight,
    pub(super) session: Seen,
}

impl<T: Tmux> Engine<T> {
    /// Claims a round's assignments in one transaction.
    pub(super) async fn claim(
        &mut self,
        assignments: Vec<Assignment>,
        now: Timestamp,
    ) -> Result<Vec<Claimed>, RoundError> {
        if assignments.is_empty() {
            return Ok(Vec::new());
        }
        let claims: Vec<Claim> = assignments
            .iter()
            .map(|assignment| assignment.claim.clone())
            .collect();
        let attempts = self
            .ledger
            .run(move |store| store.claim(&claims, now))
            .await?;
        for (assignment, attempt) in assignments.iter().zip(&attempts) {
            // As the claim has written it: the next scan writes what it finds where that differs.
            if attempt.is_some()
                && let Some(row) = self.tracker.written.get_mut(&assignment.claim.session)
            {
                row.current_task = Some(assignment.task.id);
                row.activity = Activity::Busy;
                row.reason = Some(format!("runs task {}", assignment.task.id));
            }
        }
        for (assignment, attempt) in assignments.iter().zip(&attempts) {
            if let Some(attempt) = attempt {
                self.note_given(&assignment.claim.session, *attempt);
            }
        }
        Ok(assignments
            .into_iter()
            .zip(attempts)
            .filter_map(|(Assignment { task, session, .. }, attempt)| {
                let flight = Flight {
                    attempt: attempt?,
                    task,
                    session: session.row.name.clone(),
                    identity: session.row.identity.clone(),
                    phase: Phase::Claimed,
                    since: now,
                    prompt_seen: None,
                    exit_seen: None,
                    ending: None,
                    given: None,
                    answered: false,
                    resumed: None,
                };
                tracing::info!(task = %flight.task.id, session = ?flight.session, "claimed");
                Some(Claimed { flight, session })
            })
            .collect())
    }
}
