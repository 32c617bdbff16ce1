//! The context of sessions is followed, and what a task asks for is prepared before it runs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension};
use serde_json::Value;

use crate::harness::{
    Seat, Shell, World, assert_calm, eventually, finish, in_each_shell, stays, text,
};
use crate::queue::database;
use assigner_needs::has;

/// How soon a change must be seen: a second or so, with room for a machine that does other things.
const SOON: Duration = Duration::from_secs(5);

/// Runs git in a directory, without any user's settings, and returns what it printed.
#[track_caller]
pub(crate) fn git(world: &World, dir: &str, args: &[&str]) -> String {
    let output = finish(
        world
            .command("git")
            .args(["-C", dir, "-c", "user.name=A Person"])
            .args(["-c", "user.email=a@person.example"])
            .args(["-c", "protocol.file.allow=always"])
            .args(args),
        b"",
    );
    output.succeeded().text().trim_end().to_owned()
}

/// Makes a repository with a commit, on a branch.
pub(crate) fn repository(world: &World, dir: &str, branch: &str) -> String {
    let dir = world.mkdir(dir);
    git(world, &dir, &["init", "-q", "-b", branch]);
    let commit = ["commit", "-q", "--allow-empty", "-m", "first"];
    git(world, &dir, &commit);
    dir
}

/// Writes the configuration file where every command and the daemon look for it.
pub(crate) fn configure(world: &World, settings: &str) {
    let dir = world.mkdir("home/.config/assigner");
    fs::write(format!("{dir}/config.toml"), settings).expect("a file");
}

/// Waits until a task has failed with an error that contains all these words.
#[track_caller]
pub(crate) fn failed(world: &World, id: u64, words: &[&str]) -> Value {
    let task = world.settled(id);
    assert_eq!(task["status"], "failed", "{task:#}");
    let error = task["error"].as_str().unwrap_or_default();
    for word in words {
        assert!(error.contains(*word), "no {word:?} in {error:?}: {task:#}");
    }
    task
}

/// Waits until `explain` gives a reason with all these words for a pending task.
#[track_caller]
pub(crate) fn reason_says(world: &World, id: u64, words: &[&str]) -> String {
    eventually(|| {
        let said = world.json(&["explain", &id.to_string()]);
        let reason = said["reason"].as_str().unwrap_or_default();
        if !reason.is_empty() && words.iter().all(|word| reason.contains(*word)) {
            Ok(reason.to_owned())
        } else {
            Err(format!("the reason does not say {words:?}: {said}"))
        }
    })
}

/// Returns the terms of a session's points in a task's last attempt.
pub(crate) fn terms(task: &Value, session: &str) -> BTreeMap<String, i64> {
    let attempt = task["attempts"]
        .as_array()
        .and_then(|attempts| attempts.last())
        .expect("an attempt");
    let ranking = attempt["rankings"]
        .as_array()
        .expect("rankings")
        .iter()
        .find(|ranking| ranking["session"] == session)
        .unwrap_or_else(|| panic!("{session} was not looked at: {task:#}"));
    ranking["terms"]
        .as_array()
        .expect("terms")
        .iter()
        .map(|term| {
            let name = term["name"].as_str().expect("a name").to_owned();
            (name, term["points"].as_i64().expect("points"))
        })
        .collect()
}

/// What the database says about a session; nothing is "".
#[derive(Debug, PartialEq, Eq)]
struct Row {
    status: String,
    current_dir: String,
    git_branch: String,
    env_vars: String,
    last_context_update: String,
    updated_at: String,
}

fn row(database: &Connection, session: &str) -> Option<Row> {
    database
        .query_row(
            "SELECT ifnull(status, ''), ifnull(current_dir, ''), ifnull(git_branch, ''), \
             ifnull(env_vars, ''), ifnull(last_context_update, ''), ifnull(updated_at, '') \
             FROM sessions WHERE name = ?1",
            [session],
            |row| {
                Ok(Row {
                    status: row.get(0)?,
                    current_dir: row.get(1)?,
                    git_branch: row.get(2)?,
                    env_vars: row.get(3)?,
                    last_context_update: row.get(4)?,
                    updated_at: row.get(5)?,
                })
            },
        )
        .optional()
        .expect("the table of sessions")
}

/// Waits until the database has, soon enough, this directory and branch for a session.
#[track_caller]
fn stands(database: &Connection, session: &str, dir: &str, branch: &str) -> Row {
    let begun = Instant::now();
    let found = eventually(|| match row(database, session) {
        Some(row) if row.current_dir == dir && row.git_branch == branch => Ok(row),
        other => Err(format!(
            "{session} is not in {dir} on {branch:?}: {other:?}"
        )),
    });
    let took = begun.elapsed();
    assert!(took < SOON, "{session} in {dir} on {branch:?}: {took:?}");
    found
}

/// Parses a point in time, as it appears in the database and in JSON.
#[track_caller]
pub(crate) fn time(text: &str) -> jiff::Timestamp {
    text.parse()
        .unwrap_or_else(|error| panic!("{text:?} is no time in UTC: {error}"))
}

