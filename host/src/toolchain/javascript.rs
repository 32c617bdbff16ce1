//! JavaScript: componentize-qjs puts QuickJS and the policy into one component.

use std::path::{Path, PathBuf};

use super::tools::{Tool, run};
use super::{Project, ToolchainError, read, wit_directory};

/// Builds a component.
pub(super) fn build(project: &Project, scratch: &Path) -> Result<Vec<u8>, ToolchainError> {
    let tool = find(&project.directory).ok_or(ToolchainError::Missing {
        needed: "componentize-qjs",
        how: "`npm install componentize-qjs` in the project or above it, or with -g (it needs \
              Node.js)",
    })?;
    let output = scratch.join("policy.wasm");
    let mut command = tool.command();
    command
        .args(["--sync", "--wit"])
        .arg(wit_directory(project, scratch)?)
        .arg("--js")
        .arg(project.source())
        .args(["--world", "policy", "--output"])
        .arg(&output);
    run(&mut command)?;
    read(&output)
}

/// Finds the tool in PATH, or installed for the project or for one around it.
fn find(directory: &Path) -> Option<Tool> {
    Tool::find("componentize-qjs").or_else(|| {
        let directory = directory.canonicalize().ok()?;
        let programs = directory
            .ancestors()
            .map(|place| place.join("node_modules/.bin/componentize-qjs"));
        let found: Option<PathBuf> = programs.into_iter().find(|program| program.is_file());
        found.map(Tool::at)
    })
}
