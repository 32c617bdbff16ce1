//! The import directions that `host/ARCHITECTURE.md` states, and that each type has a name of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::harness::root;

/// What each module of the crate may import from it; `model` may import nothing.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("files", &[]),
    ("store", &["files", "model"]),
    ("tmux", &["files", "model"]),
    ("probe", &["model"]),
    ("policy", &["files", "model"]),
    ("agents", &["files", "model"]),
    (
        "node",
        &["store", "tmux", "probe", "agents", "files", "model"],
    ),
    ("options", &["store", "model"]),
    ("matcher", &["options", "store", "policy", "model"]),
    (
        "simulation",
        &["matcher", "node", "store", "tmux", "agents", "model"],
    ),
    (
        "config",
        &["files", "matcher", "node", "policy", "tmux", "model"],
    ),
    (
        "daemon",
        &[
            "config", "matcher", "node", "store", "tmux", "probe", "agents", "policy", "files",
            "model",
        ],
    ),
    ("toolchain", &["files"]),
    (
        "client",
        &[
            "options", "matcher", "node", "store", "probe", "agents", "policy", "model",
        ],
    ),
    (
        "cli",
        &[
            "daemon",
            "config",
            "options",
            "matcher",
            "node",
            "store",
            "tmux",
            "probe",
            "agents",
            "policy",
            "toolchain",
            "files",
            "model",
        ],
    ),
];

/// Files that use a library outside its module, each for a reason.
const EXCEPTIONS: [(&str, &str); 2] = [
    // The database of another program, which is only read.
    ("rusqlite", "agents/transcript/opencode.rs"),
    ("rusqlite", "agents/transcript/opencode/tests.rs"),
];

/// Crates that only one module may name.
const KEPT_INSIDE: &[(&str, &str)] = &[("wasmtime", "policy"), ("rusqlite", "store")];

fn sources(module: &str) -> Vec<(PathBuf, String)> {
    let root = root().join("host/src");
    let files = below(vec![root.join(module), root.join(format!("{module}.rs"))]);
    assert!(!files.is_empty(), "there is no module {module}");
    files
}

/// Returns the files at these places and below them, with their texts.
fn below(mut places: Vec<PathBuf>) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    while let Some(place) = places.pop() {
        if place.is_dir() {
            let entries = fs::read_dir(&place).expect("a readable directory");
            places.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else if place.is_file() {
            let text = fs::read_to_string(&place).expect("a source file");
            files.push((place, text));
        }
    }
    files
}

/// Returns the modules of the crate that `text` names.
fn imports(text: &str) -> impl Iterator<Item = &str> {
    text.split("crate::").skip(1).map(|rest| {
        let end = rest
            .find(|character: char| !character.is_alphanumeric() && character != '_')
            .unwrap_or(rest.len());
        &rest[..end]
    })
}

#[test]
fn imports_go_down_only() {
    for (module, allowed) in MAY_IMPORT {
        for (path, text) in sources(module) {
            for import in imports(&text) {
                assert!(
                    import == *module || allowed.contains(&import),
                    "{} imports `{import}`, and {module} may import {allowed:?}",
                    path.display()
                );
            }
        }
    }
}

/// What the machines of attempts must not name: they decide, and neither act nor wait.
const IMPURE: &[&str] = &[
    "async ",
    ".await",
    "tokio",
    "std::fs",
    "std::process",
    "Instant",
    "SystemTime",
    "Timestamp::now",
    "probe::run",
    "probe::is_alive",
    "probe::directory",
    "tracing",
];

#[test]
fn machines_of_attempts_are_pure() {
    let root = root().join("host/src/node/attempt");
    let machines = [
        "describe.rs",
        "job.rs",
        "turn.rs",
        "turn/giving.rs",
        "turn/running.rs",
        "turn/ending.rs",
    ];
    for machine in machines {
        let text = fs::read_to_string(root.join(machine)).expect("a source file");
        let code = text.split("#[cfg(test)]\nmod tests {").next();
        for line in code.unwrap_or_default().lines() {
            let line = line.split("//").next().unwrap_or_default();
            for word in IMPURE {
                assert!(!line.contains(word), "{machine} names `{word}`: {line}");
            }
        }
    }
}

#[test]
fn big_libraries_stay_inside_one_module() {
    for (library, home) in KEPT_INSIDE {
        for (module, _) in MAY_IMPORT.iter().filter(|(module, _)| module != home) {
            for (path, text) in sources(module) {
                let is_exception = EXCEPTIONS
                    .iter()
                    .any(|(other, file)| other == library && path.ends_with(file));
                assert!(
                    is_exception || !text.contains(&format!("{library}::")),
                    "{} names {library}, which belongs in {home}",
                    path.display()
                );
            }
        }
    }
}

/// Every subcommand has its `Args`.
const MANY: &str = "Args";

/// Returns the name of the type or trait that this line begins to define, if it does.
fn defined(line: &str) -> Option<&str> {
    let mut words = line
        .split("//")
        .next()?
        .split(|character: char| !character.is_alphanumeric() && !"_()".contains(character))
        .filter(|word| !word.is_empty())
        .skip_while(|word| word.starts_with("pub"));
    let keyword = words.next()?;
    let is_definition = ["struct", "enum", "union", "trait", "type"].contains(&keyword);
    let name = words.next().filter(|_| is_definition)?;
    let name = name.split('(').next()?;
    name.starts_with(char::is_uppercase).then_some(name)
}

/// Returns whether the block around the last of these lines is that of an `impl` or a trait.
fn is_associated(lines: &[&str]) -> bool {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let Some((last, before)) = lines.split_last() else {
        return false;
    };
    let opener = before.iter().rev().find(|line| {
        indent(line) < indent(last)
            && line.trim_start().starts_with(char::is_alphabetic)
            && line.trim() != "where"
    });
    opener.is_some_and(|line| line.trim_start().starts_with("impl") || line.contains("trait "))
}

#[test]
fn each_type_has_a_name_of_its_own() {
    let root = root().join("host/src");
    let mut names = BTreeMap::<String, Vec<String>>::new();
    for (path, text) in below(vec![root.clone()]) {
        let file = path.strip_prefix(&root).expect("a path below the root");
        let lines = text.lines().collect::<Vec<_>>();
        for (index, line) in lines.iter().enumerate() {
            let Some(name) = defined(line).filter(|name| *name != MANY) else {
                continue;
            };
            if !is_associated(&lines[..=index]) {
                let place = format!("{}:{}", file.display(), index + 1);
                names.entry(name.to_owned()).or_default().push(place);
            }
        }
    }
    assert!(names.contains_key("Task"), "the definitions are found");
    names.retain(|_, places| places.len() > 1);
    assert!(names.is_empty(), "names of several types: {names:#?}");
}
