//! Edits of a JSON text that keep every byte around them.
//!
//! This is code of our own because `jsonc-parser` 0.34 does not keep them: it changes the layout
//! around an addition (`{"a":1}` becomes three lines and stays so after the removal), and it refuses
//! values that are nested more than 512 levels deep.

use std::ops::Range;

use serde::de::IgnoredAny;
use serde::ser::Serialize as _;
use serde_json::ser::PrettyFormatter;
use serde_json::{Deserializer, Serializer, Value};

use super::HookError;

/// The whitespace of JSON.
pub(super) const BLANKS: &[char] = &[' ', '\t', '\n', '\r'];

/// The longest indentation that is copied, in bytes: it is repeated on each line.
const LONGEST_INDENT: usize = 64;

/// Returns the position of the value that a text consists of.
///
/// # Errors
/// The text is not JSON. The other functions here expect that it is.
pub(super) fn checked(text: &str) -> Result<Range<usize>, HookError> {
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| not_json(text, &error))?;
    Ok(skip_blanks(text, 0)..text.trim_end_matches(BLANKS).len())
}

/// A list or an object and its contents.
pub(super) struct Container {
    /// What is between its brackets.
    pub(super) inner: Range<usize>,
    pub(super) children: Vec<Child>,
}

/// An entry of a list, or a member of an object.
pub(super) struct Child {
    /// Where it begins: at its name, if it has one.
    pub(super) start: usize,
    pub(super) name: Option<String>,
    pub(super) value: Range<usize>,
}

/// What comes before the first child of a container that is to be emptied.
pub(super) struct Lead {
    /// The number of its bytes that were there before.
    pub(super) kept: usize,
    /// Whether it looks like what [`Insertion::edit`] writes.
    is_ours: bool,
}

/// The first byte that is put into an object or a list that was empty.
pub(super) const MARK: &str = " ";

impl Container {
    pub(super) fn object(text: &str, value: &Range<usize>) -> Option<Self> {
        Self::read(text, value, b'{')
    }

    pub(super) fn list(text: &str, value: &Range<usize>) -> Option<Self> {
        Self::read(text, value, b'[')
    }

