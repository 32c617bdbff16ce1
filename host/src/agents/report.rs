//! What programs in panes report about themselves: one small file per report, so that reporting
//! needs no daemon, no lock and no time, and the last report outlives a daemon.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::files::private;
use crate::model::ids::PaneId;

/// The longest message that is kept, in bytes.
pub const LONGEST_MESSAGE: usize = 1 << 20;

/// At most this many files are read at once.
const MOST: usize = 1_000;

/// What a program reports about its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[derive(strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum ReportedState {
    /// It waits for work.
    Idle,
    /// It is working.
    Busy,
    /// It waits for a person.
    Blocked,
    /// It has finished what it was given.
    Done,
}

impl ReportedState {
    /// Returns its written form.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// One report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The process id of the tmux server.
    pub server_pid: u32,
    /// The pane.
    pub pane: PaneId,
    /// The state.
    pub state: ReportedState,
    /// The task that it is about, if it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<i64>,
    /// What the program adds: a question, a response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The agent's name for the turn that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<String>,
    /// The file to which the agent writes its turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transcript: Option<PathBuf>,
    /// When it was made.
    pub at: Timestamp,
}

impl Report {
    /// Whether this is newer than what was `known` of its pane. After the clock was set back, a report
    /// from the future is an old one.
    pub fn replaces(&self, known: &Self, now: Timestamp) -> bool {
        match (known.at > now, self.at > now) {
            (true, false) => true,
            (false, true) => false,
            _ => known.at <= self.at,
        }
    }
}

/// Returns the beginning of the names of reports that are written at this time. Sorted by name, they
/// are sorted by time.
pub fn name_at(time: Timestamp) -> String {
    format!("{:020}", time.as_nanosecond().max(0))
}

/// The reports of panes in one data directory.
#[derive(Debug, Clone)]
pub struct Reports {
    directory: PathBuf,
}

impl Reports {
    /// Returns the reports below a data directory.
    pub fn of(data: &Path) -> Self {
        Self {
            directory: data.join("spool").join("reports"),
        }
    }

    /// Returns the directory that holds them, for those who watch it for new reports.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Creates the directory, readable only by its owner.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn open(&self) -> io::Result<()> {
        Ok(private::directory(&self.directory)?)
    }

    /// Writes a report, either completely or not at all.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn write(&self, report: &Report) -> io::Result<()> {
        self.open()?;
        // The time of writing, which may be later than the time of the report.
        let name = format!("{}-{}", name_at(Timestamp::now()), std::process::id());
        let draft = self.directory.join(format!(".{name}"));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)?;
        serde_json::to_writer(&mut file, report)?;
        fs::rename(&draft, self.directory.join(name))
    }

    /// Returns the reports after the one named `after`, oldest first, each with its name. If there
    /// are very many, returns the newest. Unreadable reports are deleted.
    pub fn news(&self, after: &str) -> Vec<(String, Report)> {
        let mut names = self.names(after);
        names.drain(..names.len().saturating_sub(MOST));
        names
            .into_iter()
            .filter_map(|name| {
                let report = self.read(&name)?;
                Some((name, report))
            })
            .collect()
    }

    /// Deletes every report that `keep` rejects, and for each pane all but the last of the others,
    /// so that files do not accumulate.
    pub fn sweep(&self, keep: impl Fn(&Report) -> bool) {
        let mut last: HashMap<(u32, String), String> = HashMap::new();
        for name in self.names("") {
            let Some(report) = self.read(&name) else {
                continue;
            };
            let pane = (report.server_pid, report.pane.to_string());
            let stale = if keep(&report) {
                last.insert(pane, name)
            } else {
                Some(name)
            };
            if let Some(stale) = stale {
                let _ = fs::remove_file(self.directory.join(stale));
            }
        }
    }

    /// Returns the names of reports after `after`, oldest first.
    fn names(&self, after: &str) -> Vec<String> {
        let Ok(files) = fs::read_dir(&self.directory) else {
            return Vec::new();
        };
        let names = files
            .flatten()
            .filter_map(|file| file.file_name().into_string().ok());
        let mut names: Vec<String> = names
            .filter(|name| is_name(name) && name.as_str() > after)
            .collect();
        names.sort_unstable();
        names
    }

    fn read(&self, name: &str) -> Option<Report> {
        let path = self.directory.join(name);
        let small = fs::metadata(&path)
            .is_ok_and(|file| file.is_file() && file.len() < 8 * LONGEST_MESSAGE as u64);
        let report = small
            .then(|| fs::read(&path).ok())
            .flatten()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if report.is_none() {
            let _ = fs::remove_file(&path);
        }
        report
    }
}

