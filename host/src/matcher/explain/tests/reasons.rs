//! What a task waits for that no change of a session would end, and what is told of sessions.

use super::*;

#[test]
fn what_could_run_it_is_started() {
    let prompt = NewTask::prompt("say hello");
    let scene = WaitingScene::of(&prompt, 1);
    let start = "start an agent in a session, or send it with --shell if it is a command";
    assert_eq!(scene.changes(), [start]);
    assert!(
        scene.reason().starts_with("a prompt goes to agents"),
        "{}",
        scene.reason()
    );
    let mut scene = WaitingScene::of(&prompt, 1);
    scene.rows.push(agent("a", 7));
    assert!(scene.changes().is_empty());
    let mut scene = WaitingScene::new(0);
    scene.rows.push(agent("a", 7));
    assert_eq!(
        scene.changes(),
        ["start a session with a shell: `tmux new-session`"]
    );
    // The named one does not exist yet; another one could stand in for it.
    let drop = "drop the target new: `assigner edit 3 --unset target`";
    let scene = WaitingScene::new(1).target("new", None);
    assert_eq!(
        scene.changes(),
        [drop, "start session new: `tmux new-session -d -s new`"]
    );
    assert_eq!(
        scene.reason(),
        "it is for session new, but there is no session with that name"
    );
    let foreign = |name: &str, runs: &str| Foreign {
        name: name.to_owned(),
        runs: runs.to_owned(),
    };
    let mut scene = WaitingScene::new(1).target("new", None);
    scene.foreign = vec![foreign("other", "top")];
    assert!(scene.changes()[1].starts_with("start session new"));
    scene.foreign.push(foreign("new", "vim"));
    let changes = scene.changes();
    assert_eq!(changes[0], drop);
    assert!(changes[1].starts_with("run bash"), "{changes:?}");
    assert!(
        changes[1].contains("in session new, or an agent"),
        "{changes:?}"
    );
    assert_eq!(
        scene.reason(),
        "it is for session new, which runs `vim`: neither a shell nor an agent that is known here"
    );
}

#[test]
fn a_target_that_is_gone_does_not_come_back() {
    let gone = Meaning::Pane(identity(9));
    let scene = WaitingScene::new(1).target("s9", Some(gone.clone()));
    let lost = "its target session s9 (pane %9) is gone: `assigner reassign 3 --to ...`";
    assert_eq!(scene.reason(), lost);
    assert_eq!(
        scene.changes(),
        ["drop the target s9: `assigner edit 3 --unset target`"]
    );
    // Whatever else it waits for.
    let mut scene = WaitingScene::new(1).target("s9", Some(gone.clone()));
    scene.task.not_before = Some(wall(60_000));
    assert_eq!(scene.reason(), lost);
    // Another may stand in for it.
    let mut scene = WaitingScene::new(1).target("s9", Some(gone.clone()));
    scene.task.metadata.target_fallback = true;
    assert!(scene.changes().is_empty());
    // It has gone where it ran.
    let who = || std::iter::empty();
    let mut task = scene.task.clone();
    task.metadata.target_fallback = false;
    assert!(lost_target(&task, who()).is_some());
    task.status = Status::Completed;
    assert_eq!(lost_target(&task, who()), None);
    // It is there, and cannot run it.
    let here = Meaning::Pane(identity(0));
    let scene = WaitingScene::new(2)
        .target("s0", Some(here))
        .requires("gpu", "yes");
    assert_eq!(
        scene.reason(),
        "it is for session s0, which cannot run it: the task requires the label gpu=yes"
    );
}

fn parent(id: i64, status: Status) -> ParentRow {
    ParentRow {
        id: TaskId(id),
        status,
        if_fails: IfParentFails::Fail,
    }
}

#[test]
fn other_tasks_are_waited_for() {
    use Status::{Completed, InProgress, Pending, Uncertain, WaitingInput};
    for (parents, change) in [
        (vec![(1, Pending)], "wait until task 1 has ended"),
        (
            vec![(1, Completed), (2, Pending)],
            "wait until task 2 has ended",
        ),
        (
            vec![(1, Pending), (2, InProgress)],
            "wait until tasks 1 and 2 have ended",
        ),
        (
            vec![(1, Pending), (2, InProgress), (4, Pending), (5, Pending)],
            "wait until tasks 1, 2 and 2 more have ended",
        ),
        (
            vec![(1, Pending), (2, Uncertain)],
            "say what became of task 2 with `assigner resolve`",
        ),
        (
            vec![(1, Pending), (2, WaitingInput)],
            "answer the agent of task 2 with `assigner reply`",
        ),
    ] {
        let mut scene = WaitingScene::new(1);
        let rows = parents.iter().map(|&(id, status)| parent(id, status));
        scene.parents = rows.collect();
        assert_eq!(scene.changes(), [change], "{parents:?}");
    }
    let mut scene = WaitingScene::new(1);
    scene.parents = (1..6).map(|id| parent(id, Pending)).collect();
    assert_eq!(
        scene.reason(),
        "it waits for task 1, which is pending; task 2, which is pending; \
         task 4, which is pending; and 2 more"
            .replace("task 4", "task 3")
    );
    scene.parents.truncate(3);
    assert!(scene.reason().ends_with("task 3, which is pending"));
    // All have ended.
    scene.parents = vec![parent(1, Completed)];
    assert!(scene.changes().is_empty());
}

