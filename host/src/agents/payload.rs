//! The text that is put into a pane: what a prompt becomes for an agent, and why some cannot be
//! given.

use std::borrow::Cow;
use std::collections::BTreeMap;

use regex::Regex;
use thiserror::Error;

use super::profile::{PasteMode, Profile, compile};
use crate::model::headless;

/// The longest line that a terminal in canonical mode passes on, without its newline. It silently
/// drops the rest of a longer line.
pub const LONGEST_LINE: usize = if cfg!(target_os = "macos") {
    1_023
} else {
    4_095
};

/// Why a prompt cannot be given to an agent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unfit {
    /// A control character other than tab and newline: it could end a bracketed paste.
    #[error("the prompt contains the control character {0} at offset {1}: remove it")]
    Control(String, usize),
    /// It is longer than the agent accepts.
    #[error(
        "the prompt has {0} bytes, but {1} takes at most {2}: put it into a file and refer to the file"
    )]
    TooLong(usize, String, usize),
    /// It has several lines, and the agent reads one.
    #[error(
        "the prompt has several lines, but {0} reads only one: put it into a file and refer to the file"
    )]
    Lines(String),
}

/// Checks that a prompt can be typed at all: it has no control characters except tab and newline.
///
/// # Errors
/// The first control character.
pub fn check(prompt: &str) -> Result<(), Unfit> {
    match crate::model::task::control(prompt) {
        None => Ok(()),
        Some((offset, char)) => {
            let name = format!("U+{:04X}", u32::from(char));
            Err(Unfit::Control(name, offset))
        }
    }
}

/// Returns the text that is pasted for a prompt. Line ends become `\n`, and trailing ones are
/// removed, because they would not submit the prompt but stay in it. Guards are added so that the
/// agent does not take it for one of its own commands.
///
/// # Errors
/// It cannot be given to this agent.
pub fn prepare(profile: &Profile, prompt: &str, note: Option<&str>) -> Result<String, Unfit> {
    check(prompt)?;
    let mut text = match note {
        Some(note) => format!("{}\n\n{}", note.trim(), normal(prompt)),
        None => normal(prompt).into_owned(),
    };
    text.truncate(text.trim_end_matches('\n').len());
    for guard in &profile.paste.guard {
        text = guarded(&guard.pattern.0, &guard.prefix, &guard.suffix, &text);
    }
    let longest = match profile.paste.mode {
        PasteMode::Bracketed => profile.paste.longest,
        PasteMode::Line => profile.paste.longest.min(LONGEST_LINE),
    };
    if text.len() > longest {
        return Err(Unfit::TooLong(text.len(), profile.name.clone(), longest));
    }
    if profile.paste.mode == PasteMode::Line && text.contains('\n') {
        return Err(Unfit::Lines(profile.name.clone()));
    }
    Ok(text)
}

/// Returns the prompt as a headless agent reads it. Nothing has to be removed, because it comes from a
/// file; guards are added so that the agent does not take it for one of its own commands.
pub fn headless(spec: &headless::HeadlessSpec, prompt: &str) -> String {
    let mut text = prompt.to_owned();
    for guard in &spec.guard {
        // It compiled when its profile was read.
        if let Ok(pattern) = compile(&guard.pattern) {
            text = guarded(&pattern, &guard.prefix, &guard.suffix, &text);
        }
    }
    text
}

/// Puts a prefix and a suffix around each match.
fn guarded(pattern: &Regex, prefix: &str, suffix: &str, text: &str) -> String {
    let mut safe = String::new();
    let mut end = 0;
    for found in pattern.captures_iter(text) {
        // A group marks the part of the match that counts.
        let Some(found) = found.get(1).or(found.get(0)) else {
            continue;
        };
        safe.push_str(&text[end..found.start()]);
        safe.push_str(prefix);
        safe.push_str(found.as_str());
        safe.push_str(suffix);
        end = found.end();
    }
    safe.push_str(&text[end..]);
    safe
}

/// Returns the note that tells an agent about surroundings other than its own, by the profile's
/// template.
pub fn note(
    profile: &Profile,
    directory: Option<&str>,
    branch: Option<&str>,
    variables: &BTreeMap<String, String>,
) -> Option<String> {
    let template = profile.context.template.trim();
    if template.is_empty() {
        return None;
    }
    let listed = variables
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join(", ");
    let filled = |line: &str| {
        let wanted = [
            ("{directory}", directory),
            ("{branch}", branch),
            (
                "{variables}",
                Some(listed.as_str()).filter(|text| !text.is_empty()),
            ),
        ];
        let mut line = line.to_owned();
        for (place, value) in wanted {
            if line.contains(place) {
                // A line about something that the task does not ask for is left out.
                line = line.replace(place, value?);
            }
        }
        Some(line)
    };
    let lines: Vec<String> = template.lines().filter_map(filled).collect();
    let text = lines.join("\n");
    (!text.trim().is_empty()).then_some(text)
}

