//! What follows once an agent has its prompt: it works, asks, is answered, and ends.

use std::sync::Arc;
use std::time::Duration;

use super::super::{Act, Done, Ending, Next, Observation, OutputSource, Record, Sight, Written};
use super::ending::{EndVerdict, EndedTurn, KnownEnd, is_said};
use super::giving::Giving;
use super::replies::Heard;
use super::{LOOK, OpenQuestion, Turn, TurnAgent, TurnState};
use crate::agents::fuse::{Says, SignalSource};
use crate::agents::screen::GivenPrompts;
use crate::agents::transcript::How;
use crate::model::clock::{Now, Tick};
use crate::model::session::Activity;
use crate::model::task::{Event, Outcome, TurnFacts};

/// A changed dialog is reported again only after this time, because it may show a count of seconds.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// A running turn.
#[derive(Debug, Clone)]
pub(super) struct RunningTurn {
    /// When the task's time began.
    pub(super) since: Tick,
    /// When this state began.
    pub(super) entered: Tick,
    /// Since when the agent has seemed idle.
    pub(super) idle: Option<Tick>,
    /// When a report of its end was first seen.
    pub(super) told: Option<Tick>,
    /// When the agent was last seen to work after that.
    pub(super) worked: Tick,
    /// What the agent is waiting for.
    pub(super) question: Option<OpenQuestion>,
    /// When a dialog of the agent was answered.
    pub(super) answered: Option<Tick>,
    /// If it is about an answer that is not known: how many prompts were shown when the agent asked.
    given_before: Option<usize>,
    /// What is being read or done.
    pub(super) reading: Option<Reading>,
}

/// What a running turn is having read or done.
#[derive(Debug, Clone)]
pub(super) enum Reading {
    /// Reading the prompts that are shown when a question is noticed.
    Asked,
    /// Reading the prompts that are shown later: there is one more if a person has answered in the
    /// pane.
    Later,
    /// Something has ended, and the prompts that are shown are being read: another prompt may have been
    /// given in the meantime, and have ended as well.
    Whose(KnownEnd),
    /// Reading the answer on the screen.
    Answer(KnownEnd),
    /// There is a reply, and the screen is being read for it.
    Reply,
    /// The right to write into the pane is being taken for this reply.
    Lock(i64),
    /// The keys of the reply are being pressed.
    Keys,
}

impl RunningTurn {
    /// Returns a turn whose agent may be waiting for an answer to `question`.
    pub(super) fn waiting(since: Tick, question: Option<OpenQuestion>) -> Self {
        Self {
            since,
            entered: since,
            idle: None,
            told: None,
            worked: since,
            question,
            answered: None,
            given_before: None,
            reading: None,
        }
    }

    /// Returns a turn that an earlier daemon began.
    pub(super) fn resumed(since: Tick, question: Option<OpenQuestion>, now: Now) -> Self {
        Self {
            entered: now.tick,
            ..Self::waiting(since, question)
        }
    }

    /// Whether the agent is waiting for a person.
    pub(super) fn waits(&self) -> bool {
        self.question.is_some()
    }

    /// Whether the screen must be read because a reply is to be given.
    pub(super) fn looks(&self) -> bool {
        matches!(self.reading, Some(Reading::Reply | Reading::Lock(_)))
    }

    pub(super) fn asks(&self) -> Option<&str> {
        self.question
            .as_ref()
            .map(|question| question.asks.as_str())
    }

    /// Whether the agent has said something that ends in a question.
    pub(super) fn has_said(&self) -> bool {
        let question = self.question.as_ref();
        question.is_some_and(|question| question.said.is_some())
    }

    /// The agent continues. If it had said something, it is now working on another turn.
    fn go_on(mut self, agent: &mut TurnAgent, now: Now) -> Self {
        // An earlier daemon may have noticed the question.
        if self.has_said() || self.asks().is_some_and(is_said) {
            agent.answer_unknown();
            self.given_before = self.question.as_ref().and_then(OpenQuestion::given);
        }
        self.question = None;
        self.idle = None;
        self.told = None;
        self.since = now.tick;
        self.entered = now.tick;
        self
    }
}

