//! The ledger beside a model of it: random commands, after each of which the states, the histories and
//! what the commands say agree.
//!
//! `ASSIGNER_LEDGER_STEPS` sets the number of commands, and `ASSIGNER_LEDGER_SEED` which ones they are.

mod commands;
mod events;
mod model;

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;

use crate::harness::{Daemon, Output, Shell, World, assert_calm, is_settled, within};
use commands::{Command, Maker};
use model::{Model, ModelTask};

/// Which commands there are unless another seed is set: a run that fails is to fail again.
const SEED: u64 = 1;

fn variable<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// Says which run has failed.
struct Seeded(u64);

impl Seeded {
    /// Returns the random numbers of this run.
    fn new() -> (Self, Rng) {
        let seed = variable("ASSIGNER_LEDGER_SEED").unwrap_or(SEED);
        (Self(seed), Rng::with_seed(seed))
    }
}

impl Drop for Seeded {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("ASSIGNER_LEDGER_SEED={} repeats it", self.0);
        }
    }
}

fn run(world: &World, command: &Command) -> Output {
    let (words, input) = command.words();
    let words: Vec<&str> = ["--json"]
        .into_iter()
        .chain(words.iter().map(String::as_str))
        .collect();
    let output = world.assigner_with_input(&words, input.as_bytes());
    assert_calm(&output.stderr);
    output
}

/// Returns the events of a task's history, oldest first.
fn history(world: &World, id: u64) -> Vec<String> {
    let rows = world.json(&["history", &id.to_string()]);
    let rows = rows.as_array().expect("an array").iter();
    let events = rows.map(|row| row["action"].as_str().expect("an event").to_owned());
    events.collect()
}

/// Returns all tasks, by their numbers.
fn listed(world: &World) -> BTreeMap<u64, Value> {
    let tasks = world.json(&["list", "--limit", "0"]);
    let tasks = tasks.as_array().expect("an array").iter().cloned();
    let tasks = tasks.map(|task| (task["id"].as_u64().expect("a number"), task));
    tasks.collect()
}

/// Asserts that a list of tasks is what the model holds.
fn agrees(listed: &BTreeMap<u64, Value>, model: &Model) {
    assert!(
        listed.keys().eq(model.tasks.keys()),
        "{:?}\n{:?}",
        listed.keys(),
        model.tasks.keys()
    );
    for (task, expected) in listed.values().zip(model.tasks.values()) {
        assert_eq!(task["status"], expected.status, "{task}\n{expected:?}");
        assert_eq!(task["content"], expected.content.as_str(), "{task}");
        assert_eq!(task["priority"], expected.priority, "{task}");
        let target = expected.target.map_or(Value::Null, Value::from);
        assert_eq!(task["target_session"], target, "{task}");
    }
}

/// Asserts what `show` and `history` say of a task.
fn is_told(world: &World, id: u64, task: &ModelTask) {
    assert_eq!(history(world, id), task.events, "task {id}: {task:?}");
    let shown = world.show(id);
    let parents = shown["after"].as_array().expect("an array").iter();
    let parents = parents.map(|parent| {
        let number = parent["id"].as_u64().expect("a number");
        (number, parent["if_fails"] == "fail")
    });
    assert_eq!(parents.collect::<BTreeMap<_, _>>(), task.parents, "{shown}");
    assert_eq!(shown["status"], task.status, "{shown}");
}

#[test]
fn random_commands_do_what_a_model_says() {
    let (_seeded, mut rng) = Seeded::new();
    let steps = variable("ASSIGNER_LEDGER_STEPS").unwrap_or(60);
    let world = World::new();
    let mut model = Model::default();
    for step in 0..steps {
        let last = model.next() - 1;
        let command = Maker {
            rng: &mut rng,
            last,
        }
        .command();
        let expected = model.apply(&command);
        let output = run(&world, &command);
        let context = format!("step {step}, {command:?}: {output:?}\n{expected:?}");
        assert_eq!(output.code, Some(expected.code), "{context}");
        match &expected.answer {
            Some(answer) => assert_eq!(&output.json(), answer, "{context}"),
            None => assert!(output.stdout.is_empty(), "{context}"),
        }
        println!("step {step}: {command:?}");
        agrees(&listed(&world), &model);
        let status = world.json(&["status"]);
        assert_eq!(status["paused"], model.pauses());
        for (name, count) in status["tasks"].as_object().expect("an object") {
            assert_eq!(*count, model.count(name), "{name}: {status}");
        }
        for id in expected.touched {
            match model.tasks.get(&id) {
                Some(task) => is_told(&world, id, task),
                None => assert_eq!(history(&world, id), model.cleared[&id], "task {id}"),
            }
        }
    }
    for (&id, task) in &model.tasks {
        is_told(&world, id, task);
    }
    for (&id, events) in &model.cleared {
        assert_eq!(history(&world, id), *events, "task {id}");
        world.assigner(&["show", &id.to_string()]).refused(1);
    }
}