fn normal(text: &str) -> Cow<'_, str> {
    if text.contains('\r') {
        Cow::Owned(text.replace("\r\n", "\n"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn profile(more: &str) -> Profile {
        let text = format!(
            "name = 'mine'\n[recognise]\nprograms = ['mine']\n\
             [composer]\nline = '^> (?P<draft>.*)$'\n{more}"
        );
        Profile::read(&text).expect("a profile")
    }

    #[test]
    fn what_could_end_the_brackets_is_refused() {
        let mine = profile("");
        for bad in ["a\u{1b}[201~b", "a\u{7}", "a\rb", "\u{9b}201~", "\u{7f}"] {
            let refused = prepare(&mine, bad, None);
            assert!(matches!(refused, Err(Unfit::Control(..))), "{bad:?}");
        }
        assert_eq!(
            prepare(&mine, "a\r\nb\tc\n\n", None).expect("fit"),
            "a\nb\tc"
        );
    }

    #[test]
    fn commands_of_the_agent_are_guarded() {
        let mine = profile("[paste]\nguard = [{ pattern = '^[/!]', prefix = ' ' }]\n");
        assert_eq!(prepare(&mine, "/model x", None).expect("fit"), " /model x");
        assert_eq!(prepare(&mine, "a /model", None).expect("fit"), "a /model");
    }

    #[test]
    fn what_takes_the_key_is_guarded_wherever_it_stands() {
        let mine = profile(
            "[paste]\nguard = [{ pattern = '^:q$', prefix = 'Say: ' }, \
             { pattern = '(?m)^/\\S+\\.png$', prefix = 'File: ' }, \
             { pattern = '\\\\$', suffix = ' ' }, { pattern = '@\\S*$', suffix = ' ' }]\n",
        );
        for (prompt, expected) in [
            (":q", "Say: :q"),
            (":q now", ":q now"),
            ("a\n/x.png\n/y.png\nb", "a\nFile: /x.png\nFile: /y.png\nb"),
            ("ends so \\", "ends so \\ "),
            ("see @a", "see @a "),
            ("@a sees", "@a sees"),
        ] {
            assert_eq!(prepare(&mine, prompt, None).expect("fit"), expected);
        }
    }

    /// The built-in profiles against texts that their agents were seen to take for something else.
    #[test]
    fn no_prompt_is_a_command_of_claude() {
        let catalog = crate::agents::Catalog::built_in();
        let claude = &catalog.get("claude").expect("a profile").profile;
        for (prompt, expected) in [
            ("/clear x", "Request: /clear x"),
            (" /clear x", "Request:  /clear x"),
            ("!ls", "Request: !ls"),
            ("exit", "Request: exit"),
            (" :q ", "Request:  :q "),
            ("exit the loop", "exit the loop"),
            ("/tmp/x.png", "Request: /tmp/x.png (file)"),
            (
                "see\n'/tmp/a b.PNG' \nand",
                "see\n'/tmp/a b.PNG'  (file)\nand",
            ),
            ("see /a.png /b.jpg", "see /a.png (file) /b.jpg (file)"),
            ("look at /tmp/x.png please", "look at /tmp/x.png please"),
            ("a \\", "a \\ "),
            ("ask @re", "ask @re "),
            ("run /mod", "run /mod "),
            ("see :ta", "see :ta "),
            (":qa", ":qa "),
            ("either/or", "either/or"),
        ] {
            let text = prepare(claude, prompt, None).expect("fit");
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn a_reader_of_lines_is_given_one_that_it_takes() {
        let mine = profile("[paste]\nmode = 'line'\n");
        assert!(prepare(&mine, &"x".repeat(LONGEST_LINE), None).is_ok());
        let long = prepare(&mine, &"x".repeat(LONGEST_LINE + 1), None);
        assert!(matches!(long, Err(Unfit::TooLong(..))));
        assert!(matches!(prepare(&mine, "a\nb", None), Err(Unfit::Lines(_))));
        assert!(prepare(&mine, "a\n", None).is_ok());
    }

    #[test]
    fn a_note_says_only_what_is_asked_for() {
        let mine = profile(
            "[context]\ntemplate = \"\"\"\nWork in {directory}.\nUse branch {branch}.\n\
             Variables: {variables}\"\"\"\n",
        );
        let none = BTreeMap::new();
        assert_eq!(note(&mine, None, None, &none), None);
        let some = note(&mine, Some("/srv"), None, &none);
        assert_eq!(some.as_deref(), Some("Work in /srv."));
        let vars = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        let all = note(&mine, Some("/srv"), Some("dev"), &vars);
        let all = all.expect("a note");
        assert_eq!(all, "Work in /srv.\nUse branch dev.\nVariables: A=1");
        let text = prepare(&mine, "do it\n", Some(&all)).expect("fit");
        assert!(text.ends_with("A=1\n\ndo it"));
    }

    proptest! {
        #[test]
        fn nothing_but_text_is_ever_pasted(prompt in r"\PC{0,40}[\x00-\x9f]?\PC{0,9}") {
            if let Ok(text) = prepare(&profile(""), &prompt, None) {
                let fits = |char: char| !char.is_control() || matches!(char, '\t' | '\n');
                prop_assert!(text.chars().all(fits));
                prop_assert!(!text.ends_with('\n'));
            }
        }
    }
}
