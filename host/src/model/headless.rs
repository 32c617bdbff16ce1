//! Agents that are asked without a terminal of their own: as a command that reads the prompt from a
//! file, prints JSON, and ends.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Placeholder for the conversation in the command that continues one.
const CONVERSATION: &str = "{conversation}";

/// The longest name of a conversation, in bytes.
const LONGEST_NAME: usize = 256;

/// The longest usage that is kept, in bytes of JSON.
const LONGEST_USAGE: usize = 4 << 10;

/// The longest error that is kept, in characters.
const LONGEST_ERROR: usize = 4_000;

/// How an agent is asked without a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HeadlessSpec {
    /// The command, word by word. It reads the prompt from its standard input.
    pub command: Vec<String>,
    /// The command that continues a conversation, whose name replaces `{conversation}`. Empty: each
    /// prompt begins a new one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resume: Vec<String>,
    /// The response.
    pub response: Field,
    /// The name of the conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<Field>,
    /// What the agent has used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Field>,
    /// Why it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Field>,
    /// What keeps a prompt from being taken for a command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guard: Vec<Guard>,
}

/// What keeps a prompt from being taken for one of the agent's own commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Guard {
    /// A regular expression for what would be a command. Every match counts; if the pattern has groups,
    /// the first one is what the prefix and the suffix surround.
    pub pattern: String,
    /// What is put before it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// What is put after it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub suffix: String,
}

/// Where to find a value in what an agent prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Field {
    /// A JSON pointer: `/result`.
    pub at: String,
    /// Values that other fields of the same object must have, by their pointers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub when: BTreeMap<String, Value>,
}

/// A prompt that is asked this way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Headless {
    /// The name of the agent's profile.
    pub provider: String,
    /// How it is asked.
    pub spec: HeadlessSpec,
}

/// A conversation with an agent that was asked this way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadlessConversation {
    /// The agent's name for it.
    pub name: String,
    /// The directory in which the agent ran, if that is known: agents look for a conversation there.
    pub directory: Option<String>,
}

/// What an agent has printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeadlessOutput {
    /// Its response.
    pub response: Option<String>,
    /// The name of the conversation.
    pub conversation: Option<String>,
    /// What it has used, by its own account.
    pub usage: Option<Value>,
    /// Why it failed.
    pub error: Option<String>,
    /// Whether something that could not be read came after the response.
    pub skipped: bool,
}

impl HeadlessSpec {
    /// Returns the words of the command. If a conversation is named, the command continues it.
    pub fn words(&self, conversation: Option<&str>) -> Vec<String> {
        match conversation {
            Some(name) if !self.resume.is_empty() && is_name(name) => {
                let words = self.resume.iter();
                words.map(|word| word.replace(CONVERSATION, name)).collect()
            }
            _ => self.command.clone(),
        }
    }

    /// Reads what was printed: a sequence of JSON values. For each field, the last value that has it
    /// counts, and of a response and an error the later one. A line with something that is not JSON is
    /// skipped; an answer before it may not be the last one, so it is not known to be whole.
    pub fn read(&self, printed: &[u8]) -> HeadlessOutput {
        let mut said = HeadlessOutput::default();
        let mut rest = printed;
        loop {
            let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<Value>();
            for value in values.by_ref().map_while(Result::ok) {
                self.take(&value, &mut said);
            }
            let left = rest.get(values.byte_offset()..).unwrap_or_default();
            if left.trim_ascii().is_empty() {
                break;
            }
            said.skipped = said.response.is_some();
            let Some(end) = memchr::memchr(b'\n', left) else {
                break;
            };
            rest = left.get(end + 1..).unwrap_or_default();
        }
        said.conversation = said.conversation.filter(|name| is_name(name));
        said.usage = said
            .usage
            .filter(|usage| usage.to_string().len() <= LONGEST_USAGE);
        said.error = said
            .error
            .map(|error| error.chars().take(LONGEST_ERROR).collect());
        said
    }

    /// Takes what one value says.
    fn take(&self, value: &Value, said: &mut HeadlessOutput) {
        let text = |field: &Field| field.of(value)?.as_str().map(str::to_owned);
        let name = |field: &Option<Field>| text(field.as_ref()?);
        if let Some(response) = text(&self.response) {
            // A message that only calls a tool says nothing, and takes nothing back.
            let is_first = said.response.is_none() && said.error.is_none();
            if !response.trim().is_empty() || is_first {
                said.response = Some(response);
                said.error = None;
                said.skipped = false;
            }
        }
        if let Some(error) = name(&self.error) {
            said.error = Some(error);
            said.response = None;
        }
        said.conversation = name(&self.conversation).or(said.conversation.take());
        let usage = self.usage.as_ref().and_then(|field| field.of(value));
        said.usage = usage.cloned().or(said.usage.take());
    }
}

/// Whether a text can be the name of a conversation. It becomes a word of a command, and must not
/// be an option.
fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    (1..=LONGEST_NAME).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(is_plain)
}

impl Field {
    fn of<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        let holds = |(pointer, wanted): (&String, &Value)| value.pointer(pointer) == Some(wanted);
        self.when
            .iter()
            .all(holds)
            .then(|| value.pointer(&self.at))
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> HeadlessSpec {
        toml::from_str(text).expect("a spec")
    }

