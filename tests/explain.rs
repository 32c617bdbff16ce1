//! Why a task waits or went where it went, and what would let it run: explained, and then done.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::context::{configure, failed, git, reason_says, repository};
use crate::harness::{Shell, World, eventually, finish, text};
use crate::policy_switching::{Component, put};
use crate::wat_policies::control;

/// A command line that ends when there is a file `go` in `work`.
const HOLD: &str = "while test ! -e go; do sleep 0.02; done";

/// Settings that let a task wait instead of taking any session.
const WAIT: [&str; 2] = ["--policy-set", "when-no-match=wait"];

/// Makes the numbers of tasks so large that none appears in a text by chance.
fn use_up_numbers(world: &World) {
    let line = json!({"content": "true", "shell": true});
    let batch = format!("{line}\n").repeat(70);
    let answer = world
        .assigner_with_input(&["--json", "send", "--batch", "-"], batch.as_bytes())
        .succeeded()
        .json();
    let ids: Vec<String> = answer
        .as_array()
        .expect("an array")
        .iter()
        .map(|task| task["id"].to_string())
        .collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    world
        .assigner(&[&["cancel"][..], &ids].concat())
        .succeeded();
}

/// Returns whether a text contains the number of a task.
fn names_task(said: &str, id: u64) -> bool {
    let id = id.to_string();
    said.split(|c: char| !c.is_ascii_digit())
        .any(|word| word == id)
}

/// `explain ID --json`.
fn explained(world: &World, id: u64) -> Value {
    world.json(&["explain", &id.to_string()])
}

/// Returns what `explain` says to a person.
fn told(world: &World, id: u64) -> String {
    world
        .assigner(&["explain", &id.to_string()])
        .succeeded()
        .text()
}

/// Returns the words of a change.
#[track_caller]
fn words(change: &Value) -> &str {
    change["change"].as_str().expect("words")
}

/// Returns the changes that are named for a task, each in the shape that scripts rely on.
#[track_caller]
fn changes(explained: &Value) -> Vec<Value> {
    let changes = explained["changes"]
        .as_array()
        .unwrap_or_else(|| panic!("no changes: {explained:#}"));
    for change in changes {
        assert!(!words(change).trim().is_empty(), "{explained:#}");
        let session = &change["session"];
        assert!(session.is_null() || session.is_string(), "{explained:#}");
        let points = &change["points"];
        assert!(points.is_null() || points.is_i64(), "{explained:#}");
    }
    changes.clone()
}

/// Waits until the first change for a pending task contains all these words, and the reason
/// contains that change, and returns it.
#[track_caller]
fn first(world: &World, id: u64, expected: &[&str]) -> Value {
    eventually(|| {
        let explained = explained(world, id);
        assert_eq!(explained["id"], id, "{explained:#}");
        assert_eq!(explained["status"], "pending", "{explained:#}");
        let changes = changes(&explained);
        let first = changes.first();
        let first = first.ok_or_else(|| format!("no change: {explained:#}"))?;
        let reason = explained["reason"].as_str().unwrap_or_default();
        let said = words(first);
        match expected.iter().find(|word| !said.contains(**word)) {
            Some(word) => Err(format!("no {word:?} in the first: {explained:#}")),
            None if !reason.contains(said) => {
                Err(format!("the reason does not hold it: {explained:#}"))
            }
            None => Ok(first.clone()),
        }
    })
}

/// Waits until there is a change that fits, and returns it.
#[track_caller]
fn one_of(world: &World, id: u64, fits: impl Fn(&str, &Value) -> bool) -> Value {
    eventually(|| {
        let explained = explained(world, id);
        let changes = changes(&explained);
        let found = changes.iter().find(|&change| fits(words(change), change));
        found
            .cloned()
            .ok_or_else(|| format!("no such change: {explained:#}"))
    })
}

/// Returns the commands in a change.
fn commands(change: &Value) -> Vec<String> {
    let parts = words(change).split('`').skip(1).step_by(2);
    parts
        .filter(|part| part.starts_with("assigner "))
        .map(str::to_owned)
        .collect()
}

