//! Hooks: entries in the settings of coding agents that make them report their state. Pure.
//!
//! ```text
//! {"hooks": {"Stop": [{"hooks": [{"type": "command", "command": "assigner report ...", ...}]}]}}
//!            event    group      handler
//! ```
//!
//! The settings belong to a person, so the text is edited rather than rewritten: what is there
//! keeps its place and every blank, and [`remove`] restores the bytes that were there before
//! [`install`]. Two conventions make that possible. An addition comes last in its list or object,
//! so that removing it cuts from the end of its neighbour to its own end (and codex, which
//! remembers the hooks that its user trusts by their position, still recognises the others). And a
//! list or an object that was empty before gets a blank as a mark, which distinguishes it from one
//! that was added.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use serde::de::IgnoredAny;
use serde::ser::Serialize as _;
use serde_json::ser::PrettyFormatter;
use serde_json::{Serializer, Value, json};

use super::report::State;

/// An agent that runs hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agent {
    /// Claude Code.
    Claude,
    /// Codex CLI.
    Codex,
}

/// An event of an agent that reveals its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The agent's name for it.
    pub name: &'static str,
    /// Which of these events, as a pattern of the agent. `None` means all.
    pub matcher: Option<&'static str>,
    /// The state that it reveals.
    pub state: State,
}

const fn event(name: &'static str, matcher: Option<&'static str>, state: State) -> Event {
    Event {
        name,
        matcher,
        state,
    }
}

/// The events of Claude Code. An unknown event makes it skip the whole file, so these are only the
/// old ones (`StopFailure` is not among them). `SubagentStop` does not end a turn. `SessionEnd`
/// also comes with `/clear`, and the end of an agent is seen from its process. A session also
/// "starts" when it compacts itself in the middle of a turn. When a person presses Esc, nothing is
/// reported until the notification that the agent has been idle for a minute.
const CLAUDE: &[Event] = &[
    event("SessionStart", Some("startup|resume|clear"), State::Idle),
    event("UserPromptSubmit", None, State::Busy),
    event("PermissionRequest", None, State::Blocked),
    event(
        "Notification",
        Some("permission_prompt|elicitation_dialog"),
        State::Blocked,
    ),
    event("Notification", Some("idle_prompt"), State::Idle),
    event("Stop", None, State::Idle),
];

/// The events of Codex, which ignores those that it does not know. Its session starts only with the
/// first prompt: that event would report idle at the very moment at which a turn begins.
const CODEX: &[Event] = &[
    event("UserPromptSubmit", None, State::Busy),
    event("PermissionRequest", None, State::Blocked),
    event("Stop", None, State::Idle),
    event("Interrupt", None, State::Idle),
];

/// The number of seconds after which an agent gives up on a hook. A report takes some milliseconds.
const TIMEOUT: u64 = 10;

/// The longest indentation that is copied, in bytes: it is repeated on each line.
const LONGEST_INDENT: usize = 64;

impl Agent {
    /// Returns its name, as people use it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
        }
    }

    /// Returns the events that it is asked to report.
    pub fn events(self) -> &'static [Event] {
        match self {
            Self::Claude => CLAUDE,
            Self::Codex => CODEX,
        }
    }

    /// Returns where its settings are: the variable that names their directory, the directory below
    /// the home directory if that is not set, and the file name.
    pub fn settings(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Claude => ("CLAUDE_CONFIG_DIR", ".claude", "settings.json"),
            Self::Codex => ("CODEX_HOME", ".codex", "hooks.json"),
        }
    }
}

/// Why a text is left unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// It cannot be parsed.
    #[error("line {line} is not valid JSON ({why}): fix it first")]
    NotJson {
        /// The line.
        line: usize,
        /// The parser's error.
        why: String,
    },
    /// It has comments, and it is not known whether the agent accepts them.
    #[error("line {line} has a comment, which JSON does not allow: remove it first")]
    Comment {
        /// The line.
        line: usize,
    },
    /// Something in it is not what an agent accepts.
    #[error("line {line}: {what} is not {wanted}: fix it first")]
    Shape {
        /// The line.
        line: usize,
        /// What it is.
        what: Cow<'static, str>,
        /// What it should be.
        wanted: &'static str,
    },
    /// A name occurs twice, and agents read only one of the two.
    #[error("line {line}: `{name}` occurs a second time: merge the two")]
    Twice {
        /// The line of the second one.
        line: usize,
        /// The name.
        name: &'static str,
    },
}

