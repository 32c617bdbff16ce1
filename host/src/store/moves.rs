//! Changes the state of tasks: every change writes a history row and updates the tasks that follow.

use jiff::Timestamp;

use super::db::{Db, values};
use super::{StoreError, history};
use crate::model::ids::TaskId;
use crate::model::task::{Event, IfParentFails, Status};

/// Moves a task to the state that follows `event` and writes the history row. A status never
/// changes in any other way. The task's followers are updated when it ends.
pub(super) fn move_task(
    db: &mut dyn Db,
    id: TaskId,
    event: Event,
    session: Option<&str>,
    details: &str,
    now: Timestamp,
) -> Result<Status, StoreError> {
    let (from, to) = move_one(db, id, event, session, details, now)?;
    if from.has_ended() != to.has_ended() {
        tell_followers(db, id, to, now)?;
    }
    Ok(to)
}

fn move_one(
    db: &mut dyn Db,
    id: TaskId,
    event: Event,
    session: Option<&str>,
    details: &str,
    now: Timestamp,
) -> Result<(Status, Status), StoreError> {
    let from = status(db, id)?;
    let to = from
        .after(event)
        .map_err(|source| StoreError::Illegal { id, source })?;
    db.execute(
        "UPDATE tasks SET status = $2, completed_at = $3 WHERE id = $1",
        values![id, to.name(), to.is_settled().then_some(now)],
    )?;
    history::write(db, id, session, event.name(), details, now)?;
    Ok((from, to))
}

fn status(db: &mut dyn Db, id: TaskId) -> Result<Status, StoreError> {
    let row = db.query_one("SELECT status FROM tasks WHERE id = $1", values![id])?;
    Ok(row.ok_or(StoreError::NoTask(id))?.status()?)
}

/// Updates how many open parents the followers of a task wait for: one fewer when it has ended, one
/// more when it is queued again. Followers that are to fail with it end, and so do their own.
fn tell_followers(
    db: &mut dyn Db,
    id: TaskId,
    status: Status,
    now: Timestamp,
) -> Result<(), StoreError> {
    // A list instead of recursion, because a chain can be long.
    let mut moved = vec![(id, status)];
    while let Some((parent, status)) = moved.pop() {
        db.execute(
            "UPDATE tasks SET blocked = blocked + $2
             WHERE id IN (SELECT task_id FROM dependencies WHERE parent_id = $1)",
            values![parent, if status.has_ended() { -1 } else { 1 }],
        )?;
        if !matches!(status, Status::Failed | Status::Cancelled) {
            continue;
        }
        let followers = db.query(
            "SELECT task_id FROM dependencies JOIN tasks ON tasks.id = task_id
             WHERE parent_id = $1 AND if_fails = 'fail' AND status = 'pending'",
            values![parent],
        )?;
        for row in followers {
            let follower = row.get("task_id")?;
            abandon(db, follower, parent, status, now)?;
            moved.push((follower, Status::Failed));
        }
    }
    Ok(())
}

/// Ends a pending task because its parent failed or was cancelled.
fn abandon(
    db: &mut dyn Db,
    id: TaskId,
    parent: TaskId,
    status: Status,
    now: Timestamp,
) -> Result<(), StoreError> {
    let how = if status == Status::Cancelled {
        "was cancelled"
    } else {
        "failed"
    };
    let reason = format!("task {parent}, which it follows, {how}");
    move_one(db, id, Event::Abandon, None, &reason, now)?;
    db.execute(
        "UPDATE tasks SET error = $2, wait_reason = NULL, not_before = NULL WHERE id = $1",
        values![id, reason],
    )?;
    Ok(())
}

/// Makes a pending task wait for others. If one of them has already failed or was cancelled, the
/// task may end with it.
///
/// # Errors
/// There is no such task, or a parent was queued later than the task. This rules out cycles.
pub(super) fn follow(
    db: &mut dyn Db,
    id: TaskId,
    parents: &[TaskId],
    if_fails: IfParentFails,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut failed = None;
    for &parent in parents {
        let status = status(db, parent)?;
        if parent >= id {
            return Err(StoreError::FollowsLater { id, parent });
        }
        let added = db.execute(
            "INSERT INTO dependencies (task_id, parent_id, if_fails) VALUES ($1, $2, $3)
             ON CONFLICT (task_id, parent_id) DO NOTHING",
            values![id, parent, if_fails.name()],
        )?;
        if added > 0 && !status.has_ended() {
            db.execute(
                "UPDATE tasks SET blocked = blocked + 1 WHERE id = $1",
                values![id],
            )?;
        }
        if matches!(status, Status::Failed | Status::Cancelled) {
            failed = failed.or(Some((parent, status)));
        }
    }
    match failed {
        Some((parent, status)) if if_fails == IfParentFails::Fail => {
            abandon(db, id, parent, status, now)?;
            tell_followers(db, id, Status::Failed, now)
        }
        _ => Ok(()),
    }
}
