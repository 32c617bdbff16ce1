//! How a script behaves in a shell that its person has set up: their trap for its end is called, what the shell
//! shows of what it runs is the command alone, and a variable that cannot be set is named.

use std::fmt::Write as _;

use crate::model::session::Shell;

use super::script::{builtin, quote};
use super::spool::JobFiles;

/// Stands in a trap of ours, and in no other. zsh takes comments out.
const OURS: &str = "__assigner_exit_trap";

/// `exit` in the command ends the shell: a trap keeps its code, and goes on with the one that the person
/// has. A shell whose terminal is gone was hung up and did not exit: there is no code. Where it cannot be
/// read what the person has, theirs stays.
pub(super) fn write_trap(out: &mut String, shell: Shell, files: &JobFiles, keep: &str) {
    let builtin = builtin(shell);
    let _ = writeln!(out, "__assigner_trap=; __assigner_function=");
    if shell == Shell::Zsh {
        // Such a function is a trap, too.
        write_reading(out, shell, files, "functions TRAPEXIT");
        let _ = writeln!(
            out,
            "case $__assigner_traps in TRAPEXIT*) __assigner_function=$__assigner_traps __assigner_trap=TRAPEXIT;; esac"
        );
    }
    write_reading(out, shell, files, show_traps(shell));
    let words = "__assigner_words() { case ${3-} in EXIT) __assigner_trap=$2;; esac; }";
    let _ = writeln!(
        out,
        "case $__assigner_traps in trap*) {words}; {builtin} eval \"__assigner_words${{__assigner_traps#trap}}\" 2>/dev/null; {builtin} unset -f __assigner_words;; esac",
    );
    // Either way the trap finds the code in `$?`, and `set -e` does not end it at that.
    let person = format!(
        "case $__assigner_trap in '') ;; *) __assigner_code() {{ return \"$__assigner\"; }}; {builtin} eval \"${{__assigner_function-}}\"; if __assigner_code; then {builtin} eval \"$__assigner_trap\"; else {builtin} eval \"$__assigner_trap\"; fi;; esac"
    );
    let on_exit = format!("__assigner=$?; : {OURS}; {keep}; {person}");
    let on_exit_in_terminal =
        format!("__assigner=$?; : {OURS}; {builtin} [ ! -t 0 ] || {keep}; {person}");
    let _ = writeln!(
        out,
        "case $__assigner_traps in '?') __assigner_ours=0;; *) __assigner_ours=1; if {builtin} [ -t 0 ]; then {builtin} trap {} EXIT; else {builtin} trap {} EXIT; fi;; esac",
        quote(shell, on_exit_in_terminal.as_str()),
        quote(shell, on_exit.as_str())
    );
}

/// Takes our trap out again, where it stands, and brings back the person's.
pub(super) fn write_untrap(out: &mut String, shell: Shell, files: &JobFiles) {
    let builtin = builtin(shell);
    let file = quote(shell, files.traps().as_path());
    let show = show_traps(shell);
    // Ours is the first that is printed, on one line. Where that cannot be written, ours stands.
    let _ = writeln!(
        out,
        "__assigner_traps={OURS}; if {{ {builtin} : >| {file}; }} 2>/dev/null; then {builtin} {show} >| {file}; {builtin} read -r __assigner_traps < {file} || {builtin} :; fi"
    );
    let _ = writeln!(
        out,
        "case $__assigner_traps in *{OURS}*) {builtin} trap - EXIT; case ${{__assigner_function-}}${{__assigner_trap-}} in '') ;; \"${{__assigner_trap-}}\") {builtin} trap -- \"$__assigner_trap\" EXIT;; *) {builtin} eval \"$__assigner_function\";; esac;; esac"
    );
}

/// The same where a job that was interrupted has left a trap of ours: one that came to its end has taken
/// these variables with it.
pub(super) fn write_untrap_left(out: &mut String, shell: Shell, files: &JobFiles) {
    let _ = writeln!(out, "case ${{__assigner_trap+x}} in x)");
    write_untrap(out, shell, files);
    let _ = writeln!(out, ";; esac");
}

/// What prints the traps that are set; the one of EXIT is the first.
fn show_traps(shell: Shell) -> &'static str {
    if shell == Shell::Bash {
        "trap -p EXIT"
    } else {
        "trap"
    }
}

/// Has `__assigner_traps` hold what a builtin prints; `?`: that could not be written. `IFS` may be
/// read-only, and a process more costs a millisecond.
fn write_reading(out: &mut String, shell: Shell, files: &JobFiles, command: &str) {
    let builtin = builtin(shell);
    let file = quote(shell, files.traps().as_path());
    let read = match shell {
        Shell::Bash | Shell::Zsh => {
            format!("{builtin} read -r -d '' __assigner_traps < {file} || {builtin} :")
        }
        Shell::Dash | Shell::Fish => format!("__assigner_traps=\"$(\\command cat {file})\""),
    };
    // `functions` fails where there is none of that name.
    let _ = writeln!(
        out,
        "__assigner_traps='?'; if {{ {builtin} : >| {file}; }} 2>/dev/null; then {builtin} {command} >| {file} 2>/dev/null || {builtin} :; {read}; fi"
    );
}

/// Returns what exports a variable. A read-only one that has the value already is well; zsh would leave
/// the script at another one, without a word.
pub(super) fn export(shell: Shell, name: &str, value: &str) -> String {
    let value = quote(shell, value);
    let builtin = builtin(shell);
    let assign = format!("{builtin} export {name}={value}");
    let assign = match shell {
        Shell::Fish => return format!("builtin set -gx {name} {value}"),
        Shell::Bash | Shell::Dash => assign,
        Shell::Zsh => format!(
            "case ${{(t){name}-}} in *readonly*) {builtin} print -ru2 -- 'zsh: read-only variable: {name}'; {builtin} false;; *) {assign};; esac"
        ),
    };
    let array = if shell == Shell::Zsh {
        format!(
            "case ${{(t){name}-}} in *array* | *association*) {builtin} print -ru2 -- 'zsh: {name} is an array'; {builtin} false;; esac && "
        )
    } else {
        String::new()
    };
    format!(
        "{array}if {builtin} [ \"${{{name}+x}}${{{name}-}}\" = x{value} ]; then {builtin} export {name}; else {assign}; fi"
    )
}

/// Keeps whether a POSIX shell shows what it runs and reads, and has it show nothing more. A job that was
/// interrupted may have kept it already.
pub(super) fn quiet(shell: Shell) -> String {
    let builtin = builtin(shell);
    format!("{{ __assigner_x=${{__assigner_x-}}$-; {builtin} set +xv; }} 2>/dev/null")
}

/// Brings back what [`quiet`] has kept.
pub(super) fn loud(shell: Shell) -> String {
    let builtin = builtin(shell);
    let unset = format!("{builtin} unset __assigner_x; {builtin} set");
    format!(
        "case $__assigner_x in *x*v* | *v*x*) {unset} -xv;; *x*) {unset} -x;; *v*) {unset} -v;; *) {builtin} unset __assigner_x;; esac"
    )
}
