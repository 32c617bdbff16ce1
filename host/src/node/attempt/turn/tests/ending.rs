//! What shows that a turn has ended, how it ended, and what is then known about it.

use super::*;
use crate::model::task::TurnFacts;

pub(super) fn ended(run: &TurnRun) -> (Outcome, OutputSource) {
    let end = end(&run.next);
    (end.outcome, end.output.clone())
}

pub(super) fn text(text: &str) -> OutputSource {
    OutputSource::Text(text.to_owned())
}

pub(super) fn facts(run: &TurnRun) -> TurnFacts {
    end(&run.next).turn.clone().expect("facts")
}

/// Returns a turn whose agent has been idle for this many milliseconds, so its screen is read.
fn idle_for(name: &str, ms: u64) -> TurnRun {
    let mut run = TurnRun::running(name);
    run.scene.agent.keeps_none = true;
    run.scene.ms += 100;
    run.scene.is(Activity::Idle, "waits", Vec::new());
    assert!(run.step(None).is_empty());
    let acts = run.after(ms).to_vec();
    assert!(matches!(&acts[..], [Act::ReadAnswer { .. }]), "{acts:?}");
    run
}

/// A record that does not show its ends: an idle agent has ended its turn.
#[test]
fn what_a_record_leaves_open_is_over_when_the_agent_is_idle() {
    let failed = How::Failed {
        message: "429".to_owned(),
    };
    for (how, text, outcome) in [
        (How::Done, Some("whole".to_owned()), Outcome::Completed),
        (failed, None, Outcome::Failed),
    ] {
        let mut run = TurnRun::running("gemini");
        run.wrote(None, "");
        for turn in [&mut run.scene.record.own, &mut run.scene.record.latest] {
            let turn = turn.as_mut().expect("a turn");
            turn.response = None;
            turn.paused = Some((how.clone(), text.clone()));
        }
        for _ in 0..20 {
            run.after(1_000);
            assert!(!run.turn.has_ended());
        }
        let idle = vec![run.scene.signal(SignalSource::Screen, Says::Idle)];
        run.scene.is(Activity::Idle, "waits at its prompt", idle);
        run.after(0);
        // Not before its profile says so: it may be idle between two pieces of an answer.
        run.after(1_999);
        assert!(!run.turn.has_ended());
        run.after(1);
        let end = end(&run.next);
        assert_eq!(end.outcome, outcome);
        let source = end.turn.as_ref().map(|facts| facts.source.as_str());
        assert_eq!(source, Some("transcript"));
        let output = text.map_or(OutputSource::None, OutputSource::Text);
        assert_eq!(end.output, output);
    }
}

#[test]
fn a_record_that_tells_of_no_end_is_given_up_after_minutes_of_rest() {
    for (last, began, activity, ends) in [
        (Some(300_999), None, Activity::Idle, true),
        (Some(301_000), None, Activity::Idle, false),
        (Some(100_000), None, Activity::Busy, false),
        (Some(600_000), None, Activity::Busy, false),
        (Some(600_000), None, Activity::Idle, false),
        (Some(600_000), Some(0), Activity::Idle, false),
        (None, Some(300_000), Activity::Idle, true),
        (None, Some(500_000), Activity::Idle, false),
        (None, None, Activity::Idle, true),
    ] {
        let mut run = TurnRun::running("codex");
        run.scene.ms = 601_000;
        run.scene.is(activity, "seen", Vec::new());
        let open = Some(Written {
            said: Some("so far".to_owned()),
            last: last.map(wall),
            began: began.map(wall),
            ..Written::default()
        });
        run.scene.record = Record {
            own: open.clone(),
            latest: open,
            found: true,
            ..Record::default()
        };
        run.after(0);
        assert_eq!(
            run.turn.has_ended(),
            ends,
            "{last:?} {began:?} {activity:?}"
        );
        if ends {
            assert_eq!(ended(&run), (Outcome::Uncertain, text("so far")));
        }
    }
}

#[test]
fn a_record_is_waited_for_unless_it_is_known_that_there_is_none() {
    // The turn began at 550 ms. The wait is followed by a second of idleness.
    for (name, keeps_none, found, idle_from) in [
        ("codex", false, false, 5_550),
        ("codex", true, false, 650),
        ("codex", true, true, 5_550),
        (RECORDLESS, false, false, 650),
    ] {
        let mut run = TurnRun::running(name);
        run.scene.agent.keeps_none = keeps_none;
        run.scene.record.found = found;
        run.scene.ms = 650;
        run.scene.is(Activity::Idle, "waits", Vec::new());
        run.step(None);
        if idle_from > 650 {
            run.scene.ms = idle_from - 1;
            run.step(None);
            run.scene.ms = idle_from;
            run.step(None);
        }
        let settle = run.scene.agent.profile.turn.settle.as_millis();
        let settle = u64::try_from(settle).expect("it fits");
        run.scene.ms = idle_from + settle - 1;
        assert!(run.step(None).is_empty(), "{name} {keeps_none} {found}");
        let acts = run.after(1).to_vec();
        assert!(
            matches!(&acts[..], [Act::ReadAnswer { .. }]),
            "{name} {keeps_none} {found}: {acts:?}"
        );
    }
}

