//! Prompts for a real Claude Code, in the newest tested version and an earlier one, which asks a
//! model on loopback.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::agents::{
    patiently, session_becomes, session_running, task_becomes, task_ends,
};
use crate::harness::{Pane, Shell, World, assert_calm, is_settled, policies_target, text};
use crate::language_model::{Model, answer, answered};
use crate::real_agents::{Agent, STEPS, own_steps};
use crate::sample_prompts::{
    IMAGE, awkward, ordinary, ordinary_prompts_are_answered, some, was_asked,
};
use assigner_needs::needs;

mod picture;

/// Claude Code asks about the last twenty characters when it starts.
const KEY: &str = "sk-ant-api03-0123456789abcdefghijklmnop";

/// A version, named by the folder in which CI installs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Latest,
    Earlier,
}

/// A world with a model, and a home in which Claude Code trusts its directories.
///
/// The world comes first, so that its sessions end before the model does.
struct Desk {
    world: World,
    model: Model,
    program: String,
}

impl Desk {
    fn new(version: Version, dirs: &[&str]) -> Self {
        let folder = match version {
            Version::Latest => "claude",
            Version::Earlier => "claude-earlier",
        };
        let tools = policies_target().with_file_name("tools");
        let program = tools.join(folder).join("node_modules/.bin/claude");
        let (world, model) = (World::new(), Model::start());
        let projects = dirs.iter().map(|dir| {
            let dir = world.mkdir(&format!("work/{dir}"));
            let trusted = json!({
                "hasTrustDialogAccepted": true,
                "hasCompletedProjectOnboarding": true,
            });
            (dir, trusted)
        });
        let state = json!({
            "hasCompletedOnboarding": true,
            "theme": "dark",
            "customApiKeyResponses": {"approved": [&KEY[KEY.len() - 20..]], "rejected": []},
            "projects": projects.collect::<serde_json::Map<String, Value>>(),
        });
        let home = world.mkdir("claude/.claude");
        let settings = json!({"theme": "dark"});
        fs::write(world.path("claude/.claude.json"), state.to_string()).expect("a file");
        fs::write(format!("{home}/settings.json"), settings.to_string()).expect("a file");
        Self {
            world,
            model,
            program: text(&program),
        }
    }

    /// Returns one of the trusted directories.
    fn dir(&self, name: &str) -> String {
        text(&self.world.path("work").join(name))
    }

    /// Installs the hooks, which take effect at the next start.
    fn installs_hooks(&self) {
        let settings = text(&self.world.path("claude/.claude/settings.json"));
        self.world
            .assigner(&["hooks", "install", "claude", "--yes", "--file", &settings])
            .succeeded();
    }

    /// The variables with which it is started.
    fn variables(&self) -> [String; 8] {
        [
            format!("HOME={}", text(&self.world.path("claude"))),
            format!("ANTHROPIC_BASE_URL={}", self.model.root_url()),
            format!("ANTHROPIC_API_KEY={KEY}"),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1".to_owned(),
            "CLAUDE_CODE_MAX_RETRIES=1".to_owned(),
            "DISABLE_AUTOUPDATER=1".to_owned(),
            "DISABLE_TELEMETRY=1".to_owned(),
            "DISABLE_ERROR_REPORTING=1".to_owned(),
        ]
    }

    /// Starts a shell in which it could be started, in the directory of the same name.
    fn shell(&self, name: &str, shell: Shell) -> Pane<'_> {
        let pane = self.world.session_in(name, shell, &self.dir(name));
        let bin = Path::new(&self.program).parent().expect("a directory");
        let set = |pair: &str| match (shell, pair.split_once('=')) {
            (Shell::Fish, Some((name, value))) => format!("set -gx {name} '{value}'; "),
            _ => format!("export '{pair}'; "),
        };
        let mut line: String = self.variables().iter().map(|pair| set(pair)).collect();
        line.push_str(&match shell {
            Shell::Fish => format!("set -gx PATH '{}' $PATH", text(bin)),
            _ => format!("PATH='{}':$PATH", text(bin)),
        });
        pane.line(&line);
        pane
    }

    /// Starts it in a session and the directory of the same name, and waits for its composer.
    fn session(&self, name: &str) -> Pane<'_> {
        self.session_with(name, &[])
    }

    /// Like [`Self::session`], with options.
    fn session_with(&self, name: &str, options: &[&str]) -> Pane<'_> {
        let variables = self.variables();
        let variables: Vec<&str> = variables.iter().map(String::as_str).collect();
        let words = [&["env"], &variables[..], &[&self.program], options].concat();
        let pane = session_running(&self.world, name, &words, &self.dir(name));
        ready(&pane);
        pane
    }

    /// The agent in the session `one`.
    fn agent<'d>(&'d self, pane: &'d Pane<'d>) -> Agent<'d> {
        Agent {
            world: &self.world,
            model: &self.model,
            pane,
            provider: "claude",
            name: "one",
        }
    }

    /// Queues a prompt for it, and returns the task's number.
    fn prompt(&self, text: &str) -> u64 {
        self.prompt_with(&[], text)
    }

    fn prompt_with(&self, options: &[&str], text: &str) -> u64 {
        let provider = ["--provider", "claude"];
        self.world
            .send(&[&provider, options, &["--", text]].concat())
    }

    /// Waits until the sessions are idle.
    fn idle(&self, names: &[&str]) {
        for name in names {
            let session = session_becomes(&self.world, name, "idle");
            assert_eq!(session["provider"], "claude", "{session}");
        }
    }
}

