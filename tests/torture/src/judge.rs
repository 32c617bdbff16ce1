//! Compares what the ledger says of a task with what really ran.

use crate::ledger::Row;
use crate::tasks::{Answer, Sent};
use crate::truth::Runs;

/// What became of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The ledger tells the truth.
    True,
    /// It waits at the end, and says why.
    Waits(String),
    /// It is uncertain, and says why.
    Uncertain(String),
    /// It was queued, and is not there, never ends, or is said to be done and is not.
    Lost(String),
    /// It ran more often than it was to.
    Doubled(String),
    /// The ledger says something else that is not so.
    Untrue(String),
}

impl Verdict {
    /// Whether it is a fault of the program.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::Doubled(_) | Self::Untrue(_))
    }
}

/// Judges a task by its rows, of which there should be one, and by what ran.
#[must_use]
pub fn judge(sent: &Sent, rows: &[Row], runs: &Runs) -> Verdict {
    let row = match (rows, sent.answer) {
        ([], Answer::Yes) => return lost("it was queued, and is not in the ledger"),
        ([], _) if runs.all_begun() > 0 => return untrue("it ran, and is not in the ledger"),
        ([], _) => return Verdict::True,
        ([_, _, ..], _) => return Verdict::Doubled("it is in the ledger twice".to_owned()),
        ([_], Answer::No) => return untrue("`send` failed, and it is in the ledger"),
        ([row], _) => row,
    };
    doubled(sent, row, runs)
        .or_else(|| of_other_form(sent, runs))
        .unwrap_or_else(|| by_status(sent, row, runs))
}

fn lost(why: impl Into<String>) -> Verdict {
    Verdict::Lost(why.into())
}

fn untrue(why: impl Into<String>) -> Verdict {
    Verdict::Untrue(why.into())
}

/// Each attempt may run it once, and each wish of a person allows as many attempts.
fn doubled(sent: &Sent, row: &Row, runs: &Runs) -> Option<Verdict> {
    let begun = runs.all_begun();
    let attempts = row.attempts.len();
    if begun > attempts {
        let why = format!("it ran {begun} times in {attempts} attempts");
        return Some(Verdict::Doubled(why));
    }
    let allowed = (1 + sent.wanted_again) * (1 + sent.retries);
    // An attempt that was taken back before it ran does no harm.
    if begun > allowed as usize {
        let why = format!("it ran {begun} times, and {allowed} times were wanted");
        return Some(Verdict::Doubled(why));
    }
    let mut steps = row.actions.windows(2);
    let is_by_itself = steps.any(|step| step == ["uncertain", "claimed"]);
    is_by_itself.then(|| Verdict::Doubled("it was uncertain, and was tried by itself".to_owned()))
}

/// What an edit has replaced does not run any more, and what was refused never does.
fn of_other_form(sent: &Sent, runs: &Runs) -> Option<Verdict> {
    for (index, form) in sent.forms.iter().enumerate() {
        let begun = runs.begun.get(index).copied().unwrap_or_default();
        if form.answer == Answer::No && begun > 0 {
            return Some(untrue("`edit` failed, and the new command ran"));
        }
        if form.frozen.is_some_and(|before| begun > before) {
            return Some(untrue("it was edited, and the old command ran"));
        }
    }
    None
}

fn by_status(sent: &Sent, row: &Row, runs: &Runs) -> Verdict {
    let why = row.error.clone().unwrap_or_default();
    match &*row.status {
        "completed" => completed(sent, row, runs),
        "failed" => failed(sent, row, runs),
        "cancelled" => not_begun(row, runs).unwrap_or(Verdict::True),
        "uncertain" if why.is_empty() => untrue("it is uncertain without a reason"),
        "uncertain" => Verdict::Uncertain(why),
        "pending" => match &row.wait_reason {
            Some(reason) if !reason.is_empty() => Verdict::Waits(reason.clone()),
            _ => lost("it waits without a reason"),
        },
        other => lost(format!("it stays {other}")),
    }
}

