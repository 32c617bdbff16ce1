//! Which shells must be asked for their variables before tasks that name some are decided on.

use std::collections::BTreeSet;

use crate::model::eligibility::{Admission, SHELL};
use crate::model::ids::Identity;
use crate::model::task::Task;
use crate::store::SessionRow;

/// Sessions whose shells must be asked for variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inquiry {
    /// The sessions.
    pub(crate) sessions: BTreeSet<Identity>,
    /// The names of the variables.
    pub(crate) names: BTreeSet<String>,
}

/// Returns how many of the tasks can be decided on now, which are those before the first that has
/// to wait for an answer, and whom to ask, if anyone.
///
/// `ready` are the sessions that can be given a task, and `asked` those whose answer is awaited.
/// `is_stale` says whether what is known about a session's variables may be out of date.
pub(super) fn needed(
    tasks: &[Task],
    ready: &[&SessionRow],
    asked: &[&SessionRow],
    is_stale: impl Fn(&SessionRow) -> bool,
) -> (usize, Option<Inquiry>) {
    let mut names = BTreeSet::new();
    let mut sessions = BTreeSet::new();
    let mut to_ask: Vec<&SessionRow> = Vec::new();
    let mut decidable = tasks.len();
    // Checked once per session, however many tasks there are.
    let mut stale = vec![None; ready.len()];
    for (position, task) in tasks.iter().enumerate() {
        let metadata = &task.metadata;
        if metadata.env_vars.is_empty() || !metadata.prefer_context_match {
            continue;
        }
        let demand = task.demand();
        let may = |row: &SessionRow| demand.excludes(&row.place()).is_none();
        for (row, stale) in ready.iter().zip(&mut stale) {
            // A protected session is left alone, unless it is named.
            let target = task.target_session.as_ref();
            let named = target.is_some_and(|target| row.who().answers(target));
            let open = named || row.admission == Admission::Open;
            if row.provider != SHELL || !open || !may(row) {
                continue;
            }
            if *stale.get_or_insert_with(|| is_stale(row)) {
                names.extend(metadata.env_vars.keys().cloned());
                if sessions.insert(row.identity.clone()) {
                    to_ask.push(row);
                }
            }
        }
        if to_ask.iter().chain(asked).any(|row| may(row)) {
            decidable = decidable.min(position);
        }
    }
    let inquiry = (!sessions.is_empty()).then_some(Inquiry { sessions, names });
    (decidable, inquiry)
}
