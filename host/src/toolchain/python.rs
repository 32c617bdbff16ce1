//! Python: componentize-py puts the interpreter and the policy into one component.

use std::path::{Path, PathBuf};

use super::tools::{Tool, run};
use super::{Project, ToolchainError, read, wit_directory};

/// Builds a component.
pub(super) fn build(project: &Project, scratch: &Path) -> Result<Vec<u8>, ToolchainError> {
    let tool = find().ok_or(ToolchainError::Missing {
        needed: "componentize-py",
        how: "`pip install componentize-py`, in a virtual environment or where PATH finds it",
    })?;
    let source = project.source();
    let module = source.file_stem().unwrap_or_default();
    let output = scratch.join("policy.wasm");
    let mut command = tool.command();
    command
        .arg("-d")
        .arg(wit_directory(project, scratch)?)
        .args(["-w", "policy", "componentize", "--stub-wasi", "-p"])
        .arg(source.parent().unwrap_or(&project.directory))
        .arg(module)
        .arg("-o")
        .arg(&output);
    run(&mut command)?;
    read(&output)
}

fn find() -> Option<Tool> {
    Tool::find("componentize-py").or_else(|| {
        let environment = PathBuf::from(std::env::var_os("VIRTUAL_ENV")?);
        let program = environment.join("bin/componentize-py");
        program.is_file().then(|| Tool::at(program))
    })
}
