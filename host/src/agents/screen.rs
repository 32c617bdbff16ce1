//! A pane's screen as text: what its last lines say, and what the agent's composer contains.

use super::nonce;
use super::profile::{Composer, PasteMode, Pattern, Profile};

/// The largest screen that is read, in columns and rows: a pane can have any size.
const LARGEST: (u16, u16) = (1_000, 500);

/// A screen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Screen {
    rows: Vec<ScreenRow>,
    /// Column and row, counted from 0. `None` if the cursor is hidden.
    cursor: Option<(u32, u32)>,
    /// The cursor's line up to the cursor, including its blanks.
    before: Option<String>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct ScreenRow {
    text: String,
    /// The same text with dim parts replaced by blanks.
    bright: String,
    /// The text before its first cell in reverse video: programs that hide the cursor draw it so.
    before: Option<String>,
}

/// The content of the composer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The text, its lines joined by newlines, at least up to the cursor.
    pub text: String,
    /// Whether it contains nothing but a placeholder.
    pub empty: bool,
    /// Whether the cursor is where it is while input is accepted.
    pub takes_input: bool,
}

impl Screen {
    /// Reads the output of `capture-pane -e`: lines with escape sequences for their colours.
    pub fn read(captured: &str, cursor: Option<(u32, u32)>) -> Self {
        let lines: Vec<&str> = captured.lines().take(usize::from(LARGEST.1)).collect();
        let height = u16::try_from(lines.len()).unwrap_or(LARGEST.1).max(1);
        let longest = lines.iter().map(|line| line.chars().count()).max();
        // The sequences make a line longer than it is wide, never shorter.
        let width = longest.unwrap_or(0) * 2 + 2;
        let width = u16::try_from(width).unwrap_or(LARGEST.0).min(LARGEST.0);
        let mut terminal = parser(height, width);
        let mut open = Vec::with_capacity(lines.len());
        for (index, line) in lines.iter().enumerate() {
            if index > 0 {
                terminal.process(b"\r\n");
            }
            terminal.process(line.as_bytes());
            // tmux leaves out blanks at a line's end, including a cursor drawn on one: then only
            // the start of its sequence is there.
            let column = terminal.screen().cursor_position().1;
            open.push(terminal.screen().inverse().then_some(column));
        }
        open.resize(usize::from(height), None);
        let screen = terminal.screen();
        let rows = (0..height).zip(open);
        let rows = rows
            .map(|(row, open)| read_row(screen, row, width, open))
            .collect();
        let before = cursor.and_then(|(column, row)| {
            let (column, row) = (u16::try_from(column).ok()?, u16::try_from(row).ok()?);
            (row < height).then(|| row_before(screen, row, column.min(LARGEST.0)))
        });
        Self {
            rows,
            cursor,
            before,
        }
    }

    /// Returns the position of the cursor.
    pub fn cursor(&self) -> Option<(u32, u32)> {
        self.cursor
    }

