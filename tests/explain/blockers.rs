//! What a task waits for, and what would let it run.

use serde_json::json;

use super::{
    HOLD, WAIT, changes, comes_true, commands, do_it, entry, explained, first, is_in_the_way,
    names_task, one_of, told, use_up_numbers, words,
};
use crate::harness::setup::{configure, git, repository};
use crate::harness::tasks::reason_says;
use crate::harness::{Shell, World, eventually, text};

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
    world.eventually(|| match world.session_entry("one") {
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

/// The reason names what no session has.
#[test]
fn what_no_session_has_is_named() {
    let world = World::new();
    world.session("api", Shell::Bash);
    let _daemon = world.daemon();
    world.session_is("api", "idle");
    for (options, prompt, expected) in [
        (&["--provider", "gemini"][..], "x", "no session is `gemini`"),
        (
            &["--providers", "gemini,codex"],
            "x",
            "no session is `gemini` or `codex`",
        ),
        (
            &["--shell", "--require-label", "team=web"],
            "true",
            "no session has the label team=web",
        ),
        (&["--shell=fish"], "true", "no session is known to be fish"),
        (
            &["--shell", "-b", "dev", "--require-branch"],
            "true",
            "no session is on branch dev",
        ),
    ] {
        let id = world.send(&[options, &["--", prompt]].concat());
        let said = explained(&world, id);
        let reason = said["reason"].as_str().expect("a reason");
        assert!(reason.starts_with(expected), "{said:#}");
    }
}