    /// Reads one level.
    fn read(text: &str, value: &Range<usize>, bracket: u8) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.get(value.start) != Some(&bracket) {
            return None;
        }
        let inner = value.start + 1..value.end.saturating_sub(1);
        let mut children = Vec::new();
        let mut at = skip_blanks(text, inner.start);
        while at < inner.end {
            let start = at;
            let name = if bracket == b'{' {
                let end = skip_value(text, at);
                // After the colon.
                at = skip_blanks(text, skip_blanks(text, end) + 1);
                string(text, &(start..end))
            } else {
                None
            };
            let value = at..skip_value(text, at);
            // After the comma, or at the closing bracket.
            at = skip_blanks(text, value.end);
            if bytes.get(at) == Some(&b',') {
                at = skip_blanks(text, at + 1);
            }
            children.push(Child { start, name, value });
        }
        Some(Self { inner, children })
    }

    /// Returns the last member with that name, which is the one that counts.
    pub(super) fn named(&self, name: &str) -> Option<usize> {
        let mut children = self.children.iter();
        children.rposition(|child| child.name.as_deref() == Some(name))
    }

    /// Returns an error if a name occurs twice.
    pub(super) fn once(&self, text: &str, name: &'static str) -> Result<(), HookError> {
        let named = |child: &&Child| child.name.as_deref() == Some(name);
        match self.children.iter().filter(named).nth(1) {
            None => Ok(()),
            Some(second) => Err(HookError::Twice {
                line: line_of(text, second.start),
                name,
            }),
        }
    }

    /// Returns the blanks before a child.
    fn blanks_before<'a>(&self, text: &'a str, at: usize) -> &'a str {
        let from = match at.checked_sub(1) {
            Some(previous) => self.children[previous].value.end,
            None => self.inner.start,
        };
        let between = text.get(from..self.children[at].start).unwrap_or_default();
        between.split_once(',').map_or(between, |(_, after)| after)
    }

    /// Returns the indentation of a child that begins a line.
    pub(super) fn line<'a>(&self, text: &'a str, at: usize) -> Option<&'a str> {
        let (_, indent) = self.blanks_before(text, at).rsplit_once('\n')?;
        Some(indent)
    }

    /// Cuts out some of the children, each with one comma. At least one has to stay.
    pub(super) fn cut(&self, gone: &[bool], edits: &mut Vec<Replacement>) {
        let mut at = 0;
        while at < gone.len() {
            let run = gone[at..].iter().take_while(|gone| **gone).count();
            if run > 0 {
                let range = match (self.children.get(at + run), at.checked_sub(1)) {
                    (Some(next), _) => self.children[at].start..next.start,
                    (None, Some(previous)) => {
                        self.children[previous].value.end..self.children[at + run - 1].value.end
                    }
                    (None, None) => return,
                };
                edits.push((range, String::new()));
            }
            at += run + 1;
        }
    }

    /// Cuts out some of the children. Returns whether the container itself has to go because
    /// nothing is left in it.
    pub(super) fn empty_or_cut(
        &self,
        text: &str,
        gone: &[bool],
        edits: &mut Vec<Replacement>,
    ) -> bool {
        if !gone.contains(&true) {
            return false;
        }
        if gone.contains(&false) {
            self.cut(gone, edits);
            return false;
        }
        let lead = self.lead(text);
        let start = self.inner.start + lead.kept;
        let before = text.get(self.inner.start..start).unwrap_or_default();
        if !lead.is_ours || !before.ends_with(MARK) {
            return true;
        }
        edits.push((start - MARK.len()..self.inner.end, String::new()));
        false
    }

    pub(super) fn lead(&self, text: &str) -> Lead {
        let (Some(first), Some(last)) = (self.children.first(), self.children.last()) else {
            return Lead {
                kept: 0,
                is_ours: false,
            };
        };
        let before = text.get(self.inner.start..first.start).unwrap_or_default();
        let after = text.get(last.value.end..self.inner.end).unwrap_or_default();
        match before.rsplit_once('\n') {
            Some((kept, _)) => Lead {
                kept: kept.strip_suffix('\r').unwrap_or(kept).len(),
                is_ours: after.contains('\n'),
            },
            None => Lead {
                kept: before.len(),
                is_ours: after.is_empty(),
            },
        }
    }
}

/// The layout of a text.
pub(super) struct Layout {
    line_end: &'static str,
    /// The indentation of each level.
    unit: String,
}

/// Where something is added.
pub(super) struct Insertion<'a> {
    layout: &'a Layout,
    at: usize,
    /// Written before the first.
    before: String,
    /// Written between two.
    between: String,
    /// Written after the last.
    after: String,
    /// The indentation, if each is on a line of its own.
    indent: Option<String>,
}

impl Layout {
    pub(super) fn of(text: &str, root: &Container) -> Self {
        let indent = (!root.children.is_empty()).then(|| root.line(text, 0));
        let unit = indent.flatten().unwrap_or_default();
        Self {
            line_end: if text.contains('\r') { "\r\n" } else { "\n" },
            unit: if unit.is_empty() || unit.len() > LONGEST_INDENT {
                "  ".to_owned()
            } else {
                unit.to_owned()
            },
        }
    }

