//! What a person does while a command runs that they asked for.

use super::*;

/// What a person has written is theirs until it is done.
#[test]
fn what_was_written_comes_back_if_it_cannot_be_done() {
    let fleet = fleet();
    let mut state = TopState::new(&fleet);
    press(&mut state, &fleet, "nlong and dear\t\t\tx\n");
    let written = state.written();
    state.has_run(written, false, "a priority is a number".to_owned());
    let Mode::New(form) = &state.mode else {
        panic!("{:?}", state.mode);
    };
    assert_eq!(form.fields[0].text(), "long and dear");
    assert_eq!(state.message, "a priority is a number");
    press(&mut state, &fleet, "\n");
    let written = state.written();
    state.has_run(written, true, "task 9 queued".to_owned());
    assert!(matches!(state.mode, Mode::Browse));
    // What follows is not about it any more.
    press(&mut state, &fleet, "2p");
    assert!(state.written().is_none());
    state.has_run(None, false, "no".to_owned());
    assert!(matches!(state.mode, Mode::Browse));
}

/// A command that took its time interrupts nothing that was begun meanwhile.
#[test]
fn what_is_being_written_is_not_interrupted() {
    let fleet = fleet();
    let mut state = TopState::new(&fleet);
    press(&mut state, &fleet, "nfirst\n");
    let written = state.written();
    press(&mut state, &fleet, "nsecond");
    state.has_run(written, false, "no".to_owned());
    state.reads("the reasons".to_owned(), vec!["none".to_owned()]);
    state.offers(
        TaskId(2),
        vec![Choice {
            session: "api".to_owned(),
            points: "100".to_owned(),
        }],
    );
    let Mode::New(form) = &state.mode else {
        panic!("{:?}", state.mode);
    };
    assert_eq!(form.fields[0].text(), "second");
    assert_eq!(state.message, "no");
}

/// What is seen of a session stands on its page, and not on that of another one.
#[test]
fn a_sessions_page_shows_what_is_seen_of_it() {
    let fleet = fleet();
    let mut state = TopState::new(&fleet);
    let acts = press(&mut state, &fleet, "2\n");
    let [TopAct::Examine(identity, name)] = &acts[..] else {
        panic!("{acts:?}");
    };
    let other = fleet
        .sessions
        .iter()
        .find(|row| row.identity != *identity)
        .expect("another");
    state.is_examined(&other.identity, vec!["the other one".to_owned()]);
    assert!(matches!(&state.mode, Mode::Session(_, _, None)));
    state.is_examined(identity, vec!["prompt  empty".to_owned()]);
    let shown = screen(&mut state, &fleet, 80, 40).join("\n");
    assert!(shown.contains("prompt  empty"), "{name}: {shown}");
}
