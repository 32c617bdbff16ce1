//! The walkthrough of the earlier program, as its users know it, with the commands of this one.

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::harness::setup::{git, repository};
use crate::harness::tasks::{failed, terms, time};
use crate::harness::{Shell, World, eventually};
use crate::queue::database;

/// Returns the rows of a query, each as its columns with ` | ` between them.
#[track_caller]
fn ask(database: &Connection, query: &str) -> Vec<String> {
    let mut statement = database.prepare(query).expect("a query");
    let columns = statement.column_count();
    let rows = statement.query_map((), |row| {
        let mut texts = Vec::new();
        for column in 0..columns {
            let text: Option<String> = row.get(column)?;
            texts.push(text.unwrap_or_default());
        }
        Ok(texts.join(" | "))
    });
    rows.expect("rows").map(|row| row.expect("a row")).collect()
}

/// Asks until a row begins with a text, and returns the rest of that row.
#[track_caller]
fn answers(database: &Connection, query: &str, start: &str) -> String {
    eventually(|| {
        let rows = ask(database, query);
        match rows.iter().find_map(|row| row.strip_prefix(start)) {
            Some(rest) => Ok(rest.to_owned()),
            None => Err(format!("no {start:?} in {rows:?}")),
        }
    })
}

#[test]
fn the_walk_through_of_the_earlier_program() {
    let world = World::new();
    let shop = repository(&world, "projects/shop", "main");
    let site = repository(&world, "projects/site", "develop");
    world.session("worker-1", Shell::Bash);
    world.session_in("worker-2", Shell::Bash, &site);
    world.session("worker-3", Shell::Bash);
    let _daemon = world.daemon();
    for name in ["worker-1", "worker-2", "worker-3"] {
        world.session_is(name, "idle");
    }
    let database = database(&world);

    // A task for a directory: the session goes there, and the database says so.
    let id = world.shell_with(&["--workdir", &shop, "--target", "worker-1"], "pwd");
    assert_eq!(world.completed(id)["output"], format!("{shop}\n"));
    let sessions =
        "SELECT name, status, current_dir, git_branch, last_context_update FROM sessions";
    let at = answers(
        &database,
        sessions,
        &format!("worker-1 | idle | {shop} | main | "),
    );
    assert!(time(&at) <= jiff::Timestamp::now(), "{at}");
    answers(
        &database,
        sessions,
        &format!("worker-2 | idle | {site} | develop | "),
    );

    // Its git branch is followed.
    let id = world.shell_with(&["--target", "worker-1"], "git checkout -q -b feature/pay");
    world.completed(id);
    let branch = "SELECT git_branch FROM sessions WHERE name='worker-1'";
    assert_eq!(answers(&database, branch, "feature/"), "pay");
    git(&world, &shop, &["checkout", "-q", "main"]);
    assert_eq!(answers(&database, branch, "main"), "");

    // If the directory does not exist, the task fails and says why, and delays nobody.
    let missing = world.path("no/such/place").display().to_string();
    database
        .execute(
            "INSERT INTO prompts(content, target_session, target_provider, metadata) \
             VALUES ('touch ran', 'worker-1', 'shell', ?1)",
            [json!({"working_dir": missing}).to_string()],
        )
        .expect("an insert");
    let listed = world.json(&["list"]);
    let last = listed.as_array().and_then(|tasks| tasks.last());
    let bad = last.expect("a task")["id"].as_u64().expect("a number");
    assert!(bad > id, "{listed:#}");
    let next = world.shell_with(&["--target", "worker-1"], "echo next; pwd");
    failed(&world, bad, &[&missing]);
    assert_eq!(world.completed(next)["output"], format!("next\n{shop}\n"));
    let states = "SELECT CAST(id AS TEXT), status, error FROM prompts";
    let why = answers(&database, states, &format!("{bad} | failed | "));
    assert!(why.contains(&missing), "{why}");
    assert!(!world.path("projects/shop/ran").exists());

    // Variables first, then prerequisites in their order, then the task.
    let id = world.shell_with(
        &[
            "-w",
            &shop,
            "-b",
            "main",
            "-e",
            "STAGE=test",
            "--prereq",
            "echo one $STAGE >> order",
            "--prereq",
            "echo two >> order",
        ],
        "echo three >> order; cat order",
    );
    let task = world.completed(id);
    let output = task["output"].as_str().unwrap_or_default();
    assert!(output.ends_with("one test\ntwo\nthree\n"), "{task:#}");

    // The best of several was taken, by its points.
    assert_eq!(task["session"], "worker-1", "{task:#}");
    assert_eq!(terms(&task, "worker-1").values().sum::<i64>(), 130);
    let choices: [(&[&str], &str, i64); 4] = [
        (&["-b", "develop"], "worker-2", 30),
        (&["-w", &site, "-b", "develop"], "worker-2", 130),
        (&["-e", "STAGE=test"], "worker-1", 20),
        (
            &["-w", &shop, "-b", "main", "-e", "STAGE=test"],
            "worker-1",
            150,
        ),
    ];
    for (options, session, points) in choices {
        let task = world.completed(world.shell_with(options, "true"));
        assert_eq!(task["session"], session, "{options:?}: {task:#}");
        let sum = terms(&task, session).values().sum::<i64>();
        assert_eq!(sum, points, "{options:?}: {task:#}");
    }

    // The request is in `prompts`, and the outcome in the history.
    let query = format!("SELECT metadata FROM prompts WHERE id = {id}");
    let metadata: Value = serde_json::from_str(&ask(&database, &query)[0]).expect("JSON");
    assert_eq!(metadata["working_dir"], shop.as_str(), "{metadata:#}");
    assert_eq!(metadata["git_branch"], "main", "{metadata:#}");
    assert_eq!(metadata["env_vars"], json!({"STAGE": "test"}));
    assert_eq!(
        metadata["prerequisites"],
        json!(["echo one $STAGE >> order", "echo two >> order"])
    );
    let query = format!("SELECT status, assigned_session FROM prompts WHERE id = {id}");
    assert_eq!(ask(&database, &query), ["completed | worker-1"]);
    let query = format!("SELECT action FROM assignment_history WHERE prompt_id = {id} ORDER BY id");
    let actions = ask(&database, &query);
    assert_eq!(actions.first().map(String::as_str), Some("queued"));
    assert_eq!(actions.last().map(String::as_str), Some("completed"));
}
