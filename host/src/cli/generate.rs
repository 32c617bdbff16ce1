//! `assigner man`: generated from the definition of the command line.

use std::io;

use super::exit::{CommandFailure, Exit};

/// Prints the manual page, of the program or of one command.
#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// The command
    command: Option<String>,
}

pub(super) fn man(args: &ManArgs) -> Result<Exit, CommandFailure> {
    let mut command = super::help::command();
    command.build();
    if let Some(name) = &args.command {
        let found = command.find_subcommand(name).cloned();
        command = found
            .ok_or_else(|| CommandFailure::usage(format!("there is no command `{name}`")))?
            .name(format!("assigner-{name}"));
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(command).render(&mut text)?;
    io::Write::write_all(&mut io::stdout().lock(), &text)?;
    Ok(Exit::Done)
}
