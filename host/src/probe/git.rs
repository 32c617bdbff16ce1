//! The branch that a directory is on: what `git` says there, cached until something that the answer
//! came from has changed.
//!
//! `git` takes a millisecond or two, and a round asks about every session. The sources of its
//! answer can be read again in microseconds: each `.git` on the way up, HEAD and what it refers to,
//! the configuration. These files are compared but never interpreted: a cached answer can be old,
//! but it can never differ from what `git` said.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

/// How much of a file, or of the output of `git`, is read.
const LONGEST: u64 = 4096;

/// How long `git` may take to report a branch.
const GIT_WITHIN: Duration = Duration::from_secs(3);

/// How long an answer is kept at most. Changes in something that is not compared, such as a file
/// that the configuration includes or a mount, show up after this time.
const KEPT_FOR: Duration = Duration::from_secs(600);

/// How long a refusal of `git` is kept: nothing of that repository is known that could be compared.
const REFUSAL_KEPT_FOR: Duration = Duration::from_secs(5);

/// The maximum number of answers that are kept.
const MOST_KEPT: usize = 4096;

/// The maximum number of references that are followed, the same as in `git`.
const MOST_REFERENCES: usize = 5;

/// Variables that make `git` look elsewhere than in the directory and above it. They are removed,
/// because the branch belongs to the directory: a session, its shell and the daemon may each have
/// other values.
pub const REDIRECTING: [&str; 9] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_NAMESPACE",
    "GIT_CEILING_DIRECTORIES",
    "GIT_DISCOVERY_ACROSS_FILESYSTEM",
    "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_COUNT",
];

/// What is checked out in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// The branch, or the first seven digits of the commit if there is none. A reference that is
    /// not a branch is given in full.
    pub branch: String,
    /// The repository's own directory, the same in all of its worktrees.
    pub repository: PathBuf,
}

/// Returns the branch that is checked out where `directory` is, as in [`Checkout::branch`]. `None`
/// if the directory is not in a repository.
///
/// # Errors
/// The same as those of [`checkout`].
pub fn branch(directory: &Path) -> Result<Option<String>, String> {
    Ok(checkout(directory)?.map(|checkout| checkout.branch))
}

/// Returns what is checked out where `directory` is. `None` if it is not in a repository.
///
/// # Errors
/// Why that is not known, in one line: `git` is missing, does not answer within seconds, or
/// refuses.
pub fn checkout(directory: &Path) -> Result<Option<Checkout>, String> {
    let directory = canonical(directory)?;
    let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let known = kept.get(&directory).cloned();
    drop(kept);
    if let Some(known) = known
        && Instant::now() < known.until
        && known.sources.iter().all(AnswerSource::stands)
    {
        return known.answer;
    }
    ask_and_keep(directory)
}

/// Does the same as [`branch`], but always asks `git`.
///
/// # Errors
/// The same as those of [`checkout`].
pub fn branch_now(directory: &Path) -> Result<Option<String>, String> {
    let checkout = ask_and_keep(canonical(directory)?)?;
    Ok(checkout.map(|checkout| checkout.branch))
}

fn canonical(directory: &Path) -> Result<PathBuf, String> {
    directory
        .canonicalize()
        .map_err(|error| format!("cannot look at `{}`: {error}", directory.display()))
}

fn ask_and_keep(directory: PathBuf) -> CheckoutAnswer {
    let (answer, sources) = ask(&directory);
    let kept_for = if answer.is_ok() {
        KEPT_FOR
    } else {
        REFUSAL_KEPT_FOR
    };
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() >= MOST_KEPT {
        kept.clear();
    }
    if let Some(sources) = sources {
        let known = KnownCheckout {
            until: Instant::now() + kept_for,
            sources,
            answer: answer.clone(),
        };
        kept.insert(directory, known);
    } else {
        kept.remove(&directory);
    }
    answer
}

/// What is known about a directory, or why nothing is.
type CheckoutAnswer = Result<Option<Checkout>, String>;

