//! `assigner policy`: what authors and users of policies need, one file a subcommand.

mod bench;
mod build;
mod check;
mod history;
mod inspect;
mod list;
mod new;
mod replay;
mod test;
mod use_;

use std::time::Duration;

use serde_json::Value;

use super::Context;
use super::exit::{CommandFailure, Exit};
use super::logging;
use crate::config;
use crate::policy::Policy;

/// Writes, tests and switches policies: they decide which session gets which task.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, clap::Subcommand)]
enum PolicyCommand {
    New(new::Args),
    Build(build::Args),
    Inspect(inspect::Args),
    Check(check::Args),
    Test(test::Args),
    Bench(bench::Args),
    Replay(replay::Args),
    Shadow(replay::ShadowArgs),
    List(list::Args),
    Use(use_::Args),
    History(history::Args),
}

impl Args {
    /// Whether it only shows what there is.
    pub(super) fn only_looks(&self) -> bool {
        matches!(
            self.command,
            PolicyCommand::List(_) | PolicyCommand::History(_)
        )
    }
}

/// Which policy, with which settings.
#[derive(Debug, clap::Args)]
struct Which {
    /// The policy: a component's path, a name in the policies directory, or `default`
    file: String,
    /// A setting for it, overriding the configuration; VALUE as JSON, or text
    #[arg(long = "policy-set", value_name = "KEY=VALUE", value_parser = config::setting)]
    set: Vec<(String, Value)>,
}

impl Which {
    fn load(&self, context: &Context) -> Result<Policy, CommandFailure> {
        let settings = context.config.settings(&self.file, &self.set);
        Ok(context.load_policy(&self.file, &settings)?)
    }
}

pub(super) fn run(context: &Context, args: Args) -> Result<Exit, CommandFailure> {
    // The log of a policy is shown only on request.
    if context.verbose > 0 {
        logging::to_stderr(context.verbose);
    }
    match args.command {
        PolicyCommand::New(args) => new::run(context, &args),
        PolicyCommand::Build(args) => build::run(context, &args),
        PolicyCommand::Inspect(args) => inspect::run(context, &args),
        PolicyCommand::Check(args) => check::run(context, &args),
        PolicyCommand::Test(args) => test::run(context, &args),
        PolicyCommand::Bench(args) => bench::run(context, &args),
        PolicyCommand::Replay(args) => replay::run(context, &args),
        PolicyCommand::Shadow(args) => replay::shadow(context, &args),
        PolicyCommand::List(args) => list::run(context, &args),
        PolicyCommand::Use(args) => use_::run(context, &args),
        PolicyCommand::History(args) => history::run(context, &args),
    }
}

/// `18.5 MB`, `64 KB`.
fn size(bytes: usize) -> String {
    let bytes = bytes as f64;
    if bytes < 1e6 {
        format!("{:.0} KB", (bytes / 1e3).max(1.0))
    } else {
        format!("{:.1} MB", bytes / 1e6)
    }
}

/// `3.2 ms`, `1.5 s`.
fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 1e-3 {
        format!("{:.0} µs", seconds * 1e6)
    } else if seconds < 1.0 {
        format!("{:.1} ms", seconds * 1e3)
    } else {
        format!("{seconds:.1} s")
    }
}

/// A time in milliseconds, with three digits after the point.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
