//! Brings a text to an agent: it is pasted, seen, submitted, and seen to be taken up.

use std::time::Duration;

use super::super::{Act, Done, Ending, HOLD, Next, Note, Observation, Shown, UNRESPONSIVE};
use super::running::RunningTurn;
use super::submitted::pressing;
use super::taking_back::Then;
use super::{FIND_AGAIN, LAST_WORDS, LOOK, OpenQuestion, Turn, TurnAgent, TurnState};
use crate::agents::fuse::Says;
use crate::model::clock::{Now, Tick};
use crate::model::task::{Event, Outcome, Phase};
use crate::tmux::{Refusal, Typed};

/// A prompt that was pasted this often without being submitted has failed.
const MOST_PASTED: u32 = 3;

/// Why it is not known what became of a text, if no record will show it.
pub(super) const GONE: &str =
    "the prompt was pasted and is gone: it was removed, or submitted by a person";

/// The longest time for which a session is skipped because it did not take a prompt.
const LONGEST_REST: Duration = Duration::from_secs(300);

/// A text on its way to the agent.
#[derive(Debug, Clone)]
pub(super) struct Giving {
    pub(super) stage: Stage,
    /// When this stage began.
    pub(super) since: Tick,
    /// When the text was first to be given.
    pub(super) began: Tick,
    /// Since when the text, once submitted, is no longer seen in the composer.
    pub(super) gone: Option<Tick>,
    /// Whether something else has been seen there since.
    pub(super) replaced: bool,
    /// The question that it answers.
    pub(super) answers: Option<OpenQuestion>,
    /// For an answer, when the task's time began.
    pub(super) running_since: Option<Tick>,
}

/// What stood in a composer last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stood {
    Nothing,
    /// A text that is not ours: a person's, or what the agent made of ours.
    Something,
    /// Our text, perhaps with something beside it.
    Ours,
}

/// How far a text has come.
#[derive(Debug, Clone)]
pub(super) enum Stage {
    /// It may be pasted; `locked`: the right to write into the pane was obtained.
    Ready { locked: bool },
    /// It is being pasted.
    Pasting,
    /// It was pasted, and must be seen in the composer.
    Pasted {
        /// The last content of the composer, and since when.
        draft: Option<String>,
        draft_since: Option<Tick>,
        /// The last text that the composer was seen with since.
        stood: Stood,
    },
    /// The key that submits is being pressed, after this many presses.
    Pressing { presses: u32 },
    /// It was pressed this often, and last at this time. The turn must now be seen to begin.
    Submitted { presses: u32, last: Tick },
}

impl Stage {
    /// Returns the stage right after the text was pasted.
    pub(super) fn pasted() -> Self {
        Self::Pasted {
            draft: None,
            draft_since: None,
            stood: Stood::Nothing,
        }
    }
}

/// How far a text has been given.
pub(super) enum GivingResult {
    /// It is on its way.
    NotYet(Box<Giving>, Next),
    /// Its turn has begun.
    Begun,
    /// It was not submitted, for this reason; the session is to be skipped for this long.
    Refused(String, Duration),
    /// It was not submitted, because the agent turns it into something else.
    Unfit(String),
    /// It may have been submitted.
    Unclear(String),
}

impl Giving {
    /// Returns the state of a text that may be pasted.
    pub(super) fn new(now: Now, answers: Option<(OpenQuestion, Tick)>) -> Self {
        let running_since = answers.as_ref().map(|(_, since)| *since);
        Self {
            stage: Stage::Ready { locked: false },
            since: now.tick,
            began: now.tick,
            gone: None,
            replaced: false,
            answers: answers.map(|(question, _)| question),
            running_since,
        }
    }

    /// Returns the state of a text that an earlier daemon brought to this stage.
    pub(super) fn at(stage: Stage, now: Now) -> Self {
        Self {
            stage,
            ..Self::new(now, None)
        }
    }

    /// Whether the screen must be read.
    pub(super) fn looks(&self) -> bool {
        match self.stage {
            Stage::Ready { locked } => locked,
            Stage::Pasting | Stage::Pressing { .. } => false,
            Stage::Pasted { .. } | Stage::Submitted { .. } => true,
        }
    }

    pub(super) fn is_pasted(&self) -> bool {
        !matches!(self.stage, Stage::Ready { .. })
    }

