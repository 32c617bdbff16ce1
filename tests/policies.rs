//! Policies as people use them: made, built, examined, tried, chosen and limited; and how little
//! the harmful ones can do.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::context::configure;
use crate::harness::{
    Daemon, Output, Shell, World, assert_calm, eventually, finish, policies_target, stays, text,
};
use crate::wat_policies::{self, CONTRACT, Plan, Round, When};
use assigner_needs::needs;

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

// ---- What the tests share

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
    let end = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{command:?} does not end");
        }
        thread::sleep(Duration::from_millis(10));
    };
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

// ---- Toolchains

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

// ---- Projects

#[test]
fn a_project_is_made_in_every_language() {
    let world = World::new();
    let below = world.mkdir("work/below");
    for (language, _) in LANGUAGES {
        let name = format!("my-{language}-2");
        let made = world.json(&["policy", "new", &name, "--lang", language, "--dir", "below"]);
        let dir = Path::new(&below).join(&name);
        assert_eq!(made["name"], name, "{made:#}");
        assert_eq!(made["language"], language, "{made:#}");
        let said = world
            .path("work")
            .join(made["directory"].as_str().expect("a directory"));
        assert_eq!(said.canonicalize().expect("a path"), dir);

        let mut listed: Vec<String> = made["files"]
            .as_array()
            .expect("files")
            .iter()
            .map(|file| file.as_str().expect("a path").to_owned())
            .collect();
        listed.sort();
        assert_eq!(listed, files(&dir), "{language}");
        let mut expected = vec![
            "policy.toml",
            "wit/policy.wit",
            "cases.toml",
            "README.md",
            ".gitignore",
        ];
        let manifest = manifest(&dir);
        assert_eq!(manifest["name"].as_str(), Some(name.as_str()));
        assert_eq!(manifest["language"].as_str(), Some(language));
        if language == "rust" {
            assert!(!manifest.contains_key("source"), "{manifest:?}");
            expected.extend(["Cargo.toml", "sdk/Cargo.toml"]);
            let cargo: toml::Table = fs::read_to_string(dir.join("Cargo.toml"))
                .expect("a manifest")
                .parse()
                .expect("TOML");
            assert_eq!(cargo["package"]["name"].as_str(), Some(name.as_str()));
            let kinds = cargo["lib"]["crate-type"].as_array().expect("crate types");
            assert!(kinds.iter().any(|kind| kind.as_str() == Some("cdylib")));
        } else {
            expected.push(manifest["source"].as_str().expect("a source"));
        }
        for file in expected {
            assert!(
                listed.iter().any(|known| known == file),
                "{language}: {file}"
            );
        }
        let wit = fs::read_to_string(dir.join("wit/policy.wit")).expect("the contract");
        assert_eq!(wit, CONTRACT, "{language}");
        // The README describes this project, not the one from which it was made.
        let readme = fs::read_to_string(dir.join("README.md")).expect("a README");
        assert!(readme.contains(&name), "{readme}");
    }
}

#[test]
fn a_project_has_a_name_that_is_one() {
    let world = World::new();
    let longest = "a".repeat(40);
    world
        .assigner(&["policy", "new", &longest, "--lang", "c"])
        .succeeded();
    assert!(
        world
            .path("work")
            .join(&longest)
            .join("policy.toml")
            .is_file()
    );

    let too_long = "a".repeat(41);
    let names = [
        "", "Spread", "1st", "a_b", "a b", "a.b", "a/b", "../a", ".", "ä", "a\n", &too_long,
    ];
    for name in names {
        world
            .assigner(&["policy", "new", name, "--lang", "c"])
            .refused(2);
    }
    let output = world
        .assigner(&["policy", "new", "a-name", "--lang", "cobol"])
        .refused(2);
    for (language, _) in LANGUAGES {
        assert!(output.stderr.contains(language), "{}", output.stderr);
    }
    world.assigner(&["policy", "new", "a-name"]).refused(2);
    let left: Vec<_> = fs::read_dir(world.path("work"))
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(left, [OsStr::new(&longest)]);
    assert!(!world.path("a").exists());
}

#[test]
fn a_project_takes_nobodys_place() {
    let world = World::new();
    world.mkdir("work/empty");
    project(&world, "empty", "c");

    let taken = world.mkdir("work/taken");
    fs::write(format!("{taken}/policy.toml"), "mine").expect("a file");
    let output = world
        .assigner(&["policy", "new", "taken", "--lang", "c"])
        .refused(1);
    assert!(output.stderr.contains("taken"), "{}", output.stderr);
    assert_eq!(files(Path::new(&taken)), ["policy.toml"]);
    let kept = fs::read_to_string(format!("{taken}/policy.toml")).expect("a file");
    assert_eq!(kept, "mine");
    // A second time is refused.
    world
        .assigner(&["policy", "new", "empty", "--lang", "zig"])
        .refused(1);
    let kept = manifest(&world.path("work/empty"));
    assert_eq!(kept["language"].as_str(), Some("c"));

    world.touch("file");
    world
        .assigner(&["policy", "new", "file", "--lang", "c"])
        .refused(1);
    assert!(world.path("work/file").is_file());
}

/// From nothing to a task that the policy decided.
fn life_of_a_project(language: &str, profile: &str) {
    let world = World::new();
    configure(&world, &format!("[policy]\n{UNHURRIED}"));
    let name = format!("my-{language}");
    let dir = project(&world, &name, language);
    let built = build(&world, &dir, &[]).succeeded().json();
    assert_eq!(built["name"], name, "{built:#}");
    assert_eq!(built["language"], language, "{built:#}");
    let file = dir.join(format!("{name}.wasm"));
    let bytes = was_built(&world, &built, &file);
    let file = text(&file);

    let said = slowly(&world, &["--json", "policy", "inspect", &file])
        .succeeded()
        .json();
    assert_eq!(said["name"], name, "{said:#}");
    assert_eq!(said["sha256"], sha256(&bytes), "{said:#}");
    assert_eq!(said["contract"], "0.1.0", "{said:#}");
    assert_eq!(said["encoding"], "component", "{said:#}");
    // Some toolchains export other things as well.
    let exports = said["exports"].as_array().expect("exports");
    let matching = json!("assigner:policy/matching@0.1.0");
    assert!(exports.contains(&matching), "{said:#}");
    assert_eq!(said["limits"]["profile"], profile, "{said:#}");
    is_sound(&world, &file, &dir.join("cases.toml"));

    world.session("one", Shell::Bash);
    let _daemon = world.daemon_with(&["--policy", &file]);
    world.session_is("one", "idle");
    let task = world.completed(world.shell("echo done"));
    assert_eq!(task["output"], "done\n", "{task:#}");
    assert_eq!(decider(&task), name, "{task:#}");
    let policy = live(&world);
    assert_eq!(policy["sha256"], sha256(&bytes), "{policy:#}");
    assert_eq!(policy["failures"], 0, "{policy:#}");
    assert_eq!(policy["last_failure"], Value::Null, "{policy:#}");

    // Build output does not belong in a repository.
    for args in [&["init", "-q"][..], &["check-ignore", &file]] {
        let mut git = world.command("git");
        finish(git.args(args).current_dir(&dir), b"").succeeded();
    }
}

#[needs(rust_for_wasm)]
#[test]
fn a_policy_in_rust() {
    life_of_a_project("rust", "small");
}

#[needs(c_for_wasm)]
#[test]
fn a_policy_in_c() {
    life_of_a_project("c", "small");
}

#[needs(python_for_wasm)]
#[test]
fn a_policy_in_python() {
    life_of_a_project("python", "large");
}

