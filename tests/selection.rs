//! Which sessions may run a task: targets, labels, pauses, protected sessions and providers.

mod listings;

use serde_json::{Value, json};

use crate::harness::setup::configure;
use crate::harness::tasks::reason_says;
use crate::harness::{Daemon, Pane, Shell, World, assert_calm, stays};

/// A command line that ends when there is a file `go` in `work`.
const HOLD: &str = "while test ! -e go; do sleep 0.02; done";

/// Starts sessions in bash and a daemon, and waits until they are idle.
fn sessions(world: &World, names: &[&str]) -> Daemon {
    for name in names {
        world.session(name, Shell::Bash);
    }
    let daemon = world.daemon();
    for name in names {
        world.session_is(name, "idle");
    }
    daemon
}

/// Asserts that a task stays pending and was never attempted.
#[track_caller]
fn stays_pending(world: &World, id: u64) {
    stays(|| world.show(id)["status"].clone());
    let task = world.show(id);
    assert_eq!(task["status"], "pending", "{task:#}");
    assert_eq!(task["attempts"], json!([]), "{task:#}");
}

/// Waits until a field of a session's entry has a value.
#[track_caller]
fn has(world: &World, session: &str, field: &str, value: &Value) {
    world.eventually(|| match world.session_entry(session) {
        Some(entry) if entry[field] == *value => Ok(()),
        other => Err(format!("{field} of {session} is not {value}: {other:?}")),
    });
}

/// Waits until a session is reported as paused, with a reason.
#[track_caller]
fn is_paused(world: &World, session: &str) {
    world.eventually(|| match world.session_entry(session) {
        Some(entry)
            if entry["paused"] == true
                && entry["reason"].as_str().is_some_and(|why| !why.is_empty()) =>
        {
            Ok(())
        }
        other => Err(format!("{session} is not paused: {other:?}")),
    });
}

/// Waits until a session is no longer reported as paused.
#[track_caller]
fn is_not_paused(world: &World, session: &str) {
    world.eventually(|| match world.session_entry(session) {
        Some(entry) if entry["paused"] != true => Ok(()),
        other => Err(format!("{session} is paused: {other:?}")),
    });
}

#[test]
fn others_stand_in_for_a_target_only_where_asked() {
    let world = World::new();
    let _daemon = sessions(&world, &["here", "other"]);
    let there = world.session("there", Shell::Bash);
    world.session_is("there", "idle");
    let strict = ["--target", "there"];
    let lenient = ["--target", "there", "--target-fallback"];
    // It is the first choice, even if others have been idle for longer.
    for _ in 0..3 {
        world.session_is("there", "idle");
        let task = world.completed(world.shell_with(&lenient, "true"));
        assert_eq!(task["session"], "there", "{task:#}");
    }

    there.line("cat");
    world.session_is("there", "busy");
    let waits = world.shell_with(&strict, "echo waited");
    let task = world.completed(world.shell_with(&lenient, "true"));
    assert_ne!(task["session"], "there", "{task:#}");
    assert_eq!(task["attempts"].as_array().map(Vec::len), Some(1));
    let nowhere = ["--target", "nowhere", "--target-fallback"];
    world.completed(world.shell_with(&nowhere, "true"));
    let never = world.shell_with(&["--target", "nowhere"], "true");
    reason_says(&world, waits, &["there"]);
    reason_says(&world, never, &["nowhere"]);
    stays_pending(&world, waits);

    there.keys(&["C-c"]);
    let task = world.completed(waits);
    assert_eq!(task["session"], "there", "{task:#}");
    assert_eq!(task["output"], "waited\n", "{task:#}");
    stays_pending(&world, never);
}

