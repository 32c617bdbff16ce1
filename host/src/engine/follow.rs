//! observe, for agents: what has become of the turns in flight, by what the agents write down, report
//! and show.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::agents::AgentSeen;
use super::flight::Flight;
use super::hand_over::{Given, LOOK};
use super::observe::Fate;
use super::scan::Snapshot;
use super::tracker::What;
use super::turn::{Stage, Turn};
use super::{Engine, RoundError};
use crate::agents::fuse::{Says, Source, Verdict};
use crate::agents::payload;
use crate::agents::report::{Report, State};
use crate::agents::screen;
use crate::agents::transcript::How;
use crate::model::session::Activity;
use crate::model::task::{Event, Outcome, Phase, Status, TurnFacts};
use crate::probe;
use crate::store::{Answer, End, Limit, Output, Reply, Request};
use crate::tmux::{Keys, Pane, PaneLock, Tmux, Typed};

/// A transcript that does not tell of the prompt this long after its turn began is not waited for.
const TRANSCRIPT_WITHIN: Duration = Duration::from_secs(5);

/// Lines of a pane's history that are searched for an answer.
const HISTORY: u32 = 2_000;

/// A prompt that was pasted so often without being submitted has failed.
const MOST_LEFT_STANDING: u32 = 5;

/// A session is left alone at most so long because it did not take a prompt.
const LONGEST_REST: Duration = Duration::from_secs(300);

/// A transcript that tells of no end, of an agent that has been idle for so long, in seconds, will not.
const NO_END: i64 = 300;

/// An agent that has said nothing at all may not have begun to show its work.
const SAYS_NOTHING: Duration = Duration::from_secs(20);

/// The longest message of an agent that is kept as a reason, in characters.
const LONGEST_REASON: usize = 4_000;

/// A dialog that changes is told of again after this: what it shows may count seconds.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// A provider is paused at least this long.
const LEAST_PAUSE: Duration = Duration::from_secs(30);

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

/// How a turn ended, and what is known of it.
struct Ended {
    how: How,
    response: Option<String>,
    facts: TurnFacts,
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
                // The time for which a person was waited for is not the task's.
                flight.since = now;
                flight.task.status = Status::InProgress;
                self.refusals.remove(&flight.task.id);
                turn.lock = None;
                turn.asks = None;
                turn.said = None;
                turn.begun = Some(now);
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
                let (task, session) = (flight.task.id, flight.session.clone());
                tracing::info!(%task, "the reply was not given: {reason}");
                let details = format!("task {task}: the reply was not given: {reason}");
                self.ledger
                    .run(move |store| store.note_session(&session, "reply_refused", &details, now))
                    .await?;
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
        let said = turn.said.take_if(|_| turn.accepted);
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

