//! A text whose key was pressed: its turn must be seen to begin.

use std::time::Duration;

use super::super::{Act, Done, Next, Observation, UNRESPONSIVE};
use super::giving::{
    GONE, Giving, GivingResult, Stage, is_entered, is_line_shown, keeps_record, press, stands,
};
use super::{FIND_AGAIN, LOOK, Turn, TurnAgent};
use crate::agents::fuse::{Says, SignalSource};
use crate::agents::report;
use crate::model::clock::{Now, Tick};
use crate::model::task::Phase;
use crate::tmux::Typed;

/// The key that submits is pressed again after this time, while our own text is still there. A slow agent
/// may not have read the first key yet: a second one would answer the dialog that comes with the prompt.
const PRESS_AGAIN: Duration = Duration::from_secs(3);

/// A question counts as the prompt's if this time has passed since the prompt was to be given.
const ASKED_AFTER: Duration = Duration::from_secs(1);

/// How often it is pressed at most.
const MOST_PRESSES: u32 = 5;

impl Turn {
    /// Looks for proof that the turn has begun.
    pub(super) fn seek_begin(
        &mut self,
        agent: &mut TurnAgent,
        mut giving: Giving,
        presses: u32,
        last: Tick,
        seen: &Observation,
        now: Now,
    ) -> GivingResult {
        if agent.begins(seen).is_some() || agent.told(seen).is_some() {
            return GivingResult::Begun;
        }
        // If a person had time to type another prompt, the agent may be working on that.
        let is_late = giving
            .gone
            .is_some_and(|gone| now.tick.since(gone) > FIND_AGAIN);
        let is_ours = !giving.replaced && !is_late && !agent.resumed;
        // An idle report may be about what came before.
        let sighted = seen.sight.as_ref().and_then(super::Sight::pane);
        let sighted = sighted.and_then(|pane| pane.agent.as_ref());
        let reported = sighted.and_then(|agent| agent.report.as_ref());
        let begun = reported.is_some_and(|report| {
            // A report that names no task and came before the key may be about a person's prompt.
            let since = match report.task {
                Some(_) => agent.given,
                None => agent.submitted.unwrap_or(agent.given),
            };
            report.state != report::ReportedState::Idle
                && report.at >= since
                && report.at <= now.wall
                && Some(report.at) != agent.heard
                && report.task.map_or(is_ours, |task| task == self.brief.task.id.0)
                // A report that names its turn contains its prompt as well, and counts by that.
                && report.turn.is_none()
        });
        // If the text is still there, the report was about another prompt.
        let screen = seen.screen.as_ref();
        let still = screen.is_some_and(|screen| {
            !screen.in_mode && (screen.holds_text || is_line_shown(agent, screen))
        });
        if begun && presses > 0 && !still {
            return GivingResult::Begun;
        }
        let Some(sight) = agent.alive(seen) else {
            // Its record may contain the turn, and has not been read yet.
            if agent.may_still_tell(now) {
                return giving.again();
            }
            return GivingResult::Unclear(
                "the agent ended right after the prompt was submitted".to_owned(),
            );
        };
        let Some(screen) = screen else {
            return giving.again();
        };
        let says = screen.says;
        // What was seen before the key was pressed is about something else.
        let fresh = seen.sight.as_ref().is_some_and(|sight| sight.at > last);
        let titled = fresh && sight.says(SignalSource::Title, Says::Busy).is_some();
        let stands = stands(agent, screen);
        if presses > 0 && !still && is_ours && (titled || says == Says::Busy) {
            return GivingResult::Begun;
        }
        if presses > 0 && !screen.in_mode {
            giving.gone = if still {
                None
            } else {
                giving.gone.or(Some(now.tick))
            };
            // A program that reads lines leaves ours visible where it was entered.
            giving.replaced |= says == Says::Attended && !screen.near_text;
        }
        // That it is gone proves nothing: a menu may have taken the key, and a person may have
        // removed the text.
        if !still && is_entered(agent, screen, presses) {
            return GivingResult::Begun;
        }
        if presses > 0
            && is_ours
            && says == Says::Waiting
            && now.tick.since(giving.since) > ASKED_AFTER
        {
            // A question came at once. The record may still show whether it is about the prompt.
            return GivingResult::Begun;
        }
        let patience = if presses == 0 { LOOK } else { PRESS_AGAIN };
        let works = titled || says == Says::Busy;
        let is_over = now.tick.since(giving.since) >= self.rules.start_within * 2;
        let is_due = presses < MOST_PRESSES && now.tick.since(last) >= patience;
        if stands && !works && is_due && !is_over {
            let mut acts = Vec::new();
            if presses > 0 && !agent.is_reply {
                acts.push(Act::Advance {
                    phase: Phase::Submitted,
                    details: format!(
                        "{} again: the prompt is still in the composer",
                        agent.profile.paste.submit
                    ),
                });
            }
            acts.push(press(agent, screen, &sight.command));
            // The text is still there, so all reports until now were about something else.
            agent.submitted = Some(now.wall);
            let stage = Stage::Pressing { presses };
            return GivingResult::NotYet(Box::new(Giving { stage, ..giving }), Next::act(acts));
        }
        if !is_over {
            return giving.again();
        }
        if presses == 0 {
            if !still && !keeps_record(agent, seen) {
                return GivingResult::Unclear(GONE.to_owned());
            }
            let reason =
                "the prompt was pasted and not submitted: the pane was never still".to_owned();
            return GivingResult::Refused(reason, UNRESPONSIVE);
        }
        let what = if stands {
            format!("it is still in the composer after {presses} presses of the key")
        } else if says == Says::Attended {
            format!(
                "something else is there now, and no sign of its turn was seen: {}",
                screen.detail
            )
        } else {
            "it is gone from the composer, and no sign of its turn was seen".to_owned()
        };
        GivingResult::Unclear(format!("the prompt was submitted, but {what}"))
    }
}

pub(super) fn pressing(giving: Giving, presses: u32, seen: &Observation, now: Now) -> GivingResult {
    let Some(Done::Typed(typed)) = &seen.done else {
        return GivingResult::NotYet(Box::new(giving), Next::wait());
    };
    // If it is not known whether the key was pressed, it may have been.
    let presses = presses + u32::from(!matches!(typed, Typed::Refused(_)));
    let stage = Stage::Submitted {
        presses,
        last: now.tick,
    };
    Giving { stage, ..giving }.again()
}
