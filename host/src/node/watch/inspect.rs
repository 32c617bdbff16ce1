//! What a pane is and does, signal by signal, for a person who asks why. This takes a look of its
//! own, alongside a daemon that may be running.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::agents::Agents;
use super::empty::{self, CursorRow, Facts};
use super::prompt::{self, LineReport};
use super::scan::homes;
use super::sight::{Evidence, Memory, ShellLine, Sighting, observe};
use super::tracker::Stamp;
use crate::agents::Catalog;
use crate::agents::report::Reports;
use crate::model::eligibility::SHELL;
use crate::model::ids::PaneId;
use crate::model::verdict::{Obstacle, Signal, Verdict};
use crate::node::shell::Shells;
use crate::probe::{self, ShellActivity};
use crate::tmux::{CursorLine, Error, Pane, Tmux};

/// What is seen of one pane.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// The session's name.
    pub name: String,
    /// Its other names, if further tmux sessions show it.
    pub aliases: Vec<String>,
    /// The pane.
    pub pane: Pane,
    /// What runs in it; `None`: neither a shell nor an agent that a profile knows.
    pub provider: Option<String>,
    /// How that is known.
    pub known_by: String,
    /// The agent's version, if its files tell it.
    pub version: Option<String>,
    /// Whether its profile was not tried with this version, and judges it more strictly.
    pub untested: bool,
    /// The agent's process, or the shell's.
    pub pid: u32,
    /// The signals, best first.
    pub signals: Vec<Signal>,
    /// The verdict that they add up to.
    pub verdict: Verdict,
    /// The row of a shell's line.
    pub line: Option<LineSeen>,
}

impl Inspection {
    /// Returns the row of a shell's line, if it may be what holds the session up.
    pub fn held_line(&self) -> Option<&LineSeen> {
        let elsewhere = matches!(
            self.verdict.obstacle,
            Some(
                Obstacle::Mode
                    | Obstacle::InputOff
                    | Obstacle::Synchronized
                    | Obstacle::PersonTyping
                    | Obstacle::Gone
            )
        );
        self.line.as_ref().filter(|_| !elsewhere)
    }
}

/// The row that contains a shell's cursor, for a person who asks what holds a session up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LineSeen {
    /// Its content, including the prompt.
    pub row: String,
    /// Who may have written it.
    pub by: &'static str,
    /// What frees the session.
    pub freed_by: &'static str,
}

impl LineSeen {
    fn new(row: &CursorRow, attached: bool, tells: bool) -> Self {
        Self {
            row: row.quoted(),
            by: if attached {
                "a person (a client was attached), another program by `tmux send-keys`, or what a command printed last"
            } else {
                "no person (no client was ever attached): another program by `tmux send-keys`, or what a command printed last"
            },
            freed_by: if tells {
                "finish the line there and press Enter, or drop it with Ctrl-C"
            } else {
                "if its line is empty, press Enter once; otherwise finish the line, or drop it with Ctrl-C"
            },
        }
    }
}

