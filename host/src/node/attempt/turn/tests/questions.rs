//! Dialogs and questions: who answers them, and what follows.

use super::*;

#[test]
fn a_dialog_is_answered_by_keys_once() {
    let mut run = TurnRun::asking("codex");
    let keys = Answer::Keys(vec!["Down".into(), "Enter".into()]);
    run.scene.replies = vec![reply(3, keys, "may I?")];
    // The screen is read for the reply, and the pane is taken.
    run.after(100);
    let acts = run.after(0).to_vec();
    assert_eq!(acts, [Act::TakePane]);
    let acts = run.did(Done::Pane(Ok(true))).to_vec();
    assert!(
        matches!(&acts[..], [Act::TakeReply { .. }, Act::Press { names, .. }] if names == &["Down", "Enter"]),
        "{acts:?}"
    );
    let acts = run.did(Done::Typed(Typed::Done)).to_vec();
    assert!(acts.contains(&Act::GoOn {
        details: "answered".to_owned()
    }));
    assert!(acts.contains(&Act::LeavePane));
    // It is still listed, but is not given again.
    for _ in 0..50 {
        let acts = run.after(100).to_vec();
        let typed = acts
            .iter()
            .any(|act| matches!(act, Act::Press { .. } | Act::TakeReply { .. }));
        assert!(!typed, "{acts:?}");
    }
}

#[test]
fn a_key_that_was_refused_leaves_the_task_waiting() {
    let mut run = TurnRun::asking("codex");
    let keys = Answer::Keys(vec!["Enter".into()]);
    run.scene.replies = vec![reply(3, keys, "may I?")];
    run.after(100);
    run.after(0);
    run.did(Done::Pane(Ok(true)));
    let acts = run.did(Done::Typed(Typed::Refused(Refusal::Mode))).to_vec();
    assert!(
        matches!(&acts[..], [Act::DropReplies { .. }, Act::LeavePane]),
        "{acts:?}"
    );
}

#[test]
fn an_answer_to_another_question_is_not_given() {
    for answer in [
        Answer::Keys(vec!["Enter".into()]),
        Answer::Words("yes".into()),
        Answer::Accept,
    ] {
        let mut run = TurnRun::asking("codex");
        run.scene.replies = vec![reply(3, answer.clone(), "something else")];
        let acts = run.after(100).to_vec();
        assert!(matches!(&acts[..], [Act::DropReplies { .. }]), "{acts:?}");
    }
    // Nothing is asked.
    let mut run = TurnRun::running("codex");
    run.scene.replies = vec![reply(3, Answer::Words("yes".into()), "may I?")];
    let acts = run.after(100).to_vec();
    assert!(matches!(&acts[..], [Act::DropReplies { .. }]), "{acts:?}");
}

#[test]
fn a_pane_that_another_writes_into_is_left_for_the_next_look() {
    let mut run = TurnRun::asking("codex");
    let keys = Answer::Keys(vec!["Enter".into()]);
    run.scene.replies = vec![reply(3, keys, "may I?")];
    run.after(100);
    run.after(0);
    let acts = run.did(Done::Pane(Ok(false))).to_vec();
    assert_eq!(acts, [Act::LeavePane]);
    run.after(250);
    assert_eq!(run.after(0), [Act::TakePane]);
}

/// Returns a turn whose agent has ended in a question.
pub(super) fn questioned(name: &str) -> TurnRun {
    let mut run = TurnRun::running(name);
    run.wrote(Some(How::Done), "I can.\n\nShall I?");
    let acts = run.after(100).to_vec();
    assert!(
        matches!(&acts[..1], [Act::Ask { question, said: Some(_) }] if question == "asks: Shall I?"),
        "{acts:?}"
    );
    assert!(acts.contains(&Act::AgeRecord), "{acts:?}");
    run.scene.record = Record {
        found: true,
        ..Record::default()
    };
    run.scene.screen = Some(shown(Says::Idle));
    run.scene.ms += 1;
    run.scene.is(Activity::Idle, "waits", Vec::new());
    run
}

