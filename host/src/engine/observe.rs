//! observe: what has become of the jobs in flight, by the files that they leave, by their shell's
//! state, and by their pane's life.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::flight::{Cause, Ending, Flight};
use super::job::Step;
use super::prepare::wrong_branch;
use super::scan::Snapshot;
use super::spool::{Captured, JobFiles, Taken};
use super::tracker::{Seen, Telling};
use super::{Engine, RoundError};
use crate::model::session::Shell;
use crate::model::task::{Event, Kind, Outcome, Phase, Status, Task};
use crate::model::text::clean;
use crate::probe::{self, Directory};
use crate::store::{End, Output, Request, StoreError, mask};
use crate::tmux::Tmux;

/// A shell that is at its prompt and left no code has dropped the job, once it was seen so twice,
/// this far apart: right after a job its last write may not have reached us.
const TWICE: Duration = Duration::from_millis(50);

/// How long the output may come behind the exit code, through the tmux server and the reader.
const OUTPUT_WITHIN: Duration = Duration::from_secs(5);

/// How long the reader of a pane's output may take to end.
const READER_WITHIN: Duration = Duration::from_secs(1);

/// How long a job is given after each step of being told to end.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long a session is left alone whose shell did not take up a job.
const UNRESPONSIVE: Duration = Duration::from_secs(30);

/// Retries come after 1 s, 2 s, 4 s and so on, at most after this.
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);

/// The last lines of a failed preparation that an error quotes.
const LAST_LINES: usize = 5;

/// What became of a flight.
pub(super) enum Fate {
    /// It goes on; to be looked at again after so long, if sooner than the next poll.
    Flies(Option<Duration>),
    /// It is over.
    Ended,
}

