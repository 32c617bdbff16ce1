//! What a person sees of the daemon in a tmux of their own: nothing but the lines that it types.

use crate::harness::{Shell, World, eventually};

/// Everything that a person, their scripts or their plugins can see of the server, as lines.
fn state(world: &World) -> Vec<String> {
    [
        &[
            "list-sessions",
            "-F",
            "#{session_id} #{session_name} #{session_group} #{session_attached}",
        ][..],
        &[
            "list-windows",
            "-a",
            "-F",
            "#{session_id} #{window_id} #{window_flags} #{window_layout} #{window_width}",
        ],
        &[
            "list-panes",
            "-a",
            "-F",
            "#{pane_id} #{pane_pid} #{pane_active} #{pane_mode}",
        ],
        &[
            "list-clients",
            "-F",
            "#{client_name} #{client_session} #{client_flags}",
        ],
        &["list-buffers"],
        &["show-options", "-s"],
        &["show-options", "-g"],
        &["show-options", "-gw"],
        &["show-hooks", "-g"],
        &["show-environment", "-g"],
        &["list-keys"],
        // Where a command without a target goes.
        &[
            "display-message",
            "-p",
            "#{session_name} #{window_id} #{pane_id}",
        ],
    ]
    .into_iter()
    .flat_map(|args| {
        let shown = world.tmux(args);
        let lines: Vec<String> = shown
            .lines()
            .map(|line| format!("{args:?} {line}"))
            .collect();
        lines
    })
    .collect()
}

#[test]
fn fifty_tasks_change_nothing_that_a_person_sees() {
    let world = World::new();
    world.tmux(&["new-session", "-d", "-s", "keep", "-n", "keep", "cat"]);
    // tmux names a window after its program, a moment after it has shown something: not before the
    // shells are what runs there.
    world.tmux(&["set-option", "-g", "automatic-rename", "off"]);
    for shell in Shell::installed() {
        world.session(shell.program(), shell);
    }
    let all_are = |what: &str| {
        for shell in Shell::installed() {
            let target = format!("={}:", shell.program());
            eventually(
                || match world.tmux(&["display-message", "-p", "-t", &target, what]) {
                    name if name == shell.program() => Ok(()),
                    name => Err(name),
                },
            );
        }
    };
    all_are("#{pane_current_command}");
    world.tmux(&["set-option", "-g", "automatic-rename", "on"]);
    for shell in Shell::installed() {
        let target = format!("={}:", shell.program());
        world.tmux(&["send-keys", "-t", &target, "true", "Enter"]);
    }
    all_are("#{window_name}");
    let noticed = world.path("noticed");
    for hook in [
        "client-attached",
        "client-detached",
        "client-session-changed",
        "session-created",
        "session-closed",
        "session-renamed",
        "window-linked",
        "window-renamed",
        "after-new-session",
        "after-select-pane",
    ] {
        let note = format!(
            "run-shell 'echo {hook} #{{session_name}} #{{window_name}} >> {}'",
            noticed.display()
        );
        world.tmux(&["set-hook", "-g", hook, &note]);
    }
    // A person's own session, in which nothing is to be done, is the one that commands go to.
    world.tmux(&["new-session", "-d", "-s", "mine", "-n", "mine", "cat"]);
    let default = world.tmux(&["display-message", "-p", "#{session_name}"]);
    let _ = std::fs::remove_file(&noticed);
    let before = state(&world);
    let daemon = world.daemon();
    for _ in 0..10 {
        let ids: Vec<u64> = (0..5).map(|_| world.shell("echo a line")).collect();
        for id in ids {
            assert_eq!(state(&world), before);
            assert_eq!(world.settled(id)["status"], "completed");
        }
    }
    assert_eq!(state(&world), before);
    daemon.kill();
    assert_eq!(state(&world), before);
    assert_eq!(
        world.tmux(&["display-message", "-p", "#{session_name}"]),
        default
    );
    // The hook runs by itself a moment later; the one of this session shows that all have.
    world.tmux(&["new-session", "-d", "-s", "last", "-n", "last", "cat"]);
    let seen = eventually(|| {
        let seen = std::fs::read_to_string(&noticed).unwrap_or_default();
        match seen.contains("session-created") {
            true => Ok(seen),
            false => Err(seen),
        }
    });
    // What was noticed, each with the name of a window.
    let ours = ["session-created", "after-new-session", "window-linked"];
    let others = seen.lines().filter(|line| {
        let hook = line.split(' ').next().unwrap_or_default();
        !ours.contains(&hook)
    });
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&str>::new());
    assert_eq!(seen.matches("session-created").count(), 1, "{seen}");
}
