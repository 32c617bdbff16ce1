//! Secret values: for their task alone, masked, and never written or shown elsewhere.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::tracked;
use crate::harness::tasks::failed;
use crate::harness::{Shell, World, assert_calm, eventually, finish, in_each_shell};
use crate::queue::database;

/// Queues a command line with secrets from the sender's environment.
fn send_secret(world: &World, secrets: &[(&str, &str)], options: &[&str], command: &str) -> u64 {
    let mut binary = world.binary();
    binary.args(["--json", "send", "--shell"]).args(options);
    for (name, value) in secrets {
        binary.env(name, value).args(["--secret-env", *name]);
    }
    let answer = finish(binary.args(["--", command]), b"").succeeded().json();
    assert_eq!(answer["status"], "pending", "{answer}");
    answer["id"].as_u64().expect("a task's number")
}

/// Returns the files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found
}

/// Returns whether a file contains a text; a file that is gone does not.
fn holds(path: &Path, text: &str) -> bool {
    let bytes = fs::read(path).unwrap_or_default();
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

/// Asserts that no file of the data directory contains a secret any more, nor does the daemon's
/// log.
#[track_caller]
fn kept_nowhere(world: &World, secret: &str) {
    eventually(|| {
        let mut paths = files(world.data());
        assert!(!paths.is_empty());
        for entry in fs::read_dir(world.path("")).expect("the world's directory") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                paths.push(path);
            }
        }
        match paths.iter().find(|path| holds(path, secret)) {
            Some(path) => Err(format!("{} holds {secret}", path.display())),
            None => Ok(()),
        }
    });
}

/// Asserts that neither a command nor the database reveals a secret.
#[track_caller]
fn told_by_nobody(world: &World, id: u64, secret: &str) {
    let id = id.to_string();
    let commands: [&[&str]; 7] = [
        &["show", &id],
        &["history", &id],
        &["explain", &id],
        &["output", &id],
        &["list", "--limit", "0"],
        &["sessions"],
        &["status"],
    ];
    let forms: [&[&str]; 2] = [&[], &["--json"]];
    for command in commands {
        for form in forms {
            let args = [form, command].concat();
            let output = world.assigner(&args).succeeded();
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &output.stderr;
            assert!(!said.contains(secret), "{args:?}: {said}");
        }
    }
    for name in ["assigner.db", "assigner.db-wal"] {
        assert!(!holds(&world.data().join(name), secret), "{name}");
    }
}

#[test]
fn a_secret_is_for_its_task_alone() {
    in_each_shell(|seat| {
        let (world, name) = (seat.world, seat.name());
        let target = ["--target", name];
        let secret = format!("hush-{name}-tell-nobody");
        let value = format!("it's \"{secret}\" $(touch leaked) \\ é");
        let hold = match seat.shell {
            Shell::Fish => "while test ! -e go; sleep 0.02; end",
            _ => "while test ! -e go; do sleep 0.02; done",
        };
        let id = send_secret(
            world,
            &[("TOKEN", value.as_str())],
            &[&target[..], &["--prereq", "printenv TOKEN > prepared"]].concat(),
            &format!(
                "printenv TOKEN > got; printf 'value: %s.\\n' \"$TOKEN\"; {hold}; \
                 printf %s \"$TOKEN\""
            ),
        );
        for file in ["prepared", "got"] {
            eventually(|| match fs::read_to_string(seat.path(file)) {
                Ok(seen) if seen == format!("{value}\n") => Ok(()),
                other => Err(format!("{file}: {other:?}")),
            });
        }
        world.until(id, "in_progress");
        told_by_nobody(world, id, &secret);
        fs::write(seat.path("go"), "").expect("a file");
        world.completed(id);
        let output = String::from_utf8(world.output(id)).expect("text");
        assert_eq!(output, "value: ***.\n***");
        kept_nowhere(world, &secret);

        // The session no longer has it, and nothing ever recorded that it had.
        assert_eq!(seat.run("sh -c 'echo ${TOKEN-unset}'"), "unset\n");
        let database = database(world);
        tracked(seat, &database, "TOKEN", None);
        assert!(!seat.path("leaked").exists());
        told_by_nobody(world, id, &secret);
        kept_nowhere(world, &secret);
    });
}

