//! Checks an answer against its question. No policy can break a hard constraint: an answer that
//! does is refused as a whole, and the words of every answer are made safe for a terminal.

use crate::model::matching::{Candidate, Decision, Question, Ranking, Term};

/// What is forbidden in a policy's answer; tasks are named by their number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The answer does not have exactly one decision for each task.
    #[error("{given} decisions for {wanted} tasks")]
    Count {
        /// The number of decisions.
        given: usize,
        /// The number of tasks.
        wanted: usize,
    },
    /// It names a position that is not in the list of sessions.
    #[error("session {session} for task #{task}, where there are {sessions}")]
    NoSuchSession {
        /// The task's number.
        task: i64,
        /// The position.
        session: usize,
        /// How many sessions there are.
        sessions: usize,
    },
    /// It takes a session that is not ready.
    #[error("session {session} for task #{task}, which is not ready")]
    NotReady {
        /// The task's number.
        task: i64,
        /// The session's name.
        session: String,
    },
    /// It takes a session that the task's constraints forbid.
    #[error("session {session} for task #{task}, whose constraints forbid it")]
    NotEligible {
        /// The task's number.
        task: i64,
        /// The session's name.
        session: String,
    },
    /// It takes the same session twice.
    #[error("session {session} for two tasks, the second of them #{task}")]
    Twice {
        /// The second task's number.
        task: i64,
        /// The session's name.
        session: String,
    },
    /// The points are not the sum of the terms.
    #[error("{points} points for task #{task} where the terms add up to {sum}")]
    Sum {
        /// The task's number.
        task: i64,
        /// The points in the answer.
        points: i32,
        /// The sum of the terms.
        sum: i64,
    },
    /// There are more rankings than the round asks for.
    #[error("{given} rankings for task #{task}, where at most {allowed} were asked for")]
    TooManyRankings {
        /// The task's number.
        task: i64,
        /// How many there are, including the chosen one.
        given: usize,
        /// How many are allowed.
        allowed: usize,
    },
    /// A score has more terms than anybody would read.
    #[error("a score of {given} terms for task #{task}, where at most {MOST_TERMS} are shown")]
    TooManyTerms {
        /// The task's number.
        task: i64,
        /// How many there are.
        given: usize,
    },
}

/// Shown in place of an empty reason.
pub(super) const NO_REASON: &str = "the policy gave no reason";
/// The most terms of one score.
const MOST_TERMS: usize = 64;
/// The longest name of a term, in characters.
const LONGEST_TERM: usize = 100;
/// The longest reason to wait, in characters.
const LONGEST_REASON: usize = 500;

/// Returns the decisions with their words made safe for a terminal, or the first thing that is
/// wrong with them.
pub(super) fn check(
    question: &Question,
    answer: Vec<Decision>,
) -> Result<Vec<Decision>, Violation> {
    if answer.len() != question.tasks.len() {
        return Err(Violation::Count {
            given: answer.len(),
            wanted: question.tasks.len(),
        });
    }
    let mut taken = vec![false; question.sessions.len()];
    let check = |(task, decision)| check_decision(question, task, decision, &mut taken);
    question.tasks.iter().zip(answer).map(check).collect()
}

fn check_decision(
    question: &Question,
    task: &Candidate,
    decision: Decision,
    taken: &mut [bool],
) -> Result<Decision, Violation> {
    let asked_for = usize::try_from(question.explain).unwrap_or(usize::MAX);
    let rankings = |rankings: Vec<Ranking>| {
        let check = |ranking| check_ranking(question, task, ranking);
        rankings
            .into_iter()
            .map(check)
            .collect::<Result<Vec<_>, _>>()
    };
    match decision {
        Decision::Assign { take, others } => {
            // The chosen one is always included, whether or not rankings were asked for.
            at_most(asked_for.max(1), 1 + others.len(), task)?;
            let take = check_ranking(question, task, take)?;
            check_taken(question, task, take.session, taken)?;
            Ok(Decision::Assign {
                take,
                others: rankings(others)?,
            })
        }
        Decision::Wait { reason, others } => {
            at_most(asked_for, others.len(), task)?;
            let reason = line(&reason, LONGEST_REASON);
            Ok(Decision::Wait {
                reason: if reason.trim().is_empty() {
                    NO_REASON.to_owned()
                } else {
                    reason
                },
                others: rankings(others)?,
            })
        }
    }
}

fn at_most(allowed: usize, given: usize, task: &Candidate) -> Result<(), Violation> {
    if given > allowed {
        return Err(Violation::TooManyRankings {
            task: task.id,
            given,
            allowed,
        });
    }
    Ok(())
}

