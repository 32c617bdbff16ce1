//! The command line: one file a subcommand, and what they share.

mod agents;
mod attach;
mod backup;
mod batch;
mod cancel;
mod capture;
mod chosen;
mod clear;
mod completions;
mod config;
mod demo;
mod doctor;
mod edit;
mod edited;
mod exit;
mod explain;
mod flags;
#[cfg(test)]
mod flags_tests;
mod follow;
#[cfg(any(test, fuzzing))]
#[path = "../../../tests/fuzz/targets/cli.rs"]
pub(crate) mod fuzz;
mod generate;
mod help;
mod history;
mod hooks;
mod import;
mod label;
mod list;
mod logging;
mod logs;
mod look;
mod output;
mod pause;
mod policy;
mod popup;
mod reassign;
mod repair;
mod reply;
mod report;
mod resolve;
mod restore;
mod retry;
mod run;
mod send;
mod service;
mod session;
mod sessions;
mod shell;
mod show;
mod signals;
mod status;
mod status_line;
mod stop;
mod top;
mod ui;
mod wait;
mod waiting;
mod watch;
mod when;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::agents::Catalog;
use crate::config::{Config, ConfigError};
use crate::daemon::Lock;
use crate::node::Spool;
use crate::options::Sender;
use crate::policy::{LoadError, Loader, Policy, resolve};
use crate::store::{DaemonFacts, Secrets, Store};
use crate::tmux::Socket;
use exit::{CommandFailure, Exit};
use serde_json::Value;
use ui::{Color, Ui};

/// Gives queued tasks to the tmux sessions that suit them best.
#[derive(Debug, Parser)]
#[command(
    name = "assigner",
    version,
    long_version = env!("ASSIGNER_BUILD"),
    after_help = exit::HELP
)]
struct Args {
    #[command(flatten)]
    global: Global,
    /// Without one: the state of everything, and what to do next.
    #[command(subcommand)]
    command: Option<Command>,
}

/// Options of every command.
#[derive(Debug, Clone, clap::Args)]
struct Global {
    /// Where the queue is kept [default: $XDG_DATA_HOME/assigner]
    #[arg(
        long,
        help_heading = "Options of every command",
        global = true,
        value_name = "DIR",
        env = "ASSIGNER_DATA_DIR"
    )]
    data_dir: Option<PathBuf>,
    /// The tmux server: a name as for `tmux -L`, or a path (with a slash) as for `tmux -S`
    /// [default: the one that plain `tmux` reaches]
    #[arg(
        long,
        help_heading = "Options of every command",
        global = true,
        value_name = "NAME",
        env = "ASSIGNER_TMUX_SOCKET"
    )]
    tmux_socket: Option<String>,
    /// The configuration [default: $XDG_CONFIG_HOME/assigner/config.toml, if it is there]
    #[arg(
        long,
        help_heading = "Options of every command",
        global = true,
        value_name = "FILE",
        env = "ASSIGNER_CONFIG"
    )]
    config: Option<PathBuf>,
    /// Prints more details; twice for everything
    #[arg(short, long, help_heading = "Options of every command", global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Prints JSON for scripts
    #[arg(long, help_heading = "Options of every command", global = true)]
    json: bool,
    /// When to use colours
    #[arg(
        long,
        help_heading = "Options of every command",
        global = true,
        value_name = "WHEN",
        default_value_t,
        value_enum
    )]
    color: Color,
}

impl Global {
    fn configuration(&self) -> Result<Config, ConfigError> {
        Config::load(
            self.config.as_deref(),
            self.data_dir.clone(),
            self.tmux_socket.clone(),
        )
    }