#[test]
fn its_time_is_waited_for() {
    for (ms, waits) in [(4_999, false), (5_000, false), (5_001, true), (9_000, true)] {
        let mut scene = WaitingScene::new(1);
        scene.task.not_before = Some(wall(ms));
        assert_eq!(!scene.changes().is_empty(), waits, "{ms}");
    }
    let mut scene = WaitingScene::new(1);
    scene.task.not_before = Some(wall(9_000));
    let due = format!("{:.0}", wall(9_000));
    assert_eq!(scene.changes(), [format!("wait until {due}")]);
    assert_eq!(scene.reason(), format!("it is not to start before {due}"));
    scene.task.error = Some("exit code 1".to_owned());
    assert_eq!(
        scene.reason(),
        "it is tried again in 4 s, because: exit code 1"
    );
}

#[test]
fn a_prompt_whose_agent_is_paused_says_so() {
    let spec = r#"{"command": ["ask"], "response": {"at": "/result"}}"#;
    let mut new = NewTask::command("ask");
    new.metadata.headless = Some(Headless {
        provider: "codex".to_owned(),
        spec: serde_json::from_str::<HeadlessSpec>(spec).expect("a way to ask"),
    });
    let scene = WaitingScene::of(&new, 1).paused(Pause::Provider("codex".to_owned()));
    assert_eq!(
        scene.changes(),
        ["resume provider codex: `assigner resume --provider codex`"]
    );
    assert_eq!(scene.reason(), "paused: takes no new tasks");
    let scene = WaitingScene::of(&new, 1).paused(Pause::Provider("claude".to_owned()));
    assert!(scene.changes().is_empty());
}

#[test]
fn where_the_policy_cannot_be_asked_another_tells_what_would_do() {
    let mut scene = WaitingScene::new(1).requires("gpu", "yes");
    scene.rows[0].labels = scene.task.metadata.require_labels.clone();
    scene.policy = Err("it is broken");
    assert_eq!(scene.reason(), "the policy cannot be asked: it is broken");
    assert!(scene.changes().is_empty());
    scene.rows[0].labels.clear();
    scene.stand_in = Some(&*ANY);
    let changes = scene.explained().changes;
    assert_eq!(changes.len(), 2);
    // Another policy would give other points.
    assert!(changes.iter().all(|change| change.points.is_none()));
    // What the policy says of a session that is free.
    let scene = WaitingScene::new(1).at("/v", true).picky();
    let Explanation { reason, .. } = scene.explained();
    assert!(!reason.starts_with("a session is free"), "{reason}");
}

#[test]
fn every_session_is_listed_the_most_suitable_first() {
    let mut scene = WaitingScene::new(4).at("/v", true).runs(1, "make");
    scene.rows[0].labels = [("gpu".to_owned(), "yes".to_owned())].into();
    scene.rows[1].labels = scene.rows[0].labels.clone();
    scene.rows[3].labels = scene.rows[0].labels.clone();
    scene.rows[3].current_dir = Some("/real/v".to_owned());
    let scene = scene.requires("gpu", "yes");
    let sessions = scene.explained().sessions;
    let listed: Vec<(&str, bool, Option<&str>)> = sessions
        .iter()
        .map(|one| (&*one.session, one.excluded, one.obstacle.as_deref()))
        .collect();
    assert_eq!(
        listed,
        [
            ("s3", false, None),
            ("s0", false, None),
            ("s1", false, Some("busy: runs make")),
            ("s2", true, Some("the task requires the label gpu=yes")),
        ]
    );
    let points: Vec<Option<i32>> = sessions.iter().map(|one| one.points).collect();
    assert_eq!(points[0], Some(100));
    assert_eq!(points[3], None);
    assert!(!sessions[0].terms.is_empty() && sessions[3].terms.is_empty());
    // More obstacles than anyone reads.
    let mut scene = WaitingScene::new(5);
    for row in &mut scene.rows {
        row.provider = "codex".to_owned();
    }
    scene.rows[0].provider = "shell".to_owned();
    scene.rows[0].admission = Admission::Protected;
    let reason = scene.reason();
    assert_eq!(reason.matches("; s").count(), 2, "{reason}");
    assert!(reason.starts_with("no session may run it: s"), "{reason}");
}

#[test]
fn a_session_in_which_it_failed_is_the_last_to_be_taken() {
    let mut scene = WaitingScene::new(2).requires("gpu", "yes");
    scene.failed_in = [identity(0)].into();
    let drop = scene.explained().changes.into_iter();
    let mut drop = drop.filter(|change| change.change.starts_with("drop"));
    let session = drop.next().and_then(|change| change.session);
    assert_eq!(session.as_deref(), Some("s1"));
}

#[test]
fn a_command_is_written_so_that_a_shell_reads_it_as_it_is_meant() {
    assert_eq!(command(&["a", "b c"]).as_deref(), Some("`a b' c'`"));
    for unfit in ["a\nb", "a`b", "\u{1b}"] {
        assert_eq!(command(&["a", unfit]), None, "{unfit:?}");
    }
}
