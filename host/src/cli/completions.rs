//! `assigner completions`: completions for a shell, with the tasks and sessions that there are.
//!
//! A shell's script calls this program for each Tab, so that it completes what is there at that moment.

mod values;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{CommandFactory, ValueEnum};
use clap_complete::CompleteEnv;
use clap_complete::engine::complete;
use clap_complete::env::{Bash, Elvish, EnvCompleter, Fish, Powershell, Shells, Zsh};

use super::edited::{EditOutcome, Edited, with_block};
use super::exit::{CommandFailure, Exit};
use super::{Context, ui};

/// The variable by which a shell's script asks.
const ASKS: &str = "ASSIGNER_COMPLETE";

/// The lines around ours in a startup file.
const BEGIN: &str = "# >>> assigner completions >>>";
const END: &str = "# <<< assigner completions <<<";

/// Prints completions for a shell, or installs them.
///
/// They know the tasks, sessions, labels, policies and agents that there are.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    /// The shell
    #[arg(required = true)]
    shell: Option<CompletedShell>,
    #[command(subcommand)]
    command: Option<CompletionsCommand>,
}

#[derive(Debug, clap::Subcommand)]
enum CompletionsCommand {
    /// Has each new shell load them, by a line in its startup file
    Install(CompletionsChangeArgs),
    /// Removes that line, and nothing else
    Remove(CompletionsChangeArgs),
}

#[derive(Debug, clap::Args)]
struct CompletionsChangeArgs {
    /// The shell [default: that of `SHELL`]
    shell: Option<CompletedShell>,
    /// Writes without asking
    #[arg(short, long)]
    yes: bool,
}

/// A shell that completes words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CompletedShell {
    Bash,
    Zsh,
    Fish,
    Elvish,
    Powershell,
}

impl CompletedShell {
    fn completer(self) -> &'static dyn EnvCompleter {
        match self {
            Self::Bash => &ToldBash,
            Self::Zsh => &Zsh,
            Self::Fish => &Fish,
            Self::Elvish => &Elvish,
            Self::Powershell => &Powershell,
        }
    }

    fn name(self) -> String {
        let value = self.to_possible_value();
        value
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    /// Returns its startup file and the lines that load the completions there. A shell must start without
    /// assigner as well.
    fn startup(self) -> Result<(PathBuf, String), CommandFailure> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let home = etcetera::home_dir()
            .map_err(|_| CommandFailure::usage("there is no home directory: set HOME"))?;
        let config = set("XDG_CONFIG_HOME").map_or_else(|| home.join(".config"), PathBuf::from);
        Ok(match self {
            Self::Bash => (
                home.join(".bashrc"),
                "command -v assigner > /dev/null && source <(assigner completions bash)".to_owned(),
            ),
            Self::Zsh => (
                set("ZDOTDIR").map_or(home, PathBuf::from).join(".zshrc"),
                "if (( $+commands[assigner] )); then\n  (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }\n  \
                 source <(assigner completions zsh)\nfi"
                    .to_owned(),
            ),
            Self::Fish => (
                config.join("fish/completions/assigner.fish"),
                "command -q assigner; and assigner completions fish | source".to_owned(),
            ),
            Self::Elvish | Self::Powershell => {
                return Err(CommandFailure::usage(format!(
                    "its startup file is not known here: `assigner completions {}` prints the script",
                    self.name()
                )));
            }
        })
    }
}

pub(super) fn run(context: Option<&Context>, args: &Args) -> Result<Exit, CommandFailure> {
    match (&args.command, args.shell, context) {
        (Some(CompletionsCommand::Install(args)), _, Some(context)) => change(context, args, true),
        (Some(CompletionsCommand::Remove(args)), _, Some(context)) => change(context, args, false),
        (_, Some(shell), _) => print(shell),
        _ => Err(CommandFailure::usage("name a shell")),
    }
}

impl Args {
    /// Whether it only prints, for which nothing has to be known.
    pub(super) fn prints(&self) -> bool {
        self.command.is_none()
    }
}

fn print(shell: CompletedShell) -> Result<Exit, CommandFailure> {
    let mut text = Vec::new();
    shell
        .completer()
        .write_registration(ASKS, "assigner", "assigner", "assigner", &mut text)?;
    io::stdout().lock().write_all(&text)?;
    Ok(Exit::Done)
}

