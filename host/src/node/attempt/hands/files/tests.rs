//! What is made of the files that a job leaves.

use std::fs;

use super::super::super::super::spool::{CaptureEnd, Captured, Spool};
use super::printed;
use crate::model::ids::AttemptId;

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
