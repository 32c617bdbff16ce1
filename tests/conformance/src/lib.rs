//! Counts what happens to prompts that `assigner` delivers to agents.
//!
//! ```text
//! payload -> run: send -> assigner (a black box) -> tmux -> fake -> journal
//!              '-> rows, by `list` and `show` ------------------------'-> judge -> report
//! ```
//!
//! The binary is used only through its commands. Scripted agents in panes of the suite's own tmux
//! server record what reached them, and the two are compared.

pub mod fake;
pub mod journal;
pub mod judge;
pub mod payload;
pub mod report;
pub mod run;
pub mod scenario;
pub mod world;
