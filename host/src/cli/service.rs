//! `assigner service`: has the system start the daemon at login, and again if it fails.

mod launchd;
mod systemd;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::process::Command;

use super::doctor::runtime;
use super::edited::{EditOutcome, Edited};
use super::exit::{CommandFailure, Exit};
use super::run::background;
use super::{Context, Global, ui};
use crate::daemon::Lock;

/// How long the system's manager of services may take.
const WITHIN: Duration = Duration::from_secs(30);

/// How long its daemon may take until it runs, and how often it is looked at.
const READY_WITHIN: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);

/// The first line of a file of ours.
const MARK: &str = "Written by `assigner service install`";

/// The variables that the daemon and what it starts go by. A service does not get them from a shell.
const VARIABLES: [&str; 10] = [
    "PATH",
    "SHELL",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TMUX_TMPDIR",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "XDG_CACHE_HOME",
];

/// Has the system run the daemon: from login on, and again if it fails.
///
/// With systemd it is a user unit, on macOS an agent of launchd. `assigner logs` shows what it does.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: ServiceCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ServiceCommand {
    /// Writes the unit and starts the daemon; with one that is there already, starts it again
    Install(ServiceChangeArgs),
    /// Stops the daemon and removes the unit; running tasks go on
    Remove(ServiceChangeArgs),
    /// Shows whether it is installed and runs; exits with 1 if it does not run
    Status,
}

#[derive(Debug, clap::Args)]
struct ServiceChangeArgs {
    /// Writes without asking
    #[arg(short, long)]
    yes: bool,
}

/// What the system is to run.
#[derive(Debug, Clone)]
struct ServiceUnit {
    words: Vec<String>,
    variables: BTreeMap<String, String>,
}

/// How a system runs services.
struct ServiceManager {
    /// Where its description of ours is.
    file: PathBuf,
    /// Returns that description.
    text: fn(&ServiceUnit) -> String,
    /// What starts it, also if it runs already; what ends it, and forgets it; what succeeds if it runs.
    start: Vec<Vec<String>>,
    end: Vec<Vec<String>>,
    forget: Vec<Vec<String>>,
    runs: Vec<String>,
    /// What it also says then.
    says: &'static str,
    /// What a person may want to know once it is there.
    hint: &'static str,
}

impl ServiceManager {
    /// Whether the service is installed and its daemon runs.
    fn is_active(&self) -> bool {
        let is_ours = Edited::read(&self.file).is_ok_and(|file| file.text().contains(MARK));
        is_ours && asked(&self.runs).is_ok_and(|said| said.contains(self.says))
    }
}

/// Whether the daemon runs as a service.
pub(super) fn runs() -> bool {
    manager().is_ok_and(|manager| manager.is_active())
}

impl Args {
    /// Whether it is about a service that is there, whatever the configuration says.
    pub(super) fn only_looks(&self) -> bool {
        !matches!(self.command, ServiceCommand::Install(_))
    }
}

fn manager() -> Result<ServiceManager, CommandFailure> {
    let home = etcetera::home_dir().map_err(|_| {
        CommandFailure::usage(
            "there is no home directory, so there is no place for a service: set HOME",
        )
    })?;
    Ok(match cfg!(target_os = "macos") {
        true => launchd::manager(&home),
        false => systemd::manager(&home),
    })
}

pub(super) fn run(context: &Context, args: &Args, global: &Global) -> Result<Exit, CommandFailure> {
    let manager = manager()?;
    match &args.command {
        ServiceCommand::Install(args) => install(context, &manager, args.yes, global),
        ServiceCommand::Remove(args) => remove(context, &manager, args.yes),
        ServiceCommand::Status => status(context, &manager),
    }
}

fn install(
    context: &Context,
    manager: &ServiceManager,
    yes: bool,
    global: &Global,
) -> Result<Exit, CommandFailure> {
    let unit = unit(context, global)?;
    let file = Edited::read(&manager.file)?;
    if file.exists() && !file.text().contains(MARK) {
        return Err(file.refuse(&"it was not written by assigner"));
    }
    let holder = Lock::holder(&context.config.data_dir);
    if let Some(holder) = &holder
        && !manager.is_active()
    {
        let why = format!(
            "a daemon runs already (pid {}), and not as a service: stop it with `assigner stop`, and try again",
            holder.pid
        );
        return Err(CommandFailure::new(Exit::Daemon, why));
    }
    if file.change(context, &(manager.text)(&unit), yes, None)? == EditOutcome::Declined {
        return Ok(Exit::Failed);
    }
    for command in &manager.start {
        obeyed(command, &manager.file)?;
    }
    let before = holder.map(|holder| holder.pid);
    let began = Instant::now();
    while !background::is_ready(context, |pid| Some(pid) != before)? {
        if began.elapsed() > READY_WITHIN {
            let why =
                "the service was started, and its daemon does not run: `assigner logs` may say why";
            return Err(CommandFailure::new(Exit::Failed, why));
        }
        thread::sleep(LOOK);
    }
    if context.ui.json {
        context
            .ui
            .json(&json!({"file": file.name(), "runs": true}))?;
    } else {
        context
            .ui
            .line("the daemon runs as a service: `assigner logs` shows what it does")?;
        context.ui.line(manager.hint)?;
    }
    Ok(Exit::Done)
}