/// Does what a change says: with its commands, as a person would copy them, or else with these
/// words.
#[track_caller]
fn do_it(world: &World, change: &Value, otherwise: &[&str]) {
    let commands = commands(change);
    if commands.is_empty() {
        world.assigner(otherwise).succeeded();
    }
    let here = Path::new(env!("CARGO_BIN_EXE_assigner")).parent();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = here
        .map(Path::to_owned)
        .into_iter()
        .chain(std::env::split_paths(&path));
    let path = std::env::join_paths(dirs).expect("directories");
    for line in commands {
        let mut shell = world.command("sh");
        shell
            .env("PATH", &path)
            .env("ASSIGNER_DATA_DIR", world.data())
            .env("ASSIGNER_TMUX_SOCKET", world.socket())
            .args(["-c", &line]);
        finish(&mut shell, b"").succeeded();
    }
}

/// Waits until a task completed as a change promised.
#[track_caller]
fn comes_true(world: &World, id: u64, change: &Value) -> Value {
    let task = world.completed(id);
    if let Some(session) = change["session"].as_str() {
        assert_eq!(task["session"], session, "{change} {task:#}");
    }
    if let Some(points) = change["points"].as_i64() {
        let attempts = task["attempts"].as_array().expect("attempts");
        let rankings = attempts.last().expect("an attempt")["rankings"].as_array();
        let ranking = rankings
            .expect("rankings")
            .iter()
            .find(|ranking| ranking["session"] == task["session"])
            .expect("the ranking of its session");
        assert_eq!(ranking["points"], points, "{change} {task:#}");
    }
    task
}

/// Returns what `explain` says about one session.
#[track_caller]
fn entry(explained: &Value, session: &str) -> Value {
    explained["sessions"]
        .as_array()
        .expect("sessions")
        .iter()
        .find(|entry| entry["session"] == session)
        .unwrap_or_else(|| panic!("nothing of {session}: {explained:#}"))
        .clone()
}

/// Asserts that a session is not available to a task, for a reason with all these words.
#[track_caller]
fn is_in_the_way(explained: &Value, session: &str, expected: &[&str]) {
    let entry = entry(explained, session);
    let obstacle = entry["obstacle"].as_str().unwrap_or_default();
    for word in expected {
        assert!(obstacle.contains(*word), "no {word:?} in {entry:#}");
    }
}

#[test]
fn a_session_with_a_task_is_waited_for() {
    let world = World::new();
    use_up_numbers(&world);
    world.session("api", Shell::Bash);
    let _daemon = world.daemon();
    world.session_is("api", "idle");
    let target = ["--target", "api"];
    let running = world.shell(HOLD);
    world.until(running, "in_progress");
    let waits = world.shell_with(&target, "echo then");
    let change = first(&world, waits, &["wait", "api", &running.to_string()]);
    assert!(names_task(words(&change), running), "{change:#}");
    assert_eq!(change["session"], "api", "{change:#}");
    let said = explained(&world, waits);
    is_in_the_way(&said, "api", &[&running.to_string()]);
    assert_eq!(entry(&said, "api")["status"], "busy", "{said:#}");
    assert_eq!(entry(&said, "api")["excluded"], false, "{said:#}");
    // For people: the session, its task, and since when.
    let text = told(&world, waits);
    for word in ["wait", "api", "since"] {
        assert!(text.contains(word), "no {word}: {text}");
    }
    assert!(names_task(&text, running), "{text}");

    world
        .assigner(&["cancel", &running.to_string()])
        .succeeded();
    let task = comes_true(&world, waits, &change);
    assert_eq!(task["output"], "then\n", "{task:#}");
    world.until(running, "cancelled");

    // The same is true if the running task ends by itself.
    let running = world.shell(HOLD);
    world.until(running, "in_progress");
    let waits = world.shell("true");
    let change = first(&world, waits, &["wait", "api", &running.to_string()]);
    world.touch("go");
    comes_true(&world, waits, &change);
}

#[test]
fn a_person_is_waited_for() {
    let world = World::new();
    let pane = world.session("desk", Shell::Bash);
    let _daemon = world.daemon();
    world.session_is("desk", "idle");
    pane.line("cat");
    world.session_is("desk", "busy");
    let waits = world.shell("true");
    let change = first(&world, waits, &["wait", "desk", "cat"]);
    assert_eq!(change["session"], "desk", "{change:#}");
    is_in_the_way(&explained(&world, waits), "desk", &["cat"]);
    let text = told(&world, waits);
    for word in ["desk", "cat", "since"] {
        assert!(text.contains(word), "no {word}: {text}");
    }
    pane.keys(&["C-c"]);
    comes_true(&world, waits, &change);
}

