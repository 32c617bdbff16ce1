//! The hands of this machine: carry out what attempts decide, in real panes, files and processes.

mod files;
mod place;
mod writing;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::super::changes::{DirectoryWatch, Listener};
use super::super::prerequisites;
use super::super::shell::Shells;
use super::super::spool::{CaptureEnd, Captured, Spool};
use super::driver::{Collected, Look, Work, World};
use super::headless;
use super::record::Reader;
use super::{Act, Brief, Done, Ending, Files, Leaves, OutputSource, Scan, Shown, Unwritten, Wants};
use crate::agents::Catalog;
use crate::agents::transcript::Follower;
use crate::agents::{Profile, Screen, fuse, screen};
use crate::model::clock::{Clock, Now, Tick};
use crate::model::ids::{AttemptId, Identity};
use crate::probe::{self, look};
use crate::store::{self, Secrets, mask};
use crate::tmux::{
    Aim, Capture, Error, Keys, PaneLock, Paste, Refusal, Shared, Tmux, Typed, TypedLine,
};

use files::{cut_prompt, files, pipe_was_closed, preparation, printed};
pub(super) use files::{last_of, read_end, read_output};
use place::{DIRECTORY_WITHIN, look_at_place};

/// How long the reader of a pane's output may take to end.
const READER_WITHIN: Duration = Duration::from_secs(3);

/// How often to check whether it has ended.
const READER_LOOK: Duration = Duration::from_millis(5);

/// How long the reader of a pane waits for the pane's next job before its pipe is closed: tasks that wait
/// come sooner, and a person finds the pane as it was.
const READER_WAITS: Duration = Duration::from_millis(300);

/// Changes of a record within this time are looked at together.
const TOGETHER: Duration = Duration::from_millis(10);

/// How long a shell that has closed its terminal may take to be gone.
const GONE_WITHIN: Duration = Duration::from_millis(300);

/// How many lines of a pane's history are searched for an answer.
const HISTORY: u32 = 2_000;

/// How much of a preparation's output is read for an error, in bytes. If the pane is piped to
/// someone else, nothing else limits it.
const LONGEST_PREPARATION: u64 = 64 << 10;

/// How many of the last lines of a failed preparation an error quotes.
const LAST_LINES: usize = 5;

/// The configuration.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// The program that reads a pane's output: this one, called with `capture`.
    pub(crate) program: PathBuf,
    /// How many of the last bytes of a task's output are kept.
    pub(crate) output_limit: u64,
    /// Whether shells load the integration with their first job.
    pub(crate) integrate: bool,
    /// How long a prerequisite may take if its task does not say.
    pub(crate) prerequisite_within: Duration,
}

/// This machine.
pub(crate) struct Local<T> {
    origin: Instant,
    tmux: Shared<T>,
    spool: Spool,
    shells: Shells,
    secrets: Secrets,
    setup: RefCell<Setup>,
    /// The records of turns in flight.
    records: Rc<RefCell<BTreeMap<AttemptId, PathBuf>>>,
    /// The profiles that there are.
    catalog: RefCell<Catalog>,
    /// The records of turns that have ended, by session.
    followers: RefCell<Vec<(Identity, Box<Follower>)>>,
    /// Tells when something is written beside a record.
    directories: DirectoryWatch,
    /// The panes whose readers wait for their next jobs, and since when.
    waiting: RefCell<HashMap<Identity, Instant>>,
}

/// What one attempt keeps from step to step.
#[derive(Default)]
pub(crate) struct Hands {
    /// The right to write into the pane.
    lock: Option<PaneLock>,
    reader: Reader,
    /// Hears what is written where the record is.
    listener: Option<Listener>,
    /// The profile by which its screens are read.
    profile: Option<std::sync::Arc<Profile>>,
    /// The entry that marks its record as taken, for others to see.
    noted: Option<Noted>,
    /// Children of its shell that were already stopped before the job; `None`: an earlier daemon
    /// wrote the job.
    stopped: Option<BTreeSet<u32>>,
}

/// A record that is marked as one attempt's.
struct Noted {
    attempt: AttemptId,
    records: Rc<RefCell<BTreeMap<AttemptId, PathBuf>>>,
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.records.borrow_mut().remove(&self.attempt);
    }
}

