//! `assigner run`: the daemon in the foreground.

use std::io;

use tracing_subscriber::EnvFilter;

use super::exit::{Exit, Failure};
use super::{Context, ui};
use crate::daemon::{self, Ended, Options};
use crate::engine::Settings;

/// Watches the sessions and runs the tasks, until it is stopped.
///
/// One daemon runs for a data directory. Jobs that run when it stops go on, and the next start
/// takes them up.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The policy: a component's path, a name in the policies directory, or `default.wasm`
    #[arg(long, value_name = "FILE")]
    policy: Option<String>,
    /// Ends when nothing is pending or runs: with 1 if a task failed
    #[arg(long)]
    once: bool,
}

pub(super) fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    log_to_stderr(context.verbose);
    let config = &context.config;
    let policy = config.policy(args.policy.as_deref())?;
    let fallback = config.fallback_policy()?;
    let source = args
        .policy
        .unwrap_or_else(|| config.file.policy.source.clone());
    let engine = &config.file.engine;
    let options = Options {
        data_dir: config.data_dir.clone(),
        socket: config.socket.clone(),
        policy,
        fallback,
        policy_source: absolute_if_path(source),
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

/// Another process that reads the source stands in another directory.
fn absolute_if_path(source: String) -> String {
    let path = std::path::Path::new(&source);
    if !path.exists() {
        return source;
    }
    std::path::absolute(path)
        .ok()
        .and_then(|path| path.into_os_string().into_string().ok())
        .unwrap_or(source)
}

fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => "assigner=info",
        1 => "assigner=debug",
        _ => "assigner=trace",
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