/// A hook of ours that is in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The event's name.
    pub event: String,
    /// The command line.
    pub command: String,
}

/// Returns the text with the hooks of `agent` added. `command` returns the command line for a
/// state.
///
/// Older hooks of ours are replaced in place. A text that already has these hooks is returned
/// unchanged. A blank text becomes a new file.
///
/// # Errors
/// The text is not JSON, or its `hooks` are not in the form that agents accept.
pub fn install(
    text: &str,
    agent: Agent,
    command: &dyn Fn(State) -> String,
) -> Result<String, HookError> {
    let text = if text.trim_matches(BLANKS).is_empty() {
        "{}\n"
    } else {
        text
    };
    let wanted = agent.events();
    let settings = Settings::read(text)?;
    settings.check(wanted)?;

    let mut standing = vec![false; wanted.len()];
    let mut stale = HashSet::new();
    let mut edits = Vec::new();
    for (list, group, ours) in settings.ours() {
        let place = (wanted.iter().zip(&standing))
            .position(|(event, stands)| !stands && event.is(&list.name, group.matcher.as_deref()));
        let Some(place) = place else {
            stale.insert(ours.span.start);
            continue;
        };
        standing[place] = true;
        let line = command(wanted[place].state);
        if line != ours.command {
            edits.push((ours.span.clone(), Value::from(line).to_string()));
        }
    }
    settings.take_away(&stale, &mut edits);
    let text = apply(text, edits);

    let settings = Settings::read(&text)?;
    let missing = wanted.iter().zip(standing).filter(|(_, stands)| !stands);
    let missing: Vec<(&Event, Value)> = missing
        .map(|(event, _)| (event, group(event, &command(event.state))))
        .collect();
    let mut edits = Vec::new();
    settings.add(&missing, &mut edits);
    Ok(apply(&text, edits))
}

/// Returns the text without our hooks, and without the lists and objects that become empty.
///
/// # Errors
/// The text is not JSON, or its `hooks` are not in the form that agents accept.
pub fn remove(text: &str) -> Result<String, HookError> {
    if text.trim_matches(BLANKS).is_empty() {
        return Ok(text.to_owned());
    }
    let settings = Settings::read(text)?;
    let all = settings.ours().map(|(.., ours)| ours.span.start).collect();
    let mut edits = Vec::new();
    settings.take_away(&all, &mut edits);
    Ok(apply(text, edits))
}

/// Returns our hooks in the text.
///
/// # Errors
/// The text is not JSON, or its `hooks` are not in the form that agents accept.
pub fn installed(text: &str) -> Result<Vec<Hook>, HookError> {
    if text.trim_matches(BLANKS).is_empty() {
        return Ok(Vec::new());
    }
    let settings = Settings::read(text)?;
    let hooks = settings.ours().map(|(list, _, ours)| Hook {
        event: list.name.clone(),
        command: ours.command.clone(),
    });
    Ok(hooks.collect())
}

/// Whether a command line was written by some version of this program.
fn is_ours(command: &str) -> bool {
    command.contains(" report --state ") && command.contains(" --hook")
}

/// Returns the group that is added for one event.
fn group(event: &Event, command: &str) -> Value {
    let handlers = json!([{"type": "command", "command": command, "timeout": TIMEOUT}]);
    match event.matcher {
        Some(matcher) => json!({"matcher": matcher, "hooks": handlers}),
        None => json!({"hooks": handlers}),
    }
}

impl Event {
    /// Whether a group is for this event. Agents write "all" in three ways.
    fn is(&self, name: &str, matcher: Option<&str>) -> bool {
        let matcher = matcher.filter(|matcher| !matches!(*matcher, "" | "*"));
        self.name == name && self.matcher == matcher
    }
}

/// The whitespace of JSON.
const BLANKS: &[char] = &[' ', '\t', '\n', '\r'];

/// Settings, with the positions of everything that matters here.
struct Settings<'a> {
    text: &'a str,
    root: Container,
    hooks: Option<Hooks>,
}

/// The object `hooks`.
struct Hooks {
    /// Its index among the children of the root.
    at: usize,
    events: Container,
    /// One for each child of `events`.
    lists: Vec<List>,
}

/// The value below the name of an event.
struct List {
    name: String,
    /// `None` if it is not a list.
    groups: Option<Container>,
    /// The groups that hold hooks of ours.
    with_ours: Vec<Group>,
}

/// A group that holds hooks of ours.
struct Group {
    /// Its index in the list.
    at: usize,
    matcher: Option<String>,
    handlers: Container,
    ours: Vec<Ours>,
}