#[test]
fn a_pause_can_be_ended() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    world.session_is("one", "idle");
    let pauses: [(&[&str], &str); 3] = [
        (&["one"], "one"),
        (&["--provider", "shell"], "shell"),
        (&["--all"], "all"),
    ];
    for (what, word) in pauses {
        world.assigner(&[&["pause"][..], what].concat()).succeeded();
        let waits = world.shell("true");
        let change = first(&world, waits, &["resume", word]);
        assert_eq!(change["session"], "one", "{change:#}");
        let said = explained(&world, waits);
        is_in_the_way(&said, "one", &["paused"]);
        let text = told(&world, waits);
        assert!(text.contains("paused"), "{text}");
        // Naming a change does not carry it out.
        assert_eq!(world.show(waits)["status"], "pending");
        do_it(&world, &change, &[&["resume"][..], what].concat());
        comes_true(&world, waits, &change);
    }
}

#[test]
fn a_protected_session_wants_to_be_named() {
    let world = World::new();
    configure(&world, "[sessions]\nprotect = [\"prod-*\"]\n");
    world.session("prod-1", Shell::Bash);
    let _daemon = world.daemon();
    world.session_is("prod-1", "idle");
    let waits = world.shell("true");
    let change = first(&world, waits, &["prod-1", "--target"]);
    let said = explained(&world, waits);
    is_in_the_way(&said, "prod-1", &["protected"]);
    assert_eq!(entry(&said, "prod-1")["excluded"], true, "{said:#}");
    let id = waits.to_string();
    do_it(&world, &change, &["edit", &id, "--target", "prod-1"]);
    let task = comes_true(&world, waits, &change);
    assert_eq!(task["session"], "prod-1", "{task:#}");
}

#[test]
fn an_excluded_session_is_no_place_for_a_task() {
    let world = World::new();
    configure(&world, "[sessions]\nexclude = [\"mgr-*\"]\n");
    world.session("mgr-1", Shell::Bash);
    world.session("web", Shell::Bash);
    let daemon = world.daemon();
    world.session_is("web", "idle");
    let target = ["--target", "mgr-1"];
    let waits = world.shell_with(&target, "true");
    // Another session is free, and only the target keeps the task from it.
    let change = one_of(&world, waits, |said, change| {
        change["session"] == "web" && said.contains("target")
    });
    let said = explained(&world, waits);
    is_in_the_way(&said, "mgr-1", &["exclude"]);
    is_in_the_way(&said, "web", &["mgr-1"]);
    assert_eq!(entry(&said, "mgr-1")["excluded"], true, "{said:#}");
    let id = waits.to_string();
    do_it(&world, &change, &["edit", &id, "--unset", "target"]);
    comes_true(&world, waits, &change);

    // There is no other session: only the configuration can be changed.
    world.tmux(&["kill-session", "-t", "=web"]);
    let waits = world.shell_with(&target, "echo at last");
    let reason = reason_says(&world, waits, &["mgr-1", "exclude"]);
    for change in changes(&explained(&world, waits)) {
        let honest = change["session"] != "mgr-1" || words(&change).contains("exclude");
        assert!(honest, "{reason}: {change:#}");
    }
    drop(daemon);
    configure(&world, "");
    let _daemon = world.daemon();
    let task = world.completed(waits);
    assert_eq!(task["session"], "mgr-1", "{task:#}");
}

#[test]
fn a_target_that_is_not_there() {
    let world = World::new();
    world.session("web", Shell::Bash);
    let _daemon = world.daemon();
    world.session_is("web", "idle");
    let target = ["--target", "nowhere"];
    let dropped = world.shell_with(&target, "true");
    first(&world, dropped, &["nowhere"]);
    let change = one_of(&world, dropped, |said, change| {
        change["session"] == "web" && said.contains("target")
    });
    is_in_the_way(&explained(&world, dropped), "web", &["nowhere"]);
    let id = dropped.to_string();
    do_it(&world, &change, &["edit", &id, "--unset", "target"]);
    comes_true(&world, dropped, &change);

    // Or a session of that name appears after all.
    let waits = world.shell_with(&target, "true");
    let reason = reason_says(&world, waits, &["nowhere"]);
    assert!(!reason.is_empty());
    world.session("nowhere", Shell::Bash);
    let task = world.completed(waits);
    assert_eq!(task["session"], "nowhere", "{task:#}");
}

