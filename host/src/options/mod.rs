//! What can be asked of a task, each thing described once: how it is said, what it changes in the
//! task, how it is taken back, and how it is shown. An option stands in the file of its topic.
//!
//! ```text
//! TaskOption -> flags of `send` and `edit`, completions      cli/flags
//!            -> keys of a batch line                         cli/batch
//!            -> `edit --unset`, the words of the history     cli/edit
//!            -> the library's builder                        client
//!            -> `show` and the JSON of a task                cli/show
//!            -> the changes that `explain` suggests          matcher/explain
//! ```
//!
//! Whoever says it, a value has the form that it has in a batch line: JSON.

mod context;
mod draft;
mod order;
mod place;
mod secrets;
mod selection;
mod takes;
mod way;
mod what;
mod wishes;

use serde_json::Value;
use similar::get_close_matches;
use thiserror::Error;

use crate::model::headless::HeadlessConversation;
use crate::model::task::{NewTask, Task};
use crate::store::{ParentRow, SessionRow, StoreError};

pub use draft::{Sender, TaskDraft};
pub use place::{absolute, is_of_place, look_at_place};
pub use secrets::{forget, secret_values};
pub use selection::check_label;
pub use takes::{Takes, at, delay, pair};
pub use wishes::Wishes;

/// Why a task cannot be asked for in this way.
#[derive(Debug, Error)]
pub enum OptionError {
    /// What is asked for is wrong: one line that says what it is, and what to do.
    #[error("{0}")]
    Wrong(String),
    /// It could not be found out or done: one line that says why.
    #[error("{0}")]
    Failed(String),
    /// The values of secret variables could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OptionError {
    fn wrong(message: impl Into<String>) -> Self {
        Self::Wrong(message.into())
    }
}

/// What an option is about; the options of `--help` stand below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// What is to be run, and by what.
    What,
    /// Where, and with what around it.
    Context,
    /// Which sessions may run it.
    Selection,
    /// When, and how often.
    Order,
}

impl Topic {
    /// Returns the heading of its options; `None`: that of all other options of the command.
    pub fn heading(self) -> Option<&'static str> {
        match self {
            Self::What => None,
            Self::Context => Some("Context"),
            Self::Selection => Some("Selection"),
            Self::Order => Some("Order and time"),
        }
    }
}

/// Something that can be asked of a task.
#[derive(Debug)]
pub struct TaskOption {
    /// Its one name: the long flag, the key of a batch line (also with `_`), the word in the
    /// history, and what `edit --unset` takes.
    pub name: &'static str,
    /// Its short flag.
    pub short: Option<char>,
    /// Further names, which the command line and a batch also take.
    pub aliases: &'static [&'static str],
    /// Further keys of a batch line.
    pub keys: &'static [&'static str],
    /// What it is about.
    pub topic: Topic,
    /// What it does, for `--help` and the README.
    pub help: &'static str,
    /// Which values it takes, and what they change in a task.
    pub takes: Takes,
    /// A value, as on the command line; empty if it takes none.
    pub example: &'static str,
    /// The other options one of which must be asked as well, and how to say so.
    pub needs: Option<(&'static [&'static str], &'static str)>,
    /// Takes it back; `None` if that makes no sense.
    pub unset: Option<fn(&mut NewTask)>,
    /// The key of its value in the JSON of a task; `context.x` is the key `x` of `context`.
    pub key: &'static str,
    /// Its value in the JSON of a task; null, false or empty if it is not asked. `None` if the view
    /// does not show it.
    pub value: fn(&TaskView<'_>) -> Option<Value>,
    /// What `show` says of it, line by line, each below a heading.
    pub lines: fn(&TaskView<'_>) -> Vec<(&'static str, String)>,
}

/// What most options have in common: nothing further.
const PLAIN: TaskOption = TaskOption {
    name: "",
    short: None,
    aliases: &[],
    keys: &[],
    topic: Topic::What,
    help: "",
    takes: Takes::Flag(|_| {}),
    example: "",
    needs: None,
    unset: None,
    key: "",
    value: |_| None,
    lines: |_| Vec::new(),
};

/// A task, as far as its options show something of it.
#[derive(Debug)]
pub struct TaskView<'a> {
    /// What is asked of it.
    pub task: NewTask,
    /// The conversation that it continues.
    pub conversation: Option<&'a HeadlessConversation>,
    /// The sessions of now.
    pub rows: &'a [SessionRow],
    /// The tasks that it follows; `None`: they were not read.
    pub parents: Option<&'a [ParentRow]>,
}

impl<'a> TaskView<'a> {
    /// Returns the view of a task. `parents` are the tasks that it follows, if they were read.
    pub fn of(task: &'a Task, rows: &'a [SessionRow], parents: Option<&'a [ParentRow]>) -> Self {
        Self {
            task: task.as_new(),
            conversation: task.conversation.as_ref(),
            rows,
            parents,
        }
    }
}

impl TaskOption {
    /// Says it without a value, if it can be said so.
    pub fn say(&self, task: &mut NewTask) {
        match self.takes {
            Takes::Flag(set) => set(task),
            Takes::MaybeText(_, _, set) => set(task, None),
            _ => {}
        }
    }

    /// Whether it is asked of a task.
    pub fn is_asked(&self, view: &TaskView<'_>) -> bool {
        (self.value)(view).is_some_and(|value| !is_nothing(&value))
    }

    fn is_called(&self, name: &str) -> bool {
        let further = self.aliases.iter().chain(self.keys);
        self.name == name || further.copied().any(|other| other == name)
    }
}

/// Whether a value asks for nothing.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(pairs) => pairs.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Returns all options, in the order in which `--help` shows them and tasks are given them.
pub fn all() -> impl Iterator<Item = &'static TaskOption> {
    [
        what::OPTIONS,
        context::OPTIONS,
        selection::OPTIONS,
        order::OPTIONS,
    ]
    .into_iter()
    .flatten()
}

/// Returns the option with that name, written with `-` or `_`.
pub fn find(name: &str) -> Option<&'static TaskOption> {
    let name = name.replace('_', "-");
    all().find(|option| option.is_called(&name))
}

/// Says that there is no such option among these names, and what was probably meant.
pub fn unknown<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let written = name.replace('_', "-");
    match get_close_matches(written.as_str(), &names, 1, 0.7).first() {
        Some(near) => format!("there is no option `{name}`: is it `{near}`?"),
        None => format!(
            "there is no option `{name}`: it may be {}",
            names.join(", ")
        ),
    }
}

/// Refuses an empty name.
fn not_blank(option: &str, value: &str) -> Result<String, OptionError> {
    if value.trim().is_empty() {
        return Err(OptionError::Wrong(format!(
            "--{option} is empty: leave it out or name one"
        )));
    }
    Ok(value.to_owned())
}

/// Returns this line if what it says is asked.
fn when(asked: bool, heading: &'static str, line: &str) -> Vec<(&'static str, String)> {
    asked
        .then(|| (heading, line.to_owned()))
        .into_iter()
        .collect()
}

/// Returns the lines of pairs.
fn pairs<'a>(
    heading: &'static str,
    pairs: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Vec<(&'static str, String)> {
    let pairs = pairs.into_iter();
    pairs
        .map(|(name, value)| (heading, format!("{name}={value}")))
        .collect()
}

#[cfg(test)]
mod tests;