    /// Returns the place after the last child. `line` is the indentation of the container's line,
    /// if the container begins one. `mark` is written first if the container was empty.
    pub(super) fn place(
        &self,
        text: &str,
        container: &Container,
        line: Option<&str>,
        mark: &str,
    ) -> Insertion<'_> {
        let line_end = self.line_end;
        if let Some(last) = container.children.last() {
            let index = container.children.len() - 1;
            let indent = container.line(text, index).map(short);
            let blanks = match indent {
                Some(indent) => format!("{line_end}{indent}"),
                None => short(container.blanks_before(text, index)).to_owned(),
            };
            return Insertion {
                layout: self,
                at: last.value.end,
                before: format!(",{blanks}"),
                between: format!(",{blanks}"),
                after: String::new(),
                indent: indent.map(str::to_owned),
            };
        }
        let blanks = text.get(container.inner.clone()).unwrap_or_default();
        let line = line.or_else(|| blanks.contains('\n').then_some(""));
        let Some(line) = line.map(short) else {
            return Insertion {
                layout: self,
                at: container.inner.end,
                before: mark.to_owned(),
                between: ",".to_owned(),
                after: String::new(),
                indent: None,
            };
        };
        let unit = &self.unit;
        Insertion {
            layout: self,
            at: container.inner.end,
            before: format!("{mark}{line_end}{line}{unit}"),
            between: format!(",{line_end}{line}{unit}"),
            after: format!("{line_end}{line}"),
            indent: Some(format!("{line}{unit}")),
        }
    }
}

/// Returns an indentation, unless it is too long.
fn short(indent: &str) -> &str {
    if indent.len() > LONGEST_INDENT {
        ""
    } else {
        indent
    }
}

impl Insertion<'_> {
    pub(super) fn edit(&self, items: &[String]) -> Replacement {
        let items = items.join(&self.between);
        let text = format!("{}{items}{}", self.before, self.after);
        (self.at..self.at, text)
    }

    pub(super) fn member(&self, name: &str, value: &Value) -> String {
        let colon = if self.indent.is_some() { ": " } else { ":" };
        format!("{}{colon}{}", Value::from(name), self.render(value))
    }

    pub(super) fn render(&self, value: &Value) -> String {
        let Some(indent) = &self.indent else {
            return value.to_string();
        };
        let mut bytes = Vec::new();
        let formatter = PrettyFormatter::with_indent(self.layout.unit.as_bytes());
        let written = value.serialize(&mut Serializer::with_formatter(&mut bytes, formatter));
        match (written, String::from_utf8(bytes)) {
            // No string in JSON contains a line end.
            (Ok(()), Ok(text)) => text.replace('\n', &format!("{}{indent}", self.layout.line_end)),
            _ => value.to_string(),
        }
    }
}

/// A piece of the text and its replacement.
pub(super) type Replacement = (Range<usize>, String);

/// Applies edits whose pieces do not overlap.
pub(super) fn apply(text: &str, mut edits: Vec<Replacement>) -> String {
    edits.sort_by_key(|(range, _)| range.start);
    let mut edited = String::with_capacity(text.len());
    let mut done = 0;
    for (range, new) in edits {
        edited.push_str(text.get(done..range.start).unwrap_or_default());
        edited.push_str(&new);
        done = range.end;
    }
    edited.push_str(text.get(done..).unwrap_or_default());
    edited
}

/// Returns a string of the text, unescaped. `None` if it is not a string, or is not valid Unicode.
pub(super) fn string(text: &str, span: &Range<usize>) -> Option<String> {
    serde_json::from_str(text.get(span.clone())?).ok()
}

fn skip_blanks(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    text.len() - rest.trim_start_matches(BLANKS).len()
}

/// Returns the end of the value that begins at `at`.
fn skip_value(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let mut values = Deserializer::from_str(rest).into_iter::<IgnoredAny>();
    values.next();
    at + values.byte_offset()
}

pub(super) fn line_of(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or_default();
    memchr::memchr_iter(b'\n', before).count() + 1
}

fn not_json(text: &str, error: &serde_json::Error) -> HookError {
    let line = error.line();
    let place = text.split('\n').nth(line.saturating_sub(1));
    let rest = place.and_then(|place| place.get(error.column().saturating_sub(1)..));
    if rest.is_some_and(|rest| rest.starts_with("//") || rest.starts_with("/*")) {
        return HookError::Comment { line };
    }
    let why = error.to_string();
    let why = why.split(" at line ").next().unwrap_or_default().to_owned();
    HookError::NotJson { line, why }
}