#[test]
fn a_label_that_no_session_has() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    world.session_is("one", "idle");
    let waits = world.shell_with(&["--require-label", "gpu=yes"], "true");
    let change = first(&world, waits, &["gpu"]);
    let said = explained(&world, waits);
    is_in_the_way(&said, "one", &["gpu=yes"]);
    assert_eq!(entry(&said, "one")["excluded"], true, "{said:#}");
    let id = waits.to_string();
    if words(&change).starts_with("drop") {
        do_it(&world, &change, &["edit", &id, "--unset", "require-label"]);
    } else {
        do_it(&world, &change, &["label", "one", "gpu=yes"]);
    }
    let task = comes_true(&world, waits, &change);
    assert_eq!(task["session"], "one", "{task:#}");
}

#[test]
fn a_branch_that_no_session_is_on() {
    let world = World::new();
    let repo = repository(&world, "repo", "main");
    git(&world, &repo, &["branch", "dev"]);
    let pane = world.session_in("one", Shell::Bash, &repo);
    let _daemon = world.daemon();
    world.session_is("one", "idle");
    let required = ["-b", "dev", "--require-branch"];
    let waits = world.shell_with(&required, "true");
    let change = first(&world, waits, &["dev"]);
    let said = explained(&world, waits);
    is_in_the_way(&said, "one", &["dev", "main"]);
    assert_eq!(entry(&said, "one")["excluded"], true, "{said:#}");
    let id = waits.to_string();
    if commands(&change).is_empty() && !words(&change).starts_with("drop") {
        pane.line("git checkout -q dev");
    } else {
        do_it(&world, &change, &["edit", &id, "--unset", "branch"]);
    }
    comes_true(&world, waits, &change);

    // Dropping the branch is one of the changes wherever it is needed.
    git(&world, &repo, &["checkout", "-q", "main"]);
    eventually(|| match world.session_entry("one") {
        Some(entry) if entry["git_branch"] == "main" => Ok(()),
        other => Err(format!("not on main: {other:?}")),
    });
    let waits = world.shell_with(&required, "true");
    let id = waits.to_string();
    let change = one_of(&world, waits, |said, _| {
        said.contains("drop") && said.contains("branch")
    });
    do_it(&world, &change, &["edit", &id, "--unset", "branch"]);
    comes_true(&world, waits, &change);
}

#[test]
fn a_task_before_it_is_waited_for() {
    let world = World::new();
    use_up_numbers(&world);
    for name in ["one", "two"] {
        world.session(name, Shell::Bash);
    }
    let _daemon = world.daemon();
    for name in ["one", "two"] {
        world.session_is(name, "idle");
    }
    let parent = world.shell(HOLD);
    world.until(parent, "in_progress");
    let p = parent.to_string();
    let child = world.shell_with(&["--after", &p], "true");
    let change = first(&world, child, &["wait", &p]);
    assert!(names_task(words(&change), parent), "{change:#}");
    // The task waits for its direct parent, not for the parent's parent.
    let c = child.to_string();
    let grandchild = world.shell_with(&["--after", &c], "true");
    let far = first(&world, grandchild, &[&c]);
    assert!(names_task(words(&far), child), "{far:#}");
    assert!(names_task(&told(&world, grandchild), child));
    world.touch("go");
    comes_true(&world, child, &change);
    world.completed(grandchild);
}

#[test]
fn a_time_that_has_not_come() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    world.session_is("one", "idle");
    let waits = world.shell_with(&["--at", "2099-01-01T00:00:00Z"], "true");
    first(&world, waits, &["2099"]);
    let text = told(&world, waits);
    assert!(text.contains("2099"), "{text}");
    let id = waits.to_string();
    world
        .assigner(&["edit", &id, "--unset", "delay"])
        .succeeded();
    world.completed(waits);
}

#[test]
fn where_no_session_is() {
    let world = World::new();
    let waits = world.shell("true");
    let _daemon = world.daemon();
    let reason = reason_says(&world, waits, &["tmux"]);
    let change = first(&world, waits, &["session"]);
    assert!(change["session"].is_null(), "{reason}: {change:#}");
    assert_eq!(explained(&world, waits)["sessions"], json!([]));
    world.session("one", Shell::Bash);
    comes_true(&world, waits, &change);
}

