//! The directory that holds jobs and through which they report their end: names, the claim, and
//! reading back.
//!
//! One flat directory, so that a single watch sees every end. The files of an attempt share its
//! number: `17.run` is sourced, `17.claim` is the lock, and `17.step`, `17.exit`, `17.out` and
//! `17.done` are what comes back.

#[cfg(test)]
mod failing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::files::private;
use crate::model::ids::{AttemptId, Identity};
use crate::model::session::Shell;
use crate::model::task::is_variable_name;

use super::post::{self, ReaderPost};
use super::script::{self, Keep, ScriptPlan, ScriptStep};

/// The spool directory of a data directory.
#[derive(Debug, Clone)]
pub struct Spool {
    directory: PathBuf,
}

/// The names of one attempt's files.
#[derive(Debug, Clone)]
pub(crate) struct JobFiles {
    stem: PathBuf,
}

/// What the reader of a pane's output reports when it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Captured {
    /// How many bytes the command printed; this may be more than the file holds.
    pub(crate) total: u64,
    /// Where it ended. Readers of earlier versions leave it out.
    #[serde(default)]
    pub(crate) end: CaptureEnd,
}

/// Where the reader of a pane's output ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CaptureEnd {
    /// At the mark that the job prints at its end.
    #[default]
    Job,
    /// Before it: its pipe was closed, or its pane is gone.
    Pipe,
    /// Before it, because we have closed the pipe of a job that ended without its mark.
    ClosedByUs,
}

/// Who has a job, as its claim file shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// No one has it yet.
    No,
    /// The shell has taken it up.
    ByShell,
    /// It was withdrawn; no shell can run it any more.
    Withdrawn,
}

/// How much is read of what a shell exports, in bytes. Systems limit it to a few megabytes.
const LONGEST_ENVIRONMENT: u64 = 16 << 20;

/// What the names of a question's files begin with.
pub(crate) const QUESTION: &str = "ask-";

/// What the engine writes into the claim file; a shell leaves it empty.
const WITHDRAWN: &[u8] = b"withdrawn\n";

/// How long the claim of a withdrawn job is kept: far longer than any shell takes between reading a
/// script and running its first line, even on a machine that is suspended.
const TOMBSTONE: Duration = Duration::from_secs(24 * 60 * 60);

impl Spool {
    /// Opens the spool directory in `data`, and creates it if it is missing.
    ///
    /// # Errors
    /// The directory cannot be created.
    pub fn open(data: &Path) -> io::Result<Self> {
        let directory = data.join("spool");
        private::directory(&directory)?;
        Ok(Self { directory })
    }

    /// The directory to watch.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Wakes a watching daemon because something was queued or requested. It is no error if none
    /// runs.
    pub fn nudge(&self) {
        // The daemon also polls, so a nudge that fails costs only a quarter of a second.
        let _ = write_private(&self.directory.join("nudge"), "");
    }

    /// Returns where the reader of a pane's output waits.
    pub(crate) fn post(&self, identity: &Identity) -> ReaderPost {
        ReaderPost::of(&self.directory, identity)
    }

    /// Returns the names of an attempt's files.
    pub(crate) fn files(&self, attempt: AttemptId) -> JobFiles {
        JobFiles {
            stem: self.directory.join(attempt.to_string()),
        }
    }

    /// Writes the files of a job.
    ///
    /// # Errors
    /// The disk is full or the directory is gone. Nothing may be typed then.
    pub(crate) fn write_job(
        &self,
        attempt: AttemptId,
        plan: &ScriptPlan<'_>,
    ) -> io::Result<JobFiles> {
        let task = plan.task;
        let files = self.files(attempt);
        private::directory(&self.directory)?;
        // A restored database may give out a number again, and must not find old files.
        self.remove_where(|found, _| found == attempt);
        for (index, prerequisite) in task.metadata.prerequisites.iter().enumerate() {
            write_private(&files.prerequisite(index), &piece(prerequisite))?;
        }
        write_private(&files.command(), &piece(plan.command))?;
        if let Some(prompt) = plan.prompt {
            write_private(&files.prompt(), prompt)?;
            write_private(&files.response(), "")?;
            write_private(&files.directory(), "")?;
        }
        if !plan.secrets.is_empty() {
            write_private(&files.secrets(), &plan.shell.dialect().secrets(plan))?;
        }
        if plan.keep == Keep::File {
            // Created up front: its presence shows that there is no reader to wait for.
            write_private(&files.raw_output(), "")?;
        }
        write_private(&files.script(), &script::script(plan, &files))?;
        Ok(files)
    }

