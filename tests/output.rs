//! Output, byte for byte.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Shell, World, eventually, in_each_shell, program};

#[test]
fn output_is_exact_in_each_shell() {
    let long: String = (1..=300_000).map(|number| format!("{number}\n")).collect();
    in_each_shell(|seat| {
        let world = seat.world;
        // A pipe would not show what a terminal changes: newlines, tabs, and control sequences.
        let cases: [(&str, &[u8]); 9] = [
            ("true", b""),
            ("printf abc", b"abc"),
            ("printf '\\n'", b"\n"),
            ("printf 'a\\n\\n\\n'", b"a\n\n\n"),
            ("printf 'a\\rb\\r\\nc\\n'", b"a\rb\r\nc\n"),
            ("printf 'a\\tb\\n'", b"a\tb\n"),
            (
                "printf '\\033[31mred\\033[0m\\033]0;title\\007\\033[2J\\n'",
                b"\x1b[31mred\x1b[0m\x1b]0;title\x07\x1b[2J\n",
            ),
            (
                "printf 'gr\\303\\274n \\360\\237\\246\\200\\n'",
                "grün \u{1f980}\n".as_bytes(),
            ),
            (
                "printf '\\033]133;D;9\\007\\033]133;C\\007x\\n'",
                b"\x1b]133;D;9\x07\x1b]133;C\x07x\n",
            ),
        ];
        for (command, expected) in cases {
            let id = seat.shell(command);
            world.completed(id);
            assert_eq!(
                String::from_utf8_lossy(&world.output(id)),
                String::from_utf8_lossy(expected),
                "{command}"
            );
        }
        let id = seat.shell("seq 1 300000");
        world.completed(id);
        let seen = world.output(id);
        assert!(
            seen == long.as_bytes(),
            "{} bytes of {} are not those expected",
            seen.len(),
            long.len()
        );
        let json = world.json(&["output", &id.to_string()]);
        assert!(json["output"] == long.as_str());
    });
}

#[test]
fn bytes_that_are_no_text_are_kept() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    // Every byte except those that ask a terminal for an answer.
    let bytes: Vec<u8> = (0..=255_u8)
        .filter(|byte| ![0x05, 0x1b, 0x90, 0x9a, 0x9b, 0x9d].contains(byte))
        .cycle()
        .take(50_000)
        .collect();
    fs::write(world.path("work/bytes"), &bytes).expect("a file");
    let id = world.shell("cat bytes");
    world.completed(id);
    assert!(world.output(id) == bytes, "the bytes differ");
    // JSON cannot represent these bytes, and must still be valid JSON.
    world.json(&["output", &id.to_string()]);
    world.show(id);
    assert_eq!(world.run("echo next"), "next\n");
}

#[test]
fn a_terminal_gets_no_endless_lines_and_a_pipe_gets_them_whole() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let reader = world.session("reader", Shell::Bash);
    let _daemon = world.daemon();
    let long = "x".repeat(200_000);
    let command = format!("printf '%s\\n' {long}");
    let send = ["send", "-", "--shell", "--target", "one"];
    world
        .assigner_with_input(&send, command.as_bytes())
        .succeeded();
    world.completed(1);
    let id = "1";
    assert_eq!(world.output(1), format!("{long}\n").into_bytes());
    let shown = world.assigner(&["show", id]).succeeded().text();
    assert!(shown.contains(&long));
    let binary = program();
    let data = world.data().display();
    for what in ["show", "output"] {
        reader.line(&format!("clear; {binary} --data-dir '{data}' {what} {id}"));
        reader.shows("more characters");
        reader.prompt();
    }
}

#[test]
fn a_failed_task_keeps_its_output() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    let id = world.shell("printf 'half'; false");
    assert_eq!(world.settled(id)["status"], "failed");
    assert_eq!(world.output(id), b"half");
}

#[test]
fn output_of_a_task_that_has_none_yet() {
    let world = World::new();
    let id = world.shell("true");
    assert_eq!(world.output(id), b"");
    let unknown = world.assigner(&["output", "99"]);
    unknown.refused(1);
}

/// A child that outlives the command must not delay the end of the task.
#[test]
fn a_background_child_does_not_hold_the_task() {
    in_each_shell(|seat| {
        let world = seat.world;
        let id = seat.shell("sleep 50 & echo started");
        let task = world.settled(id);
        assert_eq!(task["status"], "completed", "{task:#}");
        let seen = String::from_utf8_lossy(&world.output(id)).into_owned();
        assert!(seen.ends_with("started\n"), "{seen:?}");
        assert_eq!(seat.run("echo next"), "next\n");
    });
}

