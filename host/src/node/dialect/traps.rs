//! The EXIT trap of a POSIX shell: ours keeps the exit code, and the person's own still runs.

use std::fmt::Write as _;

use super::Dialect;
use super::posix::PosixShell;
use crate::node::spool::JobFiles;

/// Marks our own traps; no other trap contains it. It is not a comment because zsh removes
/// comments.
const OURS: &str = "__assigner_exit_trap";

/// Writes the trap that keeps the exit code when the command ends the shell with `exit`, and then
/// runs the person's own trap. If the shell's terminal is gone, the shell was hung up and did not
/// exit, so there is no code. If the person's trap cannot be read, it stays in place.
pub(super) fn write_trap(out: &mut String, shell: &PosixShell, files: &JobFiles, keep: &str) {
    let builtin = shell.builtin;
    let _ = writeln!(out, "__assigner_trap=; __assigner_function=");
    if let Some(name) = shell.trap_function {
        write_reading(out, shell, files, &format!("functions {name}"));
        let _ = writeln!(
            out,
            "case $__assigner_traps in {name}*) __assigner_function=$__assigner_traps __assigner_trap={name};; esac"
        );
    }
    write_reading(out, shell, files, shell.show_traps);
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
        shell.quote((&on_exit_in_terminal).into()),
        shell.quote((&on_exit).into())
    );
}

/// Removes our trap if it is set, and restores the person's.
pub(super) fn write_untrap(out: &mut String, shell: &PosixShell, files: &JobFiles) {
    let builtin = shell.builtin;
    let file = shell.quote((&files.traps()).into());
    let show = shell.show_traps;
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
pub(super) fn write_untrap_left(out: &mut String, shell: &PosixShell, files: &JobFiles) {
    let _ = writeln!(out, "case ${{__assigner_trap+x}} in x)");
    write_untrap(out, shell, files);
    let _ = writeln!(out, ";; esac");
}

/// Stores what a builtin prints in `__assigner_traps`, or `?` if that could not be written. `IFS`
/// may be read-only, so it is left alone.
fn write_reading(out: &mut String, shell: &PosixShell, files: &JobFiles, command: &str) {
    let builtin = shell.builtin;
    let file = shell.quote((&files.traps()).into());
    let read = (shell.read_traps)(builtin, &file);
    // `functions` fails if there is no function of that name.
    let _ = writeln!(
        out,
        "__assigner_traps='?'; if {{ {builtin} : >| {file}; }} 2>/dev/null; then {builtin} {command} >| {file} 2>/dev/null || {builtin} :; {read}; fi"
    );
}

/// Returns code that stores a file in `__assigner_traps` without another process, which would cost a
/// millisecond: in bash and zsh.
pub(super) fn read_whole(builtin: &str, file: &str) -> String {
    format!("{builtin} read -r -d '' __assigner_traps < {file} || {builtin} :")
}