    /// Writes a script that makes a shell report what it exports. Returns the question's number and
    /// the path of the script.
    ///
    /// # Errors
    /// The disk is full or the directory is gone. Nothing may be typed then.
    pub(crate) fn write_question(&self, shell: Shell) -> io::Result<(u64, PathBuf)> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let question = NEXT.fetch_add(1, Ordering::Relaxed);
        let files = self.question(question);
        self.forget_question(question);
        let script = files.script();
        write_private(&script, &shell.dialect().question(&files))?;
        Ok((question, script))
    }

    /// Returns what a shell has answered, or `None` if it has not answered yet.
    pub(crate) fn answer(&self, question: u64) -> Option<BTreeMap<String, String>> {
        let files = self.question(question);
        files.exit_code()?;
        // A shell that could not list its variables has answered, too: with nothing.
        Some(files.environment_after().unwrap_or_default())
    }

    /// Removes a question's files.
    pub(crate) fn forget_question(&self, question: u64) {
        let files = self.question(question);
        for path in [files.script(), files.after(), files.exit()] {
            let _ = fs::remove_file(path);
        }
    }

    /// Removes what readers have left that have died.
    pub(crate) fn forget_readers(&self) {
        post::sweep(&self.directory);
    }

    /// Removes the questions that an earlier engine has left.
    pub(crate) fn forget_questions(&self) {
        for entry in fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.starts_with(QUESTION)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn question(&self, question: u64) -> JobFiles {
        JobFiles {
            stem: self
                .directory
                .join(format!("{QUESTION}{}-{question}", std::process::id())),
        }
    }

    /// Removes the files of all attempts but `open`.
    pub(crate) fn sweep(&self, open: &[AttemptId]) {
        self.remove_where(|attempt, path| !open.contains(&attempt) && !is_tombstone(path));
    }

    /// Returns the last attempt of which anything is here.
    pub fn last_attempt(&self) -> Option<AttemptId> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten();
        let names = entries.flatten().map(|entry| entry.file_name());
        let attempts = names.filter_map(|name| attempt_of(name.to_str()?));
        attempts.max()
    }

    /// Returns what a running job has printed so far.
    pub fn live_output(&self, attempt: AttemptId) -> Option<Vec<u8>> {
        let files = self.files(attempt);
        fs::read(files.output())
            .or_else(|_| fs::read(files.raw_output()))
            .ok()
    }

    /// Returns what a running job has printed since the first `from` bytes, at most `most` of it, and
    /// where it begins: at 0 if what was printed before has been put aside. `None`: there is nothing yet,
    /// or its pane is read by another.
    pub(crate) fn printed_since(
        &self,
        attempt: AttemptId,
        from: u64,
        most: u64,
    ) -> Option<(u64, Vec<u8>)> {
        let mut file = File::open(self.files(attempt).output()).ok()?;
        let from = match file.metadata().ok()?.len() {
            length if length < from => 0,
            _ => from,
        };
        file.seek(SeekFrom::Start(from)).ok()?;
        let mut piece = Vec::new();
        file.take(most).read_to_end(&mut piece).ok()?;
        Some((from, piece))
    }

    /// Removes an attempt's files. If it was withdrawn, the claim stays for a day: a shell that had
    /// already read the script must still lose.
    pub(crate) fn remove(&self, attempt: AttemptId) {
        self.remove_where(|found, path| found == attempt && !is_tombstone(path));
    }

    /// Does the same, but keeps the file in which the shell reports its variables: it is written
    /// last, and read when the shell is back at its prompt.
    pub(crate) fn remove_job(&self, attempt: AttemptId) {
        let told = self.files(attempt).after();
        self.remove_where(|found, path| found == attempt && !is_tombstone(path) && path != told);
    }

    /// Removes what a shell has reported about its variables after a job.
    pub(crate) fn remove_told(&self, attempt: AttemptId) {
        let _ = fs::remove_file(self.files(attempt).after());
    }

    fn remove_where(&self, unwanted: impl Fn(AttemptId, &Path) -> bool) {
        let Ok(entries) = fs::read_dir(&self.directory) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let attempt = name.to_str().and_then(attempt_of);
            if attempt.is_some_and(|attempt| unwanted(attempt, &entry.path())) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Returns the attempt to which a file belongs.
fn attempt_of(name: &str) -> Option<AttemptId> {
    let (number, _) = name.split_once('.')?;
    number.parse().ok().map(AttemptId)
}

/// Whether a file is the claim of a job that was withdrawn less than a day ago.
fn is_tombstone(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "claim")
        && fs::read(path).is_ok_and(|content| content == WITHDRAWN)
        && fs::metadata(path)
            .and_then(|claim| claim.modified())
            .is_ok_and(|then| then.elapsed().is_ok_and(|age| age < TOMBSTONE))
}

