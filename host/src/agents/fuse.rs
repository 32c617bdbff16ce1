//! What an agent's own sources say about its state: its title, screen, reports and transcript.
//! [`fuse`] combines these signals, and those of tmux and the system, into one verdict.

use super::profile::Profile;
use super::report::{Report, ReportedState};
use super::screen::Screen;
use super::transcript::{How, TranscriptTurn};
use crate::model::session::AT_PROMPT;
pub use crate::model::verdict::{Says, Signal, SignalSource, Verdict, fuse};

/// The question of a dialog is at most this many lines above its choices.
const TALLEST_DIALOG: usize = 12;

/// What the question is about begins at most this many lines above it.
const TALLEST_ABOUT: usize = 24;

/// The longest question that is reported, and the longest part of it that says what it is about, in
/// characters.
const LONGEST_QUESTION: usize = 800;
const LONGEST_ABOUT: usize = 400;

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
        // The question is above the choices, and says little without the lines in between.
        let asked = if tail[at].contains('?') {
            Some(0)
        } else {
            tail[at..]
                .iter()
                .take(TALLEST_DIALOG)
                .position(|line| line.trim().ends_with('?'))
        };
        let last = at + asked.unwrap_or(0);
        let question = joined(tail[at..=last].iter().rev());
        let about = about(screen, last);
        let asks = match about.is_empty() {
            true => question,
            false => format!("{about}: {question}"),
        };
        return (Says::Waiting, asks.chars().take(LONGEST_QUESTION).collect());
    }
    if let Some(line) = tail.iter().find(|line| state.busy_screen.is_match(line)) {
        return (Says::Busy, line.trim().to_owned());
    }
    match draft {
        Some(draft) if !draft.takes_input => (
            Says::Nothing,
            "the cursor is not in the input line".to_owned(),
        ),
        Some(draft) if draft.empty => (Says::Idle, AT_PROMPT.to_owned()),
        Some(draft) => {
            let first = draft.text.lines().next().unwrap_or_default().trim();
            let shown: String = first.chars().take(60).collect();
            (
                Says::Attended,
                format!("its composer contains a draft: {shown}"),
            )
        }
        None => match tail.iter().find(|line| state.idle_screen.is_match(line)) {
            Some(line) => (Says::Idle, line.trim().to_owned()),
            None if profile.only_recognises() => (
                Says::Nothing,
                "its profile only says how to recognise it, so its state is not known".to_owned(),
            ),
            None => (
                Says::Nothing,
                "its screen shows no known input line".to_owned(),
            ),
        },
    }
}

/// Returns what a dialog is about: the lines between its upper edge and its question, which is line
/// `question` of the tail. A dialog with a bar at its left side ends where the bar does. Empty if no
/// edge is visible.
fn about(screen: &Screen, question: usize) -> String {
    let above: Vec<&str> = screen
        .tail(question + TALLEST_ABOUT)
        .skip(question)
        .collect();
    let Some((asked, above)) = above.split_first() else {
        return String::new();
    };
    let has_bar = |line: &str| line.trim_start().starts_with(['┃', '│', '║']);
    let is_barred = has_bar(asked);
    let edge = above
        .iter()
        .position(|line| is_edge(line) || (is_barred && !has_bar(line)));
    let lines = above[..edge.unwrap_or(0)].iter().rev();
    let words = joined(lines);
    let mut cut: String = words.chars().take(LONGEST_ABOUT).collect();
    if cut.len() < words.len() {
        cut.push('…');
    }
    cut
}

/// Whether a line is the upper edge of a dialog. Dashed lines occur inside of one.
fn is_edge(line: &str) -> bool {
    let line = line.trim();
    line.starts_with(['╭', '┌', '┏', '╔'])
        || (line.chars().count() >= 4 && line.chars().all(|char| "─━═▔▁".contains(char)))
}

/// Joins the words of lines, leaving out box-drawing characters.
fn joined<'s>(lines: impl Iterator<Item = &'s &'s str>) -> String {
    let is_drawn = |word: &&str| {
        word.chars()
            .all(|char| ('\u{2500}'..='\u{259f}').contains(&char))
    };
    let words = lines.flat_map(|line| line.split_whitespace());
    let words: Vec<&str> = words.filter(|word| !is_drawn(word)).collect();
    words.join(" ")
}

/// Returns what a report says.
pub fn report(report: &Report) -> Signal {
    let says = match report.state {
        ReportedState::Idle | ReportedState::Done => Says::Idle,
        ReportedState::Busy => Says::Busy,
        ReportedState::Blocked => Says::Waiting,
    };
    let message = report.message.as_deref().unwrap_or_default();
    let first = message.lines().next().unwrap_or_default();
    let shown: String = first.chars().take(80).collect();
    let detail = if shown.is_empty() {
        format!("reported `{}`", report.state.name())
    } else {
        format!("reported `{}`: {shown}", report.state.name())
    };
    Signal {
        source: SignalSource::Report,
        says,
        since: report.at,
        detail: detail.into(),
    }
}

/// Returns what the latest turn of a transcript says. `None` if the transcript has no times.
pub fn transcript(turn: &TranscriptTurn) -> Option<Signal> {
    let (says, since, detail) = match (&turn.how, &turn.asked) {
        (Some(how), _) => {
            let how = match how {
                How::Done => "its last turn has ended",
                How::Interrupted => "its last turn was interrupted",
                How::Failed { .. } => "its last turn ended in an error",
                How::Limited { .. } => "its last turn reached a limit",
            };
            (Says::Idle, turn.ended.or(turn.last)?, how.to_owned())
        }
        (None, Some(asked)) => (Says::Waiting, turn.last?, asked.clone()),
        // The agent may be working or not.
        (None, None) if turn.paused.is_some() => return None,
        (None, None) => (
            Says::Busy,
            turn.last.or(turn.began)?,
            "a turn has begun and has not ended".to_owned(),
        ),
    };
    Some(Signal {
        source: SignalSource::Transcript,
        says,
        since,
        detail: detail.into(),
    })
}
