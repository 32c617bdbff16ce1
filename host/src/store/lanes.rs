//! What waits: pending tasks by what they demand of a session, by their time, and why they wait.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use jiff::Timestamp;

use super::db::{Db, DbError, Row, Value, values};
use super::rows::{TASK, json, task_of, whole_task};
use super::{PauseRow, Store, StoreError};
use crate::model::eligibility::Demand;
use crate::model::ids::TaskId;
use crate::model::task::{NamedRanking, Task};

/// How many tasks are given their lanes at once: each may be as large as a task can be.
const AT_ONCE: usize = 100;

/// The hard constraints that a group of pending tasks shares.
///
/// The engine asks only for lanes that a ready session can serve, so that a hundred thousand
/// prompts cost nothing while there is no agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lane {
    /// The store's own key: what the demand is stored as.
    key: String,
    /// What the tasks demand of a session. What belongs to each task alone is not known.
    pub demand: Demand,
}

impl Lane {
    /// Returns what the tasks of this lane demand of a session.
    pub fn demand(&self) -> &Demand {
        &self.demand
    }

    /// Returns the pause of the agent that its tasks ask without a terminal.
    pub fn paused<'a>(&self, pauses: &'a [PauseRow]) -> Option<&'a PauseRow> {
        PauseRow::over_agent(pauses, self.demand.asks.as_deref()?)
    }

    /// Reads a lane from its key. `None` if it is not a key that this version writes.
    fn of_key(key: String) -> Option<Self> {
        let demand = serde_json::from_str(&key).ok()?;
        Some(Self { key, demand })
    }
}

/// Returns the key of a task's lane, for the column `lane`.
pub(super) fn key_of(task: &Task) -> String {
    json(&task.demand())
}

/// The largest number of rows of history that are looked through for news.
const MOST_NEWS: usize = 1_000;

/// What has happened to tasks that may run now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueNews {
    /// The last row of the history.
    pub history: i64,
    /// The first task, in the order in which they are to be served, that is new or has changed: its
    /// priority and number.
    pub first: Option<(i32, TaskId)>,
    /// Whether so much has happened that it was not looked through.
    pub many: bool,
}

/// A failed task that rests before its next try.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rest {
    /// The task.
    pub task: TaskId,
    /// When the rest ends, by the wall clock at the time of the failure. The Unix epoch if the
    /// stored value is not a time.
    pub until: Timestamp,
    /// The same as it is written in its row, because other tools may write a time in another form.
    pub written: Vec<u8>,
    /// How often the task was tried.
    pub tries: u32,
}

/// Why a task waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// The task.
    pub task: TaskId,
    /// The reason, for people.
    pub reason: String,
    /// How close the best sessions come.
    pub rankings: Vec<NamedRanking>,
}

impl Store {
    /// Releases the tasks whose time, as named by their sender, has come.
    ///
    /// # Errors
    /// The database refused.
    pub fn release_due(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.atomically(|db| {
            db.execute(RELEASE_DUE, values![now])?;
            Ok(())
        })
    }

    /// Returns when the next pending task is due for which the sender named a time.
    ///
    /// # Errors
    /// The database refused.
    pub fn next_due(&mut self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let row = self.db.query_one(NEXT_DUE, values![now])?;
        Ok(row.map(|row| row.time("due")).transpose()?.flatten())
    }

    /// Returns at most `limit` failed tasks that rest before their next try, the oldest first. The
    /// caller decides when a rest is over, because a rest is measured as elapsed time, independent
    /// of the wall clock.
    ///
    /// # Errors
    /// The database refused.
    pub fn resting(&mut self, limit: usize) -> Result<Vec<Rest>, StoreError> {
        let rows = self.db.query(RESTING, values![limit])?;
        let rests = rows.iter().map(|row| {
            let tries = row.integer("tries")?.unwrap_or_default();
            Ok(Rest {
                task: row.get("id")?,
                until: row.time("not_before")?.unwrap_or_default(),
                written: written(row)?,
                tries: u32::try_from(tries.max(0)).unwrap_or(u32::MAX),
            })
        });
        rests.collect()
    }

