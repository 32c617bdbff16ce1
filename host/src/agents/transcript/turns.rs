//! Turns, built from the entries of a transcript.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

use super::super::nonce;
use super::{Entry, Format, How, Wanted, same};

/// The number of bytes of an agent's messages that are kept for one turn, and for all turns before
/// the latest. The oldest are dropped first.
const LONGEST_SAID: usize = 16 << 20;
/// A clock that is only corrected goes back by less than this.
const CORRECTED: SignedDuration = SignedDuration::from_secs(2);
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
    /// Whether this time had not come when it was read: it began before the clock was set back.
    pub ahead: bool,
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
    /// Its time had not come when it was read.
    ahead: bool,
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
        let is_late = |at: Option<Timestamp>, old: bool, ahead: bool| match at {
            // Transcripts drop anything finer than milliseconds.
            Some(at) => at.as_millisecond() >= wanted.since.as_millisecond() && !ahead,
            None => !old,
        };
        let is_it = |said: Option<&str>, id: Option<&str>, late: bool| {
            if let (Some(wanted), Some(id)) = (wanted.id, id) {
                return wanted == id;
            }
            let is_signed =
                |said: &str| wanted.nonce.is_some_and(|nonce| nonce::is_in(nonce, said));
            late && said.is_some_and(|said| is_signed(said) || same(format, said, wanted.text))
        };
        let is_of = |entered: &&Entered| {
            let turn = &entered.turn;
            let prompted = turn.prompted.or(turn.began);
            let late = is_late(prompted, entered.old, turn.ahead);
            is_it(turn.prompt.as_deref(), turn.id.as_deref(), late)
                || turn.further.iter().any(|further| {
                    let late = is_late(further.at, further.old, further.ahead);
                    is_it(Some(&further.text), further.id.as_deref(), late)
                })
        };
        let before = self.before.iter().rev();
        let mut turns = self.latest.iter().chain(before);
        turns.find(is_of).map(|entered| &entered.turn)
    }

    /// Takes over what is known of turns that were read before, by their names.
    pub(super) fn inherit(&mut self, known: &Self) {
        for entered in self.latest.iter_mut().chain(&mut self.before) {
            let mut known = known.latest.iter().chain(&known.before);
            let was = known.find(|was| was.turn.id.is_some() && was.turn.id == entered.turn.id);
            if let Some(was) = was {
                entered.old = was.old;
                entered.turn.ahead = was.turn.ahead;
            }
        }
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

    /// Takes an entry that was read at this time.
    pub(super) fn take(&mut self, entry: &Entry, now: Timestamp) {
        let is_ahead =
            |at: &Option<Timestamp>| at.is_some_and(|at| at.duration_since(now) > CORRECTED);
        if let Entry::Began { at } = entry {
            let turn = TranscriptTurn {
                began: *at,
                ahead: is_ahead(at),
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
        let latest = &mut self.latest.get_or_insert_default().turn;
        latest.take(entry);
        if let Entry::Prompt { at, .. } = entry
            && let Some(further) = latest.further.last_mut()
        {
            further.ahead = is_ahead(at);
        }
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
                        ahead: false,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    /// Returns turns that were read at this second: each with its name and the second at which it
    /// began.
    fn read(turns: &[(&str, i64)], now: i64) -> Turns {
        let mut all = Turns::default();
        for &(name, began) in turns {
            let (began, id) = (Some(at(began)), Some(name.to_owned()));
            all.take(&Entry::Began { at: began }, at(now));
            let prompt = Entry::Prompt {
                at: began,
                text: "go on".to_owned(),
                id,
            };
            all.take(&prompt, at(now));
        }
        all
    }

    fn found(turns: &Turns, since: i64) -> Option<String> {
        let wanted = Wanted {
            id: None,
            text: "go on",
            nonce: None,
            since: at(since),
        };
        turns.of(Format::Codex, wanted)?.id.clone()
    }

    #[test]
    fn a_turn_from_before_the_clock_was_set_back_is_not_taken_for_a_later_one() {
        // The same words were given an hour ago by the clock of then.
        let turns = read(&[("then", 7_200)], 3_700);
        assert!(turns.latest().expect("a turn").ahead);
        assert_eq!(found(&turns, 3_650), None);
        let turns = read(&[("then", 7_200), ("now", 3_660)], 3_700);
        assert_eq!(found(&turns, 3_650).as_deref(), Some("now"));
        // A clock that is corrected by a moment is the same clock.
        let turns = read(&[("now", 3_701)], 3_700);
        assert_eq!(found(&turns, 3_650).as_deref(), Some("now"));
    }

    #[test]
    fn what_is_read_again_keeps_what_was_known_of_it() {
        let mut known = read(&[("one", 7_200)], 7_300);
        known.age();
        // The clock was set back, and one has been added.
        let mut again = read(&[("one", 7_200), ("two", 3_660)], 3_700);
        again.inherit(&known);
        assert_eq!(found(&again, 7_000).as_deref(), Some("one"));
        assert_eq!(
            again.fresh().and_then(|turn| turn.id.as_deref()),
            Some("two")
        );
        let mut same = read(&[("one", 7_200)], 3_700);
        same.inherit(&known);
        assert_eq!(same.fresh(), None);
    }
}
