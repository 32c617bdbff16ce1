//! The language that bash, zsh and dash share. `\` before a word bypasses a person's aliases, and
//! `builtin` their functions; `>|` works even if `noclobber` is set.

use std::fmt::Write as _;
use std::path::Path;

use shell_quote::Quotable;

use super::traps::{write_trap, write_untrap, write_untrap_left};
use super::{Dialect, Integration, quoted};
use crate::node::script::{
    BranchTest, JobDraft, ScriptPlan, ScriptStep, run_command, write_mark, write_show,
};
use crate::node::spool::JobFiles;
use crate::probe::LineEditor;

/// A shell of this family, by what differs.
pub(super) struct PosixShell {
    pub(super) line_editor: LineEditor,
    pub(super) default_prompts: &'static [&'static str],
    pub(super) integration: Option<&'static Integration>,
    /// The prefix that makes sure that the shell's own command is called.
    pub(super) builtin: &'static str,
    /// Quotes a text as one word.
    pub(super) quote: fn(Quotable<'_>) -> Vec<u8>,
    /// The command that prints the traps that are set; the one for EXIT comes first.
    pub(super) show_traps: &'static str,
    /// The function that is a trap for EXIT, too.
    pub(super) trap_function: Option<&'static str>,
    /// Returns code that stores a file in `__assigner_traps`: `(builtin, file)`. The file is quoted.
    pub(super) read_traps: fn(&str, &str) -> String,
    /// Returns code that exports a variable: `(builtin, name, value)`. The value is quoted.
    pub(super) export: fn(&str, &str, &str) -> String,
    /// Returns code that sources a piece if that does not end the shell: `(file, text, source)`.
    /// The file is quoted, `source` sources it, and `text` is what a person wrote there.
    pub(super) source_whole: fn(&str, &str, String) -> String,
    /// A command that removes the job's line from the history, after a blank.
    pub(super) forget: &'static str,
}

/// Returns the line of a startup file that loads what a command prints, in bash and zsh.
pub(super) fn startup_line(program: &str, command: &str) -> String {
    format!("if [[ $- == *i* && -x {program} ]]; then eval \"$({command})\"; fi")
}

/// Returns code that exports a variable by the shell's own command.
pub(super) fn builtin_export(builtin: &str, name: &str, value: &str) -> String {
    let assign = format!("{builtin} export {name}={value}");
    export_unless_equal(builtin, name, value, &assign)
}

/// Returns code that exports a variable by `assign`, unless it already has the value: then it may be
/// read-only.
pub(super) fn export_unless_equal(builtin: &str, name: &str, value: &str, assign: &str) -> String {
    format!(
        "if {builtin} [ \"${{{name}+x}}${{{name}-}}\" = x{value} ]; then {builtin} export {name}; else {assign}; fi"
    )
}

impl Dialect for PosixShell {
    fn line_editor(&self) -> LineEditor {
        self.line_editor
    }

