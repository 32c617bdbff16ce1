//! `assigner send`: queues a task, with or without a daemon.

use std::io::Read;
use std::path::{Component, Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::exit::{Exit, Failure};
use super::{Context, ui};
use crate::model::eligibility::SHELL;
use crate::model::task::{Kind, MAX_CONTENT, Metadata, NewTask, check_content, is_variable_name};
use crate::store::Store;

/// Queues a task.
///
/// With --shell it is a command line that runs in a shell. Without, it is a prompt for an agent,
/// which never goes into a shell.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The command or prompt; `-` reads it from standard input
    content: String,
    /// Runs it as a command in a shell
    #[arg(long)]
    shell: bool,
    /// The directory it is for; the session is brought there
    #[arg(short = 'w', long, value_name = "DIR")]
    working_dir: Option<PathBuf>,
    /// A variable to export before it runs; may be repeated
    #[arg(short = 'e', long = "env", value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// The git branch it prefers
    #[arg(short = 'b', long = "branch", value_name = "BRANCH")]
    branch: Option<String>,
    /// A command that must succeed first; may be repeated, they run in order
    #[arg(long = "prereq", value_name = "COMMAND")]
    prerequisites: Vec<String>,
    /// Higher goes first
    #[arg(
        short,
        long,
        value_name = "N",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    priority: i32,
    /// The only kind of session that may run it: `shell`, or an agent's name
    #[arg(long, value_name = "NAME", conflicts_with = "shell")]
    provider: Option<String>,
    /// The only session that may run it
    #[arg(long, value_name = "SESSION")]
    target: Option<String>,
    /// Lets any session run it, whatever its directory, branch and environment
    #[arg(long)]
    no_context_match: bool,
    /// How often it is tried again after it failed
    #[arg(long, value_name = "N", default_value_t = 0)]
    retries: u32,
    /// Ends it after this time, such as `90s` or `1h 30m`; a bare number is minutes
    #[arg(long, value_name = "DURATION", value_parser = timeout)]
    timeout: Option<u64>,
}

pub(super) fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    let task = new_task(args)?;
    if let Some(directory) = &task.metadata.working_dir
        && !Path::new(directory).is_dir()
    {
        ui::warn(&format!(
            "warning: there is no directory `{directory}` now; the task fails if there is none when it starts"
        ));
    }
    let mut store = context.store()?;
    let spool = context.spool()?;
    let ids = store.queue(&[task], Timestamp::now())?;
    spool.nudge();
    for id in ids {
        if context.ui.json {
            context.ui.json(&json!({"id": id, "status": "pending"}))?;
        } else {
            context.ui.line(&format!("task {id} queued"))?;
        }
    }
    Ok(Exit::Done)
}

fn new_task(args: Args) -> Result<NewTask, Failure> {
    let content = if args.content == "-" {
        read_standard_input()?
    } else {
        args.content
    };
    check_content(&content).map_err(Failure::usage)?;
    for (number, prerequisite) in args.prerequisites.iter().enumerate() {
        check_content(prerequisite)
            .map_err(|error| Failure::usage(format!("--prereq {}: {error}", number + 1)))?;
    }
    let is_command = args.shell || args.provider.as_deref() == Some(SHELL);
    let mut metadata = Metadata {
        working_dir: args.working_dir.as_deref().map(absolute).transpose()?,
        git_branch: args
            .branch
            .map(|branch| not_blank("--branch", branch))
            .transpose()?,
        prerequisites: args.prerequisites,
        prefer_context_match: !args.no_context_match,
        ..Metadata::default()
    };
    for assignment in &args.env {
        let (name, value) = variable(assignment)?;
        metadata.env_vars.insert(name, value);
    }
    Ok(NewTask {
        kind: if is_command {
            Kind::Command
        } else {
            Kind::Prompt
        },
        content,
        priority: args.priority,
        source: "cli".to_owned(),
        metadata,
        target_session: args
            .target
            .map(|target| not_blank("--target", target))
            .transpose()?,
        target_provider: args
            .provider
            .map(|provider| not_blank("--provider", provider))
            .transpose()?,
        max_retries: args.retries,
        timeout_seconds: args.timeout,
    })
}

