//! What must be true of every real agent: texts that its composer would take for something else are
//! prompts, it is left alone while it works or while a person writes or is asked, and the daemon may be
//! killed at each step of a turn.

use crate::harness::agents::{patiently, session_becomes, task_becomes, task_ends};
use crate::harness::{Pane, World, assert_calm, stays};
use crate::language_model::{Model, answer};
use crate::sample_prompts::everything;

/// The step at which the daemon is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
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

pub(crate) const STEPS: &[Step] = &[
    Step::Assigned,
    Step::Pasted,
    Step::Asked,
    Step::Runs,
    Step::Answered,
];

/// The steps at which it matters which agent it is; all with [`everything`].
pub(crate) fn own_steps() -> &'static [Step] {
    match everything() {
        true => STEPS,
        false => &[Step::Pasted, Step::Answered],
    }
}

/// An agent in a session, and the model that it asks.
pub(crate) struct Agent<'w> {
    pub(crate) world: &'w World,
    pub(crate) model: &'w Model,
    pub(crate) pane: &'w Pane<'w>,
    pub(crate) provider: &'w str,
    /// The session.
    pub(crate) name: &'w str,
}

impl Agent<'_> {
    /// Kills the daemon at each of these steps of a turn, and starts it again.
    #[track_caller]
    pub(crate) fn survives_its_daemons(&self, steps: &[Step]) {
        let (world, model) = (self.world, self.model);
        for (number, &step) in steps.iter().enumerate() {
            let prompt = format!("round {number}, {step:?}, SLOW=1200");
            let daemon = world.daemon();
            session_becomes(world, self.name, "idle");
            let id = self.send(&prompt);
            self.reaches(step, id, &prompt);
            daemon.kill();

            let daemon = world.daemon();
            let mut task = task_ends(world, id);
            if step == Step::Assigned && task["status"] == "uncertain" {
                // It was killed a moment later, when it had said that it pastes and had not: what is not in
                // the composer may have been submitted. A person sees that it was not.
                let said = world.history(id);
                assert!(
                    said.iter().any(|row| row.contains("delivering")),
                    "{said:#?}"
                );
                assert!(model.turns_of(&prompt).is_empty(), "{task:#}");
                let resend = ["resolve", &id.to_string(), "--resend"];
                world.assigner(&resend).succeeded();
                task = task_ends(world, id);
            }
            assert_eq!(task["status"], "completed", "{step:?}: {task:#}");
            self.answered(id, &prompt);
            assert_calm(&daemon.log());
        }
        assert_eq!(model.turns().len(), steps.len(), "{:#?}", model.prompts());
    }

    /// It is given nothing while it works, while a person's draft is in its composer, and while it waits
    /// for an answer.
    #[track_caller]
    pub(crate) fn is_left_alone(&self) {
        let (world, model) = (self.world, self.model);
        let _daemon = world.daemon();
        session_becomes(world, self.name, "idle");
        let held = self.send("HOLD this for a while");
        model.asked("HOLD this for a while");
        task_becomes(world, held, "in_progress");
        session_becomes(world, self.name, "busy");
        let next = self.waits("the one after it");
        model.release();
        self.answered(held, "HOLD this for a while");
        self.answered(next, "the one after it");

        let draft = "what I was about to say";
        session_becomes(world, self.name, "idle");
        self.pane.keys(&["-l", draft]);
        session_becomes(world, self.name, "attended");
        let next = self.waits("from the queue");
        assert!(self.pane.screen().contains(draft), "{}", self.pane.screen());
        self.pane.keys(&["-N", &draft.len().to_string(), "BSpace"]);
        self.answered(next, "from the queue");

        let asks = self.send("QUESTION first");
        task_becomes(world, asks, "waiting_input");
        let next = self.waits("of another");
        world
            .assigner(&["reply", &asks.to_string(), "yes, do go on"])
            .succeeded();
        self.answered(asks, "yes, do go on");
        self.answered(next, "of another");
        assert_eq!(model.turns().len(), 6, "{:#?}", model.prompts());
    }

    fn send(&self, prompt: &str) -> u64 {
        let provider = ["--provider", self.provider];
        self.world.send(&[&provider[..], &["--", prompt]].concat())
    }

    /// Queues a prompt, and asserts that it waits, with a reason, and that nothing of it is typed.
    #[track_caller]
    fn waits(&self, prompt: &str) -> u64 {
        let id = self.send(prompt);
        assert!(!self.world.reason(id).is_empty());
        stays(|| {
            let task = self.world.show(id);
            assert_eq!(task["status"], "pending", "{task:#}");
            assert_eq!(task["attempts"].as_array().map(Vec::len), Some(0));
            assert!(!self.pane.screen().contains(prompt));
            self.model.turns().len()
        });
        id
    }

    /// Asserts that the model was asked a prompt in one request, and that its answer is the response.
    #[track_caller]
    fn answered(&self, id: u64, prompt: &str) {
        let task = task_becomes(self.world, id, "completed");
        assert_eq!(self.model.once(prompt).requests, 1, "{task:#}");
        let output = String::from_utf8(self.world.output(id)).expect("UTF-8");
        assert_eq!(output.trim(), answer(prompt), "{task:#}");
        assert_eq!(task["response"], "whole", "{task:#}");
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
