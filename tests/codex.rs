//! Prompts for a real Codex, which asks a model on loopback. Each arrives once and complete, its
//! response is kept complete, and Codex and people do not get in each other's way.

mod crashes;
mod people;
mod turns;

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::agents::{agent, patiently, session_becomes, session_running};
use crate::harness::{Pane, Shell, World, text};
use crate::language_model::Model;

/// What an empty composer shows.
const EMPTY: &str = "Ask Codex to do anything";

/// A world with a model, and a home in which that model is Codex's provider.
///
/// The world comes first, so that its sessions end before the model does.
struct Desk {
    world: World,
    model: Model,
    program: String,
}

impl Desk {
    /// Creates directories with these names below `work`, which Codex trusts.
    fn new(dirs: &[&str]) -> Self {
        let program = text(&agent("codex", "node_modules/.bin"));
        let (world, model) = (World::new(), Model::start());
        let mut config = format!(
            r#"
model = "mock-model"
model_provider = "mock"
check_for_update_on_startup = false

[analytics]
enabled = false

[features]
daemon_auto_start = false

[tui]
screen_reader_detection_done = true

[model_providers.mock]
name = "Mock"
base_url = "{}"
wire_api = "responses"
env_key = "MOCK_KEY"
"#,
            model.base_url()
        );
        for dir in dirs {
            let dir = world.mkdir(&format!("work/{dir}"));
            config.push_str(&format!(
                "\n[projects.\"{dir}\"]\ntrust_level = \"trusted\"\n"
            ));
        }
        let home = world.mkdir("codex");
        fs::write(format!("{home}/config.toml"), config).expect("a configuration");
        Self {
            world,
            model,
            program,
        }
    }

    /// Returns one of the trusted directories.
    fn dir(&self, name: &str) -> String {
        text(&self.world.path("work").join(name))
    }

    /// Installs the hooks, which take effect at the next start.
    fn installs_hooks(&self) {
        let settings = text(&self.world.path("codex/hooks.json"));
        self.world
            .assigner(&["hooks", "install", "codex", "--yes", "--file", &settings])
            .succeeded();
    }

    /// The command that starts it, word by word.
    fn command(&self) -> [String; 4] {
        [
            "env".to_owned(),
            format!("CODEX_HOME={}", text(&self.world.path("codex"))),
            "MOCK_KEY=x".to_owned(),
            self.program.clone(),
        ]
    }

    /// Starts it in a session and the directory of the same name, and waits for its composer.
    fn session(&self, name: &str) -> Pane<'_> {
        self.session_with(name, &[])
    }

    /// Like [`Self::session`], with options.
    fn session_with(&self, name: &str, options: &[&str]) -> Pane<'_> {
        let command = self.command();
        let mut words: Vec<&str> = command.iter().map(String::as_str).collect();
        words.extend(options);
        let pane = session_running(&self.world, name, &words, &self.dir(name));
        ready(&pane);
        pane
    }

    /// Like [`Self::session`], but started from a shell, as a person would.
    fn session_in_shell(&self, name: &str) -> Pane<'_> {
        let pane = self.world.session_in(name, Shell::Bash, &self.dir(name));
        pane.line(&self.command().map(|word| format!("'{word}'")).join(" "));
        ready(&pane);
        pane
    }

    /// Queues a prompt for it, and returns the task's number.
    fn prompt(&self, text: &str) -> u64 {
        self.prompt_with(&[], text)
    }

    /// Like [`Self::prompt`], with options.
    fn prompt_with(&self, options: &[&str], text: &str) -> u64 {
        let provider = ["--provider", "codex"];
        self.world
            .send(&[&provider, options, &["--", text]].concat())
    }

    /// Waits until the sessions are idle.
    fn idle(&self, names: &[&str]) {
        for name in names {
            let session = session_becomes(&self.world, name, "idle");
            assert_eq!(session["provider"], "codex", "{session}");
        }
    }
}

/// Waits until the composer is there and empty.
#[track_caller]
fn ready(pane: &Pane<'_>) {
    shows(pane, EMPTY);
}

/// Waits until a pane shows a text.
#[track_caller]
fn shows(pane: &Pane<'_>, text: &str) {
    patiently(|| {
        let screen = pane.screen();
        if screen.contains(text) {
            Ok(())
        } else {
            Err(format!("the pane does not show {text:?}:\n{screen}"))
        }
    });
}

fn tries(task: &Value) -> usize {
    task["attempts"].as_array().expect("attempts").len()
}

/// Asserts that a task waits, with a reason, and was not attempted.
#[track_caller]
fn assert_waits(world: &World, id: u64) {
    let reason = world.reason(id);
    assert!(!reason.is_empty());
    let task = world.show(id);
    assert_eq!(task["status"], "pending", "{task:#}");
    assert_eq!(tries(&task), 0, "{task:#}");
}

/// Kills the Codex that runs in a directory, but not the program that started it.
fn kill_codex(dir: &str) {
    let found = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .find(|entry| {
            let exe = fs::read_link(entry.path().join("exe")).unwrap_or_default();
            let cwd = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
            exe.ends_with("codex") && cwd == Path::new(dir)
        });
    let name = found.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let pid = name.and_then(|name| Pid::from_raw(name.parse().ok()?));
    let pid = pid.unwrap_or_else(|| panic!("no codex in {dir}"));
    kill_process(pid, Signal::KILL).expect("a process");
}
