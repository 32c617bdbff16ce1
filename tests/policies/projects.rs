//! Projects of policies in every language: made, built, and checked; and the examples.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{
    LANGUAGES, UNHURRIED, build, decider, files, is_sound, live, manifest, patiently, project,
    sha256, slowly, source, was_built, with_tools,
};
use crate::harness::setup::configure;
use crate::harness::{Shell, World, assert_calm, finish, root, text};
use crate::wat_policies::CONTRACT;
use assigner_needs::needs;

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
    if language == "rust" {
        // Messages of panics name files, and none of them says where it was built.
        let held = String::from_utf8_lossy(&bytes).into_owned();
        assert!(held.contains("/crates/") && held.contains("sdk/src/"));
        let home = std::env::home_dir().expect("a home");
        for place in [text(&home.join(".cargo")), text(&dir)] {
            assert!(!held.contains(&place), "it holds {place}");
        }
    }

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

/// Returns the release profile of new projects in Rust, as variables for cargo.
fn profile_of_projects() -> Vec<(String, String)> {
    let template = include_str!("../../policies/templates/rust/Cargo.toml.in");
    let (_, profile) = template.split_once("[profile.release]\n").expect("one");
    let settings: toml::Table = profile.parse().expect("TOML");
    let variable = |name: &str| {
        format!(
            "CARGO_PROFILE_RELEASE_{}",
            name.to_uppercase().replace('-', "_")
        )
    };
    let plain = |value: &toml::Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    settings
        .iter()
        .map(|(name, value)| (variable(name), plain(value)))
        .collect()
}

/// Builds a copy of an example, and runs its own cases.
fn example(name: &str, language: &str) {
    let world = World::new();
    configure(&world, &format!("[policy]\n{UNHURRIED}"));
    let theirs = root().join("examples/policies").join(name);
    let file = world.path("work").join(format!("{name}.wasm"));
    let built = if language == "rust" {
        // It is a member of the workspace and builds only there. With the profile of a project of
        // its own, the standard library and the bindings are those that other tests have built.
        let mut command = with_tools(&world);
        command.envs(profile_of_projects());
        command.args(["--json", "policy", "build"]).arg(&theirs);
        patiently(command.args(["-o", &text(&file)]))
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
