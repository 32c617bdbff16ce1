//! `assigner capture`: the other end of a pane's pipe; started by tmux, not by people.

use std::io;
use std::path::PathBuf;

use super::exit::{CommandFailure, Exit};
use crate::node::capture;
use crate::node::post::{BookedJob, ReaderPost};

/// Keeps what a job prints.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What the job's marks hold
    #[arg(long)]
    nonce: String,
    /// How many bytes to keep, the last ones
    #[arg(long)]
    limit: u64,
    /// Where it waits for the pane's next job; without one, it ends with this one
    #[arg(long)]
    post: Option<PathBuf>,
    /// Where
    output: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<Exit, CommandFailure> {
    let job = BookedJob {
        nonce: args.nonce.clone(),
        limit: args.limit,
        output: args.output.clone(),
    };
    let post = args.post.clone().map(ReaderPost::at);
    capture::run(io::stdin().lock(), &job, post.as_ref())?;
    Ok(Exit::Done)
}
