//! One verdict from all signals: what an agent is doing, and how that is known.
//!
//! No signal is right always: hooks are not called on Esc, screens scroll, titles stay, transcripts
//! come late. So an agent is idle only where its screen shows a free line to type into and nothing
//! that is newer says otherwise. Where signals contradict each other, it is unknown, which is never
//! idle.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::profile::Profile;
use super::report::{Report, State};
use super::screen::Screen;
use super::transcript::{How, Turn};
use crate::model::session::{AT_PROMPT, Activity};

/// A transcript whose turn has not ended and of which nothing was written for so long, in seconds,
/// contradicts a screen that is free.
const QUIET: i64 = 10;

/// After so long without a word, in seconds, a turn that has not ended was forgotten by its agent.
const FORGOTTEN: i64 = 300;

/// A report of work is believed against a free screen for so long, in seconds: Esc tells nobody.
const BELIEVED: i64 = 30;

/// A dialog's question stands so many lines above its choices at most.
const TALLEST_DIALOG: usize = 12;

/// Where a signal comes from, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// What the agent itself has told.
    Report,
    /// Its own record.
    Transcript,
    /// The pane's title.
    Title,
    /// The pane's screen.
    Screen,
    /// What tmux tells of the pane.
    Pane,
    /// Its processes.
    Process,
}

/// What a signal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Says {
    /// It is free.
    Idle,
    /// It works.
    Busy,
    /// It waits for a person.
    Waiting,
    /// A person is at it.
    Attended,
    /// Nothing that is known.
    Nothing,
}

/// One signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Signal {
    /// Where it comes from.
    pub source: Source,
    /// What it says.
    pub says: Says,
    /// Since when it says so.
    pub since: Timestamp,
    /// What was seen, for people.
    pub detail: String,
}

/// What an agent is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Its state.
    pub activity: Activity,
    /// How that is known, or why it is not idle.
    pub reason: String,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Report => "report",
            Self::Transcript => "transcript",
            Self::Title => "title",
            Self::Screen => "screen",
            Self::Pane => "pane",
            Self::Process => "process",
        })
    }
}

impl fmt::Display for Says {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Waiting => "waiting",
            Self::Attended => "attended",
            Self::Nothing => "nothing",
        })
    }
}

/// Returns what a title says.
pub fn title(profile: &Profile, title: &str) -> (Says, String) {
    let says = if profile.state.waiting_title.is_match(title) {
        Says::Waiting
    } else if profile.state.busy_title.is_match(title) {
        Says::Busy
    } else {
        Says::Nothing
    };
    (says, title.to_owned())
}

/// Returns what a screen says.
pub fn screen(profile: &Profile, screen: &Screen) -> (Says, String) {
    let state = &profile.state;
    let draft = screen.draft(profile);
    let tail: Vec<&str> = screen.tail(state.tail).collect();
    let dialog = tail
        .iter()
        .position(|line| state.waiting_screen.is_match(line));
    if let Some(at) = dialog {
        // The question stands above what can be answered, and says little without what is between.
        let asked = if tail[at].contains('?') {
            Some(0)
        } else {
            tail[at..]
                .iter()
                .take(TALLEST_DIALOG)
                .position(|line| line.trim().ends_with('?'))
        };
        let lines = &tail[at..=at + asked.unwrap_or(0)];
        let words: Vec<&str> = lines
            .iter()
            .rev()
            .flat_map(|line| line.split_whitespace())
            .collect();
        return (Says::Waiting, words.join(" ").chars().take(500).collect());
    }
    if let Some(line) = tail.iter().find(|line| state.busy_screen.is_match(line)) {
        return (Says::Busy, line.trim().to_owned());
    }
    match draft {
        Some(draft) if !draft.takes_input => (
            Says::Nothing,
            "the cursor is not in the line that prompts are typed into".to_owned(),
        ),
        Some(draft) if draft.empty => (Says::Idle, AT_PROMPT.to_owned()),
        Some(draft) => {
            let first = draft.text.lines().next().unwrap_or_default().trim();
            let shown: String = first.chars().take(60).collect();
            (
                Says::Attended,
                format!("a draft stands in its composer: {shown}"),
            )
        }
        None => match tail.iter().find(|line| state.idle_screen.is_match(line)) {
            Some(line) => (Says::Idle, line.trim().to_owned()),
            None => (
                Says::Nothing,
                "its screen shows no line to type into that is known".to_owned(),
            ),
        },
    }
}

/// Returns what a report says.
pub fn report(report: &Report) -> Signal {
    let says = match report.state {
        State::Idle | State::Done => Says::Idle,
        State::Busy => Says::Busy,
        State::Blocked => Says::Waiting,
    };
    let message = report.message.as_deref().unwrap_or_default();
    let first = message.lines().next().unwrap_or_default();
    let shown: String = first.chars().take(80).collect();
    let detail = if shown.is_empty() {
        format!("told `{}`", report.state.name())
    } else {
        format!("told `{}`: {shown}", report.state.name())
    };
    Signal {
        source: Source::Report,
        says,
        since: report.at,
        detail,
    }
}

