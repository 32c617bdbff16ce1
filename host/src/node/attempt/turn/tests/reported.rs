//! Ends that an agent reports.

use super::ending::{ended, facts, text};
use super::*;

#[test]
fn a_report_is_about_the_turn_where_it_names_it_or_came_behind_the_key() {
    // Pasted at once, submitted at 500 ms.
    for (at, task, ends) in [
        (0, Some(1), true),
        (499, Some(1), true),
        (499, None, false),
        (500, None, true),
        (600, Some(2), false),
    ] {
        let mut run = TurnRun::running(RECORDLESS);
        run.scene.agent.report = Some(report(ReportedState::Done, at, task, Some("hello")));
        let acts = run.after(100).to_vec();
        if ends && task.is_none() {
            assert!(matches!(acts[..], [Act::ReadGiven { .. }]), "{acts:?}");
            run.did(Done::Given(given(1, "say hello", false)));
        }
        assert_eq!(run.turn.has_ended(), ends, "{at} {task:?}");
        if ends {
            assert_eq!(ended(&run), (Outcome::Completed, text("hello")));
            let facts = facts(&run);
            assert_eq!(facts.source, "report");
            assert_eq!(facts.ended, Some(wall(at)));
        }
    }
    // A report from before the prompt was given is not about it, whatever it says.
    let mut run = TurnRun::ready(RECORDLESS);
    run.scene.ms = 1_000;
    run.after(0);
    run.did(Done::Typed(Typed::Done));
    run.scene.screen = Some(stands());
    run.after(500);
    run.did(Done::Typed(Typed::Done));
    run.scene.screen = Some(shown(Says::Busy));
    run.after(50);
    run.scene.agent.report = Some(report(ReportedState::Done, 999, Some(1), Some("old")));
    run.after(50);
    assert!(!run.turn.has_ended());
    // A report of any other state shows no end.
    for state in [ReportedState::Busy, ReportedState::Idle] {
        let mut run = TurnRun::running(RECORDLESS);
        run.scene.agent.report = Some(report(state, 600, Some(1), Some("hello")));
        run.after(100);
        assert!(!run.turn.has_ended(), "{state:?}");
    }
}

#[test]
fn a_report_ends_an_open_turn_of_a_record_in_the_words_that_there_are() {
    for (message, expected) in [(Some("told"), "told"), (None, "written")] {
        let mut run = TurnRun::running("codex");
        run.wrote(None, "written");
        let at = run.scene.ms;
        run.scene.agent.report = Some(report(ReportedState::Done, at, None, message));
        run.after(100);
        assert_eq!(ended(&run), (Outcome::Completed, text(expected)));
        assert_eq!(facts(&run).source, "transcript");
    }
}

#[test]
fn a_report_is_about_the_turn_that_began_last_before_it() {
    let began = |ms| {
        Some(Written {
            began: Some(wall(ms)),
            last: Some(wall(ms)),
            ..Written::default()
        })
    };
    for (reported, ends) in [(400, true), (499, true), (500, false), (600, false)] {
        let mut run = TurnRun::running("codex");
        let from = run.scene.ms;
        run.scene.record = Record {
            own: began(from),
            latest: began(from + 500),
            found: true,
            ..Record::default()
        };
        let told = report(ReportedState::Done, from + reported, None, Some("done"));
        run.scene.agent.report = Some(told);
        run.after(1_000);
        assert_eq!(run.turn.has_ended(), ends, "{reported}");
    }
}

#[test]
fn a_report_that_names_the_task_needs_no_record_beside_it() {
    for (task, ends) in [(Some(1), true), (None, false)] {
        let mut run = TurnRun::running("codex");
        let told = report(ReportedState::Done, run.scene.ms, task, Some("done"));
        run.scene.agent.report = Some(told);
        run.after(100);
        assert_eq!(run.turn.has_ended(), ends, "{task:?}");
    }
}

#[test]
fn a_report_tells_the_end_where_no_record_does() {
    let mut run = TurnRun::running(RECORDLESS);
    let at = run.scene.ms + 50;
    run.scene.agent.report = Some(report(ReportedState::Done, at, None, Some("hello")));
    run.after(100);
    run.did(Done::Given(given(1, "say hello", false)));
    let response = end(&run.next).output.clone();
    assert_eq!(response, OutputSource::Text("hello".to_owned()));
    // A report that names nothing is about the last prompt: if that is not ours, or cannot be seen, the
    // answer is what stands below ours.
    for shown in [given(2, "else", true), None] {
        let mut run = TurnRun::running(RECORDLESS);
        run.scene.agent.report = Some(report(ReportedState::Done, at, None, Some("theirs")));
        run.after(100);
        let acts = run.did(Done::Given(shown)).to_vec();
        assert!(matches!(&acts[..], [Act::ReadAnswer { .. }]), "{acts:?}");
        run.did(Done::Answer(Some(("ours".into(), "ours".into()))));
        assert_eq!(ended(&run), (Outcome::Completed, text("ours")));
        assert_eq!(facts(&run).source, "screen");
    }
    // A screen that cannot be read is read again, while there is one.
    for lives in [true, false] {
        let mut run = TurnRun::running(RECORDLESS);
        run.scene.agent.report = Some(report(ReportedState::Done, at, None, None));
        assert!(matches!(run.after(100), [Act::ReadAnswer { .. }]));
        run.scene.lives = lives;
        run.did(Done::Answer(None));
        if lives {
            assert!(matches!(run.after(100), [Act::ReadAnswer { .. }]));
        } else {
            assert_eq!(outcome(&run.next), (Outcome::Uncertain, Event::Lose));
        }
    }
    // A report without words: the screen has them.
    let mut run = TurnRun::running(RECORDLESS);
    run.scene.agent.report = Some(report(ReportedState::Done, at, Some(1), None));
    let acts = run.after(100).to_vec();
    assert!(matches!(&acts[..], [Act::ReadAnswer { .. }]), "{acts:?}");
    run.did(Done::Answer(Some(("hello".into(), "hello".into()))));
    assert_eq!(outcome(&run.next), (Outcome::Completed, Event::Complete));
    // A report from before it was submitted, or about another task, shows nothing.
    for late in [
        report(ReportedState::Done, 1, None, Some("old")),
        report(ReportedState::Done, at, Some(9), Some("other")),
    ] {
        let mut run = TurnRun::running(RECORDLESS);
        run.scene.agent.report = Some(late.clone());
        run.after(100);
        assert!(!run.turn.has_ended(), "{late:?}");
    }
}

#[test]
fn what_is_reported_from_the_future_was_reported_before_the_clock_was_set_back() {
    for (ahead, ends) in [(0, true), (1, false), (3_600_000, false)] {
        let mut run = TurnRun::running(RECORDLESS);
        let at = run.scene.ms + 100 + ahead;
        run.scene.agent.report = Some(report(ReportedState::Done, at, Some(1), Some("hello")));
        run.after(100);
        assert_eq!(run.turn.has_ended(), ends, "{ahead}");
    }
}
