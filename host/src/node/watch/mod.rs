//! The watch over the sessions of one machine: which there are, what runs in them, and whether they
//! can take a task. `scan` and `agents` look, `prompt`, `empty` and `sight` judge what was seen,
//! `tracker` remembers it, and `settling` says when to look again.

pub(super) mod agents;
pub(super) mod ask;
mod empty;
#[cfg(any(test, fuzzing))]
#[path = "../../../../tests/fuzz/targets/watch.rs"]
pub(crate) mod fuzz;
pub mod inspect;
mod prompt;
pub(crate) mod scan;
mod settling;
mod sight;
pub(super) mod tracker;
pub(super) mod variables;
