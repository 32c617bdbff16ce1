//! zsh.

use std::fs::File;
use std::io::Read;

use shell_quote::Bash;

use super::posix::{PosixShell, export_unless_equal, startup_line};
use super::{Integration, ReportingStart, StartupFile};
use crate::probe::LineEditor;

/// How much of a system file is read, in bytes.
const LONGEST: u64 = 64 << 10;

pub(super) static ZSH: PosixShell = PosixShell {
    line_editor: LineEditor::Own,
    default_prompts: &[
        // On macOS, and without a setting.
        r"^(?:\([\w.:-]+\) ?)?(?:[\w.-]+@(?P<user_host>[\w.-]+) (?P<last>[^\s].*) |(?P<host>[\w.-]+))[%#] $",
    ],
    integration: Some(&INTEGRATION),
    // `command` means an external program.
    builtin: "\\builtin",
    quote: |text| Bash::quote_vec(text),
    show_traps: "trap",
    // A function of this name is a trap, too.
    trap_function: Some("TRAPEXIT"),
    read_traps: super::traps::read_whole,
    export,
    source_whole: |_, _, source| source,
    forget: "",
};

static INTEGRATION: Integration = Integration {
    text: include_str!("integration.zsh"),
    about: "zsh",
    startup: StartupFile {
        variable: Some("ZDOTDIR"),
        directory: "",
        name: ".zshrc",
    },
    startup_line,
    options: &["-i", "-l", "--login"],
    start,
};

/// Setting a read-only variable would leave the script silently, and an array would lose its
/// elements.
fn export(builtin: &str, name: &str, value: &str) -> String {
    let assign = format!(
        "case ${{(t){name}-}} in *readonly*) {builtin} print -ru2 -- 'zsh: read-only variable: {name}'; {builtin} false;; *) {builtin} export {name}={value};; esac"
    );
    let export = export_unless_equal(builtin, name, value, &assign);
    format!(
        "case ${{(t){name}-}} in *array* | *association*) {builtin} print -ru2 -- 'zsh: {name} is an array'; {builtin} false;; esac && {export}"
    )
}

/// zsh looks for its files elsewhere, and finds the person's own from there.
fn start(words: &[String], integration: &str, directory: &str) -> Option<ReportingStart> {
    if ["/etc/zshenv", "/etc/zsh/zshenv"]
        .into_iter()
        .any(names_directory)
    {
        return None;
    }
    let before = ["sh", "-c", WITH_DIRECTORY, "sh"].map(str::to_owned);
    let place = format!("{directory}/zsh");
    let before = before.into_iter().chain([place]);
    Some(ReportingStart {
        words: before.chain(words.iter().cloned()).collect(),
        file: Some(("zsh/.zshenv", zshenv(integration))),
    })
}

/// Returns what zsh reads first. It has zsh look for everything else where it would have looked
/// anyway. The integration comes last, before the first prompt.
fn zshenv(integration: &str) -> String {
    format!(
        r#"if [[ -n "${{__assigner_zdotdir-}}" ]]; then
    export ZDOTDIR="$__assigner_zdotdir"
else
    unset ZDOTDIR
fi
unset __assigner_zdotdir
__assigner_load() {{
    emulate -L zsh
    precmd_functions=(${{precmd_functions:#__assigner_load}})
    unfunction __assigner_load
    builtin . {integration}
}}
typeset -ga precmd_functions
precmd_functions+=(__assigner_load)
[[ -r "${{ZDOTDIR:-$HOME}}/.zshenv" ]] && builtin . "${{ZDOTDIR:-$HOME}}/.zshenv"
"#
    )
}

/// The person's `ZDOTDIR` may be set only inside the new session, so it is saved there.
const WITH_DIRECTORY: &str =
    r#"export __assigner_zdotdir="${ZDOTDIR-}" ZDOTDIR="$1"; shift; exec "$@""#;

/// Whether a system file makes zsh look for a person's files elsewhere. That file must then find
/// `ZDOTDIR` unchanged.
fn names_directory(file: &str) -> bool {
    let mut text = Vec::new();
    let read = File::open(file).and_then(|file| file.take(LONGEST).read_to_end(&mut text));
    read.is_ok() && memchr::memmem::find(&text, b"ZDOTDIR").is_some()
}
