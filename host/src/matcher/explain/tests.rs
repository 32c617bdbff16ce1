//! Why tasks wait, and what would let them run, as people are told.

mod reasons;

use std::sync::LazyLock;

use serde_json::json;

use super::*;
use crate::matcher::tests::{identity, shell, wall};
use crate::model::eligibility::Admission;
use crate::model::headless::{Headless, HeadlessSpec};
use crate::model::ids::TaskId;
use crate::model::naming::{Meaning, SessionRef};
use crate::model::task::{IfParentFails, NewTask};
use crate::policy::Limits;
use crate::store::Pause;

/// The default policy, which takes any session where none matches.
static ANY: LazyLock<Policy> = LazyLock::new(|| policy("any"));

/// The default policy, which waits where none matches.
static PICKY: LazyLock<Policy> = LazyLock::new(|| policy("wait"));

/// The same, where a session must match in more than one way.
static STRICT: LazyLock<Policy> =
    LazyLock::new(|| policy_of(&json!({ "when-no-match": "wait", "min-score": 40 })));

fn policy(when_no_match: &str) -> Policy {
    policy_of(&json!({ "when-no-match": when_no_match }))
}

fn policy_of(settings: &serde_json::Value) -> Policy {
    // Time is not what is tested here, and the machine may be busy.
    let limits = Limits {
        time: std::time::Duration::from_secs(30),
        load_time: std::time::Duration::from_secs(30),
        ..Limits::default()
    };
    Policy::embedded(&limits, settings).expect("the default policy")
}

/// A pending task, and what is around it.
struct WaitingScene {
    task: Task,
    parents: Vec<ParentRow>,
    rows: Vec<SessionRow>,
    pauses: Vec<PauseRow>,
    policy: Result<&'static Policy, &'static str>,
    stand_in: Option<&'static Policy>,
    failed_in: BTreeSet<Identity>,
    place: Option<DirectorySight>,
    exports: BTreeMap<String, String>,
    foreign: Vec<Foreign>,
}

impl WaitingScene {
    fn new(shells: u32) -> Self {
        Self::of(&NewTask::command("make"), shells)
    }

    fn of(new: &NewTask, shells: u32) -> Self {
        Self {
            task: Task::queued(TaskId(3), new, wall(0)),
            parents: Vec::new(),
            rows: (0..shells)
                .map(|pane| shell(&format!("s{pane}"), pane))
                .collect(),
            pauses: Vec::new(),
            policy: Ok(&*ANY),
            stand_in: None,
            failed_in: BTreeSet::new(),
            place: None,
            exports: BTreeMap::new(),
            foreign: Vec::new(),
        }
    }

    /// The policy waits where no session matches.
    fn picky(mut self) -> Self {
        self.policy = Ok(&*PICKY);
        self
    }

    fn runs(mut self, index: usize, program: &str) -> Self {
        self.rows[index].activity = Activity::Busy;
        self.rows[index].reason = Some(format!("runs {program}"));
        self
    }

    fn paused(mut self, what: Pause) -> Self {
        for row in &mut self.rows {
            if what.covers(row.who(), &row.provider) {
                row.paused = true;
                row.reason = Some("paused: takes no new tasks".to_owned());
            }
        }
        self.pauses.push(PauseRow {
            what,
            until: None,
            reason: None,
        });
        self
    }

    fn target(mut self, name: &str, meaning: Option<Meaning>) -> Self {
        self.task.target_session = Some(SessionRef {
            name: name.to_owned(),
            meaning,
        });
        self
    }

    fn requires(mut self, label: &str, value: &str) -> Self {
        let labels = &mut self.task.metadata.require_labels;
        labels.insert(label.to_owned(), value.to_owned());
        self
    }

    fn at(mut self, directory: &str, is_directory: bool) -> Self {
        self.task.metadata.working_dir = Some(directory.to_owned());
        self.place = Some(DirectorySight {
            path: Some(format!("/real{directory}")),
            is_directory,
            branch: Some("dev".to_owned()),
            repository: None,
        });
        self
    }

    fn explained(&self) -> Explanation {
        let exports = |_: &SessionRow, names: &BTreeSet<String>| {
            let mut exports = self.exports.clone();
            exports.retain(|name, _| names.contains(name));
            exports
        };
        explain(&Scene {
            task: &self.task,
            parents: &self.parents,
            rows: &self.rows,
            pauses: &self.pauses,
            policy: self.policy,
            stand_in: self.stand_in,
            failed_in: &self.failed_in,
            place: self.place.as_ref(),
            exports: &exports,
            host: "here",
            foreign: &self.foreign,
            now: wall(5_000),
        })
    }

