//! What is asked of one task, option by option.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{OptionError, Takes, TaskOption, all, find, is_nothing, unknown};

/// What is asked of one task: a value for each option that was said, as a batch line has it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wishes(BTreeMap<&'static str, Value>);

impl Wishes {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Notes what is asked. A value that asks for nothing counts as not said.
    ///
    /// # Errors
    /// There is no such option, it was said before, or the value is not one of its values. The
    /// error names the key as it was written.
    pub fn say(&mut self, key: &str, value: Value) -> Result<(), OptionError> {
        let option = find(key)
            .ok_or_else(|| OptionError::wrong(unknown(key, all().map(|option| option.name))))?;
        if self.0.contains_key(option.name) {
            return Err(OptionError::Wrong(format!("`{key}` was given before")));
        }
        let says_no = matches!(
            (&option.takes, &value),
            (Takes::YesOrNo(_), Value::Bool(false))
        );
        if value.is_null() {
            return Ok(());
        }
        option.takes.check(&value).map_err(|why| {
            // The values of variables are nobody's business.
            let shown = match &value {
                Value::Array(_) | Value::Object(_) => String::new(),
                _ => format!(" {:.80}", value.to_string()),
            };
            OptionError::Wrong(format!("`{key}`{shown}: {why}"))
        })?;
        if says_no || !is_nothing(&value) {
            self.0.insert(option.name, value);
        }
        Ok(())
    }

    /// Whether the option with this name was said.
    pub fn says(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Returns the value of the option with this name, if it was said.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Returns the text of the option with this name, if it was said.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    /// Returns the options that were said with their values, in the order of [`all`].
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static TaskOption, &Value)> {
        all().filter_map(|option| Some((option, self.get(option.name)?)))
    }
}
