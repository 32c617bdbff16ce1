//! The judge, judged.

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
