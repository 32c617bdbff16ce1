//! A short torture of the binary: nothing may go wrong, and errors must be noticed.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use crate::harness::{World, beside, program, text};

/// Tortures for so many minutes with a fixed seed.
fn torture(minutes: &str, args: &[&str]) -> Output {
    Command::new(beside("assigner-torture"))
        .args(["--seed", "1", "--minutes", minutes])
        .args(args)
        .output()
        .expect("the program")
}

fn said(output: &Output) -> String {
    let both = [&*output.stdout, &*output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// `ASSIGNER_TORTURE_MINUTES` tortures for longer.
#[test]
fn nothing_is_lost_doubled_or_untrue() {
    let minutes = env::var("ASSIGNER_TORTURE_MINUTES").unwrap_or_else(|_| "0.5".to_owned());
    let output = torture(&minutes, &[]);
    let text = said(&output);
    println!("{text}");
    assert_eq!(output.status.code(), Some(0), "{text}");
    // It would be easy to survive if nothing ran, or nothing was done.
    let row = |name: &str| -> Vec<u32> {
        let lines = text.lines();
        let line = lines.filter_map(|line| line.strip_prefix(&format!("| {name} |")));
        let numbers = line.flat_map(|line| line.split('|'));
        numbers
            .filter_map(|cell| cell.trim().parse().ok())
            .collect()
    };
    for name in [
        "daemon killed",
        "`send` killed",
        "session closed",
        "task cancelled",
    ] {
        assert!(row(name).first().is_some_and(|&tried| tried > 0), "{text}");
    }
    let mut words = text.split_whitespace();
    let completed = words.position(|word| word.trim_end_matches(',') == "completed");
    let completed = completed.and_then(|at| text.split_whitespace().nth(at - 1)?.parse().ok());
    assert!(completed.is_some_and(|number: u32| number > 20), "{text}");
}

/// A program that queues everything twice.
#[test]
fn what_is_doubled_is_seen() {
    let world = World::new();
    let script = world.path("queues-twice");
    let lines = format!(
        "#!/bin/sh\n\
         assigner={}\n\
         case \"$*\" in\n\
         *send*) tasks=$(cat)\n\
         printf '%s\\n' \"$tasks\" | \"$assigner\" \"$@\" >/dev/null\n\
         printf '%s\\n' \"$tasks\" | \"$assigner\" \"$@\" ;;\n\
         *) exec \"$assigner\" \"$@\" ;;\n\
         esac\n",
        program()
    );
    fs::write(&script, lines).expect("written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("a program");
    let output = torture("0.06", &["--assigner", &text(&script), "--patience", "5"]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("in the ledger twice"), "{text}");
}
