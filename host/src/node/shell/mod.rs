//! What a shell itself reports about its line: the integration that it loads, and the files through
//! which it and the daemon communicate.
//!
//! ```text
//! PID        the shell: whether its line editor reads a primary prompt, which one, the last status
//! PID.job    the daemon: the line to take up
//! PID.said   the shell: how it responded to the key
//! ```
//!
//! The key is atomic in the shell. At a primary prompt with an empty line, it takes up what is
//! offered; anywhere else in the line editor, it changes nothing and says why. What a person types
//! at that moment comes either before it or after it.

mod launch;

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::files::private;
use crate::model::session::Shell;
use crate::probe;

/// The key: a sequence that no keyboard sends. `ESC` comes first because the questions that
/// readline asks without its line editor ignore it.
pub(crate) const KEY: &[u8] = b"\x1b[9907~";

/// Stands for the directory of the shells' reports in the texts of the integration.
const DIRECTORY: &str = "@DIRECTORY@";

/// How much is read of such a file, in bytes; each is one short line.
const LONGEST: u64 = 256;

/// What a shell has last reported about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShellReport {
    /// Which shell it is. Another program may have taken over its process since.
    pub(crate) shell: Shell,
    /// Whether its line editor reads a primary prompt. bash reports when that begins but not when
    /// it ends; the terminal shows the end.
    pub(crate) at_prompt: bool,
    /// How many prompts it has drawn.
    pub(crate) prompts: u64,
}

/// How a shell has responded to the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShellAnswer {
    /// It takes up the job.
    Taken,
    /// There is something in its line.
    Draft,
    /// It is reading the rest of something unfinished, or asking for the input of a command.
    Unfinished,
    /// Nothing was offered any more when it looked.
    Nothing,
}

impl ShellAnswer {
    /// Returns why a job was not taken up, or `None` if it was.
    pub(crate) fn refusal(self) -> Option<&'static str> {
        match self {
            Self::Taken => None,
            Self::Draft => Some("its shell reports that its line is not empty"),
            Self::Unfinished => Some("its shell reports that it is not at a new prompt"),
            Self::Nothing => Some("its shell found no job to pick up"),
        }
    }
}

/// The directory in which this user's shells report. Without one, nothing is ever reported.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shells {
    directory: Option<PathBuf>,
}

impl Shells {
    /// Opens the directory. Every process of this user finds the same one, whatever its environment
    /// says.
    ///
    /// # Errors
    /// It cannot be created, it belongs to someone else, or others can write to it.
    pub fn open() -> io::Result<Self> {
        let user = rustix::process::getuid().as_raw();
        let parent = PathBuf::from(format!("/tmp/assigner-{user}"));
        let directory = parent.join("shells");
        for path in [&parent, &directory] {
            private::directory_among_others(path)?;
        }
        Ok(Self {
            directory: Some(directory),
        })
    }

    /// Where they report.
    pub(crate) fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// Returns what a shell of this kind loads to report on its line, or `None` if it has no line
    /// editor that could be asked.
    pub fn integration(&self, shell: Shell) -> Option<String> {
        let integration = shell.dialect().integration()?;
        let directory = self.directory.as_deref()?;
        let quoted = shell.dialect().quote(directory.into());
        Some(integration.text.replace(DIRECTORY, &quoted))
    }

    /// Writes the integration into a file of ours, from which jobs load it. Returns the file's
    /// path.
    ///
    /// # Errors
    /// The disk is full or the directory is gone.
    pub(crate) fn write_integration(&self, shell: Shell) -> io::Result<Option<PathBuf>> {
        let Some((text, directory)) = self.integration(shell).zip(self.directory.as_deref()) else {
            return Ok(None);
        };
        let path = directory.join(format!("integration.{}", shell.name()));
        if fs::read(&path).is_ok_and(|found| found == text.as_bytes()) {
            return Ok(Some(path));
        }
        write(&path, &text)?;
        Ok(Some(path))
    }

