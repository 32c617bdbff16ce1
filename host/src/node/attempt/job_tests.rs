//! The machine of a job, step by step, without a shell, a file or a clock.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::super::script::Step;
use super::super::shell::Said;
use super::super::spool::Taken;
use super::job::Job;
use super::testing::{
    acts, at, brief, command, held, open, outcome, pane, rules, seen, seen_at, shell, typed_line,
};
use super::{
    Act, Done, Files, Leaves, Next, Note, Observation, Output, Presence, Sight, Unwritten,
};
use crate::model::session::Shell;
use crate::model::task::{Event, Outcome, Phase};
use crate::probe::Signal;
use crate::store::Request;
use crate::tmux::{Error, Refusal, Typed, TypedLine};

/// A job, and what it wants done.
struct Run {
    job: Job,
    next: Next,
}

impl Run {
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
        step: Some((Step::Command, Duration::ZERO)),
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

#[test]
fn the_row_says_delivering_before_the_first_byte() {
    let run = Run::new()
        .step(&seen(shell()), 0)
        .step(&done(Done::Place(Ok(None)), 0), 0)
        .step(&done(Done::Written(Ok(typed_line())), 0), 0)
        .step(&seen_at(shell(), 0), 0);
    let acts = run.next.acts;
    let advance = acts.iter().position(|act| {
        matches!(
            act,
            Act::Advance {
                phase: Phase::Delivering,
                ..
            }
        )
    });
    let typed = acts.iter().position(|act| matches!(act, Act::Type(_)));
    assert!(advance.expect("a row") < typed.expect("a line"), "{acts:?}");
}

#[test]
fn nothing_is_decided_before_the_sessions_were_looked_at() {
    for job in [
        Job::new(brief(command("true")), rules()),
        Job::resume(open(Phase::Claimed), rules(), at(0)),
        Job::resume(open(Phase::Delivering), rules(), at(0)),
        Job::resume(open(Phase::Running), rules(), at(0)),
    ] {
        let unseen = Observation {
            files: Some(exited(0)),
            ..Observation::default()
        };
        let run = Run::of(job).step(&unseen, 0);
        assert!(run.next.acts.is_empty(), "{:?}", run.next);
    }
}

#[test]
fn a_line_is_typed_only_into_a_session_that_was_seen_ready_a_moment_ago() {
    let written = || {
        Run::new()
            .step(&seen(shell()), 0)
            .step(&done(Done::Place(Ok(None)), 0), 0)
            .step(&done(Done::Written(Ok(typed_line())), 0), 0)
    };
    // A look from before waiting for a directory: another look is needed first.
    let run = written().step(&seen_at(shell(), 0), 9_000);
    assert!(run.next.acts.is_empty());
    assert!(run.next.again.is_some());
    // Still ready, and the line goes to where the cursor is now.
    let moved = pane(|pane| pane.cursor = (7, 3));
    let run = run.step(&seen_at(moved, 9_000), 9_010);
    let Some(Act::Type(line)) = run.next.acts.last() else {
        panic!("a line is typed: {:?}", run.next);
    };
    assert_eq!(line.cursor, (7, 3));
    // A person has come, or a command runs.
    let run = written().step(&seen_at(busy(), 10), 20);
    assert_eq!(run.outcome(), (Outcome::Refused, Event::Refuse));
    // It is gone.
    let run = written().step(&seen_at(gone(true), 10), 20);
    assert_eq!(run.outcome(), (Outcome::Refused, Event::Refuse));
}

#[test]
fn only_what_tmux_says_it_refused_was_not_typed() {
    let typing = || {
        Run::new()
            .step(&seen(shell()), 0)
            .step(&done(Done::Place(Ok(None)), 0), 0)
            .step(&done(Done::Written(Ok(typed_line())), 0), 0)
            .step(&seen_at(shell(), 0), 0)
    };
    let refused = Done::Typed(Typed::Refused(Refusal::CursorMoved));
    let run = typing().step(&done(refused, 0), 0);
    assert_eq!(run.outcome(), (Outcome::Refused, Event::Refuse));
    assert_eq!(held(&run.next), Some(Duration::from_millis(500)));
    // A lost answer shows nothing, but the claim file does.
    let lost = Done::Typed(Typed::Unknown(Error::Closed));
    let run = typing().step(&done(lost, 0), 0);
    assert!(run.next.acts.is_empty());
    let run = Run::running_of(run);
    assert!(!run.job.has_ended());
}

#[test]
fn what_the_shell_does_not_take_up_is_withdrawn_before_it_is_given_back() {
    let late = |ms| Run::delivered().step(&with_files(untaken(), shell(), ms), ms);
    assert!(late(10_099).next.acts.is_empty());
    let run = late(10_100);
    assert_eq!(run.next.acts, [Act::Withdraw]);
    let withdrawn = Done::Withdrawn(Ok(Taken::Withdrawn));
    let run = run.step(&done(withdrawn, 10_101), 10_101);
    assert_eq!(run.outcome(), (Outcome::Refused, Event::Refuse));
    assert_eq!(held(&run.next), Some(Duration::from_secs(30)));
    assert!(run.next.acts.contains(&Act::CloseReader));
    // Between the look and now, the shell took it.
    let run = late(10_100).step(&done(Done::Withdrawn(Ok(Taken::ByShell)), 10_101), 10_101);
    assert!(!run.job.has_ended());
    Run::running_of(run);
    // It cannot be known.
    let run = late(10_100).step(&done(Done::Withdrawn(Err("EIO".into())), 10_101), 10_101);
    assert_eq!(run.outcome(), (Outcome::Uncertain, Event::Lose));
}

#[test]
fn a_session_that_is_gone_gives_the_job_back_once_it_is_withdrawn() {
    // A look from before the line was typed says nothing.
    let before = with_files(untaken(), gone(false), 90);
    assert!(Run::delivered().step(&before, 300).next.acts.is_empty());
    let run = Run::delivered().step(&with_files(untaken(), gone(false), 200), 300);
    assert_eq!(run.next.acts, [Act::Withdraw]);
    let run = run.step(&done(Done::Withdrawn(Ok(Taken::Withdrawn)), 300), 300);
    assert_eq!(run.outcome(), (Outcome::Refused, Event::Refuse));
}

#[test]
fn an_exit_code_is_kept_whole() {
    for code in [0, 1, 42, 127, 128, 130, 137, 255] {
        let run = Run::running().step(&files(exited(code)), 1_000);
        let end = super::testing::end(&run.next);
        assert_eq!(end.exit_code, Some(code));
        assert_eq!(end.leaves, Leaves::Variables);
        let expected = if code == 0 {
            (Outcome::Completed, Event::Complete)
        } else {
            (Outcome::Failed, Event::Fail)
        };
        assert_eq!(run.outcome(), expected);
    }
}

/// A stopped command may be continued and end then, so it is not run a second time.
#[test]
fn a_command_that_was_stopped_has_not_ended() {
    let stopped = Files {
        stopped: true,
        ..exited(148)
    };
    let run = Run::running().step(&files(stopped), 1_000);
    let end = super::testing::end(&run.next);
    assert_eq!(run.outcome(), (Outcome::Uncertain, Event::Lose));
    assert_eq!((end.exit_code, end.leaves), (None, Leaves::Variables));
    assert!(
        end.reason
            .as_deref()
            .is_some_and(|reason| reason.contains("`fg`"))
    );
}

#[test]
fn the_output_is_waited_for_as_long_as_somebody_reads_it() {
    let partial = Files {
        output_whole: false,
        ..exited(0)
    };
    let read = |piped: bool, ms| {
        let presence = pane(|pane| pane.piped = piped);
        with_files(partial.clone(), presence, ms)
    };
    let run = Run::running().step(&read(true, 1_000), 1_000);
    assert!(run.next.acts.is_empty() && run.next.again.is_some());
    let run = run.step(&read(true, 5_990), 5_999);
    assert!(run.next.acts.is_empty());
    let run = run.step(&read(true, 6_000), 6_000);
    assert_eq!(run.outcome(), (Outcome::Completed, Event::Complete));
    // Nobody reads: the reader has ended without reporting.
    let run = Run::running().step(&read(true, 1_000), 1_000);
    let run = run.step(&read(false, 1_001), 1_001);
    assert_eq!(run.outcome(), (Outcome::Completed, Event::Complete));
    // A look from before the end does not show that.
    let run = Run::running().step(&read(true, 1_000), 1_000);
    assert!(run.step(&read(false, 999), 1_001).next.acts.is_empty());
}

#[test]
fn a_shell_at_its_prompt_without_a_code_has_dropped_the_job_once_seen_twice() {
    let prompt = |ms| with_files(taken(), shell(), ms);
    // Seen before the shell took the job up.
    let run = Run::running().step(&prompt(199), 300);
    let run = run.step(&prompt(199), 900);
    assert!(run.next.acts.is_empty());
    let run = Run::running().step(&prompt(300), 300);
    assert!(run.next.acts.is_empty());
    // The same look once more is not a second one.
    let run = run.step(&prompt(300), 900);
    assert!(run.next.acts.is_empty());
    let run = run.step(&prompt(349), 900);
    assert!(run.next.acts.is_empty());
    let run = run.step(&prompt(350), 900);
    assert_eq!(run.outcome(), (Outcome::Failed, Event::Fail));
    assert!(run.next.acts.contains(&Act::CutPrompt));
    // It continued in between: an editor of the job, not a prompt.
    let run = Run::running().step(&prompt(300), 300);
    let run = run.step(&with_files(taken(), busy(), 310), 310);
    let run = run.step(&prompt(360), 360);
    assert!(run.next.acts.is_empty());
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

#[test]
fn a_command_has_failed_only_where_its_line_says_so() {
    let command = at_step(Step::Command, 0);
    let back = |code| Files {
        back: Some(code),
        ..command.clone()
    };
    let unwritten = Files {
        exit_empty: true,
        ..command.clone()
    };
    let failed = Some((Outcome::Failed, Event::Fail));
    let unknown = Some((Outcome::Uncertain, Event::Lose));
    for (kind, tells, files, wanted) in [
        (Shell::Bash, true, back(130), failed),
        (Shell::Zsh, true, back(1), failed),
        (Shell::Fish, true, back(0), unknown),
        (Shell::Bash, true, unwritten.clone(), unknown),
        (Shell::Dash, false, unwritten, unknown),
        (Shell::Dash, false, command.clone(), failed),
        // An editor started by the command looks like a prompt.
        (Shell::Bash, true, command.clone(), None),
        (Shell::Bash, false, command.clone(), unknown),
        // The command was not begun.
        (Shell::Bash, false, at_step(Step::Directory, 0), failed),
    ] {
        let seen = |ms| with_files(files.clone(), at_prompt(kind, tells), ms);
        let run = Run::running().step(&seen(300), 300);
        let run = run.step(&seen(400), 400);
        let ended = run.job.has_ended().then(|| run.outcome());
        assert_eq!(ended, wanted, "{kind:?} {tells} {files:?}");
    }
    // There was no room to write the line's status, and the shell says that it is at its prompt.
    let seen = |idle, ms| {
        let Presence::Here(pane) = at_prompt(Shell::Bash, true) else {
            panic!("a shell");
        };
        let mut pane = (*pane).clone();
        (pane.idle, pane.at_prompt) = (idle, false);
        with_files(command.clone(), Presence::Here(Arc::new(pane)), ms)
    };
    let run = Run::running().step(&seen(true, 300), 300);
    let run = run.step(&seen(true, 2_299), 2_299);
    assert!(!run.job.has_ended());
    let run = run.step(&seen(true, 2_300), 2_300);
    assert_eq!(run.outcome(), (Outcome::Uncertain, Event::Lose));
    let run = Run::running().step(&seen(false, 300), 300);
    let run = run.step(&seen(false, 90_000), 90_000);
    assert!(!run.job.has_ended());
    // Its shell is gone: there is no other try, whatever the task allows.
    let run = Run::running().step(&with_files(command, gone(false), 300), 300);
    assert_eq!(run.outcome(), (Outcome::Uncertain, Event::Lose));
}

#[test]
fn a_shell_that_takes_nothing_gives_the_job_back_with_its_reason() {
    let said = |said| Files {
        said: Some(said),
        ..untaken()
    };
    // For a line that was typed, nothing that a shell says is an answer.
    let run = Run::delivered().step(&with_files(said(Said::Draft), shell(), 300), 300);
    assert!(!run.next.acts.contains(&Act::Withdraw));
    let asked = || {
        let line = TypedLine {
            key: Some(b"key"),
            ..typed_line()
        };
        let run = Run::new()
            .step(&seen(shell()), 100)
            .step(&done(Done::Place(Ok(None)), 100), 100)
            .step(&done(Done::Written(Ok(line)), 100), 100)
            .step(&seen_at(at_prompt(Shell::Bash, true), 100), 100);
        run.step(&done(Done::Typed(Typed::Done), 100), 100)
    };
    for taken in [None, Some(Said::Taken)] {
        let files = Files {
            said: taken,
            ..untaken()
        };
        let run = asked().step(&with_files(files, shell(), 300), 300);
        assert!(run.next.acts.is_empty(), "{taken:?}");
        assert!(run.next.again.is_some(), "{taken:?}");
    }
    for refusal in [Said::Draft, Said::Unfinished, Said::Nothing] {
        let run = asked().step(&with_files(said(refusal), shell(), 300), 300);
        assert_eq!(run.next.acts, [Act::Withdraw]);
        let run = run.step(&done(Done::Withdrawn(Ok(Taken::Withdrawn)), 301), 301);
        assert_eq!(run.outcome(), (Outcome::Refused, Event::Refuse));
        let why = refusal.refusal().expect("a reason");
        assert_eq!(run.reason(), why);
        assert!(run.next.acts.contains(&Act::Tell(Note::Declined(why))));
    }
}

#[test]
fn a_code_counts_before_the_prompt_does() {
    let run = Run::running().step(&with_files(taken(), shell(), 300), 300);
    let run = run.step(&with_files(exited(3), shell(), 400), 400);
    assert_eq!(super::testing::end(&run.next).exit_code, Some(3));
}

#[test]
fn what_is_not_seen_and_lives_may_still_run() {
    let run = Run::running().step(&with_files(taken(), gone(true), 300), 300);
    assert!(run.next.acts.is_empty() && !run.job.has_ended());
    let run = run.step(&with_files(taken(), gone(true), 90_000), 90_000);
    assert!(!run.job.has_ended());
    // A look from before it ran says nothing about it.
    let run = run.step(&with_files(taken(), gone(false), 199), 90_001);
    assert!(!run.job.has_ended());
    let run = run.step(&with_files(taken(), gone(false), 90_002), 90_002);
    assert_eq!(run.outcome(), (Outcome::Failed, Event::Fail));
    assert!(run.reason().contains("shell is gone"));
}

/// Steps every second in `seconds`, and returns what was done to the process.
fn told(
    mut run: Run,
    seconds: std::ops::Range<u64>,
    seen: impl Fn(u64) -> Observation,
) -> Vec<Act> {
    let mut told = Vec::new();
    for second in seconds {
        run = run.step(&seen(second * 1_000), second * 1_000);
        told.extend(acts(&run.next));
    }
    told
}

#[test]
fn a_job_that_is_to_end_is_told_ever_more_firmly() {
    let cancelled = |ms| asked(Request::Cancel, with_files(taken(), busy(), ms));
    let told = told(Run::running(), 1..14, cancelled);
    assert_eq!(
        told,
        [
            Act::Interrupt,
            Act::Interrupt,
            Act::Signal(77, Signal::Terminate),
            Act::Signal(77, Signal::Kill),
            Act::Signal(77, Signal::Kill),
        ]
    );
}

#[test]
fn a_job_without_a_foreground_group_is_only_interrupted() {
    let cancelled = |ms| {
        let quiet = pane(|pane| {
            pane.idle = false;
            pane.at_prompt = false;
        });
        asked(Request::Cancel, with_files(taken(), quiet, ms))
    };
    let told = told(Run::running(), 1..14, cancelled);
    assert_eq!(told, vec![Act::Interrupt; 5]);
}

#[test]
fn a_time_limit_counts_from_the_command_and_not_by_the_wall_clock() {
    let mut task = command("sleep 600");
    task.timeout_seconds = Some(120);
    let job = Job::new(brief(task), rules());
    let mut run = Run {
        job,
        next: Next::default(),
    };
    for (observation, ms) in [
        (seen(shell()), 0),
        (done(Done::Place(Ok(None)), 0), 0),
        (done(Done::Written(Ok(typed_line())), 0), 0),
        (seen_at(shell(), 0), 0),
        (done(Done::Typed(Typed::Done), 0), 0),
        (files(taken()), 0),
    ] {
        run = run.step(&observation, ms);
    }
    let command = Files {
        step: Some((Step::Command, Duration::ZERO)),
        ..taken()
    };
    let look = |ms| with_files(command.clone(), busy(), ms);
    run = run.step(&look(1_000), 1_000);
    // The wall clock jumps forward by a day, and back by a year.
    for days in [1, -365] {
        let mut now = at(60_000);
        now.wall += jiff::SignedDuration::from_hours(24 * days);
        let (job, next) = run.job.step(&look(60_000), now);
        run.job = job;
        assert!(next.acts.is_empty(), "{next:?}");
    }
    run = run.step(&look(120_999), 120_999);
    assert!(run.next.acts.is_empty());
    run = run.step(&look(121_000), 121_000);
    assert_eq!(run.next.acts, [Act::Interrupt]);
    let run = run.step(&with_files(exited_by(130), busy(), 121_100), 121_100);
    assert_eq!(run.outcome(), (Outcome::TimedOut, Event::Fail));
    assert!(
        run.reason().contains("longer than 120 s"),
        "{}",
        run.reason()
    );
}

fn exited_by(code: i32) -> Files {
    exited(code)
}

#[test]
fn each_prerequisite_has_its_own_time() {
    let step = |index| Files {
        step: Some((Step::Prerequisite(index), Duration::ZERO)),
        ..taken()
    };
    let limit = rules().prerequisite_within.as_millis();
    let limit = u64::try_from(limit).expect("it fits");
    let run = Run::running().step(&with_files(step(0), busy(), 300), 300);
    let run = run.step(&with_files(step(0), busy(), limit), 200 + limit);
    assert!(run.next.acts.is_empty());
    let run = run.step(&with_files(step(1), busy(), limit + 300), limit + 300);
    assert!(run.next.acts.is_empty());
    let run = run.step(&with_files(step(1), busy(), 0), 2 * limit + 299);
    assert!(run.next.acts.is_empty());
    let run = run.step(&with_files(step(1), busy(), 0), 2 * limit + 300);
    assert_eq!(run.next.acts, [Act::Interrupt]);
}

#[test]
fn a_failed_try_is_followed_by_another_after_a_while() {
    let mut task = command("false");
    task.max_retries = 2;
    for (tries, expected) in [
        (0, Some(Duration::from_secs(1))),
        (1, Some(Duration::from_secs(2))),
        (2, None),
    ] {
        task.tries = tries;
        let job = Job::resume(
            crate::store::OpenAttempt {
                task: task.clone(),
                ..open(Phase::Running)
            },
            rules(),
            at(0),
        );
        let run = Run::of(job).step(&files(exited(1)), 1_000);
        let end = super::testing::end(&run.next);
        assert_eq!(end.backoff, expected);
        let event = if expected.is_some() {
            Event::Retry
        } else {
            Event::Fail
        };
        assert_eq!(end.event, event);
    }
}

#[test]
fn a_cancelled_job_that_ends_by_itself_is_cancelled_unless_it_completed() {
    let cancelled = asked(Request::Cancel, with_files(taken(), busy(), 300));
    let run = Run::running().step(&cancelled, 300);
    let ended = run.step(&files(exited(130)), 400);
    assert_eq!(ended.outcome(), (Outcome::Cancelled, Event::Cancel));
    let run = Run::running().step(&cancelled, 300);
    let ended = run.step(&files(exited(0)), 400);
    assert_eq!(ended.outcome(), (Outcome::Completed, Event::Complete));
    // If a person first requests another session and then cancels, the cancellation counts.
    let moved = asked(Request::Reassign(None), with_files(taken(), busy(), 300));
    let run = Run::running().step(&moved, 300).step(&cancelled, 310);
    let ended = run.step(&files(exited(130)), 400);
    assert_eq!(ended.outcome(), (Outcome::Cancelled, Event::Cancel));
    let run = Run::running().step(&moved, 300);
    let ended = run.step(&files(exited(130)), 400);
    assert_eq!(ended.outcome(), (Outcome::Reassigned, Event::Return));
}

#[test]
fn why_a_job_was_told_to_end_stays_unless_a_person_cancels() {
    let mut task = command("sleep 600");
    task.timeout_seconds = Some(5);
    let look = |ms| with_files(at_step(Step::Command, 0), busy(), ms);
    let overdue = || {
        let run = resumed(task.clone(), 0).step(&look(0), 0);
        run.step(&look(5_000), 5_000)
    };
    for (request, expected) in [
        (None, Outcome::TimedOut),
        (Some(Request::Reassign(None)), Outcome::TimedOut),
        (Some(Request::Cancel), Outcome::Cancelled),
    ] {
        let later = Observation {
            request,
            ..look(5_100)
        };
        let run = overdue().step(&later, 5_100);
        let run = run.step(&files(exited(130)), 5_200);
        assert_eq!(run.outcome().0, expected, "{:?}", later.request);
    }
}

#[test]
fn what_was_not_typed_is_cancelled_or_given_back_at_once() {
    type Stage = fn() -> Run;
    let stages: [(&str, Stage); 3] = [
        ("claimed", Run::new),
        ("looking", || Run::new().step(&seen(shell()), 0)),
        ("written", || {
            Run::new()
                .step(&seen(shell()), 0)
                .step(&done(Done::Place(Ok(None)), 0), 0)
                .step(&done(Done::Written(Ok(typed_line())), 0), 0)
        }),
    ];
    for (name, stage) in stages {
        let run = stage().step(&asked(Request::Cancel, seen(shell())), 10);
        assert_eq!(run.outcome(), (Outcome::Cancelled, Event::Cancel), "{name}");
        let run = stage().step(&asked(Request::Reassign(None), seen(shell())), 10);
        assert_eq!(run.outcome(), (Outcome::Refused, Event::Refuse), "{name}");
    }
}

#[test]
fn what_keeps_a_job_from_being_written_is_whose_fault_it_is() {
    let writing = || {
        Run::new()
            .step(&seen(shell()), 0)
            .step(&done(Done::Place(Ok(None)), 0), 0)
    };
    let spool = Done::Written(Err(Unwritten::Spool("no room".into())));
    let run = writing().step(&done(spool, 0), 0);
    assert_eq!(run.outcome(), (Outcome::Refused, Event::Refuse));
    let secrets = Done::Written(Err(Unwritten::Secrets("gone".into())));
    let run = writing().step(&done(secrets, 0), 0);
    assert_eq!(run.outcome(), (Outcome::Failed, Event::Fail));
    let place = Done::Place(Err("there is none".into()));
    let run = Run::new().step(&seen(shell()), 0).step(&done(place, 0), 0);
    assert_eq!(run.outcome(), (Outcome::Failed, Event::Fail));
    // Another program has replaced the shell.
    let agent = pane(|pane| pane.shell = None);
    let looked = Observation {
        done: Some(Done::Place(Ok(None))),
        ..seen(agent)
    };
    let run = Run::new().step(&seen(shell()), 0).step(&looked, 0);
    assert_eq!(run.outcome(), (Outcome::Refused, Event::Refuse));
}

#[test]
fn a_task_that_cannot_be_is_not_prepared() {
    let mut task = command("true");
    task.metadata.env_vars.insert("a b".into(), String::new());
    let run = Run::of(Job::new(brief(task), rules())).step(&seen(shell()), 0);
    assert_eq!(run.outcome(), (Outcome::Failed, Event::Fail));
    assert!(run.reason().contains("`a b`"), "{}", run.reason());
}

#[test]
fn a_step_before_the_command_that_fails_says_what_it_said() {
    let failed = Files {
        step: Some((Step::Prerequisite(0), Duration::ZERO)),
        ..exited(7)
    };
    let mut task = command("true");
    task.metadata.prerequisites = vec!["make deps".into()];
    let attempt = crate::store::OpenAttempt {
        task,
        ..open(Phase::Running)
    };
    let run = Run::of(Job::resume(attempt, rules(), at(0))).step(&files(failed), 300);
    assert_eq!(run.next.acts, [Act::CloseReader, Act::ReadPreparation]);
    let said = Done::Preparation {
        lines: vec!["one".into(), "two".into()],
        stands: "/w".into(),
        branch: Ok(None),
    };
    let run = run.step(&done(said, 310), 310);
    let end = super::testing::end(&run.next);
    assert_eq!(end.exit_code, None, "it is not the command's");
    assert_eq!(
        run.reason(),
        "prerequisite 1 of 1 (`make deps`) exited with code 7: one | two"
    );
}

#[test]
fn a_row_is_stepped_on_from_where_it_stands() {
    let resumed = |phase| Run::of(Job::resume(open(phase), rules(), at(50_000)));
    let run = resumed(Phase::Claimed).step(&seen(shell()), 50_000);
    assert_eq!(run.outcome(), (Outcome::Withdrawn, Event::Withdraw));
    let run = resumed(Phase::Claimed).step(&asked(Request::Cancel, seen(shell())), 50_000);
    assert_eq!(run.outcome(), (Outcome::Cancelled, Event::Cancel));
    // Nobody has it, and nobody must get it any more.
    let run = resumed(Phase::Delivering).step(&files(untaken()), 50_000);
    assert_eq!(run.next.acts, [Act::Withdraw]);
    let run = run.step(&done(Done::Withdrawn(Ok(Taken::Withdrawn)), 50_000), 50_000);
    assert_eq!(run.outcome(), (Outcome::Withdrawn, Event::Withdraw));
    // Its shell has it.
    let run = resumed(Phase::Delivering);
    Run::running_of(run);
    // Its files are gone, so nobody knows.
    let missing = Files {
        script: false,
        ..untaken()
    };
    let run = resumed(Phase::Delivering).step(&files(missing), 50_000);
    assert_eq!(run.outcome(), (Outcome::Uncertain, Event::Lose));
    let run = resumed(Phase::Delivering).step(&files(untaken()), 50_000);
    let run = run.step(&done(Done::Withdrawn(Err("EROFS".into())), 50_000), 50_000);
    assert_eq!(run.outcome(), (Outcome::Uncertain, Event::Lose));
    // It ended while nobody looked.
    let run = resumed(Phase::Running).step(&files(exited(0)), 50_000);
    assert_eq!(run.outcome(), (Outcome::Completed, Event::Complete));
}

#[test]
fn a_session_hears_that_it_was_typed_into() {
    let run = Run::new()
        .step(&seen(shell()), 0)
        .step(&done(Done::Place(Ok(None)), 0), 0)
        .step(&done(Done::Written(Ok(typed_line())), 0), 0)
        .step(&seen_at(shell(), 0), 0);
    assert!(run.next.acts.contains(&Act::Tell(Note::Typed)));
}

#[test]
fn secrets_of_an_interrupted_job_are_to_be_undone() {
    for (secret, leaves) in [(true, Leaves::Unclean), (false, Leaves::Nothing)] {
        let mut task = command("true");
        if secret {
            task.metadata.secret_env = vec!["TOKEN".into()];
        }
        let attempt = crate::store::OpenAttempt {
            task,
            ..open(Phase::Running)
        };
        let run = Run::of(Job::resume(attempt, rules(), at(0)))
            .step(&with_files(taken(), shell(), 300), 300)
            .step(&with_files(taken(), shell(), 400), 400);
        assert_eq!(super::testing::end(&run.next).leaves, leaves);
    }
}

/// A task's attempt, whose shell has had it since the origin.
fn resumed(task: crate::model::task::Task, now: u64) -> Run {
    let attempt = crate::store::OpenAttempt {
        task,
        ..open(Phase::Running)
    };
    Run::of(Job::resume(attempt, rules(), at(now)))
}

fn at_step(step: Step, age: u64) -> Files {
    Files {
        step: Some((step, Duration::from_millis(age))),
        ..taken()
    }
}

#[test]
fn a_look_counts_from_the_moment_on_that_it_must_belong_to() {
    // The oldest look after which a line is still typed.
    let written = || {
        Run::new()
            .step(&seen(shell()), 0)
            .step(&done(Done::Place(Ok(None)), 0), 0)
            .step(&done(Done::Written(Ok(typed_line())), 0), 0)
    };
    let run = written().step(&seen_at(shell(), 0), 1_000);
    assert!(matches!(run.next.acts.last(), Some(Act::Type(_))));
    let run = written().step(&seen_at(shell(), 0), 1_001);
    assert!(run.next.acts.is_empty());
    // A session that was gone at the very moment of the line: that look does not count.
    let run = Run::delivered().step(&with_files(untaken(), gone(false), 100), 300);
    assert!(run.next.acts.is_empty());
    let run = Run::delivered().step(&with_files(untaken(), gone(false), 101), 300);
    assert_eq!(run.next.acts, [Act::Withdraw]);
    // A shell counts as gone from the moment at which the job was seen to run, and no earlier.
    let run = Run::running().step(&with_files(taken(), gone(false), 199), 300);
    assert!(!run.job.has_ended());
    let run = Run::running().step(&with_files(taken(), gone(false), 200), 300);
    assert!(run.job.has_ended());
    // A pane that nobody reads counts only if seen later than the exit code.
    let partial = Files {
        output_whole: false,
        ..exited(0)
    };
    let look = |piped: bool, ms| {
        let presence = pane(|pane| pane.piped = piped);
        with_files(partial.clone(), presence, ms)
    };
    for (ms, ends) in [(999, false), (1_000, false), (1_001, true)] {
        let run = Run::running().step(&look(true, 1_000), 1_000);
        let run = run.step(&look(false, ms), 1_001);
        assert_eq!(run.job.has_ended(), ends, "{ms}");
    }
    // A session that is not seen does not show who reads it.
    let run = Run::running().step(&look(true, 1_000), 1_000);
    let run = run.step(&with_files(partial, gone(true), 1_001), 1_001);
    assert!(!run.job.has_ended());
}

#[test]
fn the_files_are_looked_at_from_the_line_to_the_end() {
    let failing = || {
        let failed = Files {
            step: Some((Step::Prerequisite(0), Duration::ZERO)),
            ..exited(7)
        };
        Run::running().step(&files(failed), 300)
    };
    let withdrawing = || Run::delivered().step(&asked(Request::Cancel, files(untaken())), 300);
    for (name, run, wanted) in [
        ("claimed", Run::new(), false),
        ("looking", Run::new().step(&seen(shell()), 0), false),
        ("delivered", Run::delivered(), true),
        ("withdrawing", withdrawing(), true),
        ("running", Run::running(), true),
        ("failing", failing(), true),
        (
            "ended",
            Run::running().step(&files(exited(0)), 1_000),
            false,
        ),
    ] {
        assert_eq!(run.job.wants().files, wanted, "{name}");
        assert_eq!(run.job.has_ended(), name == "ended", "{name}");
    }
}

#[test]
fn a_withdrawn_job_says_why_and_only_a_silent_session_is_left_alone() {
    type Stage = fn() -> Run;
    let stages: [(Stage, Outcome, &str, bool); 5] = [
        (
            || Run::delivered().step(&asked(Request::Cancel, files(untaken())), 300),
            Outcome::Cancelled,
            "cancelled before it began",
            false,
        ),
        (
            || Run::delivered().step(&asked(Request::Reassign(None), files(untaken())), 300),
            Outcome::Refused,
            "given to another session before it began",
            false,
        ),
        (
            || Run::delivered().step(&with_files(untaken(), gone(false), 200), 300),
            Outcome::Refused,
            "the session ended before it picked up the job",
            true,
        ),
        (
            || Run::delivered().step(&files(untaken()), 10_100),
            Outcome::Refused,
            "the shell did not pick up the job within 10 s; it was withdrawn",
            true,
        ),
        (
            || {
                let job = Job::resume(open(Phase::Delivering), rules(), at(200));
                Run::of(job).step(&files(untaken()), 300)
            },
            Outcome::Withdrawn,
            "the daemon ended while it delivered; the shell had not picked up the job",
            false,
        ),
    ];
    for (stage, expected, reason, left_alone) in stages {
        assert_eq!(stage().next.acts, [Act::Withdraw], "{reason}");
        let waiting = stage().step(&files(untaken()), 10_101);
        assert!(waiting.next.acts.is_empty(), "{reason}");
        let withdrawn = done(Done::Withdrawn(Ok(Taken::Withdrawn)), 10_101);
        let run = waiting.step(&withdrawn, 10_101);
        assert_eq!(run.outcome().0, expected, "{reason}");
        assert_eq!(run.reason(), reason);
        let rest = left_alone.then(|| Duration::from_secs(30));
        assert_eq!(held(&run.next), rest, "{reason}");
        // It cannot be known whether the shell has it, and the reason states why.
        let unknown = done(Done::Withdrawn(Err("EIO".into())), 10_101);
        let run = stage().step(&unknown, 10_101);
        assert_eq!(run.outcome(), (Outcome::Uncertain, Event::Lose), "{reason}");
        let earlier = expected == Outcome::Withdrawn;
        let told = if earlier { "spool directory" } else { "EIO" };
        assert!(run.reason().contains(told), "{reason}: {}", run.reason());
    }
}

#[test]
fn a_session_that_is_gone_before_its_line_refuses_the_job() {
    let run = Run::new().step(&seen(gone(true)), 0);
    assert_eq!(run.outcome(), (Outcome::Refused, Event::Refuse));
    let looked = Observation {
        done: Some(Done::Place(Ok(None))),
        ..seen(gone(true))
    };
    let run = Run::new().step(&seen(shell()), 0).step(&looked, 0);
    assert_eq!(run.outcome(), (Outcome::Refused, Event::Refuse));
    assert_eq!(run.reason(), "its session is gone");
}

#[test]
fn what_an_earlier_daemon_began_has_run_since_its_row_says_so() {
    let mut task = command("sleep 600");
    task.timeout_seconds = Some(60);
    let look = |ms| with_files(at_step(Step::Command, 50_000), busy(), ms);
    let run = resumed(task, 50_000).step(&look(50_000), 50_000);
    let run = run.step(&look(59_999), 59_999);
    assert!(run.next.acts.is_empty());
    let run = run.step(&look(60_000), 60_000);
    assert_eq!(run.next.acts, [Act::Interrupt]);
}

#[test]
fn a_limit_is_the_tasks_own_where_it_says_one_and_none_where_it_says_zero() {
    for (step, timeout, prerequisites, limit) in [
        (Step::Command, None, None, None),
        (Step::Command, Some(0), Some(7), None),
        (Step::Command, Some(5), None, Some(5_000)),
        (Step::Prerequisite(0), Some(5), Some(7), Some(7_000)),
        (Step::Prerequisite(0), Some(5), None, Some(600_000)),
        (Step::Directory, None, Some(7), Some(7_000)),
    ] {
        let mut task = command("true");
        task.timeout_seconds = timeout;
        task.metadata.prerequisite_timeout = prerequisites;
        task.metadata.prerequisites = vec!["make".into()];
        let look = |ms| with_files(at_step(step, 0), busy(), ms);
        let run = || resumed(task.clone(), 0).step(&look(0), 0);
        let before = limit.map_or(9_999_999, |limit| limit - 1);
        assert!(run().step(&look(before), before).next.acts.is_empty());
        let Some(limit) = limit else { continue };
        let run = run().step(&look(limit), limit);
        assert_eq!(run.next.acts, [Act::Interrupt], "{step:?}");
        // The reason says what took too long.
        let run = run.step(&with_files(exited(130), busy(), limit), limit);
        assert_eq!(run.outcome(), (Outcome::TimedOut, Event::Fail));
        let told = format!("took longer than {} s", limit / 1_000);
        assert!(run.reason().contains(&told), "{}", run.reason());
    }
    let mut task = command("true");
    task.metadata.prerequisite_timeout = Some(7);
    task.metadata.prerequisites = vec!["make".into()];
    let look = |ms| with_files(at_step(Step::Prerequisite(0), 0), busy(), ms);
    let run = resumed(task, 0).step(&look(0), 0);
    let run = run.step(&look(7_000), 7_000);
    let run = run.step(&with_files(taken(), gone(false), 7_100), 7_100);
    assert_eq!(
        run.reason(),
        "prerequisite 1 of 1 (`make`) took longer than 7 s and was interrupted"
    );
}

#[test]
fn the_first_age_of_a_step_is_the_files_and_what_follows_is_ours() {
    let mut task = command("true");
    task.timeout_seconds = Some(10);
    // Recorded 4 s ago when first seen; the age that it claims later does not matter.
    let look = |age, ms| with_files(at_step(Step::Command, age), busy(), ms);
    let run = resumed(task.clone(), 5_000).step(&look(4_000, 5_000), 5_000);
    let run = run.step(&look(90_000, 10_999), 10_999);
    assert!(run.next.acts.is_empty());
    let run = run.step(&look(0, 11_000), 11_000);
    assert_eq!(run.next.acts, [Act::Interrupt]);
    // It cannot have begun before the job did.
    let run = resumed(task, 5_000).step(&look(90_000, 5_000), 5_000);
    assert!(run.step(&look(0, 9_999), 9_999).next.acts.is_empty());
}

#[test]
fn a_branch_that_is_not_the_required_one_is_named() {
    let mut task = command("true");
    task.metadata.git_branch = Some("topic".into());
    let failed = Files {
        step: Some((Step::Branch, Duration::ZERO)),
        ..exited(1)
    };
    let run = resumed(task, 0).step(&files(failed), 300);
    let waiting = run.step(&files(taken()), 300);
    assert!(waiting.next.acts.is_empty() && !waiting.job.has_ended());
    let said = Done::Preparation {
        lines: vec!["one".into()],
        stands: "/w".into(),
        branch: Ok(Some("main".into())),
    };
    let run = waiting.step(&done(said, 310), 310);
    assert_eq!(
        run.reason(),
        "`/w` is on branch main, and the task requires topic"
    );
    let end = super::testing::end(&run.next);
    assert_eq!(end.leaves, Leaves::Variables);
    assert_eq!(end.output, Output::Files);
}

#[test]
fn the_output_of_what_ran_is_in_its_files() {
    for (name, run) in [
        ("done", Run::running().step(&files(exited(0)), 1_000)),
        ("failed", Run::running().step(&files(exited(1)), 1_000)),
        (
            "gone",
            Run::running().step(&with_files(taken(), gone(false), 300), 300),
        ),
        (
            "dropped",
            Run::running()
                .step(&with_files(taken(), shell(), 300), 300)
                .step(&with_files(taken(), shell(), 400), 400),
        ),
    ] {
        let end = super::testing::end(&run.next);
        assert_eq!(end.output, Output::Files, "{name}");
        assert_eq!(end.reason.is_none(), name == "done", "{name}");
    }
}

#[test]
fn only_what_a_shell_cannot_forget_by_itself_is_to_be_undone() {
    use crate::model::session::Shell;
    for (secret, isolated, of, leaves) in [
        (false, false, Shell::Fish, Leaves::Nothing),
        (false, true, Shell::Fish, Leaves::Unclean),
        (false, true, Shell::Bash, Leaves::Nothing),
        (true, true, Shell::Bash, Leaves::Unclean),
        (true, false, Shell::Fish, Leaves::Unclean),
    ] {
        let mut task = command("true");
        task.metadata.isolate_env = isolated;
        if secret {
            task.metadata.secret_env = vec!["TOKEN".into()];
        }
        let prompt = |ms| with_files(taken(), pane(|pane| pane.shell = Some(of)), ms);
        let run = resumed(task, 0)
            .step(&prompt(300), 300)
            .step(&prompt(400), 400);
        let found = super::testing::end(&run.next).leaves;
        assert_eq!(found, leaves, "{secret} {isolated} {of:?}");
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
        let mut run = Run::new();
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
