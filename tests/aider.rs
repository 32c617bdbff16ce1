//! Prompts for a real Aider, which asks a model on loopback. It sets no title and shows little of
//! what it does, but its history file contains the turns.

use std::fs;

use crate::harness::agents::{agent, patiently, session_becomes, session_running, task_becomes};
use crate::harness::{Pane, Shell, World, assert_calm, stays, text};
use crate::language_model::{Model, answer};
use crate::real_agents::{Agent, own_steps};
use crate::sample_prompts::{
    IMAGE, awkward, ordinary, ordinary_prompts_are_answered, some, was_asked,
};
use assigner_needs::needs;

/// Gives the model a name that Aider knows; it changes nothing in a prompt, and edits no files.
const SETTINGS: &str = "
- name: openai/mock
  edit_format: diff
  reminder: sys
  use_repo_map: false
";

/// Without this, Aider looks for the model on the internet.
const METADATA: &str = r#"{"openai/mock": {
    "litellm_provider": "openai", "mode": "chat",
    "max_input_tokens": 1000000, "max_output_tokens": 100000
}}"#;

/// A world with a model. The world comes first, so that its sessions end before the model does.
struct Desk {
    world: World,
    model: Model,
    program: String,
}

impl Desk {
    /// Returns `None` if the tests run without Aider.
    fn new() -> Self {
        let program = text(&agent("aider", "aider/bin"));
        Self {
            world: World::new(),
            model: Model::start(),
            program,
        }
    }