    fn default_prompts(&self) -> &'static [&'static str] {
        self.default_prompts
    }

    fn integration(&self) -> Option<&'static Integration> {
        self.integration
    }

    fn restores_variables(&self) -> bool {
        false
    }

    fn quote(&self, text: Quotable<'_>) -> String {
        quoted(&(self.quote)(text))
    }

    fn source_word(&self) -> &'static str {
        "."
    }

    fn external(&self) -> &'static str {
        "\\command"
    }

    fn cd(&self, directory: &str) -> String {
        format!("{} cd -- {}", self.builtin, self.quote(directory.into()))
    }

    fn export(&self, name: &str, value: &str) -> String {
        (self.export)(self.builtin, name, &self.quote(value.into()))
    }

    fn run(&self, piece: &Path, text: &str) -> String {
        (self.source_whole)(&self.quote(piece.into()), text, self.source(piece))
    }

    fn is_on(&self, test: &BranchTest<'_>) -> String {
        let BranchTest {
            ask,
            ask_commit,
            name,
            commit,
        } = test;
        let test = format!("{} [ \"$({ask})\" = {name} ]", self.builtin);
        match commit {
            Some(commit) => {
                format!(
                    "{test} || case \"$({ask})$({ask_commit})\" in {commit}*) ;; *) ! : ;; esac"
                )
            }
            None => test,
        }
    }

    fn secrets(&self, plan: &ScriptPlan<'_>) -> String {
        let mut piece = String::new();
        let builtin = self.builtin;
        let _ = writeln!(
            piece,
            "__assigner_undo=; __assigner_set=1; __assigner_bad=0"
        );
        for (name, value) in plan.secrets {
            let export = Dialect::export(self, name, value);
            let value = self.quote(value.into());
            let _ = writeln!(
                piece,
                "case ${{{name}+set}} in set) __assigner_was_{name}=${name}; __assigner_undo=\"$__assigner_undo export {name}=\\\"\\$__assigner_was_{name}\\\"; unset __assigner_was_{name};\";; *) __assigner_undo=\"$__assigner_undo unset {name};\";; esac"
            );
            let _ = writeln!(piece, "{export}");
            // Some shells continue after failing to set a read-only variable.
            let _ = writeln!(
                piece,
                "{builtin} [ \"x${name}\" = x{value} ] || __assigner_bad=1"
            );
        }
        // Not reached if the shell gave up earlier.
        let _ = writeln!(piece, "__assigner_set=$__assigner_bad");
        piece
    }

    fn source_secrets(&self, piece: &Path) -> String {
        let source = self.source(piece);
        format!("{source}; {} [ \"$__assigner_set\" = 0 ]", self.builtin)
    }

    fn job(&self, draft: &JobDraft<'_>) -> String {
        let mut out = String::new();
        let (plan, files) = (draft.plan, draft.files);
        let builtin = self.builtin;
        let isolated = plan.task.metadata.isolate_env;
        let claim = self.quote((&files.claim()).into());
        let step_file = self.quote((&files.step()).into());
        let step = |step: ScriptStep| {
            format!("{builtin} printf '%s\\n' '{}' >| {step_file}", step.write())
        };
        let going = format!("{builtin} [ \"$__assigner\" = 0 ]");
        let strict =
            format!("case $- in *e*) __assigner_e=1; {builtin} set +e;; *) __assigner_e=0;; esac");
        // Under `set -e`, a failing prerequisite ends the shell, but a failing step of ours does
        // not.
        let take = |(name, action): &(ScriptStep, String)| {
            let note = step(*name);
            match name {
                ScriptStep::Prerequisite(_) => {
                    format!("if {going}; then {note} && {{ {action}; }}; __assigner=$?; fi")
                }
                _ => format!(
                    "if {going}; then {strict}; {note} && {{ {action}; }}; __assigner=$?; case $__assigner_e in 1) {builtin} set -e;; esac; fi"
                ),
            }
        };
        let undo = self.undo();
        let _ = writeln!(out, "{}", self.quiet());
        let _ = writeln!(out, "if {}; then", self.claim(&claim));
        self.write_integration(&mut out, draft);
        // Undoes what an earlier, interrupted job could not undo.
        let _ = writeln!(out, "{undo}");
        write_untrap_left(&mut out, self, files);
        let _ = writeln!(out, "__assigner=0");
        write_mark(&mut out, builtin, plan.keep, 'A');
        if plan.tell_before {
            self.write_tell(&mut out, &files.before());
        }
        if let Some(step) = &draft.directory {
            let _ = writeln!(out, "{}", take(step));
        }
        if isolated {
            // What happens in a subshell stays there. A shell with `set -e` must not end because
            // the subshell fails, but the task itself must be as strict as its shell.
            let _ = writeln!(out, "if {going}; then");
            let _ = writeln!(out, "{strict}");
            let _ = writeln!(out, "(");
            let _ = writeln!(out, "case $__assigner_e in 1) {builtin} set -e;; esac");
        }
        for step in &draft.steps {
            let _ = writeln!(out, "{}", take(step));
        }
        // Nothing runs unless the step could be recorded first.
        let _ = writeln!(
            out,
            "if {going}; then {} || __assigner=1; fi",
            step(ScriptStep::Command)
        );
        let _ = writeln!(out, "if {going}; then");
        if !isolated {
            write_trap(&mut out, self, files, &self.keep_code(files));
        }
        write_mark(&mut out, builtin, plan.keep, 'C');
        // If the person's shell shows what it runs, it shows the command alone.
        let _ = writeln!(
            out,
            "{}; {}; {{ __assigner=$? __assigner_x=$-; {builtin} set +xv; }} 2>/dev/null",
            self.loud(),
            run_command(self, draft),
        );
        if !isolated {
            let _ = writeln!(out, "case $__assigner_ours in 1)");
            write_untrap(&mut out, self, files);
            let _ = writeln!(out, ";; esac");
            write_show(&mut out, self, draft);
        }
        let _ = writeln!(out, "fi");
        if isolated {
            let _ = writeln!(out, "{builtin} exit \"$__assigner\"");
            let _ = writeln!(out, ")");
            let _ = writeln!(out, "__assigner=$?");
            let _ = writeln!(out, "case $__assigner_e in 1) {builtin} set -e;; esac");
            write_show(&mut out, self, draft);
            let _ = writeln!(out, "fi");
        }
        let _ = writeln!(out, "{undo}");
        write_mark(&mut out, builtin, plan.keep, 'D');
        let keep = self.keep_code(files);
        let _ = writeln!(out, "{keep} && {builtin} unset __assigner_job");
        self.write_tell(&mut out, &files.after());
        let _ = writeln!(
            out,
            "{builtin} unset __assigner __assigner_trap __assigner_traps __assigner_function __assigner_ours __assigner_e"
        );
        let _ = writeln!(out, "else {builtin} unset __assigner; fi");
        let _ = writeln!(out, "{}", self.loud());
        out
    }

    fn question(&self, files: &JobFiles) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "{}\n{}", self.quiet(), self.undo());
        write_untrap_left(&mut out, self, files);
        self.write_tell(&mut out, &files.after());
        let exit = self.quote((&files.exit()).into());
        let _ = writeln!(out, "{} printf '%s\\n' \"$?\" >| {exit}", self.builtin);
        let _ = writeln!(out, "{}", self.loud());
        out
    }
}

