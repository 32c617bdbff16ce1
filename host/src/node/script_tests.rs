//! The job script in the real shells, without tmux: what it leaves in each case.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use proptest::prelude::*;
use tempfile::TempDir;

use super::script::{Keep, Plan, Step};
use super::spool::{JobFiles, Spool, Taken};
use crate::model::ids::{AttemptId, TaskId};
use crate::model::session::Shell;
use crate::model::task::{Metadata, NewTask, Task};
use crate::probe;

/// Returns the shells that are installed; all of them if `CI` is set.
pub(super) fn shells() -> Vec<Shell> {
    let installed = |shell: &Shell| {
        let found = Command::new(shell.name())
            .args(["-c", "true"])
            .stdin(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        assert!(
            found || std::env::var_os("CI").is_none(),
            "{} is missing",
            shell.name()
        );
        if !found {
            eprintln!("{} is not installed: left out", shell.name());
        }
        found
    };
    Shell::ALL.iter().copied().filter(installed).collect()
}

pub(super) fn task(content: &str, metadata: Metadata) -> Task {
    let new = NewTask {
        metadata,
        ..NewTask::command(content)
    };
    Task::queued(TaskId(1), &new, jiff::Timestamp::UNIX_EPOCH)
}

/// A job in a spool directory whose name needs quoting.
pub(super) struct Job {
    root: TempDir,
    spool: Spool,
    pub(super) files: JobFiles,
    shell: Shell,
}

impl Job {
    pub(super) fn write(shell: Shell, task: &Task, keep: Keep<'_>) -> Self {
        Self::write_with(shell, task, keep, &BTreeMap::new())
    }

    fn write_with(
        shell: Shell,
        task: &Task,
        keep: Keep<'_>,
        secrets: &BTreeMap<String, String>,
    ) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let data = root.path().join("it's a $(data) `dir` \"#%;é");
        let spool = Spool::open(&data).expect("a spool");
        let files = spool
            .write_job(
                AttemptId(7),
                &Plan {
                    prompt: None,
                    command: &task.content,
                    integration: None,
                    shell,
                    task,
                    secrets,
                    keep,
                    tell_before: true,
                },
            )
            .expect("written");
        Self {
            root,
            spool,
            files,
            shell,
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.root.path()
    }

    /// Runs `before`, sources the job as a person's shell would, then runs `after`, all in one
    /// shell.
    pub(super) fn source_then(&self, before: &str, after: &str) -> Output {
        let line = self.shell.dialect().typed_line(&self.files.script());
        let mut command = Command::new(self.shell.name());
        if self.shell == Shell::Fish {
            command.arg("--no-config");
        }
        command
            .args(["-c", &format!("{before}\n{line}\n{after}")])
            .current_dir(self.path())
            .stdin(Stdio::null())
            .output()
            .expect("a shell")
    }

    fn source(&self) -> Output {
        self.source_then("", "")
    }
}

fn run(shell: Shell, content: &str, metadata: Metadata) -> (Job, String) {
    let job = Job::write(shell, &task(content, metadata), Keep::Marks("n"));
    let output = job.source();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    (job, printed)
}

/// A file that cannot be created stands for both a full disk and a lack of inodes.
#[test]
fn what_cannot_be_written_is_not_run_or_keeps_its_code() {
    for shell in shells() {
        let name = shell.name();
        let write = |blocked: &dyn Fn(&JobFiles) -> PathBuf| {
            let job = Job::write(
                shell,
                &task("echo ran >> ran; sh -c 'exit 7'", Metadata::default()),
                Keep::Marks("n"),
            );
            fs::create_dir(blocked(&job.files)).expect("a directory in its place");
            job.source();
            job
        };
        let job = write(&JobFiles::exit);
        assert_eq!(job.files.exit_code(), Some(7), "{name}");
        assert_eq!(job.files.last_step(), Some(Step::Command), "{name}");
        assert!(job.path().join("ran").exists(), "{name}");
        let job = write(&JobFiles::step);
        assert!(!job.path().join("ran").exists(), "{name}");
        assert_ne!(job.files.exit_code(), Some(0), "{name}");
    }
}

#[test]
fn the_exit_code_of_the_command_is_kept() {
    for shell in shells() {
        for (command, code) in [
            ("true", 0),
            ("false", 1),
            ("sh -c 'exit 42'", 42),
            ("return 4", 4),
        ] {
            let (job, _) = run(shell, command, Metadata::default());
            assert_eq!(
                job.files.exit_code(),
                Some(code),
                "{command} in {}",
                shell.name()
            );
            assert_eq!(job.files.last_step(), Some(Step::Command));
        }
    }
}

#[test]
fn exit_in_the_command_ends_the_shell_and_its_code_is_kept() {
    for shell in shells() {
        let job = Job::write(
            shell,
            &task("exit 3", Metadata::default()),
            Keep::Marks("n"),
        );
        let output = job.source_then("", "echo still here");
        assert_eq!(job.files.exit_code(), Some(3), "in {}", shell.name());
        // In fish, `exit` leaves only the file that it sources.
        let printed = String::from_utf8_lossy(&output.stdout);
        assert_eq!(printed.contains("still here"), shell == Shell::Fish);
    }
}

#[test]
fn a_persons_exit_trap_is_kept() {
    for shell in shells().into_iter().filter(|shell| *shell != Shell::Fish) {
        let job = Job::write(shell, &task("true", Metadata::default()), Keep::Marks("n"));
        let output = job.source_then("trap 'echo bye' EXIT", "");
        assert_eq!(job.files.exit_code(), Some(0));
        let printed = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            printed.matches("bye").count(),
            1,
            "in {}: {printed:?}",
            shell.name()
        );
    }
}

