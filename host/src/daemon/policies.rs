//! Which policy decides, from the start of a daemon to its end: the one that it begins with, the
//! orders of people, and changes of its file. Also the shadow policy and the recording of rounds.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Notify;

use super::configuration::CommandLine;
use super::engine::Engine;
use super::{DaemonError, Options};
use crate::config::Config;
use crate::model::matching::PolicyId;
use crate::policy::{
    Archive, LoadError, Loaded, Order, Policy, PolicyHost, PolicyNews, PolicyNewsAbout,
    PolicySource, Reloader, Shadow, Tally, resolve,
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

/// The policy that a daemon is to use.
#[derive(Debug, Clone)]
pub struct PolicyChoice {
    /// Where it comes from.
    pub source: PolicySource,
    /// Its settings.
    pub settings: Value,
    /// Whether the command line names it, so that it takes precedence over what a person chose.
    pub is_named: bool,
    /// Whether a person chose it by `assigner policy use`.
    pub is_chosen: bool,
    /// The last order for a policy when this was chosen. 0 if there was none.
    pub last_order: i64,
    /// Whether no daemon has seen that order yet.
    pub is_untried: bool,
}

impl PolicyChoice {
    /// Returns what the command line names, or else what a person has chosen last, or else what the
    /// configuration says.
    ///
    /// # Errors
    /// No policy has the name that is given.
    pub fn of(
        config: &Config,
        line: &CommandLine,
        chosen: Option<PolicyEvent>,
    ) -> Result<Self, LoadError> {
        let named = line.policy.as_deref();
        let last_order = chosen.as_ref().map_or(0, |event| event.id);
        let waits = |event: &PolicyEvent| event.outcome == PolicyOutcome::Waiting;
        let is_untried = named.is_none() && chosen.as_ref().is_some_and(waits);
        let chosen = chosen.filter(|event| event.cause == PolicyCause::Use);
        let is_chosen = named.is_none() && chosen.is_some();
        let (source, name, mut set) = match (named, chosen) {
            (None, Some(PolicyEvent { order, .. })) => {
                let by_hand = order.set_by_hand.as_object().cloned().unwrap_or_default();
                let source = PolicySource::named(&order.source);
                (source, order.source, by_hand.into_iter().collect())
            }
            (named, _) => {
                let name = named.unwrap_or_else(|| config.policy_name());
                (
                    resolve(name, &config.policies_dir)?,
                    name.to_owned(),
                    Vec::new(),
                )
            }
        };
        set.extend(line.policy_set.iter().cloned());
        Ok(Self {
            source,
            settings: config.live_settings(&name, &set),
            is_named: named.is_some(),
            is_chosen,
            last_order,
            is_untried,
        })
    }
}

fn open_archive(path: PathBuf, config: &Config) -> Result<Archive, DaemonError> {
    let limit = config.file.policy.record_limit.saturating_mul(1 << 20);
    Archive::open(&path, limit).map_err(|source| DaemonError::Archive { path, source })
}

fn records(config: &Config, line: &CommandLine) -> bool {
    line.record || config.file.policy.record
}

pub(super) fn policy_host(options: &Options) -> Result<PolicyHost, DaemonError> {
    let config = &options.config;
    let mut host = PolicyHost::new(options.policy.clone(), options.fallback.clone());
    if records(config, &options.command_line) {
        host.record(Some(open_archive(
            rounds_directory(&config.data_dir),
            config,
        )?));
    }
    if let Some(shadow) = &options.shadow {
        let directory = shadow_directory(&config.data_dir);
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
        let archive = open_archive(directory, config)?;
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
                set_by_hand: Value::Null,
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
        let live = Live::new(&options.choice.source, &options.policy);
        let start = PolicyEvent {
            id: 0,
            at: Timestamp::now(),
            cause: PolicyCause::Start,
            order: live.order.clone(),
            outcome: PolicyOutcome::Live,
            reason: None,
            policy: Some(options.policy.id().clone()),
        };
        let (named, last) = (options.choice.is_named, options.choice.last_order);
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
            options.choice.source.clone(),
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
                    id: Some(event.id),
                    source: PolicySource::named(&event.order.source),
                    settings: event.order.settings,
                });
            }
        }
        Ok(())
    }

    /// Follows a change of the configuration: another policy is loaded, or the same one with other
    /// settings or limits, and rounds are recorded or not.
    ///
    /// # Errors
    /// The store failed.
    pub(super) async fn follow_configuration(
        &mut self,
        [before, after]: &[Config; 2],
        line: &CommandLine,
        engine: &Engine<Server>,
        ledger: &Ledger,
    ) -> Result<(), StoreError> {
        let recording =
            |config: &Config| records(config, line).then_some(config.file.policy.record_limit);
        if recording(before) != recording(after) {
            let archive = recording(after)
                .map(|_| open_archive(rounds_directory(&after.data_dir), after))
                .transpose();
            match archive {
                Ok(archive) => engine.record(archive),
                Err(error) => tracing::error!("{error}"),
            }
        }
        let chosen = ledger.run(Store::chosen_policy).await?;
        let was = PolicyChoice::of(before, line, chosen.clone()).ok();
        let other_limits = before.overrides() != after.overrides();
        if other_limits {
            self.reloader
                .use_loader(after.loader(|why| tracing::warn!("{why}")));
        }
        let is = match PolicyChoice::of(after, line, chosen) {
            Ok(is) => is,
            Err(error) => {
                let why = error.to_string();
                tracing::warn!("the policy is not replaced: {why}");
                self.unwritten.push(PolicyEvent {
                    id: 0,
                    at: Timestamp::now(),
                    cause: PolicyCause::Config,
                    order: PolicyOrder {
                        source: after.policy_name().to_owned(),
                        ..self.live.order.clone()
                    },
                    outcome: PolicyOutcome::Refused,
                    reason: Some(why),
                    policy: None,
                });
                return Ok(());
            }
        };
        if before.policy_name() != after.policy_name() {
            let why = match &is {
                PolicyChoice { is_named: true, .. } => Some("`assigner run --policy` names it"),
                PolicyChoice {
                    is_chosen: true, ..
                } => Some(
                    "`assigner policy use` chose it, and `assigner policy use --reset` ends that",
                ),
                _ => None,
            };
            if let Some(why) = why {
                tracing::info!("the policy stays: {why}");
            }
        }
        let is_same =
            was.is_some_and(|was| (&was.source, &was.settings) == (&is.source, &is.settings));
        if !is_same || other_limits {
            self.reloader.order(Order {
                id: None,
                source: is.source,
                settings: is.settings,
            });
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
        let (cause, order) = match news.about {
            PolicyNewsAbout::File => (PolicyCause::File, None),
            // That of an order with a number is known to the store.
            PolicyNewsAbout::Order(order) => (PolicyCause::Config, order),
        };
        PolicyEvent {
            id: order.unwrap_or_default(),
            at: Timestamp::now(),
            cause,
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
