//! Which policy decides, from the start of a daemon to its end: the one that it begins with, the
//! orders of people, and changes of its file. Also the shadow policy and the recording of rounds.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::engine::Engine;
use super::{DaemonError, Options};
use crate::model::matching::PolicyId;
use crate::policy::{
    Archive, Loaded, Order, Policy, PolicyHost, PolicyNews, PolicySource, Reloader, Shadow, Tally,
};
use crate::store::{
    DaemonFacts, Ledger, PolicyCause, PolicyEvent, PolicyOrder, PolicyOutcome, ShadowFacts, Store,
    StoreError,
};
use crate::tmux::Server;

pub(super) fn shadow_facts(tally: Tally) -> ShadowFacts {
    let Tally {
        policy,
        rounds,
        tasks,
        different,
        failures,
        skipped,
        last_failure,
    } = tally;
    ShadowFacts {
        policy,
        rounds,
        tasks,
        different,
        failures,
        skipped,
        last_failure,
    }
}

/// The directory of recorded rounds in a data directory.
pub fn rounds_directory(data: &Path) -> PathBuf {
    data.join("rounds")
}

/// The directory of rounds that a shadow would have decided differently.
pub fn shadow_directory(data: &Path) -> PathBuf {
    data.join("shadow")
}

pub(super) fn policy_host(options: &Options) -> Result<PolicyHost, DaemonError> {
    let open = |path: PathBuf, limit| {
        Archive::open(&path, limit).map_err(|source| DaemonError::Archive { path, source })
    };
    let mut host = PolicyHost::new(options.policy.clone(), options.fallback.clone());
    let limit = options.record_limit;
    if options.record {
        host.record(open(rounds_directory(&options.data_dir), limit)?);
    }
    if let Some(shadow) = &options.shadow {
        let directory = shadow_directory(&options.data_dir);
        // The decisions of an earlier shadow are of no use beside those of this one.
        match std::fs::remove_dir_all(&directory) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(DaemonError::Archive {
                    path: directory,
                    source,
                });
            }
            _ => {}
        }
        let archive = open(directory, limit)?;
        host.beside(Shadow::start(shadow.clone(), archive)?);
    }
    Ok(host)
}

/// Which policy is live, and which one is to be.
pub(super) struct Policies {
    reloader: Reloader,
    pub(super) live: Live,
    /// Orders that are being loaded, or whose answer is not written yet.
    loading: BTreeSet<i64>,
    /// What became of orders and files, still to be written to the store.
    pub(super) unwritten: Vec<PolicyEvent>,
}

pub(super) struct Live {
    id: PolicyId,
    pub(super) order: PolicyOrder,
    pub(super) load_ms: f64,
    pub(super) cached: bool,
}

impl Live {
    fn new(source: &PolicySource, policy: &Policy) -> Self {
        let loading = policy.loading();
        Self {
            id: policy.id().clone(),
            order: PolicyOrder {
                source: source.name(),
                settings: policy.settings().clone(),
                set_by_hand: serde_json::Value::Null,
            },
            load_ms: (loading.took.as_secs_f64() * 1e6).round() / 1e3,
            cached: loading.cached,
        }
    }
}

