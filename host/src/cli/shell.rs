//! `assigner shell` and `assigner shell-init`: make shells report when they are at their prompt,
//! through a line in their startup file.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use clap::builder::PossibleValue;
use serde_json::json;

use super::edited::{EditOutcome, Edited, with_block};
use super::exit::{CommandFailure, Exit};
use super::hooks::quoted;
use super::{Context, ui};
use crate::model::session::Shell;
use crate::node::dialect::{self, Integration, StartupFile};
use crate::node::shell::Shells;

/// Makes shells report when they wait at an empty prompt: adds a line to a shell's startup file, or
/// removes it.
///
/// Other shells learn it with the first job that they run. The change is shown before it is made.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: ShellCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ShellCommand {
    /// Adds the line
    Install(ShellChangeArgs),
    /// Removes the line, and nothing else
    Remove(ShellChangeArgs),
}

#[derive(Debug, clap::Args)]
struct ShellChangeArgs {
    /// The shell [default: that of `SHELL`]
    shell: Option<Reporting>,
    /// Its startup file [default: ~/.bashrc, ~/.zshrc or where `ZDOTDIR` says,
    /// ~/.config/fish/config.fish]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Writes without asking
    #[arg(short, long)]
    yes: bool,
}

/// Prints the code by which a shell reports: that it waits, at an empty prompt.
///
/// `eval "$(assigner shell-init bash)"` makes a running shell load it; in fish, use `assigner
/// shell-init fish | source`. `assigner shell install` does this in each new shell.
#[derive(Debug, clap::Args)]
pub(super) struct InitArgs {
    /// The shell
    shell: Reporting,
}

/// A shell that can tell.
#[derive(Debug, Clone, Copy)]
struct Reporting {
    shell: Shell,
    integration: &'static Integration,
}

impl Reporting {
    fn of(shell: Shell) -> Option<Self> {
        let integration = shell.dialect().integration()?;
        Some(Self { shell, integration })
    }
}

impl clap::ValueEnum for Reporting {
    fn value_variants<'a>() -> &'a [Self] {
        static ALL: LazyLock<Vec<Reporting>> = LazyLock::new(|| {
            let shells = Shell::ALL.iter().copied();
            shells.filter_map(Reporting::of).collect()
        });
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.shell.name()).help(self.integration.about))
    }
}

/// The lines around ours.
const BEGIN: &str = "# >>> assigner >>>";
const END: &str = "# <<< assigner <<<";

pub(super) fn init(context: &Context, args: &InitArgs) -> Result<Exit, CommandFailure> {
    let shell = args.shell.shell;
    let unusable = |error: std::io::Error| {
        let why = format!("shells have no place for their reports: {error}");
        CommandFailure::new(Exit::Failed, why)
    };
    let text = Shells::open().map_err(unusable)?.integration(shell);
    let text = text.unwrap_or_default();
    if context.ui.json {
        context
            .ui
            .json(&json!({ "shell": shell.name(), "text": text }))?;
    } else {
        context.ui.line(text.trim_end())?;
    }
    Ok(Exit::Done)
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    match &args.command {
        ShellCommand::Install(args) => edit(context, args, true),
        ShellCommand::Remove(args) => edit(context, args, false),
    }
}

fn edit(context: &Context, args: &ShellChangeArgs, installs: bool) -> Result<Exit, CommandFailure> {
    let shell = match args.shell {
        Some(shell) => shell,
        None => of_this_person()?,
    };
    let file = match &args.file {
        Some(file) => file.clone(),
        None => start_file(&shell.integration.startup)?,
    };
    let file = Edited::read(&file)?;
    let block = if installs {
        block(shell)?
    } else {
        String::new()
    };
    let new = with_block(file.text(), BEGIN, END, &block).map_err(|error| file.refuse(&error))?;
    let changed = match file.change(context, &new, args.yes, None)? {
        EditOutcome::Declined => return Ok(Exit::Failed),
        change => change == EditOutcome::Written,
    };
    if context.ui.json {
        context.ui.json(&json!({
            "file": file.name(),
            "shell": shell.shell.name(),
            "installed": installs,
            "changed": changed,
        }))?;
        return Ok(Exit::Done);
    }
    let said = match (installs, changed) {
        (true, true) => "the line is installed; shells that start from now on load it",
        (true, false) => "the line is already installed",
        (false, true) => {
            "the line is removed; shells that have loaded it continue to report until they end"
        }
        (false, false) => "assigner's line is not installed",
    };
    let name = ui::clean(&file.name());
    context.ui.line(&format!("{name}: {said}"))?;
    Ok(Exit::Done)
}

/// Returns the shells that can report, each with its startup file if that has our line.
pub(super) fn reporting() -> Vec<(Shell, Option<PathBuf>)> {
    let shells = Shell::ALL.iter().copied().filter_map(Reporting::of);
    let found = shells.map(|shell| {
        let file = start_file(&shell.integration.startup).ok();
        let loads = |file: &PathBuf| {
            let text = Edited::read(file);
            text.is_ok_and(|text| text.text().lines().any(|line| line.trim() == BEGIN))
        };
        (shell.shell, file.filter(loads))
    });
    found.collect()
}

/// Returns the shell that this person uses.
fn of_this_person() -> Result<Reporting, CommandFailure> {
    let program = std::env::var_os("SHELL").map(PathBuf::from);
    let name = program.as_deref().and_then(Path::file_name);
    let shell = name.and_then(|name| Shell::from_program(name.to_str()?));
    shell.and_then(Reporting::of).ok_or_else(|| {
        let supported = dialect::names(|dialect| dialect.integration().is_some());
        let why = format!("`SHELL` names no supported shell: name {supported}");
        CommandFailure::usage(why)
    })
}

/// Returns the startup file of a shell.
fn start_file(file: &StartupFile) -> Result<PathBuf, CommandFailure> {
    let set = |name: &str| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    let home = || {
        let none = |_| {
            CommandFailure::usage("there is no home directory: name the file with `--file FILE`")
        };
        etcetera::home_dir().map_err(none)
    };
    let directory = match file.variable.and_then(set) {
        Some(directory) => directory,
        None => home()?.join(file.directory),
    };
    Ok(directory.join(file.name))
}

/// Returns the lines that load the integration; starting the shell must not depend on assigner
/// being installed.
fn block(shell: Reporting) -> Result<String, CommandFailure> {
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(quoted).ok_or_else(|| {
        let why =
            "the line cannot contain the path of assigner: move it to a path of plain characters";
        CommandFailure::new(Exit::Failed, why)
    })?;
    let command = format!("{program} shell-init {}", shell.shell.name());
    let line = (shell.integration.startup_line)(&program, &command);
    Ok(format!("{BEGIN}\n{line}\n{END}\n"))
}
