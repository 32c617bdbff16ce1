//! The version of a program, as far as its files tell it. The program itself is never run.
//!
//! ```text
//! ~/.local/share/claude/versions/2.1.332                       the file's own name
//! lib/node_modules/@openai/codex/bin/codex.js -> package.json  of the package that the file is in
//! ```

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use semver::Version;
use serde::Deserialize;

/// The parent directories that are searched for a package's description.
const HIGHEST: usize = 5;
/// The largest description that is read, in bytes.
const LARGEST: u64 = 1 << 20;
/// The words of a command line that may name a script.
const MOST_WORDS: usize = 4;
/// Programs that run scripts: the files around them tell their own version and not that of the script.
const INTERPRETERS: [&str; 5] = ["node", "bun", "deno", "python", "python3"];

/// The fields of a package's description that are used.
#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
}

/// Returns the version of the program that a process runs: of its script, if one of its `words` names
/// one, otherwise of its `executable`. `None` if nothing tells it.
///
/// Reads files, which may take as long as their file system does.
pub fn version(executable: Option<&Path>, words: &[String]) -> Option<String> {
    let interprets = executable.is_none_or(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_none_or(|name| INTERPRETERS.contains(&name))
    });
    let words = words.iter().take(MOST_WORDS).map(Path::new);
    let scripts = words.filter(|word| interprets && word.is_absolute());
    let executable = executable.filter(|_| !interprets);
    scripts
        .chain(executable)
        .filter_map(|path| fs::canonicalize(path).ok())
        .filter(|path| path.is_file())
        .find_map(|path| of_file(&path))
}

fn of_file(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let is_versioned = path
        .parent()
        .and_then(Path::file_name)
        .is_some_and(|parent| parent == "versions");
    if is_versioned && Version::parse(name).is_ok() {
        return Some(name.to_owned());
    }
    path.ancestors()
        .skip(1)
        .take(HIGHEST)
        .find_map(|directory| package(directory.join("package.json")))
}

/// Reads a package's description. One without a name only says how its files are to be read.
fn package(path: PathBuf) -> Option<String> {
    // To open a pipe would wait for somebody who writes into it.
    if !fs::metadata(&path).ok()?.is_file() {
        return None;
    }
    let file = File::open(path).ok()?;
    let mut text = Vec::new();
    file.take(LARGEST).read_to_end(&mut text).ok()?;
    of_description(&text)
}

/// Returns the version that a package's description tells.
pub(super) fn of_description(text: &[u8]) -> Option<String> {
    let package: Package = serde_json::from_slice(text).ok()?;
    let is_plain = package.version.len() <= 64 && Version::parse(&package.version).is_ok();
    (!package.name.is_empty() && is_plain).then_some(package.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    fn words(path: &Path) -> Vec<String> {
        vec!["node".to_owned(), path.to_str().expect("text").to_owned()]
    }

    #[test]
    fn a_script_has_the_version_of_its_package() {
        let directory = tempfile::tempdir().expect("a directory");
        let package = directory.path().join("node_modules/@x/agent");
        write(
            &package.join("package.json"),
            r#"{"name": "@x/agent", "version": "1.2.3"}"#,
        );
        // This one only says how the files beside it are to be read.
        write(&package.join("dist/package.json"), r#"{"type": "module"}"#);
        let script = package.join("dist/bin/agent.js");
        write(&script, "");
        let link = directory.path().join("agent");
        std::os::unix::fs::symlink(&script, &link).expect("a link");
        for path in [&script, &link] {
            let node = Path::new("/usr/bin/node");
            assert_eq!(version(Some(node), &words(path)).as_deref(), Some("1.2.3"));
            assert_eq!(version(Some(path), &[]).as_deref(), Some("1.2.3"));
        }
    }

    #[test]
    fn a_file_may_be_named_by_its_version() {
        let directory = tempfile::tempdir().expect("a directory");
        let program = directory.path().join("agent/versions/2.1.332");
        write(&program, "");
        assert_eq!(version(Some(&program), &[]).as_deref(), Some("2.1.332"));
        let other = directory.path().join("agent/versions/latest");
        write(&other, "");
        assert_eq!(version(Some(&other), &[]), None);
    }

    #[test]
    fn what_tells_nothing_has_no_version() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        write(
            &path("package.json"),
            r#"{"name": "manager", "version": "0.39.7"}"#,
        );
        write(&path("bin/node"), "");
        // What is around an interpreter is not about its script.
        assert_eq!(version(Some(&path("bin/node")), &[]), None);
        assert_eq!(
            version(Some(&path("nothing")), &words(&path("nothing"))),
            None
        );
        assert_eq!(version(None, &["relative".to_owned()]), None);
        for text in [
            "",
            "[]",
            r#"{"name": "x", "version": "latest"}"#,
            r#"{"name": "x", "version": "1\u001b[31m"}"#,
            r#"{"name": 1, "version": 2}"#,
        ] {
            write(&path("a/package.json"), text);
            write(&path("a/b/c/d/e/f"), "");
            let found = version(Some(&path("a/b/c/d/e/f")), &[]);
            assert_eq!(found, None, "{text}");
        }
    }
}
