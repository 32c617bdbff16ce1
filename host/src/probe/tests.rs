//! Real shells on a real tmux server, and repositories created by git.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::*;

/// A private tmux server. Dropping this ends it.
struct PrivateServer(tempfile::TempDir);

impl PrivateServer {
    fn new() -> Self {
        let server = Self(tempfile::tempdir().expect("a directory"));
        // A server ends with its last session, and the tests end theirs.
        server.tmux(&["new-session", "-d", "-s", "keeper", "exec cat"]);
        server
    }

    fn tmux(&self, args: &[&str]) -> String {
        let output = Command::new("tmux")
            .args(["-u", "-f", "/dev/null", "-S"])
            .arg(self.0.path().join("s"))
            .args(args)
            .current_dir(self.0.path())
            .env_remove("TMUX")
            .env("HOME", self.0.path())
            .env("PS1", "> ")
            .stdin(Stdio::null())
            .output()
            .expect("tmux");
        assert!(output.status.success(), "tmux {args:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Starts a shell and returns its process and its terminal.
    fn start(&self, name: &str, shell: &str) -> (u32, PathBuf) {
        let program = format!("exec {shell}");
        let told = self.tmux(&[
            "new-session",
            "-d",
            "-P",
            "-F",
            "#{pane_pid} #{pane_tty}",
            "-s",
            name,
            &program,
        ]);
        let (pid, tty) = told.trim().split_once(' ').expect("two words");
        (pid.parse().expect("a number"), tty.into())
    }

    fn type_in(&self, name: &str, line: &str) {
        self.tmux(&["send-keys", "-t", name, line, "Enter"]);
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        let _ = Command::new("tmux")
            .arg("-S")
            .arg(self.0.path().join("s"))
            .arg("kill-server")
            .stderr(Stdio::null())
            .status();
    }
}

fn until<T: std::fmt::Debug>(
    what: &str,
    mut look: impl FnMut() -> T,
    right: impl Fn(&T) -> bool,
) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let seen = look();
        if right(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "{what}: still {seen:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The shells that are installed, or all of them if `CI` is set.
fn shells() -> Vec<(Shell, &'static str)> {
    let all = [
        (Shell::Bash, "bash --noprofile --norc"),
        (Shell::Zsh, "zsh -f"),
        (Shell::Fish, "fish --no-config"),
        (Shell::Dash, "dash"),
    ];
    let found = |shell: Shell| {
        let status = Command::new(shell.name())
            .args(["-c", "true"])
            .stdin(Stdio::null())
            .status();
        let found = status.is_ok_and(|status| status.success());
        assert!(
            found || std::env::var_os("CI").is_none(),
            "{} is missing",
            shell.name()
        );
        found
    };
    all.into_iter().filter(|(shell, _)| found(*shell)).collect()
}

/// What the dialect of a shell says.
fn editor(shell: Shell) -> LineEditor {
    match shell {
        Shell::Dash => LineEditor::Terminal,
        Shell::Bash | Shell::Zsh | Shell::Fish => LineEditor::Own,
    }
}

#[test]
fn shells_are_told_by_their_program_and_their_prompt_is_seen() {
    let server = PrivateServer::new();
    for (expected, command) in shells() {
        let name = expected.name();
        let (pid, tty) = server.start(name, command);
        until(name, || shell(pid), |seen| *seen == Some(expected));
        let look = || standing(editor(expected), pid, &tty);
        until(name, look, |seen| *seen == ShellActivity::Prompt);

        server.type_in(name, "sleep 1000");
        let sleeping = |seen: &ShellActivity| matches!(seen, ShellActivity::Running { foreground: Some(program), .. } if program == "sleep");
        let ShellActivity::Running {
            group: Some(group), ..
        } = until(name, look, sleeping)
        else {
            panic!("{name}: no group of its own");
        };
        assert!(signal_group(group, EndSignal::Terminate));
        until(name, look, |seen| *seen == ShellActivity::Prompt);

        // A program in the background leaves the shell at its prompt.
        server.type_in(name, "sleep 1000 &");
        until(name, look, |seen| *seen == ShellActivity::Prompt);

        // A shell with jobs would refuse `exit`.
        server.tmux(&["kill-session", "-t", name]);
        until(name, look, |seen| {
            *seen == ShellActivity::Gone || matches!(seen, ShellActivity::Unknown(_))
        });
    }
}

#[test]
fn a_shell_that_works_itself_is_not_at_its_prompt() {
    let server = PrivateServer::new();
    for (kind, command) in shells() {
        let name = kind.name();
        let (pid, tty) = server.start(name, command);
        let look = || standing(editor(kind), pid, &tty);
        until(name, look, |seen| *seen == ShellActivity::Prompt);
        let (begin, end) = if kind == Shell::Fish {
            ("touch going; while test -e going; true; end", "going")
        } else {
            (": > going; while [ -e going ]; do :; done", "going")
        };
        server.type_in(name, begin);
        let going = server.0.path().join(end);
        until(name, || going.exists(), |there| *there);
        for _ in 0..200 {
            assert_ne!(look(), ShellActivity::Prompt, "{name} in a loop of its own");
        }
        fs::remove_file(going).expect("removed");
        until(name, look, |seen| *seen == ShellActivity::Prompt);

        // fish reads a command's input with its own line editor, so it looks like a prompt.
        if kind != Shell::Fish {
            server.type_in(name, "read answer");
            until(name, look, |seen| {
                matches!(seen, ShellActivity::Running { .. })
            });
            server.type_in(name, "yes");
            until(name, look, |seen| *seen == ShellActivity::Prompt);
        }
    }
}

#[test]
fn where_a_shell_stands_and_what_it_was_given() {
    let server = PrivateServer::new();
    let (pid, tty) = server.start("here", "env ASSIGNER_A='x = y' bash --noprofile --norc");
    until(
        "bash",
        || standing(LineEditor::Own, pid, &tty),
        |seen| *seen == ShellActivity::Prompt,
    );
    let here = server.0.path().canonicalize().expect("real");
    assert_eq!(directory(pid), Directory::At(here.clone()));
    let names = ["ASSIGNER_A", "ASSIGNER_B"].map(str::to_owned).into();
    let found = environment(pid, &names);
    assert_eq!(
        found,
        BTreeMap::from([("ASSIGNER_A".to_owned(), "x = y".to_owned())])
    );

    let gone = here.join("gone");
    fs::create_dir(&gone).expect("made");
    server.type_in("here", "cd gone");
    until(
        "cd",
        || directory(pid),
        |seen| *seen == Directory::At(gone.clone()),
    );
    fs::remove_dir(&gone).expect("removed");
    assert_eq!(directory(pid), Directory::Deleted(gone));
}

#[test]
fn a_process_that_is_not_there_tells_nothing() {
    let nobody = i32::MAX.unsigned_abs();
    assert_eq!(shell(nobody), None);
    assert_eq!(
        standing(LineEditor::Own, nobody, Path::new("/dev/null")),
        ShellActivity::Gone
    );
    assert_eq!(directory(nobody), Directory::Unreadable);
    assert!(!signal_group(nobody, EndSignal::Kill));
    assert!(!signal_group(0, EndSignal::Kill));
    assert!(!signal_group(1, EndSignal::Kill));
}

#[test]
fn programs_of_many_names_are_shells() {
    for (program, expected) in [
        ("zsh-5.9", Some(Shell::Zsh)),
        ("zsh5", Some(Shell::Zsh)),
        ("bash", Some(Shell::Bash)),
        ("ash", Some(Shell::Dash)),
        ("vim", None),
        ("", None),
    ] {
        assert_eq!(shell_of(program), expected, "{program}");
    }
}

#[test]
fn a_shell_that_runs_a_script_is_none() {
    let reads_its_terminal = |line: &str| {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        is_interactive(&words)
    };
    for line in [
        "bash",
        "-bash",
        "bash -l",
        "bash --norc --noprofile",
        "bash --rcfile x -i",
        "zsh -f",
        "bash --rcfile x",
        "zsh -o vi",
        "busybox sh",
        "fish --private",
        "bash -i -c x",
        "sh -s",
        "fish -C x",
    ] {
        assert!(reads_its_terminal(line), "{line}");
    }
    for line in [
        "bash x.sh",
        "bash -c x",
        "sh -ec x",
        "bash -- x",
        "zsh -f x.sh",
        "fish --command x",
    ] {
        assert!(!reads_its_terminal(line), "{line}");
    }
}
