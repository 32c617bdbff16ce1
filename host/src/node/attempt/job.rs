//! A job: an attempt in a shell.
//!
//! ```text
//! Claimed -> Looking -> Writing -> Written -> Typing -> Delivered -> Running -> Ended
//!                                                           |           |
//!                                                      Withdrawing   Failing
//! ```
//!
//! The shell takes the job up by creating a file that only one side can create, so the machine
//! always knows whether a job may have run. It waits for a job that the shell has, and withdraws
//! one that the shell does not have before it gives it up.

mod running;

use std::time::Duration;

use super::super::script::ScriptStep;
use super::super::shell::ShellAnswer;
use super::super::spool::Taken;
use super::describe::check;
use super::{
    Act, Brief, Done, Ending, Files, HOLD, Leaves, Next, Note, Observation, OutputSource,
    PaneSight, Presence, Rules, Sight, UNRESPONSIVE, Unwritten, Wants,
};
use crate::model::clock::{Now, Tick};
use crate::model::task::{Event, Outcome, Phase};
use crate::store::{OpenAttempt, Request};
use crate::tmux::{Refusal, Typed, TypedLine};

/// A shell that is at its prompt and left no code has dropped the job once it was seen in this
/// state twice, this far apart: right after a job, its last write may not have reached us.
const TWICE: Duration = Duration::from_millis(50);

/// How often a line is typed anew if the cursor has moved since the look, and how long after.
const MOVES: u32 = 2;
const MOVES_FOR: Duration = Duration::from_millis(5);

/// How long a shell must say that it is at its prompt if nothing else shows that its job has ended.
const UNTOLD: Duration = Duration::from_secs(2);

/// How long the output may arrive after the exit code, through the tmux server and the reader.
const OUTPUT_WITHIN: Duration = Duration::from_secs(5);

/// How often the answer of a shell that was asked is looked for, and for how long at that rate.
const ANSWER_LOOK: Duration = Duration::from_millis(20);
const ANSWERS: Duration = Duration::from_secs(2);

/// How often the output is looked for after the exit code has appeared.
const OUTPUT_LOOK: Duration = Duration::from_millis(10);

/// How long to wait after a job was told to end before it is told again.
const PATIENCE: Duration = Duration::from_secs(3);

/// A line is typed only into a session that was seen ready this recently. A look from before
/// waiting for a directory proves nothing.
const FRESH: Duration = Duration::from_secs(1);

/// An attempt in a shell.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    brief: Brief,
    rules: Rules,
    state: JobState,
}

/// How far the attempt has come.
#[derive(Debug, Clone)]
enum JobState {
    /// Its session is reserved; if `resumed`, by a daemon that has ended.
    Claimed { resumed: bool },
    /// Its directory is being checked.
    Looking,
    /// Its files are being written.
    Writing,
    /// They are written, and nothing has been typed.
    Written { line: TypedLine, moved: Moved },
    /// The line is being typed.
    Typing { line: TypedLine, moved: Moved },
    /// The line was typed, or may have been.
    Delivered(Delivered),
    /// The job is being withdrawn, for this reason.
    Withdrawing { since: Tick, cause: Cause },
    /// Its shell has it.
    Running(RunningJob),
    /// A step before the command has failed, and its output is being read.
    Failing {
        running: RunningJob,
        step: ScriptStep,
        code: i32,
    },
    /// Nothing more happens.
    Ended,
}

/// How often the cursor has moved between the last look and the typing, and when that was last refused.
#[derive(Debug, Clone, Copy, Default)]
struct Moved {
    times: u32,
    at: Option<Tick>,
}

/// Why a job is withdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// A person cancelled the task.
    Cancelled,
    /// A person wants it in another session.
    Reassigned,
    /// Its session is gone.
    Gone,
    /// Its shell did not take it up in time.
    Late,
    /// The daemon that typed it has ended.
    Resumed,
    /// Its shell says why it does not take the job up.
    Declined(&'static str),
}

