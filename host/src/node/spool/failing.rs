//! A disk under the spool that fails where a test says so.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, ErrorKind, Write as _};

thread_local! {
    /// After how many calls of this thread one fails, and how.
    static DUE: Cell<Option<(usize, ErrorKind)>> = const { Cell::new(None) };
}

/// Has one call of this thread fail, after as many others.
pub(super) fn plan(after: usize, how: ErrorKind) {
    DUE.set(Some((after, how)));
}

/// Lets nothing fail any more, and returns whether something was still to.
pub(super) fn mend() -> bool {
    DUE.take().is_some()
}

/// Fails if this is the call; something that should have been written is then written to a part.
pub(super) fn call(written: Option<(&mut File, &[u8])>) -> io::Result<()> {
    match DUE.take() {
        Some((0, how)) => {
            if let Some((file, content)) = written {
                file.write_all(&content[..content.len() / 2])?;
            }
            Err(how.into())
        }
        due => {
            DUE.set(due.map(|(after, how)| (after - 1, how)));
            Ok(())
        }
    }
}
