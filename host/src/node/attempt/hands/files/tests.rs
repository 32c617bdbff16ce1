//! What is made of the files that a job leaves.

use std::fs;

use super::super::super::super::script::ScriptStep;
use super::super::super::super::spool::{CaptureEnd, Captured, Spool};
use super::*;
use crate::model::ids::AttemptId;

/// A spool directory, and the names of the files of a job in it.
fn job() -> (tempfile::TempDir, JobFiles) {
    let directory = tempfile::tempdir().expect("a directory");
    let spool = Spool::open(directory.path()).expect("a spool");
    let files = spool.files(AttemptId(3));
    (directory, files)
}

#[test]
fn an_output_that_is_not_whole_says_so_even_if_nothing_is_there() {
    let directory = tempfile::tempdir().expect("a directory");
    let spool = Spool::open(directory.path()).expect("a spool");
    let files = spool.files(AttemptId(3));
    let read = |pane_lives| {
        let output = printed(&files, 100, pane_lives);
        (output.bytes, output.cut)
    };
    // Its reader was killed before it could begin, or had no room.
    let (bytes, cut) = read(true);
    assert!(bytes.is_empty());
    assert!(cut.is_some_and(|why| why.contains("had not begun")));
    fs::write(files.output(), "a li").expect("written");
    let (bytes, cut) = read(true);
    assert_eq!(bytes, b"a li");
    assert!(cut.is_some_and(|why| why.contains("not come to its end")));
    let end = |end| files.write_capture_result(&Captured { total: 4, end });
    end(CaptureEnd::Pipe);
    assert!(
        read(true)
            .1
            .is_some_and(|why| why.contains("its pipe was closed"))
    );
    assert_eq!(read(false).1, None);
    end(CaptureEnd::Job);
    assert_eq!(read(true), (b"a li".to_vec(), None));
    // Where the command writes its output itself, nothing reads it.
    fs::write(files.raw_output(), "all").expect("written");
    assert_eq!(read(true), (b"all".to_vec(), None));
}

#[test]
fn what_a_job_has_left_is_read_from_its_files() {
    let (_directory, at) = job();
    let read = || files(&at, None);
    let nothing = read();
    assert!(!nothing.script && nothing.exit.is_none() && !nothing.exit_empty);
    assert!(!nothing.stopped && !nothing.marked && !nothing.output_whole);
    fs::write(at.script(), "").expect("written");
    fs::write(at.step(), "command\n").expect("written");
    assert!(read().script);
    let step = read().step.map(|(step, _)| step);
    assert_eq!(step, Some(ScriptStep::Command));
    // The disk was full when the code was to be written.
    fs::write(at.exit(), "").expect("written");
    assert!(read().exit_empty && read().exit.is_none());
    fs::write(at.exit(), "0\n").expect("written");
    assert!(!read().exit_empty);
    assert_eq!(read().exit, Some(0));
    // Its output is whole once its reader has ended, or where there is none.
    assert!(!read().output_whole);
    fs::write(at.raw_output(), "").expect("written");
    assert!(read().output_whole);
    fs::remove_file(at.raw_output()).expect("removed");
    for (end, is_marked) in [(CaptureEnd::Pipe, false), (CaptureEnd::Job, true)] {
        at.write_capture_result(&Captured { total: 4, end });
        assert!(read().output_whole);
        assert_eq!(read().marked, is_marked);
    }
    fs::remove_file(at.exit()).expect("removed");
    assert!(!read().output_whole);
}

#[test]
fn a_code_of_a_stopped_program_is_known() {
    use rustix::process::Signal;
    for signal in [Signal::TSTP, Signal::STOP, Signal::TTIN, Signal::TTOU] {
        assert!(is_of_stopped(128 + signal.as_raw()), "{signal:?}");
    }
    for code in [0, 1, 127, 128, 128 + Signal::INT.as_raw(), 20] {
        assert!(!is_of_stopped(code), "{code}");
    }
}

#[test]
fn what_an_interrupted_job_did_not_print_itself_is_cut_off() {
    for (printed, kept) in [
        ("one\ntwo\n$ ", "one\ntwo\n"),
        ("one\n^C\n$ ", "one\n"),
        ("one\n^C\n", "one\n"),
        ("one ^C\n$ ", "one "),
        ("$ ", ""),
        ("", ""),
    ] {
        let (_directory, at) = job();
        fs::write(at.output(), printed).expect("written");
        let end = CaptureEnd::ClosedByUs;
        at.write_capture_result(&Captured { total: 100, end });
        cut_prompt(&at);
        assert_eq!(fs::read_to_string(at.output()).expect("a text"), kept);
        let total = at.capture_result().expect("a result").total;
        let cut = (printed.len() - kept.len()) as u64;
        assert_eq!(total, 100 - cut, "{printed:?}");
    }
    // Where nothing was kept, nothing is cut.
    let (_directory, at) = job();
    cut_prompt(&at);
    assert!(!at.output().exists());
}

#[test]
fn no_more_than_the_end_of_a_text_is_kept() {
    let (_directory, at) = job();
    assert_eq!(read_end(&at.output(), 4), None);
    assert!(read_output(&at, 4).is_none());
    fs::write(at.output(), "abcdef").expect("written");
    for (limit, kept) in [(0, ""), (4, "cdef"), (6, "abcdef"), (9, "abcdef")] {
        let end = (kept.as_bytes().to_vec(), 6);
        assert_eq!(read_end(&at.output(), limit), Some(end), "{limit}");
        let output = last_of("abcdef", limit);
        assert_eq!((output.bytes, output.total), (kept.as_bytes().to_vec(), 6));
        let output = read_output(&at, limit).expect("an output");
        assert_eq!(
            (output.bytes, output.total),
            (kept.as_bytes().to_vec(), kept.len() as u64)
        );
    }
    // Its reader knows how much there was.
    let end = CaptureEnd::Job;
    at.write_capture_result(&Captured { total: 77, end });
    assert_eq!(read_output(&at, 4).expect("an output").total, 77);
    fs::write(at.raw_output(), "raw").expect("written");
    assert_eq!(read_output(&at, 9).expect("an output").bytes, b"raw");
}

#[test]
fn the_last_lines_of_a_failed_preparation_are_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let printed = directory.path().join("prepare");
    let told = |text: &str| {
        fs::write(&printed, text).expect("written");
        match preparation(&printed, directory.path().to_owned()) {
            Done::Preparation { lines, stands, .. } => {
                assert_eq!(stands, directory.path());
                lines
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(told("one  \n\n\u{1b}[31mtwo\u{1b}[0m\n"), ["one", "two"]);
    let many: Vec<String> = (0..20).map(|line| line.to_string()).collect();
    let last = told(&many.join("\n"));
    assert_eq!(last, many[20 - LAST_LINES..]);
}