/// A line that was typed, or may have been.
#[derive(Debug, Clone, Copy)]
struct Delivered {
    since: Tick,
    /// Whether a daemon that has ended typed it.
    resumed: bool,
    /// Whether the shell was asked by its key; it then always responds.
    asked: bool,
}

/// What is known about a running job.
#[derive(Debug, Clone, Copy)]
struct RunningJob {
    /// When its shell took it up.
    since: Tick,
    /// The step that it has reached, and since when.
    step: Option<(ScriptStep, Tick)>,
    /// When the exit code was first seen.
    exit_seen: Option<Tick>,
    /// When its shell was first seen at its prompt without an exit code.
    prompt_seen: Option<Tick>,
    /// How it is being told to end.
    telling: Option<EndTelling>,
}

/// A job is told to end, with increasing force.
#[derive(Debug, Clone, Copy)]
struct EndTelling {
    cause: EndCause,
    /// How often it was told, and when last.
    told: u32,
    last: Option<Tick>,
}

/// Why a running job is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EndCause {
    /// A person cancelled the task.
    Cancelled,
    /// A person wants it in another session.
    Reassigned,
    /// The command, or a step before it, takes longer than allowed.
    TimedOut { step: ScriptStep, limit: Duration },
}

impl RunningJob {
    fn new(since: Tick) -> Self {
        Self {
            since,
            step: None,
            exit_seen: None,
            prompt_seen: None,
            telling: None,
        }
    }
}

impl Job {
    /// Returns the machine of an attempt that was claimed just now.
    pub(crate) fn new(brief: Brief, rules: Rules) -> Self {
        Self {
            brief,
            rules,
            state: JobState::Claimed { resumed: false },
        }
    }

    /// Returns the machine of an attempt that an earlier daemon began, rebuilt from its row.
    pub(crate) fn resume(open: OpenAttempt, rules: Rules, now: Now) -> Self {
        // Only the wall clock can tell how long it has run.
        let begun = |at: Option<jiff::Timestamp>| {
            let ago = at.map(|at| now.wall.duration_since(at));
            let ago = ago.and_then(|ago| Duration::try_from(ago).ok());
            now.tick - ago.unwrap_or_default()
        };
        let state = match open.phase {
            Phase::Claimed => JobState::Claimed { resumed: true },
            Phase::Delivering | Phase::Submitted => JobState::Delivered(Delivered {
                since: begun(open.delivered_at),
                resumed: true,
                asked: false,
            }),
            Phase::Running => JobState::Running(RunningJob::new(begun(
                open.started_at.or(open.delivered_at),
            ))),
            Phase::Ended => JobState::Ended,
        };
        Self {
            brief: Brief {
                attempt: open.id,
                task: open.task,
                session: open.session,
                identity: open.identity,
            },
            rules,
            state,
        }
    }

    /// Returns what the attempt is about.
    pub(crate) fn brief(&self) -> &Brief {
        &self.brief
    }

