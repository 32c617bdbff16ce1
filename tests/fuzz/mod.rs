//! Fuzz targets: one function for each kind of foreign input that is parsed. `README.md` says how to
//! run them.
//!
//! A target is given any bytes. It must neither panic nor need much time or memory, and it asserts
//! what must hold of the result. The tests here give each target its corpus and mutations of it; the
//! program in `guided` gives the same functions what libFuzzer finds by coverage.

#[cfg(test)]
mod mutate;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

/// A function that is given any bytes, and panics if something does not hold that must.
#[derive(Debug, Clone, Copy)]
pub struct FuzzTarget {
    /// Its name, which is also that of its directory in `corpus`.
    pub name: &'static str,
    /// Further inputs: files of the project, or directories, from its top.
    pub seeds: &'static [&'static str],
    /// The function.
    pub run: fn(&[u8]),
}

impl FuzzTarget {
    /// Returns the places of its inputs.
    pub fn places(&self) -> Vec<PathBuf> {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let own = top.join("tests/fuzz/corpus").join(self.name);
        let seeds = self.seeds.iter().map(|seed| top.join(seed));
        [own].into_iter().chain(seeds).collect()
    }
}

/// Returns all targets.
pub fn targets() -> impl Iterator<Item = &'static FuzzTarget> {
    [
        crate::tmux::fuzz::TARGETS,
        crate::probe::fuzz::TARGETS,
        crate::agents::fuzz::TARGETS,
        crate::agents::transcript::fuzz::TARGETS,
        crate::node::fuzz::TARGETS,
        crate::node::watch_fuzz::TARGETS,
        crate::policy::fuzz::TARGETS,
        crate::config::fuzz::TARGETS,
        crate::store::fuzz::TARGETS,
        crate::cli::fuzz::TARGETS,
    ]
    .into_iter()
    .flatten()
}

/// Splits the first byte off, as a small number that steers a target. 0 if there is none.
pub(crate) fn steered(data: &[u8]) -> (usize, &[u8]) {
    match data.split_first() {
        Some((&first, rest)) => (usize::from(first), rest),
        None => (0, data),
    }
}

/// Asserts that a message is one line. Other control characters are written as escapes where it is shown.
#[track_caller]
pub(crate) fn is_one_line(message: &str) {
    assert!(!message.contains('\n'), "{message:?}");
    assert!(!message.trim().is_empty(), "an empty message");
}