    /// Returns what a shell has reported about itself. Returns `None` if it never has, if its
    /// report is incomplete, or if another program that had this process or its id before wrote it.
    pub(crate) fn told(&self, pid: u32) -> Option<ShellReport> {
        let (told, which) = parse(&read(&self.file(pid, "")?)?)?;
        probe::is_run(pid, which).then_some(told)
    }

    /// Whether a shell reads a new line according to its last report, and is in the foreground
    /// itself rather than something that it called.
    pub(crate) fn reads(&self, pid: u32) -> bool {
        self.told(pid).is_some_and(|told| told.at_prompt) && probe::is_in_front(pid)
    }

    /// Offers a shell a line, which it takes when the key is pressed.
    ///
    /// # Errors
    /// The disk is full or the directory is gone. The key must not be pressed then.
    pub(crate) fn offer(&self, pid: u32, line: &str) -> io::Result<()> {
        self.forget(pid);
        let path = self.file(pid, ".job").ok_or(io::ErrorKind::NotFound)?;
        write(&path, &format!("{line}\n"))
    }

    /// Returns how a shell has responded since it was offered something.
    pub(crate) fn said(&self, pid: u32) -> Option<ShellAnswer> {
        match read(&self.file(pid, ".said")?)?.as_str() {
            "taken\n" => Some(ShellAnswer::Taken),
            "draft\n" => Some(ShellAnswer::Draft),
            "unfinished\n" => Some(ShellAnswer::Unfinished),
            "nothing\n" => Some(ShellAnswer::Nothing),
            _ => None,
        }
    }

    /// Takes back what was offered to a shell, and forgets its response.
    pub(crate) fn forget(&self, pid: u32) {
        for path in [".job", ".said", ".line"]
            .into_iter()
            .filter_map(|end| self.file(pid, end))
        {
            let _ = fs::remove_file(path);
        }
    }

    /// Removes the files of shells that are gone.
    pub(crate) fn sweep(&self, is_alive: impl Fn(u32) -> bool) {
        let entries = self.directory.as_deref().map(fs::read_dir);
        for entry in entries.into_iter().flatten().flatten().flatten() {
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.split('.').next());
            let pid = number.and_then(|number| number.parse().ok());
            if pid.is_some_and(|pid: u32| !is_alive(pid)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn file(&self, pid: u32, end: &str) -> Option<PathBuf> {
        let directory = self.directory.as_deref()?;
        Some(directory.join(format!("{pid}{end}")))
    }
}

/// Writes under another name and renames, so that no shell ever reads half of it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let aside = path.with_extension(format!("aside-{}", std::process::id()));
    let _ = fs::remove_file(&aside);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&aside)?;
    file.write_all(text.as_bytes())?;
    fs::rename(&aside, path)
}

