//! A turn: an attempt at an agent.
//!
//! ```text
//! Claimed -> Looking -> Preparing -> Giving -> Running -> Ended
//!                                      ^          |
//!                                      +- reply --+
//! ```
//!
//! A prompt is pasted, seen in the composer, submitted, and seen to be taken up. Each act is
//! recorded in the ledger before it happens, and each look is taken just before the act; tmux
//! itself checks that the pane has not changed since the look. Nothing is ever cancelled, and
//! nothing but our own unsubmitted text is ever cleared. No key goes into a dialog unless a person
//! says so, and the key that submits is pressed again only while our own text is still in the
//! composer.
//!
//! [`giving`] brings a text to the agent, [`running`] handles what follows, and [`ending`] decides
//! how a turn ended.

mod agent;
mod ending;
mod giving;
mod replies;
mod running;
mod submitted;
mod taking_back;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::describe::{check, surroundings};
use super::{
    Act, Brief, Done, Ending, Next, Note, Observation, Refusals, Rules, Sight, UNRESPONSIVE, Wants,
};
use crate::agents::{Profile, nonce, payload, screen};
use crate::model::clock::{Now, Tick};
use crate::model::task::{Event, Outcome, Phase, TurnFacts};
use crate::store::{OpenAttempt, Request};
use agent::TurnAgent;
use giving::{Giving, Stage};
use running::RunningTurn;
use taking_back::{TakingBack, Then};

/// How often a pane is looked at while a prompt is on its way.
const LOOK: Duration = Duration::from_millis(25);

/// How long a daemon that resumes an attempt looks for what was pasted.
const FIND_AGAIN: Duration = Duration::from_secs(2);

/// How long the record of an agent that has ended is still read.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long an agent may be hidden by an editor that it has started.
const BEHIND: Duration = Duration::from_secs(300);

/// An attempt at an agent.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    brief: Brief,
    rules: Rules,
    /// How often sessions refused this prompt before.
    refusals: Refusals,
    /// The phase in its row.
    phase: Phase,
    state: TurnState,
    /// The last reply that was considered; each is given once or never.
    heard_reply: i64,
}

/// How far the attempt has come.
#[derive(Debug, Clone)]
enum TurnState {
    /// Its session is reserved; if `resumed`, by a daemon that has ended.
    Claimed { resumed: bool },
    /// Its directory is being checked.
    Looking { to: Box<TurnAgent> },
    /// Its prerequisites are running alongside the agent.
    Preparing { to: Box<TurnAgent> },
    /// An earlier daemon began it, and its agent has not been seen yet.
    Lost(Lost),
    /// An earlier daemon began it, and its directory is being checked.
    Finding { lost: Lost, to: Box<TurnAgent> },
    /// A text is on its way to the agent.
    Giving(Box<TurnAgent>, Giving),
    /// The agent has it.
    Running(Box<TurnAgent>, RunningTurn),
    /// A text that was pasted but not submitted is being removed from the composer.
    TakingBack(Box<TurnAgent>, TakingBack),
    /// Nothing more happens.
    Ended,
}

/// What is known about an attempt that an earlier daemon began.
#[derive(Debug, Clone)]
struct Lost {
    /// When this daemon resumed it.
    since: Tick,
    /// When bytes may first have reached the pane.
    given: Timestamp,
    /// When the key that submits was last pressed, if it was.
    submitted: Option<Timestamp>,
    /// When it was last known to run.
    started: Tick,
    /// Whether a turn of its agent had ended in a question.
    asked: bool,
    /// Whether that was then answered.
    answered: bool,
}

/// What an agent is waiting for.
#[derive(Debug, Clone)]
struct OpenQuestion {
    /// What it asks, in the words that the store was given.
    asks: String,
    /// When the store was told about it.
    since: Tick,
    /// What it said, if its turn ended in a question.
    said: Option<(String, TurnFacts)>,
    /// Whether the agent has been seen at rest since.
    rested: bool,
    /// The prompts that were shown then.
    shown: Option<screen::GivenPrompts>,
    /// When they were last looked at.
    shown_at: Tick,
}

