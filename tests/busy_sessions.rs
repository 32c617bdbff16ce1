//! Nothing is typed into sessions that a person uses, or that cannot take keys.

use std::fs;

use crate::harness::{
    Pane, Seat, Shell, World, eventually, in_each_shell, in_shells, program, stays,
};

/// Asserts that a pending task leaves a session alone, runs `release`, and waits until the task
/// ends there.
fn untouched_until(seat: &Seat<'_>, what: &str, release: impl FnOnce()) {
    let world = seat.world;
    let before = seat.pane.screen();
    let id = seat.shell("echo from-the-task > from-the-task");
    let reason = world.reason(id);
    stays(|| seat.pane.screen());
    let task = world.show(id);
    assert_eq!(task["status"], "pending", "{what}: {task:#}");
    assert_eq!(seat.pane.screen(), before, "{what}");
    assert_eq!(task["attempts"].as_array().map(Vec::len), Some(0));
    assert!(!reason.is_empty());
    let file = seat.path("from-the-task");
    assert!(!file.exists(), "{what}");

    release();
    let task = world.settled(id);
    assert_eq!(task["status"], "completed", "{what}: {task:#}");
    assert_eq!(task["attempts"].as_array().map(Vec::len), Some(1));
    fs::remove_file(file).expect("the task's file");
}

#[test]
fn a_session_that_runs_something() {
    in_each_shell(|seat| {
        for line in ["sleep 300", "cat", "sh -c 'read x'"] {
            seat.pane.line(line);
            seat.pane.shows(line);
            // Wait for the program to start: until then the session may be idle.
            seat.world.session_is(seat.name(), "busy");
            untouched_until(seat, line, || seat.pane.keys(&["C-c"]));
            seat.pane.line("clear");
            seat.pane.prompt();
        }
    });
}

#[test]
fn a_session_that_waits_in_a_builtin() {
    in_each_shell(|seat| {
        let (line, shows) = match seat.shell {
            Shell::Fish => ("read answer", "read>"),
            Shell::Zsh => ("read 'answer?name: '", "\nname:"),
            Shell::Bash => ("read -p 'name: ' answer", "\nname:"),
            Shell::Dash => ("read answer", "read answer\n"),
        };
        seat.pane.line(line);
        seat.pane.shows(shows);
        untouched_until(seat, line, || seat.pane.keys(&["C-c"]));
    });
}

#[test]
fn a_half_typed_line() {
    in_each_shell(|seat| {
        seat.pane.keys(&["-l", "echo half"]);
        seat.pane.shows("echo half");
        untouched_until(seat, "half-typed", || seat.pane.keys(&["C-u"]));
    });
}

/// The cursor is where it is at an empty prompt, but the line is not empty.
#[test]
fn a_half_typed_line_with_the_cursor_at_its_start() {
    in_shells(&[Shell::Bash, Shell::Zsh, Shell::Fish], |seat| {
        seat.pane.keys(&["-l", "touch typed"]);
        seat.pane.shows("touch typed");
        seat.pane.keys(&["C-a"]);
        untouched_until(seat, "cursor at the start", || {
            seat.pane.keys(&["C-e", "C-u"]);
        });
        assert!(!seat.path("typed").exists());
    });
}

/// In fish this is a half-typed line, because its editor keeps all lines.
#[test]
fn a_line_that_goes_on() {
    in_shells(&[Shell::Bash, Shell::Zsh, Shell::Dash], |seat| {
        seat.pane.line("echo 'never closed");
        let zsh = seat.shell == Shell::Zsh;
        seat.pane.shows(if zsh { "quote>" } else { "\n>" });
        untouched_until(seat, "a continuation", || seat.pane.keys(&["C-c"]));
    });
}

#[test]
fn a_search_in_the_history() {
    in_shells(&[Shell::Bash, Shell::Zsh], |seat| {
        for _ in 0..3 {
            // Within a second after its prompt was seen: the cursor does not move.
            seat.pane.line("clear");
            seat.pane.prompt();
            seat.world.session_is(seat.name(), "idle");
            seat.pane.keys(&["C-r"]);
            seat.pane.shows("i-search");
            untouched_until(seat, "a search", || seat.pane.keys(&["C-g"]));
        }
    });
}

