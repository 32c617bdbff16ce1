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

#[test]
fn a_response_is_that_of_the_last_attempt_of_the_task_itself() {
    let (_directory, mut store) = store();
    let facts = |source: &str| {
        Some(TurnFacts {
            source: source.to_owned(),
            ..TurnFacts::default()
        })
    };
    let tasks = queue(&mut store, &vec![NewTask::command("x"); 2]);
    for (task, turn, outcome, event) in [
        (
            tasks[0],
            facts(TurnFacts::SCREEN),
            Outcome::Failed,
            Event::Retry,
        ),
        (
            tasks[0],
            facts("transcript"),
            Outcome::Completed,
            Event::Complete,
        ),
        (
            tasks[1],
            facts(TurnFacts::OUTPUT),
            Outcome::Completed,
            Event::Complete,
        ),
    ] {
        let attempt = claimed(&mut store, task, 1);
        let ended = End {
            turn,
            ..end(attempt, outcome, event)
        };
        store.end(&ended, now()).expect("ended");
    }
    let mut response = |task| store.task(task).expect("a task").response;
    assert_eq!(response(tasks[0]), Some(Response::Whole));
    assert_eq!(response(tasks[1]), Some(Response::Printed));
}

/// A sender may have named the same time since.
#[test]
fn only_what_rests_is_released() {
    let (directory, mut store) = store();
    let tasks = queue(&mut store, &vec![NewTask::command("x"); 2]);
    let time = "2026-01-02T04:00:00.000Z";
    write(
        &directory,
        &format!("UPDATE tasks SET rests = 1, not_before = '{time}'"),
    );
    let read = store.resting(1).expect("rests");
    assert_eq!(read[0].task, tasks[0]);
    for change in ["rests = 0", "rests = 1, status = 'failed'"] {
        write(
            &directory,
            &format!("UPDATE tasks SET {change} WHERE id = {}", tasks[0]),
        );
        store.release(&read).expect("released");
        let task = store.task(tasks[0]).expect("a task");
        assert!(task.not_before.is_some(), "{change}");
    }
}

#[test]
fn what_a_program_tells_of_one_session_is_not_said_of_another() {
    let (_directory, mut store) = store();
    let there = Identity {
        node: crate::model::ids::NodeName::parse("there").expect("a name"),
        ..identity(3)
    };
    let sessions = [
        session_row("s1"),
        SessionRow {
            identity: identity(2),
            ..session_row("s2")
        },
        SessionRow {
            identity: there,
            ..session_row("s1")
        },
    ];
    store.record_sessions(&sessions, now()).expect("recorded");
    let env = [("A".to_owned(), Some("1".to_owned()))].into();
    store.update_env("s1", &env, now()).expect("told");
    let told: Vec<(String, bool, bool)> = store
        .sessions()
        .expect("sessions")
        .into_iter()
        .map(|row| (row.name, row.identity.node.is_only(), row.env.is_empty()))
        .collect();
    let row = |name: &str, here, is_empty| (name.to_owned(), here, is_empty);
    assert_eq!(
        told,
        [
            row("s1", true, false),
            row("s1", false, true),
            row("s2", true, true)
        ]
    );
}

#[test]
fn a_session_that_is_gone_is_not_present() {
    let (_directory, mut store) = store();
    let gone = SessionRow {
        identity: identity(2),
        activity: Activity::Gone,
        ..session_row("s2")
    };
    store
        .record_sessions(&[session_row("s1"), gone], now())
        .expect("recorded");
    let rows = sessions::read_present(&mut *store.db).expect("sessions");
    let names: Vec<&str> = rows.iter().map(|row| &*row.name).collect();
    assert_eq!(names, ["s1"]);
}
