//! Backups of a queue in use, their way back, and the repair of a damaged queue: nothing is lost without a
//! word, and nothing runs twice.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;

use crate::harness::{Shell, World};

/// How long somebody who queues a task may have to wait because of a backup: far less than the backup takes.
const PATIENCE: Duration = Duration::from_secs(3);

fn ids(told: &Value) -> Vec<u64> {
    let ids = told["ids"].as_array().expect("numbers").iter();
    ids.map(|id| id.as_u64().expect("a number")).collect()
}

/// What the tasks have written, a line each.
fn ran(world: &World) -> Vec<String> {
    let text = fs::read_to_string(world.path("work/ran")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn lines_in(world: &World, directory: &str) -> Vec<String> {
    let entries = fs::read_dir(world.path(directory)).expect("a directory");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names
        .map(|name| name.into_string().expect("text"))
        .collect();
    names.sort();
    names
}

/// Adds what a queue of a year holds: 200 MB of outputs.
fn grow(world: &World) {
    let database = Connection::open(world.data().join("assigner.db")).expect("the queue");
    database
        .execute_batch(
            "WITH RECURSIVE n(x) AS (SELECT 1000 UNION ALL SELECT x + 1 FROM n WHERE x < 11000)
             INSERT INTO tasks (id, kind, content, created_at, status, completed_at, response)
             SELECT x, 'command', 'old', '2026-01-01T00:00:00.000Z', 'completed',
                '2026-01-01T00:00:00.000Z', hex(randomblob(10000)) FROM n",
        )
        .expect("tasks");
}

#[test]
fn a_backup_holds_up_nobody_and_holds_what_was_queued() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    world.run("echo first");
    grow(&world);
    world.mkdir("safe");
    let file = world.path("safe/queue.db");
    let is_over = AtomicBool::new(false);
    let (slowest, sent) = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let (mut slowest, mut sent) = (Duration::ZERO, Vec::new());
            while !is_over.load(Ordering::Relaxed) {
                let began = Instant::now();
                sent.push(world.shell("true"));
                slowest = slowest.max(began.elapsed());
            }
            (slowest, sent)
        });
        let path = file.to_str().expect("text");
        let made = world.json(&["backup", path]);
        is_over.store(true, Ordering::Relaxed);
        assert!(
            made["tasks"].as_u64().expect("a number") >= 10_002,
            "{made}"
        );
        let bytes = fs::metadata(&file).expect("it").len();
        assert!(bytes > 200_000_000 && made["bytes"] == bytes, "{made}");
        sender.join().expect("a sender")
    });
    assert!(slowest < PATIENCE, "{slowest:?}");
    let last = *sent.last().expect("something was queued beside it");
    world.completed(last);
    assert_eq!(
        lines_in(&world, "safe"),
        ["queue.db"],
        "it needs no other file"
    );
    let mode = fs::metadata(&file).expect("it").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // What is in it is what was there.
    let copy = Connection::open(&file).expect("a database");
    let check = copy.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
    assert_eq!(check.expect("checked"), "ok");
    let first = copy.query_row("SELECT status FROM tasks WHERE id = 1", [], |row| {
        row.get::<_, String>(0)
    });
    assert_eq!(first.expect("a task"), "completed");
}

