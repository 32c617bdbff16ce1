//! The script that a shell sources to run a task: pure text, one dialect for each shell.
//!
//! ```text
//! claim -> cd -> export... -> prerequisite... -> command -> exit code
//! ```
//!
//! The script's first act is to create the claim file, which only one side can do: either the
//! shell takes the job up, or the engine has withdrawn it. So it is always known whether a job
//! may have run, and a line that a shell reads too late does nothing.
//!
//! It is sourced, not run: what it changes (directory, variables) is there for the task and
//! stays in the session. The pieces that a person wrote are files of their own, so that a
//! syntax error in one, or a `return`, ends that piece alone.

use std::fmt::Write as _;
use std::path::Path;

use shell_quote::{Bash, Fish, Quotable, QuoteRefExt, Sh};

use crate::model::session::Shell;
use crate::model::task::Task;

use super::spool::JobFiles;

/// How the output of the command is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep<'a> {
    /// The pane's output is piped to us: marks that hold this nonce tell where it begins and ends.
    Marks(&'a str),
    /// The pane is piped to somebody else: the command writes into a file, shown when it ends.
    File,
}

/// The step at which a script stood when it ended or was interrupted; see [`Step::read`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Changing the directory.
    Directory,
    /// Exporting the variable at this position.
    Export(usize),
    /// Running the prerequisite at this position.
    Prerequisite(usize),
    /// Running the command.
    Command,
}

impl Step {
    /// Reads back what the script wrote into the step file; `None`: nothing, or not whole.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut words = text.strip_suffix('\n')?.split(' ');
        let step = match (words.next()?, words.next()) {
            ("directory", None) => Self::Directory,
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
            Self::Command => "command".to_owned(),
        }
    }
}

/// Returns the line that is typed into the shell to source the script. The space in front keeps
/// it out of the history of shells that are set so.
pub(super) fn typed_line(shell: Shell, script: &Path) -> String {
    let word = if shell == Shell::Fish { "source" } else { "." };
    format!(" {word} {}", quote(shell, script))
}

/// Returns the script for `task` in the language of `shell`.
pub(super) fn script(shell: Shell, task: &Task, files: &JobFiles, keep: Keep<'_>) -> String {
    let mut script = String::new();
    let dialect = Dialect { shell, files, keep };
    dialect.write(&mut script, task);
    script
}

/// The mark that the script prints where the preparation begins (`A`), where the output begins
/// (`C`) and where it ends (`D`): a shell-integration sequence, which terminals do not show.
pub(super) fn mark(letter: char, nonce: &str) -> String {
    format!("\x1b]133;{letter};assigner={nonce}\x07")
}

struct Dialect<'a> {
    shell: Shell,
    files: &'a JobFiles,
    keep: Keep<'a>,
}