    /// Returns its lines, without trailing blanks.
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.rows.iter().map(|row| row.text.as_str())
    }

    /// Returns the last `count` lines that are not blank, lowest first.
    pub fn tail(&self, count: usize) -> impl Iterator<Item = &str> {
        let lines = self.lines().rev();
        lines.filter(|line| !line.is_empty()).take(count)
    }

    /// Returns the content of the composer. `None` if the screen shows no composer.
    pub fn draft(&self, profile: &Profile) -> Option<Draft> {
        let composer = profile.composer.as_ref()?;
        let (first, last) = self.composer_lines(composer)?;
        let begins = |index: usize| index == first || composer.block;
        let (mut text, mut shown) = (Vec::new(), Vec::new());
        for (index, row) in self.rows.iter().enumerate().take(last + 1).skip(first) {
            text.push(content(composer, &row.bright, begins(index)));
            shown.push(content(composer, &row.text, begins(index)));
        }
        let text = text.join("\n").trim_end().to_owned();
        let shown = shown.join("\n").trim().to_owned();
        let cursor = self.cursor.and_then(|(_, row)| usize::try_from(row).ok());
        let cursor = cursor.filter(|row| (first..=last).contains(row));
        // A visible cursor must be in the composer, even if the program draws its own.
        let takes_input = cursor.is_some() || (!composer.cursor && self.cursor.is_none());
        // Typed blanks cannot be seen, but the cursor is after them.
        let typed = if composer.cursor {
            cursor.zip(self.before.as_deref())
        } else {
            let mut drawn = self.rows.iter().enumerate().take(last + 1).skip(first);
            drawn.find_map(|(index, row)| Some((index, row.before.as_deref()?)))
        };
        let untouched = typed
            .is_none_or(|(index, before)| begins(index) && typed_of(composer, before).is_empty());
        // A prompt that the agent proposes is dim, except for its first letter, which is under the
        // drawn cursor.
        let proposed = !composer.cursor && text.chars().count() == 1 && shown.len() > text.len();
        let nothing = text.trim().is_empty() || proposed || composer.empty.is_match(&shown);
        let empty = nothing && untouched;
        Some(Draft {
            text,
            empty,
            takes_input,
        })
    }

    /// Whether the composer contains the whole of `delivered` and nothing else. If the text is
    /// long, only its end is visible, or what the agent shows in its place.
    pub fn holds(&self, profile: &Profile, delivered: &str) -> bool {
        let Some(composer) = &profile.composer else {
            return false;
        };
        let Some(draft) = self.draft(profile).filter(|draft| draft.takes_input) else {
            return false;
        };
        if draft.empty || draft.text.trim().is_empty() {
            return false;
        }
        if profile.paste.mode == PasteMode::Line && !self.is_in_line() {
            return false;
        }
        if let Some(stands_for) = composer
            .pasted
            .captures(&draft.text)
            .and_then(|all| all.get(0))
        {
            // There must be nothing beside it that somebody else typed.
            let rest = draft.text.replacen(stands_for.as_str(), "", 1);
            return rest.trim().is_empty();
        }
        // A sign comes last: what a person has typed since would be behind it.
        let signed = draft.text.trim_end().trim_end_matches(')');
        if nonce::of(profile, delivered).is_some_and(|nonce| signed.ends_with(nonce)) {
            return true;
        }
        // Some programs draw a tab as `^I`.
        let draft = match delivered.contains('\t') {
            true => draft.text.replace("^I", " "),
            false => draft.text,
        };
        is_whole(&draft, delivered)
    }

    /// Returns how often `prompt` is shown above the composer as one that was given.
    pub fn given(&self, profile: &Profile, prompt: &str) -> usize {
        let lines: Vec<&str> = self.lines().collect();
        let above = &lines[..composer_row(profile, &lines)];
        if let Some(nonce) = nonce::of(profile, prompt)
            && above.iter().any(|line| nonce::is_in(nonce, line))
        {
            return 1;
        }
        let first = prompt.lines().map(words_of).find(|line| !line.is_empty());
        let Some(first) = first else {
            // A prompt of symbols alone comes right after the prompt sign of its line.
            let signs = apart(prompt.trim());
            let is_it = |line: &&&str| {
                let behind = line.trim().split_once(' ');
                let behind = behind.map(|(_, behind)| apart(behind.trim()));
                !signs.is_empty() && behind.as_ref() == Some(&signs)
            };
            return above.iter().filter(is_it).count();
        };
        let begins = |line: &&&str| {
            let line = words_of(line);
            // A long line is wrapped, or has something to its right.
            let is_long = line.len().min(first.len()) >= LONG;
            line == first || (is_long && (first.starts_with(&line) || line.starts_with(&first)))
        };
        above.iter().filter(begins).count()
    }

    /// Whether the composer contains nothing but `delivered` or a part of it: some of its lines may
    /// already have been deleted.
    pub fn holds_part(&self, profile: &Profile, delivered: &str) -> bool {
        if self.holds(profile, delivered) {
            return true;
        }
        let draft = self.draft(profile).filter(|draft| draft.takes_input);
        draft.is_some_and(|draft| is_part(&draft.text, delivered))
    }

    /// Whether the content of the composer resembles `delivered`: it may be `delivered` together
    /// with text that a person typed.
    pub fn is_near(&self, profile: &Profile, delivered: &str) -> bool {
        let Some(draft) = self.draft(profile) else {
            return false;
        };
        let pasted = profile.composer.as_ref().map(|composer| &composer.pasted);
        let is_signed = nonce::of(profile, delivered);
        let is_signed = is_signed.is_some_and(|nonce| nonce::is_in(nonce, &draft.text));
        if is_signed || pasted.is_some_and(|pasted| pasted.is_match(&draft.text)) {
            return true;
        }
        resembles(&draft.text, delivered)
    }

    /// Whether a program that reads lines waits for one, and `typed` is all that is in its line: up to the
    /// cursor, the screen ends in an idle line followed by `typed`, however that is wrapped.
    pub fn line_holds(&self, profile: &Profile, typed: &str) -> bool {
        let row = self.cursor.and_then(|(_, row)| usize::try_from(row).ok());
        let Some(rows) = row.and_then(|row| self.rows.get(..=row)) else {
            return false;
        };
        let start = typed.find(is_essential).unwrap_or(typed.len());
        let (lead, typed) = typed.split_at(start);
        let mut left = typed
            .chars()
            .rev()
            .filter(|char| is_essential(*char))
            .peekable();
        if left.peek().is_none() {
            return false;
        }
        let is_idle = |before: &str| {
            let before = before.strip_suffix(lead).unwrap_or(before);
            let idle = &profile.state.idle_screen;
            idle.is_match(before) || idle.is_match(before.trim_end())
        };
        for row in rows.iter().rev() {
            for (at, char) in row.text.char_indices().rev() {
                if left.peek().is_none() {
                    return is_idle(&row.text[..at + char.len_utf8()]);
                }
                if is_essential(char) && left.next() != Some(char) {
                    return false;
                }
            }
            if left.peek().is_none() {
                return is_idle("");
            }
        }
        false
    }

    /// Whether the cursor's line has any text: after a line was entered, it has none.
    fn is_in_line(&self) -> bool {
        self.cursor.is_some_and(|(_, row)| {
            let row = usize::try_from(row).ok().and_then(|row| self.rows.get(row));
            row.is_some_and(|row| !row.text.trim().is_empty())
        })
    }

    /// Returns the first and the last line of the composer.
    fn composer_lines(&self, composer: &Composer) -> Option<(usize, usize)> {
        let is_line = |row: &ScreenRow| composer.line.0.is_match(&row.text);
        let found = self.rows.iter().rposition(is_line)?;
        if !composer.block {
            // A shell's prompt may look like the line, but nothing is drawn below it.
            let below = &self.rows[found + 1..];
            let is_framed = |end: &Pattern| below.iter().any(|row| end.0.is_match(&row.text));
            let is_composer = composer.end.as_ref().is_none_or(is_framed);
            return is_composer.then(|| (found, self.last_line(composer, found)));
        }
        let first = self.rows[..found].iter().rposition(|row| !is_line(row));
        let first = first.map_or(0, |above| above + 1);
        let ends = |row: &ScreenRow| {
            let end = composer.end.as_ref();
            end.is_some_and(|end| end.0.is_match(&row.text))
        };
        let end = self.rows[first..=found].iter().rposition(ends);
        match end {
            // A block that consists only of its end is not a composer.
            Some(0) => None,
            Some(end) => Some((first, first + end - 1)),
            None => Some((first, found)),
        }
    }

    /// Returns the last line of a draft: the cursor's line, or the last continuation line after it.
    fn last_line(&self, composer: &Composer, first: usize) -> usize {
        let at_cursor = self
            .cursor
            .filter(|_| composer.cursor)
            .and_then(|(_, row)| usize::try_from(row).ok())
            .filter(|&row| row > first && row < self.rows.len());
        let below = &self.rows[first + 1..];
        let continues = |row: &ScreenRow| {
            let further = composer.continuation.as_ref();
            further.is_some_and(|further| further.0.is_match(&row.text))
                && !row.bright.trim().is_empty()
        };
        let end = composer.end.as_ref();
        let end = end.and_then(|end| below.iter().position(|row| end.0.is_match(&row.text)));
        let last = match end {
            // Blank lines match nothing by themselves: the last continuation line before the end
            // counts.
            Some(end) => below[..end].iter().rposition(continues),
            // Without an end pattern, a draft ends at the cursor.
            None if composer.cursor => None,
            None => {
                let further = below.iter().take_while(|row| continues(row)).count();
                further.checked_sub(1)
            }
        };
        let last = last.map_or(first, |last| first + 1 + last);
        last.max(at_cursor.unwrap_or(first))
    }
}

