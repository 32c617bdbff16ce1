//! The conformance suite against the binary: nothing may go wrong, and errors must be noticed.

use std::env;
use std::process::Command;

use serde_json::Value;

use crate::harness::beside;

/// Runs deliveries, and returns the report and the exit code.
fn deliver(args: &[&str]) -> (Value, Option<i32>) {
    let output = Command::new(beside("assigner-conformance"))
        .args(["--json", "--sessions", "4"])
        .args(args)
        .output()
        .expect("the runner");
    let said = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("no report ({error}): {said}"));
    (report, output.status.code())
}

/// Scenarios in which every prompt that can arrive does, and every response is what the agent said.
const UNDISTURBED: [&str; 3] = ["plain", "headless", "headless-killed"];

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn count(judgement: &Value, verdict: &str) -> u64 {
    judgement["verdicts"][verdict].as_u64().unwrap_or(0)
}

#[test]
fn nothing_is_lost_damaged_duplicated_or_typed_into_a_dialog() {
    let number = env::var("ASSIGNER_CONFORMANCE_DELIVERIES").unwrap_or_else(|_| "160".to_owned());
    // They wait for dialogs and for turns more than they work.
    let (report, code) = deliver(&["--deliveries", &number, "--at-once", "8"]);
    let mut faults = Vec::new();
    for scenario in report["scenarios"].as_array().expect("scenarios") {
        let judgement = &scenario["judgement"];
        // If nothing is in the way, everything that can arrive must arrive.
        let is_free = UNDISTURBED.contains(&text(&scenario["name"]));
        let is_short =
            is_free && judgement["deliverable"].as_u64() != Some(count(judgement, "whole"));
        let is_other =
            is_free && (judgement["responses"] == 0 || judgement["other_responses"] != 0);
        let has_fault = scenario["faults"] != 0 || scenario["trouble"] != Value::Null;
        if has_fault || is_short || is_other {
            faults.push(scenario);
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    // Refusing everything would be easy.
    let total = &report["total"];
    let deliverable = total["deliverable"].as_u64().expect("a number");
    assert!(count(total, "whole") * 2 > deliverable, "{total:#}");
    assert_eq!(code, Some(0));
}

/// An agent that makes something else of each prompt, but for words with digits.
#[test]
fn a_rewritten_prompt_is_known_by_its_sign() {
    let of = |more: &[&str]| {
        let args = ["--deliveries", "12", "--patience", "60"];
        let (report, code) = deliver(&[&args, more].concat());
        let total = report["total"].clone();
        assert_eq!(code, Some(0), "{report:#}");
        total
    };
    let number = |total: &Value, name: &str| total[name].as_u64().expect("a number");
    let signed = of(&["--scenario", "rewrite"]);
    assert_eq!(
        number(&signed, "deliverable"),
        count(&signed, "whole"),
        "{signed:#}"
    );
    assert_eq!(number(&signed, "partial_responses"), 0, "{signed:#}");
    assert_eq!(number(&signed, "other_responses"), 0, "{signed:#}");
    // Without a sign, its record cannot be found by any text.
    let plain = of(&["--scenario", "plain", "--agent-option=--rewrite"]);
    assert_eq!(
        number(&plain, "partial_responses"),
        count(&plain, "whole"),
        "{plain:#}"
    );
    assert!(number(&plain, "partial_responses") > 0, "{plain:#}");
}

/// Asserts that prompts of such an agent are seen to have a fault.
fn is_seen(scenario: &str, option: &str, verdict: &str) {
    let prompts = ["--deliveries", "16", "--patience", "20"];
    let agents = ["--scenario", scenario, option];
    let (report, code) = deliver(&[&prompts[..], &agents].concat());
    assert_eq!(code, Some(1), "{report:#}");
    assert!(count(&report["total"], verdict) > 0, "{report:#}");
}

#[test]
fn damage_is_seen() {
    is_seen("plain", "--agent-option=--garble=0.7", "damaged");
    is_seen("headless", "--agent-option=--garble=0.7", "damaged");
}

#[test]
fn a_prompt_that_is_taken_twice_is_seen() {
    is_seen("plain", "--agent-option=--twice=0.7", "duplicated");
    is_seen("headless", "--agent-option=--twice=0.7", "duplicated");
}
