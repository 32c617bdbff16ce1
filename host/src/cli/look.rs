//! `assigner look`: looks at directories for a command that must not be blocked by one.
//!
//! A process that hangs in a file system may not react to any signal, nor do its other threads. So
//! a command lets a separate process look, over two pipes, and abandons it if it hangs.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use super::exit::{CommandFailure, Exit};
use crate::probe;
use crate::probe::look::{DirectorySight, within_blocking};

/// How long a command waits for a directory: much longer than a network directory takes.
const WITHIN: Duration = Duration::from_secs(2);

/// Looks at the directories that come on standard input, each with a NUL after it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// The looking process: prints one line of JSON for each directory.
pub(super) fn run(_: &Args) -> Result<Exit, CommandFailure> {
    probe::end_with_parent();
    let mut output = io::stdout().lock();
    for path in io::stdin().lock().split(0) {
        let path = PathBuf::from(std::ffi::OsString::from_vec(path?));
        let mut line = serde_json::to_vec(&DirectorySight::of(&path)).map_err(io::Error::from)?;
        line.push(b'\n');
        output.write_all(&line)?;
        output.flush()?;
    }
    Ok(Exit::Done)
}

/// Returns what a look at a directory shows.
///
/// # Errors
/// The directory does not answer; the error is one line that names it.
pub(super) fn place(path: &Path) -> Result<DirectorySight, CommandFailure> {
    let mut looker = LOOKER.lock().unwrap_or_else(PoisonError::into_inner);
    let seen = match PROGRAM.get() {
        Some(program) => asked(&mut looker, program, path),
        None => {
            let looked = path.to_owned();
            Ok(within_blocking(path, WITHIN, move || {
                DirectorySight::of(&looked)
            }))
        }
    };
    let shown = path.display();
    match seen {
        Ok(Some(place)) => Ok(place),
        Ok(None) => Err(CommandFailure::new(
            Exit::Failed,
            format!(
                "the directory `{shown}` has not answered for {} s: is its file system there?",
                WITHIN.as_secs()
            ),
        )),
        Err(error) => Err(CommandFailure::new(
            Exit::Failed,
            format!("cannot look at the directory `{shown}`: {error}"),
        )),
    }
}

/// The same as [`place`]; an error is its line alone.
pub(super) fn sight(path: &Path) -> Result<DirectorySight, String> {
    place(path).map_err(|failure| failure.message)
}

/// Records which program this is, so that it can be started again to look.
pub(super) fn program_is(path: PathBuf) {
    let _ = PROGRAM.set(path);
}

/// Set by the program itself; empty in another program that uses this crate.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// The process that looks, started for the first directory.
static LOOKER: Mutex<Option<Looker>> = Mutex::new(None);

struct Looker {
    child: Child,
    input: ChildStdin,
    answers: Receiver<io::Result<DirectorySight>>,
}

/// Asks the other process; `None` if it has not answered in time and was abandoned.
fn asked(
    looker: &mut Option<Looker>,
    program: &Path,
    path: &Path,
) -> io::Result<Option<DirectorySight>> {
    let asked = match looker {
        Some(looker) => looker,
        None => looker.insert(Looker::start(program)?),
    };
    let answer = asked.ask(path);
    if !matches!(answer, Ok(Some(_)))
        && let Some(mut left) = looker.take()
    {
        // Do not wait for it: it may never end.
        let _ = left.child.kill();
    }
    answer
}

impl Looker {
    fn start(program: &Path) -> io::Result<Self> {
        let mut child = Command::new(program)
            .arg("look")
            // It may outlive us, so it must not hold anything that others wait for.
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let input = child.stdin.take().ok_or_else(gone)?;
        let output = child.stdout.take().ok_or_else(gone)?;
        let (tell, answers) = mpsc::channel();
        // This thread waits on a pipe, and a pipe never keeps a process from ending.
        thread::Builder::new().spawn(move || {
            for line in BufReader::new(output).lines() {
                let place = line.and_then(|line| Ok(serde_json::from_str(&line)?));
                if tell.send(place).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self {
            child,
            input,
            answers,
        })
    }

    fn ask(&mut self, path: &Path) -> io::Result<Option<DirectorySight>> {
        self.input.write_all(path.as_os_str().as_bytes())?;
        self.input.write_all(&[0])?;
        match self.answers.recv_timeout(WITHIN) {
            Ok(place) => place.map(Some),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
