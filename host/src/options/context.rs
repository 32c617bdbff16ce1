//! Where a task runs, and with what around it.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::{OptionError, PLAIN, Takes, TaskOption, Topic, absolute, not_blank, pairs, when};
use crate::model::duration::shown;
use crate::model::task::{check_content, check_variable};

pub(super) const OPTIONS: &[TaskOption] = &[
    TaskOption {
        name: "working-dir",
        short: Some('w'),
        aliases: &["workdir"],
        help: "The directory it is for; the session changes to it",
        takes: Takes::Text("DIR", |draft, directory| {
            let directory = absolute(Path::new(&directory), draft.sender.look)?;
            draft.task.metadata.working_dir = Some(directory);
            Ok(())
        }),
        example: "/tmp",
        unset: Some(|task| task.metadata.working_dir = None),
        key: "context.working_dir",
        value: |view| Some(json!(view.task.metadata.working_dir)),
        lines: |view| {
            let conversation = view.conversation;
            let conversation = conversation.and_then(|began| began.directory.as_ref());
            let directory = view.task.metadata.working_dir.as_ref().or(conversation);
            let directory = directory.into_iter();
            directory.map(|it| ("directory", it.clone())).collect()
        },
        ..CONTEXT
    },
    TaskOption {
        name: "anywhere",
        help: "Lets an agent in another repository take the prompt, with a note that \
               names the directory. Without -w, the prompt is for no directory",
        takes: Takes::Flag(|task| task.metadata.anywhere = true),
        unset: Some(|task| task.metadata.anywhere = false),
        key: "anywhere",
        value: |view| Some(json!(view.task.metadata.anywhere)),
        lines: |view| {
            when(
                view.task.metadata.anywhere,
                "anywhere",
                "any agent may take it",
            )
        },
        ..CONTEXT
    },
    TaskOption {
        name: "branch",
        short: Some('b'),
        aliases: &["git-branch"],
        help: "The git branch it prefers",
        takes: Takes::Text("BRANCH", |draft, branch| {
            draft.task.metadata.git_branch = Some(not_blank("branch", &branch)?);
            Ok(())
        }),
        example: "main",
        unset: Some(|task| {
            task.metadata.git_branch = None;
            task.metadata.require_branch = false;
        }),
        key: "context.git_branch",
        value: |view| Some(json!(view.task.metadata.git_branch)),
        lines: |view| {
            let metadata = &view.task.metadata;
            let required = match metadata.require_branch {
                true => ", required",
                false => "",
            };
            let branch = metadata.git_branch.iter();
            let line = branch.map(|branch| ("branch", format!("{branch}{required}")));
            line.collect()
        },
        ..CONTEXT
    },
    TaskOption {
        name: "require-branch",
        help: "Makes the branch a condition: it is checked before the task starts",
        takes: Takes::Flag(|task| task.metadata.require_branch = true),
        needs: Some((&["branch"], "needs the branch: name it with -b")),
        unset: Some(|task| task.metadata.require_branch = false),
        key: "require_branch",
        value: |view| Some(json!(view.task.metadata.require_branch)),
        ..CONTEXT
    },
    TaskOption {
        name: "env",
        short: Some('e'),
        help: "A variable to export before it runs; may be repeated",
        takes: Takes::Pairs(check_env, |draft, variables| {
            draft.task.metadata.env_vars.extend(variables);
            Ok(())
        }),
        example: "DEBUG=1",
        unset: Some(|task| task.metadata.env_vars.clear()),
        key: "context.env",
        value: |view| Some(json!(view.task.metadata.env_vars)),
        lines: |view| pairs("env", &view.task.metadata.env_vars),
        ..CONTEXT
    },
    TaskOption {
        name: "secret-env",
        help: "A variable whose value is taken from this environment and shown nowhere; undone \
               after the task",
        takes: Takes::Texts("NAME", |draft, names| {
            draft.secret_env = names;
            Ok(())
        }),
        example: "PATH",
        unset: Some(|task| {
            task.metadata.secret_env.clear();
            task.secrets = None;
        }),
        key: "secret_env",
        value: |view| Some(json!(view.task.metadata.secret_env)),
        lines: |view| {
            let names = view.task.metadata.secret_env.iter();
            names
                .map(|name| ("env", format!("{name} (secret)")))
                .collect()
        },
        ..CONTEXT
    },
    TaskOption {
        name: "isolate-env",
        help: "Undoes the task's changes to the environment when it ends",
        takes: Takes::Flag(|task| task.metadata.isolate_env = true),
        unset: Some(|task| task.metadata.isolate_env = false),
        key: "isolate_env",
        value: |view| Some(json!(view.task.metadata.isolate_env)),
        lines: |view| {
            let is_isolated = view.task.metadata.isolate_env;
            when(is_isolated, "env", "its changes are undone afterwards")
        },
        ..CONTEXT
    },
    TaskOption {
        name: "prereq",
        help: "A command that must succeed first; may be repeated, and they run in order",
        takes: Takes::Texts("COMMAND", |draft, commands| {
            for (number, command) in (1..).zip(&commands) {
                check_content(command)
                    .map_err(|error| OptionError::Wrong(format!("--prereq {number}: {error}")))?;
            }
            draft.task.metadata.prerequisites = commands;
            Ok(())
        }),
        example: "make deps",
        unset: Some(|task| task.metadata.prerequisites.clear()),
        key: "prerequisites",
        value: |view| Some(json!(view.task.metadata.prerequisites)),
        lines: |view| {
            let commands = view.task.metadata.prerequisites.iter();
            commands
                .map(|command| ("prereq", command.clone()))
                .collect()
        },
        ..CONTEXT
    },
    TaskOption {
        name: "prereq-timeout",
        help: "Ends a prerequisite after this time, in whole seconds [default: 10m, see the \
               configuration]",
        takes: Takes::Seconds(|task, limit| task.metadata.prerequisite_timeout = Some(limit)),
        example: "5m",
        unset: Some(|task| task.metadata.prerequisite_timeout = None),
        key: "prereq_timeout_seconds",
        value: |view| Some(json!(view.task.metadata.prerequisite_timeout)),
        lines: |view| {
            let limit = view.task.metadata.prerequisite_timeout.iter();
            let limit = limit.map(|&limit| shown(Duration::from_secs(limit)));
            limit
                .map(|limit| ("prereq", format!("each within {limit}")))
                .collect()
        },
        ..CONTEXT
    },
];

const CONTEXT: TaskOption = TaskOption {
    topic: Topic::Context,
    ..PLAIN
};

fn check_env(name: &str, value: &str) -> Result<(), String> {
    check_variable(name, value).map_err(|error| error.to_string())
}
