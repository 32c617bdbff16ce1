//! Jobs that are told to end: by a person, or because their time is over.

use super::*;
use crate::node::attempt::testing::end;
use crate::probe::EndSignal;

/// Steps every second in `seconds`, and returns what was done to the process.
fn told(
    mut run: JobRun,
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
    let told = told(JobRun::running(), 1..14, cancelled);
    assert_eq!(
        told,
        [
            Act::Interrupt,
            Act::Interrupt,
            Act::Signal(77, EndSignal::Terminate),
            Act::Signal(77, EndSignal::Kill),
            Act::Signal(77, EndSignal::Kill),
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
    let told = told(JobRun::running(), 1..14, cancelled);
    assert_eq!(told, vec![Act::Interrupt; 5]);
}

#[test]
fn a_time_limit_counts_from_the_command_and_not_by_the_wall_clock() {
    let mut task = command("sleep 600");
    task.timeout_seconds = Some(120);
    let job = Job::new(brief(task), rules());
    let mut run = JobRun {
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
        step: Some((ScriptStep::Command, Duration::ZERO)),
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
        step: Some((ScriptStep::Prerequisite(index), Duration::ZERO)),
        ..taken()
    };
    let limit = rules().prerequisite_within.as_millis();
    let limit = u64::try_from(limit).expect("it fits");
    let run = JobRun::running().step(&with_files(step(0), busy(), 300), 300);
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
        let run = JobRun::of(job).step(&files(exited(1)), 1_000);
        let end = end(&run.next);
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
    let run = JobRun::running().step(&cancelled, 300);
    let ended = run.step(&files(exited(130)), 400);
    assert_eq!(ended.outcome(), (Outcome::Cancelled, Event::Cancel));
    let run = JobRun::running().step(&cancelled, 300);
    let ended = run.step(&files(exited(0)), 400);
    assert_eq!(ended.outcome(), (Outcome::Completed, Event::Complete));
    // If a person first requests another session and then cancels, the cancellation counts.
    let moved = asked(Request::Reassign(None), with_files(taken(), busy(), 300));
    let run = JobRun::running().step(&moved, 300).step(&cancelled, 310);
    let ended = run.step(&files(exited(130)), 400);
    assert_eq!(ended.outcome(), (Outcome::Cancelled, Event::Cancel));
    let run = JobRun::running().step(&moved, 300);
    let ended = run.step(&files(exited(130)), 400);
    assert_eq!(ended.outcome(), (Outcome::Reassigned, Event::Return));
}

#[test]
fn why_a_job_was_told_to_end_stays_unless_a_person_cancels() {
    let mut task = command("sleep 600");
    task.timeout_seconds = Some(5);
    let look = |ms| with_files(at_step(ScriptStep::Command, 0), busy(), ms);
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
fn a_limit_is_the_tasks_own_where_it_says_one_and_none_where_it_says_zero() {
    for (step, timeout, prerequisites, limit) in [
        (ScriptStep::Command, None, None, None),
        (ScriptStep::Command, Some(0), Some(7), None),
        (ScriptStep::Command, Some(5), None, Some(5_000)),
        (ScriptStep::Prerequisite(0), Some(5), Some(7), Some(7_000)),
        (ScriptStep::Prerequisite(0), Some(5), None, Some(600_000)),
        (ScriptStep::Directory, None, Some(7), Some(7_000)),
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
    let look = |ms| with_files(at_step(ScriptStep::Prerequisite(0), 0), busy(), ms);
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
    let look = |age, ms| with_files(at_step(ScriptStep::Command, age), busy(), ms);
    let run = resumed(task.clone(), 5_000).step(&look(4_000, 5_000), 5_000);
    let run = run.step(&look(90_000, 10_999), 10_999);
    assert!(run.next.acts.is_empty());
    let run = run.step(&look(0, 11_000), 11_000);
    assert_eq!(run.next.acts, [Act::Interrupt]);
    // It cannot have begun before the job did.
    let run = resumed(task, 5_000).step(&look(90_000, 5_000), 5_000);
    assert!(run.step(&look(0, 9_999), 9_999).next.acts.is_empty());
}