#[test]
fn a_job_that_was_withdrawn_does_nothing() {
    for shell in shells() {
        let job = Job::write(
            shell,
            &task("echo ran", Metadata::default()),
            Keep::Marks("n"),
        );
        assert_eq!(job.files.withdraw().expect("withdrawn"), Taken::Withdrawn);
        let output = job.source();
        assert!(
            !String::from_utf8_lossy(&output.stdout).contains("ran"),
            "{}",
            shell.name()
        );
        assert_eq!(job.files.exit_code(), None);
        assert_eq!(job.files.taken(), Taken::Withdrawn);
    }
}

#[test]
fn a_job_that_was_withdrawn_stays_so_for_a_shell_that_has_read_it() {
    for shell in shells() {
        let job = Job::write(
            shell,
            &task("echo ran", Metadata::default()),
            Keep::Marks("n"),
        );
        let read = fs::read_to_string(job.files.script()).expect("the script");
        job.files.withdraw().expect("withdrawn");
        job.spool.remove(AttemptId(7));
        assert!(!job.files.script().exists());
        let output = job.source_then(&read, "");
        assert!(
            !String::from_utf8_lossy(&output.stdout).contains("ran"),
            "{}",
            shell.name()
        );
        // A number that is given out again starts afresh.
        job.spool
            .write_job(
                AttemptId(7),
                &Plan {
                    prompt: None,
                    command: "true",
                    integration: None,
                    shell,
                    task: &task("true", Metadata::default()),
                    secrets: &BTreeMap::new(),
                    keep: Keep::File,
                    tell_before: false,
                },
            )
            .expect("written");
        assert_eq!(job.files.taken(), Taken::No);
    }
}

#[test]
fn a_job_runs_once_however_often_it_is_read() {
    for shell in shells() {
        let job = Job::write(
            shell,
            &task("echo ran", Metadata::default()),
            Keep::Marks("n"),
        );
        let again = shell.dialect().typed_line(&job.files.script());
        let output = job.source_then("", &again);
        let printed = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            printed.matches("ran").count(),
            1,
            "in {}: {printed:?}",
            shell.name()
        );
        assert_eq!(job.files.withdraw().expect("asked"), Taken::ByShell);
    }
}

#[test]
fn what_the_job_changes_stays_in_the_shell() {
    for shell in shells() {
        let root = tempfile::tempdir().expect("a directory");
        let directory = root.path().canonicalize().expect("real");
        let metadata = Metadata {
            working_dir: Some(directory.display().to_string()),
            env_vars: [("ASSIGNER_A".to_owned(), "1 2".to_owned())].into(),
            ..Metadata::default()
        };
        let export = if shell == Shell::Fish {
            "set -gx ASSIGNER_B 3"
        } else {
            "export ASSIGNER_B=3"
        };
        let job = Job::write(shell, &task(export, metadata), Keep::Marks("n"));
        let output = job.source_then(
            "",
            "printf '[%s|%s|%s]' \"$ASSIGNER_A\" \"$ASSIGNER_B\" \"$PWD\"",
        );
        let printed = String::from_utf8_lossy(&output.stdout);
        let expected = format!("[1 2|3|{}]", directory.display());
        assert!(
            printed.contains(&expected),
            "in {}: {printed:?}",
            shell.name()
        );
    }
}

#[test]
fn a_step_that_fails_is_named_and_nothing_after_it_runs() {
    for shell in shells() {
        let metadata = |prerequisites: &[&str]| Metadata {
            prerequisites: prerequisites.iter().map(|&text| text.to_owned()).collect(),
            ..Metadata::default()
        };
        let (job, printed) = run(
            shell,
            "echo the command",
            metadata(&["echo one", "echo two; sh -c 'exit 9'", "echo three"]),
        );
        assert_eq!(job.files.exit_code(), Some(9), "in {}", shell.name());
        assert_eq!(job.files.last_step(), Some(Step::Prerequisite(1)));
        assert!(
            printed.contains("one") && printed.contains("two"),
            "{printed:?}"
        );
        assert!(
            !printed.contains("three") && !printed.contains("the command"),
            "{printed:?}"
        );

        let missing = Metadata {
            working_dir: Some("/nonexistent/directory".to_owned()),
            ..metadata(&["echo one"])
        };
        let (job, printed) = run(shell, "echo the command", missing);
        assert_eq!(job.files.last_step(), Some(Step::Directory));
        assert_ne!(job.files.exit_code(), Some(0), "in {}", shell.name());
        assert!(
            !printed.contains("one") && !printed.contains("the command"),
            "{printed:?}"
        );
    }
}

