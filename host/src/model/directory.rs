//! What can be known about a directory that a task names.

use serde::{Deserialize, Serialize};

/// What a look at a directory reveals.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectorySight {
    /// Its path with links resolved, which is how the system names the directory of a process.
    /// `None` if nothing has that name, or the path is not UTF-8.
    pub path: Option<String>,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// The branch that is checked out there.
    pub branch: Option<String>,
    /// The repository that it is in, the same in all of its worktrees.
    #[serde(default)]
    pub repository: Option<String>,
}