#[test]
fn what_is_no_place_for_a_backup_is_refused_in_one_line() {
    let world = World::new();
    world.mkdir("safe");
    let file = world.path("safe/queue.db");
    let path = file.to_str().expect("text");
    let none = world.assigner(&["backup", path]).refused(5);
    assert!(
        none.stderr.contains("there is no queue yet"),
        "{}",
        none.stderr
    );
    world.shell("true");
    world.assigner(&["backup", path]).succeeded();
    let before = fs::read(&file).expect("it");
    let queue = world.data().join("assigner.db");
    for (place, force, why) in [
        (path, false, "exists already"),
        (
            queue.to_str().expect("text"),
            true,
            "in the directory of the queue",
        ),
        ("/dev/full", true, "no regular file"),
        ("none/there", false, "No such file"),
        (".", false, "no regular file"),
    ] {
        let flags: &[&str] = if force { &["--force"] } else { &[] };
        let said = world
            .assigner(&[&["backup", place], flags].concat())
            .refused(1)
            .stderr;
        assert!(
            said.contains(why) && said.trim().lines().count() == 1,
            "{said}"
        );
    }
    assert_eq!(fs::read(&file).expect("it"), before);
    assert_eq!(lines_in(&world, "safe"), ["queue.db"]);
    world.assigner(&["backup", path, "--force"]).succeeded();
    // A directory in which there is no room, if this system lets us make one.
    let small = world.mkdir("small");
    let mount = ["-t", "tmpfs", "-o", "size=64k", "none", &small];
    if world
        .command("mount")
        .args(mount)
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|done| done.success())
    {
        grow(&world);
        let full = format!("{small}/queue.db");
        let said = world.assigner(&["backup", &full]);
        let left = lines_in(&world, "small");
        let _ = world.command("umount").arg(&small).status();
        let said = said.refused(1).stderr;
        assert!(
            said.contains("full") && said.trim().lines().count() == 1,
            "{said}"
        );
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn an_interrupted_backup_leaves_nothing_behind() {
    let world = World::new();
    world.shell("true");
    grow(&world);
    world.mkdir("safe");
    let file = world.path("safe/queue.db");
    let mut backup = world.binary();
    let backup = backup
        .arg("backup")
        .arg(&file)
        .stderr(Stdio::piped())
        .stdout(Stdio::null());
    let backup = backup.spawn().expect("it runs");
    let deadline = Instant::now() + Duration::from_secs(20);
    while lines_in(&world, "safe").is_empty() {
        assert!(Instant::now() < deadline, "nothing is written");
        thread::sleep(Duration::from_millis(2));
    }
    world
        .command("kill")
        .arg("-INT")
        .arg(backup.id().to_string())
        .status()
        .expect("a signal");
    let output = backup.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        (output.status.code(), said.contains("interrupted")),
        (Some(1), true),
        "{said}"
    );
    assert!(lines_in(&world, "safe").is_empty());
}

#[test]
fn after_a_restoration_nothing_runs_twice() {
    let world = World::new();
    let file = world.path("queue.db");
    let path = file.to_str().expect("text");
    let command = |id: usize| format!("echo {id} >> {}", world.path("work/ran").display());
    for id in 1..=5 {
        world.shell(&command(id));
    }
    let waits = world.shell_with(&["--delay", "7d"], &command(6));
    let made = world.json(&["backup", path]);
    assert_eq!(made["tasks"], 6);
    world.session("one", Shell::Bash);
    let daemon = world.daemon();
    for id in 1..=5 {
        world.completed(id);
    }
    let running = world.shell("sleep 300");
    world.until(running, "in_progress");
    let held = world.assigner(&["restore", path]).refused(4);
    assert!(held.stderr.contains("assigner stop"), "{}", held.stderr);
    let held = world.assigner(&["repair"]).refused(4);
    assert!(held.stderr.contains("assigner stop"), "{}", held.stderr);
    drop(daemon);
    let told = world.json(&["restore", path]);
    assert_eq!(
        (&told["tasks"], &told["pending"]),
        (&6.into(), &1.into()),
        "{told:#}"
    );
    assert_eq!(ids(&told["uncertain"]), [1, 2, 3, 4, 5]);
    assert_eq!(ids(&told["missing"]), [running]);
    let kept = told["kept"].as_str().expect("a path");
    assert!(kept.ends_with("assigner.db.before-restore") && Path::new(kept).exists());
    let task = world.show(1);
    let error = task["error"].as_str().expect("a reason");
    assert!(
        error.contains("restored from a backup of 20")
            && error.contains("it was completed in the queue before"),
        "{error}"
    );
    assert!(world.history(1).last().expect("a row").contains("doubted"));
    let _daemon = world.daemon();
    world
        .assigner(&["edit", &waits.to_string(), "--unset", "delay"])
        .succeeded();
    world.session("two", Shell::Bash);
    world.completed(waits);
    world.assigner(&["resolve", "3", "--resend"]).succeeded();
    world.completed(3);
    let new = world.shell("true");
    assert!(new > running, "a number is not given twice");
    world.completed(new);
    assert_eq!(ran(&world), ["1", "2", "3", "4", "5", "6", "3"]);
}

