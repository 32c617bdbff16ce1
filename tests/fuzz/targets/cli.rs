//! What people and agents hand to commands: batches, command lines, the data of hooks.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use clap::Parser;

use super::report::{self, HookInput};
use super::{Args, batch, look, one_line, ui};
use crate::agents::Catalog;
use crate::agents::report::ReportedState;
use crate::fuzz::{FuzzTarget, is_one_line};
use crate::options::Sender;
use crate::store::Secrets;

/// The targets of this module.
pub(crate) const TARGETS: &[FuzzTarget] = &[
    FuzzTarget {
        name: "batch",
        seeds: &[],
        run: batch,
    },
    FuzzTarget {
        name: "hook",
        seeds: &[],
        run: hook,
    },
    FuzzTarget {
        name: "command_line",
        seeds: &[],
        run: command_line,
    },
];

/// Each line that is not blank is a task, or one line says what is wrong with one of them.
fn batch(data: &[u8]) {
    thread_local! {
        static PLACE: tempfile::TempDir = tempfile::tempdir().expect("a directory");
    }
    let lines = || data.split(|&byte| byte == b'\n');
    PLACE.with(|place| {
        let secrets = Secrets::of(place.path());
        let sender = Sender {
            profiles: Path::new("/nonexistent"),
            headless: Catalog::headless,
            usually_headless: &[],
            secrets: &secrets,
            look: look::sight,
            lines: None,
        };
        let mut tasks = Vec::new();
        let result = batch::read_lines(data, "it", &sender, |id| Ok(id.0 < 10), &mut tasks);
        crate::options::forget(&tasks, &secrets);
        match result {
            Ok(()) => {
                let is_blank = |line: &&[u8]| !String::from_utf8_lossy(line).trim().is_empty();
                assert_eq!(tasks.len(), lines().filter(is_blank).count());
            }
            Err(failure) => {
                // As it is shown.
                let message = ui::clean(&failure.message);
                is_one_line(&message);
                assert!(message.contains("it, line "), "{message}");
                assert!(message.chars().count() < 2_000, "{message}");
            }
        }
    });
}

/// Whatever an agent hands over, names of turns are short, and a record has an absolute path.
fn hook(data: &[u8]) {
    let Some(handed) = HookInput::read(data) else {
        return;
    };
    assert!(
        handed
            .turn()
            .is_none_or(|turn| (1..=256).contains(&turn.len()))
    );
    assert!(handed.transcript().is_none_or(|path| path.is_absolute()));
    for state in [
        ReportedState::Busy,
        ReportedState::Blocked,
        ReportedState::Done,
    ] {
        let words = handed.words(state);
        assert!(words.is_none_or(|words| !words.trim().is_empty() && words.len() <= data.len()));
    }
    let _ = handed.ends();
}

/// Any words, separated by zeros in `data`, are a command, or one line that can be shown says what is
/// wrong.
fn command_line(data: &[u8]) {
    let words = data
        .split(|&byte| byte == 0)
        .map(|word| OsString::from_vec(word.to_vec()));
    let words: Vec<OsString> = [OsString::from("assigner")]
        .into_iter()
        .chain(words)
        .collect();
    let _ = report::is_meant(words.iter().cloned());
    if let Err(error) = Args::try_parse_from(&words)
        && error.exit_code() != 0
    {
        let message = one_line(&error.to_string());
        is_one_line(&ui::clean(&message));
    }
}
