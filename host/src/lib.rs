//! Gives queued tasks to the tmux sessions that suit them best.
//!
//! The binary `assigner` is this library with a command line. `host/ARCHITECTURE.md` draws the
//! map; the modules are, from top to bottom: [`cli`], [`client`] for programs, [`daemon`],
//! [`engine`], the matcher and [`node`], then [`store`],
//! [`tmux`], [`probe`] and [`policy`], which never import each other, and [`model`]. Beside them,
//! [`toolchain`] builds policies for their authors.

pub mod agents;
pub mod cli;
pub mod client;
pub mod config;
pub mod daemon;
pub mod engine;
pub(crate) mod matcher;
pub mod model;
pub mod node;
pub mod policy;
pub mod probe;
#[cfg(test)]
mod simulation;
pub mod store;
pub mod tmux;
pub mod toolchain;
