//! The words of the project as types: pure, without effects, known to every other module.

pub(crate) mod clock;
pub mod duration;
pub mod eligibility;
pub mod ids;
pub mod matching;
pub mod metadata;
pub mod naming;
pub mod session;
pub mod task;
pub mod text;
pub mod verdict;