    /// Ends rests that have not changed since they were read.
    ///
    /// # Errors
    /// The database refused.
    pub fn release(&mut self, rested: &[Rest]) -> Result<(), StoreError> {
        self.atomically(|db| {
            for rest in rested {
                let row = db.query_one(
                    "SELECT not_before FROM tasks
                     WHERE id = $1 AND status = 'pending' AND rests = 1",
                    values![rest.task],
                )?;
                if let Some(row) = row
                    && written(&row)? == rest.written
                {
                    db.execute(
                        "UPDATE tasks SET not_before = NULL WHERE id = $1",
                        values![rest.task],
                    )?;
                }
            }
            Ok(())
        })
    }

    /// Returns the groups of pending tasks that share the same hard constraints. Tasks that another
    /// tool has written are given their lanes first.
    ///
    /// # Errors
    /// The database refused.
    pub fn lanes(&mut self) -> Result<Vec<Lane>, StoreError> {
        let any = without_lane("id");
        if self.db.exists(&any, values![i64::MIN, 1])? {
            self.atomically(fill)?;
        }
        let (lanes, strange) = self.read_lanes()?;
        if strange.is_empty() {
            return Ok(lanes);
        }
        // Another tool has written into the column itself.
        self.atomically(|db| {
            for key in strange {
                db.execute(
                    "UPDATE tasks SET lane = NULL WHERE status = 'pending' AND lane = $1",
                    &[key],
                )?;
            }
            fill(db)
        })?;
        Ok(self.read_lanes()?.0)
    }

    /// Reads the lanes of tasks that may run now, and apart from them the keys that are none.
    fn read_lanes(&mut self) -> Result<(Vec<Lane>, Vec<Value>), StoreError> {
        let (mut lanes, mut strange) = (Vec::new(), Vec::new());
        for row in self.db.query(LANES, &[])? {
            match row.get("lane").ok().and_then(Lane::of_key) {
                Some(lane) => lanes.push(lane),
                None => strange.push(row.value("lane")?.clone()),
            }
        }
        Ok((lanes, strange))
    }

    /// Returns at most `limit` tasks of `lanes` that may run now, starting after `after`, in the
    /// order in which they are to be served.
    ///
    /// # Errors
    /// The database refused.
    pub fn pending(
        &mut self,
        lanes: &[Lane],
        limit: usize,
        after: Option<(i32, TaskId)>,
    ) -> Result<Vec<Task>, StoreError> {
        let mut tasks = Vec::new();
        let same = same_priority(TASK, &self.db.by_index("tasks_pending"));
        let lower = lower_priority(TASK);
        let below = after.map_or(i64::MAX, |(priority, _)| i64::from(priority));
        // Bounded ranges of one index per lane, so that the cost depends only on what may run now.
        for lane in lanes {
            let mut rows = match after {
                Some((priority, id)) => {
                    let values = values![&lane.key, i64::from(priority), id, limit];
                    self.db.query(&same, values)?
                }
                None => Vec::new(),
            };
            if rows.len() < limit {
                let left = limit - rows.len();
                rows.extend(self.db.query(&lower, values![&lane.key, below, left])?);
            }
            for row in rows {
                tasks.push(whole_task(&mut *self.db, &row)?);
            }
        }
        tasks.sort_by_key(|task| (Reverse(task.priority), task.id));
        tasks.truncate(limit);
        Ok(tasks)
    }

