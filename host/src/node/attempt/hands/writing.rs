//! Writes a job's files, with the secrets that it asks for.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::super::post::BookedJob;
use super::super::super::script::{Keep, ScriptPlan};
use super::super::super::shell;
use super::{Brief, Local, Unwritten};
use crate::agents::payload;
use crate::model::session::Shell;
use crate::model::task::{Task, check_variable};
use crate::tmux::{PaneOutput, Pipe, Tmux, TypedLine};

impl<T: Tmux + 'static> Local<T> {
    /// Returns the values of a task's secret variables.
    pub(super) fn secrets_of(&self, task: &Task) -> Result<BTreeMap<String, String>, String> {
        let names = &task.metadata.secret_env;
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let values = task
            .secrets
            .as_deref()
            .and_then(|kept| self.secrets.values(kept))
            .ok_or_else(|| {
                format!(
                    "the secret values of {} are no longer kept: send the task again",
                    names.join(", ")
                )
            })?;
        let mut checks = values
            .iter()
            .map(|(name, value)| check_variable(name, value));
        match checks.find_map(Result::err) {
            None => Ok(values),
            Some(why) => Err(format!(
                "its secret values are damaged ({why}): send the task again"
            )),
        }
    }

    pub(super) fn write_job(
        &self,
        brief: &Brief,
        shell: Shell,
        cursor: (u32, u32),
        piped: bool,
        untold: bool,
        tells: bool,
    ) -> Result<TypedLine, Unwritten> {
        let setup = self.setup.borrow().clone();
        let secrets = self.secrets_of(&brief.task).map_err(Unwritten::Secrets)?;
        // Two daemons may watch one tmux server, so the process id is part of the mark.
        let nonce = format!("{}-{}", std::process::id(), brief.attempt);
        let output = self.spool.files(brief.attempt).output();
        let post = self.spool.post(&brief.identity);
        // If the pane is piped to a reader of ours that waits, that one reads this job, too.
        let booked = piped
            && post.book(BookedJob {
                nonce: nonce.clone(),
                limit: setup.output_limit,
                output: output.clone(),
            });
        self.waiting.borrow_mut().remove(&brief.identity);
        let keep = if piped && !booked {
            Keep::File
        } else {
            Keep::Marks(&nonce)
        };
        let integration = if setup.integrate {
            self.shells.write_integration(shell)
        } else {
            Ok(None)
        };
        // The job runs without the integration.
        let integration = integration.unwrap_or_else(|error| {
            tracing::warn!("cannot write the shell integration: {error}");
            None
        });
        let headless = brief.task.metadata.headless.as_ref().map(|headless| {
            let words = brief.task.headless_words().unwrap_or_default();
            let files = self.spool.files(brief.attempt);
            let command = shell.dialect().ask_headless(&words, &files);
            (
                command,
                payload::headless(&headless.spec, &brief.task.content),
            )
        });
        let (command, prompt) = headless.unzip();
        let plan = ScriptPlan {
            command: command.as_deref().unwrap_or(&brief.task.content),
            prompt: prompt.as_deref(),
            shell,
            integration: integration.as_deref(),
            task: &brief.task,
            secrets: &secrets,
            keep,
            tell_before: untold,
        };
        let files = self
            .spool
            .write_job(brief.attempt, &plan)
            .map_err(|error| {
                post.unbook(&output);
                Unwritten::Spool(format!(
                    "cannot write the job into the spool directory: {error}"
                ))
            })?;
        let text = |path: &Path| {
            path.to_str()
                .map(str::to_owned)
                .ok_or_else(|| Unwritten::Spool(format!("`{}` is not UTF-8", path.display())))
        };
        let to = match keep {
            Keep::File => PaneOutput::AsItIs,
            Keep::Marks(_) if booked => PaneOutput::Piped,
            Keep::Marks(nonce) => PaneOutput::To(Pipe {
                argv: vec![
                    text(&setup.program)?,
                    "capture".to_owned(),
                    "--nonce".to_owned(),
                    nonce.to_owned(),
                    "--limit".to_owned(),
                    setup.output_limit.to_string(),
                    "--post".to_owned(),
                    text(post.path())?,
                    text(&output)?,
                ],
            }),
        };
        Ok(TypedLine {
            key: tells.then_some(shell::KEY),
            identity: brief.identity.clone(),
            cursor,
            text: shell.dialect().typed_line(&files.script()),
            output: to,
        })
    }
}
