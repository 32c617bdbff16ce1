//! Batches of tasks whose sender stopped while it queued them: what is left of them is brought to its end.

use std::time::Duration;

use crate::model::clock::{Now, Tick};
use crate::store::Ledger;

/// How often it is looked for them.
const EVERY: Duration = Duration::from_secs(2);

/// When it is looked for batches that were left, and whether one is being moved.
#[derive(Debug, Default)]
pub(super) struct LeftBatches {
    next: Option<Tick>,
    more: bool,
    /// What was wrong at the last look: it is logged once.
    trouble: Option<String>,
}

impl LeftBatches {
    /// Moves a slice of each batch that was left. Returns whether there may be new tasks.
    pub(super) async fn go_on(&mut self, ledger: &Ledger, now: Now) -> bool {
        if !self.more && self.next.is_some_and(|next| now.tick < next) {
            return false;
        }
        self.next = Some(now.tick + EVERY);
        let taken = ledger
            .run(move |store| store.take_over_batches(now.wall))
            .await;
        let (more, trouble) = match taken {
            Ok(taken) => (taken.more, taken.trouble),
            Err(error) => (false, Some(error)),
        };
        let trouble = trouble.map(|error| error.to_string());
        if let Some(trouble) = &trouble
            && self.trouble.as_ref() != Some(trouble)
        {
            tracing::warn!(
                "tasks that were being queued when their sender stopped wait: {trouble}"
            );
        }
        (self.more, self.trouble) = (more, trouble);
        more
    }

    /// Whether more is to be done at once.
    pub(super) fn is_busy(&self) -> bool {
        self.more
    }
}
