//! Every command in the README does what it says, for a new user with an empty home.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use crate::harness::{program, root};
use assigner_needs::needs;

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).expect("the README")
}

/// Returns the commands of the README's console blocks, each with the lines that it should print.
fn commands(text: &str) -> Vec<(String, Vec<String>)> {
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if inside {
            match (line.strip_prefix("$ "), commands.last_mut()) {
                (Some(command), _) => commands.push((command.to_owned(), Vec::new())),
                (None, Some((_, printed))) => printed.push(line.to_owned()),
                (None, None) => panic!("output without a command: {line}"),
            }
        }
    }
    commands
}

/// A home with two projects, and a private tmux server as the default one.
struct Home(tempfile::TempDir, Mutex<Vec<Child>>);

impl Home {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        for project in ["api", "web"] {
            let directory = home.path().join("src").join(project);
            fs::create_dir_all(&directory).expect("a project");
            let check = directory.join("check.sh");
            fs::write(&check, "#!/bin/sh\necho all well\n").expect("a script");
            fs::set_permissions(&check, fs::Permissions::from_mode(0o755)).expect("executable");
        }
        fs::create_dir(home.path().join("bin")).expect("a directory");
        fs::create_dir(home.path().join("tmux")).expect("a directory");
        std::os::unix::fs::symlink(program(), home.path().join("bin/assigner")).expect("a link");
        Self(home, Mutex::default())
    }

    fn shell(&self, command: &str) -> Command {
        let path = std::env::var("PATH").expect("PATH");
        let mut shell = Command::new("sh");
        shell
            .args(["-c", command])
            .current_dir(root())
            .env_clear()
            .env("HOME", self.0.path())
            .env("TMUX_TMPDIR", self.0.path().join("tmux"))
            .env(
                "PATH",
                format!("{}:{path}", self.0.path().join("bin").display()),
            )
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm-256color")
            .env("LANG", "C.UTF-8")
            .stdin(Stdio::null());
        shell.env("CARGO_TARGET_DIR", crate::harness::policies_target());
        // The tools that build policies are where they always are, whatever the home is.
        let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
        for (name, usual) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
            let directory = std::env::var_os(name).map_or_else(|| home.join(usual), PathBuf::from);
            if directory.is_dir() {
                shell.env(name, directory);
            }
        }
        shell
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = self.shell("assigner stop; tmux kill-server").output();
        // A daemon may have been starting when it was to stop.
        let daemons = self.1.get_mut();
        for daemon in daemons.into_iter().flatten() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

impl Home {
    /// Runs the commands of a text, unchanged.
    fn run_all(&self, text: &str) {
        for (command, printed) in commands(text) {
            if command.starts_with("cargo ") {
                // The automated run calls these unchanged: see the test below.
                continue;
            }
            if command.ends_with('&') {
                let log = self.0.path().join("daemon.log");
                let daemon = self
                    .shell(&format!("exec {}", command.trim_end_matches('&')))
                    .stdout(Stdio::null())
                    .stderr(fs::File::create(&log).expect("a log"))
                    .spawn()
                    .expect("a daemon");
                self.1.lock().expect("the daemons").push(daemon);
                continue;
            }
            let output = self.shell(&command).output().expect("a shell");
            let stdout = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.status.success(),
                "`{command}` ended with {}:\n{stdout}{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
            // A line that represents others is not compared.
            for line in printed.iter().filter(|line| line.trim() != "...") {
                assert!(
                    stdout.contains(line.trim_end()),
                    "`{command}` does not print {line:?}:\n{stdout}"
                );
            }
        }
    }
}

#[needs(c_for_wasm)]
#[test]
fn every_command_of_the_readme_works() {
    let commands = commands(&readme());
    assert!(commands.len() > 30, "{commands:?}");
    Home::new().run_all(&readme());
}

#[test]
fn every_command_of_the_guide_to_agents_works() {
    let guide = fs::read_to_string(root().join("examples/agents.md")).expect("the guide");
    assert!(commands(&guide).len() > 10);
    Home::new().run_all(&guide);
}

