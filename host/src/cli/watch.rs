//! `assigner watch`: follows what the session of a task shows, until the task is settled.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;
use similar::{Algorithm, DiffOp, capture_diff_slices_deadline};
use unicode_width::UnicodeWidthChar;

use super::exit::{CommandFailure, Exit};
use super::{Context, doctor, ui};
use crate::agents::Screen;
use crate::daemon::Lock;
use crate::matcher::explain::waits_for;
use crate::model::duration;
use crate::model::ids::{Identity, TaskId};
use crate::model::task::{Status, Task};
use crate::store::Store;
use crate::tmux::{Server, Tmux};

/// Follows what a task's session shows, until the task is settled; exits as `assigner wait` does.
///
/// A terminal shows the session's screen. In a pipe, each line is printed once it no longer
/// changes. What a command prints, byte for byte, is in `assigner output`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The task's number
    id: TaskId,
    /// How often to look at the session
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = interval)]
    interval: Duration,
}

/// Checking the database's version costs microseconds.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How many lines of the scrollback are read: lines that are printed faster than this in one
/// interval are missed.
const SCROLLED: u32 = 2_000;

/// How long two looks may be compared; after that, the comparison is coarser.
const COMPARE_WITHIN: Duration = Duration::from_millis(200);

/// The size if a terminal does not report its own.
const USUAL_SIZE: (usize, usize) = (24, 80);

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let mut store = context.store()?;
    store.task(args.id)?;
    if Lock::holder(&context.config.data_dir).is_none() {
        ui::warn("no daemon is running: nothing happens until one is, see `assigner run`");
    }
    let runtime = doctor::runtime()?;
    let on_terminal = io::stdout().is_terminal() && !context.ui.json;
    runtime.block_on(async {
        let mut watch = TaskWatch {
            context,
            id: args.id,
            tmux: doctor::server(context),
            told: None,
            seat: None,
            lines: WatchedLines::default(),
            drawn: false,
        };
        let mut seen = None;
        let mut next_look = Instant::now();
        loop {
            let version = store.data_version()?;
            let changed = seen != Some(version);
            let due = next_look <= Instant::now();
            if changed || due {
                seen = Some(version);
                let state = TaskState::read(&mut store, args.id)?;
                watch.sit(&state);
                let settled = state.task.status.is_settled();
                if on_terminal {
                    if due || settled || watch.is_news(&state) {
                        watch.draw(&state).await?;
                    }
                } else {
                    watch.tell(&state)?;
                    if due || settled {
                        watch.print(settled).await?;
                    }
                }
                if settled {
                    return watch.end(&state, on_terminal);
                }
            }
            if due {
                next_look = Instant::now() + args.interval;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    })
}

/// The state of a task.
struct TaskState {
    task: Task,
    /// Since when it has been in this state.
    since: Timestamp,
    /// What it waits for, or why it failed.
    why: Option<String>,
    /// The session that it runs in.
    seat: Option<Identity>,
}

impl TaskState {
    fn read(store: &mut Store, id: TaskId) -> Result<Self, CommandFailure> {
        let task = store.task(id)?;
        let since = store.history(id)?.last().map(|row| row.at);
        let why = match task.status {
            Status::Pending => {
                let parents = store.parents(id)?;
                waits_for(&task, &parents, Timestamp::now()).or(task.wait_reason.clone())
            }
            Status::WaitingInput => task.asks.clone(),
            Status::Failed | Status::Uncertain => task.error.clone(),
            Status::Assigned | Status::InProgress | Status::Completed | Status::Cancelled => None,
        };
        let running = store.open_attempts()?;
        let running = running.into_iter().find(|attempt| attempt.task.id == id);
        Ok(Self {
            since: since.unwrap_or(task.created_at),
            why,
            seat: running.map(|attempt| attempt.identity),
            task,
        })
    }

    /// The parts that are shown again when they change, without those that only a clock changes.
    fn news(&self) -> TaskNews {
        let task = &self.task;
        let why = match task.status {
            Status::Pending => task.wait_reason.clone(),
            _ => self.why.clone(),
        };
        (task.status, task.session.clone(), why)
    }

    /// `task 3 in_progress in api`
    fn line(&self, status: &str) -> String {
        let task = &self.task;
        let session = task.session.as_deref();
        let place = session.map_or_else(String::new, |session| {
            format!(" in {}", ui::cut(&ui::clean(session), 60))
        });
        let why = self.why.as_deref().map_or_else(String::new, |why| {
            format!(": {}", ui::cut(&ui::clean(why), 300))
        });
        let partial = task.response.filter(|response| response.is_partial());
        let partial = partial.map_or_else(String::new, |response| {
            format!(" (response: {})", response.name())
        });
        format!("task {} {status}{place}{why}{partial}", task.id)
    }
}

type TaskNews = (Status, Option<String>, Option<String>);

struct TaskWatch<'a> {
    context: &'a Context,
    id: TaskId,
    tmux: Server,
    told: Option<TaskNews>,
    /// The session that the task runs in, or ran in last.
    seat: Option<Identity>,
    lines: WatchedLines,
    /// True if something has been drawn on the terminal.
    drawn: bool,
}

