//! Turns that the agent's hooks report by name.

use super::*;
use crate::model::ids::AttemptId;

/// Returns a report that names its turn.
fn named(turn: &str, state: ReportedState, ms: u64, message: &str) -> Report {
    Report {
        turn: Some(turn.to_owned()),
        ..report(state, ms, None, Some(message))
    }
}

impl TurnRun {
    /// The agent's hooks report this.
    fn told(&mut self, report: Report) {
        self.scene.agent.told.take(&report);
        self.scene.agent.report = Some(report);
    }
}

#[test]
fn a_prompt_that_was_told_has_begun_whatever_the_screen_shows() {
    for (text, begins) in [
        ("say hello", true),
        // Changed, as agents do it.
        (
            "\n\n<pasted_content id=\"9b3c\">\nsay hello\n</pasted_content id=\"9b3c\">\n",
            true,
        ),
        ("say hello twice", false),
    ] {
        let mut run = TurnRun::submitted("claude");
        run.scene.screen = Some(shown(Says::Nothing));
        let at = run.scene.ms;
        run.told(named("p1", ReportedState::Busy, at, text));
        assert_eq!(run.after(10).contains(&begun()), begins, "{text}");
    }
    // A prompt that was reported before the paste is someone else's.
    let mut run = TurnRun::ready("claude");
    let at = run.scene.ms;
    run.told(named("p1", ReportedState::Busy, at, "say hello"));
    run.after(10);
    run.did(Done::Typed(Typed::Done));
    run.scene.screen = Some(shown(Says::Nothing));
    assert!(run.after(10).is_empty());
    // A person's Enter was faster than ours.
    let mut run = TurnRun::pasted("claude");
    let at = run.scene.ms;
    run.told(named("p1", ReportedState::Busy, at, "say hello"));
    assert!(run.after(10).contains(&begun()));
}

#[test]
fn an_end_that_was_told_by_name_is_that_of_its_own_turn() {
    let mut run = TurnRun::submitted("claude");
    let at = run.scene.ms;
    run.told(named("p1", ReportedState::Busy, at, "say hello"));
    assert!(run.after(10).contains(&begun()));
    // A person's prompt, submitted in between, began and ended first.
    let at = run.scene.ms;
    run.told(named("p2", ReportedState::Busy, at, "else"));
    run.told(named("p2", ReportedState::Done, at, "another's answer"));
    for _ in 0..10 {
        assert!(run.after(1_000).is_empty());
    }
    let at = run.scene.ms;
    run.told(named("p1", ReportedState::Done, at, "hello,\nand whole"));
    // Its record is about to contain it as well.
    assert!(run.after(0).is_empty());
    assert!(run.after(4_999).is_empty());
    run.after(1);
    let end = end(&run.next);
    assert_eq!(
        end.output,
        OutputSource::Text("hello,\nand whole".to_owned())
    );
    assert_eq!(
        (end.outcome, end.event),
        (Outcome::Completed, Event::Complete)
    );
    let source = end.turn.as_ref().map(|facts| facts.source.as_str());
    assert_eq!(source, Some("report"));
}

/// It draws a long answer before it writes it down.
#[test]
fn an_agent_that_still_works_is_given_more_time_for_its_record() {
    let mut run = TurnRun::submitted("claude");
    let at = run.scene.ms;
    run.told(named("p1", ReportedState::Busy, at, "say hello"));
    assert!(run.after(10).contains(&begun()));
    let at = run.scene.ms;
    run.told(named("p1", ReportedState::Done, at, "hello"));
    for _ in 0..20 {
        run.scene.is(Activity::Busy, "works", Vec::new());
        run.after(1_000);
        assert!(!run.turn.has_ended());
    }
    let mut rests = run.clone();
    rests.scene.is(Activity::Idle, "waits", Vec::new());
    rests.after(4_999);
    assert!(!rests.turn.has_ended());
    rests.after(1);
    assert_eq!(
        end(&rests.next).output,
        OutputSource::Text("hello".to_owned())
    );
    let mut writes = run.clone();
    writes.wrote(Some(How::Done), "hello ");
    writes.after(10);
    assert_eq!(
        end(&writes.next).output,
        OutputSource::Text("hello ".to_owned())
    );
    // Whatever it works on by now is another turn.
    for _ in 0..50 {
        run.scene.is(Activity::Busy, "works", Vec::new());
        run.after(1_000);
        if run.turn.has_ended() {
            break;
        }
    }
    assert_eq!(
        end(&run.next).output,
        OutputSource::Text("hello".to_owned())
    );
}

