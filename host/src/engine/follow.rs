//! observe, for agents: what has become of the turns in flight, by what the agents write down, report
//! and show.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::agents::AgentSeen;
use super::ending::Ended;
use super::flight::Flight;
use super::hand_over::{Given, LOOK};
use super::observe::Fate;
use super::scan::Snapshot;
use super::tracker::What;
use super::turn::{Found, Stage, Turn};
use super::{Engine, RoundError};
use crate::agents::fuse::{Says, Source, Verdict};
use crate::agents::payload;
use crate::agents::transcript::How;
use crate::model::session::Activity;
use crate::model::task::{Event, Outcome, Phase, Status};
use crate::probe;
use crate::store::{End, Request};
use crate::tmux::{Pane, PaneLock, Tmux};

/// A prompt that was pasted so often without being submitted has failed.
const MOST_LEFT_STANDING: u32 = 5;

/// A session is left alone at most so long because it did not take a prompt.
const LONGEST_REST: Duration = Duration::from_secs(300);

/// A dialog that changes is told of again after this: what it shows may count seconds.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// A command that notifies a person is ended after this.
const NOTIFY_WITHIN: Duration = Duration::from_secs(60);

/// A daemon that takes up a paste looks for it this long.
const FIND_AGAIN: Duration = Duration::from_secs(2);

/// What the scan tells of a turn's session.
pub(super) struct Look<'a> {
    pub(super) pane: Option<&'a Pane>,
    pub(super) agent: Option<&'a AgentSeen>,
    pub(super) verdict: Option<&'a Verdict>,
    pub(super) now: Timestamp,
}

impl<T: Tmux> Engine<T> {
    /// Looks after a prompt in flight.
    pub(super) async fn look_at_turn(
        &mut self,
        flight: &mut Flight,
        snapshot: &Snapshot,
        request: Option<&Request>,
        now: Timestamp,
    ) -> Result<Fate, RoundError> {
        let agent = snapshot
            .get(&flight.identity)
            .and_then(|seen| match &seen.what {
                What::Agent(agent) => Some(&**agent),
                What::Shell(_) => None,
            });
        let look = Look {
            pane: agent.map(|agent| &agent.pane),
            agent,
            verdict: agent.map(|agent| &agent.verdict),
            now,
        };
        let turn = match self.turns.remove(&flight.attempt) {
            Some(turn) => Some(turn),
            None => {
                let stands = snapshot.get(&flight.identity);
                let stands = stands.and_then(|seen| seen.row.current_dir.as_deref());
                self.take_up(flight, agent, stands, now)
            }
        };
        let Some(mut turn) = turn else {
            return self.end_unseen(flight, now).await;
        };
        let fate = self.step(flight, &mut turn, &look, request, now).await;
        if let Ok(Fate::Ended) = fate {
            if let Some(follower) = turn.follower.take() {
                self.agents.keep_follower(&flight.identity, follower);
            }
        } else {
            self.turns.insert(flight.attempt, turn);
        }
        fate
    }

    async fn step(
        &mut self,
        flight: &mut Flight,
        turn: &mut Turn,
        look: &Look<'_>,
        request: Option<&Request>,
        now: Timestamp,
    ) -> Result<Fate, RoundError> {
        if let Some(end) = self.asked_to_end(flight, turn, request, now) {
            self.end_turn(flight, end, now).await?;
            return Ok(Fate::Ended);
        }
        if matches!(turn.stage, Stage::Running { .. }) {
            return self.look_at_running(flight, turn, look, now).await;
        }
        match self.hand_over(flight, turn, look, now).await? {
            Given::NotYet(again) => Ok(Fate::Flies(again)),
            Given::Begun => {
                let attempt = flight.attempt;
                // Memory follows what was committed.
                if turn.asks.is_some() {
                    self.ledger
                        .run(move |store| store.go_on(attempt, "answered", now))
                        .await?;
                } else if flight.phase != Phase::Running {
                    self.advance(flight, Phase::Running, "its turn began".to_owned(), now)
                        .await?;
                }
                self.orders
                    .replies
                    .retain(|reply| reply.task != flight.task.id);
                // The time for which a person was waited for is not the task's.
                flight.since = now;
                flight.task.status = Status::InProgress;
                self.refusals.remove(&flight.task.id);
                turn.lock = None;
                turn.asks = None;
                turn.said = None;
                turn.shown = None;
                turn.enter(Stage::Running { idle: None });
                Ok(Fate::Flies(Some(Duration::ZERO)))
            }
            // Nothing was typed, and what was in the way may pass.
            Given::Refused(_, rest)
                if turn.is_reply
                    && matches!(turn.stage, Stage::Ready)
                    && turn.since.elapsed() < self.settings.start_within =>
            {
                turn.lock = None;
                Ok(Fate::Flies(Some(rest)))
            }
            Given::Refused(reason, _) | Given::Failed(reason) if turn.is_reply => {
                // The task goes on waiting, and its person hears of it.
                self.drop_replies(flight, reason, now).await?;
                turn.lock = None;
                turn.enter(Stage::Running { idle: None });
                Ok(Fate::Flies(None))
            }
            Given::Refused(reason, rest) => {
                let pasted = !matches!(turn.stage, Stage::Ready | Stage::Preparing(_));
                let refusals = self.refusals.entry(flight.task.id).or_default();
                refusals.all += 1;
                refusals.pasted += u32::from(pasted);
                // One that no composer takes must not be left standing in every session.
                if refusals.pasted >= MOST_LEFT_STANDING {
                    self.refusals.remove(&flight.task.id);
                    let reason =
                        format!("it was pasted several times and never submitted: {reason}");
                    self.fail_attempt(flight.clone(), None, reason, now).await?;
                    return Ok(Fate::Ended);
                }
                let rest = rest.saturating_mul(1 << refusals.all.min(9).saturating_sub(1));
                self.rest(flight, rest.min(LONGEST_REST), &reason);
                let end = End::new(flight.attempt, Outcome::Refused, Event::Refuse).because(reason);
                self.end_turn(flight, end, now).await?;
                Ok(Fate::Ended)
            }
            Given::Failed(reason) => {
                self.fail_attempt(flight.clone(), None, reason, now).await?;
                Ok(Fate::Ended)
            }
            Given::Unclear(reason) => {
                self.lose(flight, reason, now).await?;
                Ok(Fate::Ended)
            }
        }
    }

