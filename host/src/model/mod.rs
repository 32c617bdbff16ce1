//! The words of the project as types: pure, without effects, known to every other module.

pub mod attempt;
pub(crate) mod clock;
pub mod content;
pub mod directory;
pub mod duration;
pub mod eligibility;
#[cfg(test)]
mod eligibility_tests;
pub mod headless;
pub mod ids;
pub mod matching;
pub mod metadata;
#[cfg(test)]
mod names_tests;
pub mod naming;
pub mod notice;
pub mod session;
pub mod task;
#[cfg(test)]
mod task_tests;
pub mod text;
pub mod verdict;
#[cfg(test)]
mod verdict_tests;
pub mod version;