#[test]
fn a_person_may_say_that_nothing_has_run_since() {
    let world = World::new();
    for _ in 0..3 {
        world.shell("true");
    }
    let file = world.path("queue.db");
    let path = file.to_str().expect("text");
    world.assigner(&["backup", path]).succeeded();
    let queue = world.data().join("assigner.db");
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(queue.with_extension(format!("db{suffix}")));
    }
    let lost = world.assigner(&["list"]).refused(5).stderr;
    assert!(lost.contains("assigner restore"), "{lost}");
    let lost = world.assigner(&["repair"]).refused(5).stderr;
    assert!(lost.contains("assigner restore"), "{lost}");
    let told = world.json(&["restore", path]);
    assert_eq!(
        (&told["pending"], &told["compared"]),
        (&0.into(), &false.into())
    );
    fs::remove_file(&queue).expect("removed");
    let said = world
        .assigner(&["restore", path, "--trust-pending"])
        .succeeded()
        .text();
    assert!(
        said.contains("3 tasks restored") && said.contains("3 tasks waiting"),
        "{said}"
    );
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    for id in 1..=3 {
        world.completed(id);
    }
    for (file, why) in [
        (queue.to_str().expect("text"), "(pid"),
        ("/dev/zero", "(pid"),
    ] {
        // A daemon runs: the file is not even looked at.
        let said = world.assigner(&["restore", file]).refused(4).stderr;
        assert!(said.contains("pid") || said.contains(why), "{said}");
    }
}

#[test]
fn what_is_no_backup_is_refused_in_one_line() {
    let world = World::new();
    world.shell("true");
    let queue = world.data().join("assigner.db");
    fs::write(world.path("text"), "hello").expect("written");
    let other = Connection::open(world.path("other.db")).expect("a file");
    other
        .execute_batch("CREATE TABLE t (x); PRAGMA user_version = 5")
        .expect("made");
    drop(other);
    let large = fs::File::create(world.path("large")).expect("a file");
    large.set_len(1 << 42).expect("its size");
    let at = |name: &str| world.path(name).to_str().expect("text").to_owned();
    for (file, why) in [
        (
            queue.to_str().expect("text").to_owned(),
            "is the queue itself",
        ),
        (at("text"), "is no queue"),
        (at("other.db"), "is damaged"),
        (at("large"), "is no queue"),
        (at("none"), "No such file"),
        ("/dev/zero".to_owned(), "a device"),
        ("/".to_owned(), "a directory"),
    ] {
        let said = world.assigner(&["restore", &file]).refused(1).stderr;
        assert!(
            said.contains(why) && said.trim().lines().count() == 1,
            "{said}"
        );
    }
    assert_eq!(world.show(1)["status"], "pending");
}

#[test]
fn a_damaged_queue_is_repaired_and_says_what_is_lost() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let daemon = world.daemon();
    let done = world.shell("echo done");
    world.completed(done);
    let waits = world.shell_with(&["--delay", "7d"], "true");
    drop(daemon);
    let said = world.assigner(&["repair"]).succeeded().text();
    assert!(said.contains("nothing is wrong"), "{said}");
    assert_eq!(world.json(&["repair"]), serde_json::json!({"sound": true}));
    let queue = world.data().join("assigner.db");
    let mut bytes = fs::read(&queue).expect("it");
    bytes[..100].fill(0);
    fs::write(&queue, &bytes).expect("damaged");
    let said = world.assigner(&["list"]).refused(5).stderr;
    assert!(said.contains("assigner repair"), "{said}");
    let told = world.json(&["repair"]);
    assert_eq!(
        (&told["tasks"], &told["pending"]),
        (&2.into(), &0.into()),
        "{told:#}"
    );
    assert_eq!(ids(&told["uncertain"]), [waits]);
    assert!(
        told["lost"].as_str().expect("words").contains("header"),
        "{told:#}"
    );
    let kept = told["kept"].as_str().expect("a path");
    assert_eq!(fs::read(kept).expect("it"), bytes);
    assert_eq!(world.output(done), b"done\n");
    let _daemon = world.daemon();
    world.run("true");
    assert_eq!(world.show(waits)["status"], "uncertain");
}

