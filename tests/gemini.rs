//! Prompts for a real Gemini CLI, which asks a model on loopback. Its record has its answers and does not
//! tell the end of a turn: its hooks do, or its title and its screen.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::agents::{
    patiently, session_becomes, session_running, task_becomes, task_ends,
};
use crate::harness::{Pane, Shell, World, assert_calm, eventually, policies_target, stays, text};
use crate::language_model::{Model, Turn, answered};
use crate::real_agents::{Agent, own_steps};
use crate::sample_prompts::{IMAGE, awkward, ordinary, ordinary_prompts_are_answered, some};
use assigner_needs::needs;

/// A world with a model, and a home in which Gemini CLI knows its key.
///
/// The world comes first, so that its sessions end before the model does.
struct Desk {
    world: World,
    model: Model,
    program: String,
}

impl Desk {
    fn new() -> Self {
        let tools = policies_target().with_file_name("tools");
        let program = tools.join("gemini/node_modules/.bin/gemini");
        let (world, model) = (World::new(), Model::start());
        let home = world.mkdir("gemini/.gemini");
        let settings = json!({
            // With a model of its own choice, it would ask first which one fits the prompt.
            // The model's answers repeat the prompt, which repeats itself.
            "model": {"name": "gemini-2.5-pro", "disableLoopDetection": true},
            "security": {
                "auth": {"selectedType": "gemini-api-key"},
                "folderTrust": {"enabled": false},
            },
            "general": {"enableAutoUpdate": false, "enableAutoUpdateNotification": false},
            "privacy": {"usageStatisticsEnabled": false},
        });
        fs::write(format!("{home}/settings.json"), settings.to_string()).expect("a file");
        Self {
            world,
            model,
            program: text(&program),
        }
    }

    fn variables(&self) -> [String; 4] {
        [
            format!("HOME={}", text(&self.world.path("gemini"))),
            format!("GOOGLE_GEMINI_BASE_URL={}", self.model.root_url()),
            "GEMINI_API_KEY=x".to_owned(),
            "GEMINI_TELEMETRY_ENABLED=false".to_owned(),
        ]
    }

    /// Starts it in a session and a directory of the same name, and waits for its composer.
    fn session(&self, name: &str) -> Pane<'_> {
        let dir = self.world.mkdir(&format!("work/{name}"));
        let variables = self.variables();
        let variables: Vec<&str> = variables.iter().map(String::as_str).collect();
        let words = [&["env"], &variables[..], &[&self.program]].concat();
        let pane = session_running(&self.world, name, &words, &dir);
        patiently(|| {
            let screen = pane.screen();
            match screen.contains("Type your message") {
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
            provider: "gemini",
            name: "one",
        }
    }

    fn prompt(&self, text: &str) -> u64 {
        self.world.send(&["--provider", "gemini", "--", text])
    }

    fn idle(&self, names: &[&str]) {
        for name in names {
            let session = session_becomes(&self.world, name, "idle");
            assert_eq!(session["provider"], "gemini", "{session}");
        }
    }
}

impl Drop for Desk {
    /// Ends its processes, which would outlive their terminals.
    fn drop(&mut self) {
        let work = self.world.path("work");
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let link = |name| fs::read_link(entry.path().join(name)).unwrap_or_default();
            let name = entry.file_name();
            let pid = name.to_str().and_then(|name| name.parse().ok());
            if let Some(pid) = pid.and_then(Pid::from_raw)
                && link("cwd").starts_with(&work)
                && link("exe").ends_with("node")
            {
                // It may have ended meanwhile.
                let _ = kill_process(pid, Signal::TERM);
            }
        }
    }
}

/// Asserts that these turns are one of each prompt with one request, with words around it if the
/// composer needs them, and nothing else.
#[track_caller]
fn were_asked(turns: &[Turn], prompts: &[String]) {
    let plain = |text: &str| -> String {
        let words: String = text.split_whitespace().collect();
        words.replace('\u{200b}', "")
    };
    for prompt in prompts {
        let wanted = plain(prompt);
        let is_it = |turn: &&Turn| {
            let asked = plain(&turn.prompt);
            let asked = asked.strip_prefix("Request:").unwrap_or(&asked);
            asked.strip_suffix("(file)").unwrap_or(asked) == wanted
        };
        let found: Vec<&Turn> = turns.iter().filter(is_it).collect();
        let requests: usize = found.iter().map(|turn| turn.requests).sum();
        assert_eq!((found.len(), requests), (1, 1), "{prompt:?}: {turns:#?}");
    }
    assert_eq!(turns.len(), prompts.len(), "{turns:#?}");
}

/// With its hooks, which tell the ends of its turns.
#[needs(gemini)]
#[test]
fn prompts_reach_it_as_prompts() {
    let names = ["api", "web"];
    let desk = Desk::new();
    let (world, model) = (&desk.world, &desk.model);
    let settings = text(&world.path("gemini/.gemini/settings.json"));
    world
        .assigner(&["hooks", "install", "gemini", "--yes", "--file", &settings])
        .succeeded();
    for name in names {
        desk.session(name);
    }
    // Not `x.png`: it takes `@x` for a file whose name contains an x.
    let image = world.path("work/api/q.png");
    fs::write(&image, IMAGE).expect("an image");
    let daemon = world.daemon();
    desk.idle(&names);
    let plain = some(ordinary());
    let answered =
        ordinary_prompts_are_answered(world, model, plain, &["--provider", "gemini"], false);
    let prompts = some(awkward(&text(&image)));
    let sent: Vec<u64> = prompts.iter().map(|prompt| desk.prompt(prompt)).collect();
    for (id, prompt) in sent.iter().zip(&prompts) {
        let task = task_becomes(world, *id, "completed");
        let tries = task["attempts"].as_array().map(Vec::len);
        assert_eq!(tries, Some(1), "{prompt:?}: {task:#}");
        assert_eq!(task["response"], "whole", "{task:#}");
    }
    were_asked(&model.turns()[answered.len()..], &prompts);
    assert!(!world.path("work/api/broken").exists());
    assert_calm(&daemon.log());
}

