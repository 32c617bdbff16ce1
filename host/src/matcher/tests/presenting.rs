//! What a policy is shown of tasks and sessions.

use super::*;
use crate::model::eligibility::Place;
use crate::model::ids::NodeName;
use crate::model::matching::Candidate;
use crate::model::task::{Attempt, Outcome, Phase};

/// Returns the policy's view of a task beside these sessions, of which the first `ready` are ready.
fn seen(task: &Task, rows: &[SessionRow], ready: usize) -> Candidate {
    let places: Vec<Place<'_>> = rows.iter().map(SessionRow::place).collect();
    candidate(task, places.into_iter(), ready, wall(90_000))
}

fn task(change: impl FnOnce(&mut NewTask)) -> Task {
    let mut new = NewTask::command("make\nmore");
    change(&mut new);
    Task::queued(TaskId(3), &new, wall(0))
}

#[test]
fn a_question_says_what_the_round_knows() {
    let mut scene = MatcherScene::set(
        2,
        MatcherSettings {
            host: "here".to_owned(),
            explain: 4,
            ask_variables: false,
        },
    );
    let all: BTreeMap<String, String> = [("A", "1"), ("B", "2")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    scene.machine.exports = [("s0".to_owned(), all)].into();
    scene.sessions[1].row.identity.node = NodeName::parse("there").expect("a name");
    scene.queue(&[with_variables("wait", &["A", "C"])]);
    scene.at(5_500).round();
    let question = scene.questions().remove(0);
    assert_eq!(question.now, EPOCH.unsigned_abs() + 5);
    assert_eq!(question.explain, 4);
    let session = &question.sessions[0];
    let env = session.env.iter();
    let env: Vec<(&str, &str)> = env.map(|one| (&*one.name, &*one.value)).collect();
    assert_eq!(env, [("A", "1")]);
    assert_eq!((session.since, session.ready), (5, true));
    let hosts = question.sessions.iter().map(|session| &*session.host);
    assert_eq!(hosts.collect::<Vec<_>>(), ["here", "there"]);
    // Nothing is known of what nobody asks for.
    let mut scene = MatcherScene::new(1);
    let value = ("A".to_owned(), "1".to_owned());
    scene.machine.exports = [("s0".to_owned(), [value].into())].into();
    scene.queue(&[NewTask::command("wait")]);
    scene.round();
    assert!(scene.questions()[0].sessions[0].env.is_empty());
}

#[test]
fn a_policy_that_wants_busy_sessions_sees_them_after_those_that_are_ready() {
    for lists_busy in [false, true] {
        let mut scene = MatcherScene::new(4);
        scene.policy.lists_busy = lists_busy;
        scene.sessions[0].ready = false;
        scene.sessions[1].ready = false;
        scene.sessions[1].row.admission = Admission::Excluded;
        scene.queue(&[NewTask::command("wait")]);
        scene.round();
        let question = scene.questions().remove(0);
        let sessions = question.sessions.iter();
        let sessions: Vec<(&str, bool)> = sessions
            .map(|session| (&*session.name, session.ready))
            .collect();
        let ready = [("s2", true), ("s3", true)];
        let mut all = ready.to_vec();
        // To policies, an excluded one does not exist.
        all.extend(lists_busy.then_some(("s0", false)));
        assert_eq!(sessions, all);
    }
}

#[test]
fn a_directory_is_named_as_the_system_names_it() {
    let mut scene = MatcherScene::new(1);
    scene.machine.directories = [
        (PathBuf::from("/link"), Some("/real".to_owned())),
        (PathBuf::from("/gone"), None),
    ]
    .into();
    let tasks: Vec<NewTask> = ["/link", "/gone", "/silent"]
        .map(|directory| {
            let mut task = NewTask::command("wait");
            task.metadata.working_dir = Some(directory.to_owned());
            task
        })
        .into();
    scene.queue(&tasks);
    scene.queue(&[NewTask::command("wait")]);
    scene.round();
    let question = scene.questions().remove(0);
    let directories = question
        .tasks
        .iter()
        .map(|task| task.working_dir.as_deref());
    assert_eq!(
        directories.collect::<Vec<_>>(),
        [Some("/real"), Some("/gone"), Some("/silent"), None]
    );
}

#[test]
fn a_task_is_shown_with_the_sessions_that_may_run_it() {
    let rows: Vec<SessionRow> = (0..3)
        .map(|pane| shell(&format!("s{pane}"), pane))
        .collect();
    let open = seen(&task(|_| {}), &rows, 3);
    assert_eq!((open.eligible.clone(), open.follows), (None, None));
    assert_eq!((open.id, open.attempt, open.waiting), (3, 1, 90));
    assert_eq!(open.summary, task(|_| {}).summary());
    assert!(open.match_context && open.avoid.is_empty());
    let mut labelled = rows.clone();
    labelled[1].labels = [("gpu".to_owned(), "yes".to_owned())].into();
    let gpu = task(|new| new.metadata.require_labels = labelled[1].labels.clone());
    assert_eq!(seen(&gpu, &labelled, 3).eligible, Some(vec![1]));
    assert_eq!(seen(&gpu, &rows, 3).eligible, Some(vec![]));
    // The one that ran the task before it.
    let mut after = task(|_| {});
    after.follows = Some(identity(2));
    assert_eq!(seen(&after, &rows, 3).follows, Some(2));
    after.follows = Some(identity(9));
    assert_eq!(seen(&after, &rows, 3).follows, None);
}

#[test]
fn a_target_comes_before_those_that_may_stand_in_for_it() {
    let rows: Vec<SessionRow> = (0..3)
        .map(|pane| shell(&format!("s{pane}"), pane))
        .collect();
    let target = |name: &str, fallback: bool| {
        task(|new| {
            new.target_session = Some(name.into());
            new.metadata.target_fallback = fallback;
        })
    };
    for (name, fallback, ready, eligible) in [
        ("s1", false, 3, Some(vec![1])),
        ("s1", true, 3, Some(vec![1])),
        ("s1", true, 2, Some(vec![1])),
        // It is busy: others may stand in for it.
        ("s1", true, 1, None),
        ("s1", false, 1, Some(vec![1])),
        ("gone", true, 3, None),
        ("gone", false, 3, Some(vec![])),
    ] {
        let candidate = seen(&target(name, fallback), &rows, ready);
        assert_eq!(candidate.eligible, eligible, "{name} {fallback} {ready}");
    }
    // Where it is the only one, there is nothing to be said.
    assert_eq!(seen(&target("s0", true), &rows[..1], 1).eligible, None);
}

#[test]
fn what_keeps_a_session_back_is_said() {
    let row = |activity, reason: Option<&str>| SessionRow {
        activity,
        reason: reason.map(str::to_owned),
        ..shell("s0", 0)
    };
    for (activity, reason, said) in [
        (Activity::Idle, None, None),
        (Activity::Idle, Some("paused"), Some("paused")),
        (Activity::Busy, None, Some("busy")),
        (Activity::Busy, Some("runs make"), Some("busy: runs make")),
    ] {
        assert_eq!(obstacle(&row(activity, reason)).as_deref(), said);
    }
}

#[test]
fn ranked_sessions_are_not_ruled_out_and_each_is_named_once() {
    let rows: Vec<SessionRow> = (0..60)
        .map(|pane| shell(&format!("s{pane}"), pane))
        .collect();
    let rest: Vec<&SessionRow> = rows.iter().collect();
    let ranked = [NamedRanking {
        session: "s0".to_owned(),
        points: 1,
        terms: Vec::new(),
    }];
    let none = std::iter::empty::<&Claim>;
    let gpu = task(|new| {
        new.metadata.require_labels = [("gpu".to_owned(), "yes".to_owned())].into();
    });
    let ruled_out = question::ruled_out(&gpu, &ranked, none(), &rest[..2], &rest[1..]);
    let sessions: Vec<&str> = ruled_out.iter().map(|out| &*out.session).collect();
    let wanted: Vec<String> = (1..51).map(|pane| format!("s{pane}")).collect();
    assert_eq!(sessions, wanted);
    assert!(ruled_out[0].reason.contains("gpu"), "{ruled_out:?}");
    // One that could run it, but was asked for its variables.
    let open = task(|_| {});
    let ruled_out = question::ruled_out(&open, &[], none(), &[], &rest[..1]);
    assert_eq!(ruled_out[0].reason, "it was asked for its variables");
}

#[test]
fn a_session_is_avoided_where_the_task_has_failed_itself() {
    let attempt = |outcome| Attempt {
        id: AttemptId(1),
        number: 1,
        session: "s0".to_owned(),
        identity: identity(0),
        phase: Phase::Ended,
        outcome,
        exit_code: None,
        error: None,
        claimed_at: wall(0),
        started_at: None,
        ended_at: None,
        turn: None,
        policy: PolicyId {
            name: String::new(),
            version: String::new(),
            sha256: String::new(),
        },
        rankings: Vec::new(),
        ruled_out: Vec::new(),
    };
    for (outcome, counts) in [
        (None, false),
        (Some(Outcome::Completed), false),
        (Some(Outcome::Failed), true),
        (Some(Outcome::TimedOut), true),
        (Some(Outcome::Reassigned), true),
        (Some(Outcome::Limited), false),
        (Some(Outcome::Cancelled), false),
    ] {
        assert_eq!(has_failed(&attempt(outcome)), counts, "{outcome:?}");
    }
    let rows: Vec<SessionRow> = (0..3)
        .map(|pane| shell(&format!("s{pane}"), pane))
        .collect();
    let failed = [identity(0), identity(2), identity(9)].into();
    assert_eq!(avoid(rows.iter(), &failed), [0, 2]);
}

#[test]
fn seconds_are_whole_and_never_negative() {
    assert_eq!(seconds(wall(0), wall(2_999)), 2);
    assert_eq!(seconds(wall(5_000), wall(0)), 0);
    let long = Timestamp::from_second(EPOCH + (1 << 33)).expect("a time");
    assert_eq!(seconds(wall(0), long), u32::MAX);
}