fn check_taken(
    question: &Question,
    task: &Candidate,
    position: usize,
    taken: &mut [bool],
) -> Result<(), Violation> {
    let session = &question.sessions[position];
    let name = || format!("`{}`", line(&session.name, LONGEST_TERM));
    if !session.ready {
        return Err(Violation::NotReady {
            task: task.id,
            session: name(),
        });
    }
    let eligible = task.eligible.as_ref();
    if eligible.is_some_and(|eligible| !eligible.contains(&position)) {
        return Err(Violation::NotEligible {
            task: task.id,
            session: name(),
        });
    }
    if std::mem::replace(&mut taken[position], true) {
        return Err(Violation::Twice {
            task: task.id,
            session: name(),
        });
    }
    Ok(())
}

fn check_ranking(
    question: &Question,
    task: &Candidate,
    ranking: Ranking,
) -> Result<Ranking, Violation> {
    let Ranking {
        session,
        points,
        terms,
    } = ranking;
    if session >= question.sessions.len() {
        return Err(Violation::NoSuchSession {
            task: task.id,
            session,
            sessions: question.sessions.len(),
        });
    }
    if terms.len() > MOST_TERMS {
        return Err(Violation::TooManyTerms {
            task: task.id,
            given: terms.len(),
        });
    }
    let sum = terms.iter().map(|term| i64::from(term.points)).sum();
    if i64::from(points) != sum {
        return Err(Violation::Sum {
            task: task.id,
            points,
            sum,
        });
    }
    let clean = |term: Term| Term {
        name: line(&term.name, LONGEST_TERM),
        points: term.points,
    };
    Ok(Ranking {
        session,
        points,
        terms: terms.into_iter().map(clean).collect(),
    })
}

/// Returns an outside text as one line of at most `longest` characters, with a `…` where it was
/// cut. Line breaks become spaces; anything that a terminal would act on, or would show in another
/// place, is escaped.
pub(super) fn line(text: &str, longest: usize) -> String {
    let mut line = String::new();
    let mut left = longest;
    for c in text.trim_end().chars() {
        let shown: String = match c {
            '\n' | '\r' | '\t' => " ".to_owned(),
            c if c.is_control() || misleads(c) => c.escape_unicode().collect(),
            c => c.to_string(),
        };
        let Some(rest) = left.checked_sub(shown.chars().count()) else {
            line.push('…');
            break;
        };
        left = rest;
        line.push_str(&shown);
    }
    line
}

