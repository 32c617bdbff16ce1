//! A scripted agent in a terminal that does as it is told and records what happened to it.

use std::process::ExitCode;

use assigner_conformance::fake::{self, options::Options};
use clap::Parser as _;

fn main() -> ExitCode {
    match fake::run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fake-agent: {error}");
            ExitCode::FAILURE
        }
    }
}