#[test]
fn a_persons_settings_do_not_change_the_job() {
    for (shell, before) in [
        (
            Shell::Bash,
            "set -C; shopt -s expand_aliases; alias cd=false printf=false; cd() { return 1; }",
        ),
        (
            Shell::Zsh,
            "setopt noclobber; alias printf=false; cd() { return 1 }",
        ),
        (Shell::Dash, "set -C; alias printf=false"),
        (
            Shell::Fish,
            "function cd; return 1; end; function printf; return 1; end",
        ),
    ] {
        if !shells().contains(&shell) {
            continue;
        }
        let metadata = Metadata {
            working_dir: Some("/".to_owned()),
            ..Metadata::default()
        };
        let job = Job::write(shell, &task("pwd", metadata), Keep::Marks("n"));
        let output = job.source_then(before, "");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            job.files.exit_code(),
            Some(0),
            "in {}: {printed:?}",
            shell.name()
        );
        assert!(
            printed.contains("C;assigner=n"),
            "in {}: {printed:?}",
            shell.name()
        );
    }
}

#[test]
fn where_the_pane_is_taken_the_output_goes_through_a_file() {
    for shell in shells() {
        let job = Job::write(
            shell,
            &task("echo out; echo err >&2", Metadata::default()),
            Keep::File,
        );
        let output = job.source();
        let kept = fs::read_to_string(job.files.raw_output()).expect("the output");
        assert_eq!(kept, "out\nerr\n", "in {}", shell.name());
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            kept,
            "shown as well"
        );
        assert_eq!(job.files.exit_code(), Some(0));
    }
}

#[test]
fn the_typed_line_is_one_line_and_stays_out_of_the_history() {
    for &shell in Shell::ALL {
        let line = shell
            .dialect()
            .typed_line(&PathBuf::from("/tmp/a b/it's/7.run"));
        assert!(line.starts_with(' ') && !line.contains('\n'), "{line:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever a variable or a directory's name holds, the shell gets exactly that.
    #[test]
    fn values_and_directories_are_taken_to_the_letter(
        value in "[ -~\n\t\u{1}é漢'\"$`\\\\!#%&;|<>()*?\\[\\]{}~^=-]{0,40}",
        name in "[ -.0-~é漢'\"$`\\\\!#%&;|<>()*?{}~^=-]{1,30}",
    ) {
        prop_assume!(name != "." && name != "..");
        for shell in shells() {
            let root = tempfile::tempdir().expect("a directory");
            let directory = root.path().canonicalize().expect("real").join(&name);
            fs::create_dir(&directory).expect("made");
            let metadata = Metadata {
                working_dir: Some(directory.display().to_string()),
                env_vars: [("ASSIGNER_V".to_owned(), value.clone())].into(),
                ..Metadata::default()
            };
            let (job, _) = run(shell, "env -0 > out; pwd -P > where", metadata);
            prop_assert_eq!(job.files.exit_code(), Some(0), "in {}", shell.name());
            let environment = fs::read(directory.join("out")).expect("the environment");
            let expected = format!("ASSIGNER_V={value}");
            prop_assert!(
                environment.split(|&byte| byte == 0).any(|entry| entry == expected.as_bytes()),
                "{:?} in {}", value, shell.name()
            );
        }
    }
}

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

fn metadata(pairs: &[(&str, &str)]) -> Metadata {
    let pairs = pairs.iter();
    Metadata {
        env_vars: pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..Metadata::default()
    }
}

#[test]
fn what_an_isolated_task_sets_is_undone_and_told() {
    for shell in shells() {
        let isolated = Metadata {
            isolate_env: true,
            ..metadata(&[("SET", "by -e")])
        };
        let job = Job::write(shell, &task(meddling(shell), isolated), Keep::File);
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
        let job = Job::write(
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
            let job = Job::write_with(shell, &task(content, secret), Keep::File, &values);
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
            let job = Job::write(shell, &task("touch ran", required), Keep::File);
            let output = job.source();
            let name = shell.name();
            assert_eq!(job.files.exit_code(), Some(code), "{name}: {output:?}");
            assert_eq!(job.path().join("ran").exists(), code == 0, "{name}");
            let step = if code == 0 {
                Step::Command
            } else {
                Step::Branch
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
                let job = Job::write(shell, &task(":", required), Keep::File);
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
        let job = Job::write_with(shell, &task("touch ran", secret), Keep::File, &values);
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
        let job = Job::write(shell, &task("exit 3", isolated), Keep::File);
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
        let job = Job::write(
            shell,
            &task("touch ran", metadata(&[("A", "1"), ("TOKEN", "new")])),
            Keep::File,
        );
        job.source_then("readonly TOKEN=old", "");
        let name = shell.name();
        assert!(!job.path().join("ran").exists(), "{name}");
        assert_ne!(job.files.exit_code(), Some(0), "{name}");
        assert_eq!(job.files.last_step(), Some(Step::Export(1)), "{name}");
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
        let job = Job::write_with(
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
        let job = Job::write(
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
