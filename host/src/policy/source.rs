//! From a user's name or path for a policy to its bytes.

use std::path::{Path, PathBuf};

use super::check;
use super::load::LoadError;
use crate::files::named::{self, FileError};

/// Where a policy comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicySource {
    /// The default policy, which is part of the binary.
    Embedded,
    /// A file.
    File(PathBuf),
}

impl PolicySource {
    /// Returns the source with this name, as [`Self::name`] returns it: `default.wasm`, or a path.
    pub fn named(name: &str) -> Self {
        match name {
            EMBEDDED => Self::Embedded,
            path => Self::File(PathBuf::from(path)),
        }
    }

    /// Returns a name by which any process can find it: an absolute path, or `default.wasm`.
    pub fn name(&self) -> String {
        match self {
            Self::Embedded => EMBEDDED.to_owned(),
            Self::File(path) => {
                let absolute = std::path::absolute(path);
                let absolute = absolute.as_deref().unwrap_or(path);
                absolute.to_string_lossy().into_owned()
            }
        }
    }
}

/// The name of the embedded policy in places that hold paths.
const EMBEDDED: &str = "default.wasm";

/// Returns the source that `--policy` means.
///
/// Anything with a slash is a path. Anything else is a file in the directory of policies, with or
/// without its ending `.wasm`; then, for `default` or `default.wasm`, the embedded policy; then a
/// file in the current directory.
///
/// # Errors
///
/// There is no such file. A path is checked only when it is read.
pub fn resolve(name_or_path: &str, policies_dir: &Path) -> Result<PolicySource, LoadError> {
    if name_or_path.contains('/') {
        return Ok(PolicySource::File(PathBuf::from(name_or_path)));
    }
    let in_directory = [
        policies_dir.join(name_or_path),
        policies_dir.join(format!("{name_or_path}.wasm")),
    ];
    if !name_or_path.is_empty()
        && let Some(path) = in_directory.into_iter().find(|path| path.is_file())
    {
        return Ok(PolicySource::File(path));
    }
    if matches!(name_or_path, "default" | "default.wasm") {
        return Ok(PolicySource::Embedded);
    }
    let here = Path::new(name_or_path);
    if here.is_file() {
        return Ok(PolicySource::File(here.to_owned()));
    }
    Err(LoadError::Unknown {
        name: shown(here),
        directory: shown(policies_dir),
    })
}

/// Reads the file of a policy, which may have at most `largest` bytes.
pub(super) fn read(path: &Path, largest: u64) -> Result<Vec<u8>, LoadError> {
    let origin = shown(path);
    named::read(path, largest).map_err(|error| match error {
        FileError::Kind("a directory") => LoadError::Directory { origin },
        // A pipe would block, and a device would never end.
        FileError::Kind(_) => LoadError::NotAFile { origin },
        FileError::TooLarge(limit) => LoadError::TooBig { origin, limit },
        missing if missing.is_missing() => LoadError::Missing { origin },
        error => LoadError::Unreadable {
            origin,
            source: error.into(),
        },
    })
}

/// Formats a path for messages: in backticks, safe for a terminal.
pub(super) fn shown(path: &Path) -> String {
    format!("`{}`", check::line(&path.to_string_lossy(), 1_000))
}