    /// Whether the text may be in the composer.
    pub(super) fn is_left_standing(&self) -> bool {
        match self.stage {
            // A key that is being pressed may submit it.
            Stage::Ready { .. } | Stage::Pressing { .. } => false,
            Stage::Pasting | Stage::Pasted { .. } => true,
            Stage::Submitted { presses, .. } => presses == 0,
        }
    }

    fn enter(self, stage: Stage, now: Now) -> Self {
        Self {
            stage,
            since: now.tick,
            ..self
        }
    }

    pub(super) fn again(self) -> GivingResult {
        GivingResult::NotYet(Box::new(self), Next::again(LOOK))
    }
}

impl Turn {
    /// Takes a text one step further, until it has been taken up.
    pub(super) fn give(
        mut self,
        mut agent: Box<TurnAgent>,
        giving: Giving,
        seen: &Observation,
        now: Now,
    ) -> (Self, Next) {
        let pasted = giving.is_pasted();
        let is_pasting = matches!(giving.stage, Stage::Pasting);
        let tried_for = now.tick.since(giving.began);
        let answers = giving.answers.clone();
        let running_since = giving.running_since;
        let given = match giving.stage.clone() {
            Stage::Ready { locked } => self.ready(&mut agent, giving, locked, seen, now),
            Stage::Pasting => pasting(giving, seen, now),
            Stage::Pasted {
                draft,
                draft_since,
                stood,
            } => {
                let stage = (draft, draft_since.unwrap_or(giving.since), stood);
                self.submit(&mut agent, giving, stage, seen, now)
            }
            Stage::Pressing { presses } => pressing(giving, presses, seen, now),
            Stage::Submitted { presses, last } => {
                self.seek_begin(&mut agent, giving, presses, last, seen, now)
            }
        };
        match given {
            GivingResult::NotYet(giving, next) => self.to(TurnState::Giving(agent, *giving), next),
            GivingResult::Begun => self.begun(agent, answers.is_some(), now),
            // Nothing was typed, and whatever was in the way may pass.
            GivingResult::Refused(_, rest)
                if agent.is_reply && !pasted && tried_for < self.rules.start_within =>
            {
                let answers = answers.zip(running_since);
                let mut giving = Giving::new(now, answers);
                giving.began = giving.began - tried_for;
                let next = Next {
                    acts: vec![Act::LeavePane],
                    again: Some(rest),
                    anew: true,
                };
                self.to(TurnState::Giving(agent, giving), next)
            }
            GivingResult::Refused(why, _) | GivingResult::Unfit(why) if agent.is_reply => {
                // The task keeps waiting, and its person is told.
                let running = RunningTurn::waiting(running_since.unwrap_or(now.tick), answers);
                if !pasted || is_pasting {
                    let acts = [Act::DropReplies { why }, Act::LeavePane];
                    return self.to(TurnState::Running(agent, running), Next::act(acts));
                }
                let then = Then::Run(Vec::new(), Box::new(running), why);
                self.take_back(agent, then, true, seen, now)
            }
            GivingResult::Refused(reason, rest) if pasted && !is_pasting => {
                let (acts, end) = self.refusal(reason, rest, true);
                self.take_back(agent, Then::End(acts, Box::new(end)), true, seen, now)
            }
            GivingResult::Refused(reason, rest) => self.refused(reason, rest, pasted),
            GivingResult::Unfit(reason) => {
                // Neither another session nor another try would change that.
                let end = Ending::new(Outcome::Failed, Event::Fail).because(reason);
                let acts = vec![Act::Tell(Note::Begun)];
                self.take_back(agent, Then::End(acts, Box::new(end)), true, seen, now)
            }
            GivingResult::Unclear(reason) => self.lose(reason),
        }
    }

    /// Returns the task to the queue when nothing was submitted. The session is skipped for a
    /// while, longer each time.
    pub(super) fn refused(self, reason: String, rest: Duration, pasted: bool) -> (Self, Next) {
        let (acts, end) = self.refusal(reason, rest, pasted);
        self.end_after(acts, end)
    }