fn remove(context: &Context, manager: &ServiceManager, yes: bool) -> Result<Exit, CommandFailure> {
    let file = Edited::read(&manager.file)?;
    if !file.exists() {
        return Err(CommandFailure::new(
            Exit::Failed,
            format!("no service is installed: there is no `{}`", file.name()),
        ));
    }
    if !file.text().contains(MARK) {
        return Err(file.refuse(&"it was not written by assigner"));
    }
    if !yes && !file.may_be_removed(context)? {
        context.ui.line("nothing was changed")?;
        return Ok(Exit::Failed);
    }
    for command in &manager.end {
        // What does not run has ended: a system without a manager, or one that has forgotten it.
        if let Err(failure) = obeyed(command, &manager.file) {
            if manager.is_active() {
                return Err(failure);
            }
            ui::warn(&format!("warning: {}", failure.message));
        }
    }
    std::fs::remove_file(&manager.file).map_err(|error| {
        let why = format!("cannot remove `{}`: {error}", file.name());
        CommandFailure::new(Exit::Failed, why)
    })?;
    for command in &manager.forget {
        if let Err(why) = asked(command) {
            ui::warn(&format!("warning: `{}` failed: {why}", command.join(" ")));
        }
    }
    if context.ui.json {
        context
            .ui
            .json(&json!({"file": file.name(), "runs": false}))?;
    } else {
        context.ui.line(
            "the service is removed; what was running goes on, and waits for another daemon",
        )?;
    }
    Ok(Exit::Done)
}

fn status(context: &Context, manager: &ServiceManager) -> Result<Exit, CommandFailure> {
    let file = Edited::read(&manager.file)?;
    let is_installed = file.exists() && file.text().contains(MARK);
    let runs = manager.is_active();
    if context.ui.json {
        context.ui.json(&json!({
            "file": file.name(),
            "installed": is_installed,
            "runs": runs,
        }))?;
    } else {
        let name = ui::clean(&file.name());
        context.ui.line(&match (is_installed, runs) {
            (false, _) => format!("not installed: there is no {name}; `assigner service install` writes it"),
            (true, true) => format!("installed in {name}, and runs"),
            (true, false) => format!(
                "installed in {name}, and does not run: `assigner service install` starts it, `assigner logs` may \
                 say why it ended"
            ),
        })?;
    }
    Ok(match runs {
        true => Exit::Done,
        false => Exit::Failed,
    })
}

/// Returns what is to be run: this program, for the same queue and server as this call.
fn unit(context: &Context, global: &Global) -> Result<ServiceUnit, CommandFailure> {
    let unsuitable = |what: &str, value: &OsString| {
        let value = value.to_string_lossy();
        CommandFailure::usage(format!(
            "{what} `{value}` cannot be passed to a service: use UTF-8 without control characters"
        ))
    };
    let text = |what: &str, value: OsString| match value.to_str() {
        Some(text) if !text.chars().any(char::is_control) => Ok(text.to_owned()),
        _ => Err(unsuitable(what, &value)),
    };
    let program = std::env::current_exe()?;
    let mut words = vec![text("the path", program.into_os_string())?];
    for word in global.options(context, true)? {
        words.push(text("the option", word)?);
    }
    words.push("run".to_owned());
    let mut variables = BTreeMap::new();
    for name in VARIABLES {
        if let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) {
            variables.insert(name.to_owned(), text(name, value)?);
        }
    }
    Ok(ServiceUnit { words, variables })
}

/// Runs a command of the manager, and returns what it says, or what went wrong.
fn asked(command: &[String]) -> Result<String, String> {
    let (program, args) = command.split_first().ok_or("there is no command")?;
    let ran = async {
        let ran = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        tokio::time::timeout(WITHIN, ran).await
    };
    let runtime = runtime().map_err(|failure| failure.message)?;
    let output = match runtime.block_on(ran) {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            return Err(format!("`{program}` cannot be found"));
        }
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("it does not answer within {} s", WITHIN.as_secs())),
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().find(|line| !line.trim().is_empty());
    Err(said.map_or_else(|| output.status.to_string(), str::to_owned))
}

fn obeyed(command: &[String], file: &std::path::Path) -> Result<(), CommandFailure> {
    asked(command).map(drop).map_err(|why| {
        let command = command.join(" ");
        CommandFailure::new(
            Exit::Failed,
            format!(
                "`{command}` failed: {why}; the service is described in `{}`",
                file.display()
            ),
        )
    })
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

#[cfg(test)]
fn example() -> ServiceUnit {
    let words = ["/opt/a b/assigner", "--data-dir", "/q\"50%$x\\<&>", "run"];
    ServiceUnit {
        words: words.map(str::to_owned).into(),
        variables: [
            ("PATH", "/bin:/a b"),
            ("LANG", "C.UTF-8"),
            ("SHELL", "/odd\"%h$y"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
    }
}
