//! Shells are asked for variables before a task that names some is decided on.

use super::*;

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// Returns a scene with two shells of which what is known may be out of date.
fn stale() -> MatcherScene {
    let mut scene = MatcherScene::new(2);
    scene.machine.stale = names(&["s0", "s1"]);
    scene
}

#[test]
fn shells_are_asked_before_a_task_that_names_variables_is_decided_on() {
    let mut scene = stale();
    let tasks = [
        NewTask::command("wait"),
        with_variables("wait", &["A", "B"]),
        with_variables("wait", &["C"]),
        NewTask::command("true"),
    ];
    let ids = scene.queue(&tasks);
    let matched = scene.round();
    let [inquiry] = &matched.inquiries[..] else {
        panic!("one inquiry: {matched:?}");
    };
    assert_eq!(inquiry.names, names(&["A", "B", "C"]));
    assert_eq!(inquiry.sessions, [identity(0), identity(1)].into());
    // Those before it are decided on without the shells that are being asked, those after it wait.
    assert!(matched.given.is_empty());
    let questions = scene.questions();
    let asked: Vec<i64> = questions[0].tasks.iter().map(|task| task.id).collect();
    assert_eq!(asked, [ids[0].0]);
    assert!(questions[0].sessions.is_empty());
    // While the answers are awaited, nothing is asked again, and nothing overtakes.
    for session in &mut scene.sessions {
        (session.ready, session.asked) = (false, true);
    }
    scene.sessions.push(OfferedSession {
        row: shell("s2", 2),
        ready: true,
        asked: false,
    });
    let matched = scene.round();
    assert!(matched.inquiries.is_empty() && matched.given.is_empty());
    assert_eq!(scene.questions()[0].tasks.len(), 1);
    // They are decided on as soon as the answers are there, although no row has changed.
    assert_eq!(scene.asks(), [[ids[0].0]]);
    scene.machine.stale.clear();
    for session in &mut scene.sessions {
        (session.ready, session.asked) = (true, false);
    }
    let given = scene.given();
    assert_eq!(given, [(ids[3], "s0".to_owned())]);
}