    /// Returns how an attempt ends that a person wants to end, or whose time is over. The agent is left
    /// to itself: no key is right for every state that it may be in.
    fn asked_to_end(
        &self,
        flight: &Flight,
        turn: &Turn,
        request: Option<&Request>,
        now: Timestamp,
    ) -> Option<End> {
        let state = match (&turn.stage, flight.phase) {
            (_, Phase::Running) => "the agent is left to itself, and may go on",
            (Stage::Preparing(_) | Stage::Ready, _) => "nothing was typed",
            (Stage::Pasted, _) => "the prompt was pasted and not submitted",
            (Stage::Submitted { .. } | Stage::Running { .. }, _) => {
                "the prompt was submitted, the agent is left to itself"
            }
        };
        match request {
            Some(Request::Cancel) => {
                let end = End::new(flight.attempt, Outcome::Cancelled, Event::Cancel);
                return Some(end.because(format!("cancelled by a person: {state}")));
            }
            Some(Request::Reassign(_)) => {
                let end = End::new(flight.attempt, Outcome::Reassigned, Event::Return);
                let reason = format!("given to another session by a person: {state}");
                return Some(end.because(reason));
            }
            None => {}
        }
        // While a person is waited for, no time runs.
        if flight.phase != Phase::Running || turn.asks.is_some() {
            return None;
        }
        let seconds = flight.task.timeout_seconds.filter(|&seconds| seconds > 0)?;
        let spent = now.duration_since(flight.since).as_secs();
        if u64::try_from(spent).unwrap_or_default() < seconds {
            return None;
        }
        let retry = flight.task.tries < flight.task.max_retries;
        let event = if retry { Event::Retry } else { Event::Fail };
        let end = End::new(flight.attempt, Outcome::TimedOut, event);
        let tries = flight.task.tries + 1;
        let end = End {
            not_before: retry.then(|| now + super::observe::backoff(tries)),
            ..end
        };
        Some(end.because(format!("took longer than {seconds} s: {state}")))
    }

    async fn look_at_running(
        &mut self,
        flight: &mut Flight,
        turn: &mut Turn,
        look: &Look<'_>,
        now: Timestamp,
    ) -> Result<Fate, RoundError> {
        self.read_transcript(flight, turn).await;
        if let Some(fate) = self.hear_reply(flight, turn, look, now).await? {
            return Ok(fate);
        }
        let said = turn.said.clone().filter(|_| turn.accepted);
        let accepted = said.map(|(response, facts)| Ended {
            how: How::Done,
            response: Some(response),
            facts,
        });
        let ended = match accepted {
            Some(ended) => Some(ended),
            None => self.ended(flight, turn, look).await,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => return self.goes_on(flight, turn, look, now).await,
        };
        self.finish_turn(flight, turn, ended, now).await
    }

