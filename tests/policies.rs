//! Policies as people use them: made, built, examined, tried, chosen and limited; and how little
//! the harmful ones can do.

mod cache;
mod cases;
mod checks;
mod harm;
mod inspection;
mod limits;
mod projects;
mod settings;

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::harness::setup::configure;
use crate::harness::{
    Daemon, Output, Shell, World, ends_within, eventually, policies_target, text,
};

/// The languages of projects, each with the program that is named if it is missing.
const LANGUAGES: [(&str, &str); 5] = [
    ("rust", "cargo"),
    ("c", "clang"),
    ("python", "componentize-py"),
    ("javascript", "componentize-qjs"),
    ("zig", "zig"),
];

/// How long a toolchain may take; it may have to build a standard library first.
const PATIENCE: Duration = Duration::from_secs(600);

/// A limit that no policy reaches just because the machine is busy.
const UNHURRIED: &str = "time = \"30s\"\n";

/// The component that the binary embeds.
const DEFAULT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../policies/default/default.wasm"
);

/// Asserts that an object has these names, whatever else it has.
#[track_caller]
fn has(object: &Value, names: &[&str]) {
    for name in names {
        assert!(object.get(name).is_some(), "no {name} in {object:#}");
    }
}

/// Asserts that a text holds nothing that a terminal would obey.
#[track_caller]
fn is_plain(text: &str) {
    let control = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    assert!(!text.contains(control), "{text:?}");
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a policy to the directory of policies, and returns its path.
fn install(world: &World, name: &str, bytes: &[u8]) -> String {
    let dir = world.mkdir("home/.config/assigner/policies");
    let path = format!("{dir}/{name}.wasm");
    fs::write(&path, bytes).expect("a policy");
    path
}

/// Returns what `status` says about the live policy.
fn live(world: &World) -> Value {
    // A daemon that has just started says so a moment later.
    eventually(
        || match world.json(&["status"])["daemon"]["policy"].clone() {
            Value::Null => Err("the daemon does not say its policy".to_owned()),
            policy => Ok(policy),
        },
    )
}

/// Returns the name of the policy that decided the task's first attempt.
fn decider(task: &Value) -> &str {
    task["attempts"][0]["policy"]["name"]
        .as_str()
        .unwrap_or_else(|| panic!("nobody decided: {task:#}"))
}

/// Stops a daemon as a person would.
fn stop(mut daemon: Daemon) {
    daemon.terminate();
    assert_eq!(daemon.ends(), Some(0));
}

/// Runs a program that may take minutes.
fn patiently(command: &mut Command) -> Output {
    let mut stdout = tempfile::tempfile().expect("a file");
    let mut stderr = tempfile::tempfile().expect("a file");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(stdout.try_clone().expect("a second handle"))
        .stderr(stderr.try_clone().expect("a second handle"))
        .spawn()
        .expect("a program that starts");
    let status = ends_within(PATIENCE, &mut child, command);
    let stdout = written(&mut stdout);
    let stderr = String::from_utf8_lossy(&written(&mut stderr)).into_owned();
    Output {
        code: status.code(),
        stdout,
        stderr,
    }
}

fn written(file: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().expect("a file");
    file.read_to_end(&mut bytes).expect("a file");
    bytes
}

/// Runs the binary with a command that may take minutes.
fn slowly(world: &World, args: &[&str]) -> Output {
    patiently(world.binary().args(args))
}

/// Returns the binary in an environment that has the toolchains of whoever runs the tests.
fn with_tools(world: &World) -> Command {
    let mut command = world.binary();
    command.env("CARGO_TARGET_DIR", policies_target());
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    for (name, below) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
        let dir = std::env::var_os(name).map_or_else(|| home.join(below), PathBuf::from);
        if dir.is_dir() {
            command.env(name, dir);
        }
    }
    let names = [
        "RUSTUP_TOOLCHAIN",
        "WASI_SDK_PATH",
        "VIRTUAL_ENV",
        "SSL_CERT_FILE",
    ];
    let beginnings = [
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
    ];
    for (name, value) in std::env::vars_os() {
        let is_theirs = name.to_str().is_some_and(|name| {
            names.contains(&name)
                || beginnings.iter().any(|begin| name.starts_with(begin))
                || name.to_lowercase().ends_with("_proxy")
        });
        if is_theirs {
            command.env(name, value);
        }
    }
    command
}

/// Runs `policy build --json` on a directory.
fn build(world: &World, dir: &Path, options: &[&str]) -> Output {
    let mut command = with_tools(world);
    command
        .args(["--json", "policy", "build"])
        .arg(dir)
        .args(options);
    patiently(&mut command)
}

/// Makes a project in `work`, and returns its directory.
fn project(world: &World, name: &str, language: &str) -> PathBuf {
    world
        .assigner(&["policy", "new", name, "--lang", language])
        .succeeded();
    world.path("work").join(name)
}

