//! Which sessions and tasks are listed, and what is shown of one session.

use serde_json::json;

use super::{has, is_paused, stays_pending};
use crate::harness::setup::repository;
use crate::harness::{Shell, World, assert_calm, eventually};

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
    let session = world.eventually(|| {
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
