//! Tasks as lines of JSON, for `assigner send --batch`.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use jiff::{Timestamp, Zoned};
use serde::Deserialize;

use super::exit::{CommandFailure, Exit};
use super::when;
use super::wish::{self, AgentOptions, Wish};
use crate::model::ids::TaskId;
use crate::model::session::Shell;
use crate::model::task::{IfParentFails, NewTask, Parent, check_variable};
use crate::store::Secrets;

/// One line: the options of `send`, by name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchLine {
    content: String,
    /// The name by which later lines refer to this task in their `after`.
    name: Option<String>,
    #[serde(default)]
    shell: ShellWish,
    #[serde(default)]
    headless: Option<bool>,
    #[serde(alias = "working-dir")]
    working_dir: Option<PathBuf>,
    #[serde(default)]
    anywhere: bool,
    branch: Option<String>,
    #[serde(default, alias = "require-branch")]
    require_branch: bool,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default, alias = "secret-env")]
    secret_env: Vec<String>,
    #[serde(default, alias = "isolate-env")]
    isolate_env: bool,
    #[serde(default)]
    prereq: Vec<String>,
    #[serde(alias = "prereq-timeout")]
    prereq_timeout: Option<Time>,
    priority: Option<i32>,
    provider: Option<String>,
    #[serde(default)]
    providers: Vec<String>,
    #[serde(default)]
    fallback: Vec<String>,
    #[serde(default, alias = "allow-fallback")]
    allow_fallback: bool,
    target: Option<String>,
    #[serde(default, alias = "target-fallback")]
    target_fallback: bool,
    #[serde(default, alias = "no-context-match")]
    no_context_match: bool,
    #[serde(default, alias = "label")]
    labels: BTreeMap<String, String>,
    #[serde(
        default,
        alias = "require-label",
        alias = "require-labels",
        alias = "require_label"
    )]
    require_labels: BTreeMap<String, String>,
    retries: Option<u32>,
    timeout: Option<Time>,
    #[serde(default)]
    after: Vec<Reference>,
    #[serde(alias = "if-parent-fails")]
    if_parent_fails: Option<IfParentFails>,
    delay: Option<Time>,
    at: Option<String>,
}

/// A duration: text, or a number of minutes.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a duration is text such as \"90s\", or a number of minutes"
)]
enum Time {
    Minutes(u32),
    Text(String),
}

/// A task to wait for: one that is already queued, or an earlier line.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a task is a number, or the name of an earlier line"
)]
enum Reference {
    Task(i64),
    Line(String),
}

/// Reads the tasks from a file, or from standard input if it is `-`. `is_queued` tells whether a
/// task with that number exists.
///
/// # Errors
/// The file cannot be read, or a line is wrong; the error says which and why. No secret value is
/// kept then.
pub(super) fn read(
    path: &Path,
    secrets: &Secrets,
    agents: AgentOptions<'_>,
    mut is_queued: impl FnMut(TaskId) -> Result<bool, CommandFailure>,
) -> Result<Vec<NewTask>, CommandFailure> {
    let shown = if path == Path::new("-") {
        "standard input".to_owned()
    } else {
        format!("`{}`", path.display())
    };
    let unreadable =
        |error: &io::Error| CommandFailure::usage(format!("cannot read {shown}: {error}"));
    let lines: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(
            File::open(path).map_err(|error| unreadable(&error))?,
        ))
    };
    let mut tasks: Vec<NewTask> = Vec::new();
    let mut names = HashMap::new();
    let read_all = || -> Result<(), CommandFailure> {
        for (number, line) in lines.lines().enumerate() {
            let at_line = |message: String| {
                CommandFailure::usage(format!("{shown}, line {}: {message}", number + 1))
            };
            let line = line.map_err(|error| match error.kind() {
                io::ErrorKind::InvalidData => at_line("it is not UTF-8".to_owned()),
                _ => unreadable(&error),
            })?;
            if line.trim().is_empty() {
                continue;
            }
            let line: BatchLine = serde_json::from_str(&line).map_err(|error| {
                // A position in the text would always be on line 1.
                let text = error.to_string();
                let what = text
                    .rsplit_once(" at line 1 ")
                    .map(|(what, place)| format!("{what} ({place})"));
                at_line(what.unwrap_or(text))
            })?;
            let name = line.name.clone();
            let wish = line.wish(&names, agents).map_err(&at_line)?;
            for parent in &wish.after {
                if let Parent::Task(id) = parent
                    && !is_queued(*id)?
                {
                    return Err(at_line(format!("after {id}: there is no such task")));
                }
            }
            let mut task = NewTask::prompt("");
            wish.apply(&mut task, secrets).map_err(|failure| {
                if failure.exit == Exit::Usage {
                    at_line(failure.message)
                } else {
                    failure
                }
            })?;
            tasks.push(task);
            if let Some(name) = name
                && names.insert(name.clone(), tasks.len() - 1).is_some()
            {
                return Err(at_line(format!("the name `{name}` was given before")));
            }
        }
        Ok(())
    };
    let result = read_all();
    if let Err(failure) = result {
        wish::forget(&tasks, secrets);
        return Err(failure);
    }
    if tasks.is_empty() {
        return Err(CommandFailure::usage(format!(
            "{shown} contains no task: write one JSON object per line"
        )));
    }
    Ok(tasks)
}