/// Returns the answer that is shown below a prompt, for an agent without a transcript, and its last
/// lines. An error or a limit ends a turn, while the lines above may merely mention errors and
/// limits.
///
/// `whole` means that the lines are all there is, so that a prompt that is out of sight was above
/// them. An empty prompt stands for the last one that was given, whatever it was.
pub fn answer(profile: &Profile, lines: &[&str], prompt: &str, whole: bool) -> (String, String) {
    let composer = profile.composer.as_ref();
    let above = &lines[..composer_row(profile, lines)];
    let beginnings = beginnings(prompt);
    let is_prompt = |line: &str| composer.is_some_and(|composer| composer.line.0.is_match(line));
    let find = |start: &str| {
        let tells = |line: &str| essence(line).contains(start);
        // An answer may repeat the prompt: prefer a line that looks like the composer, which is the
        // prompt itself.
        above
            .iter()
            .rposition(|line| tells(line) && is_prompt(line))
            .or_else(|| above.iter().rposition(|line| tells(line)))
    };
    // The first line with its sign is the prompt's own: an answer may repeat it.
    let signed = nonce::of(profile, prompt)
        .and_then(|nonce| above.iter().position(|line| nonce::is_in(nonce, line)));
    let told = if signed.is_some() {
        signed
    } else if beginnings.is_empty() {
        above.iter().rposition(|line| is_given(profile, line))
    } else {
        beginnings.iter().find_map(|start| find(start))
    };
    let below = match told {
        Some(told) => &above[told + 1..],
        // If the prompt is out of sight, everything below it is its answer, provided that no other
        // prompt is visible and the agent has no mark for the beginning of an answer.
        None if whole
            && profile.turn.answer.is_none()
            && !above.iter().any(|line| is_given(profile, line)) =>
        {
            above
        }
        // These lines may be older than the prompt.
        None => return (String::new(), last_lines(above, FURTHER_LINES)),
    };
    let begins = profile.turn.answer.as_ref();
    let first = begins.and_then(|begins| below.iter().position(|line| begins.0.is_match(line)));
    let from = match (begins, first) {
        // None of this is the agent's answer.
        (Some(_), None) => return (String::new(), below.join("\n")),
        (_, first) => first.unwrap_or(0),
    };
    let trailer = below[from..]
        .iter()
        .position(|line| profile.turn.trailer.is_match(line));
    let stop = trailer.map_or(below.len(), |trailer| from + trailer);
    let mut answer = Vec::new();
    for (index, line) in below[from..stop].iter().enumerate() {
        let groups = begins
            .filter(|_| index == 0)
            .and_then(|begins| begins.0.captures(line));
        let text = groups.and_then(|groups| groups.name("text").map(|text| text.as_str()));
        answer.push(text.unwrap_or(line));
    }
    let rest = format!(
        "{}\n{}",
        last_lines(&below[from..stop], LAST_LINES),
        below[stop..].join("\n")
    );
    (answer.join("\n").trim().to_owned(), rest)
}