/// The answers of `git`, by directory.
static KEPT: LazyLock<Mutex<HashMap<PathBuf, KnownCheckout>>> = LazyLock::new(Mutex::default);

#[derive(Debug, Clone)]
struct KnownCheckout {
    until: Instant,
    sources: Vec<AnswerSource>,
    answer: CheckoutAnswer,
}

/// Asks `git`, and notes the sources of its answer. `None` if the answer cannot be kept.
fn ask(directory: &Path) -> (CheckoutAnswer, Option<Vec<AnswerSource>>) {
    // Noted before `git` reads them: anything that changes meanwhile then differs from the note.
    let mut sources = above(directory);
    let places = match git(
        directory,
        &["rev-parse", "--absolute-git-dir", "--git-common-dir"],
    ) {
        Ok(GitAnswer::Answer(places)) => places,
        Ok(GitAnswer::Refused(why)) if why.contains("not a git repository (or any") => {
            return (Ok(None), Some(sources));
        }
        Ok(GitAnswer::Refused(why)) => return (Err(format!("git says: {why}")), Some(sources)),
        Ok(GitAnswer::Nothing) => return (Err("git says nothing".to_owned()), Some(sources)),
        Err(error) => return (Err(error), Some(sources)),
    };
    let places: Vec<PathBuf> = places
        .split(|&byte| byte == b'\n')
        .map(|line| directory.join(OsString::from_vec(line.to_vec())))
        .collect();
    let (sources, repository) = if let [repository, common] = &places[..] {
        sources.extend(of_repository(repository, common));
        (Some(sources), home_of(common))
    } else {
        // A name contains a newline.
        (None, directory.to_owned())
    };
    let checkout = checked_out(directory).map(|branch| Some(Checkout { branch, repository }));
    (checkout, sources)
}

/// Returns the home directory of a repository: unless it is bare, that is its first worktree.
fn home_of(common: &Path) -> PathBuf {
    let common = common.canonicalize().unwrap_or_else(|_| common.to_owned());
    match common.parent() {
        Some(parent) if common.ends_with(".git") => parent.to_owned(),
        _ => common,
    }
}

/// Asks `git` for the branch in a repository.
fn checked_out(directory: &Path) -> Result<String, String> {
    match git(directory, &["symbolic-ref", "--quiet", "HEAD"])? {
        GitAnswer::Answer(reference) => {
            let reference = String::from_utf8(reference)
                .map_err(|_| "the name of the branch is not UTF-8".to_owned())?;
            let branch = reference.strip_prefix("refs/heads/");
            Ok(branch.unwrap_or(&reference).to_owned())
        }
        GitAnswer::Refused(why) => Err(format!("git says: {why}")),
        GitAnswer::Nothing => {
            let commit = match git(directory, &["rev-parse", "--verify", "--quiet", "HEAD"])? {
                GitAnswer::Answer(commit) => String::from_utf8(commit).unwrap_or_default(),
                GitAnswer::Refused(why) => return Err(format!("git says: {why}")),
                GitAnswer::Nothing => return Err("git reports no commit here".to_owned()),
            };
            let short = commit.get(..7).map(str::to_owned);
            short.ok_or_else(|| "git reports no commit here".to_owned())
        }
    }
}

/// A file that an answer of `git` came from, as it was then.
#[derive(Debug, Clone, PartialEq, Eq)]
struct AnswerSource {
    path: PathBuf,
    part: FilePart,
    was: Was,
}

/// The aspect of a file that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FilePart {
    /// Its content, or that it is a directory.
    Text,
    /// When it was written.
    Stamp,
    /// What a reference refers to, but not which commit it is at.
    Reference,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Was {
    Absent,
    /// Its content, mode and owner.
    Text(Vec<u8>, u32, u32),
    Commit,
    Directory(FileIdentity),
    Other(FileIdentity, [i64; 5]),
}

/// The device, inode, mode and owner of a file, and whether it is a link.
type FileIdentity = (u64, u64, u32, u32, bool);

