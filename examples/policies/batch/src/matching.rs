//! From scores to the best matching of tasks and sessions.

use std::cmp::Reverse;
use std::ops::Range;

use pathfinding::kuhn_munkres::{self, kuhn_munkres};

use assigner_policy::Task;

use crate::Settings;
use crate::score::Scores;

/// The most that a task earns by waiting: a bound, so that no sum overflows.
const MOST_BY_WAITING: i64 = 10_000;

/// What each task would be worth in each session: a whole number that orders matchings by all
/// that counts at once, as digits of different weight do.
///
/// The greatest digit is the priority: the lowest of the round counts 1, the next one 2, and so
/// on. One is enough from level to level, however many lesser tasks there are: sessions are taken
/// by one task each, so that leaving out a task makes room for only one other.
pub(crate) struct Weights {
    rows: usize,
    /// The columns that are there, as those of the scores.
    columns: Vec<usize>,
    /// Row by row; 0 where the task may not use the session, which so counts as waiting.
    weights: Vec<i64>,
}

impl Weights {
    /// For some of the tasks, and the sessions that no other task uses yet.
    pub(crate) fn new(
        settings: &Settings,
        tasks: &[Task],
        rows: Range<usize>,
        scores: &Scores<'_>,
        user: &[Option<usize>],
    ) -> Self {
        let mut levels: Vec<i32> = tasks[rows.clone()]
            .iter()
            .map(|task| task.priority)
            .collect();
        levels.sort_unstable();
        levels.dedup();

        let columns = user.len();
        let usable = |task: usize| {
            let pairs = scores.of(task);
            pairs.filter(|(column, pair)| pair.enough && user[*column].is_none())
        };

        // How much each digit can come to, over all tasks; the next digit counts more than that.
        let number = |length: usize| i64::try_from(length).expect("lists have u32 positions");
        let (tasks_there, sessions_there) = (number(rows.len()), number(columns));
        let points = rows.clone().flat_map(usable);
        let (least, greatest) = points.fold((0, 0), |(least, greatest), (_, pair)| {
            (pair.points.min(least), pair.points.max(greatest))
        });
        let (least, greatest) = (i64::from(least), i64::from(greatest));
        let most = greatest - least + MOST_BY_WAITING;
        let of_point = tasks_there * (sessions_there + tasks_there) + 1;
        let of_level = (tasks_there * most + 1) * of_point;

        let mut weights = vec![0; rows.len() * columns];
        for (row, task) in rows.clone().enumerate() {
            let Task {
                priority, waiting, ..
            } = tasks[task];
            let level = levels.partition_point(|&other| other < priority) + 1;
            let by_waiting = i64::from(waiting / 60) * i64::from(settings.per_minute);
            let place = tasks_there - number(row);
            for (column, pair) in usable(task) {
                let points = i64::from(pair.points) - least + by_waiting.min(MOST_BY_WAITING);
                let idle = sessions_there - number(column);
                weights[row * columns + column] =
                    number(level) * of_level + points * of_point + idle + place;
            }
        }
        Self::of_use(rows.len(), columns, &weights)
    }

    /// Returns for each task the column of the session that it gets.
    pub(crate) fn best_matching(&self) -> Vec<Option<usize>> {
        if self.rows == 0 {
            return Vec::new();
        }
        let (_, chosen) = kuhn_munkres(self);
        let chosen = chosen.into_iter().enumerate();
        chosen
            .map(|(row, place)| {
                let served = kuhn_munkres::Weights::at(self, row, place) > 0;
                served.then(|| self.columns[place])
            })
            .collect()
    }

    /// Leaves out the sessions that nobody needs: for a task none matters behind as many of its
    /// best as there are tasks, because the others cannot take more than that.
    fn of_use(rows: usize, columns: usize, weights: &[i64]) -> Self {
        let mut needed = vec![columns <= rows; columns];
        if columns > rows && rows > 0 {
            let mut order: Vec<usize> = (0..columns).collect();
            for row in weights.chunks(columns) {
                order.select_nth_unstable_by_key(rows - 1, |&column| Reverse(row[column]));
                for &column in &order[..rows] {
                    needed[column] = true;
                }
            }
        }
        let columns_of_use: Vec<usize> = (0..columns).filter(|&column| needed[column]).collect();
        let of_use = |row: &[i64]| -> Vec<i64> {
            columns_of_use.iter().map(|&column| row[column]).collect()
        };
        Self {
            rows,
            weights: weights.chunks(columns.max(1)).flat_map(of_use).collect(),
            columns: columns_of_use,
        }
    }
}

impl kuhn_munkres::Weights<i64> for Weights {
    fn rows(&self) -> usize {
        self.rows
    }

    /// At least one for each row, as the algorithm wants it: those without a session are for
    /// tasks that wait.
    fn columns(&self) -> usize {
        self.columns.len().max(self.rows)
    }

    fn at(&self, row: usize, column: usize) -> i64 {
        if column < self.columns.len() {
            self.weights[row * self.columns.len() + column]
        } else {
            0
        }
    }

    fn neg(&self) -> Self {
        Self {
            rows: self.rows,
            columns: self.columns.clone(),
            weights: self.weights.iter().map(|weight| -weight).collect(),
        }
    }
}
