//! How well each ready session suits each task.
//!
//! Many sessions share a directory, a branch or a variable. What there can be points for is
//! therefore collected first, and compared with a task once, however many sessions have it.

use std::cmp::Reverse;
use std::collections::HashMap;

use assigner_policy::{Relation, Session, Task, Term, paths, term};

use crate::Settings;

/// How many variables of a task count.
const COUNTED_VARIABLES: usize = 50;
/// How much of a name is shown, in characters.
const SHOWN: usize = 60;

/// The scores of a round.
pub(crate) struct Scores<'a> {
    settings: &'a Settings,
    tasks: &'a [Task],
    /// Positions of the ready sessions: the longest idle first, then the smaller name. A place in
    /// this list is a column.
    pub(crate) ready: Vec<usize>,
    /// What the sessions have, each thing once.
    traits: Vec<Trait<'a>>,
    /// For each column.
    offered: Vec<Offered>,
    /// For each task a row with a pair for each column; `None` where it may not use the session.
    pairs: Vec<Option<Pair>>,
}

/// How well a session suits a task that may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pair {
    /// All points: what sessions are compared by.
    pub(crate) points: i32,
    /// Those for the context alone: what `min-score` is about.
    pub(crate) context: i32,
    /// Whether the task rather takes the session than waits.
    pub(crate) enough: bool,
}