impl AnswerSource {
    fn new(path: PathBuf, part: FilePart) -> Self {
        let was = Was::of(&path, part);
        Self { path, part, was }
    }

    fn stands(&self) -> bool {
        Was::of(&self.path, self.part) == self.was
    }
}

impl Was {
    fn of(path: &Path, part: FilePart) -> Self {
        let Ok(own) = path.symlink_metadata() else {
            return Self::Absent;
        };
        let is_link = own.is_symlink();
        let found = if is_link {
            path.metadata().unwrap_or(own)
        } else {
            own
        };
        let id = (found.dev(), found.ino(), found.mode(), found.uid(), is_link);
        if found.is_dir() {
            return Self::Directory(id);
        }
        let text = (part != FilePart::Stamp && found.is_file())
            .then(|| read(path))
            .flatten();
        match text {
            Some(text) if part == FilePart::Reference && is_commit(&text) => Self::Commit,
            // The target of a link can matter.
            Some(text) if !is_link => Self::Text(text, found.mode(), found.uid()),
            _ => Self::Other(id, times(&found)),
        }
    }
}

/// Whether this is a reference as `git` writes it: other content can make it refuse.
fn is_commit(text: &[u8]) -> bool {
    let digits = text.trim_ascii_end();
    matches!(digits.len(), 40 | 64) && digits.iter().all(u8::is_ascii_hexdigit)
}

fn times(found: &Metadata) -> [i64; 5] {
    let size = i64::try_from(found.size()).unwrap_or(i64::MAX);
    [
        found.mtime(),
        found.mtime_nsec(),
        found.ctime(),
        found.ctime_nsec(),
        size,
    ]
}

/// Returns what decides which repository a directory is in. A directory without `.git` may be a
/// bare repository. One with `.git` counts depending on its owner and on whether the repository is
/// complete.
fn above(directory: &Path) -> Vec<AnswerSource> {
    let mut sources = Vec::new();
    for place in directory.ancestors() {
        let dot = AnswerSource::new(place.join(".git"), FilePart::Text);
        let head = AnswerSource::new(place.join("HEAD"), FilePart::Stamp);
        if dot.was != Was::Absent {
            sources.push(AnswerSource::new(place.to_owned(), FilePart::Stamp));
            sources.extend(whole(&dot.path));
        }
        if head.was != Was::Absent {
            sources.extend(whole(place));
        }
        sources.push(dot);
        sources.push(head);
    }
    sources
}

/// Returns the files by which `git` recognises a repository.
fn whole(repository: &Path) -> impl Iterator<Item = AnswerSource> + '_ {
    ["HEAD", "objects", "refs", "commondir", "config"]
        .into_iter()
        .map(|name| AnswerSource::new(repository.join(name), FilePart::Stamp))
}

/// Returns what decides the branch in a repository.
fn of_repository(repository: &Path, common: &Path) -> Vec<AnswerSource> {
    let mut sources = Vec::new();
    let mut note = |path: PathBuf, part| {
        let source = AnswerSource::new(path, part);
        let was = source.was.clone();
        sources.push(source);
        was
    };
    for path in [repository, common] {
        note(path.to_owned(), FilePart::Stamp);
    }
    for name in ["objects", "refs", "config", "reftable/tables.list"] {
        note(common.join(name), FilePart::Stamp);
    }
    for name in ["commondir", "config.worktree", "reftable/tables.list"] {
        note(repository.join(name), FilePart::Stamp);
    }
    for path in person_configures() {
        note(path, FilePart::Stamp);
    }
    let head = repository.join("HEAD");
    let mut says = note(head.clone(), FilePart::Text);
    // In an old form, HEAD is a link that names a reference and need not lead to a file.
    let mut named = head.read_link().ok().map(PathBuf::into_os_string);
    for _ in 0..MOST_REFERENCES {
        let name = named.take().or_else(|| {
            let Was::Text(text, ..) = &says else {
                return None;
            };
            let reference = text.strip_prefix(b"ref:")?;
            Some(OsString::from_vec(reference.trim_ascii().to_vec()))
        });
        let Some(name) = name else {
            break;
        };
        let of_worktree = note(repository.join(&name), FilePart::Reference);
        says = match of_worktree {
            Was::Text(..) => of_worktree,
            _ => note(common.join(&name), FilePart::Reference),
        };
    }
    sources
}

