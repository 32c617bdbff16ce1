//! The script that a shell sources to run a task: pure text, in one dialect per shell.
//!
//! ```text
//! claim -> cd -> export... -> prerequisite... -> branch -> command
//!       -> undo -> exit code -> variables
//! ```
//!
//! The script first creates the claim file, which only one side can do: either the shell takes the
//! job up, or the engine has withdrawn it. So it is always known whether a job may have run, and a
//! line that a shell reads too late does nothing.
//!
//! It is sourced, not run: the directory and variables that it sets apply to the task and stay in
//! the session. Each piece that a person wrote is a file of its own, so that a syntax error or a
//! `return` in it ends only that piece.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use shell_quote::{Bash, Fish, Quotable, QuoteRefExt, Sh};

use crate::model::session::Shell;
use crate::model::task::Task;
use crate::probe;

use super::script_manners::{export, loud, quiet, write_trap, write_untrap, write_untrap_left};
use super::spool::JobFiles;

/// How the output of the command is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep<'a> {
    /// The pane's output is piped to us; marks with this nonce show where the output begins and
    /// ends.
    Marks(&'a str),
    /// The pane is piped to someone else; the command writes into a file, shown when it ends.
    File,
}

/// The step that a script had reached when it ended or was interrupted; see [`Step::read`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Changing the directory.
    Directory,
    /// Exporting the variable at this position.
    Export(usize),
    /// Setting the variables whose values are secret.
    Secrets,
    /// Running the prerequisite at this position.
    Prerequisite(usize),
    /// Checking the branch.
    Branch,
    /// Running the command.
    Command,
}

impl Step {
    /// Reads back what the script wrote into the step file. Returns `None` if there is nothing, or
    /// it is incomplete. The next line may hold an exit code.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut words = text.split_once('\n')?.0.split(' ');
        let step = match (words.next()?, words.next()) {
            ("directory", None) => Self::Directory,
            ("secrets", None) => Self::Secrets,
            ("branch", None) => Self::Branch,
            ("command", None) => Self::Command,
            ("export", Some(index)) => Self::Export(index.parse().ok()?),
            ("prerequisite", Some(index)) => Self::Prerequisite(index.parse().ok()?),
            _ => return None,
        };
        Some(step)
    }

    fn write(self) -> String {
        match self {
            Self::Directory => "directory".to_owned(),
            Self::Export(index) => format!("export {index}"),
            Self::Prerequisite(index) => format!("prerequisite {index}"),
            Self::Secrets => "secrets".to_owned(),
            Self::Branch => "branch".to_owned(),
            Self::Command => "command".to_owned(),
        }
    }
}

/// Returns the line that is typed into the shell to source the script. The leading space keeps it
/// out of the history of shells that are configured to skip such lines.
pub(crate) fn typed_line(shell: Shell, script: &Path) -> String {
    let word = if shell == Shell::Fish { "source" } else { "." };
    format!(" {word} {}", quote(shell, script))
}

/// What a script is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan<'a> {
    pub(crate) shell: Shell,
    /// The integration that the shell loads to report on its line, if it is to load it.
    pub(crate) integration: Option<&'a Path>,
    pub(crate) task: &'a Task,
    /// What is run: the task's command, or the one that asks a headless agent.
    pub(crate) command: &'a str,
    /// What a headless agent reads.
    pub(crate) prompt: Option<&'a str>,
    /// The values of the task's secret variables.
    pub(crate) secrets: &'a BTreeMap<String, String>,
    pub(crate) keep: Keep<'a>,
    /// Whether the shell reports what it exports before the task, because that is not known yet.
    pub(crate) tell_before: bool,
}

/// Returns the command that asks a headless agent. The prompt comes from a file, so that no process
/// list shows it, and the output goes into another file.
pub(crate) fn ask_headless(shell: Shell, words: &[String], files: &JobFiles) -> String {
    let words: Vec<String> = words
        .iter()
        .map(|word| quote(shell, word.as_str()))
        .collect();
    format!(
        "{} < {} > {}",
        words.join(" "),
        quote(shell, files.prompt().as_path()),
        quote(shell, files.response().as_path())
    )
}

