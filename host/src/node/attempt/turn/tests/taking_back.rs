//! A text that was pasted and not submitted, and what becomes of it.

use super::*;

/// The composer holds a part of our text.
fn part(words: &str) -> Shown {
    Shown {
        part_of_text: true,
        near_text: true,
        draft: Some(words.to_owned()),
        ..shown(Says::Attended)
    }
}

/// The composer holds the whole of it.
fn whole(words: &str) -> Shown {
    Shown {
        holds_text: true,
        ..part(words)
    }
}

/// Returns a turn whose text of several lines is in the composer, and whose sender cancels it.
fn cancelled(name: &str) -> TurnRun {
    let mut run = TurnRun::pasted(name);
    run.scene.screen = Some(whole("say hello\nto all"));
    run.scene.request = Some(Request::Cancel);
    run
}

fn is_clear(acts: &[Act]) -> bool {
    matches!(acts, [Act::Press { names, literal, .. }] if *names == ["C-u"] && literal.is_empty())
}

fn reason(run: &TurnRun) -> String {
    end(&run.next).reason.clone().expect("a reason")
}

#[test]
fn each_line_is_taken_out() {
    let mut run = cancelled("claude");
    assert!(is_clear(run.after(100)));
    // A key that is still being pressed is not pressed again.
    assert!(run.after(1_000).is_empty());
    run.did(Done::Typed(Typed::Done));
    // Nor is a key whose effect is not visible yet.
    assert!(run.after(25).is_empty());
    run.scene.screen = Some(part("say hello"));
    assert!(is_clear(run.after(25)));
    run.did(Done::Typed(Typed::Done));
    run.scene.screen = Some(shown(Says::Idle));
    run.after(25);
    assert_eq!(outcome(&run.next), (Outcome::Cancelled, Event::Cancel));
    assert!(reason(&run).ends_with("not submitted; it was removed from the composer"));
}

#[test]
fn what_a_person_has_there_is_left_alone() {
    for screen in [foreign(), beside()] {
        let mut run = cancelled("claude");
        run.scene.screen = Some(screen);
        run.until_end();
        let reason = reason(&run);
        assert!(
            reason.contains("; clear its composer, which contains: "),
            "{reason}"
        );
    }
    // A person who types while it is being removed.
    let mut run = cancelled("claude");
    assert!(is_clear(run.after(100)));
    run.did(Done::Typed(Typed::Refused(Refusal::CursorMoved)));
    run.scene.screen = Some(beside());
    run.after(25);
    assert!(reason(&run).ends_with("clear its composer, which contains: say hello to all"));
}

/// No key is pressed until the end, which says what stands there.
#[track_caller]
fn is_left_standing(run: &mut TurnRun, draft: &str) {
    while !run.turn.has_ended() {
        let acts = run.after(25);
        assert!(
            !acts.iter().any(|act| matches!(act, Act::Press { .. })),
            "{acts:?}"
        );
    }
    let said = format!("; clear its composer, which contains: {draft}");
    assert!(reason(run).ends_with(&said));
}

/// A paste may be lost, and what is there may be a person's, who has the same in mind.
#[test]
fn a_part_of_our_text_is_not_ours_unless_the_whole_was_there() {
    let mut run = TurnRun::pasted("claude");
    run.scene.screen = Some(part("say"));
    run.scene.request = Some(Request::Cancel);
    // The rest of it may still come.
    assert!(run.after(25).is_empty());
    assert!(!run.turn.has_ended());
    is_left_standing(&mut run, "say");
    // A key that was refused has removed nothing.
    let mut run = cancelled("claude");
    assert!(is_clear(run.after(100)));
    run.did(Done::Typed(Typed::Refused(Refusal::CursorMoved)));
    run.scene.screen = Some(part("say"));
    is_left_standing(&mut run, "say");
}

#[test]
fn a_key_that_does_nothing_is_given_up() {
    let mut run = cancelled("claude");
    assert!(is_clear(run.after(100)));
    run.did(Done::Typed(Typed::Done));
    // It may have removed an empty line, which cannot be seen.
    for _ in 0..2 {
        assert!(run.after(499).is_empty());
        assert!(is_clear(run.after(1)));
        run.did(Done::Typed(Typed::Done));
    }
    assert!(run.after(499).is_empty());
    run.after(1);
    assert!(reason(&run).ends_with("clear its composer, which contains: say hello to all"));
    // If the profile names no key, none is pressed.
    let mut run = cancelled("comet");
    run.after(100);
    assert!(reason(&run).ends_with("clear its composer, which contains: say hello to all"));
    // A dialog is in front of it, and no key is meant for that.
    let mut run = cancelled("claude");
    run.scene.screen = Some(shown(Says::Waiting));
    run.until_end();
    assert!(reason(&run).ends_with("the content of its composer cannot be seen"));
}

/// A line, and the newline before it: Ctrl-U alone leaves that to some agents.
#[test]
fn several_keys_take_out_a_line() {
    for name in ["qwen", "gemini"] {
        let mut run = cancelled(name);
        let acts = run.after(1_000);
        assert!(
            matches!(acts, [Act::Press { names, .. }] if *names == ["C-u", "BSpace"]),
            "{acts:?}"
        );
    }
}

#[test]
fn a_paste_that_is_on_its_way_is_waited_for() {
    let mut run = TurnRun::pasted("claude");
    run.scene.screen = Some(shown(Says::Idle));
    run.scene.request = Some(Request::Cancel);
    assert!(run.after(0).is_empty());
    assert!(run.after(500).is_empty());
    run.scene.screen = Some(part("say"));
    assert!(run.after(25).is_empty());
    run.scene.screen = Some(whole("say hello"));
    assert!(is_clear(run.after(25)));
    // If nothing has arrived, nothing is reported.
    let mut run = TurnRun::pasted("claude");
    run.scene.screen = Some(shown(Says::Idle));
    run.scene.request = Some(Request::Cancel);
    run.until_end();
    assert!(reason(&run).ends_with("pasted and not submitted"));
}

#[test]
fn a_prompt_of_which_the_agent_makes_something_else_fails_at_once() {
    let mut run = TurnRun::with(
        Task {
            max_retries: 5,
            ..prompt("say hello")
        },
        TurnScene::of("claude"),
        Refusals::default(),
    );
    run.paste();
    run.scene.screen = Some(foreign());
    run.after(300);
    assert!(!run.turn.has_ended());
    run.after(2_000);
    // Neither another session nor another try would do better.
    assert_eq!(outcome(&run.next), (Outcome::Failed, Event::Fail));
    let reason = reason(&run);
    assert!(
        reason.contains("changes this prompt when it is pasted"),
        "{reason}"
    );
    assert!(reason.contains("a person's"), "{reason}");
}

#[test]
fn no_key_goes_into_a_mode_or_to_an_agent_that_works() {
    let ours = || whole("say hello\nto all");
    for screen in [
        Shown {
            in_mode: true,
            ..ours()
        },
        Shown {
            says: Says::Busy,
            ..ours()
        },
        Shown {
            says: Says::Waiting,
            ..ours()
        },
    ] {
        let mut run = cancelled("claude");
        run.scene.screen = Some(screen.clone());
        for _ in 0..50 {
            assert!(run.after(100).is_empty(), "{screen:?}: {:?}", run.next);
        }
        // It has passed.
        run.scene.screen = Some(ours());
        assert!(is_clear(run.after(100)), "{screen:?}");
    }
}
