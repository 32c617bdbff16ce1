//! What becomes of prompts that `assigner` delivers to agents, counted.
//!
//! ```text
//! payload -> run: send -> assigner (a black box) -> tmux -> fake -> journal
//!              '-> rows, by `list` and `show` ------------------------'-> judge -> report
//! ```
//!
//! The binary is reached by its commands alone. Scripted agents in panes of the suite's own tmux
//! server write down what reached them, and the one is held against the other.

pub mod fake;
pub mod journal;
pub mod judge;
pub mod payload;
pub mod report;
pub mod run;
pub mod scenario;
pub mod world;
