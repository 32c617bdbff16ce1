//! A command's complete path, in each of the shells: context, prerequisites, exit code.

use std::fs;

use serde_json::Value;

use crate::harness::{Shell, World, eventually, in_each_shell, is_settled};

/// Asserts that a task failed with an exit code and one attempt, and says why.
#[track_caller]
pub(crate) fn failed_with(world: &World, id: u64, code: i64) -> Value {
    let task = world.settled(id);
    assert_eq!(task["status"], "failed", "{task:#}");
    assert_eq!(task["exit_code"], code, "{task:#}");
    assert_eq!(task["attempts"].as_array().map(Vec::len), Some(1));
    assert_eq!(task["attempts"][0]["exit_code"], code, "{task:#}");
    assert!(
        task["error"].as_str().is_some_and(|why| !why.is_empty()),
        "{task:#}"
    );
    task
}

#[test]
fn exit_codes_and_output_are_kept() {
    in_each_shell(|seat| {
        let world = seat.world;
        let good = seat.shell("echo hello");
        let bad = seat.shell("echo worse; sh -c 'exit 7'");
        let unknown = seat.shell("no-such-program-at-all");
        let stderr = seat.shell("sh -c 'echo to stderr >&2'");

        let task = world.completed(good);
        assert_eq!(task["exit_code"], 0);
        assert_eq!(task["output"], "hello\n");
        assert_eq!(task["session"], seat.name());
        assert_eq!(task["error"], Value::Null);
        assert_eq!(world.output(good), b"hello\n");

        let task = failed_with(world, bad, 7);
        assert_eq!(task["output"], "worse\n");
        failed_with(world, unknown, 127);
        world.completed(stderr);
        assert_eq!(world.output(stderr), b"to stderr\n");
    });
}

#[test]
fn directory_and_variables_persist_in_the_session() {
    in_each_shell(|seat| {
        let world = seat.world;
        let dir = seat.mkdir("elsewhere");
        let first = seat.shell_with(&["-w", &dir, "-e", "COLOUR=green"], "pwd; printenv COLOUR");
        world.completed(first);
        assert_eq!(world.output(first), format!("{dir}\ngreen\n").into_bytes());
        assert_eq!(seat.run("pwd; printenv COLOUR"), format!("{dir}\ngreen\n"));

        world.eventually(|| {
            let session = world.session_entry(seat.name()).ok_or("no session")?;
            if session["current_dir"] == dir.as_str() && session["env"]["COLOUR"] == "green" {
                Ok(())
            } else {
                Err(session.to_string())
            }
        });
        seat.pane.line("echo \"seen: $COLOUR\"");
        seat.pane.shows("seen: green");
        seat.pane.prompt();
        // What the command itself does to the session stays, too.
        seat.run("cd /");
        assert_eq!(seat.run("pwd"), "/\n");
    });
}

#[test]
fn prerequisites_run_in_order_and_are_checked() {
    in_each_shell(|seat| {
        let world = seat.world;
        let dir = seat.mkdir("prerequisites");
        let good = seat.shell_with(
            &[
                "-w",
                &dir,
                "-e",
                "WORD=two",
                "--prereq",
                "echo one >> order",
                "--prereq",
                "printenv WORD >> order; pwd >> order",
            ],
            "echo three >> order; cat order",
        );
        world.completed(good);
        let seen = String::from_utf8(world.output(good)).expect("text");
        assert!(
            seen.ends_with(&format!("one\ntwo\n{dir}\nthree\n")),
            "{seen:?}"
        );

        let bad = seat.shell_with(
            &[
                "-w",
                &dir,
                "--prereq",
                "echo before >> bad",
                "--prereq",
                "echo the-last | tr a-z A-Z; sh -c 'exit 9'",
                "--prereq",
                "echo after >> bad",
            ],
            "echo command >> bad",
        );
        let task = world.settled(bad);
        assert_eq!(task["status"], "failed", "{task:#}");
        let error = task["error"].as_str().expect("an error");
        assert!(error.contains("THE-LAST"), "{error}");
        assert!(error.contains("sh -c 'exit 9'"), "{error}");
        assert!(error.contains('9'), "{error}");
        assert_eq!(
            fs::read_to_string(format!("{dir}/bad")).expect("a file"),
            "before\n"
        );
        assert_eq!(task["attempts"].as_array().map(Vec::len), Some(1));
        assert_eq!(seat.run("echo next"), "next\n");
    });
}

