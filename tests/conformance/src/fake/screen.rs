//! What the agent draws: one whole screen, from the top.

use std::collections::VecDeque;

/// How many rows of a draft are shown at most.
const COMPOSER_ROWS: usize = 12;

/// Written after styled text.
const PLAIN: &str = "\x1b[0m";

/// What the screen shows.
#[derive(Debug)]
pub(super) struct View<'a> {
    /// The transcript; its end is shown.
    pub(super) lines: &'a VecDeque<String>,
    /// What the agent is doing, while it works.
    pub(super) status: Option<&'a str>,
    /// What is drawn below the transcript.
    pub(super) below: Below<'a>,
    /// The last line.
    pub(super) footer: &'a str,
    /// True if the screen is cleared first.
    pub(super) is_fresh: bool,
}

/// What is below the transcript.
#[derive(Debug)]
pub(super) enum Below<'a> {
    /// The composer, with a draft.
    Composer { draft: &'a str, no_break: bool },
    /// A dialog over the composer.
    Dialog,
    /// Neither: a screen that no pattern knows.
    Welcome,
}

/// Draws a screen of this size.
pub(super) fn draw(view: &View<'_>, columns: usize, rows: usize) -> Vec<u8> {
    let columns = columns.max(20);
    let rows = rows.max(8);
    let rule = format!("\x1b[2m{}{PLAIN}", "─".repeat(columns - 1));
    let mut below: Vec<String> = Vec::new();
    if let Some(status) = view.status {
        below.extend([String::new(), status.to_owned(), String::new()]);
    }
    below.push(rule.clone());
    // The cursor is after the text of this row.
    let mut cursor = None;
    match view.below {
        Below::Composer { draft, no_break } => {
            let blank = if no_break { '\u{a0}' } else { ' ' };
            if draft.is_empty() {
                cursor = Some((below.len(), format!("❯{blank}")));
                let hint = "Try \"find what is wrong with the tests\"";
                below.push(format!("❯{blank}\x1b[2m{hint}{PLAIN}"));
            } else {
                let most = COMPOSER_ROWS.min(rows / 2);
                let seen = tail(draft, most * columns);
                let wrapped = wrap(seen, columns - 3);
                let wrapped = &wrapped[wrapped.len().saturating_sub(most)..];
                for (at, text) in wrapped.iter().enumerate() {
                    let row = if at == 0 {
                        format!("❯{blank}{text}")
                    } else {
                        format!("  {text}")
                    };
                    below.push(row);
                }
                let last = below.last().cloned().unwrap_or_default();
                cursor = Some((below.len() - 1, last));
            }
            below.push(rule);
            below.push(format!("  \x1b[2m{}{PLAIN}", view.footer));
        }
        Below::Dialog => {
            for row in [
                " Bash command: make check",
                "",
                " Do you want to proceed?",
                " \x1b[36m❯ 1. Yes\x1b[0m",
                "   2. No",
                "",
                " Esc to cancel",
            ] {
                below.push(row.to_owned());
            }
        }
        Below::Welcome => {
            for row in [
                " Welcome! Before we begin:",
                "",
                " How should code look?",
                "   dark",
                " › light",
                "",
                " The arrow keys change it",
            ] {
                below.push(row.to_owned());
            }
        }
    }
    let below_from = rows.saturating_sub(below.len());
    let mut above: Vec<String> = Vec::new();
    for line in view.lines.iter().rev().take(below_from) {
        let wrapped = wrap(line, columns - 3);
        above.extend(wrapped.into_iter().rev());
    }
    above.truncate(below_from);
    above.reverse();

    // No line wraps by itself: a line that is too wide for this terminal loses its end and does not
    // break everything below.
    let mut out = String::from("\x1b[?25l\x1b[?7l");
    out.push_str(if view.is_fresh {
        "\x1b[2J\x1b[H"
    } else {
        "\x1b[H"
    });
    let mut at = 0;
    let mut place = |row: &str, out: &mut String| {
        if at < rows {
            at += 1;
            out.push_str(&format!("\x1b[{at};1H{row}\x1b[K"));
        }
    };
    for row in &above {
        place(row, &mut out);
    }
    for _ in above.len()..below_from {
        place("", &mut out);
    }
    for row in &below {
        place(row, &mut out);
    }
    if let Some((row, text)) = cursor {
        let row = below_from + row + 1;
        // Drawn again, so that the cursor ends after it, however wide the terminal considers it.
        out.push_str(&format!("\x1b[{row};1H{text}\x1b[?25h"));
    }
    out.push_str("\x1b[?7h");
    out.into_bytes()
}

/// Wraps a text into lines that are no wider than this and mean the same.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.split('\n') {
        let mut row = String::new();
        let mut taken = 0;
        for character in line.chars() {
            let wide = width(character);
            if taken + wide > columns && !row.is_empty() {
                lines.push(std::mem::take(&mut row));
                taken = 0;
            }
            taken += wide;
            match character {
                '\t' => row.push_str("    "),
                _ if character.is_control() => row.push('?'),
                _ => row.push(character),
            }
        }
        lines.push(row);
    }
    lines
}

/// Returns an upper bound for the columns of a character: rather too many than too few.
fn width(character: char) -> usize {
    match character {
        '\t' => 4,
        '\0'..='\u{10ff}' => 1,
        _ => 2,
    }
}

/// Returns the end of a text: enough for this many columns.
fn tail(text: &str, columns: usize) -> &str {
    // A cluster of many characters may take two columns.
    let from = text.len().saturating_sub(columns * 8);
    let from = (from..=text.len()).find(|&at| text.is_char_boundary(at));
    &text[from.unwrap_or(0)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_wrapped_and_controls_are_not_passed_on() {
        assert_eq!(wrap("abcdef\n\ngh", 4), ["abcd", "ef", "", "gh"]);
        assert_eq!(wrap("日本語", 4), ["日本", "語"]);
        assert_eq!(wrap("\x1b[31m", 9), ["?[31m"]);
        assert_eq!(wrap("", 4), [""]);
    }

    #[test]
    fn every_size_can_be_drawn() {
        let lines: VecDeque<String> = (0..50).map(|at| format!("line {at}")).collect();
        let draft = "🙂 word\n".repeat(5000);
        for (columns, rows) in [(0, 0), (1, 1), (20, 8), (80, 24), (500, 200)] {
            for below in [
                Below::Composer {
                    draft: &draft,
                    no_break: true,
                },
                Below::Dialog,
                Below::Welcome,
            ] {
                let view = View {
                    lines: &lines,
                    status: Some("busy"),
                    below,
                    footer: "footer",
                    is_fresh: true,
                };
                let drawn = draw(&view, columns, rows);
                assert!(drawn.len() < 4_000_000);
            }
        }
    }
}