/// Waits until the composer is there.
#[track_caller]
fn ready(pane: &Pane<'_>) {
    patiently(|| {
        let screen = pane.screen();
        // Together with the non-breaking space, which occurs nowhere else.
        match screen.contains("❯\u{a0}") {
            true => Ok(()),
            false => Err(format!("no composer:\n{screen}")),
        }
    });
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn tries(task: &Value) -> usize {
    task["attempts"].as_array().expect("attempts").len()
}

fn ordinary_prompts_are_answered_whole(version: Version, hooks: bool) {
    let names = ["api", "web"];
    let desk = Desk::new(version, &names);
    let (world, model) = (&desk.world, &desk.model);
    if hooks {
        desk.installs_hooks();
    }
    for name in names {
        desk.session(name);
    }
    let daemon = world.daemon();
    desk.idle(&names);
    // The earlier one reads and writes as the latest does; its record has another order.
    let prompts = match version {
        Version::Latest => ordinary(),
        Version::Earlier => some(ordinary()),
    };
    let answered =
        ordinary_prompts_are_answered(world, model, prompts, &["--provider", "claude"], false);
    for (task, turn) in answered {
        let session = task["session"].as_str().expect("a session");
        assert_eq!(turn.cwd, Some(desk.dir(session)), "{task:#}");
    }
    assert_calm(&daemon.log());
}

#[needs(claude)]
#[test]
fn ordinary_prompts_of_the_latest() {
    ordinary_prompts_are_answered_whole(Version::Latest, false);
}

#[needs(claude)]
#[test]
fn ordinary_prompts_of_the_latest_with_hooks() {
    ordinary_prompts_are_answered_whole(Version::Latest, true);
}

#[needs(claude_earlier)]
#[test]
fn ordinary_prompts_of_an_earlier_one() {
    ordinary_prompts_are_answered_whole(Version::Earlier, false);
}

#[needs(claude_earlier)]
#[test]
fn ordinary_prompts_of_an_earlier_one_with_hooks() {
    ordinary_prompts_are_answered_whole(Version::Earlier, true);
}

fn awkward_prompts_reach_it_as_prompts(version: Version) {
    let desk = Desk::new(version, &["one"]);
    let (world, model) = (&desk.world, &desk.model);
    desk.session("one");
    let image = world.path("work/one/x.png");
    fs::write(&image, IMAGE).expect("an image");
    let daemon = world.daemon();
    desk.idle(&["one"]);
    let prompts = match version {
        Version::Latest => awkward(&text(&image)),
        Version::Earlier => some(awkward(&text(&image))),
    };
    let sent: Vec<u64> = prompts.iter().map(|prompt| desk.prompt(prompt)).collect();
    for (id, prompt) in sent.iter().zip(&prompts) {
        let task = task_becomes(world, *id, "completed");
        assert_eq!(tries(&task), 1, "{prompt:?}: {task:#}");
        was_asked(world, *id, prompt);
    }
    assert_eq!(model.turns().len(), sent.len(), "{:#?}", model.prompts());
    assert!(!Path::new(&desk.dir("one")).join("broken").exists());
    assert_calm(&daemon.log());
}

#[needs(claude)]
#[test]
fn awkward_prompts_of_the_latest() {
    awkward_prompts_reach_it_as_prompts(Version::Latest);
}

#[needs(claude_earlier)]
#[test]
fn awkward_prompts_of_an_earlier_one() {
    awkward_prompts_reach_it_as_prompts(Version::Earlier);
}

fn a_permission_is_a_persons(version: Version) {
    let desk = Desk::new(version, &["one"]);
    let (world, model) = (&desk.world, &desk.model);
    desk.session_with("one", &["--permission-mode", "default"]);
    let _daemon = world.daemon();
    desk.idle(&["one"]);
    let asks = desk.prompt("ASK before you do it");
    let task = task_becomes(world, asks, "waiting_input");
    let reason = world.reason(asks);
    assert!(reason.contains("touch asked"), "{reason}\n{task:#}");
    let next = desk.prompt("the next one");
    world
        .assigner(&["reply", &asks.to_string(), "1"])
        .succeeded();
    answered(world, asks, "ASK before you do it");
    assert!(world.path("work/one/asked").exists());
    answered(world, next, "the next one");
    assert_eq!(model.turns().len(), 2, "{:#?}", model.prompts());
}

#[needs(claude)]
#[test]
fn a_permission_of_the_latest_is_a_persons() {
    a_permission_is_a_persons(Version::Latest);
}

#[needs(claude_earlier)]
#[test]
fn a_permission_of_an_earlier_one_is_a_persons() {
    a_permission_is_a_persons(Version::Earlier);
}

fn what_the_model_refuses_is_told(version: Version) {
    let desk = Desk::new(version, &["one"]);
    let world = &desk.world;
    desk.session("one");
    let _daemon = world.daemon();
    desk.idle(&["one"]);
    for (prompt, says) in [
        ("ERROR of the model", "a bad request, says the model"),
        ("DENY the key", "Invalid API key"),
    ] {
        let id = desk.prompt(prompt);
        let task = task_ends(world, id);
        assert_eq!(task["status"], "failed", "{task:#}");
        let error = task["error"].as_str().unwrap_or_default();
        assert!(error.contains(says), "{task:#}");
    }
    // It then suggests the next prompt, and is idle all the same.
    let next = desk.prompt("go on");
    answered(world, next, "go on");
    let limited = desk.prompt("LIMIT it");
    world.patiently(|| {
        let task = world.show(limited);
        assert!(!is_settled(&task), "{task:#}");
        let reason = text_of(&task["wait_reason"]);
        match task["status"] == "pending" && reason.starts_with("rate limit: ") {
            true => Ok(()),
            false => Err(format!("{task:#}")),
        }
    });
}

#[needs(claude)]
#[test]
fn what_the_latest_is_refused_is_told() {
    what_the_model_refuses_is_told(Version::Latest);
}

#[needs(claude_earlier)]
#[test]
fn what_an_earlier_one_is_refused_is_told() {
    what_the_model_refuses_is_told(Version::Earlier);
}

#[needs(claude)]
#[test]
fn a_daemon_that_is_killed_loses_no_turn() {
    let desk = Desk::new(Version::Latest, &["one"]);
    let (world, model) = (&desk.world, &desk.model);
    desk.installs_hooks();
    desk.session("one");
    let daemon = world.daemon();
    desk.idle(&["one"]);
    let prompt = "HOLD this\nfor\nfour\nlines";
    let id = desk.prompt(prompt);
    model.asked(prompt);
    task_becomes(world, id, "in_progress");
    daemon.kill();
    model.release();
    patiently(|| {
        let done = model.once(prompt).answer;
        done.ok_or_else(|| "not answered".to_owned())
    });
    let _daemon = world.daemon();
    answered(world, id, prompt);
    let task = world.show(id);
    assert_eq!(tries(&task), 1, "{task:#}");
    assert_eq!(
        answer(prompt),
        model.once(prompt).answer.expect("an answer")
    );
}

fn it_is_left_alone(version: Version) {
    let desk = Desk::new(version, &["one"]);
    let pane = desk.session("one");
    desk.agent(&pane).is_left_alone();
}

#[needs(claude)]
#[test]
fn the_latest_is_left_alone() {
    it_is_left_alone(Version::Latest);
}

#[needs(claude_earlier)]
#[test]
fn an_earlier_one_is_left_alone() {
    it_is_left_alone(Version::Earlier);
}

fn the_daemon_is_killed_at_each_step(version: Version) {
    let desk = Desk::new(version, &["one"]);
    let pane = desk.session("one");
    let steps = match version {
        Version::Latest => STEPS,
        Version::Earlier => own_steps(),
    };
    desk.agent(&pane).survives_its_daemons(steps);
}

#[needs(claude)]
#[test]
fn the_daemon_of_the_latest_is_killed_at_each_step() {
    the_daemon_is_killed_at_each_step(Version::Latest);
}

#[needs(claude_earlier)]
#[test]
fn the_daemon_of_an_earlier_one_is_killed_at_each_step() {
    the_daemon_is_killed_at_each_step(Version::Earlier);
}

/// Prompts without a terminal of its own: in shells, each once, with the response from JSON.
fn headless_prompts_are_answered_whole(version: Version, ordinary: impl Iterator<Item = String>) {
    let desk = Desk::new(version, &["api", "web"]);
    let (world, model) = (&desk.world, &desk.model);
    desk.shell("api", Shell::Bash);
    desk.shell("web", Shell::Bash);
    let daemon = world.daemon();
    let ask = |options: &[&str], prompt: &str| {
        let headless = ["--headless", "--provider", "claude"];
        world.send(&[&headless, options, &["--", prompt]].concat())
    };
    let mut prompts: Vec<String> = ordinary.collect();
    // Text that would not be a prompt in a composer is one here.
    prompts.extend([
        "exit".to_owned(),
        "see @".to_owned(),
        "back \\".to_owned(),
        "!ls".to_owned(),
        "/clear x".to_owned(),
        " /compact".to_owned(),
        "# remember".to_owned(),
    ]);
    let sent: Vec<u64> = prompts.iter().map(|prompt| ask(&[], prompt)).collect();
    for (id, prompt) in sent.iter().zip(&prompts) {
        // What would be a command is asked with a word before it.
        let prompt = &match prompt.trim_start().starts_with('/') {
            true => format!("Request: {prompt}"),
            false => prompt.clone(),
        };
        answered(world, *id, prompt);
        let task = world.show(*id);
        assert_eq!(
            (tries(&task), &task["headless"]),
            (1, &json!("claude")),
            "{task:#}"
        );
        assert_eq!(task["response"], "whole", "{task:#}");
        let turn = &task["attempts"][0]["turn"];
        assert_eq!(turn["source"], "headless");
        assert!(turn["usage"]["output_tokens"].is_u64(), "{turn:#}");
        model.once(prompt);
    }
    assert_eq!(model.turns().len(), sent.len(), "{:#?}", model.prompts());
    // It runs in the task's directory, like every command.
    let id = ask(
        &["-w", &desk.dir("web"), "--target", "api"],
        "where is it?\nsay so.",
    );
    task_becomes(world, id, "completed");
    assert_eq!(
        model.once("where is it?\nsay so.").cwd,
        Some(desk.dir("web"))
    );
    // A task that follows continues the conversation: the model sees both prompts.
    let first = ask(&["--target", "web"], "my name is Ada");
    answered(world, first, "my name is Ada");
    let next = ask(
        &["--target", "web", "--after", &first.to_string()],
        "and mine is Bob",
    );
    answered(world, next, "and mine is Bob");
    let conversation = |id| world.show(id)["attempts"][0]["turn"]["conversation"].clone();
    assert!(conversation(first).is_string());
    assert_eq!(conversation(first), conversation(next));
    // If the model refuses, its reason is the error.
    let id = ask(&[], "ERROR of the model");
    let task = task_ends(world, id);
    assert_eq!(task["status"], "failed", "{task:#}");
    assert!(
        text_of(&task["error"]).contains("a bad request, says the model"),
        "{task:#}"
    );
    assert_calm(&daemon.log());
}

#[needs(claude)]
#[test]
fn the_latest_without_a_terminal() {
    // It starts anew for each: one in four will do.
    headless_prompts_are_answered_whole(Version::Latest, ordinary().into_iter().step_by(4));
}

#[needs(claude_earlier)]
#[test]
fn an_earlier_one_without_a_terminal() {
    headless_prompts_are_answered_whole(Version::Earlier, ordinary().into_iter().take(2));
}

#[needs(claude, fish)]
#[test]
fn a_headless_prompt_in_fish() {
    let desk = Desk::new(Version::Latest, &["one"]);
    let world = &desk.world;
    desk.shell("one", Shell::Fish);
    let _daemon = world.daemon();
    let prompt = "a 'quoted' \"prompt\" with $HOME and \\ in it";
    let id = world.send(&["--headless", "--provider", "claude", "--", prompt]);
    answered(world, id, prompt);
}

#[test]
fn who_cannot_be_asked_without_a_terminal_is_refused() {
    let world = World::new();
    for (options, says) in [
        (&["--headless"][..], "name it with --provider"),
        (
            &["--headless", "--provider", "nobody"],
            "there is no profile `nobody`",
        ),
        (
            &["--headless", "--provider", "comet"],
            "its profile has no [headless]",
        ),
        (
            &["--headless", "--provider", "claude", "--shell"],
            "it takes no --shell",
        ),
    ] {
        let refused = world
            .assigner(&[&["send"], options, &["--", "x"]].concat())
            .refused(2);
        assert!(
            refused.stderr.contains(says),
            "{options:?}: {}",
            refused.stderr
        );
    }
}
