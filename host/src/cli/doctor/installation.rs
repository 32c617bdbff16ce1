//! Whether everything that assigner needs is there: each finding with what would mend it.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anstyle::AnsiColor;
use jiff::Timestamp;
use notify::Watcher;
use rustix::process::{Resource, getrlimit};
use serde::Serialize;

use super::{runtime, server};
use crate::agents::Catalog;
use crate::agents::hooks::HookAgent;
use crate::agents::profile::Profile;
use crate::cli::backup::size;
use crate::cli::exit::CommandFailure;
use crate::cli::hooks::{self, HooksStand};
use crate::cli::{Context, run, service, shell, ui};
use crate::daemon::{Lock, VERSION};
use crate::files::private;
use crate::node::changes;
use crate::node::shell::Shells;
use crate::probe::version;
use crate::store::{self, DatabaseHealth, StoreError};
use crate::tmux::{self, Program, Tmux};

/// Less free space than this, in bytes, is told; and less than this stops the queue.
const LITTLE_SPACE: u64 = 500 << 20;
const NO_SPACE: u64 = 16 << 20;

/// How long the database is read at most.
const READ_WITHIN: Duration = Duration::from_secs(60);

/// Fewer open files than this are told: the daemon and each of its readers need some.
const FEW_FILES: u64 = 256;

/// By how much the clock may differ from the last entry of the history.
const CLOCK_SLACK: Duration = Duration::from_secs(2);

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Weight {
    /// It works.
    Ok,
    /// It works, and could be better, or is not there yet.
    Note,
    /// It does not work.
    Problem,
}

/// What was found out about one thing.
#[derive(Debug, Clone, Serialize)]
pub(super) struct DoctorFinding {
    /// The thing.
    pub(super) about: &'static str,
    /// How bad it is.
    pub(super) weight: Weight,
    /// What was found.
    pub(super) what: String,
    /// What mends it, or makes it better.
    pub(super) mend: Option<String>,
}

impl DoctorFinding {
    fn ok(about: &'static str, what: impl Into<String>) -> Self {
        Self::new(about, Weight::Ok, what, None)
    }

    fn note(about: &'static str, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(about, Weight::Note, what, Some(mend.into()))
    }

    fn problem(about: &'static str, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(about, Weight::Problem, what, Some(mend.into()))
    }

    fn new(
        about: &'static str,
        weight: Weight,
        what: impl Into<String>,
        mend: Option<String>,
    ) -> Self {
        Self {
            about,
            weight,
            what: what.into(),
            mend: mend.filter(|mend| !mend.is_empty()),
        }
    }
}

/// Looks at everything. All that it makes is the place for reports of shells, to see whether it can.
pub(super) fn examine(context: &Context) -> Result<Vec<DoctorFinding>, CommandFailure> {
    let (catalog, problems) = Catalog::load(&context.config.profiles_dir);
    let mut found = tmux(context)?;
    found.push(characters());
    found.extend(shells());
    found.push(directory(context));
    found.push(space(context));
    found.push(reports());
    let health = store::examine(&context.config.data_dir, READ_WITHIN);
    found.push(database(&health));
    found.extend(clock(&health));
    found.push(configuration(context));
    found.extend(daemon(context));
    found.push(policy(context));
    found.extend(problems.iter().map(|problem| {
        DoctorFinding::problem("profiles", problem.to_string(), "mend or remove that file")
    }));
    found.extend(agents(context, &catalog));
    found.extend(limits(context));
    Ok(found)
}

/// Prints what was found, with what mends it below.
pub(super) fn print(context: &Context, found: &[DoctorFinding]) -> io::Result<()> {
    for finding in found {
        let (color, word) = match finding.weight {
            Weight::Ok => (AnsiColor::Green, "ok"),
            Weight::Note => (AnsiColor::Yellow, "note"),
            Weight::Problem => (AnsiColor::Red, "problem"),
        };
        let word = ui::paint(color.on_default(), &format!("{word:<8}"));
        let what = ui::clean(&finding.what);
        context
            .ui
            .line(&format!("{:<14} {word} {what}", finding.about))?;
        if let Some(mend) = &finding.mend {
            context
                .ui
                .line(&format!("{:<14} {:<8} {}", "", "", ui::clean(mend)))?;
        }
    }
    Ok(())
}