    fn changes(&self) -> Vec<String> {
        let changes = self.explained().changes.into_iter();
        changes.map(|change| change.change).collect()
    }

    /// Returns why it waits, without the first change.
    fn reason(&self) -> String {
        let Explanation {
            reason, changes, ..
        } = self.explained();
        match changes.first() {
            Some(first) => {
                let said = format!("; {}", first.change);
                let reason = reason.strip_suffix(&said);
                reason.expect("the first change").to_owned()
            }
            None => reason,
        }
    }
}

fn agent(name: &str, pane: u32) -> SessionRow {
    SessionRow {
        provider: "codex".to_owned(),
        ..shell(name, pane)
    }
}

#[test]
fn a_task_that_can_run_needs_no_change() {
    let scene = WaitingScene::new(1);
    assert_eq!(scene.reason(), "a session is free: the next round takes it");
    assert!(scene.changes().is_empty());
    // What it was told last is what it waits for.
    let mut scene = WaitingScene::new(1);
    scene.task.wait_reason = Some("it is dark".to_owned());
    assert_eq!(scene.reason(), "it is dark");
    // One that is gone is no session.
    let mut scene = WaitingScene::new(1);
    scene.rows[0].activity = Activity::Gone;
    assert_eq!(scene.reason(), "there are no sessions");
    assert_eq!(scene.changes(), ["start a session with `tmux new-session`"]);
}

#[test]
fn a_session_that_is_not_ready_is_waited_for() {
    let scene = WaitingScene::new(1).runs(0, "make");
    assert_eq!(
        scene.reason(),
        "no session that may run it is idle: s0: busy: runs make"
    );
    let wait = "wait until session s0 is idle: busy, runs make since 5s";
    assert_eq!(scene.changes(), [wait]);
    let change = scene.explained().changes.remove(0);
    assert_eq!(change.session.as_deref(), Some("s0"));
    assert!(change.points.is_some());
    let mut scene = WaitingScene::new(1).runs(0, "task 9");
    scene.rows[0].current_task = Some(TaskId(9));
    assert_eq!(
        scene.changes(),
        ["wait until session s0 is idle: it is busy with task 9 since 5s"]
    );
    // Idle, but left alone for a moment.
    let mut scene = WaitingScene::new(1);
    scene.rows[0].reason = Some("a person was there".to_owned());
    assert_eq!(
        scene.changes(),
        ["wait until session s0 is idle: idle, a person was there since 5s"]
    );
    // The other one is free.
    assert!(WaitingScene::new(2).runs(0, "make").changes().is_empty());
}

#[test]
fn a_pause_is_ended_by_what_covers_the_session() {
    for (what, command) in [
        (Pause::All, "`assigner resume --all`"),
        (
            Pause::Provider("shell".to_owned()),
            "`assigner resume --provider shell`",
        ),
        (Pause::Session("s0".into()), "`assigner resume -- s0`"),
    ] {
        let scene = WaitingScene::new(1).paused(what);
        let resume = format!("resume session s0, which is paused: {command}");
        assert_eq!(scene.changes(), [resume]);
    }
    // It runs something as well.
    let scene = WaitingScene::new(1).paused(Pause::All).runs(0, "make");
    let resume = "resume session s0, which is paused: `assigner resume --all`";
    let wait = "wait until session s0 is idle: busy, runs make since 5s";
    assert_eq!(scene.changes(), [format!("{resume}, and {wait}")]);
    // A name that no shell can read has no command.
    let mut scene = WaitingScene::new(1);
    scene.rows[0].name = "a`b".to_owned();
    let scene = scene.paused(Pause::Session("a`b".into()));
    assert_eq!(scene.changes(), ["resume session a`b, which is paused"]);
}

