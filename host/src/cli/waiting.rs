//! Why tasks wait, where many are shown.

use std::borrow::BorrowMut;

use jiff::Timestamp;

use super::Context;
use super::exit::CommandFailure;
use crate::daemon::Lock;
use crate::matcher::explain::WaitReasons;
use crate::model::task::{Status, Task};
use crate::store::{SessionRow, Store};

/// Fills in why each of the pending ones of these tasks waits.
///
/// A daemon writes down only what a policy has said; the rest follows from what is there at this moment.
pub(super) fn tell_why<T: BorrowMut<Task>>(
    context: &Context,
    store: &mut Store,
    rows: &[SessionRow],
    tasks: &mut [T],
) -> Result<(), CommandFailure> {
    let waits = |task: &Task| task.status == Status::Pending;
    if !tasks.iter().any(|task| waits(task.borrow())) {
        return Ok(());
    }
    let runs = Lock::holder(&context.config.data_dir).is_some();
    let pauses = store.pauses()?;
    let mut reasons = WaitReasons::new(rows, &pauses, Timestamp::now());
    for task in tasks {
        let task = task.borrow_mut();
        if !waits(task) {
            continue;
        }
        let parents = match task.blocked {
            0 => Vec::new(),
            _ => store.parents(task.id)?,
        };
        let reason = reasons.of(task, &parents);
        // What sessions do is not known without a daemon.
        let is_known = runs || !parents.is_empty() || task.not_before.is_some();
        task.wait_reason = match is_known {
            true => reason,
            false => Some("no daemon is running: start one with `assigner run`".to_owned()),
        };
    }
    Ok(())
}
