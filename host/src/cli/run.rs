//! `assigner run`: the daemon in the foreground.

use std::io;

use serde_json::Value;
use tracing_subscriber::EnvFilter;

use super::exit::{Exit, Failure};
use super::{Context, ui};
use crate::config;
use crate::daemon::{self, Ended, Options};
use crate::engine::Settings;
use crate::policy::{Source, resolve};
use crate::store::PolicyLog;

/// Watches the sessions and runs the tasks, until it is stopped.
///
/// One daemon runs for a data directory. Jobs that run when it stops go on, and the next start
/// takes them up.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The policy: a component's path, a name in the policies directory, or `default.wasm`
    #[arg(long, value_name = "FILE")]
    policy: Option<String>,
    /// A setting for the policy, over those of the configuration; VALUE as JSON, or text
    #[arg(long, value_name = "KEY=VALUE", value_parser = config::setting)]
    policy_set: Vec<(String, Value)>,
    /// Keeps every round for `assigner policy replay`
    #[arg(long)]
    record: bool,
    /// A policy that decides beside the live one and is not heeded: `assigner policy shadow` shows
    /// what it would have done
    #[arg(long, value_name = "FILE")]
    shadow: Option<String>,
    /// A setting for the shadow; VALUE as JSON, or text
    #[arg(long, value_name = "KEY=VALUE", value_parser = config::setting, requires = "shadow")]
    shadow_set: Vec<(String, Value)>,
    /// Ends when nothing is pending or runs: with 1 if a task failed
    #[arg(long)]
    once: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, Failure> {
    log_to_stderr(context.verbose);
    let config = &context.config;
    let loader = config.loader();
    let start = start(context, args)?;
    let policy = loader.load(&start.source, &start.settings)?;
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
        record: records.then_some(record_limit),
        shadow,
        once: args.once,
        settings: Settings {
            host: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            program: std::env::current_exe().map_err(daemon::DaemonError::System)?,
            output_limit: engine.output_limit,
            explain: engine.explain,
            start_within: engine.start_within,
            attended_for: engine.attended_for,
            prerequisite_within: engine.prerequisite_timeout,
            ask_variables: engine.ask_variables,
            exclude: config.file.sessions.exclude.set(),
            protect: config.file.sessions.protect.set(),
        },
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(daemon::DaemonError::System)?;
    let ended = runtime.block_on(daemon::run(options))?;
    // A policy call that hangs must not hold up the end.
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

/// The policy that a daemon begins with.
struct Start {
    source: Source,
    settings: Value,
    last_order: i64,
}

/// Returns what the command line names, or a person has chosen, or the configuration says.
fn start(context: &Context, args: &Args) -> Result<Start, Failure> {
    let config = &context.config;
    let mut store = context.store()?;
    let last_order = store.policy_log(1)?.last().map_or(0, |event| event.id);
    let named = |name: &str| -> Result<Start, Failure> {
        Ok(Start {
            source: resolve(name, &config.policies_dir)?,
            settings: config.live_settings(name, &args.policy_set),
            last_order,
        })
    };
    match (&args.policy, store.chosen_policy()?) {
        (Some(name), _) => named(name),
        (None, None) => named(config.policy_name()),
        (None, Some(chosen)) => {
            let mut settings = chosen.settings;
            if let Value::Object(settings) = &mut settings {
                settings.extend(args.policy_set.iter().cloned());
            }
            Ok(Start {
                source: Source::named(&chosen.source),
                settings,
                last_order,
            })
        }
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