impl TaskWatch<'_> {
    fn sit(&mut self, state: &TaskState) {
        if let Some(seat) = &state.seat
            && self.seat.as_ref() != Some(seat)
        {
            self.seat = Some(seat.clone());
            self.lines = WatchedLines::default();
        }
    }

    /// True if the state differs from the last one.
    fn is_news(&mut self, state: &TaskState) -> bool {
        let news = state.news();
        let is_news = self.told.as_ref() != Some(&news);
        self.told = Some(news);
        is_news
    }

    /// Says on standard error that the state has changed; standard output is for the lines.
    fn tell(&mut self, state: &TaskState) -> io::Result<()> {
        if !self.is_news(state) {
            return Ok(());
        }
        if self.context.ui.json {
            return self.context.ui.json(&json!({
                "id": state.task.id,
                "status": state.task.status,
                "session": state.task.session,
                "since": state.since,
                "reason": state.why,
            }));
        }
        ui::warn(&state.line(state.task.status.name()));
        Ok(())
    }

    /// Prints what is new in the pane. If the pane cannot be read, watching continues: the task may
    /// go on elsewhere.
    async fn print(&mut self, is_last: bool) -> io::Result<()> {
        let Some(seat) = &self.seat else {
            return Ok(());
        };
        let mut fresh = Vec::new();
        if let Ok(text) = self.tmux.history(seat, SCROLLED).await {
            if self.lines.is_empty() {
                // What had already scrolled away is not new.
                let shown = self.tmux.screens(&[seat]).await.unwrap_or_default();
                let shown = shown.into_iter().next().flatten();
                let height = shown.map_or(0, |capture| {
                    let lines = capture.text.lines();
                    lines.filter(|line| !line.trim().is_empty()).count()
                });
                self.lines.begin(&text, height);
            } else {
                fresh = self.lines.take(&text);
            }
        }
        if is_last {
            fresh.extend(self.lines.rest());
        }
        for line in fresh {
            if self.context.ui.json {
                self.context
                    .ui
                    .json(&json!({"id": self.id, "line": line}))?;
            } else {
                writeln!(io::stdout().lock(), "{}", ui::clean(&line))?;
            }
        }
        Ok(())
    }

    /// Draws the pane's screen over what is on the terminal.
    async fn draw(&mut self, state: &TaskState) -> io::Result<()> {
        let (rows, columns) = size();
        let lines = match &self.seat {
            Some(seat) => self.tmux.screens(&[seat]).await.unwrap_or_default(),
            None => Vec::new(),
        };
        let capture = lines.into_iter().next().flatten();
        let screen = capture.map(|capture| Screen::read(&capture.text, None));
        let shown = screen.as_ref().map_or_else(Vec::new, |screen| {
            let mut lines: Vec<&str> = screen.lines().collect();
            let used = lines.iter().rposition(|line| !line.trim().is_empty());
            lines.truncate(used.map_or(0, |last| last + 1));
            // The last lines are the ones that matter.
            lines.split_off(lines.len().saturating_sub(rows.saturating_sub(3)))
        });
        let colored = anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never;
        let status = state.task.status;
        let plain = fitted(&state.line(status.name()), columns.saturating_sub(12));
        let age = ui::ago(state.since, Timestamp::now());
        let head = if colored {
            plain.replacen(status.name(), &ui::status(status), 1)
        } else {
            plain
        };
        // Moves home and rewrites each line up to its end, so that nothing flickers.
        let mut text = String::from(if self.drawn {
            "\x1b[H"
        } else {
            "\x1b[2J\x1b[H"
        });
        text.push_str(&format!("{head} ({age})\x1b[K\r\n\x1b[K"));
        for line in shown {
            text.push_str("\r\n");
            text.push_str(&fitted(&ui::clean(line), columns));
            text.push_str("\x1b[K");
        }
        text.push_str("\x1b[J");
        self.drawn = true;
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    fn end(&mut self, state: &TaskState, on_terminal: bool) -> Result<Exit, CommandFailure> {
        if on_terminal {
            let line = state.line(&ui::status(state.task.status));
            self.context.ui.line(&format!("\n{line}"))?;
        }
        Ok(if state.task.status == Status::Completed {
            Exit::Done
        } else {
            Exit::Failed
        })
    }
}

