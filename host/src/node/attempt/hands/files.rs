//! The files of a job: what they say of it, and what is kept of its output.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::super::super::shell::ShellAnswer;
use super::super::super::spool::{CaptureEnd, Captured, JobFiles};
use super::{Done, Files, LAST_LINES, LONGEST_PREPARATION};
use crate::probe;
use crate::store;

/// Whether shells use this exit code for a program that was stopped (Ctrl-Z).
pub(super) fn is_of_stopped(code: i32) -> bool {
    use rustix::process::Signal;
    [Signal::TSTP, Signal::STOP, Signal::TTIN, Signal::TTOU]
        .into_iter()
        .any(|signal| code == 128 + signal.as_raw())
}

pub(super) fn files(files: &JobFiles, said: Option<ShellAnswer>) -> Files {
    let exit = files.exit_code();
    let age = |since: std::time::SystemTime| since.elapsed().unwrap_or_default();
    Files {
        taken: Some(files.taken()),
        script: files.script().exists(),
        stopped: exit.is_some_and(is_of_stopped),
        exit_empty: exit.is_none()
            && std::fs::metadata(files.exit()).is_ok_and(|file| file.len() == 0),
        marked: files
            .capture_result()
            .is_some_and(|captured| captured.end == CaptureEnd::Job),
        back: files.back(),
        said,
        step: files.step_since().map(|(step, since)| (step, age(since))),
        // Only checked when it matters.
        output_whole: exit.is_some()
            && (files.raw_output().exists() || files.capture_result().is_some()),
        exit,
    }
}

/// Reads what a failed preparation has printed, and where its shell is.
pub(super) fn preparation(printed: &Path, stands: PathBuf) -> Done {
    let end = read_end(printed, LONGEST_PREPARATION);
    let plain = strip_ansi_escapes::strip(end.map(|(bytes, _)| bytes).unwrap_or_default());
    let text = String::from_utf8_lossy(&plain);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    let last = lines.len().saturating_sub(LAST_LINES);
    Done::Preparation {
        lines: lines[last..].iter().map(|&line| line.to_owned()).collect(),
        branch: probe::git_branch_now(&stands),
        stands,
    }
}

pub(in super::super) fn read_output(files: &JobFiles, limit: u64) -> Option<store::Output> {
    if let Some((bytes, total)) = read_end(&files.raw_output(), limit) {
        return Some(store::Output::whole(bytes, total));
    }
    let (bytes, _) = read_end(&files.output(), limit)?;
    let total = files
        .capture_result()
        .map_or(bytes.len() as u64, |captured| captured.total);
    Some(store::Output::whole(bytes, total))
}

/// Returns what a job has printed. Where nothing was kept of it, that is said, too.
pub(super) fn printed(files: &JobFiles, limit: u64, pane_lives: bool) -> store::Output {
    let read = read_output(files, limit);
    let cut = match read {
        Some(_) => cut_by(files, pane_lives),
        None => {
            Some("nothing was kept: the process that reads it had not begun, or its file is gone")
        }
    };
    store::Output {
        cut: cut.map(str::to_owned),
        ..read.unwrap_or_else(|| store::Output::of(Vec::new()))
    }
}

/// Whether the output ended because its pipe was closed: with its pane, or by somebody.
pub(super) fn pipe_was_closed(files: &JobFiles) -> bool {
    let captured = files.capture_result();
    !files.raw_output().exists() && captured.is_some_and(|said| said.end == CaptureEnd::Pipe)
}

/// Returns what has cut the output of a job, if anything has.
fn cut_by(files: &JobFiles, pane_lives: bool) -> Option<&'static str> {
    if files.raw_output().exists() {
        return None;
    }
    match files.capture_result().map(|captured| captured.end) {
        Some(CaptureEnd::Job | CaptureEnd::ClosedByUs) => None,
        Some(CaptureEnd::Pipe) => pane_lives.then_some("its pipe was closed while the command ran"),
        None => Some("the process that read it has not come to its end"),
    }
}

/// Returns the last `limit` bytes of a text.
pub(in super::super) fn last_of(text: &str, limit: u64) -> store::Output {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let bytes = text.as_bytes();
    let kept = bytes[bytes.len().saturating_sub(limit)..].to_vec();
    store::Output::whole(kept, bytes.len() as u64)
}

/// Cuts off what an interrupted job did not print itself: the prompt after its last line, and the
/// terminal's echo of the key.
pub(super) fn cut_prompt(files: &JobFiles) {
    let Ok(mut output) = std::fs::read(files.output()) else {
        return;
    };
    let printed = output.len();
    let end = output.iter().rposition(|&byte| byte == b'\n');
    output.truncate(end.map_or(0, |end| end + 1));
    if output.ends_with(b"^C\n") {
        output.truncate(output.len() - 3);
    }
    let cut = (printed - output.len()) as u64;
    if let Err(error) = std::fs::write(files.output(), output) {
        tracing::debug!("cannot shorten the output: {error}");
        return;
    }
    if let Some(captured) = files.capture_result() {
        let total = captured.total.saturating_sub(cut);
        files.write_capture_result(&Captured { total, ..captured });
    }
}

/// Returns the last `limit` bytes of a file, and its size.
pub(in super::super) fn read_end(path: &Path, limit: u64) -> Option<(Vec<u8>, u64)> {
    let mut file = File::open(path).ok()?;
    let total = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(total.saturating_sub(limit)))
        .ok()?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).ok()?;
    Some((bytes, total))
}

#[cfg(test)]
mod tests;
