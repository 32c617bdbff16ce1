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
use crate::tmux::{Keys, Pane, Tmux, Typed};

/// A transcript that does not tell of the prompt this long after its turn began is not waited for.
const TRANSCRIPT_WITHIN: Duration = Duration::from_secs(5);

/// Lines of a pane's history that are searched for an answer.
const HISTORY: u32 = 2_000;

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
            None => self.take_up(flight, agent, now),
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
                turn.lock = None;
                turn.said = None;
                turn.enter(Stage::Running { idle: None });
                let attempt = flight.attempt;
                if turn.asks.take().is_some() {
                    self.ledger
                        .run(move |store| store.go_on(attempt, "answered", now))
                        .await?;
                    flight.task.status = Status::InProgress;
                } else if flight.phase != Phase::Running {
                    self.advance(flight, Phase::Running, "its turn began".to_owned(), now)
                        .await?;
                    flight.since = now;
                    flight.task.status = Status::InProgress;
                }
                Ok(Fate::Flies(Some(Duration::ZERO)))
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
                self.rest(flight, rest, &reason);
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
        Some(end.because(format!("took longer than {seconds} s: {state}")))
    }

    async fn look_at_running(
        &mut self,
        flight: &mut Flight,
        turn: &mut Turn,
        look: &Look<'_>,
        now: Timestamp,
    ) -> Result<Fate, RoundError> {
        let taken = self.taken_transcripts();
        turn.read_transcript(flight.identity.pane_pid, &taken);
        let reply = self
            .orders
            .replies
            .iter()
            .find(|reply| reply.task == flight.task.id)
            .cloned();
        let accepted = reply
            .as_ref()
            .is_some_and(|reply| reply.answer == Answer::Accept);
        if let Some(reply) = reply {
            if accepted {
                let details = "what it has said is taken as done".to_owned();
                self.take_reply(reply, details, now).await?;
                turn.accepted = true;
                if turn.said.is_none() {
                    // An earlier daemon heard the question.
                    turn.given = flight.given.unwrap_or(turn.given);
                    turn.asks = None;
                }
            } else {
                return self.give_reply(flight, turn, look, reply, now).await;
            }
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

    /// Returns how the turn ended, by what tells it best; `None`: it has not.
    async fn ended(&mut self, flight: &Flight, turn: &mut Turn, look: &Look<'_>) -> Option<Ended> {
        let report = look.agent.and_then(|agent| agent.report.as_ref());
        let report = report.filter(|report| is_about(report, flight, turn));
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
                (None, None) => None,
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
        if turn.profile.transcript.is_some() && turn.since.elapsed() < TRANSCRIPT_WITHIN {
            return None;
        }
        let is_idle = look
            .verdict
            .is_some_and(|verdict| matches!(verdict.activity, Activity::Idle | Activity::Attended))
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
        let (answer, below) = self
            .answer_on_screen(flight, turn)
            .await
            .unwrap_or_default();
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
        let text = self.tmux.history(&flight.identity, HISTORY).await.ok()?;
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
        if probe::began(turn.pid) != Some(turn.began) {
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
                turn.asks = Some(question.clone());
                flight.task.status = Status::WaitingInput;
                self.tell_person(flight, &question).await;
                self.ledger
                    .run(move |store| store.ask(attempt, &question, now))
                    .await?;
            }
            // A person has answered in the pane itself.
            (Activity::Busy, true) if self.works(look) => {
                turn.asks = None;
                turn.said = None;
                flight.task.status = Status::InProgress;
                turn.enter(Stage::Running { idle: None });
                self.ledger
                    .run(move |store| store.go_on(attempt, "the agent goes on", now))
                    .await?;
            }
            _ => {}
        }
        // A record that grows wakes nobody.
        Ok(Fate::Flies(turn.asks.is_none().then_some(LOOK * 4)))
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
    ) -> Result<Fate, RoundError> {
        let Some(agent) = look.agent.filter(|agent| turn.is_at(agent)) else {
            return self.goes_on(flight, turn, look, now).await;
        };
        let Some(read) = self.look_at_screen(&flight.identity, look).await else {
            return Ok(Fate::Flies(None));
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
        if is_keys || says == Says::Waiting || titled {
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
            return Ok(Fate::Flies(Some(LOOK)));
        }
        if says != Says::Idle {
            // It works, or a person types there: the answer waits.
            return Ok(Fate::Flies(None));
        }
        let Answer::Words(words) = &reply.answer else {
            return Ok(Fate::Flies(None));
        };
        let text = match payload::prepare(&turn.profile, words, None) {
            Ok(text) => text,
            Err(unfit) => {
                self.take_reply(reply, format!("not given: {unfit}"), now)
                    .await?;
                return Ok(Fate::Flies(None));
            }
        };
        self.take_reply(reply, shown, now).await?;
        turn.text = text;
        turn.is_reply = true;
        turn.enter(Stage::Ready);
        Ok(Fate::Flies(Some(Duration::ZERO)))
    }

    async fn take_reply(
        &mut self,
        reply: Reply,
        details: String,
        now: Timestamp,
    ) -> Result<(), RoundError> {
        self.orders.replies.retain(|known| known.id != reply.id);
        self.ledger
            .run(move |store| store.take_reply(&reply, &details, now))
            .await?;
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
                        turn.asks = Some(question.clone());
                        // What comes next is another turn.
                        turn.given = now;
                        turn.said = Some((response, facts));
                        flight.task.status = Status::WaitingInput;
                        self.tell_person(flight, &question).await;
                        self.ledger
                            .run(move |store| store.ask(attempt, &question, now))
                            .await?;
                    }
                    return Ok(Fate::Flies(None));
                }
                tracing::info!(task = %flight.task.id, session = ?flight.session, "completed");
                if let Some(known) = self.tracker.get_mut(&flight.identity) {
                    known.completed += 1;
                }
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
                let reason = format!("the agent reports an error: {message}");
                self.fail_turn(flight, reason, response, facts, now).await?;
            }
            How::Limited { message, until } => {
                let until = until.filter(|until| *until > now);
                let until = until.unwrap_or_else(|| now + turn.profile.turn.limit_pause);
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
        if let Some(known) = self.tracker.get_mut(&flight.identity) {
            known.failed += 1;
        }
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
        self.end_attempt(end, now).await
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

    /// The transcripts that are known to be of other turns; the one that is looked at stands aside.
    pub(super) fn taken_transcripts(&self) -> HashSet<PathBuf> {
        let known = self.turns.values().filter_map(Turn::transcript);
        known.map(Path::to_owned).collect()
    }

    /// Takes up a turn that an earlier daemon left, where its agent is still there.
    fn take_up(
        &mut self,
        flight: &mut Flight,
        agent: Option<&AgentSeen>,
        now: Timestamp,
    ) -> Option<Turn> {
        let agent = agent?;
        let note = super::hand_over::surroundings_note(&flight.task, agent, None)
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
        let mut turn = Turn::new(agent, text, stage, flight.given.unwrap_or(now));
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
fn asks(response: &str) -> bool {
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
