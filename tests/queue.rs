//! The queue: nothing is lost, nothing runs twice, however tasks come in.

use std::collections::BTreeMap;
use std::thread;

use rusqlite::Connection;
use serde_json::Value;

use crate::harness::{Shell, World};

/// Opens the database as a user's script would.
pub(crate) fn database(world: &World) -> Connection {
    let database = Connection::open(world.data().join("assigner.db")).expect("the database");
    database
        .busy_timeout(std::time::Duration::from_secs(10))
        .expect("a time-out");
    database
}

/// Asserts that tasks completed, each with one attempt, and that no session had two at a time.
pub(crate) fn each_once(world: &World, ids: &[u64], file: &str) {
    let mut lines = world.lines(file);
    lines.sort_by_key(|line| line.parse::<u64>().ok());
    let expected: Vec<String> = (0..ids.len()).map(|number| number.to_string()).collect();
    assert_eq!(lines, expected);

    let mut spans: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for id in ids {
        let task = world.show(*id);
        assert_eq!(task["status"], "completed", "{task:#}");
        for attempt in task["attempts"].as_array().expect("attempts") {
            let at = |name: &str| attempt[name].as_str().unwrap_or_default().to_owned();
            if let (Some(session), started, ended) = (
                attempt["session"].as_str(),
                at("started_at"),
                at("ended_at"),
            ) && !started.is_empty()
            {
                spans
                    .entry(session.to_owned())
                    .or_default()
                    .push((started, ended));
            }
        }
    }
    for (session, mut spans) in spans {
        let time = |text: &str| text.parse::<jiff::Timestamp>().expect("a time");
        spans.sort_by_key(|(started, _)| time(started));
        for pair in spans.windows(2) {
            assert!(
                time(&pair[0].1) <= time(&pair[1].0),
                "{session} had two tasks at a time: {pair:?}"
            );
        }
    }
}

