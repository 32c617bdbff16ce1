//! Hooks in the settings of agents: existing ones stay, and the ones that were added can be
//! removed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::{Output, Shell, World, assert_calm, finish, program, stays, text};

const CLAUDE: [&str; 5] = [
    "SessionStart",
    "UserPromptSubmit",
    "PermissionRequest",
    "Notification",
    "Stop",
];
const CODEX: [&str; 4] = ["UserPromptSubmit", "PermissionRequest", "Stop", "Interrupt"];

/// A person's settings: with an order, a layout and hooks of their own.
const MINE: &str = r#"{
    "model": "large",   "numbers": [1.50, 1e3],
    "hooks": {
        "Stop": [
            { "hooks": [ { "type": "command", "command": "say done" } ] }
        ],
        "PreToolUse": []
    },

    "unknown": {"\u00e9": null}
}"#;

impl World {
    /// Returns where an agent keeps its settings in this world.
    fn settings(&self, agent: &str) -> PathBuf {
        self.path(match agent {
            "claude" => "home/.claude/settings.json",
            _ => "home/.codex/hooks.json",
        })
    }

    /// Writes the settings of an agent.
    fn has_settings(&self, agent: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let file = self.settings(agent);
        fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
        fs::write(&file, text).expect("settings");
        file
    }

    fn hooks(&self, args: &[&str]) -> Output {
        self.assigner(&[&["hooks"], args].concat())
    }
}

fn read(file: &PathBuf) -> String {
    fs::read_to_string(file).expect("settings")
}

fn mode(file: &PathBuf) -> u32 {
    let metadata = fs::metadata(file).expect("a file");
    metadata.permissions().mode() & 0o7777
}

/// Returns the command lines of an event.
fn commands(settings: &Value, event: &str) -> Vec<String> {
    let groups = settings["hooks"][event].as_array().expect("a list");
    let handlers = groups
        .iter()
        .flat_map(|group| group["hooks"].as_array().expect("a list"));
    handlers
        .map(|handler| handler["command"].as_str().expect("a command").to_owned())
        .collect()
}

#[test]
fn hooks_come_and_go_without_a_trace() {
    let world = World::new();
    for (agent, events) in [("claude", &CLAUDE[..]), ("codex", &CODEX)] {
        let file = world.has_settings(agent, MINE);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("a mode");

        let answer = world.json(&["hooks", "install", agent, "--yes"]);
        let said = json!({
            "file": text(&file), "installed": true, "changed": true, "events": answer["events"],
        });
        assert_eq!(answer, said);
        let listed = answer["events"].as_array().expect("a list");
        assert_eq!(listed.len(), events.len(), "{answer}");
        assert!(events.iter().all(|event| listed.contains(&json!(event))));

        let installed = read(&file);
        let settings: Value = serde_json::from_str(&installed).expect("JSON");
        assert_eq!(commands(&settings, "Stop")[0], "say done");
        assert!(commands(&settings, "Stop")[1].contains(" report --state idle --hook"));
        let busy = commands(&settings, "UserPromptSubmit");
        assert!(busy[0].contains(" report --state busy --hook"), "{busy:?}");
        let blocked = commands(&settings, "PermissionRequest");
        assert!(blocked[0].contains(" report --state blocked --hook"));
        assert!(
            installed.starts_with("{\n    \"model\": \"large\",   \"numbers\": [1.50, 1e3],\n")
        );
        assert!(installed.ends_with("\n    \"unknown\": {\"\\u00e9\": null}\n}"));
        assert_eq!(mode(&file), 0o640);

        let again = world.json(&["hooks", "install", agent, "--yes"]);
        assert_eq!(again["changed"], false);
        assert_eq!(again["events"], answer["events"]);
        assert_eq!(read(&file), installed);

        let gone = world.json(&["hooks", "remove", agent, "--yes"]);
        assert_eq!(
            (&gone["installed"], &gone["changed"]),
            (&json!(false), &json!(true))
        );
        assert_eq!(read(&file), MINE);
        assert_eq!(mode(&file), 0o640);
        let gone = world.json(&["hooks", "remove", agent]);
        assert_eq!(
            (&gone["changed"], &gone["events"]),
            (&json!(false), &json!([]))
        );
        let entries = fs::read_dir(file.parent().expect("a directory")).expect("a directory");
        assert_eq!(entries.count(), 1, "something is left beside the settings");
    }
}