/// Whether a draft is the whole of a text, or the end of one that cannot be seen as a whole: some of
/// its lines, or enough of its letters. A few letters are no such end: a person may have typed them.
pub(crate) fn is_whole(draft: &str, text: &str) -> bool {
    let (seen, wanted) = (essence(draft), essence(text));
    if wanted.is_empty() {
        // Only characters that terminals draw in different ways.
        return seen.is_empty() && !draft.trim().is_empty();
    }
    let mut end = String::new();
    let is_lines = text.lines().rev().any(|line| {
        end.insert_str(0, &essence(line));
        end == seen
    });
    !seen.is_empty() && (is_lines || (is_telling(draft) && wanted.ends_with(&seen)))
}

/// Whether a draft is a text or what is left of one whose last lines were deleted.
pub(crate) fn is_part(draft: &str, text: &str) -> bool {
    let (seen, wanted) = (essence(draft), essence(text));
    let is_left = wanted.starts_with(&seen) || (is_telling(draft) && wanted.contains(&seen));
    is_whole(draft, text) || (!seen.is_empty() && is_left)
}

/// Whether a draft and a text have words in common, or the whole of a short text.
pub(crate) fn resembles(draft: &str, text: &str) -> bool {
    let seen: Vec<char> = essence(draft).chars().collect();
    let wanted = essence(text);
    let length = LONG.min(wanted.chars().count()).max(1);
    let mut parts = seen.windows(length);
    parts.any(|part| wanted.contains(&part.iter().collect::<String>()))
}

