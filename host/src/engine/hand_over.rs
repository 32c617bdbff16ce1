//! deliver, for agents: a prompt is pasted, seen to stand in the composer, submitted, and seen to be
//! taken up. Each act stands in the store before it happens, and each look is taken just before the
//! act; tmux itself compares that the pane is still as it was looked at.
//!
//! Nothing is ever cleared or cancelled, no key goes into a dialog, and the key that submits is
//! pressed again only while our own text still stands there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::agents::{AgentSeen, ReadScreen};
use super::claim::Claimed;
use super::flight::Flight;
use super::follow::Look;
use super::subprocess;
use super::tracker::What;
use super::turn::{Stage, Turn};
use super::{Engine, RoundError};
use crate::agents::fuse::{self, Says};
use crate::agents::payload;
use crate::agents::report::State;
use crate::model::ids::Identity;
use crate::model::task::{Event, Outcome, Phase, Task};
use crate::store::End;
use crate::tmux::{Capture, Keys, PaneLock, Paste, Tmux, Typed};

/// How often a screen is looked at while a prompt is on its way.
pub(super) const LOOK: Duration = Duration::from_millis(25);

/// The key that submits is pressed again after this, while our own text still stands there.
const PRESS_AGAIN: Duration = Duration::from_millis(1_000);

/// It is pressed so often at most.
const MOST_PRESSES: u32 = 5;

/// A session is left alone for so long that did not take a prompt.
const UNRESPONSIVE: Duration = Duration::from_secs(30);

/// A daemon that takes up a paste looks for it this long.
const FIND_AGAIN: Duration = Duration::from_secs(2);

/// A session that was not as the scan saw it is left alone for so long.
const HOLD: Duration = Duration::from_millis(500);

impl<T: Tmux> Engine<T> {
    /// Makes a turn of what was claimed for an agent; what cannot be given to it has failed, with the
    /// reason.
    pub(super) async fn prepare_turn(
        &mut self,
        claimed: Claimed,
        secrets: BTreeMap<String, String>,
        now: Timestamp,
    ) -> Result<(), RoundError> {
        let Claimed { flight, session } = &claimed;
        let What::Agent(agent) = &session.what else {
            return Ok(());
        };
        let note = match surroundings_note(&flight.task, agent, session.row.current_dir.as_deref())
        {
            Ok(note) => note,
            Err(reason) => {
                self.fail_attempt(claimed.flight, None, reason, now).await?;
                return Ok(());
            }
        };
        let text = match payload::prepare(&agent.profile, &flight.task.content, note.as_deref()) {
            Ok(text) => text,
            Err(unfit) => {
                let reason = format!("nothing was typed: {unfit}");
                self.fail_attempt(claimed.flight, None, reason, now).await?;
                return Ok(());
            }
        };
        let stage = if flight.task.metadata.prerequisites.is_empty() {
            Stage::Ready
        } else {
            let stands = session.row.current_dir.clone().map(PathBuf::from);
            let within = self.settings.prerequisite_within;
            let (name, details) = (
                session.row.name.clone(),
                format!("task {}: its prerequisites are run", flight.task.id),
            );
            self.ledger
                .run(move |store| store.note_session(&name, "preparing", &details, now))
                .await?;
            let steps = subprocess::prerequisites(&flight.task, &secrets, stands, within);
            Stage::Preparing(tokio::spawn(steps))
        };
        let turn = Turn::new(agent, text, stage, now);
        self.turns.insert(flight.attempt, turn);
        self.flights.push(claimed.flight);
        Ok(())
    }

    /// Takes a prompt a step further, as far as it has not been taken up.
    pub(super) async fn hand_over(
        &mut self,
        flight: &mut Flight,
        turn: &mut Turn,
        look: &Look<'_>,
        now: Timestamp,
    ) -> Result<Given, RoundError> {
        match &mut turn.stage {
            Stage::Preparing(steps) if !steps.is_finished() => Ok(Given::NotYet(None)),
            Stage::Preparing(steps) => {
                let prepared = match steps.await {
                    Ok(prepared) => prepared,
                    Err(_) => Err("the prerequisites could not be run".to_owned()),
                };
                match prepared {
                    Ok(()) => {
                        turn.enter(Stage::Ready);
                        Ok(Given::NotYet(Some(Duration::ZERO)))
                    }
                    Err(reason) => {
                        // It is asked for again where the store refuses what follows.
                        let again = std::future::ready(Err(reason.clone()));
                        turn.stage = Stage::Preparing(tokio::spawn(again));
                        Ok(Given::Failed(reason))
                    }
                }
            }
            Stage::Ready => self.paste(flight, turn, look, now).await,
            Stage::Pasted => self.submit(flight, turn, look, now).await,
            Stage::Submitted { .. } => self.await_begin(flight, turn, look, now).await,
            Stage::Running { .. } => Ok(Given::Begun),
        }
    }

