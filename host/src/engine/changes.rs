//! The smallest changes that would let a task run that waits: found by trying them in thought, on
//! the hard constraints and on the policy itself.
//!
//! For each session there is a plan: what rules the session out is taken back, one by one, and then
//! the policy is asked as if that were done. Where it would rather wait, one thing more is tried:
//! that the session came closer to what the task asks, or the task asked for less. Only what leads
//! to an assignment is offered.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use shell_quote::Sh;

use super::matching::{candidate, obstacle, resolved, resource, seconds};
use crate::model::eligibility::{Admission, SHELL};
use crate::model::matching::{Decision, Question};
use crate::model::session::{AT_PROMPT, Activity, is_called};
use crate::model::task::{Kind, Task};
use crate::policy::Policy;
use crate::probe;
use crate::store::{Pause, SessionRow};

/// Something that would let a task run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What to do, or to wait for.
    pub change: String,
    /// Where the task would go, as far as can be told.
    pub session: Option<String>,
    /// With how many points.
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

/// How many changes are told.
const MOST: usize = 10;
/// How often the policy is asked: some take long.
const MOST_QUESTIONS: usize = 100;

/// What stands in the way of a task, as last seen.
pub(super) struct Scene<'a> {
    pub(super) task: &'a Task,
    pub(super) rows: &'a [&'a SessionRow],
    pub(super) pauses: &'a [Pause],
    pub(super) policy: &'a Policy,
    pub(super) now: Timestamp,
}

/// What can be taken back or brought about, in thought.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// The session comes to its prompt by itself.
    Wait,
    /// The pauses that hold it are ended.
    Resume(Vec<Pause>),
    /// It is given a label.
    Label(String, String),
    /// The task names it: a protected session takes no others.
    Name,
    /// It comes to a directory.
    Directory(String),
    /// It comes to a branch.
    Branch(String),
    /// It exports variables.
    Export(Vec<String>),
    /// The task asks for less.
    Drop(Part),
    /// The task takes any session.
    Any,
    /// The configuration excludes it no more.
    Include,
}

/// What a task may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Target,
    Provider,
    Branch,
    Labels,
    Variables,
    Directory,
}

impl Step {
    /// How much it is to do: less comes first.
    fn effort(&self) -> u32 {
        match self {
            Self::Wait => 0,
            Self::Resume(_) => 1,
            Self::Label(..) | Self::Name => 2,
            Self::Directory(_) | Self::Branch(_) | Self::Export(_) => 3,
            Self::Drop(Part::Directory) => 5,
            Self::Drop(_) => 4,
            Self::Any => 6,
            Self::Include => 7,
        }
    }

    /// Whether it is done to the task alone: then the policy may choose any session.
    fn is_of_task(&self) -> bool {
        matches!(self, Self::Drop(_) | Self::Any)
    }
}

/// What was tried, of which session (none: of the task alone), and whether it would be enough.
type Tried = Vec<((Option<usize>, Vec<Step>), bool)>;

/// Returns what would let the task run, the least first; nothing where it can run as it is.
pub(super) fn changes(scene: &Scene<'_>) -> Vec<Change> {
    let mut questions = 0;
    if try_out(scene, None, &[], &mut questions).is_some() {
        return Vec::new();
    }
    let mut found: Vec<(u32, Change)> = Vec::new();
    let mut tried = Tried::new();
    for session in 0..scene.rows.len() {
        for plan in plans(scene, session) {
            follow(
                scene,
                session,
                &plan,
                &mut tried,
                &mut questions,
                &mut found,
            );
        }
    }
    if scene.rows.is_empty() {
        found.push((0, Change::new("start a session with `tmux new-session`")));
    } else if let Some(change) = start(scene) {
        found.push((50, change));
    }
    found.sort_by_key(|(effort, _)| *effort);
    let mut changes: Vec<Change> = Vec::new();
    for (_, change) in found {
        if !changes.contains(&change) {
            changes.push(change);
        }
    }
    changes.truncate(MOST);
    changes
}

