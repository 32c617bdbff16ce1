//! A profile: what has to be known about an agent to recognise it, to see its state and to give it
//! work.
//!
//! Profiles are data, read from TOML: the built-in ones and a person's own have the same form.

use std::sync::OnceLock;
use std::time::Duration;

use globset::{Glob, GlobSet, GlobSetBuilder};
use regex::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use serde::{Deserialize, Deserializer};
use thiserror::Error;

use super::transcript;
use crate::model::{duration, headless, version};

/// The size limit of one compiled regex: a person's file must not exhaust the memory.
const REGEX_SIZE: usize = 1 << 20;

/// What is wrong with a profile: one line, with the place if it is known.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{place}{message}")]
pub struct ProfileError {
    /// `line 3, column 5: `, or nothing.
    pub place: String,
    /// What is wrong.
    pub message: String,
}

/// How to recognise an agent, how to tell its state, and how to give it a prompt.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Profile {
    /// The provider of its sessions: letters, digits, `-` and `_`.
    pub name: String,
    /// One line for people.
    #[serde(default)]
    pub summary: String,
    /// The versions that this was tried with, the oldest first. A later one is judged more strictly.
    #[serde(default)]
    pub tested: Vec<String>,
    /// How to recognise the program.
    pub recognise: Recognise,
    /// What its title and screen say about its state.
    #[serde(default)]
    pub state: States,
    /// Where a prompt is typed. `None` if the program has no input line of its own.
    #[serde(default)]
    pub composer: Option<Composer>,
    /// How a prompt is given.
    #[serde(default)]
    pub paste: PasteRules,
    /// How to recognise the end of a turn.
    #[serde(default)]
    pub turn: TurnEnd,
    /// What the agent is told about a task's surroundings.
    #[serde(default)]
    pub context: ContextNote,
    /// Where the agent keeps its own record.
    #[serde(default)]
    pub transcript: Option<transcript::TranscriptSpec>,
    /// How it is asked without a terminal. `None` if it cannot be.
    #[serde(default)]
    pub headless: Option<headless::HeadlessSpec>,
}

/// How to recognise the program, best evidence first.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recognise {
    /// File names of a process of the pane, or of the script that an interpreter runs.
    pub programs: Vec<String>,
    /// Matched against a process's command line, its words joined by spaces.
    pub arguments: Patterns,
    /// Matched against the pane's title.
    pub title: Patterns,
    /// Matched against the lines of the screen.
    pub screen: Patterns,
    /// Matched against the name of the tmux session: tried last, and only if a program other than a
    /// shell runs.
    pub session: Globs,
}

/// What the title and the screen say.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct States {
    /// Titles while it works.
    pub busy_title: Patterns,
    /// Lines while it works.
    pub busy_screen: Patterns,
    /// Titles while it waits for a person.
    pub waiting_title: Patterns,
    /// Lines of a dialog.
    pub waiting_screen: Patterns,
    /// Lines that are shown while it is idle, for a program without a composer.
    pub idle_screen: Patterns,
    /// The patterns are tried on this many of the last lines that are not blank.
    pub tail: usize,
}

impl Default for States {
    fn default() -> Self {
        Self {
            busy_title: Patterns::default(),
            busy_screen: Patterns::default(),
            waiting_title: Patterns::default(),
            waiting_screen: Patterns::default(),
            idle_screen: Patterns::default(),
            tail: 14,
        }
    }
}

/// Where a prompt is typed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Composer {
    /// The line in which it begins. The group `draft` is its content. The last such line counts.
    pub line: Pattern,
    /// What each further line of a draft begins with.
    #[serde(default)]
    pub continuation: Option<Pattern>,
    /// The first line below that is not part of it. In a block, the last of its lines that is not.
    #[serde(default)]
    pub end: Option<Pattern>,
    /// Whether it is a block: the last run of lines that match `line`, whatever they contain.
    #[serde(default)]
    pub block: bool,
    /// Drafts that count as empty. So does dim text.
    #[serde(default)]
    pub empty: Patterns,
    /// What is shown in place of a long paste.
    #[serde(default)]
    pub pasted: Patterns,
    /// Whether the terminal's cursor is in it while it takes input.
    #[serde(default = "yes")]
    pub cursor: bool,
}

