//! Lanes are computed from what a task demands, also where another tool has written the task, and
//! the statements of a round read only what they return.

use std::collections::BTreeSet;

use rusqlite::{Connection, StatementStatus};

use super::db::values;
use super::tests::*;
use super::*;
use crate::model::headless::Headless;
use crate::model::task::Metadata;

fn keys(store: &mut Store) -> BTreeSet<String> {
    let lanes = store.lanes().expect("lanes");
    lanes
        .into_iter()
        .map(|lane| format!("{:?}", lane.demand()))
        .collect()
}

fn without_lane(directory: &TempDir) -> i64 {
    other(directory)
        .query_row(
            "SELECT count(*) FROM tasks WHERE status = 'pending' AND lane IS NULL",
            [],
            |row| row.get(0),
        )
        .expect("a number")
}

#[test]
fn what_other_tools_insert_gets_the_lane_that_it_would_have_had() {
    let (_directory, mut ours) = store();
    let prompt = |metadata| NewTask {
        kind: Kind::Prompt,
        target_session: Some("api".into()),
        metadata,
        ..NewTask::command("x")
    };
    let metadata = Metadata {
        git_branch: Some("dev".to_owned()),
        require_branch: true,
        preferred_providers: vec!["codex".to_owned(), "codex".to_owned()],
        ..Metadata::default()
    };
    let tasks = [
        prompt(metadata.clone()),
        prompt(Metadata::default()),
        NewTask::command("x"),
    ];
    queue(&mut ours, &tasks);
    let (directory, mut theirs) = store();
    let metadata = serde_json::to_string(&metadata).expect("JSON");
    let connection = other(&directory);
    let insert = "INSERT INTO prompts (content, target_session, metadata) VALUES ('x', 'api', ?1)";
    // More than are computed at once.
    for _ in 0..120 {
        connection.execute(insert, [&metadata]).expect("inserted");
    }
    connection
        .execute_batch(
            "INSERT INTO prompts (content, target_session, metadata) VALUES ('x', 'api', 'no JSON');
             INSERT INTO tasks (kind, content, created_at) VALUES ('command', 'x', '2026-01-01');",
        )
        .expect("inserted");
    assert_eq!(keys(&mut theirs), keys(&mut ours));
    assert_eq!(without_lane(&directory), 0);
    let lanes = theirs.lanes().expect("lanes");
    assert_eq!(
        theirs.pending(&lanes, 999, None).expect("a page").len(),
        122
    );
}

/// Whatever a lane is made of: a change leaves no lane of before.
#[test]
fn what_other_tools_change_changes_the_lane() {
    let (directory, mut store) = store();
    queue(&mut store, &[NewTask::command("x")]);
    let mut seen = keys(&mut store);
    for set in [
        "kind = 'prompt'",
        "target_session = 'api'",
        "target_meaning = 'pane 1 2 %3 4'",
        "target_provider = 'codex'",
        r#"metadata = '{"require_labels": {"a": "b"}}'"#,
        r#"metadata = '{"headless": {"provider": "claude", "spec":
            {"command": ["claude"], "response": {"at": "/result"}}}}'"#,
        "lane = x'ff'",
        "lane = 'api'",
        "lane = ''",
        "lane = CAST(lane AS BLOB)",
    ] {
        other(&directory)
            .execute_batch(&format!("UPDATE tasks SET {set}"))
            .expect(set);
        let now = keys(&mut store);
        assert_eq!(now.len(), 1, "{set}");
        if set.starts_with("lane") {
            assert!(now.is_subset(&seen), "{set}: {now:?}");
        } else {
            assert!(now.is_disjoint(&seen), "{set}: {now:?}");
        }
        seen.extend(now);
        assert!(may_run(&mut store, TaskId(1)), "{set}");
    }
}

