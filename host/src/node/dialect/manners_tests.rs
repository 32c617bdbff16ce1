//! What a script does in a shell that a person has customized: traps, options, and read-only
//! variables.

use std::fs;

use crate::model::session::Shell;
use crate::model::task::Metadata;
use crate::node::script::{Keep, ScriptStep};
use crate::node::script_tests::{SpooledJob, shells, task};

/// Runs a command between `before` and `after`. Returns its job, and what was printed.
fn ran(shell: Shell, before: &str, command: &str, after: &str) -> (SpooledJob, String) {
    let job = SpooledJob::write(shell, &task(command, Metadata::default()), Keep::Marks("n"));
    let output = job.source_then(before, after);
    let printed = [output.stdout, output.stderr].concat();
    (job, String::from_utf8_lossy(&printed).into_owned())
}

fn posix_shells() -> impl Iterator<Item = Shell> {
    shells().into_iter().filter(|shell| *shell != Shell::Fish)
}

/// Returns ways to set a trap for the end of the shell that prints `bye` and the code.
fn traps(shell: Shell) -> Vec<&'static str> {
    let mut traps = vec![
        "trap 'echo bye $?' EXIT",
        "trap 'c=$?\necho \"it'\\''s\" over\necho bye \"$c\"' EXIT",
        "trap 'echo INT' INT; trap 'echo bye $?' 0; trap '' USR1",
        "trap 'c=$?; echo \": assigner\" >/dev/null; echo bye $c' EXIT; trap ': assigner' USR2",
        "readonly IFS; trap 'echo bye $?' EXIT",
    ];
    if shell == Shell::Zsh {
        traps.push("TRAPEXIT() { echo bye $? }");
    }
    traps
}

#[test]
fn a_trap_for_the_end_of_the_shell_is_called_and_the_code_is_kept() {
    for shell in posix_shells() {
        for trap in traps(shell) {
            for (command, code) in [
                ("exit 3", 3),
                ("f() { exit 4; }; f", 4),
                ("echo 'exit 5' > five; . ./five", 5),
                ("set -e; sh -c 'exit 6'", 6),
                ("exit 0", 0),
                ("sh -c 'exit 42' || exit", 42),
            ] {
                let place = format!("{}, {trap}, {command}", shell.name());
                let (job, printed) = ran(shell, trap, command, "echo alive");
                assert_eq!(job.files.exit_code(), Some(code), "{place}: {printed}");
                let bye = format!("bye {code}\n");
                assert_eq!(printed.matches(&bye).count(), 1, "{place}: {printed}");
                assert_eq!(printed.matches("bye").count(), 1, "{place}: {printed}");
                assert!(!printed.contains("alive"), "{place}: {printed}");
            }
        }
    }
}

#[test]
fn a_trap_stands_as_before_after_a_command_that_goes_on() {
    for shell in posix_shells() {
        for trap in traps(shell).into_iter().chain([":"]) {
            for (command, code) in [("true", 0), ("(exit 4)", 4), ("return 7", 7)] {
                let place = format!("{}, {trap}, {command}", shell.name());
                let shown = format!("{trap}\ntrap > before");
                let (job, printed) = ran(shell, &shown, command, "trap > after; echo alive");
                assert_eq!(job.files.exit_code(), Some(code), "{place}: {printed}");
                assert!(printed.contains("alive"), "{place}: {printed}");
                let [before, after] = ["before", "after"]
                    .map(|name| fs::read_to_string(job.path().join(name)).expect("written"));
                assert_eq!(before, after, "{place}");
                let byes = usize::from(trap != ":");
                assert_eq!(printed.matches("bye 0").count(), byes, "{place}: {printed}");
            }
        }
    }
}

/// A file that cannot be created stands for both a full disk and a lack of inodes.
#[test]
fn a_trap_that_cannot_be_read_stays() {
    for shell in posix_shells() {
        for (command, code) in [("true", Some(0)), ("exit 3", None)] {
            let job =
                SpooledJob::write(shell, &task(command, Metadata::default()), Keep::Marks("n"));
            fs::create_dir(job.files.traps()).expect("a directory in its place");
            let output = job.source_then("trap 'echo bye $?' EXIT", "");
            let printed = String::from_utf8_lossy(&output.stdout).into_owned();
            let place = format!("{}, {command}: {output:?}", shell.name());
            assert_eq!(job.files.exit_code(), code, "{place}");
            assert_eq!(printed.matches("bye").count(), 1, "{place}");
        }
    }
}

