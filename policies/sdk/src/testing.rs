//! Rounds, tasks and sessions for a policy's own tests.
//!
//! Each is plain and complete; a test changes what it is about:
//! Each is plain and complete; a test changes only what matters to it:
//! ```
//! use assigner_policy::{Session, testing};
//!
//! let session = Session {
//!     current_dir: Some("/srv/app".into()),
//!     ..testing::session("app")
//! };
//! # assert!(session.ready);
//! ```

use crate::{Attribute, Context, Kind, Round, Session, Task};

/// Returns a round that asks for up to five rankings a task.
pub fn round() -> Round {
    Round {
        now: 1_700_000_000,
        explain: 5,
        facts: Vec::new(),
    }
}

/// Returns a prompt without any requirement.
pub fn task(id: u64) -> Task {
    Task {
        id,
        kind: Kind::Prompt,
        summary: format!("task {id}"),
        priority: 0,
        waiting: 0,
        attempt: 1,
        match_context: true,
        context: Context {
            working_dir: None,
            git_branch: None,
            env: Vec::new(),
        },
        providers: Vec::new(),
        eligible: None,
        follows: None,
        avoid: Vec::new(),
        labels: Vec::new(),
    }
}

/// Returns a ready session about which nothing else is known.
pub fn session(name: &str) -> Session {
    Session {
        name: name.to_owned(),
        host: "localhost".to_owned(),
        provider: "claude".to_owned(),
        current_dir: None,
        git_branch: None,
        env: Vec::new(),
        ready: true,
        since: 0,
        completed: 0,
        failed: 0,
        labels: Vec::new(),
    }
}

/// Returns a name with a value.
pub fn attribute(name: &str, value: &str) -> Attribute {
    Attribute {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}
