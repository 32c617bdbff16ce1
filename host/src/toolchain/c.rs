//! C: clang with wasi-libc, or zig, which brings both.

use std::path::{Path, PathBuf};

use super::tools::{Tool, run};
use super::{Project, ToolchainError, bindings, read, zig};

/// Where wasi-libc may be installed: Debian, Homebrew on both kinds of Mac, Arch.
const SYSROOTS: [(&str, &str); 4] = [
    ("/usr", "include/wasm32-wasi"),
    ("/opt/homebrew/share/wasi-sysroot", "include"),
    ("/usr/local/share/wasi-sysroot", "include"),
    ("/usr/share/wasi-sysroot", "include"),
];

/// The versions of clang that Debian and others install under a numbered name.
const VERSIONS: std::ops::RangeInclusive<u32> = 14..=30;

/// Builds a core module with embedded WIT.
pub(super) fn build(project: &Project, scratch: &Path) -> Result<Vec<u8>, ToolchainError> {
    let compiler = compiler()?;
    let generated = bindings::write(project)?;
    let output = scratch.join("policy.wasm");
    let mut command = compiler.command();
    command
        .args([
            "-mexec-model=reactor",
            "-O2",
            "-Wall",
            "-Wl,--strip-debug",
            "-I",
        ])
        .arg(&generated)
        .arg("-o")
        .arg(&output)
        .arg(project.source())
        .arg(generated.join("policy.c"))
        .arg(generated.join("policy_component_type.o"));
    run(&mut command)?;
    read(&output)
}

fn compiler() -> Result<Tool, ToolchainError> {
    if let Some(sdk) = std::env::var_os("WASI_SDK_PATH") {
        let clang = PathBuf::from(sdk).join("bin/clang");
        if clang.is_file() {
            return Ok(Tool::at(clang).with(&["--target=wasm32-wasi"]));
        }
    }
    let names = VERSIONS.rev().map(|version| format!("clang-{version}"));
    let clangs = std::iter::once("clang".to_owned()).chain(names);
    let sysroot = SYSROOTS
        .iter()
        .find(|(root, headers)| Path::new(root).join(headers).is_dir());
    if let Some((root, _)) = sysroot {
        let sysroot = format!("--sysroot={root}");
        let mut usable = clangs
            .filter_map(|name| Tool::find(&name))
            .map(|tool| tool.with(&["--target=wasm32-wasi", &sysroot]))
            .filter(has_runtime);
        if let Some(clang) = usable.next() {
            return Ok(clang);
        }
    }
    zig::find()
        .map(|zig| zig.with(&["cc", "--target=wasm32-wasi"]))
        .ok_or(ToolchainError::Missing {
            needed: "clang with wasi-libc (or zig)",
            how: "`apt-get install clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32`, or set \
                  WASI_SDK_PATH to a wasi-sdk, or `pip install ziglang`",
        })
}

/// Returns whether this clang has the runtime library for WebAssembly, and the linker: each version
/// brings its own.
fn has_runtime(clang: &Tool) -> bool {
    let runtime = clang.asked(&["--print-libgcc-file-name"]);
    let linker = clang.asked(&["--print-prog-name=wasm-ld"]);
    let numbered = linker
        .as_ref()
        .is_some_and(|linker| Path::new(linker).is_file());
    runtime.is_some_and(|path| Path::new(&path).is_file())
        && (numbered || Tool::find("wasm-ld").is_some())
}
