//! The directory that a task is for: whether it can be entered, and which branch is there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::describe::wrong_branch;
use super::super::driver::Work;
use super::Done;
use crate::model::task::Task;
use crate::probe::{self, look};

/// How long a look at a task's directory may take.
pub(super) const DIRECTORY_WITHIN: Duration = Duration::from_secs(3);

/// Checks whether a task's directory can be entered, and the branch there if it is a condition.
pub(super) fn look_at_place(task: &Task, stands: Option<String>) -> Work {
    let metadata = &task.metadata;
    let wanted = task.directory().map(str::to_owned);
    let conversation = task.conversation.as_ref();
    let began = conversation.and_then(|conversation| conversation.directory.clone());
    let continues = began.is_some() && began == wanted;
    // A prerequisite may check out the branch; if there is one, the shell checks the branch after
    // it.
    let branch = metadata
        .git_branch
        .clone()
        .filter(|_| metadata.require_branch && metadata.prerequisites.is_empty());
    let directory = wanted.clone().or(stands.filter(|_| branch.is_some()));
    Box::pin(async move {
        let Some(directory) = directory else {
            return Done::Place(Ok(None));
        };
        let path = PathBuf::from(&directory);
        let place = path.clone();
        let looked = look::within(&place, DIRECTORY_WITHIN, move || {
            enterable(&path)?;
            if let Some(branch) = branch {
                let found = probe::git_branch_now(&path);
                if found != Ok(Some(branch.clone())) {
                    return Err(wrong_branch(&path, &branch, &found));
                }
            }
            Ok(look::resolved(&path))
        })
        .await;
        let found = looked.unwrap_or_else(|| {
            Err(format!(
                "the directory `{directory}` does not answer: is its file system there?"
            ))
        });
        Done::Place(found.map_err(|why| match continues {
            true => format!(
                "{why}, and the conversation that it continues took place there: send it with \
                 --working-dir, or without --after as a new one"
            ),
            false => why,
        }))
    })
}

fn enterable(path: &Path) -> Result<(), String> {
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
