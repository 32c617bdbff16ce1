//! Finds the smallest changes that would let a waiting task run, by trying them hypothetically
//! against the hard constraints and the policy itself.
//!
//! There is a plan for each session: what rules the session out is removed, one thing after
//! another, and then the policy is asked as if that had been done. If it would still rather wait,
//! one more thing is tried: that the session comes closer to what the task asks for, or that the
//! task asks for less. Only what leads to an assignment is offered.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;

use super::steps::{TrialStep, command, do_in_thought, in_words};
use super::{Exports, named};
use crate::matcher::{avoid, candidate, obstacle, resource};
use crate::model::directory::DirectorySight;
use crate::model::eligibility::{Admission, SHELL, Undo};
use crate::model::ids::Identity;
use crate::model::matching::{Decision, Question};
use crate::model::session::{Activity, Shell};
use crate::model::task::{Kind, Task};
use crate::model::text::alternatives;
use crate::policy::Policy;
use crate::store::{PauseRow, SessionRow};

/// Something that would let a task run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What to do, or to wait for.
    pub change: String,
    /// Where the task would go, as far as can be told.
    pub session: Option<String>,
    /// The points that it would get.
    pub points: Option<i32>,
}

impl Change {
    pub(super) fn new(change: impl Into<String>) -> Self {
        Self {
            change: change.into(),
            session: None,
            points: None,
        }
    }
}

/// How many changes are reported.
const MOST: usize = 10;
/// How long the policy is asked in total; some policies are slow.
const PATIENCE: Duration = Duration::from_secs(2);

/// A waiting task and everything around it, as last seen.
pub(super) struct WaitingTask<'a> {
    pub(super) task: &'a Task,
    pub(super) rows: &'a [&'a SessionRow],
    pub(super) pauses: &'a [PauseRow],
    pub(super) policy: &'a Policy,
    pub(super) failed_in: &'a BTreeSet<Identity>,
    pub(super) place: Option<&'a DirectorySight>,
    pub(super) exports: Exports<'a>,
    pub(super) host: &'a str,
    pub(super) foreign: &'a [Foreign],
    pub(super) now: Timestamp,
}

/// A session that runs neither a shell nor a known agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// Its name.
    pub name: String,
    /// Its program.
    pub runs: String,
}

/// Returns what would let the task run, the smallest change first. Returns nothing if it can run as
/// it is.
pub(super) fn changes(stage: &WaitingTask<'_>) -> Vec<Change> {
    let mut search = PlanSearch {
        stage,
        until: Instant::now() + PATIENCE,
        tried: Vec::new(),
        found: Vec::new(),
    };
    match search.try_out(None, &[]) {
        Trial::Waits => {}
        Trial::Goes { .. } => return Vec::new(),
        Trial::Unknown => return start(stage).into_iter().collect(),
    }
    // First remove what rules sessions out, the least effort first; then try what brings them
    // closer.
    let mut plans: Vec<(usize, Vec<TrialStep>)> = (0..stage.rows.len())
        .flat_map(|session| {
            plans(stage, session)
                .into_iter()
                .map(move |plan| (session, plan))
        })
        .collect();
    plans.sort_by_key(|(_, plan)| effort(plan));
    let mut not_enough = Vec::new();
    for (session, plan) in plans {
        // All further plans are more effort than anything that will be reported.
        if search.is_full(effort(&plan)) {
            break;
        }
        if plan.is_empty() || !search.follow(session, &plan) {
            not_enough.push((session, plan));
        }
    }
    for (session, plan) in not_enough {
        if search.found.len() >= MOST {
            break;
        }
        for more in closer(stage, session) {
            let same = |step: &TrialStep| {
                *step == more || (step.part().is_some() && step.part() == more.part())
            };
            if !plan.iter().any(same) {
                let steps = [plan.as_slice(), &[more]].concat();
                search.follow(session, &steps);
            }
        }
    }
    if let Some(change) = start(stage) {
        search.found.push((50, change));
    }
    let mut found = search.found;
    found.sort_by_key(|(effort, change)| (*effort, Reverse(change.points)));
    let mut changes: Vec<Change> = Vec::new();
    for (_, change) in found {
        if !changes.contains(&change) {
            changes.push(change);
        }
    }
    changes.truncate(MOST);
    changes
}