#[test]
fn a_record_tells_the_name_by_which_the_end_is_known() {
    let mut run = TurnRun::submitted("claude");
    run.wrote(None, "");
    let own = run.scene.record.own.as_mut().expect("a turn");
    own.id = Some("p1".to_owned());
    assert!(run.after(10).contains(&begun()));
    let query = run.turn.wants().record.expect("a question");
    assert_eq!(query.turn.as_deref(), Some("p1"));
    let at = run.scene.ms;
    run.told(named("p1", ReportedState::Done, at, "done"));
    assert!(run.after(0).is_empty());
    run.after(5_000);
    assert_eq!(end(&run.next).output, OutputSource::Text("done".to_owned()));
}

#[test]
fn an_end_that_was_told_by_name_ends_no_turn_of_another_name() {
    let mut run = TurnRun::submitted("claude");
    let at = run.scene.ms;
    run.told(named("p1", ReportedState::Busy, at, "say hello"));
    run.wrote(None, "");
    let own = run.scene.record.own.as_mut().expect("a turn");
    // As after a question that somebody has answered: its record shows the turn of the answer.
    own.id = Some("p2".to_owned());
    assert!(run.after(10).contains(&begun()));
    let at = run.scene.ms;
    run.told(named("p1", ReportedState::Done, at, "the answer before"));
    for _ in 0..10 {
        assert!(run.after(1_000).is_empty());
    }
    let own = run.scene.record.own.as_mut().expect("a turn");
    own.id = Some("p1".to_owned());
    run.after(10);
    run.after(5_000);
    assert_eq!(
        end(&run.next).output,
        OutputSource::Text("the answer before".to_owned())
    );
}

#[test]
fn a_record_that_shows_no_ends_is_not_waited_for() {
    for open in [true, false] {
        let mut run = TurnRun::submitted("gemini");
        if open {
            run.wrote(None, "");
        }
        let at = run.scene.ms;
        run.told(named("p1", ReportedState::Busy, at, "say hello"));
        run.after(10);
        let at = run.scene.ms;
        run.told(named("p1", ReportedState::Done, at, "hello"));
        run.after(0);
        assert_eq!(
            end(&run.next).output,
            OutputSource::Text("hello".to_owned())
        );
    }
}

/// What is pasted, and the sign in it.
fn signed_text(run: &TurnRun) -> (String, String) {
    let text = run.turn.wants().text.expect("a text").to_string();
    let nonce = crate::agents::nonce::of(&profile(SIGNED), &text);
    let nonce = nonce.expect("a sign").to_owned();
    (text, nonce)
}

#[test]
fn a_sign_names_the_turn_whatever_else_the_agent_makes_of_the_prompt() {
    let mut run = TurnRun::submitted(SIGNED);
    run.scene.screen = Some(shown(Says::Nothing));
    let (text, nonce) = signed_text(&run);
    assert_eq!(text, format!("say hello\n(task {nonce})"));
    // Another's summary of the same words is not ours; that with the sign is.
    let at = run.scene.ms;
    run.told(named("p1", ReportedState::Busy, at, "The user greets."));
    assert!(run.after(10).is_empty());
    let summary = format!("The user greets, see {nonce}.");
    let at = run.scene.ms;
    run.told(named("p2", ReportedState::Busy, at, &summary));
    assert!(run.after(10).contains(&begun()));
    let query = run.turn.wants().record.expect("a question");
    assert_eq!(query.turn.as_deref(), Some("p2"));
    assert_eq!(query.nonce.as_deref(), Some(nonce.as_str()));
    // What the agent repeats of it is not kept.
    let at = run.scene.ms;
    let said = format!("{text}? Hello, {nonce}!");
    run.told(named("p2", ReportedState::Done, at, &said));
    run.after(0);
    run.after(5_000);
    assert_eq!(
        end(&run.next).output,
        OutputSource::Text("say hello? Hello, !".to_owned())
    );
}