#[test]
fn a_person_who_moves_is_followed() {
    in_each_shell(|seat| {
        let (world, name) = (seat.world, seat.name());
        let home = text(&world.path("work").join(name));
        let repo = repository(world, &format!("work/{name}/repo"), "main");
        git(world, &repo, &["branch", "feature/x"]);
        let database = database(world);
        stands(&database, name, &home, "");

        seat.pane.line("cd repo");
        let moved = stands(&database, name, &repo, "main");
        seat.pane.line("git checkout -q feature/x");
        let switched = stands(&database, name, &repo, "feature/x");
        assert!(
            time(&switched.last_context_update) > time(&moved.last_context_update),
            "{moved:?} {switched:?}"
        );
        assert!(time(&switched.updated_at) > time(&moved.updated_at));
        // Somebody else may do it in another terminal.
        git(world, &repo, &["checkout", "-q", "-b", "elsewhere"]);
        stands(&database, name, &repo, "elsewhere");
        let entry = world.session_entry(name).expect("a session");
        assert_eq!(entry["current_dir"], repo.as_str(), "{entry}");
        assert_eq!(entry["git_branch"], "elsewhere", "{entry}");

        seat.pane.line("mkdir -p deep/er && cd deep/er");
        stands(&database, name, &format!("{repo}/deep/er"), "elsewhere");
        seat.pane.line("git checkout -q --detach");
        let commit = git(world, &repo, &["rev-parse", "HEAD"]);
        stands(&database, name, &format!("{repo}/deep/er"), &commit[..7]);
        seat.pane.line("cd /");
        stands(&database, name, "/", "");
        // What a task does counts as well.
        seat.run(&format!("cd '{repo}' && git checkout -q main"));
        stands(&database, name, &repo, "main");
    });
}

#[test]
fn every_layout_of_a_repository_is_understood() {
    let world = World::new();
    let main = repository(&world, "main", "main");
    let deep = world.mkdir("main/deep/er");
    let worktree = ["worktree", "add", "-q", "-b", "in-tree", "../tree"];
    git(&world, &main, &worktree);
    let library = repository(&world, "library", "of-library");
    git(&world, &main, &["submodule", "add", "-q", &library, "sub"]);
    git(
        &world,
        &format!("{main}/sub"),
        &["checkout", "-q", "-b", "in-sub"],
    );
    let detached = repository(&world, "detached", "main");
    git(&world, &detached, &["checkout", "-q", "--detach"]);
    let commit = git(&world, &detached, &["rev-parse", "HEAD"]);
    let unborn = world.mkdir("unborn");
    git(&world, &unborn, &["init", "-q", "-b", "trunk"]);
    let unusual = repository(&world, "unusual", "feature/grüße-日本#{x}");
    let separate = world.mkdir("separate");
    let kept = format!("--separate-git-dir={}/kept.git", text(&world.path("tmp")));
    git(
        &world,
        &separate,
        &["init", "-q", "-b", "in-separate", &kept],
    );
    symlink(&deep, world.path("link")).expect("a link");
    let plain = world.mkdir("plain");

    // Each with the directory where it starts, its real path, and the branch there.
    let path = |name: &str| text(&world.path(name));
    let mut layouts = vec![
        ("deep", deep.clone(), deep.clone(), "main".to_owned()),
        ("tree", path("tree"), path("tree"), "in-tree".to_owned()),
        ("sub", path("main/sub"), path("main/sub"), "in-sub".into()),
        (
            "detached",
            detached.clone(),
            detached,
            commit[..7].to_owned(),
        ),
        ("unborn", unborn.clone(), unborn, "trunk".into()),
        (
            "unusual",
            unusual.clone(),
            unusual,
            "feature/grüße-日本#{x}".into(),
        ),
        (
            "separate",
            separate.clone(),
            separate.clone(),
            "in-separate".into(),
        ),
        ("link", path("link"), deep.clone(), "main".into()),
        ("plain", plain.clone(), plain, String::new()),
    ];
    let table = world.mkdir("table");
    let init = ["init", "-q", "-b", "in-table", "--ref-format=reftable"];
    let reftable = has!(reftable);
    if reftable {
        finish(world.command("git").args(init).arg(&table), b"").succeeded();
        layouts.push(("table", table.clone(), table.clone(), "in-table".into()));
    }
    for (name, start, ..) in &layouts {
        world.session_in(name, Shell::Bash, start);
    }
    let daemon = world.daemon();
    let database = database(&world);
    for (name, _, dir, branch) in &layouts {
        eprintln!("{name}");
        stands(&database, name, dir, branch);
    }

    // Each changes its own branch, and no other.
    let mut changes = vec![
        ("tree", path("tree"), "tree/2"),
        ("sub", path("main/sub"), "sub/2"),
        ("separate", separate, "separate/2"),
        ("detached", path("detached"), "attached"),
    ];
    if reftable {
        changes.push(("table", table, "table/2"));
    }
    for (name, dir, branch) in &changes {
        git(&world, dir, &["checkout", "-q", "-b", branch]);
        stands(&database, name, dir, branch);
    }
    for name in ["deep", "link"] {
        stands(&database, name, &deep, "main");
    }
    // A link stands for its target.
    let id = world.shell_with(&["--target", "link", "-w", &deep], "true");
    let task = world.completed(id);
    assert_eq!(terms(&task, "link").values().sum::<i64>(), 100, "{task:#}");
    assert_calm(&daemon.log());
}