#[test]
fn a_trap_that_the_command_sets_stays() {
    for shell in posix_shells() {
        for before in [":", "trap 'echo old' EXIT"] {
            let (job, printed) = ran(shell, before, "trap 'echo new' EXIT", "echo alive");
            let place = format!("{}, {before}: {printed}", shell.name());
            assert_eq!(job.files.exit_code(), Some(0), "{place}");
            assert!(printed.ends_with("alive\nnew\n"), "{place}");
            assert!(!printed.contains("old"), "{place}");
        }
    }
}

#[test]
fn a_trap_of_a_job_that_was_interrupted_knows_the_persons() {
    for shell in posix_shells() {
        let left = "__assigner_trap='echo bye $?'; trap '__assigner=$?; : __assigner_exit_trap; echo ours' EXIT";
        let (job, printed) = ran(shell, left, "exit 3", "");
        assert_eq!(
            job.files.exit_code(),
            Some(3),
            "{}: {printed}",
            shell.name()
        );
        assert!(printed.contains("bye 3\n"), "{}: {printed}", shell.name());
        assert!(!printed.contains("ours"), "{}: {printed}", shell.name());
        let (_, printed) = ran(shell, left, "true", "");
        assert_eq!(
            printed.matches("bye 0\n").count(),
            1,
            "{}: {printed}",
            shell.name()
        );
    }
}

/// `err_return` leaves the file that a job is, and an end without a code is unknown.
#[test]
fn options_that_end_a_shell_leave_a_code_or_none() {
    for shell in posix_shells() {
        let (job, printed) = ran(shell, "set -e", "sh -c 'exit 9'; echo on", "echo alive");
        assert_eq!(
            job.files.exit_code(),
            Some(9),
            "{}: {printed}",
            shell.name()
        );
        assert!(
            !printed.contains("on\n") && !printed.contains("alive"),
            "{printed}"
        );
    }
    if shells().contains(&Shell::Zsh) {
        let (job, printed) = ran(
            Shell::Zsh,
            "setopt err_return",
            "sh -c 'exit 9'; echo on",
            "",
        );
        assert!(!printed.contains("on\n"), "{printed}");
        assert!(matches!(job.files.exit_code(), Some(9) | None), "{printed}");
    }
}

/// A shell that shows what it runs shows the command and almost nothing of the script.
#[test]
fn a_shell_that_shows_what_it_runs_shows_the_command() {
    for shell in posix_shells() {
        for (option, shown) in [
            ("-x", "echo hello"),
            ("-v", "echo hello"),
            ("-xv", "echo hello"),
        ] {
            let metadata = Metadata {
                working_dir: Some("/".to_owned()),
                env_vars: [("STAGE".to_owned(), "dev".to_owned())].into(),
                prerequisites: vec!["true".to_owned()],
                ..Metadata::default()
            };
            let job = SpooledJob::write(shell, &task("echo hello", metadata), Keep::Marks("n"));
            let output = job.source_then(&format!("set {option}"), "echo \"flags $-\"");
            let printed = String::from_utf8_lossy(&output.stderr).into_owned();
            let place = format!("{} {option}:\n{printed}", shell.name());
            assert!(printed.contains(shown), "{place}");
            let ours = printed.lines().filter(|line| {
                // zsh's own trace cannot be redirected.
                line.contains("assigner") || line.contains("builtin") || line.contains("STAGE")
            });
            let most = if shell == Shell::Zsh { 8 } else { 3 };
            assert!(ours.count() <= most, "{place}");
            let flags = String::from_utf8_lossy(&output.stdout).into_owned();
            let flags = flags.rsplit_once("flags ").expect("shown").1;
            for flag in option[1..].chars() {
                assert!(flags.contains(flag), "{place}{flags}");
            }
        }
    }
}

