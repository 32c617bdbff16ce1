//! fish.

use std::fmt::Write as _;
use std::path::Path;

use shell_quote::{Fish, Quotable};

use super::{Dialect, Integration, ReportingStart, StartupFile, quoted};
use crate::node::script::{
    BranchTest, JobDraft, ScriptPlan, ScriptStep, run_command, write_mark, write_show,
};
use crate::node::spool::JobFiles;
use crate::probe::LineEditor;

/// fish has no subshells, so exported variables are saved under other names.
const ISOLATE: &str = "for __assigner_name in (builtin set -gxn); builtin set -g __assigner_old_$__assigner_name $$__assigner_name; end
builtin set -g __assigner_isolated 1";

/// Restores what was saved, and removes what was not there before. Some variables cannot be set,
/// but no task has changed those either. It can be interrupted at any point and run again without
/// harm.
const UNDO: &str = "if builtin set -q __assigner_isolated; builtin set -eg __assigner_isolated; for __assigner_name in (builtin set -gxn); if not builtin set -q __assigner_old_$__assigner_name; builtin set -eg $__assigner_name; end; end; end
for __assigner_name in $__assigner_new; builtin set -eg $__assigner_name; end
for __assigner_name in (builtin set -gn | builtin string match '__assigner_old_*' | builtin string sub -s 16); set __assigner_kept __assigner_old_$__assigner_name; builtin set -gx $__assigner_name $$__assigner_kept 2>/dev/null; builtin set -eg $__assigner_kept; end
builtin set -eg __assigner_isolated __assigner_new __assigner_name __assigner_kept 2>/dev/null";

/// The prefix that makes sure that the shell's own command is called.
const BUILTIN: &str = "builtin";

pub(super) static FISH: FishShell = FishShell;

pub(super) struct FishShell;

static INTEGRATION: Integration = Integration {
    text: include_str!("integration.fish"),
    about: "fish",
    startup: StartupFile {
        variable: Some("XDG_CONFIG_HOME"),
        directory: ".config",
        name: "fish/config.fish",
    },
    startup_line: |program, command| {
        format!("if status is-interactive; and test -x {program}; {command} | source; end")
    },
    options: &[
        "-i",
        "--interactive",
        "-l",
        "--login",
        "-P",
        "--private",
        "-N",
        "--no-config",
    ],
    start,
};

/// fish runs a command after it has read its configuration.
fn start(words: &[String], integration: &str, _directory: &str) -> Option<ReportingStart> {
    let option = ["--init-command".to_owned(), format!("source {integration}")];
    let words = words.iter().cloned().chain(option).collect();
    Some(ReportingStart { words, file: None })
}

impl Dialect for FishShell {
    fn line_editor(&self) -> LineEditor {
        LineEditor::Own
    }