/// Returns the script for a task in the language of its shell.
pub(crate) fn script(plan: &Plan<'_>, files: &JobFiles) -> String {
    let mut script = String::new();
    let dialect = Dialect {
        shell: plan.shell,
        files,
        keep: plan.keep,
    };
    dialect.write(&mut script, plan);
    script
}

/// Returns the piece that sets the secret variables and records how to undo that.
pub(crate) fn secrets(plan: &Plan<'_>) -> String {
    let mut piece = String::new();
    let shell = plan.shell;
    if shell == Shell::Fish {
        for (name, value) in plan.secrets {
            let value = quote(shell, value.as_str());
            let _ = writeln!(
                piece,
                "if builtin set -q {name}; builtin set -g __assigner_old_{name} ${name}; else; builtin set -ga __assigner_new {name}; end"
            );
            let _ = writeln!(piece, "builtin set -gx {name} {value}");
        }
        // `set` leaves the previous status in place.
        let _ = writeln!(piece, "builtin true");
        return piece;
    }
    let builtin = builtin(shell);
    let _ = writeln!(
        piece,
        "__assigner_undo=; __assigner_set=1; __assigner_bad=0"
    );
    for (name, value) in plan.secrets {
        let export = export(shell, name, value);
        let value = quote(shell, value.as_str());
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

/// Returns a script that reports what the shell exports, after undoing what an interrupted job has
/// left.
pub(crate) fn question(shell: Shell, files: &JobFiles) -> String {
    let after = quote(shell, files.after().as_path());
    let exit = quote(shell, files.exit().as_path());
    if shell == Shell::Fish {
        return format!(
            "{UNDO_FISH}\n/usr/bin/env -0 > {after} 2>/dev/null\nbuiltin printf '%s\\n' $status > {exit}\n"
        );
    }
    let builtin = builtin(shell);
    let undo = undo(shell);
    let (quiet, loud) = (quiet(shell), loud(shell));
    let mut untrap = String::new();
    write_untrap_left(&mut untrap, shell, files);
    format!(
        "{quiet}\n{undo}\n{untrap}/usr/bin/env -0 >| {after} 2>/dev/null\n{builtin} printf '%s\\n' \"$?\" >| {exit}\n{loud}\n"
    )
}

/// Returns the mark that the script prints where the preparation begins (`A`), where the output
/// begins (`C`) and where it ends (`D`): a shell-integration sequence, which terminals do not show.
pub(crate) fn mark(letter: char, nonce: &str) -> String {
    format!("\x1b]133;{letter};assigner={nonce}\x07")
}

/// fish has no subshells, so exported variables are saved under other names.
const ISOLATE_FISH: &str = "for __assigner_name in (builtin set -gxn); builtin set -g __assigner_old_$__assigner_name $$__assigner_name; end
builtin set -g __assigner_isolated 1";

/// Restores what was saved, and removes what was not there before. Some variables cannot be set,
/// but no task has changed those either. It can be interrupted at any point and run again without
/// harm.
const UNDO_FISH: &str = "if builtin set -q __assigner_isolated; builtin set -eg __assigner_isolated; for __assigner_name in (builtin set -gxn); if not builtin set -q __assigner_old_$__assigner_name; builtin set -eg $__assigner_name; end; end; end
for __assigner_name in $__assigner_new; builtin set -eg $__assigner_name; end
for __assigner_name in (builtin set -gn | builtin string match '__assigner_old_*' | builtin string sub -s 16); set __assigner_kept __assigner_old_$__assigner_name; builtin set -gx $__assigner_name $$__assigner_kept 2>/dev/null; builtin set -eg $__assigner_kept; end
builtin set -eg __assigner_isolated __assigner_new __assigner_name __assigner_kept 2>/dev/null";

struct Dialect<'a> {
    shell: Shell,
    files: &'a JobFiles,
    keep: Keep<'a>,
}

impl Dialect<'_> {
    fn write(&self, out: &mut String, plan: &Plan<'_>) {
        let metadata = &plan.task.metadata;
        let is_fish = self.shell == Shell::Fish;
        let directory = metadata.working_dir.as_deref().map(|directory| {
            let directory = self.quote(directory);
            let cd = if is_fish {
                format!("builtin cd {directory}")
            } else {
                format!("{} cd -- {directory}", self.builtin())
            };
            (Step::Directory, cd)
        });
        let mut steps = Vec::new();
        for (index, (name, value)) in metadata.env_vars.iter().enumerate() {
            steps.push((Step::Export(index), export(self.shell, name, value)));
        }
        if !plan.secrets.is_empty() {
            let piece = self.files.secrets();
            let source = self.source(&piece);
            let (slash, file) = (self.slash(), self.quote(piece.as_path()));
            let source = if is_fish {
                // Tracing is off while this variable is empty.
                format!("begin; builtin set -l fish_trace; {source}; end")
            } else {
                format!("{source}; {} [ \"$__assigner_set\" = 0 ]", self.builtin())
            };
            steps.push((Step::Secrets, source));
            steps.push((Step::Secrets, format!("{slash}command rm -f {file}")));
        }
        for (index, prerequisite) in metadata.prerequisites.iter().enumerate() {
            let piece = self.run(&self.files.prerequisite(index), prerequisite);
            let kept = self.redirection(&self.files.preparation());
            steps.push((Step::Prerequisite(index), piece + &kept));
        }
        // A prerequisite may check out the branch. Without prerequisites, the branch was checked
        // before.
        if let Some(branch) = metadata.git_branch.as_deref()
            && metadata.require_branch
            && !metadata.prerequisites.is_empty()
        {
            steps.push((Step::Branch, self.is_on(branch)));
        }
        if is_fish {
            self.write_fish(out, plan, directory.as_ref(), &steps);
        } else {
            self.write_posix(out, plan, directory.as_ref(), &steps);
        }
    }

    /// Returns a test for the branch. It asks as the probe does, so that both agree: about the
    /// branch of the directory, whatever git variables this shell has set.
    fn is_on(&self, branch: &str) -> String {
        let slash = self.slash();
        let mut git = format!("{slash}command env");
        for name in probe::GIT_REDIRECTING {
            let _ = write!(git, " -u {name}");
        }
        let ask = format!("{git} git symbolic-ref --quiet HEAD 2>/dev/null");
        let commit = format!("{git} git rev-parse --verify --quiet HEAD 2>/dev/null");
        let full = if branch.starts_with("refs/") {
            branch.to_owned()
        } else {
            format!("refs/heads/{branch}")
        };
        let full = self.quote(&full);
        let is_commit = branch.len() == 7 && branch.bytes().all(|byte| byte.is_ascii_hexdigit());
        if self.shell == Shell::Fish {
            let test = format!("builtin test \"$({ask})\" = {full}");
            return if is_commit {
                format!("begin; {test}; or builtin string match -q -- '{branch}*' ({commit}); end")
            } else {
                test
            };
        }
        let test = format!("{} [ \"$({ask})\" = {full} ]", self.builtin());
        if is_commit {
            format!("{test} || case \"$({ask})$({commit})\" in {branch}*) ;; *) ! : ;; esac")
        } else {
            test
        }
    }

    /// Writes the script for bash, zsh and dash. `\` before a word bypasses a person's aliases, and
    /// `builtin` their functions; `>|` works even if `noclobber` is set.
    fn write_posix(
        &self,
        out: &mut String,
        plan: &Plan<'_>,
        directory: Option<&(Step, String)>,
        steps: &[(Step, String)],
    ) {
        let builtin = self.builtin();
        let isolated = plan.task.metadata.isolate_env;
        let claim = self.quote(self.files.claim().as_path());
        let step_file = self.quote(self.files.step().as_path());
        let step =
            |step: Step| format!("{builtin} printf '%s\\n' '{}' >| {step_file}", step.write());
        let going = format!("{builtin} [ \"$__assigner\" = 0 ]");
        let strict =
            format!("case $- in *e*) __assigner_e=1; {builtin} set +e;; *) __assigner_e=0;; esac");
        // Under `set -e`, a failing prerequisite ends the shell, but a failing step of ours does
        // not.
        let take = |(name, action): &(Step, String)| {
            let note = step(*name);
            match name {
                Step::Prerequisite(_) => {
                    format!("if {going}; then {note} && {{ {action}; }}; __assigner=$?; fi")
                }
                _ => format!(
                    "if {going}; then {strict}; {note} && {{ {action}; }}; __assigner=$?; case $__assigner_e in 1) {builtin} set -e;; esac; fi"
                ),
            }
        };
        let undo = undo(self.shell);
        let _ = writeln!(out, "{}", quiet(self.shell));
        let _ = writeln!(
            out,
            "if ( {builtin} set -C && {builtin} : > {claim} ) 2>/dev/null; then"
        );
        self.write_integration(out, plan.integration);
        // Undoes what an earlier, interrupted job could not undo.
        let _ = writeln!(out, "{undo}");
        write_untrap_left(out, self.shell, self.files);
        let _ = writeln!(out, "__assigner=0");
        self.write_mark(out, 'A');
        if plan.tell_before {
            self.write_tell(out, &self.files.before());
        }
        if let Some(step) = directory {
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
        for step in steps {
            let _ = writeln!(out, "{}", take(step));
        }
        // Nothing runs unless the step could be recorded first.
        let _ = writeln!(
            out,
            "if {going}; then {} || __assigner=1; fi",
            step(Step::Command)
        );
        let _ = writeln!(out, "if {going}; then");
        if !isolated {
            write_trap(out, self.shell, self.files, &self.keep_code());
        }
        self.write_mark(out, 'C');
        // If the person's shell shows what it runs, it shows the command alone.
        let _ = writeln!(
            out,
            "{}; {}{}; {{ __assigner=$? __assigner_x=$-; {builtin} set +xv; }} 2>/dev/null",
            loud(self.shell),
            self.run(&self.files.command(), plan.command),
            self.redirection(&self.files.raw_output())
        );
        if !isolated {
            let _ = writeln!(out, "case $__assigner_ours in 1)");
            write_untrap(out, self.shell, self.files);
            let _ = writeln!(out, ";; esac");
            self.write_show(out);
        }
        let _ = writeln!(out, "fi");
        if isolated {
            let _ = writeln!(out, "{builtin} exit \"$__assigner\"");
            let _ = writeln!(out, ")");
            let _ = writeln!(out, "__assigner=$?");
            let _ = writeln!(out, "case $__assigner_e in 1) {builtin} set -e;; esac");
            self.write_show(out);
            let _ = writeln!(out, "fi");
        }
        let _ = writeln!(out, "{undo}");
        self.write_mark(out, 'D');
        let keep = self.keep_code();
        let _ = writeln!(out, "{keep} && {builtin} unset __assigner_job");
        self.write_tell(out, &self.files.after());
        let _ = writeln!(
            out,
            "{builtin} unset __assigner __assigner_trap __assigner_traps __assigner_function __assigner_ours __assigner_e"
        );
        let _ = writeln!(out, "fi");
        let _ = writeln!(out, "{}", loud(self.shell));
    }

    fn write_fish(
        &self,
        out: &mut String,
        plan: &Plan<'_>,
        directory: Option<&(Step, String)>,
        steps: &[(Step, String)],
    ) {
        let claim = self.quote(self.files.claim().as_path());
        let step_file = self.quote(self.files.step().as_path());
        let step = |step: Step| format!("builtin printf '%s\\n' '{}' > {step_file}", step.write());
        let take = |(name, action): &(Step, String)| {
            format!(
                "if builtin test $__assigner = 0; {}; and begin; {action}; end; builtin set -g __assigner $status; end",
                step(*name)
            )
        };
        let _ = writeln!(out, "if builtin true >? {claim}");
        self.write_integration(out, plan.integration);
        // Undoes what an earlier, interrupted job could not undo.
        let _ = writeln!(out, "{UNDO_FISH}");
        let _ = writeln!(out, "builtin set -g __assigner 0");
        self.write_mark(out, 'A');
        if plan.tell_before {
            self.write_tell(out, &self.files.before());
        }
        if let Some(step) = directory {
            let _ = writeln!(out, "{}", take(step));
        }
        if plan.task.metadata.isolate_env {
            let _ = writeln!(out, "{ISOLATE_FISH}");
        }
        for step in steps {
            let _ = writeln!(out, "{}", take(step));
        }
        // Nothing runs unless the step could be recorded first.
        let _ = writeln!(
            out,
            "if builtin test $__assigner = 0; {}; or builtin set -g __assigner 1; end",
            step(Step::Command)
        );
        let _ = writeln!(out, "if builtin test $__assigner = 0");
        self.write_mark(out, 'C');
        let _ = writeln!(
            out,
            "{}{}",
            self.run(&self.files.command(), plan.command),
            self.redirection(&self.files.raw_output())
        );
        let _ = writeln!(out, "builtin set -g __assigner $status");
        self.write_show(out);
        let _ = writeln!(out, "end");
        let _ = writeln!(out, "{UNDO_FISH}");
        self.write_mark(out, 'D');
        let keep = self.keep_code();
        let _ = writeln!(out, "{keep}; and builtin set -eg __assigner_job");
        self.write_tell(out, &self.files.after());
        let _ = writeln!(out, "builtin set -e __assigner");
        let _ = writeln!(out, "end");
    }

    /// Returns code that keeps the exit code. If there is no room for its file, the code is
    /// appended to the step file, which exists already.
    fn keep_code(&self) -> String {
        let builtin = self.builtin();
        let exit = self.quote(self.files.exit().as_path());
        let step = self.quote(self.files.step().as_path());
        if self.shell == Shell::Fish {
            return format!(
                "begin; builtin printf '%s\\n' $__assigner > {exit}; or builtin printf 'code %s\\n' $__assigner >> {step}; end 2>/dev/null"
            );
        }
        format!(
            "{{ {builtin} printf '%s\\n' \"$__assigner\" >| {exit} || {builtin} printf 'code %s\\n' \"$__assigner\" >> {step}; }} 2>/dev/null"
        )
    }

    /// Makes the shell report when it is back at its prompt, by the integration that it has loaded
    /// or loads now.
    fn write_integration(&self, out: &mut String, integration: Option<&Path>) {
        let stem = self.quote(self.files.stem());
        let builtin = self.builtin();
        match self.shell {
            Shell::Dash => return,
            Shell::Fish => {
                let load = integration.map_or_else(String::new, |path| self.source(path));
                let _ = writeln!(
                    out,
                    "if builtin test \"$__assigner_shell\" = $fish_pid; __assigner_install; else; {load}; end"
                );
                let _ = writeln!(
                    out,
                    "if builtin test \"$__assigner_shell\" = $fish_pid; __assigner_tell run; builtin set -g __assigner_job {stem}; end"
                );
                return;
            }
            Shell::Bash | Shell::Zsh => {}
        }
        let load = integration.map_or_else(|| format!("{builtin} :"), |path| self.source(path));
        let _ = writeln!(
            out,
            "case ${{__assigner_shell-}} in $$) __assigner_install;; *) {load};; esac"
        );
        let forget = match self.shell {
            Shell::Bash => " __assigner_forget;",
            Shell::Zsh | Shell::Fish | Shell::Dash => "",
        };
        let _ = writeln!(
            out,
            "case ${{__assigner_shell-}} in $$){forget} __assigner_tell run; __assigner_job={stem};; esac"
        );
    }

    /// Writes what the shell exports into `file`. `env` is called by its path, since a task may
    /// have changed `PATH`.
    fn write_tell(&self, out: &mut String, file: &Path) {
        let over = if self.shell == Shell::Fish { ">" } else { ">|" };
        let _ = writeln!(
            out,
            "/usr/bin/env -0 {over} {} 2>/dev/null",
            self.quote(file)
        );
    }

    /// Prints a mark if the pane's output is piped to us.
    fn write_mark(&self, out: &mut String, letter: char) {
        if let Keep::Marks(nonce) = self.keep {
            // `printf` turns the escapes back into bytes.
            let mark = mark(letter, nonce)
                .replace('\x1b', "\\033")
                .replace('\x07', "\\007");
            let _ = writeln!(out, "{} printf '{mark}'", self.builtin());
        }
    }

    /// Shows the command's output in the pane if it went into a file.
    fn write_show(&self, out: &mut String) {
        if self.keep == Keep::File {
            let output = self.quote(self.files.raw_output().as_path());
            let _ = writeln!(out, "{}command cat {output}", self.slash());
        }
    }

    fn builtin(&self) -> &'static str {
        builtin(self.shell)
    }

    /// Returns the prefix that bypasses a person's aliases for a command.
    fn slash(&self) -> &'static str {
        if self.shell == Shell::Fish { "" } else { "\\" }
    }

    fn source(&self, piece: &Path) -> String {
        let word = if self.shell == Shell::Fish {
            "source"
        } else {
            "."
        };
        format!("{} {word} {}", self.builtin(), self.quote(piece))
    }

    /// Sources what a person wrote. In bash 5.2, an open `$(` at the end of a sourced file corrupts
    /// memory, and bash dies at its next prompt. If a piece may have one, another bash parses it
    /// first, and this one never sources a piece that has one.
    fn run(&self, piece: &Path, text: &str) -> String {
        let source = self.source(piece);
        // A backslash and a newline may come between `$` and `(`.
        if self.shell != Shell::Bash || !text.contains('(') {
            return source;
        }
        let file = self.quote(piece);
        format!(
            "case \"$(LC_ALL=C \\command \"$BASH\" -n {file} 2>&1)\" in *\"unexpected EOF while looking for matching \"?\")'\"*) LC_ALL=C \\command \"$BASH\" -n {file};; *) {source};; esac"
        )
    }

    /// Sends what a piece prints to `file` if the pane's output is not piped to us.
    fn redirection(&self, file: &Path) -> String {
        match self.keep {
            Keep::Marks(_) => String::new(),
            Keep::File => format!(" >> {} 2>&1", self.quote(file)),
        }
    }

    fn quote<'q, T: ?Sized>(&self, text: &'q T) -> String
    where
        &'q T: Into<Quotable<'q>>,
    {
        quote(self.shell, text)
    }
}

/// Returns code that undoes what a job's secrets have changed, in a POSIX shell.
fn undo(shell: Shell) -> String {
    let builtin = builtin(shell);
    format!(
        "{builtin} eval \"${{__assigner_undo-}}\"; {builtin} unset __assigner_undo __assigner_set __assigner_bad"
    )
}

/// Returns the prefix that makes sure that the shell's own command is called. dash has no
/// `builtin`, and in zsh `command` means an external program.
pub(super) fn builtin(shell: Shell) -> &'static str {
    match shell {
        Shell::Dash => "\\command",
        Shell::Bash | Shell::Zsh => "\\builtin",
        Shell::Fish => "builtin",
    }
}

/// Quotes `text` as one word of `shell`.
pub(super) fn quote<'q, T: ?Sized>(shell: Shell, text: &'q T) -> String
where
    &'q T: Into<Quotable<'q>>,
{
    let bytes: Vec<u8> = match shell {
        Shell::Bash | Shell::Zsh => text.quoted(Bash),
        Shell::Dash => text.quoted(Sh),
        Shell::Fish => text.quoted(Fish),
    };
    // The quoted form of UTF-8 text is UTF-8: the quoters only add ASCII.
    String::from_utf8_lossy(&bytes).into_owned()
}
