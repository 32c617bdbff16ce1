//! A job that its shell has: it runs, and ends by itself or because it is told to.

use std::time::Duration;

use super::super::super::script::ScriptStep;
use super::super::describe::{describe, dropped, unprepared, wrong_branch};
use super::{
    Act, Done, EndCause, EndTelling, Ending, Files, Job, JobState, Leaves, Next, OUTPUT_LOOK,
    OUTPUT_WITHIN, Observation, OutputSource, PATIENCE, PaneSight, Presence, RunningJob, Sight,
    TWICE, back_within, end_now,
};
use crate::model::clock::Now;
use crate::model::session::Shell;
use crate::model::task::{Event, Outcome};
use crate::probe::{self, LineEditor};
use crate::store::Request;

impl Job {
    pub(super) fn running(
        &self,
        mut running: RunningJob,
        seen: &Observation,
        now: Now,
    ) -> (JobState, Next) {
        let Some(files) = &seen.files else {
            return (JobState::Running(running), Next::again(TWICE));
        };
        running.note_step(files, now);
        let pane = seen.sight.as_ref().and_then(Sight::pane);
        if let Some(code) = files.exit {
            let since = *running.exit_seen.get_or_insert(now.tick);
            // If nothing reads the pane any more, no more output will come.
            let unread = seen.sight.as_ref().is_some_and(|sight| sight.at > since)
                && pane.is_some_and(|pane| !pane.piped);
            let waits = !files.output_whole && !unread;
            if waits && now.tick.since(since) < OUTPUT_WITHIN {
                return (JobState::Running(running), Next::at_own(OUTPUT_LOOK));
            }
            return self.exited(running, code, files.stopped);
        }
        // A look from before the job began says nothing about it.
        let fresh = seen
            .sight
            .as_ref()
            .filter(|sight| sight.at >= running.since);
        match fresh.map(|sight| &sight.pane) {
            Some(Presence::Missing { lives: false }) => {
                let reason = "its shell is gone and has left no exit code: the session was closed, \
                              or the command had replaced the shell (`exec`) and ended";
                end_now(self.ended_without_code(running, files, None, reason.to_owned()))
            }
            // An unseen session has not necessarily ended: the command may have replaced the shell,
            // or another server is being watched now. A job that may still run is not tried
            // elsewhere.
            Some(Presence::Missing { lives: true }) | None => {
                self.end_where_asked(running, seen, None, now)
            }
            Some(Presence::Here(pane)) => {
                let Some(within) = back_within(files, pane) else {
                    running.prompt_seen = None;
                    return self.end_where_asked(running, seen, pane.foreground, now);
                };
                let sight = fresh.map_or(now.tick, |sight| sight.at);
                let first = *running.prompt_seen.get_or_insert(sight);
                if sight.since(first) < within {
                    return (JobState::Running(running), Next::again(TWICE));
                }
                self.dropped(running, files, pane)
            }
        }
    }

    /// The job has left an exit code.
    fn exited(&self, running: RunningJob, code: i32, stopped: bool) -> (JobState, Next) {
        // This is needed even if the reader has ended: tmux notices that only at the pane's next
        // output, and until then the pane would seem to be piped.
        let close = Act::CloseReader;
        let step = running.step.map(|(step, _)| step);
        if let Some(step) = step.filter(|step| *step != ScriptStep::Command) {
            let state = JobState::Failing {
                running,
                step,
                code,
            };
            return (state, Next::act([close, Act::ReadPreparation]));
        }
        let end = if stopped && running.telling.is_none() {
            // It may be continued, and end later; that end will not be seen.
            let reason = "a part of its command is stopped (Ctrl-Z, or it used the terminal from \
                          the background) and has not ended: run `fg` in its pane to continue it";
            Ending {
                output: OutputSource::Files,
                ..Ending::new(Outcome::Uncertain, Event::Lose).because(reason.to_owned())
            }
        } else if code == 0 {
            Ending {
                exit_code: Some(code),
                output: OutputSource::Files,
                ..Ending::new(Outcome::Completed, Event::Complete)
            }
        } else {
            Ending {
                exit_code: Some(code),
                ..self.ended_by(running, format!("the command exited with code {code}"))
            }
        };
        let end = Ending {
            leaves: Leaves::Variables,
            ..end
        };
        (JobState::Ended, Next::act([close, Act::End(Box::new(end))]))
    }

    /// A step before the command has failed.
    pub(super) fn failed_before(
        &self,
        running: RunningJob,
        step: ScriptStep,
        code: i32,
        seen: &Observation,
    ) -> (JobState, Next) {
        let Some(Done::Preparation {
            lines,
            stands,
            branch,
        }) = &seen.done
        else {
            let state = JobState::Failing {
                running,
                step,
                code,
            };
            return (state, Next::wait());
        };
        let reason = if step == ScriptStep::Branch {
            let required = self.brief.task.metadata.git_branch.as_deref();
            wrong_branch(stands, required.unwrap_or_default(), branch)
        } else {
            unprepared(&self.brief, step, code, lines)
        };
        end_now(Ending {
            leaves: Leaves::Variables,
            ..self.ended_by(running, reason)
        })
    }

