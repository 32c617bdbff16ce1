//! How a session's points for a task are computed.
//!
//! A round has as many pairs as tasks times sessions, so no strings are compared for a pair:
//! every directory, branch, provider and variable gets a number once a round, and the directories
//! get an order in which one comparison tells whether one contains the other.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;

use assigner_policy::{Fit, Judge, Ranking, Relation, Session, Task, Term, paths, term};

use crate::{NoMatch, Settings};

/// How many variables count at most, which limits the points of a session.
const COUNTED_VARIABLES: usize = 1_000;
/// How many variables an explanation names; the others are one term together.
const NAMED_VARIABLES: usize = 8;
/// How much of an outside name is shown, in characters.
const SHOWN: usize = 60;

/// The scores of one round.
pub(crate) struct Scores<'a> {
    settings: &'a Settings,
    tasks: Vec<Wanted<'a>>,
    sessions: Vec<Offered>,
    directories: Directories<'a>,
}

/// What sessions are compared by for one task, the most important first; greater is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// No earlier attempt failed there.
    unblemished: bool,
    matches: bool,
    /// The position of its provider in the task's order of preference.
    preference: Reverse<usize>,
    points: i32,
}

/// What a task asks for, in numbers.
struct Wanted<'a> {
    task: &'a Task,
    /// True if its context counts at all.
    by_context: bool,
    directory: Option<u32>,
    branch: Option<u32>,
    /// Only variables that some session has with the value that the task wants, sorted.
    variables: Vec<u32>,
    /// The same in the task's order, with their names.
    named: Vec<(u32, &'a str)>,
    /// Only providers that some session has.
    providers: Vec<u32>,
    /// Positions of sessions, sorted.
    avoid: Vec<u32>,
}

/// What a session has, in numbers.
struct Offered {
    directory: Option<u32>,
    branch: Option<u32>,
    /// Sorted.
    variables: Vec<u32>,
    provider: u32,
}

/// Where a session fits a task.
struct Parts {
    directory: Relation,
    branch: bool,
    /// The number of matching variables.
    variables: usize,
}

impl<'a> Scores<'a> {
    pub(crate) fn new(settings: &'a Settings, tasks: &'a [Task], sessions: &'a [Session]) -> Self {
        let mut directories = Directories::default();
        let mut branches = Numbers::default();
        let mut providers = Numbers::default();
        let mut variables = Numbers::default();

        let offer = |session: &'a Session| {
            let pairs = session.env.iter();
            let mut has: Vec<u32> = pairs
                .map(|pair| variables.of((pair.name.as_str(), pair.value.as_str())))
                .collect();
            has.sort_unstable();
            Offered {
                directory: session
                    .current_dir
                    .as_deref()
                    .map(|path| directories.of(path)),
                branch: session.git_branch.as_deref().map(|name| branches.of(name)),
                variables: has,
                provider: providers.of(session.provider.as_str()),
            }
        };
        let sessions = sessions.iter().map(offer).collect();

        let want = |task: &'a Task| {
            let context = &task.context;
            let names_context = context.working_dir.is_some()
                || context.git_branch.is_some()
                || !context.env.is_empty();
            let pairs = context.env.iter();
            let wants = pairs.filter_map(|pair| {
                let number = variables.known(&(pair.name.as_str(), pair.value.as_str()))?;
                Some((number, pair.name.as_str()))
            });
            let named: Vec<(u32, &str)> = wants.take(COUNTED_VARIABLES).collect();
            let mut variables: Vec<u32> = named.iter().map(|(number, _)| *number).collect();
            variables.sort_unstable();
            let preferred = task.providers.iter();
            let mut avoid = task.avoid.clone();
            avoid.sort_unstable();
            Wanted {
                task,
                by_context: task.match_context && names_context,
                directory: context
                    .working_dir
                    .as_deref()
                    .map(|path| directories.of(path)),
                branch: context
                    .git_branch
                    .as_deref()
                    .and_then(|name| branches.known(&name)),
                variables,
                named,
                providers: preferred
                    .filter_map(|name| providers.known(&name.as_str()))
                    .collect(),
                avoid,
            }
        };
        let tasks = tasks.iter().map(want).collect();

        directories.relate();
        Self {
            settings,
            tasks,
            sessions,
            directories,
        }
    }

    fn parts(&self, wanted: &Wanted<'_>, offered: &Offered) -> Parts {
        Parts {
            directory: match (offered.directory, wanted.directory) {
                (Some(of_session), Some(of_task)) => self.directories.relation(of_session, of_task),
                _ => Relation::Unrelated,
            },
            branch: wanted.branch.is_some() && wanted.branch == offered.branch,
            variables: count_common(&wanted.variables, &offered.variables),
        }
    }

    fn points(&self, parts: &Parts) -> i32 {
        let branch = if parts.branch {
            self.settings.branch
        } else {
            0
        };
        self.directory_points(parts.directory) + branch + self.variable_points(parts.variables)
    }

    fn directory_points(&self, relation: Relation) -> i32 {
        match relation {
            Relation::Same => self.settings.same_directory,
            Relation::Ancestor => self.settings.parent_directory,
            Relation::Descendant => self.settings.child_directory,
            Relation::Unrelated => 0,
        }
    }

    fn variable_points(&self, count: usize) -> i32 {
        // The count is at most `COUNTED_VARIABLES`, so the product fits.
        i32::try_from(count).map_or(i32::MAX, |count| count * self.settings.variable)
    }
}

