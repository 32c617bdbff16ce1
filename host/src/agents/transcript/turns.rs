//! Turns, built from the entries of a transcript.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::super::nonce;
use super::{Entry, Format, How, Wanted, same};

/// The number of bytes of an agent's messages that are kept for one turn, and for all turns before
/// the latest. The oldest are dropped first.
const LONGEST_SAID: usize = 16 << 20;
/// The number of changed files that are kept for a turn.
const MOST_FILES: usize = 2_000;
/// The number of texts said to the agent while it worked that are kept.
const MOST_FURTHER: usize = 64;

/// The number of turns kept before the latest: a person may have several more prompts queued after
/// one.
pub(crate) const MOST_BEFORE: usize = 32;

/// One turn of a transcript.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TranscriptTurn {
    /// What it was asked to do. `None` if nobody asked, or if it is not known.
    pub prompt: Option<String>,
    /// The agent's name for it.
    pub id: Option<String>,
    /// When it began.
    pub began: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How it ended. `None` if it is still open.
    pub how: Option<How>,
    /// Its messages.
    pub said: Vec<String>,
    /// Once it has ended, its final message, or else everything that it said.
    pub response: Option<String>,
    /// The files that it changed, without duplicates.
    pub files: Vec<String>,
    /// How it has ended, with its final message, if the agent is idle: the record alone does not tell.
    pub paused: Option<(How, Option<String>)>,
    /// What it may be waiting for.
    pub asked: Option<String>,
    /// When something of it was last written.
    pub last: Option<Timestamp>,
    /// What else was said to the agent while it worked.
    pub further: Vec<Interjection>,
    /// When the prompt was given.
    prompted: Option<Timestamp>,
    /// The size of all of `said`, in bytes.
    size: usize,
}

/// What was said to an agent in the middle of a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interjection {
    /// When it was said.
    pub at: Option<Timestamp>,
    /// The text.
    pub text: String,
    /// The agent's name for it.
    pub id: Option<String>,
    /// It was there before the transcript was followed.
    old: bool,
}

/// The latest turn, and the last ones before it that have a prompt.
#[derive(Debug, Default)]
pub(super) struct Turns {
    latest: Option<Entered>,
    /// Oldest first.
    pub(super) before: VecDeque<Entered>,
}

#[derive(Debug, Default)]
pub(super) struct Entered {
    turn: TranscriptTurn,
    /// Its prompt was there before the transcript was followed.
    old: bool,
}

impl Turns {
    /// Returns the latest turn, unless it was marked as old.
    pub(super) fn fresh(&self) -> Option<&TranscriptTurn> {
        let latest = self.latest.as_ref().filter(|entered| !entered.old);
        latest.map(|entered| &entered.turn)
    }

    pub(super) fn latest(&self) -> Option<&TranscriptTurn> {
        self.latest.as_ref().map(|entered| &entered.turn)
    }

    /// Returns the latest turn that matches `wanted`.
    ///
    /// Without times, everything from before the transcript was followed counts as before `since`.
    pub(super) fn of(&self, format: Format, wanted: Wanted<'_>) -> Option<&TranscriptTurn> {
        let is_it = |said: Option<&str>, id: Option<&str>, at: Option<Timestamp>, old: bool| {
            if let (Some(wanted), Some(id)) = (wanted.id, id) {
                return wanted == id;
            }
            let late = match at {
                // Transcripts drop anything finer than milliseconds.
                Some(at) => at.as_millisecond() >= wanted.since.as_millisecond(),
                None => !old,
            };
            let is_signed =
                |said: &str| wanted.nonce.is_some_and(|nonce| nonce::is_in(nonce, said));
            late && said.is_some_and(|said| is_signed(said) || same(format, said, wanted.text))
        };
        let is_of = |entered: &&Entered| {
            let turn = &entered.turn;
            let prompted = turn.prompted.or(turn.began);
            is_it(
                turn.prompt.as_deref(),
                turn.id.as_deref(),
                prompted,
                entered.old,
            ) || turn.further.iter().any(|further| {
                let id = further.id.as_deref();
                is_it(Some(&further.text), id, further.at, further.old)
            })
        };
        let before = self.before.iter().rev();
        let mut turns = self.latest.iter().chain(before);
        turns.find(is_of).map(|entered| &entered.turn)
    }

