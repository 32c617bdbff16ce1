//! A text whose key was pressed: what proves that its turn has begun.

use super::giving::{is_refused, pasted_at, taken_up};
use super::*;

/// Returns a turn whose text was pasted at 5 s and submitted at 6 s. If not `pressed`, tmux refused
/// the key.
fn submitted(name: &str, pressed: bool) -> TurnRun {
    let mut run = pasted_at(name, 5_000);
    run.scene.screen = Some(stands());
    run.after(1_000);
    run.did(Done::Typed(if pressed {
        Typed::Done
    } else {
        Typed::Refused(Refusal::CursorMoved)
    }));
    run.scene.screen = Some(shown(Says::Nothing));
    run
}

#[test]
fn a_report_proves_a_turn_where_it_can_be_about_it() {
    for (report, proves) in [
        // It was pasted at 5,000, and submitted at 6,000.
        (report(ReportedState::Busy, 4_999, Some(1), None), false),
        (report(ReportedState::Busy, 5_000, Some(1), None), true),
        (report(ReportedState::Busy, 5_999, None, None), false),
        (report(ReportedState::Busy, 6_000, None, None), true),
        (report(ReportedState::Busy, 6_010, None, None), true),
        (report(ReportedState::Busy, 6_011, None, None), false),
        (report(ReportedState::Done, 6_000, None, None), true),
        (report(ReportedState::Idle, 6_000, None, None), false),
        (report(ReportedState::Busy, 6_000, Some(1), None), true),
        (report(ReportedState::Busy, 6_000, Some(2), None), false),
    ] {
        let mut run = submitted("codex", true);
        run.scene.agent.report = Some(report.clone());
        let begins = run.after(10).contains(&begun());
        assert_eq!(begins, proves, "{report:?}");
    }
}

#[test]
fn a_screen_proves_a_turn_where_our_text_is_gone_from_it() {
    let in_mode = |screen: Shown| Shown {
        in_mode: true,
        ..screen
    };
    for (screen, titled, proves) in [
        (shown(Says::Busy), None, true),
        // It may have been removed.
        (shown(Says::Idle), None, false),
        (taken(), None, true),
        (in_mode(shown(Says::Idle)), None, false),
        (shown(Says::Nothing), None, false),
        (shown(Says::Nothing), Some(6_000), false),
        (shown(Says::Nothing), Some(6_001), true),
        (foreign(), None, false),
        (foreign(), Some(6_001), true),
        (stands(), Some(6_001), false),
        (in_mode(stands()), Some(6_001), true),
    ] {
        let mut run = submitted("codex", true);
        run.scene.screen = Some(screen.clone());
        if let Some(scanned) = titled {
            run.scene.agent.signals = vec![run.scene.signal(SignalSource::Title, Says::Busy)];
            run.scene.scanned = scanned;
        }
        let begins = run.after(10).contains(&begun());
        assert_eq!(begins, proves, "{screen:?} {titled:?}");
    }
    // It was already shown before it was pasted.
    let mut run = TurnRun::ready("codex");
    run.scene.screen = Some(taken());
    run.after(0);
    run.did(Done::Typed(Typed::Done));
    run.scene.screen = Some(stands());
    run.after(500);
    run.did(Done::Typed(Typed::Done));
    run.scene.screen = Some(taken());
    assert!(run.after(10).is_empty());
    // What is not proved is not claimed: neither that it is running nor that it is not.
    run.after(60_000);
    assert_eq!(outcome(&run.next), (Outcome::Uncertain, Event::Lose));
    // A title that says something else proves nothing.
    let mut run = submitted("codex", true);
    run.scene.agent.signals = vec![run.scene.signal(SignalSource::Title, Says::Nothing)];
    run.scene.scanned = 6_001;
    assert!(run.after(10).is_empty());
}

#[test]
fn nothing_but_a_record_proves_a_turn_of_a_key_that_was_not_pressed() {
    for says in [Says::Busy, Says::Idle, Says::Waiting, Says::Nothing] {
        let mut run = submitted("codex", false);
        run.scene.screen = Some(shown(says));
        run.scene.agent.report = Some(report(ReportedState::Busy, 6_000, None, None));
        run.scene.agent.signals = vec![run.scene.signal(SignalSource::Title, Says::Busy)];
        run.scene.scanned = 6_001;
        for _ in 0..5 {
            assert!(run.after(1_000).is_empty(), "{says:?}");
        }
        // The pane was never still, so nothing was submitted.
        run.after(14_999);
        assert!(!run.turn.has_ended(), "{says:?}");
        run.after(1);
        assert!(is_refused(&run), "{says:?}");
        assert_eq!(held(&run.next), Some(Duration::from_secs(30)));
    }
    let mut run = submitted("codex", false);
    run.wrote(None, "");
    assert!(run.after(10).contains(&begun()));
}

