//! What assigner has to know of each shell: a dialect, behind a trait.
//!
//! ```text
//! Shell (a name, in the model) -> Shell::dialect -> posix: bash, zsh, dash
//!                                                -> fish
//! ```
//!
//! Nothing outside this directory asks which shell it deals with: it asks the dialect. A new shell
//! is a file here, a line in the table of [`Shell`], and an arm in [`Shell::dialect`]:
//!
//! - a shell of the POSIX family (ksh) is a [`PosixShell`](posix::PosixShell), as in `bash.rs`: how
//!   it quotes, calls its own commands, shows its traps and exports;
//! - any other shell (nushell) implements [`Dialect`], as in `fish.rs`: how it quotes, changes the
//!   directory, exports and sources, and the frame of the job script. The script must create the
//!   claim file first, note each step before taking it, keep the exit code, and undo what must not
//!   stay; `script_tests` runs every shell of the table through all of that;
//! - a shell with a line editor that can be asked also provides an [`Integration`]: the text that it
//!   loads, and how it is made to load that. Without one, jobs are typed only if its row is a prompt
//!   that it draws by default.
//!
//! What is not here, because it is read before or without knowing the shell: `probe` recognises a
//! shell by the names in the table, and by the options of all shells whether it is interactive
//! (`is_interactive`); its state comes from the process and the terminal, by the [`LineEditor`] that
//! the dialect names. `node/watch/prompt` knows the questions and continuation prompts of all line
//! editors. Prerequisites of prompts run in the system's `sh`.

mod bash;
mod dash;
mod fish;
#[cfg(test)]
mod manners_tests;
mod posix;
mod traps;
mod zsh;

use std::path::Path;

use shell_quote::Quotable;

use super::script::{BranchTest, JobDraft, ScriptPlan};
use super::spool::JobFiles;
use crate::model::session::Shell;
use crate::model::text::alternatives;
use crate::probe::LineEditor;

impl Shell {
    /// Returns what is known of this shell.
    pub(crate) fn dialect(self) -> &'static dyn Dialect {
        match self {
            Self::Bash => &bash::BASH,
            Self::Zsh => &zsh::ZSH,
            Self::Fish => &fish::FISH,
            Self::Dash => &dash::DASH,
        }
    }
}

/// A shell: the language in which it is given jobs, and what is known of its line.
pub(crate) trait Dialect: Sync {
    /// Returns who edits its line.
    fn line_editor(&self) -> LineEditor;