/// Whether a draft is too long to be in a text by chance.
fn is_telling(draft: &str) -> bool {
    let rows = draft.lines().filter(|line| !essence(line).is_empty());
    rows.count() > 1 || essence(draft).chars().count() >= LONG
}

/// The number of characters that are enough to identify a line.
const LONG: usize = 12;

/// The number of characters of a prompt that are looked for, the most first.
const BEGINNINGS: [usize; 4] = [400, 120, 60, 30];

/// Whether a line is a prompt that was given: it looks like the composer and is not empty.
fn is_given(profile: &Profile, line: &str) -> bool {
    let composer = profile.composer.as_ref();
    let groups = composer.and_then(|composer| composer.line.0.captures(line));
    let draft = groups.and_then(|groups| groups.name("draft").map(|draft| draft.as_str()));
    draft.is_some_and(|draft| !draft.trim().is_empty())
}

/// Returns the row in which the composer begins, or the end of the lines if there is none.
fn composer_row(profile: &Profile, lines: &[&str]) -> usize {
    let composer = profile.composer.as_ref();
    let row = composer.and_then(|composer| {
        let mut lines = lines.iter();
        lines.rposition(|line| composer.line.0.is_match(line))
    });
    row.unwrap_or(lines.len())
}

/// The prompts that a screen shows as given to an agent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GivenPrompts {
    /// How many there are.
    pub count: usize,
    /// The line of the last one.
    pub last: String,
    /// How many are below the one that was looked for. `None`: that one is not visible, so it is not
    /// known.
    pub after: Option<usize>,
}

impl GivenPrompts {
    /// Whether another prompt is known to be below the one that was looked for.
    pub fn is_followed(&self) -> bool {
        self.after.is_some_and(|after| after > 0)
    }
}

/// Returns the prompts that are shown as given, and how many follow `prompt`. The last line of
/// that form is the composer, whose content was not given.
pub fn given(profile: &Profile, lines: &[&str], prompt: &str) -> GivenPrompts {
    let above = &lines[..composer_row(profile, lines)];
    let given: Vec<&str> = above
        .iter()
        .copied()
        .filter(|line| is_given(profile, line))
        .collect();
    let find = |start: &String| given.iter().rposition(|line| essence(line).contains(start));
    let ours = beginnings(prompt).iter().find_map(find);
    // If the agent has rewritten it, its sign shows where it ends.
    let signed = nonce::of(profile, prompt)
        .and_then(|nonce| above.iter().position(|line| nonce::is_in(nonce, line)));
    let below_sign = signed.map(|at| {
        let below = above[at + 1..].iter();
        below.filter(|line| is_given(profile, line)).count()
    });
    GivenPrompts {
        count: given.len(),
        last: given.last().copied().unwrap_or_default().to_owned(),
        after: below_sign.max(ours.map(|ours| given.len() - ours - 1)),
    }
}

/// Returns beginnings by which a prompt can be found on a screen, longest first; none for an empty
/// prompt. A beginning is enough, because long prompts are wrapped or shown differently. A longer
/// beginning is better, because other prompts may begin in the same way.
fn beginnings(prompt: &str) -> Vec<String> {
    let first = prompt.lines().map(essence).find(|line| !line.is_empty());
    let cut = |first: String| BEGINNINGS.map(|length| first.chars().take(length).collect());
    first.map(cut).into_iter().flatten().collect()
}