#[test]
fn a_directory_that_is_gone_fails_the_task_before_it_runs() {
    in_each_shell(|seat| {
        let world = seat.world;
        let dir = seat.mkdir("gone");
        let hold = seat.shell(wait_for_go(seat.shell));
        let id = seat.shell_with(&["-w", &dir], "touch ran");
        fs::remove_dir(&dir).expect("an empty directory");
        fs::write(seat.path("go"), "").expect("a file");
        world.completed(hold);
        let task = world.settled(id);
        assert_eq!(task["status"], "failed", "{task:#}");
        let error = task["error"].as_str().expect("an error");
        assert!(error.contains(&dir), "{error}");
        assert!(!seat.path("ran").exists());
        assert_eq!(seat.run("echo next"), "next\n");
    });
}

/// Returns a command line that ends when there is a file `go` in the directory.
fn wait_for_go(shell: Shell) -> &'static str {
    match shell {
        Shell::Fish => "while test ! -e go; sleep 0.02; end",
        _ => "while test ! -e go; do sleep 0.02; done",
    }
}

#[test]
fn exit_in_a_command_is_its_exit_code() {
    in_each_shell(|seat| {
        let world = seat.world;
        let id = seat.shell("echo bye; exit 3");
        let task = failed_with(world, id, 3);
        assert_eq!(task["output"], "bye\n", "{task:#}");
    });
}

#[test]
fn return_in_a_command_is_its_exit_code() {
    in_each_shell(|seat| {
        let world = seat.world;
        let id = seat.shell("echo back; return 4; echo never");
        let task = failed_with(world, id, 4);
        assert_eq!(task["output"], "back\n", "{task:#}");
        assert_eq!(seat.run("echo next"), "next\n");
    });
}

#[test]
fn a_syntax_error_fails_the_task_and_leaves_the_session_usable() {
    in_each_shell(|seat| {
        let world = seat.world;
        let broken = match seat.shell {
            Shell::Fish => ["end; echo leaked", "echo (", "echo 'never closed"],
            _ => ["fi; echo leaked", "echo $(", "echo 'never closed"],
        };
        for command in broken {
            let id = seat.shell(command);
            let task = world.settled(id);
            assert_eq!(task["status"], "failed", "{command}: {task:#}");
            assert!(
                task["error"].as_str().is_some_and(|why| !why.is_empty()),
                "{command}: {task:#}"
            );
            assert_eq!(task["attempts"].as_array().map(Vec::len), Some(1));
            assert_eq!(seat.run("echo next"), "next\n", "after {command}");
        }
    });
}

/// bash dies from an open `$(` at the end of a file that it sources, some prompts later.
#[test]
fn a_command_with_an_open_substitution_does_not_end_its_shell() {
    in_each_shell(|seat| {
        for command in ["echo $(", "cat <(echo", "echo \"$(echo", "echo $("] {
            let task = seat.world.settled(seat.shell(command));
            assert_eq!(task["status"], "failed", "{command}: {task:#}");
            assert_eq!(seat.run("echo next"), "next\n", "after {command}");
        }
    });
}

/// When another shell replaces a shell, what the first one reported does not apply to the second.
#[test]
fn a_shell_that_was_replaced_is_a_new_one() {
    in_each_shell(|seat| {
        let again = match seat.shell {
            Shell::Bash => "exec env 'PS1=$ ' bash --noprofile --norc",
            Shell::Zsh => "exec env 'PS1=$ ' zsh -f",
            Shell::Fish => "exec fish --no-config",
            Shell::Dash => "exec env 'PS1=$ ' dash",
        };
        let world = seat.world;
        assert_eq!(seat.run("echo one"), "one\n");
        let id = seat.shell_with(&["--retries", "2"], &format!("echo ran >> ran; {again}"));
        let task = world.settled(id);
        // dash itself reports that it reads a line, so the command has failed.
        if seat.shell != Shell::Dash {
            assert_eq!(task["status"], "uncertain", "{task:#}");
            let ran = fs::read_to_string(seat.path("ran")).expect("it ran");
            assert_eq!(ran, "ran\n");
        }
        assert_eq!(seat.run("echo two"), "two\n");
        // The same by a person.
        seat.pane.prompt();
        seat.pane.line(&format!("clear; {again}"));
        assert_eq!(seat.run("echo three"), "three\n");
    });
}