fn change(
    context: &Context,
    args: &CompletionsChangeArgs,
    installs: bool,
) -> Result<Exit, CommandFailure> {
    let shell = match args.shell {
        Some(shell) => shell,
        None => of_this_person()?,
    };
    let (path, lines) = shell.startup()?;
    let file = Edited::read(&path)?;
    let block = match installs {
        true => format!("{BEGIN}\n{lines}\n{END}\n"),
        false => String::new(),
    };
    let new = with_block(file.text(), BEGIN, END, &block).map_err(|error| file.refuse(&error))?;
    let changed = match file.change(context, &new, args.yes, Some(""))? {
        EditOutcome::Declined => return Ok(Exit::Failed),
        change => change == EditOutcome::Written,
    };
    if context.ui.json {
        context.ui.json(&serde_json::json!({
            "file": file.name(),
            "shell": shell.name(),
            "installed": installs,
            "changed": changed,
        }))?;
        return Ok(Exit::Done);
    }
    let said = match (installs, changed) {
        (true, true) => "the completions are installed; shells that start from now on load them",
        (true, false) => "the completions are already installed",
        (false, true) => "the completions are removed",
        (false, false) => "assigner's completions are not installed",
    };
    let name = ui::clean(&file.name());
    context.ui.line(&format!("{name}: {said}"))?;
    Ok(Exit::Done)
}

fn of_this_person() -> Result<CompletedShell, CommandFailure> {
    let program = std::env::var_os("SHELL").map(PathBuf::from);
    let name = program.as_deref().and_then(Path::file_name);
    let shell = name.and_then(|name| CompletedShell::from_str(name.to_str()?, false).ok());
    shell.ok_or_else(|| {
        CommandFailure::usage("`SHELL` names no shell that is known here: name bash, zsh or fish")
    })
}

/// Answers a shell that asks what a word may become. Returns whether one did.
pub(super) fn answered() -> bool {
    if std::env::var_os(ASKS).is_none() {
        return false;
    }
    let shells: [&dyn EnvCompleter; 5] = [&ToldBash, &Zsh, &Fish, &Elvish, &Powershell];
    let completes = CompleteEnv::with_factory(|| values::known(super::Args::command()))
        .var(ASKS)
        .shells(Shells(&shells));
    let words = std::env::args_os();
    let here = std::env::current_dir().ok();
    // What cannot be completed is no error in the middle of a person's line.
    completes
        .try_complete(words, here.as_deref())
        .unwrap_or(true)
}

/// Bash, which is also told what each of several words means: it shows them in a list and goes on with what they
/// have in common.
struct ToldBash;

/// How bash asks for a list: with `?`, `!` or `@`, as in its manual under COMP_TYPE.
const LISTS: [&str; 3] = ["63", "33", "64"];

impl EnvCompleter for ToldBash {
    fn name(&self) -> &'static str {
        Bash.name()
    }

    fn is(&self, name: &str) -> bool {
        Bash.is(name)
    }

    fn write_registration(
        &self,
        var: &str,
        name: &str,
        bin: &str,
        completer: &str,
        buf: &mut dyn Write,
    ) -> io::Result<()> {
        Bash.write_registration(var, name, bin, completer, buf)
    }

    fn write_complete(
        &self,
        command: &mut clap::Command,
        args: Vec<OsString>,
        directory: Option<&Path>,
        buf: &mut dyn Write,
    ) -> io::Result<()> {
        let of = |name| std::env::var(name).unwrap_or_default();
        let lists = LISTS.contains(&of("_CLAP_COMPLETE_COMP_TYPE").as_str());
        let index = of("_CLAP_COMPLETE_INDEX").parse().unwrap_or_default();
        let separator = of("_CLAP_IFS");
        let found = complete(command, args, index, directory)?;
        let tells = lists && found.len() > 1;
        for (number, candidate) in found.iter().enumerate() {
            if number > 0 {
                buf.write_all(separator.as_bytes())?;
            }
            let value = candidate.get_value().to_string_lossy();
            write!(buf, "{value}")?;
            if let Some(help) = candidate.get_help().filter(|_| tells) {
                let help = help.to_string();
                write!(buf, "  ({})", help.lines().next().unwrap_or_default())?;
            }
        }
        Ok(())
    }
}
