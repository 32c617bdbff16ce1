//! The parts of the suite: its prompts, and the agent that it plays. The whole of it against the binary is
//! one of the end-to-end tests.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use assigner_conformance::fake::input::{Input, Parser, newlines};
use assigner_conformance::journal::{self, Event, What};
use assigner_conformance::payload::{Kind, Payloads};
use tempfile::TempDir;

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
