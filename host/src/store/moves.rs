//! Changes the state of tasks: every change writes a history row and updates the tasks that follow.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::StoreError;
use super::rows::{stamp, status_of};
use crate::model::ids::TaskId;
use crate::model::task::{Event, IfParentFails, Status};

/// Moves a task to the state that follows `event` and writes the history row. A status never
/// changes in any other way. The task's followers are updated when it ends.
pub(super) fn move_task(
    connection: &Connection,
    id: TaskId,
    event: Event,
    session: Option<&str>,
    details: &str,
    now: Timestamp,
) -> Result<Status, StoreError> {
    let (from, to) = move_one(connection, id, event, session, details, now)?;
    if from.has_ended() != to.has_ended() {
        tell_followers(connection, id, to, now)?;
    }
    Ok(to)
}

fn move_one(
    connection: &Connection,
    id: TaskId,
    event: Event,
    session: Option<&str>,
    details: &str,
    now: Timestamp,
) -> Result<(Status, Status), StoreError> {
    let from = status(connection, id)?;
    let to = from
        .after(event)
        .map_err(|source| StoreError::Illegal { id, source })?;
    connection
        .prepare_cached(
            "UPDATE tasks SET status = ?2,
                completed_at = CASE WHEN ?3 THEN ?4 ELSE NULL END WHERE id = ?1",
        )?
        .execute(params![id.0, to.name(), to.is_settled(), stamp(now)])?;
    write_history(connection, id, session, event.name(), details, now)?;
    Ok((from, to))
}

fn status(connection: &Connection, id: TaskId) -> Result<Status, StoreError> {
    connection
        .prepare_cached("SELECT status FROM tasks WHERE id = ?1")?
        .query_row([id.0], |row| status_of(row, 0))
        .optional()?
        .ok_or(StoreError::NoTask(id))
}

/// Updates how many open parents the followers of a task wait for: one fewer when it has ended, one
/// more when it is queued again. Followers that are to fail with it end, and so do their own.
fn tell_followers(
    connection: &Connection,
    id: TaskId,
    status: Status,
    now: Timestamp,
) -> Result<(), StoreError> {
    // A list instead of recursion, because a chain can be long.
    let mut moved = vec![(id, status)];
    while let Some((parent, status)) = moved.pop() {
        connection
            .prepare_cached(
                "UPDATE tasks SET blocked = blocked + ?2
                 WHERE id IN (SELECT task_id FROM dependencies WHERE parent_id = ?1)",
            )?
            .execute(params![parent.0, if status.has_ended() { -1 } else { 1 }])?;
        if !matches!(status, Status::Failed | Status::Cancelled) {
            continue;
        }
        let mut query = connection.prepare_cached(
            "SELECT task_id FROM dependencies JOIN tasks ON tasks.id = task_id
             WHERE parent_id = ?1 AND if_fails = 'fail' AND status = 'pending'",
        )?;
        let followers: Vec<i64> = query
            .query_map([parent.0], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for follower in followers.into_iter().map(TaskId) {
            abandon(connection, follower, parent, status, now)?;
            moved.push((follower, Status::Failed));
        }
    }
    Ok(())
}

/// Ends a pending task because its parent failed or was cancelled.
fn abandon(
    connection: &Connection,
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
    move_one(connection, id, Event::Abandon, None, &reason, now)?;
    connection
        .prepare_cached(
            "UPDATE tasks SET error = ?2, wait_reason = NULL, not_before = NULL WHERE id = ?1",
        )?
        .execute(params![id.0, reason])?;
    Ok(())
}

/// Makes a pending task wait for others. If one of them has already failed or was cancelled, the
/// task may end with it.
///
/// # Errors
/// There is no such task, or a parent was queued later than the task. This rules out cycles.
pub(super) fn follow(
    connection: &Connection,
    id: TaskId,
    parents: &[TaskId],
    if_fails: IfParentFails,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut failed = None;
    for &parent in parents {
        let status = status(connection, parent)?;
        if parent >= id {
            return Err(StoreError::FollowsLater { id, parent });
        }
        let added = connection
            .prepare_cached(
                "INSERT OR IGNORE INTO dependencies (task_id, parent_id, if_fails)
                 VALUES (?1, ?2, ?3)",
            )?
            .execute(params![id.0, parent.0, if_fails.name()])?;
        if added > 0 && !status.has_ended() {
            connection
                .prepare_cached("UPDATE tasks SET blocked = blocked + 1 WHERE id = ?1")?
                .execute([id.0])?;
        }
        if matches!(status, Status::Failed | Status::Cancelled) {
            failed = failed.or(Some((parent, status)));
        }
    }
    match failed {
        Some((parent, status)) if if_fails == IfParentFails::Fail => {
            abandon(connection, id, parent, status, now)?;
            tell_followers(connection, id, Status::Failed, now)
        }
        _ => Ok(()),
    }
}

pub(super) fn write_history(
    connection: &Connection,
    id: TaskId,
    session: Option<&str>,
    action: &str,
    details: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO assignment_history (prompt_id, session_name, action, created_at, details)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![id.0, session, action, stamp(now), details])?;
    Ok(())
}
