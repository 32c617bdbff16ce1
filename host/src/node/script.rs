//! The script that a shell sources to run a task: pure text, which the shell's dialect writes.
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

use crate::model::session::Shell;
use crate::model::task::Task;
use crate::probe;

use super::dialect::Dialect;
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

/// The step that a script had reached when it ended or was interrupted; see [`ScriptStep::read`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScriptStep {
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

impl ScriptStep {
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

    /// Returns what the script writes into the step file.
    pub(crate) fn write(self) -> String {
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

/// What a script is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScriptPlan<'a> {
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

/// A script before it is put into words: the plan, and its steps in the language of the shell.
#[derive(Debug)]
pub(crate) struct JobDraft<'a> {
    pub(crate) plan: &'a ScriptPlan<'a>,
    pub(crate) files: &'a JobFiles,
    /// Changes the directory, which an isolated task leaves changed.
    pub(crate) directory: Option<(ScriptStep, String)>,
    /// What comes between the directory and the command.
    pub(crate) steps: Vec<(ScriptStep, String)>,
}

/// Tests for a branch, in the language of a shell.
#[derive(Debug)]
pub(crate) struct BranchTest<'a> {
    /// The command that prints the full name of the branch.
    pub(crate) ask: String,
    /// The command that prints the commit.
    pub(crate) ask_commit: String,
    /// The full name that is required, quoted.
    pub(crate) name: String,
    /// The beginning of the commit that is enough, if the name may also be one.
    pub(crate) commit: Option<&'a str>,
}

/// Returns the script for a task in the language of its shell.
pub(crate) fn script(plan: &ScriptPlan<'_>, files: &JobFiles) -> String {
    let dialect = plan.shell.dialect();
    let directory = plan.task.directory();
    dialect.job(&JobDraft {
        plan,
        files,
        directory: directory.map(|directory| (ScriptStep::Directory, dialect.cd(directory))),
        steps: steps(dialect, plan, files),
    })
}

/// Returns the steps between the directory and the command.
fn steps(
    dialect: &dyn Dialect,
    plan: &ScriptPlan<'_>,
    files: &JobFiles,
) -> Vec<(ScriptStep, String)> {
    let metadata = &plan.task.metadata;
    let mut steps = Vec::new();
    for (index, (name, value)) in metadata.env_vars.iter().enumerate() {
        steps.push((ScriptStep::Export(index), dialect.export(name, value)));
    }
    if !plan.secrets.is_empty() {
        let piece = files.secrets();
        steps.push((ScriptStep::Secrets, dialect.source_secrets(&piece)));
        let (external, file) = (dialect.external(), dialect.quote((&piece).into()));
        steps.push((ScriptStep::Secrets, format!("{external} rm -f {file}")));
    }
    for (index, prerequisite) in metadata.prerequisites.iter().enumerate() {
        let piece = dialect.run(&files.prerequisite(index), prerequisite);
        let kept = redirection(dialect, plan.keep, &files.preparation());
        steps.push((ScriptStep::Prerequisite(index), piece + &kept));
    }
    // A prerequisite may check out the branch. Without prerequisites, the branch was checked
    // before.
    if let Some(branch) = metadata.git_branch.as_deref()
        && metadata.require_branch
        && !metadata.prerequisites.is_empty()
    {
        steps.push((ScriptStep::Branch, is_on(dialect, branch)));
    }
    steps
}

/// Returns a test for the branch. It asks as the probe does, so that both agree: about the branch
/// of the directory, whatever git variables this shell has set.
fn is_on(dialect: &dyn Dialect, branch: &str) -> String {
    let mut git = format!("{} env", dialect.external());
    for name in probe::GIT_REDIRECTING {
        let _ = write!(git, " -u {name}");
    }
    let full = if branch.starts_with("refs/") {
        branch.to_owned()
    } else {
        format!("refs/heads/{branch}")
    };
    let is_commit = branch.len() == 7 && branch.bytes().all(|byte| byte.is_ascii_hexdigit());
    dialect.is_on(&BranchTest {
        ask: format!("{git} git symbolic-ref --quiet HEAD 2>/dev/null"),
        ask_commit: format!("{git} git rev-parse --verify --quiet HEAD 2>/dev/null"),
        name: dialect.quote((&full).into()),
        commit: is_commit.then_some(branch),
    })
}

/// Sends what a piece prints to `file` if the pane's output is not piped to us.
fn redirection(dialect: &dyn Dialect, keep: Keep<'_>, file: &Path) -> String {
    match keep {
        Keep::Marks(_) => String::new(),
        Keep::File => dialect.append(file),
    }
}

/// Returns the line of a script that runs the command.
pub(crate) fn run_command(dialect: &dyn Dialect, draft: &JobDraft<'_>) -> String {
    let (plan, files) = (draft.plan, draft.files);
    let output = redirection(dialect, plan.keep, &files.raw_output());
    dialect.run(&files.command(), plan.command) + &output
}

/// Shows the command's output in the pane if it went into a file.
pub(crate) fn write_show(out: &mut String, dialect: &dyn Dialect, draft: &JobDraft<'_>) {
    if draft.plan.keep == Keep::File {
        let output = dialect.quote((&draft.files.raw_output()).into());
        let _ = writeln!(out, "{} cat {output}", dialect.external());
    }
}

/// Prints a mark if the pane's output is piped to us. `builtin` is what comes before `printf`.
pub(crate) fn write_mark(out: &mut String, builtin: &str, keep: Keep<'_>, letter: char) {
    if let Keep::Marks(nonce) = keep {
        // `printf` turns the escapes back into bytes.
        let mark = mark(letter, nonce)
            .replace('\x1b', "\\033")
            .replace('\x07', "\\007");
        let _ = writeln!(out, "{builtin} printf '{mark}'");
    }
}

/// Returns the mark that the script prints where the preparation begins (`A`), where the output
/// begins (`C`) and where it ends (`D`): a shell-integration sequence, which terminals do not show.
pub(crate) fn mark(letter: char, nonce: &str) -> String {
    format!("\x1b]133;{letter};assigner={nonce}\x07")
}
