//! Pasting a text and pressing the key: once, into a free screen, after its row.

use super::*;

#[test]
fn each_act_stands_in_the_ledger_before_it_happens() {
    let mut run = TurnRun::ready("codex");
    let acts = run.after(0).to_vec();
    let row = acts
        .iter()
        .position(|act| phase(act) == Some(Phase::Delivering));
    let paste = acts.iter().position(|act| matches!(act, Act::Paste { .. }));
    assert!(row.expect("a row") < paste.expect("a paste"), "{acts:?}");
    run.did(Done::Typed(Typed::Done));
    run.scene.screen = Some(stands());
    let acts = run.after(500).to_vec();
    let row = acts
        .iter()
        .position(|act| phase(act) == Some(Phase::Submitted));
    let press = acts.iter().position(|act| matches!(act, Act::Press { .. }));
    assert!(row.expect("a row") < press.expect("a key"), "{acts:?}");
}

#[test]
fn only_a_free_screen_of_this_moment_is_pasted_into() {
    for screen in [
        Some(shown(Says::Busy)),
        Some(shown(Says::Waiting)),
        Some(foreign()),
        Some(shown(Says::Nothing)),
        Some(Shown {
            in_mode: true,
            ..shown(Says::Idle)
        }),
        None,
    ] {
        let mut run = TurnRun::ready("codex");
        run.scene.screen = screen.clone();
        run.after(0);
        assert_eq!(
            outcome(&run.next),
            (Outcome::Refused, Event::Refuse),
            "{screen:?}"
        );
        assert_eq!(held(&run.next), Some(Duration::from_millis(500)));
    }
    let mut run = TurnRun::ready("codex");
    run.scene.lives = false;
    run.after(0);
    assert_eq!(outcome(&run.next), (Outcome::Refused, Event::Refuse));
}

#[test]
fn a_pane_has_one_writer() {
    for (done, rest) in [
        (Done::Pane(Ok(false)), Duration::from_millis(500)),
        (Done::Pane(Err("no".into())), Duration::from_secs(30)),
    ] {
        let mut run = TurnRun::new("codex");
        run.step(None);
        run.did(Done::Place(Ok(None)));
        assert_eq!(run.after(0), [Act::TakePane]);
        run.did(done);
        assert_eq!(outcome(&run.next), (Outcome::Refused, Event::Refuse));
        assert_eq!(held(&run.next), Some(rest));
    }
}

#[test]
fn nothing_is_submitted_that_is_not_seen_to_stand_there_alone() {
    for screen in [
        shown(Says::Idle),
        foreign(),
        shown(Says::Busy),
        shown(Says::Waiting),
        shown(Says::Nothing),
        Shown {
            in_mode: true,
            ..stands()
        },
        // The composer holds the text, but it is not the composer that would take the key.
        Shown {
            says: Says::Busy,
            ..stands()
        },
    ] {
        let mut run = TurnRun::pasted("codex");
        run.scene.screen = Some(screen.clone());
        for _ in 0..200 {
            let acts = run.after(100).to_vec();
            let pressed = acts.iter().any(|act| matches!(act, Act::Press { .. }));
            assert!(!pressed, "{screen:?}");
        }
    }
}

#[test]
fn a_foreign_text_beside_ours_gives_the_prompt_back() {
    let mut run = TurnRun::pasted("codex");
    run.scene.screen = Some(beside());
    run.after(500);
    assert!(run.next.acts.is_empty());
    run.after(1_999);
    assert!(run.next.acts.is_empty());
    run.after(1);
    assert_eq!(outcome(&run.next), (Outcome::Refused, Event::Refuse));
    assert!(
        run.next
            .acts
            .contains(&Act::Tell(Note::Refused { pasted: true }))
    );
}

#[test]
fn a_paste_that_is_not_confirmed_is_looked_for() {
    let mut run = TurnRun::ready("codex");
    run.after(0);
    run.did(Done::Typed(Typed::Unknown(Error::Closed)));
    run.scene.screen = Some(stands());
    let acts = run.after(500).to_vec();
    assert!(matches!(acts.last(), Some(Act::Press { .. })));
    let mut run = TurnRun::ready("codex");
    run.after(0);
    run.did(Done::Typed(Typed::Refused(Refusal::CursorMoved)));
    assert_eq!(outcome(&run.next), (Outcome::Refused, Event::Refuse));
}

