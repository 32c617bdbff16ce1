//! Sessions, pauses and whatever else the daemon stores; and how the file itself is kept.

use crate::model::ids::NodeName;
use crate::model::session::Shell;
use std::os::unix::fs::PermissionsExt;

use super::tests::*;
use super::*;

/// A session in which no field has its default.
fn full() -> SessionRow {
    let pairs = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    SessionRow {
        activity: Activity::Attended,
        reason: Some("somebody types".to_owned()),
        since: later(-5),
        provider: "claude".to_owned(),
        current_dir: Some("/srv".to_owned()),
        git_branch: Some("dev".to_owned()),
        repository: Some("/srv/.bare".to_owned()),
        shell: Some(Shell::Fish),
        env: pairs("A", "1"),
        current_task: Some(TaskId(4)),
        context_at: later(-9),
        admission: Admission::Protected,
        paused: true,
        labels: pairs("team", "web"),
        ..session_row("full")
    }
}

#[test]
fn a_session_is_read_as_it_was_seen() {
    let (directory, mut store) = store();
    let plain = session_row("a");
    store
        .record_sessions(&[full(), plain.clone()], now())
        .expect("recorded");
    assert_eq!(store.sessions().expect("sessions"), [plain.clone(), full()]);
    assert_eq!(store.session("full").expect("a session"), full());
    let nobody = store.session("b");
    assert!(matches!(nobody, Err(StoreError::NoSession(name)) if name == "b"));
    let place = format!("{:?}", full().place());
    for part in ["full", "claude", "dev", "team", "Protected"] {
        assert!(place.contains(part), "{place}");
    }
    // What the Python worker's users query.
    let asked: (i64, String, String) = other(&directory)
        .query_row(
            "SELECT is_claude, working_dir, last_activity FROM sessions WHERE name = 'full'",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .expect("a row");
    assert_eq!(asked, (1, "/srv".to_owned(), rows::stamp(later(-5))));
    // When the session is seen differently, all of it is replaced.
    let renamed = SessionRow {
        name: "full".to_owned(),
        ..session_row("full")
    };
    store
        .record_sessions(std::slice::from_ref(&renamed), now())
        .expect("recorded");
    assert_eq!(store.session("full").expect("a session"), renamed);
}

#[test]
fn what_a_session_has_done_is_counted_until_it_is_another() {
    let (_directory, mut store) = store();
    let session = session_row("s1");
    let record = |store: &mut Store, row: &SessionRow| {
        let recorded = store.record_sessions(std::slice::from_ref(row), now());
        recorded.expect("recorded");
    };
    record(&mut store, &session);
    record(
        &mut store,
        &SessionRow {
            identity: identity(2),
            ..session_row("s2")
        },
    );
    let ids = queue(&mut store, &vec![NewTask::command("x"); 3]);
    let attempt = claimed(&mut store, ids[0], 1);
    let busy = store.session("s1").expect("a session");
    assert_eq!(busy.current_task, Some(ids[0]));
    assert_eq!(busy.activity, Activity::Busy);
    assert_eq!(busy.reason, Some(format!("runs task {}", ids[0])));
    assert_eq!(
        store.session("s2").expect("the other").activity,
        Activity::Idle
    );
    store
        .end(&end(attempt, Outcome::Completed, Event::Complete), now())
        .expect("ended");
    finish(&mut store, ids[1], Outcome::Completed, Event::Complete);
    finish(&mut store, ids[2], Outcome::TimedOut, Event::Fail);
    record(&mut store, &session);
    let tally = |store: &mut Store, name| {
        let row = store.session(name).expect("a session");
        (row.completed, row.failed)
    };
    assert_eq!(tally(&mut store, "s1"), (2, 1));
    assert_eq!(tally(&mut store, "s2"), (0, 0));
    let respawned = SessionRow {
        identity: identity(7),
        ..session
    };
    record(&mut store, &respawned);
    assert_eq!(tally(&mut store, "s1"), (0, 0));
}

#[test]
fn each_node_has_its_sessions() {
    let (_directory, mut store) = store();
    let on = |node: &str| {
        let mut row = session_row("main");
        row.identity.node = NodeName::parse(node).expect("a name");
        row
    };
    let rows = [on("laptop"), on("server")];
    store.record_sessions(&rows, now()).expect("recorded");
    assert_eq!(store.sessions().expect("sessions"), rows);
    let server = store.session("server/main").expect("the session");
    assert_eq!(server.identity, rows[1].identity);
    // The same pane of the same server number, on two machines: each takes one task.
    let tasks = [
        NewTask::command("a"),
        NewTask::command("b"),
        NewTask::command("c"),
    ];
    let tasks = queue(&mut store, &tasks);
    let claim = |task, row: &SessionRow| Claim {
        session: "main".to_owned(),
        identity: row.identity.clone(),
        ..claim(task, 1)
    };
    let claims = [
        claim(tasks[0], &rows[0]),
        claim(tasks[1], &rows[1]),
        claim(tasks[2], &rows[1]),
    ];
    let taken = store.claim(&claims, now()).expect("claimed");
    let taken: Vec<bool> = taken.iter().map(Option::is_some).collect();
    assert_eq!(taken, [true, true, false]);
    let runs = store.sessions().expect("sessions");
    let runs: Vec<_> = runs.iter().map(|row| row.current_task).collect();
    assert_eq!(runs, [Some(tasks[0]), Some(tasks[1])]);
    let open = store.open_attempts().expect("attempts");
    assert_eq!(open[1].identity, rows[1].identity);
}

#[test]
fn sessions_that_only_the_python_worker_saw_are_retired() {
    let (directory, mut store) = store();
    store
        .record_sessions(&[session_row("ours")], now())
        .expect("recorded");
    let connection = other(&directory);
    connection
        .execute_batch(
            "INSERT INTO sessions (name, status) VALUES ('old', 'idle'), ('gone', 'gone')",
        )
        .expect("inserted");
    assert_eq!(store.sessions().expect("sessions").len(), 1);
    assert!(store.session("old").is_err());
    store.retire_unseen(later(3)).expect("retired");
    let read = |name: &str| -> (String, Option<String>) {
        connection
            .query_row(
                "SELECT status, updated_at FROM sessions WHERE name = ?1",
                [name],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .expect("a row")
    };
    assert_eq!(
        read("old"),
        ("gone".to_owned(), Some(rows::stamp(later(3))))
    );
    assert_eq!(read("gone"), ("gone".to_owned(), None));
    assert_eq!(read("ours").0, "idle");
}

#[test]
fn labels_are_a_persons_and_shown_at_once() {
    let (_directory, mut store) = store();
    store
        .record_sessions(&[session_row("s1"), session_row("s2")], now())
        .expect("recorded");
    let set = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    let none = BTreeMap::new();
    let first = set(&[("a", "1"), ("b", "2")]);
    store
        .label(&"s1".into(), &first, &[], now())
        .expect("labelled");
    store
        .label(&"later".into(), &set(&[("c", "3")]), &[], now())
        .expect("labelled");
    assert_eq!(store.session("s1").expect("a session").labels, first);
    assert_eq!(store.session("s2").expect("a session").labels, none);
    let remove = ["b".to_owned()];
    store
        .label(&"s1".into(), &set(&[("a", "9")]), &remove, now())
        .expect("labelled");
    let now_there = set(&[("a", "9")]);
    assert_eq!(store.session("s1").expect("a session").labels, now_there);
    let all = store.session_labels().expect("labels");
    let mut all: Vec<(String, String, String)> = all
        .into_iter()
        .map(|label| (label.session.name, label.name, label.value))
        .collect();
    all.sort();
    let expected = [("later", "c", "3"), ("s1", "a", "9")];
    assert_eq!(
        all,
        expected.map(|(session, name, value)| (session.into(), name.into(), value.into()))
    );
}

#[test]
fn variables_that_programs_tell_are_shown_and_taken_up_once() {
    let (_directory, mut store) = store();
    let row = SessionRow {
        env: BTreeMap::from([
            ("A".to_owned(), "1".to_owned()),
            ("B".to_owned(), "2".to_owned()),
        ]),
        ..session_row("s1")
    };
    store.record_sessions(&[row], now()).expect("recorded");
    let told = BTreeMap::from([
        ("A".to_owned(), None),
        ("C".to_owned(), Some("3".to_owned())),
    ]);
    store.update_env("s1", &told, later(2)).expect("told");
    let read = store.session("s1").expect("a session");
    let expected = BTreeMap::from([
        ("B".to_owned(), "2".to_owned()),
        ("C".to_owned(), "3".to_owned()),
    ]);
    assert_eq!((read.env, read.context_at), (expected, later(2)));
    let update = ContextUpdate {
        session: store
            .session("s1")
            .map(|row| SessionRef {
                name: "s1".into(),
                meaning: Some(Meaning::Pane(row.identity)),
            })
            .expect("a session"),
        env: told.clone(),
    };
    assert_eq!(store.take_context_updates().expect("updates"), [update]);
    assert_eq!(store.take_context_updates().expect("none"), []);
    let nobody = store.update_env("s9", &told, now());
    assert!(matches!(nobody, Err(StoreError::NoSession(_))));
}

#[test]
fn a_pause_covers_what_it_names() {
    let provider = Pause::Provider("codex".to_owned());
    let session = Pause::Session("api".into());
    for (pause, name, kind, covered) in [
        (&Pause::All, "x", "y", true),
        (&provider, "x", "codex", true),
        (&provider, "codex", "claude", false),
        (&session, "api", "codex", true),
        (&session, "api:0.1", "codex", true),
        (&session, "api2", "api", false),
    ] {
        assert_eq!(
            pause.covers(Who::named(name), kind),
            covered,
            "{pause} {name} {kind}"
        );
    }
    let (_directory, mut store) = store();
    let all = [provider.clone(), Pause::All, session.clone()];
    store.pause(&all, true, now()).expect("paused");
    let rows = store.pauses().expect("pauses");
    let shown: Vec<String> = rows.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["all sessions", "provider codex", "session api"]);
    let limited = PauseRow {
        what: provider,
        until: Some(now()),
        reason: Some("weekly".to_owned()),
    };
    assert_eq!(
        limited.to_string(),
        "provider codex until 2026-01-02 03:04:05Z (weekly)"
    );
}

/// How long a provider is paused: a person outranks a limit, and the longest limit wins.
#[test]
fn a_limit_never_shortens_a_pause() {
    let limited = |store: &mut Store, seconds| {
        let task = queue(store, &[NewTask::prompt("x")])[0];
        let attempt = claimed(store, task, 1);
        let end = End {
            limit: Some(Limit {
                provider: "codex".to_owned(),
                until: later(seconds),
                reason: format!("limit {seconds}"),
            }),
            ..End::new(attempt, Outcome::Limited, Event::Hold)
        };
        store.end(&end, now()).expect("ended");
        let pause = store.pauses().expect("pauses").remove(0);
        (pause.until, pause.reason)
    };
    let (_directory, mut store) = store();
    assert_eq!(limited(&mut store, 50).0, Some(later(50)));
    assert_eq!(limited(&mut store, 90).0, Some(later(90)));
    assert_eq!(limited(&mut store, 10).0, Some(later(90)));
    // A person takes it over, indefinitely.
    let codex = [Pause::Provider("codex".to_owned())];
    store.pause(&codex, true, now()).expect("paused");
    assert_eq!(limited(&mut store, 99), (None, None));
    store.end_pauses(later(1_000)).expect("none");
    assert_eq!(store.pauses().expect("pauses").len(), 1);
    store.pause(&codex, false, now()).expect("resumed");
    assert!(store.pauses().expect("none").is_empty());
}

#[test]
fn reasons_to_wait_are_of_pending_tasks_alone() {
    let (_directory, mut store) = store();
    let ids = queue(&mut store, &vec![NewTask::command("x"); 2]);
    store.cancel(ids[1], now()).expect("cancelled");
    let waits: Vec<Waiting> = ids
        .iter()
        .map(|&task| Waiting {
            task,
            reason: "no session".to_owned(),
            rankings: Vec::new(),
        })
        .collect();
    store.note_waiting(&waits).expect("noted");
    let reason = |store: &mut Store, id| store.task(id).expect("a task").wait_reason;
    assert_eq!(reason(&mut store, ids[0]).as_deref(), Some("no session"));
    assert_eq!(reason(&mut store, ids[1]), None);
    claimed(&mut store, ids[0], 1);
    assert_eq!(reason(&mut store, ids[0]), None);
}

#[test]
fn the_daemons_word_is_replaced_and_one_of_another_version_is_none() {
    let (directory, mut store) = store();
    assert_eq!(store.daemon().expect("none"), None);
    let policy = PolicyId {
        name: "p".to_owned(),
        version: "1".to_owned(),
        sha256: "00".to_owned(),
    };
    let mut facts = DaemonFacts {
        pid: 7,
        version: "1".to_owned(),
        started_at: now(),
        tmux: "default".to_owned(),
        waiting_for: None,
        policy: policy.clone(),
        policy_source: "p.wasm".to_owned(),
        policy_settings: serde_json::json!({"a": 1}),
        policy_load_ms: 1.5,
        policy_cached: true,
        policy_failures: 2,
        policy_last_failure: None,
        policy_in_use: Some(policy),
        recording: None,
        shadow: None,
        configuration: ConfigFacts {
            changes: vec!["a is 1".to_owned()],
            ..ConfigFacts::default()
        },
    };
    for pid in [7, 8] {
        facts.pid = pid;
        store.record_daemon(&facts).expect("recorded");
        assert_eq!(store.daemon().expect("read"), Some(facts.clone()));
    }
    let before = store.data_version().expect("a number");
    assert_eq!(store.data_version().expect("a number"), before);
    other(&directory)
        .execute_batch("UPDATE daemon SET facts = '{}'")
        .expect("changed");
    assert_ne!(store.data_version().expect("a number"), before);
    assert_eq!(store.daemon().expect("read"), None);
}

/// A change that was reported to somebody survives a power cut.
#[test]
fn the_file_is_kept_as_it_is_promised() {
    let root = tempfile::tempdir().expect("a directory");
    let data = root.path().join("data");
    for _ in 0..2 {
        let mut store = Store::open(&data).expect("a store");
        let mut pragma = |name: &str| -> String {
            let row = store.db.query_one(&format!("PRAGMA {name}"), &[]);
            let row = row.expect("a pragma").expect("a value");
            // SQLite names this column otherwise.
            let column = name.strip_prefix("busy_").unwrap_or(name);
            row.text(column).expect("text").expect("a value")
        };
        assert_eq!(pragma("journal_mode"), "wal");
        assert_eq!(pragma("synchronous"), "2", "FULL: a commit is on the disk");
        assert_eq!(pragma("foreign_keys"), "1");
        assert_eq!(pragma("busy_timeout"), "60000");
        assert_eq!(pragma("user_version"), VERSION.to_string());
    }
    let mode = |path: &Path| {
        let metadata = std::fs::metadata(path).expect("there");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&data.join("assigner.db")), 0o600);
    // The mode of an existing directory is left to its owner.
    std::fs::set_permissions(&data, PermissionsExt::from_mode(0o750)).expect("set");
    drop(Store::open(&data).expect("a store"));
    assert_eq!(mode(&data), 0o750);
    std::fs::write(root.path().join("file"), "").expect("written");
    let unusable = Store::open(&root.path().join("file"));
    assert!(matches!(unusable, Err(StoreError::Directory { .. })));
}

