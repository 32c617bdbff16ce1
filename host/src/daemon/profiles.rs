//! Profiles of agents that a person changes while the daemon runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Notify;

use super::followed::{Again, FilesSeen, Followed};
use crate::agents::Catalog;
use crate::agents::catalog::CatalogError;

/// The maximum number of files that are looked at.
const MOST: usize = 1_000;

/// The profiles, and the errors of those that were left out.
pub(super) type LoadedProfiles = (Catalog, Vec<CatalogError>);

/// Returns the profiles of `directory`, and those that it has after each change from then on.
pub(super) fn follow(
    directory: PathBuf,
    wake: Arc<Notify>,
) -> (LoadedProfiles, Followed<LoadedProfiles>) {
    let seen = files(&directory);
    let loaded = Catalog::load(&directory);
    let there = directory.clone();
    let followed = Followed::start(
        "profiles",
        seen,
        move || files(&there),
        move || (Catalog::load(&directory), Again::WhenChanged),
        wake,
    );
    (loaded, followed)
}

fn files(directory: &Path) -> FilesSeen {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    FilesSeen::now(files.take(MOST).map(|file| file.path()))
}