    /// The shell is back at its prompt, and the job has left no code.
    fn dropped(&self, running: RunningJob, files: &Files, pane: &PaneSight) -> (JobState, Next) {
        let metadata = &self.brief.task.metadata;
        let undoes = !metadata.secret_env.is_empty()
            || (metadata.isolate_env
                && (pane.shell).is_some_and(|shell| shell.dialect().restores_variables()));
        let end = Ending {
            leaves: if undoes {
                Leaves::Unclean
            } else {
                Leaves::Nothing
            },
            ..self.ended_without_code(running, files, pane.shell, dropped(&self.brief, files))
        };
        let acts = [Act::CloseReader, Act::CutPrompt, Act::End(Box::new(end))];
        (JobState::Ended, Next::act(acts))
    }

    /// Returns the end of a try that has left no code. It has failed if it was still at a step before
    /// the command, or if its line was interrupted: it ended with a failure, and the mark that follows
    /// the command was not printed. Otherwise it is not known how the command ended, and it is not run
    /// again. A step that cannot be read proves nothing.
    fn ended_without_code(
        &self,
        running: RunningJob,
        files: &Files,
        shell: Option<Shell>,
        reason: String,
    ) -> Ending {
        let is_before = files
            .step
            .is_some_and(|(step, _)| step != ScriptStep::Command);
        let failed = match files.back {
            _ if files.marked || files.exit_empty || files.step.is_none() => false,
            Some(code) => code != 0,
            // For this shell, the kernel shows exactly when it reads a line of its own. That
            // happens early only after Ctrl-C or a syntax error.
            None => {
                let editor = shell.map(|shell| shell.dialect().line_editor());
                editor == Some(LineEditor::Terminal)
            }
        };
        if is_before || failed || running.telling.is_some() {
            return self.ended_by(running, reason);
        }
        Ending {
            output: OutputSource::Files,
            ..Ending::new(Outcome::Uncertain, Event::Lose).because(reason)
        }
    }

    /// Tells a job to end if its time is over or a person asked for it: by Ctrl-C, then by signals.
    fn end_where_asked(
        &self,
        mut running: RunningJob,
        seen: &Observation,
        foreground: Option<u32>,
        now: Now,
    ) -> (JobState, Next) {
        let asked = match &seen.request {
            Some(Request::Cancel) => Some(EndCause::Cancelled),
            Some(Request::Reassign(_)) => Some(EndCause::Reassigned),
            None => None,
        };
        match &mut running.telling {
            // A cancellation replaces any earlier reason.
            Some(telling) if asked == Some(EndCause::Cancelled) => {
                telling.cause = EndCause::Cancelled;
            }
            Some(_) => {}
            None => {
                let cause = asked.or_else(|| self.overdue(&running, now));
                running.telling = cause.map(|cause| EndTelling {
                    cause,
                    told: 0,
                    last: None,
                });
            }
        }
        let Some(telling) = &mut running.telling else {
            return (JobState::Running(running), Next::wait());
        };
        let mut acts = Vec::new();
        if telling
            .last
            .is_none_or(|last| now.tick.since(last) >= PATIENCE)
        {
            acts.push(match (telling.told, foreground) {
                (0 | 1, _) | (_, None) => Act::Interrupt,
                (2, Some(group)) => Act::Signal(group, probe::EndSignal::Terminate),
                (_, Some(group)) => Act::Signal(group, probe::EndSignal::Kill),
            });
            telling.told += 1;
            telling.last = Some(now.tick);
        }
        let next = Next {
            acts,
            again: Some(TWICE),
            anew: true,
        };
        (JobState::Running(running), next)
    }

    /// Returns what takes longer than allowed: the command, or a step before it.
    fn overdue(&self, running: &RunningJob, now: Now) -> Option<EndCause> {
        // Each step has its own limit. If no step has been recorded yet, the first began with the
        // job.
        let (step, since) = running
            .step
            .unwrap_or((ScriptStep::Directory, running.since));
        let task = &self.brief.task;
        let limit = match step {
            ScriptStep::Command => {
                let seconds = task.timeout_seconds.filter(|&seconds| seconds > 0)?;
                Duration::from_secs(seconds)
            }
            _ => match task.metadata.prerequisite_timeout {
                Some(seconds) => Duration::from_secs(seconds),
                None => self.rules.prerequisite_within,
            },
        };
        let over = now.tick.since(since) >= limit;
        over.then_some(EndCause::TimedOut { step, limit })
    }

    /// Returns the end of a try that failed, or that was told to end.
    pub(super) fn ended_by(&self, running: RunningJob, reason: String) -> Ending {
        let end = match running.telling.map(|telling| telling.cause) {
            Some(EndCause::Cancelled) => Ending::new(Outcome::Cancelled, Event::Cancel)
                .because("cancelled by a person; its command was interrupted"),
            Some(EndCause::Reassigned) => Ending::new(Outcome::Reassigned, Event::Return)
                .because("given to another session by a person; its command was interrupted"),
            Some(EndCause::TimedOut { step, limit }) => {
                let limit = limit.as_secs_f64();
                let reason = match step {
                    ScriptStep::Command => {
                        format!("took longer than {limit} s; its command was interrupted")
                    }
                    step => format!(
                        "{} took longer than {limit} s and was interrupted",
                        describe(&self.brief, step)
                    ),
                };
                Ending::failed(&self.brief, Outcome::TimedOut).because(reason)
            }
            None => self.failed(reason),
        };
        Ending {
            output: OutputSource::Files,
            ..end
        }
    }
}