    /// Starts Aider in a session and a directory of its own, and waits for its prompt.
    fn session(&self, name: &str) -> Pane<'_> {
        let dir = self.world.mkdir(&format!("work/{name}"));
        fs::write(format!("{dir}/settings.yml"), SETTINGS).expect("a file");
        fs::write(format!("{dir}/metadata.json"), METADATA).expect("a file");
        let base = format!("OPENAI_API_BASE={}", self.model.base_url());
        let command = [
            "env",
            &base,
            "OPENAI_API_KEY=x",
            "AIDER_ANALYTICS=false",
            "AIDER_CHECK_UPDATE=false",
            "LITELLM_LOCAL_MODEL_COST_MAP=True",
            &self.program,
            "--model",
            "openai/mock",
            "--model-settings-file",
            "settings.yml",
            "--model-metadata-file",
            "metadata.json",
            "--yes-always",
            "--no-git",
            "--no-show-model-warnings",
            "--no-show-release-notes",
            "--no-suggest-shell-commands",
            "--no-detect-urls",
        ];
        let pane = session_running(&self.world, name, &command, &dir);
        patiently(|| {
            let screen = pane.screen();
            match screen.trim_end().lines().last() {
                Some(last) if last.trim_end() == ">" => Ok(()),
                _ => Err(format!("no prompt of aider:\n{screen}")),
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
            provider: "aider",
            name: "one",
        }
    }

    /// Queues a prompt for Aider, and returns the task's number.
    fn prompt(&self, text: &str) -> u64 {
        self.world.send(&["--provider", "aider", "--", text])
    }

    /// Waits until a session is idle.
    fn idle(&self, name: &str) {
        let session = session_becomes(&self.world, name, "idle");
        assert_eq!(session["provider"], "aider", "{session}");
    }

    /// Asserts that a task completed with the model's answer, without the whitespace at its start
    /// and end, which Aider's history does not keep.
    #[track_caller]
    fn answered(&self, id: u64, prompt: &str) {
        let task = task_becomes(&self.world, id, "completed");
        let output = String::from_utf8(self.world.output(id)).expect("text");
        let expected = answer(prompt);
        assert_eq!(output.trim(), expected.trim(), "{task:#}");
    }
}

#[needs(aider)]
#[test]
fn three_prompts_through_one_session() {
    let desk = Desk::new();
    let (world, model) = (&desk.world, &desk.model);
    desk.session("one");
    let daemon = world.daemon();
    desk.idle("one");
    let prompts = [
        "the first, of\ntwo lines with `code`, $(touch never) and \"quotes\"",
        "a FILE, please",
        "the third, SLOW=500\n\n* a list\n* and more é 🦀",
    ];
    let ids = prompts.map(|prompt| desk.prompt(prompt));
    for (id, prompt) in ids.into_iter().zip(prompts) {
        desk.answered(id, prompt);
        let turn = model.once(prompt);
        assert_eq!(turn.prompt.trim(), prompt);
        let task = world.show(id);
        assert_eq!(
            task["attempts"].as_array().map(Vec::len),
            Some(1),
            "{task:#}"
        );
    }
    assert_eq!(model.turns().len(), prompts.len(), "{:#?}", model.prompts());
    assert!(!world.path("work/one/never").exists());
    assert_calm(&daemon.log());
}

/// A text that begins like one of Aider's commands is still a prompt.
#[needs(aider)]
#[test]
fn commands_of_aider_are_none() {
    let desk = Desk::new();
    let (world, model) = (&desk.world, &desk.model);
    desk.session("one");
    let _daemon = world.daemon();
    desk.idle("one");
    for prompt in ["/exit is what I said", "!touch never"] {
        let id = desk.prompt(prompt);
        desk.answered(id, prompt);
        model.once(prompt);
    }
    assert!(!world.path("work/one/never").exists());
}

#[needs(aider)]
#[test]
fn prompts_reach_aider_as_prompts() {
    let desk = Desk::new();
    let (world, model) = (&desk.world, &desk.model);
    desk.session("one");
    let image = world.path("work/one/x.png");
    fs::write(&image, IMAGE).expect("an image");
    let daemon = world.daemon();
    desk.idle("one");
    let answered =
        ordinary_prompts_are_answered(world, model, ordinary(), &["--provider", "aider"], true);
    let prompts = some(awkward(&text(&image)));
    let sent: Vec<u64> = prompts.iter().map(|prompt| desk.prompt(prompt)).collect();
    for (id, prompt) in sent.iter().zip(&prompts) {
        let task = task_becomes(world, *id, "completed");
        let tries = task["attempts"].as_array().map(Vec::len);
        assert_eq!(tries, Some(1), "{prompt:?}: {task:#}");
        assert_eq!(task["response"], "whole", "{task:#}");
        was_asked(world, *id, prompt);
    }
    let all = answered.len() + sent.len();
    assert_eq!(model.turns().len(), all, "{:#?}", model.prompts());
    assert!(!world.path("work/one/broken").exists());
    assert_calm(&daemon.log());
}

#[needs(aider)]
#[test]
fn one_that_works_is_not_given_more() {
    let desk = Desk::new();
    let (world, model) = (&desk.world, &desk.model);
    let pane = desk.session("one");
    let _daemon = world.daemon();
    desk.idle("one");
    let first = desk.prompt("HOLD this for a while");
    model.asked("HOLD this for a while");
    task_becomes(world, first, "in_progress");
    session_becomes(world, "one", "busy");
    let second = desk.prompt("the one after it");
    let reason = world.reason(second);
    assert!(!reason.is_empty());
    // Aider shows that it is waiting; what it does not show is the second prompt.
    stays(|| {
        let task = world.show(second);
        assert_eq!(task["status"], "pending", "{task:#}");
        assert_eq!(task["attempts"].as_array().map(Vec::len), Some(0));
        assert!(!pane.screen().contains("the one after it"));
        model.turns().len()
    });
    assert_eq!(world.show(first)["status"], "in_progress");
    model.release();
    desk.answered(first, "HOLD this for a while");
    desk.answered(second, "the one after it");
    assert_eq!(model.turns().len(), 2, "{:#?}", model.prompts());
}

#[needs(aider)]
#[test]
fn the_daemon_of_aider_is_killed_at_each_step() {
    let desk = Desk::new();
    let pane = desk.session("one");
    desk.agent(&pane).survives_its_daemons(own_steps());
}

/// A limit that Aider overcomes by retrying does not concern us.
#[needs(aider)]
#[test]
fn a_limit_that_aider_sits_out() {
    let desk = Desk::new();
    let (world, model) = (&desk.world, &desk.model);
    desk.session("one");
    let _daemon = world.daemon();
    desk.idle("one");
    let id = desk.prompt("LIMIT-ONCE and no more");
    desk.answered(id, "LIMIT-ONCE and no more");
    assert_eq!(model.once("LIMIT-ONCE and no more").requests, 2);
    let status = world.json(&["status"]);
    assert!(!status["paused"].to_string().contains("aider"), "{status}");
}

/// Aider retries for a minute before it gives up.
#[needs(aider)]
#[test]
fn a_rate_limit_pauses_the_provider() {
    let desk = Desk::new();
    let (world, model) = (&desk.world, &desk.model);
    desk.session("one");
    world.session("shell", Shell::Bash);
    let _daemon = world.daemon();
    desk.idle("one");
    let id = desk.prompt("LIMIT for long");
    model.asked("LIMIT for long");
    world.patiently(|| {
        let status = world.json(&["status"]);
        if status["paused"]["providers"].to_string().contains("aider") {
            Ok(())
        } else {
            Err(format!(
                "aider is not paused: {status:#}\n{:#}",
                world.show(id)
            ))
        }
    });
    task_becomes(world, id, "pending");
    // Aider has given up: the two programs must not retry the same prompt.
    let requests = model.once("LIMIT for long").requests;
    stays(|| model.once("LIMIT for long").requests);
    assert!(requests > 1);
    assert_eq!(world.run("echo goes on"), "goes on\n");

    model.forgive();
    world
        .assigner(&["resume", "--provider", "aider"])
        .succeeded();
    desk.answered(id, "LIMIT for long");
    assert_eq!(model.turns_of("LIMIT for long").len(), 2);
}
