//! Being told: each thing once, much at once together, and nothing waits for who is told.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::harness::setup::configure;
use crate::harness::{Daemon, Shell, World, eventually};

/// Has a command note what it is told: a line of its variables and then what it reads, in one write.
fn noting(world: &World, on: &str, more: &str) {
    let told = world.path("told");
    configure(
        world,
        &format!(
            "[notify]\non = [{on}]\ncommand = '''(printf '%s|%s|%s\\n' \"$ASSIGNER_EVENT\" \"$ASSIGNER_TASK\" \
             \"$ASSIGNER_TEXT\"; cat; echo) > {0}.new; cat {0}.new >> {0}; {more}'''\n",
            told.display()
        ),
    );
}

/// What was told: the line of variables and the objects.
fn told(world: &World) -> Vec<(String, Vec<Value>)> {
    let text = fs::read_to_string(world.path("told")).unwrap_or_default();
    let all = text.split("\n\n").filter(|one| one.contains('\n'));
    all.map(|one| {
        let mut lines = one.lines();
        let first = lines.next().expect("a line").to_owned();
        let objects = lines.map(|line| serde_json::from_str(line).expect("JSON"));
        (first, objects.collect())
    })
    .collect()
}

/// Waits until it was told of these tasks, each as often as it says, and returns everything.
#[track_caller]
fn told_of(world: &World, expected: &[(u64, usize)]) -> Vec<(String, Vec<Value>)> {
    let expected: BTreeMap<u64, usize> = expected.iter().copied().collect();
    eventually(|| {
        let told = told(world);
        let mut times: BTreeMap<u64, usize> = BTreeMap::new();
        for event in told.iter().flat_map(|(_, objects)| objects) {
            if let Some(id) = event["task"]["id"].as_u64() {
                *times.entry(id).or_default() += 1;
            }
        }
        match times == expected {
            true => Ok(told),
            false => Err(format!("{times:?}: {told:#?}")),
        }
    })
}

/// Stops a daemon that has written down what it told: it may tell again what it was killed at.
fn stop(world: &World, mut daemon: Daemon) {
    world.assigner(&["stop"]).succeeded();
    daemon.ends();
}

#[test]
fn a_person_is_told_of_what_they_chose() {
    let world = World::new();
    noting(&world, "'failed', 'queue-empty'", "");
    world.session("one", Shell::Bash);
    let daemon = world.daemon();
    let done = world.shell("true");
    let hostile = "echo \"$(touch leaked)\" >&2; (exit 3)";
    let failed = world.shell(hostile);
    world.completed(done);
    world.until(failed, "failed");
    let told = told_of(&world, &[(failed, 1)]);
    let said: Vec<&str> = told.iter().map(|(said, _)| said.as_str()).collect();
    let event = &told[0].1[0];
    assert_eq!(event["event"], "failed", "{event:#}");
    assert_eq!(event["session"], "one", "{event:#}");
    assert_eq!(event["task"]["content"], hostile, "{event:#}");
    assert_eq!(event["task"]["exit_code"], 3, "{event:#}");
    let whole = eventually(|| {
        let text = fs::read_to_string(world.path("told")).unwrap_or_default();
        match text.contains("nothing is left to do") {
            true => Ok(text),
            false => Err(text),
        }
    });
    assert!(
        whole.contains(&format!("task {failed} failed in one: ")),
        "{said:?}"
    );
    assert!(!whole.contains("completed in"), "{whole}");
    stop(&world, daemon);

    // What has been told is not told again, and what happened before somebody listened is not told.
    let daemon = world.daemon();
    let again = world.shell("false");
    world.until(again, "failed");
    told_of(&world, &[(failed, 1), (again, 1)]);
    stop(&world, daemon);
    configure(&world, "");
    let daemon = world.daemon();
    world.until(world.shell("false"), "failed");
    stop(&world, daemon);
    noting(&world, "'failed'", "");
    let _daemon = world.daemon();
    let last = world.shell("false");
    world.until(last, "failed");
    told_of(&world, &[(failed, 1), (again, 1), (last, 1)]);
}

#[test]
fn much_at_once_is_told_together() {
    let world = World::new();
    noting(&world, "'completed'", "");
    for name in ["one", "two", "three"] {
        world.session(name, Shell::Bash);
    }
    let ids: Vec<u64> = (0..30).map(|_| world.shell("true")).collect();
    let _daemon = world.daemon();
    let expected: Vec<(u64, usize)> = ids.iter().map(|id| (*id, 1)).collect();
    let told = told_of(&world, &expected);
    assert!(told.len() <= 5, "{told:#?}");
    let (said, many) = told
        .iter()
        .max_by_key(|(_, objects)| objects.len())
        .expect("one");
    assert!(many.len() > 5, "{told:#?}");
    assert!(said.starts_with("several|"), "{said}");
    assert!(
        said.contains(&format!("{} completed (", many.len())),
        "{said}"
    );
}