#[test]
fn a_row_that_is_deleted_takes_its_own_with_it() {
    let (directory, mut store) = store();
    let ids = queue(&mut store, &[NewTask::prompt("a"), NewTask::prompt("b")]);
    let child = queue(&mut store, &[following(&ids, IfParentFails::Release)])[0];
    let attempt = claimed(&mut store, ids[0], 1);
    store
        .ask(attempt, "?", Some(&Output::of(vec![1])), now())
        .expect("asked");
    store
        .reply(ids[0], &Answer::Accept, now())
        .expect("answered");
    other(&directory)
        .execute_batch("DELETE FROM tasks WHERE id <> 2")
        .expect("deleted");
    let connection = other(&directory);
    for table in ["attempts", "outputs", "dependencies", "replies"] {
        let left: i64 = connection
            .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
                row.get(0)
            })
            .expect("a number");
        assert_eq!(left, 0, "{table}");
    }
    assert!(
        store.history(child).expect("history").len() == 1,
        "history stays"
    );
}

/// A step that fails half-way leaves nothing behind, alone and in a group.
#[test]
fn an_operation_is_kept_whole_or_not_at_all() {
    let (directory, mut store) = store();
    let task = queue(&mut store, &[NewTask::command("x")])[0];
    other(&directory)
        .execute_batch(
            "CREATE TRIGGER refuse BEFORE INSERT ON attempts
                BEGIN SELECT raise(ABORT, 'no'); END",
        )
        .expect("made");
    let refused = |store: &mut Store| {
        let claimed = store.claim(&[claim(task, 1)], now());
        assert!(matches!(claimed, Err(StoreError::Sql(_))));
    };
    refused(&mut store);
    store.group(|store| refused(store)).expect("committed");
    assert_eq!(store.task(task).expect("a task").status, Status::Pending);
    assert_eq!(actions(&mut store, task), ["queued"]);
    other(&directory)
        .execute_batch(
            "DROP TRIGGER refuse;
             CREATE TABLE p (id INTEGER PRIMARY KEY);
             CREATE TABLE c (id REFERENCES p (id) DEFERRABLE INITIALLY DEFERRED)",
        )
        .expect("made");
    // Nor is anything left of a group that cannot be committed.
    other(&directory)
        .execute_batch(
            "CREATE TRIGGER spoil AFTER INSERT ON assignment_history
                BEGIN INSERT INTO c VALUES (99); END",
        )
        .expect("made");
    let broken = store.group(|store| {
        store
            .queue(&[NewTask::command("y")], now())
            .expect("queued");
    });
    assert!(matches!(broken, Err(StoreError::Sql(_))), "{broken:?}");
    assert!(store.task(TaskId(2)).is_err());
    other(&directory)
        .execute_batch("DROP TRIGGER spoil")
        .expect("mended");
    queue(&mut store, &[NewTask::command("z")]);
}