fn effort(steps: &[TrialStep]) -> usize {
    let each: usize = steps.iter().map(TrialStep::effort).sum();
    // One thing to do is less than two, whatever they are.
    each + 10 * steps.len().saturating_sub(1)
}

/// What hypothetically happens to a task.
enum Trial {
    /// It goes to the session at this index, with these points.
    Goes { session: usize, points: i32 },
    /// It waits.
    Waits,
    /// The policy does not say, or there is no time left to ask it.
    Unknown,
}

/// What to do for which session; `None`: for the task alone.
type TrialPlan = (Option<usize>, Vec<TrialStep>);

/// The plans that were tried, and whether each would be enough.
struct PlanSearch<'a> {
    stage: &'a WaitingTask<'a>,
    until: Instant,
    tried: Vec<(TrialPlan, bool)>,
    found: Vec<(usize, Change)>,
}

impl PlanSearch<'_> {
    /// Whether enough changes were found that take less effort than this.
    fn is_full(&self, effort: usize) -> bool {
        let less = self.found.iter().filter(|(found, _)| *found < effort);
        less.count() >= MOST
    }

    /// Tries a plan for a session, and returns whether it is enough.
    fn follow(&mut self, session: usize, steps: &[TrialStep]) -> bool {
        let of_task: Vec<TrialStep> = steps
            .iter()
            .filter(|step| step.is_of_task())
            .cloned()
            .collect();
        let alone = of_task.len() == steps.len();
        let key = ((!alone).then_some(session), steps.to_vec());
        if let Some((_, enough)) = self.tried.iter().find(|(other, _)| *other == key) {
            return *enough;
        }
        // If asking for less is enough by itself, the session need not change.
        if !alone && !of_task.is_empty() && self.follow(session, &of_task) {
            return true;
        }
        let trial = self.try_out(Some(session), steps);
        self.tried.push((key, matches!(trial, Trial::Goes { .. })));
        let Trial::Goes {
            session: taken,
            points,
        } = trial
        else {
            return false;
        };
        let stage = self.stage;
        let words = steps.iter().map(|step| in_words(stage, session, step));
        let change = Change {
            change: words.collect::<Vec<_>>().join(", and "),
            session: Some(stage.rows[taken].name.clone()),
            points: Some(points),
        };
        self.found.push((effort(steps), change));
        true
    }

    /// Asks the policy what would happen to the task if the steps were done.
    fn try_out(&self, session: Option<usize>, steps: &[TrialStep]) -> Trial {
        if Instant::now() >= self.until {
            return Trial::Unknown;
        }
        let stage = self.stage;
        let mut task = stage.task.clone();
        let mut changed = session.map(|session| stage.rows[session].clone());
        for step in steps {
            do_in_thought(step, stage, &mut task, changed.as_mut());
        }
        let row = |index: usize| match &changed {
            Some(row) if Some(index) == session => row,
            _ => stage.rows[index],
        };
        // As in a round: ready sessions first, and after them those that are not.
        let is_ready = |index: &usize| obstacle(row(*index)).is_none();
        let shown = |index: &usize| row(*index).admission != Admission::Excluded;
        let (mut listed, others): (Vec<usize>, Vec<usize>) =
            (0..stage.rows.len()).filter(shown).partition(is_ready);
        let ready = listed.len();
        if stage.policy.wants_busy() {
            listed.extend(others);
        }
        let places = listed.iter().map(|&index| row(index).place());
        let mut candidate = candidate(&task, places, ready, stage.now);
        let may = |eligible: &Vec<usize>| eligible.iter().any(|&place| place < ready);
        if ready == 0
            || candidate
                .eligible
                .as_ref()
                .is_some_and(|eligible| !may(eligible))
        {
            return Trial::Waits;
        }
        candidate.working_dir = named(candidate.working_dir.as_deref(), stage.place);
        candidate.avoid = avoid(listed.iter().map(|&index| row(index)), stage.failed_in);
        let variables: BTreeSet<String> = task.metadata.env_vars.keys().cloned().collect();
        let sessions = listed.iter().enumerate().map(|(place, &index)| {
            let row = row(index);
            let env = (stage.exports)(row, &variables);
            let mut resource = resource(row, &env, stage.host, stage.now);
            resource.ready = place < ready;
            resource
        });
        let question = Question {
            now: u64::try_from(stage.now.as_second()).unwrap_or_default(),
            explain: 1,
            facts: Vec::new(),
            tasks: vec![candidate],
            sessions: sessions.collect(),
        };
        match stage.policy.decide(&question).map(|mut all| all.pop()) {
            Ok(Some(Decision::Assign { take, .. })) => Trial::Goes {
                session: listed[take.session],
                points: take.points,
            },
            Ok(_) => Trial::Waits,
            Err(_) => Trial::Unknown,
        }
    }
}

