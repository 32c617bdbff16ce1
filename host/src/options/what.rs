//! What is to be run, and by what.

use serde_json::json;

use super::{PLAIN, Takes, TaskOption, Topic};
use crate::model::session::Shell;
use crate::model::task::Kind;
use crate::model::text::alternatives;

pub(super) const OPTIONS: &[TaskOption] = &[
    TaskOption {
        name: "shell",
        help: "Runs it as a command in a shell: in any, or with `=bash`, `=zsh`, `=fish` or `=dash` \
               in one of that kind",
        takes: Takes::MaybeText("SHELL", shell, |task, name| {
            task.kind = Kind::Command;
            task.metadata.shell = name.and_then(Shell::from_program);
        }),
        example: "sh",
        key: "shell",
        value: |view| Some(json!(view.task.metadata.shell.map(Shell::name))),
        lines: |view| {
            let shell = view.task.metadata.shell.iter();
            shell
                .map(|shell| ("shell", shell.name().to_owned()))
                .collect()
        },
        ..WHAT
    },
    TaskOption {
        name: "headless",
        help: "Asks the agent of --provider in a shell, without a terminal of its own: for agents \
               whose profile says how",
        // `way` writes it into the task, before anything else.
        takes: Takes::YesOrNo(
            "Asks the agent in its session, even if the configuration lists it under `headless`",
        ),
        key: "headless",
        value: |view| {
            let headless = view.task.metadata.headless.as_ref();
            Some(json!(headless.map(|headless| &headless.provider)))
        },
        lines: |view| {
            let headless = view.task.metadata.headless.iter();
            let line = headless.map(|headless| {
                let name = view
                    .conversation
                    .map(|conversation| conversation.name.as_str());
                let words = headless.spec.words(name).join(" ");
                ("headless", format!("{}, by `{words}`", headless.provider))
            });
            line.collect()
        },
        ..WHAT
    },
];

const WHAT: TaskOption = TaskOption {
    topic: Topic::What,
    ..PLAIN
};

/// Checks the name of a shell.
fn shell(name: &str) -> Result<(), String> {
    match Shell::from_program(name) {
        Some(_) => Ok(()),
        None => {
            let names: Vec<&str> = Shell::ALL.iter().map(|shell| shell.name()).collect();
            Err(format!("it may be {}", alternatives(&names)))
        }
    }
}
