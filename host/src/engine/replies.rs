//! observe, for agents: a person's answers to agents that ask, as keys into a dialog or as words.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::flight::Flight;
use super::follow::Look;
use super::hand_over::LOOK;
use super::observe::Fate;
use super::turn::{Stage, Turn};
use super::{Engine, RoundError};
use crate::agents::fuse::{Says, Source};
use crate::agents::payload;
use crate::model::session::Activity;
use crate::model::task::Status;
use crate::store::{Answer, Reply};
use crate::tmux::{Keys, PaneLock, Tmux, Typed};

impl<T: Tmux> Engine<T> {
    /// Looks for a person's answer. `None`: there is none that can be given now, and the turn is looked
    /// at as ever.
    pub(super) async fn hear_reply(
        &mut self,
        flight: &mut Flight,
        turn: &mut Turn,
        look: &Look<'_>,
        now: Timestamp,
    ) -> Result<Option<Fate>, RoundError> {
        let mut replies = self.orders.replies.iter();
        let Some(reply) = replies.find(|reply| reply.task == flight.task.id).cloned() else {
            return Ok(None);
        };
        // Something else is asked by now, or nothing: that was not seen by who has answered.
        let why = if turn.asks.is_none() {
            Some("the agent asks nothing any more")
        } else if reply.asks != turn.asks {
            Some("the agent asks something else by now")
        } else if reply.answer == Answer::Accept && turn.said.is_none() && self.shows_dialog(look) {
            Some("it shows a dialog, and has said nothing yet")
        } else {
            None
        };
        if let Some(why) = why {
            self.drop_replies(flight, why.to_owned(), now).await?;
            return Ok(None);
        }
        if reply.answer != Answer::Accept {
            return self.give_reply(flight, turn, look, reply, now).await;
        }
        if turn.said.is_none() {
            // An earlier daemon heard the question: it is read anew.
            return Ok(None);
        }
        let details = "what it has said is taken as done".to_owned();
        self.take_reply(reply, details, now).await?;
        turn.accepted = true;
        Ok(None)
    }

    /// Gives a person's answer to the agent that asked: keys to a dialog, words to its composer.
    async fn give_reply(
        &mut self,
        flight: &mut Flight,
        turn: &mut Turn,
        look: &Look<'_>,
        reply: Reply,
        now: Timestamp,
    ) -> Result<Option<Fate>, RoundError> {
        let Some(agent) = look.agent.filter(|agent| turn.is_at(agent)) else {
            return Ok(None);
        };
        let Some(read) = self.look_at_screen(&flight.identity, look).await else {
            return Ok(None);
        };
        let (says, detail) = crate::agents::fuse::screen(&turn.profile, &read.screen);
        let titled = agent
            .signals
            .iter()
            .any(|signal| signal.source == Source::Title && signal.says == Says::Waiting);
        let shown = match &reply.answer {
            Answer::Words(text) => text.chars().take(200).collect::<String>(),
            Answer::Keys(names) => names.join(" "),
            Answer::Accept => String::new(),
        };
        let is_keys = matches!(reply.answer, Answer::Keys(_));
        let dialog = says == Says::Waiting || titled;
        let verdict = look
            .verdict
            .filter(|verdict| verdict.activity == Activity::WaitingInput);
        // What is asked anew first is seen by who answers.
        let is_other = verdict.is_some_and(|verdict| Some(&verdict.reason) != turn.asks.as_ref());
        if (dialog && (turn.said.is_some() || (is_other && self.shows_dialog(look))))
            || (is_keys && !dialog && verdict.is_none())
        {
            return Ok(None);
        }
        if is_keys || dialog {
            let Ok(Some(_lock)) = PaneLock::take(&flight.identity) else {
                return Ok(None);
            };
            let details = format!("keys into what it asks ({detail}): {shown}");
            let keys = dialog_keys(&reply.answer, agent.aim(&flight.identity, read.cursor));
            self.take_reply(reply, details, now).await?;
            if let Typed::Refused(refusal) = self.tmux.press(&keys).await {
                self.drop_replies(flight, refusal.to_string(), now).await?;
                return Ok(Some(Fate::Flies(Some(LOOK))));
            }
            // Answered: another answer would be one to what comes next.
            let attempt = flight.attempt;
            self.ledger
                .run(move |store| store.go_on(attempt, "answered", now))
                .await?;
            turn.asks = None;
            turn.answered = Some(Instant::now());
            flight.task.status = Status::InProgress;
            flight.since = now;
            return Ok(Some(Fate::Flies(Some(LOOK))));
        }
        if says != Says::Idle {
            // It works, or a person types there: the answer waits.
            return Ok(None);
        }
        let Answer::Words(words) = &reply.answer else {
            return Ok(None);
        };
        let text = match payload::prepare(&turn.profile, words, None) {
            Ok(text) => text,
            Err(unfit) => {
                self.drop_replies(flight, unfit.to_string(), now).await?;
                return Ok(None);
            }
        };
        self.take_reply(reply, shown, now).await?;
        turn.text = text;
        turn.is_reply = true;
        turn.enter(Stage::Ready);
        Ok(Some(Fate::Flies(Some(Duration::ZERO))))
    }

    /// Deletes what was answered and is not given, and says why.
    pub(super) async fn drop_replies(
        &mut self,
        flight: &Flight,
        why: String,
        now: Timestamp,
    ) -> Result<(), RoundError> {
        let task = flight.task.id;
        self.ledger
            .run(move |store| store.drop_replies(Some(task), &why, now))
            .await?;
        self.orders.replies.retain(|reply| reply.task != task);
        Ok(())
    }

    async fn take_reply(
        &mut self,
        reply: Reply,
        details: String,
        now: Timestamp,
    ) -> Result<(), RoundError> {
        let id = reply.id;
        self.ledger
            .run(move |store| store.take_reply(&reply, &details, now))
            .await?;
        self.orders.replies.retain(|known| known.id != id);
        Ok(())
    }
}

/// Returns the keys for a dialog: a single sign answers by itself, words are entered.
fn dialog_keys(answer: &Answer, aim: crate::tmux::Aim) -> Keys {
    let text = match answer {
        Answer::Words(text) => text.trim(),
        Answer::Keys(names) => {
            return Keys {
                aim,
                literal: String::new(),
                names: names.clone(),
            };
        }
        Answer::Accept => "",
    };
    let alone = text.chars().count() == 1;
    Keys {
        aim,
        literal: text.to_owned(),
        names: if alone {
            Vec::new()
        } else {
            vec!["Enter".to_owned()]
        },
    }
}