impl JobFiles {
    pub(crate) fn script(&self) -> PathBuf {
        self.with("run")
    }

    pub(crate) fn command(&self) -> PathBuf {
        self.with("cmd")
    }

    /// What a headless agent reads.
    pub(crate) fn prompt(&self) -> PathBuf {
        self.with("prompt")
    }

    /// Where it runs.
    pub(crate) fn directory(&self) -> PathBuf {
        self.with("directory")
    }

    /// What it prints.
    pub(crate) fn response(&self) -> PathBuf {
        self.with("response")
    }

    pub(crate) fn prerequisite(&self, index: usize) -> PathBuf {
        self.with(&format!("pre{index}"))
    }

    pub(crate) fn claim(&self) -> PathBuf {
        self.with("claim")
    }

    pub(crate) fn step(&self) -> PathBuf {
        self.with("step")
    }

    pub(crate) fn exit(&self) -> PathBuf {
        self.with("exit")
    }

    pub(crate) fn traps(&self) -> PathBuf {
        self.with("traps")
    }

    pub(crate) fn secrets(&self) -> PathBuf {
        self.with("secrets")
    }

    pub(crate) fn before(&self) -> PathBuf {
        self.with("before")
    }

    pub(crate) fn after(&self) -> PathBuf {
        self.with("after")
    }

    pub(crate) fn output(&self) -> PathBuf {
        self.with("out")
    }

    /// Where the command itself writes its output if the pane is piped to someone else.
    pub(crate) fn raw_output(&self) -> PathBuf {
        self.with("raw")
    }

    pub(crate) fn preparation(&self) -> PathBuf {
        self.with("prepare")
    }

    pub(crate) fn captured(&self) -> PathBuf {
        self.with("done")
    }

    fn with(&self, extension: &str) -> PathBuf {
        self.stem.with_extension(extension)
    }

    /// Withdraws the job, unless a shell has already taken it up: exactly one side wins.
    ///
    /// # Errors
    /// The spool cannot be written, so nothing is known.
    pub(crate) fn withdraw(&self) -> io::Result<Taken> {
        // Written under another name and linked, so that the claim is never seen half-written.
        let aside = self.with("withdrawn");
        #[cfg(test)]
        failing::call(None)?;
        fs::write(&aside, WITHDRAWN)?;
        #[cfg(test)]
        failing::call(None)?;
        match fs::hard_link(&aside, self.claim()) {
            Ok(()) => Ok(Taken::Withdrawn),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(self.taken()),
            Err(error) => Err(error),
        }
    }

