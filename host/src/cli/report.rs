//! `assigner report`: a program in a pane reports its own state.
//!
//! Agents call it in their hooks, where it must neither fail nor take time: it opens no database,
//! does not ask tmux, prints nothing on standard output, and always exits with 0. An error is one
//! line on standard error.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use etcetera::BaseStrategy;
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::exit::Exit;
use super::{Global, ui};
use crate::agents::report::{LONGEST_MESSAGE, Report, ReportedState, Reports, own_pane, shortened};
use crate::config::Config;

/// Reports what a program in a tmux pane is doing; for hooks of agents, and for scripts.
///
/// It is called in the pane, takes a few milliseconds, and never fails.
// Every value is read leniently here: clap would exit with 2, which stops some agents.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What it is doing: `idle`, `busy`, `blocked` (it waits for a person) or `done`
    #[arg(long, value_name = "STATE")]
    state: Option<OsString>,
    /// The task that the report is about, if known
    #[arg(long, value_name = "ID")]
    task: Option<OsString>,
    /// A message: a question, or (with `done`) the response
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    message: Option<OsString>,
    /// The same from a file; `-` reads it from standard input
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    message_file: Option<PathBuf>,
    /// Reads what agents hand to their hooks: a JSON object on standard input
    #[arg(long)]
    hook: bool,
    /// Words that are not known: a later agent may add some
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

/// How long an agent may take to pass data to its hook.
const HOOK_WITHIN: Duration = Duration::from_millis(200);

/// The longest name of a turn that is kept, in bytes; the names are UUIDs.
const LONGEST_NAME: usize = 256;

/// What Gemini CLI reports as its answer if a turn ended in an error.
const NO_RESPONSE: &str = "[no response text]";

/// Data from an agent is cut at this length: each byte of a message may be written as six.
const LONGEST_HOOK: usize = 8 * LONGEST_MESSAGE;

/// Reports, as far as possible.
pub(super) fn run(args: &Args, global: &Global) -> Exit {
    if let Err(why) = report(args, global) {
        ui::warn(&format!("nothing was reported: {why}"));
    }
    Exit::Done
}

/// True if an invalid command line was meant to report: even then it must not fail.
pub(super) fn is_meant(words: impl IntoIterator<Item = OsString>) -> bool {
    let mut words = words.into_iter().skip(1);
    while let Some(word) = words.next() {
        let takes_value = ["--data-dir", "--tmux-socket", "--config", "--color"];
        if takes_value.iter().any(|option| word == *option) {
            words.next();
        } else if !word.as_encoded_bytes().starts_with(b"-") {
            return word == "report";
        }
    }
    false
}

fn report(args: &Args, global: &Global) -> Result<(), String> {
    let at = Timestamp::now();
    let state = state(args.state.as_deref())?;
    let variable = |name| std::env::var(name).unwrap_or_default();
    let (server_pid, pane) = own_pane(&variable("TMUX"), &variable("TMUX_PANE"))
        .ok_or("this is not a tmux pane (TMUX and TMUX_PANE do not name one)")?;
    let data_dir = data_dir(global)?;
    let handed = args.hook.then(handed).flatten().unwrap_or_default();
    let message = message(args, &handed, state).unwrap_or_else(|why| {
        // The state is worth more than the words.
        ui::warn(&format!("reported without its message: {why}"));
        None
    });
    let turn = handed.turn();
    // An agent is idle for many reasons, but only this event says that a turn has ended.
    let ends = turn.is_some() && state == ReportedState::Idle && handed.ends();
    let report = Report {
        server_pid,
        pane,
        state: if ends { ReportedState::Done } else { state },
        turn,
        transcript: handed.transcript(),
        task: args
            .task
            .as_ref()
            .and_then(|task| task.to_str()?.parse().ok()),
        message: message
            .filter(|text| !text.trim().is_empty())
            .map(shortened),
        at,
    };
    let reports = Reports::of(&data_dir);
    reports.write(&report).map_err(|error| {
        let directory = reports.directory().display();
        format!("cannot write into `{directory}`: {error}")
    })
}

fn state(named: Option<&OsStr>) -> Result<ReportedState, String> {
    let hint = "use --state idle, busy, blocked or done";
    let Some(named) = named else {
        return Err(hint.to_owned());
    };
    (named.to_str().and_then(|named| named.parse().ok()))
        .ok_or_else(|| format!("`{}` is not a state: {hint}", named.display()))
}

/// Where the daemon looks for reports, even if the configuration is wrong: that is not this agent's
/// fault.
fn data_dir(global: &Global) -> Result<PathBuf, String> {
    if let Some(named) = &global.data_dir {
        return std::path::absolute(named)
            .map_err(|error| format!("`{}` is not a directory: {error}", named.display()));
    }
    Config::load(global.config.as_deref(), None, None).map_or_else(
        |wrong| {
            let usual = etcetera::base_strategy::Xdg::new().map_err(|_| wrong.to_string())?;
            Ok(usual.data_dir().join("assigner"))
        },
        |config| Ok(config.data_dir),
    )
}