    /// Marks everything so far as older than what follows.
    pub(super) fn age(&mut self) {
        for entered in self.latest.iter_mut().chain(&mut self.before) {
            entered.old = entered.turn.prompt.is_some();
            for further in &mut entered.turn.further {
                further.old = true;
            }
        }
    }

    /// Notes that something was written while a turn was open.
    pub(super) fn noted(&mut self, at: Timestamp) {
        if let Some(entered) = self.latest.as_mut()
            && entered.turn.how.is_none()
        {
            entered.turn.last = entered.turn.last.max(Some(at));
        }
    }

    fn drop_oldest(&mut self) {
        let mut size: usize = self.before.iter().map(|entered| entered.turn.size).sum();
        while self.before.len() > MOST_BEFORE || (size > LONGEST_SAID && self.before.len() > 1) {
            let oldest = self.before.pop_front();
            size -= oldest.map_or(0, |oldest| oldest.turn.size);
        }
    }

    pub(super) fn take(&mut self, entry: &Entry) {
        if let Entry::Began { at } = entry {
            let turn = TranscriptTurn {
                began: *at,
                last: *at,
                ..TranscriptTurn::default()
            };
            let begun = Entered { turn, old: false };
            // A turn without a prompt does not displace one that has a prompt.
            if let Some(ended) = self.latest.replace(begun)
                && ended.turn.prompt.is_some()
            {
                self.before.push_back(ended);
                self.drop_oldest();
            }
            return;
        }
        self.latest.get_or_insert_default().turn.take(entry);
    }
}

impl TranscriptTurn {
    fn take(&mut self, entry: &Entry) {
        self.paused = None;
        match entry {
            Entry::Began { .. } => {}
            Entry::Paused { at, how, text } => {
                self.wrote(*at);
                self.paused = Some((how.clone(), text.clone()));
            }
            Entry::Prompt { at, text, id } => {
                self.wrote(*at);
                self.asked = None;
                if self.prompt.is_none() {
                    self.prompt = Some(text.clone());
                    self.id.clone_from(id);
                    self.prompted = *at;
                } else if self.further.len() < MOST_FURTHER {
                    self.further.push(Interjection {
                        at: *at,
                        text: text.clone(),
                        id: id.clone(),
                        old: false,
                    });
                }
            }
            Entry::Said { at, text } => {
                self.reopen();
                self.wrote(*at);
                self.asked = None;
                self.say(text);
            }
            Entry::Touched { path } => {
                if self.files.len() < MOST_FILES && !self.files.contains(path) {
                    self.files.push(path.clone());
                }
            }
            Entry::Asked { at, text } => {
                self.wrote(*at);
                self.asked = Some(text.clone());
            }
            Entry::Answered { at } => {
                self.wrote(*at);
                self.asked = None;
            }
            Entry::Ended { at, how, text } => {
                self.wrote(*at);
                self.asked = None;
                self.ended = *at;
                self.how = Some(how.clone());
                self.response = text.clone().or_else(|| {
                    let all = self.said.join("\n\n");
                    (!all.is_empty()).then_some(all)
                });
            }
        }
    }

    fn wrote(&mut self, at: Option<Timestamp>) {
        self.last = self.last.max(at);
    }

    fn reopen(&mut self) {
        self.how = None;
        self.ended = None;
        self.response = None;
    }

    fn say(&mut self, text: &str) {
        self.said.push(text.to_owned());
        self.size += text.len();
        let mut dropped = 0;
        while self.size > LONGEST_SAID && dropped + 1 < self.said.len() {
            self.size -= self.said.get(dropped).map_or(0, String::len);
            dropped += 1;
        }
        self.said.drain(..dropped);
    }
}