    /// Returns who has the job.
    pub(crate) fn taken(&self) -> Taken {
        match fs::read(self.claim()) {
            Ok(content) if content == WITHDRAWN => Taken::Withdrawn,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Taken::No,
            // A claim that exists but cannot be read is not ours: a shell made it, with its own
            // umask.
            Ok(_) | Err(_) => Taken::ByShell,
        }
    }

    /// Returns the exit code once it is completely written: in its own file, or after the step.
    pub(crate) fn exit_code(&self) -> Option<i32> {
        let whole = |text: &str| text.strip_suffix('\n')?.trim().parse().ok();
        let own = read_small(&self.exit()).and_then(|text| whole(&text));
        own.or_else(|| {
            let step = read_small(&self.step())?;
            whole(step.split_once("\ncode ")?.1)
        })
    }

    /// Returns the status of the line by which the shell ran the job, if the shell is back at its
    /// prompt and the job has left no code.
    pub(crate) fn back(&self) -> Option<i32> {
        read_small(&self.with("back"))?.trim().parse().ok()
    }

    /// Returns what a job is known by to its shell: the path of its files without their extension.
    pub(crate) fn stem(&self) -> &Path {
        &self.stem
    }

    /// Returns the step that the script has reached.
    pub(crate) fn last_step(&self) -> Option<ScriptStep> {
        ScriptStep::read(&read_small(&self.step())?)
    }

    /// Returns the step that the script has reached, and when it was reached.
    pub(crate) fn step_since(&self) -> Option<(ScriptStep, SystemTime)> {
        let since = fs::metadata(self.step()).and_then(|file| file.modified());
        Some((self.last_step()?, since.ok()?))
    }

    /// Returns what the shell exported before the task, or `None` if no complete report exists.
    pub(crate) fn environment_before(&self) -> Option<BTreeMap<String, String>> {
        read_environment(&self.before())
    }

    /// Returns what the shell exported after the task, or `None` if no complete report exists.
    pub(crate) fn environment_after(&self) -> Option<BTreeMap<String, String>> {
        read_environment(&self.after())
    }

    /// Returns what the reader of the output has reported, once it is done.
    pub(crate) fn capture_result(&self) -> Option<Captured> {
        serde_json::from_str(&read_small(&self.captured())?).ok()
    }

    /// Replaces what the reader of the output has reported.
    pub(crate) fn write_capture_result(&self, captured: &Captured) {
        let written = serde_json::to_vec(captured).map_err(io::Error::from);
        let written = written.and_then(|text| fs::write(self.captured(), text));
        if let Err(error) = written {
            tracing::debug!("cannot correct what is known of the output: {error}");
        }
    }
}

/// Reads what `env -0` printed. Leaves out names and values that are not UTF-8, and functions,
/// which some shells export under odd names.
fn read_environment(path: &Path) -> Option<BTreeMap<String, String>> {
    let mut bytes = Vec::new();
    File::open(path)
        .ok()?
        .take(LONGEST_ENVIRONMENT)
        .read_to_end(&mut bytes)
        .ok()?;
    let whole = bytes.strip_suffix(b"\0")?;
    let variables = whole.split(|&byte| byte == 0).filter_map(|entry| {
        let (name, value) = std::str::from_utf8(entry).ok()?.split_once('=')?;
        is_variable_name(name).then(|| (name.to_owned(), value.to_owned()))
    });
    Some(variables.collect())
}

/// Returns a person's code as the content of a file: with a final newline, so that a comment or a
/// here-document at its end is closed.
fn piece(code: &str) -> String {
    format!("{}\n", code.trim_end_matches('\n'))
}

fn write_private(path: &Path, content: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    let mut file = private::open(&mut options, path)?;
    #[cfg(test)]
    failing::call(Some((&mut file, content.as_bytes())))?;
    file.write_all(content.as_bytes())
}

/// Reads a file of at most 4 KiB of text.
fn read_small(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path)
        .ok()?
        .take(4096)
        .read_to_string(&mut text)
        .ok()?;
    Some(text)
}
