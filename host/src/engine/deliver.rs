//! deliver: types each job's line into its pane, once, and only where the pane still is what the
//! scan saw.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::flight::Flight;
use super::prepare::Prepared;
use super::tracker::Freshness;
use super::{Engine, RoundError};
use crate::model::task::{Event, Outcome, Phase};
use crate::model::text::clean;
use crate::store::End;
use crate::tmux::{Tmux, Typed, TypedLine};

/// A session that refused is left alone for a moment, so that a pane whose cursor never stands
/// still does not become a busy loop.
pub(super) const HOLD: Duration = Duration::from_millis(500);

impl<T: Tmux> Engine<T> {
    /// Delivers what was prepared.
    pub(super) async fn deliver(
        &mut self,
        prepared: Vec<Prepared>,
        now: Timestamp,
    ) -> Result<(), RoundError> {
        if prepared.is_empty() {
            return Ok(());
        }
        // Written before the first byte goes to a pane.
        let attempts: Vec<_> = prepared
            .iter()
            .map(|prepared| {
                let flight = &prepared.claimed.flight;
                (flight.attempt, flight.identity.pane.to_string())
            })
            .collect();
        self.ledger
            .run(move |store| {
                for (attempt, pane) in &attempts {
                    store.advance(
                        *attempt,
                        Phase::Delivering,
                        &format!("into pane {pane}"),
                        now,
                    )?;
                }
                Ok(())
            })
            .await?;
        let lines: Vec<TypedLine> = prepared
            .iter()
            .map(|prepared| prepared.line.clone())
            .collect();
        let typed = self.tmux.type_lines(&lines).await;
        for (Prepared { mut claimed, .. }, typed) in prepared.into_iter().zip(typed) {
            claimed.flight.phase = Phase::Delivering;
            let flight = claimed.flight;
            // Whatever runs there may change its variables.
            if let Some(known) = self.tracker.get_mut(&flight.identity) {
                known.fresh = Freshness::Stale;
                known.asked = None;
            }
            match typed {
                Typed::Done => {
                    tracing::info!(task = %flight.task.id, session = ?flight.session, "delivered");
                    self.flights.push(flight);
                }
                Typed::Refused(refusal) => {
                    self.refuse(flight, refusal.to_string(), now).await?;
                }
                // The claim file tells later whether the shell has it.
                Typed::Unknown(error) => {
                    tracing::warn!(task = %flight.task.id, session = ?flight.session, "delivery not confirmed: {error}");
                    self.flights.push(flight);
                }
            }
        }
        Ok(())
    }

    /// Puts a task back of which nothing was typed: no attempt of its, and its session rests.
    pub(super) async fn refuse(
        &mut self,
        flight: Flight,
        reason: String,
        now: Timestamp,
    ) -> Result<(), RoundError> {
        tracing::info!(task = %flight.task.id, session = ?flight.session, "refused: {}", clean(&reason));
        self.tracker
            .hold(&flight.identity, Instant::now() + HOLD, reason.clone());
        self.queue.touch();
        let end = End {
            attempt: flight.attempt,
            outcome: Outcome::Refused,
            event: Event::Refuse,
            exit_code: None,
            error: Some(reason),
            output: None,
            not_before: None,
            turn: None,
            limit: None,
        };
        self.ledger.run(move |store| store.end(&end, now)).await?;
        self.spool.remove(flight.attempt);
        Ok(())
    }
}
