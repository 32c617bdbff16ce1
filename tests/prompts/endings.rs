//! How a prompt can end: with an error, at a limit, by a person, or together with its agent.

use jiff::Timestamp;
use serde_json::Value;

use super::{Desk, error, ready, tries};
use crate::harness::agents::{session_becomes, task_becomes, task_ends};
use crate::harness::{Shell, assert_calm};

#[test]
fn a_limit_of_one_provider_leaves_the_other_alone() {
    let desk = Desk::new();
    let world = &desk.world;
    desk.agent("other", "other");
    let (_panes, daemon) = desk.toys(["one", "two"]);
    session_becomes(world, "other", "idle");

    let limited = desk.prompt_with(&["--target", "one"], "limit here");
    let limit = world.patiently(|| {
        let status = world.json(&["status"]);
        if status["paused"]["providers"].to_string().contains("toy") {
            Ok(status["paused"].clone())
        } else {
            Err(format!("toy is not paused: {status:#}"))
        }
    });
    assert_eq!(limit["all"], false, "{limit:#}");
    assert!(!limit["providers"].to_string().contains("other"));
    let limits = limit["limits"].as_array().expect("limits");
    assert_eq!(limits.len(), 1, "{limit:#}");
    let until = limits[0]["until"].as_str();
    let until: Timestamp = until.and_then(|until| until.parse().ok()).expect("an end");
    let seconds = until.as_second() - Timestamp::now().as_second();
    assert!((1..=91).contains(&seconds), "{limit:#}");

    let task = task_becomes(world, limited, "pending");
    let failed = task["attempts"].as_array().expect("attempts");
    assert!(
        failed.iter().all(|attempt| attempt["status"] != "failed"),
        "{task:#}"
    );
    assert_eq!(task["error"], Value::Null, "{task:#}");
    // No session of that provider takes anything, but one of another provider does.
    let waiting = desk.prompt_with(&["--target", "two"], "as long as that lasts");
    let reason = world.reason(waiting);
    assert!(
        reason.contains("paused") || reason.contains("limit"),
        "{reason}"
    );
    let free = world.send(&["--provider", "other", "of another"]);
    desk.answers(free, "of another");
    desk.noted("other", &["read of another", "ended of another"]);
    desk.waits(waiting);
    assert_eq!(world.show(limited)["status"], "pending");
    desk.noted("one", &["read limit here", "ended limit here"]);
    assert!(desk.log("two").is_empty());

    // What it said before is still on the screen.
    desk.release("one");
    world.assigner(&["resume", "--provider", "toy"]).succeeded();
    desk.answers(limited, "limit here");
    desk.answers(waiting, "as long as that lasts");
    assert_eq!(desk.log("one").len(), 4, "{:#?}", desk.log("one"));
    assert_calm(&daemon.log());
}

#[test]
fn an_error_is_a_failed_try() {
    let desk = Desk::new();
    let (_panes, _daemon) = desk.toys(["one"]);
    let id = desk.prompt_with(&["--retries", "1"], "error of mine");
    let task = task_ends(&desk.world, id);
    assert_eq!(task["status"], "failed", "{task:#}");
    assert!(error(&task).contains("it broke"), "{task:#}");
    assert_eq!(tries(&task), 2, "{task:#}");
    let next = desk.prompt("and another");
    desk.answers(next, "and another");
    let read = "read error of mine";
    let ended = "ended error of mine";
    let next = ["read and another", "ended and another"];
    desk.noted("one", &[read, ended, read, ended, next[0], next[1]]);
}

/// Asserts that a session whose task was taken away is busy until its agent is done, and then takes
/// the next prompt.
#[track_caller]
fn assert_left_alone(desk: &Desk, taken: &str) {
    let read = format!("read {taken}");
    session_becomes(&desk.world, "one", "busy");
    let next = desk.prompt_with(&["--target", "one"], "the next");
    desk.waits(next);
    assert_eq!(desk.log("one"), [read.as_str()]);
    desk.release("one");
    desk.answers(next, "the next");
    let ended = format!("ended {taken}");
    desk.noted("one", &[&read, &ended, "read the next", "ended the next"]);
}

