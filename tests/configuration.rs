//! `config`: what a person may rely on when they write, check and look at their configuration.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::setup::configure;
use crate::harness::{World, text};

/// Where the configuration is.
const FILE: &str = "home/.config/assigner/config.toml";

#[test]
fn one_to_begin_with_is_written_once_and_changes_nothing() {
    let world = World::new();
    let file = world.path(FILE);
    let none = world.assigner(&["config", "check"]).succeeded().text();
    assert!(none.contains("assigner config init"), "{none}");
    let before = world.json(&["config", "show"]);
    assert_eq!(before["file"], serde_json::Value::Null);
    let said = world.assigner(&["config", "init"]).succeeded().text();
    assert!(said.contains(&text(&file)), "{said}");
    let mode = file.metadata().expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let after = world.json(&["config", "show"]);
    assert_eq!(after["settings"], before["settings"]);
    assert_eq!(after["file"], text(&file));
    // What a person has written is never replaced.
    fs::write(&file, "[engine]\nexplain = 3\n").expect("written");
    world.assigner(&["config", "init"]).refused(1);
    let kept = fs::read_to_string(&file).expect("a file");
    assert_eq!(kept, "[engine]\nexplain = 3\n");
    // In a place where others may write, only the file itself counts.
    let shared = world.mkdir("shared");
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).expect("changed");
    let there = format!("{shared}/mine.toml");
    world
        .assigner(&["--config", &there, "config", "init"])
        .succeeded();
    world.assigner(&["config", "check", &there]).succeeded();
    // A file in the place of a directory, and a device in the place of the file: one line each.
    let odd = format!("{there}/below.toml");
    world
        .assigner(&["--config", &odd, "config", "init"])
        .refused(1);
    world
        .assigner(&["--config", "/dev/full", "config", "init"])
        .refused(1);
    let path = world.assigner(&["config", "path"]).succeeded().text();
    assert_eq!(path.trim_end(), text(&file));
}

#[test]
fn each_value_says_where_it_comes_from() {
    let world = World::new();
    configure(
        &world,
        "[sessions]\nexclude = [\"my*\"]\n\n[engine]\nexplain = 3\n\n[[pool]]\nname = \"p\"\ncommand = \"sh\"\ndirectory = \"/\"\n",
    );
    let shown = world.json(&["config", "show"]);
    let of = |name: &str| {
        let setting = &shown["settings"][name];
        let line = setting["line"].as_u64();
        let value = setting["value"].as_str().unwrap_or_default();
        (value.to_owned(), setting["from"].clone(), line)
    };
    assert_eq!(
        of("engine.explain"),
        ("3".to_owned(), "file".into(), Some(5))
    );
    assert_eq!(
        of("sessions.exclude"),
        ("[\"my*\"]".to_owned(), "file".into(), Some(2))
    );
    assert_eq!(
        of("sessions.protect"),
        ("[]".to_owned(), "default".into(), None)
    );
    assert_eq!(
        of("pool.1.name"),
        ("\"p\"".to_owned(), "file".into(), Some(8))
    );
    let data = format!("{:?}", text(world.data()));
    assert_eq!(of("data-dir"), (data, "ASSIGNER_DATA_DIR".into(), None));
    let elsewhere = world.mkdir("elsewhere");
    let shown = world.json(&["--data-dir", &elsewhere, "config", "show"]);
    assert_eq!(shown["settings"]["data-dir"]["from"], "--data-dir");
    let table = world.assigner(&["config"]).succeeded().text();
    let line = table
        .lines()
        .find(|line| line.starts_with("engine.explain"));
    let words: Vec<&str> = line.expect("a line").split_whitespace().collect();
    assert_eq!(words, ["engine.explain", "3", "line", "5"]);
}

/// Names of a policy's settings may be anything, and so may values.
#[test]
fn nothing_in_a_configuration_is_obeyed_by_a_terminal() {
    let world = World::new();
    configure(
        &world,
        "[policy.settings]\n\"a\\u001b[2Jb\" = \"x\u{200b}y\u{202e}\"\n",
    );
    for args in [&["--color", "always", "config"][..], &["--json", "config"]] {
        let shown = world.assigner(args).succeeded().text();
        let obeyed = shown.replace("\u{1b}[1m", "").replace("\u{1b}[0m", "");
        assert!(!obeyed.contains('\u{1b}'), "{shown:?}");
        assert!(!shown.contains(['\u{200b}', '\u{202e}']), "{shown:?}");
        assert!(shown.contains("2Jb"), "{shown:?}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_what_was_meant() {
    let world = World::new();
    for (wrong, line, told) in [
        ("[engine]\nexplian = 3\n", 2, "did you mean `explain`?"),
        (
            "\n\nattended-for = \"3s\"\n",
            3,
            "stands in the section [engine]",
        ),
        ("[engin]\nexplain = 3\n", 1, "did you mean `engine`?"),
        ("[engine]\nexplain = \"x\"\n", 2, "invalid type"),
        ("[engine]\nexplain = \n", 2, ""),
        ("[engine]\nattended-for = \"3\"\n", 2, ""),
    ] {
        configure(&world, wrong);
        let refused = world.assigner(&["config", "check"]).refused(2);
        let place = format!("line {line}");
        assert!(refused.stderr.contains(&place), "{wrong:?}: {refused:?}");
        assert!(refused.stderr.contains(told), "{wrong:?}: {refused:?}");
        assert!(refused.stderr.contains("config.toml"), "{refused:?}");
    }
    // Another file than the one that is used.
    let other = world.path("other.toml");
    fs::write(&other, "[engine]\nexplain = 3\n").expect("written");
    let fine = world
        .assigner(&["config", "check", &text(&other)])
        .succeeded();
    assert!(fine.text().contains("it sets 1 value"), "{fine:?}");
    let gone = text(&world.path("nothing.toml"));
    world.assigner(&["config", "check", &gone]).refused(2);
}