    /// Returns the options by which another call finds the same queue and server. One that is not made
    /// inside tmux has to be told the server of this one, where that is told by nothing else.
    fn options(&self, context: &Context, elsewhere: bool) -> io::Result<Vec<OsString>> {
        let mut words = Vec::new();
        let mut path = |name: &str, path: &Option<PathBuf>| {
            if let Some(path) = path {
                words.push(name.into());
                words.push(std::path::absolute(path)?.into_os_string());
            }
            Ok::<_, io::Error>(())
        };
        path("--data-dir", &self.data_dir)?;
        path("--config", &self.config)?;
        let socket = &context.config.socket;
        let is_enclosing =
            context.config.file.tmux_socket.is_none() && *socket != Socket::Default && elsewhere;
        if self.tmux_socket.is_some() || is_enclosing {
            words.extend(["--tmux-socket".into(), socket.option().into()]);
        }
        Ok(words)
    }

    /// Returns the configuration even if the file is wrong, which is told to `warn`.
    fn configuration_if_wrong(
        &self,
        warn: impl FnOnce(&ConfigError),
    ) -> Result<Config, ConfigError> {
        let (data_dir, socket) = (self.data_dir.clone(), self.tmux_socket.clone());
        Config::load_if_wrong(self.config.as_deref(), data_dir, socket, warn)
    }

    /// Returns the configuration, or one without the file if that cannot be read: what is wrong with it is
    /// to be found out.
    fn configuration_in_any_case(&self) -> Result<Config, ConfigError> {
        self.configuration_if_wrong(|_| ()).or_else(|_| {
            let (data_dir, socket) = (self.data_dir.clone(), self.tmux_socket.clone());
            Config::load_without(self.config.as_deref(), data_dir, socket)
        })
    }
}

/// Returns the configuration of a call with these arguments.
#[cfg(test)]
pub(crate) fn configured(line: impl Iterator<Item = String>) -> Result<Config, ConfigError> {
    let words = ["assigner".to_owned()].into_iter().chain(line);
    let args = Args::parse_from(words.chain(["status".to_owned()]));
    args.global.configuration()
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Run(run::Args),
    #[command(visible_alias = "add")]
    Send(send::Args),
    #[command(visible_alias = "ls", alias = "ps")]
    List(list::Args),
    Show(show::Args),
    #[command(visible_alias = "log")]
    Output(output::Args),
    Explain(explain::Args),
    History(history::Args),
    Sessions(sessions::Args),
    Session(session::Args),
    Status(status::Args),
    Top(top::Args),
    Popup(popup::Args),
    Wait(wait::Args),
    #[command(visible_alias = "kill", alias = "rm")]
    Cancel(cancel::Args),
    #[command(alias = "restart")]
    Retry(retry::Args),
    Reassign(reassign::Args),
    Edit(edit::Args),
    Resolve(resolve::Args),
    Clear(clear::Args),
    Pause(pause::PauseArgs),
    Resume(pause::ResumeArgs),
    Label(label::Args),
    Reply(reply::Args),
    Attach(attach::Args),
    Watch(watch::Args),
    Doctor(doctor::Args),
    Agents(agents::Args),
    Report(report::Args),
    Import(import::Args),
    Backup(backup::Args),
    Restore(restore::Args),
    Repair(repair::Args),
    Config(config::Args),
    Policy(policy::Args),
    Hooks(hooks::Args),
    Shell(shell::Args),
    ShellInit(shell::InitArgs),
    Stop(stop::Args),
    Logs(logs::Args),
    Service(service::Args),
    Completions(completions::Args),
    Man(generate::ManArgs),
    #[command(hide = true)]
    Capture(capture::Args),
    #[command(hide = true)]
    Look(look::Args),
}

impl Command {
    /// Whether a wrong configuration stands in its way. What only looks at the queue, takes from it or
    /// stops goes on with the default settings: a person must be able to see what is wrong.
    fn needs_settings(&self) -> bool {
        match self {
            Self::Policy(args) => !args.only_looks(),
            Self::Service(args) => !args.only_looks(),
            Self::Status(_)
            | Self::Top(_)
            | Self::Popup(_)
            | Self::Stop(_)
            | Self::Logs(_)
            | Self::List(_)
            | Self::Show(_)
            | Self::Output(_)
            | Self::Explain(_)
            | Self::History(_)
            | Self::Sessions(_)
            | Self::Session(_)
            | Self::Wait(_)
            | Self::Watch(_)
            | Self::Cancel(_)
            | Self::Pause(_)
            | Self::Resume(_)
            | Self::Reply(_)
            | Self::Attach(_)
            | Self::Agents(_)
            | Self::Hooks(_)
            | Self::Backup(_) => false,
            _ => true,
        }
    }
}