#[test]
fn sixty_tasks_over_four_sessions() {
    let world = World::new();
    let shells = Shell::installed();
    for number in 0..4 {
        world.session(&format!("s{number}"), shells[number % shells.len()]);
    }
    let ids: Vec<u64> = (0..30)
        .map(|number| world.shell(&format!("echo {number} >> log")))
        .collect();
    let _daemon = world.daemon();
    let ids: Vec<u64> = ids
        .into_iter()
        .chain((30..60).map(|number| world.shell(&format!("echo {number} >> log"))))
        .collect();
    let texts: Vec<String> = ids.iter().map(u64::to_string).collect();
    let mut args = vec!["wait", "--timeout", "50s"];
    args.extend(texts.iter().map(String::as_str));
    world.assigner(&args).succeeded();
    each_once(&world, &ids, "log");

    let used: std::collections::BTreeSet<String> = ids
        .iter()
        .map(|id| world.show(*id)["session"].to_string())
        .collect();
    assert_eq!(used.len(), 4, "{used:?}");
    let listed = world.json(&["list", "--limit", "0"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(60));
    let status = world.json(&["status"]);
    assert_eq!(status["tasks"]["completed"], 60, "{status}");
}

#[test]
fn twenty_senders_at_once_lose_nothing() {
    let world = World::new();
    world.session("one", Shell::Bash);
    world.session("two", Shell::Bash);
    let senders = |from: usize| -> Vec<u64> {
        thread::scope(|scope| {
            let threads: Vec<_> = (from..from + 20)
                .map(|number| {
                    let world = &world;
                    scope.spawn(move || world.shell(&format!("echo {number} >> log")))
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("a sender"))
                .collect()
        })
    };
    // The first twenty also create the data directory and the database, all at once.
    let mut ids = senders(0);
    let _daemon = world.daemon();
    ids.extend(senders(20));
    let mut distinct = ids.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 40);
    for id in &ids {
        world.completed(*id);
    }
    each_once(&world, &ids, "log");
}

#[test]
fn tasks_may_be_inserted_as_rows() {
    let world = World::new();
    let first = world.shell("echo first");
    let dir = world.mkdir("by sql");
    let database = database(&world);
    database
        .execute(
            "INSERT INTO prompts(content, target_provider, metadata) VALUES (?1, 'shell', ?2)",
            (
                "pwd; printenv BY",
                serde_json::json!({"working_dir": dir, "env_vars": {"BY": "sql"},
                    "prerequisites": ["echo first > prerequisite"]})
                .to_string(),
            ),
        )
        .expect("an insert");
    let id = u64::try_from(database.last_insert_rowid()).expect("a number");
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    world.completed(first);
    let id = if id == 0 { 2 } else { id };
    let task = world.completed(id);
    assert_eq!(task["kind"], "command", "{task:#}");
    assert_eq!(world.output(id), format!("{dir}\nsql\n").into_bytes());
    assert_eq!(
        std::fs::read_to_string(format!("{dir}/prerequisite")).expect("a file"),
        "first\n"
    );

    // A running daemon finds a row without being told.
    database
        .execute(
            "INSERT INTO prompts(content, target_provider) VALUES (?1, 'shell')",
            // The session is in the directory to which the task before moved it.
            [format!("touch '{}'", world.path("work/found").display())],
        )
        .expect("an insert");
    world.file_appears("found");

    // A row that does not name a shell is a prompt.
    database
        .execute("INSERT INTO prompts(content) VALUES ('touch typed')", ())
        .expect("an insert");
    let listed = world.json(&["list"]);
    let last = &listed.as_array().expect("an array")[3];
    assert_eq!(last["kind"], "prompt", "{last}");
    assert_eq!(last["status"], "pending", "{last}");
    world.reason(last["id"].as_u64().expect("a number"));
    assert!(!world.path("work/typed").exists());

    // The queries of scripts for the earlier program.
    for query in [
        "SELECT name, status, current_dir, git_branch, last_context_update FROM sessions",
        "SELECT id, status, metadata FROM prompts WHERE metadata LIKE '%working_dir%'",
        "SELECT id, metadata FROM prompts ORDER BY created_at DESC LIMIT 1",
        "SELECT git_branch FROM sessions WHERE name='one'",
        "SELECT id, prompt_id, session_name, action, created_at, details FROM assignment_history",
        "SELECT id, content, source, priority, status, assigned_session, created_at, assigned_at, \
         completed_at, response, error, metadata, target_session, target_provider, retry_count, \
         max_retries, timeout_minutes FROM prompts",
    ] {
        let rows = database
            .prepare(query)
            .and_then(|mut statement| {
                let mut rows = statement.query(())?;
                let mut count = 0;
                while rows.next()?.is_some() {
                    count += 1;
                }
                Ok(count)
            })
            .unwrap_or_else(|error| panic!("{query}: {error}"));
        assert!(rows > 0, "{query}");
    }
    for table in [
        "tasks",
        "attempts",
        "outputs",
        "sessions",
        "assignment_history",
    ] {
        let rows: i64 = database
            .query_row(&format!("SELECT count(*) FROM {table}"), (), |row| {
                row.get(0)
            })
            .unwrap_or_else(|error| panic!("{table}: {error}"));
        assert!(rows > 0, "{table}");
    }
}

/// Rows that make no sense are refused or set aside with a reason, and the others continue.
#[test]
fn broken_rows_do_not_stop_the_queue() {
    let world = World::new();
    world.session("one", Shell::Bash);
    world.shell("true");
    let database = database(&world);
    let broken = [
        "INSERT INTO prompts(content, target_provider, metadata) VALUES ('true', 'shell', 'no json')",
        "INSERT INTO prompts(content, target_provider, metadata) VALUES ('true', 'shell', '[]')",
        "INSERT INTO prompts(content, target_provider, metadata) VALUES ('true', 'shell', '{\"working_dir\": 5}')",
        "INSERT INTO prompts(content, target_provider, metadata) VALUES ('true', 'shell', '{\"working_dir\": \"relative\"}')",
        "INSERT INTO prompts(content, target_provider, metadata) VALUES ('true', 'shell', '{\"env_vars\": {\"A=B; touch leaked\": \"x\"}}')",
        "INSERT INTO prompts(content, target_provider, metadata) VALUES ('true', 'shell', '{\"env_vars\": [1, 2]}')",
        "INSERT INTO prompts(content, target_provider, metadata) VALUES ('true', 'shell', '{\"prerequisites\": \"touch leaked\"}')",
        "INSERT INTO prompts(content, target_provider, metadata) VALUES ('true', 'shell', NULL)",
        "INSERT INTO prompts(content, target_provider, metadata) VALUES ('true', 'shell', x'ff00fe')",
        "INSERT INTO prompts(content, target_provider) VALUES ('', 'shell')",
        "INSERT INTO prompts(content, target_provider) VALUES (NULL, 'shell')",
        "INSERT INTO prompts(content, target_provider) VALUES (x'fffe', 'shell')",
        "INSERT INTO prompts(content, target_provider) VALUES ('true' || char(0) || 'x', 'shell')",
        "INSERT INTO prompts(content, target_provider, priority) VALUES ('true', 'shell', 'high')",
        "INSERT INTO prompts(content, target_provider, priority) VALUES ('true', 'shell', 9223372036854775807)",
        "INSERT INTO prompts(content, target_provider, max_retries) VALUES ('true', 'shell', -1)",
        "INSERT INTO prompts(content, target_provider, timeout_minutes) VALUES ('true', 'shell', -1)",
        "INSERT INTO prompts(content, target_provider, status) VALUES ('true', 'shell', 'nonsense')",
        "INSERT INTO prompts(content, target_provider, created_at) VALUES ('true', 'shell', 'yesterday')",
        "INSERT INTO prompts(content, target_provider, target_session) VALUES ('true', 'shell', '')",
    ];
    for statement in broken {
        // Refusing the row is a good answer.
        if let Err(error) = database.execute(statement, ()) {
            eprintln!("refused: {statement}: {error}");
        }
    }
    let daemon = world.daemon();
    let good = world.shell("echo good");
    assert_eq!(world.completed(good)["output"], "good\n");
    let listed = world.json(&["list", "--limit", "0"]);
    for task in listed.as_array().expect("an array") {
        let id = task["id"].as_u64().expect("a number");
        if task["status"] == "pending" {
            world.reason(id);
        }
        world.assigner(&["show", &id.to_string()]).succeeded();
        world.assigner(&["explain", &id.to_string()]).succeeded();
        world.assigner(&["history", &id.to_string()]).succeeded();
    }
    world.assigner(&["list"]).succeeded();
    world.assigner(&["status"]).succeeded();
    crate::harness::assert_calm(&daemon.log());
    assert!(!world.path("work/leaked").exists());
}

#[test]
fn tasks_wait_without_a_daemon_and_survive() {
    let world = World::new();
    let plain = world
        .assigner(&["send", "--shell", "echo kept"])
        .succeeded();
    assert_eq!(plain.text(), "task 1 queued\n");
    let task = world.show(1);
    assert_eq!(task["status"], "pending");
    assert_eq!(task["attempts"], Value::Array(Vec::new()));
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    assert_eq!(world.completed(1)["output"], "kept\n");
}

#[test]
fn once_runs_until_nothing_is_left() {
    let world = World::new();
    world.session("one", Shell::Bash);
    world.session("two", Shell::Bash);
    for number in 0..6 {
        world.shell(&format!("echo {number} >> log"));
    }
    world.assigner(&["run", "--once"]).succeeded();
    assert_eq!(world.lines("log").len(), 6);
    let good = world.shell("echo 6 >> log");
    let bad = world.shell("false");
    let output = world.assigner(&["run", "--once"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert_eq!(world.show(good)["status"], "completed");
    assert_eq!(world.show(bad)["status"], "failed");
    // An earlier failure is not a failure of this run.
    world.shell("true");
    world.assigner(&["run", "--once"]).succeeded();
    // If there is nothing to do, it ends at once.
    world.assigner(&["run", "--once"]).succeeded();
    world.eventually(|| {
        let status = world.json(&["status"]);
        if status["daemon"]["running"] == false {
            Ok(())
        } else {
            Err(status.to_string())
        }
    });
}

/// Each waiting task says why it waits, wherever tasks are listed.
#[test]
fn a_list_says_why_each_task_waits() {
    let world = World::new();
    world.session("busy", Shell::Bash);
    world.session("free", Shell::Bash);
    let id = world.shell_with(&["--target", "busy"], "sleep 600");
    let reason = |id: u64| {
        let list = world.json(&["list"]);
        let listed = list.as_array().expect("a list").iter();
        let found = listed.filter(|task| task["id"] == id);
        let reason = found.map(|task| task["wait_reason"].clone()).next();
        reason
            .and_then(|reason| Some(reason.as_str()?.to_owned()))
            .unwrap_or_default()
    };
    assert_eq!(
        reason(id),
        "no daemon is running: start one with `assigner run`"
    );
    let _daemon = world.daemon();
    world.until(id, "in_progress");
    assert_eq!(reason(id), "");
    let target = world.shell_with(&["--target", "busy"], "true");
    let after = world.shell_with(&["--after", &id.to_string()], "true");
    let later = world.shell_with(&["--delay", "2h"], "true");
    let nowhere = world.shell_with(&["--target", "nowhere"], "true");
    world.assigner(&["pause", "free"]).succeeded();
    for (task, words) in [
        (
            target,
            format!("no session that may run it is idle: busy: busy: runs task {id}"),
        ),
        (
            after,
            format!("it waits for task {id}, which is in_progress"),
        ),
        (later, "it is not to start before ".to_owned()),
        (
            nowhere,
            "it is for session nowhere: `assigner explain ".to_owned(),
        ),
    ] {
        world.eventually(|| match reason(task) {
            said if said.starts_with(&words) => Ok(()),
            said => Err(format!("{task}: {said:?} is not {words:?}")),
        });
    }
    let table = world.assigner(&["list"]).succeeded().text();
    assert!(
        table.contains("WHY") && table.contains("busy: runs task"),
        "{table}"
    );
    let shown = world.show(after);
    assert_eq!(
        shown["wait_reason"],
        format!("it waits for task {id}, which is in_progress")
    );
}
