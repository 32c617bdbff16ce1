//! Until the shell has taken the line: what is written, typed, refused, and given back.

use super::*;
use crate::tmux::TypedLine;

/// Brings a job to a stage.
type JobStart = fn() -> JobRun;

#[test]
fn the_row_says_delivering_before_the_first_byte() {
    let run = JobRun::new()
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
        let run = JobRun::of(job).step(&unseen, 0);
        assert!(run.next.acts.is_empty(), "{:?}", run.next);
    }
}

#[test]
fn a_line_is_typed_only_into_a_session_that_was_seen_ready_a_moment_ago() {
    let written = || {
        JobRun::new()
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
        JobRun::new()
            .step(&seen(shell()), 0)
            .step(&done(Done::Place(Ok(None)), 0), 0)
            .step(&done(Done::Written(Ok(typed_line())), 0), 0)
            .step(&seen_at(shell(), 0), 0)
    };
    let refused = Done::Typed(Typed::Refused(Refusal::CursorMoved));
    // Its shell may still draw its prompt: it is looked at anew, twice, and the line is typed where the
    // cursor stands then.
    let mut run = typing();
    for ms in [10, 20] {
        run = run.step(&done(refused.clone(), ms), ms);
        assert!(run.next.acts.is_empty() && run.next.anew);
        // What was seen before tells nothing.
        run = run.step(&seen_at(shell(), ms - 1), ms + 1);
        assert!(run.next.acts.is_empty());
        run = run.step(&seen_at(shell(), ms + 2), ms + 2);
        assert!(
            matches!(&run.next.acts[..], [Act::Type(_)]),
            "{:?}",
            run.next.acts
        );
    }
    let run = run.step(&done(refused, 30), 30);
    assert_eq!(run.outcome(), (Outcome::Refused, Event::Refuse));
    assert_eq!(held(&run.next), Some(Duration::from_millis(500)));
    // A lost answer shows nothing, but the claim file does.
    let lost = Done::Typed(Typed::Unknown(Error::Closed));
    let run = typing().step(&done(lost, 0), 0);
    assert!(run.next.acts.is_empty());
    let run = JobRun::running_of(run);
    assert!(!run.job.has_ended());
}

#[test]
fn what_the_shell_does_not_take_up_is_withdrawn_before_it_is_given_back() {
    let late = |ms| JobRun::delivered().step(&with_files(untaken(), shell(), ms), ms);
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
    JobRun::running_of(run);
    // It cannot be known.
    let run = late(10_100).step(&done(Done::Withdrawn(Err("EIO".into())), 10_101), 10_101);
    assert_eq!(run.outcome(), (Outcome::Uncertain, Event::Lose));
}

#[test]
fn a_session_that_is_gone_gives_the_job_back_once_it_is_withdrawn() {
    // A look from before the line was typed says nothing.
    let before = with_files(untaken(), gone(false), 90);
    assert!(JobRun::delivered().step(&before, 300).next.acts.is_empty());
    let run = JobRun::delivered().step(&with_files(untaken(), gone(false), 200), 300);
    assert_eq!(run.next.acts, [Act::Withdraw]);
    let run = run.step(&done(Done::Withdrawn(Ok(Taken::Withdrawn)), 300), 300);
    assert_eq!(run.outcome(), (Outcome::Refused, Event::Refuse));
}

