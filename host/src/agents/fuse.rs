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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    /// An agent whose dialogs have choices that begin with `> 1.`, or end in `(y/n)`.
    fn asking() -> Profile {
        let text = "name = 'x'\n[recognise]\nprograms = ['x']\n[state]\ntail = 60\n\
            idle-screen = ['^>$']\nwaiting-screen = ['^.? *> 1\\.', '\\(y/n\\)$']\n";
        Profile::read(text).expect("a profile")
    }

    fn asks(lines: &[&str]) -> (Says, String) {
        screen(&asking(), &Screen::read(&lines.join("\n"), None))
    }

    #[test]
    fn a_dialog_is_told_by_what_it_is_about_and_by_its_question() {
        for (lines, told) in [
            (
                vec!["earlier", "╭────╮", "│ rm -r x │", "│ Do it?", "│ > 1. Yes"],
                "rm -r x: Do it? > 1. Yes",
            ),
            // The line of the choices asks itself.
            (vec!["Really?", "────", "Allow? (y/n)"], "Allow? (y/n)"),
            // There is no edge, so it is not known where it begins.
            (vec!["earlier", "Do it?", "> 1. Yes"], "Do it? > 1. Yes"),
            // Nothing asks.
            (vec!["earlier", "> 1. Yes"], "> 1. Yes"),
            // It ends where its bar does.
            (
                vec!["earlier", "│ rm -r x", "│ Do it?", "│ > 1. Yes"],
                "rm -r x: Do it? > 1. Yes",
            ),
        ] {
            assert_eq!(asks(&lines), (Says::Waiting, told.to_owned()), "{lines:?}");
        }
    }

    #[test]
    fn what_a_dialog_is_about_is_bounded() {
        let shown = |above: usize, words: &str| {
            let mut lines = vec!["────────"];
            lines.extend(vec![words; above]);
            lines.extend(["Do it?", "> 1. Yes"]);
            asks(&lines).1
        };
        assert_eq!(shown(2, "a b"), "a b a b: Do it? > 1. Yes");
        assert_eq!(
            shown(22, "a"),
            format!("{}: Do it? > 1. Yes", ["a"; 22].join(" "))
        );
        // The edge is too far above to be that of the dialog.
        assert_eq!(shown(23, "a"), "Do it? > 1. Yes");
        assert_eq!(shown(40, "a"), "Do it? > 1. Yes");
        let whole = "x".repeat(LONGEST_ABOUT);
        assert_eq!(shown(1, &whole), format!("{whole}: Do it? > 1. Yes"));
        assert_eq!(
            shown(1, &format!("{whole}y")),
            format!("{whole}…: Do it? > 1. Yes")
        );
    }

    #[test]
    fn an_edge_is_a_corner_or_a_line_of_some_length() {
        for (line, is_one) in [
            ("╭─ Bash", true),
            ("  ┌", true),
            ("────", true),
            (" ━━━━━━ ", true),
            ("▔▔▔▔", true),
            ("───", false),
            ("──── x", false),
            ("╌╌╌╌╌╌", false),
            ("words", false),
            ("", false),
        ] {
            assert_eq!(is_edge(line), is_one, "{line:?}");
        }
    }

    #[test]
    fn a_screen_without_an_input_line_says_why_it_says_nothing() {
        let nothing = Screen::read("words", None);
        let (says, why) = screen(&asking(), &nothing);
        assert_eq!(
            (says, &*why),
            (Says::Nothing, "its screen shows no known input line")
        );
        let text = "name = 'x'\n[recognise]\nprograms = ['x']\n";
        let recognised = Profile::read(text).expect("a profile");
        let (says, why) = screen(&recognised, &nothing);
        assert_eq!(says, Says::Nothing);
        assert!(
            why.starts_with("its profile only says how to recognise it"),
            "{why}"
        );
        assert_eq!(asks(&["words", ">"]), (Says::Idle, ">".to_owned()));
    }

    #[test]
    fn a_report_says_its_state_and_its_first_line() {
        let long = "x".repeat(90);
        for (state, message, says, told) in [
            (
                ReportedState::Idle,
                None,
                Says::Idle,
                "reported `idle`".to_owned(),
            ),
            (
                ReportedState::Done,
                Some("\nmore"),
                Says::Idle,
                "reported `done`".to_owned(),
            ),
            (
                ReportedState::Busy,
                Some("a\nb"),
                Says::Busy,
                "reported `busy`: a".to_owned(),
            ),
            (
                ReportedState::Blocked,
                Some(long.as_str()),
                Says::Waiting,
                format!("reported `blocked`: {}", "x".repeat(80)),
            ),
        ] {
            let signal = report(&Report {
                server_pid: 1,
                pane: crate::model::ids::PaneId::parse("%1").expect("a pane"),
                state,
                task: None,
                message: message.map(str::to_owned),
                turn: None,
                transcript: None,
                at: at(7),
            });
            assert_eq!((signal.source, signal.says), (SignalSource::Report, says));
            assert_eq!((signal.since, signal.detail), (at(7), told.into()));
        }
    }

    #[test]
    fn the_latest_turn_of_a_record_says_what_the_agent_does() {
        let turn = |change: fn(&mut TranscriptTurn)| {
            let mut turn = TranscriptTurn::default();
            turn.began = Some(at(1));
            change(&mut turn);
            transcript(&turn).map(|signal| (signal.says, signal.since))
        };
        assert_eq!(turn(|_| {}), Some((Says::Busy, at(1))));
        assert_eq!(
            turn(|turn| turn.last = Some(at(3))),
            Some((Says::Busy, at(3)))
        );
        assert_eq!(turn(|turn| turn.began = None), None);
        // The agent may be working or not.
        assert_eq!(turn(|turn| turn.paused = Some((How::Done, None))), None);
        let asked = turn(|turn| {
            turn.asked = Some("may I?".to_owned());
            turn.last = Some(at(4));
        });
        assert_eq!(asked, Some((Says::Waiting, at(4))));
        let ended = turn(|turn| {
            turn.how = Some(How::Done);
            turn.paused = Some((How::Done, None));
            turn.last = Some(at(4));
            turn.ended = Some(at(5));
        });
        assert_eq!(ended, Some((Says::Idle, at(5))));
        let last = turn(|turn| {
            turn.how = Some(How::Interrupted);
            turn.last = Some(at(4));
        });
        assert_eq!(last, Some((Says::Idle, at(4))));
    }
}
