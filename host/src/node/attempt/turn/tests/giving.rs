//! Bringing a text to the agent: what is waited for, and what proves what.

use super::questions::questioned;
use super::*;

/// Returns a turn whose text was pasted at this many milliseconds.
pub(super) fn pasted_at(name: &str, ms: u64) -> TurnRun {
    let mut run = TurnRun::ready(name);
    run.scene.ms = ms;
    let acts = run.after(0);
    assert!(matches!(acts.last(), Some(Act::Paste { .. })), "{acts:?}");
    run.did(Done::Typed(Typed::Done));
    run
}

/// Returns a turn that an earlier daemon left in this phase.
pub(super) fn taken_up(phase: Phase) -> TurnRun {
    let attempt = OpenAttempt {
        task: prompt("say hello"),
        ..open(phase)
    };
    let mut run = TurnRun::resumed(attempt, TurnScene::of("codex"));
    run.step(None);
    run.did(Done::Place(Ok(None)));
    run
}

pub(super) fn is_refused(run: &TurnRun) -> bool {
    run.turn.has_ended() && outcome(&run.next) == (Outcome::Refused, Event::Refuse)
}

fn draft(text: &str) -> Shown {
    Shown {
        draft: Some(text.to_owned()),
        ..shown(Says::Attended)
    }
}

#[test]
fn a_refusal_says_whether_the_text_was_pasted() {
    let mut run = TurnRun::ready("codex");
    run.scene.screen = Some(shown(Says::Busy));
    run.after(0);
    let told = Act::Tell(Note::Refused { pasted: false });
    assert!(run.next.acts.contains(&told));
    let mut run = TurnRun::ready("codex");
    run.after(0);
    run.did(Done::Typed(Typed::Refused(Refusal::CursorMoved)));
    let told = Act::Tell(Note::Refused { pasted: true });
    assert!(run.next.acts.contains(&told));
}

#[test]
fn an_act_that_has_not_ended_is_waited_for() {
    let mut run = TurnRun::ready("codex");
    run.after(0);
    for _ in 0..100 {
        assert!(run.after(1_000).is_empty());
    }
    run.did(Done::Typed(Typed::Done));
    run.scene.screen = Some(stands());
    run.after(500);
    for _ in 0..100 {
        assert!(run.after(1_000).is_empty());
    }
}

#[test]
fn a_text_is_submitted_after_the_pause_of_its_profile_and_not_before() {
    let mut run = pasted_at("codex", 5_000);
    run.scene.screen = Some(stands());
    assert!(run.after(149).is_empty());
    assert!(matches!(run.after(1), [.., Act::Press { .. }]));
}

#[test]
fn a_line_is_submitted_where_no_composer_could_show_it() {
    let line = |says, ends| Shown {
        line_holds_text: ends,
        ..shown(says)
    };
    for (composer, screen, pressed) in [
        (false, line(Says::Nothing, true), true),
        (false, line(Says::Attended, true), true),
        (false, line(Says::Nothing, false), false),
        (false, line(Says::Idle, true), false),
        (true, line(Says::Nothing, true), false),
        (true, line(Says::Attended, true), false),
    ] {
        let mut scene = TurnScene::of(RECORDLESS);
        let mut profile = Profile::clone(&scene.agent.profile);
        profile.composer = profile.composer.filter(|_| composer);
        scene.agent.profile = Arc::new(profile);
        let mut run = TurnRun::with(prompt("say hello"), scene, Refusals::default());
        run.paste();
        run.scene.screen = Some(screen.clone());
        let acts = run.after(500).to_vec();
        let found = matches!(acts.last(), Some(Act::Press { .. }));
        assert_eq!(found, pressed, "{composer} {screen:?}");
    }
}

#[test]
fn a_draft_counts_from_its_last_change() {
    let mut run = pasted_at("codex", 0);
    let near = |words: &str| Shown {
        near_text: true,
        ..draft(words)
    };
    run.scene.screen = Some(near("say hello, too"));
    run.after(1_000);
    run.after(1_000);
    run.scene.screen = Some(near("say hello, too, now"));
    run.after(500);
    run.after(1_999);
    assert!(!run.turn.has_ended());
    run.after(1);
    assert!(is_refused(&run));
    assert_eq!(held(&run.next), Some(Duration::from_secs(2)));
}

