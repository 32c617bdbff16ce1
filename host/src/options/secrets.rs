//! Secret variables: their values are taken from the sender's environment and kept apart.

use std::collections::{BTreeMap, BTreeSet};

use super::{OptionError, TaskDraft};
use crate::model::task::{NewTask, check_variable, is_variable_name};
use crate::store::Secrets;

/// Takes the values of secret variables from the environment and keeps them apart.
pub(super) fn keep(draft: &mut TaskDraft<'_>) -> Result<(), OptionError> {
    let names = &draft.secret_env;
    let (task, secrets) = (&mut *draft.task, draft.sender.secrets);
    let wanted: BTreeSet<&String> = names.iter().chain(&task.metadata.secret_env).collect();
    if let Some(name) = wanted
        .iter()
        .find(|name| task.metadata.env_vars.contains_key(**name))
    {
        return Err(OptionError::Wrong(format!(
            "{name} is given with -e and with --secret-env: leave one of them out"
        )));
    }
    if names.is_empty() {
        return Ok(());
    }
    let mut values = match task.secrets.as_deref() {
        None => BTreeMap::new(),
        Some(kept) => secrets.values(kept).ok_or_else(|| {
            OptionError::Failed(
                "the task's secret values are no longer kept: check it and try again".to_owned(),
            )
        })?,
    };
    values.extend(secret_values(names)?);
    task.secrets = Some(secrets.keep(&values)?);
    task.metadata.secret_env = values.into_keys().collect();
    Ok(())
}

/// Returns the values of secret variables, from the environment of this process.
///
/// # Errors
/// A name is not that of a variable, or there is no such variable, or no shell could be given its
/// value.
pub fn secret_values(names: &[String]) -> Result<BTreeMap<String, String>, OptionError> {
    let mut values = BTreeMap::new();
    for name in names {
        if !is_variable_name(name) {
            return Err(OptionError::Wrong(format!(
                "--secret-env `{name}`: this is not the name of a variable; the value is taken from your environment and is not written here"
            )));
        }
        let value = std::env::var_os(name).ok_or_else(|| {
            OptionError::Wrong(format!(
                "--secret-env {name}: there is no such variable in your environment; export it first"
            ))
        })?;
        let value = value.into_string().map_err(|_| {
            OptionError::Wrong(format!("--secret-env {name}: its value is not UTF-8"))
        })?;
        check_variable(name, &value)
            .map_err(|why| OptionError::Wrong(format!("--secret-env {name}: {why}")))?;
        values.insert(name.clone(), value);
    }
    Ok(values)
}

/// Deletes the secret values of tasks that could not be queued.
pub fn forget<'a>(tasks: impl IntoIterator<Item = &'a NewTask>, secrets: &Secrets) {
    for kept in tasks.into_iter().filter_map(|task| task.secrets.as_deref()) {
        secrets.forget(kept);
    }
}