#[test]
fn copy_mode() {
    in_shells(&[Shell::Bash], |seat| {
        let (world, pane) = (seat.world, &seat.pane);
        world.tmux(&["copy-mode", "-t", &pane.id]);
        pane.has("#{pane_in_mode}", "1");
        untouched_until(seat, "copy mode", || {
            world.tmux(&["send-keys", "-t", &pane.id, "-X", "cancel"]);
        });
    });
}

#[test]
fn input_that_is_off() {
    in_shells(&[Shell::Bash], |seat| {
        let (world, pane) = (seat.world, &seat.pane);
        world.tmux(&["select-pane", "-d", "-t", &pane.id]);
        untouched_until(seat, "input off", || {
            world.tmux(&["select-pane", "-e", "-t", &pane.id]);
        });
    });
}

/// Keys typed into one pane would reach the other.
#[test]
fn synchronized_panes() {
    let world = World::new();
    let pane = world.session("one", Shell::Bash);
    let split = [
        "split-window",
        "-d",
        "-P",
        "-F",
        "#{pane_id}",
        "-t",
        &pane.id,
    ];
    let shell = "exec env 'PS1=$ ' bash --noprofile --norc";
    let other = Pane::new(&world, world.tmux(&[&split[..], &[shell]].concat()));
    other.prompt();
    let synchronize = |value| {
        world.tmux(&[
            "set-option",
            "-w",
            "-t",
            &pane.id,
            "synchronize-panes",
            value,
        ]);
    };
    synchronize("on");
    let before = [pane.screen(), other.screen()];
    let _daemon = world.daemon();
    let id = world.shell("echo once >> log");
    world.reason(id);
    stays(|| [pane.screen(), other.screen()]);
    assert_eq!([pane.screen(), other.screen()], before);
    assert_eq!(world.show(id)["status"], "pending");
    synchronize("off");
    world.completed(id);
    assert_eq!(world.lines("log"), ["once"]);
}

/// If another session is free, the task goes there at once.
#[test]
fn a_free_session_is_taken_instead() {
    let world = World::new();
    let busy = world.session("busy", Shell::Bash);
    world.session("free", Shell::Bash);
    busy.keys(&["-l", "echo half"]);
    busy.shows("echo half");
    let before = busy.screen();
    let _daemon = world.daemon();
    for _ in 0..4 {
        let task = world.completed(world.shell("true"));
        assert_eq!(task["session"], "free");
    }
    assert_eq!(busy.screen(), before);
}

/// If a shell reports its line, its prompt may look like anything.
#[test]
fn a_shell_that_tells_is_idle_whatever_its_prompt() {
    let world = World::new();
    let mut prompts = vec![
        ("bash", Shell::Bash, "PS1='\\n[\\w] (main) \\n-> '", "\n->"),
        (
            "words",
            Shell::Bash,
            "PS1='no sign at the end '",
            "no sign at the end",
        ),
        ("angle", Shell::Bash, "PS1='> '", ">"),
        ("empty", Shell::Bash, "PS1=''", ""),
    ];
    if Shell::Zsh.is_installed() {
        let prompt = "PS1='%~ > '; RPROMPT='at the right'";
        prompts.push(("zsh", Shell::Zsh, prompt, "at the right"));
    }
    let assigner = program();
    for &(name, shell, prompt, shown) in &prompts {
        let pane = world.session(name, shell);
        let init = format!("eval \"$('{assigner}' shell-init {})\"", shell.program());
        pane.line(&format!("{init}; {prompt}; clear"));
        pane.shows(shown);
    }
    let _daemon = world.daemon();
    for (name, ..) in prompts {
        eprintln!("in {name}");
        for _ in 0..2 {
            let id = world.shell_with(&["--target", name], "echo fine");
            let task = world.completed(id);
            assert_eq!(task["output"], "fine\n", "{name}");
        }
    }
}

