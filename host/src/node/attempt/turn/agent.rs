//! The agent that has the prompt, and what is known of the turn that it was given.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use super::super::{Act, AgentSight, Observation, Query, SameProfile, Wants, Written};
use super::{LAST_WORDS, ending};
use crate::agents::told::Told;
use crate::agents::transcript::{self, Format, How};
use crate::agents::{Profile, nonce};
use crate::model::clock::{Now, Tick};

/// The agent that has the prompt, and what it was last given.
#[derive(Debug, Clone)]
pub(super) struct TurnAgent {
    pub(super) profile: Arc<Profile>,
    pub(super) pid: u32,
    pub(super) began: u64,
    /// The text that was or is to be pasted. Empty if it is unknown or a person typed it.
    pub(super) text: Arc<str>,
    /// The task's own text, as it was or is to be pasted.
    pub(super) first: Arc<str>,
    /// The earliest time at which it was given; nothing older is about it.
    pub(super) given: Timestamp,
    /// When it was submitted.
    pub(super) submitted: Option<Timestamp>,
    /// Whether an earlier daemon saw its turn running.
    pub(super) ran_before: bool,
    /// Whether its agent had then asked something.
    pub(super) asked_before: bool,
    /// The time of the last report that is about something earlier.
    pub(super) heard: Option<Timestamp>,
    /// Whether an earlier daemon gave it.
    pub(super) resumed: bool,
    /// Whether it is an answer to a question of the agent.
    pub(super) is_reply: bool,
    /// What the agent calls the text's turn, once it has said so.
    pub(super) turn: Option<Arc<str>>,
    /// How often the text was shown as given before it was pasted.
    pub(super) shown: usize,
    /// The record that the agent says it writes to.
    pub(super) transcript: Option<Arc<PathBuf>>,
    /// When its process was first seen to have ended.
    pub(super) gone: Option<Tick>,
}

impl TurnAgent {
    /// Whether its record, if it keeps one, shows the end of a turn.
    pub(super) fn record_shows_ends(&self) -> bool {
        let transcript = self.profile.transcript.as_ref();
        transcript.is_some_and(|transcript| transcript.format.shows_ends())
    }

    /// Marks what the agent has reported up to a moment as heard, so it is about nothing that comes
    /// later.
    pub(super) fn hear_until(&mut self, sight: &AgentSight, moment: Timestamp) {
        let told = sight.report.as_ref().map(|report| report.at);
        if let Some(told) = told.filter(|&told| told <= moment) {
            self.heard = Some(told);
        }
    }

    pub(super) fn of(seen: &AgentSight, text: String, given: Timestamp) -> Self {
        let text: Arc<str> = text.into();
        Self {
            profile: Arc::clone(&seen.profile),
            pid: seen.pid,
            began: seen.began,
            text: Arc::clone(&text),
            first: text,
            given,
            submitted: None,
            ran_before: false,
            asked_before: false,
            heard: None,
            resumed: false,
            is_reply: false,
            turn: None,
            shown: 0,
            transcript: None,
            gone: None,
        }
    }

    /// Learns what the agent calls the text's turn, from its hooks or from its record.
    pub(super) fn learn_turn(&mut self, seen: &Observation, now: Now) {
        let told = self
            .seen(seen)
            .into_iter()
            .flat_map(|agent| agent.told.iter());
        // What was reported before may be of an agent that ran here earlier.
        let told = told.filter(|told| told.began.max(told.ended) >= Some(self.given));
        let mut records = told.filter_map(|told| told.transcript.clone());
        self.transcript = records.next().or_else(|| self.transcript.take());
        if self.turn.is_some() || self.text.is_empty() {
            return;
        }
        let told = self
            .seen(seen)
            .into_iter()
            .flat_map(|agent| agent.told.iter());
        // The earliest one since the text was given: the same words may be given again later. One from
        // the future is older than the last change of the clock.
        let told = told.filter(|told| {
            let began = told.began;
            let began = began.is_some_and(|began| (self.given..=now.wall).contains(&began));
            let prompt = told.prompt.as_deref();
            began && prompt.is_some_and(|prompt| self.is_its_text(prompt))
        });
        let told = told.last().map(|told| Arc::clone(&told.id));
        let written = || seen.record.own.as_ref()?.id.as_deref().map(Arc::from);
        self.turn = told.or_else(written);
    }

