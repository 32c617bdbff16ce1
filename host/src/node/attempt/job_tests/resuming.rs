//! What is looked at, and what an earlier daemon left.

use super::*;

#[test]
fn a_row_is_stepped_on_from_where_it_stands() {
    let resumed = |phase| JobRun::of(Job::resume(open(phase), rules(), at(50_000)));
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
    JobRun::running_of(run);
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
fn a_look_counts_from_the_moment_on_that_it_must_belong_to() {
    // The oldest look after which a line is still typed.
    let written = || {
        JobRun::new()
            .step(&seen(shell()), 0)
            .step(&done(Done::Place(Ok(None)), 0), 0)
            .step(&done(Done::Written(Ok(typed_line())), 0), 0)
    };
    let run = written().step(&seen_at(shell(), 0), 1_000);
    assert!(matches!(run.next.acts.last(), Some(Act::Type(_))));
    let run = written().step(&seen_at(shell(), 0), 1_001);
    assert!(run.next.acts.is_empty());
    // A session that was gone at the very moment of the line: that look does not count.
    let run = JobRun::delivered().step(&with_files(untaken(), gone(false), 100), 300);
    assert!(run.next.acts.is_empty());
    let run = JobRun::delivered().step(&with_files(untaken(), gone(false), 101), 300);
    assert_eq!(run.next.acts, [Act::Withdraw]);
    // A shell counts as gone from the moment at which the job was seen to run, and no earlier.
    let run = JobRun::running().step(&with_files(taken(), gone(false), 199), 300);
    assert!(!run.job.has_ended());
    let run = JobRun::running().step(&with_files(taken(), gone(false), 200), 300);
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
        let run = JobRun::running().step(&look(true, 1_000), 1_000);
        let run = run.step(&look(false, ms), 1_001);
        assert_eq!(run.job.has_ended(), ends, "{ms}");
    }
    // A session that is not seen does not show who reads it.
    let run = JobRun::running().step(&look(true, 1_000), 1_000);
    let run = run.step(&with_files(partial, gone(true), 1_001), 1_001);
    assert!(!run.job.has_ended());
}

#[test]
fn the_files_are_looked_at_from_the_line_to_the_end() {
    let failing = || {
        let failed = Files {
            step: Some((ScriptStep::Prerequisite(0), Duration::ZERO)),
            ..exited(7)
        };
        JobRun::running().step(&files(failed), 300)
    };
    let withdrawing = || JobRun::delivered().step(&asked(Request::Cancel, files(untaken())), 300);
    for (name, run, wanted) in [
        ("claimed", JobRun::new(), false),
        ("looking", JobRun::new().step(&seen(shell()), 0), false),
        ("delivered", JobRun::delivered(), true),
        ("withdrawing", withdrawing(), true),
        ("running", JobRun::running(), true),
        ("failing", failing(), true),
        (
            "ended",
            JobRun::running().step(&files(exited(0)), 1_000),
            false,
        ),
    ] {
        assert_eq!(run.job.wants().files, wanted, "{name}");
        assert_eq!(run.job.has_ended(), name == "ended", "{name}");
    }
}

#[test]
fn what_an_earlier_daemon_began_has_run_since_its_row_says_so() {
    let mut task = command("sleep 600");
    task.timeout_seconds = Some(60);
    let look = |ms| with_files(at_step(ScriptStep::Command, 50_000), busy(), ms);
    let run = resumed(task, 50_000).step(&look(50_000), 50_000);
    let run = run.step(&look(59_999), 59_999);
    assert!(run.next.acts.is_empty());
    let run = run.step(&look(60_000), 60_000);
    assert_eq!(run.next.acts, [Act::Interrupt]);
}