#[needs(javascript_for_wasm)]
#[test]
fn a_policy_in_javascript() {
    life_of_a_project("javascript", "large");
}

#[needs(zig)]
#[test]
fn a_policy_in_zig() {
    life_of_a_project("zig", "small");
}

/// The project is in the current directory, and the file goes where it was asked for.
#[needs(c_for_wasm)]
#[test]
fn a_build_goes_where_it_is_told() {
    let world = World::new();
    let dir = project(&world, "here", "c");
    let file = world.path("work/there.wasm");
    let mut command = with_tools(&world);
    command
        .args(["--json", "policy", "build", "-o", "../there.wasm"])
        .current_dir(&dir);
    let built = patiently(&mut command).succeeded().json();
    assert_eq!(built["size"], fs::metadata(&file).expect("a file").len());
    assert!(!dir.join("here.wasm").exists());
    // If the contract is missing, the binary's own is used; missing bindings are generated.
    for name in ["gen", "wit"] {
        fs::remove_dir_all(dir.join(name)).expect("a directory");
    }
    let again = build(&world, &dir, &[]).succeeded().json();
    was_built(&world, &again, &dir.join("here.wasm"));
}

#[test]
fn a_missing_toolchain_is_named() {
    let world = World::new();
    let nothing = world.mkdir("nothing");
    for (language, tool) in LANGUAGES {
        let name = format!("my-{language}");
        let dir = project(&world, &name, language);
        let output = finish(
            world
                .binary()
                .env("PATH", &nothing)
                .args(["policy", "build"])
                .arg(&dir),
            b"",
        )
        .refused(1);
        let said = &output.stderr;
        assert!(said.contains(tool), "{language}: {said}");
        // The message also says how to get it.
        let ways = ["install", "https://", "rustup", "apt", "pip", "npm"];
        assert!(
            ways.iter().any(|way| said.contains(way)),
            "{language}: {said}"
        );
        assert!(!dir.join(format!("{name}.wasm")).exists(), "{language}");
    }
}

fn a_source_that_is_none(language: &str) {
    let world = World::new();
    let dir = project(&world, "broken", language);
    fs::write(
        source(&dir),
        "def broken(((: this is a program in no language\n",
    )
    .expect("a file");
    let output = build(&world, &dir, &[]);
    assert_eq!(output.code, Some(1), "{}", output.stderr);
    assert!(output.stdout.is_empty(), "{}", output.text());
    // The toolchain's own output, followed by one line of ours.
    let lines: Vec<&str> = output
        .stderr
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    assert!(lines.len() > 1, "{language}: {}", output.stderr);
    let ours: Vec<usize> = (0..lines.len())
        .filter(|at| lines[*at].starts_with("assigner: "))
        .collect();
    assert_eq!(ours, [lines.len() - 1], "{language}: {}", output.stderr);
    assert!(!dir.join("broken.wasm").exists());
}

#[needs(c_for_wasm)]
#[test]
fn a_program_that_does_not_compile_in_c() {
    a_source_that_is_none("c");
}

#[needs(python_for_wasm)]
#[test]
fn a_program_that_does_not_compile_in_python() {
    a_source_that_is_none("python");
}

#[needs(javascript_for_wasm)]
#[test]
fn a_program_that_does_not_compile_in_javascript() {
    a_source_that_is_none("javascript");
}

#[needs(zig)]
#[test]
fn a_program_that_does_not_compile_in_zig() {
    a_source_that_is_none("zig");
}

#[test]
fn a_directory_that_is_no_project() {
    let world = World::new();
    let empty = world.mkdir("work/empty");
    let output = world.assigner(&["policy", "build", &empty]).refused(2);
    assert!(output.stderr.contains("policy.toml"), "{}", output.stderr);
    world.assigner(&["policy", "build"]).refused(2);
    world.assigner(&["policy", "build", "no/such"]).refused(2);

    // A name must not lead out of the directory, nor may anything else in a manifest.
    let manifests = [
        "name = \"../evil\"\nlanguage = \"c\"\nsource = \"policy.c\"\n",
        "name = \"Evil\"\nlanguage = \"c\"\nsource = \"policy.c\"\n",
        "name = \"evil\"\nlanguage = \"cobol\"\nsource = \"policy.cob\"\n",
        "name = \"evil\"\nlanguage = \"c\"\n",
        "language = \"c\"\nsource = \"policy.c\"\n",
        "name = = \"evil\"\n",
    ];
    for manifest in manifests {
        fs::write(format!("{empty}/policy.toml"), manifest).expect("a manifest");
        let output = world.assigner(&["policy", "build", &empty]);
        assert!(matches!(output.code, Some(1 | 2)), "{manifest}: {output:?}");
        assert_calm(&output.stderr);
        assert_eq!(output.stderr.lines().count(), 1, "{manifest}: {output:?}");
    }
    assert_eq!(files(Path::new(&empty)), ["policy.toml"]);
    assert!(!world.path("work/evil.wasm").exists());
}

// ---- Examples

/// Builds a copy of an example, and runs its own cases.
fn example(name: &str, language: &str) {
    let world = World::new();
    configure(&world, &format!("[policy]\n{UNHURRIED}"));
    let theirs = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples/policies")
        .join(name);
    let file = world.path("work").join(format!("{name}.wasm"));
    let built = if language == "rust" {
        // It is a member of the workspace and builds only there, into the workspace's target
        // directory, which is not part of the source.
        build(&world, &theirs, &["-o", &text(&file)])
    } else {
        let copy = world.path("work").join(name);
        for file in files(&theirs) {
            let was_made = file.ends_with(".wasm")
                || ["gen/", "node_modules/"]
                    .iter()
                    .any(|dir| file.starts_with(dir));
            if !was_made {
                let to = copy.join(&file);
                fs::create_dir_all(to.parent().expect("a parent")).expect("a directory");
                fs::copy(theirs.join(&file), to).expect("a copy");
            }
        }
        build(&world, &copy, &["-o", &text(&file)])
    };
    let built = built.succeeded().json();
    assert_eq!(built["name"], name, "{built:#}");
    assert_eq!(built["language"], language, "{built:#}");
    was_built(&world, &built, &file);
    is_sound(&world, &text(&file), &theirs.join("cases.toml"));
}

#[needs(rust_for_wasm)]
#[test]
fn the_example_in_rust() {
    example("batch", "rust");
}

#[needs(c_for_wasm)]
#[test]
fn the_example_in_c() {
    example("least-failures", "c");
}

#[needs(python_for_wasm)]
#[test]
fn the_example_in_python() {
    example("spread", "python");
}

#[needs(javascript_for_wasm)]
#[test]
fn the_example_in_javascript() {
    example("sticky", "javascript");
}

#[needs(zig)]
#[test]
fn the_example_in_zig() {
    example("labels", "zig");
}

// ---- Looking at a policy

