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
mod tests {
    use super::*;
    use crate::payload::{Payload, Payloads};

    struct Case {
        deliveries: Vec<Delivery>,
        payloads: Vec<Payload>,
        rows: HashMap<u64, Row>,
        journals: Vec<Vec<Event>>,
    }

    impl Case {
        /// Makes this many prompts, queued as tasks 100 and up, all completed, none taken.
        fn new(count: u64) -> Self {
            let mut payloads = Payloads::new(1);
            // From 17 on, the first ones are plain.
            let payloads: Vec<Payload> = (17..17 + count).map(|at| payloads.next(at)).collect();
            let deliveries = payloads.iter().map(|payload| Delivery {
                number: payload.number,
                kind: payload.kind,
                core: payload.core(),
                is_deliverable: true,
                sent: Sent::Task(payload.number + 100),
            });
            let mut case = Self {
                deliveries: deliveries.collect(),
                payloads,
                rows: HashMap::new(),
                journals: vec![Vec::new()],
            };
            for at in 0..count as usize {
                case.says(at, "completed", "");
            }
            case
        }

        fn says(&mut self, at: usize, status: &str, reason: &str) {
            let row = Row {
                status: status.to_owned(),
                reason: (!reason.is_empty()).then(|| reason.to_owned()),
                ..Row::default()
            };
            self.rows.insert(self.payloads[at].number + 100, row);
        }

        fn event(&mut self, what: What, text: &str) {
            self.journals[0].push(Event::now(what).with_text(text.as_bytes()));
        }

        fn takes(&mut self, at: usize) {
            let text = self.payloads[at].text.clone();
            self.event(What::Submit, &text);
        }

        fn answers(&mut self, at: usize) {
            self.takes(at);
            let text = self.payloads[at].text.clone();
            self.event(What::End, &text);
        }

        fn judge(&self) -> Judgement {
            judge(&self.deliveries, &self.rows, &self.journals)
        }

        fn verdict(&self) -> Verdict {
            let judgement = self.judge();
            assert_eq!(judgement.deliveries, 1);
            let all: Vec<_> = judgement.verdicts.iter().collect();
            assert_eq!(all.len(), 1, "{judgement:?}");
            *all[0].0
        }
    }

    #[test]
    fn one_that_arrived_is_whole_with_or_without_its_last_newlines() {
        let mut case = Case::new(1);
        case.answers(0);
        assert_eq!(case.verdict(), Verdict::Whole);
        assert_eq!(case.judge().faults(), 0);
        let mut case = Case::new(1);
        let text = format!("{}\n\n", case.payloads[0].text);
        case.event(What::Submit, &text);
        assert_eq!(case.verdict(), Verdict::Whole);
    }

    #[test]
    fn one_that_did_not_arrive_needs_a_reason() {
        let verdict = |status, reason| {
            let mut case = Case::new(1);
            case.says(0, status, reason);
            case.verdict()
        };
        assert_eq!(verdict("completed", ""), Verdict::Lost);
        assert_eq!(verdict("in_progress", "why"), Verdict::Lost);
        assert_eq!(verdict("waiting_input", "why"), Verdict::Lost);
        assert_eq!(verdict("assigned", ""), Verdict::Lost);
        assert_eq!(verdict("gone", ""), Verdict::Lost);
        assert_eq!(verdict("pending", ""), Verdict::Lost);
        assert_eq!(verdict("failed", " "), Verdict::Lost);
        assert_eq!(verdict("pending", "no session"), Verdict::Refused);
        assert_eq!(verdict("failed", "it died"), Verdict::Refused);
        assert_eq!(verdict("uncertain", "it died"), Verdict::Uncertain);
        assert_eq!(verdict("uncertain", ""), Verdict::Lost);
        let mut case = Case::new(1);
        case.deliveries[0].sent = Sent::Refused("control bytes".to_owned());
        assert_eq!(case.verdict(), Verdict::Refused);
        case.deliveries[0].sent = Sent::Refused(String::new());
        assert_eq!(case.verdict(), Verdict::Lost);
    }

    #[test]
    fn one_that_arrived_twice_is_duplicated_whatever_its_task_says() {
        for status in ["completed", "uncertain", "failed", "pending"] {
            let mut case = Case::new(1);
            case.says(0, status, "why");
            case.takes(0);
            case.answers(0);
            assert_eq!(case.verdict(), Verdict::Duplicated, "{status}");
        }
        // The same if the second one came to another agent, or in pieces.
        let mut case = Case::new(1);
        case.answers(0);
        let part = case.payloads[0].text[..12].to_owned();
        case.journals.push(Vec::new());
        case.journals[1].push(Event::now(What::Submit).with_text(part.as_bytes()));
        assert_eq!(case.verdict(), Verdict::Duplicated);
    }

