//! Cases that an author writes: tasks, sessions, and who should get what.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::matching::{Attribute, Candidate, Decision, Question, Ranking, Resource};
use crate::model::task::Kind;

use super::{Policy, check, rounds};

/// How much of a wrong line is quoted, in characters.
const LONGEST_LINE: usize = 80;

/// A file of cases.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cases {
    /// The settings for all cases.
    #[serde(default)]
    settings: serde_json::Map<String, Value>,
    /// The cases, under the name that each has in a TOML file.
    #[serde(default)]
    case: Vec<Case>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    settings: serde_json::Map<String, Value>,
    now: Option<u64>,
    explain: Option<u32>,
    #[serde(default)]
    facts: BTreeMap<String, String>,
    #[serde(default)]
    session: Vec<CaseSession>,
    #[serde(default)]
    task: Vec<CaseTask>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct CaseSession {
    name: String,
    host: Option<String>,
    provider: Option<String>,
    current_dir: Option<String>,
    git_branch: Option<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default = "yes")]
    ready: bool,
    #[serde(default)]
    since: u32,
    #[serde(default)]
    completed: u32,
    #[serde(default)]
    failed: u32,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct CaseTask {
    id: Option<i64>,
    kind: Option<Kind>,
    summary: Option<String>,
    #[serde(default)]
    priority: i32,
    #[serde(default)]
    waiting: u32,
    attempt: Option<u32>,
    #[serde(default = "yes")]
    match_context: bool,
    working_dir: Option<String>,
    git_branch: Option<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    providers: Vec<String>,
    eligible: Option<Vec<String>>,
    follows: Option<String>,
    #[serde(default)]
    avoid: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    expect: Option<String>,
    expect_points: Option<i32>,
    expect_wait: Option<String>,
}

fn yes() -> bool {
    true
}

/// The result of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tried {
    /// The case's name.
    pub name: String,
    /// True if everything was as expected.
    pub ok: bool,
    /// What was not as expected.
    pub problems: Vec<Problem>,
}

/// A difference from what was expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The task; `None` if the problem concerns the whole case.
    pub task: Option<i64>,
    /// Its first line.
    pub summary: Option<String>,
    /// What was expected, in words.
    pub expected: String,
    /// What the policy answered.
    pub got: String,
    /// What else the policy ranked, the best first.
    pub ranked: Vec<String>,
}

impl Cases {
    /// Reads a file's text: as JSON if the file's name ends that way, otherwise as TOML.
    ///
    /// # Errors
    ///
    /// One line that says what is wrong and where.
    pub fn parse(path: &Path, text: &str) -> Result<Self, String> {
        let is_json = path
            .extension()
            .is_some_and(|extension| extension == "json");
        let cases: Self = if is_json {
            serde_json::from_str(text).map_err(|error| error.to_string())?
        } else {
            toml::from_str(text).map_err(|error| {
                let before = error.span().and_then(|span| text.get(..span.start));
                let number = before.map_or(1, |before| before.matches('\n').count() + 1);
                let line = text.lines().nth(number - 1).unwrap_or_default();
                let line = check::line(line.trim(), LONGEST_LINE);
                let what = error.message().replace('\n', " ");
                format!("line {number}, `{line}`: {what}")
            })?
        };
        if cases.case.is_empty() {
            return Err("it contains no case: write at least one [[case]]".to_owned());
        }
        for case in &cases.case {
            case.check()
                .map_err(|what| format!("case `{}`: {what}", case.name))?;
        }
        Ok(cases)
    }

    /// Returns the number of cases.
    pub fn len(&self) -> usize {
        self.case.len()
    }

    /// True if there are no cases.
    pub fn is_empty(&self) -> bool {
        self.case.is_empty()
    }

    /// Tries a policy on each case. Settings in the file override the policy's own.
    pub fn try_out(&self, policy: &Policy) -> Vec<Tried> {
        self.case
            .iter()
            .map(|case| self.try_case(case, policy))
            .collect()
    }

    fn try_case(&self, case: &Case, policy: &Policy) -> Tried {
        let mut settings = policy.settings().as_object().cloned().unwrap_or_default();
        settings.extend(self.settings.clone());
        settings.extend(case.settings.clone());
        let question = case.question();
        let answer = policy
            .with_settings(&Value::Object(settings))
            .map_err(|error| error.to_string())
            .and_then(|policy| {
                let answer = policy.decide(&question);
                answer.map_err(|failure| format!("the policy {failure}"))
            });
        let problems = match answer {
            Ok(decisions) => {
                let tasks = case.task.iter().zip(&question.tasks).zip(decisions);
                tasks
                    .filter_map(|((expected, task), decision)| {
                        expected.compare(&question, task, &decision)
                    })
                    .collect()
            }
            Err(why) => vec![Problem {
                task: None,
                summary: None,
                expected: "an answer".to_owned(),
                got: why,
                ranked: Vec::new(),
            }],
        };
        Tried {
            name: case.name.clone(),
            ok: problems.is_empty(),
            problems,
        }
    }
}