impl Turn {
    /// Takes a running turn one step further.
    pub(super) fn run(
        mut self,
        mut agent: Box<TurnAgent>,
        mut running: RunningTurn,
        seen: &Observation,
        now: Now,
    ) -> (Self, Next) {
        let mut read = None;
        match (running.reading.take(), &seen.done) {
            (Some(Reading::Asked), Some(Done::Given(shown))) => {
                if let Some(question) = &mut running.question {
                    question.shown.clone_from(shown);
                    question.shown_at = now.tick;
                }
            }
            (Some(Reading::Later), Some(Done::Given(shown))) => {
                let question = running.question.as_ref();
                let before = question.and_then(|question| question.shown.as_ref());
                // A prompt that was given while no daemon looked is on the screen from the first
                // look on.
                let is_new = |shown: &GivenPrompts| {
                    shown.is_followed() || before.is_some_and(|before| before != shown)
                };
                if shown.as_ref().is_some_and(is_new) {
                    let details = "the agent has continued".to_owned();
                    return self.goes_on(agent, running, details, true, now, seen);
                }
            }
            (Some(Reading::Whose(known)), Some(Done::Given(shown))) => {
                return self.judge_end(agent, running, known, shown.as_ref(), seen, now);
            }
            (Some(Reading::Answer(known)), Some(Done::Answer(answer))) => {
                read = Some((known, answer.clone()));
            }
            (Some(Reading::Keys), Some(Done::Typed(typed))) => {
                return self.answered(agent, running, typed, now, seen);
            }
            // This look was taken for the person's answer.
            (Some(reading @ (Reading::Reply | Reading::Lock(_))), _) => {
                running.reading = Some(reading);
            }
            _ => {}
        }
        let locked = matches!(running.reading, Some(Reading::Lock(_)));
        // What was read is judged first: a reply that cannot be given yet would ask for another
        // look again and again.
        let heard = if read.is_some() {
            Heard::Nothing
        } else {
            self.hear_reply(&agent, &mut running, seen)
        };
        match heard {
            Heard::Nothing => {
                running.reading = None;
                if locked {
                    let next = Next::act([Act::LeavePane]);
                    return self.to(TurnState::Running(agent, running), next);
                }
            }
            Heard::Look(acts) => {
                let next = Next {
                    again: acts.is_empty().then_some(Duration::ZERO),
                    anew: true,
                    acts,
                };
                return self.to(TurnState::Running(agent, running), next);
            }
            Heard::Acts(acts) => {
                running.reading = None;
                return self.to(TurnState::Running(agent, running), Next::act(acts));
            }
            Heard::Press(acts) => {
                running.reading = Some(Reading::Keys);
                return self.to(TurnState::Running(agent, running), Next::act(acts));
            }
            Heard::Words(act, text) => {
                agent.text = text;
                agent.is_reply = true;
                let answers = running.question.map(|question| (question, running.since));
                let giving = Giving::new(now, answers);
                return self.to(TurnState::Giving(agent, giving), Next::act([act]));
            }
            Heard::Accepted(act) => {
                let said = running
                    .question
                    .as_mut()
                    .and_then(|asked| asked.said.take());
                if let Some((response, facts)) = said {
                    let ended = EndedTurn {
                        how: How::Done,
                        response: Some(response),
                        facts,
                    };
                    return self.finish(agent, running, ended, vec![act], true, seen, now);
                }
            }
        }
        match self.ended(&agent, &mut running, read, seen, now) {
            EndVerdict::Ended(mut ended) => {
                let said = ended.response.take();
                ended.response = said.map(|said| self.unsigned(&agent.profile, said));
                self.finish(agent, running, *ended, Vec::new(), false, seen, now)
            }
            EndVerdict::Read(known) => {
                let may_be_other = matches!(
                    &known,
                    KnownEnd::Reported {
                        message: Some(_),
                        ..
                    }
                );
                if !(may_be_other || agent.text.is_empty()) {
                    return self.read_answer(agent, running, known, seen);
                }
                let text = if agent.text.is_empty() {
                    &agent.first
                } else {
                    &agent.text
                };
                let act = agent.read_given(text, seen);
                running.reading = Some(Reading::Whose(known));
                self.to(TurnState::Running(agent, running), Next::act([act]))
            }
            EndVerdict::NotYet => self.look_on(agent, running, seen, now),
            // What has not provably ended has not failed, and is not tried again.
            EndVerdict::Unknown(reason, said) => {
                let said = said.map(|said| self.unsigned(&agent.profile, said));
                let end = Ending {
                    output: said.map_or(OutputSource::None, OutputSource::Text),
                    ..Ending::new(Outcome::Uncertain, Event::Lose).because(reason)
                };
                self.end(end)
            }
        }
    }

