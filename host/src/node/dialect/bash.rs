//! GNU bash.

use shell_quote::Bash;

use super::posix::{PosixShell, builtin_export, startup_line};
use super::{Integration, ReportingStart, StartupFile};
use crate::probe::LineEditor;

pub(super) static BASH: PosixShell = PosixShell {
    line_editor: LineEditor::Own,
    default_prompts: &[
        // Debian's.
        r"^(?:\([\w.:-]+\) ?)?[\w.-]+@(?P<host>[\w.-]+):(?P<full>[^\s].*)[$#] $",
        // Fedora's.
        r"^(?:\([\w.:-]+\) ?)?\[[\w.-]+@(?P<host>[\w.-]+) (?P<last>[^\s].*)\][$#] $",
        // Without a setting.
        r"^(?:bash|sh)-\d+\.\d+[$#] $",
    ],
    integration: Some(&INTEGRATION),
    builtin: "\\builtin",
    quote: |text| Bash::quote_vec(text),
    show_traps: "trap -p EXIT",
    trap_function: None,
    read_traps: super::traps::read_whole,
    export: builtin_export,
    source_whole,
    forget: " __assigner_forget;",
};

static INTEGRATION: Integration = Integration {
    text: include_str!("integration.bash"),
    about: "GNU bash, 4.4 and later",
    startup: StartupFile {
        variable: None,
        directory: "",
        name: ".bashrc",
    },
    startup_line,
    options: &["-i", "--noprofile"],
    start,
};

/// bash reads another file instead of `~/.bashrc`; that file sources `~/.bashrc` first.
fn start(words: &[String], integration: &str, directory: &str) -> Option<ReportingStart> {
    const FILE: &str = "bashrc";
    let mut words = words.to_vec();
    let option = ["--rcfile".to_owned(), format!("{directory}/{FILE}")];
    words.splice(1..1, option);
    let text = format!("[[ -r ~/.bashrc ]] && \\builtin . ~/.bashrc\n\\builtin . {integration}\n");
    Some(ReportingStart {
        words,
        file: Some((FILE, text)),
    })
}

/// In bash 5.2, an open `$(` at the end of a sourced file corrupts memory, and bash dies at its next
/// prompt. If a piece may have one, another bash parses it first, and this one never sources a piece
/// that has one.
fn source_whole(file: &str, text: &str, source: String) -> String {
    // A backslash and a newline may come between `$` and `(`.
    if !text.contains('(') {
        return source;
    }
    format!(
        "case \"$(LC_ALL=C \\command \"$BASH\" -n {file} 2>&1)\" in *\"unexpected EOF while looking for matching \"?\")'\"*) LC_ALL=C \\command \"$BASH\" -n {file};; *) {source};; esac"
    )
}
