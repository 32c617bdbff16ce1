//! What a pane's processes reveal: which shell it is, whether it waits at its prompt, its directory
//! and variables, and the git branch there.
//!
//! This only reads, and takes tens of microseconds per pane. What is specific to a system is in
//! `linux` and `macos`, which offer the same few functions.

#[cfg(all(any(test, fuzzing), target_os = "linux"))]
#[path = "../../../tests/fuzz/targets/probe.rs"]
pub(crate) mod fuzz;
mod git;
#[cfg(target_os = "linux")]
mod linux;
pub mod look;
#[cfg(target_os = "macos")]
mod macos;
#[cfg(test)]
mod tests;
pub mod version;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, kill_process_group};
use rustix::termios::{InputModes, LocalModes, tcgetattr};

pub use git::{
    Checkout, REDIRECTING as GIT_REDIRECTING, branch as git_branch, branch_now as git_branch_now,
    checkout as git_checkout,
};

use crate::model::session::Shell;
#[cfg(target_os = "linux")]
use linux as system;
#[cfg(target_os = "macos")]
use macos as system;

/// What a shell is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShellActivity {
    /// It waits for a line of input.
    Prompt,
    /// It runs something.
    Running {
        /// The program in the foreground. `None` if it is the shell itself, in a loop of its own.
        foreground: Option<String>,
        /// The process group of that program, if it is not the shell's own.
        group: Option<u32>,
    },
    /// The system does not tell, for this reason.
    Unknown(String),
    /// Its process has ended.
    Gone,
}

/// The directory of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Directory {
    /// It is here; links are resolved.
    At(PathBuf),
    /// The directory was removed.
    Deleted(PathBuf),
    /// It cannot be read: the process is another user's, or does not exist.
    Unreadable,
}

/// How a process group is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndSignal {
    /// It may clean up.
    Terminate,
    /// It may not clean up.
    Kill,
}

/// What a system reports about a process; see [`system`].
struct SystemProcess {
    /// Its process group.
    group: u32,
    /// The group in the foreground of its terminal. `None` if it has no terminal.
    foreground: Option<u32>,
    /// Whether it was stopped by a signal.
    stopped: bool,
    /// When it began, in the system's own units.
    began: u64,
    /// Changes when the process executes another program. 0 if the system does not tell.
    image: u64,
}

impl SystemProcess {
    /// Returns a number that, together with the id, identifies a run of a program for good.
    fn run(&self) -> u64 {
        self.began.rotate_left(32) ^ self.image
    }
}

/// Returns which shell a process is, by the program that it runs, whatever it calls itself.
///
/// A shell that runs a script or `-c` does not count: it never waits at a prompt, whatever its
/// terminal looks like.
pub fn shell(pid: u32) -> Option<Shell> {
    let shell = shell_program(pid)?;
    is_interactive(&system::words(pid)).then_some(shell)
}

/// Whether a shell with this command line reads its commands from its terminal.
pub(crate) fn is_interactive(words: &[String]) -> bool {
    // In `busybox sh`, the shell's name is two words.
    let names = 1 + usize::from(words.first().is_some_and(|word| word.ends_with("box")));
    let mut words = words.iter().skip(names);
    while let Some(word) = words.next() {
        let letters = word
            .strip_prefix(['-', '+'])
            .filter(|rest| !rest.starts_with('-'));
        match (word.as_str(), letters) {
            (
                "--rcfile" | "--init-file" | "--init-command" | "--features" | "-C" | "-O" | "+O"
                | "-o" | "+o",
                _,
            ) => {
                words.next();
            }
            ("-" | "--", _) => return words.next().is_none(),
            ("--command", _) => return false,
            (word, None) if word.starts_with("--") => {}
            (_, Some(letters)) if letters.contains('i') => return true,
            (_, Some(letters)) if letters.contains('c') => return false,
            (_, Some(letters)) if letters.contains('s') => return true,
            (_, Some(_)) => {}
            // A script.
            (_, None) => return false,
        }
    }
    true
}

fn shell_program(pid: u32) -> Option<Shell> {
    let (program, name) = system::program(pid)?;
    // One program has many names: its process name tells, or its first word.
    if !is_box(&program) {
        return shell_of(&program);
    }
    if !is_box(&name) {
        return shell_of(name.trim_start_matches('-'));
    }
    let words = system::words(pid);
    let mut names = words
        .iter()
        .map(|word| word.rsplit('/').next().unwrap_or(word));
    shell_of(names.find(|name| !is_box(name))?.trim_start_matches('-'))
}

fn is_box(program: &str) -> bool {
    matches!(program, "busybox" | "toybox")
}

/// Reads `zsh-5.9` and `zsh5` as `zsh`.
pub(crate) fn shell_of(program: &str) -> Option<Shell> {
    let plain =
        program.trim_end_matches(|end: char| end.is_ascii_digit() || matches!(end, '.' | '-'));
    Shell::from_program(plain)
}

/// Who edits the line of a shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineEditor {
    /// The shell itself.
    Own,
    /// The terminal, in canonical mode: the shell reads whole lines.
    Terminal,
}

