//! What becomes of what a policy decides.

use super::*;
use crate::model::headless::{Headless, HeadlessSpec};
use crate::model::task::RuledOut;
use crate::store::Pause;

#[test]
fn a_claim_is_on_disk_with_what_it_was_decided_by() {
    let mut scene = MatcherScene::new(2);
    let task = scene.queue_one(NewTask::command("true"));
    scene.answers(|_| {
        vec![Decision::Assign {
            take: ranking(1, 7),
            // The last one is not in the list.
            others: vec![ranking(0, 3), ranking(2, 1)],
        }]
    });
    let matched = scene.round();
    let [given] = &matched.given[..] else {
        panic!("one task: {matched:?}");
    };
    assert_eq!((given.task.id, &*given.session), (task, "s1"));
    assert_eq!(given.identity, identity(1));
    let attempts = scene.store.attempts(task).expect("attempts");
    assert_eq!(attempts[0].id, given.attempt);
    assert_eq!(attempts[0].policy.name, "scripted");
    let rankings = attempts[0].rankings.iter();
    let rankings: Vec<(&str, i32, usize)> = rankings
        .map(|ranking| (&*ranking.session, ranking.points, ranking.terms.len()))
        .collect();
    assert_eq!(rankings, [("s1", 7, 1), ("s0", 3, 1)]);
    assert_eq!(scene.task(task).status, Status::Assigned);
}

#[test]
fn an_attempt_remembers_which_sessions_were_out_of_the_question() {
    let mut scene = MatcherScene::new(4);
    scene.sessions[2].row.admission = Admission::Protected;
    scene.sessions[3].ready = false;
    scene.sessions[3].row.activity = Activity::Busy;
    scene.sessions[3].row.reason = Some("runs make".to_owned());
    let tasks = scene.queue(&[NewTask::command("true"), NewTask::command("true")]);
    assert_eq!(scene.given().len(), 2);
    let ruled_out = |session: &str, reason: &str| RuledOut {
        session: session.to_owned(),
        reason: reason.to_owned(),
    };
    let first = scene.store.attempts(tasks[0]).expect("attempts");
    let second = scene.store.attempts(tasks[1]).expect("attempts");
    let [protected, busy] = &first[0].ruled_out[..] else {
        panic!("{first:?}");
    };
    assert_eq!((&*protected.session, &*busy.session), ("s2", "s3"));
    assert_eq!(*busy, ruled_out("s3", "busy: runs make"));
    let given = format!("it was given to task {}, which came before", tasks[0]);
    assert_eq!(second[0].ruled_out[0], ruled_out("s0", &given));
    assert_eq!(second[0].ruled_out[1..], first[0].ruled_out);
}

#[test]
fn the_reason_to_wait_is_kept_and_not_written_again() {
    let mut scene = MatcherScene::new(2);
    let task = scene.queue_one(NewTask::command("true"));
    scene.answers(|_| {
        vec![Decision::Wait {
            reason: "it is dark".to_owned(),
            others: vec![ranking(1, 4), ranking(9, 9)],
        }]
    });
    assert_eq!(scene.given(), []);
    assert_eq!(scene.task(task).wait_reason.as_deref(), Some("it is dark"));
    let version = scene.store.data_version().expect("a version");
    scene.matcher.touch();
    assert_eq!(scene.given(), []);
    assert_eq!(scene.store.data_version().expect("a version"), version);
    scene.answers(|_| vec![waits()]);
    scene.matcher.touch();
    scene.round();
    assert_eq!(scene.task(task).wait_reason.as_deref(), Some("it waits"));
}

#[test]
fn a_session_that_is_not_ready_is_never_given_a_task() {
    let mut scene = MatcherScene::new(2);
    scene.policy.lists_busy = true;
    scene.sessions[1].ready = false;
    scene.queue(&[NewTask::command("true")]);
    scene.answers(|_| vec![take(1)]);
    assert_eq!(scene.given(), []);
    scene.matcher.touch();
    scene.answers(|_| vec![take(2)]);
    assert_eq!(scene.given(), []);
    scene.matcher.touch();
    scene.answers(|_| vec![take(0)]);
    assert_eq!(scene.given().len(), 1);
}

