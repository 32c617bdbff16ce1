//! The bindings against which a policy in C or Zig is compiled, generated in process:
//! `gen/policy.h`, `gen/policy.c`, and an object that contains the contract.

use std::fs;
use std::path::{Path, PathBuf};

use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::Resolve;

use super::{LARGEST, Project, ToolchainError, WIT};
use crate::files::named;

/// Writes the bindings, and returns their directory.
pub(super) fn write(project: &Project) -> Result<PathBuf, ToolchainError> {
    let directory = project.directory.join("gen");
    fs::create_dir_all(&directory).map_err(ToolchainError::file(&directory))?;
    let own = project.directory.join("wit/policy.wit");
    let wit = match named::text(&own, LARGEST) {
        Ok(wit) => wit,
        Err(error) if error.is_missing() => WIT.to_owned(),
        Err(error) => return Err(ToolchainError::file(&own)(error.into())),
    };
    let files = generate(&own, &wit)?;
    for (name, bytes) in files.iter() {
        let path = directory.join(name);
        // An unchanged file is left alone, because editors and build tools look at times.
        if fs::read(&path).ok().as_deref() != Some(bytes) {
            fs::write(&path, bytes).map_err(ToolchainError::file(&path))?;
        }
    }
    Ok(directory)
}

fn generate(path: &Path, wit: &str) -> Result<Files, ToolchainError> {
    let wrong = |error: &dyn std::fmt::Display| ToolchainError::Manifest {
        path: path.to_owned(),
        what: format!("the contract cannot be read: {error}").replace('\n', " "),
    };
    let mut resolve = Resolve::default();
    let package = resolve
        .push_str("policy.wit", wit)
        .map_err(|error| wrong(&format!("{error:#}")))?;
    let world = resolve
        .select_world(&[package], Some("policy"))
        .map_err(|error| wrong(&format!("{error:#}")))?;
    let mut files = Files::default();
    wit_bindgen_c::Opts::default()
        .build()
        .generate(&mut resolve, world, &mut files)
        .map_err(|error| wrong(&format!("{error:#}")))?;
    Ok(files)
}