    /// The turn has not ended: the agent works, or waits for a person, or has ended itself.
    async fn goes_on(
        &mut self,
        flight: &mut Flight,
        turn: &mut Turn,
        look: &Look<'_>,
        now: Timestamp,
    ) -> Result<Fate, RoundError> {
        // What runs in the foreground may be another program, for a while: an editor of the agent's.
        if probe::run(turn.pid) != Some(turn.began) {
            // Its record may tell of an end that was not read yet.
            if turn.may_still_tell() {
                return Ok(Fate::Flies(Some(LOOK)));
            }
            let reason = "the agent ended in the middle of its turn".to_owned();
            self.fail_attempt(flight.clone(), None, reason, now).await?;
            return Ok(Fate::Ended);
        }
        let Some(verdict) = look.verdict else {
            return Ok(Fate::Flies(None));
        };
        let attempt = flight.attempt;
        match (verdict.activity, turn.asks.is_some()) {
            // A dialog that was answered may be seen a moment longer.
            (Activity::WaitingInput, false)
                if turn.answered.is_none_or(|answered| answered.elapsed() >= ASK_AGAIN) =>
            {
                let question = verdict.reason.clone();
                let told = question.clone();
                self.ledger
                    .run(move |store| store.ask(attempt, &told, None, now))
                    .await?;
                flight.task.status = Status::WaitingInput;
                self.tell_person(flight, &question).await;
                turn.asks = Some(question);
                turn.asked = Instant::now();
            }
            // It was answered, and asks the next.
            (Activity::WaitingInput, true)
                // A title that blinks asks nothing new.
                if self.shows_dialog(look)
                    && turn.asks.as_ref() != Some(&verdict.reason)
                    && turn.asked.elapsed() >= ASK_AGAIN =>
            {
                let question = verdict.reason.clone();
                let told = question.clone();
                self.ledger
                    .run(move |store| store.ask(attempt, &told, None, now))
                    .await?;
                self.orders
                    .replies
                    .retain(|reply| reply.task != flight.task.id);
                self.tell_person(flight, &question).await;
                turn.asks = Some(question);
                turn.asked = Instant::now();
                turn.is_reply |= turn.said.is_some();
                turn.said = None;
            }
            // A person has answered in the pane itself.
            (Activity::Busy, true) if self.works(look, turn.said.as_ref().map(|_| turn.given)) => {
                self.ledger
                    .run(move |store| store.go_on(attempt, "the agent goes on", now))
                    .await?;
                self.orders
                    .replies
                    .retain(|reply| reply.task != flight.task.id);
                // What follows words is another turn, whoever has said them.
                if turn.said.is_some() {
                    turn.is_reply = true;
                    turn.text.clear();
                }
                turn.asks = None;
                turn.said = None;
                flight.task.status = Status::InProgress;
                flight.since = now;
                turn.enter(Stage::Running { idle: None });
            }
            // The same, so quickly that it was not seen to work: only the screen tells.
            (Activity::Idle, true)
                if turn.shown.is_some() && turn.shown_at.elapsed() >= ASK_AGAIN =>
            {
                turn.shown_at = Instant::now();
                let shown = self.given_on_screen(flight, turn).await;
                if shown.is_some() && shown != turn.shown {
                    self.ledger
                        .run(move |store| store.go_on(attempt, "the agent went on", now))
                        .await?;
                    self.orders
                        .replies
                        .retain(|reply| reply.task != flight.task.id);
                    turn.is_reply = true;
                    turn.text.clear();
                    turn.asks = None;
                    turn.said = None;
                    turn.shown = None;
                    flight.task.status = Status::InProgress;
                    flight.since = now;
                    turn.enter(Stage::Running { idle: None });
                }
            }
            _ => {}
        }
        // A record that grows wakes nobody.
        Ok(Fate::Flies(turn.asks.is_none().then_some(LOOK * 4)))
    }

    /// Whether the agent is seen to show a dialog, and not only said to.
    pub(super) fn shows_dialog(&self, look: &Look<'_>) -> bool {
        look.agent.is_some_and(|agent| {
            let mut signals = agent.signals.iter();
            signals.any(|signal| signal.source == Source::Screen && signal.says == Says::Waiting)
        })
    }

    /// Whether the agent is seen to work, and not only believed to; `since`: it has begun to behind
    /// that, for what it does at the end of a turn is no new one.
    fn works(&self, look: &Look<'_>, since: Option<Timestamp>) -> bool {
        look.agent.is_some_and(|agent| {
            let mut signals = agent.signals.iter();
            signals.any(|signal| {
                matches!(signal.source, Source::Screen | Source::Title)
                    && signal.says == Says::Busy
                    && since.is_none_or(|since| signal.since > since)
            })
        })
    }

