//! Sessions are followed: their directories, repositories and branches.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{Row, row};
use crate::harness::setup::{git, repository};
use crate::harness::tasks::{failed, reason_says, terms, time};
use crate::harness::{Shell, World, assert_calm, eventually, finish, in_each_shell, stays, text};
use crate::queue::database;
use assigner_needs::has;

/// How soon a change must be seen: a second or so, with room for a machine that does other things.
const SOON: Duration = Duration::from_secs(5);

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
        let entry = world.eventually(|| {
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