/// Command lines that end in different ways.
const LINES: [&str; 5] = ["true", "false", "(exit 3)", "sleep 0.2", "sleep 60"];

/// Returns a command about tasks that run, as words.
fn about_running(rng: &mut Rng, last: u64) -> Vec<String> {
    let id = rng.u64(last.saturating_sub(5).max(1)..=last.max(1));
    let text = match rng.u8(0..16) {
        0..7 => {
            let (line, retries) = (LINES[rng.usize(0..LINES.len())], rng.u8(0..2));
            let options = match rng.u8(0..3) {
                0 if last > 0 => format!("--after {id}"),
                _ => format!("--priority {}", rng.i32(-2..3)),
            };
            return format!("send --shell --retries {retries} {options} --")
                .split(' ')
                .map(str::to_owned)
                .chain([format!("echo {} >> log; {line}", last + 1)])
                .collect();
        }
        7..9 => format!("cancel {id}"),
        9 => format!("retry {id} --release"),
        10 => format!("reassign {id}"),
        11 => format!("reassign {id} --to {}", ["one", "two"][rng.usize(0..2)]),
        12 => format!("edit {id} --priority {}", rng.i32(-2..3)),
        13 => "pause one".to_owned(),
        14 => "resume one".to_owned(),
        _ => "clear".to_owned(),
    };
    text.split(' ').map(str::to_owned).collect()
}

/// Folds a history into the state that it leads to.
fn folded(id: u64, events: &[String]) -> &'static str {
    events.iter().fold("", |state, event| {
        events::after(state, event)
            .unwrap_or_else(|| panic!("task {id}: {event} in state `{state}`: {events:?}"))
    })
}

/// Asserts that the history of each task leads to the state that is told, and through no other states
/// than those that can follow each other.
fn histories_lead_to_states(world: &World, last: u64) {
    for id in 1..=last {
        within(Duration::from_secs(20), || {
            // A state that changes while it is looked at is looked at again.
            let before = history(world, id);
            let shown = world.assigner(&["--json", "show", &id.to_string()]);
            if history(world, id) != before {
                return Err(format!("task {id} keeps changing: {before:?}"));
            }
            let state = folded(id, &before);
            match shown.code {
                Some(0) => assert_eq!(shown.json()["status"], state, "{before:?}"),
                _ => assert_eq!(state, "cleared", "{shown:?}"),
            }
            Ok(())
        });
    }
}

/// Lets all tasks end, and cancels those that would take long.
fn let_all_end(world: &World) {
    world.assigner(&["resume", "one"]).succeeded();
    within(Duration::from_secs(120), || {
        let open = listed(world).into_values().filter(|task| !is_settled(task));
        let open: Vec<Value> = open.collect();
        for task in &open {
            let is_long = task["content"]
                .as_str()
                .is_some_and(|line| line.contains("sleep 60"));
            if is_long || task["target_session"] != Value::Null {
                world.assigner(&["cancel", &task["id"].to_string()]);
            }
        }
        if open.is_empty() {
            Ok(())
        } else {
            Err(format!("{open:#?}"))
        }
    });
}

#[test]
fn each_state_of_a_task_that_runs_follows_from_its_history() {
    let (_seeded, mut rng) = Seeded::new();
    let steps = variable("ASSIGNER_LEDGER_STEPS").unwrap_or(60);
    let world = World::new();
    world.session("one", Shell::Bash);
    world.session("two", Shell::Zsh);
    let mut daemon: Option<Daemon> = None;
    let mut last = 0;
    for step in 0..steps {
        if step % 20 == 0 {
            // It dies as in a crash, and another one picks up what there is.
            if let Some(running) = daemon.take() {
                running.kill();
            }
            daemon = Some(world.daemon());
        }
        let words = about_running(&mut rng, last);
        println!("step {step}: {words:?}");
        let words: Vec<&str> = ["--json"]
            .into_iter()
            .chain(words.iter().map(String::as_str))
            .collect();
        let output = world.assigner(&words);
        assert_calm(&output.stderr);
        // One that is to follow a task that was cleared is refused.
        if words[1] == "send" && output.code == Some(0) {
            last = output.json()["id"].as_u64().expect("a number");
        }
        if step % 10 == 9 {
            histories_lead_to_states(&world, last);
        }
    }
    let_all_end(&world);
    drop(daemon);
    histories_lead_to_states(&world, last);
    let runs = world.lines("log");
    for id in 1..=last {
        let events = history(&world, id);
        let ran = runs.iter().filter(|line| **line == id.to_string()).count();
        let claims = events.iter().filter(|event| *event == "claimed").count();
        let refusals = events
            .iter()
            .filter(|event| ["refused", "withdrawn"].contains(&event.as_str()))
            .count();
        // What was given to no session ran in none, and what was completed ran.
        assert!(
            ran <= claims - refusals,
            "task {id} ran {ran} times: {events:?}"
        );
        assert!(
            ran > 0 || !events.iter().any(|event| event == "completed"),
            "{id}: {events:?}"
        );
    }
}
