//! What is looked at, whose agent it is, how long it may take, and what an earlier daemon left.

use super::*;
use crate::node::attempt::{Query, SameProfile};

fn at_phase(phase: Phase) -> OpenAttempt {
    OpenAttempt {
        task: prompt("say hello"),
        ..open(phase)
    }
}

/// Returns a turn that an earlier daemon left in this phase, after its directory was checked.
fn found(attempt: OpenAttempt, scene: TurnScene) -> TurnRun {
    let mut run = TurnRun::resumed(attempt, scene);
    assert!(matches!(run.step(None), [Act::LookAtPlace { .. }]));
    run.did(Done::Place(Ok(None)));
    run
}

impl TurnRun {
    /// Steps while the session looks like this.
    fn sees(&mut self, presence: Presence, ms: u64) -> &[Act] {
        self.scene.ms += ms;
        let mut observation = self.scene.observation(None);
        observation.sight = Some(Sight {
            at: at(self.scene.ms).tick,
            pane: presence,
        });
        let (turn, next) = self.turn.clone().step(&observation, at(self.scene.ms));
        self.turn = turn;
        self.next = next;
        &self.next.acts
    }
}

#[test]
fn the_screen_is_read_while_a_text_is_on_its_way_and_nothing_is_being_typed() {
    let mut run = TurnRun::new("codex");
    assert!(!run.turn.wants().screen, "claimed");
    run.step(None);
    assert!(!run.turn.wants().screen, "looking");
    run.did(Done::Place(Ok(None)));
    assert!(!run.turn.wants().screen, "ready, without the lock");
    run.after(0);
    run.did(Done::Pane(Ok(true)));
    assert!(run.turn.wants().screen, "ready");
    run.after(0);
    assert!(!run.turn.wants().screen, "pasting");
    run.did(Done::Typed(Typed::Done));
    assert!(run.turn.wants().screen, "pasted");
    run.scene.screen = Some(stands());
    run.after(500);
    assert!(!run.turn.wants().screen, "pressing");
    run.did(Done::Typed(Typed::Done));
    assert!(run.turn.wants().screen, "submitted");
    assert!(!TurnRun::running("codex").turn.wants().screen, "running");
}

#[test]
fn a_process_a_text_and_a_record_are_asked_about_where_there_is_one() {
    for (name, has_record) in [("codex", true), (RECORDLESS, false)] {
        for run in [TurnRun::pasted(name), TurnRun::running(name)] {
            let wants = run.turn.wants();
            assert_eq!(wants.process, Some((77, 7)));
            assert_eq!(wants.text.as_deref(), Some("say hello"));
            assert_eq!(wants.profile, Some(SameProfile(profile(name))));
            let query = has_record.then(|| Query {
                turn: None,
                transcript: None,
                pid: 77,
                text: "say hello".into(),
                nonce: None,
                since: wall(0),
                resumed: false,
            });
            assert_eq!(wants.record, query, "{name}");
        }
    }
}

#[test]
fn another_process_is_another_agent() {
    for (pid, began) in [(78, 7), (77, 8), (78, 8)] {
        let mut run = TurnRun::ready("codex");
        run.scene.agent.pid = pid;
        run.scene.agent.began = began;
        run.after(0);
        assert_eq!(outcome(&run.next), (Outcome::Refused, Event::Refuse));
    }
}

#[test]
fn nothing_happens_after_the_end() {
    let mut run = TurnRun::running("codex");
    run.wrote(Some(How::Done), "hello");
    run.after(100);
    assert!(run.turn.has_ended());
    run.scene.request = Some(Request::Cancel);
    assert!(run.after(100).is_empty());
}

#[test]
fn a_limit_of_zero_is_none() {
    for (limit, ends) in [(Some(0), false), (None, false), (Some(60), true)] {
        let mut task = prompt("say hello");
        task.timeout_seconds = limit;
        let attempt = OpenAttempt {
            task,
            ..open(Phase::Running)
        };
        let mut run = found(attempt, TurnScene::of("codex"));
        run.scene.is(Activity::Busy, "works", Vec::new());
        run.after(59_999);
        assert!(!run.turn.has_ended());
        run.after(1);
        assert_eq!(run.turn.has_ended(), ends, "{limit:?}");
    }
}