#[test]
fn prompts_that_ask_different_agents_stand_in_different_lanes() {
    let (_directory, mut store) = store();
    let asks = |provider: &str| NewTask {
        metadata: Metadata {
            headless: Some(Headless {
                provider: provider.to_owned(),
                spec: toml::from_str("command = ['x']\nresponse = { at = '/r' }").expect("a spec"),
            }),
            ..Metadata::default()
        },
        ..NewTask::command("x")
    };
    queue(
        &mut store,
        &[
            asks("claude"),
            asks("codex"),
            asks("claude"),
            NewTask::command("x"),
        ],
    );
    let lanes = store.lanes().expect("lanes");
    let asks: BTreeSet<_> = lanes
        .iter()
        .map(|lane| lane.demand.asks.as_deref())
        .collect();
    assert_eq!(asks, BTreeSet::from([None, Some("claude"), Some("codex")]));
    assert_eq!(lanes.len(), 3);
}

/// Every way in which we change a task ourselves.
#[test]
fn a_task_that_is_changed_or_bound_moves_to_another_lane() {
    let (_directory, mut store) = store();
    let id = queue(&mut store, &[NewTask::command("x")])[0];
    let target = |store: &mut Store| {
        let lanes = store.lanes().expect("lanes");
        assert_eq!(lanes.len(), 1);
        let pending = store.pending(&lanes, 9, None).expect("a page");
        assert_eq!(pending.len(), 1);
        assert_eq!(lanes[0].demand.target_session, pending[0].target_session);
        lanes[0].demand.target_session.clone()
    };
    let edit = Edit {
        task: NewTask {
            target_session: Some("api".into()),
            ..NewTask::command("x")
        },
        revision: 0,
        unfollow: false,
        if_parent_fails: None,
        what: "target".to_owned(),
    };
    store.edit(id, &edit, now()).expect("edited");
    assert_eq!(target(&mut store), Some("api".into()));
    let meaning = Meaning::Pane(identity(1));
    store
        .bind(&[("api".to_owned(), meaning.clone())])
        .expect("bound");
    assert_eq!(
        target(&mut store).and_then(|said| said.meaning),
        Some(meaning)
    );
    store.reassign(id, None, now()).expect("given");
    assert_eq!(target(&mut store), None);
    let attempt = claimed(&mut store, id, 1);
    store
        .reassign(id, Some(&"web".into()), now())
        .expect("asked");
    let returned = end(attempt, Outcome::Reassigned, Event::Return);
    store.end(&returned, now()).expect("returned");
    assert_eq!(target(&mut store), Some("web".into()));
}

