//! A running turn: dialogs, questions, and who answers them.

use super::questions::{questioned, rests};
use super::*;

fn keys() -> Answer {
    Answer::Keys(vec!["Enter".into()])
}

fn words(text: &str) -> Answer {
    Answer::Words(text.into())
}

/// Shows the agent waiting for a person, in a look at this moment.
fn waits(run: &mut TurnRun, asks: &str, says: &[(SignalSource, Says)]) {
    let signals = says
        .iter()
        .map(|&(source, says)| run.scene.signal(source, says));
    let signals = signals.collect();
    run.scene.is(Activity::WaitingInput, asks, signals);
}

const DIALOG: &[(SignalSource, Says)] = &[(SignalSource::Screen, Says::Waiting)];

fn asked(acts: &[Act]) -> Option<&str> {
    acts.iter().find_map(|act| match act {
        Act::Ask { question, .. } => Some(&**question),
        _ => None,
    })
}

fn is_dropped(acts: &[Act]) -> bool {
    matches!(acts, [Act::DropReplies { .. }])
}

/// Returns the keys that a reply finally presses, if any.
fn pressed(run: &mut TurnRun) -> Option<(String, Vec<String>)> {
    run.after(100);
    let acts = run.after(0).to_vec();
    if acts != [Act::TakePane] {
        assert!(!acts.iter().any(|act| matches!(act, Act::Press { .. })));
        return None;
    }
    match run.did(Done::Pane(Ok(true))) {
        [Act::TakeReply { .. }, Act::Press { literal, names, .. }] => {
            Some((literal.clone(), names.clone()))
        }
        acts => panic!("a key: {acts:?}"),
    }
}

/// Returns a turn that an earlier daemon left while it waited for this.
fn taken_up(name: &str, asks: Option<&str>, ms: u64) -> TurnRun {
    let attempt = OpenAttempt {
        task: Task {
            asks: asks.map(str::to_owned),
            ..prompt("say hello")
        },
        ..open(Phase::Running)
    };
    let mut scene = TurnScene::of(name);
    scene.ms = ms;
    let mut run = TurnRun::resumed(attempt, scene);
    run.step(None);
    run.did(Done::Place(Ok(None)));
    run
}

/// Returns a turn that ended in a question which only the screen shows, with these prompts shown.
fn questioned_on_screen(shown: Option<screen::GivenPrompts>) -> TurnRun {
    let mut run = TurnRun::running(RECORDLESS);
    run.scene.ms += 100;
    run.scene.is(Activity::Idle, "waits", Vec::new());
    run.step(None);
    run.after(2_000);
    let answer = ("Shall I?".to_owned(), "Shall I?".to_owned());
    let acts = run.did(Done::Answer(Some(answer))).to_vec();
    assert!(
        matches!(acts.last(), Some(Act::ReadGiven { .. })),
        "{acts:?}"
    );
    run.did(Done::Given(shown));
    run
}

#[test]
fn a_turn_that_runs_is_looked_at_again_soon_and_one_that_waits_is_not() {
    let mut run = TurnRun::running("codex");
    run.after(10);
    assert_eq!(run.next.again, Some(Duration::from_millis(100)));
    let mut run = TurnRun::asking("codex");
    run.after(10);
    assert_eq!(run.next.again, None);
}

#[test]
fn a_look_from_before_the_turn_tells_nothing_of_it() {
    // The turn began at 550 ms.
    for (scanned, asks) in [(549, false), (550, true)] {
        let mut run = TurnRun::running("codex");
        waits(&mut run, "may I?", DIALOG);
        run.scene.scanned = scanned;
        assert_eq!(asked(run.after(100)).is_some(), asks, "{scanned}");
    }
    // A resumed turn is looked at anew.
    let mut run = taken_up(RECORDLESS, None, 50_000);
    run.scene.scanned = 49_999;
    for _ in 0..10 {
        assert!(run.after(1_000).is_empty(), "{:?}", run.next);
    }
}

#[test]
fn a_dialog_that_was_answered_may_be_seen_a_moment_longer() {
    let mut run = TurnRun::asking("codex");
    run.scene.replies = vec![reply(3, keys(), "may I?")];
    assert!(pressed(&mut run).is_some());
    run.did(Done::Typed(Typed::Done));
    run.scene.ms += 1_999;
    waits(&mut run, "may I?", DIALOG);
    assert_eq!(asked(run.step(None)), None);
    assert_eq!(asked(run.after(1)), Some("may I?"));
}

