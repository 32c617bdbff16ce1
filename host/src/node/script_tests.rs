//! The job script in the real shells, without tmux: what it leaves in each case.

mod variables;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use proptest::prelude::*;
use tempfile::TempDir;

use super::script::{Keep, ScriptPlan, ScriptStep};
use super::spool::{JobFiles, Spool, Taken};
use crate::model::ids::{AttemptId, TaskId};
use crate::model::session::Shell;
use crate::model::task::{Metadata, NewTask, Task};

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
pub(super) struct SpooledJob {
    root: TempDir,
    spool: Spool,
    pub(super) files: JobFiles,
    shell: Shell,
}

impl SpooledJob {
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
                &ScriptPlan {
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

fn run(shell: Shell, content: &str, metadata: Metadata) -> (SpooledJob, String) {
    let job = SpooledJob::write(shell, &task(content, metadata), Keep::Marks("n"));
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
            let job = SpooledJob::write(
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
        assert_eq!(job.files.last_step(), Some(ScriptStep::Command), "{name}");
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
            assert_eq!(job.files.last_step(), Some(ScriptStep::Command));
        }
    }
}

#[test]
fn exit_in_the_command_ends_the_shell_and_its_code_is_kept() {
    for shell in shells() {
        let job = SpooledJob::write(
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
        let job = SpooledJob::write(shell, &task("true", Metadata::default()), Keep::Marks("n"));
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
        let job = SpooledJob::write(
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
        let job = SpooledJob::write(
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
                &ScriptPlan {
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
        let job = SpooledJob::write(
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
        let job = SpooledJob::write(shell, &task(export, metadata), Keep::Marks("n"));
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
        assert_eq!(job.files.last_step(), Some(ScriptStep::Prerequisite(1)));
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
        assert_eq!(job.files.last_step(), Some(ScriptStep::Directory));
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
        let job = SpooledJob::write(shell, &task("pwd", metadata), Keep::Marks("n"));
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
        let job = SpooledJob::write(
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

fn metadata(pairs: &[(&str, &str)]) -> Metadata {
    let pairs = pairs.iter();
    Metadata {
        env_vars: pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..Metadata::default()
    }
}