/// If it does not, a row that may be a draft is left alone until it is seen to be the prompt.
#[test]
fn a_prompt_that_nobody_knows_is_shown_by_enter() {
    let world = World::new();
    let pane = world.session("one", Shell::Bash);
    pane.line("PS1='make ❯ '; clear");
    pane.shows("make ❯");
    let _daemon = world.daemon();
    world.session_is("one", "unknown");
    let id = world.shell("echo fine");
    eventually(|| {
        let said = world.assigner(&["explain", &id.to_string()]).text();
        if said.contains("press Enter") {
            Ok(())
        } else {
            Err(said)
        }
    });
    assert_eq!(world.show(id)["status"], "pending");
    let shown = world.assigner(&["doctor", "one"]).text();
    assert!(shown.contains("its row is `make ❯`"), "{shown}");
    pane.keys(&["Enter"]);
    assert_eq!(world.completed(id)["output"], "fine\n");
}

/// The line editor's other mode reads a line too.
#[test]
fn vi_mode_is_no_obstacle() {
    in_shells(&[Shell::Bash, Shell::Zsh], |seat| {
        let zsh = seat.shell == Shell::Zsh;
        let line = if zsh {
            "bindkey -v; clear"
        } else {
            "set -o vi; clear"
        };
        seat.pane.line(line);
        seat.pane.prompt();
        assert_eq!(seat.run("echo one"), "one\n");
        assert_eq!(seat.run("echo two"), "two\n");
    });
}

/// A prompt goes to agents; no shell sees a byte of it.
#[test]
fn prompts_never_reach_a_shell() {
    let world = World::new();
    let pane = world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    world.session_is("one", "idle");
    let before = pane.screen();
    let prompts = [
        world.send(&["touch typed"]),
        world.send(&["-w", &world.mkdir("work"), "touch typed"]),
        world.send(&["--provider", "claude", "touch typed"]),
        world.send(&["--target", "one", "touch typed"]),
    ];
    for id in prompts {
        let reason = world.reason(id);
        assert!(!reason.is_empty());
        assert_eq!(world.show(id)["kind"], "prompt");
    }
    let text = world.assigner(&["explain", &prompts[0].to_string()]);
    assert!(text.succeeded().text().contains("agent"));
    stays(|| pane.screen());
    assert_eq!(pane.screen(), before);
    assert!(!world.path("work/typed").exists());
    // They do not block tasks that can run.
    assert_eq!(world.run("echo next"), "next\n");
    for id in prompts {
        let task = world.show(id);
        assert_eq!(task["status"], "pending");
        assert_eq!(task["attempts"].as_array().map(Vec::len), Some(0));
    }
    // `--provider shell` says the same as `--shell`.
    let id = world.send(&["--provider", "shell", "echo asked"]);
    let task = world.completed(id);
    assert_eq!(task["kind"], "command");
    assert_eq!(task["output"], "asked\n");
}

/// A question that is answered with one key looks almost like a prompt.
#[test]
fn a_question_for_a_key_is_no_prompt() {
    in_shells(&[Shell::Bash, Shell::Zsh], |seat| {
        let world = seat.world;
        let ask = match seat.shell {
            Shell::Zsh => "read -q 'x?Go on? $ '",
            _ => "read -n 1 -p 'Go on? $ ' x",
        };
        // A question in a person's own command.
        seat.pane.line(ask);
        seat.pane.shows("Go on?");
        world.session_is(seat.name(), "busy");
        let waits = seat.shell("echo later >> log");
        stays(|| world.show(waits)["status"].clone());
        assert!(!seat.path("log").exists());
        seat.pane.keys(&["y"]);
        // In bash, the answer appears before the next prompt.
        seat.pane.line("clear");
        world.completed(waits);

        // A question in a task's command: it is asked until somebody answers, and nothing else is
        // typed there.
        seat.pane.line("clear");
        let asks = seat.shell(&format!("{ask}; echo \"got $x\""));
        seat.pane.shows("Go on?");
        let next = seat.shell("echo next");
        world.until(asks, "in_progress");
        stays(|| world.show(asks)["status"].clone());
        seat.pane.keys(&["y"]);
        let output = String::from_utf8(world.completed(asks)["output"].to_string().into());
        assert!(output.expect("text").contains("got y"));
        world.completed(next);
    });
}
