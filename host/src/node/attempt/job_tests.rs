//! The machine of a job, step by step, without a shell, a file or a clock.

mod delivery;
mod ending;
mod resuming;
mod stopping;

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::super::script::ScriptStep;
use super::super::shell::ShellAnswer;
use super::super::spool::Taken;
use super::job::Job;
use super::testing::{
    acts, at, brief, command, held, open, outcome, pane, rules, seen, seen_at, shell, typed_line,
};
use super::{
    Act, Done, Files, Leaves, Next, Note, Observation, OutputSource, Presence, Sight, Unwritten,
};
use crate::model::session::Shell;
use crate::model::task::{Event, Outcome, Phase};
use crate::store::Request;
use crate::tmux::{Error, Refusal, Typed};

/// A job, and what it wants done.
struct JobRun {
    job: Job,
    next: Next,
}

impl JobRun {
    fn new() -> Self {
        Self::of(Job::new(brief(command("true")), rules()))
    }

    fn of(job: Job) -> Self {
        Self {
            job,
            next: Next::default(),
        }
    }

    /// Steps at this many milliseconds.
    fn step(mut self, observation: &Observation, ms: u64) -> Self {
        let (job, next) = self.job.step(observation, at(ms));
        self.job = job;
        self.next = next;
        self
    }

    /// A job whose line was typed at 100 ms.
    fn delivered() -> Self {
        let run = Self::new()
            .step(&seen(shell()), 100)
            .step(&done(Done::Place(Ok(None)), 100), 100)
            .step(&done(Done::Written(Ok(typed_line())), 100), 100)
            .step(&seen_at(shell(), 100), 100);
        assert!(matches!(run.next.acts.last(), Some(Act::Type(_))));
        run.step(&done(Done::Typed(Typed::Done), 100), 100)
    }

    /// A job that its shell took up at 200 ms.
    fn running() -> Self {
        Self::running_of(Self::delivered())
    }

    fn running_of(run: Self) -> Self {
        let run = run.step(&files(taken()), 200);
        assert_eq!(
            run.next.acts,
            [Act::Advance {
                phase: Phase::Running,
                details: "picked up by the shell".to_owned()
            }]
        );
        run
    }

    fn outcome(&self) -> (Outcome, Event) {
        outcome(&self.next)
    }

    fn reason(&self) -> String {
        let end = super::testing::end(&self.next);
        end.reason.clone().unwrap_or_default()
    }
}

fn done(done: Done, ms: u64) -> Observation {
    Observation {
        done: Some(done),
        ..seen_at(shell(), ms)
    }
}

fn files(files: Files) -> Observation {
    with_files(files, busy(), 1_000)
}

fn with_files(files: Files, pane: Presence, ms: u64) -> Observation {
    Observation {
        sight: Some(Sight {
            at: at(ms).tick,
            pane,
        }),
        files: Some(files),
        ..Observation::default()
    }
}

fn taken() -> Files {
    Files {
        taken: Some(Taken::ByShell),
        script: true,
        ..Files::default()
    }
}

fn untaken() -> Files {
    Files {
        taken: Some(Taken::No),
        script: true,
        ..Files::default()
    }
}

fn exited(code: i32) -> Files {
    Files {
        exit: Some(code),
        step: Some((ScriptStep::Command, Duration::ZERO)),
        output_whole: true,
        ..taken()
    }
}

/// A pane in which a command runs.
fn busy() -> Presence {
    pane(|pane| {
        pane.idle = false;
        pane.at_prompt = false;
        pane.foreground = Some(77);
    })
}

fn gone(lives: bool) -> Presence {
    Presence::Missing { lives }
}

fn asked(request: Request, observation: Observation) -> Observation {
    Observation {
        request: Some(request),
        ..observation
    }
}

/// The pane of a shell of this kind, at what looks like its prompt.
fn at_prompt(kind: Shell, tells: bool) -> Presence {
    let Presence::Here(pane) = shell() else {
        panic!("a shell");
    };
    let mut pane = (*pane).clone();
    (pane.shell, pane.tells, pane.at_prompt) = (Some(kind), tells, true);
    Presence::Here(Arc::new(pane))
}

/// A task's attempt, whose shell has had it since the origin.
fn resumed(task: crate::model::task::Task, now: u64) -> JobRun {
    let attempt = crate::store::OpenAttempt {
        task,
        ..open(Phase::Running)
    };
    JobRun::of(Job::resume(attempt, rules(), at(now)))
}

fn at_step(step: ScriptStep, age: u64) -> Files {
    Files {
        step: Some((step, Duration::from_millis(age))),
        ..taken()
    }
}

/// Anything that may be seen of a job.
fn observations() -> impl Strategy<Value = Observation> {
    let presence = prop_oneof![
        Just(shell()),
        Just(busy()),
        Just(gone(true)),
        Just(gone(false)),
    ];
    let claims = prop_oneof![
        Just(Taken::No),
        Just(Taken::ByShell),
        Just(Taken::Withdrawn)
    ];
    let done = prop_oneof![
        Just(Done::Fine),
        Just(Done::Place(Ok(None))),
        Just(Done::Place(Err("no".into()))),
        Just(Done::Written(Ok(typed_line()))),
        Just(Done::Typed(Typed::Done)),
        Just(Done::Typed(Typed::Refused(Refusal::Gone))),
        Just(Done::Typed(Typed::Unknown(Error::Closed))),
        Just(Done::Withdrawn(Ok(Taken::Withdrawn))),
        Just(Done::Withdrawn(Ok(Taken::ByShell))),
        Just(Done::Withdrawn(Err("no".into()))),
    ];
    let request = prop_oneof![
        4 => Just(None),
        1 => Just(Some(Request::Cancel)),
        1 => Just(Some(Request::Reassign(None))),
    ];
    let exit = proptest::option::of(prop_oneof![Just(0), Just(1), Just(130)]);
    (
        presence,
        claims,
        proptest::option::of(done),
        request,
        exit,
        any::<bool>(),
        0u64..100_000,
    )
        .prop_map(
            |(pane, taken, done, request, exit, whole, ms)| Observation {
                sight: Some(Sight {
                    at: at(ms).tick,
                    pane,
                }),
                files: Some(Files {
                    taken: Some(taken),
                    script: true,
                    exit,
                    step: None,
                    output_whole: whole,
                    ..Files::default()
                }),
                done,
                request,
                ..Observation::default()
            },
        )
}

proptest! {
    #[test]
    fn a_job_is_typed_once_and_ends_once(seen in proptest::collection::vec(observations(), 1..80)) {
        let mut run = JobRun::new();
        let (mut typed, mut ended, mut written) = (0, 0, false);
        for (index, observation) in seen.iter().enumerate() {
            let before = run.job.has_ended();
            run = run.step(observation, index as u64 * 500);
            for act in &run.next.acts {
                prop_assert!(!before, "nothing happens after the end");
                match act {
                    Act::Advance { phase: Phase::Delivering, .. } => written = true,
                    Act::Type(_) => {
                        prop_assert!(written, "the row stands before the byte");
                        typed += 1;
                    }
                    Act::End(_) => ended += 1,
                    _ => {}
                }
            }
            if ended > 0 {
                prop_assert!(run.job.has_ended());
            }
        }
        prop_assert!(typed <= 1);
        prop_assert!(ended <= 1);
    }
}
