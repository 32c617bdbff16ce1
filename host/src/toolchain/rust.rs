//! Rust: cargo, for `wasm32-unknown-unknown`, with rustup's target or with a standard library that
//! is built on the spot from Debian's sources.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::tools::{Tool, captured};
use super::{Project, ToolchainError, read};

const TARGET: &str = "wasm32-unknown-unknown";

/// A line of `cargo rustc --message-format json`.
#[derive(Deserialize)]
struct CargoMessage {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

/// Builds a core module with embedded WIT.
pub(super) fn build(project: &Project) -> Result<Vec<u8>, ToolchainError> {
    let cargo = Tool::find("cargo").ok_or(ToolchainError::Missing {
        needed: "cargo",
        how: "see https://rustup.rs",
    })?;
    let mut command = cargo.command();
    command
        .current_dir(&project.directory)
        .args(["rustc", "--release", "--lib", "--target", TARGET])
        // A crate that is an `rlib`, too, would have its dependencies compiled for both.
        .args(["--crate-type", "cdylib"])
        .arg("--message-format=json-render-diagnostics");
    // Flags for the usual target do not suit this one; flags that name this target stay.
    command
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    let sources = prepare(&mut command, &project.directory)?;
    for option in remappings(sources.as_deref()) {
        command.arg("--config").arg(option);
    }
    let messages = captured(&mut command)?;
    let manifest = project.directory.join("Cargo.toml").canonicalize();
    let manifest = manifest.map_err(ToolchainError::file(&project.directory))?;
    let file = built(&messages, &manifest).ok_or_else(|| ToolchainError::Odd {
        tool: "cargo",
        why: "it says of no module that it was built from this crate".to_owned(),
    })?;
    read(&file)
}

/// Returns the module that, according to cargo, was built from this crate.
fn built(messages: &[u8], manifest: &Path) -> Option<PathBuf> {
    messages
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<CargoMessage>(line).ok())
        .filter(|message| message.reason == "compiler-artifact")
        .filter(|message| message.manifest_path == manifest)
        .flat_map(|message| message.filenames)
        .find(|file| {
            file.extension()
                .is_some_and(|extension| extension == "wasm")
        })
}

/// Returns configuration of cargo that gives the sources of dependencies and of the standard library
/// names of their own. Messages of panics name files: without this, a component would tell where its
/// author works, and would differ from one machine to the next.
fn remappings(sources: Option<&Path>) -> Vec<String> {
    let registries = cargo_home().map(|home| home.join("registry/src"));
    let registries = registries.and_then(|sources| std::fs::read_dir(sources).ok());
    let mut registries: Vec<PathBuf> = registries
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    registries.sort();
    // Debian's sources are reached through a link.
    let real = sources.and_then(|sources| sources.canonicalize().ok());
    let sources = real.into_iter().chain(sources.map(Path::to_owned));
    let from = sources.map(|from| (from, "/rust"));
    let from = from.chain(registries.into_iter().map(|from| (from, "/crates")));
    from.filter_map(|(from, to)| {
        let flag = toml::Value::from(format!("--remap-path-prefix={}={to}", from.to_str()?));
        Some(format!("target.{TARGET}.rustflags=[{flag}]"))
    })
    .collect()
}

/// Returns the directory in which cargo keeps what it has fetched.
fn cargo_home() -> Option<PathBuf> {
    let named = std::env::var_os("CARGO_HOME").filter(|home| !home.is_empty());
    named
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".cargo")))
}

/// Chooses the compiler: the usual one if it has the target, otherwise Debian's. Returns the sources
/// from which the latter builds its standard library.
fn prepare(command: &mut Command, directory: &Path) -> Result<Option<PathBuf>, ToolchainError> {
    let usual = match std::env::var_os("RUSTC") {
        Some(rustc) => Some(Tool::at(rustc)),
        None => Tool::find("rustc"),
    };
    // Asked in the project, which may name its own toolchain.
    let query = ["--print", "target-libdir", "--target", TARGET];
    let libraries = usual.and_then(|rustc| rustc.asked_in(directory, &query));
    if libraries.is_some_and(|directory| Path::new(&directory).is_dir()) {
        return Ok(None);
    }
    let missing = ToolchainError::Missing {
        needed: "the target wasm32-unknown-unknown of Rust",
        how: "`rustup target add wasm32-unknown-unknown`, or on Debian \
              `apt-get install rustc-web rust-web-src lld-19`",
    };
    let debian = Tool::at("/usr/bin/rustc");
    let sources = debian
        .asked(&["--print", "sysroot"])
        .map(|root| Path::new(&root).join("lib/rustlib/src/rust"));
    let linker = (14..=30)
        .rev()
        .find_map(|version| Tool::find(&format!("wasm-ld-{version}")));
    match (sources, linker) {
        (Some(sources), Some(linker)) if sources.join("library").is_dir() => {
            command
                .arg("-Zbuild-std=std,panic_abort")
                .env("RUSTC", debian.program())
                .env("RUSTC_BOOTSTRAP", "1")
                .env(
                    "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER",
                    linker.program(),
                );
            Ok(Some(sources))
        }
        _ => Err(missing),
    }
}