#[test]
fn directories_that_are_lost_or_unreadable_do_no_harm() {
    let world = World::new();
    let names = ["gone", "garbage", "nowhere", "directory", "pipe", "closed"];
    for name in &names[1..] {
        repository(&world, name, "main");
    }
    let gone = world.mkdir("gone");
    let head = |name: &str| world.path(name).join(".git/HEAD");
    fs::write(head("garbage"), b"no \xff head\n").expect("a file");
    fs::remove_dir_all(world.path("nowhere/.git")).expect("a directory");
    fs::write(world.path("nowhere/.git"), "gitdir: /no/such/place\n").expect("a file");
    fs::remove_file(head("directory")).expect("a file");
    fs::create_dir(head("directory")).expect("a directory");
    // Reading this one never ends.
    fs::remove_file(head("pipe")).expect("a file");
    finish(world.command("mkfifo").arg(head("pipe")), b"").succeeded();

    let panes: BTreeMap<&str, _> = names
        .iter()
        .map(|name| {
            let dir = text(&world.path(name));
            (*name, world.session_in(name, Shell::Bash, &dir))
        })
        .collect();
    fs::remove_dir(&gone).expect("an empty directory");
    let closed = world.path("closed");
    let mode = |mode| fs::set_permissions(&closed, fs::Permissions::from_mode(mode));
    mode(0o000).expect("a mode");
    // Nothing is closed to root.
    let is_closed = fs::read_dir(&closed).is_err();

    let daemon = world.daemon();
    let database = database(&world);
    for name in names {
        world.session_is(name, "idle");
        let open = name == "closed" && !is_closed;
        let expected = if open { "main" } else { "" };
        let entry = eventually(|| {
            let entry = world.session_entry(name).ok_or("no session")?;
            if entry["git_branch"].as_str().unwrap_or_default() == expected {
                Ok(entry)
            } else {
                Err(format!("{name} is not on {expected:?}: {entry}"))
            }
        });
        let dir = entry["current_dir"].as_str().unwrap_or_default();
        assert!(!dir.contains("deleted"), "{name}: {entry}");
        let id = world.shell_with(&["--target", name], "echo fine");
        assert_eq!(world.completed(id)["output"], "fine\n", "{name}");
    }
    assert_calm(&daemon.log());

    mode(0o755).expect("a mode");
    // Any remaining reader of the pipe can now continue.
    let pipe = File::options().read(true).write(true).open(head("pipe"));
    drop(pipe.expect("a pipe"));
    fs::remove_file(head("pipe")).expect("a pipe");
    for name in ["garbage", "pipe"] {
        fs::write(head(name), "ref: refs/heads/mended\n").expect("a file");
        stands(&database, name, &text(&world.path(name)), "mended");
    }
    stands(&database, "closed", &text(&closed), "main");
    panes["gone"].line(&format!("cd '{}'", text(&closed)));
    stands(&database, "gone", &text(&closed), "main");
}

#[test]
fn only_rows_that_changed_are_written() {
    let world = World::new();
    let moving = world.session("moving", Shell::Bash);
    world.session("quiet", Shell::Bash);
    let _daemon = world.daemon();
    for name in ["moving", "quiet"] {
        world.session_is(name, "idle");
    }
    let database = database(&world);
    let go = |dir: &str| {
        moving.line(&format!("cd '{dir}'"));
        stands(&database, "moving", dir, "")
    };
    let mut before = go("/");
    let quiet = row(&database, "quiet").expect("a session");
    assert!(!quiet.updated_at.is_empty(), "{quiet:?}");
    for name in ["one", "two", "three"] {
        let after = go(&world.mkdir(name));
        assert!(
            time(&after.updated_at) > time(&before.updated_at),
            "{before:?} {after:?}"
        );
        before = after;
    }
    world.completed(world.shell_with(&["--target", "moving"], "export A=1"));
    stays(|| row(&database, "quiet"));
    assert_eq!(row(&database, "quiet"), Some(quiet));
}

#[test]
fn a_required_branch_is_looked_at() {
    in_each_shell(|seat| {
        let (world, name) = (seat.world, seat.name());
        let repo = repository(world, &format!("work/{name}/repo"), "where-it-is");
        git(world, &repo, &["branch", "wanted/branch"]);
        let plain = seat.mkdir("plain");
        let required = |dir: &str, options: &[&str], command: &str| {
            let condition = ["-w", dir, "--git-branch", "wanted/branch"];
            let options = [&condition[..], &["--require-branch"], options].concat();
            seat.shell_with(&options, command)
        };
        let branch = "git symbolic-ref --short HEAD";
        let both = ["wanted/branch", "where-it-is"];

        // The branch is checked before anything is typed.
        let before = seat.pane.screen();
        let wrong = failed(world, required(&repo, &[], "touch ran"), &both);
        assert_eq!(wrong["attempts"].as_array().map(Vec::len), Some(1));
        let id = required(&repo, &["--retries", "1"], "touch ran");
        let wrong = failed(world, id, &both);
        assert_eq!(wrong["attempts"].as_array().map(Vec::len), Some(2));
        failed(world, required(&plain, &[], "touch ran"), &both[..1]);
        assert_eq!(seat.pane.screen(), before, "something was typed");

        // With prerequisites, it is checked after them.
        let idle = ["--prereq", "true"];
        failed(world, required(&repo, &idle, "touch ran"), &both);
        let checkout = ["--prereq", "git checkout -q wanted/branch"];
        let id = required(&repo, &checkout, branch);
        let output = world.completed(id)["output"].to_string();
        assert!(output.contains("wanted/branch"), "{output}");
        let id = required(&repo, &[], branch);
        assert_eq!(world.completed(id)["output"], "wanted/branch\n");
        let away = ["--prereq", "git checkout -q where-it-is"];
        failed(world, required(&repo, &away, "touch ran"), &both);
        assert!(!Path::new(&repo).join("ran").exists());
        assert!(!Path::new(&plain).join("ran").exists());
        assert!(!seat.path("ran").exists());
        assert_eq!(seat.run("echo next"), "next\n");
    });
}

