//! A task in the making: what is asked of it, by the names that the command line and a batch use.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::{Client, ClientError};
use crate::agents::Catalog;
use crate::model::directory::DirectorySight;
use crate::model::task::NewTask;
use crate::options::{self, OptionError, Sender, Wishes};
use crate::probe::look::within_blocking;

/// How long a directory may take to answer: much longer than a network directory takes.
const WITHIN: Duration = Duration::from_secs(2);

/// A task in the making; see [`Client::ask`].
#[must_use]
pub struct TaskRequest<'a> {
    client: &'a Client,
    content: String,
    wishes: Result<Wishes, OptionError>,
}

impl Client {
    /// Begins a task with this content: a command if it is asked `shell`, else a prompt. Everything
    /// else that can be asked of it is an option of `assigner send`, by the same name and with the
    /// value that it has in a line of a batch.
    ///
    /// ```
    /// # use assigner::client::Client;
    /// use serde_json::json;
    /// # fn main() -> Result<(), assigner::client::ClientError> {
    /// # let directory = tempfile::tempdir().expect("a directory");
    /// # let mut client = Client::open(directory.path())?;
    /// let task = client
    ///     .ask("make test")
    ///     .with("shell", true)
    ///     .with("branch", "dev")
    ///     .with("env", json!({"DEBUG": "1"}))
    ///     .with("timeout", "10m")
    ///     .task()?;
    /// assert_eq!(task.metadata.git_branch.as_deref(), Some("dev"));
    /// assert_eq!(task.timeout_seconds, Some(600));
    /// let id = client.queue(&task)?;
    ///
    /// let wrong = client.ask("make test").with("brunch", "dev").task();
    /// let error = wrong.expect_err("there is no such option");
    /// assert_eq!(error.to_string(), "there is no option `brunch`: is it `branch`?");
    /// # Ok(())
    /// # }
    /// ```
    pub fn ask(&self, content: impl Into<String>) -> TaskRequest<'_> {
        TaskRequest {
            client: self,
            content: content.into(),
            wishes: Ok(Wishes::default()),
        }
    }
}

impl TaskRequest<'_> {
    /// Asks for an option, with its value. [`Self::task`] says what is wrong with it.
    pub fn with(mut self, option: &str, value: impl Into<Value>) -> Self {
        self.wishes = self.wishes.and_then(|mut wishes| {
            wishes.say(option, value.into())?;
            Ok(wishes)
        });
        self
    }

    /// Returns the task, to be queued. The values of `secret-env` are taken from the environment and
    /// kept in the data directory.
    ///
    /// # Errors
    /// There is no such option, or its value is wrong, or options contradict each other; or the
    /// directory does not answer. The message says what to do.
    pub fn task(self) -> Result<NewTask, ClientError> {
        let sender = Sender {
            profiles: &self.client.profiles,
            headless: Catalog::headless,
            usually_headless: &[],
            secrets: &self.client.secrets,
            look: sight,
            lines: None,
        };
        let mut task = NewTask::prompt("");
        self.wishes?
            .apply(Some(&self.content), &mut task, &sender)?;
        if let Err(error) = options::look_at_place(&mut task, sight) {
            options::forget([&task], &self.client.secrets);
            return Err(error.into());
        }
        Ok(task)
    }
}

fn sight(path: &Path) -> Result<DirectorySight, String> {
    let looked = path.to_owned();
    let seen = within_blocking(path, WITHIN, move || DirectorySight::of(&looked));
    seen.ok_or_else(|| {
        format!(
            "the directory `{}` has not answered for {} s: is its file system there?",
            path.display(),
            WITHIN.as_secs()
        )
    })
}