#[test]
fn labels_are_kept_and_may_be_required() {
    let world = World::new();
    let daemon = sessions(&world, &["one", "two"]);
    let label = |args: &[&str]| {
        world.assigner(&[&["label"][..], args].concat()).succeeded();
    };
    label(&["two", "gpu=yes", "tier=fast=er"]);
    has(
        &world,
        "two",
        "labels",
        &json!({"gpu": "yes", "tier": "fast=er"}),
    );
    has(&world, "one", "labels", &json!({}));
    let gpu = ["--require-label", "gpu=yes"];
    for _ in 0..3 {
        let task = world.completed(world.shell_with(&gpu, "true"));
        assert_eq!(task["session"], "two", "{task:#}");
    }

    // All required labels, in one session.
    let both = [&gpu[..], &["--require-label", "tier=slow"]].concat();
    let waits = world.shell_with(&both, "true");
    reason_says(&world, waits, &["tier"]);
    label(&["one", "tier=slow"]);
    stays_pending(&world, waits);
    assert_eq!(world.run("echo next"), "next\n");
    label(&["two", "tier=slow"]);
    assert_eq!(world.completed(waits)["session"], "two");

    // They belong to the pane that the name meant, and another daemon knows them.
    drop(daemon);
    let _daemon = world.daemon();
    let kept = json!({"gpu": "yes", "tier": "slow"});
    has(&world, "two", "labels", &kept);
    let task = world.completed(world.shell_with(&both, "true"));
    assert_eq!(task["session"], "two", "{task:#}");
    // Another session that gets the name later does not have them until they are set again.
    world.tmux(&["kill-session", "-t", "=two"]);
    world.session("two", Shell::Bash);
    has(&world, "two", "labels", &json!({}));
    label(&["two", "gpu=yes", "tier=slow"]);
    has(&world, "two", "labels", &kept);
    let task = world.completed(world.shell_with(&both, "true"));
    assert_eq!(task["session"], "two", "{task:#}");
    label(&["two", "--remove", "gpu"]);
    has(&world, "two", "labels", &json!({"tier": "slow"}));
    let waits = world.shell_with(&gpu, "true");
    reason_says(&world, waits, &["gpu"]);
    stays_pending(&world, waits);

    // A task's labels are for policies and for people, and require nothing.
    let labels = ["--label", "team=red", "--label", "kind=nightly build"];
    let id = world.shell_with(&labels, "true");
    assert_eq!(
        world.completed(id)["labels"],
        json!({"team": "red", "kind": "nightly build"})
    );
    let text = world
        .assigner(&["show", &id.to_string()])
        .succeeded()
        .text();
    assert!(
        text.contains("team") && text.contains("nightly build"),
        "{text}"
    );

    let wrong: [&[&str]; 5] = [
        &["label", "two", "nothing"],
        &["label", "two", "=x"],
        &["label"],
        &["send", "--shell", "--require-label", "nothing", "true"],
        &["send", "--shell", "--label", "=x", "true"],
    ];
    for args in wrong {
        let output = world.assigner(args);
        assert_eq!(output.code, Some(2), "{args:?}: {output:?}");
        assert_calm(&output.stderr);
    }
    has(&world, "two", "labels", &json!({"tier": "slow"}));
}

#[test]
fn a_paused_session_takes_nothing_new() {
    let world = World::new();
    let daemon = sessions(&world, &["corner", "other"]);
    let target = ["--target", "corner"];
    let running = world.shell_with(&target, &format!("{HOLD}; echo went on"));
    world.until(running, "in_progress");
    assert_eq!(
        world.json(&["pause", "corner"]),
        json!({"paused": {"sessions": ["corner"], "providers": [], "all": false, "limits": []}})
    );
    let waits = world.shell_with(&target, "echo later");
    is_paused(&world, "corner");
    world.touch("go");
    assert_eq!(world.completed(running)["output"], "went on\n");
    reason_says(&world, waits, &["paused"]);
    stays_pending(&world, waits);
    is_not_paused(&world, "other");
    // The session that was idle for longer is skipped.
    for _ in 0..3 {
        assert_eq!(world.completed(world.shell("true"))["session"], "other");
    }
    for command in ["status", "sessions"] {
        let text = world.assigner(&[command]).succeeded().text();
        assert!(
            text.contains("paused") && text.contains("corner"),
            "{command}: {text}"
        );
    }

    // The pause outlives the daemon, and needs none.
    drop(daemon);
    world.assigner(&["resume", "corner"]).succeeded();
    world.assigner(&["pause", "corner"]).succeeded();
    let _daemon = world.daemon();
    assert_eq!(world.run("echo next"), "next\n");
    is_paused(&world, "corner");
    stays_pending(&world, waits);
    world.assigner(&["resume", "corner"]).succeeded();
    let task = world.completed(waits);
    assert_eq!(task["session"], "corner", "{task:#}");
    is_not_paused(&world, "corner");
    for command in ["pause", "resume"] {
        let output = world.assigner(&[command]);
        assert_eq!(output.code, Some(2), "{output:?}");
        assert_calm(&output.stderr);
    }
}

