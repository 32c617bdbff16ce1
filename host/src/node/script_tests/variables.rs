//! Variables, secret values and branches: what a job sets, tells and undoes.

use super::*;
use crate::probe;

/// What a task sets and changes in every way that it can, in its shell's language.
fn meddling(shell: Shell) -> &'static str {
    match shell {
        Shell::Fish => {
            "set -gx NEW 1; set -gx OLD changed; set -e GONE; set -gx PATH /other $PATH; echo $SET; cd /"
        }
        _ => "export NEW=1 OLD=changed; unset GONE; PATH=/other:$PATH; echo \"$SET\"; cd /",
    }
}

/// Prints what the tests look at, each value in brackets.
const REPORT: &str = "for name in NEW OLD GONE SET TOKEN; \\printenv $name >/dev/null && \\printf '%s=[%s]\\n' $name (\\printenv $name | string collect); end; printf 'path=[%s]\\n' (string join : $PATH); set -n | string match '__assigner*'";

fn report(shell: Shell) -> String {
    if shell == Shell::Fish {
        return REPORT
            .replace("\\printenv", "command printenv")
            .replace("\\printf", "printf")
            .replace(" && ", "; and ");
    }
    "for name in NEW OLD GONE SET TOKEN; do if printenv $name >/dev/null; then printf '%s=[%s]\n' $name \"$(printenv $name)\"; fi; done; printf 'path=[%s]\n' \"$PATH\"; set | grep '^__assigner'".to_owned()
}

fn seeded(shell: Shell) -> &'static str {
    match shell {
        Shell::Fish => "set -gx OLD old; set -gx GONE still",
        _ => "export OLD=old GONE=still",
    }
}

#[test]
fn what_an_isolated_task_sets_is_undone_and_told() {
    for shell in shells() {
        let isolated = Metadata {
            isolate_env: true,
            ..metadata(&[("SET", "by -e")])
        };
        let job = SpooledJob::write(shell, &task(meddling(shell), isolated), Keep::File);
        let output = job.source_then(seeded(shell), &report(shell));
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let path = std::env::var("PATH").expect("a path");
        let name = shell.name();
        assert!(printed.contains("by -e\n"), "{name}: {printed}");
        for line in ["OLD=[old]", "GONE=[still]", &format!("path=[{path}]")] {
            assert!(printed.contains(line), "{name}: no {line} in {printed}");
        }
        for word in ["NEW=[", "SET=[", "__assigner"] {
            assert!(!printed.contains(word), "{name}: {word} in {printed}");
        }
        assert_eq!(job.files.exit_code(), Some(0), "{name}: {output:?}");
        let (before, after) = (
            job.files.environment_before().expect("told"),
            job.files.environment_after().expect("told"),
        );
        for name in ["OLD", "GONE", "PATH", "NEW", "SET"] {
            assert_eq!(before.get(name), after.get(name), "{name}");
        }
    }
}

#[test]
fn what_a_task_sets_stays_and_is_told() {
    for shell in shells() {
        let job = SpooledJob::write(
            shell,
            &task(meddling(shell), metadata(&[("SET", "a\nb=$(c)")])),
            Keep::File,
        );
        let output = job.source_then(seeded(shell), "");
        let (before, after) = (
            job.files.environment_before().expect("told"),
            job.files.environment_after().expect("told"),
        );
        let name = shell.name();
        let both = |name: &str| {
            (
                before.get(name).map(String::as_str),
                after.get(name).map(String::as_str),
            )
        };
        assert_eq!(both("NEW"), (None, Some("1")), "{name}: {output:?}");
        assert_eq!(both("OLD"), (Some("old"), Some("changed")), "{name}");
        assert_eq!(both("GONE"), (Some("still"), None), "{name}");
        assert_eq!(both("SET"), (None, Some("a\nb=$(c)")), "{name}");
    }
}

