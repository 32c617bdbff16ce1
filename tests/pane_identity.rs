//! What a person says about a session belongs to the pane that was meant, whatever tmux calls it
//! later.

use serde_json::Value;

use crate::harness::{Shell, World, eventually, stays};

/// Prints the pane that a command runs in.
const WHERE: &str = "echo $TMUX_PANE";

/// Adds a pane to a session, and returns it once the daemon has seen it idle under this name.
fn split(world: &World, session: &str, name: &str) -> String {
    let target = format!("={session}:");
    let pane = world.tmux(&[
        "split-window",
        "-d",
        "-P",
        "-F",
        "#{pane_id}",
        "-t",
        &target,
        "sh",
    ]);
    world.session_is(name, "idle");
    pane
}

/// Makes a session `m` with three panes, and returns them in the order of their numbers.
fn three_panes(world: &World) -> [String; 3] {
    let first = world.session("m", Shell::Bash).format("#{pane_id}");
    world.session_is("m", "idle");
    // The newest comes right after the active one, which is the first.
    let last = split(world, "m", "m:0.1");
    let middle = split(world, "m", "m:0.2");
    let panes = world.tmux(&["list-panes", "-s", "-t", "=m:", "-F", "#{pane_id}"]);
    assert_eq!(panes, format!("{first}\n{middle}\n{last}"));
    [first, middle, last]
}

/// Waits until no session has this name any more.
fn ends(world: &World, name: &str) {
    world.eventually(|| match world.session_entry(name) {
        None => Ok(()),
        entry => Err(format!("{name} is there: {entry:?}")),
    });
}

fn ran_in(world: &World, task: u64) -> String {
    world.completed(task);
    let output = String::from_utf8(world.output(task)).expect("text");
    output.trim().to_owned()
}

fn paused(world: &World) -> Vec<Value> {
    let status = world.json(&["status"]);
    status["paused"]["sessions"]
        .as_array()
        .expect("a list")
        .clone()
}

#[test]
fn a_pause_and_a_target_stay_with_their_panes_when_panes_are_renumbered() {
    let world = World::new();
    let _daemon = world.daemon();
    let [_, middle, last] = three_panes(&world);
    world.assigner(&["pause", "m:0.1"]).succeeded();
    world.assigner(&["pause", "--all"]).succeeded();
    let wanted = world.shell_with(&["--target", "m:0.2"], WHERE);
    let held = world.shell_with(&["--target", "m:0.1"], WHERE);
    world.tmux(&["kill-pane", "-t", "=m:0.0"]);
    ends(&world, "m:0.2");
    world.assigner(&["resume", "--all"]).succeeded();
    assert_eq!(ran_in(&world, wanted), last);
    assert_eq!(paused(&world), ["m:0.0"]);
    let shown = world.show(held);
    assert_eq!(shown["target_session"], "m:0.0", "{shown:#}");
    assert_eq!(shown["target"]["said"], "m:0.1", "{shown:#}");
    // The other pane is free, but it is not the one that was meant.
    stays(|| world.show(held)["status"].clone());
    assert!(
        world.reason(held).contains("paused"),
        "{}",
        world.reason(held)
    );
    // By its present name; the name that was used now belongs to another pane.
    world.assigner(&["resume", "m:0.0"]).succeeded();
    assert_eq!(ran_in(&world, held), middle);
}

#[test]
fn a_label_goes_with_its_pane() {
    let world = World::new();
    let _daemon = world.daemon();
    let api = world.session("api", Shell::Bash).format("#{pane_id}");
    world.session("web", Shell::Bash);
    for name in ["api", "web"] {
        world.session_is(name, "idle");
    }
    world.assigner(&["label", "api", "gpu=yes"]).succeeded();
    world.tmux(&["swap-pane", "-s", "=api:0.0", "-t", "=web:0.0"]);
    world.eventually(|| match world.session_entry("web") {
        Some(entry) if entry["labels"]["gpu"] == "yes" => Ok(()),
        entry => Err(format!("{entry:?}")),
    });
    let other = world.session_entry("api").expect("it is there");
    assert_eq!(other["labels"], serde_json::json!({}), "{other:#}");
    let task = world.shell_with(&["--require-label", "gpu=yes"], WHERE);
    assert_eq!(ran_in(&world, task), api);
    // The label is removed by the present name.
    world
        .assigner(&["label", "web", "--remove", "gpu"])
        .succeeded();
    let labels = world.json(&["label", "web"]);
    assert_eq!(labels["labels"], serde_json::json!({}), "{labels}");
}

#[test]
fn a_pause_outlives_a_change_of_the_name() {
    let world = World::new();
    let daemon = world.daemon();
    world.session("api", Shell::Bash);
    world.session_is("api", "idle");
    world.assigner(&["pause", "api"]).succeeded();
    let task = world.shell(WHERE);
    world.tmux(&["rename-session", "-t", "=api", "web"]);
    let entry = world.session_is("web", "idle");
    assert_eq!(entry["paused"], true, "{entry:#}");
    // A daemon that starts later knows it, too.
    drop(daemon);
    let _daemon = world.daemon();
    stays(|| world.show(task)["status"].clone());
    assert_eq!(paused(&world), ["web"]);
    // The old name still finds it.
    assert_eq!(world.json(&["session", "api"])["name"], "web");
    world.assigner(&["resume", "api"]).succeeded();
    world.completed(task);
    assert_eq!(paused(&world), [""; 0]);
}

