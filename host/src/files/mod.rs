//! Files and directories whose content or place is not ours to assume: those that a person names, and
//! those in which nobody else may write.

pub mod named;
pub mod private;
pub mod rotated;

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

/// Whether this is the device that is always empty: people name it where they want no file.
fn is_null(found: &Metadata) -> bool {
    let is_same = |null: Metadata| null.rdev() == found.rdev();
    found.file_type().is_char_device() && std::fs::metadata("/dev/null").is_ok_and(is_same)
}