#[test]
fn what_a_hard_constraint_rules_out_is_undone() {
    let scene = WaitingScene::new(1).requires("gpu", "yes");
    assert_eq!(scene.reason(), "no session has the label gpu=yes");
    let give = "give session s0 the label gpu=yes: `assigner label -- s0 gpu'=yes'`";
    let drop = "drop the required label gpu=yes: `assigner edit 3 --unset require-label`";
    assert_eq!(scene.changes(), [give, drop]);
    // The other one has it, and is busy.
    let mut scene = WaitingScene::new(2).requires("gpu", "yes").runs(1, "make");
    scene.rows[1].labels = scene.task.metadata.require_labels.clone();
    let wait = "wait until session s1 is idle: busy, runs make since 5s";
    assert_eq!(scene.changes(), [wait, give, drop]);
    assert_eq!(
        scene.reason(),
        "no session that may run it is idle: s1: busy: runs make"
    );
    // It runs something as well: that is not to be done for the task alone.
    let scene = WaitingScene::new(1).requires("gpu", "yes").runs(0, "make");
    let wait = "wait until session s0 is idle: busy, runs make since 5s";
    assert_eq!(
        scene.changes(),
        [format!("{give}, and {wait}"), format!("{drop}, and {wait}")]
    );
    let mut scene = WaitingScene::new(1);
    scene.rows[0].admission = Admission::Protected;
    assert_eq!(
        scene.changes(),
        ["name session s0 with --target: `assigner edit 3 --target'=s0'`"]
    );
    let mut scene = WaitingScene::new(1);
    scene.rows[0].admission = Admission::Excluded;
    scene.rows[0].reason = Some("excluded by the configuration".to_owned());
    assert_eq!(
        scene.changes(),
        ["take session s0 out of `exclude` in the configuration, and restart the daemon"]
    );
}

#[test]
fn the_least_effort_comes_first_and_not_too_much_is_told() {
    // A pause is ended with less effort than a label is given; waiting takes none.
    let mut scene = WaitingScene::new(3).requires("gpu", "yes").runs(2, "make");
    for index in [1, 2] {
        scene.rows[index].labels = scene.task.metadata.require_labels.clone();
    }
    let scene = scene.paused(Pause::Session("s1".into()));
    let starts: Vec<String> = scene
        .changes()
        .iter()
        .map(|change| change.split(' ').next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(starts, ["wait", "resume", "give", "drop"]);
    let mut scene = WaitingScene::new(14);
    for index in 0..14 {
        scene = scene.runs(index, "make");
    }
    let changes = scene.changes();
    assert_eq!(changes.len(), 10);
    assert!(
        changes
            .iter()
            .all(|change| change.starts_with("wait until session s"))
    );
    let mut scene = WaitingScene::new(12).requires("gpu", "yes");
    for index in 0..11 {
        scene.rows[index].labels = scene.task.metadata.require_labels.clone();
        scene = scene.runs(index, "make");
    }
    // Enough was found with less effort.
    assert!(!scene.changes().iter().any(|change| change.contains("gpu")));
}

#[test]
fn the_best_comes_first_and_one_thing_to_do_before_two() {
    // The best of those that take as little effort, wherever it is in the list.
    let mut scene = WaitingScene::new(14).at("/v", true);
    for index in 0..14 {
        scene = scene.runs(index, "make");
    }
    scene.rows[13].current_dir = Some("/real/v".to_owned());
    assert!(scene.changes()[0].starts_with("wait until session s13 is idle"));
    // Whatever the two are.
    let paused = Pause::Session("s1".into());
    let mut scene = WaitingScene::new(2).paused(paused).runs(1, "make");
    scene.rows[0].admission = Admission::Excluded;
    let changes = scene.changes();
    assert_eq!(changes.len(), 2);
    assert!(
        changes[0].starts_with("take session s0 out of"),
        "{changes:?}"
    );
    // If asking for less is enough, no session need change.
    let scene = WaitingScene::new(2).requires("gpu", "yes").runs(0, "make");
    let give = "the label gpu=yes: `assigner label --";
    let changes = scene.changes();
    assert_eq!(changes.len(), 3, "{changes:?}");
    assert!(changes[0].starts_with(&format!("give session s1 {give}")));
    assert!(changes[1].starts_with("drop the required label") && !changes[1].contains(", and"));
    assert!(changes[2].starts_with(&format!("give session s0 {give}")));
}

#[test]
fn what_is_not_enough_is_joined_with_what_brings_a_session_closer() {
    let mut scene = WaitingScene::new(1);
    scene.policy = Ok(&*STRICT);
    let metadata = &mut scene.task.metadata;
    metadata.git_branch = Some("dev".to_owned());
    metadata.require_branch = true;
    metadata.env_vars = [("A".to_owned(), "1".to_owned())].into();
    let changes = scene.changes();
    let any = "let any session do: `assigner edit 3 --no-context-match`";
    let joined = format!("bring session s0 to branch dev, and {any}");
    assert!(changes.contains(&joined), "{changes:?}");
    // Two steps about one option would undo each other.
    assert!(
        changes
            .iter()
            .all(|change| change.matches("branch dev").count() == 1),
        "{changes:?}"
    );
    scene.task.metadata.env_vars.clear();
    let drop = "drop the branch dev: `assigner edit 3 --unset branch`";
    let changes = scene.changes();
    assert!(changes.contains(&drop.to_owned()), "{changes:?}");
    assert!(
        changes
            .iter()
            .all(|change| change.matches("branch dev").count() == 1),
        "{changes:?}"
    );
}

#[test]
fn a_session_that_the_policy_would_rather_not_take_is_brought_closer() {
    let scene = WaitingScene::new(1).at("/v", true).picky();
    let bring = "bring session s0 to /v";
    let drop = "drop the directory /v: `assigner edit 3 --unset working-dir`";
    let any = "let any session do: `assigner edit 3 --no-context-match`";
    assert_eq!(scene.changes(), [bring, drop, any]);
    assert_eq!(scene.explained().changes[0].points, Some(100));
    // It is no directory, or not known to be one, so nothing can be brought there.
    let scene = WaitingScene::new(1).at("/v", false).picky();
    assert_eq!(scene.changes(), [drop, any]);
    // It is on another branch.
    let mut scene = WaitingScene::new(1).picky();
    scene.task.metadata.git_branch = Some("dev".to_owned());
    let branch = "bring session s0 to branch dev";
    let drop = "drop the branch dev: `assigner edit 3 --unset branch`";
    assert_eq!(scene.changes(), [branch, drop, any]);
    scene.rows[0].git_branch = Some("dev".to_owned());
    assert!(scene.changes().is_empty());
    // It does not export what the task names.
    let mut scene = WaitingScene::new(1).picky();
    let value = ("A".to_owned(), "1".to_owned());
    scene.task.metadata.env_vars = [value.clone()].into();
    let drop = "drop the variables: `assigner edit 3 --unset env`";
    assert!(
        scene.changes().contains(&drop.to_owned()),
        "{:?}",
        scene.changes()
    );
    scene.exports = [value].into();
    assert!(scene.changes().is_empty());
    // Any session will do anyway.
    scene.exports.clear();
    scene.task.metadata.prefer_context_match = false;
    assert!(scene.changes().is_empty());
}

#[test]
fn a_session_that_is_near_but_busy_is_waited_for_or_another_is_brought_there() {
    let mut scene = WaitingScene::new(2).at("/v", true).picky().runs(1, "make");
    scene.rows[1].current_dir = Some("/real/v".to_owned());
    let changes = scene.changes();
    assert_eq!(
        changes[0],
        "wait until session s1 is idle: busy, runs make since 5s"
    );
    assert_eq!(changes[1], "bring session s0 to /v");
    let sessions = scene.explained().changes.into_iter();
    let sessions: Vec<_> = sessions.map(|change| change.session).collect();
    assert_eq!(
        sessions[..2],
        [Some("s1".to_owned()), Some("s0".to_owned())]
    );
    // Each is said once, although it holds for both.
    let mut once = changes.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), changes.len(), "{changes:?}");
}

