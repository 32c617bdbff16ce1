//! Tasks as lines of JSON, for `assigner send --batch`.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::exit::CommandFailure;
use crate::files::named::{self, FileError};
use crate::model::ids::TaskId;
use crate::model::task::{NewTask, Parent};
use crate::options::{self, OptionError, Sender, Wishes};

/// The longest line, in bytes: a task with several long texts, each written with escapes.
const LONGEST_LINE: usize = 64 << 20;

/// One line: `content`, perhaps a `name` by which later lines refer to it in their `after`, and
/// the options of `send`.
#[derive(Debug)]
struct BatchLine {
    content: String,
    name: Option<String>,
    wishes: Wishes,
}

/// The keys and values of a line, in their order; a key may stand in it twice.
struct Pairs(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `content` and the options of `send`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}

impl BatchLine {
    /// Reads a line.
    ///
    /// # Errors
    /// What is wrong, with the key or the place in the line.
    fn read(text: &str) -> Result<Self, String> {
        let Pairs(pairs) = serde_json::from_str(text).map_err(|error| {
            // A position in the text would always be on line 1.
            let text = error.to_string();
            let what = text
                .rsplit_once(" at line 1 ")
                .map(|(what, place)| format!("{what} ({place})"));
            what.unwrap_or(text)
        })?;
        let (mut content, mut name, mut wishes) = (None, None, Wishes::default());
        for (key, value) in pairs {
            let slot = match key.as_str() {
                "content" => &mut content,
                "name" => &mut name,
                _ => {
                    if options::find(&key).is_none() {
                        return Err(unknown(&key));
                    }
                    wishes.say(&key, value).map_err(|error| error.to_string())?;
                    continue;
                }
            };
            let text = match value {
                Value::String(text) => Some(text),
                Value::Null if key == "name" => None,
                _ => return Err(format!("`{key}` is a text")),
            };
            if slot.is_some() {
                return Err(format!("`{key}` was given before"));
            }
            *slot = text;
        }
        Ok(Self {
            content: content.ok_or("`content` is missing: say what is to be done")?,
            name,
            wishes,
        })
    }
}

fn unknown(key: &str) -> String {
    let names = options::all().map(|option| option.name);
    options::unknown(key, ["content", "name"].into_iter().chain(names))
}

/// Reads the tasks from a file, or from standard input if it is `-`. `is_queued` tells whether a
/// task with that number exists.
///
/// # Errors
/// The file cannot be read, or a line is wrong; the error says which and why. No secret value is
/// kept then.
pub(super) fn read(
    path: &Path,
    sender: &Sender<'_>,
    is_queued: impl FnMut(TaskId) -> Result<bool, CommandFailure>,
) -> Result<Vec<NewTask>, CommandFailure> {
    let shown = if path == Path::new("-") {
        "standard input".to_owned()
    } else {
        format!("`{}`", path.display())
    };
    let lines: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let file = named::open(path).map_err(|error| {
            let hint = match error {
                FileError::Kind("a pipe") => "; `-` reads standard input",
                _ => "",
            };
            CommandFailure::usage(format!("cannot read {shown}: {error}{hint}"))
        })?;
        Box::new(BufReader::new(file))
    };
    let mut tasks = Vec::new();
    let result = read_lines(lines, &shown, sender, is_queued, &mut tasks);
    if let Err(failure) = result {
        options::forget(&tasks, sender.secrets);
        return Err(failure);
    }
    if tasks.is_empty() {
        return Err(CommandFailure::usage(format!(
            "{shown} contains no task: write one JSON object per line"
        )));
    }
    Ok(tasks)
}

/// The longest value that an error quotes, in characters.
const LONGEST_QUOTED: usize = 60;

