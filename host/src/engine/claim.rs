//! claim: reserves sessions for tasks, with the explanation, before anything else happens.

use jiff::Timestamp;

use super::matching::Assignment;
use super::{Engine, RoundError};
use crate::model::session::Activity;
use crate::node::attempt::Brief;
use crate::store::Claim;
use crate::tmux::Tmux;

impl<T: Tmux + 'static> Engine<T> {
    /// Claims a round's assignments in one transaction, and has their attempts run.
    pub(super) async fn claim(
        &mut self,
        assignments: Vec<Assignment>,
        now: Timestamp,
    ) -> Result<(), RoundError> {
        if assignments.is_empty() {
            return Ok(());
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
        for (Assignment { task, session, .. }, attempt) in assignments.into_iter().zip(attempts) {
            if let Some(attempt) = attempt {
                tracing::info!(task = %task.id, session = ?session.row.name, "claimed");
                self.begin(Brief {
                    attempt,
                    task,
                    session: session.row.name,
                    identity: session.row.identity,
                });
            }
        }
        Ok(())
    }
}
