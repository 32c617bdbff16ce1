//! Kills, stops and starves `assigner` while tasks run, and counts what became of them.
//!
//! ```text
//! sender, people -> assigner (a black box) -> tmux -> shells, agents -> truth
//! faults ---------'---------------------------'         |                 |
//!    '-> blows -----------------------> report <- judge <- ledger --------'
//! ```
//!
//! Each command appends a line to a file of its own when it begins and when it ends, and agents keep
//! journals of what they took. That is the truth with which `list`, `show` and `history` are compared.

pub mod blows;
pub mod faults;
pub mod judge;
pub mod ledger;
pub mod people;
pub mod report;
pub mod round;
pub mod sender;
pub mod sessions;
pub mod tasks;
pub mod truth;