#[test]
fn a_required_branch_is_waited_for_where_no_directory_is_named() {
    let world = World::new();
    let repo = repository(&world, "repo", "main");
    git(&world, &repo, &["branch", "release/2"]);
    let pane = world.session_in("repo", Shell::Bash, &repo);
    world.session("plain", Shell::Bash);
    let _daemon = world.daemon();
    for name in ["repo", "plain"] {
        world.session_is(name, "idle");
    }
    let without = world.assigner(&["send", "--shell", "--require-branch", "true"]);
    assert_eq!(without.code, Some(2), "{without:?}");
    assert_calm(&without.stderr);

    let id = world.shell_with(
        &["-b", "release/2", "--require-branch"],
        "git symbolic-ref --short HEAD",
    );
    reason_says(&world, id, &["release/2"]);
    assert_eq!(world.run("echo next"), "next\n");
    stays(|| world.show(id)["status"].clone());
    assert_eq!(world.show(id)["status"], "pending");
    pane.line("git checkout -q release/2");
    let task = world.completed(id);
    assert_eq!(task["session"], "repo", "{task:#}");
    assert_eq!(task["output"], "release/2\n", "{task:#}");
    assert_eq!(task["attempts"].as_array().map(Vec::len), Some(1));
}

/// Makes what `python -m venv` makes, as far as shells can tell.
fn virtual_environment(seat: &Seat<'_>) -> String {
    let venv = seat.mkdir("venv");
    seat.mkdir("venv/bin");
    let files = [
        (
            "activate",
            format!(
                "deactivate() {{\n    PATH=$_OLD_PATH\n    export PATH\n    unset VIRTUAL_ENV\n}}\n\
                 _OLD_PATH=$PATH\nVIRTUAL_ENV='{venv}'\nexport VIRTUAL_ENV\n\
                 PATH=\"$VIRTUAL_ENV/bin:$PATH\"\nexport PATH\nhash -r 2>/dev/null\n"
            ),
        ),
        (
            "activate.fish",
            format!(
                "function deactivate\n    set -gx PATH $_OLD_PATH\n    set -e VIRTUAL_ENV\nend\n\
                 set -g _OLD_PATH $PATH\nset -gx VIRTUAL_ENV '{venv}'\n\
                 set -gx PATH $VIRTUAL_ENV/bin $PATH\n"
            ),
        ),
        (
            "tool-of-venv",
            "#!/bin/sh\necho \"tool of $VIRTUAL_ENV\"\n".to_owned(),
        ),
    ];
    for (name, content) in files {
        let path = format!("{venv}/bin/{name}");
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    venv
}

#[test]
fn prerequisites_prepare_the_session_in_order() {
    in_each_shell(|seat| {
        let world = seat.world;
        let dir = text(&world.path("work").join(seat.name()));
        let venv = virtual_environment(seat);
        let quoted = "printf '%s\\n' 'a \"quoted\" $(touch leaked)' >> order\necho lines >> order";
        let prerequisites = match seat.shell {
            Shell::Fish => [
                "function greet\n    echo \"hello $argv[1], it's $WORD\"\nend",
                "set -g not_exported shared",
                "greet first >> order",
                quoted,
                "source venv/bin/activate.fish",
                "set -gx STAGE \"built here\"; echo $not_exported >> order",
            ],
            _ => [
                "greet() {\n    echo \"hello $1, it's $WORD\"\n}",
                "not_exported=shared",
                "greet first >> order",
                quoted,
                match seat.shell {
                    Shell::Dash => ". venv/bin/activate",
                    _ => "source venv/bin/activate",
                },
                "export STAGE=\"built here\"; echo $not_exported >> order",
            ],
        };
        let mut options = vec!["-w", &dir, "-e", "WORD=kept"];
        for prerequisite in prerequisites {
            options.extend(["--prereq", prerequisite]);
        }
        let id = seat.shell_with(
            &options,
            "greet second >> order; tool-of-venv; printenv VIRTUAL_ENV; printenv STAGE",
        );
        world.completed(id);
        let seen = String::from_utf8(world.output(id)).expect("text");
        assert!(
            seen.ends_with(&format!("tool of {venv}\n{venv}\nbuilt here\n")),
            "{seen:?}"
        );
        assert_eq!(
            world.lines(&format!("{}/order", seat.name())),
            [
                "hello first, it's kept",
                "a \"quoted\" $(touch leaked)",
                "lines",
                "shared",
                "hello second, it's kept",
            ]
        );
        assert!(!seat.path("leaked").exists());
        assert_eq!(
            world.show(id)["prerequisites"],
            serde_json::json!(prerequisites)
        );
        // It was the session's own shell, so a person can use the definitions too.
        assert_eq!(
            seat.run("deactivate; sh -c 'echo ${VIRTUAL_ENV-none}'"),
            "none\n"
        );
    });
}

#[test]
fn a_prerequisite_that_fails_says_how() {
    in_each_shell(|seat| {
        let world = seat.world;
        let talks = "echo the-beginning | tr a-z A-Z; seq 1 300 | sed 's/$/-of-300/'; \
                     sh -c 'exit 41'";
        let id = seat.shell_with(
            &["--prereq", "echo x >> tries", "--prereq", talks],
            "touch ran",
        );
        let task = failed(world, id, &["echo the-beginning", "41", "300-of-300"]);
        let error = task["error"].as_str().unwrap_or_default();
        // Only the last lines, not all of them.
        assert!(!error.contains("THE-BEGINNING"), "{error}");
        assert!(
            world
                .history(id)
                .iter()
                .any(|row| row.starts_with("\"failed\"") && row.contains("41")),
            "{:?}",
            world.history(id)
        );
        assert!(!seat.path("ran").exists());

        // Another attempt runs all of them again.
        let id = seat.shell_with(
            &[
                "--retries",
                "1",
                "--prereq",
                "echo x >> tries",
                "--prereq",
                "sh -c 'test -e marker || { touch marker; exit 1; }'",
            ],
            "echo ran >> ran",
        );
        let task = world.completed(id);
        assert_eq!(task["attempts"].as_array().map(Vec::len), Some(2));
        assert_eq!(task["attempts"][0]["status"], "failed", "{task:#}");
        let lines = |file: &str| world.lines(&format!("{}/{file}", seat.name()));
        assert_eq!(lines("tries"), ["x", "x", "x"]);
        assert_eq!(lines("ran"), ["ran"]);
    });
}

#[test]
fn each_prerequisite_has_its_time_and_the_command_its_own() {
    in_each_shell(|seat| {
        let world = seat.world;
        let id = seat.shell_with(
            &[
                "--prereq-timeout",
                "1s",
                "--prereq",
                "echo first >> order",
                "--prereq",
                "sleep 300",
                "--prereq",
                "echo after >> order",
            ],
            "echo command >> order",
        );
        failed(world, id, &["sleep 300", "longer"]);
        assert_eq!(world.lines(&format!("{}/order", seat.name())), ["first"]);
        assert_eq!(seat.run("echo next"), "next\n");

        // Together they take longer than each may, and longer than the command may.
        let id = seat.shell_with(
            &[
                "--prereq-timeout",
                "4s",
                "--timeout",
                "4s",
                "--prereq",
                "sleep 2.5",
                "--prereq",
                "sleep 2.5",
            ],
            "echo ran",
        );
        let task = world.completed(id);
        let output = task["output"].as_str().unwrap_or_default();
        assert!(output.ends_with("ran\n"), "{task:#}");
    });
}

#[test]
fn the_time_of_prerequisites_is_a_setting() {
    let world = World::new();
    configure(&world, "[engine]\nprerequisite-timeout = \"1s\"\n");
    for value in ["soon", "0", "-1s", ""] {
        let option = format!("--prereq-timeout={value}");
        let output = world.assigner(&["send", "--shell", &option, "--prereq", "true", "true"]);
        assert_eq!(output.code, Some(2), "{value:?}: {output:?}");
        assert_calm(&output.stderr);
    }
    assert_eq!(world.json(&["list"]), serde_json::json!([]));

    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    let id = world.shell_with(&["--prereq", "sleep 300"], "touch ran");
    failed(&world, id, &["sleep 300", "longer"]);
    assert!(!world.path("work/ran").exists());
    // The task's own value wins.
    let options = ["--prereq-timeout", "30s", "--prereq", "sleep 1.5"];
    world.completed(world.shell_with(&options, "touch ran"));
    assert!(world.path("work/ran").exists());
}

#[test]
fn values_arrive_in_prerequisites_and_are_known_as_they_are() {
    let values = [
        "it's \"quoted\" `touch leaked`",
        "two\nlines\n\n",
        "$(touch leaked) $HOME ${HOME} !! *",
        "back\\slash \\n \\\\ \\' \\",
        "grüße 日本 \u{1f980}",
        "",
        " -n ",
    ];
    in_each_shell(|seat| {
        let (world, name) = (seat.world, seat.name());
        let variables: Vec<String> = values
            .iter()
            .enumerate()
            .map(|(number, value)| format!("HOSTILE_{number}={value}"))
            .collect();
        let mut options = Vec::new();
        for variable in &variables {
            options.extend(["-e", variable]);
        }
        let prerequisite = ["--prereq", "sh -c 'env -0 > prepared'"];
        let id = seat.shell_with(
            &[&options[..], &prerequisite].concat(),
            "sh -c 'env -0 > ran'",
        );
        world.completed(id);
        for file in ["prepared", "ran"] {
            let seen = fs::read(seat.path(file)).expect("a file");
            let seen: Vec<String> = seen
                .split(|byte| *byte == 0)
                .map(|entry| String::from_utf8_lossy(entry).into_owned())
                .collect();
            for variable in &variables {
                assert!(seen.contains(variable), "{file}: {variable:?}: {seen:#?}");
            }
        }
        assert!(!seat.path("leaked").exists());
        let database = database(world);
        for (number, value) in values.iter().enumerate() {
            tracked(seat, &database, &format!("HOSTILE_{number}"), Some(*value));
        }
        let task = world.completed(seat.shell_with(&options, "true"));
        let terms = terms(&task, name);
        for number in 0..values.len() {
            let term = format!("variable HOSTILE_{number}");
            assert_eq!(terms.get(&term), Some(&20), "{term}: {task:#}");
        }
    });
}

/// Waits until a session is known to have a variable with a value, or not to have it: for people,
/// for scripts and in the database.
#[track_caller]
fn tracked(seat: &Seat<'_>, database: &Connection, variable: &str, value: Option<&str>) {
    eventually(|| {
        let entry = seat.world.session_entry(seat.name()).ok_or("no session")?;
        let row = row(database, seat.name()).ok_or("no row")?;
        let kept: Value = match row.env_vars.as_str() {
            "" => Value::Null,
            json => serde_json::from_str(json).map_err(|error| format!("{error}: {json:?}"))?,
        };
        if entry["env"][variable].as_str() == value && kept[variable].as_str() == value {
            Ok(())
        } else {
            Err(format!("{variable} is not {value:?}: {entry} {row:?}"))
        }
    });
}

#[test]
fn what_is_exported_is_known() {
    in_each_shell(|seat| {
        let (world, name) = (seat.world, seat.name());
        let fish = seat.shell == Shell::Fish;
        seat.run("export COLOUR=red");
        let database = database(world);
        tracked(seat, &database, "COLOUR", Some("red"));
        seat.run("export COLOUR='dark blue'");
        tracked(seat, &database, "COLOUR", Some("dark blue"));
        let id = seat.shell_with(&["--prereq", "export STAGE=test"], "true");
        world.completed(id);
        tracked(seat, &database, "STAGE", Some("test"));
        let again = seat.shell_with(&["-e", "STAGE=test", "-e", "COLOUR=red"], "true");
        let task = world.completed(again);
        let known = terms(&task, name);
        assert_eq!(known.get("variable STAGE"), Some(&20), "{task:#}");
        assert_eq!(known.get("variable COLOUR"), None, "{task:#}");
        seat.run(if fish { "set -e STAGE" } else { "unset STAGE" });
        tracked(seat, &database, "STAGE", None);

        // By hand, at the prompt.
        seat.pane.line(if fish {
            "set -gx DEBUG 1; set -gx OTHER 1; echo it-is-set"
        } else {
            "export DEBUG=1 OTHER=1; echo it-is-set"
        });
        seat.pane.shows("\nit-is-set");
        seat.pane.prompt();
        let id = seat.shell_with(&["-e", "DEBUG=1", "-e", "OTHER=2"], "printenv DEBUG");
        let task = world.completed(id);
        assert_eq!(task["output"], "1\n", "{task:#}");
        let known = terms(&task, name);
        assert_eq!(known.get("variable DEBUG"), Some(&20), "{task:#}");
        assert_eq!(known.get("variable OTHER"), None, "{task:#}");
    });
}

#[test]
fn an_isolated_task_leaves_no_variable_behind() {
    in_each_shell(|seat| {
        let (world, name) = (seat.world, seat.name());
        let extra = seat.mkdir("extra");
        let look =
            r#"sh -c 'echo "${BEFORE-none} ${GIVEN-none} ${PREPARED-none} ${MADE-none} $PATH"'"#;
        seat.run("export BEFORE=kept");
        let before = seat.run(look);
        let path = before
            .strip_prefix("kept none none none ")
            .unwrap_or_else(|| panic!("{before:?}"));
        let (prepare, make) = match seat.shell {
            Shell::Fish => (
                format!("set -gx PREPARED yes; set -gx PATH '{extra}' $PATH"),
                "set -gx MADE yes; set -gx BEFORE changed".to_owned(),
            ),
            _ => (
                format!("export PREPARED=yes PATH='{extra}':\"$PATH\""),
                "export MADE=yes; BEFORE=changed".to_owned(),
            ),
        };
        let isolated = |options: &[&str], command: &str| {
            let context = ["--isolate-env", "-e", "GIVEN=yes", "-e", "BEFORE=given"];
            let prerequisite = ["--prereq", &prepare];
            let options = [&context[..], &prerequisite, options].concat();
            seat.shell_with(&options, &format!("{make}; {command}"))
        };

        let id = isolated(&[], look);
        world.completed(id);
        let seen = String::from_utf8(world.output(id)).expect("text");
        assert!(
            seen.ends_with(&format!("changed yes yes yes {extra}:{path}")),
            "{seen:?}"
        );
        assert_eq!(seat.run(look), before);
        // However it ends.
        let task = failed(world, isolated(&[], "sh -c 'exit 5'"), &[]);
        assert_eq!(task["exit_code"], 5, "{task:#}");
        assert_eq!(seat.run(look), before);
        let id = isolated(&["--prereq", "sh -c 'exit 6'"], "true");
        failed(world, id, &["sh -c 'exit 6'"]);
        assert_eq!(seat.run(look), before);
        failed(world, isolated(&["--timeout", "1s"], "sleep 300"), &[]);
        assert_eq!(seat.run(look), before);

        let database = database(world);
        tracked(seat, &database, "BEFORE", Some("kept"));
        for variable in ["GIVEN", "PREPARED", "MADE"] {
            tracked(seat, &database, variable, None);
        }
        let task = world.completed(seat.shell_with(&["-e", "BEFORE=kept"], "true"));
        assert_eq!(terms(&task, name).get("variable BEFORE"), Some(&20));
    });
}

/// Queues a command line with secrets from the sender's environment.
fn send_secret(world: &World, secrets: &[(&str, &str)], options: &[&str], command: &str) -> u64 {
    let mut binary = world.binary();
    binary.args(["--json", "send", "--shell"]).args(options);
    for (name, value) in secrets {
        binary.env(name, value).args(["--secret-env", *name]);
    }
    let answer = finish(binary.args(["--", command]), b"").succeeded().json();
    assert_eq!(answer["status"], "pending", "{answer}");
    answer["id"].as_u64().expect("a task's number")
}

/// Returns the files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found
}

