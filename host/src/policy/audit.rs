//! Looks for mistakes in a policy before it goes live: what it asks for, what it says about itself,
//! and how it behaves in rounds that were made to find mistakes.

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};

use crate::model::matching::{Decision, Question};

use super::limits::Failure;
use super::{LoadError, Policy, check, rounds};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It would fail in use.
    Error,
    /// It works, but may surprise.
    Warning,
    /// Good to know.
    Note,
}

/// A fact about a policy that its author should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// Its name, for scripts.
    pub code: &'static str,
    /// What was seen, in one line.
    pub message: String,
    /// What it means and what to do about it, in one line.
    pub help: &'static str,
}

/// The result of an audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// How many generated rounds it was asked about.
    pub rounds: usize,
    /// The findings, the worst first.
    pub findings: Vec<Finding>,
}

impl Audit {
    /// True if the policy can be used, perhaps with warnings.
    pub fn is_ok(&self) -> bool {
        !self
            .findings
            .iter()
            .any(|finding| finding.severity == Severity::Error)
    }
}

/// How many findings of one kind are shown; more of them would say the same.
const MOST_OF_A_KIND: usize = 3;

/// The largest round that the engine makes with a thousand sessions.
const LARGEST: (usize, usize) = (256, 1_000);

/// Examines a policy with the settings that it was loaded with. `tell` is called before each round
/// with its number and the total.
pub fn audit(policy: &Policy, mut tell: impl FnMut(usize, usize)) -> Audit {
    let mut findings = Findings(Vec::new());
    imports(policy, &mut findings);
    description(policy, &mut findings);
    settings(policy, &mut findings);

    let generated = rounds::odd();
    let count = generated.len() + 1;
    let mut asked = 0;
    let mut assigns = false;
    let mut could_assign = false;
    for (number, (name, question)) in generated.iter().enumerate() {
        tell(number, count);
        asked += 1;
        could_assign |= question.sessions.iter().any(|session| session.ready)
            && question.tasks.iter().any(|task| task.eligible.is_none());
        let Some(decisions) = ask(policy, name, question, &mut findings) else {
            // A policy that hangs repeatedly will hang again: there is nothing more to learn.
            if findings.is_full("failure") {
                break;
            }
            continue;
        };
        let is_assigned = |decision: &Decision| matches!(decision, Decision::Assign { .. });
        assigns |= decisions.iter().any(is_assigned);
    }
    let whole = asked == generated.len();
    if whole && could_assign && !assigns {
        findings.add(
            Severity::Note,
            "ignores-ready-sessions",
            "it has assigned no task in any of the rounds".to_owned(),
            "tasks wait forever if nothing else decides: make sure that it assigns ready sessions",
        );
    }
    tell(count - 1, count);
    if whole {
        large(policy, &mut findings);
        asked += 1;
    }
    if policy.usage().dropped_lines > 0 {
        findings.add(
            Severity::Warning,
            "chatty",
            format!(
                "it writes more than the {} lines of log that a round may have",
                policy.limits().log_lines
            ),
            "the rest is dropped: log what is useful to people, and details as debug",
        );
    }
    let mut findings = findings.0;
    findings.sort_by_key(|finding| finding.severity);
    Audit {
        rounds: asked,
        findings,
    }
}

struct Findings(Vec<Finding>);

impl Findings {
    fn is_full(&self, code: &str) -> bool {
        self.0.iter().filter(|finding| finding.code == code).count() >= MOST_OF_A_KIND
    }

    fn add(&mut self, severity: Severity, code: &'static str, message: String, help: &'static str) {
        if !self.is_full(code) {
            self.0.push(Finding {
                severity,
                code,
                message,
                help,
            });
        }
    }
}

fn imports(policy: &Policy, findings: &mut Findings) {
    let wasi: Vec<&str> = policy
        .anatomy()
        .imports
        .iter()
        .map(String::as_str)
        .filter(|name| name.starts_with("wasi:"))
        .collect();
    if !wasi.is_empty() {
        findings.add(
            Severity::Note,
            "wasi-import",
            format!(
                "it imports {} interfaces of WASI: {}",
                wasi.len(),
                wasi.join(", ")
            ),
            "they are there and empty: no files, no network, no environment, a clock that does \
             not advance, and random numbers that are always the same",
        );
    }
}

