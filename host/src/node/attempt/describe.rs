//! Describes in words what is wrong with a task or went wrong with a job. Pure.

use std::path::Path;

use super::super::script::ScriptStep;
use super::{Brief, Files};
use crate::agents::{Profile, payload};
use crate::model::task::{Task, check_content, check_task, check_variable};

/// Checks again what `send` checks: other tools write into the database, too, and what they wrote
/// becomes part of a script.
///
/// # Errors
/// What is wrong, for people.
pub(super) fn check(task: &Task) -> Result<(), String> {
    if let Some(problem) = &task.metadata_error {
        return Err(format!("its metadata cannot be read: {problem}"));
    }
    check_task(task.kind, &task.content).map_err(|error| error.to_string())?;
    let metadata = &task.metadata;
    for prerequisite in &metadata.prerequisites {
        check_content(prerequisite).map_err(|error| format!("a prerequisite is wrong: {error}"))?;
    }
    for (name, value) in &metadata.env_vars {
        check_variable(name, value).map_err(|why| format!("the variable `{name}`: {why}"))?;
    }
    match &metadata.working_dir {
        Some(directory) if !directory.starts_with('/') || directory.contains('\0') => {
            Err(format!("`{directory}` is not an absolute path"))
        }
        _ => Ok(()),
    }
}

/// Returns why a task that requires a branch does not run.
pub(super) fn wrong_branch(
    path: &Path,
    required: &str,
    found: &Result<Option<String>, String>,
) -> String {
    let path = path.display();
    match found {
        Ok(Some(branch)) => {
            format!("`{path}` is on branch {branch}, and the task requires {required}")
        }
        Ok(None) => format!("`{path}` is on no branch, and the task requires {required}"),
        Err(why) => {
            format!("cannot tell the branch of `{path}`, and the task requires {required}: {why}")
        }
    }
}

/// Returns why a shell is at its prompt although its job has left no code.
pub(super) fn dropped(brief: &Brief, files: &Files) -> String {
    let at = match (files.step, files.back) {
        (Some((ScriptStep::Command, _)), Some(130)) if !files.marked => {
            return "interrupted: Ctrl-C was pressed while the command ran".to_owned();
        }
        (Some((ScriptStep::Command, _)), back) => {
            if back.is_none() && !files.exit_empty && !files.marked {
                return "interrupted: the shell is back at its prompt and the command left no exit \
                        code (Ctrl-C, or a syntax error)"
                    .to_owned();
            }
            let ended = match back {
                Some(code) => format!("its line has ended with code {code}"),
                None => "the shell is back at its prompt".to_owned(),
            };
            let why = if files.exit_empty {
                "the exit code could not be written: is the disk of the data directory full?"
            } else if files.marked {
                "the command has come to its end, but its exit code could not be written"
            } else {
                "the command has left no exit code"
            };
            return format!("{ended}, and {why}");
        }
        (Some((step, _)), _) => describe(brief, step),
        (None, _) => {
            return "the shell is back at its prompt and left no exit code, and nothing shows how far \
                    the job had come"
                .to_owned();
        }
    };
    format!("interrupted {at}: the shell is back at its prompt and left no exit code")
}

/// Returns what failed before the command ran, with the last lines that were printed.
pub(super) fn unprepared(brief: &Brief, step: ScriptStep, code: i32, lines: &[String]) -> String {
    let reason = format!("{} exited with code {code}", describe(brief, step));
    if lines.is_empty() {
        reason
    } else {
        format!("{reason}: {}", lines.join(" | "))
    }
}

/// Returns what a step does.
pub(super) fn describe(brief: &Brief, step: ScriptStep) -> String {
    let metadata = &brief.task.metadata;
    match step {
        ScriptStep::Directory => format!("cd to `{}`", brief.task.directory().unwrap_or_default()),
        ScriptStep::Export(index) => format!(
            "export of {}",
            metadata
                .env_vars
                .keys()
                .nth(index)
                .map_or("", String::as_str)
        ),
        ScriptStep::Secrets => format!("export of {}", metadata.secret_env.join(", ")),
        ScriptStep::Branch => "a look at the branch".to_owned(),
        ScriptStep::Prerequisite(index) => format!(
            "prerequisite {} of {} (`{}`)",
            index + 1,
            metadata.prerequisites.len(),
            metadata.prerequisites.get(index).map_or("", String::as_str)
        ),
        ScriptStep::Command => "the command".to_owned(),
    }
}

