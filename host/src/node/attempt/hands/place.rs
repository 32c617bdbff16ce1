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

#[cfg(test)]
mod tests {
    use super::super::super::testing::command;
    use super::*;
    use crate::model::headless::HeadlessConversation;

    /// Returns the resolved directory of a task that `change` makes, or why it cannot run there.
    async fn looked(
        stands: Option<&Path>,
        change: impl FnOnce(&mut Task),
    ) -> Result<Option<String>, String> {
        let mut task = command("true");
        change(&mut task);
        let stands = stands.map(|path| path.display().to_string());
        match look_at_place(&task, stands).await {
            Done::Place(place) => place,
            other => panic!("{other:?}"),
        }
    }

    fn at(path: &Path) -> impl FnOnce(&mut Task) {
        let path = path.display().to_string();
        move |task| task.metadata.working_dir = Some(path)
    }

    #[tokio::test]
    async fn a_directory_is_named_as_the_system_names_it_or_refused_in_words() {
        let scratch = tempfile::tempdir().expect("a directory");
        let real = scratch.path().canonicalize().expect("a path");
        let link = real.join("link");
        std::os::unix::fs::symlink(&real, &link).expect("a link");
        let found = looked(None, at(&link)).await;
        assert_eq!(found, Ok(Some(real.display().to_string())));
        // It names none.
        assert_eq!(looked(Some(&real), |_| {}).await, Ok(None));
        let file = real.join("file");
        std::fs::write(&file, "").expect("written");
        let circle = real.join("circle");
        std::os::unix::fs::symlink(&circle, &circle).expect("a link");
        for (path, why) in [
            (file, "is not a directory"),
            (real.join("none"), "does not exist"),
            (circle, "cannot look at the directory"),
        ] {
            let refused = looked(None, at(&path)).await.expect_err("refused");
            let told = refused.contains(why) && refused.contains(&path.display().to_string());
            assert!(told, "{refused}");
        }
    }

    #[tokio::test]
    async fn a_conversation_that_took_place_there_is_told() {
        for (began, is_told) in [
            (Some("/none"), true),
            (Some("/other"), false),
            (None, false),
        ] {
            let refused = looked(None, |task| {
                task.metadata.working_dir = Some("/none".to_owned());
                task.conversation = Some(HeadlessConversation {
                    name: "c1".to_owned(),
                    directory: began.map(str::to_owned),
                });
            });
            let refused = refused.await.expect_err("refused");
            let told = refused.contains("the conversation that it continues took place there");
            assert_eq!(told, is_told, "{began:?}: {refused}");
        }
    }

    #[tokio::test]
    async fn a_branch_is_a_condition_only_where_it_is_required_and_nothing_may_change_it() {
        let scratch = tempfile::tempdir().expect("a directory");
        let git = |args: &[&str]| {
            let mut git = std::process::Command::new("git");
            let git = git.arg("-C").arg(scratch.path()).args(args);
            assert!(git.output().expect("git").status.success(), "{args:?}");
        };
        git(&["init", "-q", "-b", "main"]);
        let here = || scratch.path().to_owned();
        let requires = |branch: &'static str, required, prepares: bool| {
            move |task: &mut Task| {
                task.metadata.git_branch = Some(branch.to_owned());
                task.metadata.require_branch = required;
                task.metadata.prerequisites = vec!["make".to_owned(); usize::from(prepares)];
            }
        };
        // Where its session stands, if it names no directory.
        let found = looked(Some(&here()), requires("main", true, false)).await;
        assert!(found.is_ok_and(|found| found.is_some()));
        let refused = looked(Some(&here()), requires("dev", true, false)).await;
        let refused = refused.expect_err("refused");
        assert!(refused.contains("is on branch main"), "{refused}");
        for (required, prepares) in [(false, false), (true, true), (false, true)] {
            let found = looked(Some(&here()), requires("dev", required, prepares)).await;
            assert_eq!(found, Ok(None), "{required} {prepares}");
        }
    }
}