fn tmux(context: &Context) -> Result<Vec<DoctorFinding>, CommandFailure> {
    let socket = &context.config.socket;
    runtime()?.block_on(async {
        let program = Program::new("tmux", socket.clone());
        let version = match tmux::version(program.path()).await {
            Ok(version) => DoctorFinding::ok("tmux", version.to_string()),
            Err(error) => {
                let why = format!("failed to {error}");
                return Ok(vec![DoctorFinding::problem("tmux", why, "")]);
            }
        };
        let server = match server(context).sessions().await {
            Ok(sessions) => {
                let sessions = counted(sessions.len(), "session");
                DoctorFinding::ok("tmux server", format!("{sessions} on {socket}"))
            }
            Err(tmux::Error::NoServer) => DoctorFinding::note(
                "tmux server",
                format!("none is running on {socket}"),
                "start a session: `tmux new-session`",
            ),
            Err(error) => DoctorFinding::problem(
                "tmux server",
                format!("failed to {error}"),
                "name the right one with --tmux-socket",
            ),
        };
        Ok(vec![version, server])
    })
}

/// Whether a terminal that is started from here is told that characters are in UTF-8.
fn characters() -> DoctorFinding {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| {
        let value = env::var(name).ok().filter(|value| !value.is_empty())?;
        Some((name, value))
    });
    let is_utf8 = |value: &str| {
        let value = value.to_ascii_lowercase();
        value.contains("utf-8") || value.contains("utf8")
    };
    match set {
        Some((_, value)) if is_utf8(&value) => DoctorFinding::ok("characters", value),
        set => {
            let what = match set {
                Some((name, value)) => format!("{name} is {value}, which is not UTF-8"),
                None => "no locale is set".to_owned(),
            };
            let mend = "tmux shows other letters as `_`, and agents draw their screens differently: \
                        set LANG to a locale with UTF-8, such as C.UTF-8";
            DoctorFinding::note("characters", what, mend)
        }
    }
}

fn shells() -> Vec<DoctorFinding> {
    let there = shell::reporting()
        .into_iter()
        .filter_map(|(shell, startup)| {
            let path = which::which(shell.name()).ok()?;
            let path = path.display();
            Some(match startup {
                Some(startup) => DoctorFinding::ok(
                    "shell",
                    format!("{path}, reports from its start on ({})", startup.display()),
                ),
                None => DoctorFinding::new(
                    "shell",
                    Weight::Ok,
                    format!("{path}, reports from its first job on"),
                    Some(format!(
                        "`assigner shell install {}` makes each one report from its start",
                        shell.name()
                    )),
                ),
            })
        });
    let found: Vec<DoctorFinding> = there.collect();
    if found.is_empty() {
        let what = "no shell that can report is in PATH: bash, zsh, fish";
        return vec![DoctorFinding::note("shell", what, "")];
    }
    found
}

/// Returns the nearest directory that exists, from `path` upwards.
fn existing(path: &Path) -> Option<&Path> {
    path.ancestors().find(|path| path.is_dir())
}

fn directory(context: &Context) -> DoctorFinding {
    let path = &context.config.data_dir;
    let shown = path.display();
    if path.is_dir() {
        return match private::directory(path) {
            Ok(()) => DoctorFinding::ok("directory", shown.to_string()),
            Err(error) => DoctorFinding::problem("directory", error.to_string(), ""),
        };
    }
    let parent = existing(path).filter(|parent| is_writable(parent));
    match parent {
        Some(_) => DoctorFinding::note(
            "directory",
            format!("{shown} does not exist yet"),
            "the first `assigner send` or `assigner run` makes it",
        ),
        None => DoctorFinding::problem(
            "directory",
            format!("{shown} does not exist, and you cannot make it"),
            "choose another with --data-dir",
        ),
    }
}