    /// Looks for a person's answer. `None`: there is none that can be given now, and the turn is looked
    /// at as ever.
    async fn hear_reply(
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
            self.take_reply(reply, format!("not given: {why}"), now)
                .await?;
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

    /// Returns how the turn ended, by what tells it best; `None`: it has not.
    async fn ended(&mut self, flight: &Flight, turn: &mut Turn, look: &Look<'_>) -> Option<Ended> {
        let report = look.agent.and_then(|agent| agent.report.as_ref());
        let report = report.filter(|report| is_about(report, flight, turn));
        // One that names no task must be newer than the turn's beginning: it may be a late one.
        let report = report.filter(|report| {
            report.task.is_some() || turn.begun.is_some_and(|begun| report.at >= begun)
        });
        if let Some(written) = turn.written() {
            let how = written.how.clone();
            let facts = TurnFacts {
                source: "transcript".to_owned(),
                transcript: turn
                    .follower
                    .as_ref()
                    .map(|follower| follower.path().display().to_string()),
                began: written.began,
                ended: written.ended,
                files: written.files.clone(),
            };
            let response = written.response.clone();
            let told_done = report.filter(|report| report.state == State::Done);
            return match (how, told_done) {
                (Some(how), _) => Some(Ended {
                    how,
                    response,
                    facts,
                }),
                (None, Some(report)) => Some(Ended {
                    how: How::Done,
                    response: report.message.clone().or(response),
                    facts,
                }),
                (None, None) => {
                    let last = written.last.or(written.began);
                    let quiet =
                        last.is_none_or(|last| look.now.as_second() - last.as_second() > NO_END);
                    let verdict = look.verdict.map(|verdict| verdict.activity);
                    (quiet && verdict == Some(Activity::Idle)).then(|| Ended {
                        how: How::Failed {
                            message: "its record tells of no end, and it has been idle for minutes"
                                .to_owned(),
                        },
                        response: (!written.said.is_empty()).then(|| written.said.join("\n\n")),
                        facts,
                    })
                }
            };
        }
        if let Some(report) = report.filter(|report| report.state == State::Done) {
            let facts = TurnFacts {
                source: "report".to_owned(),
                ended: Some(report.at),
                ..TurnFacts::default()
            };
            let response = match &report.message {
                Some(message) => Some(message.clone()),
                None => self
                    .answer_on_screen(flight, turn)
                    .await
                    .map(|(answer, _)| answer),
            };
            return Some(Ended {
                how: How::Done,
                response,
                facts,
            });
        }
        // While its transcript is looked for, or has been found, the screen is not asked.
        let within = if self.agents.keeps_none(&flight.identity) {
            Duration::ZERO
        } else {
            TRANSCRIPT_WITHIN
        };
        if turn.profile.transcript.is_some() && turn.since.elapsed() < within {
            return None;
        }
        let is_idle = look
            .verdict
            .is_some_and(|verdict| verdict.activity == Activity::Idle)
            && look.agent.is_some_and(|agent| turn.is_at(agent));
        let Stage::Running { idle } = &mut turn.stage else {
            return None;
        };
        // Behind a question an idle agent is what was to be expected; behind a dialog it has gone on.
        if !is_idle || turn.said.is_some() {
            *idle = None;
            return None;
        }
        let since = *idle.get_or_insert_with(Instant::now);
        if since.elapsed() < turn.profile.turn.settle {
            return None;
        }
        let elapsed = since.elapsed();
        let (answer, below) = self
            .answer_on_screen(flight, turn)
            .await
            .unwrap_or_default();
        if answer.is_empty() && turn.profile.turn.answer.is_some() && elapsed < SAYS_NOTHING {
            let is_told = |pattern: &crate::agents::profile::Patterns| {
                below.lines().any(|line| pattern.is_match(line))
            };
            if !is_told(&turn.profile.turn.limits) && !is_told(&turn.profile.turn.errors) {
                return None;
            }
        }
        if turn.profile.transcript.is_some() {
            // The next turn there is not waited for in vain as long as this one.
            self.agents.no_transcript(&flight.identity);
        }
        let facts = TurnFacts {
            source: "screen".to_owned(),
            ..TurnFacts::default()
        };
        let message = |pattern: &crate::agents::profile::Patterns| {
            below.lines().find_map(|line| {
                let groups = pattern.captures(line)?;
                let message = groups.name("message").or_else(|| groups.get(0))?;
                Some((message.as_str().trim().to_owned(), line.to_owned()))
            })
        };
        let how = if let Some((message, line)) = message(&turn.profile.turn.limits) {
            let until =
                crate::agents::reset(&line, &look.now.to_zoned(jiff::tz::TimeZone::system()));
            How::Limited { message, until }
        } else if let Some((message, _)) = message(&turn.profile.turn.errors) {
            How::Failed { message }
        } else {
            How::Done
        };
        Some(Ended {
            how,
            response: (!answer.is_empty()).then_some(answer),
            facts,
        })
    }

    /// Returns the answer that the pane shows, its history included, and all that stands below the
    /// prompt.
    async fn answer_on_screen(&mut self, flight: &Flight, turn: &Turn) -> Option<(String, String)> {
        // The history of a pane that shows the alternate screen is not this program's.
        let alternate = self.agents.is_alternate(&flight.identity);
        let lines = if alternate { 0 } else { HISTORY };
        let text = self.tmux.history(&flight.identity, lines).await.ok()?;
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        Some(screen::answer(&turn.profile, &lines, &turn.text))
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
            let reason = "the agent ended in the middle of its turn".to_owned();
            self.fail_attempt(flight.clone(), None, reason, now).await?;
            return Ok(Fate::Ended);
        }
        let Some(verdict) = look.verdict else {
            return Ok(Fate::Flies(None));
        };
        let attempt = flight.attempt;
        match (verdict.activity, turn.asks.is_some()) {
            (Activity::WaitingInput, false) => {
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
                turn.said = None;
            }
            // A person has answered in the pane itself.
            (Activity::Busy, true) if self.works(look) => {
                self.ledger
                    .run(move |store| store.go_on(attempt, "the agent goes on", now))
                    .await?;
                self.orders
                    .replies
                    .retain(|reply| reply.task != flight.task.id);
                // What follows words is another turn, whoever has said them.
                turn.is_reply |= turn.said.is_some();
                turn.asks = None;
                turn.said = None;
                flight.task.status = Status::InProgress;
                flight.since = now;
                turn.enter(Stage::Running { idle: None });
            }
            _ => {}
        }
        // A record that grows wakes nobody.
        Ok(Fate::Flies(turn.asks.is_none().then_some(LOOK * 4)))
    }

