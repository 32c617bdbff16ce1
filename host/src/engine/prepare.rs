//! prepare: checks what can be checked before anything is typed, and writes the job.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::claim::Claimed;
use super::job::{self, Keep, Plan};
use super::tracker::What;
use super::{Engine, RoundError};
use crate::model::task::{Task, check_content, check_task, is_variable_name};
use crate::probe;
use crate::tmux::{Pipe, Tmux, TypedLine};

/// A directory on a file system that does not answer must not hold up the other sessions.
const DIRECTORY_WITHIN: Duration = Duration::from_secs(3);

/// An attempt whose job is written.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    pub(super) claimed: Claimed,
    pub(super) line: TypedLine,
}

impl<T: Tmux> Engine<T> {
    /// Prepares what was claimed; what cannot be prepared has failed, with the reason.
    pub(super) async fn prepare(
        &mut self,
        claimed: Vec<Claimed>,
        now: Timestamp,
    ) -> Result<Vec<Prepared>, RoundError> {
        let mut prepared = Vec::with_capacity(claimed.len());
        for claimed in claimed {
            let checked = match check(&claimed.flight.task) {
                Ok(()) => check_place(&claimed).await,
                Err(reason) => Err(reason),
            };
            let secrets = checked.and_then(|()| self.secrets_of(&claimed.flight.task));
            let secrets = match secrets {
                Ok(secrets) => secrets,
                Err(reason) => {
                    self.fail_attempt(claimed.flight, None, reason, now).await?;
                    continue;
                }
            };
            if matches!(claimed.session.what, What::Agent(_)) {
                self.prepare_turn(claimed, secrets, now).await?;
                continue;
            }
            match self.write_job(&claimed, &secrets) {
                Ok(line) => prepared.push(Prepared { claimed, line }),
                // No fault of the task's: it waits until the spool can be written.
                Err(reason) => self.refuse(claimed.flight, reason, now).await?,
            }
        }
        Ok(prepared)
    }

    /// Returns the values of a task's secret variables.
    fn secrets_of(&self, task: &Task) -> Result<BTreeMap<String, String>, String> {
        let names = &task.metadata.secret_env;
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let values = task
            .secrets
            .as_deref()
            .and_then(|kept| self.secrets.values(kept))
            .ok_or_else(|| {
                format!(
                    "the secret values of {} are not kept any more: send it anew",
                    names.join(", ")
                )
            })?;
        let right =
            |(name, value): (&String, &String)| is_variable_name(name) && !value.contains('\0');
        if values.iter().all(right) {
            Ok(values)
        } else {
            Err("its secret values are damaged: send it anew".to_owned())
        }
    }

    fn write_job(
        &self,
        claimed: &Claimed,
        secrets: &BTreeMap<String, String>,
    ) -> Result<TypedLine, String> {
        let Claimed { flight, session } = claimed;
        let What::Shell(shell) = session.what else {
            return Err("it is no shell any more".to_owned());
        };
        // Two daemons may watch one tmux server: the data directory is part of the mark.
        let nonce = format!("{}-{}", std::process::id(), flight.attempt);
        let keep = if session.piped {
            Keep::File
        } else {
            Keep::Marks(&nonce)
        };
        let plan = Plan {
            shell,
            task: &flight.task,
            secrets,
            keep,
            tell_before: session.live.is_none() || !self.tracker.is_fresh(session),
        };
        let files = self
            .spool
            .write_job(flight.attempt, &plan)
            .map_err(|error| format!("cannot write the job into the spool directory: {error}"))?;
        let text = |path: &Path| {
            path.to_str()
                .map(str::to_owned)
                .ok_or_else(|| format!("`{}` is not UTF-8", path.display()))
        };
        let pipe = match keep {
            Keep::File => None,
            Keep::Marks(nonce) => Some(Pipe {
                argv: vec![
                    text(&self.settings.program)?,
                    "capture".to_owned(),
                    "--nonce".to_owned(),
                    nonce.to_owned(),
                    "--limit".to_owned(),
                    self.settings.output_limit.to_string(),
                    text(&files.output())?,
                ],
            }),
        };
        Ok(TypedLine {
            identity: flight.identity.clone(),
            cursor: session.cursor,
            text: job::typed_line(shell, &files.script()),
            pipe,
        })
    }
}

/// Checks what `send` checks, once more: other tools write into the database, too, and what they
/// wrote becomes part of a script.
fn check(task: &Task) -> Result<(), String> {
    if let Some(problem) = &task.metadata_error {
        return Err(format!("its metadata cannot be read: {problem}"));
    }
    check_task(task.kind, &task.content).map_err(|error| error.to_string())?;
    let metadata = &task.metadata;
    for prerequisite in &metadata.prerequisites {
        check_content(prerequisite).map_err(|error| format!("a prerequisite is wrong: {error}"))?;
    }
    for (name, value) in &metadata.env_vars {
        if !is_variable_name(name) {
            return Err(format!("`{name}` is no name of a variable"));
        }
        if value.contains('\0') {
            return Err(format!("the value of {name} holds a NUL byte"));
        }
    }
    match &metadata.working_dir {
        Some(directory) if !directory.starts_with('/') || directory.contains('\0') => {
            Err(format!("`{directory}` is no absolute path of a directory"))
        }
        _ => Ok(()),
    }
}

/// Checks the directory that a task is to run in, and the branch there where that is a condition.
async fn check_place(claimed: &Claimed) -> Result<(), String> {
    let metadata = &claimed.flight.task.metadata;
    // A prerequisite may check the branch out: then the shell looks, behind it.
    let branch = metadata
        .git_branch
        .clone()
        .filter(|_| metadata.require_branch && metadata.prerequisites.is_empty());
    let stands = claimed.session.row.current_dir.as_ref();
    let Some(directory) = metadata
        .working_dir
        .as_ref()
        .or(stands.filter(|_| branch.is_some()))
        .cloned()
    else {
        return Ok(());
    };
    let path = PathBuf::from(&directory);
    let look = tokio::task::spawn_blocking(move || {
        look_at(&path)?;
        branch.map_or(Ok(()), |branch| look_at_branch(&path, &branch))
    });
    match tokio::time::timeout(DIRECTORY_WITHIN, look).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(format!("cannot look at the directory `{directory}`")),
        Err(_) => Err(format!(
            "the directory `{directory}` does not answer: is its file system there?"
        )),
    }
}

fn look_at_branch(path: &Path, required: &str) -> Result<(), String> {
    match probe::git_branch(path) {
        Some(branch) if branch == required => Ok(()),
        found => Err(wrong_branch(path, required, found.as_deref())),
    }
}

/// Why a task does not run that requires a branch.
pub(super) fn wrong_branch(path: &Path, required: &str, found: Option<&str>) -> String {
    let path = path.display();
    match found {
        Some(branch) => {
            format!("`{path}` is on branch {branch}, and the task requires {required}")
        }
        None => format!("`{path}` is on no branch, and the task requires {required}"),
    }
}

fn look_at(path: &Path) -> Result<(), String> {
    let name = path.display();
    match std::fs::metadata(path) {
        Ok(found) if !found.is_dir() => Err(format!("`{name}` is not a directory")),
        Ok(_) => rustix::fs::access(path, rustix::fs::Access::EXEC_OK)
            .map_err(|error| format!("cannot enter the directory `{name}`: {error}")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(format!("the directory `{name}` does not exist"))
        }
        Err(error) => Err(format!("cannot look at the directory `{name}`: {error}")),
    }
}
