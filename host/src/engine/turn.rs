//! A prompt's turn at an agent: how far it has come, as far as memory goes. What must survive a
//! daemon is the attempt's phase in the store.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use tokio::task::JoinHandle;

use super::agents::{AgentSeen, open_transcripts, surroundings};
use crate::agents::Profile;
use crate::agents::transcript::{self, Follower, How};
use crate::model::task::TurnFacts;
use crate::tmux::PaneLock;

/// How often the transcript of a turn is looked for.
const SEARCH_EVERY: Duration = Duration::from_millis(300);

/// Of a larger transcript only the end is read, in bytes.
const READ_WHOLE: u64 = 16 << 20;

/// The record of an agent that has ended is read for so long.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// File systems tell the time of a change less finely.
const SLACK: Duration = Duration::from_secs(2);

/// A prompt on its way through an agent.
pub(super) struct Turn {
    pub(super) profile: Arc<Profile>,
    /// The agent's process.
    pub(super) pid: u32,
    pub(super) began: u64,
    /// The text that is pasted; empty until it is known.
    pub(super) text: String,
    pub(super) stage: Stage,
    /// When this stage began.
    pub(super) since: Instant,
    /// When the text was submitted at the earliest: nothing older is about it.
    pub(super) given: Timestamp,
    /// The right to write into the pane, while something is written.
    pub(super) lock: Option<PaneLock>,
    /// What the store was told that the agent asks.
    pub(super) asks: Option<String>,
    /// When the store was told.
    pub(super) asked: Instant,
    /// What it said last, where that was a question.
    pub(super) said: Option<(String, TurnFacts)>,
    /// Whether a person takes that as the response.
    pub(super) accepted: bool,
    /// Whether an earlier daemon has begun it.
    pub(super) taken_up: bool,
    /// Whether the text is an answer to what the agent asked.
    pub(super) is_reply: bool,
    pub(super) follower: Option<Follower>,
    /// Whether the text stands in what is followed.
    found: bool,
    /// Whether what is followed was followed from before the text was given.
    watched: bool,
    searched: Option<Instant>,
    /// A search that goes on beside the rounds.
    pub(super) searching: Option<JoinHandle<Found>>,
    /// Several transcripts tell of the text.
    pub(super) several: bool,
    /// The prompts that were to be seen when a question was heard, and when they were looked at last.
    pub(super) shown: Option<(usize, String)>,
    pub(super) shown_at: Instant,
    /// When its agent was first seen to have ended.
    gone: Option<Instant>,
    /// When a dialog of its was answered.
    pub(super) answered: Option<Instant>,
    /// When it was submitted first.
    pub(super) begun: Option<Timestamp>,
    /// When the last report was made before it was given.
    pub(super) heard: Option<Timestamp>,
    /// What was seen in the composer while the text was waited for, and since when.
    pub(super) draft: Option<String>,
    pub(super) draft_since: Instant,
    /// Whether anything was seen there.
    pub(super) stood: bool,
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Nobody wants its prerequisites any more.
        if let Stage::Preparing(steps) = &self.stage {
            steps.abort();
        }
    }
}

/// How far a prompt has come.
pub(super) enum Stage {
    /// Its prerequisites run, beside the rounds.
    Preparing(JoinHandle<Result<(), String>>),
    /// It may be pasted.
    Ready,
    /// It was pasted, and is to be seen in the composer.
    Pasted,
    /// The key that submits was pressed so often, and when last; it is to be seen that the turn began.
    Submitted {
        /// How often.
        presses: u32,
        /// When last.
        last: Instant,
    },
    /// The turn runs, or the agent waits for a person; how long it has seemed idle.
    Running {
        /// Since when it has.
        idle: Option<Instant>,
    },
}

impl Turn {
    /// Returns the turn of a text that is to be given to an agent.
    pub(super) fn new(agent: &AgentSeen, text: String, stage: Stage, now: Timestamp) -> Self {
        Self {
            profile: Arc::clone(&agent.profile),
            pid: agent.pid,
            began: agent.began,
            text,
            stage,
            since: Instant::now(),
            given: now,
            lock: None,
            asks: None,
            asked: Instant::now(),
            said: None,
            accepted: false,
            taken_up: false,
            is_reply: false,
            follower: None,
            found: false,
            watched: false,
            searched: None,
            searching: None,
            several: false,
            shown: None,
            shown_at: Instant::now(),
            gone: None,
            answered: None,
            begun: None,
            heard: None,
            draft: None,
            draft_since: Instant::now(),
            stood: false,
        }
    }

