//! How well sessions suit a task, outside of a round. The policy is asked, because only it knows.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use crate::matcher::{attributes, candidate};
use crate::model::matching::{Decision, Question, Resource};
use crate::model::session::SessionContext;
use crate::model::task::Task;
use crate::policy::{Failure, Policy};
use crate::probe::look;

/// How long a look at the directory that a task names may take; after that, its path is used as
/// written.
const RESOLVED_WITHIN: Duration = Duration::from_secs(2);

/// Returns what the policy decides for a task if exactly these sessions are ready.
///
/// # Errors
/// The policy failed.
pub fn decide(
    task: &Task,
    sessions: &[SessionContext],
    policy: &Policy,
    now: Timestamp,
) -> Result<Option<Decision>, Failure> {
    let places = sessions.iter().map(SessionContext::place);
    let mut candidate = candidate(task, places, sessions.len(), now);
    if let Some(directory) = &mut candidate.working_dir {
        let path = PathBuf::from(directory.as_str());
        let looked = path.clone();
        let look = move || look::resolved(&looked);
        if let Some(Some(resolved)) = look::within_blocking(&path, RESOLVED_WITHIN, look) {
            *directory = resolved;
        }
    }
    let question = Question {
        now: u64::try_from(now.as_second()).unwrap_or_default(),
        explain: u32::try_from(sessions.len()).unwrap_or(u32::MAX),
        facts: Vec::new(),
        tasks: vec![candidate],
        sessions: sessions.iter().map(resource).collect(),
    };
    let mut decisions = policy.decide(&question)?;
    Ok(decisions.pop())
}

fn resource(session: &SessionContext) -> Resource {
    Resource {
        name: session.name.clone(),
        host: String::new(),
        provider: session.provider.clone(),
        current_dir: session.current_dir.clone(),
        git_branch: session.git_branch.clone(),
        env: attributes(&session.env),
        ready: true,
        since: session.idle,
        completed: 0,
        failed: 0,
        labels: attributes(&session.labels),
    }
}