fn read_standard_input() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    // One byte more than is taken tells that there is too much.
    std::io::stdin()
        .lock()
        .take(MAX_CONTENT as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot read standard input: {error}"))
        })?;
    if bytes.len() > MAX_CONTENT {
        return Err(Failure::usage(format!(
            "standard input has more than the {MAX_CONTENT} bytes that a task may have: put it into a file and send a command that reads it"
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        Failure::usage(format!(
            "standard input is not UTF-8 at byte {}: convert it first",
            error.utf8_error().valid_up_to()
        ))
    })
}

/// Reads `NAME=VALUE`.
fn variable(assignment: &str) -> Result<(String, String), Failure> {
    let wrong = |why: &str| {
        Failure::usage(format!(
            "-e `{assignment}`: {why}; write NAME=VALUE, such as -e DEBUG=1"
        ))
    };
    let (name, value) = assignment
        .split_once('=')
        .ok_or_else(|| wrong("there is no `=`"))?;
    if !is_variable_name(name) {
        return Err(wrong(
            "the name may hold letters, digits and `_`, and begins with no digit",
        ));
    }
    if value.contains('\0') {
        return Err(wrong("a value holds no NUL"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// Makes a path absolute from the sender's directory and removes `.` and `..`.
fn absolute(path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    let path = std::path::absolute(path)
        .map_err(|error| Failure::usage(format!("-w `{shown}`: {error}")))?;
    let normal = if path.components().any(|part| part == Component::ParentDir) {
        // Behind a symbolic link `..` is not what its letters say: the system knows.
        path.canonicalize().unwrap_or_else(|_| lexical(&path))
    } else {
        path.components().collect()
    };
    normal
        .into_os_string()
        .into_string()
        .map_err(|_| Failure::usage(format!("-w `{shown}`: the path is not UTF-8")))
}

fn lexical(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            normal.pop();
        } else {
            normal.push(part);
        }
    }
    normal
}

fn not_blank(option: &str, value: String) -> Result<String, Failure> {
    if value.trim().is_empty() {
        return Err(Failure::usage(format!(
            "{option} is empty: leave it out or name one"
        )));
    }
    Ok(value)
}

/// Reads a duration of at least a second; a bare number is minutes.
pub(super) fn timeout(text: &str) -> Result<u64, String> {
    let seconds = match text.parse::<u64>() {
        Ok(minutes) => minutes.checked_mul(60),
        Err(_) => text
            .parse::<SignedDuration>()
            .ok()
            .and_then(|duration| u64::try_from(duration.as_secs()).ok()),
    };
    match seconds {
        Some(seconds) if seconds > 0 && i64::try_from(seconds).is_ok() => Ok(seconds),
        _ => Err("write a duration such as `90s`, `5m` or `1h 30m`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_names_with_values() {
        let read = |text| variable(text).map_err(|failure| failure.message);
        assert_eq!(read("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        assert_eq!(read("_x1="), Ok(("_x1".to_owned(), String::new())));
        for wrong in ["A", "=1", "1A=2", "A B=1", "A-B=1", "$(x)=1", "Ä=1"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn timeouts_are_durations_or_minutes() {
        assert_eq!(timeout("2"), Ok(120));
        assert_eq!(timeout("90s"), Ok(90));
        assert_eq!(timeout("1h 30m"), Ok(5400));
        for wrong in ["0", "-5s", "soon", "", "99999999999999999999"] {
            assert!(timeout(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn paths_are_made_absolute_and_normal() {
        let path = |text| absolute(Path::new(text)).map_err(|failure| failure.message);
        assert_eq!(path("/nowhere/./a//b/"), Ok("/nowhere/a/b".to_owned()));
        assert_eq!(path("/nowhere/a/../b"), Ok("/nowhere/b".to_owned()));
        assert!(path("x").is_ok_and(|path| path.starts_with('/') && path.ends_with("/x")));
    }
}