/// How a prompt is given.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PasteRules {
    /// What the program can read.
    pub mode: PasteMode,
    /// The minimum time between the paste and the key. The key also waits until the text is seen.
    #[serde(deserialize_with = "pause")]
    pub pause: Duration,
    /// The key that submits, by its tmux name.
    pub submit: String,
    /// The keys that delete a line of the composer, last line first, by their tmux names with blanks
    /// between: Ctrl-U in programs that edit as shells do. `None`: what was pasted is left in the
    /// composer.
    pub clear: Option<String>,
    /// The longest text, in bytes.
    pub longest: usize,
    /// What is added to a text that the agent would take for one of its own commands.
    pub guard: Vec<GuardRules>,
    /// Whether each prompt gets a sign as its last line, by which its turn is known although the agent
    /// rewrites everything else.
    pub nonce: bool,
}

impl Default for PasteRules {
    fn default() -> Self {
        Self {
            mode: PasteMode::default(),
            pause: Duration::from_millis(200),
            submit: "Enter".to_owned(),
            clear: None,
            longest: crate::model::task::MAX_CONTENT,
            guard: Vec::new(),
            nonce: false,
        }
    }
}

/// What a program reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PasteMode {
    /// A bracketed paste, newlines included.
    #[default]
    Bracketed,
    /// A single line, as the terminal passes it on.
    Line,
}

/// What keeps a text from being taken for one of the agent's own commands.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GuardRules {
    /// What would be a command. Every match in a text counts. If the pattern has groups, the first
    /// group is what the prefix and the suffix surround.
    pub pattern: Pattern,
    /// What is put before it.
    #[serde(default)]
    pub prefix: String,
    /// What is put after it.
    #[serde(default)]
    pub suffix: String,
}

/// How to recognise the end of a turn.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TurnEnd {
    /// Without a transcript, a turn has ended once the agent has been idle for this long.
    #[serde(deserialize_with = "settle")]
    pub settle: Duration,
    /// How long an agent gets no further prompt after a turn: it may show and record the end of one
    /// before it takes another.
    #[serde(deserialize_with = "rest")]
    pub rest: Duration,
    /// The line of the screen in which an answer begins.
    pub answer: Option<Pattern>,
    /// Lines after an answer that are not part of it.
    pub trailer: Patterns,
    /// Lines of a turn that ended in an error.
    pub errors: Patterns,
    /// Lines of a turn that reached a rate limit.
    pub limits: Patterns,
    /// How long the provider is paused if a limit does not say when it ends.
    #[serde(deserialize_with = "limit_pause")]
    pub limit_pause: Duration,
    /// Whether a response that ends in a question waits for an answer.
    pub questions: bool,
}

impl Default for TurnEnd {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(1),
            rest: Duration::ZERO,
            answer: None,
            trailer: Patterns::default(),
            errors: Patterns::default(),
            limits: Patterns::default(),
            limit_pause: Duration::from_secs(900),
            questions: true,
        }
    }
}

/// What the agent is told about a task's surroundings if its own are different.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ContextNote {
    /// Put before the prompt, with `{directory}`, `{branch}` and `{variables}` replaced by what the
    /// task asks for. Empty: nothing is told, and the agent gets no task that asks for another
    /// directory.
    pub template: String,
}

impl Default for ContextNote {
    fn default() -> Self {
        Self {
            template: "Work in the directory {directory}.".to_owned(),
        }
    }
}

/// One regular expression.
#[derive(Debug, Clone)]
pub struct Pattern(pub Regex);

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        compile(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// Several patterns, one of which has to match.
#[derive(Debug, Clone, Default)]
pub struct Patterns {
    each: Vec<Regex>,
    /// All of them as one, made when it is first needed: most profiles are of agents that do not run.
    /// `None`: it would be too large.
    set: OnceLock<Option<RegexSet>>,
}

impl Patterns {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    /// Whether one of them matches.
    pub fn is_match(&self, text: &str) -> bool {
        if self.each.is_empty() {
            return false;
        }
        let set = self.set.get_or_init(|| {
            let texts = self.each.iter().map(Regex::as_str);
            RegexSetBuilder::new(texts)
                .size_limit(REGEX_SIZE * 4)
                .build()
                .ok()
        });
        match set {
            Some(set) => set.is_match(text),
            None => self.each.iter().any(|regex| regex.is_match(text)),
        }
    }

    /// Returns the first match, with its groups.
    pub fn captures<'t>(&self, text: &'t str) -> Option<regex::Captures<'t>> {
        if !self.is_match(text) {
            return None;
        }
        self.each.iter().find_map(|regex| regex.captures(text))
    }
}