fn message(
    args: &Args,
    handed: &HookInput,
    state: ReportedState,
) -> Result<Option<String>, String> {
    let told = handed.words(state);
    match (&args.message, &args.message_file) {
        (Some(text), _) => Ok(Some(text.to_string_lossy().into_owned())),
        // Standard input has already been read.
        (None, Some(file)) if file == Path::new("-") && args.hook => Ok(told),
        (None, Some(file)) => from_file(file).map(Some).map_err(|error| {
            let file = file.display();
            format!("cannot read `{file}`: {error}")
        }),
        (None, None) => Ok(told),
    }
}

fn from_file(file: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    let most = LONGEST_MESSAGE as u64;
    if file == Path::new("-") {
        io::stdin().lock().take(most).read_to_end(&mut bytes)?;
    } else {
        // Opening a pipe would block until there is a writer.
        if !fs::metadata(file)?.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        File::open(file)?.take(most).read_to_end(&mut bytes)?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What agents pass to their hooks, as far as it matters here. Each value may be of any type.
#[derive(Debug, Default, Deserialize)]
pub(super) struct HookInput {
    #[serde(default)]
    message: Value,
    #[serde(default)]
    last_assistant_message: Value,
    #[serde(default)]
    prompt: Value,
    #[serde(default)]
    hook_event_name: Value,
    /// The name of a turn in Claude Code.
    #[serde(default)]
    prompt_id: Value,
    /// The name of a turn in Codex.
    #[serde(default)]
    turn_id: Value,
    #[serde(default)]
    transcript_path: Value,
    #[serde(default)]
    session_id: Value,
    /// The answer of Gemini CLI.
    #[serde(default)]
    prompt_response: Value,
}

/// Reads what an agent passes to its hook; `None` if nothing useful arrived in time.
fn handed() -> Option<HookInput> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return None;
    }
    HookInput::read(&read_within(&stdin, HOOK_WITHIN))
}

impl HookInput {
    pub(super) fn read(handed: &[u8]) -> Option<Self> {
        // Anything after the object is ignored.
        let mut values = serde_json::Deserializer::from_slice(handed).into_iter::<Self>();
        values.next()?.ok()
    }

    /// Returns the words that fit the state.
    pub(super) fn words(&self, state: ReportedState) -> Option<String> {
        let Self {
            message,
            last_assistant_message,
            prompt,
            prompt_response,
            ..
        } = self;
        let last = match prompt_response.as_str() {
            Some(NO_RESPONSE) | None => last_assistant_message,
            Some(_) => prompt_response,
        };
        let suitable = match state {
            ReportedState::Busy => [prompt, message],
            ReportedState::Blocked => [message, last],
            ReportedState::Idle | ReportedState::Done => [last, message],
        };
        suitable
            .iter()
            .filter_map(|value| value.as_str())
            .find(|text| !text.trim().is_empty())
            .map(str::to_owned)
    }

    /// Returns the agent's name for the turn.
    pub(super) fn turn(&self) -> Option<String> {
        let mut names = [&self.prompt_id, &self.turn_id].into_iter();
        let named = names.find_map(|name| name.as_str());
        let named = named.filter(|name| (1..=LONGEST_NAME).contains(&name.len()));
        named.map(str::to_owned).or_else(|| self.named_by_prompt())
    }

    /// Gemini CLI has no name for a turn, but tells its session and its prompt at both ends.
    fn named_by_prompt(&self) -> Option<String> {
        let is_an_end = ["BeforeAgent", "AfterAgent"]
            .iter()
            .any(|event| self.hook_event_name == *event);
        let (session, prompt) = (self.session_id.as_str()?, self.prompt.as_str()?);
        is_an_end.then(|| {
            let mut hash = Sha256::new();
            hash.update(session);
            hash.update([0]);
            hash.update(prompt);
            let hash = hash.finalize();
            hash[..16]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect()
        })
    }

    /// Whether the event says that a turn has ended with an answer.
    pub(super) fn ends(&self) -> bool {
        let has_failed = self.prompt_response == NO_RESPONSE;
        self.hook_event_name == "Stop" || (self.hook_event_name == "AfterAgent" && !has_failed)
    }

    /// Returns the file to which the agent writes its turns.
    pub(super) fn transcript(&self) -> Option<PathBuf> {
        let path = Path::new(self.transcript_path.as_str()?);
        path.is_absolute().then(|| path.to_owned())
    }
}