/// Returns the ways in which everything that rules a session out can be removed. Empty if there is
/// no way; a single empty plan means that nothing rules it out.
fn plans(stage: &WaitingTask<'_>, session: usize) -> Vec<Vec<TrialStep>> {
    let row = stage.rows[session];
    // Each obstacle with the ways around it.
    let ways = stage.task.demand().ways(&row.place()).into_iter();
    let ways = ways.map(|ways| ways.into_iter().map(TrialStep::Undo).collect());
    let mut obstacles: Vec<Vec<TrialStep>> = ways.collect();
    if row.paused {
        let pauses = stage.pauses.iter();
        let pauses = pauses.map(|pause| &pause.what);
        let pauses = pauses.filter(|pause| pause.covers(row.who(), &row.provider));
        obstacles.push(vec![TrialStep::Resume(pauses.cloned().collect())]);
    }
    // A session that is being asked for its variables, or that a person just used, is idle but held
    // back.
    let held = obstacle(row).is_some() && row.admission != Admission::Excluded;
    if row.activity != Activity::Idle || (held && !row.paused) {
        obstacles.push(vec![TrialStep::Wait]);
    }
    let mut plans = vec![Vec::new()];
    for ways in obstacles {
        let with = |way: &TrialStep| {
            let way = way.clone();
            plans.iter().map(move |plan: &Vec<TrialStep>| {
                let mut plan = plan.clone();
                plan.push(way.clone());
                plan
            })
        };
        plans = ways.iter().flat_map(with).collect();
    }
    plans
}

/// Returns what could make a policy take a session that it would rather not take.
fn closer(stage: &WaitingTask<'_>, session: usize) -> Vec<TrialStep> {
    let row = stage.rows[session];
    let metadata = &stage.task.metadata;
    let mut steps = Vec::new();
    let missing = |(name, value): &(&String, &String)| row.labels.get(*name) != Some(value);
    for (name, value) in metadata.labels.iter().filter(missing) {
        steps.push(TrialStep::Undo(Undo::Label(name.clone(), value.clone())));
    }
    let drop = |option, words: String| TrialStep::Undo(Undo::unset(option, words));
    if !metadata.labels.is_empty() {
        steps.push(drop("label", "drop the labels".to_owned()));
    }
    if !metadata.prefer_context_match {
        return steps;
    }
    if let Some(directory) = &metadata.working_dir {
        let is_there = stage.place.is_some_and(|place| place.is_directory);
        if is_there && row.current_dir != named(Some(directory), stage.place) {
            steps.push(TrialStep::Directory(directory.clone()));
        }
        steps.push(drop(
            "working-dir",
            format!("drop the directory {directory}"),
        ));
    }
    if let Some(branch) = &metadata.git_branch {
        if row.git_branch.as_ref() != Some(branch) {
            steps.push(TrialStep::Undo(Undo::Branch(branch.clone())));
        }
        steps.push(drop("branch", format!("drop the branch {branch}")));
    }
    if !metadata.env_vars.is_empty() {
        let names = metadata.env_vars.keys().cloned().collect();
        steps.push(TrialStep::Export(names));
        steps.push(drop("env", "drop the variables".to_owned()));
    }
    let any = Undo::say("no-context-match", "let any session do");
    steps.push(TrialStep::Undo(any));
    steps
}

