//! What a policy answers.

use super::check::{NO_REASON, check};
use super::rounds::self_test;
use crate::fuzz::{FuzzTarget, is_one_line};
use crate::model::matching::{Decision, Question, Ranking, Term};

/// The targets of this module.
pub(crate) const TARGETS: &[FuzzTarget] = &[FuzzTarget {
    name: "answer",
    seeds: &[],
    run: answer,
}];

/// Makes an answer of bytes.
struct Maker<'d>(&'d [u8]);

impl Maker<'_> {
    fn byte(&mut self) -> usize {
        match self.0.split_first() {
            Some((&first, rest)) => {
                self.0 = rest;
                usize::from(first)
            }
            None => 0,
        }
    }

    fn text(&mut self) -> String {
        let size = self.byte().min(self.0.len());
        let (text, rest) = self.0.split_at(size);
        self.0 = rest;
        // Long ones, too.
        String::from_utf8_lossy(text).repeat(1 + size % 8)
    }

    fn points(&mut self) -> i32 {
        match self.byte() {
            255 => i32::MAX,
            254 => i32::MIN,
            small => i32::try_from(small).unwrap_or_default() - 100,
        }
    }

    fn ranking(&mut self) -> Ranking {
        let session = self.byte() % 5;
        let terms: Vec<Term> = (0..self.byte() % 70)
            .map(|_| Term {
                points: self.points(),
                name: self.text(),
            })
            .collect();
        let sum = terms.iter().map(|term| i64::from(term.points)).sum::<i64>();
        let points = match self.byte() {
            0 => 1,
            _ => i32::try_from(sum).unwrap_or_default(),
        };
        Ranking {
            session,
            points,
            terms,
        }
    }

    fn decision(&mut self) -> Decision {
        let kind = self.byte();
        let others = (0..kind / 2 % 4).map(|_| self.ranking()).collect();
        match kind % 2 {
            0 => Decision::Wait {
                reason: self.text(),
                others,
            },
            _ => Decision::Assign {
                take: self.ranking(),
                others,
            },
        }
    }
}

/// Whatever a policy answers, it is refused in one line, or it keeps every rule and can be shown.
fn answer(data: &[u8]) {
    let mut maker = Maker(data);
    let mut question = self_test();
    let mut busy = question.sessions[1].clone();
    busy.ready = false;
    question.sessions.push(busy);
    let many = maker.byte() % 4;
    let answer: Vec<Decision> = (0..many).map(|_| maker.decision()).collect();
    match check(&question, answer.clone()) {
        Ok(decisions) => is_lawful(&question, &answer, &decisions),
        Err(violation) => is_one_line(&violation.to_string()),
    }
}

/// Asserts every rule of decisions that were let through.
fn is_lawful(question: &Question, given: &[Decision], decisions: &[Decision]) {
    assert_eq!(decisions.len(), question.tasks.len());
    let mut taken = Vec::new();
    for ((task, decision), given) in question.tasks.iter().zip(decisions).zip(given) {
        let (take, others) = match (decision, given) {
            (Decision::Assign { take, others }, Decision::Assign { take: given, .. }) => {
                assert_eq!(take.session, given.session);
                assert!(question.sessions[take.session].ready);
                let eligible = task.eligible.as_ref();
                assert!(eligible.is_none_or(|at| at.contains(&take.session)));
                assert!(!taken.contains(&take.session));
                taken.push(take.session);
                (Some(take), others)
            }
            (Decision::Wait { reason, others }, Decision::Wait { .. }) => {
                is_shown(reason, 501.max(NO_REASON.len()));
                assert!(!reason.trim().is_empty());
                (None, others)
            }
            _ => panic!("it became another decision"),
        };
        let explain = usize::try_from(question.explain).expect("small");
        assert!(usize::from(take.is_some()) + others.len() <= explain.max(1));
        for ranking in take.into_iter().chain(others) {
            assert!(ranking.session < question.sessions.len());
            let sum: i64 = ranking
                .terms
                .iter()
                .map(|term| i64::from(term.points))
                .sum();
            assert_eq!(i64::from(ranking.points), sum);
            ranking
                .terms
                .iter()
                .for_each(|term| is_shown(&term.name, 101));
        }
    }
}

/// Asserts that a text is short and has no control characters.
fn is_shown(text: &str, longest: usize) {
    assert!(text.chars().count() <= longest, "{text:?}");
    assert!(!text.contains(char::is_control), "{text:?}");
}
