//! What a sender asks of a task's surroundings: stored as one JSON text, under the names used in
//! the Python worker's database.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::headless::Headless;
use super::session::Shell;

/// The surroundings and constraints of a task, stored as the JSON column `metadata`.
///
/// The names are those of the Python worker's database, and foreign keys are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// Absolute and normalised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// The repository of that directory, or the directory itself if it is in none. An agent must
    /// work in it or above it. `None`: anywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Whether an agent that works elsewhere may also take it.
    #[serde(skip_serializing_if = "is_false")]
    pub anywhere: bool,
    /// The branch that the task prefers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git_branch: Option<String>,
    /// Whether the branch is a requirement and not just a preference.
    #[serde(skip_serializing_if = "is_false")]
    pub require_branch: bool,
    /// Variables that are exported before the task runs.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "plain_values"
    )]
    pub env_vars: BTreeMap<String, String>,
    /// The agent that a prompt is for, if it is asked in a shell, without a terminal of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headless: Option<Headless>,
    /// The shell in whose language a command is written; `None`: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<Shell>,
    /// Names of variables whose values are stored separately; see
    /// [`NewTask::secrets`](super::task::NewTask::secrets).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secret_env: Vec<String>,
    /// Whether everything that the task changes in the environment is undone after it.
    #[serde(skip_serializing_if = "is_false")]
    pub isolate_env: bool,
    /// Commands that must succeed first, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prerequisites: Vec<String>,
    /// How many seconds each of them may take, at least 1; `None`: as configured for the engine.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_seconds"
    )]
    pub prerequisite_timeout: Option<u64>,
    /// If false, any session will do.
    pub prefer_context_match: bool,
    /// Providers, in order of preference.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub preferred_providers: Vec<String>,
    /// Tried after the preferred ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fallback_providers: Vec<String>,
    /// Whether any other provider may take the task if the named ones are missing.
    pub allow_fallback: bool,
    /// Whether another session may take the task if the target cannot take it now.
    #[serde(skip_serializing_if = "is_false")]
    pub target_fallback: bool,
    /// Labels by which people and policies know the task.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "any_labels"
    )]
    pub labels: BTreeMap<String, String>,
    /// Labels that a session must have to run the task.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub require_labels: BTreeMap<String, String>,
    /// Keys that belong to other tools.
    #[serde(flatten)]
    pub rest: serde_json::Map<String, serde_json::Value>,
}

impl Default for Metadata {
    fn default() -> Self {
        Self {
            shell: None,
            working_dir: None,
            repository: None,
            anywhere: false,
            git_branch: None,
            require_branch: false,
            env_vars: BTreeMap::new(),
            headless: None,
            secret_env: Vec::new(),
            isolate_env: false,
            prerequisites: Vec::new(),
            prerequisite_timeout: None,
            prefer_context_match: true,
            preferred_providers: Vec::new(),
            fallback_providers: Vec::new(),
            allow_fallback: false,
            target_fallback: false,
            labels: BTreeMap::new(),
            require_labels: BTreeMap::new(),
            rest: serde_json::Map::new(),
        }
    }
}

impl Metadata {
    /// Returns what can be read of `json`, and what was wrong with it: a row that another tool
    /// wrote must not stop the queue.
    pub fn read(json: &str) -> (Self, Option<String>) {
        let read = serde_json::from_str::<serde_json::Map<_, _>>(json).and_then(|mut keys| {
            // Other tools write `null` if nothing is asked.
            keys.retain(|_, value: &mut serde_json::Value| !value.is_null());
            serde_json::from_value(serde_json::Value::Object(keys))
        });
        match read {
            Ok(metadata) => (metadata, None),
            Err(error) => (Self::default(), Some(error.to_string())),
        }
    }

    /// Whether the task names a directory, a branch or variables.
    pub fn names_context(&self) -> bool {
        self.working_dir.is_some() || self.git_branch.is_some() || !self.env_vars.is_empty()
    }