#[test]
fn a_text_that_is_gone_before_it_was_submitted_may_have_been_by_a_person() {
    // An agent with a record would have shown it.
    let mut run = TurnRun::pasted("codex");
    run.scene.screen = Some(stands());
    run.scene.screen.as_mut().expect("a screen").holds_text = false;
    run.after(300);
    run.scene.screen = Some(shown(Says::Idle));
    run.after(100);
    run.after(2_000);
    assert_eq!(outcome(&run.next), (Outcome::Refused, Event::Refuse));
    let mut run = TurnRun::pasted(RECORDLESS);
    run.scene.screen = Some(stands());
    run.scene.screen.as_mut().expect("a screen").holds_text = false;
    run.after(300);
    run.scene.screen = Some(shown(Says::Idle));
    run.after(100);
    run.after(2_000);
    assert_eq!(outcome(&run.next), (Outcome::Uncertain, Event::Lose));
}

#[test]
fn the_key_is_pressed_again_only_while_our_text_still_stands_there() {
    let presses = |run: &mut TurnRun, screen: Shown| {
        let mut presses = 1;
        run.scene.screen = Some(screen);
        for _ in 0..300 {
            if run.turn.has_ended() {
                break;
            }
            let acts = run.after(100).to_vec();
            if acts.iter().any(|act| matches!(act, Act::Press { .. })) {
                presses += 1;
                let row = acts.iter().find_map(phase);
                assert_eq!(row, Some(Phase::Submitted), "each has its row");
                run.did(Done::Typed(Typed::Done));
            }
        }
        presses
    };
    let mut run = TurnRun::submitted("codex");
    assert_eq!(presses(&mut run, stands()), 5);
    assert_eq!(outcome(&run.next), (Outcome::Uncertain, Event::Lose));
    for screen in [
        foreign(),
        shown(Says::Nothing),
        Shown {
            in_mode: true,
            ..stands()
        },
    ] {
        let mut run = TurnRun::submitted("codex");
        assert_eq!(presses(&mut run, screen.clone()), 1, "{screen:?}");
        assert_eq!(outcome(&run.next), (Outcome::Uncertain, Event::Lose));
    }
}

#[test]
fn a_key_that_tmux_refused_was_not_pressed() {
    let mut run = TurnRun::pasted("codex");
    run.scene.screen = Some(stands());
    run.after(500);
    run.did(Done::Typed(Typed::Refused(Refusal::CursorMoved)));
    // It is pressed as soon as the pane is still, without another row.
    let acts = run.after(25).to_vec();
    assert!(matches!(&acts[..], [Act::Press { .. }]), "{acts:?}");
    // A key that may have been pressed counts as pressed.
    let mut run = TurnRun::pasted("codex");
    run.scene.screen = Some(stands());
    run.after(500);
    run.did(Done::Typed(Typed::Unknown(Error::Closed)));
    assert!(run.after(2_999).is_empty());
    assert!(matches!(
        run.after(1),
        [Act::Advance { .. }, Act::Press { .. }]
    ));
}

#[test]
fn a_prompt_that_no_composer_takes_is_not_left_standing_everywhere() {
    let scene = TurnScene::of("codex");
    let refusals = |all, pasted| Refusals { all, pasted };
    for (before, expected, rest) in [
        (refusals(0, 0), (Outcome::Refused, Event::Refuse), Some(2)),
        (refusals(1, 1), (Outcome::Refused, Event::Refuse), Some(4)),
        (refusals(3, 1), (Outcome::Refused, Event::Refuse), Some(16)),
        (
            refusals(20, 0),
            (Outcome::Refused, Event::Refuse),
            Some(300),
        ),
        (refusals(2, 2), (Outcome::Failed, Event::Fail), None),
    ] {
        let mut run = TurnRun::with(prompt("say hello"), scene.clone(), before);
        run.paste();
        run.scene.screen = Some(beside());
        run.after(300);
        run.after(2_000);
        assert_eq!(outcome(&run.next), expected, "{before:?}");
        assert_eq!(held(&run.next), rest.map(Duration::from_secs), "{before:?}");
    }
}
