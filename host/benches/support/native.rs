//! The default policy without WebAssembly, for comparison: by a benchmark and by a test, each of
//! which has a `model` of its own name one level up.

use assigner_default_policy::DefaultPolicy;
use assigner_policy::{Policy as _, Round, Session, Task};

use super::model::matching::{Attribute, Candidate, Decision, Question, Ranking, Resource, Term};
use super::model::task::Kind;

/// Returns the default policy as these settings make it.
pub(crate) fn policy(settings: &str) -> DefaultPolicy {
    DefaultPolicy::configure(settings).expect("the settings are right")
}

/// Returns a question as a policy sees it.
pub(crate) fn question(question: &Question) -> (Round, Vec<Task>, Vec<Session>) {
    let round = Round {
        now: question.now,
        explain: question.explain,
        facts: attributes(&question.facts),
    };
    let tasks = question.tasks.iter().map(task).collect();
    let sessions = question.sessions.iter().map(session).collect();
    (round, tasks, sessions)
}

/// Returns a policy's decision as the host sees it.
pub(crate) fn decision(decision: assigner_policy::Decision) -> Decision {
    let rankings = |of: Vec<assigner_policy::Ranking>| of.into_iter().map(ranking).collect();
    match decision {
        assigner_policy::Decision::Assign(choice) => Decision::Assign {
            take: ranking(choice.take),
            others: rankings(choice.others),
        },
        assigner_policy::Decision::Wait(wait) => Decision::Wait {
            reason: wait.reason,
            others: rankings(wait.others),
        },
    }
}

fn ranking(ranking: assigner_policy::Ranking) -> Ranking {
    let term = |term: assigner_policy::Term| Term {
        name: term.name,
        points: term.points,
    };
    Ranking {
        session: ranking.session as usize,
        points: ranking.points,
        terms: ranking.terms.into_iter().map(term).collect(),
    }
}

fn task(task: &Candidate) -> Task {
    Task {
        id: u64::try_from(task.id).expect("numbers of tasks are positive"),
        kind: match task.kind {
            Kind::Prompt => assigner_policy::Kind::Prompt,
            Kind::Command => assigner_policy::Kind::Command,
        },
        summary: task.summary.clone(),
        priority: task.priority,
        waiting: task.waiting,
        attempt: task.attempt,
        match_context: task.match_context,
        context: assigner_policy::Context {
            working_dir: task.working_dir.clone(),
            git_branch: task.git_branch.clone(),
            env: attributes(&task.env),
        },
        providers: task.providers.clone(),
        eligible: task.eligible.as_deref().map(positions),
        follows: task.follows.map(position),
        avoid: positions(&task.avoid),
        labels: attributes(&task.labels),
    }
}

fn session(session: &Resource) -> Session {
    Session {
        name: session.name.clone(),
        host: session.host.clone(),
        provider: session.provider.clone(),
        current_dir: session.current_dir.clone(),
        git_branch: session.git_branch.clone(),
        env: attributes(&session.env),
        ready: session.ready,
        since: session.since,
        completed: session.completed,
        failed: session.failed,
        labels: attributes(&session.labels),
    }
}

fn attributes(attributes: &[Attribute]) -> Vec<assigner_policy::Attribute> {
    let convert = |attribute: &Attribute| assigner_policy::Attribute {
        name: attribute.name.clone(),
        value: attribute.value.clone(),
    };
    attributes.iter().map(convert).collect()
}

fn positions(positions: &[usize]) -> Vec<u32> {
    positions.iter().map(|&at| position(at)).collect()
}

fn position(position: usize) -> u32 {
    u32::try_from(position).expect("there are not so many sessions")
}
