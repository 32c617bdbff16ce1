//! Which agent runs in a pane: recognised by its processes, even inside wrappers, or else by the
//! title, the screen or the session's name.

use std::path::Path;
use std::sync::Arc;

use super::profile::Profile;
use super::screen::Screen;

/// Programs that run scripts: people call such a program by the name of the script.
const INTERPRETERS: &[&str] = &[
    "node", "nodejs", "bun", "deno", "python", "ruby", "perl", "java", "npx", "uv", "uvx", "sh",
    "bash", "dash", "zsh",
];

/// File endings of scripts.
const SCRIPT_ENDINGS: &[&str] = &[
    ".js", ".mjs", ".cjs", ".ts", ".py", ".rb", ".pl", ".sh", ".exe",
];

/// Programs that run another one whose processes cannot be seen. The screen counts only for these:
/// an editor may show anything.
const ELSEWHERE: &[&str] = &[
    "ssh",
    "mosh-client",
    "docker",
    "podman",
    "nerdctl",
    "kubectl",
    "lxc",
    "incus",
    "machinectl",
    "nsenter",
    "su",
    "sudo",
];

/// A process of a pane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// The number of ancestors between it and the pane's first process.
    pub depth: u32,
    /// The file name of its program.
    pub program: String,
    /// The words of its command line.
    pub words: Vec<String>,
}

/// How an agent was recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Its program.
    Program,
    /// Its command line.
    Arguments,
    /// The pane's title.
    Title,
    /// The screen.
    Screen,
    /// The session's name.
    Session,
}

impl By {
    /// Returns its description for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Program => "its program",
            Self::Arguments => "its command line",
            Self::Title => "the pane's title",
            Self::Screen => "the screen",
            Self::Session => "the session's name",
        }
    }
}

/// An agent in a pane.
#[derive(Debug, Clone)]
pub struct Recognised {
    /// Its profile.
    pub profile: Arc<Profile>,
    /// Its process.
    pub pid: u32,
    /// How it was recognised.
    pub by: By,
}

/// What else is known about a pane.
#[derive(Debug, Clone, Copy)]
pub struct Hints<'a> {
    /// The title that a program set.
    pub title: &'a str,
    /// The name of its tmux session.
    pub session: &'a str,
    /// The screen, if it was read.
    pub screen: Option<&'a Screen>,
}

/// Returns the agent that these processes belong to. If there are several, returns the one nearest
/// to the pane's first process, because agents start other agents. `processes` are those in the
/// foreground.
pub fn recognise<'a>(
    profiles: impl Iterator<Item = &'a Arc<Profile>> + Clone,
    processes: &[Process],
    hints: &Hints<'_>,
) -> Option<Recognised> {
    let mut ordered: Vec<&Process> = processes.iter().collect();
    ordered.sort_by_key(|process| (process.depth, process.pid));
    for process in &ordered {
        let names = names(process);
        let line = process.words.join(" ");
        for profile in profiles.clone() {
            let ways = &profile.recognise;
            let by = if names.iter().any(|name| ways.programs.contains(name)) {
                By::Program
            } else if ways.arguments.is_match(&line) {
                By::Arguments
            } else {
                continue;
            };
            return Some(Recognised {
                profile: Arc::clone(profile),
                pid: process.pid,
                by,
            });
        }
    }
    // Only names are left, which anybody can set: they count only if a program other than a shell
    // runs.
    let pid = ordered.iter().find(|process| !is_shell(process))?.pid;
    let by_hint = |profile: &Profile| {
        let ways = &profile.recognise;
        let elsewhere = ordered
            .iter()
            .any(|process| ELSEWHERE.contains(&plain(&process.program)));
        let shown =
            |screen: &Screen| elsewhere && screen.lines().any(|line| ways.screen.is_match(line));
        if ways.title.is_match(hints.title) {
            Some(By::Title)
        } else if hints.screen.is_some_and(shown) {
            Some(By::Screen)
        } else if ways.session.0.is_match(hints.session) {
            Some(By::Session)
        } else {
            None
        }
    };
    let found = profiles.filter_map(|profile| Some((by_hint(profile)?, profile)));
    let (by, profile) = found.min_by_key(|(by, _)| match by {
        By::Program => 0,
        By::Arguments => 1,
        By::Title => 2,
        By::Screen => 3,
        By::Session => 4,
    })?;
    Some(Recognised {
        profile: Arc::clone(profile),
        pid,
        by,
    })
}

/// Returns the names of a process: its program, the name it was called by, and the script that it
/// runs.
fn names(process: &Process) -> Vec<String> {
    let mut names = vec![process.program.clone()];
    let mut words = process.words.iter();
    names.extend(words.next().map(|word| base(word)));
    if INTERPRETERS.contains(&plain(&process.program)) {
        names.extend(script(words));
    }
    names
}