#[test]
fn the_next_dialog_is_asked_about_once_the_first_has_stood_for_a_while() {
    for (reason, says, ms, asks) in [
        ("and that?", DIALOG, 1_999, false),
        ("and that?", DIALOG, 2_000, true),
        ("may I?", DIALOG, 2_000, false),
        (
            "and that?",
            &[(SignalSource::Title, Says::Waiting)][..],
            2_000,
            false,
        ),
    ] {
        let mut run = TurnRun::asking("codex");
        run.scene.ms += ms;
        waits(&mut run, reason, says);
        let acts = run.step(None).to_vec();
        let expected = asks.then_some(reason);
        assert_eq!(asked(&acts), expected, "{reason} {says:?} {ms}");
    }
}

#[test]
fn an_answer_to_what_was_asked_before_is_not_given_to_what_is_asked_now() {
    let mut run = TurnRun::asking("codex");
    run.scene.replies = vec![reply(3, keys(), "may I?")];
    run.after(100);
    run.scene.screen = None;
    run.scene.ms += 2_000;
    waits(&mut run, "and that?", DIALOG);
    assert_eq!(asked(run.step(None)), Some("and that?"));
    run.scene.screen = Some(shown(Says::Waiting));
    for _ in 0..10 {
        assert!(run.after(100).is_empty(), "{:?}", run.next);
    }
    // A reply that can be given only later is kept until then.
    let mut run = questioned("codex");
    run.scene.replies = vec![reply(3, words("yes"), "asks: Shall I?")];
    run.scene.screen = Some(foreign());
    for _ in 0..10 {
        assert!(run.after(100).is_empty(), "{:?}", run.next);
    }
    run.scene.screen = Some(shown(Says::Idle));
    run.after(100);
    let acts = run.after(0).to_vec();
    assert!(matches!(&acts[..], [Act::TakeReply { .. }]), "{acts:?}");
}

#[test]
fn only_work_that_is_seen_since_tells_that_a_person_has_answered() {
    for (source, says, goes_on) in [
        (SignalSource::Screen, Says::Busy, true),
        (SignalSource::Title, Says::Busy, true),
        (SignalSource::Report, Says::Busy, false),
        (SignalSource::Screen, Says::Waiting, false),
        (SignalSource::Process, Says::Busy, false),
    ] {
        for mut run in [TurnRun::asking("codex"), questioned("codex")] {
            rests(&mut run);
            run.scene.ms += 100;
            let signals = vec![run.scene.signal(source, says)];
            run.scene.is(Activity::Busy, "works", signals);
            let acts = run.step(None).to_vec();
            let found = matches!(&acts[..], [Act::GoOn { .. }]);
            assert_eq!(found, goes_on, "{source} {says}");
        }
    }
}

#[test]
fn the_end_that_was_a_question_is_not_the_end_of_what_follows_it() {
    // Reported at the moment that the question is dated to, or a moment after a person's answer was
    // given.
    for late in [0, 150] {
        let mut run = TurnRun::running(RECORDLESS);
        run.scene.ms += 100;
        run.scene.is(Activity::Idle, "waits", Vec::new());
        let told = run.scene.ms;
        let question = |ms| report(ReportedState::Done, ms, None, Some("Shall I?"));
        run.scene.agent.report = Some(question(told));
        run.step(None);
        let acts = run.did(Done::Given(given(1, "say hello", false)));
        assert_eq!(asked(acts), Some("asks: Shall I?"));
        run.did(Done::Given(given(1, "say hello", false)));
        // The same end, reported again.
        rests(&mut run);
        run.scene.agent.report = Some(question(told + late));
        run.scene.ms += 100;
        let signals = vec![run.scene.signal(SignalSource::Screen, Says::Busy)];
        run.scene.is(Activity::Busy, "works", signals);
        assert!(matches!(run.step(None), [Act::GoOn { .. }]));
        for _ in 0..3 {
            assert!(run.after(10).is_empty(), "{late}: {:?}", run.next);
        }
        // Its own end counts.
        run.scene.agent.report = Some(report(
            ReportedState::Done,
            run.scene.ms,
            None,
            Some("done"),
        ));
        run.scene.is(Activity::Idle, "waits", Vec::new());
        run.step(None);
        run.did(Done::Given(given(2, "yes", true)));
        let response = &end(&run.next).output;
        assert_eq!(response, &OutputSource::Text("done".to_owned()), "{late}");
    }
}