    #[test]
    fn one_object_is_read() {
        let spec = spec(
            "command = ['claude', '-p']\nresume = ['claude', '-p', '--resume', '{conversation}']\n\
             response = { at = '/result' }\nconversation = { at = '/session_id' }\n\
             usage = { at = '/usage' }\nerror = { at = '/result', when = { '/is_error' = true } }\n",
        );
        let said = spec.read(
            br#"{"result": "a\nb", "session_id": "s", "usage": {"x": 1}, "is_error": false}"#,
        );
        assert_eq!(said.response.as_deref(), Some("a\nb"));
        assert_eq!(said.conversation.as_deref(), Some("s"));
        assert_eq!(said.usage, Some(serde_json::json!({"x": 1})));
        assert_eq!(said.error, None);
        let said = spec.read(br#"{"result": "refused", "is_error": true}"#);
        assert_eq!(said.error.as_deref(), Some("refused"));
        // A name that would be an option of the command, or is more than a name, does not count.
        for name in ["--dangerous", "a b", "$(x)", ""] {
            let printed = format!(r#"{{"result": "r", "session_id": "{name}"}}"#);
            assert_eq!(spec.read(printed.as_bytes()).conversation, None, "{name}");
        }
        let long = "x".repeat(LONGEST_USAGE);
        let printed = format!(r#"{{"result": "{long}", "is_error": true, "usage": "{long}"}}"#);
        let said = spec.read(printed.as_bytes());
        assert_eq!(said.usage, None);
        assert_eq!(said.error.map(|error| error.len()), Some(LONGEST_ERROR));
        assert_eq!(spec.words(None), ["claude", "-p"]);
        assert_eq!(spec.words(Some("s")), ["claude", "-p", "--resume", "s"]);
        for none in ["", "{", "[]", "\"x\"", "no JSON", "{\"result\": 7}"] {
            assert_eq!(
                spec.read(none.as_bytes()),
                HeadlessOutput::default(),
                "{none}"
            );
        }
    }

    #[test]
    fn the_last_of_several_lines_counts() {
        let spec = spec(
            "command = ['codex']\n\
             response = { at = '/item/text', when = { '/type' = 'item.completed', '/item/type' = 'agent_message' } }\n\
             conversation = { at = '/thread_id' }\n",
        );
        let said = spec.read(
            br#"{"type": "thread.started", "thread_id": "t"}
{"type": "item.completed", "item": {"type": "reasoning", "text": "hm"}}
{"type": "item.completed", "item": {"type": "agent_message", "text": "first"}}
{"type": "item.completed", "item": {"type": "agent_message", "text": "last"}}
and more"#,
        );
        assert_eq!(said.response.as_deref(), Some("last"));
        assert_eq!(said.conversation.as_deref(), Some("t"));
    }

    #[test]
    fn the_later_of_a_response_and_an_error_counts() {
        let spec =
            spec("command = ['x']\nresponse = { at = '/text' }\nerror = { at = '/error' }\n");
        let said = spec.read(br#"{"text": "I will look"} {"error": "limit"}"#);
        assert_eq!(
            (said.response, said.error.as_deref()),
            (None, Some("limit"))
        );
        let said = spec.read(br#"{"error": "again"} {"text": "done"}"#);
        assert_eq!((said.response.as_deref(), said.error), (Some("done"), None));
    }

    #[test]
    fn what_is_no_json_is_skipped() {
        let spec =
            spec("command = ['x']\nresponse = { at = '/text' }\nerror = { at = '/error' }\n");
        let said = spec.read(b"an update is available\n{\"text\": \"done\"}\n");
        assert_eq!(
            (said.response.as_deref(), said.skipped),
            (Some("done"), false)
        );
        // Half of a surrogate pair, as programs in JavaScript print it.
        let lone = br#"{"text": "I will look"}
{"tool": "\ud83d"}
{"error": "limit"}
"#;
        let said = spec.read(lone);
        assert_eq!(
            (said.response, said.error.as_deref()),
            (None, Some("limit"))
        );
        let said = spec.read(b"{\"text\": \"I will look\"}\n{\"text\": \"\\ud83d\"}\n");
        assert_eq!(
            (said.response.as_deref(), said.skipped),
            (Some("I will look"), true)
        );
        let said = spec.read(b"{\"text\": \"a\nb");
        assert_eq!((said.response, said.skipped), (None, false));
    }

    #[test]
    fn a_message_without_words_takes_nothing_back() {
        let spec =
            spec("command = ['x']\nresponse = { at = '/text' }\nerror = { at = '/error' }\n");
        let said = spec.read(br#"{"text": "the answer"} {"text": ""}"#);
        assert_eq!(said.response.as_deref(), Some("the answer"));
        let said = spec.read(br#"{"error": "refused"} {"text": " "}"#);
        assert_eq!(
            (said.response, said.error.as_deref()),
            (None, Some("refused"))
        );
        assert_eq!(spec.read(br#"{"text": ""}"#).response.as_deref(), Some(""));
    }
}
