//! Prompts go to agents in their own repository, commands anywhere.

use serde_json::Value;

use crate::agents::Toy;
use crate::harness::{Shell, World, finish, program, text};

/// A repository with a directory in it, and a worktree beside it.
fn repository(world: &World, name: &str) -> String {
    let dir = world.mkdir(&format!("src/{name}"));
    world.mkdir(&format!("src/{name}/lib"));
    let git = |args: &[&str]| {
        let identity = ["-c", "user.name=a", "-c", "user.email=a@b"];
        let place = ["-C", &dir];
        let all = [&place[..], &identity, args].concat();
        finish(world.command("git").args(all), b"").succeeded();
    };
    git(&["init", "-q", "-b", "main"]);
    git(&["commit", "-q", "--allow-empty", "-m", "first"]);
    let tree = text(&world.path(format!("trees/{name}")));
    git(&["worktree", "add", "-q", "-b", "other", &tree]);
    dir
}

fn waits(world: &World, id: u64, words: &str) {
    world.eventually(|| {
        let said: Value = world.json(&["explain", &id.to_string()]);
        let reason = said["reason"].as_str().unwrap_or_default();
        match reason.contains(words) && world.show(id)["status"] == "pending" {
            true => Ok(()),
            false => Err(format!("{said:#}")),
        }
    });
}

#[test]
fn a_prompt_goes_to_an_agent_in_its_repository() {
    let world = World::new();
    let (api, web) = (repository(&world, "api"), repository(&world, "web"));
    let lib = format!("{api}/lib");
    let toy = Toy::new(&world);
    toy.session("web", &web);
    let _daemon = world.daemon();
    world.session_is("web", "idle");

    // No agent works there at all.
    let id = world.send(&["-w", &lib, "--", "first"]);
    waits(&world, id, &format!("no agent works in {api} or above it"));
    let said = world.json(&["explain", &id.to_string()]);
    let changes = said.to_string();
    assert!(
        changes.contains(&format!("assigner edit {id} --anywhere")),
        "{said:#}"
    );
    assert!(
        changes.contains(&format!("the prompt is for {api}, but this works in {web}")),
        "{said:#}"
    );
    assert_eq!(world.show(id)["repository"], api.as_str());
    // An agent elsewhere in the repository can take it, and so can one in a worktree of it. (The
    // toy reads single lines and cannot take the note about a directory: a task for another
    // directory is given to it, but fails.)
    toy.session("api", &api);
    assert_eq!(world.settled(id)["session"], "api");
    let pane = toy.session("tree", &text(&world.path("trees/web")));
    world.session_is("tree", "idle");
    pane.keys(&["x"]);
    world.session_is("tree", "attended");
    let id = world.send(&["-w", &text(&world.path("trees/api")), "--", "second"]);
    assert_eq!(world.settled(id)["session"], "api");

    // A sender who wants it elsewhere says so, before or after.
    let elsewhere = text(&world.path("src"));
    let id = world.send(&["-w", &elsewhere, "--anywhere", "--", "third"]);
    assert_ne!(world.settled(id)["session"], Value::Null);
    let dir = world.mkdir("nowhere");
    let id = world.send(&["-w", &dir, "--", "fourth"]);
    waits(&world, id, &format!("no agent works in {dir} or above it"));
    world
        .assigner(&["edit", &id.to_string(), "--anywhere"])
        .succeeded();
    assert_ne!(world.settled(id)["session"], Value::Null);
    // Naming a session works, too.
    let id = world.send(&["-w", &dir, "--target", "web", "--", "fifth"]);
    assert_eq!(world.settled(id)["session"], "web");
    let id = world.send(&["-w", &dir, "--no-context-match", "--", "sixth"]);
    assert_ne!(world.settled(id)["session"], Value::Null);
}

#[test]
fn a_command_is_brought_to_its_directory() {
    let world = World::new();
    let (api, web) = (repository(&world, "api"), repository(&world, "web"));
    world.session_in("web", Shell::Bash, &web);
    let _daemon = world.daemon();
    let id = world.shell_with(&["-w", &api], "pwd");
    world.completed(id);
    assert_eq!(world.output(id), format!("{api}\n").as_bytes());
}

/// A task that is typed in a terminal is for the current directory.
#[test]
fn a_task_that_is_typed_is_for_the_directory_there() {
    let world = World::new();
    let api = repository(&world, "api");
    let pane = world.session_in("desk", Shell::Bash, &api);
    let program = program();
    let send = |options: &str| {
        pane.line(&format!(
            "{program} send --data-dir {} {options} 'what is it?'",
            text(world.data())
        ));
    };
    send("");
    pane.shows(&format!("task 1 queued for {api}"));
    send("--anywhere");
    pane.shows("task 2 queued");
    send("--target x");
    pane.shows("task 3 queued");
    assert_eq!(world.show(1)["context"]["working_dir"], api.as_str());
    assert_eq!(world.show(1)["repository"], api.as_str());
    for id in [2, 3] {
        assert_eq!(world.show(id)["context"]["working_dir"], Value::Null);
    }
    // A script is not a terminal.
    let id = world.send(&["--", "from a script"]);
    assert_eq!(world.show(id)["context"]["working_dir"], Value::Null);
}