/// What a subcommand works with.
struct Context {
    ui: Ui,
    config: Config,
    verbose: u8,
}

impl Context {
    fn store(&self) -> Result<Store, CommandFailure> {
        let directory = &self.config.data_dir;
        let is_served = || {
            let holder = Lock::holder(directory);
            holder.is_some_and(|holder| holder.pid != std::process::id())
        };
        Ok(Store::open_beside(directory, is_served)?)
    }

    /// Returns the loader of policies.
    fn loader(&self) -> Loader {
        self.config.loader(ui::warn)
    }

    /// Returns who asks for tasks here, whose secret values are kept in `secrets`.
    fn sender<'a>(&'a self, secrets: &'a Secrets) -> Sender<'a> {
        Sender {
            profiles: &self.config.profiles_dir,
            headless: Catalog::headless,
            usually_headless: &self.config.file.agents.headless,
            secrets,
            look: look::sight,
            lines: None,
        }
    }

    /// Finds a policy by its name or path and loads it.
    fn load_policy(&self, name: &str, settings: &Value) -> Result<Policy, LoadError> {
        let source = resolve(name, &self.config.policies_dir)?;
        self.loader().load(&source, settings)
    }

    /// Returns what the running daemon has recorded about itself; `None` if none runs, or it has
    /// not recorded anything yet.
    fn live_daemon(&self, store: &mut Store) -> Result<Option<DaemonFacts>, CommandFailure> {
        let holder = Lock::holder(&self.config.data_dir);
        let facts = store.daemon()?;
        Ok(facts.filter(|facts| holder.is_some_and(|holder| holder.pid == facts.pid)))
    }

    /// Deletes the secret values of tasks that have ended, even if no daemon runs.
    fn forget_secrets(&self, store: &mut Store) -> Result<(), CommandFailure> {
        let unneeded = store.settled_secrets()?;
        Secrets::of(&self.config.data_dir).forget_all(&unneeded);
        store.forget_secrets(&unneeded)?;
        Ok(())
    }

    fn spool(&self) -> Result<Spool, CommandFailure> {
        let data = &self.config.data_dir;
        Spool::open(data).map_err(|source| {
            crate::store::StoreError::Directory {
                path: data.clone(),
                source,
            }
            .into()
        })
    }
}

/// Runs the program and returns its exit code.
pub fn main() -> ExitCode {
    if completions::answered() {
        return Exit::Done.into();
    }
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) if error.exit_code() == 0 => {
            // The user asked for the help or the version.
            let whole = help::command().try_get_matches();
            let _ = whole.err().unwrap_or(error).print();
            return Exit::Done.into();
        }
        Err(error) => {
            ui::warn(&one_line(&error.to_string()));
            // A hook that fails would stop its agent.
            let exit = if report::is_meant(std::env::args_os()) {
                Exit::Done
            } else {
                Exit::Usage
            };
            return exit.into();
        }
    };
    let run = match &args.command {
        Some(Command::Run(run)) => Some(run.clone()),
        _ => None,
    };
    match dispatch(args) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            if failure.exit != Exit::Done {
                ui::warn(&failure.message);
            }
            match run {
                Some(run) if run.keeps_to_itself(failure.exit) => Exit::Done.into(),
                _ => failure.exit.into(),
            }
        }
    }
}

/// Turns clap's message into one line: what is wrong, with the names that it lists below.
fn one_line(message: &str) -> String {
    let mut lines = message.lines();
    let first = lines.next().unwrap_or_default();
    let listed: Vec<&str> = lines
        .take_while(|line| line.starts_with("  "))
        .map(str::trim)
        .collect();
    let what = first.strip_prefix("error: ").unwrap_or(first);
    let separator = if listed.is_empty() { "" } else { " " };
    let tip = message
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("tip: "));
    let tip = tip.map_or_else(String::new, |tip| format!(" ({tip})"));
    format!(
        "{what}{separator}{}{tip}; `assigner help` tells more",
        listed.join(" ")
    )
}

