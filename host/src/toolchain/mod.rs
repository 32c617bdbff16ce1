//! Policy projects: written from a template, and built with the toolchain of their language.
//!
//! ```text
//! template   a name and a language   -> a directory that builds
//! project    a directory             -> what its manifest says
//! rust, c, zig, python, javascript   -> a component, or a core module with embedded WIT
//! tools      which tools are called, and how to get those that are missing
//! ```
//!
//! Whatever is possible in process is done there: C bindings are generated, and core modules are
//! turned into components, without any other tool.

mod bindings;
mod c;
mod javascript;
mod project;
mod python;
mod rust;
mod template;
mod tools;
mod zig;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::files::named;

pub use project::Project;
pub use template::create;

/// The largest file of a project or component that is read, in bytes.
const LARGEST: u64 = 256 << 20;

/// The contract that this version of the host has.
const WIT: &str = include_str!("../../assets/wit/policy.wit");

/// A language that policies are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Language {
    /// With cargo, and the crate for authors.
    Rust,
    /// With clang and wasi-libc, or zig.
    C,
    /// With componentize-py.
    Python,
    /// With componentize-qjs.
    #[serde(alias = "js")]
    #[value(alias = "js")]
    Javascript,
    /// With zig.
    Zig,
}

/// Why a project could not be written or built.
#[derive(Debug, Error)]
pub enum ToolchainError {
    /// The contract of this version of the host.
    #[error(
        "`{0}` cannot be the name of a policy: begin with a letter, and use at most 40 characters \
         of a-z, 0-9 and `-`"
    )]
    Name(String),
    /// There is something already.
    #[error("`{path}` already exists and is not empty", path = .0.display())]
    Occupied(PathBuf),
    /// The directory is not a project.
    #[error("`{path}` is not a policy project: {what}", path = path.display())]
    Manifest {
        /// Its directory or its manifest.
        path: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
    /// A tool is missing.
    #[error("{needed} is missing: {how}")]
    Missing {
        /// What is needed.
        needed: &'static str,
        /// How to get it.
        how: &'static str,
    },
    /// A tool failed and has already said why.
    #[error("{tool} failed: see what it says above")]
    Failed {
        /// The tool.
        tool: String,
    },
    /// A tool produced something other than what was asked for.
    #[error("{tool} did not produce a policy: {why}")]
    Odd {
        /// The tool.
        tool: &'static str,
        /// What is wrong with the result.
        why: String,
    },
    /// A file cannot be read or written.
    #[error("cannot use `{path}`: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl ToolchainError {
    fn file(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}

/// Builds a project and returns the bytes of the component, or of a core module with embedded WIT.
///
/// Messages of the tools go to standard error as they come.
///
/// # Errors
///
/// A tool is missing, or fails.
pub fn build(project: &Project) -> Result<Vec<u8>, ToolchainError> {
    let scratch = tempfile::tempdir().map_err(ToolchainError::file(&std::env::temp_dir()))?;
    match project.language {
        Language::Rust => rust::build(project),
        Language::C => c::build(project, scratch.path()),
        Language::Zig => zig::build(project, scratch.path()),
        Language::Python => python::build(project, scratch.path()),
        Language::Javascript => javascript::build(project, scratch.path()),
    }
}

/// Returns the directory of the project's contract, or one with this host's contract if the project
/// has none.
fn wit_directory(project: &Project, scratch: &Path) -> Result<PathBuf, ToolchainError> {
    let own = project.directory.join("wit");
    if own.is_dir() {
        return Ok(own);
    }
    let directory = scratch.join("wit");
    fs::create_dir(&directory).map_err(ToolchainError::file(&directory))?;
    let file = directory.join("policy.wit");
    fs::write(&file, WIT).map_err(ToolchainError::file(&file))?;
    Ok(directory)
}

fn read(path: &Path) -> Result<Vec<u8>, ToolchainError> {
    named::read(path, LARGEST).map_err(|error| ToolchainError::file(path)(error.into()))
}
