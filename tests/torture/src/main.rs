//! Kills, stops and starves `assigner` while tasks run, and counts what became of them.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use assigner_conformance::world::{find, guard};
use assigner_torture::faults;
use assigner_torture::report::{Round, markdown};
use assigner_torture::round::{Plan, run};
use clap::Parser;

/// Kills, stops and starves `assigner` while tasks run, and counts what became of them.
///
/// Exits with 0 if nothing was lost, doubled or untrue, with 1 if something was, and with 2 if that
/// could not be determined.
#[derive(Debug, Parser)]
#[command(name = "assigner-torture", version)]
struct Args {
    /// What is done, and in which order; the moments depend on the machine
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// How many rounds, each with the next seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    rounds: u64,

    /// How long tasks are queued and disturbed in each round; what remains then ends in peace
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = minutes)]
    minutes: f64,

    /// Judges the remaining tasks as they are once no task has ended in peace for this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 35)]
    patience: u64,

    /// The program to test [default: the one beside this program]
    #[arg(long, value_name = "PATH", env = "ASSIGNER_BIN")]
    assigner: Option<PathBuf>,

    /// Copies logs, journals and databases to this directory
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,

    /// Writes the report to this file, in Markdown
    #[arg(long, value_name = "FILE.md")]
    report: Option<PathBuf>,

    /// Ends what the process at the other end of standard input leaves behind
    #[arg(long, hide = true)]
    guard: bool,

    /// Where a small disk may be mounted: nobody else sees it
    #[arg(long, hide = true, value_name = "DIR")]
    disk: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = if args.guard {
        guard().map(|()| ExitCode::SUCCESS)
    } else if args.disk.is_some() {
        torture(&args)
    } else {
        among_own_mounts(&args)
    };
    result.unwrap_or_else(|error| {
        eprintln!("assigner-torture: {error}");
        ExitCode::from(2)
    })
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.05..=1440.0).contains(&number) => Ok(number),
        _ => Err("a number of minutes, up to 1440".to_owned()),
    }
}

/// Starts this program once more where it may mount a disk that nobody else sees, if the system allows
/// that; the disk is gone with it.
fn among_own_mounts(args: &Args) -> io::Result<ExitCode> {
    let place = tempfile::Builder::new().prefix("torture-").tempdir()?;
    let allowed = |options: &[&str]| {
        let tried = Command::new("unshare").args(options).arg("true").output();
        tried.is_ok_and(|output| output.status.success())
    };
    let ways: [&[&str]; 2] = [&["--mount"], &["--mount", "--map-root-user"]];
    let Some(options) = ways.into_iter().find(|options| allowed(options)) else {
        return torture(args);
    };
    let mut words: Vec<OsString> = std::env::args_os().skip(1).collect();
    words.push("--disk".into());
    words.push(place.path().into());
    let status = Command::new("unshare")
        .args(options)
        .arg(std::env::current_exe()?)
        .args(words)
        .status()?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::from(2), ExitCode::from))
}

fn torture(args: &Args) -> io::Result<ExitCode> {
    let assigner = find("assigner", args.assigner.as_deref())?;
    let disk = args.disk.clone().filter(|disk| faults::mount(disk));
    let mut rounds = Vec::new();
    for seed in args.seed..args.seed + args.rounds {
        let round = run(&Plan {
            assigner: assigner.clone(),
            seed,
            time: Duration::from_secs_f64(args.minutes * 60.0),
            patience: Duration::from_secs(args.patience),
            // On a real disk, commits take time.
            disk: disk.clone().filter(|_| seed % 2 == 1),
            keep: args.keep.clone(),
        })?;
        rounds.push(round);
    }
    let versions = format!(
        "{}, {}",
        version(&assigner, "--version")?,
        version(Path::new("tmux"), "-V")?
    );
    let text = markdown(&rounds, &versions);
    if let Some(path) = &args.report {
        std::fs::write(path, &text)?;
    }
    writeln!(io::stdout().lock(), "{}", text.trim_end())?;
    let is_good = rounds.iter().all(Round::is_good);
    Ok(if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

fn version(program: &Path, flag: &str) -> io::Result<String> {
    let output = Command::new(program).arg(flag).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