/// Returns the process that reads the output of a job in this world.
fn reader(world: &World) -> Pid {
    let own = world.path("").display().to_string();
    eventually(|| {
        let processes = fs::read_dir("/proc").map_err(|error| error.to_string())?;
        let ids = processes
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let mut readers = ids.filter(|id| {
            let words = fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
            words.contains("\0capture\0") && words.contains(&own)
        });
        let found = readers.next().and_then(Pid::from_raw);
        found.ok_or_else(|| "nobody reads the output".to_owned())
    })
}

/// Asserts that everything that shows the task says that its output is not whole, and why.
fn says_that_it_is_cut(world: &World, id: u64, why: &str) {
    let task = world.completed(id);
    assert!(
        task["output_cut"]
            .as_str()
            .is_some_and(|cut| cut.contains(why)),
        "{task:#}"
    );
    let shown = world
        .assigner(&["show", &id.to_string()])
        .succeeded()
        .text();
    assert!(shown.contains(&format!("not whole: {why}")), "{shown}");
    let history = world.history(id).join("\n");
    assert!(history.contains("output: not whole"), "{history}");
    let output = world.assigner(&["output", &id.to_string()]).succeeded();
    assert!(output.stderr.contains("not whole"), "{output:?}");
    let json = world.json(&["output", &id.to_string()]);
    assert!(json["cut"].is_string(), "{json}");
}

#[test]
fn an_output_whose_reader_was_killed_is_said_to_be_cut() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    let id = world.shell("echo first; until [ -e over ]; do sleep 0.05; done; echo last");
    world.until(id, "in_progress");
    kill_process(reader(&world), Signal::KILL).expect("killed");
    world.touch("over");
    says_that_it_is_cut(&world, id, "the process that read it");
    // The session and its next task are well.
    let next = world.completed(world.shell("echo whole"));
    assert_eq!(next["output"], "whole\n");
    assert!(next["output_cut"].is_null(), "{next:#}");
}

/// `bind P pipe-pane -o`, as the manual has it, closes a pipe that is open, and the next time opens
/// the person's own.
#[test]
fn an_output_whose_pipe_a_person_closed_is_said_to_be_cut_and_theirs_stays() {
    let world = World::new();
    let pane = world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    let id = world.shell("echo first; until [ -e over ]; do sleep 0.05; done; echo last");
    world.until(id, "in_progress");
    reader(&world);
    let theirs = format!("cat >> '{}'", world.path("theirs").display());
    for _ in 0..2 {
        world.tmux(&["pipe-pane", "-o", "-t", "one:", &theirs]);
    }
    world.touch("over");
    says_that_it_is_cut(&world, id, "its pipe was closed");
    let piped = || world.tmux(&["display-message", "-p", "-t", "one:", "#{pane_pipe}"]);
    assert_eq!(piped(), "1");
    // The next one is kept in another way, and is whole.
    let next = world.completed(world.shell("echo whole"));
    assert_eq!(next["output"], "whole\n");
    assert!(next["output_cut"].is_null(), "{next:#}");
    assert_eq!(piped(), "1");
    drop(pane);
}

/// Nothing was lost of what a command printed that ended its shell, was interrupted, or took too long.
#[test]
fn an_output_without_an_end_of_its_own_is_not_said_to_be_cut() {
    let kept = |world: &World, id: u64, status: &str| {
        let task = world.settled(id);
        assert_eq!(task["status"], status, "{task:#}");
        assert!(task["output_cut"].is_null(), "{task:#}");
        let output = task["output"].as_str().unwrap_or_default();
        assert!(output.starts_with("printed\n"), "{task:#}");
    };
    in_each_shell(|seat| {
        let (world, slow) = (seat.world, "echo printed; sleep 60");
        let printed = world.path(format!("printed-{}", seat.name()));
        let id = seat.shell(&format!(
            "echo printed; touch '{}'; sleep 60",
            printed.display()
        ));
        world.eventually(|| match printed.exists() {
            true => Ok(()),
            false => Err("it has printed nothing".to_owned()),
        });
        world.assigner(&["cancel", &id.to_string()]).succeeded();
        kept(world, id, "cancelled");
        kept(world, seat.shell_with(&["--timeout", "1s"], slow), "failed");
        kept(world, seat.shell("echo printed; exit 3"), "failed");
    });
}
