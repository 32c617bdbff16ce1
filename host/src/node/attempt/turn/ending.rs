//! How a turn ended, by the best evidence, and what becomes of its task.

use std::time::Duration;

use jiff::Timestamp;

use super::super::LEAST_PAUSE;
use super::super::{Act, Ending, Next, Note, Observation, OutputSource, Sight, Written};
use super::running::RunningTurn;
use super::{Turn, TurnAgent};
use crate::agents::profile::Patterns;
use crate::agents::report::{Report, ReportedState};
use crate::agents::transcript::How;
use crate::model::clock::Now;
use crate::model::session::Activity;
use crate::model::task::{Event, Outcome, Response, TurnFacts};
use crate::store::Limit;

/// A record that does not contain the prompt this long after the turn began, or its end this long
/// after it was reported, is no longer waited for. What is reported is mostly the answer without the
/// whitespace at its ends.
const RECORD_WITHIN: Duration = Duration::from_secs(5);

/// A record that shows no end will not show one if its agent has been idle for this long, in
/// seconds.
const NO_END: i64 = 300;

/// A screen on which something still changes after this long always changes, and an agent that still
/// works this long after the end of a turn was reported works on another one.
const MOVES_ON: Duration = Duration::from_secs(60);

/// How long an agent that has said nothing at all must be idle: it may not have begun to show its
/// work.
const SAYS_NOTHING: Duration = Duration::from_secs(20);

/// The longest message of an agent that is kept as a reason, in characters.
const LONGEST_REASON: usize = 4_000;

/// The question of a turn that has ended in one begins with this.
const ASKS: &str = "asks: ";

/// How a turn ended, and what is known about it.
pub(super) struct EndedTurn {
    pub(super) how: How,
    pub(super) response: Option<String>,
    pub(super) facts: TurnFacts,
}

/// An end that the agent has reported.
#[derive(Debug, Clone, Copy)]
struct ReportedEnd<'s> {
    at: Timestamp,
    /// Its answer, if reported.
    message: Option<&'s str>,
    /// Whether it says which task or turn it is about.
    is_named: bool,
    /// The name of the turn, if it says it.
    turn: Option<&'s str>,
}

/// What is known about a turn's end before the screen is read for its answer.
#[derive(Debug, Clone)]
pub(super) enum KnownEnd {
    /// The agent has reported the end.
    Reported {
        facts: Box<TurnFacts>,
        /// Its answer, if reported.
        message: Option<String>,
        /// Whether it said which task or turn has ended.
        is_named: bool,
    },
    /// The agent has been idle for this long.
    Idle(Duration),
}

/// Whether a turn has ended.
pub(super) enum EndVerdict {
    /// It has.
    Ended(Box<EndedTurn>),
    /// It has, but the screen must be read first: for the answer, or for whose answer it is.
    Read(KnownEnd),
    /// It has not.
    NotYet,
    /// Nothing will show any more whether it has; includes why, and what was said until then.
    Unknown(&'static str, Option<String>),
}

/// What is told and seen of a turn's end.
struct Evidence<'s> {
    /// Whether the agent had said something that ends in a question.
    said: bool,
    /// What it is doing, as seen since the turn runs.
    activity: Option<Activity>,
    /// The end of the turn of that name.
    told: Option<ReportedEnd<'s>>,
    /// An end that names no turn.
    done: Option<ReportedEnd<'s>>,
}

impl Evidence<'_> {
    /// Whether more evidence about a reported end may arrive: it has this long, and longer while the
    /// agent still works, as one does that draws a long answer before it writes it down.
    fn may_grow(&self, running: &mut RunningTurn, within: Duration, now: Now) -> bool {
        let told = *running.told.get_or_insert(now.tick);
        if self.activity == Some(Activity::Busy) && now.tick.since(told) < MOVES_ON {
            running.worked = now.tick;
        }
        now.tick.since(told.max(running.worked)) < within
    }

    /// Returns what the agent does, if that tells whether the turn has ended: after a question, it is
    /// expected to be idle; after a dialog, idle means that it has continued.
    fn rest(&self) -> Option<Activity> {
        self.activity.filter(|_| !self.said)
    }
}

