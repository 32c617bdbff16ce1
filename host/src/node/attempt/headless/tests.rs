//! How a job that asked an agent has ended, by what the agent printed.

use std::fs;
use std::time::Duration;

use tempfile::TempDir;

use super::super::testing::{at, brief, command};
use super::super::{Leaves, OutputSource};
use super::*;
use crate::model::headless::HeadlessSpec;
use crate::model::ids::AttemptId;
use crate::node::spool::Spool;

fn asked() -> Headless {
    let spec = "command = ['x']\nresponse = { at = '/r' }\nerror = { at = '/e' }\n\
        conversation = { at = '/c' }\n";
    Headless {
        provider: "codex".to_owned(),
        spec: toml::from_str::<HeadlessSpec>(spec).expect("a way to ask"),
    }
}

/// Returns an attempt that asks an agent.
fn asking() -> Brief {
    let mut task = command("ask");
    task.metadata.headless = Some(asked());
    task.max_retries = 1;
    brief(task)
}

/// What a job that asked an agent has left.
struct AskedJob {
    _directory: TempDir,
    files: JobFiles,
}

impl AskedJob {
    fn new(printed: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let spool = Spool::open(directory.path()).expect("a spool");
        let files = spool.files(AttemptId(5));
        fs::write(files.response(), printed).expect("written");
        Self {
            files,
            _directory: directory,
        }
    }

    fn shows(self, text: &str) -> Self {
        fs::write(self.files.output(), text).expect("written");
        self
    }

    fn read(&self, limit: u64) -> Printed {
        read(&asked(), &self.files, limit)
    }

    /// Concludes how an attempt ended whose command ended in this way.
    fn ended(&self, outcome: Outcome) -> Ending {
        let event = match outcome {
            Outcome::Completed => Event::Complete,
            Outcome::Failed => Event::Fail,
            _ => Event::Cancel,
        };
        let code = i32::from(outcome != Outcome::Completed);
        let ending = Ending {
            exit_code: Some(code),
            output: OutputSource::Files,
            leaves: Leaves::Variables,
            ..Ending::new(outcome, event)
        };
        let ending = match outcome {
            Outcome::Completed => ending,
            _ => ending.because("exit code 1"),
        };
        let catalog = agents::Catalog::built_in();
        let profile = &catalog.get("codex").expect("a profile").profile;
        concluded(&asking(), ending, self.read(100), Some(profile), at(0))
    }
}

fn source(ending: &Ending) -> &str {
    ending.turn.as_ref().map_or("", |facts| &facts.source)
}