#[test]
fn a_pane_of_a_session_group_has_the_names_of_all_its_sessions() {
    let world = World::new();
    let _daemon = world.daemon();
    let pane = world.session("main", Shell::Bash).format("#{pane_id}");
    world.session_is("main", "idle");
    // tmux lists it first.
    world.tmux(&["new-session", "-d", "-t", "=main", "-s", "also"]);
    let entry = world.eventually(|| match world.session_entry("main") {
        Some(entry) if entry["aliases"] == serde_json::json!(["also"]) => Ok(entry),
        entry => Err(format!("{entry:?}")),
    });
    assert_eq!(entry["status"], "idle", "{entry:#}");
    assert!(world.session_entry("also").is_none(), "it is shown twice");
    assert_eq!(world.json(&["session", "also"])["name"], "main");
    let task = world.shell_with(&["--target", "also"], WHERE);
    assert_eq!(ran_in(&world, task), pane);
    world.assigner(&["label", "also", "gpu=yes"]).succeeded();
    let task = world.shell_with(&["--require-label", "gpu=yes"], WHERE);
    assert_eq!(ran_in(&world, task), pane);
    world.assigner(&["pause", "also"]).succeeded();
    assert_eq!(paused(&world), ["main"]);
    let task = world.shell_with(&["--target", "main"], WHERE);
    stays(|| world.show(task)["status"].clone());
    // When the first session ends, only its name is gone.
    world.tmux(&["kill-session", "-t", "=main"]);
    let entry = world.session_is("also", "idle");
    assert_eq!(entry["paused"], true, "{entry:#}");
    assert_eq!(world.show(task)["target_session"], "also");
    world.assigner(&["resume", "also"]).succeeded();
    assert_eq!(ran_in(&world, task), pane);
}

#[test]
fn what_was_said_of_a_pane_that_is_gone_holds_for_no_other() {
    let world = World::new();
    let _daemon = world.daemon();
    let [first, middle, last] = three_panes(&world);
    world.assigner(&["pause", "m:0.1"]).succeeded();
    world.assigner(&["label", "m:0.1", "gpu=yes"]).succeeded();
    let strict = world.shell_with(&["--target", "m:0.1"], WHERE);
    let loose = world.shell_with(&["--target", "m:0.1", "--target-fallback"], WHERE);
    assert!([&first, &last].contains(&&ran_in(&world, loose)));
    world.tmux(&["kill-pane", "-t", &middle]);
    ends(&world, "m:0.2");
    let gone = format!(
        "its target session m:0.1 (pane {middle}) is gone: `assigner reassign {strict} --to ...`"
    );
    let reason = world.reason(strict);
    assert!(reason.starts_with(&gone), "{reason}");
    let shown = world.show(strict);
    assert_eq!(shown["wait_reason"], gone, "{shown:#}");
    assert_eq!(shown["target"]["state"], "gone", "{shown:#}");
    // The pane that has the name now was never paused.
    assert_eq!(paused(&world), [""; 0]);
    let history = world.json(&["session", "m:0.1"])["history"].to_string();
    assert!(
        history.contains(&format!("its pane {middle} has ended")),
        "{history}"
    );
    let entry = world.session_entry("m:0.1").expect("it is there");
    assert_eq!(entry["labels"], serde_json::json!({}), "{entry:#}");
    stays(|| world.show(strict)["status"].clone());
    world
        .assigner(&["reassign", &strict.to_string(), "--to", "m:0.1"])
        .succeeded();
    assert_eq!(ran_in(&world, strict), last);
}

#[test]
fn a_name_is_awaited_and_then_bound() {
    let world = World::new();
    let _daemon = world.daemon();
    world.session("other", Shell::Bash);
    world.session_is("other", "idle");
    world.assigner(&["pause", "new"]).succeeded();
    let task = world.shell_with(&["--target", "new"], WHERE);
    let shown = world.show(task);
    assert_eq!(shown["target"]["state"], "awaited", "{shown:#}");
    let reason = world.reason(task);
    assert!(
        reason.contains("there is no session with that name"),
        "{reason}"
    );
    let pane = world.session("new", Shell::Bash).format("#{pane_id}");
    world.eventually(|| match world.session_entry("new") {
        Some(entry) if entry["paused"] == true => Ok(()),
        entry => Err(format!("{entry:?}")),
    });
    world.tmux(&["rename-session", "-t", "=new", "old"]);
    world.session_is("old", "idle");
    // Another pane that gets the name later is not the one that was meant.
    world.session("new", Shell::Bash);
    let entry = world.session_is("new", "idle");
    assert_eq!(entry["paused"], false, "{entry:#}");
    assert_eq!(paused(&world), ["old"]);
    stays(|| world.show(task)["status"].clone());
    world.assigner(&["resume", "old"]).succeeded();
    assert_eq!(ran_in(&world, task), pane);
}

#[test]
fn a_server_that_ends_takes_with_it_what_was_said_of_its_panes() {
    let world = World::new();
    let _daemon = world.daemon();
    world.session("api", Shell::Bash);
    world.session_is("api", "idle");
    world.assigner(&["pause", "api"]).succeeded();
    let task = world.shell_with(&["--target", "api"], WHERE);
    world.tmux(&["kill-server"]);
    eventually(|| match paused(&world) {
        pauses if pauses.is_empty() => Ok(()),
        pauses => Err(format!("{pauses:?}")),
    });
    // The same name, and even the same number of the pane.
    world.session("api", Shell::Bash);
    world.session_is("api", "idle");
    stays(|| world.show(task)["status"].clone());
    assert!(
        world.reason(task).contains("is gone"),
        "{}",
        world.reason(task)
    );
    world
        .assigner(&["edit", &task.to_string(), "--target", "api"])
        .succeeded();
    world.completed(task);
}
