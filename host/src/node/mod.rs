//! The node: what one machine does for the queue. It runs attempts in its sessions, and keeps the
//! files through which jobs report.

pub(crate) mod attempt;
pub mod capture;
pub(crate) mod dialect;
mod prerequisites;
pub(crate) mod script;
#[cfg(test)]
mod script_tests;
pub mod shell;
pub(crate) mod spool;

pub use spool::Spool;