    fn refusal(&self, reason: String, rest: Duration, pasted: bool) -> (Vec<Act>, Ending) {
        let all = self.refusals.all + 1;
        let left_standing = self.refusals.pasted + u32::from(pasted);
        // A prompt that no composer takes must not be left in every session.
        if left_standing >= MOST_PASTED {
            let reason = format!("it was pasted several times and never submitted: {reason}");
            let end = Ending::failed(&self.brief, Outcome::Failed).because(reason);
            return (vec![Act::Tell(Note::Begun)], end);
        }
        let rest = rest.saturating_mul(1 << all.min(9).saturating_sub(1));
        let acts = vec![
            Act::Tell(Note::Refused { pasted }),
            Act::Tell(Note::Hold(rest.min(LONGEST_REST), reason.clone())),
        ];
        let end = Ending::new(Outcome::Refused, Event::Refuse).because(reason);
        (acts, end)
    }

    fn begun(mut self, agent: Box<TurnAgent>, answers: bool, now: Now) -> (Self, Next) {
        let mut acts = Vec::new();
        if answers {
            acts.push(Act::GoOn {
                details: "answered".to_owned(),
            });
        } else if self.phase != Phase::Running {
            acts.push(Act::Advance {
                phase: Phase::Running,
                details: "its turn began".to_owned(),
            });
        }
        self.phase = Phase::Running;
        acts.extend([Act::LeavePane, Act::Tell(Note::Begun)]);
        // The time spent waiting for a person does not count as the task's.
        let running = RunningTurn::waiting(now.tick, None);
        self.to(TurnState::Running(agent, running), Next::act(acts))
    }

    fn ready(
        &mut self,
        agent: &mut TurnAgent,
        giving: Giving,
        locked: bool,
        seen: &Observation,
        now: Now,
    ) -> GivingResult {
        if !locked {
            return match &seen.done {
                Some(Done::Pane(Ok(true))) => {
                    let stage = Stage::Ready { locked: true };
                    let giving = Giving { stage, ..giving };
                    GivingResult::NotYet(Box::new(giving), Next::again(Duration::ZERO))
                }
                Some(Done::Pane(Ok(false))) => {
                    GivingResult::Refused(Refusal::Writer.to_string(), HOLD)
                }
                Some(Done::Pane(Err(error))) => GivingResult::Refused(
                    format!("cannot lock the pane for writing: {error}"),
                    UNRESPONSIVE,
                ),
                _ => GivingResult::NotYet(Box::new(giving), Next::act([Act::TakePane])),
            };
        }
        let Some(sight) = agent.alive(seen) else {
            return GivingResult::Refused("the agent has ended".to_owned(), HOLD);
        };
        let Some(screen) = &seen.screen else {
            return GivingResult::Refused("its screen cannot be read".to_owned(), HOLD);
        };
        // The look at the sessions is some milliseconds old.
        if screen.says != Says::Idle || screen.in_mode {
            let reason = format!("it is no longer free: {}", screen.reason());
            return GivingResult::Refused(reason, HOLD);
        }
        agent.given = now.wall;
        agent.heard = sight.report.as_ref().map(|report| report.at);
        agent.resumed = false;
        agent.forget_turn();
        agent.shown = screen.given;
        let mut acts = vec![Act::FollowFromNow { pid: agent.pid }];
        if !agent.is_reply {
            acts.push(Act::Advance {
                phase: Phase::Delivering,
                details: format!(
                    "pasting {} bytes into pane {}",
                    agent.text.len(),
                    self.brief.identity.pane
                ),
            });
            self.phase = Phase::Delivering;
        }
        acts.push(Act::Paste {
            text: agent.text.clone(),
            cursor: screen.cursor,
            command: sight.command.clone(),
        });
        GivingResult::NotYet(Box::new(giving.enter(Stage::Pasting, now)), Next::act(acts))
    }

    /// Submits the text, once it is seen in the composer.
    fn submit(
        &mut self,
        agent: &mut TurnAgent,
        giving: Giving,
        stage: (Option<String>, Tick, Stood),
        seen: &Observation,
        now: Now,
    ) -> GivingResult {
        if seen.record.own.is_some() || agent.told(seen).is_some() {
            // A person was faster than our looks at the screen.
            return GivingResult::Begun;
        }
        let Some(sight) = agent.alive(seen) else {
            // A person may have submitted it at the last moment; the record shows that.
            if agent.may_still_tell(now) {
                return giving.again();
            }
            let reason = "the agent ended with the prompt in its composer: it is not known \
                          whether a person had submitted it";
            return GivingResult::Unclear(reason.to_owned());
        };
        if now.tick.since(giving.since) < agent.profile.paste.pause {
            return giving.again();
        }
        let Some(screen) = &seen.screen else {
            return giving.again();
        };
        if !stands(agent, screen) {
            if agent.resumed && is_ours(screen) {
                // What stands in the composer has not been given yet.
                agent.shown = screen.given;
            }
            return self.seek_text(agent, giving, stage, screen, seen, now);
        }
        let mut acts = Vec::new();
        if !agent.is_reply {
            acts.push(Act::Advance {
                phase: Phase::Submitted,
                details: format!(
                    "{}: the prompt is in the composer",
                    agent.profile.paste.submit
                ),
            });
            self.phase = Phase::Submitted;
        }
        acts.push(press(agent, screen, &sight.command));
        // Reports from here on may be about it.
        agent.submitted = Some(now.wall);
        let stage = Stage::Pressing { presses: 0 };
        GivingResult::NotYet(Box::new(giving.enter(stage, now)), Next::act(acts))
    }