#[test]
fn a_text_that_is_not_seen_is_waited_for_as_long_as_a_session_may_take() {
    for screen in [
        shown(Says::Idle),
        shown(Says::Nothing),
        shown(Says::Busy),
        Shown {
            in_mode: true,
            ..foreign()
        },
    ] {
        let mut run = pasted_at("codex", 5_000);
        run.scene.screen = Some(screen.clone());
        // And two more, in which its record may still show it.
        for _ in 0..11 {
            run.after(1_000);
            assert!(!run.turn.has_ended(), "{screen:?}");
        }
        run.after(999);
        assert!(!run.turn.has_ended(), "{screen:?}");
        run.after(1);
        assert!(is_refused(&run), "{screen:?}");
        assert_eq!(held(&run.next), Some(Duration::from_secs(30)));
    }
    // What an earlier daemon pasted is there by now or never.
    let mut run = taken_up(Phase::Delivering);
    run.after(3_999);
    assert!(!run.turn.has_ended());
    run.after(1);
    assert!(is_refused(&run));
    // If no record is kept, none can show it.
    let mut run = pasted_at(RECORDLESS, 5_000);
    run.scene.screen = Some(shown(Says::Nothing));
    run.after(9_999);
    assert!(!run.turn.has_ended());
    run.after(1);
    assert!(is_refused(&run));
}

/// An agent that was stuck reads everything at once: the text, and a person's Enter that was
/// waiting after it.
#[test]
fn a_turn_that_a_person_began_at_the_last_moment_is_not_given_again() {
    let mut run = pasted_at("codex", 5_000);
    run.scene.screen = Some(shown(Says::Idle));
    run.after(10_000);
    assert!(!run.turn.has_ended());
    run.wrote(None, "");
    assert!(run.after(100).contains(&begun()));
}

/// If an agent ends with our text in its composer, a person may have submitted it just before.
#[test]
fn an_agent_that_ended_with_our_text_may_have_taken_it_up() {
    let mut run = pasted_at("codex", 5_000);
    run.scene.gone = true;
    run.after(100);
    run.after(1_900);
    assert!(!run.turn.has_ended());
    let mut told = pasted_at("codex", 5_000);
    told.scene.gone = true;
    told.after(100);
    told.wrote(None, "");
    assert!(told.after(100).contains(&begun()));
    run.after(200);
    assert_eq!(outcome(&run.next), (Outcome::Uncertain, Event::Lose));
}

/// The text was in the composer, beside something else.
fn stood(mut run: TurnRun) -> TurnRun {
    run.scene.screen = Some(Shown {
        near_text: true,
        ..draft("say hello, and more")
    });
    run.after(300);
    run
}

/// The agent works, and shows our text as one that was given.
fn working_on_it() -> Shown {
    Shown {
        given: 1,
        ..shown(Says::Busy)
    }
}

#[test]
fn a_text_that_was_given_before_is_no_proof_after_a_restart() {
    // Two of the same words: the earlier one is on the screen, and ours stands in the composer.
    for (given, begins) in [(1, false), (2, true)] {
        let open = OpenAttempt {
            ..open(Phase::Delivering)
        };
        let mut run = TurnRun::resumed(open, TurnScene::of(RECORDLESS));
        run.step(None);
        run.did(Done::Place(Ok(None)));
        run.did(Done::Pane(Ok(true)));
        run.scene.screen = Some(Shown {
            given: 1,
            ..beside()
        });
        run.after(300);
        run.scene.screen = Some(Shown {
            given,
            ..shown(Says::Busy)
        });
        run.after(25);
        assert_eq!(run.next.acts.contains(&begun()), begins, "{given}");
    }
}