/// Returns what a shell is doing, by a rule that measurements have confirmed. It waits at its
/// prompt if its process group is the one in the foreground and its terminal is neither in
/// canonical mode nor echoes, because a shell that reads a line edits and displays it itself. A
/// shell that asks for a key (`read -n 1`, zsh's `read -q`) leaves the echo on.
///
/// A shell without line editing leaves the terminal in canonical mode. Linux tells what such a
/// shell waits for; macOS does not, so its state is unknown.
pub fn standing(editor: LineEditor, pid: u32, tty: &Path) -> ShellActivity {
    let Some(process) = system::process(pid) else {
        return ShellActivity::Gone;
    };
    if process.stopped {
        return ShellActivity::Unknown("the shell itself is stopped".to_owned());
    }
    let Some(foreground) = process.foreground else {
        return ShellActivity::Unknown("the shell has no terminal".to_owned());
    };
    if foreground != process.group {
        return ShellActivity::Running {
            foreground: system::program(foreground).map(|(_, name)| name),
            group: Some(foreground),
        };
    }
    let mode = match editing(tty) {
        // The line editor of busybox handles even Ctrl-C itself.
        Ok(Editing::OfAllKeys) if system::program(pid).is_some_and(|(name, _)| is_box(&name)) => {
            Ok(Editing::ByShell)
        }
        mode => mode,
    };
    let standing = match mode {
        // A program that a key of the line editor has started is in the shell's own group. So is
        // what fish leaves in the background.
        Ok(Editing::ByShell) => match helper(pid, process.group) {
            Some(helper) => ShellActivity::Running {
                foreground: Some(helper),
                group: None,
            },
            None => ShellActivity::Prompt,
        },
        Ok(Editing::OfLines) if editor == LineEditor::Terminal => match system::reads_a_line(pid) {
            Ok(true) => ShellActivity::Prompt,
            Ok(false) => running_itself(),
            Err(why) => ShellActivity::Unknown(why),
        },
        Ok(Editing::OfLines | Editing::OfKeys | Editing::OfAllKeys) => running_itself(),
        Err(error) => ShellActivity::Unknown(format!("its terminal cannot be read: {error}")),
    };
    // Between the two looks, a program may have come to the foreground with the terminal in its
    // mode.
    match system::process(pid) {
        None => ShellActivity::Gone,
        Some(now) if now.foreground != Some(foreground) => ShellActivity::Running {
            foreground: None,
            group: now.foreground,
        },
        Some(_) => standing,
    }
}

/// Whether a shell is in the foreground of its terminal, and no program that it started reads
/// there.
pub fn is_in_front(pid: u32) -> bool {
    system::process(pid).is_some_and(|process| {
        process.foreground == Some(process.group) && helper(pid, process.group).is_none()
    })
}

/// Returns the processes that this one has started and that were stopped by a signal (Ctrl-Z).
pub fn stopped_children(pid: u32) -> BTreeSet<u32> {
    let children = system::children(pid).into_iter();
    children
        .filter(|&child| system::process(child).is_some_and(|process| process.stopped))
        .collect()
}

/// Returns the program that a shell has started in its own process group and that has opened the
/// terminal: a history search, or another program that a key has started. Programs that themes or
/// jobs leave running do not open it.
fn helper(pid: u32, group: u32) -> Option<String> {
    system::children(pid).into_iter().find_map(|child| {
        let shares = system::process(child).is_some_and(|process| process.group == group);
        (shares && system::reads_terminal(child)).then(|| {
            let program = system::program(child);
            program.map_or_else(|| "a program".to_owned(), |(_, name)| name)
        })
    })
}

fn running_itself() -> ShellActivity {
    ShellActivity::Running {
        foreground: None,
        group: None,
    }
}

/// Who edits and displays what is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Editing {
    /// The terminal, and it passes on whole lines.
    OfLines,
    /// The terminal, and it passes on each key.
    OfKeys,
    /// The same without displaying them, Ctrl-C included, as full-screen programs want it.
    OfAllKeys,
    /// The program, as line editors want it.
    ByShell,
}

fn editing(tty: &Path) -> rustix::io::Result<Editing> {
    // It must never become our controlling terminal, and we must never wait.
    let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let terminal = open(tty, flags, Mode::empty())?;
    let modes = tcgetattr(terminal)?;
    // Line editors read Return unchanged: readline and fish turn the translation off, zsh swaps
    // Return and newline. A builtin that reads single keys without displaying them (`read -s -n 1`)
    // does not.
    let is_newline = modes.input_modes.contains(InputModes::ICRNL)
        && !modes.input_modes.contains(InputModes::INLCR);
    Ok(if modes.local_modes.contains(LocalModes::ICANON) {
        Editing::OfLines
    } else if modes.local_modes.contains(LocalModes::ECHO) {
        Editing::OfKeys
    } else if !modes.local_modes.contains(LocalModes::ISIG) {
        Editing::OfAllKeys
    } else if is_newline {
        Editing::OfKeys
    } else {
        Editing::ByShell
    })
}