fn completed(sent: &Sent, row: &Row, runs: &Runs) -> Verdict {
    if runs.all_begun() == 0 {
        return lost("it is completed, and never ran");
    }
    // Only the last form that ran can have completed.
    let last = runs.begun.iter().rposition(|&begun| begun > 0);
    let ended = last.and_then(|form| runs.ended.get(form));
    if ended.is_none_or(|&ended| ended == 0) {
        return lost("it is completed, and did not run to its end");
    }
    let Some(form) = last.and_then(|form| sent.forms.get(form)) else {
        return Verdict::True;
    };
    if form.code != 0 {
        return untrue(format!("it is completed, and exited with {}", form.code));
    }
    let printed: String = (1..=form.lines).map(|line| format!("{line}\n")).collect();
    let kept = without_complaints(row.output.as_deref().unwrap_or_default());
    if row.output_cut.is_none() && kept != printed {
        return untrue(format!(
            "its output has {} of {} bytes, and is said to be whole: {}",
            kept.len(),
            printed.len(),
            difference(&printed, &kept)
        ));
    }
    Verdict::True
}

/// Says where an output is not what was printed.
fn difference(printed: &str, kept: &str) -> String {
    let mut lines = printed.lines();
    let other = kept
        .lines()
        .enumerate()
        .find(|(_, line)| lines.next() != Some(line));
    match other {
        Some((number, line)) => {
            let shown: String = line.chars().take(200).collect();
            format!("its line {} is {shown:?}", number + 1)
        }
        None => "its end is missing".to_owned(),
    }
}

/// Returns an output without what the shell itself says where there is no room on the disk, and without the
/// terminal's echo of Ctrl-C, which a command may survive.
fn without_complaints(output: &str) -> String {
    let output = output.replace("^C", "");
    let lines = output.split_inclusive('\n');
    let lines = lines.filter(|line| !line.ends_with("No space left on device\n") && *line != "\n");
    lines.collect()
}

fn failed(sent: &Sent, row: &Row, runs: &Runs) -> Verdict {
    if row.error.as_deref().unwrap_or_default().is_empty() {
        return untrue("it failed without a reason");
    }
    if let Some(verdict) = not_begun(row, runs) {
        return verdict;
    }
    let last = runs.begun.iter().rposition(|&begun| begun > 0);
    let form = last.and_then(|form| sent.forms.get(form));
    let is_whole = runs.all_begun() == 1 && runs.all_ended() == 1;
    if is_whole && form.is_some_and(|form| form.code == 0) {
        return untrue(format!(
            "it failed ({}), and ran to its end",
            row.error.as_deref().unwrap_or_default()
        ));
    }
    Verdict::True
}