#[test]
fn no_time_runs_while_a_dialog_is_shown_nor_while_its_agent_is_sought_for_an_answer() {
    let mut task = prompt("say hello");
    task.timeout_seconds = Some(60);
    let mut run = TurnRun::with(task.clone(), TurnScene::of("codex"), Refusals::default());
    run.paste();
    run.scene.screen = Some(stands());
    run.after(500);
    run.did(Done::Typed(Typed::Done));
    run.scene.screen = Some(shown(Says::Busy));
    run.after(50);
    run.scene.is(Activity::WaitingInput, "may I?", Vec::new());
    run.after(100);
    run.after(600_000);
    assert!(!run.turn.has_ended());
    // A resumed attempt is not seen: its time runs if it ran before.
    for (phase, asks, ends) in [
        (Phase::Running, None, true),
        (Phase::Running, Some("may I?"), false),
        (Phase::Delivering, None, false),
    ] {
        let attempt = OpenAttempt {
            task: Task {
                asks: asks.map(str::to_owned),
                ..task.clone()
            },
            ..open(phase)
        };
        let mut scene = TurnScene::of("codex");
        scene.ms = 59_000;
        scene.gone = true;
        let mut run = TurnRun::resumed(attempt, scene);
        run.after(999);
        assert!(!run.turn.has_ended(), "{phase:?} {asks:?}");
        run.after(1);
        assert_eq!(run.turn.has_ended(), ends, "{phase:?} {asks:?}");
        if ends {
            assert_eq!(outcome(&run.next), (Outcome::TimedOut, Event::Fail));
        }
    }
}

#[test]
fn what_is_left_of_an_attempt_that_is_being_sought_is_told() {
    for (phase, left) in [
        (Phase::Claimed, "nothing was typed"),
        (Phase::Delivering, "the prompt was pasted and not submitted"),
        (
            Phase::Submitted,
            "the prompt was submitted; the agent was left alone",
        ),
        (Phase::Running, "the agent was left alone and may continue"),
    ] {
        let mut scene = TurnScene::of("codex");
        scene.request = Some(Request::Cancel);
        let mut run = TurnRun::resumed(at_phase(phase), scene);
        run.step(None);
        let told = format!("cancelled by a person: {left}");
        assert_eq!(end(&run.next).reason.as_ref(), Some(&told));
    }
    type TurnChange = fn(&mut TurnRun);
    let typing: [(TurnChange, &str); 2] = [
        (
            |run| {
                run.did(Done::Typed(Typed::Done));
                run.scene.screen = Some(stands());
                run.after(500);
            },
            "the prompt was submitted; the agent was left alone",
        ),
        (|_| {}, "the prompt was pasted and not submitted"),
    ];
    for (stage, left) in typing {
        let mut run = TurnRun::ready("codex");
        run.after(0);
        stage(&mut run);
        run.scene.request = Some(Request::Reassign(None));
        run.until_end();
        let told = format!("given to another session by a person: {left}");
        assert_eq!(end(&run.next).reason.as_ref(), Some(&told));
    }
}

#[test]
fn an_agent_is_sought_longer_where_it_may_be_behind_an_editor() {
    let missing = |lives| Presence::Missing { lives };
    let other = || pane(|pane| pane.agent = None);
    for (phase, presence, within, expected) in [
        (Phase::Running, missing(true), 300_000, Outcome::Uncertain),
        (Phase::Running, other(), 300_000, Outcome::Uncertain),
        (Phase::Running, missing(false), 2_000, Outcome::Uncertain),
        (Phase::Submitted, missing(true), 2_000, Outcome::Uncertain),
        (Phase::Delivering, other(), 2_000, Outcome::Uncertain),
    ] {
        let mut run = TurnRun::resumed(at_phase(phase), TurnScene::of("codex"));
        assert!(run.sees(presence.clone(), within - 1).is_empty());
        assert_eq!(run.next.again, Some(Duration::from_millis(100)));
        run.sees(presence.clone(), 1);
        assert_eq!(outcome(&run.next).0, expected, "{phase:?} {presence:?}");
    }
    // An agent whose start is not known may have been given it.
    let mut scene = TurnScene::of("codex");
    scene.agent.started = None;
    found(at_phase(Phase::Submitted), scene);
}

