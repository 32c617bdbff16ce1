//! A statement that fails ends its own operation, and nothing else.

use super::tests::*;
use super::*;

/// Fails at one statement in the middle of each of these operations.
const SPOIL: &str = "
    CREATE TRIGGER spoil_history BEFORE INSERT ON assignment_history
        WHEN NEW.action IN ('claimed', 'edited', 'abandoned', 'labelled')
        BEGIN SELECT raise(ABORT, 'no'); END;
    CREATE TRIGGER spoil_attempts BEFORE UPDATE ON attempts WHEN NEW.phase = 'ended'
        BEGIN SELECT raise(ABORT, 'no'); END;";

/// Everything that an operation could have left.
fn everything(directory: &TempDir) -> Vec<String> {
    let connection = other(directory);
    let tables = [
        "SELECT id || status || content || coalesce(lane, '-') || revision || blocked FROM tasks",
        "SELECT id || phase FROM attempts",
        "SELECT id || action FROM assignment_history",
        "SELECT session || name || value FROM session_labels",
        "SELECT task_id || '<' || parent_id FROM dependencies",
    ];
    let mut rows = Vec::new();
    for table in tables {
        let mut query = connection.prepare(table).expect("a query");
        let found = query.query_map([], |row| row.get(0)).expect("rows");
        rows.extend(found.map(|row| row.expect("text")));
    }
    rows
}

fn is_refused<R>(result: Result<R, StoreError>) {
    let error = result.err().expect("refused");
    assert!(matches!(error, StoreError::Sql(_)), "{error}");
    assert_eq!(error.to_string(), "the database refused: no");
}

#[test]
fn a_statement_that_fails_ends_its_own_operation_only() {
    let (directory, mut store) = store();
    let ids = queue(&mut store, &vec![NewTask::command("x"); 3]);
    let running = claimed(&mut store, ids[0], 1);
    let child = queue(&mut store, &[following(&[ids[0]], IfParentFails::Fail)])[0];
    other(&directory).execute_batch(SPOIL).expect("spoiled");
    let edit = Edit {
        task: NewTask::prompt("y"),
        revision: 0,
        unfollow: false,
        if_parent_fails: None,
        what: "all".to_owned(),
    };
    let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let fail = |store: &mut Store| {
        is_refused(store.claim(&[claim(ids[1], 2), claim(ids[2], 3)], now()));
        is_refused(store.edit(ids[1], &edit, now()));
        is_refused(store.label(&"api".into(), &labels, &[], now()));
        is_refused(store.end(&end(running, Outcome::Failed, Event::Fail), now()));
    };
    let before = everything(&directory);
    fail(&mut store);
    assert_eq!(everything(&directory), before);

    // In a group, what comes before and after it is kept.
    store
        .group(|store| {
            queue(store, &[NewTask::command("before")]);
            fail(store);
            queue(store, &[NewTask::command("after")]);
        })
        .expect("committed");
    let after = everything(&directory);
    let contents = store.tasks(&[], 2).expect("tasks");
    assert_eq!(
        contents
            .iter()
            .map(|task| &*task.content)
            .collect::<Vec<_>>(),
        ["before", "after"]
    );
    assert_eq!(after.len(), before.len() + 4, "two tasks and their history");

    // The store remains usable.
    other(&directory)
        .execute_batch("DROP TRIGGER spoil_history; DROP TRIGGER spoil_attempts;")
        .expect("mended");
    store
        .end(&end(running, Outcome::Failed, Event::Fail), now())
        .expect("ended");
    assert_eq!(status(&mut store, child), Status::Failed);
    assert!(may_run(&mut store, ids[1]));
}

#[test]
fn a_row_that_cannot_be_read_names_its_column() {
    let (directory, mut store) = store();
    queue(&mut store, &[NewTask::command("x")]);
    claimed(&mut store, TaskId(1), 1);
    other(&directory)
        .execute_batch("UPDATE attempts SET pane = 'x'")
        .expect("spoiled");
    let error = store.attempts(TaskId(1)).expect_err("unreadable");
    assert_eq!(
        error.to_string(),
        "the database refused: column `pane`: unknown pane \"x\""
    );
    queue(&mut store, &[NewTask::command("y")]);
}