#[test]
fn a_cancelled_prompt_leaves_its_agent_alone() {
    let desk = Desk::new();
    let (_panes, daemon) = desk.toys(["one"]);
    let id = desk.prompt("hold cancelled");
    desk.runs(id, "one", "hold cancelled");
    desk.tell(&["cancel"], id, &[]);
    let task = task_ends(&desk.world, id);
    assert_eq!(task["status"], "cancelled", "{task:#}");
    assert_left_alone(&desk, "hold cancelled");
    assert_eq!(desk.world.show(id)["status"], "cancelled");
    assert_calm(&daemon.log());
}

#[test]
fn a_prompt_that_ran_out_of_time_leaves_its_agent_alone() {
    let desk = Desk::new();
    let (_panes, daemon) = desk.toys(["one"]);
    let id = desk.prompt_with(&["--timeout", "3s"], "hold too long");
    let task = task_ends(&desk.world, id);
    assert_eq!(task["status"], "failed", "{task:#}");
    assert!(error(&task).contains("3 s"), "{task:#}");
    assert_left_alone(&desk, "hold too long");
    assert_calm(&daemon.log());
}

#[test]
fn a_reassigned_prompt_leaves_its_agent_alone() {
    let desk = Desk::new();
    let (_panes, daemon) = desk.toys(["one", "two"]);
    let id = desk.prompt_with(&["--target", "one"], "hold given away");
    desk.runs(id, "one", "hold given away");
    desk.release("two");
    desk.tell(&["reassign"], id, &["--to", "two"]);
    desk.answers(id, "hold given away");
    let task = desk.world.show(id);
    assert_eq!(task["session"], "two", "{task:#}");
    desk.noted("two", &["read hold given away", "ended hold given away"]);
    assert_left_alone(&desk, "hold given away");
    assert_calm(&daemon.log());
}

#[test]
fn an_agent_ends_in_mid_turn() {
    let desk = Desk::new();
    let world = &desk.world;
    let (_panes, daemon) = desk.toys(["one"]);
    let id = desk.prompt("slow=1 die at once");
    let task = task_ends(world, id);
    assert_eq!(task["status"], "failed", "{task:#}");
    assert!(error(&task).contains("ended"), "{task:#}");
    assert_eq!(tries(&task), 1, "{task:#}");
    desk.noted(
        "one",
        &["read slow=1 die at once", "died of slow=1 die at once"],
    );
    assert_calm(&daemon.log());
}

#[test]
fn another_agent_takes_what_one_left() {
    let desk = Desk::new();
    let world = &desk.world;
    // Of the first agent only a shell is left, into which no prompt goes.
    let command = desk.command("toy", "one").map(|word| format!("'{word}'"));
    let dir = world.mkdir("work/one");
    let one = world.session_in("one", Shell::Bash, &dir);
    one.line(&command.join(" "));
    ready(&one);
    let daemon = world.daemon();
    session_becomes(world, "one", "idle");
    let prompt = "hold die and go on";
    let id = desk.prompt_with(&["--retries", "1"], prompt);
    desk.runs(id, "one", prompt);
    desk.agent("toy", "two");
    desk.release("two");
    desk.release("one");
    let task = task_ends(world, id);
    assert_eq!(task["status"], "completed", "{task:#}");
    assert_eq!(tries(&task), 2, "{task:#}");
    assert_eq!(task["session"], "two", "{task:#}");
    desk.answers(id, prompt);
    let read = format!("read {prompt}");
    desk.noted("one", &[&read, &format!("died of {prompt}")]);
    desk.noted("two", &[&read, &format!("ended {prompt}")]);
    world.patiently(|| match world.session_entry("one") {
        Some(session) if session["provider"] == "shell" => Ok(()),
        other => Err(format!("no shell: {other:?}")),
    });
    let screen = one.screen();
    assert_eq!(
        screen.trim_end().lines().last().map(str::trim_end),
        Some("$")
    );
    assert_eq!(screen.matches("go on").count(), 1, "{screen}");
    assert_calm(&daemon.log());
}