impl OpenQuestion {
    /// Returns what an agent asks from now on.
    fn new(asks: String, now: Now) -> Self {
        Self {
            asks,
            since: now.tick,
            said: None,
            rested: false,
            shown: None,
            shown_at: now.tick,
        }
    }

    /// Returns how many prompts were shown when it was asked, up to the one that it is about: those
    /// below that may have been given before the question was noticed.
    fn given(&self) -> Option<usize> {
        let shown = self.shown.as_ref()?;
        Some(shown.count - shown.after.unwrap_or_default().min(shown.count))
    }
}

impl Turn {
    /// Returns the machine of an attempt that was claimed just now.
    pub(crate) fn new(brief: Brief, rules: Rules, refusals: Refusals) -> Self {
        Self {
            brief,
            rules,
            refusals,
            phase: Phase::Claimed,
            state: TurnState::Claimed { resumed: false },
            heard_reply: 0,
        }
    }

    /// Returns the machine of an attempt that an earlier daemon began, rebuilt from its row.
    pub(crate) fn resume(open: OpenAttempt, rules: Rules, refusals: Refusals, now: Now) -> Self {
        let state = match open.phase {
            Phase::Claimed => TurnState::Claimed { resumed: true },
            Phase::Delivering | Phase::Submitted | Phase::Running => {
                let since = open.started_at.or(open.delivered_at);
                let ago = since.map(|since| now.wall.duration_since(since));
                let ago = ago.and_then(|ago| Duration::try_from(ago).ok());
                let asks = open.task.asks.as_deref();
                let shows_dialog = asks.is_some_and(|asks| !ending::is_said(asks));
                TurnState::Lost(Lost {
                    since: now.tick,
                    given: open.delivered_at.or(open.submitted_at).unwrap_or(now.wall),
                    submitted: open.submitted_at,
                    started: now.tick - ago.unwrap_or_default(),
                    asked: open.has_said,
                    answered: open.has_said && (open.answered || shows_dialog),
                })
            }
            Phase::Ended => TurnState::Ended,
        };
        Self {
            phase: open.phase,
            brief: Brief {
                attempt: open.id,
                task: open.task,
                session: open.session,
                identity: open.identity,
            },
            rules,
            refusals,
            state,
            heard_reply: 0,
        }
    }

    /// Returns what the attempt is about.
    pub(crate) fn brief(&self) -> &Brief {
        &self.brief
    }

