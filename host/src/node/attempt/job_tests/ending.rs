//! How a job has ended, and what is then kept.

use super::*;
use crate::node::attempt::testing::end;

#[test]
fn an_exit_code_is_kept_whole() {
    for code in [0, 1, 42, 127, 128, 130, 137, 255] {
        let run = JobRun::running().step(&files(exited(code)), 1_000);
        let end = end(&run.next);
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
    let run = JobRun::running().step(&files(stopped), 1_000);
    let end = end(&run.next);
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
    let run = JobRun::running().step(&read(true, 1_000), 1_000);
    assert!(run.next.acts.is_empty() && run.next.again.is_some());
    let run = run.step(&read(true, 5_990), 5_999);
    assert!(run.next.acts.is_empty());
    let run = run.step(&read(true, 6_000), 6_000);
    assert_eq!(run.outcome(), (Outcome::Completed, Event::Complete));
    // Nobody reads: the reader has ended without reporting.
    let run = JobRun::running().step(&read(true, 1_000), 1_000);
    let run = run.step(&read(false, 1_001), 1_001);
    assert_eq!(run.outcome(), (Outcome::Completed, Event::Complete));
    // A look from before the end does not show that.
    let run = JobRun::running().step(&read(true, 1_000), 1_000);
    assert!(run.step(&read(false, 999), 1_001).next.acts.is_empty());
}

#[test]
fn a_shell_at_its_prompt_without_a_code_has_dropped_the_job_once_seen_twice() {
    let prompt = |ms| with_files(taken(), shell(), ms);
    // Seen before the shell took the job up.
    let run = JobRun::running().step(&prompt(199), 300);
    let run = run.step(&prompt(199), 900);
    assert!(run.next.acts.is_empty());
    let run = JobRun::running().step(&prompt(300), 300);
    assert!(run.next.acts.is_empty());
    // The same look once more is not a second one.
    let run = run.step(&prompt(300), 900);
    assert!(run.next.acts.is_empty());
    let run = run.step(&prompt(349), 900);
    assert!(run.next.acts.is_empty());
    let run = run.step(&prompt(350), 900);
    assert_eq!(run.outcome(), (Outcome::Uncertain, Event::Lose));
    assert!(run.next.acts.contains(&Act::CutPrompt));
    // It continued in between: an editor of the job, not a prompt.
    let run = JobRun::running().step(&prompt(300), 300);
    let run = run.step(&with_files(taken(), busy(), 310), 310);
    let run = run.step(&prompt(360), 360);
    assert!(run.next.acts.is_empty());
}

#[test]
fn a_command_has_failed_only_where_its_line_says_so() {
    let command = at_step(ScriptStep::Command, 0);
    let back = |code| Files {
        back: Some(code),
        ..command.clone()
    };
    let unwritten = Files {
        exit_empty: true,
        ..command.clone()
    };
    let marked = |files: Files| Files {
        marked: true,
        ..files
    };
    let lost = |files: Files| Files {
        step: None,
        ..files
    };
    let failed = Some((Outcome::Failed, Event::Fail));
    let unknown = Some((Outcome::Uncertain, Event::Lose));
    for (kind, tells, files, wanted) in [
        (Shell::Bash, true, back(130), failed),
        (Shell::Zsh, true, back(1), failed),
        (Shell::Fish, true, back(0), unknown),
        (Shell::Bash, true, unwritten.clone(), unknown),
        (Shell::Dash, false, unwritten.clone(), unknown),
        // Writing its code is what failed.
        (
            Shell::Bash,
            true,
            Files {
                exit_empty: true,
                ..back(1)
            },
            unknown,
        ),
        (Shell::Dash, false, marked(command.clone()), unknown),
        (Shell::Zsh, true, marked(back(1)), unknown),
        (Shell::Zsh, true, marked(back(130)), unknown),
        // Its files are gone: nothing shows that it was not begun.
        (Shell::Zsh, true, lost(back(1)), unknown),
        (Shell::Dash, false, lost(command.clone()), unknown),
        (Shell::Dash, false, command.clone(), failed),
        // An editor started by the command looks like a prompt.
        (Shell::Bash, true, command.clone(), None),
        (Shell::Bash, false, command.clone(), unknown),
        // The command was not begun.
        (
            Shell::Bash,
            false,
            at_step(ScriptStep::Directory, 0),
            failed,
        ),
    ] {
        let seen = |ms| with_files(files.clone(), at_prompt(kind, tells), ms);
        let run = JobRun::running().step(&seen(300), 300);
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
    let run = JobRun::running().step(&seen(true, 300), 300);
    let run = run.step(&seen(true, 2_299), 2_299);
    assert!(!run.job.has_ended());
    let run = run.step(&seen(true, 2_300), 2_300);
    assert_eq!(run.outcome(), (Outcome::Uncertain, Event::Lose));
    let run = JobRun::running().step(&seen(false, 300), 300);
    let run = run.step(&seen(false, 90_000), 90_000);
    assert!(!run.job.has_ended());
    // Its shell is gone: there is no other try, whatever the task allows.
    let run = JobRun::running().step(&with_files(command, gone(false), 300), 300);
    assert_eq!(run.outcome(), (Outcome::Uncertain, Event::Lose));
}

#[test]
fn a_code_counts_before_the_prompt_does() {
    let run = JobRun::running().step(&with_files(taken(), shell(), 300), 300);
    let run = run.step(&with_files(exited(3), shell(), 400), 400);
    assert_eq!(end(&run.next).exit_code, Some(3));
}

#[test]
fn what_is_not_seen_and_lives_may_still_run() {
    let run = JobRun::running().step(&with_files(taken(), gone(true), 300), 300);
    assert!(run.next.acts.is_empty() && !run.job.has_ended());
    let run = run.step(&with_files(taken(), gone(true), 90_000), 90_000);
    assert!(!run.job.has_ended());
    // A look from before it ran says nothing about it.
    let run = run.step(&with_files(taken(), gone(false), 199), 90_001);
    assert!(!run.job.has_ended());
    let run = run.step(&with_files(taken(), gone(false), 90_002), 90_002);
    assert_eq!(run.outcome(), (Outcome::Uncertain, Event::Lose));
    assert!(run.reason().contains("shell is gone"));
}

#[test]
fn a_step_before_the_command_that_fails_says_what_it_said() {
    let failed = Files {
        step: Some((ScriptStep::Prerequisite(0), Duration::ZERO)),
        ..exited(7)
    };
    let mut task = command("true");
    task.metadata.prerequisites = vec!["make deps".into()];
    let attempt = crate::store::OpenAttempt {
        task,
        ..open(Phase::Running)
    };
    let run = JobRun::of(Job::resume(attempt, rules(), at(0))).step(&files(failed), 300);
    assert_eq!(run.next.acts, [Act::CloseReader, Act::ReadPreparation]);
    let said = Done::Preparation {
        lines: vec!["one".into(), "two".into()],
        stands: "/w".into(),
        branch: Ok(None),
    };
    let run = run.step(&done(said, 310), 310);
    let end = end(&run.next);
    assert_eq!(end.exit_code, None, "it is not the command's");
    assert_eq!(
        run.reason(),
        "prerequisite 1 of 1 (`make deps`) exited with code 7: one | two"
    );
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
        let run = JobRun::of(Job::resume(attempt, rules(), at(0)))
            .step(&with_files(taken(), shell(), 300), 300)
            .step(&with_files(taken(), shell(), 400), 400);
        assert_eq!(end(&run.next).leaves, leaves);
    }
}

#[test]
fn a_branch_that_is_not_the_required_one_is_named() {
    let mut task = command("true");
    task.metadata.git_branch = Some("topic".into());
    let failed = Files {
        step: Some((ScriptStep::Branch, Duration::ZERO)),
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
    let end = end(&run.next);
    assert_eq!(end.leaves, Leaves::Variables);
    assert_eq!(end.output, OutputSource::Files);
}

#[test]
fn the_output_of_what_ran_is_in_its_files() {
    for (name, run) in [
        ("done", JobRun::running().step(&files(exited(0)), 1_000)),
        ("failed", JobRun::running().step(&files(exited(1)), 1_000)),
        (
            "gone",
            JobRun::running().step(&with_files(taken(), gone(false), 300), 300),
        ),
        (
            "dropped",
            JobRun::running()
                .step(&with_files(taken(), shell(), 300), 300)
                .step(&with_files(taken(), shell(), 400), 400),
        ),
    ] {
        let end = end(&run.next);
        assert_eq!(end.output, OutputSource::Files, "{name}");
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
        let found = end(&run.next).leaves;
        assert_eq!(found, leaves, "{secret} {isolated} {of:?}");
    }
}
