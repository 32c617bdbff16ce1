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
//!
//! `json` finds and places the pieces of a text, `settings` knows which of them are hooks.

mod json;
mod settings;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::{Value, json};

use self::json::{BLANKS, apply};
use self::settings::HookSettings;
use super::report::ReportedState;

/// An agent that runs hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum HookAgent {
    /// Claude Code.
    Claude,
    /// Codex CLI.
    Codex,
    /// Qwen Code.
    Qwen,
    /// Gemini CLI.
    Gemini,
}

/// An event of an agent that reveals its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HookEvent {
    /// The agent's name for it.
    pub name: &'static str,
    /// Which of these events, as a pattern of the agent. `None` means all.
    pub matcher: Option<&'static str>,
    /// The state that it reveals.
    pub state: ReportedState,
}

const fn event(
    name: &'static str,
    matcher: Option<&'static str>,
    state: ReportedState,
) -> HookEvent {
    HookEvent {
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
const CLAUDE: &[HookEvent] = &[
    event(
        "SessionStart",
        Some("startup|resume|clear"),
        ReportedState::Idle,
    ),
    event("UserPromptSubmit", None, ReportedState::Busy),
    event("PermissionRequest", None, ReportedState::Blocked),
    event(
        "Notification",
        Some("permission_prompt|elicitation_dialog"),
        ReportedState::Blocked,
    ),
    event("Notification", Some("idle_prompt"), ReportedState::Idle),
    event("Stop", None, ReportedState::Idle),
];

/// The events of Codex, which ignores those that it does not know. Its session starts only with the
/// first prompt: that event would report idle at the very moment at which a turn begins.
const CODEX: &[HookEvent] = &[
    event("UserPromptSubmit", None, ReportedState::Busy),
    event("PermissionRequest", None, ReportedState::Blocked),
    event("Stop", None, ReportedState::Idle),
    event("Interrupt", None, ReportedState::Idle),
];

/// The events of Qwen Code: those of Claude Code, under the same names. It says that it is idle after an
/// error and after Esc as well.
const QWEN: &[HookEvent] = CLAUDE;

/// The events of Gemini CLI, which reports nothing after Esc.
const GEMINI: &[HookEvent] = &[
    event("SessionStart", None, ReportedState::Idle),
    event("BeforeAgent", None, ReportedState::Busy),
    event("Notification", None, ReportedState::Blocked),
    event("AfterAgent", None, ReportedState::Idle),
];

/// The number of seconds after which an agent gives up on a hook. A report takes some milliseconds.
const TIMEOUT: u64 = 10;

impl HookAgent {
    /// Returns its name, as people use it.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Returns the events that it is asked to report.
    pub fn events(self) -> &'static [HookEvent] {
        match self {
            Self::Claude => CLAUDE,
            Self::Codex => CODEX,
            Self::Qwen => QWEN,
            Self::Gemini => GEMINI,
        }
    }

    /// Returns after how long it gives up on a hook, in its own unit.
    fn timeout(self) -> u64 {
        match self {
            Self::Claude | Self::Codex | Self::Qwen => TIMEOUT,
            Self::Gemini => TIMEOUT * 1_000,
        }
    }

    /// Returns the agent with this name, if it runs hooks.
    pub fn of(name: &str) -> Option<Self> {
        let all = [Self::Claude, Self::Codex, Self::Qwen, Self::Gemini];
        all.into_iter().find(|agent| agent.name() == name)
    }

    /// Returns where its settings are: the variable that names their directory, the directory below
    /// the home directory if that is not set, and the file name.
    pub fn settings(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Claude => ("CLAUDE_CONFIG_DIR", ".claude", "settings.json"),
            Self::Codex => ("CODEX_HOME", ".codex", "hooks.json"),
            Self::Qwen => ("QWEN_HOME", ".qwen", "settings.json"),
            // The variable takes the place of the home directory itself.
            Self::Gemini => ("GEMINI_CLI_HOME", "", ".gemini/settings.json"),
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
    agent: HookAgent,
    command: &dyn Fn(ReportedState) -> String,
) -> Result<String, HookError> {
    let text = if text.trim_matches(BLANKS).is_empty() {
        "{}\n"
    } else {
        text
    };
    let wanted = agent.events();
    let settings = HookSettings::read(text)?;
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

    let settings = HookSettings::read(&text)?;
    let missing = wanted.iter().zip(standing).filter(|(_, stands)| !stands);
    let missing: Vec<(&HookEvent, Value)> = missing
        .map(|(event, _)| (event, group(agent, event, &command(event.state))))
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
    let settings = HookSettings::read(text)?;
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
    let settings = HookSettings::read(text)?;
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
fn group(agent: HookAgent, event: &HookEvent, command: &str) -> Value {
    let timeout = agent.timeout();
    let handlers = json!([{"type": "command", "command": command, "timeout": timeout}]);
    match event.matcher {
        Some(matcher) => json!({"matcher": matcher, "hooks": handlers}),
        None => json!({"hooks": handlers}),
    }
}

impl HookEvent {
    /// Whether a group is for this event. Agents write "all" in three ways.
    fn is(&self, name: &str, matcher: Option<&str>) -> bool {
        let matcher = matcher.filter(|matcher| !matches!(*matcher, "" | "*"));
        self.name == name && self.matcher == matcher
    }
}