    async fn paste(
        &mut self,
        flight: &mut Flight,
        turn: &mut Turn,
        look: &Look<'_>,
        now: Timestamp,
    ) -> Result<Given, RoundError> {
        let Some(agent) = look
            .agent
            .filter(|agent| turn.is_at(agent) && agent.is_alive())
        else {
            return Ok(Given::Refused("the agent has ended".to_owned(), HOLD));
        };
        let Some(read) = self.look_at_screen(&flight.identity, look).await else {
            return Ok(Given::Refused("its screen cannot be read".to_owned(), HOLD));
        };
        // The scan is some milliseconds old.
        let (says, detail) = fuse::screen(&turn.profile, &read.screen);
        if says != Says::Idle || read.in_mode {
            let detail = if read.in_mode {
                "the pane is in copy mode".to_owned()
            } else {
                detail
            };
            let reason = format!("it is not free any more: {detail}");
            return Ok(Given::Refused(reason, HOLD));
        }
        let lock = match turn.lock.take() {
            Some(lock) => Ok(Some(lock)),
            None => PaneLock::take(&flight.identity),
        };
        match lock {
            Ok(Some(lock)) => turn.lock = Some(lock),
            Ok(None) => {
                let reason = crate::tmux::Refusal::Writer.to_string();
                return Ok(Given::Refused(reason, HOLD));
            }
            Err(error) => {
                let reason = format!("the right to write there cannot be had: {error}");
                return Ok(Given::Refused(reason, UNRESPONSIVE));
            }
        }
        turn.watch_from_now();
        if !turn.is_reply {
            let details = format!(
                "pasting {} bytes into pane {}",
                turn.text.len(),
                flight.identity.pane
            );
            self.advance(flight, Phase::Delivering, details, now)
                .await?;
        }
        turn.given = now;
        turn.heard = agent.report.as_ref().map(|report| report.at);
        // All that was seen is about what was given before.
        turn.draft = None;
        turn.draft_since = Instant::now();
        turn.stood = false;
        turn.taken_up = false;
        let paste = Paste {
            aim: agent.aim(&flight.identity, read.cursor),
            text: turn.text.clone(),
        };
        match self.tmux.paste(&paste).await {
            Typed::Done => {}
            Typed::Refused(refusal) => {
                return Ok(Given::Refused(refusal.to_string(), HOLD));
            }
            // The screen tells whether it was.
            Typed::Unknown(error) => {
                tracing::warn!(task = %flight.task.id, session = ?flight.session, "the paste is not confirmed: {error}");
            }
        }
        turn.enter(Stage::Pasted);
        Ok(Given::NotYet(Some(LOOK)))
    }

    /// Submits the text, once it is seen to stand in the composer.
    async fn submit(
        &mut self,
        flight: &mut Flight,
        turn: &mut Turn,
        look: &Look<'_>,
        now: Timestamp,
    ) -> Result<Given, RoundError> {
        let Some(agent) = look
            .agent
            .filter(|agent| turn.is_at(agent) && agent.is_alive())
        else {
            let reason = "the agent ended before the prompt was submitted".to_owned();
            return Ok(Given::Refused(reason, HOLD));
        };
        if turn.since.elapsed() < turn.profile.paste.pause {
            return Ok(Given::NotYet(Some(LOOK)));
        }
        let Some(read) = self.look_at_screen(&flight.identity, look).await else {
            return Ok(Given::NotYet(Some(LOOK)));
        };
        let (says, detail) = fuse::screen(&turn.profile, &read.screen);
        let stands = says == Says::Attended && read.screen.holds(&turn.profile, &turn.text);
        if read.in_mode || !(stands || self.is_line_shown(turn, &read)) {
            return Ok(self.await_text(flight, turn, &read, (says, detail)).await);
        }
        if !turn.is_reply {
            let details = format!("{}, the prompt stands there", turn.profile.paste.submit);
            self.advance(flight, Phase::Submitted, details, now).await?;
        }
        let press = self.submit_key(flight, turn, agent, &read);
        let typed = self.tmux.press(&press).await;
        let presses = u32::from(!matches!(typed, Typed::Refused(_)));
        // What is reported from here on may be about it.
        turn.begun = Some(look.now);
        if let Typed::Refused(refusal) = typed {
            tracing::debug!(task = %flight.task.id, "not submitted yet: {refusal}");
        }
        turn.enter(Stage::Submitted {
            presses,
            last: Instant::now(),
        });
        Ok(Given::NotYet(Some(LOOK)))
    }