    /// Whether nothing more happens.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state, TurnState::Ended)
    }

    /// Returns what must be looked at before the next step.
    pub(crate) fn wants(&self) -> Wants {
        match &self.state {
            TurnState::Claimed { .. }
            | TurnState::Looking { .. }
            | TurnState::Preparing { .. }
            | TurnState::Lost(_)
            | TurnState::Finding { .. }
            | TurnState::Ended => Wants::default(),
            TurnState::Giving(agent, giving) => Wants {
                screen: giving.looks(),
                ..agent.wants()
            },
            TurnState::Running(agent, running) => Wants {
                screen: running.looks(),
                ..agent.wants()
            },
            TurnState::TakingBack(agent, _) => Wants {
                screen: true,
                ..agent.wants()
            },
        }
    }

    /// Takes the attempt one step further.
    pub(crate) fn step(mut self, seen: &Observation, now: Now) -> (Self, Next) {
        if seen.sight.is_none() {
            // Nothing is decided before the first look at the sessions.
            return (self, Next::wait());
        }
        let state = std::mem::replace(&mut self.state, TurnState::Ended);
        if let Some(end) = self.asked_to_end(&state, seen, now) {
            return match state {
                TurnState::Giving(agent, giving) if giving.is_left_standing() => {
                    let then = Then::End(Vec::new(), Box::new(end));
                    self.take_back(agent, then, false, seen, now)
                }
                _ => self.end(end),
            };
        }
        match state {
            TurnState::Claimed { resumed: true } => {
                let reason = "the daemon ended before anything was typed";
                let end = Ending::new(Outcome::Withdrawn, Event::Withdraw).because(reason);
                self.end(end)
            }
            TurnState::Claimed { resumed: false } => self.claimed(seen, now),
            TurnState::Looking { to } => self.looked(to, seen, now),
            TurnState::Preparing { to } => self.prepared(to, seen, now),
            TurnState::Lost(lost) => self.lost(lost, seen, now),
            TurnState::Finding { lost, to } => self.found(lost, to, seen, now),
            TurnState::Giving(mut agent, giving) => {
                if giving.is_pasted() {
                    agent.learn_turn(seen, now);
                }
                self.give(agent, giving, seen, now)
            }
            TurnState::Running(mut agent, running) => {
                agent.learn_turn(seen, now);
                self.run(agent, running, seen, now)
            }
            TurnState::TakingBack(agent, taking) => self.go_on_taking(agent, taking, seen, now),
            TurnState::Ended => (self, Next::wait()),
        }
    }

    fn to(mut self, state: TurnState, next: Next) -> (Self, Next) {
        self.state = state;
        (self, next)
    }

    fn end(self, end: Ending) -> (Self, Next) {
        self.end_after(Vec::new(), end)
    }

    fn end_after(self, mut acts: Vec<Act>, end: Ending) -> (Self, Next) {
        acts.push(Act::End(Box::new(end)));
        self.to(TurnState::Ended, Next::act(acts))
    }

    fn fail(self, reason: impl Into<String>) -> (Self, Next) {
        let end = Ending::failed(&self.brief, Outcome::Failed).because(reason);
        self.end(end)
    }

    /// Ends an attempt whose outcome cannot be established.
    fn lose(self, reason: impl Into<String>) -> (Self, Next) {
        let reason = reason.into();
        let hold = Act::Tell(Note::Hold(UNRESPONSIVE, reason.clone()));
        let end = Ending::new(Outcome::Uncertain, Event::Lose).because(reason);
        self.end_after(vec![hold], end)
    }

    /// Returns how an attempt ends if a person asks for it or its time is over. The agent is left
    /// alone: no key is right for every state that it may be in.
    fn asked_to_end(&self, state: &TurnState, seen: &Observation, now: Now) -> Option<Ending> {
        let left = match (state, self.phase) {
            (TurnState::Ended | TurnState::TakingBack(..), _) => return None,
            (_, Phase::Running) => "the agent was left alone and may continue",
            (_, Phase::Submitted) => "the prompt was submitted; the agent was left alone",
            (_, Phase::Delivering) => "the prompt was pasted and not submitted",
            _ => "nothing was typed",
        };
        match &seen.request {
            Some(Request::Cancel) => {
                let end = Ending::new(Outcome::Cancelled, Event::Cancel);
                return Some(end.because(format!("cancelled by a person: {left}")));
            }
            Some(Request::Reassign(_)) => {
                let end = Ending::new(Outcome::Reassigned, Event::Return);
                let reason = format!("given to another session by a person: {left}");
                return Some(end.because(reason));
            }
            None => {}
        }
        // No time is counted while the agent waits for a person.
        let since = match state {
            TurnState::Running(_, running) if !running.waits() => running.since,
            TurnState::Lost(lost)
                if self.phase == Phase::Running && self.brief.task.asks.is_none() =>
            {
                lost.started
            }
            _ => return None,
        };
        let seconds = self
            .brief
            .task
            .timeout_seconds
            .filter(|&seconds| seconds > 0)?;
        if now.tick.since(since) < Duration::from_secs(seconds) {
            return None;
        }
        let end = Ending::failed(&self.brief, Outcome::TimedOut);
        Some(end.because(format!("took longer than {seconds} s: {left}")))
    }

    fn claimed(self, seen: &Observation, now: Now) -> (Self, Next) {
        if let Err(reason) = check(&self.brief.task) {
            return self.fail(reason);
        }
        let pane = seen.sight.as_ref().and_then(Sight::pane);
        let Some((pane, agent)) = pane.and_then(|pane| Some((pane, pane.agent.as_ref()?))) else {
            return self.refused("the agent has ended".to_owned(), super::HOLD, false);
        };
        let look = Act::LookAtPlace {
            stands: pane.directory.clone(),
        };
        let to = Box::new(TurnAgent::of(agent, String::new(), now.wall));
        self.to(TurnState::Looking { to }, Next::act([look]))
    }

    fn looked(self, mut to: Box<TurnAgent>, seen: &Observation, now: Now) -> (Self, Next) {
        let wanted = match &seen.done {
            Some(Done::Place(Ok(wanted))) => wanted.as_deref(),
            Some(Done::Place(Err(reason))) => return self.fail(reason.clone()),
            _ => return self.to(TurnState::Looking { to }, Next::wait()),
        };
        let stands = seen.sight.as_ref().and_then(Sight::pane);
        let stands = stands.and_then(|pane| pane.directory.clone());
        match self.text(&to.profile, stands.as_deref(), wanted) {
            Ok(text) => to.asks_for(text),
            Err(reason) => return self.fail(reason),
        }
        if self.brief.task.metadata.prerequisites.is_empty() {
            let giving = Giving::new(now, None);
            return self.to(TurnState::Giving(to, giving), Next::again(Duration::ZERO));
        }
        let acts = [
            Act::NoteSession {
                action: "preparing",
                details: format!("task {}: running its prerequisites", self.brief.task.id),
            },
            Act::RunPrerequisites { stands },
        ];
        self.to(TurnState::Preparing { to }, Next::act(acts))
    }

    /// Returns the text that is pasted.
    fn text(
        &self,
        profile: &Profile,
        stands: Option<&str>,
        wanted: Option<&str>,
    ) -> Result<Arc<str>, String> {
        let task = &self.brief.task;
        let note = surroundings(task, profile, stands, wanted)?;
        payload::prepare(profile, &self.signed(profile), note.as_deref())
            .map(Arc::from)
            .map_err(|unfit| format!("nothing was typed: {unfit}"))
    }

    /// Returns the prompt with its sign, if the profile asks for one.
    fn signed(&self, profile: &Profile) -> Cow<'_, str> {
        let nonce = self.rules.nonces.nonce(self.brief.attempt);
        nonce::signed(profile, &self.brief.task.content, &nonce)
    }

    /// Returns what an agent has said, without the sign that its prompt had.
    fn unsigned(&self, profile: &Profile, said: String) -> String {
        if !profile.paste.nonce {
            return said;
        }
        let nonce = self.rules.nonces.nonce(self.brief.attempt);
        nonce::without(&nonce, &said).into_owned()
    }

    fn prepared(self, to: Box<TurnAgent>, seen: &Observation, now: Now) -> (Self, Next) {
        match &seen.done {
            Some(Done::Prerequisites(Ok(()))) => {
                let giving = Giving::new(now, None);
                self.to(TurnState::Giving(to, giving), Next::again(Duration::ZERO))
            }
            Some(Done::Prerequisites(Err(reason))) => self.fail(reason.clone()),
            _ => self.to(TurnState::Preparing { to }, Next::wait()),
        }
    }

    /// Resumes a turn that an earlier daemon left, if its agent is still there.
    fn lost(self, lost: Lost, seen: &Observation, now: Now) -> (Self, Next) {
        let pane = seen.sight.as_ref().and_then(Sight::pane);
        let agent = pane.and_then(|pane| pane.agent.as_ref());
        if lost.given > now.wall {
            let reason = "the clock was set back while no daemon was running: it is not known which \
                          agent was given the prompt";
            return self.lose(reason);
        }
        // An agent that started later was not given anything.
        let agent = agent.filter(|agent| agent.started.is_none_or(|began| began <= lost.given));
        if let (Some(pane), Some(agent)) = (pane, agent) {
            let look = Act::LookAtPlace {
                stands: pane.directory.clone(),
            };
            let to = Box::new(TurnAgent::of(agent, String::new(), lost.given));
            return self.to(TurnState::Finding { lost, to }, Next::act([look]));
        }
        // An agent may be hidden for a while by an editor that it has started.
        let lives = seen.sight.as_ref().is_some_and(|sight| match &sight.pane {
            super::Presence::Here(_) => true,
            super::Presence::Missing { lives } => *lives,
        });
        let within = if self.phase == Phase::Running && lives {
            BEHIND
        } else {
            FIND_AGAIN
        };
        if seen.sight.is_none() || now.tick.since(lost.since) < within {
            return self.to(TurnState::Lost(lost), Next::again(LOOK * 4));
        }
        // A person may have submitted the pasted text before the agent ended.
        if self.phase == Phase::Claimed {
            let reason = "the agent ended before the prompt was submitted";
            let end = Ending::new(Outcome::Withdrawn, Event::Withdraw).because(reason);
            return self.end(end);
        }
        self.lose("the agent ended while no daemon was running: it is not known what became of the prompt")
    }

    /// The agent of a turn that an earlier daemon left is there; continues from the phase in the
    /// row.
    fn found(
        self,
        lost: Lost,
        mut to: Box<TurnAgent>,
        seen: &Observation,
        now: Now,
    ) -> (Self, Next) {
        // If the directory does not answer, its name must do as it was written.
        let wanted = match &seen.done {
            Some(Done::Place(place)) => place.as_ref().ok().and_then(Option::as_deref),
            _ => return self.to(TurnState::Finding { lost, to }, Next::wait()),
        };
        let stands = seen.sight.as_ref().and_then(Sight::pane);
        let stands = stands.and_then(|pane| pane.directory.clone());
        let task = &self.brief.task;
        let note = surroundings(task, &to.profile, stands.as_deref(), wanted);
        let note = note.ok().flatten();
        let Ok(text) = payload::prepare(&to.profile, &self.signed(&to.profile), note.as_deref())
        else {
            return self.to(TurnState::Lost(lost), Next::again(LOOK * 4));
        };
        to.asks_for(text.into());
        to.resumed = true;
        let question = task.asks.clone();
        let question = question.map(|asks| OpenQuestion::new(asks, now));
        let has_said = |asked: &OpenQuestion| ending::is_said(&asked.asks);
        if lost.answered && !question.as_ref().is_some_and(has_said) {
            // The agent is working on an answer, and its text is no longer known.
            to.answer_unknown();
        }
        // Earlier reports are about something else.
        to.submitted = lost.submitted;
        let stage = match self.phase {
            Phase::Delivering => Stage::pasted(),
            Phase::Submitted => Stage::Submitted {
                presses: 1,
                last: now.tick,
            },
            Phase::Running | Phase::Claimed | Phase::Ended => {
                to.ran_before = true;
                to.asked_before = lost.asked;
                // When it continued after an answer is not known, and an earlier report may be late.
                let began = lost.submitted.unwrap_or(lost.given);
                to.submitted = Some(if to.is_reply { now.wall } else { began });
                let running = RunningTurn::resumed(lost.started, question, now);
                return self.to(TurnState::Running(to, running), Next::again(Duration::ZERO));
            }
        };
        let giving = Giving::at(stage, now);
        self.to(TurnState::Giving(to, giving), Next::act([Act::TakePane]))
    }
}
