//! `assigner hooks`: lets agents report their state, through entries in their settings.

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use serde_json::{Value, json};
use shell_quote::Sh;

use super::edited::{EditOutcome, Edited};
use super::exit::{CommandFailure, Exit};
use super::{Context, ui};
use crate::agents::hooks::{self, HookAgent, HookError};
use crate::agents::report::ReportedState;

/// Lets agents report when they are busy, idle or blocked: adds hooks to their settings, shows
/// them, or removes them.
///
/// Everything else in the settings stays as it is. The change is shown before it is made.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: HooksCommand,
}

#[derive(Debug, clap::Subcommand)]
enum HooksCommand {
    /// Adds the hooks to an agent's settings; older hooks of assigner are replaced
    Install(HooksChangeArgs),
    /// Removes the hooks, and nothing else
    Remove(HooksChangeArgs),
    /// Prints the hooks, and whether they are installed
    Show(HooksShowArgs),
}

#[derive(Debug, clap::Args)]
struct HooksChangeArgs {
    /// The agent
    agent: AgentName,
    /// Its settings [default: ~/.claude/settings.json, ~/.codex/hooks.json, ~/.qwen/settings.json,
    /// ~/.gemini/settings.json, or where `CLAUDE_CONFIG_DIR`, `CODEX_HOME`, `QWEN_HOME` and
    /// `GEMINI_CLI_HOME` say]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Writes without asking
    #[arg(short, long)]
    yes: bool,
}

#[derive(Debug, clap::Args)]
struct HooksShowArgs {
    /// The agent
    agent: AgentName,
    /// Its settings, if they are not in the usual place
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// The agents that run hooks.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum AgentName {
    /// Claude Code
    Claude,
    /// Codex CLI
    Codex,
    /// Qwen Code
    Qwen,
    /// Gemini CLI
    Gemini,
}

impl From<AgentName> for HookAgent {
    fn from(name: AgentName) -> Self {
        match name {
            AgentName::Claude => Self::Claude,
            AgentName::Codex => Self::Codex,
            AgentName::Qwen => Self::Qwen,
            AgentName::Gemini => Self::Gemini,
        }
    }
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    match &args.command {
        HooksCommand::Install(args) => {
            let agent = args.agent.into();
            let command = command_line(context)?;
            let change = |text: &str| hooks::install(text, agent, &command);
            edit(context, args, true, &change)
        }
        HooksCommand::Remove(args) => edit(context, args, false, &hooks::remove),
        HooksCommand::Show(args) => show(context, args),
    }
}

fn show(context: &Context, args: &HooksShowArgs) -> Result<Exit, CommandFailure> {
    let agent = args.agent.into();
    let command = command_line(context)?;
    let settings = settings(agent, args.file.as_deref())?;
    let text = settings.text();
    let refuse = |error: HookError| settings.refuse(&error);
    let fresh = hooks::install("", agent, &command).map_err(refuse)?;
    let stand = stand_in(&settings, agent, &command)?;
    let (installed, current) = (stand != HooksStand::Missing, stand == HooksStand::Current);
    if context.ui.json {
        let hooks: Value = serde_json::from_str(&fresh).unwrap_or_default();
        context.ui.json(&json!({
            "file": settings.name(),
            "installed": installed,
            "current": current,
            "events": events(text).map_err(refuse)?,
            "hooks": hooks["hooks"],
        }))?;
        return Ok(Exit::Done);
    }
    context.ui.line(&ui::clean_lines(fresh.trim_end()))?;
    let state = match (installed, current) {
        (false, _) => "not installed".to_owned(),
        (true, true) => "installed".to_owned(),
        (true, false) => format!(
            "installed in another form: `assigner hooks install {}` installs this one",
            agent.name()
        ),
    };
    let name = ui::clean(&settings.name());
    context.ui.line(&format!("{name}: {state}"))?;
    Ok(Exit::Done)
}

/// Whether an agent has our hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HooksStand {
    /// It has those that this program would install.
    Current,
    /// It has others of ours.
    Other,
    /// It has none.
    Missing,
}

/// Returns whether an agent has our hooks in its usual settings.
pub(super) fn stand(context: &Context, agent: HookAgent) -> Result<HooksStand, CommandFailure> {
    let command = command_line(context)?;
    stand_in(&settings(agent, None)?, agent, &command)
}

