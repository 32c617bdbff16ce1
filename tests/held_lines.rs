//! If a line blocks a session, the row is shown, who may have typed it, and how to free the
//! session.

use crate::harness::{Shell, World, eventually, finish};

#[test]
fn a_line_that_holds_a_session_up_is_quoted_by_doctor_and_explain() {
    let world = World::new();
    let pane = world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    let first = world.shell("true");
    world.completed(first);
    pane.keys(&["echo draft \u{202e}"]);
    let id = world.shell("echo later");
    let explained = world.eventually(|| {
        let explained = world.json(&["explain", &id.to_string()]);
        match &explained["sessions"][0]["line"] {
            line if line.is_null() => Err(format!("no line: {explained}")),
            _ => Ok(explained),
        }
    });
    let line = &explained["sessions"][0]["line"];
    assert!(
        line["row"]
            .as_str()
            .is_some_and(|row| row.contains("echo draft")),
        "{line}"
    );
    let by = line["by"].as_str().expect("a text");
    assert!(by.contains("no client was ever attached"), "{by}");
    assert!(
        line["freed_by"]
            .as_str()
            .is_some_and(|by| by.contains("Ctrl-C")),
        "{line}"
    );
    // Between two offers the shell is asked again, and for that moment nothing blocks the session.
    let shows = |args: [&str; 2], parts: &[&str]| {
        eventually(|| {
            let said = finish(world.binary().args(args), b"").succeeded().text();
            assert!(!said.contains('\u{202e}'), "{said}");
            match parts.iter().find(|part| !said.contains(**part)) {
                None => Ok(()),
                Some(part) => Err(format!("{part}: {said}")),
            }
        });
    };
    shows(
        ["explain", &id.to_string()],
        &["echo draft", "no client was ever attached"],
    );
    shows(
        ["doctor", "one"],
        &[
            "echo draft",
            "typed by",
            "daemon    attended: its shell reports",
            "Ctrl-C",
        ],
    );

    pane.keys(&["C-c"]);
    world.completed(id);
    let doctor = world.json(&["doctor", "one"]);
    assert!(
        doctor["daemon"].is_null() && doctor["next"].is_null(),
        "{doctor}"
    );
}

/// It also says what only the daemon knows: that the shell has drawn this prompt before.
#[test]
fn doctor_tells_what_the_daemon_has_learned() {
    let world = World::new();
    world.mkdir("home/.config/assigner");
    let config = world.path("home/.config/assigner/config.toml");
    std::fs::write(config, "[engine]\nshell-integration = false\n").expect("written");
    let pane = world.session("one", Shell::Bash);
    pane.line("PS1='mine ❯❯ '; clear");
    pane.shows("mine ❯❯");
    let _daemon = world.daemon();
    world.session_is("one", "unknown");
    let doctor = world.json(&["doctor", "one"]);
    assert!(
        doctor["next"]
            .as_str()
            .is_some_and(|next| next.contains("press Enter")),
        "{doctor}"
    );
    for _ in 0..2 {
        pane.keys(&["Enter"]);
    }
    world.session_is("one", "idle");
    let doctor = world.json(&["doctor", "one"]);
    assert!(
        doctor["daemon"]
            .as_str()
            .is_some_and(|says| says.starts_with("idle")),
        "{doctor}"
    );
    assert!(doctor["next"].is_null(), "{doctor}");
}

#[test]
fn a_session_that_runs_what_is_not_known_is_said_to_be_there() {
    let world = World::new();
    world.session("one", Shell::Bash);
    world.tmux(&["new-session", "-d", "-s", "other", "sleep 600"]);
    let _daemon = world.daemon();
    world.session_is("one", "idle");
    let id = world.shell_with(&["--target", "other"], "true");
    let explained = world.eventually(|| {
        let explained = world.json(&["explain", &id.to_string()]);
        let reason = explained["reason"].as_str().unwrap_or_default().to_owned();
        if reason.contains("which runs `sleep`") {
            Ok(explained)
        } else {
            Err(reason)
        }
    });
    let changes = explained["changes"].to_string();
    assert!(!changes.contains("new-session"), "{changes}");
    assert!(changes.contains("run bash, zsh, fish or dash"), "{changes}");
}