    fn default_prompts(&self) -> &'static [&'static str] {
        // With the branch.
        &[
            r"^(?:\([\w.:-]+\) ?)?[\w.-]+@(?P<host>[\w.-]+) (?P<short>[^\s]\S*)(?: \([\w./-]+\))?(?: \[[\d|A-Z]+\])?[>#] $",
        ]
    }

    fn integration(&self) -> Option<&'static Integration> {
        Some(&INTEGRATION)
    }

    fn restores_variables(&self) -> bool {
        true
    }

    fn quote(&self, text: Quotable<'_>) -> String {
        quoted(&Fish::quote_vec(text))
    }

    fn source_word(&self) -> &'static str {
        "source"
    }

    fn external(&self) -> &'static str {
        "command"
    }

    fn cd(&self, directory: &str) -> String {
        format!("builtin cd {}", self.quote(directory.into()))
    }

    fn export(&self, name: &str, value: &str) -> String {
        format!("builtin set -gx {name} {}", self.quote(value.into()))
    }

    fn run(&self, piece: &Path, _text: &str) -> String {
        self.source(piece)
    }

    fn is_on(&self, test: &BranchTest<'_>) -> String {
        let BranchTest {
            ask,
            ask_commit,
            name,
            commit,
        } = test;
        let test = format!("builtin test \"$({ask})\" = {name}");
        match commit {
            Some(commit) => format!(
                "begin; {test}; or builtin string match -q -- '{commit}*' ({ask_commit}); end"
            ),
            None => test,
        }
    }

    fn secrets(&self, plan: &ScriptPlan<'_>) -> String {
        let mut piece = String::new();
        for (name, value) in plan.secrets {
            let _ = writeln!(
                piece,
                "if builtin set -q {name}; builtin set -g __assigner_old_{name} ${name}; else; builtin set -ga __assigner_new {name}; end"
            );
            let _ = writeln!(piece, "{}", self.export(name, value));
        }
        // `set` leaves the previous status in place.
        let _ = writeln!(piece, "builtin true");
        piece
    }

    fn source_secrets(&self, piece: &Path) -> String {
        // Tracing is off while this variable is empty.
        let source = self.source(piece);
        format!("begin; builtin set -l fish_trace; {source}; end")
    }

    fn job(&self, draft: &JobDraft<'_>) -> String {
        let mut out = String::new();
        let (plan, files) = (draft.plan, draft.files);
        let claim = self.quote((&files.claim()).into());
        let step_file = self.quote((&files.step()).into());
        let step =
            |step: ScriptStep| format!("builtin printf '%s\\n' '{}' > {step_file}", step.write());
        let take = |(name, action): &(ScriptStep, String)| {
            format!(
                "if builtin test $__assigner = 0; {}; and begin; {action}; end; builtin set -g __assigner $status; end",
                step(*name)
            )
        };
        let _ = writeln!(out, "if builtin true >? {claim}");
        self.write_integration(&mut out, draft);
        // Undoes what an earlier, interrupted job could not undo.
        let _ = writeln!(out, "{UNDO}");
        let _ = writeln!(out, "builtin set -g __assigner 0");
        write_mark(&mut out, BUILTIN, plan.keep, 'A');
        if plan.tell_before {
            self.write_tell(&mut out, &files.before());
        }
        if let Some(step) = &draft.directory {
            let _ = writeln!(out, "{}", take(step));
        }
        if plan.task.metadata.isolate_env {
            let _ = writeln!(out, "{ISOLATE}");
        }
        for step in &draft.steps {
            let _ = writeln!(out, "{}", take(step));
        }
        // Nothing runs unless the step could be recorded first.
        let _ = writeln!(
            out,
            "if builtin test $__assigner = 0; {}; or builtin set -g __assigner 1; end",
            step(ScriptStep::Command)
        );
        let _ = writeln!(out, "if builtin test $__assigner = 0");
        write_mark(&mut out, BUILTIN, plan.keep, 'C');
        let _ = writeln!(out, "{}", run_command(self, draft));
        let _ = writeln!(out, "builtin set -g __assigner $status");
        write_show(&mut out, self, draft);
        let _ = writeln!(out, "end");
        let _ = writeln!(out, "{UNDO}");
        write_mark(&mut out, BUILTIN, plan.keep, 'D');
        let keep = self.keep_code(files);
        let _ = writeln!(out, "{keep}; and builtin set -eg __assigner_job");
        self.write_tell(&mut out, &files.after());
        let _ = writeln!(out, "builtin set -e __assigner");
        let _ = writeln!(out, "end");
        out
    }

    fn question(&self, files: &JobFiles) -> String {
        let mut out = format!("{UNDO}\n");
        self.write_tell(&mut out, &files.after());
        let exit = self.quote((&files.exit()).into());
        let _ = writeln!(out, "builtin printf '%s\\n' $status > {exit}");
        out
    }
}

impl FishShell {
    /// Returns code that sources a piece of a script.
    fn source(&self, piece: &Path) -> String {
        let file = self.quote(piece.into());
        format!("{BUILTIN} {} {file}", self.source_word())
    }

    /// Makes the shell report when it is back at its prompt, by the integration that it has loaded
    /// or loads now.
    fn write_integration(&self, out: &mut String, draft: &JobDraft<'_>) {
        let stem = self.quote(draft.files.stem().into());
        let load = draft.plan.integration;
        let load = load.map_or_else(String::new, |path| self.source(path));
        let _ = writeln!(
            out,
            "if builtin test \"$__assigner_shell\" = $fish_pid; __assigner_install; else; {load}; end"
        );
        let _ = writeln!(
            out,
            "if builtin test \"$__assigner_shell\" = $fish_pid; __assigner_tell run; builtin set -g __assigner_job {stem}; end"
        );
    }

    /// Writes what the shell exports into `file`. `env` is called by its path, since a task may
    /// have changed `PATH`, and in a substitution, where it is no job of its own: tmux names a window
    /// after the job in its foreground.
    fn write_tell(&self, out: &mut String, file: &Path) {
        let file = self.quote(file.into());
        let _ = writeln!(out, "builtin true (/usr/bin/env -0 > {file} 2>/dev/null)");
    }

    /// Returns code that keeps the exit code. If there is no room for its file, the code is
    /// appended to the step file, which exists already.
    fn keep_code(&self, files: &JobFiles) -> String {
        let exit = self.quote((&files.exit()).into());
        let step = self.quote((&files.step()).into());
        format!(
            "begin; builtin printf '%s\\n' $__assigner > {exit}; or builtin printf 'code %s\\n' $__assigner >> {step}; end 2>/dev/null"
        )
    }
}