#[test]
fn a_variable_that_is_read_only_is_well_with_its_value_and_named_with_another() {
    for shell in posix_shells() {
        for (value, code) in [("one", Some(0)), ("two", None)] {
            for isolate_env in [false, true] {
                let metadata = Metadata {
                    env_vars: [("RO".to_owned(), value.to_owned())].into(),
                    isolate_env,
                    ..Metadata::default()
                };
                let job = SpooledJob::write(shell, &task("env > seen", metadata), Keep::Marks("n"));
                let options = if isolate_env { ":" } else { "set -e" };
                let before = format!("readonly RO=one; {options}");
                let output = job.source_then(&before, "echo alive");
                let place = format!("{}, {value}: {output:?}", shell.name());
                let found = job.files.exit_code();
                assert_eq!(found.filter(|found| *found == 0), code, "{place}");
                assert!(found.is_some(), "{place}");
                assert!(
                    String::from_utf8_lossy(&output.stdout).contains("alive"),
                    "{place}"
                );
                let seen = fs::read_to_string(job.path().join("seen")).unwrap_or_default();
                assert_eq!(seen.contains("RO=one"), code.is_some(), "{place}");
                if code.is_none() {
                    assert_eq!(
                        job.files.last_step(),
                        Some(ScriptStep::Export(0)),
                        "{place}"
                    );
                    assert!(
                        String::from_utf8_lossy(&output.stderr).contains("RO"),
                        "{place}"
                    );
                }
            }
        }
    }
}

/// An interrupted job has left our trap, and the next job does not get as far as setting one.
#[test]
fn a_persons_trap_comes_back_with_the_next_job_whatever_becomes_of_it() {
    for shell in posix_shells() {
        let mut lefts = vec![
            "__assigner_trap='echo bye $?'; trap '__assigner=$?; : __assigner_exit_trap' EXIT",
        ];
        if shell == Shell::Zsh {
            lefts.push(
                "__assigner_trap=TRAPEXIT; __assigner_function='TRAPEXIT() { echo bye $? }'; trap '__assigner=$?; : __assigner_exit_trap' EXIT",
            );
        }
        for left in lefts {
            for metadata in [
                Metadata {
                    isolate_env: true,
                    ..Metadata::default()
                },
                Metadata {
                    prerequisites: vec!["false".to_owned()],
                    ..Metadata::default()
                },
                Metadata::default(),
            ] {
                let place = format!("{}, {left}, {metadata:?}", shell.name());
                let job = SpooledJob::write(shell, &task("true", metadata), Keep::Marks("n"));
                let output = job.source_then(left, "(exit 5)");
                let printed = String::from_utf8_lossy(&output.stdout).into_owned();
                assert_eq!(printed.matches("bye 5\n").count(), 1, "{place}: {output:?}");
            }
        }
    }
}

/// What was saved when a job was interrupted is restored by the next job.
#[test]
fn what_a_shell_shows_comes_back_after_a_job_that_was_interrupted() {
    for shell in posix_shells() {
        let job = SpooledJob::write(shell, &task("true", Metadata::default()), Keep::Marks("n"));
        let output = job.source_then("__assigner_x=hxB", "echo \"flags $-\"");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let flags = printed.rsplit_once("flags ").expect("shown").1;
        assert!(flags.contains('x'), "{}: {printed}", shell.name());
    }
}

/// A job claims its file without a process of its own, by an option that a person may use as well.
#[test]
fn what_a_shell_writes_over_is_as_it_was() {
    for shell in posix_shells() {
        for (before, keeps) in [
            ("true", false),
            ("set -C", true),
            // The job before was interrupted while it claimed.
            ("set -C; __assigner_C=1", false),
        ] {
            let metadata = Metadata::default();
            let job = SpooledJob::write(shell, &task("echo run", metadata), Keep::Marks("n"));
            let after = "case $- in *C*) echo keeps;; *) echo over;; esac";
            let output = job.source_then(before, after);
            let printed = String::from_utf8_lossy(&output.stdout).into_owned();
            let place = format!("{}, {before}: {output:?}", shell.name());
            assert_eq!(printed.matches("run\n").count(), 1, "{place}");
            assert_eq!(printed.ends_with("keeps\n"), keeps, "{place}");
            // Once it is claimed, nothing runs, and the shell is as it was all the same.
            let output = job.source_then(before, after);
            let printed = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(printed, if keeps { "keeps\n" } else { "over\n" }, "{place}");
        }
    }
}

/// zsh would leave the script silently at an array.
#[test]
fn a_variable_that_is_an_array_is_named() {
    if !shells().contains(&Shell::Zsh) {
        return;
    }
    for value in ["a b", "other"] {
        let metadata = Metadata {
            env_vars: [("LIST".to_owned(), value.to_owned())].into(),
            ..Metadata::default()
        };
        let job = SpooledJob::write(Shell::Zsh, &task("true", metadata), Keep::Marks("n"));
        let output = job.source_then("LIST=(a b)", "echo alive");
        assert_eq!(job.files.exit_code(), Some(1), "{output:?}");
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("LIST is an array"),
            "{output:?}"
        );
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("alive"),
            "{output:?}"
        );
    }
}