    /// The text is not seen in the composer: it is still to come, something else is there, or a
    /// person has submitted it or removed it.
    fn seek_text(
        &self,
        agent: &TurnAgent,
        giving: Giving,
        (draft, draft_since, stood): (Option<String>, Tick, Stood),
        screen: &Shown,
        seen: &Observation,
        now: Now,
    ) -> GivingResult {
        let shown = screen.draft.clone();
        let stood = match shown.as_deref() {
            // A program that reads lines shows it somewhere.
            None if is_entered_line(agent, screen) => Stood::Ours,
            None | Some("") => stood,
            Some(_) if is_ours(screen) => Stood::Ours,
            Some(_) => Stood::Something,
        };
        let draft_since = if shown == draft {
            draft_since
        } else {
            now.tick
        };
        let settled = now.tick.since(draft_since) >= FIND_AGAIN && !screen.in_mode;
        let says = screen.says;
        let keeps_record = keeps_record(agent, seen);
        let any = stood != Stood::Nothing;
        if any || agent.resumed {
            let written = agent.begins(seen);
            // That it is gone and the agent is at work proves nothing: a person may have replaced it.
            let is_gone = stood == Stood::Ours && !screen.holds_text;
            let is_taken = is_gone && says == Says::Busy && is_given(agent, screen);
            if written.is_some() || (is_taken && !keeps_record) {
                return GivingResult::Begun;
            }
        }
        // An agent that was stuck reads everything at once: the text, and a person's Enter that was
        // waiting after it.
        let last = if keeps_record {
            LAST_WORDS
        } else {
            Duration::ZERO
        };
        // An earlier daemon may have pasted the text just before it ended. A record shows what became of
        // it, even later.
        let tried_for = now.tick.since(giving.since);
        let age = Duration::try_from(now.wall.duration_since(agent.given)).unwrap_or_default();
        let longest = self.rules.start_within + last;
        let is_over = tried_for >= longest
            || (agent.resumed
                && tried_for >= FIND_AGAIN + last
                && (keeps_record || age >= longest));
        // Our text is above the composer, as one that was given.
        if !agent.resumed && is_given(agent, screen) {
            return GivingResult::Begun;
        }
        // Without a record, nothing shows what became of a text between two daemons. That one is expected
        // and does not contain it proves nothing: it may not be there at all.
        if agent.resumed
            && (is_over || (settled && says == Says::Attended))
            && !screen.holds_text
            && !is_untouched(agent, seen, now)
        {
            let reason = "the prompt may have been pasted before the daemon returned, and is gone: it is \
                          not known whether a person submitted it";
            return GivingResult::Unclear(reason.to_owned());
        }
        if settled && says == Says::Attended && !screen.near_text && !agent.resumed {
            let shown = shown.unwrap_or_default();
            let reason = format!(
                "the agent changes this prompt when it is pasted, so it was not submitted (its \
                 composer shows: {})",
                first_line(&shown)
            );
            return GivingResult::Unfit(reason);
        }
        if settled && says == Says::Attended {
            let reason = format!(
                "the prompt was pasted and not submitted, because the composer holds something else as well: {}",
                screen.detail
            );
            return GivingResult::Refused(reason, FIND_AGAIN);
        }
        if settled && says == Says::Idle && any {
            return if keeps_record {
                let reason = "the prompt was pasted, and then removed from the composer";
                GivingResult::Refused(reason.to_owned(), FIND_AGAIN)
            } else {
                GivingResult::Unclear(GONE.to_owned())
            };
        }
        if agent.resumed && says == Says::Busy {
            let reason = "it is working on something, and it is not known whether a person submitted the prompt";
            return GivingResult::Unclear(reason.to_owned());
        }
        if !is_over {
            let stage = Stage::Pasted {
                draft: shown,
                draft_since: Some(draft_since),
                stood,
            };
            return Giving { stage, ..giving }.again();
        }
        if any && says == Says::Busy && !screen.holds_text {
            let reason = "the prompt was pasted and is gone; it is not known whether the agent is \
                          working on it";
            return GivingResult::Unclear(reason.to_owned());
        }
        let reason = format!(
            "the prompt was pasted and not submitted, because it was not seen in the composer \
             within {} s ({})",
            tried_for.as_secs(),
            screen.reason(),
        );
        GivingResult::Refused(reason, UNRESPONSIVE)
    }
}