#[test]
fn a_provider_or_everything_may_be_paused() {
    let world = World::new();
    let _daemon = sessions(&world, &["one"]);
    world
        .assigner(&["pause", "--provider", "claude"])
        .succeeded();
    assert_eq!(world.run("echo not a shell"), "not a shell\n");
    world
        .assigner(&["resume", "--provider", "claude"])
        .succeeded();

    for (what, new) in [
        (&["--provider", "shell"][..], "two"),
        (&["--all"][..], "three"),
    ] {
        let paused = world.json(&[&["pause"][..], what].concat());
        let all = new == "three";
        let providers = if all { json!([]) } else { json!(["shell"]) };
        assert_eq!(
            paused["paused"],
            json!({"sessions": [], "providers": providers, "all": all, "limits": []})
        );
        let id = world.shell("echo resumed");
        reason_says(&world, id, &["paused"]);
        is_paused(&world, "one");
        // Also a session that is only created now.
        world.session(new, Shell::Bash);
        is_paused(&world, new);
        stays_pending(&world, id);
        let text = world.assigner(&["status"]).succeeded().text();
        assert!(text.contains("paused"), "{text}");
        world
            .assigner(&[&["resume"][..], what].concat())
            .succeeded();
        assert_eq!(world.completed(id)["output"], "resumed\n");
        for name in ["one", new] {
            is_not_paused(&world, name);
        }
    }
}

#[test]
fn excluded_and_protected_sessions_are_left_alone() {
    let world = World::new();
    configure(
        &world,
        "[sessions]\nexclude = [\"mgr-*\", \"?olo\"]\nprotect = [\"prod-*\"]\n",
    );
    let names = ["mgr-1", "solo", "prod-1", "plain", "mgr", "production"];
    let dirs: Vec<String> = names.iter().map(|name| world.mkdir(name)).collect();
    let panes: Vec<_> = names
        .iter()
        .zip(&dirs)
        .map(|(name, dir)| world.session_in(name, Shell::Bash, dir))
        .collect();
    let screens = || -> Vec<String> { panes[..3].iter().map(Pane::screen).collect() };
    let before = screens();
    let _daemon = world.daemon();
    for name in ["plain", "mgr", "production"] {
        world.session_is(name, "idle");
    }
    for name in ["mgr-1", "solo", "prod-1"] {
        world.eventually(|| match world.session_entry(name) {
            Some(entry) if entry["reason"].as_str().is_some_and(|why| !why.is_empty()) => Ok(()),
            other => Err(format!("no reason for {name}: {other:?}")),
        });
    }

    // However well they would fit.
    for dir in &dirs[..3] {
        let task = world.completed(world.shell_with(&["-w", dir], "true"));
        let session = task["session"].as_str().expect("a session");
        assert!(names[3..].contains(&session), "{task:#}");
    }
    // Names that are only similar are not affected.
    for (name, dir) in names[4..].iter().zip(&dirs[4..]) {
        let task = world.completed(world.shell_with(&["-w", dir, "--target", name], "true"));
        assert_eq!(task["session"], *name, "{task:#}");
    }
    let excluded: Vec<u64> = ["mgr-1", "solo"]
        .iter()
        .map(|name| world.shell_with(&["--target", name], "touch ran"))
        .collect();
    for (id, name) in excluded.iter().zip(["mgr-1", "solo"]) {
        reason_says(&world, *id, &[name]);
    }
    stays_pending(&world, excluded[0]);
    let lenient = ["--target", "mgr-1", "--target-fallback"];
    let task = world.completed(world.shell_with(&lenient, "true"));
    assert_ne!(task["session"], "mgr-1", "{task:#}");
    assert_ne!(task["session"], "prod-1", "{task:#}");
    assert_eq!(screens(), before);
    let task = world.completed(world.shell_with(&["--target", "prod-1"], "echo named"));
    assert_eq!(task["session"], "prod-1", "{task:#}");
    assert_eq!(task["output"], "named\n", "{task:#}");
    for id in excluded {
        stays_pending(&world, id);
    }
}