impl PosixShell {
    /// Returns code that sources a piece of a script.
    fn source(&self, piece: &Path) -> String {
        let file = self.quote(piece.into());
        format!("{} {} {file}", self.builtin, self.source_word())
    }

    /// Returns code that makes the file `claim`, and succeeds if it did not exist. It does so in this
    /// very process: a subshell would hold the terminal for a moment, and for ever if it is stopped or
    /// interrupted at the wrong one.
    fn claim(&self, claim: &str) -> String {
        let builtin = self.builtin;
        // Of an earlier job that was interrupted just here.
        let restore = format!(
            "case ${{__assigner_C-}} in 1) {builtin} unset __assigner_C; {builtin} set +C;; esac"
        );
        format!(
            "{restore}; case $- in *C*) ;; *) __assigner_C=1; {builtin} set -C;; esac; {{ {builtin} : > {claim}; }} 2>/dev/null; __assigner=$?; {restore}; {builtin} [ \"$__assigner\" = 0 ]"
        )
    }

    /// Makes the shell report when it is back at its prompt, by the integration that it has loaded
    /// or loads now.
    fn write_integration(&self, out: &mut String, draft: &JobDraft<'_>) {
        if self.integration.is_none() {
            return;
        }
        let stem = self.quote(draft.files.stem().into());
        let load = match draft.plan.integration {
            Some(path) => self.source(path),
            None => format!("{} :", self.builtin),
        };
        let _ = writeln!(
            out,
            "case ${{__assigner_shell-}} in $$) __assigner_install;; *) {load};; esac"
        );
        let _ = writeln!(
            out,
            "case ${{__assigner_shell-}} in $$){} __assigner_tell run; __assigner_job={stem};; esac",
            self.forget
        );
    }

    /// Writes what the shell exports into `file`. `env` is called by its path, since a task may
    /// have changed `PATH`, and in a substitution, where it is no job of its own: tmux names a window
    /// after the job in its foreground.
    fn write_tell(&self, out: &mut String, file: &Path) {
        let file = self.quote(file.into());
        let builtin = self.builtin;
        let _ = writeln!(
            out,
            "{builtin} : \"$({builtin} exec /usr/bin/env -0 >| {file} 2>/dev/null)\""
        );
    }

    /// Returns code that keeps the exit code. If there is no room for its file, the code is
    /// appended to the step file, which exists already.
    fn keep_code(&self, files: &JobFiles) -> String {
        let builtin = self.builtin;
        let exit = self.quote((&files.exit()).into());
        let step = self.quote((&files.step()).into());
        format!(
            "{{ {builtin} printf '%s\\n' \"$__assigner\" >| {exit} || {builtin} printf 'code %s\\n' \"$__assigner\" >> {step}; }} 2>/dev/null"
        )
    }

    /// Returns code that undoes what a job's secrets have changed.
    fn undo(&self) -> String {
        let builtin = self.builtin;
        format!(
            "{builtin} eval \"${{__assigner_undo-}}\"; {builtin} unset __assigner_undo __assigner_set __assigner_bad"
        )
    }

    /// Saves whether the shell shows what it reads and runs, and turns that off. An interrupted job
    /// may have saved it already.
    fn quiet(&self) -> String {
        let builtin = self.builtin;
        format!("{{ __assigner_x=${{__assigner_x-}}$-; {builtin} set +xv; }} 2>/dev/null")
    }

    /// Restores what [`PosixShell::quiet`] has saved.
    fn loud(&self) -> String {
        let builtin = self.builtin;
        let unset = format!("{builtin} unset __assigner_x; {builtin} set");
        format!(
            "case $__assigner_x in *x*v* | *v*x*) {unset} -xv;; *x*) {unset} -x;; *v*) {unset} -v;; *) {builtin} unset __assigner_x;; esac"
        )
    }
}