#[test]
fn rest_is_seen_at_the_agent_itself_and_not_while_it_waits_for_an_answer() {
    // By now, another agent is seen there.
    let mut run = TurnRun::running(RECORDLESS);
    run.scene.ms += 100;
    run.scene.is(Activity::Idle, "waits", Vec::new());
    run.scene.agent.pid = 99;
    for _ in 0..10 {
        assert!(run.after(1_000).is_empty());
    }
    // It has asked, so it is expected to be idle.
    let mut run = idle_for(RECORDLESS, 2_000);
    run.did(Done::Answer(Some(("Shall I?".into(), "Shall I?".into()))));
    run.did(Done::Given(None));
    for _ in 0..10 {
        assert!(run.after(1_000).is_empty(), "{:?}", run.next);
    }
    // What it then reports is not about a new turn either.
    let now = run.scene.ms;
    run.scene.agent.report = Some(report(ReportedState::Done, now, Some(1), Some("Shall I?")));
    assert!(run.after(100).is_empty(), "{:?}", run.next);
}

#[test]
fn an_empty_answer_is_read_again_where_the_profile_knows_how_answers_look() {
    for (name, ms, below, expected) in [
        ("codex", 19_999, "", None),
        ("codex", 20_000, "", Some(Outcome::Completed)),
        ("codex", 20_001, "", Some(Outcome::Completed)),
        ("codex", 1_000, "■ it broke", Some(Outcome::Failed)),
        (
            "codex",
            1_000,
            "You've hit your usage limit",
            Some(Outcome::Limited),
        ),
        (RECORDLESS, 2_000, "", Some(Outcome::Completed)),
    ] {
        let mut run = idle_for(name, ms);
        run.did(Done::Answer(Some((String::new(), below.to_owned()))));
        let found = run.turn.has_ended().then(|| end(&run.next).outcome);
        assert_eq!(found, expected, "{name} {ms} {below}");
    }
    let mut run = idle_for("codex", 1_000);
    let answer = ("hello".to_owned(), "• hello\n■ it broke".to_owned());
    run.did(Done::Answer(Some(answer)));
    assert_eq!(ended(&run), (Outcome::Failed, text("hello")));
    let reason = end(&run.next).reason.clone();
    assert_eq!(
        reason.as_deref(),
        Some("the agent reports an error: it broke")
    );
    let mut run = idle_for("codex", 1_000);
    run.did(Done::Answer(Some(("hello".into(), "• hello".into()))));
    assert_eq!(ended(&run), (Outcome::Completed, text("hello")));
}

#[test]
fn a_session_hears_where_its_record_did_not_tell_of_the_turn() {
    for (name, several, heard) in [
        ("codex", false, true),
        ("codex", true, false),
        (RECORDLESS, false, false),
    ] {
        let mut run = idle_for(name, 2_000);
        run.scene.record.several = several;
        run.did(Done::Answer(Some(("hello".into(), "hello".into()))));
        assert_eq!(facts(&run).source, "screen");
        let told = run.next.acts.contains(&Act::Tell(Note::NoRecord));
        assert_eq!(told, heard, "{name} {several}");
    }
    let mut run = TurnRun::running("codex");
    run.wrote(Some(How::Done), "hello");
    run.after(100);
    assert!(!run.next.acts.contains(&Act::Tell(Note::NoRecord)));
}

#[test]
fn a_question_is_one_only_where_the_profile_says_that_its_agent_asks() {
    for (questions, response, asked) in [
        (true, "Shall I?", true),
        (true, "Done.", false),
        (false, "Shall I?", false),
    ] {
        let mut scene = TurnScene::of("codex");
        let mut profile = Profile::clone(&scene.agent.profile);
        profile.turn.questions = questions;
        scene.agent.profile = Arc::new(profile);
        let attempt = OpenAttempt {
            task: prompt("say hello"),
            ..open(Phase::Running)
        };
        let mut run = TurnRun::resumed(attempt, scene);
        run.step(None);
        run.did(Done::Place(Ok(None)));
        run.wrote(Some(How::Done), response);
        run.after(100);
        assert_eq!(!run.turn.has_ended(), asked, "{questions} {response}");
    }
}

