//! The settings of the default policy: a JSON object in which every setting may be missing.

use serde_json::{Map, Value};

/// What the default policy counts and what it does if nothing counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Points for a session in the task's directory.
    pub same_directory: i32,
    /// Points for a session whose directory contains the task's.
    pub parent_directory: i32,
    /// Points for a session whose directory is inside the task's.
    pub child_directory: i32,
    /// Points for each variable that the session has with the value that the task wants.
    pub variable: i32,
    /// Points for a session on the task's branch.
    pub branch: i32,
    /// How many points a session needs to match.
    pub min_score: i32,
    /// What happens to a task that names context if no session matches.
    pub when_no_match: NoMatch,
}

/// What happens to a task that names context if no session matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoMatch {
    /// It takes the session that has been idle longest.
    Any,
    /// It waits.
    Wait,
}

/// The largest value of a setting: far from where a sum of points could overflow.
const MOST: i32 = 1_000_000;

const NAMES: &str = "`same-directory`, `parent-directory`, `child-directory`, `variable`, \
                     `branch`, `min-score` and `when-no-match`";

impl Default for Settings {
    fn default() -> Self {
        Self {
            same_directory: 100,
            parent_directory: 50,
            child_directory: 25,
            variable: 20,
            branch: 30,
            min_score: 20,
            when_no_match: NoMatch::Any,
        }
    }
}

impl Settings {
    /// Reads a JSON object; settings that are missing keep their defaults.
    ///
    /// # Errors
    ///
    /// A line that names the setting that is unknown or wrong, and its valid values.
    pub fn parse(json: &str) -> Result<Self, String> {
        let given: Map<String, Value> = serde_json::from_str(json)
            .map_err(|_| format!("the settings must be a JSON object of {NAMES}"))?;
        let mut settings = Self::default();
        for (name, value) in &given {
            settings.set(name, value)?;
        }
        Ok(settings)
    }

    /// Returns the settings in the form that [`Self::parse`] reads.
    pub fn to_json(&self) -> String {
        let when_no_match = match self.when_no_match {
            NoMatch::Any => "any",
            NoMatch::Wait => "wait",
        };
        let numbers: String = [
            ("same-directory", self.same_directory),
            ("parent-directory", self.parent_directory),
            ("child-directory", self.child_directory),
            ("variable", self.variable),
            ("branch", self.branch),
            ("min-score", self.min_score),
        ]
        .iter()
        .map(|(name, value)| format!(r#""{name}": {value}, "#))
        .collect();
        format!(r#"{{{numbers}"when-no-match": "{when_no_match}"}}"#)
    }

    fn set(&mut self, name: &str, value: &Value) -> Result<(), String> {
        let number = match name {
            "same-directory" => &mut self.same_directory,
            "parent-directory" => &mut self.parent_directory,
            "child-directory" => &mut self.child_directory,
            "variable" => &mut self.variable,
            "branch" => &mut self.branch,
            "min-score" => &mut self.min_score,
            "when-no-match" => {
                self.when_no_match = match value.as_str() {
                    Some("any") => NoMatch::Any,
                    Some("wait") => NoMatch::Wait,
                    _ => return Err("`when-no-match` must be \"any\" or \"wait\"".to_owned()),
                };
                return Ok(());
            }
            _ => return Err(format!("there is no setting `{name}`; there are {NAMES}")),
        };
        *number = value
            .as_i64()
            .and_then(|value| i32::try_from(value).ok())
            .filter(|value| (0..=MOST).contains(value))
            .ok_or_else(|| format!("`{name}` must be a whole number from 0 to {MOST}"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_stays_at_its_default() {
        assert_eq!(Settings::parse("{}"), Ok(Settings::default()));
        let expected = Settings {
            branch: 0,
            min_score: 1_000_000,
            when_no_match: NoMatch::Wait,
            ..Settings::default()
        };
        let given = r#"{"branch": 0, "min-score": 1000000, "when-no-match": "wait"}"#;
        assert_eq!(Settings::parse(given), Ok(expected));
    }

    #[test]
    fn settings_survive_json() {
        let settings = Settings {
            child_directory: 3,
            variable: 4,
            when_no_match: NoMatch::Wait,
            ..Settings::default()
        };
        assert_eq!(Settings::parse(&settings.to_json()), Ok(settings));
    }

    #[test]
    fn an_error_names_the_setting_and_what_it_may_be() {
        for (given, expected) in [
            (
                r#"{"min-score": "20"}"#,
                r#"`min-score` must be a whole number from 0 to 1000000"#,
            ),
            (
                r#"{"variable": -1}"#,
                "`variable` must be a whole number from 0 to 1000000",
            ),
            (
                r#"{"branch": 1000001}"#,
                "`branch` must be a whole number from 0 to 1000000",
            ),
            (
                r#"{"same-directory": 1.5}"#,
                "`same-directory` must be a whole number from 0 to 1000000",
            ),
            (
                r#"{"when-no-match": "never"}"#,
                r#"`when-no-match` must be "any" or "wait""#,
            ),
            (
                r#"{"when-no-match": null}"#,
                r#"`when-no-match` must be "any" or "wait""#,
            ),
        ] {
            assert_eq!(Settings::parse(given), Err(expected.to_owned()), "{given}");
        }
        for given in [r#"{"min_score": 20}"#, "[]", "20", "", "{"] {
            let error = Settings::parse(given).expect_err(given);
            assert!(error.contains("`min-score`"), "{given}: {error}");
        }
    }
}