    /// Something has ended, and no name tells whose turn it was. It was the last prompt's, so it was
    /// ours only if none is shown that was given later.
    fn judge_end(
        self,
        agent: Box<TurnAgent>,
        running: RunningTurn,
        known: KnownEnd,
        shown: Option<&GivenPrompts>,
        seen: &Observation,
        now: Now,
    ) -> (Self, Next) {
        let is_ours = match (shown, running.given_before) {
            // Below ours, no other was given.
            (Some(shown), _) if !agent.text.is_empty() => !shown.is_followed(),
            (None, _) if !agent.text.is_empty() => false,
            // The answer is the only one that was given since.
            (Some(shown), Some(before)) if shown.count <= before + 1 => true,
            (Some(shown), None) if shown.after == Some(1) => true,
            _ => {
                let reason = "it is not known whether the agent's last answer is that to this task: \
                              somebody answered it, and other prompts may have followed";
                let end = Ending::new(Outcome::Uncertain, Event::Lose).because(reason);
                return self.end(end);
            }
        };
        match known {
            KnownEnd::Reported {
                facts,
                message: Some(message),
                ..
            } if is_ours => {
                let ended = EndedTurn {
                    how: How::Done,
                    response: Some(message),
                    facts: *facts,
                };
                self.finish(agent, running, ended, Vec::new(), false, seen, now)
            }
            // The answer below our text is ours.
            known => self.read_answer(agent, running, known, seen),
        }
    }

    /// Has the answer read from the screen.
    fn read_answer(
        self,
        agent: Box<TurnAgent>,
        mut running: RunningTurn,
        known: KnownEnd,
        seen: &Observation,
    ) -> (Self, Next) {
        let act = Act::ReadAnswer {
            text: Arc::clone(&agent.text),
            alternate: agent.seen(seen).is_some_and(|agent| agent.alternate),
        };
        running.reading = Some(Reading::Answer(known));
        self.to(TurnState::Running(agent, running), Next::act([act]))
    }

    /// The turn has not ended: the agent is working, is waiting for a person, or has ended itself.
    fn look_on(
        self,
        mut agent: Box<TurnAgent>,
        mut running: RunningTurn,
        seen: &Observation,
        now: Now,
    ) -> (Self, Next) {
        let mut acts = Vec::new();
        // The program in the foreground may be another one for a while, such as an editor that the
        // agent started.
        if !seen.process_lives {
            // Its record may contain an end that has not been read yet.
            if agent.may_still_tell(now) {
                return self.to(TurnState::Running(agent, running), Next::again(LOOK));
            }
            let reason = "the agent ended in the middle of its turn";
            let end = Ending::failed(&self.brief, Outcome::Failed).because(reason);
            return self.end(end);
        }
        // No event wakes us when a record grows.
        let again = (!running.waits()).then_some(LOOK * 4);
        let fresh = seen
            .sight
            .as_ref()
            .filter(|sight| sight.at >= running.entered);
        let sight = fresh.and_then(Sight::pane);
        let Some(sight) = sight.and_then(|pane| pane.agent.as_ref()) else {
            return self.to(
                TurnState::Running(agent, running),
                Next {
                    acts,
                    again,
                    anew: true,
                },
            );
        };
        let verdict = &sight.verdict;
        let shows_dialog = sight.says(SignalSource::Screen, Says::Waiting).is_some();
        if let Some(question) = &mut running.question {
            let is_newer = seen
                .sight
                .as_ref()
                .is_some_and(|sight| sight.at > question.since);
            question.rested |= is_newer && verdict.activity == Activity::Idle;
        }
        match (verdict.activity, running.question.as_mut()) {
            // An answered dialog may be visible a moment longer.
            (Activity::WaitingInput, None)
                if running
                    .answered
                    .is_none_or(|answered| now.tick.since(answered) >= ASK_AGAIN) =>
            {
                let question = OpenQuestion::new(verdict.reason.clone(), now);
                acts.push(ask(&question.asks, None));
                running.question = Some(question);
            }
            // It was answered, and asks its next question. A blinking title asks nothing new.
            (Activity::WaitingInput, Some(question))
                if shows_dialog
                    && question.asks != verdict.reason
                    && now.tick.since(question.since) >= ASK_AGAIN =>
            {
                acts.push(ask(&verdict.reason, None));
                if question.said.is_some() || is_said(&question.asks) {
                    agent.answer_unknown();
                    running.given_before = question.given();
                }
                *question = OpenQuestion::new(verdict.reason.clone(), now);
            }
            // A person has answered in the pane itself. What the agent still does at the end of a
            // turn is not a new turn: it must have rested, or its record must show the next one.
            (Activity::Busy, Some(question)) => {
                let written = seen.record.latest.as_ref();
                let written = written.filter(|latest| latest.how.is_none());
                let works = sight.signals.iter().filter(|signal| {
                    matches!(signal.source, SignalSource::Screen | SignalSource::Title)
                        && signal.says == Says::Busy
                });
                let works = works
                    .map(|signal| signal.since)
                    .max()
                    .filter(|_| question.said.is_none() || question.rested);
                if let Some(since) = works.or(written.and_then(|latest| latest.began)) {
                    // What was reported before it worked again is the end of what was asked.
                    agent.hear_until(sight, since);
                    let details = "the agent continues".to_owned();
                    return self.goes_on(agent, running, details, false, now, seen);
                }
            }
            // The same, but so quickly that the agent was not seen working: only the screen shows
            // it.
            (Activity::Idle, Some(question))
                if question.shown.is_some() && now.tick.since(question.shown_at) >= ASK_AGAIN =>
            {
                question.shown_at = now.tick;
                running.reading = Some(Reading::Later);
                acts.push(agent.read_given(&agent.text, seen));
                return self.to(TurnState::Running(agent, running), Next::act(acts));
            }
            _ => {}
        }
        if !acts.is_empty() && running.waits() {
            self.skip_replies(seen)
                .to(TurnState::Running(agent, running), Next::act(acts))
        } else {
            self.to(
                TurnState::Running(agent, running),
                Next {
                    acts,
                    again,
                    anew: true,
                },
            )
        }
    }