#[test]
fn a_file_that_was_not_there_is_made_and_goes_again() {
    let world = World::new();
    for agent in ["claude", "codex"] {
        let file = world.settings(agent);
        let answer = world.json(&["hooks", "install", agent, "--yes"]);
        assert_eq!(answer["changed"], true);
        assert_eq!(mode(&file), 0o600);
        assert_eq!(mode(&file.parent().expect("a directory").to_owned()), 0o700);
        world.json(&["hooks", "remove", agent, "--yes"]);
        assert!(!file.exists());
        let answer = world.json(&["hooks", "remove", agent, "--yes"]);
        assert_eq!(answer["changed"], false);
    }
}

#[test]
fn the_agents_own_variables_and_an_option_name_the_file() {
    let world = World::new();
    let dir = world.path("elsewhere");
    for (agent, variable, name) in [
        ("claude", "CLAUDE_CONFIG_DIR", "settings.json"),
        ("codex", "CODEX_HOME", "hooks.json"),
    ] {
        let mut command = world.binary();
        command.args(["--json", "hooks", "install", agent, "--yes"]);
        let answer = finish(command.env(variable, &dir), b"").succeeded().json();
        assert_eq!(answer["file"], text(&dir.join(name)));
        assert!(!world.settings(agent).exists());
        // An empty variable counts as not set.
        let mut command = world.binary();
        command.args(["--json", "hooks", "show", agent]);
        let answer = finish(command.env(variable, ""), b"").succeeded().json();
        assert_eq!(answer["file"], text(&world.settings(agent)));
    }
    let named = world.path("work/a file.json");
    let answer = world.json(&[
        "hooks",
        "install",
        "claude",
        "--yes",
        "--file",
        "a file.json",
    ]);
    assert_eq!(answer["file"], text(&named));
    assert!(read(&named).contains(" report --state idle --hook"));
}

#[test]
fn without_a_yes_the_change_is_only_shown() {
    let world = World::new();
    let file = world.has_settings("claude", MINE);
    let answer = world.hooks(&["install", "claude"]).refused(2);
    assert!(answer.stderr.contains("--yes"), "{}", answer.stderr);
    let shown = answer.text();
    assert!(
        shown.starts_with(&format!("--- {}\n+++ ", file.display())),
        "{shown}"
    );
    assert!(shown.contains("\n@@ "), "{shown}");
    assert!(
        shown.contains("\n+        \"UserPromptSubmit\": ["),
        "{shown}"
    );
    assert!(!shown.contains('\u{1b}'), "{shown}");
    assert_eq!(read(&file), MINE);

    let answer = world.assigner(&["--json", "hooks", "install", "claude"]);
    assert_eq!(answer.refused(2).text(), "");
    assert_eq!(read(&file), MINE);

    world.hooks(&["install", "claude", "--yes"]).succeeded();
    let installed = read(&file);
    let answer = world.hooks(&["remove", "claude"]).refused(2);
    assert!(answer.text().contains("\n-"), "{}", answer.text());
    assert_eq!(read(&file), installed);
}

#[test]
fn on_a_terminal_a_person_is_asked() {
    let world = World::new();
    let before = "{\"hooks\": {}, \"key\": 1}";
    let file = world.has_settings("codex", before);
    let program = program();
    for (session, answer) in [("no", "n"), ("nothing", ""), ("other", "yesterday")] {
        let pane = world.session(session, Shell::Bash);
        pane.line(&format!("clear; {program} hooks install codex"));
        pane.shows("[y/N]");
        pane.line(answer);
        pane.shows("nothing was written");
        assert_eq!(read(&file), before);
    }
    let pane = world.session("yes", Shell::Bash);
    pane.line(&format!("clear; {program} hooks install codex"));
    pane.shows("[y/N]");
    stays(|| read(&file));
    pane.line("Y");
    pane.shows("only once you trust them");
    assert!(read(&file).contains(" report --state busy --hook"));
    world.hooks(&["remove", "codex", "--yes"]).succeeded();
    assert_eq!(read(&file), before);
}

#[test]
fn what_changed_while_the_question_stood_is_not_lost() {
    let world = World::new();
    let file = world.has_settings("claude", MINE);
    let pane = world.session("one", Shell::Bash);
    pane.line(&format!("clear; {} hooks install claude", program()));
    pane.shows("[y/N]");
    fs::write(&file, "{\"new\": true}").expect("settings");
    pane.line("y");
    pane.shows("changed in the meantime");
    assert_eq!(read(&file), "{\"new\": true}");
}