fn description(policy: &Policy, findings: &mut Findings) {
    let empty: Vec<&str> = [
        ("name", policy.id().name.as_str()),
        ("version", &policy.id().version),
        ("summary", policy.summary()),
    ]
    .into_iter()
    .filter(|(_, text)| text.trim().is_empty())
    .map(|(name, _)| name)
    .collect();
    if !empty.is_empty() {
        findings.add(
            Severity::Warning,
            "empty-metadata",
            format!("its {} is empty", empty.join(" and its ")),
            "people see it in `status`, `policy list` and beside every decision",
        );
    }
}

fn settings(policy: &Policy, findings: &mut Findings) {
    if let Err(error) = policy.with_settings(policy.default_settings()) {
        findings.add(
            Severity::Error,
            "settings-default",
            format!("it does not accept its own default settings: {error}"),
            "`configure` must accept the `default-config` of `describe`",
        );
    }
    let mut unknown = policy.default_settings().clone();
    if let Value::Object(settings) = &mut unknown {
        settings.insert("no-such-setting".to_owned(), json!(1));
    }
    match policy.with_settings(&unknown) {
        Err(LoadError::Settings { .. }) => {}
        Ok(_) => findings.add(
            Severity::Warning,
            "unknown-setting",
            "it accepts an unknown setting without an error".to_owned(),
            "a user who mistypes a setting should be told: refuse unknown names in `configure`",
        ),
        Err(error) => findings.add(
            Severity::Error,
            "failure",
            format!("it fails on an unknown setting: {error}"),
            "`configure` should return an error that names the setting",
        ),
    }
}

/// Asks twice, and returns the first answer.
fn ask(
    policy: &Policy,
    name: &str,
    question: &Question,
    findings: &mut Findings,
) -> Option<Vec<Decision>> {
    let answer = judge(name, decide(policy, question), findings)?;
    match decide(policy, question) {
        Ok(again) if again == answer => {}
        Ok(_) => findings.add(
            Severity::Error,
            "not-deterministic",
            format!("asked twice about {name}, it decides differently"),
            "the same tasks and sessions must give the same decisions: look for addresses, hash \
             orders and random numbers",
        ),
        Err(failure) => findings.add(
            Severity::Error,
            "not-deterministic",
            format!("asked about {name} for the second time, it {failure}"),
            "the same tasks and sessions must give the same decisions",
        ),
    }
    Some(answer)
}

/// Asks as in a real round; after a time-out it asks once more, because other programs may have
/// used the time.
fn decide(policy: &Policy, question: &Question) -> Result<Vec<Decision>, Failure> {
    match policy.decide(question) {
        Err(Failure::TimedOut { .. }) => policy.decide(question),
        result => result,
    }
}

/// Returns the decisions, or records what is wrong.
fn judge(
    name: &str,
    result: Result<Vec<Decision>, Failure>,
    findings: &mut Findings,
) -> Option<Vec<Decision>> {
    match result {
        Ok(decisions) => {
            let silent = |decision: &Decision| matches!(decision, Decision::Wait { reason, .. } if reason == check::NO_REASON);
            if decisions.iter().any(silent) {
                findings.add(
                    Severity::Warning,
                    "no-reason",
                    format!("asked about {name}, it leaves a task waiting and does not say why"),
                    "`explain` shows the reason: name what is missing, and what comes nearest",
                );
            }
            Some(decisions)
        }
        Err(Failure::Wrong(violation)) => {
            findings.add(
                Severity::Error,
                "violation",
                format!("asked about {name}, it gives a forbidden answer: {violation}"),
                "the whole answer is refused, and another policy decides the round",
            );
            None
        }
        Err(failure) => {
            findings.add(
                Severity::Error,
                "failure",
                format!("asked about {name}, it {failure}"),
                "another policy decides the round, and this one rests for a while",
            );
            None
        }
    }
}

fn large(policy: &Policy, findings: &mut Findings) {
    let (tasks, sessions) = LARGEST;
    let name = format!("{tasks} tasks and {sessions} sessions");
    let question = rounds::workload(tasks, sessions);
    let start = Instant::now();
    let result = policy.decide_leisurely(&question);
    let took = start.elapsed();
    if judge(&name, result, findings).is_none() {
        return;
    }
    let limit = policy.limits().time;
    if took > limit / 2 {
        findings.add(
            Severity::Warning,
            "slow",
            format!(
                "{name} take it {}, of the {} that a round may take",
                milliseconds(took),
                milliseconds(limit)
            ),
            "with this many sessions it may be stopped: make it faster, or raise `time` in [policy]",
        );
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}