#[test]
fn one_more_prompt_on_the_screen_tells_that_a_person_has_answered() {
    let ours = given(1, "say hello", false);
    let both = given(2, "yes", true);
    for (first, later, goes_on) in [
        (&ours, &ours, false),
        (&ours, &given(2, "say hello", false), true),
        (&ours, &given(1, "yes", false), true),
        (&ours, &None, false),
        // Answered before the first look: nothing changes any more, but the answer is below our
        // prompt.
        (&both, &both, true),
    ] {
        let mut run = questioned_on_screen(first.clone());
        run.scene.is(Activity::Idle, "waits", Vec::new());
        assert!(run.after(1_999).is_empty());
        let acts = run.after(1).to_vec();
        assert!(matches!(&acts[..], [Act::ReadGiven { .. }]), "{acts:?}");
        let acts = run.did(Done::Given(later.clone())).to_vec();
        let found = matches!(&acts[..], [Act::GoOn { .. }]);
        assert_eq!(found, goes_on, "{later:?}: {acts:?}");
    }
    // If they could not be read then, later ones show nothing.
    let mut run = questioned_on_screen(None);
    for _ in 0..10 {
        assert!(run.after(1_000).is_empty());
    }
}

#[test]
fn a_dialog_has_said_nothing_that_could_be_accepted() {
    let mut run = TurnRun::asking("codex");
    run.scene.replies = vec![reply(3, Answer::Accept, "may I?")];
    assert!(is_dropped(run.after(100)));
    // If an earlier daemon noticed what was said, it must be noticed again first.
    let mut run = taken_up("codex", Some("asks: Shall I?"), 0);
    run.scene.is(Activity::Idle, "waits", Vec::new());
    run.scene.replies = vec![reply(3, Answer::Accept, "asks: Shall I?")];
    assert!(run.after(100).is_empty());
    run.wrote(Some(How::Done), "Shall I?");
    let acts = run.after(100).to_vec();
    assert_eq!(acts, [Act::AgeRecord], "it is asked already");
    run.after(100);
    assert_eq!(outcome(&run.next), (Outcome::Completed, Event::Complete));
    // A dialog that follows what was said does not invalidate it.
    let mut run = questioned("codex");
    run.scene.replies = vec![reply(3, Answer::Accept, "asks: Shall I?")];
    run.scene.agent.signals = vec![run.scene.signal(SignalSource::Screen, Says::Waiting)];
    run.after(100);
    assert_eq!(outcome(&run.next), (Outcome::Completed, Event::Complete));
}

#[test]
fn keys_are_pressed_only_where_the_dialog_that_was_answered_is_seen() {
    let titled = &[(SignalSource::Title, Says::Waiting)][..];
    for (says, activity, reason, signals, expected) in [
        (
            Says::Waiting,
            Activity::WaitingInput,
            "may I?",
            DIALOG,
            true,
        ),
        (
            Says::Nothing,
            Activity::WaitingInput,
            "may I?",
            &[][..],
            true,
        ),
        (Says::Nothing, Activity::Unknown, "may I?", titled, true),
        (Says::Nothing, Activity::Unknown, "may I?", &[], false),
        (Says::Idle, Activity::Idle, "waits", &[], false),
        // Another dialog, which its person has not been told about yet.
        (Says::Waiting, Activity::WaitingInput, "no?", DIALOG, false),
        // A blinking title asks nothing else.
        (Says::Waiting, Activity::WaitingInput, "no?", titled, true),
        (Says::Waiting, Activity::Unknown, "no?", DIALOG, true),
    ] {
        let mut run = TurnRun::asking("codex");
        run.scene.replies = vec![reply(3, keys(), "may I?")];
        run.scene.screen = Some(shown(says));
        let signals = signals.iter();
        let signals = signals.map(|&(source, says)| run.scene.signal(source, says));
        let signals = signals.collect();
        run.scene.is(activity, reason, signals);
        let found = pressed(&mut run).is_some();
        assert_eq!(found, expected, "{says:?} {activity:?} {reason}");
    }
    // After a question in words, a dialog is something else.
    for answer in [keys(), words("yes")] {
        let mut run = questioned("codex");
        run.scene.replies = vec![reply(3, answer, "asks: Shall I?")];
        run.scene.screen = Some(shown(Says::Waiting));
        assert_eq!(pressed(&mut run), None);
    }
}