/// Returns whether a file contains a text; a file that is gone does not.
fn holds(path: &Path, text: &str) -> bool {
    let bytes = fs::read(path).unwrap_or_default();
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

/// Asserts that no file of the data directory contains a secret any more, nor does the daemon's
/// log.
#[track_caller]
fn kept_nowhere(world: &World, secret: &str) {
    eventually(|| {
        let mut paths = files(world.data());
        assert!(!paths.is_empty());
        for entry in fs::read_dir(world.path("")).expect("the world's directory") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                paths.push(path);
            }
        }
        match paths.iter().find(|path| holds(path, secret)) {
            Some(path) => Err(format!("{} holds {secret}", path.display())),
            None => Ok(()),
        }
    });
}

/// Asserts that neither a command nor the database reveals a secret.
#[track_caller]
fn told_by_nobody(world: &World, id: u64, secret: &str) {
    let id = id.to_string();
    let commands: [&[&str]; 7] = [
        &["show", &id],
        &["history", &id],
        &["explain", &id],
        &["output", &id],
        &["list", "--limit", "0"],
        &["sessions"],
        &["status"],
    ];
    let forms: [&[&str]; 2] = [&[], &["--json"]];
    for command in commands {
        for form in forms {
            let args = [form, command].concat();
            let output = world.assigner(&args).succeeded();
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &output.stderr;
            assert!(!said.contains(secret), "{args:?}: {said}");
        }
    }
    for name in ["assigner.db", "assigner.db-wal"] {
        assert!(!holds(&world.data().join(name), secret), "{name}");
    }
}