/// The lines of a pane that are not blank, and which of them have been printed.
#[derive(Debug, Default)]
struct WatchedLines(Vec<WatchedLine>);

#[derive(Debug)]
struct WatchedLine {
    text: String,
    printed: bool,
}

impl WatchedLines {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the first look: only the last `news` of its lines are to be printed.
    fn begin(&mut self, text: &str, news: usize) {
        let lines = lines(text);
        let old = lines.len().saturating_sub(news);
        let lines = lines.into_iter().enumerate();
        self.0 = lines
            .map(|(index, line)| WatchedLine {
                text: line.to_owned(),
                printed: index < old,
            })
            .collect();
    }

    /// Takes the next look and returns the lines to print: those that are the same as the last
    /// time. A line that keeps changing, such as a spinner, is not among them.
    fn take(&mut self, text: &str) -> Vec<String> {
        let seen = lines(text);
        let known: Vec<&str> = self.0.iter().map(|line| line.text.as_str()).collect();
        let deadline = Some(Instant::now() + COMPARE_WITHIN);
        let steps = capture_diff_slices_deadline(Algorithm::Myers, &known, &seen, deadline);
        let mut now: Vec<WatchedLine> = Vec::with_capacity(seen.len());
        let mut fresh = Vec::new();
        for step in steps {
            if let DiffOp::Equal { old_index, len, .. } = step {
                for line in &self.0[old_index..old_index + len] {
                    if !line.printed {
                        fresh.push(line.text.clone());
                    }
                    now.push(WatchedLine {
                        text: line.text.clone(),
                        printed: true,
                    });
                }
            } else {
                now.extend(seen[step.new_range()].iter().map(|line| WatchedLine {
                    text: (*line).to_owned(),
                    printed: false,
                }));
            }
        }
        self.0 = now;
        fresh
    }

    /// Returns what has not been printed yet.
    fn rest(&mut self) -> Vec<String> {
        let rest = self.0.iter_mut().filter(|line| !line.printed);
        rest.map(|line| {
            line.printed = true;
            line.text.clone()
        })
        .collect()
    }
}

fn lines(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim_end);
    lines.filter(|line| !line.is_empty()).collect()
}

/// The terminal's rows and columns.
fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row.into(), size.ws_col.into()),
        _ => USUAL_SIZE,
    }
}

/// Cuts a line to this number of columns.
fn fitted(line: &str, columns: usize) -> String {
    let mut used = 0;
    let fits = |char: &char| {
        used += char.width().unwrap_or(0);
        used <= columns
    };
    line.chars().take_while(fits).collect()
}

fn interval(text: &str) -> Result<Duration, String> {
    duration::INTERVAL.read(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what is printed while a pane shows one text after another.
    fn printed(looks: &[&str]) -> Vec<String> {
        let mut lines = WatchedLines::default();
        let mut printed = Vec::new();
        for look in looks {
            if lines.is_empty() {
                lines.begin(look, usize::MAX);
            } else {
                printed.extend(lines.take(look));
            }
        }
        printed.extend(lines.rest());
        printed
    }

    #[test]
    fn each_line_is_printed_once() {
        let looks = ["a", "a\nb  ", "a\nb\nc\n\n", "b\nc\nd", "b\nc\nd"];
        assert_eq!(printed(&looks), ["a", "b", "c", "d"]);
        assert_eq!(printed(&["ok", "ok\nok", "ok\nok\nok"]), ["ok", "ok", "ok"]);
        assert_eq!(printed(&["a\nb", "", "c"]), ["c"]);
    }

    #[test]
    fn what_changes_all_the_time_is_not_printed() {
        let looks = ["x\n| 1s", "x\n/ 2s", "x\n- 3s", "x\ndone\n>", "x\ndone\n>"];
        assert_eq!(printed(&looks), ["x", "done", ">"]);
    }

    #[test]
    fn what_had_scrolled_away_is_no_news() {
        let mut lines = WatchedLines::default();
        lines.begin("old\nolder\nscreen", 1);
        assert_eq!(lines.take("old\nolder\nscreen\nnew"), ["screen"]);
        assert_eq!(lines.rest(), ["new"]);
        assert!(lines.rest().is_empty());
    }

    #[test]
    fn lines_are_cut_by_columns() {
        assert_eq!(fitted("abc", 2), "ab");
        assert_eq!(fitted("漢字", 3), "漢");
        assert_eq!(fitted("é", 5), "é");
    }

    #[test]
    fn intervals_have_a_unit() {
        assert_eq!(interval("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(interval("250ms"), Ok(Duration::from_millis(250)));
        for wrong in [
            "",
            "1",
            "0s",
            "-1s",
            "1ms",
            "2h",
            "soon",
            "nan",
            "99999999999d",
        ] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
    }
}