/// A hook of ours.
struct Ours {
    /// Its index in the group.
    at: usize,
    command: String,
    /// The position of the command line, with its quotes.
    span: Range<usize>,
}

impl<'a> Settings<'a> {
    fn read(text: &'a str) -> Result<Self, HookError> {
        // The scanner below can walk any text that this accepts without checking it again.
        serde_json::from_str::<IgnoredAny>(text).map_err(|error| not_json(text, &error))?;
        let start = skip_blanks(text.as_bytes(), 0);
        let shape = |at, what: &'static str, wanted| HookError::Shape {
            line: line_of(text, at),
            what: what.into(),
            wanted,
        };
        let value = start..skip_value(text.as_bytes(), start);
        let root = Container::object(text, &value)
            .ok_or_else(|| shape(start, "the top level", "an object"))?;
        root.once(text, "hooks")?;
        let hooks = match root.named("hooks") {
            None => None,
            Some(at) => {
                let value = &root.children[at].value;
                let events = Container::object(text, value)
                    .ok_or_else(|| shape(value.start, "`hooks`", "an object"))?;
                let lists = events.children.iter().map(|child| List::read(text, child));
                let lists = lists.collect();
                Some(Hooks { at, events, lists })
            }
        };
        Ok(Self { text, root, hooks })
    }

    /// Returns an error if `wanted` could not be added.
    fn check(&self, wanted: &[Event]) -> Result<(), HookError> {
        let Some(hooks) = &self.hooks else {
            return Ok(());
        };
        for event in wanted {
            hooks.events.once(self.text, event.name)?;
            let Some(at) = hooks.events.named(event.name) else {
                continue;
            };
            if hooks.lists[at].groups.is_none() {
                return Err(HookError::Shape {
                    line: line_of(self.text, hooks.events.children[at].value.start),
                    what: Cow::Owned(format!("`{}`", event.name)),
                    wanted: "a list",
                });
            }
        }
        Ok(())
    }

    /// Returns all our hooks, with the list and the group that hold them.
    fn ours(&self) -> impl Iterator<Item = (&List, &Group, &Ours)> {
        let lists = self.hooks.iter().flat_map(|hooks| &hooks.lists);
        lists.flat_map(|list| {
            let groups = list.with_ours.iter();
            groups.flat_map(move |group| group.ours.iter().map(move |ours| (list, group, ours)))
        })
    }

    /// Removes the hooks whose command lines begin at these positions, and what becomes empty.
    fn take_away(&self, gone: &HashSet<usize>, edits: &mut Vec<Edit>) {
        let Some(hooks) = &self.hooks else {
            return;
        };
        let mut gone_lists = vec![false; hooks.lists.len()];
        for (list, gone_list) in hooks.lists.iter().zip(&mut gone_lists) {
            let Some(groups) = &list.groups else {
                continue;
            };
            let mut gone_groups = vec![false; groups.children.len()];
            for group in &list.with_ours {
                let mut gone_handlers = vec![false; group.handlers.children.len()];
                for ours in &group.ours {
                    gone_handlers[ours.at] = gone.contains(&ours.span.start);
                }
                if gone_handlers.iter().all(|gone| *gone) {
                    gone_groups[group.at] = true;
                } else {
                    group.handlers.cut(&gone_handlers, edits);
                }
            }
            *gone_list = groups.empty_or_cut(self.text, &gone_groups, edits);
        }
        if hooks.events.empty_or_cut(self.text, &gone_lists, edits) {
            let mut gone = vec![false; self.root.children.len()];
            gone[hooks.at] = true;
            if gone.len() > 1 {
                self.root.cut(&gone, edits);
            } else {
                // The file itself stays, as it was when it was empty.
                let start = self.root.inner.start + self.root.lead(self.text).kept;
                edits.push((start..self.root.inner.end, String::new()));
            }
        }
    }

    /// Adds a group for each of the events.
    fn add(&self, missing: &[(&Event, Value)], edits: &mut Vec<Edit>) {
        let layout = Layout::of(self.text, &self.root);
        let mut new_lists: Vec<(&str, Vec<&Value>)> = Vec::new();
        for (event, group) in missing {
            match new_lists.iter_mut().find(|(name, _)| *name == event.name) {
                Some((_, groups)) => groups.push(group),
                None => new_lists.push((event.name, vec![group])),
            }
        }
        let Some(hooks) = &self.hooks else {
            let lists = new_lists.iter();
            let hooks: serde_json::Map<_, _> = lists
                .map(|(name, groups)| ((*name).to_owned(), json!(groups)))
                .collect();
            if !hooks.is_empty() {
                let place = layout.place(self.text, &self.root, Some(""), "");
                edits.push(place.edit(&[place.member("hooks", &hooks.into())]));
            }
            return;
        };
        new_lists.retain(|(name, groups)| {
            let Some(at) = hooks.events.named(name) else {
                return true;
            };
            if let Some(list) = &hooks.lists[at].groups {
                let line = hooks.events.line(self.text, at);
                let place = layout.place(self.text, list, line, MARK);
                let groups: Vec<String> = groups.iter().map(|group| place.render(group)).collect();
                edits.push(place.edit(&groups));
            }
            false
        });
        if !new_lists.is_empty() {
            let line = self.root.line(self.text, hooks.at);
            let place = layout.place(self.text, &hooks.events, line, MARK);
            let lists = new_lists.iter();
            let members: Vec<String> = lists
                .map(|(name, groups)| place.member(name, &json!(groups)))
                .collect();
            edits.push(place.edit(&members));
        }
    }
}

