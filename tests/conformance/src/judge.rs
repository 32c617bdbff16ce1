//! What happened to each prompt: what `assigner` says, compared with what the agents recorded.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use crate::journal::{Event, What};
use crate::payload::{Kind, number_in};

/// What happened to a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It was taken once, with the same bytes, and its task says so.
    Whole,
    /// It was not taken, and there is a reason.
    Refused,
    /// Its task says that a person must look, whatever happened.
    Uncertain,
    /// It was not taken, but its task says otherwise or nothing.
    Lost,
    /// It was taken with other bytes.
    Damaged,
    /// It was taken more than once.
    Duplicated,
    /// It was taken once, but its task says otherwise of it, of its answer, or of its failure.
    Misreported,
}

/// A prompt that was queued, or was to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its number.
    pub number: u64,
    /// Its kind.
    pub kind: Kind,
    /// The digest of what must arrive.
    pub core: String,
    /// Whether it can arrive at all.
    pub is_deliverable: bool,
    /// What `assigner send` said.
    pub sent: Sent,
}

/// What `assigner send` said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// The number of the task.
    Task(u64),
    /// The prompt is not accepted; the reason.
    Refused(String),
}

/// The final state of a task, according to `assigner`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// Its state.
    pub status: String,
    /// Why it failed, waits, or is uncertain.
    pub reason: Option<String>,
    /// Its response, if it was asked for.
    pub response: Option<String>,
    /// True if only a part of its response is kept.
    pub is_partial: bool,
    /// Whether the response is said to be whole.
    pub is_whole: bool,
}

/// A prompt that needs a remark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its number; `None` if it is not a prompt of the suite.
    pub number: Option<u64>,
    /// Its task.
    pub task: Option<u64>,
    /// Its kind.
    pub kind: Option<Kind>,
    /// What happened to it.
    pub verdict: Verdict,
    /// The reason, in words.
    pub why: String,
}

/// What happened to all prompts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Judgement {
    /// How many prompts were to be delivered.
    pub deliveries: usize,
    /// How many could be delivered.
    pub deliverable: usize,
    /// How many prompts have each verdict; a text that is none of the prompts counts as damaged.
    pub verdicts: BTreeMap<Verdict, usize>,
    /// Into how many dialogs something was typed or pasted.
    pub into_dialogs: usize,
    /// How many responses were compared.
    pub responses: usize,
    /// How many of these differ from what the agent said.
    pub other_responses: usize,
    /// How many tasks completed with a part of their response.
    pub partial_responses: usize,
    /// The prompts that are neither whole nor refused.
    pub findings: Vec<Finding>,
}

impl Judgement {
    /// Returns how many prompts have this verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.verdicts.get(&verdict).copied().unwrap_or(0)
    }

    /// Returns how many prompts have a verdict that must not occur.
    #[must_use]
    pub fn faults(&self) -> usize {
        let bad = [
            Verdict::Lost,
            Verdict::Damaged,
            Verdict::Duplicated,
            Verdict::Misreported,
        ];
        let count: usize = bad.into_iter().map(|verdict| self.count(verdict)).sum();
        count + self.into_dialogs
    }

    /// Adds the numbers of another judgement.
    pub fn add(&mut self, other: &Self) {
        self.deliveries += other.deliveries;
        self.deliverable += other.deliverable;
        self.into_dialogs += other.into_dialogs;
        self.responses += other.responses;
        self.other_responses += other.other_responses;
        self.partial_responses += other.partial_responses;
        for (&verdict, count) in &other.verdicts {
            *self.verdicts.entry(verdict).or_default() += count;
        }
        self.findings.extend(other.findings.iter().cloned());
    }

    fn note(&mut self, delivery: &Delivery, verdict: Verdict, why: String) {
        *self.verdicts.entry(verdict).or_default() += 1;
        if matches!(verdict, Verdict::Whole | Verdict::Refused) {
            return;
        }
        self.findings.push(Finding {
            number: Some(delivery.number),
            task: match delivery.sent {
                Sent::Task(id) => Some(id),
                Sent::Refused(_) => None,
            },
            kind: Some(delivery.kind),
            verdict,
            why,
        });
    }
}

