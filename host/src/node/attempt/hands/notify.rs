//! Notifies a person.

use std::time::Duration;

use super::{Brief, Local};
use crate::probe;
use crate::tmux::Tmux;

/// After how long a command that notifies a person is ended.
const NOTIFY_WITHIN: Duration = Duration::from_secs(60);

impl<T: Tmux + 'static> Local<T> {
    /// Notifies a person that an agent waits, in the ways that are configured.
    pub(super) async fn tell_person(&self, brief: &Brief, question: &str) {
        if self.setup.bell
            && let Err(error) = self.tmux.clone().bell().await
        {
            tracing::debug!("cannot ring the bell: {error}");
        }
        let Some(command) = &self.setup.notify else {
            return;
        };
        // What the agent says is the value of a variable, and never part of the command.
        let told = tokio::process::Command::new("sh")
            .args(["-c", command])
            .env("ASSIGNER_TASK", brief.task.id.to_string())
            .env("ASSIGNER_SESSION", &brief.session)
            .env("ASSIGNER_QUESTION", question.replace('\0', ""))
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .process_group(0)
            .spawn();
        match told {
            // Waited for, so that no zombie process remains, and killed if it never ends.
            Ok(mut child) => {
                tokio::spawn(async move {
                    if tokio::time::timeout(NOTIFY_WITHIN, child.wait())
                        .await
                        .is_err()
                    {
                        let group = child.id();
                        group.map(|group| probe::signal_group(group, probe::EndSignal::Kill));
                        let _ = child.kill().await;
                    }
                });
            }
            Err(error) => tracing::warn!("cannot run the command of [notify]: {error}"),
        }
    }
}