impl List {
    fn read(text: &str, child: &Child) -> Self {
        let groups = Container::list(text, &child.value);
        let children = groups.iter().flat_map(|groups| &groups.children);
        let with_ours = children
            .enumerate()
            .filter_map(|(at, child)| Group::read(text, at, &child.value))
            .collect();
        Self {
            name: child.name.clone().unwrap_or_default(),
            groups,
            with_ours,
        }
    }
}

impl Group {
    /// Returns `None` if it holds no hook of ours.
    fn read(text: &str, at: usize, value: &Range<usize>) -> Option<Self> {
        let group = Container::object(text, value)?;
        let handlers = Container::list(text, &group.children[group.named("hooks")?].value)?;
        let ours: Vec<Ours> = (handlers.children.iter().enumerate())
            .filter_map(|(at, child)| {
                let handler = Container::object(text, &child.value)?;
                let span = handler.children[handler.named("command")?].value.clone();
                let command = string(text, &span)?.into_owned();
                is_ours(&command).then_some(Ours { at, command, span })
            })
            .collect();
        if ours.is_empty() {
            return None;
        }
        let matcher = group.named("matcher");
        let matcher = matcher.and_then(|at| string(text, &group.children[at].value));
        Some(Self {
            at,
            matcher: matcher.map(Cow::into_owned),
            handlers,
            ours,
        })
    }
}

/// A list or an object and its contents.
struct Container {
    /// What is between its brackets.
    inner: Range<usize>,
    children: Vec<Child>,
}

/// An entry of a list, or a member of an object.
struct Child {
    /// Where it begins: at its name, if it has one.
    start: usize,
    name: Option<String>,
    value: Range<usize>,
}

/// What comes before the first child of a container that is to be emptied.
struct Lead {
    /// The number of its bytes that were there before.
    kept: usize,
    /// Whether it looks like what [`Place::edit`] writes.
    is_ours: bool,
}

/// The first byte that is put into an object or a list that was empty.
const MARK: &str = " ";

impl Container {
    fn object(text: &str, value: &Range<usize>) -> Option<Self> {
        Self::read(text, value, b'{')
    }

    fn list(text: &str, value: &Range<usize>) -> Option<Self> {
        Self::read(text, value, b'[')
    }