#[test]
fn a_question_is_answered_by_words_that_are_given_like_a_prompt() {
    let mut run = questioned("codex");
    run.scene.replies = vec![reply(3, Answer::Words("yes".into()), "asks: Shall I?")];
    run.after(100);
    let acts = run.after(0).to_vec();
    assert!(matches!(&acts[..], [Act::TakeReply { .. }]), "{acts:?}");
    assert_eq!(run.after(0), [Act::TakePane]);
    run.did(Done::Pane(Ok(true)));
    let acts = run.after(0).to_vec();
    // The attempt enters no new phase, because it is already running.
    assert!(acts.iter().all(|act| phase(act).is_none()), "{acts:?}");
    assert!(matches!(acts.last(), Some(Act::Paste { text, .. }) if &**text == "yes"));
    run.did(Done::Typed(Typed::Done));
    run.scene.screen = Some(stands());
    let acts = run.after(500).to_vec();
    assert!(matches!(&acts[..], [Act::Press { .. }]), "{acts:?}");
    run.did(Done::Typed(Typed::Done));
    run.scene.screen = Some(shown(Says::Busy));
    let acts = run.after(50).to_vec();
    assert!(
        matches!(&acts[0], Act::GoOn { details } if details == "answered"),
        "{acts:?}"
    );
    run.wrote(Some(How::Done), "Done.");
    run.after(100);
    assert_eq!(outcome(&run.next), (Outcome::Completed, Event::Complete));
}

#[test]
fn a_person_may_take_a_question_for_the_response() {
    let mut run = questioned("codex");
    run.scene.replies = vec![reply(3, Answer::Accept, "asks: Shall I?")];
    let acts = run.after(100).to_vec();
    assert!(matches!(&acts[0], Act::TakeReply { .. }), "{acts:?}");
    let response = end(&run.next).output.clone();
    assert_eq!(
        response,
        OutputSource::Text("I can.\n\nShall I?".to_owned())
    );
}

#[test]
fn a_person_who_answers_in_the_pane_is_noticed() {
    // It has rested, or its record contains a turn that has not ended.
    let mut rested = questioned("codex");
    rests(&mut rested);
    let mut written = questioned("codex");
    let since = wall(written.scene.ms);
    written.scene.record.latest = Some(Written {
        began: Some(since),
        ..Written::default()
    });
    for mut run in [rested, written] {
        works(&mut run);
        let acts = run.step(None).to_vec();
        let details = "the agent continues".to_owned();
        assert_eq!(acts, [Act::GoOn { details }]);
    }
}

#[test]
fn an_answer_that_was_there_before_the_question_was_noticed_counts() {
    let mut run = TurnRun::running("codex");
    run.wrote(Some(How::Done), "I can.\n\nShall I?");
    let own = run.scene.record.own.as_ref().and_then(|own| own.began);
    let next = Written {
        began: own.map(|began| began + Duration::from_secs(1)),
        ..Written::default()
    };
    run.scene.record.latest = Some(next);
    let acts = run.after(100).to_vec();
    // What the record says of the next turn is not put aside with what is old.
    assert!(!acts.contains(&Act::AgeRecord), "{acts:?}");
    run.scene.ms += 1;
    works(&mut run);
    let details = "the agent continues".to_owned();
    assert_eq!(run.step(None), [Act::GoOn { details }]);
}

#[test]
fn a_turn_whose_dialog_a_person_answered_is_still_about_our_text() {
    let mut run = TurnRun::asking("codex");
    works(&mut run);
    assert!(matches!(run.step(None), [Act::GoOn { .. }]));
    assert_eq!(run.turn.wants().text.as_deref(), Some("say hello"));
    // Words that were answered are followed by another turn, whose text is not known.
    let mut run = questioned("codex");
    rests(&mut run);
    works(&mut run);
    assert!(matches!(run.step(None), [Act::GoOn { .. }]));
    assert_eq!(run.turn.wants().text.as_deref(), Some(""));
}

#[test]
fn what_an_agent_still_does_at_the_end_of_its_turn_is_no_answer() {
    // It is seen to work only after its record shows the end: it is slow to show that it rests.
    let mut run = questioned("codex");
    for _ in 0..20 {
        works(&mut run);
        assert!(run.step(None).is_empty());
    }
    rests(&mut run);
    works(&mut run);
    assert!(matches!(run.step(None), [Act::GoOn { .. }]));
}

#[test]
fn work_after_a_rest_tells_of_an_answer_whatever_the_clock_says() {
    let mut run = questioned("codex");
    rests(&mut run);
    let mut early = run.scene.signal(SignalSource::Screen, Says::Busy);
    early.since = wall(0);
    run.scene.ms += 100;
    run.scene.is(Activity::Busy, "works", vec![early]);
    assert!(matches!(run.step(None), [Act::GoOn { .. }]));
}

