//! Prompts for a real opencode, which asks a model on loopback. It has no hooks that we install and a
//! title that says nothing: its database holds the turns.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::agents::{patiently, session_becomes, session_running, task_becomes};
use crate::harness::{Pane, Shell, World, assert_calm, policies_target, stays, text};
use crate::language_model::{Model, answer, answered};
use crate::real_agents::{Agent, own_steps};
use crate::sample_prompts::{
    IMAGE, awkward, ordinary, ordinary_prompts_are_answered, some, was_asked,
};
use assigner_needs::needs;

/// A world with a model, and a home for opencode.
///
/// The world comes first: its sessions end before the model does.
struct Desk {
    world: World,
    model: Model,
    program: String,
}

impl Desk {
    fn new() -> Self {
        let tools = policies_target().with_file_name("tools");
        let program = tools.join("opencode/node_modules/.bin/opencode");
        let (world, model) = (World::new(), Model::start());
        let config = world.mkdir("opencode/.config/opencode");
        let settings = json!({
            "autoupdate": false, "share": "disabled", "model": "mock/mock",
            // A title would be a further request with the same prompt.
            "agent": {"title": {"disable": true}},
            "permission": {"bash": "ask"},
            "provider": {"mock": {
                "npm": "@ai-sdk/openai-compatible", "name": "Mock",
                "options": {"baseURL": model.base_url(), "apiKey": "x"},
                "models": {"mock": {"name": "Mock", "limit": {"context": 100_000, "output": 8_000}}},
            }},
        });
        fs::write(format!("{config}/opencode.json"), settings.to_string()).expect("a file");
        Self {
            world,
            model,
            program: text(&program),
        }
    }

    fn variables(&self) -> [String; 9] {
        let home = text(&self.world.path("opencode"));
        [
            format!("HOME={home}"),
            format!("XDG_CONFIG_HOME={home}/.config"),
            format!("XDG_DATA_HOME={home}/.local/share"),
            format!("XDG_STATE_HOME={home}/.local/state"),
            format!("XDG_CACHE_HOME={home}/.cache"),
            "OPENCODE_DISABLE_AUTOUPDATE=1".to_owned(),
            "OPENCODE_DISABLE_MODELS_FETCH=1".to_owned(),
            "OPENCODE_DISABLE_LSP_DOWNLOAD=1".to_owned(),
            "OPENCODE_DISABLE_DEFAULT_PLUGINS=1".to_owned(),
        ]
    }

    /// Starts it in a session and a directory of the same name, and waits for its composer.
    fn session(&self, name: &str) -> Pane<'_> {
        let dir = self.world.mkdir(&format!("work/{name}"));
        let variables = self.variables();
        let variables: Vec<&str> = variables.iter().map(String::as_str).collect();
        let words = [&["env"], &variables[..], &[&self.program]].concat();
        let pane = session_running(&self.world, name, &words, &dir);
        // Its first start makes its database.
        patiently(|| {
            let screen = pane.screen();
            match screen.contains("Ask anything") {
                true => Ok(()),
                false => Err(format!("no composer:\n{screen}")),
            }
        });
        pane
    }

    /// The agent in the session `one`.
    fn agent<'d>(&'d self, pane: &'d Pane<'d>) -> Agent<'d> {
        Agent {
            world: &self.world,
            model: &self.model,
            pane,
            provider: "opencode",
            name: "one",
        }
    }

    fn prompt(&self, text: &str) -> u64 {
        self.world.send(&["--provider", "opencode", "--", text])
    }

    fn idle(&self, names: &[&str]) {
        for name in names {
            let session = session_becomes(&self.world, name, "idle");
            assert_eq!(session["provider"], "opencode", "{session}");
        }
    }
}

#[needs(opencode)]
#[test]
fn prompts_reach_it_as_prompts() {
    let desk = Desk::new();
    let (world, model) = (&desk.world, &desk.model);
    // A single one, since one that only waits takes a third of a processor.
    desk.session("api");
    let image = world.path("work/api/x.png");
    fs::write(&image, IMAGE).expect("an image");
    let daemon = world.daemon();
    desk.idle(&["api"]);
    let plain = some(ordinary());
    let answered =
        ordinary_prompts_are_answered(world, model, plain, &["--provider", "opencode"], false);
    let odd = some(awkward(&text(&image)));
    let sent: Vec<u64> = odd.iter().map(|prompt| desk.prompt(prompt)).collect();
    for (id, prompt) in sent.iter().zip(&odd) {
        task_becomes(world, *id, "completed");
        was_asked(world, *id, prompt);
    }
    let all = answered.len() + odd.len();
    assert_eq!(model.turns().len(), all, "{:#?}", model.prompts());
    assert!(!world.path("work/api/broken").exists());
    assert_calm(&daemon.log());
}