    /// The text is not seen to stand in the composer: it is still to come, or something else is there,
    /// or a person has submitted it, or has taken it away.
    async fn await_text(
        &mut self,
        flight: &Flight,
        turn: &mut Turn,
        read: &ReadScreen,
        (says, detail): (Says, String),
    ) -> Given {
        let draft = read.screen.draft(&turn.profile).map(|draft| draft.text);
        let is_text = |draft: &Option<String>| draft.as_ref().is_some_and(|text| !text.is_empty());
        turn.stood |= is_text(&draft);
        if draft != turn.draft {
            turn.draft = draft;
            turn.draft_since = Instant::now();
        }
        let settled = turn.draft_since.elapsed() >= FIND_AGAIN && !read.in_mode;
        if turn.stood || turn.taken_up {
            self.read_transcript(flight, turn).await;
            if turn.written().is_some() || (turn.stood && says == Says::Busy) {
                return Given::Begun;
            }
        }
        if settled && says == Says::Attended {
            let reason = format!(
                "the prompt was pasted and not submitted, for it does not stand there alone: {detail}"
            );
            return Given::Refused(reason, FIND_AGAIN);
        }
        if settled && says == Says::Idle && turn.stood {
            let tells =
                turn.profile.transcript.is_some() && !self.agents.keeps_none(&flight.identity);
            return if tells {
                let reason = "the prompt was pasted, and taken out of the composer again";
                Given::Refused(reason.to_owned(), FIND_AGAIN)
            } else {
                let reason =
                    "the prompt was pasted, and is gone: taken out, or submitted by a person";
                Given::Unclear(reason.to_owned())
            };
        }
        if turn.taken_up && says == Says::Busy {
            let reason =
                "it works on something: whether a person has submitted the prompt is not known";
            return Given::Unclear(reason.to_owned());
        }
        // One that an earlier daemon pasted, or was about to, stands there now or never.
        let within = if turn.taken_up {
            FIND_AGAIN
        } else {
            self.settings.start_within
        };
        if turn.since.elapsed() < within {
            return Given::NotYet(Some(LOOK));
        }
        let seen = if read.in_mode {
            "the pane is in copy mode".to_owned()
        } else {
            detail
        };
        let reason = format!(
            "the prompt was pasted and not submitted, for it was not seen to stand in the composer \
             within {} s ({seen})",
            within.as_secs()
        );
        Given::Refused(reason, UNRESPONSIVE)
    }

    /// Looks for proof that the turn began.
    async fn await_begin(
        &mut self,
        flight: &mut Flight,
        turn: &mut Turn,
        look: &Look<'_>,
        now: Timestamp,
    ) -> Result<Given, RoundError> {
        self.read_transcript(flight, turn).await;
        if turn.written().is_some() {
            return Ok(Given::Begun);
        }
        let Stage::Submitted { presses, last } = turn.stage else {
            return Ok(Given::NotYet(None));
        };
        // One that is idle may tell of what was before.
        let reported = look.agent.and_then(|agent| agent.report.as_ref());
        let begun = reported.is_some_and(|report| {
            report.state != State::Idle
                && report.at >= turn.given
                && report.at <= look.now
                && Some(report.at) != turn.heard
                && report.task.is_none_or(|task| task == flight.task.id.0)
        });
        if begun && presses > 0 {
            return Ok(Given::Begun);
        }
        let Some(agent) = look
            .agent
            .filter(|agent| turn.is_at(agent) && agent.is_alive())
        else {
            // Its record may tell of the turn, and was not read yet.
            if turn.may_still_tell() {
                return Ok(Given::NotYet(Some(LOOK)));
            }
            return Ok(Given::Unclear(
                "the agent ended right after the prompt was submitted".to_owned(),
            ));
        };
        let Some(read) = self.look_at_screen(&flight.identity, look).await else {
            return Ok(Given::NotYet(Some(LOOK)));
        };
        let (says, _) = fuse::screen(&turn.profile, &read.screen);
        let titled = agent
            .signals
            .iter()
            .any(|signal| signal.source == fuse::Source::Title && signal.says == Says::Busy);
        let stands =
            says == Says::Attended && read.screen.holds(&turn.profile, &turn.text) && !read.in_mode;
        if presses > 0 && !stands && (titled || says == Says::Busy) {
            return Ok(Given::Begun);
        }
        if presses > 0 && says == Says::Idle && !read.in_mode && !turn.taken_up {
            // It stood there, the key was pressed, and it is gone: it was taken.
            return Ok(Given::Begun);
        }
        if presses > 0 && says == Says::Waiting && turn.since.elapsed() > PRESS_AGAIN {
            // A question came at once. Whether it is about the prompt, the transcript may tell yet.
            return Ok(Given::Begun);
        }
        let patience = if presses == 0 { LOOK } else { PRESS_AGAIN };
        let works = titled || says == Says::Busy;
        if stands && !works && presses < MOST_PRESSES && last.elapsed() >= patience {
            if presses > 0 && !turn.is_reply {
                let details = format!(
                    "{} again, the prompt still stands there",
                    turn.profile.paste.submit
                );
                self.advance(flight, Phase::Submitted, details, now).await?;
            }
            let press = self.submit_key(flight, turn, agent, &read);
            let typed = self.tmux.press(&press).await;
            turn.stage = Stage::Submitted {
                presses: presses + u32::from(!matches!(typed, Typed::Refused(_))),
                last: Instant::now(),
            };
        }
        if turn.since.elapsed() < self.settings.start_within * 2 {
            return Ok(Given::NotYet(Some(LOOK)));
        }
        if presses == 0 {
            let reason =
                "the prompt was pasted and not submitted: the pane was never still".to_owned();
            return Ok(Given::Refused(reason, UNRESPONSIVE));
        }
        let what = if stands {
            format!("it still stands in the composer after {presses} presses of the key")
        } else {
            "no sign of its turn was seen".to_owned()
        };
        Ok(Given::Unclear(format!(
            "the prompt was submitted, and {what}"
        )))
    }