/// Reads to the end, but no longer than `limit`: an agent may keep its end open.
fn read_within(input: &impl AsFd, limit: Duration) -> Vec<u8> {
    let deadline = Instant::now() + limit;
    let mut bytes = Vec::new();
    let mut part = [0; 1 << 16];
    while bytes.len() < LONGEST_HOOK {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(left) = Timespec::try_from(left) else {
            break;
        };
        match poll(&mut [PollFd::new(input, PollFlags::IN)], Some(&left)) {
            Ok(0) => break,
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(_) => break,
        }
        match rustix::io::read(input, &mut part) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&part[..count]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => break,
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn meant(line: &str) -> bool {
        is_meant(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn a_wrong_command_line_is_known_as_a_report() {
        assert!(meant("assigner report --state"));
        assert!(meant("assigner --data-dir report --json report --task"));
        assert!(meant("assigner --data-dir=x -v report"));
        assert!(!meant("assigner --data-dir report send"));
        assert!(!meant("assigner send report"));
        assert!(!meant("assigner"));
    }

    fn words(handed: &[u8], state: ReportedState) -> Option<String> {
        HookInput::read(handed)?.words(state)
    }

    #[test]
    fn a_turn_is_named_by_either_agent() {
        let turn = |handed: &str| {
            HookInput::read(handed.as_bytes())
                .expect("an object")
                .turn()
        };
        assert_eq!(turn(r#"{"prompt_id": "p"}"#).as_deref(), Some("p"));
        assert_eq!(turn(r#"{"turn_id": "t"}"#).as_deref(), Some("t"));
        let long = format!(r#"{{"prompt_id": "{}"}}"#, "x".repeat(LONGEST_NAME + 1));
        for none in ["{}", r#"{"prompt_id": 7}"#, r#"{"turn_id": ""}"#, &long] {
            assert_eq!(turn(none), None);
        }
        let path = |handed: &str| {
            HookInput::read(handed.as_bytes())
                .expect("an object")
                .transcript()
        };
        assert_eq!(path(r#"{"transcript_path": "a/b"}"#), None);
        let absolute = path(r#"{"transcript_path": "/a/b"}"#);
        assert_eq!(absolute.as_deref(), Some(Path::new("/a/b")));
    }

    #[test]
    fn a_turn_without_a_name_is_named_by_its_prompt() {
        let read = |event: &str, prompt: &str, response: &str| {
            let handed = serde_json::json!({
                "session_id": "s", "hook_event_name": event, "prompt": prompt,
                "prompt_response": response,
            });
            HookInput::read(handed.to_string().as_bytes()).expect("an object")
        };
        let (begin, end) = (
            read("BeforeAgent", "do it", ""),
            read("AfterAgent", "do it", "done"),
        );
        assert_eq!(begin.turn(), end.turn());
        assert!(begin.turn().is_some() && !begin.ends() && end.ends());
        assert_ne!(begin.turn(), read("BeforeAgent", "do", "").turn());
        assert_eq!(read("Notification", "do it", "").turn(), None);
        assert_eq!(end.words(ReportedState::Idle).as_deref(), Some("done"));
        // An error is not an answer.
        let failed = read("AfterAgent", "do it", NO_RESPONSE);
        assert!(!failed.ends());
        assert_eq!(failed.words(ReportedState::Idle), None);
    }

    #[test]
    fn the_words_suit_the_state() {
        let handed = br#"{"message": "m", "last_assistant_message": "l", "prompt": "p", "x": {}}"#;
        for (state, expected) in [
            (ReportedState::Busy, "p"),
            (ReportedState::Blocked, "m"),
            (ReportedState::Idle, "l"),
            (ReportedState::Done, "l"),
        ] {
            assert_eq!(words(handed, state).as_deref(), Some(expected));
        }
        let other = br#"{"message": 3, "last_assistant_message": null} and more"#;
        assert_eq!(words(other, ReportedState::Idle), None);
        let more = b"{\"message\": \"m\"}\nmore";
        assert_eq!(words(more, ReportedState::Idle).as_deref(), Some("m"));
    }

    #[test]
    fn what_is_no_object_is_ignored() {
        let deep = "[".repeat(100_000);
        let deep = format!(r#"{{"message": {deep}"#);
        for broken in [
            "",
            "{",
            "[]",
            "\"x\"",
            "{\"message\": \"",
            "\u{feff}{}",
            &deep,
        ] {
            assert_eq!(words(broken.as_bytes(), ReportedState::Idle), None);
        }
        assert_eq!(words(b"{\"message\": \"\xff\"}", ReportedState::Idle), None);
    }

    #[test]
    fn an_open_end_is_not_waited_for() {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        writer.write_all(b"{}").expect("written");
        let began = Instant::now();
        assert_eq!(read_within(&reader, Duration::from_millis(50)), b"{}");
        assert!(began.elapsed() < Duration::from_secs(5));
        drop(writer);
        assert_eq!(read_within(&reader, Duration::from_secs(60)), b"");
    }

    #[test]
    fn states_are_known_by_their_names() {
        assert_eq!(
            state(Some(OsStr::new("blocked"))),
            Ok(ReportedState::Blocked)
        );
        for wrong in [None, Some("Idle"), Some(""), Some("--hook")] {
            assert!(state(wrong.map(OsStr::new)).is_err(), "{wrong:?}");
        }
    }
}