#[test]
fn a_secret_is_for_its_task_alone() {
    in_each_shell(|seat| {
        let (world, name) = (seat.world, seat.name());
        let target = ["--target", name];
        let secret = format!("hush-{name}-tell-nobody");
        let value = format!("it's \"{secret}\" $(touch leaked) \\ é");
        let hold = match seat.shell {
            Shell::Fish => "while test ! -e go; sleep 0.02; end",
            _ => "while test ! -e go; do sleep 0.02; done",
        };
        let id = send_secret(
            world,
            &[("TOKEN", value.as_str())],
            &[&target[..], &["--prereq", "printenv TOKEN > prepared"]].concat(),
            &format!(
                "printenv TOKEN > got; printf 'value: %s.\\n' \"$TOKEN\"; {hold}; \
                 printf %s \"$TOKEN\""
            ),
        );
        for file in ["prepared", "got"] {
            eventually(|| match fs::read_to_string(seat.path(file)) {
                Ok(seen) if seen == format!("{value}\n") => Ok(()),
                other => Err(format!("{file}: {other:?}")),
            });
        }
        world.until(id, "in_progress");
        told_by_nobody(world, id, &secret);
        fs::write(seat.path("go"), "").expect("a file");
        world.completed(id);
        let output = String::from_utf8(world.output(id)).expect("text");
        assert_eq!(output, "value: ***.\n***");
        kept_nowhere(world, &secret);

        // The session no longer has it, and nothing ever recorded that it had.
        assert_eq!(seat.run("sh -c 'echo ${TOKEN-unset}'"), "unset\n");
        let database = database(world);
        tracked(seat, &database, "TOKEN", None);
        assert!(!seat.path("leaked").exists());
        told_by_nobody(world, id, &secret);
        kept_nowhere(world, &secret);
    });
}