/// Asks the policy about a plan, and where it would rather wait, about the plan and one thing more.
fn follow(
    scene: &Scene<'_>,
    session: usize,
    plan: &[Step],
    tried: &mut Tried,
    questions: &mut usize,
    found: &mut Vec<(u32, Change)>,
) {
    let mut attempt = |steps: Vec<Step>| -> bool {
        let of_task = steps.iter().all(Step::is_of_task);
        let key = ((!of_task).then_some(session), steps);
        if let Some((_, enough)) = tried.iter().find(|(other, _)| *other == key) {
            return *enough;
        }
        let answer = try_out(scene, Some(session), &key.1, questions);
        let steps = key.1.clone();
        // Where the task would go elsewhere, it is not this session that must change.
        let answer = answer.filter(|(taken, _)| *taken == session || of_task);
        tried.push((key, answer.is_some()));
        let Some((taken, points)) = answer else {
            return false;
        };
        let words: Vec<String> = steps
            .iter()
            .map(|step| in_words(scene, session, step))
            .collect();
        let effort = steps.iter().map(Step::effort).sum::<u32>() + 10 * (steps.len() as u32 - 1);
        found.push((
            effort,
            Change {
                change: words.join(", and "),
                session: Some(scene.rows[taken].name.clone()),
                points: Some(points),
            },
        ));
        true
    };
    if !plan.is_empty() && attempt(plan.to_vec()) {
        return;
    }
    for more in closer(scene, session) {
        if !plan.contains(&more) {
            let mut steps = plan.to_vec();
            steps.push(more);
            attempt(steps);
        }
    }
}

/// The ways in which what rules a session out can be taken back; none: there is no way. One empty
/// plan: nothing rules it out.
fn plans(scene: &Scene<'_>, session: usize) -> Vec<Vec<Step>> {
    let row = scene.rows[session];
    let task = scene.task;
    let suits = match task.kind {
        Kind::Command => row.provider == SHELL,
        Kind::Prompt => row.provider != SHELL,
    };
    if !suits {
        return Vec::new();
    }
    // Each obstacle with the ways around it.
    let mut obstacles: Vec<Vec<Step>> = Vec::new();
    let target = task.target_session.as_deref();
    let is_target = target.is_some_and(|target| is_called(&row.name, target));
    if row.admission == Admission::Excluded {
        obstacles.push(vec![Step::Include]);
    }
    if row.admission == Admission::Protected && !is_target {
        obstacles.push(vec![Step::Name]);
    } else if target.is_some() && !is_target && !task.metadata.target_fallback {
        obstacles.push(vec![Step::Drop(Part::Target)]);
    }
    let providers = task.allowed_providers();
    if !providers.is_empty() && !providers.contains(&row.provider) {
        obstacles.push(vec![Step::Drop(Part::Provider)]);
    }
    if let Some(branch) = task.metadata.session_branch()
        && row.git_branch.as_deref() != Some(branch)
    {
        obstacles.push(vec![
            Step::Branch(branch.to_owned()),
            Step::Drop(Part::Branch),
        ]);
    }
    let required = task.metadata.require_labels.iter();
    let missing: Vec<_> = required
        .filter(|(name, value)| row.labels.get(*name) != Some(value))
        .collect();
    match missing.as_slice() {
        [] => {}
        [(name, value)] => obstacles.push(vec![
            Step::Label((*name).clone(), (*value).clone()),
            Step::Drop(Part::Labels),
        ]),
        _ => obstacles.push(vec![Step::Drop(Part::Labels)]),
    }
    if row.paused {
        let pauses = scene.pauses.iter();
        let pauses = pauses.filter(|pause| pause.covers(&row.name, &row.provider));
        obstacles.push(vec![Step::Resume(pauses.cloned().collect())]);
    }
    if row.activity != Activity::Idle {
        obstacles.push(vec![Step::Wait]);
    }
    let mut plans = vec![Vec::new()];
    for ways in obstacles {
        let with = |way: &Step| {
            let way = way.clone();
            plans.iter().map(move |plan: &Vec<Step>| {
                let mut plan = plan.clone();
                plan.push(way.clone());
                plan
            })
        };
        plans = ways.iter().flat_map(with).collect();
    }
    plans
}

/// What could make a policy take a session that it would rather not.
fn closer(scene: &Scene<'_>, session: usize) -> Vec<Step> {
    let row = scene.rows[session];
    let metadata = &scene.task.metadata;
    let mut steps = Vec::new();
    if !metadata.prefer_context_match {
        return steps;
    }
    if let Some(directory) = &metadata.working_dir {
        if row.current_dir.as_ref() != Some(&resolved(directory)) {
            steps.push(Step::Directory(directory.clone()));
        }
        steps.push(Step::Drop(Part::Directory));
    }
    if let Some(branch) = &metadata.git_branch {
        if row.git_branch.as_ref() != Some(branch) {
            steps.push(Step::Branch(branch.clone()));
        }
        steps.push(Step::Drop(Part::Branch));
    }
    if !metadata.env_vars.is_empty() {
        let names = metadata.env_vars.keys().cloned().collect();
        steps.push(Step::Export(names));
        steps.push(Step::Drop(Part::Variables));
    }
    steps.push(Step::Any);
    steps
}