    /// Lets a person know that an agent waits, in the ways that were configured.
    pub(super) async fn tell_person(&mut self, flight: &Flight, question: &str) {
        if self.settings.bell
            && let Err(error) = self.tmux.bell().await
        {
            tracing::debug!("no bell: {error}");
        }
        let Some(command) = &self.settings.notify else {
            return;
        };
        // What the agent says is a variable's value, and never part of the command.
        let told = tokio::process::Command::new("sh")
            .args(["-c", command])
            .env("ASSIGNER_TASK", flight.task.id.to_string())
            .env("ASSIGNER_SESSION", &flight.session)
            .env("ASSIGNER_QUESTION", question.replace('\0', ""))
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .process_group(0)
            .spawn();
        match told {
            // Waited for, so that no dead process stays, and ended where it never ends.
            Ok(mut child) => {
                tokio::spawn(async move {
                    if tokio::time::timeout(NOTIFY_WITHIN, child.wait())
                        .await
                        .is_err()
                    {
                        let group = child.id();
                        group.map(|group| probe::signal_group(group, probe::Signal::Kill));
                        let _ = child.kill().await;
                    }
                });
            }
            Err(error) => tracing::warn!("cannot run the command of [notify]: {error}"),
        }
    }

    fn rest(&mut self, flight: &Flight, rest: Duration, reason: &str) {
        self.tracker
            .hold(&flight.identity, Instant::now() + rest, reason.to_owned());
    }

    /// Reads what the agent has written since, and looks for where it writes.
    pub(super) async fn read_transcript(&mut self, flight: &Flight, turn: &mut Turn) {
        // The one that is looked at stands aside.
        let others = self.turns.values().filter_map(Turn::transcript);
        let mut taken: HashSet<PathBuf> = others.map(Path::to_owned).collect();
        taken.extend(self.agents.transcripts_but(&flight.identity));
        if turn.searching.is_none()
            && let Some(search) = turn.read_transcript(flight.identity.pane_pid, taken)
        {
            // Files may be long, and file systems slow: the rounds go on.
            turn.searching = Some(tokio::task::spawn_blocking(move || search.run()));
        }
        if let Some(search) = turn.searching.take_if(|search| search.is_finished())
            && let Ok(found) = search.await
        {
            match found {
                Found::One(follower) => turn.found(*follower),
                Found::Several => turn.several = true,
                Found::None => {}
            }
        }
    }

    /// Takes up a turn that an earlier daemon left, where its agent is still there.
    fn take_up(
        &mut self,
        flight: &mut Flight,
        agent: Option<&AgentSeen>,
        stands: Option<&str>,
        now: Timestamp,
    ) -> Option<Turn> {
        let agent = agent?;
        let given = flight.given.unwrap_or(now);
        if probe::started_at(agent.pid).is_some_and(|began| began > given) {
            // Another one, that was not given anything.
            return None;
        }
        let note = super::hand_over::surroundings_note(&flight.task, agent, stands)
            .ok()
            .flatten();
        let text = payload::prepare(&agent.profile, &flight.task.content, note.as_deref()).ok()?;
        let stage = match flight.phase {
            Phase::Delivering => Stage::Pasted,
            Phase::Submitted => Stage::Submitted {
                presses: 1,
                last: Instant::now(),
            },
            Phase::Running => Stage::Running { idle: None },
            Phase::Claimed | Phase::Ended => return None,
        };
        let writes = !matches!(stage, Stage::Running { .. });
        let mut turn = Turn::new(agent, text, stage, given);
        if writes {
            turn.lock = PaneLock::take(&flight.identity).ok().flatten();
        }
        turn.begun = (!writes).then_some(given);
        if flight.answered && flight.task.asks.is_none() {
            // It is at an answer, and what that was is not known any more.
            turn.is_reply = true;
            turn.text.clear();
        }
        turn.asks.clone_from(&flight.task.asks);
        turn.taken_up = true;
        Some(turn)
    }

    /// Ends what an earlier daemon left at an agent that is not there any more.
    async fn end_unseen(&mut self, flight: &Flight, now: Timestamp) -> Result<Fate, RoundError> {
        let waited = now.duration_since(flight.resumed.unwrap_or(now));
        // An agent may be behind an editor of its own for a while.
        let behind = flight.phase == Phase::Running && probe::is_alive(flight.identity.pane_pid);
        let within = if behind { LONGEST_REST } else { FIND_AGAIN };
        if Duration::try_from(waited).unwrap_or_default() < within {
            return Ok(Fate::Flies(Some(LOOK * 4)));
        }
        if matches!(flight.phase, Phase::Claimed | Phase::Delivering) {
            let reason = "the agent ended before the prompt was submitted";
            let end = End::new(flight.attempt, Outcome::Withdrawn, Event::Withdraw).because(reason);
            self.end_turn(flight, end, now).await?;
        } else {
            let reason =
                "the agent ended while no daemon ran: what became of the prompt is not known";
            self.lose(flight, reason.to_owned(), now).await?;
        }
        Ok(Fate::Ended)
    }
}