/// A person's choice of a session removes the permission to use another one, and nothing else.
#[test]
fn what_other_tools_keep_in_metadata_is_not_lost_by_a_new_target() {
    let (directory, mut store) = store();
    let connection = other(&directory);
    let written = [
        (
            r#"{"b": 1.50, "target_fallback": true, "a": [1, {"x": null}]}"#,
            r#"{"b":1.5,"a":[1,{"x":null}]}"#,
        ),
        (r#"{"b":  1.50}"#, r#"{"b":  1.50}"#),
        ("no JSON", "no JSON"),
        ("[1]", "[1]"),
    ];
    for (id, (before, after)) in (1..).map(TaskId).zip(written) {
        connection
            .execute(
                "INSERT INTO tasks (kind, content, created_at, metadata)
                    VALUES ('command', 'x', '', ?1)",
                [before],
            )
            .expect("inserted");
        store
            .reassign(id, Some(&"web".into()), now())
            .expect("given");
        let kept: String = connection
            .query_row("SELECT metadata FROM tasks WHERE id = ?1", [id.0], |row| {
                row.get(0)
            })
            .expect("metadata");
        assert_eq!(kept, after);
    }
}

/// The statements of a round, with the only index that each may use.
fn hot() -> [(String, &'static str); 10] {
    [
        (lanes::LANES.to_owned(), "tasks_pending"),
        (
            lanes::same_priority("content", &sqlite::by_index("tasks_pending")),
            "tasks_pending",
        ),
        (lanes::lower_priority("content"), "tasks_pending"),
        (lanes::without_lane("content"), "tasks_without_lane"),
        (lanes::RELEASE_DUE.to_owned(), "tasks_due"),
        (lanes::NEXT_DUE.to_owned(), "tasks_due"),
        (lanes::RESTING.to_owned(), "tasks_resting"),
        (wishes::AWAITED.to_owned(), "tasks_awaiting"),
        (wishes::BIND_TASKS.to_owned(), "tasks_awaiting"),
        (queue::SECRETS.to_owned(), "tasks_with_secrets"),
    ]
}

fn plan(connection: &Connection, sql: &str) -> Vec<String> {
    let mut query = connection
        .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
        .expect("a query");
    let mut rows = query.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next().expect("a row") {
        steps.push(row.get("detail").expect("a detail"));
    }
    steps
}

#[test]
fn each_statement_of_a_round_reads_its_own_index() {
    let (directory, mut store) = store();
    let connection = other(&directory);
    let check = |when: &str| {
        let orders = (policies::orders("source"), "policy_orders");
        for (sql, index) in hot().into_iter().chain([orders]) {
            let steps = plan(&connection, &sql);
            let reads = steps.iter().filter(|step| {
                (step.starts_with("SCAN") || step.starts_with("SEARCH"))
                    && (step.contains(" tasks ") || step.contains(" policy_log "))
            });
            let reads: Vec<&String> = reads.collect();
            assert!(!reads.is_empty(), "{when}: {sql}: {steps:?}");
            for read in reads {
                assert!(
                    read.contains(&format!("INDEX {index}")),
                    "{when}: {sql}: {steps:?}"
                );
            }
            let sorts = steps.iter().any(|step| step.contains("TEMP B-TREE"));
            assert!(!sorts, "{when}: {sql}: {steps:?}");
        }
    };
    check("empty");
    // Other tools may let SQLite collect statistics, of a queue of any kind.
    let waits = NewTask {
        target_session: Some("api".into()),
        not_before: Some(later(9)),
        ..NewTask::command("x")
    };
    queue(&mut store, &vec![NewTask::command("x"); 300]);
    connection.execute_batch("ANALYZE").expect("analysed");
    check("tasks that may run");
    queue(&mut store, &vec![waits; 3000]);
    connection.execute_batch("ANALYZE").expect("analysed");
    check("tasks that wait");
    connection
        .execute_batch("UPDATE tasks SET status = 'completed'; ANALYZE")
        .expect("ended");
    check("tasks that have ended");
}

/// How many steps SQLite takes for a statement, and how many rows it returns.
fn steps(directory: &TempDir, sql: &str) -> (i32, usize) {
    let connection = other(directory);
    let mut query = connection.prepare(sql).expect("a query");
    let rows = query.query_map([], |_| Ok(())).expect("rows").count();
    (query.get_status(StatementStatus::VmStep), rows)
}

#[test]
fn tasks_that_cannot_run_cost_nothing() {
    let cost = |prompts: usize| {
        let (directory, mut store) = store();
        let prompt = NewTask {
            kind: Kind::Prompt,
            ..NewTask::command("x")
        };
        let mut tasks = vec![prompt; prompts];
        tasks.push(NewTask::command("x"));
        queue(&mut store, &tasks);
        let (steps, lanes) = steps(&directory, lanes::LANES);
        assert_eq!(lanes, 2);
        steps
    };
    assert_eq!(cost(5), cost(5000));
}

#[test]
fn tasks_that_wait_for_a_session_cost_nothing() {
    let cost = |tasks: usize| {
        let (directory, mut store) = store();
        let task = NewTask {
            target_session: Some("api".into()),
            ..NewTask::command("x")
        };
        let mut tasks = vec![task; tasks];
        tasks.push(NewTask::command("x"));
        queue(&mut store, &tasks);
        let (steps, names) = steps(&directory, wishes::AWAITED);
        assert_eq!(names, 1);
        steps
    };
    assert_eq!(cost(5), cost(5000));
}

/// A task that we queue never lacks its lane, not even for a moment.
#[test]
fn a_lane_is_part_of_the_row_that_is_queued() {
    let (directory, mut store) = store();
    other(&directory)
        .execute_batch(
            "CREATE TRIGGER watch AFTER INSERT ON tasks WHEN NEW.lane IS NULL
                BEGIN SELECT raise(ABORT, 'no lane'); END",
        )
        .expect("made");
    queue(&mut store, &[NewTask::command("x")]);
    let row = store
        .db
        .query_one("SELECT lane FROM tasks WHERE id = $1", values![TaskId(1)]);
    let lane: String = row.expect("a row").expect("one").get("lane").expect("text");
    assert_eq!(lane, r#"{"kind":"command"}"#);
}