/// Characters without a shape of their own that move or hide others.
fn misleads(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::rounds::self_test;

    fn ranking(session: usize, points: &[i32]) -> Ranking {
        let term = |&points: &i32| Term {
            name: "term".to_owned(),
            points,
        };
        Ranking {
            session,
            points: points
                .iter()
                .fold(0, |sum, points| sum.saturating_add(*points)),
            terms: points.iter().map(term).collect(),
        }
    }

    fn assign(take: usize, others: &[usize]) -> Decision {
        Decision::Assign {
            take: ranking(take, &[1]),
            others: others.iter().map(|&other| ranking(other, &[])).collect(),
        }
    }

    fn wait(reason: &str) -> Decision {
        Decision::Wait {
            reason: reason.to_owned(),
            others: Vec::new(),
        }
    }

    /// Two tasks, of which the first may use only session 0, and three sessions, of which the last
    /// is not ready; two rankings a task.
    fn question() -> Question {
        let mut question = self_test();
        let mut busy = question.sessions[1].clone();
        busy.ready = false;
        busy.name = "bu\nsy".to_owned();
        question.sessions.push(busy);
        question
    }

    #[test]
    fn each_rule_has_its_violation() {
        let many: Vec<i32> = vec![0; MOST_TERMS + 1];
        let take = |take: Ranking| Decision::Assign {
            take,
            others: Vec::new(),
        };
        for (answer, expected) in [
            (vec![], "0 decisions for 2 tasks"),
            (vec![wait("x"); 3], "3 decisions for 2 tasks"),
            (
                vec![assign(3, &[]), wait("x")],
                "session 3 for task #1, where there are 3",
            ),
            (
                vec![assign(0, &[7]), wait("x")],
                "session 7 for task #1, where there are 3",
            ),
            (
                vec![wait("x"), assign(2, &[])],
                "session `bu sy` for task #2, which is not ready",
            ),
            (
                vec![assign(1, &[]), wait("x")],
                "session `two` for task #1, whose constraints forbid it",
            ),
            (
                vec![assign(0, &[]), assign(0, &[])],
                "session `one` for two tasks, the second of them #2",
            ),
            (
                vec![wait("x"), assign(0, &[1, 1])],
                "3 rankings for task #2, where at most 2 were asked for",
            ),
            (
                vec![take(ranking(0, &many)), wait("x")],
                "a score of 65 terms for task #1, where at most 64 are shown",
            ),
            (
                vec![take(ranking(0, &[i32::MAX, 1])), wait("x")],
                "2147483647 points for task #1 where the terms add up to 2147483648",
            ),
        ] {
            let violation = check(&question(), answer).expect_err(expected);
            assert_eq!(violation.to_string(), expected);
        }
    }

    #[test]
    fn what_keeps_the_rules_is_left_as_it_is() {
        // Runners-up need not be ready, eligible or free.
        let answer = vec![assign(0, &[2]), assign(1, &[0])];
        assert_eq!(check(&question(), answer.clone()), Ok(answer));
        let mut nothing_asked = question();
        nothing_asked.explain = 0;
        let answer = vec![assign(0, &[]), wait("later")];
        assert_eq!(check(&nothing_asked, answer.clone()), Ok(answer));
        // A score may have as many terms as are shown.
        let take = ranking(0, &[1; MOST_TERMS]);
        let others = Vec::new();
        let answer = vec![Decision::Assign { take, others }, wait("later")];
        assert_eq!(check(&question(), answer.clone()), Ok(answer));
    }

    #[test]
    fn words_are_made_fit_for_a_terminal() {
        assert_eq!(line("a\tb\r\nc\n", 100), "a b  c");
        assert_eq!(line("\u{1b}]0;x\u{7}", 100), "\\u{1b}]0;x\\u{7}");
        assert_eq!(line("a\u{202e}b\u{9b}", 100), "a\\u{202e}b\\u{9b}");
        assert_eq!(line("grüße 日本", 100), "grüße 日本");
        assert_eq!(line("abcdef", 3), "abc…");
        assert_eq!(line("abc", 3), "abc");
        assert_eq!(line("ab\u{1b}c", 3), "ab…");
        let answer = vec![wait(" \n"), wait("x\ny")];
        let expected = vec![wait("the policy gave no reason"), wait("x y")];
        assert_eq!(check(&question(), answer), Ok(expected));
    }

    fn any_ranking() -> impl Strategy<Value = Ranking> {
        let term = (".{0,5}", any::<i32>()).prop_map(|(name, points)| Term { name, points });
        let terms = prop::collection::vec(term, 0..4);
        (0..4_usize, terms, any::<bool>(), any::<i32>()).prop_map(
            |(session, terms, right, points)| {
                let sum: i64 = terms.iter().map(|term| i64::from(term.points)).sum();
                let points = i32::try_from(sum).ok().filter(|_| right).unwrap_or(points);
                Ranking {
                    session,
                    points,
                    terms,
                }
            },
        )
    }

    fn any_decision() -> impl Strategy<Value = Decision> {
        let others = || prop::collection::vec(any_ranking(), 0..2);
        prop_oneof![
            (any_ranking(), others()).prop_map(|(take, others)| Decision::Assign { take, others }),
            (any::<String>(), others())
                .prop_map(|(reason, others)| Decision::Wait { reason, others }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        #[test]
        fn whatever_is_let_through_keeps_every_rule(
            answer in prop::collection::vec(any_decision(), 1..4),
        ) {
            let question = question();
            let Ok(decisions) = check(&question, answer.clone()) else { return Ok(()) };
            prop_assert_eq!(decisions.len(), question.tasks.len());
            let mut taken = Vec::new();
            for ((task, decision), given) in question.tasks.iter().zip(&decisions).zip(&answer) {
                let (take, others) = match (decision, given) {
                    (Decision::Assign { take, others }, Decision::Assign { take: given, .. }) => {
                        prop_assert_eq!(take.session, given.session);
                        prop_assert!(question.sessions[take.session].ready);
                        let eligible = task.eligible.as_ref();
                        prop_assert!(eligible.is_none_or(|at| at.contains(&take.session)));
                        prop_assert!(!taken.contains(&take.session));
                        taken.push(take.session);
                        (Some(take), others)
                    }
                    (Decision::Wait { reason, others }, Decision::Wait { .. }) => {
                        prop_assert!(!reason.is_empty());
                        prop_assert!(!reason.contains(char::is_control));
                        (None, others)
                    }
                    _ => return Err(TestCaseError::fail("it became another decision")),
                };
                prop_assert!(usize::from(take.is_some()) + others.len() <= 2);
                for ranking in take.into_iter().chain(others) {
                    prop_assert!(ranking.session < question.sessions.len());
                    let sum: i64 = ranking.terms.iter().map(|term| i64::from(term.points)).sum();
                    prop_assert_eq!(i64::from(ranking.points), sum);
                    prop_assert!(ranking.terms.iter().all(|term| !term.name.contains(char::is_control)));
                }
            }
        }

        #[test]
        fn a_line_is_one_line_of_bounded_length(text: String, longest in 0..40_usize) {
            let line = line(&text, longest);
            prop_assert!(line.chars().count() <= longest + 1);
            prop_assert!(!line.contains(|c: char| c.is_control() || misleads(c)));
        }
    }
}