    #[test]
    fn other_bytes_are_damage() {
        let mut case = Case::new(1);
        let text = format!("wait, {}", case.payloads[0].text);
        case.event(What::Submit, &text);
        assert_eq!(case.verdict(), Verdict::Damaged);
        // A text without its number is none of the prompts, and the prompt itself has not arrived.
        let mut case = Case::new(1);
        case.event(What::Submit, "wait, ");
        let judgement = case.judge();
        assert_eq!(judgement.count(Verdict::Damaged), 1);
        assert_eq!(judgement.count(Verdict::Lost), 1);
        assert_eq!(judgement.faults(), 2);
    }

    #[test]
    fn an_answered_prompt_must_not_be_reported_as_failed() {
        for status in ["failed", "pending", "in_progress", "assigned"] {
            let mut case = Case::new(1);
            case.says(0, status, "why");
            case.answers(0);
            assert_eq!(case.verdict(), Verdict::Misreported, "{status}");
        }
        let mut case = Case::new(1);
        case.says(0, "failed", "the agent ended in the middle of its turn");
        case.takes(0);
        assert_eq!(case.verdict(), Verdict::Whole);
        // This task would be sent again.
        case.says(0, "pending", "the agent ended in the middle of its turn");
        assert_eq!(case.verdict(), Verdict::Misreported);
        case.says(0, "uncertain", "the agent ended in the middle of its turn");
        assert_eq!(case.verdict(), Verdict::Uncertain);
    }

    #[test]
    fn dialogs_count_once_each() {
        let mut case = Case::new(1);
        case.answers(0);
        let key = |serial| Event::now(What::DialogKey).with_serial(serial);
        let start = || Event::now(What::Start);
        case.journals = vec![
            vec![start(), key(1), key(1), key(2), start(), key(1)],
            vec![start(), key(1)],
        ];
        assert_eq!(case.judge().into_dialogs, 4);
        assert!(case.judge().faults() >= 4);
    }

    #[test]
    fn responses_are_compared() {
        let mut case = Case::new(2);
        for at in 0..2 {
            case.answers(at);
            let digest = case.deliveries[at].core.clone();
            let said = if at == 0 {
                format!("answer: {}\n  {} 30", &digest[..40], &digest[40..])
            } else {
                "answer: something else".to_owned()
            };
            let id = case.payloads[at].number + 100;
            if let Some(row) = case.rows.get_mut(&id) {
                row.response = Some(said);
            }
        }
        let judgement = case.judge();
        assert_eq!((judgement.responses, judgement.other_responses), (2, 1));
        assert_eq!(judgement.count(Verdict::Whole), 2);
        // Nothing was promised of it, but a response that is said to be whole must be.
        for row in case.rows.values_mut() {
            row.is_whole = true;
        }
        let judgement = case.judge();
        assert_eq!(judgement.count(Verdict::Misreported), 1);
        assert_eq!(judgement.faults(), 1);
    }

    #[test]
    fn a_failure_of_the_agent_must_be_told() {
        let mut case = Case::new(1);
        case.takes(0);
        let text = case.payloads[0].text.clone();
        case.event(What::Failed, &text);
        assert_eq!(case.verdict(), Verdict::Misreported);
        case.says(0, "failed", "exit code 137");
        assert_eq!(case.verdict(), Verdict::Whole);
        for (status, why) in [
            ("failed", " "),
            ("pending", "it waits"),
            ("in_progress", ""),
        ] {
            case.says(0, status, why);
            assert_eq!(case.verdict(), Verdict::Misreported, "{status}");
        }
    }

    #[test]
    fn agents_of_others_are_judged_by_their_tasks() {
        let mut case = Case::new(3);
        let id = case.payloads[0].number + 100;
        let word = word(case.payloads[0].number);
        if let Some(row) = case.rows.get_mut(&id) {
            row.response = Some(format!("{word}."));
        }
        case.says(2, "pending", "no session is idle");
        let judgement = judge_foreign(&case.deliveries, &case.rows);
        assert_eq!(judgement.count(Verdict::Whole), 1);
        assert_eq!(judgement.count(Verdict::Lost), 1);
        assert_eq!(judgement.count(Verdict::Refused), 1);
    }

    #[test]
    fn judgements_add_up() {
        let mut case = Case::new(3);
        case.answers(0);
        let one = case.judge();
        let mut total = one.clone();
        total.add(&one);
        assert_eq!(total.deliveries, 6);
        assert_eq!(total.count(Verdict::Whole), 2);
        assert_eq!(total.count(Verdict::Lost), 4);
        assert_eq!(total.findings.len(), 4);
    }
}