/// What was never begun did not run.
fn not_begun(row: &Row, runs: &Runs) -> Option<Verdict> {
    let begins = ["started", "submitted"];
    let was_begun = row.actions.iter().any(|action| begins.contains(&&**action));
    // What runs after a step that the history does not have.
    (!was_begun && runs.all_begun() > 0 && row.exit_code.is_none()).then(|| {
        untrue(format!(
            "it is {} without having begun, and ran",
            row.status
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Attempt;
    use crate::tasks::Form;

    fn sent() -> Sent {
        Sent {
            number: 1,
            id: Some(1),
            answer: Answer::Yes,
            batch: 1,
            forms: vec![Form {
                works: 0,
                code: 0,
                lines: 2,
                answer: Answer::Yes,
                frozen: None,
            }],
            padding: 0,
            retries: 0,
            wanted_again: 0,
        }
    }

    fn row(status: &str) -> Row {
        Row {
            id: 1,
            status: status.to_owned(),
            error: Some("why".to_owned()),
            output: Some("1\n2\n".to_owned()),
            attempts: vec![Attempt {
                status: status.to_owned(),
                session: "zsh".to_owned(),
                from: 0,
                until: Some(1),
            }],
            actions: ["queued", "claimed", "delivering", "started"]
                .map(str::to_owned)
                .to_vec(),
            ..Row::default()
        }
    }

    fn runs(begun: usize, ended: usize) -> Runs {
        Runs {
            begun: vec![begun],
            ended: vec![ended],
        }
    }

    /// Asserts that a verdict has this kind and these words.
    fn is(verdict: &Verdict, kind: &str, words: &str) {
        let text = format!("{verdict:?}");
        assert!(text.starts_with(kind) && text.contains(words), "{text}");
    }

    #[test]
    fn what_is_as_the_ledger_says_is_true() {
        let sent = sent();
        for (status, begun, ended) in [
            ("completed", 1, 1),
            ("failed", 1, 0),
            ("failed", 0, 0),
            ("cancelled", 1, 0),
            ("cancelled", 1, 1),
        ] {
            let verdict = judge(&sent, &[row(status)], &runs(begun, ended));
            assert_eq!(verdict, Verdict::True, "{status}");
        }
        is(
            &judge(&sent, &[row("uncertain")], &runs(1, 0)),
            "Uncertain",
            "why",
        );
    }

    #[test]
    fn what_is_lost_is_seen() {
        let mut sent = sent();
        is(&judge(&sent, &[], &runs(0, 0)), "Lost", "not in the ledger");
        let completed = [row("completed")];
        is(&judge(&sent, &completed, &runs(0, 0)), "Lost", "never ran");
        is(&judge(&sent, &completed, &runs(1, 0)), "Lost", "to its end");
        for status in ["pending", "in_progress"] {
            let verdict = judge(&sent, &[row(status)], &runs(0, 0));
            assert!(verdict.is_fault(), "{verdict:?}");
        }
        sent.answer = Answer::None;
        assert_eq!(judge(&sent, &[], &runs(0, 0)), Verdict::True);
        is(&judge(&sent, &[], &runs(1, 1)), "Untrue", "it ran");
        sent.answer = Answer::No;
        is(
            &judge(&sent, &completed, &runs(1, 1)),
            "Untrue",
            "`send` failed",
        );
    }

    #[test]
    fn what_is_doubled_is_seen() {
        let mut sent = sent();
        let one = row("completed");
        let twice = [one.clone(), one.clone()];
        is(
            &judge(&sent, &twice, &runs(1, 1)),
            "Doubled",
            "ledger twice",
        );
        is(
            &judge(&sent, &twice[..1], &runs(2, 2)),
            "Doubled",
            "in 1 attempts",
        );
        let mut again = one;
        again.attempts.push(again.attempts[0].clone());
        let again = [again];
        is(&judge(&sent, &again, &runs(2, 2)), "Doubled", "were wanted");
        sent.retries = 1;
        assert_eq!(judge(&sent, &again, &runs(2, 2)), Verdict::True);
        let mut uncertain = again;
        let more = ["uncertain", "claimed"].map(str::to_owned);
        uncertain[0].actions.extend(more);
        is(
            &judge(&sent, &uncertain, &runs(1, 1)),
            "Doubled",
            "by itself",
        );
    }

    #[test]
    fn what_is_untrue_is_seen() {
        let mut sent = sent();
        let failed = [row("failed")];
        is(
            &judge(&sent, &failed, &runs(1, 1)),
            "Untrue",
            "ran to its end",
        );
        let mut early = row("cancelled");
        early.actions.pop();
        is(
            &judge(&sent, &[early], &runs(1, 0)),
            "Untrue",
            "having begun",
        );
        let mut short = row("completed");
        short.output = Some("1\n".to_owned());
        is(
            &judge(&sent, &[short.clone()], &runs(1, 1)),
            "Untrue",
            "2 of 4 bytes",
        );
        short.output_cut = Some("its pipe was closed".to_owned());
        assert_eq!(judge(&sent, &[short], &runs(1, 1)), Verdict::True);
        let mut silent = row("uncertain");
        silent.error = None;
        is(
            &judge(&sent, &[silent], &runs(1, 0)),
            "Untrue",
            "without a reason",
        );
        sent.forms[0].code = 3;
        let completed = [row("completed")];
        is(
            &judge(&sent, &completed, &runs(1, 1)),
            "Untrue",
            "exited with 3",
        );
        sent.forms[0].answer = Answer::No;
        is(
            &judge(&sent, &completed, &runs(1, 1)),
            "Untrue",
            "`edit` failed",
        );
        sent.forms[0].answer = Answer::Yes;
        sent.forms[0].frozen = Some(0);
        is(
            &judge(&sent, &completed, &runs(1, 1)),
            "Untrue",
            "old command",
        );
    }
}
