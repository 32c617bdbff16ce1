//! What tasks print.

use super::tests::*;
use super::*;

#[test]
fn the_output_is_that_of_the_last_attempt_that_has_one() {
    let (directory, mut store) = store();
    let task = queue(&mut store, &[NewTask::prompt("x")])[0];
    assert_eq!(store.output(task).expect("none"), None);
    other(&directory)
        .execute_batch("UPDATE tasks SET response = 'as before'")
        .expect("changed");
    let text = |text: &str, total| Output::whole(text.as_bytes().to_vec(), total);
    let read = |store: &mut Store| store.output(task).expect("read").expect("an output");
    assert_eq!(read(&mut store), text("as before", 9));
    let first = claimed(&mut store, task, 1);
    let said = text("half", 400);
    store.ask(first, "?", Some(&said), now()).expect("asked");
    assert_eq!(read(&mut store), said);
    let whole = text("whole", u64::MAX);
    let failed = End {
        output: Some(whole.clone()),
        ..end(first, Outcome::Failed, Event::Retry)
    };
    store.end(&failed, now()).expect("ended");
    let kept = text("whole", i64::MAX.unsigned_abs());
    assert_eq!(read(&mut store), kept);
    finish(&mut store, task, Outcome::Refused, Event::Refuse);
    assert_eq!(read(&mut store), kept);
    let turn = TurnFacts {
        source: "screen".to_owned(),
        ..TurnFacts::default()
    };
    let attempt = claimed(&mut store, task, 1);
    let done = End {
        output: Some(text("new", 3)),
        turn: Some(turn.clone()),
        ..end(attempt, Outcome::Completed, Event::Complete)
    };
    store.end(&done, now()).expect("ended");
    assert_eq!(read(&mut store), text("new", 3));
    let beginning = |store: &mut Store, most| store.output_beginning(task, most).expect("read");
    assert_eq!(beginning(&mut store, 2), b"ne");
    assert_eq!(beginning(&mut store, 9), b"new");
    let attempts = store.attempts(task).expect("attempts");
    let turns: Vec<_> = attempts.into_iter().map(|attempt| attempt.turn).collect();
    assert_eq!(turns, [None, Some(turn)]);
}

#[test]
fn nothing_has_a_beginning() {
    let (_directory, mut store) = store();
    let task = queue(&mut store, &[NewTask::command("a")])[0];
    assert_eq!(store.output_beginning(task, 9).expect("none"), b"");
    let attempt = claimed(&mut store, task, 1);
    let done = End {
        output: Some(Output::of(Vec::new())),
        ..end(attempt, Outcome::Completed, Event::Complete)
    };
    store.end(&done, now()).expect("ended");
    assert_eq!(store.output_beginning(task, 9).expect("read"), b"");
}