#[test]
fn secret_values_are_there_for_the_task_alone_and_are_not_traced() {
    let values = BTreeMap::from([
        ("TOKEN".to_owned(), "s3cr\"et$(x)\n`y` 'z'".to_owned()),
        ("OLD".to_owned(), "hidden".to_owned()),
    ]);
    for shell in shells() {
        for isolate_env in [false, true] {
            let secret = Metadata {
                secret_env: values.keys().cloned().collect(),
                isolate_env,
                ..Metadata::default()
            };
            let content = "printenv TOKEN > seen; printenv OLD >> seen";
            let job = SpooledJob::write_with(shell, &task(content, secret), Keep::File, &values);
            let trace = match shell {
                Shell::Fish => "set -g fish_trace 1",
                _ => "set -xv",
            };
            let before = format!("{}\n{trace}", seeded(shell));
            let output = job.source_then(&before, &report(shell));
            let name = shell.name();
            let seen = fs::read_to_string(job.path().join("seen"));
            let seen = seen.unwrap_or_else(|error| panic!("{name}: {error}: {output:?}"));
            assert_eq!(
                seen,
                format!("{}\n{}\n", values["TOKEN"], values["OLD"]),
                "{name}: {output:?}"
            );
            let printed = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(printed.contains("OLD=[old]"), "{name}: {printed}");
            assert!(!printed.contains("TOKEN=["), "{name}: {printed}");
            assert!(!printed.contains("__assigner"), "{name}: {printed}");
            let traced = String::from_utf8_lossy(&output.stderr).into_owned();
            for value in ["s3cr", "hidden"] {
                assert!(!traced.contains(value), "{name}: {traced}");
            }
            assert!(!job.files.secrets().exists(), "{name}");
            assert_eq!(job.files.exit_code(), Some(0), "{name}: {output:?}");
        }
    }
}

#[test]
fn a_branch_that_a_prerequisite_checks_out_is_looked_at_behind_it() {
    for shell in shells() {
        for (branch, code) in [("dev", 0), ("main", 1)] {
            let required = Metadata {
                git_branch: Some(branch.to_owned()),
                require_branch: true,
                prerequisites: vec!["git init -q -b dev .".to_owned()],
                ..Metadata::default()
            };
            let job = SpooledJob::write(shell, &task("touch ran", required), Keep::File);
            let output = job.source();
            let name = shell.name();
            assert_eq!(job.files.exit_code(), Some(code), "{name}: {output:?}");
            assert_eq!(job.path().join("ran").exists(), code == 0, "{name}");
            let step = if code == 0 {
                ScriptStep::Command
            } else {
                ScriptStep::Branch
            };
            assert_eq!(job.files.last_step(), Some(step), "{name}");
        }
    }
}

#[test]
fn a_shell_and_the_probe_say_the_same_of_a_branch() {
    let root = tempfile::tempdir().expect("a directory");
    let place = root.path().to_str().expect("UTF-8");
    let git = |args: &str| {
        let mut command = Command::new("git");
        command
            .current_dir(place)
            .args(["-c", "user.name=a", "-c", "user.email=a@example.org"]);
        for name in probe::GIT_REDIRECTING {
            command.env_remove(name);
        }
        let output = command.args(args.split(' ')).output().expect("git runs");
        assert!(output.status.success(), "{args}: {output:?}");
    };
    for step in [
        "init -q -b dev",
        "commit -q --allow-empty -m one",
        "tag dev",
        "symbolic-ref refs/heads/other refs/heads/dev",
    ] {
        git(step);
    }
    for (state, wrong) in [
        ("symbolic-ref HEAD refs/heads/dev", "heads/dev"),
        ("symbolic-ref HEAD refs/heads/other", "other"),
        ("symbolic-ref HEAD refs/notes/x", "x"),
        ("symbolic-ref HEAD refs/heads/not-yet", "HEAD"),
        ("checkout -q --detach refs/heads/dev", "dev"),
    ] {
        git(state);
        let right = probe::git_branch(root.path())
            .expect("git answers")
            .expect("a branch");
        for (branch, code) in [(right.as_str(), 0), (wrong, 1)] {
            for shell in shells() {
                let name = format!("{}, {state}, {branch}", shell.name());
                let elsewhere = match shell {
                    Shell::Fish => "set -x GIT_DIR /nowhere",
                    _ => "export GIT_DIR=/nowhere",
                };
                let required = Metadata {
                    git_branch: Some(branch.to_owned()),
                    require_branch: true,
                    prerequisites: vec![format!("cd '{place}'"), elsewhere.to_owned()],
                    ..Metadata::default()
                };
                let job = SpooledJob::write(shell, &task(":", required), Keep::File);
                let output = job.source();
                assert_eq!(job.files.exit_code(), Some(code), "{name}: {output:?}");
            }
        }
    }
}

