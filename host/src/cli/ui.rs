//! Output for people and scripts: tables, times, JSON, and nothing that a terminal would obey.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use jiff::fmt::friendly::{Spacing, SpanPrinter};
use serde::Serialize;

use crate::model::naming::check_name;
use crate::model::session::Activity;
use crate::model::task::Status;
pub(super) use crate::model::text::clean;
use crate::model::text::is_shown;

/// When to use colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Standard output in the form that this call asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ui {
    pub(super) json: bool,
}

impl Ui {
    pub(super) fn new(json: bool, color: Color) -> Self {
        let choice = match color {
            Color::Auto => anstream::ColorChoice::Auto,
            Color::Always => anstream::ColorChoice::Always,
            Color::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
        Self { json }
    }

    /// Prints one JSON value on a line of its own.
    pub(super) fn json(self, value: &impl Serialize) -> io::Result<()> {
        let mut out = io::stdout().lock();
        write_json(&mut out, value)?;
        writeln!(out)
    }

    /// Prints a line; styles are dropped if the output does not support them. A terminal gets no endless
    /// lines.
    pub(super) fn line(self, text: &str) -> io::Result<()> {
        let out = io::stdout().lock();
        let text = if out.is_terminal() {
            fitting(text)
        } else {
            text.into()
        };
        writeln!(AutoStream::auto(out), "{text}")
    }

    /// Prints a table: cut to the width of a terminal, complete and without wrapping in a pipe.
    pub(super) fn table(self, header: &[&str], rows: Vec<Vec<String>>) -> io::Result<()> {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(if io::stdout().is_terminal() {
                ContentArrangement::Dynamic
            } else {
                ContentArrangement::Disabled
            })
            .set_header(header.iter().map(|title| paint(Style::new().bold(), title)));
        // Some programs open a terminal without a size.
        if table.width() == Some(0) {
            table.set_width(80);
        }
        for row in rows {
            table.add_row(row);
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        for line in table.lines() {
            self.line(line.trim_end())?;
        }
        Ok(())
    }
}

/// A progress bar on standard error for work that may take more than a moment; hidden if that is
/// not a terminal.
pub(super) fn progress(doing: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.set_message(doing);
    bar
}

/// Warns on standard error.
pub(super) fn warn(message: &str) {
    let message = shortened(message, LONGEST_MESSAGE);
    let _ = writeln!(anstream::stderr().lock(), "assigner: {}", clean(&message));
}

/// A message quotes what it is about, and that may be anything.
const LONGEST_MESSAGE: usize = 2_000;

/// Returns a text of at most about `most` characters, with its beginning and its end.
fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    let half = most / 2;
    let begin = text.char_indices().nth(half).map(|(index, _)| index);
    let end = text
        .char_indices()
        .nth_back(half - 1)
        .map(|(index, _)| index);
    match (begin, end) {
        (Some(begin), Some(end)) if begin < end => {
            format!("{} … {}", &text[..begin], &text[end..]).into()
        }
        _ => text.into(),
    }
}

/// Surrounds `text` with `style`.
pub(super) fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// A task's state, in its colour.
pub(super) fn status(status: Status) -> String {
    let color = match status {
        Status::Completed => AnsiColor::Green,
        Status::Failed => AnsiColor::Red,
        Status::Uncertain => AnsiColor::Magenta,
        Status::WaitingInput => AnsiColor::BrightYellow,
        Status::InProgress | Status::Assigned => AnsiColor::Cyan,
        Status::Pending => AnsiColor::Yellow,
        Status::Cancelled => AnsiColor::BrightBlack,
    };
    paint(color.on_default(), status.name())
}

/// A session's state, in its colour.
pub(super) fn activity(activity: Activity) -> String {
    let color = match activity {
        Activity::Idle => AnsiColor::Green,
        Activity::Busy => AnsiColor::Cyan,
        Activity::Attended => AnsiColor::Yellow,
        Activity::WaitingInput => AnsiColor::BrightYellow,
        Activity::Unknown => AnsiColor::Magenta,
        Activity::Gone => AnsiColor::BrightBlack,
    };
    paint(color.on_default(), activity.name())
}

/// Writes a JSON value in which what a terminal would not show as itself is an escape: it is the same
/// value for every reader.
fn write_json(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(out, ShownAlone);
    value.serialize(&mut serializer)?;
    Ok(())
}

/// Writes JSON without blanks, and with escapes for what a terminal would not show as itself.
struct ShownAlone;

impl serde_json::ser::Formatter for ShownAlone {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + Write,
    {
        let mut rest = fragment;
        while let Some(at) = rest.find(|char: char| !is_shown(char)) {
            let (shown, from) = rest.split_at(at);
            writer.write_all(shown.as_bytes())?;
            let mut chars = from.chars();
            let hidden = chars.next().unwrap_or_default();
            for unit in hidden.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = chars.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

/// Returns a path for JSON, which has no place for other bytes than UTF-8.
pub(super) fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Makes longer text harmless and keeps its lines.
pub(super) fn clean_lines(text: &str) -> String {
    text.split('\n')
        .map(|line| {
            line.split('\t')
                .map(|part| clean(part.trim_end_matches('\r')))
                .collect::<Vec<_>>()
                .join("\t")
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// The most characters of a line that a terminal gets: many screens of them help nobody, and some terminals
/// stop for seconds.
const LONGEST_LINE: usize = 5_000;

/// Cuts each line of a text that is too long for a terminal, and says so.
pub(super) fn fitting(text: &str) -> Cow<'_, str> {
    // Most texts are short as a whole.
    if text.len() <= LONGEST_LINE {
        return text.into();
    }
    let lines = text.split('\n').map(|line| {
        let Some((end, _)) = line.char_indices().nth(LONGEST_LINE) else {
            return Cow::Borrowed(line);
        };
        let (shown, rest) = line.split_at(end);
        let more = rest.chars().count();
        let plain = anstyle::Reset.render();
        format!("{shown}{plain}… ({more} more characters, which a pipe or --json gets)").into()
    });
    lines.collect::<Vec<_>>().join("\n").into()
}

/// Cuts `text` to `width` characters.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let head: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{head}…")
}

/// How long ago, in its two largest units.
pub(super) fn ago(then: Timestamp, now: Timestamp) -> String {
    span(now.duration_since(then).as_secs().max(0))
}

/// A number of seconds, in its two largest units.
pub(super) fn span(seconds: i64) -> String {
    let printer = SpanPrinter::new().spacing(Spacing::BetweenUnits);
    let rounded = match seconds {
        0..3600 => seconds,
        3600..86_400 => seconds - seconds % 60,
        _ => seconds - seconds % 3600,
    };
    let duration = jiff::SignedDuration::from_secs(rounded);
    let days = rounded / 86_400;
    if days > 0 {
        let rest = jiff::SignedDuration::from_secs(rounded % 86_400);
        return format!("{days}d {}", printer.duration_to_string(&rest));
    }
    printer.duration_to_string(&duration)
}

/// Reads the name of a session.
pub(super) fn session_name(name: &str) -> Result<String, &'static str> {
    check_name(name)?;
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_a_terminal_as_a_command() {
        assert_eq!(
            clean("a\x1b[31mb\u{202e}\r\n"),
            "a\\u{1b}[31mb\\u{202e}\\r\\n"
        );
        assert_eq!(
            clean_lines("one\r\ntwo\tthree\x07"),
            "one\ntwo\tthree\\u{7}"
        );
        assert_eq!(clean("grüße 漢字 🎉"), "grüße 漢字 🎉");
    }

    #[test]
    fn json_is_the_same_value_and_nothing_that_a_terminal_would_obey() {
        let hostile = "a\"\\\n\x1b[31m\u{9b}\u{61c}\u{200b}\u{2028}\u{202e}\u{feff}\u{e0041}é漢🚀";
        let value = serde_json::json!({"hostile": hostile, hostile: [1, null, true, 1.5]});
        let mut written = Vec::new();
        write_json(&mut written, &value).expect("written");
        let text = String::from_utf8(written).expect("UTF-8");
        assert!(text.chars().all(is_shown), "{text}");
        assert!(
            text.contains("\\u2028") && text.contains("\\udb40\\udc41é漢🚀"),
            "{text}"
        );
        let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(read, value);
    }

    #[test]
    fn a_path_of_any_bytes_has_a_place_in_json() {
        use std::os::unix::ffi::OsStrExt;
        let bytes = Path::new(std::ffi::OsStr::from_bytes(b"/w/a\xffb"));
        assert_eq!(path(bytes), "/w/a\u{fffd}b");
        assert_eq!(path(Path::new("/w/é")), "/w/é");
    }

    #[test]
    fn long_messages_keep_their_beginning_and_their_end() {
        assert_eq!(shortened("äöü", 2), "ä … ü");
        assert_eq!(shortened("äöüß", 4), "äöüß");
        assert_eq!(shortened(&"x".repeat(9), 4), "xx … xx");
        assert_eq!(shortened("", 4), "");
    }

    #[test]
    fn a_terminal_gets_no_endless_lines() {
        let long = "é".repeat(LONGEST_LINE);
        let short = format!("{long}\n{long}");
        assert_eq!(fitting(&short), short);
        let cut = format!("{long}\u{1b}[0m… (3 more characters, which a pipe or --json gets)");
        assert_eq!(fitting(&format!("a\n{long}äöü\n")), format!("a\n{cut}\n"));
    }

    #[test]
    fn spans_show_two_units() {
        assert_eq!(span(5), "5s");
        assert_eq!(span(185), "3m 5s");
        assert_eq!(span(7_385), "2h 3m");
        assert_eq!(span(180_000), "2d 2h");
    }

    #[test]
    fn text_is_cut_by_characters() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äö…");
    }
}
