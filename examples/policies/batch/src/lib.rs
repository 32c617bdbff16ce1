//! A policy that looks at the whole round: it gives out sessions so that the points of all tasks
//! together are the most that can be had.
//!
//! One after the other, each task takes its best session; that can cost the next task more than
//! it gained for the first. Here a task takes its second best where that is better for the round.
//!
//! What counts, the most important first:
//!
//! 1. Tasks of a higher priority are served: no number of lesser tasks outweighs one of them.
//! 2. As many tasks as possible are served.
//! 3. The sum of the points, and of what tasks have earned by waiting, is the greatest.
//! 4. Sessions that have been idle longer are taken.
//!
//! The matching itself is the Kuhn-Munkres algorithm of the crate `pathfinding`.

use std::cmp::Reverse;

use assigner_policy::{
    Choice, Decision, Description, Policy, Postponement, Ranking, Round, Session, Task, term,
};

use matching::Weights;
use score::{Pair, Scores};
pub use settings::Settings;

mod matching;
mod score;
mod settings;

/// How many tasks are decided on together: the time it takes grows with the square of that. The
/// next ones, which are less urgent or came later, are given what the first ones leave.
const BATCH: usize = 100;

/// The policy with its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    settings: Settings,
}

impl Policy for Batch {
    fn describe() -> Description {
        Description {
            name: "batch".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "gives out sessions so that all tasks together fit best".to_owned(),
            default_config: Settings::default().to_json(),
            wants_busy: false,
        }
    }

    fn configure(settings: &str) -> Result<Self, String> {
        Settings::parse(settings).map(|settings| Self { settings })
    }

    fn assign(&self, round: &Round, tasks: &[Task], sessions: &[Session]) -> Vec<Decision> {
        let scores = Scores::new(&self.settings, tasks, sessions);
        let mut user = vec![None; scores.ready.len()];
        let mut columns = Vec::with_capacity(tasks.len());
        while columns.len() < tasks.len() {
            let first = columns.len();
            let rows = first..tasks.len().min(first + BATCH);
            let weights = Weights::new(&self.settings, tasks, rows, &scores, &user);
            columns.extend(weights.best_matching());
            for (task, column) in columns.iter().enumerate().skip(first) {
                if let Some(column) = *column {
                    user[column] = Some(task);
                }
            }
        }

        let explanation = Explanation {
            settings: &self.settings,
            shown: usize::try_from(round.explain).unwrap_or(usize::MAX),
            tasks,
            sessions,
            scores: &scores,
            user,
        };
        let decide = |(task, column): (usize, &Option<usize>)| explanation.decision(task, *column);
        columns.iter().enumerate().map(decide).collect()
    }
}

assigner_policy::export!(Batch);

/// What it takes to put a matching into words. A column is a place among the ready sessions.
struct Explanation<'a> {
    settings: &'a Settings,
    /// Rankings for each task.
    shown: usize,
    tasks: &'a [Task],
    sessions: &'a [Session],
    scores: &'a Scores<'a>,
    /// Which task has got the session of a column.
    user: Vec<Option<usize>>,
}

impl Explanation<'_> {
    fn decision(&self, task: usize, column: Option<usize>) -> Decision {
        // The chosen one is shown besides them.
        let at_most = match column {
            Some(_) => self.shown.saturating_sub(1),
            None => self.shown,
        };
        let others = self.best(task, column, at_most);
        let others = others.into_iter().map(|other| self.ranking(task, other));
        let others = others.collect();
        match column {
            Some(column) => Decision::Assign(Choice {
                take: self.ranking(task, column),
                others,
            }),
            None => Decision::Wait(Postponement {
                reason: self.reason(task),
                others,
            }),
        }
    }

    /// The columns that suit a task best, but for one: the best first, of equals the longer idle.
    fn best(&self, task: usize, except: Option<usize>, at_most: usize) -> Vec<usize> {
        let others = self
            .scores
            .of(task)
            .filter(|(other, _)| Some(*other) != except);
        let mut others: Vec<_> = others
            .map(|(other, pair)| (Reverse(pair.points), other))
            .collect();
        if at_most < others.len() {
            others.select_nth_unstable(at_most);
            others.truncate(at_most);
        }
        others.sort_unstable();
        others.into_iter().map(|(_, other)| other).collect()
    }

    /// Why a task waits.
    fn reason(&self, task: usize) -> String {
        // Of equals the first is the best; `max_by_key` returns the last.
        let allowed: Vec<(usize, Pair)> = self.scores.of(task).collect();
        let allowed = allowed.into_iter().rev();
        let suits = allowed.clone().filter(|(_, pair)| pair.enough);
        if let Some((best, _)) = suits.max_by_key(|(_, pair)| pair.points) {
            let name = self.name(best);
            return match self.user[best] {
                Some(user) => format!(
                    "every session that suits it is of more use to another task: {name} goes to \
                     task #{}",
                    self.tasks[user].id
                ),
                // Cannot be: with this pair the matching would be a better one.
                None => format!("{name} is left over"),
            };
        }
        match allowed.max_by_key(|(_, pair)| pair.context) {
            Some((nearest, pair)) => format!(
                "no ready session fits well enough: the nearest, {}, has {} of the {} points of \
                 `min-score`",
                self.name(nearest),
                pair.context,
                self.settings.min_score
            ),
            None => "no session that it may use is ready".to_owned(),
        }
    }

    fn name(&self, column: usize) -> String {
        score::shown(&self.sessions[self.scores.ready[column]].name)
    }

    fn ranking(&self, task: usize, column: usize) -> Ranking {
        let mut terms = self.scores.terms(task, column);
        let points = terms.iter().map(|term| term.points).sum();
        if let Some(user) = self.user[column].filter(|user| *user != task) {
            terms.push(term(format!("goes to task #{}", self.tasks[user].id), 0));
        }
        Ranking {
            session: u32::try_from(self.scores.ready[column]).expect("positions are u32"),
            points,
            terms,
        }
    }
}
