//! Which sessions may run a task: targets, labels, pauses, protected sessions, providers; and which
//! sessions are listed.

use serde_json::{Value, json};

use crate::context::{configure, reason_says, repository};
use crate::harness::{Daemon, Pane, Shell, World, assert_calm, eventually, stays};

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
    eventually(|| match world.session_entry(session) {
        Some(entry) if entry[field] == *value => Ok(()),
        other => Err(format!("{field} of {session} is not {value}: {other:?}")),
    });
}

/// Waits until a session is reported as paused, with a reason.
#[track_caller]
fn is_paused(world: &World, session: &str) {
    eventually(|| match world.session_entry(session) {
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
    eventually(|| match world.session_entry(session) {
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
        eventually(|| match world.session_entry(name) {
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

/// Returns the names that `sessions` lists with these options, sorted.
#[track_caller]
fn listed(world: &World, options: &[&str]) -> Vec<String> {
    let answer = world.json(&[&["sessions"][..], options].concat());
    let mut names: Vec<String> = answer
        .as_array()
        .expect("an array")
        .iter()
        .map(|entry| entry["name"].as_str().expect("a name").to_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn sessions_are_listed_by_what_they_are() {
    let world = World::new();
    let app = repository(&world, "srv/app", "main");
    let deep = world.mkdir("srv/app/deep");
    let app2 = world.mkdir("srv/app2");
    let srv = world.mkdir("srv");
    world.session_in("app", Shell::Bash, &app);
    let busy = world.session_in("deep", Shell::Bash, &deep);
    world.session_in("app2", Shell::Bash, &app2);
    world.session("plain", Shell::Bash);
    let _daemon = world.daemon();
    for name in ["app", "deep", "app2", "plain"] {
        world.session_is(name, "idle");
    }
    for (name, command) in [
        ("app2", "export STAGE=test"),
        ("plain", "export STAGE='live = 1'"),
    ] {
        world.completed(world.shell_with(&["--target", name], command));
    }
    world.assigner(&["label", "app", "tier=1"]).succeeded();
    world.assigner(&["label", "plain", "tier=2"]).succeeded();
    busy.line("cat");
    world.session_is("deep", "busy");
    eventually(|| match listed(&world, &["--env", "STAGE"]) {
        names if names == ["app2", "plain"] => Ok(()),
        names => Err(format!("{names:?}")),
    });

    let none: &[&str] = &[];
    let cases: [(&[&str], &[&str]); 21] = [
        (none, &["app", "app2", "deep", "plain"]),
        (&["--env", "STAGE=test"], &["app2"]),
        (&["--env", "STAGE=live = 1"], &["plain"]),
        (&["--env", "STAGE=te"], none),
        (&["--env", "STAG"], none),
        (&["--dir", &app], &["app"]),
        (&["--dir", &app, "--under"], &["app", "deep"]),
        (&["--dir", &srv], none),
        (&["--dir", &srv, "--under"], &["app", "app2", "deep"]),
        (&["--dir", &app2, "--under"], &["app2"]),
        (&["--dir", "/no/such", "--under"], none),
        (&["--branch", "main"], &["app", "deep"]),
        (&["--branch", "mai"], none),
        (&["--status", "busy"], &["deep"]),
        (&["--status", "idle"], &["app", "app2", "plain"]),
        (&["--provider", "shell"], &["app", "app2", "deep", "plain"]),
        (&["--provider", "claude"], none),
        (&["--label", "tier=1"], &["app"]),
        (&["--label", "tier=3"], none),
        (&["--branch", "main", "--status", "idle"], &["app"]),
        (&["--branch", "main", "--label", "tier=2"], none),
    ];
    for (options, names) in cases {
        assert_eq!(listed(&world, options), names, "{options:?}");
    }
    let text = world
        .assigner(&["sessions", "--label", "tier=2"])
        .succeeded()
        .text();
    assert!(text.contains("plain") && !text.contains("app2"), "{text}");
    let wrong = world.assigner(&["sessions", "--status", "nonsense"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert_calm(&wrong.stderr);
}

#[test]
fn one_session_is_shown_with_its_history() {
    let world = World::new();
    let dir = repository(&world, "shop", "topic/x");
    world.session_in("one", Shell::Bash, &dir);
    world.session("other", Shell::Bash);
    let _daemon = world.daemon();
    for name in ["one", "other"] {
        world.session_is(name, "idle");
    }
    world.assigner(&["label", "one", "team=red"]).succeeded();
    let good = world.shell_with(&["--target", "one", "-e", "STAGE=test"], "true");
    let bad = world.shell_with(&["--target", "one"], "sh -c 'exit 3'");
    world.completed(good);
    world.settled(bad);
    let session = eventually(|| {
        let session = world.json(&["session", "one"]);
        if session["env"]["STAGE"] == "test" && session["status"] == "idle" {
            Ok(session)
        } else {
            Err(session.to_string())
        }
    });
    assert_eq!(session["name"], "one");
    assert_eq!(session["current_dir"], dir.as_str(), "{session:#}");
    assert_eq!(session["git_branch"], "topic/x", "{session:#}");
    assert_eq!(session["labels"], json!({"team": "red"}), "{session:#}");
    let entry = world.session_entry("one").expect("a session");
    for name in entry.as_object().expect("an object").keys() {
        assert!(session.get(name).is_some(), "no {name} in {session:#}");
    }
    let actions: Vec<&str> = session["history"]
        .as_array()
        .expect("rows")
        .iter()
        .filter_map(|row| row["action"].as_str())
        .collect();
    for action in ["completed", "failed"] {
        assert!(actions.contains(&action), "no {action} in {session:#}");
    }
    let other = world.json(&["session", "other"]);
    assert_eq!(other["history"], json!([]), "{other:#}");
    let text = world.assigner(&["session", "one"]).succeeded().text();
    for word in ["one", "topic/x", "STAGE", "team"] {
        assert!(text.contains(word), "no {word}: {text}");
    }
    let unknown = world.assigner(&["session", "no-such-name"]).refused(1);
    assert!(
        unknown.stderr.contains("no-such-name"),
        "{}",
        unknown.stderr
    );
    assert_eq!(world.assigner(&["session"]).code, Some(2));
}

#[test]
fn a_session_is_meant_with_all_its_panes() {
    let world = World::new();
    let config = world.path("config.toml");
    std::fs::write(
        &config,
        "[sessions]\nexclude = ['architect']\nprotect = ['prod']\n",
    )
    .expect("a configuration");
    for name in ["architect", "prod", "mine", "open"] {
        world.session(name, Shell::Bash);
        world.tmux(&[
            "split-window",
            "-d",
            "-t",
            name,
            "exec env 'PS1=$ ' bash --norc",
        ]);
    }
    let text = crate::harness::text(&config);
    let _daemon = world.daemon_with(&["--config", &text]);
    world.session_is("open:0.1", "idle");
    world.assigner(&["pause", "mine"]).succeeded();
    world.assigner(&["label", "open", "team=web"]).succeeded();
    for pane in ["mine:0.0", "mine:0.1"] {
        is_paused(&world, pane);
    }
    has(&world, "open:0.1", "labels", &json!({"team": "web"}));
    for _ in 0..6 {
        let task = world.completed(world.shell("sleep 0.1"));
        let session = task["session"].as_str().expect("a session");
        assert!(session.starts_with("open:"), "{task:#}");
    }
    // By its own name, and by its session's.
    let task = world.completed(world.shell_with(&["--target", "open:0.1"], "true"));
    assert_eq!(task["session"], "open:0.1", "{task:#}");
    let task = world.completed(world.shell_with(&["--target", "prod"], "true"));
    assert!(
        task["session"]
            .as_str()
            .is_some_and(|name| name.starts_with("prod:"))
    );
    let never = world.shell_with(&["--target", "architect"], "touch ran");
    stays_pending(&world, never);
    world.assigner(&["resume", "mine"]).succeeded();
    let task = world.completed(world.shell_with(&["--target", "mine"], "true"));
    assert!(
        task["session"]
            .as_str()
            .is_some_and(|name| name.starts_with("mine:"))
    );
}

#[test]
fn tasks_are_listed_by_their_labels() {
    let world = World::new();
    let web = world.shell_with(&["--label", "team=web", "--label", "kind=a"], "true");
    let other = world.shell_with(&["--label", "team=web"], "true");
    world.shell_with(&["--label", "team=api"], "true");
    world.shell("true");
    let listed = |options: &[&str]| -> Vec<u64> {
        let answer = world.json(&[&["list"][..], options].concat());
        let tasks = answer.as_array().expect("an array");
        tasks
            .iter()
            .filter_map(|task| task["id"].as_u64())
            .collect()
    };
    assert_eq!(listed(&["--label", "team=web"]), [web, other]);
    assert_eq!(listed(&["-l", "team=web", "-l", "kind=a"]), [web]);
    assert_eq!(listed(&["--label", "team=web", "-n", "1"]), [other]);
    assert!(listed(&["--label", "team=db"]).is_empty());
    world.assigner(&["list", "--label", "team"]).refused(2);
}
