//! The report on a whole run: as a table, as Markdown, as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use jiff::Zoned;
use serde_json::{Value, json};

use crate::judge::{Judgement, Verdict};
use crate::run::Run;
use crate::scenario::Scenario;

/// How many findings of a scenario are described in words.
const FINDINGS: usize = 20;

const COLUMNS: [&str; 12] = [
    "scenario",
    "prompts",
    "whole",
    "refused",
    "uncertain",
    "lost",
    "damaged",
    "duplicated",
    "into a dialog",
    "misreported",
    "other responses",
    "seconds",
];

/// What each column counts.
const LEGEND: &str = "\
- **whole**: taken once, with the same bytes, and the task says so
- **refused**: not taken, and there is a reason (control bytes are always refused)
- **uncertain**: the task says that a person must look
- **lost**: not taken, and the task says otherwise or gives no reason
- **damaged**: taken with other bytes
- **duplicated**: taken more than once
- **into a dialog**: dialogs that something was typed or pasted into
- **misreported**: taken once and whole, and the task says otherwise
- **other responses**: of those compared, not what the agent said
";

/// A whole run.
#[derive(Debug)]
pub struct Report {
    /// The version of the tested program.
    pub assigner: String,
    /// The version of tmux.
    pub tmux: String,
    /// True if its agents were a user's own, which record nothing.
    pub is_foreign: bool,
    /// The number of agents.
    pub sessions: usize,
    /// The seed of the prompts.
    pub seed: u64,
    /// The scenarios.
    pub runs: Vec<(Scenario, Run)>,
}

impl Report {
    /// Returns the sum of all scenarios.
    #[must_use]
    pub fn total(&self) -> Judgement {
        let mut total = Judgement::default();
        for (_, run) in &self.runs {
            total.add(&run.judgement);
        }
        total
    }

    /// Returns whether nothing happened that must not happen.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let total = self.total();
        // A profile that recognises nothing delivers nothing, which is not good either.
        let delivers = total.deliverable == 0 || total.count(Verdict::Whole) > 0;
        delivers && total.faults() == 0 && self.runs.iter().all(|(_, run)| run.trouble.is_none())
    }

    /// Returns a table for a terminal, and the findings.
    #[must_use]
    pub fn text(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(COLUMNS);
        for row in self.rows() {
            table.add_row(row);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let mut text = format!("{table}\n");
        if let Some(note) = self.note() {
            let _ = write!(text, "\n{note}\n");
        }
        for (name, line) in self.findings() {
            let _ = write!(text, "\n{name}: {line}");
        }
        text
    }

    /// Returns the report in Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::from("# Deliveries\n\n");
        let _ = writeln!(
            text,
            "{} on {}, tmux {}, {} agents, seed {}, {}.\n",
            self.assigner,
            std::env::consts::OS,
            self.tmux,
            self.sessions,
            self.seed,
            Zoned::now().strftime("%F"),
        );
        if let Some(note) = self.note() {
            let _ = writeln!(text, "{note}\n");
        }
        let _ = writeln!(text, "| {} |", COLUMNS.join(" | "));
        let _ = writeln!(text, "|---|{}", "---:|".repeat(COLUMNS.len() - 1));
        for row in self.rows() {
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
        let _ = write!(text, "\n{LEGEND}");
        text.push_str("\nScenarios:\n\n");
        for (scenario, _) in &self.runs {
            let _ = writeln!(text, "- `{}`: {}", scenario.name, scenario.about);
        }
        let findings = self.findings();
        if !findings.is_empty() {
            text.push_str("\nWhat was found:\n\n");
            for (name, line) in findings {
                let _ = writeln!(text, "- `{name}`: {}", escaped(&line));
            }
        }
        text
    }

    /// Returns the report for scripts.
    #[must_use]
    pub fn json(&self) -> Value {
        let runs: Vec<Value> = self
            .runs
            .iter()
            .map(|(scenario, run)| {
                json!({
                    "name": scenario.name,
                    "seconds": run.took.as_secs_f64(),
                    "trouble": run.trouble,
                    "judgement": run.judgement,
                    "faults": run.judgement.faults(),
                })
            })
            .collect();
        let mut total = self.total();
        total.findings.clear();
        json!({
            "assigner": self.assigner,
            "tmux": self.tmux,
            "foreign": self.is_foreign,
            "sessions": self.sessions,
            "seed": self.seed,
            "good": self.is_good(),
            "scenarios": runs,
            "total": total,
        })
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let mut rows: Vec<_> = self
            .runs
            .iter()
            .map(|(scenario, run)| row(scenario.name, &run.judgement, run.took))
            .collect();
        if self.runs.len() > 1 {
            let took = self.runs.iter().map(|(_, run)| run.took).sum();
            rows.push(row("all", &self.total(), took));
        }
        rows
    }

    fn note(&self) -> Option<&'static str> {
        self.is_foreign.then_some(
            "These agents write nothing down: they are judged by the tasks' states and responses \
             alone, so nothing is known about duplicates and dialogs.",
        )
    }

    fn findings(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        for (scenario, run) in &self.runs {
            if let Some(trouble) = &run.trouble {
                lines.push((scenario.name, format!("broken off: {trouble}")));
            }
            for finding in run.judgement.findings.iter().take(FINDINGS) {
                let of = match (finding.task, finding.number) {
                    (Some(task), Some(number)) => format!("task {task}, prompt {number}"),
                    (_, Some(number)) => format!("prompt {number}"),
                    _ => "no prompt".to_owned(),
                };
                let verdict = name(finding.verdict);
                lines.push((scenario.name, format!("{verdict}: {of}: {}", finding.why)));
            }
            let more = run.judgement.findings.len().saturating_sub(FINDINGS);
            if more > 0 {
                lines.push((scenario.name, format!("and {more} more")));
            }
        }
        lines
    }
}

