//! What people see: the texts of the commands in one known state, verbatim.

use insta::assert_snapshot;

use crate::harness::{Shell, World};

/// Makes times, hashes, process numbers and the test's own directory the same in every run.
fn steady(world: &World, text: &str) -> String {
    let root = world.path("");
    let root = root.to_str().expect("UTF-8").trim_end_matches('/');
    let mut steady = text.replace(root, "/home");
    for (pattern, instead) in [
        (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "TIME"),
        (r"pid \d+", "pid PID"),
        (r"\([0-9a-f]{12}\)", "(HASH)"),
        (r"running for \S+,", "running for A WHILE,"),
        (r"(?m)^(\S+  +shell +\w+ +)\d+s", "${1}NOW"),
        (r"(?m)^(\d+ .*?  )\d+s( +\S)", "${1}NOW${2}"),
        (r"pane %\d+", "pane %N"),
        (r"loaded in \d+ ms( from the cache)?", "loaded in NO TIME"),
    ] {
        let pattern = regex::Regex::new(pattern).expect("a pattern");
        steady = pattern.replace_all(&steady, instead).into_owned();
    }
    // Columns are as wide as their content.
    let blanks = regex::Regex::new("  +").expect("a pattern");
    blanks.replace_all(&steady, "  ").into_owned()
}

#[test]
fn the_texts_of_one_state() {
    let world = World::new();
    let api = world.mkdir("work/api");
    world.session_in("api", Shell::Bash, &api);
    world.session("desk", Shell::Bash);
    let _daemon = world.daemon();
    world.session_is("api", "idle");
    world.session_is("desk", "idle");
    let good = world.shell_with(&["-w", &api, "-e", "DEBUG=1"], "echo well; echo done");
    world.completed(good);
    let bad = world.shell_with(
        &["-w", &api, "--prereq", "echo cannot; false"],
        "echo never",
    );
    world.settled(bad);
    let prompt = world.send(&["fix the tests"]);
    world.session_is("api", "idle");
    let text = |args: &[&str]| steady(&world, &world.assigner(args).succeeded().text());

    assert_snapshot!(text(&["list"]), @r"
    ID  STATUS  PRIORITY  SESSION  EXIT  AGE  TASK  WHY
    1  completed  0  api  0  NOW  echo well; echo done
    2  failed  0  api  -  NOW  echo never
    3  pending  0  -  -  NOW  fix the tests  a prompt goes to agents, never into a shell, and none of th…
    ");
    assert_snapshot!(text(&["show", &good.to_string()]), @r"
    task 1  completed
    content  echo well; echo done
    directory /home/work/api
    env  DEBUG=1
    session  api
    exit code 0
    queued  TIME
    assigned  TIME
    ended  TIME
    attempt 1 in api: completed, by policy default 0.1.0
      api  100 = same directory 100
      desk  50 = parent directory 50
    output  10 bytes, 2 lines: `assigner output 1`
    ");
    assert_snapshot!(text(&["explain", &good.to_string()]), @r"
    task 1 completed: it ran in api
    attempt 1 went to api by policy default 0.1.0 (completed)
      api  100 = same directory 100
      desk  50 = parent directory 50
    ");
    assert_snapshot!(text(&["explain", &bad.to_string()]), @r"
    task 2 failed: prerequisite 1 of 1 (`echo cannot; false`) exited with code 1: cannot
    attempt 1 went to api by policy default 0.1.0 (failed)
      api  100 = same directory 100
      desk  50 = parent directory 50
    ");
    assert_snapshot!(text(&["explain", &prompt.to_string()]), @r"
    task 3 pending: a prompt goes to agents, never into a shell, and none of the 2 sessions is an agent; start an agent in a session, or send it with --shell if it is a command
    SESSION  STATUS  POINTS  WHY
    api  idle  -  a prompt goes to agents, but this is a shell
    desk  idle  -  a prompt goes to agents, but this is a shell
    ");
    assert_snapshot!(text(&["history", &good.to_string()]), @r"
    TIME  EVENT  SESSION  CAUSE
    TIME  queued  -  by cli
    TIME  claimed  api  by policy default 0.1.0 with 100 points
    TIME  delivering  api  into pane %N
    TIME  started  api  picked up by the shell
    TIME  completed  api  exit code 0
    ");
    assert_snapshot!(text(&["sessions"]), @r"
    SESSION  PROVIDER  STATUS  FOR  DIRECTORY  BRANCH  WHY
    api  shell  idle  NOW  /home/work/api  -  waits at its prompt
    desk  shell  idle  NOW  /home/work  -  waits at its prompt
    ");
    assert_snapshot!(text(&["status"]), @r"
    daemon  running for A WHILE, pid PID, on socket /home/s
    policy  default 0.1.0 (HASH), loaded in NO TIME, no failures
    tasks  1 pending, 1 completed, 1 failed
    sessions  2 idle
    ");
}