/// What a session can have that a task wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Trait<'a> {
    Directory(&'a str),
    Branch(&'a str),
    Variable(&'a str, &'a str),
    Provider(&'a str),
}

/// What a session has, as places in the list of traits.
struct Offered {
    context: Vec<usize>,
    provider: usize,
}

impl<'a> Scores<'a> {
    pub(crate) fn new(settings: &'a Settings, tasks: &'a [Task], sessions: &'a [Session]) -> Self {
        let mut ready: Vec<usize> = (0..sessions.len())
            .filter(|&session| sessions[session].ready)
            .collect();
        ready.sort_by_key(|&session| (Reverse(sessions[session].since), &sessions[session].name));

        let mut traits = Vec::new();
        let mut places = HashMap::new();
        let mut place = |of: Trait<'a>| {
            *places.entry(of).or_insert_with(|| {
                traits.push(of);
                traits.len() - 1
            })
        };
        let mut offer = |&position: &usize| {
            let session = &sessions[position];
            let directory = session.current_dir.as_deref().map(Trait::Directory);
            let branch = session.git_branch.as_deref().map(Trait::Branch);
            let places = directory.into_iter().chain(branch).map(&mut place);
            let mut context: Vec<usize> = places.collect();
            let variables = session.env.iter();
            let variables = variables.map(|pair| Trait::Variable(&pair.name, &pair.value));
            let mut variables: Vec<usize> = variables.map(&mut place).collect();
            // None counts twice.
            variables.sort_unstable();
            variables.dedup();
            context.append(&mut variables);
            Offered {
                context,
                provider: place(Trait::Provider(&session.provider)),
            }
        };
        let offered = ready.iter().map(&mut offer).collect();

        let mut scores = Self {
            settings,
            tasks,
            pairs: Vec::with_capacity(tasks.len() * ready.len()),
            ready,
            traits,
            offered,
        };
        for task in tasks {
            scores.add_row(task, sessions.len());
        }
        scores
    }

    /// The sessions that a task may use, as columns, in the order of ties.
    pub(crate) fn of(&self, task: usize) -> impl Iterator<Item = (usize, Pair)> {
        let row = &self.pairs[task * self.ready.len()..][..self.ready.len()];
        let pairs = row.iter().enumerate();
        pairs.filter_map(|(column, pair)| pair.map(|pair| (column, pair)))
    }

    /// What the points of a pair are made of.
    pub(crate) fn terms(&self, task: usize, column: usize) -> Vec<Term> {
        let task = &self.tasks[task];
        let offered = &self.offered[column];
        let places = offered.context.iter().chain([&offered.provider]);
        let scored = places.map(|&place| self.score(task, self.traits[place]));
        let mut terms: Vec<Term> = scored
            .filter(|(points, _)| *points != 0)
            .map(|(points, name)| term(name(), points))
            .collect();
        let position = self.ready[column];
        if task
            .avoid
            .iter()
            .any(|&avoided| avoided as usize == position)
        {
            terms.push(term("failed here before", -self.settings.failed_before));
        }
        terms
    }

    fn add_row(&mut self, task: &'a Task, sessions: usize) {
        let score = |&of: &Trait<'a>| self.score(task, of).0;
        let points: Vec<i32> = self.traits.iter().map(score).collect();
        let least = if asks_for_context(task) {
            self.settings.min_score
        } else {
            i32::MIN
        };
        let eligible = match &task.eligible {
            Some(positions) => marks(positions, sessions),
            None => vec![true; sessions],
        };
        let avoided = marks(&task.avoid, sessions);
        let pair = |(&position, offered): (&usize, &Offered)| {
            let context = offered.context.iter().map(|&place| points[place]).sum();
            let penalty = i32::from(avoided[position]) * self.settings.failed_before;
            eligible[position].then_some(Pair {
                points: context + points[offered.provider] - penalty,
                context,
                enough: context >= least,
            })
        };
        self.pairs
            .extend(self.ready.iter().zip(&self.offered).map(pair));
    }

    /// The points that a task has for a trait, and what they are called.
    fn score(&self, task: &Task, of: Trait<'a>) -> (i32, impl FnOnce() -> String) {
        let (settings, context) = (self.settings, &task.context);
        let mut directory = "";
        let points = match of {
            Trait::Provider(name) => {
                let place = task.providers.iter().position(|provider| provider == name);
                // All of it for the first that is named, half for the second, and so on.
                let share = place.and_then(|place| i32::try_from(place + 1).ok());
                share.map_or(0, |share| settings.provider / share)
            }
            _ if !task.match_context => 0,
            Trait::Directory(path) => {
                // Most have nothing in common, which a look at the letters tells at once.
                let wanted = context.working_dir.as_deref();
                let wanted = wanted.filter(|it| it.starts_with(path) || path.starts_with(*it));
                let relation = wanted.map(|wanted| paths::relation(path, wanted));
                let points;
                (directory, points) = match relation.unwrap_or(Relation::Unrelated) {
                    Relation::Same => ("same directory", settings.same_directory),
                    Relation::Ancestor => ("parent directory", settings.parent_directory),
                    Relation::Descendant => ("child directory", settings.child_directory),
                    Relation::Unrelated => ("another directory", 0),
                };
                points
            }
            Trait::Branch(name) if context.git_branch.as_deref() == Some(name) => settings.branch,
            Trait::Variable(name, value) => {
                let mut wanted = context.env.iter().take(COUNTED_VARIABLES);
                let is_wanted = wanted.any(|pair| pair.name == name && pair.value == value);
                if is_wanted { settings.variable } else { 0 }
            }
            Trait::Branch(_) => 0,
        };
        let name = move || match of {
            Trait::Directory(_) => directory.to_owned(),
            Trait::Branch(name) => format!("branch {}", shown(name)),
            // By name only: a value may be a secret.
            Trait::Variable(name, _) => format!("variable {}", shown(name)),
            Trait::Provider(name) => format!("provider {}", shown(name)),
        };
        (points, name)
    }
}

/// An outside name as it is shown: not long. The host sees to what a terminal would act upon.
pub(crate) fn shown(name: &str) -> String {
    let mut text: String = name.chars().take(SHOWN).collect();
    if text.len() < name.len() {
        text.push('…');
    }
    text
}

fn marks(positions: &[u32], length: usize) -> Vec<bool> {
    let mut marks = vec![false; length];
    for &position in positions {
        if let Some(mark) = marks.get_mut(position as usize) {
            *mark = true;
        }
    }
    marks
}

fn asks_for_context(task: &Task) -> bool {
    let context = &task.context;
    let names_some =
        context.working_dir.is_some() || context.git_branch.is_some() || !context.env.is_empty();
    task.match_context && names_some
}
