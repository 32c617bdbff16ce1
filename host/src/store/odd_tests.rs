//! What other tools have written is read as far as it means something.

use super::tests::*;
use super::*;
use crate::model::task::Response;

fn write(directory: &TempDir, sql: &str) {
    other(directory).execute_batch(sql).expect("written");
}

#[test]
fn a_priority_out_of_bounds_counts_as_the_bound() {
    let (directory, mut store) = store();
    let id = queue(&mut store, &[NewTask::command("x")])[0];
    for (written, read) in [
        ("5000000000", i32::MAX),
        ("2147483647", i32::MAX),
        ("7", 7),
        ("0", 0),
        ("-7", -7),
        ("-2147483648", i32::MIN),
        ("-5000000000", i32::MIN),
    ] {
        write(
            &directory,
            &format!("UPDATE tasks SET priority = {written}"),
        );
        assert_eq!(store.task(id).expect("a task").priority, read, "{written}");
    }
}

/// What an earlier try has left says nothing of the next.
#[test]
fn a_task_that_is_pending_again_has_no_response() {
    let (_directory, mut store) = store();
    let turn = TurnFacts {
        source: TurnFacts::SCREEN.to_owned(),
        ..TurnFacts::default()
    };
    for (event, has_one) in [(Event::Retry, false), (Event::Fail, true)] {
        let id = queue(&mut store, &[NewTask::command("x")])[0];
        let attempt = claimed(&mut store, id, 1);
        let failed = End {
            turn: Some(turn.clone()),
            ..end(attempt, Outcome::Failed, event)
        };
        store.end(&failed, now()).expect("ended");
        let response: Option<Response> = store.task(id).expect("a task").response;
        assert_eq!(response.is_some(), has_one, "{event:?}");
    }
}

/// A rest that was changed after it had been read is another rest.
#[test]
fn a_rest_that_is_written_as_bytes_is_released_only_as_it_was_read() {
    let (directory, mut store) = store();
    let id = queue(&mut store, &[NewTask::command("x")])[0];
    let rests = |bytes: &str| format!("UPDATE tasks SET rests = 1, not_before = x'{bytes}'");
    let is_resting = |store: &mut Store| !store.resting(9).expect("rests").is_empty();
    write(&directory, &rests("ff01"));
    let read = store.resting(9).expect("rests");
    assert_eq!(
        (read[0].task, read[0].written.as_slice()),
        (id, &[255, 1][..])
    );
    write(&directory, &rests("ff02"));
    store.release(&read).expect("released");
    assert!(is_resting(&mut store));
    write(&directory, &rests("ff01"));
    store.release(&read).expect("released");
    assert!(!is_resting(&mut store));
}