/// Where no session will do, whatever is changed: which one to start.
fn start(scene: &Scene<'_>) -> Option<Change> {
    let task = scene.task;
    let providers = task.allowed_providers();
    let suits = |row: &&&SessionRow| match task.kind {
        Kind::Command => row.provider == SHELL,
        Kind::Prompt => row.provider != SHELL,
    };
    if !scene.rows.iter().any(|row| suits(&row)) {
        return Some(Change::new(match task.kind {
            Kind::Prompt => {
                "start an agent in a session, or send it with --shell if it is a command"
            }
            Kind::Command => "start a session with a shell: `tmux new-session`",
        }));
    }
    if let Some(target) = &task.target_session
        && !scene.rows.iter().any(|row| is_called(&row.name, target))
    {
        let command = command(&["tmux", "new-session", "-d", "-s", target]);
        let how = command.map_or_else(String::new, |command| format!(": {command}"));
        return Some(Change::new(format!("start session {target}{how}")));
    }
    if !providers.is_empty()
        && !scene
            .rows
            .iter()
            .any(|row| providers.contains(&row.provider))
    {
        return Some(Change::new(format!(
            "start a session with {}",
            providers.join(" or ")
        )));
    }
    None
}

/// Returns the session that the task would get if the steps were done, and its points.
fn try_out(
    scene: &Scene<'_>,
    session: Option<usize>,
    steps: &[Step],
    questions: &mut usize,
) -> Option<(usize, i32)> {
    let mut task = scene.task.clone();
    let mut rows: Vec<SessionRow> = scene.rows.iter().map(|row| (*row).clone()).collect();
    for step in steps {
        do_in_thought(
            step,
            &mut task,
            session.and_then(|session| rows.get_mut(session)),
        );
    }
    let ready: Vec<usize> = (0..rows.len())
        .filter(|&index| obstacle(&rows[index]).is_none())
        .collect();
    let listed: Vec<usize> = if scene.policy.wants_busy() {
        let others = (0..rows.len()).filter(|index| !ready.contains(index));
        ready.iter().copied().chain(others).collect()
    } else {
        ready.clone()
    };
    let places = listed.iter().map(|&index| rows[index].place());
    let mut candidate = candidate(&task, places, scene.now);
    let may = |eligible: &Vec<usize>| eligible.iter().any(|&place| place < ready.len());
    if ready.is_empty()
        || candidate
            .eligible
            .as_ref()
            .is_some_and(|eligible| !may(eligible))
    {
        return None;
    }
    *questions += 1;
    if *questions > MOST_QUESTIONS {
        return None;
    }
    candidate.working_dir = candidate.working_dir.as_deref().map(resolved);
    let named: BTreeSet<String> = task.metadata.env_vars.keys().cloned().collect();
    let sessions = listed.iter().enumerate().map(|(place, &index)| {
        let mut resource = resource(&rows[index], None, "", &named, scene.now);
        resource.ready = place < ready.len();
        resource
    });
    let question = Question {
        now: u64::try_from(scene.now.as_second()).unwrap_or_default(),
        explain: 1,
        facts: Vec::new(),
        tasks: vec![candidate],
        sessions: sessions.collect(),
    };
    match scene.policy.decide_leisurely(&question).ok()?.pop()? {
        Decision::Assign { take, .. } => Some((listed[take.session], take.points)),
        Decision::Wait { .. } => None,
    }
}

fn do_in_thought(step: &Step, task: &mut Task, row: Option<&mut SessionRow>) {
    match step {
        Step::Drop(part) => {
            let metadata = &mut task.metadata;
            match part {
                Part::Target => {
                    task.target_session = None;
                    metadata.target_fallback = false;
                }
                Part::Provider => {
                    task.target_provider = None;
                    metadata.preferred_providers.clear();
                    metadata.fallback_providers.clear();
                    metadata.allow_fallback = false;
                }
                Part::Branch => {
                    metadata.git_branch = None;
                    metadata.require_branch = false;
                }
                Part::Labels => metadata.require_labels.clear(),
                Part::Variables => metadata.env_vars.clear(),
                Part::Directory => metadata.working_dir = None,
            }
            return;
        }
        Step::Any => {
            task.metadata.prefer_context_match = false;
            return;
        }
        _ => {}
    }
    let Some(row) = row else { return };
    match step {
        Step::Wait => {
            row.activity = Activity::Idle;
            AT_PROMPT.clone_into(&mut row.reason);
        }
        Step::Resume(_) => {
            row.paused = false;
            if row.activity == Activity::Idle {
                AT_PROMPT.clone_into(&mut row.reason);
            }
        }
        Step::Label(name, value) => {
            row.labels.insert(name.clone(), value.clone());
        }
        Step::Name => task.target_session = Some(row.name.clone()),
        Step::Directory(directory) => {
            let directory = resolved(directory);
            row.git_branch = probe::git_branch(directory.as_ref());
            row.current_dir = Some(directory);
        }
        Step::Branch(branch) => row.git_branch = Some(branch.clone()),
        Step::Export(names) => {
            for name in names {
                if let Some(value) = task.metadata.env_vars.get(name) {
                    row.env.insert(name.clone(), value.clone());
                }
            }
        }
        Step::Include => {
            row.admission = Admission::Open;
            if row.activity == Activity::Idle {
                AT_PROMPT.clone_into(&mut row.reason);
            }
        }
        Step::Drop(_) | Step::Any => {}
    }
}