    /// Whether the agent is seen to show a dialog, and not only said to.
    fn shows_dialog(&self, look: &Look<'_>) -> bool {
        look.agent.is_some_and(|agent| {
            let mut signals = agent.signals.iter();
            signals.any(|signal| signal.source == Source::Screen && signal.says == Says::Waiting)
        })
    }

    /// Whether the agent is seen to work, and not only believed to.
    fn works(&self, look: &Look<'_>) -> bool {
        look.agent.is_some_and(|agent| {
            let mut signals = agent.signals.iter();
            signals.any(|signal| {
                matches!(signal.source, Source::Screen | Source::Title) && signal.says == Says::Busy
            })
        })
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
                let (task, session) = (flight.task.id, flight.session.clone());
                let details = format!("task {task}: the reply was not typed: {refusal}");
                self.ledger
                    .run(move |store| store.note_session(&session, "reply_refused", &details, now))
                    .await?;
            }
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
                self.take_reply(reply, format!("not given: {unfit}"), now)
                    .await?;
                return Ok(None);
            }
        };
        self.take_reply(reply, shown, now).await?;
        turn.text = text;
        turn.is_reply = true;
        turn.enter(Stage::Ready);
        Ok(Some(Fate::Flies(Some(Duration::ZERO))))
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

    async fn finish_turn(
        &mut self,
        flight: &mut Flight,
        turn: &mut Turn,
        ended: Ended,
        now: Timestamp,
    ) -> Result<Fate, RoundError> {
        let Ended {
            how,
            response,
            facts,
        } = ended;
        let attempt = flight.attempt;
        match how {
            How::Done => {
                let response = response.unwrap_or_default();
                if turn.profile.turn.questions && !turn.accepted && asks(&response) {
                    if turn.asks.is_none() {
                        let question = question(&response);
                        let said = output(response.clone(), self.settings.output_limit);
                        let told = question.clone();
                        self.ledger
                            .run(move |store| store.ask(attempt, &told, Some(&said), now))
                            .await?;
                        flight.task.status = Status::WaitingInput;
                        self.tell_person(flight, &question).await;
                        turn.asks = Some(question);
                        turn.asked = Instant::now();
                    }
                    if turn.said.is_none() {
                        // What comes next is another turn.
                        turn.given = now;
                        turn.said = Some((response, facts));
                    }
                    return Ok(Fate::Flies(None));
                }
                tracing::info!(task = %flight.task.id, session = ?flight.session, "completed");
                let end = End {
                    output: Some(output(response, self.settings.output_limit)),
                    turn: Some(facts),
                    ..End::new(attempt, Outcome::Completed, Event::Complete)
                };
                self.end_turn(flight, end, now).await?;
            }
            How::Interrupted => {
                let reason = "interrupted: a person ended the turn in the pane".to_owned();
                self.fail_turn(flight, reason, response, facts, now).await?;
            }
            How::Failed { message } => {
                let message: String = message.chars().take(LONGEST_REASON).collect();
                let reason = format!("the agent reports an error: {message}");
                self.fail_turn(flight, reason, response, facts, now).await?;
            }
            How::Limited { message, until } => {
                let message: String = message.chars().take(LONGEST_REASON).collect();
                // A limit that ends at once would be come to again at once.
                let until = until.unwrap_or_else(|| now + turn.profile.turn.limit_pause);
                let until = until.max(now + LEAST_PAUSE);
                let end = End {
                    turn: Some(facts),
                    limit: Some(Limit {
                        provider: turn.profile.name.clone(),
                        until,
                        reason: message.clone(),
                    }),
                    ..End::new(attempt, Outcome::Limited, Event::Hold)
                };
                self.orders.stale = true;
                let end = end.because(format!("rate limit: {message}"));
                self.end_turn(flight, end, now).await?;
            }
        }
        Ok(Fate::Ended)
    }

    async fn fail_turn(
        &mut self,
        flight: &Flight,
        reason: String,
        response: Option<String>,
        facts: TurnFacts,
        now: Timestamp,
    ) -> Result<(), RoundError> {
        let tries = flight.task.tries + 1;
        let retry = tries <= flight.task.max_retries;
        let event = if retry { Event::Retry } else { Event::Fail };
        let end = End {
            output: response.map(|response| output(response, self.settings.output_limit)),
            turn: Some(facts),
            not_before: retry.then(|| now + super::observe::backoff(tries)),
            ..End::new(flight.attempt, Outcome::Failed, event)
        };
        self.end_turn(flight, end.because(reason), now).await
    }

    async fn end_turn(
        &mut self,
        flight: &Flight,
        end: End,
        now: Timestamp,
    ) -> Result<(), RoundError> {
        let reason = end.error.as_deref().unwrap_or_default();
        if !reason.is_empty() {
            tracing::info!(task = %flight.task.id, session = ?flight.session, "{}: {}", end.outcome.name(), crate::model::text::clean(reason));
        }
        let outcome = end.outcome;
        self.end_attempt(end, now).await?;
        if let Some(known) = self.tracker.get_mut(&flight.identity) {
            known.completed += u32::from(outcome == Outcome::Completed);
            known.failed += u32::from(outcome.is_failure());
        }
        Ok(())
    }

    /// Lets a person know that an agent waits, in the ways that were configured.
    async fn tell_person(&mut self, flight: &Flight, question: &str) {
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
            && let Ok(Some(follower)) = search.await
        {
            turn.found(follower);
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
        turn.asks.clone_from(&flight.task.asks);
        turn.taken_up = true;
        Some(turn)
    }

    /// Ends what an earlier daemon left at an agent that is not there any more.
    async fn end_unseen(&mut self, flight: &Flight, now: Timestamp) -> Result<Fate, RoundError> {
        let waited = now.duration_since(flight.resumed.unwrap_or(now));
        if Duration::try_from(waited).unwrap_or_default() < FIND_AGAIN {
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

/// Whether a report is about this turn: it says so, or it names no task and came behind the prompt.
fn is_about(report: &Report, flight: &Flight, turn: &Turn) -> bool {
    match report.task {
        Some(task) => task == flight.task.id.0 && report.at >= turn.given,
        None => report.at >= turn.given,
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

/// Whether a response ends in a question.
pub(super) fn asks(response: &str) -> bool {
    let last = response
        .lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty());
    last.is_some_and(|line| {
        let line = line.trim_end_matches(['*', '_', '`', '"', '\'', ')', '”', '»']);
        line.ends_with(['?', '？'])
    })
}

/// Returns the last paragraph of a response, in a line.
fn question(response: &str) -> String {
    let paragraph = response
        .trim_end()
        .rsplit("\n\n")
        .next()
        .unwrap_or_default();
    let words: Vec<&str> = paragraph.split_whitespace().collect();
    let line: String = words.join(" ").chars().take(500).collect();
    format!("asks: {line}")
}

fn output(response: String, limit: u64) -> Output {
    let total = response.len() as u64;
    let mut bytes = response.into_bytes();
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if bytes.len() > limit {
        bytes.drain(..bytes.len() - limit);
    }
    Output { bytes, total }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_known_by_its_end() {
        for text in [
            "Shall I?",
            "Done.\n\nShall I go on? ",
            "**Which one?**",
            "続けますか？",
        ] {
            assert!(asks(text), "{text}");
        }
        for text in ["", "Done.", "Why? Because.", "What?\n\nThat."] {
            assert!(!asks(text), "{text}");
        }
        assert_eq!(question("a\n\nShall I\ngo on?"), "asks: Shall I go on?");
    }
}