fn stand_in(
    settings: &Edited,
    agent: HookAgent,
    command: &impl Fn(ReportedState) -> String,
) -> Result<HooksStand, CommandFailure> {
    let text = settings.text();
    let refuse = |error: HookError| settings.refuse(&error);
    if hooks::installed(text).map_err(refuse)?.is_empty() {
        return Ok(HooksStand::Missing);
    }
    let is_current = hooks::install(text, agent, command).map_err(refuse)? == text;
    Ok(match is_current {
        true => HooksStand::Current,
        false => HooksStand::Other,
    })
}

/// Shows how the settings change, asks, and writes them.
fn edit(
    context: &Context,
    args: &HooksChangeArgs,
    installs: bool,
    change: &dyn Fn(&str) -> Result<String, HookError>,
) -> Result<Exit, CommandFailure> {
    let agent = args.agent.into();
    let settings = settings(agent, args.file.as_deref())?;
    let old = settings.text();
    let refuse = |error: HookError| settings.refuse(&error);
    let new = change(old).map_err(refuse)?;
    // An agent treats missing settings like empty ones.
    let changed = match settings.change(context, &new, args.yes, Some("{}"))? {
        EditOutcome::Declined => return Ok(Exit::Failed),
        change => change == EditOutcome::Written,
    };
    let name = ui::clean(&settings.name());
    if context.ui.json {
        context.ui.json(&json!({
            "file": settings.name(),
            "installed": installs,
            "changed": changed,
            "events": events(if installs { &new } else { old }).map_err(refuse)?,
        }))?;
        return Ok(Exit::Done);
    }
    let said = match (installs, changed) {
        (true, true) => "the hooks are installed; running agents use them after a restart",
        (true, false) => "the hooks are already installed",
        (false, true) => "the hooks are removed",
        (false, false) => "assigner's hooks are not installed",
    };
    context.ui.line(&format!("{name}: {said}"))?;
    if installs && changed && agent == HookAgent::Codex {
        context.ui.line(
            "codex runs new hooks only once you trust them: it asks at its start, or type `/hooks`",
        )?;
    }
    Ok(Exit::Done)
}

/// The events for which the text contains hooks of ours, each once.
fn events(text: &str) -> Result<Vec<String>, HookError> {
    let mut events = Vec::new();
    for hook in hooks::installed(text)? {
        if !events.contains(&hook.event) {
            events.push(hook.event);
        }
    }
    Ok(events)
}

/// Returns a function that gives the command line for reporting a state.
fn command_line(context: &Context) -> Result<impl Fn(ReportedState) -> String, CommandFailure> {
    let program = std::env::current_exe().map_err(|error| {
        CommandFailure::new(
            Exit::Failed,
            format!("cannot tell where assigner is: {error}"),
        )
    })?;
    let program = quoted(&program).ok_or_else(|| {
        let program = program.display();
        CommandFailure::new(
            Exit::Failed,
            format!("a hook cannot contain the path `{program}`: move assigner to a path of plain characters"),
        )
    })?;
    let data_dir = &context.config.data_dir;
    let usual = etcetera::base_strategy::Xdg::new();
    let usual = usual.map(|base| base.data_dir().join("assigner"));
    let data_dir = if usual.is_ok_and(|usual| usual == *data_dir) {
        String::new()
    } else {
        // A path that no command line can hold was already refused with the configuration.
        let data_dir = quoted(data_dir).unwrap_or_default();
        format!(" --data-dir {data_dir}")
    };
    // A hook that fails would stop the agent, even after assigner was removed.
    Ok(move |state: ReportedState| {
        let state = state.name();
        format!("{program} report --state {state} --hook{data_dir} || true")
    })
}

/// Quotes a path as one word for a shell; `None` if a shell's command line cannot hold it.
pub(super) fn quoted(path: &Path) -> Option<String> {
    let path = path.to_str()?;
    if path.chars().any(char::is_control) {
        return None;
    }
    String::from_utf8(Sh::quote_vec(path)).ok()
}

/// Reads an agent's settings.
fn settings(agent: HookAgent, file: Option<&Path>) -> Result<Edited, CommandFailure> {
    match file {
        Some(file) => Edited::read(file),
        None => Edited::read(&usual_place(agent)?),
    }
}

/// Where an agent keeps its settings.
fn usual_place(agent: HookAgent) -> Result<PathBuf, CommandFailure> {
    let (variable, directory, file) = agent.settings();
    let named = std::env::var_os(variable).filter(|value| !value.is_empty());
    let directory = match named {
        Some(named) => PathBuf::from(named),
        None => etcetera::home_dir()
            .map_err(|_| {
                CommandFailure::usage(
                    "there is no home directory: name the file with `--file FILE`",
                )
            })?
            .join(directory),
    };
    Ok(directory.join(file))
}
