//! `assigner hooks`: lets agents report their state, by entries in their settings.

use std::fs::{self, DirBuilder, File};
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use etcetera::BaseStrategy;
use serde_json::{Value, json};
use shell_quote::Sh;
use similar::{ChangeTag, TextDiff};

use super::exit::{Exit, Failure};
use super::{Context, ui};
use crate::agents::hooks::{self, Agent, HookError};
use crate::agents::report::State;

/// Lets agents report by themselves when they are busy, idle or blocked: adds hooks to their
/// settings, shows them, or takes them out.
///
/// What else stands in the settings stays as it is. The change is shown before it is made.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Adds the hooks to an agent's settings; older ones of ours are replaced
    Install(ChangeArgs),
    /// Takes the hooks out, and nothing else
    Remove(ChangeArgs),
    /// Prints the hooks, and whether they are installed
    Show(ShowArgs),
}

#[derive(Debug, clap::Args)]
struct ChangeArgs {
    /// The agent
    agent: Name,
    /// Its settings [default: ~/.claude/settings.json, ~/.codex/hooks.json, or where
    /// `CLAUDE_CONFIG_DIR` and `CODEX_HOME` say]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Writes without asking
    #[arg(short, long)]
    yes: bool,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// The agent
    agent: Name,
    /// Its settings, where they are not in the usual place
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// The agents that run hooks.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Name {
    /// Claude Code
    Claude,
    /// Codex CLI
    Codex,
}

impl From<Name> for Agent {
    fn from(name: Name) -> Self {
        match name {
            Name::Claude => Self::Claude,
            Name::Codex => Self::Codex,
        }
    }
}

/// Settings are a few KiB; what is larger is something else.
const LARGEST: u64 = 4 << 20;
/// How long a difference may be searched for; a coarser one is shown then.
const DIFF_WITHIN: Duration = Duration::from_secs(1);
/// As many links are followed as the system would follow.
const LINKS: usize = 40;

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, Failure> {
    match &args.command {
        Command::Install(args) => {
            let agent = args.agent.into();
            let command = command_line(context)?;
            let change = |text: &str| hooks::install(text, agent, &command);
            edit(context, args, true, &change)
        }
        Command::Remove(args) => edit(context, args, false, &hooks::remove),
        Command::Show(args) => show(context, args),
    }
}

fn show(context: &Context, args: &ShowArgs) -> Result<Exit, Failure> {
    let agent = args.agent.into();
    let command = command_line(context)?;
    let settings = Settings::read(agent, args.file.as_deref())?;
    let text = settings.text();
    let refuse = |error| settings.refuse(&error);
    let fresh = hooks::install("", agent, &command).map_err(refuse)?;
    let standing = hooks::installed(text).map_err(refuse)?;
    let installed = !standing.is_empty();
    let current = installed && hooks::install(text, agent, &command).map_err(refuse)? == text;
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
            "installed in another form: `assigner hooks install {}` brings this one",
            agent.name()
        ),
    };
    let name = ui::clean(&settings.name());
    context.ui.line(&format!("{name}: {state}"))?;
    Ok(Exit::Done)
}

/// Shows what a change makes of the settings, asks, and writes it.
fn edit(
    context: &Context,
    args: &ChangeArgs,
    installs: bool,
    change: &dyn Fn(&str) -> Result<String, HookError>,
) -> Result<Exit, Failure> {
    let agent = args.agent.into();
    let settings = Settings::read(agent, args.file.as_deref())?;
    let old = settings.text();
    let refuse = |error| settings.refuse(&error);
    let new = change(old).map_err(refuse)?;
    let changed = new != old;
    let name = ui::clean(&settings.name());
    if changed {
        if !context.ui.json {
            diff(context, &name, old, &new)?;
        }
        if !args.yes && !may_write(context, &name)? {
            context.ui.line("nothing was written")?;
            return Ok(Exit::Failed);
        }
        settings.write(&new)?;
    }
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
        (true, true) => {
            "the hooks are installed; agents that run take them up when they start anew"
        }
        (true, false) => "the hooks are installed already",
        (false, true) => "the hooks are removed",
        (false, false) => "no hooks of ours are there",
    };
    context.ui.line(&format!("{name}: {said}"))?;
    if installs && changed && agent == Agent::Codex {
        context.ui.line(
            "codex runs new hooks only once you trust them: it asks at its start, or say `/hooks`",
        )?;
    }
    Ok(Exit::Done)
}

