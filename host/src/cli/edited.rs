//! Changes to a user's own file: the change is shown, confirmed, and written in one step.

use std::fs::{self, DirBuilder};
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use similar::{ChangeTag, TextDiff};

use super::exit::{CommandFailure, Exit};
use super::{Context, ui};
use crate::files::named::{self, FileError};

/// Such files are a few KiB; a larger one is something else.
const LARGEST: u64 = 4 << 20;
/// How long to search for the smallest difference; after that, a coarser one is shown.
const DIFF_WITHIN: Duration = Duration::from_secs(1);
/// The same number of links that the system would follow.
const LINKS: usize = 40;

/// The outcome of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EditOutcome {
    /// The change was written to the file.
    Written,
    /// The file already had that content.
    Needless,
    /// The person said no.
    Declined,
}

/// The file, as it is on disk.
#[derive(Debug)]
pub(super) struct Edited {
    /// The path as the user gave it.
    named: PathBuf,
    /// The actual path, with all links resolved.
    file: PathBuf,
    /// `None` if the file does not exist.
    text: Option<String>,
}

impl Edited {
    /// Reads the file, if it exists.
    pub(super) fn read(named: &Path) -> Result<Self, CommandFailure> {
        let named = std::path::absolute(named).map_err(|error| failed("use", named, &error))?;
        let file = behind_links(&named).map_err(|error| failed("read", &named, &error))?;
        let text = match content(&file) {
            Ok(text) => text,
            Err(Unread::Io(error)) => return Err(failed("read", &named, &error)),
            Err(Unread::Other(what)) => {
                let name = named.display();
                return Err(CommandFailure::new(
                    Exit::Failed,
                    format!("{name} {what}: nothing was written"),
                ));
            }
        };
        Ok(Self { named, file, text })
    }

    pub(super) fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }

    /// Whether there is such a file.
    pub(super) fn exists(&self) -> bool {
        self.text.is_some()
    }

    pub(super) fn name(&self) -> String {
        self.named.display().to_string()
    }

    /// Refuses to change the file because of its content.
    pub(super) fn refuse(&self, error: &dyn std::fmt::Display) -> CommandFailure {
        let name = self.name();
        CommandFailure::new(
            Exit::Failed,
            format!("{name}: {error}; nothing was written"),
        )
    }

    /// Shows the change, asks for confirmation unless `yes` is set, and writes it. `none` is a text
    /// that means the same as no file.
    pub(super) fn change(
        &self,
        context: &Context,
        new: &str,
        yes: bool,
        none: Option<&str>,
    ) -> Result<EditOutcome, CommandFailure> {
        let old = self.text();
        if new == old {
            return Ok(EditOutcome::Needless);
        }
        let name = ui::clean(&self.name());
        if !context.ui.json {
            diff(context, &name, old, new)?;
        }
        let otherwise = format!("nothing was written: `--yes` writes {name} without asking");
        if !yes && !asks(context, &format!("Write this to {name}?"), &otherwise)? {
            context.ui.line("nothing was written")?;
            return Ok(EditOutcome::Declined);
        }
        self.write(new, none)?;
        Ok(EditOutcome::Written)
    }

    /// Asks on the terminal whether it may be removed.
    pub(super) fn may_be_removed(&self, context: &Context) -> Result<bool, CommandFailure> {
        let name = ui::clean(&self.name());
        let otherwise = format!("nothing was removed: `--yes` removes {name} without asking");
        asks(context, &format!("Remove {name}?"), &otherwise)
    }

    /// Writes the text in one step: a concurrent reader sees either the old or the new one.
    pub(super) fn write(&self, new: &str, none: Option<&str>) -> Result<(), CommandFailure> {
        let failed = |error: io::Error| failed("write", &self.named, &error);
        let directory = self.file.parent().unwrap_or(Path::new("/"));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed)?;
        let mut temporary = tempfile::Builder::new()
            .prefix(".assigner-")
            .tempfile_in(directory)
            .map_err(failed)?;
        temporary.write_all(new.as_bytes()).map_err(failed)?;
        if self.text.is_some() {
            let old = fs::metadata(&self.file).map_err(failed)?;
            let made = temporary.as_file().metadata().map_err(failed)?;
            if (old.uid(), old.gid()) != (made.uid(), made.gid()) {
                let (owner, group) = (Some(old.uid()), Some(old.gid()));
                std::os::unix::fs::fchown(temporary.as_file(), owner, group).map_err(failed)?;
            }
            let mode = fs::Permissions::from_mode(old.mode() & 0o7777);
            temporary.as_file().set_permissions(mode).map_err(failed)?;
        }
        temporary.as_file().sync_all().map_err(failed)?;
        // The program that owns the file may write it too, and a person may have taken a while to
        // answer.
        if !matches!(content(&self.file), Ok(text) if text == self.text) {
            return Err(CommandFailure::new(
                Exit::Failed,
                format!(
                    "{} has changed in the meantime; nothing was written: try again",
                    self.name()
                ),
            ));
        }
        // The target of a link is not deleted.
        if none == Some(new.trim()) && self.text.is_some() && self.file == self.named {
            return fs::remove_file(&self.file).map_err(failed);
        }
        temporary
            .persist(&self.file)
            .map_err(|error| failed(error.error))?;
        Ok(())
    }
}

