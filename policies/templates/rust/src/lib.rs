//! {{name}}: a task goes to the session that is in its directory, or on its branch.
//!
//! The contract is `wit/policy.wit`; the crate in `sdk` has its types in Rust. A policy is a pure
//! function: the same tasks, sessions and settings always give the same decisions. It has no clock,
//! no files and no network. Each round runs in a fresh instance, so nothing is kept for the next
//! one.

use assigner_policy::{
    Decision, Description, Fit, Judge, Policy, Round, Session, Task, Term, greedy, term,
};
use serde_json::{Map, Value, json};

/// The largest value of a setting.
const MOST: i32 = 1_000;

/// What a session loses if an earlier attempt of the task failed there: more than it can gain.
const FAILED_HERE: i32 = -10_000;

/// How much of a name from outside is shown, in characters.
const SHOWN: usize = 60;

/// The policy: its settings, in points.
struct Matching {
    directory: i32,
    branch: i32,
}

impl Default for Matching {
    fn default() -> Self {
        Self {
            directory: 100,
            branch: 30,
        }
    }
}

// What the host calls: `describe` once, then `configure` and `assign` in each round.
assigner_policy::export!(Matching);

impl Policy for Matching {
    fn describe() -> Description {
        let Self { directory, branch } = Self::default();
        Description {
            name: "{{name}}".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "gives a task to the session in its directory or on its branch".to_owned(),
            default_config: json!({"directory": directory, "branch": branch}).to_string(),
            wants_busy: false,
        }
    }

    /// Reads the user's settings. An error names the setting and its valid values.
    fn configure(settings: &str) -> Result<Self, String> {
        let names = "`directory` and `branch`";
        let given: Map<String, Value> = serde_json::from_str(settings)
            .map_err(|_| format!("the settings must be a JSON object of {names}"))?;
        let mut matching = Self::default();
        for (name, value) in &given {
            let setting = match name.as_str() {
                "directory" => &mut matching.directory,
                "branch" => &mut matching.branch,
                _ => return Err(format!("there is no setting `{name}`; there are {names}")),
            };
            let number = value.as_i64().and_then(|value| i32::try_from(value).ok());
            *setting = number
                .filter(|number| (0..=MOST).contains(number))
                .ok_or_else(|| format!("`{name}` must be a whole number from 0 to {MOST}"))?;
        }
        Ok(matching)
    }

    fn assign(&self, round: &Round, tasks: &[Task], sessions: &[Session]) -> Vec<Decision> {
        let pairs = Pairs {
            settings: self,
            tasks,
            sessions,
        };
        // Each task in its turn takes the best session that is ready, allowed and still free; of
        // several with equal points, the one that has been idle longest. A task that gets none
        // waits, and `greedy` says why.
        greedy(round, tasks, sessions, &pairs)
    }
}

/// What `greedy` asks about: tasks and sessions, by their positions in the round.
struct Pairs<'a> {
    settings: &'a Matching,
    tasks: &'a [Task],
    sessions: &'a [Session],
}

/// What a session offers to a task.
struct Offer {
    directory: bool,
    branch: bool,
    failed: bool,
}

impl Pairs<'_> {
    fn offer(&self, task: usize, session: usize) -> Offer {
        let is_avoided = |position: &u32| *position as usize == session;
        let (task, session) = (&self.tasks[task], &self.sessions[session]);
        let wanted = &task.context;
        let same = |one: &Option<String>, other| one.is_some() && one == other;
        Offer {
            // A task that was sent with `--no-context-match` asks for any session.
            directory: task.match_context && same(&wanted.working_dir, &session.current_dir),
            branch: task.match_context && same(&wanted.git_branch, &session.git_branch),
            failed: task.avoid.iter().any(is_avoided),
        }
    }
}

impl Judge for Pairs<'_> {
    type Rank = i32;

    /// The sum of the terms. `Fit::TooLittle` would mean that the task would rather wait than take
    /// this session.
    fn rank(&self, task: usize, session: usize) -> Fit<i32> {
        let offer = self.offer(task, session);
        Fit::Enough(
            i32::from(offer.directory) * self.settings.directory
                + i32::from(offer.branch) * self.settings.branch
                + i32::from(offer.failed) * FAILED_HERE,
        )
    }

    /// The points one by one, with names for people; called only for pairs that are shown.
    fn terms(&self, task: usize, session: usize) -> Vec<Term> {
        let offer = self.offer(task, session);
        let mut terms = Vec::new();
        if offer.directory {
            terms.push(term("same directory", self.settings.directory));
        }
        let branch = self.tasks[task].context.git_branch.as_deref();
        if let Some(branch) = branch.filter(|_| offer.branch) {
            let branch: String = branch.chars().take(SHOWN).collect();
            terms.push(term(format!("branch {branch}"), self.settings.branch));
        }
        if offer.failed {
            terms.push(term("an earlier try failed here", FAILED_HERE));
        }
        terms
    }
}
