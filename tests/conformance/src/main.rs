//! Delivers prompts to scripted agents by `assigner`, and counts what became of them.

use std::cell::Cell;
use std::io::{self, IsTerminal as _, Write as _};
use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use assigner_conformance::report::Report;
use assigner_conformance::run::{Agent, Plan, Run, run};
use assigner_conformance::scenario::{ALL, Scenario};
use assigner_conformance::world::{find, guard};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

/// Delivers prompts to scripted agents by `assigner`, and counts what became of them.
///
/// Exits with 0 if no prompt was lost, damaged, duplicated, misreported or put into a dialog, with 1
/// if one was, and with 2 if that could not be determined.
#[derive(Debug, Parser)]
#[command(name = "assigner-conformance", version)]
struct Args {
    /// How many prompts, over all scenarios
    #[arg(long, value_name = "N", default_value_t = 1000)]
    deliveries: u64,

    /// Only this scenario; may be repeated
    #[arg(long, value_name = "NAME", value_parser = scenario)]
    scenario: Vec<Scenario>,

    /// Lists the scenarios and exits
    #[arg(long)]
    list: bool,

    /// How many agents work in each scenario
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = sessions)]
    sessions: u16,

    /// How many scenarios run at once, each with its own tmux server and daemon
    #[arg(long, value_name = "N", default_value_t = NonZero::<u8>::MIN)]
    at_once: NonZero<u8>,

    /// The seed of the prompts; the same seed makes the same prompts
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Judges the remaining tasks as they are once no task has ended for this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 45)]
    patience: u64,

    /// The program to test [default: the one beside this program]
    #[arg(long, value_name = "PATH", env = "ASSIGNER_BIN")]
    assigner: Option<PathBuf>,

    /// The profile of an agent of your own
    #[arg(long, value_name = "FILE", requires = "command")]
    profile: Option<PathBuf>,

    /// How that agent is started
    #[arg(long, value_name = "CMD", requires = "profile")]
    command: Option<String>,

    /// One more option for each scripted agent, such as `--agent-option=--garble=0.1`
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    agent_option: Vec<String>,

    /// Copies journals, logs and databases to this directory
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,

    /// Writes the report to this file, in Markdown
    #[arg(long, value_name = "FILE.md")]
    report: Option<PathBuf>,

    /// Prints JSON
    #[arg(long)]
    json: bool,

    /// Ends what the process at the other end of standard input leaves behind
    #[arg(long, hide = true)]
    guard: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = if args.guard {
        guard().map(|()| true)
    } else if args.list {
        list()
    } else {
        deliver(&args)
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("assigner-conformance: {error}");
            ExitCode::from(2)
        }
    }
}

fn scenario(name: &str) -> Result<Scenario, String> {
    Scenario::named(name).ok_or_else(|| "no such scenario: `--list` names all".to_owned())
}

fn sessions(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(number @ 1..=200) => Ok(number),
        _ => Err("a number from 1 to 200".to_owned()),
    }
}

fn list() -> io::Result<bool> {
    let mut stdout = io::stdout().lock();
    for scenario in ALL {
        writeln!(stdout, "{:<20} {}", scenario.name, scenario.about)?;
    }
    Ok(true)
}

fn deliver(args: &Args) -> io::Result<bool> {
    let plan = plan(args)?;
    let scenarios = chosen(args)?;
    let mut report = Report {
        assigner: version(&plan.assigner, "--version")?,
        tmux: version(Path::new("tmux"), "-V")?
            .trim_start_matches("tmux ")
            .to_owned(),
        is_foreign: args.profile.is_some(),
        sessions: plan.sessions,
        seed: plan.seed,
        runs: Vec::new(),
    };
    let bar = progress_bar(args.deliveries);
    let parts = parts(args.deliveries, &scenarios);
    report.runs = run_all(&plan, &parts, args.at_once.get().into(), &bar)?;
    bar.finish_and_clear();
    if let Some(path) = &args.report {
        std::fs::write(path, report.markdown())?;
    }
    let mut stdout = io::stdout().lock();
    if args.json {
        writeln!(stdout, "{}", report.json())?;
    } else {
        writeln!(stdout, "{}", report.text().trim_end())?;
    }
    Ok(report.is_good())
}

/// A scenario, the number of its first prompt, and how many prompts it has.
type Part = (Scenario, u64, u64);

/// Spreads prompts over scenarios; those without any are left out.
fn parts(all: u64, scenarios: &[Scenario]) -> Vec<Part> {
    let mut first = 0;
    let mut parts = Vec::new();
    for (at, &scenario) in scenarios.iter().enumerate() {
        let count = share(all, scenarios.len(), at);
        if count > 0 {
            parts.push((scenario, first, count));
        }
        first += count;
    }
    parts
}