#[test]
fn a_dialog_proves_a_turn_once_it_stands_for_a_while() {
    let mut run = submitted("codex", true);
    run.scene.screen = Some(shown(Says::Waiting));
    assert!(run.after(1_000).is_empty());
    assert!(run.after(1).contains(&begun()));
    let mut run = submitted("codex", true);
    assert!(run.after(1_000).is_empty());
    assert!(run.after(1).is_empty());
}

#[test]
fn the_key_is_pressed_again_after_a_while_and_not_while_the_agent_works() {
    let mut run = submitted("codex", false);
    run.scene.screen = Some(stands());
    assert!(run.after(24).is_empty());
    assert!(matches!(run.after(1), [Act::Press { .. }]));
    let mut run = submitted("codex", true);
    run.scene.screen = Some(stands());
    assert!(run.after(2_999).is_empty());
    assert!(matches!(
        run.after(1),
        [Act::Advance { .. }, Act::Press { .. }]
    ));
    let mut run = submitted("codex", true);
    run.scene.screen = Some(stands());
    run.scene.agent.signals = vec![run.scene.signal(SignalSource::Title, Says::Busy)];
    run.scene.scanned = 6_001;
    assert!(run.after(5_000).is_empty());
    // What an earlier daemon submitted has not begun just because the composer is empty.
    let mut run = taken_up(Phase::Submitted);
    run.scene.screen = Some(shown(Says::Idle));
    assert!(run.after(5_000).is_empty());
}

#[test]
fn a_prompt_of_which_there_is_no_sign_is_lost_after_twice_the_time() {
    let mut run = submitted("codex", true);
    run.after(19_999);
    assert!(!run.turn.has_ended());
    run.after(1);
    assert_eq!(outcome(&run.next), (Outcome::Uncertain, Event::Lose));
    let reason = end(&run.next).reason.clone().expect("a reason");
    assert!(reason.contains("no sign of its turn"), "{reason}");
}

#[test]
fn a_report_from_before_the_key_begins_nothing() {
    let mut run = TurnRun::submitted(RECORDLESS);
    let pressed = run.scene.ms;
    run.scene.agent.report = Some(report(ReportedState::Busy, pressed - 1, None, None));
    run.scene.screen = Some(shown(Says::Nothing));
    assert!(!run.after(50).contains(&begun()));
    run.scene.agent.report = Some(report(ReportedState::Busy, pressed, None, None));
    assert!(run.after(50).contains(&begun()));
}

/// If a person had time to type another prompt, the agent may be working on that.
#[test]
fn work_on_what_a_person_has_typed_since_proves_nothing() {
    // Something of a person's was there.
    let mut run = submitted(RECORDLESS, true);
    run.scene.screen = Some(foreign());
    assert!(run.after(10).is_empty());
    run.scene.screen = Some(shown(Says::Busy));
    assert!(run.after(10).is_empty());
    // It was gone for a long time before the agent began to work.
    let mut run = submitted(RECORDLESS, true);
    run.scene.screen = Some(shown(Says::Idle));
    assert!(run.after(10).is_empty());
    run.scene.screen = Some(shown(Says::Busy));
    assert!(run.clone().after(2_000).contains(&begun()));
    assert!(run.after(2_001).is_empty());
    // Our own text, left visible where it was entered, is not another prompt.
    let mut run = submitted(RECORDLESS, true);
    run.scene.screen = Some(Shown {
        near_text: true,
        ..foreign()
    });
    assert!(run.after(10).is_empty());
    run.scene.screen = Some(shown(Says::Busy));
    assert!(run.after(10).contains(&begun()));
}

/// A text was pasted into a program that reads lines.
fn pasted_as_line() -> TurnRun {
    let mut scene = TurnScene::of(RECORDLESS);
    let mut profile = Profile::clone(&scene.agent.profile);
    profile.composer = None;
    scene.agent.profile = Arc::new(profile);
    let mut run = TurnRun::with(prompt("say hello"), scene, Refusals::default());
    run.paste();
    run
}