#[test]
fn the_default_policy_is_inspected() {
    let world = World::new();
    let said = world.json(&["policy", "inspect", "default"]);
    has(
        &said,
        &[
            "name",
            "version",
            "summary",
            "file",
            "size",
            "sha256",
            "encoding",
            "contract",
            "imports",
            "exports",
            "wants_busy",
            "default_settings",
            "limits",
            "load_ms",
            "cached",
        ],
    );
    has(
        &said["limits"],
        &[
            "profile",
            "time_ms",
            "load_time_ms",
            "memory",
            "stack",
            "answer",
            "log_lines",
        ],
    );
    let bytes = fs::read(DEFAULT).expect("the default policy");
    assert_eq!(said["name"], "default", "{said:#}");
    assert_eq!(said["contract"], "0.1.0", "{said:#}");
    assert_eq!(said["size"], bytes.len(), "{said:#}");
    assert_eq!(said["sha256"], sha256(&bytes), "{said:#}");
    assert_eq!(said["encoding"], "component", "{said:#}");
    assert_eq!(said["exports"], json!(["assigner:policy/matching@0.1.0"]));
    assert_eq!(
        said["default_settings"],
        json!({"same-directory": 100, "parent-directory": 50, "child-directory": 25,
            "variable": 20, "branch": 30, "min-score": 20, "when-no-match": "any"})
    );
    assert_eq!(said["limits"]["profile"], "small", "{said:#}");
    assert_eq!(said["limits"]["time_ms"], 100, "{said:#}");
    assert!(said["load_ms"].as_f64().is_some_and(|took| took > 0.0));

    let words = world
        .assigner(&["policy", "inspect", "default"])
        .succeeded()
        .text();
    for word in ["default", &sha256(&bytes), "same-directory", "0.1.0"] {
        assert!(words.contains(word), "no {word}: {words}");
    }
}

#[test]
fn a_policy_is_found_by_all_its_names() {
    let world = World::new();
    let bytes = wat_policies::healthy("tiny", "3.2.1");
    let path = install(&world, "small", &bytes);
    fs::write(world.path("work/here.wasm"), &bytes).expect("a policy");
    for name in [
        path.as_str(),
        "small",
        "small.wasm",
        "here.wasm",
        "./here.wasm",
    ] {
        let said = world.json(&["policy", "inspect", name]);
        assert_eq!(said["name"], "tiny", "{name}: {said:#}");
        assert_eq!(said["version"], "3.2.1", "{name}: {said:#}");
        assert_eq!(said["size"], bytes.len(), "{name}: {said:#}");
        assert_eq!(said["sha256"], sha256(&bytes), "{name}: {said:#}");
        assert_eq!(said["wants_busy"], false, "{name}: {said:#}");
        assert_eq!(said["default_settings"], json!({}), "{name}: {said:#}");
        assert_eq!(said["imports"], json!(["assigner:policy/logging@0.1.0"]));
        assert_eq!(said["exports"], json!(["assigner:policy/matching@0.1.0"]));
    }
    for name in ["no-such", "no-such.wasm", "/no/such.wasm", "./no-such.wasm"] {
        for command in ["inspect", "check", "bench"] {
            let output = world.assigner(&["policy", command, name]).refused(6);
            assert!(output.stderr.contains("no-such") || output.stderr.contains("/no/such"));
        }
    }
}

#[test]
fn what_kind_of_file_a_policy_is() {
    let world = World::new();
    let plan = Plan::new("tiny");
    install(&world, "component", &plan.component());
    install(&world, "core", &plan.core());
    let large = wat_policies::padded(plan.component(), 600 * 1024);
    install(&world, "large", &large);
    let busy = Plan {
        wants_busy: true,
        default_config: r#"{"depth":{"least":1}}"#,
        configure: "(i32.const 64)",
        ..Plan::new("busy")
    };
    install(&world, "busy", &busy.component());

    let said = world.json(&["policy", "inspect", "component"]);
    assert_eq!(said["encoding"], "component", "{said:#}");
    assert_eq!(said["limits"]["profile"], "small", "{said:#}");
    assert_eq!(said["limits"]["time_ms"], 100, "{said:#}");
    let said = world.json(&["policy", "inspect", "core"]);
    assert_eq!(said["encoding"], "core module", "{said:#}");
    assert_eq!(said["sha256"], sha256(&plan.core()), "{said:#}");
    assert_eq!(said["exports"], json!(["assigner:policy/matching@0.1.0"]));
    let said = world.json(&["policy", "inspect", "large"]);
    assert_eq!(said["limits"]["profile"], "large", "{said:#}");
    assert_eq!(said["limits"]["time_ms"], 1000, "{said:#}");
    assert_eq!(said["size"], large.len(), "{said:#}");
    let said = world.json(&["policy", "inspect", "busy"]);
    assert_eq!(said["wants_busy"], true, "{said:#}");
    assert_eq!(said["default_settings"], json!({"depth": {"least": 1}}));

    // A configured limit applies to every kind of policy.
    configure(
        &world,
        "[policy]\ntime = \"250ms\"\nload-time = \"7s\"\nlog-lines = 9\n",
    );
    for name in ["component", "large"] {
        let limits = world.json(&["policy", "inspect", name])["limits"].clone();
        assert_eq!(limits["time_ms"], 250, "{limits:#}");
        assert_eq!(limits["load_time_ms"], 7000, "{limits:#}");
        assert_eq!(limits["log_lines"], 9, "{limits:#}");
    }
}

#[test]
fn what_cannot_be_loaded_says_why_everywhere() {
    let world = World::new();
    for saboteur in wat_policies::all() {
        let When::AtLoad(words) = saboteur.when else {
            continue;
        };
        let path = install(&world, saboteur.name, &saboteur.bytes);
        let commands: [&[&str]; 5] = [
            &["policy", "inspect", &path],
            &["policy", "check", &path],
            &["policy", "bench", &path],
            &["policy", "use", saboteur.name],
            &["run", "--policy", &path],
        ];
        for args in commands {
            let output = world.assigner(args).refused(6);
            let said = &output.stderr;
            assert!(said.contains(words), "{args:?}: {said}");
            assert!(said.contains(saboteur.name), "{args:?}: {said}");
        }
    }
    // None of it was remembered.
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    assert_eq!(live(&world)["name"], "default");
}

/// Returns the exit code of `policy check`, and what it said.
fn checked(world: &World, name: &str, bytes: &[u8]) -> (Option<i32>, Value) {
    let path = install(world, name, bytes);
    let output = slowly(world, &["--json", "policy", "check", &path]);
    assert_calm(&output.stderr);
    let said = output.json();
    assert!(
        said["rounds"].as_u64().is_some_and(|rounds| rounds >= 1),
        "{said:#}"
    );
    assert_eq!(said["ok"], output.code == Some(0), "{said:#}");
    (output.code, said)
}

