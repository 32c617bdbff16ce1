//! A person's answer to what an agent asks: whether it is still about that, and how it is given.

use std::sync::Arc;

use super::super::{Act, Done, Next, Observation};
use super::running::{Reading, RunningTurn};
use super::{LOOK, Turn, TurnAgent, TurnState};
use crate::agents::fuse::{Says, SignalSource};
use crate::agents::payload;
use crate::model::clock::Now;
use crate::model::session::Activity;
use crate::store::{Answer, Reply};
use crate::tmux::Typed;

impl Turn {
    /// The keys of a reply were pressed.
    pub(super) fn answered(
        self,
        agent: Box<TurnAgent>,
        mut running: RunningTurn,
        typed: &Typed,
        now: Now,
        seen: &Observation,
    ) -> (Self, Next) {
        if let Typed::Refused(refusal) = typed {
            let why = refusal.to_string();
            let acts = [Act::DropReplies { why }, Act::LeavePane];
            return self
                .skip_replies(seen)
                .to(TurnState::Running(agent, running), Next::act(acts));
        }
        // Answered: another reply would answer whatever comes next.
        running.question = None;
        running.answered = Some(now.tick);
        running.since = now.tick;
        let details = "answered".to_owned();
        let next = Next {
            acts: vec![Act::GoOn { details }, Act::LeavePane],
            again: Some(LOOK),
            anew: true,
        };
        self.to(TurnState::Running(agent, running), next)
    }

    /// Considers a person's answer.
    pub(super) fn hear_reply(
        &mut self,
        agent: &TurnAgent,
        running: &mut RunningTurn,
        seen: &Observation,
    ) -> Heard {
        let heard = self.heard_reply;
        let Some(reply) = seen.replies.iter().find(|reply| reply.id > heard) else {
            return Heard::Nothing;
        };
        let sight = agent.seen(seen);
        let shows_dialog =
            sight.is_some_and(|agent| agent.says(SignalSource::Screen, Says::Waiting).is_some());
        // By now, something else is asked, or nothing; the person who answered had not seen that.
        let why = match running.asks() {
            None => Some("the agent is no longer asking anything"),
            Some(asks) if reply.asks.as_deref() != Some(asks) => {
                Some("the agent now asks something else")
            }
            Some(_) if reply.answer == Answer::Accept && !running.has_said() && shows_dialog => {
                Some("it shows a dialog and has said nothing yet")
            }
            Some(_) => None,
        };
        if let Some(why) = why {
            return self.drop_replies(why, seen);
        }
        if reply.answer == Answer::Accept {
            if !running.has_said() {
                // An earlier daemon noticed the question, and it must be read again.
                return Heard::Nothing;
            }
            self.heard_reply = reply.id;
            return Heard::Accepted(take(
                reply,
                "its answer is accepted as the response".to_owned(),
            ));
        }
        let Some(sight) = sight else {
            return Heard::Nothing;
        };
        let Some(screen) = &seen.screen else {
            // The screen is read for the reply first. If that failed, it is tried again at the next
            // look.
            if running.looks() {
                return Heard::Nothing;
            }
            running.reading = Some(Reading::Reply);
            return Heard::Look(Vec::new());
        };
        let titled = sight.says(SignalSource::Title, Says::Waiting).is_some();
        let is_keys = matches!(reply.answer, Answer::Keys(_));
        // A title may be older than the screen, which was just read.
        let dialog = screen.says == Says::Waiting || (titled && screen.says == Says::Nothing);
        let waits = sight.verdict.activity == Activity::WaitingInput;
        // A changed question is first asked again, so that the person who answers has seen it.
        let is_other = waits && Some(sight.verdict.reason.as_str()) != running.asks();
        // Keys are for a dialog, or for something that cannot be read but was reported as one. In a
        // composer they would remain as text.
        let takes_keys = dialog || (waits && screen.says == Says::Nothing);
        if (dialog && (running.has_said() || (is_other && shows_dialog)))
            || (is_keys && !takes_keys)
        {
            return Heard::Nothing;
        }
        let shown = match &reply.answer {
            Answer::Words(text) => text.chars().take(200).collect::<String>(),
            Answer::Keys(names) => names.join(" "),
            Answer::Accept => String::new(),
        };
        if is_keys || dialog {
            match (&running.reading, &seen.done) {
                (Some(Reading::Lock(of)), Some(Done::Pane(Ok(true)))) if *of == reply.id => {}
                (Some(Reading::Lock(of)), Some(Done::Pane(_))) if *of == reply.id => {
                    return Heard::Nothing;
                }
                _ => {
                    running.reading = Some(Reading::Lock(reply.id));
                    return Heard::Look(vec![Act::TakePane]);
                }
            }
            let details = format!("keys into its dialog ({}): {shown}", screen.detail);
            self.heard_reply = reply.id;
            let (literal, names) = dialog_keys(&reply.answer);
            let press = Act::Press {
                literal,
                names,
                cursor: screen.cursor,
                command: sight.command.clone(),
            };
            return Heard::Press(vec![take(reply, details), press]);
        }
        if screen.says != Says::Idle {
            // The agent is working, or a person is typing there, so the answer waits.
            return Heard::Nothing;
        }
        let Answer::Words(words) = &reply.answer else {
            return Heard::Nothing;
        };
        match payload::prepare(&agent.profile, words, None) {
            Ok(text) => {
                self.heard_reply = reply.id;
                Heard::Words(take(reply, shown), text.into())
            }
            Err(unfit) => self.drop_replies(&unfit.to_string(), seen),
        }
    }

    fn drop_replies(&mut self, why: &str, seen: &Observation) -> Heard {
        let newest = seen.replies.iter().map(|reply| reply.id).max();
        self.heard_reply = self.heard_reply.max(newest.unwrap_or_default());
        let why = why.to_owned();
        Heard::Acts(vec![Act::DropReplies { why }])
    }
}

/// The result of considering a reply.
pub(super) enum Heard {
    /// There is no reply that can be given now.
    Nothing,
    /// There is a reply, and something must be looked at first.
    Look(Vec<Act>),
    /// It is not given.
    Acts(Vec<Act>),
    /// Press keys, in a dialog.
    Press(Vec<Act>),
    /// Give words, in the composer.
    Words(Act, Arc<str>),
    /// What was said is accepted as the response.
    Accepted(Act),
}

fn take(reply: &Reply, details: String) -> Act {
    Act::TakeReply {
        reply: reply.clone(),
        details,
    }
}

/// Returns the keys for a dialog: literal text, and then keys by name. A single character answers
/// by itself; words are followed by Enter.
fn dialog_keys(answer: &Answer) -> (String, Vec<String>) {
    let text = match answer {
        Answer::Words(text) => text.trim(),
        Answer::Keys(names) => return (String::new(), names.clone()),
        Answer::Accept => "",
    };
    let names = if text.chars().count() == 1 {
        Vec::new()
    } else {
        vec!["Enter".to_owned()]
    };
    (text.to_owned(), names)
}
