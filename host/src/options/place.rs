//! The directory of a task: made absolute, and looked at before the task is queued.

use std::path::{Component, Path, PathBuf};

use super::OptionError;
use crate::model::directory::DirectorySight;
use crate::model::task::{Kind, NewTask};

/// Looks at a directory, within a bounded time.
type LookAt = fn(&Path) -> Result<DirectorySight, String>;

/// Whether an option changes what a task is bound to.
pub fn is_of_place(option: &str) -> bool {
    ["working-dir", "anywhere", "no-context-match"].contains(&option)
}

/// Whether a task is bound to the repository of its directory: the agent of a prompt must work in
/// it.
fn is_bound(task: &NewTask) -> bool {
    let metadata = &task.metadata;
    task.kind == Kind::Prompt
        && metadata.working_dir.is_some()
        && !metadata.anywhere
        && metadata.prefer_context_match
}

/// Looks at the directory of a task before it is queued, and binds the task to its repository.
/// Returns a warning if there is no such directory.
///
/// # Errors
/// The directory does not answer.
pub fn look_at_place(task: &mut NewTask, look: LookAt) -> Result<Option<String>, OptionError> {
    task.metadata.repository = None;
    let Some(directory) = &task.metadata.working_dir else {
        return Ok(None);
    };
    let place = look(Path::new(directory)).map_err(OptionError::Failed)?;
    let warning = (!place.is_directory).then(|| {
        format!(
            "warning: there is no directory `{directory}` now; the task fails if there is none when it starts"
        )
    });
    if is_bound(task) {
        let repository = place.repository.or(place.path);
        task.metadata.repository = repository.or_else(|| task.metadata.working_dir.clone());
    }
    Ok(warning)
}

/// Makes a path absolute from the sender's directory and removes `.` and `..`.
///
/// # Errors
/// It is empty or not UTF-8, or it does not answer.
pub fn absolute(path: &Path, look: LookAt) -> Result<String, OptionError> {
    let shown = path.display();
    let not_text = || OptionError::Wrong(format!("directory `{shown}`: the path is not UTF-8"));
    let path = std::path::absolute(path)
        .map_err(|error| OptionError::Wrong(format!("directory `{shown}`: {error}")))?;
    let normal = if path.components().any(|part| part == Component::ParentDir) {
        // After a symbolic link, `..` is not what it looks like: only the system knows.
        let place = look(&path).map_err(OptionError::Failed)?;
        if place.path.is_none() && place.is_directory {
            return Err(not_text());
        }
        place.path.map_or_else(|| lexical(&path), PathBuf::from)
    } else {
        path.components().collect()
    };
    normal
        .into_os_string()
        .into_string()
        .map_err(|_| not_text())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_absolute_and_normal() {
        // The parent of nothing is not known.
        let look = |_: &Path| Ok(DirectorySight::default());
        let path = |text| absolute(Path::new(text), look).map_err(|error| error.to_string());
        assert_eq!(path("/nowhere/./a//b/"), Ok("/nowhere/a/b".to_owned()));
        assert_eq!(path("/nowhere/a/../b"), Ok("/nowhere/b".to_owned()));
        assert!(path("x").is_ok_and(|path| path.starts_with('/') && path.ends_with("/x")));
    }
}