/// Lets the agent be seen at rest.
pub(super) fn rests(run: &mut TurnRun) {
    run.scene.ms += 100;
    run.scene.is(Activity::Idle, "waits", Vec::new());
    assert!(run.step(None).is_empty(), "{:?}", run.next);
}

/// Lets the agent be seen working from now on.
fn works(run: &mut TurnRun) {
    run.scene.ms += 100;
    let busy = vec![run.scene.signal(SignalSource::Screen, Says::Busy)];
    run.scene.is(Activity::Busy, "works", busy);
}

#[test]
fn no_time_runs_while_a_person_is_waited_for() {
    let mut task = prompt("say hello");
    task.timeout_seconds = Some(60);
    let scene = TurnScene::of("codex");
    let attempt = |asks: Option<&str>| OpenAttempt {
        task: Task {
            asks: asks.map(str::to_owned),
            ..task.clone()
        },
        ..open(Phase::Running)
    };
    for (asks, ends) in [(None, true), (Some("may I?"), false)] {
        let mut run = TurnRun::resumed(attempt(asks), scene.clone());
        run.step(None);
        run.did(Done::Place(Ok(None)));
        run.scene.is(Activity::WaitingInput, "may I?", Vec::new());
        if asks.is_none() {
            run.scene.is(Activity::Busy, "works", Vec::new());
        }
        run.after(59_999);
        assert!(!run.turn.has_ended());
        run.after(1);
        assert_eq!(run.turn.has_ended(), ends, "{asks:?}");
        if ends {
            assert_eq!(outcome(&run.next), (Outcome::TimedOut, Event::Fail));
        }
    }
}

#[test]
fn keys_for_a_dialog_that_is_gone_are_not_pressed_and_keep_no_turn_from_ending() {
    let mut run = TurnRun::asking(RECORDLESS);
    run.scene.ms += 100;
    let idle = vec![run.scene.signal(SignalSource::Screen, Says::Idle)];
    run.scene.is(Activity::Idle, "waits at its prompt", idle);
    run.scene.screen = Some(shown(Says::Idle));
    let keys = Answer::Keys(vec!["1".to_owned()]);
    run.scene.replies = vec![reply(1, keys, "may I?")];
    let mut done = None;
    for _ in 0..40 {
        run.scene.ms += 100;
        let acts = run.step(done.take()).to_vec();
        assert!(!acts.iter().any(|act| matches!(act, Act::Press { .. })));
        if matches!(acts.last(), Some(Act::ReadAnswer { .. })) {
            let answer = "done".to_owned();
            done = Some(Done::Answer(Some((answer.clone(), answer))));
        }
        if run.turn.has_ended() {
            return;
        }
    }
    panic!("it has not ended");
}

#[test]
fn a_turn_that_shows_a_dialog_is_still_its_own() {
    let mut run = TurnRun::asking("codex");
    run.wrote(Some(How::Done), "its own");
    run.scene.record.latest = Some(Written::default());
    run.after(100);
    assert_eq!(
        end(&run.next).output,
        OutputSource::Text("its own".to_owned())
    );
}

#[test]
fn what_follows_a_question_that_an_earlier_daemon_heard_is_another_turn() {
    let mut task = prompt("say hello");
    task.asks = Some("asks: Shall I?".to_owned());
    let open = OpenAttempt {
        task,
        ..open(Phase::Running)
    };
    let mut run = TurnRun::resumed(open, TurnScene::of(RECORDLESS));
    run.step(None);
    run.did(Done::Place(Ok(None)));
    run.scene.ms += 100;
    let busy = vec![run.scene.signal(SignalSource::Screen, Says::Busy)];
    run.scene.is(Activity::Busy, "works", busy);
    let acts = run.step(None).to_vec();
    assert!(matches!(acts[..], [Act::GoOn { .. }]), "{acts:?}");
    assert_eq!(run.turn.wants().text.as_deref(), Some(""));
}

