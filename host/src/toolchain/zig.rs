//! Zig: it brings its own libc, and a compiler for C.

use std::ffi::OsString;
use std::path::Path;

use super::tools::{Tool, run};
use super::{Project, ToolchainError, bindings, read};

/// Finds zig, as a program or as the Python package that contains it.
pub(super) fn find() -> Option<Tool> {
    Tool::find("zig").or_else(|| {
        let python = Tool::find("python3")?.with(&["-m", "ziglang"]);
        python.asked(&["version"]).map(|_| python)
    })
}

/// Builds a core module with embedded WIT.
pub(super) fn build(project: &Project, scratch: &Path) -> Result<Vec<u8>, ToolchainError> {
    let zig = find().ok_or(ToolchainError::Missing {
        needed: "zig",
        how: "`pip install ziglang`, `brew install zig`, or see https://ziglang.org/download",
    })?;
    let generated = bindings::write(project)?;
    let output = scratch.join("policy.wasm");
    let mut binary = OsString::from("-femit-bin=");
    binary.push(&output);
    let mut command = zig.command();
    // With safety checks: a bad index then stops the policy with a message instead of doing harm.
    command
        .arg("build-exe")
        .arg(project.source())
        .arg(generated.join("policy_component_type.o"))
        .args(["-target", "wasm32-freestanding", "-fno-entry", "-rdynamic"])
        .args(["-O", "ReleaseSafe", "-fstrip", "--name", "policy"])
        .arg(binary)
        .arg("--cache-dir")
        .arg(scratch.join("cache"));
    run(&mut command)?;
    read(&output)
}
