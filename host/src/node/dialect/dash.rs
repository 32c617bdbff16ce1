//! dash, and other plain POSIX shells that read their line in canonical mode.

use shell_quote::Sh;

use super::posix::{PosixShell, builtin_export};
use crate::probe::LineEditor;

pub(super) static DASH: PosixShell = PosixShell {
    line_editor: LineEditor::Terminal,
    default_prompts: &[
        // busybox without a setting, and on Alpine.
        r"^(?P<full>[^\s].*) [$#] $",
        r"^(?P<host>[\w.-]+):(?P<full>[^\s].*)[$#] $",
    ],
    integration: None,
    // It has no `builtin`.
    builtin: "\\command",
    quote: |text| Sh::quote_vec(text),
    show_traps: "trap",
    trap_function: None,
    // It has no `read -d`.
    read_traps: |_, file| format!("__assigner_traps=\"$(\\command cat {file})\""),
    export: builtin_export,
    source_whole: |_, _, source| source,
    forget: "",
};