/// Whether our text stands in the composer, perhaps with something beside it.
fn is_ours(screen: &Shown) -> bool {
    let is_empty = screen.draft.as_deref().is_none_or(str::is_empty);
    !is_empty && (screen.near_text || screen.holds_text)
}

fn first_line(draft: &str) -> String {
    draft
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(60)
        .collect()
}

fn pasting(giving: Giving, seen: &Observation, now: Now) -> GivingResult {
    match &seen.done {
        Some(Done::Typed(Typed::Refused(refusal))) => {
            GivingResult::Refused(refusal.to_string(), HOLD)
        }
        // If it is not known whether it was pasted, the screen shows it.
        Some(Done::Typed(Typed::Done | Typed::Unknown(_))) => {
            giving.enter(Stage::pasted(), now).again()
        }
        _ => GivingResult::NotYet(Box::new(giving), Next::wait()),
    }
}

/// Whether our text, and nothing else, stands where the key submits it.
pub(super) fn stands(agent: &TurnAgent, screen: &Shown) -> bool {
    let in_composer = screen.says == Says::Attended && screen.holds_text;
    !screen.in_mode && (in_composer || is_line_shown(agent, screen))
}

/// Whether the screen shows our text as one more that was given, after its key was pressed this
/// often.
pub(super) fn is_entered(agent: &TurnAgent, screen: &Shown, presses: u32) -> bool {
    is_given(agent, screen) || (presses > 0 && is_entered_line(agent, screen))
}

/// Whether the screen shows our text above a composer, as one more that was given.
fn is_given(agent: &TurnAgent, screen: &Shown) -> bool {
    agent.profile.composer.is_some() && screen.given > agent.shown
}

/// Whether a program that reads lines shows our text as one more that was typed. Unless we entered it
/// ourselves, that proves nothing: it may have been typed while the program worked on another line,
/// and wait to be entered.
fn is_entered_line(agent: &TurnAgent, screen: &Shown) -> bool {
    let tells_apart = !(screen.in_mode || screen.says == Says::Nothing);
    agent.profile.composer.is_none() && tells_apart && screen.given > agent.shown
}

/// Whether a record will show what the agent was given.
pub(super) fn keeps_record(agent: &TurnAgent, seen: &Observation) -> bool {
    let keeps_none = agent.seen(seen).is_some_and(|agent| agent.keeps_none);
    agent.profile.transcript.is_some() && !keeps_none
}

/// Whether nothing has appeared in the agent's pane since the text was to be given.
fn is_untouched(agent: &TurnAgent, seen: &Observation, now: Now) -> bool {
    let since = Duration::try_from(now.wall.duration_since(agent.given)).ok();
    let quiet = agent.seen(seen).map(|agent| agent.quiet);
    // The times of changes are in whole seconds.
    quiet
        .zip(since)
        .is_some_and(|(quiet, since)| quiet > since + Duration::from_secs(1))
}

/// Whether a program that reads lines shows the line that was typed. It has no composer, so its
/// draft cannot be told apart from its prompt in any other way.
pub(super) fn is_line_shown(agent: &TurnAgent, screen: &Shown) -> bool {
    agent.profile.composer.is_none() && screen.says != Says::Idle && screen.line_holds_text
}

pub(super) fn press(agent: &TurnAgent, screen: &Shown, command: &str) -> Act {
    Act::Press {
        literal: String::new(),
        names: vec![agent.profile.paste.submit.clone()],
        cursor: screen.cursor,
        command: command.to_owned(),
    }
}