/// Why a file was not read.
enum Unread {
    Io(io::Error),
    /// What it is, if not a text.
    Other(&'static str),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Returns the content of a file; `None` if it does not exist.
fn content(file: &Path) -> Result<Option<String>, Unread> {
    match named::read(file, LARGEST) {
        Ok(bytes) => {
            let text = String::from_utf8(bytes);
            text.map(Some).map_err(|_| Unread::Other("is not UTF-8"))
        }
        Err(error) if error.is_missing() => Ok(None),
        Err(FileError::Kind(_)) => Err(Unread::Other("is not a file")),
        Err(FileError::TooLarge(_)) => Err(Unread::Other("is larger than 4 MiB")),
        Err(error) => Err(Unread::Io(error.into())),
    }
}

/// Asks on the terminal; without one, `otherwise` says what to do.
fn asks(context: &Context, question: &str, otherwise: &str) -> Result<bool, CommandFailure> {
    let asks = io::stdin().is_terminal() && io::stdout().is_terminal() && !context.ui.json;
    if !asks {
        return Err(CommandFailure::usage(otherwise));
    }
    let mut out = anstream::stdout().lock();
    write!(out, "{question} [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    // An answer that is not text does not mean yes.
    let read = io::stdin().lock().take(1024).read_line(&mut answer);
    let answer = answer.trim();
    Ok(read.is_ok()
        && ["y", "yes"]
            .iter()
            .any(|yes| answer.eq_ignore_ascii_case(yes)))
}

/// Prints the difference as `diff -u` would.
fn diff(context: &Context, name: &str, old: &str, new: &str) -> io::Result<()> {
    let diff = TextDiff::configure()
        .timeout(DIFF_WITHIN)
        .diff_lines(old, new);
    let bold = Style::new().bold();
    context.ui.line(&ui::paint(bold, &format!("--- {name}")))?;
    context.ui.line(&ui::paint(bold, &format!("+++ {name}")))?;
    for hunk in diff.unified_diff().context_radius(3).iter_hunks() {
        let header = hunk.header().to_string();
        let cyan = AnsiColor::Cyan.on_default();
        context.ui.line(&ui::paint(cyan, &header))?;
        for change in hunk.iter_changes() {
            let style = match change.tag() {
                ChangeTag::Delete => AnsiColor::Red.on_default(),
                ChangeTag::Insert => AnsiColor::Green.on_default(),
                ChangeTag::Equal => Style::new(),
            };
            let line = change.value().trim_end_matches(['\n', '\r']);
            let line = format!("{}{}", change.tag(), ui::clean_lines(line));
            context.ui.line(&ui::paint(style, &line))?;
            if change.missing_newline() {
                context.ui.line("\\ No newline at end of file")?;
            }
        }
    }
    Ok(())
}

/// Resolves the links at this path, even if the target does not exist yet.
fn behind_links(file: &Path) -> io::Result<PathBuf> {
    let mut file = file.to_owned();
    for _ in 0..LINKS {
        match fs::symlink_metadata(&file) {
            Ok(metadata) if metadata.is_symlink() => {}
            _ => return Ok(file),
        }
        let target = fs::read_link(&file)?;
        file = match file.parent() {
            Some(directory) => directory.join(target),
            None => target,
        };
    }
    Err(io::Error::other("too many links"))
}

fn failed(what: &str, file: &Path, error: &io::Error) -> CommandFailure {
    let file = file.display();
    CommandFailure::new(Exit::Failed, format!("cannot {what} `{file}`: {error}"))
}

/// Returns the text with `block`, which is between the lines `begin` and `end`, in place of the existing one or
/// at the end; an empty one is taken out.
pub(super) fn with_block(
    text: &str,
    begin: &str,
    end: &str,
    block: &str,
) -> Result<String, String> {
    let is = |mark: &str| {
        let lines = text.split_inclusive('\n').scan(0, |at, line| {
            let start = *at;
            *at += line.len();
            Some((start, *at, line.trim()))
        });
        let found: Vec<(usize, usize)> = lines
            .filter(|(.., line)| *line == mark)
            .map(|(start, end, _)| (start, end))
            .collect();
        found
    };
    let split = |start, end| {
        let before = text.get(..start).unwrap_or_default();
        (before, text.get(end..).unwrap_or_default())
    };
    match (&*is(begin), &*is(end)) {
        ([], []) if block.is_empty() => Ok(text.to_owned()),
        ([], []) => {
            let gap = if text.is_empty() || text.ends_with('\n') {
                ""
            } else {
                "\n"
            };
            Ok(format!("{text}{gap}{block}"))
        }
        ([(start, _)], [(last, after)]) if start < last => {
            let (before, after) = split(*start, *after);
            Ok(format!("{before}{block}{after}"))
        }
        _ => Err(format!(
            "`{begin}` and `{end}` must occur once each, in this order: remove them first"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(text: &str, block: &str) -> Result<String, String> {
        with_block(text, "# >>> assigner >>>", "# <<< assigner <<<", block)
    }

    const OURS: &str = "# >>> assigner >>>\nours\n# <<< assigner <<<\n";

    #[test]
    fn ours_is_put_at_the_end_once_and_taken_out_whole() {
        for text in ["", "a\n", "a\n\n", "# >>> other >>>\n"] {
            let with = put(text, OURS).expect("changed");
            assert_eq!(with, format!("{text}{OURS}"));
            assert_eq!(put(&with, OURS).expect("unchanged"), with);
            assert_eq!(put(&with, "").expect("taken out"), text);
        }
        // A last line without a line end gets one.
        let with = put("a", OURS).expect("changed");
        assert_eq!(with, format!("a\n{OURS}"));
        assert_eq!(put("a", "").expect("unchanged"), "a");
    }

    #[test]
    fn an_older_one_is_replaced_where_it_stands() {
        let old = "a\n# >>> assigner >>>\nold\nolder\n# <<< assigner <<<\nb";
        assert_eq!(put(old, OURS).expect("changed"), format!("a\n{OURS}b"));
        assert_eq!(put(old, "").expect("taken out"), "a\nb");
    }

    #[test]
    fn marks_that_are_not_whole_are_left_to_their_owner() {
        for text in [
            "# >>> assigner >>>\na\n",
            "# <<< assigner <<<\n",
            "# <<< assigner <<<\n# >>> assigner >>>\n",
            "# >>> assigner >>>\n# >>> assigner >>>\n# <<< assigner <<<\n",
        ] {
            assert!(put(text, OURS).is_err(), "{text}");
            assert!(put(text, "").is_err(), "{text}");
        }
    }
}