impl Turn {
    /// Returns whether the turn has ended, by the best evidence. `read` is what was read from the
    /// screen.
    pub(super) fn ended(
        &self,
        agent: &TurnAgent,
        running: &mut RunningTurn,
        read: Option<(KnownEnd, Option<(String, String)>)>,
        seen: &Observation,
        now: Now,
    ) -> EndVerdict {
        if let Some((known, answer)) = read {
            return ended_as_read(agent, known, answer, seen, now);
        }
        let evidence = self.evidence(agent, running, seen, now);
        // While the agent shows a dialog, its turn is still its own, whatever has begun since.
        if let Some(written) = agent.written(seen, evidence.said) {
            return ended_as_written(agent, running, written, &evidence, seen, now);
        }
        let Evidence { told, done, .. } = evidence;
        // If a record is expected, it shows whose end was reported: a person may have submitted a
        // prompt before, or in between.
        let keeps_none = agent
            .seen(seen)
            .is_some_and(|sighted| sighted.keeps_none && !seen.record.found);
        // A report that names the task or its turn is about it.
        let end = told.or(done);
        let adds_nothing = end.is_some_and(|end| match told {
            Some(_) => end.message.is_some() && !agent.record_shows_ends(),
            None => end.is_named,
        });
        let within = match adds_nothing {
            true => Duration::ZERO,
            false => RECORD_WITHIN,
        };
        let is_to_come = agent.profile.transcript.is_some() && !keeps_none;
        if end.is_some() && is_to_come && evidence.may_grow(running, within, now) {
            return EndVerdict::NotYet;
        }
        if let Some(end) = end {
            return ended_as_reported(end);
        }
        // While its record is looked for, or has been found, the screen is not consulted.
        let within = match keeps_none {
            true => Duration::ZERO,
            false => RECORD_WITHIN,
        };
        if agent.profile.transcript.is_some() && now.tick.since(running.entered) < within {
            return EndVerdict::NotYet;
        }
        match idle_for(agent, running, evidence.rest(), seen, now) {
            Some(idle) => EndVerdict::Read(KnownEnd::Idle(idle)),
            None => EndVerdict::NotYet,
        }
    }

    /// Gathers what is told and seen of the turn's end.
    fn evidence<'s>(
        &self,
        agent: &TurnAgent,
        running: &RunningTurn,
        seen: &'s Observation,
        now: Now,
    ) -> Evidence<'s> {
        let said = running.has_said();
        let sight = seen.sight.as_ref();
        let activity = sight
            .filter(|sight| sight.at >= running.entered)
            .and_then(Sight::pane)
            .and_then(|pane| pane.agent.as_ref())
            .map(|agent| agent.verdict.activity);
        let report = sight
            .and_then(Sight::pane)
            .and_then(|pane| pane.agent.as_ref());
        let report = report.and_then(|agent| agent.report.as_ref());
        let report = report.filter(|report| self.is_about(report, agent, now));
        // A report that names no task may be a late one, so it must be newer than the turn's
        // beginning. After a question, a report is about what was asked.
        let report = report.filter(|report| {
            let late = report.task.is_some()
                || agent
                    .submitted
                    .is_some_and(|submitted| report.at >= submitted);
            late && !said
        });
        let done = report.filter(|report| report.state == ReportedState::Done);
        let done = done.map(|report| ReportedEnd {
            at: report.at,
            message: report.message.as_deref(),
            is_named: report.task.is_some(),
            turn: None,
        });
        let told = agent.told(seen).filter(|_| !said).and_then(|told| {
            Some(ReportedEnd {
                at: told.ended?,
                message: told.response.as_deref(),
                is_named: true,
                turn: Some(&told.id),
            })
        });
        Evidence {
            said,
            activity,
            told,
            done,
        }
    }

    /// Whether a report is about this turn: it says so, or it names no task and came after the
    /// prompt. A report that was there before is not, whatever the wall clock said then.
    fn is_about(&self, report: &Report, agent: &TurnAgent, now: Now) -> bool {
        report.at >= agent.given
            // One from the future is older than the last change of the clock.
            && report.at <= now.wall
            && Some(report.at) != agent.heard
            && report.task.is_none_or(|task| task == self.brief.task.id.0)
            // A report that names its turn is handled by that name.
            && report.turn.is_none()
    }

    /// The turn has ended. `accepted` means that a person takes what was said as the response.
    #[expect(
        clippy::too_many_arguments,
        reason = "all that a turn's end depends on"
    )]
    pub(super) fn finish(
        self,
        agent: Box<TurnAgent>,
        running: RunningTurn,
        ended: EndedTurn,
        mut acts: Vec<Act>,
        accepted: bool,
        seen: &Observation,
        now: Now,
    ) -> (Self, Next) {
        let EndedTurn {
            how,
            response,
            facts,
        } = ended;
        if facts.response() == Response::Seen
            && agent.profile.transcript.is_some()
            && !seen.record.several
        {
            // The next turn there should not wait in vain for as long as this one did.
            acts.push(Act::Tell(Note::NoRecord));
        }
        let rest = agent.profile.turn.rest;
        if !rest.is_zero() {
            let reason = "its turn has only just ended".to_owned();
            acts.push(Act::Tell(Note::Hold(rest, reason)));
        }
        let end = match how {
            How::Done => {
                let response = response.unwrap_or_default();
                if agent.profile.turn.questions && !accepted && asks(&response) {
                    let asks = question(&response);
                    let said = (asks, response, facts);
                    return self.asked(agent, running, said, acts, seen, now);
                }
                Ending {
                    output: OutputSource::Text(response),
                    ..Ending::new(Outcome::Completed, Event::Complete)
                }
            }
            How::Interrupted => self.failed_turn(
                "interrupted: a person ended the turn in the pane".to_owned(),
                response,
            ),
            How::Failed { message } => {
                let reason = format!("the agent reports an error: {}", short(&message));
                self.failed_turn(reason, response)
            }
            How::Limited { message, until } => {
                let message = short(&message);
                // A limit that ends at once would be reached again at once.
                let until = until.unwrap_or_else(|| now.wall + agent.profile.turn.limit_pause);
                let until = until.max(now.wall + LEAST_PAUSE);
                acts.push(Act::Tell(Note::Orders));
                Ending {
                    limit: Some(Limit {
                        provider: agent.profile.name.clone(),
                        until,
                        reason: message.clone(),
                    }),
                    ..Ending::new(Outcome::Limited, Event::Hold)
                        .because(format!("rate limit: {message}"))
                }
            }
        };
        let end = Ending {
            turn: Some(facts),
            ..end
        };
        self.end_after(acts, end)
    }

    fn failed_turn(&self, reason: String, response: Option<String>) -> Ending {
        Ending {
            output: response.map_or(OutputSource::None, OutputSource::Text),
            ..Ending::failed(&self.brief, Outcome::Failed).because(reason)
        }
    }
}