#[test]
fn an_older_hook_of_ours_is_replaced() {
    let world = World::new();
    let old = "/old/place/assigner report --state idle --hook || true";
    let settings = json!({"hooks": {
        "Stop": [{"hooks": [{"type": "command", "command": old, "timeout": 3}]}],
        "SubagentStop": [{"hooks": [{"type": "command", "command": old}]}],
    }});
    let file = world.has_settings("claude", settings.to_string());
    let shown = world.json(&["hooks", "show", "claude"]);
    assert_eq!(
        (&shown["installed"], &shown["current"]),
        (&json!(true), &json!(false))
    );
    world.json(&["hooks", "install", "claude", "--yes"]);
    let settings: Value = serde_json::from_str(&read(&file)).expect("JSON");
    let stop = commands(&settings, "Stop");
    assert_eq!(stop.len(), 1, "{stop:?}");
    assert!(!stop[0].contains("/old/place"), "{stop:?}");
    assert_eq!(settings["hooks"].get("SubagentStop"), None);
    world.json(&["hooks", "remove", "claude", "--yes"]);
    assert!(!file.exists());
}

#[test]
fn show_tells_what_would_be_added_and_whether_it_is() {
    let world = World::new();
    for (agent, events) in [("claude", &CLAUDE[..]), ("codex", &CODEX)] {
        let shown = world.json(&["hooks", "show", agent]);
        assert_eq!(
            (&shown["installed"], &shown["current"]),
            (&json!(false), &json!(false))
        );
        let hooks = shown["hooks"].as_object().expect("an object");
        assert_eq!(hooks.keys().collect::<Vec<_>>(), events);
        assert_eq!(hooks.get("SubagentStop"), None);
        let said = world.hooks(&["show", agent]).succeeded().text();
        assert!(said.trim_end().ends_with("not installed"), "{said}");
        assert!(!world.settings(agent).exists());

        world.json(&["hooks", "install", agent, "--yes"]);
        let now = world.json(&["hooks", "show", agent]);
        assert_eq!(
            (&now["installed"], &now["current"]),
            (&json!(true), &json!(true))
        );
        assert_eq!(now["hooks"], shown["hooks"]);
        let written: Value = serde_json::from_str(&read(&world.settings(agent))).expect("JSON");
        assert_eq!(written["hooks"], shown["hooks"]);
        let said = world.hooks(&["show", agent]).succeeded().text();
        assert!(said.trim_end().ends_with(": installed"), "{said}");
    }
}

/// An agent reads what a hook prints, and a hook that fails stops it.
#[test]
fn the_command_lines_say_nothing_and_end_well_whatever_happens() {
    let world = World::with_data_dir("it's a \"dir\" $HOME");
    let shown = world.json(&["hooks", "show", "claude"]);
    let line = shown["hooks"]["Stop"][0]["hooks"][0]["command"].as_str();
    let line = line.expect("a command").to_owned();
    let gone = line.replace(program(), "/nowhere/assigner");
    assert_ne!(line, gone);
    for line in [line, gone] {
        for input in [
            &b"{\"message\": \"Shall I?\", \"cwd\": \"/\"}"[..],
            b"",
            b"\xff{",
        ] {
            let answer = finish(world.command("sh").args(["-c", &line]), input).succeeded();
            assert_eq!(answer.text(), "", "{line}");
            assert_calm(&answer.stderr);
        }
    }
    // The data directory is one word, whatever its name.
    let words = format!("printf '%s\\n' {}", &shown_words(&shown));
    let words = finish(world.command("sh").args(["-c", &words]), b"").succeeded();
    let words = words.text();
    assert!(
        words.lines().any(|word| word == text(world.data())),
        "{words}"
    );
}

/// Returns the words of the command line, without what follows it.
fn shown_words(shown: &Value) -> String {
    let line = shown["hooks"]["Stop"][0]["hooks"][0]["command"].as_str();
    let line = line.expect("a command");
    line.strip_suffix(" || true")
        .expect("an end that is good")
        .to_owned()
}

