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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::TaskId;
    use crate::model::task::NewTask;
    use crate::policy::Limits;

    #[test]
    fn sessions_are_ranked_as_a_round_would_rank_them() {
        let policy = Policy::embedded(&Limits::default(), &serde_json::json!({}));
        let policy = policy.expect("the default policy");
        let at = |name: &str, directory: &str| SessionContext {
            current_dir: Some(directory.to_owned()),
            ..SessionContext::shell(name)
        };
        let sessions = [at("far", "/x"), at("above", "/"), at("there", "/real")];
        let now = Timestamp::UNIX_EPOCH;
        let mut new = NewTask::command("true");
        new.metadata.working_dir = Some("/link".to_owned());
        let task = Task::queued(TaskId(1), &new, now);
        let decided = decide(&task, Some("/real".to_owned()), &sessions, &policy, now);
        let Ok(Some(Decision::Assign { take, others })) = decided else {
            panic!("a session: {decided:?}");
        };
        assert_eq!((take.session, take.points), (2, 100));
        let others: Vec<(usize, i32)> = others
            .iter()
            .map(|ranking| (ranking.session, ranking.points))
            .collect();
        assert_eq!(others, [(1, 50), (0, 0)]);
        // No shell takes a prompt.
        let prompt = Task::queued(TaskId(1), &NewTask::prompt("say hello"), now);
        let decided = decide(&prompt, None, &sessions, &policy, now);
        assert!(
            matches!(decided, Ok(Some(Decision::Wait { .. }))),
            "{decided:?}"
        );
    }
}