#[test]
fn a_turn_began_without_us_where_our_text_stood_there_before() {
    // It was there, and the agent works and shows it as given, or its record contains it.
    let mut run = stood(TurnRun::pasted(RECORDLESS));
    run.scene.screen = Some(working_on_it());
    assert!(run.after(100).contains(&begun()));
    let mut run = stood(TurnRun::pasted("codex"));
    run.wrote(None, "");
    assert!(run.after(100).contains(&begun()));
    let mut run = taken_up(Phase::Delivering);
    run.wrote(None, "");
    assert!(run.after(300).contains(&begun()));
    // It was there, and nothing shows that it was taken up.
    let mut run = stood(TurnRun::pasted("codex"));
    run.scene.screen = Some(shown(Says::Nothing));
    assert!(run.after(100).is_empty());
    assert!(run.after(2_500).is_empty(), "{:?}", run.next);
    // A person may have replaced it, and submitted that.
    let mut run = stood(TurnRun::pasted(RECORDLESS));
    run.scene.screen = Some(shown(Says::Busy));
    assert!(run.after(100).is_empty());
    run.after(60_000);
    assert_eq!(outcome(&run.next), (Outcome::Uncertain, Event::Lose));
    // It was never seen there: if the agent works, it works on something else.
    let mut run = TurnRun::pasted(RECORDLESS);
    run.scene.screen = Some(shown(Says::Busy));
    assert!(run.after(300).is_empty());
    // An earlier daemon may have seen it there.
    let mut run = taken_up(Phase::Delivering);
    run.scene.screen = Some(shown(Says::Busy));
    run.after(300);
    assert_eq!(outcome(&run.next), (Outcome::Uncertain, Event::Lose));
}

#[test]
fn only_a_record_tells_that_a_text_was_taken_out_again() {
    for (name, keeps_none, expected) in [
        ("codex", false, Outcome::Refused),
        ("codex", true, Outcome::Uncertain),
        (RECORDLESS, false, Outcome::Uncertain),
    ] {
        let mut run = TurnRun::pasted(name);
        run.scene.agent.keeps_none = keeps_none;
        let mut run = stood(run);
        run.scene.screen = Some(shown(Says::Idle));
        run.after(100);
        run.after(1_999);
        assert!(!run.turn.has_ended(), "{name}");
        run.after(1);
        assert_eq!(outcome(&run.next).0, expected, "{name} {keeps_none}");
    }
}

/// Returns a turn whose question is being answered in words; the answer may be pasted.
fn answering() -> TurnRun {
    let mut run = questioned("codex");
    run.scene.replies = vec![reply(3, Answer::Words("yes".into()), "asks: Shall I?")];
    run.after(100);
    let acts = run.after(0).to_vec();
    assert!(matches!(&acts[..], [Act::TakeReply { .. }]), "{acts:?}");
    run
}

#[test]
fn an_answer_is_tried_again_as_long_as_a_session_may_take() {
    let mut run = answering();
    for _ in 0..19 {
        assert_eq!(run.after(0), [Act::TakePane]);
        assert_eq!(run.after(500), [Act::TakePane]);
        assert_eq!(run.did(Done::Pane(Ok(false))), [Act::LeavePane]);
        assert_eq!(run.next.again, Some(Duration::from_millis(500)));
    }
    run.after(499);
    assert_eq!(run.did(Done::Pane(Ok(false))), [Act::LeavePane]);
    run.after(1);
    let acts = run.did(Done::Pane(Ok(false))).to_vec();
    assert!(
        matches!(&acts[..], [Act::DropReplies { .. }, Act::LeavePane]),
        "{acts:?}"
    );
    assert!(!run.turn.has_ended());
    // What was pasted is not pasted again.
    let mut run = answering();
    run.after(0);
    run.did(Done::Pane(Ok(true)));
    run.after(0);
    let refused = Done::Typed(Typed::Refused(Refusal::CursorMoved));
    let acts = run.did(refused).to_vec();
    assert!(
        matches!(&acts[..], [Act::DropReplies { .. }, Act::LeavePane]),
        "{acts:?}"
    );
}

#[test]
fn an_answer_that_a_person_submitted_is_told_by_the_turn_that_begins() {
    for (seen_there, begins) in [(true, true), (false, false)] {
        let mut run = answering();
        run.after(0);
        run.did(Done::Pane(Ok(true)));
        run.after(0);
        run.did(Done::Typed(Typed::Done));
        if seen_there {
            run.scene.screen = Some(beside());
            assert!(run.after(300).is_empty());
        }
        run.scene.screen = Some(shown(Says::Nothing));
        run.scene.record.latest = Some(Written {
            began: Some(wall(run.scene.ms)),
            ..Written::default()
        });
        let acts = run.after(300).to_vec();
        let answered = acts.iter().any(|act| matches!(act, Act::GoOn { .. }));
        assert_eq!(answered, begins, "{acts:?}");
    }
}