#[test]
fn a_provider_is_paused_as_long_as_it_says_and_for_a_while_at_least() {
    // The turn ends after one minute.
    for (until, expected) in [
        (None, 960_000),
        (Some(0), 90_000),
        (Some(89_999), 90_000),
        (Some(90_001), 90_001),
        (Some(9_000_000), 9_000_000),
    ] {
        let mut run = TurnRun::running("codex");
        let how = How::Limited {
            message: "too much".to_owned(),
            until: until.map(wall),
        };
        run.wrote(Some(how), "");
        run.scene.ms = 60_000;
        run.step(None);
        let end = end(&run.next);
        assert_eq!((end.outcome, end.event), (Outcome::Limited, Event::Hold));
        let limit = end.limit.as_ref().expect("a limit");
        assert_eq!(limit.until, wall(expected), "{until:?}");
        assert_eq!(limit.reason, "too much");
        assert_eq!(limit.provider, "codex");
        assert!(run.next.acts.contains(&Act::Tell(Note::Orders)));
    }
}

#[test]
fn a_failed_turn_keeps_what_was_said_and_why_it_failed() {
    let message = "x".repeat(5_000);
    for (how, reason) in [
        (
            How::Interrupted,
            "interrupted: a person ended the turn in the pane".to_owned(),
        ),
        (
            How::Failed { message },
            format!("the agent reports an error: {}", "x".repeat(4_000)),
        ),
    ] {
        let mut run = TurnRun::running("codex");
        run.wrote(Some(how), "half of it");
        run.after(100);
        assert_eq!(ended(&run), (Outcome::Failed, text("half of it")));
        assert_eq!(end(&run.next).reason.as_ref(), Some(&reason));
        assert_eq!(facts(&run).source, "transcript");
    }
}

#[test]
fn what_streams_an_answer_has_not_ended_between_two_pieces_of_it() {
    let mut run = TurnRun::running(RECORDLESS);
    run.scene.ms += 100;
    run.scene.is(Activity::Idle, "waits", Vec::new());
    run.scene.agent.quiet = Duration::from_millis(500);
    assert!(run.step(None).is_empty());
    assert!(run.after(30_000).is_empty());
    run.scene.agent.quiet = run.scene.agent.profile.turn.settle;
    assert!(matches!(run.after(10), [Act::ReadAnswer { .. }]));
    // If a clock always moves, it has ended.
    let mut run = TurnRun::running(RECORDLESS);
    run.scene.ms += 100;
    run.scene.is(Activity::Idle, "waits", Vec::new());
    run.scene.agent.quiet = Duration::ZERO;
    assert!(run.step(None).is_empty());
    assert!(run.after(59_999).is_empty());
    assert!(matches!(run.after(1), [Act::ReadAnswer { .. }]));
}

#[test]
fn a_record_tells_the_end_and_the_response() {
    let mut run = TurnRun::running("codex");
    run.wrote(None, "");
    run.after(100);
    assert!(!run.turn.has_ended());
    run.wrote(Some(How::Done), "hello\nworld");
    run.after(100);
    assert_eq!(outcome(&run.next), (Outcome::Completed, Event::Complete));
    let end = end(&run.next);
    assert_eq!(end.output, OutputSource::Text("hello\nworld".to_owned()));
    assert_eq!(end.turn.as_ref().expect("facts").source, "transcript");
}

/// opencode writes the end of a turn before it takes another prompt.
#[test]
fn an_agent_rests_after_a_turn_as_its_profile_says() {
    for (name, rest) in [("opencode", Some(Duration::from_secs(1))), ("codex", None)] {
        let mut run = TurnRun::running(name);
        run.wrote(Some(How::Done), "hello");
        run.after(100);
        assert_eq!(outcome(&run.next), (Outcome::Completed, Event::Complete));
        assert_eq!(held(&run.next), rest, "{name}");
    }
}

#[test]
fn how_a_record_says_that_it_ended_is_how_it_ended() {
    let failed = How::Failed {
        message: "no".to_owned(),
    };
    let limited = How::Limited {
        message: "later".to_owned(),
        until: None,
    };
    for (how, expected) in [
        (How::Interrupted, (Outcome::Failed, Event::Fail)),
        (failed, (Outcome::Failed, Event::Fail)),
        (limited, (Outcome::Limited, Event::Hold)),
    ] {
        let mut run = TurnRun::running("codex");
        run.wrote(Some(how.clone()), "");
        run.after(100);
        assert_eq!(outcome(&run.next), expected, "{how:?}");
        let end = end(&run.next);
        assert_eq!(end.limit.is_some(), expected.0 == Outcome::Limited);
        if let Some(limit) = &end.limit {
            assert!(limit.until >= wall(run.scene.ms + 30_000), "{limit:?}");
        }
    }
}