#[test]
fn a_response_is_kept_and_otherwise_all_that_was_printed_and_shown() {
    let job = AskedJob::new(r#"{"r": "hello, all"}"#).shows("noise");
    assert_eq!(job.read(100).output.bytes, b"hello, all");
    let end = job.read(3).output;
    assert_eq!((end.bytes, end.total), (b"all".to_vec(), 10));
    let job = AskedJob::new("no answer\n").shows("noise");
    assert_eq!(job.read(100).output.bytes, b"no answer\nnoise");
}

#[test]
fn an_answer_completes_a_prompt_whatever_was_shown_beside_it() {
    let ending = AskedJob::new(r#"{"r": "hello", "c": "c1"}"#)
        .shows(r#"{"e": "overcome"}"#)
        .ended(Outcome::Completed);
    assert_eq!(ending.outcome, Outcome::Completed);
    assert_eq!(
        (source(&ending), ending.reason.as_ref()),
        ("headless", None)
    );
    let facts = ending.turn.expect("facts");
    assert_eq!(facts.provider.as_deref(), Some("codex"));
    assert_eq!(facts.conversation.as_deref(), Some("c1"));
    // Something followed that could not be read, so the answer may not be whole.
    let cut = AskedJob::new("{\"r\": \"hello\"}\nwords\n").ended(Outcome::Completed);
    assert_eq!(source(&cut), TurnFacts::OUTPUT);
    let none = AskedJob::new("words").ended(Outcome::Completed);
    assert_eq!(source(&none), TurnFacts::OUTPUT);
    assert_eq!(none.outcome, Outcome::Completed);
}

#[test]
fn an_error_fails_a_prompt_whatever_its_exit_code() {
    for outcome in [Outcome::Completed, Outcome::Failed] {
        let ending = AskedJob::new(r#"{"e": "no such model"}"#).ended(outcome);
        assert_eq!(
            (ending.outcome, ending.event),
            (Outcome::Failed, Event::Retry)
        );
        assert_eq!(ending.reason.as_deref(), Some("codex: no such model"));
        // What its command has left is kept.
        assert_eq!(
            ending.exit_code,
            Some(i32::from(outcome != Outcome::Completed))
        );
        assert_eq!(ending.output, OutputSource::Files);
        assert_eq!(ending.leaves, Leaves::Variables);
    }
    // One that the pane shows counts only where the command has failed.
    let job = AskedJob::new("").shows(r#"{"e": "no such model"}"#);
    assert_eq!(job.ended(Outcome::Completed).outcome, Outcome::Completed);
    let failed = job.ended(Outcome::Failed);
    assert_eq!(failed.reason.as_deref(), Some("codex: no such model"));
    // A person has ended it.
    let ending = AskedJob::new(r#"{"e": "no such model"}"#).ended(Outcome::Cancelled);
    assert_eq!(ending.outcome, Outcome::Cancelled);
    assert_eq!(ending.reason.as_deref(), Some("exit code 1"));
}

#[test]
fn a_failure_without_an_answer_says_so() {
    let silent = "codex gave no answer that its profile reads: exit code 1";
    for (printed, outcome, reason) in [
        ("", Outcome::Failed, Some(silent)),
        (r#"{"r": "hello"}"#, Outcome::Failed, Some("exit code 1")),
        ("", Outcome::Cancelled, Some("exit code 1")),
        ("", Outcome::Completed, None),
    ] {
        let ending = AskedJob::new(printed).ended(outcome);
        assert_eq!(ending.reason.as_deref(), reason, "{printed} {outcome:?}");
    }
}

#[test]
fn a_limit_pauses_the_agent_and_costs_no_try() {
    let error = "429: You've hit your usage limit.";
    let ending = AskedJob::new(&format!("{{\"e\": \"{error}\"}}")).ended(Outcome::Failed);
    assert_eq!(
        (ending.outcome, ending.event),
        (Outcome::Limited, Event::Hold)
    );
    let limit = ending.limit.expect("a limit");
    assert_eq!((&*limit.provider, &*limit.reason), ("codex", error));
    let catalog = agents::Catalog::built_in();
    let profile = &catalog.get("codex").expect("a profile").profile;
    assert_eq!(limit.until, at(0).wall + profile.turn.limit_pause);
    // One that ends at once would be reached again at once.
    let mut profile = Profile::clone(profile);
    profile.turn.limit_pause = Duration::from_secs(1);
    let told = super::limit("codex", error, &profile, at(0)).expect("a limit");
    assert_eq!(told.until, at(0).wall + LEAST_PAUSE);
    assert_eq!(
        super::limit("codex", "no such model", &profile, at(0)),
        None
    );
}

#[test]
fn the_directory_is_one_path_as_a_shell_writes_it() {
    let long = format!("/{}\n", "x".repeat(5_000));
    for (written, read) in [
        (Some("/w\n"), Some("/w")),
        (Some("/w"), None),
        (Some("w\n"), None),
        (Some("/w\t\n"), None),
        (Some("/w\n/v\n"), None),
        (Some("\n"), None),
        (Some(long.as_str()), None),
        (None, None),
    ] {
        let job = AskedJob::new("");
        if let Some(written) = written {
            fs::write(job.files.directory(), written).expect("written");
        }
        assert_eq!(job.read(100).directory.as_deref(), read, "{written:?}");
    }
}