#[test]
fn a_text_that_cannot_be_made_again_is_sought_without_haste() {
    let attempt = OpenAttempt {
        task: prompt("no \u{1b} text"),
        ..open(Phase::Running)
    };
    let run = found(attempt, TurnScene::of("codex"));
    assert!(run.next.acts.is_empty());
    assert_eq!(run.next.again, Some(Duration::from_millis(100)));
}

#[test]
fn an_answer_that_an_earlier_daemon_gave_is_not_known_any_more() {
    for (answered, has_said, asks, text) in [
        (false, false, None, "say hello"),
        (true, true, None, ""),
        // A dialog was answered, so the same turn continues.
        (true, false, None, "say hello"),
        (false, false, Some("may I?"), "say hello"),
        // The question is still open.
        (true, true, Some("asks: Shall I?"), "say hello"),
        (false, true, Some("asks: Shall I?"), "say hello"),
        // A dialog after a question is shown by the answer's turn, whoever noticed that it began.
        (true, true, Some("may I?"), ""),
        (false, true, Some("may I?"), ""),
    ] {
        let attempt = OpenAttempt {
            answered,
            has_said,
            task: Task {
                asks: asks.map(str::to_owned),
                ..prompt("say hello")
            },
            ..open(Phase::Running)
        };
        let run = found(attempt, TurnScene::of("codex"));
        assert_eq!(run.turn.wants().text.as_deref(), Some(text));
    }
}

/// A turn in a record.
fn turn(how: How, response: &str) -> Option<Written> {
    Some(Written {
        how: Some(how),
        response: Some(response.to_owned()),
        ..Written::default()
    })
}

#[test]
fn the_latest_turn_is_ours_only_where_an_answer_may_have_begun_it() {
    let fresh: TurnStart = || TurnRun::running("codex");
    let taken_up: TurnStart = || found(at_phase(Phase::Running), TurnScene::of("codex"));
    let asking: TurnStart = || TurnRun::asking("codex");
    let has_asked: TurnStart = || {
        let mut attempt = at_phase(Phase::Running);
        attempt.has_said = true;
        found(attempt, TurnScene::of("codex"))
    };
    let later = || turn(How::Done, "later");
    for (stage, own, expected) in [
        (fresh, None, None),
        (fresh, turn(How::Done, "own"), Some("own")),
        (fresh, turn(How::Interrupted, "Shall I?"), Some("Shall I?")),
        // Its own may be written later than a person's that follows it.
        (taken_up, None, None),
        (has_asked, None, Some("later")),
        (taken_up, turn(How::Done, "own"), Some("own")),
        (taken_up, turn(How::Done, "Shall I?"), Some("later")),
        (
            taken_up,
            turn(How::Interrupted, "Shall I?"),
            Some("Shall I?"),
        ),
        // While a dialog of its own is open, anything later is someone else's.
        (asking, None, None),
        (asking, turn(How::Done, "own"), Some("own")),
    ] {
        let mut run = stage();
        run.scene.record = Record {
            own: own.clone(),
            latest: later(),
            found: true,
            ..Record::default()
        };
        run.after(100);
        let output = run.turn.has_ended().then(|| end(&run.next).output.clone());
        let expected = expected.map(|text| OutputSource::Text(text.to_owned()));
        assert_eq!(output, expected, "{own:?}");
    }
}

#[test]
fn an_agent_without_a_record_has_no_last_words() {
    let mut run = TurnRun::running(RECORDLESS);
    run.scene.lives = false;
    run.after(100);
    assert_eq!(outcome(&run.next), (Outcome::Failed, Event::Fail));
}