/// A process of a pane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaneProcess {
    /// Its id.
    pub pid: u32,
    /// Together with the id, this identifies a run of a program for good.
    pub began: u64,
    /// The number of ancestors between it and the pane's first process.
    pub depth: u32,
    /// The file name of its program.
    pub program: String,
    /// The words of its command line.
    pub words: Vec<String>,
}

/// How many processes of a pane are looked at, and how deep in the tree.
const MOST_MEMBERS: usize = 256;
const DEEPEST: u32 = 16;

/// Returns the processes of a pane that are in the foreground of its terminal, and all of their
/// descendants. `pid` is the pane's first process.
pub fn members(pid: u32) -> Vec<PaneProcess> {
    let Some(foreground) = system::process(pid).and_then(|process| process.foreground) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut looked = 0;
    let mut next = std::collections::VecDeque::from([(pid, 0, false)]);
    while let Some((pid, depth, below)) = next.pop_front() {
        looked += 1;
        if looked > MOST_MEMBERS {
            break;
        }
        let Some(process) = system::process(pid) else {
            continue;
        };
        let inside = below || process.group == foreground;
        if inside && let Some((program, _)) = system::program(pid) {
            found.push(PaneProcess {
                pid,
                began: process.run(),
                depth,
                program,
                words: system::words(pid),
            });
        }
        if depth < DEEPEST {
            let children = system::children(pid).into_iter();
            next.extend(children.map(|child| (child, depth + 1, inside)));
        }
    }
    found
}

/// Returns the group in the foreground of a process's terminal.
pub fn foreground(pid: u32) -> Option<u32> {
    system::process(pid)?.foreground
}

/// Returns a number that, together with the id, identifies a run of a program. `None` if the
/// process has ended or was stopped.
pub fn began(pid: u32) -> Option<u64> {
    let process = system::process(pid)?;
    (!process.stopped).then(|| process.run())
}

/// Returns when a process began, a second or two too early rather than too late. `None` if it has
/// ended, or if the system does not tell.
pub fn started_at(pid: u32) -> Option<jiff::Timestamp> {
    let began = system::process(pid)?.began;
    jiff::Timestamp::from_second(system::second(began)? - 2).ok()
}

/// Returns a number that, together with the id, identifies a run of a program, even if it was
/// stopped. `None` if it has ended.
pub fn run(pid: u32) -> Option<u64> {
    Some(system::process(pid)?.run())
}

/// Whether a process is still that run of a program. The two numbers are when it began, as the
/// system counts that, and where its stack begins. 0 means that the number was not known when it
/// was noted; then it matches anything.
pub fn is_run(pid: u32, (began, image): (u64, u64)) -> bool {
    let fits = |noted, found| noted == 0 || found == 0 || noted == found;
    system::process(pid)
        .is_some_and(|process| fits(began, process.began) && fits(image, process.image))
}

/// Returns the files that a process has open; none if the system does not tell.
pub fn open_files(pid: u32) -> Vec<PathBuf> {
    system::open_files(pid)
}

/// Whether a process exists and has not ended.
pub fn is_alive(pid: u32) -> bool {
    system::process(pid).is_some()
}

/// Returns how often a process has waited for something since it started. `None` if the system does
/// not tell. While the number stays the same, the process has done nothing.
pub fn waits(pid: u32) -> Option<u64> {
    system::waits(pid)
}

/// Returns the directory of a process as the system reports it, without looking at the file system.
/// `None` if it cannot be read. See [`directory_at`].
pub fn working_directory(pid: u32) -> Option<PathBuf> {
    system::working_directory(pid)
}

/// Returns what the system means by that directory of a process. Looks at the file system.
pub fn directory_at(path: PathBuf) -> Directory {
    system::directory_at(path)
}

/// Returns the directory of a process. Looks at the file system.
pub fn directory(pid: u32) -> Directory {
    working_directory(pid).map_or(Directory::Unreadable, directory_at)
}

/// Ends this process at once when the one that started it ends, if the system supports that.
pub fn end_with_parent() {
    system::end_with_parent();
}

/// Returns the variables `names` that a process was started with. What a shell has exported since
/// then is not included.
pub fn environment(pid: u32, names: &BTreeSet<String>) -> BTreeMap<String, String> {
    system::environment(pid, names)
}

/// Returns the file that a process runs, if it still exists.
pub fn executable(pid: u32) -> Option<PathBuf> {
    system::executable(pid)
}

/// Returns all variables that a process was started with.
pub fn whole_environment(pid: u32) -> BTreeMap<String, String> {
    system::whole_environment(pid)
}

/// Tells a process group to end. Returns whether there was such a group.
pub fn signal_group(group: u32, signal: EndSignal) -> bool {
    let signal = match signal {
        EndSignal::Terminate => rustix::process::Signal::TERM,
        EndSignal::Kill => rustix::process::Signal::KILL,
    };
    // 0 and 1 would mean our own group and everybody.
    let ours = rustix::process::getpgrp().as_raw_nonzero().get();
    i32::try_from(group)
        .ok()
        .filter(|&group| group > 1 && group != ours)
        .and_then(Pid::from_raw)
        .is_some_and(|group| kill_process_group(group, signal).is_ok())
}
