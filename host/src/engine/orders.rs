//! What people and programs have set for sessions: pauses, labels, and variables that they tell of.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Engine;
use super::tracker::Freshness;
use crate::model::session::names;
use crate::store::{PauseRow, Reply, StoreError};
use crate::tmux::Tmux;

/// What was set, as of the last change of the database.
#[derive(Debug, Default)]
pub(super) struct Orders {
    data_version: Option<i64>,
    /// The engine itself has changed something of it.
    pub(super) stale: bool,
    /// What people have answered.
    pub(super) replies: Vec<Reply>,
    pauses: Vec<PauseRow>,
    labels: BTreeMap<String, BTreeMap<String, String>>,
}

impl Orders {
    /// Returns the pause that holds for a session of that name and provider: one that a person has
    /// asked for before one that ends by itself.
    pub(super) fn pause(&self, session: &str, provider: &str) -> Option<&PauseRow> {
        PauseRow::over(&self.pauses, session, provider)
    }

    /// Whether a pause has ended by itself.
    fn is_over(&self, now: Timestamp) -> bool {
        let mut pauses = self.pauses.iter();
        pauses.any(|pause| pause.until.is_some_and(|until| until <= now))
    }

    /// Returns the labels of the session of that name.
    pub(super) fn labels(&self, session: &str) -> BTreeMap<String, String> {
        // What is set for one pane counts more than what is set for all of them.
        let mut labels = BTreeMap::new();
        for name in names(session).collect::<Vec<_>>().into_iter().rev() {
            labels.extend(self.labels.get(name).cloned().unwrap_or_default());
        }
        labels
    }
}

impl<T: Tmux + 'static> Engine<T> {
    /// Reads what was set, where another process has changed the database.
    pub(super) async fn hear_orders(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let before = self.orders.data_version;
        // Our own changes do not show in the version.
        let over = std::mem::take(&mut self.orders.stale) || self.orders.is_over(now);
        let news = self
            .ledger
            .run(move |store| {
                if over {
                    store.end_pauses(now)?;
                }
                let version = store.data_version()?;
                if before == Some(version) && !over {
                    return Ok(None);
                }
                let orders = Orders {
                    stale: false,
                    replies: store.replies()?,
                    data_version: Some(version),
                    pauses: store.pauses()?,
                    labels: store.session_labels()?,
                };
                Ok(Some((
                    orders,
                    store.take_context_updates()?,
                    store.settled_secrets()?,
                )))
            })
            .await?;
        let Some((orders, updates, unneeded)) = news else {
            return Ok(());
        };
        if !unneeded.is_empty() {
            // The values first, and then that there were any.
            self.secrets.forget_all(&unneeded);
            self.ledger
                .run(move |store| store.forget_secrets(&unneeded))
                .await?;
        }
        if over {
            self.queue.touch();
        }
        self.orders = orders;
        for update in updates {
            let identity = self.tracker.written.get(&update.session);
            let Some(identity) = identity.map(|row| row.identity.clone()) else {
                continue;
            };
            if let Some(known) = self.tracker.get_mut(&identity) {
                for (name, value) in update.env {
                    match value {
                        Some(value) => known.env.insert(name, value),
                        None => known.env.remove(&name),
                    };
                }
                // What the shell said before may not hold any more.
                known.live = None;
                known.fresh = Freshness::Stale;
            }
        }
        Ok(())
    }
}