/// `ASSIGNER_SEEDS=40..200` tries those.
fn seeds(usual: Range<u64>) -> Range<u64> {
    let asked = std::env::var("ASSIGNER_SEEDS").unwrap_or_default();
    let asked = asked.split_once("..");
    match asked.map(|(from, to)| (from.parse(), to.parse())) {
        Some((Ok(from), Ok(to))) => from..to,
        _ => usual,
    }
}

#[test]
fn whatever_is_overwritten_no_task_is_lost_without_a_word() {
    let world = World::new();
    let line = |id: u64| {
        format!(
            "{{\"content\": \"echo {id} {}\", \"shell\": true}}\n",
            "x".repeat(900)
        )
    };
    let batch: String = (1..=60).map(line).collect();
    let sent = world.assigner_with_input(&["send", "--batch", "-"], batch.as_bytes());
    sent.succeeded();
    for id in 1..=20_u64 {
        world.assigner(&["cancel", &id.to_string()]).succeeded();
    }
    let queue = world.data().join("assigner.db");
    let whole = fs::read(&queue).expect("it");
    let (mut repaired, mut missing) = (0, 0);
    for seed in seeds(0..15) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut bytes = whole.clone();
        for _ in 0..rng.usize(1..6) {
            let at = rng.usize(..bytes.len() / 4096) * 4096;
            bytes[at..at + 4096].fill_with(|| rng.u8(..));
        }
        fs::write(&queue, &bytes).expect("damaged");
        let told = world.assigner(&["--json", "repair"]);
        if told.code == Some(5) {
            // Nothing at all is left, and the damaged one stays as it is.
            told.refused(5);
            assert_eq!(fs::read(&queue).expect("it"), bytes);
            continue;
        }
        let told = told.succeeded().json();
        let listed = world.json(&["list", "--limit", "0"]);
        let listed = listed.as_array().expect("tasks");
        let gone = ids(&told["missing"]);
        let last = told["unknown_after"].as_u64().unwrap_or(u64::MAX);
        for id in 1..=60 {
            let found = listed.iter().find(|task| task["id"] == id);
            let status = found.map(|task| task["status"].as_str().expect("a state"));
            let expected = if id <= 20 { "cancelled" } else { "pending" };
            match status {
                Some(status) => assert!(
                    status == expected || status == "uncertain",
                    "seed {seed}: task {id} is {status}"
                ),
                None => assert!(
                    gone.contains(&id) || id > last,
                    "seed {seed}: task {id}: {told:#}"
                ),
            }
            missing += usize::from(status.is_none());
        }
        repaired += 1;
    }
    assert!(repaired > 5 && missing > 5, "{repaired}, {missing}");
}

/// Returns how many tasks a database holds, once SQLite has found nothing wrong with it.
fn sound(path: &Path) -> i64 {
    let database = Connection::open(path).expect("a database");
    let check = database.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
    assert_eq!(check.expect("checked"), "ok");
    let count = database.query_row("SELECT count(*) FROM tasks", [], |row| row.get(0));
    count.expect("a number")
}