impl<T: Tmux> Engine<T> {
    /// Looks after everything in flight; returns after how long to look again, where that is
    /// sooner than the next poll.
    pub(super) async fn observe(
        &mut self,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<Option<Duration>, RoundError> {
        if self.flights.is_empty() {
            return Ok(None);
        }
        let requests = self.ledger.run(|store| store.requests()).await?;
        let mut soonest: Option<Duration> = None;
        let mut flights = std::mem::take(&mut self.flights).into_iter();
        while let Some(mut flight) = flights.next() {
            let request = requests.get(&flight.task.id);
            match self.look_at(&mut flight, snapshot, request, now).await {
                Ok(Fate::Flies(again)) => {
                    soonest = [soonest, again].into_iter().flatten().min();
                    self.flights.push(flight);
                }
                Ok(Fate::Ended) => {
                    // The session may take the next task at once.
                    soonest = Some(Duration::ZERO);
                    self.tracker.settle(&flight.identity);
                }
                Err(error) => {
                    self.flights.push(flight);
                    self.flights.extend(flights);
                    return Err(error);
                }
            }
        }
        Ok(soonest)
    }

    async fn look_at(
        &mut self,
        flight: &mut Flight,
        snapshot: &Snapshot,
        request: Option<&Request>,
        now: Timestamp,
    ) -> Result<Fate, RoundError> {
        if flight.task.kind == Kind::Prompt {
            return self.look_at_turn(flight, snapshot, request, now).await;
        }
        let files = self.spool.files(flight.attempt);
        let seen = snapshot.get(&flight.identity);
        if flight.phase == Phase::Delivering && files.taken() == Taken::ByShell {
            let attempt = flight.attempt;
            self.ledger
                .run(move |store| {
                    store.advance(attempt, Phase::Running, "taken up by the shell", now)
                })
                .await?;
            flight.phase = Phase::Running;
            flight.since = now;
            flight.task.status = Status::InProgress;
        }
        if flight.phase == Phase::Delivering {
            return self
                .look_at_delivery(flight, &files, seen, request, now)
                .await;
        }
        if let Some(code) = files.exit_code() {
            let since = *flight.exit_seen.get_or_insert_with(Instant::now);
            let complete = files.raw_output().exists() || files.capture_result().is_some();
            if !complete && since.elapsed() < OUTPUT_WITHIN {
                return Ok(Fate::Flies(Some(Duration::from_millis(10))));
            }
            // Also where the reader has ended: tmux sees that only at the pane's next output, and
            // until then the pane would seem to be piped.
            self.end_capture(flight, &files).await;
            self.finish(flight.clone(), &files, code, now).await?;
            return Ok(Fate::Ended);
        }
        let Some(seen) = seen else {
            // Not seen is not ended: the command may have replaced the shell, or another server
            // is being watched now. What may still run is not tried elsewhere.
            let identity = &flight.identity;
            if probe::is_alive(identity.pane_pid) && probe::is_alive(identity.server_pid) {
                return Ok(self
                    .end_where_asked(flight, &files, None, request, now)
                    .await);
            }
            let reason = "its shell is gone: the session was closed, or the command had replaced the shell (`exec`) and ended".to_owned();
            self.fail_attempt(flight.clone(), None, reason, now).await?;
            return Ok(Fate::Ended);
        };
        if seen.at_prompt {
            let first = *flight.prompt_seen.get_or_insert_with(Instant::now);
            if first.elapsed() < TWICE {
                return Ok(Fate::Flies(Some(TWICE)));
            }
            let reason = dropped(flight, files.last_step());
            let metadata = &flight.task.metadata;
            let undoes = !metadata.secret_env.is_empty()
                || (metadata.isolate_env && seen.what.is_shell(Shell::Fish));
            let secrets = self.secret_values(&flight.task);
            if let Some(known) = self.tracker.get_mut(&flight.identity)
                && undoes
            {
                known.unclean = true;
                known.left.extend(secrets);
            }
            self.end_capture(flight, &files).await;
            cut_prompt(&files);
            self.fail_attempt(flight.clone(), None, reason, now).await?;
            return Ok(Fate::Ended);
        }
        flight.prompt_seen = None;
        let foreground = seen.foreground;
        Ok(self
            .end_where_asked(flight, &files, foreground, request, now)
            .await)
    }

    /// A line was typed (or may have been), and no shell has taken the job up yet.
    async fn look_at_delivery(
        &mut self,
        flight: &mut Flight,
        files: &JobFiles,
        seen: Option<&Seen>,
        request: Option<&Request>,
        now: Timestamp,
    ) -> Result<Fate, RoundError> {
        let waited = since(flight.since, now);
        let cancelled = request == Some(&Request::Cancel);
        if seen.is_some() && waited < self.settings.start_within && request.is_none() {
            return Ok(Fate::Flies(None));
        }
        let (outcome, event, reason) = match files.withdraw() {
            // Between the look and now, the shell did.
            Ok(Taken::ByShell) => return Ok(Fate::Flies(Some(Duration::ZERO))),
            Ok(Taken::Withdrawn | Taken::No) if cancelled => (
                Outcome::Cancelled,
                Event::Cancel,
                "cancelled before it began".to_owned(),
            ),
            Ok(Taken::Withdrawn | Taken::No) if request.is_some() => (
                Outcome::Refused,
                Event::Refuse,
                "given to another session before it began".to_owned(),
            ),
            Ok(Taken::Withdrawn | Taken::No) if seen.is_none() => (
                Outcome::Refused,
                Event::Refuse,
                "the session ended before it took up the job".to_owned(),
            ),
            Ok(Taken::Withdrawn | Taken::No) => (
                Outcome::Refused,
                Event::Refuse,
                format!(
                    "the shell did not take up the job within {} s; it was withdrawn",
                    self.settings.start_within.as_secs()
                ),
            ),
            Err(error) => (
                Outcome::Uncertain,
                Event::Lose,
                format!("whether the shell took up the job cannot be established: {error}"),
            ),
        };
        if request.is_none() {
            let until = Instant::now() + UNRESPONSIVE;
            self.tracker.hold(&flight.identity, until, reason.clone());
        }
        self.end_capture(flight, files).await;
        let end = End {
            attempt: flight.attempt,
            outcome,
            event,
            exit_code: None,
            error: Some(reason),
            output: None,
            not_before: None,
            turn: None,
            limit: None,
        };
        self.end_attempt(end, now).await?;
        Ok(Fate::Ended)
    }

    /// Tells a job to end whose time is over or that was cancelled: Ctrl-C, then the signals.
    async fn end_where_asked(
        &mut self,
        flight: &mut Flight,
        files: &JobFiles,
        foreground: Option<u32>,
        request: Option<&Request>,
        now: Timestamp,
    ) -> Fate {
        if let Some(ending) = &mut flight.ending
            && request == Some(&Request::Cancel)
        {
            // Whatever it was to be ended for before.
            ending.cause = Cause::Cancel;
        }
        if flight.ending.is_none() {
            let cause = match request {
                Some(Request::Cancel) => Some(Cause::Cancel),
                Some(Request::Reassign(_)) => Some(Cause::Reassign),
                None => self.overdue(flight, files, now),
            };
            flight.ending = cause.map(|cause| Ending {
                cause,
                told: 0,
                last: None,
            });
        }
        let Some(ending) = &mut flight.ending else {
            return Fate::Flies(None);
        };
        if ending.last.is_none_or(|last| last.elapsed() >= PATIENCE) {
            match (ending.told, foreground) {
                (0 | 1, _) | (_, None) => {
                    let typed = self.tmux.interrupt(&flight.identity).await;
                    tracing::info!(task = %flight.task.id, session = ?flight.session, "interrupting: {typed:?}");
                }
                (2, Some(group)) => {
                    probe::signal_group(group, probe::Signal::Terminate);
                }
                (_, Some(group)) => {
                    probe::signal_group(group, probe::Signal::Kill);
                }
            }
            ending.told += 1;
            ending.last = Some(Instant::now());
        }
        Fate::Flies(Some(TWICE))
    }

    /// Returns what takes longer than it may: the command, or a step before it.
    fn overdue(&self, flight: &Flight, files: &JobFiles, now: Timestamp) -> Option<Cause> {
        let metadata = &flight.task.metadata;
        // Each step has its own time; one that was not noted yet began with the job.
        let (step, since_then) = match files.step_since() {
            Some((step, when)) => {
                let when = Timestamp::try_from(when).unwrap_or(flight.since);
                (step, since(when, now))
            }
            // Just being written: it has come to another step.
            None if files.step().exists() => return None,
            None => (Step::Directory, since(flight.since, now)),
        };
        let seconds = match step {
            Step::Command => flight.task.timeout_seconds.filter(|&seconds| seconds > 0)?,
            _ => metadata
                .prerequisite_timeout
                .unwrap_or(self.settings.prerequisite_within.as_secs()),
        };
        (since_then >= Duration::from_secs(seconds)).then_some(Cause::TimeOut { step, seconds })
    }

    /// Returns what is known now of the variables that the shell will tell of behind a job.
    fn telling(&self, flight: &Flight, files: &JobFiles) -> Telling {
        let before = files.environment_before().map(Arc::new);
        Telling {
            attempt: flight.attempt,
            before: before.or_else(|| self.tracker.live(&flight.identity)),
            secrets: self.secret_values(&flight.task),
        }
    }

    /// Ends an attempt that left an exit code, and expects its shell to tell of its variables.
    async fn finish(
        &mut self,
        flight: Flight,
        files: &JobFiles,
        code: i32,
        now: Timestamp,
    ) -> Result<(), RoundError> {
        let telling = self.telling(&flight, files);
        let identity = flight.identity.clone();
        let metadata = &flight.task.metadata;
        let given = if metadata.isolate_env {
            BTreeMap::new()
        } else {
            metadata.env_vars.clone()
        };
        self.end_with_code(flight, files, code, now).await?;
        // Only now: until its end is on disk, nothing of the attempt is touched.
        if let Some(known) = self.tracker.get_mut(&identity) {
            known.env.extend(given);
            if let Some(earlier) = known.telling.replace(telling) {
                self.spool.remove_told(earlier.attempt);
            }
        }
        Ok(())
    }

    async fn end_with_code(
        &mut self,
        flight: Flight,
        files: &JobFiles,
        code: i32,
        now: Timestamp,
    ) -> Result<(), RoundError> {
        let step = files.last_step();
        if let Some(step) = step.filter(|step| *step != Step::Command) {
            let reason = unprepared(&flight, step, code, files);
            return self.fail_attempt(flight, None, reason, now).await;
        }
        if code != 0 {
            let reason = format!("the command exited with code {code}");
            return self.fail_attempt(flight, Some(code), reason, now).await;
        }
        if let Some(known) = self.tracker.get_mut(&flight.identity) {
            known.completed += 1;
        }
        tracing::info!(task = %flight.task.id, session = ?flight.session, "completed");
        let secrets = self.secret_values(&flight.task);
        let end = End {
            attempt: flight.attempt,
            outcome: Outcome::Completed,
            event: Event::Complete,
            exit_code: Some(code),
            error: None,
            output: masked(read_output(files, self.settings.output_limit), &secrets),
            not_before: None,
            turn: None,
            limit: None,
        };
        self.end_attempt(end, now).await
    }

    /// Ends an attempt that failed, was cancelled or took too long: tried again where tries are
    /// left, else for good.
    pub(super) async fn fail_attempt(
        &mut self,
        flight: Flight,
        code: Option<i32>,
        reason: String,
        now: Timestamp,
    ) -> Result<(), RoundError> {
        let files = self.spool.files(flight.attempt);
        let tries = flight.task.tries + 1;
        let retry = tries <= flight.task.max_retries;
        let failed = if retry { Event::Retry } else { Event::Fail };
        let (outcome, event, reason) = match flight.ending.map(|ending| ending.cause) {
            Some(Cause::Cancel) => (
                Outcome::Cancelled,
                Event::Cancel,
                "cancelled by a person, its command was interrupted".to_owned(),
            ),
            Some(Cause::Reassign) => (
                Outcome::Reassigned,
                Event::Return,
                "given to another session by a person, its command was interrupted".to_owned(),
            ),
            Some(Cause::TimeOut { step, seconds }) => (
                Outcome::TimedOut,
                failed,
                match step {
                    Step::Command => {
                        format!("took longer than {seconds} s, its command was interrupted")
                    }
                    step => format!(
                        "{} took longer than {seconds} s, it was interrupted",
                        describe(&flight, step)
                    ),
                },
            ),
            None => (Outcome::Failed, failed, reason),
        };
        let secrets = self.secret_values(&flight.task);
        let reason = String::from_utf8_lossy(&mask(reason.into_bytes(), &secrets)).into_owned();
        tracing::info!(task = %flight.task.id, session = ?flight.session, "{}: {}", outcome.name(), clean(&reason));
        if let Some(known) = self.tracker.get_mut(&flight.identity)
            && outcome.is_failure()
        {
            known.failed += 1;
        }
        let end = End {
            attempt: flight.attempt,
            outcome,
            event,
            exit_code: code,
            error: Some(reason),
            output: masked(read_output(&files, self.settings.output_limit), &secrets),
            not_before: (event == Event::Retry).then(|| now + backoff(tries)),
            turn: None,
            limit: None,
        };
        self.end_attempt(end, now).await
    }

    /// Deletes secret values first, and then that there were any.
    pub(super) async fn forget_secrets(&self, kept: Vec<String>) -> Result<(), StoreError> {
        if kept.is_empty() {
            return Ok(());
        }
        self.secrets.forget_all(&kept);
        self.ledger
            .run(move |store| store.forget_secrets(&kept))
            .await
    }

    fn secret_values(&self, task: &Task) -> BTreeMap<String, String> {
        let kept = task.secrets.as_deref();
        kept.and_then(|kept| self.secrets.values(kept))
            .unwrap_or_default()
    }

    pub(super) async fn end_attempt(&mut self, end: End, now: Timestamp) -> Result<(), RoundError> {
        let attempt = end.attempt;
        let unneeded = self
            .ledger
            .run(move |store| {
                store.end(&end, now)?;
                store.settled_secrets()
            })
            .await?;
        self.forget_secrets(unneeded).await?;
        self.spool.remove_job(attempt);
        // A session is free again, also where the job was so short that it never seemed taken.
        self.queue.touch();
        Ok(())
    }

    /// Ends the reader of a job that printed no end mark, so that what it has is whole.
    async fn end_capture(&mut self, flight: &Flight, files: &JobFiles) {
        // A pane that is piped to somebody else has no reader of ours.
        if files.raw_output().exists() {
            return;
        }
        if let Err(error) = self.tmux.close_pipe(&flight.identity).await {
            tracing::debug!(session = ?flight.session, "cannot close the pipe: {error}");
        }
        let deadline = Instant::now() + READER_WITHIN;
        while files.output().exists()
            && files.capture_result().is_none()
            && Instant::now() < deadline
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn masked(output: Option<Output>, secrets: &BTreeMap<String, String>) -> Option<Output> {
    output.map(|output| Output {
        bytes: mask(output.bytes, secrets),
        ..output
    })
}

/// Why a shell stands at its prompt and left no code.
fn dropped(flight: &Flight, step: Option<Step>) -> String {
    let at = match step {
        Some(Step::Command) => return "interrupted: the shell is back at its prompt and the command left no exit code (Ctrl-C, or a syntax error)".to_owned(),
        Some(step) => describe(flight, step),
        None => "before its first step".to_owned(),
    };
    format!("interrupted {at}: the shell is back at its prompt and left no exit code")
}

/// What failed before the command ran.
fn unprepared(flight: &Flight, step: Step, code: i32, files: &JobFiles) -> String {
    if step == Step::Branch {
        let metadata = &flight.task.metadata;
        let required = metadata.git_branch.as_deref().unwrap_or_default();
        let stands = match probe::directory(flight.identity.pane_pid) {
            Directory::At(path) => path,
            Directory::Deleted(_) | Directory::Unreadable => PathBuf::from("."),
        };
        let found = probe::git_branch(&stands);
        return wrong_branch(&stands, required, found.as_deref());
    }
    let printed = std::fs::read(files.preparation()).unwrap_or_default();
    let plain = strip_ansi_escapes::strip(printed);
    let text = String::from_utf8_lossy(&plain);
    let mut last: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .rev()
        .take(LAST_LINES)
        .collect();
    last.reverse();
    let reason = format!("{} exited with code {code}", describe(flight, step));
    if last.is_empty() {
        reason
    } else {
        format!("{reason}: {}", last.join(" | "))
    }
}

fn describe(flight: &Flight, step: Step) -> String {
    let metadata = &flight.task.metadata;
    match step {
        Step::Directory => format!(
            "cd to `{}`",
            metadata.working_dir.as_deref().unwrap_or_default()
        ),
        Step::Export(index) => format!(
            "export of {}",
            metadata
                .env_vars
                .keys()
                .nth(index)
                .map_or("", String::as_str)
        ),
        Step::Secrets => format!("export of {}", metadata.secret_env.join(", ")),
        Step::Branch => "a look at the branch".to_owned(),
        Step::Prerequisite(index) => format!(
            "prerequisite {} of {} (`{}`)",
            index + 1,
            metadata.prerequisites.len(),
            metadata.prerequisites.get(index).map_or("", String::as_str)
        ),
        Step::Command => "the command".to_owned(),
    }
}

/// Reads what a job printed, at most the last `limit` bytes.
fn read_output(files: &JobFiles, limit: u64) -> Option<Output> {
    if let Some((bytes, total)) = read_end(&files.raw_output(), limit) {
        return Some(Output { bytes, total });
    }
    let (bytes, _) = read_end(&files.output(), limit)?;
    let total = files
        .capture_result()
        .map_or(bytes.len() as u64, |captured| captured.total);
    Some(Output { bytes, total })
}

/// Cuts off what a job that was interrupted did not print: the prompt behind its last line, and
/// the terminal's echo of the key.
fn cut_prompt(files: &JobFiles) {
    let Ok(mut output) = std::fs::read(files.output()) else {
        return;
    };
    let printed = output.len();
    let end = output.iter().rposition(|&byte| byte == b'\n');
    output.truncate(end.map_or(0, |end| end + 1));
    if output.ends_with(b"^C\n") {
        output.truncate(output.len() - 3);
    }
    let cut = (printed - output.len()) as u64;
    let shortened = std::fs::write(files.output(), output).and_then(|()| {
        let total = files.capture_result().unwrap_or_default().total;
        let captured = Captured {
            total: total.saturating_sub(cut),
        };
        std::fs::write(files.captured(), serde_json::to_vec(&captured)?)
    });
    if let Err(error) = shortened {
        tracing::debug!("cannot shorten the output: {error}");
    }
}

/// Returns the last `limit` bytes of a file, and how many it has.
fn read_end(path: &Path, limit: u64) -> Option<(Vec<u8>, u64)> {
    let mut file = File::open(path).ok()?;
    let total = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(total.saturating_sub(limit)))
        .ok()?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).ok()?;
    Some((bytes, total))
}

pub(super) fn backoff(tries: u32) -> Duration {
    let doublings = tries.saturating_sub(1).min(16);
    Duration::from_secs(1 << doublings).min(LONGEST_BACKOFF)
}

fn since(from: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(from)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_back_off_up_to_a_bound() {
        assert_eq!(backoff(1), Duration::from_secs(1));
        assert_eq!(backoff(2), Duration::from_secs(2));
        assert_eq!(backoff(4), Duration::from_secs(8));
        assert_eq!(backoff(1000), LONGEST_BACKOFF);
    }
}