/// Whether a file is named like a report of the present or the past. A report from the future would
/// hide all others.
fn is_name(name: &str) -> bool {
    let Some((time, process)) = name.split_once('-') else {
        return false;
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let latest = Timestamp::now().as_nanosecond().max(0) + 2_000_000_000;
    time.len() == 20
        && digits(time)
        && digits(process)
        && time.parse().is_ok_and(|time: i128| time <= latest)
}

/// Returns the tmux server and the pane that a program runs in, according to its variables `TMUX`
/// and `TMUX_PANE`.
pub fn own_pane(tmux: &str, pane: &str) -> Option<(u32, PaneId)> {
    // The socket's path may itself contain commas.
    let mut parts = tmux.rsplit(',');
    let _session = parts.next()?;
    let server = parts.next()?.parse().ok()?;
    Some((server, PaneId::parse(pane)?))
}

/// Cuts a message to the length that is kept.
pub fn shortened(mut message: String) -> String {
    if message.len() > LONGEST_MESSAGE {
        let mut end = LONGEST_MESSAGE;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(pane: &str, state: ReportedState, second: i64) -> Report {
        Report {
            server_pid: 7,
            pane: PaneId::parse(pane).expect("an id"),
            state,
            task: None,
            message: None,
            turn: None,
            transcript: None,
            at: Timestamp::from_second(second).expect("a time"),
        }
    }

    #[test]
    fn a_report_from_before_the_clock_was_set_back_is_the_older_one() {
        let at = |second| report("%1", ReportedState::Busy, second);
        let now = at(100).at;
        for (known, new, replaces) in [
            (50, 60, true),
            (60, 60, true),
            (60, 50, false),
            (100, 100, true),
            // Only one of them is from the future.
            (101, 50, true),
            (50, 101, false),
            // Both are.
            (101, 102, true),
            (102, 101, false),
        ] {
            assert_eq!(at(new).replaces(&at(known), now), replaces, "{known} {new}");
        }
    }

    #[test]
    fn names_of_states_stay() {
        for (state, name) in [
            (ReportedState::Idle, "idle"),
            (ReportedState::Busy, "busy"),
            (ReportedState::Blocked, "blocked"),
            (ReportedState::Done, "done"),
        ] {
            assert_eq!(state.name(), name);
        }
    }

    #[test]
    fn reports_are_read_in_order_and_once() {
        let data = tempfile::tempdir().expect("a directory");
        let reports = Reports::of(data.path());
        assert_eq!(reports.news(""), []);
        let (first, second) = (
            report("%1", ReportedState::Busy, 9),
            report("%1", ReportedState::Idle, 10),
        );
        reports.write(&first).expect("written");
        reports.write(&second).expect("written");
        fs::write(reports.directory().join("00x"), "{").expect("written");
        let news = reports.news("");
        let read: Vec<&Report> = news.iter().map(|(_, report)| report).collect();
        assert_eq!(read, [&first, &second]);
        assert_eq!(reports.news(&news[1].0), []);
        assert_eq!(reports.news(&news[0].0).len(), 1);
        reports
            .write(&report("%2", ReportedState::Idle, 3))
            .expect("written");
        reports.sweep(|report| report.server_pid == 7);
        assert_eq!(reports.news("").len(), 2);
        reports.sweep(|_| false);
        assert_eq!(reports.news(""), []);
    }

    #[test]
    fn the_own_pane_is_read_from_variables() {
        let (server, pane) = own_pane("/tmp/a,b/default,42,0", "%7").expect("a pane");
        assert_eq!((server, pane.as_str()), (42, "%7"));
        for (tmux, pane) in [
            ("", "%7"),
            ("/tmp/x,42,0", "7"),
            ("x,y,0", "%7"),
            ("1", "%1"),
        ] {
            assert!(own_pane(tmux, pane).is_none(), "{tmux} {pane}");
        }
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let long = format!("x{}", "é".repeat(LONGEST_MESSAGE));
        assert!(shortened(long).len() <= LONGEST_MESSAGE);
    }
}