fn is_writable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}

fn space(context: &Context) -> DoctorFinding {
    let about = "space";
    let Some(path) = existing(&context.config.data_dir) else {
        return DoctorFinding::problem(about, "there is no directory to look at", "");
    };
    let shown = path.display();
    let found = match rustix::fs::statvfs(path) {
        Ok(found) => found,
        Err(error) => {
            let what = format!("cannot tell for {shown}: {error}");
            return DoctorFinding::note(about, what, "");
        }
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let mend = "make room there, or choose another directory with --data-dir";
    // File systems without a fixed number of files say that they have none at all.
    if found.f_files > 0 && found.f_favail == 0 {
        return DoctorFinding::problem(
            about,
            format!("no more files can be made in {shown}"),
            mend,
        );
    }
    let what = format!("{} free in {shown}", size(free));
    match free {
        0..NO_SPACE => DoctorFinding::problem(about, what, mend),
        NO_SPACE..LITTLE_SPACE => DoctorFinding::note(about, what, mend),
        _ => DoctorFinding::ok(about, what),
    }
}

/// Whether there is a place in which shells report and panes are locked.
fn reports() -> DoctorFinding {
    match Shells::open() {
        Ok(_) => DoctorFinding::ok("reports", "shells have a place for theirs"),
        Err(error) => DoctorFinding::problem(
            "reports",
            format!("shells have no place for theirs, and no pane can be written to: {error}"),
            "",
        ),
    }
}

fn database(health: &Result<DatabaseHealth, StoreError>) -> DoctorFinding {
    let about = "database";
    let health = match health {
        Ok(health) => health,
        Err(StoreError::NoQueue { .. }) => {
            return DoctorFinding::note(
                about,
                "there is no queue yet",
                "the first `assigner send` or `assigner run` makes one",
            );
        }
        Err(error) => return DoctorFinding::problem(about, error.to_string(), ""),
    };
    let tasks = health.tasks.and_then(|tasks| usize::try_from(tasks).ok());
    let tasks = tasks.map(|tasks| format!("{}, ", counted(tasks, "task")));
    let what = tasks.unwrap_or_default() + &size(health.bytes);
    if let Some(damage) = &health.damage {
        return DoctorFinding::problem(
            about,
            format!("{what}, damaged: {damage}"),
            "`assigner repair` keeps what can be read, `assigner restore` puts a backup in its place",
        );
    }
    if health.is_later() {
        let what = format!("{what}, of a later assigner (version {})", health.version);
        return DoctorFinding::problem(about, what, "install a newer assigner");
    }
    let state = match (health.is_partly_read, health.is_earlier()) {
        (true, _) => "too large to be read as a whole here",
        (false, true) => {
            "sound; of an earlier assigner, and brought to this version when it is used"
        }
        (false, false) => "sound",
    };
    DoctorFinding::ok(about, format!("{what}, {state}"))
}

fn clock(health: &Result<DatabaseHealth, StoreError>) -> Option<DoctorFinding> {
    let last = health.as_ref().ok()?.last_entry?;
    let now = Timestamp::now();
    let ahead = Duration::try_from(last.duration_since(now)).unwrap_or_default();
    Some(match ahead > CLOCK_SLACK {
        true => DoctorFinding::note(
            "clock",
            format!(
                "it is {} behind the last entry of the history",
                ui::ago(now, last)
            ),
            "set it, or keep it by NTP: `send --at` and time limits go by it",
        ),
        false => DoctorFinding::ok(
            "clock",
            "it has not gone back since the last entry of the history",
        ),
    })
}

fn configuration(context: &Context) -> DoctorFinding {
    let config = &context.config;
    let about = "configuration";
    let Some(path) = &config.path else {
        return DoctorFinding::note(about, "there is no home directory for one", "set HOME");
    };
    let shown = path.display();
    match config.read_again() {
        Err(error) => {
            DoctorFinding::problem(about, error.to_string(), "`assigner config edit` mends it")
        }
        Ok(read) if read.text.is_empty() => DoctorFinding::ok(
            about,
            format!("every setting has its default: there is nothing in {shown}"),
        ),
        Ok(_) => DoctorFinding::ok(about, shown.to_string()),
    }
}

fn daemon(context: &Context) -> Vec<DoctorFinding> {
    let about = "daemon";
    let data_dir = &context.config.data_dir;
    let Some(holder) = Lock::holder(data_dir) else {
        return vec![DoctorFinding::note(
            about,
            "none is running, so tasks wait",
            "start one with `assigner run --daemon`",
        )];
    };
    // A queue of another version is its daemon's, and is not opened.
    if !store::is_current(data_dir) {
        let what = format!(
            "pid {}, of another version or with a queue that cannot be read",
            holder.pid
        );
        return vec![DoctorFinding::note(about, what, newer_daemon())];
    }
    let facts = context
        .store()
        .and_then(|mut store| context.live_daemon(&mut store));
    let facts = match facts {
        Ok(Some(facts)) => facts,
        Ok(None) => {
            let what = format!("pid {}, starting", holder.pid);
            return vec![DoctorFinding::ok(about, what)];
        }
        Err(failure) => return vec![DoctorFinding::problem(about, failure.message, "")],
    };
    let mut found = Vec::new();
    let since = ui::ago(facts.started_at, Timestamp::now());
    let what = format!("pid {}, running for {since}", holder.pid);
    found.push(match &facts.waiting_for {
        Some(waits) => DoctorFinding::note(about, format!("{what}; it waits for {waits}"), ""),
        None => DoctorFinding::ok(about, what),
    });
    if facts.version != VERSION {
        let other = match &*facts.version {
            "" => "an earlier version",
            version => version,
        };
        found.push(DoctorFinding::note(
            about,
            format!("it is {other}, and this is {VERSION}"),
            newer_daemon(),
        ));
    }
    if let Some(error) = &facts.configuration.error {
        found.push(DoctorFinding::problem(
            about,
            format!("it does not follow the configuration: {error}"),
            "`assigner config edit` mends it",
        ));
    }
    if let Some(other) = &facts.policy_in_use {
        let why = facts.policy_last_failure.as_deref().unwrap_or_default();
        found.push(DoctorFinding::problem(
            about,
            format!(
                "its policy fails, and {} decides instead: {why}",
                other.name
            ),
            "`assigner policy use` chooses another",
        ));
    }
    found
}

/// How this version takes over from a daemon of another one.
pub(in crate::cli) fn newer_daemon() -> &'static str {
    match service::runs() {
        true => "`assigner service install` starts this version, which takes over what runs",
        false => {
            "`assigner run --daemon --replace` starts this version, which takes over what runs"
        }
    }
}