#[test]
fn a_secret_is_masked_and_taken_back_however_its_task_ends() {
    in_each_shell(|seat| {
        let (world, name) = (seat.world, seat.name());
        let secret = format!("hush-{name}-again");
        let queue = |options: &[&str], command: &str| {
            let options = [&["--target", name][..], options].concat();
            let secrets = [("TOKEN", secret.as_str()), ("PIN", "abc")];
            send_secret(world, &secrets, &options, command)
        };
        let taken_back = || {
            assert_eq!(seat.run("printenv TOKEN"), "mine\n");
            assert_eq!(seat.run("sh -c 'echo ${PIN-unset}'"), "unset\n");
        };
        let output = |id| String::from_utf8(world.output(id)).expect("text");
        seat.run("export TOKEN=mine");

        // In two pieces; a secret of three bytes is too short to be recognised.
        let id = queue(
            &[],
            "sh -c 'printf %.8s \"$TOKEN\"; sleep 0.3; printf \"%s\\n\" \"${TOKEN#????????}\"'; \
             printenv PIN",
        );
        world.completed(id);
        assert_eq!(output(id), "***\nabc\n");
        taken_back();

        let bad = queue(&[], "sh -c 'echo \"to stderr $TOKEN\" >&2; exit 7'");
        let task = failed(world, bad, &[]);
        assert_eq!(task["exit_code"], 7, "{task:#}");
        assert_eq!(output(bad), "to stderr ***\n");
        taken_back();

        let prerequisite = ["--prereq", "sh -c 'echo \"got $TOKEN\"; exit 3'"];
        let refused = queue(&prerequisite, "touch ran");
        failed(world, refused, &["got ***"]);
        taken_back();

        let late = queue(&["--timeout", "1s"], "printenv TOKEN; sleep 300");
        failed(world, late, &[]);
        assert!(output(late).starts_with("***\n"), "{:?}", output(late));
        taken_back();

        // Each attempt has it.
        let again = queue(
            &["--retries", "1"],
            "sh -c 'echo \"$TOKEN\" >> tries; test $(wc -l < tries) -ge 2'",
        );
        world.completed(again);
        assert_eq!(
            world.lines(&format!("{name}/tries")),
            [secret.as_str(), &secret]
        );
        taken_back();

        for id in [refused, again] {
            told_by_nobody(world, id, &secret);
        }
        let database = database(world);
        tracked(seat, &database, "TOKEN", Some("mine"));
        kept_nowhere(world, &secret);
    });
}