impl<'de> Deserialize<'de> for Patterns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = Vec::<Pattern>::deserialize(deserializer)?;
        Ok(Self {
            each: texts.into_iter().map(|pattern| pattern.0).collect(),
            set: OnceLock::new(),
        })
    }
}

/// Glob patterns for names.
#[derive(Debug, Clone, Default)]
pub struct Globs(pub GlobSet);

impl<'de> Deserialize<'de> for Globs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let mut set = GlobSetBuilder::new();
        for text in texts {
            set.add(Glob::new(&text).map_err(serde::de::Error::custom)?);
        }
        set.build().map(Self).map_err(serde::de::Error::custom)
    }
}

pub(super) fn compile(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text)
        .size_limit(REGEX_SIZE)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => format!("the pattern {text:?} is too large"),
            // The message shows the pattern over several lines; the last one says what is wrong.
            error => {
                let message = error.to_string();
                let last = message.lines().last().unwrap_or_default();
                let what = last.trim().trim_start_matches("error: ");
                format!("the pattern {text:?} is invalid: {what}")
            }
        })
}

fn pause<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    duration::deserialize(deserializer, "pause", duration::PASTE_PAUSE)
}

fn settle<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    duration::deserialize(deserializer, "settle", duration::SETTLE)
}

fn rest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    duration::deserialize(deserializer, "rest", duration::SETTLE)
}

fn limit_pause<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    duration::deserialize(deserializer, "limit-pause", duration::LIMIT_PAUSE)
}

fn yes() -> bool {
    true
}

impl Profile {
    /// Reads a profile.
    ///
    /// # Errors
    /// It is not TOML, or has an unknown key or an invalid value: one line, with its place.
    pub fn read(text: &str) -> Result<Self, ProfileError> {
        let profile: Self = toml::from_str(text).map_err(|error| ProfileError {
            place: place(text, error.span()),
            message: error.message().replace('\n', " "),
        })?;
        profile.check().map_err(|(key, message)| ProfileError {
            place: place_of_key(text, key),
            message,
        })?;
        Ok(profile)
    }

    /// Whether it says how to know the program and nothing about its state, which then stays unknown.
    pub fn only_recognises(&self) -> bool {
        let state = &self.state;
        let patterns = [
            &state.busy_title,
            &state.busy_screen,
            &state.waiting_title,
            &state.waiting_screen,
            &state.idle_screen,
        ];
        self.composer.is_none() && patterns.iter().all(|patterns| patterns.is_empty())
    }

    /// Whether a version is later than every one that this was tried with.
    pub fn is_untested(&self, version: &str) -> bool {
        let mut tested = self.tested.iter().peekable();
        tested.peek().is_some() && tested.all(|known| version::is_later(version, known))
    }

    /// Returns the profile for a version that it was not tried with: where only the screen tells that a
    /// turn has ended, the agent has to be idle for twice as long.
    #[must_use]
    pub fn strict(&self) -> Self {
        Self {
            turn: TurnEnd {
                settle: self.turn.settle * 2,
                ..self.turn.clone()
            },
            ..self.clone()
        }
    }