/// Returns which session to start if no existing one will do, whatever is changed. Only this change
/// is not tried, because a session that does not exist cannot be shown to a policy.
fn start(stage: &WaitingTask<'_>) -> Option<Change> {
    let task = stage.task;
    if stage.rows.is_empty() {
        return Some(Change::new("start a session with `tmux new-session`"));
    }
    let suits = |row: &&SessionRow| match task.kind {
        Kind::Command => row.provider == SHELL,
        Kind::Prompt => row.provider != SHELL,
    };
    if !stage.rows.iter().copied().any(|row| suits(&row)) {
        return Some(Change::new(match task.kind {
            Kind::Prompt => {
                "start an agent in a session, or send it with --shell if it is a command"
            }
            Kind::Command => "start a session with a shell: `tmux new-session`",
        }));
    }
    let target = task.target_session.as_ref()?;
    // A target that is gone does not come back.
    let is_awaited = target.meaning.is_none();
    if !is_awaited || stage.rows.iter().any(|row| row.who().answers(target)) {
        return None;
    }
    if stage.foreign.iter().any(|other| other.name == target.name) {
        return Some(Change::new(format!(
            "run {} in session {target}, or an agent that has a profile: `assigner agents list`",
            shells()
        )));
    }
    let command = command(&["tmux", "new-session", "-d", "-s", &target.name]);
    let how = command.map_or_else(String::new, |command| format!(": {command}"));
    Some(Change::new(format!("start session {target}{how}")))
}

/// Returns the shells that take commands, for people.
fn shells() -> String {
    let names: Vec<&str> = Shell::ALL.iter().map(|shell| shell.name()).collect();
    alternatives(&names)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::matcher::tests::{shell, wall};
    use crate::model::ids::TaskId;
    use crate::model::task::NewTask;
    use crate::policy::Limits;

    /// A policy may look at the labels of tasks and sessions.
    #[test]
    fn a_session_comes_closer_by_the_labels_that_it_lacks() {
        let policy = Policy::embedded(&Limits::default(), &serde_json::json!({}));
        let policy = policy.expect("the default policy");
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let closer_by = |task: &[(String, String)], session: &[(String, String)]| {
            let mut new = NewTask::command("true");
            new.metadata.labels = task.iter().cloned().collect();
            new.metadata.prefer_context_match = false;
            let task = Task::queued(TaskId(3), &new, wall(0));
            let row = SessionRow {
                labels: session.iter().cloned().collect(),
                ..shell("s0", 0)
            };
            let stage = WaitingTask {
                task: &task,
                rows: &[&row],
                pauses: &[],
                policy: &policy,
                failed_in: &BTreeSet::new(),
                place: None,
                exports: &|_, _| BTreeMap::new(),
                host: "here",
                foreign: &[],
                now: wall(0),
            };
            closer(&stage, 0)
        };
        let give = |(name, value)| TrialStep::Undo(Undo::Label(name, value));
        let drop = TrialStep::Undo(Undo::unset("label", "drop the labels"));
        let (a, b) = (label("a", "1"), label("b", "1"));
        assert_eq!(closer_by(&[], std::slice::from_ref(&a)), []);
        let both = closer_by(&[a.clone(), b.clone()], &[label("a", "2"), b.clone()]);
        assert_eq!(both, [give(a.clone()), drop.clone()]);
        assert_eq!(closer_by(std::slice::from_ref(&b), &[a, b.clone()]), [drop]);
    }
}