/// Returns whether a turn has ended, once the screen was read for its answer.
fn ended_as_read(
    agent: &TurnAgent,
    known: KnownEnd,
    answer: Option<(String, String)>,
    seen: &Observation,
    now: Now,
) -> EndVerdict {
    match (known, answer) {
        // Whose end it was can be seen below our text alone.
        (
            KnownEnd::Reported {
                is_named: false, ..
            },
            None,
        ) => {
            if seen.process_lives {
                return EndVerdict::NotYet;
            }
            let reason = "the agent reported an end that names no turn, and has ended itself";
            EndVerdict::Unknown(reason, None)
        }
        (
            KnownEnd::Reported {
                facts, is_named, ..
            },
            answer,
        ) => {
            let ended_at = facts.ended;
            let mut ended = if is_named {
                EndedTurn {
                    how: How::Done,
                    response: answer.map(|(answer, _)| answer),
                    facts: *facts,
                }
            } else {
                // It may have been about another turn.
                on_screen(agent, answer.unwrap_or_default(), now)
            };
            ended.facts.source = TurnFacts::SCREEN.to_owned();
            ended.facts.ended = ended_at;
            EndVerdict::Ended(Box::new(ended))
        }
        (KnownEnd::Idle(idle), answer) => {
            ended_on_screen(agent, idle, answer.unwrap_or_default(), now)
        }
    }
}

/// Returns whether a turn has ended that is in the agent's record.
fn ended_as_written(
    agent: &TurnAgent,
    running: &mut RunningTurn,
    written: &Written,
    evidence: &Evidence<'_>,
    seen: &Observation,
    now: Now,
) -> EndVerdict {
    let path = seen.record.path.as_ref();
    let facts = TurnFacts {
        source: "transcript".to_owned(),
        transcript: path.map(|path| path.display().to_string()),
        began: written.began,
        ended: written.ended,
        files: written.files.clone(),
        ..TurnFacts::default()
    };
    // If somebody has answered a question, it is the end of the turn before.
    let is_same = |told: &ReportedEnd<'_>| match (&written.id, told.turn) {
        (Some(own), Some(told)) => own == told,
        _ => true,
    };
    let told = evidence.told.filter(is_same);
    let response = written.response.clone();
    let ended = |how, response| {
        EndVerdict::Ended(Box::new(EndedTurn {
            how,
            response,
            facts: facts.clone(),
        }))
    };
    // If another turn has begun since, later reports are about that one.
    let latest = seen.record.latest.as_ref().and_then(|latest| latest.began);
    let other = latest.filter(|&latest| written.began.is_some_and(|own| own < latest));
    let done = evidence.done;
    let done = done.filter(|done| other.is_none_or(|other| done.at < other));
    // Reports from before it began are about an earlier turn.
    let done = done.filter(|done| written.began.is_none_or(|own| own <= done.at));
    match (written.how.clone(), told.or(done)) {
        (Some(how), _) => ended(how, response),
        // The record has the complete text, and is about to contain this end as well.
        (None, Some(_))
            if told.is_some()
                && agent.record_shows_ends()
                && evidence.may_grow(running, RECORD_WITHIN, now) =>
        {
            EndVerdict::NotYet
        }
        (None, Some(done)) => ended(How::Done, done.message.map(str::to_owned).or(response)),
        (None, None) => {
            if let Some((how, text)) = &written.paused {
                let idle = idle_for(agent, running, evidence.rest(), seen, now);
                return idle.map_or(EndVerdict::NotYet, |_| ended(how.clone(), text.clone()));
            }
            let last = written.last.or(written.began);
            let quiet = last.is_none_or(|last| now.wall.as_second() - last.as_second() > NO_END);
            if !quiet || evidence.activity != Some(Activity::Idle) {
                return EndVerdict::NotYet;
            }
            let reason =
                "its record shows no end of the turn, although it has been idle for minutes";
            EndVerdict::Unknown(reason, written.said.clone())
        }
    }
}