/// Whether a line is a command, and for which shell: `true`, or the shell's name.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum ShellWish {
    Any(bool),
    One(String),
}

impl Default for ShellWish {
    fn default() -> Self {
        Self::Any(false)
    }
}

impl ShellWish {
    fn read(&self) -> Result<Option<Option<Shell>>, String> {
        match self {
            Self::Any(is_command) => Ok(is_command.then_some(None)),
            Self::One(name) => wish::shell(name)
                .map(|shell| Some(Some(shell)))
                .map_err(|why| format!("`shell` {name:?}: {why}")),
        }
    }
}

impl BatchLine {
    fn wish(
        self,
        names: &HashMap<String, usize>,
        agents: AgentOptions<'_>,
    ) -> Result<Wish, String> {
        let way = agents
            .way(self.headless, self.provider.as_deref())
            .map_err(|failure| failure.message)?;
        for (name, value) in &self.env {
            check_variable(name, value).map_err(|why| format!("env `{name}`: {why}"))?;
        }
        let after = self.after.into_iter().map(|reference| match reference {
            Reference::Task(id) => Ok(Parent::Task(TaskId(id))),
            Reference::Line(name) => names
                .get(&name)
                .map(|&line| Parent::Earlier(line))
                .ok_or_else(|| format!("after `{name}`: no earlier line has that name")),
        });
        let not_before = match (self.delay, self.at) {
            (Some(_), Some(_)) => return Err("`delay` and `at`: leave one of them out".to_owned()),
            (Some(delay), None) => {
                let text = delay.text();
                let delay = when::delay(&text).map_err(|why| format!("`delay` {text:?}: {why}"))?;
                let then = Timestamp::now().checked_add(delay);
                Some(then.map_err(|_| "`delay` is too far in the future".to_owned())?)
            }
            (None, Some(at)) => Some(when::time(&at, &Zoned::now())?),
            (None, None) => None,
        };
        let seconds = |time: Option<Time>, name: &str| {
            let Some(text) = time.map(Time::text) else {
                return Ok(None);
            };
            let read = when::seconds(&text).map(Some);
            read.map_err(|why| format!("`{name}` {text:?}: {why}"))
        };
        Ok(Wish {
            content: Some(self.content),
            shell: self.shell.read()?,
            way,
            working_dir: self.working_dir,
            anywhere: self.anywhere,
            branch: self.branch,
            require_branch: self.require_branch,
            env: self.env,
            secret_env: self.secret_env,
            isolate_env: self.isolate_env,
            prerequisites: self.prereq,
            prerequisite_timeout: seconds(self.prereq_timeout, "prereq_timeout")?,
            priority: self.priority,
            provider: self.provider,
            providers: self.providers,
            fallback: self.fallback,
            allow_fallback: self.allow_fallback,
            target: self.target,
            target_fallback: self.target_fallback,
            no_context_match: self.no_context_match,
            labels: self.labels,
            require_labels: self.require_labels,
            retries: self.retries,
            timeout: seconds(self.timeout, "timeout")?,
            after: after.collect::<Result<_, _>>()?,
            if_parent_fails: self.if_parent_fails,
            not_before,
        })
    }
}