    /// Returns the sign of the text, if it has one.
    pub(super) fn nonce(&self) -> Option<&str> {
        nonce::of(&self.profile, &self.text)
    }

    /// Whether a prompt that the agent has reported is the text.
    pub(super) fn is_its_text(&self, prompt: &str) -> bool {
        let is_signed = self
            .nonce()
            .is_some_and(|nonce| nonce::is_in(nonce, prompt));
        is_signed || transcript::same(Format::Claude, prompt, &self.text)
    }

    pub(super) fn asks_for(&mut self, text: Arc<str>) {
        self.first = Arc::clone(&text);
        self.text = text;
    }

    /// From here on, it is about an answer to a question of the agent whose words are not known.
    pub(super) fn answer_unknown(&mut self) {
        self.is_reply = true;
        self.text = Arc::from("");
        self.forget_turn();
    }

    /// Forgets the name of the turn, because the text is a different one from here on.
    pub(super) fn forget_turn(&mut self) {
        self.turn = None;
    }

    /// Returns what the agent's hooks have reported about the text's turn.
    pub(super) fn told<'s>(&self, seen: &'s Observation) -> Option<&'s Told> {
        let turn = self.turn.as_deref()?;
        self.seen(seen)?.told.iter().find(|told| &*told.id == turn)
    }

    /// Whether this is still the agent's process.
    pub(super) fn is(&self, seen: &AgentSight) -> bool {
        (self.pid, self.began) == (seen.pid, seen.began)
    }

    /// Returns the agent as it was seen, if it is this one.
    pub(super) fn seen<'s>(&self, seen: &'s Observation) -> Option<&'s AgentSight> {
        let pane = seen.sight.as_ref()?.pane()?;
        pane.agent.as_ref().filter(|agent| self.is(agent))
    }

    /// Returns the agent as it was seen, if it is this one and its process still runs.
    pub(super) fn alive<'s>(&self, seen: &'s Observation) -> Option<&'s AgentSight> {
        self.seen(seen).filter(|_| seen.process_lives)
    }

    /// Returns the act that reads the prompts that the screen shows as given, and which follow `text`.
    pub(super) fn read_given(&self, text: &Arc<str>, seen: &Observation) -> Act {
        Act::ReadGiven {
            text: Arc::clone(text),
            alternate: self.seen(seen).is_some_and(|agent| agent.alternate),
        }
    }

    /// Returns what must be looked at, except for the screen.
    pub(super) fn wants(&self) -> Wants {
        Wants {
            process: Some((self.pid, self.began)),
            text: Some(Arc::clone(&self.text)),
            profile: Some(SameProfile(Arc::clone(&self.profile))),
            record: self.profile.transcript.is_some().then(|| Query {
                pid: self.pid,
                text: Arc::clone(&self.text),
                nonce: self.nonce().map(Arc::from),
                since: self.given,
                resumed: self.resumed,
                turn: self.turn.clone(),
                transcript: self.transcript.clone(),
            }),
            ..Wants::default()
        }
    }

    /// Whether an agent that has ended may have written something that was not read yet.
    pub(super) fn may_still_tell(&mut self, now: Now) -> bool {
        let gone = *self.gone.get_or_insert(now.tick);
        self.profile.transcript.is_some() && now.tick.since(gone) < LAST_WORDS
    }

    /// Returns what the record says of a turn that is about to begin: the latest turn if the text
    /// is an answer, and otherwise the text's own. Until it is known to have begun, anything else
    /// in the record is someone else's.
    pub(super) fn begins<'s>(&self, seen: &'s Observation) -> Option<&'s Written> {
        if self.is_reply {
            seen.record.latest.as_ref()
        } else {
            seen.record.own.as_ref()
        }
    }

    /// Returns what the record says of the text's turn. For an answer, and after a question, this
    /// is the latest turn.
    pub(super) fn written<'s>(&self, seen: &'s Observation, asks: bool) -> Option<&'s Written> {
        let own = seen.record.own.as_ref();
        // If an earlier daemon saw it running, a question may have been answered since.
        // That its own turn is not written yet proves nothing.
        let asked = own.map_or(self.asked_before, |own| {
            let response = own.response.as_deref();
            own.how == Some(How::Done) && response.is_some_and(ending::asks)
        });
        if asks || self.is_reply || (self.ran_before && asked) {
            seen.record.latest.as_ref()
        } else {
            own
        }
    }
}