/// Asserts that `policy check` fails for a harmful policy with an error of this code.
fn check_finds(names: &[&str], code: &str) {
    let world = World::new();
    let mut left = names.to_vec();
    for saboteur in wat_policies::all() {
        if !names.contains(&saboteur.name) {
            continue;
        }
        left.retain(|name| *name != saboteur.name);
        let (exit, said) = checked(&world, saboteur.name, &saboteur.bytes);
        assert_eq!(exit, Some(1), "{}: {said:#}", saboteur.name);
        assert!(
            findings(&said).contains(&("error".to_owned(), code.to_owned())),
            "{}: {said:#}",
            saboteur.name
        );
        if let When::InARound(_, words) = saboteur.when {
            // The same words as in the log: there, `session 7 for task #` is followed by a number.
            assert!(said.to_string().contains(words), "{said:#}");
        }
    }
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_check_finds_failures() {
    check_finds(&["endless", "hog", "deep", "trap", "boundless"], "failure");
}

#[test]
fn a_check_finds_wrong_answers() {
    check_finds(
        &["stray", "twice", "forbidden", "unready", "miscount"],
        "violation",
    );
    // The check may choose the round in which the policy first gives no reason.
    let world = World::new();
    let silent = Plan::answers("silent", "(i32.const 96)").component();
    let (exit, said) = checked(&world, "silent", &silent);
    assert_eq!(exit, Some(1), "{said:#}");
    let found = findings(&said);
    assert!(
        found.iter().any(|(_, code)| code == "violation"),
        "{said:#}"
    );
    assert!(said.to_string().contains("0 decisions for"), "{said:#}");
}

#[test]
fn a_check_finds_nothing_where_there_is_nothing() {
    let world = World::new();
    configure(&world, &format!("[policy]\n{UNHURRIED}"));
    let healthy = wat_policies::healthy("healthy", "1.0.0");
    let (exit, said) = checked(&world, "healthy", &healthy);
    assert_eq!(exit, Some(0), "{said:#}");
    assert_eq!(said["findings"], json!([]), "{said:#}");
    assert!(said["rounds"].as_u64().is_some_and(|rounds| rounds >= 8));
    let said = slowly(&world, &["--json", "policy", "check", "default"])
        .succeeded()
        .json();
    assert_eq!(said["findings"], json!([]), "{said:#}");
    world
        .assigner(&["policy", "check", "healthy", "--policy-set", "depth=1"])
        .refused(6);
}

#[test]
fn a_check_finds_manners() {
    let world = World::new();
    configure(&world, &format!("[policy]\n{UNHURRIED}log-lines = 20\n"));
    let plans = [
        (
            Plan {
                default_config: r#"{"depth":1}"#,
                ..Plan::new("stubborn")
            },
            "error",
            "settings-default",
        ),
        (
            Plan {
                configure: "(i32.const 64)",
                ..Plan::new("lenient")
            },
            "warning",
            "unknown-setting",
        ),
        (
            Plan {
                version: "",
                summary: "",
                ..Plan::new("blank")
            },
            "warning",
            "empty-metadata",
        ),
        (
            Plan {
                reason: "",
                ..Plan::new("curt")
            },
            "warning",
            "no-reason",
        ),
        (
            Plan::first("chatty", &wat_policies::logging(40)),
            "warning",
            "chatty",
        ),
        (
            Plan::answers("idle", "(call $all_wait (local.get $count))"),
            "note",
            "ignores-ready-sessions",
        ),
    ];
    for (plan, severity, code) in plans {
        let (exit, said) = checked(&world, plan.name, &plan.component());
        let expected = (severity.to_owned(), code.to_owned());
        let found = findings(&said);
        assert!(found.contains(&expected), "{}: {said:#}", plan.name);
        // Nothing else is wrong with it.
        assert!(
            found.iter().all(|(_, other)| other == code),
            "{}: {said:#}",
            plan.name
        );
        assert_eq!(exit, Some(i32::from(severity == "error")), "{said:#}");
    }
    let outside = wat_policies::all()
        .into_iter()
        .find(|saboteur| saboteur.name == "outside")
        .expect("a policy that looks outside");
    let (exit, said) = checked(&world, outside.name, &outside.bytes);
    assert_eq!(exit, Some(0), "{said:#}");
    let found = findings(&said);
    assert!(!found.is_empty(), "{said:#}");
    let note = ("note".to_owned(), "wasi-import".to_owned());
    assert!(found.iter().all(|one| *one == note), "{said:#}");
    let said = world.json(&["policy", "inspect", outside.name]);
    let imports = said["imports"].to_string();
    assert!(imports.contains("wasi:filesystem/preopens@0.2"), "{said:#}");
}

#[test]
fn policies_are_listed() {
    let world = World::new();
    let last = wat_policies::healthy("last", "9.0.0");
    let first = wat_policies::healthy("first", "0.1.0");
    install(&world, "z-last", &last);
    install(&world, "broken", b"\0asm this is none");
    install(&world, "a-first", &first);
    world.session("one", Shell::Bash);
    let _daemon = world.daemon_with(&["--policy", "z-last"]);

    assert_eq!(live(&world)["name"], "last");
    let rows = world.json(&["policy", "list"]);
    let rows = rows.as_array().expect("rows");
    let names: Vec<&str> = rows
        .iter()
        .map(|row| {
            let name = row["name"].as_str().expect("a name");
            name.strip_suffix(".wasm").unwrap_or(name)
        })
        .collect();
    assert_eq!(names, ["default", "a-first", "broken", "z-last"]);
    let lives: Vec<bool> = rows.iter().map(|row| row["live"] == true).collect();
    assert_eq!(lives, [false, false, false, true], "{rows:#?}");
    for (row, name) in rows.iter().zip(names) {
        has(
            row,
            &["policy", "version", "summary", "file", "sha256", "error"],
        );
        // Every command takes the name.
        let output = world.assigner(&[
            "--json",
            "policy",
            "inspect",
            row["name"].as_str().expect("a name"),
        ]);
        if name == "broken" {
            let error = row["error"].as_str().expect("an error");
            assert_eq!(error.lines().count(), 1, "{row:#}");
            output.refused(6);
        } else {
            assert_eq!(row["error"], Value::Null, "{row:#}");
            let said = output.succeeded().json();
            assert_eq!(row["policy"], said["name"], "{row:#}");
            assert_eq!(row["version"], said["version"], "{row:#}");
            assert_eq!(row["sha256"], said["sha256"], "{row:#}");
        }
    }
    assert_eq!(rows[1]["policy"], "first");
    assert_eq!(rows[3]["version"], "9.0.0");
    assert_eq!(rows[3]["sha256"], sha256(&last));
    let words = world.assigner(&["policy", "list"]).succeeded().text();
    for name in ["default", "a-first", "broken", "z-last"] {
        assert!(words.contains(name), "{words}");
    }
}

#[test]
fn a_list_without_a_directory() {
    let world = World::new();
    let rows = world.json(&["policy", "list"]);
    assert_eq!(rows.as_array().map(Vec::len), Some(1), "{rows:#}");
    assert_eq!(rows[0]["name"], "default", "{rows:#}");
    assert_eq!(rows[0]["error"], Value::Null, "{rows:#}");
}

#[test]
fn a_policy_is_timed_against_the_default_one() {
    let world = World::new();
    install(&world, "tiny", &wat_policies::healthy("tiny", "1.0.0"));
    for name in ["default", "tiny"] {
        let said = slowly(&world, &["--json", "policy", "bench", name])
            .succeeded()
            .json();
        assert_eq!(said["name"], name, "{said:#}");
        let sizes: Vec<(u64, u64)> = said["rounds"]
            .as_array()
            .expect("rounds")
            .iter()
            .map(|round| {
                for number in ["policy_us", "default_us", "ratio"] {
                    let number = round[number].as_f64();
                    assert!(number.is_some_and(|number| number > 0.0), "{round:#}");
                }
                (
                    round["tasks"].as_u64().expect("a number"),
                    round["sessions"].as_u64().expect("a number"),
                )
            })
            .collect();
        assert_eq!(sizes, [(10, 10), (100, 100), (256, 1000)], "{said:#}");
        let memory = &said["memory"];
        assert!(
            memory.is_null() || memory.as_u64().is_some_and(|bytes| bytes > 0),
            "{said:#}"
        );
    }
}

// ---- Cases

/// Writes cases into `work`, and runs them on a policy.
fn try_cases(world: &World, policy: &str, file: &str, cases: &str, options: &[&str]) -> Output {
    let path = world.path("work").join(file);
    fs::write(&path, cases).expect("cases");
    let args = ["--json", "policy", "test", policy, file];
    world.assigner(&[&args[..], options].concat())
}

/// A session in a directory, a task that asks for that directory, and one more session.
const TWO_DIRECTORIES: &str = r#"
[[case]]
name = "the same directory"
[[case.session]]
name = "web"
current-dir = "/srv/web"
[[case.session]]
name = "api"
current-dir = "/srv/api"
[[case.task]]
working-dir = "/srv/api"
"#;

#[test]
fn cases_that_pass() {
    let world = World::new();
    let cases = format!(
        r#"settings = {{ same-directory = 77, variable = 33 }}
{TWO_DIRECTORIES}
expect = "api"
expect-points = 77

[[case]]
name = "settings of one case stand over those of all"
settings = {{ same-directory = 78 }}
now = 1800000000
explain = 3
[[case.session]]
name = "one"
host = "far"
provider = "shell"
current-dir = "/srv"
git-branch = "dev"
env = {{ STAGE = "live" }}
ready = true
since = 5
completed = 1
failed = 2
labels = {{ tier = "1" }}
[[case.task]]
id = 41
kind = "command"
summary = "all that a task may have"
priority = 3
waiting = 7
attempt = 2
match-context = true
working-dir = "/srv"
git-branch = "dev"
env = {{ STAGE = "live" }}
providers = ["shell"]
eligible = ["one"]
follows = "one"
avoid = []
labels = {{ a = "b" }}
expect = "one"
expect-points = 141

[[case]]
name = "rather wait"
settings = {{ when-no-match = "wait" }}
[[case.session]]
name = "one"
current-dir = "/srv/api"
[[case.task]]
working-dir = "/elsewhere"
expect-wait = ""

[[case]]
name = "only one is looked at"
[[case.session]]
name = "one"
[[case.task]]
[[case.task]]
expect-wait = ""

[[case]]
name = "another is allowed"
[[case.session]]
name = "best"
current-dir = "/srv/api"
[[case.session]]
name = "allowed"
[[case.task]]
working-dir = "/srv/api"
eligible = ["allowed"]
expect = "allowed"
"#
    );
    let said = try_cases(&world, "default", "cases.toml", &cases, &[])
        .succeeded()
        .json();
    assert_eq!(said["passed"], 5, "{said:#}");
    assert_eq!(said["failed"], 0, "{said:#}");
    let names: Vec<&str> = said["cases"]
        .as_array()
        .expect("cases")
        .iter()
        .map(|case| {
            assert_eq!(case["ok"], true, "{said:#}");
            assert_eq!(case["problems"], json!([]), "{said:#}");
            case["name"].as_str().expect("a name")
        })
        .collect();
    assert_eq!(
        names,
        [
            "the same directory",
            "settings of one case stand over those of all",
            "rather wait",
            "only one is looked at",
            "another is allowed",
        ]
    );

    // The same as JSON.
    let case = json!({"case": [{
        "name": "the same directory",
        "session": [{"name": "web"}, {"name": "api", "current-dir": "/srv/api"}],
        "task": [{"working-dir": "/srv/api", "expect": "api", "expect-points": 100}],
    }]});
    let said = try_cases(&world, "default", "cases.json", &case.to_string(), &[])
        .succeeded()
        .json();
    assert_eq!(said["passed"], 1, "{said:#}");
}

#[test]
fn cases_that_fail() {
    let world = World::new();
    let expectations = [
        "expect = \"web\"",
        "expect = \"api\"\nexpect-points = 60",
        "expect-wait = \"patience\"",
        "expect = \"api\"\nexpect-points = 100",
    ];
    let cases: String = expectations
        .iter()
        .enumerate()
        .map(|(at, lines)| {
            let case = TWO_DIRECTORIES.replace("the same directory", &format!("case {at}"));
            format!("{case}{lines}\n")
        })
        .collect();
    let output = try_cases(&world, "default", "cases.toml", &cases, &[]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert_calm(&output.stderr);
    let said = output.json();
    assert_eq!(said["passed"], 1, "{said:#}");
    assert_eq!(said["failed"], 3, "{said:#}");
    let expected = [("web", "api"), ("60", "100"), ("patience", "api")];
    for (at, (expected, got)) in expected.into_iter().enumerate() {
        let case = &said["cases"][at];
        assert_eq!(case["ok"], false, "{case:#}");
        assert_eq!(case["problems"].as_array().map(Vec::len), Some(1));
        let problem = &case["problems"][0];
        assert_eq!(problem["task"], 1, "{case:#}");
        for (name, word) in [("expected", expected), ("got", got)] {
            assert!(
                problem[name]
                    .as_str()
                    .is_some_and(|text| text.contains(word)),
                "{name} {word}: {case:#}"
            );
        }
    }
    assert_eq!(said["cases"][3]["ok"], true, "{said:#}");

    // For people: which case, what was expected, what came.
    let output = world.assigner(&["policy", "test", "default", "cases.toml"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    let words = format!("{}{}", output.text(), output.stderr);
    for word in [
        "case 0", "case 1", "case 2", "web", "api", "60", "100", "patience",
    ] {
        assert!(words.contains(word), "no {word}: {words}");
    }

    // Settings on the command line count here, too.
    let cases = format!("{TWO_DIRECTORIES}expect = \"api\"\nexpect-points = 60\n");
    let set = ["--policy-set", "same-directory=60"];
    try_cases(&world, "default", "cases.toml", &cases, &set).succeeded();
    try_cases(
        &world,
        "default",
        "cases.toml",
        &cases,
        &["--policy-set", "same-direction=60"],
    )
    .refused(6);
}

#[test]
fn a_policy_that_fails_in_a_case() {
    let world = World::new();
    install(
        &world,
        "trap",
        &Plan::first("trap", "(unreachable)").component(),
    );
    let case = json!({"case": [
        {"name": "one", "session": [{"name": "a"}], "task": [{"expect": "a"}]},
        {"name": "two", "session": [{"name": "a"}], "task": [{"expect-wait": ""}]},
    ]});
    let output = try_cases(&world, "trap", "cases.json", &case.to_string(), &[]);
    assert_eq!(output.code, Some(1), "{output:?}");
    let said = output.json();
    assert_eq!(said["failed"], 2, "{said:#}");
    for case in said["cases"].as_array().expect("cases") {
        let got = case["problems"][0]["got"].as_str().unwrap_or_default();
        assert!(got.contains("stopped with an error"), "{said:#}");
    }
}

#[test]
fn cases_that_are_none() {
    let world = World::new();
    let with = |line: &str| format!("{TWO_DIRECTORIES}{line}\n");
    // Lines count from 1; the text above has 11, the first of which is empty.
    let wrong = [
        (with("wroking-dir = \"/srv\""), "wroking-dir", Some(12)),
        (with("expect-points = \"many\""), "expect-points", Some(12)),
        (with("kind = \"song\""), "song", Some(12)),
        (with("expect = = 3"), "", Some(12)),
        (with("expect = \"nobody\""), "nobody", None),
        (with("eligible = [\"nobody\"]"), "nobody", None),
        (with("avoid = [\"nobody\"]"), "nobody", None),
        (with("follows = \"nobody\""), "nobody", None),
        ("settings = {}\ncases = []\n".to_owned(), "cases", Some(2)),
        (
            "[[case]]\nname = \"a\"\n[[case.session]]\n".to_owned(),
            "name",
            None,
        ),
        ("[[case]]\nname = \"a\"\nnow = -1\n".to_owned(), "", Some(3)),
    ];
    for (cases, word, line) in wrong {
        let output = try_cases(&world, "default", "cases.toml", &cases, &[]).refused(2);
        let said = &output.stderr;
        assert!(output.stdout.is_empty(), "{}", output.text());
        assert!(said.contains("cases.toml"), "{cases}{said}");
        assert!(said.contains(word), "{cases}{said}");
        if let Some(line) = line {
            let ways = [format!("line {line}"), format!(":{line}")];
            assert!(ways.iter().any(|way| said.contains(way)), "{cases}{said}");
        }
    }
    let wrong = [
        r#"{"case": [{"name": "a", "sesion": []}]}"#,
        r#"{"case": [{"name": "a", "session": [{"name": "x", "ready": "yes"}]}]}"#,
        r#"{"case": "#,
        "[[case]]\nname = \"TOML under another name\"\n",
    ];
    for cases in wrong {
        let output = try_cases(&world, "default", "cases.json", cases, &[]).refused(2);
        assert!(output.stderr.contains("cases.json"), "{}", output.stderr);
    }
    for file in ["no-such.toml", "no-such.json"] {
        let output = world
            .assigner(&["policy", "test", "default", file])
            .refused(2);
        assert!(output.stderr.contains(file), "{}", output.stderr);
    }
    // Here the policy is what is wrong.
    fs::write(world.path("work/cases.toml"), with("expect = \"api\"")).expect("cases");
    world
        .assigner(&["policy", "test", "no-such", "cases.toml"])
        .refused(6);
}

// ---- Settings

/// Runs a task that asks for the directory of session `one`, and returns the points that the
/// session got.
fn points_for_the_directory(world: &World) -> i64 {
    world.session_is("one", "idle");
    let dir = text(&world.path("work"));
    let task = world.completed(world.shell_with(&["-w", &dir], "true"));
    task["attempts"][0]["rankings"][0]["points"]
        .as_i64()
        .unwrap_or_else(|| panic!("no points: {task:#}"))
}

#[test]
fn settings_come_from_the_configuration_and_the_command_line() {
    let world = World::new();
    world.session("one", Shell::Bash);
    configure(
        &world,
        "[policy.settings]\nsame-directory = 77\nwhen-no-match = \"wait\"\n",
    );
    let daemon = world.daemon();
    assert_eq!(points_for_the_directory(&world), 77);
    let settings = live(&world)["settings"].clone();
    assert_eq!(settings["same-directory"], 77, "{settings:#}");
    assert_eq!(settings["when-no-match"], "wait", "{settings:#}");
    stop(daemon);

    // The command line overrides them, each setting on its own.
    let daemon = world.daemon_with(&["--policy-set", "same-directory=88"]);
    assert_eq!(points_for_the_directory(&world), 88);
    let settings = live(&world)["settings"].clone();
    assert_eq!(settings["when-no-match"], "wait", "{settings:#}");
    stop(daemon);
    for value in ["when-no-match=any", "when-no-match=\"any\""] {
        let more = ["--policy-set", "min-score=0", "--policy-set", value];
        let daemon = world.daemon_with(&more);
        let settings = live(&world)["settings"].clone();
        assert_eq!(settings["when-no-match"], "any", "{value}: {settings:#}");
        assert_eq!(settings["min-score"], 0, "{value}: {settings:#}");
        assert_eq!(points_for_the_directory(&world), 77);
        stop(daemon);
    }
}

#[test]
fn a_policy_has_settings_of_its_own() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let bytes = fs::read(DEFAULT).expect("the default policy");
    for name in ["mine", "yours"] {
        install(&world, name, &bytes);
    }
    configure(
        &world,
        "[policy.settings]\nsame-directory = 77\n[policy.settings-of.mine]\nbranch = 31\n\
         [policy.settings-of.nobodys]\nno-such-setting = 1\n",
    );
    // A policy's own table replaces the other and is not merged with it.
    for (name, points) in [("mine", 100), ("yours", 77)] {
        let daemon = world.daemon_with(&["--policy", name]);
        assert_eq!(points_for_the_directory(&world), points, "{name}");
        stop(daemon);
    }
    let daemon = world.daemon_with(&["--policy", "mine", "--policy-set", "same-directory=66"]);
    assert_eq!(points_for_the_directory(&world), 66);
    let settings = live(&world)["settings"].clone();
    assert_eq!(settings["branch"], 31, "{settings:#}");
    stop(daemon);
}

#[test]
fn settings_that_are_none() {
    let world = World::new();
    let wrong = [
        ("same-direction=1", "same-direction"),
        ("same-directory=lots", "same-directory"),
        ("same-directory=\"100\"", "same-directory"),
        ("same-directory=1.5", "same-directory"),
        ("min-score=1000001", "min-score"),
        ("min-score=-1", "min-score"),
        ("min-score={}", "min-score"),
        ("when-no-match=perhaps", "when-no-match"),
        ("when-no-match=null", "when-no-match"),
    ];
    install(&world, "tiny", &wat_policies::healthy("tiny", "1.0.0"));
    for (setting, name) in wrong {
        let commands = [
            &["run"][..],
            &["policy", "inspect", "default"],
            &["policy", "check", "default"],
            &["policy", "use", "default"],
        ];
        for args in commands {
            let output = world
                .assigner(&[args, &["--policy-set", setting]].concat())
                .refused(6);
            let said = &output.stderr;
            assert!(said.contains(name), "{args:?} {setting}: {said}");
        }
    }
    let output = world
        .assigner(&["run", "--policy-set", "when-no-match=perhaps"])
        .refused(6);
    for word in ["any", "wait"] {
        assert!(output.stderr.contains(word), "{}", output.stderr);
    }
    // In the policy's own words.
    let output = world
        .assigner(&["run", "--policy", "tiny", "--policy-set", "depth=1"])
        .refused(6);
    assert!(
        output.stderr.contains("it has no settings"),
        "{}",
        output.stderr
    );
    for setting in ["min-score", "", "=1"] {
        world.assigner(&["run", "--policy-set", setting]).refused(2);
    }

    configure(&world, "[policy.settings]\nwhen-no-match = \"perhaps\"\n");
    let output = world.assigner(&["run"]).refused(6);
    assert!(output.stderr.contains("when-no-match"), "{}", output.stderr);
    for wrong in ["time = \"soon\"", "memory = \"much\"", "log-lines = -1"] {
        configure(&world, &format!("[policy]\n{wrong}\n"));
        let output = world.assigner(&["run"]).refused(2);
        assert!(output.stderr.contains("config.toml"), "{}", output.stderr);
    }
}

// ---- Choosing

#[test]
fn a_choice_is_remembered_until_it_is_taken_back() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let bytes = wat_policies::healthy("tiny", "1.0.0");
    install(&world, "tiny", &bytes);
    install(&world, "other", &wat_policies::healthy("other", "1.0.0"));
    configure(&world, "[policy]\nuse = \"other\"\n");
    let runs = |args: &[&str]| {
        let daemon = world.daemon_with(args);
        let name = live(&world)["name"].as_str().map(str::to_owned);
        stop(daemon);
        name.expect("a name")
    };
    assert_eq!(runs(&[]), "other");
    let said = world.json(&["policy", "use", "tiny"]);
    assert_eq!(said["policy"]["name"], "tiny", "{said:#}");
    assert_eq!(said["policy"]["version"], "1.0.0", "{said:#}");
    assert_eq!(said["policy"]["sha256"], sha256(&bytes), "{said:#}");
    assert_eq!(said["live"], false, "{said:#}");
    assert_eq!(runs(&[]), "tiny");
    assert_eq!(runs(&["--policy", "default"]), "default");
    assert_eq!(runs(&[]), "tiny");
    world.assigner(&["policy", "use", "--reset"]).succeeded();
    assert_eq!(runs(&[]), "other");
    world.assigner(&["policy", "use"]).refused(2);
}

// ---- Limits

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

#[test]
fn the_limit_of_memory() {
    let hungry = Plan::first("hungry", &wat_policies::wanting(100)).component();
    fails("", "hungry", &hungry, "wanted more than 64 MiB of memory");
    let set = "memory = 64\n";
    fails(set, "hungry", &hungry, "wanted more than 64 MiB of memory");
    works("memory = 256\n", "hungry", &hungry);
    // A limit that is not set depends on the policy: a large one may use more.
    let large = wat_policies::padded(hungry, 600 * 1024);
    works("", "hungry", &large);
    fails(set, "hungry", &large, "wanted more than 64 MiB of memory");
}

/// No processor can count this far within the first limit, and hardly any needs the second.
#[test]
fn the_limit_of_time() {
    let slow = Plan::first("slow", &wat_policies::counting(300_000_000)).component();
    let brief = "time = \"10ms\"\n";
    fails(brief, "slow", &slow, "did not answer within 10 ms");
    works("time = \"25s\"\n", "slow", &slow);
}

/// Each level takes at least 16 bytes, and at most 200.
#[test]
fn the_limit_of_the_stack() {
    let deep = Plan::first("deep", &wat_policies::nesting(40_000)).component();
    fails("", "deep", &deep, "ran out of stack");
    fails("stack = 512\n", "deep", &deep, "ran out of stack");
    works("stack = 8192\n", "deep", &deep);
}

#[test]
fn the_limit_of_an_answer() {
    let wordy = Plan::answers("wordy", &wat_policies::wordy(16 * 1024)).component();
    let short = "answer = 1\n";
    fails(short, "wordy", &wordy, "stopped with an error");
    works("", "wordy", &wordy);
}

#[test]
fn the_limit_of_log_lines() {
    let drip = Plan {
        line: "drip",
        ..Plan::first("drip", &wat_policies::logging(60))
    }
    .component();
    let log = works("log-lines = 5\n", "drip", &drip);
    assert!(log.contains("drip 00000"), "{log}");
    assert!(log.contains("drip 00004"), "{log}");
    assert!(!log.contains("drip 00005"), "{log}");
    let log = works("log-lines = 100\n", "drip", &drip);
    assert!(log.contains("drip 00059"), "{log}");
}

#[test]
fn the_limits_of_loading() {
    let world = World::new();
    let endless = Plan {
        describe: "(loop $again (br $again)) (unreachable)",
        ..Plan::new("endless")
    };
    install(&world, "endless", &endless.component());
    configure(&world, "[policy]\nload-time = \"200ms\"\n");
    let output = world.assigner(&["run", "--policy", "endless"]).refused(6);
    assert!(output.stderr.contains("endless"), "{}", output.stderr);

    let big = wat_policies::padded(wat_policies::healthy("big", "1.0.0"), 2 * 1024 * 1024);
    install(&world, "big", &big);
    configure(&world, "[policy]\nfile-size = 1\n");
    for args in [
        &["run", "--policy", "big"][..],
        &["policy", "inspect", "big"],
    ] {
        let output = world.assigner(args).refused(6);
        assert!(output.stderr.contains("big"), "{}", output.stderr);
    }
    configure(&world, "[policy]\nfile-size = 3\n");
    let said = world.json(&["policy", "inspect", "big"]);
    assert_eq!(said["size"], big.len(), "{said:#}");
}

// ---- Harm

/// Returns the memory that a process uses, in KiB; `None` if the system does not say.
fn resident(pid: u32) -> Option<u64> {
    fs::read_to_string(format!("/proc/{pid}/status"))
        .ok()?
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?
        .trim()
        .strip_suffix(" kB")?
        .parse()
        .ok()
}

/// Sends what provokes a policy, and returns the tasks.
fn provoke(world: &World, round: Round) -> Vec<u64> {
    match round {
        Round::Task | Round::Busy => vec![world.shell("true")],
        Round::TwoTasks => vec![world.shell("true"), world.shell("true")],
        Round::Target => vec![world.shell_with(&["--target", "second"], "true")],
    }
}

#[test]
fn no_saboteur_stops_the_daemon() {
    let world = World::new();
    let first = world.session("first", Shell::Bash);
    world.session("second", Shell::Bash);
    let healthy = wat_policies::healthy("healthy", "1.0.0");
    install(&world, "healthy", &healthy);
    let all = wat_policies::all();
    for saboteur in &all {
        install(&world, saboteur.name, &saboteur.bytes);
    }
    let daemon = world.daemon_with(&["--policy", "healthy"]);
    let both_idle = || {
        world.session_is("first", "idle");
        world.session_is("second", "idle");
    };
    both_idle();
    assert_eq!(decider(&world.completed(world.shell("true"))), "healthy");
    let before = resident(daemon.pid());

    let (mut refused, mut used) = (0, 0);
    for saboteur in &all {
        let name = saboteur.name;
        both_idle();
        if let When::AtLoad(words) = saboteur.when {
            refused += 1;
            let was = live(&world);
            let output = world.assigner(&["policy", "use", name]).refused(6);
            assert!(output.stderr.contains(words), "{name}: {}", output.stderr);
            let policy = eventually(|| {
                let policy = live(&world);
                match policy["refused"].as_str() {
                    Some(line) if line.contains(words) => Ok(policy),
                    _ => Err(format!("{name}: refused without {words:?}: {policy:#}")),
                }
            });
            for field in ["name", "sha256", "failures"] {
                assert_eq!(policy[field], was[field], "{name}: {policy:#}");
            }
            let task = world.completed(world.shell("true"));
            assert_eq!(decider(&task), "healthy", "{name}: {task:#}");
            continue;
        }

        used += 1;
        let busy = matches!(saboteur.when, When::InARound(Round::Busy, _));
        if busy {
            first.line("cat");
            world.session_is("first", "busy");
        }
        let said = world.json(&["policy", "use", name]);
        assert_eq!(said["policy"]["name"], name, "{said:#}");
        assert_eq!(
            said["policy"]["sha256"],
            sha256(&saboteur.bytes),
            "{said:#}"
        );
        assert_eq!(said["live"], true, "{said:#}");
        let policy = live(&world);
        assert_eq!(policy["name"], name, "{policy:#}");
        assert_eq!(policy["refused"], Value::Null, "{policy:#}");

        match saboteur.when {
            When::AtLoad(_) => unreachable!("it was refused"),
            When::InARound(round, words) => {
                let ids = provoke(&world, round);
                let words = if name == "stray" {
                    format!("{words}{}, where there are 2", ids[0])
                } else {
                    words.to_owned()
                };
                for id in ids {
                    let task = world.completed(id);
                    assert_ne!(decider(&task), name, "{task:#}");
                    assert_eq!(task["attempts"].as_array().map(Vec::len), Some(1));
                }
                eventually(|| {
                    let policy = live(&world);
                    match policy["last_failure"].as_str() {
                        Some(line) if line.contains(&words) && line.lines().count() == 1 => Ok(()),
                        _ => Err(format!("{name}: no failure {words:?}: {policy:#}")),
                    }
                });
                let log = daemon.log();
                let beginning = format!("the policy `{name}");
                let lines: Vec<&str> = log
                    .lines()
                    .filter(|line| line.contains(&beginning) && line.contains(&words))
                    .collect();
                assert_eq!(lines.len(), 1, "{name}: {lines:#?}");
            }
            When::Harmless => {
                let id = world.shell("true");
                let task = world.completed(id);
                assert_eq!(decider(&task), name, "{task:#}");
                let policy = live(&world);
                assert_eq!(policy["failures"], 0, "{name}: {policy:#}");
                assert_eq!(policy["last_failure"], Value::Null, "{name}: {policy:#}");
                let id = id.to_string();
                for args in [&["show", &id][..], &["explain", &id], &["status"]] {
                    is_plain(&world.assigner(args).succeeded().text());
                }
            }
        }
        if busy {
            first.keys(&["C-c"]);
        }
    }

    world.assigner(&["policy", "use", "healthy"]).succeeded();
    both_idle();
    assert_eq!(decider(&world.completed(world.shell("true"))), "healthy");
    // Nothing is left of the harmful policies: neither their memory nor their compiled code.
    if let Some(before) = before {
        eventually(|| match resident(daemon.pid()) {
            Some(now) if now <= before + 48 * 1024 => Ok(()),
            now => Err(format!("{now:?} KiB, and {before} KiB before")),
        });
    }
    let log = daemon.log();
    assert_calm(&log);
    is_plain(&log);
    assert!(log.contains("flood 00000"), "{log}");
    assert!(!log.contains("flood 04999"), "the flood was let through");

    let rows = world.json(&["policy", "history"]);
    let count = |outcome: &str| {
        rows.as_array()
            .expect("rows")
            .iter()
            .filter(|row| row["cause"] == "use" && row["outcome"] == outcome)
            .count()
    };
    assert_eq!(count("refused"), refused, "{rows:#}");
    assert_eq!(count("live"), used + 1, "{rows:#}");
}

#[test]
fn the_last_policy_that_worked_stands_in() {
    let world = World::new();
    world.session("one", Shell::Bash);
    install(
        &world,
        "healthy",
        &wat_policies::healthy("healthy", "1.0.0"),
    );
    install(
        &world,
        "trap",
        &Plan::first("trap", "(unreachable)").component(),
    );
    let _daemon = world.daemon_with(&["--policy", "healthy"]);
    world.session_is("one", "idle");
    assert_eq!(decider(&world.completed(world.shell("true"))), "healthy");
    world.assigner(&["policy", "use", "trap"]).succeeded();
    let task = world.completed(world.shell("true"));
    assert_eq!(decider(&task), "healthy", "{task:#}");
    // Tasks continue while it is skipped, and whenever it is tried again.
    for _ in 0..3 {
        let task = world.completed(world.shell("true"));
        assert_eq!(decider(&task), "healthy", "{task:#}");
    }
    let policy = live(&world);
    assert_eq!(policy["name"], "trap", "{policy:#}");
    assert!(
        policy["failures"].as_u64().is_some_and(|count| count >= 1),
        "{policy:#}"
    );
}

/// If no policy worked before, the embedded one decides, from the first task on.
#[test]
fn a_saboteur_from_the_start() {
    let trap = Plan::first("trap", "(unreachable)").component();
    fails("", "trap", &trap, "stopped with an error");
}

#[test]
fn what_a_policy_writes_cannot_move_a_terminal() {
    let world = World::new();
    world.session("one", Shell::Bash);
    install(&world, "escape", &wat_policies::control("escape", false));
    for command in ["inspect", "check"] {
        is_plain(&slowly(&world, &["policy", command, "escape"]).text());
    }
    is_plain(&world.assigner(&["policy", "list"]).succeeded().text());

    let daemon = world.daemon_with(&["--policy", "escape"]);
    world.session_is("one", "idle");
    let id = world.shell("true");
    let reason = world.reason(id);
    assert!(reason.contains("red"), "{reason}");
    let task = id.to_string();
    let commands = [
        &["explain", &task][..],
        &["show", &task],
        &["history", &task],
        &["list"],
        &["status"],
        &["policy", "history"],
    ];
    for args in commands {
        is_plain(&world.assigner(args).succeeded().text());
    }
    is_plain(&daemon.log());
    stays(|| world.show(id)["status"] == "pending");
    world.assigner(&["policy", "use", "default"]).succeeded();
    world.completed(id);
}

// ---- The cache

/// The directory of compiled policies.
fn compiled(world: &World) -> PathBuf {
    world.path("home/.cache/assigner/compiled")
}

/// Starts a daemon with a policy, and returns what `status` says about it, and the daemon's log
/// after it has run a task.
fn started(world: &World, name: &str) -> (Value, String) {
    let daemon = world.daemon_with(&["--policy", name]);
    world.session_is("one", "idle");
    let task = world.completed(world.shell("true"));
    assert_eq!(decider(&task), name, "{task:#}");
    let policy = live(world);
    let log = daemon.log();
    stop(daemon);
    (policy, log)
}

#[test]
fn a_compiled_policy_is_kept() {
    let world = World::new();
    world.session("one", Shell::Bash);
    install(&world, "tiny", &wat_policies::healthy("tiny", "1.0.0"));
    let (policy, _) = started(&world, "tiny");
    assert_eq!(policy["cached"], false, "{policy:#}");
    assert!(policy["load_ms"].as_f64().is_some_and(|took| took > 0.0));
    let mode = fs::metadata(compiled(&world))
        .expect("a cache")
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o700);
    let (policy, _) = started(&world, "tiny");
    assert_eq!(policy["cached"], true, "{policy:#}");
    let said = world.json(&["policy", "inspect", "tiny"]);
    assert_eq!(said["cached"], true, "{said:#}");

    // Another file is another policy, even with the same name.
    install(&world, "tiny", &wat_policies::healthy("tiny", "2.0.0"));
    let (policy, _) = started(&world, "tiny");
    assert_eq!(policy["cached"], false, "{policy:#}");
    assert_eq!(policy["version"], "2.0.0", "{policy:#}");

    // Damaged entries of the cache are compiled again.
    let kept = files(&compiled(&world));
    assert!(!kept.is_empty());
    for file in &kept {
        fs::write(compiled(&world).join(file), b"\x7fELF this is none").expect("a file");
    }
    let (policy, _) = started(&world, "tiny");
    assert_eq!(policy["cached"], false, "{policy:#}");
    assert_eq!(policy["failures"], 0, "{policy:#}");
    // Without a place for the cache, everything still works.
    fs::remove_dir_all(world.path("home/.cache")).expect("a directory");
    File::create(world.path("home/.cache")).expect("a file in the way");
    let (policy, _) = started(&world, "tiny");
    assert_eq!(policy["cached"], false, "{policy:#}");
}

#[test]
fn a_cache_that_others_can_write_is_not_used() {
    let world = World::new();
    world.session("one", Shell::Bash);
    install(&world, "tiny", &wat_policies::healthy("tiny", "1.0.0"));
    let (_, log) = started(&world, "tiny");
    let warned = |log: &str| {
        log.lines()
            .any(|line| line.contains("WARN") && line.contains("assigner/compiled"))
    };
    assert!(!warned(&log), "{log}");
    let kept = files(&compiled(&world));
    for mode in [0o777, 0o770] {
        fs::set_permissions(compiled(&world), fs::Permissions::from_mode(mode)).expect("a mode");
        let (policy, log) = started(&world, "tiny");
        assert_eq!(policy["cached"], false, "{mode:o}: {policy:#}");
        assert!(warned(&log), "{mode:o}: {log}");
        // Nothing is written there either, and its mode is its owner's business.
        install(&world, "other", &wat_policies::healthy("other", "1.0.0"));
        started(&world, "other");
        assert_eq!(files(&compiled(&world)), kept, "{mode:o}");
    }
    fs::set_permissions(compiled(&world), fs::Permissions::from_mode(0o700)).expect("a mode");
    let (policy, log) = started(&world, "tiny");
    assert_eq!(policy["cached"], true, "{policy:#}");
    assert!(!warned(&log), "{log}");
}
