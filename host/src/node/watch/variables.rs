//! What a session exports, as far as it is known without asking its shell.

use std::collections::{BTreeMap, BTreeSet};

use crate::probe;
use crate::store::SessionRow;

/// Returns those of the variables `names` that a session has, as far as is known: from its start,
/// and from what it was given or has reported since.
pub fn variables(row: &SessionRow, names: &BTreeSet<String>) -> BTreeMap<String, String> {
    exported(row, None, names)
}

/// Returns those of the variables `names` that a session exports, as far as is known: what it has
/// reported (`live`), or else what it was started with and what it was given since.
pub(in crate::node) fn exported(
    row: &SessionRow,
    live: Option<&BTreeMap<String, String>>,
    names: &BTreeSet<String>,
) -> BTreeMap<String, String> {
    if names.is_empty() {
        return BTreeMap::new();
    }
    if let Some(live) = live {
        let told = names.iter();
        return told
            .filter_map(|name| Some((name.clone(), live.get(name)?.clone())))
            .collect();
    }
    let mut env = probe::environment(row.identity.pane_pid, names);
    let given = row.env.iter().filter(|(name, _)| names.contains(*name));
    env.extend(given.map(|(name, value)| (name.clone(), value.clone())));
    env
}