#[test]
fn somebody_elses_prompt_begins_no_turn_that_an_earlier_daemon_was_giving() {
    for phase in [Phase::Delivering, Phase::Submitted] {
        let mut run = found(at_phase(phase), TurnScene::of("codex"));
        run.scene.record = Record {
            latest: turn(How::Done, "another's"),
            found: true,
            ..Record::default()
        };
        assert!(!run.after(100).contains(&begun()), "{phase:?}");
        assert!(!run.turn.has_ended(), "{phase:?}");
        // Nor does it end ours, once that has begun.
        run.scene.agent.report = Some(report(ReportedState::Busy, run.scene.ms, Some(1), None));
        if phase == Phase::Submitted {
            assert!(run.after(50).contains(&begun()));
            run.after(50);
            assert!(!run.turn.has_ended());
        }
    }
}

#[test]
fn an_answer_that_was_given_before_the_question_is_heard_anew_is_found() {
    let mut attempt = at_phase(Phase::Running);
    attempt.task.asks = Some("asks: Shall I?".to_owned());
    let mut scene = TurnScene::of("codex");
    scene.ms = 10_000;
    let mut run = found(attempt, scene);
    let asks = Written {
        ended: Some(wall(4_000)),
        ..turn(How::Done, "Shall I?").expect("a turn")
    };
    run.scene.record = Record {
        own: Some(asks.clone()),
        latest: Some(asks),
        found: true,
        ..Record::default()
    };
    run.after(100);
    // A turn that began at 9,000 would be the answer's.
    let since = run.turn.wants().record.expect("a look at the record").since;
    assert_eq!(since, wall(4_000));
}

/// Daemons that are restarted every second must not postpone the end forever.
#[test]
fn an_agent_that_an_earlier_daemon_saw_idle_need_not_be_seen_so_anew() {
    for (quiet, ends) in [(0, false), (1_500, false), (2_000, true), (90_000, true)] {
        let mut scene = TurnScene::of(RECORDLESS);
        scene.ms = 100_000;
        scene.is(Activity::Idle, "waits", Vec::new());
        scene.agent.quiet = Duration::from_millis(quiet);
        let mut run = found(at_phase(Phase::Running), scene);
        let acts = run.after(25).to_vec();
        let read = matches!(&acts[..], [Act::ReadAnswer { .. }]);
        assert_eq!(read, ends, "{quiet}: {acts:?}");
    }
}

#[test]
fn a_row_is_stepped_on_from_where_it_stands() {
    let at_phase = |phase| OpenAttempt {
        task: prompt("say hello"),
        ..open(phase)
    };
    let scene = TurnScene::of("codex");
    let mut run = TurnRun::resumed(at_phase(Phase::Claimed), scene.clone());
    run.step(None);
    assert_eq!(outcome(&run.next), (Outcome::Withdrawn, Event::Withdraw));
    // Pasted: the text is still there, and is submitted.
    let found = |phase| {
        let mut run = TurnRun::resumed(at_phase(phase), scene.clone());
        assert!(matches!(run.step(None), [Act::LookAtPlace { .. }]));
        run.did(Done::Place(Ok(None)));
        run
    };
    let mut run = found(Phase::Delivering);
    run.scene.screen = Some(stands());
    let acts = run.after(500).to_vec();
    assert!(matches!(acts.last(), Some(Act::Press { .. })), "{acts:?}");
    // Or it is not there and was not submitted: it is never pasted again by this attempt.
    let mut run = found(Phase::Delivering);
    run.after(500);
    run.after(3_500);
    assert_eq!(outcome(&run.next), (Outcome::Refused, Event::Refuse));
    // Submitted: nothing proves that it was not.
    let mut run = found(Phase::Submitted);
    run.after(500);
    assert!(!run.turn.has_ended());
    run.after(30_000);
    assert_eq!(outcome(&run.next), (Outcome::Uncertain, Event::Lose));
    // It is running, and ended while nobody looked.
    let mut run = found(Phase::Running);
    run.wrote(Some(How::Done), "hello");
    run.after(100);
    assert_eq!(outcome(&run.next), (Outcome::Completed, Event::Complete));
}