    /// Whether nothing more happens.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state, JobState::Ended)
    }

    /// Returns what must be looked at before the next step.
    pub(crate) fn wants(&self) -> Wants {
        let files = matches!(
            self.state,
            JobState::Delivered { .. }
                | JobState::Withdrawing { .. }
                | JobState::Running(_)
                | JobState::Failing { .. }
        );
        Wants {
            files,
            ..Wants::default()
        }
    }

    /// Takes the attempt one step further.
    pub(crate) fn step(mut self, seen: &Observation, now: Now) -> (Self, Next) {
        if seen.sight.is_none() {
            // Nothing is decided before the first look at the sessions.
            return (self, Next::wait());
        }
        let state = std::mem::replace(&mut self.state, JobState::Ended);
        let (state, next) = match state {
            JobState::Claimed { resumed: true } => {
                let reason = "the daemon ended before anything was typed";
                let end = match seen.request {
                    Some(Request::Cancel) => Ending::new(Outcome::Cancelled, Event::Cancel),
                    _ => Ending::new(Outcome::Withdrawn, Event::Withdraw),
                };
                end_now(end.because(reason))
            }
            JobState::Claimed { resumed: false } => self.claimed(seen),
            JobState::Looking => self.looked(seen),
            JobState::Writing => self.written(seen),
            JobState::Written { line, moved } => self.type_line(line, moved, seen, now),
            JobState::Typing { line, moved } => self.typed(line, moved, seen, now),
            JobState::Delivered(delivered) => self.delivered(delivered, seen, now),
            JobState::Withdrawing { since, cause } => self.withdrawn(since, cause, seen),
            JobState::Running(running) => self.running(running, seen, now),
            JobState::Failing {
                running,
                step,
                code,
            } => self.failed_before(running, step, code, seen),
            JobState::Ended => (JobState::Ended, Next::wait()),
        };
        self.state = state;
        (self, next)
    }

    fn claimed(&self, seen: &Observation) -> (JobState, Next) {
        if let Some(end) = asked_to_end(seen) {
            return end_now(end);
        }
        if let Err(reason) = check(&self.brief.task) {
            return end_now(self.failed(reason));
        }
        let Some(pane) = seen.sight.as_ref().and_then(Sight::pane) else {
            return self.refused("its session is gone".to_owned());
        };
        let look = Act::LookAtPlace {
            stands: pane.directory.clone(),
        };
        (JobState::Looking, Next::act([look]))
    }

    fn looked(&self, seen: &Observation) -> (JobState, Next) {
        if let Some(end) = asked_to_end(seen) {
            return end_now(end);
        }
        match &seen.done {
            Some(Done::Place(Ok(_))) => {}
            Some(Done::Place(Err(reason))) => return end_now(self.failed(reason.clone())),
            _ => return (JobState::Looking, Next::wait()),
        }
        let Some(pane) = seen.sight.as_ref().and_then(Sight::pane) else {
            return self.refused("its session is gone".to_owned());
        };
        let Some(shell) = pane.shell else {
            return self.refused("it is no longer a shell".to_owned());
        };
        let write = Act::WriteJob {
            shell,
            cursor: pane.cursor,
            piped: pane.piped,
            untold: pane.untold,
            tells: pane.tells,
        };
        (JobState::Writing, Next::act([write]))
    }

    fn written(&self, seen: &Observation) -> (JobState, Next) {
        match &seen.done {
            Some(Done::Written(Ok(line))) => {
                let line = line.clone();
                let moved = Moved::default();
                (
                    JobState::Written { line, moved },
                    Next::at_own(Duration::ZERO),
                )
            }
            Some(Done::Written(Err(Unwritten::Secrets(reason)))) => {
                end_now(self.failed(reason.clone()))
            }
            Some(Done::Written(Err(Unwritten::Spool(reason)))) => self.refused(reason.clone()),
            _ => (JobState::Writing, Next::wait()),
        }
    }

    /// Types the line if the session was seen ready a moment ago. tmux checks in the same step that
    /// nothing has changed.
    fn type_line(
        &self,
        line: TypedLine,
        moved: Moved,
        seen: &Observation,
        now: Now,
    ) -> (JobState, Next) {
        if let Some(end) = asked_to_end(seen) {
            return end_now(end);
        }
        let Some(sight) = seen.sight.as_ref() else {
            return (JobState::Written { line, moved }, Next::again(TWICE));
        };
        let Some(pane) = sight.pane() else {
            return self.refused("its session is gone".to_owned());
        };
        if now.tick.since(sight.at) > FRESH || moved.at.is_some_and(|at| sight.at <= at) {
            return (JobState::Written { line, moved }, Next::again(TWICE));
        }
        if !pane.idle {
            return self.refused("it is no longer free".to_owned());
        }
        if line.key.is_some() != pane.tells {
            return self.refused("its shell reports its line differently than before".to_owned());
        }
        let line = TypedLine {
            cursor: pane.cursor,
            ..line
        };
        // Committed before the first byte goes to the pane.
        let delivering = Act::Advance {
            phase: Phase::Delivering,
            details: format!("into pane {}", self.brief.identity.pane),
        };
        let type_it = Act::Type(line.clone());
        let acts = match moved.times {
            0 => vec![delivering, Act::Tell(Note::Typed), type_it],
            _ => vec![type_it],
        };
        (JobState::Typing { line, moved }, Next::act(acts))
    }

    fn typed(
        &self,
        line: TypedLine,
        moved: Moved,
        seen: &Observation,
        now: Now,
    ) -> (JobState, Next) {
        let asked = line.key.is_some();
        let delivered = JobState::Delivered(Delivered {
            since: now.tick,
            resumed: false,
            asked,
        });
        match &seen.done {
            // A shell reports its prompt before it draws it: then it stands still in a moment.
            Some(Done::Typed(Typed::Refused(Refusal::CursorMoved))) if moved.times < MOVES => {
                let moved = Moved {
                    times: moved.times + 1,
                    at: Some(now.tick),
                };
                (JobState::Written { line, moved }, Next::again(MOVES_FOR))
            }
            Some(Done::Typed(Typed::Refused(refusal))) => self.refused(refusal.to_string()),
            // If it is not known whether the line was typed, the claim file shows whether the shell
            // has the job.
            Some(Done::Typed(Typed::Done | Typed::Unknown(_))) => (delivered, answers(asked)),
            _ => (JobState::Typing { line, moved }, Next::wait()),
        }
    }

    /// The line was typed, or may have been, but no shell has been seen to take the job up.
    fn delivered(&self, delivered: Delivered, seen: &Observation, now: Now) -> (JobState, Next) {
        let here = JobState::Delivered(delivered);
        let Delivered {
            since,
            resumed,
            asked,
        } = delivered;
        let Some(files) = &seen.files else {
            return (here, Next::again(TWICE));
        };
        if files.taken == Some(Taken::ByShell) {
            let start = Act::Advance {
                phase: Phase::Running,
                details: "picked up by the shell".to_owned(),
            };
            let running = RunningJob::new(now.tick);
            return (JobState::Running(running), Next::act([start]));
        }
        if resumed && !files.script {
            let reason =
                "its files in the spool directory are gone, so it cannot be known whether it ran";
            return self.uncertain(reason.to_owned());
        }
        let gone = seen.sight.as_ref().is_some_and(|sight| {
            sight.at > since && matches!(sight.pane, Presence::Missing { .. })
        });
        let declined = files.said.filter(|_| asked).and_then(ShellAnswer::refusal);
        let waits = now.tick.since(since);
        let cause = match (&seen.request, declined) {
            (Some(Request::Cancel), _) => Cause::Cancelled,
            (Some(Request::Reassign(_)), _) => Cause::Reassigned,
            (None, Some(why)) => Cause::Declined(why),
            (None, None) if resumed => Cause::Resumed,
            (None, None) if gone => Cause::Gone,
            (None, None) if waits >= self.rules.start_within => Cause::Late,
            (None, None) => return (here, answers(asked && waits < ANSWERS)),
        };
        let state = JobState::Withdrawing { since, cause };
        (state, Next::act([Act::Withdraw]))
    }

    fn withdrawn(&self, since: Tick, cause: Cause, seen: &Observation) -> (JobState, Next) {
        let result = match &seen.done {
            Some(Done::Withdrawn(result)) => result,
            _ => return (JobState::Withdrawing { since, cause }, Next::wait()),
        };
        let (outcome, event, reason) = match (result, cause) {
            // Between the look and now, the shell took it.
            (Ok(Taken::ByShell), _) => {
                let state = JobState::Delivered(Delivered {
                    since,
                    resumed: false,
                    asked: false,
                });
                return (state, Next::again(Duration::ZERO));
            }
            (Err(error), _) => {
                let reason = if cause == Cause::Resumed {
                    "the spool directory cannot be written, so it cannot be known whether it ran"
                        .to_owned()
                } else {
                    format!("cannot establish whether the shell picked up the job: {error}")
                };
                return self.uncertain(reason);
            }
            (Ok(_), Cause::Cancelled) => (
                Outcome::Cancelled,
                Event::Cancel,
                "cancelled before it began".to_owned(),
            ),
            (Ok(_), Cause::Reassigned) => (
                Outcome::Refused,
                Event::Refuse,
                "given to another session before it began".to_owned(),
            ),
            (Ok(_), Cause::Gone) => (
                Outcome::Refused,
                Event::Refuse,
                "the session ended before it picked up the job".to_owned(),
            ),
            (Ok(_), Cause::Late) => (
                Outcome::Refused,
                Event::Refuse,
                format!(
                    "the shell did not pick up the job within {} s; it was withdrawn",
                    self.rules.start_within.as_secs_f64()
                ),
            ),
            (Ok(_), Cause::Declined(why)) => (Outcome::Refused, Event::Refuse, why.to_owned()),
            (Ok(_), Cause::Resumed) => (
                Outcome::Withdrawn,
                Event::Withdraw,
                "the daemon ended while it delivered; the shell had not picked up the job"
                    .to_owned(),
            ),
        };
        let mut acts = vec![Act::CloseReader];
        match cause {
            Cause::Gone | Cause::Late => {
                acts.push(Act::Tell(Note::Hold(UNRESPONSIVE, reason.clone())));
            }
            Cause::Declined(why) => acts.push(Act::Tell(Note::Declined(why))),
            Cause::Cancelled | Cause::Reassigned | Cause::Resumed => {}
        }
        acts.push(Act::End(Box::new(
            Ending::new(outcome, event).because(reason),
        )));
        (JobState::Ended, Next::act(acts))
    }

    fn failed(&self, reason: String) -> Ending {
        Ending::failed(&self.brief, Outcome::Failed).because(reason)
    }

    /// Returns the task to the queue when nothing was typed. It does not count as a try, and the
    /// session is skipped for a moment.
    fn refused(&self, reason: String) -> (JobState, Next) {
        let end = Ending::new(Outcome::Refused, Event::Refuse).because(reason.clone());
        let acts = [Act::Tell(Note::Hold(HOLD, reason)), Act::End(Box::new(end))];
        (JobState::Ended, Next::act(acts))
    }

    /// Ends an attempt whose outcome cannot be established.
    fn uncertain(&self, reason: String) -> (JobState, Next) {
        let end = Ending::new(Outcome::Uncertain, Event::Lose).because(reason.clone());
        let acts = [
            Act::CloseReader,
            Act::Tell(Note::Hold(UNRESPONSIVE, reason)),
            Act::End(Box::new(end)),
        ];
        (JobState::Ended, Next::act(acts))
    }
}

