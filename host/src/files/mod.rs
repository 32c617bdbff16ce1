//! Files and directories whose content or place is not ours to assume: those that a person names, and
//! those in which nobody else may write.

pub mod named;
pub mod private;