#[test]
fn an_agent_that_came_later_was_not_given_anything() {
    // A person may have submitted what the previous agent was given.
    for (phase, expected) in [
        (Phase::Delivering, (Outcome::Uncertain, Event::Lose)),
        (Phase::Submitted, (Outcome::Uncertain, Event::Lose)),
    ] {
        let mut scene = TurnScene::of("codex");
        scene.agent.started = Some(wall(5_000));
        let attempt = OpenAttempt {
            task: prompt("say hello"),
            ..open(phase)
        };
        let mut run = TurnRun::resumed(attempt, scene);
        run.after(1_999);
        assert!(!run.turn.has_ended());
        run.after(1);
        assert_eq!(outcome(&run.next), expected);
    }
}

#[test]
fn an_agent_whose_age_cannot_be_compared_is_not_taken_for_the_one_that_was_given_the_prompt() {
    // Given at 5 s, by a clock that now shows 4 s.
    for (given, outcome_known) in [(3_999, false), (4_000, false), (5_000, true)] {
        let attempt = OpenAttempt {
            delivered_at: Some(wall(given)),
            ..open(Phase::Running)
        };
        let mut scene = TurnScene::of("codex");
        scene.ms = 4_000;
        let mut run = TurnRun::resumed(attempt, scene);
        run.step(None);
        assert_eq!(run.turn.has_ended(), outcome_known, "{given}");
        if outcome_known {
            assert_eq!(outcome(&run.next), (Outcome::Uncertain, Event::Lose));
        }
    }
}

#[test]
fn without_a_record_a_text_that_is_gone_after_a_restart_may_have_been_submitted() {
    // The row says that it was pasted at 0 ms; the daemon returns after 4 s.
    let foreign = || Some(foreign());
    let idle = || Some(shown(Says::Idle));
    for (name, screen, quiet, due, expected) in [
        // It is waited for as long as by the daemon that pasted it.
        (RECORDLESS, idle(), 3, 6_000, Outcome::Uncertain),
        (RECORDLESS, foreign(), 3, 2_000, Outcome::Uncertain),
        // Nothing has appeared since.
        (RECORDLESS, idle(), 60, 6_000, Outcome::Refused),
        (RECORDLESS, foreign(), 60, 2_000, Outcome::Refused),
        // That a record does not show it proves nothing: it may not be there.
        ("codex", idle(), 3, 4_000, Outcome::Uncertain),
        ("codex", foreign(), 3, 2_000, Outcome::Uncertain),
        ("codex", idle(), 60, 4_000, Outcome::Refused),
        ("codex", foreign(), 60, 2_000, Outcome::Refused),
    ] {
        let mut scene = TurnScene::of(name);
        scene.ms = 4_000;
        scene.screen = screen;
        scene.agent.quiet = Duration::from_secs(quiet);
        let mut run = TurnRun::resumed(at_phase(Phase::Delivering), scene);
        run.step(None);
        run.did(Done::Place(Ok(None)));
        run.after(0);
        run.after(due - 1);
        assert!(!run.turn.has_ended(), "{name} {quiet} {due}");
        run.scene.ms += 1;
        run.scene.agent.quiet += Duration::from_secs(due / 1_000);
        for _ in 0..200 {
            if run.turn.has_ended() {
                break;
            }
            run.after(100);
        }
        assert_eq!(outcome(&run.next).0, expected, "{name} {quiet} {due}");
    }
}

/// An agent may report the end of what it asked after it was answered.
#[test]
fn a_late_report_of_what_was_asked_does_not_end_what_was_answered() {
    for (at, ends) in [(9_999, false), (10_000, true)] {
        let mut attempt = at_phase(Phase::Running);
        (attempt.has_said, attempt.answered) = (true, true);
        let mut scene = TurnScene::of(RECORDLESS);
        scene.ms = 10_000;
        let mut run = found(attempt, scene);
        run.scene.is(Activity::Busy, "works", Vec::new());
        run.scene.agent.report = Some(report(ReportedState::Done, at, None, Some("so it is")));
        let acts = run.after(100).to_vec();
        let reads = matches!(acts[..], [Act::ReadGiven { .. }]);
        assert_eq!(reads, ends, "{at}: {acts:?}");
    }
}