/// One line is added to a shell's startup file, and removing it restores the file.
#[test]
fn new_shells_tell_by_a_line_that_is_installed() {
    let world = World::new();
    let file = world.path("home/.bashrc");
    let before = "PS1='make ❯ '\n# the last line is not ended";
    fs::write(&file, before).expect("written");
    let asks = world
        .assigner(&["shell", "install", "bash"])
        .refused(2)
        .stderr;
    assert!(asks.contains("--yes"), "{asks}");
    assert_eq!(fs::read_to_string(&file).expect("read"), before);

    let shown = world.assigner(&["shell", "install", "bash", "--yes"]);
    let shown = shown.succeeded().text();
    assert!(shown.contains("+# >>> assigner >>>"), "{shown}");
    let said = world.json(&["shell", "install", "bash", "--yes"]);
    assert_eq!(
        (&said["installed"], &said["changed"]),
        (&true.into(), &false.into())
    );
    let rc = fs::read_to_string(&file).expect("read");
    assert_eq!(rc.matches("shell-init bash").count(), 1, "{rc}");

    // Its prompt is not a known one.
    let home = world.path("home");
    let line = format!(
        "exec env HOME='{}' bash --rcfile '{}'",
        home.display(),
        file.display()
    );
    world.tmux(&["new-session", "-d", "-s", "told", &line]);
    let _daemon = world.daemon();
    world.session_is("told", "idle");
    assert_eq!(world.run("echo fine"), "fine\n");

    let said = world.json(&["shell", "remove", "bash", "--yes"]);
    assert_eq!(said["changed"], true);
    let after = fs::read_to_string(&file).expect("read");
    assert_eq!(after, format!("{before}\n"));
    let said = world.json(&["shell", "remove", "bash", "--yes"]);
    assert_eq!(said["changed"], false);

    fs::write(&file, "# >>> assigner >>>\n").expect("written");
    let why = world
        .assigner(&["shell", "remove", "bash", "--yes"])
        .refused(1)
        .stderr;
    assert!(why.contains("nothing was written"), "{why}");
    world.assigner(&["shell-init", "dash"]).refused(2);
}

/// A command that closes what it did not open must not run a part of itself.
#[test]
fn a_command_cannot_close_its_wrapping() {
    in_each_shell(|seat| {
        let world = seat.world;
        let broken: &[&str] = match seat.shell {
            Shell::Fish => &["true; end; touch escaped; begin", "touch escaped; end"],
            _ => &[
                "true; }; touch escaped; {",
                "true ) ; touch escaped; (",
                "touch escaped; fi",
            ],
        };
        for command in broken {
            let task = world.settled(seat.shell(command));
            assert_eq!(task["status"], "failed", "{command}: {task:#}");
            assert!(!seat.path("escaped").exists(), "{command} ran");
        }
        assert_eq!(seat.run("echo next"), "next\n");
    });
}

/// Once it has had a job, a shell itself says whether its line is a new one.
#[test]
fn a_shell_is_asked_for_its_line_and_keeps_what_stands_there() {
    in_each_shell(|seat| {
        if seat.shell == Shell::Dash {
            return;
        }
        let world = seat.world;
        assert_eq!(seat.run("echo first"), "first\n");
        // A line that ends like a prompt, and something unfinished.
        let unfinished = match seat.shell {
            Shell::Fish => "touch executed \\",
            _ => "touch executed '",
        };
        for draft in [&["-l", "touch executed # $ "][..], &["-l", unfinished]] {
            seat.pane.keys(draft);
            if draft[1] == unfinished {
                seat.pane.keys(&["Enter"]);
            }
            let id = seat.shell("echo second");
            let asked = world.show(id);
            world.eventually(|| {
                let sessions = world.session_entry(seat.name()).unwrap_or_default();
                let sessions = sessions.to_string();
                if sessions.contains("its shell reports")
                    || sessions.contains("does not wait for a new line")
                {
                    Ok(())
                } else {
                    Err(sessions)
                }
            });
            assert_ne!(asked["status"], "completed", "{asked:#}");
            assert!(!seat.path("executed").exists());
            seat.pane.keys(&["C-c"]);
            let task = world.settled(id);
            assert_eq!(task["status"], "completed", "{task:#}");
            assert_eq!(task["output"], "second\n", "{task:#}");
            assert!(!seat.path("executed").exists());
        }
    });
}

/// A job that reads its input through the line editor is running, whatever its shell looks like.
#[test]
fn a_job_that_asks_by_the_line_editor_is_not_interrupted() {
    in_each_shell(|seat| {
        let ask = match seat.shell {
            Shell::Bash => "read -e -p 'Proceed? ' x; touch asked; echo got $x",
            Shell::Zsh => "x=; vared -p 'Proceed? ' x; touch asked; echo got $x",
            Shell::Fish => "read -P 'Proceed? ' x; touch asked; echo got $x",
            Shell::Dash => return,
        };
        let world = seat.world;
        let id = seat.shell(ask);
        world.until(id, "in_progress");
        let next = seat.shell("echo next");
        seat.pane.shows("Proceed?");
        // Each of these is assigned and seen to end by further looks at all sessions.
        let beside = format!("beside-{}", seat.name());
        world.session(&beside, Shell::Bash);
        for _ in 0..5 {
            world.completed(world.shell_with(&["--target", &beside], "sleep 0.3"));
        }
        let task = world.show(id);
        assert_eq!(task["status"], "in_progress", "{task:#}");
        assert_eq!(world.show(next)["status"], "pending");
        seat.pane.keys(&["yes", "Enter"]);
        let task = world.settled(id);
        assert_eq!(task["status"], "completed", "{task:#}");
        let output = task["output"].as_str().unwrap_or_default();
        assert!(output.contains("got yes"), "{task:#}");
        assert_eq!(world.settled(next)["output"], "next\n");
    });
}

