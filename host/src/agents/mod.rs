//! Coding agents: which one runs in a pane, what it is doing, how it is given a prompt, and what it
//! answered.
//!
//! ```text
//! profile (data) --> recognise: which agent a pane's processes are
//!                --> screen, title, transcript, report: signals, each with its age
//!                --> fuse: one verdict; only an agent that is certainly idle is given work
//! ```
//!
//! This module neither queries tmux nor writes to a pane: its callers pass in what was read. Only
//! the files of transcripts and reports are read here.

pub mod catalog;
#[cfg(test)]
mod detection;
pub mod fuse;
#[cfg(any(test, fuzzing))]
#[path = "../../../tests/fuzz/targets/agents.rs"]
pub(crate) mod fuzz;
pub mod hooks;
pub mod nonce;
pub mod payload;
pub mod profile;
pub mod recognise;
pub mod report;
mod reset;
pub mod screen;
pub mod told;
pub mod transcript;

pub use catalog::Catalog;
pub use profile::Profile;
pub use reset::reset;
pub use screen::Screen;
