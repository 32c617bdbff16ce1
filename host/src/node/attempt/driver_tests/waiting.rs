//! When attempts are waited for, and what they leave.

use super::*;

#[test]
fn an_attempt_says_when_it_looks_again() {
    local(|| async {
        let mut run = DrivenAttempt::new();
        assert_eq!(run.driver.due_in(), None);
        run.start();
        run.rest().await;
        // Its shell has the line, which wakes nobody.
        assert_eq!(run.driver.due_in(), None);
        // What it waits for now stands in its own files.
        run.leaves(Files {
            output_whole: false,
            ..exited(0)
        });
        run.rest().await;
        assert_eq!(run.driver.due_in(), None);
        // Whether its shell is at its prompt is seen in its pane.
        let mut run = DrivenAttempt::new();
        run.start();
        run.rest().await;
        run.leaves(Files {
            exit: None,
            back: Some(1),
            ..exited(0)
        });
        run.rest().await;
        assert_eq!(run.driver.due_in(), Some(Duration::from_millis(50)));
        run.world.ms.set(run.world.ms.get() + 20);
        assert_eq!(run.driver.due_in(), Some(Duration::from_millis(30)));
        run.world.ms.set(run.world.ms.get() + 400);
        assert_eq!(run.driver.due_in(), Some(Duration::ZERO));
        // One that has ended looks at nothing any more.
        run.leaves(exited(0));
        run.rest().await;
        assert_eq!(run.driver.due_in(), None);
    });
}

#[test]
fn stopping_waits_for_acts_and_for_no_more_than_they_may_take() {
    local(|| async {
        let settled = async |run: &DrivenAttempt, ms| {
            let began = tokio::time::Instant::now();
            run.driver.settle(Duration::from_millis(ms)).await;
            began.elapsed()
        };
        let mut run = DrivenAttempt::new();
        run.start();
        run.rest().await;
        assert!(settled(&run, 5_000).await < Duration::from_secs(1));
        let mut run = DrivenAttempt::new();
        run.world.stuck.set(true);
        run.start();
        run.rest().await;
        assert!(settled(&run, 50).await >= Duration::from_millis(50));
        assert!(run.world.acts.borrow().is_empty());
        let world = Rc::clone(&run.world);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(Duration::from_millis(30)).await;
            world.stuck.set(false);
        });
        assert!(settled(&run, 5_000).await < Duration::from_secs(4));
        assert!(run.did(|act| matches!(act, Act::Type(_))));
    });
}

#[test]
fn a_dropped_driver_does_nothing_any_more() {
    local(|| async {
        let mut run = DrivenAttempt::new();
        run.world.stuck.set(true);
        run.start();
        run.rest().await;
        let DrivenAttempt { driver, world, .. } = run;
        drop(driver);
        world.stuck.set(false);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(world.acts.borrow().is_empty());
    });
}

#[test]
fn a_failed_try_rests_from_when_it_ended() {
    local(|| async {
        let mut run = DrivenAttempt::of(NewTask {
            max_retries: 2,
            ..NewTask::command("false")
        });
        run.start();
        run.rest().await;
        run.leaves(taken());
        run.rest().await;
        run.world.ms.set(5_000);
        run.leaves(exited(1));
        run.rest().await;
        let id = run.brief.task.id;
        let task = run.store.task(id).expect("a task");
        assert_eq!(task.status, Status::Pending);
        assert_eq!(task.not_before, Some(at(5_000).wall + backoff(1)));
        assert_eq!(run.attempt().ended_at, Some(at(5_000).wall));
    });
}

#[test]
fn what_a_task_has_set_is_reported_unless_it_was_isolated() {
    local(|| async {
        for isolated in [false, true] {
            let mut new = NewTask {
                secrets: Some("values-1".to_owned()),
                ..NewTask::command("true")
            };
            let value = ("A".to_owned(), "1".to_owned());
            new.metadata.env_vars = [value.clone()].into();
            new.metadata.isolate_env = isolated;
            let mut run = DrivenAttempt::of(new);
            run.start();
            run.rest().await;
            run.leaves(taken());
            run.rest().await;
            run.leaves(exited(0));
            run.rest().await;
            let given = &run.over().given;
            assert_eq!(given.is_empty(), isolated);
            assert!(isolated || *given == [value].into());
            // Nobody needs its secrets any more.
            assert_eq!(*run.world.secrets.borrow(), ["values-1"]);
            assert!(run.store.secrets_in_use().expect("secrets").is_empty());
        }
    });
}

#[test]
fn a_pane_in_a_mode_is_told_before_what_its_screen_shows() {
    let shown = |in_mode| Shown {
        says: crate::agents::fuse::Says::Busy,
        detail: "it works".to_owned(),
        holds_text: false,
        part_of_text: false,
        near_text: false,
        line_holds_text: false,
        given: 0,
        draft: None,
        in_mode,
        cursor: (0, 0),
    };
    assert_eq!(shown(false).reason(), "it works");
    assert_eq!(shown(true).reason(), "the pane is in copy mode");
}

/// What is remembered of a profile must not outlive a change of it.
#[test]
fn a_profile_that_was_read_again_is_another() {
    let catalog = crate::agents::Catalog::built_in();
    let profile = Arc::clone(&catalog.get("codex").expect("a profile").profile);
    let same = SameProfile(Arc::clone(&profile));
    assert_eq!(same, SameProfile(Arc::clone(&profile)));
    let again = crate::agents::Profile::clone(&profile);
    assert_ne!(same, SameProfile(Arc::new(again)));
}

#[test]
fn what_is_shown_of_a_pane_is_that_of_its_own_session() {
    local(|| async {
        let mut run = DrivenAttempt::new();
        run.start();
        run.rest().await;
        run.leaves(taken());
        run.rest().await;
        // It is gone, together with its shell; another one has appeared.
        let mut other = identity();
        other.pane_pid += 1;
        let Presence::Here(sight) = pane(|_| {}) else {
            panic!("a pane");
        };
        run.world.ms.set(20_000);
        run.driver.publish(Scan {
            at: Some(run.world.now().tick),
            sessions: [(other, sight)].into(),
            ..Scan::default()
        });
        run.rest().await;
        assert_eq!(run.status(), Status::InProgress);
    });
}