#[test]
fn a_prompt_does_not_become_a_command() {
    let world = World::new();
    let pane = world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    world.session_is("one", "idle");
    let before = pane.screen();
    let prompt = world.send(&["touch typed"]);
    let change = first(&world, prompt, &["agent"]);
    // No change makes a shell an agent.
    for change in changes(&explained(&world, prompt)) {
        assert!(change["session"].is_null(), "{change:#}");
    }
    is_in_the_way(&explained(&world, prompt), "one", &["shell"]);
    let text = told(&world, prompt);
    assert!(text.contains(words(&change)), "{text}");
    assert_eq!(pane.screen(), before);
    assert_eq!(world.show(prompt)["status"], "pending");
}

#[test]
fn a_policy_that_waits_says_what_would_be_enough() {
    let world = World::new();
    let pane = world.session("web", Shell::Bash);
    let far = world.mkdir("far");
    let daemon = world.daemon_with(&WAIT);
    world.session_is("web", "idle");
    let branch = world.shell_with(&["-b", "dev"], "true");
    let change = one_of(&world, branch, |said, _| {
        said.contains("drop") && said.contains("branch")
    });
    assert_eq!(change["session"], "web", "{change:#}");
    let said = explained(&world, branch);
    assert_eq!(entry(&said, "web")["points"], 0, "{said:#}");
    let id = branch.to_string();
    do_it(&world, &change, &["edit", &id, "--unset", "branch"]);
    comes_true(&world, branch, &change);

    let waits = world.shell_with(&["-w", &far], "pwd");
    let change = one_of(&world, waits, |said, change| {
        change["session"] == "web" && said.contains(&far) && !said.contains("drop")
    });
    assert_eq!(change["points"], 100, "{change:#}");
    // The change was only simulated.
    assert_eq!(world.run("pwd"), format!("{}\n", text(&world.path("work"))));
    let task = world.show(waits);
    assert_eq!(task["attempts"], json!([]), "{task:#}");
    let rows = world.history(waits);
    assert_eq!(rows.len(), 1, "{rows:?}");
    let status = world.json(&["status"]);
    assert_eq!(status["daemon"]["policy"]["failures"], 0, "{status:#}");
    pane.line(&format!("cd '{far}'"));
    let task = comes_true(&world, waits, &change);
    assert_eq!(task["output"], format!("{far}\n"), "{task:#}");
    crate::harness::assert_calm(&daemon.log());
}

/// A change that is not enough is not suggested.
#[test]
fn half_of_a_change_is_none() {
    let world = World::new();
    let app = world.mkdir("srv/app");
    let pane = world.session_in("web", Shell::Bash, &app);
    let daemon = world.daemon_with(&[&WAIT[..], &["--policy-set", "min-score=120"]].concat());
    world.session_is("web", "idle");
    let waits = world.shell_with(&["-w", &app, "-b", "dev"], "true");
    first(&world, waits, &[]);
    let said = explained(&world, waits);
    assert_eq!(entry(&said, "web")["points"], 100, "{said:#}");
    for change in changes(&said) {
        // Without its branch it still has its directory, and 100 points of 120.
        let branch_only =
            words(&change).contains("drop the branch") && !words(&change).contains("director");
        assert!(!branch_only, "{change:#}");
        for command in commands(&change) {
            for branch in ["branch", "git-branch"] {
                let half = format!("assigner edit {waits} --unset {branch}");
                assert_ne!(command, half, "{change:#}");
            }
        }
    }
    pane.line("git init -q -b dev");
    let task = world.completed(waits);
    assert_eq!(
        task["attempts"][0]["rankings"][0]["points"], 130,
        "{task:#}"
    );
    drop(daemon);

    // Two obstacles: removing one is not enough.
    let _daemon = world.daemon();
    world.session_is("web", "idle");
    world.assigner(&["pause", "web"]).succeeded();
    let waits = world.shell_with(&["--target", "web", "--require-label", "gpu=yes"], "true");
    reason_says(&world, waits, &[]);
    eventually(|| match explained(&world, waits)["changes"].as_array() {
        Some(changes) if !changes.is_empty() => Ok(()),
        other => Err(format!("no changes: {other:?}")),
    });
    for change in changes(&explained(&world, waits)) {
        if change["session"] == "web" {
            let said = words(&change);
            let both = said.contains("resume") && said.contains("gpu");
            assert!(both, "{change:#}");
        }
    }
    world.assigner(&["resume", "web"]).succeeded();
    let change = one_of(&world, waits, |said, change| {
        change["session"] == "web" && said.contains("gpu") && !said.contains("resume")
    });
    let id = waits.to_string();
    if words(&change).starts_with("drop") {
        do_it(&world, &change, &["edit", &id, "--unset", "require-label"]);
    } else {
        do_it(&world, &change, &["label", "web", "gpu=yes"]);
    }
    comes_true(&world, waits, &change);
}