/// Runs the scenarios, some of them at once, and returns the results in their order.
fn run_all(
    plan: &Plan,
    parts: &[Part],
    at_once: usize,
    bar: &ProgressBar,
) -> io::Result<Vec<(Scenario, Run)>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut runs = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(&(scenario, first, count)) = parts.get(at) else {
                return Ok(runs);
            };
            bar.set_message(scenario.name);
            let known = Cell::new(0);
            let done = |ended: u64| bar.inc(ended.saturating_sub(known.replace(ended)));
            runs.push((at, run(plan, scenario, first, count, &done)?));
        }
    };
    let workers = thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once.min(parts.len()))
            .map(|_| scope.spawn(work))
            .collect();
        let ends = workers.into_iter().map(ScopedJoinHandle::join);
        ends.collect::<Vec<thread::Result<io::Result<Vec<(usize, Run)>>>>>()
    });
    let mut runs = Vec::new();
    for worker in workers {
        runs.extend(worker.unwrap_or_else(|panic| resume_unwind(panic))?);
    }
    runs.sort_by_key(|(at, _)| *at);
    Ok(runs
        .into_iter()
        .map(|(at, run)| (parts[at].0, run))
        .collect())
}

fn plan(args: &Args) -> io::Result<Plan> {
    let agent = match (&args.profile, &args.command) {
        (Some(profile), Some(command)) => {
            let text = std::fs::read_to_string(profile)
                .map_err(|error| io::Error::other(format!("`{}`: {error}", profile.display())))?;
            let table: toml::Table = toml::from_str(&text)
                .map_err(|error| io::Error::other(format!("`{}`: {error}", profile.display())))?;
            let name = table
                .get("name")
                .and_then(toml::Value::as_str)
                .filter(|name| is_name(name))
                .ok_or_else(|| io::Error::other("the profile has no name that can be used"))?;
            Agent::Foreign {
                name: name.to_owned(),
                profile: text,
                command: command.clone(),
            }
        }
        _ => Agent::Fake {
            program: find("fake-agent", None)?,
            options: args.agent_option.clone(),
        },
    };
    Ok(Plan {
        assigner: find("assigner", args.assigner.as_deref())?,
        agent,
        sessions: args.sessions.into(),
        seed: args.seed,
        patience: Duration::from_secs(args.patience),
        keep: args.keep.clone(),
    })
}

/// Returns whether a profile can have this name, which its file has too.
fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !name.is_empty() && name.bytes().all(is_plain)
}

/// Returns the scenarios to run; with an agent of another kind, only those that need no scripted
/// one.
fn chosen(args: &Args) -> io::Result<Vec<Scenario>> {
    let fit_all = ["plain", "copy-mode"];
    if args.profile.is_some() {
        if args.scenario.is_empty() {
            return Ok(Scenario::named("plain").into_iter().collect());
        }
        if let Some(other) = args
            .scenario
            .iter()
            .find(|scenario| !fit_all.contains(&scenario.name))
        {
            return Err(io::Error::other(format!(
                "the scenario {} needs the scripted agent",
                other.name
            )));
        }
    }
    if args.scenario.is_empty() {
        Ok(ALL.to_vec())
    } else {
        Ok(args.scenario.clone())
    }
}

/// Returns how many of all prompts go to the scenario at position `at` of `count`.
fn share(all: u64, count: usize, at: usize) -> u64 {
    let count = count as u64;
    all / count + u64::from((at as u64) < all % count)
}

fn version(program: &Path, flag: &str) -> io::Result<String> {
    let output = Command::new(program)
        .arg(flag)
        .output()
        .map_err(|error| io::Error::other(format!("`{}`: {error}", program.display())))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Returns a progress bar, if somebody may be looking at it.
fn progress_bar(count: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {elapsed}");
    let bar = ProgressBar::new(count);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_delivery_has_its_scenario() {
        for all in [0, 1, 16, 17, 18, 400] {
            let shares: Vec<u64> = (0..17).map(|at| share(all, 17, at)).collect();
            assert_eq!(shares.iter().sum::<u64>(), all);
            assert!(shares.iter().max() <= shares.iter().min().map(|least| least + 1).as_ref());
        }
    }

    #[test]
    fn every_prompt_has_a_number_of_its_own() {
        let numbers = parts(50, ALL)
            .into_iter()
            .flat_map(|(_, first, count)| first..first + count);
        assert!(numbers.eq(0..50));
        assert_eq!(parts(3, ALL).len(), 3);
    }

    #[test]
    fn names_are_no_paths() {
        assert!(is_name("my-agent_2"));
        for wrong in ["", "../x", "a b", "é"] {
            assert!(!is_name(wrong), "{wrong}");
        }
    }
}
