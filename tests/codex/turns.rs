//! Whole turns: many prompts, errors, usage limits, any text, and headless prompts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;

use super::{Desk, assert_waits, tries};
use crate::harness::agents::{task_becomes, task_ends};
use crate::harness::{Shell, assert_calm, stays, text};
use crate::language_model::answered;
use crate::sample_prompts::{IMAGE, awkward, ordinary, ordinary_prompts_are_answered, was_asked};
use assigner_needs::needs;

#[needs(codex)]
#[test]
fn twenty_prompts_through_three_sessions() {
    let names = ["api", "web", "docs"];
    let desk = Desk::new(&names);
    let (world, model) = (&desk.world, &desk.model);
    for name in names {
        desk.session(name);
    }
    // A task that names a directory waits for the session there.
    let daemon = world.daemon_with(&["--policy-set", "when-no-match=wait"]);
    desk.idle(&names);

    let mut sent: Vec<(u64, String, Option<&str>)> = Vec::new();
    for number in 0..20 {
        let words = match number % 5 {
            0 => "FILE".to_owned(),
            1 => "with `code`,\n\n* a list\n* and more\n\nand a paragraph".to_owned(),
            2 => "a long line that goes on ".repeat(60),
            3 => "SLOW=300".to_owned(),
            _ => "plain".to_owned(),
        };
        let prompt = format!("number {number}: {words}");
        let name = (number % 2 == 0).then(|| names[number % 3]);
        let id = match name {
            Some(name) => desk.prompt_with(&["-w", &desk.dir(name)], &prompt),
            None => desk.prompt(&prompt),
        };
        sent.push((id, prompt, name));
    }

    let mut threads: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (id, prompt, wanted) in &sent {
        answered(world, *id, prompt);
        let task = world.show(*id);
        assert_eq!(tries(&task), 1, "{task:#}");
        let session = task["session"].as_str().expect("a session");
        let turn = model.once(prompt);
        assert_eq!(turn.requests, 1, "{turn:?}");
        assert_eq!(turn.prompt.trim(), prompt.trim());
        // It arrived in the session that the ledger names.
        assert_eq!(turn.cwd, Some(desk.dir(session)), "{task:#}");
        threads
            .entry(session.to_owned())
            .or_default()
            .insert(turn.thread.clone());
        if let Some(wanted) = wanted {
            assert_eq!(session, *wanted, "{task:#}");
        }
    }
    // One conversation per session; nothing else was ever asked.
    assert!(
        threads.values().all(|threads| threads.len() == 1),
        "{threads:?}"
    );
    assert_eq!(model.turns().len(), sent.len(), "{:#?}", model.prompts());
    assert_calm(&daemon.log());
}

/// With its hooks, which tell what it was asked and what it answered.
#[needs(codex)]
#[test]
fn ordinary_prompts_of_codex_with_hooks() {
    let names = ["api", "web"];
    let desk = Desk::new(&names);
    let (world, model) = (&desk.world, &desk.model);
    desk.installs_hooks();
    for name in names {
        // A person trusts them once, in a dialog.
        desk.session_with(name, &["--dangerously-bypass-hook-trust"]);
    }
    let daemon = world.daemon();
    desk.idle(&names);
    ordinary_prompts_are_answered(world, model, ordinary(), &["--provider", "codex"], false);
    assert_calm(&daemon.log());
}

#[needs(codex)]
#[test]
fn a_turn_that_fails() {
    let desk = Desk::new(&["one"]);
    let (world, model) = (&desk.world, &desk.model);
    desk.session("one");
    let _daemon = world.daemon();
    desk.idle(&["one"]);
    let id = desk.prompt_with(&["--retries", "1"], "ERROR of the model");
    let task = task_ends(world, id);
    assert_eq!(task["status"], "failed", "{task:#}");
    let error = task["error"].as_str().unwrap_or_default();
    assert!(error.contains("a bad request, says the model"), "{task:#}");
    // Another try was asked for.
    assert_eq!(tries(&task), 2, "{task:#}");
    assert_eq!(model.turns_of("ERROR of the model").len(), 2);
    let next = desk.prompt("another");
    answered(world, next, "another");
}

#[needs(codex)]
#[test]
fn a_usage_limit_pauses_the_provider() {
    let desk = Desk::new(&["one", "two"]);
    let (world, model) = (&desk.world, &desk.model);
    desk.session("one");
    desk.session("two");
    world.session("shell", Shell::Bash);
    let _daemon = world.daemon();
    desk.idle(&["one", "two"]);

    let limited = desk.prompt("LIMIT-ONCE for this");
    model.asked("LIMIT-ONCE for this");
    let status = world.patiently(|| {
        let status = world.json(&["status"]);
        if status["paused"]["providers"].to_string().contains("codex") {
            Ok(status)
        } else {
            Err(format!("codex is not paused: {status:#}"))
        }
    });
    assert_eq!(status["paused"]["all"], false, "{status:#}");
    // An hour, as the model said. Codex shows people the minute.
    let until = status["paused"]["limits"][0]["until"].as_str();
    let until: Timestamp = until.and_then(|until| until.parse().ok()).expect("a reset");
    let seconds = until.as_second() - Timestamp::now().as_second();
    assert!((3_300..=3_660).contains(&seconds), "{status:#}");
    task_becomes(world, limited, "pending");
    let other = desk.prompt("as long as that lasts");
    let reason = world.reason(other);
    assert!(
        reason.contains("paused") || reason.contains("limit"),
        "{reason}"
    );
    assert_waits(world, other);
    for name in ["one", "two"] {
        let session = world.session_entry(name).expect("a session");
        assert_eq!(session["paused"], true, "{session:#}");
    }
    // It says until when, to people as well.
    let listed = world.assigner(&["status"]).succeeded().text();
    assert!(listed.contains("codex"), "{listed}");
    // Everything unrelated continues.
    assert_eq!(world.run("echo goes on"), "goes on\n");
    stays(|| model.turns().len());
    assert_eq!(model.turns().len(), 1, "{:#?}", model.prompts());
    assert_eq!(world.show(limited)["status"], "pending");

    world
        .assigner(&["resume", "--provider", "codex"])
        .succeeded();
    answered(world, limited, "LIMIT-ONCE for this");
    answered(world, other, "as long as that lasts");
    // It had no tries left to lose, and did not fail.
    assert_eq!(model.turns_of("LIMIT-ONCE for this").len(), 2);
    model.once("as long as that lasts");
}

