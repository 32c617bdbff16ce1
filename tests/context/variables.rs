//! Variables of tasks and of sessions: set, exported, known, and undone.

use std::fs;

use super::tracked;
use crate::harness::tasks::{failed, terms};
use crate::harness::{Shell, in_each_shell};
use crate::queue::database;

#[test]
fn values_arrive_in_prerequisites_and_are_known_as_they_are() {
    let values = [
        "it's \"quoted\" `touch leaked`",
        "two\nlines\n\n",
        "$(touch leaked) $HOME ${HOME} !! *",
        "back\\slash \\n \\\\ \\' \\",
        "grüße 日本 \u{1f980}",
        "",
        " -n ",
    ];
    in_each_shell(|seat| {
        let (world, name) = (seat.world, seat.name());
        let variables: Vec<String> = values
            .iter()
            .enumerate()
            .map(|(number, value)| format!("HOSTILE_{number}={value}"))
            .collect();
        let mut options = Vec::new();
        for variable in &variables {
            options.extend(["-e", variable]);
        }
        let prerequisite = ["--prereq", "sh -c 'env -0 > prepared'"];
        let id = seat.shell_with(
            &[&options[..], &prerequisite].concat(),
            "sh -c 'env -0 > ran'",
        );
        world.completed(id);
        for file in ["prepared", "ran"] {
            let seen = fs::read(seat.path(file)).expect("a file");
            let seen: Vec<String> = seen
                .split(|byte| *byte == 0)
                .map(|entry| String::from_utf8_lossy(entry).into_owned())
                .collect();
            for variable in &variables {
                assert!(seen.contains(variable), "{file}: {variable:?}: {seen:#?}");
            }
        }
        assert!(!seat.path("leaked").exists());
        let database = database(world);
        for (number, value) in values.iter().enumerate() {
            tracked(seat, &database, &format!("HOSTILE_{number}"), Some(*value));
        }
        let task = world.completed(seat.shell_with(&options, "true"));
        let terms = terms(&task, name);
        for number in 0..values.len() {
            let term = format!("variable HOSTILE_{number}");
            assert_eq!(terms.get(&term), Some(&20), "{term}: {task:#}");
        }
    });
}

#[test]
fn what_is_exported_is_known() {
    in_each_shell(|seat| {
        let (world, name) = (seat.world, seat.name());
        let fish = seat.shell == Shell::Fish;
        seat.run("export COLOUR=red");
        let database = database(world);
        tracked(seat, &database, "COLOUR", Some("red"));
        seat.run("export COLOUR='dark blue'");
        tracked(seat, &database, "COLOUR", Some("dark blue"));
        let id = seat.shell_with(&["--prereq", "export STAGE=test"], "true");
        world.completed(id);
        tracked(seat, &database, "STAGE", Some("test"));
        let again = seat.shell_with(&["-e", "STAGE=test", "-e", "COLOUR=red"], "true");
        let task = world.completed(again);
        let known = terms(&task, name);
        assert_eq!(known.get("variable STAGE"), Some(&20), "{task:#}");
        assert_eq!(known.get("variable COLOUR"), None, "{task:#}");
        seat.run(if fish { "set -e STAGE" } else { "unset STAGE" });
        tracked(seat, &database, "STAGE", None);

        // By hand, at the prompt.
        seat.pane.line(if fish {
            "set -gx DEBUG 1; set -gx OTHER 1; echo it-is-set"
        } else {
            "export DEBUG=1 OTHER=1; echo it-is-set"
        });
        seat.pane.shows("\nit-is-set");
        seat.pane.prompt();
        let id = seat.shell_with(&["-e", "DEBUG=1", "-e", "OTHER=2"], "printenv DEBUG");
        let task = world.completed(id);
        assert_eq!(task["output"], "1\n", "{task:#}");
        let known = terms(&task, name);
        assert_eq!(known.get("variable DEBUG"), Some(&20), "{task:#}");
        assert_eq!(known.get("variable OTHER"), None, "{task:#}");
    });
}

#[test]
fn an_isolated_task_leaves_no_variable_behind() {
    in_each_shell(|seat| {
        let (world, name) = (seat.world, seat.name());
        let extra = seat.mkdir("extra");
        let look =
            r#"sh -c 'echo "${BEFORE-none} ${GIVEN-none} ${PREPARED-none} ${MADE-none} $PATH"'"#;
        seat.run("export BEFORE=kept");
        let before = seat.run(look);
        let path = before
            .strip_prefix("kept none none none ")
            .unwrap_or_else(|| panic!("{before:?}"));
        let (prepare, make) = match seat.shell {
            Shell::Fish => (
                format!("set -gx PREPARED yes; set -gx PATH '{extra}' $PATH"),
                "set -gx MADE yes; set -gx BEFORE changed".to_owned(),
            ),
            _ => (
                format!("export PREPARED=yes PATH='{extra}':\"$PATH\""),
                "export MADE=yes; BEFORE=changed".to_owned(),
            ),
        };
        let isolated = |options: &[&str], command: &str| {
            let context = ["--isolate-env", "-e", "GIVEN=yes", "-e", "BEFORE=given"];
            let prerequisite = ["--prereq", &prepare];
            let options = [&context[..], &prerequisite, options].concat();
            seat.shell_with(&options, &format!("{make}; {command}"))
        };

        let id = isolated(&[], look);
        world.completed(id);
        let seen = String::from_utf8(world.output(id)).expect("text");
        assert!(
            seen.ends_with(&format!("changed yes yes yes {extra}:{path}")),
            "{seen:?}"
        );
        assert_eq!(seat.run(look), before);
        // However it ends.
        let task = failed(world, isolated(&[], "sh -c 'exit 5'"), &[]);
        assert_eq!(task["exit_code"], 5, "{task:#}");
        assert_eq!(seat.run(look), before);
        let id = isolated(&["--prereq", "sh -c 'exit 6'"], "true");
        failed(world, id, &["sh -c 'exit 6'"]);
        assert_eq!(seat.run(look), before);
        failed(world, isolated(&["--timeout", "1s"], "sleep 300"), &[]);
        assert_eq!(seat.run(look), before);

        let database = database(world);
        tracked(seat, &database, "BEFORE", Some("kept"));
        for variable in ["GIVEN", "PREPARED", "MADE"] {
            tracked(seat, &database, variable, None);
        }
        let task = world.completed(seat.shell_with(&["-e", "BEFORE=kept"], "true"));
        assert_eq!(terms(&task, name).get("variable BEFORE"), Some(&20));
    });
}
