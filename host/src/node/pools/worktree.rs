//! Worktrees for sessions of pools, created and removed by `git` itself, alongside the rounds. What
//! is not kept anywhere else is never removed.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::probe;

/// How long `git` may take; a large tree takes a while to write.
const WITHIN: Duration = Duration::from_secs(120);

/// How long to wait for the program in a worktree to end before the worktree is removed.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// How often that is checked.
const LOOK: Duration = Duration::from_millis(50);

/// How much of `git`'s output is read, in bytes.
const LONGEST: u64 = 64 << 10;

/// Creates a worktree at the commit of `branch`, or else at that of the repository's HEAD, and
/// returns in words where it is. The worktree is on no branch, because a branch that is checked out
/// elsewhere could not be checked out here.
///
/// # Errors
/// What `git` said.
pub(super) async fn add(
    repository: &Path,
    path: &Path,
    branch: Option<&str>,
) -> Result<String, String> {
    let mut stands = "at HEAD".to_owned();
    let mut commit = None;
    if let Some(branch) = branch {
        commit = resolve(repository, branch).await;
        stands = match commit {
            Some(_) => format!("at {branch}"),
            None => format!("at HEAD, because there is no {branch}"),
        };
    }
    let commit = match commit {
        Some(commit) => commit,
        None => resolve(repository, "HEAD").await.ok_or_else(|| {
            let shown = repository.display();
            format!("`{shown}` is not a git repository with a commit")
        })?,
    };
    let mut command = git(repository);
    command
        .args(["worktree", "add", "--detach"])
        .arg(path)
        .arg(commit);
    run(command).await?;
    Ok(stands)
}

/// Returns the commit of a branch. A name that is an option or contains control characters has
/// none.
async fn resolve(repository: &Path, name: &str) -> Option<String> {
    if name.is_empty() || name.starts_with('-') || name.contains(char::is_control) {
        return None;
    }
    let mut command = git(repository);
    command.args(["rev-parse", "--verify", "--quiet", "--end-of-options"]);
    command.arg(format!("{name}^{{commit}}"));
    let commit = run(command).await.ok()?.trim().to_owned();
    let hex = commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    (hex && commit.len() >= 40).then_some(commit)
}

/// Removes a worktree if nothing would be lost. `pid` is the process that ran there, which must
/// have ended.
///
/// # Errors
/// Why it stays.
pub(super) async fn remove(repository: &Path, path: &Path, pid: Option<u32>) -> Result<(), String> {
    if let Some(pid) = pid {
        let mut waited = Duration::ZERO;
        while probe::is_alive(pid) {
            if waited >= ENDS_WITHIN {
                return Err("the program that ran there has not ended".to_owned());
            }
            tokio::time::sleep(LOOK).await;
            waited += LOOK;
        }
    }
    // `git` looks only at files, but commits that are on no branch would be as good as lost.
    let mut command = git(path);
    command.args(["for-each-ref", "--count=1", "--contains", "HEAD"]);
    match run(command).await {
        Ok(held) if held.trim().is_empty() => {
            return Err("it has commits that are on no branch".to_owned());
        }
        Ok(_) => {}
        Err(why) => return Err(why),
    }
    // Files that the person's configuration hides would be lost as well.
    let mut command = git(path);
    command.args([
        "status",
        "--porcelain",
        "--untracked-files=all",
        "--ignored=traditional",
    ]);
    if !run(command).await?.trim().is_empty() {
        return Err("it has files that are not committed".to_owned());
    }
    let mut command = git(repository);
    command.args(["-c", "status.showUntrackedFiles=all"]);
    // Without `--force`, it removes nothing that was changed or added.
    command.args(["worktree", "remove"]).arg(path);
    match run(command).await {
        Ok(_) => Ok(()),
        Err(why) if why.contains("modified or untracked") => {
            Err("it has changes that are not committed".to_owned())
        }
        Err(why) => Err(why),
    }
}

fn git(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .arg("-C")
        .arg(directory)
        // These may refer to another repository.
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .env_remove("GIT_COMMON_DIR")
        // Its messages are parsed, and nobody is there to answer questions.
        .env("LC_ALL", "C")
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs `git` and returns what it printed, or the last line of its error output.
async fn run(mut command: Command) -> Result<String, String> {
    let mut child = command
        .spawn()
        .map_err(|error| format!("git cannot be run: {error}"))?;
    let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
        return Err("git's output cannot be read".to_owned());
    };
    let work = async {
        let (mut printed, mut complained) = (Vec::new(), Vec::new());
        let (mut output, mut errors) = (output.take(LONGEST), errors.take(LONGEST));
        tokio::try_join!(
            output.read_to_end(&mut printed),
            errors.read_to_end(&mut complained)
        )?;
        // Nobody reads any further output.
        drop((output, errors));
        Ok::<_, std::io::Error>((child.wait().await?, printed, complained))
    };
    let ended = tokio::time::timeout(WITHIN, work).await;
    let (status, printed, complained) = ended
        .map_err(|_| format!("git took longer than {} s", WITHIN.as_secs()))?
        .map_err(|error| format!("git's output cannot be read: {error}"))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&printed).into_owned());
    }
    let complained = String::from_utf8_lossy(&complained);
    let last = complained
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty());
    let said = last.unwrap_or("it failed and did not say why");
    Err(format!("git: {}", said.trim()))
}