fn policy(context: &Context) -> DoctorFinding {
    let about = "policy";
    // A queue of another version would be brought to this one by being opened.
    let choice = match store::is_current(&context.config.data_dir) {
        true => run::usual(context),
        false => run::configured(context),
    };
    let loaded = choice.and_then(|choice| {
        let policy = context.loader().load(&choice.source, &choice.settings)?;
        Ok((choice.source.name(), policy))
    });
    match loaded {
        Ok((source, policy)) => {
            let (id, took) = (policy.id(), policy.loading().took.as_millis());
            let what = format!("{source}: {} {}, loaded in {took} ms", id.name, id.version);
            DoctorFinding::ok(about, what)
        }
        Err(failure) => DoctorFinding::problem(
            about,
            failure.message,
            "`assigner policy use default.wasm` goes back to the one that is built in",
        ),
    }
}

/// The agents that are installed here, their versions, and whether they tell of themselves.
fn agents(context: &Context, catalog: &Catalog) -> Vec<DoctorFinding> {
    let profiles = catalog.entries().iter().map(|entry| &*entry.profile);
    let profiles = profiles.filter(|profile| !profile.is_shell());
    let mut found = Vec::new();
    for profile in profiles {
        let mut programs = profile.recognise.programs.iter();
        let Some(path) = programs.find_map(|program| which::which(program).ok()) else {
            continue;
        };
        found.push(agent(profile, &path));
        found.extend(HookAgent::of(&profile.name).map(|agent| hook(context, agent)));
    }
    if found.is_empty() {
        let what = "none is in PATH: prompts can only go to sessions in which one runs already";
        found.push(DoctorFinding::note("agents", what, ""));
    }
    found
}