/// A single agent for all of it.
#[needs(opencode)]
#[test]
fn opencode_is_left_alone_asks_a_person_and_is_refused() {
    let desk = Desk::new();
    let pane = desk.session("one");
    desk.agent(&pane).is_left_alone();
    let _daemon = desk.world.daemon();
    desk.idle(&["one"]);
    a_permission_is_a_persons(&desk);
    what_its_model_refuses_fails(&desk);
}

/// A refusal of the model fails the task with its words, and the session goes on.
#[track_caller]
fn what_its_model_refuses_fails(desk: &Desk) {
    let world = &desk.world;
    for (prompt, says) in [
        ("ERROR it is", "a bad request, says the model"),
        ("DENY the key", "the key is invalid, says the model"),
    ] {
        let refused = desk.prompt(prompt);
        let task = task_becomes(world, refused, "failed");
        let error = task["error"].as_str().unwrap_or_default();
        assert!(error.contains(says), "{task:#}");
    }
    let next = desk.prompt("and another");
    answered(world, next, "and another");
    // It tries again by itself, once the limit ends: until then it works, and is not given more.
    let limited = desk.prompt("LIMIT it");
    desk.model.asked("LIMIT it");
    task_becomes(world, limited, "in_progress");
    session_becomes(world, "one", "busy");
    let waits = desk.prompt("and a last one");
    stays(|| world.show(waits)["status"].clone());
    assert_eq!(world.show(waits)["status"], "pending");
    assert_eq!(world.show(limited)["status"], "in_progress");
    desk.model.once("LIMIT it");
}

#[track_caller]
fn a_permission_is_a_persons(desk: &Desk) {
    let (world, model) = (&desk.world, &desk.model);
    let before = model.turns().len();
    let asks = desk.prompt("ASK before you do it");
    task_becomes(world, asks, "waiting_input");
    // The dialog is drawn in several steps.
    world.patiently(|| {
        let said = [world.reason(asks), world.show(asks)["asks"].to_string()];
        match said.iter().all(|said| said.contains("touch asked")) {
            true => Ok(()),
            false => Err(format!("{said:?}")),
        }
    });
    assert!(!world.path("work/one/asked").exists());
    session_becomes(world, "one", "waiting_input");
    let next = desk.prompt("the next one");
    stays(|| world.show(next)["status"].clone());
    assert_eq!(world.show(next)["status"], "pending");
    let asks_id = asks.to_string();
    world
        .assigner(&["reply", &asks_id, "--key", "Enter"])
        .succeeded();
    answered(world, asks, "ASK before you do it");
    assert!(world.path("work/one/asked").exists());
    assert_eq!(world.show(asks)["response"], "whole");
    answered(world, next, "the next one");
    assert_eq!(model.turns().len(), before + 2, "{:#?}", model.prompts());
}

#[needs(opencode)]
#[test]
fn the_daemon_of_opencode_is_killed_at_each_step() {
    let desk = Desk::new();
    let pane = desk.session("one");
    desk.agent(&pane).survives_its_daemons(own_steps());
}

#[needs(opencode)]
#[test]
fn headless_with_a_conversation() {
    let desk = Desk::new();
    let (world, model) = (&desk.world, &desk.model);
    let dir = world.mkdir("work/plain");
    let pane = world.session_in("plain", Shell::Bash, &dir);
    let bin = Path::new(&desk.program).parent().expect("a directory");
    let set = desk
        .variables()
        .map(|pair| format!("export '{pair}'; "))
        .concat();
    pane.line(&format!("{set}PATH='{}':$PATH", text(bin)));
    let _daemon = world.daemon();
    session_becomes(world, "plain", "idle");
    let options = ["--headless", "--provider", "opencode"];
    let send = |further: &[&str], prompt: &str| {
        world.send(&[&options[..], further, &["--", prompt]].concat())
    };
    let first = send(&[], "the first, of\ntwo lines with $(touch never)");
    task_becomes(world, first, "completed");
    let said = String::from_utf8(world.output(first)).expect("text");
    assert_eq!(
        said.trim_end(),
        answer("the first, of\ntwo lines with $(touch never)").trim_end()
    );
    let first = first.to_string();
    let second = send(&["--after", &first], "the second");
    let task = task_becomes(world, second, "completed");
    let conversation = |task: &Value| task["attempts"][0]["turn"]["conversation"].clone();
    assert!(conversation(&task).is_string(), "{task:#}");
    let before = world.show(first.parse().expect("a number"));
    assert_eq!(conversation(&task), conversation(&before), "{task:#}");
    assert_eq!(model.turns().len(), 2, "{:#?}", model.prompts());
    let refused = send(&[], "ERROR");
    let task = task_becomes(world, refused, "failed");
    assert!(
        task["error"].to_string().contains("says the model"),
        "{task:#}"
    );
}