/// Returns what the prompt must say about surroundings that the agent does not have. `wanted` is
/// the resolved path of the task's directory.
///
/// # Errors
/// It cannot be told to the agent.
pub(super) fn surroundings(
    task: &Task,
    profile: &Profile,
    stands: Option<&str>,
    wanted: Option<&str>,
) -> Result<Option<String>, String> {
    let metadata = &task.metadata;
    if !metadata.secret_env.is_empty() && metadata.prerequisites.is_empty() {
        return Err(format!(
            "secret variables ({}) cannot be given to an agent",
            metadata.secret_env.join(", ")
        ));
    }
    let asked = metadata.working_dir.as_deref();
    let elsewhere = asked.filter(|asked| stands != Some(wanted.unwrap_or(asked)));
    if elsewhere.is_none() && metadata.env_vars.is_empty() {
        return Ok(None);
    }
    let branch = elsewhere.and(metadata.git_branch.as_deref());
    let note = payload::note(profile, elsewhere, branch, &metadata.env_vars);
    match (note, elsewhere) {
        (None, Some(directory)) => Err(format!(
            "the agent is in {}, the task asks for {directory}, and the profile {} defines no way \
             to tell the agent",
            stands.unwrap_or("an unknown directory"),
            profile.name
        )),
        (note, _) => Ok(note),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::{brief, command, prompt};
    use super::*;
    use crate::agents::Catalog;

    /// Other tools write into the database, too.
    #[test]
    fn a_directory_that_another_tool_wrote_must_be_an_absolute_path() {
        for (directory, is_fit) in [
            (None, true),
            (Some("/w"), true),
            (Some("w"), false),
            (Some(""), false),
            (Some("/w\0"), false),
            (Some("w\0"), false),
        ] {
            let mut task = command("true");
            task.metadata.working_dir = directory.map(str::to_owned);
            assert_eq!(check(&task).is_ok(), is_fit, "{directory:?}");
        }
    }

    #[test]
    fn a_job_that_left_no_code_is_told_by_what_is_known_of_its_end() {
        let at = |step, back, exit_empty, marked| Files {
            step: Some((step, Duration::ZERO)),
            back,
            exit_empty,
            marked,
            ..Files::default()
        };
        let none = "the command left no exit code (Ctrl-C, or a syntax error)";
        let ctrl_c = "interrupted: Ctrl-C was pressed while the command ran";
        let full = "is the disk of the data directory full?";
        let unwritten = "the command has come to its end, but its exit code could not be written";
        for (back, exit_empty, marked, told) in [
            (None, false, false, vec!["interrupted: ", none]),
            (None, true, false, vec!["back at its prompt, and", full]),
            (
                None,
                false,
                true,
                vec!["back at its prompt, and", unwritten],
            ),
            (Some(130), false, false, vec![ctrl_c]),
            (
                Some(130),
                false,
                true,
                vec!["ended with code 130", unwritten],
            ),
            (
                Some(1),
                false,
                false,
                vec!["code 1, and the command has left no"],
            ),
            (Some(1), true, true, vec!["ended with code 1", full]),
        ] {
            let files = at(ScriptStep::Command, back, exit_empty, marked);
            let said = dropped(&brief(command("true")), &files);
            assert!(told.iter().all(|words| said.contains(words)), "{said}");
        }
        let files = at(ScriptStep::Directory, Some(130), false, false);
        let said = dropped(&brief(command("true")), &files);
        assert!(said.starts_with("interrupted cd to "), "{said}");
        let said = dropped(&brief(command("true")), &Files::default());
        assert!(
            said.ends_with("nothing shows how far the job had come"),
            "{said}"
        );
    }

    #[test]
    fn an_agent_is_told_only_of_surroundings_that_it_does_not_have() {
        let catalog = Catalog::built_in();
        let profile = |name: &str| &catalog.get(name).expect("a profile").profile;
        let task = |directory: Option<&str>, variable: bool, secret: bool| {
            let mut task = prompt("say hello");
            task.metadata.working_dir = directory.map(str::to_owned);
            task.metadata.git_branch = directory.map(|_| "main".to_owned());
            if variable {
                let both = ("MODE".to_owned(), "fast".to_owned());
                task.metadata.env_vars.extend([both]);
            }
            if secret {
                task.metadata.secret_env = vec!["TOKEN".to_owned()];
            }
            task
        };
        let told = |task: &Task, stands: Option<&str>, wanted: Option<&str>| {
            surroundings(task, profile("claude"), stands, wanted).map(Option::unwrap_or_default)
        };
        let there = task(Some("/w"), false, false);
        assert_eq!(told(&there, Some("/w"), None), Ok(String::new()));
        assert_eq!(
            told(&there, Some("/real"), Some("/real")),
            Ok(String::new())
        );
        for (stands, wanted) in [
            (Some("/v"), None),
            (None, None),
            (Some("/w"), Some("/real")),
        ] {
            let note = told(&there, stands, wanted).expect("a note");
            assert!(note.contains("/w") && note.contains("main"), "{note}");
        }
        let note = told(&task(None, true, false), Some("/w"), None).expect("a note");
        assert!(note.contains("MODE") && !note.contains("/w"), "{note}");
        assert!(told(&task(None, false, true), Some("/w"), None).is_err());
        // Ollama has no way to be told.
        let elsewhere = surroundings(&there, profile("ollama"), Some("/v"), None);
        assert!(elsewhere.is_err_and(|why| why.contains("/w") && why.contains("/v")));
    }
}