/// Returns the configuration files that count in every repository.
fn person_configures() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let config = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(home.as_ref()?.join(".config")));
    let global = std::env::var_os("GIT_CONFIG_GLOBAL").map(PathBuf::from);
    [
        global,
        home.map(|home| home.join(".gitconfig")),
        config.map(|config| config.join("git/config")),
        Some(PathBuf::from("/etc/gitconfig")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Reads the beginning of a regular file; never waits for a device or a pipe.
fn read(path: &Path) -> Option<Vec<u8>> {
    let file: File = OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).ok()?)
        .open(path)
        .ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text).ok()?;
    Some(text)
}

/// An answer of `git`.
enum GitAnswer {
    Answer(Vec<u8>),
    /// It has no answer, as with `--quiet`.
    Nothing,
    /// It failed, with this message on one line.
    Refused(String),
}

fn git(directory: &Path, question: &[&str]) -> Result<GitAnswer, String> {
    let mut command = Command::new("git");
    command.current_dir(directory).args(question);
    for name in REDIRECTING {
        command.env_remove(name);
    }
    command.env("LC_ALL", "C").env("GIT_OPTIONAL_LOCKS", "0");
    match answer(&mut command, GIT_WITHIN) {
        Ok((status, mut told, _)) if status.success() => {
            told.truncate(told.trim_ascii_end().len());
            Ok(GitAnswer::Answer(told))
        }
        Ok((status, told, _)) if status.code() == Some(1) && told.is_empty() => {
            Ok(GitAnswer::Nothing)
        }
        Ok((_, _, why)) => {
            let why = String::from_utf8_lossy(&why);
            // Warnings and traces may come before it.
            let fatal = why.lines().find_map(|line| line.strip_prefix("fatal: "));
            let line = fatal.or_else(|| why.lines().find(|line| !line.trim().is_empty()));
            Ok(GitAnswer::Refused(
                line.unwrap_or_default().trim().to_owned(),
            ))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err("git is not installed".to_owned())
        }
        Err(error) => Err(format!("cannot ask git: {error}")),
    }
}

/// Runs a command that reads nothing, and returns its exit status and the beginnings of its two
/// outputs. It is killed if that takes longer than `limit`.
fn answer(command: &mut Command, limit: Duration) -> io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
    let deadline = Instant::now() + limit;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
    let mut end = || {
        let told = read_until(child.stdout.take().ok_or_else(gone)?, deadline)?;
        let why = read_until(child.stderr.take().ok_or_else(gone)?, deadline)?;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok((status, told, why));
            }
            if Instant::now() >= deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            // Both of its outputs are closed: it is about to end.
            thread::sleep(Duration::from_micros(100));
        }
    };
    let ended = end();
    if ended.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    ended
}

/// Reads a pipe to its end and keeps the beginning.
fn read_until(mut pipe: impl Read + std::os::fd::AsFd, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let mut part = [0; 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = rustix::event::Timespec::try_from(left).map_err(io::Error::other)?;
        let mut fds = [PollFd::new(&pipe, PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&left)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => {}
            // A signal to this process, such as for the end of a child, says nothing about the
            // pipe.
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        match pipe.read(&mut part) {
            Ok(0) => return Ok(kept),
            Ok(more) if (kept.len() as u64) < LONGEST => kept.extend_from_slice(&part[..more]),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(any(test, fuzzing))]
#[path = "../../../tests/fuzz/targets/git.rs"]
pub(crate) mod fuzz;

#[cfg(test)]
#[path = "git_tests.rs"]
mod tests;