/// A single agent for all of it, since its start takes long.
#[needs(gemini)]
#[test]
fn gemini_is_left_alone_asks_a_person_and_is_refused() {
    let desk = Desk::new();
    let pane = desk.session("one");
    desk.agent(&pane).is_left_alone();
    let _daemon = desk.world.daemon();
    desk.idle(&["one"]);
    a_permission_is_a_persons(&desk);
    what_its_model_refuses_fails(&desk);
}

#[track_caller]
fn a_permission_is_a_persons(desk: &Desk) {
    let (world, model) = (&desk.world, &desk.model);
    let before = model.turns().len();
    let asks = desk.prompt("ASK before you do it");
    let task = task_becomes(world, asks, "waiting_input");
    assert!(world.reason(asks).contains("touch asked"), "{task:#}");
    assert!(text_of(&task["asks"]).contains("touch asked"), "{task:#}");
    let next = desk.prompt("the next one");
    // Gemini may still draw its dialog: what is no longer the question is not answered.
    eventually(|| {
        let reply = world.assigner(&["reply", "--wait", &asks.to_string(), "1"]);
        match reply.code {
            Some(0) => Ok(()),
            _ => Err(reply.stderr),
        }
    });
    task_becomes(world, asks, "completed");
    assert!(world.path("work/one/asked").exists());
    task_becomes(world, next, "completed");
    assert_eq!(model.turns().len(), before + 2, "{:#?}", model.prompts());
}

#[track_caller]
fn what_its_model_refuses_fails(desk: &Desk) {
    let world = &desk.world;
    for (prompt, says) in [
        ("ERROR of the model", "a bad request, says the model"),
        ("DENY the key", "API key not valid"),
    ] {
        let id = desk.prompt(prompt);
        let task = task_ends(world, id);
        assert_eq!(task["status"], "failed", "{task:#}");
        assert!(text_of(&task["error"]).contains(says), "{task:#}");
    }
    let next = desk.prompt("go on");
    task_becomes(world, next, "completed");
    // It tries again by itself, for minutes: until then it works, and is not given more.
    let limited = desk.prompt("LIMIT it");
    desk.model.asked("LIMIT it");
    task_becomes(world, limited, "in_progress");
    session_becomes(world, "one", "busy");
    let waits = desk.prompt("and a last one");
    stays(|| world.show(waits)["status"].clone());
    assert_eq!(world.show(waits)["status"], "pending");
    assert_eq!(world.show(limited)["status"], "in_progress");
    desk.model.forgive();
    answered(world, limited, "LIMIT it");
    answered(world, waits, "and a last one");
    assert_eq!(desk.model.turns_of("LIMIT it").len(), 1);
}

#[needs(gemini)]
#[test]
fn the_daemon_of_gemini_is_killed_at_each_step() {
    let desk = Desk::new();
    let pane = desk.session("one");
    desk.agent(&pane).survives_its_daemons(own_steps());
}

/// Without a terminal, the response is whole.
#[needs(gemini)]
#[test]
fn gemini_is_asked_without_a_terminal() {
    let desk = Desk::new();
    let (world, model) = (&desk.world, &desk.model);
    let names = ["api", "web"];
    let bin = Path::new(&desk.program).parent().expect("a directory");
    let set = desk.variables();
    let set = set.map(|pair| format!("export '{pair}'; ")).concat();
    for name in names {
        let dir = world.mkdir(&format!("work/{name}"));
        let pane = world.session_in(name, Shell::Bash, &dir);
        pane.line(&format!("{set}PATH='{}':$PATH", text(bin)));
    }
    let _daemon = world.daemon();
    let ask = |options: &[&str], prompt: &str| {
        let headless = ["--headless", "--provider", "gemini"];
        world.send(&[&headless, options, &["--", prompt]].concat())
    };
    let prompts = [
        "the first, of\ntwo lines with $(touch broken)",
        "a FILE, please",
        "/clear x",
    ];
    let sent = prompts.map(|prompt| ask(&[], prompt));
    for (id, prompt) in sent.into_iter().zip(prompts) {
        let prompt = &match prompt.starts_with('/') {
            true => format!("Request: {prompt}"),
            false => prompt.to_owned(),
        };
        answered(world, id, prompt);
        assert_eq!(world.show(id)["response"], "whole");
        assert_eq!(model.once(prompt).requests, 1);
    }
    let first = ask(&["--target", "web"], "my name is Ada");
    answered(world, first, "my name is Ada");
    let after = first.to_string();
    let next = ask(&["--target", "web", "--after", &after], "and mine is Bob");
    answered(world, next, "and mine is Bob");
    let conversation = |id| world.show(id)["attempts"][0]["turn"]["conversation"].clone();
    assert!(conversation(first).is_string());
    assert_eq!(conversation(first), conversation(next));
    let refused = ask(&[], "ERROR of the model");
    let task = task_ends(world, refused);
    assert_eq!(task["status"], "failed", "{task:#}");
    let error = text_of(&task["error"]);
    assert!(error.contains("a bad request, says the model"), "{task:#}");
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