impl Dialect<'_> {
    fn write(&self, out: &mut String, task: &Task) {
        let mut steps = Vec::new();
        if let Some(directory) = &task.metadata.working_dir {
            let cd = if self.shell == Shell::Fish {
                format!("builtin cd {}", self.quote(directory.as_str()))
            } else {
                format!(
                    "{} cd -- {}",
                    self.builtin(),
                    self.quote(directory.as_str())
                )
            };
            steps.push((Step::Directory, cd));
        }
        for (index, (name, value)) in task.metadata.env_vars.iter().enumerate() {
            let value = self.quote(value.as_str());
            let export = if self.shell == Shell::Fish {
                format!("builtin set -gx {name} {value}")
            } else {
                format!("{} export {name}={value}", self.builtin())
            };
            steps.push((Step::Export(index), export));
        }
        for index in 0..task.metadata.prerequisites.len() {
            let piece = self.source(&self.files.prerequisite(index));
            let kept = self.redirection(&self.files.preparation());
            steps.push((Step::Prerequisite(index), piece + &kept));
        }
        if self.shell == Shell::Fish {
            self.write_fish(out, &steps);
        } else {
            self.write_posix(out, &steps);
        }
    }

    /// bash, zsh and dash. `\` in front of a word passes by a person's aliases, `builtin` by
    /// their functions; `>|` works where `noclobber` is set.
    fn write_posix(&self, out: &mut String, steps: &[(Step, String)]) {
        let builtin = self.builtin();
        let claim = self.quote(self.files.claim().as_path());
        let exit = self.quote(self.files.exit().as_path());
        let traps = self.quote(self.files.traps().as_path());
        let step_file = self.quote(self.files.step().as_path());
        let step =
            |step: Step| format!("{builtin} printf '%s\\n' '{}' >| {step_file}", step.write());
        let going = format!("{builtin} [ \"$__assigner\" = 0 ]");
        let ours = format!("{builtin} [ \"$__assigner_trap\" = 1 ]");
        let _ = writeln!(
            out,
            "if ( {builtin} set -C && {builtin} : > {claim} ) 2>/dev/null; then"
        );
        let _ = writeln!(out, "__assigner=0");
        self.write_mark(out, 'A');
        for (name, action) in steps {
            let _ = writeln!(
                out,
                "if {going}; then {}; {action}; __assigner=$?; fi",
                step(*name)
            );
        }
        let _ = writeln!(out, "if {going}; then");
        let _ = writeln!(out, "{}", step(Step::Command));
        // `exit` in the command ends the shell: a trap keeps its code, unless the person has one.
        // A trap of ours that an interrupted job left behind is replaced. A shell whose terminal is
        // gone was hung up and did not exit: there is no code.
        let keep_code = format!("{builtin} printf '%s\\n' \"$__assigner\" >| {exit} # assigner");
        let on_exit = format!("__assigner=$?; {keep_code}");
        let on_exit_in_terminal = format!("__assigner=$?; {builtin} [ ! -t 0 ] || {keep_code}");
        let _ = writeln!(out, "{builtin} trap >| {traps}");
        let _ = writeln!(
            out,
            "case \"$(\\command cat {traps})\" in *'# assigner'*) __assigner_trap=1;; *EXIT*) __assigner_trap=0;; *) __assigner_trap=1;; esac"
        );
        let _ = writeln!(
            out,
            "if {ours}; then if {builtin} [ -t 0 ]; then {builtin} trap {} EXIT; else {builtin} trap {} EXIT; fi; fi",
            self.quote(on_exit_in_terminal.as_str()),
            self.quote(on_exit.as_str())
        );
        self.write_mark(out, 'C');
        let _ = writeln!(
            out,
            "{}{}",
            self.source(&self.files.command()),
            self.redirection(&self.files.raw_output())
        );
        let _ = writeln!(out, "__assigner=$?");
        let _ = writeln!(out, "if {ours}; then {builtin} trap - EXIT; fi");
        self.write_show(out);
        let _ = writeln!(out, "fi");
        self.write_mark(out, 'D');
        let _ = writeln!(out, "{builtin} printf '%s\\n' \"$__assigner\" >| {exit}");
        let _ = writeln!(out, "{builtin} unset __assigner __assigner_trap");
        let _ = writeln!(out, "fi");
    }

    fn write_fish(&self, out: &mut String, steps: &[(Step, String)]) {
        let claim = self.quote(self.files.claim().as_path());
        let exit = self.quote(self.files.exit().as_path());
        let step_file = self.quote(self.files.step().as_path());
        let step = |step: Step| format!("builtin printf '%s\\n' '{}' > {step_file}", step.write());
        let _ = writeln!(out, "if builtin true >? {claim}");
        let _ = writeln!(out, "builtin set -g __assigner 0");
        self.write_mark(out, 'A');
        for (name, action) in steps {
            let _ = writeln!(
                out,
                "if builtin test $__assigner = 0; {}; {action}; builtin set -g __assigner $status; end",
                step(*name)
            );
        }
        let _ = writeln!(out, "if builtin test $__assigner = 0");
        let _ = writeln!(out, "{}", step(Step::Command));
        self.write_mark(out, 'C');
        let _ = writeln!(
            out,
            "{}{}",
            self.source(&self.files.command()),
            self.redirection(&self.files.raw_output())
        );
        let _ = writeln!(out, "builtin set -g __assigner $status");
        self.write_show(out);
        let _ = writeln!(out, "end");
        self.write_mark(out, 'D');
        let _ = writeln!(out, "builtin printf '%s\\n' $__assigner > {exit}");
        let _ = writeln!(out, "builtin set -e __assigner");
        let _ = writeln!(out, "end");
    }

    /// Prints a mark, where the pane's output is piped to us.
    fn write_mark(&self, out: &mut String, letter: char) {
        if let Keep::Marks(nonce) = self.keep {
            // `printf` turns these into bytes.
            let mark = mark(letter, nonce)
                .replace('\x1b', "\\033")
                .replace('\x07', "\\007");
            let _ = writeln!(out, "{} printf '{mark}'", self.builtin());
        }
    }

    /// Shows the command's output in the pane, where it went into a file.
    fn write_show(&self, out: &mut String) {
        if self.keep == Keep::File {
            let output = self.quote(self.files.raw_output().as_path());
            let slash = if self.shell == Shell::Fish { "" } else { "\\" };
            let _ = writeln!(out, "{slash}command cat {output}");
        }
    }

    /// What makes sure that the shell's own command is called. dash has no `builtin`, and zsh's
    /// `command` means an external program.
    fn builtin(&self) -> &'static str {
        match self.shell {
            Shell::Dash => "\\command",
            Shell::Bash | Shell::Zsh => "\\builtin",
            Shell::Fish => "builtin",
        }
    }

    fn source(&self, piece: &Path) -> String {
        let word = if self.shell == Shell::Fish {
            "source"
        } else {
            "."
        };
        format!("{} {word} {}", self.builtin(), self.quote(piece))
    }

    /// Sends what a piece prints into `file`, where the pane's output is not piped to us.
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

/// Quotes `text` as one word of `shell`.
fn quote<'q, T: ?Sized>(shell: Shell, text: &'q T) -> String
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