    /// Goes on to another stage.
    pub(super) fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.since = Instant::now();
    }

    /// Whether this is the agent's process still.
    pub(super) fn is_at(&self, agent: &AgentSeen) -> bool {
        (self.pid, self.began) == (agent.pid, agent.began)
    }

    /// Reads what the agent has written; where it is not known yet where, returns what is to be
    /// searched. Those that are `taken` are others'.
    pub(super) fn read_transcript(
        &mut self,
        pane_pid: u32,
        taken: HashSet<PathBuf>,
    ) -> Option<Search> {
        if let Some(follower) = &mut self.follower {
            if let Err(error) = follower.read() {
                tracing::debug!("a transcript cannot be read any more: {error}");
                self.follower = None;
            } else if self.found || follower.turn_of(&self.text, self.given).is_some() {
                self.found = true;
                return None;
            } else if self.watched {
                // It tells no times: read anew, what is old would be taken for new.
                return None;
            }
        }
        let searched = self.searched.map(|searched| searched.elapsed());
        if searched.is_some_and(|ago| ago < SEARCH_EVERY) {
            return None;
        }
        self.searched = Some(Instant::now());
        Some(Search {
            spec: self.profile.transcript.clone()?,
            pid: self.pid,
            pane_pid,
            text: self.text.clone(),
            given: self.given,
            taken,
            taken_up: self.taken_up,
        })
    }

    /// Keeps the transcript in which the text was found.
    pub(super) fn found(&mut self, follower: Follower) {
        self.follower = Some(follower);
        self.found = true;
    }

    /// Whether an agent that has ended may have written what was not read yet.
    pub(super) fn may_still_tell(&mut self) -> bool {
        let gone = *self.gone.get_or_insert_with(Instant::now);
        self.profile.transcript.is_some() && gone.elapsed() < LAST_WORDS
    }

    /// Whether only the screen tells what it answers.
    pub(super) fn is_unwritten(&self) -> bool {
        !self.found
    }

    /// The transcript that is known to be of this turn.
    pub(super) fn transcript(&self) -> Option<&Path> {
        let follower = self.follower.as_ref().filter(|_| self.found)?;
        Some(follower.path())
    }

    /// Follows a transcript that tells no times from before the text is given: what stands there
    /// already is about others, also where it is word for word the same.
    pub(super) fn watch_from_now(&mut self) {
        let Some(spec) = &self.profile.transcript else {
            return;
        };
        if spec.format != transcript::Format::Aider {
            return;
        }
        let (env, cwd) = surroundings(self.pid, spec);
        let files = transcript::candidates(spec, &env, &cwd, SystemTime::UNIX_EPOCH);
        let newest = files.into_iter().next();
        self.follower = newest.and_then(|path| Follower::at_end(spec.format, path).ok());
        self.watched = self.follower.is_some();
    }

    /// Returns what the transcript says of the text's turn: of an answer, and behind a question, the
    /// latest.
    pub(super) fn written(&self) -> Option<&transcript::Turn> {
        let follower = self.follower.as_ref()?;
        let since = self.given;
        let own = follower.turn_of(&self.text, since);
        let latest = || {
            let turn = follower.turn()?;
            match turn.began.or(turn.last) {
                Some(begun) => (begun >= since).then_some(turn),
                // It tells no times: what was there when it was asked is old.
                None => follower.fresh(),
            }
        };
        // Where an earlier daemon has begun it, a question may have been answered since.
        let asked = own.is_none_or(|own| {
            let response = own.response.as_deref();
            own.how == Some(How::Done) && response.is_some_and(super::ending::asks)
        });
        if self.asks.is_some() || self.is_reply || (self.taken_up && asked) {
            latest()
        } else {
            own
        }
    }
}

/// A search for the transcript of a turn. It reads files, and so it may take its time.
pub(super) struct Search {
    spec: transcript::Spec,
    pid: u32,
    pane_pid: u32,
    text: String,
    given: Timestamp,
    taken: HashSet<PathBuf>,
    taken_up: bool,
}

/// What a search has come to.
pub(super) enum Found {
    /// Nothing tells of the text.
    None,
    /// One transcript does.
    One(Box<Follower>),
    /// Several do, and none is believed.
    Several,
}

impl Search {
    /// Finds the transcript in which the text stands: of the files that the agent has open or has
    /// written to since, the one that tells of this very text.
    pub(super) fn run(self) -> Found {
        let spec = &self.spec;
        let (env, cwd) = surroundings(self.pid, spec);
        let mut paths = open_transcripts(spec, self.pane_pid, &env, &cwd);
        if paths.is_empty() {
            let since = SystemTime::from(self.given - SLACK);
            paths = transcript::candidates(spec, &env, &cwd, since);
            paths.retain(|path| !self.taken.contains(path));
        }
        let only_one = paths.len() == 1;
        let mut found: Option<Follower> = None;
        for path in paths {
            let small = path.metadata().is_ok_and(|file| file.len() <= READ_WHOLE);
            let mut follower = if small {
                Follower::new(spec.format, path)
            } else if let Ok(follower) = Follower::at_end(spec.format, path) {
                follower
            } else {
                continue;
            };
            // A record is read in several goes, of 4 MiB.
            for _ in 0..READ_WHOLE.div_ceil(4 << 20) {
                if follower.read().is_err() {
                    break;
                }
            }
            // Where an earlier daemon has given it, answers may have followed it.
            let latest = follower.turn().and_then(|turn| turn.began);
            let follows =
                self.taken_up && only_one && latest.is_some_and(|began| began >= self.given);
            if follows || follower.turn_of(&self.text, self.given).is_some() {
                if found.is_some() {
                    return Found::Several;
                }
                found = Some(follower);
            }
        }
        found.map_or(Found::None, |found| Found::One(Box::new(found)))
    }
}
