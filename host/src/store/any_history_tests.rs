//! The ledger under any history of operations.

use proptest::prelude::*;

use super::tests::*;

/// What a random history does next.
#[derive(Debug, Clone)]
enum Step {
    Queue,
    Claim(usize, u32),
    Advance(usize, Phase),
    End(usize, Outcome, Event),
    Cancel(usize),
    Resolve(usize, Event),
}

fn step() -> impl Strategy<Value = Step> {
    let endings = prop::sample::select(vec![
        (Outcome::Completed, Event::Complete),
        (Outcome::Failed, Event::Fail),
        (Outcome::Failed, Event::Retry),
        (Outcome::Refused, Event::Refuse),
        (Outcome::Withdrawn, Event::Withdraw),
        (Outcome::Uncertain, Event::Lose),
        (Outcome::Cancelled, Event::Cancel),
    ]);
    prop_oneof![
        2 => Just(Step::Queue),
        4 => (0..6_usize, 0..3_u32).prop_map(|(task, pane)| Step::Claim(task, pane)),
        4 => (0..12_usize, prop::sample::select(vec![Phase::Delivering, Phase::Running]))
            .prop_map(|(attempt, phase)| Step::Advance(attempt, phase)),
        4 => (0..12_usize, endings).prop_map(|(attempt, (outcome, event))| {
            Step::End(attempt, outcome, event)
        }),
        1 => (0..6_usize).prop_map(Step::Cancel),
        1 => (0..6_usize, prop::sample::select(vec![Event::Resend, Event::MarkDone]))
            .prop_map(|(task, event)| Step::Resolve(task, event)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whatever is asked in whatever order: a session and a task have at most one attempt in
    /// flight, a task is in flight exactly when its state says so, and every change of state is in
    /// the history.
    #[test]
    fn the_ledger_holds_under_any_history(steps in prop::collection::vec(step(), 1..40)) {
        let (directory, mut store) = store();
        let mut tasks = Vec::new();
        let mut attempts = Vec::new();
        for step in steps {
            let before: Vec<_> = tasks.iter().map(|&id| store.task(id).expect("a task").status).collect();
            match step {
                Step::Queue => tasks.extend(queue(&mut store, &[NewTask::command("x")])),
                Step::Claim(task, pane) => {
                    if let Some(&task) = tasks.get(task) {
                        attempts.extend(store.claim(&[claim(task, pane)], now()).expect("asked").into_iter().flatten());
                    }
                }
                Step::Advance(attempt, phase) => {
                    if let Some(&attempt) = attempts.get(attempt) {
                        let _ = store.advance(attempt, phase, "", now());
                    }
                }
                Step::End(attempt, outcome, event) => {
                    if let Some(&attempt) = attempts.get(attempt) {
                        let _ = store.end(&end(attempt, outcome, event), now());
                    }
                }
                Step::Cancel(task) => {
                    if let Some(&task) = tasks.get(task) {
                        let _ = store.cancel(task, now());
                    }
                }
                Step::Resolve(task, event) => {
                    if let Some(&task) = tasks.get(task) {
                        let _ = store.resolve(task, event, now());
                    }
                }
            }
            let open = store.open_attempts().expect("open");
            for (index, attempt) in open.iter().enumerate() {
                for other in &open[index + 1..] {
                    prop_assert_ne!(attempt.task.id, other.task.id);
                    prop_assert_ne!(&attempt.identity, &other.identity);
                }
            }
            for (&id, before) in tasks.iter().zip(before) {
                let task = store.task(id).expect("a task");
                let in_flight = open.iter().any(|attempt| attempt.task.id == id);
                let says = matches!(task.status, Status::Assigned | Status::InProgress);
                prop_assert_eq!(in_flight, says, "{} is {}", id, task.status);
                if task.status != before {
                    let last = store.history(id).expect("history").pop().expect("a row");
                    let event = last.action;
                    prop_assert!(event != "queued", "{} became {} without a row", id, task.status);
                }
            }
        }
        let connection = other(&directory);
        let problems: i64 = connection
            .query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0))
            .expect("checked");
        prop_assert_eq!(problems, 0);
    }
}
