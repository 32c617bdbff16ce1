//! `assigner config edit`: changes the configuration with the person's editor, and checks it before it counts.

use std::env;
use std::fs;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::Ordering;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde_json::{Value, json};
use tokio::signal::unix::SignalKind;

use crate::cli::edited::Edited;
use crate::cli::exit::{CommandFailure, Exit};
use crate::cli::signals;
use crate::cli::ui::{self, Ui, clean};
use crate::config::settings::{self, SettingChange};
use crate::config::{self, Config};
use crate::daemon::Lock;
use crate::files::named;

/// No configuration is this long, in bytes.
const LARGEST: u64 = 1 << 20;

/// How often it is looked whether a person has pressed Ctrl-C instead of answering.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// What edits where neither VISUAL nor EDITOR says it.
const USUAL_EDITOR: &str = "vi";

/// A copy of the configuration, which a person may change as they like.
struct EditedCopy {
    directory: Option<tempfile::TempDir>,
    path: PathBuf,
}

impl EditedCopy {
    fn new(text: &str) -> io::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("assigner-config-")
            .tempdir()?;
        let path = directory.path().join("config.toml");
        fs::write(&path, text)?;
        let directory = Some(directory);
        Ok(Self { directory, path })
    }

    /// Leaves it where it is: what a person has written is theirs.
    fn keep(mut self) -> String {
        if let Some(directory) = self.directory.take() {
            let _kept = directory.keep();
        }
        format!("what you wrote is in `{}`", self.path.display())
    }
}

/// Changes `file`. `live` is the configuration of the call as it was: a daemon that goes by it follows the change.
pub(super) fn run(ui: Ui, file: &Path, live: Option<&Config>) -> Result<Exit, CommandFailure> {
    let original = Edited::read(file)?;
    let before = match original.exists() {
        true => original.text().to_owned(),
        false => settings::template(),
    };
    let copy = EditedCopy::new(&before).map_err(|error| {
        CommandFailure::new(
            Exit::Failed,
            format!("cannot write a copy to edit: {error}"),
        )
    })?;
    let text = loop {
        if let Err(why) = edit(&copy.path) {
            let unchanged = named::text(&copy.path, LARGEST).is_ok_and(|text| text == before);
            let kept = match unchanged {
                true => String::new(),
                false => format!("; {}", copy.keep()),
            };
            return Err(CommandFailure::new(
                Exit::Failed,
                format!("{why}: the configuration stays as it was{kept}"),
            ));
        }
        let read = named::text(&copy.path, LARGEST)
            .map_err(|error| format!("cannot read what the editor left: {error}"))
            .and_then(|text| match config::parse(&text, file) {
                Ok(_) => Ok(text),
                Err(error) => Err(error.to_string()),
            });
        match read {
            Ok(text) => break text,
            Err(why) if again(ui, &why) => {}
            Err(why) => {
                let kept = copy.keep();
                return Err(CommandFailure::usage(format!(
                    "{why}: the configuration stays as it was; {kept}"
                )));
            }
        }
    };
    if original.exists() && text == before {
        return told(ui, file, &[], false, "nothing was changed");
    }
    if let Err(failure) = original.write(&text, None) {
        let message = format!("{}; {}", failure.message, copy.keep());
        return Err(CommandFailure::new(failure.exit, message));
    }
    let changes = settings::changes(original.text(), &text);
    let is_obeyed = live.is_some_and(|config| {
        let same = config.path.as_deref().map(std::path::absolute);
        let same = same.and_then(Result::ok) == std::path::absolute(file).ok();
        same && Lock::holder(&config.data_dir).is_some()
    });
    let same = config::parse(original.text(), file).ok() == config::parse(&text, file).ok();
    let what = match (changes.is_empty(), same) {
        (true, true) => "it sets what it set before",
        (true, false) => "what a policy or a pool is told has changed",
        (false, _) => "",
    };
    told(ui, file, &changes, is_obeyed, what)
}

/// Says what has become of the file.
fn told(
    ui: Ui,
    file: &Path,
    changes: &[SettingChange],
    is_obeyed: bool,
    what: &str,
) -> Result<Exit, CommandFailure> {
    if ui.json {
        let of = |change: &SettingChange| {
            let [before, after] = change.shown_values().unwrap_or_default();
            json!({"name": change.name, "before": before, "after": after})
        };
        let changes: Vec<Value> = changes.iter().map(of).collect();
        ui.json(&json!({"file": file, "changes": changes, "daemon": is_obeyed}))?;
        return Ok(Exit::Done);
    }
    let name = clean(&file.display().to_string());
    if !what.is_empty() {
        ui.line(&format!("{name}: {what}"))?;
    }
    for change in changes {
        ui.line(&change.to_string())?;
    }
    if is_obeyed && !changes.is_empty() {
        ui.line("the running daemon follows: `assigner status` says so in a moment")?;
    }
    Ok(Exit::Done)
}

/// Whether the person wants to mend it; nobody is asked without a terminal. Whatever is no yes is a no: what was
/// written is kept then.
fn again(ui: Ui, why: &str) -> bool {
    if ui.json || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return false;
    }
    ui::warn(why);
    // The signals of the editor's time do nothing by themselves any more.
    let interrupted = signals::noticed(&[SignalKind::interrupt(), SignalKind::quit()], || {});
    let mut out = anstream::stderr().lock();
    let _ = write!(out, "Edit it again? [Y/n] ").and_then(|()| out.flush());
    let stdin = io::stdin();
    while !interrupted.load(Ordering::Relaxed) {
        let mut ready = [PollFd::new(&stdin, PollFlags::IN)];
        match poll(&mut ready, Some(&LOOK)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => {
                let mut answer = String::new();
                let read = stdin.lock().take(1024).read_line(&mut answer);
                let answer = answer.trim();
                // The end of the terminal's input is no answer.
                return matches!(read, Ok(read) if read > 0)
                    && ["", "y", "yes"]
                        .iter()
                        .any(|yes| answer.eq_ignore_ascii_case(yes));
            }
            Err(_) => break,
        }
    }
    let _ = writeln!(out);
    false
}

/// Waits until the person's editor has ended. Ctrl-C belongs to the editor.
fn edit(path: &Path) -> Result<(), String> {
    let named = ["VISUAL", "EDITOR"].into_iter().find_map(|name| {
        let value = env::var_os(name)?;
        (!value.is_empty()).then_some(value)
    });
    let editor = named.unwrap_or_else(|| USUAL_EDITOR.into());
    let _noticed = signals::noticed(&[SignalKind::interrupt(), SignalKind::quit()], || {});
    // The variable may hold options as well, and is the person's own.
    let mut line = editor.clone();
    line.push(" \"$@\"");
    let ended = Command::new("/bin/sh")
        .arg("-c")
        .arg(line)
        .arg("sh")
        .arg(path)
        .status();
    let shown = editor.to_string_lossy();
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the editor `{shown}` {}", how(status))),
        Err(error) => Err(format!("cannot start the editor `{shown}`: {error}")),
    }
}

fn how(status: ExitStatus) -> String {
    match status.code() {
        Some(127) => "cannot be found: set EDITOR to the one that you use".to_owned(),
        Some(code) => format!("ended with {code}"),
        None => "was ended by a signal".to_owned(),
    }
}
