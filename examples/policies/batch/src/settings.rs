//! The settings: a JSON object in which every setting may be missing.

use serde_json::{Map, Value};

/// What there are points for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// For a session in the task's directory.
    pub same_directory: i32,
    /// For a session whose directory contains the task's.
    pub parent_directory: i32,
    /// For a session whose directory lies in the task's.
    pub child_directory: i32,
    /// For each variable that the session has as the task wants it.
    pub variable: i32,
    /// For a session on the task's branch.
    pub branch: i32,
    /// For a session of the provider that the task names first.
    pub provider: i32,
    /// Taken off for a session in which an earlier attempt failed.
    pub failed_before: i32,
    /// For a task, for each minute that it has waited, whichever session it gets.
    pub per_minute: i32,
    /// How many points of context a session needs for a task that names context.
    pub min_score: i32,
}

/// The largest number a setting may be.
const MOST: i32 = 1_000;

impl Default for Settings {
    fn default() -> Self {
        Self {
            same_directory: 100,
            parent_directory: 50,
            child_directory: 25,
            variable: 20,
            branch: 30,
            provider: 200,
            failed_before: 500,
            per_minute: 5,
            min_score: 0,
        }
    }
}

impl Settings {
    /// Reads a JSON object; what it leaves out stays at its default.
    ///
    /// # Errors
    ///
    /// A line that names the setting that is unknown or wrong, and says what it may be.
    pub fn parse(json: &str) -> Result<Self, String> {
        let mut settings = Self::default();
        let names: Vec<String> = settings
            .all()
            .iter()
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        let names = names.join(", ");
        let given: Map<String, Value> = serde_json::from_str(json)
            .map_err(|_| format!("the settings must be a JSON object of {names}"))?;
        for (given, value) in &given {
            let mut all = settings.all().into_iter();
            let setting = all.find_map(|(name, setting)| (name == given).then_some(setting));
            let number = value.as_i64().and_then(|value| i32::try_from(value).ok());
            *setting
                .ok_or_else(|| format!("there is no setting `{given}`; there are {names}"))? =
                number
                    .filter(|number| (0..=MOST).contains(number))
                    .ok_or_else(|| format!("`{given}` must be a whole number from 0 to {MOST}"))?;
        }
        Ok(settings)
    }

    /// Returns the settings as [`Self::parse`] takes them.
    pub fn to_json(&self) -> String {
        let mut settings = self.clone();
        let all = settings.all().into_iter();
        let pairs: Vec<String> = all
            .map(|(name, value)| format!(r#""{name}": {value}"#))
            .collect();
        format!("{{{}}}", pairs.join(", "))
    }

    fn all(&mut self) -> [(&'static str, &mut i32); 9] {
        [
            ("same-directory", &mut self.same_directory),
            ("parent-directory", &mut self.parent_directory),
            ("child-directory", &mut self.child_directory),
            ("variable", &mut self.variable),
            ("branch", &mut self.branch),
            ("provider", &mut self.provider),
            ("failed-before", &mut self.failed_before),
            ("per-minute", &mut self.per_minute),
            ("min-score", &mut self.min_score),
        ]
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
            min_score: 1_000,
            ..Settings::default()
        };
        let given = r#"{"branch": 0, "min-score": 1000}"#;
        assert_eq!(Settings::parse(given), Ok(expected.clone()));
        assert_eq!(Settings::parse(&expected.to_json()), Ok(expected));
    }

    #[test]
    fn an_error_names_the_setting_and_what_it_may_be() {
        for (given, expected) in [
            (
                r#"{"branch": -1}"#,
                "`branch` must be a whole number from 0 to 1000",
            ),
            (
                r#"{"variable": 1001}"#,
                "`variable` must be a whole number from 0 to 1000",
            ),
            (
                r#"{"min-score": "20"}"#,
                "`min-score` must be a whole number from 0 to 1000",
            ),
            (
                r#"{"min-score": 1.5}"#,
                "`min-score` must be a whole number from 0 to 1000",
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