/// A program that reads lines shows our text so often; `holds`: it is what will be entered.
fn line(says: Says, holds: bool, given: usize) -> Shown {
    Shown {
        line_holds_text: holds,
        given,
        draft: None,
        ..shown(says)
    }
}

/// A person entered a line of their own just before the paste: the program works on that.
#[test]
fn a_line_typed_while_the_program_works_is_no_proof_of_a_turn() {
    let mut run = pasted_as_line();
    run.scene.screen = Some(line(Says::Busy, false, 1));
    for _ in 0..9 {
        assert!(run.after(1_000).is_empty(), "{:?}", run.next);
    }
    // It stands there, and is entered.
    let mut stands = run.clone();
    stands.scene.screen = Some(line(Says::Nothing, true, 1));
    let acts = stands.after(100).to_vec();
    assert!(matches!(acts.last(), Some(Act::Press { .. })), "{acts:?}");
    // It is gone: entered by a person, or removed.
    run.scene.screen = Some(line(Says::Idle, false, 1));
    run.after(100);
    assert_eq!(outcome(&run.next), (Outcome::Uncertain, Event::Lose));
}

#[test]
fn a_line_that_was_not_taken_is_entered_again_and_is_no_proof_of_a_turn() {
    let mut run = pasted_as_line();
    // What was typed looks like a prompt that was given.
    run.scene.screen = Some(line(Says::Nothing, true, 1));
    let acts = run.after(500).to_vec();
    assert!(matches!(acts.last(), Some(Act::Press { .. })), "{acts:?}");
    run.did(Done::Typed(Typed::Done));
    assert!(run.after(2_999).is_empty());
    let acts = run.after(1).to_vec();
    assert!(matches!(acts.last(), Some(Act::Press { .. })), "{acts:?}");
    run.did(Done::Typed(Typed::Done));
    // Something was added to it, or the pane shows something else.
    for (says, in_mode) in [(Says::Nothing, false), (Says::Idle, true)] {
        let mut run = run.clone();
        run.scene.screen = Some(Shown {
            in_mode,
            ..line(says, false, 1)
        });
        assert!(run.after(100).is_empty(), "{says} {in_mode}");
    }
    run.scene.screen = Some(line(Says::Idle, false, 1));
    let acts = run.after(100).to_vec();
    assert!(acts.contains(&begun()), "{acts:?}");
}

#[test]
fn it_is_told_what_is_there_in_place_of_a_text_that_was_submitted() {
    for (screen, told) in [
        (stands(), "it is still in the composer after"),
        (foreign(), "something else is there now"),
        (shown(Says::Idle), "it is gone from the composer"),
    ] {
        let mut run = TurnRun::submitted("codex");
        run.scene.screen = Some(screen);
        for _ in 0..400 {
            let pressed = matches!(run.after(100), [.., Act::Press { .. }]);
            if pressed {
                run.did(Done::Typed(Typed::Done));
            }
            if run.turn.has_ended() {
                break;
            }
        }
        assert_eq!(outcome(&run.next), (Outcome::Uncertain, Event::Lose));
        let reason = end(&run.next).reason.clone().expect("a reason");
        assert!(reason.contains(told), "{reason}");
    }
}

#[test]
fn what_is_seen_in_a_mode_or_before_the_key_tells_nothing_of_what_follows_it() {
    let begins = |run: &mut TurnRun| {
        run.scene.screen = Some(shown(Says::Busy));
        assert!(run.after(100).contains(&begun()));
    };
    // In a mode, the text is out of sight.
    let mut run = TurnRun::submitted("codex");
    run.scene.screen = Some(Shown {
        in_mode: true,
        ..shown(Says::Idle)
    });
    for _ in 0..50 {
        assert!(run.after(100).is_empty());
    }
    begins(&mut run);
    // Something else was there, before the key that was pressed.
    let mut run = TurnRun::pasted("codex");
    run.scene.screen = Some(stands());
    run.after(500);
    run.did(Done::Typed(Typed::Refused(Refusal::CursorMoved)));
    run.scene.screen = Some(foreign());
    run.after(25);
    run.scene.screen = Some(stands());
    let acts = run.after(25).to_vec();
    assert!(matches!(acts[..], [Act::Press { .. }]), "{acts:?}");
    run.did(Done::Typed(Typed::Done));
    begins(&mut run);
}