/// Returns the field to unset if a change says to drop something and has no command for it.
fn dropped(change: &Value) -> Option<&'static str> {
    let said = words(change);
    let one_thing = said.starts_with("drop") && !said.contains(" and ");
    [
        ("target", "target"),
        ("branch", "branch"),
        ("label", "require-label"),
        ("director", "working-dir"),
    ]
    .into_iter()
    .find(|(word, _)| one_thing && said.contains(word))
    .map(|(_, field)| field)
}

/// Not only the first change: every change to the task alone works.
#[test]
fn each_change_of_a_task_comes_true() {
    let world = World::new();
    let far = world.mkdir("far");
    for name in ["api", "web"] {
        world.session(name, Shell::Bash);
    }
    let _daemon = world.daemon_with(&WAIT);
    for name in ["api", "web"] {
        world.session_is(name, "idle");
    }
    world.assigner(&["label", "api", "gpu=yes"]).succeeded();
    let cases: [&[&str]; 4] = [
        &["--target", "web", "--require-label", "gpu=yes"],
        &["--target", "nowhere"],
        &["-b", "dev", "--require-branch"],
        &["-w", &far],
    ];
    let mut followed = 0;
    for options in cases {
        let mut place = 0;
        loop {
            // A task before may have moved its session elsewhere.
            let back = format!("cd '{}'", text(&world.path("work")));
            for name in ["api", "web"] {
                world.completed(world.shell_with(&["--target", name], &back));
                world.session_is(name, "idle");
            }
            let id = world.shell_with(options, "true");
            first(&world, id, &[]);
            let number = id.to_string();
            let all = changes(&explained(&world, id));
            let Some(change) = all.get(place) else {
                world.assigner(&["cancel", &number]).succeeded();
                break;
            };
            place += 1;
            let told = commands(change);
            let edits = format!("assigner edit {id} ");
            let by_command = !told.is_empty() && told.iter().all(|line| line.starts_with(&edits));
            let field = dropped(change).filter(|_| told.is_empty());
            if !by_command && field.is_none() {
                world.assigner(&["cancel", &number]).succeeded();
                continue;
            }
            eprintln!("{options:?}: {}", words(change));
            let otherwise = ["edit", &number, "--unset", field.unwrap_or_default()];
            do_it(&world, change, &otherwise);
            comes_true(&world, id, change);
            followed += 1;
        }
    }
    // At least two targets and a branch.
    assert!(followed >= 3, "only {followed} could be followed");
}

/// Returns the sessions of a task that was assigned, as `explain` lists them.
fn considered(explained: &Value) -> BTreeMap<String, Value> {
    let sessions = explained["sessions"].as_array().expect("sessions");
    sessions
        .iter()
        .map(|entry| {
            let name = entry["session"].as_str().expect("a name").to_owned();
            let kept = ["points", "terms", "obstacle"].map(|key| entry[key].clone());
            (name, Value::from(kept.to_vec()))
        })
        .collect()
}

/// Asserts that `explain` shows the rankings of a task's last attempt.
#[track_caller]
fn agrees(explained: &Value, task: &Value) {
    let attempts = task["attempts"].as_array().expect("attempts");
    let rankings = attempts.last().expect("an attempt")["rankings"].as_array();
    for ranking in rankings.expect("rankings") {
        let entry = entry(explained, ranking["session"].as_str().expect("a name"));
        assert_eq!(entry["points"], ranking["points"], "{explained:#}");
        assert_eq!(entry["terms"], ranking["terms"], "{explained:#}");
        assert!(entry["obstacle"].is_null(), "{explained:#}");
    }
    let changes = &explained["changes"];
    let none = changes.is_null() || *changes == json!([]);
    assert!(none, "nothing is to be changed any more: {explained:#}");
}

