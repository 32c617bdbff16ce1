//! The suite against the binary beside it: nothing may go wrong, and errors must be noticed.

use std::env;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use assigner_conformance::fake::input::{Input, Parser, newlines};
use assigner_conformance::journal::{self, Event, What};
use assigner_conformance::payload::{Kind, Payloads};
use serde_json::Value;
use tempfile::TempDir;

/// Runs deliveries, and returns the report and the exit code.
fn deliver(args: &[&str]) -> (Value, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_assigner-conformance"))
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
    let number = env::var("ASSIGNER_CONFORMANCE_DELIVERIES").unwrap_or_else(|_| "240".to_owned());
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

#[test]
fn every_prompt_is_one_paste_for_the_agent() {
    let mut payloads = Payloads::new(5);
    for number in 0..60 {
        let payload = payloads.next(number);
        if payload.kind == Kind::PasteEnd {
            continue;
        }
        let mut bytes = b"\x1b[200~".to_vec();
        bytes.extend_from_slice(payload.text.as_bytes());
        bytes.extend_from_slice(b"\x1b[201~\r");
        let mut parser = Parser::default();
        let mut inputs = Vec::new();
        for piece in bytes.chunks(997) {
            parser.feed(piece, &mut inputs);
        }
        let mut text = Vec::new();
        for input in &inputs[1..inputs.len() - 2] {
            match input {
                Input::Pasted(part) => text.extend_from_slice(part),
                other => panic!("{other:?} in {payload:?}"),
            }
        }
        assert_eq!(inputs.first(), Some(&Input::PasteBegin));
        assert_eq!(inputs.last(), Some(&Input::Enter));
        assert_eq!(newlines(&text), newlines(payload.text.as_bytes()));
    }
}

#[test]
fn the_agent_writes_down_what_it_was_given() {
    let server = Server::new();
    let log = server.agent("agent", &["--title", "--turn=100"]);
    let mut payloads = Payloads::new(5);
    // Including a long line, 64 KiB and 1 MiB.
    for number in [3, 4, 7, 10, 30, 198] {
        let payload = payloads.next(number);
        server.paste("agent", payload.text.as_bytes());
        server.until(&log, What::Paste, &payload.core());
        server.tmux(&["send-keys", "-t", "=agent:", "Enter"], b"");
        server.until(&log, What::Submit, &payload.core());
        server.until(&log, What::End, &payload.core());
    }
    let events = journal::read(&log).expect("a journal");
    let submits = events.iter().filter(|event| event.event == What::Submit);
    assert_eq!(submits.count(), 6);
}

#[test]
fn a_dialog_takes_what_is_typed_and_the_draft_stays() {
    let server = Server::new();
    let log = server.agent("agent", &["--dialog=after-paste", "--dialog-for=400"]);
    server.paste("agent", b"a prompt");
    server.until(&log, What::Dialog, "");
    server.tmux(&["send-keys", "-t", "=agent:", "Enter"], b"");
    server.until(&log, What::DialogKey, "");
    let begun = Instant::now();
    while !server.screen("agent").contains("❯ a prompt") {
        assert!(begun.elapsed() < DEADLINE, "{}", server.screen("agent"));
        thread::sleep(STEP);
    }
    server.tmux(&["send-keys", "-t", "=agent:", "Enter"], b"");
    server.until(&log, What::End, &journal::digest(b"a prompt"));
}

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// How often it is checked.
const STEP: Duration = Duration::from_millis(20);

/// A tmux server that ends when this is dropped.
struct Server {
    dir: TempDir,
}

impl Server {
    fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("agent-")
            .tempdir()
            .expect("a temporary directory");
        Self { dir }
    }

    /// Starts an agent, waits until it is visible, and returns its journal.
    fn agent(&self, name: &str, options: &[&str]) -> PathBuf {
        let log = self.dir.path().join(format!("{name}.jsonl"));
        let program = env!("CARGO_BIN_EXE_fake-agent");
        let log_option = format!("--log={}", log.display());
        let session = [
            "new-session",
            "-d",
            "-x",
            "100",
            "-y",
            "30",
            "-s",
            name,
            "--",
        ];
        let words = [&session[..], &[program, &log_option], options].concat();
        self.tmux(&words, b"");
        let begun = Instant::now();
        while !self.screen(name).contains("❯") {
            assert!(begun.elapsed() < DEADLINE, "{}", self.screen(name));
            thread::sleep(STEP);
        }
        log
    }

    fn tmux(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child = Command::new("tmux")
            .args(["-u", "-f", "/dev/null", "-S"])
            .arg(self.dir.path().join("s"))
            .args(args)
            .env_remove("TMUX")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("tmux");
        let mut stdin = child.stdin.take().expect("its input");
        stdin.write_all(input).expect("its input");
        drop(stdin);
        let output = child.wait_with_output().expect("its end");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
        output
    }

    fn paste(&self, name: &str, text: &[u8]) {
        self.tmux(&["load-buffer", "-b", "one", "-"], text);
        let target = format!("={name}:");
        let args = ["paste-buffer", "-p", "-d", "-r", "-b", "one", "-t", &target];
        self.tmux(&args, b"");
    }

    fn screen(&self, name: &str) -> String {
        let output = self.tmux(&["capture-pane", "-p", "-t", &format!("={name}:")], b"");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Waits until such an event is recorded, with a text of this digest if one is given.
    fn until(&self, log: &Path, what: What, core: &str) {
        let is_it = |event: &Event| {
            event.event == what && (core.is_empty() || event.core.as_deref() == Some(core))
        };
        let begun = Instant::now();
        loop {
            let events = journal::read(log).expect("a journal");
            if events.iter().any(is_it) {
                return;
            }
            assert!(
                begun.elapsed() < DEADLINE,
                "no {what:?} in {}",
                fs::read_to_string(log).unwrap_or_default()
            );
            thread::sleep(STEP);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The server may never have started.
        let _ = Command::new("tmux")
            .arg("-S")
            .arg(self.dir.path().join("s"))
            .arg("kill-server")
            .stderr(Stdio::null())
            .status();
    }
}