    /// Reads one level of a text that is known to be JSON.
    fn read(text: &str, value: &Range<usize>, bracket: u8) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.get(value.start) != Some(&bracket) {
            return None;
        }
        let inner = value.start + 1..value.end.saturating_sub(1);
        let mut children = Vec::new();
        let mut at = skip_blanks(bytes, inner.start);
        while at < inner.end {
            let start = at;
            let name = if bracket == b'{' {
                let end = skip_value(bytes, at);
                // After the colon.
                at = skip_blanks(bytes, skip_blanks(bytes, end) + 1);
                string(text, &(start..end)).map(Cow::into_owned)
            } else {
                None
            };
            let value = at..skip_value(bytes, at);
            // After the comma, or at the closing bracket.
            at = skip_blanks(bytes, value.end);
            if bytes.get(at) == Some(&b',') {
                at = skip_blanks(bytes, at + 1);
            }
            children.push(Child { start, name, value });
        }
        Some(Self { inner, children })
    }

    /// Returns the last member with that name, which is the one that counts.
    fn named(&self, name: &str) -> Option<usize> {
        let mut children = self.children.iter();
        children.rposition(|child| child.name.as_deref() == Some(name))
    }

    /// Returns an error if a name occurs twice.
    fn once(&self, text: &str, name: &'static str) -> Result<(), HookError> {
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
    fn line<'a>(&self, text: &'a str, at: usize) -> Option<&'a str> {
        let (_, indent) = self.blanks_before(text, at).rsplit_once('\n')?;
        Some(indent)
    }

    /// Cuts out some of the children, each with one comma. At least one has to stay.
    fn cut(&self, gone: &[bool], edits: &mut Vec<Edit>) {
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
    fn empty_or_cut(&self, text: &str, gone: &[bool], edits: &mut Vec<Edit>) -> bool {
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

    fn lead(&self, text: &str) -> Lead {
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
struct Layout {
    line_end: &'static str,
    /// The indentation of each level.
    unit: String,
}

/// Where something is added.
struct Place<'a> {
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
    fn of(text: &str, root: &Container) -> Self {
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
    fn place(
        &self,
        text: &str,
        container: &Container,
        line: Option<&str>,
        mark: &str,
    ) -> Place<'_> {
        let line_end = self.line_end;
        if let Some(last) = container.children.last() {
            let index = container.children.len() - 1;
            let indent = container.line(text, index).map(short);
            let blanks = match indent {
                Some(indent) => format!("{line_end}{indent}"),
                None => short(container.blanks_before(text, index)).to_owned(),
            };
            return Place {
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
            return Place {
                layout: self,
                at: container.inner.end,
                before: mark.to_owned(),
                between: ",".to_owned(),
                after: String::new(),
                indent: None,
            };
        };
        let unit = &self.unit;
        Place {
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

impl Place<'_> {
    fn edit(&self, items: &[String]) -> Edit {
        let items = items.join(&self.between);
        let text = format!("{}{items}{}", self.before, self.after);
        (self.at..self.at, text)
    }

    fn member(&self, name: &str, value: &Value) -> String {
        let colon = if self.indent.is_some() { ": " } else { ":" };
        format!("{}{colon}{}", Value::from(name), self.render(value))
    }

    fn render(&self, value: &Value) -> String {
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
type Edit = (Range<usize>, String);

/// Applies edits whose pieces do not overlap.
fn apply(text: &str, mut edits: Vec<Edit>) -> String {
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
fn string<'a>(text: &'a str, span: &Range<usize>) -> Option<Cow<'a, str>> {
    let raw = text.get(span.clone())?;
    let plain = raw
        .strip_prefix('"')
        .and_then(|raw| raw.strip_suffix('"'))?;
    if plain.contains('\\') {
        serde_json::from_str(raw).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(plain))
    }
}

fn skip_blanks(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(at) {
        at += 1;
    }
    at
}

/// Returns the end of the value that begins at `at`.
fn skip_value(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while let Some(byte) = bytes.get(at) {
        at = match byte {
            b'"' => skip_string(bytes, at),
            _ => at + 1,
        };
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        let ends = match bytes.get(at) {
            Some(b',' | b':' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r') | None => true,
            Some(_) => matches!(byte, b'"' | b'}' | b']'),
        };
        if depth == 0 && ends {
            break;
        }
    }
    at
}

fn skip_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn line_of(text: &str, at: usize) -> usize {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn command(state: State) -> String {
        format!(
            "'/opt/an \"agent'\\''s\"/assigner' report --state {} --hook || true",
            state.name()
        )
    }

    fn add(text: &str, agent: Agent) -> String {
        install(text, agent, &command).expect("settings")
    }

    fn value(text: &str) -> Value {
        serde_json::from_str(text).expect("JSON")
    }

    /// What an agent sees in a text once our hooks and what they leave empty are removed.
    fn without_ours(text: &str) -> Value {
        let mut all = value(text);
        let Some(Value::Object(events)) = all.get_mut("hooks") else {
            return all;
        };
        for groups in events.values_mut() {
            let Value::Array(groups) = groups else {
                continue;
            };
            groups.retain(|group| {
                group["hooks"].as_array().is_none_or(|handlers| {
                    !handlers
                        .iter()
                        .all(|handler| handler["command"].as_str().is_some_and(is_ours))
                        || handlers.is_empty()
                })
            });
        }
        all
    }

    #[test]
    fn a_new_file_holds_each_event_once() {
        for agent in [Agent::Claude, Agent::Codex] {
            let text = add("", agent);
            assert!(text.ends_with("}\n"));
            let hooks = installed(&text).expect("settings");
            assert_eq!(hooks.len(), agent.events().len());
            for (hook, event) in hooks.iter().zip(agent.events()) {
                assert_eq!(hook.event, event.name);
                assert_eq!(hook.command, command(event.state));
            }
            assert_eq!(remove(&text).expect("settings"), "{}\n");
        }
        assert_eq!(
            add("", Agent::Codex)
                .lines()
                .take(12)
                .collect::<Vec<_>>()
                .join("\n"),
            r#"{
  "hooks": {
    "UserPromptSubmit": [
      {
        "hooks": [
          {
            "type": "command",
            "command": "'/opt/an \"agent'\\''s\"/assigner' report --state busy --hook || true",
            "timeout": 10
          }
        ]
      }"#
        );
    }

    #[test]
    fn what_is_there_keeps_its_place_and_its_layout() {
        let head =
            "{\n\t\"model\" : \"x\",\n\n\t\"hooks\": {\n\t\t\"Stop\": [\n\t\t\t{ \"hooks\": [] }";
        let tail = "\n\t\t]\n\t},\n\t\"n\": 1.50e+2\n}";
        let before = format!("{head}{tail}");
        let after = add(&before, Agent::Codex);
        let added = ",\n\t\t\t{\n\t\t\t\t\"hooks\": [\n\t\t\t\t\t{";
        assert!(after.starts_with(&format!("{head}{added}")), "{after}");
        let other = ",\n\t\t\"UserPromptSubmit\": [\n\t\t\t{";
        assert!(after.contains(&format!("\n\t\t]{other}")), "{after}");
        assert!(after.ends_with(tail), "{after}");
        assert_eq!(remove(&after).expect("settings"), before);
    }

    #[test]
    fn one_line_stays_one_line() {
        let before = r#"{"a":1,"hooks":{"Stop":[]}}"#;
        let after = add(before, Agent::Codex);
        assert!(!after.contains('\n'), "{after}");
        assert_eq!(remove(&after).expect("settings"), before);
    }

    #[test]
    fn empty_ones_come_back_empty() {
        for before in [
            "{}",
            "{ }",
            "{\n}",
            "{\r\n}\r\n",
            "{\r}",
            "{ \n \n}",
            "{}\n\n",
            r#"{"hooks":{}}"#,
            "{\"hooks\": { }}",
            "{\"hooks\":\n{\n}}",
            "{\n  \"hooks\": {}\n}",
            "{\n  \"hooks\": {\n  }\n}",
            "{\n  \"hooks\": { \n  }\n}",
            "{\n  \"hooks\": {\n    \"Stop\": []\n  }\n}",
            "{\"hooks\":{\"Stop\":[ \n]}}",
            "{\n\"hooks\": {\"Stop\": [\r\n]},\n\"x\": {}}",
        ] {
            for agent in [Agent::Claude, Agent::Codex] {
                let after = add(before, agent);
                assert_eq!(remove(&after).expect("settings"), before, "{after:?}");
            }
        }
    }

    #[test]
    fn an_older_one_is_replaced_where_it_stands() {
        let old = |state: State| format!("assigner report --state {} --hook", state.name());
        let first = install("{\"x\": 1}", Agent::Claude, &old).expect("settings");
        let second = add(&first, Agent::Claude);
        assert_eq!(second, add("{\"x\": 1}", Agent::Claude));
        assert_eq!(add(&second, Agent::Claude), second);
        assert_eq!(installed(&second).expect("settings").len(), CLAUDE.len());
    }

    #[test]
    fn events_of_an_older_version_and_doubles_go() {
        let ours = r#"{"type": "command", "command": "assigner report --state idle --hook"}"#;
        let text = format!(
            r#"{{"hooks": {{"SubagentStop": [{{"hooks": [{ours}]}}],
                "Stop": [{{"hooks": [{ours}, {{"type": "command", "command": "mine"}}, {ours}]}},
                         {{"matcher": "*", "hooks": [{ours}]}}]}}}}"#
        );
        let after = add(&text, Agent::Codex);
        assert_eq!(installed(&after).expect("settings").len(), CODEX.len());
        assert!(!after.contains("SubagentStop"), "{after}");
        let left = value(&remove(&after).expect("settings"));
        let mine = json!({"Stop": [{"hooks": [{"type": "command", "command": "mine"}]}]});
        assert_eq!(left, json!({"hooks": mine}));
    }

    #[test]
    fn a_stranger_s_layout_leaves_nothing_empty() {
        let compact = value(&add("{}", Agent::Claude)).to_string();
        assert_eq!(remove(&compact).expect("settings"), "{}");
        let ours = r#"{ "command": "a report --state idle --hook" }"#;
        let padded = format!(r#"{{ "hooks": {{ "Stop": [ {{ "hooks": [ {ours} ] }} ] }} }}"#);
        assert_eq!(value(&remove(&padded).expect("settings")), json!({}));
        let other = format!("{{\"a\": [], \"hooks\": {}}}", value(&compact)["hooks"]);
        assert_eq!(remove(&other).expect("settings"), "{\"a\": []}");
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_line() {
        let comment = "has a comment, which JSON does not allow: remove it first";
        for (text, line, said) in [
            ("{\n  // mine\n}", 2, comment),
            ("{} /* mine */", 1, comment),
            (
                "{\n\"a\": 1,\n}",
                3,
                "is not valid JSON (key must be a string): fix it first",
            ),
            (
                "{\"a\": 1",
                1,
                "is not valid JSON (EOF while parsing an object): fix it first",
            ),
            (
                "hooks = 1",
                1,
                "is not valid JSON (expected value): fix it first",
            ),
        ] {
            let error = install(text, Agent::Claude, &command).expect_err("refused");
            assert_eq!(error.to_string(), format!("line {line} {said}"));
            assert_eq!(remove(text), Err(error));
        }
        for (text, line, said) in [
            ("\n[]", 2, "the top level is not an object: fix it first"),
            (
                "{\n\"hooks\": []}",
                2,
                "`hooks` is not an object: fix it first",
            ),
            (
                "{\"hooks\": {\n\"Stop\": {}}}",
                2,
                "`Stop` is not a list: fix it first",
            ),
            (
                "{\"hooks\": {},\n\"hooks\": {}}",
                2,
                "`hooks` occurs a second time: merge the two",
            ),
            (
                "{\"hooks\": {\"Stop\": [], \"St\\u006fp\": []}}",
                1,
                "`Stop` occurs a second time: merge the two",
            ),
        ] {
            let error = install(text, Agent::Claude, &command).expect_err("refused");
            assert_eq!(error.to_string(), format!("line {line}: {said}"));
        }
    }

    #[test]
    fn deep_and_wide_ones_take_no_time() {
        let depth = 1_000_000;
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(remove(&add(&deep, Agent::Claude)).expect("settings"), deep);
        let blanks = " ".repeat(1_000_000);
        let wide = format!("{{\n{blanks}\"a\": 1,\n{blanks}\"hooks\": {{\n{blanks}}}}}");
        let after = add(&wide, Agent::Claude);
        assert!(after.len() < wide.len() + 10_000);
        assert_eq!(remove(&after).expect("settings"), wide);
        let ours = r#"{"command":"x report --state idle --hook"}"#;
        let group = format!("{{\"hooks\":[{ours}]}}");
        let groups = vec![group; 20_000].join(",");
        let many = format!("{{\"hooks\":{{\"Stop\":[{groups}]}}}}");
        assert_eq!(remove(&many).expect("settings"), "{}");
        assert_eq!(
            installed(&add(&many, Agent::Codex))
                .expect("settings")
                .len(),
            CODEX.len()
        );
    }

    fn blanks() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => Just(String::new()),
            2 => Just(" ".to_owned()),
            2 => "\n {0,4}",
            1 => "\r\n\t{0,2}",
            1 => "[ \t\r\n]{0,4}",
        ]
    }

    /// A list or an object around its entries, with blanks everywhere.
    fn around(
        brackets: (char, char),
        entries: impl Strategy<Value = Vec<String>>,
    ) -> impl Strategy<Value = String> {
        let blanks = proptest::collection::vec(blanks(), 20);
        (entries, blanks).prop_map(move |(entries, blanks)| {
            let mut text = String::from(brackets.0);
            let mut blanks = blanks.iter().cycle();
            let mut blank = || blanks.next().cloned().unwrap_or_default();
            text += &blank();
            for (number, entry) in entries.iter().enumerate() {
                if number > 0 {
                    text += ",";
                    text += &blank();
                }
                text += entry;
                text += &blank();
            }
            text.push(brackets.1);
            text
        })
    }

    fn members(
        names: &'static [&'static str],
        values: impl Strategy<Value = String> + Clone,
    ) -> impl Strategy<Value = String> {
        let chosen = proptest::sample::subsequence(names, 0..=names.len());
        let members = chosen.prop_flat_map(move |names| {
            let members: Vec<_> = names
                .into_iter()
                .map(|name| {
                    (blanks(), values.clone())
                        .prop_map(move |(blank, value)| format!("\"{name}\"{blank}:{blank}{value}"))
                })
                .collect();
            members
        });
        around(('{', '}'), members)
    }

    fn list(values: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
        around(('[', ']'), proptest::collection::vec(values, 0..4))
    }

    /// Any value, including text that looks like brackets and commas.
    fn anything() -> impl Strategy<Value = String> + Clone {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("-1.50E+3".to_owned()),
            any::<String>().prop_map(|text| Value::from(text).to_string()),
            Just(r#""}],\"{\\""#.to_owned()),
            Just(r#""\u0022\ud83d\ude00""#.to_owned()),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![list(inner.clone()), members(&["a", "hooks", "}"], inner),]
        })
        .boxed()
    }

    fn settings() -> impl Strategy<Value = String> {
        let handler = prop_oneof![
            anything(),
            Just(r#"{"type": "command", "command": "mine"}"#.to_owned()),
        ];
        let group = prop_oneof![
            anything(),
            list(handler).prop_map(|list| format!(r#"{{"matcher": "x", "hooks": {list}}}"#)),
        ];
        let hooks = members(
            &[
                "Stop",
                "Own",
                "Notification",
                "UserPromptSubmit",
                "SubagentStop",
            ],
            list(group.boxed()).boxed(),
        );
        let root = prop_oneof![
            members(&["a", "b"], anything()),
            (members(&["a"], anything()), hooks.boxed()).prop_map(|(other, hooks)| {
                let inner = &other[1..other.len() - 1];
                let comma = if value(&other)
                    .as_object()
                    .is_some_and(serde_json::Map::is_empty)
                {
                    ""
                } else {
                    ","
                };
                format!("{{\"hooks\":{hooks}{comma}{inner}}}")
            }),
            (members(&["a", "z"], anything()), anything()).prop_map(|(hooks, other)| {
                // `hooks` without an event of the agents.
                let hooks = hooks.replace("\"Stop\"", "\"Other\"");
                format!("{{\n    \"b\": {other},\n    \"hooks\": {hooks}\n}}")
            }),
        ];
        (blanks(), root, blanks()).prop_map(|(before, root, after)| before + &root + &after)
    }

    proptest! {
        #[test]
        fn removing_gives_back_every_byte(before in settings(), claude: bool) {
            let agent = if claude { Agent::Claude } else { Agent::Codex };
            let after = add(&before, agent);
            prop_assert_eq!(installed(&after).expect("settings").len(), agent.events().len());
            // A second installation changes nothing.
            prop_assert_eq!(&add(&after, agent), &after);
            // The other agent's events are removed, and nothing else.
            prop_assert_eq!(remove(&add(&after, Agent::Codex)).expect("settings"), &before[..]);
            prop_assert_eq!(remove(&after).expect("settings"), &before[..]);
            // Whatever belongs to the person is still there, neither more nor less often.
            let mut left = without_ours(&after);
            let was = value(&before);
            if let Some(Value::Object(events)) = left.get_mut("hooks") {
                let old = was.get("hooks").cloned().unwrap_or_default();
                events.retain(|name, groups| {
                    old.get(name).is_some() || groups.as_array().is_none_or(|list| !list.is_empty())
                });
                if events.is_empty() && was.get("hooks").is_none() {
                    left.as_object_mut().expect("an object").remove("hooks");
                }
            }
            prop_assert_eq!(left, was);
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = install(&text, Agent::Claude, &command);
            let _ = remove(&text);
        }

        #[test]
        fn no_broken_settings_make_it_panic(text in settings(), at: proptest::sample::Index) {
            let cut = at.index(text.len() + 1);
            if let Some(text) = text.get(..cut) {
                let _ = install(text, Agent::Claude, &command);
                let _ = remove(text);
            }
        }

        #[test]
        fn every_layout_can_be_taken_out_of(before in settings()) {
            let after = add(&before, Agent::Claude);
            let written = serde_json::to_string_pretty(&value(&after)).expect("JSON");
            for text in [written, value(&after).to_string()] {
                let left = remove(&text).expect("settings");
                prop_assert!(installed(&left).expect("settings").is_empty());
                serde_json::from_str::<Value>(&left).expect("JSON");
            }
        }
    }
}