/// Returns the script among an interpreter's arguments: the first one that is not an option, or the
/// module after `-m`.
fn script<'a>(mut words: impl Iterator<Item = &'a String>) -> Option<String> {
    while let Some(word) = words.next() {
        match word.as_str() {
            "-m" => {
                let module = words.next()?;
                return Some(module.split('.').next().unwrap_or(module).to_owned());
            }
            // The next word is program text, not a name.
            "-c" | "-e" | "--eval" | "-p" | "--print" => return None,
            // Words of script runners that come before the script.
            "run" | "exec" | "tool" => {}
            word if word.starts_with('-') => {}
            word => return Some(base(word)),
        }
    }
    None
}

fn base(word: &str) -> String {
    let name = Path::new(word)
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or(word)
        .trim_start_matches('-');
    let ending = SCRIPT_ENDINGS
        .iter()
        .find(|ending| name.ends_with(**ending));
    let stem = ending.map_or(name, |ending| &name[..name.len() - ending.len()]);
    if stem.is_empty() { name } else { stem }.to_owned()
}

/// Reads `python3.11` as `python`.
fn plain(program: &str) -> &str {
    program.trim_end_matches(|end: char| end.is_ascii_digit() || matches!(end, '.' | '-'))
}

fn is_shell(process: &Process) -> bool {
    crate::model::session::Shell::from_program(plain(&process.program)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(name: &str, more: &str) -> Arc<Profile> {
        let text = format!(
            "name = '{name}'\n[recognise]\nprograms = ['{name}']\n{more}\n\
             [composer]\nline = '^> (?P<draft>.*)$'\n"
        );
        Arc::new(Profile::read(&text).expect("a profile"))
    }

    fn process(depth: u32, program: &str, line: &str) -> Process {
        Process {
            pid: 100 + depth,
            depth,
            program: program.to_owned(),
            words: line.split(' ').map(str::to_owned).collect(),
        }
    }

    fn who(processes: &[Process], title: &str, session: &str) -> Option<(String, By)> {
        let profiles = [
            profile("claude", "session = ['claude-*']"),
            profile("codex", "title = ['^codex: ']"),
            profile("aider", "arguments = ['-m my\\.aider\\b']"),
        ];
        let hints = Hints {
            title,
            session,
            screen: None,
        };
        recognise(profiles.iter(), processes, &hints)
            .map(|found| (found.profile.name.clone(), found.by))
    }

    #[test]
    fn a_program_is_known_behind_interpreters_and_wrappers() {
        let known = |processes: &[Process]| who(processes, "", "").map(|(name, _)| name);
        for (program, line) in [
            ("codex", "codex"),
            ("node", "node /usr/lib/bin/codex"),
            ("node", "node --no-warnings /usr/lib/codex.js resume"),
            ("python3.11", "python3 /opt/v/bin/codex --yes"),
            ("python3", "python3 -m codex.main"),
            ("codex-x86_64", "codex"),
            ("bash", "bash /home/me/bin/codex"),
        ] {
            let found = known(&[process(0, program, line)]);
            assert_eq!(found.as_deref(), Some("codex"), "{line}");
        }
        let wrapped = [
            process(0, "my-wrapper", "my-wrapper --with codex"),
            process(1, "node", "node /usr/bin/codex"),
        ];
        assert_eq!(known(&wrapped).as_deref(), Some("codex"));
        let nested = [
            process(2, "codex", "codex mcp-server"),
            process(0, "claude", "claude"),
        ];
        assert_eq!(known(&nested).as_deref(), Some("claude"));
    }

    #[test]
    fn what_only_speaks_of_an_agent_is_none() {
        for (program, line) in [
            ("vim", "vim codex.md"),
            ("node", "node -e codex"),
            ("grep", "grep codex notes"),
            ("bash", "bash -c codex"),
        ] {
            assert_eq!(who(&[process(0, program, line)], "", ""), None, "{line}");
        }
    }

    #[test]
    fn other_signs_count_only_behind_the_program() {
        let other = [process(0, "wrapped", "wrapped")];
        let by = |title, session| who(&other, title, session);
        assert_eq!(by("codex: x", "a"), Some(("codex".to_owned(), By::Title)));
        assert_eq!(by("", "claude-1"), Some(("claude".to_owned(), By::Session)));
        assert_eq!(
            by("codex: x", "claude-1"),
            Some(("codex".to_owned(), By::Title))
        );
        let shell = [process(0, "bash", "-bash")];
        assert_eq!(who(&shell, "codex: x", "claude-1"), None);
        let module = [process(0, "python3", "python3 -m my.aider")];
        assert_eq!(
            who(&module, "", ""),
            Some(("aider".to_owned(), By::Arguments))
        );
    }
}