#[test]
fn prompts_wait_for_the_providers_they_name() {
    let world = World::new();
    let pane = world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    world.session_is("one", "idle");
    let before = pane.screen();
    let options: [&[&str]; 7] = [
        &["--provider", "claude", "--fallback", "codex,gemini"],
        &["--provider", "claude", "--allow-fallback"],
        &["--providers", "claude,codex"],
        &["--providers", "claude,codex", "--allow-fallback"],
        &["--provider", "claude", "--target", "one"],
        &["--target", "one", "--target-fallback"],
        &["--target", "nowhere", "--target-fallback", "--label", "a=b"],
    ];
    let prompts: Vec<u64> = options
        .iter()
        .map(|options| world.send(&[*options, &["--", "touch typed"]].concat()))
        .collect();
    for id in &prompts {
        reason_says(&world, *id, &[]);
        let task = world.show(*id);
        assert_eq!(task["kind"], "prompt", "{task:#}");
    }
    stays(|| pane.screen());
    assert_eq!(pane.screen(), before);
    assert_eq!(world.run("echo next"), "next\n");
    for id in &prompts {
        let task = world.show(*id);
        assert_eq!(task["status"], "pending", "{task:#}");
        assert_eq!(task["attempts"], json!([]), "{task:#}");
    }
    assert!(!world.path("work/typed").exists());
    // The providers that may have it are shown in the sender's order.
    let shown = world.show(prompts[0]).to_string();
    let places = ["claude", "codex", "gemini"].map(|name| shown.find(name));
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{shown}"
    );

    // A command goes only to a shell.
    let wrong: [&[&str]; 3] = [
        &["--provider", "claude"],
        &["--providers", "claude,codex"],
        &["--fallback", "codex"],
    ];
    for options in wrong {
        let args = [&["send", "--shell"][..], options, &["--", "true"]].concat();
        let output = world.assigner(&args);
        assert_eq!(output.code, Some(2), "{args:?}: {output:?}");
        assert_calm(&output.stderr);
        assert!(!output.stderr.is_empty());
    }
    let listed = world.json(&["list"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(prompts.len() + 1));
}

#[test]
fn a_command_may_be_for_one_kind_of_shell() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    world.session_is("one", "idle");
    let suits = world.send(&["--shell=bash", "--", "echo $BASH_VERSINFO"]);
    let task = world.completed(suits);
    assert_eq!(task["shell"], "bash", "{task:#}");
    let waits = world.send(&["--shell=zsh", "--", "echo ran"]);
    world.eventually(|| {
        let explained = world.json(&["explain", &waits.to_string()]);
        let text = explained.to_string();
        let how = format!("assigner edit {waits} --shell");
        match text.contains("the command is for zsh, this is bash") && text.contains(&how) {
            true => Ok(()),
            false => Err(text),
        }
    });
    // As `explain` says: any shell will do.
    world
        .assigner(&["edit", &waits.to_string(), "--shell"])
        .succeeded();
    assert_eq!(world.completed(waits)["output"], "ran\n");
    let refused = world
        .assigner(&["send", "--shell=csh", "--", "x"])
        .refused(2);
    assert!(
        refused.stderr.contains("bash, zsh, fish or dash"),
        "{refused:?}"
    );
    let lines = "{\"content\": \"echo a\", \"shell\": \"bash\"}\n\
                 {\"content\": \"echo b\", \"shell\": true}\n";
    let sent = world.assigner_with_input(&["--json", "send", "--batch", "-"], lines.as_bytes());
    let sent = sent.succeeded().json();
    for (task, shell) in [(&sent[0], json!("bash")), (&sent[1], json!(null))] {
        let id = task["id"].as_u64().expect("a number");
        assert_eq!(world.completed(id)["shell"], shell);
    }
    let wrong = "{\"content\": \"echo a\", \"shell\": \"csh\"}\n";
    let wrong = world.assigner_with_input(&["send", "--batch", "-"], wrong.as_bytes());
    assert!(wrong.refused(2).stderr.contains("bash, zsh, fish or dash"));
}
