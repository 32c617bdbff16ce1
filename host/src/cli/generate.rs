//! `assigner man`: generated from the definition of the command line.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Command;

use super::exit::{CommandFailure, Exit};
use super::help;

/// Prints the manual page, of the program or of one command.
#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// The command
    command: Option<String>,
    /// Writes the pages of the program and of every command into this directory instead
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    all: Option<PathBuf>,
}

pub(super) fn man(args: &ManArgs) -> Result<Exit, CommandFailure> {
    let mut command = help::command();
    command.build();
    if let Some(directory) = &args.all {
        write_all(&command, directory)?;
        return Ok(Exit::Done);
    }
    if let Some(name) = &args.command {
        let found = command.find_subcommand(name);
        let found =
            found.ok_or_else(|| CommandFailure::usage(format!("there is no command `{name}`")))?;
        command = named(found);
    }
    io::Write::write_all(&mut io::stdout().lock(), &page(command)?)?;
    Ok(Exit::Done)
}

fn write_all(program: &Command, directory: &Path) -> Result<(), CommandFailure> {
    let write = |command: Command| {
        let path = directory.join(format!("{}.1", command.get_name()));
        fs::write(&path, page(command)?).map_err(|error| {
            CommandFailure::usage(format!("cannot write `{}`: {error}", path.display()))
        })
    };
    write(program.clone())?;
    let seen = |command: &&Command| !command.is_hide_set() && command.get_name() != "help";
    program
        .get_subcommands()
        .filter(seen)
        .try_for_each(|command| write(named(command)))
}

/// Returns a command by the name of its page.
fn named(command: &Command) -> Command {
    let name = format!("assigner-{}", command.get_name());
    command.clone().name(name)
}

fn page(command: Command) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command).render(&mut text)?;
    Ok(text)
}