#[test]
fn words_for_a_dialog_are_typed_and_entered_unless_a_single_sign_answers() {
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|&name| name.to_owned())
            .collect::<Vec<_>>()
    };
    for (answer, literal, expected) in [
        (words("yes"), "yes", names(&["Enter"])),
        (words(" y\n"), "y", names(&[])),
        (words("é"), "é", names(&[])),
        (
            Answer::Keys(names(&["Down", "Enter"])),
            "",
            names(&["Down", "Enter"]),
        ),
        (Answer::Keys(names(&["y"])), "", names(&["y"])),
    ] {
        let mut run = TurnRun::asking("codex");
        run.scene.replies = vec![reply(3, answer.clone(), "may I?")];
        let found = pressed(&mut run);
        assert_eq!(found, Some((literal.to_owned(), expected)), "{answer:?}");
    }
}

#[test]
fn the_pane_is_taken_for_each_reply_anew() {
    for had in [true, false] {
        let mut run = TurnRun::asking("codex");
        run.scene.replies = vec![reply(3, keys(), "may I?")];
        run.after(100);
        assert_eq!(run.after(0), [Act::TakePane]);
        // By now another reply is the first.
        run.scene.replies = vec![reply(4, keys(), "may I?")];
        assert_eq!(run.did(Done::Pane(Ok(had))), [Act::TakePane]);
    }
}

#[test]
fn what_follows_an_answered_question_is_another_turn() {
    // A dialog follows what was said: the turn is then whichever is last in the record.
    let mut run = questioned("codex");
    run.scene.ms += 2_000;
    waits(&mut run, "may I?", DIALOG);
    run.scene.screen = Some(shown(Says::Waiting));
    assert_eq!(asked(run.step(None)), Some("may I?"));
    run.scene.replies = vec![reply(3, keys(), "may I?")];
    assert!(pressed(&mut run).is_some());
    run.did(Done::Typed(Typed::Done));
    run.scene.is(Activity::Busy, "works", Vec::new());
    run.wrote(Some(How::Done), "Done.");
    run.scene.record.own = None;
    run.after(100);
    assert_eq!(outcome(&run.next), (Outcome::Completed, Event::Complete));
}

#[test]
fn a_question_stands_since_it_was_asked_first() {
    // An earlier daemon asked it, and the record contains it only later: it is the same question.
    let next = |run: &mut TurnRun, ms: u64| {
        run.scene.ms = ms;
        waits(run, "may I?", DIALOG);
        asked(run.step(None)).map(str::to_owned)
    };
    let mut run = taken_up("codex", Some("asks: Shall I?"), 0);
    run.scene.is(Activity::Idle, "waits", Vec::new());
    run.scene.ms = 1_500;
    run.wrote(Some(How::Done), "Shall I?");
    assert_eq!(run.step(None), [Act::AgeRecord]);
    run.scene.record = Record::default();
    assert_eq!(next(&mut run, 1_999), None);
    assert_eq!(next(&mut run, 2_000).as_deref(), Some("may I?"));
    // A question that follows a dialog is another one.
    let mut run = TurnRun::asking("codex");
    run.scene.ms = 2_500;
    run.wrote(Some(How::Done), "Shall I?");
    assert_eq!(asked(run.step(None)), Some("asks: Shall I?"));
    run.scene.record = Record::default();
    assert_eq!(next(&mut run, 4_499), None);
    assert_eq!(next(&mut run, 4_500).as_deref(), Some("may I?"));
}

#[test]
fn a_question_that_stands_is_not_asked_again() {
    let mut run = questioned("codex");
    for _ in 0..5 {
        run.wrote(Some(How::Done), "I can.\n\nShall I?");
        assert!(run.after(100).is_empty(), "{:?}", run.next);
    }
    // A different question is asked.
    run.wrote(Some(How::Done), "Or that?");
    assert_eq!(asked(run.after(100)), Some("asks: Or that?"));
}