/// If its shell disappears without a report, a command's end is unknown, and it is not run again.
#[test]
fn a_command_whose_end_is_not_known_is_not_run_again() {
    in_each_shell(|seat| {
        let world = seat.world;
        let kill = match seat.shell {
            Shell::Fish => "echo ran >> ran; kill -KILL $fish_pid",
            _ => "echo ran >> ran; kill -KILL $$",
        };
        let id = seat.shell_with(&["--retries", "2"], kill);
        let task = world.settled(id);
        assert_eq!(task["status"], "uncertain", "{task:#}");
        let ran = fs::read_to_string(seat.path("ran")).expect("it ran");
        assert_eq!(ran, "ran\n");
    });
}

#[test]
fn a_person_may_interrupt_a_job() {
    in_each_shell(|seat| {
        let world = seat.world;
        let id = seat.shell("touch started; sleep 300");
        world.until(id, "in_progress");
        world.file_appears(&format!("{}/started", seat.name()));
        let task = world.eventually(|| {
            // Between two commands a shell may miss the key, so a person presses it again.
            seat.pane.keys(&["C-c"]);
            let task = world.show(id);
            if is_settled(&task) {
                Ok(task)
            } else {
                Err(task.to_string())
            }
        });
        assert_eq!(task["status"], "failed", "{task:#}");
        assert!(
            task["error"].as_str().is_some_and(|why| !why.is_empty()),
            "{task:#}"
        );
        assert_eq!(task["attempts"].as_array().map(Vec::len), Some(1));
        assert_eq!(seat.run("echo next"), "next\n");
    });
}

#[test]
fn commands_of_many_lines_run_whole() {
    in_each_shell(|seat| {
        let world = seat.world;
        let loop_ = match seat.shell {
            Shell::Fish => "for i in 1 2\n\techo turn $i\nend\n\necho last",
            _ => "for i in 1 2\ndo\n\techo turn $i\ndone\n\necho last",
        };
        assert_eq!(seat.run(loop_), "turn 1\nturn 2\nlast\n");
        assert_eq!(seat.run("echo said # and a comment"), "said\n");
        assert_eq!(seat.run("# only\necho said\n# comments"), "said\n");
        assert_eq!(seat.run("echo a \\\n  b"), "a b\n");
        if seat.shell != Shell::Fish {
            assert_eq!(seat.run("cat <<END\n  kept $((1 + 1))\nEND"), "  kept 2\n");
            assert_eq!(seat.run("f() {\n echo in f\n}\nf"), "in f\n");
        }
        // Each line is a separate command: the last one counts.
        let id = seat.shell("false\ntrue");
        world.completed(id);
        let id = seat.shell("true\nfalse");
        failed_with(world, id, 1);
    });
}

#[test]
fn the_branch_of_a_session_is_seen() {
    let world = World::new();
    let dir = world.mkdir("repository");
    let made = world
        .command("git")
        .args(["init", "-q", "-b", "feature/one", &dir])
        .status()
        .expect("git");
    assert!(made.success());
    world.session_in("repo", Shell::Bash, &dir);
    let _daemon = world.daemon();
    let session = world.session_is("repo", "idle");
    assert_eq!(session["git_branch"], "feature/one");
    assert_eq!(session["current_dir"], dir.as_str());
    assert_eq!(session["provider"], "shell");
    assert_eq!(session["current_task"], Value::Null);
}

/// What a task leaves in the data directory must not contain its variables.
#[test]
fn the_spool_is_empty_when_the_jobs_have_ended() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    let good = world.shell_with(&["-e", "TOKEN=very-secret-value"], "echo good");
    let bad = world.shell_with(&["-e", "TOKEN=very-secret-value"], "false");
    world.completed(good);
    world.settled(bad);
    eventually(|| {
        for entry in walk(world.data()) {
            let bytes = fs::read(&entry).unwrap_or_default();
            let name = entry.file_name().map(|name| name.to_string_lossy());
            let is_database = name.is_some_and(|name| name.starts_with("assigner.db"));
            if !is_database && String::from_utf8_lossy(&bytes).contains("very-secret-value") {
                return Err(format!("{} holds the value", entry.display()));
            }
        }
        Ok(())
    });
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else {
            found.push(path);
        }
    }
    found
}