fn agent(profile: &Profile, path: &Path) -> DoctorFinding {
    let words: Vec<String> = path.to_str().map(str::to_owned).into_iter().collect();
    let version = version::version(Some(path), &words);
    let shown = path.display();
    let name = &profile.name;
    let tested = profile.tested.join(", ");
    match version {
        Some(version) if profile.is_untested(&version) => DoctorFinding::note(
            "agent",
            format!("{name} {version} ({shown}), later than every one that was tried: {tested}"),
            "it is judged more strictly; a newer assigner may know it",
        ),
        Some(version) => DoctorFinding::ok("agent", format!("{name} {version} ({shown})")),
        None => DoctorFinding::ok(
            "agent",
            format!("{name} ({shown}), which does not say its version"),
        ),
    }
}

fn hook(context: &Context, agent: HookAgent) -> DoctorFinding {
    let about = "hooks";
    let name = agent.name();
    let install = format!("`assigner hooks install {name}`");
    match hooks::stand(context, agent) {
        Ok(HooksStand::Current) => DoctorFinding::ok(about, format!("{name} reports by hooks")),
        Ok(HooksStand::Other) => DoctorFinding::note(
            about,
            format!("{name} has hooks of another installation or version"),
            format!("{install} replaces them"),
        ),
        Ok(HooksStand::Missing) => DoctorFinding::note(
            about,
            format!("{name} has no hooks: its state is read from its record and its screen"),
            format!("{install} lets it report by itself"),
        ),
        Err(failure) => DoctorFinding::problem(about, failure.message, ""),
    }
}

fn limits(context: &Context) -> Vec<DoctorFinding> {
    let about = "limits";
    let mut found = Vec::new();
    let files = getrlimit(Resource::Nofile).current;
    if files.is_some_and(|files| files < FEW_FILES) {
        found.push(DoctorFinding::note(
            about,
            format!(
                "only {} files can be open at a time",
                files.unwrap_or_default()
            ),
            format!("raise it: `ulimit -n {}`", FEW_FILES * 4),
        ));
    }
    if let Some(bytes) = getrlimit(Resource::Fsize).current {
        found.push(DoctorFinding::note(
            about,
            format!("no file can be larger than {}", size(bytes)),
            "the database and outputs may not fit: `ulimit -f unlimited`",
        ));
    }
    let place = existing(&context.config.data_dir).map(Path::to_owned);
    if let Err(error) = watches(place) {
        found.push(DoctorFinding::note(
            about,
            format!("changes of files are not told, so they are looked for: {error}"),
            "on Linux, raise `fs.inotify.max_user_instances` and `max_user_watches`",
        ));
    }
    if found.is_empty() {
        found.push(DoctorFinding::ok(
            about,
            "enough files, of any size, and their changes are told",
        ));
    }
    found
}

/// Tries to be told of changes in a directory.
fn watches(place: Option<PathBuf>) -> Result<(), notify::Error> {
    let mut watcher = changes::watcher(|_| ())?;
    match place {
        Some(place) => watcher.watch(&place, notify::RecursiveMode::NonRecursive),
        None => Ok(()),
    }
}

fn counted(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        many => format!("{many} {what}s"),
    }
}
