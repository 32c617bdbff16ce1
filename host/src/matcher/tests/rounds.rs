//! When a round decides again, and on what.

use super::*;
use crate::model::ids::TmuxSession;
use crate::model::naming::Home;
use crate::model::task::{Event, Outcome};
use crate::store::End;

/// Returns a scene with a task that the policy lets wait, on which one round has decided.
fn decided() -> MatcherScene {
    let mut scene = MatcherScene::new(1);
    scene.queue(&[NewTask::command("wait")]);
    assert!(scene.is_asked());
    scene
}

#[test]
fn nothing_is_decided_twice() {
    let mut scene = decided();
    for _ in 0..3 {
        assert!(!scene.is_asked());
    }
    type RoundChange = (&'static str, fn(&mut MatcherScene));
    let changes: [RoundChange; 9] = [
        ("a task", |scene| {
            scene.queue(&[NewTask::command("wait")]);
        }),
        ("a name", |scene| {
            scene.sessions[0].row.name = "other".to_owned();
        }),
        ("a directory", |scene| {
            scene.sessions[0].row.current_dir = None;
        }),
        ("a branch", |scene| scene.sessions[0].row.git_branch = None),
        ("a label", |scene| {
            let labels = &mut scene.sessions[0].row.labels;
            labels.insert("gpu".to_owned(), "yes".to_owned());
        }),
        ("another name of it", |scene| {
            scene.sessions[0].row.homes.push(Home {
                id: TmuxSession(3),
                name: "second".to_owned(),
            });
        }),
        ("another session in its place", |scene| {
            scene.sessions[0].row.identity = identity(7);
        }),
        ("one more session", |scene| {
            scene.sessions.push(OfferedSession {
                row: shell("more", 8),
                ready: true,
                asked: false,
            });
        }),
        ("something else", |scene| scene.matcher.touch()),
    ];
    for (what, change) in changes {
        change(&mut scene);
        assert!(scene.is_asked(), "{what}");
        assert!(!scene.is_asked(), "{what}");
    }
    // What keeps a session from being given a task is of no account while another is ready.
    scene.sessions.push(OfferedSession {
        row: shell("busy", 9),
        ready: false,
        asked: false,
    });
    assert!(!scene.is_asked());
}

#[test]
fn nothing_is_asked_while_no_session_is_ready_or_nothing_waits() {
    let mut scene = MatcherScene::new(1);
    assert!(!scene.is_asked());
    scene.sessions[0].ready = false;
    scene.queue(&[NewTask::command("true")]);
    assert!(!scene.is_asked());
    scene.sessions[0].ready = true;
    assert!(scene.is_asked());
    // No agent is there that could be given it.
    scene.sessions[0].row.identity = identity(1);
    scene.queue(&[NewTask::prompt("say hello")]);
    assert!(!scene.is_asked());
}

#[test]
fn tasks_that_no_ready_session_may_run_are_not_asked_about() {
    let mut scene = MatcherScene::new(1);
    let target = |name: &str| NewTask {
        target_session: Some(name.into()),
        ..NewTask::command("true")
    };
    let tasks = [
        target("elsewhere"),
        NewTask::prompt("say hello"),
        NewTask::command("true"),
    ];
    let ids = scene.queue(&tasks);
    assert_eq!(scene.asks(), [[ids[2].0]]);
}

/// A policy may be waiting for time to pass, so it is asked again, but rarely.
#[test]
fn what_a_policy_lets_wait_is_decided_again_after_a_while() {
    let mut scene = decided();
    assert!(!scene.at(1_000).is_asked());
    assert!(!scene.at(1_999).is_asked());
    assert!(scene.at(2_000).is_asked());
    assert!(!scene.at(3_999).is_asked());
    // A decision that takes long is repeated accordingly.
    let clock = scene.clock.clone();
    scene.answers(move |question| {
        clock.0.set(clock.0.get() + 150);
        first_come(question)
    });
    assert!(scene.at(4_000).is_asked());
    assert!(!scene.at(4_150 + 2_999).is_asked());
    assert!(scene.at(4_150 + 3_000).is_asked());
}

#[test]
fn nothing_is_decided_again_where_nothing_waits_or_nothing_is_ready() {
    // All tasks were given away.
    let mut scene = MatcherScene::new(2);
    let task = scene.queue_one(NewTask::command("true"));
    assert_eq!(scene.given(), [(task, "s0".to_owned())]);
    scene.sessions.remove(0);
    assert!(scene.questions().len() == 1 && !scene.is_asked());
    scene.queue(&[NewTask::command("true")]);
    let paused = scene
        .store
        .pause(&[crate::store::Pause::All], true, wall(0));
    paused.expect("paused");
    // Both the session and the task are left, but no time is set.
    scene.answers(|question| question.tasks.iter().map(|_| take(0)).collect());
    assert_eq!(scene.given(), []);
    // All sessions were.
    let mut scene = MatcherScene::new(1);
    scene.queue(&[NewTask::command("true"), NewTask::command("true")]);
    assert_eq!(scene.given().len(), 1);
    scene.questions();
    assert!(!scene.at(60_000).is_asked());
}

#[test]
fn a_task_is_decided_on_when_its_time_has_come() {
    let mut scene = MatcherScene::new(1);
    let task = scene.queue_one(NewTask {
        not_before: Some(wall(5_000)),
        ..NewTask::command("true")
    });
    assert_eq!(scene.given(), []);
    assert_eq!(scene.at(4_999).given(), []);
    assert_eq!(scene.at(5_000).given(), [(task, "s0".to_owned())]);
}

#[test]
fn a_failed_task_rests_before_it_is_decided_on_again() {
    let mut scene = MatcherScene::new(1);
    let task = scene.queue_one(NewTask {
        max_retries: 3,
        ..NewTask::command("true")
    });
    let attempt = scene.round().given[0].attempt;
    assert_eq!(scene.matcher.due_in(scene.clock.now()), None);
    let end = End {
        attempt,
        outcome: Outcome::Failed,
        event: Event::Retry,
        exit_code: Some(1),
        error: Some("why".to_owned()),
        output: None,
        not_before: Some(wall(1_000)),
        turn: None,
        limit: None,
    };
    scene.store.end(&end, wall(0)).expect("ended");
    assert_eq!(scene.given(), []);
    let left = scene.matcher.due_in(scene.clock.now());
    assert_eq!(left, Some(Duration::from_secs(1)));
    assert_eq!(scene.at(999).given(), []);
    scene.questions();
    assert_eq!(scene.at(1_000).given(), [(task, "s0".to_owned())]);
    // The policy is told where it failed.
    let question = &scene.questions()[0].tasks[0];
    assert_eq!((question.attempt, &question.avoid), (2, &vec![0]));
}

/// Tasks that the policy lets wait do not hide those after them.
#[test]
fn tasks_are_read_page_by_page() {
    let waiting = |number: usize| vec![NewTask::command("wait"); number];
    for (shells, tasks, pages) in [
        (1, 15, vec![15]),
        (1, 16, vec![16]),
        // A page of which nothing was taken is followed by one of twice its size.
        (1, 40, vec![16, 24]),
        (1, 1_000, vec![16, 32, 64, 128, 256, 256, 248]),
        (4, 20, vec![16, 4]),
        (5, 30, vec![20, 10]),
        (100, 300, vec![256, 44]),
    ] {
        let mut scene = MatcherScene::new(shells);
        let ids = scene.queue(&waiting(tasks));
        let asked = scene.asks();
        let sizes: Vec<usize> = asked.iter().map(Vec::len).collect();
        assert_eq!(sizes, pages, "{shells} shells, {tasks} tasks");
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        assert_eq!(asked.concat(), ids, "each once and in order");
    }
    // Nothing is read for sessions that are taken.
    let mut scene = MatcherScene::new(2);
    let mut tasks = waiting(15);
    tasks.extend(vec![NewTask::command("true"); 2]);
    tasks.extend(waiting(30));
    let ids = scene.queue(&tasks);
    let given = scene.given();
    let wanted = [(ids[15], "s0".to_owned()), (ids[16], "s1".to_owned())];
    assert_eq!(given, wanted);
    let questions = scene.questions();
    let sizes = questions.iter().map(|question| question.tasks.len());
    assert_eq!(sizes.collect::<Vec<usize>>(), [16, 16]);
    // The second page is no longer offered the session that went on the first.
    assert_eq!(questions[1].sessions.len(), 1);
    assert_eq!(questions[1].sessions[0].name, "s1");
}

#[test]
fn a_target_is_bound_before_a_task_is_given_to_it() {
    let mut scene = MatcherScene::new(2);
    let target = |name: &str| NewTask {
        target_session: Some(name.into()),
        ..NewTask::command("true")
    };
    let tasks = scene.queue(&[target("s1"), target("later"), NewTask::command("true")]);
    let matched = scene.round();
    assert!(matched.unbound);
    let given: Vec<TaskId> = matched.given.iter().map(|given| given.task.id).collect();
    assert_eq!(given, [tasks[2]]);
    // It is decided on as soon as it is bound, which the daemon does itself.
    scene.questions();
    scene.sessions.remove(0);
    let bound = [(
        "s1".to_owned(),
        crate::model::naming::Meaning::Pane(identity(1)),
    )];
    let ledger = scene.matcher.ledger.clone();
    let work = ledger.run(move |store| store.bind(&bound));
    let Poll::Ready(done) = pin!(work).poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("nothing in it takes any time");
    };
    done.expect("bound");
    let matched = scene.round();
    assert!(!matched.unbound);
    let given: Vec<TaskId> = matched.given.iter().map(|given| given.task.id).collect();
    assert_eq!(given, [tasks[0]]);
}

#[test]
fn a_round_that_left_a_target_unbound_is_followed_by_another() {
    let mut scene = MatcherScene::new(1);
    scene.queue(&[
        NewTask {
            target_session: Some("s0".into()),
            ..NewTask::command("true")
        },
        NewTask::command("wait"),
    ]);
    assert!(scene.is_asked());
    assert!(scene.is_asked(), "until it is bound");
}
