//! How a script behaves in a shell that a person has customized: their EXIT trap still runs,
//! tracing shows only the command itself, and a variable that cannot be set is named.

use std::fmt::Write as _;

use crate::model::session::Shell;

use super::script::{builtin, quote};
use super::spool::JobFiles;

/// Marks our own traps; no other trap contains it. It is not a comment because zsh removes
/// comments.
const OURS: &str = "__assigner_exit_trap";

/// Writes the trap that keeps the exit code when the command ends the shell with `exit`, and then
/// runs the person's own trap. If the shell's terminal is gone, the shell was hung up and did not
/// exit, so there is no code. If the person's trap cannot be read, it stays in place.
pub(super) fn write_trap(out: &mut String, shell: Shell, files: &JobFiles, keep: &str) {
    let builtin = builtin(shell);
    let _ = writeln!(out, "__assigner_trap=; __assigner_function=");
    if shell == Shell::Zsh {
        // A function of this name is a trap, too.
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
    // Both branches run the person's trap with the code in `$?`. Inside the condition of an `if`, a
    // nonzero code does not end the shell under `set -e`.
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

/// Removes our trap if it is set, and restores the person's.
pub(super) fn write_untrap(out: &mut String, shell: Shell, files: &JobFiles) {
    let builtin = builtin(shell);
    let file = quote(shell, files.traps().as_path());
    let show = show_traps(shell);
    // Our trap is the first that is printed, on one line. If the file cannot be written, ours is
    // taken to be set.
    let _ = writeln!(
        out,
        "__assigner_traps={OURS}; if {{ {builtin} : >| {file}; }} 2>/dev/null; then {builtin} {show} >| {file}; {builtin} read -r __assigner_traps < {file} || {builtin} :; fi"
    );
    let _ = writeln!(
        out,
        "case $__assigner_traps in *{OURS}*) {builtin} trap - EXIT; case ${{__assigner_function-}}${{__assigner_trap-}} in '') ;; \"${{__assigner_trap-}}\") {builtin} trap -- \"$__assigner_trap\" EXIT;; *) {builtin} eval \"$__assigner_function\";; esac;; esac"
    );
}

/// Does the same if an interrupted job has left our trap. A job that reached its end has unset
/// these variables.
pub(super) fn write_untrap_left(out: &mut String, shell: Shell, files: &JobFiles) {
    let _ = writeln!(out, "case ${{__assigner_trap+x}} in x)");
    write_untrap(out, shell, files);
    let _ = writeln!(out, ";; esac");
}

/// Returns the command that prints the traps that are set; the one for EXIT comes first.
fn show_traps(shell: Shell) -> &'static str {
    if shell == Shell::Bash {
        "trap -p EXIT"
    } else {
        "trap"
    }
}

/// Stores what a builtin prints in `__assigner_traps`, or `?` if that could not be written. `IFS`
/// may be read-only, so it is left alone. bash and zsh use `read`, because another process costs a
/// millisecond.
fn write_reading(out: &mut String, shell: Shell, files: &JobFiles, command: &str) {
    let builtin = builtin(shell);
    let file = quote(shell, files.traps().as_path());
    let read = match shell {
        Shell::Bash | Shell::Zsh => {
            format!("{builtin} read -r -d '' __assigner_traps < {file} || {builtin} :")
        }
        Shell::Dash | Shell::Fish => format!("__assigner_traps=\"$(\\command cat {file})\""),
    };
    // `functions` fails if there is no function of that name.
    let _ = writeln!(
        out,
        "__assigner_traps='?'; if {{ {builtin} : >| {file}; }} 2>/dev/null; then {builtin} {command} >| {file} 2>/dev/null || {builtin} :; {read}; fi"
    );
}

/// Returns code that exports a variable. A read-only variable that already has the value is
/// accepted; with another value, zsh would leave the script silently.
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

/// Saves whether a POSIX shell shows what it reads and runs, and turns that off. An interrupted job
/// may have saved it already.
pub(super) fn quiet(shell: Shell) -> String {
    let builtin = builtin(shell);
    format!("{{ __assigner_x=${{__assigner_x-}}$-; {builtin} set +xv; }} 2>/dev/null")
}

/// Restores what [`quiet`] has saved.
pub(super) fn loud(shell: Shell) -> String {
    let builtin = builtin(shell);
    let unset = format!("{builtin} unset __assigner_x; {builtin} set");
    format!(
        "case $__assigner_x in *x*v* | *v*x*) {unset} -xv;; *x*) {unset} -x;; *v*) {unset} -v;; *) {builtin} unset __assigner_x;; esac"
    )
}
