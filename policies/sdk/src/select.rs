//! Greedy selection: each task in its turn takes the best session that is still free.
//!
//! The sessions are visited in the order that breaks ties, the longest idle first and then by
//! name, so that the first of several equal ones is the one to take. The [`Judge`] defines what
//! a good session is.

use std::cmp::Reverse;

use crate::{Choice, Decision, Postponement, Ranking, Round, Session, Task, Term};

/// Says how well sessions suit tasks; both are named by their position in the round.
pub trait Judge {
    /// The value by which sessions are compared for one task; greater is better.
    type Rank: Ord;

    /// Returns how well the session suits the task. Called for every pair: keep it cheap.
    fn rank(&self, task: usize, session: usize) -> Fit<Self::Rank>;

    /// Returns the terms of the score. Called only for pairs that are shown to people.
    fn terms(&self, task: usize, session: usize) -> Vec<Term>;

    /// Returns why the task waits although sessions are free; `best` is the best of them.
    fn too_little(&self, _task: usize, _best: &Ranking) -> String {
        "no free session suits it well enough".to_owned()
    }
}

/// Whether a session suits a task well enough to be taken. `Enough` is always the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit<R> {
    /// The task would rather wait than take it.
    TooLittle(R),
    /// It can be taken.
    Enough(R),
}

/// Returns one decision for each task, in which each takes the best free session.
///
/// The judge is asked only about ready sessions that the task's `eligible` allows. The runners-up
/// of an assignment are the other free sessions; a task that waits shows the best of the sessions
/// that it may use, even if an earlier task has taken them.
pub fn greedy<J: Judge>(
    round: &Round,
    tasks: &[Task],
    sessions: &[Session],
    judge: &J,
) -> Vec<Decision> {
    let ready = in_tie_order(sessions);
    let mut free = ready.clone();
    let mut allowed = Allowed::new(sessions.len());
    let shown = usize::try_from(round.explain).unwrap_or(usize::MAX);

    let decide = |(task, wants): (usize, &Task)| {
        allowed.set(wants.eligible.as_deref());
        let ranking = |session: usize| ranking(session, judge.terms(task, session));
        let rankings = |best: &[(Fit<J::Rank>, usize)]| {
            best.iter().map(|&(_, session)| ranking(session)).collect()
        };
        let candidates = |of: &[usize], at_most: usize| {
            let asked = of.iter().copied().filter(|&session| allowed.has(session));
            best(
                asked.map(|session| (judge.rank(task, session), session)),
                at_most,
            )
        };

        let best = candidates(&free, shown.max(1));
        if let Some(((Fit::Enough(_), chosen), others)) = best.split_first() {
            free.retain(|session| session != chosen);
            return Decision::Assign(Choice {
                take: ranking(*chosen),
                others: rankings(others),
            });
        }
        let reason = match best.first() {
            Some(&(_, session)) => judge.too_little(task, &ranking(session)),
            None if ready.iter().any(|&session| allowed.has(session)) => {
                "every session it may use was given to a task before it".to_owned()
            }
            None => "no session that it may use is ready".to_owned(),
        };
        let others = rankings(&candidates(&ready, shown));
        Decision::Wait(Postponement { reason, others })
    };
    tasks.iter().enumerate().map(decide).collect()
}

/// Like [`greedy`], by the sum of the terms that `judge` gives for a pair; `None` means that the
/// task would rather wait than take this session.
///
/// Simple, and fast enough for some hundred tasks and sessions: it makes the terms of every pair.
pub fn greedy_by_terms(
    round: &Round,
    tasks: &[Task],
    sessions: &[Session],
    judge: impl Fn(&Task, &Session) -> Option<Vec<Term>>,
) -> Vec<Decision> {
    let by_terms = ByTerms {
        tasks,
        sessions,
        judge,
    };
    greedy(round, tasks, sessions, &by_terms)
}

/// Returns one named part of a score.
pub fn term(name: impl Into<String>, points: i32) -> Term {
    Term {
        name: name.into(),
        points,
    }
}

struct ByTerms<'a, F> {
    tasks: &'a [Task],
    sessions: &'a [Session],
    judge: F,
}

impl<F: Fn(&Task, &Session) -> Option<Vec<Term>>> Judge for ByTerms<'_, F> {
    type Rank = i32;

    fn rank(&self, task: usize, session: usize) -> Fit<i32> {
        match (self.judge)(&self.tasks[task], &self.sessions[session]) {
            Some(terms) => Fit::Enough(sum(&terms)),
            None => Fit::TooLittle(0),
        }
    }

    fn terms(&self, task: usize, session: usize) -> Vec<Term> {
        (self.judge)(&self.tasks[task], &self.sessions[session]).unwrap_or_default()
    }
}

/// The sessions that one task may use.
struct Allowed {
    /// True if every session is allowed, whatever the marks say.
    all: bool,
    marks: Vec<bool>,
}

impl Allowed {
    fn new(sessions: usize) -> Self {
        Self {
            all: true,
            marks: vec![false; sessions],
        }
    }

    fn set(&mut self, eligible: Option<&[u32]>) {
        self.all = eligible.is_none();
        if let Some(positions) = eligible {
            self.marks.fill(false);
            for &position in positions {
                if let Some(mark) = self.marks.get_mut(position as usize) {
                    *mark = true;
                }
            }
        }
    }

    fn has(&self, session: usize) -> bool {
        self.all || self.marks[session]
    }
}