#[test]
fn a_secret_is_masked_and_taken_back_however_its_task_ends() {
    in_each_shell(|seat| {
        let (world, name) = (seat.world, seat.name());
        let secret = format!("hush-{name}-again");
        let queue = |options: &[&str], command: &str| {
            let options = [&["--target", name][..], options].concat();
            let secrets = [("TOKEN", secret.as_str()), ("PIN", "abc")];
            send_secret(world, &secrets, &options, command)
        };
        let taken_back = || {
            assert_eq!(seat.run("printenv TOKEN"), "mine\n");
            assert_eq!(seat.run("sh -c 'echo ${PIN-unset}'"), "unset\n");
        };
        let output = |id| String::from_utf8(world.output(id)).expect("text");
        seat.run("export TOKEN=mine");

        // In two pieces; a secret of three bytes is too short to be recognised.
        let id = queue(
            &[],
            "sh -c 'printf %.8s \"$TOKEN\"; sleep 0.3; printf \"%s\\n\" \"${TOKEN#????????}\"'; \
             printenv PIN",
        );
        world.completed(id);
        assert_eq!(output(id), "***\nabc\n");
        taken_back();

        let bad = queue(&[], "sh -c 'echo \"to stderr $TOKEN\" >&2; exit 7'");
        let task = failed(world, bad, &[]);
        assert_eq!(task["exit_code"], 7, "{task:#}");
        assert_eq!(output(bad), "to stderr ***\n");
        taken_back();

        let prerequisite = ["--prereq", "sh -c 'echo \"got $TOKEN\"; exit 3'"];
        let refused = queue(&prerequisite, "touch ran");
        failed(world, refused, &["got ***"]);
        taken_back();

        let late = queue(&["--timeout", "1s"], "printenv TOKEN; sleep 300");
        failed(world, late, &[]);
        assert!(output(late).starts_with("***\n"), "{:?}", output(late));
        taken_back();

        // Each attempt has it.
        let again = queue(
            &["--retries", "1"],
            "sh -c 'echo \"$TOKEN\" >> tries; test $(wc -l < tries) -ge 2'",
        );
        world.completed(again);
        assert_eq!(
            world.lines(&format!("{name}/tries")),
            [secret.as_str(), &secret]
        );
        taken_back();

        for id in [refused, again] {
            told_by_nobody(world, id, &secret);
        }
        let database = database(world);
        tracked(seat, &database, "TOKEN", Some("mine"));
        kept_nowhere(world, &secret);
    });
}

#[test]
fn a_secret_waits_in_private_and_is_never_logged() {
    let world = World::new();
    let send = ["send", "--shell", "--secret-env", "NO_SUCH_TOKEN", "true"];
    let missing = world.assigner(&send).refused(2);
    assert!(
        missing.stderr.contains("NO_SUCH_TOKEN"),
        "{}",
        missing.stderr
    );
    for name in ["", "A B", "A=b", "1A"] {
        let option = format!("--secret-env={name}");
        let mut binary = world.binary();
        binary.env("A", "there");
        let output = finish(binary.args(["send", "--shell", &option, "true"]), b"");
        assert_eq!(output.code, Some(2), "{name:?}: {output:?}");
        assert_calm(&output.stderr);
    }
    assert_eq!(world.json(&["list"]), serde_json::json!([]));

    // While the task waits, the secret is stored where nobody else can read it.
    let secret = "hush-while-it-waits";
    let waiting = send_secret(&world, &[("TOKEN", secret)], &[], "touch ran");
    told_by_nobody(&world, waiting, secret);
    for path in files(world.data()) {
        if holds(&path, secret) {
            let mode = fs::metadata(&path).expect("a file").permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
        }
    }
    world
        .assigner(&["cancel", &waiting.to_string()])
        .succeeded();
    kept_nowhere(&world, secret);

    world.session("one", Shell::Bash);
    let daemon = world.daemon_with(&["-vv"]);
    let secret = "hush-while-it-runs";
    let good = send_secret(&world, &[("TOKEN", secret)], &[], "printenv TOKEN");
    assert_eq!(world.completed(good)["output"], "***\n");
    let bad = send_secret(&world, &[("TOKEN", secret)], &["--prereq", "false"], "true");
    failed(&world, bad, &["false"]);
    let log = daemon.log();
    assert!(log.contains(&format!("task={good}")), "{log}");
    assert!(!log.contains(secret), "{log}");
    kept_nowhere(&world, secret);
    assert!(!world.path("work/ran").exists());
}

#[test]
fn what_an_interrupted_task_leaves_is_undone() {
    in_each_shell(|seat| {
        let world = seat.world;
        let secret = format!("hush-{}-in-vain", seat.name());
        let options = ["--target", seat.name(), "--isolate-env", "-e", "LEFT=1"];
        for options in [&options[..2], &options[..]] {
            let id = send_secret(world, &[("TOKEN", &secret)], options, "sleep 300");
            world.until(id, "in_progress");
            world.assigner(&["cancel", &id.to_string()]).succeeded();
            world.until(id, "cancelled");
            // Before any other task, and without one.
            world.eventually(|| {
                let entry = world.session_entry(seat.name()).expect("the session");
                match entry["reason"].as_str() {
                    Some("waits at its prompt") => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            });
            let ask = "sh -c 'echo \"<${TOKEN-unset} ${LEFT-unset}>\"'";
            seat.pane.line(ask);
            seat.pane.shows("<unset unset>");
            seat.pane.line("clear");
            seat.pane.prompt();
        }
    });
}

#[test]
fn what_is_made_of_a_secret_is_told_by_nobody_either() {
    in_each_shell(|seat| {
        let world = seat.world;
        let secret = format!("hush-{}-derived", seat.name());
        let make = match seat.shell {
            Shell::Fish => "set -gx AUTH \"Bearer $TOKEN\"",
            _ => "export AUTH=\"Bearer $TOKEN\"",
        };
        let target = ["--target", seat.name()];
        let id = send_secret(world, &[("TOKEN", &secret)], &target, make);
        world.completed(id);
        assert_eq!(
            seat.run("sh -c 'echo ${#AUTH}'"),
            format!("{}\n", secret.len() + 7)
        );
        // This holds even if a task asks for it by name.
        let asked = seat.shell_with(&["-e", "AUTH=guess"], "true");
        world.completed(asked);
        told_by_nobody(world, id, &secret);
        kept_nowhere(world, &secret);
    });
}