    /// Returns the prompts that it draws by default, as regular expressions. What the groups `host`
    /// and `user_host` match must be the name of the machine; `full`, `last` and `short` must be
    /// its directory: the whole path, the last part of it, and the path as fish shortens it.
    fn default_prompts(&self) -> &'static [&'static str];

    /// Returns what it loads to report on its line, or `None` if it has no line editor that could be
    /// asked.
    fn integration(&self) -> Option<&'static Integration>;

    /// Whether the script of an isolated task saves the variables and restores them, because there
    /// are no subshells. Then an interrupted job leaves them as the task has set them.
    fn restores_variables(&self) -> bool;

    /// Quotes a text as one word.
    fn quote(&self, text: Quotable<'_>) -> String;

    /// Returns the word that makes a person's shell source a file.
    fn source_word(&self) -> &'static str;

    /// Returns what to write before the name of an external program, so that no alias and no
    /// function is called instead.
    fn external(&self) -> &'static str;

    /// Returns code that changes the directory.
    fn cd(&self, directory: &str) -> String;

    /// Returns code that exports a variable, and fails if it cannot be set.
    fn export(&self, name: &str, value: &str) -> String;

    /// Returns code that sources what a person wrote, and whose text is `text`.
    fn run(&self, piece: &Path, text: &str) -> String;

    /// Returns what to write after a command so that what it prints is appended to a file.
    fn append(&self, file: &Path) -> String {
        format!(" >> {} 2>&1", self.quote(file.into()))
    }

    /// Returns a condition that holds if a test for a branch passes.
    fn is_on(&self, test: &BranchTest<'_>) -> String;

    /// Returns the piece that sets the secret variables and records how to undo that.
    fn secrets(&self, plan: &ScriptPlan<'_>) -> String;

    /// Returns code that sources that piece, shows nothing of it, and fails if one of its variables
    /// cannot be set.
    fn source_secrets(&self, piece: &Path) -> String;

    /// Returns the script of a job.
    fn job(&self, draft: &JobDraft<'_>) -> String;

    /// Returns a script that reports what the shell exports, after undoing what an interrupted job
    /// has left.
    fn question(&self, files: &JobFiles) -> String;

    /// Returns the line that is typed into the shell to source the script. The leading space keeps
    /// it out of the history of shells that are configured to skip such lines.
    fn typed_line(&self, script: &Path) -> String {
        format!(" {} {}", self.source_word(), self.quote(script.into()))
    }

    /// Returns the command that asks a headless agent. The prompt comes from a file, so that no
    /// process list shows it, and the output goes into another file.
    fn ask_headless(&self, words: &[String], files: &JobFiles) -> String {
        let words: Vec<String> = words.iter().map(|word| self.quote(word.into())).collect();
        // The files exist and are empty. A person's shell may refuse to overwrite them.
        format!(
            "{} pwd -P >> {}\n{} < {} >> {}",
            self.external(),
            self.quote((&files.directory()).into()),
            words.join(" "),
            self.quote((&files.prompt()).into()),
            self.quote((&files.response()).into())
        )
    }
}

/// How a shell reports on its line; see [`super::shell`].
#[derive(Debug)]
pub(crate) struct Integration {
    /// What it loads. `@DIRECTORY@` stands for the directory of the reports.
    pub(crate) text: &'static str,
    /// What people are told about the shell.
    pub(crate) about: &'static str,
    /// The file that it loads when it starts.
    pub(crate) startup: StartupFile,
    /// Returns the line of that file that makes the shell load what a command prints, if this
    /// program exists: `(program, command)`. Both are quoted.
    pub(crate) startup_line: fn(&str, &str) -> String,
    /// The options with which a shell that we start can be made to load it. If it is started with
    /// any other option, it is left alone.
    pub(crate) options: &'static [&'static str],
    /// Returns how a command line is changed so that the shell loads it after its person's own
    /// startup files: `(words, integration, directory)`. The integration's path is quoted; files of
    /// ours are in the directory. Returns `None` if the system's files are in the way.
    pub(crate) start: fn(&[String], &str, &str) -> Option<ReportingStart>,
}

/// A file that a shell loads when it starts.
#[derive(Debug)]
pub(crate) struct StartupFile {
    /// The variable that names its directory.
    pub(crate) variable: Option<&'static str>,
    /// That directory if the variable is not set, in the home directory.
    pub(crate) directory: &'static str,
    /// The file in that directory.
    pub(crate) name: &'static str,
}

/// How a shell is started so that it loads the integration by itself.
#[derive(Debug)]
pub(crate) struct ReportingStart {
    /// The command line.
    pub(crate) words: Vec<String>,
    /// The file of ours that the shell needs for that, in the directory of the reports, and its
    /// text.
    pub(crate) file: Option<(&'static str, String)>,
}

/// Returns the names of the shells for which `holds`, for people: `bash, zsh or fish`.
pub(crate) fn names(holds: impl Fn(&dyn Dialect) -> bool) -> String {
    let shells = Shell::ALL.iter().filter(|shell| holds(shell.dialect()));
    let names: Vec<&str> = shells.map(|shell| shell.name()).collect();
    alternatives(&names)
}

/// Returns a quoted form as text. The quoted form of UTF-8 text is UTF-8: the quoters only add
/// ASCII.
fn quoted(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    /// Files that name the programs of shells for another reason.
    const NAMES_PROGRAMS: &[(&str, &str)] = &[
        ("model/session.rs", "the table of shells"),
        ("agents/recognise.rs", "interpreters of scripts"),
        ("cli/demo.rs", "the demonstration starts a shell"),
    ];

    fn is_test(path: &Path) -> bool {
        let name = path.file_stem().and_then(|name| name.to_str());
        name.is_some_and(|name| name.ends_with("tests") || name == "testing")
            || path
                .iter()
                .filter_map(|part| part.to_str())
                .any(|part| part == "tests" || part.ends_with("_tests") || part == "simulation")
    }

    /// Returns the lines of code outside this directory, without comments and tests.
    fn lines() -> Vec<(PathBuf, String)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut lines = Vec::new();
        let mut places = vec![root.clone()];
        while let Some(place) = places.pop() {
            let path = place.strip_prefix(&root).expect("below it").to_owned();
            if place.is_dir() {
                let entries = fs::read_dir(&place).expect("a readable directory");
                places.extend(entries.map(|entry| entry.expect("an entry").path()));
            } else if place.extension().is_some_and(|end| end == "rs")
                && !path.starts_with("node/dialect")
                && !is_test(&path)
            {
                let text = fs::read_to_string(&place).expect("a source file");
                let code = text.split("#[cfg(test)]\nmod tests {").next();
                lines.extend(code.unwrap_or_default().lines().map(|line| {
                    let code = line.split("//").next().unwrap_or_default();
                    (path.clone(), code.to_owned())
                }));
            }
        }
        assert!(lines.len() > 10_000, "{}", lines.len());
        lines
    }

    #[test]
    fn no_other_file_names_a_particular_shell() {
        let is_in_word = |character: char| character.is_alphanumeric() || character == '_';
        for (path, line) in lines() {
            let place = path.display();
            for shell in Shell::ALL {
                let variant = format!("{shell:?}");
                let names = |rest: &str| {
                    let rest = rest.strip_prefix(&variant);
                    rest.is_some_and(|rest| !rest.starts_with(is_in_word))
                };
                assert!(
                    !line.split("Shell::").skip(1).any(names),
                    "{place} names {variant}: ask its dialect instead: {line}"
                );
                let name = format!("\"{}\"", shell.name());
                assert!(
                    !line.contains(&name)
                        || NAMES_PROGRAMS
                            .iter()
                            .any(|(known, _)| path == Path::new(known)),
                    "{place} names {name}: ask its dialect instead: {line}"
                );
            }
            for import in ["Shell::*", "Shell::{", "session::Shell as"] {
                assert!(
                    !line.contains(import),
                    "{place} hides names of shells: {line}"
                );
            }
        }
    }

    #[test]
    fn a_dialect_is_whole() {
        for shell in Shell::ALL {
            let dialect = shell.dialect();
            assert_eq!(Shell::from_program(shell.name()), Some(*shell));
            assert!(!dialect.default_prompts().is_empty(), "{shell:?}");
            for prompt in dialect.default_prompts() {
                assert!(regex::Regex::new(prompt).is_ok(), "{prompt}");
            }
            let asked = dialect.integration().is_some();
            assert_eq!(asked, dialect.line_editor() == LineEditor::Own, "{shell:?}");
        }
    }

    #[test]
    fn people_are_told_the_names_of_shells() {
        assert_eq!(names(|_| true), "bash, zsh, fish or dash");
        let asked = |dialect: &dyn Dialect| dialect.integration().is_some();
        assert_eq!(names(asked), "bash, zsh or fish");
        assert_eq!(names(|dialect| !asked(dialect)), "dash");
        assert_eq!(names(|_| false), "");
    }
}