#[needs(c_for_wasm)]
#[test]
fn every_command_of_the_recipes_works() {
    let recipes = fs::read_to_string(root().join("examples/recipes.md")).expect("the recipes");
    assert!(commands(&recipes).len() > 25);
    Home::new().run_all(&recipes);
}

#[test]
fn every_command_of_the_guide_works_on_an_old_database() {
    let guide = root().join("examples/coming-from-assigner-worker.md");
    let guide = fs::read_to_string(guide).expect("the guide");
    assert!(commands(&guide).len() > 5);
    let home = Home::new();
    let data = home.0.path().join("data/assigner");
    fs::create_dir_all(&data).expect("a directory");
    let old = root().join("tests/data/stage3.db");
    fs::copy(old, data.join("assigner.db")).expect("a copy");
    fs::create_dir_all(home.0.path().join(".local/share")).expect("a directory");
    // As a new user would: in the directory of the worker, which is the home here.
    home.run_all(&guide.replace("data/assigner ", "~/data/assigner "));
    assert!(
        home.0
            .path()
            .join(".local/share/assigner/assigner.db.before-migration")
            .exists()
    );
}

#[needs(rust_for_wasm, c_for_wasm, python_for_wasm, javascript_for_wasm, zig)]
#[test]
fn every_command_of_the_guide_for_authors_of_policies_works() {
    let guide = root().join("policies/README.md");
    let guide = fs::read_to_string(guide).expect("the guide");
    assert!(commands(&guide).len() > 15);
    Home::new().run_all(&guide);
}

/// Every flag that the Python worker takes.
#[test]
fn the_guide_names_every_flag_of_the_python_worker() {
    let guide = root().join("examples/coming-from-assigner-worker.md");
    let guide = fs::read_to_string(guide).expect("the guide");
    let theirs: Vec<&str> = guide
        .lines()
        .filter_map(|line| line.strip_prefix("| `--")?.split('|').next())
        .collect();
    for flag in [
        "daemon",
        "stop",
        "status",
        "poll-interval",
        "send",
        "priority",
        "target",
        "provider",
        "providers",
        "fallback",
        "allow-fallback",
        "timeout",
        "workdir",
        "env",
        "prereq",
        "git-branch",
        "no-context-match",
        "project-type",
        "environment",
        "no-env-routing",
        "retry",
        "retry-all",
        "reassign",
        "to",
        "cancel",
        "clear",
        "days",
        "sessions",
        "prompts",
    ] {
        let is_flag = |cell: &&str| {
            format!("--{cell}")
                .split(|c: char| !c.is_alphanumeric() && c != '-')
                .any(|word| word == format!("--{flag}"))
        };
        assert!(theirs.iter().any(is_flag), "--{flag}");
    }
}

#[test]
fn the_automated_run_calls_the_readmes_cargo_commands() {
    let script = fs::read_to_string(root().join(".ci/run")).expect("the script");
    let quick_start = commands(&readme())
        .into_iter()
        .filter(|(command, _)| command.starts_with("cargo ") && !command.contains("install"));
    for (command, _) in quick_start {
        assert!(script.contains(&command), "{command}");
    }
}

#[test]
fn the_readme_and_the_help_agree_on_exit_codes_and_commands() {
    let help = Command::new(program())
        .arg("--help")
        .output()
        .expect("help");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let codes: BTreeMap<String, String> = help
        .lines()
        .skip_while(|line| *line != "Exit codes:")
        .skip(1)
        .filter_map(|line| {
            let (code, meaning) = line.trim().split_once(' ')?;
            Some((code.to_owned(), meaning.trim().to_owned()))
        })
        .collect();
    assert!(codes.len() >= 8, "{codes:?}");
    let readme = readme();
    for (code, meaning) in codes {
        assert!(
            readme.contains(&format!("| {code} | {meaning} |")),
            "{code} {meaning}"
        );
    }
    let commands = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        // A long description continues on lines that are indented further.
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next());
    for command in commands {
        assert!(readme.contains(&format!("`{command}`")), "{command}");
    }
}