/// Returns a turn whose agent asked when the screen showed `before`, continued because of what a person
/// typed, and then reported an end that names nothing.
fn ended_after_words_of_a_person(
    before: Option<screen::GivenPrompts>,
    with: Option<&str>,
) -> TurnRun {
    let mut run = TurnRun::running(RECORDLESS);
    run.scene.ms += 100;
    run.scene.is(Activity::Idle, "waits", Vec::new());
    let told = run.scene.ms;
    run.scene.agent.report = Some(report(ReportedState::Done, told, None, Some("Shall I?")));
    run.step(None);
    run.did(Done::Given(given(1, "say hello", false)));
    run.did(Done::Given(before));
    rests(&mut run);
    run.scene.ms += 100;
    let signals = vec![run.scene.signal(SignalSource::Screen, Says::Busy)];
    run.scene.is(Activity::Busy, "works", signals);
    let acts = run.step(None).to_vec();
    assert!(matches!(acts[..], [Act::GoOn { .. }]), "{acts:?}");
    run.scene.ms += 100;
    let told = run.scene.ms;
    run.scene.agent.report = Some(report(ReportedState::Done, told, None, with));
    run.scene.is(Activity::Idle, "waits", Vec::new());
    let acts = run.step(None).to_vec();
    assert!(
        matches!(&acts[..], [Act::ReadGiven { text, .. }] if &**text == "say hello"),
        "{acts:?}"
    );
    run
}

#[test]
fn what_a_person_answered_is_ended_by_the_only_prompt_since() {
    let before = given(1, "say hello", false);
    // It had been answered before it was noticed, and something else was given after that.
    let late = Some(screen::GivenPrompts {
        after: Some(2),
        ..given(3, "else", true).expect("prompts")
    });
    for (before, after, is_ours) in [
        (&late, &late, false),
        (&given(2, "yes", true), &given(2, "yes", true), true),
        (&before, &given(2, "yes", true), true),
        // Prompts that have scrolled away are none that were added.
        (&before, &given(0, "", false), true),
        (&before, &given(3, "yes", true), false),
        (&before, &None, false),
        // Not read when it asked: one is below ours.
        (&None, &given(5, "yes", true), true),
        (&None, &given(5, "yes", false), false),
    ] {
        for with in [Some("told"), None] {
            let mut run = ended_after_words_of_a_person(before.clone(), with);
            let acts = run.did(Done::Given(after.clone())).to_vec();
            if is_ours && with.is_none() {
                assert!(matches!(acts[..], [Act::ReadAnswer { .. }]), "{acts:?}");
                continue;
            }
            let expected = if is_ours {
                (Outcome::Completed, OutputSource::Text("told".to_owned()))
            } else {
                (Outcome::Uncertain, OutputSource::None)
            };
            let end = end(&run.next);
            let ended = (end.outcome, end.output.clone());
            assert_eq!(ended, expected, "{before:?} {after:?} {with:?}");
        }
    }
}

#[test]
fn an_answer_that_an_earlier_daemon_heard_of_is_the_only_prompt_below_ours() {
    for (after, is_ours) in [
        (Some(1), true),
        (Some(0), false),
        (Some(2), false),
        (None, false),
    ] {
        let open = OpenAttempt {
            answered: true,
            has_said: true,
            task: prompt("say hello"),
            ..open(Phase::Running)
        };
        let mut scene = TurnScene::of(RECORDLESS);
        scene.ms = 400_000;
        let mut run = TurnRun::resumed(open, scene);
        run.step(None);
        run.did(Done::Place(Ok(None)));
        run.scene.is(Activity::Idle, "waits", Vec::new());
        let acts = run.after(100).to_vec();
        assert!(
            matches!(&acts[..], [Act::ReadGiven { text, .. }] if &**text == "say hello"),
            "{acts:?}"
        );
        let shown = screen::GivenPrompts {
            count: 7,
            last: "> yes".to_owned(),
            after,
        };
        let acts = run.did(Done::Given(Some(shown))).to_vec();
        if is_ours {
            assert!(matches!(acts[..], [Act::ReadAnswer { .. }]), "{acts:?}");
        } else {
            assert_eq!(outcome(&run.next), (Outcome::Uncertain, Event::Lose));
        }
    }
}

#[test]
fn a_dialog_after_a_question_is_part_of_what_answered_it() {
    // Noticed by this daemon.
    let mut run = questioned("codex");
    run.scene.ms += 2_000;
    let waits = vec![run.scene.signal(SignalSource::Screen, Says::Waiting)];
    run.scene
        .is(Activity::WaitingInput, "may I?", waits.clone());
    let acts = run.step(None).to_vec();
    assert!(
        matches!(&acts[..], [Act::Ask { said: None, .. }, ..]),
        "{acts:?}"
    );
    assert_eq!(run.turn.wants().text.as_deref(), Some(""));
}