impl RunningJob {
    /// Records the step that the script has reached. For the first step seen, the file shows how
    /// long ago that was; after that, our own clock does.
    fn note_step(&mut self, files: &Files, now: Now) {
        let Some((step, age)) = files.step else {
            return;
        };
        match self.step {
            Some((known, _)) if known == step => {}
            Some(_) => self.step = Some((step, now.tick)),
            None => self.step = Some((step, (now.tick - age).max(self.since))),
        }
    }
}

/// Returns how long a shell must be seen at its prompt before its job counts as ended, or `None` if
/// it is not there.
fn back_within(files: &Files, pane: &PaneSight) -> Option<Duration> {
    let here = files.back.is_some() || (pane.at_prompt && (!pane.tells || files.exit_empty));
    // A shell that reports writes its line's status before it reports its prompt, if there is room.
    let untold = (pane.tells && pane.idle).then_some(UNTOLD);
    if here { Some(TWICE) } else { untold }
}

/// A shell that was asked answers at once, but its answer wakes nobody.
fn answers(asked: bool) -> Next {
    if asked {
        Next::at_own(ANSWER_LOOK)
    } else {
        Next::wait()
    }
}

/// Returns how an attempt that has typed nothing ends if a person requests it.
fn asked_to_end(seen: &Observation) -> Option<Ending> {
    match seen.request.as_ref()? {
        Request::Cancel => Some(
            Ending::new(Outcome::Cancelled, Event::Cancel).because("cancelled before it began"),
        ),
        Request::Reassign(_) => Some(
            Ending::new(Outcome::Refused, Event::Refuse)
                .because("given to another session before it began"),
        ),
    }
}

fn end_now(end: Ending) -> (JobState, Next) {
    (JobState::Ended, Next::act([Act::End(Box::new(end))]))
}