#[test]
fn a_shell_that_takes_nothing_gives_the_job_back_with_its_reason() {
    let said = |said| Files {
        said: Some(said),
        ..untaken()
    };
    // For a line that was typed, nothing that a shell says is an answer.
    let run = JobRun::delivered().step(&with_files(said(ShellAnswer::Draft), shell(), 300), 300);
    assert!(!run.next.acts.contains(&Act::Withdraw));
    let asked = || {
        let line = TypedLine {
            key: Some(b"key"),
            ..typed_line()
        };
        let run = JobRun::new()
            .step(&seen(shell()), 100)
            .step(&done(Done::Place(Ok(None)), 100), 100)
            .step(&done(Done::Written(Ok(line)), 100), 100)
            .step(&seen_at(at_prompt(Shell::Bash, true), 100), 100);
        run.step(&done(Done::Typed(Typed::Done), 100), 100)
    };
    for taken in [None, Some(ShellAnswer::Taken)] {
        let files = Files {
            said: taken,
            ..untaken()
        };
        let run = asked().step(&with_files(files, shell(), 300), 300);
        assert!(run.next.acts.is_empty(), "{taken:?}");
        assert!(run.next.again.is_some(), "{taken:?}");
    }
    for refusal in [
        ShellAnswer::Draft,
        ShellAnswer::Unfinished,
        ShellAnswer::Nothing,
    ] {
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
fn what_was_not_typed_is_cancelled_or_given_back_at_once() {
    let stages: [(&str, JobStart); 3] = [
        ("claimed", JobRun::new),
        ("looking", || JobRun::new().step(&seen(shell()), 0)),
        ("written", || {
            JobRun::new()
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
        JobRun::new()
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
    let run = JobRun::new()
        .step(&seen(shell()), 0)
        .step(&done(place, 0), 0);
    assert_eq!(run.outcome(), (Outcome::Failed, Event::Fail));
    // Another program has replaced the shell.
    let agent = pane(|pane| pane.shell = None);
    let looked = Observation {
        done: Some(Done::Place(Ok(None))),
        ..seen(agent)
    };
    let run = JobRun::new().step(&seen(shell()), 0).step(&looked, 0);
    assert_eq!(run.outcome(), (Outcome::Refused, Event::Refuse));
}

#[test]
fn a_task_that_cannot_be_is_not_prepared() {
    let mut task = command("true");
    task.metadata.env_vars.insert("a b".into(), String::new());
    let run = JobRun::of(Job::new(brief(task), rules())).step(&seen(shell()), 0);
    assert_eq!(run.outcome(), (Outcome::Failed, Event::Fail));
    assert!(run.reason().contains("`a b`"), "{}", run.reason());
}

#[test]
fn a_session_hears_that_it_was_typed_into() {
    let run = JobRun::new()
        .step(&seen(shell()), 0)
        .step(&done(Done::Place(Ok(None)), 0), 0)
        .step(&done(Done::Written(Ok(typed_line())), 0), 0)
        .step(&seen_at(shell(), 0), 0);
    assert!(run.next.acts.contains(&Act::Tell(Note::Typed)));
}

#[test]
fn a_withdrawn_job_says_why_and_only_a_silent_session_is_left_alone() {
    let stages: [(JobStart, Outcome, &str, bool); 5] = [
        (
            || JobRun::delivered().step(&asked(Request::Cancel, files(untaken())), 300),
            Outcome::Cancelled,
            "cancelled before it began",
            false,
        ),
        (
            || JobRun::delivered().step(&asked(Request::Reassign(None), files(untaken())), 300),
            Outcome::Refused,
            "given to another session before it began",
            false,
        ),
        (
            || JobRun::delivered().step(&with_files(untaken(), gone(false), 200), 300),
            Outcome::Refused,
            "the session ended before it picked up the job",
            true,
        ),
        (
            || JobRun::delivered().step(&files(untaken()), 10_100),
            Outcome::Refused,
            "the shell did not pick up the job within 10 s; it was withdrawn",
            true,
        ),
        (
            || {
                let job = Job::resume(open(Phase::Delivering), rules(), at(200));
                JobRun::of(job).step(&files(untaken()), 300)
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
    let run = JobRun::new().step(&seen(gone(true)), 0);
    assert_eq!(run.outcome(), (Outcome::Refused, Event::Refuse));
    let looked = Observation {
        done: Some(Done::Place(Ok(None))),
        ..seen(gone(true))
    };
    let run = JobRun::new().step(&seen(shell()), 0).step(&looked, 0);
    assert_eq!(run.outcome(), (Outcome::Refused, Event::Refuse));
    assert_eq!(run.reason(), "its session is gone");
}

/// A shell that takes the job up by a key answers at once, if it does.
#[test]
fn the_answer_of_a_shell_that_was_asked_is_looked_for_often_and_not_for_long() {
    let again = |line: TypedLine, waited: u64| {
        let tells = line.key.is_some();
        let run = JobRun::new()
            .step(&seen(shell()), 100)
            .step(&done(Done::Place(Ok(None)), 100), 100)
            .step(&done(Done::Written(Ok(line)), 100), 100)
            .step(&seen_at(pane(|pane| pane.tells = tells), 100), 100);
        assert!(matches!(run.next.acts.last(), Some(Act::Type(_))));
        let run = run.step(&done(Done::Typed(Typed::Done), 100), 100);
        let here = with_files(untaken(), shell(), 100);
        run.step(&here, 100 + waited).next.again
    };
    let asked = || TypedLine {
        key: Some(b"key"),
        ..typed_line()
    };
    assert_eq!(again(asked(), 0), Some(Duration::from_millis(20)));
    assert_eq!(again(asked(), 1_999), Some(Duration::from_millis(20)));
    assert_eq!(again(asked(), 2_000), None);
    assert_eq!(again(typed_line(), 0), None);
}