/// Returns the end of a turn that is not in a record, as it was reported.
fn ended_as_reported(end: ReportedEnd<'_>) -> EndVerdict {
    let facts = TurnFacts {
        source: "report".to_owned(),
        ended: Some(end.at),
        ..TurnFacts::default()
    };
    let message = end.message.map(str::to_owned);
    if end.is_named && message.is_some() {
        return EndVerdict::Ended(Box::new(EndedTurn {
            how: How::Done,
            response: message,
            facts,
        }));
    }
    EndVerdict::Read(KnownEnd::Reported {
        facts: Box::new(facts),
        message,
        is_named: end.is_named,
    })
}

/// Returns for how long the agent has been idle, once that is long enough to show that its turn is over.
fn idle_for(
    agent: &TurnAgent,
    running: &mut RunningTurn,
    verdict: Option<Activity>,
    seen: &Observation,
    now: Now,
) -> Option<Duration> {
    let Some(sighted) = agent.seen(seen).filter(|_| verdict == Some(Activity::Idle)) else {
        running.idle = None;
        return None;
    };
    let quiet = sighted.quiet;
    // An earlier daemon may have seen it idle: it has been idle at least for as long as it is quiet.
    let began = if agent.resumed {
        now.tick - quiet
    } else {
        now.tick
    };
    let since = *running.idle.get_or_insert(began);
    let idle = now.tick.since(since);
    let settle = agent.profile.turn.settle;
    // An agent that streams an answer without showing that it works looks idle between two pieces. If
    // something always moves, such as a clock, it counts as idle in the end.
    let is_still = quiet >= settle || idle >= MOVES_ON;
    (idle >= settle && is_still).then_some(idle)
}

/// The agent is idle, and only its screen shows what it has answered.
fn ended_on_screen(
    agent: &TurnAgent,
    idle: Duration,
    (answer, below): (String, String),
    now: Now,
) -> EndVerdict {
    let says_nothing = answer.is_empty() && agent.profile.turn.answer.is_some();
    let ended = on_screen(agent, (answer, below), now);
    if says_nothing && idle < SAYS_NOTHING && ended.how == How::Done {
        return EndVerdict::NotYet;
    }
    EndVerdict::Ended(Box::new(ended))
}

/// Returns how a turn ended by what stands below its prompt.
fn on_screen(agent: &TurnAgent, (answer, below): (String, String), now: Now) -> EndedTurn {
    let rules = &agent.profile.turn;
    let told = |pattern: &Patterns| {
        below.lines().find_map(|line| {
            let groups = pattern.captures(line)?;
            let message = groups.name("message").or_else(|| groups.get(0))?;
            Some((message.as_str().trim().to_owned(), line.to_owned()))
        })
    };
    let how = if let Some((message, line)) = told(&rules.limits) {
        let now = now.wall.to_zoned(jiff::tz::TimeZone::system());
        let until = crate::agents::reset(&line, &now);
        How::Limited { message, until }
    } else if let Some((message, _)) = told(&rules.errors) {
        How::Failed { message }
    } else {
        How::Done
    };
    EndedTurn {
        how,
        response: (!answer.is_empty()).then_some(answer),
        facts: TurnFacts {
            source: TurnFacts::SCREEN.to_owned(),
            ..TurnFacts::default()
        },
    }
}

fn short(message: &str) -> String {
    message.chars().take(LONGEST_REASON).collect()
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

/// Returns the last paragraph of a response, on one line.
fn question(response: &str) -> String {
    let paragraph = response
        .trim_end()
        .rsplit("\n\n")
        .next()
        .unwrap_or_default();
    let words: Vec<&str> = paragraph.split_whitespace().collect();
    let line: String = words.join(" ").chars().take(500).collect();
    format!("{ASKS}{line}")
}

/// Whether a question is that of a turn that ended in it, and not that of a dialog.
pub(super) fn is_said(question: &str) -> bool {
    question.starts_with(ASKS)
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
