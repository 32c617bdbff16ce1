//! The settings of a session, hostile values and redefined commands do not change what a job does.

use std::fs;

use crate::harness::{Seat, Shell, in_each_shell, in_shells};
use crate::shells::failed_with;

#[test]
fn hostile_values_and_directories_arrive_as_they_are() {
    let values = [
        "plain",
        "",
        " two  spaces ",
        "quo'te\"s `touch leaked` $(touch leaked) $HOME ${HOME} \\ \\n !! * ? [a] {b,c} ~ # ; & | < > %",
        "many\nlines\n\n",
        "-n",
        "=a=b=",
        "grüße 日本 \u{1f980}",
        "tab\there",
        "'",
        "\\",
        "\\'",
        "$'\\x41'",
    ];
    in_each_shell(|seat| {
        let world = seat.world;
        let mut args = vec!["-w".to_owned()];
        let dir = seat.mkdir("we ird'\"$(touch leaked)`x`\n;é*[a]\\ #{pane_id} !! -");
        args.push(dir.clone());
        for (number, value) in values.iter().enumerate() {
            args.push("-e".to_owned());
            args.push(format!("HOSTILE_{number}={value}"));
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let id = seat.shell_with(
            &args,
            "pwd | head -c 10000 > pwd.seen; sh -c 'env -0 > env.seen'",
        );
        world.completed(id);

        let seen = fs::read_to_string(format!("{dir}/pwd.seen")).expect("a file");
        assert_eq!(seen, format!("{dir}\n"));
        let env = fs::read(format!("{dir}/env.seen")).expect("a file");
        let env: Vec<String> = env
            .split(|byte| *byte == 0)
            .map(|entry| String::from_utf8_lossy(entry).into_owned())
            .collect();
        for (number, value) in values.iter().enumerate() {
            let entry = format!("HOSTILE_{number}={value}");
            assert!(env.contains(&entry), "{entry:?} is not in {env:#?}");
        }
        assert!(!seat.path("leaked").exists());
        assert!(!std::path::Path::new(&dir).join("leaked").exists());
        let task = world.show(id);
        assert_eq!(task["context"]["working_dir"], dir.as_str());
    });
}

/// People redefine commands that a job script may use.
#[test]
fn aliases_and_options_of_the_session_do_no_harm() {
    in_each_shell(|seat| {
        let setup: &[&str] = match seat.shell {
            Shell::Fish => &[
                "function cd; false; end; function rm; false; end; function mv; false; end",
                "function cat; false; end; function ls; false; end; clear",
            ],
            _ => &[
                "alias cd='echo nope;' rm='rm -i' mv='mv -i' cp='cp -i' cat=false ls='ls -l'",
                "set -o noclobber; set -u; clear",
            ],
        };
        works_after(seat, setup);
    });
}

/// The same for commands that hardly anybody redefines.
#[test]
fn redefined_builtins_do_no_harm() {
    in_each_shell(|seat| {
        let setup: &[&str] = match seat.shell {
            // Its prompt uses the others.
            Shell::Fish => &["function export; false; end; function printf; false; end; clear"],
            Shell::Dash => {
                &["alias export=false printf=false trap=false eval=false test=false; clear"]
            }
            _ => &[
                "alias export=false printf=false trap=false eval=false test=false set=false",
                "cd() { false; }; printf() { false; }; echo() { false; }; clear",
            ],
        };
        works_after(seat, setup);
    });
}

/// Asserts that a session still works after a person typed some lines into it.
fn works_after(seat: &Seat<'_>, lines: &[&str]) {
    let world = seat.world;
    for line in lines {
        seat.pane.line(line);
    }
    seat.pane.prompt();
    let dir = seat.mkdir("aliased");
    let id = seat.shell_with(
        &["-w", &dir, "-e", "K=v", "--prereq", "sh -c true"],
        "pwd; printenv K",
    );
    let task = world.settled(id);
    assert_eq!(task["status"], "completed", "{task:#}");
    assert_eq!(world.output(id), format!("{dir}\nv\n").into_bytes());
    let id = seat.shell("sh -c 'exit 6'");
    failed_with(world, id, 6);
}

/// An interactive shell with `set -e` ends at the first command that fails: the exit code is still
/// known, but the user loses the session.
#[test]
fn a_session_with_errexit_keeps_the_exit_code() {
    in_shells(&[Shell::Bash, Shell::Zsh, Shell::Dash], |seat| {
        seat.pane.line("set -e; clear");
        seat.pane.prompt();
        let id = seat.shell("sh -c 'exit 5'; echo on");
        failed_with(seat.world, id, 5);
    });
}