#[test]
fn the_usual_data_directory_is_not_named() {
    let world = World::new();
    let mut command = world.binary();
    command
        .env_remove("ASSIGNER_DATA_DIR")
        .args(["--json", "hooks", "show", "codex"]);
    let shown = finish(&mut command, b"").succeeded().json();
    let line = shown_words(&shown);
    assert!(line.ends_with(" report --state idle --hook"), "{line}");
}

#[test]
fn a_link_stays_a_link() {
    let world = World::new();
    let dotfiles = PathBuf::from(world.mkdir("dotfiles"));
    let target = dotfiles.join("claude.json");
    fs::write(&target, "{}").expect("settings");
    let link = world.settings("claude");
    fs::create_dir_all(link.parent().expect("a directory")).expect("a directory");
    let middle = dotfiles.join("middle");
    symlink("claude.json", &middle).expect("a link");
    symlink(&middle, &link).expect("a link");
    let is_link = || fs::symlink_metadata(&link).expect("a link").is_symlink();

    world.json(&["hooks", "install", "claude", "--yes"]);
    assert!(is_link() && read(&target).contains(" report --state busy --hook"));
    world.json(&["hooks", "remove", "claude", "--yes"]);
    assert!(is_link());
    assert_eq!(read(&target), "{}");

    fs::remove_file(&target).expect("a file");
    world.json(&["hooks", "install", "claude", "--yes"]);
    assert!(is_link() && read(&target).contains(" report --state busy --hook"));

    fs::remove_file(&target).expect("a file");
    symlink("claude.json", &target).expect("a link");
    world.hooks(&["install", "claude", "--yes"]).refused(1);
}

#[test]
fn what_are_no_settings_is_refused_and_left_alone() {
    let world = World::new();
    let large = format!("{{}}{}", " ".repeat(4 << 20));
    let deep = "[".repeat(1 << 20);
    for (content, says) in [
        (&b"{\n  // mine\n  \"a\": 1\n}"[..], "line 2 has a comment"),
        (b"{\"a\": 1,}", "line 1 is not valid JSON"),
        (b"{\n\"a\": 1", "line 2 is not valid JSON"),
        (b"[hooks]\nStop = 1", "line 1 is not valid JSON"),
        (b"\n\n[1]", "line 3: the top level is not an object"),
        (b"{\"hooks\": [1]}", "line 1: `hooks` is not an object"),
        (b"{\"hooks\":\n null}", "line 2: `hooks` is not an object"),
        (
            b"{\"hooks\": {\n\n\"Stop\": \"x\"}}",
            "line 3: `Stop` is not a list",
        ),
        (
            b"{\"hooks\": {},\n\"hooks\": {}}",
            "line 2: `hooks` occurs a second time",
        ),
        (b"{\"a\": \"\xff\"}", "not UTF-8"),
        (deep.as_bytes(), "line 1 is not valid JSON"),
        (large.as_bytes(), "larger than 4 MiB"),
    ] {
        let file = world.has_settings("claude", content);
        let answer = world.hooks(&["install", "claude", "--yes"]).refused(1);
        let stderr = answer.stderr;
        assert!(
            stderr.contains(&text(&file)) && stderr.contains(says),
            "{stderr}"
        );
        assert!(stderr.contains("nothing was written"), "{stderr}");
        assert_eq!(fs::read(&file).expect("settings"), content);
    }

    let file = world.settings("claude");
    fs::remove_file(&file).expect("a file");
    fs::create_dir(&file).expect("a directory");
    world.hooks(&["install", "claude", "--yes"]).refused(1);
    fs::remove_dir(&file).expect("a directory");
    let made = finish(world.command("mkfifo").arg(&file), b"");
    made.succeeded();
    world.hooks(&["install", "claude", "--yes"]).refused(1);
    world.hooks(&["show", "claude"]).refused(1);

    world.hooks(&["install", "aider", "--yes"]).refused(2);
    world.hooks(&["install"]).refused(2);
}

#[test]
fn hostile_settings_do_not_reach_the_terminal() {
    let world = World::new();
    // Control characters that JSON allows unescaped in a string, and one that reverses the
    // direction.
    world.has_settings("codex", "{\"\u{7f}\u{9b}31m\u{202e}\": \"\u{85}\"}");
    let shown = world
        .hooks(&["install", "codex", "--yes"])
        .succeeded()
        .text();
    for bad in ['\u{7f}', '\u{9b}', '\u{85}', '\u{202e}'] {
        assert!(!shown.contains(bad), "{shown:?}");
    }
}
