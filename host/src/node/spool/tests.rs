//! The spool on a disk that is full or fails at any call, and files of which only a part is there.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use tempfile::TempDir;

use super::super::script_tests::task;
use super::*;
use crate::model::task::Metadata;

const ATTEMPT: AttemptId = AttemptId(7);

/// How a disk fails.
const FAILURES: [ErrorKind; 2] = [ErrorKind::StorageFull, ErrorKind::Other];

fn spool() -> (TempDir, Spool) {
    let directory = tempfile::tempdir().expect("a directory");
    let spool = Spool::open(directory.path()).expect("a spool");
    (directory, spool)
}

/// A job with every file that there may be.
fn write(spool: &Spool) -> io::Result<JobFiles> {
    let metadata = Metadata {
        prerequisites: vec!["true".to_owned(), "test -e x".to_owned()],
        ..Metadata::default()
    };
    let secrets = BTreeMap::from([("TOKEN".to_owned(), "s3cret".to_owned())]);
    let plan = ScriptPlan {
        shell: Shell::Bash,
        integration: None,
        task: &task("make", metadata),
        command: "make",
        prompt: Some("do it"),
        secrets: &secrets,
        keep: Keep::File,
        tell_before: false,
    };
    spool.write_job(ATTEMPT, &plan)
}

/// Everything in the spool, by its name.
fn contents(spool: &Spool) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(spool.directory()).expect("a directory");
    let entries = entries.map(|entry| entry.expect("an entry"));
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().expect("text");
            (name, fs::read(entry.path()).expect("a file"))
        })
        .collect()
}

#[test]
fn a_job_is_written_as_a_whole_or_refused() {
    let (_directory, spool) = spool();
    write(&spool).expect("written");
    let whole = contents(&spool);
    for how in FAILURES {
        for call in 0.. {
            failing::plan(call, how);
            let written = write(&spool);
            if failing::mend() {
                assert_eq!(call, whole.len(), "each file was the one that failed");
                written.expect("nothing has failed");
                break;
            }
            // Nothing is typed then, and the next try finds nothing of this one.
            let error = written.expect_err("a disk that failed");
            assert_eq!(error.kind(), how, "call {call}");
            let files = spool.files(ATTEMPT);
            assert_eq!(files.taken(), Taken::No);
            assert_eq!(files.exit_code(), None);
            write(&spool).expect("written");
            assert_eq!(contents(&spool), whole);
        }
    }
}

#[test]
fn a_job_that_could_not_be_withdrawn_can_still_be_taken_up_by_one_side() {
    for how in FAILURES {
        for call in 0.. {
            for shell_is_next in [false, true] {
                let (_directory, spool) = spool();
                let files = write(&spool).expect("written");
                failing::plan(call, how);
                let withdrawn = files.withdraw();
                if failing::mend() {
                    assert_eq!(call, 2, "the file and its link");
                    assert_eq!(withdrawn.expect("nothing has failed"), Taken::Withdrawn);
                    continue;
                }
                withdrawn.expect_err("a disk that failed");
                assert_eq!(files.taken(), Taken::No, "nothing is half claimed");
                if shell_is_next {
                    let claimed = OpenOptions::new()
                        .write(true)
                        .create_new(true)
                        .open(files.claim());
                    claimed.expect("the shell wins");
                    assert_eq!(files.withdraw().expect("asked"), Taken::ByShell);
                } else {
                    assert_eq!(files.withdraw().expect("asked"), Taken::Withdrawn);
                }
            }
            if call == 2 {
                break;
            }
        }
    }
}

/// A shell that has no room, or a machine that stops, leaves the beginning of a file.
#[test]
fn an_exit_code_counts_once_it_is_whole() {
    let (_directory, spool) = spool();
    let files = spool.files(ATTEMPT);
    let step = "command\ncode 130\n";
    for end in 0..=step.len() {
        fs::write(files.step(), &step[..end]).expect("written");
        let expected = (end == step.len()).then_some(130);
        assert_eq!(files.exit_code(), expected, "{:?}", &step[..end]);
    }
    let _ = fs::remove_file(files.step());
    for (end, expected) in [(0, None), (1, None), (3, None), (4, Some(130))] {
        fs::write(files.exit(), &"130\n"[..end]).expect("written");
        assert_eq!(files.exit_code(), expected);
    }
}

#[test]
fn what_a_shell_exports_counts_once_it_is_whole() {
    let (_directory, spool) = spool();
    let files = spool.files(ATTEMPT);
    let whole = b"A=1\0B=22\0";
    for end in 0..=whole.len() {
        fs::write(files.after(), &whole[..end]).expect("written");
        let names = files.environment_after().map(|found| found.len());
        let expected = match end {
            // A report that ends between two variables looks like one of fewer.
            4 => Some(1),
            9 => Some(2),
            _ => None,
        };
        assert_eq!(names, expected, "{end} bytes");
    }
}