/// What the agents took of one prompt.
#[derive(Debug, Default)]
struct Taken {
    whole: usize,
    damaged: usize,
    /// True if a turn with it has ended.
    is_answered: bool,
    /// True if a turn with it has failed, or never ends.
    has_failed: bool,
}

/// Judges one scenario.
#[must_use]
pub fn judge(
    deliveries: &[Delivery],
    rows: &HashMap<u64, Row>,
    journals: &[Vec<Event>],
) -> Judgement {
    let mut judgement = begin(deliveries);
    let mut by_core: HashMap<&str, usize> = HashMap::new();
    let mut by_number: HashMap<u64, usize> = HashMap::new();
    for (at, delivery) in deliveries.iter().enumerate() {
        by_core.insert(&delivery.core, at);
        by_number.insert(delivery.number, at);
    }
    let mut taken: Vec<Taken> = Vec::new();
    taken.resize_with(deliveries.len(), Taken::default);
    for event in journals.iter().flatten() {
        let exact = event
            .core
            .as_deref()
            .and_then(|core| by_core.get(core).copied());
        match event.event {
            What::Submit => {
                let text = event.text.as_deref().unwrap_or_default();
                if let Some(at) = exact {
                    taken[at].whole += 1;
                } else if let Some(&at) = number_in(text).and_then(|it| by_number.get(&it)) {
                    taken[at].damaged += 1;
                } else {
                    *judgement.verdicts.entry(Verdict::Damaged).or_default() += 1;
                    judgement.findings.push(Finding {
                        number: None,
                        task: None,
                        kind: None,
                        verdict: Verdict::Damaged,
                        why: format!("an agent took what nobody sent: {:?}", beginning(text)),
                    });
                }
            }
            What::End => {
                if let Some(at) = exact {
                    taken[at].is_answered = true;
                }
            }
            What::Failed => {
                if let Some(at) = exact {
                    taken[at].has_failed = true;
                }
            }
            _ => {}
        }
    }
    for (delivery, taken) in deliveries.iter().zip(&taken) {
        let (verdict, why) = judge_one(delivery, rows, taken);
        judgement.note(delivery, verdict, why);
    }
    compare_responses(&mut judgement, deliveries, rows);
    judgement.into_dialogs = dialogs(journals);
    judgement
}

/// Judges prompts to agents that record nothing, only by the tasks' states and responses.
#[must_use]
pub fn judge_foreign(deliveries: &[Delivery], rows: &HashMap<u64, Row>) -> Judgement {
    let mut judgement = begin(deliveries);
    for delivery in deliveries {
        let row = row_of(delivery, rows);
        let (verdict, why) = match &delivery.sent {
            Sent::Refused(why) => (Verdict::Refused, why.clone()),
            Sent::Task(_) if row.status == "completed" => {
                judgement.responses += 1;
                let response = row.response.as_deref().unwrap_or_default();
                if response.contains(&word(delivery.number)) {
                    (Verdict::Whole, String::new())
                } else {
                    judgement.other_responses += 1;
                    let why = format!("the response is another: {:?}", beginning(response));
                    (Verdict::Lost, why)
                }
            }
            Sent::Task(_) => not_taken(&row),
        };
        judgement.note(delivery, verdict, why);
    }
    judgement
}

/// The word with which an agent of another kind is asked to answer.
#[must_use]
pub fn word(number: u64) -> String {
    format!("n{number:07}")
}

fn begin(deliveries: &[Delivery]) -> Judgement {
    let is_deliverable = |delivery: &&Delivery| delivery.is_deliverable;
    Judgement {
        deliveries: deliveries.len(),
        deliverable: deliveries.iter().filter(is_deliverable).count(),
        ..Judgement::default()
    }
}

fn row_of(delivery: &Delivery, rows: &HashMap<u64, Row>) -> Row {
    match delivery.sent {
        Sent::Task(id) => rows.get(&id).cloned().unwrap_or_else(|| Row {
            status: "gone".to_owned(),
            ..Row::default()
        }),
        Sent::Refused(_) => Row::default(),
    }
}