/// The daemon is killed before it can tell; a command that hangs or fails is nobody's trouble.
#[test]
fn what_a_killed_daemon_did_not_tell_is_told_by_the_next() {
    let world = World::new();
    let fifo = world.path("fifo");
    noting(
        &world,
        "'completed'",
        &format!("echo oh no >&2; cat {}", fifo.display()),
    );
    let made = world.command("mkfifo").arg(&fifo).status().expect("mkfifo");
    assert!(made.success());
    world.session("one", Shell::Bash);
    let daemon = world.daemon();
    let first = world.shell("true");
    told_of(&world, &[(first, 1)]);
    // The command hangs, and tasks run on.
    let second = world.completed(world.shell("true"));
    let third = world.completed(world.shell("true"));
    daemon.kill();
    noting(&world, "'completed'", "echo oh no >&2; exit 7");
    let id = |task: &Value| task["id"].as_u64().expect("a number");
    let daemon = world.daemon();
    let fourth = world.completed(world.shell("true"));
    told_of(
        &world,
        &[
            (first, 1),
            (id(&second), 1),
            (id(&third), 1),
            (id(&fourth), 1),
        ],
    );
    eventually(|| {
        let log = daemon.log();
        match log.contains("the command of [notify] failed (exit status: 7): oh no") {
            true => Ok(()),
            false => Err(log),
        }
    });
    // The one that hangs ends with what it waits for.
    fs::write(&fifo, "").expect("written");
}

#[test]
fn once_tells_before_it_ends() {
    let world = World::new();
    noting(&world, "'completed', 'queue-empty'", "");
    world.session("one", Shell::Bash);
    let ids = [world.shell("true"), world.shell("true")];
    world.assigner(&["run", "--once"]).succeeded();
    let told = told_of(&world, &[(ids[0], 1), (ids[1], 1)]);
    let last = &told.last().expect("told").0;
    assert!(last.contains("nothing is left to do"), "{told:#?}");
}

/// What is too long for a variable is whole on standard input, and a variable says that it is not.
#[test]
fn a_long_cause_is_told_as_well() {
    let world = World::new();
    noting(&world, "'failed'", "");
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    let id = world.shell_with(&["--prereq", "printf '%0150000d' 0 >&2; false"], "true");
    world.until(id, "failed");
    let told = told_of(&world, &[(id, 1)]);
    let details = told[0].1[0]["details"].as_str().expect("details");
    assert_eq!(details, world.show(id)["error"].as_str().expect("an error"));
}

/// The terminals that show tmux are told in their own way, with nothing in it that could do harm.
#[test]
fn terminals_are_told() {
    let world = World::new();
    configure(
        &world,
        "[notify]\non = ['completed', 'failed']\nbell = true\nterminal = 'osc777'\n",
    );
    world.session("one;two", Shell::Bash);
    let _daemon = world.daemon();
    // From here on the shell reports by itself, whatever an attached terminal makes of its screen.
    world.completed(world.shell("true"));
    // A tmux in a pane, whose output is recorded: its terminal is the pane.
    let record = world.path("record");
    let viewer = format!(
        "exec env -u TMUX tmux -S '{}' attach -r -t '=one;two'",
        world.socket().display()
    );
    world.tmux(&[
        "new-session",
        "-d",
        "-s",
        "viewer",
        "-x",
        "120",
        "-y",
        "40",
        "cat",
    ]);
    world.tmux(&[
        "pipe-pane",
        "-O",
        "-t",
        "=viewer:",
        &format!("cat >> '{}'", record.display()),
    ]);
    world.tmux(&["respawn-pane", "-k", "-t", "=viewer:", &viewer]);
    eventually(|| match world.tmux(&["list-clients"]) {
        none if none.is_empty() => Err("nobody is attached".to_owned()),
        clients => Ok(clients),
    });
    world.completed(world.shell("true"));
    let shown = eventually(|| {
        let bytes = fs::read(&record).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        match text.split_once("\x1b]777;notify;assigner;") {
            Some((_, shown)) => match shown.split_once("\x1b\\") {
                Some((shown, _)) => Ok(shown.to_owned()),
                None => Err(text),
            },
            None => Err(text),
        }
    });
    assert_eq!(shown, "task 2 completed in one,two: exit code 0");
}

#[test]
fn a_mistake_in_what_is_to_be_told_is_named() {
    let world = World::new();
    configure(&world, "[notify]\non = ['failled']\n");
    let said = world.assigner(&["config", "check"]).refused(2).stderr;
    for part in ["failled", "failed", "queue-empty"] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(json!(said.lines().count()), json!(1), "{said}");
}