/// Reads a short file of this directory, without following a link out of it.
fn read(path: &Path) -> Option<String> {
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
    let mut options = OpenOptions::new();
    let options = options.read(true).custom_flags(flags.cast_signed());
    let file = options.open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Returns the shell that reports under this name.
fn reporting(name: &str) -> Option<Shell> {
    let shell = Shell::from_program(name)?;
    shell.dialect().integration().and(Some(shell))
}

/// Returns what was reported, and by which run of a program; see [`probe::is_run`].
fn parse(text: &str) -> Option<(ShellReport, (u64, u64))> {
    let mut words = text.strip_suffix('\n')?.split(' ');
    let told = ShellReport {
        shell: reporting(words.next()?)?,
        at_prompt: match words.next()? {
            "prompt" => true,
            "run" => false,
            _ => return None,
        },
        prompts: words.next()?.parse().ok()?,
    };
    words.next()?.parse::<i32>().ok()?;
    let which = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    words.next().is_none().then_some((told, which))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_tells_is_read_whole_or_not_at_all() {
        let told = ShellReport {
            shell: Shell::Zsh,
            at_prompt: true,
            prompts: 12,
        };
        assert_eq!(parse("zsh prompt 12 0 7 8\n"), Some((told, (7, 8))));
        let runs = ShellReport {
            shell: Shell::Bash,
            at_prompt: false,
            prompts: 1,
        };
        assert_eq!(parse("bash run 1 130 0 0\n"), Some((runs, (0, 0))));
        for damaged in [
            "",
            "\n",
            "zsh prompt 12 0 7 8",
            "zsh prompt 12 0 7\n",
            "zsh prompt 12 0 7 8 9\n",
            "zsh prompt -1 0 7 8\n",
            "zsh prompt 12 x 7 8\n",
            "zsh prompt 12 0 x 8\n",
            "zsh prompt 12 0 7 x\n",
            "dash prompt 12 0 7 8\n",
            "zsh waits 12 0 7 8\n",
            "zsh  prompt 12 0 7 8\n",
        ] {
            assert_eq!(parse(damaged), None, "{damaged:?}");
        }
    }

    #[test]
    fn what_is_offered_is_one_line_and_what_was_said_before_is_forgotten() {
        let directory = tempfile::tempdir().expect("a directory");
        let shells = Shells {
            directory: Some(directory.path().to_owned()),
        };
        fs::write(shells.file(7, ".said").expect("a path"), "draft\n").expect("written");
        assert_eq!(shells.said(7), Some(ShellAnswer::Draft));
        shells.offer(7, " . /spool/1.run").expect("offered");
        assert_eq!(shells.said(7), None);
        let offered = fs::read_to_string(shells.file(7, ".job").expect("a path")).expect("read");
        assert_eq!(offered, " . /spool/1.run\n");
        shells.forget(7);
        assert!(!shells.file(7, ".job").expect("a path").exists());
    }

    #[test]
    fn nothing_is_read_through_a_link_or_from_what_is_no_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let shells = Shells {
            directory: Some(directory.path().to_owned()),
        };
        let (own, told) = (std::process::id(), "zsh prompt 12 0 0 0\n");
        fs::write(shells.file(own, "").expect("a path"), told).expect("written");
        assert!(shells.told(own).is_some());
        fs::remove_file(shells.file(own, "").expect("a path")).expect("removed");
        let elsewhere = directory.path().join("elsewhere");
        fs::write(&elsewhere, told).expect("written");
        std::os::unix::fs::symlink(&elsewhere, shells.file(own, "").expect("a path"))
            .expect("a link");
        assert_eq!(shells.told(own), None);
        fs::remove_file(shells.file(own, "").expect("a path")).expect("removed");
        fs::create_dir(shells.file(own, "").expect("a path")).expect("a directory");
        assert_eq!(shells.told(own), None);
        assert_eq!(shells.told(u32::MAX), None);
    }

    #[test]
    fn what_another_program_has_told_is_not_believed() {
        let directory = tempfile::tempdir().expect("a directory");
        let shells = Shells {
            directory: Some(directory.path().to_owned()),
        };
        let own = std::process::id();
        let told = |began: u64, image: u64| {
            let text = format!("zsh prompt 12 0 {began} {image}\n");
            fs::write(shells.file(own, "").expect("a path"), text).expect("written");
            shells.told(own).is_some()
        };
        assert!(told(0, 0));
        assert!(!told(1, 0));
        assert!(!told(1, 1));
        // The system may hide where a stack is.
        assert_eq!(told(0, 1), cfg!(not(target_os = "linux")));
    }

    #[test]
    fn what_shells_have_told_that_are_gone_is_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let shells = Shells {
            directory: Some(directory.path().to_owned()),
        };
        for name in ["7", "7.said", "8", "8.job", "integration.bash"] {
            fs::write(directory.path().join(name), "").expect("written");
        }
        shells.sweep(|pid| pid == 8);
        let names = ["7", "7.said", "8", "8.job", "integration.bash"];
        let left = names.map(|name| directory.path().join(name).exists());
        assert_eq!(left, [false, false, true, true, true]);
    }

    #[test]
    fn the_integration_names_its_directory_as_a_word_of_its_shell() {
        let shells = Shells {
            directory: Some("/tmp/it's here".into()),
        };
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = shells.integration(shell).expect("an integration");
            assert!(!text.contains(DIRECTORY));
            let quoted = shell.dialect().quote("/tmp/it's here".into());
            assert!(text.contains(&quoted));
        }
        assert_eq!(shells.integration(Shell::Dash), None);
    }
}