fn judge_one(delivery: &Delivery, rows: &HashMap<u64, Row>, taken: &Taken) -> (Verdict, String) {
    let row = row_of(delivery, rows);
    let count = taken.whole + taken.damaged;
    if count > 1 {
        let why = format!("taken {count} times, and the task is {}", row.status);
        return (Verdict::Duplicated, why);
    }
    if taken.damaged > 0 {
        let why = format!("taken with other bytes, and the task is {}", row.status);
        return (Verdict::Damaged, why);
    }
    if let Sent::Refused(reason) = &delivery.sent {
        return if taken.whole > 0 {
            (
                Verdict::Misreported,
                format!("taken, but refused: {reason}"),
            )
        } else if reason.trim().is_empty() {
            (Verdict::Lost, "refused without a reason".to_owned())
        } else {
            (Verdict::Refused, reason.clone())
        };
    }
    if taken.whole == 0 {
        return not_taken(&row);
    }
    let reason = row.reason.clone().unwrap_or_default();
    let told_of_failure = taken.has_failed || reason.contains("the agent ended");
    match row.status.as_str() {
        "completed" if taken.has_failed => {
            let why = "the agent failed, but the task is completed".to_owned();
            (Verdict::Misreported, why)
        }
        "completed" if row.is_whole && is_another(delivery, &row) == Some(true) => {
            let why = "the response is said to be whole, and is another".to_owned();
            (Verdict::Misreported, why)
        }
        "completed" => (Verdict::Whole, String::new()),
        "uncertain" => (Verdict::Uncertain, reason),
        // The agent failed or died while it worked on it, and the task says that it failed.
        "failed" if !taken.is_answered && told_of_failure && !reason.trim().is_empty() => {
            (Verdict::Whole, reason)
        }
        status => {
            let end = if taken.is_answered {
                "taken and answered"
            } else {
                "taken"
            };
            let why = format!("{end}, but the task is {status}: {reason}");
            (Verdict::Misreported, why)
        }
    }
}

/// Returns the verdict on a prompt that no agent took, according to its task.
fn not_taken(row: &Row) -> (Verdict, String) {
    let reason = row.reason.clone().unwrap_or_default();
    let has_reason = !reason.trim().is_empty();
    match row.status.as_str() {
        "uncertain" if has_reason => (Verdict::Uncertain, reason),
        "pending" | "failed" | "cancelled" if has_reason => (Verdict::Refused, reason),
        status => {
            let why = format!("not taken, but the task is {status}, with the reason {reason:?}");
            (Verdict::Lost, why)
        }
    }
}

fn compare_responses(judgement: &mut Judgement, deliveries: &[Delivery], rows: &HashMap<u64, Row>) {
    for delivery in deliveries {
        let row = row_of(delivery, rows);
        judgement.partial_responses += usize::from(row.is_partial && row.status == "completed");
        if let Some(is_another) = is_another(delivery, &row) {
            judgement.responses += 1;
            judgement.other_responses += usize::from(is_another);
        }
    }
}

/// Returns whether a response is not what the agent says to such a prompt; `None` if that cannot be
/// known.
fn is_another(delivery: &Delivery, row: &Row) -> Option<bool> {
    // The agent answers with the digest of what it took; newlines at the end may be missing.
    if row.status != "completed" || delivery.kind == Kind::ManyNewlines {
        return None;
    }
    let joined: String = row.response.as_ref()?.split_whitespace().collect();
    Some(!joined.contains(&delivery.core))
}

/// Returns how many dialogs took a key or a paste. Each agent numbers its dialogs from 1 in each
/// process.
fn dialogs(journals: &[Vec<Event>]) -> usize {
    let mut hit = BTreeSet::new();
    for (at, journal) in journals.iter().enumerate() {
        let mut life = 0;
        for event in journal {
            match event.event {
                What::Start => life += 1,
                What::DialogKey => {
                    hit.insert((at, life, event.serial));
                }
                _ => {}
            }
        }
    }
    hit.len()
}

fn beginning(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests;