fn in_words(scene: &Scene<'_>, session: usize, step: &Step) -> String {
    let row = scene.rows[session];
    let name = &row.name;
    let task = scene.task;
    let id = task.id.to_string();
    let by =
        |args: &[&str]| command(args).map_or_else(String::new, |command| format!(": {command}"));
    let edit = |what: &str| by(&["assigner", "edit", &id, "--unset", what]);
    match step {
        Step::Wait => {
            let since = seconds(row.since, scene.now);
            let since = SignedDuration::from_secs(i64::from(since));
            let what = match (row.current_task, row.activity) {
                (Some(task), _) => format!("it is busy with task {task}"),
                (None, activity) => format!("{activity}, {}", row.reason),
            };
            format!("wait until session {name} is idle: {what} since {since:#}")
        }
        Step::Resume(pauses) => {
            let commands: Vec<String> = pauses
                .iter()
                .filter_map(|pause| match pause {
                    Pause::All => command(&["assigner", "resume", "--all"]),
                    Pause::Provider(name) => command(&["assigner", "resume", "--provider", name]),
                    Pause::Session(name) => command(&["assigner", "resume", "--", name]),
                })
                .collect();
            let how = if commands.is_empty() {
                String::new()
            } else {
                format!(": {}", commands.join(" and "))
            };
            format!("resume session {name}, which is paused{how}")
        }
        Step::Label(label, value) => {
            let pair = format!("{label}={value}");
            let how = by(&["assigner", "label", "--", name, &pair]);
            format!("give session {name} the label {pair}{how}")
        }
        Step::Name => {
            let target = format!("--target={name}");
            let how = by(&["assigner", "edit", &id, &target]);
            format!("name session {name} with --target{how}")
        }
        Step::Directory(directory) => format!("bring session {name} to {directory}"),
        Step::Branch(branch) => format!("bring session {name} to branch {branch}"),
        Step::Export(names) => {
            let names = names.join(", ");
            format!("export what it asks for in session {name}: {names}")
        }
        Step::Drop(Part::Target) => {
            let target = task.target_session.as_deref().unwrap_or_default();
            format!("drop the target {target}{}", edit("target"))
        }
        Step::Drop(Part::Provider) => format!("drop the providers{}", edit("provider")),
        Step::Drop(Part::Branch) => {
            let branch = task.metadata.git_branch.as_deref().unwrap_or_default();
            format!("drop the branch {branch}{}", edit("branch"))
        }
        Step::Drop(Part::Labels) => {
            let labels = task.metadata.require_labels.iter();
            let labels: Vec<String> = labels
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let (labels, how) = (labels.join(", "), edit("require-label"));
            format!("drop the required label {labels}{how}")
        }
        Step::Drop(Part::Variables) => format!("drop the variables{}", edit("env")),
        Step::Drop(Part::Directory) => {
            let directory = task.metadata.working_dir.as_deref().unwrap_or_default();
            format!("drop the directory {directory}{}", edit("working-dir"))
        }
        Step::Any => {
            let how = by(&["assigner", "edit", &id, "--no-context-match"]);
            format!("let any session do{how}")
        }
        Step::Include => format!(
            "take session {name} out of `exclude` in the configuration, and start the daemon anew"
        ),
    }
}

/// A command to be copied, in backticks; none where an argument could not be read so.
fn command(args: &[&str]) -> Option<String> {
    let unfit = |text: &&str| text.chars().any(|c| c.is_control() || c == '`');
    if args.iter().any(unfit) {
        return None;
    }
    let words = args.iter().map(|arg| Sh::quote_vec(*arg));
    let words: Vec<String> = words
        .map(|word| String::from_utf8_lossy(&word).into_owned())
        .collect();
    Some(format!("`{}`", words.join(" ")))
}