fn row(name: &str, judgement: &Judgement, took: Duration) -> Vec<String> {
    let count = |verdict| judgement.count(verdict).to_string();
    vec![
        name.to_owned(),
        judgement.deliveries.to_string(),
        count(Verdict::Whole),
        count(Verdict::Refused),
        count(Verdict::Uncertain),
        count(Verdict::Lost),
        count(Verdict::Damaged),
        count(Verdict::Duplicated),
        judgement.into_dialogs.to_string(),
        count(Verdict::Misreported),
        format!("{}/{}", judgement.other_responses, judgement.responses),
        took.as_secs().to_string(),
    ]
}

fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Whole => "whole",
        Verdict::Refused => "refused",
        Verdict::Uncertain => "uncertain",
        Verdict::Lost => "lost",
        Verdict::Damaged => "damaged",
        Verdict::Duplicated => "duplicated",
        Verdict::Misreported => "misreported",
    }
}

/// Escapes a line, so that Markdown shows it unchanged.
fn escaped(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    for character in line.chars() {
        match character {
            '\\' | '`' | '*' | '_' | '<' | '>' | '[' | ']' | '|' | '#' => {
                text.push('\\');
                text.push(character);
            }
            _ if character.is_control() => text.push(' '),
            _ => text.push(character),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Finding;
    use crate::scenario::ALL;

    fn report() -> Report {
        let mut judgement = Judgement {
            deliveries: 3,
            ..Judgement::default()
        };
        judgement.verdicts.insert(Verdict::Whole, 2);
        let good = Run {
            judgement: judgement.clone(),
            took: Duration::from_secs(2),
            trouble: None,
        };
        judgement.verdicts.insert(Verdict::Lost, 1);
        judgement.findings.push(Finding {
            number: Some(4),
            task: Some(5),
            kind: None,
            verdict: Verdict::Lost,
            why: "a | b\n`c`".to_owned(),
        });
        let bad = Run {
            judgement,
            took: Duration::from_secs(3),
            trouble: None,
        };
        Report {
            assigner: "assigner 1".to_owned(),
            tmux: "3.3a".to_owned(),
            is_foreign: false,
            sessions: 4,
            seed: 1,
            runs: vec![(ALL[0], good), (ALL[1], bad)],
        }
    }

    #[test]
    fn a_fault_or_trouble_makes_it_bad() {
        let mut report = report();
        assert!(!report.is_good());
        report.runs.pop();
        assert!(report.is_good());
        report.runs[0].1.trouble = Some("the daemon ended".to_owned());
        assert!(!report.is_good());
    }

    #[test]
    fn the_tables_count_the_same() {
        let markdown = report().markdown();
        assert!(
            markdown.contains("| plain | 3 | 2 | 0 | 0 | 0 | 0 |"),
            "{markdown}"
        );
        assert!(
            markdown.contains("| all | 6 | 4 | 0 | 0 | 1 | 0 |"),
            "{markdown}"
        );
        assert!(
            markdown.contains("lost: task 5, prompt 4: a \\| b \\`c\\`"),
            "{markdown}"
        );
        let json = report().json();
        assert_eq!(json["total"]["verdicts"]["whole"], 4);
        assert_eq!(json["scenarios"][1]["faults"], 1);
        assert_eq!(json["good"], false);
        assert!(report().text().contains("burst-120"));
    }
}
