//! The row of a shell's cursor.

use std::path::PathBuf;

use super::empty::{CursorRow, Facts, proof};
use super::prompt::{self, Line};
use super::tracker::Stamp;
use crate::fuzz::{FuzzTarget, steered};
use crate::model::session::Shell;
use crate::tmux::CursorLine;

/// The targets of this module.
pub(crate) const TARGETS: &[FuzzTarget] = &[FuzzTarget {
    name: "prompt_line",
    seeds: &[],
    run: prompt_line,
}];

const STAMP: Stamp = Stamp {
    waits: Some(1),
    cursor: (0, 0),
    activity: 0,
};

/// The first line of `data` is the row with the cursor, which stands before a tab; the others are
/// above it. What stands right of the cursor was typed, and then nothing proves that the row is empty.
fn prompt_line(data: &[u8]) {
    let (width, data) = steered(data);
    let text = String::from_utf8_lossy(data);
    let mut rows = text.lines();
    let row = rows.next().unwrap_or_default();
    let (before, after) = row.split_once('\t').unwrap_or((row, ""));
    let line = CursorLine {
        before: before.to_owned(),
        after: after.to_owned(),
        above: rows
            .take(CursorLine::ABOVE as usize)
            .map(str::to_owned)
            .collect(),
        below: Vec::new(),
    };
    let width = u32::try_from(width).unwrap_or_default();
    let read = prompt::read(&line, width);
    let is_typed_at = after.starts_with(|char: char| !char.is_whitespace());
    assert!(!is_typed_at || read != Line::Prompt, "{line:?}");
    let row = CursorRow::in_width(width, &line);
    for (shell, attached) in [
        (Shell::Bash, true),
        (Shell::Zsh, false),
        (Shell::Fish, false),
    ] {
        let facts = Facts {
            shell,
            directory: Some(PathBuf::from("/srv/app")),
            home: Some(PathBuf::from("/home/me")),
            host: "host".to_owned(),
            attached,
        };
        let proof = proof(&row, &facts, None, STAMP);
        assert!(proof.is_none() || after.is_empty(), "{line:?}: {proof:?}");
    }
}
