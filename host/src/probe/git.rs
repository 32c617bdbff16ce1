//! The branch that a directory is on, read from the repository's files: tens of microseconds,
//! where starting `git` takes a thousand.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// How much of a file is read: a reference is one line.
const LONGEST: u64 = 4096;

/// What HEAD says in a repository that keeps its references in tables.
const IN_TABLES: &str = ".invalid";

/// How long `git` may take to tell a branch.
const GIT_WITHIN: Duration = Duration::from_secs(1);

/// Returns the branch that is checked out where `directory` is, or the first seven digits of the
/// commit where none is; `None`: it is in no repository, or that cannot be read.
///
/// Worktrees and submodules, whose `.git` is a file, count as they should.
pub fn branch(directory: &Path) -> Option<String> {
    let (place, git) = directory.ancestors().find_map(|place| {
        let git = place.join(".git");
        let found = fs::metadata(&git).ok()?;
        let git = if found.is_dir() {
            git
        } else {
            place.join(read(&git)?.strip_prefix("gitdir:")?.trim())
        };
        Some((place, git))
    })?;
    let head = read(&git.join("HEAD"))?;
    let head = head.trim();
    let Some(reference) = head.strip_prefix("ref:").map(str::trim) else {
        let commit = head.get(..7)?;
        let valid = head.len() >= 40 && head.bytes().all(|byte| byte.is_ascii_hexdigit());
        return valid.then(|| commit.to_owned());
    };
    let branch = reference.strip_prefix("refs/heads/").unwrap_or(reference);
    if branch == IN_TABLES {
        return branch_in_tables(place, &git);
    }
    Some(branch.to_owned())
}

/// Reads a short regular file; a device or a pipe is never waited for.
fn read(path: &Path) -> Option<String> {
    let file: File = OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).ok()?)
        .open(path)
        .ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Answers of `git`, by repository, good while its list of tables stands as it was.
static ANSWERS: LazyLock<Mutex<HashMap<PathBuf, Answer>>> = LazyLock::new(Mutex::default);

/// When the list of tables was written, and the branch then.
type Answer = (SystemTime, Option<String>);

fn branch_in_tables(place: &Path, git: &Path) -> Option<String> {
    let changed = fs::metadata(git.join("reftable/tables.list"))
        .and_then(|list| list.modified())
        .ok()?;
    let mut answers = ANSWERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((when, branch)) = answers.get(git)
        && *when == changed
    {
        return branch.clone();
    }
    let branch = ask_git(place, &["symbolic-ref", "--short", "--quiet", "HEAD"])
        .or_else(|| ask_git(place, &["rev-parse", "--short=7", "HEAD"]));
    answers.insert(git.to_owned(), (changed, branch.clone()));
    branch
}

fn ask_git(place: &Path, question: &[&str]) -> Option<String> {
    let mut child = Command::new("git")
        .arg("-C")
        .arg(place)
        .args(question)
        // Another repository may be meant by these.
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let deadline = Instant::now() + GIT_WITHIN;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    };
    let mut answer = String::new();
    child
        .stdout?
        .take(LONGEST)
        .read_to_string(&mut answer)
        .ok()?;
    let answer = answer.trim();
    (status.success() && !answer.is_empty()).then(|| answer.to_owned())
}
