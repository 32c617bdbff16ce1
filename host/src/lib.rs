//! Gives queued tasks to the tmux sessions that suit them best.
//!
//! The binary `assigner` is this library with a command line. `host/ARCHITECTURE.md` is the map.
//! From top to bottom, the modules are: [`cli`], [`client`] for programs, [`daemon`],
//! [`matcher`] and [`node`], [`options`] (what can be asked of a task), then [`store`], [`tmux`],
//! [`probe`] and [`policy`], which never import each other, and [`model`]. In addition, [`toolchain`] builds policies for their authors.

pub mod agents;
pub mod cli;
pub mod client;
pub mod config;
pub mod daemon;
pub mod files;
#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/mod.rs"]
pub mod fuzz;
pub mod matcher;
pub mod model;
pub mod node;
pub mod options;
pub mod policy;
pub mod probe;
#[cfg(test)]
mod simulation;
pub mod store;
pub mod tmux;
pub mod toolchain;