#[test]
fn what_was_decided_is_told_as_it_was_then() {
    let world = World::new();
    configure(
        &world,
        "[sessions]\nexclude = [\"mgr-*\"]\nprotect = [\"prod-*\"]\n",
    );
    let app = world.mkdir("srv/app");
    let srv = world.mkdir("srv");
    world.session_in("exact", Shell::Bash, &app);
    let parent = world.session_in("parent", Shell::Bash, &srv);
    let own = world.session_in("own", Shell::Bash, &app);
    for name in ["corner", "mgr-1", "prod-1"] {
        world.session_in(name, Shell::Bash, &app);
    }
    let daemon = world.daemon();
    for name in ["exact", "parent", "own", "corner", "prod-1"] {
        world.session_is(name, "idle");
    }
    own.line("cat");
    world.session_is("own", "busy");
    world.assigner(&["pause", "corner"]).succeeded();
    eventually(|| match world.session_entry("corner") {
        Some(entry) if entry["paused"] == true => Ok(()),
        other => Err(format!("not paused: {other:?}")),
    });
    let id = world.shell_with(&["-w", &app], HOLD);
    let task = world.until(id, "in_progress");
    assert_eq!(task["session"], "exact", "{task:#}");

    let check = |status: &str| {
        let said = explained(&world, id);
        assert_eq!(said["status"], status, "{said:#}");
        let same = json!([{"name": "same directory", "points": 100}]);
        assert_eq!(entry(&said, "exact")["points"], 100, "{said:#}");
        assert_eq!(entry(&said, "exact")["terms"], same, "{said:#}");
        let above = json!([{"name": "parent directory", "points": 50}]);
        assert_eq!(entry(&said, "parent")["points"], 50, "{said:#}");
        assert_eq!(entry(&said, "parent")["terms"], above, "{said:#}");
        is_in_the_way(&said, "own", &["cat"]);
        is_in_the_way(&said, "corner", &["paused"]);
        is_in_the_way(&said, "mgr-1", &["exclude"]);
        is_in_the_way(&said, "prod-1", &["protected"]);
        agrees(&said, &world.show(id));
        let text = told(&world, id);
        for word in [
            "exact",
            "same directory",
            "parent",
            "own",
            "cat",
            "corner",
            "paused",
            "mgr-1",
        ] {
            assert!(text.contains(word), "no {word}: {text}");
        }
        considered(&said)
    };
    let then = check("in_progress");
    // Things change, but what was recorded stays.
    parent.line("cd /");
    own.keys(&["C-c"]);
    world.assigner(&["resume", "corner"]).succeeded();
    world.session_is("own", "idle");
    eventually(|| match world.session_entry("parent") {
        Some(entry) if entry["current_dir"] == "/" => Ok(()),
        other => Err(format!("not in /: {other:?}")),
    });
    assert_eq!(check("in_progress"), then);
    std::fs::write(format!("{app}/go"), "").expect("a file");
    world.completed(id);
    assert_eq!(check("completed"), then);
    world.tmux(&["kill-session", "-t", "=exact"]);
    eventually(|| match world.session_entry("exact") {
        None => Ok(()),
        Some(entry) => Err(format!("still there: {entry}")),
    });
    assert_eq!(check("completed"), then);
    drop(daemon);
    assert_eq!(check("completed"), then);
}