    /// Returns the branch that a session must be on to be given the task. If the task names a
    /// directory, the branch is that of the directory and not of a session.
    pub fn session_branch(&self) -> Option<&str> {
        if self.require_branch && self.working_dir.is_none() && self.prerequisites.is_empty() {
            self.git_branch.as_deref()
        } else {
            None
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}

/// Reads a limit in whole seconds. Zero could mean "at once" or "never".
fn some_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    let seconds = number.as_u64().filter(|&seconds| seconds > 0);
    seconds.map(Some).ok_or_else(|| {
        serde::de::Error::custom(format!(
            "`prerequisite_timeout` is {number}: write whole seconds, at least 1, or leave it out"
        ))
    })
}

/// Reads values as other tools write them: a number or a boolean counts as its text.
fn plain_values<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    use serde_json::Value;
    BTreeMap::<String, Value>::deserialize(deserializer)?
        .into_iter()
        .map(|(name, value)| match value {
            Value::String(text) => Ok((name, text)),
            Value::Number(_) | Value::Bool(_) => Ok((name, value.to_string())),
            Value::Null | Value::Array(_) | Value::Object(_) => Err(serde::de::Error::custom(
                format!("the variable {name} is not text"),
            )),
        })
        .collect()
}

/// Reads labels as other tools write them: names alone, or names with values. They require nothing,
/// so anything else counts as no label.
fn any_labels<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    use serde_json::Value;
    let text = |value: Value| match value {
        Value::String(text) => Some(text),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    Ok(match Value::deserialize(deserializer)? {
        Value::Object(pairs) => pairs
            .into_iter()
            .filter_map(|(name, value)| Some((name, text(value)?)))
            .collect(),
        Value::Array(names) => names
            .into_iter()
            .filter_map(|name| Some((text(name)?, String::new())))
            .collect(),
        _ => BTreeMap::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_metadata_is_kept_and_bad_metadata_does_not_stop_the_queue() {
        let (metadata, problem) =
            Metadata::read(r#"{"working_dir": "/srv", "ticket": 7, "env_vars": null}"#);
        assert_eq!(problem, None);
        assert_eq!(metadata.working_dir.as_deref(), Some("/srv"));
        assert!(metadata.prefer_context_match);
        let written = serde_json::to_value(&metadata).expect("serialises");
        assert_eq!(written["ticket"], 7);

        let (metadata, problem) = Metadata::read("not json");
        assert_eq!(metadata, Metadata::default());
        assert!(problem.is_some());
    }

    #[test]
    fn a_limit_is_whole_seconds_and_some() {
        let read = |value: &str| {
            let (metadata, problem) =
                Metadata::read(&format!("{{\"prerequisite_timeout\": {value}}}"));
            problem.map_or(Ok(metadata.prerequisite_timeout), Err)
        };
        assert_eq!(read("1"), Ok(Some(1)));
        assert_eq!(read("null"), Ok(None));
        for value in ["0", "-1", "0.9", "1.5", "1e300", "18446744073709551616"] {
            let why = read(value).expect_err(value);
            assert!(
                why.contains("`prerequisite_timeout`") && why.contains("at least 1"),
                "{why}"
            );
        }
        for value in ["\"\"", "\"soon\"", "true", "[]"] {
            assert!(read(value).is_err(), "{value}");
        }
    }

    #[test]
    fn plain_values_of_variables_count_as_text() {
        let (metadata, problem) =
            Metadata::read(r#"{"env_vars": {"PORT": 8080, "DEBUG": true, "NAME": "x"}}"#);
        assert_eq!(problem, None);
        assert_eq!(metadata.env_vars["PORT"], "8080");
        assert_eq!(metadata.env_vars["DEBUG"], "true");
        assert!(Metadata::read(r#"{"env_vars": {"A": [1]}}"#).1.is_some());
    }

    #[test]
    fn labels_of_other_tools_stop_no_task() {
        for (json, labels) in [
            (
                r#"{"labels": {"team": "web", "n": 1, "odd": []}}"#,
                vec![("n", "1"), ("team", "web")],
            ),
            (r#"{"labels": ["urgent"]}"#, vec![("urgent", "")]),
            (r#"{"labels": "urgent"}"#, vec![]),
        ] {
            let (metadata, problem) = Metadata::read(json);
            assert_eq!(problem, None, "{json}");
            let read: Vec<(&str, &str)> = metadata
                .labels
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            assert_eq!(read, labels, "{json}");
        }
    }
}
