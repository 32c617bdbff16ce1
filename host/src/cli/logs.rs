//! `assigner logs`: what the daemon has written about what it does.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::exit::{CommandFailure, Exit};
use super::{Context, logging, ui};
use crate::daemon::Lock;
use crate::files::named;
use crate::files::rotated::RotatedFile;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// How much is read of each file, from its end, in bytes; and how much of a line without an end is kept.
const MOST: u64 = 8 << 20;
const LONGEST: usize = 64 << 10;

/// Shows the log of the daemon: what it did, and what went wrong.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Shows what is written from now on as well, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// How many of the last lines are shown
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 50)]
    lines: usize,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let path = logging::file(&context.config.data_dir);
    if !path.exists() && !args.follow {
        let why = format!(
            "no daemon has written a log yet: there is no `{}`",
            path.display()
        );
        return Err(CommandFailure::new(Exit::Failed, why));
    }
    let failed = |error: io::Error| {
        let why = format!("cannot read the log `{}`: {error}", path.display());
        CommandFailure::new(Exit::Failed, why)
    };
    // What is written from here on is read from this one, also if it is put aside meanwhile.
    let mut open = OpenLog::new(&path);
    let mut last = VecDeque::new();
    let older = RotatedFile::files(&path).filter(|file| *file != path);
    for file in older.filter_map(|file| named::open(&file).ok()) {
        if !open.is(&file) {
            last.extend(last_lines(file).map_err(failed)?);
        }
    }
    last.extend(open.begin().map_err(failed)?);
    last.drain(..last.len().saturating_sub(args.lines));
    if context.ui.json && !args.follow {
        let lines: Vec<Value> = last.iter().map(|line| line_json(line)).collect();
        context.ui.json(&lines)?;
        return Ok(Exit::Done);
    }
    for line in &last {
        print(context, line)?;
    }
    if !args.follow {
        return Ok(Exit::Done);
    }
    if Lock::holder(&context.config.data_dir).is_none() {
        ui::warn("no daemon is running: start one with `assigner run`");
    }
    loop {
        for line in open.read_on(&path)? {
            print(context, &line)?;
        }
        thread::sleep(LOOK);
    }
}

fn print(context: &Context, line: &str) -> io::Result<()> {
    match context.ui.json {
        true => context.ui.json(&line_json(line)),
        false => context.ui.line(&ui::clean(line)),
    }
}

/// Returns the lines of the end of a file.
fn last_lines(mut file: File) -> io::Result<Vec<String>> {
    let size = file.metadata()?.size();
    file.seek(SeekFrom::Start(size.saturating_sub(MOST)))?;
    let mut text = Vec::new();
    file.take(MOST).read_to_end(&mut text)?;
    let mut lines = lines_of(&text);
    if size > MOST && !lines.is_empty() {
        // The first is only the end of one.
        lines.remove(0);
    }
    Ok(lines)
}

/// What is no text in them is replaced.
fn lines_of(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    text.lines().map(str::to_owned).collect()
}

/// The file as it was opened last, and how far it was read.
struct OpenLog {
    file: Option<File>,
    begun: Vec<u8>,
}

impl OpenLog {
    fn new(path: &Path) -> Self {
        Self {
            file: named::open(path).ok(),
            begun: Vec::new(),
        }
    }

    /// Whether this is the file that is open.
    fn is(&self, file: &File) -> bool {
        let number = |file: &File| file.metadata().ok().map(|found| (found.dev(), found.ino()));
        self.file.as_ref().and_then(number) == number(file)
    }

    /// Returns the last lines that are there so far.
    fn begin(&mut self) -> io::Result<Vec<String>> {
        let Some(file) = &mut self.file else {
            return Ok(Vec::new());
        };
        let size = file.metadata()?.size();
        file.seek(SeekFrom::Start(size.saturating_sub(MOST)))?;
        let mut lines = take_lines(file, &mut self.begun)?;
        if size > MOST && !lines.is_empty() {
            // The first is only the end of one.
            lines.remove(0);
        }
        Ok(lines)
    }

