//! What is to happen in `top`: nothing but commands of ours.

use super::state::Mode;
use crate::model::ids::{Identity, TaskId};

/// What is to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TopAct {
    /// This program ends.
    Quit,
    /// A command of ours, of which the last line is shown.
    Run(OwnCommand),
    /// A command of ours that has the screen to itself meanwhile.
    Leave(OwnCommand),
    /// A command of ours, whose output is to be read.
    Read(String, OwnCommand),
    /// The page of a task.
    Open(TaskId),
    /// The sessions to which a task could be given, with their points.
    Choose(TaskId),
    /// What is seen of a session, by its name, for its page.
    Examine(Identity, String),
}

/// What is to be done with what a command of ours has printed.
#[derive(Debug)]
pub(super) enum TopNext {
    /// Its last line is shown; if it failed, what was written for it can be written again.
    Tell(Option<Mode>),
    /// It is to be read, under this title.
    Read(String),
    /// A session is to be chosen from it.
    Offer(TaskId),
    /// It belongs on the page of a session.
    Examined(Identity),
}

/// A command line of ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OwnCommand {
    pub(super) words: Vec<String>,
    /// What it reads from standard input.
    pub(super) input: String,
}

impl OwnCommand {
    pub(super) fn new(words: &[&str]) -> Self {
        Self {
            words: words.iter().map(|&word| word.to_owned()).collect(),
            input: String::new(),
        }
    }

    /// Returns what stands for it on the screen: what it does, and to what.
    pub(super) fn name(&self) -> String {
        let words = self.words.iter().map(String::as_str);
        let said: Vec<&str> = words.filter(|word| !word.starts_with('-')).collect();
        said.join(" ")
    }

    fn reading(words: &[&str], input: &str) -> Self {
        Self {
            input: input.to_owned(),
            ..Self::new(words)
        }
    }
}

/// What a line of text that is being written is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    Reply(TaskId),
    Priority(TaskId),
    Content(TaskId),
    Label(String),
}

impl Purpose {
    /// Returns what stands before the text.
    pub(super) fn prompt(&self) -> String {
        match self {
            Self::Reply(id) => format!("reply to task {id}"),
            Self::Priority(id) => format!("priority of task {id}"),
            Self::Content(id) => format!("task {id} is to be"),
            Self::Label(session) => format!("label {session} with NAME=VALUE"),
        }
    }
}

/// A session to which a task could be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) session: String,
    /// Its points, and what they consist of, or why there are none.
    pub(super) points: String,
}

/// Returns what is to happen with a line of text.
pub(super) fn written(purpose: &Purpose, text: &str) -> Option<TopAct> {
    if text.trim().is_empty() {
        return None;
    }
    let command = match purpose {
        Purpose::Reply(id) => OwnCommand::reading(&["reply", &id.to_string(), "-"], text),
        Purpose::Priority(id) => {
            let flag = format!("--priority={}", text.trim());
            OwnCommand::new(&["edit", &id.to_string(), &flag])
        }
        Purpose::Content(id) => {
            let flag = format!("--content={text}");
            OwnCommand::new(&["edit", &id.to_string(), &flag])
        }
        Purpose::Label(session) => OwnCommand::new(&["label", "--", session, text.trim()]),
    };
    Some(TopAct::Run(command))
}