#[test]
fn a_sign_outlives_a_daemon_and_another_try_has_another() {
    let (text, _) = signed_text(&TurnRun::submitted(SIGNED));
    for phase in [Phase::Delivering, Phase::Submitted, Phase::Running] {
        let of = |attempt| {
            let open = OpenAttempt {
                id: attempt,
                task: prompt("say hello"),
                ..open(phase)
            };
            let mut run = TurnRun::resumed(open, TurnScene::of(SIGNED));
            run.step(None);
            run.did(Done::Place(Ok(None)));
            signed_text(&run).0
        };
        assert_eq!(of(AttemptId(5)), text, "{phase:?}");
        assert_ne!(of(AttemptId(6)), text, "{phase:?}");
    }
}

#[test]
fn a_record_that_was_named_before_the_prompt_is_not_its_own() {
    let of = |file: &str, state, ms| Report {
        transcript: Some(file.into()),
        ..named("p1", state, ms, "else")
    };
    let mut run = TurnRun::ready("claude");
    let at = run.scene.ms;
    run.told(of("/earlier", ReportedState::Busy, at));
    run.scene.ms += 1_000;
    run.after(0);
    run.did(Done::Typed(Typed::Done));
    run.after(100);
    let record = |run: &TurnRun| run.turn.wants().record.expect("a question").transcript;
    assert_eq!(record(&run), None);
    let at = run.scene.ms;
    run.told(of("/its own", ReportedState::Done, at));
    run.after(100);
    assert_eq!(record(&run).as_deref(), Some(&"/its own".into()));
}

#[test]
fn what_answers_a_question_has_another_name() {
    let mut run = TurnRun::submitted("claude");
    let at = run.scene.ms;
    run.told(named("p1", ReportedState::Busy, at, "say hello"));
    assert!(run.after(10).contains(&begun()));
    let at = run.scene.ms;
    run.told(named("p1", ReportedState::Done, at, "Shall I?"));
    run.after(0);
    let acts = run.after(5_000).to_vec();
    assert!(
        matches!(&acts[0], Act::Ask { said: Some(_), .. }),
        "{acts:?}"
    );
    run.did(Done::Given(None));
    run.scene.screen = Some(shown(Says::Idle));
    run.scene.is(Activity::Idle, "waits", Vec::new());
    run.scene.replies = vec![reply(3, Answer::Words("yes".into()), "asks: Shall I?")];
    run.after(100);
    let acts = run.after(0).to_vec();
    assert!(matches!(&acts[..], [Act::TakeReply { .. }]), "{acts:?}");
    run.scene.replies.clear();
    assert_eq!(run.after(0), [Act::TakePane]);
    run.did(Done::Pane(Ok(true)));
    let acts = run.after(0).to_vec();
    assert!(matches!(acts.last(), Some(Act::Paste { .. })), "{acts:?}");
    run.did(Done::Typed(Typed::Done));
    // The earlier turn neither begins it nor ends it.
    run.scene.screen = Some(shown(Says::Nothing));
    assert!(run.after(100).is_empty(), "{:?}", run.next);
    let at = run.scene.ms;
    run.told(named("p2", ReportedState::Busy, at, "yes"));
    let acts = run.after(10).to_vec();
    assert!(matches!(&acts[0], Act::GoOn { .. }), "{acts:?}");
    assert!(run.after(5_000).is_empty(), "{:?}", run.next);
    let at = run.scene.ms;
    run.told(named("p2", ReportedState::Done, at, "Done."));
    run.after(0);
    run.after(5_000);
    assert_eq!(
        end(&run.next).output,
        OutputSource::Text("Done.".to_owned())
    );
}

#[test]
fn the_record_that_is_told_is_that_of_the_agent_since_the_prompt_was_given() {
    for (at, is_its) in [(999, false), (1_000, true), (1_001, true)] {
        let mut run = TurnRun::ready("claude");
        run.scene.ms = 1_000;
        run.after(0);
        run.did(Done::Typed(Typed::Done));
        run.told(Report {
            transcript: Some("/records/one".into()),
            ..named("p1", ReportedState::Busy, at, "something else")
        });
        run.after(10);
        let query = run.turn.wants().record.expect("a question");
        assert_eq!(query.transcript.is_some(), is_its, "{at}");
    }
}