    /// Returns the lines that were added, also to a file that has taken the place of the one that is open.
    fn read_on(&mut self, path: &Path) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        if let Some(file) = &mut self.file {
            // One that was emptied is read from its beginning.
            if file.metadata()?.size() < file.stream_position()? {
                file.rewind()?;
                self.begun.clear();
            }
            lines.extend(take_lines(file, &mut self.begun)?);
        }
        let number = |found: std::fs::Metadata| (found.dev(), found.ino());
        let there = std::fs::metadata(path).ok().map(number);
        let open = self.file.as_ref().and_then(|file| file.metadata().ok());
        if there.is_some() && there != open.map(number) {
            // What came last into the old one.
            if let Some(file) = &mut self.file {
                lines.extend(take_lines(file, &mut self.begun)?);
            }
            self.begun.clear();
            self.file = named::open(path).ok();
            if let Some(file) = &mut self.file {
                lines.extend(take_lines(file, &mut self.begun)?);
            }
        }
        Ok(lines)
    }
}

/// Reads what has been added, and returns the whole lines of it.
fn take_lines(file: &mut File, begun: &mut Vec<u8>) -> io::Result<Vec<String>> {
    file.take(MOST).read_to_end(begun)?;
    let Some(end) = begun.iter().rposition(|&byte| byte == b'\n') else {
        // A line without an end is given up.
        begun.truncate(LONGEST);
        return Ok(Vec::new());
    };
    let whole: Vec<u8> = begun.drain(..=end).collect();
    Ok(lines_of(&whole))
}

/// Returns when a line was written, its level and its text, as far as it tells them.
fn line_json(line: &str) -> Value {
    let mut words = line.splitn(2, char::is_whitespace);
    let at = words.next().unwrap_or_default();
    if at.parse::<jiff::Timestamp>().is_ok()
        && let Some((level, text)) = words
            .next()
            .and_then(|rest| rest.trim_start().split_once(' '))
    {
        let level = level.to_ascii_lowercase();
        return json!({"at": at, "level": level, "text": text});
    }
    json!({"at": null, "level": null, "text": line})
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_added_is_read_once_also_when_the_file_is_another() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("it.log");
        let mut open = OpenLog::new(&path);
        assert_eq!(open.read_on(&path).expect("nothing"), [""; 0]);
        fs::write(&path, "a\nb").expect("written");
        assert_eq!(open.read_on(&path).expect("a line"), ["a"]);
        let mut file = OpenOptions::new().append(true).open(&path).expect("open");
        file.write_all(b"b\nc\n").expect("written");
        assert_eq!(open.read_on(&path).expect("lines"), ["bb", "c"]);
        file.write_all(b"last\n").expect("written");
        fs::rename(&path, directory.path().join("it.log.1")).expect("moved");
        fs::write(&path, "first\n").expect("written");
        assert_eq!(open.read_on(&path).expect("lines"), ["last", "first"]);
        assert_eq!(open.read_on(&path).expect("nothing"), [""; 0]);
        fs::write(&path, "new\n").expect("emptied and written");
        assert_eq!(open.read_on(&path).expect("lines"), ["new"]);
    }

    #[test]
    fn a_line_has_a_time_a_level_and_a_text() {
        let line = "2026-12-01T02:55:58.295561Z  INFO watching data=/tmp/x";
        let expected = json!({"at": "2026-12-01T02:55:58.295561Z", "level": "info", "text": "watching data=/tmp/x"});
        assert_eq!(line_json(line), expected);
        for odd in ["", "a", "  INFO x", "2026-12-01T02:55:58Z"] {
            assert_eq!(
                line_json(odd),
                json!({"at": null, "level": null, "text": odd})
            );
        }
    }
}
