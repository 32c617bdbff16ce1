//! `config`: what a person may rely on when they write, check and look at their configuration.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::harness::setup::configure;
use crate::harness::{Shell, World, eventually, finish, program, text};

/// Where the configuration is.
const FILE: &str = "home/.config/assigner/config.toml";

#[test]
fn one_to_begin_with_is_written_once_and_changes_nothing() {
    let world = World::new();
    let file = world.path(FILE);
    let none = world.assigner(&["config", "check"]).succeeded().text();
    assert!(none.contains("assigner config init"), "{none}");
    let before = world.json(&["config", "show"]);
    assert_eq!(before["file"], Value::Null);
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

/// Waits until the daemon says this of its configuration.
#[track_caller]
fn reports(world: &World, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    eventually(|| {
        let status = world.json(&["status"]);
        let said = &status["daemon"]["configuration"];
        match holds(said) {
            true => Ok(status.clone()),
            false => Err(format!("{what}: {said:#}")),
        }
    })
}

#[track_caller]
fn is_admitted(world: &World, name: &str, admission: &str) {
    eventually(|| {
        let entry = world.session_entry(name).unwrap_or_default();
        match entry["admission"] == admission {
            true => Ok(()),
            false => Err(entry.to_string()),
        }
    });
}

#[test]
fn a_running_daemon_follows_the_configuration() {
    let world = World::new();
    world.session("first", Shell::Bash);
    world.session("second", Shell::Bash);
    let daemon = world.daemon();
    let changes = |said: &Value| said["changes"].to_string();
    let long = world.shell("while ! [ -e go ]; do sleep 0.05; done; seq 1000");
    world.until(long, "in_progress");
    configure(
        &world,
        "[sessions]\nexclude = ['second']\n[engine]\noutput-limit = 100\nprerequisite-timeout = '9m'\n\
         [policy.settings]\nwhen-no-match = 'wait'\nsame-directory = 7\n",
    );
    let status = reports(&world, "followed", |said| changes(said).contains("exclude"));
    let said = changes(&status["daemon"]["configuration"]);
    assert!(
        said.contains("engine.output-limit is 100 (was 16777216)"),
        "{said}"
    );
    eventually(|| {
        let status = world.json(&["status"]);
        let settings = &status["daemon"]["policy"]["settings"];
        match settings["same-directory"] == 7 {
            true => Ok(()),
            false => Err(format!("{settings:#}")),
        }
    });
    let history = world.json(&["policy", "history"]);
    let last = history.as_array().and_then(|events| events.last());
    assert_eq!(last.expect("an event")["cause"], "config", "{history:#}");
    is_admitted(&world, "second", "excluded");
    // What runs goes on, and its output is kept by the new limit.
    world.touch("go");
    world.completed(long);
    let kept = world.output(long);
    assert!(kept.len() <= 100 && kept.ends_with(b"1000\n"), "{kept:?}");

    // A mistake changes nothing.
    configure(&world, "[sessions]\nexclud = []\n");
    let status = reports(&world, "refused", |said| said["error"].is_string());
    let why = status["daemon"]["configuration"]["error"].to_string();
    assert!(why.contains("line 2") && why.contains("exclude"), "{why}");
    let said = world.assigner(&["status"]).succeeded().text();
    assert!(said.contains("config    not followed: "), "{said}");
    // What needs its settings is refused; what only looks, or ends something, is not.
    world.assigner(&["send", "--shell", "true"]).refused(2);
    let listed = world
        .assigner(&["list", "--status", "completed"])
        .succeeded();
    assert!(
        listed.stderr.contains("did you mean `exclude`?"),
        "{listed:?}"
    );
    let settings = &status["daemon"]["policy"]["settings"];
    assert_eq!(settings["same-directory"], 7, "{settings:#}");
    is_admitted(&world, "second", "excluded");

    // Its end is followed as well: a file that is gone sets nothing.
    fs::remove_file(world.path(FILE)).expect("removed");
    is_admitted(&world, "second", "open");
    let status = reports(&world, "gone", |said| said["error"].is_null());
    let said = changes(&status["daemon"]["configuration"]);
    assert!(
        said.contains("sessions.exclude is [] (was ['second'])"),
        "{said}"
    );
    daemon.logs("sessions.exclude is [] (was ['second'])");

    // One whose daemon must be stopped, and only its file says where.
    let data = text(world.data());
    configure(
        &world,
        &format!("data-dir = '{data}'\n[sessions]\nexclud = []\n"),
    );
    let mut stop = world.binary();
    stop.env_remove("ASSIGNER_DATA_DIR").arg("stop");
    let stopped = finish(&mut stop, b"").succeeded();
    assert!(stopped.stderr.contains("exclud"), "{stopped:?}");
}

/// A pool that is no longer configured starts nothing, and its sessions end as they would have.
#[test]
fn a_pool_that_is_taken_out_keeps_its_promises() {
    let world = World::new();
    let pool = "[[pool]]\nname = 'p'\ncommand = ['bash', '--norc']\nprovider = 'shell'\ndirectory = '/'\ntasks = 1\nidle = '1h'\n";
    configure(&world, pool);
    world.session("keep", Shell::Bash);
    let _daemon = world.daemon();
    let go = text(&world.path("work/go"));
    let task = world.shell_with(
        &["--target", "p-1"],
        &format!("while ! [ -e '{go}' ]; do sleep 0.05; done"),
    );
    world.until(task, "in_progress");
    configure(&world, "");
    reports(&world, "followed", |said| {
        said["changes"].to_string().contains("pool.1")
    });
    // It was for one task, and takes no other.
    let other = world.shell_with(&["--target", "p-1"], "echo never");
    world.touch("go");
    world.completed(task);
    eventually(|| match world.session_entry("p-1") {
        Some(entry) if entry["status"] != "gone" => Err(entry.to_string()),
        _ => Ok(()),
    });
    assert_eq!(world.show(other)["status"], "pending");
}

#[test]
fn what_a_daemon_was_told_itself_overrides_a_changed_configuration() {
    let world = World::new();
    world.session("only", Shell::Bash);
    let daemon = world.daemon_with(&["--policy", "default.wasm", "--policy-set", "branch=1"]);
    let settings = || world.json(&["status"])["daemon"]["policy"]["settings"].clone();
    let branch = || match settings()["branch"] == 1 {
        true => Ok(()),
        false => Err(settings().to_string()),
    };
    eventually(branch);
    let other = world.path("other");
    configure(
        &world,
        &format!(
            "data-dir = '{}'\n[policy]\nuse = 'nothing-of-that-name'\nsettings.branch = 2\nsettings.variable = 3\n",
            text(&other)
        ),
    );
    eventually(|| match settings()["variable"] == 3 {
        true => Ok(()),
        false => Err(settings().to_string()),
    });
    assert_eq!(branch(), Ok(()));
    let status = reports(&world, "kept", |said| !said["changes"].is_null());
    let said = status["daemon"]["configuration"]["changes"].to_string();
    assert!(
        said.contains("from the next start of the daemon on"),
        "{said}"
    );
    daemon.logs("the policy stays: `assigner run --policy` names it");
    assert!(!other.exists());
    world.run("true");
}

/// Returns the path of a script that is called with the file to edit.
fn editor(world: &World, name: &str, script: &str) -> String {
    let path = world.path(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("changed");
    text(&path)
}

#[test]
fn it_is_edited_and_checked_before_it_counts() {
    let world = World::new();
    let file = world.path(FILE);
    let edit = |editor: &str| {
        let mut command = world.binary();
        command.args(["config", "edit"]).env("EDITOR", editor);
        command.env_remove("VISUAL");
        command.env("TMPDIR", world.mkdir("tmp"));
        finish(&mut command, b"")
    };
    // Without a file, it begins with one that explains everything; one may only want to look.
    let looks = editor(&world, "looks", "grep -q '# explain = 10' \"$1\"");
    edit(&looks).succeeded();
    let begun = fs::read_to_string(&file).expect("a file");
    let mode = file.metadata().expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(
        edit(&looks)
            .succeeded()
            .text()
            .contains("nothing was changed")
    );
    // The variable may hold options, and the file is called as the editor wants it.
    let sets = editor(
        &world,
        "sets",
        "[ \"$1\" = --wait ] && case $2 in *.toml) printf '[engine]\\nexplain = 3\\n' > \"$2\";; esac",
    );
    let said = edit(&format!("{sets} --wait")).succeeded().text();
    assert!(said.contains("engine.explain is 3 (was 10)"), "{said}");
    assert_eq!(
        fs::read_to_string(&file).expect("a file"),
        "[engine]\nexplain = 3\n"
    );
    assert_ne!(begun, "[engine]\nexplain = 3\n");
    // What is wrong stays with its writer.
    let errs = editor(
        &world,
        "errs",
        "printf '[engine]\\nexplian = 4\\n' > \"$1\"",
    );
    let refused = edit(&errs).refused(2);
    assert!(
        refused.stderr.contains("did you mean `explain`?"),
        "{refused:?}"
    );
    let kept = refused.stderr.split("what you wrote is in `").nth(1);
    let kept = kept
        .and_then(|rest| rest.split('`').next())
        .expect("a path");
    assert_eq!(
        fs::read_to_string(kept).expect("a file"),
        "[engine]\nexplian = 4\n"
    );
    // An editor that fails, one that is not there, and a file that changed meanwhile.
    let fails = edit(&editor(&world, "fails", "exit 3")).refused(1);
    assert!(fails.stderr.contains("ended with 3"), "{fails:?}");
    let nowhere = edit("no-such-editor");
    assert_eq!(nowhere.code, Some(1));
    assert!(nowhere.stderr.contains("set EDITOR"), "{nowhere:?}");
    let races = format!(
        "printf '[engine]\\nexplain = 5\\n' > \"$1\"; echo '# mine' > '{}'",
        text(&file)
    );
    let raced = edit(&editor(&world, "races", &races)).refused(1);
    assert!(
        raced.stderr.contains("changed in the meantime"),
        "{raced:?}"
    );
    assert_eq!(fs::read_to_string(&file).expect("a file"), "# mine\n");
    // A link stays one.
    let real = world.path("real.toml");
    fs::rename(&file, &real).expect("moved");
    std::os::unix::fs::symlink(&real, &file).expect("a link");
    edit(&format!("{sets} --wait")).succeeded();
    assert!(file.symlink_metadata().expect("a link").is_symlink());
    assert_eq!(
        fs::read_to_string(&real).expect("a file"),
        "[engine]\nexplain = 3\n"
    );
}

#[test]
fn a_mistake_can_be_mended_at_once() {
    let world = World::new();
    let script = editor(
        &world,
        "mends",
        "if [ -e tried ]; then n=explain; else n=explian; touch tried; fi; printf '[engine]\\n%s = 4\\n' \"$n\" > \"$1\"",
    );
    let pane = world.session("only", Shell::Bash);
    pane.line(&format!("EDITOR='{script}' {} config edit", program()));
    pane.shows("Edit it again? [Y/n]");
    pane.keys(&["Enter"]);
    pane.shows("engine.explain is 4 (was 10)");
    let file = fs::read_to_string(world.path(FILE)).expect("a file");
    assert_eq!(file, "[engine]\nexplain = 4\n");
}