#[test]
fn what_a_failed_policy_has_left_is_decided_again() {
    for failed in [false, true] {
        let mut scene = MatcherScene::new(1);
        scene.queue(&[NewTask::command("wait")]);
        scene.policy.failed = failed;
        assert!(scene.is_asked());
        assert_eq!(scene.is_asked(), failed);
    }
    let mut scene = MatcherScene::new(1);
    scene.queue(&[NewTask::command("true")]);
    scene.policy.gone = true;
    let round = scene.try_round();
    assert!(matches!(round, Err(MatchError::Nobody)), "{round:?}");
}

/// Between the decision and the claim, a person may change the task.
#[test]
fn a_decision_that_no_longer_holds_is_made_again() {
    let mut scene = MatcherScene::new(2);
    let tasks = scene.queue(&[NewTask::command("true"), NewTask::command("true")]);
    let other = RefCell::new(Store::open(scene._directory.path()).expect("a store"));
    let taken = tasks[0];
    scene.answers(move |question| {
        let mut other = other.borrow_mut();
        let target = Some(&"s0".into());
        other.reassign(taken, target, wall(0)).expect("given");
        first_come(question)
    });
    assert_eq!(scene.given(), [(tasks[1], "s1".to_owned())]);
    assert_eq!(scene.task(taken).status, Status::Pending);
}

#[test]
fn what_cannot_be_claimed_is_decided_again_though_nothing_changes_any_more() {
    let mut scene = MatcherScene::new(2);
    let tasks = scene.queue(&[NewTask::command("one"), NewTask::command("two")]);
    scene.sessions[1].ready = false;
    assert_eq!(scene.given(), [(tasks[0], "s0".to_owned())]);
    scene.questions();
    // It is offered again, although its attempt has not ended.
    scene.matcher.touch();
    for _ in 0..3 {
        assert_eq!(scene.given(), []);
        assert_eq!(scene.questions().len(), 1);
    }
    // A claim that succeeds leaves nothing to be decided again.
    scene.sessions.remove(0);
    scene.sessions[0].ready = true;
    assert_eq!(scene.given(), [(tasks[1], "s1".to_owned())]);
    scene.queue(&[NewTask::command("wait")]);
    scene.questions();
    assert!(scene.is_asked());
    assert!(!scene.is_asked());
}

fn headless(provider: &str) -> NewTask {
    let spec = serde_json::from_str::<HeadlessSpec>(
        r#"{"command": ["ask"], "response": {"at": "/result"}}"#,
    );
    let mut task = NewTask::command("ask");
    task.metadata.headless = Some(Headless {
        provider: provider.to_owned(),
        spec: spec.expect("a way to ask"),
    });
    task
}

#[test]
fn a_prompt_for_an_agent_that_is_paused_waits_and_says_so() {
    let mut scene = MatcherScene::new(1);
    let pause = [Pause::Provider("codex".to_owned())];
    scene.store.pause(&pause, true, wall(0)).expect("paused");
    let tasks = scene.queue(&[headless("codex"), headless("claude")]);
    assert_eq!(scene.given(), [(tasks[1], "s0".to_owned())]);
    let reason = scene.task(tasks[0]).wait_reason;
    assert!(
        reason.as_ref().is_some_and(|why| why.contains("paused")),
        "{reason:?}"
    );
    assert_eq!(scene.questions()[0].tasks.len(), 1);
    let attempt = scene.store.attempts(tasks[1]).expect("attempts");
    assert_eq!(attempt.len(), 1);
    // Its pause is checked once more when the session is claimed.
    let mut scene = MatcherScene::new(1);
    let task = scene.queue_one(headless("codex"));
    let other = RefCell::new(Store::open(scene._directory.path()).expect("a store"));
    scene.answers(move |question| {
        let paused = other.borrow_mut().pause(&pause, true, wall(0));
        paused.expect("paused");
        first_come(question)
    });
    assert_eq!(scene.given(), []);
    assert_eq!(scene.task(task).status, Status::Pending);
}