    /// The agent continues after a question, because of what a person did in the pane. `other`
    /// means that it is another turn, whatever the agent had said.
    fn goes_on(
        self,
        mut agent: Box<TurnAgent>,
        mut running: RunningTurn,
        details: String,
        other: bool,
        now: Now,
        seen: &Observation,
    ) -> (Self, Next) {
        if other {
            agent.answer_unknown();
            running.given_before = running.question.as_ref().and_then(OpenQuestion::given);
        }
        let running = running.go_on(&mut agent, now);
        let acts = [Act::GoOn { details }];
        self.skip_replies(seen)
            .to(TurnState::Running(agent, running), Next::act(acts))
    }

    /// The present replies answered a question that is no longer asked.
    pub(super) fn skip_replies(mut self, seen: &Observation) -> Self {
        let newest = seen.replies.iter().map(|reply| reply.id).max();
        self.heard_reply = self.heard_reply.max(newest.unwrap_or_default());
        self
    }

    /// The turn has ended in a question: a person is asked, and the agent is expected to be idle.
    pub(super) fn asked(
        self,
        mut agent: Box<TurnAgent>,
        mut running: RunningTurn,
        (asks, response, facts): (String, String, TurnFacts),
        mut acts: Vec<Act>,
        seen: &Observation,
        now: Now,
    ) -> (Self, Next) {
        let is_new = running.asks() != Some(asks.as_str());
        if !is_new && running.has_said() {
            return self.to(TurnState::Running(agent, running), Next::act(acts));
        }
        if is_new {
            acts.push(ask(&asks, Some(response.clone())));
        }
        // The next turn is a different one. It may already have begun if the question is noticed
        // again.
        agent.given = facts.ended.map_or(now.wall, |ended| ended.min(now.wall));
        if let Some(sight) = agent.seen(seen) {
            let given = agent.given;
            agent.hear_until(sight, given);
        }
        if !shows_next_turn(&seen.record) {
            acts.push(Act::AgeRecord);
        }
        let since = match &running.question {
            Some(question) if !is_new => question.since,
            _ => now.tick,
        };
        running.question = Some(OpenQuestion {
            since,
            said: Some((response, facts)),
            ..OpenQuestion::new(asks, now)
        });
        if !seen.record.found {
            running.reading = Some(Reading::Asked);
            acts.push(agent.read_given(&agent.text, seen));
        }
        let this = if is_new {
            self.skip_replies(seen)
        } else {
            self
        };
        this.to(TurnState::Running(agent, running), Next::act(acts))
    }
}

/// Whether the record shows a turn after ours: a person has answered before the question was noticed.
fn shows_next_turn(record: &Record) -> bool {
    let began = |turn: &Written| turn.began;
    let own = record.own.as_ref().and_then(began);
    let latest = record.latest.as_ref().and_then(began);
    own.zip(latest).is_some_and(|(own, latest)| own < latest)
}

fn ask(question: &str, said: Option<String>) -> Act {
    Act::Ask {
        question: question.to_owned(),
        said,
    }
}
