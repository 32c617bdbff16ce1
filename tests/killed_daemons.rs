//! The daemon is killed at each step of an agent's turn: the prompt reaches the model once, and its answer
//! is kept whole.

use crate::harness::agents::{patiently, session_becomes, task_ends};
use crate::harness::{Pane, World, assert_calm};
use crate::language_model::{Model, answer};

/// The step at which the daemon is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The task is given to the session; nothing may have been pasted.
    Assigned,
    /// The composer shows the prompt, which may have been submitted.
    Pasted,
    /// The model has it.
    Asked,
    /// The ledger says that it runs.
    Runs,
    /// The model has answered.
    Answered,
}

const STEPS: [Step; 5] = [
    Step::Assigned,
    Step::Pasted,
    Step::Asked,
    Step::Runs,
    Step::Answered,
];

/// An agent in a session, and the model that it asks.
pub(crate) struct Agent<'w> {
    pub(crate) world: &'w World,
    pub(crate) model: &'w Model,
    pub(crate) pane: &'w Pane<'w>,
    pub(crate) provider: &'w str,
    /// The session.
    pub(crate) name: &'w str,
    /// Whether its record has each response, as it was.
    pub(crate) has_record: bool,
}

impl Agent<'_> {
    /// Kills the daemon at each step of a turn, and starts it again.
    #[track_caller]
    pub(crate) fn survives_its_daemons(&self) {
        let (world, model) = (self.world, self.model);
        for (number, step) in STEPS.into_iter().enumerate() {
            let prompt = format!("round {number}, {step:?}, SLOW=1200");
            let daemon = world.daemon();
            session_becomes(world, self.name, "idle");
            let id = world.send(&["--provider", self.provider, "--", &prompt]);
            self.reaches(step, id, &prompt);
            daemon.kill();

            let daemon = world.daemon();
            let task = task_ends(world, id);
            assert_eq!(task["status"], "completed", "{step:?}: {task:#}");
            assert_eq!(model.once(&prompt).requests, 1, "{step:?}: {task:#}");
            let output = String::from_utf8(world.output(id)).expect("UTF-8");
            assert_eq!(output.trim(), answer(&prompt), "{step:?}: {task:#}");
            if self.has_record {
                assert_eq!(task["response"], "whole", "{step:?}: {task:#}");
            }
            assert_calm(&daemon.log());
        }
        assert_eq!(model.turns().len(), STEPS.len(), "{:#?}", model.prompts());
    }

    /// Waits for a step; a task that has come further meanwhile does as well.
    #[track_caller]
    fn reaches(&self, step: Step, id: u64, prompt: &str) {
        let (world, model) = (self.world, self.model);
        patiently(|| {
            let is_there = match step {
                Step::Assigned => world.show(id)["status"] != "pending",
                Step::Pasted => self.pane.screen().contains(prompt),
                Step::Asked => !model.turns_of(prompt).is_empty(),
                Step::Runs => !["pending", "assigned"]
                    .map(Into::into)
                    .contains(&world.show(id)["status"]),
                Step::Answered => {
                    let turns = model.turns_of(prompt);
                    turns.first().is_some_and(|turn| turn.answer.is_some())
                }
            };
            match is_there {
                true => Ok(()),
                false => Err(format!("not yet {step:?}: {:#}", world.show(id))),
            }
        });
    }
}