/// Looks at every pane. Each signal is as old as one look can tell: reports and transcripts have
/// times of their own; the title and the screen date from now.
///
/// # Errors
/// tmux could not be asked.
pub async fn inspect<T: Tmux>(
    tmux: &mut T,
    catalog: &Catalog,
    reports: &Reports,
    attended_for: Duration,
) -> Result<Vec<Inspection>, Error> {
    let now = Timestamp::now();
    let shells = Shells::open().ok();
    let shells = shells.as_ref();
    let mut agents = Agents::for_one_look();
    agents.hear(reports);
    let panes: Vec<Pane> = tmux
        .panes()
        .await?
        .into_iter()
        .filter(|pane| !pane.dead)
        .collect();
    let names = homes(panes.iter());
    // All in one request, because tmux is started for each request.
    let of_shells: Vec<&Pane> = panes
        .iter()
        .filter(|pane| probe::shell(pane.identity.pane_pid).is_some())
        .collect();
    let lines = tmux.cursor_lines(&of_shells).await?;
    let places = of_shells.iter().map(|pane| pane.identity.pane.clone());
    let mut lines: HashMap<PaneId, CursorLine> = places
        .zip(lines)
        .filter_map(|(pane, line)| Some((pane, line?)))
        .collect();
    let mut found = Vec::with_capacity(panes.len());
    for (pane, homes) in panes.into_iter().zip(names) {
        let mut names = homes.into_iter().map(|home| home.name);
        let Some(name) = names.next() else {
            continue;
        };
        let aliases: Vec<String> = names.collect();
        let pid = pane.identity.pane_pid;
        let shell = probe::shell(pid).map(|shell| {
            let editor = shell.dialect().line_editor();
            (shell, probe::standing(editor, pid, &pane.tty))
        });
        let at_prompt = matches!(shell, Some((_, ShellActivity::Prompt)));
        if agents.find(catalog, &pane, at_prompt).is_none() && agents.wants_hint(&pane) {
            let captures = tmux.screens(&[&pane.identity]).await?;
            let capture = captures.into_iter().next().flatten();
            agents.keep_hint(&pane, capture.as_ref());
            agents.look_again(&pane);
        }
        if agents.find(catalog, &pane, at_prompt).is_some() {
            let captures = tmux.screens(&[&pane.identity]).await?;
            let capture = captures.into_iter().next().flatten();
            agents.keep_screen(&pane, capture.as_ref(), now);
            let Some(seen) = agents.see(&pane, attended_for, now) else {
                continue;
            };
            found.push(Inspection {
                name,
                aliases,
                provider: Some(seen.profile.name.clone()),
                known_by: format!("{} (process {})", seen.by.name(), seen.pid),
                untested: seen
                    .version
                    .as_deref()
                    .is_some_and(|version| seen.profile.is_untested(version)),
                version: seen.version,
                pid: seen.pid,
                signals: seen.signals,
                verdict: seen.verdict,
                line: None,
                pane,
            });
            continue;
        }
        let Some((shell, standing)) = shell else {
            let why = "no profile knows what runs here: see `assigner agents list`".to_owned();
            found.push(Inspection {
                name,
                aliases,
                provider: None,
                known_by: format!("it runs {}", pane.command),
                version: None,
                untested: false,
                pid,
                signals: Vec::new(),
                verdict: Verdict::of(Some(Obstacle::Unread { why })),
                line: None,
                pane,
            });
            continue;
        };
        let line = lines.remove(&pane.identity.pane);
        let directory = probe::working_directory(pid);
        let directory = directory.as_deref().and_then(Path::to_str);
        let facts = Facts::here(shell, directory, pane.attached);
        let row = line.as_ref().map(|line| CursorRow::of(&pane, line));
        let line = line.zip(row.as_ref()).map(|(line, row)| ShellLine {
            line: prompt::read(&line, pane.width),
            row: Some(row.quoted()),
            proof: empty::proof(row, &facts, None, Stamp::of(&pane)),
        });
        let told = shells.and_then(|shells| shells.told(pid));
        let word = told.filter(|told| told.shell == shell).map(|told| {
            if told.at_prompt {
                LineReport::Reads
            } else {
                LineReport::Elsewhere
            }
        });
        let evidence = Evidence::Shell {
            standing: &standing,
            word,
            line,
        };
        let mut memory = Memory::for_one_look();
        let Sighting { signals, verdict } =
            observe(&mut memory, &pane, evidence, attended_for, now);
        found.push(Inspection {
            name,
            aliases,
            provider: Some(SHELL.to_owned()),
            known_by: format!("its program, {} (process {pid})", shell.name()),
            version: None,
            untested: false,
            pid,
            signals,
            verdict,
            line: row.map(|row| LineSeen::new(&row, pane.attached, word.is_some())),
            pane,
        });
    }
    Ok(found)
}