fn dispatch(args: Args) -> Result<Exit, CommandFailure> {
    let Args { global, command } = args;
    let overview = command.is_none();
    let command = command.unwrap_or(Command::Status(status::Args::default()));
    // Neither of these uses a data directory.
    match command {
        Command::Capture(args) => return capture::run(&args),
        Command::Look(args) => return look::run(&args),
        Command::Completions(ref args) if args.prints() => return completions::run(None, args),
        Command::Man(args) => return generate::man(&args),
        Command::Report(args) => return Ok(report::run(&args, &global)),
        Command::Config(args) => return config::run(&args, &global),
        _ => {}
    }
    if let Ok(program) = std::env::current_exe() {
        look::program_is(program);
    }
    let config = match command.needs_settings() {
        _ if matches!(command, Command::Doctor(_)) => global.configuration_in_any_case(),
        true => global.configuration(),
        false => global.configuration_if_wrong(|wrong| ui::warn(&format!("warning: {wrong}"))),
    };
    let config = config.map_err(CommandFailure::usage)?;
    let context = Context {
        ui: Ui::new(global.json, global.color),
        config,
        verbose: global.verbose,
    };
    match command {
        Command::Demo(args) => demo::run(&context, &args),
        Command::Run(args) => run::run(&context, &args),
        Command::Send(args) => send::run(&context, args),
        Command::List(args) => list::run(&context, &args),
        Command::Show(args) => show::run(&context, &args),
        Command::Output(args) => output::run(&context, &args),
        Command::Explain(args) => explain::run(&context, &args),
        Command::History(args) => history::run(&context, &args),
        Command::Sessions(args) => sessions::run(&context, &args),
        Command::Status(args) if overview => status::overview(&context, &args),
        Command::Status(args) => status::run(&context, &args),
        Command::Top(args) => top::run(&context, &args, &global),
        Command::Popup(args) => popup::run(&context, &args, &global),
        Command::Wait(args) => wait::run(&context, &args),
        Command::Cancel(args) => cancel::run(&context, &args),
        Command::Retry(args) => retry::run(&context, &args),
        Command::Reassign(args) => reassign::run(&context, &args),
        Command::Edit(args) => edit::run(&context, args),
        Command::Resolve(args) => resolve::run(&context, &args),
        Command::Clear(args) => clear::run(&context, &args),
        Command::Pause(args) => pause::pause(&context, args),
        Command::Resume(args) => pause::resume(&context, args),
        Command::Reply(args) => reply::run(&context, &args),
        Command::Attach(args) => attach::run(&context, &args),
        Command::Watch(args) => watch::run(&context, &args),
        Command::Doctor(args) => doctor::run(&context, &args),
        Command::Agents(args) => agents::run(&context, &args),
        Command::Label(args) => label::run(&context, &args),
        Command::Import(args) => import::run(&context, &args),
        Command::Backup(args) => backup::run(&context, &args),
        Command::Restore(args) => restore::run(&context, &args),
        Command::Repair(args) => repair::run(&context, &args),
        Command::Session(args) => session::run(&context, &args),
        Command::Policy(args) => policy::run(&context, args),
        Command::Hooks(args) => hooks::run(&context, &args),
        Command::Shell(args) => shell::run(&context, &args),
        Command::ShellInit(args) => shell::init(&context, &args),
        Command::Stop(args) => stop::run(&context, &args),
        Command::Logs(args) => logs::run(&context, &args),
        Command::Service(args) => service::run(&context, &args, &global),
        Command::Capture(args) => capture::run(&args),
        Command::Look(args) => look::run(&args),
        Command::Completions(args) => completions::run(Some(&context), &args),
        Command::Man(args) => generate::man(&args),
        Command::Report(args) => Ok(report::run(&args, &global)),
        Command::Config(args) => config::run(&args, &global),
    }
}