/// The number of lines of a message at the end of a turn: it is one or two lines long.
const LAST_LINES: usize = 2;

/// If the prompt is out of sight, a message may be above some lines of decoration.
const FURTHER_LINES: usize = 10;

fn last_lines(lines: &[&str], count: usize) -> String {
    let mut last: Vec<&str> = lines
        .iter()
        .rev()
        .filter(|line| !line.trim().is_empty())
        .take(count)
        .copied()
        .collect();
    last.reverse();
    last.join("\n")
}

/// Returns the content of one line of the composer.
fn content(composer: &Composer, line: &str, first: bool) -> String {
    if first {
        let groups = composer.line.0.captures(line);
        let draft = groups.and_then(|groups| groups.name("draft").map(|draft| draft.as_str()));
        return draft.unwrap_or_default().trim_end().to_owned();
    }
    let further = composer.continuation.as_ref();
    let start = further
        .and_then(|further| further.0.find(line))
        .filter(|found| found.start() == 0)
        .map_or(0, |found| found.end());
    line[start..].trim_end().to_owned()
}

/// Returns the text of a composer line before the cursor, including its blanks.
fn typed_of<'t>(composer: &Composer, before: &'t str) -> &'t str {
    let groups = composer.line.0.captures(before);
    let draft = groups.and_then(|groups| groups.name("draft"));
    draft.map_or("", |draft| draft.as_str())
}

/// Returns the characters of a text that all terminals show alike: letters, digits and ASCII
/// punctuation, without blanks, which are wrapped and trimmed.
fn essence(text: &str) -> String {
    text.chars().filter(|char| is_essential(*char)).collect()
}

fn is_essential(char: char) -> bool {
    char.is_alphanumeric() || char.is_ascii_punctuation()
}

/// Returns a text without the characters of no width that join signs: not every terminal keeps them.
fn apart(text: &str) -> String {
    let joins = |char: &char| matches!(char, '\u{200b}'..='\u{200d}' | '\u{fe00}'..='\u{fe0f}');
    text.chars().filter(|char| !joins(char)).collect()
}

/// Does the same as [`essence`], and removes the sign that a line may begin with.
fn words_of(line: &str) -> String {
    let line = essence(line);
    let words = line.trim_start_matches(|char: char| char.is_ascii_punctuation());
    words.to_owned()
}

fn parser(height: u16, width: u16) -> vt100::Parser {
    let size = |value: u16| std::num::NonZeroU16::new(value).unwrap_or(std::num::NonZeroU16::MIN);
    vt100::Parser::new(size(height), size(width), 0)
}

fn read_row(screen: &vt100::Screen, row: u16, width: u16, open: Option<u16>) -> ScreenRow {
    let (mut text, mut bright) = (String::new(), String::new());
    let mut before = None;
    for column in 0..width {
        let Some(cell) = screen.cell(row, column) else {
            break;
        };
        if cell.is_wide_continuation() {
            continue;
        }
        if cell.inverse() && before.is_none() {
            before = Some(text.clone());
        }
        let contents = shown(cell);
        text.push_str(contents);
        bright.push_str(if cell.dim() { " " } else { contents });
    }
    let before = before.or_else(|| Some(row_before(screen, row, open?)));
    // Other kinds of trailing blanks may distinguish one line from another.
    text.truncate(text.trim_end_matches(' ').len());
    bright.truncate(bright.trim_end_matches(' ').len());
    ScreenRow {
        text,
        bright,
        before,
    }
}

/// Returns a line up to a column, including its blanks.
fn row_before(screen: &vt100::Screen, row: u16, column: u16) -> String {
    let cell = |column| screen.cell(row, column);
    let blank = |column| cell(column).is_none_or(|cell| !cell.is_wide_continuation());
    (0..column)
        .filter(|&column| blank(column))
        .map(|column| cell(column).map_or(" ", shown))
        .collect()
}

fn shown(cell: &vt100::Cell) -> &str {
    if cell.has_contents() {
        cell.contents()
    } else {
        " "
    }
}

#[cfg(test)]
#[path = "screen_tests.rs"]
mod tests;