/// A pause ends together with its row, or not at all.
#[test]
fn a_pause_that_could_not_be_ended_is_not_told_to_be_over() {
    let (directory, mut store) = store();
    other(&directory)
        .execute_batch(
            "INSERT INTO pauses (scope, name, since, until)
                VALUES ('provider', 'codex', '', '2026-01-01T00:00:00.000Z');
             CREATE TRIGGER refuse BEFORE DELETE ON pauses
                BEGIN SELECT raise(ABORT, 'no'); END",
        )
        .expect("made");
    assert!(store.end_pauses(now()).is_err());
    let told: i64 = other(&directory)
        .query_row("SELECT count(*) FROM assignment_history", [], |row| {
            row.get(0)
        })
        .expect("a number");
    assert_eq!(told, 0);
}

#[test]
fn what_several_programs_tell_at_once_is_all_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = Store::open(directory.path()).expect("a store");
    store
        .record_sessions(&[session_row("s1")], now())
        .expect("recorded");
    let together = std::sync::Barrier::new(4);
    std::thread::scope(|scope| {
        for program in 0..4 {
            let (directory, together) = (&directory, &together);
            scope.spawn(move || {
                let mut store = Store::open(directory.path()).expect("a store");
                together.wait();
                for number in 0..25 {
                    let told =
                        BTreeMap::from([(format!("A{program}_{number}"), Some(String::new()))]);
                    store.update_env("s1", &told, now()).expect("told");
                }
            });
        }
    });
    assert_eq!(store.session("s1").expect("a session").env.len(), 100);
}
