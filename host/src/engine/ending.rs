//! observe, for agents: how a turn ended, by what tells it best, and what becomes of its task.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::flight::Flight;
use super::follow::Look;
use super::observe::Fate;
use super::turn::{Stage, Turn};
use super::{Engine, RoundError};
use crate::agents::report::{Report, State};
use crate::agents::screen;
use crate::agents::transcript::How;
use crate::model::session::Activity;
use crate::model::task::{Event, Outcome, Status, TurnFacts};
use crate::store::{End, Limit, Output};
use crate::tmux::Tmux;

/// A transcript that does not tell of the prompt this long after its turn began is not waited for.
const TRANSCRIPT_WITHIN: Duration = Duration::from_secs(5);

/// Lines of a pane's history that are searched for an answer.
const HISTORY: u32 = 2_000;

/// A transcript that tells of no end, of an agent that has been idle for so long, in seconds, will not.
const NO_END: i64 = 300;

/// An agent that has said nothing at all may not have begun to show its work.
const SAYS_NOTHING: Duration = Duration::from_secs(20);

/// The longest message of an agent that is kept as a reason, in characters.
const LONGEST_REASON: usize = 4_000;

/// A provider is paused at least this long.
const LEAST_PAUSE: Duration = Duration::from_secs(30);

/// How a turn ended, and what is known of it.
pub(super) struct Ended {
    pub(super) how: How,
    pub(super) response: Option<String>,
    pub(super) facts: TurnFacts,
}

impl<T: Tmux> Engine<T> {
    /// Returns how the turn ended, by what tells it best; `None`: it has not.
    pub(super) async fn ended(
        &mut self,
        flight: &Flight,
        turn: &mut Turn,
        look: &Look<'_>,
    ) -> Option<Ended> {
        let report = look.agent.and_then(|agent| agent.report.as_ref());
        let report = report.filter(|report| is_about(report, flight, turn));
        // One that names no task must be newer than the turn's beginning: it may be a late one.
        let report = report.filter(|report| {
            report.task.is_some() || turn.begun.is_some_and(|begun| report.at >= begun)
        });
        // Behind a question it is about what was asked.
        let report = report.filter(|_| turn.said.is_none());
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
        if turn.profile.transcript.is_some() && !turn.several {
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

    /// Returns the prompts that the pane shows as given.
    pub(super) async fn given_on_screen(
        &mut self,
        flight: &Flight,
        turn: &Turn,
    ) -> Option<(usize, String)> {
        let (text, _) = self.shown(flight).await?;
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        Some(screen::given(&turn.profile, &lines))
    }

    /// Returns what the pane shows, its history included, and whether it is the alternate screen: then
    /// the history is not this program's, and is left out.
    async fn shown(&mut self, flight: &Flight) -> Option<(String, bool)> {
        let alternate = self.agents.is_alternate(&flight.identity);
        let lines = if alternate { 0 } else { HISTORY };
        let text = self.tmux.history(&flight.identity, lines).await.ok()?;
        Some((text, alternate))
    }

    /// Returns the answer that the pane shows, and all that stands below the prompt.
    async fn answer_on_screen(&mut self, flight: &Flight, turn: &Turn) -> Option<(String, String)> {
        let (text, alternate) = self.shown(flight).await?;
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        Some(screen::answer(&turn.profile, &lines, &turn.text, alternate))
    }

    pub(super) async fn finish_turn(
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
                    let question = question(&response);
                    let is_new = turn.asks.as_ref() != Some(&question);
                    if is_new {
                        let said = output(response.clone(), self.settings.output_limit);
                        let told = question.clone();
                        self.ledger
                            .run(move |store| store.ask(attempt, &told, Some(&said), now))
                            .await?;
                        self.orders
                            .replies
                            .retain(|reply| reply.task != flight.task.id);
                        flight.task.status = Status::WaitingInput;
                        self.tell_person(flight, &question).await;
                        turn.asks = Some(question);
                        turn.asked = Instant::now();
                    }
                    if is_new || turn.said.is_none() {
                        turn.shown = match turn.is_unwritten() {
                            true => self.given_on_screen(flight, turn).await,
                            false => None,
                        };
                        // What comes next is another turn.
                        turn.given = now;
                        turn.said = Some((response, facts));
                        if let Some(follower) = &mut turn.follower {
                            follower.age();
                        }
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

    pub(super) async fn end_turn(
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
}

/// Whether a report is about this turn: it says so, or it names no task and came behind the prompt.
fn is_about(report: &Report, flight: &Flight, turn: &Turn) -> bool {
    report.at >= turn.given && report.task.is_none_or(|task| task == flight.task.id.0)
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
