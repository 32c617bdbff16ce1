//! What is decided at the very moment at which a time is over, and what leaves a doubt after a restart.

use super::giving::{is_refused, taken_up};
use super::questions::{questioned, rests};
use super::*;

/// Returns a turn whose text an earlier daemon was pasting at the origin. This one begins later, and no
/// record is kept.
fn found_at(ms: u64, quiet: Duration) -> TurnRun {
    let attempt = OpenAttempt {
        task: prompt("say hello"),
        ..open(Phase::Delivering)
    };
    let mut scene = TurnScene::of(RECORDLESS);
    scene.ms = ms;
    scene.agent.quiet = quiet;
    let mut run = TurnRun::resumed(attempt, scene);
    run.step(None);
    run.did(Done::Place(Ok(None)));
    run.did(Done::Pane(Ok(true)));
    run
}

/// Steps every 25 ms until the attempt ends or this moment is past, and returns when that was.
fn ended_at(run: &mut TurnRun, limit: u64) -> Option<u64> {
    while run.scene.ms < limit {
        run.after(25);
        if run.turn.has_ended() {
            return Some(run.scene.ms);
        }
    }
    None
}

/// The composer shows our text once more as one that was given, and nothing else.
fn given_once_more(says: Says) -> Shown {
    Shown {
        given: 1,
        ..shown(says)
    }
}

#[test]
fn what_stood_there_before_a_restart_is_no_proof_unless_it_was_ours_and_the_agent_works() {
    for (stood, after, begins) in [
        (beside(), given_once_more(Says::Busy), true),
        // A person's words were there, and may be what the agent works on.
        (foreign(), given_once_more(Says::Busy), false),
        // Ours, but the agent rests: it may have been given by another.
        (beside(), given_once_more(Says::Idle), false),
        (beside(), shown(Says::Busy), false),
    ] {
        let mut run = found_at(300, Duration::ZERO);
        run.scene.screen = Some(stood.clone());
        assert!(run.after(300).is_empty());
        run.scene.screen = Some(after.clone());
        let acts = run.after(25).to_vec();
        assert_eq!(acts.contains(&begun()), begins, "{stood:?} {after:?}");
        if !begins {
            if !run.turn.has_ended() {
                ended_at(&mut run, 60_000);
            }
            assert_eq!(outcome(&run.next), (Outcome::Uncertain, Event::Lose));
        }
    }
    // Its record shows it, whether or not it was seen there.
    let mut run = taken_up(Phase::Delivering);
    run.wrote(None, "");
    run.scene.screen = Some(shown(Says::Nothing));
    assert!(run.after(300).contains(&begun()));
}

#[test]
fn a_text_of_which_a_restarted_daemon_sees_nothing_is_given_up_when_a_session_has_had_its_time() {
    // It was given at the origin; the session has ten seconds, and this daemon looks for at least two.
    for (resumed, over) in [(1_000, 10_000), (9_000, 11_000), (20_000, 22_000)] {
        let mut run = found_at(resumed, Duration::ZERO);
        run.scene.screen = Some(shown(Says::Nothing));
        assert_eq!(ended_at(&mut run, 60_000), Some(over), "{resumed}");
        assert_eq!(outcome(&run.next), (Outcome::Uncertain, Event::Lose));
    }
}

#[test]
fn where_nothing_has_appeared_in_the_pane_since_nothing_was_pasted() {
    // The times of changes are in whole seconds.
    for (quiet, is_untouched) in [(12_999, false), (13_000, false), (13_001, true)] {
        let mut run = found_at(10_000, Duration::from_millis(quiet));
        run.scene.screen = Some(shown(Says::Nothing));
        assert!(run.after(1_999).is_empty());
        run.after(1);
        let expected = if is_untouched {
            Outcome::Refused
        } else {
            Outcome::Uncertain
        };
        assert_eq!(outcome(&run.next).0, expected, "{quiet}");
    }
}

#[test]
fn a_prompt_that_the_agent_changes_is_told_by_its_first_line() {
    let mut run = TurnRun::pasted(RECORDLESS);
    let long = "x".repeat(80);
    run.scene.screen = Some(Shown {
        draft: Some(format!("{long}\nmore")),
        ..foreign()
    });
    run.after(300);
    run.after(2_000);
    let reason = end(&run.next).reason.clone().expect("a reason");
    let said = format!("(its composer shows: {})", "x".repeat(60));
    assert!(reason.contains(&said), "{reason}");
}

/// It is removed from the composer: no session is left with our text in it.
#[test]
fn a_text_whose_key_tmux_always_refuses_is_taken_out_again() {
    let mut run = TurnRun::pasted(RECORDLESS);
    run.scene.screen = Some(stands());
    let mut cleared = false;
    for _ in 0..2_000 {
        let acts = run.after(25).to_vec();
        match acts.last() {
            Some(Act::Press { names, .. }) if names == &["C-u"] => {
                cleared = true;
                run.scene.screen = Some(shown(Says::Idle));
                run.did(Done::Typed(Typed::Done));
            }
            Some(Act::Press { .. }) => {
                run.did(Done::Typed(Typed::Refused(Refusal::CursorMoved)));
            }
            _ => {}
        }
        if run.turn.has_ended() {
            break;
        }
    }
    assert!(cleared && is_refused(&run), "{:?}", run.next);
    let reason = end(&run.next).reason.clone().expect("a reason");
    assert!(
        reason.ends_with("it was removed from the composer"),
        "{reason}"
    );
}

