//! What people and programs have set for sessions: pauses, labels, and variables that they tell of.

use std::collections::BTreeMap;

use super::Engine;
use super::tracker::Freshness;
use crate::model::session::names;
use crate::store::{Pause, StoreError};
use crate::tmux::Tmux;

/// What was set, as of the last change of the database.
#[derive(Debug, Default)]
pub(super) struct Orders {
    data_version: Option<i64>,
    pauses: Vec<Pause>,
    labels: BTreeMap<String, BTreeMap<String, String>>,
}

impl Orders {
    /// Whether a session of that name and provider is to take no new tasks.
    pub(super) fn pause(&self, session: &str, provider: &str) -> bool {
        let mut pauses = self.pauses.iter();
        pauses.any(|pause| pause.covers(session, provider))
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

impl<T: Tmux> Engine<T> {
    /// Reads what was set, where another process has changed the database.
    pub(super) async fn hear_orders(&mut self) -> Result<(), StoreError> {
        let before = self.orders.data_version;
        let news = self
            .ledger
            .run(move |store| {
                let version = store.data_version()?;
                if before == Some(version) {
                    return Ok(None);
                }
                let orders = Orders {
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
        self.forget_secrets(unneeded).await?;
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