#[test]
fn a_shell_tells_what_it_exports() {
    for shell in shells() {
        let root = tempfile::tempdir().expect("a directory");
        let spool = Spool::open(&root.path().join("it's")).expect("a spool");
        let (question, script) = spool.write_question(shell).expect("written");
        assert_eq!(spool.answer(question), None);
        let mut command = Command::new(shell.name());
        if shell == Shell::Fish {
            command.arg("--no-config");
        }
        let line = shell.dialect().typed_line(&script);
        let output = command
            .args(["-c", &format!("{}\n{line}", seeded(shell))])
            .stdin(Stdio::null())
            .output()
            .expect("a shell");
        let answer = spool.answer(question).expect("an answer");
        let name = shell.name();
        assert_eq!(answer.get("OLD").map(String::as_str), Some("old"), "{name}");
        assert!(
            output.stdout.is_empty() && output.stderr.is_empty(),
            "{name}"
        );
        spool.forget_questions();
        assert_eq!(spool.answer(question), None);
    }
}

#[test]
fn a_task_does_not_run_with_another_value_than_the_secret_one() {
    let values = BTreeMap::from([("TOKEN".to_owned(), "new".to_owned())]);
    for shell in shells() {
        if shell == Shell::Fish {
            // fish has no read-only variables.
            continue;
        }
        let secret = Metadata {
            secret_env: vec!["TOKEN".to_owned()],
            ..Metadata::default()
        };
        let job = SpooledJob::write_with(shell, &task("touch ran", secret), Keep::File, &values);
        job.source_then("readonly TOKEN=old", "");
        assert!(!job.path().join("ran").exists(), "{}", shell.name());
        assert_ne!(job.files.exit_code(), Some(0), "{}", shell.name());
    }
}

#[test]
fn an_isolated_task_that_fails_does_not_end_a_strict_shell() {
    for shell in shells() {
        if shell == Shell::Fish {
            // fish has no such mode.
            continue;
        }
        let isolated = Metadata {
            isolate_env: true,
            ..Metadata::default()
        };
        let job = SpooledJob::write(shell, &task("exit 3", isolated), Keep::File);
        let output = job.source_then("set -e", "echo alive");
        assert_eq!(
            job.files.exit_code(),
            Some(3),
            "{}: {output:?}",
            shell.name()
        );
    }
}

#[test]
fn a_variable_that_cannot_be_set_fails_the_task() {
    for shell in shells() {
        if shell == Shell::Fish {
            // fish has no read-only variables.
            continue;
        }
        let job = SpooledJob::write(
            shell,
            &task("touch ran", metadata(&[("A", "1"), ("TOKEN", "new")])),
            Keep::File,
        );
        job.source_then("readonly TOKEN=old", "");
        let name = shell.name();
        assert!(!job.path().join("ran").exists(), "{name}");
        assert_ne!(job.files.exit_code(), Some(0), "{name}");
        assert_eq!(job.files.last_step(), Some(ScriptStep::Export(1)), "{name}");
    }
}

#[test]
fn values_that_look_like_something_else_are_set_as_they_are() {
    let odd = [
        "", "(", ")", "!", "-n", "]", "=", "=ls", "~", "*", "a\nb\n", "\\", "$x", "x'", "[", "-a",
    ];
    let names: Vec<String> = (0..odd.len()).map(|at| format!("ODD{at}")).collect();
    let env_vars: BTreeMap<String, String> = names
        .iter()
        .cloned()
        .zip(odd.iter().map(|value| (*value).to_owned()))
        .collect();
    for shell in shells() {
        let asked = Metadata {
            env_vars: env_vars.clone(),
            ..Metadata::default()
        };
        let job = SpooledJob::write_with(
            shell,
            &task("touch ran", asked),
            Keep::File,
            &BTreeMap::from([("TOKEN".to_owned(), "( ! -n".to_owned())]),
        );
        let output = job.source();
        let name = shell.name();
        assert_eq!(job.files.exit_code(), Some(0), "{name}: {output:?}");
        let after = job.files.environment_after().expect("told");
        for (variable, value) in &env_vars {
            assert_eq!(after.get(variable), Some(value), "{name}: {variable}");
        }
    }
}

#[test]
fn an_isolated_task_is_as_strict_as_it_says() {
    for shell in shells() {
        if shell == Shell::Fish {
            continue;
        }
        let isolated = Metadata {
            isolate_env: true,
            prerequisites: vec!["true".to_owned()],
            ..Metadata::default()
        };
        let job = SpooledJob::write(
            shell,
            &task("set -e\nfalse\ntouch ran", isolated),
            Keep::File,
        );
        let output = job.source_then("", "echo alive");
        let name = shell.name();
        assert_eq!(job.files.exit_code(), Some(1), "{name}: {output:?}");
        assert!(!job.path().join("ran").exists(), "{name}");
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("alive"),
            "{name}"
        );
    }
}
