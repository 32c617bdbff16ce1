//! `assigner run`: the daemon in the foreground.

use std::io;

use jiff::Timestamp;
use serde_json::Value;
use tracing_subscriber::EnvFilter;

use super::exit::{CommandFailure, Exit};
use super::{Context, send, ui};
use crate::agents::nonce::NonceKey;
use crate::config;
use crate::daemon::engine::Settings;
use crate::daemon::{self, Ended, Lock, Options};
use crate::matcher::MatcherSettings;
use crate::model::ids::NodeName;
use crate::node::NodeSettings;
use crate::policy::{Loader, Policy, PolicySource, resolve};
use crate::store::{PolicyCause, PolicyEvent, PolicyOrder, PolicyOutcome};

/// Watches the sessions and runs the tasks, until it is stopped.
///
/// One daemon runs for a data directory. Running jobs continue when it stops, and the next start
/// picks them up.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The policy: a component's path, a name in the policies directory, or `default.wasm`
    #[arg(long, value_name = "FILE")]
    policy: Option<String>,
    /// A setting for the policy, overriding the configuration; VALUE as JSON, or text
    #[arg(long, value_name = "KEY=VALUE", value_parser = config::setting)]
    policy_set: Vec<(String, Value)>,
    /// Keeps every round for `assigner policy replay`
    #[arg(long)]
    record: bool,
    /// A policy that is asked beside the live one, without effect: `assigner policy shadow` shows
    /// what it would have done
    #[arg(long, value_name = "FILE")]
    shadow: Option<String>,
    /// A setting for the shadow; VALUE as JSON, or text
    #[arg(long, value_name = "KEY=VALUE", value_parser = config::setting, requires = "shadow")]
    shadow_set: Vec<(String, Value)>,
    /// Exits when no task is pending or running: with 1 if a task failed
    #[arg(long)]
    once: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    log_to_stderr(context.verbose);
    send::warn_of_headless(context);
    let config = &context.config;
    let loader = config.loader(|why| tracing::warn!("{why}"));
    let (start, policy) = begin(context, args, &loader)?;
    let fallback = loader.fallback()?;
    let shadow = args
        .shadow
        .as_ref()
        .map(|name| {
            let settings = config.settings(name, &args.shadow_set);
            loader.load(&resolve(name, &config.policies_dir)?, &settings)
        })
        .transpose()?;
    let records = args.record || config.file.policy.record;
    let record_limit = config.file.policy.record_limit.saturating_mul(1 << 20);
    let engine = &config.file.engine;
    let options = Options {
        data_dir: config.data_dir.clone(),
        socket: config.socket.clone(),
        policy,
        policy_source: start.source,
        policy_named: args.policy.is_some(),
        last_order: start.last_order,
        fallback,
        loader,
        record: records,
        record_limit,
        shadow,
        once: args.once,
        notify: config.file.notify.clone(),
        profiles_dir: config.profiles_dir.clone(),
        settings: Settings {
            node: NodeSettings {
                node: NodeName::default(),
                program: std::env::current_exe().map_err(daemon::DaemonError::System)?,
                output_limit: engine.output_limit,
                start_within: engine.start_within,
                attended_for: engine.attended_for,
                prerequisite_within: engine.prerequisite_timeout,
                // The daemon reads it once it has the data directory.
                nonces: NonceKey::default(),
                shell_integration: engine.shell_integration,
                exclude: config.file.sessions.exclude.set(),
                protect: config.file.sessions.protect.set(),
                pools: config.pools(),
            },
            matcher: MatcherSettings {
                host: rustix::system::uname()
                    .nodename()
                    .to_string_lossy()
                    .into_owned(),
                explain: engine.explain,
                ask_variables: engine.ask_variables,
            },
        },
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(daemon::DaemonError::System)?;
    let ended = runtime.block_on(daemon::run(options))?;
    // A policy call that hangs must not delay the exit.
    runtime.shutdown_background();
    match ended {
        Ended::Stopped | Ended::Finished { failed: 0 } => Ok(Exit::Done),
        Ended::Finished { failed } => {
            let (tasks, them) = if failed == 1 {
                ("task", "it")
            } else {
                ("tasks", "them")
            };
            ui::warn(&format!(
                "{failed} {tasks} failed: `assigner list --status failed` shows {them}"
            ));
            Ok(Exit::Failed)
        }
    }
}

/// The policy that a daemon starts with.
pub(super) struct Start {
    pub(super) source: PolicySource,
    pub(super) settings: Value,
    /// The order that led to this choice; 0 if there was none.
    last_order: i64,
    /// True if no daemon has seen that order yet.
    untried: bool,
}

/// Returns what the command line names, or else what a person has chosen, or else what the
/// configuration says. `set` are the settings of the command line.
pub(super) fn start(
    context: &Context,
    named: Option<&str>,
    set: &[(String, Value)],
) -> Result<Start, CommandFailure> {
    let config = &context.config;
    let chosen = context.store()?.chosen_policy()?;
    let last_order = chosen.as_ref().map_or(0, |event| event.id);
    let waiting = |event: &PolicyEvent| event.outcome == PolicyOutcome::Waiting;
    let untried = named.is_none() && chosen.as_ref().is_some_and(waiting);
    let chosen = chosen.filter(|event| event.cause == PolicyCause::Use);
    let (source, name, mut all) = match (named, chosen) {
        (None, Some(event)) => {
            let order = event.order;
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
    all.extend(set.iter().cloned());
    Ok(Start {
        source,
        settings: config.live_settings(&name, &all),
        last_order,
        untried,
    })
}

/// Returns the policy that a daemon starts with, and why it is that one.
///
/// If a choice that no daemon has tried yet cannot be used, it is refused here, as a daemon would
/// have done, and the previous choice applies. If anything else cannot be loaded, that is an error,
/// and is recorded.
fn begin(
    context: &Context,
    args: &Args,
    loader: &Loader,
) -> Result<(Start, Policy), CommandFailure> {
    loop {
        let start = start(context, args.policy.as_deref(), &args.policy_set)?;
        let error = match loader.load(&start.source, &start.settings) {
            Ok(policy) => return Ok((start, policy)),
            Err(error) => error,
        };
        let why = error.to_string();
        let mut store = context.store()?;
        if start.untried {
            tracing::warn!("what `assigner policy use` chose cannot be used: {why}");
            let refused = PolicyOutcome::Refused;
            store.settle_policy(start.last_order, refused, Some(&why), None)?;
            continue;
        }
        // A running daemon is not affected by it.
        if Lock::holder(&context.config.data_dir).is_none() {
            store.note_policy(&PolicyEvent {
                id: 0,
                at: Timestamp::now(),
                cause: PolicyCause::Start,
                order: PolicyOrder {
                    source: start.source.name(),
                    settings: start.settings,
                    set_by_hand: Value::Null,
                },
                outcome: PolicyOutcome::Refused,
                reason: Some(why),
                policy: None,
            })?;
        }
        return Err(error.into());
    }
}

pub(super) fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => "assigner=info,policy=info",
        1 => "assigner=debug,policy=debug",
        _ => "assigner=trace,policy=trace",
    };
    let filter = EnvFilter::try_from_env("ASSIGNER_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let colored = anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(colored)
        .with_target(false)
        .init();
}