impl<T: Tmux + 'static> Local<T> {
    /// Returns the world of this machine.
    pub(crate) fn new(
        tmux: Shared<T>,
        spool: Spool,
        shells: Shells,
        secrets: Secrets,
        setup: Setup,
    ) -> Self {
        Self {
            origin: Instant::now(),
            tmux,
            spool,
            shells,
            secrets,
            setup: RefCell::new(setup),
            records: Rc::default(),
            catalog: RefCell::default(),
            followers: RefCell::default(),
            directories: DirectoryWatch::default(),
            waiting: RefCell::default(),
        }
    }

    /// Prepares jobs by this configuration from now on.
    pub(crate) fn use_setup(&self, setup: Setup) {
        self.setup.replace(setup);
    }

    /// Judges what headless agents print by these profiles from now on.
    pub(crate) fn use_catalog(&self, catalog: Catalog) {
        self.catalog.replace(catalog);
    }

    /// Returns the records that agents were found to write to, of turns that have ended since the
    /// last call.
    pub(crate) fn take_followers(&self) -> Vec<(Identity, Box<Follower>)> {
        self.followers.take()
    }

    /// Closes the pipes whose readers have waited in vain; with `all`, of all that wait. `is_used` is true
    /// for a pane in which an attempt runs.
    pub(crate) async fn dismiss_readers(&self, all: bool, is_used: impl Fn(&Identity) -> bool) {
        let idle: Vec<Identity> = {
            let waiting = self.waiting.borrow();
            let idle = waiting.iter().filter(|(identity, since)| {
                all || (since.elapsed() >= READER_WAITS && !is_used(identity))
            });
            idle.map(|(identity, _)| identity.clone()).collect()
        };
        for identity in idle {
            self.waiting.borrow_mut().remove(&identity);
            if !self.spool.post(&identity).dismiss() {
                continue;
            }
            if let Err(error) = self.tmux.clone().close_pipe(&identity).await {
                tracing::debug!(pane = %identity.pane, "cannot close the pipe: {error}");
            }
        }
    }

    /// Offers a line to a shell that takes it by a key, if it still reads a new line.
    fn offer(&self, line: &TypedLine) -> Result<(), Refusal> {
        let pid = line.identity.pane_pid;
        if !self.shells.reads(pid) {
            return Err(Refusal::Unfit("its shell no longer waits for a new line"));
        }
        self.shells.offer(pid, &line.text).map_err(|error| {
            tracing::warn!("cannot offer a job to a shell: {error}");
            Refusal::Unfit("the job cannot be offered to its shell")
        })
    }

    /// Reads a pane's screen as it is now.
    async fn screen(&self, identity: &Identity, profile: &Profile, text: &str) -> Option<Shown> {
        let mut tmux = self.tmux.clone();
        let captures = tmux.screens(&[identity]).await.ok()?;
        let capture: Capture = captures.into_iter().next().flatten()?;
        let cursor = capture.cursor_shown.then_some(capture.cursor);
        let screen = Screen::read(&capture.text, cursor);
        let (says, detail) = fuse::screen(profile, &screen);
        Some(Shown {
            says,
            detail,
            holds_text: screen.holds(profile, text),
            part_of_text: screen.holds_part(profile, text),
            near_text: screen.is_near(profile, text),
            line_holds_text: screen.line_holds(profile, text),
            given: screen.given(profile, text),
            draft: screen.draft(profile).map(|draft| draft.text),
            in_mode: capture.in_mode,
            cursor: capture.cursor,
        })
    }

    /// Returns what the pane shows, including its history. For an alternate screen, the history is
    /// left out, because it is not this program's.
    async fn shown(&self, identity: &Identity, alternate: bool) -> Option<Vec<String>> {
        let lines = if alternate { 0 } else { HISTORY };
        let text = self.tmux.clone().history(identity, lines).await.ok()?;
        Some(
            text.lines()
                .map(|line| line.trim_end().to_owned())
                .collect(),
        )
    }

    /// Ends the reader of a job that printed no end mark, so that its output is complete.
    async fn close_reader(&self, brief: &Brief) {
        let files = self.spool.files(brief.attempt);
        // A pane that is piped to someone else has no reader of ours. If somebody has closed our pipe,
        // the one that may be open now is theirs.
        let closed = |captured: Captured| captured.end != CaptureEnd::Job;
        let captured = files.capture_result();
        if files.raw_output().exists() || captured.is_some_and(closed) {
            return;
        }
        if captured.is_some() && self.spool.post(&brief.identity).has_reader() {
            let mut waiting = self.waiting.borrow_mut();
            waiting.insert(brief.identity.clone(), Instant::now());
            return;
        }
        if let Err(error) = self.tmux.clone().close_pipe(&brief.identity).await {
            tracing::debug!(session = ?brief.session, "cannot close the pipe: {error}");
        }
        let deadline = tokio::time::Instant::now() + READER_WITHIN;
        while files.output().exists()
            && files.capture_result().is_none()
            && tokio::time::Instant::now() < deadline
        {
            tokio::time::sleep(READER_LOOK).await;
        }
        if let (None, Some(ended)) = (captured, files.capture_result().filter(|it| closed(*it))) {
            let end = CaptureEnd::ClosedByUs;
            files.write_capture_result(&Captured { end, ..ended });
        }
    }
}

