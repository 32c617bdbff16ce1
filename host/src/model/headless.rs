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
}

impl HeadlessSpec {
    /// Returns the words of the command. If a conversation is named, the command continues it.
    pub fn words(&self, conversation: Option<&str>) -> Vec<String> {
        match conversation {
            Some(name) if !self.resume.is_empty() => {
                let words = self.resume.iter();
                words.map(|word| word.replace(CONVERSATION, name)).collect()
            }
            _ => self.command.clone(),
        }
    }

    /// Reads what was printed: a sequence of JSON values. For each field, the last value that has
    /// it counts. Reading stops at anything that is not JSON.
    pub fn read(&self, printed: &[u8]) -> HeadlessOutput {
        let values = serde_json::Deserializer::from_slice(printed).into_iter::<Value>();
        let mut said = HeadlessOutput::default();
        for value in values.map_while(Result::ok) {
            let text = |field: &Field| field.of(&value)?.as_str().map(str::to_owned);
            let name = |field: &Option<Field>| text(field.as_ref()?);
            // The later one counts: an agent may fail after it has said something, and answer after an
            // error that it got over.
            if let Some(response) = text(&self.response) {
                said.response = Some(response);
                said.error = None;
            }
            if let Some(error) = name(&self.error) {
                said.error = Some(error);
                said.response = None;
            }
            said.conversation = name(&self.conversation).or(said.conversation);
            let usage = self.usage.as_ref().and_then(|field| field.of(&value));
            said.usage = usage.cloned().or(said.usage);
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
}