impl Judge for Scores<'_> {
    type Rank = Rank;

    fn rank(&self, task: usize, session: usize) -> Fit<Rank> {
        let (wanted, offered) = (&self.tasks[task], &self.sessions[session]);
        let points = if wanted.by_context {
            self.points(&self.parts(wanted, offered))
        } else {
            0
        };
        let matches = wanted.by_context && points >= self.settings.min_score;
        let waits = wanted.by_context && self.settings.when_no_match == NoMatch::Wait;
        let rank = Rank {
            unblemished: !holds(&wanted.avoid, session),
            matches,
            preference: Reverse(wanted.preference(offered.provider)),
            // If any session will do, points below the minimum decide nothing.
            points: if matches || waits { points } else { 0 },
        };
        if matches || !waits {
            Fit::Enough(rank)
        } else {
            Fit::TooLittle(rank)
        }
    }

    fn terms(&self, task: usize, session: usize) -> Vec<Term> {
        let (wanted, offered) = (&self.tasks[task], &self.sessions[session]);
        if !wanted.by_context {
            return Vec::new();
        }
        let parts = self.parts(wanted, offered);
        let mut terms = Vec::new();
        let directory = match parts.directory {
            Relation::Same => Some("same directory"),
            Relation::Ancestor => Some("parent directory"),
            Relation::Descendant => Some("child directory"),
            Relation::Unrelated => None,
        };
        let points = self.directory_points(parts.directory);
        terms.extend(directory.map(|name| term(name, points)));
        let branch = wanted.task.context.git_branch.as_deref();
        if let Some(name) = branch.filter(|_| parts.branch) {
            let name = format!("branch {}", shown(name));
            terms.push(term(name, self.settings.branch));
        }
        // By name only: a value may be a secret.
        let named = wanted.named.iter();
        let matching = named.filter(|(number, _)| offered.variables.binary_search(number).is_ok());
        for (_, name) in matching.take(NAMED_VARIABLES) {
            let name = format!("variable {}", shown(name));
            terms.push(term(name, self.settings.variable));
        }
        let more = parts.variables.saturating_sub(NAMED_VARIABLES);
        if more > 0 {
            let points = self.variable_points(more);
            terms.push(term(format!("{more} more variables"), points));
        }
        terms.retain(|term| term.points != 0);
        terms
    }

    fn too_little(&self, _task: usize, best: &Ranking) -> String {
        let (points, needed) = (best.points, self.settings.min_score);
        format!(
            "no free session fits well enough: the best has {points} of the {needed} points that it takes"
        )
    }
}

impl Wanted<'_> {
    fn preference(&self, provider: u32) -> usize {
        let mut providers = self.providers.iter();
        let place = providers.position(|&preferred| preferred == provider);
        place.unwrap_or(self.providers.len())
    }
}

/// The directories of a round and their ancestors, as a tree with `/` as number 0.
#[derive(Default)]
struct Directories<'a> {
    /// The number of the directory with this name inside a directory.
    children: HashMap<(u32, &'a str), u32>,
    /// The number of each directory's parent, which is smaller; `/` has none.
    parents: Vec<u32>,
    /// The position of each directory in an order in which everything that it contains comes
    /// directly after it, and where that ends.
    spans: Vec<Range<u32>>,
}

impl<'a> Directories<'a> {
    fn of(&mut self, path: &'a str) -> u32 {
        paths::components(path).fold(0, |directory, name| {
            *self.children.entry((directory, name)).or_insert_with(|| {
                self.parents.push(directory);
                self.parents.len() as u32
            })
        })
    }

    /// Computes the positions, once all directories are known.
    fn relate(&mut self) {
        let mut sizes = vec![1; self.parents.len() + 1];
        for (child, &parent) in self.parents.iter().enumerate().rev() {
            sizes[parent as usize] += sizes[child + 1];
        }
        // The position of each directory's next child.
        let mut next = vec![1; sizes.len()];
        self.spans.push(0..sizes[0]);
        for (child, &parent) in self.parents.iter().enumerate() {
            let start = next[parent as usize];
            next[parent as usize] += sizes[child + 1];
            next[child + 1] = start + 1;
            self.spans.push(start..start + sizes[child + 1]);
        }
    }

    fn relation(&self, this: u32, other: u32) -> Relation {
        let (this, other) = (&self.spans[this as usize], &self.spans[other as usize]);
        if this == other {
            Relation::Same
        } else if this.contains(&other.start) {
            Relation::Ancestor
        } else if other.contains(&this.start) {
            Relation::Descendant
        } else {
            Relation::Unrelated
        }
    }
}

/// Gives a number to each different value, starting at 0.
struct Numbers<T>(HashMap<T, u32>);

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Eq + Hash> Numbers<T> {
    fn of(&mut self, value: T) -> u32 {
        let next = self.0.len() as u32;
        *self.0.entry(value).or_insert(next)
    }

    fn known(&self, value: &T) -> Option<u32> {
        self.0.get(value).copied()
    }
}

/// Counts how many of the wanted ones are there; both lists are sorted.
fn count_common(wanted: &[u32], there: &[u32]) -> usize {
    let mut there = there.iter().peekable();
    let is_there = |number: &&u32| {
        while there.next_if(|other| other < number).is_some() {}
        there.peek() == Some(number)
    };
    wanted.iter().filter(is_there).count()
}

fn holds(sorted: &[u32], position: usize) -> bool {
    sorted
        .binary_search_by_key(&position, |&number| number as usize)
        .is_ok()
}

/// Formats an outside name for display: without control characters, and not long.
fn shown(name: &str) -> String {
    let cleaned = name.chars().map(|c| if c.is_control() { '?' } else { c });
    let mut text: String = cleaned.take(SHOWN).collect();
    if name.chars().nth(SHOWN).is_some() {
        text.push('…');
    }
    text
}