impl Policies {
    /// Starts the loader of other policies, and records what this daemon begins with.
    pub(super) async fn start(
        options: &Options,
        ledger: &Ledger,
        wake: Arc<Notify>,
    ) -> Result<Self, DaemonError> {
        let live = Live::new(&options.policy_source, &options.policy);
        let start = PolicyEvent {
            id: 0,
            at: Timestamp::now(),
            cause: PolicyCause::Start,
            order: live.order.clone(),
            outcome: PolicyOutcome::Live,
            reason: None,
            policy: Some(options.policy.id().clone()),
        };
        let (named, last) = (options.policy_named, options.last_order);
        ledger
            .run(move |store| {
                // Orders from while no daemon was running: the last of them was chosen just now.
                for order in store.policy_orders()? {
                    if order.id > last {
                        continue;
                    }
                    let (outcome, policy) = if named || order.id < last {
                        (PolicyOutcome::Overruled, None)
                    } else {
                        (PolicyOutcome::Live, start.policy.as_ref())
                    };
                    store.settle_policy(order.id, outcome, None, policy)?;
                }
                store.note_policy(&start)?;
                // An order given to the previous daemon while this one was waiting for it to end.
                let later = store.chosen_policy()?.filter(|event| event.id > last);
                if let Some(event) = later.filter(|event| event.outcome == PolicyOutcome::Live)
                    && !named
                {
                    store.note_policy(&PolicyEvent {
                        outcome: PolicyOutcome::Waiting,
                        ..event
                    })?;
                }
                Ok(())
            })
            .await?;
        let reloader = Reloader::start(
            options.loader.clone(),
            options.policy_source.clone(),
            &options.policy,
            move || wake.notify_one(),
        )?;
        Ok(Self {
            reloader,
            live,
            loading: BTreeSet::new(),
            unwritten: Vec::new(),
        })
    }

    /// Called between two rounds: switches to a policy that has been loaded, and starts loading
    /// those that were ordered.
    pub(super) async fn take_up(
        &mut self,
        engine: &mut Engine<Server>,
        ledger: &Ledger,
    ) -> Result<(), StoreError> {
        let news: Vec<PolicyNews> = self.reloader.news().collect();
        for news in news {
            let event = self.take_up_one(news, engine);
            self.unwritten.push(event);
        }
        let orders = ledger.run(Store::policy_orders).await?;
        for event in orders {
            if self.loading.insert(event.id) {
                self.reloader.order(Order {
                    id: event.id,
                    source: PolicySource::named(&event.order.source),
                    settings: event.order.settings,
                });
            }
        }
        Ok(())
    }

    fn take_up_one(&mut self, news: PolicyNews, engine: &mut Engine<Server>) -> PolicyEvent {
        let (outcome, reason) = match news.result {
            Loaded::Same => {
                tracing::info!("the policy's file has not changed");
                (PolicyOutcome::Live, None)
            }
            Loaded::Policy(policy) => {
                self.live = Live::new(&news.source, &policy);
                tracing::info!(
                    policy = %self.live.order.source,
                    sha256 = self.live.id.sha256.get(..12).unwrap_or_default(),
                    load_ms = self.live.load_ms,
                    cached = self.live.cached,
                    "the policy `{}` {} decides from now on", self.live.id.name, self.live.id.version
                );
                engine.replace_policy(*policy);
                (PolicyOutcome::Live, None)
            }
            Loaded::Refused(why) => {
                tracing::warn!("the policy is not replaced: {why}");
                (PolicyOutcome::Refused, Some(why))
            }
        };
        let is_live = outcome == PolicyOutcome::Live;
        PolicyEvent {
            id: news.order.unwrap_or_default(),
            at: Timestamp::now(),
            cause: PolicyCause::File,
            order: PolicyOrder {
                source: news.source.name(),
                ..self.live.order.clone()
            },
            outcome,
            reason,
            policy: is_live.then(|| self.live.id.clone()),
        }
    }

    /// Called when the events that were to be written have been written.
    pub(super) fn written(&mut self) {
        for event in self.unwritten.drain(..) {
            self.loading.remove(&event.id);
        }
    }
}

/// Records what became of orders and files, together with the current state of the daemon, so that
/// whoever asks for one also sees the other.
pub(super) async fn write_down(
    ledger: &Ledger,
    events: Vec<PolicyEvent>,
    facts: DaemonFacts,
) -> Result<(), StoreError> {
    ledger
        .run(move |store| {
            store.record_daemon(&facts)?;
            for event in &events {
                match event.id {
                    0 => {
                        store.note_policy(event)?;
                    }
                    order => store.settle_policy(
                        order,
                        event.outcome,
                        event.reason.as_deref(),
                        event.policy.as_ref(),
                    )?,
                }
            }
            Ok(())
        })
        .await
}