#[test]
fn the_record_of_an_agent_that_died_after_the_key_is_read_to_its_end() {
    let mut run = TurnRun::submitted("codex");
    run.scene.lives = false;
    assert!(run.after(10).is_empty());
    run.wrote(None, "");
    assert!(run.after(10).contains(&begun()));
    // Where nothing more is written, it is not known what became of it.
    let mut run = TurnRun::submitted("codex");
    run.scene.lives = false;
    assert!(run.after(10).is_empty());
    assert!(run.after(1_999).is_empty());
    run.after(1);
    assert_eq!(outcome(&run.next), (Outcome::Uncertain, Event::Lose));
    let mut run = TurnRun::submitted(RECORDLESS);
    run.scene.lives = false;
    run.after(10);
    assert_eq!(outcome(&run.next), (Outcome::Uncertain, Event::Lose));
}

#[test]
fn a_look_that_shows_the_question_shows_no_rest_after_it() {
    // It works after the look in which its turn ended: it may not have come to rest.
    let mut run = questioned("codex");
    run.scene.scanned = run.scene.ms - 1;
    assert!(run.step(None).is_empty());
    run.scene.ms += 100;
    let busy = vec![run.scene.signal(SignalSource::Screen, Says::Busy)];
    run.scene.is(Activity::Busy, "works", busy.clone());
    assert!(run.step(None).is_empty());
    // A later look shows that it rests, and then it works on something else.
    rests(&mut run);
    run.scene.ms += 100;
    run.scene.is(Activity::Busy, "works", busy);
    assert!(matches!(run.step(None), [Act::GoOn { .. }]));
}

#[test]
fn what_was_reported_when_it_began_to_work_again_is_about_the_question() {
    for (late, is_new) in [(0, false), (1, true)] {
        let mut run = TurnRun::running(RECORDLESS);
        run.scene.ms += 100;
        run.scene.is(Activity::Idle, "waits", Vec::new());
        let told = run.scene.ms;
        run.scene.agent.report = Some(report(ReportedState::Done, told, None, Some("Shall I?")));
        run.step(None);
        run.did(Done::Given(given(1, "say hello", false)));
        run.did(Done::Given(given(1, "say hello", false)));
        rests(&mut run);
        run.scene.ms += 100;
        let busy = vec![run.scene.signal(SignalSource::Screen, Says::Busy)];
        run.scene.is(Activity::Busy, "works", busy);
        let told = run.scene.ms + late;
        run.scene.agent.report = Some(report(ReportedState::Done, told, None, Some("told")));
        run.scene.ms += 10;
        assert!(matches!(run.step(None), [Act::GoOn { .. }]));
        run.scene.ms += 100;
        run.scene.is(Activity::Idle, "waits", Vec::new());
        let acts = run.step(None).to_vec();
        let is_read = matches!(acts[..], [Act::ReadGiven { .. }]);
        assert_eq!(is_read, is_new, "{late}: {acts:?}");
    }
}

/// Its answer to a question of which only the row tells is not known.
#[test]
fn a_dialog_after_a_question_of_an_earlier_daemon_is_part_of_what_answered_it() {
    for (asks, is_unknown) in [("asks: Shall I?", true), ("may I?", false)] {
        let mut task = prompt("say hello");
        task.asks = Some(asks.to_owned());
        let attempt = OpenAttempt {
            task,
            has_said: is_unknown,
            ..open(Phase::Running)
        };
        let mut run = TurnRun::resumed(attempt, TurnScene::of("codex"));
        run.step(None);
        run.did(Done::Place(Ok(None)));
        run.scene.ms += 3_000;
        let waits = vec![run.scene.signal(SignalSource::Screen, Says::Waiting)];
        run.scene.is(Activity::WaitingInput, "or else?", waits);
        let acts = run.step(None).to_vec();
        assert!(matches!(&acts[..], [Act::Ask { .. }, ..]), "{acts:?}");
        let text = run.turn.wants().text;
        let expected = if is_unknown { "" } else { "say hello" };
        assert_eq!(text.as_deref(), Some(expected), "{asks}");
    }
}

#[test]
fn a_turn_keeps_the_name_that_it_was_given_first() {
    let mut run = TurnRun::submitted("claude");
    run.wrote(None, "");
    let name = |run: &mut TurnRun, name: &str| {
        let own = run.scene.record.own.as_mut().expect("a turn");
        own.id = Some(name.to_owned());
        run.after(10);
        let query = run.turn.wants().record.expect("a question");
        query.turn.expect("a name").to_string()
    };
    assert_eq!(name(&mut run, "p1"), "p1");
    assert_eq!(name(&mut run, "p2"), "p1");
}

/// The composer holds a part of our text.
fn part() -> Shown {
    Shown {
        part_of_text: true,
        near_text: true,
        draft: Some("say".to_owned()),
        ..shown(Says::Attended)
    }
}

/// Returns when a cancelled turn ends whose text was pasted at the origin, if the screen shows this.
fn given_up_at(screen: Option<Shown>) -> Option<u64> {
    let mut run = TurnRun::pasted("claude");
    let began = run.scene.ms;
    run.scene.screen = screen;
    run.scene.request = Some(Request::Cancel);
    run.step(None);
    ended_at(&mut run, began + 60_000).map(|ms| ms - began)
}

#[test]
fn what_is_taken_back_is_looked_for_as_long_as_it_may_be_on_its_way() {
    // Nothing has arrived, or no more than a part.
    assert_eq!(given_up_at(Some(shown(Says::Idle))), Some(600));
    assert_eq!(given_up_at(Some(part())), Some(600));
    // It cannot be seen, or the agent works.
    assert_eq!(given_up_at(None), Some(10_000));
    assert_eq!(given_up_at(Some(shown(Says::Busy))), Some(10_000));
}