#[test]
fn the_last_of_several_tries_is_told() {
    let world = World::new();
    let app = world.mkdir("srv/app");
    world.session_in("app", Shell::Bash, &app);
    world.session("other", Shell::Bash);
    let _daemon = world.daemon();
    for name in ["app", "other"] {
        world.session_is(name, "idle");
    }
    let bad = ["-w", app.as_str(), "--retries", "1"];
    let id = world.shell_with(&bad, "sh -c 'exit 9'");
    let task = failed(&world, id, &[]);
    let attempts = task["attempts"].as_array().expect("attempts");
    assert_eq!(attempts.len(), 2, "{task:#}");
    let said = explained(&world, id);
    assert_eq!(said["status"], "failed", "{said:#}");
    let reason = said["reason"].as_str().unwrap_or_default();
    assert!(reason.contains('9'), "{said:#}");
    agrees(&said, &task);

    // A task with a target: the other sessions were ruled out.
    let id = world.shell_with(&["--target", "other"], "true");
    let task = world.completed(id);
    let said = explained(&world, id);
    agrees(&said, &task);
    is_in_the_way(&said, "app", &["other"]);
    assert!(entry(&said, "other")["obstacle"].is_null(), "{said:#}");
    // A task that was never assigned has no sessions to show, which is not an error.
    let id = world.shell_with(&["--target", "nowhere"], "true");
    world.assigner(&["cancel", &id.to_string()]).succeeded();
    let said = explained(&world, id);
    assert_eq!(said["status"], "cancelled", "{said:#}");
    assert!(!told(&world, id).is_empty());
}

/// Asserts that a terminal would obey nothing in a text.
#[track_caller]
fn is_harmless(text: &str) {
    let wild: Vec<char> = text
        .chars()
        .filter(|c| {
            (c.is_control() && *c != '\n' && *c != '\t')
                || ('\u{202a}'..='\u{202e}').contains(c)
                || ('\u{2066}'..='\u{2069}').contains(c)
        })
        .collect();
    assert!(wild.is_empty(), "{wild:?} in {text:?}");
    let forged = text.lines().any(|line| line.starts_with("FORGED"));
    assert!(!forged, "{text}");
}

#[test]
fn any_name_is_named() {
    let world = World::new();
    let names = [
        "quo'te\"s ünï 日本",
        "$(touch leaked)",
        "a; touch leaked",
        "-x",
    ];
    for name in names {
        world.session("plain", Shell::Bash);
        world.tmux(&["rename-session", "-t", "=plain", "--", name]);
    }
    let daemon = world.daemon();
    for name in names {
        world.session_is(name, "idle");
    }
    for name in names {
        eprintln!("{name}");
        world.assigner(&["pause", "--", name]).succeeded();
        let target = format!("--target={name}");
        let waits = world.shell_with(&[&target], "true");
        let change = first(&world, waits, &["resume"]);
        assert_eq!(change["session"], name, "{change:#}");
        let text = told(&world, waits);
        assert!(text.contains(name), "no {name}: {text}");
        is_harmless(&text);
        // The command can be copied into a shell.
        do_it(&world, &change, &["resume", "--", name]);
        comes_true(&world, waits, &change);
    }
    assert!(!world.path("work/leaked").exists());
    is_harmless(&daemon.log());
}

#[test]
fn nothing_that_is_shown_is_obeyed() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let daemon = world.daemon_with(&WAIT);
    world.session_is("one", "idle");
    let wild = "a\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\r\u{8}\u{202e}\u{2066}\u{7f}b";
    let label = format!("k={wild}");
    let branch = format!("b{wild}");
    let target = format!("--target=no{wild}");
    let dir = format!("/no/x\nFORGED{wild}");
    let cases: [&[&str]; 5] = [
        &["--require-label", &label],
        &["-b", &branch],
        &["-b", &branch, "--require-branch"],
        &[&target],
        &["-w", &dir],
    ];
    let harmless = |id: u64| {
        let reason = world.reason(id);
        assert!(!reason.is_empty());
        is_harmless(&told(&world, id));
        let output = world.assigner(&["--json", "explain", &id.to_string()]);
        let json = output.succeeded().text();
        assert!(!json.contains(['\u{1b}', '\u{7}', '\r']), "{json}");
    };
    let ids: Vec<u64> = cases
        .iter()
        .map(|options| world.shell_with(options, "touch ran"))
        .collect();
    for id in &ids {
        first(&world, *id, &[]);
        harmless(*id);
    }
    // A policy has words of its own, and the task's are just as wild.
    put(&world, "wild", &Component::from(control("wild", false)));
    drop(daemon);
    let daemon = world.daemon_with(&["--policy", "wild"]);
    let waits = world.shell_with(&["--label", &label], "touch ran");
    world.reason(waits);
    assert_eq!(world.show(waits)["status"], "pending");
    for id in ids.iter().chain([&waits]) {
        harmless(*id);
    }
    is_harmless(&daemon.log());
    assert!(!world.path("work/ran").exists());
}
