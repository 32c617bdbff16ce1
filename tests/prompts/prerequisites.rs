//! The prerequisites of prompts, which run beside the agent.

use super::{Desk, error};
use crate::harness::agents::{patiently, task_becomes, task_ends};
use crate::harness::{assert_calm, text};

#[test]
fn prerequisites_run_beside_the_agent() {
    let desk = Desk::new();
    let world = &desk.world;
    let (_panes, daemon) = desk.toys(["one"]);
    let dir = text(&world.path("work/one"));
    let id = desk.prompt_with(
        &[
            "-w",
            &dir,
            "-e",
            "WORD=a \"b\" $c; d",
            "--prereq",
            "pwd > where",
            "--prereq",
            "printf '%s\\n' \"$WORD\" >> where; tty -s || echo apart >> where",
        ],
        "with all that",
    );
    task_becomes(world, id, "completed");
    let told = world.lines("one/where");
    assert_eq!(told, [dir.as_str(), "a \"b\" $c; d", "apart"]);
    desk.noted("one", &["read with all that", "ended with all that"]);
    assert_calm(&daemon.log());
}

#[test]
fn a_prerequisite_that_fails_ends_the_task() {
    let desk = Desk::new();
    let world = &desk.world;
    let (_panes, daemon) = desk.toys(["one"]);
    let failing = "seq 1 2000; printf 'the very %s\\n' reason; exit 7";
    let id = desk.prompt_with(&["--prereq", "true", "--prereq", failing], "never said");
    let task = task_ends(world, id);
    assert_eq!(task["status"], "failed", "{task:#}");
    let output = String::from_utf8_lossy(&world.output(id)).into_owned();
    let said = format!("{}\n{output}", error(&task));
    assert!(said.contains("the very reason"), "{said}");
    assert!(error(&task).len() < 1_000, "{task:#}");
    assert!(
        error(&task).contains('7') || task["exit_code"] == 7,
        "{task:#}"
    );

    // A prerequisite that takes too long fails as well.
    let slow = ["--prereq", "sleep 300", "--prereq-timeout", "1s"];
    let id = desk.prompt_with(&slow, "never said");
    let task = task_ends(world, id);
    assert_eq!(task["status"], "failed", "{task:#}");
    assert!(!error(&task).is_empty(), "{task:#}");

    let id = desk.prompt("this is said");
    desk.answers(id, "this is said");
    desk.noted("one", &["read this is said", "ended this is said"]);
    assert_calm(&daemon.log());
}

#[test]
fn a_prerequisite_ends_with_its_task() {
    let desk = Desk::new();
    let world = &desk.world;
    let (_panes, daemon) = desk.toys(["one"]);
    let prerequisite = "sleep 300 & echo $! $$ > ids.new; mv ids.new ids; wait";
    let dir = text(&world.path("work/one"));
    let id = desk.prompt_with(&["-w", &dir, "--prereq", prerequisite], "never said");
    world.file_appears("one/ids");
    let ids = world.lines("one/ids").join(" ");
    let goes_on = || {
        let output = world
            .command("ps")
            .args(["-o", "stat=", "-p"])
            .arg(ids.replace(' ', ","))
            .output()
            .expect("ps");
        // A process that has ended but was not reaped counts as gone.
        let states = String::from_utf8_lossy(&output.stdout).into_owned();
        states.lines().any(|state| !state.trim().starts_with('Z'))
    };
    assert!(goes_on(), "{ids}");
    desk.tell(&["cancel"], id, &[]);
    let task = task_ends(world, id);
    assert_eq!(task["status"], "cancelled", "{task:#}");
    patiently(|| match goes_on() {
        true => Err(format!("one of {ids} goes on")),
        false => Ok(()),
    });
    let id = desk.prompt("this is said");
    desk.answers(id, "this is said");
    desk.noted("one", &["read this is said", "ended this is said"]);
    assert_calm(&daemon.log());
}