/// The events for which hooks of ours stand in the text, each once.
fn events(text: &str) -> Result<Vec<String>, HookError> {
    let mut events = Vec::new();
    for hook in hooks::installed(text)? {
        if !events.contains(&hook.event) {
            events.push(hook.event);
        }
    }
    Ok(events)
}

/// Returns what tells the command line that reports a state.
fn command_line(context: &Context) -> Result<impl Fn(State) -> String, Failure> {
    let program = std::env::current_exe().map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("cannot tell where assigner is: {error}"),
        )
    })?;
    let program = quoted(&program).ok_or_else(|| {
        let program = program.display();
        Failure::new(
            Exit::Failed,
            format!("no hook can name `{program}`: move assigner to a path of plain characters"),
        )
    })?;
    let data_dir = &context.config.data_dir;
    let usual = etcetera::base_strategy::Xdg::new();
    let usual = usual.map(|base| base.data_dir().join("assigner"));
    let data_dir = if usual.is_ok_and(|usual| usual == *data_dir) {
        String::new()
    } else {
        // Where it holds what no command line could, the configuration was refused.
        let data_dir = quoted(data_dir).unwrap_or_default();
        format!(" --data-dir {data_dir}")
    };
    // A hook that fails would stop the agent, also where assigner is gone.
    Ok(move |state: State| {
        let state = state.name();
        format!("{program} report --state {state} --hook{data_dir} || true")
    })
}

/// A path as a word of a shell; `None` where a line of a shell cannot hold it.
fn quoted(path: &Path) -> Option<String> {
    let path = path.to_str()?;
    if path.chars().any(char::is_control) {
        return None;
    }
    String::from_utf8(Sh::quote_vec(path)).ok()
}

/// Asks on the terminal whether the file may be written.
fn may_write(context: &Context, name: &str) -> Result<bool, Failure> {
    let asks = io::stdin().is_terminal() && io::stdout().is_terminal() && !context.ui.json;
    if !asks {
        return Err(Failure::usage(format!(
            "nothing was written: `--yes` writes {name} without asking"
        )));
    }
    let mut out = anstream::stdout().lock();
    write!(out, "Write this to {name}? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    // An answer that is no text is no yes.
    let read = io::stdin().lock().take(1024).read_line(&mut answer);
    let answer = answer.trim();
    Ok(read.is_ok()
        && ["y", "yes"]
            .iter()
            .any(|yes| answer.eq_ignore_ascii_case(yes)))
}

/// Prints the difference as `diff -u` would.
fn diff(context: &Context, name: &str, old: &str, new: &str) -> io::Result<()> {
    let diff = TextDiff::configure()
        .timeout(DIFF_WITHIN)
        .diff_lines(old, new);
    let bold = Style::new().bold();
    context.ui.line(&ui::paint(bold, &format!("--- {name}")))?;
    context.ui.line(&ui::paint(bold, &format!("+++ {name}")))?;
    for hunk in diff.unified_diff().context_radius(3).iter_hunks() {
        let header = hunk.header().to_string();
        let cyan = AnsiColor::Cyan.on_default();
        context.ui.line(&ui::paint(cyan, &header))?;
        for change in hunk.iter_changes() {
            let style = match change.tag() {
                ChangeTag::Delete => AnsiColor::Red.on_default(),
                ChangeTag::Insert => AnsiColor::Green.on_default(),
                ChangeTag::Equal => Style::new(),
            };
            let line = change.value().trim_end_matches(['\n', '\r']);
            let line = format!("{}{}", change.tag(), ui::clean_lines(line));
            context.ui.line(&ui::paint(style, &line))?;
            if change.missing_newline() {
                context.ui.line("\\ No newline at end of file")?;
            }
        }
    }
    Ok(())
}

/// An agent's settings, as they are on disk.
struct Settings {
    /// As it was named.
    named: PathBuf,
    /// Where it is: behind all links.
    file: PathBuf,
    /// `None`: there is none.
    text: Option<String>,
}

impl Settings {
    fn read(agent: Agent, file: Option<&Path>) -> Result<Self, Failure> {
        let named = match file {
            Some(file) => file.to_owned(),
            None => usual_place(agent)?,
        };
        let named = std::path::absolute(&named).map_err(|error| failed("use", &named, &error))?;
        let file = behind_links(&named).map_err(|error| failed("read", &named, &error))?;
        let text = match content(&file) {
            Ok(text) => text,
            Err(Unread::Io(error)) => return Err(failed("read", &named, &error)),
            Err(Unread::Other(what)) => {
                let name = named.display();
                return Err(Failure::new(
                    Exit::Failed,
                    format!("{name} {what}: these are no settings; nothing was written"),
                ));
            }
        };
        Ok(Self { named, file, text })
    }

    fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }

    fn name(&self) -> String {
        self.named.display().to_string()
    }

    fn refuse(&self, error: &HookError) -> Failure {
        let name = self.name();
        Failure::new(
            Exit::Failed,
            format!("{name}: {error}; nothing was written"),
        )
    }

    /// Writes the text in one step: whoever reads meanwhile sees the old or the new one.
    fn write(&self, new: &str) -> Result<(), Failure> {
        let failed = |error: io::Error| failed("write", &self.named, &error);
        let directory = self.file.parent().unwrap_or(Path::new("/"));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed)?;
        let mut temporary = tempfile::Builder::new()
            .prefix(".assigner-")
            .tempfile_in(directory)
            .map_err(failed)?;
        temporary.write_all(new.as_bytes()).map_err(failed)?;
        if self.text.is_some() {
            let old = fs::metadata(&self.file).map_err(failed)?;
            let made = temporary.as_file().metadata().map_err(failed)?;
            if (old.uid(), old.gid()) != (made.uid(), made.gid()) {
                let (owner, group) = (Some(old.uid()), Some(old.gid()));
                std::os::unix::fs::fchown(temporary.as_file(), owner, group).map_err(failed)?;
            }
            let mode = fs::Permissions::from_mode(old.mode() & 0o7777);
            temporary.as_file().set_permissions(mode).map_err(failed)?;
        }
        temporary.as_file().sync_all().map_err(failed)?;
        // Agents write their settings themselves, and a person may have thought for a while.
        if !matches!(content(&self.file), Ok(text) if text == self.text) {
            return Err(Failure::new(
                Exit::Failed,
                format!(
                    "{} has changed meanwhile; nothing was written, try again",
                    self.name()
                ),
            ));
        }
        // To an agent no settings are as good as empty ones. What a link names stays.
        if new.trim() == "{}" && self.text.is_some() && self.file == self.named {
            return fs::remove_file(&self.file).map_err(failed);
        }
        temporary
            .persist(&self.file)
            .map_err(|error| failed(error.error))?;
        Ok(())
    }
}

