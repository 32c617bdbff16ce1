//! Finds and calls the tools of a language.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::ToolchainError;

/// A program, and the arguments that come before all others.
#[derive(Debug, Clone)]
pub(super) struct Tool {
    program: PathBuf,
    first: Vec<OsString>,
}

impl Tool {
    /// Returns the program at a path.
    pub(super) fn at(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            first: Vec::new(),
        }
    }

    /// Finds a program in PATH.
    pub(super) fn find(name: &str) -> Option<Self> {
        which::which(name).ok().map(Self::at)
    }

    /// Adds arguments that always come first.
    pub(super) fn with(mut self, first: &[&str]) -> Self {
        self.first.extend(first.iter().map(OsString::from));
        self
    }

    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.first).stdin(Stdio::null());
        command
    }

    /// Returns what it prints, trimmed; `None` if it fails.
    pub(super) fn asked(&self, args: &[&str]) -> Option<String> {
        self.asked_in(Path::new("."), args)
    }

    /// Like [`Self::asked`], in a directory.
    pub(super) fn asked_in(&self, directory: &Path, args: &[&str]) -> Option<String> {
        let output = self
            .command()
            .current_dir(directory)
            .args(args)
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    }
}

/// Runs a command to its end. Its output goes to standard error, so that standard output is ours.
pub(super) fn run(command: &mut Command) -> Result<(), ToolchainError> {
    command.stdout(std::io::stderr());
    finish(command).map(|_| ())
}

/// Like [`run`], and returns what the command prints.
pub(super) fn captured(command: &mut Command) -> Result<Vec<u8>, ToolchainError> {
    command.stdout(Stdio::piped());
    finish(command)
}

fn finish(command: &mut Command) -> Result<Vec<u8>, ToolchainError> {
    let program = PathBuf::from(command.get_program());
    let output = command
        .stderr(Stdio::inherit())
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .map_err(ToolchainError::file(&program))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let name = program.file_name().unwrap_or(OsStr::new("it"));
    Err(ToolchainError::Failed {
        tool: format!("`{}`", name.to_string_lossy()),
    })
}