impl Time {
    fn text(self) -> String {
        match self {
            Self::Minutes(minutes) => minutes.to_string(),
            Self::Text(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_text(text: &[u8]) -> Result<Vec<NewTask>, String> {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("batch");
        std::fs::write(&file, text).expect("written");
        let secrets = Secrets::of(directory.path());
        let agents = AgentOptions {
            profiles: Path::new("/nowhere"),
            headless: &[],
        };
        read(&file, &secrets, agents, |id| Ok(id.0 < 10)).map_err(|failure| failure.message)
    }

    #[test]
    fn lines_are_tasks() {
        let text =
            br#"{"name": "a", "content": "make", "shell": true, "timeout": 2, "prereq": ["x"]}

{"content": "fix it", "after": ["a", 3], "if_parent_fails": "release", "delay": "90s"}
"#;
        let tasks = read_text(text).expect("two tasks");
        assert_eq!(tasks[0].timeout_seconds, Some(120));
        assert_eq!(tasks[0].metadata.prerequisites, ["x"]);
        assert_eq!(
            tasks[1].after,
            [Parent::Earlier(0), Parent::Task(TaskId(3))]
        );
        assert_eq!(tasks[1].if_parent_fails, IfParentFails::Release);
        assert!(tasks[1].not_before.is_some());
    }

    #[test]
    fn durations_are_whole_and_some() {
        let read = |name: &str, value: &str| {
            let text = format!("{{\"content\": \"x\", \"{name}\": {value}}}\n");
            read_text(text.as_bytes()).map(|tasks| {
                let task = &tasks[0];
                (task.timeout_seconds, task.metadata.prerequisite_timeout)
            })
        };
        assert_eq!(read("timeout", "2"), Ok((Some(120), None)));
        assert_eq!(read("timeout", "\"2s\""), Ok((Some(2), None)));
        assert_eq!(read("prereq_timeout", "\"1000ms\""), Ok((None, Some(1))));
        assert_eq!(read("delay", "\"1ms\""), Ok((None, None)));
        for value in ["\"900ms\"", "\"1500ms\""] {
            for name in ["timeout", "prereq_timeout"] {
                let error = read(name, value).expect_err(value);
                assert!(
                    error.contains(&format!("`{name}` {value}: it is finer")),
                    "{error}"
                );
            }
        }
        for value in [
            "0",
            "-1",
            "1.5",
            "\"\"",
            "\"0s\"",
            "\"-1s\"",
            "\"99999999999d\"",
            "\"nan\"",
        ] {
            for name in ["timeout", "prereq_timeout", "delay"] {
                let error = read(name, value).expect_err(value);
                assert!(error.contains("duration"), "{name} {value}: {error}");
            }
        }
    }

    #[test]
    fn mistakes_name_their_line() {
        for wrong in [
            "{\"content\": \"x\", \"contents\": 1}",
            "{\"content\": \"x\", \"after\": [11]}",
            "{\"content\": \"x\", \"timeout\": \"soon\"}",
            "[]",
        ] {
            let text = format!("{{\"content\": \"x\"}}\n\n{wrong}\n");
            let error = read_text(text.as_bytes()).expect_err("wrong");
            assert!(error.contains("line 3"), "{error}");
            assert!(
                !error.contains('\n') && !error.contains("line 1"),
                "{error}"
            );
        }
    }

    fn value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            ".{0,8}".prop_map(Into::into),
            prop::sample::select(vec!["5m", "18:30", "fail", "a", "A=b"]).prop_map(Into::into),
        ];
        leaf.prop_recursive(2, 8, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Into::into),
                prop::collection::hash_map("[A-Za-z ]{0,3}", inner, 0..3)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn key() -> impl Strategy<Value = String> {
        let known = vec![
            "content",
            "name",
            "shell",
            "working_dir",
            "branch",
            "require_branch",
            "env",
            "prereq",
            "prereq_timeout",
            "priority",
            "provider",
            "providers",
            "fallback",
            "target",
            "labels",
            "require_labels",
            "retries",
            "timeout",
            "after",
            "if_parent_fails",
            "delay",
            "at",
        ];
        prop::sample::select(known).prop_map(str::to_owned)
    }

    proptest! {
        /// Whatever the file contains: tasks, or one line that says what is wrong; never a panic.
        #[test]
        fn anything_may_stand_in_a_file(text in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Err(error) = read_text(&text) {
                prop_assert!(!error.contains('\n'), "{}", error);
            }
        }

        #[test]
        fn any_values_may_stand_in_an_object(
            line in prop::collection::hash_map(key(), value(), 0..5),
        ) {
            let line = serde_json::Value::Object(line.into_iter().collect());
            match read_text(line.to_string().as_bytes()) {
                Ok(tasks) => prop_assert_eq!(tasks.len(), 1),
                Err(error) => prop_assert!(error.contains("line 1"), "{}", error),
            }
        }
    }
}