#[test]
fn a_secret_waits_in_private_and_is_never_logged() {
    let world = World::new();
    let send = ["send", "--shell", "--secret-env", "NO_SUCH_TOKEN", "true"];
    let missing = world.assigner(&send).refused(2);
    assert!(
        missing.stderr.contains("NO_SUCH_TOKEN"),
        "{}",
        missing.stderr
    );
    for name in ["", "A B", "A=b", "1A"] {
        let option = format!("--secret-env={name}");
        let mut binary = world.binary();
        binary.env("A", "there");
        let output = finish(binary.args(["send", "--shell", &option, "true"]), b"");
        assert_eq!(output.code, Some(2), "{name:?}: {output:?}");
        assert_calm(&output.stderr);
    }
    assert_eq!(world.json(&["list"]), serde_json::json!([]));

    // While the task waits, the secret is stored where nobody else can read it.
    let secret = "hush-while-it-waits";
    let waiting = send_secret(&world, &[("TOKEN", secret)], &[], "touch ran");
    told_by_nobody(&world, waiting, secret);
    for path in files(world.data()) {
        if holds(&path, secret) {
            let mode = fs::metadata(&path).expect("a file").permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
        }
    }
    world
        .assigner(&["cancel", &waiting.to_string()])
        .succeeded();
    kept_nowhere(&world, secret);

    world.session("one", Shell::Bash);
    let daemon = world.daemon_with(&["-vv"]);
    let secret = "hush-while-it-runs";
    let good = send_secret(&world, &[("TOKEN", secret)], &[], "printenv TOKEN");
    assert_eq!(world.completed(good)["output"], "***\n");
    let bad = send_secret(&world, &[("TOKEN", secret)], &["--prereq", "false"], "true");
    failed(&world, bad, &["false"]);
    let log = daemon.log();
    assert!(log.contains(&format!("task={good}")), "{log}");
    assert!(!log.contains(secret), "{log}");
    kept_nowhere(&world, secret);
    assert!(!world.path("work/ran").exists());
}

#[test]
fn what_an_interrupted_task_leaves_is_undone() {
    in_each_shell(|seat| {
        let world = seat.world;
        let secret = format!("hush-{}-in-vain", seat.name());
        let options = ["--target", seat.name(), "--isolate-env", "-e", "LEFT=1"];
        for options in [&options[..2], &options[..]] {
            let id = send_secret(world, &[("TOKEN", &secret)], options, "sleep 300");
            world.until(id, "in_progress");
            world.assigner(&["cancel", &id.to_string()]).succeeded();
            world.until(id, "cancelled");
            // Before any other task, and without one.
            eventually(|| {
                let entry = world.session_entry(seat.name()).expect("the session");
                match entry["reason"].as_str() {
                    Some("waits at its prompt") => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            });
            let ask = "sh -c 'echo \"<${TOKEN-unset} ${LEFT-unset}>\"'";
            seat.pane.line(ask);
            seat.pane.shows("<unset unset>");
            seat.pane.line("clear");
            seat.pane.prompt();
        }
    });
}

#[test]
fn what_is_made_of_a_secret_is_told_by_nobody_either() {
    in_each_shell(|seat| {
        let world = seat.world;
        let secret = format!("hush-{}-derived", seat.name());
        let make = match seat.shell {
            Shell::Fish => "set -gx AUTH \"Bearer $TOKEN\"",
            _ => "export AUTH=\"Bearer $TOKEN\"",
        };
        let target = ["--target", seat.name()];
        let id = send_secret(world, &[("TOKEN", &secret)], &target, make);
        world.completed(id);
        assert_eq!(
            seat.run("sh -c 'echo ${#AUTH}'"),
            format!("{}\n", secret.len() + 7)
        );
        // This holds even if a task asks for it by name.
        let asked = seat.shell_with(&["-e", "AUTH=guess"], "true");
        world.completed(asked);
        told_by_nobody(world, id, &secret);
        kept_nowhere(world, &secret);
    });
}
