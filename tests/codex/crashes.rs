//! Codex or the daemon dies in the middle of a turn.

use std::thread;
use std::time::Duration;

use super::{Desk, assert_waits, kill_codex, ready, shows, tries};
use crate::harness::agents::{patiently, task_becomes, task_ends};
use crate::harness::{assert_calm, is_settled};
use crate::language_model::answered;
use assigner_needs::needs;

#[needs(codex)]
#[test]
fn codex_dies_in_mid_turn() {
    let desk = Desk::new(&["shell", "one", "two"]);
    let (world, model) = (&desk.world, &desk.model);
    desk.session_in_shell("shell");
    desk.session("one");
    desk.session("two");
    let daemon = world.daemon();
    desk.idle(&["shell", "one", "two"]);

    // Only a shell is left, into which no prompt goes.
    let id = desk.prompt_with(&["--target", "shell"], "HOLD to the end");
    model.asked("HOLD to the end");
    task_becomes(world, id, "in_progress");
    kill_codex(&desk.dir("shell"));
    let task = task_ends(world, id);
    assert_eq!(task["status"], "failed", "{task:#}");
    assert!(task["error"].as_str().is_some_and(|why| !why.is_empty()));
    model.once("HOLD to the end");
    let shell = world.patiently(|| match world.session_entry("shell") {
        Some(session) if session["provider"] == "shell" => Ok(session),
        other => Err(format!("still codex: {other:?}")),
    });
    assert_ne!(shell["status"], "gone", "{shell:#}");
    let never = desk.prompt_with(&["--target", "shell"], "touch never");
    assert_waits(world, never);

    // If retries were asked for, another session takes it.
    let id = desk.prompt_with(&["--retries", "1"], "HOLD and try again");
    model.asked("HOLD and try again");
    let task = task_becomes(world, id, "in_progress");
    let first = task["session"].as_str().expect("a session").to_owned();
    kill_codex(&desk.dir(&first));
    patiently(|| match model.turns_of("HOLD and try again").len() {
        2 => Ok(()),
        some => Err(format!("{some} turns")),
    });
    model.release();
    answered(world, id, "HOLD and try again");
    let task = world.show(id);
    assert_eq!(tries(&task), 2, "{task:#}");
    assert_ne!(task["session"], first.as_str(), "{task:#}");
    assert_eq!(model.turns_of("HOLD and try again").len(), 2);
    assert_waits(world, never);
    assert_calm(&daemon.log());
}

/// When the daemon is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// The composer shows the prompt.
    Pasted,
    /// The model has it.
    Submitted,
    /// The ledger says that it runs.
    Runs,
}

#[needs(codex)]
#[test]
fn the_daemon_is_killed_on_the_way() {
    let desk = Desk::new(&["one"]);
    let (world, model) = (&desk.world, &desk.model);
    let pane = desk.session("one");
    let moments = [Moment::Pasted, Moment::Submitted, Moment::Runs];
    let mut prompts = Vec::new();
    for (round, moment) in moments.into_iter().cycle().take(9).enumerate() {
        let prompt = format!("round {round} SLOW=1500");
        let daemon = world.daemon();
        desk.idle(&["one"]);
        let id = desk.prompt(&prompt);
        match moment {
            // Earlier text is on the screen, too, but not this one.
            Moment::Pasted => shows(&pane, &prompt),
            Moment::Submitted => drop(model.asked(&prompt)),
            Moment::Runs => world.patiently(|| match world.show(id) {
                task if task["status"] == "in_progress" => Ok(()),
                task if task["status"] == "completed" => Ok(()),
                task => Err(task.to_string()),
            }),
        }
        daemon.kill();

        let second = world.daemon();
        let task = task_ends(world, id);
        assert_calm(&second.log());
        match task["status"].as_str() {
            Some("completed") => answered(world, id, &prompt),
            Some("uncertain") => {
                let why = task["error"].as_str().unwrap_or_default();
                assert!(!why.is_empty(), "{moment:?}: {task:#}");
                // A person decides what to do with the rest in the composer: this one deletes it.
                pane.keys(&["C-u"]);
                ready(&pane);
            }
            _ => panic!("{moment:?}: {task:#}"),
        }
        second.kill();
        prompts.push((moment, prompt));
    }
    for (moment, prompt) in prompts {
        let turns = model.turns_of(&prompt);
        assert!(turns.len() <= 1, "{moment:?}: {turns:#?}");
    }
    // No two prompts were merged, and none was cut.
    for prompt in model.turns().iter().map(|turn| &turn.prompt) {
        let word = prompt
            .strip_prefix("round ")
            .and_then(|rest| rest.strip_suffix(" SLOW=1500"));
        assert!(
            word.is_some_and(|word| word.parse::<u8>().is_ok()),
            "{prompt:?}"
        );
    }
}

/// With many tasks in the queue, and at any moment.
#[needs(codex)]
#[test]
fn the_daemon_is_killed_again_and_again() {
    let names = ["one", "two"];
    let desk = Desk::new(&names);
    let (world, model) = (&desk.world, &desk.model);
    let panes = names.map(|name| desk.session(name));
    let sent: Vec<(u64, String)> = (0..10)
        .map(|number| {
            let prompt = format!("of many, number {number} SLOW=200");
            (desk.prompt(&prompt), prompt)
        })
        .collect();
    // Constants make the moments differ from round to round but not from run to run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let daemon = world.daemon();
        // This does not wait for anything: the moment of the crash is the test's input.
        thread::sleep(Duration::from_millis(state % 2_000));
        daemon.kill();
    }
    let _daemon = world.daemon();
    for (id, prompt) in &sent {
        // A text that is left in a composer blocks all others until a person deletes it.
        let task = world.patiently(|| {
            let task = world.show(*id);
            for (name, pane) in names.iter().zip(&panes) {
                let session = world.session_entry(name).expect("a session");
                if session["status"] == "attended" && session["current_task"].is_null() {
                    pane.keys(&["C-u"]);
                }
            }
            if is_settled(&task) {
                Ok(task)
            } else {
                Err(format!("task {id} goes on: {task:#}"))
            }
        });
        let turns = model.turns_of(prompt);
        match task["status"].as_str() {
            Some("completed") => {
                assert_eq!(turns.len(), 1, "{turns:#?}\n{task:#}");
                answered(world, *id, prompt);
            }
            Some("uncertain") => assert!(turns.len() <= 1, "{turns:#?}\n{task:#}"),
            _ => panic!("{task:#}"),
        }
    }
}