    /// Whether this is the profile of plain shells, which are handled in a way of their own.
    pub fn is_shell(&self) -> bool {
        self.name == crate::model::eligibility::SHELL
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        let plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(plain) {
            let message = format!(
                "the name {:?} is not 1 to 64 letters, digits, `-` and `_`",
                self.name
            );
            return Err(("name", message));
        }
        let ways = &self.recognise;
        if ways.programs.is_empty()
            && ways.arguments.is_empty()
            && ways.title.is_empty()
            && ways.screen.is_empty()
            && ways.session.0.is_empty()
        {
            let message = "no way to recognise the program: list it in `programs`".to_owned();
            return Err(("[recognise]", message));
        }
        if let Some(composer) = &self.composer {
            let named = |name: Option<&str>| name == Some("draft");
            if !composer.line.0.capture_names().any(named) {
                let message = "the pattern needs a group `(?P<draft>...)` for the draft".to_owned();
                return Err(("line", message));
            }
        } else if self.state.idle_screen.is_empty() && !self.is_shell() && !self.only_recognises() {
            let message = "neither a [composer] nor `idle-screen`: the program would never be idle"
                .to_owned();
            return Err(("[state]", message));
        }
        let key = |char: char| char.is_ascii_alphanumeric() || char == '-';
        let submit = std::iter::once(self.paste.submit.as_str());
        let clear = self.paste.clear.iter().flat_map(|keys| keys.split(' '));
        let keys = submit
            .map(|name| ("submit", name))
            .chain(clear.map(|name| ("clear", name)));
        for (place, name) in keys {
            if name.is_empty() || !name.chars().all(key) {
                return Err((place, format!("{name:?} is not a tmux key name")));
            }
        }
        if self.state.tail == 0 || self.state.tail > 500 {
            return Err((
                "tail",
                "the number of lines must be from 1 to 500".to_owned(),
            ));
        }
        let guards = self.headless.iter().flat_map(|spec| &spec.guard);
        for guard in guards {
            if let Err(error) = compile(&guard.pattern) {
                return Err(("[headless]", error.replace('\n', " ")));
            }
        }
        if let Some(spec) = &self.transcript {
            let mut files = spec.files.clone();
            for place in ["{cwd}", "{slug}", "{root}"] {
                files = files.replace(place, "x");
            }
            if let Err(error) = Glob::new(&files) {
                return Err(("files", error.to_string()));
            }
        }
        Ok(())
    }
}

/// Returns the place at which a range of bytes begins.
fn place(text: &str, span: Option<std::ops::Range<usize>>) -> String {
    let Some(before) = span.and_then(|span| text.get(..span.start)) else {
        return String::new();
    };
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .map_or(0, |rest| rest.chars().count())
        + 1;
    format!("line {line}, column {column}: ")
}

/// Returns the place of a key or a table, for errors found only after the whole text was read.
fn place_of_key(text: &str, key: &str) -> String {
    let is_there = |line: &str| {
        let line = line.trim_start();
        line == key
            || line
                .strip_prefix(key)
                .is_some_and(|rest| rest.trim_start().starts_with('=') || rest.starts_with(']'))
    };
    let line = text.lines().position(|line| is_there(line.trim_end()));
    line.map_or_else(String::new, |line| format!("line {}: ", line + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "name = 'mine'\n[recognise]\nprograms = ['mine']\n\
        [composer]\nline = '^> (?P<draft>.*)$'\n";

    fn refused(text: &str) -> String {
        Profile::read(text).expect_err("a mistake").to_string()
    }

    #[test]
    fn the_least_that_a_profile_needs() {
        let profile = Profile::read(LEAST).expect("a profile");
        assert_eq!(profile.name, "mine");
        assert_eq!(profile.paste.pause, Duration::from_millis(200));
        assert!(profile.turn.questions);
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        let typo = LEAST.replace("programs", "program");
        assert!(refused(&typo).starts_with("line 3, column 1: unknown field `program`"));
        let regex = LEAST.replace("(?P<draft>.*)", "(?P<draft>.*");
        let message = refused(&regex);
        assert!(message.starts_with("line 5, column"), "{message}");
        assert!(message.contains("unclosed group"), "{message}");
        let unnamed = LEAST.replace("?P<draft>", "");
        assert!(refused(&unnamed).starts_with("line 5: the pattern needs a group"));
        let name = LEAST.replace("'mine'\n[", "'my own'\n[");
        assert!(refused(&name).starts_with("line 1: the name"));
        let blind = "name = 'x'\n[recognise]\n[composer]\nline = '(?P<draft>)'\n";
        assert!(refused(blind).starts_with("line 2: no way to recognise the program"));
        let key = format!("{LEAST}[paste]\nsubmit = 'C-c; kill-server'\n");
        assert!(refused(&key).starts_with("line 7: "));
        let keys = format!("{LEAST}[paste]\nclear = 'C-u  BSpace'\n");
        assert!(refused(&keys).starts_with("line 7: "));
        let nonce = format!("{LEAST}[paste]\nnonce = 'yes'\n");
        assert!(
            refused(&nonce).starts_with("line 7, "),
            "{}",
            refused(&nonce)
        );
        let huge = LEAST.replace("(?P<draft>.*)", "(?P<draft>(\\w{900}){900})");
        assert!(refused(&huge).contains("too large"), "{}", refused(&huge));
    }
}