/// The ready sessions: the longest idle first, then by name, then the earlier one.
fn in_tie_order(sessions: &[Session]) -> Vec<usize> {
    let mut ready: Vec<usize> = (0..sessions.len())
        .filter(|&session| sessions[session].ready)
        .collect();
    ready.sort_unstable_by_key(|&session| {
        let Session { since, name, .. } = &sessions[session];
        (Reverse(*since), name, session)
    });
    ready
}

/// Returns the best candidates, the best first; of equal ones, the earlier one is better.
fn best<R: Ord>(candidates: impl Iterator<Item = (R, usize)>, at_most: usize) -> Vec<(R, usize)> {
    let mut best: Vec<(R, usize)> = Vec::new();
    for (rank, session) in candidates {
        if best.len() >= at_most && best.last().is_none_or(|(last, _)| *last >= rank) {
            continue;
        }
        let place = best.partition_point(|(other, _)| *other >= rank);
        best.insert(place, (rank, session));
        best.truncate(at_most);
    }
    best
}

fn ranking(session: usize, terms: Vec<Term>) -> Ranking {
    Ranking {
        session: u32::try_from(session).expect("positions come from a list that has u32 ones"),
        points: sum(&terms),
        terms,
    }
}

fn sum(terms: &[Term]) -> i32 {
    let add = |sum: i32, term: &Term| sum.saturating_add(term.points);
    terms.iter().fold(0, add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn idle(name: &str, since: u32) -> Session {
        Session {
            since,
            ..testing::session(name)
        }
    }

    fn taken(decisions: &[Decision]) -> Vec<Option<u32>> {
        let take = |decision: &Decision| match decision {
            Decision::Assign(choice) => Some(choice.take.session),
            Decision::Wait(_) => None,
        };
        decisions.iter().map(take).collect()
    }

    fn reason(decision: &Decision) -> &str {
        match decision {
            Decision::Wait(wait) => &wait.reason,
            Decision::Assign(_) => panic!("assigned: {decision:?}"),
        }
    }

    #[test]
    fn ties_go_to_the_longest_idle_and_then_to_the_smaller_name() {
        let tasks = [1, 2, 3, 4].map(testing::task);
        let sessions = [idle("b", 5), idle("c", 9), idle("a", 5)];
        let decisions = greedy_by_terms(&testing::round(), &tasks, &sessions, |_, _| Some(vec![]));
        assert_eq!(taken(&decisions), [Some(1), Some(2), Some(0), None]);
        let expected = "every session it may use was given to a task before it";
        assert_eq!(reason(&decisions[3]), expected);
    }

    #[test]
    fn the_best_is_taken_and_the_next_best_are_shown() {
        let tasks = [testing::task(1)];
        let sessions = ["a", "b", "c", "d"].map(testing::session);
        let round = Round {
            explain: 3,
            ..testing::round()
        };
        let points = |name: &str| i32::from(name.as_bytes()[0]);
        let decisions = greedy_by_terms(&round, &tasks, &sessions, |_, session| {
            Some(vec![term("letter", points(&session.name))])
        });
        let Decision::Assign(choice) = &decisions[0] else {
            panic!("not assigned: {decisions:?}")
        };
        assert_eq!(choice.take.session, 3);
        assert_eq!(choice.take.points, points("d"));
        let others: Vec<_> = choice.others.iter().map(|other| other.session).collect();
        assert_eq!(others, [2, 1]);
    }

    #[test]
    fn what_is_not_eligible_or_not_ready_is_left_alone() {
        let only = |eligible: Vec<u32>| Task {
            eligible: Some(eligible),
            ..testing::task(1)
        };
        let busy = Session {
            ready: false,
            ..testing::session("busy")
        };
        let sessions = [testing::session("a"), busy, testing::session("c")];
        let tasks = [
            only(vec![1]),
            only(vec![]),
            only(vec![2, 77]),
            only(vec![2]),
        ];
        let decisions = greedy_by_terms(&testing::round(), &tasks, &sessions, |_, _| Some(vec![]));
        assert_eq!(taken(&decisions), [None, None, Some(2), None]);
        assert_eq!(reason(&decisions[0]), "no session that it may use is ready");
        let expected = "every session it may use was given to a task before it";
        assert_eq!(reason(&decisions[3]), expected);
    }

    #[test]
    fn a_task_that_waits_shows_the_best_sessions_even_those_just_taken() {
        let tasks = [1, 2].map(testing::task);
        let sessions = [testing::session("good"), testing::session("bad")];
        let decisions = greedy_by_terms(&testing::round(), &tasks, &sessions, |_, session| {
            (session.name == "good").then(|| vec![term("good", 7)])
        });
        assert_eq!(taken(&decisions), [Some(0), None]);
        let Decision::Wait(wait) = &decisions[1] else {
            unreachable!()
        };
        assert_eq!(wait.reason, "no free session suits it well enough");
        assert_eq!(wait.others[0].session, 0);
        assert_eq!(wait.others[0].points, 7);
    }

    #[test]
    fn nothing_is_shown_where_nothing_is_asked_for() {
        let round = Round {
            explain: 0,
            ..testing::round()
        };
        let tasks = [1, 2].map(testing::task);
        let sessions = [testing::session("a")];
        let decisions = greedy_by_terms(&round, &tasks, &sessions, |_, _| Some(vec![]));
        assert!(matches!(&decisions[0], Decision::Assign(choice) if choice.others.is_empty()));
        assert!(matches!(&decisions[1], Decision::Wait(wait) if wait.others.is_empty()));
    }
}