#[test]
fn a_restoration_that_is_killed_leaves_the_old_queue_or_the_new_one() {
    let world = World::new();
    world.shell("true");
    let database = Connection::open(world.data().join("assigner.db")).expect("the queue");
    let more = "WITH RECURSIVE n(x) AS (SELECT 2 UNION ALL SELECT x + 1 FROM n WHERE x < 2000)
        INSERT INTO tasks (kind, content, created_at, status, completed_at, response)
        SELECT 'command', 'old', '', 'completed', '', hex(randomblob(5000)) FROM n";
    database.execute_batch(more).expect("tasks");
    drop(database);
    let file = world.path("queue.db");
    world
        .assigner(&["backup", file.to_str().expect("text")])
        .succeeded();
    let new = world.shell("true");
    let queue = world.data().join("assigner.db");
    let old = i64::try_from(new).expect("a number");
    let began = Instant::now();
    world
        .assigner(&["restore", file.to_str().expect("text")])
        .succeeded();
    let whole = began.elapsed();
    let (mut before, mut after) = (0, 0);
    for seed in seeds(0..12) {
        let mut rng = fastrand::Rng::with_seed(seed);
        if sound(&queue) < old {
            world.shell("true");
        }
        let mut restore = world.binary();
        let restore = restore
            .arg("restore")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut restore = restore.spawn().expect("it runs");
        thread::sleep(whole.mul_f64(rng.f64()));
        restore.kill().expect("killed");
        restore.wait().expect("it ends");
        match sound(&queue) {
            count if count == old => before += 1,
            count if count == old - 1 => after += 1,
            count => panic!("seed {seed}: {count} tasks"),
        }
        world.assigner(&["status"]).succeeded();
        for name in lines_in(&world, "data") {
            // What was kept is whole, whenever its maker died.
            if name.contains("before-restore") {
                let kept = world.data().join(name);
                assert!(sound(&kept) >= old - 1);
                fs::remove_file(kept).expect("removed");
            }
        }
    }
    println!("{before} before, {after} after");
    assert!(before > 0);
    world
        .assigner(&["restore", file.to_str().expect("text")])
        .succeeded();
    let left = lines_in(&world, "data")
        .into_iter()
        .filter(|name| name.starts_with("restore."));
    assert_eq!(left.count(), 0);
}

#[test]
fn what_is_queued_beside_a_restoration_is_in_one_queue_or_the_other() {
    let world = World::new();
    world.shell("true");
    let file = world.path("queue.db");
    let path = file.to_str().expect("text");
    world.assigner(&["backup", path]).succeeded();
    let is_over = AtomicBool::new(false);
    let (sent, restored) = thread::scope(|scope| {
        let senders = [1, 2].map(|seed| {
            let (world, is_over) = (&world, &is_over);
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(seed);
                let mut sent = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    let content = format!("true {seed} {}", sent.len());
                    let said = world.assigner(&["send", "--shell", "--", &content]);
                    if said.code == Some(0) {
                        sent.push(content);
                    } else {
                        let said = said.refused(5).stderr;
                        assert!(said.contains("in the meantime"), "{said}");
                    }
                    thread::sleep(Duration::from_millis(rng.u64(0..1500)));
                }
                sent
            })
        });
        let mut restored = 0;
        for _ in 0..8 {
            let done = world.assigner(&["restore", path]);
            if done.code == Some(0) {
                restored += 1;
            } else {
                let said = done.refused(5).stderr;
                assert!(said.contains("others write"), "{said}");
            }
        }
        is_over.store(true, Ordering::Relaxed);
        let sent = senders.map(|sender| sender.join().expect("a sender"));
        (sent.concat(), restored)
    });
    let mut found = Vec::new();
    for name in lines_in(&world, "data") {
        if name == "assigner.db" || name.starts_with("assigner.db.before-restore") {
            let database = Connection::open(world.data().join(name)).expect("a database");
            let mut query = database
                .prepare("SELECT content FROM tasks")
                .expect("a query");
            let rows = query
                .query_map([], |row| row.get::<_, String>(0))
                .expect("rows");
            found.extend(rows.map(|row| row.expect("text")));
        }
    }
    assert!(restored > 0 && sent.len() > 3, "{restored}, {sent:?}");
    for content in sent {
        assert!(found.contains(&content), "{content:?} is lost");
    }
}
