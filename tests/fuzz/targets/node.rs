//! What jobs leave in the spool, and what a pane's output holds.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use super::capture;
use super::post::BookedJob;
use super::script::mark;
use super::spool::{CaptureEnd, Spool};
use crate::fuzz::{FuzzTarget, steered};
use crate::model::ids::AttemptId;
use crate::model::task::is_variable_name;

/// The targets of this module.
pub(crate) const TARGETS: &[FuzzTarget] = &[
    FuzzTarget {
        name: "job_files",
        seeds: &[],
        run: job_files,
    },
    FuzzTarget {
        name: "capture",
        seeds: &[],
        run: captured,
    },
];

/// Calls `then` with a directory that is used again.
fn in_directory(then: impl FnOnce(&Path)) {
    thread_local! {
        static PLACE: tempfile::TempDir = tempfile::tempdir().expect("a directory");
    }
    PLACE.with(|place| then(place.path()));
}

/// Whatever stands in the files that a job and its shell write, it is read or ignored.
fn job_files(data: &[u8]) {
    in_directory(|place| {
        let spool = Spool::open(place).expect("a spool");
        let files = spool.files(AttemptId(7));
        for path in [files.exit(), files.step(), files.captured(), files.after()] {
            fs::write(path, data).expect("a file");
        }
        let _ = (files.exit_code(), files.last_step(), files.capture_result());
        let _ = files.step_since();
        let environment = files.environment_after().unwrap_or_default();
        assert!(environment.keys().all(|name| is_variable_name(name)));
    });
}

/// A stream that arrives in pieces of this size.
struct Pieces<'d> {
    rest: &'d [u8],
    size: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let size = self.size.min(into.len());
        self.rest
            .take(size as u64)
            .read(into)
            .inspect(|&taken| self.rest = &self.rest[taken..])
    }
}

impl capture::PaneBytes for Pieces<'_> {
    fn comes(&mut self, _: std::time::Duration) -> io::Result<bool> {
        Ok(true)
    }
}

/// However the output of a job is cut, exactly its last bytes are kept. A stream without the marks
/// keeps nothing.
fn captured(data: &[u8]) {
    const NONCE: &str = "0123456789abcdef";
    const LIMIT: usize = 512;
    let (size, output) = steered(data);
    if output
        .windows(NONCE.len())
        .any(|part| part == NONCE.as_bytes())
    {
        return;
    }
    let mut sent = output.to_vec();
    sent.extend(mark('A', NONCE).bytes());
    sent.extend(mark('C', NONCE).bytes());
    for &byte in output {
        if byte == b'\n' {
            sent.push(b'\r');
        }
        sent.push(byte);
    }
    let run = |stream: &[u8]| {
        let mut kept = (Vec::new(), None);
        in_directory(|place| {
            let file = place.join("7.out");
            let pieces = Pieces {
                rest: stream,
                size: size.max(1),
            };
            let job = BookedJob {
                nonce: NONCE.to_owned(),
                limit: LIMIT as u64,
                output: file.clone(),
            };
            capture::run(pieces, &job, None).expect("kept");
            let done = fs::read(place.join("7.done")).expect("a result");
            let done: super::spool::Captured = serde_json::from_slice(&done).expect("a result");
            kept = (
                fs::read(file).expect("an output"),
                Some((done.total, done.end)),
            );
        });
        kept
    };
    let total = output.len() as u64;
    sent.extend(mark('D', NONCE).bytes());
    let last = &output[output.len().saturating_sub(LIMIT)..];
    assert_eq!(run(&sent), (last.to_vec(), Some((total, CaptureEnd::Job))));
    assert_eq!(run(output), (Vec::new(), Some((0, CaptureEnd::Pipe))));
}
