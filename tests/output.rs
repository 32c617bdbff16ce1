//! Output, byte for byte.

use std::fs;

use crate::harness::{Shell, World, in_each_shell};

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