#[test]
fn the_screen_alone_tells_an_end_only_after_a_while_of_rest() {
    let mut run = TurnRun::running(RECORDLESS);
    let settle = run.scene.agent.profile.turn.settle;
    let settle = u64::try_from(settle.as_millis()).expect("it fits");
    run.scene.ms += 100;
    run.scene.is(Activity::Idle, "waits", Vec::new());
    assert!(run.step(None).is_empty());
    assert!(run.after(settle - 1).is_empty());
    // It works again, so the idle time starts anew.
    run.scene.is(Activity::Busy, "works", Vec::new());
    run.after(10);
    run.scene.is(Activity::Idle, "waits", Vec::new());
    assert!(run.after(10).is_empty());
    assert!(run.after(settle - 1).is_empty());
    assert!(matches!(run.after(1), [Act::ReadAnswer { .. }]));
    run.did(Done::Answer(Some(("hello".into(), "hello".into()))));
    assert_eq!(outcome(&run.next), (Outcome::Completed, Event::Complete));
    assert_eq!(
        end(&run.next).turn.as_ref().expect("facts").source,
        "screen"
    );
}

#[test]
fn a_screen_from_before_the_turn_began_tells_no_end() {
    let mut run = TurnRun::running(RECORDLESS);
    run.scene.agent.verdict.activity = Activity::Idle;
    run.scene.scanned = 0;
    for _ in 0..100 {
        assert!(run.after(1_000).is_empty());
    }
}

#[test]
fn an_agent_that_ends_is_read_to_its_last_word() {
    let mut run = TurnRun::running("codex");
    run.scene.lives = false;
    assert!(run.after(100).is_empty());
    run.wrote(Some(How::Done), "just in time");
    run.after(1_900);
    assert_eq!(outcome(&run.next), (Outcome::Completed, Event::Complete));
    let mut run = TurnRun::running("codex");
    run.scene.lives = false;
    run.after(100);
    run.after(1_999);
    assert!(!run.turn.has_ended());
    run.after(1);
    assert_eq!(outcome(&run.next), (Outcome::Failed, Event::Fail));
    // An agent that is not seen but still alive has not ended: an editor that it started hides it.
    let mut run = TurnRun::running("codex");
    run.scene.gone = true;
    run.after(600_000);
    assert!(!run.turn.has_ended());
}

#[test]
fn a_person_may_end_it_at_any_time_and_hears_what_is_left() {
    let stages: [(&str, TurnStart, &str); 4] = [
        ("ready", || TurnRun::ready("codex"), "nothing was typed"),
        (
            "pasted",
            || TurnRun::pasted("codex"),
            "pasted and not submitted",
        ),
        ("submitted", || TurnRun::submitted("codex"), "was submitted"),
        ("running", || TurnRun::running("codex"), "may continue"),
    ];
    for (name, stage, left) in stages {
        let mut run = stage();
        run.scene.request = Some(Request::Cancel);
        run.until_end();
        assert_eq!(
            outcome(&run.next),
            (Outcome::Cancelled, Event::Cancel),
            "{name}"
        );
        let reason = end(&run.next).reason.clone().expect("a reason");
        assert!(reason.contains(left), "{name}: {reason}");
        // No key is sent to the agent for it.
        assert_eq!(run.next.acts.len(), 1, "{name}: {:?}", run.next.acts);
        let mut run = stage();
        run.scene.request = Some(Request::Reassign(None));
        run.until_end();
        assert_eq!(
            outcome(&run.next),
            (Outcome::Reassigned, Event::Return),
            "{name}"
        );
    }
}

#[test]
fn an_end_that_may_be_about_another_turn_is_read_from_below_ours() {
    for (task, below, expected) in [
        (None, "✕ no credit", Outcome::Failed),
        (None, "fine", Outcome::Completed),
        (Some(1), "✕ no credit", Outcome::Completed),
    ] {
        let mut run = TurnRun::running("gemini");
        run.scene.agent.keeps_none = true;
        let at = run.scene.ms + 50;
        run.scene.agent.report = Some(report(ReportedState::Done, at, task, None));
        let acts = run.after(100).to_vec();
        assert!(matches!(&acts[..], [Act::ReadAnswer { .. }]), "{acts:?}");
        run.did(Done::Answer(Some((String::new(), below.to_owned()))));
        assert_eq!(outcome(&run.next).0, expected, "{task:?} {below}");
        assert_eq!(facts(&run).ended, Some(wall(at)));
    }
}