    /// Returns what has happened since a row of the history to tasks that may run now. `released` are
    /// tasks of which the history says nothing, because their time has come.
    ///
    /// # Errors
    /// The database refused.
    pub fn news(&mut self, since: i64, released: &[TaskId]) -> Result<QueueNews, StoreError> {
        let rows = self.db.query(NEWS, values![since, MOST_NEWS + 1])?;
        if rows.len() > MOST_NEWS {
            return self.much_news();
        }
        let mut news = QueueNews {
            history: since,
            ..QueueNews::default()
        };
        let mut tasks: BTreeSet<TaskId> = released.iter().copied().collect();
        for row in &rows {
            news.history = news.history.max(row.get("id")?);
            tasks.extend(row.get::<Option<TaskId>>("prompt_id")?);
        }
        // The end of a task may let others run.
        for task in tasks.clone() {
            let children = self.db.query(CHILDREN, values![task, MOST_NEWS + 1])?;
            if children.len() > MOST_NEWS {
                return self.much_news();
            }
            for row in children {
                tasks.insert(row.get("task_id")?);
            }
        }
        for task in tasks {
            let row = self.db.query_one(MAY_RUN, values![task])?;
            let Some(row) = row else { continue };
            let place = (row.get::<i32>("priority")?, task);
            let order = |(priority, task): (i32, TaskId)| (Reverse(priority), task);
            if news.first.is_none_or(|first| order(place) < order(first)) {
                news.first = Some(place);
            }
        }
        Ok(news)
    }

    fn much_news(&mut self) -> Result<QueueNews, StoreError> {
        let last = self.db.query_one(LAST_NEWS, &[])?;
        Ok(QueueNews {
            history: last
                .map(|row| row.get("id"))
                .transpose()?
                .unwrap_or_default(),
            first: None,
            many: true,
        })
    }

    /// Stores why the tasks of some lanes wait, for the first `limit` tasks of each lane. Those that have
    /// the reason already are left as they are.
    ///
    /// # Errors
    /// The database refused.
    pub fn note_lanes_waiting(
        &mut self,
        reasons: &[(Lane, String)],
        limit: usize,
    ) -> Result<(), StoreError> {
        let first = lower_priority("id");
        let sql = format!(
            "UPDATE tasks SET wait_reason = $4, wait_rankings = '[]'
             WHERE id IN ({first}) AND (wait_reason IS NULL OR wait_reason <> $4)"
        );
        self.atomically(|db| {
            for (lane, reason) in reasons {
                db.execute(&sql, values![&lane.key, i64::MAX, limit, reason])?;
            }
            Ok(())
        })
    }

    /// Stores why tasks wait, for those whose reason has changed.
    ///
    /// # Errors
    /// The database refused.
    pub fn note_waiting(&mut self, reasons: &[Waiting]) -> Result<(), StoreError> {
        self.atomically(|db| {
            for waiting in reasons {
                db.execute(
                    "UPDATE tasks SET wait_reason = $2, wait_rankings = $3
                     WHERE id = $1 AND status = 'pending'",
                    values![waiting.task, &waiting.reason, json(&waiting.rankings)],
                )?;
            }
            Ok(())
        })
    }
}

/// Forgets why the prompts wait that ask this agent without a terminal: its pause has ended.
pub(super) fn forget_reasons(db: &mut dyn Db, agent: &str) -> Result<(), DbError> {
    let rows = db.query(LANES, &[])?;
    let lanes = rows
        .iter()
        .filter_map(|row| row.get("lane").ok().and_then(Lane::of_key));
    for lane in lanes.filter(|lane| lane.demand.asks.as_deref() == Some(agent)) {
        db.execute(
            "UPDATE tasks SET wait_reason = NULL, wait_rankings = NULL
             WHERE status = 'pending' AND lane = $1 AND wait_reason IS NOT NULL",
            values![&lane.key],
        )?;
    }
    Ok(())
}

/// Returns the text of `not_before` as it is stored.
fn written(row: &Row) -> Result<Vec<u8>, DbError> {
    Ok(match row.value("not_before")? {
        Value::Bytes(bytes) => bytes.clone(),
        _ => row.text("not_before")?.unwrap_or_default().into_bytes(),
    })
}