/// Why a file was not read.
enum Unread {
    Io(io::Error),
    /// What it is instead of a text.
    Other(&'static str),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Returns what stands in a file; `None`: there is no such file.
fn content(file: &Path) -> Result<Option<String>, Unread> {
    // Asked first: to open a pipe would wait for a writer.
    match fs::metadata(file) {
        Ok(metadata) if !metadata.is_file() => return Err(Unread::Other("is no file")),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let mut bytes = Vec::new();
    File::open(file)?
        .take(LARGEST + 1)
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > LARGEST) {
        return Err(Unread::Other("is larger than 4 MiB"));
    }
    let text = String::from_utf8(bytes);
    text.map(Some).map_err(|_| Unread::Other("is no UTF-8"))
}

/// Where an agent keeps its settings.
fn usual_place(agent: Agent) -> Result<PathBuf, Failure> {
    let (variable, directory, file) = agent.settings();
    let named = std::env::var_os(variable).filter(|value| !value.is_empty());
    let directory = match named {
        Some(named) => PathBuf::from(named),
        None => etcetera::home_dir()
            .map_err(|_| Failure::usage("there is no home directory: say `--file FILE`"))?
            .join(directory),
    };
    Ok(directory.join(file))
}

/// Follows the links that a file is, also to one that is not there yet.
fn behind_links(file: &Path) -> io::Result<PathBuf> {
    let mut file = file.to_owned();
    for _ in 0..LINKS {
        match fs::symlink_metadata(&file) {
            Ok(metadata) if metadata.is_symlink() => {}
            _ => return Ok(file),
        }
        let target = fs::read_link(&file)?;
        file = match file.parent() {
            Some(directory) => directory.join(target),
            None => target,
        };
    }
    Err(io::Error::other("too many links"))
}

fn failed(what: &str, file: &Path, error: &io::Error) -> Failure {
    let file = file.display();
    Failure::new(Exit::Failed, format!("cannot {what} `{file}`: {error}"))
}