impl Case {
    fn check(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        for session in &self.session {
            if !names.insert(session.name.as_str()) {
                return Err(format!("there are two sessions `{}`", session.name));
            }
        }
        let known = |name: &String| {
            if names.contains(name.as_str()) {
                Ok(())
            } else {
                let names: Vec<&str> = names.iter().copied().collect();
                Err(format!(
                    "there is no session `{name}` in it; there are {}",
                    if names.is_empty() {
                        "none".to_owned()
                    } else {
                        names.join(", ")
                    }
                ))
            }
        };
        for task in &self.task {
            let named = task.eligible.iter().flatten().chain(&task.avoid);
            named
                .chain(&task.follows)
                .chain(&task.expect)
                .try_for_each(known)?;
            if task.expect.is_some() && task.expect_wait.is_some() {
                return Err("a task has `expect` and `expect-wait`: it can only do one".to_owned());
            }
            if task.expect.is_none() && task.expect_points.is_some() {
                return Err("`expect-points` needs `expect`, the session".to_owned());
            }
        }
        Ok(())
    }

    fn question(&self) -> Question {
        let position = |name: &String| {
            self.session
                .iter()
                .position(|session| session.name == *name)
        };
        let positions = |names: &[String]| names.iter().filter_map(position).collect();
        let task = |(number, task): (usize, &CaseTask)| {
            let plain = rounds::task(task.id.unwrap_or(number as i64 + 1));
            Candidate {
                kind: task.kind.unwrap_or(Kind::Command),
                summary: task.summary.clone().unwrap_or(plain.summary),
                priority: task.priority,
                waiting: task.waiting,
                attempt: task.attempt.unwrap_or(1),
                match_context: task.match_context,
                working_dir: task.working_dir.clone(),
                git_branch: task.git_branch.clone(),
                env: attributes(&task.env),
                providers: task.providers.clone(),
                eligible: task.eligible.as_deref().map(positions),
                follows: task.follows.as_ref().and_then(position),
                avoid: positions(&task.avoid),
                labels: attributes(&task.labels),
                id: plain.id,
            }
        };
        let session = |session: &CaseSession| {
            let plain = rounds::session(&session.name);
            Resource {
                host: session.host.clone().unwrap_or(plain.host),
                provider: session.provider.clone().unwrap_or(plain.provider),
                current_dir: session.current_dir.clone(),
                git_branch: session.git_branch.clone(),
                env: attributes(&session.env),
                ready: session.ready,
                since: session.since,
                completed: session.completed,
                failed: session.failed,
                labels: attributes(&session.labels),
                name: plain.name,
            }
        };
        Question {
            now: self.now.unwrap_or(rounds::NOW),
            explain: self.explain.unwrap_or(10),
            facts: attributes(&self.facts),
            tasks: self.task.iter().enumerate().map(task).collect(),
            sessions: self.session.iter().map(session).collect(),
        }
    }
}

impl CaseTask {
    fn compare(
        &self,
        question: &Question,
        task: &Candidate,
        decision: &Decision,
    ) -> Option<Problem> {
        let name = |ranking: &Ranking| question.sessions[ranking.session].name.as_str();
        let fits = match decision {
            Decision::Assign { take, .. } => {
                let session = self.expect.as_ref();
                let session_fits = session.is_none_or(|expected| expected == name(take));
                let points_fit = self
                    .expect_points
                    .is_none_or(|points| points == take.points);
                self.expect_wait.is_none() && session_fits && points_fit
            }
            Decision::Wait { reason, .. } => {
                let words = self.expect_wait.as_ref();
                self.expect.is_none() && words.is_none_or(|words| reason.contains(words))
            }
        };
        if fits {
            return None;
        }
        let expected = match (&self.expect, &self.expect_wait, self.expect_points) {
            (Some(session), _, Some(points)) => format!("{session} with {points} points"),
            (Some(session), _, None) => session.clone(),
            (None, Some(words), _) if !words.is_empty() => {
                format!("it waits, because of … {words} …")
            }
            _ => "it waits".to_owned(),
        };
        let words = |ranking: &Ranking| format!("{} {}", name(ranking), points(ranking));
        let (got, others) = match decision {
            Decision::Assign { take, others } => (words(take), others),
            Decision::Wait { reason, others } => (format!("it waits: {reason}"), others),
        };
        Some(Problem {
            task: Some(task.id),
            summary: Some(task.summary.clone()),
            expected,
            got,
            ranked: others.iter().map(words).collect(),
        })
    }
}

/// Formats a ranking's points with its terms: `50 = parent directory 50`.
fn points(ranking: &Ranking) -> String {
    let terms = ranking.terms.iter();
    let terms: Vec<String> = terms
        .map(|term| format!("{} {}", term.name, term.points))
        .collect();
    if terms.is_empty() {
        ranking.points.to_string()
    } else {
        format!("{} = {}", ranking.points, terms.join(" + "))
    }
}

fn attributes(values: &BTreeMap<String, String>) -> Vec<Attribute> {
    let pairs = values.iter().map(|(name, value)| Attribute {
        name: name.clone(),
        value: value.clone(),
    });
    pairs.collect()
}
