//! Dialogs and questions, and the people who answer them.

use super::{Desk, shows, tries};
use crate::harness::agents::session_becomes;
use crate::harness::assert_calm;

#[test]
fn a_dialog_is_a_persons() {
    let desk = Desk::new();
    let world = &desk.world;
    let (panes, daemon) = desk.toys(["one"]);
    let before = desk.prompt("before it");
    desk.answers(before, "before it");
    let id = desk.prompt("key please");
    let task = desk.asks(id);
    assert_eq!(tries(&task), 1, "{task:#}");
    session_becomes(world, "one", "waiting_input");
    let next = desk.prompt("the next");
    desk.waits(next);
    let listed = world.json(&["list"]);
    let ids: Vec<_> = listed.as_array().expect("an array").iter().collect();
    let ids: Vec<_> = ids.iter().map(|task| task["id"].as_u64()).collect();
    assert_eq!(ids[0], Some(id), "{listed:#}");
    assert_eq!(ids.len(), 3, "{listed:#}");
    let table = world.assigner(&["list"]).succeeded().text();
    let first = table.lines().nth(1).unwrap_or_default();
    assert!(first.starts_with(&format!("{id} ")), "{table}");
    assert!(first.contains("Really?"), "{table}");

    // Nothing was typed there in all that time.
    desk.noted(
        "one",
        &["read before it", "ended before it", "read key please"],
    );
    shows(&panes[0], "Really? (y/n)");
    desk.tell(&["reply"], id, &["y"]);
    desk.answers(id, "key please");
    desk.answers(next, "the next");
    let lines = [
        "read before it",
        "ended before it",
        "read key please",
        "pressed y",
        "ended key please",
        "read the next",
        "ended the next",
    ];
    desk.noted("one", &lines);
    assert_calm(&daemon.log());
}

#[test]
fn a_dialog_is_answered_once() {
    let desk = Desk::new();
    let world = &desk.world;
    let (_panes, daemon) = desk.toys(["one"]);
    // Keys, or words with Enter.
    let keys = ["--key", "n", "--key", "o", "--key", "Enter"];
    for (answer, told) in [(&keys[..], "told no"), (&["yes it is"], "told yes it is")] {
        let id = desk.prompt("ask now");
        desk.asks(id);
        desk.tell(&["reply"], id, answer);
        // The first answer is on its way or was given: nobody is asking any more.
        let number = id.to_string();
        world.assigner(&["reply", &number, "late"]).refused(1);
        desk.answers(id, "ask now");
        world.assigner(&["reply", &number, "later"]).refused(1);
        let log = desk.log("one");
        assert_eq!(log[log.len() - 2], told, "{log:#?}");
    }
    assert_eq!(desk.log("one").len(), 6, "{:#?}", desk.log("one"));
    assert_calm(&daemon.log());
}

#[test]
fn a_question_is_resolved_or_answered() {
    let desk = Desk::new();
    let (_panes, daemon) = desk.toys(["one"]);
    let id = desk.prompt("question resolved");
    let task = desk.asks(id);
    let asked = task["asks"].to_string();
    assert!(asked.contains("question resolved, shall I?"), "{task:#}");
    desk.tell(&["resolve"], id, &["--done"]);
    desk.says(id, "question resolved, shall I?");

    let id = desk.prompt("question replied");
    desk.asks(id);
    desk.tell(&["reply"], id, &["yes, you shall"]);
    desk.answers(id, "yes, you shall");

    let next = desk.prompt("the next");
    desk.answers(next, "the next");

    let prompts = [
        "question resolved",
        "question replied",
        "yes, you shall",
        "the next",
    ];
    assert_eq!(desk.read("one"), prompts);
    assert_calm(&daemon.log());
}

/// Asserts that a person's answer to a question, in the pane, ends the task with the result.
fn assert_answered_in_the_pane(answer: &str) {
    let desk = Desk::new();
    let (panes, daemon) = desk.toys(["one"]);
    let id = desk.prompt("question in the pane");
    desk.asks(id);
    panes[0].line(answer);
    desk.answers(id, answer);
    let next = desk.prompt("the next");
    desk.answers(next, "the next");
    let prompts = ["question in the pane", answer, "the next"];
    assert_eq!(desk.read("one"), prompts);
    assert_calm(&daemon.log());
}

#[test]
fn a_question_is_answered_in_the_pane() {
    assert_answered_in_the_pane("slow=1 by a person");
}

/// The agent is idle again before anybody can see that it was not.
#[test]
fn a_question_is_answered_in_the_pane_in_a_moment() {
    assert_answered_in_the_pane("silent by a person");
}