/// Returns what the latest turn of a transcript says; `None`: nothing, for the transcript has no times.
pub fn transcript(turn: &Turn) -> Option<Signal> {
    let (says, since, detail) = match (&turn.how, &turn.asked) {
        (Some(how), _) => {
            let how = match how {
                How::Done => "its last turn has ended",
                How::Interrupted => "its last turn was interrupted",
                How::Failed { .. } => "its last turn ended in an error",
                How::Limited { .. } => "its last turn came to a limit",
            };
            (Says::Idle, turn.ended.or(turn.last)?, how.to_owned())
        }
        (None, Some(asked)) => (Says::Waiting, turn.last?, asked.clone()),
        (None, None) => (
            Says::Busy,
            turn.last.or(turn.began)?,
            "a turn has begun and not ended".to_owned(),
        ),
    };
    Some(Signal {
        source: Source::Transcript,
        says,
        since,
        detail,
    })
}

/// Returns the verdict. `signals` are those there are, of each source at most one.
pub fn fuse(signals: &[Signal], now: Timestamp) -> Verdict {
    let of = |source: Source| signals.iter().find(|signal| signal.source == source);
    let says = |source: Source, says: Says| of(source).filter(|signal| signal.says == says);
    let age = |signal: &Signal| now.as_second() - signal.since.as_second();
    let verdict = |activity: Activity, reason: &str| Verdict {
        activity,
        reason: reason.to_owned(),
    };
    if let Some(process) = says(Source::Process, Says::Nothing) {
        return verdict(Activity::Unknown, &process.detail);
    }
    for source in [Source::Screen, Source::Title] {
        if let Some(signal) = says(source, Says::Waiting) {
            return verdict(
                Activity::WaitingInput,
                &format!("waits for a person: {}", signal.detail),
            );
        }
    }
    let works = says(Source::Screen, Says::Busy).or_else(|| says(Source::Title, Says::Busy));
    let ended = says(Source::Transcript, Says::Idle);
    if let Some(blocked) = says(Source::Report, Says::Waiting) {
        let later =
            |signal: Option<&Signal>| signal.is_some_and(|signal| signal.since > blocked.since);
        // It was answered, where something newer says that it works or has ended.
        let answered = later(works)
            || later(ended)
            || says(Source::Screen, Says::Idle)
                .is_some_and(|free| age(blocked).min(age(free)) > BELIEVED);
        if !answered {
            return verdict(
                Activity::WaitingInput,
                &format!("waits for a person: {}", blocked.detail),
            );
        }
    }
    if let Some(signal) = works {
        return verdict(Activity::Busy, &format!("works: {}", signal.detail));
    }
    if let Some(pane) = says(Source::Pane, Says::Attended) {
        return verdict(Activity::Attended, &pane.detail);
    }
    if let Some(draft) = says(Source::Screen, Says::Attended) {
        return verdict(Activity::Attended, &draft.detail);
    }
    let open = of(Source::Transcript).filter(|signal| signal.says != Says::Idle);
    let told = says(Source::Report, Says::Busy).filter(|told| {
        // What ended behind it was the work that it told of.
        ended.is_none_or(|ended| ended.since < told.since)
    });
    let Some(free) = says(Source::Screen, Says::Idle) else {
        if let Some(told) = told.filter(|told| age(told) <= FORGOTTEN) {
            return verdict(Activity::Busy, &told.detail);
        }
        if let Some(open) = open.filter(|open| age(open) <= QUIET) {
            return verdict(Activity::Busy, &open.detail);
        }
        let why = of(Source::Screen).map_or("its screen was not read", |screen| &screen.detail);
        return verdict(Activity::Unknown, why);
    };
    if let Some(open) = open {
        let quiet = age(open);
        if quiet <= QUIET {
            return verdict(Activity::Busy, &format!("works: {}", open.detail));
        }
        if quiet <= FORGOTTEN {
            let reason = format!(
                "its transcript contradicts its screen: {}, {quiet} s ago",
                open.detail
            );
            return verdict(Activity::Unknown, &reason);
        }
    }
    if let Some(told) = told
        && age(told).min(age(free)) <= BELIEVED
    {
        return verdict(Activity::Busy, &told.detail);
    }
    verdict(Activity::Idle, AT_PROMPT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: i64 = 10_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn signal(source: Source, says: Says, ago: i64) -> Signal {
        Signal {
            source,
            says,
            since: at(NOW - ago),
            detail: "seen".to_owned(),
        }
    }

    fn verdict(signals: &[Signal]) -> Activity {
        fuse(signals, at(NOW)).activity
    }

    use Source::{Pane, Process, Report as Told, Screen as Shown, Title, Transcript as Wrote};

    #[test]
    fn a_free_line_and_nothing_against_it_is_idle() {
        assert_eq!(verdict(&[signal(Shown, Says::Idle, 5)]), Activity::Idle);
        let all = [
            signal(Shown, Says::Idle, 1),
            signal(Title, Says::Nothing, 1),
            signal(Wrote, Says::Idle, 1),
            signal(Told, Says::Idle, 1),
        ];
        assert_eq!(verdict(&all), Activity::Idle);
    }

    #[test]
    fn silence_is_not_idle() {
        assert_eq!(verdict(&[]), Activity::Unknown);
        assert_eq!(verdict(&[signal(Told, Says::Idle, 1)]), Activity::Unknown);
        assert_eq!(verdict(&[signal(Wrote, Says::Idle, 1)]), Activity::Unknown);
        let onboarding = [
            signal(Shown, Says::Nothing, 900),
            signal(Told, Says::Idle, 1),
        ];
        assert_eq!(verdict(&onboarding), Activity::Unknown);
    }

    #[test]
    fn esc_that_told_nobody_is_believed_only_after_a_while() {
        let told = |ago, free| {
            verdict(&[
                signal(Told, Says::Busy, ago),
                signal(Shown, Says::Idle, free),
            ])
        };
        assert_eq!(told(2, 1), Activity::Busy);
        assert_eq!(told(500, 2), Activity::Busy);
        assert_eq!(told(500, 60), Activity::Idle);
        // The transcript tells of Esc at once.
        let interrupted = [
            signal(Told, Says::Busy, 9),
            signal(Wrote, Says::Idle, 2),
            signal(Shown, Says::Idle, 2),
        ];
        assert_eq!(verdict(&interrupted), Activity::Idle);
    }

    #[test]
    fn a_transcript_that_contradicts_the_screen_makes_it_unknown() {
        let open = |ago| verdict(&[signal(Wrote, Says::Busy, ago), signal(Shown, Says::Idle, 1)]);
        assert_eq!(open(1), Activity::Busy);
        assert_eq!(open(60), Activity::Unknown);
        assert_eq!(open(1_000), Activity::Idle);
    }

    #[test]
    fn a_blocked_report_holds_until_it_was_answered() {
        let blocked = signal(Told, Says::Waiting, 20);
        let free = signal(Shown, Says::Idle, 25);
        assert_eq!(verdict(&[blocked.clone(), free]), Activity::WaitingInput);
        let works = signal(Title, Says::Busy, 5);
        assert_eq!(verdict(&[blocked, works]), Activity::Busy);
    }

    #[test]
    fn a_person_comes_before_a_free_line_and_behind_work() {
        let person = signal(Pane, Says::Attended, 1);
        let free = signal(Shown, Says::Idle, 9);
        assert_eq!(verdict(&[person.clone(), free]), Activity::Attended);
        let works = signal(Shown, Says::Busy, 9);
        assert_eq!(verdict(&[person, works]), Activity::Busy);
    }

    fn any_signal(source: Source) -> impl Strategy<Value = Option<Signal>> {
        let says = prop::sample::select(vec![
            Says::Idle,
            Says::Busy,
            Says::Waiting,
            Says::Attended,
            Says::Nothing,
        ]);
        prop::option::of(
            (says, 0..2_000_i64).prop_map(move |(says, ago)| signal(source, says, ago)),
        )
    }

    proptest! {
        /// Whatever else is said: no free line on the screen, or work, a dialog, a person or a draft
        /// that is seen now, is never idle.
        #[test]
        fn no_idle_without_a_free_line(
            told in any_signal(Told), wrote in any_signal(Wrote), title in any_signal(Title),
            shown in any_signal(Shown), pane in any_signal(Pane), process in any_signal(Process),
        ) {
            let signals: Vec<Signal> = [told, wrote, title.clone(), shown.clone(), pane.clone()]
                .into_iter().chain([process]).flatten().collect();
            if verdict(&signals) == Activity::Idle {
                prop_assert_eq!(shown.map(|shown| shown.says), Some(Says::Idle));
                let says = |signal: &Option<Signal>| signal.as_ref().map(|signal| signal.says);
                prop_assert!(!matches!(says(&title), Some(Says::Busy | Says::Waiting)));
                prop_assert!(says(&pane) != Some(Says::Attended));
            }
        }

        /// The order in which signals are given is of no account.
        #[test]
        fn the_order_is_of_no_account(
            told in any_signal(Told), wrote in any_signal(Wrote), shown in any_signal(Shown),
        ) {
            let mut signals: Vec<Signal> = [told, wrote, shown].into_iter().flatten().collect();
            let verdict = fuse(&signals, at(NOW));
            signals.reverse();
            prop_assert_eq!(fuse(&signals, at(NOW)), verdict);
        }
    }
}
