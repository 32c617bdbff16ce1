//! `assigner capture`: the other end of a pane's pipe; started by tmux, not by people.

use std::io;
use std::path::PathBuf;

use super::exit::{CommandFailure, Exit};
use crate::node::capture;

/// Keeps what a job prints.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What the job's marks hold
    #[arg(long)]
    nonce: String,
    /// How many bytes to keep, the last ones
    #[arg(long)]
    limit: u64,
    /// Where
    output: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<Exit, CommandFailure> {
    capture::run(io::stdin().lock(), &args.output, &args.nonce, args.limit)?;
    Ok(Exit::Done)
}