impl<T: Tmux + 'static> Clock for Local<T> {
    fn now(&self) -> Now {
        Now {
            wall: Timestamp::now(),
            tick: Tick::after_origin(self.origin.elapsed()),
        }
    }
}

impl<T: Tmux + 'static> World for Local<T> {
    type Hands = Hands;

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    async fn news(&self, hands: &mut Hands) {
        let changed = async {
            match &hands.listener {
                Some(listener) => listener.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = changed => {
                // Whatever makes the next look, it searches.
                hands.reader.search_now();
                // An agent writes several lines at once.
                tokio::time::sleep(TOGETHER).await;
            }
            () = hands.reader.search_ends() => {}
        }
    }

    async fn look(&self, brief: &Brief, hands: &mut Hands, wants: &Wants, scan: &Scan) -> Look {
        let mut look = Look {
            pane_lives: probe::is_alive(brief.identity.pane_pid)
                && probe::is_alive(brief.identity.server_pid),
            process_lives: wants
                .process
                .is_some_and(|(pid, began)| probe::run(pid) == Some(began)),
            ..Look::default()
        };
        if wants.files {
            let said = self.shells.said(brief.identity.pane_pid);
            let mut seen = files(&self.spool.files(brief.attempt), said);
            // If a part of the command is stopped, the shell continues with the rest and may leave
            // a code.
            if let (Some(_), Some(before)) = (seen.exit, &hands.stopped) {
                seen.stopped |= !probe::stopped_children(brief.identity.pane_pid).is_subset(before);
            }
            look.files = Some(seen);
        }
        let Some(profile) = wants.profile.as_ref().map(|profile| &profile.0) else {
            return look;
        };
        hands.profile = Some(std::sync::Arc::clone(profile));
        if let Some(query) = &wants.record {
            let mut taken: HashSet<PathBuf> = self
                .records
                .borrow()
                .iter()
                .filter(|(attempt, _)| **attempt != brief.attempt)
                .map(|(_, path)| path.clone())
                .collect();
            let others = scan
                .sessions
                .iter()
                .filter(|(other, _)| **other != brief.identity);
            taken.extend(others.filter_map(|(_, pane)| pane.agent.as_ref()?.record.clone()));
            let pane_pid = brief.identity.pane_pid;
            look.record = hands
                .reader
                .look(profile, pane_pid, query, taken, self.now())
                .await;
            let directory = hands.reader.directory();
            if directory != hands.listener.as_ref().map(Listener::directory) {
                hands.listener = directory.map(|directory| self.directories.listen(directory));
            }
            if let Some(path) = hands.reader.path() {
                let attempt = brief.attempt;
                self.records.borrow_mut().insert(attempt, path.to_owned());
                hands.noted.get_or_insert_with(|| Noted {
                    attempt,
                    records: Rc::clone(&self.records),
                });
            }
        }
        if wants.screen {
            let text = wants.text.as_deref().unwrap_or_default();
            look.screen = self.screen(&brief.identity, profile, text).await;
        }
        look
    }

    fn start(&self, brief: &Brief, act: &Act) -> Option<Work> {
        match act {
            Act::LookAtPlace { stands } => Some(look_at_place(&brief.task, stands.clone())),
            Act::RunPrerequisites { stands } => {
                let steps = self.secrets_of(&brief.task).map(|secrets| {
                    let stands = stands.clone().map(PathBuf::from);
                    let within = self.setup.borrow().prerequisite_within;
                    prerequisites::run(&brief.task, &secrets, stands, within)
                });
                Some(Box::pin(async move {
                    Done::Prerequisites(match steps {
                        Ok(steps) => steps.await,
                        Err(reason) => Err(reason),
                    })
                }))
            }
            _ => None,
        }
    }

    async fn perform(&self, brief: &Brief, hands: &mut Hands, act: &Act) -> Done {
        let identity = &brief.identity;
        let aim = |cursor: (u32, u32), command: &String| Aim {
            identity: identity.clone(),
            cursor,
            command: Some(command.clone()),
        };
        let mut tmux = self.tmux.clone();
        match act {
            Act::WriteJob {
                shell,
                cursor,
                piped,
                untold,
                tells,
            } => {
                hands.stopped = Some(probe::stopped_children(identity.pane_pid));
                let written = self.write_job(brief, *shell, *cursor, *piped, *untold, *tells);
                Done::Written(written)
            }
            Act::Type(line) => {
                if line.key.is_some()
                    && let Err(refusal) = self.offer(line)
                {
                    return Done::Typed(Typed::Refused(refusal));
                }
                let typed = tmux.type_lines(std::slice::from_ref(line)).await;
                // A missing answer shows nothing.
                let typed = typed.into_iter().next();
                Done::Typed(typed.unwrap_or(Typed::Unknown(Error::Closed)))
            }
            Act::Withdraw => {
                self.shells.forget(identity.pane_pid);
                let withdrawn = self.spool.files(brief.attempt).withdraw();
                Done::Withdrawn(withdrawn.map_err(|error| error.to_string()))
            }
            Act::CloseReader => {
                self.close_reader(brief).await;
                Done::Fine
            }
            Act::CutPrompt => {
                cut_prompt(&self.spool.files(brief.attempt));
                Done::Fine
            }
            Act::ReadPreparation => {
                let printed = self.spool.files(brief.attempt).preparation();
                let pid = identity.pane_pid;
                let stands = probe::working_directory(pid);
                let stands = stands.unwrap_or_else(|| PathBuf::from("."));
                let place = stands.clone();
                let look = move || preparation(&printed, place);
                let read = look::within(&stands, DIRECTORY_WITHIN, look);
                read.await.unwrap_or_else(|| Done::Preparation {
                    lines: Vec::new(),
                    stands: PathBuf::from("."),
                    branch: Err("its directory does not answer".to_owned()),
                })
            }
            Act::Interrupt => Done::Typed(tmux.interrupt(identity).await),
            Act::Signal(group, signal) => {
                probe::signal_group(*group, *signal);
                Done::Fine
            }
            Act::TakePane => {
                if hands.lock.is_none() {
                    match PaneLock::take(identity) {
                        Ok(lock) => hands.lock = lock,
                        Err(error) => return Done::Pane(Err(error.to_string())),
                    }
                }
                Done::Pane(Ok(hands.lock.is_some()))
            }
            Act::LeavePane => {
                hands.lock = None;
                Done::Fine
            }
            Act::FollowFromNow { pid } => {
                if let Some(profile) = hands.profile.clone() {
                    hands.reader.follow_from_now(&profile, *pid).await;
                }
                Done::Fine
            }
            Act::AgeRecord => {
                hands.reader.age();
                Done::Fine
            }
            Act::Paste {
                text,
                cursor,
                command,
            } => {
                let paste = Paste {
                    aim: aim(*cursor, command),
                    text: text.to_string(),
                };
                Done::Typed(tmux.paste(&paste).await)
            }
            Act::Press {
                literal,
                names,
                cursor,
                command,
            } => {
                let keys = Keys {
                    aim: aim(*cursor, command),
                    literal: literal.clone(),
                    names: names.clone(),
                };
                Done::Typed(tmux.press(&keys).await)
            }
            Act::ReadAnswer { text, alternate } => {
                let (Some(profile), Some(lines)) = (
                    hands.profile.clone(),
                    self.shown(identity, *alternate).await,
                ) else {
                    return Done::Answer(None);
                };
                let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
                Done::Answer(Some(screen::answer(&profile, &lines, text, *alternate)))
            }
            Act::ReadGiven { text, alternate } => {
                let (Some(profile), Some(lines)) = (
                    hands.profile.clone(),
                    self.shown(identity, *alternate).await,
                ) else {
                    return Done::Given(None);
                };
                let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
                Done::Given(Some(screen::given(&profile, &lines, text)))
            }
            // These are performed by the driver or started separately.
            Act::LookAtPlace { .. }
            | Act::RunPrerequisites { .. }
            | Act::Advance { .. }
            | Act::Ask { .. }
            | Act::GoOn { .. }
            | Act::TakeReply { .. }
            | Act::DropReplies { .. }
            | Act::NoteSession { .. }
            | Act::Tell(_)
            | Act::End(_) => Done::Fine,
        }
    }

    async fn collect(&self, brief: &Brief, ending: Ending) -> Collected {
        let files = self.spool.files(brief.attempt);
        let kept = brief.task.secrets.as_deref();
        let secrets = kept.and_then(|kept| self.secrets.values(kept));
        let secrets = secrets.unwrap_or_default();
        let mut ending = ending;
        let output = match (&ending.output, &brief.task.metadata.headless) {
            (OutputSource::None, _) => None,
            (OutputSource::Files, Some(asked)) => {
                let printed = headless::read(asked, &files, self.setup.borrow().output_limit);
                let profile = self.catalog.borrow();
                let profile = profile.get(&asked.provider).map(|entry| &*entry.profile);
                let output = printed.output.clone();
                ending = headless::concluded(brief, ending, printed, profile, self.now());
                Some(output)
            }
            (OutputSource::Files, None) => {
                // With its pane, an output ends where its pipe does. A shell that ends closes its terminal
                // before it is gone.
                let pane = brief.identity.pane_pid;
                let asked = tokio::time::Instant::now();
                while pipe_was_closed(&files)
                    && probe::is_alive(pane)
                    && asked.elapsed() < GONE_WITHIN
                {
                    tokio::time::sleep(READER_LOOK).await;
                }
                Some(printed(
                    &files,
                    self.setup.borrow().output_limit,
                    probe::is_alive(pane),
                ))
            }
            (OutputSource::Text(text), _) => Some(last_of(text, self.setup.borrow().output_limit)),
        };
        let before = (ending.leaves == Leaves::Variables)
            .then(|| files.environment_before())
            .flatten();
        let masked = |text: String| {
            let text = mask(text.into_bytes(), &secrets);
            String::from_utf8_lossy(&text).into_owned()
        };
        ending.reason = ending.reason.map(masked);
        if let Some(limit) = &mut ending.limit {
            limit.reason = masked(std::mem::take(&mut limit.reason));
        }
        if let Some(turn) = &mut ending.turn {
            turn.conversation = turn
                .conversation
                .take()
                .filter(|name| masked(name.clone()) == *name);
            turn.directory = turn
                .directory
                .take()
                .filter(|path| masked(path.clone()) == *path);
            turn.usage = turn.usage.take().filter(|usage| {
                let usage = usage.to_string();
                masked(usage.clone()) == usage
            });
        }
        Collected {
            ending,
            output: output.map(|output| store::Output {
                bytes: mask(output.bytes, &secrets),
                ..output
            }),
            before,
            secrets,
        }
    }

    fn clean_up(&self, brief: &Brief, hands: &mut Hands, ending: &Ending, secrets: &[String]) {
        let reader = std::mem::take(&mut hands.reader);
        if let Some(follower) = reader.into_follower() {
            let found = (brief.identity.clone(), follower);
            self.followers.borrow_mut().push(found);
        }
        if !secrets.is_empty() {
            self.secrets.forget_all(secrets);
        }
        let output = self.spool.files(brief.attempt).output();
        self.spool.post(&brief.identity).unbook(&output);
        if ending.leaves == Leaves::Variables {
            self.spool.remove_job(brief.attempt);
        } else {
            self.spool.remove(brief.attempt);
        }
    }
}

#[cfg(test)]
mod tests;