#[test]
fn no_shell_is_asked_where_that_is_switched_off_or_of_no_use() {
    let mut scene = MatcherScene::set(
        1,
        MatcherSettings {
            ask_variables: false,
            ..MatcherSettings::default()
        },
    );
    scene.machine.stale = names(&["s0"]);
    scene.queue(&[with_variables("wait", &["A"])]);
    assert!(scene.round().inquiries.is_empty());
    assert_eq!(scene.questions()[0].tasks.len(), 1);
    assert!(!scene.is_asked(), "everything was decided on");

    type InquiryChange = (&'static str, bool, fn(&mut MatcherScene, &mut NewTask));
    let cases: [InquiryChange; 7] = [
        ("as it is", true, |_, _| {}),
        ("no variable", false, |_, task| {
            task.metadata.env_vars.clear();
        }),
        ("any session will do", false, |_, task| {
            task.metadata.prefer_context_match = false;
        }),
        ("an agent", false, |scene, _| {
            scene.sessions[0].row.provider = "codex".to_owned();
        }),
        ("it may not run it", false, |_, task| {
            task.metadata.require_labels = [("gpu".to_owned(), "yes".to_owned())].into();
        }),
        ("what is known is new", false, |scene, _| {
            scene.machine.stale.clear();
        }),
        ("a protected one", false, |scene, _| {
            scene.sessions[0].row.admission = Admission::Protected;
        }),
    ];
    for (what, is_asked, change) in cases {
        let mut scene = MatcherScene::new(1);
        scene.machine.stale = names(&["s0"]);
        let mut task = with_variables("wait", &["A"]);
        change(&mut scene, &mut task);
        scene.queue(&[task]);
        assert_eq!(!scene.round().inquiries.is_empty(), is_asked, "{what}");
    }
}

#[test]
fn a_protected_shell_is_asked_only_for_a_task_that_names_it() {
    let mut protected = shell("s0", 0);
    protected.admission = Admission::Protected;
    let task = |target: Option<&str>| {
        let new = NewTask {
            target_session: target.map(Into::into),
            ..with_variables("true", &["A"])
        };
        Task::queued(TaskId(1), &new, wall(0))
    };
    for (target, wanted) in [(None, false), (Some("s1"), false), (Some("s0"), true)] {
        let tasks = [task(target)];
        let (decidable, inquiry) = inquiry::needed(&tasks, &[&protected], &[], |_| true);
        assert_eq!(inquiry.is_some(), wanted, "{target:?}");
        assert_eq!(decidable, usize::from(!wanted), "{target:?}");
    }
}

#[test]
fn only_open_shells_that_may_run_it_are_asked() {
    let agent = SessionRow {
        provider: "codex".to_owned(),
        ..shell("s0", 0)
    };
    let labelled = |row: SessionRow| SessionRow {
        labels: [("gpu".to_owned(), "yes".to_owned())].into(),
        ..row
    };
    let mut command = with_variables("true", &["A"]);
    command.metadata.require_labels = labelled(shell("s0", 0)).labels;
    let prompt = NewTask {
        kind: crate::model::task::Kind::Prompt,
        ..command.clone()
    };
    for (new, row, is_asked) in [
        (&command, labelled(shell("s0", 0)), true),
        (&command, shell("s0", 0), false),
        (&command, labelled(agent.clone()), false),
        // An agent is not asked, even for what it may run.
        (&prompt, labelled(agent.clone()), false),
        (&prompt, agent, false),
    ] {
        let tasks = [Task::queued(TaskId(1), new, wall(0))];
        let (_, inquiry) = inquiry::needed(&tasks, &[&row], &[], |_| true);
        assert_eq!(inquiry.is_some(), is_asked, "{new:?} {row:?}");
    }
}

#[test]
fn each_shell_is_looked_at_and_asked_once() {
    let tasks: Vec<Task> = (1..4)
        .map(|id| Task::queued(TaskId(id), &with_variables("true", &["A"]), wall(0)))
        .collect();
    let (one, two) = (shell("s0", 0), shell("s1", 1));
    let looks = Cell::new(0);
    let is_stale = |row: &SessionRow| {
        looks.set(looks.get() + 1);
        row.name == "s1"
    };
    let (decidable, inquiry) = inquiry::needed(&tasks, &[&one, &two], &[], is_stale);
    assert_eq!(decidable, 0);
    let inquiry = inquiry.expect("an inquiry");
    assert_eq!(inquiry.sessions, [identity(1)].into());
    assert_eq!(looks.get(), 2);
}

#[test]
fn only_what_an_awaited_answer_may_decide_waits_for_it() {
    let mut labelled = with_variables("true", &["A"]);
    labelled.metadata.require_labels = [("gpu".to_owned(), "yes".to_owned())].into();
    let tasks = [
        Task::queued(TaskId(1), &labelled, wall(0)),
        Task::queued(TaskId(2), &NewTask::command("true"), wall(0)),
        Task::queued(TaskId(3), &with_variables("true", &["A"]), wall(0)),
        Task::queued(TaskId(4), &with_variables("true", &["A"]), wall(0)),
    ];
    let (ready, asked) = (shell("s0", 0), shell("s1", 1));
    let (decidable, inquiry) = inquiry::needed(&tasks, &[&ready], &[&asked], |_| false);
    assert_eq!((decidable, inquiry), (2, None));
    let (decidable, inquiry) = inquiry::needed(&tasks, &[&ready], &[], |_| false);
    assert_eq!((decidable, inquiry), (4, None));
}

/// A full page of which some tasks wait for an answer is the last one.
#[test]
fn no_task_overtakes_one_that_waits_for_an_answer() {
    let mut scene = MatcherScene::new(2);
    scene.machine.stale = names(&["s0"]);
    let mut tasks = vec![NewTask::command("wait"); 10];
    tasks.push(with_variables("wait", &["A"]));
    tasks.extend(vec![NewTask::command("true"); 20]);
    let ids = scene.queue(&tasks);
    let asked = scene.asks();
    let before: Vec<i64> = ids[..10].iter().map(|id| id.0).collect();
    assert_eq!(asked, [before]);
}
