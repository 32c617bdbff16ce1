//! Says which files outside of the package are in the binary (the templates of policies, and the crate for
//! their authors), and of which commit it is.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

fn main() {
    for directory in ["templates", "sdk"] {
        println!("cargo::rerun-if-changed=assets/{directory}");
    }
    let of = |name| env::var(name).unwrap_or_default();
    let commit = packaged()
        .or_else(cloned)
        .map(|commit| format!(" ({commit})"));
    let version = of("CARGO_PKG_VERSION") + &commit.unwrap_or_default();
    println!("cargo::rustc-env=ASSIGNER_VERSION={version}");
    let build = format!("{version}, {}, {}", of("TARGET"), of("PROFILE"));
    println!("cargo::rustc-env=ASSIGNER_BUILD={build}");
}

/// The commit of a package, as cargo has written it down.
fn packaged() -> Option<String> {
    let text = fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, rest) = text.split_once("\"sha1\"")?;
    let commit = rest.split('"').nth(1)?;
    Some(commit.chars().take(9).collect())
}

/// The commit of a clone. A repository further up is somebody else's.
fn cloned() -> Option<String> {
    if !Path::new("../.git").exists() {
        return None;
    }
    for path in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", path])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=9", "HEAD"])
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
