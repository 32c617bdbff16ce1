//! Where compiled policies are kept between starts.
//!
//! The cache holds native code, which is executed. So it must be in a directory that belongs to
//! this user, and nobody else may be able to write to it or to any directory above it. wasmtime's
//! own cache does the rest: it names each entry by the component, the compiler and its settings,
//! ignores entries that do not fit, and deletes old ones.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use wasmtime::{Cache, CacheConfig};

use super::source::shown;

/// The total size above which old entries are deleted: room for about ten policies in Python.
const LARGEST: u64 = 1 << 30;

/// Opens the cache, and makes its directory if it does not exist.
///
/// # Errors
///
/// One line that says why the directory cannot be trusted or used.
pub(super) fn open(directory: &Path) -> Result<Cache, String> {
    let failed =
        |error: io::Error| format!("the cache {} cannot be used: {error}", shown(directory));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(failed)?;
    let directory = directory.canonicalize().map_err(failed)?;
    trust(&directory)?;
    let mut config = CacheConfig::new();
    config
        .with_directory(&directory)
        .with_files_total_size_soft_limit(LARGEST);
    Cache::new(config)
        .map_err(|error| format!("the cache {} cannot be used: {error:#}", shown(&directory)))
}

fn trust(directory: &Path) -> Result<(), String> {
    const STICKY: u32 = 0o1000;
    const OTHERS: u32 = 0o077;
    const OTHERS_WRITE: u32 = 0o022;

    let user = rustix::process::geteuid().as_raw();
    for place in directory.ancestors() {
        let metadata = fs::metadata(place)
            .map_err(|error| format!("the cache {} cannot be used: {error}", shown(place)))?;
        let mode = metadata.mode();
        if place == directory && metadata.uid() != user {
            return Err(format!(
                "compiled policies are not kept: {} belongs to another user",
                shown(place)
            ));
        }
        if metadata.uid() != user && metadata.uid() != 0 {
            return Err(format!(
                "compiled policies are not kept: {} belongs to another user, and holds the cache",
                shown(place)
            ));
        }
        if mode & OTHERS_WRITE != 0 && (place == directory || mode & STICKY == 0) {
            return Err(format!(
                "compiled policies are not kept: others can write to {}",
                shown(place)
            ));
        }
    }
    // Files made in it later may be too open, so nobody else may enter the directory.
    let metadata = fs::metadata(directory).map_err(|error| error.to_string())?;
    if metadata.mode() & OTHERS != 0 {
        strangers(directory, 0)?;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700))
            .map_err(|error| format!("the cache {} cannot be used: {error}", shown(directory)))?;
    }
    Ok(())
}

/// Refuses a directory into which somebody else put something while they could write to it.
fn strangers(directory: &Path, depth: u32) -> Result<(), String> {
    const OTHERS_WRITE: u32 = 0o022;
    const DEEPEST: u32 = 4;

    let useless =
        |error: io::Error| format!("the cache {} cannot be used: {error}", shown(directory));
    let user = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(directory).map_err(useless)? {
        let entry = entry.map_err(useless)?;
        // Another process may have just deleted it, which does no harm.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        if metadata.uid() != user || metadata.mode() & OTHERS_WRITE != 0 {
            return Err(format!(
                "compiled policies are not kept: others could write to {}; delete it",
                shown(&entry.path())
            ));
        }
        if metadata.is_dir() && depth < DEEPEST {
            strangers(&entry.path(), depth + 1)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode");
    }

    #[test]
    fn a_directory_of_ones_own_is_made_and_closed() {
        let home = tempfile::tempdir().expect("a directory");
        let cache = home.path().join("a/b");
        open(&cache).expect("it can be used");
        assert_eq!(cache.metadata().expect("it").mode() & 0o777, 0o700);
        with_mode(&cache, 0o755);
        open(&cache).expect("it can be used");
        assert_eq!(cache.metadata().expect("it").mode() & 0o777, 0o700);
    }

    #[test]
    fn where_others_can_write_nothing_is_read() {
        let home = tempfile::tempdir().expect("a directory");
        let cache = home.path().join("a/b");
        open(&cache).expect("it can be used");
        with_mode(&cache, 0o770);
        let error = open(&cache).expect_err("others can write");
        assert!(error.contains("others can write to"), "{error}");
        with_mode(&cache, 0o700);
        with_mode(&home.path().join("a"), 0o777);
        let error = open(&cache).expect_err("others can move it away");
        assert!(error.contains("others can write to"), "{error}");
        // Like /tmp, where everyone can move only their own files.
        with_mode(&home.path().join("a"), 0o1777);
        open(&cache).expect("it can be used");
    }

    #[test]
    fn what_others_could_have_written_is_not_read() {
        let home = tempfile::tempdir().expect("a directory");
        open(home.path()).expect("it can be used");
        let below = home.path().join("modules");
        fs::create_dir_all(&below).expect("a directory");
        fs::write(below.join("planted"), "").expect("a file");
        open(home.path()).expect("it is one's own");
        with_mode(&below.join("planted"), 0o666);
        open(home.path()).expect("nobody else has got in");
        with_mode(home.path(), 0o755);
        let error = open(home.path()).expect_err("others could write");
        assert!(error.contains("planted"), "{error}");
    }

    #[test]
    fn what_is_no_directory_is_of_no_use() {
        let home = tempfile::tempdir().expect("a directory");
        let file = home.path().join("file");
        fs::write(&file, "").expect("a file");
        assert!(open(&file).is_err());
        assert!(open(&file.join("below")).is_err());
    }
}
