//! How well sessions suit a task, outside of a round. The policy is asked, because only it knows.

use jiff::Timestamp;

use crate::matcher::{attributes, candidate};
use crate::model::matching::{Decision, Question, Resource};
use crate::model::session::SessionContext;
use crate::model::task::Task;
use crate::policy::{Failure, Policy};

/// Returns what the policy decides for a task if exactly these sessions are ready. `directory` is
/// the directory that the task names, as the system calls it.
///
/// # Errors
/// The policy failed.
pub fn decide(
    task: &Task,
    directory: Option<String>,
    sessions: &[SessionContext],
    policy: &Policy,
    now: Timestamp,
) -> Result<Option<Decision>, Failure> {
    let places = sessions.iter().map(SessionContext::place);
    let mut candidate = candidate(task, places, sessions.len(), now);
    if let (Some(named), Some(directory)) = (&mut candidate.working_dir, directory) {
        *named = directory;
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