#[test]
fn many_tasks_are_told_why_they_wait_without_a_policy() {
    let told = |scene: &WaitingScene| {
        let mut reasons = WaitReasons::new(&scene.rows, &scene.pauses, wall(0));
        let first = reasons.of(&scene.task, &scene.parents);
        // The second of the same demand is told the same.
        assert_eq!(reasons.of(&scene.task, &scene.parents), first);
        first
    };
    assert_eq!(told(&WaitingScene::new(2).runs(0, "make")), None);
    let scene = WaitingScene::new(1).runs(0, "make");
    assert_eq!(told(&scene), Some(scene.reason()));
    let scene = WaitingScene::new(1).requires("gpu", "yes");
    assert_eq!(told(&scene), Some(scene.reason()));
    let mut scene = WaitingScene::new(1);
    scene.task.wait_reason = Some("it is dark".to_owned());
    assert_eq!(told(&scene).as_deref(), Some("it is dark"));
    scene.task.wait_reason = None;
    scene.rows[0].activity = Activity::Gone;
    assert_eq!(told(&scene).as_deref(), Some("there are no sessions"));
    let mut scene = WaitingScene::new(1);
    scene.task.target_session = Some("elsewhere".into());
    let said = told(&scene).expect("a reason");
    assert!(said.starts_with("it is for session elsewhere: "), "{said}");
}
