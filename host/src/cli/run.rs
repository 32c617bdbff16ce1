//! `assigner run`: the daemon.

pub(super) mod background;

use jiff::Timestamp;
use serde_json::Value;

use super::exit::{CommandFailure, Exit};
use super::{Context, doctor, logging, send, service, stop, ui};
use crate::config;
use crate::daemon::{self, CommandLine, Ended, Holder, Lock, Options, PolicyChoice};
use crate::policy::{Loader, Policy, resolve};
use crate::store::{self, PolicyCause, PolicyEvent, PolicyOrder, PolicyOutcome};
use crate::tmux;

/// Watches the sessions and runs the tasks, until it is stopped.
///
/// One daemon runs for a data directory. Running jobs continue when it stops, and the next start
/// picks them up.
#[derive(Debug, Clone, clap::Args)]
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
    /// Starts it in the background, and returns when it runs: `assigner logs` shows what it does
    #[arg(long, conflicts_with = "once")]
    daemon: bool,
    /// Stops the daemon that runs, also one of another version, and takes over what it has running
    #[arg(long)]
    replace: bool,
    /// Has no terminal: that of `--daemon`
    #[arg(long, hide = true)]
    detached: bool,
    /// Ends with 0 where another try would mend nothing: for a manager that tries again for ever
    #[arg(long, hide = true)]
    supervised: bool,
}

impl Args {
    /// Whether whatever started this program is not to be told of such a failure.
    pub(super) fn keeps_to_itself(&self, exit: Exit) -> bool {
        let is_lasting = matches!(exit, Exit::Usage | Exit::Daemon | Exit::Data | Exit::Policy);
        self.supervised && is_lasting
    }
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    if args.daemon {
        return background::start(context);
    }
    if args.detached {
        // The terminal that it was started from may close.
        rustix::process::setsid().map_err(|error| daemon::DaemonError::System(error.into()))?;
    }
    let data_dir = &context.config.data_dir;
    logging::of_daemon(context.verbose, data_dir, !args.detached);
    let ended = serve(context, args);
    // Another daemon's log is its own.
    if let Err(failure) = &ended
        && failure.exit != Exit::Daemon
    {
        logging::end(data_dir, &failure.message);
    }
    ended
}

fn serve(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    send::warn_of_headless(context);
    let config = &context.config;
    let loader = config.loader(|why| tracing::warn!("{why}"));
    let command_line = CommandLine {
        program: std::env::current_exe().map_err(daemon::DaemonError::System)?,
        policy: args.policy.clone(),
        policy_set: args.policy_set.clone(),
        record: args.record,
    };
    let fallback = loader.fallback()?;
    let shadow = args
        .shadow
        .as_ref()
        .map(|name| {
            let settings = config.settings(name, &args.shadow_set);
            loader.load(&resolve(name, &config.policies_dir)?, &settings)
        })
        .transpose()?;
    let replaced = Lock::holder(&config.data_dir).filter(|_| args.replace);
    if let Some(holder) = &replaced {
        replace(context, holder, &command_line, &loader)?;
    }
    let (choice, policy) = begin(context, &command_line, &loader)?;
    let options = Options {
        config: config.clone(),
        command_line,
        choice,
        policy,
        fallback,
        loader,
        shadow,
        once: args.once,
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

/// Stops the daemon that runs, once nothing is known that would end this one at once.
fn replace(
    context: &Context,
    holder: &Holder,
    line: &CommandLine,
    loader: &Loader,
) -> Result<(), CommandFailure> {
    if service::runs() {
        return Err(CommandFailure::new(
            Exit::Daemon,
            "the daemon runs as a service: `assigner service install` starts it again, as this version",
        ));
    }
    let config = &context.config;
    let program = tmux::Program::new("tmux", config.socket.clone());
    doctor::runtime()?
        .block_on(tmux::version(program.path()))
        .map_err(daemon::DaemonError::Tmux)?;
    // The queue of an earlier version is served by its daemon, and is not opened before that has ended.
    if store::is_current(&config.data_dir) {
        begin(context, line, loader)?;
    } else {
        let choice = PolicyChoice::of(config, line, None)?;
        loader.load(&choice.source, &choice.settings)?;
    }
    stop::end(context, holder)
}

/// Returns the policy that a daemon would start with if it were told nothing else.
pub(super) fn usual(context: &Context) -> Result<PolicyChoice, CommandFailure> {
    let chosen = context.store()?.chosen_policy()?;
    Ok(PolicyChoice::of(
        &context.config,
        &CommandLine::default(),
        chosen,
    )?)
}

/// The same if no person has chosen one.
pub(super) fn configured(context: &Context) -> Result<PolicyChoice, CommandFailure> {
    Ok(PolicyChoice::of(
        &context.config,
        &CommandLine::default(),
        None,
    )?)
}

/// Returns the policy that a daemon starts with, and why it is that one.
///
/// If a choice that no daemon has tried yet cannot be used, it is refused here, as a daemon would
/// have done, and the previous choice applies. If anything else cannot be loaded, that is an error,
/// and is recorded.
fn begin(
    context: &Context,
    line: &CommandLine,
    loader: &Loader,
) -> Result<(PolicyChoice, Policy), CommandFailure> {
    loop {
        let chosen = context.store()?.chosen_policy()?;
        let start = PolicyChoice::of(&context.config, line, chosen)?;
        let error = match loader.load(&start.source, &start.settings) {
            Ok(policy) => return Ok((start, policy)),
            Err(error) => error,
        };
        let why = error.to_string();
        let mut store = context.store()?;
        if start.is_untried {
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