    /// Whether a program that reads lines shows the line that was typed: it has no composer whose
    /// draft could be told from its prompt in another way.
    fn is_line_shown(&self, turn: &Turn, read: &ReadScreen) -> bool {
        turn.profile.composer.is_none()
            && fuse::screen(&turn.profile, &read.screen).0 != Says::Idle
            && read.screen.ends_with(&turn.text)
    }

    fn submit_key(
        &self,
        flight: &Flight,
        turn: &Turn,
        agent: &AgentSeen,
        read: &ReadScreen,
    ) -> Keys {
        Keys {
            aim: agent.aim(&flight.identity, read.cursor),
            literal: String::new(),
            names: vec![turn.profile.paste.submit.clone()],
        }
    }

    /// Reads a pane's screen as it is this moment.
    pub(super) async fn look_at_screen(
        &mut self,
        identity: &Identity,
        look: &Look<'_>,
    ) -> Option<ReadScreen> {
        let captures = self.tmux.screens(&[identity]).await.ok()?;
        let capture: Capture = captures.into_iter().next().flatten()?;
        Some(ReadScreen::of(&capture, look.pane?, look.now))
    }

    pub(super) async fn advance(
        &mut self,
        flight: &mut Flight,
        phase: Phase,
        details: String,
        now: Timestamp,
    ) -> Result<(), RoundError> {
        let attempt = flight.attempt;
        self.ledger
            .run(move |store| store.advance(attempt, phase, &details, now))
            .await?;
        flight.phase = phase;
        Ok(())
    }

    /// Ends an attempt of which it cannot be established what became of it.
    pub(super) async fn lose(
        &mut self,
        flight: &Flight,
        reason: String,
        now: Timestamp,
    ) -> Result<(), RoundError> {
        tracing::warn!(task = %flight.task.id, session = ?flight.session, "uncertain: {reason}");
        let until = Instant::now() + UNRESPONSIVE;
        self.tracker.hold(&flight.identity, until, reason.clone());
        let end = End::new(flight.attempt, Outcome::Uncertain, Event::Lose).because(reason);
        self.end_attempt(end, now).await
    }
}

/// How far a prompt was given.
pub(super) enum Given {
    /// It is on its way; to be looked at again after so long, if sooner than the next poll.
    NotYet(Option<Duration>),
    /// Its turn has begun.
    Begun,
    /// It was not submitted; why, and for how long the session is left alone.
    Refused(String, Duration),
    /// It cannot be given.
    Failed(String),
    /// It may have been submitted.
    Unclear(String),
}

/// Returns what the prompt is to say of surroundings that the agent has not.
pub(super) fn surroundings_note(
    task: &Task,
    agent: &AgentSeen,
    stands: Option<&str>,
) -> Result<Option<String>, String> {
    let metadata = &task.metadata;
    if !metadata.secret_env.is_empty() && metadata.prerequisites.is_empty() {
        return Err(format!(
            "secret variables ({}) cannot be given to an agent",
            metadata.secret_env.join(", ")
        ));
    }
    let wanted = metadata.working_dir.as_deref();
    let elsewhere =
        wanted.filter(|wanted| stands != Some(super::matching::resolved(wanted).as_str()));
    if elsewhere.is_none() && metadata.env_vars.is_empty() {
        return Ok(None);
    }
    let branch = elsewhere.and(metadata.git_branch.as_deref());
    let note = payload::note(&agent.profile, elsewhere, branch, &metadata.env_vars);
    match (note, elsewhere) {
        (None, Some(directory)) => Err(format!(
            "the agent stands in {}, the task asks for {directory}, and the profile {} has no words \
             to tell it",
            stands.unwrap_or("an unknown directory"),
            agent.profile.name
        )),
        (note, _) => Ok(note),
    }
}
