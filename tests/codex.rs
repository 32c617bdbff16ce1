//! Prompts for a real Codex, which asks a model on loopback. Each arrives once and complete, its
//! response is kept complete, and Codex and people do not get in each other's way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Pane, Shell, World, assert_calm, is_settled, stays, text};
use crate::language_model::{
    Model, agent, answered, patiently, session_becomes, session_running, task_becomes, task_ends,
};
use assigner_needs::needs;

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
        let command = self.command();
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
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
    let status = patiently(|| {
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
    let shell = patiently(|| match world.session_entry("shell") {
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
            Moment::Runs => patiently(|| match world.show(id) {
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
        let task = patiently(|| {
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