/// Returns the content of a project's manifest.
fn manifest(dir: &Path) -> toml::Table {
    fs::read_to_string(dir.join("policy.toml"))
        .expect("a manifest")
        .parse()
        .expect("TOML")
}

/// Returns the source that a project's manifest names.
fn source(dir: &Path) -> PathBuf {
    dir.join(manifest(dir)["source"].as_str().expect("a source"))
}

/// Returns all files below a directory, with their relative paths.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(&next).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                left.push(path);
            } else {
                found.push(text(path.strip_prefix(dir).expect("a path below")));
            }
        }
    }
    found.sort();
    found
}

/// Checks what `policy build` said about a file: asserts that the file exists and matches.
#[track_caller]
fn was_built(world: &World, built: &Value, file: &Path) -> Vec<u8> {
    let bytes = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let said = world.path("work").join(
        built["file"]
            .as_str()
            .unwrap_or_else(|| panic!("no file: {built:#}")),
    );
    assert_eq!(
        said.canonicalize().expect("a path"),
        file.canonicalize().expect("a path")
    );
    assert_eq!(built["size"], bytes.len(), "{built:#}");
    assert_eq!(built["sha256"], sha256(&bytes), "{built:#}");
    assert!(
        built["seconds"].as_f64().is_some_and(|took| took >= 0.0),
        "{built:#}"
    );
    bytes
}

/// Asserts that `policy check` finds nothing wrong, and that the cases pass.
#[track_caller]
fn is_sound(world: &World, file: &str, cases: &Path) {
    let checked = slowly(world, &["--json", "policy", "check", file])
        .succeeded()
        .json();
    assert_eq!(checked["ok"], true, "{checked:#}");
    assert!(
        findings(&checked)
            .iter()
            .all(|(severity, _)| severity != "error"),
        "{checked:#}"
    );
    let tested = slowly(world, &["--json", "policy", "test", file, &text(cases)])
        .succeeded()
        .json();
    assert_eq!(tested["failed"], 0, "{tested:#}");
    assert!(
        tested["passed"].as_u64().is_some_and(|passed| passed > 0),
        "{tested:#}"
    );
}

/// Returns the severity and code of each finding of `policy check`; each must have a message, too.
#[track_caller]
fn findings(checked: &Value) -> Vec<(String, String)> {
    let word = |finding: &Value, name: &str| {
        let word = finding[name].as_str().unwrap_or_default();
        assert!(!word.is_empty(), "no {name}: {finding:#}");
        word.to_owned()
    };
    checked["findings"]
        .as_array()
        .unwrap_or_else(|| panic!("no findings: {checked:#}"))
        .iter()
        .map(|finding| {
            word(finding, "message");
            word(finding, "help");
            (word(finding, "severity"), word(finding, "code"))
        })
        .collect()
}

/// Runs one task under a policy and configured limits. Returns the task, what `status` then says
/// about the policy, and the log.
fn one_task(
    limits: &str,
    name: &str,
    bytes: &[u8],
    holds: impl Fn(&Value) -> bool,
) -> (Value, Value, String) {
    let world = World::new();
    let time = if limits.contains("time") {
        ""
    } else {
        UNHURRIED
    };
    configure(&world, &format!("[policy]\n{time}{limits}"));
    install(&world, name, bytes);
    world.session("one", Shell::Bash);
    let daemon = world.daemon_with(&["--policy", name]);
    world.session_is("one", "idle");
    let task = world.completed(world.shell("true"));
    let policy = eventually(|| {
        let policy = live(&world);
        if holds(&policy) {
            Ok(policy)
        } else {
            Err(format!("{name}: {policy:#}\n{task:#}\n{}", daemon.log()))
        }
    });
    (task, policy, daemon.log())
}

/// Asserts that a policy decides a task within these limits, and returns the log.
#[track_caller]
fn works(limits: &str, name: &str, bytes: &[u8]) -> String {
    let (task, policy, log) = one_task(limits, name, bytes, |_| true);
    assert_eq!(decider(&task), name, "{task:#}\n{log}");
    assert_eq!(policy["failures"], 0, "{policy:#}");
    assert_eq!(policy["last_failure"], Value::Null, "{policy:#}");
    log
}

/// Asserts that it fails with these words, and that the embedded policy decides instead.
#[track_caller]
fn fails(limits: &str, name: &str, bytes: &[u8], words: &str) {
    let (task, policy, log) = one_task(limits, name, bytes, |policy| {
        policy["last_failure"].is_string()
    });
    assert_eq!(decider(&task), "default", "{task:#}\n{log}");
    assert!(
        policy["failures"].as_u64().is_some_and(|count| count >= 1),
        "{policy:#}"
    );
    let line = policy["last_failure"].as_str().unwrap_or_default();
    assert!(line.contains(words), "no {words:?}: {policy:#}");
    assert_eq!(line.lines().count(), 1, "{policy:#}");
    assert!(log.contains(words), "no {words:?}: {log}");
}