/// Returns an error without the rest of each value that it quotes.
fn shortened(error: &str) -> String {
    let mut short = String::new();
    let mut quoted: Option<(char, usize)> = None;
    let mut is_escaped = false;
    for char in error.chars() {
        match quoted {
            Some((mark, _)) if char == mark && !is_escaped => quoted = None,
            Some((mark, count)) => {
                quoted = Some((mark, count + 1));
                is_escaped = char == '\\' && !is_escaped;
                if count == LONGEST_QUOTED {
                    short.push('…');
                }
                if count >= LONGEST_QUOTED {
                    continue;
                }
            }
            None if matches!(char, '"' | '`') => quoted = Some((char, 0)),
            None => {}
        }
        short.push(char);
    }
    short
}

/// Adds the task of each line to `tasks`.
pub(super) fn read_lines(
    lines: impl BufRead,
    shown: &str,
    sender: &Sender<'_>,
    mut is_queued: impl FnMut(TaskId) -> Result<bool, CommandFailure>,
    tasks: &mut Vec<NewTask>,
) -> Result<(), CommandFailure> {
    let mut names = HashMap::new();
    for (number, line) in (1..).zip(named::lines(lines, LONGEST_LINE)) {
        let at_line =
            |message: String| CommandFailure::usage(format!("{shown}, line {number}: {message}"));
        let line = line.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => at_line(error.to_string()),
            _ => CommandFailure::usage(format!("cannot read {shown}: {error}")),
        })?;
        if line.trim().is_empty() {
            continue;
        }
        let line = BatchLine::read(&line).map_err(|why| at_line(shortened(&why)))?;
        let sender = Sender {
            lines: Some(&names),
            ..*sender
        };
        let mut task = NewTask::prompt("");
        let applied = line.wishes.apply(Some(&line.content), &mut task, &sender);
        applied.map_err(|error| match error {
            OptionError::Wrong(message) => at_line(message),
            error => error.into(),
        })?;
        tasks.push(task);
        for parent in tasks.last().iter().flat_map(|task| &task.after) {
            if let Parent::Task(id) = parent
                && !is_queued(*id)?
            {
                return Err(at_line(format!("after {id}: there is no such task")));
            }
        }
        if let Some(name) = line.name
            && names.insert(name.clone(), tasks.len() - 1).is_some()
        {
            return Err(at_line(format!("the name `{name}` was given before")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::look;
    use super::*;
    use crate::agents::Catalog;
    use crate::model::task::IfParentFails;
    use crate::store::Secrets;

    fn read_text(text: &[u8]) -> Result<Vec<NewTask>, String> {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("batch");
        std::fs::write(&file, text).expect("written");
        let secrets = Secrets::of(directory.path());
        let sender = Sender {
            profiles: Path::new("/nowhere"),
            headless: Catalog::headless,
            usually_headless: &[],
            secrets: &secrets,
            look: look::sight,
            lines: None,
        };
        read(&file, &sender, |id| Ok(id.0 < 10)).map_err(|failure| failure.message)
    }

    #[test]
    fn lines_are_tasks() {
        let text =
            br#"{"name": "a", "content": "make", "shell": true, "timeout": 2, "prereq": ["x"]}

{"content": "fix it", "after": ["a", 3], "if_parent_fails": "release", "delay": "90s"}
"#;
        let tasks = read_text(text).expect("two tasks");
        assert_eq!(tasks[0].timeout_seconds, Some(120));
        assert_eq!(tasks[0].metadata.prerequisites, ["x"]);
        assert_eq!(
            tasks[1].after,
            [Parent::Earlier(0), Parent::Task(TaskId(3))]
        );
        assert_eq!(tasks[1].if_parent_fails, IfParentFails::Release);
        assert!(tasks[1].not_before.is_some());
    }

    #[test]
    fn an_error_quotes_no_more_of_a_value_than_is_of_use() {
        let long = "y\\\"`".repeat(900);
        let error = read_text(format!("\"{long}\"\n").as_bytes()).expect_err("no object");
        let expected = "line 1: invalid type: string \"y\\\"`y\\\"`";
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("…\", expected an object"), "{error}");
        assert!(error.chars().count() < 300, "{error}");
        let key = "y".repeat(900);
        let text = format!("{{\"content\": \"x\", \"{key}\": 1}}\n");
        let error = read_text(text.as_bytes()).expect_err("no option");
        assert!(error.contains("y…`"), "{error}");
        assert_eq!(
            shortened("unknown field `x`, \"y\""),
            "unknown field `x`, \"y\""
        );
    }

    #[test]
    fn durations_are_whole_and_some() {
        let read = |name: &str, value: &str| {
            let text = format!("{{\"content\": \"x\", \"{name}\": {value}}}\n");
            read_text(text.as_bytes()).map(|tasks| {
                let task = &tasks[0];
                (task.timeout_seconds, task.metadata.prerequisite_timeout)
            })
        };
        assert_eq!(read("timeout", "2"), Ok((Some(120), None)));
        assert_eq!(read("timeout", "\"2s\""), Ok((Some(2), None)));
        assert_eq!(read("prereq_timeout", "\"1000ms\""), Ok((None, Some(1))));
        assert_eq!(read("delay", "\"1ms\""), Ok((None, None)));
        for value in ["\"900ms\"", "\"1500ms\""] {
            for name in ["timeout", "prereq_timeout"] {
                let error = read(name, value).expect_err(value);
                assert!(
                    error.contains(&format!("`{name}` {value}: it is finer")),
                    "{error}"
                );
            }
        }
        for value in [
            "0",
            "-1",
            "1.5",
            "\"\"",
            "\"0s\"",
            "\"-1s\"",
            "\"99999999999d\"",
            "\"nan\"",
        ] {
            for name in ["timeout", "prereq_timeout", "delay"] {
                let error = read(name, value).expect_err(value);
                assert!(error.contains("duration"), "{name} {value}: {error}");
            }
        }
    }

    #[test]
    fn mistakes_name_their_line() {
        for wrong in [
            "{\"content\": \"x\", \"contents\": 1}",
            "{\"content\": \"x\", \"after\": [11]}",
            "{\"content\": \"x\", \"timeout\": \"soon\"}",
            "[]",
        ] {
            let text = format!("{{\"content\": \"x\"}}\n\n{wrong}\n");
            let error = read_text(text.as_bytes()).expect_err("wrong");
            assert!(error.contains("line 3"), "{error}");
            assert!(
                !error.contains('\n') && !error.contains("line 1"),
                "{error}"
            );
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            ".{0,8}".prop_map(Into::into),
            prop::sample::select(vec!["5m", "18:30", "fail", "a", "A=b"]).prop_map(Into::into),
        ];
        leaf.prop_recursive(2, 8, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Into::into),
                prop::collection::hash_map("[A-Za-z ]{0,3}", inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn key() -> impl Strategy<Value = String> {
        let known = vec![
            "content",
            "name",
            "shell",
            "working_dir",
            "branch",
            "require_branch",
            "env",
            "prereq",
            "prereq_timeout",
            "priority",
            "provider",
            "providers",
            "fallback",
            "target",
            "labels",
            "require_labels",
            "retries",
            "timeout",
            "after",
            "if_parent_fails",
            "delay",
            "at",
        ];
        prop::sample::select(known).prop_map(str::to_owned)
    }

    proptest! {
        /// Whatever the file contains: tasks, or one line that says what is wrong; never a panic.
        #[test]
        fn anything_may_stand_in_a_file(text in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Err(error) = read_text(&text) {
                prop_assert!(!error.contains('\n'), "{}", error);
            }
        }

        #[test]
        fn any_values_may_stand_in_an_object(
            line in prop::collection::hash_map(key(), value(), 0..5),
        ) {
            let line = Value::Object(line.into_iter().collect());
            match read_text(line.to_string().as_bytes()) {
                Ok(tasks) => prop_assert_eq!(tasks.len(), 1),
                Err(error) => prop_assert!(error.contains("line 1"), "{}", error),
            }
        }
    }
}