#[test]
fn an_answer_has_no_rows_of_an_attempt() {
    let mut run = answering();
    run.after(0);
    run.did(Done::Pane(Ok(true)));
    run.after(0);
    run.did(Done::Typed(Typed::Done));
    run.scene.screen = Some(stands());
    run.after(500);
    run.did(Done::Typed(Typed::Done));
    // The key is pressed again, because the answer is still there.
    let acts = run.after(3_000).to_vec();
    assert!(matches!(&acts[..], [Act::Press { .. }]), "{acts:?}");
    run.did(Done::Typed(Typed::Done));
    run.scene.screen = Some(shown(Says::Busy));
    let acts = run.after(50).to_vec();
    assert!(acts.iter().all(|act| phase(act).is_none()), "{acts:?}");
}

#[test]
fn a_place_that_the_task_cannot_run_in_fails_it_before_anything_is_typed() {
    let mut run = TurnRun::new("codex");
    run.step(None);
    assert!(run.after(60_000).is_empty(), "it is being looked at");
    run.did(Done::Place(Err("there is none".into())));
    assert_eq!(outcome(&run.next), (Outcome::Failed, Event::Fail));
    assert_eq!(end(&run.next).reason.as_deref(), Some("there is none"));
}

#[test]
fn our_prompt_above_the_composer_was_submitted_by_somebody() {
    let mut run = TurnRun::pasted(RECORDLESS);
    run.scene.screen = Some(taken());
    let acts = run.after(500).to_vec();
    assert!(acts.contains(&begun()), "{acts:?}");
}

#[test]
fn a_text_that_was_seen_and_is_gone_while_the_agent_works_may_have_been_submitted() {
    for (holds, expected) in [(false, Outcome::Uncertain), (true, Outcome::Refused)] {
        let mut run = TurnRun::pasted("codex");
        run.scene.screen = Some(beside());
        run.after(500);
        run.scene.screen = Some(Shown {
            holds_text: holds,
            ..shown(Says::Busy)
        });
        run.until_end();
        assert_eq!(outcome(&run.next).0, expected, "{holds}");
    }
}

#[test]
fn a_text_whose_key_was_refused_is_not_given_again_where_nothing_shows_what_became_of_it() {
    for (name, expected) in [
        ("codex", Outcome::Refused),
        (RECORDLESS, Outcome::Uncertain),
    ] {
        let mut run = TurnRun::pasted(name);
        run.scene.screen = Some(stands());
        run.after(500);
        run.did(Done::Typed(Typed::Refused(Refusal::CursorMoved)));
        // A person's key came first, and the agent works on this or on something else.
        run.scene.screen = Some(shown(Says::Busy));
        let acts = run.after(100).to_vec();
        assert!(!acts.contains(&begun()), "{acts:?}");
        run.scene.screen = Some(shown(Says::Idle));
        for _ in 0..300 {
            if run.turn.has_ended() {
                break;
            }
            run.after(100);
        }
        assert_eq!(outcome(&run.next).0, expected, "{name}");
        // Where our prompt is shown as given, it was submitted.
        let mut run = TurnRun::pasted(name);
        run.scene.screen = Some(stands());
        run.after(500);
        run.did(Done::Typed(Typed::Refused(Refusal::CursorMoved)));
        run.scene.screen = Some(taken());
        assert!(run.after(100).contains(&begun()), "{name}");
    }
}

/// A paste may be lost: what a person types and submits then is no turn of ours.
#[test]
fn work_on_what_was_never_our_text_proves_nothing() {
    for (stood, begins) in [(foreign(), false), (beside(), true)] {
        let mut run = TurnRun::pasted(RECORDLESS);
        run.scene.screen = Some(stood);
        assert!(run.after(500).is_empty());
        run.scene.screen = Some(if begins {
            working_on_it()
        } else {
            shown(Says::Busy)
        });
        assert_eq!(run.after(25).contains(&begun()), begins);
        if !begins {
            // What the agent made of ours may look like that, and a person may have submitted it.
            run.after(60_000);
            assert_eq!(outcome(&run.next), (Outcome::Uncertain, Event::Lose));
        }
    }
    // A person has removed it, and then submitted a prompt of their own.
    let mut run = TurnRun::pasted(RECORDLESS);
    for screen in [beside(), shown(Says::Idle), foreign()] {
        run.scene.screen = Some(screen);
        assert!(run.after(500).is_empty());
    }
    run.scene.screen = Some(shown(Says::Busy));
    assert!(!run.after(25).contains(&begun()));
}