/// Gives each pending task its lane that has none: another tool has queued it, or has changed what
/// its lane is made of.
fn fill(db: &mut dyn Db) -> Result<(), StoreError> {
    let mut last = TaskId(i64::MIN);
    loop {
        let rows = db.query(&without_lane(TASK), values![last, AT_ONCE])?;
        for row in &rows {
            let task = task_of(row)?;
            set_lane(db, &task)?;
            last = task.id;
        }
        if rows.len() < AT_ONCE {
            return Ok(());
        }
    }
}

/// Writes the lane of a task.
pub(super) fn set_lane(db: &mut dyn Db, task: &Task) -> Result<(), StoreError> {
    db.execute(
        "UPDATE tasks SET lane = $2 WHERE id = $1",
        values![task.id, key_of(task)],
    )?;
    Ok(())
}

// The statements that a round runs. Each reads a partial index of its own that begins with
// `status`, so that neither tasks that have ended nor tasks that wait for something else cost
// anything.

/// Selects the lanes of tasks that may run now with a loose index scan: one look-up per lane,
/// however many tasks are in each.
pub(super) const LANES: &str = "WITH RECURSIVE lanes (lane) AS (
        SELECT min(lane) FROM tasks
            WHERE status = 'pending' AND not_before IS NULL AND blocked = 0 AND lane >= ''
        UNION ALL
        SELECT (SELECT min(lane) FROM tasks
            WHERE status = 'pending' AND not_before IS NULL AND blocked = 0
                AND lane > lanes.lane)
        FROM lanes WHERE lanes.lane IS NOT NULL
    )
    SELECT lane FROM lanes WHERE lane IS NOT NULL";

/// Selects the tasks of a lane that may run now, of one priority, after an id. Together with
/// [`lower_priority`], because one condition for both would read all tasks before them.
pub(super) fn same_priority(columns: &str, by_index: &str) -> String {
    format!(
        "SELECT {columns} FROM tasks {by_index}
         WHERE status = 'pending' AND not_before IS NULL AND blocked = 0 AND lane = $1
            AND priority = $2 AND id > $3
         ORDER BY id LIMIT $4"
    )
}

/// Selects the tasks of a lane that may run now, below a priority.
pub(super) fn lower_priority(columns: &str) -> String {
    format!(
        "SELECT {columns} FROM tasks
         WHERE status = 'pending' AND not_before IS NULL AND blocked = 0 AND lane = $1
            AND priority < $2
         ORDER BY priority DESC, id LIMIT $3"
    )
}

pub(super) const NEWS: &str =
    "SELECT id, prompt_id FROM assignment_history WHERE id > $1 ORDER BY id LIMIT $2";

const LAST_NEWS: &str = "SELECT max(id) AS id FROM assignment_history HAVING max(id) IS NOT NULL";

pub(super) const CHILDREN: &str = "SELECT task_id FROM dependencies WHERE parent_id = $1 LIMIT $2";

const MAY_RUN: &str = "SELECT priority FROM tasks
     WHERE id = $1 AND status = 'pending' AND not_before IS NULL AND blocked = 0";

/// Selects pending tasks that have no lane yet, after an id.
pub(super) fn without_lane(columns: &str) -> String {
    format!(
        "SELECT {columns} FROM tasks
         WHERE status = 'pending' AND lane IS NULL AND id > $1 ORDER BY id LIMIT $2"
    )
}

pub(super) const RELEASE_DUE: &str = "UPDATE tasks SET not_before = NULL
     WHERE status = 'pending' AND not_before <= $1 AND rests <> 1";

pub(super) const NEXT_DUE: &str = "SELECT min(not_before) AS due FROM tasks
     WHERE status = 'pending' AND not_before > $1 AND rests <> 1";

pub(super) const RESTING: &str = "SELECT id, not_before, tries FROM tasks
     WHERE status = 'pending' AND rests = 1 AND not_before IS NOT NULL ORDER BY id LIMIT $1";