#[needs(codex)]
#[test]
fn any_text_arrives_whole() {
    let desk = Desk::new(&["one"]);
    let (world, model) = (&desk.world, &desk.model);
    desk.session("one");
    let daemon = world.daemon();
    desk.idle(&["one"]);

    let mut prompts: Vec<String> = [
        "/help is not what I want",
        "/quit",
        "@README.md and @src/*.rs, look at both",
        "!touch never",
        "# not to be remembered",
        "? what this is",
        "-x --flag",
        "say \"hello\" and 'bye'",
        "`touch never` and $(touch never) and ${HOME} and $HOME; touch never & | > <",
        "back\\slash \\n \\t \\\\ 'it''s'",
        "tab\there\t\tand\tthere",
        "🦀 👩\u{200d}👩\u{200d}👧 é e\u{301} ü 漢字 \u{202e}abc ０",
        "#{pane_id} #(touch never) #S %1 {{{}}}",
        "  indented\n\n\n    more\n\ttab\n* list\n> quote\n```\ncode\n```",
        "ends in\n\n\n",
        "ends in a backslash\\",
        "ends in a semicolon;",
        "Enter",
        "C-c",
        "\u{a0}begins with a blank that is none",
    ]
    .map(str::to_owned)
    .into();
    prompts.push(format!("nine thousand {}", "x".repeat(9_000)));
    prompts.push("words and lines\n".repeat(600).trim_end().to_owned());
    prompts.push("a long paragraph ".repeat(500).trim_end().to_owned());

    let sent: Vec<(u64, &String)> = prompts
        .iter()
        .map(|prompt| (desk.prompt(prompt), prompt))
        .collect();
    for (id, prompt) in &sent {
        let id = *id;
        answered(world, id, prompt);
        let turn = model.once(prompt);
        assert_eq!(turn.prompt.trim(), prompt.trim());
        assert_eq!(tries(&world.show(id)), 1);
    }
    assert_eq!(model.turns().len(), sent.len(), "{:#?}", model.prompts());
    assert!(!world.path("work/one/never").exists());
    assert!(!world.path("work/never").exists());
    assert_calm(&daemon.log());
}

#[needs(codex)]
#[test]
fn awkward_prompts_of_codex() {
    let desk = Desk::new(&["one"]);
    let (world, model) = (&desk.world, &desk.model);
    desk.session("one");
    let image = world.path("work/one/x.png");
    fs::write(&image, IMAGE).expect("an image");
    let daemon = world.daemon();
    desk.idle(&["one"]);
    let prompts = awkward(&text(&image));
    let sent: Vec<u64> = prompts.iter().map(|prompt| desk.prompt(prompt)).collect();
    for (id, prompt) in sent.iter().zip(&prompts) {
        let task = task_becomes(world, *id, "completed");
        assert_eq!(tries(&task), 1, "{prompt:?}: {task:#}");
        assert_eq!(task["response"], "whole", "{task:#}");
        was_asked(world, *id, prompt);
    }
    assert_eq!(model.turns().len(), sent.len(), "{:#?}", model.prompts());
    assert!(!world.path("work/one/broken").exists());
    assert_calm(&daemon.log());
}

/// Without a terminal of its own: in a shell, with the response from what it prints.
#[needs(codex)]
#[test]
fn headless_prompts_are_answered_whole() {
    let desk = Desk::new(&["one"]);
    let (world, model) = (&desk.world, &desk.model);
    let pane = world.session_in("one", Shell::Bash, &desk.dir("one"));
    let bin = Path::new(&desk.program).parent().expect("a directory");
    let home = text(&world.path("codex"));
    pane.line(&format!(
        "export CODEX_HOME='{home}' MOCK_KEY=x PATH='{}':$PATH",
        text(bin)
    ));
    let daemon = world.daemon();
    let ask = |options: &[&str], prompt: &str| {
        let headless = ["--headless", "--provider", "codex"];
        world.send(&[&headless, options, &["--", prompt]].concat())
    };
    for prompt in ["plain", "see @", "$x", "/clear x", "two\nlines", "a FILE"] {
        let id = ask(&[], prompt);
        answered(world, id, prompt);
        let task = world.show(id);
        assert_eq!(
            (tries(&task), &task["response"]),
            (1, &Value::from("whole")),
            "{task:#}"
        );
    }
    let first = ask(&[], "my name is Ada");
    let next = ask(&["--after", &first.to_string()], "and mine is Bob");
    answered(world, next, "and mine is Bob");
    let threads: BTreeSet<String> = ["my name is Ada", "and mine is Bob"]
        .map(|prompt| model.once(prompt).thread)
        .into();
    assert_eq!(threads.len(), 1, "{threads:?}");
    let id = ask(&[], "ERROR of the model");
    let task = task_ends(world, id);
    assert_eq!(task["status"], "failed", "{task:#}");
    let error = task["error"].as_str().unwrap_or_default();
    assert!(error.contains("a bad request, says the model"), "{task:#}");
    assert_calm(&daemon.log());
}
