//! What shows that a turn has begun.

use super::*;

#[test]
fn a_turn_has_begun_where_something_proves_it() {
    type Proof = fn(&mut TurnRun);
    let proofs: [(&str, Proof); 5] = [
        ("busy", |run| run.scene.screen = Some(shown(Says::Busy))),
        ("given", |run| run.scene.screen = Some(taken())),
        ("record", |run| run.wrote(None, "")),
        ("title", |run| {
            run.scene.ms += 10;
            let title = vec![run.scene.signal(SignalSource::Title, Says::Busy)];
            run.scene.is(Activity::Busy, "works", title);
            run.scene.screen = Some(shown(Says::Nothing));
        }),
        ("report", |run| {
            let at = run.scene.ms;
            run.scene.agent.report = Some(report(ReportedState::Busy, at, None, None));
            run.scene.screen = Some(shown(Says::Nothing));
        }),
    ];
    for (name, proof) in proofs {
        let mut run = TurnRun::submitted("codex");
        proof(&mut run);
        let acts = run.after(10).to_vec();
        assert!(acts.contains(&begun()), "{name}: {acts:?}");
        assert!(acts.contains(&Act::LeavePane), "{name}");
    }
}

#[test]
fn what_was_seen_before_the_key_proves_nothing() {
    let mut run = TurnRun::submitted("codex");
    // A title from a look before the key was pressed.
    run.scene.agent.signals = vec![run.scene.signal(SignalSource::Title, Says::Busy)];
    run.scene.screen = Some(shown(Says::Nothing));
    assert!(run.after(10).is_empty());
    // A report about what came before.
    let mut run = TurnRun::submitted("codex");
    run.scene.screen = Some(shown(Says::Nothing));
    for report in [
        report(ReportedState::Idle, run.scene.ms, None, None),
        report(ReportedState::Busy, run.scene.ms, Some(99), None),
        report(ReportedState::Busy, run.scene.ms + 60_000, None, None),
    ] {
        run.scene.agent.report = Some(report.clone());
        assert!(run.after(10).is_empty(), "{report:?}");
    }
    let mut run = TurnRun::ready("codex");
    run.scene.agent.report = Some(report(ReportedState::Busy, 0, None, None));
    run.after(0);
    run.did(Done::Typed(Typed::Done));
    run.scene.screen = Some(stands());
    run.after(500);
    run.did(Done::Typed(Typed::Done));
    run.scene.screen = Some(shown(Says::Nothing));
    assert!(run.after(10).is_empty(), "heard before the paste");
}

#[test]
fn work_on_another_prompt_begins_nothing_while_the_text_still_stands_there() {
    let busy = || Shown {
        says: Says::Busy,
        ..stands()
    };
    let mut run = TurnRun::pasted("gemini");
    run.scene.screen = Some(busy());
    assert!(!run.after(500).contains(&begun()));
    let mut run = TurnRun::submitted("codex");
    run.scene.screen = Some(busy());
    assert!(!run.after(50).contains(&begun()));
    let at = run.scene.ms;
    run.scene.agent.report = Some(report(ReportedState::Busy, at, None, None));
    run.scene.screen = Some(stands());
    assert!(!run.after(10).contains(&begun()));
}

#[test]
fn a_record_tells_of_a_text_that_was_never_seen_to_stand_there() {
    let mut run = TurnRun::pasted("codex");
    run.wrote(None, "");
    assert!(run.after(50).contains(&begun()));
}

#[test]
fn where_a_record_is_to_come_it_tells_whose_prompt_was_submitted() {
    let mut run = TurnRun::pasted("codex");
    run.scene.screen = Some(foreign());
    run.after(500);
    run.scene.screen = Some(shown(Says::Busy));
    assert!(!run.after(25).contains(&begun()));
    run.wrote(None, "");
    assert!(run.after(25).contains(&begun()));
}

#[test]
fn where_a_record_is_to_come_it_tells_whose_end_was_reported() {
    let mut run = TurnRun::running("codex");
    let at = run.scene.ms;
    run.scene.agent.report = Some(report(ReportedState::Done, at, None, Some("another's")));
    assert!(run.after(100).is_empty());
    run.wrote(Some(How::Done), "its own");
    run.after(100);
    assert_eq!(
        end(&run.next).output,
        OutputSource::Text("its own".to_owned())
    );
}

#[test]
fn what_is_reported_before_the_key_was_pressed_again_is_about_something_else() {
    let mut run = TurnRun::submitted("gemini");
    run.after(500);
    let at = run.scene.ms;
    run.after(2_600);
    run.did(Done::Typed(Typed::Done));
    run.scene.screen = Some(taken());
    assert!(run.after(25).contains(&begun()));
    run.scene.agent.report = Some(report(ReportedState::Done, at, None, Some("another's")));
    assert!(run.after(25).is_empty());
}
