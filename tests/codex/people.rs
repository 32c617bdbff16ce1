//! People at the same session: they approve, interrupt, draft, and answer.

use std::time::{Duration, Instant};

use super::{Desk, assert_waits, ready, shows, tries};
use crate::harness::agents::{session_becomes, task_becomes, task_ends};
use crate::harness::stays;
use crate::language_model::answered;
use assigner_needs::needs;

#[needs(codex)]
#[test]
fn an_approval_is_a_persons() {
    let desk = Desk::new(&["one"]);
    let (world, model) = (&desk.world, &desk.model);
    let pane = desk.session("one");
    let _daemon = world.daemon();
    desk.idle(&["one"]);
    let asked = world.path("work/one/asked");

    let asks = desk.prompt("ASK before you do it");
    let task = task_becomes(world, asks, "waiting_input");
    assert_eq!(tries(&task), 1, "{task:#}");
    shows(&pane, "1. Yes");
    session_becomes(world, "one", "waiting_input");
    let next = desk.prompt("the next one");
    assert_waits(world, next);
    let before = pane.screen();
    stays(|| pane.screen());
    assert_eq!(pane.screen(), before);
    assert_waits(world, next);
    assert_eq!(world.show(asks)["status"], "waiting_input");
    assert!(!asked.exists());
    assert_eq!(model.once("ASK before you do it").requests, 1);

    world
        .assigner(&["reply", &asks.to_string(), "y"])
        .succeeded();
    answered(world, asks, "ASK before you do it");
    assert!(asked.exists());
    assert_eq!(model.once("ASK before you do it").requests, 2);
    answered(world, next, "the next one");
    assert_eq!(model.turns().len(), 2, "{:#?}", model.prompts());
    assert!(model.turns_of("y").is_empty());
}

/// A person answers at the keyboard, and need not tell assigner.
#[needs(codex)]
#[test]
fn an_approval_in_the_pane() {
    let desk = Desk::new(&["one"]);
    let world = &desk.world;
    let pane = desk.session("one");
    let _daemon = world.daemon();
    desk.idle(&["one"]);
    let asks = desk.prompt("ASK me here");
    task_becomes(world, asks, "waiting_input");
    shows(&pane, "1. Yes");
    pane.keys(&["y"]);
    answered(world, asks, "ASK me here");
    assert!(world.path("work/one/asked").exists());
}

#[needs(codex)]
#[test]
fn a_person_interrupts_a_turn() {
    let desk = Desk::new(&["one"]);
    let (world, model) = (&desk.world, &desk.model);
    let pane = desk.session("one");
    let _daemon = world.daemon();
    desk.idle(&["one"]);

    let id = desk.prompt("HOLD until a person has enough");
    model.asked("HOLD until a person has enough");
    task_becomes(world, id, "in_progress");
    shows(&pane, "esc to interrupt");
    pane.keys(&["Escape"]);
    let task = task_ends(world, id);
    assert_eq!(task["status"], "failed", "{task:#}");
    let error = task["error"].as_str().unwrap_or_default();
    assert!(error.contains("interrupted"), "{task:#}");
    assert_eq!(tries(&task), 1, "{task:#}");

    let next = desk.prompt("go on with another");
    answered(world, next, "go on with another");
    model.once("HOLD until a person has enough");
    assert_eq!(model.turns().len(), 2, "{:#?}", model.prompts());
}

#[needs(codex)]
#[test]
fn a_persons_draft_is_left_alone() {
    let desk = Desk::new(&["one"]);
    let (world, model) = (&desk.world, &desk.model);
    let pane = desk.session("one");
    let _daemon = world.daemon();
    desk.idle(&["one"]);

    let draft = "what I was about to say";
    pane.keys(&["-l", draft]);
    shows(&pane, draft);
    session_becomes(world, "one", "attended");
    let id = desk.prompt("from the queue");
    assert_waits(world, id);
    let before = pane.screen();
    stays(|| pane.screen());
    // This is longer than it takes for a pressed key to be forgotten: the draft is still there.
    let end = Instant::now() + Duration::from_secs(6);
    while Instant::now() < end {
        stays(|| pane.screen());
        assert_waits(world, id);
    }
    assert_eq!(pane.screen(), before);
    session_becomes(world, "one", "attended");
    assert!(model.turns().is_empty(), "{:#?}", model.prompts());

    pane.keys(&["-N", &draft.len().to_string(), "BSpace"]);
    ready(&pane);
    answered(world, id, "from the queue");
    let turn = model.once("from the queue");
    assert_eq!(turn.prompt, "from the queue");
    assert_eq!(model.turns().len(), 1);
}

#[needs(codex)]
#[test]
fn a_question_waits_for_its_answer() {
    let desk = Desk::new(&["one", "two"]);
    let (world, model) = (&desk.world, &desk.model);
    desk.session("one");
    desk.session("two");
    let _daemon = world.daemon();
    desk.idle(&["one", "two"]);

    let id = desk.prompt("QUESTION first");
    let task = task_becomes(world, id, "waiting_input");
    let session = task["session"].as_str().expect("a session").to_owned();
    let asked = model.once("QUESTION first");
    // The session belongs to its task until the answer has come.
    let other = desk.prompt_with(&["--target", &session], "of another");
    assert_waits(world, other);
    stays(|| world.show(other)["status"].clone());

    world
        .assigner(&["reply", &id.to_string(), "yes, do go on"])
        .succeeded();
    answered(world, id, "yes, do go on");
    let task = world.show(id);
    assert_eq!(task["session"], session.as_str(), "{task:#}");
    assert_eq!(model.once("yes, do go on").thread, asked.thread);
    answered(world, other, "of another");
    assert_eq!(model.turns().len(), 3, "{:#?}", model.prompts());
}

#[needs(codex)]
#[test]
fn a_reply_needs_a_task_that_waits_for_one() {
    let desk = Desk::new(&["one"]);
    let (world, model) = (&desk.world, &desk.model);
    desk.session("one");
    let _daemon = world.daemon();
    desk.idle(&["one"]);
    let id = desk.prompt("no question at all");
    answered(world, id, "no question at all");
    world
        .assigner(&["reply", &id.to_string(), "yes"])
        .refused(1);
    world.assigner(&["reply", "99", "yes"]).refused(1);
    assert_eq!(model.turns().len(), 1, "{:#?}", model.prompts());
}
